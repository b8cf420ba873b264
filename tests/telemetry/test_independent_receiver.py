"""A receiver that is not ours (rotel, in Rust) reads all three signals, over both protocols."""

import importlib.util
import re
import socket
import subprocess
import sysconfig
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from otelprobe.telemetry import Telemetry, schema
from tests.telemetry.samples import NS, START, facts, failed, passed, settings

_WHEEL = importlib.util.find_spec("rotel") is not None and bool(sysconfig.get_config_var("Py_ENABLE_SHARED"))
# The agent is linked to libpython, which a Python without a shared library has not; there is no wheel for 3.14 yet.
pytestmark = pytest.mark.skipif(not _WHEEL, reason="rotel has no wheel that runs on this Python; CI's runs it")


class Rotel:
    """A running agent and what it has printed of what it decoded."""

    def __init__(self, directory: Path) -> None:
        spec = importlib.util.find_spec("rotel")
        assert spec is not None, "install the dev group: rotel is part of it"
        assert spec.origin is not None
        self.ports = _two_free_ports()
        command = [Path(spec.origin).with_name("rotel-agent"), "start", "--exporter", "blackhole"]
        command += [
            "--pid-file",
            directory / "pid",
            "--log-file",
            directory / "log",
            "--debug-log-verbosity",
            "detailed",
        ]
        for signal in ("traces", "metrics", "logs"):
            command += ["--debug-log", signal]
        for kind, port in zip(("grpc", "http"), self.ports, strict=True):
            command += [f"--otlp-{kind}-endpoint", f"127.0.0.1:{port}"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.lines: list[str] = []
        self.grown = threading.Condition()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self.grown:
                self.lines.append(line.strip())
                self.grown.notify_all()

    def found(self, pattern: str) -> list[str]:
        with self.grown:
            return [m[1] for m in (re.fullmatch(pattern, line) for line in self.lines) if m]

    def wait_for(self, pattern: str, count: int) -> None:
        with self.grown:
            assert self.grown.wait_for(lambda: len(self.found(pattern)) >= count, 10), f"{pattern} is missing"

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(10)
        self.reader.join(10)
        assert self.process.stdout is not None
        self.process.stdout.close()


def _two_free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as two:
        one.bind(("127.0.0.1", 0))
        two.bind(("127.0.0.1", 0))
        return one.getsockname()[1], two.getsockname()[1]


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


@pytest.fixture
def rotel(tmp_path: Path) -> Iterator[Rotel]:
    agent = Rotel(tmp_path)
    try:
        deadline = time.monotonic() + 10
        while not all(map(_listens, agent.ports)):
            assert time.monotonic() < deadline, "rotel does not listen"
            assert agent.process.poll() is None, agent.lines
            threading.Event().wait(0.02)
        yield agent
    finally:
        agent.stop()


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_an_independent_receiver_reads_every_signal(rotel, protocol):
    """Spans, metrics and events arrive with their names, ids, units and values, and only with names of the schema."""
    port = rotel.ports[0 if protocol == "grpc" else 1]
    telemetry = Telemetry(settings(f"http://127.0.0.1:{port}", protocol, mode="long_lived"), clock=lambda: START + NS)
    telemetry.register([facts()])
    good = passed()
    telemetry.publish(good)
    telemetry.publish(failed())
    assert telemetry.close().complete
    rotel.wait_for(r"Name +: (.+)", 19)
    rotel.wait_for(r"EventName: (.+)", 9)
    rotel.wait_for(r"-> Name: (otelprobe\.export\.items)", 1)
    assert sorted(rotel.found(r"Name +: (.+)"))[-2:] == ["verify", "verify"]
    assert f"{good.trace_id:032x}" in rotel.found(r"Trace ID +: (.+)")
    assert f"{good.span_id:016x}" in rotel.found(r"ID +: (.+)")
    events = set(rotel.found(r"EventName: (.+)"))
    assert {"otelprobe.flow.completed", "otelprobe.flow.failed", "otelprobe.jwks.changed"} <= events
    assert {"otelprobe.audit.issued", "otelprobe.audit.validated", "otelprobe.audit.rejected"} <= events
    assert set(rotel.found(r"-> otelprobe\.audit\.id: Str\((.+)\)")) == {"1" * 32}
    assert events <= {e.name for e in schema.EVENTS}
    metrics = set(rotel.found(r"-> Name: (.+)"))
    assert {"otelprobe.flow.up", "otelprobe.flow.runs", "http.client.request.duration"} <= metrics
    assert metrics <= {m.name for m in schema.METRICS}
    assert set(rotel.found(r"-> Unit: ?(.*)")) <= {m.unit for m in schema.METRICS}
