"""Verify an access token locally (RFC 7519, 8725), before the API is called, so that a refusal there can be blamed."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, ClassVar
from urllib.parse import urlsplit

from otelprobe.expect import ValueMatcher
from otelprobe.fields import Duration, DurationOrZero, Scalar, SecretRef
from otelprobe.http import Redirects
from otelprobe.jwks import fetch_key_set, note_token, withdrawn_kids
from otelprobe.provider import Provider
from otelprobe.reasons import Blame, CheckFailed, Counts, Layer, Reason
from otelprobe.result import Fact, FactValue, Warn
from otelprobe.state import Memory
from otelprobe.step import Artifact, Claims, Context, Done, KeySet, ProviderMetadata, Step, StepFailed, Tokens
from otelprobe.tokens import (
    ASYMMETRIC,
    SYMMETRIC,
    AlgorithmName,
    Jwt,
    Key,
    Policy,
    Problem,
    Verification,
    format_of,
    load_crypto,
    parse,
    parse_key_set,
    pem_key,
    problem_facts,
    secret_key,
    time_claim,
    time_problems,
    verify,
)

_TIME_REASONS = frozenset({Reason.EXPIRED, Reason.EXPIRED_ON_ISSUE, Reason.NOT_YET_VALID})
_SKEW_WORTH_BLAMING = 2.0
"""Seconds. `Date` and `iat` are whole seconds, so a smaller difference says nothing of a clock."""

_SKEW_WORTH_TELLING = 30.0
"""Seconds: as for `Date`, skew that breaks nothing is warned of above this (reasons.md, rule 5)."""


def parse_audience(value: object) -> tuple[str, ...]:
    """Read one audience or a list of them; a token for any of them is good."""
    values = value if isinstance(value, list) else [value]
    if not values or not all(isinstance(v, str) and v for v in values):
        raise ValueError("not an audience: write a text, or a list of texts of which the token must have one")
    return tuple(values)


AUDIENCE = Scalar(
    parse_audience,
    {"anyOf": [{"type": "string"}, {"type": "array", "minItems": 1, "items": {"type": "string"}}]},
)
Audience = Annotated[tuple[str, ...], AUDIENCE]


@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationKey:
    """A key to verify with where the provider's published ones do not serve: exactly one of these, read at each use."""

    secret: SecretRef | None = None
    """Shared secret, for HS256, HS384 and HS512."""

    pem: str | None = None
    """File with a public key or certificate."""

    jwks: str | None = None
    """URL or file of a key set."""

    def faults(self) -> Iterator[tuple[str, str]]:
        """Say what does not fit together."""
        if sum(source is not None for source in (self.secret, self.pem, self.jwks)) != 1:
            yield "", "key takes exactly one of secret, pem and jwks"


