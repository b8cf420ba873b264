"""Ask the provider whether it calls a token alive (RFC 7662)."""

from dataclasses import field
from typing import ClassVar, Literal

from otelprobe.expect import Expect
from otelprobe.oauth import post, read_object
from otelprobe.provider import Provider
from otelprobe.quick import dataclass
from otelprobe.reasons import CheckFailed, Layer, Reason
from otelprobe.result import Fact
from otelprobe.step import Artifact, Context, Done, Step, StepFailed, Tokens, needs_endpoint
from otelprobe.tokens import format_of, parse


@dataclass(frozen=True, slots=True, kw_only=True)
class IntrospectExpect(Expect):
    """What to expect of an introspection besides the common words."""

    active: bool = True
    """What `active` must be; `false` after a revocation."""


@dataclass(frozen=True, kw_only=True)
class Introspect(Step):
    """Introspect the latest access token, or the refresh token, or those of the step `use`."""

    kind: ClassVar[str] = "introspect"
    layer: ClassVar[Layer] = Layer.AUTH
    needs: ClassVar[tuple[type[Artifact], ...]] = (Tokens,)
    uses_provider: ClassVar[bool] = True
    own_reasons: ClassVar[frozenset[Reason]] = frozenset({Reason.INTROSPECTION_INACTIVE, Reason.IDP_HTTP_5XX})

    token: Literal["access", "refresh"] = "access"  # noqa: S105 - which token, not a token
    """Which token is asked about."""

    expect: IntrospectExpect = field(default_factory=IntrospectExpect)

    def required(self, provider: Provider | None) -> tuple[type[Artifact], ...]:
        """Need a token, and the introspection endpoint."""
        return (Tokens, *needs_endpoint(provider, "introspection"))

    def run(self, ctx: Context) -> Done:
        """Introspect and compare `active`."""
        tokens = ctx.need(Tokens, self.use)
        token = tokens.access if self.token == "access" else tokens.refresh  # noqa: S105 - which token, not a token
        if token is None:
            raise CheckFailed(Reason.CONFIG_ERROR, "introspect wants the refresh token, but none was issued")
        ctx.present(tokens.access, f"{self.token}_token")
        form = {"token": token, "token_type_hint": f"{self.token}_token"}
        reply = post(ctx, ctx.endpoint("introspection"), form)
        active = read_object(reply).get("active")
        if not isinstance(active, bool):
            raise CheckFailed(
                Reason.ASSERTION_FAILED, "the answer has no boolean member active (RFC 7662, section 2.2)"
            )
        done = Done(facts={Fact.INTROSPECTION_ACTIVE: active}, reply=reply)
        if active and not self.expect.active:
            raise StepFailed(
                CheckFailed(Reason.INTROSPECTION_ACTIVE_AFTER_REVOKE, "active is true, expected false"), done
            )
        if not active and self.expect.active:
            detail = f"active is false for a live token{_outside_audience(ctx, token)}"
            raise StepFailed(CheckFailed(Reason.INTROSPECTION_INACTIVE, detail), done)
        return done


def _outside_audience(ctx: Context, token: str) -> str:
    """Say so where the client is not in the token's audience: a provider may then not tell it of the token (RFC 7662, 4)."""
    client = ctx.identity_provider().client_id
    if client is None or format_of(token) != "jws":
        return ""
    try:
        audience = parse(token).claims.get("aud")
    except CheckFailed:
        return ""
    if client in (audience if isinstance(audience, list) else [audience]):
        return ""
    return (
        f"; aud does not name the client {client}, and some providers (Keycloak) call a token inactive to any client "
        "that it does not name: let the provider add the client to aud"
    )
