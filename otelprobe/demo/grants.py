"""The authorization server proper, on Authlib: clients, grants, the tokens they issue, introspection and revocation.

Authorization code and device grants are added like the others: a class here, a `register_grant` in `authorization_server`.
"""

import base64
import binascii
import hashlib
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import unquote_plus

from authlib.integrations.flask_oauth2 import (  # type: ignore[import-untyped] # Authlib ships no types
    AuthorizationServer,
)
from authlib.oauth2.rfc6749 import (  # type: ignore[import-untyped] # Authlib ships no types
    InvalidClientError,
    InvalidGrantError,
    OAuth2Error,
)
from authlib.oauth2.rfc6749.grants import (  # type: ignore[import-untyped] # Authlib ships no types
    ClientCredentialsGrant,
    RefreshTokenGrant,
    ResourceOwnerPasswordCredentialsGrant,
)
from authlib.oauth2.rfc6750 import BearerTokenGenerator  # type: ignore[import-untyped] # Authlib ships no types
from authlib.oauth2.rfc7009 import RevocationEndpoint  # type: ignore[import-untyped] # Authlib ships no types
from authlib.oauth2.rfc7662 import IntrospectionEndpoint  # type: ignore[import-untyped] # Authlib ships no types
from flask import Flask, Response, request

from otelprobe.demo.faults import Switches
from otelprobe.demo.keys import Claims, KeyRing, unsigned
from otelprobe.demo.state import ACCESS_LIFETIME, Accounts, Clock, Found, Issued, TokenStore

SCOPES = ("openid", "profile", "orders:read", "orders:write")
DEFAULT_SCOPE = "orders:read"
DEFAULT_AUDIENCE = "orders"
AUDIENCES = ("orders", "billing")
CLIENT_AUTH = ("client_secret_basic", "client_secret_post", "none")

_CONFIDENTIAL = ("client_secret_basic", "client_secret_post")


@dataclass(frozen=True, slots=True, kw_only=True)
class Realm:
    """Everything that the provider's parts share."""

    issuer: str
    accounts: Accounts
    keys: KeyRing
    tokens: TokenStore
    switches: Switches
    clock: Clock


class InvalidTargetError(OAuth2Error):  # type: ignore[misc] # Authlib ships no types
    """An audience or resource that the provider does not know (RFC 8707, section 2)."""

    error = "invalid_target"


@dataclass(frozen=True, slots=True)
class Client:
    """A registered client, as Authlib wants to ask it. A public client has no secret."""

    client_id: str
    secret: str | None
    grants: tuple[str, ...]

    def get_client_id(self) -> str:
        """Give the client id."""
        return self.client_id

    def check_client_secret(self, secret: str) -> bool:
        """Compare the secret in constant time."""
        return self.secret is not None and secrets.compare_digest(self.secret.encode(), secret.encode())

    def check_endpoint_auth_method(self, method: str, _endpoint: str) -> bool:
        """Tell whether the client may authenticate so: by secret if it has one, by name alone if not."""
        return method in (_CONFIDENTIAL if self.secret is not None else ("none",))

    def check_grant_type(self, grant: str) -> bool:
        """Tell whether the client may use a grant."""
        return grant in self.grants

    def get_allowed_scope(self, scope: str | None) -> str | None:
        """Reduce the requested scope to what is known; None, which is invalid_scope, if nothing remains."""
        wanted = (scope or DEFAULT_SCOPE).split()
        return " ".join(s for s in wanted if s in SCOPES) or None


@dataclass(frozen=True, slots=True)
class User:
    """The resource owner."""

    subject: str


def clients(realm: Realm) -> Mapping[str, Client]:
    """Give the registered clients by id: the prober's, a public one, and the API as a resource server."""
    accounts, user_grants = realm.accounts, ("password", "refresh_token")
    every = (
        Client(accounts.client_id, accounts.client_secret, ("client_credentials", *user_grants)),
        Client(accounts.public_client_id, None, user_grants),
        Client(accounts.api_client_id, accounts.api_client_secret, ()),
    )
    return {client.client_id: client for client in every}


def basic_client(query_client: Callable[[str], Client | None], oauth: Any) -> Client | None:
    """Authenticate by HTTP Basic with both parts form-encoded before Base64 (RFC 6749, section 2.3.1)."""
    scheme, _, encoded = oauth.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        client_id, _, secret = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        raise InvalidClientError("The Authorization header is not Basic", status_code=401) from None
    client = query_client(unquote_plus(client_id))
    return client if client is not None and client.check_client_secret(unquote_plus(secret)) else None


def wanted_audience(realm: Realm, grant: str) -> tuple[str, ...]:
    """Read `audience` and `resource` of the request; a refresh may only keep or narrow what it had."""
    wanted = tuple(dict.fromkeys([*request.form.getlist("audience"), *request.form.getlist("resource")]))
    allowed: tuple[str, ...] = AUDIENCES
    found = realm.tokens.find(request.form.get("refresh_token", ""), 0) if grant == "refresh_token" else None
    if found is not None:
        allowed = found.issued.audience
    if any(a not in allowed for a in wanted):
        raise InvalidTargetError("The audience is not known or was not granted")
    return wanted or (allowed if found is not None else (DEFAULT_AUDIENCE,))


