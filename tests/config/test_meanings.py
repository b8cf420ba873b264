"""What each parameter means stands below it, and nowhere else."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass, make_dataclass
from typing import Any, get_args

import pytest

from otelprobe.config.decode import plan_for
from otelprobe.config.json_schema import flow_file_schema
from otelprobe.config.meanings import meanings
from otelprobe.config.models import FlowFile
from otelprobe.config.settings import Settings
from otelprobe.fields import Scalar
from otelprobe.steps import STEPS, step_class


def _classes_in(annotation: Any) -> Iterator[type]:
    """Give the dataclasses of an annotation whose members are written one by one, not read from one text."""
    if any(isinstance(part, Scalar) for part in get_args(annotation)):
        return
    if isinstance(annotation, type) and is_dataclass(annotation):
        yield annotation
    for part in get_args(annotation):
        yield from _classes_in(part)


def _reached(*roots: type) -> dict[str, type]:
    """Give every dataclass that can be written somewhere in these, by name."""
    found: dict[str, type] = {}
    waiting = list(roots)
    while waiting:
        cls = waiting.pop()
        if cls.__name__ not in found:
            found[cls.__name__] = cls
            waiting += [c for member in plan_for(cls).members.values() for c in _classes_in(member.annotation)]
    return found


WRITTEN = _reached(FlowFile, Settings, *(step_class(kind) for kind in STEPS))


def test_the_classes_are_found() -> None:
    """The tests below look at everything that can be written, however deep it stands."""
    assert WRITTEN.keys() >= {"FlowFile", "Flow", "Provider", "Objective", "Telemetry", "HttpOptions", "SecretRef"}
    assert WRITTEN.keys() >= {"Step", "Expect", "TokenExpect", "RefreshExpect", "IntrospectExpect", "Settings"}
    assert WRITTEN.keys() >= {"Auth", "ApiKey", "Basic", "VerificationKey", *(step_class(k).__name__ for k in STEPS)}


@pytest.mark.parametrize("cls", WRITTEN.values(), ids=WRITTEN)
def test_every_parameter_has_a_meaning(cls: type) -> None:
    """A parameter that nobody described cannot be added."""
    assert list(meanings(cls)) == [field.name for field in fields(cls)]


@pytest.mark.parametrize("cls", WRITTEN.values(), ids=WRITTEN)
def test_meanings_are_short_sentences(cls: type) -> None:
    """A meaning fits the hover text of an editor and a cell of a table: one line, a capital or a word of code, a full stop."""
    for name, words in meanings(cls).items():
        assert re.fullmatch(r"[A-Z`][^\n]{0,198}\.", words), f"{cls.__name__}.{name}: {words}"
        assert not re.search(r"\w- ", words), f"{cls.__name__}.{name} has a word that a line end splits"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Base:
    """A docstring, which is no meaning."""

    plain: int = 0
    """From the base."""

    narrowed: object = None
    """For every kind."""

    bare: str = ""
    later: str = ""
    """Two
    lines.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kind(_Base):
    narrowed: int = 1
    """For this kind."""

    bare: str = "x"


def test_the_string_below_a_field_is_its_meaning() -> None:
    """Strings belong to the field above them, in one line; a field without one has no meaning."""
    assert meanings(_Base) == {"plain": "From the base.", "narrowed": "For every kind.", "later": "Two lines."}


def test_the_nearest_class_has_the_word() -> None:
    """A kind may say anew what an inherited parameter means for it, and inherits the rest, in the order of the fields."""
    assert meanings(_Kind) == {**meanings(_Base), "narrowed": "For this kind."}
    assert list(meanings(_Kind)) == ["plain", "narrowed", "later"]


def test_without_source_there_are_no_meanings() -> None:
    """Where only compiled files are installed, the schema is still made."""
    assert meanings(make_dataclass("Made", ["member"])) == {}


def test_the_schema_says_what_each_parameter_means() -> None:
    """An editor shows for every member the words that stand below it, and no member is left out."""
    schema: Any = flow_file_schema()
    names = {"FlowFile": schema, **schema["$defs"]}
    names |= {step_class(kind).__name__: names.pop(f"step.{kind}") for kind in STEPS}
    assert names.keys() == WRITTEN.keys() - {"Settings", "Step"}
    for name, definition in names.items():
        shown = {member: said.get("description") for member, said in definition["properties"].items()}
        shown.pop("step", None)
        assert shown == {member: meanings(WRITTEN[name])[member] for member in plan_for(WRITTEN[name]).members}
