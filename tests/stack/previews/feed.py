"""A few minutes of an estate in trouble: long-lived probers and one-shot runs, through the gateway, into real stores.

Three providers with an API each: one that is well and rotates its key, one whose authentication fails in several ways, and
one whose API does. The rules run faster, so that minutes here are hours there.
"""

import datetime as dt
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from dashboards.source.rules import Parameters
from otelprobe.demo import flow_yaml, start_demo
from otelprobe.demo.server import Demo
from otelprobe.telemetry.schema import prometheus_label
from tests.stack.boards_kit import rules, status_page
from tests.stack.harness import cache
from tests.stack.harness.collector import Collector
from tests.stack.harness.jaeger import Jaeger
from tests.stack.harness.kubernetes import KubernetesApi
from tests.stack.harness.process import Process
from tests.stack.harness.prometheus import Prometheus
from tests.telemetry.receiver import Inbox, attributes, http_receiver, value

SCALE = Parameters(scale=1 / 20)
"""The rules run twenty times as fast: fifteen minutes are 45 s."""

NIGHTLY = "nightly-report"
"""The flow that runs one-shot."""

_PROVIDERS = ("corp-sso", "partner-id", "legacy-idp")
_TROUBLE: Mapping[str, tuple[tuple[float, str], ...]] = {
    "partner-id": (
        (0.12, "wrong-audience"), (0.24, ""), (0.32, "refresh-broken"), (0.42, "invalid-client-secret"), (0.50, ""),
        (0.62, "slow-token"), (0.70, ""), (0.84, "token-down"),
    ),
    "legacy-idp": (
        (0.18, "api-slow"), (0.34, "api-down"), (0.46, ""), (0.66, "validator-broken"), (0.74, ""),
        (0.86, "api-accepts-unsigned"),
    ),
}  # fmt: skip
"""What goes wrong, and from which part of the time on."""

_ROTATION, _BAD_FILE, _GOOD_FILE, _BATCH_ENDS = 0.4, 0.3, 0.55, 0.6


@dataclass
class Stores:
    """What the pipeline has filled, and when."""

    prometheus: Prometheus
    jaeger: Jaeger
    inbox: Inbox
    begun: float
    ended: float


