"""Jaeger v2, in memory, asked over its HTTP query API."""

from pathlib import Path
from typing import Any

import yaml

from tests.stack.harness.golang import Module
from tests.stack.harness.ports import free_ports
from tests.stack.harness.process import Process, answers, session

MODULE = Module("jaeger", "github.com/jaegertracing/jaeger", "v1.76.0", ("cmd/jaeger",))
"""Its program `cmd/jaeger` is Jaeger v2; the v2 tags are no versions of this module path."""


def _config(folder: Path, ports: dict[str, int]) -> Path:
    """Write what its built-in all-in-one configuration says, on ports of our own."""

    def at(name: str) -> dict[str, str]:
        return {"endpoint": f"127.0.0.1:{ports[name]}"}

    config = {
        "extensions": {
            "jaeger_storage": {"backends": {"memory": {"memory": {"max_traces": 10000}}}},
            "jaeger_query": {"storage": {"traces": "memory"}, "grpc": at("query_grpc"), "http": at("query")},
            "healthcheckv2": {"use_v2": True, "http": at("health")},
        },
        "receivers": {"otlp": {"protocols": {"grpc": at("otlp")}}},
        "exporters": {"jaeger_storage_exporter": {"trace_storage": "memory"}},
        "service": {
            "extensions": ["jaeger_storage", "jaeger_query", "healthcheckv2"],
            "telemetry": {"metrics": {"level": "none"}},
            "pipelines": {"traces": {"receivers": ["otlp"], "exporters": ["jaeger_storage_exporter"]}},
        },
    }
    path = folder / "jaeger.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return path


class Jaeger(Process):
    """A Jaeger with an empty store. `otlp` is host:port of its OTLP/gRPC."""

    def __init__(self, folder: Path) -> None:
        names = ("otlp", "query", "query_grpc", "health")
        ports = dict(zip(names, free_ports(len(names)), strict=True))
        self.otlp = f"127.0.0.1:{ports['otlp']}"
        self.url = f"http://127.0.0.1:{ports['query']}"
        command: list[str | Path] = [MODULE.obtain() / "jaeger", f"--config={_config(folder, ports)}"]
        super().__init__("jaeger", command, log=folder / "jaeger.log")
        self._http = session()
        self.wait_until(answers(f"{self.url}/api/services"), 120)

    def stop(self, seconds: float = 1.0) -> int:
        """End it, and the connections to it; its store is gone with it, so that its own ten seconds are not waited for."""
        self._http.close()
        return super().stop(seconds)

    def spans(self, trace_id: str) -> list[dict[str, Any]]:
        """Give the spans of a trace, with `service` and with tags as a mapping; empty if it is not there (yet)."""
        response = self._http.get(f"{self.url}/api/traces/{trace_id}", timeout=30)
        if response.status_code == 404:
            return []
        response.raise_for_status()
        return [_plain(span, trace["processes"]) for trace in response.json()["data"] for span in trace["spans"]]


def _plain(span: dict[str, Any], processes: dict[str, Any]) -> dict[str, Any]:
    process = processes[span["processID"]]
    return {
        **span,
        "service": process["serviceName"],
        "resource": {tag["key"]: tag["value"] for tag in process["tags"]},
        "tags": {tag["key"]: tag["value"] for tag in span["tags"]},
    }
