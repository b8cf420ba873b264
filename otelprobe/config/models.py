"""What a flow file says, typed and frozen: flows, the telemetry block, and where each stands in its file."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import field
from typing import Annotated, Literal

from otelprobe.audit.settings import Audit
from otelprobe.config.decode import Variant
from otelprobe.config.document import Document
from otelprobe.config.faults import Fault, Path
from otelprobe.cron import Cron
from otelprobe.drift import DriftPolicy
from otelprobe.fields import UNSAID, Duration, HttpOptions, Percent, Scalar, SecretRef, parse_url
from otelprobe.provider import Provider
from otelprobe.quick import dataclass
from otelprobe.step import Step
from otelprobe.steps import STEPS, step_class

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
_LABEL = re.compile(r"[a-z][a-z0-9_]{0,62}")
_HOST_PORT = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+):\d{1,5}")
_CREDENTIAL_HEADER = re.compile(r"authorization|cookie|api-?_?key|token|secret|password", re.IGNORECASE)

MAX_LABELS = 8
MAX_LABEL_VALUE = 64

DEFAULT_EVERY = 60.0
"""Seconds between runs where nothing is said: an outage is seen within a minute, and a token a minute harms nobody."""

DEFAULT_DEADLINE = 20.0
"""Seconds for a whole flow: four slow requests at the default time-out of 5 s."""

TAKEN_LABELS = frozenset(
    {"flow", "provider", "location", "step", "kind", "layer", "outcome", "blame", "counts", "phase", "peer", "change"}
    | {"case", "rule", "severity", "state", "objective", "reason", "signal", "job", "instance", "error_type"}
)
"""Words that our metrics, or Prometheus itself, already use: a label of that name would read as two things."""


def parse_name(value: object) -> str:
    """Accept a name: letters, digits, `_`, `.`, `-`, at most 63, the first a letter or digit."""
    if not isinstance(value, str):
        raise ValueError("not a name: write it as text, in quotes if it looks like a number")
    if not _NAME.fullmatch(value):
        raise ValueError("not a name: up to 63 letters, digits, _ . and -, the first a letter or digit")
    return value


def parse_cron(value: object) -> str:
    """Accept a cron expression of five fields, with a time zone before them if it is not for UTC."""
    if not isinstance(value, str):
        raise ValueError('not a cron expression: write five fields in quotes, as in "*/5 * * * *"')
    Cron(value)
    return value


def parse_endpoint(value: object) -> str:
    """Accept an http or https URL, or host:port (OTLP over gRPC)."""
    if isinstance(value, str) and _HOST_PORT.fullmatch(value):
        return value
    try:
        return parse_url(value)
    except ValueError:
        raise ValueError("not an OTLP endpoint: write http://host:4318, https://host, or host:4317 for grpc") from None


_NAME_SCHEMA = {"type": "string", "pattern": f"^{_NAME.pattern}$"}
Name = Annotated[str, Scalar(parse_name, _NAME_SCHEMA)]
CronText = Annotated[str, Scalar(parse_cron, {"type": "string", "examples": ["*/5 * * * *"]})]
Endpoint = Annotated[str, Scalar(parse_endpoint, {"type": "string", "examples": ["http://localhost:4318"]})]
AnyStep = Annotated[Step, Variant("step", lambda: STEPS, step_class, "name")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """Service level objectives; dashboards and burn-rate alerts read them."""

    availability: Percent | None = None
    """Share of runs that have to pass, as in `99.9%`."""

    auth_latency: Duration | None = None
    """Target for the time of all auth steps together."""

    api_latency: Duration | None = None
    """Target for the time of all API steps together."""

    issuance_latency: Duration | None = None
    """Target for the time of one token request."""

    def as_numbers(self) -> Mapping[str, float]:
        """Give the objectives that are set: a ratio for availability, seconds for latencies."""
        pairs = ((name, getattr(self, name)) for name in self.__slots__)
        return {name: value for name, value in pairs if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """One check: steps in order, run again and again."""

    name: Name
    """Its name on every span, metric and event."""

    provider: str | None = None
    """Name of a provider; needed if a step talks to one."""

    every: Duration | None = None
    """The interval between runs, for `otelprobe run`; default 60s. For `once`: how often it is run, for silence to be seen."""

    cron: CronText | None = None
    """When to run, in place of `every`: five fields, in UTC or in the zone that a leading `CRON_TZ=` names."""

    deadline: Duration = DEFAULT_DEADLINE
    """Total for all steps; clean-up may take 5 s more; default 20s."""

    labels: Mapping[str, str] = field(default_factory=dict)
    """Attributes of the flow's root span and of `otelprobe.flow.up`: at most 8, with values of at most 64 characters."""

    objective: Objective = field(default_factory=Objective)
    """Targets, exported as data for dashboards and alerts; they judge no run."""

    http: HttpOptions = field(default_factory=lambda: UNSAID)
    """How to reach hosts; what a step or the provider sets wins."""

    drift: DriftPolicy | None = None
    """Compare what the provider publishes and issues with a learned baseline; `drift: {}` does, nothing set does not."""

    steps: tuple[AnyStep, ...]
    """What is done, in order."""

    @property
    def interval(self) -> float:
        """Seconds between runs; for cron the shortest gap in what it gives."""
        if self.cron is not None:
            return Cron(self.cron).shortest_gap()
        return DEFAULT_EVERY if self.every is None else self.every

    def faults(self) -> Iterator[tuple[str, str]]:
        """Say what does not fit together: pairs of member and mend."""
        if self.every is not None and self.cron is not None:
            yield "cron", "every and cron exclude each other: remove one"
        if self.every is not None and self.every < 1:
            yield "every", "more than one run a second is a load test, not a check: write 1s or more"
        if not self.steps:
            yield "steps", "a flow without steps: add at least one, such as - discover"
        yield from self._label_faults()
        yield from self._step_faults()

    def _label_faults(self) -> Iterator[tuple[str, str]]:
        if len(self.labels) > MAX_LABELS:
            yield "labels", f"more than {MAX_LABELS} labels: each one multiplies the series, keep the few you filter by"
        for name, value in self.labels.items():
            member = f"labels.{name}" if "." not in name else "labels"
            if not _LABEL.fullmatch(name):
                yield member, "not a label name: small letters, digits and _, the first a letter"
            elif name in TAKEN_LABELS:
                yield member, "a label name that the metrics already use: choose another, such as team or tier"
            if len(value) > MAX_LABEL_VALUE:
                yield member, f"a label value longer than {MAX_LABEL_VALUE} characters"

    def _step_faults(self) -> Iterator[tuple[str, str]]:
        seen: set[str] = set()
        for index, step in enumerate(self.steps):
            if step.name in seen:
                yield f"steps.{index}", "a second step of the same name in this flow: give one of them name:"
            seen.add(step.name)
            if not _NAME.fullmatch(step.name):
                yield (
                    f"steps.{index}.name",
                    "not a name: up to 63 letters, digits, _ . and -, the first a letter or digit",
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class Telemetry:
    """Where telemetry goes, under the names of the OTEL_EXPORTER_OTLP_* variables; what is set here wins over them."""

    endpoint: Endpoint | None = None
    """Base URL of the collector, as in `http://localhost:4318`; `/v1/traces` and so on are added. With `grpc` also
    `host:4317`.
    """

    protocol: Literal["http/protobuf", "grpc"] | None = None
    """How it is sent; default `http/protobuf`."""

    headers: Mapping[str, str | SecretRef] = field(default_factory=dict)
    """Sent with every export; one whose name speaks of a credential must be `{env: NAME}` or `{file: PATH}`."""

    timeout: Duration | None = None
    """Total of one export; default 10s."""

    compression: Literal["none", "gzip", "deflate"] | None = None
    """How what is sent is compressed; default `none`; `deflate` over http only."""

    certificate: str | None = None
    """File of CA certificates in PEM, in place of the default ones."""

    client_certificate: str | None = None
    """Client certificate in PEM, for mutual TLS."""

    client_key: str | None = None
    """Key of the client certificate in PEM."""

    insecure: bool | None = None
    """`true`: no TLS, for grpc with `host:port`."""

    resource_attributes: Mapping[str, str] = field(default_factory=dict)
    """Added to those of `OTEL_RESOURCE_ATTRIBUTES`."""

    metric_interval: Duration | None = None
    """Time between two exports of metrics; default 60s."""

    spool_dir: str | None = None
    """Directory that keeps what was not delivered for the next run; the setting `spool_dir` wins over it."""

    budget: Duration = 5.0
    """Most that the last export at exit may take, all signals together; default 5s."""

    def faults(self) -> Iterator[tuple[str, str]]:
        """Say what does not fit together: pairs of member and mend."""
        if self.endpoint is not None and "://" not in self.endpoint and self.protocol != "grpc":
            yield "endpoint", "host:port without a scheme is for protocol: grpc; write http://host:4318"
        if self.client_key is not None and self.client_certificate is None:
            yield "client_key", "a client_key without client_certificate: add client_certificate"
        for name, value in self.headers.items():
            if isinstance(value, str) and _CREDENTIAL_HEADER.search(name):
                member = f"headers.{name}" if "." not in name else "headers"
                yield member, "a literal secret is refused: write {env: NAME} or {file: PATH}"


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowFile:
    """What one flow file may hold."""

    providers: Mapping[Name, Provider] = field(default_factory=dict)
    """Identity providers by name."""

    flows: tuple[Flow, ...] = ()
    """The checks."""

    telemetry: Telemetry | None = None
    """Where results go; it stands in one file only."""

    audit: Audit | None = None
    """The audit trail; it stands in one file only."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where something was written: a document and the path in it."""

    document: Document
    path: Path

    def fault(self, rest: Path, message: str) -> Fault:
        """Make the fault of what stands at `rest` inside this place."""
        return self.document.fault((*self.path, *rest), message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Every flow file, merged by name; the places are kept so that later rooms can name file and line."""

    providers: Mapping[str, Provider]
    flows: tuple[Flow, ...]
    telemetry: Telemetry = field(default_factory=Telemetry)
    audit: Audit = field(default_factory=Audit)
    flow_places: Mapping[str, Place] = field(default_factory=dict, repr=False)
    provider_places: Mapping[str, Place] = field(default_factory=dict, repr=False)
    telemetry_place: Place | None = field(default=None, repr=False)
    audit_place: Place | None = field(default=None, repr=False)

    def place(self, path: Path) -> tuple[Place, Path]:
        """Find what a path of the merged whole means: `("flows", 3, "steps", 2)` is the fourth flow of all files."""
        match path:
            case ("flows", int() as index, *rest):
                return self.flow_places[self.flows[index].name], tuple(rest)
            case ("providers", str() as name, *rest):
                return self.provider_places[name], tuple(rest)
            case ("telemetry", *rest) if self.telemetry_place is not None:
                return self.telemetry_place, tuple(rest)
            case ("audit", *rest) if self.audit_place is not None:
                return self.audit_place, tuple(rest)
        raise LookupError("no such place in the flow files")

    def where(self, path: Path) -> tuple[str, int]:
        """Give the file and line of a path of the merged whole."""
        place, rest = self.place(path)
        return place.document.file, place.document.line((*place.path, *rest))

    def fault(self, path: Path, message: str) -> Fault:
        """Make a fault of a path of the merged whole; it prints the path as it is in its own file."""
        place, rest = self.place(path)
        return place.fault(rest, message)

    def where_flow(self, flow: str, *path: str | int) -> tuple[str, int]:
        """Give the file and line of a flow or of something in it: `config.where_flow("orders-api", "steps", 2)`."""
        place = self.flow_places[flow]
        return place.document.file, place.document.line((*place.path, *path))
