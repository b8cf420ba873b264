"""FlowPlan to FlowResult: every planned step gets its row, and nothing that a check finds is ever raised."""

import os
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import field, replace
from pathlib import PurePath
from struct import Struct
from typing import Protocol

from otelprobe.audit.facts import Auditor, Noted
from otelprobe.clock import Clock, SystemClock
from otelprobe.drift import DriftPolicy, compare
from otelprobe.expect import check_answer, status_matches
from otelprobe.fields import DEFAULT_HTTP, HttpOptions
from otelprobe.http import Http, Wire
from otelprobe.patterns import bounded_by
from otelprobe.plan import FlowPlan
from otelprobe.quick import dataclass
from otelprobe.reasons import CheckFailed, Outcome, Reason, owner
from otelprobe.result import Exchange, Fact, FactValue, FlowResult, StepResult, Warn
from otelprobe.state import Memory, State
from otelprobe.step import Context, Done, Made, Step, StepFailed, capture_values
from otelprobe.template import names_in
from otelprobe.tokens import Jwt

_MOST_TOLD = 5
_DRAW = Struct("<64Q")
_NOTHING_DONE = Done()
CLEAN_UP_RESERVE = 5.0
"""Seconds: what all clean-up steps together may take beyond the flow's deadline, lest a slow target leave tokens unrevoked."""

SKEW_WORTH_A_WARNING = 30.0
"""Seconds: skew that breaks nothing is a fact, and a warning above this (reasons.md, rule 5)."""


class Ids(Protocol):
    """Where trace, span and run ids come from."""

    def trace_id(self) -> int:
        """Draw a trace id of 128 bits, not zero."""
        ...

    def span_id(self) -> int:
        """Draw a span id of 64 bits, not zero."""
        ...


class RandomIds:
    """Ids from the machine's entropy, as W3C Trace Context asks for. It is asked for those of several runs at once."""

    def __init__(self) -> None:
        self._drawn: list[int] = []

    def trace_id(self) -> int:
        """Draw a trace id."""
        return self.span_id() << 64 | self.span_id()

    def span_id(self) -> int:
        """Draw a span id."""
        try:
            return self._drawn.pop() or 1
        except IndexError:
            self._drawn += _DRAW.unpack(os.urandom(_DRAW.size))
            return self._drawn.pop() or 1


@dataclass(frozen=True, kw_only=True)
class Tools:
    """The whole outside world: the network, the clock, ids, state. `parent` is the trace and span that a run continues."""

    http: Http
    clock: Clock = field(default_factory=SystemClock)
    ids: Ids = field(default_factory=RandomIds)
    state: State = field(default_factory=State)
    memory: Memory = field(default_factory=Memory)
    auditor: Auditor = field(default_factory=Auditor)
    parent: tuple[int, int] | None = None
    on_step: Callable[[str, str], None] | None = None


def parent_from_environment(environ: Mapping[str, str] = os.environ) -> tuple[int, int] | None:
    """Read `TRACEPARENT` (W3C Trace Context) as a trace and a span id; None where there is none or it is malformed."""
    parts = environ.get("TRACEPARENT", "").strip().split("-")
    if len(parts) < 4 or [len(p) for p in parts[:4]] != [2, 32, 16, 2] or parts[0] == "ff":
        return None
    try:
        trace_id, span_id = int(parts[1], 16), int(parts[2], 16)
    except ValueError:
        return None
    return (trace_id, span_id) if trace_id and span_id else None


def warm_up(plans: Iterable[FlowPlan], tools: Tools) -> None:
    """Load what the plans' steps will need (libraries, trust stores), so that no measured step pays for it."""
    for plan in plans:
        if plan.provider is not None:
            plan.provider.warm_up()
        for step in plan.steps:
            step.warm_up()
            for url in step.addresses(plan.provider):
                tools.http.warm_up(url, options_for(step, plan))


