"""Bad tokens made of a good one."""

from functools import cache
from typing import TYPE_CHECKING

from otelprobe.tokens.algorithms import FAMILIES
from otelprobe.tokens.compact import Jwt
from otelprobe.tokens.encoding import decoded, encoded, encoded_json
from otelprobe.tokens.issue import sign
from otelprobe.tokens.keys import generate_key

if TYPE_CHECKING:
    from jwt.algorithms import AllowedPrivateKeys


def forge(token: str) -> str:
    """Give the same JWS with a wrong signature of the right length; header, kid and claims stay.

    A validator has to fetch its keys and do its arithmetic to refuse it, which plain garbage does not make it do.
    """
    signed, _, last = token.rpartition(".")
    signature = bytearray(decoded(last) or bytes(32))
    # Not at either end: the number must stay below the modulus, or the order of the curve.
    signature[len(signature) * 3 // 4] ^= 0x5A
    return f"{signed}.{encoded(bytes(signature))}"


def tamper(token: Jwt) -> str:
    """Give the token with its payload changed inside the signed part, under its old header and signature."""
    header, _, signature = token.raw.split(".")
    return f"{header}.{encoded_json({**token.claims, 'otelprobe': 'tampered'})}.{signature}"


def strip_signature(token: Jwt) -> str:
    """Give the token as an unsecured JWS: alg `none`, no signature (RFC 7515, appendix A.5)."""
    return f"{encoded_json({**token.header, 'alg': 'none'})}.{encoded_json(dict(token.claims))}."


def resign(token: Jwt) -> str:
    """Give the token signed by a fresh key of the same family under the same kid: only the key is wrong."""
    alg = token.alg or ""
    alg = alg if alg in FAMILIES else "RS256"
    return sign(token.claims, _stranger(alg), alg, {**token.header, "alg": alg})


@cache
def _stranger(alg: str) -> "AllowedPrivateKeys | bytes":
    """Give the process's own key to forge with; drawn once, as an RSA key takes up to 0.1 s."""
    return generate_key(alg)


GARBAGE = "otelprobe-garbage"
"""A token that is none at all."""
