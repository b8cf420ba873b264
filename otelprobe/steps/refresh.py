"""Use the refresh token (RFC 6749, section 6): a new access token must come, rotated or not as expected (RFC 9700)."""

from collections.abc import Mapping
from dataclasses import field
from typing import ClassVar

from otelprobe.binding import check_binding
from otelprobe.expect import Expect
from otelprobe.http import Reply
from otelprobe.oauth import post_for_tokens, read_object, read_tokens, spend_budget
from otelprobe.provider import Provider
from otelprobe.quick import dataclass
from otelprobe.reasons import Blame, CheckFailed, Counts, Layer, Reason
from otelprobe.result import Fact, FactValue
from otelprobe.signing import Signer
from otelprobe.step import Artifact, Context, Done, Step, StepFailed, Tokens, needs_endpoint
from otelprobe.successors import replaced

_NO_REFUSAL = frozenset(
    {
        *(Reason.IDP_RATE_LIMITED, Reason.IDP_HTTP_5XX, Reason.IDP_ERROR, Reason.IDP_NOT_JSON),
        *(Reason.WAF_BLOCKED, Reason.BOT_CHALLENGE, Reason.REDIRECT_UNEXPECTED),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RefreshExpect(Expect):
    """What to expect of a refresh besides the common words."""

    rotated: bool | None = None
    """`true`: another refresh token must come; `false`: the same one must stay."""

    reuse_refused: bool | None = None
    """`true`: the old refresh token, sent again, must be refused (it may end the session)."""


@dataclass(frozen=True, kw_only=True)
class Refresh(Step):
    """Refresh the latest token, or that of the step `use`."""

    kind: ClassVar[str] = "refresh"
    layer: ClassVar[Layer] = Layer.AUTH
    needs: ClassVar[tuple[type[Artifact], ...]] = (Tokens,)
    makes: ClassVar[tuple[type[Artifact], ...]] = (Tokens,)
    uses_provider: ClassVar[bool] = True
    own_reasons: ClassVar[frozenset[Reason]] = frozenset(
        {Reason.REFRESH_FAILED, Reason.REFRESH_NOT_ROTATED, Reason.INVALID_GRANT, Reason.IDP_HTTP_5XX}
    )

    scope: str | None = None
    """Narrows what is asked for."""

    params: Mapping[str, str] = field(default_factory=dict)
    """Anything else to send in the form."""

    expect: RefreshExpect = field(default_factory=RefreshExpect)

    def required(self, provider: Provider | None) -> tuple[type[Artifact], ...]:
        """Need a token, and the token endpoint."""
        return (Tokens, *needs_endpoint(provider, "token"))

    def run(self, ctx: Context) -> Done:
        """Refresh; makes Tokens."""
        old = ctx.need(Tokens, self.use)
        if old.refresh is None:
            raise CheckFailed(
                Reason.REFRESH_FAILED,
                "no refresh token was issued; client_credentials never gets one, others may need the scope offline_access",
                blame=Blame.CONFIG,
                counts=Counts.NONE,
            )
        spend_budget(ctx)
        ctx.present(old.access, "refresh_token")
        reply, key = self._post(ctx, old, old.refresh)
        try:
            new = read_tokens(ctx, read_object(reply, grant_is_ours=False))
        except CheckFailed as failed:
            raise _as_refresh(failed) from None
        rotated = new.refresh is not None and new.refresh != old.refresh
        facts: dict[str, FactValue] = {Fact.ISSUANCE_GRANT: "refresh_token", Fact.REFRESH_ROTATED: rotated}
        if new.expires_in is not None:
            facts[Fact.ISSUANCE_EXPIRES_IN] = new.expires_in
        # A provider that does not rotate keeps the old refresh token valid (RFC 6749, section 6).
        kept = Tokens(
            access=new.access,
            refresh=new.refresh or old.refresh,
            id_token=new.id_token,
            token_type=new.token_type,
            expires_in=new.expires_in,
            scope=new.scope or old.scope,
            obtained_at=new.obtained_at,
            for_resource=old.for_resource,
            proof_key=key,
            asked=old.asked,
            own_session=old.own_session,
        )
        warnings = replaced(ctx, old.refresh, kept.refresh)
        ctx.memory.spend(old.access, old.refresh, kept.refresh)
        done = Done(makes=(kept,), facts=facts, reply=reply, warnings=warnings)
        try:
            check_binding(ctx, kept)
            self._check_rotation(rotated)
            if self.expect.reuse_refused:
                self._check_reuse(ctx, old, old.refresh)
        except CheckFailed as failed:
            # What was issued is alive all the same: a clean-up step has to revoke it.
            raise StepFailed(failed, done) from None
        return done

    def _post(self, ctx: Context, old: Tokens, refresh_token: str) -> tuple[Reply, Signer | None]:
        form = {"grant_type": "refresh_token", "refresh_token": refresh_token, **self.params}
        return post_for_tokens(ctx, {**form, "scope": self.scope} if self.scope else form, old)

    def _check_rotation(self, rotated: bool) -> None:
        wanted = self.expect.rotated
        if wanted is None or wanted == rotated:
            return
        if wanted:
            raise CheckFailed(Reason.REFRESH_NOT_ROTATED, "the same refresh token came back, or none")
        raise CheckFailed(Reason.ASSERTION_FAILED, "the refresh token was rotated, expected is that it stays")

    def _check_reuse(self, ctx: Context, old: Tokens, refresh_token: str) -> None:
        """Try the old refresh token. Only an OAuth error or a 4xx is a refusal: an outage or a rate limit proves nothing."""
        spend_budget(ctx)
        reply, _ = self._post(ctx, old, refresh_token)
        try:
            accepted = "access_token" in read_object(reply, grant_is_ours=False)
        except CheckFailed as failed:
            if failed.reason in _NO_REFUSAL:
                raise CheckFailed(failed.reason, f"the old refresh token, tried again: {failed.detail}") from None
            return
        if accepted:
            raise CheckFailed(
                Reason.REFRESH_REUSE_ACCEPTED, f"the old refresh token was accepted again (status {reply.status})"
            )


def _as_refresh(failed: CheckFailed) -> CheckFailed:
    """Say refresh_failed where no better reason is known: an OAuth error of no known code, a bare 4xx, no token."""
    if failed.reason in {Reason.OAUTH_ERROR_OTHER, Reason.IDP_HTTP_4XX, Reason.TOKEN_MISSING}:
        renamed = CheckFailed(Reason.REFRESH_FAILED, failed.detail)
        return StepFailed(renamed, failed.done) if isinstance(failed, StepFailed) else renamed
    return failed
