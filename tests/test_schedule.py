"""The schedule, mostly in simulated time: the real dispatcher in the test's own thread, an hour in a second."""

import logging
import threading
from collections import Counter, defaultdict
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from otelprobe.cron import Cron
from otelprobe.plan import FlowPlan
from otelprobe.reasons import Outcome
from otelprobe.result import FlowResult
from otelprobe.schedule import Crew, Hands, Missed, ScheduleOptions, Scheduler
from otelprobe.sharding import fraction
from otelprobe.telemetry import schema

START = datetime(2026, 11, 22, 10, 0, 7, tzinfo=UTC).timestamp()


def plan(name: str, every: float = 60.0, cron: str | None = None) -> FlowPlan:
    return FlowPlan(name=name, provider=None, steps=(), deadline=20.0, every=every, cron=cron)


def result_of(name: str) -> FlowResult:
    return FlowResult(
        flow=name, provider=None, labels={}, location=None, run_id="", outcome=Outcome.PASS,
        trace_id=1, span_id=1, start_ns=0, end_ns=0, duration=0.0, steps=(),
    )  # fmt: skip


class SimulatedTime:
    """A clock whose waiting takes no time; actions take place at their moment, on the dispatcher's thread."""

    def __init__(self, wall: float = START) -> None:
        self.now = 5000.0
        self.wall_ahead = wall - self.now
        self._actions: list[tuple[float, Callable[[], object]]] = []

    def at(self, seconds: float, action: Callable[[], object]) -> None:
        self._actions.append((5000.0 + seconds, action))
        self._actions.sort(key=lambda pair: pair[0])

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now + self.wall_ahead

    def time_ns(self) -> int:
        return int(self.wall() * 1e9)

    def wait(self, condition: threading.Condition, seconds: float) -> None:
        target = self.now + seconds
        if not self._actions or self._actions[0][0] > target:
            self.now = target
            return
        moment, action = self._actions.pop(0)
        self.now = max(self.now, moment)
        condition.release()
        try:
            action()
        finally:
            condition.acquire()


class Inline:
    """Does the work at once, in the dispatcher's thread."""

    def submit(self, task: Callable[[], None]) -> None:
        task()


class Later:
    """Keeps the work until the test does it."""

    def __init__(self) -> None:
        self.tasks: list[Callable[[], None]] = []

    def submit(self, task: Callable[[], None]) -> None:
        self.tasks.append(task)

    def work(self, count: int) -> None:
        for _ in range(count):
            self.tasks.pop(0)()


class Simulation:
    """A scheduler in simulated time that notes what it did, in seconds since the start."""

    def __init__(self, wall: float = START, hands: Hands | None = None, **options: float) -> None:
        self.time = SimulatedTime(wall)
        self.runs: dict[str, list[float]] = defaultdict(list)
        self.walls: dict[str, list[float]] = defaultdict(list)
        self.order: list[str] = []
        self.lags: list[float] = []
        self.missed: Counter[tuple[str, str]] = Counter()
        self.run: Callable[[FlowPlan], FlowResult] = lambda p: result_of(p.name)
        self.scheduler = Scheduler(
            run=self._run,
            deliver=lambda _result, lag: self.lags.append(lag),
            missed=lambda flow, reason: self.missed.update([(flow, reason)]),
            options=ScheduleOptions(**options),  # type: ignore[arg-type] # only seconds are given here
            clock=self.time,
            hands=hands or Inline(),
        )

    def _run(self, p: FlowPlan) -> FlowResult:
        self.order.append(p.name)
        self.runs[p.name].append(self.time.now - 5000.0)
        self.walls[p.name].append(self.time.wall())
        return self.run(p)

    def go(self, plans: tuple[FlowPlan, ...], seconds: float) -> "Simulation":
        self.scheduler.replace(plans)
        self.time.at(seconds, self.scheduler.stop)
        self.scheduler.dispatch()
        return self


def gaps(times: list[float]) -> list[float]:
    return [later - earlier for earlier, later in pairwise(times)]


def eventually(condition: Callable[[], bool]) -> bool:
    """Wait in real time, at most five seconds, for what other threads do."""
    pause = threading.Event()
    for _ in range(5000):
        if condition():
            return True
        pause.wait(0.001)
    return False


