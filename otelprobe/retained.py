"""Access tokens that are kept past the run they were issued in: to be offered again while they live, or once they are over.

One store for every step that keeps some, each under its flow and its own name, a few at a time. In memory always; in the
state directory, if there is one, sealed with a key that is made of the provider's client secret or of one that the step
names. Where there is no such secret they live as long as the process: a token in the clear is never written.
"""

from collections.abc import Sequence
from dataclasses import asdict, field
from hashlib import sha256

from otelprobe.fields import SecretRef
from otelprobe.quick import dataclass
from otelprobe.reasons import CheckFailed
from otelprobe.sealing import seal, unseal
from otelprobe.step import Context

_PURPOSE = "otelprobe retained token"


@dataclass(frozen=True, slots=True)
class Retained:
    """A token that was kept: when, and until when it lives (`exp`), both Unix seconds."""

    token: str = field(repr=False)
    kept_at: float
    exp: float

    def alive(self, now: float, margin: float = 0.0) -> bool:
        """Tell whether it lives for more than `margin` seconds."""
        return self.exp > now + margin


@dataclass(frozen=True, slots=True)
class _Store:
    """What is kept under one name, and with what it is sealed (None: the provider's client secret)."""

    kept: tuple[Retained, ...]
    seal_with: SecretRef | None


def retain(
    ctx: Context,
    step: str,
    token: str,
    exp: float,
    *,
    most: int = 3,
    apart: float = 0.0,
    grace: float = 0.0,
    seal_with: SecretRef | None = None,
) -> bool:
    """Keep a token for a step of this flow, at most `most`, the oldest go; tell whether it was kept.

    It is not if one was kept less than `apart` seconds ago. Tokens are dropped `grace` seconds after their `exp`.
    """
    now = ctx.now()
    with ctx.memory.lock:
        known = [one for one in _load(ctx, step, seal_with) if one.exp + grace > now]
        if any(one.token == token or now - one.kept_at < apart for one in known):
            return False
        _save(ctx, step, (*known, Retained(token, now, exp))[-most:], seal_with)
    return True


def recall(ctx: Context, step: str, *, seal_with: SecretRef | None = None) -> tuple[Retained, ...]:
    """Give the tokens kept for a step of this flow, the oldest first, over or not."""
    with ctx.memory.lock:
        return _load(ctx, step, seal_with)


def forget(ctx: Context, step: str, tokens: Sequence[str], *, seal_with: SecretRef | None = None) -> None:
    """Drop tokens that a step must not use again."""
    with ctx.memory.lock:
        known = _load(ctx, step, seal_with)
        left = tuple(one for one in known if one.token not in tokens)
        if left != known:
            _save(ctx, step, left, seal_with)


def spend(ctx: Context, token: str) -> None:
    """Drop a token that was revoked, wherever it is kept."""
    with ctx.memory.lock:
        for name, store in list(ctx.memory.retained.items()):
            left = tuple(one for one in store.kept if one.token != token)
            if left != store.kept:
                _write(ctx, name, _Store(left, store.seal_with))


def outlives_process(ctx: Context, seal_with: SecretRef | None = None) -> bool:
    """Tell whether tokens are kept on disk: there is a state directory, and a secret to seal them with."""
    return ctx.state.durable and _sealing_secret(ctx, seal_with) is not None


def _load(ctx: Context, step: str, seal_with: SecretRef | None) -> tuple[Retained, ...]:
    name = _name(ctx, step)
    if name not in ctx.memory.retained:
        ctx.memory.retained[name] = _Store(_read(ctx, name, seal_with), seal_with)
    store: _Store = ctx.memory.retained[name]
    return store.kept


def _read(ctx: Context, name: str, seal_with: SecretRef | None) -> tuple[Retained, ...]:
    secret = _sealing_secret(ctx, seal_with) if ctx.state.durable else None
    document = ctx.state.load(name) if secret is not None else None
    found = unseal((document or {}).get("sealed"), secret or "", _PURPOSE)
    entries = found if isinstance(found, list) else []
    return tuple(one for one in map(_entry, entries) if one is not None)


def _entry(entry: object) -> Retained | None:
    if not isinstance(entry, dict):
        return None
    token, kept_at, exp = entry.get("token"), entry.get("kept_at"), entry.get("exp")
    if not isinstance(token, str) or not isinstance(kept_at, int | float) or not isinstance(exp, int | float):
        return None
    return Retained(token, float(kept_at), float(exp))


def _save(ctx: Context, step: str, kept: tuple[Retained, ...], seal_with: SecretRef | None) -> None:
    _write(ctx, _name(ctx, step), _Store(kept, seal_with))


def _write(ctx: Context, name: str, store: _Store) -> None:
    ctx.memory.retained[name] = store
    secret = _sealing_secret(ctx, store.seal_with) if ctx.state.durable else None
    if secret is not None:
        ctx.state.save(name, {"sealed": seal([asdict(one) for one in store.kept], secret, _PURPOSE)})


def _sealing_secret(ctx: Context, named: SecretRef | None) -> str | None:
    """Give the secret to seal with: the one that is named, else those of the provider's client; None if none can be read."""
    sources = [named] if named is not None else []
    if named is None and ctx.provider is not None:
        sources = [secret for _, secret in ctx.provider.secrets()]
    try:
        return "\n".join(source.read() for source in sources) or None
    except CheckFailed:
        return None


def _name(ctx: Context, step: str) -> str:
    """Name the state document: what it is made of is too long for a file."""
    issuer = ctx.provider.issuer if ctx.provider is not None else ""
    return f"retained-{sha256(repr((ctx.flow, step, issuer)).encode()).hexdigest()[:32]}"
