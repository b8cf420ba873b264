"""Panels with what every panel has: a title, a description, a unit, and queries on the board's own data sources."""

from collections.abc import Mapping, Sequence
from typing import Any

from grafana_foundation_sdk.builders import (
    bargauge,
    common,
    heatmap,
    logs,
    loki,
    prometheus,
    stat,
    statetimeline,
    statushistory,
    table,
    tempo,
    timeseries,
)
from grafana_foundation_sdk.builders import dashboard as board
from grafana_foundation_sdk.cog import variants
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import common as options
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models import heatmap as heat_options
from grafana_foundation_sdk.models.prometheus import PromQueryFormat
from grafana_foundation_sdk.models.tempo import SearchTableType

from dashboards.source.promql import ENV, FLOW, LOCATION, PROVIDER

PROMETHEUS = options.DataSourceRef("prometheus", "$datasource")
LOKI = options.DataSourceRef("loki", "$loki")
TEMPO = options.DataSourceRef("tempo", "$tempo")
JAEGER = options.DataSourceRef("jaeger", "$jaeger")

BY_PROVIDER = f'{ENV}=~"$environment", {PROVIDER}=~"$provider"'
BY_FLOW = f'{BY_PROVIDER}, {FLOW}=~"$flow"'
BY_PLACE = f'{BY_FLOW}, {LOCATION}=~"$location"'
HERE = f'{ENV}=~"$environment", {LOCATION}=~"$location"'

GREEN, YELLOW, ORANGE, RED, BLUE, GREY, PURPLE = "green", "yellow", "orange", "red", "blue", "text", "purple"
Steps = Sequence[tuple[float | None, str]]
BAD_ABOVE_ZERO: Steps = ((None, GREEN), (1, RED))
DAYS: Steps = ((None, RED), (0, RED), (7 * 86400, ORANGE), (30 * 86400, YELLOW), (90 * 86400, GREEN))
RATIO: Steps = ((None, RED), (0.99, ORANGE), (0.995, YELLOW), (0.999, GREEN))
Mappings = Mapping[str, tuple[str, str]]
OUTCOMES = {"pass": GREEN, "fail": RED, "error": ORANGE, "skip": GREY}
BLAMES = {"provider": RED, "api": ORANGE, "network": YELLOW, "edge": PURPLE, "config": BLUE, "prober": GREY}
UP: Mappings = {"1": ("pass", GREEN), "0": ("fail", RED)}
HEATMAP = PromQueryFormat.HEATMAP
"""The form of a heatmap's classic buckets. A native histogram keeps the plain form: Grafana 10 would take it apart."""
PER_MINUTE = "suffix: /min"
POINTS = 480
"""Points of a curve at most: what a query costs grows with them, and a third of a screen shows no more."""

_WIDE = 12
"""Columns from which on a legend has room beside its curves."""

Panel = Builder[model.Panel]
Query = Builder[variants.Dataquery]


def prom(expr: str, legend: str = "", ref: str = "A", *, exemplars: bool = False) -> prometheus.Dataquery:
    """Ask Prometheus over the board's time range."""
    made = (
        prometheus.Dataquery().datasource(PROMETHEUS).expr(expr).legend_format(legend or "__auto").ref_id(ref).range()
    )
    return made.exemplar(True) if exemplars else made


def now(expr: str, legend: str = "", ref: str = "A") -> prometheus.Dataquery:
    """Ask Prometheus for the value at the end of the range."""
    return (
        prometheus.Dataquery().datasource(PROMETHEUS).expr(expr).legend_format(legend or "__auto").ref_id(ref).instant()
    )


def events(expr: str) -> loki.Dataquery:
    """Ask Loki for events."""
    return loki.Dataquery().datasource(LOKI).expr(expr).ref_id("A")


def traces(query: str) -> tempo.Dataquery:
    """Ask Tempo for traces."""
    return (
        tempo.Dataquery()
        .datasource(TEMPO)
        .query_type("traceql")
        .query(query)
        .table_type(SearchTableType.TRACES)
        .limit(20)
        .ref_id("A")
    )


class _JaegerSearch(variants.Dataquery):
    """A search of the data source Jaeger, which the SDK has no model of."""

    def __init__(self, tags: str) -> None:
        self._tags = tags

    def to_json(self) -> dict[str, object]:
        """Give the query as Grafana stores it."""
        asked = {"refId": "A", "queryType": "search", "service": "otelprobe", "tags": self._tags, "limit": 20}
        return {**asked, "datasource": {"type": JAEGER.type_val, "uid": JAEGER.uid}}


