"""The way to a collector: the senders of the OpenTelemetry exporters, with every answer looked at.

What is sent is encoded already (wire.py); the exporters' own encoders are not used. Their sending is: attempts,
backing off, TLS and compression are as in any program that uses them.

The exporters of 1.45 count a redirect and any 200 as success, do not read `partial_success`, and let
REQUESTS_CA_BUNDLE beat the certificate that was set for them; and requests would send `.netrc` credentials. So HTTP
exports go through a session of our own with a response hook, and gRPC exports through an interceptor. gRPC is imported
only where it is chosen: it costs time and memory.
"""

import base64
import json
import os
import sys
import zlib
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol
from urllib.parse import urlsplit

from otelprobe import __version__
from otelprobe.quick import dataclass
from otelprobe.telemetry.delivery import Signal
from otelprobe.telemetry.settings import SettingsError, SignalSettings

if TYPE_CHECKING:
    import grpc  # type: ignore[import-untyped]  # grpcio ships no types
    import requests

_PERMANENT: frozenset[int | str] = frozenset({400, 413, "INVALID_ARGUMENT"})
"""Answers that say the data itself is bad: sending it again would fail for ever."""

_REJECTED = {
    Signal.TRACES: "rejected_spans",
    Signal.METRICS: "rejected_data_points",
    Signal.LOGS: "rejected_log_records",
}
_PROTOBUF = "application/x-protobuf"


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one request: `rejected` items of an accepted one, `permanent` if the data itself was refused.

    `why` is prose for the operator's log on a failure; `refused` says that a collector answered, and not with a yes.
    """

    ok: bool
    rejected: int = 0
    permanent: bool = False
    why: str = ""
    refused: bool = False


class Sink(Protocol):
    """One signal's way out."""

    def export(self, body: bytes) -> Answer:
        """Send a request, with the exporter's own retries."""
        ...

    def replay(self, body: bytes) -> Answer:
        """Send a request once."""
        ...

    def close(self) -> None:
        """Interrupt what is under way; later exports fail at once."""
        ...


class NotOtlpError(Exception):
    """No OTLP receiver answered: something else did, or we stopped asking."""


def open_sink(signal: Signal, settings: SignalSettings, timeout: float) -> Sink:
    """Give the way out that the settings ask for."""
    if settings.exporter == "console":
        return ConsoleSink(signal)
    if settings.protocol == "grpc":
        return GrpcSink(signal, settings, timeout)
    return HttpSink(signal, settings, timeout)


_SERVICES = {Signal.TRACES: "Trace", Signal.METRICS: "Metrics", Signal.LOGS: "Logs"}


def _service(signal: Signal) -> Any:
    """Give the module of a signal's protobuf service; imported now, because start-up pays for it."""
    word = _SERVICES[signal].lower()
    return import_module(f"opentelemetry.proto.collector.{word}.v1.{word}_service_pb2")


def _request_type(signal: Signal) -> Any:
    """Give the protobuf class of a signal's export request."""
    return getattr(_service(signal), f"Export{_SERVICES[signal]}ServiceRequest")


def _response_type(signal: Signal) -> Any:
    """Give the protobuf class of a signal's export response."""
    return getattr(_service(signal), f"Export{_SERVICES[signal]}ServiceResponse")


class _Seen:
    """What the wire said to the request under way; one request at a time for each sink."""

    def __init__(self, signal: Signal) -> None:
        self._signal = signal
        self.clear()

    def clear(self) -> None:
        self.status: int | str | None = None
        self.fault = ""
        self.rejected = 0

    def answered(self, status: int | str) -> None:
        self.status, self.fault = status, ""

    def partial(self, response: Any) -> None:
        self.rejected += getattr(response.partial_success, _REJECTED[self._signal])

    def answer(self, *, ok: bool) -> Answer:
        if ok:
            return Answer(ok, self.rejected)
        why = self.fault or ("" if self.status is None else f"the collector answers {self.status}")
        refused = self.status is not None and not self.fault
        return Answer(ok, self.rejected, self.status in _PERMANENT, why, refused)


