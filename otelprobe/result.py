"""What happened, as frozen facts that may be published: no bodies, no secrets, no exceptions (a leaf room)."""

from collections.abc import Mapping
from dataclasses import field
from enum import StrEnum
from types import MappingProxyType

from otelprobe.quick import dataclass, quick
from otelprobe.reasons import Blame, Counts, Layer, Outcome, Reason

FactValue = bool | int | float | str | tuple[str, ...]
"""What a fact may be: publishable scalars, or a list of names."""

_NOTHING: Mapping[str, FactValue] = MappingProxyType({})


class Fact(StrEnum):
    """Every fact a step may report; the value is its name in JSON and, behind `otelprobe.`, on the step's span."""

    ISSUANCE_GRANT = "issuance.grant"
    ISSUANCE_CLIENT_AUTH = "issuance.client_auth"
    ISSUANCE_SOURCE = "issuance.source"
    ISSUANCE_EXPIRES_IN = "issuance.expires_in"
    ISSUANCE_SCOPE_MATCH = "issuance.scope_match"
    ISSUANCE_OAUTH_ERROR = "issuance.oauth_error"
    LOGIN_FORMS = "login.forms"
    COOKIE_SECURE = "cookie.secure"
    COOKIE_HTTP_ONLY = "cookie.http_only"
    COOKIE_SAME_SITE = "cookie.same_site"
    COOKIE_EXPIRES_IN = "cookie.expires_in"
    REFRESH_ROTATED = "refresh.rotated"
    INTROSPECTION_ACTIVE = "introspection.active"
    JWT_ALG = "jwt.alg"
    JWT_KID_FOUND = "jwt.kid_found"
    JWT_AGE = "jwt.age"
    JWT_REMAINING = "jwt.remaining"
    JWT_LIFETIME = "jwt.lifetime"
    JWT_SIGNATURE_VALID = "jwt.signature_valid"
    JWT_ISSUER_MATCH = "jwt.issuer_match"
    JWT_AUDIENCE_MATCH = "jwt.audience_match"
    JWT_MISSING_CLAIMS = "jwt.missing_claims"
    JWT_FORMAT = "jwt.format"
    JWT_PROBLEMS = "jwt.problems"
    JWKS_KEY_COUNT = "jwks.key_count"
    JWKS_CHANGE = "jwks.change"
    CLOCK_SKEW = "clock.skew"
    CONTROL_NO_CREDENTIAL = "control.no_credential.status"
    CONTROL_FORGED = "control.forged.status"
    REJECTION_CASES = "rejection.cases"
    REJECTION_ACCEPTED = "rejection.accepted"
    REJECTION_FETCHED = "rejection.fetched"
    REJECTION_BURST = "rejection.burst"
    REJECTION_LIMITED = "rejection.limited"
    REJECTION_LEEWAY = "rejection.leeway"
    REJECTION_UNIFORM = "rejection.uniform"
    REVOCATION_DELAY = "revocation.delay"
    CERTIFICATE_COUNT = "certificate.count"
    CERTIFICATE_TRUSTED = "certificate.trusted"
    CERTIFICATE_NAME_MATCH = "certificate.name_match"
    CERTIFICATE_REMAINING = "certificate.remaining"
    CERTIFICATE_SUBJECTS = "certificate.subjects"
    CERTIFICATE_ISSUERS = "certificate.issuers"
    CERTIFICATE_NOT_AFTER = "certificate.not_after"
    CERTIFICATE_SHA256 = "certificate.sha256"
    CREDENTIAL_REMAINING = "credential.remaining"
    JWKS_KEY_AGE = "jwks.key_age"
    JWKS_CACHE_TIME = "jwks.cache_time"
    RETAINED_COUNT = "retained.count"
    RETAINED_AGE = "retained.age"
    RETAINED_SESSIONS = "retained.sessions"
    POSTURE_FINDINGS = "posture.findings"
    POSTURE_RULES = "posture.rules"
    SAML_METADATA_SIGNED = "saml.metadata.signed"
    SAML_METADATA_REMAINING = "saml.metadata.remaining"
    SAML_SIGNING_CERTIFICATES = "saml.certificates.signing"
    SAML_ENCRYPTION_CERTIFICATES = "saml.certificates.encryption"
    SAML_BINDING = "saml.binding"
    SAML_STATUS = "saml.status"
    SAML_SIGNED = "saml.signed"
    SAML_ALGORITHM = "saml.algorithm"
    SAML_ENCRYPTED = "saml.encrypted"
    SAML_REMAINING = "saml.remaining"
    SAML_MISSING_ATTRIBUTES = "saml.missing_attributes"


