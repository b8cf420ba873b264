"""How long a one-shot run takes from nothing, beside the bare imports of the libraries that it cannot do without.

`python tests/benchmarks/cold_start.py [--runs 21] [--explain]`. One run is `python -m otelprobe once` with a flow of five
steps (discover, keys, token, verify, call) against the embedded demo, with all three signals sent by OTLP/HTTP and
delivered. Demo and receiver are processes of their own. Both commands take turns, so that a busy machine slows both.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parent))

from rig.processes import environment, servers, speaking
from rig.table import show, verdict

TARGET = 1.5
LIBRARIES = (
    "requests, jwt, opentelemetry.sdk.trace, opentelemetry.sdk.metrics, opentelemetry.sdk._logs, "
    "opentelemetry.exporter.otlp.proto.http.trace_exporter, opentelemetry.exporter.otlp.proto.http.metric_exporter, "
    "opentelemetry.exporter.otlp.proto.http._log_exporter"
)
FLOW = """\
providers:
  demo: {{issuer: "{issuer}", client_id: "{client_id}", client_secret: {{env: SECRET}}}}
flows:
  - name: cold-start
    provider: demo
    steps:
      - discover
      - keys
      - {{step: token, scope: "orders:read", audience: orders}}
      - {{step: verify, audience: orders}}
      - {{step: call, url: "{api_url}/orders"}}
"""


class Cost(NamedTuple):
    """Seconds of one command."""

    wall: float
    cpu: float


def demo() -> None:
    """Serve the embedded demo until this process is ended."""
    from otelprobe.demo import start_demo  # noqa: PLC0415 - only in its own process

    with start_demo() as running:
        known = {n: getattr(running, n) for n in ("issuer", "api_url", "client_id", "client_secret")}
        print(json.dumps(known), flush=True)
        signal.pause()


def cost(command: Sequence[str], env: Mapping[str, str], folder: str) -> Cost:
    """Run a command to its end; SystemExit if it fails, for then it has not done its work."""
    start = time.perf_counter()
    process = subprocess.Popen(command, env=env, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    _, status, used = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.stdout is not None
    with process.stdout:
        if process.returncode:
            raise SystemExit(f"{' '.join(command[1:4])} failed:\n{process.stdout.read().decode()}")
    return Cost(wall, used.ru_utime + used.ru_stime)


def explain(command: Sequence[str], env: Mapping[str, str], folder: str, top: int = 25) -> None:
    """Print what takes longest to import, by each module's own time."""
    done = subprocess.run(
        [command[0], "-X", "importtime", *command[1:]], env=env, cwd=folder, capture_output=True, text=True, check=True
    )
    lines = [line.removeprefix("import time:").split("|") for line in done.stderr.splitlines() if "|" in line]
    found = [(int(own), name.strip()) for own, _, name in lines if own.strip().isdigit()]
    packages: dict[str, int] = {}
    for own, name in found:
        package = (
            ".".join(name.split(".")[:2]) if name.startswith(("opentelemetry.", "otelprobe.")) else name.split(".")[0]
        )
        packages[package] = packages.get(package, 0) + own
    print(f"\n{len(found)} modules, {sum(own for own, _ in found) / 1000:.0f} ms of imports (slowed by the tracing)")
    ranked = sorted(packages.items(), key=lambda item: -item[1])[:top]
    show(("package", "own ms"), [(name, f"{own / 1000:.1f}") for name, own in ranked])


def row(name: str, costs: Sequence[Cost], base: Sequence[Cost]) -> list[str]:
    """Give one line of the table."""
    median, least = statistics.median(c.wall for c in costs), min(c.wall for c in costs)
    cpu = statistics.median(c.cpu for c in costs)
    ratio = median / statistics.median(c.wall for c in base)
    return [name, *(f"{v * 1000:.0f}" for v in (median, least, cpu)), f"{ratio:.2f}"]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=21)
    parser.add_argument("--explain", action="store_true", help="also print what the imports cost")
    given = parser.parse_args()
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        known = json.loads(stack.enter_context(speaking(__file__, "demo"))[1])
        receiver = stack.enter_context(servers())
        Path(folder, "flow.yaml").write_text(FLOW.format(**known), encoding="utf-8")
        env = environment(SECRET=known["client_secret"], OTEL_EXPORTER_OTLP_ENDPOINT=receiver)
        commands = {
            "imports alone": [sys.executable, "-c", f"import {LIBRARIES}"],
            "otelprobe once": [sys.executable, "-m", "otelprobe", "once", "--require-delivery", "flow.yaml"],
        }
        costs: dict[str, list[Cost]] = {name: [] for name in commands}
        for turn in range(given.runs + 1):
            for name, command in commands.items():
                taken = cost(command, env, folder)
                if turn:  # the first turn fills the caches of bytecode and files
                    costs[name].append(taken)
        base, ours = costs.values()
        show(("", "median ms", "min ms", "CPU ms", "ratio"), [row(name, c, base) for name, c in costs.items()])
        ratio = statistics.median(c.wall for c in ours) / statistics.median(c.wall for c in base)
        verdict("a whole run to the bare imports", ratio, TARGET)
        if given.explain:
            explain(commands["otelprobe once"], env, folder)


if __name__ == "__main__":
    demo() if sys.argv[1:] == ["demo"] else main()
