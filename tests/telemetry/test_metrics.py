"""Metrics say what happened: zeros before the first failure, silence when nobody runs, exemplars that lead to the trace."""

from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from otelprobe import __version__
from otelprobe.reasons import Layer
from otelprobe.result import Expiry, Fact, ProviderStatus
from otelprobe.telemetry import Telemetry, schema
from otelprobe.telemetry.attributes import exchange_attributes
from otelprobe.telemetry.metrics import Recorder
from otelprobe.telemetry.points import Collector
from otelprobe.telemetry.resource import envelope
from otelprobe.telemetry.schema import Instrument
from otelprobe.telemetry.series import Store
from tests.telemetry.receiver import REQUESTS, attributes, http_receiver
from tests.telemetry.samples import NS, START, exchange, facts, failed, passed, rejecting, settings, step


class Meter:
    """A store with a clock to turn, and what a collection gives as {(metric, attributes): value}."""

    def __init__(self, *, delta: bool = False) -> None:
        self.now = START + NS
        self.store = Store(lambda: self.now, announce_births=not delta)
        self.recorder = Recorder(self.store)
        self.collector = Collector(self.store, envelope({}), delta=delta, interval=60.0)

    def collect(self, *, newborn_only: bool = False, final: bool = False, confirm: bool = True) -> dict:
        found = {}
        for body, points, newborn in self.collector.collect(newborn_only, final):
            metrics = REQUESTS["metrics"].FromString(body).resource_metrics[0].scope_metrics[0].metrics
            found_here = {m.name: getattr(m, m.WhichOneof("data")).data_points for m in metrics}
            assert points == sum(map(len, found_here.values()))
            for name, data_points in found_here.items():
                for point in data_points:
                    key = name, tuple(sorted((k, str(v)) for k, v in attributes(point).items()))
                    assert key not in found, "one series, one point"
                    found[key] = point
            if confirm:
                self.collector.confirm(newborn)
        return found

    def values(self, metric: schema.Metric, **more) -> dict:
        points = self.collect(**more)
        return {k[1]: number(p) for k, p in points.items() if k[0] == metric.name}


def number(point: Any) -> float:
    """Give a point's value; counters are integers, gauges are not."""
    return getattr(point, point.WhichOneof("value"))


def only(values: dict, *words: str) -> list:
    return [v for k, v in values.items() if all(any(w in pair for pair in k) for w in words)]


def test_counters_start_at_zero_for_every_way_a_flow_can_end():
    """Before any run there is a zero for a pass and for each outcome, blame and objective that the steps can end with."""
    meter = Meter()
    meter.recorder.register([facts()])
    values = meter.values(schema.FLOW_RUNS)
    assert set(values.values()) == {0}
    assert only(values, "pass")
    for blame in ("provider", "api", "network", "edge", "config", "prober"):
        assert [k for k in values if ("otelprobe.flow.blame", blame) in k]
    assert set(meter.values(schema.STEP_RUNS).values()) == {0}
    assert len(meter.values(schema.STEP_RUNS)) == 5 * 4


def test_a_failure_is_told_as_zero_before_it_is_told_as_one():
    """A series born by its first failure shows 0, and 1 only after the zero arrived and had time to be scraped."""
    meter = Meter()
    meter.recorder.register([facts()])
    meter.recorder.record(failed())
    born = meter.values(schema.FLOW_RUNS, newborn_only=True)
    assert list(born.values()) == [0]
    meter.now += 5 * NS
    assert only(meter.values(schema.FLOW_RUNS), "audience_mismatch") == [0]
    meter.now += 11 * NS
    assert only(meter.values(schema.FLOW_RUNS), "audience_mismatch") == [1]
    meter.recorder.record(failed())
    assert only(meter.values(schema.FLOW_RUNS), "audience_mismatch") == [2]


def test_a_zero_that_did_not_arrive_is_told_again():
    """While the collector is away the value waits for its zero; the last collection gives it in any case."""
    meter = Meter()
    meter.recorder.record(failed())
    meter.values(schema.FLOW_RUNS, confirm=False)
    meter.now += 600 * NS
    assert only(meter.values(schema.FLOW_RUNS, confirm=False), "audience_mismatch") == [0]
    assert only(meter.values(schema.FLOW_RUNS, final=True), "audience_mismatch") == [1]


