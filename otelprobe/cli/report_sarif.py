"""Posture findings as SARIF 2.1.0 (OASIS), for code scanning and other readers of static results."""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import PurePath
from typing import Any
from urllib.parse import quote

from otelprobe import __version__
from otelprobe.cli.report_json import json_text
from otelprobe.cli.report_posture import findings_of
from otelprobe.posture.rule import Rule
from otelprobe.posture.rules import RULES
from otelprobe.result import Finding, FlowResult, Severity

_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_LEVEL: Mapping[Severity, str] = {
    Severity.HIGH: "error",
    Severity.MEDIUM: "warning",
    Severity.LOW: "note",
    Severity.INFO: "note",
}
_SCORE: Mapping[Severity, str] = {
    Severity.HIGH: "8.0",
    Severity.MEDIUM: "5.5",
    Severity.LOW: "3.0",
    Severity.INFO: "0.0",
}
"""What readers sort security results by: a number like a CVSS score."""

_INDEX: Mapping[str, int] = {rule.id: index for index, rule in enumerate(RULES)}


def sarif_json(results: Sequence[FlowResult], where: Mapping[str, tuple[str, int]]) -> str:
    """Write one run with every rule, and a result for each finding, at the place of its flow in the flow file."""
    driver = {
        "name": "otelprobe",
        "version": __version__,
        "semanticVersion": __version__,
        "rules": [_rule(rule) for rule in RULES],
    }
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "results": [_result(r, finding, where[r.flow]) for r in results for finding in findings_of(r)],
    }
    return json_text({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]})


def _rule(rule: Rule) -> dict[str, Any]:
    return {
        "id": rule.id,
        "shortDescription": {"text": rule.id.replace("-", " ")},
        "fullDescription": {"text": rule.why},
        "help": {"text": f"{rule.mend} ({rule.source})"},
        "defaultConfiguration": {"level": _LEVEL[rule.severity]},
        "properties": {"security-severity": _SCORE[rule.severity], "tags": ["security", rule.side]},
    }


def _result(flow: FlowResult, finding: Finding, place: tuple[str, int]) -> dict[str, Any]:
    file, line = place
    named = f"{flow.flow}\n{finding.rule}\n{finding.target}\n{finding.detail}"
    result: dict[str, Any] = {
        "ruleId": finding.rule,
        "ruleIndex": _INDEX[finding.rule],
        "level": _LEVEL[finding.severity],
        "message": {"text": f"{finding.target}: {finding.detail} (flow {flow.flow})"},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": quote(PurePath(file).as_posix())},
                    "region": {"startLine": max(line, 1)},
                },
                "logicalLocations": [{"name": finding.target or flow.flow, "kind": "resource"}],
            }
        ],
        "partialFingerprints": {"otelprobe/v1": sha256(named.encode()).hexdigest()},
        "properties": {"severity": finding.severity.value},
    }
    if finding.waived is not None:
        result["suppressions"] = [{"kind": "external", "justification": finding.waived}]
    return result
