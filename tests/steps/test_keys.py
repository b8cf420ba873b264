"""The keys step against a real server: what a key set can be, and what changes between runs."""

import json
from pathlib import Path
from typing import Any

import pytest

from otelprobe.key_history import withdrawn_kids
from otelprobe.provider import Provider
from otelprobe.reasons import CheckFailed, Reason
from otelprobe.result import Fact, KeyChange
from otelprobe.state import State
from otelprobe.step import Done, KeySet, ProviderMetadata, StepFailed
from otelprobe.steps.keys import Keys
from otelprobe.steps.verify import Verify
from tests.conftest import Answer, Server
from tests.token_kit import ISSUER, NOW, World, jwk, token

SECRET = "c2VjcmV0LW51bWJlcg"


def publish(server: Server, *jwks: Any) -> None:
    server.on("/jwks", Answer(200, json.dumps({"keys": list(jwks)}).encode(), [("Content-Type", "application/json")]))


def run(world: World) -> Done:
    done = Keys().run(world.context())
    world.state.flush()
    return done


def failed(world: World) -> CheckFailed:
    with pytest.raises(CheckFailed) as caught:
        run(world)
    assert SECRET not in repr(caught.value)
    return caught.value


def test_a_key_set_is_fetched_and_counted(server: Server) -> None:
    """A healthy key set makes a KeySet with every key, says how many, and reports no change on the first run."""
    publish(server, jwk(), jwk("RS256", kid="k2"))
    done = run(World(server.url))
    assert [k.kid for a in done.makes if isinstance(a, KeySet) for k in a.keys] == ["k1", "k2"]
    assert (done.facts, done.warnings, done.key_changes) == ({Fact.JWKS_KEY_COUNT: 2}, (), ())
    assert done.reply is not None
    assert [(s.method, s.path) for s in server.seen] == [("GET", "/jwks")]


def test_the_endpoint_comes_from_the_discovery_document(server: Server) -> None:
    """Without endpoints in the flow file the discovery document names the URL, and is needed for it."""
    publish(server, jwk())
    world = World(server.url, provider=Provider(name="corp", issuer=ISSUER))
    metadata = ProviderMetadata(ISSUER, {"jwks": f"{server.url}/jwks"}, {})
    assert Keys().run(world.context(metadata)).makes
    assert Keys().required(world.provider) == (ProviderMetadata,)
    assert Keys().required(World(server.url).provider) == ()


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Answer(404), Reason.JWKS_UNAVAILABLE),
        (Answer(500, b"<html>oops</html>"), Reason.JWKS_UNAVAILABLE),
        (Answer(503, b"", [("Retry-After", "5")]), Reason.JWKS_UNAVAILABLE),
        (Answer(204), Reason.JWKS_UNAVAILABLE),
        (Answer(429, b"slow down"), Reason.IDP_RATE_LIMITED),
        (Answer(403, b"<html>Request blocked</html>", [("Content-Type", "text/html")]), Reason.WAF_BLOCKED),
        (Answer(202, b"", [("x-amzn-waf-action", "challenge")]), Reason.BOT_CHALLENGE),
        (Answer(302, b"", [("Location", "https://elsewhere.example.com/jwks")]), Reason.REDIRECT_UNEXPECTED),
        (Answer(200, b"not json"), Reason.JWKS_INVALID),
        (Answer(200, b"<html>maintenance</html>", [("Content-Type", "text/html")]), Reason.JWKS_INVALID),
        (Answer(200, b"[]"), Reason.JWKS_INVALID),
        (Answer(200, b'{"keys": null}'), Reason.JWKS_INVALID),
        (Answer(200, b'{"keys": []}'), Reason.JWKS_EMPTY),
        (Answer(200, b'{"keys": ["text", {"kty": "AKP"}]}'), Reason.JWKS_EMPTY),
    ],
)
def test_what_is_no_key_set_is_classified(server: Server, answer: Answer, reason: Reason) -> None:
    """Status first, then pages, then JSON, then keys: each failure has its own reason."""
    server.on("/jwks", answer)
    assert failed(World(server.url)).reason is reason