@dataclass
class Estate:
    """The providers, by name, and the environment with the secrets of all."""

    demos: Mapping[str, Demo]
    page: str

    @property
    def environment(self) -> dict[str, str]:
        """Give the secrets, under a prefix for each provider."""
        return {
            key.replace("OTELPROBE_DEMO_", _prefix(name)): value
            for name, demo in self.demos.items()
            for key, value in demo.environment.items()
        }

    def flow(self, provider: str, **more: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """Give a provider and the demo's flow on it."""
        told = yaml.safe_load(flow_yaml(self.demos[provider]).replace("OTELPROBE_DEMO_", _prefix(provider)))
        (flow,) = told["flows"]
        flow |= {"provider": provider, "every": "2s", "drift": {}, **more}
        flow["objective"] = {**flow["objective"], "issuance_latency": "300ms"}
        return told["providers"]["demo"], flow

    def file(self, *flows: dict[str, Any]) -> str:
        """Give a flow file with all providers."""
        providers = {name: self.flow(name)[0] for name in self.demos}
        return yaml.safe_dump({"providers": providers, "flows": list(flows)}, sort_keys=False)


def _prefix(provider: str) -> str:
    return f"{provider.replace('-', '_').upper()}_"


def _served(estate: Estate) -> str:
    """Give the file of the long-lived probers."""
    corp = estate.demos["corp-sso"]
    _, checkout = estate.flow("corp-sso", name="checkout")
    _, account = estate.flow("corp-sso", name="account", every="3s")
    account["steps"] = [
        *account["steps"],
        {"step": "posture", "url": f"{corp.api_url}/orders", "every": "10s", "always": True},
    ]
    _, partner = estate.flow("partner-id", name="partner-orders")
    _, legacy = estate.flow("legacy-idp", name="legacy-crm")
    token = next(step for step in checkout["steps"] if isinstance(step, dict) and step.get("step") == "token")
    refused = {"step": "reject", "url": f"{corp.api_url}/introspected", "cases": ["revoked"]}
    logout = {
        "name": "logout", "provider": "corp-sso", "every": "4s", "http": checkout["http"],
        "steps": ["discover", token, "revoke", {**token, "name": "new-token"}, refused],
    }  # fmt: skip
    return estate.file(checkout, account, partner, legacy, logout, _ends(estate, checkout["http"]))


def _ends(estate: Estate, http: dict[str, Any]) -> dict[str, Any]:
    today = dt.datetime.now(dt.UTC).date()
    kinds = (
        ("partner-key", "api_key", 5),
        ("billing-secret", "client_secret", 24),
        ("mobile-secret", "client_secret", 71),
    )
    steps: list[dict[str, Any]] = [{"step": "status_page", "url": estate.page}]
    steps += [
        {
            "step": "credential_expiry",
            "name": name,
            "subject": kind,
            "expires_at": str(today + dt.timedelta(days=days)),
        }
        for name, kind, days in kinds
    ]
    return {"name": "credentials", "provider": "partner-id", "every": "5s", "http": http, "steps": steps}


def _environment(estate: Estate, folder: Path, endpoint: str, location: str) -> dict[str, str]:
    return {
        **estate.environment,
        "PYTHONPATH": str(cache.REPOSITORY),
        "OTELPROBE_LOCATION": location,
        "OTELPROBE_STATE_DIR": str(folder / f"state-{location}"),
        "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=production",
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "OTEL_METRIC_EXPORT_INTERVAL": "1000",
    }


def _prober(estate: Estate, folder: Path, file: Path, endpoint: str, location: str) -> Process:
    command = [sys.executable, "-m", "otelprobe", "run", str(file), "--listen", "none", "--start-jitter", "0s"]
    environment = _environment(estate, folder, endpoint, location)
    return Process(f"otelprobe-{location}", command, log=folder / f"{location}.log", environment=environment)


@contextmanager
def _one_shot(estate: Estate, folder: Path, endpoint: str) -> Iterator[None]:
    """Run a flow again and again, each time in a process of its own, as a CronJob does."""
    file = folder / "nightly.yaml"
    flows = [
        estate.flow("corp-sso", name=NIGHTLY, every="10s")[1],
        estate.flow("legacy-idp", name="nightly-sync", every="10s")[1],
    ]
    file.write_text(estate.file(*flows), encoding="utf-8")
    command = [sys.executable, "-m", "otelprobe", "once", str(file), "--exit-zero"]
    environment = {**_environment(estate, folder, endpoint, "cron"), "PATH": "/usr/bin:/bin"}
    over = threading.Event()

    def again() -> None:
        with (folder / "cron.log").open("ab") as log:
            while not over.wait(6):
                subprocess.run(command, env=environment, stdout=log, stderr=log, timeout=60, check=False)

    thread = threading.Thread(target=again, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(70)


def _tell(estate: Estate, folder: Path, endpoint: str, seconds: float) -> None:
    """Let everything happen in its order."""
    text = _served(estate)
    files = {location: folder / f"flows-{location}.yaml" for location in ("frankfurt", "dublin")}
    for file in files.values():
        file.write_text(text, encoding="utf-8")
    batch = folder / "batch.yaml"
    batch.write_text(estate.file(estate.flow("corp-sso", name="batch-import", every="5s")[1]), encoding="utf-8")
    moments: list[tuple[float, Any]] = [
        (when, lambda name=name, fault=fault: estate.demos[name].set_faults([fault] if fault else []))
        for name, story in _TROUBLE.items()
        for when, fault in story
    ]
    with ExitStack() as running:
        probers = [running.enter_context(_prober(estate, folder, files[place], endpoint, place)) for place in files]
        ending = running.enter_context(_prober(estate, folder, batch, endpoint, "warehouse"))
        running.enter_context(_one_shot(estate, folder, endpoint))
        moments += [
            (_ROTATION, lambda: estate.demos["corp-sso"].rotate(overlap=True)),
            (_BAD_FILE, lambda: _reload(probers[0], files["frankfurt"], text + "\nunknown: 1\n")),
            (_GOOD_FILE, lambda: _reload(probers[0], files["frankfurt"], text)),
            (_BATCH_ENDS, ending.kill),
        ]
        begun = time.monotonic()
        for when, act in sorted(moments, key=lambda moment: moment[0]):
            time.sleep(max(0.0, begun + when * seconds - time.monotonic()))
            act()
        time.sleep(max(0.0, begun + seconds - time.monotonic()))


def _reload(prober: Process, file: Path, text: str) -> None:
    file.write_text(text, encoding="utf-8")
    prober.hang_up()


@contextmanager
def fed(folder: Path, seconds: float) -> Iterator[Stores]:
    """Give the stores after so many seconds of it all; they run until the block ends."""
    with ExitStack() as running:
        page = running.enter_context(status_page())
        kubernetes = KubernetesApi(folder)
        running.callback(kubernetes.stop)
        inbox = running.enter_context(http_receiver())
        jaeger = running.enter_context(Jaeger(folder))
        prometheus = running.enter_context(Prometheus(folder, config=rules(folder, SCALE)))
        addresses = {
            **kubernetes.environment,
            "OTELCOL_TRACES": jaeger.otlp,
            "OTELCOL_PROMETHEUS_OTLP": prometheus.otlp,
            "OTELCOL_REMOTE_WRITE": prometheus.remote_write,
            "OTELCOL_LOKI": inbox.endpoint,
            "OTELCOL_QUEUE_DIR": str(folder / "queue"),
            "OTELCOL_ONE_SHOT_INTERVAL": "1s",
        }
        collector = running.enter_context(Collector(folder, "gateway.yaml", environment=addresses))
        demos = {name: running.enter_context(start_demo(tls=True)) for name in _PROVIDERS}
        estate = Estate(demos, page)
        begun = time.time()
        _tell(estate, folder, collector.http, seconds)
        yield Stores(prometheus, jaeger, inbox, begun, time.time())


def events(inbox: Inbox) -> list[dict[str, Any]]:
    """Give the events as Loki would: time, name, body, and attributes under Loki's names."""
    return [
        {
            "time": record.time_unix_nano // 1_000_000,
            "line": str(value(record.body) or record.event_name),
            "labels": {prometheus_label(key): _word(told) for key, told in attributes(record).items()},
        }
        for record in list(inbox.records)
    ]


def _word(told: Any) -> str:
    return json.dumps(told) if isinstance(told, list) else str(told)
