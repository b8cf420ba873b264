"""The boards of an estate that has only one-shot runs: `otelprobe once` again and again, as a CronJob does, through the gateway.

No counter comes from a process that lives for seconds: the gateway counts its spans. Every query of every board is asked of the
real Prometheus; what stays empty is listed, with the reason why one-shot runs have nothing to show there.
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from dashboards.source.promql import FLOW, LOCATION, PROVIDER, TEAM
from dashboards.source.recording import BUDGET_30D, INTERVAL, PROVIDER_DOWN, UP
from dashboards.source.rules import Parameters
from otelprobe.demo import start_demo
from tests.dashboards.queries import prometheus_targets
from tests.dashboards.test_boards import BOARDS
from tests.stack.boards_kit import FAULTS, RANGE, asked, flow_file, rules, status_page
from tests.stack.harness.collector import Collector
from tests.stack.harness.kubernetes import POD_UID, KubernetesApi
from tests.stack.harness.probe import Probe
from tests.stack.harness.process import eventually
from tests.stack.harness.prometheus import Prometheus
from tests.stack.servers import told_in_one_line
from tests.telemetry.receiver import http_receiver

SCALE = Parameters(scale=1 / 20)
"""The rules run twenty times as fast: what looks back over five minutes sees the runs of fifteen seconds."""

FILLING = {**RANGE, "$__rate_interval": "30s"}

_CLASSIC = "the classic form of a histogram, where Prometheus holds the native one"
_EVENT = "a change is counted by what runs on; a one-shot run tells it as an event"
MAY_BE_EMPTY: Mapping[tuple[str, str, str], str] = {
    ("otelprobe-credentials", "Key changes", "A"): _EVENT,
    ("otelprobe-security", "Drift", "A"): _EVENT,
    ("otelprobe-flow", "Missed runs", "A"): "it is the scheduler outside that plans, and misses",
    ("otelprobe-flow", "Step times", "A"): _CLASSIC,
    ("otelprobe-flow", "Phases by step", "A"): "dns: every host here is an address",
    ("otelprobe-overview", "Silent flows", "A"): "no flow is silent",
}
"""Panels by board, title and query, and why they are empty."""

HEALTH, RUNS = "otelprobe-prober", "Runs a minute"
"""The board of the health of processes that run on, which there are none of, and what it shows all the same."""


@dataclass(frozen=True)
class Fed:
    """The store, with what it was fed between two moments."""

    prometheus: Prometheus
    begun: float
    ended: float


@pytest.fixture(scope="module")
def fed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fed]:
    """Give a store that holds one-shot runs with and without every fault, and nothing else."""
    folder = tmp_path_factory.mktemp("once")
    kubernetes = KubernetesApi(folder)
    begun = time.time()
    try:
        with (
            told_in_one_line(),
            status_page() as page,
            http_receiver() as inbox,
            Prometheus(folder, config=rules(folder, SCALE)) as prometheus,
        ):
            environment = {
                **kubernetes.environment,
                "OTELCOL_PROMETHEUS_OTLP": prometheus.otlp,
                "OTELCOL_REMOTE_WRITE": prometheus.remote_write,
                "OTELCOL_LOKI": inbox.endpoint,
                "OTELCOL_TRACES": inbox.endpoint,
                "OTELCOL_QUEUE_DIR": str(folder / "queue"),
                "OTELCOL_ONE_SHOT_INTERVAL": "1s",
            }
            with Collector(folder, "gateway.yaml", environment=environment) as gateway:
                _run(folder, gateway.http, page)
                for told in (f"{PROVIDER_DOWN} == 1", BUDGET_30D):  # the last that are recorded
                    eventually(partial(prometheus.query, told), 60, told)
            yield Fed(prometheus, begun, time.time())
    finally:
        kubernetes.stop()


def _run(folder: Path, endpoint: str, page: str) -> None:
    """Run all flows as a job would, healthy and with each fault; a key is rotated in between."""
    with start_demo(tls=True) as good, start_demo(tls=True) as bad:
        environment = {
            **good.environment,
            **{key.replace("OTELPROBE_DEMO_", "BAD_DEMO_"): value for key, value in bad.environment.items()},
            "OTELPROBE_STATE_DIR": str(folder / "state"),
            "OTEL_RESOURCE_ATTRIBUTES": f"deployment.environment.name=stack,k8s.pod.uid={POD_UID}",
        }
        probe = Probe(folder, flow_file(good, bad, page), environment, endpoint)
        for number, fault in enumerate(("", *FAULTS, FAULTS[-1])):
            bad.set_faults([fault] if fault else [])
            if number == 2:
                good.rotate(overlap=True)
            probe.once()


def test_every_query_of_every_board_returns_data(fed: Fed) -> None:
    """No panel is empty but those that are listed with a reason, and every one of those is; no query is found odd."""
    empty, odd = set(), []
    for uid, board in BOARDS.items():
        for panel, target in prometheus_targets(board):
            found, warnings = asked(fed.prometheus, fed.begun, fed.ended, target, FILLING)
            key = uid, panel["title"], target["refId"]
            if not found and (uid != HEALTH or panel["title"] == RUNS):
                empty.add(key)
            if warnings:
                odd.append((*key, warnings))
    assert sorted(empty - set(MAY_BE_EMPTY)) == []
    assert sorted(set(MAY_BE_EMPTY) - empty) == []
    assert not odd, odd


def test_every_flow_can_be_chosen(fed: Fed) -> None:
    """The boards' variables know the flows of one-shot runs, with their provider and location."""
    (location,) = {series[LOCATION] for series in fed.prometheus.series(UP)}
    known = {(series[FLOW], series[PROVIDER]) for series in fed.prometheus.series(INTERVAL)}
    assert known == {("shop", "demo"), ("broken", "bad"), ("revoked", "demo"), ("besides", "demo")}
    assert location


def test_alerts_reach_whom_they_should(fed: Fed) -> None:
    """What fails in one-shot runs is told of, to the team of the flow: flows and owners are known without a long-lived prober."""
    fired = {(s["alertname"], s.get(TEAM)) for s in fed.prometheus.series('ALERTS{alertstate=~"pending|firing"}')}
    assert {("BadCredentialAccepted", "demo"), ("AuthFlowFailureRateHigh", "demo")} <= fired, fired
