"""Flow file and settings to telemetry: the `telemetry:` block becomes the OTEL_* names that it stands for."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote

from otelprobe.config.faults import ConfigError, Fault
from otelprobe.config.models import Telemetry as TelemetryBlock
from otelprobe.config.settings import Settings
from otelprobe.fields import SecretRef
from otelprobe.reasons import CheckFailed

if TYPE_CHECKING:
    from otelprobe.telemetry.settings import TelemetrySettings

_OTLP = "OTEL_EXPORTER_OTLP_"


def telemetry_settings(
    block: TelemetryBlock, settings: Settings, mode: Literal["long_lived", "one_shot"]
) -> "TelemetrySettings":
    """Read OTEL_* and the `telemetry:` block, which wins. ConfigError names what cannot be used."""
    from otelprobe.telemetry.settings import SettingsError, TelemetrySettings  # noqa: PLC0415 - after the runs

    spool = settings.spool_dir or block.spool_dir
    try:
        out = TelemetrySettings.from_environment(
            variables_of(block),
            mode=mode,
            location=settings.location,
            spool=Path(spool) if spool else None,
            budget=block.budget,
        )
    except (SettingsError, CheckFailed) as error:
        text = error.detail if isinstance(error, CheckFailed) else str(error)
        raise ConfigError([Fault("telemetry", None, "", text)]) from None
    faults = [Fault("telemetry", None, "", text) for text in sorted(set(_unreadable(out)))]
    if faults:
        raise ConfigError(faults)
    return out


def _unreadable(out: "TelemetrySettings") -> Iterator[str]:
    """Name certificate files that cannot be read, before anything is run whose telemetry would be lost for it."""
    for signal in (out.traces, out.metrics, out.logs):
        for name in ("certificate", "client_certificate", "client_key"):
            path = getattr(signal, name)
            if path is not None and not os.access(path, os.R_OK):
                yield f"{name} {path} cannot be read: mount the file or mend the path"


def variables_of(block: TelemetryBlock) -> dict[str, str]:
    """Give the block as OTEL_* variables; secrets are read now, CheckFailed(secret_missing) if one cannot be."""
    given: dict[str, object] = {
        f"{_OTLP}ENDPOINT": block.endpoint,
        f"{_OTLP}PROTOCOL": block.protocol,
        f"{_OTLP}TIMEOUT": None if block.timeout is None else max(100, round(block.timeout * 1000)),
        f"{_OTLP}COMPRESSION": block.compression,
        f"{_OTLP}CERTIFICATE": block.certificate,
        f"{_OTLP}CLIENT_CERTIFICATE": block.client_certificate,
        f"{_OTLP}CLIENT_KEY": block.client_key,
        f"{_OTLP}INSECURE": None if block.insecure is None else str(block.insecure).lower(),
        f"{_OTLP}HEADERS": _pairs({k: _plain(v) for k, v in block.headers.items()}),
        "OTEL_METRIC_EXPORT_INTERVAL": None if block.metric_interval is None else block.metric_interval * 1000,
    }
    variables = {name: str(value) for name, value in given.items() if value}
    if block.resource_attributes:
        variables["OTEL_RESOURCE_ATTRIBUTES"] = _with_environment(block)
    return variables


def _with_environment(block: TelemetryBlock) -> str:
    """Add the block's resource attributes to those of the environment, which Kubernetes fills in; the block wins."""
    outside = os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    return ",".join(filter(None, (outside, _pairs(block.resource_attributes))))


def _plain(value: str | SecretRef) -> str:
    return value.read() if isinstance(value, SecretRef) else value


def _pairs(values: Mapping[str, str]) -> str:
    return ",".join(f"{key}={quote(value)}" for key, value in values.items())
