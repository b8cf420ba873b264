"""Series to OTLP: the store's numbers as the SDK's public data points, in requests of bounded size.

Loaded only when metrics are sent. A request holds at most some 1,500 points (about 0.5 MB), well below the 4 MiB that a
gRPC collector accepts by default, and the objects of one request are gone before the next is built.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from opentelemetry.sdk.metrics import Exemplar
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    HistogramDataPoint,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.metrics.export import Gauge as GaugeData
from opentelemetry.sdk.metrics.export import Histogram as HistogramData
from opentelemetry.sdk.metrics.export import Metric as MetricData
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from otelprobe.telemetry import schema
from otelprobe.telemetry.schema import Instrument, Metric
from otelprobe.telemetry.series import Gauge, Histogram, Key, Owner, Store, metric_of

_POINTS = 1500
_NS = 1_000_000_000
_ZERO_LASTS_NS = 15 * _NS
"""How long a new counter is told as zero at least, so that a scrape of the collector sees it."""

Points = dict[str, list[NumberDataPoint | HistogramDataPoint]]


class Newborn(NamedTuple):
    """A counter that a chunk tells as zero."""

    owner: Owner
    key: Key


class Collection:
    """One walk over the store.

    `newborn_only` gives only the zeros of new counters. `final` gives every value, however short ago the zero was.
    """

    def __init__(
        self,
        store: Store,
        now_ns: int,
        *,
        since_ns: int | None,
        hold_ns: int,
        newborn_only: bool = False,
        final: bool = False,
    ) -> None:
        self._store = store
        self._now = now_ns
        self._since = since_ns
        self._hold = hold_ns
        self._newborn_only = newborn_only
        self._final = final
        self.count = 0
        self.points: Points = {}
        self.newborn: list[Newborn] = []

    @property
    def delta(self) -> bool:
        """Tell whether counters and histograms begin anew at each collection."""
        return self._since is not None

    def add(self, owner: Owner) -> None:
        """Add an owner's points."""
        bases: dict[str, dict[str, str]] = {}
        with self._store.lock:
            keys = list(owner.newborn) if self._newborn_only else list(owner.series)
            for key in keys:
                metric = metric_of(key)
                point = self._point(owner, key, metric, bases)
                if point is not None:
                    self.points.setdefault(metric.name, []).append(point)
                    self.count += 1

    def _point(
        self, owner: Owner, key: Key, metric: Metric, bases: dict[str, dict[str, str]]
    ) -> NumberDataPoint | HistogramDataPoint | None:
        value = owner.series[key]
        start = owner.start_ns if self._since is None else max(self._since, owner.start_ns)
        if isinstance(value, Gauge):
            if value.until_ns is not None and value.until_ns < self._now:
                return None
            return NumberDataPoint(_attributes(owner, key, metric, bases), 0, self._now, self._gauge(metric, value))
        if isinstance(value, Histogram):
            if self.delta:
                del owner.series[key]
            return self._histogram(metric, value, _attributes(owner, key, metric, bases), start)
        number = self._counter(owner, key, value)
        if number is None:
            return None
        return NumberDataPoint(_attributes(owner, key, metric, bases), start, self._now, number)

    def _gauge(self, metric: Metric, gauge: Gauge) -> float:
        """Give a gauge's value; what ends is kept as the time of its end, so that it runs down between runs."""
        return gauge.value - self._now / _NS if metric is schema.EXPIRY else float(gauge.value)

    def _counter(self, owner: Owner, key: Key, value: int) -> int | None:
        if self.delta:
            if value:
                owner.series[key] = 0
            return value or None
        if key not in owner.newborn:
            return value
        told = owner.newborn[key]
        if self._final or (told is not None and self._now - told >= self._hold):
            del owner.newborn[key]
            return value
        if told is None:
            self.newborn.append(Newborn(owner, key))
        elif self._newborn_only:
            return None
        return 0

    def _histogram(
        self, metric: Metric, series: Histogram, attributes: Mapping[str, object], start: int
    ) -> HistogramDataPoint:
        exemplars = [Exemplar({}, value, mark.time_ns, mark.span_id, mark.trace_id) for value, mark in series.exemplars]
        series.exemplars = ()
        return HistogramDataPoint(
            attributes=attributes,  # type: ignore[arg-type]  # strings, numbers and booleans, as Store.key has them
            start_time_unix_nano=start,
            time_unix_nano=self._now,
            count=sum(series.counts),
            sum=series.total,
            bucket_counts=tuple(series.counts),
            explicit_bounds=metric.bounds,
            min=series.low,
            max=series.high,
            exemplars=exemplars,
        )

    def metrics(self) -> list[MetricData]:
        """Give what was added, by metric."""
        return [self._metric(m, self.points[m.name]) for m in schema.METRICS if m.name in self.points]

    def _metric(self, metric: Metric, points: list[NumberDataPoint | HistogramDataPoint]) -> MetricData:
        temporality = AggregationTemporality.DELTA if self.delta else AggregationTemporality.CUMULATIVE
        data: Sum | GaugeData | HistogramData
        if metric.instrument is Instrument.GAUGE:
            data = GaugeData(points)  # type: ignore[arg-type]  # a gauge's points are numbers
        elif metric.instrument is Instrument.COUNTER:
            data = Sum(points, temporality, is_monotonic=True)  # type: ignore[arg-type]  # a counter's too
        else:
            data = HistogramData(points, temporality)  # type: ignore[arg-type]  # a histogram's are histograms
        return MetricData(metric.name, metric.description, metric.unit, data)


