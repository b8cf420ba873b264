"""A folder of flow files with one fault each, and exactly what is said of each."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from otelprobe.config.document import read_document
from otelprobe.config.faults import ConfigError
from otelprobe.config.json_schema import flow_file_schema
from otelprobe.config.load import load

FOLDER = Path(__file__).parent / "bad_flows"
EXPECTED: Mapping[str, Any] = read_document(FOLDER / "expected.yaml").tree  # type: ignore[assignment] # a mapping, see the file
FILES = sorted(path.name for path in FOLDER.glob("*.yaml") if path.name != "expected.yaml")


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    return Draft202012Validator(flow_file_schema())


def test_every_file_has_an_expectation_and_every_expectation_a_file() -> None:
    """No bad flow goes unchecked."""
    assert sorted(EXPECTED) == FILES


@pytest.mark.parametrize("name", FILES)
def test_message(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A faulty file is refused with exactly the expected lines: place, path and mend, and no value."""
    monkeypatch.chdir(FOLDER)
    with pytest.raises(ConfigError) as caught:
        load([Path(name)])
    assert str(caught.value).splitlines() == EXPECTED[name]["faults"]


@pytest.mark.parametrize("name", FILES)
def test_schema(name: str, validator: Draft202012Validator) -> None:
    """An editor that knows the JSON schema sees the faults that are said to be visible to it, and only those."""
    try:
        tree = read_document(FOLDER / name).tree
    except ConfigError:
        assert EXPECTED[name]["schema"] == "no YAML"
    else:
        assert EXPECTED[name]["schema"] == ("cannot see" if validator.is_valid(tree) else "refuses")


def test_no_message_shows_a_secret() -> None:
    """What stands where a secret should be referred to appears in no message."""
    said = " ".join(line for case in EXPECTED.values() for line in case["faults"])
    assert "hunter2" in " ".join((FOLDER / name).read_text(encoding="utf-8") for name in FILES)
    assert "hunter2" not in said
    assert "20261122" not in said