def test_nobody_listening_keeps_its_transport_reason(server: Server) -> None:
    """A refused connection is told as such, not as an unavailable key set."""
    server.stop()
    assert failed(World(server.url)).reason is Reason.CONNECT_REFUSED


def test_only_keys_that_verify_count(server: Server) -> None:
    """A key set with encryption keys alone is empty, and its facts are reported all the same."""
    publish(server, jwk(use="enc"))
    found = failed(World(server.url))
    assert found.reason is Reason.JWKS_EMPTY
    assert isinstance(found, StepFailed)
    assert found.done.facts == {Fact.JWKS_KEY_COUNT: 1}


@pytest.mark.parametrize("exposed", [jwk(kid="bad", d=SECRET), {"kty": "oct", "kid": "bad", "k": SECRET}])
def test_a_published_private_key_fails_and_is_named(server: Server, exposed: dict[str, Any]) -> None:
    """Private members fail the step by the key's name, and their value shows nowhere."""
    publish(server, jwk(), exposed)
    found = failed(World(server.url))
    assert (found.reason, found.detail) == (Reason.JWKS_PRIVATE_KEY_EXPOSED, "secret members of key bad")
    assert isinstance(found, StepFailed)
    assert SECRET not in repr(found.done)


def test_a_key_that_cannot_be_read_is_a_warning(server: Server) -> None:
    """An unknown kind of key beside a good one warns; one set aside for encryption does not even that."""
    publish(server, jwk(), {"kty": "AKP", "kid": "pq"}, {"kty": "OKP", "crv": "X448", "kid": "e", "use": "enc"})
    done = run(World(server.url))
    assert [(w.reason, w.detail) for w in done.warnings] == [
        (Reason.KEY_UNUSABLE, "key pq cannot be used: unknown kty AKP")
    ]
    assert done.facts[Fact.JWKS_KEY_COUNT] == 3


@pytest.mark.parametrize("durable", [True, False])
def test_changes_are_told_between_runs(server: Server, tmp_path: Path, durable: bool) -> None:
    """Added, replaced and removed keys are reported once, from a state directory also after a restart."""
    world = World(server.url, state=State(tmp_path if durable else None))

    def changes(*jwks: dict[str, Any]) -> set[tuple[str, str]]:
        publish(server, *jwks)
        if durable:
            world.state = State(tmp_path)
        done = run(world)
        words = {c.change for c in done.key_changes}
        assert done.facts.get(Fact.JWKS_CHANGE, ()) == tuple(sorted(words))
        assert {w.reason for w in done.warnings} <= ({Reason.ROTATION_UNSAFE} if "replaced" in words else set())
        return {(c.change, c.kid) for c in done.key_changes}

    assert changes(jwk(kid="a"), jwk("RS256", kid="b")) == set()
    assert changes(jwk(kid="a"), jwk("RS256", kid="b")) == set()
    assert changes(jwk(kid="a"), jwk("RS256", kid="b"), jwk(kid="c")) == {("added", "c")}
    assert changes(jwk(kid="a", which=1), jwk(kid="c")) == {("replaced", "a"), ("removed", "b")}
    assert changes(jwk(kid="a", which=1), jwk(kid="c")) == set()
    assert changes(jwk("RS256", kid="b"), jwk(kid="c")) == {("removed", "a"), ("added", "b")}


def test_keys_without_kid_go_by_their_thumbprint(server: Server) -> None:
    """A key set without kids is remembered too."""
    world = World(server.url)
    publish(server, jwk(kid=None))
    run(world)
    publish(server, jwk(kid=None, which=1))
    assert sorted(c.change for c in run(world).key_changes) == ["added", "removed"]


def test_providers_are_remembered_apart(server: Server) -> None:
    """Two providers that share a state directory do not see each other's keys."""
    one = World(server.url)
    other = World(
        server.url,
        state=one.state,
        provider=Provider(name="b", issuer=ISSUER, endpoints={"jwks": f"{server.url}/jwks"}),
    )
    publish(server, jwk(kid="a"))
    run(one)
    publish(server, jwk(kid="b"))
    assert run(other).key_changes == ()