def test_the_zero_of_a_new_series_is_sent_at_once():
    """The first failure sends its zero without waiting for the interval, and close sends its value."""
    with http_receiver() as inbox:
        telemetry = Telemetry(settings(inbox.endpoint, mode="long_lived", metric_interval=3600.0), clock=lambda: START)
        telemetry.register([facts()])
        telemetry.publish(failed())

        def runs() -> list[int]:
            points = inbox.points(schema.FLOW_RUNS.name)
            return [p.as_int for p in points if attributes(p).get("error.type") == "audience_mismatch"]

        inbox.wait(runs)
        assert runs() == [0]
        assert not inbox.points(schema.FLOW_UP.name), "only the zeros leave early"
        telemetry.close()
        assert runs()[-1] == 1


def test_every_interval_has_its_collection():
    """A long-lived process sends its metrics again and again, at the interval that is set."""
    with http_receiver() as inbox:
        telemetry = Telemetry(settings(inbox.endpoint, mode="long_lived", metric_interval=0.05), clock=lambda: START)
        telemetry.publish(passed())
        inbox.wait(lambda: len(inbox.points(schema.FLOW_UP.name)) >= 3)
        telemetry.close()


@pytest.mark.parametrize("fetched", [True, False])
def test_where_a_bad_token_led_the_server_is_a_gauge(fetched: bool):
    """Only a case that names a URL has it, 1 where that was fetched and 0 where not, beside the one of acceptance."""
    meter = Meter()
    meter.recorder.record(rejecting(accepted=fetched))
    assert list(meter.values(schema.REJECTION_FOLLOWED).values()) == [int(fetched)]
    assert len(meter.values(schema.REJECTION)) == 3


def test_a_gauge_goes_silent_after_three_intervals():
    """A flow that no longer runs is not reported as up, but when it last ran is."""
    meter = Meter()
    meter.recorder.register([facts(interval=60.0)])
    result = passed()
    meter.recorder.record(result)
    meter.now = result.end_ns + 179 * NS
    assert list(meter.values(schema.FLOW_UP).values()) == [1]
    meter.now = result.end_ns + 181 * NS
    points = {k[0] for k in meter.collect()}
    assert not points & {m.name for m in schema.METRICS if m.instrument is Instrument.GAUGE and not m.lasting}
    assert {schema.LAST_RUN.name, schema.LAST_SUCCESS.name, schema.OBJECTIVE.name} <= points


def test_when_to_tell_of_an_end_is_data():
    """The notice that a step has is an objective of its flow, for that very thing; a step without one leaves it open."""
    meter = Meter()
    meter.recorder.register([facts()])
    ends = Expiry("api_key", "shop", 9e6, warn_before=3e6, critical_before=6e5), Expiry("tls", "idp", 9e6)
    meter.recorder.record(passed(steps=(step("ends", expiries=ends),)))
    found = {
        dict(key)["otelprobe.objective.name"]: value
        for key, value in meter.values(schema.OBJECTIVE).items()
        if ("otelprobe.expiry.subject", "api_key") in key and ("otelprobe.expiry.name", "shop") in key
    }
    assert found == {"expiry_warning": 3e6, "expiry_critical": 6e5}
    assert not only(meter.values(schema.OBJECTIVE), "idp")


def test_what_expires_runs_down_between_runs():
    """The time remaining is that at the collection, not at the run."""
    meter = Meter()
    meter.recorder.record(passed())
    before = only(meter.values(schema.EXPIRY), "api.example.com")[0]
    meter.now += 10 * NS
    assert before - only(meter.values(schema.EXPIRY), "api.example.com")[0] == 10


def test_a_removed_flow_is_no_longer_reported_and_the_others_go_on():
    """After a reload a removed flow and a removed step have no series, and a flow that stays keeps its counts."""
    meter = Meter()
    meter.recorder.register([facts("stays"), facts("goes")])
    meter.recorder.record(passed("stays"))
    meter.recorder.record(passed("goes"))
    meter.recorder.register([facts("stays", names=("discover", "token"))])
    keys = {k[1] for k in meter.collect()}
    assert not [k for k in keys if ("otelprobe.flow.name", "goes") in k]
    assert not [k for k in keys if ("otelprobe.step.name", "call") in k]
    assert only(meter.values(schema.FLOW_RUNS), "stays", "pass") == [1]


