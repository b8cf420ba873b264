"""What could not be delivered waits here: OTLP requests as files, oldest dropped beyond the cap, sent by a later run.

A request that the collector keeps refusing while it takes others must not hold them up: those refused least go first,
and what is refused for long is put aside, for people to look at.

A file is written beside its final name and renamed, so that a reader never sees half of one, and is readable by its
owner only. It is deleted after it was delivered: at least once. Several processes may share a directory. Nothing is
forced to the disk: a file outlives its process, but not surely a power cut.
"""

import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from otelprobe.quick import dataclass
from otelprobe.telemetry.delivery import Signal

_LOG = logging.getLogger(__name__)
_SUFFIX = ".otlp"
_ASIDE = ".rejected"
_REFUSALS = 5
_GIVE_UP_AFTER = 3600.0
"""Refusals, and seconds of age: a request is put aside only after both, for a collector that is too busy refuses, too."""

_ABANDONED_AFTER = 3600.0
"""Seconds after which nobody writes a file any more."""


@dataclass(frozen=True, slots=True)
class Spooled:
    """One waiting request: `items` spans, data points or log records."""

    path: Path
    signal: str
    items: int
    size: int
    refusals: int = 0


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
        """Drop what was put aside, which is counted as failed already, and then the oldest requests."""
        waiting, aside = list(self.waiting()), list(self._aside())
        total = size + sum(w.size for w in waiting) + sum(bytes_ for _, bytes_ in aside)
        for path, bytes_ in aside:
            if total <= self._cap:
                return
            total -= bytes_
            with suppress(OSError):
                path.unlink()
        for oldest in waiting:
            if total <= self._cap:
                return
            total -= oldest.size
            if self.remove(oldest):
                self._on_drop(Signal(oldest.signal), oldest.items)

    def _aside(self) -> Iterator[tuple[Path, int]]:
        for path in sorted(self._directory.glob(f"*{_ASIDE}")):
            with suppress(OSError):
                yield path, path.stat().st_size

    def waiting(self, signal: Signal | None = None) -> Iterator[Spooled]:
        """Give what waits, oldest first; files that are not ours are passed over."""
        yield from self._whole(sorted(self._names(signal)))

    def due(self, signal: Signal) -> Iterator[Spooled]:
        """Give what is to be sent, those that were refused least first, and of these the oldest."""
        yield from self._whole(sorted(self._names(signal), key=lambda name: (_refusals(name), name)))

    def _names(self, signal: Signal | None) -> list[str]:
        try:
            names = [entry.name for entry in os.scandir(self._directory)]
        except OSError:
            return []
        return [name for name in names if _is_ours(name) and (signal is None or name.split(".")[1] == signal.value)]

    def _whole(self, names: Iterable[str]) -> Iterator[Spooled]:
        for name in names:
            _, signal, items, *_ = name.split(".")
            path = self._directory / name
            with suppress(OSError):
                yield Spooled(path, signal, int(items), path.stat().st_size, _refusals(name))

    def refused(self, spooled: Spooled) -> Path | None:
        """Note that a collector which takes others refused a request; give its path if it was put aside for that."""
        refusals = spooled.refusals + 1
        stamp, signal, items, *_ = spooled.path.name.split(".")
        aside = refusals >= _REFUSALS and time.time() - _written(stamp) > _GIVE_UP_AFTER
        name = f"{stamp}.{signal}.{items}" + (_ASIDE if aside else f".{refusals}{_SUFFIX}")
        try:
            path = spooled.path.rename(self._directory / name)
        except OSError:  # another process has sent it meanwhile, or the disk is read-only
            return None
        return path if aside else None

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


def _is_ours(name: str) -> bool:
    """Tell whether this is a request's name: `<time>-<process>-<number>.<signal>.<items>[.<refusals>].otlp`."""
    parts = name.removesuffix(_SUFFIX).split(".")
    numbers = all(part.isdecimal() for part in parts[2:])
    return name.endswith(_SUFFIX) and len(parts) in {3, 4} and numbers and parts[1] in set(Signal)


def _refusals(name: str) -> int:
    parts = name.removesuffix(_SUFFIX).split(".")
    return int(parts[3]) if len(parts) == 4 else 0


def _written(stamp: str) -> float:
    """Give the second at which a request was written; foreign names count as written now."""
    nanoseconds = stamp.partition("-")[0]
    return int(nanoseconds) / 1e9 if nanoseconds.isdecimal() else time.time()
