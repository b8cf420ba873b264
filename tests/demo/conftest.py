"""One demo for each test module, healthy again before each test, and a plain client that knows OAuth but not otelprobe."""

import base64
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote_plus

import jwt
import pytest
import requests

from otelprobe.demo import start_demo

SCOPE = "openid orders:read"
CLAIMS = ("iss", "sub", "aud", "exp", "iat", "jti")


class Visitor:
    """A client of the demo on plain `requests`."""

    def __init__(self, demo: Any) -> None:
        self.demo = demo
        self.http = requests.Session()
        self.http.trust_env = False
        self.http.verify = demo.ca_file or True

    def close(self) -> None:
        self.http.close()

    def basic(self, client_id: str | None = None, secret: str | None = None) -> dict[str, str]:
        """HTTP Basic with both parts form-encoded, as RFC 6749 section 2.3.1 wants."""
        pair = f"{quote_plus(client_id or self.demo.client_id)}:{quote_plus(secret or self.demo.client_secret)}"
        return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}

    def discover(self) -> dict[str, Any]:
        return self.http.get(f"{self.demo.issuer}/.well-known/openid-configuration", timeout=5).json()

    def token_response(self, timeout: float = 5, **form: str) -> requests.Response:
        password = {"grant_type": "password", "username": self.demo.username, "password": self.demo.password}
        data = form if "grant_type" in form else {**password, "scope": SCOPE, "audience": "orders", **form}
        url = self.discover()["token_endpoint"]
        return self.http.post(url, data=data, headers=self.basic(), timeout=timeout)

    def tokens(self, **form: str) -> dict[str, Any]:
        response = self.token_response(**form)
        assert response.status_code == 200, response.text
        return response.json()

    def refresh(self, refresh_token: str, **form: str) -> requests.Response:
        return self.token_response(grant_type="refresh_token", refresh_token=refresh_token, **form)

    def ask(self, endpoint: str, token: str, **headers: str) -> requests.Response:
        """Send a token to introspection or revocation."""
        url = self.discover()[f"{endpoint}_endpoint"]
        return self.http.post(url, data={"token": token}, headers=headers or self.basic(), timeout=5)

    def call(self, path: str, token: str | None = None, method: str = "GET", **rest: Any) -> requests.Response:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        return self.http.request(method, self.demo.api_url + path, headers=headers, timeout=5, **rest)

    def verify(self, token: str, require: tuple[str, ...] = CLAIMS, **rest: Any) -> dict[str, Any]:
        """Verify a token with PyJWT and the published keys, as any resource server would."""
        found = self.http.get(self.discover()["jwks_uri"], timeout=5).json()
        keys = {key["kid"]: jwt.PyJWK(key) for key in found["keys"]}
        kid = jwt.get_unverified_header(token)["kid"]
        expected = {"audience": "orders", "issuer": self.demo.issuer, **rest}
        return jwt.decode(token, keys[kid].key, algorithms=["RS256"], options={"require": list(require)}, **expected)


@pytest.fixture(scope="module")
def running() -> Iterator[Any]:
    with start_demo() as demo:
        yield demo


@pytest.fixture
def demo(running: Any) -> Any:
    running.set_faults()
    running.forget_requests()
    return running


@pytest.fixture
def visitor(demo: Any) -> Iterator[Visitor]:
    visitor = Visitor(demo)
    yield visitor
    visitor.close()
