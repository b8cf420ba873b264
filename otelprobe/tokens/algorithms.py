"""The algorithms that are known here, PyJWT's and cryptography's at their first use, and what those raise."""

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from otelprobe.reasons import Reason

if TYPE_CHECKING:
    from jwt.algorithms import Algorithm

EXCEPTIONS: Mapping[str, Reason] = MappingProxyType(
    {
        "InvalidSignatureError": Reason.SIGNATURE_INVALID,
        "ExpiredSignatureError": Reason.EXPIRED,
        "ImmatureSignatureError": Reason.NOT_YET_VALID,
        "InvalidIssuedAtError": Reason.CLAIM_INVALID,
        "InvalidSubjectError": Reason.CLAIM_INVALID,
        "InvalidJTIError": Reason.CLAIM_INVALID,
        "MissingRequiredClaimError": Reason.CLAIM_MISSING,
        "InvalidIssuerError": Reason.ISSUER_MISMATCH,
        "InvalidAudienceError": Reason.AUDIENCE_MISMATCH,
        "InvalidAlgorithmError": Reason.ALG_NOT_ALLOWED,
        "DecodeError": Reason.TOKEN_MALFORMED,
        "InvalidTokenError": Reason.HEADER_UNEXPECTED,
        "InvalidKeyError": Reason.KEY_UNUSABLE,
        "MissingCryptographyError": Reason.ALG_UNSUPPORTED,
        "PyJWKError": Reason.KEY_UNUSABLE,
        "PyJWKSetError": Reason.JWKS_INVALID,
        "PyJWKClientConnectionError": Reason.JWKS_UNAVAILABLE,
        "PyJWKClientError": Reason.JWKS_UNAVAILABLE,
        "PyJWTError": Reason.TOKEN_MALFORMED,
        "UnsupportedAlgorithm": Reason.KEY_UNUSABLE,
        "TypeError": Reason.KEY_MISMATCH,
        "ValueError": Reason.KEY_UNUSABLE,
        "KeyError": Reason.KEY_UNUSABLE,
    }
)
"""What PyJWT and cryptography raise, by class name (they are not imported yet), to reasons; the nearest base decides."""

AlgorithmName = Literal[
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "ES256K",
    "EdDSA", "Ed25519", "Ed448", "HS256", "HS384", "HS512",
]  # fmt: skip
"""Every algorithm that can be verified here (RFC 7518, 8037, 8812, 9864)."""

FAMILIES: Mapping[str, tuple[str, tuple[str, ...]]] = MappingProxyType(
    {
        **{f"{kind}{bits}": ("RSA", ()) for kind in ("RS", "PS") for bits in (256, 384, 512)},
        **{f"HS{bits}": ("oct", ()) for bits in (256, 384, 512)},
        "ES256": ("EC", ("P-256",)),
        "ES384": ("EC", ("P-384",)),
        "ES512": ("EC", ("P-521",)),
        "ES256K": ("EC", ("secp256k1",)),
        "EdDSA": ("OKP", ("Ed25519", "Ed448")),
        "Ed25519": ("OKP", ("Ed25519",)),
        "Ed448": ("OKP", ("Ed448",)),
    }
)
"""Algorithm to the type of key it needs and the curves it takes."""

SYMMETRIC: tuple[str, ...] = tuple(a for a, (kty, _) in FAMILIES.items() if kty == "oct")
"""Algorithms whose verification key is the signing key."""

ASYMMETRIC: tuple[str, ...] = tuple(a for a, (kty, _) in FAMILIES.items() if kty != "oct")
"""Algorithms whose verification key may be published."""


def in_family(kty: str, crv: object, family: tuple[str, tuple[str, ...]]) -> bool:
    """Tell whether a type and curve of key are those of an algorithm."""
    return kty == family[0] and (not family[1] or crv in family[1])


@cache
def algorithms() -> "Mapping[str, Algorithm]":
    """Give the algorithms by name: PyJWT is imported here, at the first call."""
    from jwt.algorithms import OKPAlgorithm, get_default_algorithms  # noqa: PLC0415 - see the package's docstring

    named = {**get_default_algorithms(), "Ed25519": OKPAlgorithm(), "Ed448": OKPAlgorithm()}
    return {name: named[name] for name in FAMILIES}


@cache
def foreign_errors() -> tuple[type[Exception], ...]:
    """Give what PyJWT and cryptography raise for a key or token that is no good; the last three are plain Python's."""
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - see the package's docstring
    from jwt.exceptions import PyJWTError  # noqa: PLC0415

    return PyJWTError, UnsupportedAlgorithm, TypeError, ValueError, KeyError


def load_crypto() -> None:
    """Import PyJWT and cryptography, so that no measured step pays for them."""
    algorithms()
    foreign_errors()


def reason_for(error: Exception) -> Reason:
    """Translate what PyJWT or cryptography raised; what is in no table is our own fault and goes on."""
    for cls in type(error).__mro__:
        if cls.__name__ in EXCEPTIONS:
            return EXCEPTIONS[cls.__name__]
    raise error
