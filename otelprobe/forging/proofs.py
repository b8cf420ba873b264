"""Proofs of possession that do not prove what they should (RFC 9449, section 4.3): each breaks one rule."""

from collections.abc import Mapping
from secrets import token_urlsafe
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from otelprobe.signing import Signer
from otelprobe.tokens import digest, generate_key, public_jwk, sign

FLAWS = (
    *(
        "wrong_method",
        "wrong_url",
        "wrong_token",
        "no_token",
        "wrong_type",
        "old",
        "early",
        "other_key",
        "private_key",
        "unsigned",
    ),
)
"""What a proof may be made wrong in."""

_HOUR = 3600


def make_proof(
    key: Signer, method: str, url: str, now: float, *, token: str | None, nonce: str | None, flaw: str | None = None
) -> str:
    """Make a proof for one request, right in all but `flaw`; None makes a good one."""
    claims: dict[str, Any] = {
        "jti": token_urlsafe(16),
        "htm": "TRACE" if flaw == "wrong_method" else method,
        "htu": "https://otelprobe.invalid/" if flaw == "wrong_url" else _target(url),
        "iat": int(now) + {"old": -_HOUR, "early": _HOUR}.get(flaw or "", 0),
    }
    if token is not None and flaw != "no_token":
        claims["ath"] = digest(f"{token}{'x' if flaw == 'wrong_token' else ''}".encode())
    if nonce is not None:
        claims["nonce"] = nonce
    signer, jwk = _signer(key, flaw)
    head = {"typ": "JWT" if flaw == "wrong_type" else "dpop+jwt", "jwk": jwk}
    proof = sign(claims, signer.key, signer.algorithm, head)
    return f"{proof.rpartition('.')[0]}." if flaw == "unsigned" else proof


def _signer(key: Signer, flaw: str | None) -> tuple[Signer, Mapping[str, Any]]:
    """Give the key to sign with and the one to show. The private one that is shown is a stranger's: ours is nobody's business."""
    if flaw not in {"other_key", "private_key"}:
        return key, dict(key.jwk)
    drawn = generate_key("ES256")
    jwk = public_jwk(drawn)
    shown = _private_jwk(drawn, jwk) if flaw == "private_key" else jwk
    return Signer(drawn, "ES256", jwk=jwk), shown


def _private_jwk(key: Any, jwk: Mapping[str, Any]) -> Mapping[str, Any]:
    from otelprobe.tokens.encoding import encoded  # noqa: PLC0415 - for this one flaw

    return {**jwk, "d": encoded(key.private_numbers().private_value.to_bytes(32, "big"))}


def _target(url: str) -> str:
    """Give a URL as `htu` has it: without query and fragment."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.lower(), parts.path or "/", "", ""))