def of_time(hour: int, minute: int = 0, second: int = 0) -> float:
    return datetime(2026, 11, 22, hour, minute, second, tzinfo=UTC).timestamp()


# --- intervals


def test_an_hour_of_a_thousand_flows() -> None:
    """1,000 flows at 60 s run exactly 60,000 times in an hour, evenly and without drift or lag."""
    sim = Simulation().go(tuple(plan(f"flow-{n}") for n in range(1000)), 3600)

    assert sum(map(len, sim.runs.values())) == 60_000
    assert {len(times) for times in sim.runs.values()} == {60}
    assert all(gap == pytest.approx(60, abs=1e-6) for times in sim.runs.values() for gap in gaps(times))
    per_second = Counter(int(times[0]) for times in sim.runs.values())
    assert len(per_second) == 60
    assert max(per_second.values()) <= 35
    assert max(sim.lags) == 0
    assert not sim.missed


def test_phase_survives_a_restart() -> None:
    """A flow runs at the same seconds of the wall clock whenever the process was started."""
    plans = tuple(plan(f"flow-{n}") for n in range(20))
    first, second = Simulation(START).go(plans, 300), Simulation(START + 12345.678).go(plans, 300)

    for p in plans:
        phases = {round(wall % 60, 3) for sim in (first, second) for wall in sim.walls[p.name]}
        assert phases == {round(fraction(p.name, "offset") * 60, 3)}


def test_long_intervals_start_within_the_spread() -> None:
    """A flow that runs every hour runs within the start spread, then hourly, and never twice within half an hour."""
    sim = Simulation(start_spread=30.0).go(tuple(plan(f"flow-{n}", 3600) for n in range(200)), 6 * 3600)

    for times in sim.runs.values():
        assert times[0] <= 30
        first, *rest = gaps(times)
        assert 1770 <= first <= 5400
        assert all(gap == pytest.approx(3600, abs=1e-6) for gap in rest)
    assert len({int(times[1] / 360) for times in sim.runs.values()}) >= 10


def test_jitter_is_bounded() -> None:
    """Jitter delays each run differently, by at most what was asked for, and loses none."""
    sim = Simulation(jitter=5.0).go((plan("a"),), 3600)

    late = [(wall - fraction("a", "offset") * 60) % 60 for wall in sim.walls["a"]]
    assert 59 <= len(late) <= 60
    assert max(late) <= 5
    assert len({round(seconds, 3) for seconds in late}) > 50


def test_jitter_is_cut_to_a_quarter_of_the_interval() -> None:
    """Jitter as long as the interval cannot push one run onto the next."""
    sim = Simulation(jitter=1000.0).go((plan("a", 4.0),), 400)

    assert 99 <= len(sim.runs["a"]) <= 100
    assert min(gaps(sim.runs["a"])) >= 3


@pytest.mark.parametrize("jump", [-7200.0, 7200.0, 31_536_000.0])
def test_wall_clock_jumps_do_not_touch_intervals(jump: float) -> None:
    """A wall clock that is set neither bunches nor skips runs at an interval."""
    sim = Simulation()
    sim.time.at(100, lambda: setattr(sim.time, "wall_ahead", sim.time.wall_ahead + jump))
    sim.go(tuple(plan(f"flow-{n}") for n in range(50)), 600)

    assert all(gap == pytest.approx(60, abs=1e-6) for times in sim.runs.values() for gap in gaps(times))
    assert {len(times) for times in sim.runs.values()} == {10}
    assert not sim.missed


def test_a_stopped_process_does_not_catch_up() -> None:
    """After ten minutes in which the process stood still no run is made up for; each that was missed is counted."""
    sim = Simulation()
    sim.time.at(120.0005, lambda: setattr(sim.time, "now", sim.time.now + 600))
    sim.go(tuple(plan(f"flow-{n}") for n in range(1000)), 1200)

    woken = [second for times in sim.runs.values() for second in times if 720 <= second < 721]
    on_time = sum(1 for times in sim.runs.values() for second in times if 900 <= second < 960)
    assert on_time == 1000
    assert len(woken) < 560, "at most the runs of the last half interval are still started, late"
    assert {reason for _, reason in sim.missed} == {Missed.LATE}
    assert sum(map(len, sim.runs.values())) + sum(sim.missed.values()) == 20_000


