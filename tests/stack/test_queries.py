"""What boards ask of Loki and Tempo is read without fault by the grammars that Grafana's own editors use."""

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from dashboards.source.frame import every_panel
from tests.dashboards.queries import filled
from tests.dashboards.test_boards import BOARDS
from tests.stack.harness import cache, node
from tests.stack.servers import told_in_one_line

PACKAGES = node.STACK / "queries"
Queries = Mapping[str, Sequence[str]]


def asked() -> dict[str, list[str]]:
    """Give every query of Loki and Tempo that a panel asks, its variables filled."""
    targets: list[dict[str, Any]] = [t for b in BOARDS.values() for panel in every_panel(b) for t in panel["targets"]]
    return {
        "logql": [filled(t["expr"]) for t in targets if t["datasource"]["type"] == "loki"],
        "traceql": [filled(t["query"]) for t in targets if t["datasource"]["type"] == "tempo"],
    }


def faults(queries: Queries, folder: Path) -> dict[str, list[list[int]]]:
    """Give where each query is at fault, by language."""
    with told_in_one_line():
        script = node.script(PACKAGES, "parse.mjs", folder)
        command = [cache.need("node", "install Node.js 20 or newer"), script]
    done = subprocess.run(command, input=json.dumps(queries), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    told: dict[str, list[list[int]]] = json.loads(done.stdout)
    return told


def test_every_query_of_events_and_traces_is_without_fault(tmp_path: Path) -> None:
    """No query of any panel has an error in its syntax, and there are some in each language."""
    queries = asked()
    assert all(queries.values())
    assert faults(queries, tmp_path) == {language: [[]] * len(texts) for language, texts in queries.items()}


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("logql", '{service_name="otelprobe"} | otelprobe_flow_name=~'),
        ("logql", '{service_name="otelprobe" | otelprobe_flow_name="orders"'),
        ("traceql", "{ span.otelprobe.flow.name =~ }"),
        ("traceql", '{ span.otelprobe.flow.name = "orders" && }'),
    ],
)
def test_a_fault_would_be_seen(language: str, text: str, tmp_path: Path) -> None:
    """A query that stops in the middle is not read."""
    assert faults({language: [text]}, tmp_path)[language] != [[]]
