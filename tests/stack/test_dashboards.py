"""Every query of every board, on the real stores, fed by the real pipeline with every kind of fault, returns data.

otelprobe runs flows against two demos, one healthy and one whose faults change every few seconds, through the collector's
all-in-one file into Prometheus, Jaeger and a receiver of events. Prometheus runs the shipped rules, an hour of them in a minute.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from dashboards.source.frame import every_panel
from dashboards.source.promql import FLOW, name
from dashboards.source.recording import BUDGET_30D, LATENCY_STATE
from otelprobe.demo import start_demo
from otelprobe.demo.server import Demo
from otelprobe.telemetry import schema
from tests.dashboards.queries import prometheus_targets
from tests.dashboards.test_boards import BOARDS
from tests.stack.boards_kit import FAULTS, asked, flow_file, rules, status_page
from tests.stack.harness import cache
from tests.stack.harness.collector import Collector
from tests.stack.harness.jaeger import Jaeger
from tests.stack.harness.process import Process, eventually, session
from tests.stack.harness.prometheus import Prometheus
from tests.stack.servers import told_in_one_line
from tests.telemetry.receiver import Inbox, http_receiver

EACH = 3.0
"""Seconds that each fault lasts."""

_CLASSIC = "the classic form of a histogram, where Prometheus holds the native one"
MAY_BE_EMPTY: Mapping[tuple[str, str, str], str] = {
    ("otelprobe-flow", "Step times", "A"): _CLASSIC,
    ("otelprobe-prober", "Lag of all runs", "A"): _CLASSIC,
    ("otelprobe-overview", "Silent flows", "A"): "no flow is silent; promtool shows that one would be seen",
    ("otelprobe-flow", "Locations where it fails", "A"): "empty is none; seen while a fault is on",
    ("otelprobe-flow", "Phases by step", "A"): "dns: every host here is an address",
}


@dataclass
class Fed:
    """The stores, with what they were fed from `begun` on."""

    prometheus: Prometheus
    jaeger: Jaeger
    inbox: Inbox
    begun: float
    ended: float
    file: Path


def await_series(prometheus: Prometheus, series: str) -> None:
    """Wait until something is recorded under a name."""
    eventually(lambda: prometheus.query(series), 60, series)


def feed(folder: Path, good: Demo, bad: Demo, endpoint: str, page: str, prometheus: Prometheus) -> None:
    """Run otelprobe while the second demo goes through its faults, the first rotates its key, and the file is reloaded."""
    file = folder / "flows.yaml"
    text = yaml.safe_dump(flow_file(good, bad, page), sort_keys=False)
    file.write_text(text, encoding="utf-8")
    environment = {
        **good.environment,
        **{key.replace("OTELPROBE_DEMO_", "BAD_DEMO_"): value for key, value in bad.environment.items()},
        "PYTHONPATH": str(cache.REPOSITORY),
        "OTELPROBE_LOCATION": "here",
        "OTELPROBE_STATE_DIR": str(folder / "state"),
        "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=stack",
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "OTEL_METRIC_EXPORT_INTERVAL": "1000",
    }
    command = [sys.executable, "-m", "otelprobe", "run", str(file), "--listen", "none", "--start-jitter", "0s"]
    with Process("otelprobe", command, log=folder / "otelprobe.log", environment=environment) as process:
        for number, fault in enumerate(("", *FAULTS)):
            bad.set_faults([fault] if fault else [])
            if number == 2:
                good.rotate(overlap=True)
            if number in {3, 5}:
                file.write_text(text if number == 5 else text + "\nunknown: 1\n", encoding="utf-8")
                os.kill(process._process.pid, signal.SIGHUP)
            time.sleep(EACH)
            if fault == "api-slow":
                await_series(prometheus, LATENCY_STATE)
        await_series(prometheus, BUDGET_30D)  # the last that is recorded
        time.sleep(EACH)


@pytest.fixture(scope="module")
def fed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fed]:
    """Give stores that hold a minute of everything."""
    folder = tmp_path_factory.mktemp("dashboards")
    begun = time.time()
    with (
        told_in_one_line(),
        status_page() as page,
        http_receiver() as inbox,
        Jaeger(folder) as jaeger,
        Prometheus(folder, config=rules(folder)) as prometheus,
    ):
        environment = {
            "OTELCOL_TRACES": jaeger.otlp,
            "OTELCOL_PROMETHEUS_OTLP": prometheus.otlp,
            "OTELCOL_LOKI": inbox.endpoint,
            "OTELCOL_EVENTS_FILE": str(folder / "events.jsonl"),
        }
        with (
            Collector(folder, "all-in-one.yaml", environment=environment) as collector,
            start_demo(tls=True) as good,
            start_demo(tls=True) as bad,
        ):
            feed(folder, good, bad, collector.http, page, prometheus)
        yield Fed(prometheus, jaeger, inbox, begun, time.time(), folder / "flows.yaml")


def test_every_query_of_every_board_returns_data(fed: Fed) -> None:
    """No panel is empty, but for those that are listed with a reason; Prometheus finds nothing odd in any query."""
    empty, odd = [], []
    for uid, board in BOARDS.items():
        for panel, target in prometheus_targets(board):
            found, warnings = asked(fed.prometheus, fed.begun, fed.ended, target)
            key = uid, panel["title"], target["refId"]
            if not found and key not in MAY_BE_EMPTY:
                empty.append(key)
            if warnings:
                odd.append((*key, warnings))
    assert not empty, empty
    assert not odd, odd


def test_every_variable_has_values(fed: Fed) -> None:
    """Environment, provider, flow and location can be chosen."""
    for query in ("otelprobe:flow_interval_seconds", "otelprobe:flow_up"):
        assert fed.prometheus.series(query)
    flows = {series[FLOW] for series in fed.prometheus.series("otelprobe:flow_interval_seconds")}
    assert flows == {"shop", "broken", "revoked", "besides"}
    assert {series["deployment_environment_name"] for series in fed.prometheus.series("otelprobe:flow_up")} == {"stack"}


def test_every_rule_is_evaluated_without_fault(fed: Fed) -> None:
    """Prometheus evaluates every recorded series and every alert, and some alerts have fired."""
    with session() as http:
        told = http.get(f"{fed.prometheus.url}/api/v1/rules", timeout=30).json()["data"]["groups"]
    rules_ = [rule for group in told for rule in group["rules"]]
    assert [(rule["name"], rule["lastError"]) for rule in rules_ if rule["health"] == "err"] == []
    fired = {series["alertname"] for series in fed.prometheus.series('ALERTS{alertstate="firing"}')}
    assert {"OtelprobeWatchdog", "AuthTokenEndpointDown", "BadCredentialAccepted"} <= fired


def test_an_exemplar_leads_to_a_trace(fed: Fed) -> None:
    """The dots of the panels are traces that Jaeger has."""
    found = fed.prometheus.exemplars(name(schema.STEP_DURATION), fed.begun, fed.ended)
    assert found
    assert eventually(lambda: fed.jaeger.spans(found[-1]["labels"]["trace_id"]), 10, "trace of an exemplar")


def test_jaeger_finds_the_failed_runs(fed: Fed) -> None:
    """The search that the panel asks, with the flow filled in, finds traces."""
    panel = next(p for p in every_panel(BOARDS["otelprobe-flow"]) if p["title"] == "Last failed runs (Jaeger)")
    (target,) = panel["targets"]
    pairs = [pair.split("=", 1) for pair in target["tags"].replace("${flow:raw}", "broken").split()]
    tags = json.dumps(dict(pairs))
    with session() as http:
        parameters = {"service": target["service"], "tags": tags, "limit": target["limit"], "lookback": "1h"}
        found = http.get(f"{fed.jaeger.url}/api/traces", params=parameters, timeout=30).json()["data"]
    assert found


def test_the_events_that_the_panels_filter_have_arrived(fed: Fed) -> None:
    """Every attribute by which a panel of events filters is on some event that arrived, in the form that Loki gives it."""
    seen = {
        schema.prometheus_label(pair.key) for record in fed.inbox.records for pair in record.attributes
    }  # fmt: skip
    wanted = {schema.prometheus_label(a) for a in (schema.FLOW, schema.FLOW_OUTCOME, schema.DETAIL, schema.CASE)}
    assert wanted <= seen


def test_there_are_as_many_series_as_the_plan_says(fed: Fed) -> None:
    """`plan --cardinality` tells the most series that a healthy flow has in Prometheus: here no DNS is asked (7), and what
    belongs to the provider or the process (8) has no flow."""
    command = [sys.executable, "-m", "otelprobe", "plan", "--cardinality", "--flow", "shop", str(fed.file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    (planned,) = (int(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("shop"))
    found = fed.prometheus.query(f'count({{{FLOW}="shop", __name__!~"otelprobe:.*|ALERTS.*"}})')
    assert planned - 20 <= found[0][1] <= planned
