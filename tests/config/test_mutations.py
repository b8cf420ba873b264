"""The long example with one value changed, everywhere and in every way: what must hold whatever somebody writes."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from otelprobe.config.decode import decode
from otelprobe.config.document import read_document
from otelprobe.config.faults import path_text
from otelprobe.config.json_schema import flow_file_schema
from otelprobe.config.models import FlowFile

EXAMPLE = read_document(Path(__file__).parents[2] / "docs" / "examples" / "full.yaml").tree
CANARY = "hunter2-canary"
WRONG: tuple[object, ...] = (CANARY, 20261122, True, None, [], [CANARY], {}, {CANARY: None}, {"env": CANARY})


def places(tree: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Give the path of everything in a tree but its root."""
    members = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in members:
        yield (*path, key)
        yield from places(value, (*path, key))


def changed(path: tuple[str | int, ...], value: object) -> Any:
    """Give the example with another value at one place."""
    tree: Any = copy.deepcopy(EXAMPLE)
    inner = tree
    for part in path[:-1]:
        inner = inner[part]
    inner[path[-1]] = value
    return tree


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    return Draft202012Validator(flow_file_schema())


@pytest.mark.parametrize("value", WRONG, ids=str)
def test_no_fault_shows_a_value_and_the_schema_is_no_stricter(value: object, validator: Draft202012Validator) -> None:
    """Wherever a value stands, no fault repeats it; and what is accepted is not marked as wrong by an editor."""
    refused = 0
    for path in places(EXAMPLE):
        tree = changed(path, value)
        faults: list[str] = []
        found = decode(FlowFile, tree, lambda p, m, faults=faults: faults.append(f"{path_text(p)}: {m}"))  # type: ignore[misc] # a lambda's default has no annotation
        refused += bool(faults)
        if not isinstance(value, dict) or CANARY not in value:
            assert CANARY not in str(faults)
        assert CANARY not in "".join(fault.partition(": ")[2] for fault in faults)
        assert "20261122" not in str(faults)
        if found is not None:
            assert list(validator.iter_errors(tree)) == [], path_text(path)
    assert refused > 20
