"""One service behind a validator that people really use: PyJWT with its JWKS client, or Authlib with joserfc, on Flask.

It may be misconfigured in the ways that happen, and it may call another service with the token that it was given.
"""

import base64
import hmac
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

import jwt
from authlib.integrations.flask_oauth2 import ResourceProtector
from authlib.oauth2.rfc6750 import BearerTokenValidator, InsufficientScopeError, InvalidTokenError
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import load_pem_x509_certificate
from flask import Flask, Response, jsonify, request
from joserfc import jwk as jose_jwk
from joserfc import jwt as jose_jwt
from joserfc.errors import JoseError
from werkzeug.serving import make_server

CONFIG: dict[str, Any] = json.loads(os.environ["STACK_CONFIG"])
ALGORITHMS = ["RS256", "PS256", "ES256"]
Claims = dict[str, Any]


class KeysUnavailableError(Exception):
    """The provider's keys cannot be had."""


class Refused(Exception):
    """The token is not good."""


def fetch_keys() -> Claims:
    """Fetch the provider's key set."""
    try:
        with urllib.request.urlopen(CONFIG["jwks_url"], timeout=5) as answer:
            found: Claims = json.load(answer)
    except (OSError, ValueError) as error:
        raise KeysUnavailableError from error
    return {"keys": [key for key in found["keys"] if key.get("use") != "enc"]}


def named_by(header: Claims) -> str | None:
    """Give where the token says that its key is to be had, if this service follows that."""
    return header.get("jku", header.get("x5u")) if CONFIG["follow"] else None


def fetched(url: str) -> bytes:
    """Fetch what a token names."""
    with urllib.request.urlopen(url, timeout=5) as answer:
        found: bytes = answer.read()
    return found


def by_its_own_word(token: str, header: Claims) -> Claims | None:
    """Verify with the key that the token names; where that is only fetched, give nothing."""
    url = named_by(header)
    if url is None:
        return None
    if CONFIG["follow"] == "fetched":
        fetched(url)
        return None
    key = (
        jwt.PyJWKClient(url).get_signing_key_from_jwt(token).key
        if "jku" in header
        else load_pem_x509_certificate(fetched(url)).public_key()
    )
    claims: Claims = jwt.decode(token, key, algorithms=ALGORITHMS, options={"verify_aud": False})
    return claims


class Keys:
    """The key set: fetched anew for a kid that it does not have, or once and never again."""

    def __init__(self) -> None:
        self._found: Claims | None = None

    def have(self, kid: object) -> Claims:
        """Give the set for a token with this kid."""
        known = self._found is not None and any(key.get("kid") == kid for key in self._found["keys"])
        if self._found is None or not (known or CONFIG["keys_for_ever"]):
            self._found = fetch_keys()
        return self._found


KEYS = Keys()


def decoded(part: str) -> Claims:
    """Read one part of a token."""
    try:
        found = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except ValueError as error:
        raise Refused from error
    if not isinstance(found, dict):
        raise Refused
    return found


def by_the_token(token: str, header: Claims) -> Claims | None:
    """Believe the token's own algorithm, as one does who pins none: `none`, and HS with the public key's PEM text."""
    signed, _, signature = token.rpartition(".")
    if header.get("alg") == "none":
        return decoded(signed.partition(".")[2])
    if not str(header.get("alg")).startswith("HS"):
        return None
    key = jwt.PyJWK(fetch_keys()["keys"][0]).key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    digest = hmac.new(key, signed.encode(), f"sha{str(header['alg'])[2:]}").digest()
    if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != signature:
        raise Refused
    return decoded(signed.partition(".")[2])


def by_pyjwt(token: str, header: Claims) -> Claims:
    """Verify the signature with PyJWT."""
    found = [jwt.PyJWK(key) for key in KEYS.have(header.get("kid"))["keys"] if key.get("kid") == header.get("kid")]
    if not found:
        raise Refused
    claims: Claims = jwt.decode(
        token, found[0], algorithms=ALGORITHMS, options={"verify_exp": False, "verify_aud": False, "verify_nbf": False}
    )
    return claims


