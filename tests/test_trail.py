"""A log-in that goes round in circles is told as that, and as early as it can be known."""

import pytest

from otelprobe.reasons import CheckFailed, Reason
from otelprobe.trail import MOST_HOPS, Trail

PAGE = "https://somebody:canary@login.example.com:8443/authorize"
LATE = CheckFailed(Reason.DEADLINE_EXCEEDED, "no time was left")


def ending(trail: Trail, urls: list[str], *, posted: bool = False) -> CheckFailed | None:
    """Walk along; give what ended it."""
    for url in urls:
        try:
            trail.visit(url, posted=posted)
        except CheckFailed as failed:
            return failed
    return None


def test_the_same_page_again_and_again() -> None:
    """It is a loop after eight times, whatever it adds to its query; a page more would have been asked for."""
    trail = Trail()
    failed = ending(trail, [f"{PAGE}?{'?' * number}" for number in range(20)])
    assert failed is not None
    assert (failed.reason, trail.hops) == (Reason.REDIRECT_LOOP, 9)
    assert failed.detail == "the same page of login.example.com came 9 times, and nothing was sent"


def test_a_way_that_goes_on() -> None:
    """Forms that are sent to one place, and pages of many places, have the room that all log-ins have."""
    assert ending(Trail(), [PAGE] * MOST_HOPS, posted=True) is None
    trail = Trail()
    failed = ending(trail, [f"https://login.example.com/{number}" for number in range(40)])
    assert failed is not None
    assert (failed.reason, trail.hops) == (Reason.REDIRECT_LOOP, MOST_HOPS + 1)
    assert failed.detail == "more than 20 pages and redirects, the last at login.example.com"


@pytest.mark.parametrize(
    ("times", "left", "failed", "reason"),
    [
        (4, -0.1, LATE, Reason.REDIRECT_LOOP),
        (4, 0.0, CheckFailed(Reason.READ_TIMEOUT, "nothing came"), Reason.REDIRECT_LOOP),
        (3, -0.1, LATE, Reason.DEADLINE_EXCEEDED),
        (4, 5.0, CheckFailed(Reason.READ_TIMEOUT, "nothing came"), Reason.READ_TIMEOUT),
        (4, -0.1, CheckFailed(Reason.IDP_HTTP_5XX, "status 500"), Reason.IDP_HTTP_5XX),
    ],
)
def test_the_time_is_up_over_it(times: int, left: float, failed: CheckFailed, reason: Reason) -> None:
    """Where the same page came often until no time was left, that is the reason; else what was found stays."""
    trail = Trail()
    assert ending(trail, [PAGE] * times) is None
    assert trail.explained(failed, left).reason is reason


def test_a_form_that_was_sent_ends_the_circle() -> None:
    """A page that comes back after something was sent is no loop yet."""
    trail = Trail()
    assert ending(trail, [PAGE] * 6) is None
    assert ending(trail, [PAGE], posted=True) is None
    assert ending(trail, [PAGE] * 7) is None
    assert trail.explained(LATE, -1.0).reason is Reason.REDIRECT_LOOP
