"""Posture: good practice that can be seen from outside, as rules over frozen observations; docs/posture.md lists them."""

from otelprobe.posture.observations import Answered, Observations
from otelprobe.posture.policy import PosturePolicy, Waiver, judge
from otelprobe.posture.rule import Rule
from otelprobe.posture.rules import RULES

__all__ = ["RULES", "Answered", "Observations", "PosturePolicy", "Rule", "Waiver", "judge"]
