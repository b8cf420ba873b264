"""Whether a token is bound to what its holder can prove to have: a client certificate (RFC 8705) or a key (RFC 9449)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from otelprobe.reasons import CheckFailed, Reason
from otelprobe.step import Context, Tokens
from otelprobe.tokens import certificate_thumbprint

Bound = Literal["certificate", "dpop"]

_MEMBERS: Mapping[Bound, str] = {"certificate": "x5t#S256", "dpop": "jkt"}


def confirmation(ctx: Context, token: str) -> Mapping[str, object] | None:
    """Give the `cnf` claim of an access token (RFC 7800), empty where it has none; None if it cannot be looked into."""
    try:
        found = ctx.jwt(token).claims.get("cnf")
    except CheckFailed:
        return None
    return found if isinstance(found, dict) else {}


def check_binding(ctx: Context, tokens: Tokens, wanted: Bound | None = None) -> None:
    """Compare what a token is bound to with what we have; CheckFailed(claim_missing, claim_mismatch, token_opaque).

    A token of type DPoP has to be bound, and so has one where the flow file wants it. An opaque token is looked into by
    nobody but its provider: there, only what the flow file wants can fail.
    """
    found = confirmation(ctx, tokens.access)
    bound: Bound | None = "dpop" if (tokens.token_type or "").lower() == "dpop" else None
    for kind in (wanted, bound if found is not None else None):
        if kind is None:
            continue
        if found is None:
            raise CheckFailed(Reason.TOKEN_OPAQUE, f"the token is no JWT, so that its binding ({kind}) cannot be seen")
        if not isinstance(found.get(_MEMBERS[kind]), str):
            raise CheckFailed(Reason.CLAIM_MISSING, f"the token is bound to nothing: claim cnf has no {_MEMBERS[kind]}")
    problem = _stranger(ctx, tokens, found or {})
    if problem is not None:
        raise CheckFailed(Reason.CLAIM_MISMATCH, problem)


def _stranger(ctx: Context, tokens: Tokens, found: Mapping[str, object]) -> str | None:
    """Say what the token is bound to if that is not ours."""
    jkt, x5t = found.get("jkt"), found.get("x5t#S256")
    if jkt is not None and tokens.proof_key is None:
        return "cnf.jkt: the token is bound to a key, though none was shown"
    if jkt is not None and tokens.proof_key is not None and jkt != tokens.proof_key.thumbprint:
        return "cnf.jkt: the token is bound to another key than the one that was shown"
    if x5t is not None and x5t != own_thumbprint(ctx):
        if ctx.options.client_cert is None:
            return "cnf.x5t#S256: the token is bound to a certificate, though none was shown"
        return "cnf.x5t#S256: the token is bound to another certificate than the one that was shown"
    return None


def own_thumbprint(ctx: Context) -> str | None:
    """Give the thumbprint of the client certificate in force; CheckFailed(config_error) if its file cannot be read."""
    path = ctx.options.client_cert
    if path is None:
        return None
    try:
        return certificate_thumbprint(Path(path).read_bytes())
    except OSError as error:
        why = error.strerror or "it cannot be read"
    except ValueError:
        why = "no certificate in PEM form"
    raise CheckFailed(Reason.CONFIG_ERROR, f"client_cert {path}: {why}")


def unproven(ctx: Context, token: str) -> str | None:
    """Say what a request with this token lacks: the certificate that it is bound to. None if nothing can be told."""
    bound = (confirmation(ctx, token) or {}).get("x5t#S256")
    if bound is None or bound == own_thumbprint(ctx):
        return None
    shown = "shows another one" if ctx.options.client_cert else "shows none"
    return (
        f"the token is bound to a client certificate (RFC 8705) and this request {shown}:"
        " set http: {client_cert: ...} on the flow or the step"
    )
