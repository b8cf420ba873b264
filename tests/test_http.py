"""The door: what is sent, what comes back, and the reason when nothing useful does."""

import gzip
import socket
import subprocess
import sys
import threading
import time
import tracemalloc
import zlib
from email.utils import formatdate
from pathlib import Path

import pytest

from otelprobe import __version__
from otelprobe.clock import SystemClock
from otelprobe.fields import HttpOptions
from otelprobe.http import LiveHttp, Redirects, Request, Wire
from otelprobe.reasons import CheckFailed, Reason
from tests.peers import Door, Peer, answer, clean_environment, reset, silence, trickle

CANARY = "canary-5f2c"


@pytest.fixture(autouse=True)
def _environment():
    with clean_environment():
        yield


@pytest.fixture
def door() -> Door:
    return Door()


def test_reply_carries_status_headers_and_body(door: Door):
    """A complete answer comes back with its status, its raw header list in order and its body."""
    reply = answer(
        b'{"a": 1}', "401 Unauthorized", "Set-Cookie: a=1", "WWW-Authenticate: Basic", "Set-Cookie: b=2, c",
        "www-authenticate: Bearer error=x",
    )  # fmt: skip
    with Peer(reply) as peer:
        got = door.send(peer.url())
    assert got.status == 401
    assert got.json() == {"a": 1}
    assert got.values("set-cookie") == ("a=1", "b=2, c")
    assert got.values("WWW-Authenticate") == ("Basic", "Bearer error=x")


def test_request_as_sent(door: Door):
    """A request carries our clear User-Agent, the exchange's own trace context, and asks to close."""
    with Peer(answer()) as peer:
        door.send(peer.url("/v1/x?q=a%20b&z"), method="POST", body=b"hello", headers={"X-Own": "1"})
    headers = peer.headers()
    assert peer.line() == "POST /v1/x?q=a%20b&z HTTP/1.1"
    assert headers["user-agent"].startswith(f"otelprobe/{__version__}")
    assert headers["traceparent"] == f"00-{0xABC:032x}-{1:016x}-01"
    assert headers["host"] == f"127.0.0.1:{peer.port}"
    assert headers["connection"] == "close"
    assert headers["accept-encoding"] == "gzip, deflate"
    assert headers["content-length"] == "5"
    assert headers["x-own"] == "1"
    assert peer.body() == b"hello"


def test_given_headers_win(door: Door):
    """User-Agent, Accept-Encoding, Accept and Host may be given by the flow file."""
    given = {"user-agent": "mine", "accept-encoding": "identity", "accept": "text/x", "host": "other.example"}
    with Peer(answer()) as peer:
        door.send(peer.url(), headers=given)
    headers = peer.headers()
    assert {name: headers[name] for name in given} == given
    assert peer.requests[0].lower().count(b"\r\nhost:") == 1


def test_post_without_a_body_says_so(door: Door):
    """A POST without a body has Content-Length 0, as servers demand; a GET has none."""
    with Peer(answer()) as peer:
        door.send(peer.url(), method="POST")
        door.send(peer.url())
    assert peer.headers(0)["content-length"] == "0"
    assert "content-length" not in peer.headers(1)


def test_exchange_of_a_success(door: Door):
    """The exchange tells method, host, peer, sizes, version and every phase that took place."""
    with Peer(answer(b"12345")) as peer:
        before = time.time_ns()
        reply = door.send(peer.url("/p"), method="POST", body=b"abc", control=True)
    (told,) = door.exchanges
    assert reply.exchange is told
    assert (told.method, told.host, told.port, told.status, told.reason) == ("POST", "127.0.0.1", peer.port, 200, None)
    assert (told.peer_address, told.peer_port) == ("127.0.0.1", peer.port)
    assert (told.request_size, told.response_size, told.http_version) == (3, 5, "1.1")
    assert (told.span_id, told.resend_count, told.control, told.tls) == (1, 0, True, None)
    assert before <= told.start_ns <= time.time_ns()
    phases = told.phases
    assert phases.dns is None
    assert phases.tls is None
    assert phases.connect is not None
    assert phases.ttfb is not None
    assert phases.transfer is not None
    assert 0 < phases.connect + phases.ttfb + phases.transfer <= told.duration


