"""Series that are reckoned beforehand, so that a board over a thousand flows and thirty days answers at once.

Availability is reckoned in three stages: rates over five minutes every minute, sums over an hour every hour, and from those
the thirty days. The windows of the first stage overlap, so that no failure falls between two of them.

A curve over thirty days reads every sample of them: a thousand series a minute are forty million, which takes two seconds and
more. What a board draws of each flow is therefore recorded once more every four minutes, in a group of its own, or only while
there is something to show. Alerts and what boards show of this moment read what is recorded every minute.
"""

from collections.abc import Iterator

from dashboards.source.promql import (
    BLAME,
    COUNTS,
    DAY,
    ENV,
    ERROR,
    FLOW,
    FLOW_KEYS,
    HOUR,
    KIND,
    LAYER,
    LOCATION,
    MINUTE,
    OBJECTIVE,
    OUTCOME,
    PEER,
    PROVIDER_KEYS,
    STEP,
    STEP_OUTCOME,
    TEAM,
    by,
    label,
    latest,
    mean,
    on,
    quantile,
    select,
    sum_increase,
    sum_rate,
)  # fmt: skip
from dashboards.source.rules import Group, Parameters, Record
from otelprobe.reasons import Reason
from otelprobe.telemetry import schema

UNREACHABLE = (
    Reason.DNS_FAILURE, Reason.CONNECT_TIMEOUT, Reason.CONNECT_REFUSED, Reason.CONNECTION_RESET,
    Reason.CONNECTION_CLOSED, Reason.READ_TIMEOUT, Reason.DEADLINE_EXCEEDED, Reason.HTTP_PROTOCOL_ERROR,
    Reason.TLS_CERT_EXPIRED, Reason.TLS_CERT_NOT_YET_VALID, Reason.TLS_HOSTNAME_MISMATCH, Reason.TLS_SELF_SIGNED,
    Reason.TLS_UNTRUSTED_CA, Reason.TLS_PROTOCOL_ERROR, Reason.TLS_HANDSHAKE_FAILED, Reason.DISCOVERY_UNAVAILABLE,
    Reason.JWKS_UNAVAILABLE, Reason.IDP_HTTP_5XX, Reason.IDP_ERROR, Reason.IDP_NOT_JSON,
)  # fmt: skip
"""Reasons by which a provider gives nobody a token; a refusal (4xx) is not among them."""

INTERVAL = "otelprobe:flow_interval_seconds"
TEAMS = "otelprobe:flow_team"
OBJECTIVES = "otelprobe:objective"
UP = "otelprobe:flow_up"
PROBERS = "otelprobe:probers"
VALID = "otelprobe:flow_valid:rate5m"
ERRORS = "otelprobe:flow_errors:rate5m"
FAILURES = "otelprobe:flow_failures:rate5m"
TOKEN_UP = "otelprobe:provider_token_up"  # noqa: S105 - a series, not a password
PROVIDER_DOWN = "otelprobe:provider_down"
ISSUANCE_P95 = "otelprobe:provider_issuance_seconds:p95_15m"
ISSUANCE_GOAL = "otelprobe:provider_issuance_objective_seconds"
FAILING = "otelprobe:flow_failing:ratio10m"
OWNER = "otelprobe:flow_owner"
LATENCY_STATE = "otelprobe:flow_latency_state"
AVAILABILITY_1D = "otelprobe:flow_availability:ratio1d"
AVAILABILITY_30D = "otelprobe:flow_availability:ratio30d"
BUDGET_30D = "otelprobe:flow_budget_left:ratio30d"
VALID_1H = "otelprobe:flow_valid:sum1h"
ERRORS_1H = "otelprobe:flow_errors:sum1h"
AUTH_SHARE = "otelprobe:flow_auth_share:ratio15m"
EXPIRY = "otelprobe:expiry_remaining_seconds"
WORST = "otelprobe:flow_up:min5m"
SKEW = "otelprobe:clock_skew_seconds"
LIFETIME = "otelprobe:issuance_expires_in_seconds"
TAKEN = "otelprobe:rejection_accepted"
FINDINGS = "otelprobe:flow_posture_findings"
PROBER_RUNS = "otelprobe:prober_runs:rate5m"
PROBER_MISSED = "otelprobe:prober_missed:rate5m"
LAYERS = {"auth": schema.AUTH_TIME, "api": schema.API_TIME}
NOTABLE = 2
"""Seconds by which clocks differ before a board shows it; a `Date` tells whole ones."""