class TokenMaker(BearerTokenGenerator):  # type: ignore[misc] # Authlib ships no types
    """Makes the answer of the token endpoint: a JWT access token (RFC 9068), a refresh token, an ID token for openid."""

    def __init__(self, realm: Realm) -> None:
        super().__init__(self.access_token, lambda **_: secrets.token_urlsafe(32), ACCESS_LIFETIME)
        self._realm = realm

    def generate(self, **asked: Any) -> dict[str, Any]:
        """Make the members of the answer; the ID token is bound to the access token."""
        if self._realm.switches.on("scope-reduced"):
            kept = [s for s in (asked.get("scope") or DEFAULT_SCOPE).split() if s != "orders:read"]
            asked["scope"] = " ".join(kept) or "profile"
        answer: dict[str, Any] = super().generate(**asked)
        user = asked.get("user")
        if user is not None and "openid" in answer["scope"].split():
            answer["id_token"] = self._id_token(user, asked["client"], answer["access_token"])
        return answer

    def __call__(self, **asked: Any) -> dict[str, Any]:
        """Make an answer (Authlib calls it so, by keywords)."""
        return self.generate(**asked)

    def access_token(self, client: Client, grant_type: str, user: User | None, scope: str) -> str:
        """Make an access token, good or with the fault that is on."""
        now, on = self._realm.clock.now(), self._realm.switches.on
        if on("opaque-token"):
            return secrets.token_urlsafe(32)
        audience = wanted_audience(self._realm, grant_type)
        claims: Claims = {
            "iss": "https://other.example.com" if on("wrong-issuer") else self._realm.issuer,
            "sub": user.subject if user is not None else client.client_id,
            "aud": "another-api" if on("wrong-audience") else audience[0] if len(audience) == 1 else list(audience),
            "client_id": client.client_id,
            "scope": scope,
            "iat": now,
            "nbf": now,
            "exp": now - 60 if on("expired-on-issue") else now + ACCESS_LIFETIME,
        }
        if not on("missing-claim"):
            claims["jti"] = secrets.token_urlsafe(16)
        return self._sign(claims)

    def _sign(self, claims: Claims) -> str:
        keys, on, typ = self._realm.keys, self._realm.switches.on, "at+jwt"
        if on("alg-none"):
            return unsigned(claims, typ)
        if on("unknown-kid"):
            return keys.sign_with_unknown_kid(claims, typ)
        if on("wrong-signature"):
            return keys.sign_wrongly(claims, typ)
        return keys.sign(claims, typ)

    def _id_token(self, user: User, client: Client, access_token: str) -> str:
        now = self._realm.clock.now()
        half = hashlib.sha256(access_token.encode()).digest()[:16]
        claims: Claims = {
            "iss": self._realm.issuer,
            "sub": user.subject,
            "aud": client.client_id,
            "iat": now,
            "exp": now + ACCESS_LIFETIME,
            "auth_time": now,
            "at_hash": base64.urlsafe_b64encode(half).rstrip(b"=").decode(),
        }
        if nonce := request.form.get("nonce"):
            claims["nonce"] = nonce
        return self._realm.keys.sign(claims, "JWT")


class PasswordGrant(ResourceOwnerPasswordCredentialsGrant):  # type: ignore[misc] # Authlib ships no types
    """Resource owner password credentials (RFC 6749, section 4.3): no browser needed, so it suits a demonstration."""

    TOKEN_ENDPOINT_AUTH_METHODS: ClassVar[list[str]] = list(CLIENT_AUTH)

    def authenticate_user(self, username: str, password: str) -> User:
        """Check the user; InvalidGrantError, as RFC 6749 section 5.2 has it, where Authlib would say invalid_request."""
        if not self.server.realm.accounts.match(username, password):
            raise InvalidGrantError("The user name or the password is wrong")
        return User(self.server.realm.accounts.subject)


class ClientGrant(ClientCredentialsGrant):  # type: ignore[misc] # Authlib ships no types
    """Client credentials (RFC 6749, section 4.4)."""

    TOKEN_ENDPOINT_AUTH_METHODS: ClassVar[list[str]] = list(_CONFIDENTIAL)


