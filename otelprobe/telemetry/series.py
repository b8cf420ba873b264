"""The metric series, kept small: what the SDK's instruments would hold in kilobytes each is held here in some 100 bytes.

A thousand flows of five steps have about 100,000 series. The SDK keeps for each an aggregation, its lock, a reservoir with
a bucket of exemplars for every boundary and a copy of the attributes, which is many times the memory the whole process
may take (tests/benchmarks/telemetry_cost.py measures ours). So series live here, in one dict for each flow, under
keys that all flows share, and become OTLP's data points only while they are sent (points.py). It also lets a gauge
fall silent, a removed flow end, and a counter be told as zero before its first value, none of which the SDK can do.
"""

import threading
from array import array
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from otelprobe.telemetry import schema
from otelprobe.telemetry.schema import Metric

Value = str | int | bool | None
Values = tuple[Value, ...]
"""The values of a metric's own attributes, None where one is absent."""

Key = tuple[int, *Values]
"""The metric's place in schema.METRICS, then its values."""

_PLACES = {metric.name: place for place, metric in enumerate(schema.METRICS)}


class Mark(NamedTuple):
    """What an exemplar points to: a span of the run that was measured, and when it ended."""

    trace_id: int
    span_id: int
    time_ns: int


class Histogram:
    """One histogram series; the bounds are the metric's.

    `exemplars` are those since the last collection, one for a bucket: a tuple, as most series have one.
    """

    __slots__ = ("counts", "exemplars", "high", "low", "total")

    def __init__(self, buckets: int) -> None:
        self.counts = array("I", bytes(array("I").itemsize * buckets))
        self.total = 0.0
        self.low = float("inf")
        self.high = float("-inf")
        self.exemplars: tuple[tuple[float, Mark], ...] = ()

    def observe(self, bounds: Sequence[float], value: float, mark: Mark | None) -> None:
        """Add one measurement; its exemplar replaces the bucket's last one."""
        bucket = bisect_left(bounds, value)
        self.counts[bucket] += 1
        self.total += value
        if value < self.low:  # noqa: PLR1730 - a third of the time of min(), some thirty times in each run
            self.low = value
        if value > self.high:  # noqa: PLR1730 - as above
            self.high = value
        if mark is None:
            return
        others = [e for e in self.exemplars if bisect_left(bounds, e[0]) != bucket] if self.exemplars else ()
        self.exemplars = (*others, (value, mark))


class Gauge(NamedTuple):
    """The last value and until when it is worth reporting (Unix nanoseconds; None: for good)."""

    value: float
    until_ns: int | None


class Owner:
    """All series of one flow, of one provider, or of the process, and the attributes that they share.

    `newborn` holds counters that were born with a value: None until they were told as zero, then the time of that.
    """

    __slots__ = ("attributes", "labels", "newborn", "series", "start_ns")

    def __init__(self, attributes: Mapping[str, str], labels: Mapping[str, str], start_ns: int) -> None:
        self.attributes = attributes
        self.labels = labels
        self.start_ns = start_ns
        self.series: dict[Key, int | Gauge | Histogram] = {}
        self.newborn: dict[Key, int | None] = {}


OwnerId = tuple[str, str]
PROCESS: OwnerId = ("process", "")


class Store:
    """Every series of this process. Safe from any thread; `lock` also guards a reader that walks over owners.

    `gauges_only` is the one-shot mode: counters and histograms of a process that lives seconds mean nothing.
    """

    def __init__(
        self, clock: Callable[[], int], *, announce_births: bool, gauges_only: bool = False, exemplars: bool = True
    ) -> None:
        self.lock = threading.RLock()
        self.owners: dict[OwnerId, Owner] = {}
        self.clock = clock
        self.on_birth: Callable[[], None] = lambda: None
        self._announce = announce_births
        self._gauges_only = gauges_only
        self._exemplars = exemplars
        self._keys: dict[Key, Key] = {}
        self.owner(PROCESS, {})

    def owner(self, ident: OwnerId, attributes: Mapping[str, str], labels: Mapping[str, str] | None = None) -> Owner:
        """Give an owner, made if it is new; its attributes and labels are those of the latest call."""
        with self.lock:
            owner = self.owners.get(ident)
            if owner is None:
                owner = self.owners[ident] = Owner(attributes, labels or {}, self.clock())
            else:
                owner.attributes = attributes
                owner.labels = owner.labels if labels is None else labels
            return owner

    @property
    def process(self) -> Owner:
        """The owner of what belongs to no flow."""
        return self.owners[PROCESS]

    def key(self, metric: Metric, values: Values) -> Key:
        """Give a series' key, the same object for all owners."""
        key: Key = (_PLACES[metric.name], *values)
        return self._keys.setdefault(key, key)

    def plan(self, owner: Owner, metric: Metric, values: Values = ()) -> None:
        """Create a counter at zero, unless it exists."""
        if self._gauges_only:
            return
        with self.lock:
            owner.series.setdefault(self.key(metric, values), 0)

    def count(self, owner: Owner, metric: Metric, values: Values = (), *, by: int = 1) -> None:
        """Add to a counter; one that was not planned is announced as zero first."""
        if self._gauges_only:
            return
        key = self.key(metric, values)
        with self.lock:
            known = owner.series.get(key)
            if isinstance(known, int):
                owner.series[key] = known + by
                return
            owner.series[key] = by
            if not self._announce:
                return
            owner.newborn[key] = None
        self.on_birth()

    def total(self, owner: Owner, metric: Metric, values: Values, value: int) -> None:
        """Set a counter to a total that is kept elsewhere."""
        if self._gauges_only:
            return
        with self.lock:
            owner.series[self.key(metric, values)] = value

    def gauge(self, owner: Owner, metric: Metric, values: Values, value: float, until_ns: int | None) -> None:
        """Set a gauge, to be reported until then."""
        with self.lock:
            owner.series[self.key(metric, values)] = Gauge(value, until_ns)

    def observe(self, owner: Owner, metric: Metric, values: Values, value: float, mark: Mark | None) -> None:
        """Add a measurement to a histogram."""
        if self._gauges_only:
            return
        key = self.key(metric, values)
        with self.lock:
            histogram = owner.series.get(key)
            if not isinstance(histogram, Histogram):
                histogram = owner.series[key] = Histogram(len(metric.bounds) + 1)
            histogram.observe(metric.bounds, value, mark if self._exemplars else None)

    def forget(self, unwanted: Callable[[OwnerId, Metric, Values], bool]) -> None:
        """Drop series that nobody will feed again."""
        with self.lock:
            for ident, owner in self.owners.items():
                for key in [k for k in owner.series if unwanted(ident, metric_of(k), k[1:])]:
                    del owner.series[key]
                    owner.newborn.pop(key, None)

    def retire(self, keep: Callable[[OwnerId], bool]) -> None:
        """Drop owners that are no longer there."""
        with self.lock:
            self.owners = {i: o for i, o in self.owners.items() if i == PROCESS or keep(i)}


def metric_of(key: Key) -> Metric:
    """Give the metric that a key belongs to."""
    return schema.METRICS[key[0]]
