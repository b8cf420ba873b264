"""A result as spans, encoded afterwards from the ids that were drawn and the times that were measured.

The ids went over the wire as `traceparent` while the flow ran. A tracer would draw its own, ask a sampler and hold a
lock for a span that is already over; so the spans are written as they are exported. Telemetry work therefore never
lengthens a measured step.
"""

from collections.abc import Callable, Iterable, Iterator
from struct import Struct

from otelprobe.reasons import Outcome
from otelprobe.result import Exchange, FlowResult, StepResult
from otelprobe.telemetry import wire
from otelprobe.telemetry.attributes import (
    Attributes,
    exchange_attributes,
    exchange_error,
    flow_attributes,
    step_attributes,
)

_NS = 1_000_000_000
_BAD = frozenset({Outcome.FAIL, Outcome.ERROR})
_INTERNAL, _CLIENT = b"\x30\x01", b"\x30\x03"
_IDS = Struct("<BB16sBB8s")
_TIMES = Struct("<BQBQ")
# A status has no description: prose and exception text stay out of spans.
_ERROR = b"\x7a\x02\x18\x02"
# Whether the parent is of another process is known, and then whether it is (SpanFlags).
_LOCAL, _REMOTE = (b"\x85\x01" + flags.to_bytes(4, "little") for flags in (0x100, 0x300))


class SpanMaker:
    """Makes the spans of a run and hands them on together. Safe from any thread."""

    def __init__(self, hand_on: Callable[[Iterable[bytes]], None]) -> None:
        self._hand_on = hand_on

    def publish(self, result: FlowResult) -> None:
        """Make a run's spans: the flow's, its steps', and one for each HTTP attempt; a child comes before its parent."""
        spans = [span for step in result.steps for span in _step(result, step)]
        spans.append(
            _span(
                f"flow {result.flow}",
                (result.trace_id, result.span_id, result.parent_span_id),
                (result.start_ns, result.end_ns),
                flow_attributes(result),
                failed=result.outcome in _BAD,
                flags=_LOCAL if result.parent_span_id is None else _REMOTE,
            )
        )
        self._hand_on(spans)


def _step(result: FlowResult, step: StepResult) -> Iterator[bytes]:
    for exchange in step.exchanges:
        yield _exchange(result, step, exchange)
    ids = result.trace_id, step.span_id, result.span_id
    times = step.start_ns, step.start_ns if step.outcome is Outcome.SKIP else step.end_ns
    yield _span(step.step, ids, times, step_attributes(result, step), failed=step.outcome in _BAD)


def _exchange(result: FlowResult, step: StepResult, exchange: Exchange) -> bytes:
    return _span(
        exchange.method,
        (result.trace_id, exchange.span_id, step.span_id),
        (exchange.start_ns, exchange.start_ns + int(exchange.duration * _NS)),
        exchange_attributes(result, step, exchange),
        failed=exchange_error(step, exchange) is not None,
        kind=_CLIENT,
    )


def _span(
    name: str,
    ids: tuple[int, int, int | None],
    times: tuple[int, int],
    attributes: Attributes,
    *,
    failed: bool,
    kind: bytes = _INTERNAL,
    flags: bytes = _LOCAL,
) -> bytes:
    """Write a span with its length; `ids` are those of the trace, the span and its parent."""
    trace_id, span_id, parent_id = ids
    return wire.sized(
        b"".join(
            (
                _IDS.pack(0x0A, 16, trace_id.to_bytes(16, "big"), 0x12, 8, span_id.to_bytes(8, "big")),
                b"" if parent_id is None else b"\x22\x08" + parent_id.to_bytes(8, "big"),
                b"\x2a",
                wire.text(name),
                kind,
                _TIMES.pack(0x39, times[0], 0x41, times[1]),
                wire.attributes(b"\x4a", attributes),
                _ERROR if failed else b"",
                flags,
            )
        )
    )
