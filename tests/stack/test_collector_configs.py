"""Each file of collector-config is run unchanged by the official collector and carries real data to real stores."""

import functools
import os
import secrets
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from otelprobe.demo.server import Demo
from otelprobe.telemetry import schema
from otelprobe.telemetry.schema import prometheus_label, prometheus_name
from tests.stack.harness import collector
from tests.stack.harness.collector import Collector
from tests.stack.harness.jaeger import Jaeger
from tests.stack.harness.kubernetes import CRONJOB, NAMESPACE, POD, POD_UID, KubernetesApi
from tests.stack.harness.otlp import send_event, send_span
from tests.stack.harness.ports import free_ports
from tests.stack.harness.probe import LOCATION
from tests.stack.harness.process import Process, eventually
from tests.stack.harness.prometheus import CONFIG, MODULE, Prometheus
from tests.stack.harness.vendor import Vendor
from tests.stack.servers import MakeProbe, StartCollector, told_in_one_line
from tests.stack.telemetry_checks import (
    DERIVED,
    NOT_IN_THE_DEMO,
    ONE_SHOT_GAUGES,
    await_metric,
    await_whole_trace,
)
from tests.telemetry.receiver import Inbox

_OTHERS = {"compose.yaml", "loki.yaml", "grafana-datasources.yaml"}
FILES = sorted(path.name for path in collector.CONFIGS.glob("*.yaml") if path.name not in _OTHERS)
_RUNS = 20
_ONE_SHOT = {"OTEL_RESOURCE_ATTRIBUTES": f"k8s.pod.uid={POD_UID}"}


@pytest.mark.parametrize("file", FILES)
def test_the_collector_takes_every_file(file: str, tmp_path: Path) -> None:
    """`otelcol validate` has nothing to say against a shipped file as it is, apart from where its queue may be."""
    with told_in_one_line():
        said = collector.validate(collector.CONFIGS / file, {"OTELCOL_QUEUE_DIR": str(tmp_path)})
    assert said == ""


@pytest.fixture
def start_gateway(
    start_collector: StartCollector,
    kubernetes: KubernetesApi,
    prometheus: Prometheus,
    jaeger: Jaeger,
    events: Inbox,
    tmp_path: Path,
) -> StartCollector:
    """Give what starts gateway.yaml in front of Prometheus, Jaeger and a receiver of events."""
    environment = {
        **kubernetes.environment,
        "OTELCOL_TRACES": jaeger.otlp,
        "OTELCOL_PROMETHEUS_OTLP": prometheus.otlp,
        "OTELCOL_REMOTE_WRITE": prometheus.remote_write,
        "OTELCOL_LOKI": events.endpoint,
        "OTELCOL_QUEUE_DIR": str(tmp_path / "queue"),
        "OTELCOL_ONE_SHOT_INTERVAL": "1s",
    }

    def start(**more: str) -> Collector:
        return start_collector("gateway.yaml", name=f"gateway-{time.monotonic_ns()}", environment=environment | more)

    return start


@pytest.mark.parametrize("exporter", ["otlphttp/prometheus", "prometheusremotewrite"])
def test_the_gateway_brings_every_metric_of_a_long_lived_prober(
    exporter: str, start_gateway: StartCollector, prometheus: Prometheus, make_probe: MakeProbe, demo: Demo
) -> None:
    """Prometheus has every metric of the schema by its final name, with the schema's labels and no others."""
    gateway = start_gateway(OTELCOL_METRICS_EXPORTER=exporter)
    with make_probe(gateway.http).run():
        await_every_metric(prometheus, demo)


def await_every_metric(prometheus: Prometheus, demo: Demo) -> None:
    """Wait until all that the demo's flow can show is there, with the labels that only failures have."""
    await_metric(prometheus, schema.FLOW_UP, wanted=schema.FLOW_UP.all_attributes)
    for fault in ("wrong-audience", "token-down"):
        demo.set_faults([fault])
        wait_for_reason(prometheus, fault)
    for metric in schema.METRICS:
        if metric not in NOT_IN_THE_DEMO:
            await_metric(prometheus, metric, wanted=metric.all_attributes)


