"""The long-lived process: signals, reloads, health and the drain, around one scheduler and one publishing thread."""

import gc
import hashlib
import logging
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from otelprobe import __version__
from otelprobe.plan import FlowPlan
from otelprobe.quick import dataclass
from otelprobe.result import FlowResult
from otelprobe.schedule import ScheduleOptions, Scheduler, guarded

if TYPE_CHECKING:
    from otelprobe.health import HealthServer, Report

_log = logging.getLogger(__name__)

_STOP = frozenset({signal.SIGTERM, signal.SIGINT})
_SETTLE = 0.3
"""Seconds that files must stay as they are before a change is read: an editor may still be writing."""

_PILED_UP = 10_000
"""Objects made and not given back, after which the garbage collector looks at them: some 2 MB."""

_GATHER, _BREATH = 0.25, 0.001
"""Seconds for which results are gathered before telemetry is told, and after which telling pauses for as long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """How the process serves.

    `listen`: host and port of /livez and /readyz, an empty host for every address; None for none.
    `watch`: flow files and directories whose changes are loaded; `watch_every`: seconds between looks, default 5; 0
    leaves only SIGHUP.
    `drain`: seconds that running flows get to end on SIGTERM, default 10, which leaves room in Kubernetes' 30.
    `stuck_after`: seconds without a heartbeat after which /livez says no, default 15 (the heart beats each second).
    `backlog`: results that may wait for telemetry before workers are held up, default 1000.
    """

    listen: tuple[str, int] | None = None
    watch: tuple[Path, ...] = ()
    watch_every: float = 5.0
    drain: float = 10.0
    stuck_after: float = 15.0
    backlog: int = 1000
    schedule: ScheduleOptions = field(default_factory=ScheduleOptions)


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What serving calls.

    `publish` and `lag(flow, seconds)` are called by one and the same thread, for every run; `missed(flow, reason)` by
    any. `load_plans` gives the plans anew and may raise; the text of an exception that is one of `faults` is written for
    operators and shown, of any other only the kind. `reloaded(ok, text)` hears how it went. `about` gives
    what /readyz tells besides. `close` ends telemetry.
    """

    run: Callable[[FlowPlan], FlowResult]
    publish: Callable[[FlowResult], None]
    missed: Callable[[str, str], None]
    lag: Callable[[str, float], None]
    load_plans: Callable[[], tuple[FlowPlan, ...]]
    reloaded: Callable[[bool, str], None]
    close: Callable[[], None]
    about: Callable[[], Mapping[str, object]] = dict
    faults: tuple[type[Exception], ...] = ()


class Publisher:
    """One thread that tells telemetry of every result, so that no worker does.

    It gathers for a moment and then tells one after the other, which takes half the processor time, with pauses, so that
    a check whose answer comes meanwhile does not wait. A full queue holds a worker up: no result is lost.
    """

    def __init__(
        self, publish: Callable[[FlowResult], None], lag: Callable[[str, float], None], backlog: int = 1000
    ) -> None:
        self._publish = publish
        self._lag = lag
        self._queue: queue.Queue[tuple[FlowResult, float] | None] = queue.Queue(backlog)
        self._thread = threading.Thread(target=self._work, name="otelprobe-publisher", daemon=True)
        self._lock = threading.Lock()
        self._closed = False
        self._hurry = threading.Event()
        self._waits = 0

    @property
    def waits(self) -> int:
        """How often a worker had to wait because the queue was full."""
        return self._waits

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def deliver(self, result: FlowResult, lag: float) -> None:
        """Queue a result; wait if the queue is full. After `close` it is dropped: its run was abandoned."""
        if self._closed:
            return
        try:
            self._queue.put_nowait((result, lag))
        except queue.Full:
            with self._lock:
                self._waits += 1
            self._hurry.set()
            self._queue.put((result, lag))

    def close(self, seconds: float) -> int:
        """Publish what is queued, for at most `seconds`; give how many results were left."""
        self._closed = True
        self._hurry.set()
        end = time.monotonic() + seconds
        try:
            self._queue.put(None, timeout=seconds)
        except queue.Full:
            return self._queue.qsize()
        self._thread.join(max(0.0, end - time.monotonic()))
        return max(0, self._queue.qsize() - 1) if self._thread.is_alive() else 0

    def _work(self) -> None:
        since = time.monotonic()
        while (item := self._queue.get()) is not None:
            self._tell(*item)
            if self._queue.empty():
                self._gather()
                since = time.monotonic()
            elif not self._hurry.is_set() and time.monotonic() - since > _BREATH:
                time.sleep(_BREATH)
                since = time.monotonic()

    def _gather(self) -> None:
        """Wait until there may be several to be told together, or somebody waits."""
        self._hurry.wait(_GATHER)
        if not self._closed:
            self._hurry.clear()

    def _tell(self, result: FlowResult, lag: float) -> None:
        guarded(f"publishing the start lag of flow {result.flow}", partial(self._lag, result.flow, lag))
        guarded(f"publishing a result of flow {result.flow}", partial(self._publish, result))


