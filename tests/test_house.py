"""The house keeps its rules: every step is listed, names are spelled once, functions stay short, ignores give reasons."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import otelprobe
from otelprobe.reasons import Layer, Reason
from otelprobe.result import Fact
from otelprobe.steps import STEPS, step_class
from otelprobe.telemetry import schema

PACKAGE = Path(otelprobe.__file__).parent
SOURCES = sorted(PACKAGE.rglob("*.py"))
LONGEST = 50


def test_every_step_file_is_listed() -> None:
    """A kind of step that nobody listed would never be found by a flow file."""
    files = {path.stem for path in (PACKAGE / "steps").glob("*.py")} - {"__init__"}
    assert files == set(STEPS)


@pytest.mark.parametrize("kind", STEPS)
def test_every_step_says_what_it_is(kind: str) -> None:
    """Its kind is its word in the flow file, its layer and its own reasons are known, its own test exists."""
    cls = step_class(kind)
    assert cls.kind == kind
    assert isinstance(cls.layer, Layer)
    assert cls.own_reasons <= set(Reason)
    assert cls.own_reasons
    tests = {path.name for path in Path(__file__).parent.joinpath("steps").glob("test_*.py")}
    assert any(kind in name for name in tests)


def test_every_fact_has_its_span_attribute() -> None:
    """What a step may report is known to telemetry, with its meaning, so that nothing is published without a name."""
    assert {a.name for a in schema.FACT_SPAN} == {f"otelprobe.{fact.value}" for fact in Fact}


def _functions() -> Iterator[tuple[str, int]]:
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                first = node.body[1] if ast.get_docstring(node) and len(node.body) > 1 else node.body[0]
                yield f"{path.relative_to(PACKAGE)}:{node.name}", (node.end_lineno or 0) - first.lineno + 1


def test_no_function_is_longer_than_a_page() -> None:
    """The table of reasons is data; everything else that needs sections needs siblings."""
    long = {name: lines for name, lines in _functions() if lines > LONGEST}
    assert set(long) <= {"reasons.py:_rows"}, long


def test_telemetry_names_are_spelled_in_the_schema_only() -> None:
    """A metric, span or event name in another file is a second truth."""
    names = {m.name for m in schema.METRICS} | {e.name for e in schema.EVENTS}
    names = {name for name in names if name.startswith("otelprobe.")}
    offenders = []
    for path in SOURCES:
        if path == PACKAGE / "telemetry" / "schema.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and node.value in names:
                offenders.append((str(path.relative_to(PACKAGE)), node.lineno, node.value))
    assert offenders == []


def test_every_ignore_carries_a_code_and_a_reason() -> None:
    """`noqa` and `type: ignore` without both would hide what nobody remembers."""
    wanted = re.compile(r"#\s*(noqa: [A-Z0-9, ]+ - \S|type: ignore\[[a-z-, ]+\]\s+# \S)")
    bare = []
    for path in SOURCES:
        before = ""
        for number, line in enumerate(path.read_text().splitlines(), 1):
            mark = re.search(r"#\s*(noqa|type: ignore)", line)
            # Imports that stand together share the reason of the first.
            follows = before and "PLC0415" in line and "PLC0415" in before
            if mark and not wanted.search(line) and not follows:
                bare.append(f"{path.relative_to(PACKAGE)}:{number}: {line.strip()}")
            before = line if mark else "" if line.strip() else before
    assert bare == []
