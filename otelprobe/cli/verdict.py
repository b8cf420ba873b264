"""A flow's verdict in words: where the time went, what warns, whose fault a failure is and what to check first."""

import math
from collections.abc import Iterator

from otelprobe.cli.terminal import Line, Piece, Style, cells, harmless, pad, seconds, wrap
from otelprobe.cli.timestamp import rfc3339
from otelprobe.reasons import VERDICTS, Blame, Counts, Layer, Outcome, Reason
from otelprobe.result import FlowResult, ProviderStatus, StepResult

BLAMED = {
    Blame.PROVIDER: "whoever runs the identity provider",
    Blame.API: "whoever runs the API",
    Blame.NETWORK: "the network between the prober and the host",
    Blame.EDGE: "a firewall, rate limit or proxy in between; users may be fine",
    Blame.CONFIG: "the flow file, or the monitoring client and its credentials",
    Blame.PROBER: "otelprobe itself; nothing is known about the target",
}
"""Each blamed side in words."""

SPENT = {
    Counts.AUTH: "against the auth availability objective",
    Counts.API: "against the API availability objective",
    Counts.NONE: "against no availability objective",
}
"""Each objective in words."""

_LABEL = 9
_BAD = {Outcome.FAIL, Outcome.ERROR}


def is_security(reason: Reason | None) -> bool:
    """Tell whether a reason is a security finding."""
    return reason is not None and VERDICTS[reason].security


def verdict_lines(result: FlowResult, width: int) -> Iterator[Line]:
    """Give everything that stands below a waterfall: shares of time, warnings, the failure, the ids."""
    yield [Piece("  "), *_shares(result)]
    for step in result.steps:
        yield from _warnings(step, width)
    if result.outcome in _BAD or result.reason is not None:
        yield []
        yield from _failure(result, width)
    yield []
    yield from _ids(result, width)


def _shares(result: FlowResult) -> Line:
    auth, api = result.auth_duration, result.api_duration
    both = auth + api
    line = [
        Piece(f"auth {_share(auth, both)}" if _has(result, Layer.AUTH) else "no auth step", Style.AUTH),
        Piece(" · "),
    ]
    if not _has(result, Layer.API):
        text = "no API step"
    elif _all_skipped(result, Layer.API):
        text = "API not reached"
    else:
        text = f"API {_share(api, both)}"
    line.append(Piece(text, Style.API))
    dependency = sum(s.duration for s in result.steps if s.layer is Layer.DEPENDENCY)
    return [*line, Piece(f" · other {seconds(dependency)}", Style.DIM)] if dependency > 0 else line


def _share(part: float, whole: float) -> str:
    if not (math.isfinite(part) and math.isfinite(whole) and whole > 0):
        return seconds(part)
    return f"{seconds(part)} ({part / whole:.0%})".replace("%", " %")


def _has(result: FlowResult, layer: Layer) -> bool:
    return any(s.layer is layer for s in result.steps)


def _all_skipped(result: FlowResult, layer: Layer) -> bool:
    return all(s.outcome is Outcome.SKIP for s in result.steps if s.layer is layer)


def _warnings(step: StepResult, width: int) -> Iterator[Line]:
    for warning in step.warnings:
        mark = "  SECURITY" if is_security(warning.reason) else ""
        text = f"{warning.reason.value} at {harmless(step.step)}{mark}"
        text += f": {harmless(warning.detail)}" if warning.detail else ""
        first, *more = wrap(text, width - 4)
        yield [Piece(f"  ! {first}", Style.DOUBT)]
        yield from ([Piece(f"    {part}")] for part in more)


def _failure(result: FlowResult, width: int) -> Iterator[Line]:
    failed = next((s for s in result.steps if s.step == result.failed_step), None)
    style, mark = (Style.DOUBT, "?") if result.outcome is Outcome.ERROR else (Style.BAD, "✗")
    title = result.reason.value if result.reason else "no reason given"
    where = f" at {harmless(result.failed_step)}" if result.failed_step else ""
    yield [Piece(f"  {mark} {title}", style), Piece(where), *security_mark(result.reason)]
    if result.blame:
        yield from labelled("blame", f"{result.blame.value}: {BLAMED[result.blame]}", width, style)
    if result.counts:
        yield from labelled("counts", SPENT[result.counts], width)
    if result.detail:
        yield from labelled("detail", harmless(result.detail), width)
    if result.provider_status is not None:
        yield from labelled("status", status_words(result.provider_status), width)
    if result.reason:
        yield from labelled("check", VERDICTS[result.reason].help, width, Style.BOLD)
    also = [p.value for p in failed.problems if p is not result.reason] if failed else []
    if also:
        yield from labelled("also", ", ".join(also), width)


def status_words(status: ProviderStatus) -> str:
    """Say what a provider's status page says."""
    part = f" of {harmless(status.component)}" if status.component else ""
    detail = f": {harmless(status.detail)}" if status.detail else ""
    if status.state == "degraded":
        return f"the provider's status page admits a problem{detail or part}"
    if status.state == "operational":
        return f"the provider's status page shows no problem{part}"
    return f"the provider's status page could not be read{detail}"


def security_mark(reason: Reason | None) -> Line:
    """Give the mark of a security finding, or nothing."""
    return [Piece("  "), Piece("SECURITY", Style.BAD_BADGE)] if is_security(reason) else []


def labelled(label: str, text: str, width: int, style: Style = Style.PLAIN) -> Iterator[Line]:
    """Give a text as wrapped lines beside a label."""
    for number, part in enumerate(wrap(text, width - 4 - _LABEL)):
        yield [Piece("    "), Piece(pad(label if number == 0 else "", _LABEL), Style.DIM), Piece(part, style)]


def _ids(result: FlowResult, width: int) -> Iterator[Line]:
    trace, started = f"trace {result.trace_id:032x}", f"started {rfc3339(result.start_ns)}"
    if 2 + cells(trace) + 3 + cells(started) <= width:
        yield [Piece(f"  {trace}   {started}", Style.DIM)]
    else:
        yield [Piece(f"  {trace}", Style.DIM)]
        yield [Piece(f"  {started}", Style.DIM)]
