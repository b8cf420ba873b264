"""One attempt as an adapter of requests: a connection of its own, every phase timed, one total deadline."""

import ssl
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any

from requests import PreparedRequest, Response
from requests.adapters import BaseAdapter
from requests.structures import CaseInsensitiveDict

from otelprobe.fields import HttpOptions
from otelprobe.transport.dial import Attempt, Link, Route, basic, dial
from otelprobe.transport.reading import Reader
from otelprobe.transport.reasons import Phase
from otelprobe.transport.route import Target, choose_proxy
from otelprobe.transport.trust import context_for


def choose_route(target: Target, options: HttpOptions) -> Route:
    """Find the way to a target; CheckFailed(config_error) for a proxy or a certificate file that cannot be used."""
    proxy = choose_proxy(target, options.proxy)
    return Route(
        target=target,
        proxy=proxy,
        context=context_for(options) if target.scheme == "https" else None,
        proxy_context=context_for(options, with_client_cert=False) if proxy is not None and proxy.tls else None,
        ip_version=options.ip_version,
    )


class OneShot(BaseAdapter):
    """Sends one prepared request and reads the whole answer; what it saw is in `attempt` and `reader`, also on failure.

    Exceptions of ssl, socket and http.client pass through it: `reasons.failure` translates them.
    """

    def __init__(self, route: Route, attempt: Attempt, max_size: int, *, takes_any_coding: bool) -> None:
        super().__init__()
        self._route = route
        self._attempt = attempt
        self._max_size = max_size
        self._takes_any_coding = takes_any_coding
        self.reader: Reader | None = None

    def send(  # noqa: PLR0917 - the signature is requests'
        self,
        request: PreparedRequest,
        stream: bool = False,
        timeout: float | tuple[float, float] | tuple[float, None] | None = None,
        verify: bool | str = True,
        cert: bytes | str | tuple[bytes | str, bytes | str] | None = None,
        proxies: Mapping[str, str] | None = None,
    ) -> Response:
        """Send the request. Route and deadline were given at the start, so requests' own settings are not looked at."""
        _ = stream, timeout, verify, cert, proxies
        with dial(self._route, self._attempt) as link:
            self.reader = Reader(link, self._route.target.place, self._max_size, any_coding=self._takes_any_coding)
            refused = self._deliver(link, self._serialise(request))
            try:
                answer = self.reader.read(request.method or "GET")
            except (OSError, ValueError) as error:
                if refused is None or isinstance(error, ssl.SSLError):
                    raise
                raise refused from None
        response = Response()
        response.status_code, response.reason = answer.status, answer.phrase
        response.headers = CaseInsensitiveDict(answer.headers)
        response.url, response.request = request.url or "", request
        response._content = answer.body
        return response

    def close(self) -> None:
        """Do nothing: every connection was closed with its answer."""

    def _serialise(self, request: PreparedRequest) -> bytes:
        """Write the request as it goes over the wire."""
        target, proxy, headers = self._route.target, self._route.proxy, dict[str, Any](request.headers)
        path = target.path
        if proxy is not None and target.scheme == "http":
            path = f"http://{target.authority}{target.path}"
            if proxy.credentials is not None:
                headers["Proxy-Authorization"] = basic(proxy.credentials)
        lines = [f"{request.method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
        head = "\r\n".join(lines).encode("latin-1")
        return head + request.body if isinstance(request.body, bytes) else head

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
    values = {name.lower(): value for name, value in headers if name.lower() in {"date", "age"}}
    if values.get("age", "0").strip() != "0":
        return None
    try:
        date = parsedate_to_datetime(values.get("date", ""))
    except (ValueError, OverflowError):
        return None
    aware = date.replace(tzinfo=UTC) if date.tzinfo is None else date
    return aware.timestamp() + 0.5 - middle
