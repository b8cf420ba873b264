"""The way to a peer: name resolution, TCP, proxy and TLS, each timed and all within one deadline."""

import base64
import http.client
import io
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import field
from functools import lru_cache
from typing import Any

from urllib3.util.ssltransport import SSLTransport

from otelprobe.clock import Clock
from otelprobe.quick import dataclass, quick
from otelprobe.reasons import CheckFailed, Reason
from otelprobe.result import Phases, TlsFacts
from otelprobe.transport.reasons import Phase
from otelprobe.transport.route import Proxy, Target, place
from otelprobe.transport.trust import read_facts, read_unverified_facts, unverified_context

_Address = tuple[socket.AddressFamily | int, tuple[Any, ...]]

_FAMILIES = {None: socket.AF_UNSPEC, 4: socket.AF_INET, 6: socket.AF_INET6}

_MOMENT = 0.002
"""Seconds by which a time-out may be overstayed: to set it is a system call."""

_DIAGNOSIS = 2.0
"""Seconds at most for the second handshake that reads an expired certificate."""


@dataclass(slots=True)
class Attempt:
    """What one attempt has shown so far. It is written to as the attempt goes, so that a failed one keeps its facts."""

    clock: Clock
    deadline: float
    place: str
    phase: Phase = Phase.CONNECT
    spent: dict[str, float] = field(default_factory=dict)
    peer: tuple[str, int] | None = None
    tls: TlsFacts | None = None
    sending_at: float | None = None
    sent_at: float | None = None
    first_byte_at: float | None = None

    def left(self) -> float:
        """Give the seconds until the deadline; TimeoutError if there are none."""
        seconds = self.deadline - self.clock.monotonic()
        if seconds <= 0:
            raise TimeoutError
        return seconds

    @contextmanager
    def timed(self, name: str, phase: Phase) -> Iterator[None]:
        """Time a part of the attempt, also one that fails; a part that comes twice is summed."""
        self.phase = phase
        start = self.clock.monotonic()
        try:
            yield
        finally:
            self.spend(name, start)

    def spend(self, name: str, start: float) -> None:
        """Add the time since `start` to a part of the attempt."""
        self.spent[name] = self.spent.get(name, 0.0) + self.clock.monotonic() - start

    def phases(self, end: float) -> Phases:
        """Give the phases, where the attempt ended at `end`: a wait or a transfer that failed counts until then.

        Sending the request is part of ttfb, so that the phases add up to what the attempt took.
        """
        first = self.first_byte_at
        return Phases(
            **self.spent,
            ttfb=None if self.sending_at is None else (end if first is None else first) - self.sending_at,
            transfer=None if first is None else end - first,
        )


@quick
@dataclass(frozen=True, slots=True)
class Route:
    """The whole way: target, proxy, the contexts of both TLS layers, and the IP version asked for."""

    target: Target
    proxy: Proxy | None = None
    context: ssl.SSLContext | None = field(default=None, repr=False)
    proxy_context: ssl.SSLContext | None = field(default=None, repr=False)
    ip_version: int | None = None


class Link(io.RawIOBase):
    """A connection that gives every single send and receive only what is left until the deadline.

    It is the raw stream under the reader of an answer, and the socket under a TLS layer inside another one.
    """

    def __init__(self, sock: socket.socket, attempt: Attempt) -> None:
        self._sock: Any = sock
        self._attempt = attempt
        self._waits = sock.gettimeout() or 0.0
        self.ended = False
        self.waiting = False

    def wrap(self, sock: object) -> None:
        """Put a TLS layer that stands on this connection in its place."""
        self._sock = sock
        self._waits = 0.0

    @property
    def sock(self) -> Any:
        """The socket, or the TLS layer, that bytes go through."""
        return self._sock

    def limit(self) -> None:
        """Let the socket wait no longer than what is left; what it was told a moment ago still serves."""
        left = self._attempt.left()
        if not left <= self._waits <= left + _MOMENT:
            self._sock.settimeout(left)
            self._waits = left

    def readable(self) -> bool:
        """Tell that this stream can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Receive into a buffer and notice the first byte of the answer, and the end."""
        self.limit()
        count = int(self._sock.recv_into(buffer))
        if count == 0:
            self.ended = True
        elif self.waiting:
            self.waiting = False
            self._attempt.first_byte_at = self._attempt.clock.monotonic()
            self._attempt.phase = Phase.READ
        return count

    def recv(self, size: int) -> bytes:
        """Receive at most `size` bytes, for a TLS layer inside another one."""
        self.limit()
        return bytes(self._sock.recv(size))

    def sendall(self, data: bytes) -> None:
        """Send all of it; a peer that takes it in drops gains no time by that."""
        view = memoryview(data)
        while view:
            self.limit()
            view = view[self._sock.send(view) :]

    def settimeout(self, _: float | None) -> None:
        """Do nothing: the deadline rules."""

    def makefile(self, *_: Any) -> io.BufferedReader:
        """Give a buffered reader."""
        return io.BufferedReader(self)

    def close(self) -> None:
        """Close the socket, once."""
        if not self.closed:
            self._sock.close()
        super().close()


