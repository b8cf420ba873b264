"""The standard variables mean what the specification says, and a wrong one is refused with its name."""

import pytest

from otelprobe.telemetry import SettingsError, Telemetry, TelemetrySettings
from tests.telemetry.samples import CANARY


def read(mode="long_lived", location=None, overrides=None, **environ) -> TelemetrySettings:
    return TelemetrySettings.from_environment(overrides or {}, environ=environ, mode=mode, location=location)


def test_a_base_endpoint_gets_the_signals_path_and_an_own_one_is_taken_as_it_is():
    """The base endpoint gets /v1/<signal> appended, an endpoint for one signal nothing."""
    found = read(
        OTEL_EXPORTER_OTLP_ENDPOINT="http://c:4318/otlp/",
        OTEL_EXPORTER_OTLP_LOGS_ENDPOINT="http://logs/in",
    )
    assert found.traces.endpoint == "http://c:4318/otlp/v1/traces"
    assert found.logs.endpoint == "http://logs/in"


@pytest.mark.parametrize(
    ("text", "seconds"), [("10000", 10.0), ("2500", 2.5), ("100", 0.1), ("10", 10.0), ("0.5", 0.5)]
)
def test_a_timeout_is_read_in_either_unit(text, seconds):
    """100 and more are milliseconds, as the specification has it; less are seconds, as Python's exporters have it."""
    assert read(OTEL_EXPORTER_OTLP_TIMEOUT=text).traces.timeout == seconds


def test_every_variable_of_one_signal_beats_the_one_for_all():
    """Headers, protocol, compression, certificates and timeout can be set for one signal."""
    found = read(
        OTEL_EXPORTER_OTLP_ENDPOINT="http://c:4317",
        OTEL_EXPORTER_OTLP_HEADERS="authorization=Bearer%20x,tenant=a",
        OTEL_EXPORTER_OTLP_TRACES_HEADERS="tenant=b",
        OTEL_EXPORTER_OTLP_TRACES_PROTOCOL="grpc",
        OTEL_EXPORTER_OTLP_COMPRESSION="gzip",
        OTEL_EXPORTER_OTLP_CERTIFICATE="/ca.pem",
        OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY="/key.pem",
        OTEL_EXPORTER_OTLP_TRACES_INSECURE="true",
        OTEL_EXPORTER_OTLP_METRICS_TIMEOUT="3",
        REQUESTS_CA_BUNDLE="/other.pem",
    )
    assert (found.traces.protocol, found.logs.protocol) == ("grpc", "http/protobuf")
    assert found.traces.endpoint == "http://c:4317"
    assert dict(found.traces.headers) == {"tenant": "b"}
    assert dict(found.logs.headers) == {"authorization": "Bearer x", "tenant": "a"}
    assert found.logs.compression == "gzip"
    assert found.logs.certificate == "/ca.pem"
    assert (found.traces.client_key, found.logs.client_key) == ("/key.pem", None)
    assert (found.traces.insecure, found.logs.insecure) == (True, False)
    assert (found.metrics.timeout, found.logs.timeout) == (3.0, 10.0)


def test_exporters_can_be_turned_off_and_written_to_the_terminal():
    """none turns a signal off, console needs no endpoint, and a disabled SDK turns everything off."""
    found = read(OTEL_TRACES_EXPORTER="console", OTEL_LOGS_EXPORTER="none", OTEL_EXPORTER_OTLP_ENDPOINT="http://c")
    assert (found.traces.on, found.metrics.on, found.logs.on) == (True, True, False)
    assert read(OTEL_SDK_DISABLED="true", OTEL_EXPORTER_OTLP_ENDPOINT="http://c").disabled
    assert read().disabled


def test_metrics_settings_are_honoured():
    """Interval, temporality, exemplar filter and queue sizes are read; overrides beat the environment."""
    found = read(
        overrides={"OTEL_METRIC_EXPORT_INTERVAL": "15000"},
        OTEL_METRIC_EXPORT_INTERVAL="30000",
        OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE="Delta",
        OTEL_METRICS_EXEMPLAR_FILTER="always_off",
        OTEL_BSP_MAX_QUEUE_SIZE="100",
        OTEL_BLRP_SCHEDULE_DELAY="250",
    )
    assert (found.metric_interval, found.delta, found.exemplars) == (15.0, True, False)
    assert (found.span_queue.size, found.span_queue.batch, found.log_queue.delay) == (100, 100, 0.25)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", CANARY),
        ("OTEL_EXPORTER_OTLP_HEADERS", CANARY),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "-1"),
        ("OTEL_TRACES_EXPORTER", "zipkin"),
    ],
)
def test_a_wrong_value_is_refused_by_name_and_never_shown(name, text):
    """The error names the variable and the mend, and not what was written."""
    with pytest.raises(SettingsError, match=name) as caught:
        read(**{name: text})
    assert text not in str(caught.value)


def test_a_certificate_that_cannot_be_read_is_refused_at_the_start():
    """A missing certificate file stops the start, instead of failing every export."""
    found = read(OTEL_EXPORTER_OTLP_ENDPOINT="https://c", OTEL_EXPORTER_OTLP_CERTIFICATE="/nowhere/ca.pem")
    with pytest.raises(SettingsError, match=r"/nowhere/ca\.pem"):
        Telemetry(found)


def test_the_instance_id_is_derived_and_never_random():
    """One-shot runs of one CronJob share an id, another location or job has its own, and a given one is kept."""
    pod = "k8s.namespace.name=checks,k8s.cronjob.name=a,k8s.pod.name="
    one = read("one_shot", OTEL_RESOURCE_ATTRIBUTES=pod + "x1").instance()
    assert one == read("one_shot", OTEL_RESOURCE_ATTRIBUTES=pod + "x2").instance()
    assert one != read("one_shot", "eu-1", OTEL_RESOURCE_ATTRIBUTES=pod + "x1").instance()
    long_lived = {read(OTEL_RESOURCE_ATTRIBUTES=pod + p).instance() for p in ("x1", "x2")}
    assert len(long_lived | {one}) == 3
    assert read(OTEL_RESOURCE_ATTRIBUTES="service.instance.id=mine").instance() == "mine"


def test_the_service_name_has_its_precedence():
    """OTEL_SERVICE_NAME beats the resource attribute, which beats the default."""
    assert read().resource_attributes()["service.name"] == "otelprobe"
    attributes = "service.name=a%20b,k8s.node.name=n"
    found = read(OTEL_RESOURCE_ATTRIBUTES=attributes).resource_attributes()
    assert (found["service.name"], found["k8s.node.name"]) == ("a b", "n")
    assert read(OTEL_RESOURCE_ATTRIBUTES=attributes, OTEL_SERVICE_NAME="c").resource_attributes()["service.name"] == "c"


def test_no_credential_shows_in_a_repr():
    """Headers and endpoints, which may hold credentials, are in no repr."""
    url = f"http://user:{CANARY}@c"
    found = read(OTEL_EXPORTER_OTLP_ENDPOINT=url, OTEL_EXPORTER_OTLP_HEADERS=f"authorization={CANARY}")
    assert CANARY not in repr(found)
