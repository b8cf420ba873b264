"""The only door to the network: one request in, one reply or one reason out.

The attempt itself travels in `otelprobe.transport`, the only importer of requests. It is opened when the first request
is sent, so that commands which send none do not pay for it.
"""

import json
import re
from collections.abc import Callable, Mapping, Set
from dataclasses import field, replace
from enum import StrEnum
from functools import cache
from itertools import count
from typing import TYPE_CHECKING, NamedTuple, Protocol

from otelprobe.clock import Clock
from otelprobe.fields import DEFAULT_HTTP, HttpOptions
from otelprobe.quick import dataclass, lazy, quick
from otelprobe.reasons import CheckFailed, Reason
from otelprobe.result import Exchange
from otelprobe.transport.route import Proxies, environment_in_force

if TYPE_CHECKING:
    from otelprobe.transport.call import Call
    from otelprobe.transport.once import Orders, Told

__all__ = ["Http", "LiveHttp", "Redirects", "Reply", "Request", "Shown", "Wire", "environment_in_force"]

CREDENTIAL_HEADERS = frozenset({"authorization", "cookie", "dpop"})
"""Request headers that never go to another origin, in lower case."""


_BOM = b"\xef\xbb\xbf"
_MEDIA_TYPE = re.compile(r"[!-~]{1,120}")
_TIMEOUT = DEFAULT_HTTP.timeout or 5.0


class Redirects(StrEnum):
    """Whether redirects are followed; a credential never goes to another origin, whatever is set."""

    NONE = "none"
    SAME_ORIGIN = "same_origin"
    FOLLOW = "follow"


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What to send.

    `safe_url` is what may be published where `url` was filled from `${}` (default: `url` itself; query values and user
    information are redacted by the door in any case). `deadline` is a point of the monotonic clock: the request ends by
    it or by its own `options.timeout`, whichever comes first. `headers` that carry a credential are named in
    `credential_headers`, so that a redirect to another origin drops them. `resent` counts the attempts before this one
    that it repeats. Headers named in `twice`, in lower case, are sent on two lines.
    """

    method: str
    url: str = field(repr=False)
    options: HttpOptions = field(repr=False)
    deadline: float
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes | None = field(default=None, repr=False)
    safe_url: str | None = None
    redirects: Redirects = Redirects.NONE
    max_redirects: int = 3
    credential_headers: frozenset[str] = CREDENTIAL_HEADERS
    control: bool = False
    resent: int = 0
    twice: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Reply:
    """What came back: status, raw header list in order, body up to the cap. Body and headers never show in a repr."""

    exchange: Exchange
    status: int
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    body: bytes = field(repr=False)

    def values(self, name: str) -> tuple[str, ...]:
        """Give every value of a header, one for each line that was sent, in order."""
        return self._by_name.get(name.lower(), ())

    def value(self, name: str, default: str = "") -> str:
        """Give the first value of a header, or the default."""
        return self._by_name.get(name.lower(), (default,))[0]

    @property
    def names(self) -> Set[str]:
        """The names of the headers that were sent, in lower case."""
        return self._by_name.keys()

    @lazy
    def _by_name(self) -> Mapping[str, tuple[str, ...]]:
        found: dict[str, tuple[str, ...]] = {}
        for name, value in self.headers:
            lower = name.lower()
            found[lower] = (*found.get(lower, ()), value)
        return found

    @lazy
    def media_type(self) -> str:
        """The media type without parameters, lower case; empty if none was sent. What is none is not repeated."""
        sent = self.value("Content-Type").partition(";")[0].strip().lower()
        return sent if not sent or _MEDIA_TYPE.fullmatch(sent) else "an unreadable media type"

    @lazy
    def text(self) -> str:
        """The body as text: UTF-8, or UTF-16 with a byte-order mark; what cannot be decoded is replaced."""
        if self.body[:2] in {b"\xff\xfe", b"\xfe\xff"}:
            return self.body.decode("utf-16", "replace")
        return self.body.removeprefix(_BOM).decode("utf-8", "replace")

    def json(self) -> object:
        """Parse the body as JSON whatever its media type; ValueError if it is none."""
        try:
            return json.loads(self.text)
        except RecursionError:
            raise ValueError("nested too deeply") from None


@dataclass(frozen=True, slots=True)
class Shown:
    """What a TLS endpoint showed: its certificates as DER, its own one first, and why they are refused, if they are."""

    exchange: Exchange
    chain: tuple[bytes, ...] = field(repr=False)
    refused: CheckFailed | None = None


@quick
@dataclass(frozen=True, slots=True)
class Wire:
    """One step's line to the door: the trace its requests join, span ids to draw, and the log of what was exchanged.

    `aside` holds the seconds that the prober spent on itself (starting a browser): they are no part of the step's time.
    """

    trace_id: int
    draw_span_id: Callable[[], int]
    exchanges: list[Exchange] = field(default_factory=list)
    aside: list[float] = field(default_factory=list)


class Http(Protocol):
    """The door. Every attempt, failed or not, is appended to `wire.exchanges` before `send` returns or raises."""

    def send(self, request: Request, wire: Wire) -> Reply:
        """Send and read one request; CheckFailed with a transport reason if no complete answer came."""
        ...

    def inspect(
        self, host: str, port: int, options: HttpOptions, deadline: float, wire: Wire, *, verify: bool = True
    ) -> Shown:
        """Make a TLS handshake and nothing else; CheckFailed with a transport reason if no certificate could be read."""
        ...

    def agrees_to_tls(
        self, host: str, port: int, options: HttpOptions, deadline: float, wire: Wire, *, version: str
    ) -> bool:
        """Tell whether a server would speak TLS `1.0` or `1.1`; CheckFailed with a transport reason if none was reached."""
        ...

    def warm_up(self, url: str, options: HttpOptions) -> None:
        """Load what a request to `url` will need, so that its time is not measured as the peer's."""
        ...


