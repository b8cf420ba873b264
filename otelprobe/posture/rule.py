"""What a posture rule is: an id, a severity, where it comes from, how to mend what breaks it, and one small function."""

from collections.abc import Callable, Iterable
from typing import Literal

from otelprobe.posture.observations import Observations
from otelprobe.quick import dataclass
from otelprobe.result import Severity

Side = Literal["provider", "api"]
Broken = tuple[str, str]
"""The host that breaks a rule, and how, in words that hold no claim's value and no body."""

Check = Callable[[Observations], Iterable[Broken] | None]
"""Gives what breaks the rule; None where there was nothing to look at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule. `source` names the standard, `why` and `mend` are one sentence each, `side` says whose it is to mend."""

    id: str
    severity: Severity
    side: Side
    source: str
    why: str
    mend: str
    check: Check

    def look(self, seen: Observations) -> tuple[Broken, ...] | None:
        """Give what breaks the rule, each once; None where there was nothing to look at."""
        found = self.check(seen)
        return None if found is None else tuple(dict.fromkeys(found))
