"""YAML text to a plain tree and the line of everything in it: the one place that knows YAML.

Scalars follow the core schema of YAML 1.2 (section 10.3.2), as the neighbours' files are meant: `no` and `on` are text,
`12:30` and `2027-01-31` are text. Beyond that the reader is strict where a slip would be silent: a key written twice,
a second document, an unknown tag. Built on parser events, not on PyYAML's nodes: every limit is checked on the way,
and half of the time is saved.
"""

import re
from collections.abc import Iterator
from dataclasses import field
from pathlib import Path as FilePath
from typing import Any, NoReturn

import yaml

from otelprobe.config.faults import ConfigError, Fault, Path, path_text
from otelprobe.quick import dataclass

MAX_BYTES = 16 * 1024**2
"""A flow takes less than 1 KiB: a file beyond this is not a flow file."""

MAX_DEPTH = 64
"""No key of a flow file lies deeper than ten; the rest is room for bodies of requests."""

MAX_ALIASED = 250_000
"""How many values aliases may repeat in all: enough for thousands of flows, too few to exhaust memory."""

Lines = int | tuple[int, "dict[str, Lines] | list[Lines]"]
"""The line of a value, and inside a mapping or list those of its members."""

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_STR = "tag:yaml.org,2002:str"
_KINDS = {
    f"tag:yaml.org,2002:{n}": k for n, k in {"null": type(None), "bool": bool, "int": int, "float": float}.items()
}
_CONTAINERS = {None, "!", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"}
_CONSTANTS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_DECIMAL = re.compile(r"[-+]?[0-9]{1,4000}")
_BASED = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(
    r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)
_MAY_BE_NUMBER = frozenset("0123456789+-.")

_MENDS = (
    (
        "mapping values are not allowed",
        "a colon and a space inside a text, or wrong indentation: put the text in quotes",
    ),
    ("could not find expected ':'", "a key without its colon, or a text without its closing quote"),
    ("did not find expected key", "wrong indentation, or text after a closing quote: align it with its neighbours"),
    ("did not find expected '-'", "wrong indentation of a list: put every - under the one before"),
    ("did not find expected ',' or ']'", "a [ that is not closed, or a comma that is missing"),
    ("did not find expected ',' or '}'", "a { that is not closed, or a comma that is missing"),
    ("expected ',' or ']'", "a [ that is not closed, or a comma that is missing"),
    ("expected ',' or '}'", "a { that is not closed, or a comma that is missing"),
    ("unexpected end of stream", "a quote that is not closed"),
    ("unknown escape character", "a backslash in double quotes: use single quotes, or write two backslashes"),
    ("block sequence entries are not allowed", "a - where no list can start: put the list on a line of its own"),
    ("block collections are not allowed", "a list or mapping in lines inside [] or {}: write it with commas"),
    ("undefined tag handle", "a ! at the start of a value is a tag, and tags have no meaning here: put it in quotes"),
    ("expected alphabetic or numeric character", "a * or & at the start of a value: put it in quotes"),
    ("found unexpected document indicator", "a --- or ... inside a quoted text: close the quote"),
    ("expected <block end>", "wrong indentation: align it with its neighbours"),
    ("node content", "a value is missing, or starts with a sign that needs quotes"),
)


@dataclass(frozen=True, slots=True)
class Document:
    """One file's plain tree (dict, list, str, int, float, bool, None) and its lines. Values never show in a repr."""

    file: str
    tree: object = field(repr=False)
    lines: Lines = field(repr=False)
    faults: tuple[Fault, ...] = ()

    def line(self, path: Path) -> int:
        """Give the line of what stands at `path`, or of the nearest thing around it that is there."""
        lines = self.lines
        for part in path:
            members = lines[1] if isinstance(lines, tuple) else None
            if isinstance(members, dict) and part in members:
                lines = members[str(part)]
            elif isinstance(members, list) and isinstance(part, int) and part < len(members):
                lines = members[part]
            else:
                break
        return lines[0] if isinstance(lines, tuple) else lines

    def fault(self, path: Path, message: str) -> Fault:
        """Make the fault of what stands at `path`."""
        return Fault(self.file, self.line(path), path_text(path), message)


def read_document(path: FilePath) -> Document:
    """Read one file; ConfigError if it cannot be read, is too large, or is no sound YAML in UTF-8."""
    file = str(path)
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(
            [Fault(file, None, "", f"cannot be read: {error.strerror or 'input/output error'}")]
        ) from None
    if len(data) > MAX_BYTES:
        message = f"larger than {MAX_BYTES // 1024**2} MiB: split it into several files of one directory"
        raise ConfigError([Fault(file, None, "", message)])
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError([Fault(file, line, "", "not UTF-8 text: save the file as UTF-8")]) from None
    return parse_document(text, file)


def parse_document(text: str, file: str) -> Document:
    """Parse YAML text; ConfigError if it is not sound. Keys written twice are told in `faults`, the first one counts."""
    builder = _Builder(yaml.parse(text, Loader=_LOADER), file)
    try:
        return builder.document()
    except yaml.MarkedYAMLError as error:
        raise ConfigError([_syntax_fault(error, text, file)]) from None
    except yaml.YAMLError as error:
        position = getattr(error, "position", 0)
        line = text.encode("utf-8", "replace")[:position].count(b"\n") + 1
        raise ConfigError([Fault(file, line, "", "a control character: remove it, or write it as an escape")]) from None


def _syntax_fault(error: yaml.MarkedYAMLError, text: str, file: str) -> Fault:
    """Say a syntax error in our own words: the parser's may repeat a part of a value."""
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line, mark.column) if mark else (0, 0)
    lines = text.split("\n")
    row = lines[line] if line < len(lines) else ""
    said = f"{error.problem} {error.context}"
    if "\t" in row[: column + 1] and not row[:column].strip():
        mend = "a tab in the indentation: use spaces"
    elif "cannot start any token" in said:
        mend = "a value that starts with a sign of YAML's own (@, `, %): put it in quotes"
    else:
        mend = next((m for fragment, m in _MENDS if fragment in said), "not sound YAML here")
    return Fault(file, line + 1, "", mend, column + 1)


