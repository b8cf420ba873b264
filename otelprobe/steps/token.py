"""Obtain a token from the token endpoint (RFC 6749, 7523, 8628, 8693)."""

from collections.abc import Iterator, Mapping
from dataclasses import field, replace
from typing import ClassVar, Literal

from otelprobe.binding import Bound, check_binding
from otelprobe.client_auth import signed_assertion
from otelprobe.codes import DEVICE_GRANT, code_form, poll, read_decision
from otelprobe.exchange import check_issued_type, check_not_widened, is_access_token, party, token_type, type_fault
from otelprobe.expect import Comparison, Expect, comparison_holds
from otelprobe.fields import SecretRef
from otelprobe.http import Reply
from otelprobe.oauth import post_for_tokens, read_object, read_tokens, spend_budget
from otelprobe.provider import Provider
from otelprobe.quick import dataclass
from otelprobe.reasons import CheckFailed, Layer, Reason
from otelprobe.result import Fact, FactValue, Warn
from otelprobe.signing import SignedAssertion, Signer
from otelprobe.step import (
    Artifact,
    AuthorizationCode,
    Context,
    DeviceCode,
    Done,
    Step,
    StepFailed,
    Tokens,
    needs_endpoint,
)
from otelprobe.successors import keep, latest
from otelprobe.tokens import format_of, load_crypto, parse, shown

GRANT_TYPES: Mapping[str, str] = {
    "jwt_bearer": "urn:ietf:params:oauth:grant-type:jwt-bearer",
    "token_exchange": "urn:ietf:params:oauth:grant-type:token-exchange",
    "device_code": DEVICE_GRANT,
}
"""Words of `grant` whose name on the wire is another."""

_OF_CODE: Mapping[str, type[AuthorizationCode | DeviceCode]] = {
    "authorization_code": AuthorizationCode,
    "device_code": DeviceCode,
}

_OF_EXCHANGE = ("subject", "actor", "subject_token_type", "actor_token_type", "requested_token_type")
_RESERVED = frozenset(
    {
        *("grant_type", "client_id", "client_secret", "client_assertion", "client_assertion_type", "password"),
        *("refresh_token", "scope", "assertion", "subject_token", "actor_token", *_OF_EXCHANGE[2:]),
        *("code", "redirect_uri", "code_verifier", "device_code"),
    }
)
_AGAIN = frozenset({"client_credentials", "password", "jwt_bearer", "token_exchange"})
"""Grants whose request uses nothing up, so that it may be sent again."""

