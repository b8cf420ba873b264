"""What is remembered of a provider's keys between runs: one document of kids, thumbprints and times, and no token.

Which keys are published and which were, since when, and until when a token is alive that was signed by each. From it a
rotation is told from a withdrawal that came too early, and one that clients with cached keys survive from one they do not.
Looks are some time apart, so that every span is taken as the longest that it can have been: what is warned of is sure.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, field
from typing import Any

from otelprobe.quick import dataclass
from otelprobe.reasons import Reason
from otelprobe.result import KeyChange, Warn
from otelprobe.step import Context
from otelprobe.tokens import Key, shown

HISTORY = "jwks."
"""What the keys of these documents begin with in the state; a provider's name follows."""

_REMEMBERED = 30 * 86400.0
"""Seconds that a withdrawn key is remembered: longer than any access token should live."""


@dataclass(frozen=True, slots=True)
class KeyNews:
    """What a look at the key set found against the ones before.

    `oldest` is the seconds since the key was seen first that is published longest; None on the very first look.
    """

    changes: tuple[KeyChange, ...] = ()
    warnings: tuple[Warn, ...] = ()
    oldest: float | None = None


@dataclass
class _History:
    """What is remembered of one provider: labels of keys to their thumbprints and times, Unix seconds.

    `issuer` says whose they are. `times` has when it was looked last, when a key was added last, and how long caches may
    keep the set.
    """

    published: dict[str, dict[str, Any]] = field(default_factory=dict)
    withdrawn: dict[str, dict[str, Any]] = field(default_factory=dict)
    signed: dict[str, dict[str, Any]] = field(default_factory=dict)
    times: dict[str, Any] = field(default_factory=dict)
    issuer: str = ""

    def lifetime(self) -> float:
        """Give the longest lifetime of a token that was seen; 0 where none was."""
        return max((_number(entry, "lifetime") for entry in self.signed.values()), default=0.0)


def note_keys(ctx: Context, keys: Sequence[Key], cache: float | None = None) -> KeyNews:
    """Remember which keys are published and how long caches may keep them; tell what has changed since the last run.

    A key without kid goes by its thumbprint. One that vanished while a token signed by it is alive was withdrawn early.
    """
    now, current = ctx.now(), _thumbprints(keys)
    with ctx.memory.lock:
        history = _load(ctx)
        if history is None:
            fresh = _History()
            _remember(fresh, current, now, cache)
            _save(ctx, fresh)
            return KeyNews()
        changes = tuple(_changes(history, current, now))
        warnings = (*_early(history, changes, now), *_unsafe(history, changes, now))
        _remember(history, current, now, cache)
        _save(ctx, history)
    first = min((_number(entry, "first_seen") for entry in history.published.values()), default=now)
    told = tuple(KeyChange(change.change, shown(change.kid)) for change in changes)
    return KeyNews(told, warnings, round(now - first, 3))


def note_token(ctx: Context, kid: str, exp: float, lifetime: float | None) -> tuple[Warn, ...]:
    """Remember until when a token signed by a key is alive, and the longest lifetime; warn of a key that signs too soon."""
    with ctx.memory.lock:
        history = _load(ctx)
        if history is None:
            return ()
        warnings = tuple(_too_soon(history, kid, ctx.now()))
        before = history.signed.get(kid, {})
        history.signed[kid] = {
            "exp": max(exp, _number(before, "exp")),
            "lifetime": max(lifetime or 0.0, _number(before, "lifetime")),
        }
        _save(ctx, history)
    return warnings


def key_age(ctx: Context) -> float | None:
    """Give the seconds since the key was seen first that is published longest; None where nothing is remembered."""
    history = _load(ctx)
    first = [_number(entry, "first_seen") for entry in history.published.values()] if history is not None else []
    return ctx.now() - min(first) if first else None


def withdrawn_kids(ctx: Context) -> frozenset[str]:
    """Give the keys that were published in an earlier run and are no more."""
    history = _load(ctx)
    return frozenset(history.withdrawn) if history is not None else frozenset()


def issuer_of(document: Mapping[str, Any]) -> str | None:
    """Give the issuer that a history is about; None for one that does not say."""
    issuer = document.get("issuer")
    return issuer if isinstance(issuer, str) and issuer else None


def thumbprints_of(document: Mapping[str, Any]) -> Iterator[str]:
    """Give the thumbprints of the keys that a history has, also of those that are withdrawn."""
    for name in ("published", "withdrawn"):
        for entry in _table(document, name).values():
            found = entry.get("thumbprint")
            yield from found.split("+") if isinstance(found, str) else ()


def _thumbprints(keys: Sequence[Key]) -> dict[str, str | None]:
    """Give label to thumbprint; keys of several types may share a kid (RFC 7517, section 4.5), then it is all of theirs."""
    found: dict[str, list[str]] = {}
    for key in keys:
        if key.kid is not None or key.thumbprint is not None:
            found.setdefault(key.label, []).extend([key.thumbprint] if key.thumbprint is not None else [])
    return {label: "+".join(sorted(prints)) or None for label, prints in found.items()}


