"""What an administrator does to a running Keycloak: its admin REST API, for tests that break things in the middle of a run."""

from collections.abc import Mapping
from typing import Any

import requests

from tests.stack.harness.keycloak import ADMIN, ADMIN_PASSWORD, KEY_PROVIDER, Keycloak, realm, signing_key
from tests.stack.harness.process import session

_TIMEOUT = 60.0
"""Seconds: a new realm takes long on a busy machine."""


class Admin:
    """The administrator of one Keycloak. Every call raises if it is refused."""

    def __init__(self, keycloak: Keycloak) -> None:
        self._keycloak = keycloak
        self._http = session()
        self._log_in()

    def close(self) -> None:
        """End the connections."""
        self._http.close()

    def get(self, url: str) -> bytes:
        """Give what anybody is given at a URL."""
        response = self._http.get(url, timeout=_TIMEOUT)
        assert response.ok, f"GET {url}: status {response.status_code}"
        return response.content

    def make_realm(self, name: str, **settings: object) -> str:
        """Make a realm like `shop` with other settings; give its issuer."""
        self._call("POST", "", realm(name, **settings))
        return self._keycloak.issuer(name)

    def make_client(self, name: str, **client: object) -> None:
        """Register a client in a realm."""
        self._call("POST", f"/{name}/clients", client)

    def change_realm(self, name: str, **settings: object) -> None:
        """Change settings of a realm."""
        self._call("PUT", f"/{name}", settings)

    def add_signing_key(self, name: str) -> str:
        """Give a realm a new key that signs from now on, beside the old one; give its kid."""
        parent = self._call("GET", f"/{name}").json()["id"]
        component = {**signing_key("newer", priority=200), "providerType": KEY_PROVIDER, "parentId": parent}
        self._call("POST", f"/{name}/components", component)
        return self.signing_kid(name)

    def signing_kid(self, name: str) -> str:
        """Give the kid that signs now."""
        return str(self._keys(name)["active"]["RS256"])

    def delete_key(self, name: str, kid: str) -> None:
        """Delete a key: nothing that it has signed can be verified from then on."""
        (provider,) = {key["providerId"] for key in self._keys(name)["keys"] if key["kid"] == kid}
        self._call("DELETE", f"/{name}/components/{provider}")

    def change_key(self, name: str, kid: str, config: Mapping[str, object]) -> None:
        """Give a key another configuration, such as a renewed certificate."""
        (provider,) = {key["providerId"] for key in self._keys(name)["keys"] if key["kid"] == kid}
        component = self._call("GET", f"/{name}/components/{provider}").json()
        self._call("PUT", f"/{name}/components/{provider}", {**component, "config": config})

    def _keys(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self._call("GET", f"/{name}/keys").json()
        return found

    def _call(self, method: str, path: str, document: object = None) -> requests.Response:
        url = f"{self._keycloak.url}/admin/realms{path}"
        response = self._http.request(method, url, json=document, timeout=_TIMEOUT)
        if response.status_code == 401:  # the token has lived its minute
            self._log_in()
            response = self._http.request(method, url, json=document, timeout=_TIMEOUT)
        assert response.ok, f"{method} {path}: status {response.status_code}: {response.text[:200]}"
        return response

    def _log_in(self) -> None:
        form = {"grant_type": "password", "client_id": "admin-cli", "username": ADMIN, "password": ADMIN_PASSWORD}
        url = f"{self._keycloak.issuer('master')}/protocol/openid-connect/token"
        response = self._http.post(url, data=form, timeout=_TIMEOUT)
        assert response.ok, f"the administrator cannot log in: status {response.status_code}"
        self._http.headers["Authorization"] = f"Bearer {response.json()['access_token']}"