class Watch:
    """Sees that flow files changed, by their content: a touch is no change, a swapped ConfigMap symlink is one."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = tuple(paths)
        self._loaded = self._seen = self._fingerprint()

    @property
    def settling(self) -> bool:
        """Whether a change was seen that has yet to hold still."""
        return self._seen != self._loaded

    def changed(self) -> bool:
        """Look once; True when the files differ from those last told of and were the same at the look before."""
        now, before = self._fingerprint(), self._seen
        self._seen = now
        if now == self._loaded or now != before:
            return False
        self._loaded = now
        return True

    def _fingerprint(self) -> bytes:
        digest = hashlib.sha256()
        for path in self._paths:
            for file in _flow_files(path):
                digest.update(os.fsencode(file) + b"\0" + _content(file))
        return digest.digest()


def _flow_files(path: Path) -> list[Path]:
    """Give the flow files that a path stands for: itself, or what a directory holds but for dotted entries."""
    try:
        if not path.is_dir():
            return [path]
        return sorted(p for p in path.iterdir() if p.suffix in {".yaml", ".yml"} and not p.name.startswith("."))
    except OSError:
        return [path]


def _content(file: Path) -> bytes:
    """Give a digest of a file's content, or the kind of error that reading it meets: that it is gone is a change too."""
    try:
        return hashlib.sha256(file.read_bytes()).digest()
    except OSError as error:
        return type(error).__name__.encode()


@dataclass(frozen=True, slots=True)
class Reload:
    """How the last reload went: `at` as RFC 3339 text, `fault` what was wrong."""

    at: str
    fault: str | None

    @property
    def ok(self) -> bool:
        """Whether the new plans were taken."""
        return self.fault is None


class Server:
    """One process's scheduler, publisher, watch and health server. `serve` gives it the process's signals."""

    def __init__(self, work: Work, options: ServeOptions) -> None:
        self._work = work
        self._options = options
        self._publisher = Publisher(work.publish, work.lag, options.backlog)
        self._scheduler = Scheduler(
            run=work.run, deliver=self._publisher.deliver, missed=work.missed, options=options.schedule
        )
        self._watch = Watch(options.watch if options.watch_every > 0 else ())
        self._phase = "starting"
        self._reload: Reload | None = None
        self._health: HealthServer | None = None

    @property
    def port(self) -> int | None:
        """The port of the health server, None without one."""
        return None if self._health is None else self._health.port

    def start(self, plans: Sequence[FlowPlan]) -> None:
        """Start everything; ListenError or ValueError, and nothing left running, if it cannot be."""
        self._health = self._listen()
        try:
            self._scheduler.start(plans)
        except BaseException:
            if self._health is not None:
                self._health.close()
            raise
        self._publisher.start()
        self._phase = "ready"
        _log.info("flows scheduled: %d", len(plans))

    def _listen(self) -> "HealthServer | None":
        if self._options.listen is None:
            return None
        from otelprobe.health import HealthServer  # noqa: PLC0415 - only where it is asked for

        health = HealthServer(*self._options.listen, live=self.live, ready=self.ready)
        health.start()
        return health

    def attend(self, signals: "queue.SimpleQueue[int]") -> int:
        """Reload on SIGHUP and on changed files until a signal to stop arrives; give that signal, 0 if we broke."""
        while True:
            try:
                number = signals.get(timeout=self._patience())
            except queue.Empty:
                if self._scheduler.broken:
                    return 0
                if self._watch.changed():
                    self.reload()
                continue
            if number in _STOP:
                return number
            self.reload()

    def _patience(self) -> float:
        if self._watch.settling:
            return _SETTLE
        return self._options.watch_every if self._options.watch_every > 0 else 5.0

    def reload(self) -> bool:
        """Load the plans anew and put them in place; on a fault the old ones stay. Tell whether they were taken."""
        fault = None
        try:
            plans = self._work.load_plans()
            self._scheduler.replace(plans)
            text = f"flows scheduled: {len(plans)}"
        except self._work.faults as error:
            fault = text = str(error)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with new files, the old plans stay in force
            fault = text = f"the flow files could not be loaded ({type(error).__name__})"
        self._reload = Reload(datetime.now(UTC).isoformat(timespec="seconds"), fault)
        if fault is None:
            _log.info("reloaded: %s", text)
        else:
            _log.error("not reloaded, the old flows stay in force: %s", text)
        guarded("telling of a reload", lambda: self._work.reloaded(fault is None, text))
        return fault is None

    def live(self) -> "Report":
        """Tell whether the dispatcher's heart beats; targets and the collector do not matter."""
        from otelprobe.health import Report  # noqa: PLC0415 - only where it is asked for

        seen = self._scheduler.snapshot()
        alive = seen.stopping or (seen.beat_age < self._options.stuck_after and not self._scheduler.broken)
        return Report(alive, {"status": "ok" if alive else "stuck", "heartbeat_age": round(seen.beat_age, 3)})

    def ready(self) -> "Report":
        """Tell whether flows are scheduled and the process is not draining; with how the schedule stands."""
        from otelprobe.health import Report  # noqa: PLC0415 - only where it is asked for

        seen, last = self._scheduler.snapshot(), self._reload
        return Report(
            self._phase == "ready",
            {
                "status": self._phase,
                "version": __version__,
                **self._work.about(),
                "flows": seen.flows,
                "running": seen.running,
                "waiting": seen.waiting,
                "runs": seen.runs,
                "lag_p99": None if seen.lag_p99 is None else round(seen.lag_p99, 4),
                "telemetry_waits": self._publisher.waits,
                "last_reload": None if last is None else {"ok": last.ok, "at": last.at, "fault": last.fault},
            },
        )

    def stop(self) -> None:
        """Start nothing more, wait for what runs, publish it, end telemetry and give the port back."""
        self._phase = "draining"
        self._scheduler.stop()
        end = time.monotonic() + self._options.drain
        abandoned = self._scheduler.drain(self._options.drain)
        if abandoned:
            _log.warning("%d flows still ran after %g s and were abandoned", len(abandoned), self._options.drain)
        left = self._publisher.close(max(1.0, end - time.monotonic()))
        if left:
            _log.warning("%d results were not published: telemetry is too slow", left)
        guarded("closing telemetry", self._work.close)
        if self._health is not None:
            self._health.close()


