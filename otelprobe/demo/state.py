"""What the two servers remember: accounts, issued tokens and their families, sessions, orders, the clock."""

import secrets
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TypeVar

from otelprobe.demo.faults import Switches

ACCESS_LIFETIME = 300
REFRESH_LIFETIME = 3600
SESSION_LIFETIME = 3600
COOKIE = "session"
"""Name of the session cookie."""

SKEW = 600
"""How far the clock faults put a clock off, in seconds."""

_MOST = 5000
_T = TypeVar("_T")


class Clock:
    """A server's own idea of the time; `fault` puts it off by `offset` seconds."""

    def __init__(self, switches: Switches, fault: str, offset: int) -> None:
        self._switches, self._fault, self._offset = switches, fault, offset

    def now(self) -> int:
        """Give Unix time as this server believes it to be."""
        return int(time.time()) + (self._offset if self._switches.on(self._fault) else 0)


@dataclass(frozen=True, slots=True)
class Accounts:
    """The identities of one demo, drawn anew at each start.

    The client secret contains characters that RFC 6749 section 2.3.1 wants form-encoded before Base64, so that a client
    that forgets it is refused here and not first in production.
    """

    client_id: str = "otelprobe-demo"
    public_client_id: str = "otelprobe-demo-public"
    api_client_id: str = "orders-api"
    username: str = "probe"
    subject: str = field(default_factory=lambda: secrets.token_hex(8))
    client_secret: str = field(default_factory=lambda: secrets.token_urlsafe(24) + "+/%41=:", repr=False)
    api_client_secret: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)
    password: str = field(default_factory=lambda: secrets.token_urlsafe(18), repr=False)
    api_key: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)
    login_key: str = field(default_factory=lambda: secrets.token_urlsafe(48), repr=False)

    def match(self, username: object, password: object) -> bool:
        """Compare a user name and a password in constant time."""
        given = f"{username}\0{password}".encode()
        return secrets.compare_digest(given, f"{self.username}\0{self.password}".encode())


@dataclass(slots=True)
class Issued:
    """One answer of the token endpoint. `family` ties together what came from one log-in by refreshing."""

    client_id: str
    scope: str
    audience: tuple[str, ...]
    subject: str | None
    family: str
    issued_at: int
    access: str = field(repr=False)
    refresh: str | None = field(repr=False)
    access_revoked: bool = False
    refresh_spent: bool = False
    refresh_revoked: bool = False

    def check_client(self, client: object) -> bool:
        """Tell whether it was issued to this client (Authlib asks)."""
        return self.client_id == getattr(client, "client_id", None)

    def get_scope(self) -> str:
        """Give the granted scope (Authlib asks)."""
        return self.scope


@dataclass(frozen=True, slots=True)
class Found:
    """A token that was looked up: what it belongs to, which of the two it is, and the time now."""

    issued: Issued
    is_refresh: bool
    now: int

    @property
    def expires_at(self) -> int:
        """When it ends, Unix time."""
        return self.issued.issued_at + (REFRESH_LIFETIME if self.is_refresh else ACCESS_LIFETIME)

    def check_client(self, client: object) -> bool:
        """Tell whether it was issued to this client (Authlib asks)."""
        return self.issued.check_client(client)

    def is_expired(self) -> bool:
        """Tell whether its time is over (Authlib asks)."""
        return self.now >= self.expires_at

    def is_revoked(self) -> bool:
        """Tell whether it was revoked or, for a refresh token, spent (Authlib asks)."""
        if self.is_refresh:
            return self.issued.refresh_revoked or self.issued.refresh_spent
        return self.issued.access_revoked


class Bounded(OrderedDict[str, _T]):
    """A dictionary that forgets its oldest members, so that a demo left running does not grow."""

    def put(self, key: str, value: _T) -> None:
        """Add a member and forget the oldest beyond the limit."""
        self[key] = value
        while len(self) > _MOST:
            self.popitem(last=False)


class TokenStore:
    """Every token that was issued, by its text."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._access: Bounded[Issued] = Bounded()
        self._refresh: Bounded[Issued] = Bounded()

    def add(self, issued: Issued) -> None:
        """Remember an answer of the token endpoint."""
        with self._lock:
            self._access.put(issued.access, issued)
            if issued.refresh is not None:
                self._refresh.put(issued.refresh, issued)

    def find(self, text: str, now: int) -> Found | None:
        """Look a token up, whichever of the two kinds it is."""
        with self._lock:
            if (issued := self._access.get(text)) is not None:
                return Found(issued, is_refresh=False, now=now)
            if (issued := self._refresh.get(text)) is not None:
                return Found(issued, is_refresh=True, now=now)
            return None

    def spend(self, text: str, client_id: str, now: int, *, keep: bool) -> Issued | None:
        """Take a refresh token for use, once unless `keep`; None if it is not good.

        A second use revokes its whole family (RFC 9700, section 4.14.2).
        """
        found = self.find(text, now)
        if found is None or not found.is_refresh or found.is_expired() or found.issued.client_id != client_id:
            return None
        issued = found.issued
        with self._lock:
            reused = issued.refresh_spent and not keep
            issued.refresh_spent = not keep
            if not reused:
                return None if issued.refresh_revoked else issued
        self.revoke_family(issued.family)
        return None

    def revoke_family(self, family: str) -> None:
        """Revoke everything that came from one log-in."""
        with self._lock:
            for issued in (*self._access.values(), *self._refresh.values()):
                if issued.family == family:
                    issued.access_revoked = issued.refresh_revoked = True


class Sessions:
    """Cookie sessions, which provider and API share as a site and its API do."""

    def __init__(self) -> None:
        self._ends: Bounded[int] = Bounded()

    def open(self, now: int) -> str:
        """Begin a session and give the cookie's value."""
        value = secrets.token_urlsafe(24)
        self._ends.put(value, now + SESSION_LIFETIME)
        return value

    def alive(self, value: str, now: int) -> bool:
        """Tell whether a cookie's value stands for a session that has not ended."""
        return now < self._ends.get(value, 0)
