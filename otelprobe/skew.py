"""Whose clock is to blame where something that holds by ours is refused elsewhere (reasons.md, rule 5)."""

from otelprobe.http import Reply
from otelprobe.reasons import Blame, CheckFailed, Counts, Reason
from otelprobe.step import Context


def clock_failure(ctx: Context, reply: Reply, what: str, blame: Blame | None = None) -> CheckFailed:
    """Blame the clock that is off: the peer's (`blame`, default by the table), or ours where other peers say the same."""
    host, skew = reply.exchange.host, reply.exchange.clock_skew or 0.0
    when = "past its end" if skew > 0 else "from the future"
    detail = f"{what} is {when} by the clock of {host}, which is {skew:+.0f} s from the prober's"
    if ctx.memory.our_clock_is_off(host, skew):
        detail = f"{detail}; other peers say the same, so that the prober's own clock is off"
        return CheckFailed(Reason.CLOCK_SKEW, detail, blame=Blame.PROBER, counts=Counts.NONE)
    return CheckFailed(Reason.CLOCK_SKEW, detail, blame=blame)
