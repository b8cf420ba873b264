"""What Kubernetes asks a process: /livez and /readyz over HTTP, small, quiet, and safe from slow clients."""

import errno
import json
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from otelprobe.quick import dataclass

_PATIENCE = 5.0
"""Seconds a client may take from connect to answer; a kubelet gives up after one by default."""

_CONNECTIONS = 64
"""The most clients at once; for one more, the oldest is turned away."""

_POLL = 0.2
"""Seconds between looks for slow clients, and the longest that `close` waits."""


class ListenError(Exception):
    """The listen address cannot be used; the text says why and how to mend it."""


@dataclass(frozen=True, slots=True)
class Report:
    """The answer to one question: yes or no, and what stands behind it (no secrets: anyone who can connect reads it)."""

    ok: bool
    detail: Mapping[str, object] = field(default_factory=dict)


Question = Callable[[], Report]


class HealthServer:
    """Answers /livez and /readyz on an address until closed; ListenError if it cannot be bound.

    With an empty host every address of the machine is served, IPv6 and IPv4. `port` is the one that was bound (0 asks
    for a free one). A client gets `patience` seconds in all.
    """

    def __init__(self, host: str, port: int, *, live: Question, ready: Question, patience: float = _PATIENCE) -> None:
        self._server = _bind(host, port, {"/livez": live, "/readyz": ready})
        self._server.patience = patience
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_POLL,), name="otelprobe-health", daemon=True
        )

    def start(self) -> None:
        """Start to answer."""
        self._thread.start()

    def close(self) -> None:
        """Stop to answer and give the port back."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()


def _ask(question: Question) -> Report:
    """Ask; a question that breaks is a no, told by the kind of exception only."""
    try:
        return question()
    except Exception as error:  # noqa: BLE001 - a fault of ours must be an answer, not a closed connection
        return Report(ok=False, detail={"error": f"otelprobe: {type(error).__name__}"})


_NO_IPV6 = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT})


def _bind(host: str, port: int, questions: Mapping[str, Question]) -> "_Server":
    try:
        return _Server(host, port, questions) if host else _bind_all(port, questions)
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or "not a host name"
        raise ListenError(
            f"cannot listen on {host or '*'}:{port}: {why}; set another listen address, or stop what uses this one"
        ) from None


def _bind_all(port: int, questions: Mapping[str, Question]) -> "_Server":
    """Bind every address: IPv6 and IPv4 together where the machine has both."""
    try:
        return _Server("::", port, questions)
    except OSError as error:
        if error.errno not in _NO_IPV6:
            raise
    return _Server("0.0.0.0", port, questions)  # noqa: S104 - asked for by an empty host


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64
    patience = _PATIENCE

    def __init__(self, host: str, port: int, questions: Mapping[str, Question]) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.questions = questions
        self._clients: dict[Any, float] = {}
        super().__init__((host, port), _Handler)

    def server_bind(self) -> None:
        """Bind without the look-up of the machine's own name, which can take seconds."""
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "otelprobe", self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        """Take a client in; where there are too many, the one that has waited longest goes.

        The newest is most likely the kubelet, which asks and is gone; one that lingers only keeps it out.
        """
        clients = list(self._clients)
        for oldest in clients[: max(0, len(clients) + 1 - _CONNECTIONS)]:
            self._turn_away(oldest)
        self._clients[request] = time.monotonic()
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Let a client go."""
        self._clients.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Turn away clients that take too long, however steadily they send."""
        limit = time.monotonic() - self.patience
        for client, since in list(self._clients.items()):
            if since < limit:
                self._turn_away(client)

    def _turn_away(self, client: Any) -> None:
        """Cut a client off; its own thread closes the socket."""
        self._clients.pop(client, None)
        with suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that hang up."""


class _Handler(BaseHTTPRequestHandler):
    server_version = "otelprobe"
    sys_version = ""
    server: _Server

    def do_GET(self) -> None:
        """Answer with a body."""
        self._answer()

    def do_HEAD(self) -> None:
        """Answer without a body."""
        self._answer()

    def _answer(self) -> None:
        question = self.server.questions.get(self.path.partition("?")[0])
        if question is None:
            self._write(404, {"error": "not found: ask for /livez or /readyz"})
            return
        report = _ask(question)
        self._write(200 if report.ok else 503, report.detail)

    def _write(self, status: int, detail: Mapping[str, object]) -> None:
        body = json.dumps(detail).encode() + b"\n"
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def send_error(
        self,
        code: int,
        message: str | None = None,  # noqa: ARG002 - the base class's signature
        explain: str | None = None,  # noqa: ARG002 - the base class's signature
    ) -> None:
        """Answer what cannot be understood, without repeating it."""
        self._write(405 if code == 501 else code, {"error": "ask with GET for /livez or /readyz"})

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is the base class's
        """Keep no access log."""
