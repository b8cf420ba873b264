"""When: due times, spread, overlap, workers and start lag; calls `run`, hands each result on.

Interval schedules keep to the monotonic clock, so that a jump of the wall clock neither bunches nor skips runs. Their
phase is a hash of the flow's name, anchored to the wall clock once: it is even over many flows, the same on every shard
and the same after a restart. Cron schedules follow the wall clock, as their users mean it.

One dispatcher thread finds what is due; worker threads, started as they are needed, run it in order of due time.
"""

import dataclasses
import heapq
import itertools
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from enum import Enum, StrEnum, auto
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple, Protocol

from otelprobe.clock import Clock, SystemClock
from otelprobe.cron import Cron
from otelprobe.plan import FlowPlan
from otelprobe.quick import dataclass
from otelprobe.result import FlowResult
from otelprobe.sharding import fraction

_log = logging.getLogger(__name__)

_BEAT = 1.0
"""Seconds between heartbeats of the dispatcher, at most."""

_CLOCK_TOLERANCE = 0.05
"""Seconds the wall clock may stray from the monotonic one before cron times are worked out anew."""

_SMALL_STEP = 60.0
"""Seconds the wall clock may be set back without a cron time that has run being run again."""


class Missed(StrEnum):
    """Why a run that was due did not take place, or came to nothing."""

    OVERLAP = "overlap"
    """The flow's previous run was still going."""
    OVERLOADED = "overloaded"
    """No worker was free until the flow was due again."""
    BACKLOG = "backlog"
    """The flow's previous result was still waiting for room in the telemetry queue."""
    LATE = "late"
    """Its time was long past when the dispatcher came to it: the process was stopped, or the clock was set forward."""
    SUSPENDED = "suspended"
    """The process stood still while it ran, so neither its verdict nor its times are those of a target; nothing is told of it."""
    CRASHED = "crashed"
    """The run broke: a bug of ours, which the log tells."""
    ABANDONED = "abandoned"
    """It was still going when the time to drain had passed."""


_STANDSTILL = 3.0
"""Seconds between two heartbeats, due every one, from which on the process is taken to have been stopped."""

_MOST_COUNTED = 1000
"""Times of one cron flow that are counted as missed at once, at most: a clock may be set forward by years."""


class Waiter(Clock, Protocol):
    """A clock that can also wait, so that a test can run an hour in a second."""

    def wait(self, condition: threading.Condition, seconds: float) -> None:
        """Wait for a notification for at most `seconds`; the caller holds the condition's lock."""
        ...


def _awake_and_asleep() -> float:
    """Give seconds that pass also while the machine is suspended, where the system counts them (Linux)."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class SystemWaiter(SystemClock):
    """The machine's own clocks, and waiting by them. Its monotonic clock goes on while the machine is suspended."""

    monotonic = staticmethod(_awake_and_asleep if hasattr(time, "CLOCK_BOOTTIME") else time.perf_counter)

    def wait(self, condition: threading.Condition, seconds: float) -> None:
        """Wait for a notification for at most `seconds`."""
        condition.wait(seconds)


class Hands(Protocol):
    """Who does the work that is handed over."""

    def submit(self, task: Callable[[], None]) -> None:
        """Have `task` done soon, in the order of submission."""
        ...


class Crew:
    """At most `size` daemon threads, each started when no other is free.

    Of those that are free the one that worked last is taken: what it needs is still in the processor's caches. Daemons,
    because a run that outlasts the drain must not keep the process alive.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._lock = threading.Lock()
        self._tasks: deque[Callable[[], None]] = deque()
        self._free: list[SimpleQueue[Callable[[], None]]] = []
        self._threads = 0

    @property
    def threads(self) -> int:
        """How many threads were started."""
        return self._threads

    def submit(self, task: Callable[[], None]) -> None:
        """Have `task` done by a free thread, or by the first that becomes free."""
        with self._lock:
            if self._free:
                self._free.pop().put(task)
                return
            if self._threads == self._size:
                self._tasks.append(task)
                return
            self._threads += 1
        self._hire(task)

    def _hire(self, task: Callable[[], None]) -> None:
        try:
            threading.Thread(target=self._work, args=(task,), name="otelprobe-worker", daemon=True).start()
        except RuntimeError:
            with self._lock:
                self._threads -= 1
                self._tasks.append(task)
            _log.warning("no more threads can be started; raise the limit on processes or set fewer workers")

    def _work(self, task: Callable[[], None]) -> None:
        inbox: SimpleQueue[Callable[[], None]] = SimpleQueue()
        while True:
            guarded("a worker's task", task)
            with self._lock:
                waiting = bool(self._tasks)
                if waiting:
                    task = self._tasks.popleft()
                else:
                    self._free.append(inbox)
            if not waiting:
                task = inbox.get()


def guarded(what: str, call: Callable[[], object]) -> bool:
    """Call and tell whether it went well; what breaks is logged by kind and place only, as its text may hold a secret."""
    try:
        call()
    except Exception as error:  # noqa: BLE001 - the schedule goes on whatever a run or a callback does
        _log.error("%s broke: %s; this is a bug of otelprobe, please report it", what, describe(error))
        return False
    return True


def describe(error: BaseException) -> str:
    """Name an exception by its type and the place it came from, without its text."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return type(error).__name__
    return f"{type(error).__name__} at {Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"