@dataclass(frozen=True, kw_only=True)
class Verify(Step):
    """Verify signature, header and claims; the detail names everything that is wrong, the reason what matters most."""

    kind: ClassVar[str] = "verify"
    answers: ClassVar[bool] = False
    layer: ClassVar[Layer] = Layer.AUTH
    makes: ClassVar[tuple[type[Artifact], ...]] = (Claims,)
    own_reasons: ClassVar[frozenset[Reason]] = frozenset(
        {
            *(Reason.TOKEN_MALFORMED, Reason.TOKEN_OPAQUE, Reason.TOKEN_ENCRYPTED, Reason.ALG_NONE),
            *(Reason.ALG_NOT_ALLOWED, Reason.ALG_UNSUPPORTED, Reason.KEY_MISMATCH, Reason.KEY_UNUSABLE),
            *(Reason.KID_NOT_IN_JWKS, Reason.KID_WITHDRAWN_EARLY, Reason.SIGNATURE_INVALID),
            *(Reason.HEADER_UNEXPECTED, Reason.CLAIM_MISSING, Reason.CLAIM_INVALID, Reason.CLAIM_MISMATCH),
            *(Reason.EXPIRED, Reason.EXPIRED_ON_ISSUE, Reason.NOT_YET_VALID, Reason.CLOCK_SKEW),
            *(Reason.ISSUER_MISMATCH, Reason.AUDIENCE_MISMATCH, Reason.LIFETIME_EXCESSIVE),
        }
    )
    default_redirects: ClassVar[Redirects] = Redirects.SAME_ORIGIN

    algorithms: tuple[AlgorithmName, ...] | None = None
    """Which may sign; default: the asymmetric ones that the provider advertises, with `key: {secret: ...}` all HS."""

    audience: Audience | None = None
    """One of these must be in `aud`; default: not compared, with a warning."""

    issuer: str | None = None
    """What `iss` must be; default: the provider's issuer."""

    leeway: DurationOrZero = 5.0
    """Allowed difference of clocks; default 5s: more than healthy ones differ, less than an outage hides in."""

    require: tuple[str, ...] = ()
    """Claims that must be there."""

    claims: Mapping[str, ValueMatcher] = field(default_factory=dict)
    """Claim name to value or matcher."""

    max_lifetime: Duration | None = None
    """Longest time from `iat` to `exp`."""

    typ: str | None = None
    """What `typ` in the header must be, such as `at+jwt`."""

    key: VerificationKey | None = None
    """Key to use in place of the provider's key set."""

    def warm_up(self) -> None:
        """Import what tokens are checked with."""
        load_crypto()

    def required(self, provider: Provider | None) -> tuple[type[Artifact], ...]:
        """Need a token, and the provider's keys unless others are given."""
        _ = provider
        return (Tokens,) if self.key is not None else (Tokens, KeySet)

    def calls_provider(self) -> bool:
        """Fetch the provider's keys once more for an unknown kid, unless another key is given."""
        return self.key is None

    def files(self) -> tuple[tuple[str, str], ...]:
        """Name the key file, if there is one."""
        key = self.key
        named = () if key is None else (("key.pem", key.pem), ("key.jwks", key.jwks))
        return tuple((member, file) for member, file in named if file is not None and "://" not in file)

    def secrets(self) -> tuple[SecretRef, ...]:
        """Give the shared secret, if there is one."""
        return (self.key.secret,) if self.key is not None and self.key.secret is not None else ()

    def faults(self) -> Iterator[tuple[str, str]]:
        """Say what does not fit together."""
        shared = bool(self.secrets())
        if self.algorithms is not None and not self.algorithms:
            yield "algorithms", "an empty list allows no token: name the algorithms, or leave it out"
        for name in self.algorithms or ():
            if name in SYMMETRIC and not shared:
                yield "algorithms", f"{name} needs a shared secret: add key: {{secret: ...}}, or leave {name} out"
            elif name not in SYMMETRIC and shared:
                yield "algorithms", f"{name} is not verified with a shared secret: leave {name} out, or the secret"

    def run(self, ctx: Context) -> Done:
        """Verify; makes Claims. Fails with every fact that was found all the same."""
        tokens = ctx.need(Tokens, self.use)
        jwt = _parse(tokens.access)
        policy = self._policy(ctx)
        found = self._verify(ctx, jwt, tokens, policy)
        if found.key is not None and self.key is None:
            _remember(ctx, jwt, found.key)
        problems, skew = _explained_by_clock(ctx, jwt, tokens, policy, found.problems)
        done = Done(
            facts={**found.facts, **problem_facts(problems), **_skew_facts(skew)},
            warnings=(*self._warnings(), *found.warnings),
        )
        if problems:
            raise StepFailed(_failure(problems, skew), done)
        return replace(_with_claimed_skew(ctx, jwt, tokens, done), makes=(Claims(tokens.access, jwt.claims),))

    def _warnings(self) -> Iterator[Warn]:
        if self.audience is None:
            yield Warn(Reason.AUDIENCE_MISMATCH, "aud is not compared: set audience to what the API expects")

    def _policy(self, ctx: Context) -> Policy:
        algorithms, listed = self._allowed(ctx)
        return Policy(
            algorithms=algorithms,
            listed=listed,
            issuer=self.issuer or (ctx.provider.issuer if ctx.provider is not None else None),
            audience=self.audience,
            leeway=self.leeway,
            require=self.require,
            max_lifetime=self.max_lifetime,
            typ=self.typ,
            claims=self.claims,
        )

    def _allowed(self, ctx: Context) -> tuple[tuple[str, ...], bool]:
        """Give the algorithms that are allowed, and whether somebody listed them."""
        if self.algorithms is not None:
            return self.algorithms, True
        if self.secrets():
            return SYMMETRIC, True
        metadata = ctx.find(ProviderMetadata) if self.key is None else None
        advertised = _asymmetric(metadata.document) if metadata is not None else ()
        return (advertised, True) if advertised else (ASYMMETRIC, False)

    def _verify(self, ctx: Context, jwt: Jwt, tokens: Tokens, policy: Policy) -> Verification:
        """Verify, and once more with freshly fetched keys if the token's kid is unknown: a client would do so too."""
        issued_at = None if tokens.cached else _obtained(ctx, tokens)
        keys = self._keys(ctx)
        found = verify(jwt, keys, policy, ctx.now(), issued_at=issued_at)
        unknown = any(p.reason is Reason.KID_NOT_IN_JWKS for p in found.problems)
        if self.key is not None or not unknown:
            return found
        try:
            keys = fetch_key_set(ctx, ctx.need(KeySet).url, self.follow, again=True)[0].keys
        except CheckFailed as failed:
            second = Problem(failed.reason, f"a second fetch of the key set failed: {failed.detail}")
            return replace(found, problems=(*found.problems, second))
        return verify(jwt, keys, policy, ctx.now(), issued_at=issued_at, withdrawn=withdrawn_kids(ctx))

    def _keys(self, ctx: Context) -> tuple[Key, ...]:
        if self.key is None:
            return ctx.need(KeySet).keys
        if self.key.secret is not None:
            return (secret_key(self.key.secret.read()),)
        if self.key.pem is not None:
            return (_read_pem(self.key.pem),)
        return _read_jwks(ctx, self.key.jwks or "", self.follow)


