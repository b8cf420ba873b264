"""How much of the telemetry arrived: counted where it is handed over, never believed from a flush."""

import threading
from collections.abc import Mapping
from enum import StrEnum

from otelprobe.quick import dataclass


class Signal(StrEnum):
    """The three kinds of telemetry, as in the paths of OTLP over HTTP."""

    TRACES = "traces"
    METRICS = "metrics"
    LOGS = "logs"


@dataclass(frozen=True, slots=True)
class SignalCount:
    """Items (spans, data points, log records) of one signal. `replayed` are those of earlier runs, out of the spool."""

    sent: int = 0
    failed: int = 0
    spooled: int = 0
    replayed: int = 0


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of everything this process published; a signal that is off has no row."""

    signals: Mapping[str, SignalCount]

    @property
    def complete(self) -> bool:
        """Tell whether everything arrived: nothing failed, nothing waits in the spool."""
        return not any(c.failed or c.spooled for c in self.signals.values())

    def as_dict(self) -> dict[str, dict[str, int]]:
        """Give the `delivery` member of the JSON output; a signal that is off is empty."""
        rows: dict[str, dict[str, int]] = {}
        for signal in Signal:
            count = self.signals.get(signal)
            rows[signal.value] = {} if count is None else {n: getattr(count, n) for n in SignalCount.__slots__}
        return rows


class Tally:
    """Counts of all signals, kept by the couriers. Safe from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[str, dict[str, int]] = {}

    def open(self, signal: Signal) -> None:
        """Begin a row of zeros for a signal that is on."""
        with self._lock:
            self._counts.setdefault(signal.value, dict.fromkeys(SignalCount.__slots__, 0))

    def add(self, signal: Signal, outcome: str, items: int) -> None:
        """Count items: `outcome` is sent, failed, spooled or replayed."""
        self.open(signal)
        with self._lock:
            self._counts[signal.value][outcome] += items

    def snapshot(self) -> Delivery:
        """Give the counts as they stand."""
        with self._lock:
            return Delivery({signal: SignalCount(**row) for signal, row in self._counts.items()})
