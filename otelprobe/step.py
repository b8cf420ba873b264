"""The contract that every kind of step fulfils: what it needs, what it makes, what it is given and what it gives back."""

import json as json_text
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from types import MappingProxyType
from typing import ClassVar, TypeVar
from urllib.parse import quote_plus, urlsplit

from otelprobe.clock import Clock
from otelprobe.expect import Expect
from otelprobe.fields import UNSAID, Duration, HttpOptions, JsonPath, SecretRef, find_json, is_loopback
from otelprobe.http import CREDENTIAL_HEADERS, Http, Redirects, Reply, Request, Wire
from otelprobe.provider import Provider
from otelprobe.quick import dataclass, quick
from otelprobe.reasons import CheckFailed, Layer, Reason
from otelprobe.result import CaseResult, Exchange, Expiry, FactValue, Finding, KeyChange, ProviderStatus, Warn
from otelprobe.signing import Signer
from otelprobe.state import Memory, State
from otelprobe.template import fill
from otelprobe.tokens import Jwt, Key, parse

_UNCHANGED = re.compile(r"[A-Za-z0-9_.~-]*")
"""What a form writes as it is: nearly every name, and most values."""


def form_text(text: str) -> str:
    """Write a text as a form does (application/x-www-form-urlencoded)."""
    return text if _UNCHANGED.fullmatch(text) else quote_plus(text)


def encode_form(form: Mapping[str, str] | Sequence[tuple[str, str]]) -> bytes:
    """Write the fields of a form as a body."""
    pairs = form.items() if isinstance(form, Mapping) else form
    return "&".join([f"{form_text(name)}={form_text(value)}" for name, value in pairs]).encode()


class Artifact:
    """A typed value that one step makes and a later one needs."""

    __slots__ = ()


A = TypeVar("A", bound=Artifact)


@dataclass(frozen=True, slots=True)
class ProviderMetadata(Artifact):
    """What a discovery document says (RFC 8414, OpenID Connect Discovery). `document` is the whole of it.

    `mutual_tls` has the endpoints for clients that show a certificate (RFC 8705, section 5).
    """

    issuer: str
    endpoints: Mapping[str, str]
    document: Mapping[str, object] = field(repr=False)
    mutual_tls: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class KeySet(Artifact):
    """The provider's published keys, where they came from, and the seconds that caches may keep them."""

    keys: tuple[Key, ...]
    url: str
    cache_time: float | None = None


@dataclass(frozen=True, slots=True)
class AuthorizationCode(Artifact):
    """What a log-in at the authorization endpoint gave, and what its exchange and the ID token have to fit.

    `verifier` is the secret of PKCE (RFC 7636); `nonce`, `max_age` (seconds) and `scope` are as they were asked for.
    """

    code: str = field(repr=False)
    redirect_uri: str
    verifier: str | None = field(default=None, repr=False)
    nonce: str | None = field(default=None, repr=False)
    max_age: float | None = None
    scope: str | None = None


@dataclass(frozen=True, slots=True)
class DeviceCode(Artifact):
    """What a device authorization endpoint gave (RFC 8628). `interval` is in seconds.

    `completed` says that somebody has logged in and agreed, as far as the pages told.
    """

    code: str = field(repr=False)
    interval: float
    completed: bool = False
    scope: str | None = None


@quick
@dataclass(frozen=True, slots=True)
class Tokens(Artifact):
    """What a token endpoint or a log-in issued.

    `obtained_at` is Unix time; `cached` says that it was not issued in this run, `for_resource` that it was asked for with
    an audience or resource of its own. `proof_key` is the key that it was asked to be bound to (RFC 9449). `issued_type`
    tells what kind of token `access` is where it is no access token (RFC 8693). `authorization` is the code that they were
    given for. `asked` is the form that it was asked for with, without the client's authentication, where the same may be
    asked again. `own_session` says that somebody logged in for them in this flow: the refresh token may be spent.
    """

    access: str = field(repr=False)
    refresh: str | None = field(default=None, repr=False)
    id_token: str | None = field(default=None, repr=False)
    token_type: str | None = None
    expires_in: float | None = None
    scope: str | None = None
    obtained_at: float = 0.0
    cached: bool = False
    for_resource: bool = False
    proof_key: Signer | None = field(default=None, repr=False)
    issued_type: str | None = None
    authorization: AuthorizationCode | None = field(default=None, repr=False)
    asked: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    own_session: bool = False


