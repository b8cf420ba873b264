"""Burn-rate alerts: how fast a flow spends the error budget of thirty days, over a long and a short window at once.

The short window ends an alert soon after the trouble; the guard keeps a single failure of a flow that runs once a minute
from looking like an outage: with an objective of 99.9 % one failure in an hour would already burn fourteen times too fast.
Where a flow fails outright the failure alerts tell of it: these then stay silent, also afterwards, until their short window has
run dry. They are for what is too little or too seldom for those.
"""

from dataclasses import dataclass

from dashboards.source.promql import COUNTS, DAY, ENV, FLOW, FLOW_KEYS, HOUR, MINUTE, PROVIDER, TEAM, on
from dashboards.source.recording import ERRORS, OWNED, OWNER, TEAMS, WINDOWS, error_ratio, objective, untold
from dashboards.source.rules import Alert, Parameters, Record, Scope, Severity

BURNING = "otelprobe:flow_burning"

GUARD = 3
"""Failures that there must be within the long window."""


@dataclass(frozen=True, slots=True)
class Burn:
    """One pair of windows, and how many times too fast the budget is spent. Seconds."""

    name: str
    long: float
    short: float
    factor: float
    lasts: float
    severity: Severity
    keeps: float = 0.0


BURNS = (
    Burn("SloBudgetGoneInTwoDays", HOUR, 5 * MINUTE, 14.4, 2 * MINUTE, Severity.CRITICAL, 10 * MINUTE),
    Burn("SloBudgetGoneInFiveDays", 6 * HOUR, 30 * MINUTE, 6, 15 * MINUTE, Severity.CRITICAL),
    Burn("SloBudgetGoneInTenDays", DAY, 2 * HOUR, 3, HOUR, Severity.WARNING),
    Burn("SloBudgetGoneInThirtyDays", 3 * DAY, 6 * HOUR, 1, 3 * HOUR, Severity.WARNING),
)


def burning(p: Parameters) -> Record:
    """Give the flows that burn fastest, for the slower burns to know what was told."""
    fastest = BURNS[0]
    return Record(
        name=BURNING,
        expr=_condition(p, fastest),
        meaning=f"Share of failures where {fastest.name} is met.",
    )


def slo_alerts(p: Parameters) -> tuple[Alert, ...]:
    """Give one alert for each pair of windows."""
    return tuple(_alert(p, burn) for burn in BURNS)


def _condition(p: Parameters, burn: Burn) -> str:
    budget = f"{burn.factor:g} * (1 - {objective('availability')})"
    over = f"> {on(FLOW_KEYS)} group_left () ({budget})"
    failures = f"sum_over_time({ERRORS}[{p.span(burn.long)}]) * {p.seconds(MINUTE):g} >= {GUARD}"
    return (
        f"{error_ratio(burn.long)} {over} and {error_ratio(burn.short)} {over} and {failures} "
        f"{untold(p.span(burn.short))}"
    )


def _alert(p: Parameters, burn: Burn) -> Alert:
    expr = _condition(p, burn)
    if burn is not BURNS[0]:
        told = f"max_over_time({BURNING}[{p.span(burn.short)}]) unless {BURNING}"
        expr = f"{expr} unless {on((*FLOW_KEYS, COUNTS))} ({told})"
    return Alert(
        name=burn.name,
        expr=f"({expr}) * {on((*FLOW_KEYS, COUNTS))} group_left ({OWNED}) {OWNER} * {on((ENV, FLOW))} group_left ({TEAM}) {TEAMS}",
        lasts=burn.lasts,
        keeps=burn.keeps,
        severity=burn.severity,
        component=f"{{{{ $labels.{OWNED} }}}}",
        scope=Scope.FLOW,
        summary=f"{{{{ $labels.{FLOW} }}}} spends its error budget {burn.factor:g} times too fast",
        description=f"VALUE of the runs of {WINDOWS[burn.long]} failed and count against the {{{{ $labels.{COUNTS} }}}} side.",
        unit="ratio",
        meaning=f"At this rate the error budget of thirty days is gone in {30 / burn.factor:.0f} days: the share of failures is "
        f"{burn.factor:g} times what the objective `availability` allows, over {WINDOWS[burn.long]} and over "
        f"{WINDOWS[burn.short]}, with {GUARD} failures at least. The label `{COUNTS}` says which objective is spent, `component` "
        "whose trouble it is. What a failure alert stands for is not told here once more.",
        mend="The Overview shows the failures by reason and blame; the Flow board the failing step.",
        board="otelprobe-flow",
        variables={"environment": ENV, "provider": PROVIDER, "flow": FLOW},
    )
