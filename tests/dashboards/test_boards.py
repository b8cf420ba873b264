"""The boards are whole: every panel says what it shows, asks what exists, and nothing that is documented goes unseen."""

import json
from pathlib import Path
from typing import Any

import pytest
from grafana_foundation_sdk.models.dashboard import Dashboard

from dashboards.source.alerts import groups
from dashboards.source.boards import boards
from dashboards.source.frame import every_panel
from dashboards.source.rules import Parameters
from otelprobe.telemetry import schema
from otelprobe.telemetry.schema import prometheus_name
from tests.dashboards.queries import base, filled, prometheus_targets, series_of

FOLDER = Path(__file__).resolve().parents[2] / "dashboards" / "grafana"
BOARDS: dict[str, Any] = {
    path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.json"))
}
PANELS = [(uid, panel) for uid, board in BOARDS.items() for panel in every_panel(board)]
METRICS = {prometheus_name(metric): metric for metric in schema.METRICS}
GROUPS = groups(Parameters())
RECORDED = {record.name for group in GROUPS for record in group.records}
ELSEWHERE = {"ALERTS"}
by_title = pytest.mark.parametrize(
    ("uid", "panel"), PANELS, ids=lambda part: part if isinstance(part, str) else part["title"]
)


def test_every_board_has_its_file() -> None:
    """The folder holds the boards of the source and no other."""
    assert set(BOARDS) == {board.uid for board in boards()}


@by_title
def test_every_panel_says_what_it_shows(uid: str, panel: dict[str, Any]) -> None:
    """Title, description, unit and data source are set, and the data source is a variable."""
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["targets"]
    for target in panel["targets"]:
        assert target["datasource"]["uid"] in {"$datasource", "$loki", "$tempo", "$jaeger"}
        assert f"{target['datasource']['uid']}"[1:] in {v["name"] for v in BOARDS[uid]["templating"]["list"]}


@pytest.mark.parametrize("uid", BOARDS)
def test_a_board_is_one_that_grafana_can_read(uid: str) -> None:
    """It loads through the model of Grafana's own SDK, ids and titles are unique, panels lie within the grid."""
    board = BOARDS[uid]
    assert Dashboard.from_json(board).uid == uid
    panels = every_panel(board, rows=True)
    assert len({panel["id"] for panel in panels}) == len(panels)
    titles = [panel["title"] for panel in every_panel(board)]
    assert len(set(titles)) == len(titles)
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in panels)
    assert not board["editable"]
    assert all(
        variable.get("current") is None or variable["type"] == "query" for variable in board["templating"]["list"]
    )


@pytest.mark.parametrize("uid", BOARDS)
def test_boards_keep_time_and_filters_in_their_links(uid: str) -> None:
    """From any board to any other, the range and the variables go along."""
    (link,) = BOARDS[uid]["links"]
    assert link["keepTime"]
    assert link["includeVars"]
    names = [v["name"] for v in BOARDS[uid]["templating"]["list"] if v["type"] == "query"]
    assert names == ["environment", "provider", "flow", "location"]
    assert [a["name"] for a in BOARDS[uid]["annotations"]["list"] if a["datasource"]["type"] == "prometheus"] == [
        "Alerts", "Key changes", "Reloads",
    ]  # fmt: skip


@by_title
def test_every_query_names_series_that_exist(uid: str, panel: dict[str, Any]) -> None:
    """A query of Prometheus parses, and names metrics of the schema or recorded series only."""
    for _, target in ((p, t) for p, t in prometheus_targets(BOARDS[uid]) if p["id"] == panel["id"]):
        unknown = {
            s for s in series_of(filled(target["expr"])) if base(s) not in METRICS and s not in RECORDED | ELSEWHERE
        }
        assert not unknown, target["expr"]


def used() -> set[str]:
    """Give the series that any panel or rule names."""
    asked = {
        s
        for board in BOARDS.values()
        for _, target in prometheus_targets(board)
        for s in series_of(filled(target["expr"]))
    }
    return asked | {series for group in GROUPS for rule in group.rules for series in series_of(rule.expr)}


def test_every_documented_metric_is_seen() -> None:
    """What docs/telemetry.md lists is used by a panel or an alert."""
    assert set(METRICS) - {base(series) for series in used()} == set()


def test_rules_name_series_that_exist_and_record_none_in_vain() -> None:
    """Every rule asks for metrics of the schema or recorded series, and every recorded series is asked for."""
    rules = {series for group in GROUPS for rule in group.rules for series in series_of(rule.expr)}
    assert {s for s in rules if base(s) not in METRICS} <= RECORDED
    assert used() >= RECORDED


def test_alerts_lead_to_boards_and_variables_that_exist() -> None:
    """The link of every alert opens a board, with variables that it has."""
    for alert in (alert for group in GROUPS for alert in group.alerts):
        assert alert.board in BOARDS
        assert set(alert.variables) <= {v["name"] for v in BOARDS[alert.board]["templating"]["list"]}
