"""The long-lived process: publishing, watching, reloading, and its signals in a process of its own."""

import gc
import http.client
import json
import logging
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from otelprobe.health import ListenError
from otelprobe.plan import FlowPlan
from otelprobe.reasons import Outcome
from otelprobe.result import FlowResult
from otelprobe.serve import Publisher, ServeOptions, Server, Watch, Work, settle


class FlowFileError(Exception):
    """Stands for the fault of a flow file, whose text is for operators."""


def plan(name: str, every: float = 60.0) -> FlowPlan:
    return FlowPlan(name=name, provider=None, steps=(), deadline=20.0, every=every)


def result_of(name: str) -> FlowResult:
    return FlowResult(
        flow=name, provider=None, labels={}, location=None, run_id="", outcome=Outcome.PASS,
        trace_id=1, span_id=1, start_ns=0, end_ns=0, duration=0.0, steps=(),
    )  # fmt: skip


def eventually(condition: Callable[[], bool]) -> bool:
    """Wait, at most five seconds, for what other threads do."""
    pause = threading.Event()
    for _ in range(5000):
        if condition():
            return True
        pause.wait(0.001)
    return False


# --- publisher


def test_results_are_published_in_order_by_one_thread() -> None:
    """Every result is published once, in order, with its lag before it, by a thread that is no worker."""
    told: list[object] = []
    threads: set[int] = set()

    def publish(result: FlowResult) -> None:
        threads.add(threading.get_ident())
        told.append(result.flow)

    publisher = Publisher(publish, lambda flow, lag: told.append((flow, lag)))
    publisher.start()
    for n in range(100):
        publisher.deliver(result_of(str(n)), n / 10)

    assert publisher.close(5) == 0
    assert told == [fact for n in range(100) for fact in ((str(n), n / 10), str(n))]
    assert len(threads) == 1
    assert threading.get_ident() not in threads
    assert publisher.waits == 0


def test_the_end_does_not_wait_for_more_to_gather(monkeypatch: pytest.MonkeyPatch) -> None:
    """While results are gathered, closing tells what is there at once."""
    monkeypatch.setattr("otelprobe.serve._GATHER", 60.0)
    told: list[str] = []
    publisher = Publisher(lambda result: told.append(result.flow), lambda _f, _l: None)
    publisher.start()
    for n in range(5):
        publisher.deliver(result_of(str(n)), 0.0)
    started = time.monotonic()
    assert publisher.close(10) == 0
    assert time.monotonic() - started < 8
    assert told == [str(n) for n in range(5)]


def test_a_full_queue_holds_workers_up_and_loses_nothing() -> None:
    """When telemetry is slow the worker waits, that is counted, and every result arrives."""
    gate, told = threading.Event(), list[str]()

    def publish(result: FlowResult) -> None:
        assert gate.wait(5)
        told.append(result.flow)

    publisher = Publisher(publish, lambda _f, _l: None, backlog=2)
    publisher.start()

    def deliver() -> None:
        for n in range(10):
            publisher.deliver(result_of(str(n)), 0)

    worker = threading.Thread(target=deliver, daemon=True)
    worker.start()
    assert eventually(lambda: publisher.waits >= 1)
    assert worker.is_alive()
    gate.set()
    worker.join(5)

    assert publisher.close(5) == 0
    assert told == [str(n) for n in range(10)]


def test_telemetry_that_breaks_does_not_end_the_publisher(caplog: pytest.LogCaptureFixture) -> None:
    """An exception in telemetry is logged without its text, and the next result is published."""
    told: list[str] = []

    def publish(result: FlowResult) -> None:
        if result.flow == "bad":
            raise RuntimeError("canary-secret")
        told.append(result.flow)

    publisher = Publisher(publish, lambda _f, _l: None)
    publisher.start()
    publisher.deliver(result_of("bad"), 0)
    publisher.deliver(result_of("good"), 0)

    assert publisher.close(5) == 0
    assert told == ["good"]
    assert "flow bad broke: RuntimeError" in caplog.text
    assert "canary" not in caplog.text


