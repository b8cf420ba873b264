"""A public key as an HMAC secret, in every form in which a validator may hold it (RFC 8725, section 2.1).

A validator that takes the algorithm from the token verifies such a token with the key that everybody knows. Which bytes it
feeds to the HMAC depends on how it keeps the key, so each form is a case of its own.
"""

import json
from base64 import b64decode
from collections.abc import Callable, Mapping
from typing import Any

from otelprobe.tokens.encoding import decoded
from otelprobe.tokens.keys import Key, native_key


def key_forms(key: Key) -> tuple[str, ...]:
    """Name the forms that this key has."""
    return tuple(form for form in FORMS if key_bytes(key, form) is not None)


def key_bytes(key: Key, form: str) -> bytes | None:
    """Give a published key in one form; None where it has no such form."""
    return FORMS[form](key)


def _written(form: str, encoding: str, *, bare: bool = False) -> Callable[[Key], bytes | None]:
    """Give what writes a key as `cryptography` does; `bare` is without the newline at the end."""

    def write(key: Key) -> bytes | None:
        from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - costs 0.1 s

        native: Any = native_key(key)
        if native is None or (form == "PKCS1" and key.kty != "RSA"):
            return None
        text: bytes = native.public_bytes(
            getattr(serialization.Encoding, encoding), getattr(serialization.PublicFormat, form)
        )
        return text.rstrip(b"\n") if bare else text

    return write


def _jwk(key: Key) -> bytes | None:
    return json.dumps(dict(key.jwk), separators=(",", ":")).encode()


def _number(key: Key) -> bytes | None:
    value = key.jwk.get("n", key.jwk.get("x"))
    return decoded(value) if isinstance(value, str) else None


def _certificate(key: Key) -> bytes | None:
    """Give the key's certificate as PEM, if it is published (RFC 7517, section 4.7)."""
    chain = key.jwk.get("x5c")
    if not isinstance(chain, list) or not chain or not isinstance(chain[0], str):
        return None
    try:
        b64decode(chain[0], validate=True)
    except ValueError:
        return None
    lines = "\n".join(chain[0][i : i + 64] for i in range(0, len(chain[0]), 64))
    return f"-----BEGIN CERTIFICATE-----\n{lines}\n-----END CERTIFICATE-----\n".encode()


FORMS: Mapping[str, Callable[[Key], bytes | None]] = {
    "pem": _written("SubjectPublicKeyInfo", "PEM"),
    "pem_bare": _written("SubjectPublicKeyInfo", "PEM", bare=True),
    "pkcs1": _written("PKCS1", "PEM"),
    "pkcs1_bare": _written("PKCS1", "PEM", bare=True),
    "der": _written("SubjectPublicKeyInfo", "DER"),
    "pkcs1_der": _written("PKCS1", "DER"),
    "jwk": _jwk,
    "number": _number,
    "certificate": _certificate,
}
"""Form to what writes a key in it."""
