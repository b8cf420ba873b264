"""Trees to dataclasses by their annotations."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Literal

import pytest

from otelprobe.config.decode import Variant, decode, reader_for
from otelprobe.config.faults import path_text
from otelprobe.fields import Duration, JsonPath, SecretRef


class Color(StrEnum):
    RED = "red"
    DARK_BLUE = "dark-blue"


@dataclass(frozen=True, slots=True, kw_only=True)
class Inner:
    name: str = field(default="", metadata={"from": "key"})
    low: int = 0
    high: int = 9

    def faults(self) -> Iterator[tuple[str, str]]:
        if self.low > self.high:
            yield "low", "low is above high"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outer:
    text: str
    ratio: float = 0.5
    on: bool = False
    level: Literal["info", "debug"] = "info"
    version: Literal[1, 2] | None = None
    color: Color = Color.RED
    wait: Duration | None = None
    items: tuple[int, ...] = ()
    by_path: Mapping[JsonPath, int] = field(default_factory=dict)
    inner: Inner = field(default_factory=Inner)
    inners: Mapping[str, Inner] = field(default_factory=dict)
    secret: SecretRef | None = None
    either: str | SecretRef | None = None
    number_or_list: int | tuple[str, ...] = 0
    two_shapes: Inner | Mapping[str, str] = field(default_factory=dict)
    free: object = None


def read(tree: object) -> Outer | list[str]:
    faults: list[str] = []
    found = decode(Outer, tree, lambda path, message: faults.append(f"{path_text(path)}: {message}"))
    assert (found is None) == bool(faults)
    return faults or found  # type: ignore[return-value] # one of them is there


def test_every_form_of_annotation_is_read() -> None:
    """Each annotation gives its value; what is not written has its default."""
    tree = {
        "text": "a", "ratio": 1, "on": True, "level": "debug", "version": 2, "color": "dark-blue", "wait": "250ms",
        "items": [1, 2], "by_path": {"$.a": 1}, "inner": {"low": 3}, "inners": {"x": {"low": 1}},
        "secret": {"file": "/s"}, "either": {"env": "E"}, "number_or_list": ["a"], "two_shapes": {"a": "b"},
        "free": {"a": [1, None]},
    }  # fmt: skip
    assert read(tree) == Outer(
        text="a", ratio=1.0, on=True, level="debug", version=2, color=Color.DARK_BLUE, wait=0.25, items=(1, 2),
        by_path={"$.a": 1}, inner=Inner(low=3), inners={"x": Inner(name="x", low=1)}, secret=SecretRef(file="/s"),
        either=SecretRef(env="E"), number_or_list=("a",), two_shapes={"a": "b"}, free={"a": [1, None]},
    )  # fmt: skip
    assert read({"text": "a"}) == Outer(text="a")


def test_a_key_without_a_value_means_the_default_where_members_would_follow() -> None:
    """`inner:` with everything below it commented out is no fault; `ratio:` with nothing is."""
    assert read({"text": "a", "inner": None, "by_path": None, "items": None, "secret": None}) == Outer(text="a")
    assert read({"text": "a", "ratio": None}) == [
        "ratio: expected a finite number without quotes, found nothing: write a value, or leave the key out"
    ]


def test_every_fault_is_told_at_once() -> None:
    """One reading tells all that is wrong, each with its path and a mend."""
    tree = {
        "ratio": "x", "on": "yes", "level": "inof", "version": 3, "color": "blue", "wait": 5, "items": [1, "2", True],
        "by_path": {"a": "b"}, "inner": {"low": 10}, "inners": {"x": {"lo": 1}, "y": 5}, "secret": "hunter2",
        "either": 5, "number_or_list": {}, "two_shapes": {"low": "x"}, "zzz": 1,
    }  # fmt: skip
    assert read(tree) == [
        "zzz: unknown key; known: " + ", ".join(Outer.__dataclass_fields__),
        "ratio: expected a finite number without quotes, found text",
        "on: expected true or false without quotes (yes, no, on and off are text), found text",
        "level: unknown word; did you mean info?",
        "version: expected one of 1, 2",
        "color: unknown word; did you mean dark-blue?",
        "wait: a duration needs a unit: write 250ms, 5s, 15m, 2h or 90d",
        "items[1]: expected a whole number without quotes, found text",
        "items[2]: expected a whole number without quotes, found true or false",
        "by_path.a: not a JSONPath: it starts with $, as in $.status",
        "by_path.a: expected a whole number without quotes, found text",
        "inner.low: low is above high",
        "inners.x.lo: unknown key; did you mean low?",
        "inners.y: expected a mapping of low, high, found a number",
        "secret: a literal secret is refused: write {env: NAME} or {file: PATH}",
        "either: expected text or {env: NAME} or {file: PATH}, found a number",
        "number_or_list: expected a whole number or a list, found a mapping",
        "text: missing: add text",
    ]


def test_a_mistyped_key_is_not_told_as_missing_too() -> None:
    """`txet` for a required `text` is one fault, not two."""
    assert read({"txet": "a"}) == ["txet: unknown key; did you mean text?"]


@pytest.mark.parametrize("value", [float("inf"), float("nan"), 10**400])
def test_a_number_is_finite(value: float) -> None:
    """Numbers that no metric or JSON could hold are refused."""
    assert read({"text": "a", "ratio": value}) == ["ratio: expected a finite number without quotes, found a number"]


@pytest.mark.parametrize(
    "value", ["hunter2", 5, True, ["hunter2"], {"hunter2": None}, {"env": "A", "file": "hunter2"}, {"env": 5},
              {"env": "hunter=2"}, {"file": ""}, {"value": "hunter2"}, {}, {"env": "a\x00hunter2"}]
)  # fmt: skip
def test_no_fault_of_a_secret_shows_it(value: object) -> None:
    """Whatever stands where a secret is referred to is refused without a word of it, key or value."""
    said = read({"text": "a", "secret": value})
    assert isinstance(said, list)
    assert "hunter" not in said[0]
    assert "{env: NAME}" in said[0] or "expected the" in said[0]


@dataclass(frozen=True, kw_only=True)
class Circle:
    name: str = ""
    radius: int


@dataclass(frozen=True, kw_only=True)
class Dot:
    name: str = ""


Shape = Annotated[
    object, Variant("shape", lambda: ("circle", "dot"), {"circle": Circle, "dot": Dot}.__getitem__, "name")
]


@dataclass(frozen=True, kw_only=True)
class Drawing:
    shapes: tuple[Shape, ...] = ()


def draw(shapes: object) -> object:
    faults: list[str] = []
    found = decode(Drawing, {"shapes": shapes}, lambda path, message: faults.append(f"{path_text(path)}: {message}"))
    return faults if found is None else found.shapes


def test_a_variant_is_the_class_that_its_word_says() -> None:
    """A word or a mapping with the word gives that class, named after the word unless it has a name."""
    found = draw(["dot", {"shape": "circle", "radius": 1}, {"shape": "dot", "name": "x"}])
    assert found == (Dot(name="dot"), Circle(name="circle", radius=1), Dot(name="x"))


def test_a_variant_has_only_the_members_of_its_kind() -> None:
    """A member of another kind is unknown here, and a bare word that lacks something says what."""
    assert draw([{"shape": "dot", "radius": 1}, "circle", "circel", {"dot": {}}]) == [
        "shapes[0].radius: unknown key; known: shape, name",
        "shapes[1]: circle cannot be a bare word: write {shape: circle, radius: ...}",
        "shapes[2]: unknown kind; did you mean circle?",
        "shapes[3].shape: missing: write shape: dot and its parameters beside it",
    ]


def test_an_annotation_without_a_meaning_is_our_own_fault() -> None:
    """A class written with an annotation that no file can hold fails when it is first read, not silently."""
    with pytest.raises(TypeError, match="no reader"):
        reader_for(complex)
