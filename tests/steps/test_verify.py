"""The verify step: its policy, its keys, its second look at the key set, and whose clock is blamed."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization

from otelprobe.expect import parse_matcher
from otelprobe.fields import SecretRef
from otelprobe.provider import Provider
from otelprobe.reasons import Blame, CheckFailed, Counts, Layer, Reason
from otelprobe.result import Fact
from otelprobe.step import Artifact, Claims, Done, KeySet, Made, ProviderMetadata, StepFailed, Tokens
from otelprobe.steps.keys import Keys
from otelprobe.steps.verify import VerificationKey, Verify, parse_audience
from otelprobe.tokens import sign
from tests.conftest import Answer, Server
from tests.token_kit import CANARY, GOOD, ISSUER, NOW, World, jwk, keys, signing_key, token

HOST = "login.example.com"


@pytest.fixture
def world() -> World:
    """Give a world in which no server is needed."""
    return World("http://127.0.0.1:9")


def run(world: World, access: str, step: Verify | None = None, *more: Artifact, **tokens: Any) -> Done:
    step = step or Verify(audience=("orders",))
    return step.run(world.context(world.key_set(jwk()), world.tokens(access, **tokens), *more))


def failed(world: World, access: str, step: Verify | None = None, *more: Artifact, **tokens: Any) -> StepFailed:
    with pytest.raises(CheckFailed) as caught:
        run(world, access, step, *more, **tokens)
    assert isinstance(caught.value, StepFailed)
    for text in (repr(caught.value), repr(caught.value.done), caught.value.detail):
        assert CANARY not in text
        assert access not in text
    return caught.value


def test_a_good_token_makes_claims(world: World) -> None:
    """A token that fulfils everything passes, makes Claims with the token it verified, and shows neither."""
    access = token()
    done = run(world, access)
    (claims,) = done.makes
    assert isinstance(claims, Claims)
    assert (claims.token, claims.claims["sub"]) == (access, CANARY)
    assert CANARY not in repr(done)
    assert done.warnings == ()
    assert done.facts[Fact.JWT_SIGNATURE_VALID] is True


def test_all_problems_are_told_at_once(world: World) -> None:
    """The reason is the most important problem, the detail names every one, the facts stay."""
    access = token(aud=["account"], jti=..., client_id="x")
    step = Verify(audience=("orders",), require=("jti",), claims={"client_id": parse_matcher("otelprobe")})
    found = failed(world, access, step)
    assert found.reason is Reason.CLAIM_MISSING
    assert (
        found.detail == 'claim jti is missing; aud is ["account"], expected orders; claim client_id is not as expected'
    )
    assert found.problems == (Reason.CLAIM_MISSING, Reason.AUDIENCE_MISMATCH, Reason.CLAIM_MISMATCH)
    assert found.done.makes == ()
    assert found.done.facts[Fact.JWT_MISSING_CLAIMS] == ("jti",)
    assert found.done.facts[Fact.JWT_PROBLEMS] == ("claim_missing", "audience_mismatch", "claim_mismatch")


@pytest.mark.parametrize(
    ("access", "reason", "form"),
    [
        ("opaque-" + CANARY, Reason.TOKEN_OPAQUE, "opaque"),
        ("not.a.jwt", Reason.TOKEN_MALFORMED, "jws"),
        ("eyJhbGciOiJkaXIiLCJlbmMiOiJBMjU2R0NNIn0..a.b.c", Reason.TOKEN_ENCRYPTED, "jwe"),
    ],
)
def test_what_is_no_jws_fails_with_its_format(world: World, access: str, reason: Reason, form: str) -> None:
    """An opaque, broken or encrypted token says so, and its format is a fact."""
    found = failed(world, access)
    assert found.reason is reason
    assert found.done.facts[Fact.JWT_FORMAT] == form


def test_without_an_audience_the_step_warns(world: World) -> None:
    """Without audience aud is not compared, and the pass carries a warning."""
    done = run(world, token(aud="anything"), Verify())
    assert [w.reason for w in done.warnings] == [Reason.AUDIENCE_MISMATCH]


def test_the_issuer_is_the_provider_s_unless_set(world: World, tmp_path: Path) -> None:
    """The provider's issuer is wanted by default; the step may name another, and without a provider none is compared."""
    path = tmp_path / "jwks.json"
    path.write_text(json.dumps({"keys": [jwk()]}), encoding="utf-8")
    assert failed(world, token(iss="https://other")).reason is Reason.ISSUER_MISMATCH
    step = Verify(audience=("orders",), issuer="https://other")
    assert run(world, token(iss="https://other"), step).makes
    ctx = replace(world.context(world.key_set(jwk()), world.tokens(token(iss="https://other"))), provider=None)
    assert Fact.JWT_ISSUER_MATCH not in Verify(audience=("orders",), key=VerificationKey(jwks=str(path))).run(ctx).facts