QUANTILES = (0.5, 0.95, 0.99)
STATE = 15 * MINUTE
"""How long the last state of a flow is believed; longer than what a CronJob of ten minutes leaves between two runs."""

FAILING_SHARE = 0.05
"""The share of failing runs that a failure alert stands for."""

FAILING_RUNS = 3
"""How many runs have to fail at least, so that one bad run of a slow flow disturbs nobody."""

QUORUM = 0.5
"""A symptom pages if more than this share of the locations sees it; below, it may be the location's own trouble."""

OWNED = "component"
"""The label of `OWNER`: whose trouble it is that a flow's runs fail."""

WINDOWS = {5 * MINUTE: "5m", 30 * MINUTE: "30m", HOUR: "1h", 2 * HOUR: "2h", 6 * HOUR: "6h", DAY: "1d", 3 * DAY: "3d"}


def flow_p95(layer: str) -> str:
    """Name the series of a flow's auth or API time, 95th percentile."""
    return f"otelprobe:flow_{layer}_seconds:p95_15m"


def flow_mean(layer: str) -> str:
    """Name the series of a flow's auth or API time, mean."""
    return f"otelprobe:flow_{layer}_seconds:mean15m"


def drawn_p95(layer: str) -> str:
    """Name the same series for a curve."""
    return f"otelprobe:flow_{layer}_seconds:p95_15m_every4m"


def provider_quantile(layer: str) -> str:
    """Name the series of a provider's auth or API time; its label `quantile` says which."""
    return f"otelprobe:provider_{layer}_seconds:quantile15m"


def error_ratio(window: float) -> str:
    """Name the series of the share of failures within a window."""
    return f"otelprobe:flow_errors:ratio{WINDOWS[window]}"


def burn_rate(window: float) -> str:
    """Name the series of how many times too fast the error budget is spent within a window."""
    return f"otelprobe:flow_burn:ratio{WINDOWS[window]}"


def objective(word: str) -> str:
    """Select an objective of every flow."""
    return select(OBJECTIVES, f'{OBJECTIVE}="{word}"')


def recording_groups(p: Parameters) -> tuple[Group, ...]:
    """Give every group of recorded series."""
    return (
        Group(
            name="otelprobe-flows", every=MINUTE, rules=(*_facts(p), *_rates(p), *_failing(p), *_owners(p), *_reach(p))
        ),
        Group(name="otelprobe-latency", every=MINUTE, rules=(*_latency(p), _issuance_goal())),
        Group(name="otelprobe-burn", every=MINUTE, rules=_burn(p, short=True)),
        Group(
            name="otelprobe-burn-long",
            every=4 * MINUTE,
            rules=(*_burn(p, short=False), *_availability(p)),
        ),
        Group(
            name="otelprobe-boards",
            every=4 * MINUTE,
            rules=(*_drawn(p), _findings(p), _latency_state(), _auth_share(), *_burn_rates(HOUR, 6 * HOUR, 3 * DAY)),
        ),
        Group(name="otelprobe-probers", every=MINUTE, rules=_probers(p)),
        Group(name="otelprobe-hours", every=HOUR, rules=_hours(p)),
    )


def _facts(p: Parameters) -> tuple[Record, ...]:
    interval = select(schema.OBJECTIVE, f'{OBJECTIVE}="interval"')
    known = f"last_over_time({interval}[{p.span(6 * HOUR)}])"
    team = f'label_replace({known}, "{TEAM}", "$1", "{_TEAM_LABEL}", "(.+)")'
    return (
        Record(
            name=INTERVAL, expr=f"max {by(FLOW_KEYS)} ({known})", meaning="Every known flow, with its interval.",
        ),
        Record(
            name=TEAMS,
            expr=f"group {by((ENV, FLOW, TEAM))} (topk {by((ENV, FLOW))} (1, max {by((ENV, FLOW, TEAM))} ({team})))",
            meaning="The team of every known flow, from its label `team`; alerts take the label from here.",
        ),
        Record(
            name=OBJECTIVES,
            expr=latest(
                "max", schema.OBJECTIVE, p.span(6 * HOUR), (*FLOW_KEYS, OBJECTIVE), f'{OBJECTIVE}!~"expiry_.+"'
            ),
            meaning="Targets and thresholds of the flow files.",
        ),
        Record(
            name=UP,
            expr=latest("max", schema.FLOW_UP, p.span(STATE), (*FLOW_KEYS, LOCATION)),
            meaning="Whether a flow passed last, by location.",
        ),
        Record(
            name=PROBERS,
            expr=f"count {by((ENV, LOCATION, 'job'))} ({select(schema.BUILD)})",
            meaning="How many long-lived probers report, by location.",
        ),
        Record(
            name=EXPIRY,
            expr=latest("min", schema.EXPIRY, p.span(HOUR), _EXPIRY_KEYS),
            meaning="Time until something ends, the earliest of all locations.",
        ),
    )  # fmt: skip


