"""`otelprobe posture`: run flows once, put the posture rules to what was seen, and report it."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from otelprobe.cli.inputs import add_files, add_settings, read_plans, read_settings, telling_faults
from otelprobe.cli.logs import set_up_logs
from otelprobe.cli.once import interruptions, run_all
from otelprobe.cli.report_posture import posture_json, posture_text
from otelprobe.cli.report_sarif import sarif_json
from otelprobe.cli.terminal import for_encoding
from otelprobe.cli.trail import open_trail
from otelprobe.config.faults import ConfigError, Fault
from otelprobe.config.models import Config
from otelprobe.plan import FlowPlan
from otelprobe.posture.policy import at_least
from otelprobe.reasons import Reason
from otelprobe.result import Fact, FlowResult, Severity
from otelprobe.steps.posture import Posture

_AT_ONCE = 1e-9
"""The command looks anew, whatever was found a moment ago."""

PASSED, FOUND, DOUBTFUL = 0, 1, 4
"""Exit codes; 2 is `inputs.BAD_CONFIG`, 128 and a signal's number stand for an interruption."""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the command."""
    parser = subparsers.add_parser(
        "posture",
        help="check good practice from outside and report findings (text, JSON, SARIF)",
        description="Run flows once and put the posture rules to what was seen. A flow without a posture step gets one"
        " at its end, for its provider and the URL of its first call. Sends no telemetry; the audit file is written.",
        epilog="exit codes: 0 no finding of the severity of --fail-on or worse, 1 there is one, 2 the flow file or the"
        " settings are wrong, 4 a flow did not get through, so that less was seen, or the report could not be written",
    )
    add_files(parser)
    parser.add_argument("--flow", action="append", default=[], metavar="NAME", help="only this flow (may be repeated)")
    parser.add_argument("--output", choices=("text", "json", "sarif"), default="text", help="form of the report")
    parser.add_argument("--output-file", metavar="PATH", help="write the report there")
    parser.add_argument(
        "--fail-on",
        choices=(*(severity.value for severity in Severity), "never"),
        help="exit with 1 from this severity on (default: fail_on of the posture step, else high)",
    )
    add_settings(parser)


def run(args: argparse.Namespace) -> int:
    """Look and report; see the exit codes of `otelprobe posture --help`."""
    return telling_faults(lambda: _posture(args))


def _posture(args: argparse.Namespace) -> int:
    settings = read_settings(args)
    set_up_logs(settings.log_level, settings.log_format)
    config, plans = read_plans(settings, args.flow)
    plans = tuple(with_posture(plan) for plan in plans)
    fault = _why_unwritable(args.output_file)
    if fault is not None:
        raise ConfigError([Fault("--output-file", None, "", fault)])
    trail = open_trail(config, lambda text: print(f"otelprobe: {text}", file=sys.stderr))
    with interruptions() as interrupted:
        results = tuple(trail.take(result) for result in run_all(plans, settings, interrupted, trail.auditor))
        trail.close()
        if not interrupted.empty():
            return 128 + interrupted.get()
    written = _write(_report(args.output, results, places(config, results)), args.output_file)
    return exit_code(plans, results, args.fail_on) if written else DOUBTFUL


def with_posture(plan: FlowPlan) -> FlowPlan:
    """Give a plan that has a posture step, which looks also where another step failed."""
    steps = tuple(replace(s, always=True, every=_AT_ONCE) if isinstance(s, Posture) else s for s in plan.steps)
    if any(isinstance(step, Posture) for step in steps):
        return replace(plan, steps=steps)
    urls = (getattr(step, "url", None) for step in steps if step.kind == "call")
    url = next((url for url in urls if url is not None and "${" not in url), None)
    name = "posture" if all(step.name != "posture" for step in steps) else "posture-rules"
    return replace(plan, steps=(*steps, Posture(name=name, always=True, every=_AT_ONCE, url=url)))


def places(config: Config, results: Sequence[FlowResult]) -> Mapping[str, tuple[str, int]]:
    """Give file and line of each flow."""
    return {result.flow: config.where_flow(result.flow) for result in results}


def exit_code(plans: Sequence[FlowPlan], results: Sequence[FlowResult], fail_on: str | None) -> int:
    """Give 1 for findings that matter, 4 for a flow that could not be looked at as a whole."""
    wanted = {plan.name: _threshold(plan, fail_on) for plan in plans}
    for result in results:
        severity = wanted[result.flow]
        if severity is not None and at_least([f for s in result.steps for f in s.findings], severity):
            return FOUND
    seen = all(_seen(result) for result in results) and len(results) == len(plans)
    return PASSED if seen else DOUBTFUL


def _seen(result: FlowResult) -> bool:
    """Tell whether a flow was looked at as a whole: its posture step ran, and no other step failed."""
    looked = any(Fact.POSTURE_RULES in step.facts for step in result.steps)
    return looked and (result.passed or result.reason in {Reason.POSTURE_VIOLATED, Reason.DRIFT_DETECTED})


def _threshold(plan: FlowPlan, fail_on: str | None) -> Severity | None:
    """Give the severity from which findings matter: the option's, else the flow file's, else high."""
    if fail_on is not None:
        return None if fail_on == "never" else Severity(fail_on)
    own = [step.fail_on for step in plan.steps if isinstance(step, Posture) and step.fail_on is not None]
    return own[0] if own else Severity.HIGH


def _report(form: str, results: Sequence[FlowResult], where: Mapping[str, tuple[str, int]]) -> str:
    if form == "sarif":
        return sarif_json(results, where)
    return posture_json(results) if form == "json" else posture_text(results)


def _why_unwritable(path: str | None) -> str | None:
    """Say why a report cannot be written, before anything is asked for it."""
    if path is None:
        return None
    if Path(path).is_dir():
        return f"{path} is a directory: name a file in it"
    parent = Path(path).parent
    return None if parent.is_dir() else f"there is no directory {parent}: make it, or mend the path"


def _write(text: str, path: str | None) -> bool:
    if path is None:
        sys.stdout.write(for_encoding(text, sys.stdout.encoding))
        return True
    try:
        Path(path).write_text(text, encoding="utf-8")
    except OSError as error:
        print(f"otelprobe: the report could not be written to {path}: {error.strerror}", file=sys.stderr)
        return False
    return True