@pytest.mark.parametrize("backlog", [1, 100])
def test_closing_is_bounded(backlog: int) -> None:
    """Telemetry that hangs cannot hold up the end; what was left is counted, what comes after is dropped."""
    taken, gate = threading.Event(), threading.Event()

    def publish(_result: FlowResult) -> None:
        taken.set()
        assert gate.wait(10)

    publisher = Publisher(publish, lambda _f, _l: None, backlog)
    publisher.start()
    publisher.deliver(result_of("taken"), 0)
    assert taken.wait(5)
    publisher.deliver(result_of("left"), 0)
    began = time.monotonic()
    left = publisher.close(0.1)
    publisher.deliver(result_of("late"), 0)
    took = time.monotonic() - began
    gate.set()

    assert left == 1
    assert took < 4


# --- watch


def looks(watch: Watch, count: int = 3) -> list[bool]:
    return [watch.changed() for _ in range(count)]


def test_a_changed_file_is_told_once(tmp_path: Path) -> None:
    """A change of content is told once, after it held still for two looks."""
    file = tmp_path / "flows.yaml"
    file.write_text("a")
    watch = Watch([file])
    assert looks(watch) == [False] * 3
    file.write_text("b")
    assert not watch.settling
    assert looks(watch) == [False, True, False]


def test_a_file_that_is_still_being_written_is_waited_for(tmp_path: Path) -> None:
    """As long as each look finds something else, nothing is loaded."""
    file = tmp_path / "flows.yaml"
    file.write_text("")
    watch = Watch([file])
    for text in ("a", "ab", "abc"):
        file.write_text(text)
        assert not watch.changed()
        assert watch.settling
    assert looks(watch) == [True, False, False]


def test_a_touch_and_a_change_taken_back_are_no_changes(tmp_path: Path) -> None:
    """Only content counts."""
    file = tmp_path / "flows.yaml"
    file.write_text("a")
    watch = Watch([file])
    os.utime(file, (1, 1))
    assert looks(watch) == [False] * 3
    file.write_text("b")
    assert not watch.changed()
    file.write_text("a")
    assert looks(watch) == [False] * 3


def test_a_config_map_swap_is_seen(tmp_path: Path) -> None:
    """The symlink swap by which Kubernetes updates a ConfigMap is seen, though the files' own names stay."""
    for version in ("one", "two"):
        (tmp_path / f"..{version}").mkdir()
        (tmp_path / f"..{version}" / "flows.yaml").write_text(version)
    (tmp_path / "..data").symlink_to("..one")
    (tmp_path / "flows.yaml").symlink_to("..data/flows.yaml")
    watch, single = Watch([tmp_path]), Watch([tmp_path / "flows.yaml"])
    assert not watch.changed()
    (tmp_path / "..new").symlink_to("..two")
    (tmp_path / "..new").rename(tmp_path / "..data")

    assert looks(watch) == [False, True, False]
    assert looks(single) == [False, True, False]


def test_files_that_come_and_go_are_changes(tmp_path: Path) -> None:
    """In a directory a new, a renamed and a removed flow file is a change; other files are not."""
    watch = Watch([tmp_path])
    (tmp_path / "a.yaml").write_text("a")
    assert looks(watch) == [False, True, False]
    (tmp_path / "a.yaml").rename(tmp_path / "b.yml")
    assert looks(watch) == [False, True, False]
    (tmp_path / "b.yml").unlink()
    assert looks(watch) == [False, True, False]
    (tmp_path / "notes.txt").write_text("a")
    (tmp_path / ".hidden.yaml").write_text("a")
    assert looks(watch) == [False] * 3


def test_a_missing_file_is_a_state_like_any_other(tmp_path: Path) -> None:
    """A file that is gone, or a directory in its place, is a change, not an exception."""
    file = tmp_path / "flows.yaml"
    watch = Watch([file])
    assert not watch.changed()
    file.write_text("a")
    assert looks(watch) == [False, True, False]
    file.unlink()
    assert looks(watch) == [False, True, False]


# --- server


