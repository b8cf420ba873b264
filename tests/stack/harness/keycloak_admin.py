"""What an administrator does to a running Keycloak: its admin REST API, for tests that break things in the middle of a run."""

import json
from typing import Any

import requests

from tests.stack.harness.keycloak import ADMIN, ADMIN_PASSWORD, REALMS, Keycloak
from tests.stack.harness.process import session

_KEYS = "org.keycloak.keys.KeyProvider"
_TIMEOUT = 60.0
"""Seconds: a new realm draws several RSA keys, which takes long on a busy machine."""


class Admin:
    """The administrator of one Keycloak. Every call raises if it is refused."""

    def __init__(self, keycloak: Keycloak) -> None:
        self._keycloak = keycloak
        self._http = session()

    def close(self) -> None:
        """End the connections."""
        self._http.close()

    def make_realm(self, name: str, **settings: object) -> str:
        """Make a realm like `shop` with other settings; give its issuer."""
        like = json.loads((REALMS / "realm.json").read_text(encoding="utf-8"))
        self._call("POST", "", {**like, "realm": name, **settings})
        return self._keycloak.issuer(name)

    def change_realm(self, realm: str, **settings: object) -> None:
        """Change settings of a realm."""
        self._call("PUT", f"/{realm}", settings)

    def add_signing_key(self, realm: str) -> str:
        """Make a new key that signs from now on, beside the old one; give its kid."""
        component = {
            "name": "newer",
            "providerId": "rsa-generated",
            "providerType": _KEYS,
            "parentId": self._call("GET", f"/{realm}").json()["id"],
            "config": {"priority": ["200"], "algorithm": ["RS256"]},
        }
        self._call("POST", f"/{realm}/components", component)
        return self.signing_kid(realm)

    def signing_kid(self, realm: str) -> str:
        """Give the kid that signs now."""
        return str(self._keys(realm)["active"]["RS256"])

    def delete_key(self, realm: str, kid: str) -> None:
        """Delete a key: nothing that it has signed can be verified from then on."""
        (provider,) = {key["providerId"] for key in self._keys(realm)["keys"] if key["kid"] == kid}
        self._call("DELETE", f"/{realm}/components/{provider}")

    def _keys(self, realm: str) -> dict[str, Any]:
        found: dict[str, Any] = self._call("GET", f"/{realm}/keys").json()
        return found

    def _call(self, method: str, path: str, document: object = None) -> requests.Response:
        headers = {"Authorization": f"Bearer {self._token()}"}
        url = f"{self._keycloak.url}/admin/realms{path}"
        response = self._http.request(method, url, json=document, headers=headers, timeout=_TIMEOUT)
        assert response.ok, f"{method} {path}: status {response.status_code}: {response.text[:200]}"
        return response

    def _token(self) -> str:
        """Log in: the token lives for a minute only, so that each call has its own."""
        form = {"grant_type": "password", "client_id": "admin-cli", "username": ADMIN, "password": ADMIN_PASSWORD}
        url = f"{self._keycloak.issuer('master')}/protocol/openid-connect/token"
        response = self._http.post(url, data=form, timeout=_TIMEOUT)
        assert response.ok, f"the administrator cannot log in: status {response.status_code}"
        return str(response.json()["access_token"])
