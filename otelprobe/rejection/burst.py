"""Bad credentials one right after the other: whether anything slows down who guesses. Never a question of right or wrong."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from otelprobe.quick import dataclass
from otelprobe.reasons import CheckFailed, Reason
from otelprobe.rejection.answer import Answer
from otelprobe.result import Fact, FactValue, Warn

BURST = 20
"""How many are sent: more than a person mistypes, fewer than a server notices."""


@dataclass(frozen=True, slots=True)
class Burst:
    """What a burst came to: the last answer, with the finding whether any was taken, and what ended it before its time."""

    answer: Answer
    sent: int
    limited: bool
    ended: CheckFailed | None = None


def run_burst(send: Callable[[], Answer], taken: Callable[[Answer], bool]) -> Burst:
    """Send until a rate limit or an edge steps in, one is taken, no answer comes, or there were enough."""
    for sent in range(1, BURST + 1):
        answer = send()
        limited = answer.limited or answer.page in {Reason.WAF_BLOCKED, Reason.BOT_CHALLENGE}
        if limited or answer.failed is not None or taken(answer) or sent == BURST:
            break
    return Burst(replace(answer, failed=None, found=taken(answer)), sent, limited, answer.failed)


def burst_facts(burst: Burst | None) -> Mapping[str, FactValue]:
    """Tell how many were sent, and whether a rate limit was met."""
    return {} if burst is None else {Fact.REJECTION_BURST: burst.sent, Fact.REJECTION_LIMITED: burst.limited}


def burst_warnings(burst: Burst | None) -> Iterator[Warn]:
    """Warn where no rate limit was met, or where it cannot be known."""
    if burst is None or burst.limited or burst.answer.found:
        return
    case, sent = burst.answer.case, burst.sent
    if burst.ended is not None:
        why = burst.ended.reason.value
        yield Warn(
            Reason.REJECTION_INCONCLUSIVE, f"{case}: request {sent} of {BURST} ended it by {why}, not by a rate limit"
        )
    else:
        yield Warn(Reason.RATE_LIMIT_UNSEEN, f"{case}: {sent} bad credentials in a row were answered, none with 429")
