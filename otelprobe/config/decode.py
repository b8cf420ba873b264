"""Plain trees to frozen dataclasses: the annotations are the grammar, and every fault is told at once.

A reader is made once for each annotation and kept. It understands str, int, float, bool, object, Literal, StrEnum,
`X | Y`, tuple[T, ...], Mapping[K, T], dataclasses, SecretRef, and Annotated with a `Scalar` or a `Variant`. A dataclass may have
`faults()` that yields (member, mend) for what does not fit together. No message shows a value: it may be a secret.
"""

import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import StrEnum
from functools import cache
from math import isfinite
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

from otelprobe.config.faults import Path, nearest, suggest
from otelprobe.fields import Scalar, SecretRef
from otelprobe.quick import dataclass

T = TypeVar("T")
Report = Callable[[Path, str], None]
Read = Callable[[object, Path, Report], Any]

BAD: Any = object()
"""What a reader gives after it has reported a fault."""

FROM_KEY = "key"
"""`field(metadata={"from": "key"})`: the member is the key under which the mapping stands, and is not written."""

LITERAL_SECRET = "a literal secret is refused: write {env: NAME} or {file: PATH}"  # noqa: S105 - prose about secrets

_ANY: frozenset[type] = frozenset({str, int, float, bool, dict, list, type(None)})
_WORDS: Mapping[type, str] = {
    str: "text",
    int: "a number",
    float: "a number",
    bool: "true or false",
    dict: "a mapping",
    list: "a list",
    type(None): "nothing",
}


class Reader(NamedTuple):
    """How one annotation is read: the function, the kinds of value it is for, and its words in a message."""

    read: Read
    shapes: frozenset[type]
    words: str


@dataclass(frozen=True, slots=True, eq=False)
class Variant:
    """Metadata of an annotation: which dataclass a mapping is, its member `key` says (`step: token`).

    `kinds` gives the known words, `load` the class of one. A bare word is a mapping with nothing else. The member
    `named` is set to the word where it is not written.
    """

    key: str
    kinds: Callable[[], Iterable[str]]
    load: Callable[[str], type]
    named: str


@dataclass(frozen=True, slots=True)
class Member:
    """One member of a dataclass as it may be written. `blank`: a key without a value means the default."""

    name: str
    annotation: Any
    reader: Reader
    required: bool
    blank: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """What may be written for one dataclass."""

    cls: type
    members: Mapping[str, Member]
    required: tuple[str, ...]
    from_key: str | None


def decode(cls: type[T], tree: object, report: Report, path: Path = ()) -> T | None:
    """Read a tree as a dataclass; None if anything was wrong, and then everything that is was reported."""
    value: Any = _dataclass(cls).read(tree, path, report)
    return None if value is BAD else value


@cache
def plan_for(cls: type) -> Plan:
    """Give what may be written for a dataclass; members with `metadata={"from": ...}` are not."""
    hints = get_type_hints(cls, include_extras=True)
    members: dict[str, Member] = {}
    from_key = None
    for f in fields(cls):
        if "from" in f.metadata:
            from_key = f.name if f.metadata["from"] == FROM_KEY else from_key
            continue
        required = f.default is MISSING and f.default_factory is MISSING
        reader = reader_for(hints[f.name])
        blank = not required and reader.shapes <= {dict, list}
        members[f.name] = Member(f.name, hints[f.name], reader, required, blank)
    return Plan(cls, members, tuple(m.name for m in members.values() if m.required), from_key)


@cache
def reader_for(annotation: Any) -> Reader:
    """Make the reader of an annotation; TypeError for one that has no meaning in a flow file."""
    origin, args = get_origin(annotation), get_args(annotation)
    if annotation in _PRIMITIVES:
        return _PRIMITIVES[annotation]
    if origin is Annotated:
        return _annotated(args[0], args[1:])
    if origin in {Union, types.UnionType}:
        return _union(args)
    if origin is Literal:
        return _literal(args)
    if origin is tuple and len(args) == 2 and args[1] is Ellipsis:
        return _list_of(args[0])
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return _mapping_of(*args)
    if isinstance(annotation, type) and issubclass(annotation, StrEnum):
        return _enum(annotation)
    if isinstance(annotation, type) and is_dataclass(annotation):
        return _dataclass(annotation)
    raise TypeError(f"no reader for the annotation {annotation!r}")


