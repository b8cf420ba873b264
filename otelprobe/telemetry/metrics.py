"""A result as metrics: which series a run feeds, and which a planned flow has from the start."""

import resource
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from otelprobe import __version__
from otelprobe.reasons import Blame, CheckFailed, Counts, Layer, Outcome, Reason, objective, owner
from otelprobe.result import Exchange, Fact, FlowFacts, FlowResult, StepFacts, StepResult
from otelprobe.telemetry import schema
from otelprobe.telemetry.attributes import exchange_error, phases
from otelprobe.telemetry.delivery import Delivery
from otelprobe.telemetry.schema import Metric
from otelprobe.telemetry.series import Mark, Owner, OwnerId, Store, Values

_NS = 1_000_000_000
_STALE_AFTER = 3
"""Intervals without a run after which a gauge is no longer reported."""

_DEFAULT_INTERVAL = 60.0
_VERIFYING = frozenset({"verify", "id_token"})
_PEERS = {Layer.AUTH: "provider", Layer.API: "api"}

Verdict = tuple[str, str | None, str | None]


class Recorder:
    """Feeds the store: with zeros when flows are planned, with numbers after each run.

    `gauges_end` is off in one-shot mode, where every gauge is of this very run.
    """

    def __init__(self, store: Store, *, gauges_end: bool = True) -> None:
        self._store = store
        self._gauges_end = gauges_end
        self._intervals: dict[str, float] = {}
        for outcome in schema.RELOAD_OUTCOME.values:
            store.plan(store.process, schema.CONFIG_RELOADS, (outcome,))
        store.plan(store.process, schema.AUDIT_SUPPRESSED)
        store.plan(store.process, schema.AUDIT_LOST)

    def register(self, flows: Sequence[FlowFacts]) -> None:
        """Create what these flows will count, at zero; forget flows and steps that are not among them."""
        self._intervals = {f.flow: f.interval or _DEFAULT_INTERVAL for f in flows}
        known: set[OwnerId] = {("flow", f.flow) for f in flows} | {("provider", f.provider or f.flow) for f in flows}
        self._store.retire(known.__contains__)
        steps = {f.flow: {s.name for s in f.steps} for f in flows}
        self._store.forget(lambda ident, metric, values: _obsolete(steps, ident, metric, values))
        for facts in flows:
            self._plan(facts)

    def _plan(self, facts: FlowFacts) -> None:
        store, flow = self._store, self._flow(facts)
        store.plan(flow, schema.FLOW_RUNS, (Outcome.PASS.value, None, None, None))
        for verdict in sorted(_verdicts(facts.steps), key=str):
            store.plan(flow, schema.FLOW_RUNS, (*verdict, None))
        for step in facts.steps:
            for outcome in Outcome:
                store.plan(flow, schema.STEP_RUNS, (step.name, step.kind, step.layer.value, outcome.value, None))
            if step.kind in _VERIFYING:
                store.plan(flow, schema.VALIDATION_FAILURES, (None,))
            if step.kind == "keys":
                for change in schema.KEY_CHANGE.values:
                    store.plan(self._provider(facts), schema.KEY_CHANGES, (change,))
        for subject in schema.DRIFT_SUBJECT.values if facts.drift else ():
            store.plan(flow, schema.DRIFT_CHANGES, (subject,))
        for reason in schema.MISSED_REASON.values:
            store.plan(flow, schema.SCHEDULE_MISSED, (reason,))
        for name, value in facts.objectives.items():
            store.gauge(flow, schema.OBJECTIVE, (name, None, None), value, None)

    def _flow(self, facts: FlowFacts | FlowResult) -> Owner:
        named = {
            schema.FLOW.name: facts.flow,
            schema.PROVIDER.name: facts.provider,
            schema.LOCATION.name: facts.location,
        }
        return self._store.owner(("flow", facts.flow), {k: v for k, v in named.items() if v is not None}, facts.labels)

    def _provider(self, facts: FlowFacts | FlowResult) -> Owner:
        """Give the owner of a provider's series; a flow that has none stands for it."""
        name = facts.provider or facts.flow
        return self._store.owner(("provider", name), {schema.PROVIDER.name: name})

    def record(self, result: FlowResult) -> None:
        """Feed one run."""
        run = _Run(self._store, self._flow(result), result, self._until(result))
        run.flow_numbers()
        self._posture(result)
        for step in result.steps:
            run.step_numbers(step)
            run.keys(step, self._provider)
            run.expiries(step)

    def _posture(self, result: FlowResult) -> None:
        """Take over the findings of a run in which posture was looked at; another run leaves them as they are."""
        looked = [s for s in result.steps if Fact.POSTURE_RULES in s.facts]
        if looked:
            counts = Counter((f.rule, f.severity.value) for s in looked for f in s.findings if f.waived is None)
            self.posture(result.flow, ((rule, severity, number) for (rule, severity), number in counts.items()))

    def _until(self, result: FlowResult) -> int | None:
        if not self._gauges_end:
            return None
        interval = self._intervals.get(result.flow, _DEFAULT_INTERVAL)
        return result.end_ns + int(_STALE_AFTER * interval * _NS)

    def scheduled(self, flows: int, shard: int, shards: int) -> None:
        """Say how many flows this process runs, and as which shard of how many; what was said before no longer holds."""
        process = self._store.process
        self._store.forget(lambda _ident, metric, _values: metric is schema.SCHEDULE_FLOWS)
        self._store.gauge(process, schema.SCHEDULE_FLOWS, (shard, shards), flows, None)

    def schedule_lag(self, seconds: float, flow: str) -> None:
        """Feed how late a run started; one histogram for all flows, as lag is the process's own trouble."""
        _ = flow
        self._store.observe(self._store.process, schema.SCHEDULE_LAG, (), max(0.0, seconds), None)

    def missed(self, reason: str, flow: str) -> None:
        """Count a planned run that did not take place."""
        owner_ = self._store.owners.get(("flow", flow)) or self._store.owner(("flow", flow), {schema.FLOW.name: flow})
        self._store.count(owner_, schema.SCHEDULE_MISSED, (reason,))

    def reloaded(self, *, ok: bool) -> None:
        """Count an attempt to read the configuration anew."""
        self._store.count(self._store.process, schema.CONFIG_RELOADS, (schema.RELOAD_OUTCOME.values[0 if ok else 1],))

    def audit_suppressed(self, events: int) -> None:
        """Count audit events that were held back."""
        self._store.count(self._store.process, schema.AUDIT_SUPPRESSED, by=events)

    def audit_lost(self, records: int) -> None:
        """Count audit records that could not be written."""
        self._store.count(self._store.process, schema.AUDIT_LOST, by=records)

    def posture(self, flow: str, findings: Iterable[tuple[str, str, int]]) -> None:
        """Replace a flow's posture findings: rule, severity and number of each."""
        ident = ("flow", flow)
        self._store.forget(lambda i, metric, _values: i == ident and metric is schema.POSTURE)
        owner_ = self._store.owners.get(ident) or self._store.owner(ident, {schema.FLOW.name: flow})
        for rule, severity, number in findings:
            self._store.gauge(owner_, schema.POSTURE, (rule, severity), number, None)

    def delivery(self, delivery: Delivery) -> None:
        """Take over the counts of what was delivered so far, and what the process is and uses."""
        if self._gauges_end:
            self._store.gauge(self._store.process, schema.BUILD, (__version__,), 1, None)
            self._store.gauge(self._store.process, schema.MEMORY, (), resident_bytes(), None)
        for signal, count in delivery.signals.items():
            for outcome in schema.EXPORT_OUTCOME.values:
                self._store.total(self._store.process, schema.EXPORT_ITEMS, (signal, outcome), getattr(count, outcome))


