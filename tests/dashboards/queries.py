"""What boards and rules ask: their queries with the variables filled, and the series that a query names."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import promql_parser

from dashboards.source.frame import every_panel
from otelprobe.telemetry import schema
from otelprobe.telemetry.schema import Instrument, prometheus_name

HISTOGRAMS = {prometheus_name(m) for m in schema.METRICS if m.instrument is Instrument.HISTOGRAM}
FILLED: Mapping[str, str] = {
    "$__rate_interval": "1m",
    "$__interval": "1m",
    "$__range": "1h",
    "$environment": ".*",
    "$provider": ".*",
    "$flow": ".*",
    "$location": ".*",
}


def filled(expr: str, values: Mapping[str, str] = FILLED) -> str:
    """Fill the variables of a query, as Grafana does with All chosen."""
    for word in sorted(values, key=len, reverse=True):
        expr = expr.replace(word, values[word])
    assert not re.search(r"\$\D", expr), expr  # $1 is a group of label_replace
    return expr


def prometheus_targets(board: dict[str, Any]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Give every panel of a board with each of its queries of Prometheus."""
    for panel in every_panel(board):
        for target in panel["targets"]:
            if target["datasource"]["type"] == "prometheus":
                yield panel, target


def series_of(expr: str) -> set[str]:
    """Give the names of the series that a query selects."""
    found: set[str] = set()

    def visit(node: Any) -> None:
        if isinstance(node, promql_parser.VectorSelector):
            found.add(str(node.name))
        for part in ("expr", "lhs", "rhs", "param", "vector_selector"):
            child = getattr(node, part, None)
            if child is not None:
                visit(child)
        for child in getattr(node, "args", None) or ():
            visit(child)

    visit(promql_parser.parse(expr))
    return found


def base(series: str) -> str:
    """Give the metric of a histogram's series."""
    shorter = re.sub(r"_(bucket|sum|count)$", "", series)
    return shorter if shorter in HISTOGRAMS else series
