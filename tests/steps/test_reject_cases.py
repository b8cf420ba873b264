"""Every case against an API with every weakness: just what the weakness lets through is found, a strict one takes none."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from otelprobe.fields import SecretRef
from otelprobe.reasons import CheckFailed, Reason
from otelprobe.rejection.api_cases import API_CASES
from otelprobe.rejection.provider_cases import PROVIDER_CASES
from otelprobe.result import Fact
from otelprobe.signing import Signer
from otelprobe.state import State
from otelprobe.step import Context, Done, Made, Revoked, StepFailed, Tokens
from otelprobe.steps.reject import Reject, RejectExpect
from otelprobe.tokens import public_jwk, sign
from tests.conftest import Server
from tests.steps.weak_api import SECRET, WeakApi
from tests.token_kit import GOOD, NOW, World, certificate, jwk, signing_key, token

SIGNED_BY_HAND = {
    f"confusion_{f}" for f in ("pem", "pem_bare", "jwk", "der", "pkcs1", "pkcs1_bare", "pkcs1_der", "number")
}
UNSIGNED = {
    "alg_none",
    "alg_none_title",
    "alg_none_upper",
    "alg_none_mixed",
    "alg_none_signed",
    "alg_empty",
    "alg_missing",
}
UNSAFE = {"blank_secret", "kid_path", "kid_sql", "oversize_token", "claim_twice", "inline_key", "unknown_kid"}
ANY_SIGNATURE = {
    *("tampered", "forged_key", "flipped_signature", "stripped_signature"),
    *UNSIGNED,
    *UNSAFE,
    *SIGNED_BY_HAND,
}
OPEN = {
    *("no_token", "garbage", "empty_token", "unknown_scheme", "token_in_query", "token_in_form", "deep_token"),
    *(
        "spoofed_identity",
        "method_override",
        "other_object",
        "expired",
        "revoked",
        "other_token:other",
    ),
    *("id_token", "refresh_token", "narrow_scope", "burst"),
    *(f"path_{how}" for how in ("case", "double_slash", "parameter")),
}
WEAKNESSES: dict[str, set[str]] = {
    "open": {*ANY_SIGNATURE, *OPEN},
    "garbage": {"garbage", "refresh_token", "burst"},
    "empty": {"empty_token"},
    "skips_signature": ANY_SIGNATURE,
    "unsigned": {"alg_none", "alg_none_title", "alg_none_upper", "alg_none_mixed"},
    "unsigned_any": {"alg_none", "alg_none_title", "alg_none_upper", "alg_none_mixed", "alg_none_signed"},
    "no_alg": {"alg_empty", "alg_missing"},
    "null_signature": {"stripped_signature"},
    "blank": {"blank_secret", "kid_path"},
    "kid_path": {"kid_path"},
    "kid_sql": {"kid_sql"},
    "pem": {"confusion_pem"},
    "pem_bare": {"confusion_pem_bare"},
    "der": {"confusion_der"},
    "jwk": {"confusion_jwk"},
    "unknown_kid": {"unknown_kid", "inline_key", "kid_path", "kid_sql"},
    "inline": {"inline_key"},
    "exp": {"expired"},
    "aud": {"other_token:other", "id_token"},
    "revoked": {"revoked"},
    "scope": {"narrow_scope"},
    "query": {"token_in_query"},
    "form": {"token_in_form"},
    "cors": {"foreign_origin", "null_origin"},
    "cors_null": {"null_origin"},
    "gateway": {"spoofed_identity"},
    "override": {"method_override"},
    "objects": {"other_object"},
    "path:/V1/ORDERS": {"path_case"},
    "path:/v1//orders": {"path_double_slash"},
    "path:/v1/orders;otelprobe": {"path_parameter"},
}


def kept(world: World, reject: Reject, access: str) -> Context:
    """Let a run keep a token of the prober's own, and the clock pass its end and the leeway."""
    earlier = world.context(world.tokens(access))
    replace(reject, cases=("no_token",)).run(earlier)
    world.clock.now += 400
    return earlier


