"""The provider's signing keys: which one signs, which ones are published, and how they rotate."""

import base64
import json
import secrets
import threading
from functools import cache
from typing import Any

from joserfc import jwt
from joserfc.jwk import RSAKey

ALGORITHM = "RS256"
Claims = dict[str, Any]


def new_key() -> RSAKey:
    """Generate an RSA key of 2048 bits with a random kid (20 to 50 ms)."""
    kid = secrets.token_hex(8)
    return RSAKey.generate_key(2048, {"kid": kid, "use": "sig", "alg": ALGORITHM}, private=True)


@cache
def stranger_key() -> RSAKey:
    """Give a key that no key set publishes; made once, when a fault first needs it."""
    return new_key()


class KeyRing:
    """One key that signs, and the keys that are published (mostly that one, and its predecessor after a rotation)."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._signing = new_key()
        self._published = [self._signing]

    @property
    def signing_kid(self) -> str:
        """The kid that new tokens carry."""
        return str(self._signing.kid)

    def rotate(self, *, overlap: bool) -> None:
        """Sign with a new key from now on; the old one stays published only with `overlap`."""
        fresh = new_key()
        with self._lock:
            self._published = [fresh, self._signing] if overlap else [fresh]
            self._signing = fresh

    def withdraw(self) -> None:
        """Publish only a new key while the old one goes on signing: a rotation that went wrong."""
        fresh = new_key()
        with self._lock:
            self._published = [fresh]

    def restore(self) -> None:
        """Publish the signing key again."""
        with self._lock:
            if self._signing not in self._published:
                self._published = [self._signing, *self._published]

    def jwks(self, *, private: bool = False) -> dict[str, Any]:
        """Give the JWKS document (RFC 7517, section 5); `private` leaks the keys, which is a fault to be found."""
        with self._lock:
            return {"keys": [dict(key.as_dict(private=private)) for key in self._published]}

    def sign(self, claims: Claims, typ: str) -> str:
        """Sign with the current key."""
        return self._encode(claims, typ, self._signing.kid, self._signing)

    def sign_with_unknown_kid(self, claims: Claims, typ: str) -> str:
        """Sign with the current key under a kid that was never published."""
        return self._encode(claims, typ, "never-published", self._signing)

    def sign_wrongly(self, claims: Claims, typ: str) -> str:
        """Sign with a stranger's key under the current kid."""
        return self._encode(claims, typ, self._signing.kid, stranger_key())

    @staticmethod
    def _encode(claims: Claims, typ: str, kid: str | None, key: RSAKey) -> str:
        return jwt.encode({"alg": ALGORITHM, "typ": typ, "kid": kid}, claims, key, [ALGORITHM])


def unsigned(claims: Claims, typ: str) -> str:
    """Give a JWS with alg none and an empty signature (RFC 7515, appendix A.5)."""
    parts = ({"alg": "none", "typ": typ}, claims)
    return ".".join(base64.urlsafe_b64encode(json.dumps(p).encode()).rstrip(b"=").decode() for p in parts) + "."