def test_a_slow_answer_shows_as_ttfb_and_a_slow_body_as_transfer(door: Door):
    """Waiting for the first byte counts as ttfb, the rest of the answer as transfer."""

    def slowly(peer: Peer, connection: socket.socket, _: bytes) -> None:
        peer.done.wait(0.15)
        connection.sendall(answer(b"ab")[:-1])
        peer.done.wait(0.1)
        connection.sendall(b"b")

    with Peer(slowly) as peer:
        door.send(peer.url())
    phases = door.exchanges[0].phases
    assert phases.ttfb is not None
    assert phases.transfer is not None
    assert 0.14 <= phases.ttfb < 1
    assert 0.09 <= phases.transfer < 1


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("/p?token=canary-5f2c&x=&canary-5f2c", "/p?token=REDACTED&x=REDACTED&REDACTED"),
        ("/p#access_token=canary-5f2c", "/p"),
        ("/p", "/p"),
    ],
)
def test_published_url_is_redacted(door: Door, url: str, shown: str):
    """The exchange's URL has no query value and no fragment."""
    with Peer(answer()) as peer:
        door.send(peer.url(url))
    assert door.exchanges[0].url == peer.url(shown)


def test_user_information_becomes_basic_and_is_not_published(door: Door):
    """user:password@ of a URL is sent as Basic and shown nowhere."""
    with Peer(answer()) as peer:
        door.send(peer.url("/", host=f"me:{CANARY}@127.0.0.1"))
    assert peer.headers()["authorization"] == "Basic bWU6Y2FuYXJ5LTVmMmM="
    assert door.exchanges[0].url == peer.url("/")


def test_safe_url_is_what_is_published(door: Door):
    """Where the URL was filled from a template, the template is published."""
    with Peer(answer()) as peer:
        door.send(peer.url(f"/users/{CANARY}?a=1"), safe_url=peer.url("/users/${id}?a=1"))
    assert door.exchanges[0].url == peer.url("/users/${id}?a=REDACTED")


def test_nothing_secret_in_any_text(door: Door, caplog: pytest.LogCaptureFixture):
    """A canary in URL, headers, body and answer shows in no repr, exception or log."""
    secret = {"Authorization": f"Bearer {CANARY}", "X-Key": CANARY}
    reply = answer(CANARY.encode(), "200 OK", f"Set-Cookie: s={CANARY}")
    texts = []
    with Peer(reply) as good, Peer(b"HTTP/1.1 " + CANARY.encode() + b"\r\n\r\n") as bad, Peer(b"") as closing:
        texts.append(repr(door.send(good.url(f"/?k={CANARY}"), headers=secret, body=CANARY.encode())))
        for url, reason in (
            (bad.url(f"/?k={CANARY}"), Reason.HTTP_PROTOCOL_ERROR),
            (closing.url(f"/?k={CANARY}"), Reason.CONNECTION_CLOSED),
            (f"http://{CANARY} x:99999/", Reason.CONFIG_ERROR),
            (f"ftp://host/{CANARY}", Reason.CONFIG_ERROR),
        ):
            failed = door.fails(url, reason, headers=secret, body=CANARY.encode())
            texts.append(repr(failed) + str(failed) + failed.detail)
    options = HttpOptions(proxy=f"http://me:{CANARY}@h", headers=secret)
    texts.append(
        repr(Request(method="GET", url=good.url(f"/?k={CANARY}"), options=options, deadline=0, headers=secret))
    )
    texts += [repr(e) for e in door.exchanges] + [caplog.text]
    assert not [t for t in texts if CANARY in t]


@pytest.mark.parametrize(
    "more",
    [
        {"headers": {"X-A": f"a\r\nX-B: {CANARY}"}},
        {"headers": {"X-A": f"a\nX-B: {CANARY}"}},
        {"headers": {"X-A": f" {CANARY}"}},
        {"headers": {"X-A": f"{CANARY}…"}},
        {"headers": {f"X A {CANARY}": "1"}},
        {"headers": {f"X-A: {CANARY}\r\nX": "1"}},
        {"headers": {"Transfer-Encoding": "chunked"}},
        {"method": "GET / HTTP/1.1\r\nX: y\r\n"},
    ],
)
def test_header_injection_is_refused(door: Door, more: dict[str, object]):
    """A line break or another forbidden character in method or header is a config_error and sends nothing."""
    with Peer(answer()) as peer:
        failed = door.fails(peer.url(), Reason.CONFIG_ERROR, **more)
    assert peer.connections == 0
    assert door.exchanges == []
    assert CANARY not in str(failed)


