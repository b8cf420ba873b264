"""Each file of collector-config is run unchanged by the official collector and carries real data to real stores."""

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jwt
import pytest
import yaml

from otelprobe.reasons import Reason
from otelprobe.telemetry import schema
from otelprobe.telemetry.schema import Instrument, Metric, prometheus_label, prometheus_name
from tests.stack.harness import collector
from tests.stack.harness.collector import Collector
from tests.stack.harness.jaeger import Jaeger
from tests.stack.harness.keycloak_admin import Admin
from tests.stack.harness.kubernetes import CRONJOB, NAMESPACE, POD, POD_UID, KubernetesApi
from tests.stack.harness.oidc_provider import RESOURCE, OidcProvider
from tests.stack.harness.otlp import send_event, send_span
from tests.stack.harness.ports import free_ports
from tests.stack.harness.probe import Probe
from tests.stack.harness.process import Process, eventually, session
from tests.stack.harness.prometheus import CONFIG, MODULE, Prometheus
from tests.stack.harness.vendor import Vendor
from tests.stack.real_flows import Estate
from tests.stack.servers import Keycloaks, StartCollector, told_in_one_line
from tests.stack.telemetry_checks import (
    DERIVED,
    NOT_BY_FLOWS,
    ONE_SHOT_GAUGES,
    PATIENCE,
    assert_no_secret,
    assert_verdict,
    await_events,
    await_metric,
    await_own_span_of_the_api,
    await_verdict,
    await_whole_trace,
    exemplar_traces,
    of_flow,
    runs_in,
    selector,
)
from tests.telemetry.receiver import Inbox, attributes

_OTHERS = {"compose.yaml", "loki.yaml"}
FILES = sorted(path.name for path in collector.CONFIGS.glob("*.yaml") if path.name not in _OTHERS)
_RUNS = 20
_ONE_SHOT = {"OTEL_RESOURCE_ATTRIBUTES": f"k8s.pod.uid={POD_UID}"}


@pytest.mark.parametrize("file", FILES)
def test_the_collector_takes_every_file(file: str, tmp_path: Path) -> None:
    """`otelcol validate` has nothing to say against a shipped file as it is, apart from where its queue may be."""
    with told_in_one_line():
        said = collector.validate(collector.CONFIGS / file, {"OTELCOL_QUEUE_DIR": str(tmp_path)})
    assert said == ""


@pytest.fixture(scope="module")
def estate(
    keycloaks: Keycloaks, oidc_provider: OidcProvider, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Estate]:
    """Give both providers, their APIs and the flows against them."""
    keycloak = keycloaks.get()
    oidc_provider.change(healthy=True)
    with ExitStack() as stack:
        admin = Admin(keycloak)
        stack.callback(admin.close)
        yield Estate(admin, oidc_provider, stack)


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