def wrong_type(words: str, value: object) -> str:
    """Say what is expected and what kind of thing was found, with the usual mend."""
    found = _WORDS.get(type(value), "something else")
    if value is None:
        return f"expected {words}, found nothing: write a value, or leave the key out"
    if words == "text" and not isinstance(value, dict | list):
        return f"expected text, found {found}: put it in quotes"
    if words == "a list":
        return f"expected a list, found {found}: write [a, b], or one item per line after -"
    return f"expected {words}, found {found}"


# --- plain values ---


def _text(value: object, path: Path, report: Report) -> Any:
    if isinstance(value, str):
        return value
    report(path, wrong_type("text", value))
    return BAD


def _integer(value: object, path: Path, report: Report) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    report(path, wrong_type("a whole number without quotes", value))
    return BAD


def _number(value: object, path: Path, report: Report) -> Any:
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            number = float("inf")
        if isfinite(number):
            return number
    report(path, wrong_type("a finite number without quotes", value))
    return BAD


def _boolean(value: object, path: Path, report: Report) -> Any:
    if isinstance(value, bool):
        return value
    report(path, wrong_type("true or false without quotes (yes, no, on and off are text)", value))
    return BAD


def _anything(value: object, path: Path, report: Report) -> Any:
    _ = path, report
    return value


def _secret(value: object, path: Path, report: Report) -> Any:
    """Read a SecretRef. Keys are not shown either: a secret may stand there by mistake, as in `{hunter2}`."""
    if value is None:
        report(path, "nothing is set here: write {env: NAME} or {file: PATH}")
    elif not isinstance(value, dict):
        report(path, LITERAL_SECRET)
    elif len(value) != 1 or not value.keys() <= {"env", "file"}:
        report(path, "a secret has exactly one of env and file: write {env: NAME} or {file: PATH}")
    else:
        ((key, source),) = value.items()
        if isinstance(source, str) and source.strip() and "\x00" not in source and not (key == "env" and "=" in source):
            return SecretRef(**{key: source})
        wanted = "the name of an environment variable" if key == "env" else "the path of a file"
        report((*path, key), f"expected {wanted}")
    return BAD


_PRIMITIVES: Mapping[Any, Reader] = {
    str: Reader(_text, frozenset({str}), "text"),
    int: Reader(_integer, frozenset({int}), "a whole number"),
    float: Reader(_number, frozenset[type]({int, float}), "a number"),
    bool: Reader(_boolean, frozenset({bool}), "true or false"),
    object: Reader(_anything, _ANY, "anything"),
    SecretRef: Reader(_secret, _ANY - {type(None)}, "{env: NAME} or {file: PATH}"),
}


# --- closed sets and text forms ---


def _choice(words: Mapping[str, object], value: object) -> str:
    """Say which words there are; the nearest one if text was found."""
    listed = ", ".join(words)
    if isinstance(value, str):
        return f"unknown word; {suggest(value, words)}" if words else "no word is known here"
    return wrong_type(f"one of {listed}", value)


def _from_table(table: Mapping[str, object]) -> Read:
    def read(value: object, path: Path, report: Report) -> Any:
        if isinstance(value, str) and value in table:
            return table[value]
        report(path, _choice(table, value))
        return BAD

    return read


def _literal(options: tuple[Any, ...]) -> Reader:
    texts = {o: o for o in options if isinstance(o, str)}
    if len(texts) == len(options):
        return Reader(_from_table(texts), frozenset({str}), f"one of {', '.join(options)}")
    words = f"one of {', '.join(_spelled(o) for o in options)}"

    def read(value: object, path: Path, report: Report) -> Any:
        for option in options:
            if type(option) is type(value) and option == value:
                return option
        report(path, f"expected {words}")
        return BAD

    return Reader(read, frozenset(type(o) for o in options), words)


