"""Overview: what whoever is on call looks at first. Authentication stands left, the API right."""

from dashboards.source import recording as rec
from dashboards.source.frame import Board, Row
from dashboards.source.panels import (
    BAD_ABOVE_ZERO,
    BLAMES,
    BY_FLOW,
    BY_PLACE,
    BY_PROVIDER,
    GREEN,
    ORANGE,
    PER_MINUTE,
    RATIO,
    RED,
    UP,
    YELLOW,
    Column,
    Mappings,
    Panel,
    Steps,
    bars,
    grid,
    lines,
    now,
    number,
    prom,
    timeline,
)  # fmt: skip
from dashboards.source.promql import (
    BLAME,
    COUNTS,
    DAY,
    ENV,
    ERROR,
    FLOW,
    FLOW_KEYS,
    HOUR,
    LOCATION,
    OBJECTIVE,
    PROVIDER,
    PROVIDER_KEYS,
    by,
    label,
    latest,
    name,
    on,
    select,
)  # fmt: skip
from otelprobe.telemetry import schema

_FLOW = f"{{{{{FLOW}}}}}"
_PROVIDER = f"{{{{{PROVIDER}}}}}"
_OURS = f'{ENV}=~"$environment"'
_LATENCY: Mappings = {
    "1": ("auth slow, API healthy", ORANGE),
    "2": ("API slow, auth healthy", YELLOW),
    "3": ("both slow", RED),
}
_USED: Steps = ((None, GREEN), (0.8, YELLOW), (1, RED))
_BUDGET: Steps = ((None, RED), (0, ORANGE), (0.25, YELLOW), (0.5, GREEN))


def overview() -> Board:
    """Give the board."""
    return Board(
        "otelprobe-overview",
        "otelprobe / Overview",
        "Which flows fail, whose fault it is, and what they spend of their objectives.",
        (
            Row("Now", (*_numbers(), _table())),
            Row("States and reasons", (*_states(),)),
            Row("Authentication (left) and API (right)", (*_sides(),)),
            Row("What authentication costs", (*_shares(),)),
            Row("Error budgets", (*_budgets(),)),
        ),
    )


def _of(record: str, *more: str) -> str:
    return select(record, BY_FLOW, *more)


def _numbers() -> tuple[Panel, ...]:
    silent = f"time() - {_last_run()} > {on(FLOW_KEYS)} 3 * {_of(rec.INTERVAL)}"
    bad, valid = (f"sum(sum_over_time({_of(r)}[1d]))" for r in (rec.ERRORS_1H, rec.VALID_1H))
    return (
        number(
            "Failing flows", "Flows whose last run did not pass in some location.",
            f"count(min {by(FLOW_KEYS)} ({select(rec.UP, BY_PLACE)}) == 0)", "none", BAD_ABOVE_ZERO,
        ),
        number(
            "Good runs, 24 h", "Share of the runs of a day that did not spend an objective, over all flows.",
            f"1 - {bad} / {valid}", "percentunit", RATIO, empty="-",
        ),
        number(
            "Least error budget, 30 d", "What is left of the error budget of the flow that has least; -100 %: spent twice or more.",
            f"clamp_min(min({_of(rec.BUDGET_30D)}), -1)", "percentunit", _BUDGET, empty="-",
        ),
        number(
            "Providers down", "Providers from whom no flow gets a token in more than half of the locations.",
            f"count(avg {by(PROVIDER_KEYS)} ({select(rec.PROVIDER_DOWN, BY_PROVIDER)}) > 0.5)", "none", BAD_ABOVE_ZERO,
        ),
        number(
            "Soonest expiry", "Time until the next certificate, key or secret ends.",
            f"min({select(rec.EXPIRY, _OURS)})", "s",
            ((None, RED), (7 * DAY, ORANGE), (30 * DAY, YELLOW), (90 * DAY, GREEN)), empty="-",
        ),
        number(
            "Silent flows", "Flows that have not run for three intervals: nobody knows how they are.",
            f"count({silent})", "none", BAD_ABOVE_ZERO,
        ),
    )  # fmt: skip


