"""Log in at an application's own endpoint: JSON or form in, a token or a session cookie out."""

from collections.abc import Iterator, Mapping
from dataclasses import field
from typing import ClassVar, Literal

from otelprobe.cookie import SetCookie, find_cookie
from otelprobe.fields import JsonPath, SecretRef, Url, find_json, header_faults, literal_secrets
from otelprobe.http import Reply
from otelprobe.oauth import refuse_failures, sendable
from otelprobe.provider import Provider
from otelprobe.quick import dataclass
from otelprobe.reasons import CheckFailed, Layer, Reason
from otelprobe.secret_tree import SecretTree, as_form, body_faults, resolve, secrets_in
from otelprobe.step import Artifact, Context, Cookie, Done, Step, Tokens, filled
from otelprobe.template import fill, fill_all

_REFUSED = frozenset({400, 401, 403, 422})


@dataclass(frozen=True, kw_only=True)
class Login(Step):
    """Send credentials in the shape that the application wants, with field names of any depth."""

    kind: ClassVar[str] = "login"
    layer: ClassVar[Layer] = Layer.AUTH
    own_reasons: ClassVar[frozenset[Reason]] = frozenset(
        {Reason.LOGIN_REJECTED, Reason.TOKEN_MISSING, Reason.IDP_HTTP_5XX}
    )

    url: Url
    """Where the credentials are sent; `${name}` may stand in path and query."""

    method: Literal["POST", "PUT", "GET"] = "POST"
    """HTTP method."""

    json: SecretTree | None = None
    """Body as JSON; `{env: NAME}` and `{file: PATH}` at any depth are secrets."""

    form: SecretTree | None = None
    """Body as a form, with secrets as in `json`; at most one of the two."""

    headers: Mapping[str, str] = field(default_factory=dict)
    """Added to the request."""

    extract: JsonPath | None = None
    """Where the token is in the answer; default `$.access_token`."""

    cookie: str | None = None
    """Name of the session cookie that is set, instead of a token."""

    def made(self) -> tuple[type[Artifact], ...]:
        """Make a session cookie where one is named, else a token."""
        return (Cookie,) if self.cookie is not None else (Tokens,)

    def addresses(self, provider: Provider | None) -> tuple[str, ...]:
        """Give the URL that is asked."""
        _ = provider
        return (self.url,)

    def templates(self) -> tuple[object, ...]:
        """Give what `${name}` is filled in."""
        return (self.url, self.json, self.form, self.headers)

    def secrets(self) -> tuple[SecretRef, ...]:
        """Give the secrets that are read."""
        return (*secrets_in(self.json), *secrets_in(self.form))

    def faults(self) -> Iterator[tuple[str, str]]:
        """Say what does not fit together."""
        if self.json is not None and self.form is not None:
            yield "form", "a log-in has json or form, not both"
        yield from body_faults(self.json, self.form)
        for name in literal_secrets(self.headers):
            yield (
                "headers",
                f"{name} holds a secret: move it to http: {{headers: ...}} as {{env: NAME}} or {{file: PATH}}",
            )
        yield from header_faults(self.headers)
        if self.extract is not None and self.cookie is not None:
            yield "cookie", "a log-in gives a token (extract) or a cookie, not both"

    def run(self, ctx: Context) -> Done:
        """Log in; makes Tokens or Cookie."""
        reply = ctx.send(
            self.method,
            filled(ctx, self.url),
            headers={k: fill(v, ctx.captured) for k, v in self.headers.items()},
            json=self._content(ctx, self.json),
            form=as_form(self._content(ctx, self.form)),
            safe_url=self.url,
            redirects=self.follow,
        )
        # A log-in that ends in a session often answers with a redirect to the start page.
        if self.cookie is None or not 300 <= reply.status < 400:
            _refuse(reply, pages_may_come=self.cookie is not None)
        if self.cookie is None:
            return Done(makes=(self._token(ctx, reply),), reply=reply)
        session = _session(reply, self.cookie, ctx.now())
        return Done(makes=(Cookie(session.name, session.value),), facts=session.facts(), reply=reply)

    def _content(self, ctx: Context, tree: object) -> object:
        return None if tree is None else resolve(fill_all(tree, ctx.captured))

    def _token(self, ctx: Context, reply: Reply) -> Tokens:
        path = self.extract or "$.access_token"
        try:
            found = find_json(path, reply.json())
        except ValueError:
            raise CheckFailed(Reason.IDP_NOT_JSON, f"status {reply.status} without JSON") from None
        if not found or not isinstance(found[0], str) or not found[0]:
            raise CheckFailed(Reason.TOKEN_MISSING, f"no token at {path}")
        return Tokens(access=sendable(found[0]), obtained_at=ctx.now())


def _session(reply: Reply, name: str, now: float) -> SetCookie:
    found = find_cookie(reply, name, now)
    if found is None:
        raise CheckFailed(Reason.TOKEN_MISSING, f"no cookie named {name} was set")
    return found


def _refuse(reply: Reply, *, pages_may_come: bool) -> None:
    try:
        refuse_failures(reply)
    except CheckFailed as failed:
        if not (pages_may_come and failed.reason is Reason.IDP_NOT_JSON):
            raise
    if reply.status in _REFUSED:
        raise CheckFailed(Reason.LOGIN_REJECTED, f"status {reply.status}")
    if reply.status >= 400:
        raise CheckFailed(Reason.IDP_HTTP_4XX, f"status {reply.status}")
