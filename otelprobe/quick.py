"""Frozen dataclasses that cost less to define, and facts made several times as fast (a leaf room).

Before Python 3.13 each method of a dataclass is compiled by itself, which costs a frozen one 0.6 to 0.9 ms: of the hundred
that a one-shot run needs, 60 ms of each start. Here they share their methods, and only `__init__` is compiled.

`quick` is for the few kinds that every run makes by the dozen. The `__init__` of a frozen dataclass looks up
`object.__setattr__` for each field, and that the field's slot. Here an instance is filled while it is of an open twin of
its class, which has the same slots and forbids nothing, so that setting a field is one instruction of the interpreter;
then it becomes what it was made as. A run of three steps sets some 500 fields.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import MISSING, Field, FrozenInstanceError, fields
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, overload

C = TypeVar("C", bound=type)
T = TypeVar("T")
V = TypeVar("V")

_LEFT_OUT = object()
_BECOME: Any = object.__dict__["__class__"].__set__


if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass  # noqa: PLC0414 - a checker takes ours for what it stands in for
else:

    def dataclass(cls=None, /, *, frozen=False, **options):
        """Do what `dataclasses.dataclass` does, where it is frozen by shared methods: see above."""
        if not frozen:
            return dataclasses.dataclass(cls, **options)
        return _frozen(cls, **options) if cls is not None else lambda cls: _frozen(cls, **options)


def _frozen(cls: type, *, eq: bool = True, slots: bool = False, kw_only: bool = False) -> type:
    own = frozenset(cls.__dict__)
    made: type = dataclasses.dataclass(init=False, repr=False, eq=False, slots=slots, kw_only=kw_only)(cls)
    shared: dict[str, Any] = {"__setattr__": _refuse_to_set, "__delattr__": _refuse_to_delete, "__repr__": _show}
    if slots:
        shared |= {"__getstate__": _state, "__setstate__": _restore}
    if eq:
        names = [f.name for f in fields(made) if f.compare]
        shared |= {"_compared": staticmethod(attrgetter(*names) if names else type)}
        shared |= {"__eq__": _is_equal, "__hash__": _hash}
    for name, method in shared.items():
        if name not in own or (name == "__hash__" and cls.__dict__[name] is None):
            setattr(made, name, method)
    if "__init__" not in own:
        setattr(made, "__init__", _frozen_init(made))  # noqa: B010 - mypy takes an assignment for one to an instance
    return made


def _refuse_to_set(_self: object, name: str, _value: object) -> None:
    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_to_delete(_self: object, name: str) -> None:
    raise FrozenInstanceError(f"cannot delete field {name!r}")


def _show(self: Any) -> str:
    listed = ", ".join(f"{f.name}={getattr(self, f.name)!r}" for f in fields(self) if f.repr)
    return f"{type(self).__qualname__}({listed})"


def _is_equal(self: Any, other: Any) -> Any:
    if other.__class__ is not self.__class__:
        return NotImplemented
    return self._compared(self) == self._compared(other)


def _hash(self: Any) -> int:
    return hash(self._compared(self))


def _state(self: Any) -> list[object]:
    return [getattr(self, f.name) for f in fields(self)]


def _restore(self: Any, state: list[object]) -> None:
    for known, value in zip(fields(self), state, strict=True):
        object.__setattr__(self, known.name, value)


def _frozen_init(cls: type) -> Callable[..., None]:
    last = [" self.__post_init__()"] if hasattr(cls, "__post_init__") else []
    lines = [f" _set(self, {f.name!r}, {_value(f)})" for f in fields(cls)]
    return _init(cls, [*lines, *last] or [" pass"], {"_set": object.__setattr__})


def quick(cls: C) -> C:
    """Give a frozen dataclass with slots an `__init__` that does the same, only faster; to be put above `@dataclass`."""
    known = fields(cls)
    if hasattr(cls, "__post_init__") or not all(f.init for f in known):
        raise TypeError(f"{cls.__name__} is not made of its fields alone")
    lines = [" _kind = self.__class__", " _become(self, _open)"]
    lines += [f" self.{f.name} = {_value(f)}" for f in known]
    names = {"_become": _BECOME, "_open": _open_twin(cls)}
    init = _init(cls, [*lines, " self.__class__ = _kind"], names)
    setattr(cls, "__init__", init)  # noqa: B010 - mypy takes an assignment for one to an instance
    return cls


def _init(cls: type, lines: list[str], names: dict[str, Any]) -> Callable[..., None]:
    """Compile an `__init__` that takes the fields of a dataclass."""
    known = fields(cls)
    names |= {"LEFT_OUT": _LEFT_OUT}
    names |= {f"default_{f.name}": f.default for f in known if f.default is not MISSING}
    names |= {f"make_{f.name}": f.default_factory for f in known if f.default_factory is not MISSING}
    listed = [_parameter(f) for f in known if f.init and not f.kw_only]
    named = [_parameter(f) for f in known if f.init and f.kw_only]
    head = ", ".join(["self", *listed, *(["*", *named] if named else [])])
    made: dict[str, Callable[..., None]] = {}
    text = "\n".join([f"def __init__({head}):", *lines])
    exec(text, names, made)  # noqa: S102 - as dataclasses does: its text are names of fields
    init = made["__init__"]
    init.__qualname__ = f"{cls.__qualname__}.__init__"
    init.__annotations__ = {f.name: f.type for f in known if f.init} | {"return": None}
    return init


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
    if not known.init:
        return f"make_{known.name}()" if known.default is MISSING else f"default_{known.name}"
    if known.default_factory is MISSING:
        return known.name
    return f"make_{known.name}() if {known.name} is LEFT_OUT else {known.name}"