def _parse(token: str) -> Jwt:
    try:
        return parse(token)
    except CheckFailed as failed:
        facts: dict[str, FactValue] = {Fact.JWT_FORMAT: format_of(token), Fact.JWT_PROBLEMS: (failed.reason.value,)}
        raise StepFailed(failed, Done(facts=facts)) from None


def _asymmetric(document: Mapping[str, object]) -> tuple[str, ...]:
    """Give the advertised algorithms whose keys are public (OpenID Connect Discovery 1.0, section 3)."""
    listed = document.get("id_token_signing_alg_values_supported")
    names = [name for name in listed if isinstance(name, str)] if isinstance(listed, list) else []
    return tuple(name for name in names if name not in SYMMETRIC and name.lower() != "none")


def _read_pem(path: str) -> Key:
    try:
        return pem_key(_read(path))
    except ValueError as error:
        raise CheckFailed(Reason.CONFIG_ERROR, f"key file {path}: {error}") from None


def _read_jwks(ctx: Context, source: str, redirects: Redirects) -> tuple[Key, ...]:
    if source.startswith(("https://", "http://")):
        return fetch_key_set(ctx, source, redirects)[0].keys
    try:
        return parse_key_set(json.loads(_read(source)))
    except CheckFailed as failed:
        detail = failed.detail if failed.reason is Reason.CONFIG_ERROR else f"key file {source}: {failed.detail}"
        raise CheckFailed(Reason.CONFIG_ERROR, detail) from None
    except (ValueError, RecursionError):
        raise CheckFailed(Reason.CONFIG_ERROR, f"key file {source}: it is no JSON") from None


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise CheckFailed(Reason.CONFIG_ERROR, f"key file {path}: {error.strerror}") from None


def _obtained(ctx: Context, tokens: Tokens) -> float:
    return tokens.obtained_at or ctx.now()


def _remember(ctx: Context, jwt: Jwt, key: Key) -> None:
    exp, iat = time_claim(jwt.claims, "exp"), time_claim(jwt.claims, "iat")
    if exp is not None:
        note_token(ctx, key.label, exp, exp - iat if iat is not None else None)


# Clocks (reasons.md, rule 5)


@dataclass(frozen=True, slots=True)
class _Skew:
    """A clock that differs from ours: the host it belongs to, seconds ahead, and whether other peers say the same."""

    host: str
    seconds: float
    ours: bool


def _explained_by_clock(
    ctx: Context, jwt: Jwt, tokens: Tokens, policy: Policy, problems: tuple[Problem, ...]
) -> tuple[tuple[Problem, ...], _Skew | None]:
    """Put clock_skew in the place of time problems that are none by the provider's clock."""
    failing = [p for p in problems if p.reason in _TIME_REASONS]
    skew = next(_skews(ctx, jwt, tokens, policy), None) if failing else None
    if skew is None:
        return problems, None
    whose = "the prober's own clock is off" if skew.ours else f"the provider's clock ({skew.host}) is off"
    why = "; ".join(p.detail for p in failing)
    clock = Problem(Reason.CLOCK_SKEW, f"{whose}: {skew.seconds:+.0f} s between the two explain that {why}")
    first = problems.index(failing[0])
    rest = tuple(p for p in problems[first:] if p.reason not in _TIME_REASONS)
    return (*problems[:first], clock, *rest), skew


