"""The door of telemetry: results in, spans, metrics and log events out, and at the end a count of what arrived.

Nothing here runs while a step is measured. A long-lived process has one daemon thread for each signal. A one-shot run
gathers everything and sends it at `close`, the three signals at once, under one deadline; until then it loads no exporter.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from otelprobe.result import FlowFacts, FlowResult
from otelprobe.telemetry.delivery import Delivery, Signal, Tally
from otelprobe.telemetry.settings import SettingsError, TelemetrySettings

if TYPE_CHECKING:
    from otelprobe.telemetry.couriers import Chunk, Courier, QueueWorker, Worker
    from otelprobe.telemetry.events import EventMaker
    from otelprobe.telemetry.metrics import Recorder
    from otelprobe.telemetry.spans import SpanMaker
    from otelprobe.telemetry.spool import Spool
    from otelprobe.telemetry.wire import Envelope

_RESERVE = 0.5
"""Seconds of the budget kept for interrupting exports and spooling what they held."""


class Telemetry:
    """All telemetry of one process. Safe from any thread.

    SettingsError at the start if a certificate cannot be read; after that nothing raises: what goes wrong is counted.
    `clock` gives Unix nanoseconds.
    """

    def __init__(self, settings: TelemetrySettings, *, clock: Callable[[], int] = time.time_ns) -> None:
        self._settings = settings
        self._clock = clock
        self._tally = Tally()
        self._workers: list[Worker] = []
        self._spans: SpanMaker | None = None
        self._events: EventMaker | None = None
        self._metrics: Recorder | None = None
        self._spool: Spool | None = None
        self._closed = False
        if not settings.disabled:
            self._set_up()

    @property
    def disabled(self) -> bool:
        """Tell whether nothing is sent, because no endpoint is set or the SDK is disabled."""
        return self._settings.disabled

    @property
    def delivery(self) -> Delivery:
        """What became of everything so far."""
        return self._tally.snapshot()

    def register(self, flows: Sequence[FlowFacts]) -> None:
        """Create the series of planned flows at zero. After a reload: those that are gone are no longer reported."""
        if self._metrics is not None:
            self._metrics.register(flows)

    def scheduled(self, flows: int, shard: int = 0, shards: int = 1) -> None:
        """Tell how many flows this process runs, and as which part (from 0) of how many."""
        if self._metrics is not None:
            self._metrics.scheduled(flows, shard, shards)

    def publish(self, result: FlowResult) -> None:
        """Tell one run. It costs some 0.2 ms and waits for no network."""
        if self._closed:
            return
        if self._metrics is not None:
            self._metrics.record(result)
        if self._spans is not None:
            self._spans.publish(result)
        if self._events is not None:
            self._events.publish(result)

    def schedule_lag(self, seconds: float, flow: str) -> None:
        """Tell how late a run started."""
        if self._metrics is not None:
            self._metrics.schedule_lag(seconds, flow)

    def missed(self, reason: str, flow: str) -> None:
        """Tell that a planned run did not take place: `reason` from schema.MISSED_REASON."""
        if self._metrics is not None:
            self._metrics.missed(reason, flow)

    def reloaded(self, ok: bool, text: str = "") -> None:
        """Tell that the configuration was read anew, and whether it was taken; `text` says what it came to or what was wrong."""
        if self._metrics is not None:
            self._metrics.reloaded(ok=ok)
        if self._events is not None and not self._closed:
            self._events.reloaded(ok=ok, text=text, time_ns=self._clock())

    def posture(self, flow: str, findings: Iterable[tuple[str, str, int]]) -> None:
        """Tell a flow's posture findings: rule, severity and number of each; they replace the earlier ones."""
        if self._metrics is not None:
            self._metrics.posture(flow, findings)

    def audit_suppressed(self, events: int = 1) -> None:
        """Tell that audit events were held back."""
        if self._metrics is not None:
            self._metrics.audit_suppressed(events)

    def audit_lost(self, records: int = 1) -> None:
        """Tell that audit records could not be written to their file."""
        if self._metrics is not None:
            self._metrics.audit_lost(records)

    def close(self, budget_s: float | None = None) -> Delivery:
        """Send what is left within the budget, all signals at once; spool the rest; give the counts. Never raises."""
        if self._closed:
            return self.delivery
        self._closed = True
        budget = self._settings.budget if budget_s is None else budget_s
        deadline = time.monotonic() + budget
        reserve = min(_RESERVE, budget / 4)
        for worker in self._workers:
            worker.finish()
        late = [w for w in self._workers if not w.join(deadline - reserve - time.monotonic())]
        for worker in late:
            worker.courier.close()
        late = [w for w in late if not w.join(min(reserve / 2, deadline - time.monotonic()))]
        for worker in self._workers:
            worker.surrender()
        for worker in self._workers:
            if worker not in late:
                worker.courier.close()
        return self.delivery

    def _set_up(self) -> None:
        """Build the ways out. A handler that does nothing keeps the exporters' own complaints off the terminal."""
        logging.getLogger("opentelemetry").addHandler(logging.NullHandler())
        settings = self._settings
        for signal in Signal:
            _check_files(settings, signal)
        if settings.spool is not None:
            from otelprobe.telemetry.spool import Spool  # noqa: PLC0415 - start-up

            self._spool = Spool(settings.spool, settings.spool_bytes, self._dropped)
        if settings.traces.on:
            self._set_up_traces()
        if settings.logs.on:
            self._set_up_logs()
        if settings.metrics.on:
            self._set_up_metrics()
        if settings.mode == "long_lived":
            for worker in self._workers:
                worker.start()

    def _dropped(self, signal: Signal, items: int) -> None:
        self._tally.add(signal, "failed", items)

    def _courier(self, signal: Signal, *, keeps: bool = True) -> "Courier":
        from otelprobe.telemetry.couriers import Courier  # noqa: PLC0415 - start-up
        from otelprobe.telemetry.sinks import Sink, open_sink  # noqa: PLC0415 - start-up

        own = self._settings.of(signal)
        timeout = min(own.timeout, self._settings.budget) if self._settings.mode == "one_shot" else own.timeout

        def open_it() -> Sink:
            return open_sink(signal, own, timeout)

        # What cannot be written to a terminal is not kept: the spool is for a collector.
        return Courier(signal, open_it, self._tally, self._spool if keeps and own.exporter == "otlp" else None)

    def _queue(self, signal: Signal) -> "QueueWorker":
        from otelprobe.telemetry.couriers import QueueWorker  # noqa: PLC0415 - start-up

        queue = self._settings.span_queue if signal is Signal.TRACES else self._settings.log_queue
        worker = QueueWorker(
            self._courier(signal),
            queue,
            self._envelope(signal).request,
            bounded=self._settings.mode == "long_lived",
        )
        self._workers.append(worker)
        return worker

    def _set_up_traces(self) -> None:
        from otelprobe.telemetry.spans import SpanMaker  # noqa: PLC0415 - start-up

        self._spans = SpanMaker(self._queue(Signal.TRACES).put)

    def _set_up_logs(self) -> None:
        from otelprobe.telemetry.events import EventMaker  # noqa: PLC0415 - start-up

        self._events = EventMaker(self._queue(Signal.LOGS).put)

    def _set_up_metrics(self) -> None:
        from otelprobe.telemetry.couriers import MetricWorker  # noqa: PLC0415 - start-up
        from otelprobe.telemetry.metrics import Recorder  # noqa: PLC0415 - start-up
        from otelprobe.telemetry.series import Store  # noqa: PLC0415 - start-up

        settings = self._settings
        one_shot = settings.mode == "one_shot"
        store = Store(
            self._clock,
            announce_births=not settings.delta,
            gauges_only=one_shot,
            exemplars=settings.exemplars,
        )
        self._metrics = Recorder(store, gauges_end=not one_shot)
        feed = _MetricFeed(self._metrics, self._tally, lambda: self._collector(store))
        # Cumulative points are not spooled: the next export repeats them.
        courier = self._courier(Signal.METRICS, keeps=one_shot or settings.delta)
        worker: MetricWorker = MetricWorker(courier, settings.metric_interval, feed.collect, feed.confirm)
        store.on_birth = worker.born
        self._workers.append(worker)

    def _collector(self, store: Any) -> Any:
        from otelprobe.telemetry.points import Collector  # noqa: PLC0415 - start-up

        return Collector(
            store,
            self._envelope(Signal.METRICS),
            delta=self._settings.delta,
            interval=self._settings.metric_interval,
        )

    def _envelope(self, signal: Signal) -> "Envelope":
        from otelprobe.telemetry.resource import envelope  # noqa: PLC0415 - start-up

        return envelope(self._settings.resource_attributes(signal))


