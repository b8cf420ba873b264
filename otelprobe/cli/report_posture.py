"""Posture findings for people and for machines."""

from collections.abc import Iterator, Sequence
from typing import Any

from otelprobe.cli.report_json import json_text
from otelprobe.cli.terminal import harmless
from otelprobe.posture.policy import ORDER
from otelprobe.posture.rules import BY_ID, RULES
from otelprobe.result import Fact, Finding, FlowResult

VERSION = 1
"""The version of the JSON document."""


def posture_text(results: Sequence[FlowResult]) -> str:
    """Write each flow's findings, worst first, with why they matter and how to mend them."""
    return "\n".join("".join(f"{line}\n" for line in _flow_lines(result)) for result in results)


def looked(result: FlowResult) -> int:
    """Give how many rules had something to look at."""
    counts = [step.facts.get(Fact.POSTURE_RULES, 0) for step in result.steps]
    return sum(count for count in counts if isinstance(count, int))


def findings_of(result: FlowResult) -> tuple[Finding, ...]:
    """Give a flow's findings, worst first."""
    found = [finding for step in result.steps for finding in step.findings]
    return tuple(sorted(found, key=lambda f: -ORDER.index(f.severity)))


def _flow_lines(result: FlowResult) -> Iterator[str]:
    found = findings_of(result)
    open_ones = [f for f in found if f.waived is None]
    yield f"{harmless(result.flow)}: {_counts(open_ones)}; {looked(result)} of {len(RULES)} rules had something to look at"
    if not result.passed and result.reason is not None:
        yield f"  the flow did not pass ({result.reason.value} at {harmless(result.failed_step or '')}): less could be seen"
    for finding in open_ones:
        rule = BY_ID[finding.rule]
        yield ""
        yield f"  {finding.severity.value.upper():<6}  {finding.rule}  {harmless(finding.target)}"
        yield f"          {harmless(finding.detail)}"
        yield f"          {rule.why} {rule.mend}"
        yield f"          {rule.source}"
    waived = [f for f in found if f.waived is not None]
    if waived:
        yield ""
    for finding in waived:
        yield f"  waived  {finding.rule}  {harmless(finding.target)}: {harmless(finding.waived or '')}"


def _counts(found: Sequence[Finding]) -> str:
    if not found:
        return "no findings"
    words = [f"{n} {s.value}" for s in reversed(ORDER) if (n := sum(f.severity is s for f in found))]
    return f"{len(found)} finding{'' if len(found) == 1 else 's'} ({', '.join(words)})"


def posture_json(results: Sequence[FlowResult]) -> str:
    """Write every flow with its findings, and the rules that they break."""
    broken = {finding.rule for result in results for finding in findings_of(result)}
    document = {
        "version": VERSION,
        "flows": [_flow(result) for result in results],
        "rules": {name: _rule(name) for name in BY_ID if name in broken},
    }
    return json_text(document)


def _flow(result: FlowResult) -> dict[str, Any]:
    return {
        "flow": result.flow,
        "provider": result.provider,
        "outcome": result.outcome.value,
        "reason": result.reason.value if result.reason is not None else None,
        "rules_looked_at": looked(result),
        "findings": [
            {"rule": f.rule, "severity": f.severity.value, "target": f.target, "detail": f.detail, "waived": f.waived}
            for f in findings_of(result)
        ],
    }


def _rule(name: str) -> dict[str, Any]:
    rule = BY_ID[name]
    return {
        "severity": rule.severity.value,
        "side": rule.side,
        "source": rule.source,
        "why": rule.why,
        "mend": rule.mend,
    }