@dataclass(frozen=True, slots=True)
class Cookie(Artifact):
    """A session cookie that a log-in set."""

    name: str
    value: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class SamlMetadata(Artifact):
    """What a SAML identity provider publishes: where log-ins go, by binding (`redirect`, `post`), and who signs (DER)."""

    entity_id: str
    sso: Mapping[str, str]
    certificates: tuple[bytes, ...] = field(repr=False)


@quick
@dataclass(frozen=True, slots=True)
class Claims(Artifact):
    """The local verdict on an access token: it was verified and is good. `token` tells which one."""

    token: str = field(repr=False)
    claims: Mapping[str, object] = field(repr=False)


@quick
@dataclass(frozen=True, slots=True)
class Judgement:
    """What became of one credential of several: taken, or refused for a `reason`; `exchange` None: it was judged here."""

    reason: Reason | None = None
    exchange: Exchange | None = None


@quick
@dataclass(frozen=True, slots=True)
class Presented:
    """A credential that a step judges or shows to somebody; kept for the audit trail until the run has ended.

    `value` identifies it: the access token where `part` is one of several that were issued together. `subject` says whose
    it is where the value does not. `judged` is for a step that shows several: each then leaves an event of its own.
    """

    value: str = field(repr=False)
    part: str
    subject: str | None = field(default=None, repr=False)
    judged: Judgement | None = None


@dataclass(frozen=True, slots=True)
class Revoked(Artifact):
    """An access token that the provider was asked to revoke, or whose refresh token was, and when (Unix time)."""

    access: str = field(repr=False)
    at: float