class JaegerSearch(Builder[variants.Dataquery]):
    """Ask Jaeger for traces by tags."""

    def __init__(self, tags: str) -> None:
        self._made = _JaegerSearch(tags)

    def build(self) -> variants.Dataquery:
        """Give the query."""
        return self._made


def thresholds(steps: Steps) -> board.ThresholdsConfig:
    """Give colours by value; the first step has no lower bound."""
    made = [model.Threshold(value=value, color=color) for value, color in steps]
    return board.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(made)


def mappings(words: Mappings) -> list[model.ValueMapping]:
    """Give words and colours for values."""
    made = {
        value: model.ValueMappingResult(text=text, color=color, index=place)
        for place, (value, (text, color)) in enumerate(words.items())
    }
    return [model.ValueMap(options=made)]


def flow_link() -> board.DashboardLink:
    """Lead from a flow to its board, with the time and every filter kept."""
    return link(
        "Flow", "/d/otelprobe-flow", f"var-flow=${{__field.labels.{FLOW}}}&var-provider=${{__field.labels.{PROVIDER}}}"
    )


def row_link() -> board.DashboardLink:
    """Lead from a row of a table to the flow's board."""
    return link("Flow", "/d/otelprobe-flow", "var-flow=${__data.fields.flow}&var-provider=${__data.fields.provider}")


def link(title: str, path: str, variables: str) -> board.DashboardLink:
    """Give a link with variables, the time range and the data sources."""
    kept = "${__url_time_range}&${datasource:queryparam}&${environment:queryparam}&${location:queryparam}"
    return board.DashboardLink(title).url(f"{path}?{kept}&{variables}").type(model.DashboardLinkType.LINK)


def number(title: str, about: str, expr: str, unit: str, steps: Steps, *, span: int = 4, empty: str = "0") -> Panel:
    """Give one number, coloured; `empty` is shown where there is no series."""
    return (
        stat.Panel()
        .title(title)
        .description(about)
        .datasource(PROMETHEUS)
        .with_target(now(expr))
        .unit(unit)
        .thresholds(thresholds(steps))
        .no_value(empty)
        .color_mode(options.BigValueColorMode.BACKGROUND)
        .graph_mode(options.BigValueGraphMode.NONE)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .height(4)
        .span(span)
    )


def lines(
    title: str,
    about: str,
    queries: Sequence[Query],
    unit: str,
    *,
    span: int = 12,
    stacked: bool = False,
    steps: Steps | None = None,
    top: float | None = None,
    linked: bool = False,
    empty: str = "",
    colours: Mapping[str, str] | None = None,
) -> Panel:
    """Give curves over time; `empty` says what it means that there is none, `colours` are by the curves' names."""
    made = (
        timeseries.Panel()
        .title(title)
        .description(about)
        .datasource(PROMETHEUS)
        .max_data_points(POINTS)
        .targets(list(queries))
        .unit(unit)
        .min(0)
        .line_width(1)
        .fill_opacity(30 if stacked else 0)
        .show_points(options.VisibilityMode.AUTO)
        .legend(_legend(span))
        .tooltip(common.VizTooltipOptions().mode(options.TooltipDisplayMode.MULTI).sort(options.SortOrder.DESCENDING))
        .height(8)
        .span(span)
    )
    if stacked:
        made = made.stacking(common.StackingConfig().mode(options.StackingMode.NORMAL))
    if steps is not None:
        style = common.GraphThresholdsStyleConfig().mode(options.GraphThresholdsStyleMode.DASHED)
        made = made.thresholds(thresholds(steps)).thresholds_style(style)
    for curve, colour in (colours or {}).items():
        fixed = {"mode": "fixed", "fixedColor": colour}
        made = made.with_override(_named(curve), [model.DynamicConfigValue("color", fixed)])
    if top is not None:
        made = made.max(top)
    if empty:
        made = made.no_value(empty)
    return made.data_links([flow_link()]) if linked else made


def signed(title: str, about: str, queries: Sequence[Query], unit: str, *, span: int = 12) -> Panel:
    """Give curves that may go below zero."""
    made = timeseries.Panel().title(title).description(about).datasource(PROMETHEUS).targets(list(queries)).unit(unit)
    return made.max_data_points(POINTS).line_width(1).legend(_legend(span)).height(8).span(span)


