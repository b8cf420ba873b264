"""Bad tokens made of a good one, by hand where no library would do it.

Where the payload is ours to write it has the claim `otelprobe` with the name of the case, and a key that nobody
published has a kid that says so: who finds such a token in a log knows what it was.
"""

import hmac
import json
from collections.abc import Mapping, Sequence
from functools import cache
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from otelprobe.tokens.algorithms import FAMILIES
from otelprobe.tokens.compact import Jwt
from otelprobe.tokens.encoding import decoded, encoded, encoded_json
from otelprobe.tokens.issue import sign
from otelprobe.tokens.keys import generate_key, public_jwk, thumbprint

if TYPE_CHECKING:
    from jwt.algorithms import AllowedPrivateKeys

MARK = "otelprobe"
"""The claim that says what a forged token was made for."""

GARBAGE = "otelprobe-garbage"
"""A token that is none at all."""

UNKNOWN_KID = "otelprobe-no-such-key"
"""The name of a key that no provider publishes."""

_ZEROS: Mapping[str, int] = {"ES256": 64, "ES256K": 64, "ES384": 96, "ES512": 132}
"""Length of an ECDSA signature (RFC 7518, section 3.4)."""


def forge(token: str) -> str:
    """Give the same JWS with a wrong signature of the right length; header, kid and claims stay.

    A validator has to fetch its keys and do its arithmetic to refuse it, which plain garbage does not make it do.
    """
    signed, _, last = token.rpartition(".")
    signature = bytearray(decoded(last) or bytes(32))
    # Not at either end: the number must stay below the modulus, or the order of the curve.
    signature[len(signature) * 3 // 4] ^= 0x5A
    return f"{signed}.{encoded(bytes(signature))}"


def tamper(token: Jwt, case: str = "tampered") -> str:
    """Give the token with its payload changed inside the signed part, under its old header and signature."""
    header, _, signature = token.raw.split(".")
    return f"{header}.{_claims(token, case)}.{signature}"


def without_signature(token: Jwt) -> str:
    """Give the token as it is, but for its signature, which is empty."""
    return f"{token.raw.rpartition('.')[0]}."


def unsigned(token: Jwt, alg: str | None, case: str, *, signature: bool = False) -> str:
    """Give the token as an unsecured JWS: `alg` as it is spelled here, None leaves it out (RFC 7515, appendix A.5).

    With `signature` the old signature stays, as some validators look only whether there is one.
    """
    header = {name: value for name, value in token.header.items() if name != "alg"}
    head = encoded_json({**header, **({} if alg is None else {"alg": alg})})
    return f"{head}.{_claims(token, case)}.{token.raw.rpartition('.')[2] if signature else ''}"


def resign(token: Jwt, case: str = "forged_key", kid: str | None = None) -> str:
    """Give the token signed by a fresh key of the same family under the same kid, or under another."""
    alg = _family(token)
    header = {**token.header, "alg": alg, **({} if kid is None else {"kid": kid})}
    return sign({**token.claims, MARK: case}, _stranger(alg), alg, header)


def with_inline_key(token: Jwt, case: str) -> str:
    """Give the token signed by a stranger's key that its own header brings along (RFC 7515, section 4.1.3)."""
    alg = _asymmetric(token)
    jwk = public_jwk(_stranger(alg))
    header = {**token.header, "alg": alg, "jwk": jwk, "kid": thumbprint(jwk)}
    return sign({**token.claims, MARK: case}, _stranger(alg), alg, header)


def with_key_url(token: Jwt, case: str, member: str, url: str) -> str:
    """Give the token signed by a stranger's key that its header says is to be had at a URL (RFC 7515, 4.1.2 and 4.1.5)."""
    alg = _asymmetric(token)
    header = {**token.header, "alg": alg, member: url, "kid": thumbprint(public_jwk(_stranger(alg)))}
    return sign({**token.claims, MARK: case}, _stranger(alg), alg, header)


def strangers_keys(token: Jwt) -> bytes:
    """Give the key set in which the stranger's key stands."""
    alg = _asymmetric(token)
    jwk = public_jwk(_stranger(alg))
    return json.dumps({"keys": [{**jwk, "kid": thumbprint(jwk), "alg": alg, "use": "sig"}]}).encode()


def strangers_certificate(token: Jwt, now: float) -> bytes:
    """Give a certificate of the stranger's key, signed by itself, good for a day, in PEM."""
    from datetime import UTC, datetime, timedelta  # noqa: PLC0415 - for one rare case

    from cryptography import x509  # noqa: PLC0415 - for one rare case
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415 - for one rare case

    key: Any = _stranger(_asymmetric(token))
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "otelprobe.invalid")])
    since = datetime.fromtimestamp(now, UTC) - timedelta(hours=1)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(since).not_valid_after(since + timedelta(days=1))
    digest = None if _asymmetric(token).startswith("Ed") else hashes.SHA256()
    return builder.sign(key, digest).public_bytes(serialization.Encoding.PEM)


