"""What the tests of the boards share: flows that show everything, the shipped rules in a hurry, and how a panel asks."""

import json
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import yaml

from dashboards.generate import files
from dashboards.source.rules import Parameters
from otelprobe.demo import flow_yaml
from otelprobe.demo.server import Demo
from tests.dashboards.queries import filled
from tests.stack.harness.process import session
from tests.stack.harness.prometheus import CONFIG, Prometheus

SCALE = Parameters(scale=1 / 60)
FAULTS = (
    "wrong-audience", "api-accepts-unsigned", "refresh-broken", "api-slow", "api-down", "invalid-client-secret", "clock-ahead",
    "token-down",
)  # fmt: skip
"""What is wrong with the second demo, one after the other."""

RANGE = {
    "$__rate_interval": "10s", "$__interval": "5s", "$__range": "5m", "$environment": ".*", "$provider": ".*", "$flow": ".*",
    "$location": ".*",
}  # fmt: skip


class Page(BaseHTTPRequestHandler):
    """A provider's status page that tells of a disturbance."""

    def do_GET(self) -> None:
        body = json.dumps(
            {"page": {"name": "corp"}, "status": {"indicator": "major", "description": "degraded"}, "components": []}
        ).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def status_page() -> Iterator[str]:
    """Serve it, and give its address."""
    page = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    thread = Thread(target=page.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{page.server_address[1]}/api/v2/summary.json"
    finally:
        page.shutdown()
        page.server_close()
        thread.join()


def in_days(days: int) -> str:
    """Give a date that stays as far off, whenever the test runs."""
    return time.strftime("%Y-%m-%d", time.gmtime(time.time() + days * 86400))


def flow_file(good: Demo, bad: Demo, page: str) -> dict[str, Any]:
    """Give flows on both demos, and one each for what the demo's flow does not do."""
    told = yaml.safe_load(flow_yaml(good))
    other = yaml.safe_load(flow_yaml(bad).replace("OTELPROBE_DEMO_", "BAD_DEMO_"))
    told["providers"]["bad"] = other["providers"]["demo"]
    (flow,), (broken,) = told["flows"], other["flows"]
    flow |= {"name": "shop", "every": "1s", "drift": {}}
    broken |= {"name": "broken", "provider": "bad", "every": "1s"}
    for one in (flow, broken):
        one["objective"] = {**one["objective"], "issuance_latency": "300ms"}
    token = next(step for step in flow["steps"] if isinstance(step, dict) and step.get("step") == "token")
    revoked = {
        **{key: flow[key] for key in ("provider", "http")},
        "name": "revoked", "every": "2s",
        "steps": [
            "discover", token | {"name": "spent"}, token, {"step": "revoke", "use": "spent"},
            {"step": "reject", "url": f"{good.api_url}/introspected", "cases": ["revoked"]},
            {"step": "posture", "always": True},
        ],
    }  # fmt: skip
    besides = {
        "name": "besides", "provider": "demo", "every": "2s", "http": flow["http"],
        "steps": [
            {"step": "status_page", "url": page},
            {"step": "credential_expiry", "expires_at": in_days(60), "name": "partner-key"},
            {"step": "credential_expiry", "expires_at": in_days(5), "name": "ending-key"},
        ],
    }  # fmt: skip
    told["flows"] += [broken, revoked, besides]
    return told


def rules(folder: Path, parameters: Parameters = SCALE) -> Path:
    """Write the shipped file of Prometheus with the shipped rules beside it, their periods as told."""
    (folder / "rules").mkdir()
    for path, text in files(parameters).items():
        if "/alerts/prometheus/" in path:
            told = yaml.safe_load(text)
            for group in told["groups"]:
                group["interval"] = "1s"  # none waits for its own hour to be over
            (folder / "rules" / Path(path).name).write_text(yaml.safe_dump(told), encoding="utf-8")
    config = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
    config["global"]["evaluation_interval"] = "1s"
    config["rule_files"] = ["rules/*.rules.yaml"]
    path = folder / "prometheus.yml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return path


def asked(
    prometheus: Prometheus, begun: float, ended: float, target: dict[str, Any], filling: Mapping[str, str] = RANGE
) -> tuple[bool, list[str]]:
    """Ask a query over the range, as a panel does; tell whether any number came, and what Prometheus warned of."""
    values = {
        "query": filled(target["expr"], filling),
        "start": f"{begun:.0f}",
        "end": f"{ended:.0f}",
        "step": "1",
    }
    with session() as http:
        response = http.post(f"{prometheus.url}/api/v1/query_range", data=values, timeout=30)
    told = response.json()
    assert told["status"] == "success", (told.get("error"), values["query"])
    numbers = [float(value) for row in told["data"]["result"] for _, value in row.get("values", ())]
    native = any(row.get("histograms") for row in told["data"]["result"])
    return native or any(not math.isnan(n) for n in numbers), told.get("warnings", []) + told.get("infos", [])