@quick
@dataclass(frozen=True, slots=True)
class Phases:
    """Seconds spent in each phase of one HTTP attempt; `None` where the phase did not take place."""

    dns: float | None = None
    connect: float | None = None
    tls: float | None = None
    ttfb: float | None = None
    transfer: float | None = None


@dataclass(frozen=True, slots=True)
class TlsFacts:
    """What the TLS handshake showed. Times are Unix seconds; `protocol` as in `tls.protocol.version` ("1.3")."""

    protocol: str
    cipher: str
    issuer: str | None = None
    subject: str | None = None
    not_before: float | None = None
    not_after: float | None = None


@quick
@dataclass(frozen=True, slots=True)
class Exchange:
    """One HTTP attempt on the wire.

    `url` is safe to publish: no user information, no fragment, every query value `REDACTED`, `${}` left unfilled.
    `start_ns` is Unix time in nanoseconds, `duration` and phases are seconds by the monotonic clock. `clock_skew` is the
    peer's `Date` minus our clock at the middle of the exchange, seconds (resolution 1 s). `control` marks the requests
    that only serve to tell who is to blame: they are not part of what the user's request would take. `handshake` marks
    one that was a TLS handshake and nothing else: its method is `TLS`, and it has no status.
    """

    method: str
    url: str
    host: str
    port: int
    span_id: int
    start_ns: int
    duration: float
    phases: Phases = Phases()
    status: int | None = None
    reason: Reason | None = None
    http_version: str | None = None
    peer_address: str | None = None
    peer_port: int | None = None
    request_size: int | None = None
    response_size: int | None = None
    resend_count: int = 0
    tls: TlsFacts | None = None
    clock_skew: float | None = None
    control: bool = False
    handshake: bool = False


@dataclass(frozen=True, slots=True)
class Warn:
    """Something that still works but should be looked at: a reason and prose."""

    reason: Reason
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Expiry:
    """Something that ends: `subject` from the closed list of the telemetry schema, times in seconds.

    `warn_before` and `critical_before` say how long before its end it is worth telling, where the flow file says so.
    """

    subject: str
    name: str
    remaining: float
    warn_before: float | None = None
    critical_before: float | None = None


@dataclass(frozen=True, slots=True)
class KeyChange:
    """A change in a provider's key set: `change` is added, removed, replaced or withdrawn_early."""

    change: str
    kid: str


class DriftSubject(StrEnum):
    """What is compared with a learned baseline."""

    DISCOVERY = "discovery"
    CLAIMS = "claims"
    ALGORITHMS = "algorithms"
    LIFETIMES = "lifetimes"
    SCOPES = "scopes"
    TLS_ISSUER = "tls_issuer"


@dataclass(frozen=True, slots=True)
class DriftChange:
    """A difference from the baseline that is new: `name` says of what (a member, a claim, a host), never a claim's value."""

    subject: DriftSubject
    name: str
    detail: str


class Severity(StrEnum):
    """How bad a posture finding is, from worth knowing to act now."""

    INFO = "info"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


@dataclass(frozen=True, slots=True)
class Finding:
    """A posture rule that was broken: `rule` is its id, `target` the host that it is about, `detail` prose.

    `waived` is why the flow file lets it be broken; None where it does not.
    """

    rule: str
    severity: Severity
    target: str
    detail: str
    waived: str | None = None


@dataclass(frozen=True, slots=True)
class CaseResult:
    """One bad credential that was offered: `accepted` is the finding.

    `fetched` says of one that names a URL of ours whether the server asked for it; None: it names none.
    """

    case: str
    accepted: bool
    status: int | None
    fetched: bool | None = None


class AuditEvent(StrEnum):
    """What the audit trail tells of a credential; each is an event `otelprobe.audit.<word>`."""

    ISSUED = "issued"
    VALIDATED = "validated"
    REFRESHED = "refreshed"
    INTROSPECTED = "introspected"
    REVOKED = "revoked"
    REJECTED = "rejected"