def _goal(word: str) -> str:
    return _of(rec.OBJECTIVES, f'{OBJECTIVE}="{word}"')


def _last_run() -> str:
    """Ask for each flow's last run, also of a flow that has been silent for hours, or runs once in an hour."""
    return latest("max", schema.LAST_RUN, "6h", FLOW_KEYS, BY_FLOW)


def _used(layer: str) -> str:
    return f"{_of(rec.flow_p95(layer))} / {on(FLOW_KEYS)} {_goal(f'{layer}_latency')}"


def _table() -> Panel:
    last = f"{_last_run()} * 1000"
    state = f"min {by(FLOW_KEYS)} ({select(rec.UP, BY_PLACE)})"
    why = f"sum {by((*FLOW_KEYS, ERROR, BLAME))} (last_over_time({_of(rec.FAILURES)}[15m]))"
    return grid(
        "Flows",
        "One line for each flow, those that fail first: why, who has to look, and side by side how long authentication and the API "
        "take: 95th percentile over fifteen minutes, and how much that is of the flow's objective. A name leads to the flow's board.",
        {FLOW: "flow", PROVIDER: "provider", ERROR: "reason", BLAME: "blame", ENV: "environment"},
        (
            Column("state", state, "none", words=UP, absent="silent"),
            Column("", f"topk {by(FLOW_KEYS)} (1, {why}) and {on(FLOW_KEYS)} {state} == 0", "none"),
            Column("auth p95", _of(rec.flow_p95("auth")), "s"),
            Column("auth of goal", _used("auth"), "percentunit", _USED),
            Column("API p95", _of(rec.flow_p95("api")), "s"),
            Column("API of goal", _used("api"), "percentunit", _USED),
            Column("good 24 h", _of(rec.AVAILABILITY_1D), "percentunit", RATIO),
            Column("budget 30 d", f"clamp_min({_of(rec.BUDGET_30D)}, -1)", "percentunit", _BUDGET),
            Column("last run", last, "dateTimeFromNow"),
        ),
        sort="state",
        linked=True,
        lead=(
            "flow",
            "state",
            "reason",
            "blame",
            "auth p95",
            "auth of goal",
            "API p95",
            "API of goal",
            "good 24 h",
            "budget 30 d",
            "last run",
        ),
        widths={"flow": 170, "state": 70, "reason": 180, "last run": 140},
    )


def _states() -> tuple[Panel, ...]:
    bad = f"(min {by(FLOW_KEYS)} (min_over_time({select(rec.WORST, BY_PLACE)}[$__range] @ end())) == 0)"
    state = label(schema.PROVIDER_STATE)
    tokens = f"({select(rec.TOKEN_UP, BY_PROVIDER)} == bool 0)"
    shown = f'{name(schema.PROVIDER_STATUS)}{{{BY_PROVIDER}, {state}!="operational"}}'
    return (
        timeline(
            "Flows that failed", "The state of every flow that failed within the time range, from its first failure on.",
            [prom(f"min {by(FLOW_KEYS)} ({select(rec.WORST, BY_PLACE)}) and {on(FLOW_KEYS)} {bad}", _FLOW)], UP, span=24,
            empty="no flow failed",
        ),
        lines(
            "Failures by reason", "Runs a minute that did not pass, by `error.type` (docs/reasons.md).",
            [prom(f"60 * sum {by((ERROR,))} ({_of(rec.FAILURES)})", f"{{{{{ERROR}}}}}")], PER_MINUTE, stacked=True, span=8, empty="none",
        ),
        lines(
            "Failures by blame", "Runs a minute that did not pass, by who has to look. edge, config and prober spend no objective.",
            [prom(f"60 * sum {by((BLAME,))} ({_of(rec.FAILURES)})", f"{{{{{BLAME}}}}}")], PER_MINUTE, stacked=True, span=8, empty="none",
            colours=BLAMES,
        ),
        timeline(
            "Status pages", "What a provider's own status page shows, while that is not operational.",
            [prom(f"max {by((PROVIDER, state))} (last_over_time({shown}[15m])) > 0", f"{_PROVIDER}: {{{{{state}}}}}")],
            {"1": ("shown", ORANGE)}, span=8, empty="every page that is read says operational",
        ),
        timeline(
            "Providers", "Whether any flow gets a token: a provider that is down is out of reach or answers 5xx; otherwise no token means "
            "that it refuses, or that what it issues is wrong. The worst location counts.",
            [prom(f"max {by((PROVIDER,))} ({tokens} + {on((*PROVIDER_KEYS, LOCATION))} {select(rec.PROVIDER_DOWN, BY_PROVIDER)})", _PROVIDER)],
            {"0": ("tokens are issued", GREEN), "1": ("no tokens", ORANGE), "2": ("down", RED)}, span=24,
        ),
    )  # fmt: skip


