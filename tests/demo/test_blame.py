"""The promise of `otelprobe demo`: each fault is blamed on the side that has it, by the demo's own flow file."""

import pytest

from otelprobe.clock import SystemClock
from otelprobe.config.load import load
from otelprobe.demo import FAULTS, flow_yaml, start_demo
from otelprobe.http import LiveHttp
from otelprobe.plan import build
from otelprobe.run import Tools, run_flow
from otelprobe.state import State

REUSE = ("expect: {rotated: true}", "expect: {rotated: true, reuse_refused: true}")
AFTER_REVOKE = ("always: true ", "always: true\n      - {step: introspect, name: after, expect: {active: false}}\n#")
DRIFT = ("deadline: 15s", "deadline: 15s\n    drift: {fail: true}")
INLINE = ("forged_key]", "forged_key, inline_key]")
ELSEWHERE = {
    "api-trusts-inline-key": INLINE,
    "refresh-reuse-accepted": REUSE,
    "revocation-ignored": AFTER_REVOKE,
    "discovery-drift": DRIFT,
}
"""For faults that the demo flow does not look for: what to change in it so that it does."""


def run_demo_flow(faults, change, tmp_path, monkeypatch):
    """Run the flow with faults; one that differs from what was before is switched on between two runs."""
    later = faults == ["discovery-drift"]
    with start_demo([] if later else faults) as demo:
        for name, value in demo.environment.items():
            monkeypatch.setenv(name, value)
        text = flow_yaml(demo)
        path = tmp_path / "flow.yaml"
        path.write_text(text.replace(*change), encoding="utf-8")
        assert change == ("", "") or path.read_text(encoding="utf-8") != text
        (plan,) = build(load([path]))
        tools = Tools(http=LiveHttp(SystemClock()), state=State(tmp_path / "state"))
        if later:
            assert run_flow(plan, tools).passed
            demo.set_faults(faults)
        return run_flow(plan, tools)


@pytest.mark.parametrize("change", [("", ""), AFTER_REVOKE], ids=["as it is", "with a look after revoke"])
def test_healthy_demo_passes_without_a_warning(tmp_path, monkeypatch, change):
    """With no fault on, every step of the demo flow passes and nothing is warned of."""
    result = run_demo_flow([], change, tmp_path, monkeypatch)
    assert {step.step: str(step.outcome) for step in result.steps if step.outcome != "pass"} == {}
    assert result.warnings == ()


@pytest.mark.parametrize("fault", FAULTS.values(), ids=lambda f: f.name)
def test_fault_is_blamed_on_its_side(fault, tmp_path, monkeypatch):
    """The flow ends with the reason, blame, objective and failed step that the fault's row promises."""
    result = run_demo_flow([fault.name], ELSEWHERE.get(fault.name, ("", "")), tmp_path, monkeypatch)
    failed_step = "after" if fault.name == "revocation-ignored" else fault.step
    assert (result.reason, result.blame, result.failed_step) == (fault.reason, fault.blame, failed_step), result.detail
    assert result.reason is None or result.counts == fault.counts
