"""Points in time at which something ends: read from text and numbers, and told to people."""

import math
from datetime import UTC, datetime

from otelprobe.quick import dataclass

DAY = 86400.0

_MILLISECONDS = 1e11
"""A larger number of seconds lies beyond the year 5000, so it is milliseconds."""

_LATEST = 253402300799.0
"""The last second of the year 9999."""


@dataclass(frozen=True, slots=True)
class Ending:
    """When something ends, in Unix seconds; `assumed_utc` says that a time of day came without a zone."""

    unix: float
    assumed_utc: bool = False


def parse_ending(value: object) -> Ending:
    """Read ISO 8601 (a date alone is the start of that day in UTC), or Unix time in seconds or milliseconds.

    ValueError, without the value, if it is neither.
    """
    if isinstance(value, str):
        text = value.strip()
        digits = text.removeprefix("-").replace(".", "", 1)
        return _from_number(float(text)) if digits.isascii() and digits.isdigit() and len(digits) > 8 else _iso(text)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _from_number(float(value) if abs(value) < 1e18 else math.inf)
    raise ValueError("not a date: ISO 8601 as in 2027-01-31T12:00:00Z, or Unix time")


def _from_number(value: float) -> Ending:
    seconds = value / 1000 if abs(value) >= _MILLISECONDS else value
    if not 0 <= seconds <= _LATEST:
        raise ValueError("not a date: a number that is no Unix time")
    return Ending(seconds)


def _iso(text: str) -> Ending:
    """Read ISO 8601, also with a space for the T and with `UTC` for the zone."""
    text = f"{text[:-3].rstrip()}+00:00" if text.upper().endswith("UTC") else text
    try:
        found = datetime.fromisoformat(text)
        naive = found.tzinfo is None
        aware = found.replace(tzinfo=UTC) if naive else found
        return Ending(aware.timestamp(), assumed_utc=naive and len(text) > len("2027-01-31"))
    except (ValueError, OverflowError):
        pass
    raise ValueError("not a date: write it as in 2027-01-31 or 2027-01-31T12:00:00Z")


def as_date(unix: float) -> str:
    """Write a point in time as ISO 8601 in UTC."""
    return datetime.fromtimestamp(min(max(unix, 0.0), _LATEST), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def left_in_words(seconds: float) -> str:
    """Say how long something still lasts, or how long ago it ended."""
    amount = _amount(abs(seconds))
    return f"ends in {amount}" if seconds > 0 else f"ended {amount} ago"


def _amount(seconds: float) -> str:
    for size, unit in ((DAY, "d"), (3600.0, "h"), (60.0, "min")):
        if seconds >= 2 * size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s"