@dataclass(frozen=True)
class Stores:
    """Where the telemetry of a probe has to be found."""

    prometheus: Prometheus
    jaeger: Jaeger
    events: Inbox

    def await_long_lived(self, estate: Estate, probe: Probe, begun: float) -> None:
        """Wait until a probe that runs on has left all that its flows can: verdicts, metrics, exemplars, traces, events."""
        for case in estate.cases:
            await_verdict(self.prometheus, probe.location, case)
        with estate.trouble() as reasons:
            for side, reason in reasons.items():
                self._await_reason(probe, f"{side}-healthy", reason)
        estate.rotate()
        self._await_key_changes(estate, probe)
        for metric in schema.METRICS:
            if metric not in NOT_BY_FLOWS:
                await_metric(self.prometheus, probe.location, metric, wanted=metric.all_attributes)
        self._await_ways_to_traces(estate, probe, begun)

    def _await_reason(self, probe: Probe, flow: str, reason: Reason) -> None:
        error = {prometheus_label(schema.ERROR_TYPE): reason.value}
        asked = selector(prometheus_name(schema.FLOW_RUNS), probe.location, **of_flow(flow), **error)
        eventually(lambda: self.prometheus.query(f"{asked} > 0"), PATIENCE, asked)

    def _await_key_changes(self, estate: Estate, probe: Probe) -> None:
        added = {prometheus_label(schema.KEY_CHANGE): "added"}
        for side in estate.sides:
            of_provider = {prometheus_label(schema.PROVIDER): side.name}
            asked = selector(prometheus_name(schema.KEY_CHANGES), probe.location, **of_provider, **added)
            eventually(lambda asked=asked: self.prometheus.query(f"{asked} > 0"), PATIENCE, asked)  # type: ignore[misc]
        sides = {side.name for side in estate.sides}
        self.events.wait(
            lambda: sides <= {attributes(record)[schema.PROVIDER.name] for record in self._changes_of_keys()}, PATIENCE
        )

    def _changes_of_keys(self) -> list[Any]:
        return [record for record in self.events.records if record.event_name == schema.JWKS_CHANGED.name]

    def _await_ways_to_traces(self, estate: Estate, probe: Probe, begun: float) -> None:
        """From the exemplar of a histogram, and from an event, one gets to the trace of a run of that flow."""
        for case in estate.cases:
            found = exemplar_traces(self.prometheus, probe.location, schema.FLOW_DURATION, case.flow, begun)
            trace_id = found.pop()
            self.events.wait(lambda case=case, wanted=trace_id: wanted in runs_in(self.events, case.flow), PATIENCE)  # type: ignore[misc]
            spans = eventually(lambda wanted=trace_id: self.jaeger.spans(wanted), PATIENCE, "trace of the exemplar")  # type: ignore[misc]
            assert f"flow {case.flow}" in {span["operationName"] for span in spans}
            assert_no_secret(json.dumps(spans))
            await_events(self.events, case, runs_in(self.events, case.flow)[0])
        assert_no_secret(b"".join(self.events.bodies))

    def await_one_shot(self, estate: Estate, probe: Probe, flows: Mapping[str, Mapping[str, Any]]) -> None:
        """Wait until a run of every flow has arrived: trace, events and, counted by a gateway, its verdict."""
        self.await_traces_and_events(estate, flows)
        for case in estate.cases:
            await_verdict(self.prometheus, probe.location, case)
        for metric in ONE_SHOT_GAUGES:
            await_metric(self.prometheus, probe.location, metric, wanted=metric.all_attributes)
        for metric, span in DERIVED.items():
            wanted = set(metric.all_attributes) & set(span)
            await_metric(self.prometheus, probe.location, metric, wanted=wanted)

    def await_traces_and_events(self, estate: Estate, flows: Mapping[str, Mapping[str, Any]]) -> None:
        """Wait until a run of every flow has arrived: its whole trace, and just the events that it must leave."""
        assert set(flows) == {case.flow for case in estate.cases}
        for case in estate.cases:
            flow = flows[case.flow]
            assert_verdict(case, flow)
            await_whole_trace(self.jaeger, flow)
            await_events(self.events, case, flow["trace_id"])
        for case in estate.healthy:
            await_own_span_of_the_api(self.jaeger, flows[case.flow])
        assert_no_secret(b"".join(self.events.bodies))


@pytest.fixture
def stores(prometheus: Prometheus, jaeger: Jaeger, events: Inbox) -> Stores:
    """Give the three stores."""
    return Stores(prometheus, jaeger, events)


@pytest.mark.parametrize("exporter", ["otlphttp/prometheus", "prometheusremotewrite"])
def test_the_gateway_brings_everything_of_a_long_lived_prober(
    exporter: str, estate: Estate, start_gateway: StartCollector, stores: Stores, tmp_path: Path
) -> None:
    """Every metric of the schema by its final name and labels, every verdict, and from panels and events the way to traces."""
    begun = time.time()
    probe = estate.probe(tmp_path, start_gateway(OTELCOL_METRICS_EXPORTER=exporter).http)
    with probe.run():
        stores.await_long_lived(estate, probe, begun)


