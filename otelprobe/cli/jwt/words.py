"""What the members of a token's header and its claims mean, and its times in words."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from otelprobe.cli.terminal import span_of_time
from otelprobe.tokens import time_claim

HEADER: Mapping[str, str] = {
    "alg": "algorithm",
    "enc": "encryption of the content",
    "kid": "id of the key",
    "typ": "type of the token",
    "cty": "type of the content",
    "jku": "URL of the key set: trust it only if it is one that you know",
    "jwk": "key that the token brings along: never trust it for itself",
    "x5u": "URL of the certificate",
    "x5c": "certificate chain",
    "x5t": "SHA-1 thumbprint of the certificate",
    "x5t#S256": "SHA-256 thumbprint of the certificate",
    "crit": "extensions that have to be understood",
    "zip": "compression",
    "epk": "ephemeral public key",
    "b64": "whether the payload is encoded (RFC 7797)",
}
"""Members of a header (RFC 7515, 7516)."""

CLAIMS: Mapping[str, str] = {
    "iss": "who issued it",
    "sub": "whom it is about",
    "aud": "whom it is for",
    "exp": "when it ends",
    "nbf": "not good before",
    "iat": "when it was issued",
    "jti": "its own id",
    "azp": "the client that it was issued to",
    "client_id": "the client that it was issued to",
    "scope": "what it permits",
    "scp": "what it permits",
    "roles": "roles",
    "groups": "groups",
    "acr": "how strong the log-in was",
    "amr": "how the log-in was done",
    "auth_time": "when the user logged in",
    "nonce": "ties an ID token to its request",
    "at_hash": "hash of the access token",
    "c_hash": "hash of the code",
    "sid": "session",
    "cnf": "what it is bound to (RFC 7800)",
    "act": "who acts for the subject (RFC 8693)",
    "may_act": "who may act for the subject",
    "events": "security events (RFC 8417)",
    "updated_at": "when the profile was changed",
}
"""Registered claims, and those that providers use most."""

ALGORITHMS: Mapping[str, str] = {
    "HS": "HMAC with SHA-{}: a shared secret verifies and signs",
    "RS": "RSA PKCS #1 v1.5 with SHA-{}",
    "PS": "RSA-PSS with SHA-{}",
    "ES": "ECDSA with SHA-{}",
}
_TIMES = ("exp", "nbf", "iat", "auth_time", "updated_at")


def algorithm(name: object) -> str:
    """Say what an algorithm is."""
    if not isinstance(name, str):
        return "algorithm"
    if name.lower() == "none":
        return "unsigned: anybody can make such a token"
    if name == "ES256K":
        return "ECDSA on secp256k1 with SHA-256"
    if name in {"EdDSA", "Ed25519", "Ed448"}:
        return "Edwards-curve signature (RFC 8037)"
    form = ALGORITHMS.get(name[:2]) if name[2:] in {"256", "384", "512"} else None
    return form.format(name[2:]) if form else "algorithm"


def times(claims: Mapping[str, Any], now: float) -> Iterator[tuple[str, str, float]]:
    """Give each time claim as RFC 3339 and as seconds from now."""
    for name in _TIMES:
        value = time_claim(claims, name)
        if value is None:
            continue
        try:
            at = datetime.fromtimestamp(value, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        except (ValueError, OverflowError, OSError):
            continue
        yield name, at, value - now


def relative(seconds: float) -> str:
    """Say how far a time is from now."""
    return f"in {span_of_time(seconds)}" if seconds >= 0 else f"{span_of_time(-seconds)} ago"
