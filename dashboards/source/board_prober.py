"""Prober health: whether otelprobe itself does its work."""

from dashboards.source import recording as rec
from dashboards.source.frame import Board, Row
from dashboards.source.panels import (
    GREEN,
    HEATMAP,
    HERE,
    RED,
    YELLOW,
    Column,
    Panel,
    grid,
    heat,
    lines,
    number,
    prom,
)  # fmt: skip
from dashboards.source.promql import (
    ENV,
    LOCATION,
    by,
    label,
    quantile,
    select,
    sum_increase,
    sum_rate,
)  # fmt: skip
from otelprobe.telemetry import schema

_RATE = "$__rate_interval"
_WHO = f"{{{{{LOCATION}}}}} {{{{prober}}}}"
_EACH = ("instance", LOCATION)


def _short(expr: str) -> str:
    """Name probers by the first part of a random id, and otherwise by what they are called."""
    return f'label_replace({expr}, "prober", "$1", "instance", "(.*?)((-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}})?")'


def prober() -> Board:
    """Give the board."""
    return Board(
        "otelprobe-prober",
        "otelprobe / Prober health",
        "Runs, lag and missed runs, what became of the telemetry, reloads, memory and versions.",
        (
            Row("Now", (*_numbers(),)),
            Row("Schedule", (*_schedule(),)),
            Row("Delivery", (*_delivery(),)),
            Row("Process", (*_process(),)),
        ),
    )


def _numbers() -> tuple[Panel, ...]:
    failed = f'{label(schema.EXPORT_OUTCOME)}="failed"'
    refused = f'{label(schema.RELOAD_OUTCOME)}="refused"'
    return (
        number("Probers", "Long-lived probers that report.", f"count({select(schema.BUILD, HERE)})", "none", ((None, RED), (1, GREEN)), span=6),
        number("Flows on schedule", "Flows that they run.", f"sum({select(schema.SCHEDULE_FLOWS, HERE)})", "none", ((None, GREEN),), span=6),
        number("Undelivered", "Spans, data points and log records that were not delivered within the range.",
               f"round(sum(increase({select(schema.EXPORT_ITEMS, HERE, failed)}[$__range])))", "none", ((None, GREEN), (1, YELLOW)), span=6),
        number("Refused reloads", "Configurations that were not taken within the range.",
               f"round(sum(increase({select(schema.CONFIG_RELOADS, HERE, refused)}[$__range])))", "none", ((None, GREEN), (1, RED)), span=6),
    )  # fmt: skip


def _schedule() -> tuple[Panel, ...]:
    reason = label(schema.MISSED_REASON)
    classic = f"sum by (le) (increase({select(schema.SCHEDULE_LAG, HERE, suffix='_bucket')}[{_RATE}]))"
    native = f"sum(increase({select(schema.SCHEDULE_LAG, HERE)}[{_RATE}]))"
    return (
        lines("Runs a minute", "Runs of all flows, by prober.", [prom(_short(f"{select(rec.PROBER_RUNS, HERE)} * 60"), _WHO)],
              "none", stacked=True),
        lines("Lag", "How late runs start, 99th percentile; above 5 s an alert fires.",
              [prom(_short(quantile(0.99, schema.SCHEDULE_LAG, _RATE, _EACH, HERE)), _WHO)], "s", steps=((None, GREEN), (5, RED))),
        lines("Missed runs", "Planned runs that did not take place, a minute, by reason.",
              [prom(f"60 * sum {by((reason,))} ({select(rec.PROBER_MISSED, HERE)})", f"{{{{{reason}}}}}")], "none", stacked=True),
        heat("Lag of all runs", "How late runs start.", [
            prom(classic, "{{le}}").format(HEATMAP), prom(native, "native", "B")], "s"),
    )  # fmt: skip


def _delivery() -> tuple[Panel, ...]:
    signal, outcome = label(schema.SIGNAL), label(schema.EXPORT_OUTCOME)
    rate = sum_rate(schema.EXPORT_ITEMS, _RATE, (signal, outcome), HERE)
    bad = sum_rate(schema.EXPORT_ITEMS, _RATE, (signal, outcome), HERE, f'{outcome}!="sent"')
    return (
        lines("Telemetry sent", "Items a second, by signal and what became of them.", [prom(rate, f"{{{{{signal}}}}} {{{{{outcome}}}}}")], "cps"),
        lines("Telemetry not sent at once", "Items that failed, were spooled, or were sent later from the spool.",
              [prom(bad, f"{{{{{signal}}}}} {{{{{outcome}}}}}")], "cps", stacked=True),
    )  # fmt: skip


def _process() -> tuple[Panel, ...]:
    outcome, version = label(schema.RELOAD_OUTCOME), label(schema.SERVICE_VERSION)
    shard, shards = label(schema.SHARD), label(schema.SHARDS)
    build = f"max {by(('instance', version, ENV, LOCATION))} ({select(schema.BUILD, HERE)})"
    flows = f"max {by(('instance', shard, shards))} ({select(schema.SCHEDULE_FLOWS, HERE)})"
    return (
        lines("Memory", "Resident memory of each prober.", [prom(_short(f"max {by(_EACH)} ({select(schema.MEMORY, HERE)})"), _WHO)], "bytes", span=8),
        lines("Reloads", "Attempts to read the configuration anew.",
              [prom(_short(sum_increase(schema.CONFIG_RELOADS, _RATE, (*_EACH, outcome), HERE)), f"{_WHO} {{{{{outcome}}}}}")], "none", span=8),
        lines("Audit trail", "Events that were held back by the rate limit, and records that could not be written.",
              [prom(_short(sum_increase(schema.AUDIT_SUPPRESSED, _RATE, _EACH, HERE)), f"{_WHO} held back"),
               prom(_short(sum_increase(schema.AUDIT_LOST, _RATE, _EACH, HERE)), f"{_WHO} lost", "B")], "none", span=8),
        grid("Versions", "What runs where.", {"instance": "prober", version: "version", ENV: "environment", LOCATION: "location"},
             (Column("runs", build, "none"),), span=12),
        grid("Shards", "How the flows are spread.", {"instance": "prober", shard: "shard", shards: "of"}, (Column("flows", flows, "none"),), span=12),
    )  # fmt: skip
