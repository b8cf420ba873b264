"""What the tests of faults on the way out are made of: a target that knows every run, a prober, a collector that can die.

The target is the witness: it keeps the trace id and span id that every request brought, so that what was made is known
from outside of otelprobe, and compared with what arrived at the far end by id.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

import yaml

from tests.stack.harness.collector import obtain
from tests.stack.harness.ports import free_ports
from tests.stack.harness.process import Process, answers
from tests.telemetry.receiver import Inbox, attributes

SIGNALS = ("traces", "metrics", "logs")
BUDGET, SHORT = 15.0, 0.5
"""Seconds for the last export: where it can succeed, and where it cannot."""
OVERHEAD = 10.0
"""Seconds for start-up, a few runs and the report on a busy machine; 0.7 s on an idle one."""
SPANS = 3
"""Spans of one run of the flow here: the flow, its step, its request."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256


class Target:
    """An API that answers 200 and keeps the `traceparent` of each request: one for each run."""

    def __init__(self) -> None:
        target = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                _, trace_id, span_id, _ = self.headers["traceparent"].split("-")
                with target.lock:
                    target.runs[trace_id] = span_id
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_args: Any) -> None:
                return

        self.lock = threading.Lock()
        self.runs: dict[str, str] = {}
        self._server = _Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/"

    def traces(self) -> set[str]:
        """Give the trace ids of all runs so far."""
        with self.lock:
            return set(self.runs)

    def wait_for(self, runs: int, seconds: float = 90.0) -> None:
        """Wait until so many runs took place."""
        wait_until(lambda: len(self.traces()) >= runs, seconds, f"{runs} runs")

    def stop(self) -> None:
        """Close the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def wait_until(ready: Any, seconds: float, what: str) -> None:
    """Wait; AssertionError names what did not come."""
    ends = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < ends, f"within {seconds:.0f} s there were not {what}"
        threading.Event().wait(0.05)


@dataclass(frozen=True)
class Once:
    """How one `otelprobe once` ended."""

    code: int
    delivery: dict[str, dict[str, int]]
    errors: str
    seconds: float

    def count(self, outcome: str) -> dict[str, int]:
        """Give the items of an outcome by signal, without zeros."""
        return {s: c[outcome] for s, c in self.delivery.items() if c.get(outcome)}


@dataclass
class Prober:
    """Flows that each call the target once, and where their telemetry goes."""

    folder: Path
    target: Target
    flows: int = 4
    spool: Path | None = None
    settings: dict[str, str] = field(default_factory=dict)

    def _file(self, budget: float) -> Path:
        flows = [
            {"name": f"flow-{n}", "every": "1s", "deadline": "5s", "steps": [{"step": "call", "url": self.target.url}]}
            for n in range(self.flows)
        ]
        path = self.folder / "flows.yaml"
        path.write_text(yaml.safe_dump({"telemetry": {"budget": f"{budget}s"}, "flows": flows}), encoding="utf-8")
        return path

    def environment(self) -> dict[str, str]:
        """Give an environment that has nothing of this machine's settings but its path."""
        spool = {} if self.spool is None else {"OTELPROBE_SPOOL_DIR": str(self.spool)}
        own = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path.cwd()), "PYTHONDONTWRITEBYTECODE": "1"}
        return {**own, **spool, **self.settings}

    def start_once(
        self, budget: float = BUDGET, *, require: bool = False, disk_full: bool = False
    ) -> "subprocess.Popen[str]":
        """Start `otelprobe once`; with `disk_full` it can create files, and every write to one fails."""
        limited = ["sh", "-c", 'ulimit -f 0; exec "$@"', "sh"] if disk_full else []
        command = [sys.executable, "-m", "otelprobe", "once", str(self._file(budget)), "--output", "json"]
        return subprocess.Popen(
            [*limited, *command, *(["--require-delivery"] if require else [])],
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def once(self, budget: float = BUDGET, **how: bool) -> Once:
        """Run the flows once, with time enough to deliver."""
        started = time.monotonic()
        return finish(self.start_once(budget, **how), started)

    def in_vain(self, budget: float = SHORT, **how: bool) -> Once:
        """Run the flows once where nothing can be delivered, with a budget that must be kept.

        Where an answer is what is tested, and not that one fails to come, `budget` leaves time for it.
        """
        ended = self.once(budget, **how)
        assert ended.seconds < budget + OVERHEAD
        assert ended.count("sent") == {}
        return ended

    def run(self, budget: float = BUDGET) -> "Running":
        """Start `otelprobe run`; the caller ends it."""
        command = [sys.executable, "-m", "otelprobe", "run", str(self._file(budget)), "--listen", "none"]
        return Running(
            "otelprobe",
            [*command, "--start-jitter", "0s"],
            log=self.folder / "otelprobe.log",
            environment=self.environment(),
        )


def finish(process: "subprocess.Popen[str]", started: float, seconds: float = 90.0) -> Once:
    """Wait for the end of `otelprobe once` and read its report."""
    try:
        out, errors = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    took = time.monotonic() - started
    assert out, errors
    return Once(process.returncode, json.loads(out)["delivery"], errors, took)


class Running(Process):
    """`otelprobe run`, or a collector, as something that can be stopped, killed, or made to hang."""

    def pause(self) -> None:
        """Make it hang: its ports stay open, and nobody reads from them."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self._process.send_signal(signal.SIGCONT)

    def stop(self, seconds: float = 20.0) -> int:
        """End it, also when it hangs."""
        if self.running:
            self.resume()
        return super().stop(seconds)

    def told(self) -> str:
        """Give its log."""
        return self.log.read_text(encoding="utf-8")


class Doorman:
    """The official collector as a mere door: what it has acknowledged has reached the far end, for it keeps nothing.

    So an item that otelprobe calls sent and that is missing at the far end would be otelprobe's lie. It keeps its ports
    when it is started again.
    """

    def __init__(self, folder: Path, inbox: Inbox, tls: Mapping[str, str] | None = None) -> None:
        grpc, http, self._health = free_ports(3)
        scheme = "https" if tls else "http"
        self.endpoints = {"http/protobuf": f"{scheme}://127.0.0.1:{http}", "grpc": f"{scheme}://127.0.0.1:{grpc}"}
        self._folder = folder
        self._file = folder / "doorman.yaml"
        self._file.write_text(yaml.safe_dump(self._config(inbox, grpc, http, dict(tls or {}))), encoding="utf-8")

    def _config(self, inbox: Inbox, grpc: int, http: int, tls: dict[str, str]) -> dict[str, Any]:
        more = {"tls": tls} if tls else {}
        protocols = {
            "grpc": {"endpoint": f"127.0.0.1:{grpc}", **more},
            "http": {"endpoint": f"127.0.0.1:{http}", **more},
        }
        onward = {
            "endpoint": inbox.endpoint,
            "compression": "none",
            "sending_queue": {"enabled": False},
            "retry_on_failure": {"enabled": False},
        }
        return {
            "receivers": {"otlp": {"protocols": protocols}},
            "exporters": {"otlphttp": onward},
            "extensions": {"health_check": {"endpoint": f"127.0.0.1:{self._health}"}},
            "service": {
                "extensions": ["health_check"],
                "telemetry": {"metrics": {"level": "none"}},
                "pipelines": {s: {"receivers": ["otlp"], "exporters": ["otlphttp"]} for s in SIGNALS},
            },
        }

    @contextmanager
    def open(self) -> Iterator[Running]:
        """Start it and end it."""
        running = Running("doorman", [obtain(), f"--config={self._file}"], log=self._folder / "doorman.log")
        try:
            running.wait_until(answers(f"http://127.0.0.1:{self._health}/"), 120)
            yield running
        finally:
            running.stop()


@dataclass(frozen=True)
class Ledger:
    """What is at the far end, by id."""

    spans: Counter[str]
    runs: set[str]
    events: Counter[str]

    @classmethod
    def of(cls, inbox: Inbox, events: Inbox | None = None) -> Self:
        """Read what has arrived; `events` if log records go elsewhere."""
        spans = list(inbox.spans)
        return cls(
            Counter(span.span_id.hex() for span in spans),
            {span.trace_id.hex() for span in spans},
            Counter(record.trace_id.hex() for record in (events or inbox).records),
        )

    @property
    def repeated(self) -> int:
        """How many spans came more than once."""
        return sum(count - 1 for count in self.spans.values())

    def assert_holds(self, target: Target, runs: set[str]) -> None:
        """Every span and event of these runs is there: three spans and one event each, the request's under its own id."""
        assert runs <= self.runs, f"{len(runs - self.runs)} of {len(runs)} runs are missing"
        assert {target.runs[run] for run in runs} <= set(self.spans)
        assert len(self.spans) >= SPANS * len(runs)
        assert runs <= set(self.events)


def exported(inbox: Inbox, outcome: str) -> dict[str, int]:
    """Give the highest value of otelprobe.export.items of an outcome, by signal."""
    found: dict[str, int] = {}
    for point in inbox.points("otelprobe.export.items"):
        told = attributes(point)
        if told["otelprobe.export.outcome"] == outcome:
            name = told["otelprobe.export.signal"]
            found[name] = max(found.get(name, 0), int(point.as_int or point.as_double))
    return found
