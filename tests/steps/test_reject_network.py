"""Cases that are about the network: keys at a URL of ours, plain http, old TLS, and a burst."""

import socket
import ssl
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trustme

from otelprobe.fields import DEFAULT_HTTP, Listen, SecretRef
from otelprobe.reasons import CheckFailed, Reason
from otelprobe.rejection.listener import Bait, Listener
from otelprobe.rejection.trap import listening
from otelprobe.result import CaseResult, Fact
from otelprobe.state import State
from otelprobe.step import Context
from otelprobe.steps.reject import Reject
from tests.conftest import Answer, Route, Seen, Server, free_port
from tests.peers import Handler, Peer, answer
from tests.steps.test_reject_cases import findings
from tests.steps.weak_api import OK, REFUSED, WeakApi
from tests.token_kit import World, jwk, token

KEY_URLS = ("key_url", "certificate_url")


@pytest.fixture
def world(server: Server, tmp_path: Path) -> World:
    """Give a world in which slow cases are due at once."""
    world = World(server.url)
    world.state = State(tmp_path)
    return world


def context(world: World, alg: str = "RS256", **options: Any) -> Context:
    """Give a run a good token and its key."""
    ctx = world.context(world.key_set(jwk(alg)), world.tokens(token(alg)))
    return replace(ctx, options=replace(DEFAULT_HTTP, **options))


def attack(url: str, *cases: str, **more: Any) -> Reject:
    """Offer intrusive cases."""
    return Reject(name="reject", url=url, cases=cases, allow_intrusive=True, intrusive_hosts=("127.0.0.1",), **more)


def ours() -> Listener:
    """Name a listener of our own."""
    return Listener(url=f"http://127.0.0.1:{free_port()}/probe/")


# Keys at a URL of ours


@pytest.mark.parametrize("alg", ["RS256", "ES256", "EdDSA"])
@pytest.mark.parametrize(("weak", "taken"), [("jku", "key_url"), ("x5u", "certificate_url")])
def test_an_api_that_fetches_the_key_and_believes_it(
    world: World, server: Server, weak: str, taken: str, alg: str
) -> None:
    """Just the header that it follows is accepted, which is critical; that it fetched is told too."""
    WeakApi(server, alg, world.clock, frozenset({weak}))
    accepted, done, failed = findings(
        attack(f"{server.url}/v1/orders", *KEY_URLS, listener=ours()), context(world, alg)
    )
    assert accepted == {taken}
    assert failed is not None
    assert failed.reason is Reason.REJECTION_ACCEPTED
    assert {case.case for case in done.cases if case.fetched} == {taken}
    assert done.facts[Fact.REJECTION_FETCHED] == (taken,)


def test_an_api_that_only_fetches(world: World, server: Server) -> None:
    """A refusal after a fetch is a finding of its own: anybody can make the API send requests."""
    WeakApi(server, "RS256", world.clock, frozenset({"jku_asked"}))
    listener = ours()
    accepted, done, failed = findings(attack(f"{server.url}/v1/orders", *KEY_URLS, listener=listener), context(world))
    assert accepted == set()
    assert failed is not None
    assert (failed.reason, failed.detail) == (
        Reason.KEY_URL_FETCHED,
        "fetched the URL that a bad token names: key_url",
    )
    assert done.cases == (
        CaseResult("key_url", accepted=False, status=401, fetched=True),
        CaseResult("certificate_url", accepted=False, status=401, fetched=False),
    )
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", listener.address.port), 1)


def test_an_api_that_looks_at_neither(world: World, server: Server) -> None:
    """It passes without a finding, and the tokens named nothing but the listener of the flow file."""
    WeakApi(server, "RS256", world.clock)
    accepted, done, failed = findings(attack(f"{server.url}/v1/orders", *KEY_URLS, listener=ours()), context(world))
    assert (accepted, failed) == (set(), None)
    assert [case.fetched for case in done.cases] == [False, False]
    assert Fact.REJECTION_FETCHED not in done.facts