_MARGIN = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenExpect(Expect):
    """What to expect of a token response besides the common words."""

    expires_in: Comparison | None = None
    """`expires_in` of the answer, in seconds."""

    token_type: str | None = None
    """`token_type` of the answer, in any case; default: `DPoP` where the provider has `dpop`, else `Bearer`."""

    scope: Literal["exact", "any"] | None = None
    """`exact`: just the scopes asked for; `any`: not checked; default: none may be missing. A token that was exchanged
    may have no more than was asked for, or than the subject token had.
    """

    bound_to: Bound | None = None
    """What a JWT must be bound to: `certificate` (RFC 8705) or `dpop` (RFC 9449). That it is ours is always checked."""


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

    grant: Literal[
        "client_credentials",
        "password",
        "refresh_token",
        "authorization_code",
        "device_code",
        "jwt_bearer",
        "token_exchange",
    ] = "client_credentials"
    """How the token is asked for (RFC 6749, 7523, 8628, 8693)."""

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
    """For `grant: refresh_token`; successors are kept, sealed, in the state directory; default: that of an earlier step."""

    assertion: SecretRef | None = None
    """For `grant: jwt_bearer`: an assertion that somebody else has signed; read at each use."""

    sign: SignedAssertion | None = None
    """For `grant: jwt_bearer`: an assertion that is signed here; exactly one of the two."""

    subject: str | None = None
    """For `grant: token_exchange`: name of the step whose token is exchanged; default: the latest."""

    actor: str | None = None
    """For `grant: token_exchange`: name of the step whose token says who acts for the subject."""

    subject_token_type: str | None = None
    """What is exchanged: `access_token` (default), `refresh_token`, `id_token`, `jwt`, `saml1`, `saml2` or a URI."""

    actor_token_type: str | None = None
    """What says who acts; as `subject_token_type`."""

    requested_token_type: str | None = None
    """What is asked for, in the same words; just that must be issued. Default: what the provider gives."""

    cache: Literal["fresh", "reuse"] = "fresh"
    """`reuse` keeps a token in memory until shortly before it expires; `fresh` asks anew in every run."""

    expect: TokenExpect = field(default_factory=TokenExpect)

    def required(self, provider: Provider | None) -> tuple[type[Artifact], ...]:
        """Need the token endpoint, and the code, or an earlier token where a refresh token is to come from it."""
        refreshes = self.grant == "refresh_token" and self.refresh_token is None
        earlier = (Tokens,) if refreshes or self.grant == "token_exchange" else ()
        code = (_OF_CODE[self.grant],) if self.grant in _OF_CODE else ()
        return (*needs_endpoint(provider, "token"), *earlier, *code)

    def secrets(self) -> tuple[SecretRef, ...]:
        """Give the secrets that are read."""
        signing = self.sign.key if self.sign is not None else None
        return tuple(s for s in (self.password, self.refresh_token, self.assertion, signing) if s is not None)

    def references(self) -> tuple[tuple[tuple[str, ...], str], ...]:
        """Name the steps whose tokens are exchanged."""
        named = ((("subject",), self.subject), (("actor",), self.actor))
        return (*super().references(), *((member, name) for member, name in named if name is not None))

    def warm_up(self) -> None:
        """Import what assertions are signed with."""
        if self.sign is not None:
            load_crypto()

    def faults(self) -> Iterator[tuple[str, str]]:
        """Say what does not fit the grant."""
        if self.grant == "password" and (self.username is None or self.password is None):
            yield "grant", "grant: password needs username and password: {env: NAME} or {file: PATH}"
        if self.grant != "password" and (self.username is not None or self.password is not None):
            yield "username" if self.username is not None else "password", "goes with grant: password only"
        if self.grant != "refresh_token" and self.refresh_token is not None:
            yield "refresh_token", "goes with grant: refresh_token only"
        yield from self._machine_faults()
        yield from self._code_faults()
        if self.cache == "reuse" and self.capture:
            yield "capture", "a reused token has no answer to capture from: use cache: fresh"
        reserved = sorted(set(self.params) & _RESERVED)
        if reserved:
            yield "params", f"{', '.join(reserved)} cannot be set in params: they have members of their own"

    def _machine_faults(self) -> Iterator[tuple[str, str]]:
        """Say what does not fit the grants by assertion and by exchange."""
        given = (self.assertion is not None) + (self.sign is not None)
        if self.grant == "jwt_bearer" and given != 1:
            yield (
                "grant",
                "grant: jwt_bearer needs exactly one of assertion: {file: PATH} and sign: {key: {file: PATH}}",
            )
        if self.grant != "jwt_bearer" and given:
            yield "assertion" if self.assertion is not None else "sign", "goes with grant: jwt_bearer only"
        for member in _OF_EXCHANGE:
            value = getattr(self, member)
            if value is not None and self.grant != "token_exchange":
                yield member, "goes with grant: token_exchange only"
            wrong = type_fault(value) if member.endswith("_type") else None
            if wrong is not None:
                yield member, wrong
        if self.actor_token_type is not None and self.actor is None:
            yield "actor_token_type", "says of what type the token of actor is: add actor: STEP"
        if self.subject is not None and self.use is not None:
            yield "use", "subject: ... already says whose token to use"

    def _code_faults(self) -> Iterator[tuple[str, str]]:
        """Say what does not fit the grants by code."""
        if self.grant not in _OF_CODE:
            return
        kind = "authorize" if self.grant == "authorization_code" else "device"
        if self.scope is not None:
            yield "scope", f"with grant: {self.grant} the scope is asked for earlier: set it at the step {kind}"
        if self.cache == "reuse":
            yield "cache", f"grant: {self.grant} uses up a code in every run: use cache: fresh"

    def misfits(self, provider: Provider | None) -> Iterator[tuple[str, str]]:
        """Say what the provider asks for and is not sent; `params` may hold it too."""
        if provider is not None and provider.preset != "generic":
            from otelprobe.presets import token_faults  # noqa: PLC0415 - only providers with a preset need it

            yield from token_faults(provider, self.grant, self.scope, self.audience or self.params.get("audience"))

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
        spend_budget(ctx)
        form, code = self._form(ctx), self._code(ctx)
        issued: tuple[Tokens, ...] = ()
        try:
            reply, key = self._ask(ctx, form)
            document = self._read(ctx, reply)
            tokens = read_tokens(
                ctx,
                document,
                for_resource=bool(self.audience or self.resource),
                proof_key=key,
                authorization=code if isinstance(code, AuthorizationCode) else None,
                asked=_pairs(form) if self.grant in _AGAIN else (),
                own_session=code is not None,
            )
            issued = (tokens,)
            kept = self._keep_successor(ctx, tokens)
            if tokens.expires_in is not None:
                facts[Fact.ISSUANCE_EXPIRES_IN] = tokens.expires_in
            if self.grant == "token_exchange":
                tokens = replace(
                    tokens, issued_type=check_issued_type(document.get("issued_token_type"), self.requested_token_type)
                )
                issued = (tokens,)
            warnings = (*kept, *self._check(ctx, tokens, facts))
        except CheckFailed as failed:
            learnt = failed.done.facts if isinstance(failed, StepFailed) else {}
            # A token that is not as expected is alive all the same: a clean-up step has to revoke it.
            raise StepFailed(failed, Done(makes=issued, facts={**facts, **learnt})) from None
        if self.cache == "reuse":
            ctx.memory.tokens[self._key(ctx)] = replace(tokens, cached=True)
        return Done(makes=issued, facts=facts, warnings=warnings, reply=reply)

    def _form(self, ctx: Context) -> dict[str, str | tuple[str, ...]]:
        form: dict[str, str | tuple[str, ...]] = {"grant_type": GRANT_TYPES.get(self.grant, self.grant)}
        if self.grant == "password" and self.password is not None:
            form |= {"username": self.username or "", "password": self.password.read()}
        if self.grant == "refresh_token":
            form["refresh_token"] = self._refresh_token(ctx)
        code = self._code(ctx)
        if isinstance(code, AuthorizationCode):
            form |= code_form(code)
        if isinstance(code, DeviceCode):
            form["device_code"] = code.code
        if code is not None:
            ctx.present(code.code, "code")
        if self.grant == "jwt_bearer":
            form["assertion"] = self._assertion(ctx)
        if self.grant == "token_exchange":
            form |= self._exchange(ctx)
        if self.scope:
            form["scope"] = self.scope
        if self.audience:
            form["audience"] = self.audience
        if self.resource:
            form["resource"] = self.resource
        return {**form, **self.params}

    def _code(self, ctx: Context) -> AuthorizationCode | DeviceCode | None:
        """Give the code that is turned into tokens, if the grant is one by code."""
        return ctx.need(_OF_CODE[self.grant], self.use) if self.grant in _OF_CODE else None

    def _ask(self, ctx: Context, form: Mapping[str, str | tuple[str, ...]]) -> tuple[Reply, Signer | None]:
        """Ask for the token; for a device code until the provider has decided."""
        code = self._code(ctx)
        if isinstance(code, DeviceCode):
            return poll(ctx, code, lambda: post_for_tokens(ctx, form))
        return post_for_tokens(ctx, form, self._earlier(ctx))

    def _refresh_token(self, ctx: Context) -> str:
        """Give the successor of the seed if there is one, else the seed, else what an earlier step was issued."""
        if self.refresh_token is None:
            tokens = ctx.need(Tokens, self.use)
            if tokens.refresh is None:
                raise CheckFailed(Reason.REFRESH_FAILED, "the earlier answer had no refresh token")
            ctx.present(tokens.access, "refresh_token")
            return tokens.refresh
        seed = self.refresh_token.read()
        return latest(ctx, self.refresh_token, seed) or seed

    def _assertion(self, ctx: Context) -> str:
        """Give the assertion that lies ready, or sign one: the client's, for the token endpoint, unless its claims say more."""
        if self.sign is None:
            return self.assertion.read().strip() if self.assertion is not None else ""
        client, url = ctx.identity_provider().client_id, ctx.endpoint("token", alias=False)
        parties = {"iss": client, "sub": client, "aud": url}
        return signed_assertion(ctx, self.sign.signer(), {**parties, **self.sign.claims}, self.sign.lifetime)

    def _exchange(self, ctx: Context) -> dict[str, str]:
        ctx.present(self._subject(ctx).access, self.subject_token_type or "access_token")
        form = party("subject", self._subject(ctx), self.subject_token_type or "access_token")
        if self.actor is not None:
            form |= party("actor", ctx.need(Tokens, self.actor), self.actor_token_type or "access_token")
        if self.requested_token_type is not None:
            form["requested_token_type"] = token_type(self.requested_token_type)
        return form

    def _subject(self, ctx: Context) -> Tokens:
        return ctx.need(Tokens, self.subject or self.use)

    def _earlier(self, ctx: Context) -> Tokens | None:
        """Give the tokens that are refreshed: the new ones are bound to their key."""
        return ctx.find(Tokens, self.use) if self.grant == "refresh_token" and self.refresh_token is None else None

    def _read(self, ctx: Context, reply: Reply) -> dict[str, object]:
        """Read the answer; where a refresh token from outside is refused, say which, and how to mend it."""
        code = self._code(ctx)
        if isinstance(code, DeviceCode):
            return read_decision(reply, code)
        try:
            return read_object(reply, grant_is_ours=code is None)
        except CheckFailed as failed:
            if failed.reason is not Reason.INVALID_GRANT or self.refresh_token is None:
                raise
            detail = (
                f"{failed.detail}; the refresh token of {self.refresh_token.source}, or its kept successor, has ended,"
                " was revoked, or was replaced in a run whose state is lost: put a new one there"
            )
            told = CheckFailed(failed.reason, detail, blame=failed.blame, counts=failed.counts)
            raise StepFailed(told, failed.done if isinstance(failed, StepFailed) else Done()) from None

    def _key(self, ctx: Context) -> str:
        """Name a cached token by all that makes it what it is; no secret is part of it."""
        provider = ctx.identity_provider()
        asked = (self.grant, self.scope, self.audience, self.resource, sorted(self.params.items()), self.username)
        more = [getattr(self, name) for name in _OF_EXCHANGE]
        signed = None if self.sign is None else (self.sign, sorted(self.sign.claims.items(), key=repr))
        sources = (self.refresh_token, self.assertion, signed, more)
        return repr(("token", provider.name, provider.issuer, provider.client_id, asked, sources))

    def _cached(self, ctx: Context) -> Tokens | None:
        """Give a cached token that outlives this run; never one that is near its end."""
        found = ctx.memory.tokens.get(self._key(ctx)) if self.cache == "reuse" else None
        if not isinstance(found, Tokens) or not found.expires_in:
            return None
        margin = max(min(_MARGIN, found.expires_in / 10), ctx.deadline - ctx.clock.monotonic())
        return found if ctx.now() + margin < found.obtained_at + found.expires_in else None

    def _keep_successor(self, ctx: Context, tokens: Tokens) -> tuple[Warn, ...]:
        if self.refresh_token is None or tokens.refresh is None:
            return ()
        return keep(ctx, self.refresh_token, tokens.refresh)

    def _check(self, ctx: Context, tokens: Tokens, facts: dict[str, FactValue]) -> tuple[Warn, ...]:
        wanted = self.expect
        self._check_type(tokens)
        if wanted.expires_in is not None and (
            tokens.expires_in is None or not comparison_holds(tokens.expires_in, wanted.expires_in)
        ):
            found = "missing" if tokens.expires_in is None else f"{tokens.expires_in:g}"
            sign, limit = wanted.expires_in
            raise CheckFailed(Reason.EXPIRES_IN_INVALID, f"expires_in is {found}, expected {sign} {limit:g}")
        check_binding(ctx, tokens, wanted.bound_to)
        if self.grant == "token_exchange" and wanted.scope != "any":
            subject = granted_scopes(self._subject(ctx))
            check_not_widened(granted_scopes(tokens), set((self.scope or "").split()), subject)
        code = self._code(ctx)
        return self._check_scope(tokens, facts, self.scope if code is None else code.scope)

    def _check_type(self, tokens: Tokens) -> None:
        """Compare `token_type`; what is no access token may be `N_A` (RFC 8693, section 2.2.1)."""
        found = (tokens.token_type or "").lower()
        wanted = self.expect.token_type or ("Bearer" if tokens.proof_key is None else "DPoP")
        idle = self.expect.token_type is None and not is_access_token(tokens.issued_type) and found in {"n_a", "bearer"}
        if found != wanted.lower() and not idle:
            told = shown(tokens.token_type) if tokens.token_type else "missing"
            raise CheckFailed(Reason.TOKEN_TYPE_UNEXPECTED, f"token_type is {told}, expected {wanted}")

    def _check_scope(self, tokens: Tokens, facts: dict[str, FactValue], scope: str | None) -> tuple[Warn, ...]:
        """Compare granted with requested scopes. No `scope` in the answer means: as requested (RFC 6749, section 5.1)."""
        asked = set((scope or "").split())
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


def _pairs(form: Mapping[str, str | tuple[str, ...]]) -> tuple[tuple[str, str], ...]:
    return tuple((n, v) for n, vs in form.items() for v in ((vs,) if isinstance(vs, str) else vs))
