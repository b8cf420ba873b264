"""What a flow file says of posture: rules that are waived, severities that are its own, and what fails a run."""

from collections.abc import Iterator, Mapping, Sequence

from otelprobe.posture.observations import Observations
from otelprobe.posture.rules import BY_ID, RULES
from otelprobe.quick import dataclass
from otelprobe.result import Finding, Severity

ORDER = tuple(Severity)
"""From worth knowing to act now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiver:
    """A rule that may be broken, and why."""

    rule: str
    """The rule's id."""

    reason: str
    """Why it may be broken; reports show it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PosturePolicy:
    """Waivers and severities, by rule."""

    ignore: tuple[Waiver, ...] = ()
    severity: Mapping[str, Severity] | None = None

    def faults(self) -> Iterator[tuple[str, str]]:
        """Name rules that do not exist, and waivers that give no reason."""
        for index, waiver in enumerate(self.ignore):
            if waiver.rule not in BY_ID:
                yield f"ignore.{index}.rule", "no such posture rule; docs/posture.md lists them"
            if not waiver.reason.strip():
                yield f"ignore.{index}.reason", "say why the rule may be broken"
        for name in self.severity or {}:
            if name not in BY_ID:
                yield "severity", f"{name} is no posture rule; docs/posture.md lists them"


@dataclass(frozen=True, slots=True)
class Judged:
    """What a look came to: what breaks a rule, worst first, and how many rules had something to look at."""

    findings: tuple[Finding, ...]
    looked: int


def judge(seen: Observations, policy: PosturePolicy) -> Judged:
    """Put every rule to what was seen. A finding that is waived is given with its reason."""
    waived = {waiver.rule: waiver.reason for waiver in policy.ignore}
    own = policy.severity or {}
    findings: list[Finding] = []
    looked = 0
    for rule in RULES:
        broken = rule.look(seen)
        if broken is None:
            continue
        looked += 1
        severity = own.get(rule.id, rule.severity)
        findings.extend(Finding(rule.id, severity, host, detail, waived.get(rule.id)) for host, detail in broken)
    return Judged(tuple(sorted(findings, key=lambda f: -ORDER.index(f.severity))), looked)


def at_least(findings: Sequence[Finding], severity: Severity) -> list[Finding]:
    """Give the findings of this severity or a worse one that are not waived."""
    return [f for f in findings if f.waived is None and ORDER.index(f.severity) >= ORDER.index(severity)]
