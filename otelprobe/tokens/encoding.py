"""How tokens are written: base64url without padding, JSON inside it, and their foreign words shown to people."""

import base64
import json
import re
from binascii import a2b_base64
from hashlib import sha256
from typing import Any

BASE64URL = re.compile(r"[A-Za-z0-9_-]*")

_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_LAST = {2: _ALPHABET[::16], 3: _ALPHABET[::4]}
"""By the length's rest of four, with what a text may end: the bits that stand for nothing have to be zero."""

_PADDING = (b"", b"", b"==", b"=")
_ORDINARY = bytes.maketrans(b"-_", b"+/")
_PLAIN = re.compile(r"[\w.:/+=@-]{1,120}", re.ASCII)

_LONGEST_SHOWN = 200


def decoded(segment: str) -> bytes | None:
    """Decode base64url, strictly; padding is let pass as PyJWT does (AWS load balancers send it)."""
    text = segment.rstrip("=")
    rest = len(text) % 4
    if not BASE64URL.fullmatch(text) or rest == 1 or len(segment) - len(text) > 2:
        return None
    if rest and text[-1] not in _LAST[rest]:
        return None
    return a2b_base64(text.encode().translate(_ORDINARY) + _PADDING[rest])


def encoded(value: bytes) -> str:
    """Encode bytes in base64url without padding (RFC 7515, section 2)."""
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def encoded_json(value: object) -> str:
    """Encode a value as JSON without blanks, in base64url."""
    return encoded(json.dumps(value, separators=(",", ":")).encode())


def digest(value: bytes) -> str:
    """Give SHA-256 in base64url, as `ath`, `jkt` and `x5t#S256` are written."""
    return encoded(sha256(value).digest())


def json_object(segment: str) -> dict[str, Any] | None:
    """Give the JSON object that a segment holds; None if it holds anything else."""
    data = decoded(segment)
    if not data:
        return None
    try:
        # What starts so is UTF-8, as nearly all are.
        value = _STRICT.decode(data.decode("utf-8" if data.startswith(b'{"') else json.detect_encoding(data)))
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is no JSON")


_STRICT = json.JSONDecoder(parse_constant=_refuse_constant)


def shown(value: object) -> str:
    """Write a value of a header, `iss` or `aud` for people: plain words as they are, the rest as JSON, cut short."""
    if isinstance(value, str) and _PLAIN.fullmatch(value):
        return value
    text = json.dumps(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."
