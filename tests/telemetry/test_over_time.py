"""What only shows between runs is told: age of keys, drift, lost memory, and posture findings that come and go."""

from dataclasses import replace

from otelprobe.reasons import Reason
from otelprobe.result import DriftChange, DriftSubject, Finding, Severity, StepResult, Warn
from otelprobe.telemetry import Telemetry, schema
from tests.telemetry.receiver import attributes, http_receiver
from tests.telemetry.samples import facts, passed, settings, step
from tests.telemetry.test_metrics import Meter

LIFETIME = DriftChange(DriftSubject.LIFETIMES, "access", "access was 300 s, is 900 s")


def look(*findings: Finding) -> StepResult:
    """Give the row of a posture step."""
    return step("posture", facts={"posture.rules": 40, "posture.findings": ()}, findings=findings)


def finding(rule: str, severity: Severity = Severity.HIGH, waived: str | None = None) -> Finding:
    return Finding(rule, severity, "login.example.com", "detail", waived)


def test_drift_is_counted_from_zero_by_subject():
    """A flow that is compared has a zero for every subject; a change adds one; a flow that is not has none."""
    meter = Meter()
    meter.recorder.register([replace(facts(), drift=True)])
    values = meter.values(schema.DRIFT_CHANGES)
    assert sorted(dict(key)["otelprobe.drift.subject"] for key in values) == sorted(DriftSubject)
    assert set(values.values()) == {0}
    result = passed()
    meter.recorder.record(replace(result, steps=(step("token", drift=(LIFETIME,)),)))
    found = meter.values(schema.DRIFT_CHANGES, final=True)
    assert {dict(k)["otelprobe.drift.subject"]: v for k, v in found.items() if v} == {"lifetimes": 1}
    other = Meter()
    other.recorder.register([facts()])
    assert other.values(schema.DRIFT_CHANGES) == {}


def test_the_age_of_the_oldest_key_is_a_gauge_of_the_provider():
    """The age is told under the provider's name alone: several flows share its keys."""
    meter = Meter()
    meter.recorder.register([facts()])
    meter.recorder.record(replace(passed(), steps=(step("keys", facts={"jwks.key_age": 86400.0}),)))
    ((key, value),) = meter.values(schema.KEY_AGE).items()
    assert (set(dict(key)), value) == ({"otelprobe.provider"}, 86400.0)


def test_posture_findings_stand_until_the_next_look():
    """Findings are counted by rule and severity without waived ones; a run without a look leaves them, a look replaces them."""
    meter = Meter()
    meter.recorder.register([facts()])

    def told() -> dict[tuple[str, str], float]:
        values = meter.values(schema.POSTURE)
        named = {k: dict(k) for k in values}
        return {
            (named[k]["otelprobe.posture.rule"], named[k]["otelprobe.posture.severity"]): v for k, v in values.items()
        }

    broken = (finding("pkce-plain", Severity.MEDIUM), finding("key-weak"), finding("key-weak"))
    first = look(*broken, finding("grant-password", waived="legacy"))
    meter.recorder.record(replace(passed(), steps=(first,)))
    expected = {("pkce-plain", "medium"): 1, ("key-weak", "high"): 2}
    assert told() == expected
    meter.recorder.record(passed())
    assert told() == expected
    meter.recorder.record(replace(passed(), steps=(look(broken[0]),)))
    assert told() == {("pkce-plain", "medium"): 1}


def test_drift_and_lost_memory_are_events():
    """Each says what differs, or what was lost, in prose and by name; metrics and spans hold neither."""
    lost = Warn(Reason.STATE_LOST, "state file x cannot be read; it is started anew")
    result = replace(passed(), steps=(step("token", drift=(LIFETIME,), warnings=(lost,)),))
    with http_receiver() as inbox:
        telemetry = Telemetry(settings(inbox.endpoint))
        telemetry.publish(result)
        assert telemetry.close().complete
    records = {r.event_name: attributes(r) for r in inbox.records}
    drift = records[schema.DRIFT_DETECTED.name]
    assert (drift["otelprobe.drift.subject"], drift["otelprobe.drift.name"]) == ("lifetimes", "access")
    assert drift["otelprobe.detail"] == LIFETIME.detail
    assert records[schema.STATE_LOST.name]["otelprobe.detail"] == lost.detail
