"""Upstream Alertmanager, alone and with an empty store, and its amtool, which checks configuration files."""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.stack.harness.golang import Module
from tests.stack.harness.ports import free_ports
from tests.stack.harness.process import Process, answers, session

MODULE = Module("alertmanager", "github.com/prometheus/alertmanager", "v0.31.0", ("cmd/alertmanager", "cmd/amtool"))


def check_config(config: Path) -> str:
    """Give what `amtool check-config` says against a file; empty if it is good."""
    done = subprocess.run(
        [str(MODULE.obtain() / "amtool"), "check-config", str(config)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return "" if done.returncode == 0 else f"{done.stdout}{done.stderr}"


class Alertmanager(Process):
    """An Alertmanager that runs the given file, without peers. `url` is what Prometheus sends alerts to."""

    def __init__(self, folder: Path, config: Path) -> None:
        (port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{port}"
        command: list[str | Path] = [
            MODULE.obtain() / "alertmanager",
            f"--config.file={config}",
            f"--storage.path={folder / 'alertmanager'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--cluster.listen-address=",  # empty: no gossip, which would listen on every address of the machine
        ]
        super().__init__("alertmanager", command, log=folder / "alertmanager.log")
        self._http = session()
        self.wait_until(answers(f"{self.url}/-/ready"), 120)

    def stop(self, seconds: float = 15.0) -> int:
        """End it, and the connections to it."""
        self._http.close()
        return super().stop(seconds)

    def send(self, *alerts: Mapping[str, Any]) -> None:
        """Fire alerts as Prometheus would: each has `labels`, and may have `annotations`, `startsAt` and `endsAt`."""
        self._http.post(f"{self.url}/api/v2/alerts", json=alerts, timeout=30).raise_for_status()

    def alerts(self, *filters: str) -> Sequence[Mapping[str, Any]]:
        """Give the alerts that fire now and match every filter (`name="value"`), with their receivers and status."""
        response = self._http.get(f"{self.url}/api/v2/alerts", params={"filter": filters}, timeout=30)
        response.raise_for_status()
        found: list[dict[str, Any]] = response.json()
        return found
