"""The credential of a call: which one, where it goes in the request, and how to send the same request with another."""

from collections.abc import Iterator, Mapping
from dataclasses import field
from typing import Literal
from urllib.parse import quote, urlencode, urlsplit, urlunsplit

from otelprobe.dpop import SCHEME, Attempt, send_with_proof
from otelprobe.fields import SecretRef, header_faults, literal_secrets
from otelprobe.http import Reply
from otelprobe.quick import dataclass, quick
from otelprobe.reasons import CheckFailed, Reason
from otelprobe.signing import Signer
from otelprobe.step import Context, Cookie, Tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """An API key in exactly one of a header, a query parameter or a cookie of the given name."""

    header: str | None = None
    """Name of the header that carries the key."""

    query: str | None = None
    """Name of the query parameter that carries the key."""

    cookie: str | None = None
    """Name of the cookie that carries the key."""

    value: SecretRef
    """The key itself."""

    def faults(self) -> Iterator[tuple[str, str]]:
        """Say what does not fit together."""
        if sum(place is not None for place in (self.header, self.query, self.cookie)) != 1:
            yield "", "an api_key goes in exactly one of header, query or cookie"


@dataclass(frozen=True, slots=True, kw_only=True)
class Basic:
    """A user name and a password (RFC 7617)."""

    username: str
    """User name."""

    password: SecretRef
    """Password."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Auth:
    """Which credential to send: at most one of `bearer`, `dpop`, `api_key`, `basic`, `cookie` and `none`.

    Nothing set means: the latest token, or the session cookie where a log-in made that last. A token that is bound to a
    key (RFC 9449) goes with a proof.
    """

    bearer: str | None = None
    """Name of the step whose token to send."""

    dpop: str | None = None
    """Name of the step whose token to send with a proof (RFC 9449); it has to be bound to a key."""

    api_key: ApiKey | None = None
    """An API key in a header, a query parameter or a cookie."""

    basic: Basic | None = None
    """User name and password (RFC 7617)."""

    cookie: str | None = None
    """Name of the `login` step whose session cookie to send."""

    none: bool = False
    """Send no credential."""

    scheme: str | None = None
    """Word before the token in place of `Bearer`; an empty one sends the raw token."""

    def faults(self) -> Iterator[tuple[str, str]]:
        """Say what does not fit together."""
        chosen = [self.bearer, self.dpop, self.api_key, self.basic, self.cookie, self.none or None]
        if sum(c is not None for c in chosen) > 1:
            yield "", "auth takes one of bearer, dpop, api_key, basic, cookie and none"
        if self.scheme is not None and any(c is not None for c in chosen[2:]):
            yield "scheme", "scheme goes with a token only"

    @property
    def token_step(self) -> str | None:
        """Name of the step whose token is sent, where one is named."""
        return self.bearer or self.dpop

    def secrets(self) -> tuple[SecretRef, ...]:
        """Give the secrets that are read when this credential is sent."""
        if self.api_key is not None:
            return (self.api_key.value,)
        return (self.basic.password,) if self.basic is not None else ()


def request_faults(auth: Auth, use: str | None, headers: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Say what does not fit in a request that carries a credential: pairs of member and mend."""
    if auth.token_step is not None and use is not None:
        yield "use", "auth: {bearer: ...} and {dpop: ...} already say whose token to use"
    hidden = [n for n in headers if n.lower() in {"authorization", "cookie", "dpop", "proxy-authorization"}]
    if hidden:
        yield "headers", f"{hidden[0]} holds a secret: use auth instead, so that it never shows"
    for name in literal_secrets(headers):
        mend = "move it to http: {headers: ...} as {env: NAME} or {file: PATH}"
        yield "headers", f"{name} holds a secret: {mend}"
    yield from header_faults(headers)


Kind = Literal["token", "cookie", "api_key", "basic", "none"]


