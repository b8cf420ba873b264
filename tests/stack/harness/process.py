"""One server process: started with its output in a file, waited for with a deadline, ended with all its children."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import requests

from tests.stack.harness.cache import tail
from tests.stack.harness.faults import StackError

_T = TypeVar("_T")

_INHERITED = {"PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "JAVA_HOME"}
"""What a server gets of our environment: enough to run, and no setting that could change what is tested."""


def session() -> requests.Session:
    """Give an HTTP session that no proxy setting of this machine reaches."""
    made = requests.Session()
    made.trust_env = False
    return made


class Process:
    """A running server of ours. `log` holds what it printed. One that is `tied` ends by itself when its standard input does."""

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        log: Path,
        environment: Mapping[str, str] | None = None,
        tied: bool = False,
    ) -> None:
        self.name = name
        self.log = log
        inherited = {k: v for k, v in os.environ.items() if k in _INHERITED}
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [str(word) for word in command],
                env={**inherited, **(environment or {})},
                cwd=log.parent,
                stdin=subprocess.PIPE if tied else subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # so that its children can be ended with it
            )

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def wait_until(self, ready: Callable[[], bool], seconds: float) -> None:
        """Wait until `ready`; StackError with the log's end if it takes too long or the process ends before."""
        ends = time.monotonic() + seconds
        while not ready():
            if not self.running:
                raise StackError(f"{self.name} ended at once with code {self._process.returncode}:\n{tail(self.log)}")
            if time.monotonic() > ends:
                self.stop()
                raise StackError(f"{self.name} was not ready within {seconds:.0f} s:\n{tail(self.log)}")
            time.sleep(0.05)

    def stop(self, seconds: float = 15.0) -> int:
        """End it: SIGTERM, then SIGKILL for the whole group; give the exit code."""
        self._let_go()
        if self.running:
            self._process.terminate()
            try:
                self._process.wait(seconds)
            except subprocess.TimeoutExpired:
                self.kill()
        return self._process.wait()

    def _let_go(self) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()

    def hang_up(self) -> None:
        """Tell it to read its configuration anew."""
        self._process.send_signal(signal.SIGHUP)

    def kill(self) -> None:
        """End it and its children as a crash would."""
        self._let_go()
        if self.running:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def answers(url: str, status: int = 200) -> Callable[[], bool]:
    """Give a test for readiness: a GET of `url` is answered with `status`."""

    def ready() -> bool:
        try:
            with session() as http:
                return http.get(url, timeout=2).status_code == status
        except requests.RequestException:
            return False

    return ready


def eventually(look: Callable[[], _T | None], seconds: float, what: str) -> _T:
    """Ask until there is an answer that is not empty; AssertionError names what did not come."""
    ends = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < ends, f"within {seconds:.0f} s there was no {what}"
        time.sleep(0.2)
