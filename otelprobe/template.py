"""`${name}` in URLs, headers and bodies: filled with values captured by earlier steps, nothing more than that."""

import re
from collections.abc import Iterator, Mapping

_HOLE = re.compile(r"\$\$\{|\$\{([^{}]*)\}|\$\{")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def faults_in(text: str) -> Iterator[str]:
    """Say what is wrong with the `${}` of a text: never closed, or no name inside."""
    for match in _HOLE.finditer(text):
        if match[0] == "${":
            yield "a ${ that is never closed: write ${name}, or $${ for a literal ${"
        elif match[1] is not None and not _NAME.fullmatch(match[1]):
            yield "a ${} without a name in it: letters, digits and _ are allowed, as in ${order_id}"


def names_in(value: object) -> frozenset[str]:
    """Give every name that a text, or the texts of a nested list or mapping, wants filled."""
    if isinstance(value, str):
        return frozenset(m[1] for m in _HOLE.finditer(value) if m[1])
    if isinstance(value, Mapping):
        return frozenset[str]().union(*(names_in(v) for v in value.values()))
    if isinstance(value, list | tuple):
        return frozenset[str]().union(*(names_in(v) for v in value))
    return frozenset()


def fill(text: str, values: Mapping[str, str]) -> str:
    """Fill every `${name}`; `$${` becomes `${`. The plan has checked that every name is captured before."""
    if "$" not in text:
        return text
    return _HOLE.sub(lambda m: "${" if m[0] == "$${" else values[m[1]], text)


def fill_all(value: object, values: Mapping[str, str]) -> object:
    """Fill the texts of a nested list or mapping, values only."""
    if isinstance(value, str):
        return fill(value, values)
    if isinstance(value, Mapping):
        return {k: fill_all(v, values) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [fill_all(v, values) for v in value]
    return value