def wait_for_reason(prometheus: Prometheus, fault: str) -> None:
    """Wait until the runs of a fault are counted."""
    reason = {"wrong-audience": "audience_mismatch", "token-down": "idp_http_5xx"}[fault]
    expression = f'{prometheus_name(schema.FLOW_RUNS)}{{{prometheus_label(schema.ERROR_TYPE)}="{reason}"}}'
    eventually(lambda: prometheus.query(expression), 30, expression)


@pytest.mark.parametrize(
    ("exporter", "seen"),
    [
        ("otlphttp/prometheus", _RUNS),
        ("prometheusremotewrite", _RUNS - 1),  # it carries no start time, so that a histogram begins with its first run
    ],
)
def test_one_shot_runs_count_as_those_of_a_long_lived_prober(
    exporter: str,
    seen: int,
    start_gateway: StartCollector,
    prometheus: Prometheus,
    jaeger: Jaeger,
    events: Inbox,
    make_probe: MakeProbe,
) -> None:
    """Twenty runs as of a CronJob: increase() says twenty, under the names and labels of the long-lived mode."""
    begun = time.time()
    probe = make_probe(start_gateway(OTELCOL_METRICS_EXPORTER=exporter).http)
    flows = [probe.once(**_ONE_SHOT) for _ in range(_RUNS)]
    for metric in ONE_SHOT_GAUGES:
        await_metric(prometheus, metric, wanted=metric.owner)
    for metric, span in DERIVED.items():
        if metric is not schema.VALIDATION_FAILURES:  # none failed
            wanted = set(metric.all_attributes) & set(span) - _ONLY_ON_FAILURES
            await_metric(prometheus, metric, wanted=wanted)
    of_flow = f'{prometheus_label(schema.FLOW)}="{probe.flow}"'
    of_step = f'{of_flow}, {prometheus_label(schema.STEP)}="token"'
    await_growth(prometheus, f"{prometheus_name(schema.FLOW_RUNS)}{{{of_flow}}}", _RUNS)
    await_growth(prometheus, f"{prometheus_name(schema.STEP_RUNS)}{{{of_step}}}", _RUNS)
    for metric in (schema.FLOW_DURATION, schema.AUTH_TIME, schema.API_TIME):
        await_growth(prometheus, f"{prometheus_name(metric)}_count{{{of_flow}}}", seen)
    await_growth(prometheus, f"{prometheus_name(schema.STEP_DURATION)}_count{{{of_step}}}", seen)
    await_whole_trace(jaeger, flows[-1])
    assert_exemplar_leads_to(prometheus, {flow["trace_id"] for flow in flows}, begun)
    completed = schema.FLOW_COMPLETED.name
    events.wait(lambda: sum(record.event_name == completed for record in events.records) == _RUNS)


_ONLY_ON_FAILURES = {schema.ERROR_TYPE, schema.BLAME, schema.COUNTS}


def await_growth(prometheus: Prometheus, series: str, seen: int) -> None:
    """Wait until the samples differ by what was seen of the runs, and increase() over the last hour says so.

    increase() guesses beyond the first and the last sample, which could hide a lost run: hence the difference. Where the
    first run is not seen, the guess may or may not make up for it: then nothing is asked of it.
    """
    wanted = {f"sum(max_over_time({series}[1h])) - sum(min_over_time({series}[1h]))": seen}
    if seen == _RUNS:
        wanted[f"round(sum(increase({series}[1h])))"] = _RUNS
    for expression, number in wanted.items():

        def look(asked: str = expression, awaited: int = number) -> bool:
            found = prometheus.query(asked)
            return bool(found) and found[0][1] == awaited

        eventually(look, 20, f"{expression} of {number}; it is {prometheus.query(expression)}")


def assert_exemplar_leads_to(prometheus: Prometheus, traces: set[str], begun: float) -> None:
    """A histogram made from spans has an exemplar whose trace is one of these."""
    found = prometheus.exemplars(f"{prometheus_name(schema.FLOW_DURATION)}_bucket", begun, time.time() + 60)
    assert found
    assert {exemplar["labels"]["trace_id"] for exemplar in found} <= traces


