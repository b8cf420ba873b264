"""What each parameter means: the string that stands directly below a field of a dataclass.

The one place where it is said. Such strings cost a run nothing, for the compiler drops them; the JSON schema and the
generated pages read them from the source.
"""

import ast
import inspect
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from itertools import pairwise


def meanings(cls: type) -> Mapping[str, str]:
    """Give the words for each field of a dataclass, in one line; for an inherited field those of the nearest class.

    A field without words is left out, so there are none at all where the source is not at hand.
    """
    said: dict[str, str] = {}
    for owner in reversed(cls.__mro__):
        if is_dataclass(owner):
            said |= _own(owner)
    return {field.name: said[field.name] for field in fields(cls) if field.name in said}


@cache
def _own(cls: type) -> Mapping[str, str]:
    """Read what a class itself says; kept, because all kinds of step share their base."""
    try:
        source = inspect.getsource(cls)
    except (OSError, TypeError):
        return {}
    return dict(_strings_below(ast.parse(textwrap.dedent(source)).body[0]))


def _strings_below(node: ast.stmt) -> Iterator[tuple[str, str]]:
    """Give the name of each annotated field with the string that follows it."""
    body = node.body if isinstance(node, ast.ClassDef) else []
    for statement, below in pairwise(body):
        match statement, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                yield name, " ".join(text.split())
