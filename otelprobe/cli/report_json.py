"""What machines read: results as one JSON document, every field of which is described in docs/json-output.md."""

import json
import math
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

from otelprobe.cli.timestamp import rfc3339
from otelprobe.reasons import VERDICTS, Reason
from otelprobe.result import Exchange, FactValue, FlowResult, ProviderStatus, StepResult, TlsFacts

VERSION = 1
"""The version of the document. Fields may be added under the same version; a renamed or removed one raises it."""

_PHASES = ("dns", "connect", "tls", "ttfb", "transfer")


def document(
    results: Sequence[FlowResult], delivery: Mapping[str, Mapping[str, int]], exit_code: int
) -> dict[str, Any]:
    """Give the whole document: `delivery` maps a signal (traces, metrics, logs) to its counts."""
    return {
        "version": VERSION,
        "flows": [_flow(result) for result in results],
        "delivery": {signal: dict(counts) for signal, counts in delivery.items()},
        "exit_code": exit_code,
    }


def json_text(value: Mapping[str, Any]) -> str:
    """Write a document as text of ASCII characters only, so that no stream's encoding and no terminal can misread it."""
    return json.dumps(value, indent=2, allow_nan=False) + "\n"


def _flow(result: FlowResult) -> dict[str, Any]:
    return {
        "flow": result.flow,
        "provider": result.provider,
        "labels": dict(result.labels),
        "location": result.location,
        "outcome": result.outcome.value,
        "reason": _word(result.reason),
        "blame": _word(result.blame),
        "counts": _word(result.counts),
        "failed_step": result.failed_step,
        "warnings": [
            {"reason": w.reason.value, "detail": w.detail or None, "step": s.step}
            for s in result.steps
            for w in s.warnings
        ],
        "detail": result.detail,
        "trace_id": f"{result.trace_id:032x}",
        "started_at": rfc3339(result.start_ns),
        "duration": _seconds(result.duration),
        "auth_duration": _seconds(result.auth_duration),
        "api_duration": _seconds(result.api_duration),
        "steps": [_step(step) for step in result.steps],
        "help": _help(result.reason),
        "security": result.reason is not None and VERDICTS[result.reason].security,
        "span_id": f"{result.span_id:016x}",
        "run_id": result.run_id,
        "provider_status": _status(result.provider_status),
    }


def _word(value: StrEnum | None) -> str | None:
    return value.value if value is not None else None


def _help(reason: Reason | None) -> str | None:
    return VERDICTS[reason].help if reason is not None else None


def _step(step: StepResult) -> dict[str, Any]:
    return {
        "step": step.step,
        "kind": step.kind,
        "layer": step.layer.value,
        "outcome": step.outcome.value,
        "reason": _word(step.reason),
        "detail": step.detail,
        "warnings": [{"reason": w.reason.value, "detail": w.detail or None} for w in step.warnings],
        "duration": _seconds(step.duration),
        "span_id": f"{step.span_id:016x}",
        "facts": {str(name): _fact(value) for name, value in step.facts.items()},
        "http": [_http(exchange) for exchange in step.exchanges],
        "blame": _word(step.blame),
        "counts": _word(step.counts),
        "problems": [problem.value for problem in step.problems],
        "started_at": rfc3339(step.start_ns),
        "cases": [
            {"case": c.case, "accepted": c.accepted, "status": c.status, "fetched": c.fetched} for c in step.cases
        ],
        "expiries": [{"subject": e.subject, "name": e.name, "remaining": _seconds(e.remaining)} for e in step.expiries],
        "key_changes": [{"change": c.change, "kid": c.kid} for c in step.key_changes],
        "provider_status": _status(step.provider_status),
        "drift": [{"subject": d.subject.value, "name": d.name, "detail": d.detail} for d in step.drift],
        "findings": [
            {"rule": f.rule, "severity": f.severity.value, "target": f.target, "detail": f.detail, "waived": f.waived}
            for f in step.findings
        ],
    }


def _status(status: ProviderStatus | None) -> dict[str, Any] | None:
    if status is None:
        return None
    return {"state": status.state, "detail": status.detail or None, "component": status.component}


def _http(exchange: Exchange) -> dict[str, Any]:
    return {
        "method": exchange.method,
        "host": exchange.host,
        "status": exchange.status,
        "duration": _seconds(exchange.duration),
        "phases": {name: _seconds(getattr(exchange.phases, name)) for name in _PHASES},
        "reason": _word(exchange.reason),
        "control": exchange.control,
        "resend_count": exchange.resend_count,
        "url": exchange.url,
        "port": exchange.port,
        "http_version": exchange.http_version,
        "peer_address": exchange.peer_address,
        "peer_port": exchange.peer_port,
        "request_size": exchange.request_size,
        "response_size": exchange.response_size,
        "clock_skew": _seconds(exchange.clock_skew),
        "tls": _tls(exchange.tls),
        "started_at": rfc3339(exchange.start_ns),
        "span_id": f"{exchange.span_id:016x}",
        "handshake": exchange.handshake,
    }


def _tls(tls: TlsFacts | None) -> dict[str, Any] | None:
    if tls is None:
        return None
    return {
        "protocol": tls.protocol,
        "cipher": tls.cipher,
        "issuer": tls.issuer,
        "subject": tls.subject,
        "not_before": _time(tls.not_before),
        "not_after": _time(tls.not_after),
    }


def _time(unix: float | None) -> str | None:
    return rfc3339(round(unix * 1000) * 1_000_000) if unix is not None and math.isfinite(unix) else None


def _seconds(value: float | None) -> float | None:
    """Round to the microsecond, which is finer than any clock here; JSON has no word for what is not finite."""
    return round(value, 6) if value is not None and math.isfinite(value) else None


def _fact(value: FactValue) -> object:
    if isinstance(value, tuple):
        return list(value)
    return _seconds(value) if isinstance(value, float) else value
