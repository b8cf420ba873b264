"""Tokens told apart by their looks, and a JWS in compact form taken apart (RFC 7515, section 7.1)."""

from collections.abc import Mapping
from dataclasses import field
from typing import Any, Literal

from otelprobe.quick import dataclass, quick
from otelprobe.reasons import CheckFailed, Reason
from otelprobe.tokens.encoding import BASE64URL, decoded, json_object


@quick
@dataclass(frozen=True, slots=True)
class Jwt:
    """A parsed JWS, not verified."""

    raw: str = field(repr=False)
    header: Mapping[str, Any]
    claims: Mapping[str, Any] = field(repr=False)

    @property
    def alg(self) -> str | None:
        """The algorithm that the header names."""
        alg = self.header.get("alg")
        return alg if isinstance(alg, str) else None

    @property
    def kid(self) -> str | None:
        """The key that the header names."""
        kid = self.header.get("kid")
        return kid if isinstance(kid, str) else None


def format_of(token: str) -> Literal["jws", "jwe", "opaque"]:
    """Tell a signed token from an encrypted and an opaque one, by its looks alone.

    Three base64url segments, or any first segment that is a JSON object, are taken for a JWS, broken or not.
    """
    segments = token.split(".")
    return _form(segments, json_object(segments[0]))


def _form(segments: list[str], header: Mapping[str, Any] | None) -> Literal["jws", "jwe", "opaque"]:
    if len(segments) == 5 and header is not None and "enc" in header:
        return "jwe"
    if header is not None:
        return "jws"
    three = len(segments) == 3 and all(BASE64URL.fullmatch(s.rstrip("=")) for s in segments) and all(segments[:2])
    return "jws" if three else "opaque"


def parse(token: str) -> Jwt:
    """Parse a JWS in compact form; CheckFailed(token_opaque, token_encrypted or token_malformed) if it is none."""
    segments = token.split(".")
    header = json_object(segments[0])
    form = _form(segments, header)
    if form == "opaque":
        raise CheckFailed(Reason.TOKEN_OPAQUE, "the token is no JWT")
    if form == "jwe":
        raise CheckFailed(Reason.TOKEN_ENCRYPTED, "the token is encrypted (JWE)")
    if len(segments) != 3:
        raise CheckFailed(Reason.TOKEN_MALFORMED, f"the token has {len(segments)} segments, a signed JWT has 3")
    claims = json_object(segments[1])
    for part, found in (("header", header), ("payload", claims)):
        if found is None:
            raise CheckFailed(Reason.TOKEN_MALFORMED, f"the token's {part} is no JSON object in base64url")
    if decoded(segments[2]) is None:
        raise CheckFailed(Reason.TOKEN_MALFORMED, "the token's signature is not base64url")
    return Jwt(token, header or {}, claims or {})
