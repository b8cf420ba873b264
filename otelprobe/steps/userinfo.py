"""Ask the provider's userinfo endpoint with the access token (OpenID Connect Core, section 5.3)."""

from collections.abc import Mapping
from typing import ClassVar

from otelprobe.challenge import bearer_challenge, parse_challenges
from otelprobe.credentials import Auth, of_tokens, present, send_credential
from otelprobe.http import Reply
from otelprobe.oauth import read_object, refuse_failures
from otelprobe.provider import Provider
from otelprobe.quick import dataclass
from otelprobe.reasons import Blame, CheckFailed, Counts, Layer, Reason
from otelprobe.step import Artifact, Context, Done, Step, Tokens, needs_endpoint
from otelprobe.tokens import format_of, parse


@dataclass(frozen=True, kw_only=True)
class UserInfo(Step):
    """Fetch the claims about the user whose token it is. A token bound to another resource is rightly refused here."""

    kind: ClassVar[str] = "userinfo"
    layer: ClassVar[Layer] = Layer.AUTH
    needs: ClassVar[tuple[type[Artifact], ...]] = (Tokens,)
    uses_provider: ClassVar[bool] = True
    own_reasons: ClassVar[frozenset[Reason]] = frozenset({Reason.API_REJECTS_VALID_TOKEN, Reason.IDP_HTTP_5XX})

    def required(self, provider: Provider | None) -> tuple[type[Artifact], ...]:
        """Need a token, and the userinfo endpoint."""
        return (Tokens, *needs_endpoint(provider, "userinfo"))

    def run(self, ctx: Context) -> Done:
        """Fetch; `sub` is required in the answer. A signed answer (JWT) is accepted as it is."""
        tokens = ctx.need(Tokens, self.use)
        url, credential = ctx.endpoint("userinfo"), of_tokens(tokens, Auth())
        present(ctx, credential)

        def attempt(more: Mapping[str, str], resent: int) -> Reply:
            headers = {"Accept": "application/json, application/jwt", **credential.headers(), **more}
            return ctx.send("GET", url, headers=headers, redirects=self.follow, resent=resent)

        reply = send_credential(ctx, credential, "GET", url, attempt)
        refuse_failures(reply)
        if reply.status in {401, 403}:
            challenge = bearer_challenge(parse_challenges(reply.values("WWW-Authenticate")))
            error = challenge.error if challenge is not None else None
            if error == "insufficient_scope":
                raise CheckFailed(Reason.INSUFFICIENT_SCOPE, "userinfo wants another scope, mostly openid")
            raise _refusal(ctx, reply, error or "no error code", tokens)
        if reply.status < 300 and reply.media_type == "application/jwt":
            return Done(reply=reply)
        if not isinstance(read_object(reply).get("sub"), str):
            raise CheckFailed(Reason.CLAIM_MISSING, "the userinfo answer has no sub")
        return Done(reply=reply)


def _refusal(ctx: Context, reply: Reply, error: str, tokens: Tokens) -> CheckFailed:
    """Blame the provider for refusing its own token, but ourselves where the token was asked for another resource."""
    told = f"status {reply.status}, {error}"
    if tokens.for_resource and _is_for_another_resource(ctx, tokens.access):
        detail = f"{told}: the token is for another resource; ask for one without audience and resource"
        return CheckFailed(Reason.API_REJECTS_VALID_TOKEN, detail, blame=Blame.CONFIG, counts=Counts.NONE)
    detail = f"{told}: the provider refuses the token it issued"
    return CheckFailed(Reason.API_REJECTS_VALID_TOKEN, detail, blame=Blame.PROVIDER, counts=Counts.AUTH)


def _is_for_another_resource(ctx: Context, token: str) -> bool:
    if format_of(token) != "jws":
        return False
    try:
        audience = parse(token).claims.get("aud")
    except CheckFailed:
        return False
    listed = audience if isinstance(audience, list) else [audience]
    named = {a for a in listed if isinstance(a, str)}
    provider = ctx.identity_provider()
    own = {provider.issuer, ctx.endpoint("userinfo"), provider.client_id}
    return bool(named) and not named & own
