"""Keys that two environments have in common, by what is remembered of every provider: who has one of them has both."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from otelprobe.key_history import HISTORY, issuer_of, thumbprints_of
from otelprobe.state import State
from otelprobe.step import Context
from otelprobe.tokens import Key

_ONE_PLATFORM = frozenset({"login.microsoftonline.com", "sts.windows.net", "login.windows.net"})
"""Hosts of one service that signs for all of its tenants with the same keys, as it says."""

_MOST = 100

Shared = tuple[str, str]
"""A key's name, and who else has published it: the other provider's name and host."""


def shared_keys(ctx: Context, keys: Sequence[Key], elsewhere: Sequence[str] = ()) -> tuple[Shared, ...]:
    """Give the provider's keys that a provider of another issuer publishes, or did until lately.

    Looked through are the histories in the state directory, and in those of `elsewhere`.
    """
    own = ctx.identity_provider().issuer
    mine = {key.thumbprint: key.label for key in keys[:_MOST] if key.thumbprint is not None}
    found = [
        (mine[thumbprint], other)
        for history in _histories(ctx.state, elsewhere)
        if (other := _other(own, history)) is not None
        for thumbprint in thumbprints_of(history)
        if thumbprint in mine
    ]
    return tuple(dict.fromkeys(found))


def _histories(state: State, elsewhere: Sequence[str]) -> Iterator[Mapping[str, Any]]:
    for one in (state, *(State(Path(directory)) for directory in elsewhere)):
        yield from one.documents(HISTORY)


def _other(own: str, history: Mapping[str, Any]) -> str | None:
    """Give the host of a history's provider where it is another environment than this one."""
    issuer = issuer_of(history)
    if issuer is None or issuer.rstrip("/") == own.rstrip("/"):
        return None
    host, mine = urlsplit(issuer).hostname or "", urlsplit(own).hostname or ""
    if {host, mine} <= _ONE_PLATFORM:
        return None
    return host if host != mine else issuer