def test_histograms_have_the_buckets_of_the_schema_and_lead_to_the_trace():
    """A measurement falls into its bucket, and its exemplar names the span that was measured; once, not for ever."""
    meter = Meter()
    result = passed()
    meter.recorder.record(result)
    points = {k: p for k, p in meter.collect().items() if k[0] == schema.STEP_DURATION.name}
    verify = next(p for k, p in points.items() if ("otelprobe.step.name", "verify") in k[1])
    assert tuple(verify.explicit_bounds) == schema.STEP_BUCKETS
    assert verify.bucket_counts[schema.STEP_BUCKETS.index(0.0005)] == 1
    assert (verify.count, verify.sum, verify.min, verify.max) == (1, 0.0004, 0.0004, 0.0004)
    assert [(int.from_bytes(e.trace_id), int.from_bytes(e.span_id)) for e in verify.exemplars] == [
        (result.trace_id, result.steps[3].span_id)
    ]
    assert not [e for k, p in meter.collect().items() if k[0] == schema.STEP_DURATION.name for e in p.exemplars]


def test_control_requests_are_not_part_of_the_users_time():
    """Requests that only serve to tell who is to blame are in no duration metric."""
    meter = Meter()
    meter.recorder.record(rejecting())
    assert [p.count for k, p in meter.collect().items() if k[0] == schema.HTTP_DURATION.name] == [1]


def test_delta_temporality_begins_anew_at_each_collection():
    """Under a delta preference each collection gives what is new since the last, and nothing where nothing is."""
    meter = Meter(delta=True)
    meter.recorder.register([facts()])
    meter.recorder.record(failed())
    first = meter.collect()
    assert [number(p) for k, p in first.items() if k[0] == schema.FLOW_RUNS.name] == [1]
    started = meter.now
    meter.now += NS
    assert not [k for k in meter.collect() if k[0] in {schema.FLOW_RUNS.name, schema.STEP_DURATION.name}]
    meter.recorder.record(failed())
    again = next(p for k, p in meter.collect().items() if k[0] == schema.FLOW_RUNS.name)
    assert (number(again), again.start_time_unix_nano) == (1, started + NS)


def test_verification_faults_are_counted_one_by_one():
    """Every fault that a verify step found counts, not only the first."""
    meter = Meter()
    meter.recorder.register([facts()])
    meter.recorder.record(failed())
    values = meter.values(schema.VALIDATION_FAILURES, final=True)
    assert only(values, "audience_mismatch") == only(values, "expired") == [1]


def test_a_six_step_flow_stays_below_150_series():
    """A flow of six steps, with passes and a failure behind it, has at most 150 series."""
    meter = Meter()
    meter.recorder.register([facts(names=("discover", "keys", "token", "verify", "call", "reject"))])
    meter.recorder.record(passed())
    meter.recorder.record(replace(rejecting(), flow="orders"))
    meter.recorder.record(failed())
    assert len(meter.collect()) <= 150


def test_thousands_of_series_go_out_in_small_requests():
    """No request holds many more than 1,500 points, and none is left out or merged into an overflow."""
    meter = Meter()
    names = [f"flow-{n}" for n in range(60)]
    meter.recorder.register([facts(n) for n in names])
    for name in names:
        meter.recorder.record(passed(name))
    sizes = [points for _, points, _ in meter.collector.collect(False, False)]
    assert len(sizes) > 2
    assert max(sizes) < 1700
    assert len(meter.values(schema.FLOW_UP)) == 60


@contextmanager
def running(calls: Callable[[Telemetry], None]):
    with http_receiver() as inbox:
        telemetry = Telemetry(settings(inbox.endpoint, mode="long_lived"), clock=lambda: START + NS)
        telemetry.register([facts()])
        calls(telemetry)
        telemetry.close()
        yield inbox


