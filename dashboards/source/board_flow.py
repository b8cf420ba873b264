"""Flow: everything of one flow, from the state of each run to the trace of the last failure."""

from dashboards.source import recording as rec
from dashboards.source.frame import Board, Row
from dashboards.source.panels import (
    BAD_ABOVE_ZERO,
    BY_FLOW,
    BY_PLACE,
    GREEN,
    HEATMAP,
    JAEGER,
    OUTCOMES,
    RATIO,
    RED,
    TEMPO,
    UP,
    YELLOW,
    Column,
    JaegerSearch,
    Panel,
    Query,
    bars,
    events,
    found_traces,
    grid,
    heat,
    history,
    lines,
    lists,
    now,
    number,
    prom,
    timeline,
    traces,
)  # fmt: skip
from dashboards.source.promql import (
    BLAME,
    ERROR,
    FLOW,
    KIND,
    LAYER,
    LOCATION,
    OUTCOME,
    PHASE,
    STEP,
    STEP_OUTCOME,
    by,
    label,
    mean,
    quantile,
    select,
    sum_increase,
)  # fmt: skip
from otelprobe.telemetry import schema
from otelprobe.telemetry.schema import Attribute, Metric

_RATE = "$__rate_interval"
_STEP = f"{{{{{STEP}}}}}"
EVENTS = f'{{service_name=~"otelprobe.*"}} | {label(schema.FLOW)}=~"$flow"'
FAILED = f'{EVENTS} | {label(schema.FLOW_OUTCOME)}=~"fail|error" | {label(schema.DETAIL)}!=""'


def told(*words: str) -> str:
    """Make lines of an event's attributes: what the store has as its line is only the event's name."""
    return f' | line_format "{" ".join(words)}"'


def word(attribute: Attribute) -> str:
    """Stand for an attribute in a line."""
    return f"{{{{.{label(attribute)}}}}}"


_WHY = told(word(schema.FLOW), word(schema.LOCATION), f"{word(schema.FAILED_STEP)}:", word(schema.ERROR_TYPE),
            f"({word(schema.BLAME)})", word(schema.DETAIL))  # fmt: skip
_ALL = told("{{__line__}}", word(schema.STEP), word(schema.FLOW_OUTCOME), word(schema.ERROR_TYPE), word(schema.DETAIL))


def flow() -> Board:
    """Give the board."""
    return Board(
        "otelprobe-flow",
        "otelprobe / Flow",
        "One flow: its runs, its steps, its HTTP requests, why it failed and the traces of it. Choose a flow above.",
        (
            Row("Now", (*_numbers(), *_runs(), *_reasons(), *_times())),
            Row("Steps", (*_steps(),)),
            Row("HTTP", (*_http(),)),
            Row("Events", (*_events(),), closed=True),
            Row("Failed runs in Tempo", (_tempo(),), closed=True),
            Row("Failed runs in Jaeger", (_jaeger(),), closed=True),
        ),
        stores=("datasource", "loki", "tempo", "jaeger"),
    )


def _numbers() -> tuple[Panel, ...]:
    up = select(schema.FLOW_UP, BY_PLACE)
    bad, valid = (f"sum(sum_over_time({select(r, BY_FLOW)}[1d]))" for r in (rec.ERRORS_1H, rec.VALID_1H))
    since = f"time() - max(last_over_time({select(schema.LAST_SUCCESS, BY_PLACE)}[1d]))"
    every = f"max({select(schema.SCHEDULE_MISSED, BY_PLACE)})"
    return (
        number("Locations where it fails", "Locations whose last run did not pass.", f"count(last_over_time({up}[15m]) == 0)", "none",
               BAD_ABOVE_ZERO),
        number("Good runs, 24 h", "Share of a day's runs that did not spend an objective.", f"1 - {bad} / {valid}", "percentunit", RATIO,
               empty="-"),
        number("Auth time p95", "Time in steps of the auth layer.", f"max({select(rec.flow_p95('auth'), BY_FLOW)})", "s",
               ((None, GREEN),), empty="-"),
        number("API time p95", "Time in steps of the API layer.", f"max({select(rec.flow_p95('api'), BY_FLOW)})", "s",
               ((None, GREEN),), empty="-"),
        number("Last success", "How long ago a run passed.", since, "s", ((None, GREEN), (600, YELLOW), (3600, RED)), empty="never"),
        number("Missed runs", "Planned runs that did not take place since the prober started.", every, "none",
               ((None, GREEN), (1, YELLOW)), empty="-"),
    )  # fmt: skip


