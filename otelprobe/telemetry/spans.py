"""A result as spans: the SDK's finished spans, made afterwards from the ids that were drawn and the times that were measured.

The ids went over the wire as `traceparent` while the flow ran. A tracer would draw its own, ask a sampler and hold a
lock for a span that is already over, which costs twice as much; so the spans are made as they are exported.
Telemetry work therefore never lengthens a measured step.
"""

from collections.abc import Callable, Iterable, Iterator

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode

from otelprobe.reasons import Outcome
from otelprobe.result import Exchange, FlowResult, StepResult
from otelprobe.telemetry.attributes import (
    Attributes,
    exchange_attributes,
    exchange_error,
    flow_attributes,
    step_attributes,
)

_NS = 1_000_000_000
_BAD = frozenset({Outcome.FAIL, Outcome.ERROR})
SAMPLED = trace.TraceFlags(trace.TraceFlags.SAMPLED)
# A status has no description: prose and exception text stay out of spans.
_UNSET, _ERROR = Status(StatusCode.UNSET), Status(StatusCode.ERROR)


class SpanMaker:
    """Makes the spans of a run and hands them on together. Safe from any thread."""

    def __init__(
        self, resource: Resource, scope: InstrumentationScope, hand_on: Callable[[Iterable[ReadableSpan]], None]
    ) -> None:
        self._resource = resource
        self._scope = scope
        self._hand_on = hand_on

    def publish(self, result: FlowResult) -> None:
        """Make a run's spans: the flow's, its steps', and one for each HTTP attempt; a child comes before its parent."""
        root = _ids(result.trace_id, result.span_id)
        spans = [span for step in result.steps for span in self._step(result, step, root)]
        name, failed = f"flow {result.flow}", result.outcome in _BAD
        spans.append(
            self._span(
                name, root, _outside(result), (result.start_ns, result.end_ns), flow_attributes(result), failed=failed
            )
        )
        self._hand_on(spans)

    def _step(self, result: FlowResult, step: StepResult, parent: SpanContext) -> Iterator[ReadableSpan]:
        own = _ids(result.trace_id, step.span_id)
        for exchange in step.exchanges:
            yield self._exchange(result, step, exchange, own)
        times = step.start_ns, step.start_ns if step.outcome is Outcome.SKIP else step.end_ns
        yield self._span(step.step, own, parent, times, step_attributes(result, step), failed=step.outcome in _BAD)

    def _exchange(self, result: FlowResult, step: StepResult, exchange: Exchange, parent: SpanContext) -> ReadableSpan:
        return self._span(
            exchange.method,
            _ids(parent.trace_id, exchange.span_id),
            parent,
            (exchange.start_ns, exchange.start_ns + int(exchange.duration * _NS)),
            exchange_attributes(result, step, exchange),
            failed=exchange_error(step, exchange) is not None,
            kind=SpanKind.CLIENT,
        )

    def _span(
        self,
        name: str,
        own: SpanContext,
        parent: SpanContext | None,
        times: tuple[int, int],
        attributes: Attributes,
        *,
        failed: bool,
        kind: SpanKind = SpanKind.INTERNAL,
    ) -> ReadableSpan:
        return ReadableSpan(
            name,
            own,
            parent,
            self._resource,
            attributes,
            kind=kind,
            status=_ERROR if failed else _UNSET,
            start_time=times[0],
            end_time=times[1],
            instrumentation_scope=self._scope,
        )


def _outside(result: FlowResult) -> SpanContext | None:
    """Give the span that the run continues; None if it began its own trace."""
    if result.parent_span_id is None:
        return None
    return _ids(result.trace_id, result.parent_span_id, is_remote=True)


def _ids(trace_id: int, span_id: int, *, is_remote: bool = False) -> SpanContext:
    return SpanContext(trace_id, span_id, is_remote=is_remote, trace_flags=SAMPLED)


def span_context(trace_id: int, span_id: int) -> Context:
    """Give a context in which a span with these ids is current."""
    return trace.set_span_in_context(trace.NonRecordingSpan(_ids(trace_id, span_id)), Context())