_EXPORTERS = {
    Signal.TRACES: ("trace_exporter", "OTLPSpanExporter"),
    Signal.METRICS: ("metric_exporter", "OTLPMetricExporter"),
    Signal.LOGS: ("_log_exporter", "OTLPLogExporter"),
}


def _exporter_class(protocol: Literal["http", "grpc"], signal: Signal) -> Any:
    """Give the OpenTelemetry exporter of a signal; imported now, because start-up pays for it and gRPC is large.

    gRPC's own lines on standard error are switched off unless asked for: a log in JSON must stay one.
    """
    if protocol == "grpc":
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    module, name = _EXPORTERS[signal]
    return getattr(import_module(f"opentelemetry.exporter.otlp.proto.{protocol}.{module}"), name)


class HttpSink:
    """OTLP over HTTP, by the OpenTelemetry exporter and a session of our own."""

    def __init__(self, signal: Signal, settings: SignalSettings, timeout: float) -> None:
        if settings.endpoint is None:
            raise SettingsError(f"no OTLP endpoint for {signal.value}")
        self._signal = signal
        self._settings = settings
        self._endpoint = settings.endpoint
        self._timeout = timeout
        self._closed = False
        self._seen = _Seen(signal)
        self._session = self._open_session()
        self._exporter = self._open_exporter()

    def _open_session(self) -> "requests.Session":
        from requests.utils import get_environ_proxies  # noqa: PLC0415 - start-up

        session = _watched_session(self._seen)
        session.proxies = get_environ_proxies(self._endpoint, no_proxy=None)
        session.trust_env = False
        session.hooks["response"].append(self._look)
        session.auth = self._gate
        return session

    def _open_exporter(self) -> Any:
        from opentelemetry.exporter.otlp.proto.http import Compression  # noqa: PLC0415 - start-up

        return _exporter_class("http", self._signal)(
            endpoint=self._endpoint,
            certificate_file=self._settings.certificate,
            client_key_file=self._settings.client_key,
            client_certificate_file=self._settings.client_certificate,
            headers={"user-agent": f"otelprobe/{__version__}", **self._settings.headers},
            timeout=self._timeout,
            compression=Compression(self._settings.compression),
            session=self._session,
        )

    def _gate(self, request: "requests.PreparedRequest") -> "requests.PreparedRequest":
        """Let nothing out after close(): the exporter would try once more when its connection breaks."""
        if self._closed:
            raise NotOtlpError("the export was interrupted")
        return request

    def _look(self, response: "requests.Response", *_args: object, **_more: object) -> None:
        """Judge an answer; raising makes the exporter count a failure and not try again."""
        self._seen.answered(response.status_code)
        try:
            self._judge(response)
        except NotOtlpError as error:
            self._seen.fault = str(error)
            response.close()
            raise

    def _judge(self, response: "requests.Response") -> None:
        if 300 <= response.status_code < 400:
            raise NotOtlpError(f"the OTLP endpoint answers with a redirect ({response.status_code}); set its final URL")
        if response.status_code >= 300 or not response.content:
            return
        media_type = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if media_type == "application/json":
            return
        if media_type != _PROTOBUF:
            raise NotOtlpError("the OTLP endpoint answers with something that is no OTLP; check its URL")
        self._read_partial(response.content)

    def _read_partial(self, body: bytes) -> None:
        from google.protobuf.message import (  # type: ignore[import-untyped]  # noqa: PLC0415 - no types; start-up
            DecodeError,
        )

        try:
            self._seen.partial(_response_type(self._signal).FromString(body))
        except DecodeError:
            raise NotOtlpError("the OTLP endpoint answers with broken protobuf; check its URL") from None

    def export(self, body: bytes) -> Answer:
        """Send a request, with the exporter's own retries: by its client, as its `export` takes SDK objects only."""
        self._seen.clear()
        return self._seen.answer(ok=bool(self._exporter._client.export(body).success))

    def replay(self, body: bytes) -> Answer:
        """Send a request once."""
        import requests  # noqa: PLC0415 - start-up

        headers = {"user-agent": f"otelprobe/{__version__}", **self._settings.headers, "content-type": _PROTOBUF}
        if self._settings.compression != "none":
            body = zlib.compress(body, wbits=31 if self._settings.compression == "gzip" else 15)
            headers["content-encoding"] = self._settings.compression
        self._seen.clear()
        try:
            reply = self._session.post(
                self._endpoint, data=body, headers=headers, timeout=self._timeout, allow_redirects=False
            )
        except (requests.RequestException, NotOtlpError):
            return self._seen.answer(ok=False)
        return self._seen.answer(ok=200 <= reply.status_code < 300)

    def close(self) -> None:
        """End the exporter's waiting between attempts and close the connections."""
        self._closed = True
        self._exporter.shutdown()


