"""`${name}` is filled, everything else stays as it is."""

import pytest

from otelprobe.template import faults_in, fill, fill_all, names_in


def test_names_are_filled_and_escapes_stay() -> None:
    """A name is filled each time it stands there; `$${` is a literal `${`; a dollar alone is a dollar."""
    assert fill("a/${x}/b?c=${x}&d=${y_1}", {"x": "1", "y_1": "2"}) == "a/1/b?c=1&d=2"
    assert fill("$${x} $x ${x}", {"x": "1"}) == "${x} $x 1"


def test_filled_values_are_not_filled_again() -> None:
    """A captured value that looks like a template is data."""
    assert fill("${x}", {"x": "${y}"}) == "${y}"


def test_nested_texts_are_found_and_filled() -> None:
    """Lists and mappings are walked; keys and other types stay."""
    tree = {"a": ["${x}", 1, None], "b": {"c": "${y}"}}
    assert names_in(tree) == {"x", "y"}
    assert fill_all(tree, {"x": "1", "y": "2"}) == {"a": ["1", 1, None], "b": {"c": "2"}}


@pytest.mark.parametrize(
    ("text", "count"), [("${", 1), ("${a", 1), ("${}", 1), ("${a b}", 1), ("${a}", 0), ("$${", 0), ("${a}${", 1)]
)
def test_faults_are_found(text: str, count: int) -> None:
    """A hole that never ends, or that has no name, is a fault."""
    assert len(list(faults_in(text))) == count