def resident_bytes() -> int:
    """Give how much memory this process holds now; where there is no /proc, the most that it ever held."""
    try:
        with Path("/proc/self/statm").open(encoding="ascii") as file:
            return int(file.read().split()[1]) * resource.getpagesize()
    except OSError:
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024


def _obsolete(steps: dict[str, set[str]], ident: OwnerId, metric: Metric, values: Values) -> bool:
    """Tell whether a flow's series belongs to a step or an objective that its new configuration may not have."""
    if ident[0] != "flow":
        return False
    if metric is schema.OBJECTIVE:
        return True
    return bool(metric.attributes) and metric.attributes[0] is schema.STEP and values[0] not in steps[ident[1]]


def _verdicts(steps: Sequence[StepFacts]) -> set[Verdict]:
    """Give every outcome, blame and objective that a flow of these steps can end with."""
    found: set[Verdict] = {
        (Outcome.ERROR.value, Blame.PROBER.value, Counts.NONE.value),
        (Outcome.ERROR.value, Blame.CONFIG.value, Counts.NONE.value),
    }
    for step in steps:
        own = objective(step.layer).value
        found.add((Outcome.FAIL.value, owner(step.layer).value, own))
        found.add((Outcome.FAIL.value, Blame.NETWORK.value, own))
        found.update((o.value, b.value, c.value) for o, b, c in (_assigned(r, step.layer) for r in step.reasons))
    return found


