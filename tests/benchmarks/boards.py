"""How long each panel of the overview takes over many flows and a long range: `python tests/benchmarks/boards.py`.

Prometheus gets synthetic history of everything that the overview asks for: a thousand flows on fifty providers over
thirty days. The rules record a sample a minute; the default here is one an hour, which is some gigabyte and a few minutes;
`--resolution 60` is the real thing and takes sixty times as much. The samples that a query has to read are what its time
grows with, so that the last column tells how many it read, as Prometheus counts them.
"""

import argparse
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any, TextIO

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from dashboards.source import recording as rec
from dashboards.source.promql import (
    BLAME,
    COUNTS,
    ENV,
    ERROR,
    FLOW,
    LOCATION,
    OBJECTIVE,
    OUTCOME,
    PROVIDER,
    PROVIDER_KEYS,
    name,
)
from otelprobe.telemetry import schema
from tests.benchmarks.rig.table import show
from tests.dashboards.queries import filled, prometheus_targets
from tests.dashboards.test_boards import BOARDS
from tests.stack.harness.ports import free_ports
from tests.stack.harness.process import Process, answers, session
from tests.stack.harness.prometheus import MODULE

DAY = 86400
PROVIDERS = 50
POINTS = 1440
"""Points of a curve: Grafana asks for about as many as a panel has pixels."""

PER_FLOW: dict[str, dict[str, tuple[str, ...]]] = {
    rec.UP: {LOCATION: ("frankfurt",)},
    rec.INTERVAL: {},
    rec.OBJECTIVES: {OBJECTIVE: ("availability", "auth_latency", "api_latency", "issuance_latency")},
    rec.flow_p95("auth"): {},
    rec.flow_p95("api"): {},
    rec.AUTH_SHARE: {},
    rec.LATENCY_STATE: {},
    rec.burn_rate(3600): {COUNTS: ("auth", "api")},
    rec.burn_rate(6 * 3600): {COUNTS: ("auth", "api")},
    rec.burn_rate(3 * DAY): {COUNTS: ("auth", "api")},
    rec.AVAILABILITY_1D: {},
    rec.AVAILABILITY_30D: {},
    rec.BUDGET_30D: {},
    rec.VALID_1H: {},
    rec.ERRORS_1H: {COUNTS: ("auth", "api")},
    name(schema.LAST_RUN): {},
}
PER_PROVIDER: dict[str, dict[str, tuple[str, ...]]] = {
    rec.TOKEN_UP: {LOCATION: ("frankfurt",)},
    rec.PROVIDER_DOWN: {LOCATION: ("frankfurt",)},
    rec.ISSUANCE_P95: {},
    rec.provider_quantile("auth"): {"quantile": ("0.5", "0.95", "0.99")},
    rec.provider_quantile("api"): {"quantile": ("0.5", "0.95", "0.99")},
}
FAILING = {OUTCOME: ("fail",), BLAME: ("provider",), COUNTS: ("auth",), ERROR: ("idp_http_5xx", "read_timeout")}
"""One flow of twenty fails for these."""


def series(flows: int) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """Give each metric with the labels of its series."""
    of_flow = [{ENV: "production", PROVIDER: f"idp-{n % PROVIDERS}", FLOW: f"flow-{n}"} for n in range(flows)]
    of_provider = [{ENV: "production", PROVIDER: f"idp-{n}"} for n in range(PROVIDERS)]
    assert set(of_provider[0]) == set(PROVIDER_KEYS)
    for metrics, keys in ((PER_FLOW, of_flow), (PER_PROVIDER, of_provider), ({rec.FAILURES: FAILING}, of_flow[::20])):
        for metric, more in metrics.items():
            yield (
                metric,
                [{**key, **dict(zip(more, words, strict=True))} for key in keys for words in product(*more.values())],
            )


def write(output: TextIO, flows: int, begun: int, ended: int, resolution: int) -> int:
    """Write OpenMetrics; give the number of samples."""
    count = 0
    for metric, rows in series(flows):
        output.write(f"# TYPE {metric} gauge\n")
        for number, labels in enumerate(rows):
            inside = ",".join(f'{key}="{word}"' for key, word in labels.items())
            head = f"{metric}{{{inside}}}"
            lines = [
                f"{head} {_value(metric, number, moment):.10g} {moment}\n"
                for moment in range(begun, ended + 1, resolution)
            ]
            count += len(lines)
            output.writelines(lines)
    output.write("# EOF\n")
    return count