def _runs() -> tuple[Panel, ...]:
    state = f"min {by((FLOW, LOCATION))} ({select(rec.UP, BY_PLACE)})"
    return (
        history(
            "Runs",
            "One cell for each point in time and location: whether the run passed.",
            [prom(state, f"{{{{{FLOW}}}}} {{{{{LOCATION}}}}}")],
            UP,
        ),
    )


def _times() -> tuple[Panel, ...]:
    took = quantile(0.95, schema.FLOW_DURATION, _RATE, (OUTCOME,), BY_PLACE)
    return (
        lines("Duration", "How long a run took, by how it ended, 95th percentile.",
              [prom(took, f"{{{{{OUTCOME}}}}}", exemplars=True)], "s", span=8, colours=OUTCOMES),
        lines("Auth time", "Steps of the auth layer, 95th percentile, by location.",
              [prom(quantile(0.95, schema.AUTH_TIME, _RATE, (LOCATION,), BY_PLACE), f"{{{{{LOCATION}}}}}", exemplars=True)], "s", span=8),
        lines("API time", "Steps of the API layer, 95th percentile, by location.",
              [prom(quantile(0.95, schema.API_TIME, _RATE, (LOCATION,), BY_PLACE), f"{{{{{LOCATION}}}}}", exemplars=True)], "s", span=8),
    )  # fmt: skip


def _steps() -> tuple[Panel, ...]:
    passed = f'{STEP_OUTCOME}="pass"'
    took = mean(schema.STEP_DURATION, _RATE, (STEP,), BY_PLACE, passed)
    last = mean(schema.STEP_DURATION, "$__range", (STEP,), BY_PLACE)
    up = f"min {by((STEP,))} (last_over_time({select(schema.STEP_UP, BY_PLACE)}[15m]))"
    return (
        lines("Steps over time", "Mean time of each step that passed, stacked: the waterfall over time.",
              [prom(took, _STEP, exemplars=True)], "s", stacked=True),
        bars("Waterfall", "Mean time of each step over the whole range.", [now(last, _STEP)], "s"),
        timeline("Step states", "Which step passed and which did not (or was skipped).", [prom(up, _STEP)], UP),
        heat("Step times", "All steps; a dot is a run and leads to its trace.", _buckets(schema.STEP_DURATION), "s"),
        lines("Steps by how they ended", "Step runs that did not pass.",
              [prom(f"{sum_increase(schema.STEP_RUNS, _RATE, (STEP, STEP_OUTCOME), BY_PLACE, _NOT_PASSED)} > 0",
                    f"{_STEP} {{{{{STEP_OUTCOME}}}}}")], "none", stacked=True, span=24),
    )  # fmt: skip


_PHASES = ("dns", "connect", "tls", "ttfb", "transfer")


def _phase(phase: str) -> str:
    return mean(schema.PHASE_DURATION, "$__range", (STEP,), BY_PLACE, f'{PHASE}="{phase}"')


_NOT_PASSED = f'{STEP_OUTCOME}!="pass"'


def _buckets(metric: Metric, *more: str) -> list[Query]:
    classic = f"sum by (le) (increase({select(metric, BY_PLACE, *more, suffix='_bucket')}[{_RATE}]))"
    native = f"sum(increase({select(metric, BY_PLACE, *more)}[{_RATE}]))"
    return [
        prom(classic, "{{le}}", exemplars=True).format(HEATMAP),
        prom(native, "native", "B", exemplars=True),
    ]


