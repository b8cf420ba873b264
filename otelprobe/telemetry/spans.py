"""A result as spans: made by the SDK's tracer afterwards, with the ids that were drawn and the times that were measured.

The ids went over the wire as `traceparent` while the flow ran, so a replaying id generator hands the same ones to the
tracer. Telemetry work therefore never lengthens a measured step.
"""

import threading
from collections.abc import Callable, Iterable, Mapping

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import SpanKind, StatusCode

from otelprobe import __version__
from otelprobe.reasons import Outcome
from otelprobe.result import Exchange, FlowResult, StepResult
from otelprobe.telemetry import schema
from otelprobe.telemetry.attributes import (
    AttributeValue,
    exchange_attributes,
    exchange_error,
    flow_attributes,
    step_attributes,
)

_NS = 1_000_000_000
SAMPLED = trace.TraceFlags(trace.TraceFlags.SAMPLED)


class ReplayedIds(IdGenerator):
    """Hands out the ids that were drawn before the run; set them, then start the span."""

    def __init__(self) -> None:
        self.trace_id = 0
        self.span_id = 0

    def generate_trace_id(self) -> int:
        """Give the run's trace id."""
        return self.trace_id

    def generate_span_id(self) -> int:
        """Give the id drawn for the span that is being started."""
        return self.span_id


class _Gather(SpanProcessor):
    """Collects the ended spans of the run that is being told."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        self.spans.append(span)


class SpanMaker:
    """Makes the spans of one run at a time and hands them on together."""

    def __init__(self, resource: Resource, hand_on: Callable[[Iterable[ReadableSpan]], None]) -> None:
        self._ids = ReplayedIds()
        self._gather = _Gather()
        self._hand_on = hand_on
        self._lock = threading.Lock()
        provider = TracerProvider(resource=resource, sampler=ALWAYS_ON, id_generator=self._ids, shutdown_on_exit=False)
        provider.add_span_processor(self._gather)
        self._tracer = provider.get_tracer(schema.SCOPE, __version__, schema_url=schema.SCHEMA_URL)

    def publish(self, result: FlowResult) -> None:
        """Make a run's spans: the flow's, its steps', and one for each HTTP attempt."""
        with self._lock:
            self._ids.trace_id = result.trace_id
            root = self._start(
                f"flow {result.flow}",
                result.span_id,
                result.start_ns,
                flow_attributes(result),
                parent=_outside(result),
            )
            inside = trace.set_span_in_context(root)
            for step in result.steps:
                self._step(result, step, inside)
            _end(root, result.end_ns, failed=result.outcome in {Outcome.FAIL, Outcome.ERROR})
            spans, self._gather.spans = self._gather.spans, []
        self._hand_on(spans)

    def _step(self, result: FlowResult, step: StepResult, parent: Context) -> None:
        span = self._start(step.step, step.span_id, step.start_ns, step_attributes(result, step), parent=parent)
        inside = trace.set_span_in_context(span)
        for exchange in step.exchanges:
            self._exchange(step, exchange, inside)
        end = step.start_ns if step.outcome is Outcome.SKIP else step.end_ns
        _end(span, end, failed=step.outcome in {Outcome.FAIL, Outcome.ERROR})

    def _exchange(self, step: StepResult, exchange: Exchange, parent: Context) -> None:
        span = self._start(
            exchange.method,
            exchange.span_id,
            exchange.start_ns,
            exchange_attributes(step, exchange),
            parent=parent,
            kind=SpanKind.CLIENT,
        )
        end = exchange.start_ns + int(exchange.duration * _NS)
        _end(span, end, failed=exchange_error(step, exchange) is not None)

    def _start(
        self,
        name: str,
        span_id: int,
        start_ns: int,
        attributes: Mapping[str, AttributeValue],
        *,
        parent: Context,
        kind: SpanKind = SpanKind.INTERNAL,
    ) -> trace.Span:
        self._ids.span_id = span_id
        return self._tracer.start_span(name, context=parent, kind=kind, attributes=attributes, start_time=start_ns)


def _end(span: trace.Span, end_ns: int, *, failed: bool) -> None:
    """End a span. A status has no description: prose and exception text stay out of spans."""
    if failed:
        span.set_status(StatusCode.ERROR)
    span.end(end_ns)


def _outside(result: FlowResult) -> Context:
    """Give the context of the trace that the run joins; an empty one if it began its own."""
    if result.parent_span_id is None:
        return Context()
    return span_context(result.trace_id, result.parent_span_id, is_remote=True)


def span_context(trace_id: int, span_id: int, *, is_remote: bool = False) -> Context:
    """Give a context in which a span with these ids is current."""
    ids = trace.SpanContext(trace_id, span_id, is_remote=is_remote, trace_flags=SAMPLED)
    return trace.set_span_in_context(trace.NonRecordingSpan(ids), Context())
