"""What every board has: its variables, links, annotations and layout."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from grafana_foundation_sdk.builders import dashboard as board
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as model

from dashboards.source.panels import PROMETHEUS, Panel
from dashboards.source.promql import ENV, FLOW, LOCATION, PROVIDER, label, name, select
from dashboards.source.recording import INTERVAL, UP
from otelprobe.telemetry import schema

TAG = "otelprobe"
STORES = {
    "datasource": ("prometheus", "Data source"),
    "loki": ("loki", "Events"),
    "tempo": ("tempo", "Tempo"),
    "jaeger": ("jaeger", "Jaeger"),
}


@dataclass(frozen=True, slots=True)
class Row:
    """Panels under a heading; closed ones are asked for when they are opened."""

    title: str
    panels: Sequence[Panel]
    closed: bool = False


@dataclass(frozen=True, slots=True)
class Board:
    """One board. `uid` is also its file's name, and what links and alerts point to."""

    uid: str
    title: str
    about: str
    rows: Sequence[Row]
    stores: Sequence[str] = ("datasource",)
    span: str = "now-6h"


def render(made: Board) -> str:
    """Give the board as Grafana's classic JSON."""
    built = (
        board.Dashboard(made.title)
        .uid(made.uid)
        .description(made.about)
        .tags([TAG])
        .timezone("browser")
        .readonly()
        .tooltip(model.DashboardCursorSync.CROSSHAIR)
        .time(made.span, "now")
        .refresh("1m")
        .variables(_variables(made.stores))
        .annotations(_annotations())
        .link(_links())
    )
    for row in made.rows:
        heading = board.Row(row.title)
        if row.closed:
            for panel in row.panels:
                heading = heading.with_panel(panel)
        built = built.with_row(heading)
        if not row.closed:
            for panel in row.panels:
                built = built.with_panel(panel)
    tree: dict[str, Any] = json.loads(json.dumps(built.build(), cls=JSONEncoder))
    for number, part in enumerate(every_panel(tree, rows=True), 1):
        part["id"] = number
    return json.dumps(tree, indent=1, sort_keys=True) + "\n"


def every_panel(tree: dict[str, Any], *, rows: bool = False) -> list[dict[str, Any]]:
    """Give every panel of a board, those of closed rows included."""
    found = []
    for panel in tree["panels"]:
        if rows or panel["type"] != "row":
            found.append(panel)
        found += panel.get("panels", [])
    return found


def _variables(stores: Sequence[str]) -> list[Any]:
    made: list[Any] = [board.DatasourceVariable(word).label(STORES[word][1]).type(STORES[word][0]) for word in stores]
    here, theirs = f'{ENV}=~"$environment"', f'{PROVIDER}=~"$provider"'
    made += [
        _labels("environment", "Environment", f"label_values({INTERVAL}, {ENV})"),
        _labels("provider", "Provider", f"label_values({select(INTERVAL, here)}, {PROVIDER})"),
        _labels("flow", "Flow", f"label_values({select(INTERVAL, here, theirs)}, {FLOW})"),
        _labels("location", "Location", f"label_values({UP}, {LOCATION})"),
    ]
    return made


def _labels(word: str, title: str, query: str) -> board.QueryVariable:
    everything = model.VariableOption(selected=True, text="All", value="$__all")
    return (
        board.QueryVariable(word)
        .label(title)
        .datasource(PROMETHEUS)
        .query({"query": query, "refId": word})
        .definition(query)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(everything)
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(model.VariableSort.ALPHABETICAL_ASC)
    )


def _links() -> board.DashboardLink:
    return (
        board.DashboardLink("otelprobe")
        .type(model.DashboardLinkType.DASHBOARDS)
        .tags([TAG])
        .keep_time(True)
        .include_vars(True)
        .icon("external link")
    )


def _annotations() -> list[Builder[model.AnnotationQuery]]:
    change, outcome = label(schema.KEY_CHANGE), label(schema.RELOAD_OUTCOME)
    return [
        _annotation(
            "Alerts", 'ALERTS{alertstate="firing", alertname!="OtelprobeWatchdog", scope!=""}', "red", "{{alertname}}"
        ),
        _annotation(
            "Key changes",
            f"sum by ({PROVIDER}, {change}) (increase({name(schema.KEY_CHANGES)}[$__interval])) > 0",
            "purple",
            f"{{{{{PROVIDER}}}}}: {{{{{change}}}}}",
        ),
        _annotation(
            "Reloads",
            f"sum by (instance, {outcome}) (increase({name(schema.CONFIG_RELOADS)}[$__interval])) > 0",
            "blue",
            f"{{{{instance}}}}: {{{{{outcome}}}}}",
        ),
    ]


def _annotation(title: str, expr: str, color: str, text: str) -> board.AnnotationQuery:
    made = board.AnnotationQuery().name(title).datasource(PROMETHEUS).enable(True).icon_color(color)
    return made.expr(expr).title_format(title).text_format(text).step("60s")
