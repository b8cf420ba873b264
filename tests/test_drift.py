"""Drift: a change against the learned baseline is told once, or again and again, and fails a run only by policy."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from otelprobe.drift import DriftPolicy, compare
from otelprobe.http import LiveHttp
from otelprobe.plan import FlowPlan
from otelprobe.provider import Provider
from otelprobe.reasons import Blame, Counts, Outcome, Reason
from otelprobe.result import DriftChange, DriftSubject, Exchange, FlowResult, TlsFacts
from otelprobe.run import Tools, run_flow
from otelprobe.state import Memory, State
from otelprobe.step import ProviderMetadata
from otelprobe.steps.discover import Discover
from otelprobe.steps.status_page import StatusPage
from tests.conftest import Answer, Server
from tests.token_kit import CANARY, ISSUER, FixedClock, World, token

DOCUMENT: dict[str, Any] = {
    "issuer": ISSUER,
    "scopes_supported": ["openid", "orders:read"],
    "id_token_signing_alg_values_supported": ["RS256", "ES256"],
    "require_pushed_authorization_requests": True,
    "mtls_endpoint_aliases": {"token_endpoint": "https://mtls.example.com/token"},
}


def metadata(**changes: Any) -> ProviderMetadata:
    """Give a discovery document with these changes; a member of ... is left out."""
    document = {k: v for k, v in {**DOCUMENT, **changes}.items() if v is not ...}
    return ProviderMetadata(ISSUER, {}, document)


def look(world: World, *made: Any, exchanges: tuple[Exchange, ...] = (), **policy: Any) -> list[tuple[str, str]]:
    """Compare, and give what is new as subject and detail."""
    found = compare(world.context(), DriftPolicy(**policy), "step", made, exchanges)
    return [(c.subject.value, c.detail) for c in found.changes]


def tls(issuer: str, host: str = "api.example.com") -> tuple[Exchange, ...]:
    facts = TlsFacts("1.3", "TLS_AES_128_GCM_SHA256", issuer=issuer)
    return (Exchange("GET", f"https://{host}/", host, 443, 1, 0, 0.1, status=200, tls=facts),)


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Give a world that remembers."""
    return World("http://127.0.0.1:1", state=State(tmp_path))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, []),
        ({"id_token_signing_alg_values_supported": ["ES256", "RS256"]}, []),
        ({"scopes_supported": ["openid"]}, [("scopes", "scopes_supported is now without orders:read")]),
        (
            {"id_token_signing_alg_values_supported": ["ES256", "none"]},
            [("algorithms", "id_token_signing_alg_values_supported is now without RS256 and with none")],
        ),
        (
            {"require_pushed_authorization_requests": False},
            [("discovery", "require_pushed_authorization_requests was true, is false")],
        ),
        ({"mtls_endpoint_aliases": {}}, [("discovery", "mtls_endpoint_aliases has changed")]),
        ({"issuer": ...}, [("discovery", "issuer is gone")]),
        ({"op_policy_uri": "https://x.example.com"}, [("discovery", "op_policy_uri is new")]),
    ],
)
def test_what_the_discovery_document_says_is_compared(
    world: World, changes: dict[str, Any], told: list[tuple[str, str]]
) -> None:
    """Members are told by name, lists by what went and came; their order is nothing."""
    assert look(world, metadata()) == []
    assert look(world, metadata(**changes)) == told


def test_a_change_is_told_once_over_restarts(world: World, tmp_path: Path) -> None:
    """What was told belongs to the baseline, and going back is a change as well."""
    look(world, metadata())
    for scopes, told in ([["a"], 1], [["a"], 0], [DOCUMENT["scopes_supported"], 1]):
        world.state.flush()
        world.state = State(tmp_path)
        assert len(look(world, metadata(scopes_supported=scopes))) == told


