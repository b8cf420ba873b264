"""Frozen dataclasses made twice as fast: for the few kinds of fact that every run makes by the dozen (a leaf room).

The `__init__` of a frozen dataclass looks up `object.__setattr__` for each field, and that the field's slot. Here the slots
themselves are called. A run of three steps sets some 500 fields.
"""

from collections.abc import Callable
from dataclasses import MISSING, Field, fields
from typing import Any, TypeVar

C = TypeVar("C", bound=type)

_LEFT_OUT = object()


def quick(cls: C) -> C:
    """Give a frozen dataclass with slots an `__init__` that does the same in half the time; to be put above `@dataclass`."""
    known = fields(cls)
    if hasattr(cls, "__post_init__") or not all(f.init for f in known):
        raise TypeError(f"{cls.__name__} is not made of its fields alone")
    names: dict[str, Any] = {"LEFT_OUT": _LEFT_OUT, **{f"set_{f.name}": getattr(cls, f.name).__set__ for f in known}}
    names |= {f"default_{f.name}": f.default for f in known if f.default is not MISSING}
    names |= {f"make_{f.name}": f.default_factory for f in known if f.default_factory is not MISSING}
    listed = [_parameter(f) for f in known if not f.kw_only]
    named = [_parameter(f) for f in known if f.kw_only]
    head = ", ".join(["self", *listed, *(["*", *named] if named else [])])
    body = "\n".join(f" set_{f.name}(self, {_value(f)})" for f in known)
    made: dict[str, Callable[..., None]] = {}
    exec(f"def __init__({head}):\n{body}", names, made)  # noqa: S102 - as dataclasses does: its text are names of fields
    init = made["__init__"]
    init.__qualname__ = f"{cls.__qualname__}.__init__"
    init.__annotations__ = cls.__dict__["__init__"].__annotations__
    setattr(cls, "__init__", init)  # noqa: B010 - mypy takes an assignment for one to an instance
    return cls


def _parameter(known: "Field[Any]") -> str:
    if known.default is not MISSING:
        return f"{known.name}=default_{known.name}"
    return known.name if known.default_factory is MISSING else f"{known.name}=LEFT_OUT"


def _value(known: "Field[Any]") -> str:
    if known.default_factory is MISSING:
        return known.name
    return f"make_{known.name}() if {known.name} is LEFT_OUT else {known.name}"
