"""Many demo providers in one process of their own, so that they and the prober each have a processor.

Run as `python -m tests.stack.campaign.targets`. It reads one JSON object a line, `{name: [faults]}`, starts the demos
that it does not know yet, turns the others' faults, and answers with one line that tells about each demo. It ends with its
standard input.
"""

import json
import queue
import subprocess
import sys
import threading
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from otelprobe.demo import FAULTS, flow_yaml, start_demo
from tests.stack.harness.cache import tail

_READY_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Target:
    """A running demo: its flow file as a tree, and the environment that the file's secrets are read from."""

    flow_file: Mapping[str, Any]
    environment: Mapping[str, str]


class Targets:
    """Demos by name in a process of their own."""

    def __init__(self, folder: Path) -> None:
        self._log = folder / "targets.log"
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
            )
        self._answers: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._answers.put(line)
        self._answers.put("")

    def set(self, faults: Mapping[str, Collection[str]]) -> Mapping[str, Target]:
        """Start or change the demos of these names, and give them."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({name: sorted(these) for name, these in faults.items()}) + "\n")
        self._process.stdin.flush()
        line = self._answers.get(timeout=_READY_SECONDS)
        assert line, f"the demos ended:\n{tail(self._log)}"
        return {name: Target(yaml.safe_load(t["flow_file"]), t["environment"]) for name, t in json.loads(line).items()}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join()
        assert self._process.stdout is not None
        self._process.stdout.close()


def _needs_tls(name: str) -> bool:
    """Tell whether a demo of this name will have to serve TLS, which it cannot be turned to later."""
    return name in FAULTS and FAULTS[name].tls


def main(lines: Sequence[str] | Any = sys.stdin) -> None:
    """Serve until there are no more lines."""
    demos: dict[str, Any] = {}
    with ExitStack() as running:
        for line in lines:
            told = {}
            for name, faults in json.loads(line).items():
                if name not in demos:
                    demos[name] = running.enter_context(start_demo(tls=_needs_tls(name)))
                demos[name].set_faults(faults)
                told[name] = {"flow_file": flow_yaml(demos[name]), "environment": dict(demos[name].environment)}
            sys.stdout.write(json.dumps(told) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