def test_the_gateway_names_the_pod(start_gateway: StartCollector, jaeger: Jaeger, make_probe: MakeProbe) -> None:
    """A span whose resource has the pod's uid gets the names of pod, namespace and CronJob."""
    flow = make_probe(start_gateway().http).once(**_ONE_SHOT)
    spans = eventually(lambda: jaeger.spans(flow["trace_id"]), 15, "trace")
    wanted = {"k8s.pod.name": POD, "k8s.namespace.name": NAMESPACE, "k8s.cronjob.name": CRONJOB}
    assert wanted.items() <= spans[0]["resource"].items()


def test_the_sidecar_drains_before_it_stops(
    start_gateway: StartCollector,
    start_collector: StartCollector,
    prometheus: Prometheus,
    jaeger: Jaeger,
    events: Inbox,
    make_probe: MakeProbe,
) -> None:
    """A sidecar that is told to stop right after a run has passed everything on: trace, gauges and events."""
    gateway = start_gateway()
    sidecar = start_collector("sidecar.yaml", name="sidecar", environment={"OTELCOL_GATEWAY": gateway.grpc})
    flow = make_probe(sidecar.http).once(**_ONE_SHOT)
    assert sidecar.stop() == 0
    await_whole_trace(jaeger, flow)
    await_metric(prometheus, schema.FLOW_UP, wanted=schema.FLOW_UP.all_attributes)
    events.wait(lambda: any(r.event_name == schema.FLOW_COMPLETED.name for r in events.records))


def test_the_gateway_forgets_nothing_when_it_dies_while_a_store_is_away(
    start_gateway: StartCollector, events: Inbox, make_probe: MakeProbe
) -> None:
    """What a store did not take is on disk: after a crash and a restart every event arrives."""
    events.mode = "503"
    first = start_gateway()
    flow = make_probe(first.http).once(**_ONE_SHOT)
    events.wait(lambda: bool(events.bodies), 15)
    first.kill()
    events.mode = "ok"
    start_gateway()
    events.wait(lambda: any(r.trace_id.hex() == flow["trace_id"] for r in events.records), 30)
    names = [r.event_name for r in events.records]
    assert names.count(schema.FLOW_COMPLETED.name) >= 1
    assert {schema.AUDIT_ISSUED.name, schema.AUDIT_VALIDATED.name} <= set(names)


def test_tail_sampling_keeps_the_failed_and_drops_the_healthy(
    start_collector: StartCollector, jaeger: Jaeger, make_probe: MakeProbe, demo: Demo
) -> None:
    """Behind the load balancer, with no share for the healthy, only the trace of the failed run reaches the store."""
    settings = {"OTELCOL_TRACES": jaeger.otlp, "OTELCOL_DECISION_WAIT": "1s", "OTELCOL_KEEP_PERCENT": "0",
                "OTELCOL_SLOW_MS": "60000"}  # fmt: skip
    sampler = start_collector("tail-sampling.yaml", name="sampler", environment=settings)
    host, port = sampler.grpc.split(":")
    balancer = start_collector(
        "load-balancer.yaml",
        name="balancer",
        environment={"OTELCOL_SAMPLERS": host, "OTELCOL_SAMPLERS_PORT": port},
    )
    traces_only = {"OTEL_METRICS_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none"}
    probe = make_probe(balancer.http)
    healthy = probe.once(**traces_only)
    demo.set_faults(["wrong-audience"])
    failed = probe.once(**traces_only)
    assert (healthy["outcome"], failed["outcome"]) == ("pass", "fail")
    await_whole_trace(jaeger, failed)
    assert jaeger.spans(healthy["trace_id"]) == []