_EMPTY: Mapping[str, FactValue] = MappingProxyType({})


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What a step that passed gives back. `reply` is the answer that `expect` and `capture` are read from."""

    makes: tuple[Artifact, ...] = ()
    facts: Mapping[str, FactValue] = field(default_factory=lambda: _EMPTY)
    warnings: tuple[Warn, ...] = ()
    reply: Reply | None = field(default=None, repr=False)
    expiries: tuple[Expiry, ...] = ()
    key_changes: tuple[KeyChange, ...] = ()
    cases: tuple[CaseResult, ...] = ()
    provider_status: ProviderStatus | None = None
    findings: tuple[Finding, ...] = ()


class StepFailed(CheckFailed):
    """A check that failed after the step had learnt something: the facts go into its row all the same."""

    def __init__(self, failed: CheckFailed, done: Done) -> None:
        super().__init__(
            failed.reason, failed.detail, blame=failed.blame, counts=failed.counts, problems=failed.problems
        )
        self.done = done


@quick
@dataclass(frozen=True, slots=True)
class Made:
    """An artifact with the name of the step that made it."""

    step: str
    artifact: Artifact


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What a step is given: the door, the clock, the memory, and what earlier steps made (in order)."""

    http: Http
    wire: Wire
    clock: Clock
    state: State
    memory: Memory
    options: HttpOptions
    deadline: float
    flow: str
    provider: Provider | None = None
    made: tuple[Made, ...] = ()
    captured: Mapping[str, str] = field(default_factory=dict, repr=False)
    parsed: dict[str, Jwt] = field(default_factory=dict, repr=False)
    presented: list[Presented] = field(default_factory=list, repr=False)

    def jwt(self, token: str) -> Jwt:
        """Parse a token, once in a run however many steps look into it; CheckFailed as `tokens.parse` has it."""
        found = self.parsed.get(token)
        if found is None:
            found = self.parsed[token] = parse(token)
        return found

    def present(self, value: str, part: str, *, subject: str | None = None, judged: Judgement | None = None) -> None:
        """Note for the audit trail which credential this step is about, before anything can fail over it."""
        self.presented.append(Presented(value, part, subject, judged))

    def now(self) -> float:
        """Give Unix time in seconds."""
        return self.clock.time_ns() / 1e9

    def find(self, kind: type[A], use: str | None = None) -> A | None:
        """Give the latest artifact of a kind, or the one that the step `use` made."""
        for made in reversed(self.made):
            if isinstance(made.artifact, kind) and (use is None or made.step == use):
                return made.artifact
        return None

    def need(self, kind: type[A], use: str | None = None) -> A:
        """Give an artifact that the plan has promised; a miss can only be our own fault."""
        found = self.find(kind, use)
        if found is None:
            raise LookupError(f"no {kind.__name__} was made")
        return found

    def identity_provider(self) -> Provider:
        """Give the flow's provider, which the plan has promised."""
        if self.provider is None:
            raise LookupError("the flow has no provider")
        return self.provider

    def endpoint(self, name: str, *, alias: bool = True) -> str:
        """Give a provider endpoint: from the flow file, else from the discovery document.

        `alias` False: also a client with a certificate is given the endpoint that others use.
        """
        provider = self.identity_provider()
        url = provider.endpoints.get(name)  # type: ignore[call-overload] # names are checked by ENDPOINTS
        metadata = self.find(ProviderMetadata)
        if url is None and metadata is not None:
            aliases = metadata.mutual_tls if alias and self.options.client_cert is not None else {}
            url = aliases.get(name) or metadata.endpoints.get(name)
        if url is None:
            member = "jwks_uri" if name == "jwks" else f"{name}_endpoint"
            raise CheckFailed(
                Reason.DISCOVERY_INVALID,
                f"the discovery document has no {member}; set endpoints: {{{name}: URL}} if the provider has one",
            )
        return str(url)

    def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        form: Mapping[str, str] | list[tuple[str, str]] | None = None,
        json: object = None,
        body: bytes | None = None,
        safe_url: str | None = None,
        redirects: Redirects = Redirects.NONE,
        control: bool = False,
        credential_headers: frozenset[str] | None = None,
        resent: int = 0,
        twice: frozenset[str] = frozenset(),
    ) -> Reply:
        """Send one request within the step's deadline; CheckFailed with a transport reason if no answer came."""
        content: dict[str, str] = {}
        if form is not None:
            body, content = encode_form(form), {"Content-Type": "application/x-www-form-urlencoded"}
        elif json is not None:
            body, content = json_text.dumps(json).encode(), {"Content-Type": "application/json"}
        self._refuse_plain(url)
        request = Request(
            method=method,
            url=url,
            options=self.options,
            deadline=self.deadline,
            headers={"Accept": "application/json", **content, **self._standing_headers(), **(headers or {})},
            body=body,
            safe_url=safe_url,
            redirects=redirects,
            control=control,
            credential_headers=(credential_headers or CREDENTIAL_HEADERS) | self._secret_headers(),
            resent=resent,
            twice=twice,
        )
        return self.http.send(request, self.wire)

    def _standing_headers(self) -> dict[str, str]:
        """Give the headers of the `http:` blocks; secrets among them are read now."""
        found = self.options.headers.items()
        return {name: value.read() if isinstance(value, SecretRef) else value for name, value in found}

    def _secret_headers(self) -> frozenset[str]:
        return frozenset(n.lower() for n, value in self.options.headers.items() if isinstance(value, SecretRef))

    def _refuse_plain(self, url: str) -> None:
        """Refuse plain http outside loopback, also where the URL came from a discovery document."""
        if url.startswith("https:") or self.options.insecure_http:
            return
        parts = urlsplit(url)
        if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
            raise CheckFailed(
                Reason.CONFIG_ERROR,
                f"plain http to {parts.hostname}: use https, or set http: {{insecure_http: true}}",
            )


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step of a flow, as written and checked.

    Class facts: `kind` (its word in the flow file), `layer` (whose part it exercises), `needs` and `makes` (kinds of
    artifact), `uses_provider`, `own_reasons` (the reasons it can end with besides transport ones, for series at zero).
    `default_redirects` as docs/flow-file.md lists. `counted` False keeps its time out of auth and API latency.
    `answers` False: it has no one answer that `expect` (but for `max_duration`) and `capture` could be read from.
    """

    kind: ClassVar[str]
    layer: ClassVar[Layer]
    needs: ClassVar[tuple[type[Artifact], ...]] = ()
    makes: ClassVar[tuple[type[Artifact], ...]] = ()
    uses_provider: ClassVar[bool] = False
    own_reasons: ClassVar[frozenset[Reason]] = frozenset()
    default_redirects: ClassVar[Redirects] = Redirects.NONE
    counted: ClassVar[bool] = True
    answers: ClassVar[bool] = True

    name: str = ""
    """Tells two steps of a kind apart; default: the kind."""

    timeout: Duration | None = None
    """Total for this step, cut to what is left of the flow's deadline; one request also by `http.timeout`."""

    always: bool = False
    """A clean-up: runs even when an earlier step failed, if what it needs was made; cannot improve the verdict."""

    use: str | None = None
    """Name of the earlier step whose result to use; default: the latest."""

    expect: Expect = field(default_factory=Expect)
    """What the answer has to be; a step may add members of its own."""

    http: HttpOptions = field(default_factory=lambda: UNSAID)
    """How to reach the host; what is not set comes from the provider's and the flow's `http`."""

    redirects: Redirects | None = None
    """Which redirects are followed, at most 3; the default depends on the kind of step."""

    capture: Mapping[str, JsonPath] = field(default_factory=dict)
    """Name to JSONPath of a value in the answer, for `${name}` in later steps."""

    def run(self, ctx: Context) -> Done:
        """Do the step; raise CheckFailed if what came is not what should come."""
        raise NotImplementedError  # pragma: no cover - every kind has its own

    def required(self, provider: Provider | None) -> tuple[type[Artifact], ...]:
        """Give the kinds of artifact that this step, as written, needs from earlier ones."""
        _ = provider
        return self.needs

    def made(self) -> tuple[type[Artifact], ...]:
        """Give the kinds of artifact that this step, as written, makes."""
        return self.makes

    def calls_provider(self) -> bool:
        """Tell whether this step, as written, sends requests to the flow's identity provider."""
        return self.uses_provider

    def beside(self, own_certificates: frozenset[str]) -> "Step":
        """Give the step as it runs beside the others; `own_certificates` are files that the prober shows to somebody."""
        _ = own_certificates
        return self

    def most_bytes(self) -> int | None:
        """Give the cap on its answers where no `http:` block sets one; None for the common one."""
        return None

    def warm_up(self) -> None:
        """Import what running this step needs besides the door, so that no measured step pays for it."""

    def addresses(self, provider: Provider | None) -> tuple[str, ...]:
        """Give the URLs that are known before the run, so that trust stores are loaded in time."""
        return (provider.issuer,) if provider is not None and self.calls_provider() else ()

    def references(self) -> tuple[tuple[tuple[str, ...], str], ...]:
        """Give the names of earlier steps that this one refers to, each with the member that holds it."""
        return ((("use",), self.use),) if self.use is not None else ()

    def templates(self) -> tuple[object, ...]:
        """Give the parameters in which `${name}` is filled, for the plan to check."""
        return ()

    def secrets(self) -> tuple[SecretRef, ...]:
        """Give the secrets that this step reads, for `plan` to name and `validate` to look for."""
        return ()

    def files(self) -> tuple[tuple[str, str], ...]:
        """Give the files besides secrets that this step reads, each with the member that names it."""
        return ()

    def notes(self) -> Iterator[str]:
        """Say what a reader of the plan should know of this step beyond its parameters."""
        yield from ()

    def faults(self) -> Iterator[tuple[str, str]]:
        """Say what does not fit together in this step: pairs of member and mend."""
        yield from ()

    def misfits(self, provider: Provider | None) -> Iterator[tuple[str, str]]:
        """Say what does not fit the flow's provider, by what its preset knows: pairs of member and mend."""
        _ = provider
        yield from ()

    @property
    def follow(self) -> Redirects:
        """The redirects in force."""
        return self.redirects or self.default_redirects


