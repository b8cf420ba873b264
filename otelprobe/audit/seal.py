"""Signatures of checkpoints: Ed25519 (RFC 8032), the private key with the prober, the public one with whoever checks."""

import base64
import hashlib
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

_MEND = "make one with `otelprobe jwt keygen --alg Ed25519`"


class Signer:
    """Signs with a private key."""

    def __init__(self, pem: str) -> None:
        self._key = _private(pem)
        self.key_id = key_id(self._key.public_key())

    def sign(self, text: bytes) -> str:
        """Sign a text; base64url without padding."""
        return base64.urlsafe_b64encode(self._key.sign(text)).rstrip(b"=").decode()


class SealChecker:
    """Checks signatures with a public key, in PEM or as a JWK."""

    def __init__(self, text: str) -> None:
        self._key = _public(text)
        self.key_id = key_id(self._key)

    def holds(self, text: bytes, signature: str) -> bool:
        """Tell whether a signature is the key's over this text."""
        from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - only who checks needs it

        try:
            self._key.verify(base64.urlsafe_b64decode(signature + "=" * (-len(signature) % 4)), text)
        except (InvalidSignature, ValueError):
            return False
        return True


def key_id(key: "Ed25519PublicKey") -> str:
    """Name a public key: the first half of the SHA-256 of its bytes."""
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()[:32]


def _private(pem: str) -> "Ed25519PrivateKey":
    """Read a private key; ValueError says what is wrong, never what the text holds."""
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - only a signed trail needs them
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415

    try:
        key = load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError(f"no Ed25519 private key in PEM form: {_MEND}")
    return key


def _public(text: str) -> "Ed25519PublicKey":
    """Read a public key, or the public half of a private one; ValueError if it is none."""
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - only who checks needs them
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import load_pem_public_key  # noqa: PLC0415

    if "PRIVATE KEY-----" in text:
        return _private(text).public_key()
    try:
        if text.lstrip().startswith("{"):
            x = json.loads(text)["x"]
            return Ed25519PublicKey.from_public_bytes(base64.urlsafe_b64decode(x + "=" * (-len(x) % 4)))
        key = load_pem_public_key(text.encode())
    except (ValueError, TypeError, KeyError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise ValueError("no Ed25519 public key in PEM or JWK form")
    return key