def _attributes(
    owner: Owner, key: Key, metric: Metric, bases: dict[str, dict[str, str]]
) -> dict[str, str | int | bool]:
    """Build a point's attributes: the owner's, its labels where the metric carries them, then the series' own."""
    base = bases.get(metric.name)
    if base is None:
        known = owner.attributes
        base = bases[metric.name] = {a.name: known[a.name] for a in metric.owner if a.name in known}
        if metric.labels:
            base.update({schema.LABEL_PREFIX + k: v for k, v in owner.labels.items()})
    attributes: dict[str, str | int | bool] = {**base}
    for attribute, value in zip(metric.attributes, key[1:], strict=True):
        if value is not None:
            attributes[attribute.name] = value
    return attributes


class Collector:
    """Gives what is to be sent at one time, request by request."""

    def __init__(self, store: Store, resource: Resource, scope: InstrumentationScope, *, delta: bool, interval: float):
        self._store = store
        self._resource = resource
        self._scope = scope
        self._since = store.clock() if delta else None
        self._hold = min(_ZERO_LASTS_NS, int(interval * _NS))

    def collect(self, newborn_only: bool, final: bool) -> Iterator[tuple[MetricsData, int, Sequence[Newborn]]]:
        """Give the requests: each with its number of points and the new counters it tells as zero."""
        if newborn_only and self._since is not None:
            return
        now = self._store.clock()
        pending = list(self._store.owners.values())
        while pending:
            collection = Collection(
                self._store,
                now,
                since_ns=self._since,
                hold_ns=self._hold,
                newborn_only=newborn_only,
                final=final,
            )
            while pending and collection.count < _POINTS:
                collection.add(pending.pop())
            if collection.count:
                yield self._request(collection), collection.count, collection.newborn
        if self._since is not None:
            self._since = now

    def confirm(self, newborn: Sequence[Newborn]) -> None:
        """Note that the zeros of new counters have arrived: their values may follow."""
        now = self._store.clock()
        with self._store.lock:
            for owner, key in newborn:
                if key in owner.newborn:
                    owner.newborn[key] = now

    def _request(self, collection: Collection) -> MetricsData:
        scope = ScopeMetrics(self._scope, collection.metrics(), schema.SCHEMA_URL)
        return MetricsData([ResourceMetrics(self._resource, [scope], schema.SCHEMA_URL)])