@pytest.mark.parametrize(
    "url", ["", "host/path", "http://", "http:///x", "ftp://h/", "http://[::1/", "http://h:99999/", "http://h/\r\nX: y",
            "http://a..b/", f"http://{'a' * 64}.example/", "mailto:x@y", "http://*.example/"],
)  # fmt: skip
def test_unusable_url_is_a_config_error(door: Door, url: str):
    """A URL that cannot be requested is the flow file's fault."""
    assert "canary" not in door.fails(url, Reason.CONFIG_ERROR).detail


def test_netrc_is_never_read(door: Door, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Credentials of a .netrc file are not sent."""
    (tmp_path / ".netrc").write_text(f"machine 127.0.0.1 login me password {CANARY}\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    with Peer(answer()) as peer:
        door.send(peer.url())
    assert "authorization" not in peer.headers()


# --- time


@pytest.mark.parametrize(
    ("handler", "reason"),
    [
        (silence, Reason.READ_TIMEOUT),
        (trickle(answer(b"x" * 500)), Reason.DEADLINE_EXCEEDED),
        (trickle(b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 90), Reason.DEADLINE_EXCEEDED),
        (
            lambda p, c, r: (c.sendall(answer(b"x" * 500)[:-490]), trickle(b"x" * 400)(p, c, r)),
            Reason.DEADLINE_EXCEEDED,
        ),
        (lambda p, c, r: (c.sendall(answer(b"xx")[:-1]), silence(p, c, r)), Reason.DEADLINE_EXCEEDED),
    ],
    ids=["silence", "trickled status line", "trickled headers", "trickled body", "stalled body"],
)
def test_total_deadline(door: Door, handler, reason: Reason):
    """The time-out is a total: a peer that trickles bytes gains nothing by it."""
    with Peer(handler) as peer:
        start = time.monotonic()
        door.fails(peer.url(), reason, timeout=0.3)
        assert 0.25 <= time.monotonic() - start < 4


def test_request_deadline_cuts_the_timeout(door: Door):
    """The flow's deadline ends a request before its own time-out does."""
    clock = SystemClock()
    with Peer(silence) as peer:
        start = time.monotonic()
        request = Request(
            method="GET", url=peer.url(), options=HttpOptions(timeout=20.0), deadline=clock.monotonic() + 0.2
        )
        with pytest.raises(CheckFailed, match="read_timeout"):
            LiveHttp(clock).send(request, door.wire)
    assert time.monotonic() - start < 4


def test_no_time_left_sends_nothing(door: Door):
    """A request whose deadline is past is not sent."""
    clock = SystemClock()
    with Peer(answer()) as peer:
        request = Request(method="GET", url=peer.url(), options=HttpOptions(), deadline=clock.monotonic() - 1)
        with pytest.raises(CheckFailed, match="deadline_exceeded"):
            LiveHttp(clock).send(request, door.wire)
    assert peer.connections == 0


def test_peer_that_does_not_read(door: Door):
    """A request that cannot be sent in time is deadline_exceeded: the peer was not given all of it."""
    with Peer(silence, read=False) as peer:
        door.fails(peer.url(), Reason.DEADLINE_EXCEEDED, timeout=0.3, method="POST", body=b"x" * 32_000_000)
    assert door.exchanges[0].phases.transfer is None


def test_connect_timeout(door: Door):
    """A host that does not take the connection is connect_timeout, and the time shows in the connect phase."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        with socket.create_connection(full.getsockname()):  # the backlog holds this one and no further
            door.fails(f"http://127.0.0.1:{full.getsockname()[1]}/", Reason.CONNECT_TIMEOUT, timeout=0.3)
    phases = door.exchanges[0].phases
    assert phases.connect is not None
    assert phases.connect >= 0.25
    assert phases.transfer is None


# --- names and addresses


def test_name_that_does_not_resolve(door: Door):
    """A name that does not resolve is dns_failure, told with host and port."""
    failed = door.fails("http://nothing.invalid/x", Reason.DNS_FAILURE)
    assert "nothing.invalid:80" in failed.detail
    assert door.exchanges[0].phases.dns is not None
    assert door.exchanges[0].phases.connect is None


def test_resolver_that_does_not_answer(door: Door, monkeypatch: pytest.MonkeyPatch):
    """A resolver that hangs does not outlast the deadline."""
    free = threading.Event()

    def hang(*_: object) -> list[object]:
        free.wait(5)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    start = time.monotonic()
    door.fails("http://slow.example/", Reason.DNS_FAILURE, timeout=0.2)
    assert time.monotonic() - start < 4
    free.set()


def test_addresses_are_tried_in_order(door: Door, monkeypatch: pytest.MonkeyPatch):
    """Where the first address refuses, the next one is tried."""
    with Peer(answer(b"ok")) as peer, socket.create_server(("127.0.0.1", 0)) as other:
        dead = other.getsockname()[1]
        other.close()
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)) for port in (dead, peer.port)]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_: found)
        reply = door.send("http://two.example/")
    assert reply.body == b"ok"
    assert reply.exchange.peer_port == peer.port
    assert reply.exchange.phases.dns is not None


def test_an_address_that_hangs_leaves_time_for_the_next(door: Door, monkeypatch: pytest.MonkeyPatch):
    """The deadline is shared among the addresses of a name: a dead first one does not take all of it."""
    with Peer(answer(b"ok")) as peer, socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        with socket.create_connection(full.getsockname()):
            ports = (full.getsockname()[1], peer.port)
            found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)) for port in ports]
            monkeypatch.setattr(socket, "getaddrinfo", lambda *_: found)
            assert door.send("http://two.example/", timeout=0.6).body == b"ok"


def test_refused_wins_over_unreachable(door: Door, monkeypatch: pytest.MonkeyPatch):
    """Where every address fails and one refused, that is the reason: that host was reached."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        dead = other.getsockname()[1]
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        with socket.create_connection(full.getsockname()):
            ports = (dead, full.getsockname()[1])
            found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)) for port in ports]
            monkeypatch.setattr(socket, "getaddrinfo", lambda *_: found)
            door.fails("http://two.example/", Reason.CONNECT_REFUSED, timeout=0.3)