def _value(metric: str, number: int, moment: int) -> float:
    if metric == name(schema.LAST_RUN):
        return float(moment)
    if metric in {rec.UP, rec.TOKEN_UP}:
        return float((number + moment // 7200) % 50 != 0)
    if metric == rec.LATENCY_STATE:
        return float((number + moment // 7200) % 50 == 0)
    return abs(math.sin(number + moment / 9000)) * (1 + number % 7)


def asked(url: str, target: dict[str, Any], begun: int, ended: int) -> tuple[float, int, int]:
    """Ask one query as its panel does; give seconds, series, samples read."""
    step = (ended - begun) // POINTS
    values = {"$__rate_interval": f"{4 * step}s", "$__interval": f"{step}s", "$__range": f"{ended - begun}s"}
    values |= {f"${word}": ".*" for word in ("environment", "provider", "flow", "location")}
    data = {"query": filled(target["expr"], values), "stats": "all"}
    data |= (
        {"time": str(ended)} if target.get("instant") else {"start": str(begun), "end": str(ended), "step": str(step)}
    )
    with session() as http:
        before = time.perf_counter()
        response = http.post(f"{url}/api/v1/query{'' if target.get('instant') else '_range'}", data=data, timeout=120)
        took = time.perf_counter() - before
    told = response.json()
    assert told["status"] == "success", told
    return took, len(told["data"]["result"]), told["data"]["stats"]["samples"]["totalQueryableSamples"]


def main() -> None:
    """Make the history, ask, and print the slowest first."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flows", type=int, default=1000)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--resolution", type=int, default=3600, help="seconds between two samples")
    args = parser.parse_args()
    ended = int(time.time()) // 3600 * 3600 - 3 * 3600
    begun = ended - args.days * DAY
    with tempfile.TemporaryDirectory(prefix="otelprobe-boards-") as temporary:
        folder = Path(temporary)
        text, data = folder / "history.txt", folder / "data"
        before = time.perf_counter()
        with text.open("w", encoding="utf-8") as output:
            samples = write(output, args.flows, begun, ended, args.resolution)
        size = text.stat().st_size / 1e9
        promtool = [
            MODULE.obtain() / "promtool",
            "tsdb",
            "create-blocks-from",
            "openmetrics",
            "--quiet",
            "--max-block-duration=720h",
        ]
        subprocess.run([*map(str, promtool), str(text), str(data)], check=True, timeout=3600, stdout=subprocess.DEVNULL)
        text.unlink()
        print(
            f"{samples / 1e6:.1f} million samples, {size:.1f} GB of text, made in {time.perf_counter() - before:.0f} s"
        )
        _measure(folder, data, begun, ended, args.resolution)


def _measure(folder: Path, data: Path, begun: int, ended: int, resolution: int) -> None:
    (port,) = free_ports(1)
    config = folder / "prometheus.yml"
    config.write_text("{}\n", encoding="utf-8")
    command: list[str | Path] = [
        MODULE.obtain() / "prometheus", f"--config.file={config}", f"--storage.tsdb.path={data}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--storage.tsdb.retention.time=100d", f"--query.lookback-delta={max(300, resolution + 60)}s",
    ]  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    with Process("prometheus", command, log=folder / "prometheus.log") as running:
        running.wait_until(answers(f"{url}/-/ready"), 120)
        rows = []
        for panel, target in prometheus_targets(BOARDS["otelprobe-overview"]):
            took = [asked(url, target, begun, ended) for _ in range(3)]
            best = min(took)
            rows.append((best[0], panel["title"], target["refId"], best[1], best[2]))
    rows.sort(reverse=True)
    show(
        ("panel", "query", "seconds", "series", "samples read"),
        [(title, ref, f"{seconds:.3f}", str(found), f"{read:,}") for seconds, title, ref, found, read in rows],
    )


if __name__ == "__main__":
    main()
