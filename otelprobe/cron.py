"""Cron expressions as Debian's cron reads them, in UTC or a named zone: when a flow runs that has no plain interval."""

import math
from collections.abc import Iterator
from datetime import UTC, datetime, tzinfo
from itertools import dropwhile, islice, pairwise, takewhile

_SAMPLE_START = datetime(2024, 1, 1, tzinfo=UTC).timestamp()
_A_DAY = 86400.0


class Cron:
    """A cron expression of five fields, in UTC or in the zone that a leading `CRON_TZ=<zone>` names.

    Times that a change to summer time leaves out or repeats are run once (Debian's rules).
    """

    def __init__(self, text: str) -> None:
        from cronsim import CronSim, CronSimError  # noqa: PLC0415 - most flows have an interval

        zone, self._fields = _split_zone(text)
        self._zone = UTC if zone is None else _find_zone(zone)
        if len(self._fields.split()) != 5:
            raise ValueError("a cron expression has five fields: minute hour day-of-month month day-of-week")
        try:
            CronSim(self._fields, datetime.now(UTC))
        except CronSimError as error:
            raise ValueError(f"not a cron expression ({str(error).lower()}): write for example */5 * * * *") from None

    def shortest_gap(self, sample: int = 100) -> float:
        """Give the seconds between the two closest of the first runs of a fixed day."""
        times = list(islice(self._from(_SAMPLE_START), sample))
        return min((b - a for a, b in pairwise(times)), default=_A_DAY)

    def after(self, wall: float) -> float:
        """Give the Unix time of the first run after `wall`; infinity if there is none."""
        return next(self._from(wall), math.inf)

    def count(self, since: float, until: float, most: int) -> int:
        """Give how many runs lie after `since`, up to `until` and with it, at most `most`."""
        return sum(1 for _ in takewhile(lambda moment: moment <= until, islice(self._from(since), most)))

    def _from(self, wall: float) -> Iterator[float]:
        from cronsim import CronSim  # noqa: PLC0415 - most flows have an interval

        moments = (m.timestamp() for m in CronSim(self._fields, datetime.fromtimestamp(wall, self._zone)))
        # In the hour that is repeated at the end of summer time the first candidates may lie in the past.
        yield from dropwhile(lambda moment: moment <= wall, moments)


def _split_zone(text: str) -> tuple[str | None, str]:
    first, _, rest = text.strip().partition(" ")
    name, equals, zone = first.partition("=")
    return (zone, rest) if equals and name in {"CRON_TZ", "TZ"} else (None, text)


def _find_zone(name: str) -> tzinfo:
    from zoneinfo import ZoneInfo  # noqa: PLC0415 - most flows have an interval

    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError(
            "CRON_TZ names a time zone that is not known here: use a name such as Europe/Berlin, and install the "
            "system's zone data (the package tzdata) if it is missing"
        ) from None
