"""A result is told as the spans and events that the contract names, with the ids that went over the wire."""

import pytest

from otelprobe.reasons import Outcome, Reason
from otelprobe.result import FlowResult
from otelprobe.telemetry import Telemetry, schema
from tests.telemetry.receiver import Inbox, attributes, http_receiver
from tests.telemetry.samples import CANARY, NS, START, exchange, failed, passed, rejecting, settings, step

UNSET, ERROR = 0, 2
INTERNAL, CLIENT = 1, 3


def told(*results: FlowResult) -> Inbox:
    with http_receiver() as inbox:
        telemetry = Telemetry(settings(inbox.endpoint, location="eu-1"), clock=lambda: START + NS)
        for result in results:
            telemetry.publish(result)
        assert telemetry.close().complete
    return inbox


def test_spans_have_the_drawn_ids_times_and_order():
    """Trace, flow, step and exchange ids and times are those of the result, each under its parent."""
    result = passed()
    spans = {int.from_bytes(s.span_id): s for s in told(result).spans}
    expected = {result.span_id: (0, INTERNAL, "flow orders")}
    for one in result.steps:
        expected[one.span_id] = (result.span_id, INTERNAL, one.step)
        expected |= {e.span_id: (one.span_id, CLIENT, e.method) for e in one.exchanges}
    assert {i: (int.from_bytes(s.parent_span_id), s.kind, s.name) for i, s in spans.items()} == expected
    assert {int.from_bytes(s.trace_id) for s in spans.values()} == {result.trace_id}
    root = spans[result.span_id]
    assert (root.start_time_unix_nano, root.end_time_unix_nano) == (result.start_ns, result.end_ns)
    call = result.steps[-1].exchanges[0]
    assert spans[call.span_id].end_time_unix_nano == call.start_ns + int(call.duration * NS)


def test_the_root_continues_the_trace_it_was_given():
    """With a parent span id the flow's span is its child, in the same trace."""
    result = passed(parent_span_id=42)
    root = next(s for s in told(result).spans if s.name == "flow orders")
    assert int.from_bytes(root.parent_span_id) == 42
    assert int.from_bytes(root.trace_id) == result.trace_id


def test_span_attributes_are_those_of_the_schema():
    """No span carries an attribute that the schema does not name, labels apart."""
    known = {a.name for a in (*schema.FLOW_SPAN, *schema.STEP_SPAN, *schema.CLIENT_SPAN, *schema.FACT_SPAN)}
    for span in told(passed(), failed(), rejecting()).spans:
        extra = {n for n in attributes(span) if not n.startswith(schema.LABEL_PREFIX)} - known
        assert not extra


def test_a_http_span_follows_the_semantic_conventions():
    """A CLIENT span has method, URL, server, status, peer, TLS and phases under their standard names."""
    result = passed(steps=(step("call", exchanges=(exchange("GET", "api.example.com", 200, resend_count=1),)),))
    span = next(s for s in told(result).spans if s.kind == CLIENT)
    assert attributes(span) == {
        "otelprobe.provider": "corp",
        "otelprobe.flow.name": "orders",
        "otelprobe.step.name": "call",
        "http.request.method": "GET",
        "url.full": "https://api.example.com/path?code=REDACTED",
        "server.address": "api.example.com",
        "server.port": 443,
        "http.response.status_code": 200,
        "http.request.resend_count": 1,
        "http.request.body.size": 10,
        "http.response.body.size": 200,
        "network.protocol.name": "http",
        "network.protocol.version": "1.1",
        "network.peer.address": "127.0.0.1",
        "network.peer.port": 443,
        "user_agent.synthetic.type": "test",
        "tls.established": True,
        "tls.protocol.name": "tls",
        "tls.protocol.version": "1.3",
        "tls.cipher": "TLS_AES_256_GCM_SHA384",
        "tls.server.issuer": "CN=ca",
        "tls.server.subject": "CN=api.example.com",
        "tls.server.not_before": "2026-05-28T20:26:40Z",
        "tls.server.not_after": "2026-05-29T20:26:40Z",
        "otelprobe.http.phase.dns": 0.001,
        "otelprobe.http.phase.connect": 0.01,
        "otelprobe.http.phase.tls": 0.03,
        "otelprobe.http.phase.ttfb": 0.05,
        "otelprobe.http.phase.transfer": 0.009,
    }


def test_a_failed_step_and_its_flow_have_the_same_error_type():
    """Status Error and `error.type` are on the failed step and the flow, and on no other span; a skip has no length."""
    spans = {s.name: s for s in told(failed()).spans if s.kind == INTERNAL}
    assert {n for n, s in spans.items() if s.status.code == ERROR} == {"flow orders", "verify"}
    assert {n: attributes(s)["error.type"] for n, s in spans.items() if "error.type" in attributes(s)} == {
        "flow orders": "audience_mismatch",
        "verify": "audience_mismatch",
    }
    skipped = spans["call"]
    assert skipped.start_time_unix_nano == skipped.end_time_unix_nano
    assert attributes(skipped)["otelprobe.step.outcome"] == "skip"


