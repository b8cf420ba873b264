"""Read a provider's status page, so that its own word stands beside the flow's verdict: "we fail, and they admit it"."""

from dataclasses import dataclass, replace
from typing import ClassVar

from otelprobe.endings import DAY
from otelprobe.fields import Duration, Url
from otelprobe.http import Redirects, Reply
from otelprobe.pages import classify_page
from otelprobe.provider import Provider
from otelprobe.reasons import VERDICTS, CheckFailed, Layer, Outcome, Reason
from otelprobe.result import ProviderStatus, Warn
from otelprobe.status_pages import Format, read_status
from otelprobe.step import Context, Done, Step, filled

_ACCEPT = "application/json, application/atom+xml, application/rss+xml, application/xml;q=0.9, */*;q=0.5"
_LARGEST = 16 * 1024**2
"""Some of these documents hold the history of years."""


@dataclass(frozen=True, kw_only=True)
class StatusPage(Step):
    """Read what the provider's status page says. It never fails the flow: a problem that it admits is a warning.

    A page that cannot be read says nothing about the provider: its state is unknown, and that is a warning too.
    """

    kind: ClassVar[str] = "status_page"
    layer: ClassVar[Layer] = Layer.DEPENDENCY
    own_reasons: ClassVar[frozenset[Reason]] = frozenset({Reason.ASSERTION_FAILED, Reason.TOO_SLOW})
    default_redirects: ClassVar[Redirects] = Redirects.SAME_ORIGIN

    url: Url | None = None
    """Where the page's data are: `.../api/v2/summary.json` of a Statuspage, a feed, or a list of events; default: what the
    provider's preset knows.
    """

    format: Format = "auto"
    """What is read: `statuspage` (its JSON), `atom`, `rss`, `aws` (currentevents), `google` (incidents.json)."""

    component: str | None = None
    """The part that matters: name or id of a Statuspage component; for the other forms words that an entry must hold;
    default: where `url` is not set, as the preset has it, else the whole page.
    """

    max_age: Duration = 7 * DAY
    """Entries of a feed that are older are taken for closed, also where nobody wrote so."""

    always: bool = True
    """Runs also when an earlier step failed: then the page is most wanted."""

    def addresses(self, provider: Provider | None) -> tuple[str, ...]:
        """Give the URL that is asked."""
        _ = provider
        return (self.url,)

    def templates(self) -> tuple[object, ...]:
        """Give what `${name}` is filled in."""
        return (self.url,)

    def run(self, ctx: Context) -> Done:
        """Fetch and read; only what is wrong with the flow file or the prober itself is raised."""
        reply: Reply | None = None
        try:
            reply = self._fetch(ctx)
            reading = read_status(reply.text, self.format, self.component, ctx.now(), self.max_age)
        except CheckFailed as failed:
            if VERDICTS[failed.reason].outcome is Outcome.ERROR:
                raise
            return self._unknown(f"{failed.reason.value}: {failed.detail}", reply)
        except ValueError as error:
            return self._unknown(str(error), reply)
        if not reading.degraded:
            return Done(reply=reply, provider_status=ProviderStatus("operational", component=self.component))
        status = ProviderStatus("degraded", reading.detail, self.component)
        warning = Warn(Reason.PROVIDER_DEGRADED, reading.detail or "the page admits a problem")
        return Done(reply=reply, provider_status=status, warnings=(warning,))

    def _fetch(self, ctx: Context) -> Reply:
        if self.http.max_size is None:
            ctx = replace(ctx, options=replace(ctx.options, max_size=_LARGEST))
        reply = ctx.send(
            "GET", filled(ctx, self.url), headers={"Accept": _ACCEPT}, safe_url=self.url, redirects=self.follow
        )
        page = classify_page(reply)
        if page is not None:
            raise CheckFailed(page, f"status {reply.status} with a page from in front of the status page")
        if reply.status != 200:
            raise CheckFailed(Reason.ASSERTION_FAILED, f"status {reply.status}")
        return reply

    def _unknown(self, why: str, reply: Reply | None) -> Done:
        status = ProviderStatus("unknown", why, self.component)
        return Done(reply=reply, provider_status=status, warnings=(Warn(Reason.PROVIDER_STATUS_UNKNOWN, why),))
