"""Facts made several times as fast: for the few kinds of frozen dataclass that every run makes by the dozen (a leaf room).

The `__init__` of a frozen dataclass looks up `object.__setattr__` for each field, and that the field's slot. Here an
instance is filled while it is of an open twin of its class, which has the same slots and forbids nothing, so that setting
a field is one instruction of the interpreter; then it becomes what it was made as. A run of three steps sets some 500 fields.
"""

from collections.abc import Callable
from dataclasses import MISSING, Field, fields
from typing import Any, Generic, Self, TypeVar, overload

C = TypeVar("C", bound=type)
T = TypeVar("T")
V = TypeVar("V")

_LEFT_OUT = object()
_BECOME: Any = object.__dict__["__class__"].__set__


def quick(cls: C) -> C:
    """Give a frozen dataclass with slots an `__init__` that does the same, only faster; to be put above `@dataclass`."""
    known = fields(cls)
    if hasattr(cls, "__post_init__") or not all(f.init for f in known):
        raise TypeError(f"{cls.__name__} is not made of its fields alone")
    names: dict[str, Any] = {"LEFT_OUT": _LEFT_OUT, "_become": _BECOME, "_open": _open_twin(cls)}
    names |= {f"default_{f.name}": f.default for f in known if f.default is not MISSING}
    names |= {f"make_{f.name}": f.default_factory for f in known if f.default_factory is not MISSING}
    listed = [_parameter(f) for f in known if not f.kw_only]
    named = [_parameter(f) for f in known if f.kw_only]
    head = ", ".join(["self", *listed, *(["*", *named] if named else [])])
    body = "\n".join(f" self.{f.name} = {_value(f)}" for f in known)
    made: dict[str, Callable[..., None]] = {}
    text = f"def __init__({head}):\n _kind = self.__class__\n _become(self, _open)\n{body}\n self.__class__ = _kind"
    exec(text, names, made)  # noqa: S102 - as dataclasses does: its text are names of fields
    init = made["__init__"]
    init.__qualname__ = f"{cls.__qualname__}.__init__"
    init.__annotations__ = cls.__dict__["__init__"].__annotations__
    setattr(cls, "__init__", init)  # noqa: B010 - mypy takes an assignment for one to an instance
    return cls


def _open_twin(cls: type) -> type:
    """Make a class of the same layout whose fields can be set; nothing of it outlives an `__init__`."""
    return type(cls.__name__, cls.__bases__, {"__slots__": cls.__dict__["__slots__"], "__doc__": cls.__doc__})


class lazy(Generic[T, V]):  # noqa: N801 - a decorator
    """A property that is worked out once, as `functools.cached_property`, but without the lock that it takes until 3.11.

    Two threads that ask at the same time may both work it out: it is for what gives the same each time.
    """

    def __init__(self, make: Callable[[T], V]) -> None:
        self._make = make
        self._name = ""
        self.__doc__ = make.__doc__

    def __set_name__(self, owner: type[T], name: str) -> None:
        """Take the name under which the value is kept, where it hides this descriptor from then on."""
        self._name = name

    @overload
    def __get__(self, instance: None, owner: type[T]) -> Self: ...

    @overload
    def __get__(self, instance: T, owner: type[T]) -> V: ...

    def __get__(self, instance: T | None, owner: type[T]) -> Self | V:
        """Work it out, the first time that it is asked for."""
        if instance is None:
            return self
        value = instance.__dict__[self._name] = self._make(instance)
        return value


def _parameter(known: "Field[Any]") -> str:
    if known.default is not MISSING:
        return f"{known.name}=default_{known.name}"
    return known.name if known.default_factory is MISSING else f"{known.name}=LEFT_OUT"


def _value(known: "Field[Any]") -> str:
    if known.default_factory is MISSING:
        return known.name
    return f"make_{known.name}() if {known.name} is LEFT_OUT else {known.name}"