def resolve_plain(text: str) -> str | int | float | bool | None:
    """Read an unquoted scalar by the core schema of YAML 1.2."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if text[0] in _MAY_BE_NUMBER:
        if _DECIMAL.fullmatch(text):
            return int(text)
        if _BASED.fullmatch(text):
            return int(text, 0)
        if _FLOAT.fullmatch(text):
            return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    return text


@dataclass(slots=True)
class _Anchored:
    value: object
    lines: Lines
    size: int


class _Builder:
    """Builds the tree of one document from parser events."""

    def __init__(self, events: Iterator[Any], file: str) -> None:
        self._events = events
        self._file = file
        self._faults: list[Fault] = []
        self._anchors: dict[str, _Anchored | None] = {}
        self._count = 0
        self._aliased = 0

    def document(self) -> Document:
        """Build the only document of the stream."""
        next(self._events)
        event = next(self._events)
        if isinstance(event, yaml.StreamEndEvent):
            return Document(self._file, None, 1)
        tree, lines = self._node(next(self._events), 0)
        next(self._events)
        event = next(self._events)
        if not isinstance(event, yaml.StreamEndEvent):
            self._refuse(event, "a second document: write one document per file, without --- between")
        return Document(self._file, tree, lines, tuple(self._faults))

    def _refuse(self, event: Any, message: str) -> NoReturn:
        mark = event.start_mark
        raise ConfigError([*self._faults, Fault(self._file, mark.line + 1, "", message, mark.column + 1)])

    def _node(self, event: Any, depth: int) -> tuple[object, Lines]:
        if depth > MAX_DEPTH:
            self._refuse(event, f"nested more than {MAX_DEPTH} deep")
        self._count += 1
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event)
        before, anchor, mark = self._count, event.anchor, event.start_mark
        lines: Lines
        if anchor is not None:
            self._anchors[anchor] = None
        if isinstance(event, yaml.ScalarEvent):
            value, lines = self._scalar(event), mark.line + 1
        elif isinstance(event, yaml.MappingStartEvent):
            value, lines = self._mapping(event, depth)
        else:
            value, lines = self._sequence(event, depth)
        if anchor is not None:
            self._anchors[anchor] = _Anchored(value, lines, self._count - before + 1)
        return value, lines

    def _alias(self, event: Any) -> tuple[object, Lines]:
        if event.anchor not in self._anchors:
            self._refuse(event, "an alias without its anchor: a value that starts with * needs quotes if it is text")
        anchored = self._anchors[event.anchor]
        if anchored is None:
            self._refuse(event, "an alias inside the value that its own anchor names")
        self._count += anchored.size
        self._aliased += anchored.size
        if self._aliased > MAX_ALIASED:
            self._refuse(event, f"aliases repeat more than {MAX_ALIASED:,} values: use fewer")
        return anchored.value, anchored.lines

    def _scalar(self, event: Any) -> object:
        tag = event.tag
        if tag is None:
            return resolve_plain(event.value) if event.implicit[0] and not event.style else event.value
        if tag in {"!", _STR}:
            return event.value
        value = resolve_plain(event.value)
        if tag in _KINDS and type(value) is _KINDS[tag]:
            return value
        return self._refuse(event, "a tag (!...) that has no meaning here: remove it, or put the text in quotes")

    def _check_tag(self, event: Any) -> None:
        if event.tag not in _CONTAINERS:
            self._refuse(event, "a tag (!...) that has no meaning here: remove it")

    def _sequence(self, event: Any, depth: int) -> tuple[object, Lines]:
        self._check_tag(event)
        items: list[object] = []
        lines: list[Lines] = []
        for inner in self._events:
            if isinstance(inner, yaml.SequenceEndEvent):
                break
            item, line = self._node(inner, depth + 1)
            items.append(item)
            # An aliased item stands where it is used; only what is inside it stands where it was written.
            lines.append(_moved(line, inner.start_mark.line + 1))
        return items, (event.start_mark.line + 1, lines)

    def _mapping(self, event: Any, depth: int) -> tuple[object, Lines]:
        self._check_tag(event)
        tree: dict[str, object] = {}
        lines: dict[str, Lines] = {}
        merged: list[tuple[object, Lines]] = []
        for inner in self._events:
            if isinstance(inner, yaml.MappingEndEvent):
                break
            key, line = self._key(inner), inner.start_mark.line + 1
            value, inside = self._node(next(self._events), depth + 1)
            if key == "<<" and not inner.style:
                merged.extend(self._mergeable(inner, value, inside))
            elif key in tree:
                self._twice(inner, lines[key])
            else:
                tree[key], lines[key] = value, _moved(inside, line)
        for part, part_lines in merged:
            _merge(tree, lines, part, part_lines)
        return tree, (event.start_mark.line + 1, lines)

    def _key(self, event: Any) -> str:
        """Read a key as the text it is written in: 200 and true are names here."""
        if not isinstance(event, yaml.ScalarEvent) or event.tag not in {None, "!", _STR}:
            self._refuse(event, "a key that is no plain text: put {{...}}, *... and !... in quotes")
        if not event.value and not event.style:
            self._refuse(event, "an empty key: write a name before the colon")
        return str(event.value)

    def _twice(self, event: Any, first: Lines) -> None:
        line = first[0] if isinstance(first, tuple) else first
        message = f"the key is written twice: here and in line {line}; remove one"
        mark = event.start_mark
        self._faults.append(Fault(self._file, mark.line + 1, "", message, mark.column + 1))

    def _mergeable(self, event: Any, value: object, lines: Lines) -> Iterator[tuple[object, Lines]]:
        inside = lines[1] if isinstance(lines, tuple) else None
        parts = list(zip(value, inside, strict=True)) if isinstance(value, list) and isinstance(inside, list) else None
        for part, part_lines in parts or [(value, lines)]:
            if not isinstance(part, dict):
                self._refuse(event, "<< wants an alias of a mapping, or a list of such: <<: *name")
            yield part, part_lines


def _moved(lines: Lines, line: int) -> Lines:
    return (line, lines[1]) if isinstance(lines, tuple) else line


def _merge(tree: dict[str, object], lines: dict[str, Lines], part: object, part_lines: Lines) -> None:
    """Add the keys of a merged mapping that are not there yet."""
    members = part_lines[1] if isinstance(part_lines, tuple) else None
    if isinstance(part, dict) and isinstance(members, dict):
        for key, value in part.items():
            if key not in tree:
                tree[key], lines[key] = value, members[key]