class _MetricFeed:
    """Collections for the metric worker; the collector, and with it the encoding, is loaded at the first one."""

    def __init__(self, recorder: "Recorder", tally: Tally, open_collector: Callable[[], Any]) -> None:
        self._recorder = recorder
        self._tally = tally
        self._open = open_collector
        self._collector: Any = None

    def collect(self, newborn_only: bool, final: bool) -> "Iterator[Chunk]":
        """Give one collection, with the delivery counts as they stand."""
        self._recorder.delivery(self._tally.snapshot())
        self._collector = self._collector or self._open()
        chunks: Iterator[Chunk] = self._collector.collect(newborn_only, final)
        return chunks

    def confirm(self, newborn: Sequence[Any]) -> None:
        """Pass on which new series have arrived as zero."""
        self._collector.confirm(newborn)


def _check_files(settings: TelemetrySettings, signal: Signal) -> None:
    """Refuse at once a certificate or key that cannot be read, instead of failing at the first export."""
    own = settings.of(signal)
    if not (own.on and own.exporter == "otlp"):
        return
    for path in filter(None, (own.certificate, own.client_certificate, own.client_key)):
        try:
            with Path(path).open("rb"):
                pass
        except OSError as error:
            raise SettingsError(f"OTLP certificate or key {path}: {error.strerror}") from None