def test_a_pinned_baseline_stays(world: World) -> None:
    """With `pin` the difference lasts, and is counted when it is new or another one; back at the baseline all is well."""
    context, policy = world.context(), DriftPolicy(baseline="pin")
    compare(context, policy, "step", [metadata()], ())
    seen = []
    for scopes in (["a"], ["a"], ["b"], DOCUMENT["scopes_supported"], ["b"]):
        found = compare(context, policy, "step", [metadata(scopes_supported=scopes, extra=1)], ())
        seen.append((len(found.changes), len(found.differences), len(found.warnings)))
    assert seen == [(2, 2, 2), (0, 2, 2), (1, 2, 2), (0, 1, 1), (1, 2, 2)]


def test_claims_are_compared_by_name_and_type_and_never_by_value(world: World, tmp_path: Path) -> None:
    """A claim that comes, goes or changes its type is told; another subject is not, and no value is kept or told."""
    first = world.tokens(token(), id_token=token(email=f"{CANARY}@example.com"), scope="orders:read", expires_in=300.0)
    assert look(world, first) == []
    access = token(sub=f"{CANARY}-2", client_id=..., aud=["orders"], roles=[CANARY])
    assert look(world, world.tokens(access, scope="orders:read orders:write", expires_in=300.0)) == [
        ("claims", "access.aud was string, is array"),
        ("claims", "access.client_id is gone"),
        ("claims", "access.roles is new"),
        *(("claims", f"id_token.{name} is gone") for name in _claims_of_the_id_token()),
        ("algorithms", "id_token.alg is gone"),
        ("scopes", "granted is now with orders:write"),
    ]
    world.state.flush()
    (kept,) = tmp_path.iterdir()
    assert CANARY not in kept.read_text()


def _claims_of_the_id_token() -> list[str]:
    return ["aud", "client_id", "email", "exp", "iat", "iss", "jti", "sub"]


def test_algorithms_and_lifetimes_of_tokens_are_compared(world: World) -> None:
    """Another signing algorithm is told, and a lifetime that differs by more than its measurement does."""
    look(world, world.tokens(token()))
    now = world.clock.now
    assert look(world, world.tokens(token(exp=now + 303))) == []
    assert look(world, world.tokens(token("RS256", exp=now + 3600))) == [
        ("algorithms", "access.alg was ES256, is RS256"),
        ("lifetimes", "access was 303 s, is 3600 s"),
    ]


def test_a_new_issuer_of_certificates_is_told_once(world: World) -> None:
    """Of several servers behind one name each may have its own issuer: every one is learnt, none is missed."""
    assert look(world, exchanges=tls("CN=Old CA")) == []
    new = [("tls_issuer", 'the certificate of api.example.com comes from "CN=New CA"')]
    assert look(world, exchanges=tls("CN=New CA")) == new
    assert look(world, exchanges=tls("CN=Old CA")) == []
    assert look(world, exchanges=tls("CN=New CA")) == []
    assert look(world, exchanges=tls("CN=Other CA", "login.example.com")) == []


@pytest.mark.parametrize("ignore", ["scopes", "scopes.scopes_supported"])
def test_what_is_ignored_changes_in_silence(world: World, ignore: str) -> None:
    """A subject or a part of one can be left out."""
    look(world, metadata(), ignore=(ignore,))
    assert look(world, metadata(scopes_supported=["a"]), ignore=(ignore,)) == []
    assert [m for m, _ in DriftPolicy(ignore=(ignore,)).faults()] == []
    assert [m for m, _ in DriftPolicy(ignore=("scope",)).faults()] == ["ignore"]


def test_flows_and_steps_have_baselines_of_their_own(world: World) -> None:
    """What one step showed is no baseline for another."""
    look(world, metadata())
    found = compare(world.context(), DriftPolicy(), "other", [metadata(scopes_supported=["a"])], ())
    assert found.changes == ()
    other = replace(world.context(), flow="another")
    assert compare(other, DriftPolicy(), "step", [metadata(scopes_supported=["a"])], ()).changes == ()


