"""What a case is: its word, its number, how much noise it makes, what it needs, and what taking it would mean."""

from collections.abc import Callable
from enum import StrEnum
from typing import Generic, TypeVar

from otelprobe.quick import dataclass
from otelprobe.reasons import Reason
from otelprobe.rejection.answer import Answer

M = TypeVar("M")
"""What a case is made of: the API's, or the provider's."""

O = TypeVar("O")  # noqa: E741 - an offer
"""What is sent for it."""


class Group(StrEnum):
    """How much noise a case makes where it is tried, and so how often, and on whose word."""

    SAFE = "safe"
    """A few reads with the prober's own credentials: in every run."""

    SLOW = "slow"
    """Wakes intrusion detection, or makes a validator fetch keys: at a cadence of its own, announced."""

    INTRUSIVE = "intrusive"
    """May write, lock out or load: only where the flow file allows it for the host by name."""


REFUSALS = frozenset({401, 403})


@dataclass(frozen=True, slots=True)
class Case(Generic[M, O]):
    """One bad credential. `number` is that of the catalogue in docs/security.md; several cases may share one.

    `lacks` says what is missing to make it, in words for the flow file's author; None: nothing. `proper` are statuses
    that refuse it properly. `taken` tells an acceptance where it is not a status of success. `uniform` cases should all be
    answered alike. `parameter` is the member of the step without which the case cannot be made, `control` says what the good
    request beside it goes to, where there are several.
    """

    number: str
    word: str
    group: Group
    told: str
    lacks: Callable[[M], str | None]
    build: Callable[[M], O]
    reason: Reason = Reason.REJECTION_ACCEPTED
    proper: frozenset[int] = REFUSALS
    taken: Callable[[Answer], bool] | None = None
    uniform: bool = False
    parameter: str | None = None
    control: str = "token"
