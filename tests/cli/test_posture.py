"""`otelprobe posture` as people run it: reports for people, machines and SARIF readers, and exit codes to rely on."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from otelprobe.demo import flow_yaml, start_demo
from otelprobe.demo.server import Demo
from otelprobe.posture.rules import RULES

_TEXT = {"type": "object", "required": ["text"], "properties": {"text": {"type": "string", "minLength": 1}}}
_LEVEL = {"enum": ["none", "note", "warning", "error"]}
SARIF: dict[str, Any] = {
    "type": "object",
    "required": ["version", "runs"],
    "additionalProperties": False,
    "properties": {
        "$schema": {"type": "string", "format": "uri"},
        "version": {"const": "2.1.0"},
        "runs": {"type": "array", "items": {"$ref": "#/$defs/run"}},
    },
    "$defs": {
        "run": {
            "type": "object",
            "required": ["tool"],
            "additionalProperties": False,
            "properties": {
                "tool": {
                    "type": "object",
                    "required": ["driver"],
                    "properties": {"driver": {"$ref": "#/$defs/component"}},
                    "additionalProperties": False,
                },
                "columnKind": {"enum": ["utf16CodeUnits", "unicodeCodePoints"]},
                "results": {"type": "array", "items": {"$ref": "#/$defs/result"}},
            },
        },
        "component": {
            "type": "object",
            "required": ["name"],
            "additionalProperties": False,
            "properties": {
                "name": {"type": "string"},
                "version": {"type": "string"},
                "semanticVersion": {"type": "string"},
                "rules": {"type": "array", "uniqueItems": True, "items": {"$ref": "#/$defs/rule"}},
            },
        },
        "rule": {
            "type": "object",
            "required": ["id"],
            "additionalProperties": False,
            "properties": {
                "id": {"type": "string"},
                "shortDescription": _TEXT,
                "fullDescription": _TEXT,
                "help": _TEXT,
                "defaultConfiguration": {
                    "type": "object",
                    "properties": {"level": _LEVEL},
                    "additionalProperties": False,
                },
                "properties": {
                    "type": "object",
                    "properties": {"tags": {"type": "array", "uniqueItems": True, "items": {"type": "string"}}},
                },
            },
        },
        "result": {
            "type": "object",
            "required": ["message"],
            "additionalProperties": False,
            "properties": {
                "ruleId": {"type": "string"},
                "ruleIndex": {"type": "integer", "minimum": -1},
                "level": _LEVEL,
                "message": _TEXT,
                "locations": {"type": "array", "items": {"$ref": "#/$defs/location"}},
                "partialFingerprints": {"type": "object", "additionalProperties": {"type": "string"}},
                "suppressions": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["kind"],
                        "properties": {
                            "kind": {"enum": ["inSource", "external"]},
                            "justification": {"type": "string"},
                        },
                        "additionalProperties": False,
                    },
                },
                "properties": {"type": "object"},
            },
        },
        "location": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "physicalLocation": {
                    "type": "object",
                    "required": ["artifactLocation"],
                    "properties": {
                        "artifactLocation": {
                            "type": "object",
                            "properties": {"uri": {"type": "string", "format": "uri-reference"}},
                            "additionalProperties": False,
                        },
                        "region": {"type": "object", "properties": {"startLine": {"type": "integer", "minimum": 1}}},
                    },
                    "additionalProperties": False,
                },
                "logicalLocations": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "properties": {"name": {"type": "string"}, "kind": {"type": "string"}},
                        "additionalProperties": False,
                    },
                },
            },
        },
    },
}
"""What SARIF 2.1.0 says of the members that are written, and that there are no others."""


@pytest.fixture(scope="module")
def demo() -> Iterator[Demo]:
    """Give one running demo for the module."""
    with start_demo() as running:
        yield running


def posture(demo: Demo, tmp_path: Path, *arguments: str, step: str = "", **environment: str) -> tuple[int, str, str]:
    """Run the command on the demo's flow, with this posture step in it; give exit code, output and errors."""
    file = tmp_path / "flow.yaml"
    file.write_text(flow_yaml(demo) + step)
    command = [sys.executable, "-m", "otelprobe", "posture", str(file), *arguments]
    env = {**os.environ, **demo.environment, "OTELPROBE_STATE_DIR": str(tmp_path / "state"), **environment}
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=60, check=False)
    return done.returncode, done.stdout, done.stderr


