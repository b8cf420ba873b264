"""Proxies: which one is chosen, how it is spoken to, and whose fault it is when it fails."""

import base64
import datetime as dt
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from otelprobe.http import environment_in_force
from otelprobe.reasons import CheckFailed, Reason
from otelprobe.transport.route import Proxy, choose_proxy, masked, read_proxy, read_target
from tests.peers import Door, Peer, answer, clean_environment, silence, trickle, tunnel

CANARY = "canary-77aa"


@pytest.fixture(autouse=True)
def _environment() -> Iterator[None]:
    with clean_environment():
        yield


@pytest.fixture
def door() -> Door:
    return Door()


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def ca_file(ca: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    ca.cert_pem.write_to_path(path)
    return str(path)


@pytest.fixture(scope="module")
def tls(ca: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1").configure_cert(context)
    return context


# --- spoken to


def test_http_goes_in_absolute_form(door: Door):
    """A plain http request is given to the proxy in absolute form, with the proxy's credentials and no tunnel."""
    with Peer(answer(b"by proxy")) as proxy:
        reply = door.send("http://api.invalid:8080/a?b=c", proxy=f"http://me:p%40ss@127.0.0.1:{proxy.port}")
    assert reply.body == b"by proxy"
    assert proxy.line() == "GET http://api.invalid:8080/a?b=c HTTP/1.1"
    assert proxy.headers()["host"] == "api.invalid:8080"
    assert proxy.headers()["proxy-authorization"] == "Basic " + base64.b64encode(b"me:p@ss").decode()
    assert (reply.exchange.host, reply.exchange.port) == ("api.invalid", 8080)
    assert (reply.exchange.peer_address, reply.exchange.peer_port) == ("127.0.0.1", proxy.port)


def test_https_goes_through_a_tunnel(door: Door, tls: ssl.SSLContext, ca_file: str):
    """An https request goes through CONNECT; the proxy's credentials stay outside of the tunnel."""
    with Peer(answer(b"inside"), tls=tls) as peer, Peer(tunnel()) as proxy:
        reply = door.send(peer.url("/x"), ca_file=ca_file, proxy=f"http://me:{CANARY}@127.0.0.1:{proxy.port}")
    assert reply.body == b"inside"
    assert proxy.line() == f"CONNECT 127.0.0.1:{peer.port} HTTP/1.1"
    assert "proxy-authorization" in proxy.headers()
    assert "authorization" not in proxy.headers()
    assert peer.line() == "GET /x HTTP/1.1"
    assert "proxy-authorization" not in peer.headers()
    assert reply.exchange.tls is not None


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_https_proxy(door: Door, tls: ssl.SSLContext, ca_file: str, scheme: str):
    """A proxy that is itself reached by TLS works for http, and for https as TLS inside TLS."""
    with Peer(answer(b"x" * 300_000), tls=tls if scheme == "https" else None) as peer:
        handler = tunnel() if scheme == "https" else answer(b"x" * 300_000)
        with Peer(handler, tls=tls) as proxy:
            reply = door.send(peer.url(), ca_file=ca_file, proxy=proxy.url(""))
    assert len(reply.body) == 300_000
    assert (reply.exchange.tls is not None) is (scheme == "https")


def test_deadline_holds_inside_two_tls_layers(door: Door, tls: ssl.SSLContext, ca_file: str):
    """The total deadline is kept through an https proxy too."""
    with Peer(trickle(answer(b"x" * 500)), tls=tls) as peer, Peer(tunnel(), tls=tls) as proxy:
        start = time.monotonic()
        door.fails(peer.url(), Reason.DEADLINE_EXCEEDED, ca_file=ca_file, proxy=proxy.url(""), timeout=0.4)
        assert time.monotonic() - start < 4


def test_certificate_is_diagnosed_through_the_proxy(door: Door, ca: trustme.CA, ca_file: str):
    """An expired certificate behind a proxy keeps its own reason and facts."""
    now = dt.datetime.now(dt.UTC)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    cert = ca.issue_cert("127.0.0.1", not_before=now - dt.timedelta(days=9), not_after=now - dt.timedelta(days=2))
    cert.configure_cert(context)
    with Peer(answer(), tls=context) as peer, Peer(tunnel()) as proxy:
        failed = door.fails(peer.url(), Reason.TLS_CERT_EXPIRED, ca_file=ca_file, proxy=proxy.url())
    assert f"127.0.0.1:{peer.port}" in failed.detail
    assert door.exchanges[0].tls is not None


# --- failing


@pytest.mark.parametrize("target", ["http://api.invalid/", "https://api.invalid/"])
@pytest.mark.parametrize("status", ["407 Proxy Authentication Required", "407 No"])
def test_proxy_that_wants_credentials(door: Door, target: str, status: str):
    """407 is proxy_error, tunnel or not."""
    with Peer(answer(b"", status, "Proxy-Authenticate: Basic")) as proxy:
        failed = door.fails(target, Reason.PROXY_ERROR, proxy=f"http://me:{CANARY}@127.0.0.1:{proxy.port}")
    assert "407" in failed.detail
    assert CANARY not in repr(failed) + repr(door.exchanges)


@pytest.mark.parametrize(
    "handler",
    [answer(b"", "403 Forbidden"), answer(b"", "502 Bad Gateway"), b"", b"rubbish\r\n\r\n", b"HTTP/1.1 200 OK\r\n"],
)
def test_tunnel_that_does_not_open(door: Door, handler: bytes):
    """A proxy that refuses CONNECT, or answers it with rubbish, is proxy_error."""
    with Peer(handler) as proxy:
        failed = door.fails("https://api.invalid/", Reason.PROXY_ERROR, proxy=proxy.url())
    assert f"proxy 127.0.0.1:{proxy.port}" in failed.detail


def test_proxy_that_says_nothing(door: Door):
    """A proxy that does not answer CONNECT in time is proxy_error."""
    with Peer(silence) as proxy:
        door.fails("https://api.invalid/", Reason.PROXY_ERROR, proxy=proxy.url(), timeout=0.3)


@pytest.mark.parametrize("target", ["http://api.invalid/", "https://api.invalid/"])
def test_proxy_out_of_reach(door: Door, target: str):
    """A proxy that refuses the connection, or whose name does not resolve, is proxy_error, not the target's fault."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
    door.fails(target, Reason.PROXY_ERROR, proxy=f"http://127.0.0.1:{port}")
    door.fails(target, Reason.PROXY_ERROR, proxy="http://proxy.invalid:3128")


def test_https_proxy_that_is_not_trusted(door: Door, tls: ssl.SSLContext):
    """An https proxy with a certificate that is not trusted is proxy_error."""
    with Peer(answer(), tls=tls) as proxy:
        door.fails("http://api.invalid/", Reason.PROXY_ERROR, proxy=proxy.url())


@pytest.mark.parametrize(
    "text",
    [
        f"socks5://me:{CANARY}@h:1",
        f"socks5h://{CANARY}:1",
        f"ftp://{CANARY}:1",
        f"http://me:{CANARY}@",
        f"http://me:{CANARY}@h:port",
        f"http://me:{CANARY}@h:99999",
        "http://",
    ],
)
def test_unusable_proxy_is_a_config_error(door: Door, text: str):
    """A proxy that cannot be used is a config_error that does not repeat it."""
    failed = door.fails("http://api.invalid/", Reason.CONFIG_ERROR, proxy=text)
    assert failed.detail.startswith("http.proxy: ")
    assert CANARY not in failed.detail


# --- chosen


def chosen(url: str, configured: str | None = None) -> str | None:
    proxy = choose_proxy(read_target(url), configured)
    return None if proxy is None else proxy.host


def test_environment_proxies(monkeypatch: pytest.MonkeyPatch):
    """HTTP_PROXY serves http, HTTPS_PROXY https, ALL_PROXY what is left; the lower case wins."""
    assert chosen("http://h/") is None
    monkeypatch.setenv("ALL_PROXY", "all:1")
    monkeypatch.setenv("HTTPS_PROXY", "upper:1")
    assert (chosen("http://h/"), chosen("https://h/")) == ("all", "upper")
    monkeypatch.setenv("https_proxy", "lower:1")
    assert chosen("https://h/") == "lower"
    monkeypatch.setenv("https_proxy", "")
    assert chosen("https://h/") == "all"
    assert chosen("http://127.0.0.1/") == "all"


def test_flow_file_wins(monkeypatch: pytest.MonkeyPatch):
    """The flow file's proxy wins over the environment and NO_PROXY, and `none` switches it off."""
    monkeypatch.setenv("HTTP_PROXY", "http://env:1")
    monkeypatch.setenv("NO_PROXY", "*")
    assert chosen("http://h/", "http://own:1") == "own"
    monkeypatch.delenv("NO_PROXY")
    assert chosen("http://h/", "none") is None


def test_http_proxy_is_not_believed_in_cgi(monkeypatch: pytest.MonkeyPatch):
    """In a CGI process HTTP_PROXY may come from a client's header and is not used."""
    monkeypatch.setenv("HTTP_PROXY", "http://env:1")
    monkeypatch.setenv("REQUEST_METHOD", "GET")
    assert chosen("http://h/") is None


@pytest.mark.parametrize(
    ("no_proxy", "url", "exempt"),
    [
        ("*", "http://any/", True),
        ("example.com", "http://example.com/", True),
        ("example.com", "http://api.example.com/", True),
        (".example.com", "http://api.example.com/", True),
        ("*.example.com", "http://api.example.com/", True),
        ("EXAMPLE.com", "http://API.Example.COM/", True),
        ("example.com", "http://notexample.com/", False),
        ("example.com", "http://example.com.evil/", False),
        ("a, example.com ,b", "http://example.com/", True),
        ("a example.com", "http://example.com/", True),
        ("example.com:8080", "http://example.com:8080/", True),
        ("example.com:8080", "http://example.com/", False),
        ("example.com:443", "https://example.com/", True),
        ("127.0.0.1", "http://127.0.0.1:9/", True),
        ("127.0.0.1", "http://127.0.0.2/", False),
        ("10.0.0.0/8", "http://10.2.3.4/", True),
        ("10.0.0.0/8", "http://11.2.3.4/", False),
        ("10.0.0.0/8", "http://host/", False),
        ("fd00::/8", "http://[fd00::1]/", True),
        ("::1", "http://[::1]:80/", True),
        ("0:0:0:0:0:0:0:1", "http://[::1]/", True),
        ("[::1]:81", "http://[::1]:80/", False),
        ("localhost", "http://127.0.0.1/", False),
        ("", "http://127.0.0.1/", False),
        (",,", "http://h/", False),
        ("10.0.0.0/x", "http://10.0.0.1/", False),
    ],
)
def test_no_proxy(monkeypatch: pytest.MonkeyPatch, no_proxy: str, url: str, exempt: bool):
    """NO_PROXY names hosts with their sub-domains, addresses, CIDRs and ports; loopback is not exempt by itself."""
    monkeypatch.setenv("ALL_PROXY", "http://p:1")
    monkeypatch.setenv("NO_PROXY", no_proxy)
    assert (chosen(url) is None) is exempt


@pytest.mark.parametrize(
    ("text", "proxy"),
    [
        ("h:3128", Proxy("h", 3128)),
        ("http://h", Proxy("h", 80)),
        ("https://h/", Proxy("h", 443, tls=True)),
        ("http://[::1]:3128", Proxy("::1", 3128)),
        ("http://u:p%2Fw@h:1", Proxy("h", 1, credentials="u:p/w")),
        ("http://u:p@ss@h:1", Proxy("h", 1, credentials="u:p@ss")),
    ],
)
def test_read_proxy(text: str, proxy: Proxy):
    """A proxy is read as people write it, and its repr hides the credentials."""
    assert read_proxy(text, "x") == proxy
    assert "p/w" not in repr(proxy)


def test_socks_is_named(monkeypatch: pytest.MonkeyPatch):
    """A SOCKS proxy of the environment is refused with the variable's name and the way out."""
    monkeypatch.setenv("ALL_PROXY", "socks5://h:1")
    with pytest.raises(CheckFailed) as caught:
        chosen("http://h/")
    assert caught.value.detail == "ALL_PROXY: SOCKS is not supported; give an http:// or https:// proxy"


def test_environment_in_force(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """What the environment sets is shown as it is spelled, with credentials masked, the CA file that wins only."""
    assert environment_in_force() == {}
    monkeypatch.setenv("HTTPS_PROXY", f"http://me:{CANARY}@proxy:3128")
    monkeypatch.setenv("http_proxy", f"me:{CANARY}@proxy:3128")
    monkeypatch.setenv("NO_PROXY", "a,b")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/r.pem")
    assert environment_in_force() == {
        "http_proxy": "***@proxy:3128",
        "HTTPS_PROXY": "http://***@proxy:3128",
        "NO_PROXY": "a,b",
        "REQUESTS_CA_BUNDLE": "/r.pem",
    }
    monkeypatch.setenv("SSL_CERT_FILE", "/s.pem")
    assert "REQUESTS_CA_BUNDLE" not in environment_in_force()


@pytest.mark.parametrize("text", ["http://u:c://x@h:1", "http://u:c@x/@h:1", "u:c@h", "http://u@h"])
def test_masked(text: str):
    """No part of the user information is shown, however it was written."""
    assert masked(text).endswith("***@" + text.rpartition("@")[2])
    assert "c" not in masked(text).partition("***")[2]


def test_environment_proxy_is_used(door: Door, monkeypatch: pytest.MonkeyPatch):
    """A request goes through the environment's proxy, loopback included, unless NO_PROXY names it; a door looks once."""
    with Peer(answer(b"direct")) as peer, Peer(answer(b"proxied")) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url())
        assert door.send(peer.url()).body == b"proxied"
        monkeypatch.setenv("NO_PROXY", "127.0.0.0/8")
        assert door.send(peer.url()).body == b"proxied"
        assert Door().send(peer.url()).body == b"direct"
