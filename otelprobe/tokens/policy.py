"""What a token has to fulfil, and what was found wrong with one."""

from collections.abc import Iterable, Mapping
from dataclasses import field
from typing import Protocol

from otelprobe.quick import dataclass, quick
from otelprobe.reasons import Reason
from otelprobe.result import Fact, FactValue


class Condition(Protocol):
    """A condition on the values that were found under a claim's name: none or one."""

    def holds(self, found: list[object]) -> bool:
        """Tell whether the condition is fulfilled."""
        ...


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What a token has to fulfil. `audience` None means: not compared. `claims` maps a name to a condition of `expect`.

    `listed` says that somebody listed `algorithms`; where nobody did, an algorithm unknown here is our own shortcoming.
    """

    algorithms: tuple[str, ...]
    issuer: str | None = None
    audience: tuple[str, ...] | None = None
    leeway: float = 0.0
    require: tuple[str, ...] = ()
    max_lifetime: float | None = None
    typ: str | None = None
    claims: Mapping[str, Condition] = field(default_factory=dict)
    listed: bool = True


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a token."""

    reason: Reason
    detail: str


def problem_facts(problems: Iterable[Problem]) -> dict[str, FactValue]:
    """Give the fact that lists every reason found, most important first; nothing where nothing was found."""
    reasons = tuple(dict.fromkeys(p.reason.value for p in problems))
    return {Fact.JWT_PROBLEMS: reasons} if reasons else {}