@pytest.mark.parametrize(
    ("exporter", "native", "seen"),
    [
        ("otlphttp/prometheus", True, _RUNS),
        # Remote write carries no start time, so that a histogram begins with its first run, and it is never converted.
        ("prometheusremotewrite", False, _RUNS - 1),
    ],
)
def test_one_shot_runs_count_as_those_of_a_long_lived_prober(
    exporter: str,
    native: bool,
    seen: int,
    estate: Estate,
    start_gateway: StartCollector,
    stores: Stores,
    tmp_path: Path,
) -> None:
    """Twenty runs as of a CronJob: increase() says twenty, healthy or failing, under the names of the long-lived mode."""
    begun = time.time()
    probe = estate.probe(tmp_path, start_gateway(OTELCOL_METRICS_EXPORTER=exporter).http)
    cases = (
        *estate.healthy,
        *(case for case in estate.failing if case.flow.endswith(("-wrong-secret", "-refusing-api"))),
    )
    runs = [probe.once(*(case.flow for case in cases), **_ONE_SHOT) for _ in range(_RUNS)]
    growth = Growth(stores.prometheus, probe.location, native=native)
    for case in cases:
        await_verdict(stores.prometheus, probe.location, case, _RUNS)
        growth.await_runs(schema.FLOW_RUNS, _RUNS, **of_flow(case.flow))
        growth.await_runs(schema.FLOW_DURATION, seen, **of_flow(case.flow))
    for case in estate.healthy:
        of_step = {**of_flow(case.flow), prometheus_label(schema.STEP): "token"}
        growth.await_runs(schema.STEP_RUNS, _RUNS, **of_step)
        growth.await_runs(schema.STEP_DURATION, seen, **of_step)
        for metric in (schema.AUTH_TIME, schema.API_TIME):
            growth.await_runs(metric, seen, **of_flow(case.flow))
    for case in cases:
        traces = {flows[case.flow]["trace_id"] for flows in runs}
        found = exemplar_traces(stores.prometheus, probe.location, schema.FLOW_DURATION, case.flow, begun)
        assert found <= traces
        stores.events.wait(lambda case=case, traces=traces: set(runs_in(stores.events, case.flow)) == traces, PATIENCE)  # type: ignore[misc]
        assert len(runs_in(stores.events, case.flow)) == _RUNS
        await_whole_trace(
            stores.jaeger, next(flows[case.flow] for flows in runs if flows[case.flow]["trace_id"] in found)
        )


@dataclass(frozen=True)
class Growth:
    """What Prometheus says of how the series of one probe have grown.

    increase() guesses beyond the first and the last sample, which could hide a lost run: hence the difference, too. Where
    the first run is not seen, the guess may or may not make up for it: then nothing is asked of it.
    """

    prometheus: Prometheus
    location: str
    native: bool

    def await_runs(self, metric: Metric, seen: int, **labels: str) -> None:
        """Wait until the samples differ by what was seen of the runs, and increase() over the last hour says so."""
        histogram = metric.instrument is Instrument.HISTOGRAM
        count = "_count" if histogram and not self.native else ""
        series = selector(prometheus_name(metric) + count, self.location, **labels)
        eventually(lambda: self.prometheus.growth(series) == seen, PATIENCE, f"{series} of {seen} more")
        if seen != _RUNS:
            return
        grown = f"sum(increase({series}[1h]))"
        asked = f"round(histogram_count({grown}))" if histogram and self.native else f"round({grown})"
        eventually(lambda: [n for _, n in self.prometheus.query(asked)] == [_RUNS], PATIENCE, f"{asked} of {_RUNS}")


def test_the_gateway_names_the_pod(
    estate: Estate, start_gateway: StartCollector, jaeger: Jaeger, tmp_path: Path
) -> None:
    """A span whose resource has the pod's uid gets the names of pod, namespace and CronJob."""
    name = estate.healthy[0].flow
    flow = estate.probe(tmp_path, start_gateway().http).once(name, **_ONE_SHOT)[name]
    spans = eventually(lambda: jaeger.spans(flow["trace_id"]), PATIENCE, "trace")
    wanted = {"k8s.pod.name": POD, "k8s.namespace.name": NAMESPACE, "k8s.cronjob.name": CRONJOB}
    assert wanted.items() <= spans[0]["resource"].items()


