"""otelprobe: authentication checks that tell by OpenTelemetry what broke, and whose fault it is."""

__version__ = "0.1.0"
