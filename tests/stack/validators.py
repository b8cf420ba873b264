"""Services behind the validators that people really use, each in a process of its own, and misconfigured where it is asked for.

`start(kind, issuer=..., audience=..., jwks_url=...)` gives a running one; its `url` wants a Bearer token.
"""

import sys
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Literal

from tests.stack.harness.node import Told, script

HERE = Path(__file__).parent / "validators"
NODE = ("jose", "jsonwebtoken", "express-oauth2-jwt-bearer")
PYTHON = ("pyjwt", "authlib")
KINDS = (*NODE, *PYTHON)
CANNOT: Mapping[str, frozenset[str]] = {
    "express-oauth2-jwt-bearer": frozenset({"pin_algorithm", "fail_open", "follow"})
}
"""Switches that a kind does not have: its library leaves no way to be wrong so."""

_number = count(1)


class Service(Told):
    """A running service; `url` is its one page."""

    @property
    def url(self) -> str:
        """The page that wants a token."""
        return str(self.told["url"])


def start(
    kind: str,
    *,
    issuer: str,
    audience: str,
    jwks_url: str,
    folder: Path,
    next_url: str | None = None,
    check_issuer: bool = True,
    check_audience: bool = True,
    pin_algorithm: bool = True,
    check_expiry: bool = True,
    keys_for_ever: bool = False,
    fail_open: bool = False,
    follow: Literal["believed", "fetched"] | None = None,
    limit: int | None = None,
    scope: str | None = None,
) -> Service:
    """Start a service of a kind; the caller stops it (it is a context manager). `folder` takes its files.

    A healthy one checks signature, issuer, audience and times, and fetches the keys anew for a kid that it does not know.
    `next_url` is called with the same token before it answers; 502 if that is no success. `keys_for_ever`: the first key
    set is kept. `pin_algorithm` False: the token's own `alg` is believed, `none` and HS with the public key included.
    `follow`: the token's `jku` or `x5u` is fetched, and with `believed` its key is used. `limit`: so many requests a minute
    are answered (on Node only). With `scope` a token without it is answered by 403.
    `fail_open`: where the keys cannot be fetched, everybody is let in (a healthy one answers 503, express-oauth2-jwt-bearer 401).
    """
    switches = {"pin_algorithm": not pin_algorithm, "fail_open": fail_open, "follow": bool(follow)}
    wrong = [name for name, is_on in switches.items() if is_on and name in CANNOT.get(kind, ())]
    if wrong:
        raise ValueError(f"{kind} cannot be misconfigured by {', '.join(wrong)}")
    config = {
        "kind": kind,
        "issuer": issuer,
        "audience": audience,
        "jwks_url": jwks_url,
        "next_url": next_url,
        "check_issuer": check_issuer,
        "check_audience": check_audience,
        "pin_algorithm": pin_algorithm,
        "check_expiry": check_expiry,
        "keys_for_ever": keys_for_ever,
        "fail_open": fail_open,
        "follow": follow,
        "limit": limit,
        "scope": scope,
    }
    own = folder / f"{kind}-{next(_number)}"
    if kind in NODE:
        command: list[str | Path] = ["node", script(HERE, "service.mjs", own)]
    else:
        own.mkdir(parents=True)
        command = [sys.executable, HERE / "service.py"]
    return Service(kind, command, config, log=own / "log")
