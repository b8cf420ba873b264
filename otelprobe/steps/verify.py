"""Verify an access token locally (RFC 7519, 8725), before the API is called, so that a refusal there can be blamed."""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import field
from functools import lru_cache
from pathlib import Path
from typing import Annotated, ClassVar

from otelprobe.expect import ValueMatcher
from otelprobe.fields import Duration, DurationOrZero, Scalar, SecretRef
from otelprobe.http import Redirects
from otelprobe.jwks import fetch_key_set
from otelprobe.key_history import note_token
from otelprobe.provider import Provider
from otelprobe.quick import dataclass
from otelprobe.reasons import CheckFailed, Layer, Reason
from otelprobe.result import Warn
from otelprobe.step import Artifact, Claims, Context, Done, KeySet, ProviderMetadata, Step, StepFailed, Tokens
from otelprobe.token_check import (
    advertised_algorithms,
    explained_by_clock,
    failure,
    issued_when,
    parsed,
    skew_facts,
    verify_published,
    with_claimed_skew,
)
from otelprobe.tokens import (
    SYMMETRIC,
    AlgorithmName,
    Jwt,
    Key,
    Policy,
    Verification,
    load_crypto,
    parse_key_set,
    pem_key,
    problem_facts,
    secret_key,
    time_claim,
    verify,
)


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
        ctx.present(tokens.access, "access_token")
        jwt = parsed(ctx, tokens.access)
        policy = self._fitted(ctx, jwt)
        found = self._verify(ctx, jwt, tokens, policy)
        early = _remember(ctx, jwt, found.key) if found.key is not None and self.key is None else ()
        problems, skew = explained_by_clock(ctx, jwt, tokens, policy, found.problems)
        done = Done(
            makes=() if problems else (Claims(tokens.access, jwt.claims),),
            facts={**found.facts, **problem_facts(problems), **skew_facts(skew)},
            warnings=(*self._warnings(ctx.provider), *found.warnings, *early),
        )
        if problems:
            raise StepFailed(failure(problems, skew), done)
        return with_claimed_skew(ctx, jwt, tokens, done)

    def misfits(self, provider: Provider | None) -> Iterator[tuple[str, str]]:
        """Say that the provider's access tokens cannot be verified with its keys."""
        if self.key is None and provider is not None and provider.preset != "generic":
            from otelprobe.presets import verify_faults  # noqa: PLC0415 - only providers with a preset need it

            yield from verify_faults(provider)

    def _warnings(self, provider: Provider | None) -> Iterator[Warn]:
        if self.audience is None and (provider is None or provider.preset != "cognito"):
            yield Warn(Reason.AUDIENCE_MISMATCH, "aud is not compared: set audience to what the API expects")

    def _fitted(self, ctx: Context, jwt: Jwt) -> Policy:
        """Give the policy, fitted to the shape of the provider's tokens where a preset knows it."""
        policy, provider = self._policy(ctx), ctx.provider
        if provider is None or provider.preset == "generic":
            return policy
        from otelprobe.presets import policy_for  # noqa: PLC0415 - only providers with a preset need it

        metadata = ctx.find(ProviderMetadata)
        named = str(metadata.document.get("issuer", "")) if metadata is not None else None
        return policy_for(provider, policy, jwt.claims, document_issuer=named)

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
        return advertised_algorithms(ctx.find(ProviderMetadata) if self.key is None else None)

    def _verify(self, ctx: Context, jwt: Jwt, tokens: Tokens, policy: Policy) -> Verification:
        if self.key is None:
            return verify_published(ctx, jwt, tokens, policy, self.follow)
        return verify(jwt, self._keys(ctx, self.key), policy, ctx.now(), issued_at=issued_when(ctx, tokens))

    def _keys(self, ctx: Context, key: VerificationKey) -> tuple[Key, ...]:
        if key.secret is not None:
            return (secret_key(key.secret.read()),)
        if key.pem is not None:
            return (_read_pem(key.pem),)
        return _read_jwks(ctx, key.jwks or "", self.follow)


def _read_pem(path: str) -> Key:
    try:
        return pem_key(_read(path))
    except ValueError as error:
        raise CheckFailed(Reason.CONFIG_ERROR, f"key file {path}: {error}") from None


def _read_jwks(ctx: Context, source: str, redirects: Redirects) -> tuple[Key, ...]:
    if source.startswith(("https://", "http://")):
        return fetch_key_set(ctx, source, redirects)[0].keys
    try:
        return _parse_file(source, _stamp(source))
    except CheckFailed as failed:
        detail = failed.detail if failed.reason is Reason.CONFIG_ERROR else f"key file {source}: {failed.detail}"
        raise CheckFailed(Reason.CONFIG_ERROR, detail) from None
    except (ValueError, RecursionError):
        raise CheckFailed(Reason.CONFIG_ERROR, f"key file {source}: it is no JSON") from None


@lru_cache(maxsize=64)
def _parse_file(path: str, stamp: tuple[int, int, int]) -> tuple[Key, ...]:
    """Parse the key set of a file, once for as long as the file stays the same."""
    _ = stamp
    return parse_key_set(json.loads(_read(path)))


def _stamp(path: str) -> tuple[int, int, int]:
    """Give what changes with a file: it is read anew when it was rotated."""
    try:
        found = os.stat(path)  # noqa: PTH116 - in every run; a Path costs more than the call
    except OSError as error:
        raise CheckFailed(Reason.CONFIG_ERROR, f"key file {path}: {error.strerror}") from None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise CheckFailed(Reason.CONFIG_ERROR, f"key file {path}: {error.strerror}") from None


def _remember(ctx: Context, jwt: Jwt, key: Key) -> tuple[Warn, ...]:
    exp, iat = time_claim(jwt.claims, "exp"), time_claim(jwt.claims, "iat")
    if exp is None:
        return ()
    return note_token(ctx, key.label, exp, exp - iat if iat is not None else None)