def _spelled(option: object) -> str:
    return str(option).lower() if isinstance(option, bool) or option is None else str(option)


def _enum(cls: type[StrEnum]) -> Reader:
    table = {member.value: member for member in cls}
    return Reader(_from_table(table), frozenset({str}), f"one of {', '.join(table)}")


def _annotated(annotation: Any, metadata: tuple[Any, ...]) -> Reader:
    for note in metadata:
        if isinstance(note, Scalar):
            return Reader(_scalar(note), _ANY - {type(None)}, "")
        if isinstance(note, Variant):
            return _variant(note)
    return reader_for(annotation)


def _scalar(scalar: Scalar) -> Read:
    parse = scalar.parse

    def read(value: object, path: Path, report: Report) -> Any:
        try:
            return parse(value)
        except ValueError as error:
            report(path, f"nothing is set here: {error}" if value is None else str(error))
        return BAD

    return read


# --- forms of several ---


def _union(options: tuple[Any, ...]) -> Reader:
    """Read `X | Y` by the kind of value that was found; where several are for it, the first that has no fault."""
    readers = [reader_for(o) for o in options if o is not type(None)]
    if str in options and SecretRef in options:
        # Beside text a secret is always a mapping: a number without quotes is no secret, but text without quotes.
        readers = [r._replace(shapes=frozenset({dict})) if r is _PRIMITIVES[SecretRef] else r for r in readers]
    shapes = frozenset[type]().union(*(r.shapes for r in readers))
    words = " or ".join(r.words for r in readers)
    if type(None) in options:
        shapes |= {type(None)}
        only = readers[0] if len(readers) == 1 else Reader(_first_of(readers, words), shapes, words)
        return Reader(_optional(only.read), shapes, words)
    return Reader(_first_of(readers, words), shapes, words)


def _optional(read: Read) -> Read:
    def read_optional(value: object, path: Path, report: Report) -> Any:
        return None if value is None else read(value, path, report)

    return read_optional


def _first_of(readers: list[Reader], words: str) -> Read:
    def read(value: object, path: Path, report: Report) -> Any:
        fitting = [r for r in readers if type(value) in r.shapes]
        if not fitting:
            report(path, wrong_type(words, value))
            return BAD
        attempts: list[list[tuple[Path, str]]] = []
        for reader in fitting:
            faults: list[tuple[Path, str]] = []
            found = reader.read(value, path, lambda p, m, faults=faults: faults.append((p, m)))  # type: ignore[misc] # a lambda's default has no annotation
            if found is not BAD:
                return found
            attempts.append(faults)
        for place, message in min(attempts, key=len):
            report(place, message)
        return BAD

    return read


def _list_of(annotation: Any) -> Reader:
    item = reader_for(annotation).read

    def read(value: object, path: Path, report: Report) -> Any:
        if not isinstance(value, list):
            report(path, wrong_type("a list", value))
            return BAD
        items = tuple([item(v, (*path, i), report) for i, v in enumerate(value)])
        return BAD if BAD in items else items

    return Reader(read, frozenset({list}), "a list")


def _mapping_of(key_annotation: Any, annotation: Any) -> Reader:
    read_key = reader_for(key_annotation).read if key_annotation is not str else None
    read_item = reader_for(annotation).read
    keyed = _is_keyed(annotation)

    def read(value: object, path: Path, report: Report) -> Any:
        if not isinstance(value, dict):
            report(path, wrong_type("a mapping", value))
            return BAD
        found: dict[Any, Any] = {}
        for name, item in value.items():
            place = (*path, name)
            key = name if read_key is None else read_key(name, place, report)
            found[key] = (
                _read_members(plan_for(annotation), item, place, report, key)
                if keyed
                else read_item(item, place, report)
            )
        return BAD if BAD in found or any(v is BAD for v in found.values()) else found

    return Reader(read, frozenset({dict}), "a mapping")


def _is_keyed(annotation: Any) -> bool:
    """Tell whether an annotation is a dataclass one of whose members is the key it stands under."""
    return (
        isinstance(annotation, type)
        and is_dataclass(annotation)
        and any(f.metadata.get("from") == FROM_KEY for f in fields(annotation))
    )


