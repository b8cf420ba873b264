"""How far measured latency is from the truth, beside blackbox_exporter: `python tests/benchmarks/latency_error.py`.

The server, a process of its own, answers 50 ms after it has read a request. otelprobe calls it by its real server loop
(scheduler, 64 workers, telemetry sent to a receiver), one `call` step in each flow; blackbox_exporter is asked for probes
at the same moments. The error is what each publishes, less 50 ms: of the whole call, and of the wait for the first byte.
It holds what connecting and the server itself take, which is the same for both. Both take turns.

What lies between the two is the interpreter lock: a worker whose answer has come waits for it, up to 5 ms for each thread
that makes or encodes telemetry. That is why telemetry is made in bursts with pauses. sys.setswitchinterval stays as it is:
from 1 ms down the difference cannot be told from noise, and at 0.1 ms the switching itself loses runs at 400/s.
"""

import argparse
import asyncio
import gc
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from rig.blackbox import Blackbox, Prometheus, blackbox, samples
from rig.processes import servers
from rig.table import percentile, show

from otelprobe.clock import SystemClock
from otelprobe.config.load import load
from otelprobe.http import LiveHttp
from otelprobe.plan import FlowPlan, build
from otelprobe.result import FlowResult
from otelprobe.run import Tools, run_flow, warm_up
from otelprobe.schedule import ScheduleOptions
from otelprobe.serve import ServeOptions, Server, Work, settle
from otelprobe.sharding import fraction
from otelprobe.telemetry import Telemetry, TelemetrySettings

DELAY = 0.05
RATES = (100, 200, 400)
FLOW = "  - {{name: flow-{number}, every: 1s, steps: [{{step: call, url: {base}/slow}}]}}\n"
MODULES = "modules: {slow: {prober: http, timeout: 5s, http: {preferred_ip_protocol: ip4}}}\n"


@dataclass
class Errors:
    """Seconds by which what was measured is off: of the whole call and of the first byte. `lost` never took place."""

    whole: list[float] = field(default_factory=list)
    first_byte: list[float] = field(default_factory=list)
    lost: int = 0

    def add(self, whole: float, first_byte: float) -> None:
        """Take one measurement."""
        self.whole.append(whole - DELAY)
        self.first_byte.append(first_byte - DELAY)


def plans_of(count: int, base: str) -> tuple[FlowPlan, ...]:
    """Give that many flows, read and wired as from any flow file."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "flows.yaml")
        text = "".join(FLOW.format(number=n, base=base) for n in range(count))
        file.write_text(f"flows:\n{text}", encoding="utf-8")
        return build(load([file]))


def by_otelprobe(rate: int, seconds: float, base: str, endpoint: str, errors: Errors) -> None:
    """Let otelprobe call that often, as `otelprobe run` does."""
    plans = plans_of(rate, base)
    tools = Tools(http=LiveHttp(SystemClock()))
    warm_up(plans, tools)
    telemetry = Telemetry(TelemetrySettings.from_environment({"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}))
    telemetry.register([plan.facts() for plan in plans])
    counted_from = time.time_ns() + 1_000_000_000

    def publish(result: FlowResult) -> None:
        telemetry.publish(result)
        exchange = result.steps[0].exchanges[0]
        if not result.passed:
            errors.lost += 1
        elif result.start_ns >= counted_from:
            errors.add(exchange.duration, exchange.phases.ttfb or 0.0)

    def missed(_flow: str, _reason: str) -> None:
        errors.lost += 1

    work = Work(
        run=partial(run_flow, tools=tools),
        publish=publish,
        missed=missed,
        lag=lambda flow, seconds: telemetry.schedule_lag(seconds, flow),
        load_plans=lambda: plans,
        reloaded=lambda _ok, _text: None,
        close=lambda: None,
    )
    server = Server(work, ServeOptions(watch_every=0, schedule=ScheduleOptions(start_spread=1.0)))
    server.start(plans)
    time.sleep(seconds + 1)
    server.stop()
    telemetry.close()


def by_blackbox(rate: int, seconds: float, base: str, exporter: Blackbox, errors: Errors) -> None:
    """Ask blackbox_exporter at the same moments."""
    prometheus = Prometheus(exporter.url, "slow", f"{base}/slow")
    offsets = [fraction(f"flow-{n}", "offset") for n in range(rate)]
    asyncio.run(prometheus.ask(offsets))
    prometheus.answers.clear()
    asyncio.run(prometheus.ask([second + offset for second in range(int(seconds)) for offset in offsets]))
    for answer in prometheus.answers:
        found = samples(answer)
        if found["probe_success"]:
            errors.add(found["probe_duration_seconds"], found["processing"])
        else:
            errors.lost += 1


def lines(rate: int, name: str, errors: Errors) -> list[str]:
    """Give one line of the table: p50 and p99 in milliseconds."""
    numbers = [percentile(values, share) for values in (errors.whole, errors.first_byte) for share in (0.5, 0.99)]
    return [f"{rate}/s {name}", str(len(errors.whole)), str(errors.lost), *(f"{n * 1000:+.2f}" for n in numbers)]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="for each rate, prober and turn")
    parser.add_argument("--turns", type=int, default=2)
    given = parser.parse_args()
    gc.collect()
    settle()  # as `otelprobe run` does once it is set up
    found = {rate: (Errors(), Errors()) for rate in RATES}
    with ExitStack() as stack:
        base, endpoint = stack.enter_context(servers(DELAY)), stack.enter_context(servers())
        exporter = stack.enter_context(blackbox(MODULES))
        for _ in range(given.turns):
            for rate, (ours, theirs) in found.items():
                by_otelprobe(rate, given.seconds, base, endpoint, ours)
                by_blackbox(rate, given.seconds, base, exporter, theirs)
    rows = []
    for rate, (ours, theirs) in found.items():
        rows += [lines(rate, "otelprobe", ours), lines(rate, f"blackbox_exporter {exporter.version}", theirs)]
    show(("error, ms", "calls", "lost", "p50", "p99", "first byte p50", "first byte p99"), rows)
    for rate, (ours, theirs) in found.items():
        words = []
        for share in (0.5, 0.99):
            a, b = percentile(ours.whole, share), percentile(theirs.whole, share)
            words.append(f"p{share * 100:g} {(a - b) * 1000:+.2f} ms {'holds' if a <= b else 'MISSED'}")
        print(f"{rate}/s, error of the whole call, no worse than blackbox_exporter's: {'; '.join(words)}")


if __name__ == "__main__":
    main()