def everything(server: Server, **more: Any) -> Reject:
    """Offer every case in one run."""
    members = {
        "name": "reject",
        "url": f"{server.url}/v1/orders",
        "cases": ("all",),
        "max_requests": 200,
        "allow_intrusive": True,
        "intrusive_hosts": ("127.0.0.1",),
        "tokens": ("other",),
        "narrow_token": "narrow",
        "other_object": f"{server.url}/v1/orders/2",
    }
    return Reject(**{**members, **more})


def findings(reject: Reject, ctx: Context) -> tuple[set[str], Done, CheckFailed | None]:
    """Run the step; give what was accepted."""
    try:
        done, failed = reject.run(ctx), None
    except StepFailed as found:
        done, failed = found.done, found
    return {case.case for case in done.cases if case.accepted}, done, failed


@pytest.fixture
def world(server: Server, tmp_path: Path) -> World:
    world = World(server.url)
    world.state = State(tmp_path)
    return world


def context(world: World, alg: str, **claims: Any) -> Context:
    """Give a run all that cases need: keys, other tokens, a revoked one, an ID token, a refresh token."""
    now = world.clock.now
    fresh = {"iat": now, "exp": now + 300, **claims}
    good = world.tokens(
        token(alg, **fresh, jti="good"), refresh="refresh-1", id_token=token(alg, **{**fresh, "aud": "otelprobe"})
    )
    ctx = world.context(world.key_set(jwk(alg)))
    doomed = token(alg, **fresh, jti="doomed")
    more = (
        Made("other", Tokens(token(alg, **{**fresh, "aud": "billing"}))),
        Made("narrow", Tokens(token(alg, **fresh, scope="orders:read"))),
        Made("revoke", Revoked(doomed, now)),
        Made("token", good),
    )
    return replace(ctx, made=(*ctx.made, *more))


def run(world: World, server: Server, weak: str | None, alg: str = "RS256", **more: Any) -> tuple[set[str], Done, Any]:
    api = WeakApi(server, alg, world.clock)
    reject = everything(server, **more)
    kept(world, reject, token(alg, jti="kept"))
    ctx = context(world, alg)
    api.weak = frozenset({weak} if weak else ())
    revoked = ctx.find(Revoked)
    api.dead.add(revoked.access if revoked else "")
    return findings(reject, ctx)


def test_a_strict_api_takes_nothing(world: World, server: Server) -> None:
    """Every case that can be made is refused, and all that has a reason to be is tried."""
    accepted, done, failed = run(world, server, None)
    assert (accepted, failed) == (set(), None)
    tried = {case.case for case in done.cases}
    assert tried == {*ANY_SIGNATURE, *OPEN, "foreign_origin", "null_origin"}
    assert done.facts[Fact.REJECTION_UNIFORM] is True
    assert done.facts[Fact.REJECTION_LEEWAY] == 0.0
    assert done.facts[Fact.REVOCATION_DELAY] == 0.0
    assert [w.reason for w in done.warnings if "left out" not in w.detail] == [Reason.RATE_LIMIT_UNSEEN]


@pytest.mark.parametrize("weak", WEAKNESSES)
def test_each_weakness_is_found_for_what_it_is(world: World, server: Server, weak: str) -> None:
    """The cases that are accepted are just those that the weakness lets through: none is missed, none is made up."""
    accepted, _, failed = run(world, server, weak)
    assert accepted == WEAKNESSES[weak]
    assert failed is not None
    expected = {API_CASES[name.partition(":")[0]].reason for name in accepted}
    assert set(failed.problems) == expected


def test_every_weakness_is_worth_its_case() -> None:
    """No case goes without a weakness that lets it through, but for those whose world is in another test."""
    elsewhere = {"no_certificate", "weak_secret", "zero_signature", "confusion_certificate", "unsupported_crit"}
    elsewhere |= {word for word in API_CASES if word.startswith(("signed_", "proof_"))}
    elsewhere |= {case.word for case in API_CASES.values() if case.number in {"N7", "N28"}}
    found = {name.partition(":")[0] for names in WEAKNESSES.values() for name in names}
    assert found | elsewhere == set(API_CASES)


