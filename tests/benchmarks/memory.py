"""Memory of 1,000 flows that run each minute: `python tests/benchmarks/memory.py [--flows 1000]`.

Flows of five steps are read from a flow file, their series registered, and every flow is run once for real by the server
loop against a server of its own process. Then an hour passes: every flow's result is published 60 times with fresh ids and
times, at the pace at which the receiver takes the telemetry. Resident memory has to stay below 100 MiB and flat.
"""

import argparse
import gc
import os
import resource
import secrets
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from rig.processes import resident_mib, servers
from rig.table import show, verdict

from otelprobe.clock import SystemClock
from otelprobe.config.load import load
from otelprobe.http import LiveHttp
from otelprobe.plan import FlowPlan, build
from otelprobe.result import FlowResult
from otelprobe.run import Tools, run_flow, warm_up
from otelprobe.schedule import ScheduleOptions
from otelprobe.serve import ServeOptions, Server, Work, settle
from otelprobe.telemetry import Telemetry, TelemetrySettings

LIMIT, GROWTH = 100.0, 2.0
ROUNDS = 60
SHOWN = (1, 2, 10, 30, 60)
MINUTE = 60_000_000_000
PROVIDER = """\
providers:
  idp: {{issuer: {base}, client_id: otelprobe, client_secret: {{env: SECRET}}}}
flows:
"""
FLOW = """\
  - name: flow-{number}
    provider: idp
    labels: {{team: payments}}
    objective: {{availability: 99.9%, auth_latency: 400ms, api_latency: 500ms}}
    steps:
      - discover
      - keys
      - {{step: token, scope: "orders:read"}}
      - {{step: verify, audience: orders, algorithms: [RS256]}}
      - {{step: call, url: {base}/orders}}
"""


class Ledger:
    """What was resident when."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, str, str]] = []
        self.last = 0.0

    def note(self, what: str) -> None:
        """Write a line."""
        self.last = resident_mib()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        self.rows.append((what, f"{self.last:.1f}", f"{peak:.1f}"))


def read_plans(count: int, base: str) -> tuple[FlowPlan, ...]:
    """Read and wire that many flows."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "flows.yaml")
        flows = "".join(FLOW.format(number=n, base=base) for n in range(count))
        file.write_text(PROVIDER.format(base=base) + flows, encoding="utf-8")
        return build(load([file]))


def run_for_real(plans: tuple[FlowPlan, ...], telemetry: Telemetry, tools: Tools) -> FlowResult:
    """Run every flow once by the server loop, within ten seconds; give one result. SystemExit unless all passed."""
    results: list[FlowResult] = []
    passed = [0]
    done = threading.Event()

    def publish(result: FlowResult) -> None:
        telemetry.publish(result)
        results[:] = [result]
        passed[0] += result.passed
        if passed[0] == len(plans):
            done.set()

    work = Work(
        run=partial(run_flow, tools=tools),
        publish=publish,
        missed=lambda flow, reason: telemetry.missed(reason, flow),
        lag=lambda flow, seconds: telemetry.schedule_lag(seconds, flow),
        load_plans=lambda: plans,
        reloaded=lambda _ok, _text: None,
        close=lambda: None,
    )
    server = Server(work, ServeOptions(watch_every=0, schedule=ScheduleOptions(start_spread=10.0)))
    server.start(plans)
    complete = done.wait(30)
    server.stop()
    if not complete:
        raise SystemExit(f"only {passed[0]} of {len(plans)} flows passed")
    return results[0]


def another(result: FlowResult, flow: str, end_ns: int) -> FlowResult:
    """Give a later run of another flow that went the same way."""
    shift = end_ns - result.end_ns

    def draw() -> int:
        return secrets.randbits(64) or 1

    steps = tuple(
        replace(
            step,
            span_id=draw(),
            start_ns=step.start_ns + shift,
            end_ns=step.end_ns + shift,
            exchanges=tuple(replace(x, span_id=draw(), start_ns=x.start_ns + shift) for x in step.exchanges),
        )
        for step in result.steps
    )
    trace_id, span_id = secrets.randbits(128) or 1, draw()
    return replace(
        result,
        flow=flow,
        run_id=f"{span_id:016x}",
        trace_id=trace_id,
        span_id=span_id,
        start_ns=result.start_ns + shift,
        end_ns=end_ns,
        steps=steps,
    )


class Pace:
    """Holds publishing back while spans wait, as an hour would: the queue is bounded and drops what is too much."""

    def __init__(self, telemetry: Telemetry, spans: int) -> None:
        self._telemetry, self._spans = telemetry, spans
        self._start, self._published = self._left(), 0

    def _left(self) -> int:
        count = self._telemetry.delivery.signals["traces"]
        return count.sent + count.failed

    def keep(self) -> None:
        """Count one more run; wait while more than a thousand spans are on their way."""
        self._published += self._spans
        for _ in range(10_000):
            if self._published - (self._left() - self._start) < 1000:
                return
            time.sleep(0.002)
        raise SystemExit("the receiver takes no spans")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flows", type=int, default=1000)
    given = parser.parse_args()
    os.environ["SECRET"] = "nothing"
    ledger = Ledger()
    ledger.note("otelprobe imported")
    with ExitStack() as stack:
        base, receiver = stack.enter_context(servers()), stack.enter_context(servers())
        plans = read_plans(given.flows, base)
        ledger.note(f"{given.flows} flows loaded")
        now = [time.time_ns()]
        # Some five exports of all metrics in the time that the simulated hour takes.
        variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver, "OTEL_METRIC_EXPORT_INTERVAL": "15000"}
        telemetry = Telemetry(TelemetrySettings.from_environment(variables), clock=lambda: now[0])
        telemetry.register([plan.facts() for plan in plans])
        tools = Tools(http=LiveHttp(SystemClock()))
        warm_up(plans, tools)
        gc.collect()
        settle()
        ledger.note("registered, libraries loaded")
        template = run_for_real(plans, telemetry, tools)
        ledger.note("after every flow ran for real")
        pace = Pace(telemetry, 1 + sum(1 + len(s.exchanges) for s in template.steps))
        sizes = {}
        for turn in range(1, ROUNDS + 1):
            now[0] += MINUTE
            for plan in plans:
                telemetry.publish(another(template, plan.name, now[0]))
                pace.keep()
            if turn in SHOWN:
                ledger.note(f"after {turn} rounds more")
                sizes[turn] = ledger.last
        delivery = telemetry.close(30)
        ledger.note("telemetry closed")
    show(("", "RSS MiB", "peak MiB"), ledger.rows)
    print(f"delivered: {delivery.as_dict()}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    verdict("peak of resident memory", peak, LIMIT, " MiB")
    verdict("growth from the 10th to the 60th round", sizes[60] - sizes[10], GROWTH, " MiB")


if __name__ == "__main__":
    main()