STEP = """\
      - step: posture
        ignore: [{rule: grant-password, reason: the demo shows it}]
        severity: {tokens-not-bound: high}
"""


def test_people_read_what_is_wrong_and_how_to_mend_it(demo: Demo, tmp_path: Path) -> None:
    """Each finding stands with severity, rule, host, why, mend and source; without a high one the exit code is 0."""
    code, out, err = posture(demo, tmp_path)
    assert (code, err) == (0, "")
    assert "  MEDIUM  grant-password  127.0.0.1\n          grant_types_supported lists password\n" in out
    assert "RFC 9700, section 2.4" in out
    assert all(secret not in out for secret in demo.environment.values())


def test_the_threshold_decides_the_exit_code(demo: Demo, tmp_path: Path) -> None:
    """--fail-on is the severity from which findings matter; it wins over the flow file."""
    assert posture(demo, tmp_path, "--fail-on", "medium")[0] == 1
    assert posture(demo, tmp_path, "--fail-on", "never")[0] == 0
    assert posture(demo, tmp_path, step=STEP)[0] == 1


def test_a_flow_that_does_not_get_through_is_a_doubt(demo: Demo, tmp_path: Path) -> None:
    """Where another step fails, less was seen: the report says so and the exit code is 4."""
    missing = {name: "" for name in demo.environment if "SECRET" in name}
    code, out, _ = posture(demo, tmp_path, **missing)
    assert code == 4
    assert "the flow did not pass (" in out


def test_machines_read_findings_with_their_rules(demo: Demo, tmp_path: Path) -> None:
    """The JSON document has each finding, waived ones with their reason, and each broken rule once."""
    _, out, _ = posture(demo, tmp_path, "--output", "json", step=STEP)
    document = json.loads(out)
    (flow,) = document["flows"]
    waived = {f["rule"]: f["waived"] for f in flow["findings"] if f["waived"]}
    assert waived == {"grant-password": "the demo shows it"}
    assert set(document["rules"]) == {f["rule"] for f in flow["findings"]}
    assert flow["findings"][0] | {"detail": ""} == {
        "rule": "tokens-not-bound",
        "severity": "high",
        "target": "127.0.0.1",
        "detail": "",
        "waived": None,
    }


def test_code_scanning_reads_sarif(demo: Demo, tmp_path: Path) -> None:
    """The file is SARIF 2.1.0: every rule, each result at its flow's line, waived ones suppressed."""
    report = tmp_path / "posture.sarif"
    code, out, _ = posture(demo, tmp_path, "--output", "sarif", "--output-file", str(report), step=STEP)
    assert (code, out) == (1, "")
    document = json.loads(report.read_text())
    jsonschema.validate(document, SARIF, jsonschema.Draft202012Validator)
    (run,) = document["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == [rule.id for rule in RULES]
    assert all(rules[result["ruleIndex"]]["id"] == result["ruleId"] for result in run["results"])
    assert {r["ruleId"] for r in run["results"] if "suppressions" in r} == {"grant-password"}
    lines = (tmp_path / "flow.yaml").read_text().splitlines()
    place = run["results"][0]["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == str(tmp_path / "flow.yaml")
    assert "name: demo" in lines[place["region"]["startLine"] - 1]
    assert all(secret not in report.read_text() for secret in demo.environment.values())


def test_a_report_that_cannot_be_written_is_told_before_anything_is_asked(demo: Demo, tmp_path: Path) -> None:
    """A wrong path is a fault like any other."""
    code, _, err = posture(demo, tmp_path, "--output-file", str(tmp_path / "no" / "report"))
    assert code == 2
    assert "--output-file: there is no directory" in err
