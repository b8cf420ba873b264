"""Config to FlowPlan: providers merged in, needs and makes checked; after this only the target can fail."""

from collections.abc import Iterator, Mapping
from dataclasses import field, fields

from otelprobe.config.faults import ConfigError, Fault, Path, suggest
from otelprobe.config.models import Config, Flow
from otelprobe.drift import DriftPolicy
from otelprobe.expect import Expect
from otelprobe.fields import UNSAID, HttpOptions
from otelprobe.provider import Provider
from otelprobe.quick import dataclass
from otelprobe.reasons import Reason
from otelprobe.result import FlowFacts, StepFacts
from otelprobe.step import Artifact, Step
from otelprobe.template import faults_in, names_in

_TRANSPORT = frozenset(
    {Reason.CONNECT_REFUSED, Reason.DNS_FAILURE, Reason.CONNECT_TIMEOUT, Reason.READ_TIMEOUT, Reason.DEADLINE_EXCEEDED}
)
_CALLED = {
    "ProviderMetadata": "discover",
    "KeySet": "keys",
    "Tokens": "token or login",
    "Cookie": "login with cookie:",
    "Claims": "verify",
    "AuthorizationCode": "authorize",
    "DeviceCode": "device",
    "SamlMetadata": "saml_metadata",
}
"""What to add to a flow, by the name of the artifact that it lacks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowPlan:
    """A flow that is wired and ready. Seconds; `every` is the interval also where `cron` rules (its shortest gap)."""

    name: str
    provider: Provider | None
    steps: tuple[Step, ...]
    deadline: float
    every: float
    cron: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    objectives: Mapping[str, float] = field(default_factory=dict)
    http: HttpOptions = field(default_factory=lambda: UNSAID)
    location: str | None = None
    drift: DriftPolicy | None = None

    def facts(self) -> FlowFacts:
        """Say what telemetry has to know before the first run."""
        return FlowFacts(
            flow=self.name,
            provider=self.provider.name if self.provider else None,
            labels=self.labels,
            location=self.location,
            steps=tuple(StepFacts(s.name, s.kind, s.layer, s.own_reasons | _TRANSPORT) for s in self.steps),
            objectives=self.objectives,
            interval=self.every,
            drift=self.drift is not None,
        )


def build(config: Config, *, location: str | None = None) -> tuple[FlowPlan, ...]:
    """Wire every flow. ConfigError lists every fault of every flow, each with its file and line."""
    faults: list[Fault] = []
    plans: list[FlowPlan] = []
    own = frozenset(_own_certificates(config))
    for index, flow in enumerate(config.flows):
        provider = config.providers.get(flow.provider) if flow.provider else None
        for member, message in _wiring_faults(flow, provider):
            step = _step_name(flow, member)
            faults.append(config.fault(("flows", index, *member), f"flow {flow.name}, step {step}: {message}"))
        plans.append(_plan(flow, provider, location, own))
    if faults:
        raise ConfigError(faults)
    return tuple(plans)


def _step_name(flow: Flow, member: Path) -> str:
    return flow.steps[member[1]].name if len(member) > 1 and isinstance(member[1], int) else ""


def _own_certificates(config: Config) -> Iterator[str]:
    """Give the files whose certificates the prober shows to somebody, in whatever flow."""
    steps = (step for flow in config.flows for step in flow.steps)
    blocks = [*(p.http for p in config.providers.values()), *(f.http for f in config.flows), *(s.http for s in steps)]
    yield from (http.client_cert for http in blocks if http.client_cert is not None)
    for provider in config.providers.values():
        yield from (path for _, path in provider.files())


def _plan(flow: Flow, provider: Provider | None, location: str | None, own: frozenset[str]) -> FlowPlan:
    return FlowPlan(
        name=flow.name,
        provider=provider,
        steps=tuple(step.beside(own) for step in flow.steps),
        deadline=flow.deadline,
        every=flow.interval,
        cron=flow.cron,
        labels=flow.labels,
        objectives={**_known_objectives(provider), **flow.objective.as_numbers(), "interval": flow.interval},
        http=flow.http,
        location=location,
        drift=flow.drift,
    )


def _known_objectives(provider: Provider | None) -> Mapping[str, float]:
    """Give the thresholds that the provider's preset knows; what the flow says wins over them."""
    if provider is None or provider.preset == "generic":
        return {}
    from otelprobe.presets import PRESETS  # noqa: PLC0415 - only providers with a preset need it

    return PRESETS[provider.preset].objectives


def _wiring_faults(flow: Flow, provider: Provider | None) -> Iterator[tuple[Path, str]]:
    """Walk the steps in order, knowing at each what is made and captured before it."""
    made: list[tuple[str, type[Artifact]]] = []
    captured: set[str] = set()
    for index, step in enumerate(flow.steps):
        where: Path = ("steps", index)
        if step.uses_provider and provider is None:
            yield where, f"step {step.kind} talks to an identity provider: add provider: NAME to the flow"
        for member, mend in step.misfits(provider):
            yield (*where, *member.split(".")) if member else where, mend
        yield from _missing_needs(step, provider, made, where)
        yield from _wrong_references(step, made, where)
        yield from _unfilled(step, captured, where)
        yield from _idle(step, where)
        made.extend((step.name, kind) for kind in step.made())
        captured |= set(step.capture)


def _missing_needs(
    step: Step, provider: Provider | None, made: list[tuple[str, type[Artifact]]], where: Path
) -> Iterator[tuple[Path, str]]:
    for kind in step.required(provider):
        if not any(have is kind for _, have in made):
            endpoints = (
                " (or name the endpoint under the provider's endpoints:)" if kind.__name__ == "ProviderMetadata" else ""
            )
            called = _CALLED.get(kind.__name__, kind.__name__)
            yield where, f"needs what no earlier step makes: add a step {called} before it{endpoints}"


def _wrong_references(step: Step, made: list[tuple[str, type[Artifact]]], where: Path) -> Iterator[tuple[Path, str]]:
    names = [name for name, _ in made]
    for member, name in step.references():
        if name not in names:
            yield (*where, *member), f"no earlier step that makes something has that name; {suggest(name, names)}"


def _idle(step: Step, where: Path) -> Iterator[tuple[Path, str]]:
    """Find expectations that would never be looked at."""
    if step.answers:
        return
    if step.capture:
        yield (*where, "capture"), f"{step.kind} has no answer to capture from: capture in another step"
    unset = Expect()
    common = (f.name for f in fields(Expect) if f.name != "max_duration")
    if any(getattr(step.expect, name) != getattr(unset, name) for name in common):
        yield (*where, "expect"), f"{step.kind} has no answer to compare: only max_duration can be expected of it"


def _unfilled(step: Step, captured: set[str], where: Path) -> Iterator[tuple[Path, str]]:
    for part in step.templates():
        for message in sorted(set(_template_faults(part))):
            yield where, message
        for name in sorted(names_in(part) - captured):
            yield where, f"${{{name}}} is captured by no earlier step; {suggest(name, sorted(captured))}"


def _template_faults(part: object) -> Iterator[str]:
    if isinstance(part, str):
        yield from faults_in(part)
    elif isinstance(part, Mapping):
        for value in part.values():
            yield from _template_faults(value)
    elif isinstance(part, list | tuple):
        for value in part:
            yield from _template_faults(value)
