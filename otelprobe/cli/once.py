"""`otelprobe once`: run flows once, print what happened, send the telemetry, and exit with the verdict."""

import argparse
import os
import queue
import shutil
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from otelprobe.audit.facts import Auditor
from otelprobe.cli.export import telemetry_settings
from otelprobe.cli.inputs import add_files, add_settings, read_plans, read_settings, telling_faults
from otelprobe.cli.logs import set_up_logs
from otelprobe.cli.streams import throw_away_output
from otelprobe.cli.terminal import for_encoding, wants_color
from otelprobe.cli.trail import open_trail
from otelprobe.config.faults import ConfigError, Fault
from otelprobe.config.models import Config
from otelprobe.config.settings import Settings
from otelprobe.plan import FlowPlan
from otelprobe.reasons import Outcome
from otelprobe.result import FlowFacts, FlowResult
from otelprobe.run import Tools, describe_bug, parent_from_environment, run_flow, warm_up
from otelprobe.state import State

if TYPE_CHECKING:
    from otelprobe.telemetry.delivery import Delivery
    from otelprobe.telemetry.settings import TelemetrySettings

PASSED, FAILED, NOT_DELIVERED, DOUBTFUL = 0, 1, 3, 4
"""Exit codes; 2 is `inputs.BAD_CONFIG`, 128 and a signal's number stand for an interruption."""

_WIDTH = 100

_UNSAID, _LEAST = 86400.0, 900.0
"""Seconds: the interval of a flow that does not say how often it is run, and the least that is believed of one that does: a
file that `run` reads may serve a job of ten minutes, too. A flow is held for silent after three intervals.
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the command."""
    parser = subparsers.add_parser(
        "once",
        help="run flows once, print the waterfall, exit with the verdict (CronJob, CI)",
        description="Run flows once, print what happened, send the telemetry, and exit with the verdict.",
    )
    add_files(parser)
    parser.add_argument("--flow", action="append", default=[], metavar="NAME", help="only this flow (may be repeated)")
    add_output(parser)
    parser.add_argument(
        "--output-file", metavar="PATH", help="write the report there, and the waterfall to the terminal"
    )
    parser.add_argument(
        "--require-delivery", action="store_true", default=None, help="exit with 3 if telemetry was not delivered"
    )
    parser.add_argument(
        "--exit-zero",
        action="store_true",
        default=None,
        help="a failed flow is a result, not a failed command: exit with 0",
    )
    add_settings(parser)


def add_output(parser: argparse.ArgumentParser) -> None:
    """Add the form of the report."""
    parser.add_argument("--output", choices=("text", "json", "junit"), default="text", help="form of the report")
    parser.add_argument("--color", choices=("auto", "always", "never"), help="default: auto, only on a terminal")


def run(args: argparse.Namespace) -> int:
    """Run the flows; see the exit codes of `otelprobe --help`."""
    return telling_faults(lambda: _once(args))


def _once(args: argparse.Namespace) -> int:
    settings = read_settings(args)
    set_up_logs(settings.log_level, settings.log_format)
    config, plans = read_plans(settings, args.flow)
    return run_plans(plans, config, settings, Report.of(args, settings))


def run_plans(plans: Sequence[FlowPlan], config: Config, settings: Settings, report: "Report") -> int:
    """Run plans once, report and export; give the exit code. ConfigError before anything runs for what is set wrongly."""
    out = telemetry_settings(config.telemetry, settings, "one_shot")
    trail = open_trail(config, lambda text: print(f"otelprobe: {text}", file=sys.stderr))
    with interruptions() as interrupted:
        results = run_all(plans, settings, interrupted, trail.auditor)
        report.print_results(results)
        results = tuple(trail.take(result) for result in results)
        trail.close()
        delivery = export(results, [_facts(plan, config) for plan in plans], out, quiet=report.machine)
        code = DOUBTFUL if len(results) < len(plans) else PASSED
        code = exit_code(results, delivery, settings, interrupted) or code
        report.print_end(results, delivery, code)
    return code or (DOUBTFUL if report.lost else PASSED)


def exit_code(
    results: Sequence[FlowResult],
    delivery: "Delivery | None",
    settings: Settings,
    interrupted: "queue.SimpleQueue[int]",
) -> int:
    """Give the exit code: an interruption first, then a failure, then a doubt, then a lost delivery."""
    if not interrupted.empty():
        return 128 + interrupted.get()
    outcomes = set() if settings.exit_zero else {result.outcome for result in results}
    if Outcome.FAIL in outcomes:
        return FAILED
    if Outcome.ERROR in outcomes:
        return DOUBTFUL
    if settings.require_delivery and delivery is not None and not delivery.complete:
        return NOT_DELIVERED
    return PASSED