def dial(route: Route, attempt: Attempt) -> Link:
    """Open a connection to the target, through the proxy if there is one, and with TLS if the scheme says so."""
    link = reach(route, attempt, tunnel=route.context is not None)
    try:
        if route.context is not None:
            with attempt.timed("tls", Phase.TLS):
                _secure(link, route.context, route.target.host, attempt)
            attempt.tls = read_facts(link.sock)
    except BaseException:
        link.close()
        raise
    if route.proxy is not None:
        attempt.place = route.target.place
    return link


def reach(route: Route, attempt: Attempt, *, tunnel: bool = True) -> Link:
    """Open a connection that TLS may be put on; through a proxy by a tunnel, or without one to the proxy itself."""
    target, proxy = route.target, route.proxy
    if proxy is None:
        return _reach(target.host, target.port, route, attempt)
    link = _reach_proxy(route, proxy, attempt)
    if not tunnel:
        return link
    try:
        with attempt.timed("connect", Phase.PROXY):
            _tunnel(link, target, proxy)
    except BaseException:
        link.close()
        raise
    attempt.place = target.place
    return link


def _reach(host: str, port: int, route: Route, attempt: Attempt, *, by_proxy: bool = False) -> Link:
    """Resolve and connect."""
    addresses = _literal(host, port, route.ip_version)
    if addresses is None:
        with attempt.timed("dns", Phase.PROXY if by_proxy else Phase.RESOLVE):
            found = _look_up(host, port, _FAMILIES[route.ip_version], attempt.left())
            addresses = tuple((entry[0], entry[4]) for entry in found)
    attempt.phase = Phase.PROXY if by_proxy else Phase.CONNECT
    start = attempt.clock.monotonic()
    try:
        return Link(_connect(addresses, attempt), attempt)
    finally:
        attempt.spend("connect", start)


def _reach_proxy(route: Route, proxy: Proxy, attempt: Attempt) -> Link:
    attempt.place = place(proxy.host, proxy.port)
    link = _reach(proxy.host, proxy.port, route, attempt, by_proxy=True)
    if route.proxy_context is None:
        return link
    try:
        with attempt.timed("connect", Phase.PROXY):
            _secure(link, route.proxy_context, proxy.host, attempt)
    except BaseException:
        link.close()
        raise
    return link


@lru_cache(maxsize=1024)
def _literal(host: str, port: int, ip_version: int | None) -> tuple[_Address, ...] | None:
    """Give the address that a host already is: it needs neither resolver nor thread; None if it is a name."""
    family = _FAMILIES[ip_version]
    for literal in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(literal, host)
        except (OSError, ValueError):
            continue
        if family not in {socket.AF_UNSPEC, literal}:
            raise CheckFailed(
                Reason.CONFIG_ERROR, f"{host} is no IPv{ip_version} address: change ip_version or the URL"
            )
        return ((literal, (host, port) if literal == socket.AF_INET else (host, port, 0, 0)),)
    return None


