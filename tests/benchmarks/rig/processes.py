"""Processes beside the one that measures: started, watched through /proc, and ended."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[3]
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def environment(**more: str) -> dict[str, str]:
    """Give an environment in which nothing that was set by chance has a say: no proxy, no telemetry, no settings."""
    strange = ("OTEL_", "OTELPROBE_", "PYTHON")
    kept = {n: v for n, v in os.environ.items() if not n.startswith(strange) and not n.lower().endswith("_proxy")}
    return kept | more


@contextmanager
def running(command: Sequence[str], env: Mapping[str, str] | None = None) -> Iterator[subprocess.Popen[str]]:
    """Run a command until the block ends; its standard output is a pipe, its standard error is dropped."""
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=env or environment()
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


@contextmanager
def speaking(*command: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run a Python script that tells in one line where it serves; give the process and that line."""
    with running([sys.executable, *command]) as process:
        assert process.stdout is not None
        line = process.stdout.readline().strip()
        if not line:
            raise SystemExit(f"{Path(command[0]).name} did not start: run it by hand to see why")
        yield process, line


@contextmanager
def servers(delay: float = 0.0) -> Iterator[str]:
    """Run provider, API and receiver (servers.py) in a process of their own; give their URL."""
    with speaking(str(Path(__file__).with_name("servers.py")), "--delay", str(delay)) as (_, url):
        yield url


def cpu_seconds(pid: int) -> float:
    """Give the processor time that a process has used, all its threads, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def resident_mib(pid: int | str = "self") -> float:
    """Give the resident memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * _PAGE / 1024**2