class Harness:
    """A server in this process, and what it told."""

    def __init__(self, **options: object) -> None:
        self.load: Callable[[], tuple[FlowPlan, ...]] = lambda: (plan("a", 0.05),)
        self.published: list[str] = []
        self.missed: list[tuple[str, str]] = []
        self.reloads: list[tuple[bool, str]] = []
        self.closed = 0
        self.run: Callable[[FlowPlan], FlowResult] = lambda p: result_of(p.name)
        self.signals: queue.SimpleQueue[int] = queue.SimpleQueue()
        self.work = Work(
            run=self._run,
            publish=lambda r: self.published.append(r.flow),
            missed=lambda flow, reason: self.missed.append((flow, reason)),
            lag=lambda _f, _l: None,
            load_plans=self._load,
            reloaded=lambda ok, text: self.reloads.append((ok, text)),
            close=self._close,
            faults=(FlowFileError,),
        )
        self.server = Server(self.work, ServeOptions(listen=("127.0.0.1", 0), **options))  # type: ignore[arg-type] # options only

    def _run(self, p: FlowPlan) -> FlowResult:
        return self.run(p)

    def _load(self) -> tuple[FlowPlan, ...]:
        return self.load()

    def _close(self) -> None:
        self.closed += 1

    def ask(self, path: str) -> tuple[int, dict[str, object]]:
        assert self.server.port is not None
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=5)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def attend_in_background(self) -> threading.Thread:
        thread = threading.Thread(target=self.server.attend, args=(self.signals,), daemon=True)
        thread.start()
        return thread


@pytest.fixture
def harness() -> Iterator[Harness]:
    harness = Harness(drain=2.0)
    yield harness
    if not harness.closed:
        harness.server.stop()


def test_serving_answers_both_questions(harness: Harness) -> None:
    """A serving process is alive and ready, and says how its schedule stands."""
    harness.server.start((plan("a", 0.05), plan("b", 0.05)))
    assert eventually(lambda: {"a", "b"} <= set(harness.published))
    alive, (status, detail) = harness.ask("/livez"), harness.ask("/readyz")

    assert alive[0] == 200
    assert alive[1]["status"] == "ok"
    assert status == 200
    assert (detail["status"], detail["flows"], detail["last_reload"]) == ("ready", 2, None)
    assert isinstance(detail["lag_p99"], float)
    assert detail["version"]


def test_a_heart_that_does_not_beat_is_told() -> None:
    """/livez says no when the heartbeat is older than allowed."""
    harness = Harness(stuck_after=0.0)
    harness.server.start((plan("a"),))
    assert harness.ask("/livez")[0] == 503
    harness.server.stop()


def test_a_reload_takes_the_new_plans(harness: Harness) -> None:
    """A reload runs the new flows and tells of it."""
    harness.server.start((plan("a", 0.05),))
    harness.load = lambda: (plan("b", 0.05), plan("c"))
    assert harness.server.reload()
    assert eventually(lambda: "b" in harness.published)
    status, detail = harness.ask("/readyz")

    assert harness.reloads == [(True, "flows scheduled: 2")]
    assert (status, detail["flows"]) == (200, 2)
    assert detail["last_reload"]["ok"] is True  # type: ignore[index] # JSON


def test_a_faulty_flow_file_leaves_the_old_plans(harness: Harness) -> None:
    """On a fault the old flows go on, /readyz stays 200 and shows the fault."""
    harness.server.start((plan("a", 0.05),))

    def load() -> tuple[FlowPlan, ...]:
        raise FlowFileError("flows.yaml:3: unknown key")

    harness.load = load
    assert not harness.server.reload()
    harness.published.clear()
    assert eventually(lambda: "a" in harness.published)
    status, detail = harness.ask("/readyz")

    assert harness.reloads == [(False, "flows.yaml:3: unknown key")]
    assert status == 200
    assert detail["last_reload"]["fault"] == "flows.yaml:3: unknown key"  # type: ignore[index] # JSON


def test_the_text_of_an_unforeseen_exception_is_not_shown(harness: Harness, caplog: pytest.LogCaptureFixture) -> None:
    """An exception that is not written for operators may hold a secret: only its kind is told."""
    harness.server.start((plan("a", 0.05),))

    def load() -> tuple[FlowPlan, ...]:
        raise KeyError("canary-secret")

    harness.load = load
    with caplog.at_level(logging.DEBUG):
        assert not harness.server.reload()

    assert harness.reloads == [(False, "the flow files could not be loaded (KeyError)")]
    assert "canary" not in caplog.text + json.dumps(harness.ask("/readyz")[1])


