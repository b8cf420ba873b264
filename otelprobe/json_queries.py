"""JSONPath (RFC 9535) as the flow file has it: strict, and with `match` and `search` that end in time.

Imported with the first query, for the library takes a while. The pattern of `match` or `search` may come from the answer.
"""

import re
from collections.abc import Callable
from functools import cache

from jsonpath import JSONPathEnvironment
from jsonpath.function_extensions import ExpressionType, FilterFunction

from otelprobe.patterns import Pattern

_PART = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\.", re.DOTALL)


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
    made = JSONPathEnvironment(strict=True)
    made.function_extensions["match"] = _Search(Pattern.fits)
    made.function_extensions["search"] = _Search(Pattern.found_in)
    return made