def run_flow(plan: FlowPlan, tools: Tools) -> FlowResult:
    """Run every step in order. The first that does not pass owns the verdict; later ones are skipped, save `always` ones."""
    clock = tools.clock
    run = _Run(plan, tools, start_ns=clock.time_ns(), started=clock.monotonic())
    for index, step in enumerate(plan.steps):
        run.take(index, step)
    result = run.result()
    tools.state.flush()
    return result


class _Run:
    """One run under way: what was made, captured and found so far."""

    def __init__(self, plan: FlowPlan, tools: Tools, *, start_ns: int, started: float) -> None:
        self._plan = plan
        self._tools = tools
        self._start_ns = start_ns
        self._started = started
        self._trace_id = tools.parent[0] if tools.parent else tools.ids.trace_id()
        self._parent = tools.parent[1] if tools.parent else None
        self._span_id = tools.ids.span_id()
        self._noted: list[Noted] = []
        self._made: list[Made] = []
        self._captured: dict[str, str] = {}
        self._parsed: dict[str, Jwt] = {}
        self._failed: StepResult | None = None
        self._drifted: StepResult | None = None

    def take(self, index: int, step: Step) -> None:
        """Run or skip one step and keep its row."""
        runnable = self._failed is None or (step.always and self._has_needs(step))
        noted = self._run_step(index, step) if runnable else Noted(self._skip(index, step))
        self._noted.append(noted)
        row = noted.row
        if row.outcome is Outcome.PASS or row.outcome is Outcome.SKIP:
            return
        if row.reason is Reason.DRIFT_DETECTED:
            self._drifted = self._drifted or row
        elif self._failed is None:
            self._failed = row

    def result(self) -> FlowResult:
        """Freeze what happened. The clean-up of `always` steps cannot improve the verdict; drift yields to a failure."""
        clock, failed = self._tools.clock, self._failed or self._drifted
        duration = clock.monotonic() - self._started
        return FlowResult(
            flow=self._plan.name,
            provider=self._plan.provider.name if self._plan.provider else None,
            labels=self._plan.labels,
            location=self._plan.location,
            run_id=f"{self._span_id:016x}",
            outcome=failed.outcome if failed else Outcome.PASS,
            trace_id=self._trace_id,
            span_id=self._span_id,
            parent_span_id=self._parent,
            start_ns=self._start_ns,
            end_ns=self._start_ns + int(duration * 1e9),
            duration=duration,
            steps=self._tools.auditor.rows(self._noted),
            reason=failed.reason if failed else None,
            blame=failed.blame if failed else None,
            counts=failed.counts if failed else None,
            failed_step=failed.step if failed else None,
            detail=failed.detail if failed else None,
        )

    def _has_needs(self, step: Step) -> bool:
        """Tell whether what a clean-up step needs was made, and what it fills in was captured."""
        kinds = step.required(self._plan.provider)
        made = all(any(isinstance(m.artifact, kind) for m in self._made) for kind in kinds)
        return made and names_in(step.templates()) <= self._captured.keys()

    def _skip(self, index: int, step: Step) -> StepResult:
        now = self._tools.clock.time_ns()
        return StepResult(
            step=step.name,
            kind=step.kind,
            layer=step.layer,
            index=index,
            counted=step.counted,
            outcome=Outcome.SKIP,
            span_id=self._tools.ids.span_id(),
            start_ns=now,
            end_ns=now,
            duration=0.0,
        )

    def _run_step(self, index: int, step: Step) -> Noted:
        clock = self._tools.clock
        if self._tools.on_step is not None:
            self._tools.on_step(self._plan.name, step.name)
        span_id, wire = self._tools.ids.span_id(), Wire(self._trace_id, self._tools.ids.span_id)
        start_ns, started = clock.time_ns(), clock.monotonic()
        ctx = self._context(step, wire, started)
        done, failed = self._attempt(step, ctx, started)
        wall = clock.monotonic() - started
        skewed = _worst_skew(wire.exchanges)
        row = StepResult(
            step=step.name,
            kind=step.kind,
            layer=step.layer,
            index=index,
            counted=step.counted,
            outcome=Outcome.PASS,
            span_id=span_id,
            start_ns=start_ns,
            end_ns=start_ns + int(wall * 1e9),
            duration=max(0.0, wall - _aside(wire)),
            warnings=(*done.warnings, *_skew_warnings(skewed)),
            exchanges=_in_order(wire.exchanges),
            facts=_with_skew(done, skewed),
            expiries=done.expiries,
            key_changes=done.key_changes,
            cases=done.cases,
            provider_status=done.provider_status,
            findings=done.findings,
        )
        row = row if failed is None else _failed_row(row, failed)
        if self._plan.drift is not None:
            row = self._compared(ctx, self._plan.drift, done, row)
        return Noted(row, done.makes, tuple(ctx.presented), step.expect.status or ())

    def _compared(self, ctx: Context, policy: DriftPolicy, done: Done, row: StepResult) -> StepResult:
        """Add to a row what differs from the baseline; a step that passed fails by it where the policy says so."""
        try:
            found = compare(ctx, policy, row.step, done.makes, row.exchanges)
        except Exception as error:  # noqa: BLE001 - our own bug must never look like somebody's outage
            return _failed_row(row, CheckFailed(Reason.PROBER_ERROR, describe_bug(error)))
        row = replace(row, drift=found.changes, warnings=(*row.warnings, *found.warnings))
        if not policy.fail or not found.differences or row.outcome is not Outcome.PASS:
            return row
        told = "; ".join(f"{d.subject.value}: {d.detail}" for d in found.differences[:_MOST_TOLD])
        return _failed_row(row, CheckFailed(Reason.DRIFT_DETECTED, told, blame=owner(row.layer)))

    def _context(self, step: Step, wire: Wire, started: float) -> Context:
        ends = self._ends(step, started)
        return Context(
            http=self._tools.http,
            wire=wire,
            clock=self._tools.clock,
            state=self._tools.state,
            memory=self._tools.memory,
            options=options_for(step, self._plan),
            deadline=min(ends, started + step.timeout) if step.timeout else ends,
            flow=self._plan.name,
            provider=self._plan.provider,
            made=tuple(self._made),
            captured=self._captured,
            parsed=self._parsed,
        )

    def _ends(self, step: Step, started: float) -> float:
        """Give when a step has to end: with the flow; a clean-up has its reserve beyond that, if it begins late."""
        ends = self._started + self._plan.deadline
        return max(ends, min(started, ends) + CLEAN_UP_RESERVE) if step.always else ends

    def _attempt(self, step: Step, ctx: Context, started: float) -> tuple[Done, CheckFailed | None]:
        """Do the step and check what is expected of any step.

        What it made is kept even if an expectation failed: a clean-up step may still have to revoke it.
        """
        done = _NOTHING_DONE
        failure: CheckFailed | None = None
        try:
            self._check_time_left(ctx)
            with bounded_by(lambda: ctx.deadline - ctx.clock.monotonic()):
                done = step.run(ctx)
                self._captured |= _check_common(step, done)
            self._check_duration(step, ctx, started)
        except StepFailed as failed:
            done, failure = failed.done, failed
        except CheckFailed as failed:
            failure = failed
        except Exception as error:  # noqa: BLE001 - our own bug must never look like somebody's outage
            failure = CheckFailed(Reason.PROBER_ERROR, describe_bug(error))
        for exchange in ctx.wire.exchanges:
            if exchange.clock_skew is not None:
                ctx.memory.note_skew(exchange.host, exchange.clock_skew)
        self._made.extend(Made(step.name, artifact) for artifact in done.makes)
        return done, failure

    def _check_time_left(self, ctx: Context) -> None:
        if ctx.clock.monotonic() >= ctx.deadline:
            raise CheckFailed(
                Reason.DEADLINE_EXCEEDED,
                f"the flow's deadline of {self._plan.deadline:g} s was used up before this step",
            )

    def _check_duration(self, step: Step, ctx: Context, started: float) -> None:
        wanted = step.expect.max_duration
        if wanted is None:
            return
        took = ctx.clock.monotonic() - started - _aside(ctx.wire)
        if took > wanted:
            raise CheckFailed(Reason.TOO_SLOW, f"took {took * 1000:.0f} ms, allowed {wanted * 1000:.0f} ms")


