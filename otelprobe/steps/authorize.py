"""Log in at the authorization endpoint without a browser (RFC 6749, section 4.1): PKCE, state, nonce, iss, optionally PAR."""

from base64 import urlsafe_b64encode
from collections.abc import Iterator, Mapping
from dataclasses import field
from hashlib import sha256
from secrets import token_urlsafe
from typing import ClassVar, Literal
from urllib.parse import urlencode, urlsplit, urlunsplit

from otelprobe.expect import Expect
from otelprobe.fields import DurationOrZero
from otelprobe.forms import Arrival, BrowsableStep, Goal
from otelprobe.oauth import post, raise_oauth_error, read_object, spend_budget
from otelprobe.provider import Provider
from otelprobe.quick import dataclass
from otelprobe.reasons import Blame, CheckFailed, Counts, Layer, Reason
from otelprobe.result import Fact, FactValue
from otelprobe.step import Artifact, AuthorizationCode, Context, Done, ProviderMetadata, StepFailed, needs_endpoint
from otelprobe.tokens import shown

_RESERVED = frozenset(
    {
        *("response_type", "client_id", "redirect_uri", "scope", "state", "nonce", "code_challenge", "request_uri"),
        *("code_challenge_method", "response_mode", "prompt", "max_age", "acr_values", "audience", "resource"),
        *("client_secret", "client_assertion"),
    }
)
_Form = dict[str, str | tuple[str, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizeExpect(Expect):
    """What to expect of an authorization besides the common words."""

    error: str | None = None
    """The OAuth error that must come back in place of a code: `login_required` with `prompt: none` proves at little cost
    that endpoint, client and redirect URI are fine.
    """


@dataclass(frozen=True, slots=True)
class _Asked:
    """What went out with the request, for the answer to be compared with."""

    form: Mapping[str, str | tuple[str, ...]] = field(repr=False)
    state: str = field(repr=False)
    nonce: str | None = field(repr=False)
    verifier: str | None = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Authorize(BrowsableStep):
    """Obtain an authorization code; forms are filled in on the way, consent included."""

    kind: ClassVar[str] = "authorize"
    layer: ClassVar[Layer] = Layer.AUTH
    makes: ClassVar[tuple[type[Artifact], ...]] = (AuthorizationCode,)
    uses_provider: ClassVar[bool] = True
    own_reasons: ClassVar[frozenset[Reason]] = frozenset(
        {
            *(Reason.LOGIN_FORM_NOT_FOUND, Reason.LOGIN_REJECTED, Reason.MFA_CHALLENGE, Reason.BOT_CHALLENGE),
            *(Reason.STATE_MISMATCH, Reason.ISSUER_PARAM_MISMATCH, Reason.CODE_MISSING, Reason.LOGIN_REQUIRED),
            *(Reason.ACCESS_DENIED, Reason.CONSENT_REQUIRED, Reason.INVALID_REQUEST, Reason.IDP_HTTP_5XX),
            *(Reason.REDIRECT_LOOP, Reason.REDIRECT_UNEXPECTED, Reason.WAF_BLOCKED, Reason.JAVASCRIPT_REQUIRED),
        }
    )

    redirect_uri: str
    """Where the code is sent, exactly as registered for the client; it is never asked, so nothing need listen there."""

    scope: str = "openid"
    """Scopes asked for, with spaces between."""

    pkce: Literal["S256", "none"] = "S256"
    """`S256` protects the code (RFC 7636); `none` only for a provider that cannot."""

    par: bool = False
    """`true` sends the parameters to the provider first, with the client's authentication (RFC 9126)."""

    response_mode: Literal["query", "fragment", "form_post"] | None = None
    """How the answer comes back; default: as the provider does by itself, which is `query`."""

    prompt: str | None = None
    """Sent as `prompt`: `none`, `login`, `consent`, `select_account`."""

    max_age: DurationOrZero | None = None
    """Longest time since the user logged in; `id_token` then checks `auth_time`."""

    acr_values: str | None = None
    """Classes of authentication asked for, with spaces between."""

    audience: str | None = None
    """Sent as `audience`."""

    resource: tuple[str, ...] = ()
    """Sent as `resource`, once for each (RFC 8707)."""

    params: Mapping[str, str] = field(default_factory=dict)
    """Anything else to send."""

    expect: AuthorizeExpect = field(default_factory=AuthorizeExpect)

    def required(self, provider: Provider | None) -> tuple[type[Artifact], ...]:
        """Need the authorization endpoint, and that for pushed requests where one is pushed."""
        pushed = needs_endpoint(provider, "pushed_authorization_request") if self.par else ()
        return tuple(dict.fromkeys((*needs_endpoint(provider, "authorization"), *pushed)))

    def made(self) -> tuple[type[Artifact], ...]:
        """Make a code, unless an error is what is expected."""
        return () if self.expect.error is not None else self.makes

    def faults(self) -> Iterator[tuple[str, str]]:
        """Say what does not fit together."""
        yield from super().faults()
        if not _is_redirect_uri(self.redirect_uri):
            yield "redirect_uri", "not an absolute URI without a fragment: write it as it is registered"
        if self.capture:
            yield "capture", "authorize has no JSON to capture from: capture in another step"
        reserved = sorted(set(self.params) & _RESERVED)
        if reserved:
            yield "params", f"{', '.join(reserved)} cannot be set in params: leave them to the members of their own"

    def run(self, ctx: Context) -> Done:
        """Log in; makes AuthorizationCode."""
        asked = self._asked(ctx)
        walk = self.pages(ctx, Goal(url=self.redirect_uri))
        facts: dict[str, FactValue] = {}
        try:
            arrival = walk.run(self._url(ctx, asked))
            facts[Fact.LOGIN_FORMS] = walk.sent
            made = self._read(ctx, asked, arrival, facts)
        except CheckFailed as failed:
            learnt = failed.done.facts if isinstance(failed, StepFailed) else {}
            raise StepFailed(
                self._blamed(failed), Done(facts={**facts, Fact.LOGIN_FORMS: walk.sent, **learnt})
            ) from None
        return Done(makes=made, facts=facts, reply=arrival.reply)

    def _asked(self, ctx: Context) -> _Asked:
        client_id = ctx.identity_provider().client_id
        if client_id is None:
            raise CheckFailed(Reason.CONFIG_ERROR, "authorize needs client_id: add it to the provider")
        state = token_urlsafe(16)
        nonce = token_urlsafe(16) if "openid" in self.scope.split() else None
        verifier = token_urlsafe(32) if self.pkce == "S256" else None
        named: dict[str, str | tuple[str, ...] | None] = {
            "response_type": "code",
            "client_id": client_id,
            "redirect_uri": self.redirect_uri,
            "scope": self.scope or None,
            "state": state,
            "nonce": nonce,
            "response_mode": self.response_mode,
            "prompt": self.prompt,
            "max_age": None if self.max_age is None else str(int(self.max_age)),
            "acr_values": self.acr_values,
            "audience": self.audience,
            "resource": self.resource or None,
        }
        form: _Form = {name: value for name, value in named.items() if value is not None}
        if verifier is not None:
            form |= {"code_challenge": _challenge(verifier), "code_challenge_method": "S256"}
        return _Asked({**form, **self.params}, state, nonce, verifier)

    def _url(self, ctx: Context, asked: _Asked) -> str:
        """Give the URL that a browser would be sent to, its parameters pushed ahead if that is wanted."""
        form = asked.form
        if self.par:
            form = {"client_id": form["client_id"], "request_uri": self._pushed(ctx, form)}
        parts = urlsplit(ctx.endpoint("authorization"))
        query = "&".join(filter(None, (parts.query, urlencode(form, doseq=True))))
        return urlunsplit(parts._replace(query=query))

    def _pushed(self, ctx: Context, form: Mapping[str, str | tuple[str, ...]]) -> str:
        """Push the parameters; client_id goes with the client's authentication only if that does not name it itself."""
        rest = {name: value for name, value in form.items() if name != "client_id"}
        method = ctx.identity_provider().auth_method
        sent = form if method == "client_secret_basic" else rest
        spend_budget(ctx)
        document = read_object(post(ctx, ctx.endpoint("pushed_authorization_request"), sent))
        found = document.get("request_uri")
        if not isinstance(found, str) or not found:
            raise CheckFailed(Reason.CODE_MISSING, "the answer to the pushed request has no request_uri")
        return found

    def _read(self, ctx: Context, asked: _Asked, arrival: Arrival, facts: dict[str, FactValue]) -> tuple[Artifact, ...]:
        """Read the answer: issuer and state first, since an answer that is not for us says nothing, then error or code."""
        told = arrival.parameters
        error, wanted = told.get("error"), self.expect.error
        _check_issuer(ctx, told, refused=error is not None)
        if told.get("state") != asked.state and not (error is not None and "state" not in told):
            what = "another state than was sent" if "state" in told else "no state"
            raise CheckFailed(Reason.STATE_MISMATCH, f"the answer carries {what}")
        if wanted is not None and error == wanted:
            facts[Fact.ISSUANCE_OAUTH_ERROR] = wanted
            return ()
        if error is not None:
            raise_oauth_error(arrival.reply, told, grant_is_ours=True)
        if not told.get("code"):
            raise CheckFailed(Reason.CODE_MISSING, f"the answer carries {_names(told)} and no code")
        if wanted is not None:
            raise CheckFailed(Reason.ASSERTION_FAILED, f"a code came, expected error {wanted}")
        return (
            AuthorizationCode(
                told["code"], self.redirect_uri, asked.verifier, asked.nonce, self.max_age, self.scope or None
            ),
        )

    def _blamed(self, failed: CheckFailed) -> CheckFailed:
        """Blame the provider for a page where `prompt: none` allows none (OpenID Connect Core, section 3.1.2.1)."""
        pages = {Reason.LOGIN_REQUIRED, Reason.LOGIN_FORM_NOT_FOUND, Reason.JAVASCRIPT_REQUIRED}
        if self.prompt != "none" or failed.reason not in pages or isinstance(failed, StepFailed):
            return failed
        detail = f"prompt is none, and the provider shows a page all the same: {failed.detail}"
        return CheckFailed(failed.reason, detail, blame=Blame.PROVIDER, counts=Counts.AUTH)


def _challenge(verifier: str) -> str:
    return urlsafe_b64encode(sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def _is_redirect_uri(text: str) -> bool:
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        return False
    return bool(parts.scheme) and bool(parts.netloc or parts.path) and "#" not in text and text.isprintable()


def _check_issuer(ctx: Context, told: Mapping[str, str], *, refused: bool) -> None:
    """Compare `iss` (RFC 9207): where it is sent it must be right, where the provider says that it sends it, be there."""
    issuer, found = ctx.identity_provider().issuer, told.get("iss")
    metadata = ctx.find(ProviderMetadata)
    promised = metadata is not None and (
        metadata.document.get("authorization_response_iss_parameter_supported") is True
    )
    if found is not None and found != issuer:
        raise CheckFailed(Reason.ISSUER_PARAM_MISMATCH, f"iss of the answer is {shown(found)}, expected {issuer}")
    if found is None and promised and not refused:
        raise CheckFailed(Reason.ISSUER_PARAM_MISMATCH, "the answer has no iss, which the provider says that it sends")


def _names(told: Mapping[str, str]) -> str:
    return ", ".join(shown(name) for name in sorted(told)[:10]) or "no parameters"
