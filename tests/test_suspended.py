"""A real `otelprobe run` that is stopped and goes on, as a pod on a suspended node: no burst, no silence, nobody blamed."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.conftest import Answer, Seen, Server
from tests.telemetry.receiver import Inbox, attributes, http_receiver

FLOWS = tuple("abcdefgh")
EVERY = 1.0
STOPPED = 8.0
"""Seconds: longer than eight intervals, and than what the process takes for a standstill."""


class Stopping:
    """An API that stops its caller once, with a request in its hands, and notes who called when."""

    def __init__(self) -> None:
        self.calls: list[tuple[float, str]] = []
        self.process: subprocess.Popen[bytes] | None = None
        self.stopped_ns = self.continued_ns = 0

    def answer(self, seen: Seen) -> Answer:
        """Answer, and stop the caller first when every flow has run three times."""
        flow = seen.path.lstrip("/")
        self.calls.append((time.monotonic(), flow))
        if self.process is not None and not self.stopped_ns and min(self.counts(0.0).values()) >= 3:
            self.stopped_ns = time.time_ns()
            os.kill(self.process.pid, signal.SIGSTOP)
            time.sleep(STOPPED)
            self.continued_ns = time.time_ns()
            os.kill(self.process.pid, signal.SIGCONT)
        return Answer()

    def counts(self, since: float) -> Counter[str]:
        """Give how often each flow has called since then."""
        return Counter({**dict.fromkeys(FLOWS, 0), **Counter(flow for at, flow in self.calls.copy() if at >= since)})


def test_a_suspended_pod_neither_bursts_nor_skips_silently(server: Server, tmp_path: Path) -> None:
    """What was missed is counted, not made up for, and of a run that was under way no verdict is told."""
    api = Stopping()
    for flow in FLOWS:
        server.on(f"/{flow}", api.answer)
    lines = [
        f"  - {{name: {f}, every: 1s, deadline: 1s, steps: [{{step: call, url: '{server.url}/{f}'}}]}}" for f in FLOWS
    ]
    (tmp_path / "flows.yaml").write_text("\n".join(["flows:", *lines]), encoding="utf-8")
    with http_receiver() as inbox:
        began = time.monotonic()
        api.process = started(tmp_path, inbox)
        try:
            until(lambda: api.continued_ns > 0, "standstill")
            woken = time.monotonic()
            until(lambda: min(api.counts(woken).values()) >= 4, "fourth run of every flow after it")
            after, most = time.monotonic() - woken, max(api.counts(woken).values())
        finally:
            api.process.terminate()
            code = api.process.wait(120)
        lasted = time.monotonic() - began
    assert code == 128 + signal.SIGTERM
    assert most <= after / EVERY + 2, "runs were made up for"
    runs, missed = last(inbox, "otelprobe.flow.runs"), last(inbox, "otelprobe.schedule.missed")
    for flow in FLOWS:
        due = sum(n for (name, _), n in (*runs.items(), *missed.items()) if name == flow)
        first = min(at for at, name in api.calls if name == flow)
        assert lasted - (first - began) - 3 <= due <= lasted + 2, "a run that was due is neither told nor counted"
        assert missed[flow, "late"] >= STOPPED / EVERY - 2
    assert sum(n for (_, reason), n in missed.items() if reason == "suspended") >= 1
    for span in inbox.spans:
        assert not (span.start_time_unix_nano < api.continued_ns and span.end_time_unix_nano > api.stopped_ns)


def started(folder: Path, inbox: Inbox) -> "subprocess.Popen[bytes]":
    """Start the prober."""
    environment = {
        "OTELPROBE_LISTEN": "none",
        "OTELPROBE_START_JITTER": "0s",
        "OTEL_EXPORTER_OTLP_ENDPOINT": inbox.endpoint,
        "OTEL_METRIC_EXPORT_INTERVAL": "1000",
    }
    command = [sys.executable, "-m", "otelprobe", "run", "flows.yaml"]
    return subprocess.Popen(command, env=environment, cwd=folder, stderr=subprocess.DEVNULL)


def until(look: Callable[[], bool], what: str) -> None:
    """Ask until it is so."""
    ends = time.monotonic() + 120
    while not look():
        assert time.monotonic() < ends, f"no {what}"
        time.sleep(0.05)


def last(inbox: Inbox, name: str) -> Counter[tuple[str, str]]:
    """Give the last values of a counter by flow, and by outcome or reason."""
    series = {tuple(sorted(attributes(point).items())): point.as_int for point in inbox.points(name)}
    found: Counter[tuple[str, str]] = Counter()
    for told, number in ((dict(members), number) for members, number in series.items()):
        how = told.get("otelprobe.flow.outcome") or told["otelprobe.schedule.reason"]
        found[told["otelprobe.flow.name"], how] += number
    return found
