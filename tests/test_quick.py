"""Frozen dataclasses with an `__init__` of our own behave as they do without it."""

from collections.abc import Callable
from copy import copy
from dataclasses import FrozenInstanceError, dataclass, field, fields, replace
from typing import Any

import pytest

from otelprobe.quick import lazy, quick


@dataclass(frozen=True, slots=True)
class Plain:
    """A class with every kind of field that is used."""

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
def test_a_quick_class_holds_what_a_plain_one_does(make: Callable[[Any], Any]):
    """Positions, names, defaults, factories and `replace` give the same values and the same repr."""
    quick_one, plain = make(Quick), make(Plain)
    assert values(quick_one) == values(plain)
    assert repr(quick_one) == repr(plain).replace("Plain", "Quick")
    assert quick_one == make(Quick)


@pytest.mark.parametrize(
    "make", [lambda kind: kind(), lambda kind: kind(1, "b", [], 4.0), lambda kind: kind(1, more=2)]
)
def test_a_wrong_call_is_refused(make: Callable[[Any], Any]):
    """What is missing, one too many or unknown is a TypeError, as in a plain class."""
    for kind in (Plain, Quick):
        with pytest.raises(TypeError, match=rf"{kind.__name__}\.__init__\(\)"):
            make(kind)


def test_each_instance_has_a_default_of_its_own():
    """What a factory makes is not shared."""
    assert Quick(1).third is not Quick(1).third


def test_a_quick_class_stays_frozen():
    """A field cannot be set once the instance is made."""
    with pytest.raises(FrozenInstanceError):
        Quick(1).first = 2  # type: ignore[misc] # it is what must fail


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
