"""How long each panel of each board takes over many flows and a long range: `python tests/benchmarks/boards.py`.

Prometheus gets history of everything that the boards ask for: a thousand flows on fifty providers over thirty days, each
series at its true interval, more than a thousand million samples, written straight into blocks. The Flow board is asked about
one flow, as the Overview leads there; all the others about everything. `seconds` is the best of three where it is not short;
`processor` is what Prometheus itself needed for it, which other work on the machine does not lengthen.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from dashboards.source import recording as rec
from dashboards.source.alerts import groups
from dashboards.source.promql import (
    BLAME,
    COUNTS,
    ENV,
    ERROR,
    FLOW,
    KIND,
    LAYER,
    LOCATION,
    OBJECTIVE,
    OUTCOME,
    PEER,
    PHASE,
    PROVIDER,
    STEP,
    STEP_OUTCOME,
    label,
    name,
)  # fmt: skip
from dashboards.source.rules import Parameters
from otelprobe.telemetry import schema
from tests.benchmarks.rig.history import Series, write
from tests.benchmarks.rig.table import show, verdict
from tests.dashboards.queries import filled, prometheus_targets
from tests.dashboards.test_boards import BOARDS
from tests.stack.harness.ports import free_ports
from tests.stack.harness.process import Process, answers, session
from tests.stack.harness.prometheus import MODULE

DAY = 86400
LIMIT = 1.0
"""Seconds that a panel may take."""

PROVIDERS, PROBERS = 50, 4
POINTS = 1440
"""Points of a panel that says no other number: Grafana asks for about as many as it has pixels."""

STEPS = ("discover", "keys", "token", "verify", "call", "reject")
Labels = Mapping[str, Sequence[str]]
"""Labels that tell the series of one thing apart, with all their values."""

_BOTH: Labels = {COUNTS: ("auth", "api")}
_CASES: Labels = {label(schema.CASE): ("no_token", "garbage", "tampered", "alg_none", "forged_key")}
_QUANTILES: Labels = {"quantile": ("0.5", "0.95", "0.99")}

PER_FLOW: Mapping[str, tuple[str, Labels]] = {
    rec.UP: ("up", {}),
    rec.INTERVAL: ("constant", {}),
    rec.OBJECTIVES: ("constant", {OBJECTIVE: ("availability", "auth_latency", "api_latency", "issuance_latency")}),
    rec.flow_p95("auth"): ("wave", {}),
    rec.flow_p95("api"): ("wave", {}),
    rec.drawn_p95("auth"): ("wave", {}),
    rec.drawn_p95("api"): ("wave", {}),
    rec.LIFETIME: ("constant", {STEP: ("token",)}),
    rec.AUTH_SHARE: ("wave", {}),
    rec.AVAILABILITY_1D: ("wave", {}),
    rec.AVAILABILITY_30D: ("wave", {}),
    rec.BUDGET_30D: ("wave", {}),
    rec.VALID_1H: ("wave", {}),
    rec.ERRORS_1H: ("wave", _BOTH),
    name(schema.FLOW_UP): ("up", {}),
    name(schema.LAST_RUN): ("moment", {}),
    name(schema.LAST_SUCCESS): ("moment", {}),
    name(schema.REJECTION): ("state", _CASES),
}
"""What every flow has, with the kind of its values."""

PER_TENTH: Mapping[str, tuple[str, Labels]] = {
    name(schema.STEP_RUNS): ("counter", {STEP: ("refresh",), KIND: ("refresh",), STEP_OUTCOME: ("pass", "fail")}),
    name(schema.POSTURE): (
        "constant",
        {label(schema.POSTURE_RULE): tuple("abcdefgh"), label(schema.POSTURE_SEVERITY): ("low",)},
    ),
    name(schema.DRIFT_CHANGES): ("counter", {label(schema.DRIFT_SUBJECT): ("discovery", "claims", "algorithms")}),
    name(schema.REVOCATION_DELAY): ("wave", {STEP: ("reject",)}),
    name(schema.VALIDATION_FAILURES): ("counter", {ERROR: ("expired", "audience_mismatch")}),
    rec.WORST: ("up", {}),
    rec.LATENCY_STATE: ("state", {}),
    rec.burn_rate(3600): ("wave", _BOTH),
    rec.burn_rate(6 * 3600): ("wave", _BOTH),
    rec.burn_rate(3 * DAY): ("wave", _BOTH),
    rec.TAKEN: ("constant", _CASES),
    rec.FINDINGS: ("constant", {label(schema.POSTURE_SEVERITY): ("low", "high")}),
    rec.SKEW: ("wave", {PEER: ("provider", "api")}),
    rec.FAILURES: (
        "wave",
        {
            OUTCOME: ("fail",),
            BLAME: ("provider",),
            COUNTS: ("auth",),
            ERROR: ("idp_http_5xx", "read_timeout"),
        },
    ),
}
"""What one flow of ten has besides: it refreshes, revokes, looks at posture and drift, is slow, and fails all the time."""

PER_ONE: Mapping[str, tuple[str, Labels]] = {
    name(schema.FLOW_DURATION): ("histogram", {OUTCOME: ("pass", "fail")}),
    name(schema.AUTH_TIME): ("histogram", {}),
    name(schema.API_TIME): ("histogram", {}),
    name(schema.STEP_DURATION): ("histogram", {STEP: STEPS, STEP_OUTCOME: ("pass", "fail")}),
    name(schema.STEP_UP): ("up", {STEP: STEPS}),
    name(schema.FLOW_RUNS): ("counter", {BLAME: ("", "provider", "api", "config"), OUTCOME: ("pass", "fail", "error")}),
    name(schema.SCHEDULE_MISSED): ("counter", {label(schema.MISSED_REASON): ("overlap", "overloaded", "backlog")}),
    name(schema.STEP_RUNS): (
        "counter",
        {STEP: STEPS, KIND: ("",), LAYER: ("auth",), STEP_OUTCOME: ("pass", "fail"), ERROR: ("", "idp_http_5xx")},
    ),
    name(schema.PHASE_DURATION): ("histogram", {STEP: STEPS, PHASE: ("dns", "connect", "tls", "ttfb", "transfer")}),
    name(schema.HTTP_DURATION): ("histogram", {STEP: STEPS, label(schema.STATUS_CODE): ("200", "401", "503")}),
}
"""What the Flow board asks besides of the one flow that it shows."""

PER_PROVIDER: Mapping[str, tuple[str, Labels]] = {
    rec.TOKEN_UP: ("up", {LOCATION: ("frankfurt",)}),
    rec.PROVIDER_DOWN: ("state", {LOCATION: ("frankfurt",)}),
    rec.ISSUANCE_P95: ("wave", {}),
    rec.ISSUANCE_GOAL: ("constant", {}),
    rec.provider_quantile("auth"): ("wave", _QUANTILES),
    rec.provider_quantile("api"): ("wave", _QUANTILES),
    name(schema.KEY_COUNT): ("constant", {}),
    name(schema.KEY_AGE): ("moment", {}),
    name(schema.KEY_CHANGES): ("counter", {label(schema.KEY_CHANGE): ("added", "removed")}),
    name(schema.PROVIDER_STATUS): ("state", {label(schema.PROVIDER_STATE): ("operational", "degraded")}),
    rec.EXPIRY: (
        "moment",
        {label(schema.EXPIRY_SUBJECT): ("tls", "client_secret"), label(schema.EXPIRY_NAME): ("a", "b")},
    ),
}
PER_PROBER: Mapping[str, tuple[str, Labels]] = {
    rec.PROBER_RUNS: ("wave", {}),
    rec.PROBER_MISSED: ("wave", {label(schema.MISSED_REASON): ("overlap", "overloaded", "backlog")}),
    name(schema.BUILD): ("constant", {}),
    name(schema.SCHEDULE_FLOWS): ("constant", {}),
    name(schema.SCHEDULE_LAG): ("histogram", {}),
    name(schema.MEMORY): ("wave", {}),
    name(schema.EXPORT_ITEMS): (
        "counter",
        {label(schema.SIGNAL): ("traces", "metrics", "logs"), label(schema.EXPORT_OUTCOME): ("sent", "failed")},
    ),
    name(schema.CONFIG_RELOADS): ("counter", {label(schema.RELOAD_OUTCOME): ("ok", "refused")}),
    name(schema.AUDIT_SUPPRESSED): ("counter", {}),
    name(schema.AUDIT_LOST): ("counter", {}),
}


LOCATED = {rec.UP, rec.WORST, rec.SKEW, rec.LIFETIME, rec.TAKEN, rec.FINDINGS, rec.PROBER_RUNS, rec.PROBER_MISSED}
"""Recorded series that say where they were measured."""


def intervals() -> dict[str, int]:
    """Give the seconds between two samples of each recorded series; all others come once a minute."""
    return {record.name: int(group.every) for group in groups(Parameters()) for record in group.records}


def series(flows: int) -> Iterator[Series]:
    """Give every series."""
    every = intervals()
    probers = [{ENV: "production", LOCATION: "frankfurt", "instance": f"prober-{n}"} for n in range(PROBERS)]
    of_flow = [
        {ENV: "production", PROVIDER: f"idp-{n % PROVIDERS}", FLOW: f"flow-{n}"} for n in range(flows)
    ]  # fmt: skip
    of_provider = [{ENV: "production", PROVIDER: f"idp-{n}"} for n in range(PROVIDERS)]
    for metrics, things in (
        (PER_FLOW, of_flow), (PER_TENTH, of_flow[::10]), (PER_ONE, of_flow[1:2]), (PER_PROVIDER, of_provider),
        (PER_PROBER, probers),
    ):  # fmt: skip
        for metric, (kind, more) in metrics.items():
            for number, thing in enumerate(things):
                raw = probers[number % PROBERS] if metric in LOCATED or ":" not in metric else {}
                for words in product(*more.values()):
                    own = {key: word for key, word in zip(more, words, strict=True) if word}
                    yield {"__name__": metric, **raw, **thing, **own}, every.get(metric, 60), kind


class Asked:
    """A Prometheus with the history, and the time range of all questions."""

    def __init__(self, running: Process, url: str, begun: int, ended: int) -> None:
        self._stat = Path(f"/proc/{running.pid}/stat")
        self._url, self._begun, self._ended = url, begun, ended

    def _processor(self) -> float:
        """Give the processor time of Prometheus so far, in seconds."""
        words = self._stat.read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")

    def ask(self, target: dict[str, Any], points: int, flow: str) -> tuple[float, float, int, int]:
        """Ask one query as its panel does; give seconds, seconds of the processor, series, samples read."""
        span, instant = self._ended - self._begun, target.get("instant")
        step = span // points
        values = {"$__rate_interval": f"{max(step + 60, 240)}s", "$__interval": f"{step}s", "$__range": f"{span}s"}
        values |= {f"${word}": ".*" for word in ("environment", "provider", "location")} | {"$flow": flow}
        data = {"query": filled(target["expr"], values), "stats": "all"}
        data |= (
            {"time": str(self._ended)}
            if instant
            else {"start": str(self._begun), "end": str(self._ended), "step": str(step)}
        )
        with session() as http:
            used, before = self._processor(), time.perf_counter()
            response = http.post(f"{self._url}/api/v1/query{'' if instant else '_range'}", data=data, timeout=120)
            took = time.perf_counter() - before
            used = self._processor() - used
        told = response.json()
        assert told["status"] == "success", told
        return took, used, len(told["data"]["result"]), told["data"]["stats"]["samples"]["totalQueryableSamples"]


def main() -> None:
    """Make the history, ask, and print the slowest first."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flows", type=int, default=1000)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--board", action="append", choices=sorted(BOARDS), help="only this board")
    args = parser.parse_args()
    ended = int(time.time()) // 3600 * 3600 - 3 * 3600
    begun = ended - args.days * DAY
    with tempfile.TemporaryDirectory(prefix="otelprobe-boards-") as temporary:
        folder = Path(temporary)
        data = folder / "data"
        data.mkdir()
        before = time.perf_counter()
        samples = write(data, series(args.flows), begun, ended)
        size = sum(path.stat().st_size for path in data.rglob("*") if path.is_file()) / 1e9
        took = time.perf_counter() - before
        print(f"{samples / 1e6:.0f} million samples, {size:.1f} GB of blocks, made in {took:.0f} s", flush=True)
        _measure(folder, data, begun, ended, args.board or sorted(BOARDS))


