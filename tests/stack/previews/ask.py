"""Every panel's queries, put to the stores as Grafana would, and the answers as plain data for the page that draws them."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dashboards.source.frame import every_panel
from tests.dashboards.queries import filled
from tests.stack.harness.jaeger import Jaeger
from tests.stack.harness.process import session
from tests.stack.harness.prometheus import Prometheus

POINTS = 300
_EXEMPLARS = 300
_FORMAT = re.compile(r'\| line_format "([^"]*)"')
_HOLDS = re.compile(r'\|= "([^"]*)"')
_FILTER = re.compile(r'\|\s*(\w+)\s*(=~|!=|=)\s*"([^"]*)"')


@dataclass(frozen=True)
class Range:
    """A time range, Unix seconds, and what its variables are filled with."""

    begun: float
    ended: float
    chosen: Mapping[str, str] = field(default_factory=dict)

    @property
    def step(self) -> int:
        """Seconds between two points."""
        return max(1, round((self.ended - self.begun) / POINTS))

    @property
    def values(self) -> dict[str, str]:
        """Give what stands for each variable; All where nothing is chosen."""
        every = {f"${word}": self.chosen.get(word, ".*") for word in ("environment", "provider", "flow", "location")}
        step = f"{self.step}s"
        return {"$__rate_interval": "10s", "$__interval": step, "$__range": f"{self.ended - self.begun:.0f}s", **every}


@dataclass(frozen=True)
class Sources:
    """Where the answers come from; `events` as Loki would give them."""

    prometheus: Prometheus
    jaeger: Jaeger | None
    events: list[dict[str, Any]]
    traces: list[dict[str, Any]] = field(default_factory=list)


def answers(board: dict[str, Any], sources: Sources, over: Range) -> dict[str, list[dict[str, Any]]]:
    """Give the answers to every query of every panel, by the panel's id."""
    return {
        str(panel["id"]): [_answer(target, panel, sources, over) for target in panel["targets"]]
        for panel in every_panel(board)
    }


def _answer(target: dict[str, Any], panel: dict[str, Any], sources: Sources, over: Range) -> dict[str, Any]:
    kind = target["datasource"]["type"]
    told: dict[str, Any] = {"refId": target["refId"], "kind": kind}
    if kind == "prometheus":
        expr = filled(target["expr"], over.values)
        if target.get("instant"):
            return told | {"kind": "vector", "rows": _instant(sources.prometheus, expr, over)}
        exemplars = _exemplars(sources.prometheus, expr, over) if target.get("exemplar") else []
        rows = _range(sources.prometheus, expr, over)
        return told | {"kind": "matrix", "rows": rows, "exemplars": exemplars, "step": over.step}
    if kind == "loki":
        return told | {"rows": _events(target["expr"], sources.events, over)}
    return told | {"kind": "traces", "rows": sources.traces}


def _post(prometheus: Prometheus, path: str, **data: str) -> Any:
    with session() as http:
        told = http.post(f"{prometheus.url}/api/v1/{path}", data=data, timeout=60).json()
    assert told["status"] == "success", (told.get("error"), data["query"])
    return told["data"]


def _instant(prometheus: Prometheus, expr: str, over: Range) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = _post(prometheus, "query", query=expr, time=f"{over.ended:.0f}")["result"]
    return found


def _range(prometheus: Prometheus, expr: str, over: Range) -> list[dict[str, Any]]:
    asked = {"query": expr, "start": f"{over.begun:.0f}", "end": f"{over.ended:.0f}", "step": str(over.step)}
    found: list[dict[str, Any]] = _post(prometheus, "query_range", **asked)["result"]
    return found


def _exemplars(prometheus: Prometheus, expr: str, over: Range) -> list[dict[str, Any]]:
    found = _post(prometheus, "query_exemplars", query=expr, start=str(over.begun), end=str(over.ended))
    every = [exemplar for row in found for exemplar in row["exemplars"]]
    return every[:: max(1, len(every) // _EXEMPLARS)]


def _events(query: str, events: list[dict[str, Any]], over: Range) -> list[dict[str, Any]]:
    """Filter the events and write their lines anew, as the query's stages do."""
    query = filled(query, over.values)
    shown = _FORMAT.search(query)
    return [
        {**event, "line": _line(shown.group(1), event) if shown else event["line"]}
        for event in sorted(events, key=lambda event: event["time"], reverse=True)
        if _passes(query, event)
    ]


def _line(template: str, event: dict[str, Any]) -> str:
    words = template.replace("{{__line__}}", event["line"])
    return re.sub(r"{{\.(\w+)}}", lambda found: str(event["labels"].get(found.group(1), "")), words)


def _passes(query: str, event: dict[str, Any]) -> bool:
    tests = {
        "=~": lambda has, want: re.fullmatch(want, has) is not None,
        "=": lambda has, want: has == want,
        "!=": lambda has, want: has != want,
    }
    labels = event["labels"]
    held = all(word in event["line"] for word in _HOLDS.findall(query))
    return held and all(tests[sign](labels.get(key, ""), want) for key, sign, want in _FILTER.findall(query))


def failed_traces(jaeger: Jaeger, target: dict[str, Any], flow: str) -> list[dict[str, Any]]:
    """Put the search of the panel of failed runs to Jaeger."""
    pairs = [pair.split("=", 1) for pair in target["tags"].replace("${flow:raw}", flow).split()]
    parameters = {
        "service": target["service"],
        "tags": json.dumps(dict(pairs)),
        "limit": target["limit"],
        "lookback": "1h",
    }
    with session() as http:
        found = http.get(f"{jaeger.url}/api/traces", params=parameters, timeout=10).json()["data"]
    return [_trace(trace) for trace in found]


def _trace(trace: dict[str, Any]) -> dict[str, Any]:
    root = min(trace["spans"], key=lambda span: int(span["startTime"]))
    ends = max(int(span["startTime"]) + int(span["duration"]) for span in trace["spans"])
    return {
        "trace": trace["traceID"][:16], "name": root["operationName"], "start": root["startTime"] / 1000,
        "duration": (ends - root["startTime"]) / 1e6, "spans": len(trace["spans"]),
    }  # fmt: skip
