"""Burn-rate alerts: how fast a flow spends the error budget of thirty days, over a long and a short window at once.

The short window ends an alert soon after the trouble; the guard keeps a single failure of a flow that runs once a minute
from looking like an outage: with an objective of 99.9 % one failure in an hour would already burn fourteen times too fast.
"""

from dataclasses import dataclass

from dashboards.source.promql import COUNTS, DAY, ENV, FLOW, FLOW_KEYS, HOUR, MINUTE, PROVIDER, TEAM, on
from dashboards.source.recording import ERRORS, TEAMS, WINDOWS, error_ratio, objective
from dashboards.source.rules import Alert, Parameters, Scope, Severity

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


BURNS = (
    Burn("SloBudgetGoneInTwoDays", HOUR, 5 * MINUTE, 14.4, 2 * MINUTE, Severity.CRITICAL),
    Burn("SloBudgetGoneInFiveDays", 6 * HOUR, 30 * MINUTE, 6, 15 * MINUTE, Severity.CRITICAL),
    Burn("SloBudgetGoneInTenDays", DAY, 2 * HOUR, 3, HOUR, Severity.WARNING),
    Burn("SloBudgetGoneInThirtyDays", 3 * DAY, 6 * HOUR, 1, 3 * HOUR, Severity.WARNING),
)


def slo_alerts(p: Parameters) -> tuple[Alert, ...]:
    """Give one alert for each pair of windows."""
    return tuple(_alert(p, burn) for burn in BURNS)


def _alert(p: Parameters, burn: Burn) -> Alert:
    budget = f"{burn.factor:g} * (1 - {objective('availability')})"
    over = f"> {on(FLOW_KEYS)} group_left () ({budget})"
    failures = f"sum_over_time({ERRORS}[{p.span(burn.long)}]) * {p.seconds(MINUTE):g} >= {GUARD}"
    expr = f"{error_ratio(burn.long)} {over} and {error_ratio(burn.short)} {over} and {failures}"
    return Alert(
        name=burn.name,
        expr=f"({expr}) * {on((ENV, FLOW))} group_left ({TEAM}) {TEAMS}",
        lasts=burn.lasts,
        severity=burn.severity,
        component=f"{{{{ $labels.{COUNTS} }}}}",
        scope=Scope.FLOW,
        summary=f"{{{{ $labels.{FLOW} }}}} spends its error budget {burn.factor:g} times too fast",
        description=f"VALUE of the runs of {WINDOWS[burn.long]} failed and count against the {{{{ $labels.{COUNTS} }}}} side.",
        unit="ratio",
        meaning=f"At this rate the error budget of thirty days is gone in {30 / burn.factor:.0f} days: the share of failures is "
        f"{burn.factor:g} times what the objective `availability` allows, over {WINDOWS[burn.long]} and over "
        f"{WINDOWS[burn.short]}, with {GUARD} failures at least. The label `{COUNTS}` and `component` say whether authentication "
        "or the API spends it.",
        mend="The Overview shows the failures by reason and blame; the Flow board the failing step.",
        board="otelprobe-flow",
        variables={"environment": ENV, "provider": PROVIDER, "flow": FLOW},
    )