def test_an_address_that_is_taken(world: World, server: Server) -> None:
    """Where the prober cannot listen the flow file is at fault, and no bad token is sent."""
    WeakApi(server, "RS256", world.clock)
    port = int(server.url.rpartition(":")[2])
    listener = Listener(url="http://probe.example.com/", bind=Listen("127.0.0.1", port))
    _, _, failed = findings(attack(f"{server.url}/v1/orders", "key_url", listener=listener), context(world))
    assert failed is not None
    assert failed.reason is Reason.CONFIG_ERROR
    assert failed.detail == (
        f"case key_url: listener: cannot listen at 127.0.0.1:{port} (Address already in use): set listener.bind"
    )
    assert len(server.seen) == 2


@pytest.mark.parametrize(
    ("url", "bind", "address"),
    [
        ("http://127.0.0.1:8089/x", None, Listen("127.0.0.1", 8089)),
        ("http://[::1]:8089", None, Listen("::1", 8089)),
        ("https://probe.example.com/x", None, Listen("", 443)),
        ("http://probe.example.com", None, Listen("", 80)),
        ("https://probe.example.com", Listen("", 8089), Listen("", 8089)),
    ],
)
def test_where_it_listens(url: str, bind: Listen | None, address: Listen) -> None:
    """Nothing said means the port of the URL, and no more of the world than the URL is for."""
    assert Listener(url=url, bind=bind).address == address


def test_a_listener_is_not_for_others(world: World) -> None:
    """Only the very path is served and noted; a few clients are taken in, and one that is silent holds nothing up."""
    listener = ours()
    bait = Bait("/otelprobe/x/keys.json", b"{}", "application/json")
    port = listener.address.port

    def get(path: str) -> bytes:
        with socket.create_connection(("127.0.0.1", port), 2) as client:
            client.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
            return client.makefile("rb").read()

    with listening(listener, bait, 1.0) as trap:
        assert b" 404 " in get("/probe/otelprobe/y/keys.json")
        assert not trap.sprung(0.0)
        assert get("/probe/otelprobe/x/keys.json?a=b").endswith(b"\r\n\r\n{}")
        assert trap.sprung(0.0)
        idle = [socket.create_connection(("127.0.0.1", port), 2) for _ in range(20)]
        with pytest.raises(CheckFailed, match="another case"), listening(listener, bait, 0.01):
            pass
    for client in idle:
        client.close()
    with listening(listener, bait, 1.0) as trap:
        assert not trap.sprung(0.0)


# Plain http and old TLS


def guarded(good: str) -> Handler:
    """Answer 200 to the good token, 401 to any other."""

    def handle(_: Peer, connection: socket.socket, asked: bytes) -> None:
        fits = f"authorization: bearer {good}".encode() in asked.lower().replace(good.lower().encode(), good.encode())
        connection.sendall(answer() if fits else answer(b"", "401 Unauthorized", "WWW-Authenticate: Bearer"))

    return handle


@contextmanager
def https(
    world: World, tmp_path: Path, lowest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2
) -> Iterator[tuple[Peer, Context]]:
    """Serve the API by https, with this as the lowest version; give a run that trusts it."""
    authority, tls = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        tls.minimum_version = lowest
    tls.set_ciphers("ALL:@SECLEVEL=0")
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    ctx = context(world, ca_file=str(tmp_path / "ca.pem"))
    with Peer(guarded(token("RS256")), tls=tls) as peer:
        yield peer, ctx


@pytest.mark.parametrize(
    ("served", "status", "taken"),
    [
        (Answer(200), 200, True),
        (REFUSED, 401, True),
        (Answer(403, b"", [("WWW-Authenticate", "Bearer")]), 403, True),
        (Answer(302, b"", [("Location", "http://127.0.0.1/login")]), 302, True),
        (Answer(302, b"", [("Location", "/login")]), 302, True),
        (Answer(301, b"", [("Location", "https://127.0.0.1/v1/orders")]), 301, False),
        (Answer(308, b"", [("Location", "HTTPS://127.0.0.1/v1/orders")]), 308, False),
        (Answer(403), 403, False),
        (Answer(404), 404, False),
        (Answer(426), 426, False),
        (Answer(429), 429, False),
        (Answer(503), 503, False),
    ],
)
def test_plain_http(world: World, server: Server, tmp_path: Path, served: Answer, status: int, taken: bool) -> None:
    """What is looked at by plain http is a finding, what is refused or sent to https is none, whatever its status."""
    server.on("/v1/orders", served)
    with https(world, tmp_path) as (peer, ctx):
        reject = Reject(
            name="reject", url=peer.url("/v1/orders"), cases=("plain_http",), plain_url=f"{server.url}/v1/orders"
        )
        accepted, done, failed = findings(reject, ctx)
    assert done.cases == (CaseResult("plain_http", accepted=taken, status=status),)
    assert accepted == ({"plain_http"} if taken else set())
    assert (failed.reason if failed else None) is (Reason.REJECTION_ACCEPTED if taken else None)
    assert done.warnings == ()