_TEAM_LABEL = schema.prometheus_label(f"{schema.LABEL_PREFIX}{TEAM}")
_EXPIRY_KEYS = (ENV, schema.prometheus_label(schema.EXPIRY_SUBJECT), schema.prometheus_label(schema.EXPIRY_NAME))


def _rates(p: Parameters) -> tuple[Record, ...]:
    window = p.span(5 * MINUTE)
    runs = sum_rate(schema.FLOW_RUNS, window, FLOW_KEYS, f'{COUNTS}!="none"')
    errors = (
        Record(
            name=ERRORS,
            expr=f"{_counting(window, counts)} or 0 * ({runs})",
            labels={COUNTS: counts},
            meaning=f"Runs that spend the {counts} objective.",
        )
        for counts in LAYERS
    )
    kinds = (*FLOW_KEYS, OUTCOME, BLAME, COUNTS, ERROR)
    failures = sum_rate(schema.FLOW_RUNS, window, kinds, f'{OUTCOME}=~"fail|error"')
    return (
        Record(name=VALID, expr=runs, meaning="Runs that count: all but those that are nobody's outage."),
        *errors,
        Record(name=FAILURES, expr=f"{failures} > 0", meaning="Runs that did not pass, by reason and blame."),
    )


def _counting(window: str, counts: str) -> str:
    return sum_rate(schema.FLOW_RUNS, window, FLOW_KEYS, f'{COUNTS}="{counts}"')


def _failing(p: Parameters) -> Iterator[Record]:
    window, located = p.span(10 * MINUTE), (*FLOW_KEYS, LOCATION)
    for counts in LAYERS:
        these, counted = f'{COUNTS}="{counts}"', f'{COUNTS}!="none"'
        ran = {keys: sum_increase(schema.FLOW_RUNS, window, keys, counted) for keys in (FLOW_KEYS, located)}
        bad = {keys: sum_increase(schema.FLOW_RUNS, window, keys, these) for keys in (FLOW_KEYS, located)}
        most = f"avg {by(FLOW_KEYS)} ({bad[located]} / {ran[located]} > bool {FAILING_SHARE}) > {QUORUM:g}"
        yield Record(
            name=FAILING,
            expr=f"{bad[FLOW_KEYS]} / {ran[FLOW_KEYS]} and {bad[FLOW_KEYS]} >= {FAILING_RUNS} and {most}",
            labels={COUNTS: counts},
            meaning=f"Share of runs that spend the {counts} objective, where it is so in most locations and in three runs at least.",
        )


def failing(counts: str) -> str:
    """Give the flows that fail now and spend this objective."""
    return f"""{select(FAILING, f'{COUNTS}="{counts}"')} > {FAILING_SHARE}"""


def untold(window: str) -> str:
    """Give an `unless` clause: not where the flow fails now or did within the window, which a failure alert tells of."""
    return f"unless {on((*FLOW_KEYS, COUNTS))} (max_over_time({FAILING}[{window}]) > {FAILING_SHARE})"


def not_after_failing(window: str) -> str:
    """Give an `unless` clause: not where authentication failed within the window and no longer does."""
    auth = select(FAILING, f'{COUNTS}="auth"')
    return f"unless {on(FLOW_KEYS)} (max_over_time({auth}[{window}]) > {FAILING_SHARE} unless {failing('auth')})"


def _owners(p: Parameters) -> Iterator[Record]:
    def blamed(window: float) -> str:
        bad = sum_increase(schema.FLOW_RUNS, p.span(window), FLOW_KEYS, f'{COUNTS}="auth"')
        api = sum_increase(schema.FLOW_RUNS, p.span(window), FLOW_KEYS, f'{COUNTS}="auth"', f'{BLAME}="api"')
        return f"{api} / ({bad} > 0)"

    known = f"group {by(FLOW_KEYS)} ({INTERVAL})"
    api = f"group {by(FLOW_KEYS)} (({blamed(15 * MINUTE)} or {blamed(HOUR)}) > 0.5)"
    meaning = "Whose trouble a flow's failures are: the API's where most of the latest ones are blamed on it."
    for counts, owner, expr in (
        ("auth", "api", api),
        ("auth", "auth", f"{known} unless {on(FLOW_KEYS)} {api}"),
        ("api", "api", known),
    ):
        yield Record(name=OWNER, expr=expr, labels={COUNTS: counts, OWNED: owner}, meaning=meaning)