@contextmanager
def interruptions() -> "Iterator[queue.SimpleQueue[int]]":
    """Collect SIGTERM and SIGINT while flows run and telemetry leaves; the second one ends the process at once."""
    taken: queue.SimpleQueue[int] = queue.SimpleQueue()

    def take(number: int, _frame: FrameType | None) -> None:
        if not taken.empty():
            os._exit(128 + number)
        taken.put(number)

    before = {number: signal.signal(number, take) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield taken
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run_all(
    plans: Sequence[FlowPlan], settings: Settings, interrupted: "queue.SimpleQueue[int]", auditor: Auditor
) -> tuple[FlowResult, ...]:
    """Run every plan once, several side by side, results in the order of the plans.

    Workers are daemons: an interruption abandons what still runs, and keeps what is done.
    """
    from otelprobe.cli.progress import Progress  # noqa: PLC0415 - needed once flows are known to run

    progress = Progress(sys.stderr, width=shutil.get_terminal_size((_WIDTH, 24)).columns)
    numbers = {(p.name, s.name): (n, len(p.steps)) for p in plans for n, s in enumerate(p.steps, 1)}

    def show(flow: str, step: str) -> None:
        number, count = numbers[flow, step]
        progress.show(flow, step, number=number, count=count)

    tools = make_tools(settings, on_step=show, parent=parent_from_environment(), auditor=auditor)
    warm_up(plans, tools)
    waiting: queue.SimpleQueue[FlowPlan] = queue.SimpleQueue()
    done: Outcomes = queue.SimpleQueue()
    for plan in plans:
        waiting.put(plan)
    for _ in range(min(settings.workers, len(plans))):
        threading.Thread(target=_work, args=(waiting, done, tools), daemon=True).start()
    results = _collect(plans, done, interrupted)
    progress.clear()
    if tools.state.fault is not None:
        print(f"otelprobe: {tools.state.fault}", file=sys.stderr)
    return results


def make_tools(settings: Settings, **more: Any) -> Tools:
    """Make the outside world of real runs: network, clock, ids, and the state directory."""
    from otelprobe.clock import SystemClock  # noqa: PLC0415 - with the door, which is not needed to read a flow file
    from otelprobe.http import LiveHttp  # noqa: PLC0415

    clock = SystemClock()
    state = State(Path(settings.state_dir) if settings.state_dir else None)
    return Tools(http=LiveHttp(clock), clock=clock, state=state, **more)


Outcomes = queue.SimpleQueue[tuple[str, FlowResult | None]]
"""A flow's name and its result; None where the run itself broke."""


def _work(waiting: "queue.SimpleQueue[FlowPlan]", done: Outcomes, tools: Tools) -> None:
    while True:
        try:
            plan = waiting.get_nowait()
        except queue.Empty:
            return
        try:
            done.put((plan.name, run_flow(plan, tools)))
        except Exception as error:  # noqa: BLE001 - our own bug: the other flows go on, and nobody waits for this one
            print(f"otelprobe: flow {plan.name} broke: {describe_bug(error)}", file=sys.stderr)
            done.put((plan.name, None))


def _collect(
    plans: Sequence[FlowPlan], done: Outcomes, interrupted: "queue.SimpleQueue[int]"
) -> tuple[FlowResult, ...]:
    found: dict[str, FlowResult | None] = {}
    while len(found) < len(plans) and interrupted.empty():
        with suppress(queue.Empty):
            found.update([done.get(timeout=0.1)])
    while not done.empty():
        found.update([done.get()])
    missing = [plan.name for plan in plans if plan.name not in found]
    if missing:
        print(f"otelprobe: interrupted; without a verdict: {', '.join(missing)}", file=sys.stderr)
    results = (found.get(plan.name) for plan in plans)
    return tuple(result for result in results if result is not None)


def _facts(plan: FlowPlan, config: Config) -> FlowFacts:
    """Say what dashboards and alerts have to know of a flow, as `run` does; the interval is what its scheduler may keep."""
    facts = plan.facts()
    said = any(flow.name == plan.name and (flow.every is not None or flow.cron is not None) for flow in config.flows)
    interval = max(plan.every, _LEAST) if said else _UNSAID
    return replace(facts, objectives={**facts.objectives, "interval": interval})


def export(
    results: Sequence[FlowResult], flows: Sequence[FlowFacts], out: "TelemetrySettings", *, quiet: bool
) -> "Delivery | None":
    """Send the telemetry of one-shot runs within its budget; None where there is nowhere to send it."""
    if out.disabled:
        if not quiet:
            print("telemetry is not sent: OTEL_EXPORTER_OTLP_ENDPOINT is not set", file=sys.stderr)
        return None
    from otelprobe.telemetry import Telemetry  # noqa: PLC0415 - after the runs: it costs 0.1 s

    telemetry = Telemetry(out)
    telemetry.register(flows)
    for result in results:
        telemetry.publish(result)
    return telemetry.close(out.budget)


class Report:
    """What is printed where: the waterfall, JSON or JUnit."""

    def __init__(self, form: str, *, path: str | None = None, color: str = "auto") -> None:
        self._form = form
        self._path = path
        self._color = color
        self.lost = False
        """Whether the report could not be written: a full disk must not look like a verdict, nor keep telemetry back."""

    @classmethod
    def of(cls, args: argparse.Namespace, settings: Settings) -> "Report":
        """Make the report that the arguments ask for; ConfigError if its file cannot be written."""
        path = getattr(args, "output_file", None)
        fault = None if path is None else _why_unwritable(path, args.output)
        if fault is not None:
            raise ConfigError([Fault("--output-file", None, "", fault)])
        return cls(args.output, path=path, color=settings.color)

    @property
    def machine(self) -> bool:
        """Whether standard output is for a machine, so that nothing else may be on it."""
        return self._form != "text" and self._path is None

    def print_results(self, results: Sequence[FlowResult]) -> None:
        """Print the waterfalls as soon as they are known, before any telemetry leaves."""
        if self.machine or not results:
            return
        from otelprobe.cli.waterfall import render_all  # noqa: PLC0415 - a machine's report does not need it

        color = wants_color(sys.stdout, os.environ) if self._color == "auto" else self._color == "always"
        width = shutil.get_terminal_size((_WIDTH, 24)).columns
        self._print(for_encoding(render_all(results, width=width, color=color), sys.stdout.encoding))

    def print_end(self, results: Sequence[FlowResult], delivery: "Delivery | None", code: int) -> None:
        """Print the machine's report, and what became of the telemetry."""
        counts = {} if delivery is None else delivery.as_dict()
        if self._form != "text":
            self._write(self._document(results, counts, code))
        if delivery is not None:
            print(delivery_words(counts), file=sys.stderr)

    def _document(self, results: Sequence[FlowResult], counts: Mapping[str, Mapping[str, int]], code: int) -> str:
        if self._form == "junit":
            from otelprobe.cli.report_junit import junit_xml  # noqa: PLC0415 - only this form needs it

            return junit_xml(results)
        from otelprobe.cli.report_json import document, json_text  # noqa: PLC0415 - only this form needs it

        return json_text(document(results, counts or {"traces": {}, "metrics": {}, "logs": {}}, code))

    def _write(self, text: str) -> None:
        if self._path is None:
            self._print(text)
            return
        try:
            Path(self._path).write_text(text, encoding="utf-8")
        except OSError as error:
            self._lose(self._path, error)

    def _print(self, text: str) -> None:
        try:
            sys.stdout.write(text)
            sys.stdout.flush()
        except BrokenPipeError:
            # The reader has seen what it wanted (`| head`): telemetry and verdict are still due.
            throw_away_output()
        except OSError as error:
            throw_away_output()
            self._lose("standard output", error)

    def _lose(self, where: str, error: OSError) -> None:
        self.lost = True
        print(f"otelprobe: the report could not be written to {where}: {error.strerror}", file=sys.stderr)


def _why_unwritable(path: str, form: str) -> str | None:
    """Say why a report cannot be written, before anything is run whose verdict would be lost."""
    if form == "text":
        return "it goes with --output json or --output junit"
    file = Path(path)
    if file.is_dir():
        return f"{path} is a directory: name a file in it"
    if not file.parent.is_dir():
        return f"there is no directory {file.parent}: make it, or mend the path"
    return None if os.access(file if file.exists() else file.parent, os.W_OK) else f"{path} cannot be written"


def delivery_words(counts: Mapping[str, Mapping[str, int]]) -> str:
    """Say in one line what became of the telemetry."""
    parts = []
    for name, row in counts.items():
        words = [f"{row[key]} {key}" for key in ("sent", "failed", "spooled", "replayed") if row.get(key)]
        parts.append(f"{name} {', '.join(words) or ('nothing to send' if row else 'off')}")
    return f"telemetry: {'; '.join(parts)}"