def test_a_run_during_which_the_process_stood_still_tells_nothing() -> None:
    """Its verdict would blame somebody for our own standstill, and its times would be wrong: it is counted as missed."""
    sim = Simulation()

    def run(p: FlowPlan) -> FlowResult:
        if len(sim.runs["a"]) == 3:
            sim.time.now += 90
        return result_of(p.name)

    sim.run = run
    sim.go((plan("a"),), 600)
    assert sim.missed == {("a", Missed.SUSPENDED): 1, ("a", Missed.LATE): 1}
    assert len(sim.lags) == len(sim.runs["a"]) - 1 == 10 - sum(sim.missed.values())


def test_a_standstill_that_the_dispatcher_has_seen_counts_too() -> None:
    """It does not matter who wakes first: a run that began before the standstill and ends after it is not told."""
    later = Later()
    sim = Simulation(hands=later)

    def run(p: FlowPlan) -> FlowResult:
        sim.time.now += 90
        sim.scheduler.dispatch()  # until the end: it wakes before this run does
        return result_of(p.name)

    sim.run = run
    sim.time.at(130, lambda: later.work(1))
    sim.go((plan("a"),), 170)
    assert sim.missed[("a", Missed.SUSPENDED)] == 1
    assert sim.lags == []


# --- overlap and overload


def test_a_run_never_overlaps_itself() -> None:
    """A flow that is due while it runs is skipped and counted, and runs again at its next time."""
    started, release = threading.Event(), threading.Event()
    sim = Simulation(hands=Crew(4))

    def slow(p: FlowPlan) -> FlowResult:
        started.set()
        assert release.wait(5)
        return result_of(p.name)

    def end_the_run() -> None:
        release.set()
        assert eventually(lambda: not sim.scheduler.snapshot().running)

    sim.run = slow
    first = (fraction("a", "offset") * 60 - START) % 60
    sim.time.at(first + 1, lambda: started.wait(5))
    sim.time.at(first + 130, end_the_run)
    sim.time.at(first + 181, lambda: eventually(lambda: len(sim.lags) == 2))
    sim.go((plan("a"),), first + 200)

    assert sim.missed[("a", Missed.OVERLAP)] == 2
    assert len(sim.runs["a"]) == 2