class Instant(NamedTuple):
    """One moment by both clocks, in seconds."""

    mono: float
    wall: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleOptions:
    """How runs are spread and how many may go on at once.

    `workers`: threads, default 64: runs mostly wait for the network, and 1,000 flows a minute of 2 s each need 34.
    `start_spread`: seconds within which every interval flow runs for the first time, default 60.
    `jitter`: the most seconds by which a run is delayed, differently each time; default 0, as the offsets spread the
    runs already; at most a quarter of the interval counts.
    """

    workers: int = 64
    start_spread: float = 60.0
    jitter: float = 0.0


class Interval:
    """Due times at a fixed interval, by the monotonic clock. `due` is the next one."""

    def __init__(self, name: str, every: float, options: ScheduleOptions, now: Instant) -> None:
        self._name = name
        self._every = every
        self._jitter = min(options.jitter, every / 4)
        ahead = (fraction(name, "offset") * every - now.wall) % every
        self._origin = now.mono + ahead
        self._next = 0
        if ahead <= options.start_spread:
            self.due = self._take(0)
        else:
            # The grid point is far off: a first run comes soon, and the grid is joined half an interval later at least.
            self.due = now.mono + fraction(name, "start") * options.start_spread
            self._next = math.ceil((self.due + every / 2 - self._origin) / every)

    def lateness(self, now: Instant) -> float:
        """Give the seconds by which the due time has passed."""
        return now.mono - self.due

    def advance(self, now: Instant) -> int:
        """Go on to the first due time after `now`; give how many were passed over."""
        expected = self._next
        number = max(expected, math.floor((now.mono - self._origin) / self._every) + 1)
        self.due = self._take(number)
        return number - expected

    def _take(self, number: int) -> float:
        """Give the due time of a grid point, which never drifts: it is worked out from the origin each time."""
        self._next = number + 1
        jitter = self._jitter and self._jitter * fraction(self._name, f"jitter {number}")
        return self._origin + number * self._every + jitter


class CronTimes:
    """Due times by the wall clock. `due` is the next one by the monotonic clock, which `retime` corrects."""

    def __init__(self, cron: Cron, now: Instant) -> None:
        self._cron = cron
        self._at = cron.after(now.wall)
        self.due = now.mono + self._at - now.wall

    def lateness(self, now: Instant) -> float:
        """Give the seconds by which the due time has passed on the wall clock."""
        return now.wall - self._at

    def advance(self, now: Instant) -> int:
        """Go on to the first due time after `now` and after the last one; give how many were passed over."""
        passed = self._cron.count(self._at, now.wall, _MOST_COUNTED)
        self._at = self._cron.after(max(now.wall, self._at))
        self.due = now.mono + self._at - now.wall
        return passed

    def retime(self, now: Instant, shift: float) -> None:
        """Follow a wall clock that went `shift` seconds from where it should be."""
        if shift < -_SMALL_STEP:
            self._at = self._cron.after(now.wall)
        self.due = now.mono + self._at - now.wall


Times = Interval | CronTimes


def times_of(plan: FlowPlan, options: ScheduleOptions, now: Instant) -> Times:
    """Give a plan its due times from `now` on."""
    if plan.cron is not None:
        return CronTimes(Cron(plan.cron), now)
    return Interval(plan.name, plan.every, options, now)


class _State(Enum):
    IDLE = auto()
    WAITING = auto()
    RUNNING = auto()
    HANDING = auto()


_MISSED = {
    _State.WAITING: Missed.OVERLOADED,
    _State.RUNNING: Missed.OVERLAP,
    _State.HANDING: Missed.BACKLOG,
}


@dataclass(slots=True, eq=False)
class _Entry:
    """A flow on the schedule. `due` is the due time of the run that waits or goes on."""

    plan: FlowPlan
    times: Times
    state: _State = _State.IDLE
    due: float = 0.0
    removed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """How the schedule stands. `lag_p99` is in seconds over the last runs, `beat_age` since the last heartbeat."""

    flows: int
    running: int
    waiting: int
    runs: int
    lag_p99: float | None
    beat_age: float
    stopping: bool


Deliver = Callable[[FlowResult, float], None]
"""Takes a result and its start lag in seconds; may block, which holds up the worker and nothing else."""


