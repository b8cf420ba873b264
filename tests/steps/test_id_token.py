"""The id_token step: every claim that ties an ID token to its log-in, its client, its code and its access token."""

from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from dataclasses import replace
from hashlib import sha256, sha512
from typing import Any

import pytest

from otelprobe.expect import parse_matcher
from otelprobe.reasons import Blame, Counts, Outcome, Reason
from otelprobe.result import Fact, FlowResult
from otelprobe.step import Step
from otelprobe.steps.authorize import Authorize
from otelprobe.steps.id_token import IdToken
from otelprobe.steps.keys import Keys
from otelprobe.steps.refresh import Refresh
from otelprobe.steps.token import Token
from otelprobe.tokens import generate_key, public_jwk, sign
from tests.conftest import Answer, Seen
from tests.steps.flows import Bench, as_json, token_answer

CALLBACK = "https://app.example/cb"
CLIENT = "otel probe"
KEYS = {alg: generate_key(alg) for alg in ("ES256", "EdDSA")}
Change = Callable[[dict[str, Any]], Mapping[str, Any]]


def half(value: str, hashed: Any = sha256) -> str:
    """Give the left half of a hash, as at_hash and c_hash are written."""
    digest = hashed(value.encode()).digest()
    return urlsafe_b64encode(digest[: len(digest) // 2]).rstrip(b"=").decode()


class LoggedIn:
    """A provider with a session, so that `authorize` gets its code at once; `change` has its way with the ID token."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.change: Change = dict
        self.alg, self.key = "ES256", KEYS["ES256"]
        self.nonce = ""
        named = {**bench.provider.endpoints, "authorization": f"{bench.server.url}/authorize"}
        bench.provider = replace(bench.provider, endpoints=named)
        jwks = [public_jwk(key, kid=alg, alg=alg) for alg, key in KEYS.items()]
        bench.server.on("/jwks", as_json({"keys": jwks}))
        bench.server.on("/authorize", self.authorize)
        bench.server.on("/token", self.token)

    def authorize(self, seen: Seen) -> Answer:
        self.nonce = seen.query.get("nonce", [""])[0]
        return Answer(302, b"", [("Location", f"{CALLBACK}?code=the-code&state={seen.query['state'][0]}")])

    def token(self, _: Seen) -> Answer:
        now = int(self.bench.clock.time_ns() / 1e9)
        claims = {
            "iss": self.bench.server.url,
            "sub": "ann",
            "aud": CLIENT,
            "exp": now + 300,
            "iat": now,
            "nonce": self.nonce,
        }
        kept = {k: v for k, v in self.change(claims).items() if v is not None}
        return token_answer(id_token=sign(kept, self.key, self.alg, {"kid": self.alg}), refresh_token="rt")

    def run(self, *steps: Step, max_age: float | None = None) -> FlowResult:
        """Log in, get tokens, and run these steps."""
        log_in = Authorize(name="authorize", redirect_uri=CALLBACK, max_age=max_age)
        return self.bench.run(Keys(name="keys"), log_in, Token(name="token", grant="authorization_code"), *steps)


@pytest.fixture
def provider(bench: Bench) -> LoggedIn:
    return LoggedIn(bench)


def test_a_good_id_token_passes(provider: LoggedIn) -> None:
    """Signature, issuer, client, nonce, times, both hashes, azp, acr and auth_time, with facts as of any token."""
    provider.change = lambda claims: {
        **claims,
        "at_hash": half("at-1"),
        "c_hash": half("the-code"),
        "azp": CLIENT,
        "aud": [CLIENT, "other"],
        "acr": "gold",
        "auth_time": claims["iat"] - 30,
    }
    step = IdToken(
        name="id_token",
        require=("at_hash",),
        acr=("silver", "gold"),
        claims={"sub": parse_matcher("ann")},
        max_age=60.0,
    )
    result = provider.run(step)
    assert result.passed, result.detail
    facts = result.steps[-1].facts
    assert (facts[Fact.JWT_ALG], facts[Fact.JWT_SIGNATURE_VALID], facts[Fact.JWT_AUDIENCE_MATCH]) == (
        "ES256",
        True,
        True,
    )
    assert provider.nonce not in repr(result)


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"iss": "https://evil.example"}, Reason.ISSUER_MISMATCH),
        ({"aud": "another"}, Reason.AUDIENCE_MISMATCH),
        ({"aud": [CLIENT, "another"]}, Reason.CLAIM_MISSING),
        ({"azp": "another"}, Reason.CLAIM_MISMATCH),
        ({"nonce": "another"}, Reason.NONCE_MISMATCH),
        ({"nonce": None}, Reason.NONCE_MISMATCH),
        ({"sub": None}, Reason.CLAIM_MISSING),
        ({"exp": None}, Reason.CLAIM_MISSING),
        ({"exp": 1}, Reason.EXPIRED_ON_ISSUE),
        ({"iat": None}, Reason.CLAIM_MISSING),
        ({"iat": "now"}, Reason.CLAIM_INVALID),
        ({"at_hash": half("another")}, Reason.CLAIM_MISMATCH),
        ({"at_hash": half("at-1", sha512)}, Reason.CLAIM_MISMATCH),
        ({"c_hash": half("another")}, Reason.CLAIM_MISMATCH),
        ({"c_hash": 5}, Reason.CLAIM_MISMATCH),
    ],
)
def test_each_bad_claim_has_its_reason(provider: LoggedIn, members: dict[str, Any], reason: Reason) -> None:
    """All of them are the provider's fault."""
    provider.change = lambda claims: {**claims, **members}
    result = provider.run(IdToken(name="id_token"))
    assert (result.reason, result.blame, result.counts) == (reason, Blame.PROVIDER, Counts.AUTH), result.detail


@pytest.mark.parametrize(
    ("auth_time", "reason"),
    [
        (-3600, Reason.CLAIM_MISMATCH),
        (-62, None),
        (None, Reason.CLAIM_MISSING),
        ("yesterday", Reason.CLAIM_INVALID),
    ],
)
def test_the_age_of_the_log_in(provider: LoggedIn, auth_time: object, reason: Reason | None) -> None:
    """Asked for by `max_age` at `authorize`, `auth_time` has to be there and young enough, leeway granted."""
    provider.change = lambda claims: {
        **claims,
        "auth_time": claims["iat"] + auth_time if isinstance(auth_time, int) else auth_time,
    }
    result = provider.run(IdToken(name="id_token"), max_age=60.0)
    assert result.reason is reason, result.detail


@pytest.mark.parametrize(
    ("found", "reason"), [("bronze", Reason.CLAIM_MISMATCH), (None, Reason.CLAIM_MISSING), ("gold", None)]
)
def test_the_class_of_the_log_in(provider: LoggedIn, found: str | None, reason: Reason | None) -> None:
    """`acr` is one of those that are expected."""
    provider.change = lambda claims: {**claims, "acr": found}
    assert provider.run(IdToken(name="id_token", acr=("gold",))).reason is reason


def test_every_fault_is_told_at_once(provider: LoggedIn) -> None:
    """The first is the reason, the detail names all."""
    provider.change = lambda claims: {**claims, "aud": "x", "nonce": "y", "at_hash": "z"}
    result = provider.run(IdToken(name="id_token"))
    assert result.steps[-1].problems == (Reason.AUDIENCE_MISMATCH, Reason.NONCE_MISMATCH, Reason.CLAIM_MISMATCH)
    for word in ("aud is x", "another nonce", "at_hash"):
        assert word in (result.detail or "")


def test_a_stranger_may_not_sign(provider: LoggedIn) -> None:
    """Under a kid that is published, with another key."""
    provider.key = generate_key("ES256")
    assert provider.run(IdToken(name="id_token")).reason is Reason.SIGNATURE_INVALID


def test_the_hash_of_eddsa(provider: LoggedIn) -> None:
    """Ed25519 goes with SHA-512."""
    provider.alg, provider.key = "EdDSA", KEYS["EdDSA"]
    provider.change = lambda claims: {**claims, "at_hash": half("at-1", sha512)}
    assert provider.run(IdToken(name="id_token")).passed
    provider.change = lambda claims: {**claims, "at_hash": half("at-1")}
    assert provider.run(IdToken(name="id_token")).reason is Reason.CLAIM_MISMATCH


def test_a_token_signed_with_the_clients_secret(provider: LoggedIn) -> None:
    """HS256 is taken if it is listed, never by itself; then no published keys are needed."""
    provider.alg, provider.key = "HS256", "s3cr3t/+ canary"  # type: ignore[assignment]  # a secret is a key too
    assert provider.run(IdToken(name="id_token")).reason is Reason.ALG_NOT_ALLOWED
    step = IdToken(name="id_token", algorithms=("HS256",))
    assert "KeySet" not in {kind.__name__ for kind in step.required(None)}
    assert provider.run(step).passed
    provider.bench.provider = replace(provider.bench.provider, client_secret=None)
    result = provider.run(step)
    assert (result.outcome, result.reason) == (Outcome.ERROR, Reason.CONFIG_ERROR)


def test_without_an_id_token(bench: Bench) -> None:
    """The mend is told: the scope openid."""
    bench.server.on("/jwks", as_json({"keys": [public_jwk(KEYS["ES256"], kid="k")]}))
    bench.server.on("/token", token_answer())
    result = bench.run(Keys(name="keys"), Token(name="token"), IdToken(name="id_token"))
    assert (result.reason, result.blame) == (Reason.TOKEN_MISSING, Blame.PROVIDER)
    assert "openid" in (result.detail or "")


@pytest.mark.parametrize(("token", "reason"), [("x.y.z", Reason.TOKEN_MALFORMED), ("opaque", Reason.TOKEN_OPAQUE)])
def test_what_is_no_id_token(provider: LoggedIn, token: str, reason: Reason) -> None:
    """Something else in its place is told apart."""
    provider.bench.server.on("/token", token_answer(id_token=token))
    assert provider.run(IdToken(name="id_token")).reason is reason


def test_a_refreshed_id_token_need_not_repeat_the_nonce(provider: LoggedIn) -> None:
    """OpenID Connect Core, section 12.2; its hash is that of the new access token."""
    first = provider.run(IdToken(name="id_token"))
    assert first.passed
    provider.change = lambda claims: (
        {**claims, "nonce": None} if provider.bench.server.seen[-1].form["grant_type"] == "refresh_token" else claims
    )
    result = provider.run(Refresh(name="refresh"), IdToken(name="id_token"))
    assert result.passed, result.detail


@pytest.mark.parametrize("algorithms", [(), ("RS256", "HS256")])
def test_what_does_not_fit_is_told_when_the_file_is_read(algorithms: tuple[Any, ...]) -> None:
    """No algorithm at all, or two kinds of key at once."""
    assert [member for member, _ in IdToken(name="i", algorithms=algorithms).faults()] == ["algorithms"]


def test_a_clock_that_is_off_is_named(provider: LoggedIn) -> None:
    """An expired token whose times hold by the provider's clock blames that clock."""
    provider.change = lambda claims: {**claims, "exp": claims["exp"] + 3600, "iat": claims["iat"] + 3600}
    result = provider.run(IdToken(name="id_token"))
    assert (result.reason, result.blame) == (Reason.CLOCK_SKEW, Blame.PROVIDER)
