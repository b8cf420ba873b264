"""Processor time of one flow, beside blackbox_exporter doing less: `python tests/benchmarks/flow_cost.py [--seconds 20]`.

otelprobe is the real `otelprobe run`: flows of token, verify and call on connections of their own, spans, metrics and
events of every run sent by OTLP/HTTP. Metrics are exported as often as each flow runs, as they are by default, so that
every run bears the export of its flow's series. blackbox_exporter fetches a token (`oauth2`) and calls, and is asked over
HTTP as by Prometheus. Both run at the same rate at the same time; servers, receiver and whoever asks are other processes.
"""

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from rig.blackbox import Prometheus, blackbox, samples
from rig.processes import cpu_seconds, environment, running, servers
from rig.table import show, verdict

TARGET = 1.5
EVERY = 5
PROVIDER = """\
providers:
  idp:
    issuer: {base}
    client_id: otelprobe
    client_secret: {{env: SECRET}}
    endpoints: {{token: {base}/token, jwks: {base}/jwks}}
flows:
"""
FLOW = """\
  - name: flow-{number}
    provider: idp
    every: {every}s
    steps:
      - {{step: token, scope: "orders:read"}}
      - {{step: verify, audience: orders, algorithms: [RS256], key: {{jwks: {jwks}}}}}
      - {{step: call, url: {base}/orders}}
"""
MODULES = """\
modules:
  flow:
    prober: http
    http:
      preferred_ip_protocol: ip4
      oauth2: {{client_id: otelprobe, client_secret: nothing, token_url: {base}/token, scopes: ["orders:read"]}}
"""


def fetch(url: str) -> bytes:
    """Read a page."""
    with urllib.request.urlopen(url) as answer:
        return bytes(answer.read())


def write_flows(base: str, folder: Path, count: int) -> Path:
    """Write the flow file, and the keys beside it."""
    jwks = folder / "jwks.json"
    jwks.write_bytes(fetch(f"{base}/jwks"))
    flows = (FLOW.format(number=n, base=base, jwks=jwks, every=EVERY) for n in range(count))
    file = folder / "flows.yaml"
    file.write_text(PROVIDER.format(base=base) + "".join(flows), encoding="utf-8")
    return file


def called(base: str) -> int:
    """Give how often the API was called."""
    return int(json.loads(fetch(f"{base}/counts")).get("/orders", 0))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=int, default=40, help="flows a second")
    parser.add_argument("--seconds", type=float, default=20.0)
    given = parser.parse_args()
    with ExitStack() as stack:
        ours, theirs = stack.enter_context(servers()), stack.enter_context(servers())
        receiver = stack.enter_context(servers())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        file = write_flows(ours, folder, given.rate * EVERY)
        env = environment(
            SECRET="nothing", OTEL_EXPORTER_OTLP_ENDPOINT=receiver, OTEL_METRIC_EXPORT_INTERVAL=str(EVERY * 1000)
        )
        command = [
            sys.executable,
            "-m",
            "otelprobe",
            "run",
            "--listen",
            "none",
            "--start-jitter",
            f"{EVERY}s",
            str(file),
        ]
        prober = stack.enter_context(running(command, env))
        exporter = stack.enter_context(blackbox(MODULES.format(base=theirs)))
        prometheus = Prometheus(exporter.url, "flow", f"{theirs}/orders")
        # Both do all that they will do for a while, so that start-up and the first of everything are over.
        asyncio.run(prometheus.ask([n / given.rate for n in range(given.rate * (EVERY + 3))]))
        before = [(cpu_seconds(prober.pid), called(ours)), (cpu_seconds(exporter.pid), called(theirs))]
        start = time.perf_counter()
        draw = random.Random(1)
        asyncio.run(prometheus.ask([draw.uniform(0, given.seconds) for _ in range(int(given.rate * given.seconds))]))
        after = [(cpu_seconds(prober.pid), called(ours)), (cpu_seconds(exporter.pid), called(theirs))]
        seconds = time.perf_counter() - start
        assert prober.poll() is None, "otelprobe ended early"
        sent = json.loads(fetch(f"{receiver}/counts"))
        assert all(sent.get(f"/v1/{signal}") for signal in ("traces", "metrics", "logs")), "telemetry did not arrive"
        assert all(samples(a)["probe_success"] for a in prometheus.answers), "a probe of blackbox_exporter failed"
    names = ("otelprobe (token, verify, call)", f"blackbox_exporter {exporter.version} (token, call)")
    costs = [((a[0] - b[0]) * 1000 / (a[1] - b[1]), a[1] - b[1]) for a, b in zip(after, before, strict=True)]
    rows = [
        (name, runs, f"{runs / seconds:.1f}", f"{each:.2f}", f"{each / costs[1][0]:.2f}")
        for name, (each, runs) in zip(names, costs, strict=True)
    ]
    show(("", "flows", "flows/s", "CPU ms each", "ratio"), rows)
    verdict("processor time of a flow to blackbox_exporter's", costs[0][0] / costs[1][0], TARGET)


if __name__ == "__main__":
    main()
