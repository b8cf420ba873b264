"""Where servers are kept between runs: one folder for each version or manifest, whole or not at all."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.stack.harness.faults import StackError

REPOSITORY = Path(__file__).resolve().parents[3]
_LAST_LINES = 30
_BUILD_TIMEOUT = 1800.0


def root() -> Path:
    """Give the cache: OTELPROBE_STACK_CACHE, or .cache/stack in the working copy."""
    folder = Path(os.environ.get("OTELPROBE_STACK_CACHE") or REPOSITORY / ".cache" / "stack").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def digest(*parts: str | bytes) -> str:
    """Give a short name for contents, so that a changed manifest is another entry."""
    whole = hashlib.sha256()
    for part in parts:
        whole.update(part.encode() if isinstance(part, str) else part)
        whole.update(b"\0")
    return whole.hexdigest()[:12]


def entry(name: str, make: Callable[[Path], None]) -> Path:
    """Give the cache's folder `name`; if there is none, `make` fills a new one. A failed `make` leaves nothing behind."""
    folder = root() / name
    if folder.is_dir():
        return folder
    with _locked(name):
        if folder.is_dir():  # another run has made it meanwhile
            return folder
        part = root() / f".{name}.part"
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        try:
            make(part)
            part.rename(folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return folder


def entry_in_place(name: str, make: Callable[[Path], None]) -> Path:
    """As `entry`, for what knows its own path and cannot be moved when it is whole: `make` fills the very folder."""
    folder, whole = root() / name, root() / f".{name}.whole"
    if not whole.exists():
        with _locked(name):
            if not whole.exists():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                make(folder)
    whole.touch()  # when it was last asked for
    return folder


def forget(prefix: str, *, keep: str, seconds: float) -> None:
    """Remove the entries made in place whose names begin like this and that nobody has asked for in so many seconds."""
    for whole in root().glob(f".{prefix}*.whole"):
        name = whole.name.removeprefix(".").removesuffix(".whole")
        if name != keep and time.time() - whole.stat().st_mtime > seconds:
            whole.unlink(missing_ok=True)
            shutil.rmtree(root() / name, ignore_errors=True)


@contextmanager
def _locked(name: str) -> Iterator[None]:
    with (root() / f".{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def need(program: str, mend: str) -> str:
    """Give the path of a toolchain's program. StackError with one line if it is not installed."""
    found = shutil.which(program)
    if found is None:
        raise StackError(f"make test-stack needs {program}: {mend}")
    return found


def build(name: str, command: Sequence[str], *, folder: Path, environment: Mapping[str, str] | None = None) -> None:
    """Run one command of a build at low priority, its output in the cache's `<name>.log`; StackError shows the log's end."""
    log = root() / f"{name}.log"
    started = time.monotonic()
    with log.open("ab") as output:
        output.write(f"$ {' '.join(command)}\n".encode())
        output.flush()
        code = _run(command, folder, {**os.environ, **(environment or {})}, output.fileno())
    if code != 0:
        raise StackError(f"building {name} failed after {time.monotonic() - started:.0f} s, see {log}:\n{tail(log)}")


def _run(command: Sequence[str], folder: Path, environment: Mapping[str, str], output: int) -> int | None:
    """Give the exit code, None if it did not end in time."""
    try:
        return subprocess.run(
            ["nice", *command],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            timeout=_BUILD_TIMEOUT,
            check=False,
        ).returncode
    except subprocess.TimeoutExpired:
        return None


def tail(log: Path, lines: int = _LAST_LINES) -> str:
    """Give the last lines of a log."""
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