def test_the_sidecar_drains_before_it_stops(
    estate: Estate, start_gateway: StartCollector, start_collector: StartCollector, stores: Stores, tmp_path: Path
) -> None:
    """A sidecar that is told to stop right after a run has passed everything on, and the gateway makes metrics of it."""
    gateway = start_gateway()
    sidecar = start_collector("sidecar.yaml", name="sidecar", environment={"OTELCOL_GATEWAY": gateway.grpc})
    probe = estate.probe(tmp_path, sidecar.http)
    with estate.instrumented(sidecar.http):
        flows = probe.once(**_ONE_SHOT)
    assert sidecar.stop() == 0
    stores.await_one_shot(estate, probe, flows)


def test_the_gateway_forgets_nothing_when_it_dies_while_a_store_is_away(
    estate: Estate, start_gateway: StartCollector, events: Inbox, tmp_path: Path
) -> None:
    """What a store did not take is on disk: after a crash and a restart every event of every flow arrives."""
    events.mode = "503"
    first = start_gateway()
    flows = estate.probe(tmp_path, first.http).once(**_ONE_SHOT)
    events.wait(lambda: bool(events.bodies), PATIENCE)
    first.kill()
    events.mode = "ok"
    start_gateway()
    wanted = {flow["trace_id"] for flow in flows.values()}
    events.wait(lambda: wanted <= {r.trace_id.hex() for r in events.records}, PATIENCE)
    for case in estate.cases:
        names = {r.event_name for r in events.records if r.trace_id.hex() == flows[case.flow]["trace_id"]}
        assert names == case.all_events, case.flow


def test_tail_sampling_keeps_what_matters_and_drops_the_healthy(
    estate: Estate, start_collector: StartCollector, jaeger: Jaeger, tmp_path: Path
) -> None:
    """Behind the load balancer, with no share for the healthy: traces of failures and of changed keys reach the store."""
    settings = {"OTELCOL_TRACES": jaeger.otlp, "OTELCOL_DECISION_WAIT": "2s", "OTELCOL_KEEP_PERCENT": "0",
                "OTELCOL_SLOW_MS": "60000"}  # fmt: skip
    sampler = start_collector("tail-sampling.yaml", name="sampler", environment=settings)
    host, port = sampler.grpc.split(":")
    to_samplers = {"OTELCOL_SAMPLERS": host, "OTELCOL_SAMPLERS_PORT": port}
    balancer = start_collector("load-balancer.yaml", name="balancer", environment=to_samplers)
    own = {
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_LOGS_EXPORTER": "none",
        "OTELPROBE_STATE_DIR": str(tmp_path / "state"),
    }
    probe = estate.probe(tmp_path, balancer.http)
    healthy = [case.flow for case in estate.healthy]
    with estate.instrumented(balancer.http):
        first = probe.once(**own)
        estate.rotate()
        rotated = probe.once(*healthy, **own)
    for case in estate.failing:
        assert_verdict(case, first[case.flow])
        await_whole_trace(jaeger, first[case.flow])
    for name in healthy:
        assert rotated[name]["outcome"] == "pass"
        await_whole_trace(jaeger, rotated[name])
        await_own_span_of_the_api(jaeger, rotated[name])
        assert (first[name]["outcome"], jaeger.spans(first[name]["trace_id"])) == ("pass", [])


