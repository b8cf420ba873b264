"""Revoke a token (RFC 7009): as a check of the endpoint, and as the clean-up of a flow."""

from typing import ClassVar, Literal

from otelprobe.oauth import post, read_object, refuse_failures
from otelprobe.pages import classify_page
from otelprobe.provider import Provider
from otelprobe.quick import dataclass
from otelprobe.reasons import CheckFailed, Layer, Reason
from otelprobe.result import Fact
from otelprobe.retained import spend
from otelprobe.step import Artifact, Context, Done, Revoked, Step, StepFailed, Tokens, needs_endpoint

_OURS = frozenset(
    {
        Reason.INVALID_CLIENT,
        Reason.UNAUTHORIZED_CLIENT,
        Reason.INVALID_REQUEST,
        Reason.IDP_ERROR,
        Reason.IDP_RATE_LIMITED,
    }
)


@dataclass(frozen=True, kw_only=True)
class Revoke(Step):
    """Revoke the latest tokens, or those of the step `use`."""

    kind: ClassVar[str] = "revoke"
    layer: ClassVar[Layer] = Layer.AUTH
    needs: ClassVar[tuple[type[Artifact], ...]] = (Tokens,)
    makes: ClassVar[tuple[type[Artifact], ...]] = (Revoked,)
    uses_provider: ClassVar[bool] = True
    own_reasons: ClassVar[frozenset[Reason]] = frozenset({Reason.REVOCATION_FAILED, Reason.IDP_HTTP_5XX})

    token: Literal["access", "refresh"] | None = None
    """Which token; default: the refresh token if there is one (that ends the whole grant), else the access token."""

    def required(self, provider: Provider | None) -> tuple[type[Artifact], ...]:
        """Need a token, and the revocation endpoint."""
        return (Tokens, *needs_endpoint(provider, "revocation"))

    def run(self, ctx: Context) -> Done:
        """Revoke; makes Revoked. The provider answers 200 also for a token it does not know (RFC 7009, section 2.2)."""
        tokens = ctx.need(Tokens, self.use)
        which = self.token or ("refresh" if tokens.refresh else "access")
        token = tokens.refresh if which == "refresh" else tokens.access
        if token is None:
            raise CheckFailed(Reason.CONFIG_ERROR, "revoke wants the refresh token, but none was issued")
        ctx.present(tokens.access, f"{which}_token")
        reply = post(ctx, ctx.endpoint("revocation"), {"token": token, "token_type_hint": f"{which}_token"})
        if not 200 <= reply.status < 300 or classify_page(reply) is not None:
            refuse_failures(reply)
            try:
                read_object(reply)
            except CheckFailed as failed:
                if failed.reason in _OURS or _wrong_kind(failed):
                    raise
                raise CheckFailed(Reason.REVOCATION_FAILED, failed.detail) from None
            raise CheckFailed(Reason.REVOCATION_FAILED, f"status {reply.status}")
        ctx.memory.spend(tokens.access, tokens.refresh)
        spend(ctx, tokens.access)
        return Done(makes=(Revoked(tokens.access, ctx.now()),), reply=reply)


def _wrong_kind(failed: CheckFailed) -> bool:
    """Tell whether the provider does not revoke this kind of token at all (RFC 7009): the flow file asks for the wrong one."""
    return (
        isinstance(failed, StepFailed) and failed.done.facts.get(Fact.ISSUANCE_OAUTH_ERROR) == "unsupported_token_type"
    )
