"""otelprobe as people run it: the command line in a process of its own, with a flow file and an OTLP endpoint."""

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.stack.harness.process import Process


class Probe:
    """Flows and where their telemetry goes. `location` is on every series, and no other probe has it."""

    def __init__(
        self,
        folder: Path,
        told: Mapping[str, Any],
        environment: Mapping[str, str],
        endpoint: str,
        location: str | None = None,
    ) -> None:
        self.location = location or f"stack-{secrets.token_hex(4)}"
        self.folder = folder
        self.file = folder / f"{self.location}.yaml"
        self.file.write_text(yaml.safe_dump(dict(told), sort_keys=False), encoding="utf-8")
        self._environment = {
            **environment,
            "OTELPROBE_LOCATION": self.location,
            "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
            "OTEL_METRIC_EXPORT_INTERVAL": "1000",
        }

    def once(self, *flows: str, **environment: str) -> dict[str, dict[str, Any]]:
        """Run flows (default: all) as a CronJob would; give their part of the JSON report. All must have been delivered."""
        chosen = [word for flow in flows for word in ("--flow", flow)]
        command = [sys.executable, "-m", "otelprobe", "once", str(self.file), "--output", "json", "--require-delivery"]
        done = subprocess.run(
            [*command, *chosen],
            env={**os.environ, **self._environment, **environment},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.stdout, done.stderr[-500:]
        assert "canary" not in done.stdout + done.stderr
        report = json.loads(done.stdout)
        assert report["exit_code"] in {0, 1}, (report["delivery"], done.stderr)
        assert all(not counts.get("failed") for counts in report["delivery"].values()), report["delivery"]
        return {flow["flow"]: flow for flow in report["flows"]}

    def run(self, **environment: str) -> Process:
        """Start `otelprobe run`; the caller stops it."""
        command = [sys.executable, "-m", "otelprobe", "run", str(self.file), "--listen", "none"]
        return Process(
            "otelprobe",
            command,
            log=self.folder / f"{self.location}.log",
            environment={
                "PYTHONPATH": str(Path.cwd()),
                "OTELPROBE_START_JITTER": "0s",
                **self._environment,
                **environment,
            },
        )