def _reach(p: Parameters) -> tuple[Record, ...]:
    keys = (*PROVIDER_KEYS, LOCATION)
    unreachable = sum_increase(
        schema.STEP_RUNS,
        p.span(10 * MINUTE),
        keys,
        f'{LAYER}="auth"',
        f'{STEP_OUTCOME}="fail"',
        f'{ERROR}=~"{"|".join(UNREACHABLE)}"',
    )
    return (
        Record(
            name=TOKEN_UP,
            expr=latest("max", schema.STEP_UP, p.span(10 * MINUTE), keys, f'{KIND}="token"', 'otelprobe_provider!=""'),
            meaning="Whether any flow got a token from the provider last, by location.",
        ),
        Record(
            name=PROVIDER_DOWN,
            expr=f"({TOKEN_UP} == bool 0) * {on(keys)} (({unreachable} or {on(keys)} 0 * {TOKEN_UP}) > bool 0)",
            meaning="1 where no flow gets a token and the provider is out of reach or answers 5xx, by location.",
        ),
    )


def _numbers_of(expr: str) -> str:
    """Leave out what is not a number: a quantile, a mean or a share of nothing."""
    return f"({expr}) >= 0"


def _latency(p: Parameters) -> tuple[Record, ...]:
    window = p.span(15 * MINUTE)
    found: list[Record] = []
    for layer, metric in LAYERS.items():
        found += [
            Record(
                name=flow_p95(layer),
                expr=_numbers_of(quantile(0.95, metric, window, FLOW_KEYS)),
                meaning=f"A flow's {layer} time, 95th percentile.",
            ),
            Record(
                name=flow_mean(layer),
                expr=_numbers_of(mean(metric, window, FLOW_KEYS)),
                meaning=f"A flow's {layer} time, mean.",
            ),
            *(
                Record(
                    name=provider_quantile(layer),
                    expr=_numbers_of(quantile(q, metric, window, PROVIDER_KEYS)),
                    labels={"quantile": f"{q:g}"},
                    meaning=f"A provider's {layer} time, percentile {q:.0%}.",
                )
                for q in QUANTILES
            ),
        ]
    token = quantile(0.95, schema.STEP_DURATION, window, PROVIDER_KEYS, f'{KIND}="token"', f'{STEP_OUTCOME}="pass"')
    found.append(
        Record(
            name=ISSUANCE_P95, expr=_numbers_of(token), meaning="Time of a provider's token requests, 95th percentile."
        )
    )
    return tuple(found)


def _issuance_goal() -> Record:
    return Record(
        name=ISSUANCE_GOAL,
        expr=f"min {by(PROVIDER_KEYS)} ({objective('issuance_latency')})",
        meaning="The least time that a flow of the provider allows a token request.",
    )


def _drawn(p: Parameters) -> Iterator[Record]:
    located, case = (*FLOW_KEYS, LOCATION), label(schema.CASE)
    yield Record(
        name=WORST,
        expr=f"min_over_time({UP}[{p.span(5 * MINUTE)}]) and (min_over_time({UP}[{p.span(DAY)}]) == 0)",
        meaning="Whether a flow passed throughout five minutes, by location; of flows that failed within a day.",
    )
    for layer in LAYERS:
        yield Record(
            name=drawn_p95(layer), expr=flow_p95(layer), meaning=f"A flow's {layer} time, 95th percentile, for curves."
        )
    skew = latest("max", schema.CLOCK_SKEW, p.span(STATE), (*located, PEER))
    yield Record(
        name=SKEW,
        expr=f"{skew} > {NOTABLE} or {skew} < -{NOTABLE}",
        meaning=f"The peer's clock minus ours, where they are more than {NOTABLE} s apart.",
    )
    yield Record(
        name=LIFETIME,
        expr=latest("min", schema.EXPIRES_IN, p.span(STATE), (*located, STEP)),
        meaning="What the last issued access token was given.",
    )
    yield Record(
        name=TAKEN,
        expr=f"{latest('max', schema.REJECTION, p.span(STATE), (*located, case))} > 0",
        meaning="Bad credentials that were accepted in the last run; none is recorded for those that were refused.",
    )