@pytest.mark.parametrize(("value", "wanted"), [("orders", ("orders",)), (["orders", "billing"], ("orders", "billing"))])
def test_audiences_are_one_or_many(value: object, wanted: tuple[str, ...]) -> None:
    """An audience may be written as a text or a list."""
    assert parse_audience(value) == wanted


@pytest.mark.parametrize("value", [[], "", [""], 7, None, {"a": "b"}, ["a", 7]])
def test_other_audiences_are_refused(value: object) -> None:
    """What is no text or list of texts is refused with a mend."""
    with pytest.raises(ValueError, match="write a text, or a list"):
        parse_audience(value)


def advertise(*algorithms: object) -> ProviderMetadata:
    return ProviderMetadata(ISSUER, {}, {"id_token_signing_alg_values_supported": list(algorithms)})


def test_algorithms_default_to_what_is_advertised(world: World) -> None:
    """Only advertised asymmetric algorithms are allowed; never HS and never none, whatever is advertised."""
    assert run(world, token(), None, advertise("RS256", "ES256")).makes
    found = failed(world, token(), None, advertise("RS256", "HS256", "none", 7))
    assert (found.reason, found.detail) == (Reason.ALG_NOT_ALLOWED, "alg is ES256, allowed is RS256")
    secret = sign(GOOD, "s" * 64, "HS256")
    assert failed(world, secret, None, advertise("HS256")).reason is Reason.ALG_NOT_ALLOWED
    assert failed(world, secret).reason is Reason.ALG_NOT_ALLOWED
    unsigned = sign(GOOD, signing_key("ES256"), "ES256", {"alg": "none"})
    assert failed(world, unsigned, None, advertise("none", "ES256")).reason is Reason.ALG_NONE


def test_the_flow_file_s_algorithms_come_first(world: World) -> None:
    """algorithms of the step rule over what is advertised."""
    step = Verify(audience=("orders",), algorithms=("PS256",))
    assert failed(world, token(), step, advertise("ES256")).detail == "alg is ES256, allowed is PS256"


def test_use_picks_the_token(world: World) -> None:
    """use names the step whose token is verified; without it the latest counts."""
    ctx = world.context(world.key_set(jwk()))
    first, second = Made("one", Tokens(token())), Made("two", Tokens(token(aud="other")))
    ctx = replace(ctx, made=(*ctx.made, first, second))
    assert Verify(audience=("orders",), use="one").run(ctx).makes
    with pytest.raises(StepFailed):
        Verify(audience=("orders",)).run(ctx)


# Keys of one's own


