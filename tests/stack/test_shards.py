"""Eight real processes share the flows: kills, a ninth shard and a smaller fleet, counted at the API that they call."""

import http.server
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from otelprobe.sharding import owner

FLOWS = [f"flow-{number:02}" for number in range(40)]
EVERY = 1.0
"""Seconds between two runs of a flow; the interval that nothing may be lost or doubled for longer than."""

PATIENCE = 300.0
"""Seconds after which what was waited for is given up: a loaded machine may take long, and an idle one does not wait."""

BOTH = 30.0
"""Seconds for which two shards may run the same flow: each looks at the number every 5 s, more seldom under load."""

STEADY = 2.5
"""Seconds for which a fleet has to be as it should, to be called settled: every flow is due twice in them."""


class Target:
    """Answers every call and notes which flow came when, and from which process."""

    def __init__(self) -> None:
        self.calls: list[tuple[float, str, str]] = []
        calls = self.calls

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                calls.append((time.monotonic(), self.path.lstrip("/"), self.headers.get("X-Shard", "")))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args: object) -> None:
                """Say nothing."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.request_queue_size = 64
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def between(self, start: float, end: float) -> list[tuple[float, str, str]]:
        """Give the calls of a time."""
        return [call for call in self.calls.copy() if start <= call[0] < end]

    def close(self) -> None:
        """Stop to answer."""
        self._server.shutdown()
        self._server.server_close()


class Fleet:
    """The pods of a StatefulSet as processes: index by environment, number of shards from one mounted file."""

    def __init__(self, folder: Path, target: Target, count: int) -> None:
        self._folder = folder
        self._flows = folder / "flows.yaml"
        steps = f'[{{step: call, url: "{target.url}/NAME", headers: {{X-Shard: "INDEX"}}}}]'
        self._text = "flows:\n" + "".join(
            f"  - {{name: {name}, every: 1s, deadline: 900ms, steps: {steps.replace('NAME', name)}}}\n"
            for name in FLOWS
        )
        self.count_file = folder / "count"
        self.count_file.write_text(str(count))
        self.pods: dict[int, subprocess.Popen[bytes]] = {}
        for index in range(count):
            self.start(index)

    def start(self, index: int) -> None:
        """Start a pod."""
        flows = self._folder / f"flows-{index}.yaml"  # the same flows; only the header tells who called
        flows.write_text(self._text.replace("INDEX", str(index)))
        environment = {
            "OTELPROBE_SHARD": f"{index}/@{self.count_file}",
            "OTELPROBE_STATE_DIR": str(self._folder / f"state-{index}"),
            "OTELPROBE_START_JITTER": "0s",
            "OTELPROBE_LISTEN": "none",
            "OTELPROBE_LOG_LEVEL": "warning",
        }
        with (self._folder / f"{index}.log").open("ab") as log:
            self.pods[index] = subprocess.Popen(
                [sys.executable, "-m", "otelprobe", "run", str(flows)], env=environment, stderr=log, cwd=self._folder
            )

    def kill(self, index: int) -> None:
        """Let a pod's node die."""
        self.pods[index].send_signal(signal.SIGKILL)
        self.pods.pop(index).wait()

    def scale(self, count: int) -> None:
        """Tell another number of shards, and start or end pods as the controller does."""
        part = self._folder / "part"
        part.write_text(str(count))
        part.rename(self.count_file)
        for index in range(len(self.pods), count):
            self.start(index)

    def end(self) -> None:
        """End every pod."""
        for pod in self.pods.values():
            pod.terminate()
        for pod in self.pods.values():
            pod.wait(120)


@pytest.fixture(scope="module")
def target() -> Iterator[Target]:
    """The API that all flows call."""
    running = Target()
    yield running
    running.close()


