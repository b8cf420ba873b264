"""Security: whether bad credentials are refused, and the posture."""

from dashboards.source.board_flow import EVENTS
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
    number,
    prom,
    timeline,
)  # fmt: skip
from dashboards.source.promql import FLOW, FLOW_KEYS, PROVIDER, STEP, by, label, select, sum_increase
from otelprobe.telemetry import schema

_CASE = label(schema.CASE)
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
    seen = f"max {by((*FLOW_KEYS, _CASE))} (last_over_time({select(schema.REJECTION, BY_PLACE)}[15m]))"
    matrix = f"max {by((FLOW, _CASE))} ({select(schema.REJECTION, BY_PLACE)})"
    return (
        number("Accepted", "Bad credentials that were accepted in the last runs.", f"count({seen} > 0)", "none", BAD_ABOVE_ZERO, span=8),
        number("Cases", "Pairs of flow and bad credential that are tried.", f"count({seen})", "none", ((None, GREEN),), span=8),
        number("Flows that try", "Flows with a step `reject`.", f"count(count {by((FLOW,))} ({seen}))", "none", ((None, GREEN),), span=8),
        timeline("Cases by target", "One row for each flow and case: red while the credential is accepted.",
                 [prom(matrix, f"{{{{{FLOW}}}}} {{{{{_CASE}}}}}")], _ACCEPTED, span=14, height=12),
        grid("Matrix", "The last run of each case.", {FLOW: "flow", PROVIDER: "provider", _CASE: "case"},
             (Column("result", seen, "none", words=_ACCEPTED),), span=10, height=12, sort="result", descending=True),
    )  # fmt: skip


def _posture() -> tuple[Panel, ...]:
    rule, severity = label(schema.POSTURE_RULE), label(schema.POSTURE_SEVERITY)
    found = f"max {by((*FLOW_KEYS, rule, severity))} ({select(schema.POSTURE, BY_PLACE)}) > 0"
    return (
        grid("Findings", "Rules of good posture that are broken.", {FLOW: "flow", PROVIDER: "provider", rule: "rule", severity: "severity"},
             (Column("findings", found, "none"),), span=14, sort="severity"),
        lines("Findings over time", "By severity.",
              [prom(f"sum {by((severity,))} ({select(schema.POSTURE, BY_PLACE)})", f"{{{{{severity}}}}}")], "none", stacked=True, span=10),
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
        "Accepted credentials", "The events of bad credentials that were accepted.", events(f'{EVENTS} | {_CASE}!=""')
    )