def test_plans_that_cannot_be_scheduled_leave_the_old_ones(harness: Harness) -> None:
    """New plans with two flows of one name are refused as a whole."""
    harness.server.start((plan("a", 0.05),))
    harness.load = lambda: (plan("b"), plan("b"))
    assert not harness.server.reload()
    assert harness.ask("/readyz")[1]["flows"] == 1


def test_a_changed_file_and_a_hangup_reload(tmp_path: Path) -> None:
    """The loop reloads when a watched file changed and on SIGHUP, and ends on SIGTERM."""
    file = tmp_path / "flows.yaml"
    file.write_text("a")
    harness = Harness(watch=(file,), watch_every=0.02)
    harness.server.start((plan("a"),))
    loop = harness.attend_in_background()
    file.write_text("b")
    assert eventually(lambda: len(harness.reloads) == 1)
    harness.signals.put(signal.SIGHUP)
    assert eventually(lambda: len(harness.reloads) == 2)
    harness.signals.put(signal.SIGTERM)
    loop.join(5)
    assert not loop.is_alive()
    harness.server.stop()


def test_stopping_lets_runs_end_and_publishes_them(harness: Harness) -> None:
    """While it drains the process is alive but not ready; what ran is published before telemetry is closed."""
    started, release = threading.Event(), threading.Event()
    seen: list[int] = []

    def run(p: FlowPlan) -> FlowResult:
        started.set()
        assert release.wait(5)
        return result_of(p.name)

    harness.run = run
    harness.server.start((plan("a", 0.05),))
    assert started.wait(5)
    stopper = threading.Thread(target=harness.server.stop)
    stopper.start()
    assert eventually(lambda: harness.ask("/readyz")[0] == 503)
    seen.append(harness.ask("/livez")[0])
    release.set()
    stopper.join(5)

    assert seen == [200]
    assert harness.published == ["a"]
    assert harness.closed == 1


def test_a_run_that_does_not_end_is_abandoned(caplog: pytest.LogCaptureFixture) -> None:
    """The drain has an end: what outlasts it is counted, and telemetry is closed all the same."""
    harness = Harness(drain=0.05)
    started, release = threading.Event(), threading.Event()

    def run(p: FlowPlan) -> FlowResult:
        started.set()
        assert release.wait(5)
        return result_of(p.name)

    harness.run = run
    harness.server.start((plan("a", 0.05),))
    assert started.wait(5)
    harness.server.stop()
    release.set()

    assert ("a", "abandoned") in harness.missed
    assert harness.published == []
    assert harness.closed == 1
    assert "1 flows still ran after 0.05 s" in caplog.text


def test_nothing_is_left_running_when_the_start_fails(harness: Harness) -> None:
    """Plans that cannot be scheduled, or an address in use, end the start before anything runs."""
    with pytest.raises(ValueError, match="two flows have the name a"):
        harness.server.start((plan("a"), plan("a")))
    with pytest.raises(ConnectionRefusedError):
        harness.ask("/livez")
    other = Harness()
    other.server.start(())
    assert other.server.port is not None
    taken = Server(other.work, ServeOptions(listen=("127.0.0.1", other.server.port)))
    with pytest.raises(ListenError, match="Address already in use"):
        taken.start((plan("a"),))
    other.server.stop()
    harness.closed = 1


# --- the process and its signals

