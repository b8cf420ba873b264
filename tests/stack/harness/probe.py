"""otelprobe as people run it: the command line in a process of its own, against the embedded demo."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from otelprobe.demo import flow_yaml
from tests.stack.harness.process import Process

if TYPE_CHECKING:
    from otelprobe.demo.server import Demo

LOCATION = "stack-test"


class Probe:
    """A flow of the demo and where its telemetry goes."""

    def __init__(self, demo: "Demo", folder: Path, *, flow: str, endpoint: str, every: str = "1s") -> None:
        told = yaml.safe_load(flow_yaml(demo))
        told["flows"][0] |= {"name": flow, "every": every}
        self.flow = flow
        self.folder = folder
        self.file = folder / f"{flow}.yaml"
        self.file.write_text(yaml.safe_dump(told), encoding="utf-8")
        self._environment = {
            **demo.environment,
            "OTELPROBE_LOCATION": LOCATION,
            "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
            "OTEL_METRIC_EXPORT_INTERVAL": "1000",
        }

    def once(self, **environment: str) -> dict[str, Any]:
        """Run the flow as a CronJob would; give its part of the JSON report. Everything must have been delivered."""
        done = subprocess.run(
            [sys.executable, "-m", "otelprobe", "once", str(self.file), "--output", "json", "--require-delivery"],
            env={**os.environ, **self._environment, **environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.stdout, done.stderr[-500:]
        report = json.loads(done.stdout)
        assert report["exit_code"] in {0, 1}, (report["delivery"], done.stderr)
        assert all(not counts.get("failed") for counts in report["delivery"].values()), report["delivery"]
        flow: dict[str, Any] = report["flows"][0]
        return flow

    def run(self, environment: Mapping[str, str] | None = None) -> Process:
        """Start `otelprobe run`; the caller stops it."""
        command = [sys.executable, "-m", "otelprobe", "run", str(self.file), "--listen", "none", "--start-jitter", "0s"]
        return Process(
            "otelprobe",
            command,
            log=self.folder / "otelprobe.log",
            environment={"PYTHONPATH": str(Path.cwd()), **self._environment, **(environment or {})},
        )