def test_an_expected_refusal_is_no_error():
    """A refused bad credential and a refused control request leave the status unset and set no error.type."""
    spans = told(rejecting()).spans
    assert {s.status.code for s in spans} == {UNSET}
    assert not [s for s in spans if "error.type" in attributes(s)]


@pytest.mark.parametrize(
    ("made", "error"),
    [
        (exchange("GET", "a", 500), "api_unavailable"),
        (exchange("GET", "a", None, reason=Reason.READ_TIMEOUT), "read_timeout"),
        (exchange("GET", "a", 401, control=True), None),
        (exchange("GET", "a", 200), None),
    ],
)
def test_an_attempt_that_broke_a_step_says_why(made, error):
    """In a failed step a refusal carries the step's reason, a transport failure its own, a control none."""
    broken = step("call", outcome=Outcome.FAIL, reason=Reason.API_UNAVAILABLE, exchanges=(made,))
    span = next(s for s in told(passed(steps=(broken,))).spans if s.kind == CLIENT)
    assert attributes(span).get("error.type") == error
    assert span.status.code == (UNSET if error is None else ERROR)
    assert span.status.message == ""


def test_events_have_name_time_and_span():
    """Each event carries its name, the time it happened and its span, and only attributes of the schema."""
    result = failed()
    records = told(result).records
    assert [r.event_name for r in records] == [
        "otelprobe.jwks.changed",
        "otelprobe.audit.issued",
        "otelprobe.audit.rejected",
        "otelprobe.flow.completed",
        "otelprobe.flow.failed",
    ]
    assert {int.from_bytes(r.trace_id) for r in records} == {result.trace_id}
    assert all(r.time_unix_nano >= START for r in records)
    by_name = {r.event_name: r for r in records}
    assert int.from_bytes(by_name["otelprobe.audit.rejected"].span_id) == result.steps[3].span_id
    assert attributes(by_name["otelprobe.flow.failed"])["otelprobe.detail"] == CANARY
    for event in schema.EVENTS:
        known = {a.name for a in schema.EVENT_BASE + event.attributes}
        more = [set(attributes(r)) - known for r in records if r.event_name == event.name]
        assert not [k for keys in more for k in keys if not k.startswith(schema.AUDIT_CLAIM_PREFIX)]


def test_an_accepted_bad_credential_is_an_event():
    """Each case that was accepted is told by name, those that were refused are in the audit trail."""
    records = told(rejecting(accepted=True)).records
    found = {r.event_name: attributes(r) for r in records}
    assert found["otelprobe.rejection.accepted"]["otelprobe.rejection.case"] == "garbage"
    assert found["otelprobe.audit.rejected"]["otelprobe.rejection.case"] == ["expired"]


def test_an_audit_fact_becomes_an_event():
    """What is known of a credential is told under names of the schema, listed claims under a prefix, failures as warnings."""
    records = {r.event_name: r for r in told(failed()).records}
    assert attributes(records["otelprobe.audit.issued"]) == {
        "otelprobe.flow.name": "orders",
        "otelprobe.provider": "corp",
        "otelprobe.location": "eu-1",
        "otelprobe.flow.run.id": attributes(records["otelprobe.audit.issued"])["otelprobe.flow.run.id"],
        "otelprobe.step.name": "token",
        "otelprobe.step.kind": "token",
        "otelprobe.step.layer": "auth",
        "otelprobe.audit.passed": True,
        "otelprobe.audit.part": "access_token",
        "otelprobe.audit.held_back": 2,
        "otelprobe.audit.subject": "5" * 32,
        "otelprobe.audit.id": "1" * 32,
        "http.request.method": "POST",
        "url.template": "/token",
        "http.response.status_code": 200,
        "otelprobe.audit.claim.scope": "orders:read",
    }
    assert attributes(records["otelprobe.audit.rejected"])["error.type"] == "audience_mismatch"
    assert records["otelprobe.audit.rejected"].severity_number == 13


def test_one_shot_metrics_have_a_stable_resource():
    """The instance id is the same on every run, and what differs on every run stays off metric resources."""
    first, second = told(passed()), told(passed())
    ids = {r["service.instance.id"] for i in (first, second) for s in ("traces", "metrics") for r in i.resources(s)}
    assert len(ids) == 1
    assert "k8s.pod.name" in first.resources("traces")[0]
    assert "k8s.pod.name" not in first.resources("metrics")[0]
    assert first.resources("traces")[0]["service.name"] == "otelprobe"
    assert first.resources("traces")[0]["otelprobe.location"] == "eu-1"
