"""Every fault of the embedded provider and API gets the reason, the blame and the objective that reasons.md gives it."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from otelprobe.clock import SystemClock
from otelprobe.config.load import load
from otelprobe.demo import FAULTS, Fault, flow_yaml, start_demo
from otelprobe.demo.server import Demo
from otelprobe.http import LiveHttp
from otelprobe.plan import build
from otelprobe.reasons import Outcome
from otelprobe.result import FlowResult
from otelprobe.run import Tools, run_flow
from otelprobe.state import State

SHOWN = [fault for fault in FAULTS.values() if fault.shown]


@pytest.fixture(scope="module")
def plain() -> Iterator[Demo]:
    """Give one demo without TLS for the whole module; each test sets its own faults."""
    with start_demo() as demo:
        yield demo


@pytest.fixture(scope="module")
def secure() -> Iterator[Demo]:
    """Give one demo on TLS."""
    with start_demo(tls=True) as demo:
        yield demo


def run_demo(demo: Demo, directory: Path) -> FlowResult:
    """Run the demo's own flow file."""
    path = directory / "demo.yaml"
    path.write_text(flow_yaml(demo))
    (plan,) = build(load([path]))
    return run_flow(plan, Tools(http=LiveHttp(SystemClock()), state=State(directory / "state")))


@pytest.mark.parametrize("fault", SHOWN, ids=lambda fault: fault.name)
def test_each_fault_is_told_right(
    fault: Fault, plain: Demo, secure: Demo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reason, blame, objective and step are those of the fault table, and the healthy run before it passed."""
    demo = secure if fault.tls else plain
    for name, value in demo.environment.items():
        monkeypatch.setenv(name, value)
    demo.set_faults([fault.name])
    try:
        result = run_demo(demo, tmp_path)
    finally:
        demo.set_faults([])
    found = (result.reason, result.blame, result.counts, result.failed_step)
    assert found == (fault.reason, fault.blame, fault.counts, fault.step), result.detail
    assert (result.outcome is Outcome.PASS) == (fault.reason is None)
    assert [row.step for row in result.steps] == [
        "discover", "keys", "token", "verify", "call", "reject", "refresh", "introspect", "revoke",
    ]  # fmt: skip


@pytest.mark.parametrize("tls", [False, True])
def test_the_healthy_flow_passes(
    tls: bool, plain: Demo, secure: Demo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a fault every step passes without a warning, by plain HTTP and by TLS."""
    demo = secure if tls else plain
    for name, value in demo.environment.items():
        monkeypatch.setenv(name, value)
    result = run_demo(demo, tmp_path)
    assert (result.outcome, result.detail, result.warnings) == (Outcome.PASS, None, ())
    assert os.environ["OTELPROBE_DEMO_CLIENT_SECRET"] not in repr(result)
