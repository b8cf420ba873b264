"""The JSON schema of the flow file."""

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from otelprobe.config.document import read_document
from otelprobe.config.json_schema import flow_file_schema
from otelprobe.steps import STEPS

EXAMPLES = sorted((Path(__file__).parents[2] / "docs" / "examples").glob("*.yaml"))


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    return flow_file_schema()


def test_it_is_a_sound_schema(schema: dict[str, Any]) -> None:
    """The schema itself is valid, is plain JSON, and refers to nothing that is not in it."""
    Draft202012Validator.check_schema(schema)
    text = json.dumps(schema)
    references = {part.split('"')[0] for part in text.split('"$ref": "#/$defs/')[1:]}
    assert references <= set(schema["$defs"])


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_examples_fit(schema: dict[str, Any], example: Path) -> None:
    """Every example of the documentation passes the schema."""
    tree = read_document(example).tree
    assert [error.message for error in Draft202012Validator(schema).iter_errors(tree)] == []


def test_every_kind_of_step_has_its_own_members(schema: dict[str, Any]) -> None:
    """An editor completes the parameters of the kind that is written, and no others."""
    for kind in STEPS:
        definition = schema["$defs"][f"step.{kind}"]
        assert definition["properties"]["step"] == {"const": kind}
        assert definition["additionalProperties"] is False
        assert {"name", "timeout", "expect", "http"} <= set(definition["properties"])
    assert "url" in schema["$defs"]["step.call"]["required"]
    assert "url" not in schema["$defs"]["step.token"]["properties"]


def test_members_are_described(schema: dict[str, Any]) -> None:
    """What a docstring says of a member is what an editor shows."""
    assert "interval between runs" in schema["$defs"]["Flow"]["properties"]["every"]["description"]
    assert "compared exactly" in schema["$defs"]["Provider"]["properties"]["issuer"]["description"]


def test_a_comment_key_and_anchors_are_allowed(schema: dict[str, Any]) -> None:
    """Keys that start with `x-` hold anchors; anything else that is unknown is refused."""
    validator = Draft202012Validator(schema)
    assert validator.is_valid({"x-steps": ["discover"], "flows": [{"name": "a", "steps": ["discover"]}]})
    assert not validator.is_valid({"steps": ["discover"]})