class RefreshGrant(RefreshTokenGrant):  # type: ignore[misc] # Authlib ships no types
    """Refresh with rotation: each refresh token serves once, a second use ends the whole family (RFC 9700)."""

    TOKEN_ENDPOINT_AUTH_METHODS: ClassVar[list[str]] = list(CLIENT_AUTH)
    INCLUDE_NEW_REFRESH_TOKEN = True

    def authenticate_refresh_token(self, text: str) -> Issued | None:
        """Take the refresh token for use."""
        realm: Realm = self.server.realm
        if realm.switches.on("refresh-broken"):
            return None
        keep = realm.switches.on("refresh-not-rotated") or realm.switches.on("refresh-reuse-accepted")
        return realm.tokens.spend(text, self.request.client.client_id, realm.clock.now(), keep=keep)

    def authenticate_user(self, issued: Issued) -> User:
        """Give the user that the refresh token was issued for."""
        return User(issued.subject or "")

    def issue_token(self, user: User, issued: Issued) -> dict[str, Any]:
        """Issue the next pair; `refresh-not-rotated` gives the same refresh token again."""
        answer: dict[str, Any] = super().issue_token(user, issued)
        if self.server.realm.switches.on("refresh-not-rotated"):
            answer["refresh_token"] = issued.refresh
        return answer

    def revoke_old_credential(self, issued: Issued) -> None:
        """Do nothing: the token was spent when it was taken."""


class Introspection(IntrospectionEndpoint):  # type: ignore[misc] # Authlib ships no types
    """Token introspection (RFC 7662), for the token's own client and for the API."""

    CLIENT_AUTH_METHODS: ClassVar[list[str]] = list(_CONFIDENTIAL)

    def query_token(self, text: str, _hint: str | None) -> Found | None:
        """Look the token up whatever the hint says (RFC 7662, section 2.1)."""
        realm: Realm = self.server.realm
        return realm.tokens.find(text, realm.clock.now())

    def check_permission(self, token: Found, client: Client, _oauth: object) -> bool:
        """Let a client see its own tokens and the API see all."""
        return token.check_client(client) or client.client_id == self.server.realm.accounts.api_client_id

    def introspect_token(self, token: Found) -> dict[str, Any]:
        """Give the members of an active token."""
        issued, realm = token.issued, self.server.realm
        return {
            "active": True,
            "client_id": issued.client_id,
            "token_type": "refresh_token" if token.is_refresh else "Bearer",
            "scope": issued.scope,
            "sub": issued.subject or issued.client_id,
            "aud": issued.audience[0] if len(issued.audience) == 1 else list(issued.audience),
            "iss": realm.issuer,
            "iat": issued.issued_at,
            "exp": token.expires_at,
        }


class Revocation(RevocationEndpoint):  # type: ignore[misc] # Authlib ships no types
    """Token revocation (RFC 7009)."""

    CLIENT_AUTH_METHODS: ClassVar[list[str]] = list(CLIENT_AUTH)

    def query_token(self, text: str, _hint: str | None) -> Found | None:
        """Look the token up whatever the hint says (RFC 7009, section 2.1)."""
        realm: Realm = self.server.realm
        return realm.tokens.find(text, realm.clock.now())

    def revoke_token(self, token: Found, _oauth: object) -> None:
        """Revoke an access token alone, a refresh token with its whole family."""
        realm: Realm = self.server.realm
        if realm.switches.on("revocation-ignored"):
            return
        if token.is_refresh:
            realm.tokens.revoke_family(token.issued.family)
        else:
            token.issued.access_revoked = True


class Server(AuthorizationServer):  # type: ignore[misc] # Authlib ships no types
    """Authlib's authorization server with this demo's clients and token store."""

    def __init__(self, app: Flask, realm: Realm) -> None:
        self.realm = realm
        self._clients = clients(realm)
        super().__init__(app, query_client=self._clients.get, save_token=self._save)

    def _save(self, answer: Mapping[str, Any], oauth: Any) -> None:
        grant = str(oauth.payload.grant_type)
        previous = getattr(oauth, "refresh_token", None)
        self.realm.tokens.add(
            Issued(
                client_id=oauth.client.client_id,
                scope=str(answer.get("scope", "")),
                audience=wanted_audience(self.realm, grant),
                subject=oauth.user.subject if oauth.user is not None else None,
                family=previous.family if isinstance(previous, Issued) else secrets.token_hex(8),
                issued_at=self.realm.clock.now(),
                access=str(answer["access_token"]),
                refresh=answer.get("refresh_token"),
            )
        )

    def handle_response(self, status: int, body: Any, headers: list[tuple[str, str]]) -> Response:
        """Add the realm that RFC 7617 wants in a Basic challenge and Authlib leaves out."""
        mended = [(n, v.replace("Basic ", 'Basic realm="demo", ', 1)) for n, v in headers]
        response: Response = super().handle_response(status, body, mended)
        return response


def authorization_server(app: Flask, realm: Realm) -> Server:
    """Put the authorization server together."""
    server = Server(app, realm)
    server.register_token_generator("default", TokenMaker(realm))
    server.register_client_auth_method("client_secret_basic", basic_client)
    for grant in (ClientGrant, PasswordGrant, RefreshGrant):
        server.register_grant(grant)
    server.register_endpoint(Introspection)
    server.register_endpoint(Revocation)
    return server
