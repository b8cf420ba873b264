"""How many series a flow will have is known before it is deployed, and is bounded."""

import pytest

from otelprobe.reasons import Layer, Reason
from otelprobe.result import FlowFacts, StepFacts
from otelprobe.telemetry.cardinality import Cardinality, estimate

KINDS = ("discover", "keys", "token", "verify", "call", "revoke")
REASONS = frozenset({Reason.CONNECT_REFUSED, Reason.READ_TIMEOUT})


def facts(*kinds: str) -> FlowFacts:
    layers = [Layer.API if kind in {"call", "reject"} else Layer.AUTH for kind in kinds]
    steps = tuple(StepFacts(kind, kind, layer, REASONS) for kind, layer in zip(kinds, layers, strict=True))
    return FlowFacts("orders", "corp", {"team": "a"}, "eu", steps, {"availability": 0.999, "interval": 60.0}, 60.0)


def test_a_flow_of_six_steps_stays_within_its_bound():
    """A typical flow has at most 150 series where histograms are native."""
    found = estimate(facts(*KINDS), {})
    assert 80 < found.healthy.native <= 150
    assert found.healthy.classic > 4 * found.healthy.native


def test_a_way_to_fail_adds_few():
    """A failure adds its run, its step, their times and its request: five series, and their buckets."""
    found = estimate(facts(*KINDS), {})
    assert found.failure.native <= 6
    assert found.failure.classic > found.failure.native


@pytest.mark.parametrize(("kinds", "more"), [(("userinfo",), 15), (("reject",), 15)])
def test_steps_and_cases_are_counted(kinds: tuple[str, ...], more: int):
    """A step adds its own series, and each case of a `reject` adds one."""
    base = estimate(facts(*KINDS), {}).healthy.native
    assert base < estimate(facts(*KINDS, *kinds), {}).healthy.native <= base + more
    without = estimate(facts(*KINDS, "reject"), {}).healthy
    assert estimate(facts(*KINDS, "reject"), {"reject": ("a", "b")}).healthy - without == Cardinality(2, 2)