def test_ipv6(door: Door):
    """A literal IPv6 address is reached, and Host has its brackets."""
    with Peer(answer(), host="::1") as peer:
        door.send(peer.url())
    assert peer.headers()["host"] == f"[::1]:{peer.port}"
    assert door.exchanges[0].host == "::1"
    assert door.exchanges[0].peer_address == "::1"


@pytest.mark.parametrize(
    ("version", "host", "family"), [(4, "127.0.0.1", socket.AF_INET), (6, "::1", socket.AF_INET6), (None, "::1", 0)]
)
def test_ip_version(door: Door, monkeypatch: pytest.MonkeyPatch, version: int | None, host: str, family: int):
    """ip_version decides which addresses of a name the resolver is asked for."""
    asked = []

    def resolve(_: str, port: int, family: int, kind: int) -> list[object]:
        asked.append(family)
        return [(socket.AF_INET6 if ":" in host else socket.AF_INET, kind, 6, "", (host, port))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with Peer(answer(), host=host) as peer:
        reply = door.send(peer.url("/", host="some.example"), ip_version=version)
    assert reply.exchange.peer_address == host
    assert asked == [family]


def test_ip_version_against_a_literal(door: Door):
    """A literal address of the other IP version is the flow file's fault."""
    door.fails("http://127.0.0.1:9/", Reason.CONFIG_ERROR, ip_version=6)


def test_refused(door: Door):
    """A port where nothing listens is connect_refused."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
    failed = door.fails(f"http://127.0.0.1:{port}/", Reason.CONNECT_REFUSED)
    assert failed.detail == f"127.0.0.1:{port}: connection refused, while connecting"


# --- broken answers


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (b"", Reason.CONNECTION_CLOSED),
        (b"HTT", Reason.HTTP_PROTOCOL_ERROR),
        (b"SSH-2.0-OpenSSH_9.2\r\n", Reason.HTTP_PROTOCOL_ERROR),
        (b"HTTP/1.1 abc OK\r\n\r\n", Reason.HTTP_PROTOCOL_ERROR),
        (b"HTTP/2.0 200 OK\r\n\r\n", Reason.HTTP_PROTOCOL_ERROR),
        (b"HTTP/1.1 200 OK\r\nX-A: b\r\n", Reason.HTTP_PROTOCOL_ERROR),
        (b"HTTP/1.1 200 OK\r\nX-A: b", Reason.HTTP_PROTOCOL_ERROR),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345", Reason.HTTP_PROTOCOL_ERROR),
        (CHUNKED + b"zz\r\n", Reason.HTTP_PROTOCOL_ERROR),
        (CHUNKED + b"5\r\n123", Reason.HTTP_PROTOCOL_ERROR),
        (CHUNKED + b"3\r\n123\r\n", Reason.HTTP_PROTOCOL_ERROR),
        (b"HTTP/1.1 200 OK\r\nno header here\r\nContent-Length: 1\r\n\r\n1", Reason.HTTP_PROTOCOL_ERROR),
        (b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 150 + b"\r\n", Reason.HTTP_PROTOCOL_ERROR),
        (b"HTTP/1.1 200 OK\r\nX-A: " + b"b" * 70000 + b"\r\n\r\n", Reason.HTTP_PROTOCOL_ERROR),
        (b"HTTP/1.1 103 Early Hints\r\n\r\n" * 40, Reason.HTTP_PROTOCOL_ERROR),
    ],
)
def test_broken_answers(door: Door, reply: bytes, reason: Reason):
    """What is no valid HTTP, or cut short, says so; closed before any status line is told apart."""

    def say(_: Peer, connection: socket.socket, __: bytes) -> None:
        connection.sendall(reply)
        connection.shutdown(socket.SHUT_WR)
        connection.recv(1)

    with Peer(say) as peer:
        door.fails(peer.url(), reason)


@pytest.mark.parametrize("first", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n1"])
def test_reset(door: Door, first: bytes):
    """A connection that is cut, before the answer or in it, is connection_reset."""

    def cut(_: Peer, connection: socket.socket, __: bytes) -> None:
        connection.sendall(first)
        reset(connection)

    with Peer(cut) as peer:
        door.fails(peer.url(), Reason.CONNECTION_RESET)


def test_status_is_known_where_the_body_failed(door: Door):
    """An answer whose body is cut short keeps its status and version in the exchange."""
    with Peer(b"HTTP/1.0 503 No\r\nContent-Length: 10\r\n\r\n12345") as peer:
        door.fails(peer.url(), Reason.HTTP_PROTOCOL_ERROR)
    assert (door.exchanges[0].status, door.exchanges[0].http_version) == (503, "1.0")


def test_early_answer_to_a_large_body(door: Door):
    """A server that answers before it has read the body, and hangs up, is heard."""

    def refuse(_: Peer, connection: socket.socket, __: bytes) -> None:
        connection.recv(1000)
        connection.sendall(answer(b"", "413 Too Large"))
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(1 << 20):
            pass

    with Peer(refuse, read=False) as peer:
        assert door.send(peer.url(), method="POST", body=b"x" * 4_000_000).status == 413


@pytest.mark.parametrize(
    ("reply", "body"),
    [
        (CHUNKED + b"3\r\n123\r\n2\r\n45\r\n0\r\n\r\n", b"12345"),
        (b"HTTP/1.1 200 OK\r\n\r\nuntil the end", b"until the end"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\n" + answer(b"after"), b"after"),
        (b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", b""),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 0\r\n\r\n", b""),
    ],
)
def test_framings(door: Door, reply: bytes, body: bytes):
    """Every framing of RFC 9112 is read: chunked, until close, after interim answers, without a body."""
    with Peer(reply) as peer:
        assert door.send(peer.url()).body == body


def test_head(door: Door):
    """The answer to HEAD has no body, whatever length it announces."""
    with Peer(b"HTTP/1.1 200 OK\r\nContent-Length: 5000000\r\n\r\n") as peer:
        assert door.send(peer.url(), method="HEAD").body == b""


def test_folded_header(door: Door):
    """A header value folded over two lines comes back on one."""
    with Peer(b"HTTP/1.1 200 OK\r\nX-A: one\r\n two\r\nContent-Length: 0\r\n\r\n") as peer:
        assert "\r" not in door.send(peer.url()).value("X-A")


@pytest.mark.parametrize(
    "line", [b": no name", b"X-A: one\rX-B: two", b"X-A: a\0b", b"X A: one", b" folded", b"nothing"]
)
def test_a_line_that_is_no_header_is_a_broken_answer(door: Door, line: bytes):
    """A header without a name, one with a control character, and a line that is none are not read over."""
    with Peer(b"HTTP/1.1 200 OK\r\n" + line + b"\r\nContent-Length: 0\r\n\r\n") as peer:
        door.fails(peer.url(), Reason.HTTP_PROTOCOL_ERROR)


# --- size and coding


@pytest.mark.parametrize(
    ("coding", "packed"),
    [
        ("gzip", gzip.compress(b"hello")),
        ("x-gzip", gzip.compress(b"hel") + gzip.compress(b"lo")),
        ("GZIP", gzip.compress(b"hello") + b"\0\0rubbish"),
        ("deflate", zlib.compress(b"hello")),
        ("deflate", zlib.compress(b"hello")[2:-4]),
        ("gzip, deflate", zlib.compress(gzip.compress(b"hello"))),
        ("identity", b"hello"),
    ],
)
def test_codings(door: Door, coding: str, packed: bytes):
    """gzip, deflate with and without its wrapper, and both together are undone; the size told is that on the wire."""
    with Peer(answer(packed, "200 OK", f"Content-Encoding: {coding}")) as peer:
        reply = door.send(peer.url())
    assert reply.body == b"hello"
    assert reply.exchange.response_size == len(packed)


@pytest.mark.parametrize(
    ("coding", "packed"),
    [
        ("gzip", gzip.compress(b"hello" * 100)[:-9]),
        ("gzip", b"hello"),
        ("deflate", b"\xff\xff\xff\xff"),
        ("br", b"hello"),
        ("gzip, gzip, gzip, gzip, gzip", b"hello"),
    ],
)
def test_bad_codings(door: Door, coding: str, packed: bytes):
    """A body that cannot be unpacked, or is packed in a way that was not asked for, is http_protocol_error."""
    with Peer(answer(packed, "200 OK", f"Content-Encoding: {coding}")) as peer:
        door.fails(peer.url(), Reason.HTTP_PROTOCOL_ERROR)


def test_coding_that_was_asked_for_by_the_flow(door: Door):
    """Where the flow file sets Accept-Encoding, a coding that we do not know comes back as it is."""
    with Peer(answer(b"packed", "200 OK", "Content-Encoding: br")) as peer:
        assert door.send(peer.url(), headers={"Accept-Encoding": "br"}).body == b"packed"


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush()


BOMB = b"\0" * 50_000_000


@pytest.mark.parametrize(
    ("header", "body"),
    [
        ("X-A: b", b"x" * 10_001),
        ("Transfer-Encoding: chunked", b"4e20\r\n" + b"x" * 20_000 + b"\r\n0\r\n\r\n"),
        ("Content-Encoding: gzip", gzip.compress(BOMB)[:9000]),
        ("Content-Encoding: gzip", gzip.compress(b"x" * 6000) * 2),
        ("Content-Encoding: deflate", raw_deflate(BOMB)[:9000]),
        ("Content-Encoding: gzip, gzip", gzip.compress(gzip.compress(BOMB))),
    ],
    ids=["plain", "chunked", "gzip bomb", "gzip members", "deflate bomb", "nested bomb"],
)
def test_too_large(door: Door, header: str, body: bytes):
    """A body above max_size, as it comes or unpacked, is response_too_large, and no more of it is kept than the cap."""
    with Peer(answer(body, "200 OK", header, length="chunked" not in header)) as peer:
        door.send(peer.url(), max_size=200_000_000) if header == "X-A: b" else None  # imports are done
        tracemalloc.start()
        try:
            door.fails(peer.url(), Reason.RESPONSE_TOO_LARGE, max_size=10_000)
            assert tracemalloc.get_traced_memory()[1] < 3_000_000
        finally:
            tracemalloc.stop()


def test_body_at_the_cap(door: Door):
    """A body of exactly max_size passes."""
    with Peer(answer(b"x" * 10_000)) as peer:
        assert len(door.send(peer.url(), max_size=10_000).body) == 10_000
    with Peer(answer(gzip.compress(b"x" * 10_000), "200 OK", "Content-Encoding: gzip")) as peer:
        assert len(door.send(peer.url(), max_size=10_000).body) == 10_000


def test_endless_body_is_cut_at_the_cap(door: Door):
    """A server that sends without end is left at the cap, not at the deadline."""

    def pour(_: Peer, connection: socket.socket, __: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            connection.sendall(b"x" * 65536)

    with Peer(pour) as peer:
        start = time.monotonic()
        door.fails(peer.url(), Reason.RESPONSE_TOO_LARGE, max_size=100_000)
        assert time.monotonic() - start < 4


# --- clock


@pytest.mark.parametrize("offset", [-120, 0, 3600])
def test_clock_skew(door: Door, offset: int):
    """The peer's Date minus our clock is told, to about a second."""

    def dated(_: Peer, connection: socket.socket, __: bytes) -> None:
        connection.sendall(answer(b"", "200 OK", f"Date: {formatdate(time.time() + offset, usegmt=True)}"))

    with Peer(dated) as peer:
        door.send(peer.url())
    skew = door.exchanges[0].clock_skew
    assert skew is not None
    assert abs(skew - offset) <= 0.8


@pytest.mark.parametrize(
    "lines", [(), ("Date: soon",), ("Date: Sun, 99 Nov 2026 25:61:61 GMT",), ("Date: Sun, 22 Nov 2026 04:00:00 GMT", "Age: 60")]
)  # fmt: skip
def test_no_clock_skew(door: Door, lines: tuple[str, ...]):
    """An answer without a Date that can be read, or out of a cache, tells nothing of the peer's clock."""
    with Peer(answer(b"", "200 OK", *lines)) as peer:
        door.send(peer.url())
    assert door.exchanges[0].clock_skew is None


# --- redirects


def redirect(to: str, status: str = "302 Found") -> bytes:
    return answer(b"", status, f"Location: {to}")


def by_path(**replies: bytes):
    """Answer by the first segment of the path."""

    def handle(_: Peer, connection: socket.socket, asked: bytes) -> None:
        name = asked.split(b" ")[1].decode().strip("/").partition("?")[0] or "root"
        connection.sendall(replies[name])

    return handle


def test_redirect_is_returned_by_default(door: Door):
    """With redirects off, a 3xx is the reply."""
    with Peer(redirect("/b")) as peer:
        assert door.send(peer.url()).status == 302
    assert peer.connections == 1


@pytest.mark.parametrize("redirects", [Redirects.SAME_ORIGIN, Redirects.FOLLOW])
def test_redirect_within_the_origin(door: Door, redirects: Redirects):
    """Within the origin a redirect is followed with credentials, each attempt an exchange with its own span id."""
    with Peer(by_path(a=redirect("/b?secret=1#f"), b=answer(b"there"))) as peer:
        reply = door.send(peer.url("/a"), redirects=redirects, headers={"Authorization": "Bearer x"})
    assert reply.body == b"there"
    assert [(e.status, e.span_id, e.resend_count) for e in door.exchanges] == [(302, 1, 0), (200, 2, 1)]
    assert [e.url for e in door.exchanges] == [peer.url("/a"), peer.url("/b?secret=REDACTED")]
    assert peer.headers(1)["traceparent"] == f"00-{0xABC:032x}-{2:016x}-01"
    assert peer.headers(1)["authorization"] == "Bearer x"


def test_redirect_of_a_hidden_path_is_hidden(door: Door):
    """Where the path was filled from a template, a redirect's path is not published: it may repeat the value."""
    with Peer(by_path(a=redirect(f"/{CANARY}"), **{CANARY: answer()})) as peer:
        door.send(peer.url("/a"), safe_url=peer.url("/${x}"), redirects=Redirects.SAME_ORIGIN)
    assert door.exchanges[1].url == peer.url("/REDACTED")


def test_same_origin_refuses_another(door: Door):
    """A redirect to another port is redirect_unexpected under same_origin, and nothing is sent there."""
    with Peer(answer()) as other, Peer(redirect(other.url(f"/?t={CANARY}"))) as peer:
        failed = door.fails(peer.url(), Reason.REDIRECT_UNEXPECTED, redirects=Redirects.SAME_ORIGIN)
    assert other.connections == 0
    assert CANARY not in str(failed)
    assert door.exchanges[-1].status == 302


def test_follow_drops_credentials_on_another_origin(door: Door):
    """On another origin no credential header is sent, whatever its name, nor user information from the Location."""
    headers = {"authorization": "x", "Cookie": "y", "DPoP": "z", "X-Api-Key": "k", "X-Other": "o", "Accept": "text/x"}
    with Peer(answer(b"there")) as other:
        to = f"http://me:{CANARY}@127.0.0.1:{other.port}/"
        with Peer(redirect(to)) as peer:
            reply = door.send(
                peer.url(), redirects=Redirects.FOLLOW, headers=headers, credential_headers=frozenset({"x-api-key"})
            )
    assert reply.body == b"there"
    sent = other.headers()
    assert sent["accept"] == "text/x"
    assert not sent.keys() & {"authorization", "cookie", "dpop", "x-api-key", "x-other"}
    assert CANARY not in repr(door.exchanges)


@pytest.mark.parametrize(
    ("status", "method", "then"),
    [
        ("301 M", "POST", "GET"),
        ("302 M", "POST", "GET"),
        ("303 M", "POST", "GET"),
        ("303 M", "PUT", "GET"),
        ("303 M", "HEAD", "HEAD"),
        ("302 M", "PUT", "PUT"),
        ("307 M", "POST", "POST"),
        ("308 M", "POST", "POST"),
    ],
)
def test_method_after_a_redirect(door: Door, status: str, method: str, then: str):
    """Method and body change as browsers do: 303, and POST on 301 and 302, become GET; 307 and 308 keep both."""
    with Peer(by_path(a=redirect("/b", status), b=answer(b""))) as peer:
        body = None if method == "HEAD" else b"data"
        door.send(
            peer.url("/a"), method=method, body=body, redirects=Redirects.SAME_ORIGIN, headers={"Content-Type": "x/y"}
        )
    kept = then == method and body is not None
    assert peer.line(1) == f"{then} /b HTTP/1.1"
    assert peer.body(1) == (b"data" if kept else b"")
    if body is not None:
        assert ("content-type" in peer.headers(1)) is kept


@pytest.mark.parametrize("status", ["307 M", "308 M"])
def test_body_never_goes_to_another_origin(door: Door, status: str):
    """A redirect that would carry the body to another origin is refused."""
    with Peer(answer()) as other, Peer(redirect(other.url(), status)) as peer:
        door.fails(peer.url(), Reason.REDIRECT_UNEXPECTED, redirects=Redirects.FOLLOW, method="POST", body=b"secret")
    assert other.connections == 0


@pytest.mark.parametrize("limit", [0, 3])
def test_redirect_loop(door: Door, limit: int):
    """More redirects than allowed are redirect_loop; the last answer is in the exchanges."""
    with Peer(redirect("/")) as peer:
        door.fails(peer.url(), Reason.REDIRECT_LOOP, redirects=Redirects.SAME_ORIGIN, max_redirects=limit)
    assert len(door.exchanges) == limit + 1


@pytest.mark.parametrize("to", ["myapp://callback", "http://[bad/", "javascript:alert(1)", "http://h:99999/"])
def test_redirect_to_what_is_no_url(door: Door, to: str):
    """A Location that is no http URL is redirect_unexpected."""
    with Peer(redirect(to)) as peer:
        door.fails(peer.url(), Reason.REDIRECT_UNEXPECTED, redirects=Redirects.FOLLOW)


def test_redirect_to_plain_http_beyond_loopback(door: Door):
    """Plain http beyond loopback is not reached by a redirect either, unless insecure_http allows it."""
    with Peer(redirect("http://nothing.invalid/")) as peer:
        door.fails(peer.url(), Reason.REDIRECT_UNEXPECTED, redirects=Redirects.FOLLOW)
        door.fails(peer.url(), Reason.DNS_FAILURE, redirects=Redirects.FOLLOW, insecure_http=True)


def test_redirect_without_location(door: Door):
    """A 3xx without a Location, and a 304, is the reply."""
    with Peer(answer(b"", "302 Found")) as peer:
        assert door.send(peer.url(), redirects=Redirects.FOLLOW).status == 302
    with Peer(b"HTTP/1.1 304 Not Modified\r\nLocation: /x\r\n\r\n") as peer:
        assert door.send(peer.url(), redirects=Redirects.FOLLOW).status == 304


def test_deadline_spans_redirects(door: Door):
    """The time-out is the total of all attempts of a request."""

    def slowly(peer: Peer, connection: socket.socket, _: bytes) -> None:
        peer.done.wait(0.15)
        connection.sendall(redirect("/"))

    with Peer(slowly) as peer:
        start = time.monotonic()
        with pytest.raises(CheckFailed) as caught:
            door.send(peer.url(), redirects=Redirects.FOLLOW, timeout=0.4, max_redirects=20)
        assert time.monotonic() - start < 4
    assert caught.value.reason in {Reason.READ_TIMEOUT, Reason.DEADLINE_EXCEEDED}


# --- threads


def test_many_threads_share_one_door():
    """One door serves many threads; each wire gets its own exchanges."""
    door = LiveHttp(SystemClock())

    def echo(_: Peer, connection: socket.socket, asked: bytes) -> None:
        connection.sendall(answer(asked.split(b" ")[1]))

    wires = [Wire(trace_id=n, draw_span_id=lambda n=n: n) for n in range(1, 9)]
    bodies: dict[int, list[bytes]] = {}

    def work(wire: Wire, url: str) -> None:
        bodies[wire.trace_id] = [
            door.send(
                Request(
                    method="GET", url=f"{url}{wire.trace_id}", options=HttpOptions(), deadline=time.perf_counter() + 5
                ),
                wire,
            ).body
            for _ in range(5)
        ]

    with Peer(echo) as peer:
        threads = [threading.Thread(target=work, args=(w, peer.url())) for w in wires]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
    assert bodies == {n: [f"/{n}".encode()] * 5 for n in range(1, 9)}
    assert all(len(w.exchanges) == 5 and {e.span_id for e in w.exchanges} == {w.trace_id} for w in wires)


def test_importing_the_door_is_cheap():
    """Commands that send nothing do not pay for importing requests."""
    code = "import sys, otelprobe.http; sys.exit(bool({'requests', 'urllib3', 'ssl'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
