"""The edge in front of both servers: the request log, the Date header, and the faults that show on the wire alone."""

import contextlib
import io
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from werkzeug.http import http_date
from werkzeug.wrappers import Request, Response

from otelprobe import __version__
from otelprobe.demo.faults import Switches
from otelprobe.demo.provider import PATH
from otelprobe.demo.state import Clock

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

SLOW = 1.3
"""How long the slow faults wait, in seconds."""

_HANG = 60.0
_DRIP = 0.1
_HUGE = 64
_MIB = b" " * 2**20

Answer = Callable[[Request, threading.Event], Response | None]
"""Answers in the server's place, or gives None to let it answer; the event says that the demo is being stopped."""


@dataclass(frozen=True, slots=True)
class Received:
    """One request as a server saw it; query, body and other headers are left out: they may carry secrets.

    `status` None: the connection was closed without an answer.
    """

    server: str
    method: str
    path: str
    traceparent: str | None
    status: int | None


class RequestLog:
    """The latest requests of both servers, in the order of their answers."""

    def __init__(self) -> None:
        self._received: deque[Received] = deque(maxlen=10_000)

    def add(self, received: Received) -> None:
        """Append one."""
        self._received.append(received)

    def all(self) -> tuple[Received, ...]:
        """Give a copy."""
        return tuple(self._received)

    def clear(self) -> None:
        """Forget them."""
        self._received.clear()


def _json(status: int, body: str, headers: Mapping[str, str] | None = None) -> Answer:
    every = {"Cache-Control": "no-store", **(headers or {})}
    return lambda _request, _stop: Response(body, status, every, content_type="application/json")


def _html(status: int, title: str, body: str, headers: Mapping[str, str] | None = None) -> Answer:
    page = f"<!DOCTYPE html>\n<html><head><title>{title}</title></head>\n<body>{body}</body></html>\n"
    return lambda _request, _stop: Response(page, status, headers, content_type="text/html; charset=utf-8")


def _slow(_request: Request, stop: threading.Event) -> Response | None:
    stop.wait(SLOW)
    return None


def _hang(request: Request, stop: threading.Event) -> Response | None:
    stop.wait(_HANG)
    return _close(request, stop)


def _close(_request: Request, _stop: threading.Event) -> Response | None:
    raise ConnectionAbortedError("closed by a fault")


def _trickle(_request: Request, stop: threading.Event) -> Response | None:
    def drips() -> Iterator[bytes]:
        yield b'{"access_token": "'
        for _ in range(int(_HANG / _DRIP)):
            if stop.wait(_DRIP):
                return
            yield b"x"

    return Response(drips(), content_type="application/json")


def _huge(_request: Request, stop: threading.Event) -> Response | None:
    def blocks() -> Iterator[bytes]:
        yield b'{"access_token": "'
        for _ in range(_HUGE):
            if stop.is_set():
                return
            yield _MIB
        yield b'"}'

    return Response(blocks(), content_type="application/json")


def _read_body(request: Request) -> None:
    """Read the whole body, for one left unread would turn a close into a reset, and put it back for the application."""
    body = request.get_data(cache=True)
    request.environ["wsgi.input"], request.environ["CONTENT_LENGTH"] = io.BytesIO(body), str(len(body))


@dataclass(frozen=True, slots=True)
class _WireFault:
    """Where a fault answers in the server's place; no path means every one but the API's open health page."""

    name: str
    server: str
    path: str | None
    answer: Answer

    def hits(self, server: str, path: str) -> bool:
        return server == self.server and (path == self.path if self.path is not None else path != "/health")


_TOKEN, _KEYS, _DISCOVERY = f"{PATH}/token", f"{PATH}/jwks", f"{PATH}/.well-known/openid-configuration"
_OAUTH_DISCOVERY = f"/.well-known/oauth-authorization-server{PATH}"
_UNAVAILABLE = _json(503, '{"message": "service unavailable"}')
_MAINTENANCE = _html(200, "Maintenance", "<h1>We will be back soon</h1>")
_BLOCKED = _html(
    403,
    "Attention Required!",
    "<h1>Sorry, you have been blocked</h1><p>The request was blocked by a security rule. Reference #18.5f2a1c02.</p>",
    {"Server": "cloudflare", "CF-RAY": "8f2a1c02d4e6b7a9-FRA"},
)
_CHALLENGED = _html(
    403,
    "Just a moment...",
    "<h1>Verify that you are human</h1><div id='captcha'></div><noscript>Enable JavaScript to go on</noscript>",
    {"Server": "cloudflare", "CF-RAY": "8f2a1c02d4e6b7a9-FRA", "cf-mitigated": "challenge"},
)
_LOGIN = _html(
    200,
    "Log in",
    "<form action='/login' method='post'><input name='username'><input name='password' type='password'>"
    "<button>Log in</button></form>",
)

