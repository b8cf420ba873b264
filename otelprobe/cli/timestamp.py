"""Points in time as every report writes them (apart from `verdict`, so that JSON needs nothing of the terminal)."""

from datetime import UTC, datetime


def rfc3339(time_ns: int) -> str:
    """Write a Unix time in nanoseconds as RFC 3339 in UTC with milliseconds."""
    whole, rest = divmod(time_ns, 1_000_000_000)
    stamp = datetime.fromtimestamp(whole, tz=UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{stamp}.{rest // 1_000_000:03d}Z"