def _changes(history: _History, current: Mapping[str, str | None], now: float) -> Iterator[KeyChange]:
    for label, thumbprint in current.items():
        before = history.published.get(label)
        if before is None:
            yield KeyChange("added", label)
        elif thumbprint is not None and before.get("thumbprint") not in (None, thumbprint):
            yield KeyChange("replaced", label)
    for label in history.published:
        if label not in current:
            alive = _number(history.signed.get(label, {}), "exp") > now
            yield KeyChange("withdrawn_early" if alive else "removed", label)


def _early(history: _History, changes: Sequence[KeyChange], now: float) -> Iterator[Warn]:
    for change in changes:
        if change.change == "withdrawn_early":
            signed = history.signed[change.kid]
            left, lifetime = _number(signed, "exp") - now, _number(signed, "lifetime")
            yield Warn(
                Reason.KID_WITHDRAWN_EARLY,
                f"key {shown(change.kid)} is gone, but a token signed by it is alive for {left:.0f} s more"
                + (f" (longest lifetime seen: {lifetime:.0f} s)" if lifetime else ""),
            )


def _unsafe(history: _History, changes: Sequence[KeyChange], now: float) -> Iterator[Warn]:
    """Warn of what clients with cached keys do not survive: other material under an old kid, or too short an overlap."""
    cache, lifetime = _number(history.times, "cache"), history.lifetime()
    for change in changes:
        kid = shown(change.kid)
        if change.change == "replaced":
            yield Warn(
                Reason.ROTATION_UNSAFE, f"key {kid} has other material under the same kid: caches hold the old one"
            )
        if change.change == "removed" and change.kid in history.signed and lifetime > 0:
            overlap = _overlap(history, changes, change.kid, now)
            if overlap < lifetime + cache:
                yield Warn(
                    Reason.ROTATION_UNSAFE,
                    f"key {kid} was published together with its successor for at most {overlap:.0f} s, but tokens live"
                    f" {lifetime:.0f} s and caches may keep the key set {cache:.0f} s",
                )
    gap = now - _number(history.times, "added")
    if gap < cache and any(c.change == "added" for c in changes):
        yield Warn(
            Reason.ROTATION_UNSAFE,
            f"keys were added twice within {gap:.0f} s, but Cache-Control lets clients keep the key set {cache:.0f} s",
        )


def _overlap(history: _History, changes: Sequence[KeyChange], kid: str, now: float) -> float:
    """Give the longest time that a key can have been published beside a younger one; endless where there is none."""
    own = _number(history.published[kid], "first_seen")
    gone = {c.kid for c in changes if c.change in {"removed", "withdrawn_early"}}
    younger = [
        _number(entry, "unseen_at")
        for label, entry in history.published.items()
        if label not in gone and _number(entry, "first_seen") > own
    ]
    if any(c.change == "added" for c in changes):
        younger.append(_number(history.times, "looked"))
    return now - min(younger) if younger else float("inf")


def _too_soon(history: _History, kid: str, now: float) -> Iterator[Warn]:
    """Warn of a key that signs while caches may still hold the key set without it."""
    entry, cache = history.published.get(kid), _number(history.times, "cache")
    if entry is None or kid in history.signed or "unseen_at" not in entry:
        return
    published = now - _number(entry, "unseen_at")
    if published < cache:
        yield Warn(
            Reason.ROTATION_UNSAFE,
            f"key {shown(kid)} signs tokens at most {published:.0f} s after it was published, but Cache-Control lets"
            f" clients keep the key set without it {cache:.0f} s",
        )


def _remember(history: _History, current: Mapping[str, str | None], now: float, cache: float | None) -> None:
    for label in [k for k in history.published if k not in current]:
        history.withdrawn[label] = history.published.pop(label)
    looked = history.times.get("looked")
    for label, thumbprint in current.items():
        known = history.published.get(label)
        if known is None:
            known = {"first_seen": now} if looked is None else {"first_seen": now, "unseen_at": looked}
            history.times["added"] = 0.0 if looked is None else now
        history.published[label] = {**known, "thumbprint": thumbprint, "last_seen": now}
        history.withdrawn.pop(label, None)
    history.times |= {"looked": now, "cache": cache or 0.0}
    history.withdrawn = {k: v for k, v in history.withdrawn.items() if _number(v, "last_seen") > now - _REMEMBERED}
    kept = history.published.keys() | history.withdrawn.keys()
    history.signed = {k: v for k, v in history.signed.items() if k in kept}


def _number(entry: Mapping[str, Any], name: str) -> float:
    value = entry.get(name)
    return float(value) if isinstance(value, int | float) else 0.0


def _load(ctx: Context) -> _History | None:
    """Give the memory of this flow's provider; None if there is none yet, or none that can be read."""
    document = ctx.state.load(_key(ctx))
    if document is None or not isinstance(document.get("published"), dict):
        return None
    times = document.get("times")
    return _History(
        published=_table(document, "published"),
        withdrawn=_table(document, "withdrawn"),
        signed=_table(document, "signed"),
        times=dict(times) if isinstance(times, dict) else {},
    )


def _table(document: Mapping[str, Any], name: str) -> dict[str, dict[str, Any]]:
    table = document.get(name)
    return {k: v for k, v in table.items() if isinstance(v, dict)} if isinstance(table, dict) else {}


def _save(ctx: Context, history: _History) -> None:
    history.issuer = ctx.identity_provider().issuer
    ctx.state.save(_key(ctx), asdict(history))


def _key(ctx: Context) -> str:
    return f"{HISTORY}{ctx.identity_provider().name}"
