"""The way of a log-in from page to page: how long it may get, and how it is known that it goes round in circles."""

from collections import Counter
from urllib.parse import urlsplit

from otelprobe.reasons import CheckFailed, Reason
from otelprobe.tokens import shown

MOST_HOPS = 20
"""Pages and redirects of one log-in; real ones take three to nine."""

_MOST_TURNS = 8
"""How often one page may come although nothing is sent: pages that wait for something do come again."""

_TURNS = 4
"""How often one page has to have come, if the time is up over it, to be what took the time."""

_TIME_IS_UP = frozenset({Reason.DEADLINE_EXCEEDED, Reason.READ_TIMEOUT, Reason.CONNECT_TIMEOUT})


class Trail:
    """The pages of one log-in so far."""

    def __init__(self) -> None:
        self._hops = 0
        self._host = ""
        self._turns: Counter[tuple[str, str, str]] = Counter()

    @property
    def hops(self) -> int:
        """How many pages were asked for."""
        return self._hops

    def visit(self, url: str, *, posted: bool = False) -> None:
        """Note a page before it is asked for; CheckFailed(redirect_loop) if it is one too many.

        A page is the same whatever its query: endless redirects often add to it. `posted` says that something is sent
        there, and so that the way goes on.
        """
        parts = urlsplit(url)
        if posted:
            self._turns.clear()
        self._hops += 1
        self._turns[parts.scheme, parts.netloc, parts.path] += 1
        if self._most > _MOST_TURNS:
            raise self._loop()
        if self._hops > MOST_HOPS:
            detail = f"more than {MOST_HOPS} pages and redirects, the last at {shown(self._host)}"
            raise CheckFailed(Reason.REDIRECT_LOOP, detail)
        self._host = parts.hostname or ""

    def explained(self, failed: CheckFailed, left: float) -> CheckFailed:
        """Give what ended the way: a loop, where no time is `left` (seconds) and the same page came again and again."""
        looped = left <= 0 and failed.reason in _TIME_IS_UP and self._most >= _TURNS
        return self._loop() if looped else failed

    @property
    def _most(self) -> int:
        return max(self._turns.values(), default=0)

    def _loop(self) -> CheckFailed:
        (_, place, _), times = self._turns.most_common(1)[0]
        host = shown(urlsplit(f"//{place}").hostname)
        return CheckFailed(Reason.REDIRECT_LOOP, f"the same page of {host} came {times} times, and nothing was sent")