def options_for(step: Step, plan: FlowPlan) -> HttpOptions:
    """Give the HTTP options in force: the step's own, then its provider's for a step that talks to it, then the flow's.

    A provider's block speaks of just that host, so it is nearer to the provider's steps than what the flow says for all.
    """
    most = step.most_bytes()
    common = DEFAULT_HTTP if most is None else replace(DEFAULT_HTTP, max_size=most)
    wider = plan.http.over(common)
    if step.calls_provider() and plan.provider is not None:
        wider = plan.provider.http.over(wider)
    return step.http.over(wider)


def _check_common(step: Step, done: Done) -> Mapping[str, str]:
    """Check `expect` and read `capture` in the step's answer; give what was captured."""
    if done.reply is None:
        return {}
    wanted = step.expect.status
    if wanted is not None and not status_matches(done.reply.status, wanted):
        raise CheckFailed(Reason.ASSERTION_FAILED, f"status {done.reply.status}, expected {' or '.join(wanted)}")
    check_answer(done.reply, step.expect)
    return capture_values(step, done.reply)


def _in_order(exchanges: list[Exchange]) -> tuple[Exchange, ...]:
    """Give exchanges as they began: of several at a time, as in a browser, any may end first."""
    return tuple(sorted(exchanges, key=lambda exchange: exchange.start_ns))


