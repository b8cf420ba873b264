"""What telemetry is set up from: the standard OTEL_* variables, or the same names given by the configuration."""

import math
import os
import platform
import uuid
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from types import MappingProxyType
from typing import Literal
from urllib.parse import unquote, urlsplit

from otelprobe import __version__
from otelprobe.quick import dataclass
from otelprobe.telemetry import schema
from otelprobe.telemetry.delivery import Signal

_SERVICE_NAMESPACE = uuid.UUID("4d63009a-8d0f-11ee-aad7-4c796ed8e320")
"""The namespace that the semantic conventions name for a derived service.instance.id."""

_PER_RUN = ("k8s.pod.name", "k8s.pod.uid", "k8s.pod.ip", "k8s.pod.start_time", "k8s.job.name", "k8s.job.uid")
"""Resource attributes that differ on every one-shot run: on metrics they would make new series each time."""

_NOTHING: Mapping[str, str] = MappingProxyType({})


class SettingsError(ValueError):
    """A setting cannot be used; the text names the variable and the mend, never its value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalSettings:
    """How one signal leaves. `endpoint` is the full URL for HTTP, and host:port or a URL for gRPC. Seconds."""

    exporter: Literal["otlp", "console", "none"] = "none"
    endpoint: str | None = field(default=None, repr=False)
    protocol: Literal["http/protobuf", "grpc"] = "http/protobuf"
    headers: Mapping[str, str] = field(default_factory=lambda: _NOTHING, repr=False)
    timeout: float = 10.0
    compression: Literal["none", "gzip", "deflate"] = "none"
    certificate: str | None = None
    client_certificate: str | None = None
    client_key: str | None = None
    insecure: bool = False

    @property
    def on(self) -> bool:
        """Tell whether anything is to be sent."""
        return self.exporter == "console" or (self.exporter == "otlp" and self.endpoint is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueSettings:
    """When a batch leaves (long-lived mode): after `delay` seconds or at `batch` items; beyond `size` the oldest go."""

    delay: float
    size: int = 2048
    batch: int = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class TelemetrySettings:
    """Everything telemetry needs to know. Seconds and bytes.

    `budget` (5 s) is the most that `close` may take for all signals together. `spool` is the directory for what could
    not be delivered, `spool_bytes` (64 MiB) its cap. `mode` decides whether counters and histograms are sent at all.
    """

    traces: SignalSettings = field(default_factory=SignalSettings)
    metrics: SignalSettings = field(default_factory=SignalSettings)
    logs: SignalSettings = field(default_factory=SignalSettings)
    span_queue: QueueSettings = field(default_factory=lambda: QueueSettings(delay=5.0))
    log_queue: QueueSettings = field(default_factory=lambda: QueueSettings(delay=1.0))
    mode: Literal["long_lived", "one_shot"] = "long_lived"
    metric_interval: float = 60.0
    delta: bool = False
    exemplars: bool = True
    service_name: str = "otelprobe"
    instance_id: str | None = None
    location: str | None = None
    resource: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    spool: Path | None = None
    spool_bytes: int = 64 * 1024 * 1024
    budget: float = 5.0

    @property
    def disabled(self) -> bool:
        """Tell whether no signal has anywhere to go."""
        return not (self.traces.on or self.metrics.on or self.logs.on)

    def of(self, signal: Signal) -> SignalSettings:
        """Give the settings of one signal."""
        return {Signal.TRACES: self.traces, Signal.METRICS: self.metrics, Signal.LOGS: self.logs}[signal]

    def resource_attributes(self, signal: Signal | None = None) -> dict[str, str]:
        """Give the resource's attributes; those of one-shot metrics leave out what differs on every run."""
        attributes = {
            **self.resource,
            "service.name": self.service_name,
            "service.version": self.resource.get("service.version", __version__),
            "service.instance.id": self.instance(),
            schema.MODE.name: self.mode,
        }
        if self.location is not None:
            attributes[schema.LOCATION.name] = self.location
        if signal is Signal.METRICS and self.mode == "one_shot":
            attributes = {k: v for k, v in attributes.items() if k not in _PER_RUN}
        return attributes

    def instance(self) -> str:
        """Give the service.instance.id: as set, or derived from what stays the same from run to run; never random."""
        given = self.instance_id or self.resource.get("service.instance.id")
        if given:
            return given
        space = self.resource.get("k8s.namespace.name", "")
        job = self.resource.get("k8s.cronjob.name") or self.service_name
        parts = [space, job, self.location or ""]
        if self.mode == "long_lived":
            parts.append(self.resource.get("k8s.pod.name") or platform.node())
        return str(uuid.uuid5(_SERVICE_NAMESPACE, "/".join(parts)))

    @classmethod
    def from_environment(
        cls,
        overrides: Mapping[str, str] = _NOTHING,
        *,
        environ: Mapping[str, str] | None = None,
        mode: Literal["long_lived", "one_shot"] = "long_lived",
        location: str | None = None,
        spool: Path | None = None,
        budget: float = 5.0,
    ) -> "TelemetrySettings":
        """Read the OTEL_* variables; `overrides` (the same names) win over them. SettingsError names what is wrong."""
        read = _Variables({**(os.environ if environ is None else environ), **overrides})
        resource = read.pairs("OTEL_RESOURCE_ATTRIBUTES")
        off = read.flag("OTEL_SDK_DISABLED")
        traces, metrics, logs = (SignalSettings() if off else _signal(read, s) for s in Signal)
        return cls(
            traces=traces,
            metrics=metrics,
            logs=logs,
            span_queue=_queue(read, "BSP", delay=5.0),
            log_queue=_queue(read, "BLRP", delay=1.0),
            mode=mode,
            metric_interval=read.number("OTEL_METRIC_EXPORT_INTERVAL", 60_000) / 1000,
            delta=_is_delta(read),
            exemplars=read.choice("OTEL_METRICS_EXEMPLAR_FILTER", "trace_based", _EXEMPLAR_FILTERS) != "always_off",
            service_name=read.text("OTEL_SERVICE_NAME") or resource.get("service.name") or "otelprobe",
            location=location,
            resource=resource,
            spool=spool,
            budget=budget,
        )


