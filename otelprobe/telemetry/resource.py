"""Where all telemetry of this process comes from: resource and scope, as they stand around every request."""

from collections.abc import Mapping

from otelprobe import __version__
from otelprobe.telemetry import schema
from otelprobe.telemetry.wire import Envelope

_SDK = {
    "telemetry.sdk.language": "python",
    "telemetry.sdk.name": "otelprobe",
    "telemetry.sdk.version": __version__,
}
"""The specification keeps the name `opentelemetry` for what the official SDK has made."""


def envelope(attributes: Mapping[str, str]) -> Envelope:
    """Give what is around the items of a signal whose resource has these attributes."""
    return Envelope({**_SDK, **attributes}, schema.SCOPE, __version__, schema.SCHEMA_URL)
