"""Frozen dataclasses with an `__init__` of our own behave as they do without it."""

import dataclasses
import pickle
from collections.abc import Callable
from copy import copy
from dataclasses import FrozenInstanceError, field, fields, replace
from typing import Any

import pytest

from otelprobe.quick import dataclass, lazy, quick


@dataclasses.dataclass(frozen=True, slots=True)
class Plain:
    """A class with every kind of field that is used."""

    first: int
    second: str = "two"
    third: list[int] = field(default_factory=list, repr=False)
    fourth: float | None = field(default=None, kw_only=True)


@dataclass(frozen=True, slots=True)
class Shared:
    """The same, with the methods that all share."""

    first: int
    second: str = "two"
    third: list[int] = field(default_factory=list, repr=False)
    fourth: float | None = field(default=None, kw_only=True)


@quick
@dataclass(frozen=True, slots=True)
class Quick:
    """The same, made quick."""

    first: int
    second: str = "two"
    third: list[int] = field(default_factory=list, repr=False)
    fourth: float | None = field(default=None, kw_only=True)


class Base:
    """What another class stands on."""

    __slots__ = ()


class Lazy:
    """Something with a value that is worked out when it is asked for."""

    def __init__(self, parts: list[int]) -> None:
        self.parts = parts
        self.asked = 0

    @lazy
    def total(self) -> int:
        """Add up."""
        self.asked += 1
        return sum(self.parts)


def values(of: Any) -> list[object]:
    """Give what an instance holds, in order."""
    return [getattr(of, f.name) for f in fields(of)]


@pytest.mark.parametrize(
    "make",
    [
        lambda kind: kind(1),
        lambda kind: kind(1, "b", [3], fourth=4.0),
        lambda kind: kind(second="b", first=2),
        lambda kind: replace(kind(1, third=[3]), second="c"),
    ],
)
@pytest.mark.parametrize("kind", [Shared, Quick])
def test_ours_holds_what_a_plain_one_does(make: Callable[[Any], Any], kind: type):
    """Positions, names, defaults, factories and `replace` give the same values and the same repr."""
    ours, plain = make(kind), make(Plain)
    assert values(ours) == values(plain)
    assert repr(ours) == repr(plain).replace("Plain", kind.__name__)
    assert ours == make(kind)
    assert ours != plain


@pytest.mark.parametrize(
    "make", [lambda kind: kind(), lambda kind: kind(1, "b", [], 4.0), lambda kind: kind(1, more=2)]
)
def test_a_wrong_call_is_refused(make: Callable[[Any], Any]):
    """What is missing, one too many or unknown is a TypeError, as in a plain class."""
    for kind in (Plain, Shared, Quick):
        with pytest.raises(TypeError, match=rf"{kind.__name__}\.__init__\(\)"):
            make(kind)


def test_each_instance_has_a_default_of_its_own():
    """What a factory makes is not shared."""
    assert Quick(1).third is not Quick(1).third


@pytest.mark.parametrize("kind", [Plain, Shared, Quick])
def test_it_stays_frozen(kind: Any):
    """A field can neither be set nor deleted once the instance is made."""
    made = kind(1)
    with pytest.raises(FrozenInstanceError, match="cannot assign to field 'first'"):
        made.first = 2
    with pytest.raises(FrozenInstanceError, match="cannot delete field 'first'"):
        del made.first


@pytest.mark.parametrize("library", [dataclasses.dataclass, dataclass])
def test_equality_hash_and_start(library: Any):
    """What is compared decides both; a method of the class's own stays; what follows the fields is done; none is no field."""

    @library(frozen=True)
    class Known:
        name: str
        note: str = field(default="", compare=False)
        length: int = field(default=0, init=False)

        def __post_init__(self) -> None:
            object.__setattr__(self, "length", len(self.name))

        def __repr__(self) -> str:
            return self.name

    @library(frozen=True, kw_only=True)
    class Further(Known):
        more: int = 1

    @library(frozen=True, slots=True)
    class Nothing:
        pass

    @library(frozen=True, eq=False)
    class Itself:
        name: str

    assert Known("a", "b") == Known("a", "c")
    assert hash(Known("a", "b")) == hash(Known("a", "c"))
    assert Known("a") != Known("b")
    assert Known("a") != Further("a")
    assert (Known("abc").length, repr(Known("abc"))) == (3, "abc")
    assert Further("a", more=2) != Further("a", more=3)
    assert {Nothing(): 1}[Nothing()] == 1
    assert Itself("a") != Itself("a")
    with pytest.raises(TypeError, match="unhashable"):
        hash(Shared(1))


@pytest.mark.parametrize("kind", [Plain, Shared, Quick])
def test_copies_and_pickles(kind: Any):
    """Both give an equal one, although no field can be set."""
    made = kind(1, "b", [3], fourth=4.0)
    assert copy(made) == pickle.loads(pickle.dumps(made)) == made


def test_what_is_not_made_of_its_fields_alone_is_refused():
    """A class whose `__init__` does more than set fields would lose it, so that it is refused."""

    @dataclass(frozen=True, slots=True)
    class More:
        first: int

        def __post_init__(self) -> None:
            assert self.first

    @dataclass(frozen=True, slots=True)
    class Less:
        first: int = field(default=1, init=False)

    for kind in (More, Less):
        with pytest.raises(TypeError, match="is not made of its fields alone"):
            quick(kind)


def test_nothing_shows_how_a_quick_one_was_made():
    """An instance is of its own class, holds nothing but its fields, and can be copied."""
    made = Quick(1, "b", [3], fourth=4.0)
    assert type(made) is Quick
    assert not hasattr(made, "__dict__")
    assert copy(made) == made
    assert type(copy(made)) is Quick


def test_a_quick_class_may_stand_on_another():
    """A class with a base of its own is made quick as well."""

    @quick
    @dataclass(frozen=True, slots=True)
    class Further(Base):
        first: int

    assert isinstance(Further(1), Base)
    assert Further(first=1) == Further(1)


def test_a_failing_factory_is_told():
    """What a factory raises reaches the caller."""

    def broken() -> int:
        raise LookupError("nothing there")

    @quick
    @dataclass(frozen=True, slots=True)
    class Fragile:
        first: int = field(default_factory=broken)

    with pytest.raises(LookupError, match="nothing there"):
        Fragile()


def test_a_lazy_value_is_worked_out_once_for_each_instance():
    """It is made when it is first asked for, kept, and nobody else's; the class gives the descriptor."""
    one, other = Lazy([1]), Lazy([2, 3])
    assert (one.total, one.total, other.total) == (1, 1, 5)
    assert (one.asked, other.asked) == (1, 1)
    assert Lazy.total.__doc__ == "Add up."
