"""How the API checks a token: the provider's keys fetched over HTTP into a cache, signature and claims with joserfc."""

import json
import ssl
import threading
import time
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

from joserfc import jws, jwt
from joserfc.errors import ExpiredTokenError, InvalidClaimError, JoseError
from joserfc.jwk import KeySet, OctKey

from otelprobe.demo.faults import Switches
from otelprobe.demo.keys import ALGORITHM, Claims
from otelprobe.demo.state import Clock

AUDIENCE = "orders"
LEEWAY = 5

_CACHE_SECONDS = 300
_FETCH_TIMEOUT = 2


class RefusedError(Exception):
    """The token is not good; the text is what the challenge may say of it."""


class BrokenError(Exception):
    """The check itself failed: the keys could not be had."""


class _RoomyRegistry(jws.JWSRegistry):
    """Lets a header be as long as one that brings a key along."""

    max_header_length = 4096


class KeyCache:
    """The provider's key set, kept for five minutes and fetched again for an unknown kid, unless `frozen`."""

    def __init__(self, url: str, tls: ssl.SSLContext | None) -> None:
        self._url, self._tls = url, tls
        self._lock = threading.Lock()
        self._keys: KeySet | None = None
        self._until = 0.0
        self.frozen = False

    def keys(self, kid: object) -> KeySet:
        """Give the key set that should hold `kid`; BrokenError if it cannot be fetched."""
        with self._lock:
            known = self._keys is not None and any(key.kid == kid for key in self._keys.keys)
            fresh = known and time.monotonic() < self._until
            if self._keys is None or not (fresh or self.frozen):
                self._keys = KeySet.import_key_set(self._fetch())
                self._until = time.monotonic() + _CACHE_SECONDS
            return self._keys

    def hold(self, document: Any) -> None:
        """Keep this key set and fetch no other: the stale cache of a broken API."""
        with self._lock:
            self._keys, self.frozen = KeySet.import_key_set(document), True

    def release(self) -> None:
        """Fetch again from now on."""
        with self._lock:
            self._keys, self.frozen = None, False

    def _fetch(self) -> Any:
        parts = urlsplit(self._url)
        host, port = parts.hostname or "", parts.port
        connection = (
            HTTPConnection(host, port, timeout=_FETCH_TIMEOUT)
            if self._tls is None
            else HTTPSConnection(host, port, timeout=_FETCH_TIMEOUT, context=self._tls)
        )
        try:
            connection.request("GET", parts.path, headers={"Accept": "application/json"})
            return json.loads(connection.getresponse().read())
        except (OSError, HTTPException, ValueError) as error:
            raise BrokenError("the provider's keys cannot be fetched") from error
        finally:
            connection.close()


class Validator:
    """Accepts the provider's access tokens (RS256) and the tokens of its plain log-in (HS256), each with its own key."""

    def __init__(self, issuer: str, cache: KeyCache, login_key: str, clock: Clock, switches: Switches) -> None:
        self._issuer, self._cache, self._clock, self._switches = issuer, cache, clock, switches
        self._login_key = OctKey.import_key(login_key)

    def check(self, text: str) -> Claims:
        """Give the claims of a good token; RefusedError if it is none, BrokenError if that cannot be told."""
        try:
            return self._check(text)
        except ExpiredTokenError:
            raise RefusedError("The access token expired") from None
        except InvalidClaimError as error:
            early = error.claim in {"iat", "nbf"}
            raise RefusedError(f"The access token is {'not yet valid' if early else 'invalid'}") from None
        except (JoseError, ValueError, OverflowError):
            raise RefusedError("The access token is invalid") from None

    def _check(self, text: str) -> Claims:
        inline = self._switches.on("api-trusts-inline-key")
        registry = _RoomyRegistry(algorithms=[ALGORITHM]) if inline else None
        unverified = jws.extract_compact(text.encode(), registry=registry)
        header = unverified.headers()
        if header.get("alg") == "HS256":
            claims = jwt.decode(text, self._login_key, algorithms=["HS256"]).claims
            self._registry(exp={"essential": True}, sub={"essential": True}).validate(claims)
            return claims
        if self._switches.on("api-skips-signature") or self._accepts_unsigned(header):
            claims = _unchecked(unverified.payload)
        else:
            claims = jwt.decode(text, self._keys(header), algorithms=[ALGORITHM], registry=registry).claims
            if str(header.get("typ")).lower().removeprefix("application/") != "at+jwt":
                raise RefusedError("The access token is invalid")
        self._check_access_claims(claims)
        return claims

    def _keys(self, header: dict[str, Any]) -> KeySet:
        """Give the provider's keys, or by the fault the key in the header (RFC 7515, section 4.1.3), which proves nothing."""
        inline = header.get("jwk")
        if self._switches.on("api-trusts-inline-key") and isinstance(inline, dict):
            return KeySet.import_key_set({"keys": [{**inline, "kid": str(header.get("kid"))}]})
        return self._cache.keys(header.get("kid"))

    def _accepts_unsigned(self, header: dict[str, Any]) -> bool:
        return self._switches.on("api-accepts-unsigned") and str(header.get("alg")).lower() == "none"

    def _check_access_claims(self, claims: Claims) -> None:
        """Check as RFC 9068, section 4 asks."""
        essential = {name: {"essential": True} for name in ("exp", "iat", "sub", "jti", "client_id")}
        self._registry(
            iss={"essential": True, "value": self._issuer}, aud={"essential": True, "value": AUDIENCE}, **essential
        ).validate(claims)

    def _registry(self, **options: Any) -> jwt.JWTClaimsRegistry:
        return jwt.JWTClaimsRegistry(now=self._clock.now(), leeway=LEEWAY, **options)


def _unchecked(payload: bytes | None) -> Claims:
    claims = json.loads(payload or b"")
    if not isinstance(claims, dict):
        raise RefusedError("The access token is invalid")
    return claims
