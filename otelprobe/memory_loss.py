"""Memory between runs that is lost: told once in the life of a process, so that nobody takes silence for good news."""

from otelprobe.reasons import Reason
from otelprobe.result import Warn
from otelprobe.step import Context


def lost_memory(ctx: Context, wanted_for: str | None = None) -> tuple[Warn, ...]:
    """Warn if the state directory cannot be read or written; with `wanted_for` also if there is none. Each just once."""
    why = ctx.state.fault
    if why is None and wanted_for is not None and not ctx.state.durable:
        why = f"{wanted_for} end with this process: set state_dir (OTELPROBE_STATE_DIR) to keep them between runs"
    with ctx.memory.lock:
        if why is None or why in ctx.memory.told:
            return ()
        ctx.memory.told.add(why)
    return (Warn(Reason.STATE_LOST, why),)