def test_a_shared_secret_verifies_hs_and_nothing_else(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """With key.secret HS tokens verify, asymmetric ones do not, and a short secret is a warning."""
    monkeypatch.setenv("SHARED", "s" * 64)
    step = Verify(audience=("orders",), key=VerificationKey(secret=SecretRef(env="SHARED")))
    access = sign(GOOD, "s" * 64, "HS512")
    assert step.run(world.context(world.tokens(access))).makes
    assert failed(world, token(), step).reason is Reason.ALG_NOT_ALLOWED
    assert failed(world, sign(GOOD, "o" * 64, "HS256"), step).reason is Reason.SIGNATURE_INVALID
    monkeypatch.setenv("SHARED", "weak")
    done = run(world, sign_weakly("weak"), step)
    assert "4 bytes" in done.warnings[0].detail
    assert step.secrets() == (SecretRef(env="SHARED"),)


def sign_weakly(secret: str) -> str:
    return sign(GOOD, secret, "HS256")


def test_a_missing_secret_is_no_verdict(world: World) -> None:
    """A secret that cannot be read is secret_missing."""
    step = Verify(key=VerificationKey(secret=SecretRef(env="OTELPROBE_NOT_SET")))
    assert "OTELPROBE_NOT_SET" not in os.environ
    with pytest.raises(CheckFailed) as caught:
        run(world, token(), step)
    assert caught.value.reason is Reason.SECRET_MISSING


def test_keys_come_from_files(world: World, tmp_path: Path) -> None:
    """A PEM file and a JWKS file verify, and are read at each use."""
    pem, jwks = tmp_path / "key.pem", tmp_path / "jwks.json"
    public = signing_key("ES256").public_key()
    pem.write_bytes(public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo))
    jwks.write_text(json.dumps({"keys": [jwk()]}), encoding="utf-8")
    for key in (VerificationKey(pem=str(pem)), VerificationKey(jwks=str(jwks))):
        step = Verify(audience=("orders",), key=key)
        assert step.required(world.provider) == (Tokens,)
        assert step.run(world.context(world.tokens(token()))).makes
    assert Verify().required(world.provider) == (Tokens, KeySet)
    jwks.write_text(json.dumps({"keys": [jwk(which=1)]}), encoding="utf-8")
    assert failed(world, token(), Verify(key=VerificationKey(jwks=str(jwks)))).reason is Reason.SIGNATURE_INVALID


@pytest.mark.parametrize(
    ("member", "content", "detail"),
    [
        ("pem", None, "No such file or directory"),
        ("jwks", None, "No such file or directory"),
        ("pem", "no key", "no public key or certificate"),
        ("jwks", "no json", "it is no JSON"),
        ("jwks", "[]", "the key set is no JSON object"),
    ],
)
def test_bad_key_files_blame_the_configuration(
    world: World, tmp_path: Path, member: str, content: str | None, detail: str
) -> None:
    """A key file that is not there or holds no key is config_error with its path, never the provider's fault."""
    path = tmp_path / "file"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    step = Verify(key=VerificationKey(pem=str(path)) if member == "pem" else VerificationKey(jwks=str(path)))
    with pytest.raises(CheckFailed) as caught:
        run(world, token(), step)
    assert caught.value.reason is Reason.CONFIG_ERROR
    assert caught.value.detail.startswith(f"key file {path}: ")
    assert detail in caught.value.detail


def test_keys_come_from_a_url(server: Server) -> None:
    """key.jwks may be a URL; it is fetched once, and an unknown kid is not looked for again."""
    server.on("/own", Answer(200, json.dumps({"keys": [jwk()]}).encode()))
    world = World(server.url)
    step = Verify(audience=("orders",), key=VerificationKey(jwks=f"{server.url}/own"))
    assert step.run(world.context(world.tokens(token()))).makes
    with pytest.raises(StepFailed) as caught:
        step.run(world.context(world.tokens(token(kid="k9"))))
    assert caught.value.reason is Reason.KID_NOT_IN_JWKS
    assert len(server.seen) == 2


@pytest.mark.parametrize(
    ("step", "members"),
    [
        (Verify(), []),
        (Verify(algorithms=()), ["algorithms"]),
        (Verify(algorithms=("HS256", "RS256")), ["algorithms"]),
        (Verify(algorithms=("RS256",), key=VerificationKey(secret=SecretRef(env="A"))), ["algorithms"]),
        (Verify(algorithms=("HS256",), key=VerificationKey(secret=SecretRef(env="A"))), []),
        (Verify(algorithms=("HS256",), key=VerificationKey(pem="a.pem")), ["algorithms"]),
    ],
)
def test_algorithms_and_keys_must_fit(step: Verify, members: list[str]) -> None:
    """HS without a shared secret is refused when the flow file is read, and a secret for other algorithms too."""
    assert [member for member, _ in step.faults()] == members


def test_a_key_has_one_source() -> None:
    """key takes exactly one of secret, pem and jwks."""
    assert list(VerificationKey(pem="a").faults()) == []
    assert [m for m, _ in VerificationKey().faults()] == [""]
    assert [m for m, _ in VerificationKey(pem="a", jwks="b").faults()] == [""]


# The second look at the key set