class LiveHttp:
    """The door on real sockets. It keeps nothing between calls but TLS contexts and proxies, so many threads may share it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._proxies = Proxies()

    def warm_up(self, url: str, options: HttpOptions) -> None:
        """Import the transport, and load the trust store where TLS will be spoken. What is wrong, `send` will say."""
        from contextlib import suppress  # noqa: PLC0415 - see the module's docstring

        from otelprobe.transport import once  # noqa: F401, PLC0415 - for its imports
        from otelprobe.transport.trust import context_for  # noqa: PLC0415

        if url.startswith("https:"):
            with suppress(CheckFailed):
                context_for(options)

    def send(self, request: Request, wire: Wire) -> Reply:
        """Send and read one request, and the redirects that it follows; each attempt is an exchange of its own.

        CheckFailed is raised outside of any `except`, so that no foreign exception, which may hold a URL or a header's
        value, hangs on it.
        """
        transport = _transport()
        orders = self._orders(request.options, request.deadline, wire, control=request.control)
        call = transport.first_call(request.method, request.url, request.headers, request.body, request.safe_url)
        call = replace(call, twice=request.twice) if request.twice else call
        for resent in count(request.resent):
            told = transport.send_once(call, orders, wire.draw_span_id(), resent)
            exchange = told.exchange
            if told.failed is None and request.redirects is Redirects.NONE:
                wire.exchanges.append(exchange)
                break
            following, failed = _judge(request, call, told, resent)
            if isinstance(failed, CheckFailed):
                exchange = replace(exchange, reason=failed.reason)
            wire.exchanges.append(exchange)
            if failed is not None:
                raise failed
            if following is None:
                break
            call = following
        return Reply(exchange, exchange.status or 0, told.headers, told.body)

    def inspect(
        self, host: str, port: int, options: HttpOptions, deadline: float, wire: Wire, *, verify: bool = True
    ) -> Shown:
        """Make a TLS handshake and nothing else. A certificate that is refused is read and told, not raised.

        Without `verify` the certificates are only read; nothing is ever sent through such a connection.
        """
        from otelprobe.transport.inspect import REFUSALS, inspect_once  # noqa: PLC0415 - see the module's docstring

        orders = self._orders(options, deadline, wire, control=False)
        seen = inspect_once(host, port, orders, wire.draw_span_id(), verify=verify)
        wire.exchanges.append(seen.exchange)
        refused = seen.failed if isinstance(seen.failed, CheckFailed) and seen.failed.reason in REFUSALS else None
        if seen.failed is not None and (refused is None or not seen.chain):
            raise seen.failed
        return Shown(seen.exchange, seen.chain, refused)

    def agrees_to_tls(
        self, host: str, port: int, options: HttpOptions, deadline: float, wire: Wire, *, version: str
    ) -> bool:
        """Tell whether a server would speak an old TLS, by the first message of a handshake; nothing else is ever sent."""
        from otelprobe.transport.old_tls import propose_once  # noqa: PLC0415 - see the module's docstring

        orders = self._orders(options, deadline, wire, control=True)
        seen = propose_once(host, port, version, orders, wire.draw_span_id())
        wire.exchanges.append(seen.exchange)
        if seen.failed is not None:
            raise seen.failed
        return seen.taken

    def _orders(self, options: HttpOptions, deadline: float, wire: Wire, *, control: bool) -> "Orders":
        return _transport().orders(
            clock=self._clock,
            options=options,
            deadline=min(deadline, self._clock.monotonic() + (options.timeout or _TIMEOUT)),
            trace_id=wire.trace_id,
            control=control,
            proxies=self._proxies,
        )


class _Transport(NamedTuple):
    """What a request needs of the transport."""

    orders: "type[Orders]"
    first_call: "Callable[[str, str, Mapping[str, str], bytes | None, str | None], Call]"
    send_once: "Callable[[Call, Orders, int, int], Told]"


@cache
def _transport() -> _Transport:
    """Open the transport, once: import statements in each request cost more than they look."""
    from otelprobe.transport.call import first_call  # noqa: PLC0415 - see the module's docstring
    from otelprobe.transport.once import Orders, send_once  # noqa: PLC0415

    return _Transport(Orders, first_call, send_once)


def _judge(request: Request, call: "Call", told: "Told", resent: int) -> "tuple[Call | None, Exception | None]":
    """Give the call that follows, if the answer is a redirect to be followed, or what is wrong."""
    status = told.exchange.status or 0
    if told.failed is not None or request.redirects is Redirects.NONE or not 300 <= status < 400:
        return None, told.failed
    from otelprobe.transport.call import REDIRECTS, next_call  # noqa: PLC0415 - see the module's docstring

    location = next((v for n, v in told.headers if n.lower() == "location"), None)
    if location is None or status not in REDIRECTS:
        return None, None
    if resent - request.resent >= request.max_redirects:
        text = f"{told.target.place}: more than {request.max_redirects} redirects"
        return None, CheckFailed(Reason.REDIRECT_LOOP, text)
    try:
        following = next_call(
            call,
            told.target,
            status,
            location,
            same_origin=request.redirects is Redirects.SAME_ORIGIN,
            credentials=frozenset(name.lower() for name in request.credential_headers),
            plain=bool(request.options.insecure_http),
        )
    except CheckFailed as error:
        return None, error
    return following, None
