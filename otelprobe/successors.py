"""What became of a refresh token that was given by the operator: its latest successor, kept safely between runs.

In memory always; in the state directory, if there is one, sealed with a key that is made of the seed itself. Who has the
state directory alone has nothing, and a new seed makes the old successor unreadable, as it should be.
"""

from hashlib import sha256

from otelprobe.fields import SecretRef
from otelprobe.reasons import Reason
from otelprobe.result import Warn
from otelprobe.sealing import seal, unseal
from otelprobe.step import Context

_PURPOSE = "otelprobe refresh token successor"


def latest(ctx: Context, source: SecretRef, seed: str) -> str | None:
    """Give the successor of a seed, from memory or from the state directory; None if the seed itself is still to be used."""
    name = _name(ctx, source)
    kept = ctx.memory.tokens.get(name)
    if kept is not None:
        return str(kept[1]) if kept[0] == seed else None
    document = ctx.state.load(_file(name)) if ctx.state.durable else None
    found = unseal((document or {}).get("sealed"), seed, _PURPOSE)
    if isinstance(found, str):
        ctx.memory.tokens[name] = (seed, found)
        return found
    return None


def keep(ctx: Context, source: SecretRef, successor: str) -> tuple[Warn, ...]:
    """Keep what a refresh token was replaced by; warn if it would be lost with this process."""
    seed = source.read()
    if successor == (latest(ctx, source, seed) or seed):
        return ()
    name = _name(ctx, source)
    first = name not in ctx.memory.tokens
    ctx.memory.tokens[name] = (seed, successor)
    if ctx.state.durable:
        return _save(ctx, name, seed, successor)
    why = "set state_dir (OTELPROBE_STATE_DIR) to keep it"
    return (_lost(f"of {source.source}", why),) if first else ()


def replaced(ctx: Context, old: str | None, new: str | None) -> tuple[Warn, ...]:
    """Follow a successor that another step has refreshed in turn."""
    if old is None or new is None or old == new:
        return ()
    if not ctx.state.durable:
        return ()
    found = [(n, k[0]) for n, k in list(ctx.memory.tokens.items()) if isinstance(k, tuple) and k[1] == old]
    warnings: list[Warn] = []
    for name, seed in found:
        ctx.memory.tokens[name] = (seed, new)
        warnings.extend(_save(ctx, name, seed, new))
    return tuple(warnings)


def _save(ctx: Context, name: str, seed: str, successor: str) -> tuple[Warn, ...]:
    if ctx.state.save(_file(name), {"sealed": seal(successor, seed, _PURPOSE)}, sync=True):
        return ()
    return (_lost("of the flow file", "it cannot be written to the state directory"),)


def _lost(which: str, why: str) -> Warn:
    detail = f"the refresh token {which} was replaced, and its successor is lost when this process ends: {why}"
    return Warn(Reason.REFRESH_FAILED, detail)


def _name(ctx: Context, source: SecretRef) -> str:
    """Name a seed by whose client it is and where it comes from: whatever it is used for, there is one successor."""
    provider = ctx.identity_provider()
    return repr(("successor", provider.issuer, provider.client_id, source.source))


def _file(name: str) -> str:
    """Give the name of the state document: the cache's name says too much, and is too long for a file."""
    return f"successor-{sha256(name.encode()).hexdigest()[:32]}"