def test_prometheus_can_scrape(
    estate: Estate, start_collector: StartCollector, jaeger: Jaeger, events: Inbox, tmp_path: Path
) -> None:
    """A Prometheus that fetches has everything under the same names and labels, and exemplars."""
    (port,) = free_ports(1)
    address = f"127.0.0.1:{port}"
    environment = {"OTELCOL_SCRAPE": address, "OTELCOL_TRACES": jaeger.otlp, "OTELCOL_LOKI": events.endpoint}
    running = start_collector("prometheus-scrape.yaml", environment=environment)
    config = tmp_path / "scrape.yml"
    job = {"job_name": "collector", "honor_labels": True, "static_configs": [{"targets": [address]}],
           "convert_classic_histograms_to_nhcb": True}  # fmt: skip
    config.write_text(yaml.safe_dump({"global": {"scrape_interval": "1s"}, "scrape_configs": [job]}), encoding="utf-8")
    with told_in_one_line():
        prometheus = Prometheus(tmp_path, config=config)
    begun = time.time()
    probe = estate.probe(tmp_path, running.http)
    with prometheus, probe.run():
        Stores(prometheus, jaeger, events).await_long_lived(estate, probe, begun)


def test_all_in_one_feeds_every_store_and_the_terminal(
    estate: Estate, start_collector: StartCollector, stores: Stores, tmp_path: Path
) -> None:
    """One collector for a laptop brings all of both providers' flows to every store, to a file and to the terminal."""
    running, file = start_all_in_one(start_collector, stores, tmp_path)
    begun = time.time()
    probe = estate.probe(tmp_path, running.http)
    with estate.instrumented(running.http), probe.run():
        stores.await_long_lived(estate, probe, begun)
        flows = estate.probe(tmp_path, running.http).once(**_ONE_SHOT)
        stores.await_traces_and_events(estate, flows)
    text = eventually(lambda: file.exists() and file.read_text(encoding="utf-8"), PATIENCE, "file of events")
    eventually(
        lambda: all(f["trace_id"] in file.read_text(encoding="utf-8") for f in flows.values()),
        PATIENCE,
        "events of all flows",
    )
    printed = running.log.read_text(encoding="utf-8")
    assert '"otelcol.signal": "traces"' in printed
    for told in (text, printed):
        assert_no_secret(told)


def start_all_in_one(start_collector: StartCollector, stores: Stores, folder: Path) -> tuple[Collector, Path]:
    """Start all-in-one.yaml in front of the stores; give it and the file of its events."""
    file = folder / "events.jsonl"
    environment = {
        "OTELCOL_TRACES": stores.jaeger.otlp,
        "OTELCOL_PROMETHEUS_OTLP": stores.prometheus.otlp,
        "OTELCOL_LOKI": stores.events.endpoint,
        "OTELCOL_EVENTS_FILE": str(file),
    }
    return start_collector("all-in-one.yaml", environment=environment), file


def test_the_demo_of_compose_feeds_every_store(start_collector: StartCollector, stores: Stores, tmp_path: Path) -> None:
    """demo.sh as compose.yaml starts it: trace in Jaeger, metrics in Prometheus, events in Loki's place."""
    running, _ = start_all_in_one(start_collector, stores, tmp_path)
    location = f"compose-{secrets.token_hex(4)}"
    settings = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "OTELPROBE_LISTEN": "none",
        "OTELPROBE_START_JITTER": "0s",
        "OTELPROBE_LOCATION": location,
        "OTEL_EXPORTER_OTLP_ENDPOINT": running.http,
        "OTEL_METRIC_EXPORT_INTERVAL": "1000",
    }
    script = collector.CONFIGS / "demo.sh"
    with Process("demo.sh", ["sh", script], log=tmp_path / "demo.log", environment=settings):
        for metric in (schema.FLOW_UP, schema.STEP_DURATION):
            await_metric(stores.prometheus, location, metric, wanted=metric.all_attributes)
        (trace_id,) = eventually(lambda: runs_in(stores.events, "demo")[:1], PATIENCE, "event of the demo's flow")
    eventually(lambda: stores.jaeger.spans(trace_id), PATIENCE, "trace of the event")


@pytest.fixture
def vendor_settings(tmp_path: Path) -> dict[str, str]:
    """Give the settings of vendor-otlp.yaml that both ways of saying who you are need."""
    key = tmp_path / "api-key"
    key.write_text("vendor-key-canary\n", encoding="utf-8")
    return {"OTELCOL_QUEUE_DIR": str(tmp_path / "queue"), "OTELCOL_VENDOR_API_KEY_FILE": str(key)}


