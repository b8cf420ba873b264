"""Call the protected API with a credential, and tell whose fault it is when it does not answer as it should."""

import json as json_text
from collections.abc import Iterator, Mapping
from dataclasses import field
from typing import ClassVar, Literal
from urllib.parse import parse_qsl

from otelprobe.credentials import Auth, Credential, choose, present, request_faults, send_credential
from otelprobe.fields import SecretRef, Url
from otelprobe.http import Reply
from otelprobe.judge import Trial
from otelprobe.provider import Provider
from otelprobe.quick import dataclass
from otelprobe.reasons import Layer, Reason
from otelprobe.secret_tree import SecretTree, as_form, body_faults, literals_in, resolve, secrets_in
from otelprobe.step import Artifact, Context, Cookie, Done, Step, Tokens, filled
from otelprobe.template import fill, fill_all

Method = Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


@dataclass(frozen=True, kw_only=True)
class Call(Step):
    """Send one request. Without `expect.status` any 2xx is wanted."""

    kind: ClassVar[str] = "call"
    layer: ClassVar[Layer] = Layer.API
    own_reasons: ClassVar[frozenset[Reason]] = frozenset(
        {Reason.API_UNAVAILABLE, Reason.API_REJECTS_VALID_TOKEN, Reason.VALIDATOR_BROKEN, Reason.ASSERTION_FAILED}
    )

    url: Url
    """What is called; `${name}` may stand in path and query."""

    method: Method = "GET"
    """HTTP method."""

    headers: Mapping[str, str] = field(default_factory=dict)
    """Added to the request; no credentials."""

    json: SecretTree | None = None
    """Body as JSON, `{env: NAME}` and `{file: PATH}` at any depth are secrets; at most one of `json`, `form` and `body`."""

    form: SecretTree | None = None
    """Body as a form, with secrets as in `json`."""

    body: str | None = None
    """Body as text, without secrets."""

    auth: Auth = field(default_factory=Auth)
    """Credential to send; default: the latest token or session cookie."""

    unauthorized_status: tuple[int, ...] = (401,)
    """What this API answers where 401 is meant."""

    def required(self, provider: Provider | None) -> tuple[type[Artifact], ...]:
        """Need what the credential is made from, where a step is named for it."""
        _ = provider
        if self.auth.token_step is not None:
            return (Tokens,)
        return (Cookie,) if self.auth.cookie is not None else ()

    def references(self) -> tuple[tuple[tuple[str, ...], str], ...]:
        """Name the steps that the credential comes from, besides `use`."""
        auth = self.auth
        named = ((("auth", "bearer"), auth.bearer), (("auth", "dpop"), auth.dpop), (("auth", "cookie"), auth.cookie))
        return (*super().references(), *((member, name) for member, name in named if name is not None))

    def addresses(self, provider: Provider | None) -> tuple[str, ...]:
        """Give the URL that is asked."""
        _ = provider
        return (self.url,)

    def templates(self) -> tuple[object, ...]:
        """Give what `${name}` is filled in."""
        return (self.url, self.headers, self.json, self.form, self.body)

    def secrets(self) -> tuple[SecretRef, ...]:
        """Give the secrets that are read."""
        return (*self.auth.secrets(), *secrets_in(self.json), *secrets_in(self.form))

    def faults(self) -> Iterator[tuple[str, str]]:
        """Say what does not fit together."""
        if sum(part is not None for part in (self.json, self.form, self.body)) > 1:
            yield "body", "a call has at most one of json, form and body"
        yield from body_faults(self.json, self.form)
        for name in _literals_of_text(self.body or ""):
            yield (
                "body",
                f"{name}: a literal secret is refused: use json or form, with {{env: NAME}} or {{file: PATH}} in it",
            )
        yield from request_faults(self.auth, self.use, self.headers)

    def run(self, ctx: Context) -> Done:
        """Call, judge and check."""
        credential = choose(ctx, self.auth, self.use)
        present(ctx, credential)
        wanted = self.expect.status or ("2xx",)

        def send(credential: Credential, *, control: bool) -> Reply:
            return self._send(ctx, credential, control=control)

        reply = Trial(ctx, credential, send, self.unauthorized_status, wanted).run()
        return Done(reply=reply)

    def _send(self, ctx: Context, credential: Credential, *, control: bool) -> Reply:
        url = credential.url(filled(ctx, self.url))

        def attempt(more: Mapping[str, str], resent: int) -> Reply:
            own = {k: fill(v, ctx.captured) for k, v in self.headers.items()}
            return ctx.send(
                self.method,
                url,
                headers={**own, **credential.headers(), **more},
                json=resolve(fill_all(self.json, ctx.captured)),
                form=as_form(resolve(fill_all(self.form, ctx.captured))),
                body=None if self.body is None else filled(ctx, self.body).encode(),
                safe_url=self.url,
                redirects=self.follow,
                control=control,
                credential_headers=credential.header_names,
                resent=resent,
            )

        return send_credential(ctx, credential, self.method, url, attempt)


def _literals_of_text(body: str) -> Iterator[str]:
    """Give the names of secrets that are written out in a body that is JSON or a form."""
    try:
        tree: object = json_text.loads(body)
    except (ValueError, RecursionError):
        tree = {} if any(c.isspace() for c in body) else dict(parse_qsl(body))
    return literals_in(tree)
