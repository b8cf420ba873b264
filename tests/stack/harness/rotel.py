"""rotel, an OTLP agent in Rust: an independent reader of what otelprobe sends."""

import importlib.util
import socket
from pathlib import Path

from tests.stack.harness.faults import StackError
from tests.stack.harness.ports import free_ports
from tests.stack.harness.process import Process


def _agent() -> Path:
    found = importlib.util.find_spec("rotel")
    if found is None or found.origin is None:
        raise StackError("rotel is not installed: it has wheels for Python 3.11 to 3.13")
    return Path(found.origin).parent / "rotel-agent"


class Rotel(Process):
    """An agent that prints every span, data point and log record that it receives, by either protocol."""

    def __init__(self, folder: Path) -> None:
        self.grpc, self.http = free_ports(2)
        command: list[str | Path] = [
            *(_agent(), "start", "--exporter", "blackhole"),
            *("--otlp-grpc-endpoint", f"127.0.0.1:{self.grpc}"),
            *("--otlp-http-endpoint", f"127.0.0.1:{self.http}"),
            *(word for signal in ("traces", "metrics", "logs") for word in ("--debug-log", signal)),
            *("--debug-log-verbosity", "detailed"),
        ]
        super().__init__("rotel", command, log=folder / "rotel.log")
        for port in (self.grpc, self.http):
            self.wait_until(lambda port=port: _listens(port), 60)  # type: ignore[misc]  # it has no other way to say so

    def received(self) -> str:
        """Stop it, which flushes, and give everything that it printed."""
        self.stop()
        return self.log.read_text(encoding="utf-8")


def _listens(port: int) -> bool:
    with socket.socket() as asked:
        asked.settimeout(1)
        return asked.connect_ex(("127.0.0.1", port)) == 0
