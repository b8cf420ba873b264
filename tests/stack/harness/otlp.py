"""Telemetry of anybody: a span and a log record made by hand, for what otelprobe itself would never send."""

import secrets
import time
from collections.abc import Mapping

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from tests.stack.harness.process import session


def send_span(endpoint: str, trace_id: str, attributes: Mapping[str, str], *, service: str = "somebody") -> None:
    """Send one finished span over OTLP/HTTP."""
    request = ExportTraceServiceRequest()
    whole = request.resource_spans.add(resource=_resource(service))
    now = time.time_ns()
    whole.scope_spans.add().spans.add(
        trace_id=bytes.fromhex(trace_id),
        span_id=secrets.token_bytes(8),
        name="span",
        start_time_unix_nano=now - 1_000_000,
        end_time_unix_nano=now,
        attributes=_pairs(attributes),
    )
    _post(f"{endpoint}/v1/traces", request.SerializeToString())


def send_event(endpoint: str, trace_id: str, attributes: Mapping[str, str]) -> None:
    """Send one log record over OTLP/HTTP."""
    request = ExportLogsServiceRequest()
    whole = request.resource_logs.add(resource=_resource("somebody"))
    whole.scope_logs.add().log_records.add(
        trace_id=bytes.fromhex(trace_id), time_unix_nano=time.time_ns(), attributes=_pairs(attributes)
    )
    _post(f"{endpoint}/v1/logs", request.SerializeToString())


def _resource(service: str) -> Resource:
    return Resource(attributes=_pairs({"service.name": service}))


def _pairs(values: Mapping[str, str]) -> list[KeyValue]:
    return [KeyValue(key=key, value=AnyValue(string_value=value)) for key, value in values.items()]


def _post(url: str, body: bytes) -> None:
    with session() as http:
        http.post(url, data=body, headers={"Content-Type": "application/x-protobuf"}, timeout=30).raise_for_status()