_NO_CLAIMS: Mapping[str, str] = MappingProxyType({})


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFact:
    """What became of one credential in a step.

    `passed` False: it should have gone otherwise, and `reason` says how it went. `part` tells what it was (access_token,
    refresh_token, id_token, session_cookie, api_key, ...). `subject`, `ident` and `previous` are keyed hashes, None where
    no key is configured; `ident` is the same from issuance to revocation, `previous` that of what it was obtained with.
    `route` is a path without query and without values that were filled in. `claims` are those that the operator listed.
    `held_back` counts the events of this flow and kind that a rate limit held back before this one.
    """

    event: AuditEvent
    passed: bool
    part: str | None = None
    subject: str | None = None
    ident: str | None = None
    previous: str | None = None
    reason: Reason | None = None
    method: str | None = None
    route: str | None = None
    status: int | None = None
    cases: tuple[str, ...] = ()
    claims: Mapping[str, str] = field(default_factory=lambda: _NO_CLAIMS)
    held_back: int = 0


_WORST_FIRST = ("degraded", "unknown", "operational")


@dataclass(frozen=True, slots=True)
class ProviderStatus:
    """What a provider's own status page says: `state` is operational, degraded or unknown, `detail` the page's words."""

    state: str
    detail: str = ""
    component: str | None = None


@quick
@dataclass(frozen=True, slots=True)
class StepResult:
    """What one planned step came to; every planned step has one on every run, skipped ones included.

    `duration` is seconds by the monotonic clock, less the time of control exchanges. `problems` lists every reason found
    (the first is `reason`), for checks that report all faults at once. `counted` False: the step asks what no user would
    (a bad credential), so its time is part of neither the auth nor the API latency.
    """

    step: str
    kind: str
    layer: Layer
    index: int
    outcome: Outcome
    span_id: int
    start_ns: int
    end_ns: int
    duration: float
    reason: Reason | None = None
    blame: Blame | None = None
    counts: Counts | None = None
    detail: str | None = None
    problems: tuple[Reason, ...] = ()
    warnings: tuple[Warn, ...] = ()
    exchanges: tuple[Exchange, ...] = ()
    facts: Mapping[str, FactValue] = field(default_factory=lambda: _NOTHING)
    expiries: tuple[Expiry, ...] = ()
    key_changes: tuple[KeyChange, ...] = ()
    cases: tuple[CaseResult, ...] = ()
    counted: bool = True
    provider_status: ProviderStatus | None = None
    drift: tuple[DriftChange, ...] = ()
    findings: tuple[Finding, ...] = ()
    audit: tuple[AuditFact, ...] = ()


@quick
@dataclass(frozen=True, slots=True)
class FlowResult:
    """What one run of a flow came to. Ids are integers of 128 (trace) and 64 bits (span), as OpenTelemetry has them."""

    flow: str
    provider: str | None
    labels: Mapping[str, str]
    location: str | None
    run_id: str
    outcome: Outcome
    trace_id: int
    span_id: int
    start_ns: int
    end_ns: int
    duration: float
    steps: tuple[StepResult, ...]
    reason: Reason | None = None
    blame: Blame | None = None
    counts: Counts | None = None
    failed_step: str | None = None
    detail: str | None = None
    parent_span_id: int | None = None

    @property
    def passed(self) -> bool:
        """Tell whether every step passed."""
        return self.outcome is Outcome.PASS

    @property
    def auth_duration(self) -> float:
        """Seconds spent in steps of the auth layer."""
        return sum(s.duration for s in self.steps if s.layer is Layer.AUTH and s.counted)

    @property
    def api_duration(self) -> float:
        """Seconds spent in steps of the API layer."""
        return sum(s.duration for s in self.steps if s.layer is Layer.API and s.counted)

    @property
    def warnings(self) -> tuple[Warn, ...]:
        """Every step's warnings, in order."""
        return tuple(w for s in self.steps for w in s.warnings)

    @property
    def provider_status(self) -> ProviderStatus | None:
        """What status pages say: the worst of them where a flow reads several; None where it reads none."""
        told = [s.provider_status for s in self.steps if s.provider_status is not None]
        return min(told, key=lambda one: _WORST_FIRST.index(one.state), default=None)


@dataclass(frozen=True, slots=True)
class StepFacts:
    """What is known of a step before it runs: enough to create its metric series at zero."""

    name: str
    kind: str
    layer: Layer
    reasons: frozenset[Reason] = frozenset()


@dataclass(frozen=True, slots=True)
class FlowFacts:
    """What is known of a flow before it runs: names, labels, steps, and its objectives and thresholds as numbers.

    `objectives` maps a name (availability as a ratio, auth_latency, api_latency, interval in seconds, ...) to its value.
    `drift` says that it is compared with a learned baseline.
    """

    flow: str
    provider: str | None
    labels: Mapping[str, str]
    location: str | None
    steps: tuple[StepFacts, ...]
    objectives: Mapping[str, float]
    interval: float | None = None
    drift: bool = False
