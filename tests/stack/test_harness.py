"""The harness itself: what it says when something cannot be had, and that it leaves nothing half made."""

import sys
import time
from pathlib import Path

import pytest

from tests.stack.harness import __main__ as command
from tests.stack.harness import cache
from tests.stack.harness.faults import StackError
from tests.stack.harness.process import Process


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTELPROBE_STACK_CACHE", str(tmp_path / "cache"))


def test_a_missing_toolchain_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Without Go, the command says so in one line and fails."""
    monkeypatch.setenv("PATH", "/nowhere")
    assert command.main(["collector"]) == 1
    assert capsys.readouterr().err.strip().splitlines()[-1] == "make test-stack needs go: install Go 1.26 or newer"


def test_a_failed_build_shows_its_end_and_leaves_nothing(tmp_path: Path) -> None:
    """The last lines of the log are in the message, the first are not, and the next try starts anew."""

    def make(folder: Path) -> None:
        script = "import sys; [print('line', n) for n in range(100)]; sys.exit(3)"
        cache.build("broken", [sys.executable, "-c", script], folder=folder)

    with pytest.raises(StackError, match="line 99") as raised:
        cache.entry("broken", make)
    assert "line 9\n" not in str(raised.value)
    assert not (cache.root() / "broken").exists()
    assert list(cache.root().glob(".broken.part")) == []


def test_what_is_there_is_not_made_again() -> None:
    """An entry is made once, and is the same folder afterwards."""
    made: list[Path] = []

    def make(folder: Path) -> None:
        made.append(folder)
        (folder / "file").write_text("x", encoding="utf-8")

    first, second = cache.entry("thing", make), cache.entry("thing", make)
    assert (first, len(made)) == (second, 1)
    assert (first / "file").exists()


def test_a_server_that_ends_at_once_is_told_with_its_last_words(tmp_path: Path) -> None:
    """No deadline is waited for when the process is gone, and what it said is in the message."""
    begun = time.monotonic()
    running = Process("thing", [sys.executable, "-c", "print('no such option'); exit(2)"], log=tmp_path / "log")
    with pytest.raises(StackError, match="no such option"):
        running.wait_until(lambda: False, 30)
    assert time.monotonic() - begun < 10


def test_a_server_that_will_not_end_is_killed(tmp_path: Path) -> None:
    """SIGTERM, then SIGKILL: nothing of ours is left."""
    script = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
    running = Process("thing", [sys.executable, "-c", script], log=tmp_path / "log")
    running.wait_until(lambda: "up" in (tmp_path / "log").read_text(encoding="utf-8"), 10)
    assert running.stop(seconds=0.2) == -9
    assert not running.running
