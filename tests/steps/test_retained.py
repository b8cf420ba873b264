"""The retained step against a real API: old sessions that are cut off, and log-ins that fail while old sessions live."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from otelprobe.credentials import Auth
from otelprobe.fields import SecretRef
from otelprobe.provider import Provider
from otelprobe.reasons import CheckFailed, Reason
from otelprobe.result import Fact
from otelprobe.retained import recall
from otelprobe.state import Memory, State
from otelprobe.step import Artifact, Done, StepFailed
from otelprobe.steps.retained import Retained
from tests.conftest import Answer, Seen, Server
from tests.token_kit import ISSUER, NOW, World, jwk, token


def api(server: Server, *refused: str, status: int = 401) -> None:
    """Take every token but these."""

    def answer(seen: Seen) -> Answer:
        sent = seen.headers.get("authorization", "").removeprefix("Bearer ")
        return Answer(status if sent in refused else 200, b"{}", [("Content-Type", "application/json")])

    server.on("/orders", answer)


def issue(world: World, number: int = 0, **more: Any) -> str:
    """Give a token that was issued just now."""
    return token(iat=world.clock.now, exp=world.clock.now + 300, jti=str(number), **more)


def run(world: World, server: Server, *made: Artifact, url: bool = True, **more: Any) -> Done:
    step = Retained(name="retained", url=f"{server.url}/orders" if url else None, **more)
    return step.run(world.context(*made))


def failed(world: World, server: Server, *made: Artifact, url: bool = True) -> StepFailed:
    with pytest.raises(CheckFailed) as caught:
        run(world, server, *made, url=url)
    assert isinstance(caught.value, StepFailed)
    return caught.value


@pytest.fixture
def world(server: Server, tmp_path: Path) -> World:
    """Give a world with a state directory, and a client secret to seal tokens with."""
    (tmp_path / "secret").write_text("s3cr3t")
    secret = SecretRef(file=str(tmp_path / "secret"))
    provider = Provider(name="corp", issuer=ISSUER, client_id="otelprobe", client_secret=secret)
    return World(server.url, provider=provider, state=State(tmp_path / "state"))


def kept(world: World) -> list[str]:
    return [one.token for one in recall(world.context(), "retained")]


def begin(world: World, server: Server) -> str:
    """Run once, so that a token is kept; go on 110 s later."""
    api(server)
    first = issue(world)
    done = run(world, server, world.key_set(jwk()), world.tokens(first))
    assert (done.facts, done.warnings, server.seen) == ({Fact.RETAINED_COUNT: 0}, (), [])
    world.clock.now = NOW + 110
    return first


def test_old_and_new_tokens_that_work_are_told(world: World, server: Server) -> None:
    """A token of an earlier run that verifies and is taken passes, and is offered beside the new one, over a restart too."""
    first = begin(world, server)
    world.state.flush()
    world.state, world.memory = State(world.state._directory), Memory()
    second = issue(world, 2)
    done = run(world, server, world.key_set(jwk()), world.tokens(second))
    assert done.facts == {Fact.RETAINED_COUNT: 1, Fact.RETAINED_AGE: 110.0, Fact.RETAINED_SESSIONS: "both"}
    assert [s.headers["authorization"] for s in server.seen] == [f"Bearer {first}", f"Bearer {second}"]
    assert kept(world) == [first, second]


def test_old_sessions_that_are_cut_off_are_the_apis(world: World, server: Server) -> None:
    """Old tokens refused beside a new one that is taken: the API forgot its keys or its sessions."""
    first = begin(world, server)
    api(server, first)
    found = failed(world, server, world.key_set(jwk()), world.tokens(issue(world, 2)))
    assert found.reason is Reason.RETAINED_REFUSED
    assert found.detail == (
        "1 of 1 tokens of earlier runs that are still good: status 401; new log-ins work, old sessions are cut off"
    )
    assert found.done.facts[Fact.RETAINED_SESSIONS] == "new_only"
    assert first not in repr(found) + repr(found.done)


def test_old_sessions_that_work_while_log_ins_fail_are_told(world: World, server: Server) -> None:
    """The reverse: a new token is refused, and those of earlier runs are taken."""
    begin(world, server)
    second = issue(world, 2)
    api(server, second)
    found = failed(world, server, world.key_set(jwk()), world.tokens(second))
    assert found.reason is Reason.API_REJECTS_VALID_TOKEN
    assert found.detail == "a new token: status 401; old sessions work, new log-ins fail"
    assert second not in kept(world)


def test_without_a_new_token_old_ones_are_tried_all_the_same(world: World, server: Server) -> None:
    """Where no token was issued, a clean-up step tells whether old sessions live on."""
    begin(world, server)
    done = run(world, server, world.key_set(jwk()))
    assert done.facts[Fact.RETAINED_SESSIONS] == "old_only"
    assert [(w.reason, w.detail) for w in done.warnings] == [
        (Reason.TOKEN_MISSING, "this run has no new token; 1 of earlier runs were tried")
    ]


def test_neither_old_nor_new(world: World, server: Server) -> None:
    """An API that refuses both has a fault of its own."""
    first = begin(world, server)
    second = issue(world, 2)
    api(server, first, second)
    found = failed(world, server, world.key_set(jwk()), world.tokens(second))
    assert (found.reason, found.done.facts[Fact.RETAINED_SESSIONS]) == (Reason.API_REJECTS_VALID_TOKEN, "none")


@pytest.mark.parametrize(("status", "reason"), [(503, Reason.API_UNAVAILABLE), (429, Reason.API_RATE_LIMITED)])
def test_an_api_that_does_not_judge_is_told_as_such(world: World, server: Server, status: int, reason: Reason) -> None:
    """A server error or a rate limit says nothing of sessions."""
    first = begin(world, server)
    api(server, first, status=status)
    assert failed(world, server, world.key_set(jwk()), world.tokens(issue(world, 2))).reason is reason


@pytest.mark.parametrize(
    ("jwks", "reason"),
    [
        ([jwk(kid="k2")], Reason.KID_NOT_IN_JWKS),
        ([jwk(which=1)], Reason.SIGNATURE_INVALID),
    ],
)
def test_old_tokens_have_to_verify_with_todays_keys(
    world: World, server: Server, jwks: list[dict[str, Any]], reason: Reason
) -> None:
    """A key that is gone, or is another under the old kid, fails before the API is blamed; without a URL too."""
    begin(world, server)
    found = failed(world, server, world.key_set(*jwks), world.tokens(issue(world, 2)), url=False)
    assert found.reason is reason
    assert found.detail.startswith("a token of an earlier run, good for 190 s more: ")
    assert Fact.RETAINED_SESSIONS not in found.done.facts


def test_a_token_that_is_over_is_not_offered(world: World, server: Server) -> None:
    """An expired token proves nothing, and is dropped."""
    first = begin(world, server)
    world.clock.now = NOW + 301
    done = run(world, server, world.key_set(jwk()), world.tokens(issue(world, 2)))
    assert done.facts == {Fact.RETAINED_COUNT: 0}
    assert first not in kept(world)


def test_an_opaque_token_is_kept_by_what_the_answer_said(world: World, server: Server) -> None:
    """expires_in stands in for exp; where neither is known, nothing is kept."""
    api(server)
    run(world, server, world.tokens("opaque-1", expires_in=300.0))
    assert kept(world) == ["opaque-1"]
    world.clock.now = NOW + 200
    run(world, server, world.tokens("opaque-2"))
    assert kept(world) == ["opaque-1"]


def test_without_a_state_directory_it_says_so_once(world: World, server: Server) -> None:
    """Tokens that end with the process are a warning, once in its life."""
    here = replace(world, state=State())
    api(server)
    told = [w.reason for _ in range(2) for w in run(here, server, here.tokens(issue(here))).warnings]
    assert told == [Reason.STATE_LOST]


def test_a_cookie_is_not_kept() -> None:
    """What the step cannot do is refused in the flow file."""
    assert [m for m, _ in Retained(auth=Auth(cookie="login"), keep=0).faults()] == ["keep", "auth"]
    assert Retained().references() == ()
    assert Retained(auth=Auth(bearer="login")).references() == ((("auth", "bearer"), "login"),)
