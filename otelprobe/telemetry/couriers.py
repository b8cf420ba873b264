"""How telemetry leaves: one courier for each signal, fed by a queue (spans, log records) or by a collection (metrics).

The SDK's batch processors are not used: their flush does not keep its time limit, they wait up to 30 s at shutdown, drop
from a full queue without a count, and keep what they hold when an export hangs. Here every item ends in exactly one
count, and `close` is bounded: whatever is still on its way at the deadline goes to the spool.
"""

import logging
import math
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from enum import Enum
from functools import partial
from time import monotonic
from typing import Any

from otelprobe.telemetry.delivery import Signal, Tally
from otelprobe.telemetry.settings import QueueSettings
from otelprobe.telemetry.sinks import Answer, Sink
from otelprobe.telemetry.spool import Spool, Spooled

_LOG = logging.getLogger(__name__)
_REPLAY_AT_ONCE = 50
"""Most spooled requests sent after one successful export, so that a long outage does not delay what is new."""


class Taken(Enum):
    """What became of one batch: it arrived, or its data was called invalid, or nobody takes anything at present."""

    YES = "yes"
    INVALID = "invalid"
    NO = "no"


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep instrumentation that an operator may have added from tracing our exports."""
    from opentelemetry import context  # noqa: PLC0415 - start-up

    current = context.set_value("suppress_instrumentation", value=True)
    private = getattr(context, "_SUPPRESS_INSTRUMENTATION_KEY", None)
    if private is not None:
        current = context.set_value(private, value=True, context=current)
    attached = context.attach(current)
    try:
        yield
    finally:
        context.detach(attached)


class Courier:
    """Hands requests of one signal to its sink, counts what became of them, and spools what did not arrive."""

    def __init__(self, signal: Signal, open_sink: Callable[[], Sink], tally: Tally, spool: Spool | None) -> None:
        self.signal = signal
        self._open_sink = open_sink
        self._sink: Sink | None = None
        self._tally = tally
        self._spool = spool
        self._lock = threading.Lock()
        # Held while a batch goes from one account to the next (queue, under way, settled), so that whoever closes the
        # books at the end finds every item in just one of them.
        self.moving = threading.RLock()
        self._under_way: tuple[bytes, int] | None = None
        self._gone = False
        self._told = False
        tally.open(signal)

    def open(self) -> Sink:
        """Open the way out, once; it loads the exporters."""
        if self._sink is None:
            self._sink = self._open_sink()
        return self._sink

    @property
    def keeps(self) -> bool:
        """Tell whether what is not delivered is spooled."""
        return self._spool is not None

    def deliver(self, body: bytes, items: int) -> Taken:
        """Send one request; if nobody takes it, hand it to the spool."""
        return self.send(body, items) if self.begin(body, items) else Taken.NO

    def begin(self, body: bytes, items: int) -> bool:
        """Enter a request as under way; False if it is too late for that, and its items are accounted for."""
        with self.moving:
            with self._lock:
                gone = self._gone
                self._under_way = None if gone else (body, items)
            if gone:
                self.lose(body, items)
        return not gone

    def send(self, body: bytes, items: int, keep: Callable[[], None] | None = None) -> Taken:
        """Send a request that was entered as under way, and settle what became of it.

        If nobody takes it and there is no spool, `keep` takes its items back, to try them again later.
        """
        answer = self._export(body)
        with self.moving:
            if self._arrived_in_time():
                self._settle(body, items, answer, keep)
        if answer.ok:
            return Taken.YES
        return Taken.INVALID if answer.permanent else Taken.NO

    def _arrived_in_time(self) -> bool:
        """End a delivery; False if abandon() has accounted for it meanwhile."""
        with self._lock:
            under_way, self._under_way = self._under_way, None
        return under_way is not None

    def _export(self, body: bytes) -> Answer:
        try:
            with _quiet():
                return self.open().export(body)
        except Exception as error:  # noqa: BLE001 - an exporter's fault must not end the thread that feeds it
            _LOG.debug("%s export raised %s", self.signal.value, type(error).__name__)
            return Answer(ok=False)

    def _settle(self, body: bytes, items: int, answer: Answer, keep: Callable[[], None] | None) -> None:
        if answer.ok:
            self._tally.add(self.signal, "sent", items - min(answer.rejected, items))
            self._tally.add(self.signal, "failed", min(answer.rejected, items))
            self._told = False
        elif answer.permanent:
            self._tell(answer.why, "the collector calls the data invalid, so they are dropped")
            self._tally.add(self.signal, "failed", items)
        elif self.keeps or keep is None:
            self._tell(answer.why, "kept in the spool" if self.keeps else "check the OTLP endpoint and its settings")
            self.lose(body, items)
        else:
            self._tell(answer.why, "they are tried again while the queue has room")
            keep()

    def _tell(self, why: str, what: str) -> None:
        """Say once in each outage that delivery fails."""
        if not self._told:
            self._told = True
            _LOG.warning("%s were not delivered: %s; %s", self.signal.value, why or "no answer was read", what)

    def lose(self, body: bytes, items: int) -> None:
        """Account for a request that did not arrive: spooled if it can be, else failed."""
        kept = self._spool is not None and self._spool.write(self.signal, items, body)
        self._tally.add(self.signal, "spooled" if kept else "failed", items)

    def drop(self, items: int) -> None:
        """Account for items that a full queue pushed out."""
        self._tally.add(self.signal, "failed", items)

    def replay(self) -> None:
        """Send what waits in the spool until one fails. The collector takes data: it was just asked."""
        if self._spool is None:
            return
        for _, spooled in zip(range(_REPLAY_AT_ONCE), self._spool.due(self.signal), strict=False):
            body = self._spool.read(spooled)
            if body is None:
                continue
            answer = self._send_again(body)
            if not (answer.ok or answer.permanent):
                if answer.refused:
                    self._note_refusal(self._spool, spooled, answer.why)
                return
            if self._spool.remove(spooled):
                self._tally.add(self.signal, "replayed" if answer.ok else "failed", spooled.items)

    def _note_refusal(self, spool: Spool, spooled: Spooled, why: str) -> None:
        aside = spool.refused(spooled)
        if aside is not None:
            self._tally.add(self.signal, "failed", spooled.items)
            _LOG.warning("%s of the spool are refused for ever: %s; put aside as %s", self.signal.value, why, aside)

    def _send_again(self, body: bytes) -> Answer:
        try:
            with _quiet():
                return Answer(ok=False) if self._gone else self.open().replay(body)
        except Exception as error:  # noqa: BLE001 - the request stays in the spool
            _LOG.debug("%s replay raised %s", self.signal.value, type(error).__name__)
            return Answer(ok=False)

    def close(self) -> None:
        """Interrupt what is under way."""
        if self._sink is not None:
            self._sink.close()

    def abandon(self) -> None:
        """Give up what is still under way and account for it; later batches go straight to the spool."""
        with self._lock:
            self._gone = True
            under_way, self._under_way = self._under_way, None
        if under_way is not None:
            self._tell(
                "no answer came in time", "kept in the spool" if self.keeps else "raise `budget`, or set a spool"
            )
            self.lose(*under_way)


class Worker:
    """What a courier's thread does; `finish` and `surrender` are the two halves of closing."""

    def __init__(self, courier: Courier) -> None:
        self.courier = courier
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._wake = threading.Event()

    def start(self) -> None:
        """Begin working in the background (long-lived mode)."""
        self.courier.open()
        self._launch(self._work)

    def _launch(self, target: Callable[[], None]) -> None:
        self._thread = threading.Thread(target=target, name=f"otelprobe-{self.courier.signal.value}", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        while not self._stop.is_set():
            self._wait()
            if not self._stop.is_set():
                self.turn()
        self.last_turn()

    def _wait(self) -> None:
        raise NotImplementedError  # pragma: no cover - both workers have their own

    def turn(self) -> None:
        """Send what is due."""
        raise NotImplementedError  # pragma: no cover - both workers have their own

    def last_turn(self) -> None:
        """Send everything, for the end."""
        self.turn()

    def finish(self) -> None:
        """Ask for the last turn; `join` waits for it."""
        self._stop.set()
        self._wake.set()
        if self._thread is None:
            self._launch(self.last_turn)

    def join(self, seconds: float) -> bool:
        """Wait for the last turn; False if it takes longer."""
        if self._thread is not None:
            self._thread.join(max(0.0, seconds))
        return self._thread is None or not self._thread.is_alive()

    def surrender(self) -> None:
        """Account for everything that did not leave."""
        self.courier.abandon()


class QueueWorker(Worker):
    """Encoded spans or log records, in the order in which they came. In one-shot mode nothing is ever dropped.

    `pack` makes a request of a batch.
    """

    def __init__(
        self, courier: Courier, settings: QueueSettings, pack: Callable[[Sequence[bytes]], bytes], *, bounded: bool
    ) -> None:
        super().__init__(courier)
        self._settings = settings
        self._pack = pack
        self._queue: deque[bytes] = deque()
        self._size = settings.size if bounded else None
        self._resting = False

    def put(self, items: Iterable[bytes]) -> None:
        """Take items; beyond the queue's size the oldest are dropped and counted."""
        self._queue.extend(items)
        self._trim()
        if len(self._queue) >= self._settings.batch:
            self._wake.set()

    def _trim(self) -> None:
        dropped = 0
        while self._size is not None and len(self._queue) > self._size:
            try:
                self._queue.popleft()
            except IndexError:  # the sender emptied it meanwhile
                break
            dropped += 1
        if dropped:
            self.courier.drop(dropped)

    def _keep(self, batch: Sequence[bytes]) -> None:
        """Put a batch that nobody took back to where it came from."""
        self._queue.extendleft(reversed(batch))
        self._trim()

    def _wait(self) -> None:
        """Wait for a full batch or the delay; after a failure for the whole delay, however much comes."""
        (self._stop if self._resting else self._wake).wait(self._settings.delay)
        self._wake.clear()

    def _take(self) -> list[bytes]:
        batch: list[bytes] = []
        while len(batch) < self._settings.batch:
            try:
                batch.append(self._queue.popleft())
            except IndexError:
                break
        return batch

    def turn(self) -> None:
        """Send all batches; after one that nobody takes the rest is not tried, for each would take its timeout."""
        taken = None
        while taken is not Taken.NO:
            with self.courier.moving:
                batch = self._take()
                body = self._pack(batch) if batch else b""
                begun = bool(batch) and self.courier.begin(body, len(batch))
            if not batch:
                break
            final = self._stop.is_set()
            keep = None if final else partial(self._keep, batch)
            taken = self.courier.send(body, len(batch), keep) if begun else Taken.NO
            if taken is Taken.NO and (final or self.courier.keeps):
                self._give_up()
        self._resting = taken is Taken.NO
        if taken is Taken.YES:
            self.courier.replay()

    def _give_up(self) -> None:
        while batch := self._take():
            self.courier.lose(self._pack(batch), len(batch))

    def surrender(self) -> None:
        """Account for the batch under way and for all that is queued."""
        with self.courier.moving:
            super().surrender()
            self._give_up()


Chunk = tuple[bytes, int, Sequence[Any]]
"""One request, its number of points, and the new series that it tells as zero."""


class MetricWorker(Worker):
    """Collects at every interval and sends the points in requests of bounded size.

    `collect(newborn_only, final)` gives the chunks; `confirm` is told which new series have arrived as zero.
    """

    def __init__(
        self,
        courier: Courier,
        interval: float,
        collect: Callable[[bool, bool], Iterator[Chunk]],
        confirm: Callable[[Sequence[Any]], None],
    ) -> None:
        super().__init__(courier)
        self._interval = interval
        self._collect = collect
        self._confirm = confirm
        self._due: float = 0.0

    def born(self) -> None:
        """Ask for the zeros of new series to be sent at once."""
        self._wake.set()

    def _wait(self) -> None:
        """Wait until the next collection is due; new series are told as zero meanwhile."""
        self._due = self._due or monotonic() + self._interval
        while not self._stop.is_set() and monotonic() < self._due:
            if self._wake.wait(max(0.0, self._due - monotonic())) and not self._stop.is_set():
                self._wake.clear()
                self._send(self._collect(True, False))
        self._due += self._interval * max(1, math.ceil((monotonic() - self._due) / self._interval))

    def turn(self) -> None:
        """Send one collection."""
        if self._send(self._collect(False, False)):
            self.courier.replay()

    def last_turn(self) -> None:
        """Send the last collection; series told as zero just now are followed by their value."""
        self._send(self._collect(True, False))
        if self._send(self._collect(False, True)):
            self.courier.replay()

    def _send(self, chunks: Iterator[Chunk]) -> bool:
        """Send chunks; after one that nobody takes the rest is only accounted for, as each would take its timeout."""
        taken = Taken.YES
        for body, points, newborn in chunks:
            if taken is Taken.NO:
                self.courier.lose(body, points)
                continue
            taken = self.courier.deliver(body, points)
            if taken is Taken.YES and newborn:
                self._confirm(newborn)
        return taken is Taken.YES
