"""What the stores must show of flows, derived from otelprobe/telemetry/schema.py and from what the flows must come to."""

import json
import re
import time
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from otelprobe.telemetry import schema
from otelprobe.telemetry.schema import Attribute, Instrument, Metric, prometheus_label, prometheus_name
from tests.stack.harness.jaeger import Jaeger
from tests.stack.harness.process import eventually
from tests.stack.harness.prometheus import Prometheus
from tests.stack.real_flows import API_SERVICE, Case
from tests.telemetry.receiver import Inbox, attributes

NOT_BY_FLOWS = {
    schema.POSTURE: "needs `otelprobe validate` findings",
    schema.REJECTION_FOLLOWED: "needs a listener, and leave to attack",
    schema.REVOCATION_DELAY: "needs an API that asks the provider about each token; these verify by themselves",
    schema.DRIFT_CHANGES: "needs a baseline",
}
ONE_SHOT_GAUGES = (
    schema.FLOW_UP, schema.STEP_UP, schema.LAST_RUN, schema.LAST_SUCCESS, schema.EXPIRES_IN, schema.CLOCK_SKEW,
    schema.KEY_COUNT, schema.EXPIRY, schema.REJECTION, schema.PROVIDER_STATUS, schema.OBJECTIVE,
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


PATIENCE = 90.0
"""Seconds to wait for what must come: nothing here measures time, and the machine may be busy with other things."""

_SECRETS = re.compile(r"canary|eyJ[A-Za-z0-9_-]{12,}|-----BEGIN")
"""Every planted secret holds the word; every signed token starts like that."""


def assert_no_secret(told: str | bytes) -> None:
    """Nothing that was planted, and no token, is in what a store has."""
    text = told.decode("utf-8", "replace") if isinstance(told, bytes) else told
    found = _SECRETS.search(text)
    assert found is None, text[max(0, found.start() - 80) : found.end() + 20]


def selector(name: str, location: str, **labels: object) -> str:
    """Give the series of a name that one probe has sent, by further labels (attributes or their names)."""
    return f"{name}{{{_matchers(location, **labels)}}}"


def of_metric(metric: Metric, location: str, **labels: object) -> str:
    """Give the series of a metric that one probe has sent, a histogram's in the form that Prometheus holds it in."""
    name = prometheus_name(metric)
    if metric.instrument is not Instrument.HISTOGRAM:
        return selector(name, location, **labels)
    return f'{{__name__=~"{name}|{name}_bucket", {_matchers(location, **labels)}}}'


def _matchers(location: str, **labels: object) -> str:
    wanted = {prometheus_label(schema.LOCATION): location, **labels}
    return ", ".join(f'{label}="{value}"' for label, value in wanted.items())


def of_flow(flow: str) -> dict[str, str]:
    """Give the label by which a flow's series are known."""
    return {prometheus_label(schema.FLOW): flow}


def assert_labels(found: Iterable[Mapping[str, str]], metric: Metric, wanted: Iterable[Attribute]) -> None:
    """Every wanted attribute is a label of some series, and no series has a label that the schema does not know."""
    seen = {label for series in found for label in series}
    allowed = {prometheus_label(a) for a in metric.all_attributes} | _ADDED
    if metric.labels:
        allowed.add(prometheus_label(f"{schema.LABEL_PREFIX}team"))
    assert seen <= allowed, (metric.name, seen - allowed)
    missing = {prometheus_label(a) for a in wanted} - seen
    assert not missing, (metric.name, missing)


def await_metric(
    prometheus: Prometheus, location: str, metric: Metric, *, wanted: Iterable[Attribute], seconds: float = PATIENCE
) -> None:
    """Wait until Prometheus has the metric of a probe with every wanted label, then check its labels and look for secrets."""
    wanted = tuple(wanted)
    labels = {prometheus_label(a) for a in wanted}
    asked = of_metric(metric, location)

    def look() -> list[dict[str, str]] | None:
        found = prometheus.series(asked)
        return found if found and labels <= {label for series in found for label in series} else None

    found = eventually(look, seconds, f"{asked} with the labels {', '.join(sorted(labels))}")
    assert_labels(found, metric, wanted)
    assert_no_secret(json.dumps(found))


def await_verdict(prometheus: Prometheus, location: str, case: Case, runs: int = 1, seconds: float = PATIENCE) -> None:
    """Wait until so many runs of a flow are counted under the verdict that it must come to, and find none under another."""
    name = prometheus_name(schema.FLOW_RUNS)
    told = {schema.FLOW_OUTCOME: "pass"}
    if case.verdict is not None:
        verdict = case.verdict
        told = {schema.FLOW_OUTCOME: "fail", schema.BLAME: verdict.blame.value, schema.COUNTS: verdict.counts.value}
        told[schema.ERROR_TYPE] = verdict.reason.value
    labels = {prometheus_label(attribute): value for attribute, value in told.items()}
    own = {**of_flow(case.flow), prometheus_label(schema.PROVIDER): case.provider}
    right = f"sum({selector(name, location, **own, **labels)})"

    def look() -> bool:
        found = prometheus.query(right)
        return bool(found) and found[0][1] >= runs

    eventually(look, seconds, f"{runs} runs of {right}")
    outcome = prometheus_label(schema.FLOW_OUTCOME)
    by_outcome = prometheus.query(f"sum by ({outcome}) ({selector(name, location, **of_flow(case.flow))}) > 0")
    assert [labels[outcome] for labels, _ in by_outcome] == [told[schema.FLOW_OUTCOME]], (case.flow, by_outcome)


def await_whole_trace(jaeger: Jaeger, flow: Mapping[str, Any], seconds: float = PATIENCE) -> list[dict[str, Any]]:
    """Wait until the trace has the flow, every step and every HTTP attempt of the report, each under its parent; give it."""
    number = 1 + sum(1 + len(step["http"]) for step in flow["steps"])

    def look() -> list[dict[str, Any]] | None:
        found = [span for span in jaeger.spans(flow["trace_id"]) if span["service"] == "otelprobe"]
        return found if len(found) >= number else None

    ours = eventually(look, seconds, f"trace of {number} spans of {flow['flow']}")
    names = {span["spanID"]: span["operationName"] for span in ours}
    assert f"flow {flow['flow']}" in names.values()
    steps = {span["tags"].get(schema.STEP.name): span for span in ours if schema.STEP_OUTCOME.name in span["tags"]}
    assert set(steps) == {step["step"] for step in flow["steps"]}
    for step in flow["steps"]:
        parent = steps[step["step"]]["spanID"]
        calls = [s for s in ours if any(r["spanID"] == parent for r in s["references"])]
        assert {call["spanID"] for call in calls} == {attempt["span_id"] for attempt in step["http"]}, step["step"]
    assert_no_secret(json.dumps(ours))
    return ours


def await_own_span_of_the_api(jaeger: Jaeger, flow: Mapping[str, Any], seconds: float = PATIENCE) -> None:
    """Wait for the API's own span in a flow's trace: it hangs on the very request of the step `call`."""
    (call,) = (step for step in flow["steps"] if step["step"] == "call")
    wanted = call["http"][0]["span_id"]

    def look() -> bool:
        spans = [span for span in jaeger.spans(flow["trace_id"]) if span["service"] == API_SERVICE]
        return any(span["references"][0]["spanID"] == wanted for span in spans)

    eventually(look, seconds, f"span of {API_SERVICE} under the call of {flow['flow']}")


def assert_verdict(case: Case, flow: Mapping[str, Any]) -> None:
    """A report says what the flow must come to."""
    told = tuple(flow[member] for member in ("outcome", "failed_step", "reason", "blame", "counts"))
    verdict = case.verdict
    if verdict is None:
        assert told[0] == "pass", (case.flow, told, flow["detail"])
    else:
        assert told == ("fail", verdict.step, verdict.reason, verdict.blame, verdict.counts), (
            case.flow,
            flow["detail"],
        )


def await_events(inbox: Inbox, case: Case, trace_id: str, seconds: float = PATIENCE) -> None:
    """Wait for the events of one run in its trace; no others are there, and none that otelprobe does not know of."""
    whole = bytes.fromhex(trace_id)

    def names() -> set[str]:
        return {record.event_name for record in inbox.records if record.trace_id == whole}

    inbox.wait(lambda: case.all_events <= names(), seconds)
    assert names() - {schema.JWKS_CHANGED.name} == case.all_events, (case.flow, names() ^ case.all_events)
    (completed,) = (
        attributes(record)
        for record in inbox.records
        if record.trace_id == whole and record.event_name == schema.FLOW_COMPLETED.name
    )
    assert completed[schema.FLOW.name] == case.flow
    if case.verdict is not None:
        assert completed[schema.ERROR_TYPE.name] == case.verdict.reason.value
        assert completed[schema.BLAME.name] == case.verdict.blame.value


def runs_in(inbox: Inbox, flow: str) -> list[str]:
    """Give the trace ids of a flow's runs, of which an event tells that they ended, in the order of arrival."""
    return [
        record.trace_id.hex()
        for record in inbox.records
        if record.event_name == schema.FLOW_COMPLETED.name and attributes(record)[schema.FLOW.name] == flow
    ]


def exemplar_traces(prometheus: Prometheus, location: str, metric: Metric, flow: str, begun: float) -> set[str]:
    """Wait for exemplars of a histogram; give the traces that they lead to."""
    asked = of_metric(metric, location, **of_flow(flow))
    found = eventually(lambda: prometheus.exemplars(asked, begun, time.time() + 60), PATIENCE, f"exemplar of {asked}")
    return {exemplar["labels"]["trace_id"] for exemplar in found}