def settle() -> None:
    """Tell the garbage collector that start-up is over.

    What start-up made stays, so that it need not be walked over while flows are measured. Results come and go with their
    runs, and nearly nothing in them refers to itself: the collector looks only when more has piled up than usually waits
    for telemetry.
    """
    gc.freeze()
    gc.set_threshold(_PILED_UP)
    gc.enable()


def serve(plans: Sequence[FlowPlan], work: Work, options: ServeOptions) -> int:
    """Run the plans until SIGTERM or SIGINT; give the exit code: 128 + signal, or 4 if the dispatcher broke.

    To be called in the main thread. SIGHUP reloads. A second signal to stop exits at once. ListenError and ValueError
    are raised before anything runs.
    """
    signals: queue.SimpleQueue[int] = queue.SimpleQueue()
    with _signals_into(signals):
        server = Server(work, options)
        server.start(plans)
        number = server.attend(signals)
        _log.info("stopping: running flows have %g s to end", options.drain)
        server.stop()
    return 128 + number if number else 4


@contextmanager
def _signals_into(signals: "queue.SimpleQueue[int]") -> Iterator[None]:
    """Put signals into a queue; the second one to stop ends the process.

    They come by way of the wake-up descriptor and a thread of their own: the kernel may give a signal to any thread, and
    a handler written in Python would then wait until the main thread wakes by itself.
    """
    receive, send = os.pipe()
    os.set_blocking(send, False)
    reader = threading.Thread(target=_read_signals, args=(receive, signals), name="otelprobe-signals", daemon=True)
    reader.start()
    fd_before = signal.set_wakeup_fd(send, warn_on_full_buffer=False)
    before = {number: signal.signal(number, lambda _number, _frame: None) for number in (*_STOP, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(fd_before)
        os.close(send)
        reader.join()
        os.close(receive)


def _read_signals(receive: int, signals: "queue.SimpleQueue[int]") -> None:
    """Read the numbers of signals until the pipe is closed: the body of the signals' thread."""
    stopping = False
    while number := os.read(receive, 1):
        if number[0] not in _STOP and number[0] != signal.SIGHUP:
            continue
        if stopping and number[0] in _STOP:
            os._exit(128 + number[0])
        stopping = stopping or number[0] in _STOP
        signals.put(number[0])