def test_prometheus_can_scrape(
    start_collector: StartCollector, jaeger: Jaeger, events: Inbox, make_probe: MakeProbe, demo: Demo, tmp_path: Path
) -> None:
    """A Prometheus that fetches has every metric under the same name, the same labels, and exemplars."""
    (port,) = free_ports(1)
    address = f"127.0.0.1:{port}"
    environment = {"OTELCOL_SCRAPE": address, "OTELCOL_TRACES": jaeger.otlp, "OTELCOL_LOKI": events.endpoint}
    running = start_collector("prometheus-scrape.yaml", environment=environment)
    config = tmp_path / "scrape.yml"
    job = {"job_name": "collector", "honor_labels": True, "static_configs": [{"targets": [address]}]}
    config.write_text(yaml.safe_dump({"global": {"scrape_interval": "1s"}, "scrape_configs": [job]}), encoding="utf-8")
    with told_in_one_line():
        prometheus = Prometheus(tmp_path, config=config)
    with prometheus, make_probe(running.http).run():
        begun = time.time()
        await_every_metric(prometheus, demo)
        assert prometheus.exemplars(f"{prometheus_name(schema.FLOW_DURATION)}_bucket", begun, time.time() + 60)
    events.wait(lambda: any(r.event_name == schema.FLOW_FAILED.name for r in events.records))


@pytest.fixture
def vendor_settings(tmp_path: Path) -> dict[str, str]:
    """Give the settings of vendor-otlp.yaml that both ways of saying who you are need."""
    key = tmp_path / "api-key"
    key.write_text("key-of-the-vendor\n", encoding="utf-8")
    return {"OTELCOL_QUEUE_DIR": str(tmp_path / "queue"), "OTELCOL_VENDOR_API_KEY_FILE": str(key)}


def tls_settings(vendor: Vendor) -> dict[str, str]:
    """Give the settings by which the collector finds and trusts the vendor, and shows its own certificate."""
    return {
        "OTELCOL_VENDOR": vendor.url,
        "OTELCOL_VENDOR_CA_FILE": str(vendor.files.ca),
        "OTELCOL_VENDOR_CERT_FILE": str(vendor.files.certificate),
        "OTELCOL_VENDOR_KEY_FILE": str(vendor.files.key),
    }


def await_all_signals(vendor: Vendor, trace_id: str) -> None:
    """Wait until the vendor has the trace, metrics and events, all by a caller that it knows."""
    inbox = vendor.inbox
    inbox.wait(lambda: any(span.trace_id.hex() == trace_id for span in inbox.spans), 20)
    inbox.wait(lambda: bool(inbox.points(schema.FLOW_UP.name)), 20)
    inbox.wait(lambda: any(r.event_name == schema.FLOW_COMPLETED.name for r in inbox.records), 20)
    assert vendor.refused == 0


@pytest.mark.parametrize(
    ("scheme", "header"), [("", "key-of-the-vendor"), ("Api-Token", "Api-Token key-of-the-vendor")]
)
def test_a_vendor_that_wants_a_key_gets_everything(
    scheme: str,
    header: str,
    start_collector: StartCollector,
    make_probe: MakeProbe,
    vendor_settings: dict[str, str],
    tmp_path: Path,
) -> None:
    """All signals arrive over mutual TLS with the key of the file in the header, bare or behind a word."""
    vendor = Vendor(tmp_path, lambda authorization: authorization == header)
    settings = vendor_settings | tls_settings(vendor) | {"OTELCOL_VENDOR_SCHEME": scheme}
    try:
        running = start_collector("vendor-otlp.yaml", environment=settings)
        await_all_signals(vendor, make_probe(running.http).once()["trace_id"])
    finally:
        vendor.stop()


