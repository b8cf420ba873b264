"""The identity provider: discovery, keys, token endpoint, introspection, revocation, user info and two plain log-ins."""

import secrets
from typing import Any

from flask import Blueprint, Flask, Response, jsonify, make_response, request
from joserfc import jwt
from joserfc.jwk import OctKey

from otelprobe.demo.grants import (
    CLIENT_AUTH,
    SCOPES,
    Realm,
    Server,
    authorization_server,
)
from otelprobe.demo.keys import ALGORITHM
from otelprobe.demo.replies import challenge, private
from otelprobe.demo.state import ACCESS_LIFETIME, COOKIE, SESSION_LIFETIME, Sessions

PATH = "/demo"
"""The issuer's path: it tells the two well-known forms of discovery apart (RFC 8414 inserts, OpenID Connect appends)."""


class ProviderSite:
    """The provider's pages. `token_endpoint` is what discovery says, so that a fault can point it elsewhere."""

    def __init__(self, server: Server, realm: Realm, sessions: Sessions, dead_url: str) -> None:
        self._server, self._realm, self._sessions, self._dead_url = server, realm, sessions, dead_url

    def discovery(self) -> Response:
        """Answer both well-known paths (OpenID Connect Discovery; RFC 8414)."""
        issuer, on = self._realm.issuer, self._realm.switches.on
        document: dict[str, Any] = {
            "issuer": "https://other.example.com" if on("discovery-issuer") else issuer,
            "authorization_endpoint": f"{issuer}/authorize",
            "token_endpoint": f"{self._dead_url if on('token-refused') else issuer}/token",
            "jwks_uri": f"{issuer}/jwks",
            "userinfo_endpoint": f"{issuer}/userinfo",
            "introspection_endpoint": f"{issuer}/introspect",
            "revocation_endpoint": f"{issuer}/revoke",
            "scopes_supported": list(SCOPES),
            "response_types_supported": ["code"],
            "grant_types_supported": ["client_credentials", "password", "refresh_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": [ALGORITHM, *(["HS256"] if on("discovery-drift") else [])],
            "token_endpoint_auth_methods_supported": list(CLIENT_AUTH),
            "introspection_endpoint_auth_methods_supported": list(CLIENT_AUTH[:2]),
            "revocation_endpoint_auth_methods_supported": list(CLIENT_AUTH),
        }
        response = jsonify(document)
        response.headers["Cache-Control"] = "public, max-age=300"
        return response

    def jwks(self) -> Response:
        """Answer the key set (RFC 7517)."""
        keys = self._realm.keys.jwks(private=self._realm.switches.on("jwks-private-key"))
        response = jsonify({"keys": []} if self._realm.switches.on("jwks-empty") else keys)
        response.headers["Cache-Control"] = "public, max-age=300"
        return response

    def token(self) -> Response:
        """Answer the token endpoint (RFC 6749, section 3.2)."""
        response: Response = self._server.create_token_response()
        if response.status_code == 200:
            self._spoil(response)
        return response

    def _spoil(self, response: Response) -> None:
        """Put the faults of the answer's own members in."""
        on = self._realm.switches.on
        answer: dict[str, Any] = response.get_json()
        if on("token-missing"):
            answer.pop("access_token")
        if on("token-type"):
            answer["token_type"] = "N_A"  # noqa: S105 - a token type of RFC 8693
        if on("expires-in-zero"):
            answer["expires_in"] = 0
        response.set_data(jsonify(answer).get_data())

    def introspect(self) -> Response:
        """Answer introspection (RFC 7662)."""
        response: Response = self._server.create_endpoint_response("introspection")
        return response

    def revoke(self) -> Response:
        """Answer revocation (RFC 7009)."""
        response: Response = self._server.create_endpoint_response("revocation")
        return response

    def userinfo(self) -> Response:
        """Answer user info to a live access token with scope openid (OpenID Connect Core, section 5.3)."""
        scheme, _, text = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not text:
            return challenge(401, "")
        found = self._realm.tokens.find(text.strip(), self._realm.clock.now())
        if found is None or found.is_refresh or found.is_expired() or found.is_revoked():
            return challenge(401, 'error="invalid_token"')
        if "openid" not in found.issued.scope.split() or found.issued.subject is None:
            return challenge(403, 'error="insufficient_scope", scope="openid"')
        return private(jsonify(sub=found.issued.subject, preferred_username=self._realm.accounts.username))

    def login(self) -> Response:
        """Answer a JSON log-in with an HS256 token, as many small back ends do: no issuer, no audience."""
        if not self._user_is_known():
            return private(make_response(jsonify(error="wrong user name or password"), 401))
        now = self._realm.clock.now()
        claims = {
            "sub": self._realm.accounts.subject,
            "iat": now,
            "exp": now + ACCESS_LIFETIME,
            "jti": secrets.token_urlsafe(16),
            "scope": "orders:read",
        }
        key = OctKey.import_key(self._realm.accounts.login_key)
        return private(jsonify(token=jwt.encode({"alg": "HS256"}, claims, key, ["HS256"]), expires_in=ACCESS_LIFETIME))

    def login_cookie(self) -> Response:
        """Answer a log-in with a session cookie."""
        if not self._user_is_known():
            return private(make_response(jsonify(error="wrong user name or password"), 401))
        response = jsonify(status="ok")
        response.set_cookie(
            COOKIE,
            self._sessions.open(self._realm.clock.now()),
            max_age=SESSION_LIFETIME,
            httponly=True,
            samesite="Lax",
            secure=request.is_secure,
        )
        return private(response)

    def _user_is_known(self) -> bool:
        body = request.get_json(silent=True) if request.is_json else request.form
        given = body if isinstance(body, dict) else {}
        return self._realm.accounts.match(given.get("username"), given.get("password"))


def provider_app(realm: Realm, sessions: Sessions, dead_url: str) -> Flask:
    """Make the provider's WSGI application; `dead_url` is where nothing listens."""
    app = Flask("otelprobe.demo.provider", static_folder=None)
    site = ProviderSite(authorization_server(app, realm), realm, sessions, dead_url)
    app.add_url_rule(f"/.well-known/oauth-authorization-server{PATH}", "metadata", site.discovery)
    pages = Blueprint("demo", __name__, url_prefix=PATH)
    pages.add_url_rule("/.well-known/openid-configuration", "discovery", site.discovery)
    pages.add_url_rule("/jwks", "jwks", site.jwks)
    pages.add_url_rule("/token", "token", site.token, methods=["POST"])
    pages.add_url_rule("/introspect", "introspect", site.introspect, methods=["POST"])
    pages.add_url_rule("/revoke", "revoke", site.revoke, methods=["POST"])
    pages.add_url_rule("/userinfo", "userinfo", site.userinfo, methods=["GET", "POST"])
    pages.add_url_rule("/login", "login", site.login, methods=["POST"])
    pages.add_url_rule("/login/cookie", "login_cookie", site.login_cookie, methods=["POST"])
    app.register_blueprint(pages)
    return app