def test_overload_is_counted_and_every_flow_has_its_turn() -> None:
    """Runs that find no worker until they are due again are counted; the flow keeps its place in the queue."""
    hands = Later()
    sim = Simulation(hands=hands)
    plans = tuple(plan(f"flow-{n}") for n in range(10))
    sim.time.at(150, lambda: hands.work(10))
    sim.go(plans, 160)

    by_due = sorted((p.name for p in plans), key=lambda name: (fraction(name, "offset") * 60 - START) % 60)
    assert sim.order == by_due
    assert {reason for _, reason in sim.missed} == {Missed.OVERLOADED}
    assert sum(sim.missed.values()) + 10 == sum(
        1 + int((150 - (fraction(p.name, "offset") * 60 - START) % 60) // 60) for p in plans
    )
    assert all(0 <= lag <= 60 for lag in sim.lags), "the lag is that of the latest due time"


def test_runs_start_in_order_of_due_time() -> None:
    """When workers are short, what was due first starts first."""
    hands = Later()
    sim = Simulation(hands=hands)
    sim.time.at(59.999, lambda: hands.work(100))
    sim.go(tuple(plan(f"flow-{n}") for n in range(100)), 60.0)

    dues = [(fraction(name, "offset") * 60 - START) % 60 for name in sim.order]
    assert dues == sorted(dues)
    assert sim.lags == sorted(sim.lags, reverse=True)
    assert sim.lags[0] == pytest.approx(59.999 - dues[0], abs=1e-6)


def test_a_full_telemetry_queue_has_its_own_name() -> None:
    """A flow whose last result still waits for telemetry is counted as backlog, not as overlap."""
    handing, room = threading.Event(), threading.Event()
    missed: Counter[tuple[str, str]] = Counter()
    time = SimulatedTime()

    def deliver(_result: FlowResult, _lag: float) -> None:
        handing.set()
        assert room.wait(5)

    scheduler = Scheduler(
        run=lambda p: result_of(p.name), deliver=deliver, clock=time, hands=Crew(1),
        missed=lambda flow, reason: missed.update([(flow, reason)]),
    )  # fmt: skip
    first = (fraction("a", "offset") * 60 - START) % 60
    time.at(first + 1, lambda: handing.wait(5))
    time.at(first + 61, room.set)
    time.at(first + 62, scheduler.stop)
    scheduler.replace((plan("a"),))
    scheduler.dispatch()

    assert missed == {("a", Missed.BACKLOG): 1}


# --- faults


def test_a_run_that_breaks_is_logged_without_its_text(caplog: pytest.LogCaptureFixture) -> None:
    """A bug in a run is told by kind and place, never by its text, and the schedule goes on."""
    sim = Simulation()

    def broken(p: FlowPlan) -> FlowResult:
        raise LookupError("canary-secret")

    sim.run = broken
    with caplog.at_level(logging.DEBUG):
        sim.go((plan("a"),), 300)

    assert sim.missed == {("a", Missed.CRASHED): 5}
    assert "LookupError at test_schedule.py:" in caplog.text
    assert "canary" not in caplog.text


def test_a_callback_that_breaks_does_not_stop_the_schedule(caplog: pytest.LogCaptureFixture) -> None:
    """The dispatcher outlives a callback that raises."""
    ran: list[str] = []
    time = SimulatedTime()

    def broken(_flow: str, _reason: str) -> None:
        raise RuntimeError("canary-secret")

    def run(p: FlowPlan) -> FlowResult:
        ran.append(p.name)
        raise RuntimeError("canary-secret")

    scheduler = Scheduler(run=run, deliver=lambda _r, _l: None, missed=broken, clock=time, hands=Inline())
    scheduler.replace((plan("a"),))
    time.at(180, scheduler.stop)
    scheduler.dispatch()

    assert len(ran) == 3
    assert "canary" not in caplog.text


# --- reload


def test_replace_keeps_the_phase_of_what_did_not_change() -> None:
    """A reload neither hastens nor delays a flow whose schedule is the same, and the next run uses the new plan."""
    sim = Simulation()
    seen: list[float] = []

    def note(p: FlowPlan) -> FlowResult:
        if p.name == "a":
            seen.append(p.deadline)
        return result_of(p.name)

    sim.run = note
    longer = FlowPlan(name="a", provider=None, steps=(), deadline=99.0, every=60.0)
    for second in range(7, 290, 13):
        sim.time.at(second, lambda: sim.scheduler.replace((longer, plan("b"))))
    sim.go((plan("a"), plan("b")), 300)

    assert all(gap == pytest.approx(60, abs=1e-6) for times in sim.runs.values() for gap in gaps(times))
    assert len(sim.runs["a"]) == 5
    assert seen[1:] == [99.0] * 4


def test_replace_adds_and_removes() -> None:
    """New flows start by their spread, removed ones run no more."""
    sim = Simulation()
    sim.time.at(200, lambda: sim.scheduler.replace((plan("b"), plan("c", 5.0))))
    sim.go((plan("a"), plan("b")), 400)

    assert max(sim.runs["a"]) < 200
    assert len(sim.runs["b"]) in {6, 7}
    assert 200 <= sim.runs["c"][0] <= 205
    assert len(sim.runs["c"]) == 40
    assert sim.scheduler.snapshot().flows == 2


def test_replace_applies_a_new_interval() -> None:
    """A flow whose interval was changed keeps to the new one at once."""
    sim = Simulation()
    sim.time.at(120, lambda: sim.scheduler.replace((plan("a", 10.0),)))
    sim.go((plan("a"),), 180)

    after = [second for second in sim.runs["a"] if second >= 120]
    assert len(after) == 6
    assert after[0] <= 130


def test_removed_flow_ends_and_cannot_overlap_when_it_returns() -> None:
    """A removed flow's run goes on to its end; if the flow comes back meanwhile, it waits for that end."""
    started, release = threading.Event(), threading.Event()
    results: list[str] = []
    missed: Counter[tuple[str, str]] = Counter()
    time = SimulatedTime()

    def run(p: FlowPlan) -> FlowResult:
        started.set()
        assert release.wait(5)
        return result_of(p.name)

    scheduler = Scheduler(
        run=run, deliver=lambda r, _l: results.append(r.flow), clock=time, hands=Crew(2),
        missed=lambda flow, reason: missed.update([(flow, reason)]),
    )  # fmt: skip
    first = (fraction("a", "offset") * 60 - START) % 60
    time.at(first + 1, lambda: started.wait(5))
    time.at(first + 2, lambda: scheduler.replace(()))
    time.at(first + 3, lambda: scheduler.replace((plan("a"),)))
    time.at(first + 61, scheduler.stop)
    scheduler.replace((plan("a"),))
    scheduler.dispatch()
    release.set()

    assert eventually(lambda: not scheduler.snapshot().running)
    assert missed == {("a", Missed.OVERLAP): 1}
    assert results == ["a"]


def test_waiting_flow_that_is_removed_does_not_run() -> None:
    """A run that waits for a worker is dropped with its flow."""
    hands = Later()
    sim = Simulation(hands=hands)
    sim.time.at(60, lambda: sim.scheduler.replace((plan("b"),)))
    sim.time.at(61, lambda: hands.work(2))
    sim.go((plan("a"), plan("b")), 62)

    assert sim.order == ["b"]


@pytest.mark.parametrize(
    ("plans", "text"),
    [
        ((plan("a"), plan("a")), "two flows have the name a: give each its own"),
        ((plan("b", cron="61 * * * *"),), "not a cron expression"),
    ],
)
def test_replace_refuses_whole(plans: tuple[FlowPlan, ...], text: str) -> None:
    """Plans that cannot be scheduled are refused, and the present ones go on."""
    sim = Simulation()
    sim.scheduler.replace((plan("a"),))
    with pytest.raises(ValueError, match=text):
        sim.scheduler.replace(plans)
    sim.time.at(120, sim.scheduler.stop)
    sim.scheduler.dispatch()

    assert len(sim.runs["a"]) == 2


# --- cron


def test_cron_runs_at_its_times() -> None:
    """A cron flow runs on the second of the wall clock that its expression means, in UTC."""
    sim = Simulation().go((plan("a", 300.0, "*/5 * * * *"),), 3600)

    assert [round(wall, 3) for wall in sim.walls["a"]] == [of_time(10, minute) for minute in range(5, 60, 5)] + [
        of_time(11)
    ]


@pytest.mark.parametrize("jump", [-3600.0, 3600.0, 31_536_000.0, -31_536_000.0])
def test_cron_follows_a_clock_that_is_set(jump: float) -> None:
    """After the wall clock was set a cron flow runs at the new clock's times, without a burst."""
    sim = Simulation()
    sim.time.at(653, lambda: setattr(sim.time, "wall_ahead", sim.time.wall_ahead + jump))
    sim.go((plan("a", 300.0, "*/5 * * * *"),), 3600)

    assert all(wall % 300 == pytest.approx(0, abs=0.001) for wall in sim.walls["a"])
    assert min(gaps(sim.runs["a"])) >= 290
    assert max(gaps(sim.runs["a"])) <= 600
    assert len(sim.runs["a"]) in {11, 12}


def test_cron_counts_what_a_stopped_process_has_missed() -> None:
    """Every cron time that lies within a standstill is counted, once, and none is made up for."""
    sim = Simulation()
    sim.time.at(653, lambda: setattr(sim.time, "now", sim.time.now + 1800))
    sim.go((plan("a", 300.0, "*/5 * * * *"),), 7200)

    assert sim.missed == {("a", Missed.LATE): 6}
    assert len(sim.runs["a"]) + 6 == 24


def test_cron_is_not_repeated_after_a_small_step_back() -> None:
    """A clock that is set back by a few seconds just after a cron time does not run it again."""
    sim = Simulation()
    sim.time.at(294, lambda: setattr(sim.time, "wall_ahead", sim.time.wall_ahead - 5))
    sim.go((plan("a", 300.0, "*/5 * * * *"),), 700)

    assert len(sim.runs["a"]) == 2
    assert gaps(sim.runs["a"]) == [pytest.approx(305, abs=0.001)]


def test_cron_is_not_repeated_when_the_clock_is_a_little_behind() -> None:
    """A wall clock that shows a few milliseconds less than the cron time when it runs does not run it again."""
    sim = Simulation()
    sim.time.at(292, lambda: setattr(sim.time, "wall_ahead", sim.time.wall_ahead - 0.03))
    sim.go((plan("a", 300.0, "*/5 * * * *"),), 400)

    assert sim.runs["a"] == [pytest.approx(293, abs=0.05)]


def test_cron_follows_a_clock_that_drifts() -> None:
    """A wall clock that runs 1 % fast is followed: cron runs stay within 0.1 s of their times."""
    sim = Simulation()
    for second in range(1, 3600):
        sim.time.at(second, lambda: setattr(sim.time, "wall_ahead", sim.time.wall_ahead + 0.01))
    sim.go((plan("a", 1800.0, "*/30 * * * *"),), 3600)

    assert len(sim.walls["a"]) == 2
    assert all(min(wall % 1800, 1800 - wall % 1800) < 0.1 for wall in sim.walls["a"])


def test_cron_in_a_time_zone_through_summer_time() -> None:
    """Berlin's 02:30 runs once a day through both changes: moved to 03:00 in spring, its first occurrence in autumn."""
    cron, berlin = Cron("CRON_TZ=Europe/Berlin 30 2 * * *"), ZoneInfo("Europe/Berlin")

    def days(start: datetime, count: int) -> list[str]:
        moment, times = start.timestamp(), []
        for _ in range(count):
            moment = cron.after(moment)
            times.append(datetime.fromtimestamp(moment, berlin).isoformat())
        return times

    assert days(datetime(2026, 3, 28, tzinfo=berlin), 3) == [
        "2026-03-28T02:30:00+01:00", "2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00",
    ]  # fmt: skip
    assert days(datetime(2026, 10, 24, tzinfo=berlin), 3) == [
        "2026-10-24T02:30:00+02:00", "2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00",
    ]  # fmt: skip


def test_cron_from_within_the_repeated_hour() -> None:
    """Started within the repeated hour of autumn, a cron flow's next time lies ahead, never in the past."""
    cron, berlin = Cron("CRON_TZ=Europe/Berlin 30 2 * * *"), ZoneInfo("Europe/Berlin")
    second_pass = datetime(2026, 10, 25, 2, 10, tzinfo=berlin, fold=1).timestamp()

    assert datetime.fromtimestamp(cron.after(second_pass), berlin).isoformat() == "2026-10-26T02:30:00+01:00"


def test_every_minute_through_the_repeated_hour() -> None:
    """A flow that runs every 20 minutes runs every 20 minutes when the clock is put back, too."""
    cron, moment = Cron("TZ=Europe/Berlin */20 * * * *"), datetime(2026, 10, 25, 0, 0, tzinfo=UTC).timestamp()
    times = [moment := cron.after(moment) for _ in range(9)]

    assert gaps(times) == [1200] * 8


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("* * * *", "five fields"),
        ("0 * * * * *", "five fields"),
        ("61 * * * *", r"not a cron expression \(bad minute\)"),
        ("0 0 30 2 *", r"not a cron expression \(bad day-of-month\)"),
        ("@daily", "five fields"),
        ("CRON_TZ=Europe/Nowhere 0 0 * * *", "CRON_TZ names a time zone that is not known here"),
        ("CRON_TZ=../etc/passwd 0 0 * * *", "CRON_TZ names a time zone that is not known here"),
        ("CRON_TZ=UTC", "five fields"),
        ("", "five fields"),
    ],
)
def test_bad_cron_is_refused(text: str, message: str) -> None:
    """What is no cron expression is refused with a word on how to mend it."""
    with pytest.raises(ValueError, match=message):
        Cron(text)