def test_nothing_of_the_operators_goes_by_plain_http(
    world: World, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No good token, no header of the flow file's, no query: only the path, garbage, and our marks."""
    monkeypatch.setenv("GATE", "gate-canary")
    server.on("/v1/orders", REFUSED)
    with https(world, tmp_path) as (peer, ctx):
        reject = Reject(
            name="reject",
            url=peer.url("/v1/orders?key=canary"),
            cases=("plain_http",),
            headers={"X-Tenant": "tenant-canary"},
            plain_url=f"{server.url}/v1/orders",
        )
        options = replace(ctx.options, headers={"X-Gate": SecretRef(env="GATE")})
        findings(reject, replace(ctx, options=options))
    (seen,) = server.seen
    assert seen.headers["authorization"] == "Bearer otelprobe-garbage"
    assert seen.headers["x-otelprobe-case"] == "plain_http"
    assert "canary" not in repr(seen)
    assert not {"x-tenant", "x-gate"} & seen.headers.keys()


def test_the_port_of_https_is_asked_by_default(world: World, tmp_path: Path) -> None:
    """A server that speaks TLS only breaks the connection off, or says so; both are refusals."""
    with https(world, tmp_path) as (peer, ctx):
        accepted, done, failed = findings(Reject(name="reject", url=peer.url("/v1"), cases=("plain_http",)), ctx)
        assert ctx.wire.exchanges[1].url == f"http://127.0.0.1:{peer.port}/v1"
    assert (accepted, failed) == (set(), None)
    assert done.cases == (CaseResult("plain_http", accepted=False, status=None),)


@pytest.mark.parametrize(
    ("lowest", "taken"),
    [
        (ssl.TLSVersion.TLSv1, {"tls_1_0", "tls_1_1"}),
        (ssl.TLSVersion.TLSv1_1, {"tls_1_1"}),
        (ssl.TLSVersion.TLSv1_2, set()),
    ],
)
def test_old_tls(world: World, tmp_path: Path, lowest: ssl.TLSVersion, taken: set[str]) -> None:
    """Each version that would be spoken is a finding, and nothing but the two good requests is sent."""
    with https(world, tmp_path, lowest) as (peer, ctx):
        accepted, done, failed = findings(Reject(name="reject", url=peer.url(), cases=("tls_1_0", "tls_1_1")), ctx)
        assert len(peer.requests) == 2
    assert accepted == taken
    assert [case.status for case in done.cases] == [None, None]
    assert (failed.reason if failed else None) is (Reason.REJECTION_ACCEPTED if taken else None)


def test_an_api_by_plain_http_has_neither(world: World, server: Server) -> None:
    """Where the flow file itself says http the cases are left out, and a named one says why."""
    WeakApi(server, "RS256", world.clock)
    reject = Reject(name="reject", url=f"{server.url}/v1/orders", cases=("N28", "garbage"))
    _, done, failed = findings(reject, context(world))
    assert failed is None
    assert [case.case for case in done.cases] == ["garbage"]
    assert [w.detail for w in done.warnings] == ["the API is not asked by https: plain_http, tls_1_0, tls_1_1 left out"]


# A burst


def limiting(good: str, after: int, then: Answer) -> Route:
    """Refuse so many bad credentials, and then answer otherwise, to the good one too."""
    bad = 0

    def route(seen: Seen) -> Answer:
        nonlocal bad
        fits = seen.headers.get("authorization") == f"Bearer {good}"
        bad += not fits
        return then if bad > after else OK if fits else REFUSED

    return route


PAGE = Answer(403, b"<html>you have been blocked</html>", [("Content-Type", "text/html"), ("Server", "cloudflare")])


@pytest.mark.parametrize(
    ("after", "then", "sent", "limited"),
    [
        (5, Answer(429), 5, True),
        (5, PAGE, 5, True),
        (20, Answer(429), 20, True),
        (99, OK, 20, False),
        (3, Answer(503), 20, False),
    ],
)
def test_a_burst(world: World, server: Server, after: int, then: Answer, sent: int, limited: bool) -> None:
    """It ends at the first sign of a limit, or after twenty; that is a pass, and no limit a warning."""
    server.on("/v1/orders", limiting(token("RS256"), after, then))
    accepted, done, failed = findings(attack(f"{server.url}/v1/orders", "burst", "garbage"), context(world))
    assert (accepted, failed) == (set(), None)
    assert (done.facts[Fact.REJECTION_BURST], done.facts[Fact.REJECTION_LIMITED]) == (sent, limited)
    assert [w.reason for w in done.warnings] == ([] if limited else [Reason.RATE_LIMIT_UNSEEN])
    assert [case.case for case in done.cases] == ["garbage", "burst"]


def test_a_burst_that_gets_in(world: World, server: Server) -> None:
    """One that is taken ends it, and is an acceptance like any other."""
    server.on("/v1/orders", limiting(token("RS256"), 3, OK))
    accepted, done, failed = findings(attack(f"{server.url}/v1/orders", "burst"), context(world))
    assert accepted == {"burst"}
    assert failed is not None
    assert (failed.reason, done.facts[Fact.REJECTION_BURST]) == (Reason.REJECTION_ACCEPTED, 4)
    assert done.warnings == ()


def test_a_burst_that_is_hung_up_on(world: World, server: Server) -> None:
    """A connection that breaks proves no limit, and fails nothing."""
    with Peer(_hanging_up_after(5, token("RS256"))) as peer:
        ctx = world.context(world.key_set(jwk("RS256")), world.tokens(token("RS256")))
        _, done, failed = findings(attack(peer.url(), "burst"), ctx)
    assert failed is None
    assert (done.facts[Fact.REJECTION_BURST], done.facts[Fact.REJECTION_LIMITED]) == (6, False)
    assert [(w.reason, w.detail) for w in done.warnings] == [
        (Reason.REJECTION_INCONCLUSIVE, "burst: request 6 of 20 ended it by connection_closed, not by a rate limit")
    ]


def _hanging_up_after(number: int, good: str) -> Handler:
    refuse, bad = guarded(good), 0

    def handle(peer: Peer, connection: socket.socket, asked: bytes) -> None:
        nonlocal bad
        bad += b"garbage" in asked
        if bad <= number:
            refuse(peer, connection, asked)

    return handle


def test_no_burst_where_the_good_token_fails(world: World, server: Server) -> None:
    """It proves nothing there, and would only make things worse."""
    server.on("/v1/orders", REFUSED)
    _, done, failed = findings(attack(f"{server.url}/v1/orders", "burst"), context(world))
    assert len(server.seen) == 2
    assert failed is not None
    assert failed.reason is Reason.REJECTION_INCONCLUSIVE
    assert done.cases == ()


# What the flow file may say


@pytest.mark.parametrize(
    ("more", "fault"),
    [
        ({"cases": ("key_url",)}, ("cases", "key_url needs listener")),
        (
            {"plain_url": "http://other.example.com/"},
            ("plain_url", "must be http, at the host of url, and without ${...}"),
        ),
        ({"plain_url": "https://127.0.0.1/"}, ("plain_url", "must be http, at the host of url, and without ${...}")),
    ],
)
def test_faults(more: dict[str, Any], fault: tuple[str, str]) -> None:
    """What cannot be is said before anything is sent."""
    allowed: dict[str, Any] = {"allow_intrusive": True, "intrusive_hosts": ("127.0.0.1",)}
    assert fault in list(Reject(name="reject", url="https://127.0.0.1/v1", **allowed, **more).faults())