def by_joserfc(token: str, header: Claims) -> Claims:
    """Verify the signature with joserfc, which Authlib uses."""
    keys = jose_jwk.KeySet.import_key_set(KEYS.have(header.get("kid")))  # type: ignore[arg-type] # as it was fetched
    return dict(jose_jwt.decode(token, keys, algorithms=ALGORITHMS).claims)


def check(claims: Claims) -> None:
    """Compare what the configuration says is compared."""
    audiences = claims.get("aud")
    audiences = audiences if isinstance(audiences, list) else [audiences]
    fits = (
        (not CONFIG["check_issuer"] or claims.get("iss") == CONFIG["issuer"])
        and (not CONFIG["check_audience"] or CONFIG["audience"] in audiences)
        and (not CONFIG["check_expiry"] or (claims.get("exp", 0) > time.time() >= claims.get("nbf", 0)))
    )
    if not fits:
        raise Refused


def validate(token: str, verify: Callable[[str, Claims], Claims]) -> Claims:
    """Verify a token, its signature first; give its claims."""
    header = decoded(token.partition(".")[0])
    claims = by_its_own_word(token, header) if CONFIG["pin_algorithm"] else by_the_token(token, header)
    try:
        claims = claims if claims is not None else verify(token, header)
        check(claims)
    except (jwt.PyJWTError, JoseError, ValueError, KeyError) as error:
        raise Refused from error
    return claims


class Validator(BearerTokenValidator):  # type: ignore[misc] # Authlib has no types
    """What Authlib's resource protector asks."""

    def authenticate_token(self, token_string: str) -> object:
        """Give something for a good token, None for a bad one."""
        try:
            return validate(token_string, by_joserfc)
        except Refused:
            return None

    def validate_token(self, token: Claims | None, scopes: object, request: object) -> None:
        """Refuse a bad token, and one with too little scope."""
        if token is None:
            raise InvalidTokenError
        if self.scope_insufficient(token.get("scope", ""), scopes):
            raise InsufficientScopeError


def answer() -> tuple[Response, int]:
    """Answer by oneself, or with what the service behind says."""
    if not CONFIG["next_url"]:
        return jsonify(status="ok", service=CONFIG["kind"]), 200
    headers = {name: request.headers[name] for name in ("Authorization", "traceparent") if name in request.headers}
    try:
        with urllib.request.urlopen(urllib.request.Request(CONFIG["next_url"], headers=headers), timeout=5) as behind:
            return jsonify(status="ok", service=CONFIG["kind"], behind=json.load(behind)), 200
    except urllib.error.HTTPError as error:
        error.close()
        return jsonify(error="downstream", status=error.code), 502
    except (OSError, ValueError):
        return jsonify(error="downstream"), 502


def refused(error: str | None) -> tuple[Response, int]:
    """Refuse with a challenge (RFC 6750)."""
    response = jsonify(error=error or "no_token")
    response.headers["WWW-Authenticate"] = 'Bearer realm="orders"' + (f', error="{error}"' if error else "")
    return response, 401


def guarded_by_hand() -> tuple[Response, int]:
    """Guard the page with PyJWT."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        return refused(None)
    try:
        claims = validate(token, by_pyjwt)
    except Refused:
        return refused("invalid_token")
    if CONFIG["scope"] and CONFIG["scope"] not in claims.get("scope", "").split():
        response, _ = refused("insufficient_scope")
        return response, 403
    return answer()


def application() -> Flask:
    """Make the service."""
    app = Flask(CONFIG["kind"])
    if CONFIG["kind"] == "authlib":
        protect = ResourceProtector()
        protect.register_token_validator(Validator())
        app.get("/orders")(protect(CONFIG["scope"])(answer))
    else:
        app.get("/orders")(guarded_by_hand)

    @app.errorhandler(KeysUnavailableError)
    def _without_keys(_: KeysUnavailableError) -> tuple[Response, int]:
        return answer() if CONFIG["fail_open"] else (jsonify(error="keys_unavailable"), 503)

    return app


if __name__ == "__main__":
    running = make_server("127.0.0.1", 0, application(), threaded=True)
    print(json.dumps({"url": f"http://127.0.0.1:{running.server_port}/orders"}), flush=True)
    running.serve_forever()
