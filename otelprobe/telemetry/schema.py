"""Every span, metric, attribute and event that otelprobe sends: name, unit, allowed values and meaning.

A name is spelled here and nowhere else. docs/telemetry.md is rendered from this table, and dashboards, alert rules and
collector files are checked against it. The word "token" stays out of attribute keys, because common scrubbers mask the
values of such keys. A 0/1 gauge has the unit of the thing it counts: unit `1` would become `_ratio` in Prometheus.
"""

import re
from enum import StrEnum

from otelprobe.quick import dataclass
from otelprobe.reasons import Blame, Counts, Layer, Outcome, Reason
from otelprobe.result import AuditEvent, DriftSubject, Fact, Severity

SCOPE = "otelprobe"
SCHEMA_URL = "https://opentelemetry.io/schemas/1.44.0"
LABEL_PREFIX = "otelprobe.label."
"""A label `team` of the flow file becomes the attribute `otelprobe.label.team`."""

FACT_PREFIX = "otelprobe."
"""A fact of a step (result.Fact) becomes a span attribute of its name behind this prefix."""

SYNTHETIC_TYPE = "test"


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute key. `values` is its closed list, empty where the flow file or the target decides."""

    name: str
    description: str
    values: tuple[str, ...] = ()


def _closed(words: type[StrEnum]) -> tuple[str, ...]:
    return tuple(str(w) for w in words)


FLOW = Attribute("otelprobe.flow.name", "The flow's name in the flow file.")
RUN_ID = Attribute("otelprobe.flow.run.id", "One run of a flow; spans and events only.")
FLOW_OUTCOME = Attribute("otelprobe.flow.outcome", "How the run ended.", _closed(Outcome))
BLAME = Attribute("otelprobe.flow.blame", "Who has to look; absent on a pass.", _closed(Blame))
COUNTS = Attribute("otelprobe.flow.counts", "Which availability objective a failure spends.", _closed(Counts))
FAILED_STEP = Attribute("otelprobe.flow.failed_step", "The step that owns the failure.")
PROVIDER = Attribute("otelprobe.provider", "The identity provider's name in the flow file.")
MODE = Attribute(
    "otelprobe.mode",
    "Whether this process runs once or goes on; a gateway derives counters from the spans of one_shot ones.",
    ("long_lived", "one_shot"),
)
LOCATION = Attribute("otelprobe.location", "Where this prober runs, as set by the operator.")
ENVIRONMENT = Attribute("deployment.environment.name", "Semantic conventions: set it in `OTEL_RESOURCE_ATTRIBUTES`.")
SERVICE_VERSION = Attribute("service.version", "Semantic conventions.")
AUTH_DURATION = Attribute("otelprobe.auth.duration", "Seconds spent in steps of the auth layer.")
API_DURATION = Attribute("otelprobe.api.duration", "Seconds spent in steps of the API layer.")
AUTH_SHARE = Attribute("otelprobe.auth.share", "Share of authentication in auth plus API time, 0 to 1.")
STEP = Attribute("otelprobe.step.name", "The step's name in the flow file.")
KIND = Attribute("otelprobe.step.kind", "The kind of step: discover, keys, token, verify, call, ...")
LAYER = Attribute("otelprobe.step.layer", "Whose part of the flow the step exercises.", _closed(Layer))
STEP_OUTCOME = Attribute("otelprobe.step.outcome", "How the step ended.", _closed(Outcome))
STEP_INDEX = Attribute("otelprobe.step.index", "The step's place in the flow, from 0.")
CONTROL = Attribute("otelprobe.http.control", "True on a request that only serves to tell who is to blame.")
ERROR_TYPE = Attribute(
    "error.type", "The reason (see docs/reasons.md), the same on span, metric and event.", _closed(Reason)
)
METHOD = Attribute("http.request.method", "Semantic conventions.")
STATUS_CODE = Attribute("http.response.status_code", "Semantic conventions.")
RESEND_COUNT = Attribute("http.request.resend_count", "Semantic conventions: redirects and retries before this one.")
REQUEST_SIZE = Attribute("http.request.body.size", "Semantic conventions (development), bytes.")
RESPONSE_SIZE = Attribute("http.response.body.size", "Semantic conventions (development), bytes.")
URL = Attribute("url.full", "The URL with user information removed and every query value `REDACTED`; spans only.")
SERVER_ADDRESS = Attribute("server.address", "Semantic conventions: the host asked for.")
SERVER_PORT = Attribute("server.port", "Semantic conventions.")
PROTOCOL_NAME = Attribute("network.protocol.name", "Semantic conventions.", ("http",))
PROTOCOL_VERSION = Attribute("network.protocol.version", "Semantic conventions: 1.1, 2.")
PEER_ADDRESS = Attribute("network.peer.address", "Semantic conventions: the address that answered.")
PEER_PORT = Attribute("network.peer.port", "Semantic conventions.")
SYNTHETIC = Attribute("user_agent.synthetic.type", "Marks synthetic traffic (development).", (SYNTHETIC_TYPE,))
TLS_ESTABLISHED = Attribute("tls.established", "Semantic conventions (development).")
TLS_PROTOCOL = Attribute("tls.protocol.name", "Semantic conventions (development).", ("tls",))
TLS_VERSION = Attribute("tls.protocol.version", "Semantic conventions (development): 1.2, 1.3.")
TLS_CIPHER = Attribute("tls.cipher", "Semantic conventions (development).")
TLS_ISSUER = Attribute("tls.server.issuer", "Semantic conventions (development).")
TLS_SUBJECT = Attribute("tls.server.subject", "Semantic conventions (development).")
TLS_NOT_BEFORE = Attribute("tls.server.not_before", "Semantic conventions (development), ISO 8601.")
TLS_NOT_AFTER = Attribute("tls.server.not_after", "Semantic conventions (development), ISO 8601.")

PHASES = ("dns", "connect", "tls", "ttfb", "transfer")
PHASE_SPAN = {
    phase: Attribute(f"otelprobe.http.phase.{phase}", f"Seconds of the {phase} phase of one HTTP attempt.")
    for phase in PHASES
}
PHASE = Attribute("otelprobe.phase", "The phase of an HTTP attempt.", PHASES)
PEER = Attribute("otelprobe.clock.peer", "Whose clock is compared with ours.", ("provider", "api"))
KEY_CHANGE = Attribute(
    "otelprobe.jwks.change", "What happened to a published key.", ("added", "removed", "replaced", "withdrawn_early")
)
KEY_ID = Attribute("otelprobe.jwks.kid", "The key's id; events only.")
EXPIRY_SUBJECT = Attribute(
    "otelprobe.expiry.subject",
    "What kind of thing ends.",
    (
        "tls",
        "saml_signing",
        "saml_encryption",
        "saml_metadata",
        "api_key",
        "client_secret",
        "client_certificate",
        "jwks_certificate",
    ),
)
EXPIRY_NAME = Attribute("otelprobe.expiry.name", "Which one: a host, or a name from the flow file.")
CASE = Attribute("otelprobe.rejection.case", "The bad credential that was offered.")
OBJECTIVE_NAME = Attribute(
    "otelprobe.objective.name",
    "Which target or threshold: availability (a ratio), or one in seconds; those of expiry say of what.",
    (
        "availability",
        "auth_latency",
        "api_latency",
        "issuance_latency",
        "interval",
        "expiry_warning",
        "expiry_critical",
    ),
)
PROVIDER_STATE = Attribute(
    "otelprobe.provider.state", "What the provider's status page says.", ("operational", "degraded", "unknown")
)
POSTURE_RULE = Attribute("otelprobe.posture.rule", "The posture rule that was broken.")
POSTURE_SEVERITY = Attribute("otelprobe.posture.severity", "How bad it is.", _closed(Severity))
DRIFT_SUBJECT = Attribute("otelprobe.drift.subject", "What differs from its baseline.", _closed(DriftSubject))
DRIFT_NAME = Attribute("otelprobe.drift.name", "Which member, claim or host differs; events only.")
MISSED_REASON = Attribute(
    "otelprobe.schedule.reason",
    "Why a planned run did not take place, or came to nothing.",
    ("overlap", "overloaded", "backlog", "late", "suspended", "crashed", "abandoned"),
)
SHARD = Attribute("otelprobe.shard.index", "Which part of the flows a process runs, from 0.")
SHARDS = Attribute("otelprobe.shard.count", "Into how many parts the flows are divided, as this process sees it.")
SIGNAL = Attribute("otelprobe.export.signal", "The OpenTelemetry signal.", ("traces", "metrics", "logs"))
EXPORT_OUTCOME = Attribute(
    "otelprobe.export.outcome", "What became of the items.", ("sent", "failed", "spooled", "replayed")
)
RELOAD_OUTCOME = Attribute("otelprobe.config.outcome", "Whether the new configuration was taken.", ("ok", "refused"))
AUDIT_PASSED = Attribute(
    "otelprobe.audit.passed", "Whether it went as it should; `error.type` says why not; events only."
)
AUDIT_PART = Attribute(
    "otelprobe.audit.part",
    "What it was: access_token, refresh_token, id_token, session_cookie, assertion, api_key, code, ...; events only.",
)
AUDIT_SUBJECT = Attribute(
    "otelprobe.audit.subject", "Keyed hash of the subject (`sub`, in SAML the `NameID`); events only."
)
AUDIT_ID = Attribute(
    "otelprobe.audit.id", "Keyed hash of what was issued: the same from issuance over use to revocation; events only."
)
AUDIT_PREVIOUS = Attribute(
    "otelprobe.audit.previous_id", "The id of what it was obtained with, as at a refresh; events only."
)
AUDIT_HELD_BACK = Attribute(
    "otelprobe.audit.held_back", "How many events of this flow and kind were held back before this one; events only."
)
URL_TEMPLATE = Attribute(
    "url.template", "Semantic conventions (development): the path, without query and values filled in; events only."
)
AUDIT_CLAIM_PREFIX = "otelprobe.audit.claim."
"""A claim `scope` that `audit: claims` lists becomes the attribute `otelprobe.audit.claim.scope`."""

DETAIL = Attribute("otelprobe.detail", "Prose for people; events only, never on spans or metrics.")
DURATION = Attribute("otelprobe.duration", "Seconds the run took; events only.")
WARNINGS = Attribute("otelprobe.warnings", "Reasons that a passing run warns of; events only.")

FLOW_SPAN = (
    FLOW, RUN_ID, FLOW_OUTCOME, BLAME, COUNTS, FAILED_STEP, PROVIDER, LOCATION,
    AUTH_DURATION, API_DURATION, AUTH_SHARE, ERROR_TYPE, PROVIDER_STATE,
)  # fmt: skip
RESOURCE = (MODE, LOCATION, ENVIRONMENT)
STEP_SPAN = (FLOW, PROVIDER, STEP, KIND, LAYER, STEP_OUTCOME, STEP_INDEX, ERROR_TYPE)
CLIENT_SPAN = (
    FLOW, PROVIDER, STEP, METHOD, URL, SERVER_ADDRESS, SERVER_PORT, STATUS_CODE, ERROR_TYPE, PROTOCOL_NAME,
    PROTOCOL_VERSION, PEER_ADDRESS, PEER_PORT, RESEND_COUNT, REQUEST_SIZE, RESPONSE_SIZE, SYNTHETIC, CONTROL,
    *PHASE_SPAN.values(), TLS_ESTABLISHED, TLS_PROTOCOL,
    TLS_VERSION, TLS_CIPHER, TLS_ISSUER, TLS_SUBJECT, TLS_NOT_BEFORE, TLS_NOT_AFTER,
)  # fmt: skip
_FACT_MEANINGS = {
    Fact.ISSUANCE_GRANT: "The grant type that was used.",
    Fact.ISSUANCE_CLIENT_AUTH: "How the client authenticated.",
    Fact.ISSUANCE_SOURCE: "fresh: issued in this run; cached: issued in an earlier one and still good.",
    Fact.ISSUANCE_EXPIRES_IN: "Seconds of life that the answer names; what is left of them for a cached token.",
    Fact.ISSUANCE_SCOPE_MATCH: "Whether just the scopes that were asked for were granted.",
    Fact.ISSUANCE_OAUTH_ERROR: "The OAuth error code of a refusal.",
    Fact.LOGIN_FORMS: "How many forms were sent to log in.",
    Fact.COOKIE_SECURE: "Whether the session cookie goes over TLS only.",
    Fact.COOKIE_HTTP_ONLY: "Whether the session cookie is kept from scripts.",
    Fact.COOKIE_SAME_SITE: "`SameSite` of the session cookie: `Strict`, `Lax`, `None` or `unset`.",
    Fact.COOKIE_EXPIRES_IN: "Seconds that the session cookie lives; absent if it ends with the browser.",
    Fact.REFRESH_ROTATED: "Whether another refresh token came.",
    Fact.INTROSPECTION_ACTIVE: "What the provider says of the token.",
    Fact.JWT_ALG: "The algorithm in the token's header.",
    Fact.JWT_KID_FOUND: "Whether the token's key is published.",
    Fact.JWT_AGE: "Seconds since iat.",
    Fact.JWT_REMAINING: "Seconds until exp.",
    Fact.JWT_LIFETIME: "Seconds from iat to exp.",
    Fact.JWT_SIGNATURE_VALID: "Whether the signature verifies with the published key.",
    Fact.JWT_ISSUER_MATCH: "Whether iss is the expected issuer.",
    Fact.JWT_AUDIENCE_MATCH: "Whether aud holds an expected audience.",
    Fact.JWT_MISSING_CLAIMS: "Names of required claims that are not there.",
    Fact.JWT_FORMAT: "jws, jwe or opaque.",
    Fact.JWT_PROBLEMS: "Every reason that the token is not good, the one that matters most first.",
    Fact.JWKS_KEY_COUNT: "How many keys the set holds.",
    Fact.JWKS_CHANGE: "What changed since the last run.",
    Fact.CLOCK_SKEW: "Seconds that the peer's clock is ahead of ours, by `Date` or a new token's times; the worst of the step.",
    Fact.CONTROL_NO_CREDENTIAL: "The status that the same request got without a credential.",
    Fact.CONTROL_FORGED: "The status that the same request got with a forged token.",
    Fact.REJECTION_CASES: "How many bad credentials were offered.",
    Fact.REJECTION_ACCEPTED: "How many of them were accepted.",
    Fact.REJECTION_FETCHED: "How many of them led the server to a URL that they name.",
    Fact.REJECTION_BURST: "How many bad credentials were sent in a burst.",
    Fact.REJECTION_LIMITED: "Whether a rate limit (429), or a page of an edge, stopped the burst.",
    Fact.REJECTION_LEEWAY: "Seconds after its end at which the prober's own token was last taken; 0 if it never was.",
    Fact.REJECTION_UNIFORM: "Whether refusals look the same, whatever was wrong with the token.",
    Fact.REVOCATION_DELAY: "Seconds from the revocation of a token until it was seen refused.",
    Fact.CERTIFICATE_COUNT: "How many certificates the endpoint sent, or the file holds.",
    Fact.CERTIFICATE_TRUSTED: "Whether the TLS handshake verified the certificates.",
    Fact.CERTIFICATE_NAME_MATCH: "Whether the certificate names the host.",
    Fact.CERTIFICATE_REMAINING: "Seconds until the first of the certificates ends; negative once it has.",
    Fact.CERTIFICATE_SUBJECTS: "Subject of each certificate, the endpoint's own first.",
    Fact.CERTIFICATE_ISSUERS: "Issuer of each certificate, in the same order.",
    Fact.CERTIFICATE_NOT_AFTER: "End of each certificate, ISO 8601, in the same order.",
    Fact.CERTIFICATE_SHA256: "SHA-256 fingerprint of each certificate, in the same order.",
    Fact.CREDENTIAL_REMAINING: "Seconds until the credential ends; negative once it has.",
    Fact.JWKS_KEY_AGE: "Seconds since the oldest published key was first seen.",
    Fact.JWKS_CACHE_TIME: "Seconds that the key set's Cache-Control lets clients keep it.",
    Fact.RETAINED_COUNT: "How many tokens of earlier runs are alive and were tried.",
    Fact.RETAINED_AGE: "Seconds since the oldest of them was issued.",
    Fact.RETAINED_SESSIONS: "Which tokens work: both, old_only, new_only, none; nothing where one kind could not be tried.",
    Fact.POSTURE_FINDINGS: "Ids of the posture rules that are broken.",
    Fact.POSTURE_RULES: "How many posture rules had something to look at.",
    Fact.SAML_METADATA_SIGNED: "Whether the metadata's signature verifies with the pinned certificate.",
    Fact.SAML_METADATA_REMAINING: "Seconds until the metadata's validUntil; negative once it has passed.",
    Fact.SAML_SIGNING_CERTIFICATES: "How many certificates for signing are valid now.",
    Fact.SAML_ENCRYPTION_CERTIFICATES: "How many certificates for encryption are valid now.",
    Fact.SAML_BINDING: "How the SAML request was sent: redirect, post, or start_url where the service provider sent it.",
    Fact.SAML_STATUS: "The status codes of the SAML response, without their common prefix.",
    Fact.SAML_SIGNED: "What of the SAML response carries a signature that verifies: response, assertion.",
    Fact.SAML_ALGORITHM: "The signature algorithm of the SAML response.",
    Fact.SAML_ENCRYPTED: "Whether the assertion came encrypted.",
    Fact.SAML_REMAINING: "Seconds until the assertion's conditions end.",
    Fact.SAML_MISSING_ATTRIBUTES: "Names of required SAML attributes that are not there.",
}
FACT_SPAN = tuple(Attribute(FACT_PREFIX + fact, _FACT_MEANINGS[fact]) for fact in Fact)


class Instrument(StrEnum):
    """How a metric behaves."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