def tls_settings(vendor: Vendor) -> dict[str, str]:
    """Give the settings by which the collector finds and trusts the vendor, and shows its own certificate."""
    return {
        "OTELCOL_VENDOR": vendor.url,
        "OTELCOL_VENDOR_CA_FILE": str(vendor.files.ca),
        "OTELCOL_VENDOR_CERT_FILE": str(vendor.files.certificate),
        "OTELCOL_VENDOR_KEY_FILE": str(vendor.files.key),
    }


def await_all_signals(vendor: Vendor, estate: Estate, flows: Mapping[str, Mapping[str, Any]]) -> None:
    """Wait until the vendor has every span, the gauges and the events of every flow, all by a caller that it knows."""
    inbox = vendor.inbox
    for case in estate.cases:
        flow = flows[case.flow]
        assert_verdict(case, flow)
        spans = {attempt["span_id"] for step in flow["steps"] for attempt in step["http"]}
        spans |= {step["span_id"] for step in flow["steps"]}
        inbox.wait(lambda spans=spans: spans <= {span.span_id.hex() for span in inbox.spans}, PATIENCE)  # type: ignore[misc]
        await_events(inbox, case, flow["trace_id"])
    inbox.wait(
        lambda: set(flows) <= {attributes(p)[schema.FLOW.name] for p in inbox.points(schema.FLOW_UP.name)}, PATIENCE
    )
    assert vendor.refused == 0
    assert_no_secret(b"".join(inbox.bodies))


@pytest.mark.parametrize(
    ("scheme", "header"), [("", "vendor-key-canary"), ("Api-Token", "Api-Token vendor-key-canary")]
)
def test_a_vendor_that_wants_a_key_gets_everything(
    scheme: str,
    header: str,
    estate: Estate,
    start_collector: StartCollector,
    vendor_settings: dict[str, str],
    tmp_path: Path,
) -> None:
    """All signals arrive over mutual TLS with the key of the file in the header, bare or behind a word."""
    vendor = Vendor(tmp_path, lambda authorization: authorization == header)
    settings = vendor_settings | tls_settings(vendor) | {"OTELCOL_VENDOR_SCHEME": scheme}
    try:
        running = start_collector("vendor-otlp.yaml", environment=settings)
        await_all_signals(vendor, estate, estate.probe(tmp_path, running.http).once())
    finally:
        vendor.stop()


@pytest.mark.parametrize("name", ["keycloak", "oidc-provider"])
def test_a_vendor_that_wants_oauth_gets_everything(
    name: str, estate: Estate, start_collector: StartCollector, vendor_settings: dict[str, str], tmp_path: Path
) -> None:
    """All signals arrive with a token that the collector fetched by client credentials, and that the provider has signed."""
    (side,) = (side for side in estate.sides if side.name == name)
    known = Verifier(side.issuer)
    secret = tmp_path / "client-secret"
    secret.write_text(side.secret, encoding="utf-8")
    estate.oidc.change(
        resource=RESOURCE
    )  # the collector's extension asks for no resource: without it tokens are opaque
    oauth = {
        "OTELCOL_VENDOR_EXPORTER": "otlphttp/oauth",
        "OTELCOL_VENDOR_TOKEN_URL": known.token_endpoint,
        "OTELCOL_VENDOR_CLIENT_ID": "otelprobe",
        "OTELCOL_VENDOR_CLIENT_SECRET_FILE": str(secret),
        "OTELCOL_VENDOR_SCOPE": "profile" if name == "keycloak" else "orders:read",
    }
    vendor = Vendor(tmp_path, known.welcomes)
    try:
        running = start_collector("vendor-otlp.yaml", environment=vendor_settings | tls_settings(vendor) | oauth)
        await_all_signals(vendor, estate, estate.probe(tmp_path, running.http).once())
    finally:
        vendor.stop()


