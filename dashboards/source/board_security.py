"""Security: whether bad credentials are refused, and the posture."""

from dashboards.source import recording as rec
from dashboards.source.board_flow import EVENTS, told, word
from dashboards.source.frame import Board, Row
from dashboards.source.panels import (
    BAD_ABOVE_ZERO,
    BY_PLACE,
    GREEN,
    RED,
    Column,
    Mappings,
    Panel,
    events,
    grid,
    lines,
    lists,
    matrix,
    now,
    number,
    prom,
    timeline,
)  # fmt: skip
from dashboards.source.promql import FLOW, PROVIDER, STEP, by, label, select, sum_increase
from otelprobe.telemetry import schema

_CASE = label(schema.CASE)
_SHOWN = (schema.FLOW, schema.LOCATION, schema.CASE, schema.STATUS_CODE)
_ACCEPTED: Mappings = {"0": ("refused", GREEN), "1": ("accepted", RED)}


def security() -> Board:
    """Give the board."""
    return Board(
        "otelprobe-security",
        "otelprobe / Security",
        "The matrix of bad credentials and targets: red where one was accepted. Posture findings, drift, and how long a revocation takes.",
        (
            Row("Bad credentials", (*_cases(),)),
            Row("Posture", (*_posture(),)),
            Row("Drift and revocation", (*_drift(),)),
            Row("Events", (_events(),), closed=True),
        ),
        stores=("datasource", "loki"),
        span="now-24h",
    )


def _cases() -> tuple[Panel, ...]:
    seen = f"max {by((FLOW, _CASE))} (last_over_time({select(schema.REJECTION, BY_PLACE)}[15m]))"
    taken = f"max {by((FLOW, _CASE))} ({select(rec.TAKEN, BY_PLACE)})"
    return (
        number("Accepted", "Bad credentials that were accepted in the last runs.", f"count({seen} > 0)", "none", BAD_ABOVE_ZERO, span=8),
        number("Cases", "Pairs of flow and bad credential that are tried.", f"count({seen})", "none", ((None, GREEN),), span=8),
        number("Flows that try", "Flows with a step `reject`.", f"count(count {by((FLOW,))} ({seen}))", "none", ((None, GREEN),), span=8),
        matrix("Matrix", "One row for each flow, one column for each bad credential: red where it was accepted in the last run, flows that "
               "accept one first.", now(f"sort_desc({seen})"), row=FLOW, column=_CASE, words=_ACCEPTED),
        timeline("Accepted over time", "Every flow and bad credential that was accepted within the range: red while it was.",
                 [prom(taken, f"{{{{{FLOW}}}}} {{{{{_CASE}}}}}")], _ACCEPTED, span=24, height=6,
                 empty="every bad credential was refused"),
    )  # fmt: skip


def _posture() -> tuple[Panel, ...]:
    rule, severity = label(schema.POSTURE_RULE), label(schema.POSTURE_SEVERITY)
    broken = (select(schema.POSTURE, BY_PLACE, f'{severity}="{word}"') for word in ("high", "medium", "low", "info"))
    found = " or ".join(
        f"max {by((FLOW, PROVIDER, rule, severity))} (last_over_time({series}[1d])) > 0" for series in broken
    )
    return (
        grid("Findings", "Rules of good posture that are broken, the most severe first.", {FLOW: "flow", PROVIDER: "provider", rule: "rule", severity: "severity"},
             (Column("findings", found, "none"),), span=14, lead=("severity", "rule"), widths={"severity": 90, "rule": 240}, empty="no rule is broken"),
        lines("Findings over time", "By severity.",
              [prom(f"sum {by((severity,))} ({select(rec.FINDINGS, BY_PLACE)})", f"{{{{{severity}}}}}")], "none", stacked=True, span=10),
    )  # fmt: skip


def _drift() -> tuple[Panel, ...]:
    subject = label(schema.DRIFT_SUBJECT)
    changes = sum_increase(schema.DRIFT_CHANGES, "$__rate_interval", (FLOW, subject), BY_PLACE)
    delay = f"max {by((FLOW, STEP))} ({select(schema.REVOCATION_DELAY, BY_PLACE)})"
    return (
        lines("Drift", "Differences from the learned baseline, by what changed: discovery document, claims, algorithms, lifetimes.",
              [prom(changes, f"{{{{{FLOW}}}}} {{{{{subject}}}}}")], "none", stacked=True),
        lines("Time until a revocation takes effect", "From the revocation of a token until it was seen refused.",
              [prom(delay, f"{{{{{FLOW}}}}} {{{{{STEP}}}}}")], "s"),
    )  # fmt: skip


def _events() -> Panel:
    return lists(
        "Accepted credentials", "The events of bad credentials that were accepted.",
        events(f'{EVENTS} | {_CASE}!="" |= "{schema.REJECTION_ACCEPTED.name}"' + told(*(word(a) for a in _SHOWN))),
    )  # fmt: skip