def test_many_differences_are_not_all_spelled_out(world: World) -> None:
    """A document of thousands of members floods no terminal, and a strange name is quoted."""
    look(world, metadata())
    found = compare(world.context(), DriftPolicy(), "step", [metadata(**{f"m{n}\n": n for n in range(100)})], ())
    assert (len(found.changes), len(found.warnings)) == (100, 11)
    assert found.changes[0].detail == r'"m0\n" is new'


def test_a_spoilt_baseline_is_learnt_anew(world: World) -> None:
    """A state document that another hand has changed costs the comparison, not the run."""
    world.state.save("drift.orders", {"steps": {"step": {"scopes": 1}}, "told": []})
    assert look(world, metadata()) == []
    assert len(look(world, metadata(scopes_supported=["a"]))) == 1


def run(server: Server, state: State, memory: Memory, policy: DriftPolicy | None) -> FlowResult:
    """Run a flow of two steps against the server."""
    steps = (Discover(name="discover"), StatusPage(name="status_page", url=f"{server.url}/status"))
    provider = Provider(name="corp", issuer=server.url)
    plan = FlowPlan(name="f", provider=provider, steps=steps, deadline=5.0, every=60.0, drift=policy)
    clock = FixedClock()
    return run_flow(plan, Tools(http=LiveHttp(clock), clock=clock, state=state, memory=memory))


def publish(server: Server, **changes: Any) -> None:
    body = {
        **DOCUMENT,
        "issuer": server.url,
        "token_endpoint": f"{server.url}/t",
        "jwks_uri": f"{server.url}/j",
        **changes,
    }
    answer = Answer(200, json.dumps(body).encode(), [("Content-Type", "application/json")])
    server.on("/.well-known/openid-configuration", answer)
    server.on("/status", Answer(200, json.dumps({"status": {"indicator": "none"}}).encode()))


@pytest.mark.parametrize("fail", [False, True])
def test_drift_fails_a_run_only_by_policy_and_the_flow_goes_on(server: Server, tmp_path: Path, fail: bool) -> None:
    """The step that saw the change carries it; with `fail` it owns the verdict, and later steps run all the same."""
    state, memory, policy = State(tmp_path), Memory(), DriftPolicy(fail=fail)
    publish(server)
    assert run(server, state, memory, policy).passed
    publish(server, scopes_supported=["a"])
    result = run(server, state, memory, policy)
    detail = "scopes_supported is now without openid, orders:read and with a"
    assert result.steps[0].drift == (DriftChange(DriftSubject.SCOPES, "scopes_supported", detail),)
    assert Reason.DRIFT_DETECTED in {w.reason for w in result.warnings}
    assert result.steps[1].outcome is Outcome.PASS
    assert result.passed is not fail
    if fail:
        verdict = (result.reason, result.blame, result.counts, result.failed_step, result.detail)
        assert verdict == (Reason.DRIFT_DETECTED, Blame.PROVIDER, Counts.NONE, "discover", f"scopes: {detail}")
    assert run(server, state, memory, policy).passed


def test_another_failure_goes_before_drift(server: Server, tmp_path: Path) -> None:
    """What is broken matters more than what has changed."""
    state, memory, policy = State(tmp_path), Memory(), DriftPolicy(fail=True)
    publish(server)
    run(server, state, memory, policy)
    publish(server, scopes_supported=["a"])
    server.stop()
    assert run(server, state, memory, policy).reason is Reason.CONNECT_REFUSED


def test_without_a_policy_nothing_is_compared(server: Server, tmp_path: Path) -> None:
    """A flow that does not ask for it keeps no baseline; one that does says once that it cannot keep it."""
    publish(server)
    assert run(server, State(tmp_path), Memory(), None).passed
    assert list(tmp_path.iterdir()) == []
    state, memory = State(), Memory()
    told = [w.reason for _ in range(2) for w in run(server, state, memory, DriftPolicy()).warnings]
    assert told.count(Reason.STATE_LOST) == 1
