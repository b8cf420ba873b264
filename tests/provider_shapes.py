"""A server that answers as a given provider does, good answers and refusals alike, by what the providers document.

Nothing here was compared with the live services: docs/providers.md says so.
"""

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jwt

from tests.conftest import Answer, Seen, Server
from tests.steps.flows import as_json
from tests.token_kit import jwk, signing_key

TENANT = "9122040d-6c67-4c5b-b112-36a304b66dad"
SECRET = "shape-secret-canary"


class Shape:
    """One provider on one loopback port (Cognito: on two). `fault` names the refusal that the token endpoint plays."""

    def __init__(self, server: Server, issuer: str, document: Mapping[str, object], token: str) -> None:
        self.server, self.issuer = server, issuer
        self.token_path = token
        self.fault: Answer | None = None
        self.claims: dict[str, Any] = {}
        self.opaque: str | None = None
        self.answer: dict[str, Any] = {}
        self.keys = [jwk("RS256", kid="k1", use="sig", alg="RS256")]
        base = server.url
        members = {
            "issuer": issuer,
            "token_endpoint": f"{base}{token}",
            "jwks_uri": f"{base}/jwks",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "authorization_endpoint": f"{base}/authorize",
        }
        path = issuer.removeprefix(base).rstrip("/")
        server.on(f"{path}/.well-known/openid-configuration", as_json({**members, **document}))
        server.on("/jwks", lambda _: as_json({"keys": self.keys}))
        server.on(token, self._token)

    def _token(self, seen: Seen) -> Answer:
        if self.fault is not None:
            return self.fault
        access = self.opaque or self.signed()
        return as_json({"access_token": access, "token_type": "Bearer", "expires_in": 3600, **self.answer})

    def signed(self, **changes: object) -> str:
        """Sign an access token with this provider's claims; a claim of None is left out."""
        now = int(time.time())
        claims = {"iss": self.issuer, "iat": now, "exp": now + 3600, **self.claims, **changes}
        kept = {k: v for k, v in claims.items() if v is not None}
        return jwt.encode(kept, signing_key("RS256"), algorithm="RS256", headers={"kid": "k1"})


def auth0(server: Server) -> Shape:
    """Auth0: a trailing slash in the issuer, `gty`, `azp`, subject `ID@clients`."""
    found = Shape(server, f"{server.url}/", {"device_authorization_endpoint": f"{server.url}/device"}, "/oauth/token")
    found.claims = {
        "sub": "abc@clients",
        "aud": "https://api.example.com/",
        "azp": "abc",
        "gty": "client-credentials",
        "scope": "read:health",
    }
    found.answer = {"scope": "read:health", "expires_in": 86400}
    return found


def okta(server: Server) -> Shape:
    """Okta, a custom authorization server: scopes as a list in `scp`, the client in `cid`."""
    issuer = f"{server.url}/oauth2/default"
    found = Shape(server, issuer, {"introspection_endpoint": f"{issuer}/v1/introspect"}, "/oauth2/default/v1/token")
    found.claims = {"ver": 1, "jti": "AT.1", "aud": "api://default", "cid": "0oa1", "sub": "0oa1", "scp": ["health"]}
    found.answer = {"scope": "health"}
    return found


def entra(server: Server, tenant: str = TENANT, *, named: str | None = None) -> Shape:
    """Microsoft Entra ID: tokens of v1 or v2 as the API wants, `{tenantid}` where any tenant may come."""
    found = Shape(
        server,
        f"{server.url}/{tenant}/v2.0",
        {"issuer": f"{server.url}/{named or tenant}/v2.0", "tenant_region_scope": "EU"},
        f"/{tenant}/oauth2/v2.0/token",
    )
    found.claims = {
        "iss": f"{server.url}/{TENANT}/v2.0",
        "aud": "api-1",
        "azp": "app-1",
        "tid": TENANT,
        "ver": "2.0",
        "sub": "s",
        "uti": "u",
    }
    found.answer = {"ext_expires_in": 3599, "expires_in": 3599}
    return found


def cognito(server: Server) -> Shape:
    """Amazon Cognito: `client_id` and `token_use` in place of `aud`."""
    found = Shape(server, f"{server.url}/eu-west-1_AbCdEf123", {}, "/oauth2/token")
    found.claims = {
        "sub": "1example",
        "token_use": "access",
        "scope": "orders/health",
        "auth_time": 1,
        "version": 2,
        "jti": "j",
        "client_id": "app-1",
    }
    return found


def google(server: Server) -> Shape:
    """Google: opaque access tokens for assertions."""
    found = Shape(server, server.url, {"revocation_endpoint": f"{server.url}/revoke"}, "/token")
    found.opaque = "ya29.c.opaque-canary"
    return found


def keycloak(server: Server) -> Shape:
    """Keycloak: `typ`, `azp`, `aud` of `account`, and a key for encryption in the set."""
    issuer = f"{server.url}/realms/shop"
    found = Shape(server, issuer, {}, "/realms/shop/protocol/openid-connect/token")
    found.claims = {"aud": "account", "typ": "Bearer", "azp": "otelprobe", "sub": "s", "scope": "profile email"}
    found.answer = {"refresh_expires_in": 0, "not-before-policy": 0, "scope": "profile email"}
    found.keys.append({**jwk("RS256", kid="enc", which=1), "use": "enc", "alg": "RSA-OAEP"})
    return found


def hydra(server: Server) -> Shape:
    """Ory Hydra: opaque access tokens by default, JWT if configured."""
    found = Shape(server, server.url, {"revocation_endpoint": f"{server.url}/oauth2/revoke"}, "/oauth2/token")
    found.opaque = "ory_at_canary.canary"
    found.answer = {"scope": ""}
    return found


def github(server: Server) -> Shape:
    """GitHub: form encoding unless JSON is asked for, commas in `scope`, errors with status 200."""
    found = Shape(server, server.url, {}, "/unused")
    del server.routes["/.well-known/openid-configuration"]

    def token(seen: Seen) -> Answer:
        if "application/json" not in seen.headers.get("accept", ""):
            return Answer(200, b"access_token=gho_x&scope=repo%2Cgist&token_type=bearer")
        return found.fault or as_json(
            {
                "access_token": "ghu_canary",
                "expires_in": 28800,
                "refresh_token": "ghr_canary2",
                "refresh_token_expires_in": 15811200,
                "scope": "repo,gist",
                "token_type": "bearer",
            }
        )

    server.on("/login/oauth/access_token", token)
    return found


SHAPES: Mapping[str, Callable[[Server], Shape]] = {
    "auth0": auth0,
    "okta": okta,
    "entra": entra,
    "cognito": cognito,
    "google": google,
    "keycloak": keycloak,
    "hydra": hydra,
    "github": github,
}


def error(status: int, **document: object) -> Answer:
    """Write a refusal in JSON."""
    return Answer(status, json.dumps(document).encode(), [("Content-Type", "application/json;charset=UTF-8")])


def flow(preset: str, shape: Shape, steps: str, folder: Path, *, client: str = "app-1", more: str = "") -> str:
    """Write a flow file for a shape."""
    secret = folder / "secret"
    secret.write_text(SECRET)
    return f"""
providers:
  idp: {{preset: {preset}, issuer: "{shape.issuer}", client_id: {client}, client_secret: {{file: {secret}}}{more}}}
flows:
  - {{name: shop, provider: idp, steps: [{steps}]}}
"""