# --- threads


def test_workers_are_started_as_needed() -> None:
    """Work that never overlaps needs few threads; work that does gets as many as allowed and no more."""
    crew, done = Crew(3), threading.Semaphore(0)
    crew.submit(done.release)
    assert done.acquire(timeout=5)
    assert crew.threads == 1

    roomy = Crew(1000)
    for _ in range(50):
        roomy.submit(done.release)
        assert done.acquire(timeout=5)
    assert roomy.threads < 10

    gate = threading.Event()

    def hold() -> None:
        assert gate.wait(5)
        done.release()

    for _ in range(8):
        crew.submit(hold)
    assert crew.threads == 3
    gate.set()
    assert all(done.acquire(timeout=5) for _ in range(8))
    assert crew.threads == 3


def test_of_free_workers_the_one_that_worked_last_is_taken() -> None:
    """One task after the other is done by one thread, though others are free."""
    crew, done, gate = Crew(4), threading.Semaphore(0), threading.Barrier(5)

    def meet() -> None:
        gate.wait(5)
        done.release()

    workers: set[int] = set()

    def note() -> None:
        workers.add(threading.get_ident())
        done.release()

    for task in (meet, meet, meet, meet):
        crew.submit(task)
    gate.wait(5)
    assert all(done.acquire(timeout=5) for _ in range(4))
    for _ in range(20):
        while len(crew._free) < 4:
            threading.Event().wait(0.001)
        crew.submit(note)
        assert done.acquire(timeout=5)
    assert len(workers) == 1


