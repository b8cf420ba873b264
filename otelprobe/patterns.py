"""Regular expressions of the flow file, with an end: some patterns take years on some texts, and a check has a deadline.

A leaf room. `re` cannot be stopped, so they run in the `regex` package, which reads the same syntax and takes a limit
(of processor time). The deadline is that of the step under way, which `run` names here: JSONPath calls its functions
with values only, so that there is no way to hand it to them.
"""

from collections.abc import Callable
from contextvars import ContextVar
from functools import lru_cache
from typing import TYPE_CHECKING

from otelprobe.quick import dataclass
from otelprobe.reasons import CheckFailed, Reason

if TYPE_CHECKING:
    import regex

LONGEST = 0.5
"""Seconds for one search: sound patterns take milliseconds on the largest answer, the others would never end."""

_FAIR = 0.1  # with less time left than this it is the answer that came late, and not the pattern that is slow
_LEFT: ContextVar[Callable[[], float] | None] = ContextVar("otelprobe_time_left", default=None)


class bounded_by:  # noqa: N801 - a context manager, by hand as every step is run in one
    """Let every search inside end when the time that `left` tells (seconds) is over."""

    __slots__ = ("_before", "_left")

    def __init__(self, left: Callable[[], float]) -> None:
        self._left = left

    def __enter__(self) -> None:
        self._before = _LEFT.set(self._left)

    def __exit__(self, *_: object) -> None:
        _LEFT.reset(self._before)


def time_left() -> float | None:
    """Give the seconds that the step under way has left; None outside of any."""
    left = _LEFT.get()
    return None if left is None else left()


@dataclass(frozen=True, slots=True)
class Pattern:
    """A regular expression as it was written. ValueError from `check` if it is none."""

    text: str

    def check(self) -> None:
        """Compile it; ValueError says what is wrong and where."""
        from regex import error  # noqa: PLC0415 - as in _compiled

        try:
            _compiled(self.text)
        except error as wrong:
            raise ValueError(f"not a regular expression: {wrong}") from None
        except (OverflowError, RecursionError, MemoryError):
            raise ValueError(
                "not a regular expression that can be used: a number in it is too large, or it nests too deeply"
            ) from None

    def found_in(self, text: str) -> bool:
        """Search a text; CheckFailed if that takes too long."""
        return _bounded(self.text, lambda seconds: _compiled(self.text).search(text, timeout=seconds))

    def fits(self, text: str) -> bool:
        """Match a whole text; CheckFailed if that takes too long."""
        return _bounded(self.text, lambda seconds: _compiled(self.text).fullmatch(text, timeout=seconds))


@lru_cache(maxsize=512)
def _compiled(text: str) -> "regex.Pattern[str]":
    import regex  # noqa: PLC0415 - flows without patterns need not pay for it

    return regex.compile(text)


def _bounded(pattern: str, look: Callable[[float], object]) -> bool:
    left = time_left()
    seconds = LONGEST if left is None else min(LONGEST, left)
    if seconds <= 0:
        raise CheckFailed(Reason.DEADLINE_EXCEEDED, f"no time was left to look for {pattern!r} in the answer")
    try:
        return look(seconds) is not None
    except TimeoutError:
        pass
    if seconds < _FAIR:
        raise CheckFailed(Reason.DEADLINE_EXCEEDED, f"the deadline ended the search for {pattern!r} in the answer")
    raise CheckFailed(
        Reason.CONFIG_ERROR,
        f"the regular expression {pattern!r} takes more than {seconds:.1f} s on this answer:"
        " write it without repetitions inside repetitions",
    )
