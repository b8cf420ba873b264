"""A listener of our own that lies in wait while one bad token is offered: who fetches the URL that it names is seen.

It serves one document below a path that cannot be guessed, to a few clients with little patience, and is closed with the case.
"""

import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from otelprobe import __version__
from otelprobe.fields import Listen
from otelprobe.reasons import CheckFailed, Reason
from otelprobe.rejection.listener import Bait, Listener

_PATIENCE = 2.0
"""Seconds that a client may be silent."""

_CLIENTS = 8
"""Clients in all: a key is fetched once or twice."""

_AFTERWARDS = 0.5
"""Seconds that a fetch is waited for after the answer: some fetch keys behind their answer's back."""

_POLL = 0.05

_TURN = threading.Lock()
"""One listener at a time: flows of one process may name the same address."""


class Trap:
    """Notes who asks for the bait."""

    def __init__(self, bait: Bait) -> None:
        self.bait = bait
        self._asked = threading.Event()

    def note(self) -> None:
        """Note that the bait was asked for."""
        self._asked.set()

    def sprung(self, seconds: float) -> bool:
        """Tell whether the bait was asked for; wait so long for it, and no longer than a fetch may come late."""
        return self._asked.wait(max(0.0, min(seconds, _AFTERWARDS)))


@contextmanager
def listening(listener: Listener, bait: Bait, seconds: float) -> Iterator[Trap]:
    """Listen while the case lasts. CheckFailed if that cannot be: another case listens, or the address is not to be had."""
    if not _TURN.acquire(timeout=max(0.0, seconds)):
        raise CheckFailed(Reason.DEADLINE_EXCEEDED, "listener: another case had it until the deadline")
    try:
        trap = Trap(bait)
        server = _bound(listener.address, trap)
        thread = threading.Thread(target=server.serve_forever, args=(_POLL,), name="otelprobe-listener", daemon=True)
        thread.start()
        try:
            yield trap
        finally:
            server.shutdown()
            thread.join()
            server.server_close()
    finally:
        _TURN.release()


def _bound(address: Listen, trap: Trap) -> "_Server":
    try:
        return _Server(address, trap)
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or "not a host name"
    place = f"{address.host or '*'}:{address.port}"
    raise CheckFailed(Reason.CONFIG_ERROR, f"listener: cannot listen at {place} ({why}): set listener.bind")


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: Listen, trap: Trap) -> None:
        host = address.host or ("::" if socket.has_dualstack_ipv6() else "0.0.0.0")  # noqa: S104 - the flow file asks for it
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.trap = trap
        self._clients: list[Any] = []
        super().__init__((host, address.port), _Handler)

    def server_bind(self) -> None:
        """Bind without the look-up of the machine's own name, which can take seconds."""
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "otelprobe", self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        """Take in a few clients and no more."""
        if len(self._clients) >= _CLIENTS:
            self.shutdown_request(request)
            return
        self._clients.append(request)
        super().process_request(request, client_address)

    def server_close(self) -> None:
        """Give the port back, and leave no client hanging."""
        super().server_close()
        for client in self._clients:
            with suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: what a client does wrong is its own affair."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = _PATIENCE
    server_version, sys_version = f"otelprobe/{__version__}", ""

    def _answer(self) -> None:
        bait = self.server.trap.bait
        found = urlsplit(self.path).path.endswith(bait.path)
        if found:
            self.server.trap.note()
        body = bait.body if found else b""
        self.send_response(200 if found else 404)
        self.send_header("Content-Type", bait.media_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_HEAD = do_POST = _answer  # noqa: N815 - the names that http.server looks for

    def log_message(self, *_: Any) -> None:
        """Say nothing."""