def _look_up(host: str, port: int, family: int, seconds: float) -> list[Any]:
    """Ask the resolver, but wait no longer than told: getaddrinfo itself knows no time-out."""
    answers: list[list[Any]] = []
    errors: list[Exception] = []

    def ask() -> None:
        try:
            answers.append(socket.getaddrinfo(host, port, family, socket.SOCK_STREAM))
        except Exception as error:  # noqa: BLE001 - carried over to the waiting thread, which raises it
            errors.append(error)

    thread = threading.Thread(target=ask, name="otelprobe-dns", daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not answers:
        raise socket.gaierror(socket.EAI_AGAIN, "no answer from the resolver")
    return answers[0]


def _connect(addresses: tuple[_Address, ...], attempt: Attempt) -> socket.socket:
    """Try the addresses in order; each gets its share of the time that is left.

    Where all fail, a refusal is what is told: that peer was reached, the others may only be unreachable from here.
    """
    failed: OSError = TimeoutError()
    for tried, address in enumerate(addresses):
        try:
            return _open(address, attempt.left() / (len(addresses) - tried), attempt)
        except OSError as error:
            if not isinstance(failed, ConnectionRefusedError):
                failed = error
    raise failed


def _open(address: _Address, seconds: float, attempt: Attempt) -> socket.socket:
    family, sockaddr = address
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        attempt.peer = (str(sockaddr[0]), int(sockaddr[1]))
        sock.settimeout(seconds)
        sock.connect(sockaddr)
        # The end of a TLS 1.3 handshake and the request are two small writes: the second must not wait for an ACK.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except BaseException:
        sock.close()
        raise
    return sock


def _tunnel(link: Link, target: Target, proxy: Proxy) -> None:
    """Ask an HTTP proxy for a tunnel (RFC 9110, section 9.3.6)."""
    lines = [f"CONNECT {target.place} HTTP/1.1", f"Host: {target.place}"]
    if proxy.credentials is not None:
        lines.append(f"Proxy-Authorization: {basic(proxy.credentials)}")
    link.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))
    answer = http.client.HTTPResponse(link, method="CONNECT")  # type: ignore[arg-type] # it only calls makefile
    reader = answer.fp
    try:
        answer.begin()
    finally:
        answer.fp = None  # type: ignore[assignment] # or it would close the connection when it is thrown away
    if link.ended:
        raise http.client.RemoteDisconnected("")
    if answer.status == 407:
        text = "the proxy refused the credentials (407)" if proxy.credentials else "the proxy wants credentials (407)"
        raise CheckFailed(Reason.PROXY_ERROR, f"proxy {place(proxy.host, proxy.port)}: {text}")
    if not 200 <= answer.status < 300:
        text = f"no tunnel to {target.place} (status {answer.status})"
        raise CheckFailed(Reason.PROXY_ERROR, f"proxy {place(proxy.host, proxy.port)}: {text}")
    reader.detach()  # the reader goes, the connection stays


def basic(credentials: str) -> str:
    """Write `user:password` as HTTP Basic."""
    return "Basic " + base64.b64encode(credentials.encode()).decode()


def _secure(link: Link, context: ssl.SSLContext, host: str, attempt: Attempt) -> None:
    """Put TLS on a connection, also on one that is TLS already (an https proxy)."""
    name = host.rstrip(".")
    if isinstance(link.sock, ssl.SSLSocket):
        outer = Link(link.sock, attempt)
        link.wrap(SSLTransport(outer, context, server_hostname=name))  # type: ignore[arg-type] # it sends and receives
        return
    link.limit()
    # The socket's descriptor moves into the TLS socket, so that one is closed by the link from here on.
    tls = context.wrap_socket(link.sock, server_hostname=name, do_handshake_on_connect=False)
    link.wrap(tls)
    refused = False
    try:
        tls.do_handshake()
    except ssl.SSLError as error:
        # TLS 1.2 has no alert for a missing client certificate. The server says only "handshake failure"; where it had
        # agreed on a cipher before, the certificate is what is left to dislike.
        refused = "ALERT_HANDSHAKE_FAILURE" in (getattr(error, "reason", None) or "") and tls.cipher() is not None
        if not refused:
            raise
    if refused:
        raise CheckFailed(
            Reason.CLIENT_CERT_REJECTED,
            f"{attempt.place}: the server broke off the TLS handshake after the client certificate was due",
        )


def diagnose(route: Route, attempt: Attempt) -> TlsFacts | None:
    """Read the certificate that was refused, by a second handshake that trusts anything; None if that fails too."""
    deadline = min(attempt.deadline, attempt.clock.monotonic() + _DIAGNOSIS)
    second = Attempt(attempt.clock, deadline, attempt.place)
    way = Route(route.target, route.proxy, None, route.proxy_context, route.ip_version)
    try:
        return _unverified(way, second)
    except Exception:  # noqa: BLE001 - what only explains a failure must not become another one
        return None


def _unverified(way: Route, attempt: Attempt) -> TlsFacts | None:
    with reach(way, attempt) as link:
        _secure(link, unverified_context(), way.target.host, attempt)
        return read_unverified_facts(link.sock)