def with_zero_signature(token: Jwt, case: str) -> str:
    """Give the token with an ECDSA signature of r = s = 0, which fits every payload where nobody looks (CVE-2022-21449)."""
    return f"{token.raw.partition('.')[0]}.{_claims(token, case)}.{encoded(bytes(_ZEROS[token.alg or 'ES256']))}"


def has_zero_signature(alg: str | None) -> bool:
    """Tell whether the algorithm is one whose signature may be all zeros."""
    return alg in _ZEROS


def with_shared_secret(token: Jwt, secret: bytes, case: str, headers: Mapping[str, Any] | None = None) -> str:
    """Give the token signed HS256 with these bytes, by hand: libraries refuse what is empty, or looks like a public key."""
    head = {**token.header, "alg": "HS256", **(headers or {})}
    signed = f"{encoded_json(head)}.{_claims(token, case)}"
    return f"{signed}.{encoded(hmac.new(secret, signed.encode(), sha256).digest())}"


def critical(header: Mapping[str, Any]) -> dict[str, Any]:
    """Give the header with a critical extension that nobody supports."""
    return {**header, "crit": [MARK], MARK: 1}


def oversize(token: Jwt, case: str, size: int) -> str:
    """Give a token whose payload is padded to this many bytes, signed by a stranger."""
    alg = _family(token)
    return sign({**token.claims, MARK: case, "padding": "A" * size}, _stranger(alg), alg, {**token.header, "alg": alg})


def deeply_nested(token: Jwt, depth: int) -> str:
    """Give a token whose payload is an array of arrays, under the old header and signature."""
    header, _, signature = token.raw.split(".")
    payload = f'{{"{MARK}":{"[" * depth}{"]" * depth}}}'
    return f"{header}.{encoded(payload.encode())}.{signature}"


def with_claim_twice(token: Jwt, case: str) -> str:
    """Give a token whose payload names `sub` and `exp` twice, with other values first, under the old signature."""
    header, _, signature = token.raw.split(".")
    own = json.dumps({**token.claims, MARK: case}, separators=(",", ":"))
    payload = '{"sub":"otelprobe","exp":4102444800,' + own[1:]
    return f"{header}.{encoded(payload.encode())}.{signature}"


def guessed_secret(token: Jwt, secrets: Sequence[str]) -> bool:
    """Tell whether a token with a shared secret is signed with one of these; nothing is sent."""
    digest = {"HS256": "sha256", "HS384": "sha384", "HS512": "sha512"}.get(token.alg or "")
    signed, _, last = token.raw.rpartition(".")
    found = decoded(last)
    if digest is None or found is None:
        return False
    return any(hmac.compare_digest(hmac.new(s.encode(), signed.encode(), digest).digest(), found) for s in secrets)


def _claims(token: Jwt, case: str) -> str:
    return encoded_json({**token.claims, MARK: case})


def _family(token: Jwt) -> str:
    """Give the token's own algorithm, or the usual one where it is none that is known here."""
    alg = token.alg or ""
    return alg if alg in FAMILIES else "RS256"


def _asymmetric(token: Jwt) -> str:
    alg = _family(token)
    return "RS256" if FAMILIES[alg][0] == "oct" else alg


@cache
def _stranger(alg: str) -> "AllowedPrivateKeys | bytes":
    """Give the process's own key to forge with; drawn once, as an RSA key takes up to 0.1 s."""
    return generate_key(alg)