def _sides() -> tuple[Panel, ...]:
    made: list[Panel] = []
    for layer, words in (("auth", "Authentication time"), ("api", "API time")):
        quantiles = [
            prom(
                select(rec.provider_quantile(layer), BY_PROVIDER, f'quantile="{q:g}"'), f"{_PROVIDER} p{q * 100:g}", ref
            )
            for q, ref in zip(rec.QUANTILES, "ABC", strict=True)
        ]
        made.append(
            lines(words, f"Percentiles over all flows of a provider: steps of the {layer} layer.", quantiles, "s")
        )
    for layer, words in (("auth", "authentication"), ("api", "API")):
        slow = f"topk(10, {_of(rec.drawn_p95(layer))})"
        about = f"The ten flows whose {words} takes longest, 95th percentile."
        made.append(lines(f"Slowest {words}", about, [prom(slow, _FLOW)], "s", linked=True))
    return tuple(made)


def _shares() -> tuple[Panel, ...]:
    return (
        lines(
            "Share of authentication in the whole", "Mean auth time divided by mean auth plus API time; the ten highest.",
            [prom(f"topk(10, {_of(rec.AUTH_SHARE)})", _FLOW)], "percentunit", span=8, top=1, linked=True,
        ),
        bars(
            "Authentication uses of its objective", "Auth time (95th percentile) against `auth_latency`: 0.8 is 400 of 500 ms.",
            [now(f"topk(10, {_used('auth')})", _FLOW)],
            "percentunit", span=8, steps=_USED,
        ),
        timeline(
            "Who is slow", "Each flow against its own objectives, while it misses one: auth slow while the API is healthy, or the API slow "
            "while auth is healthy.",
            [prom(f"topk(20, {_of(rec.LATENCY_STATE)})", _FLOW)], _LATENCY, span=8, empty="no flow misses its objective",
        ),
        lines(
            "Token requests", "Time of a provider's token requests, 95th percentile, and the threshold `issuance_latency`.",
            [
                prom(select(rec.ISSUANCE_P95, BY_PROVIDER), _PROVIDER),
                prom(select(rec.ISSUANCE_GOAL, BY_PROVIDER), f"{_PROVIDER} threshold", "B"),
            ],
            "s", span=24,
        ),
    )  # fmt: skip


def _budgets() -> tuple[Panel, ...]:
    made: list[Panel] = []
    for window, factor in ((HOUR, 14.4), (6 * HOUR, 6.0), (3 * DAY, 1.0)):
        words = rec.WINDOWS[window]
        burn = _of(rec.burn_rate(window))
        made.append(
            lines(
                f"Burn rate, {words}",
                f"How many times too fast the error budget is spent, over {words}; above {factor:g} an alert fires. The ten highest.",
                [prom(f"topk(10, {burn})", f"{_FLOW} {{{{{COUNTS}}}}}")],
                "none", span=8, steps=((None, GREEN), (factor, RED)), linked=True,
            )
        )  # fmt: skip
    made.append(
        lines(
            "Good runs, thirty days", "Availability of the flows that have least of it.",
            [prom(f"bottomk(10, {_of(rec.AVAILABILITY_30D)})", _FLOW)], "percentunit", span=24, linked=True,
        )
    )  # fmt: skip
    return tuple(made)
