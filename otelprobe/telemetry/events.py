"""A result as log events: what happened, when, and in which span; the only signal that carries prose.

Exceptions are not recorded at all: a run's failure is a reason and a detail. The same events are sent in both modes, as
an audit trail must not depend on how the prober is run.
"""

from collections.abc import Callable, Iterable, Iterator
from enum import IntEnum
from struct import Struct

from otelprobe.reasons import Outcome, Reason
from otelprobe.result import FlowResult, StepResult
from otelprobe.telemetry import schema, wire
from otelprobe.telemetry.attributes import Attributes, audit_attributes, verdict_attributes
from otelprobe.telemetry.schema import Event


class SeverityNumber(IntEnum):
    """How grave an event is, by the logs data model, as far as it is used."""

    INFO = 9
    WARN = 13
    ERROR = 17


_HEAD = Struct("<BQBBBI")
_OBSERVED = Struct("<BQ")
_SAMPLED = 1
_MOST_PROSE = 4096
"""Characters of the faults of a refused configuration that an event holds."""


class EventMaker:
    """Makes the log events of a run and hands them on together."""

    def __init__(self, hand_on: Callable[[Iterable[bytes]], None]) -> None:
        self._hand_on = hand_on

    def publish(self, result: FlowResult) -> None:
        """Make a run's events."""
        base = _base(result)
        records = [*self._step_events(result, base), *self._flow_events(result, base)]
        self._hand_on(records)

    def reloaded(self, *, ok: bool, text: str, time_ns: int) -> None:
        """Make the event of a reload; `text` says what was wrong."""
        told: Attributes = {schema.RELOAD_OUTCOME.name: "ok" if ok else "refused"}
        if text:
            told[schema.DETAIL.name] = text[:_MOST_PROSE]
        severity = SeverityNumber.INFO if ok else SeverityNumber.ERROR
        self._hand_on([self._record(schema.CONFIG_RELOADED, time_ns, None, told, severity)])

    def _flow_events(self, result: FlowResult, base: Attributes) -> Iterator[bytes]:
        verdict = verdict_attributes(result)
        warnings = tuple(dict.fromkeys(w.reason.value for w in result.warnings))
        times: Attributes = {
            schema.DURATION.name: result.duration,
            schema.AUTH_DURATION.name: result.auth_duration,
            schema.API_DURATION.name: result.api_duration,
        }
        if warnings:
            times[schema.WARNINGS.name] = warnings
        ids = result.trace_id, result.span_id
        severity = SeverityNumber.WARN if warnings else SeverityNumber.INFO
        yield self._record(schema.FLOW_COMPLETED, result.end_ns, ids, {**base, **verdict, **times}, severity)
        if result.outcome in {Outcome.FAIL, Outcome.ERROR}:
            why: Attributes = {**base, **verdict}
            if result.detail:
                why[schema.DETAIL.name] = result.detail
            yield self._record(schema.FLOW_FAILED, result.end_ns, ids, why, SeverityNumber.ERROR)

    def _step_events(self, result: FlowResult, base: Attributes) -> Iterator[bytes]:
        for step in result.steps:
            ids = result.trace_id, step.span_id
            about: Attributes = {**base, schema.STEP.name: step.step}
            for change in step.key_changes:
                what: Attributes = {schema.KEY_CHANGE.name: change.change, schema.KEY_ID.name: change.kid}
                yield self._record(schema.JWKS_CHANGED, step.end_ns, ids, {**about, **what}, SeverityNumber.INFO)
            yield from self._memory_events(step, ids, about)
            for case in (c for c in step.cases if c.accepted):
                finding: Attributes = {**about, schema.CASE.name: case.case}
                if case.status is not None:
                    finding[schema.STATUS_CODE.name] = case.status
                yield self._record(schema.REJECTION_ACCEPTED, step.end_ns, ids, finding, SeverityNumber.ERROR)
            yield from self._audit(step, ids, about)

    def _memory_events(self, step: StepResult, ids: tuple[int, int], about: Attributes) -> Iterator[bytes]:
        """Give what only shows between runs: what differs from its baseline, and memory that was lost."""
        for change in step.drift:
            what: Attributes = {
                schema.DRIFT_SUBJECT.name: change.subject.value,
                schema.DRIFT_NAME.name: change.name,
                schema.DETAIL.name: change.detail,
            }
            yield self._record(schema.DRIFT_DETECTED, step.end_ns, ids, {**about, **what}, SeverityNumber.WARN)
        for lost in (w for w in step.warnings if w.reason is Reason.STATE_LOST):
            why: Attributes = {schema.DETAIL.name: lost.detail}
            yield self._record(schema.STATE_LOST, step.end_ns, ids, {**about, **why}, SeverityNumber.WARN)

    def _audit(self, step: StepResult, ids: tuple[int, int], about: Attributes) -> Iterator[bytes]:
        where: Attributes = {**about, schema.KIND.name: step.kind, schema.LAYER.name: step.layer.value}
        for fact in step.audit:
            severity = SeverityNumber.INFO if fact.passed else SeverityNumber.WARN
            event = schema.AUDIT_EVENTS[fact.event]
            yield self._record(event, step.end_ns, ids, {**where, **audit_attributes(fact)}, severity)

    @staticmethod
    def _record(
        event: Event, time_ns: int, ids: tuple[int, int] | None, attributes: Attributes, severity: SeverityNumber
    ) -> bytes:
        """Write a log record with its length; `ids` are those of the trace and the span, None where there is no trace."""
        trace = (
            b""
            if ids is None
            else b"".join((b"\x4a\x10", ids[0].to_bytes(16, "big"), b"\x52\x08", ids[1].to_bytes(8, "big")))
        )
        return wire.sized(
            b"".join(
                (
                    _HEAD.pack(0x09, time_ns, 0x10, severity, 0x45, _SAMPLED if ids else 0),
                    wire.attributes(b"\x32", attributes),
                    trace,
                    _OBSERVED.pack(0x59, time_ns),
                    b"\x62",
                    wire.text(event.name),
                )
            )
        )


def _base(result: FlowResult) -> Attributes:
    base: Attributes = {schema.FLOW.name: result.flow, schema.RUN_ID.name: result.run_id}
    if result.provider is not None:
        base[schema.PROVIDER.name] = result.provider
    if result.location is not None:
        base[schema.LOCATION.name] = result.location
    return base
