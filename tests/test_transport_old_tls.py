"""An offer of an old TLS through the door: who would take it is told from who would not, and nothing goes on after it."""

import socket
import ssl
import time
import warnings
from collections.abc import Iterator

import pytest
import trustme

from otelprobe.fields import HttpOptions
from otelprobe.reasons import CheckFailed, Reason
from otelprobe.transport.old_tls import client_hello
from tests.peers import Door, Handler, Peer, answer, clean_environment, reset, silence, tunnel

ALERT = b"\x15\x03\x01\x00\x02\x02\x46"
WARNING = b"\x15\x03\x01\x00\x02\x01\x70"
DONE = b"\x0e\x00\x00\x00"


@pytest.fixture(autouse=True)
def _environment() -> Iterator[None]:
    with clean_environment():
        yield


@pytest.fixture
def door() -> Door:
    return Door()


def record(content: bytes) -> bytes:
    """Write a handshake record."""
    return b"\x16\x03\x01" + len(content).to_bytes(2) + content


def hello(version: bytes) -> bytes:
    """Write a ServerHello that chooses a version."""
    body = version + bytes(32) + b"\x00" + b"\x00\x2f" + b"\x00"
    return b"\x02" + len(body).to_bytes(3) + body


def says(*parts: bytes) -> Handler:
    """Answer with these bytes, one write for each part."""

    def handle(_: Peer, connection: socket.socket, __: bytes) -> None:
        connection.recv(65536)
        for part in parts:
            connection.sendall(part)

    return handle


def proposed(door: Door, peer: Peer, version: str = "1.1", *, host: str = "127.0.0.1", **options: object) -> bool:
    """Ask whether a peer would speak this version."""
    given = HttpOptions(**{"timeout": 5.0, **options})  # type: ignore[arg-type] # members of the options
    return door.http.agrees_to_tls(host, peer.port, given, time.perf_counter() + 10, door.wire, version=version)


def serving(lowest: ssl.TLSVersion, highest: ssl.TLSVersion) -> ssl.SSLContext:
    """Make a server's context that speaks these versions, with ciphers that old ones have."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1", "localhost").configure_cert(context)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version, context.maximum_version = lowest, highest
    context.set_ciphers("ALL:@SECLEVEL=0")
    return context


@pytest.mark.parametrize(
    ("lowest", "highest", "taken"),
    [
        (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_3, {"1.0", "1.1"}),
        (ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_2, {"1.1"}),
        (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1, {"1.0"}),
        (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3, set()),
    ],
)
def test_a_real_server_takes_what_it_is_set_to(
    door: Door, lowest: ssl.TLSVersion, highest: ssl.TLSVersion, taken: set[str]
) -> None:
    """Each version is told by itself; the exchange is a handshake without a status or a reason, and nothing was sent."""
    with Peer(answer(), tls=serving(lowest, highest)) as peer:
        assert {v for v in ("1.0", "1.1") if proposed(door, peer, v)} == taken
    assert [(x.method, x.handshake, x.control, x.status, x.reason) for x in door.exchanges] == [
        ("TLS", True, True, None, None)
    ] * 2
    assert peer.requests == []


@pytest.mark.parametrize(
    ("parts", "taken"),
    [
        ((record(hello(b"\x03\x02") + DONE),), True),
        ((record(hello(b"\x03\x02")[:9]), record(hello(b"\x03\x02")[9:]), record(DONE)), True),
        ((WARNING, record(hello(b"\x03\x02") + DONE)), True),
        ((record(hello(b"\x03\x01") + DONE),), False),
        ((record(hello(b"\x03\x03") + DONE),), False),
        ((record(hello(b"\x03\x02")), ALERT), False),
        ((record(hello(b"\x03\x02")),), False),
        ((ALERT,), False),
        ((b"HTTP/1.1 400 Bad Request\r\n\r\n",), False),
        ((record(b"\x0b\xff\xff\xff") + record(bytes(65535)) * 3,), False),
    ],
)
def test_answers_by_hand(door: Door, parts: tuple[bytes, ...], taken: bool) -> None:
    """Only the very version counts, and only when the server's part of the handshake has come to its end."""
    with Peer(says(*parts), read=False) as peer:
        assert proposed(door, peer) is taken


def test_silence_and_a_broken_connection_are_refusals(door: Door) -> None:
    """A server may drop what it does not speak without a word."""

    def broken(_: Peer, connection: socket.socket, __: bytes) -> None:
        connection.recv(65536)
        reset(connection)

    with Peer(broken, read=False) as peer:
        assert not proposed(door, peer)
    with Peer(silence, read=False) as peer:
        assert not proposed(door, peer, timeout=0.2)


def test_who_is_not_reached_proves_nothing(door: Door) -> None:
    """A port where nobody listens is the transport's reason, which the exchange carries; so is a deadline that is over."""
    with Peer(answer()) as peer:
        pass
    with pytest.raises(CheckFailed) as caught:
        proposed(door, peer)
    assert caught.value.reason is door.exchanges[-1].reason is Reason.CONNECT_REFUSED
    with pytest.raises(CheckFailed, match="no time was left"):
        door.http.agrees_to_tls("127.0.0.1", peer.port, HttpOptions(), 0.0, door.wire, version="1.0")


def test_through_a_proxy(door: Door) -> None:
    """The offer goes through a tunnel; a proxy that gives none is the proxy's fault."""
    with Peer(answer(), tls=serving(ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_2)) as peer, Peer(tunnel()) as proxy:
        assert proposed(door, peer, proxy=proxy.url())
        assert proxy.connections == 1
    with Peer(answer(b"", "403 Forbidden")) as proxy, pytest.raises(CheckFailed) as caught:
        proposed(door, peer, proxy=proxy.url())
    assert caught.value.reason is Reason.PROXY_ERROR


def test_the_host_is_named_unless_it_is_an_address() -> None:
    """SNI lets a server choose its certificate; an address has no place in it (RFC 6066)."""
    assert b"\x00\x09localhost" in client_hello("1.1", "localhost.")
    assert b"127.0.0.1" not in client_hello("1.1", "127.0.0.1")
    assert b"xn--mnchen-3ya" in client_hello("1.0", "münchen")
    assert client_hello("1.0", "a") != client_hello("1.0", "a")
