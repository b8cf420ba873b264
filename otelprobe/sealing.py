"""Secrets that a prober has to keep on disk, sealed with a key that is made of another secret which it is given anew.

AES-256-GCM under a key of HKDF-SHA256: who has the state directory alone has nothing, and what was changed is not opened.
"""

import json
from base64 import b64decode, b64encode
from secrets import token_bytes

_SALT, _NONCE = 16, 12


def seal(value: object, secret: str, purpose: str) -> str:
    """Seal a JSON value; `purpose` keeps what is sealed for one thing from being opened as another."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - costs 0.1 s

    salt, nonce = token_bytes(_SALT), token_bytes(_NONCE)
    sealed = AESGCM(_key(secret, salt, purpose)).encrypt(nonce, json.dumps(value).encode(), purpose.encode())
    return b64encode(salt + nonce + sealed).decode()


def unseal(sealed: object, secret: str, purpose: str) -> object:
    """Give what was sealed; None where it was sealed with another secret or for another purpose, or changed."""
    if not isinstance(sealed, str) or not sealed:
        return None
    from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - costs 0.1 s
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415

    try:
        whole = b64decode(sealed, validate=True)
        salt, nonce, rest = whole[:_SALT], whole[_SALT : _SALT + _NONCE], whole[_SALT + _NONCE :]
        opened: object = json.loads(AESGCM(_key(secret, salt, purpose)).decrypt(nonce, rest, purpose.encode()))
    except (ValueError, InvalidTag):
        return None
    return opened


def _key(secret: str, salt: bytes, purpose: str) -> bytes:
    from cryptography.hazmat.primitives.hashes import SHA256  # noqa: PLC0415 - costs 0.1 s
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF  # noqa: PLC0415

    return HKDF(SHA256(), 32, salt, purpose.encode()).derive(secret.encode())