def test_no_word_means_a_case_of_the_api_and_one_of_the_provider() -> None:
    """Metrics and alerts know a case by its word alone."""
    assert not set(API_CASES) & set(PROVIDER_CASES)


@pytest.mark.parametrize(("weak", "found"), [("", set()), ("certificate", {"confusion_certificate"})])
def test_a_certificate_as_a_secret(world: World, server: Server, weak: str, found: set[str]) -> None:
    """A verifier that feeds the issuer's certificate to the HMAC is found."""
    x5c = certificate(world.clock.now + 1000)
    WeakApi(server, "ES256", world.clock, frozenset({weak}), certificate=x5c)
    ctx = world.context(world.key_set(jwk("ES256", x5c=[x5c])), world.tokens(token("ES256")))
    accepted, done, _ = findings(everything(server, cases=("confusion_certificate",), tokens=()), ctx)
    assert accepted == found
    assert [case.case for case in done.cases] == ["confusion_certificate"]


@pytest.mark.parametrize(("weak", "found"), [(None, set()), ("zero", {"zero_signature"})])
def test_zeros_are_no_signature(world: World, server: Server, weak: str | None, found: set[str]) -> None:
    """A verifier that takes r = s = 0 is found."""
    assert run(world, server, weak, "ES256", cases=("zero_signature", "unknown_kid"))[0] == found


SIGNED = {
    "exp": {"signed_expired", "signed_without_exp"},
    "nbf": {"signed_too_early"},
    "iss": {"signed_other_issuer"},
    "aud": {"signed_other_audience"},
    "any_alg": {"signed_other_alg"},
    "crit": {"unsupported_crit"},
    "": set(),
}


