"""Series to OTLP: the store's numbers as encoded data points, in requests of bounded size.

Loaded only when metrics are sent. A request holds at most some 1,500 points (about 0.5 MB), well below the 4 MiB that a
gRPC collector accepts by default, and the bytes of one request are gone before the next is built.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import lru_cache
from struct import Struct
from time import sleep
from typing import NamedTuple

from otelprobe.telemetry import schema, wire
from otelprobe.telemetry.schema import Instrument, Metric
from otelprobe.telemetry.series import Gauge, Histogram, Key, Owner, Store
from otelprobe.telemetry.wire import Envelope

_POINTS = 1500
_NS = 1_000_000_000
_ZERO_LASTS_NS = 15 * _NS
"""How long a new counter is told as zero at least, so that a scrape of the collector sees it."""

_KEPT = 4096
"""Encoded attributes of keys kept, some 200 bytes each; flows with steps of the same names share them."""

_BURST, _PAUSE = 400, 0.0002
"""Points after which the collection pauses, and the seconds: a check whose answer has come waits for no more than these."""

_TIMES = Struct("<BQBQ")
_INTEGER = Struct("<Bq")
_NUMBER = Struct("<Bd")
_EXEMPLAR = Struct("<BBBQBdBB8sBB16s")
_HISTOGRAM = Struct("<BQBdBdBd")
_DATA = {Instrument.GAUGE: b"\x2a", Instrument.COUNTER: b"\x3a", Instrument.HISTOGRAM: b"\x4a"}
_DELTA, _CUMULATIVE = b"\x10\x01", b"\x10\x02"
_MONOTONIC = b"\x18\x01"


class Shape:
    """What all points of one metric have in common, encoded once.

    `group` is the same for metrics whose points share the same attributes of their owner.
    """

    def __init__(self, metric: Metric, groups: list[object]) -> None:
        kind = metric.owner, metric.labels, metric.instrument is Instrument.HISTOGRAM
        if kind not in groups:
            groups.append(kind)
        self.group = groups.index(kind)
        self.metric = metric
        self.attributes = b"\x4a" if metric.instrument is Instrument.HISTOGRAM else b"\x3a"
        self.head = b"\x0a" + wire.text(metric.name) + b"\x12" + wire.text(metric.description)
        self.head += b"\x1a" + wire.text(metric.unit) + _DATA[metric.instrument]
        self.buckets = Struct(f"<{len(metric.bounds) + 1}Q")
        self.buckets_head = b"\x32" + wire.varint(self.buckets.size)
        self.bounds = b"\x3a" + wire.sized(Struct(f"<{len(metric.bounds)}d").pack(*metric.bounds))

    def owned(self, owner: Owner) -> bytes:
        """Write the attributes that come from the owner, and its labels where the metric carries them."""
        known = owner.attributes
        pairs: dict[str, wire.Value] = {a.name: known[a.name] for a in self.metric.owner if a.name in known}
        if self.metric.labels:
            pairs.update({schema.LABEL_PREFIX + k: v for k, v in owner.labels.items()})
        return wire.attributes(self.attributes, pairs)

    def histogram(self, series: Histogram) -> bytes:
        """Write a histogram's numbers, and its exemplars since the last collection."""
        marks = [_exemplar(value, *mark) for value, mark in series.exemplars]
        series.exemplars = ()
        return b"".join(
            (
                _HISTOGRAM.pack(0x21, sum(series.counts), 0x29, series.total, 0x59, series.low, 0x61, series.high),
                self.buckets_head,
                self.buckets.pack(*series.counts),
                self.bounds,
                *marks,
            )
        )


def _exemplar(value: float, trace_id: int, span_id: int, time_ns: int) -> bytes:
    """Write an exemplar as a histogram's field, with its length, which is always the same."""
    ids = 0x22, 8, span_id.to_bytes(8, "big"), 0x2A, 16, trace_id.to_bytes(16, "big")
    return _EXEMPLAR.pack(0x42, _EXEMPLAR.size - 2, 0x11, time_ns, 0x19, value, *ids)


def _shapes() -> tuple[Shape, ...]:
    groups: list[object] = []
    return tuple(Shape(metric, groups) for metric in schema.METRICS)


_SHAPES = _shapes()


