"""What a person reads in the terminal: each flow as a waterfall drawn to scale, one row per step and per HTTP attempt."""

import math
from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

from otelprobe.cli.summary import summary
from otelprobe.cli.terminal import (
    Line,
    Piece,
    Style,
    cells,
    clip,
    clip_middle,
    harmless,
    pad,
    pad_left,
    paint,
    seconds,
    span_of_time,
    width_of,
    wrap,
)
from otelprobe.cli.timeline import CONTROL_FILL, Timeline
from otelprobe.cli.verdict import security_mark, status_words, verdict_lines
from otelprobe.quick import dataclass
from otelprobe.reasons import Layer, Outcome, Reason
from otelprobe.result import Exchange, FlowResult, Phases, Severity, StepResult

WIDEST = 160
"""Beyond this many cells the eye loses the row."""

_TIME = 9
_SUB = 6
_LEGIBLE = 48  # a target is cut to this at most so that its phases stand beside it
_LAYER = {Layer.AUTH: "auth", Layer.API: "API", Layer.DEPENDENCY: "dep"}
_BADGE = {
    Outcome.PASS: Style.GOOD_BADGE,
    Outcome.FAIL: Style.BAD_BADGE,
    Outcome.ERROR: Style.DOUBT_BADGE,
    Outcome.SKIP: Style.DIM,
}
_MARK = {
    Outcome.PASS: Piece("✓", Style.GOOD),
    Outcome.FAIL: Piece("✗", Style.BAD),
    Outcome.ERROR: Piece("?", Style.DOUBT),
    Outcome.SKIP: Piece("-", Style.DIM),
}
_WARNED = Piece("!", Style.DOUBT)
_PHASES = ("dns", "connect", "tls", "ttfb", "transfer")


def render(result: FlowResult, *, width: int, color: bool) -> str:
    """Draw one flow as lines of at most `width` cells, the last one ended as well."""
    width = min(width, WIDEST)
    lines = [_head(result, width), [], *_rows(result, width), [], *verdict_lines(result, width)]
    return "".join(paint(line, width=width, color=color) + "\n" for line in lines)


def render_all(results: Sequence[FlowResult], *, width: int, color: bool) -> str:
    """Draw every flow and, if there are several, a table with one line for each."""
    parts = [render(result, width=width, color=color) for result in results]
    if len(results) > 1:
        parts.append(summary(results, width=min(width, WIDEST), color=color))
    return "\n".join(parts)


def _head(result: FlowResult, width: int) -> Line:
    """Give the head line: verdict, flow, provider, location, total time."""
    badge = Piece(f" {result.outcome.value.upper()} ", _BADGE[result.outcome])
    total = seconds(result.duration)
    room = width - cells(badge.text) - cells(total) - 4
    name = clip_middle(harmless(result.flow), room)
    where = [f"provider {harmless(result.provider)}"] if result.provider else []
    where += [f"from {harmless(result.location)}"] if result.location else []
    about = clip(" · ".join(where), room - cells(name) - 3)
    line = [badge, Piece("  "), Piece(name, Style.BOLD), Piece("   "), Piece(about, Style.DIM)]
    gap = width - width_of(line) - cells(total)
    return [*line, Piece(" " * gap), Piece(total, Style.BOLD)]


@dataclass(frozen=True, slots=True)
class _Layout:
    """The columns of one flow: mark, name, layer, time line, duration.

    `target` is the width of what an attempt asked for, `beside` whether its phases stand beside it or below.
    """

    width: int
    name: int
    layer: int
    time: Timeline
    origin_ns: int
    target: int
    beside: bool

    @property
    def before(self) -> int:
        """Cells left of the time line."""
        return 4 + self.name + 2 + self.layer


