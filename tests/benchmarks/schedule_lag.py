"""Start lag and memory of the schedule: `python tests/benchmarks/schedule_lag.py [--flows 1000] [--every 60] [--seconds 65]`.

First an hour of 1,000 flows in simulated time, for drift and memory; then real threads and the real clock, each run
sleeping as a network call would. Exits with 1 when the 99th percentile of the start lag is 50 ms or more, when a run is
lost or when memory grows.
"""

import argparse
import gc
import resource
import sys
import threading
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable

from otelprobe.plan import FlowPlan
from otelprobe.reasons import Outcome
from otelprobe.result import FlowResult
from otelprobe.schedule import ScheduleOptions, Scheduler


def plans_of(count: int, every: float) -> tuple[FlowPlan, ...]:
    """Give `count` flows."""
    return tuple(FlowPlan(name=f"flow-{n}", provider=None, steps=(), deadline=20.0, every=every) for n in range(count))


def result_of(plan: FlowPlan) -> FlowResult:
    """Give the result of a run without steps."""
    return FlowResult(
        flow=plan.name, provider=None, labels={}, location=None, run_id="", outcome=Outcome.PASS,
        trace_id=1, span_id=1, start_ns=0, end_ns=0, duration=0.0, steps=(),
    )  # fmt: skip


class SimulatedTime:
    """A clock whose waiting takes no time; `hour` is called at each full hour."""

    def __init__(self, hours: int, hour: Callable[[int], None]) -> None:
        self._now, self._hours, self._hour, self._passed = 0.0, hours, hour, 0

    def monotonic(self) -> float:
        """Give simulated seconds."""
        return self._now

    def time_ns(self) -> int:
        """Give simulated Unix time."""
        return int((1.8e9 + self._now) * 1e9)

    def wait(self, condition: threading.Condition, seconds: float) -> None:
        """Let time pass."""
        self._now += seconds
        if self._now >= (self._passed + 1) * 3600:
            self._passed += 1
            condition.release()
            self._hour(self._passed)
            condition.acquire()


class Inline:
    """Does the work at once."""

    def submit(self, task: Callable[[], None]) -> None:
        """Do it."""
        task()


def simulate(flows: int, every: float, hours: int = 3) -> tuple[int, list[int]]:
    """Run simulated hours; give how many runs there were and the bytes in use after each hour."""
    runs, sizes = Counter[str](), list[int]()

    def hour(passed: int) -> None:
        gc.collect()
        sizes.append(tracemalloc.get_traced_memory()[0])
        if passed == hours:
            scheduler.stop()

    def run(plan: FlowPlan) -> FlowResult:
        runs["all"] += 1
        return result_of(plan)

    scheduler = Scheduler(
        run=run, deliver=lambda _r, _l: None, missed=lambda _f, reason: runs.update([reason]),
        clock=SimulatedTime(hours, hour), hands=Inline(),
    )  # fmt: skip
    tracemalloc.start()
    scheduler.replace(plans_of(flows, every))
    scheduler.dispatch()
    tracemalloc.stop()
    return runs["all"], sizes


def measure(flows: int, every: float, seconds: float, length: float) -> tuple[list[float], Counter[str], float]:
    """Run for real; give the sorted start lags, what was missed, and the CPU seconds it took."""
    lags: list[float] = []
    missed: Counter[str] = Counter()

    def run(plan: FlowPlan) -> FlowResult:
        time.sleep(length)
        return result_of(plan)

    scheduler = Scheduler(
        run=run, deliver=lambda _r, lag: lags.append(lag), missed=lambda _f, reason: missed.update([reason]),
        options=ScheduleOptions(start_spread=every),
    )  # fmt: skip
    before = time.process_time()
    scheduler.start(plans_of(flows, every))
    time.sleep(seconds)
    scheduler.stop()
    scheduler.drain(10)
    return sorted(lags), missed, time.process_time() - before


def main() -> int:
    """Measure and judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flows", type=int, default=1000)
    parser.add_argument("--every", type=float, default=60.0)
    parser.add_argument("--seconds", type=float, default=65.0)
    parser.add_argument("--length", type=float, default=0.5, help="seconds that a run takes")
    given = parser.parse_args()

    began = time.perf_counter()
    runs, sizes = simulate(given.flows, given.every)
    due = round(given.flows * 3 * 3600 / given.every)
    print(f"simulated  3 h: {runs} of {due} runs in {time.perf_counter() - began:.1f} s, bytes per hour {sizes}")

    lags, missed, cpu = measure(given.flows, given.every, given.seconds, given.length)
    p50, p99 = lags[len(lags) // 2], lags[int(len(lags) * 0.99)]
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"real {given.seconds:g} s: {len(lags)} runs, missed {dict(missed)}, start lag p50 {p50 * 1e3:.2f} ms, "
        f"p99 {p99 * 1e3:.2f} ms, max {lags[-1] * 1e3:.2f} ms, CPU {cpu:.2f} s, peak RSS {rss:.0f} MiB"
    )
    good = runs == due and sizes[-1] - sizes[0] < 65_536 and p99 < 0.05 and not missed
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
