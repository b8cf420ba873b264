"""A prober as a pod: what must not restart it, what must not replace its flows, and what it refuses to start with."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Answer, Server
from tests.stack.harness.ports import free_ports
from tests.stack.pod import Mounted
from tests.telemetry.receiver import Inbox, attributes, http_receiver

FLOWS = "flows:\n  - {{name: a, every: 1s, deadline: 1s, steps: [{{step: call, url: '{url}/a'}}]}}\n"


class Pod:
    """A running prober whose flows are mounted, and whose health is asked as the kubelet does."""

    def __init__(self, folder: Path, flows: str, **settings: str) -> None:
        self.volume = Mounted(folder / "flows", {"flows.yaml": flows})
        (port,) = free_ports(1)
        self._health = f"http://127.0.0.1:{port}"
        environment = {"OTELPROBE_LISTEN": f"127.0.0.1:{port}", "OTELPROBE_START_JITTER": "0s", **settings}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "otelprobe", "run", str(folder / "flows")],
            env=environment, cwd=folder, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def asked(self, path: str) -> tuple[int, dict[str, Any]]:
        """Give status and body; 0 if nobody answers yet."""
        try:
            with urllib.request.urlopen(f"{self._health}{path}", timeout=10) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as refused:
            return refused.code, json.loads(refused.read())
        except OSError:
            return 0, {}

    def until(self, look: Callable[[dict[str, Any]], object], what: str) -> dict[str, Any]:
        """Wait until /readyz says so; it has to stay alive all the while."""
        ends = time.monotonic() + 120
        while not look(told := self.asked("/readyz")[1]):
            assert self.process.poll() is None, "the prober has ended"
            assert self.asked("/livez")[0] in ({200} if told else {0, 200})
            assert time.monotonic() < ends, f"no {what}: {told}"
            time.sleep(0.05)
        return told


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Pod]]:
    """Give what starts a pod."""
    pods: list[Pod] = []

    def started(flows: str, **settings: str) -> Pod:
        pods.append(Pod(tmp_path, flows, **settings))
        return pods[-1]

    yield started
    for pod in pods:
        pod.process.terminate()
        pod.process.wait(120)


def test_nobody_elses_outage_restarts_it(start: Callable[..., Pod]) -> None:
    """With its target and its collector down it is alive and ready, run after run."""
    target, collector = free_ports(2)
    pod = start(
        FLOWS.format(url=f"http://127.0.0.1:{target}"),
        OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{collector}",
        OTEL_METRIC_EXPORT_INTERVAL="200",
    )
    pod.until(lambda told: told.get("runs", 0) >= 4, "fourth run")
    assert pod.asked("/livez")[0] == pod.asked("/readyz")[0] == 200


def events(inbox: Inbox) -> list[dict[str, Any]]:
    """Give the reloads that were told as events."""
    return [attributes(r) for r in inbox.records if r.event_name == "otelprobe.config.reloaded"]


def test_a_refused_reload_is_told_everywhere(start: Callable[..., Pod], server: Server) -> None:
    """A mounted file with a fault leaves the flows as they are, told by /readyz, an event and a metric; a good one is taken."""
    server.on("/a", Answer())
    good = FLOWS.format(url=server.url)
    with http_receiver() as inbox:
        pod = start(good, OTEL_EXPORTER_OTLP_ENDPOINT=inbox.endpoint, OTEL_METRIC_EXPORT_INTERVAL="200")
        pod.until(lambda told: told.get("runs"), "run")
        pod.volume.update({"flows.yaml": good.replace("step: call", "step: cal")})
        os.kill(pod.process.pid, signal.SIGHUP)
        refused = pod.until(lambda told: told["last_reload"] and not told["last_reload"]["ok"], "refused reload")
        assert refused["flows"] == 1
        fault = refused["last_reload"]["fault"]
        assert "flows.yaml:2: " in fault
        assert "did you mean call?" in fault
        pod.until(lambda told: told["runs"] > refused["runs"] + 1, "run after that")
        pod.volume.update({"flows.yaml": good.replace("name: a", "name: renamed")})
        os.kill(pod.process.pid, signal.SIGHUP)
        pod.until(lambda told: told["last_reload"]["ok"], "reload")
        inbox.wait(lambda: len(events(inbox)) >= 2, 60)
        counted = {"ok", "refused"}
        inbox.wait(lambda: counted <= {
            attributes(p)["otelprobe.config.outcome"] for p in inbox.points("otelprobe.config.reloads") if p.as_int
        }, 60)  # fmt: skip
        first, *_, last = events(inbox)
        pod.process.terminate()
        pod.process.wait(120)
    assert first == {"otelprobe.config.outcome": "refused", "otelprobe.detail": fault}
    assert last["otelprobe.config.outcome"] == "ok"
    refusal = next(r for r in inbox.records if r.event_name == "otelprobe.config.reloaded")
    assert (refusal.severity_number, refusal.trace_id, refusal.span_id) == (17, b"", b"")


@pytest.mark.parametrize(
    ("shard", "told"),
    [
        ("3/3", "--shard: no such shard: they are counted from 0, so the last of three is 2/3"),
        ("0/0", "--shard: no such shard: they are counted from 0, so the last of three is 2/3"),
        ("one", "--shard: not a shard: write index/count, the first is 0, as in 0/3, or index/@FILE"),
        ("-1/3", "--shard: not a shard: write index/count, the first is 0, as in 0/3, or index/@FILE"),
        ("0/@none", "--shard: none cannot be read: No such file or directory; it has to hold the number of shards"),
        ("0/@empty", "--shard: empty does not hold a number of shards: write one number, 1 to 99999"),
    ],
)
def test_a_wrong_shard_refuses_to_start(tmp_path: Path, shard: str, told: str) -> None:
    """Rather than to run all flows, or none, unseen."""
    (tmp_path / "empty").touch()
    (tmp_path / "flows.yaml").write_text(FLOWS.format(url="http://127.0.0.1:9"), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "otelprobe", "run", "--listen", "none", f"--shard={shard}", "flows.yaml"],
        env={}, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (2, f"{told}\n1 fault\n")