def _aside(wire: Wire) -> float:
    """Give the seconds that are no part of what the user's request would take."""
    seconds = sum(wire.aside)
    for exchange in wire.exchanges:
        if exchange.control:
            seconds += exchange.duration
    return seconds


def _worst_skew(exchanges: list[Exchange]) -> Exchange | None:
    seen = [x for x in exchanges if x.clock_skew is not None]
    if len(seen) < 2:
        return seen[0] if seen else None
    return max(seen, key=lambda x: abs(x.clock_skew or 0.0), default=None)


def _skew_warnings(worst: Exchange | None) -> tuple[Warn, ...]:
    if worst is None or abs(worst.clock_skew or 0.0) <= SKEW_WORTH_A_WARNING:
        return ()
    return (Warn(Reason.CLOCK_SKEW, f"the clock of {worst.host} is {worst.clock_skew:+.0f} s from the prober's"),)


def _with_skew(done: Done, worst: Exchange | None) -> Mapping[str, FactValue]:
    if worst is None or worst.clock_skew is None or Fact.CLOCK_SKEW in done.facts:
        return done.facts
    return {**done.facts, Fact.CLOCK_SKEW: round(worst.clock_skew, 3)}


def _failed_row(row: StepResult, failed: CheckFailed) -> StepResult:
    outcome, blame, counts = failed.assigned(row.layer)
    return replace(
        row,
        outcome=outcome,
        reason=failed.reason,
        blame=blame,
        counts=counts,
        detail=failed.detail or None,
        problems=failed.problems,
    )


def describe_bug(error: BaseException) -> str:
    """Name an exception of ours by type and place. Its text is left out: it may hold anything."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if f"{os.sep}otelprobe{os.sep}" in f.filename] or frames
    place = f" at {PurePath(ours[-1].filename).name}:{ours[-1].lineno}" if ours else ""
    return f"{type(error).__name__}{place}; please report this"