def _layout(result: FlowResult, width: int) -> _Layout:
    origin = min([result.start_ns, *(s.start_ns for s in result.steps if s.outcome is not Outcome.SKIP)])
    ends = [_offset(s, origin) + _length(s) + _control(s) for s in result.steps if s.outcome is not Outcome.SKIP]
    name = min(max([4, *(cells(_name(s)) for s in result.steps)]), max(8, width // 4))
    layer = 6 if width >= 56 else 0
    room = width - 4 - name - 2 - layer - _TIME - 1
    exchanges = [e for s in result.steps for e in s.exchanges]
    target = max([0, *(cells(_target(e)) for e in exchanges)])
    beside = min([width, *(_room(e, width, beside=True) for e in exchanges)]) >= min(target, _LEGIBLE)
    target = min([target, *(_room(e, width, beside=beside) for e in exchanges)])
    total = max([_finite(result.duration), *ends])
    return _Layout(width, name, layer, Timeline(max(room, 8), total), origin, max(target, 1), beside)


def _finite(value: float) -> float:
    return max(value, 0.0) if math.isfinite(value) else 0.0


def _offset(step: StepResult, origin_ns: int) -> float:
    return (step.start_ns - origin_ns) / 1e9


def _length(step: StepResult) -> float:
    return _finite(step.duration)


def _control(step: StepResult) -> float:
    """Give the seconds of control exchanges, which the step's duration leaves out."""
    return sum(_finite(e.duration) for e in step.exchanges if e.control)


def _rows(result: FlowResult, width: int) -> Iterator[Line]:
    layout = _layout(result, width)
    yield [Piece(" " * layout.before), Piece(layout.time.axis(), Style.DIM)]
    for step in result.steps:
        yield _step_row(step, result, layout)
        yield from _below(step, result, layout)
    if any(e.control for s in result.steps for e in s.exchanges):
        yield []
        yield from _control_legend(width)


def _control_legend(width: int) -> Iterator[Line]:
    text = "control: an extra request that tells who is to blame, or offers a bad credential; in no step's time"
    for number, part in enumerate(wrap(text, width - 5)):
        yield [Piece("  " + (CONTROL_FILL * 2 if number == 0 else "  ") + " " + part, Style.DIM)]


def _step_row(step: StepResult, result: FlowResult, layout: _Layout) -> Line:
    mark = _WARNED if step.outcome is Outcome.PASS and step.warnings else _MARK[step.outcome]
    skipped = step.outcome is Outcome.SKIP
    name = pad(clip_middle(_name(step), layout.name), layout.name + 2)
    line = [Piece("  "), mark, Piece(" "), Piece(name, Style.DIM if skipped else Style.PLAIN)]
    if layout.layer:
        line.append(Piece(pad(_LAYER[step.layer], layout.layer), Style.DIM))
    if skipped:
        return [*line, Piece(clip(why_skipped(step, result), layout.time.width + _TIME), Style.DIM)]
    bar = layout.time.bar(_offset(step, layout.origin_ns), _length(step), step.layer, _control(step))
    return [*line, *bar, Piece(pad_left(seconds(step.duration), _TIME + 1))]


def _name(step: StepResult) -> str:
    name = harmless(step.step)
    return name if step.step == step.kind else f"{name} ({harmless(step.kind)})"


def why_skipped(step: StepResult, result: FlowResult) -> str:
    """Say why a step did not run."""
    if step.detail:
        return f"skipped: {harmless(step.detail)}"
    return f"skipped: {harmless(result.failed_step)} did not pass" if result.failed_step else "skipped"


def _below(step: StepResult, result: FlowResult, layout: _Layout) -> Iterator[Line]:
    """Give the rows under a step: its HTTP attempts, what it noted, why it did not pass."""
    room = layout.width - _SUB
    for exchange in step.exchanges:
        yield from _attempt(exchange, layout, passed=step.outcome is Outcome.PASS)
    for text, style in _notes(step):
        yield [Piece(" " * _SUB), Piece(clip(text, room), style)]
    if step.reason and step.outcome in {Outcome.FAIL, Outcome.ERROR}:
        yield from _own_reason(step, step.reason, result, room)


def _own_reason(step: StepResult, reason: Reason, result: FlowResult, room: int) -> Iterator[Line]:
    """Say why a step did not pass. The flow's own failure is told in full below the waterfall, any other only here."""
    owns = step.step == result.failed_step
    if owns and any(e.reason is reason for e in step.exchanges):
        return
    told = "" if owns or not step.detail else f": {harmless(step.detail)}"
    style = Style.BAD if step.outcome is Outcome.FAIL else Style.DOUBT
    mark = security_mark(reason)
    yield [Piece(" " * _SUB), Piece(clip(f"{reason.value}{told}", room - width_of(mark)), style), *mark]


def _notes(step: StepResult) -> Iterator[tuple[str, Style]]:
    """Say what a step found besides its verdict: bad credentials offered, keys that changed, ends that come near."""
    for case in step.cases:
        status = "no answer" if case.status is None else str(case.status)
        if case.accepted:
            yield f"✗ {harmless(case.case)} ACCEPTED ({status})  SECURITY", Style.BAD
        elif case.fetched:
            yield f"✗ {harmless(case.case)} refused ({status}), but FETCHED what it names  SECURITY", Style.BAD
        else:
            yield f"✓ {harmless(case.case)} refused ({status})", Style.DIM
    for change in step.key_changes:
        yield f"key {harmless(change.kid)} {harmless(change.change).replace('_', ' ')}", Style.DOUBT
    for finding in (f for f in step.findings if f.waived is None):
        style = Style.BAD if finding.severity is Severity.HIGH else Style.DIM
        yield (
            f"{finding.severity.value:<6} {finding.rule} {harmless(finding.target)}: {harmless(finding.detail)}",
            style,
        )
    for drift in step.drift:
        yield f"drift {drift.subject.value}: {harmless(drift.detail)}", Style.DOUBT
    if step.provider_status is not None:
        good = step.provider_status.state == "operational"
        yield status_words(step.provider_status), Style.DIM if good else Style.DOUBT
    for expiry in step.expiries:
        ends = f"ends in {span_of_time(expiry.remaining)}" if expiry.remaining > 0 else "has ended"
        yield f"{harmless(expiry.subject)} {harmless(expiry.name)} {ends}", Style.DIM


def _attempt(exchange: Exchange, layout: _Layout, *, passed: bool) -> Iterator[Line]:
    """Give one HTTP attempt: what was asked of whom, what came, how long; its phases beside it or below."""
    phases = _phases(exchange.phases)
    shown = _took(exchange)
    target = pad(clip_middle(_target(exchange), layout.target), layout.target)
    line = [
        Piece(" " * _SUB),
        Piece(target, Style.DIM),
        Piece("  "),
        *_answer(exchange, _answer_style(exchange, passed=passed)),
    ]
    tail = [Piece(shown, Style.DIM)]
    if layout.beside and phases:
        tail.insert(0, Piece("  ".join(phases) + "  ", Style.DIM))
    yield [*line, Piece(" " * (layout.width - width_of(line) - width_of(tail))), *tail]
    if not layout.beside:
        for part in _flowing(phases, layout.width - _SUB - 2):
            yield [Piece(" " * (_SUB + 2)), Piece(part, Style.DIM)]


def _room(exchange: Exchange, width: int, *, beside: bool) -> int:
    """Give the cells that are left for the target of an attempt."""
    room = width - _SUB - 2 - width_of(_answer(exchange)) - 2 - cells(_took(exchange))
    return room - cells("  ".join(_phases(exchange.phases))) - 2 if beside else room


def _took(exchange: Exchange) -> str:
    return pad_left(seconds(exchange.duration), 7)


def _flowing(parts: Sequence[str], width: int) -> list[str]:
    """Join parts into lines of at most `width` cells, never breaking a part."""
    lines: list[str] = []
    for part in parts:
        joined = f"{lines[-1]}  {part}" if lines else part
        if lines and cells(joined) <= width:
            lines[-1] = joined
        else:
            lines.append(part)
    return lines


def _answer(exchange: Exchange, style: Style = Style.PLAIN) -> Line:
    """Say what came: a status, a reason, or that it was a control or sent again."""
    words = [str(exchange.status)] if exchange.status is not None else []
    words += [exchange.reason.value] if exchange.reason else []
    if exchange.handshake and not words:
        words = ["handshake"]
    line = [Piece(" ".join(words) or "no answer", style)]
    if exchange.resend_count:
        line.append(Piece(f"  resend {exchange.resend_count}", Style.DIM))
    return [*line, Piece("  control", Style.BOLD)] if exchange.control else line


def _answer_style(exchange: Exchange, *, passed: bool) -> Style:
    """Colour an answer by what it means to the step: a refusal that was wanted is not bad, nor is a bad step's 200 good."""
    if exchange.handshake and exchange.reason is None:
        return Style.GOOD if passed else Style.PLAIN
    if exchange.status is None or exchange.reason is not None:
        return Style.BAD
    if exchange.status < 400:
        return Style.GOOD if passed else Style.PLAIN
    return Style.PLAIN if passed or (exchange.control and exchange.status < 500) else Style.BAD


def _target(exchange: Exchange) -> str:
    """Write method, host and path; no query, and the port only where the scheme does not imply it."""
    try:
        parts = urlsplit(exchange.url)
        scheme, path = parts.scheme, parts.path
    except ValueError:
        scheme, path = "", ""
    host = f"[{exchange.host}]" if ":" in exchange.host else exchange.host
    port = "" if exchange.port == {"https": 443, "http": 80}.get(scheme) else f":{exchange.port}"
    if exchange.handshake:
        return harmless(f"{exchange.method} {host}{port}")
    return harmless(f"{exchange.method} {host}{port}{path or '/'}")


def _phases(phases: Phases) -> list[str]:
    taken = ((name, getattr(phases, name)) for name in _PHASES)
    return [f"{name} {seconds(value)}" for name, value in taken if value is not None]
