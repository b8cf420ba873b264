"""Keyed hashes: they tell that two values are the same, and to nobody without the key what they are."""

import hashlib
import hmac
from collections.abc import Mapping
from typing import Literal

from otelprobe.fields import SecretRef
from otelprobe.reasons import CheckFailed

ClaimRule = Literal["hashed", "plain"]

SHORTEST_KEY = 16
"""Characters: a shorter key could be guessed, and with it every subject."""

_LENGTH = 32
_LONGEST_CLAIM = 200


class Marks:
    """Makes the hashes of one run. Without a key there are none: a plain hash of a subject could be guessed back."""

    def __init__(self, key: bytes | None) -> None:
        self._key = key

    @property
    def keyed(self) -> bool:
        """Whether hashes can be made."""
        return self._key is not None

    def of(self, kind: str, value: str) -> str | None:
        """Hash a value of a kind (`subject`, `token`, or `claim:` and a name): HMAC-SHA-256 over both, 128 bits in hex."""
        if self._key is None or not value:
            return None
        message = f"{kind}\0{value}".encode("utf-8", "surrogatepass")
        return hmac.new(self._key, message, hashlib.sha256).hexdigest()[:_LENGTH]

    def claims(self, rules: Mapping[str, ClaimRule], claims: Mapping[str, object]) -> dict[str, str]:
        """Give the claims that are listed, in the form that is asked for; a hashed one is left out without a key."""
        found: dict[str, str] = {}
        for name, rule in rules.items():
            text = _as_text(claims.get(name))
            told = text if rule == "plain" or text is None else self.of(f"claim:{name}", text)
            if told is not None:
                found[name] = told[:_LONGEST_CLAIM]
        return found


def _as_text(value: object) -> str | None:
    """Write a claim as text: a plain value, or a list of them with spaces between; None for anything else."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | int | float):
        return str(value)
    if isinstance(value, list) and value and all(isinstance(v, str) for v in value):
        return " ".join(value)
    return None


def read_key(key: SecretRef) -> bytes:
    """Read the key; ValueError says why it cannot be used."""
    try:
        value = key.read()
    except CheckFailed as failed:
        raise ValueError(failed.detail) from None
    if len(value) < SHORTEST_KEY:
        raise ValueError(f"the key in {key.source} is shorter than {SHORTEST_KEY} characters: draw a random one")
    return value.encode()
