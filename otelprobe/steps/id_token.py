"""Verify the ID token of a log-in (OpenID Connect Core 1.0, sections 3.1.3.7 and 3.3.2.11)."""

from base64 import urlsafe_b64encode
from collections.abc import Iterator, Mapping
from dataclasses import field
from hashlib import sha256, sha384, sha512, shake_256
from typing import Any, ClassVar

from otelprobe.expect import ValueMatcher
from otelprobe.fields import Duration, DurationOrZero
from otelprobe.http import Redirects
from otelprobe.provider import Provider
from otelprobe.quick import dataclass
from otelprobe.reasons import CheckFailed, Layer, Reason
from otelprobe.step import Artifact, Context, Done, KeySet, ProviderMetadata, Step, StepFailed, Tokens
from otelprobe.token_check import (
    advertised_algorithms,
    explained_by_clock,
    failure,
    issued_when,
    parsed,
    skew_facts,
    verify_published,
)
from otelprobe.tokens import (
    SYMMETRIC,
    AlgorithmName,
    Jwt,
    Key,
    Policy,
    Problem,
    Verification,
    load_crypto,
    problem_facts,
    secret_key,
    shown,
    time_claim,
    verify,
)

_REQUIRED = ("iss", "sub", "aud", "exp", "iat")


@dataclass(frozen=True, kw_only=True)
class IdToken(Step):
    """Verify signature and claims of the ID token that came with the latest tokens; what was asked for is compared."""

    kind: ClassVar[str] = "id_token"
    answers: ClassVar[bool] = False
    layer: ClassVar[Layer] = Layer.AUTH
    uses_provider: ClassVar[bool] = True
    own_reasons: ClassVar[frozenset[Reason]] = frozenset(
        {
            *(Reason.TOKEN_MISSING, Reason.TOKEN_MALFORMED, Reason.TOKEN_ENCRYPTED, Reason.ALG_NONE),
            *(Reason.ALG_NOT_ALLOWED, Reason.KID_NOT_IN_JWKS, Reason.SIGNATURE_INVALID, Reason.NONCE_MISMATCH),
            *(Reason.CLAIM_MISSING, Reason.CLAIM_INVALID, Reason.CLAIM_MISMATCH, Reason.EXPIRED),
            *(Reason.EXPIRED_ON_ISSUE, Reason.NOT_YET_VALID, Reason.ISSUER_MISMATCH, Reason.AUDIENCE_MISMATCH),
            Reason.CLOCK_SKEW,
        }
    )
    default_redirects: ClassVar[Redirects] = Redirects.SAME_ORIGIN

    algorithms: tuple[AlgorithmName, ...] | None = None
    """Which may sign; default: the asymmetric ones that the provider advertises. HS algorithms take the client's secret."""

    leeway: DurationOrZero = 5.0
    """Allowed difference of clocks."""

    require: tuple[str, ...] = ()
    """Claims that must be there besides iss, sub, aud, exp and iat, such as `at_hash`."""

    claims: Mapping[str, ValueMatcher] = field(default_factory=dict)
    """Claim name to value or matcher."""

    acr: tuple[str, ...] = ()
    """Classes of authentication, of which `acr` must be one."""

    max_age: Duration | None = None
    """Longest time since `auth_time`; default: `max_age` of the `authorize` step, else it is not compared."""

    def warm_up(self) -> None:
        """Import what tokens are checked with."""
        load_crypto()

    def required(self, provider: Provider | None) -> tuple[type[Artifact], ...]:
        """Need tokens, and the provider's keys unless the client's secret is the key."""
        _ = provider
        return (Tokens,) if self._by_secret else (Tokens, KeySet)

    def faults(self) -> Iterator[tuple[str, str]]:
        """Say what does not fit together."""
        if self.algorithms is not None and not self.algorithms:
            yield "algorithms", "an empty list allows no token: name the algorithms, or leave it out"
        if self.algorithms and not self._by_secret and set(self.algorithms) & set(SYMMETRIC):
            yield (
                "algorithms",
                "HS algorithms are verified with the client's secret, the others with published keys: not both",
            )

    @property
    def _by_secret(self) -> bool:
        return bool(self.algorithms) and set(self.algorithms or ()) <= set(SYMMETRIC)

    def run(self, ctx: Context) -> Done:
        """Verify. Fails with every fact that was found all the same."""
        tokens = ctx.need(Tokens, self.use)
        if tokens.id_token is None:
            mend = "ask for the scope openid; after a refresh, name the step that logged in: use: NAME"
            raise CheckFailed(Reason.TOKEN_MISSING, f"no ID token was issued: {mend}")
        ctx.present(tokens.access, "id_token")
        jwt, policy = parsed(ctx, tokens.id_token), self._policy(ctx)
        found = self._verify(ctx, jwt, tokens, policy)
        problems = (*found.problems, *self._more_problems(ctx, jwt, tokens, found.key))
        problems, skew = explained_by_clock(ctx, jwt, tokens, policy, problems)
        facts = {**found.facts, **problem_facts(problems), **skew_facts(skew)}
        done = Done(facts=facts, warnings=found.warnings)
        if problems:
            raise StepFailed(failure(problems, skew), done)
        return done

    def _policy(self, ctx: Context) -> Policy:
        provider = ctx.identity_provider()
        if provider.client_id is None:
            raise CheckFailed(Reason.CONFIG_ERROR, "id_token compares aud with client_id: add it to the provider")
        own = (self.algorithms, True) if self.algorithms is not None else None
        algorithms, listed = own or advertised_algorithms(ctx.find(ProviderMetadata))
        return Policy(
            algorithms=algorithms,
            listed=listed,
            issuer=provider.issuer,
            audience=(provider.client_id,),
            leeway=self.leeway,
            require=(*_REQUIRED, *self.require),
            claims=self.claims,
        )

    def _verify(self, ctx: Context, jwt: Jwt, tokens: Tokens, policy: Policy) -> Verification:
        if not self._by_secret:
            return verify_published(ctx, jwt, tokens, policy, self.follow)
        secret = ctx.identity_provider().client_secret
        if secret is None:
            raise CheckFailed(Reason.CONFIG_ERROR, "HS algorithms need the provider's client_secret: add it")
        return verify(jwt, (secret_key(secret.read()),), policy, ctx.now(), issued_at=issued_when(ctx, tokens))

    def _more_problems(self, ctx: Context, jwt: Jwt, tokens: Tokens, key: Key | None) -> Iterator[Problem]:
        """Compare what only an ID token has."""
        asked = tokens.authorization
        if asked is not None and asked.nonce is not None:
            yield from _nonce_problems(jwt.claims, asked.nonce)
        yield from _party_problems(jwt.claims, ctx.identity_provider().client_id)
        hashed = {"at_hash": tokens.access, "c_hash": asked.code if asked is not None else None}
        yield from (p for name, value in hashed.items() if (p := _hash_problem(jwt, name, value, key)) is not None)
        max_age = self.max_age if self.max_age is not None else asked.max_age if asked is not None else None
        if max_age is not None:
            yield from _age_problems(jwt.claims, max_age + self.leeway, ctx.now())
        if self.acr:
            yield from _acr_problems(jwt.claims, self.acr)


