"""The provider's key set: fetched and classified alike by every step that needs it, and remembered between runs.

The memory is one document per provider: which keys are published and which were, and until when a token is alive that was
signed by each. From it a rotation is told from a withdrawal that came too early.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from otelprobe.http import Redirects, Reply
from otelprobe.pages import classify_page, is_html
from otelprobe.reasons import CheckFailed, Reason
from otelprobe.result import KeyChange, Warn
from otelprobe.step import Context, KeySet
from otelprobe.tokens import Key, parse_key_set, shown

_REMEMBERED = 30 * 86400.0
"""Seconds that a withdrawn key is remembered: longer than any access token should live."""

_UNCACHED: Mapping[str, str] = {"Cache-Control": "no-cache"}


def fetch_key_set(ctx: Context, url: str, redirects: Redirects, *, again: bool = False) -> tuple[KeySet, Reply]:
    """Fetch and parse a JWKS; CheckFailed(jwks_unavailable, jwks_invalid or what an edge in front of it says).

    `again` marks the second look after an unknown kid: past caches, and not part of what a client's request would take.
    """
    reply = ctx.send("GET", url, headers=_UNCACHED if again else None, redirects=redirects, control=again)
    _refuse(reply)
    try:
        document = reply.json()
    except ValueError:
        what = "an HTML page" if is_html(reply) else f"no JSON ({shown(reply.media_type) or 'no media type'})"
        raise CheckFailed(Reason.JWKS_INVALID, f"{what} where the key set should be") from None
    return KeySet(parse_key_set(document), url), reply


def _refuse(reply: Reply) -> None:
    """Raise for what the status or an edge says, before the body is read."""
    if reply.status == 429:
        raise CheckFailed(Reason.IDP_RATE_LIMITED, "status 429 for the key set")
    page = classify_page(reply)
    if page is not None:
        raise CheckFailed(page, f"status {reply.status} with a page from in front of the provider")
    if 300 <= reply.status < 400:
        raise CheckFailed(Reason.REDIRECT_UNEXPECTED, f"status {reply.status} for the key set, not followed")
    if reply.status != 200:
        raise CheckFailed(Reason.JWKS_UNAVAILABLE, f"status {reply.status} for the key set")


@dataclass
class _History:
    """What is remembered of one provider: labels of keys to their thumbprints and times, Unix seconds."""

    published: dict[str, dict[str, Any]] = field(default_factory=dict)
    withdrawn: dict[str, dict[str, Any]] = field(default_factory=dict)
    signed: dict[str, dict[str, Any]] = field(default_factory=dict)


def note_keys(ctx: Context, keys: Sequence[Key]) -> tuple[tuple[KeyChange, ...], tuple[Warn, ...]]:
    """Remember which keys are published; give what has changed since the last run (nothing on the first), and warnings.

    A key without kid goes by its thumbprint. One that vanished while a token signed by it is alive was withdrawn early.
    """
    now, current = ctx.now(), _thumbprints(keys)
    with ctx.memory.lock:
        history = _load(ctx)
        if history is None:
            changes, history = [], _History()
        else:
            changes = list(_changes(history, current, now))
        _remember(history, current, now)
        _save(ctx, history)
    early = tuple(_early(history, changes, now))
    return tuple(KeyChange(change.change, shown(change.kid)) for change in changes), early


def note_token(ctx: Context, kid: str, exp: float, lifetime: float | None) -> None:
    """Remember until when a token signed by a key is alive, and the longest lifetime seen."""
    with ctx.memory.lock:
        history = _load(ctx)
        if history is None:
            return
        before = history.signed.get(kid, {})
        history.signed[kid] = {
            "exp": max(exp, _number(before, "exp")),
            "lifetime": max(lifetime or 0.0, _number(before, "lifetime")),
        }
        _save(ctx, history)


def withdrawn_kids(ctx: Context) -> frozenset[str]:
    """Give the keys that were published in an earlier run and are no more."""
    history = _load(ctx)
    return frozenset(history.withdrawn) if history is not None else frozenset()


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


def _remember(history: _History, current: Mapping[str, str | None], now: float) -> None:
    for label in [k for k in history.published if k not in current]:
        history.withdrawn[label] = history.published.pop(label)
    for label, thumbprint in current.items():
        known = history.published.get(label) or {"first_seen": now}
        history.published[label] = {**known, "thumbprint": thumbprint, "last_seen": now}
        history.withdrawn.pop(label, None)
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
    return _History(**{name: _table(document, name) for name in ("published", "withdrawn", "signed")})


def _table(document: Mapping[str, Any], name: str) -> dict[str, dict[str, Any]]:
    table = document.get(name)
    return {k: v for k, v in table.items() if isinstance(v, dict)} if isinstance(table, dict) else {}


def _save(ctx: Context, history: _History) -> None:
    ctx.state.save(
        _key(ctx),
        {"published": history.published, "withdrawn": history.withdrawn, "signed": history.signed},
    )


def _key(ctx: Context) -> str:
    return f"jwks.{ctx.identity_provider().name}"