def _assigned(reason: Reason, layer: Layer) -> tuple[Outcome, Blame, Counts]:
    return CheckFailed(reason).assigned(layer)


def _value(word: Reason | Blame | Counts | None) -> str | None:
    return None if word is None else word.value


class _Run:
    """One run being fed."""

    def __init__(self, store: Store, owner: Owner, result: FlowResult, until_ns: int | None) -> None:
        self._store = store
        self._owner = owner
        self._result = result
        self._until = until_ns

    def _gauge(self, metric: Metric, values: Values, value: float, *, lasting: bool = False) -> None:
        self._store.gauge(self._owner, metric, values, value, None if lasting else self._until)

    def _mark(self, span_id: int) -> Mark:
        """Point to a span; shared by all its measurements, as a thousand flows hold some ten each."""
        return Mark(self._result.trace_id, span_id, self._result.end_ns)

    def flow_numbers(self) -> None:
        result, mark = self._result, self._mark(self._result.span_id)
        outcome = result.outcome.value
        verdict = outcome, _value(result.blame), _value(result.counts), _value(result.reason)
        self._store.count(self._owner, schema.FLOW_RUNS, verdict)
        self._gauge(schema.FLOW_UP, (), int(result.passed))
        self._gauge(schema.LAST_RUN, (), result.end_ns / _NS, lasting=True)
        if result.passed:
            self._gauge(schema.LAST_SUCCESS, (), result.end_ns / _NS, lasting=True)
        self._store.observe(self._owner, schema.FLOW_DURATION, (outcome,), result.duration, mark)
        ran = {s.layer for s in result.steps if s.outcome is not Outcome.SKIP}
        if Layer.AUTH in ran:
            self._store.observe(self._owner, schema.AUTH_TIME, (), result.auth_duration, mark)
        if Layer.API in ran:
            self._store.observe(self._owner, schema.API_TIME, (), result.api_duration, mark)

    def step_numbers(self, step: StepResult) -> None:
        store, owner_ = self._store, self._owner
        ident = step.step, step.kind, step.layer.value
        outcome = step.outcome.value
        told = step.outcome is not Outcome.PASS and step.outcome is not Outcome.SKIP
        reason = _value(step.reason) if told else None
        store.count(owner_, schema.STEP_RUNS, (*ident, outcome, reason))
        self._gauge(schema.STEP_UP, ident, int(step.outcome is Outcome.PASS))
        if step.outcome is Outcome.SKIP:
            return
        store.observe(owner_, schema.STEP_DURATION, (*ident, outcome), step.duration, self._mark(step.span_id))
        expires_in = step.facts.get(Fact.ISSUANCE_EXPIRES_IN)
        if isinstance(expires_in, int | float):
            self._gauge(schema.EXPIRES_IN, (step.step,), expires_in)
        if step.kind in _VERIFYING and step.outcome is Outcome.FAIL:
            for problem in step.problems or tuple(filter(None, (step.reason,))):
                store.count(owner_, schema.VALIDATION_FAILURES, (problem.value,))
        for change in step.drift:
            store.count(owner_, schema.DRIFT_CHANGES, (change.subject.value,))
        for case in step.cases:
            self._gauge(schema.REJECTION, (case.case,), int(case.accepted), lasting=True)
            if case.fetched is not None:
                self._gauge(schema.REJECTION_FOLLOWED, (case.case,), int(case.fetched), lasting=True)
        delay = step.facts.get(Fact.REVOCATION_DELAY)
        if isinstance(delay, int | float):
            self._gauge(schema.REVOCATION_DELAY, (step.step,), delay, lasting=True)
        self._claimed_skew(step)
        for exchange in step.exchanges:
            self._exchange(step, exchange)

    def _claimed_skew(self, step: StepResult) -> None:
        """Tell of a clock that was read from a token, where no answer of the step had a `Date`."""
        skew = step.facts.get(Fact.CLOCK_SKEW)
        if not isinstance(skew, int | float):
            return
        peer, dated = _PEERS.get(step.layer), any(exchange.clock_skew is not None for exchange in step.exchanges)
        if peer is not None and not dated:
            self._gauge(schema.CLOCK_SKEW, (peer,), skew)

    def _exchange(self, step: StepResult, exchange: Exchange) -> None:
        peer = _PEERS.get(step.layer)
        if exchange.clock_skew is not None and peer is not None:
            self._gauge(schema.CLOCK_SKEW, (peer,), exchange.clock_skew)
        if exchange.control:
            return
        mark = self._mark(exchange.span_id)
        if not exchange.handshake:
            call = step.step, exchange.method, exchange.host, exchange.port, exchange.status
            error = _value(exchange_error(step, exchange))
            self._store.observe(self._owner, schema.HTTP_DURATION, (*call, error), exchange.duration, mark)
        for phase, seconds in phases(exchange):
            self._store.observe(self._owner, schema.PHASE_DURATION, (step.step, phase), seconds, mark)

    def keys(self, step: StepResult, provider: Callable[[FlowResult], Owner]) -> None:
        """Feed what belongs to the provider: its keys and its status page."""
        number = step.facts.get(Fact.JWKS_KEY_COUNT)
        if isinstance(number, int):
            self._store.gauge(provider(self._result), schema.KEY_COUNT, (), number, self._until)
        age = step.facts.get(Fact.JWKS_KEY_AGE)
        if isinstance(age, int | float):
            self._store.gauge(provider(self._result), schema.KEY_AGE, (), age, self._until)
        for change in step.key_changes:
            self._store.count(provider(self._result), schema.KEY_CHANGES, (change.change,))
        if step.provider_status is not None:
            now = step.provider_status.state
            for state in schema.PROVIDER_STATE.values:
                self._store.gauge(
                    provider(self._result), schema.PROVIDER_STATUS, (state,), int(state == now), self._until
                )

    def expiries(self, step: StepResult) -> None:
        """Feed what ends, as the time of its end, and how long before it the flow file wants to be told."""
        for subject, name, end in _ends(step):
            self._store.gauge(self._store.process, schema.EXPIRY, (subject, name), end, self._until)
        for expiry in step.expiries:
            before = {"expiry_warning": expiry.warn_before, "expiry_critical": expiry.critical_before}
            for word, seconds in before.items():
                if seconds is not None:
                    self._gauge(schema.OBJECTIVE, (word, expiry.subject, expiry.name), seconds)


def _ends(step: StepResult) -> Iterator[tuple[str, str, float]]:
    """Give what ends and when: the TLS certificates that were shown, and what the step looked at."""
    for exchange in step.exchanges:
        if exchange.tls is not None and exchange.tls.not_after is not None:
            host = exchange.host if exchange.port == 443 else f"{exchange.host}:{exchange.port}"
            yield "tls", host, exchange.tls.not_after
    for expiry in step.expiries:
        yield expiry.subject, expiry.name, step.end_ns / _NS + expiry.remaining
