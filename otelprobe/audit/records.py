"""Results as records of the audit file: who, what, when, where, and how it went."""

from collections.abc import Iterator
from datetime import UTC, datetime

from otelprobe.result import AuditFact, FlowResult, StepResult


def records_of(result: FlowResult) -> Iterator[dict[str, object]]:
    """Give a record for each audit fact of a run, in order; what is not known is left out."""
    for step in result.steps:
        for fact in step.audit:
            yield {name: value for name, value in _record(result, step, fact).items() if value not in (None, (), {})}


def _record(result: FlowResult, step: StepResult, fact: AuditFact) -> dict[str, object]:
    return {
        "time": timestamp(step.end_ns),
        "event": fact.event.value,
        "flow": result.flow,
        "provider": result.provider,
        "location": result.location,
        "step": step.step,
        "kind": step.kind,
        "layer": step.layer.value,
        "passed": fact.passed,
        "reason": fact.reason.value if fact.reason is not None else None,
        "part": fact.part,
        "subject": fact.subject,
        "id": fact.ident,
        "previous_id": fact.previous,
        "method": fact.method,
        "route": fact.route,
        "status": fact.status,
        "cases": fact.cases,
        "claims": dict(fact.claims),
        "held_back": fact.held_back or None,
        "run_id": result.run_id,
        "trace_id": f"{result.trace_id:032x}",
        "span_id": f"{step.span_id:016x}",
    }


def timestamp(time_ns: int) -> str:
    """Write Unix nanoseconds as RFC 3339, in UTC with milliseconds."""
    return datetime.fromtimestamp(time_ns / 1e9, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