@quick
@dataclass(frozen=True, slots=True)
class Credential:
    """A credential at hand: what kind it is, the headers and query it adds, and the key that a proof is signed with."""

    kind: Kind
    value: str = field(default="", repr=False)
    scheme: str = "Bearer"
    place: str = "Authorization"
    in_query: bool = False
    proof_key: Signer | None = field(default=None, repr=False)

    def headers(self) -> dict[str, str]:
        """Give the headers that carry it."""
        if self.kind == "none" or self.in_query:
            return {}
        if self.kind == "token":
            return {self.place: f"{self.scheme} {self.value}".strip()}
        return {self.place: self.value}

    def url(self, url: str) -> str:
        """Give the URL that carries it."""
        if not self.in_query:
            return url
        parts = urlsplit(url)
        query = "&".join(filter(None, (parts.query, urlencode({self.place: self.value}))))
        return urlunsplit(parts._replace(query=query))

    @property
    def header_names(self) -> frozenset[str]:
        """Name the headers that may not leave the origin."""
        return frozenset({"authorization", "cookie", "dpop", self.place.lower()})

    def with_token(self, token: str | None) -> "Credential":
        """Give the same place with another token in it, or with none at all."""
        if token is None:
            return Credential("none")
        return Credential("token", token, self.scheme, self.place, proof_key=self.proof_key)


def choose(ctx: Context, auth: Auth, use: str | None) -> Credential:
    """Give the credential that `auth` asks for; secrets are read now. CheckFailed(secret_missing) if one cannot be."""
    if auth.none:
        return Credential("none")
    if auth.api_key is not None:
        return _api_key(auth.api_key)
    if auth.basic is not None:
        return Credential("basic", _basic(auth.basic.username, auth.basic.password.read()))
    if auth.cookie is not None:
        return _cookie(ctx.need(Cookie, auth.cookie))
    return _made_earlier(ctx, auth, auth.token_step or use)


_PARTS: Mapping[Kind, str] = {"token": "access_token", "cookie": "session_cookie", "api_key": "api_key"}


def present(ctx: Context, credential: Credential) -> None:
    """Note for the audit trail which credential is sent. A password is not: a hash of it could be guessed back."""
    if credential.kind in _PARTS:
        ctx.present(credential.value, _PARTS[credential.kind])
    elif credential.kind == "basic":
        ctx.present("", "password")


def of_tokens(tokens: Tokens, auth: Auth) -> Credential:
    """Give the credential of a token: with a proof where it is bound to a key, unless the flow file sets another scheme."""
    bound = tokens.proof_key is not None and (tokens.token_type or "").lower() == "dpop"
    if auth.dpop is not None and not bound:
        raise CheckFailed(
            Reason.CONFIG_ERROR, f"the token of {auth.dpop} is bound to no key: set dpop: {{}} on its provider"
        )
    scheme = auth.scheme if auth.scheme is not None else (SCHEME if bound else "Bearer")
    key = tokens.proof_key if bound and scheme.lower() == "dpop" else None
    return Credential("token", tokens.access, scheme, proof_key=key)


def send_credential(ctx: Context, credential: Credential, method: str, url: str, attempt: Attempt) -> Reply:
    """Send a request with a credential; a token that is bound to a key goes with a proof, and once more for a new nonce."""
    if credential.proof_key is None:
        return attempt({}, 0)
    return send_with_proof(ctx, credential.proof_key, method, url, attempt, token=credential.value)


def _made_earlier(ctx: Context, auth: Auth, use: str | None) -> Credential:
    for made in reversed(ctx.made):
        if use is not None and made.step != use:
            continue
        if isinstance(made.artifact, Tokens):
            return of_tokens(made.artifact, auth)
        if isinstance(made.artifact, Cookie) and auth.token_step is None:
            return _cookie(made.artifact)
    return Credential("none")


def _cookie(cookie: Cookie) -> Credential:
    return Credential("cookie", f"{cookie.name}={cookie.value}", place="Cookie")


def _api_key(key: ApiKey) -> Credential:
    value = key.value.read()
    if key.query is not None:
        return Credential("api_key", value, place=key.query, in_query=True)
    if key.cookie is not None:
        return Credential("api_key", f"{key.cookie}={quote(value, safe='')}", place="Cookie")
    return Credential("api_key", value, place=key.header or "")


def _basic(username: str, password: str) -> str:
    from base64 import b64encode  # noqa: PLC0415 - only this scheme needs it

    return f"Basic {b64encode(f'{username}:{password}'.encode()).decode()}"