NETWORK_BUCKETS = (
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
)  # fmt: skip
"""Seconds: semantic conventions, with 0.4 for the providers' threshold (1.0 is in both)."""

STEP_BUCKETS = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, *NETWORK_BUCKETS)
"""Seconds, for local verification (50 µs to 50 ms) and the network at once: one metric keeps one set of bounds, so that
its series can be added up over steps of any kind."""

LAG_BUCKETS = (*NETWORK_BUCKETS, 30.0, 60.0)


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. `owner` says from whom its first attributes come: the flow, the provider or the process.

    `attributes` are those that vary within the owner, in the order of a series' key. `lasting` gauges state a point in
    time or a target, not a condition, and are reported however old the last run is.
    """

    name: str
    instrument: Instrument
    unit: str
    description: str
    owner: tuple[Attribute, ...]
    attributes: tuple[Attribute, ...] = ()
    bounds: tuple[float, ...] = ()
    labels: bool = False
    lasting: bool = False
    one_shot: bool = True

    @property
    def all_attributes(self) -> tuple[Attribute, ...]:
        """Every attribute that a series may have, besides labels."""
        return self.owner + self.attributes

    def __hash__(self) -> int:
        return hash(self.name)


_FP = (FLOW, PROVIDER)
"""Every metric of a flow says the provider too: an alert on any of them can be silenced by an outage of the provider."""

_STEP = (STEP, KIND, LAYER)
_C, _G, _H = Instrument.COUNTER, Instrument.GAUGE, Instrument.HISTOGRAM

FLOW_UP = Metric(
    "otelprobe.flow.up", _G, "{flow}", "1 if the last run passed, else 0.", (FLOW, PROVIDER, LOCATION), labels=True
)
FLOW_RUNS = Metric(
    "otelprobe.flow.runs", _C, "{run}", "Runs by how they ended.", _FP, (FLOW_OUTCOME, BLAME, COUNTS, ERROR_TYPE)
)
FLOW_DURATION = Metric(
    "otelprobe.flow.duration", _H, "s", "How long a run took.", _FP, (FLOW_OUTCOME,), NETWORK_BUCKETS
)
AUTH_TIME = Metric(
    "otelprobe.auth.duration", _H, "s", "Time a run spent in steps of the auth layer.", _FP, (), NETWORK_BUCKETS
)
API_TIME = Metric(
    "otelprobe.api.duration", _H, "s", "Time a run spent in steps of the API layer.", _FP, (), NETWORK_BUCKETS
)
STEP_UP = Metric("otelprobe.step.up", _G, "{step}", "1 if the step passed in the last run, else 0.", _FP, _STEP)
STEP_RUNS = Metric(
    "otelprobe.step.runs", _C, "{run}", "Step runs by how they ended.", _FP, (*_STEP, STEP_OUTCOME, ERROR_TYPE)
)
STEP_DURATION = Metric(
    "otelprobe.step.duration", _H, "s", "How long a step took, without its control requests.",
    _FP, (*_STEP, STEP_OUTCOME), STEP_BUCKETS,
)  # fmt: skip
HTTP_DURATION = Metric(
    "http.client.request.duration", _H, "s", "Duration of HTTP client requests, without control requests.",
    _FP, (STEP, METHOD, SERVER_ADDRESS, SERVER_PORT, STATUS_CODE, ERROR_TYPE), NETWORK_BUCKETS,
)  # fmt: skip
PHASE_DURATION = Metric(
    "otelprobe.http.phase.duration", _H, "s", "Duration of one phase of an HTTP request.",
    _FP, (STEP, PHASE), NETWORK_BUCKETS,
)  # fmt: skip
LAST_RUN = Metric(
    "otelprobe.flow.last_run.timestamp", _G, "s", "When the last run ended (Unix time).", _FP, lasting=True
)
LAST_SUCCESS = Metric(
    "otelprobe.flow.last_success.timestamp", _G, "s", "When the last run that passed ended (Unix time).", _FP,
    lasting=True,
)  # fmt: skip
EXPIRES_IN = Metric(
    "otelprobe.issuance.expires_in", _G, "s", "Lifetime that the last issued access token was given.", _FP, (STEP,)
)
VALIDATION_FAILURES = Metric(
    "otelprobe.validation.failures", _C, "{failure}", "Faults found when tokens were verified locally.",
    _FP, (ERROR_TYPE,),
)  # fmt: skip
CLOCK_SKEW = Metric(
    "otelprobe.clock.skew",
    _G,
    "s",
    "The peer's clock minus ours (resolution 1 s), by `Date` or a new token's times.",
    _FP,
    (PEER,),
)
KEY_COUNT = Metric("otelprobe.jwks.key.count", _G, "{key}", "Keys that the provider publishes.", (PROVIDER,))
KEY_CHANGES = Metric(
    "otelprobe.jwks.changes", _C, "{change}", "Changes seen in the provider's keys.", (PROVIDER,), (KEY_CHANGE,)
)
KEY_AGE = Metric(
    "otelprobe.jwks.key.age", _G, "s", "Time since the oldest published key was first seen; it starts anew with the state.",
    (PROVIDER,),
)  # fmt: skip
EXPIRY = Metric(
    "otelprobe.expiry.remaining", _G, "s", "Time until something ends; negative once it has.",
    (), (EXPIRY_SUBJECT, EXPIRY_NAME),
)  # fmt: skip
REJECTION = Metric(
    "otelprobe.rejection.accepted", _G, "{case}", "1 if a bad credential was accepted when it was last offered, else 0.",
    _FP, (CASE,), lasting=True,
)  # fmt: skip
REJECTION_FOLLOWED = Metric(
    "otelprobe.rejection.followed", _G, "{case}",
    "1 if the server fetched the URL that a bad credential names, when it was last offered, else 0.",
    _FP, (CASE,), lasting=True,
)  # fmt: skip
REVOCATION_DELAY = Metric(
    "otelprobe.revocation.delay", _G, "s", "Time from the revocation of a token until it was seen refused.",
    _FP, (STEP,), lasting=True,
)  # fmt: skip
POSTURE = Metric(
    "otelprobe.posture.findings", _G, "{finding}", "Posture findings of a flow.", _FP, (POSTURE_RULE, POSTURE_SEVERITY),
    lasting=True,
)  # fmt: skip
DRIFT_CHANGES = Metric(
    "otelprobe.drift.changes", _C, "{change}", "Differences from a learned baseline, each counted when it is first seen.",
    _FP, (DRIFT_SUBJECT,),
)  # fmt: skip
PROVIDER_STATUS = Metric(
    "otelprobe.provider.status", _G, "{provider}", "1 for the state that the provider's status page shows, else 0.",
    (PROVIDER,), (PROVIDER_STATE,),
)  # fmt: skip
OBJECTIVE = Metric(
    "otelprobe.objective", _G, "", "Targets and thresholds as data, so that one rule serves every flow.",
    _FP, (OBJECTIVE_NAME, EXPIRY_SUBJECT, EXPIRY_NAME), labels=True, lasting=True,
)  # fmt: skip
SCHEDULE_LAG = Metric("otelprobe.schedule.lag", _H, "s", "How late a run started, over all flows.", (), (), LAG_BUCKETS)
SCHEDULE_MISSED = Metric(
    "otelprobe.schedule.missed", _C, "{run}", "Planned runs that did not take place.", _FP, (MISSED_REASON,)
)
SCHEDULE_FLOWS = Metric(
    "otelprobe.schedule.flows", _G, "{flow}", "Flows that a process runs on schedule.", (), (SHARD, SHARDS),
    lasting=True,
)  # fmt: skip
EXPORT_ITEMS = Metric(
    "otelprobe.export.items", _C, "{item}", "Spans, data points and log records by what became of them.",
    (), (SIGNAL, EXPORT_OUTCOME),
)  # fmt: skip
CONFIG_RELOADS = Metric(
    "otelprobe.config.reloads", _C, "{reload}", "Attempts to read the configuration anew.", (), (RELOAD_OUTCOME,)
)
AUDIT_SUPPRESSED = Metric(
    "otelprobe.audit.suppressed", _C, "{event}", "Audit events that were held back by a rate limit.", ()
)
BUILD = Metric(
    "otelprobe.build", _G, "{process}", "1 for each long-lived prober, with its version.", (), (SERVICE_VERSION,)
)
MEMORY = Metric("process.memory.usage", _G, "By", "Semantic conventions: resident memory of a long-lived prober.", ())
AUDIT_LOST = Metric(
    "otelprobe.audit.lost", _C, "{record}", "Audit records that could not be written to the audit file.", ()
)

METRICS = (
    FLOW_UP, FLOW_RUNS, FLOW_DURATION, AUTH_TIME, API_TIME, STEP_UP, STEP_RUNS, STEP_DURATION, HTTP_DURATION,
    PHASE_DURATION, LAST_RUN, LAST_SUCCESS, EXPIRES_IN, VALIDATION_FAILURES, CLOCK_SKEW, KEY_COUNT, KEY_CHANGES, EXPIRY,
    REJECTION, REJECTION_FOLLOWED, REVOCATION_DELAY, POSTURE, PROVIDER_STATUS, OBJECTIVE,
    SCHEDULE_FLOWS, SCHEDULE_LAG, SCHEDULE_MISSED, EXPORT_ITEMS, CONFIG_RELOADS,
    AUDIT_SUPPRESSED, AUDIT_LOST, BUILD, MEMORY,
    KEY_AGE, DRIFT_CHANGES,
)  # fmt: skip
"""Every metric, in the order of docs/telemetry.md."""


@dataclass(frozen=True, slots=True)
class Event:
    """One log event (OTLP `EventName`). `attributes` are those it may carry besides the flow's."""

    name: str
    description: str
    attributes: tuple[Attribute, ...] = ()


