"""Points in time at which something ends: what is read as one, and how it is told."""

import pytest

from otelprobe.endings import Ending, as_date, left_in_words, parse_ending

FIRST = 1801440000.0  # 2027-02-01T00:00:00Z


@pytest.mark.parametrize(
    ("value", "ending"),
    [
        ("2027-02-01", Ending(FIRST)),
        ("2027-02-01T00:00:00Z", Ending(FIRST)),
        ("2027-02-01T01:00:00+01:00", Ending(FIRST)),
        ("2027-02-01 00:00:00 UTC", Ending(FIRST)),
        ("2027-02-01T00:00:00.000Z", Ending(FIRST)),
        ("2027-02-01T00:00:00", Ending(FIRST, assumed_utc=True)),
        ("2027-02-01 00:00", Ending(FIRST, assumed_utc=True)),
        (1801440000, Ending(FIRST)),
        (1801440000.0, Ending(FIRST)),
        (1801440000000, Ending(FIRST)),
        ("1801440000", Ending(FIRST)),
        ("1801440000000", Ending(FIRST)),
    ],
)
def test_what_is_read(value: object, ending: Ending) -> None:
    """ISO 8601 with a zone and without, a date alone, Unix time in seconds and milliseconds, also as text."""
    assert parse_ending(value) == ending


@pytest.mark.parametrize(
    "value", ["", "soon", "31.01.2027", "2027-13-01", True, None, [], -1, 10**30, float("nan"), float("inf"), "9" * 400]
)
def test_what_is_not(value: object) -> None:
    """Anything else is refused without a word of it."""
    with pytest.raises(ValueError, match="not a date"):
        parse_ending(value)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (12 * 86400 + 5, "ends in 12 d"),
        (90000, "ends in 25 h"),
        (600, "ends in 10 min"),
        (5, "ends in 5 s"),
        (-3 * 86400, "ended 3 d ago"),
    ],
)
def test_words(seconds: float, words: str) -> None:
    """One unit is enough for people; two of it at least, so that nothing is rounded to almost nothing."""
    assert left_in_words(seconds) == words


def test_dates_that_no_calendar_has() -> None:
    """What lies beyond the calendar is told as its edge."""
    assert as_date(FIRST) == "2027-02-01T00:00:00Z"
    assert as_date(1e18) == "9999-12-31T23:59:59Z"