def _legend(span: int) -> common.VizLegendOptions:
    """Give names below a narrow panel, and names with numbers, the highest first, beside a wide one."""
    made = common.VizLegendOptions().show_legend(True)
    if span < _WIDE:
        return made.display_mode(options.LegendDisplayMode.LIST).placement(options.LegendPlacement.BOTTOM).calcs([])
    made = made.display_mode(options.LegendDisplayMode.TABLE).placement(options.LegendPlacement.RIGHT)
    return made.calcs(["lastNotNull", "max"]).sort_by("Max").sort_desc(True)


def timeline(
    title: str,
    about: str,
    queries: Sequence[Query],
    words: Mappings,
    *,
    span: int = 12,
    height: int = 8,
    empty: str = "",
) -> Panel:
    """Give states over time, equal ones merged; `empty` says what it means that there is none."""
    made = (
        statetimeline.Panel()
        .title(title)
        .description(about)
        .datasource(PROMETHEUS)
        .max_data_points(POINTS)
        .targets(list(queries))
        .unit("none")
        .mappings(mappings(words))
        .merge_values(True)
        .row_height(0.8)
        .fill_opacity(80)
        .show_value(options.VisibilityMode.NEVER)
        .data_links([flow_link()])
        .height(height)
        .span(span)
    )
    return made.no_value(empty) if empty else made


def history(title: str, about: str, queries: Sequence[Query], words: Mappings, *, span: int = 24) -> Panel:
    """Give one cell for each point in time."""
    made = statushistory.Panel().title(title).description(about).datasource(PROMETHEUS).targets(list(queries))
    made = made.unit("none").mappings(mappings(words)).row_height(0.9).show_value(options.VisibilityMode.NEVER)
    return made.height(6).span(span)


def heat(title: str, about: str, queries: Sequence[Query], unit: str, *, span: int = 12) -> Panel:
    """Give a heatmap of a histogram; a dot is an exemplar and leads to its trace."""
    axis = heatmap.YAxisConfig().unit(unit).axis_placement(options.AxisPlacement.LEFT)
    return (
        heatmap.Panel()
        .title(title)
        .description(about)
        .datasource(PROMETHEUS)
        .targets(list(queries))
        .unit(unit)
        .calculate(False)
        .color(
            heatmap.HeatmapColorOptions()
            .mode(heat_options.HeatmapColorMode.SCHEME)
            .scheme("Blues")
            .steps(32)
            .exponent(0.5)
        )
        .y_axis(axis)
        .tooltip(heatmap.HeatmapTooltip().mode(options.TooltipDisplayMode.SINGLE).y_histogram(True))
        .height(8)
        .span(span)
    )


def bars(
    title: str, about: str, queries: Sequence[Query], unit: str, *, span: int = 12, steps: Steps = ((None, BLUE),)
) -> Panel:
    """Give horizontal bars of the latest values."""
    return (
        bargauge.Panel()
        .title(title)
        .description(about)
        .datasource(PROMETHEUS)
        .targets(list(queries))
        .unit(unit)
        .min(0)
        .thresholds(thresholds(steps))
        .orientation(options.VizOrientation.HORIZONTAL)
        .display_mode(options.BarGaugeDisplayMode.BASIC)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .height(8)
        .span(span)
    )


class Column:
    """A column of a table: a query, its head, its unit and colours."""

    def __init__(
        self,
        head: str,
        expr: str,
        unit: str,
        steps: Steps | None = None,
        words: Mappings | None = None,
        *,
        absent: str = "",
    ) -> None:
        self.head, self.expr, self.unit, self.steps, self.words, self.absent = head, expr, unit, steps, words, absent


def grid(
    title: str,
    about: str,
    keys: Mapping[str, str],
    columns: Sequence[Column],
    *,
    span: int = 24,
    height: int = 9,
    sort: str = "",
    descending: bool = False,
    linked: bool = False,
    empty: str = "",
    lead: Sequence[str] = (),
    widths: Mapping[str, int] | None = None,
) -> Panel:
    """Give a table: a row for each set of labels `keys` (label to head), a column for each query.

    A column without a head brings labels only; every label that a query leaves has to be among `keys`. The heads of `lead`
    stand first.
    """
    refs = [chr(ord("A") + place) for place in range(len(columns))]
    queries: list[Query] = [
        now(c.expr, ref=ref).format(PromQueryFormat.TABLE) for ref, c in zip(refs, columns, strict=True)
    ]
    made = (
        table.Panel().title(title).description(about).datasource(PROMETHEUS).targets(queries).unit("none").min_width(90)
    )
    made = made.transformations(_merged(keys, refs, columns, lead))
    for column in columns:
        if column.head:
            made = made.with_override(_named(column.head), _properties(column))
    for head, width in (widths or {}).items():
        made = made.with_override(_named(head), [model.DynamicConfigValue("custom.width", width)])
    if linked:
        target = row_link().build()
        value = [{"title": "Flow", "url": target.url}]
        made = made.with_override(_named("flow"), [model.DynamicConfigValue("links", value)])
    if sort:
        made = made.sort_by([common.TableSortByFieldState().display_name(sort).desc(descending)])
    made = made.no_value(empty) if empty else made
    return made.show_header(True).height(height).span(span)


