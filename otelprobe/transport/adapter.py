"""One attempt: a connection of its own, every phase timed, one total deadline."""

import ssl
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import lru_cache

from otelprobe.fields import HttpOptions
from otelprobe.transport.call import Prepared
from otelprobe.transport.dial import Attempt, Link, Route, basic, dial
from otelprobe.transport.reading import Answer, Reader
from otelprobe.transport.reasons import Phase
from otelprobe.transport.route import Proxies, Target
from otelprobe.transport.trust import context_for


def choose_route(target: Target, options: HttpOptions, proxies: Proxies) -> Route:
    """Find the way to a target; CheckFailed(config_error) for a proxy or a certificate file that cannot be used."""
    proxy = proxies.find(target, options.proxy)
    return Route(
        target=target,
        proxy=proxy,
        context=context_for(options) if target.scheme == "https" else None,
        proxy_context=context_for(options, with_client_cert=False) if proxy is not None and proxy.tls else None,
        ip_version=options.ip_version,
    )


class OneShot:
    """Sends one prepared request and reads the whole answer; what it saw is in `attempt` and `reader`, also on failure.

    Exceptions of ssl, socket and http.client pass through it: `reasons.failure` translates them.
    """

    def __init__(self, route: Route, attempt: Attempt, max_size: int, *, takes_any_coding: bool) -> None:
        self._route = route
        self._attempt = attempt
        self._max_size = max_size
        self._takes_any_coding = takes_any_coding
        self.reader: Reader | None = None

    def send(self, prepared: Prepared) -> Answer:
        """Send the request and read the answer, on a connection that ends with it."""
        with dial(self._route, self._attempt) as link:
            self.reader = Reader(link, self._attempt.place, self._max_size, any_coding=self._takes_any_coding)
            refused = self._deliver(link, self._serialise(prepared))
            try:
                return self.reader.read(prepared.method)
            except (OSError, ValueError) as error:
                if refused is None or isinstance(error, ssl.SSLError):
                    raise
                raise refused from None

    def _serialise(self, prepared: Prepared) -> bytes:
        """Write the request as it goes over the wire."""
        target, proxy = self._route.target, self._route.proxy
        path, headers = target.path, list(prepared.headers)
        if proxy is not None and target.scheme == "http":
            path = f"http://{target.authority}{target.path}"
            if proxy.credentials is not None:
                headers.append(("Proxy-Authorization", basic(proxy.credentials)))
        lines = "".join([f"{name}: {value}\r\n" for name, value in headers])
        return f"{prepared.method} {path} HTTP/1.1\r\n{lines}\r\n".encode("latin-1") + (prepared.body or b"")

    def _deliver(self, link: Link, data: bytes) -> OSError | None:
        """Send all of it. A peer may answer, or say by a TLS alert what is wrong, and hang up before it has read it all.

        So a connection that breaks now is given back and not raised: what is to be read decides.
        """
        refused: OSError | None = None
        self._attempt.phase = Phase.SEND
        self._attempt.sending_at = self._attempt.clock.monotonic()
        try:
            link.sendall(data)
        except (ConnectionError, ssl.SSLError) as error:
            refused = error
        self._attempt.sent_at = self._attempt.clock.monotonic()
        self._attempt.phase = Phase.WAIT
        link.waiting = True
        return refused


def clock_skew(headers: tuple[tuple[str, str], ...], middle: float) -> float | None:
    """Compare the peer's Date with our clock (Unix seconds) at the middle of the exchange; None if it tells nothing.

    Date is cut to whole seconds, so half of one is added. An answer out of a cache (Age) carries an old Date.
    """
    values = {lower: value for name, value in headers if (lower := name.lower()) in {"date", "age"}}
    if values.get("age", "0").strip() != "0":
        return None
    try:
        return _unix(values.get("date", "")) + 0.5 - middle
    except (ValueError, OverflowError):
        return None


@lru_cache(maxsize=64)
def _unix(date: str) -> float:
    """Read a Date header; kept, as all that is answered within a second has the same one."""
    found = parsedate_to_datetime(date)
    return (found.replace(tzinfo=UTC) if found.tzinfo is None else found).timestamp()
