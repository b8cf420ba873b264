"""The posture step on a real server: what it sends, to whom, how often, and what the flow file makes of it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from otelprobe.posture import Waiver
from otelprobe.provider import Provider
from otelprobe.reasons import Blame, CheckFailed, Reason
from otelprobe.result import Fact, Severity
from otelprobe.state import State
from otelprobe.step import Done, ProviderMetadata, StepFailed
from otelprobe.steps.posture import Posture
from tests.conftest import Answer, Seen, Server
from tests.token_kit import CANARY, World, jwk, token

DOCUMENT = {"id_token_signing_alg_values_supported": ["ES256", "none"], "grant_types_supported": ["password"]}


@pytest.fixture
def world(server: Server) -> World:
    """Give a provider and an API on one server, with some things wrong."""
    refused = json.dumps({"error": "unsupported_grant_type"}).encode()
    server.on("/token", Answer(400, refused, [("Cache-Control", "no-store")]))
    server.on("/authorize", Answer(400, b"invalid redirect_uri", [("Set-Cookie", "sid=1; HttpOnly; Secure")]))

    def api(seen: Seen) -> Answer:
        if seen.method == "OPTIONS":
            return Answer(204, b"", [("Access-Control-Allow-Origin", seen.headers["origin"])])
        good = seen.headers.get("authorization", "") not in {"", "Bearer otelprobe-garbage"}
        return Answer(200 if good else 401, b"{}" if good else b"psycopg2.errors.SyntaxError")

    server.on("/orders", api)
    provider = Provider(name="corp", issuer=server.url, client_id="otelprobe")
    return World(server.url, provider=provider)


def run(world: World, *, tokens: str | None = None, step: Posture | None = None) -> Done:
    endpoints = {"token": f"{world.url}/token", "authorization": f"{world.url}/authorize"}
    made: list[Any] = [ProviderMetadata(world.url, endpoints, DOCUMENT), world.key_set(jwk())]
    made += [world.tokens(tokens)] if tokens is not None else []
    return (step or Posture(name="posture", url=f"{world.url}/orders")).run(world.context(*made))


def rules(done: Done) -> set[str]:
    return {finding.rule for finding in done.findings}


def test_what_is_wrong_is_found_with_few_marked_requests(world: World, server: Server) -> None:
    """Every request is marked, reads only, and is one of five; no token and no claim is in what is found."""
    access = token(email=f"{CANARY}@example.com")
    done = run(world, tokens=access)
    assert rules(done) >= {
        *("alg-none-advertised", "grant-password", "cookie-same-site", "cors-any-origin", "api-error-leak"),
        *("challenge-missing", "token-personal-data", "token-untyped", "jwks-cache"),
    }
    assert [(s.method, s.path) for s in server.seen] == [
        ("POST", "/token"),
        ("GET", "/authorize"),
        ("OPTIONS", "/orders"),
        ("GET", "/orders"),
        ("GET", "/orders"),
    ]
    assert all(s.headers["x-otelprobe-case"] == "posture" for s in server.seen)
    assert server.seen[0].form == {"grant_type": "urn:otelprobe:posture", "client_id": "otelprobe"}
    assert [s.headers.get("authorization") for s in server.seen[3:]] == ["Bearer otelprobe-garbage", f"Bearer {access}"]
    assert CANARY not in repr(done.findings)
    assert access not in repr(done)
    broken = done.facts[Fact.POSTURE_FINDINGS]
    assert isinstance(broken, tuple)
    assert set(broken) == rules(done)


def test_findings_are_worst_first(world: World) -> None:
    """What to do first stands first."""
    severities = [finding.severity for finding in run(world).findings]
    assert severities == sorted(severities, key=list(Severity).index, reverse=True)
    assert severities[0] is Severity.HIGH


def test_requests_are_sent_once_in_a_while(world: World, server: Server, tmp_path: Path) -> None:
    """Within `every` the last findings stand, also in another process, and nothing is asked; then it is looked anew."""
    world.state = State(tmp_path)
    first = run(world)
    asked = len(server.seen)
    world.state.flush()
    world.state = State(tmp_path)
    world.clock.now += 3599
    again = run(world)
    assert (again.findings, again.facts) == (first.findings, first.facts)
    assert len(server.seen) == asked
    world.clock.now += 1
    run(world)
    assert len(server.seen) == 2 * asked


@pytest.mark.parametrize(
    "spoilt", [{"findings": 1}, {"findings": [{"rule": 1}, "x", {"severity": "worst"}]}, {"at": "x"}]
)
def test_findings_that_another_hand_has_spoilt_cost_no_run(world: World, spoilt: dict[str, Any]) -> None:
    """A state document is read as far as it makes sense."""
    run(world)
    key = "posture.orders.posture"
    world.state.save(key, {**(world.state.load(key) or {}), **spoilt})
    assert run(world).facts


def test_a_host_that_the_flow_file_does_not_name_is_not_asked(world: World, server: Server) -> None:
    """An endpoint that the discovery document puts elsewhere is left alone; without a URL the API is too."""
    world.provider = Provider(name="corp", issuer="https://login.example.com")
    run(world, step=Posture(name="posture"))
    assert server.seen == []


def test_findings_fail_only_by_policy(world: World) -> None:
    """From `fail_on` on the step fails, with every finding in its row and the blame of whose the worst is."""
    step = Posture(name="posture", url=f"{world.url}/orders", fail_on=Severity.HIGH)
    with pytest.raises(CheckFailed) as caught:
        run(world, step=step)
    failed = caught.value
    assert isinstance(failed, StepFailed)
    assert (failed.reason, failed.blame) == (Reason.POSTURE_VIOLATED, Blame.PROVIDER)
    assert failed.detail == "alg-none-advertised (high): id_token_signing_alg_values_supported lists none"
    assert len(failed.done.findings) > 5
    waived = replace(step, ignore=(Waiver(rule="alg-none-advertised", reason="being mended"),))
    assert "alg-none-advertised" in rules(run(world, step=waived))
    assert "alg-none-advertised" not in str(run(world, step=waived).facts[Fact.POSTURE_FINDINGS])


def test_a_jti_that_comes_twice_is_found_over_restarts(world: World, tmp_path: Path) -> None:
    """Two different tokens with one jti break the rule; the same token again does not. No jti is kept."""
    step = Posture(name="posture", every=0.000001)
    seen = []
    first = token()
    for access in (first, first, token(client_id="x"), token(jti="another")):
        world.state, world.clock.now = State(tmp_path), world.clock.now + 1
        seen.append("jti-repeated" in rules(run(world, tokens=access, step=step)))
        world.state.flush()
    assert seen == [False, False, True, False]
    assert all(CANARY not in file.read_text() for file in tmp_path.iterdir())


def test_nobody_listening_is_less_to_look_at(world: World, server: Server) -> None:
    """Requests without an answer fail nothing: what was seen before is judged all the same."""
    server.stop()
    done = run(world)
    assert "alg-none-advertised" in rules(done)
    assert "cors-any-origin" not in rules(done)


def test_a_policy_of_rules_that_do_not_exist_is_refused() -> None:
    """A waiver for a misspelled rule would hide nothing."""
    step = Posture(ignore=(Waiver(rule="alg-none", reason="x"),), severity={"nope": Severity.LOW})
    assert [member for member, _ in step.faults()] == ["ignore.0.rule", "severity"]