@pytest.mark.parametrize("weak", SIGNED)
def test_with_the_signing_key_every_check_of_claims_is_tried(
    world: World, server: Server, weak: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Validly signed tokens find who does not look at exp, nbf, iss, aud, crit, or takes another algorithm."""
    monkeypatch.setenv("SIGNING", SECRET)
    WeakApi(server, "HS256", world.clock, frozenset({weak}))
    ctx = world.context(world.tokens(sign(GOOD, SECRET, "HS256")))
    key = SecretRef(env="SIGNING")
    reject = everything(server, cases=("N2", "N11", "N12", "N13"), signing_key=key, tokens=())
    accepted, _, _ = findings(reject, ctx)
    assert accepted == SIGNED[weak]
    assert key in reject.secrets()


@pytest.mark.parametrize(("secret", "found"), [("secret", {"weak_secret"}), (SECRET, set())])
def test_a_guessable_secret_is_found_without_a_request(
    world: World, server: Server, secret: str, found: set[str]
) -> None:
    """The case is judged here: two controls are all that is sent, and the finding has no status."""
    server.on("/v1/orders", WeakApi(server, "HS256", world.clock, frozenset({"skips_signature"})).answer)
    ctx = world.context(world.tokens(sign(GOOD, secret, "HS256")))
    accepted, done, _ = findings(everything(server, cases=("weak_secret",), tokens=()), ctx)
    assert accepted == found
    assert [(c.case, c.status) for c in done.cases] == [("weak_secret", None)]
    assert len(server.seen) == 2


PROOFS = {
    "": set(),
    "no_proof": {"proof_missing"},
    "bearer_bound": {"proof_as_bearer"},
    "proof:twice": {"proof_twice"},
    "proof:replay": {"proof_replayed"},
    "proof:htm": {"proof_wrong_method"},
    "proof:htu": {"proof_wrong_url"},
    "proof:ath": {"proof_wrong_token", "proof_without_token"},
    "proof:typ": {"proof_wrong_type"},
    "proof:iat": {"proof_old", "proof_early"},
    "proof:signature": {"proof_unsigned"},
    "proof:key": {"proof_other_key"},
}


@pytest.mark.parametrize("weak", PROOFS)
def test_each_rule_of_a_proof_is_tried(world: World, server: Server, weak: str) -> None:
    """An API that skips a rule of RFC 9449 is found by the case that breaks it."""
    drawn = signing_key("ES256", 7)
    key = Signer(drawn, "ES256", jwk=public_jwk(drawn))
    WeakApi(server, "ES256", world.clock, frozenset({weak}), proof_key=key.thumbprint)
    ctx = world.context(world.tokens(token(), token_type="DPoP", proof_key=key))
    accepted, done, failed = findings(everything(server, cases=("N24",), tokens=()), ctx)
    assert accepted == PROOFS[weak]
    assert len(done.cases) == len([c for c in API_CASES.values() if c.number == "N24"])
    assert failed is None or failed.reason is Reason.REJECTION_ACCEPTED


def test_answers_that_tell_what_was_wrong(world: World, server: Server) -> None:
    """Refusals that differ are a fact, and fail the step where uniform ones are expected; one that says more is worse."""
    WeakApi(server, "RS256", world.clock, frozenset({"chatty"}))
    cases = ("tampered", "forged_key", "flipped_signature")
    accepted, done, failed = findings(everything(server, cases=cases, tokens=()), context(world, "RS256"))
    assert (accepted, failed, done.facts[Fact.REJECTION_UNIFORM]) == (set(), None, False)
    expect = RejectExpect(uniform_errors=True)
    _, _, failed = findings(everything(server, cases=cases, tokens=(), expect=expect), context(world, "RS256"))
    assert failed is not None
    assert failed.reason is Reason.ERROR_LEAK
    assert failed.detail == "forged_key, flipped_signature answered otherwise than tampered"


def test_answers_that_show_the_servers_insides(world: World, server: Server) -> None:
    """A stack trace is a warning, and with uniform_errors a failure; its text is never repeated."""
    WeakApi(server, "RS256", world.clock, frozenset({"trace"}))
    _, done, failed = findings(everything(server, cases=("garbage",), tokens=()), context(world, "RS256"))
    assert failed is None
    assert [(w.reason, w.detail) for w in done.warnings] == [
        (Reason.ERROR_LEAK, "case garbage shows a Python stack trace")
    ]
    strict = everything(server, cases=("garbage",), tokens=(), expect=RejectExpect(uniform_errors=True))
    _, _, failed = findings(strict, context(world, "RS256"))
    assert failed is not None
    assert (failed.reason, failed.detail) == (Reason.ERROR_LEAK, "case garbage shows a Python stack trace")


def test_the_granted_leeway_is_measured(world: World, server: Server) -> None:
    """An expired token that is taken within the leeway is a fact, not a finding; beyond it, it is one."""
    WeakApi(server, "RS256", world.clock)
    reject = everything(server, cases=("expired",), tokens=(), leeway=60.0)
    kept_until = GOOD["exp"]
    reject.run(world.context(world.key_set(jwk("RS256")), world.tokens(token("RS256"))))
    world.clock.now = kept_until + 3
    found = [findings(reject, context(world, "RS256"))]
    world.clock.now = kept_until + 30
    found.append(findings(reject, context(world, "RS256")))
    assert [accepted for accepted, _, _ in found] == [set(), set()]
    assert [done.facts[Fact.REJECTION_LEEWAY] for _, done, _ in found] == [3.0, 3.0]
    assert world.clock.now > NOW


def test_what_is_kept_on_disk_is_sealed(
    world: World, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state directory has the token under a key that is made of the operator's secret, and another process finds it."""
    monkeypatch.setenv("RETAIN", "an operator's secret")
    WeakApi(server, "RS256", world.clock, frozenset({"exp"}))
    access = token("RS256")
    reject = everything(server, cases=("expired", "no_token"), tokens=(), retain_key=SecretRef(env="RETAIN"))
    reject.run(world.context(world.tokens(access)))
    world.state.flush()
    written = "".join(path.read_text() for path in tmp_path.iterdir())
    assert written
    assert not [part for part in access.split(".") if part in written]
    other = World(server.url, state=State(tmp_path))
    other.clock.now = world.clock.now + 400
    WeakApi(server, "RS256", other.clock, frozenset({"exp"}))
    assert findings(reject, context(other, "RS256"))[0] == {"expired"}
