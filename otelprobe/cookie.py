"""A cookie that a log-in sets: its value for later requests, and its attributes as facts (RFC 6265, section 5.2)."""

from collections.abc import Mapping
from dataclasses import field
from email.utils import parsedate_to_datetime

from otelprobe.http import Reply
from otelprobe.quick import dataclass
from otelprobe.result import Fact, FactValue

_SAME_SITE = {"strict": "Strict", "lax": "Lax", "none": "None"}
_LONGEST = 400 * 86400.0
"""Seconds; browsers keep no cookie longer than 400 days, whatever a server asks for."""


@dataclass(frozen=True, slots=True)
class SetCookie:
    """One `Set-Cookie` line, read as browsers do. `lifetime` is in seconds, None for a cookie of the session."""

    name: str
    value: str = field(repr=False)
    secure: bool = False
    http_only: bool = False
    same_site: str | None = None
    lifetime: float | None = None

    def facts(self) -> Mapping[str, FactValue]:
        """Give what may be published of it."""
        found: dict[str, FactValue] = {Fact.COOKIE_SECURE: self.secure, Fact.COOKIE_HTTP_ONLY: self.http_only}
        found[Fact.COOKIE_SAME_SITE] = self.same_site or "unset"
        if self.lifetime is not None:
            found[Fact.COOKIE_EXPIRES_IN] = self.lifetime
        return found


def find_cookie(reply: Reply, name: str, now: float) -> SetCookie | None:
    """Give the last cookie of a name that is set to a value and has not ended already (Unix time `now`)."""
    read = (_read(line, now) for line in reply.values("Set-Cookie"))
    named = [one for one in read if one.name == name]
    return named[-1] if named and named[-1].value and named[-1].lifetime != 0 else None


def _read(line: str, now: float) -> SetCookie:
    first, *rest = line.split(";")
    name, _, value = first.partition("=")
    told = {n.strip().lower(): v.strip() for n, _, v in (part.partition("=") for part in rest)}
    return SetCookie(
        name=name.strip(),
        value=_unquoted(value.strip()),
        secure="secure" in told,
        http_only="httponly" in told,
        same_site=_SAME_SITE.get(told.get("samesite", "").lower()),
        lifetime=_lifetime(told, now),
    )


def _unquoted(value: str) -> str:
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' else value


def _lifetime(told: Mapping[str, str], now: float) -> float | None:
    """Read Max-Age, which wins, or Expires; what cannot be read is as if it were not there."""
    age = told.get("max-age", "")
    if age.removeprefix("-").isdigit() and age.isascii():
        return min(float(age[:20]), _LONGEST) if not age.startswith("-") else 0.0
    try:
        ends = parsedate_to_datetime(told.get("expires", ""))
        return max(0.0, min(round(ends.timestamp() - now, 3), _LONGEST))
    except (ValueError, TypeError, OverflowError, OSError):
        return None
