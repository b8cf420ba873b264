"""The tables that say what was verified against what rest on tests that exist, run, and use what they speak for."""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.stack.harness.keycloak import Keycloak
from tests.test_nanoidp import Nanoidp
from tests.verified import ROWS, Peer, Row, lines, peers_by_test, provider_lines, unused

TESTS = Path(__file__).resolve().parent


@cache
def names_in(file: str) -> frozenset[str]:
    """Give the names of a file's tests."""
    tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    found = (node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))
    return frozenset(name for name in found if name.startswith("test_"))


@cache
def marks_in(file: str) -> frozenset[str]:
    """Give the marks of a file's tests, and its calls of what skips."""
    text = (TESTS / file).read_text(encoding="utf-8")
    return frozenset(re.findall(r"pytest\.(?:mark\.)?(\w+)", text))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.what)
def test_every_cell_rests_on_tests(row: Row) -> None:
    """A column is filled by tests, and the last one says what the peer was."""
    assert row.tests
    assert all(row.tests.values())
    assert bool(row.note) is ("local" in row.tests)


@pytest.mark.parametrize("name", peers_by_test())
def test_every_test_is_one_that_the_commands_run(name: str) -> None:
    """It is there, and nothing in its file leaves it out of `make test` and `make test-stack`."""
    file, _, test = name.partition("::")
    assert test in names_in(file), f"there is no {name}"
    assert not file.startswith("benchmarks/")
    assert not marks_in(file) & {"campaign", "skip", "skipif", "xfail"}, file


def test_the_commands_leave_out_the_campaign_only() -> None:
    """What CI runs is the two commands, and all but the campaign is in them."""
    made = (TESTS.parent / "Makefile").read_text(encoding="utf-8")
    assert re.search(r"^test: .*\n\t@\$\(BIN\)/pytest -q$", made, re.MULTILINE)
    (stack,) = re.findall(r"^\t@\$\(BIN\)/pytest .* tests/stack$", made, re.MULTILINE)[:1]
    assert re.findall(r' -m "([^"]*)"', stack) == ["not campaign"]
    assert not re.search(r" -k |--deselect|--ignore", stack)


@pytest.mark.parametrize(
    ("peers", "function", "missing"),
    [
        ({"keycloak"}, lambda: Keycloak, []),
        ({"keycloak", "local"}, lambda: None, ["keycloak"]),
        ({"nanoidp", "pytest_iam"}, lambda: Nanoidp, ["pytest_iam"]),
    ],
)
def test_a_test_that_does_not_use_its_peer_is_found(
    peers: set[Peer], function: Callable[[], object], missing: list[Peer]
) -> None:
    """By the classes that start a peer, in the test or in its fixtures."""
    assert unused(peers, [function]) == missing


def test_what_was_skipped_or_may_fail_counts_as_failed(tmp_path: Path) -> None:
    """In a run of its own: a named test that does not run is red, and one for a peer that it does not use is, too."""
    (tmp_path / "conftest.py").write_text((TESTS / "conftest.py").read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "test_it.py").write_text(_NOT_RUN, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull, str(tmp_path)]
    told = subprocess.run(command, cwd=TESTS.parent, capture_output=True, text=True, timeout=120, check=False).stdout
    assert "2 failed, 1 passed, 1 skipped, 1 error" in told, told
    assert "it has to run, and to pass" in told
    assert "says that this runs against keycloak" in told


_NOT_RUN = """
import pytest
from tests import verified

named = {name: frozenset({"local"}) for name in ("test_it.py::test_skipped", "test_it.py::test_may_fail")}
named |= {"test_it.py::test_good": frozenset({"local"}), "test_it.py::test_of_no_peer": frozenset({"keycloak"})}
verified.peers_by_test = lambda: named
verified.name_of = lambda path, function: f"{path.name}::{function}"

def test_skipped(): pytest.skip("not here")
@pytest.mark.xfail
def test_may_fail(): assert False
def test_good(): pass
def test_of_no_peer(): pass
def test_of_nobody(): pytest.skip("not named")
"""


@pytest.mark.parametrize(("page", "table"), [("credentials.md", lines), ("providers.md", provider_lines)])
def test_the_pages_show_the_tables(page: str, table: Callable[[], Iterator[str]]) -> None:
    """Line for line; `python -m tests.verified` prints them."""
    text = (TESTS.parent / "docs" / page).read_text(encoding="utf-8")
    shown = text.partition("## What was verified against what")[2].strip().splitlines()
    assert [line for line in shown if line.startswith("|")] == list(table())
