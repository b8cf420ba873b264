"""One-time codes of a second factor by time (RFC 6238), from the secret that an authenticator app would be given."""

import hmac
from base64 import b32decode
from binascii import Error
from dataclasses import field
from struct import unpack
from urllib.parse import parse_qs, unquote, urlsplit

from otelprobe.fields import SecretRef
from otelprobe.quick import dataclass
from otelprobe.reasons import CheckFailed, Reason

_ALGORITHMS = ("sha1", "sha256", "sha512")


@dataclass(frozen=True, slots=True)
class _Generator:
    key: bytes = field(repr=False)
    digits: int = 6
    period: int = 30
    algorithm: str = "sha1"


def totp(secret: SecretRef, now: float) -> str:
    """Give the code at Unix time `now`. The secret is base32, or an `otpauth://totp/` URI, which may name other digits.

    CheckFailed(config_error) if it is neither; the text of the secret is never told.
    """
    generator = _read(secret.read().strip())
    if generator is None:
        wanted = "base32 text, or otpauth://totp/... with 6 to 8 digits"
        raise CheckFailed(Reason.CONFIG_ERROR, f"totp: the secret in {secret.source} cannot be read: it is {wanted}")
    counter = int(now // generator.period).to_bytes(8, "big")
    digest = hmac.new(generator.key, counter, generator.algorithm).digest()
    start = digest[-1] & 0x0F
    (number,) = unpack(">I", digest[start : start + 4])
    return f"{(number & 0x7FFFFFFF) % 10**generator.digits:0{generator.digits}d}"


def _read(text: str) -> _Generator | None:
    if not text.lower().startswith("otpauth:"):
        key = _key(text)
        return _Generator(key) if key else None
    try:
        parts = urlsplit(text)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        digits, period = int(query.get("digits", "6")), int(query.get("period", "30"))
    except ValueError:
        return None
    key, algorithm = _key(unquote(query.get("secret", ""))), query.get("algorithm", "sha1").lower().replace("-", "")
    sound = parts.netloc.lower() == "totp" and 6 <= digits <= 8 and 0 < period <= 3600 and algorithm in _ALGORITHMS
    return _Generator(key, digits, period, algorithm) if key and sound else None


def _key(text: str) -> bytes:
    """Decode base32 as people write it: in groups, in small letters, without padding."""
    bare = text.replace(" ", "").replace("-", "").rstrip("=").upper()
    try:
        return b32decode(bare + "=" * (-len(bare) % 8))
    except (Error, ValueError):
        return b""
