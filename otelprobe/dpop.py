"""Proof that a token's holder has the key it is bound to (RFC 9449): the proof, the server's nonce, one retry for it."""

from collections.abc import Callable, Mapping
from secrets import token_urlsafe
from urllib.parse import urlsplit, urlunsplit

from otelprobe.challenge import bearer_challenge, parse_challenges
from otelprobe.http import Reply
from otelprobe.reasons import Blame, CheckFailed, Counts, Reason
from otelprobe.signing import Signer
from otelprobe.skew import clock_failure
from otelprobe.step import Context, Tokens
from otelprobe.tokens import digest, sign

SCHEME = "DPoP"

INVALID_PROOF = "invalid_dpop_proof"

_LONGEST_NONCE = 1024
_NEW_NONCE = "use_dpop_nonce"
_SKEW_WORTH_BLAMING = 5.0
"""Seconds. RFC 9449, section 11.1 leaves the window to the server: seconds, or some minutes."""

Attempt = Callable[[Mapping[str, str], int], Reply]
"""Sends a request with these headers besides its own; the number counts the attempts before."""


def proof_key(ctx: Context, earlier: Tokens | None = None) -> Signer | None:
    """Give the key that new tokens are to be bound to: that of `earlier`, else of this run, else a new one; None without DPoP."""
    settings = ctx.identity_provider().dpop
    if settings is None:
        return None
    if earlier is not None and earlier.proof_key is not None:
        return earlier.proof_key
    if settings.key is not None:
        return settings.signer()
    made = (m.artifact.proof_key for m in reversed(ctx.made) if isinstance(m.artifact, Tokens))
    return next((key for key in made if key is not None), None) or settings.signer()


def send_with_proof(
    ctx: Context, key: Signer, method: str, url: str, attempt: Attempt, *, token: str | None = None
) -> Reply:
    """Send a request with a proof, and once more with the server's nonce if it asks for one; `token` is what goes with it."""

    def send(nonce: str | None, resent: int) -> tuple[Reply, str | None]:
        reply = attempt({SCHEME: proof(ctx, key, method, url, token=token, nonce=nonce)}, resent)
        return reply, note_nonce(ctx, url, reply)

    reply, nonce = send(known_nonce(ctx, url), 0)
    return send(nonce, 1)[0] if nonce is not None and wants_nonce(reply) else reply


def wants_nonce(reply: Reply) -> bool:
    """Tell whether a server refuses a proof for its nonce alone: an authorization server in its body, an API by its challenge."""
    if reply.status not in {400, 401}:
        return False
    challenge = bearer_challenge(parse_challenges(reply.values("WWW-Authenticate")))
    if challenge is not None and challenge.error == _NEW_NONCE:
        return True
    try:
        document = reply.json()
    except ValueError:
        return False
    return isinstance(document, dict) and document.get("error") == _NEW_NONCE


def proof(ctx: Context, key: Signer, method: str, url: str, *, token: str | None, nonce: str | None) -> str:
    """Make a proof for one request (RFC 9449, section 4.2)."""
    claims: dict[str, object] = {
        "jti": token_urlsafe(16),
        "htm": method,
        "htu": _target(url),
        "iat": int(ctx.now()),
    }
    if token is not None:
        claims["ath"] = digest(token.encode())
    if nonce is not None:
        claims["nonce"] = nonce
    return sign(claims, key.key, key.algorithm, {"typ": "dpop+jwt", "jwk": dict(key.jwk)})


def refused_proof(ctx: Context, reply: Reply, told: str, code: str) -> CheckFailed | None:
    """Say whose fault it is that an authorization server refuses our proof, where that can be told."""
    if ctx.identity_provider().dpop is None:
        return None
    if code == _NEW_NONCE:
        detail = f"{told}: it asks for another nonce after the one that it sent, or sends none"
        return CheckFailed(Reason.OAUTH_ERROR_OTHER, detail, blame=Blame.PROVIDER, counts=Counts.AUTH)
    if code == INVALID_PROOF and is_worth_blaming(reply):
        return clock_failure(ctx, reply, f"{told}; the proof")
    return None


def is_worth_blaming(reply: Reply) -> bool:
    """Tell whether the peer's clock differs by so much that it may refuse proofs for it."""
    return abs(reply.exchange.clock_skew or 0.0) >= _SKEW_WORTH_BLAMING


def known_nonce(ctx: Context, url: str) -> str | None:
    """Give the nonce that the server of this URL sent last."""
    return ctx.memory.nonces.get(_origin(url))


def note_nonce(ctx: Context, url: str, reply: Reply) -> str | None:
    """Keep the nonce that a server sent for the next proof (RFC 9449, section 8.2); give it."""
    nonce = reply.value("DPoP-Nonce")
    if not nonce or len(nonce) > _LONGEST_NONCE:
        return None
    ctx.memory.nonces[_origin(url)] = nonce
    return nonce


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _target(url: str) -> str:
    """Give a URL as `htu` has it: without query and fragment."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.lower(), parts.path or "/", "", ""))