def _findings(p: Parameters) -> Record:
    keys = (*FLOW_KEYS, LOCATION, label(schema.POSTURE_SEVERITY))
    return Record(
        name=FINDINGS,
        expr=f"sum {by(keys)} (last_over_time({select(schema.POSTURE)}[{p.span(STATE)}])) > 0",
        meaning="Findings of a flow's posture, by severity.",
    )


def _probers(p: Parameters) -> tuple[Record, ...]:
    window, place = p.span(5 * MINUTE), (ENV, LOCATION)
    return (
        Record(
            name=PROBER_RUNS,
            expr=sum_rate(schema.FLOW_RUNS, window, (*place, "instance")),
            meaning="Runs of all flows, by prober.",
        ),
        Record(
            name=PROBER_MISSED,
            expr=sum_rate(schema.SCHEDULE_MISSED, window, (*place, label(schema.MISSED_REASON))),
            meaning="Planned runs that did not take place, by reason.",
        ),
    )


def _auth_share() -> Record:
    auth, api = flow_mean("auth"), flow_mean("api")
    return Record(
        name=AUTH_SHARE,
        expr=_numbers_of(f"{auth} / {on(FLOW_KEYS)} ({auth} + {on(FLOW_KEYS)} {api})"),
        meaning="Mean auth time of a flow divided by mean auth plus API time.",
    )


def _latency_state() -> Record:
    def slow(layer: str) -> str:
        return f"({flow_p95(layer)} > bool {on(FLOW_KEYS)} {objective(f'{layer}_latency')} or 0 * {VALID})"

    return Record(
        name=LATENCY_STATE,
        expr=f"({slow('auth')} + {on(FLOW_KEYS)} 2 * {slow('api')}) > 0",
        meaning="1: auth slow, API healthy; 2: API slow, auth healthy; 3: both slow. None where both keep their objective.",
    )


def _burn(p: Parameters, *, short: bool) -> tuple[Record, ...]:
    return tuple(
        Record(
            name=error_ratio(window),
            expr=_numbers_of(
                f"{ERRORS} / {on(FLOW_KEYS)} group_left () {VALID}"
                if window == 5 * MINUTE
                else f"sum_over_time({ERRORS}[{p.span(window)}]) / {on(FLOW_KEYS)} group_left () "
                f"sum_over_time({VALID}[{p.span(window)}])"
            ),
            meaning=f"Share of runs that spend an objective, over {words}.",
        )
        for window, words in WINDOWS.items()
        if (window <= 6 * HOUR) is short
    )


def _burn_rates(*windows: float) -> tuple[Record, ...]:
    """Reckon for the board what the alerts compare: joined at every point of thirty days, it would take seconds."""
    return tuple(
        Record(
            name=burn_rate(window),
            expr=f"{error_ratio(window)} / {on(FLOW_KEYS)} group_left () (1 - {objective('availability')}) > 0",
            meaning=f"How many times too fast the error budget is spent, over {WINDOWS[window]}. None where nothing is spent.",
        )
        for window in windows
    )


def _hours(p: Parameters) -> tuple[Record, ...]:
    window, step = p.span(HOUR), f"{p.seconds(MINUTE):g}"
    return (
        Record(
            name=VALID_1H, expr=f"sum_over_time({VALID}[{window}]) * {step}", meaning="Runs that count, in an hour."
        ),
        Record(
            name=ERRORS_1H,
            expr=f"sum_over_time({ERRORS}[{window}]) * {step}",
            meaning="Runs that spend an objective, in an hour.",
        ),
    )


def _availability(p: Parameters) -> tuple[Record, ...]:
    def share(window: float) -> str:
        bad = f"sum {by(FLOW_KEYS)} (sum_over_time({ERRORS_1H}[{p.span(window)}]))"
        return _numbers_of(f"1 - {bad} / sum_over_time({VALID_1H}[{p.span(window)}])")

    day = f"1 - sum {by(FLOW_KEYS)} ({error_ratio(DAY)})"
    return (
        Record(name=AVAILABILITY_1D, expr=_numbers_of(day), meaning="Share of good runs of a day."),
        Record(name=AVAILABILITY_30D, expr=share(30 * DAY), meaning="Share of good runs of thirty days."),
        Record(
            name=BUDGET_30D,
            expr=f"1 - (1 - {AVAILABILITY_30D}) / {on(FLOW_KEYS)} (1 - {objective('availability')})",
            meaning="What is left of the error budget of thirty days; negative once it is overspent.",
        ),
    )