_EXEMPLAR_FILTERS = ("trace_based", "always_on", "always_off")
_TEMPORALITIES = ("cumulative", "delta", "lowmemory")


def _is_delta(read: "_Variables") -> bool:
    """Read the temporality preference; for plain counters and histograms `lowmemory` is `delta`."""
    return (
        read.choice("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "cumulative", _TEMPORALITIES) != "cumulative"
    )


def _queue(read: "_Variables", family: str, *, delay: float) -> QueueSettings:
    size = int(read.number(f"OTEL_{family}_MAX_QUEUE_SIZE", 2048))
    batch = int(read.number(f"OTEL_{family}_MAX_EXPORT_BATCH_SIZE", 512))
    wait = read.number(f"OTEL_{family}_SCHEDULE_DELAY", delay * 1000) / 1000
    return QueueSettings(delay=wait, size=size, batch=min(batch, size))


def _signal(read: "_Variables", signal: Signal) -> SignalSettings:
    word = signal.value.upper()
    exporter = read.choice(f"OTEL_{word}_EXPORTER", "otlp", ("otlp", "console", "none"))
    protocol = read.otlp_choice(word, "PROTOCOL", "http/protobuf", ("http/protobuf", "grpc"))
    compression = read.otlp_choice(word, "COMPRESSION", "none", ("none", "gzip", "deflate"))
    if protocol == "grpc" and compression == "deflate":
        raise SettingsError("OTEL_EXPORTER_OTLP_COMPRESSION: gRPC exports take gzip or none")
    certificate = read.otlp(word, "CERTIFICATE")
    for fallback in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        certificate = certificate or read.text(fallback)
    return SignalSettings(
        exporter=exporter,  # type: ignore[arg-type]  # choice() has checked it
        endpoint=_endpoint(read, signal, protocol),
        protocol=protocol,  # type: ignore[arg-type]  # otlp_choice() has checked it
        headers=read.otlp_pairs(word, "HEADERS"),
        timeout=_timeout(read.otlp_number(word, "TIMEOUT", 10.0)),
        compression=compression,  # type: ignore[arg-type]  # otlp_choice() has checked it
        certificate=certificate or None,
        client_certificate=read.otlp(word, "CLIENT_CERTIFICATE") or None,
        client_key=read.otlp(word, "CLIENT_KEY") or None,
        insecure=read.otlp(word, "INSECURE").lower() == "true",
    )


def _endpoint(read: "_Variables", signal: Signal, protocol: str) -> str | None:
    own = read.text(f"OTEL_EXPORTER_OTLP_{signal.value.upper()}_ENDPOINT")
    base = read.text("OTEL_EXPORTER_OTLP_ENDPOINT")
    url = own or base
    if not url:
        return None
    if protocol == "grpc":
        return url
    if urlsplit(url).scheme not in {"http", "https"} or not urlsplit(url).hostname:
        raise SettingsError("OTEL_EXPORTER_OTLP_ENDPOINT: write a URL such as http://collector:4318")
    return own or f"{base.rstrip('/')}/v1/{signal.value}"


def _timeout(value: float) -> float:
    """Tell milliseconds (the specification) from seconds (the Python exporters) by size: nobody waits 100 s or 99 ms."""
    return value / 1000 if value >= 100 else value


class _Variables:
    """Environment variables by name; an empty one counts as unset, as the specification wants."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values

    def text(self, name: str) -> str:
        return self._values.get(name, "").strip()

    def flag(self, name: str) -> bool:
        return self.text(name).lower() == "true"

    def number(self, name: str, default: float) -> float:
        text = self.text(name)
        if not text:
            return default
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and value > 0):
            raise SettingsError(f"{name}: write a number above 0")
        return value

    def choice(self, name: str, default: str, allowed: tuple[str, ...]) -> str:
        value = self.text(name).lower() or default
        if value not in allowed:
            raise SettingsError(f"{name}: write one of {', '.join(allowed)}")
        return value

    def pairs(self, name: str) -> dict[str, str]:
        """Read `a=b,c=d` with percent-encoded values."""
        pairs: dict[str, str] = {}
        for item in filter(None, (part.strip() for part in self.text(name).split(","))):
            key, mark, value = item.partition("=")
            if not mark or not key.strip():
                raise SettingsError(f"{name}: write key=value, separated by commas")
            pairs[key.strip()] = unquote(value.strip())
        return pairs

    def _named(self, signal: str, name: str) -> str:
        """Give the variable for one signal if it is set, else the one for all."""
        own = f"OTEL_EXPORTER_OTLP_{signal}_{name}"
        return own if self.text(own) else f"OTEL_EXPORTER_OTLP_{name}"

    def otlp(self, signal: str, name: str) -> str:
        return self.text(self._named(signal, name))

    def otlp_choice(self, signal: str, name: str, default: str, allowed: tuple[str, ...]) -> str:
        return self.choice(self._named(signal, name), default, allowed)

    def otlp_number(self, signal: str, name: str, default: float) -> float:
        return self.number(self._named(signal, name), default)

    def otlp_pairs(self, signal: str, name: str) -> dict[str, str]:
        return self.pairs(self._named(signal, name))