def _dataclass(cls: type) -> Reader:
    def read(value: object, path: Path, report: Report) -> Any:
        return _read_members(plan_for(cls), value, path, report)

    return Reader(read, frozenset({dict}), "a mapping")


def _read_members(plan: Plan, value: object, path: Path, report: Report, key: object = None) -> Any:
    if not isinstance(value, dict):
        report(path, wrong_type(f"a mapping of {', '.join(plan.members)}", value))
        return BAD
    preset = {plan.from_key: key} if plan.from_key is not None and isinstance(key, str) else {}
    return build(plan, value, path, report, preset=preset)


def build(
    plan: Plan,
    tree: Mapping[str, object],
    path: Path,
    report: Report,
    *,
    preset: Mapping[str, object],
    besides: tuple[str, ...] = (),
) -> Any:
    """Make a dataclass of a mapping's members; BAD if one is unknown, missing or wrong, or if they do not fit together.

    `preset` gives members that need not be written; keys named in `besides` belong to somebody else.
    """
    values: dict[str, Any] = dict(preset)
    unknown = [name for name in tree if name not in plan.members and name not in besides]
    good = not unknown
    for name in unknown:
        report((*path, name), f"unknown key; {suggest(name, [*besides, *plan.members])}")
    for name, item in tree.items():
        member = plan.members.get(name)
        if member is None:
            continue
        if item is not None or not member.blank:
            values[name] = member.reader.read(item, (*path, name), report)
            good = good and values[name] is not BAD
    for name in plan.required:
        if name not in tree and name not in preset:
            good = False
            if all(nearest(mistyped, plan.members) != name for mistyped in unknown):
                report((*path, name), f"missing: add {name}")
    return _checked(plan.cls(**values), path, report) if good else BAD


def _checked(made: Any, path: Path, report: Report) -> Any:
    """Ask a made value for what does not fit together; `member` may lead deeper, as in `steps.2.name`."""
    check = getattr(made, "faults", None)
    if check is None:
        return made
    good = True
    for member, mend in check():
        parts = [int(part) if part.isdigit() else part for part in member.split(".") if part]
        report((*path, *parts), mend)
        good = False
    return made if good else BAD


# --- a mapping whose kind is named by a member ---


def _variant(variant: Variant) -> Reader:
    def read(value: object, path: Path, report: Report) -> Any:
        found = _kind_of(variant, value, path, report)
        if found is None:
            return BAD
        kind, rest = found
        plan = plan_for(variant.load(kind))
        lacking = [name for name in plan.required if name not in rest]
        if isinstance(value, str) and lacking:
            report(path, f"{kind} cannot be a bare word: write {{{variant.key}: {kind}, {lacking[0]}: ...}}")
            return BAD
        preset = {variant.named: kind} if variant.named not in rest else {}
        return build(plan, rest, path, report, preset=preset, besides=(variant.key,))

    return Reader(read, frozenset({str, dict}), f"a mapping with {variant.key}: or a bare word")


def _kind_of(variant: Variant, value: object, path: Path, report: Report) -> tuple[str, Mapping[str, object]] | None:
    """Find the word that says the kind, and the members beside it."""
    kinds = list(variant.kinds())
    if isinstance(value, str):
        word, place, rest = value, path, dict[str, object]()
    elif not isinstance(value, dict):
        report(path, wrong_type(f"a mapping with {variant.key}: or a bare word", value))
        return None
    elif variant.key not in value:
        near = next((key for key in value if key in kinds), None)
        mend = f"write {variant.key}: {near} and its parameters beside it" if near else f"one of {', '.join(kinds)}"
        report((*path, variant.key), f"missing: {mend}")
        return None
    else:
        word, place, rest = value[variant.key], (*path, variant.key), value
    if isinstance(word, str) and word in kinds:
        return word, rest
    message = (
        f"unknown kind; {suggest(word, kinds)}"
        if isinstance(word, str)
        else wrong_type(f"one of {', '.join(kinds)}", word)
    )
    report(place, message)
    return None
