"""blackbox_exporter, which the benchmarks are measured against."""

from pathlib import Path

from tests.stack.harness.golang import Module
from tests.stack.harness.ports import free_ports
from tests.stack.harness.process import Process, answers

MODULE = Module("blackbox", "github.com/prometheus/blackbox_exporter", "v0.28.0", (".",))


class Blackbox(Process):
    """A running blackbox_exporter with one module, `http`: any 2xx by GET."""

    def __init__(self, folder: Path) -> None:
        (port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{port}"
        config = folder / "blackbox.yml"
        config.write_text("modules: {http: {prober: http, timeout: 5s}}\n", encoding="utf-8")
        command: list[str | Path] = [
            MODULE.obtain() / "blackbox_exporter",
            f"--config.file={config}",
            f"--web.listen-address=127.0.0.1:{port}",
        ]
        super().__init__("blackbox_exporter", command, log=folder / "blackbox.log")
        self.wait_until(answers(f"{self.url}/-/healthy"), 120)
