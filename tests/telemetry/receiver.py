"""An OTLP receiver of our own, over HTTP or gRPC, that can be healthy or fail in the ways collectors fail."""

import gzip
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

REQUESTS = {
    "traces": trace_service_pb2.ExportTraceServiceRequest,
    "metrics": metrics_service_pb2.ExportMetricsServiceRequest,
    "logs": logs_service_pb2.ExportLogsServiceRequest,
}
RESPONSES = {
    "traces": trace_service_pb2.ExportTraceServiceResponse,
    "metrics": metrics_service_pb2.ExportMetricsServiceResponse,
    "logs": logs_service_pb2.ExportLogsServiceResponse,
}
REJECTED = {"traces": "rejected_spans", "metrics": "rejected_data_points", "logs": "rejected_log_records"}


def value(any_value: Any) -> Any:
    kind = any_value.WhichOneof("value")
    if kind == "array_value":
        return [value(v) for v in any_value.array_value.values]
    return getattr(any_value, kind) if kind else None


def attributes(item: Any) -> dict[str, Any]:
    return {a.key: value(a.value) for a in item.attributes}


class Inbox:
    """What arrived, decoded on request. `mode` may be changed while it runs; requests that hold `poison` get a 503."""

    def __init__(self, mode: str) -> None:
        self.mode = mode
        self.poison: bytes | None = None
        self.requests: dict[str, list[Any]] = {s: [] for s in REQUESTS}
        self.bodies: list[bytes] = []
        self.paths: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.endpoint = ""
        self.release = threading.Event()
        self.arrived = threading.Condition()

    def take(self, signal: str, body: bytes, headers: dict[str, str]) -> None:
        with self.arrived:
            self.bodies.append(body)
            self.paths.append(signal)
            self.headers.append(headers)
            if self.mode_for(body) in {"ok", "partial"}:
                self.requests[signal].append(REQUESTS[signal].FromString(body))
            self.arrived.notify_all()

    def mode_for(self, body: bytes) -> str:
        return "503" if self.poison is not None and self.poison in body else self.mode

    def wait(self, ready: Any, seconds: float = 60.0) -> None:
        with self.arrived:
            assert self.arrived.wait_for(ready, seconds), "nothing arrived in time"

    def response(self, signal: str) -> Any:
        response = RESPONSES[signal]()
        if self.mode == "partial":
            setattr(response.partial_success, REJECTED[signal], 1)
        return response

    @property
    def spans(self) -> list[Any]:
        return [
            s for r in self.requests["traces"] for rs in r.resource_spans for ss in rs.scope_spans for s in ss.spans
        ]

    @property
    def records(self) -> list[Any]:
        return [
            e for r in self.requests["logs"] for rl in r.resource_logs for sl in rl.scope_logs for e in sl.log_records
        ]

    @property
    def metrics(self) -> list[Any]:
        return [
            m
            for r in self.requests["metrics"]
            for rm in r.resource_metrics
            for sm in rm.scope_metrics
            for m in sm.metrics
        ]

    def points(self, name: str) -> list[Any]:
        return [p for m in self.metrics if m.name == name for p in getattr(m, m.WhichOneof("data")).data_points]

    def resources(self, signal: str) -> list[dict[str, Any]]:
        member = {"traces": "resource_spans", "metrics": "resource_metrics", "logs": "resource_logs"}[signal]
        return [attributes(r.resource) for request in self.requests[signal] for r in getattr(request, member)]


def _handler(inbox: Inbox) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            signal = self.path.rsplit("/", 1)[-1]
            inbox.take(signal, body, {k.lower(): v for k, v in self.headers.items()})
            if inbox.mode == "hang":
                inbox.release.wait(30)
                self.close_connection = True
                return
            self._reply(signal, inbox.mode_for(body))

        def _reply(self, signal: str, mode: str) -> None:
            replies = {
                "ok": (200, "application/x-protobuf", inbox.response(signal).SerializeToString()),
                "partial": (200, "application/x-protobuf", inbox.response(signal).SerializeToString()),
                "503": (503, "text/plain", b"later"),
                "429": (429, "text/plain", b"slow down"),
                "400": (400, "text/plain", b"bad"),
                "302": (302, "text/plain", b""),
                "html": (200, "text/html", b"<html>portal</html>"),
            }
            status, media_type, body = replies[mode]
            self.send_response(status)
            self.send_header("Content-Type", media_type)
            self.send_header("Content-Length", str(len(body)))
            if status == 302:
                self.send_header("Location", f"{inbox.endpoint}/elsewhere")
            if status == 429:
                self.send_header("Retry-After", "1")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args: Any) -> None:
            return

    return Handler


@contextmanager
def http_receiver(mode: str = "ok") -> Iterator[Inbox]:
    inbox = Inbox(mode)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(inbox))
    server.daemon_threads = True
    inbox.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield inbox
    finally:
        inbox.release.set()
        server.shutdown()
        server.server_close()
        thread.join(5)


@contextmanager
def grpc_receiver(mode: str = "ok") -> Iterator[Inbox]:
    inbox = Inbox(mode)
    codes = {
        "503": grpc.StatusCode.UNAVAILABLE,
        "429": grpc.StatusCode.RESOURCE_EXHAUSTED,
        "400": grpc.StatusCode.INVALID_ARGUMENT,
    }

    def answer(signal: str) -> Any:
        def export(request: bytes, context: Any) -> Any:
            inbox.take(signal, request, dict(context.invocation_metadata()))
            if inbox.mode == "hang":
                inbox.release.wait(30)
            mode = inbox.mode_for(request)
            if mode in codes:
                context.abort(codes[mode], "refused by the test")
            return inbox.response(signal)

        return grpc.unary_unary_rpc_method_handler(
            export, request_deserializer=None, response_serializer=RESPONSES[signal].SerializeToString
        )

    services = {"traces": "trace.v1.Trace", "metrics": "metrics.v1.Metrics", "logs": "logs.v1.Logs"}
    server = grpc.server(ThreadPoolExecutor(6))
    for signal, service in services.items():
        name = f"opentelemetry.proto.collector.{service}Service"
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, {"Export": answer(signal)}),))
    port = server.add_insecure_port("127.0.0.1:0")
    inbox.endpoint = f"http://127.0.0.1:{port}"
    server.start()
    try:
        yield inbox
    finally:
        inbox.release.set()
        server.stop(0).wait()
