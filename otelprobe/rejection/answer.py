"""What came back for one credential, good or bad."""

from otelprobe.http import Reply
from otelprobe.pages import classify_page, is_login_page
from otelprobe.quick import dataclass
from otelprobe.reasons import CheckFailed, Reason


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to one credential, or the failure that stood for it.

    `found` is the finding where a status does not tell it; then neither does a rate limit or a server error. `fetched` says
    of a credential that names a URL of ours whether the server asked for it.
    """

    case: str
    reply: Reply | None = None
    failed: CheckFailed | None = None
    found: bool | None = None
    fetched: bool | None = None

    @property
    def status(self) -> int | None:
        """The status, if there was an answer."""
        return self.reply.status if self.reply is not None else None

    @property
    def page(self) -> Reason | None:
        """What answered in place of the server: an edge, or a log-in form."""
        if self.reply is None:
            return None
        found = classify_page(self.reply) if self.reply.status < 500 else None
        return found or (Reason.REDIRECTED_TO_LOGIN if is_login_page(self.reply) else None)

    @property
    def succeeded(self) -> bool:
        """Whether the credential got what a good one gets: a status of success that is no page of somebody else's."""
        return self.status is not None and 200 <= self.status < 300 and self.page is None

    @property
    def limited(self) -> bool:
        """Whether a rate limit answered."""
        return self.status == 429 and self.found is None

    @property
    def broken(self) -> bool:
        """Whether the server failed over it."""
        return self.status is not None and self.status >= 500 and self.found is None
