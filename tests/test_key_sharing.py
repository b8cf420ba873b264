"""Keys of two environments: the same material is found whoever remembered it, the same name or the same provider is not."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from otelprobe.key_history import note_keys
from otelprobe.key_sharing import shared_keys
from otelprobe.provider import Provider
from otelprobe.result import Severity
from otelprobe.state import State
from otelprobe.step import Context
from otelprobe.steps.posture import Posture
from tests.token_kit import World, jwk, keys

PROD, STAGING = "https://login.example.com", "https://login.staging.example.com"


def context(state: State, name: str, issuer: str, now: float = 1000.0) -> Context:
    """Give a run of one provider's flow."""
    provider = Provider(name=name, issuer=issuer, endpoints={"jwks": f"{issuer}/jwks"})
    world = World("http://127.0.0.1:9", state=state, provider=provider)
    world.clock.now = now
    return world.context()


def publish(state: State, name: str, issuer: str, *jwks: dict[str, Any], now: float = 1000.0) -> None:
    """Let a provider's keys be seen, and written."""
    note_keys(context(state, name, issuer, now), keys(*jwks))
    state.flush()


def shared(state: State, *jwks: dict[str, Any], issuer: str = PROD, elsewhere: tuple[str, ...] = ()) -> Any:
    """Look at these keys of a provider."""
    return shared_keys(context(state, "prod", issuer), keys(*jwks), elsewhere)


def test_the_same_key_at_two_providers() -> None:
    """It is found under whatever name the other gives it; other keys, and other material under the same name, are not."""
    state = State()
    publish(state, "prod", PROD, jwk(kid="a"), jwk(kid="b", which=1))
    publish(state, "staging", STAGING, jwk(kid="x"), jwk(kid="b", which=2))
    assert shared(state, jwk(kid="a"), jwk(kid="b", which=1)) == (("a", "login.staging.example.com"),)


def test_providers_of_one_issuer_are_one_environment() -> None:
    """Two clients of one provider see the same keys, and so do tenants of a platform that signs for all of them."""
    state = State()
    publish(state, "prod", f"{PROD}/", jwk())
    publish(state, "other-client", PROD, jwk())
    assert shared(state, jwk()) == ()
    entra = "https://login.microsoftonline.com/{}/v2.0"
    publish(state, "one", entra.format("1"), jwk())
    publish(state, "old", "https://sts.windows.net/1/", jwk())
    assert shared(state, jwk(), issuer=entra.format("2")) == (("k1", "login.example.com"),)


def test_realms_of_one_host_are_told_apart() -> None:
    """A realm that was copied with its keys is named by its issuer."""
    state = State()
    publish(state, "copy", f"{PROD}/realms/copy", jwk())
    assert shared(state, jwk(), issuer=f"{PROD}/realms/shop") == (("k1", f"{PROD}/realms/copy"),)


def test_a_key_that_was_withdrawn_there_is_still_known_there() -> None:
    """Who has had it has it still."""
    state = State()
    publish(state, "staging", STAGING, jwk())
    publish(state, "staging", STAGING, jwk(kid="new", which=1), now=2000.0)
    assert shared(state, jwk()) == (("k1", "login.staging.example.com"),)


def test_what_another_process_has_written_is_read(tmp_path: Path) -> None:
    """Probers that share a state directory need not share a process; what they write later is seen later."""
    mine, other = State(tmp_path), State(tmp_path)
    publish(mine, "prod", PROD, jwk())
    assert shared(mine, jwk()) == ()
    publish(other, "staging", STAGING, jwk())
    assert shared(mine, jwk()) == (("k1", "login.staging.example.com"),)
    publish(other, "staging", "https://moved.example.com", jwk(which=1), now=2000.0)
    assert shared(mine, jwk(which=1)) == (("k1", "moved.example.com"),)


def test_the_state_of_another_environment(tmp_path: Path) -> None:
    """A directory that is named is looked through too, whatever stands in it; one that is not there holds nothing."""
    publish(State(tmp_path / "staging"), "login", STAGING, jwk())
    for name, text in (("jwks.broken", "{"), ("jwks.list", "[]"), ("jwks.odd", '{"issuer": 1, "published": 2}')):
        (tmp_path / "staging" / f"{name}.json").write_text(text)
    (tmp_path / "staging" / "jwks.bare.json").write_text('{"issuer": "https://x.example.com", "published": {"a": {}}}')
    elsewhere = (str(tmp_path / "staging"), str(tmp_path / "none"))
    assert shared(State(), jwk(), elsewhere=elsewhere) == (("k1", "login.staging.example.com"),)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("copied", [True, False])
def test_posture_finds_it(tmp_path: Path, copied: bool) -> None:
    """It is a finding of the rule key-shared at the provider, and none where every environment has keys of its own."""
    publish(State(tmp_path), "staging", STAGING, jwk(kid="s", which=0 if copied else 1))
    ctx = context(State(), "prod", "http://127.0.0.1:9")
    world = World("http://127.0.0.1:9")
    ctx = replace(ctx, made=world.context(world.key_set(jwk())).made)
    done = Posture(name="posture", compare_state=(str(tmp_path),)).run(ctx)
    found = [(f.severity, f.target, f.detail) for f in done.findings if f.rule == "key-shared"]
    told = "key k1 is also published by login.staging.example.com"
    assert found == ([(Severity.HIGH, "127.0.0.1", told)] if copied else [])
