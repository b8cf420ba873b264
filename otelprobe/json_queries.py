"""JSONPath (RFC 9535) as the flow file has it: strict, and ending in time, `match` and `search` too.

Imported with the first query, for the library takes a while. The pattern of `match` or `search` may come from the answer,
and what a query walks through always does: `$..*..*` of a large document has more nodes than anybody can wait for.
"""

import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from functools import cache
from typing import Any

from jsonpath import JSONPathEnvironment, JSONPathMatch, Parser
from jsonpath.function_extensions import ExpressionType, FilterFunction
from jsonpath.segments import JSONPathChildSegment, JSONPathRecursiveDescentSegment, JSONPathSegment
from jsonpath.stream import TokenStream

from otelprobe.patterns import Pattern, time_left
from otelprobe.reasons import CheckFailed, Reason

LONGEST = 5.0
"""Seconds of processor time for one query: sound ones take less than one on the largest answer."""

_LOOK_EVERY = 256
_PART = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\.", re.DOTALL)


class _Budget:
    """What one query may take; counts the nodes that it comes by, for looking at the clock at each would take longer."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._nodes = 0
        self._ends = time.thread_time() + LONGEST

    def spend(self) -> None:
        """Count a node; CheckFailed if the query takes too long."""
        self._nodes += 1
        if not self._nodes % _LOOK_EVERY:
            self.look()

    def look(self) -> None:
        """Look at the clock; CheckFailed if the query takes too long."""
        left = time_left()
        if left is not None and left <= 0:
            raise CheckFailed(Reason.DEADLINE_EXCEEDED, f"the deadline ended the query {self._path} in the answer")
        if time.thread_time() > self._ends:
            raise CheckFailed(
                Reason.CONFIG_ERROR,
                f"the query {self._path} takes more than {LONGEST:g} s on this answer:"
                " name the members on the way in place of `..`",
            )


_BUDGET: ContextVar[_Budget | None] = ContextVar("otelprobe_query_budget", default=None)


class _Child(JSONPathChildSegment):
    """`.name`, `[...]`: every node that comes out costs."""

    __slots__ = ()

    def resolve(self, nodes: Iterable[JSONPathMatch]) -> Iterator[JSONPathMatch]:
        """Select children; CheckFailed if the query takes too long."""
        return _counted(super().resolve(nodes))


class _Descendants(JSONPathRecursiveDescentSegment):
    """`..`: the same."""

    __slots__ = ()

    def resolve(self, nodes: Iterable[JSONPathMatch]) -> Iterator[JSONPathMatch]:
        """Select descendants; CheckFailed if the query takes too long."""
        return _counted(super().resolve(nodes))


def _counted(nodes: Iterable[JSONPathMatch]) -> Iterator[JSONPathMatch]:
    budget = _BUDGET.get()
    if budget is None:
        yield from nodes
        return
    budget.look()
    for node in nodes:
        budget.spend()
        yield node


class _Parser(Parser):
    """Makes segments that count, of queries and of the queries in their filters."""

    def parse_query(self, stream: TokenStream) -> Iterator[JSONPathSegment]:
        """Parse a query."""
        for segment in super().parse_query(stream):
            kind = _Descendants if isinstance(segment, JSONPathRecursiveDescentSegment) else _Child
            yield kind(env=segment.env, token=segment.token, selectors=segment.selectors)


class _Environment(JSONPathEnvironment):
    """Compiles queries that end in time."""

    parser_class = _Parser


def find(path: str, query: Any, document: object) -> list[object]:
    """Give every value that a query, written as `path`, selects; CheckFailed if that takes too long."""
    token = _BUDGET.set(_Budget(path))
    try:
        return list(query.findall(document))
    finally:
        _BUDGET.reset(token)


class _Search(FilterFunction):
    """`match` or `search` of RFC 9535, section 2.4.6: false for what is no text, and for what is no pattern."""

    arg_types = [ExpressionType.VALUE, ExpressionType.VALUE]  # noqa: RUF012 - so the library declares it
    return_type = ExpressionType.LOGICAL

    def __init__(self, look: Callable[[Pattern, str], bool]) -> None:
        self._look = look

    def __call__(self, value: object, pattern: object) -> bool:
        """Look for the pattern; CheckFailed if that takes too long."""
        if not isinstance(value, str) or not isinstance(pattern, str):
            return False
        wanted = Pattern(_without_line_ends(pattern))
        try:
            wanted.check()
        except ValueError:
            return False
        return self._look(wanted, value)


def _without_line_ends(pattern: str) -> str:
    """Let a dot stand for anything but CR and LF (RFC 9485, section 5.3)."""
    return _PART.sub(lambda part: r"[^\r\n]" if part[0] == "." else part[0], pattern)


@cache
def environment() -> JSONPathEnvironment:
    """Give what compiles queries."""
    made = _Environment(strict=True)
    made.function_extensions["match"] = _Search(Pattern.fits)
    made.function_extensions["search"] = _Search(Pattern.found_in)
    return made
