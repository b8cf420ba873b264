"""How a result is told: spans, metrics and log events, made from frozen facts after the run.

`publish.Telemetry` is the door; `settings.TelemetrySettings` is what it is set up from. Importing this package imports
no OpenTelemetry module: those are loaded when telemetry is on.
"""

from otelprobe.telemetry.delivery import Delivery, SignalCount
from otelprobe.telemetry.publish import Telemetry
from otelprobe.telemetry.settings import SettingsError, SignalSettings, TelemetrySettings

__all__ = ["Delivery", "SettingsError", "SignalCount", "SignalSettings", "Telemetry", "TelemetrySettings"]