def test_an_unknown_kid_is_looked_for_once_more(server: Server) -> None:
    """A key that was published after the keys step is found by one uncached control request."""
    server.on("/jwks", Answer(200, json.dumps({"keys": [jwk()]}).encode()))
    world = World(server.url)
    ctx = world.context(world.key_set(jwk(kid="old", which=1)), world.tokens(token()))
    assert Verify(audience=("orders",)).run(ctx).makes
    assert [s.headers.get("cache-control") for s in server.seen] == ["no-cache"]
    assert [x.control for x in ctx.wire.exchanges] == [True]


def test_a_kid_that_stays_unknown_fails_after_one_look(server: Server) -> None:
    """A kid that is in no answer is kid_not_in_jwks, after exactly one more fetch."""
    server.on("/jwks", Answer(200, json.dumps({"keys": [jwk(kid="other", which=1)]}).encode()))
    found = failed(World(server.url), token(kid="k9"))
    assert found.reason is Reason.KID_NOT_IN_JWKS
    assert "published: other" in found.detail
    assert found.done.facts[Fact.JWT_KID_FOUND] is False
    assert len(server.seen) == 1


def test_a_failed_second_look_does_not_hide_the_first(server: Server) -> None:
    """If the second fetch fails, the kid is still the reason, and the failure is told beside it."""
    server.on("/jwks", Answer(500))
    found = failed(World(server.url), token(kid="k9"))
    assert found.problems == (Reason.KID_NOT_IN_JWKS, Reason.JWKS_UNAVAILABLE)
    assert "a second fetch of the key set failed: status 500" in found.detail


def test_a_known_key_that_is_gone_was_withdrawn_early(server: Server) -> None:
    """A token signed by a key of an earlier run that is no longer published is kid_withdrawn_early."""
    world = World(server.url)
    step = Verify(audience=("orders",))
    for kid in ("k1", "k2"):
        server.on("/jwks", Answer(200, json.dumps({"keys": [jwk(kid=kid, which=int(kid[1]))]}).encode()))
        made = Keys().run(world.context()).makes
        access = token(kid="k1", which=1)
        ctx = world.context(*made, world.tokens(access))
        if kid == "k1":
            assert step.run(ctx).makes
    with pytest.raises(StepFailed) as caught:
        step.run(ctx)
    assert caught.value.reason is Reason.KID_WITHDRAWN_EARLY
    assert "kid k1" in caught.value.detail


# Clocks


def test_a_dead_token_is_told_from_one_that_died(world: World) -> None:
    """With clocks that agree, a fresh token past its exp was expired on issue, a cached one has expired."""
    world.memory.note_skew(HOST, 0.3)
    dead = token(iat=NOW - 400, exp=NOW - 100)
    assert failed(world, dead).reason is Reason.EXPIRED_ON_ISSUE
    assert failed(world, dead, cached=True).reason is Reason.EXPIRED


def test_a_nbf_in_the_future_is_not_yet_valid(world: World) -> None:
    """With clocks that agree, a token for later is not yet valid."""
    found = failed(world, token(nbf=NOW + 60))
    assert (found.reason, found.detail) == (Reason.NOT_YET_VALID, "nbf is 60 s in the future")
    assert found.blame is None


@pytest.mark.parametrize(("skew", "iat"), [(600.0, NOW + 600), (-600.0, NOW - 600)])
def test_the_provider_s_clock_is_blamed_where_its_date_agrees(world: World, skew: float, iat: float) -> None:
    """When the token's times hold by the provider's own clock, the reason is clock_skew and the skew a fact."""
    world.memory.note_skew(HOST, skew)
    found = failed(world, token(iat=iat, exp=iat + 300))
    assert found.reason is Reason.CLOCK_SKEW
    assert found.detail.startswith(f"the provider's clock ({HOST}) is off: {skew:+.0f} s")
    assert found.done.facts[Fact.CLOCK_SKEW] == skew
    assert found.done.facts[Fact.JWT_PROBLEMS] == ("clock_skew",)
    assert found.assigned(Layer.AUTH)[1:] == (Blame.PROVIDER, Counts.AUTH)


