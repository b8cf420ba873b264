"""Obtain a token from the token endpoint (RFC 6749): client credentials, password, or a refresh token that was issued before."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

from otelprobe.expect import Comparison, Expect, comparison_holds
from otelprobe.fields import SecretRef
from otelprobe.oauth import post, read_object, read_tokens
from otelprobe.provider import Provider
from otelprobe.reasons import CheckFailed, Layer, Reason
from otelprobe.result import Fact, FactValue, Warn
from otelprobe.step import Artifact, Context, Done, Step, StepFailed, Tokens, needs_endpoint
from otelprobe.tokens import format_of, parse, shown

_MARGIN = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenExpect(Expect):
    """What to expect of a token response besides the common words."""

    expires_in: Comparison | None = None
    """`expires_in` of the answer, in seconds."""

    token_type: str = "Bearer"  # noqa: S105 - a scheme, not a password
    """`token_type` of the answer, in any case."""

    scope: Literal["exact", "any"] | None = None
    """`exact`: just the scopes asked for; `any`: not checked; default: none may be missing."""


@dataclass(frozen=True, kw_only=True)
class Token(Step):
    """Ask for a token at the provider's token endpoint."""

    kind: ClassVar[str] = "token"
    layer: ClassVar[Layer] = Layer.AUTH
    makes: ClassVar[tuple[type[Artifact], ...]] = (Tokens,)
    uses_provider: ClassVar[bool] = True
    own_reasons: ClassVar[frozenset[Reason]] = frozenset(
        {Reason.IDP_HTTP_5XX, Reason.INVALID_CLIENT, Reason.IDP_RATE_LIMITED, Reason.TOO_SLOW, Reason.BUDGET_EXHAUSTED}
    )

    grant: Literal["client_credentials", "password", "refresh_token"] = "client_credentials"
    """How the token is asked for (RFC 6749)."""

    scope: str | None = None
    """Scopes asked for, with spaces between; one that is not granted fails the step."""

    audience: str | None = None
    """Sent as `audience`."""

    resource: tuple[str, ...] = ()
    """Sent as `resource`, once for each (RFC 8707)."""

    params: Mapping[str, str] = field(default_factory=dict)
    """Anything else to send in the form."""

    username: str | None = None
    """User name, for `grant: password`."""

    password: SecretRef | None = None
    """Password, for `grant: password`."""

    refresh_token: SecretRef | None = None
    """For `grant: refresh_token`; successors are kept in memory; default: that of an earlier step."""

    cache: Literal["fresh", "reuse"] = "fresh"
    """`reuse` keeps a token in memory until shortly before it expires; `fresh` asks anew in every run."""

    expect: TokenExpect = field(default_factory=TokenExpect)

    def required(self, provider: Provider | None) -> tuple[type[Artifact], ...]:
        """Need the token endpoint, and an earlier token where a refresh token is to come from it."""
        earlier = (Tokens,) if self.grant == "refresh_token" and self.refresh_token is None else ()
        return (*needs_endpoint(provider, "token"), *earlier)

    def secrets(self) -> tuple[SecretRef, ...]:
        """Give the secrets that are read."""
        return tuple(s for s in (self.password, self.refresh_token) if s is not None)

    def faults(self) -> Iterator[tuple[str, str]]:
        """Say what does not fit the grant."""
        if self.grant == "password" and (self.username is None or self.password is None):
            yield "grant", "grant: password needs username and password: {env: NAME} or {file: PATH}"
        if self.grant != "password" and (self.username is not None or self.password is not None):
            yield "username" if self.username is not None else "password", "goes with grant: password only"
        if self.grant != "refresh_token" and self.refresh_token is not None:
            yield "refresh_token", "goes with grant: refresh_token only"
        if self.cache == "reuse" and self.capture:
            yield "capture", "a reused token has no answer to capture from: use cache: fresh"
        reserved = sorted(
            set(self.params) & {"grant_type", "client_id", "client_secret", "password", "refresh_token", "scope"}
        )
        if reserved:
            yield "params", f"{', '.join(reserved)} cannot be set in params: they have members of their own"

    def run(self, ctx: Context) -> Done:
        """Obtain a token, or take one from the cache that is good for a while yet; makes Tokens."""
        facts: dict[str, FactValue] = {
            Fact.ISSUANCE_GRANT: self.grant,
            Fact.ISSUANCE_CLIENT_AUTH: ctx.identity_provider().auth_method,
        }
        cached = self._cached(ctx)
        if cached is not None:
            left = (cached.obtained_at + (cached.expires_in or 0.0)) - ctx.now()
            return Done(
                makes=(cached,), facts={**facts, Fact.ISSUANCE_SOURCE: "cached", Fact.ISSUANCE_EXPIRES_IN: left}
            )
        return self._fresh(ctx, {**facts, Fact.ISSUANCE_SOURCE: "fresh"})

    def _fresh(self, ctx: Context, facts: dict[str, FactValue]) -> Done:
        provider = ctx.identity_provider()
        if provider.budget is not None and not ctx.memory.budget(provider.name, provider.budget).take(
            ctx.clock.monotonic()
        ):
            limit = f"{provider.budget.count} in {provider.budget.per:g} s"
            raise CheckFailed(Reason.BUDGET_EXHAUSTED, f"the budget of provider {provider.name} ({limit}) is used up")
        reply = post(ctx, ctx.endpoint("token"), self._form(ctx))
        issued: tuple[Tokens, ...] = ()
        try:
            tokens = replace(read_tokens(ctx, read_object(reply)), for_resource=bool(self.audience or self.resource))
            issued = (tokens,)
            self._keep_successor(ctx, tokens)
            if tokens.expires_in is not None:
                facts[Fact.ISSUANCE_EXPIRES_IN] = tokens.expires_in
            warnings = self._check(tokens, facts)
        except CheckFailed as failed:
            learnt = failed.done.facts if isinstance(failed, StepFailed) else {}
            # A token that is not as expected is alive all the same: a clean-up step has to revoke it.
            raise StepFailed(failed, Done(makes=issued, facts={**facts, **learnt})) from None
        if self.cache == "reuse":
            ctx.memory.tokens[self._key(ctx, "token")] = replace(tokens, cached=True)
        return Done(makes=issued, facts=facts, warnings=warnings, reply=reply)

    def _form(self, ctx: Context) -> dict[str, str | tuple[str, ...]]:
        form: dict[str, str | tuple[str, ...]] = {"grant_type": self.grant}
        if self.grant == "password" and self.password is not None:
            form |= {"username": self.username or "", "password": self.password.read()}
        if self.grant == "refresh_token":
            form["refresh_token"] = self._refresh_token(ctx)
        if self.scope:
            form["scope"] = self.scope
        if self.audience:
            form["audience"] = self.audience
        if self.resource:
            form["resource"] = self.resource
        return {**form, **self.params}

    def _refresh_token(self, ctx: Context) -> str:
        """Give the successor of the seed if there is one, else the seed, else what an earlier step was issued."""
        if self.refresh_token is None:
            earlier = ctx.need(Tokens, self.use).refresh
            if earlier is None:
                raise CheckFailed(Reason.REFRESH_FAILED, "the earlier answer had no refresh token")
            return earlier
        seed = self.refresh_token.read()
        kept = ctx.memory.tokens.get(self._key(ctx, "successor"))
        return str(kept[1]) if kept is not None and kept[0] == seed else seed

    def _key(self, ctx: Context, what: str) -> str:
        """Name a cached token by all that makes it what it is; no secret is part of it."""
        provider = ctx.identity_provider()
        asked = (self.grant, self.scope, self.audience, self.resource, sorted(self.params.items()), self.username)
        return repr((what, provider.name, provider.issuer, provider.client_id, asked))

    def _cached(self, ctx: Context) -> Tokens | None:
        """Give a cached token that outlives this run; never one that is near its end."""
        found = ctx.memory.tokens.get(self._key(ctx, "token")) if self.cache == "reuse" else None
        if not isinstance(found, Tokens) or not found.expires_in:
            return None
        margin = max(min(_MARGIN, found.expires_in / 10), ctx.deadline - ctx.clock.monotonic())
        return found if ctx.now() + margin < found.obtained_at + found.expires_in else None

    def _keep_successor(self, ctx: Context, tokens: Tokens) -> None:
        if self.refresh_token is not None and tokens.refresh is not None:
            ctx.memory.tokens[self._key(ctx, "successor")] = (self.refresh_token.read(), tokens.refresh)

    def _check(self, tokens: Tokens, facts: dict[str, FactValue]) -> tuple[Warn, ...]:
        wanted = self.expect
        if (tokens.token_type or "").lower() != wanted.token_type.lower():
            found = shown(tokens.token_type) if tokens.token_type else "missing"
            raise CheckFailed(Reason.TOKEN_TYPE_UNEXPECTED, f"token_type is {found}, expected {wanted.token_type}")
        if wanted.expires_in is not None and (
            tokens.expires_in is None or not comparison_holds(tokens.expires_in, wanted.expires_in)
        ):
            found = "missing" if tokens.expires_in is None else f"{tokens.expires_in:g}"
            sign, limit = wanted.expires_in
            raise CheckFailed(Reason.EXPIRES_IN_INVALID, f"expires_in is {found}, expected {sign} {limit:g}")
        return self._check_scope(tokens, facts)

    def _check_scope(self, tokens: Tokens, facts: dict[str, FactValue]) -> tuple[Warn, ...]:
        """Compare granted with requested scopes. No `scope` in the answer means: as requested (RFC 6749, section 5.1)."""
        asked = set((self.scope or "").split())
        granted = granted_scopes(tokens)
        if granted is None or (not asked and self.expect.scope is None):
            return ()
        missing, extra = sorted(asked - granted), sorted(granted - asked)
        facts[Fact.ISSUANCE_SCOPE_MATCH] = not missing and not extra
        if self.expect.scope == "any":
            return ()
        if missing:
            raise CheckFailed(Reason.SCOPE_REDUCED, f"not granted: {' '.join(missing)}")
        if extra and self.expect.scope == "exact":
            raise CheckFailed(Reason.SCOPE_EXCESS, f"granted besides: {shown(' '.join(extra))}")
        return ()


def granted_scopes(tokens: Tokens) -> set[str] | None:
    """Give the scopes that were granted: as the answer says, else as the token itself says, else unknown.

    The token is looked into because some providers drop a scope without a word in the answer. An access token by its
    own type (RFC 9068, section 2.2.3) names its scopes: one that names none has none.
    """
    if tokens.scope is not None:
        return set(tokens.scope.split())
    if format_of(tokens.access) != "jws":
        return None
    try:
        jwt = parse(tokens.access)
    except CheckFailed:
        return None
    scope = jwt.claims.get("scope", jwt.claims.get("scp"))
    if isinstance(scope, str):
        return set(scope.split())
    if isinstance(scope, list):
        return {str(s) for s in scope}
    typ = str(jwt.header.get("typ", "")).lower()
    return set() if scope is None and typ in {"at+jwt", "application/at+jwt"} else None
