"""The chain from the collector to the webhook, with the shipped rules and routes made for a shorter minute."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from dashboards.source import outputs, routing
from dashboards.source.alerts import groups
from dashboards.source.rules import Group, Parameters
from tests.stack.campaign.webhook import Webhook
from tests.stack.harness.alertmanager import Alertmanager
from tests.stack.harness.collector import Collector
from tests.stack.harness.ports import free_ports
from tests.stack.harness.probe import Probe
from tests.stack.harness.process import Process
from tests.stack.harness.prometheus import CONFIG, Prometheus

HURRIED = "otelprobe-credentials"
"""The group that waits an hour before it tells; its hour is made twelve times shorter still."""

HURRY = 1 / 12
LOOKBACK = 5
"""Minutes after which Prometheus holds a pushed series for gone; its own default."""


class Chain:
    """Prometheus, Alertmanager and the webhook. `minute` is the length of one in the rules and routes, in seconds."""

    def __init__(self, folder: Path, minute: float) -> None:
        self.minute = minute
        self._folder = folder
        self._running = ExitStack()
        with ExitStack() as undo:
            self.webhook = undo.enter_context(Webhook())
            self._parameters = Parameters(scale=minute / 60, webhook=self.webhook.url)
            self.alertmanager = undo.enter_context(
                Alertmanager(folder, self._write("alertmanager.yaml", self._routes()))
            )
            self._config = self._write("prometheus.yml", self._prometheus_config())
            self.prometheus = undo.enter_context(self._prometheus())
            self._running = undo.pop_all()

    def _prometheus(self, port: int | None = None) -> Prometheus:
        minutes = {"query.lookback-delta": LOOKBACK, "rules.alert.resend-delay": 1, "rules.alert.for-grace-period": 1}
        flags = [f"--{flag}={value * self.minute * 1000:.0f}ms" for flag, value in minutes.items()]
        return Prometheus(self._folder, config=self._config, flags=flags, port=port)

    def _hurried(self) -> Parameters:
        return Parameters(scale=self._parameters.scale * HURRY, webhook=self.webhook.url)

    def _routes(self) -> Mapping[str, Any]:
        tree: dict[str, Any] = routing.alertmanager(self._parameters)
        (hurried,) = (r for r in routing.alertmanager(self._hurried())["route"]["routes"] if _is_hurried(r))
        hurried["group_wait"] = tree["route"]["group_wait"]
        tree["route"]["routes"] = [hurried if _is_hurried(route) else route for route in tree["route"]["routes"]]
        return tree

    def _prometheus_config(self) -> Mapping[str, Any]:
        every = groups(self._parameters)
        self._rules("rules", [group for group in every if group.name != HURRIED], self._parameters)
        self._rules("hurried", [group for group in every if group.name == HURRIED], self._hurried())
        shipped: dict[str, Any] = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
        shipped["rule_files"] = ["*.rules.yaml"]
        address = self.alertmanager.url.removeprefix("http://")
        shipped["alerting"] = {"alertmanagers": [{"static_configs": [{"targets": [address]}]}]}
        return shipped

    def _rules(self, name: str, chosen: Sequence[Group], p: Parameters) -> None:
        self._write(f"{name}.rules.yaml", outputs.rule_file(chosen, p))

    def _write(self, name: str, tree: Mapping[str, Any]) -> Path:
        path = self._folder / name
        path.write_text(outputs.dump(tree), encoding="utf-8")
        return path

    def restart_prometheus(self) -> None:
        """Stop Prometheus and start it again with what it has stored."""
        port = self.prometheus.port
        self.prometheus.stop()
        self.prometheus = self._running.enter_context(self._prometheus(port))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._running.close()


def _is_hurried(route: Mapping[str, Any]) -> bool:
    return 'scope="credential"' in route["matchers"]


_OWN = {
    "exporters": {
        "otlphttp/prometheus": {
            "retry_on_failure": {"initial_interval": "100ms", "max_interval": "300ms"},
            "sending_queue": {"queue_size": 1_000_000},
        }
    }
}
"""What a shorter minute asks of the collector: to try again sooner than after its usual five seconds, which are five minutes
here, and to keep what sixty flows tell in the meantime."""


class Place:
    """A location: a prober with its flows, and the collector that it sends to. Both can die and come back."""

    def __init__(
        self, folder: Path, name: str, chain: Chain, tree: Mapping[str, Any], secrets: Mapping[str, str]
    ) -> None:
        self.name = name
        self._folder = folder / name
        self._folder.mkdir()
        self._chain = chain
        self.flows = len(tree["flows"])
        self._port = free_ports(1)[0]
        self.collector = self._start_collector()
        endpoint = f"http://127.0.0.1:{self._port}"
        self._probe = Probe(self._folder, tree, secrets, endpoint, location=name)
        self.prober = self._start_prober()

    def _start_collector(self) -> Collector:
        environment = {
            "OTELCOL_HTTP": f"127.0.0.1:{self._port}",
            "OTELCOL_PROMETHEUS_OTLP": self._chain.prometheus.otlp,
            "OTELCOL_EVENTS_FILE": str(self._folder / "events.jsonl"),
            "OTELCOL_DEBUG_VERBOSITY": "basic",
        }
        own = self._folder / "own.yaml"
        own.write_text(yaml.safe_dump(_OWN), encoding="utf-8")
        return Collector(self._folder, "all-in-one.yaml", str(own), environment=environment)

    def _start_prober(self) -> Process:
        minute = self._chain.minute
        return self._probe.run(
            OTEL_TRACES_EXPORTER="none",
            OTEL_LOGS_EXPORTER="none",
            OTEL_METRIC_EXPORT_INTERVAL=f"{1000 * minute:.0f}",
            OTELPROBE_START_JITTER=f"{2 * minute:.0f}s",
        )

    def revive(self) -> None:
        """Start again what has died."""
        if not self.collector.running:
            self.collector = self._start_collector()
        if not self.prober.running:
            self.prober = self._start_prober()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.prober.stop()
        self.collector.stop()
