"""Many flows at a glance: a table with one line for each, and how many ended how."""

from collections import Counter
from collections.abc import Sequence

from otelprobe.cli.terminal import Line, Piece, Style, cells, clip_middle, harmless, pad, pad_left, paint, seconds
from otelprobe.cli.verdict import is_security
from otelprobe.reasons import Outcome
from otelprobe.result import FlowResult

_STYLE = {Outcome.PASS: Style.GOOD, Outcome.FAIL: Style.BAD, Outcome.ERROR: Style.DOUBT, Outcome.SKIP: Style.DIM}
_ENDED = {Outcome.PASS: "passed", Outcome.FAIL: "failed", Outcome.ERROR: "ended in error", Outcome.SKIP: "skipped"}
_TIME = 9


def summary(results: Sequence[FlowResult], *, width: int, color: bool) -> str:
    """Draw the table, at most `width` cells wide."""
    names = min(max([4, *(cells(harmless(r.flow)) for r in results)]), max(8, width // 3))
    times = _time_columns(width)
    lines = [_header(names, times), *(_row(r, names, times) for r in results), [], _count(results)]
    return "".join(paint(line, width=width, color=color) + "\n" for line in lines)


def _time_columns(width: int) -> tuple[str, ...]:
    """Choose which times there is room for."""
    return ("total", "auth", "API") if width >= 88 else ("total",)


def _header(names: int, times: tuple[str, ...]) -> Line:
    heads = "".join(pad_left(head, _TIME) for head in times)
    return [Piece("  " + pad("", 7) + pad("flow", names) + heads + "   why", Style.DIM)]


def _row(result: FlowResult, names: int, times: tuple[str, ...]) -> Line:
    values = {"total": result.duration, "auth": result.auth_duration, "API": result.api_duration}
    shown = "".join(pad_left(seconds(values[head]), _TIME) for head in times)
    return [
        Piece("  "),
        Piece(pad(result.outcome.value.upper(), 7), _STYLE[result.outcome]),
        Piece(pad(clip_middle(harmless(result.flow), names), names)),
        Piece(shown + "   "),
        Piece(_why(result), Style.DIM if result.passed else Style.PLAIN),
    ]


def _why(result: FlowResult) -> str:
    """Say in one phrase what is wrong: whose fault first, because the line may be cut."""
    if result.reason is None:
        count = len(result.warnings)
        return f"{count} warning{'s' if count > 1 else ''}" if count else ""
    text = f"{result.blame.value}: {result.reason.value}" if result.blame else result.reason.value
    text = f"SECURITY {text}" if is_security(result.reason) else text
    return f"{text} at {harmless(result.failed_step)}" if result.failed_step else text


def _count(results: Sequence[FlowResult]) -> Line:
    ended = Counter(r.outcome for r in results)
    told = [f"{ended[outcome]} {word}" for outcome, word in _ENDED.items() if ended[outcome]]
    return [Piece(f"  {len(results)} flow{'s' if len(results) != 1 else ''}: {', '.join(told)}", Style.BOLD)]
