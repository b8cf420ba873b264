"""What could not be delivered waits here: OTLP requests as files, oldest dropped beyond the cap, sent by a later run.

A file is written beside its final name and renamed, so that a reader never sees half of one, and is readable by its
owner only. It is deleted after it was delivered: at least once. Several processes may share a directory. Nothing is
forced to the disk: a file outlives its process, but not surely a power cut.
"""

import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from otelprobe.telemetry.delivery import Signal

_LOG = logging.getLogger(__name__)
_SUFFIX = ".otlp"
_ABANDONED_AFTER = 3600.0
"""Seconds after which nobody writes a file any more."""


@dataclass(frozen=True, slots=True)
class Spooled:
    """One waiting request: `items` spans, data points or log records."""

    path: Path
    signal: str
    items: int
    size: int


class Spool:
    """A directory of waiting requests, at most `cap` bytes. A disk that is full or not writable is told once."""

    def __init__(self, directory: Path, cap: int, on_drop: Callable[[Signal, int], None]) -> None:
        self._directory = directory
        self._cap = cap
        self._on_drop = on_drop
        self._sequence = 0
        self._told = False

    def write(self, signal: Signal, items: int, body: bytes) -> bool:
        """Keep one request; False if it could not be kept."""
        if len(body) > self._cap:
            return False
        try:
            self._make_room(len(body))
            self._place(signal, items, body)
        except OSError as error:
            if not self._told:
                self._told = True
                _LOG.warning("telemetry spool %s cannot be written (%s)", self._directory, error.strerror)
            return False
        self._told = False
        return True

    def _place(self, signal: Signal, items: int, body: bytes) -> None:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._sequence == 0:
            self._sweep()
        self._sequence += 1
        name = f"{time.time_ns():020d}-{os.getpid()}-{self._sequence}.{signal.value}.{items}{_SUFFIX}"
        handle, temporary = tempfile.mkstemp(prefix=".", suffix=".part", dir=self._directory)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(body)
            Path(temporary).replace(self._directory / name)
        except OSError:
            Path(temporary).unlink(missing_ok=True)
            raise

    def _sweep(self) -> None:
        """Remove the halves of files that killed processes left: they count towards no cap."""
        for half in self._directory.glob(".*.part"):
            with suppress(OSError):
                if half.stat().st_mtime < time.time() - _ABANDONED_AFTER:
                    half.unlink()

    def _make_room(self, size: int) -> None:
        waiting = list(self.waiting())
        total = size + sum(w.size for w in waiting)
        for oldest in waiting:
            if total <= self._cap:
                return
            total -= oldest.size
            if self.remove(oldest):
                self._on_drop(Signal(oldest.signal), oldest.items)

    def waiting(self, signal: Signal | None = None) -> Iterator[Spooled]:
        """Give what waits, oldest first; files that are not ours are passed over."""
        try:
            names = sorted(entry.name for entry in os.scandir(self._directory) if entry.name.endswith(_SUFFIX))
        except OSError:
            return
        for name in names:
            parts = name.split(".")
            if len(parts) != 4 or not parts[2].isdecimal() or parts[1] not in set(Signal):
                continue
            if signal is not None and parts[1] != signal.value:
                continue
            path = self._directory / name
            try:
                yield Spooled(path, parts[1], int(parts[2]), path.stat().st_size)
            except OSError:
                continue

    def read(self, spooled: Spooled) -> bytes | None:
        """Give a request's bytes; None if another process has sent it meanwhile."""
        try:
            return spooled.path.read_bytes()
        except OSError:
            return None

    def remove(self, spooled: Spooled) -> bool:
        """Delete a request; False if it was gone already."""
        try:
            spooled.path.unlink()
        except OSError:
            return False
        return True
