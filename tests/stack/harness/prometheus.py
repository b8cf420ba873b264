"""Upstream Prometheus with its OTLP and remote-write receivers, run with the configuration file that we ship."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.stack.harness import cache
from tests.stack.harness.golang import Module
from tests.stack.harness.ports import free_ports
from tests.stack.harness.process import Process, answers, session

MODULE = Module("prometheus", "github.com/prometheus/prometheus", "v0.309.1", ("cmd/prometheus", "cmd/promtool"))
"""Prometheus 3.9.1: its module is numbered v0.<300 + minor>."""

FEATURES = ("exemplar-storage", "created-timestamp-zero-ingestion")
CONFIG = cache.REPOSITORY / "collector-config" / "prometheus.yml"


class Prometheus(Process):
    """A Prometheus with an empty store. `otlp` and `remote_write` are where data is sent to."""

    def __init__(
        self,
        folder: Path,
        *,
        config: Path = CONFIG,
        environment: dict[str, str] | None = None,
        flags: Sequence[str] = (),
        port: int | None = None,
    ) -> None:
        """Start it with these flags besides; with a folder and a port of before it is the same one again."""
        self.port = port or free_ports(1)[0]
        port = self.port
        self.url = f"http://127.0.0.1:{port}"
        self.otlp = f"{self.url}/api/v1/otlp"
        self.remote_write = f"{self.url}/api/v1/write"
        command: list[str | Path] = [
            MODULE.obtain() / "prometheus",
            f"--config.file={config}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--web.enable-otlp-receiver",
            "--web.enable-remote-write-receiver",
            f"--enable-feature={','.join(FEATURES)}",
            *flags,
        ]
        super().__init__("prometheus", command, log=folder / "prometheus.log", environment=environment)
        self._http = session()
        self.wait_until(answers(f"{self.url}/-/ready"), 120)

    def stop(self, seconds: float = 15.0) -> int:
        """End it, and the connections to it."""
        self._http.close()
        return super().stop(seconds)

    def _get(self, path: str, **parameters: str) -> Any:
        response = self._http.get(f"{self.url}/api/v1/{path}", params=parameters, timeout=30)
        told = response.json()
        assert told["status"] == "success", told.get("error")
        return told["data"]

    def query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """Give the instant value of an expression: labels and number of each series."""
        found = self._get("query", query=expression)["result"]
        return [(row["metric"], float(row["value"][1])) for row in found]

    def missed_evaluations(self) -> dict[str, float]:
        """Give how often each group of rules was not evaluated because the evaluation before it was not over."""
        text = self._http.get(f"{self.url}/metrics", timeout=10).text
        pattern = r'^prometheus_rule_group_iterations_missed_total\{rule_group="(?:.*;)?([^"]*)"\} (\S+)$'
        return {group: float(count) for group, count in re.findall(pattern, text, re.MULTILINE)}

    def growth(self, selector: str) -> float:
        """Give by how much the first and the last sample of the last hour differ, counts of native histograms included."""
        total = 0.0
        for row in self._get("query", query=f"{selector}[1h]")["result"]:
            numbers = [float(value) for _, value in row.get("values", ())]
            numbers += [float(histogram["count"]) for _, histogram in row.get("histograms", ())]
            total += numbers[-1] - numbers[0]
        return total

    def series(self, selector: str) -> list[dict[str, str]]:
        """Give the labels of every series that a selector finds in the last hour."""
        found: list[dict[str, str]] = self._get("series", **{"match[]": selector})
        return found

    def exemplars(self, selector: str, start: float, end: float) -> list[dict[str, Any]]:
        """Give the exemplars of a selector between two Unix times."""
        found = self._get("query_exemplars", query=selector, start=str(start), end=str(end))
        return [exemplar for row in found for exemplar in row["exemplars"]]
