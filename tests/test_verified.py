"""The table of docs/credentials.md that says what was verified against what rests on tests that exist."""

import ast
from functools import cache
from pathlib import Path

import pytest

from tests.verified import ROWS, Row, lines

TESTS = Path(__file__).resolve().parent
PAGE = TESTS.parent / "docs" / "credentials.md"


@cache
def names_in(file: str) -> frozenset[str]:
    """Give the names of a file's tests."""
    tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    found = (node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))
    return frozenset(name for name in found if name.startswith("test_"))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.what)
def test_every_cell_rests_on_tests(row: Row) -> None:
    """Each test that a row names is there, in a file of the peer that it speaks for."""
    assert row.tests
    assert bool(row.note) is ("local" in row.tests)
    for peer, names in row.tests.items():
        assert names
        for name in names:
            file, _, test = name.partition("::")
            assert test in names_in(file), f"{row.what}, {peer}: there is no {name}"
            text = (TESTS / file).read_text(encoding="utf-8").lower()
            assert peer == "local" or peer.replace("pytest_iam", "iam") in text, f"{file} does not speak of {peer}"


def test_the_page_shows_the_table() -> None:
    """Line for line; `python -m tests.verified` prints it."""
    table = PAGE.read_text(encoding="utf-8").partition("## What was verified against what")[2].strip().splitlines()
    assert [line for line in table if line.startswith("|")] == list(lines())