class Verifier:
    """What a vendor knows of the provider whose tokens it takes."""

    def __init__(self, issuer: str) -> None:
        with session() as http:
            self._metadata = http.get(f"{issuer}/.well-known/openid-configuration", timeout=30).json()
            keys = http.get(self._metadata["jwks_uri"], timeout=30).json()["keys"]
        self._keys = {key["kid"]: jwt.PyJWK(key) for key in keys if key.get("use") != "enc"}
        self.token_endpoint = str(self._metadata["token_endpoint"])

    def welcomes(self, authorization: str) -> bool:
        """Tell whether an Authorization header has a token of the provider for the audience `orders`."""
        scheme, _, token = authorization.partition(" ")
        try:
            key = self._keys[jwt.get_unverified_header(token)["kid"]]
            jwt.decode(token, key, algorithms=["RS256"], audience="orders", issuer=self._metadata["issuer"])
        except (jwt.PyJWTError, KeyError):
            return False
        return scheme == "Bearer"


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
    (span,) = eventually(lambda: jaeger.spans(trace_id), PATIENCE, "span")
    assert own_attributes().items() <= span["tags"].items()
    events.wait(lambda: bool(events.records), PATIENCE)
    for told in (str(span["tags"]), str(events.records)):
        assert "canary" not in told
        assert _JWT.split(".")[1] not in told
        assert all(key in told for key in leaks)


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


def compose() -> dict[str, Any]:
    """Give the services of compose.yaml."""
    services: dict[str, Any] = yaml.safe_load((collector.CONFIGS / "compose.yaml").read_text(encoding="utf-8"))[
        "services"
    ]
    return services


def mounts() -> dict[str, Path]:
    """Give what compose.yaml mounts of this repository, by the place in a container."""
    told = [mount.split(":") for service in compose().values() for mount in service.get("volumes", ())]
    return {inside: collector.CONFIGS / source for source, inside, *_ in told if source.startswith(".")}


def test_compose_uses_the_files_and_variables_that_are_there() -> None:
    """What compose.yaml mounts is there, and every variable that it sets is one that the collector's file reads."""
    assert len(mounts()) == 9
    boards = collector.CONFIGS.parent / "dashboards"
    made = (boards / "grafana").is_dir()  # the folders of the boards come with the boards
    missing = [
        path for path in mounts().values() if not path.exists() and (made or boards not in path.resolve().parents)
    ]
    assert missing == []
    text = (collector.CONFIGS / "all-in-one.yaml").read_text(encoding="utf-8")
    wanted = [name for name in compose()["collector"]["environment"] if name.startswith("OTELCOL_")]
    assert wanted
    assert all(f"${{env:{name}:-" in text for name in wanted)


def test_grafana_finds_the_stores_of_compose() -> None:
    """Every data source is a service that compose.yaml starts, once, and links name data sources that exist."""
    folder = mounts()["/etc/grafana/provisioning/datasources"]
    sources = [
        source for file in folder.glob("*.yaml") for source in yaml.safe_load(file.read_text("utf-8"))["datasources"]
    ]
    uids = [source["uid"] for source in sources]
    assert len(set(uids)) == len(uids)
    assert {urlsplit(source["url"]).hostname for source in sources} <= set(compose())
    linked = [
        link["datasourceUid"]
        for source in sources
        for links in ("exemplarTraceIdDestinations", "derivedFields")
        for link in source.get("jsonData", {}).get(links, ())
    ]
    assert linked
    assert set(linked) <= set(uids)


def test_grafana_and_prometheus_look_where_compose_mounts() -> None:
    """A folder of boards that Grafana is told of, and Prometheus' rules, are mounted."""
    rules = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))["rule_files"]
    assert {str(Path("/etc/prometheus", rule).parent) for rule in rules} <= set(mounts())
    for file in mounts()["/etc/grafana/provisioning/dashboards"].glob("*.yaml"):
        told = yaml.safe_load(file.read_text("utf-8"))["providers"]
        assert {provider["options"]["path"] for provider in told} <= set(mounts()), file


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