def _skews(ctx: Context, jwt: Jwt, tokens: Tokens, policy: Policy) -> Iterator[_Skew]:
    """Give the measured differences by whose clock the token's times hold."""
    hosts = _provider_hosts(ctx)
    others = Memory(skews={h: s for h, s in ctx.memory.skews.copy().items() if h not in hosts})
    grace = replace(policy, leeway=policy.leeway + 1.0)
    for host, seconds in _measured(ctx, jwt, tokens, hosts):
        holds = not any(time_problems(jwt.claims, grace, ctx.now() + seconds))
        if abs(seconds) > _SKEW_WORTH_BLAMING and holds:
            yield _Skew(host, seconds, others.our_clock_is_off(host, seconds))


def _measured(ctx: Context, jwt: Jwt, tokens: Tokens, hosts: tuple[str, ...]) -> Iterator[tuple[str, float]]:
    """Give what `Date` said, then what `iat` of a fresh token says.

    An old `iat` may also come from a cache at the provider, so it speaks of a clock only where no `Date` was seen; one
    in the future can come from nothing but a clock.
    """
    dated = [(h, ctx.memory.skews[h]) for h in hosts if h in ctx.memory.skews]
    yield from dated
    iat = time_claim(jwt.claims, "iat")
    if tokens.cached or not hosts or iat is None:
        return
    seconds = iat + 0.5 - _obtained(ctx, tokens)  # it is cut to whole seconds, as Date is
    if seconds > 0 or not dated:
        yield hosts[0], seconds


def _with_claimed_skew(ctx: Context, jwt: Jwt, tokens: Tokens, done: Done) -> Done:
    """Tell of a clock that is off and breaks nothing, where the provider sends no `Date` (Keycloak does not).

    It is read from `iat` and from `exp` less `expires_in`. A cache or a margin at the provider may be behind one of them,
    so that the lesser difference counts.
    """
    hosts, exp = _provider_hosts(ctx), time_claim(jwt.claims, "exp")
    dated = any(host in ctx.memory.skews for host in hosts)
    issued = None if dated else next(_measured(ctx, jwt, tokens, hosts), None)
    if issued is None or tokens.expires_in is None or exp is None:
        return done
    stated = exp - tokens.expires_in + 0.5 - _obtained(ctx, tokens)
    seconds = min(issued[1], stated, key=abs)
    if abs(seconds) <= _SKEW_WORTH_TELLING:
        return done
    warning = Warn(Reason.CLOCK_SKEW, f"the clock of {issued[0]} is {seconds:+.0f} s from the prober's")
    facts = {**done.facts, Fact.CLOCK_SKEW: round(seconds, 3)}
    return replace(done, facts=facts, warnings=(*done.warnings, warning))


def _provider_hosts(ctx: Context) -> tuple[str, ...]:
    """Give the hosts that are the provider's: the issuer's, those of its endpoints and of its keys."""
    metadata, keys = ctx.find(ProviderMetadata), ctx.find(KeySet)
    urls = [
        *((ctx.provider.issuer, *ctx.provider.endpoints.values()) if ctx.provider is not None else ()),
        *(metadata.endpoints.values() if metadata is not None else ()),
        *((keys.url,) if keys is not None else ()),
    ]
    return tuple(dict.fromkeys(urlsplit(str(url)).hostname or "" for url in urls))


def _skew_facts(skew: _Skew | None) -> dict[str, FactValue]:
    return {} if skew is None else {Fact.CLOCK_SKEW: round(skew.seconds, 3)}


def _failure(problems: tuple[Problem, ...], skew: _Skew | None) -> CheckFailed:
    first = problems[0].reason
    ours = first is Reason.CLOCK_SKEW and skew is not None and skew.ours
    return CheckFailed(
        first,
        "; ".join(p.detail for p in problems),
        blame=Blame.PROBER if ours else None,
        counts=Counts.NONE if ours else None,
        problems=tuple(dict.fromkeys(p.reason for p in problems)),
    )
