"""The official OpenTelemetry Collector, made by its own builder from the committed manifest."""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from tests.stack.harness import cache, golang
from tests.stack.harness.ports import free_ports
from tests.stack.harness.process import Process, answers

MANIFEST = Path(__file__).resolve().parents[1] / "collector" / "builder.yaml"
_BUILDER = "go.opentelemetry.io/collector/cmd/builder"
CONFIGS = cache.REPOSITORY / "collector-config"


def obtain(manifest: Path = MANIFEST) -> Path:
    """Give the collector's program; build it at first use of this manifest (minutes)."""
    text = manifest.read_text(encoding="utf-8")
    version = str(yaml.safe_load(text)["dist"]["version"])
    name = f"otelcol-{version}-{cache.digest(text)}"
    return cache.entry(name, lambda folder: _build(name, text, version, folder)) / "otelcol"


def _build(name: str, manifest: str, version: str, folder: Path) -> None:
    work = folder / "work"
    work.mkdir()
    environment = golang.environment(GOBIN=str(work), GOFLAGS="-mod=mod")
    cache.build(name, [golang.go(), "install", f"{_BUILDER}@v{version}"], folder=work, environment=environment)
    told = yaml.safe_load(manifest)
    told["dist"]["output_path"] = str(work / "otelcol")
    (work / "builder.yaml").write_text(yaml.safe_dump(told), encoding="utf-8")
    cache.build(name, [str(work / "builder"), "--config=builder.yaml"], folder=work, environment=environment)
    shutil.move(work / "otelcol" / "otelcol", folder / "otelcol")
    shutil.rmtree(work)


def validate(config: Path, environment: Mapping[str, str], program: Path | None = None) -> str:
    """Give what `otelcol validate` says against a file; empty if it is good."""
    done = subprocess.run(
        [str(program or obtain()), "validate", f"--config={config}"],
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return "" if done.returncode == 0 else f"{done.stdout}{done.stderr}"


class Collector(Process):
    """A collector that runs shipped files unchanged; `environment` gives the addresses that the files ask for."""

    def __init__(
        self,
        folder: Path,
        *files: str,
        environment: Mapping[str, str] | None = None,
        name: str = "collector",
        gates: Sequence[str] = (),
    ) -> None:
        grpc, http, health, self.metrics_port = free_ports(4)
        self.grpc = f"127.0.0.1:{grpc}"
        self.http = f"http://127.0.0.1:{http}"
        addresses = {
            "OTELCOL_GRPC": self.grpc,
            "OTELCOL_HTTP": f"127.0.0.1:{http}",
            "OTELCOL_HEALTH": f"127.0.0.1:{health}",
            "OTELCOL_METRICS_HOST": "127.0.0.1",
            "OTELCOL_METRICS_PORT": str(self.metrics_port),
        }
        arguments = [f"--config={CONFIGS / file}" for file in files]
        if gates:
            arguments.append(f"--feature-gates={','.join(gates)}")
        super().__init__(
            name,
            [obtain(), *arguments],
            log=folder / f"{name}.log",
            environment={**addresses, **(environment or {})},
        )
        self.wait_until(answers(f"http://127.0.0.1:{health}/"), 120)