class Scheduler:
    """Runs every flow when it is due, never twice at once, and hands its result and its start lag to `deliver`.

    `missed(flow, reason)` hears of every run that was due and did not take place (`Missed`).
    """

    def __init__(
        self,
        *,
        run: Callable[[FlowPlan], FlowResult],
        deliver: Deliver,
        missed: Callable[[str, str], None],
        options: ScheduleOptions | None = None,
        clock: Waiter | None = None,
        hands: Hands | None = None,
    ) -> None:
        self._run = run
        self._deliver = deliver
        self._missed = missed
        self._options = options or ScheduleOptions()
        self._clock: Waiter = clock or SystemWaiter()
        self._hands: Hands = hands or Crew(self._options.workers)
        self._lock = threading.Lock()
        self._wake = threading.Condition(self._lock)
        self._quiet = threading.Condition(self._lock)
        self._entries: dict[str, _Entry] = {}
        self._heap: list[tuple[float, int, _Entry]] = []
        self._order = itertools.count()
        self._ready: deque[_Entry] = deque()
        self._busy: set[_Entry] = set()
        self._lags: deque[float] = deque(maxlen=1000)
        self._runs = 0
        self._stopping = False
        self._thread: threading.Thread | None = None
        now = self._now()
        self._beat = now.mono
        self._stood_still = -math.inf
        self._skew = now.wall - now.mono

    def start(self, plans: Iterable[FlowPlan]) -> None:
        """Schedule the plans and start the dispatcher's thread."""
        self.replace(plans)
        self._thread = threading.Thread(target=self._stand, name="otelprobe-dispatcher", daemon=True)
        self._thread.start()

    @property
    def broken(self) -> bool:
        """Whether the dispatcher's thread has ended without being told to: nothing will run any more."""
        return self._thread is not None and not self._thread.is_alive() and not self._stopping

    def _stand(self) -> None:
        guarded("the dispatcher", self.dispatch)

    def replace(self, plans: Iterable[FlowPlan]) -> None:
        """Put these plans in place of the present ones; ValueError, and nothing changed, if one cannot be scheduled.

        A flow whose schedule is unchanged keeps its phase, a new one starts by its spread, one that is gone ends with
        its present run.
        """
        wanted: dict[str, FlowPlan] = {}
        for plan in plans:
            if wanted.setdefault(plan.name, plan) is not plan:
                raise ValueError(f"two flows have the name {plan.name}: give each its own")
        now = self._now()
        with self._lock:
            changed = {name: times_of(p, self._options, now) for name, p in wanted.items() if self._differs(p)}
            for name, entry in list(self._entries.items()):
                if name not in wanted:
                    self._remove(entry)
            for name, plan in wanted.items():
                entry = self._entries.get(name) or _Entry(plan, changed[name])
                entry.plan, entry.times, entry.removed = plan, changed.get(name, entry.times), False
                self._entries[name] = entry
            self._rebuild()
            self._wake.notify()

    def _differs(self, plan: FlowPlan) -> bool:
        """Tell whether a plan needs due times of its own: it is new, comes back, or its schedule was changed."""
        entry = self._entries.get(plan.name)
        return entry is None or entry.removed or (entry.plan.every, entry.plan.cron) != (plan.every, plan.cron)

    def _remove(self, entry: _Entry) -> None:
        """Take a flow off the schedule; it is kept while its run goes on, lest it overlap when it comes back."""
        entry.removed = True
        if entry.state is _State.WAITING:
            self._ready.remove(entry)
            entry.state = _State.IDLE
        if entry.state is _State.IDLE:
            del self._entries[entry.plan.name]

    def _rebuild(self) -> None:
        live = (entry for entry in self._entries.values() if not entry.removed and entry.times.due < math.inf)
        self._heap = [(entry.times.due, next(self._order), entry) for entry in live]
        heapq.heapify(self._heap)

    def dispatch(self) -> None:
        """Start what is due, until stopped: the body of the dispatcher's thread."""
        while self._turn():
            pass

    def _turn(self) -> bool:
        now = self._now()
        with self._lock:
            if self._stopping:
                return False
            if now.mono - self._beat > _STANDSTILL:
                self._stood_still = now.mono
            self._beat = now.mono
            self._follow_clock(now)
            missed, starts = self._take_due(now)
        for flow, reason in missed:
            self._tell(flow, reason)
        for _ in range(starts):
            self._hands.submit(self._run_next)
        with self._lock:
            pause = min(_BEAT, self._heap[0][0] - self._clock.monotonic()) if self._heap else _BEAT
            if pause > 0 and not self._stopping:
                self._clock.wait(self._wake, pause)
        return True

    def _now(self) -> Instant:
        return Instant(self._clock.monotonic(), self._clock.time_ns() / 1e9)

    def _follow_clock(self, now: Instant) -> None:
        """Correct cron times when the wall clock was set, or has drifted from the monotonic one."""
        skew = now.wall - now.mono
        shift = skew - self._skew
        if abs(shift) <= _CLOCK_TOLERANCE:
            return
        self._skew = skew
        for entry in self._entries.values():
            if isinstance(entry.times, CronTimes):
                entry.times.retime(now, shift)
        self._rebuild()

    def _take_due(self, now: Instant) -> tuple[list[tuple[str, Missed]], int]:
        """Queue every flow that is due; give what was missed and how many runs were queued."""
        missed: list[tuple[str, Missed]] = []
        starts = 0
        while self._heap and self._heap[0][0] <= now.mono:
            entry = self._heap[0][2]
            starts += self._queue(entry, now, missed)
            if entry.times.due < math.inf:
                heapq.heapreplace(self._heap, (entry.times.due, next(self._order), entry))
            else:
                heapq.heappop(self._heap)
        return missed, starts

    def _queue(self, entry: _Entry, now: Instant, missed: list[tuple[str, Missed]]) -> bool:
        """Queue the run that is due, if it can be; tell whether it was. What is long past is never caught up."""
        name, due = entry.plan.name, entry.times.due
        late = entry.times.lateness(now) >= entry.plan.every / 2
        passed = entry.times.advance(now)
        if late:
            missed.extend([(name, Missed.LATE)] * (passed + 1))
            return False
        if entry.state is _State.IDLE:
            entry.state, entry.due = _State.WAITING, due
            self._ready.append(entry)
            return True
        missed.append((name, _MISSED[entry.state]))
        if entry.state is _State.WAITING:
            # It keeps its place in the queue, now for the later due time: under overload every flow has its turn.
            entry.due = due
        return False

    def _tell(self, flow: str, reason: Missed) -> None:
        guarded(f"counting a missed run of flow {flow}", lambda: self._missed(flow, reason))

    def _run_next(self) -> None:
        """Run the flow that has waited longest: a worker's task."""
        with self._lock:
            if self._stopping or not self._ready:
                return
            entry = self._ready.popleft()
            plan, lag = entry.plan, max(0.0, self._clock.monotonic() - entry.due)
            entry.state = _State.RUNNING
            self._busy.add(entry)
            self._lags.append(lag)
        try:
            self._do(entry, plan, lag)
        finally:
            self._finish(entry)

    def _do(self, entry: _Entry, plan: FlowPlan, lag: float) -> None:
        def run() -> None:
            began = self._clock.monotonic()
            result = self._run(plan)
            if self._was_suspended(began):
                self._tell(plan.name, Missed.SUSPENDED)
                return
            entry.state = _State.HANDING
            self._deliver(result, lag)

        if not guarded(f"a run of flow {plan.name}", run):
            self._tell(plan.name, Missed.CRASHED)

    def _was_suspended(self, began: float) -> bool:
        """Tell whether the process stood still since then; a worker may find out before the dispatcher does."""
        with self._lock:
            beating = self._stopping or self._clock.monotonic() - self._beat <= _STANDSTILL
            return self._stood_still >= began or not beating

    def _finish(self, entry: _Entry) -> None:
        with self._lock:
            entry.state = _State.IDLE
            self._busy.discard(entry)
            self._runs += 1
            if entry.removed:
                self._entries.pop(entry.plan.name, None)
            if not self._busy:
                self._quiet.notify_all()

    def stop(self) -> None:
        """Start nothing more; what runs goes on."""
        with self._lock:
            self._stopping = True
            self._ready.clear()
            self._wake.notify_all()

    def drain(self, seconds: float) -> tuple[str, ...]:
        """Wait for what runs, at most `seconds`; give the flows that are abandoned, which `missed` hears of too."""
        end = self._clock.monotonic() + seconds
        with self._lock:
            while self._busy and (left := end - self._clock.monotonic()) > 0:
                self._clock.wait(self._quiet, left)
            abandoned = tuple(sorted(entry.plan.name for entry in self._busy))
        for flow in abandoned:
            self._tell(flow, Missed.ABANDONED)
        return abandoned

    def snapshot(self) -> Snapshot:
        """Tell how the schedule stands."""
        now = self._clock.monotonic()
        with self._lock:
            lags = list(self._lags)
            seen = Snapshot(
                flows=sum(not entry.removed for entry in self._entries.values()),
                running=len(self._busy),
                waiting=len(self._ready),
                runs=self._runs,
                lag_p99=None,
                beat_age=now - self._beat,
                stopping=self._stopping,
            )
        return dataclasses.replace(seen, lag_p99=sorted(lags)[math.ceil(len(lags) * 0.99) - 1]) if lags else seen