def test_the_probers_own_health_is_told():
    """Lag, missed runs, reloads, held-back audit events, posture, deliveries, version and memory are metrics."""

    def calls(telemetry: Telemetry) -> None:
        telemetry.schedule_lag(0.02, "orders")
        telemetry.missed("overlap", "orders")
        telemetry.reloaded(ok=True)
        telemetry.audit_suppressed(3)
        telemetry.posture("orders", [("plain_http", "high", 2)])

    with running(calls) as inbox:
        last = {}
        for metric in inbox.metrics:
            for point in getattr(metric, metric.WhichOneof("data")).data_points:
                last[metric.name, tuple(sorted(attributes(point).items()))] = point
    assert last["otelprobe.schedule.lag", ()].count == 1
    assert (
        last[
            "otelprobe.schedule.missed",
            (
                ("otelprobe.flow.name", "orders"),
                ("otelprobe.provider", "corp"),
                ("otelprobe.schedule.reason", "overlap"),
            ),
        ].as_int
        == 1
    )
    assert last["otelprobe.config.reloads", (("otelprobe.config.outcome", "ok"),)].as_int == 1
    assert last["otelprobe.audit.suppressed", ()].as_int == 3
    assert sum(1 for name, _ in last if name == "otelprobe.export.items") == 12
    assert last["otelprobe.build", (("service.version", __version__),)].as_double == 1
    assert 2**20 < last["process.memory.usage", ()].as_double < 2**33
    posture = [p for (name, _), p in last.items() if name == "otelprobe.posture.findings"]
    assert [p.as_double for p in posture] == [2.0]


def test_metrics_carry_only_attributes_of_the_schema():
    """Every point's attributes, unit and kind are those the schema names, labels apart."""

    def calls(telemetry: Telemetry) -> None:
        telemetry.publish(passed())
        telemetry.publish(failed())
        telemetry.publish(rejecting(accepted=True))

    known = {m.name: m for m in schema.METRICS}
    kinds = {Instrument.COUNTER: "sum", Instrument.GAUGE: "gauge", Instrument.HISTOGRAM: "histogram"}
    with running(calls) as inbox:
        assert len(inbox.metrics) > 15
        for metric in inbox.metrics:
            expected = known[metric.name]
            assert (metric.unit, metric.WhichOneof("data")) == (expected.unit, kinds[expected.instrument])
            allowed = {a.name for a in expected.all_attributes}
            for point in getattr(metric, metric.WhichOneof("data")).data_points:
                names = {n for n in attributes(point) if not (expected.labels and n.startswith(schema.LABEL_PREFIX))}
                assert names <= allowed


def test_the_state_that_a_status_page_shows_is_one_of_three():
    """Each state has a series of the provider's, of which one is 1; a step that was skipped tells none."""
    meter = Meter()
    meter.recorder.register([facts()])
    page = step("status_page", Layer.DEPENDENCY, provider_status=ProviderStatus("degraded", "log-ins"))
    meter.recorder.record(replace(passed(), steps=(page,)))
    values = meter.values(schema.PROVIDER_STATUS)
    assert only(values, "degraded") == [1]
    assert only(values, "operational") == only(values, "unknown") == [0]
    assert all(("otelprobe.provider", "corp") in key for key in values)
    other = Meter()
    other.recorder.record(replace(passed(), steps=(replace(page, provider_status=None),)))
    assert other.values(schema.PROVIDER_STATUS) == {}


def test_a_handshake_is_no_http_request():
    """It has phases and a span without HTTP attributes, and no part in the durations of requests."""
    meter = Meter()
    shake = replace(exchange("TLS", "ldap.example.com", None), handshake=True, http_version=None)
    meter.recorder.record(replace(passed(), steps=(step("certificate", Layer.DEPENDENCY, exchanges=(shake,)),)))
    points = {name for name, _ in meter.collect()}
    assert schema.HTTP_DURATION.name not in points
    assert {schema.PHASE_DURATION.name, schema.EXPIRY.name} <= points
    told = exchange_attributes(passed(), step("certificate"), shake)
    assert schema.TLS_VERSION.name in told
    assert not {schema.METHOD.name, schema.URL.name, schema.PROTOCOL_NAME.name} & told.keys()


def test_a_clock_that_only_a_token_tells_of_has_its_series():
    """Where no answer carries a Date, the skew that was read from a token stands for the provider's; a Date wins."""
    claimed = step("verify", exchanges=(), facts={Fact.CLOCK_SKEW: -44.5})
    dated = step("token", exchanges=(exchange("POST", "login.example.com"),), facts={Fact.CLOCK_SKEW: -44.5})
    for row, expected in ((claimed, -44.5), (dated, -0.4)):
        meter = Meter()
        meter.recorder.record(passed(steps=(row,)))
        assert list(meter.values(schema.CLOCK_SKEW).values()) == [expected]
