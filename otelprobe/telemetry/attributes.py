"""What a result says of itself, as attributes: pure functions of frozen facts, shared by spans, metrics and events.

`detail` is not among them: prose goes into events only.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from operator import attrgetter

from otelprobe.reasons import Outcome, Reason
from otelprobe.result import AuditFact, Exchange, Fact, FlowResult, StepResult, TlsFacts
from otelprobe.telemetry import schema

AttributeValue = str | bool | int | float | tuple[str, ...]
Attributes = dict[str, AttributeValue]

_SECONDS = attrgetter(*schema.PHASES)
_FACTS: Mapping[str, str] = {fact.value: schema.FACT_PREFIX + fact.value for fact in Fact}


def exchange_error(step: StepResult, exchange: Exchange) -> Reason | None:
    """Give the `error.type` of one attempt, if it failed.

    A transport failure always is one. A refusal is one only if the step failed by it: the bad credentials of a `reject`
    step and control requests are meant to be refused, and a step that passed expected the status it got.
    """
    if exchange.reason is not None:
        return exchange.reason
    if exchange.control or step.kind == "reject" or step.outcome is Outcome.PASS:
        return None
    return step.reason if (exchange.status or 0) >= 400 else None


def flow_attributes(result: FlowResult) -> Attributes:
    """Give the attributes of a flow's span."""
    auth, api = result.auth_duration, result.api_duration
    attributes: Attributes = {
        schema.FLOW.name: result.flow,
        schema.RUN_ID.name: result.run_id,
        schema.AUTH_DURATION.name: auth,
        schema.API_DURATION.name: api,
        **verdict_attributes(result),
    }
    if auth + api > 0:
        attributes[schema.AUTH_SHARE.name] = auth / (auth + api)
    if result.provider is not None:
        attributes[schema.PROVIDER.name] = result.provider
    if result.location is not None:
        attributes[schema.LOCATION.name] = result.location
    for label, value in result.labels.items():
        attributes[schema.LABEL_PREFIX + label] = value
    return attributes


def verdict_attributes(result: FlowResult) -> Attributes:
    """Give how a run ended: outcome, on anything but a pass why, whose fault and what it spends; what a status page says."""
    attributes: Attributes = {schema.FLOW_OUTCOME.name: result.outcome.value}
    if result.reason is not None:
        attributes[schema.ERROR_TYPE.name] = result.reason.value
    if result.blame is not None:
        attributes[schema.BLAME.name] = result.blame.value
    if result.counts is not None:
        attributes[schema.COUNTS.name] = result.counts.value
    if result.failed_step is not None:
        attributes[schema.FAILED_STEP.name] = result.failed_step
    if result.provider_status is not None:
        attributes[schema.PROVIDER_STATE.name] = result.provider_status.state
    return attributes


def step_attributes(result: FlowResult, step: StepResult) -> Attributes:
    """Give the attributes of a step's span: what it is, how it ended, and the facts it found."""
    attributes: Attributes = {
        schema.FLOW.name: result.flow,
        schema.STEP.name: step.step,
        schema.KIND.name: step.kind,
        schema.LAYER.name: step.layer.value,
        schema.STEP_OUTCOME.name: step.outcome.value,
        schema.STEP_INDEX.name: step.index,
    }
    if result.provider is not None:
        attributes[schema.PROVIDER.name] = result.provider
    if step.reason is not None and step.outcome is not Outcome.PASS:
        attributes[schema.ERROR_TYPE.name] = step.reason.value
    for name, value in step.facts.items():
        if name in _FACTS:
            attributes[_FACTS[name]] = value
    return attributes


def exchange_attributes(result: FlowResult, step: StepResult, exchange: Exchange) -> Attributes:
    """Give the attributes of one HTTP attempt's span; flow and step stand on it too, for metrics made from spans."""
    attributes: Attributes = {
        schema.FLOW.name: result.flow,
        schema.STEP.name: step.step,
        schema.SERVER_ADDRESS.name: exchange.host,
        schema.SERVER_PORT.name: exchange.port,
        schema.SYNTHETIC.name: schema.SYNTHETIC_TYPE,
    }
    if not exchange.handshake:
        attributes |= {
            schema.METHOD.name: exchange.method,
            schema.URL.name: exchange.url,
            schema.PROTOCOL_NAME.name: "http",
        }
    optional: dict[str, AttributeValue | None] = {
        schema.PROVIDER.name: result.provider,
        schema.STATUS_CODE.name: exchange.status,
        schema.PROTOCOL_VERSION.name: exchange.http_version,
        schema.PEER_ADDRESS.name: exchange.peer_address,
        schema.PEER_PORT.name: exchange.peer_port,
        schema.REQUEST_SIZE.name: exchange.request_size,
        schema.RESPONSE_SIZE.name: exchange.response_size,
        schema.RESEND_COUNT.name: exchange.resend_count or None,
        schema.CONTROL.name: exchange.control or None,
        schema.ERROR_TYPE.name: exchange_error(step, exchange),
    }
    attributes.update({name: value for name, value in optional.items() if value is not None})
    for phase, seconds in phases(exchange):
        attributes[schema.PHASE_SPAN[phase].name] = seconds
    if exchange.tls is not None:
        attributes.update(tls_attributes(exchange.tls))
    return attributes


def phases(exchange: Exchange) -> tuple[tuple[str, float], ...]:
    """Give the phases that took place, with their seconds."""
    named = zip(schema.PHASES, _SECONDS(exchange.phases), strict=True)
    return tuple([(phase, seconds) for phase, seconds in named if seconds is not None])


def tls_attributes(tls: TlsFacts) -> Attributes:
    """Give what the TLS handshake showed."""
    attributes: Attributes = {
        schema.TLS_ESTABLISHED.name: True,
        schema.TLS_PROTOCOL.name: "tls",
        schema.TLS_VERSION.name: tls.protocol,
        schema.TLS_CIPHER.name: tls.cipher,
    }
    if tls.issuer is not None:
        attributes[schema.TLS_ISSUER.name] = tls.issuer
    if tls.subject is not None:
        attributes[schema.TLS_SUBJECT.name] = tls.subject
    if tls.not_before is not None:
        attributes[schema.TLS_NOT_BEFORE.name] = _iso(tls.not_before)
    if tls.not_after is not None:
        attributes[schema.TLS_NOT_AFTER.name] = _iso(tls.not_after)
    return attributes


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def audit_attributes(fact: AuditFact) -> Attributes:
    """Give what the audit trail says of a credential, besides where and when."""
    told = {
        schema.AUDIT_PART.name: fact.part,
        schema.AUDIT_SUBJECT.name: fact.subject,
        schema.AUDIT_ID.name: fact.ident,
        schema.AUDIT_PREVIOUS.name: fact.previous,
        schema.ERROR_TYPE.name: fact.reason.value if fact.reason is not None else None,
        schema.METHOD.name: fact.method,
        schema.URL_TEMPLATE.name: fact.route,
        schema.STATUS_CODE.name: fact.status,
        schema.CASE.name: fact.cases or None,
        schema.AUDIT_HELD_BACK.name: fact.held_back or None,
    }
    attributes: Attributes = {schema.AUDIT_PASSED.name: fact.passed}
    attributes.update({name: value for name, value in told.items() if value is not None})
    attributes.update({schema.AUDIT_CLAIM_PREFIX + name: value for name, value in fact.claims.items()})
    return attributes