def _nonce_problems(claims: Mapping[str, Any], nonce: str) -> Iterator[Problem]:
    if claims.get("nonce") != nonce:
        what = "another nonce than was sent" if "nonce" in claims else "no nonce"
        yield Problem(Reason.NONCE_MISMATCH, f"the ID token carries {what}")


def _party_problems(claims: Mapping[str, Any], client_id: str | None) -> Iterator[Problem]:
    several = isinstance(claims.get("aud"), list) and len(claims["aud"]) > 1
    if several and "azp" not in claims:
        yield Problem(Reason.CLAIM_MISSING, "aud names several audiences, and azp is missing")
    if "azp" in claims and claims["azp"] != client_id:
        yield Problem(Reason.CLAIM_MISMATCH, f"azp is {shown(claims['azp'])}, expected {client_id}")


def _hash_problem(jwt: Jwt, name: str, value: str | None, key: Key | None) -> Problem | None:
    if name not in jwt.claims or value is None:
        return None
    expected = _half_hash(value, jwt.alg or "", str(key.jwk.get("crv")) if key is not None else "")
    if expected is None or jwt.claims[name] == expected:
        return None
    what = "access token" if name == "at_hash" else "code"
    return Problem(Reason.CLAIM_MISMATCH, f"{name} is not that of the {what} that the ID token came with")


def _half_hash(value: str, alg: str, curve: str) -> str | None:
    """Give the left half of the hash that goes with a signature algorithm; None where that is not settled."""
    data = value.encode()
    if alg == "Ed448" or (alg == "EdDSA" and curve == "Ed448"):
        digest = shake_256(data).digest(114)
    elif alg in {"EdDSA", "Ed25519"}:
        digest = sha512(data).digest()
    else:
        hashes = {"256": sha256, "384": sha384, "512": sha512}
        found = hashes.get(alg.removesuffix("K")[-3:])
        if found is None:
            return None
        digest = found(data).digest()
    return urlsafe_b64encode(digest[: len(digest) // 2]).rstrip(b"=").decode()


def _age_problems(claims: Mapping[str, Any], allowed: float, now: float) -> Iterator[Problem]:
    if "auth_time" not in claims:
        yield Problem(Reason.CLAIM_MISSING, "auth_time is missing though max_age asks for it")
        return
    since = time_claim(claims, "auth_time")
    if since is None:
        yield Problem(Reason.CLAIM_INVALID, "claim auth_time is no number of seconds")
    elif now - since > allowed:
        detail = f"auth_time is {now - since:.0f} s in the past, allowed are {allowed:g} s with leeway"
        yield Problem(Reason.CLAIM_MISMATCH, detail)


def _acr_problems(claims: Mapping[str, Any], wanted: tuple[str, ...]) -> Iterator[Problem]:
    found = claims.get("acr")
    if found is None:
        yield Problem(Reason.CLAIM_MISSING, "acr is missing")
    elif found not in wanted:
        yield Problem(Reason.CLAIM_MISMATCH, f"acr is not {' or '.join(wanted)}")