EVENT_BASE = (FLOW, RUN_ID, PROVIDER, LOCATION)

FLOW_COMPLETED = Event(
    "otelprobe.flow.completed",
    "A run ended, whatever the outcome.",
    (
        *(FLOW_OUTCOME, BLAME, COUNTS, FAILED_STEP, ERROR_TYPE, PROVIDER_STATE),
        *(DURATION, AUTH_DURATION, API_DURATION, WARNINGS),
    ),
)
FLOW_FAILED = Event(
    "otelprobe.flow.failed",
    "A run did not pass.",
    (FLOW_OUTCOME, BLAME, COUNTS, FAILED_STEP, ERROR_TYPE, PROVIDER_STATE, DETAIL),
)
JWKS_CHANGED = Event("otelprobe.jwks.changed", "A provider's published key changed.", (STEP, KEY_CHANGE, KEY_ID))
DRIFT_DETECTED = Event(
    "otelprobe.drift.detected",
    "Something differs from its learned baseline.",
    (STEP, DRIFT_SUBJECT, DRIFT_NAME, DETAIL),
)
STATE_LOST = Event(
    "otelprobe.state.lost",
    "What is remembered between runs could not be read or kept: checks that need it start anew, the others go on.",
    (STEP, DETAIL),
)
REJECTION_ACCEPTED = Event("otelprobe.rejection.accepted", "A bad credential was accepted.", (STEP, CASE, STATUS_CODE))
CONFIG_RELOADED = Event(
    "otelprobe.config.reloaded",
    "The configuration was read anew, and taken, or refused with file, line and mend as the detail; belongs to no flow.",
    (RELOAD_OUTCOME, DETAIL),
)
_AUDIT = (
    *(STEP, KIND, LAYER, AUDIT_PASSED, AUDIT_PART, AUDIT_SUBJECT, AUDIT_ID, AUDIT_PREVIOUS, AUDIT_HELD_BACK),
    *(METHOD, URL_TEMPLATE, STATUS_CODE),
)
AUDIT_ATTRIBUTES = (
    AUDIT_PASSED, AUDIT_PART, AUDIT_SUBJECT, AUDIT_ID, AUDIT_PREVIOUS, AUDIT_HELD_BACK, URL_TEMPLATE,
)  # fmt: skip
AUDIT_ISSUED = Event("otelprobe.audit.issued", "A credential was issued to the prober.", _AUDIT)
AUDIT_VALIDATED = Event(
    "otelprobe.audit.validated", "A credential was verified and found good, or an API or the provider took it.", _AUDIT
)
AUDIT_REFRESHED = Event("otelprobe.audit.refreshed", "A credential was refreshed.", _AUDIT)
AUDIT_INTROSPECTED = Event("otelprobe.audit.introspected", "A credential was introspected.", _AUDIT)
AUDIT_REVOKED = Event("otelprobe.audit.revoked", "A credential was revoked.", _AUDIT)
AUDIT_REJECTED = Event(
    "otelprobe.audit.rejected",
    "A credential was refused or found bad, or (`otelprobe.audit.passed`) it was refused as it must be.",
    (*_AUDIT, ERROR_TYPE, CASE),
)
AUDIT_EVENTS = {
    AuditEvent.ISSUED: AUDIT_ISSUED,
    AuditEvent.VALIDATED: AUDIT_VALIDATED,
    AuditEvent.REFRESHED: AUDIT_REFRESHED,
    AuditEvent.INTROSPECTED: AUDIT_INTROSPECTED,
    AuditEvent.REVOKED: AUDIT_REVOKED,
    AuditEvent.REJECTED: AUDIT_REJECTED,
}
EVENTS = (
    FLOW_COMPLETED, FLOW_FAILED, JWKS_CHANGED, DRIFT_DETECTED, STATE_LOST, REJECTION_ACCEPTED, AUDIT_ISSUED,
    AUDIT_VALIDATED, AUDIT_REFRESHED, AUDIT_INTROSPECTED, AUDIT_REVOKED, AUDIT_REJECTED, CONFIG_RELOADED,
)  # fmt: skip
"""Every event, in the order of docs/telemetry.md."""

_UNIT_WORDS = {"s": "seconds", "By": "bytes"}


def prometheus_name(metric: Metric) -> str:
    """Give the metric's name in Prometheus under its default OTLP translation strategy (histograms: without suffix)."""
    words = [w for w in re.split(r"[^a-zA-Z0-9]+", metric.name) if w]
    unit = _UNIT_WORDS.get(metric.unit)
    if unit is not None and unit not in words:
        words.append(unit)
    if metric.instrument is Instrument.COUNTER:
        words = [w for w in words if w != "total"] + ["total"]
    return "_".join(words)


def prometheus_label(attribute: Attribute | str) -> str:
    """Give an attribute's label name in Prometheus."""
    name = attribute if isinstance(attribute, str) else attribute.name
    return re.sub(r"[^a-zA-Z0-9]+", "_", name)