def test_our_own_clock_is_blamed_where_another_peer_agrees(world: World) -> None:
    """When somebody else's Date says the same of our clock, the prober is blamed and no objective spent."""
    world.memory.note_skew(HOST, 600.0)
    world.memory.note_skew("api.example.com", 599.2)
    found = failed(world, token(iat=NOW + 600, exp=NOW + 900))
    assert found.reason is Reason.CLOCK_SKEW
    assert found.assigned(Layer.AUTH)[1:] == (Blame.PROBER, Counts.NONE)
    assert found.detail.startswith("the prober's own clock is off: +600 s")


def test_two_hosts_of_one_provider_are_one_witness(world: World) -> None:
    """The token and key hosts of a provider share its clock: together they do not convict ours."""
    provider = Provider(name="corp", issuer=ISSUER, endpoints={"token": "https://oauth.example.com/token"})
    world.provider = provider
    world.memory.note_skew(HOST, 600.0)
    world.memory.note_skew("oauth.example.com", 600.0)
    found = failed(world, token(iat=NOW + 600, exp=NOW + 900))
    assert found.assigned(Layer.AUTH)[1] is Blame.PROVIDER


def test_skew_that_does_not_explain_is_not_blamed(world: World) -> None:
    """A skew by which the token would be bad as well is not the reason."""
    world.memory.note_skew(HOST, -30.0)
    assert failed(world, token(iat=NOW - 900, exp=NOW - 600)).reason is Reason.EXPIRED_ON_ISSUE
    world.memory.note_skew(HOST, -1.5)
    assert failed(world, token(iat=NOW - 60, exp=NOW - 6)).reason is Reason.EXPIRED_ON_ISSUE


def test_iat_speaks_where_no_date_was_seen(world: World) -> None:
    """Without a Date header the iat of a fresh token tells the provider's clock; that of a cached one does not."""
    old = token(iat=NOW - 600, exp=NOW - 300)
    assert failed(world, old).reason is Reason.CLOCK_SKEW
    assert failed(world, old, cached=True).reason is Reason.EXPIRED
    world.memory.note_skew(HOST, 0.0)
    assert failed(world, old).reason is Reason.EXPIRED_ON_ISSUE


@pytest.mark.parametrize(
    ("iat", "exp", "expires_in", "told"),
    [
        (NOW - 45, NOW + 15, 60.0, -44.5),
        (NOW, NOW + 300, 300.0, 0.5),
        (NOW - 200, NOW + 100, 100.0, 0.5),
        (NOW - 45, NOW + 15, None, None),
    ],
    ids=["ahead", "agrees", "out of a cache", "no lifetime told"],
)
def test_skew_that_breaks_nothing_is_told_without_a_date_too(
    world: World, iat: float, exp: float, expires_in: float | None, told: float | None
) -> None:
    """Without a Date, iat and exp less expires_in tell the skew, and both must be off before it is warned of."""
    access = token(iat=iat, exp=exp)
    ctx = world.context(world.key_set(jwk()), world.tokens(access, expires_in=expires_in))
    done = Verify(audience=("orders",)).run(ctx)
    assert done.facts.get(Fact.CLOCK_SKEW) == told
    assert [w.reason for w in done.warnings] == ([Reason.CLOCK_SKEW] if told == -44.5 else [])
    world.memory.note_skew(HOST, 0.0)
    assert Verify(audience=("orders",)).run(ctx).warnings == ()


def test_a_worse_problem_stays_the_reason(world: World) -> None:
    """A clock that explains the times does not hide a bad signature, nor is the prober blamed for that."""
    world.memory.note_skew(HOST, 600.0)
    world.memory.note_skew("api.example.com", 600.0)
    found = failed(world, token(iat=NOW + 600, exp=NOW + 900, nbf=NOW + 600, aud="x", which=1))
    assert found.problems == (Reason.SIGNATURE_INVALID, Reason.CLOCK_SKEW, Reason.AUDIENCE_MISMATCH)
    assert found.blame is None


def test_verification_touches_no_network(world: World) -> None:
    """A known kid needs no request: the step is local."""
    ctx = world.context(KeySet(keys(jwk()), "http://127.0.0.1:9/jwks"), world.tokens(token()))
    Verify(audience=("orders",)).run(ctx)
    assert ctx.wire.exchanges == []
