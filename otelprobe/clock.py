"""Time as an argument: the one place that asks the machine for it."""

import time
from typing import Protocol


class Clock(Protocol):
    """Wall time for stamps and token claims, monotonic time for durations and deadlines."""

    def time_ns(self) -> int:
        """Give Unix time in nanoseconds."""
        ...

    def monotonic(self) -> float:
        """Give seconds of a clock that never jumps."""
        ...


class SystemClock:
    """The machine's own clocks."""

    time_ns = staticmethod(time.time_ns)
    monotonic = staticmethod(time.perf_counter)
