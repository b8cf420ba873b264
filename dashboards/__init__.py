"""Dashboards and alert rules of otelprobe, made from one source; see docs/dashboards.md and docs/alerts.md."""