def test_a_vendor_that_wants_oauth_gets_everything(
    start_collector: StartCollector, make_probe: MakeProbe, demo: Demo, vendor_settings: dict[str, str], tmp_path: Path
) -> None:
    """All signals arrive with a token that the collector fetched by client credentials from a real provider."""
    secret = tmp_path / "client-secret"
    secret.write_text(demo.client_secret, encoding="utf-8")
    oauth = {
        "OTELCOL_VENDOR_EXPORTER": "otlphttp/oauth",
        "OTELCOL_VENDOR_TOKEN_URL": f"{demo.issuer}/token",
        "OTELCOL_VENDOR_CLIENT_ID": demo.client_id,
        "OTELCOL_VENDOR_CLIENT_SECRET_FILE": str(secret),
        "OTELCOL_VENDOR_SCOPE": "orders:read",
        "OTELCOL_VENDOR_TOKEN_CA_FILE": str(demo.ca_file),
    }
    vendor = Vendor(tmp_path, lambda authorization: authorization.startswith("Bearer eyJ"))
    try:
        running = start_collector("vendor-otlp.yaml", environment=vendor_settings | tls_settings(vendor) | oauth)
        await_all_signals(vendor, make_probe(running.http).once()["trace_id"])
    finally:
        vendor.stop()


def test_all_in_one_feeds_every_store_and_the_terminal(
    start_collector: StartCollector, prometheus: Prometheus, jaeger: Jaeger, events: Inbox, tmp_path: Path
) -> None:
    """The demo as compose.yaml starts it: trace in Jaeger, metrics in Prometheus, events in Loki's place and in a file."""
    file = tmp_path / "events.jsonl"
    environment = {
        "OTELCOL_TRACES": jaeger.otlp,
        "OTELCOL_PROMETHEUS_OTLP": prometheus.otlp,
        "OTELCOL_LOKI": events.endpoint,
        "OTELCOL_EVENTS_FILE": str(file),
    }
    running = start_collector("all-in-one.yaml", environment=environment)
    settings = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "OTELPROBE_LISTEN": "none",
        "OTELPROBE_START_JITTER": "0s",
        "OTELPROBE_LOCATION": LOCATION,
        "OTEL_EXPORTER_OTLP_ENDPOINT": running.http,
        "OTEL_METRIC_EXPORT_INTERVAL": "1000",
    }
    script = collector.CONFIGS / "demo.sh"
    with Process("demo.sh", ["sh", script], log=tmp_path / "demo.log", environment=settings):
        await_metric(prometheus, schema.FLOW_UP, wanted=schema.FLOW_UP.all_attributes)
        await_metric(prometheus, schema.STEP_DURATION, wanted=schema.STEP_DURATION.all_attributes)
        events.wait(lambda: any(r.event_name == schema.FLOW_COMPLETED.name for r in events.records))
    trace_id = next(r.trace_id.hex() for r in events.records if r.event_name == schema.FLOW_COMPLETED.name)
    assert eventually(lambda: jaeger.spans(trace_id), 10, "trace of the event")
    eventually(lambda: file.exists() and trace_id in file.read_text(encoding="utf-8"), 10, "event in the file")
    assert '"otelcol.signal": "traces"' in running.log.read_text(encoding="utf-8")


_JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJjYW5hcnkifQ.c2lnbmF0dXJlLWNhbmFyeQ"
_LEAKS = {
    "http.request.header.authorization": f"Bearer {_JWT}",
    "authorization": "Basic Y2FuYXJ5OmNhbmFyeQ==",
    "db.password": "password-canary",
    "oauth.access_token": "opaque-canary",
    "client_secret": "secret-canary",
    "x-api-key": "key-canary",
    "url.full": "https://login.example.com/cb?code=code-canary&state=1",
    "note": f"the server sent {_JWT} back",
    "pem": "-----BEGIN PRIVATE KEY-----canary",
}


def own_attributes() -> dict[str, str]:
    """Give every attribute key of the schema with a value that otelprobe may send."""
    known = {value for value in vars(schema).values() if isinstance(value, schema.Attribute)}
    known |= {*schema.FACT_SPAN, *schema.PHASE_SPAN.values()}
    values = {attribute.name: attribute.values[-1] if attribute.values else "plain value" for attribute in known}
    return values | {schema.URL.name: "https://login.example.com/token?code=REDACTED"}


