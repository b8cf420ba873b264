"""How many series a planned flow will have, found by feeding the store one run of it as it would be.

Nothing is sent and nothing is asked: each step passes, with one request over TLS unless it works on what is there. A
histogram is one series where it is native, and one for each bucket and two more where it is classic.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from otelprobe.quick import dataclass
from otelprobe.reasons import Outcome
from otelprobe.result import (
    CaseResult,
    Exchange,
    Fact,
    FactValue,
    FlowFacts,
    FlowResult,
    Phases,
    StepFacts,
    StepResult,
    TlsFacts,
)
from otelprobe.telemetry.metrics import Recorder
from otelprobe.telemetry.series import Histogram, Store, metric_of

_LOCAL = frozenset({"verify", "id_token", "credential_expiry"})
_CONTROLS = frozenset({"reject", "retained"})
"""Kinds whose requests are not measured, as no user sends such."""

_ISSUING = frozenset({"token", "login", "refresh", "device", "authorize"})
_DAY = 86400.0


@dataclass(frozen=True, slots=True)
class Cardinality:
    """Series of a flow: where histograms are native, and where they are classic."""

    native: int
    classic: int

    def __add__(self, other: "Cardinality") -> "Cardinality":
        return Cardinality(self.native + other.native, self.classic + other.classic)

    def __sub__(self, other: "Cardinality") -> "Cardinality":
        return Cardinality(self.native - other.native, self.classic - other.classic)


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a flow that is well has, and what its first failure adds; another way to fail adds as much again at most."""

    healthy: Cardinality
    failure: Cardinality


def estimate(facts: FlowFacts, cases: Mapping[str, Sequence[str]]) -> Estimate:
    """Give the series of a flow. `cases` are the bad credentials that its steps offer, by the step's name."""
    store = Store(lambda: 0, announce_births=False, exemplars=False)
    before = _count(store)
    recorder = Recorder(store)
    process = _count(store)
    recorder.register([facts])
    steps = tuple(_passed(index, step, cases.get(step.name, ())) for index, step in enumerate(facts.steps))
    recorder.record(_run(facts, steps, Outcome.PASS))
    healthy = _count(store)
    recorder.record(_run(facts, (*steps[:-1], _failed(facts.steps[-1], steps[-1])), Outcome.FAIL))
    return Estimate(healthy - process + before, _count(store) - healthy)


def _count(store: Store) -> Cardinality:
    total = Cardinality(0, 0)
    for owner in store.owners.values():
        for key, value in owner.series.items():
            buckets = len(metric_of(key).bounds) + 3
            total += Cardinality(1, buckets if isinstance(value, Histogram) else 1)
    return total


def _run(facts: FlowFacts, steps: tuple[StepResult, ...], outcome: Outcome) -> FlowResult:
    last = steps[-1]
    return FlowResult(
        flow=facts.flow,
        provider=facts.provider,
        labels=facts.labels,
        location=facts.location,
        run_id="",
        outcome=outcome,
        trace_id=0,
        span_id=0,
        start_ns=0,
        end_ns=0,
        duration=0.0,
        steps=steps,
        reason=last.reason,
        blame=last.blame,
        counts=last.counts,
    )


def _passed(index: int, step: StepFacts, cases: Sequence[str]) -> StepResult:
    found: dict[str, FactValue] = {}
    if step.kind in _ISSUING:
        found[Fact.ISSUANCE_EXPIRES_IN] = 300
    if step.kind == "keys":
        found |= {Fact.JWKS_KEY_COUNT: 1, Fact.JWKS_KEY_AGE: 1}
    return StepResult(
        step=step.name,
        kind=step.kind,
        layer=step.layer,
        index=index,
        outcome=Outcome.PASS,
        span_id=0,
        start_ns=0,
        end_ns=0,
        duration=0.0,
        facts=found,
        exchanges=() if step.kind in _LOCAL else (_exchange(step, 200),),
        cases=tuple(CaseResult(case, accepted=False, status=401) for case in cases),
    )


def _failed(step: StepFacts, passed: StepResult) -> StepResult:
    reason = min(step.reasons, default=None)
    exchanges = tuple(replace(exchange, status=503) for exchange in passed.exchanges)
    return replace(passed, outcome=Outcome.FAIL, reason=reason, exchanges=exchanges)


def _exchange(step: StepFacts, status: int) -> Exchange:
    return Exchange(
        method="GET",
        url="",
        host=step.layer.value,
        port=443,
        span_id=0,
        start_ns=0,
        duration=0.0,
        phases=Phases(0.0, 0.0, 0.0, 0.0, 0.0),
        status=status,
        tls=TlsFacts("1.3", "", not_after=_DAY),
        clock_skew=0.0,
        control=step.kind in _CONTROLS,
    )