def matrix(
    title: str,
    about: str,
    query: prometheus.Dataquery,
    *,
    row: str,
    column: str,
    words: Mappings,
    span: int = 24,
    height: int = 9,
) -> Panel:
    """Give a table with a row for each value of one label, a column for each of another, and a coloured cell for each pair."""
    grouped = {"rowField": row, "columnField": column, "valueField": "Value", "emptyValue": "null"}
    head = {"renameByName": {f"{row}\\{column}": "flow"}}
    made = table.Panel().title(title).description(about).datasource(PROMETHEUS).unit("none").mappings(mappings(words))
    made = made.with_target(query.format(PromQueryFormat.TABLE)).transformations(
        [
            model.DataTransformerConfig(id_val="groupingToMatrix", options=grouped),
            model.DataTransformerConfig(id_val="organize", options={"excludeByName": {}, "indexByName": {}, **head}),
        ]
    )
    cells = options.TableColoredBackgroundCellOptions(mode=options.TableCellBackgroundDisplayMode.BASIC)
    made = made.color_scheme(board.FieldColor().mode(model.FieldColorModeId.FIXED).fixed_color("transparent"))
    return made.cell_options(cells).show_header(True).height(height).span(span)


def _named(head: str) -> model.MatcherConfig:
    return model.MatcherConfig("byName", head)


def _properties(column: Column) -> list[model.DynamicConfigValue]:
    found = [model.DynamicConfigValue("unit", column.unit)]
    if column.steps is not None:
        steps = [{"value": value, "color": color} for value, color in column.steps]
        found += [
            model.DynamicConfigValue("thresholds", {"mode": "absolute", "steps": steps}),
            model.DynamicConfigValue("custom.cellOptions", {"type": "color-text"}),
        ]
    if column.words is not None:
        found += [
            model.DynamicConfigValue("mappings", [m.to_json() for m in mappings(column.words)] + _nothing(column)),
            model.DynamicConfigValue("custom.align", "left"),
            model.DynamicConfigValue("custom.cellOptions", {"type": "color-text"}),
        ]
    return found


def _nothing(column: Column) -> list[object]:
    """Give the word for a row that the column's query has no number for."""
    if not column.absent:
        return []
    result = {"text": column.absent, "color": ORANGE}
    return [{"type": "special", "options": {"match": "null", "result": result}}]


def _merged(
    keys: Mapping[str, str], refs: Sequence[str], columns: Sequence[Column], lead: Sequence[str]
) -> list[model.DataTransformerConfig]:
    values = {r: "Value" if len(columns) == 1 else f"Value #{r}" for r in refs}
    renamed = {**keys, **{values[r]: c.head for r, c in zip(refs, columns, strict=True) if c.head}}
    leading = [word for head in lead for word, renamed_to in renamed.items() if renamed_to == head]
    order = {word: place for place, word in enumerate(dict.fromkeys([*leading, *renamed]))}
    hidden = {values[r]: True for r, c in zip(refs, columns, strict=True) if not c.head}
    return [
        model.DataTransformerConfig(id_val="merge", options={}),
        model.DataTransformerConfig(
            id_val="organize",
            options={"excludeByName": {"Time": True, **hidden}, "indexByName": order, "renameByName": renamed},
        ),
    ]


def lists(title: str, about: str, query: Query, *, span: int = 24) -> Panel:
    """Give log events, newest first."""
    made = logs.Panel().title(title).description(about).datasource(LOKI).with_target(query).unit("none")
    made = made.show_time(True).wrap_log_message(True).enable_log_details(True)
    return made.sort_order(options.LogsSortOrder.DESCENDING).height(9).span(span)


def found_traces(title: str, about: str, query: Query, source: options.DataSourceRef, *, span: int = 24) -> Panel:
    """Give a table of traces; a row opens its trace."""
    made = table.Panel().title(title).description(about).datasource(source).with_target(query).unit("none")
    return made.show_header(True).height(8).span(span)


def tree_of(panel: Any) -> dict[str, Any]:
    """Give a panel as Grafana stores it."""
    found: dict[str, Any] = panel.to_json()
    return found