@lru_cache(maxsize=_KEPT)
def _own(key: Key) -> bytes:
    """Write the attributes that vary within the owner."""
    shape = _SHAPES[key[0]]
    pairs = zip(shape.metric.attributes, key[1:], strict=True)
    return wire.attributes(shape.attributes, {a.name: value for a, value in pairs if value is not None})


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
        # Whether counters and histograms begin anew at each collection.
        self.delta = since_ns is not None
        self._hold = hold_ns
        self._newborn_only = newborn_only
        self._final = final
        self.count = 0
        self.points: defaultdict[int, list[bytes]] = defaultdict(list)
        self.newborn: list[Newborn] = []

    def add(self, owner: Owner) -> None:
        """Add an owner's points."""
        shared: dict[int, bytes] = {}
        start = owner.start_ns if self._since is None else max(self._since, owner.start_ns)
        times = _TIMES.pack(0x11, start, 0x19, self._now)
        with self._store.lock:
            for key in list(owner.newborn if self._newborn_only else owner.series):
                place = key[0]
                shape, value = _SHAPES[place], owner.series[key]
                if type(value) is int and not self.delta and key not in owner.newborn:
                    # Most series by far are such counters.
                    measured: bytes | None = times + _INTEGER.pack(0x31, value)
                else:
                    measured = self._measured(owner, key, value, times)
                if measured is None:
                    continue
                owned = shared.get(shape.group)
                if owned is None:
                    owned = shared[shape.group] = shape.owned(owner)
                own = _own(key)
                # In pieces: to put each point together first would copy it twice.
                length = wire.varint(len(owned) + len(own) + len(measured))
                self.points[place] += (b"\x0a", length, owned, own, measured)
                self.count += 1

    def _measured(self, owner: Owner, key: Key, value: int | Gauge | Histogram, times: bytes) -> bytes | None:
        """Write what was measured and when; None where there is nothing to tell."""
        shape = _SHAPES[key[0]]
        if isinstance(value, int):
            number = self._counter(owner, key, value)
            return None if number is None else times + _INTEGER.pack(0x31, number)
        if isinstance(value, Histogram):
            if self.delta:
                del owner.series[key]
            return times + shape.histogram(value)
        if value.until_ns is not None and value.until_ns < self._now:
            return None
        # What ends is kept as the time of its end, so that it runs down between runs.
        left = value.value - self._now / _NS if shape.metric is schema.EXPIRY else value.value
        return times[9:] + _NUMBER.pack(0x21, left)

    def _counter(self, owner: Owner, key: Key, value: int) -> int | None:
        """Give what is to be told of a counter that begins anew at each collection, or that was just born."""
        if self.delta:
            if value:
                owner.series[key] = 0
            return value or None
        told = owner.newborn[key]
        if self._final or (told is not None and self._now - told >= self._hold):
            del owner.newborn[key]
            return value
        if told is None:
            self.newborn.append(Newborn(owner, key))
        elif self._newborn_only:
            return None
        return 0

    def metrics(self) -> Iterator[bytes]:
        """Give what was added, by metric, each with its length."""
        temporality = _DELTA if self.delta else _CUMULATIVE
        for place in sorted(self.points):
            shape = _SHAPES[place]
            data = b"".join(self.points[place])
            if shape.metric.instrument is not Instrument.GAUGE:
                data += temporality
            if shape.metric.instrument is Instrument.COUNTER:
                data += _MONOTONIC
            yield wire.sized(shape.head + wire.sized(data))


class Collector:
    """Gives what is to be sent at one time, request by request; all but the final collection pauses now and then."""

    def __init__(self, store: Store, envelope: Envelope, *, delta: bool, interval: float) -> None:
        self._store = store
        self._envelope = envelope
        self._since = store.clock() if delta else None
        self._hold = min(_ZERO_LASTS_NS, int(interval * _NS))

    def collect(self, newborn_only: bool, final: bool) -> Iterator[tuple[bytes, int, Sequence[Newborn]]]:
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
            burst = 0
            while pending and collection.count < _POINTS:
                if collection.count - burst >= _BURST and not final:
                    burst = collection.count
                    sleep(_PAUSE)
                collection.add(pending.pop())
            if collection.count:
                yield self._envelope.request(collection.metrics()), collection.count, collection.newborn
        if self._since is not None:
            self._since = now

    def confirm(self, newborn: Sequence[Newborn]) -> None:
        """Note that the zeros of new counters have arrived: their values may follow."""
        now = self._store.clock()
        with self._store.lock:
            for owner, key in newborn:
                if key in owner.newborn:
                    owner.newborn[key] = now