def test_a_worker_outlives_a_task_that_breaks() -> None:
    """A task that raises costs no thread."""
    crew, done = Crew(1), threading.Event()

    def broken() -> None:
        raise RuntimeError

    crew.submit(broken)
    crew.submit(done.set)
    assert done.wait(5)


def test_the_real_clock_runs_flows() -> None:
    """With the machine's own clock and threads flows run, report their lag, and stop when told to."""
    results: list[tuple[str, float]] = []
    enough = threading.Event()

    def deliver(result: FlowResult, lag: float) -> None:
        results.append((result.flow, lag))
        if len(results) >= 10:
            enough.set()

    scheduler = Scheduler(run=lambda p: result_of(p.name), deliver=deliver, missed=lambda _f, _r: None)
    scheduler.start(tuple(plan(f"flow-{n}", 0.1) for n in range(5)))
    assert enough.wait(10)
    assert not scheduler.broken
    scheduler.stop()
    assert scheduler.drain(5) == ()
    count = len(results)
    seen = scheduler.snapshot()

    assert seen.stopping
    assert (seen.flows, seen.running, seen.waiting, seen.runs) == (5, 0, 0, count)
    assert seen.lag_p99 is not None
    assert all(lag >= 0 for _, lag in results)


def test_drain_abandons_what_does_not_end() -> None:
    """A run that outlasts the drain is named and counted; draining takes no longer than its budget."""
    started, release = threading.Event(), threading.Event()
    missed: list[tuple[str, str]] = []

    def run(p: FlowPlan) -> FlowResult:
        started.set()
        assert release.wait(10)
        return result_of(p.name)

    scheduler = Scheduler(
        run=run, deliver=lambda _r, _l: None, missed=lambda flow, reason: missed.append((flow, reason))
    )
    scheduler.start((plan("a", 0.05),))
    assert started.wait(5)
    scheduler.stop()
    abandoned = scheduler.drain(0.05)
    release.set()

    assert abandoned == ("a",)
    assert ("a", Missed.ABANDONED) in missed


def test_a_dispatcher_that_dies_is_seen(caplog: pytest.LogCaptureFixture) -> None:
    """A dispatcher whose clock breaks is told as broken, so that the process can end rather than idle."""

    class Broken(SimulatedTime):
        def wait(self, condition: threading.Condition, seconds: float) -> None:
            raise OSError("canary-secret")

    scheduler = Scheduler(
        run=lambda p: result_of(p.name), deliver=lambda _r, _l: None, missed=lambda _f, _r: None, clock=Broken()
    )
    scheduler.start((plan("a"),))
    assert eventually(lambda: scheduler.broken)
    assert "OSError" in caplog.text
    assert "canary" not in caplog.text


def test_telemetry_knows_every_way_to_miss_a_run() -> None:
    """A counter for each reason starts at zero, so that the first miss is seen as an increase."""
    assert set(schema.MISSED_REASON.values) == {reason.value for reason in Missed}
