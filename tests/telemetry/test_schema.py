"""The schema keeps its own rules, and its page is complete."""

import re
from pathlib import Path

import pytest

from otelprobe.telemetry import schema
from otelprobe.telemetry.docs import render_markdown
from otelprobe.telemetry.schema import Attribute, Instrument

ATTRIBUTES = [a for a in vars(schema).values() if isinstance(a, Attribute)]


def test_no_attribute_key_says_token():
    """Common scrubbers mask values whose key says token, secret or password; no key of ours does."""
    keys = [a.name for a in (*ATTRIBUTES, *schema.FACT_SPAN, *schema.PHASE_SPAN.values())]
    assert not [k for k in keys if re.search("token|secret|password|api_key|credential$", k)]


def test_every_name_is_unique_and_well_formed():
    """Names are lower case, dotted, and each metric, event and attribute is named once."""
    for group in ([m.name for m in schema.METRICS], [e.name for e in schema.EVENTS], [a.name for a in ATTRIBUTES]):
        assert len(group) == len(set(group))
        assert all(re.fullmatch(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+|error\.type", n) for n in group)


def test_no_gauge_has_the_unit_one_and_every_histogram_has_buckets():
    """A gauge of unit 1 would become a ratio; bounds rise and hold the providers' thresholds."""
    for metric in schema.METRICS:
        assert metric.unit != "1"
        assert bool(metric.bounds) == (metric.instrument is Instrument.HISTOGRAM)
        assert list(metric.bounds) == sorted(set(metric.bounds))
        if metric.bounds:
            assert {0.4, 1.0} <= set(metric.bounds)
    assert schema.STEP_BUCKETS[0] == 0.00005


@pytest.mark.parametrize(
    ("metric", "name"),
    [
        (schema.FLOW_UP, "otelprobe_flow_up"),
        (schema.FLOW_RUNS, "otelprobe_flow_runs_total"),
        (schema.FLOW_DURATION, "otelprobe_flow_duration_seconds"),
        (schema.LAST_SUCCESS, "otelprobe_flow_last_success_timestamp_seconds"),
        (schema.EXPIRES_IN, "otelprobe_issuance_expires_in_seconds"),
        (schema.KEY_COUNT, "otelprobe_jwks_key_count"),
        (schema.HTTP_DURATION, "http_client_request_duration_seconds"),
        (schema.OBJECTIVE, "otelprobe_objective"),
    ],
)
def test_prometheus_names(metric, name):
    """A metric's Prometheus name follows the default translation of OTLP."""
    assert schema.prometheus_name(metric) == name


def test_the_page_names_everything():
    """Every metric, event, span attribute and Prometheus name is on the page."""
    page = render_markdown()
    names = [m.name for m in schema.METRICS] + [schema.prometheus_name(m) for m in schema.METRICS]
    names += [e.name for e in schema.EVENTS]
    names += [a.name for a in (*schema.FLOW_SPAN, *schema.STEP_SPAN, *schema.CLIENT_SPAN, *schema.FACT_SPAN)]
    assert not [n for n in names if f"`{n}`" not in page]


def test_the_page_is_up_to_date():
    """docs/telemetry.md is what the schema renders."""
    assert (Path(__file__).parents[2] / "docs" / "telemetry.md").read_text() == render_markdown()