PROGRAM = """
import signal, sys, threading, time
from otelprobe.plan import FlowPlan
from otelprobe.reasons import Outcome
from otelprobe.result import FlowResult
from otelprobe.serve import ServeOptions, Work, serve

behaviour, drain = sys.argv[1], float(sys.argv[2])

def tell(text):
    print(text, flush=True)

def run(plan):
    tell("running")
    if behaviour == "hang":
        threading.Event().wait(30)
    if behaviour == "worker":
        signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
    time.sleep(0.2)
    return FlowResult(
        flow=plan.name, provider=None, labels={}, location=None, run_id="", outcome=Outcome.PASS,
        trace_id=1, span_id=1, start_ns=0, end_ns=0, duration=0.0, steps=(),
    )

plans = (FlowPlan(name="a", provider=None, steps=(), deadline=20.0, every=0.5),)
work = Work(
    run=run, publish=lambda r: tell("published"), missed=lambda f, r: tell(f"missed {r}"), lag=lambda f, s: None,
    load_plans=lambda: plans, reloaded=lambda ok, text: tell(f"reloaded {ok}"), close=lambda: tell("closed"),
)
code = serve(plans, work, ServeOptions(drain=drain, watch_every=0))
tell(f"exit {code}")
sys.exit(code)
"""


class Process:
    """A serving process of its own."""

    def __init__(self, behaviour: str = "end", drain: float = 5.0) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, behaviour, str(drain)], stdout=subprocess.PIPE, text=True
        )
        self.lines: list[str] = []

    def until(self, line: str) -> None:
        assert self._process.stdout is not None
        for text in self._process.stdout:
            self.lines.append(text.strip())
            if self.lines[-1] == line:
                return
        raise AssertionError(f"{line} was not told: {self.lines}")

    def send(self, number: int) -> None:
        self._process.send_signal(number)

    def end(self) -> tuple[int, list[str]]:
        out, _ = self._process.communicate(timeout=10)
        return self._process.returncode, out.split("\n")[:-1]

    def kill(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()
        if self._process.stdout is not None:
            self._process.stdout.close()


@pytest.fixture
def start() -> Iterator[Callable[..., Process]]:
    processes: list[Process] = []

    def begin(behaviour: str = "end", drain: float = 5.0) -> Process:
        processes.append(Process(behaviour, drain))
        return processes[-1]

    yield begin
    for process in processes:
        process.kill()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_drains_and_closes(start: Callable[..., Process], number: int, code: int) -> None:
    """SIGTERM and SIGINT let the run end, publish it, close telemetry, and exit with 128 and the signal."""
    process = start()
    process.until("running")
    process.send(number)

    assert process.end() == (code, ["published", "closed", f"exit {code}"])


def test_a_second_signal_exits_at_once(start: Callable[..., Process]) -> None:
    """Whoever asks twice does not wait for the drain, nor for telemetry."""
    process = start("hang", 20.0)
    process.until("running")
    process.send(signal.SIGTERM)
    began = time.monotonic()
    process.send(signal.SIGINT)
    code, lines = process.end()

    assert code in {130, 143}
    assert "closed" not in lines
    assert time.monotonic() - began < 10


def test_a_signal_that_a_worker_receives_is_heeded_at_once(start: Callable[..., Process]) -> None:
    """Whichever thread the kernel gives a signal to, the process begins to stop at once."""
    process = start("worker")
    process.until("running")
    began = time.monotonic()

    assert process.end() == (143, ["published", "closed", "exit 143"])
    assert time.monotonic() - began < 10


def test_a_run_that_hangs_does_not_hold_up_the_exit(start: Callable[..., Process]) -> None:
    """After the drain the process exits, though a run still hangs."""
    process = start("hang", 0.1)
    process.until("running")
    process.send(signal.SIGTERM)
    code, lines = process.end()

    assert code == 143
    assert [line for line in lines if line != "missed overlap"] == ["missed abandoned", "closed", "exit 143"]


def test_a_hangup_reloads(start: Callable[..., Process]) -> None:
    """SIGHUP reloads and the process goes on."""
    process = start()
    process.until("running")
    process.send(signal.SIGHUP)
    process.until("reloaded True")
    process.until("running")
    process.send(signal.SIGTERM)

    assert process.end()[0] == 143


def test_the_garbage_collector_rests_once_start_up_is_over():
    """What start-up made is set aside, and the collector looks rarely, but it looks."""
    before = gc.get_threshold()
    try:
        settle()
        assert gc.isenabled()
        assert gc.get_freeze_count() > 0
        assert gc.get_threshold()[0] > before[0]
    finally:
        gc.unfreeze()
        gc.set_threshold(*before)