def _http() -> tuple[Panel, ...]:
    host, status, method = (label(a) for a in (schema.SERVER_ADDRESS, schema.STATUS_CODE, schema.METHOD))
    phases = mean(schema.PHASE_DURATION, _RATE, (PHASE,), BY_PLACE)
    asked = quantile(0.95, schema.HTTP_DURATION, _RATE, (STEP, host, method), BY_PLACE)
    count = f"sum {by((status,))} (increase({select(schema.HTTP_DURATION, BY_PLACE, suffix='_count')}[{_RATE}]))"
    native = f"sum {by((status,))} (histogram_count(increase({select(schema.HTTP_DURATION, BY_PLACE)}[{_RATE}])))"
    return (
        lines("HTTP phases", "Mean time of each phase of a request: dns and connect are the network, tls the handshake, ttfb the server.",
              [prom(phases, f"{{{{{PHASE}}}}}")], "s", stacked=True, span=8),
        lines("Requests", "Time of requests by step, method and host, 95th percentile.",
              [prom(asked, f"{_STEP}: {{{{{method}}}}} {{{{{host}}}}}", exemplars=True)], "s", span=8),
        lines("Answers", "Requests by status; no status is a request that got no answer.",
              [prom(f"{count} or {native}", f"{{{{{status}}}}}")], "none", stacked=True, span=8),
        grid("Phases by step", "Mean time of each phase of each step's requests over the whole range.",
             {STEP: "step"}, tuple(Column(phase, _phase(phase), "s") for phase in _PHASES), span=24),
    )  # fmt: skip


def _reasons() -> tuple[Panel, ...]:
    failed = f'{OUTCOME}=~"fail|error"'
    reasons = f"round({sum_increase(schema.FLOW_RUNS, '$__range', (ERROR, BLAME), BY_PLACE, failed, _NAMED)}) > 0"
    steps = f"round({sum_increase(schema.STEP_RUNS, '$__range', (STEP, KIND, LAYER, ERROR), BY_PLACE, _NAMED)}) > 0"
    return (
        grid("Reasons", "Why runs did not pass within the range, and who has to look (docs/reasons.md).",
             {ERROR: "reason", BLAME: "blame"}, (Column("runs", reasons, "none"),), span=10, height=7, sort="runs",
             descending=True, empty="no run failed"),
        grid("Steps that failed", "Where runs failed within the range.",
             {STEP: "step", KIND: "kind", LAYER: "layer", ERROR: "reason"}, (Column("runs", steps, "none"),), span=14, height=7, sort="runs",
             descending=True, empty="no step failed"),
    )  # fmt: skip


_NAMED = f'{ERROR}!=""'


def _events() -> tuple[Panel, ...]:
    return (
        lists("Failures", "Why runs failed, in words.", events(FAILED + _WHY)),
        lists("All events", "Every event of the flow, the audit trail included.", events(EVENTS + _ALL)),
    )


def _tempo() -> Panel:
    query = (
        f'{{ resource.service.name =~ "otelprobe.*" && span.{schema.FLOW_OUTCOME.name} =~ "fail|error" '
        f'&& span.{schema.FLOW.name} =~ "$flow" }}'
    )
    return found_traces(
        "Last failed runs (Tempo)",
        "A row opens the trace: every step, every request, the API's own spans.",
        traces(query),
        TEMPO,
    )


def _jaeger() -> Panel:
    return found_traces(
        "Last failed runs (Jaeger)",
        "A row opens the trace: every step, every request, the API's own spans. Choose a single flow.",
        JaegerSearch(f"{schema.FLOW_OUTCOME.name}=fail {schema.FLOW.name}=${{flow:raw}}"),
        JAEGER,
    )