_UNTRUSTED = "the collector's certificate is not trusted: set OTEL_EXPORTER_OTLP_CERTIFICATE to its CA"
_NO_TLS = "the TLS connection is cut: check the client certificate, its key, and whether the endpoint speaks TLS"


def _watched_session(seen: _Seen) -> "requests.Session":
    """Give a session that notes why no answer came: the exporter only tells a log that nobody reads."""
    import requests  # noqa: PLC0415 - start-up

    class Watched(requests.Session):
        def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
            try:
                return super().send(request, **options)
            except requests.RequestException as error:
                seen.status, seen.fault = None, _http_fault(error)
                raise

    return Watched()


def _http_fault(error: "requests.RequestException") -> str:
    """Say why no answer came; the exception's own text, which holds URLs, is only looked at."""
    import requests  # noqa: PLC0415 - start-up

    if isinstance(error, requests.exceptions.ProxyError):
        return "the proxy of HTTP_PROXY or HTTPS_PROXY does not pass them on"
    if isinstance(error, requests.Timeout):
        return "no answer came in time"
    text = str(error)
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return _UNTRUSTED
    # A refused client certificate may show as an alert, as an end of the stream, or as a reset.
    secure = error.request is not None and str(error.request.url).startswith("https:")
    cut = "SSL" in text or "Connection aborted" in text
    return _NO_TLS if secure and cut else "no connection to the endpoint"


def _grpc_fault(call: Any) -> str:
    """Say why no answer came; empty if the collector's own status says it."""
    code, text = call.code().name, call.details() or ""
    if code in {"DEADLINE_EXCEEDED", "CANCELLED"}:  # the second is close(), at the end of the budget
        return "no answer came in time"
    if code != "UNAVAILABLE":
        return ""
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return _UNTRUSTED
    if "TSI_" in text or "handshake" in text.lower():
        return _NO_TLS
    return "no connection to the endpoint" if "failed to connect" in text else ""


_GRPC_METHODS = {
    Signal.TRACES: "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    Signal.METRICS: "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
    Signal.LOGS: "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
}


class GrpcSink:
    """OTLP over gRPC, by the OpenTelemetry exporter with an interceptor that looks at every answer."""

    def __init__(self, signal: Signal, settings: SignalSettings, timeout: float) -> None:
        if settings.endpoint is None:
            raise SettingsError(f"no OTLP endpoint for {signal.value}")
        self._signal = signal
        self._settings = settings
        self._endpoint = settings.endpoint
        self._timeout = timeout
        self._seen = _Seen(signal)
        self._exporter = self._open_exporter()

    @property
    def _insecure(self) -> bool:
        """A scheme decides; without one the transport is secure unless set otherwise, as the specification wants."""
        return {"http": True, "https": False}.get(urlsplit(self._endpoint).scheme, self._settings.insecure)

    def _credentials(self) -> "grpc.ChannelCredentials | None":
        import grpc  # noqa: PLC0415 - costs 15 MiB, only where chosen

        if self._insecure:
            return None
        files = (self._settings.certificate, self._settings.client_key, self._settings.client_certificate)
        root, key, chain = (None if f is None else Path(f).read_bytes() for f in files)
        return grpc.ssl_channel_credentials(root_certificates=root, private_key=key, certificate_chain=chain)

    def _compression(self) -> "grpc.Compression":
        import grpc  # noqa: PLC0415 - costs 15 MiB, only where chosen

        return grpc.Compression.Gzip if self._settings.compression == "gzip" else grpc.Compression.NoCompression

    def _open_exporter(self) -> Any:
        return _watching(_exporter_class("grpc", self._signal), self._signal, self._seen)(
            endpoint=self._endpoint,
            insecure=self._insecure,
            credentials=self._credentials(),
            headers=self._metadata(),
            timeout=self._timeout,
            compression=self._compression(),
        )

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        return tuple((name.lower(), value) for name, value in self._settings.headers.items())

    def export(self, body: bytes) -> Answer:
        """Send a request, with the exporter's own retries."""
        self._seen.clear()
        return self._seen.answer(ok=self._exporter._export(body).name == "SUCCESS")

    def replay(self, body: bytes) -> Answer:
        """Send a request once, over the exporter's channel."""
        import grpc  # noqa: PLC0415 - costs 15 MiB, only where chosen

        self._seen.clear()
        try:
            self._exporter._client.Export(request=body, metadata=self._metadata(), timeout=self._timeout)
        except (grpc.RpcError, ValueError):  # ValueError: the channel was closed by close()
            return self._seen.answer(ok=False)
        return self._seen.answer(ok=True)

    def close(self) -> None:
        """Cancel the call under way and close the channel."""
        self._exporter.shutdown()