@pytest.fixture(scope="module")
def fleet(target: Target, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Eight pods, all of which have begun."""
    running = Fleet(tmp_path_factory.mktemp("fleet"), target, 8)
    _until(lambda: {name for _, name, _ in target.calls.copy()} == set(FLOWS), "first run of every flow")
    yield running
    running.end()


def _until(look: Callable[[], bool], what: str) -> None:
    ends = time.monotonic() + PATIENCE
    while not look():
        assert time.monotonic() < ends, f"within {PATIENCE:.0f} s there was no {what}"
        time.sleep(0.05)


def _settled(target: Target, count: int, flows: Iterable[str] = FLOWS) -> float:
    """Wait until each of these flows, and no other, was run by its owner among so many for a while; give when that began."""
    wanted = {flow: {str(owner(flow, count))} for flow in flows}
    began = time.monotonic()

    def look() -> bool:
        nonlocal began
        now = time.monotonic()
        calls = target.between(began, now)
        wrong = [at for at, flow, shard in calls if {shard} != wanted.get(flow)]
        if wrong:
            began = max(wrong) + 1e-6
        return not wrong and now - began >= STEADY and _owners(calls) == wanted

    _until(look, f"settled fleet of {count}")
    return began


def _owners(calls: list[tuple[float, str, str]]) -> dict[str, set[str]]:
    owners = defaultdict(set)
    for _, flow, shard in calls:
        owners[flow].add(shard)
    return owners


def test_each_flow_is_run_by_its_one_owner(fleet: Fleet, target: Target) -> None:
    """Eight processes that never speak to each other run every flow once an interval, each by the shard that plan names."""
    start = time.monotonic()

    def numbers() -> Counter[str]:
        return Counter(flow for _, flow, _ in target.between(start, time.monotonic()))

    _until(lambda: len(found := numbers()) == len(FLOWS) and min(found.values()) >= 4, "fourth run of every flow")
    end = time.monotonic()
    calls = target.between(start, end)
    assert _owners(calls) == {flow: {str(owner(flow, 8))} for flow in FLOWS}
    most = max(Counter(flow for _, flow, _ in calls).values())
    assert most <= (end - start) / EVERY + 2, "a flow ran more often than once an interval"
    assert len(fleet.pods) == 8


def test_a_killed_pod_takes_only_its_own_flows_with_it(fleet: Fleet, target: Target) -> None:
    """While a pod is dead its flows wait and nobody else's do; its replacement runs them again, and no other."""
    victim = max(range(8), key=lambda index: sum(owner(flow, 8) == index for flow in FLOWS))
    mine = {flow for flow in FLOWS if owner(flow, 8) == victim}
    fleet.kill(victim)
    _settled(target, 8, set(FLOWS) - mine)
    fleet.start(victim)
    _settled(target, 8)


def test_one_shard_more_moves_its_share_and_nothing_else(fleet: Fleet, target: Target) -> None:
    """With a ninth shard only the flows that it takes over move: those of the others stay and do not pause for it."""
    moving = {flow for flow in FLOWS if owner(flow, 9) == 8}
    assert 0 < len(moving) < len(FLOWS) / 4
    before = time.monotonic()
    fleet.scale(9)
    steady = _settled(target, 9)
    during = target.between(before, steady)
    unmoved = [call for call in during if call[1] not in moving]
    assert _owners(unmoved) == {flow: {str(owner(flow, 8))} for flow in FLOWS if flow not in moving}
    runs = Counter(flow for _, flow, _ in unmoved)
    assert min(runs.values()) >= statistics.median(runs.values()) / 2, "a flow that stays has paused"
    twice = [at for at, flow, shard in during if flow in moving and shard != "8"]
    new = [at for at, flow, shard in during if flow in moving and shard == "8"]
    assert max(twice, default=before) - min(new, default=steady) < BOTH


def test_a_smaller_fleet_leaves_no_flow_behind(fleet: Fleet, target: Target) -> None:
    """With fewer shards the surplus pods stop to run anything at once, before they are removed, and the others take over."""
    fleet.scale(6)
    _settled(target, 6)
    told = (fleet.count_file.parent / "7.log").read_text()
    assert "there is no shard 7 of 6 yet: no flow is run here" in told


def test_a_second_pod_with_the_same_index_refuses_to_start(fleet: Fleet, tmp_path: Path) -> None:
    """Two pods on one index and one volume are told apart at the start, with what to do."""
    folder = fleet.count_file.parent
    done = subprocess.run(
        [sys.executable, "-m", "otelprobe", "run", str(folder / "flows-0.yaml")],
        env={"OTELPROBE_SHARD": "0/6", "OTELPROBE_STATE_DIR": str(folder / "state-0"), "OTELPROBE_LISTEN": "none"},
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 2
    assert "shard 0 is run by another process with this state directory" in done.stderr
    assert "give each process an index of its own" in done.stderr


def test_a_wrong_number_of_shards_changes_nothing(fleet: Fleet, target: Target) -> None:
    """A file that holds no number is refused while running, and every flow goes on where it is."""
    _settled(target, 6)
    fleet.count_file.write_text("six\n")
    wrong = time.monotonic()
    logs = [fleet.count_file.parent / f"{index}.log" for index in fleet.pods]
    _until(
        lambda: all("does not hold a number of shards: write one number" in log.read_text() for log in logs), "refusal"
    )
    _settled(target, 6)
    assert _owners(target.between(wrong, time.monotonic())) == {flow: {str(owner(flow, 6))} for flow in FLOWS}
