"""Peers for the tests of the door: a scripted server on a real socket, with TLS if wanted, and a small proxy."""

import contextlib
import itertools
import os
import select
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Self

import pytest

from otelprobe.clock import SystemClock
from otelprobe.fields import HttpOptions
from otelprobe.http import LiveHttp, Reply, Request, Wire
from otelprobe.reasons import CheckFailed, Reason
from otelprobe.result import Exchange

Handler = Callable[["Peer", socket.socket, bytes], None]

PROXY_VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "ssl_cert_file", "requests_ca_bundle")


def answer(
    body: bytes = b"{}", status: str = "200 OK", *headers: str, length: bool = True, version: str = "HTTP/1.1"
) -> bytes:
    """Write an answer."""
    lines = [f"{version} {status}", *headers, *([f"Content-Length: {len(body)}"] if length else []), "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


class Peer:
    """A server whose connections are handled by a function; it keeps every request as it came."""

    def __init__(
        self,
        reply: bytes | Handler = b"",
        *,
        tls: ssl.SSLContext | None = None,
        host: str = "127.0.0.1",
        read: bool = True,
    ) -> None:
        self._reply = reply
        self._tls = tls
        self._read = read
        self._host = host
        self._threads: list[threading.Thread] = []
        self._socket = socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        self.port = int(self._socket.getsockname()[1])
        self.requests: list[bytes] = []
        self.connections = 0
        self.done = threading.Event()

    def __enter__(self) -> Self:
        thread = threading.Thread(target=self._accept)
        thread.start()
        self._threads.append(thread)
        return self

    def __exit__(self, *_: object) -> None:
        self.done.set()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for thread in self._threads:
            thread.join(5)
            assert not thread.is_alive()

    def url(self, path: str = "/", host: str | None = None) -> str:
        """Give a URL of this server."""
        name = host or (f"[{self._host}]" if ":" in self._host else self._host)
        return f"{'https' if self._tls else 'http'}://{name}:{self.port}{path}"

    def headers(self, index: int = -1) -> dict[str, str]:
        """Give the headers of a request that came, by lower-case name."""
        lines = self.requests[index].split(b"\r\n\r\n", 1)[0].decode("latin-1").split("\r\n")[1:]
        return {n.lower(): v for n, _, v in (line.partition(": ") for line in lines)}

    def body(self, index: int = -1) -> bytes:
        """Give the body of a request that came."""
        return self.requests[index].split(b"\r\n\r\n", 1)[1]

    def line(self, index: int = -1) -> str:
        """Give the request line of a request that came."""
        return self.requests[index].split(b"\r\n", 1)[0].decode("latin-1")

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            thread = threading.Thread(target=self._serve, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(5)
        with contextlib.suppress(OSError), contextlib.closing(connection):
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
            with contextlib.closing(connection):
                asked = read_request(connection) if self._read else b""
                if asked:
                    self.requests.append(asked)
                if isinstance(self._reply, bytes):
                    connection.sendall(self._reply)
                else:
                    self._reply(self, connection, asked)


def read_request(connection: socket.socket) -> bytes:
    """Read one request with its body."""
    asked = b""
    while b"\r\n\r\n" not in asked:
        part = connection.recv(65536)
        if not part:
            return asked
        asked += part
    head, _, body = asked.partition(b"\r\n\r\n")
    for line in head.split(b"\r\n")[1:]:
        if line.lower().startswith(b"content-length:"):
            while len(body) < int(line.partition(b":")[2]):
                part = connection.recv(65536)
                body += part
    return head + b"\r\n\r\n" + body


def reset(connection: socket.socket) -> None:
    """Make the close of a connection a reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def trickle(data: bytes, pause: float = 0.05) -> Handler:
    """Send byte by byte, until the client hangs up or the test ends."""

    def handle(peer: Peer, connection: socket.socket, _: bytes) -> None:
        for byte in data:
            connection.sendall(bytes([byte]))
            if peer.done.wait(pause):
                return

    return handle


def silence(peer: Peer, _: socket.socket, __: bytes) -> None:
    """Say nothing until the test ends."""
    peer.done.wait(5)


def tunnel(port: int | None = None) -> Handler:
    """Be a CONNECT proxy: pump bytes to the port asked for, or to `port`."""

    def handle(_: Peer, connection: socket.socket, asked: bytes) -> None:
        authority = asked.split(b" ")[1].decode()
        to = port or int(authority.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", to), 5) as onward:
            connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            _pump(connection, onward)

    return handle


def _pump(one: socket.socket, other: socket.socket) -> None:
    """Carry bytes both ways until either side is done. One thread: two must not share a TLS socket."""
    with contextlib.suppress(OSError):
        while True:
            pending = [s for s in (one, other) if isinstance(s, ssl.SSLSocket) and s.pending()]
            ready = pending or select.select([one, other], [], [], 5)[0]
            for source in ready:
                data = source.recv(65536)
                if not data:
                    return
                (other if source is one else one).sendall(data)


class Door:
    """The door as a step sees it, with a wire that keeps its exchanges and counts span ids from 1."""

    def __init__(self) -> None:
        self.http = LiveHttp(SystemClock())
        self._ids = itertools.count(1)
        self.wire = Wire(trace_id=0xABC, draw_span_id=lambda: next(self._ids))

    @property
    def exchanges(self) -> list[Exchange]:
        """What went over the wire."""
        return self.wire.exchanges

    def send(self, url: str, *, timeout: float = 5.0, method: str = "GET", **more: Any) -> Reply:
        """Send a request; members of HttpOptions go into its options."""
        names = HttpOptions.__dataclass_fields__.keys() - {"headers"}
        options = HttpOptions(timeout=timeout, **{n: more.pop(n) for n in names & more.keys()})
        request = Request(method=method, url=url, options=options, deadline=time.perf_counter() + 30, **more)
        return self.http.send(request, self.wire)

    def fails(self, url: str, reason: Reason, **more: Any) -> CheckFailed:
        """Send a request that must fail with a reason, which its exchange carries too."""
        before = len(self.exchanges)
        with pytest.raises(CheckFailed) as caught:
            self.send(url, **more)
        assert caught.value.reason is reason, str(caught.value)
        assert caught.value.__context__ is None
        assert caught.value.__cause__ is None
        if len(self.exchanges) > before:
            assert self.exchanges[-1].reason is reason
        return caught.value


@contextlib.contextmanager
def clean_environment() -> Iterator[None]:
    """Take proxies and CA files out of the environment for a while."""
    kept = {n: os.environ.pop(n) for n in list(os.environ) if n.lower() in PROXY_VARIABLES}
    try:
        yield
    finally:
        os.environ.update(kept)
