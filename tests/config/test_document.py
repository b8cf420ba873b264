"""YAML text to trees and lines."""

import time
from pathlib import Path

import pytest
import yaml

from otelprobe.config.document import MAX_BYTES, parse_document, read_document
from otelprobe.config.faults import ConfigError


def tree(text: str) -> object:
    return parse_document(text, "f.yaml").tree


def refused(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_document(text, "f.yaml")
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *((word, word) for word in ("yes", "no", "on", "off", "y", "N", "nulL", "2027-01-31", "12:30")),
        *((word, word) for word in ("1_000", "0b1", "1e", "+", "+.", ".", "0o8", "2.5.1")),
        *((word, None) for word in ("~", "null", "Null", "NULL", "")),
        ("true", True), ("False", False), ("12", 12), ("-3", -3), ("+4", 4), ("007", 7), ("0o17", 15), ("0x1F", 31),
        ("1.5", 1.5), (".5", 0.5), ("1.", 1.0), ("1e3", 1000.0), ("-.inf", float("-inf")), ("9" * 5000, float("inf")),
        ('"12"', "12"), ("'true'", "true"), ("!!str 12", "12"), ("!!int 12", 12), ("! 12", "12"),
    ],
)  # fmt: skip
def test_scalars_follow_yaml_1_2(text: str, value: object) -> None:
    """A plain scalar is what the core schema of YAML 1.2 says, and quoted ones are text."""
    found = tree(f"a: {text}\n")
    assert found == {"a": value}
    assert isinstance(found, dict)
    assert type(found["a"]) is type(value)


def test_keys_are_text() -> None:
    """A key is the text it is written in, so that statuses and `on` can be keys."""
    assert tree("{200: a, on: b, true: c, null: d, '': e}") == {
        "200": "a",
        "on": "b",
        "true": "c",
        "null": "d",
        "": "e",
    }


def test_lines() -> None:
    """Every key and item knows its line; what is not there gives the line of what is around it."""
    document = parse_document("# head\na:\n  - b: 1\n    c:\n      d: 2\n  - {e: 3,\n     f: 4}\n", "f.yaml")
    assert document.line(("a",)) == 2
    assert document.line(("a", 0)) == 3
    assert document.line(("a", 0, "c")) == 4
    assert document.line(("a", 0, "c", "d")) == 5
    assert document.line(("a", 1, "f")) == 7
    assert document.line(("a", 0, "c", "missing", "deeper")) == 4
    assert document.line(("a", 9)) == 2
    assert str(document.fault(("a", 0, "c", "d"), "wrong")) == "f.yaml:5: a[0].c.d: wrong"


def test_merge_keys() -> None:
    """`<<` adds what is not written: the mapping's own keys win, then the first of a list."""
    text = "x: &x {a: 1, b: 1}\ny: &y {b: 2, c: 2}\nz:\n  <<: [*x, *y]\n  a: 0\nq: {'<<': 1}\n"
    assert tree(text) == {"x": {"a": 1, "b": 1}, "y": {"b": 2, "c": 2}, "z": {"a": 0, "b": 1, "c": 2}, "q": {"<<": 1}}
    document = parse_document(text, "f.yaml")
    assert (document.line(("z", "a")), document.line(("z", "c")), document.line(("z",))) == (5, 2, 3)


def test_keys_written_twice_are_all_told_and_the_first_counts() -> None:
    """Every duplicate is a fault with both lines, and the rest of the file is still read."""
    document = parse_document("a: 1\nb: 2\na: 3\nb: 4\n", "f.yaml")
    assert [str(fault) for fault in document.faults] == [
        "f.yaml:3:1: the key is written twice: here and in line 1; remove one",
        "f.yaml:4:1: the key is written twice: here and in line 2; remove one",
    ]
    assert document.tree == {"a": 1, "b": 2}


def test_aliases_are_bounded() -> None:
    """A file of 300 bytes that stands for a thousand million values is refused at once."""
    rows = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    rows += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    started = time.perf_counter()
    assert "aliases repeat more than 250,000 values" in refused("\n".join(rows))
    assert time.perf_counter() - started < 4


def test_deep_nesting_is_refused_not_fatal() -> None:
    """A hundred thousand open brackets end in a fault."""
    assert "nested more than 64 deep" in refused("[" * 100_000)


@pytest.mark.parametrize(
    "text",
    ["a: hunter2: b", "a: *hunter2", "a: !hunter2 b", "a: '\nhunter2", "a: [hunter2", 'a: "\\hunter2"', "a: @hunter2",
     "a: %hunter2", "&hunter2 *hunter2 : a", "{hunter2: [}", "%hunter2 a\n---\nb", "a: !h!hunter2 b", "? [hunter2]\n: b",
     "a: hunter2\n b: c\n- d", "a: |hunter2\n  b", "a: hunter2\x00", "a: \"hunter2\" hunter2"],
)  # fmt: skip
def test_syntax_faults_show_nothing_of_the_text(text: str) -> None:
    """Whatever is wrong with the YAML, the message holds no part of it, and it has a line."""
    said = refused(text)
    assert "hunter2" not in said
    assert said.startswith("f.yaml:")


def test_repr_shows_no_value() -> None:
    """A document's repr holds nothing that was written in it."""
    assert "hunter2" not in repr(parse_document("a: hunter2", "f.yaml"))


def test_encoding_is_told(tmp_path: Path) -> None:
    """A file that is not UTF-8 is refused with its line; a byte-order mark is no fault."""
    file = tmp_path / "f.yaml"
    file.write_bytes("a: 1\nb: é\n".encode("latin-1"))
    with pytest.raises(ConfigError) as caught:
        read_document(file)
    assert str(caught.value) == f"{file}:2: not UTF-8 text: save the file as UTF-8"
    file.write_bytes("a: 1\n".encode("utf-8-sig"))
    assert read_document(file).tree == {"a": 1}


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    """A missing file is a fault, not a traceback."""
    with pytest.raises(ConfigError) as caught:
        read_document(tmp_path / "none.yaml")
    assert str(caught.value) == f"{tmp_path}/none.yaml: cannot be read: No such file or directory"


def test_a_file_too_large_is_told(tmp_path: Path) -> None:
    """More than the cap is refused unread."""
    file = tmp_path / "f.yaml"
    with file.open("wb") as stream:
        stream.truncate(MAX_BYTES + 1)
    with pytest.raises(ConfigError, match="larger than 16 MiB"):
        read_document(file)


def test_the_parser_without_libyaml_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where PyYAML has no C parser, trees and lines are equal and faults are told as well."""
    text = "x: &x {a: 1, b: no}\nz:\n  <<: *x\n  c: [1, '2', ~]\n"
    fast = parse_document(text, "f.yaml")
    monkeypatch.setattr("otelprobe.config.document._LOADER", yaml.SafeLoader)
    slow = parse_document(text, "f.yaml")
    assert (fast.tree, fast.lines) == (slow.tree, slow.lines)
    assert refused("a:\n\t- b\n") == "f.yaml:2:1: a tab in the indentation: use spaces"
    assert "hunter2" not in refused("a: hunter2: b")
    assert "not closed" in refused("a: [1")
    assert "control character" in refused("a: \x01")