def needs_endpoint(provider: Provider | None, name: str) -> tuple[type[Artifact], ...]:
    """Give ProviderMetadata as a need unless the flow file names the endpoint."""
    return () if provider is not None and name in provider.endpoints else (ProviderMetadata,)


def capture_values(step: Step, reply: Reply) -> Mapping[str, str]:
    """Read what `capture` asks for; CheckFailed if a path finds nothing that can be put into a URL or a body."""
    if not step.capture:
        return {}
    try:
        document = reply.json()
    except ValueError:
        raise CheckFailed(Reason.ASSERTION_FAILED, "capture: the body is no JSON") from None
    values: dict[str, str] = {}
    for name, path in step.capture.items():
        found = find_json(path, document)
        if not found or isinstance(found[0], dict | list) or found[0] is None:
            raise CheckFailed(Reason.ASSERTION_FAILED, f"capture {name}: {path} selects no value")
        if isinstance(found[0], str) and not _is_text(found[0]):
            raise CheckFailed(Reason.ASSERTION_FAILED, f"capture {name}: {path} selects what cannot be sent as text")
        values[name] = str(found[0]).lower() if isinstance(found[0], bool) else str(found[0])
    return values


def _is_text(value: str) -> bool:
    """Tell whether a text can be encoded: JSON may hold half of a surrogate pair."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def filled(ctx: Context, text: str) -> str:
    """Fill a template with what earlier steps captured."""
    return fill(text, ctx.captured)
