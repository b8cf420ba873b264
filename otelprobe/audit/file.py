"""The audit file: records appended to a chain that survives restarts, rotation, full disks and being killed.

One process writes one file: a lock beside it keeps others off. What cannot be written is counted and told once; it
stops no run. Beside the file, `.head` says how far the chain had come at the last checkpoint, so that a tail that was
cut off is missed.
"""

import contextlib
import errno
import fcntl
import json
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from otelprobe import __version__
from otelprobe.audit.chain import Link, chain_line, read_line, signed_text
from otelprobe.audit.records import timestamp
from otelprobe.audit.seal import Signer
from otelprobe.audit.settings import DEFAULT_AGE, DEFAULT_LINES, DEFAULT_ROTATE
from otelprobe.quick import dataclass

_TAIL = 1024**2
"""Bytes at the end of a file in which its last record must be."""


class AuditFileError(Exception):
    """The file cannot be used; the text is for the operator."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileOptions:
    """How the file is kept; see `otelprobe.audit.settings.Audit`. `clock` gives Unix nanoseconds."""

    path: Path
    clock: Callable[[], int]
    signer: Signer | None = None
    lines: int = DEFAULT_LINES
    age: float = DEFAULT_AGE
    rotate: int = DEFAULT_ROTATE
    keep: int | None = None
    sync: str = "checkpoint"


class AuditFile:
    """An audit file, opened for appending; AuditFileError if it cannot be opened, or another process has it."""

    def __init__(self, options: FileOptions) -> None:
        self._options = options
        self._lock = threading.Lock()
        self._fd = -1
        self._size = 0
        self._link = Link()
        self._since = 0
        self._checked_ns = options.clock()
        self._lost = 0
        self.fault: str | None = None
        """Why records are lost, or what was found at the start; to be told and set back to None by the caller."""
        try:
            self._guard = _locked(options.path)
            self._resume()
        except OSError as error:
            raise AuditFileError(f"audit file {options.path}: {error.strerror}") from None

    def write(self, records: Sequence[Mapping[str, object]]) -> int:
        """Append records; give how many could not be written. Never raises."""
        if not records:
            return 0
        with self._lock:
            if self._lost and not self._append([{**self._mark("lost"), "records": self._lost}]):
                self._lost += len(records)
                return len(records)
            self._lost = 0
            if not self._append(records):
                self._lost = len(records)
                return len(records)
            self._since += len(records)
            if self._checkpoint_is_due():
                self._checkpoint()
            if self._size >= self._options.rotate:
                self._rotate()
            return 0

    def close(self) -> None:
        """Sign what is not signed yet, force it to the disk and give the file back."""
        with self._lock:
            if self._fd < 0:
                return
            self._checkpoint()
            os.close(self._fd)
            os.close(self._guard)
            self._fd = -1

    def _mark(self, event: str) -> dict[str, object]:
        return {"time": timestamp(self._options.clock()), "event": event}

    def _append(self, records: Sequence[Mapping[str, object]]) -> bool:
        """Write records in one piece, or none of them: what a full disk took of them is cut off again."""
        lines, link = b"", self._link
        for record in records:
            line, link = chain_line(record, link)
            lines += line
        try:
            _write(self._fd, lines)
            if self._options.sync == "always":
                os.fsync(self._fd)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, self._size)
            if not self._lost:
                self.fault = f"audit file {self._options.path} cannot be written ({error.strerror}); records are lost"
            return False
        self._size, self._link = self._size + len(lines), link
        return True

    def _checkpoint_is_due(self) -> bool:
        old = self._options.clock() - self._checked_ns >= self._options.age * 1e9
        return self._since >= self._options.lines or old

    def _checkpoint(self) -> None:
        """Sign the chain as it stands, force it to the disk, and note beside the file how far it has come."""
        signer = self._options.signer
        if signer is not None and self._since:
            mark = self._mark("checkpoint")
            text = signed_text(self._link.seq + 1, str(mark["time"]), self._link.hash)
            self._append([{**mark, "records": self._since, "key_id": signer.key_id, "signature": signer.sign(text)}])
        self._since, self._checked_ns = 0, self._options.clock()
        with contextlib.suppress(OSError):
            if self._options.sync != "never":
                os.fsync(self._fd)
            self._note_head()

    def _note_head(self) -> None:
        path = head_path(self._options.path)
        part = path.with_name(f"{path.name}.part")
        part.touch(mode=0o600)
        part.write_text(json.dumps({"seq": self._link.seq, "hash": self._link.hash}) + "\n", encoding="utf-8")
        part.replace(path)

    def _rotate(self) -> None:
        """Give the full file the number of its last record as a name, and go on in a new one."""
        self._checkpoint()
        path = self._options.path
        try:
            path.replace(path.with_name(f"{path.name}.{self._link.seq:012d}"))
            old, self._fd = self._fd, _opened(path)
            os.close(old)
        except OSError as error:
            self.fault = f"audit file {path} cannot be rotated ({error.strerror}); it grows on"
            return
        self._size = 0
        self._start("rotated")
        for gone in renamed_files(path)[: -self._options.keep] if self._options.keep else ():
            with contextlib.suppress(OSError):
                gone.unlink()

    def _start(self, why: str, **more: object) -> None:
        """Write the first record of a file or of a process."""
        signer = self._options.signer
        known = {"key_id": signer.key_id} if signer is not None else {}
        self._append([{**self._mark("started"), "why": why, "version": __version__, **known, **more}])
        self._since += 1

    def _resume(self) -> None:
        """Go on where the last process stopped: after its last whole record, or where the head says that it had come."""
        path, torn = self._options.path, 0
        last = _last_record(path)
        if isinstance(last, str):
            aside = path.with_name(f"{path.name}.damaged-{self._options.clock()}")
            path.replace(aside)
            with contextlib.suppress(FileNotFoundError):
                head_path(path).replace(head_path(aside))
            self.fault = f"audit file {path} {last}; it was renamed to {aside.name}, and a new one begun"
        self._fd = _opened(path)
        head = read_head(path)
        if isinstance(last, _Last):
            self._size, torn = last.size, last.torn
            os.ftruncate(self._fd, self._size)
            self._link = last.link
        if head is not None and head.seq > self._link.seq:
            missing = head.seq - self._link.seq
            self.fault = f"audit file {path} lacks its last {missing} records; the chain goes on after them"
            self._link = head
        why = "new" if self._link.seq == 0 else "resumed"
        self._start(why, **({"torn_bytes": torn} if torn else {}))


@dataclass(frozen=True, slots=True)
class _Last:
    """The end of a file: its last record, the bytes up to its end, and those of a record that was not finished."""

    link: Link
    size: int
    torn: int


def _last_record(path: Path) -> _Last | str | None:
    """Read a file's last record; None if there is no file or nothing in it, a text if its end is no record of ours."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            file.seek(max(0, size - _TAIL))
            tail = file.read()
    except FileNotFoundError:
        return None
    whole, _, torn = tail.rpartition(b"\n")
    if not whole:
        return _Last(Link(), 0, len(torn)) if size == len(torn) else "does not end in a record"
    entry = read_line(whole.rpartition(b"\n")[2])
    if entry is None or not entry.sound:
        return "does not end in a record that was left as it was written"
    return _Last(entry.link, size - len(torn), len(torn))


def _write(fd: int, lines: bytes) -> None:
    """Write lines in one piece; OSError also where only a part of them found room."""
    if os.write(fd, lines) != len(lines):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _opened(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


def _locked(path: Path) -> int:
    """Take the lock beside the file; AuditFileError if another process has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    guard = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(guard)
        raise AuditFileError(
            f"audit file {path}: another process writes it; give each process a file of its own"
        ) from None
    return guard


def head_path(path: Path) -> Path:
    """Give the file that says how far the chain had come."""
    return path.with_name(f"{path.name}.head")


def read_head(path: Path) -> Link | None:
    """Read how far the chain had come at its last checkpoint; None where nothing says so."""
    try:
        document = json.loads(head_path(path).read_text(encoding="utf-8"))
        return Link(int(document["seq"]), str(document["hash"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def renamed_files(path: Path) -> list[Path]:
    """Give the files that were renamed when they were full, the oldest first."""
    try:
        found = [p for p in path.parent.iterdir() if p.name.startswith(f"{path.name}.") and p.name[-12:].isdigit()]
    except OSError:
        return []
    return sorted(p for p in found if len(p.name) == len(path.name) + 13)
