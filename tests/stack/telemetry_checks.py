"""What a store must show of a flow, derived from otelprobe/telemetry/schema.py and nothing else."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from otelprobe.telemetry import schema
from otelprobe.telemetry.schema import Attribute, Instrument, Metric, prometheus_label, prometheus_name
from tests.stack.harness.jaeger import Jaeger
from tests.stack.harness.probe import LOCATION
from tests.stack.harness.process import eventually
from tests.stack.harness.prometheus import Prometheus

NOT_IN_THE_DEMO = {
    schema.POSTURE: "needs `otelprobe validate` findings",
    schema.PROVIDER_STATUS: "needs a status_page step",
}
ONE_SHOT_GAUGES = (
    schema.FLOW_UP, schema.STEP_UP, schema.LAST_RUN, schema.LAST_SUCCESS, schema.EXPIRES_IN, schema.CLOCK_SKEW,
    schema.KEY_COUNT, schema.EXPIRY, schema.REJECTION,
)  # fmt: skip
DERIVED: Mapping[Metric, Collection[Attribute]] = {
    schema.FLOW_RUNS: schema.FLOW_SPAN,
    schema.FLOW_DURATION: schema.FLOW_SPAN,
    schema.AUTH_TIME: schema.FLOW_SPAN,
    schema.API_TIME: schema.FLOW_SPAN,
    schema.STEP_RUNS: schema.STEP_SPAN,
    schema.STEP_DURATION: schema.STEP_SPAN,
    schema.HTTP_DURATION: schema.CLIENT_SPAN,
    schema.PHASE_DURATION: (*schema.CLIENT_SPAN, schema.PHASE),
    schema.VALIDATION_FAILURES: schema.STEP_SPAN,
}
"""Metrics that the gateway makes from one-shot spans, and the span whose attributes can become their labels."""

_SCOPE = {"otel_scope_name", "otel_scope_version", "otel_scope_schema_url"}
"""Added by the collector's own Prometheus exporters, not by Prometheus' OTLP receiver."""

_ADDED = {
    "__name__",
    "job",
    "instance",
    "le",
    prometheus_label(schema.LOCATION),
    "k8s_namespace_name",
    "k8s_cronjob_name",
    *_SCOPE,
}


def series_name(metric: Metric) -> str:
    """Give the name of one of the metric's series in Prometheus."""
    return prometheus_name(metric) + ("_bucket" if metric.instrument is Instrument.HISTOGRAM else "")


def assert_labels(found: Iterable[Mapping[str, str]], metric: Metric, wanted: Iterable[Attribute]) -> None:
    """Every wanted attribute is a label of some series, and no series has a label that the schema does not know."""
    seen = {label for series in found for label in series}
    allowed = {prometheus_label(a) for a in metric.all_attributes} | _ADDED
    if metric.labels:
        allowed.add(prometheus_label(f"{schema.LABEL_PREFIX}team"))
    assert seen <= allowed, (metric.name, seen - allowed)
    missing = {prometheus_label(a) for a in wanted} - seen
    assert not missing, (metric.name, missing)


def await_metric(prometheus: Prometheus, metric: Metric, *, wanted: Iterable[Attribute], seconds: float = 30) -> None:
    """Wait until Prometheus has the metric with every wanted label, then check its labels."""
    wanted = tuple(wanted)
    labels = {prometheus_label(a) for a in wanted}

    def look() -> list[dict[str, str]] | None:
        found = prometheus.series(series_name(metric))
        return found if labels <= {label for series in found for label in series} else None

    found = eventually(look, seconds, f"{series_name(metric)} with the labels {', '.join(sorted(labels))}")
    assert_labels(found, metric, wanted)
    if metric.owner:
        assert all(series.get(prometheus_label(schema.LOCATION)) == LOCATION for series in found), metric.name


def await_whole_trace(jaeger: Jaeger, flow: Mapping[str, Any], seconds: float = 20) -> None:
    """Wait until the trace has the flow, every step and every HTTP attempt of the report, each under its parent."""
    number = 1 + sum(1 + len(step["http"]) for step in flow["steps"])

    def look() -> list[dict[str, Any]] | None:
        found = [span for span in jaeger.spans(flow["trace_id"]) if span["service"] == "otelprobe"]
        return found if len(found) >= number else None

    ours = eventually(look, seconds, f"trace of {number} spans")
    names = {span["spanID"]: span["operationName"] for span in ours}
    assert f"flow {flow['flow']}" in names.values()
    steps = {span["tags"].get(schema.STEP.name): span for span in ours if schema.STEP_OUTCOME.name in span["tags"]}
    assert set(steps) == {step["step"] for step in flow["steps"]}
    for step in flow["steps"]:
        parent = steps[step["step"]]["spanID"]
        calls = [s for s in ours if any(r["spanID"] == parent for r in s["references"])]
        assert {call["spanID"] for call in calls} == {attempt["span_id"] for attempt in step["http"]}, step["step"]