def _watching(exporter: Any, signal: Signal, seen: _Seen) -> Any:
    """Give the exporter's class, taking requests that are encoded, with an interceptor on every channel it opens.

    The exporter throws the response away and takes no interceptors, and it opens its channel anew after the first
    UNAVAILABLE; `_initialize_channel_and_stub` is the one place where all of its channels come from.
    """
    import grpc  # noqa: PLC0415 - costs 15 MiB, only where chosen

    class Interceptor(grpc.UnaryUnaryClientInterceptor):  # type: ignore[misc]  # grpc ships no types
        def intercept_unary_unary(self, continuation: Callable[..., Any], details: Any, request: Any) -> Any:
            call = continuation(details, request)
            seen.answered(call.code().name)
            seen.fault = _grpc_fault(call)
            if call.code() is grpc.StatusCode.OK:
                seen.partial(call.result())
            return call

    class Stub:
        def __init__(self, channel: grpc.Channel) -> None:
            self.Export = grpc.intercept_channel(channel, Interceptor()).unary_unary(
                _GRPC_METHODS[signal],
                request_serializer=None,
                response_deserializer=_response_type(signal).FromString,
            )

    class Watching(exporter):  # type: ignore[misc]  # the base class is chosen at run time
        def _initialize_channel_and_stub(self) -> None:
            super()._initialize_channel_and_stub()
            self._client = Stub(self._channel)

        def _translate_data(self, data: bytes) -> bytes:
            return data

        def _count_data(self, data: bytes) -> int:
            return 1 if data else 0

    return Watching


class ConsoleSink:
    """Telemetry as OTLP's JSON on standard error, for people; standard output belongs to the command."""

    def __init__(self, signal: Signal) -> None:
        self._request = _request_type(signal)

    def export(self, body: bytes) -> Answer:
        """Write a request."""
        from google.protobuf.json_format import (  # type: ignore[import-untyped]  # noqa: PLC0415 - no types; start-up
            MessageToDict,
        )

        sys.stderr.write(json.dumps(_readable(MessageToDict(self._request.FromString(body))), indent=4) + "\n")
        sys.stderr.flush()
        return Answer(ok=True)

    def replay(self, body: bytes) -> Answer:
        """Refuse: what waits in the spool is for a collector."""
        _ = body
        return Answer(ok=False)

    def close(self) -> None:
        """Do nothing: standard error stays open."""


def _readable(item: Any) -> Any:
    """Write trace and span ids as OTLP wants them in JSON and people know them: in hexadecimal, not in base64."""
    if isinstance(item, list):
        return [_readable(one) for one in item]
    if not isinstance(item, dict):
        return item
    return {k: base64.b64decode(v).hex() if k in _IDS else _readable(v) for k, v in item.items()}


_IDS = frozenset({"traceId", "spanId", "parentSpanId"})