def test_an_accident_is_no_rotation(server: Server) -> None:
    """A key set that is empty for once is a failure, and the same keys afterwards are no change."""
    world = World(server.url)
    publish(server, jwk())
    run(world)
    publish(server)
    assert failed(world).reason is Reason.JWKS_EMPTY
    publish(server, jwk())
    assert run(world).key_changes == ()


@pytest.mark.parametrize(("later", "change"), [(299.0, "withdrawn_early"), (301.0, "removed")])
def test_a_key_withdrawn_while_its_token_lives_is_told(server: Server, later: float, change: str) -> None:
    """A key that vanishes before a token seen by verify has expired was withdrawn early, with a warning; after it, not."""
    world = World(server.url)
    publish(server, jwk(), jwk("RS256", kid="k2"))
    keys_done = run(world)
    Verify(audience=("orders",)).run(world.context(*keys_done.makes, world.tokens(token())))
    world.clock.now = NOW + later
    publish(server, jwk("RS256", kid="k2"))
    done = run(world)
    assert done.key_changes == (KeyChange(change, "k1"),)
    warned = [w.detail for w in done.warnings if w.reason is Reason.KID_WITHDRAWN_EARLY]
    early = ["key k1 is gone, but a token signed by it is alive for 1 s more (longest lifetime seen: 300 s)"]
    assert warned == (early if change == "withdrawn_early" else [])


def test_the_longest_lived_token_counts(server: Server) -> None:
    """A later token that expires earlier does not shorten the time that its key has to stay published."""
    world = World(server.url)
    publish(server, jwk(), jwk("RS256", kid="k2"))
    made = run(world).makes
    for lifetime in (300, 100):
        access = token(exp=NOW + lifetime)
        Verify(audience=("orders",)).run(world.context(*made, world.tokens(access)))
    world.clock.now = NOW + 200
    publish(server, jwk("RS256", kid="k2"))
    assert run(world).key_changes == (KeyChange("withdrawn_early", "k1"),)


def test_a_key_that_comes_back_is_no_longer_withdrawn(server: Server) -> None:
    """A key that was gone and is published again is added, and not held against its tokens."""
    world = World(server.url)
    for jwks in ([jwk(kid="a"), jwk(kid="b")], [jwk(kid="b")], [jwk(kid="a"), jwk(kid="b")]):
        publish(server, *jwks)
        done = run(world)
        assert withdrawn_kids(world.context()) == ({"a"} if len(jwks) == 1 else set())
    assert done.key_changes == (KeyChange("added", "a"),)


def test_the_memory_holds_no_token_and_forgets(server: Server, tmp_path: Path) -> None:
    """What is kept on disk are kids, thumbprints and times; a key long gone is forgotten."""
    world = World(server.url, state=State(tmp_path))
    publish(server, jwk(kid="a"), jwk(kid="b"))
    done = run(world)
    access = token(kid="a")
    Verify(audience=("orders",)).run(world.context(*done.makes, world.tokens(access)))
    publish(server, jwk(kid="b"))
    run(world)
    (kept,) = tmp_path.iterdir()
    text = kept.read_text(encoding="utf-8")
    assert access not in text
    assert set(json.loads(text)["withdrawn"]) == {"a"}
    world.clock.now = NOW + 31 * 86400
    run(world)
    assert json.loads(kept.read_text(encoding="utf-8"))["withdrawn"] == {}


@pytest.mark.parametrize("document", [{"published": []}, {"published": {"a": 1}, "signed": [], "withdrawn": None}, {}])
def test_a_spoilt_memory_costs_no_run(server: Server, document: dict[str, Any]) -> None:
    """A state document that another hand has changed is read as far as it makes sense."""
    world = World(server.url)
    world.state.save("jwks.corp", document)
    publish(server, jwk())
    assert run(world).makes
    assert run(world).key_changes == ()