_WIRE = (
    _WireFault("discovery-down", "provider", _DISCOVERY, _UNAVAILABLE),
    _WireFault("discovery-down", "provider", _OAUTH_DISCOVERY, _UNAVAILABLE),
    _WireFault("discovery-html", "provider", _DISCOVERY, _MAINTENANCE),
    _WireFault("discovery-html", "provider", _OAUTH_DISCOVERY, _MAINTENANCE),
    _WireFault("jwks-down", "provider", _KEYS, _UNAVAILABLE),
    _WireFault("slow-token", "provider", _TOKEN, _slow),
    _WireFault("token-down", "provider", _TOKEN, _UNAVAILABLE),
    _WireFault("token-closed", "provider", _TOKEN, _close),
    _WireFault("token-hanging", "provider", _TOKEN, _hang),
    _WireFault("trickling-body", "provider", _TOKEN, _trickle),
    _WireFault("huge-body", "provider", _TOKEN, _huge),
    _WireFault("html-instead-of-json", "provider", _TOKEN, _MAINTENANCE),
    _WireFault("idp-error", "provider", _TOKEN, _json(400, '{"error": "server_error"}')),
    _WireFault(
        "idp-rate-limited", "provider", _TOKEN, _json(429, '{"message": "too many requests"}', {"Retry-After": "30"})
    ),
    _WireFault(
        "invalid-client-secret",
        "provider",
        _TOKEN,
        _json(
            401,
            '{"error": "invalid_client", "error_description": "The client secret has expired"}',
            {"WWW-Authenticate": 'Basic realm="demo", error="invalid_client"'},
        ),
    ),
    _WireFault("introspection-inactive", "provider", f"{PATH}/introspect", _json(200, '{"active": false}')),
    _WireFault("revocation-broken", "provider", f"{PATH}/revoke", _json(400, '{"message": "cannot revoke"}')),
    _WireFault("api-slow", "api", None, _slow),
    _WireFault("api-rate-limited", "api", None, _json(429, '{"error": "too many requests"}', {"Retry-After": "30"})),
    _WireFault("waf-page", "api", None, _BLOCKED),
    _WireFault("bot-challenge", "api", None, _CHALLENGED),
    _WireFault("login-page", "api", None, _LOGIN),
)


class Edge:
    """The WSGI application around a server's own one."""

    def __init__(
        self,
        server: str,
        app: "WSGIApplication",
        *,
        switches: Switches,
        clock: Clock,
        log: RequestLog,
        stop: threading.Event,
    ) -> None:
        self._server, self._app, self._switches = server, app, switches
        self._clock, self._log, self._stop = clock, log, stop

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Answer one request, and log it just before its first byte is sent."""
        request = Request(environ)

        def start(status: str, headers: list[tuple[str, str]], exc_info: object = None) -> Callable[[bytes], object]:
            self._note(request, int(status[:3]))
            return start_response(status, self._dated(headers), exc_info)  # type: ignore[arg-type] # passed through

        if self._server == "api" and self._switches.on("credentials-not-seen"):
            environ.pop("HTTP_AUTHORIZATION", None)
        try:
            answer = self._fault(request)
        except ConnectionAbortedError:
            self._note(request, None)
            connection: socket.socket = environ["werkzeug.socket"]
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            raise
        app = self._app if answer is None else answer
        return app(environ, start)

    def _fault(self, request: Request) -> Response | None:
        for fault in _WIRE:
            if self._switches.on(fault.name) and fault.hits(self._server, request.path):
                _read_body(request)
                answer = fault.answer(request, self._stop)
                if answer is not None:
                    return answer
        return None

    def _note(self, request: Request, status: int | None) -> None:
        trace = request.headers.get("traceparent")
        self._log.add(Received(self._server, request.method, request.path, trace, status))

    def _dated(self, headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
        """Add what the handler would, but with this server's own clock and only where the answer has none."""
        sent = {name.lower() for name, _ in headers}
        mine = {"Date": http_date(self._clock.now()), "Server": f"otelprobe-demo/{__version__}"}
        return [*headers, *((n, v) for n, v in mine.items() if n.lower() not in sent)]