def test_the_gateway_redacts_credentials_and_nothing_of_ours(
    start_gateway: StartCollector, jaeger: Jaeger, events: Inbox
) -> None:
    """Of spans and events by anybody, what looks like a credential is masked; no key of our schema is touched."""
    gateway, trace_id = start_gateway(), secrets.token_hex(16)
    leaks = {f"leak.{key}" if key == "url.full" else key: value for key, value in _LEAKS.items()}
    send_span(gateway.http, trace_id, own_attributes() | leaks)
    send_event(gateway.http, trace_id, leaks)
    (span,) = eventually(lambda: jaeger.spans(trace_id), 15, "span")
    assert own_attributes().items() <= span["tags"].items()
    events.wait(lambda: bool(events.records))
    for told in (str(span["tags"]), str(events.records)):
        assert "canary" not in told
        assert _JWT.split(".")[1] not in told
        assert all(key in told for key in leaks)


def test_failed_one_shot_runs_say_why_and_whose_fault(
    start_gateway: StartCollector, prometheus: Prometheus, make_probe: MakeProbe, demo: Demo
) -> None:
    """The first failure of a one-shot flow raises its counter from zero, with reason, blame and objective as labels."""
    demo.set_faults(["wrong-audience"])
    probe = make_probe(start_gateway().http)
    flow = probe.once(**_ONE_SHOT)
    assert (flow["outcome"], flow["failed_step"]) == ("fail", "verify")
    for metric in (schema.FLOW_RUNS, schema.VALIDATION_FAILURES):
        await_metric(prometheus, metric, wanted=metric.all_attributes)
        error = f'{prometheus_label(schema.ERROR_TYPE)}="{flow["reason"]}"'
        grown = f"increase({prometheus_name(metric)}{{{error}}}[1h]) > 0"
        eventually(functools.partial(prometheus.query, grown), 15, grown)


@pytest.mark.parametrize("name", ["flow", "step", "http", "auth", "api", "phase"])
def test_histograms_made_from_spans_have_the_bounds_of_the_schema(name: str) -> None:
    """Buckets of one-shot and long-lived runs can be added up."""
    told = yaml.safe_load((collector.CONFIGS / "gateway.yaml").read_text(encoding="utf-8"))
    buckets = told["connectors"][f"spanmetrics/{name}"]["histogram"]["explicit"]["buckets"]
    bounds = schema.STEP_BUCKETS if name == "step" else schema.NETWORK_BUCKETS
    assert [seconds(bucket) for bucket in buckets] == pytest.approx(bounds)


def seconds(duration: str) -> float:
    """Read a duration of a collector's file."""
    for unit, size in (("us", 1e-6), ("ms", 1e-3), ("s", 1.0)):
        if duration.endswith(unit):
            return float(duration.removesuffix(unit)) * size
    raise AssertionError(duration)


def test_compose_uses_the_files_and_variables_that_are_there() -> None:
    """Every file that compose.yaml mounts exists, and every variable that it sets is one that the collector's file reads."""
    services = yaml.safe_load((collector.CONFIGS / "compose.yaml").read_text(encoding="utf-8"))["services"]
    mounts = [mount.split(":")[0] for service in services.values() for mount in service.get("volumes", ())]
    files = [mount for mount in mounts if mount.startswith(".")]
    assert files
    assert all((collector.CONFIGS / file).exists() for file in files)
    text = (collector.CONFIGS / "all-in-one.yaml").read_text(encoding="utf-8")
    wanted = [name for name in services["collector"]["environment"] if name.startswith("OTELCOL_")]
    assert wanted
    assert all(f"${{env:{name}:-" in text for name in wanted)


def test_promtool_takes_the_prometheus_file() -> None:
    """`promtool check config` has nothing to say against prometheus.yml."""
    with told_in_one_line():
        promtool = MODULE.obtain() / "promtool"
    done = subprocess.run([promtool, "check", "config", CONFIG], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_readme_names_every_file() -> None:
    """docs/collectors.md tells when to use each file of the folder."""
    text = (collector.CONFIGS.parent / "docs" / "collectors.md").read_text(encoding="utf-8")
    names = [path.name for path in collector.CONFIGS.iterdir() if path.name != "README.md"]
    assert [
        name for name in names if f"`{name}`" not in text and f"/{name}`" not in text and f"/{name} " not in text
    ] == []
