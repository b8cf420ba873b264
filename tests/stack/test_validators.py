"""The validators of the stack do what they say: the healthy refuse every bad token, each misconfiguration lets one through."""

import hashlib
import hmac
import json
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from otelprobe.tokens import sign
from tests.conftest import Answer, Server
from tests.stack import validators
from tests.stack.harness.process import session
from tests.token_kit import jwk, signing_key

ISSUER = "https://login.example.com"


def token(which: int = 0, **changes: Any) -> str:
    """Sign a token of now; `which` key signs."""
    now = int(time.time())
    claims = {"iss": ISSUER, "sub": "ann", "aud": "orders", "iat": now, "exp": now + 300, **changes}
    return sign(claims, signing_key("RS256", which), "RS256", {"kid": f"k{which}"})


def _joined(header: Mapping[str, str], claims: str) -> str:
    return f"{urlsafe_b64encode(json.dumps(header).encode()).rstrip(b'=').decode()}.{claims}"


def unsigned() -> str:
    """Give a token with `alg: none`."""
    return _joined({"alg": "none", "kid": "k0"}, token().split(".")[1]) + "."


def confused() -> str:
    """Give a token that is signed by HS256 with the public key's PEM text as the secret."""
    secret = signing_key("RS256").public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    signed = _joined({"alg": "HS256", "kid": "k0"}, token().split(".")[1])
    digest = hmac.new(secret, signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{urlsafe_b64encode(digest).rstrip(b'=').decode()}"


BAD: Mapping[str, Callable[[], str]] = {
    "another key's": lambda: _joined({"alg": "RS256", "kid": "k0"}, ".".join(token(1).split(".")[1:])),
    "another issuer's": lambda: token(iss="https://other.example.com"),
    "for another audience": lambda: token(aud="billing"),
    "expired": lambda: token(exp=int(time.time()) - 3600),
    "unsigned": unsigned,
    "with the public key as the secret": confused,
    "garbage": lambda: "a.b.c",
}
LET_THROUGH = {
    "check_issuer": ["another issuer's"],
    "check_audience": ["for another audience"],
    "check_expiry": ["expired"],
    "pin_algorithm": ["unsigned", "with the public key as the secret"],
}
WITHOUT_KEYS = {**dict.fromkeys(validators.KINDS, 503), "express-oauth2-jwt-bearer": 401}
"""express-oauth2-jwt-bearer calls a token invalid whose key it could not fetch."""


@pytest.fixture
def jwks(server: Server) -> Server:
    """Give a server of key sets, at first with one key."""
    publish(server, 0)
    return server


def publish(server: Server, *which: int) -> None:
    """Publish these keys."""
    document = {"keys": [jwk("RS256", kid=f"k{n}", which=n, use="sig", alg="RS256") for n in which]}
    server.on("/jwks", Answer(200, json.dumps(document).encode(), [("Content-Type", "application/json")]))


def start(kind: str, jwks: Server, folder: Path, **switches: Any) -> validators.Service:
    """Start a service that trusts these keys."""
    url = f"{jwks.url}/jwks"
    return validators.start(kind, issuer=ISSUER, audience="orders", jwks_url=url, folder=folder, **switches)


def ask(service: validators.Service, value: str | None) -> int:
    """Give the status of the service's answer to a token."""
    headers = {} if value is None else {"Authorization": f"Bearer {value}"}
    with session() as http:
        return http.get(service.url, headers=headers, timeout=30).status_code


@pytest.mark.parametrize("kind", validators.KINDS)
def test_a_healthy_one(kind: str, jwks: Server, tmp_path: Path) -> None:
    """A good token passes, nothing else does, and a key that is new is fetched."""
    with start(kind, jwks, tmp_path) as service:
        assert ask(service, token()) == 200
        assert {name: ask(service, make()) for name, make in BAD.items()} == dict.fromkeys(BAD, 401)
        assert ask(service, None) == 401
        publish(jwks, 0, 1)
        assert ask(service, token(1)) == 200


@pytest.mark.parametrize(
    ("kind", "switch"),
    [(k, s) for k in validators.KINDS for s in LET_THROUGH if s not in validators.CANNOT.get(k, ())],
)
def test_one_that_checks_too_little(kind: str, switch: str, jwks: Server, tmp_path: Path) -> None:
    """Just what is not checked is let through, the rest is still refused."""
    with start(kind, jwks, tmp_path, **{switch: False}) as service:
        assert ask(service, token()) == 200
        wanted = {name: 200 if name in LET_THROUGH[switch] else 401 for name in BAD}
        assert {name: ask(service, make()) for name, make in BAD.items()} == wanted


@pytest.mark.parametrize("kind", validators.KINDS)
def test_keys_that_are_kept_for_ever(kind: str, jwks: Server, tmp_path: Path) -> None:
    """A new key is not seen, and one that was withdrawn still opens."""
    with start(kind, jwks, tmp_path, keys_for_ever=True) as service:
        assert ask(service, token()) == 200
        publish(jwks, 1)
        assert (ask(service, token(1)), ask(service, token())) == (401, 200)


@pytest.mark.parametrize("kind", validators.KINDS)
@pytest.mark.parametrize("fail_open", [False, True])
def test_keys_that_cannot_be_had(kind: str, fail_open: bool, jwks: Server, tmp_path: Path) -> None:
    """A healthy one lets nobody in, each in its own words; one that fails open lets everybody in who shows anything."""
    jwks.on("/jwks", Answer(503))
    if fail_open and "fail_open" in validators.CANNOT.get(kind, ()):
        with pytest.raises(ValueError, match="cannot be misconfigured"):
            start(kind, jwks, tmp_path, fail_open=True)
        return
    with start(kind, jwks, tmp_path, fail_open=fail_open) as service:
        assert ask(service, token()) == (200 if fail_open else WITHOUT_KEYS[kind])
        assert ask(service, None) == 401