def _measure(folder: Path, data: Path, begun: int, ended: int, boards: Sequence[str]) -> None:
    (port,) = free_ports(1)
    config = folder / "prometheus.yml"
    config.write_text("{}\n", encoding="utf-8")
    command: list[str | Path] = [
        MODULE.obtain() / "prometheus", f"--config.file={config}", f"--storage.tsdb.path={data}",
        f"--web.listen-address=127.0.0.1:{port}", "--storage.tsdb.retention.time=40d",
    ]  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    rows = []
    with Process("prometheus", command, log=folder / "prometheus.log") as running:
        running.wait_until(answers(f"{url}/-/ready"), 120)
        asked = Asked(running, url, begun, ended)
        for uid in boards:
            for panel, target in prometheus_targets(BOARDS[uid]):
                flow = "flow-1" if uid == "otelprobe-flow" else ".*"
                points = panel.get("maxDataPoints", POINTS)
                told = [asked.ask(target, points, flow)]
                if told[0][0] > LIMIT / 4:
                    told += [asked.ask(target, points, flow) for _ in range(2)]
                seconds, processor = (min(one[place] for one in told) for place in (0, 1))
                rows.append((seconds, processor, uid, panel["title"], target["refId"], *told[0][2:]))
    rows.sort(reverse=True)
    show(
        ("board", "panel", "query", "seconds", "processor", "series", "samples read"),
        [
            (uid.removeprefix("otelprobe-"), title, ref, f"{seconds:.3f}", f"{processor:.2f}", found, f"{read:,}")
            for seconds, processor, uid, title, ref, found, read in rows
        ],
    )
    verdict("slowest query, by the clock or by the processor", max(min(row[0], row[1]) for row in rows), LIMIT, " s")


if __name__ == "__main__":
    main()
