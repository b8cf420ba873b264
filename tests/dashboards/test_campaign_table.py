"""The campaign's table fits the rules, and its judge sees what is missing, besides, repeated or not over."""

import pytest

from dashboards.source.alerts import groups
from dashboards.source.outputs import flat
from dashboards.source.promql import PROVIDER
from dashboards.source.routing import receivers
from dashboards.source.rules import Parameters
from otelprobe.demo import FAULTS
from tests.stack.campaign import table
from tests.stack.campaign.judge import complaints
from tests.stack.campaign.pace import LONGEST, Late, at_its_pace
from tests.stack.campaign.page import page
from tests.stack.campaign.webhook import Told

NOTICES = {
    notice
    for notices in (*table.FAULTS.values(), *(scenario.notices for scenario in table.SCENARIOS.values()))
    for notice in notices
}


def told(
    at: float, notice: table.Notice, *, firing: bool = True, fingerprint: str = "a", provider: str = "corp"
) -> Told:
    """Give what Alertmanager would tell."""
    labels = {
        "alertname": notice.alert, "severity": notice.severity, "component": notice.component, "scope": "flow",
        PROVIDER: provider,
    }  # fmt: skip
    return Told(at, notice.receiver, firing, fingerprint, labels)


def test_the_table_knows_every_fault() -> None:
    """A fault that is new has to be given its notifications."""
    assert set(table.FAULTS) == set(FAULTS)
    assert all(f"| `{name}` |" in page() for name in (*table.FAULTS, *table.SCENARIOS))


def test_every_notice_is_an_alert_that_has_a_receiver() -> None:
    """What the table expects exists, with the severity that it says."""
    alerts = flat(groups(Parameters()))
    for notice in NOTICES:
        assert alerts[notice.alert].severity == notice.severity
        assert notice.receiver in receivers(Parameters())


def test_what_nobody_is_to_blame_for_wakes_nobody() -> None:
    """A fault that spends no objective pages only if a bad credential was accepted."""
    for name, fault in FAULTS.items():
        if fault.counts == "none" and table.ACCEPTED not in table.FAULTS[name]:
            assert {notice.receiver for notice in table.FAULTS[name]} == {table.TICKETS}


def test_the_judge() -> None:
    """Each kind of fault in what was told gets its own line, and a full story none."""
    expected = {"corp": (table.OUTAGE,)}
    first, end = told(1, table.OUTAGE), told(2, table.OUTAGE, firing=False)
    assert complaints([first, end], expected, resolved=True) == ()
    assert [line.split(":")[0] for line in complaints([], expected)] == ["missing"]
    assert [line.split(":")[0] for line in complaints([first, told(1, table.AUTH)], expected)] == ["besides"]
    assert [line.split(":")[0] for line in complaints([first, end, told(3, table.OUTAGE)], expected)] == [
        "told 2 times"
    ]
    assert [line.split(":")[0] for line in complaints([first], expected, resolved=True)] == ["not resolved"]


def test_the_judge_follows_a_notice_and_not_each_of_its_alerts() -> None:
    """Two flows of one notice open it once; an end whose beginning was silenced is none."""
    two = [told(at, table.API, fingerprint=f) for at, f in ((1, "a"), (2, "b"))]
    ends = [told(at, table.API, firing=False, fingerprint=f) for at, f in ((3, "a"), (4, "b"))]
    assert complaints([*two, *ends], {"corp": (table.API,)}, resolved=True) == ()
    assert complaints([told(1, table.AUTH, firing=False)], {}, resolved=True) == ()


def test_a_story_that_comes_late_is_told_again_more_slowly() -> None:
    """The minute doubles until the machine keeps up; a machine that never does is told of, and a fault is one at once."""
    tried: list[float] = []

    def late_below(limit: float) -> None:
        def story(minute: float) -> None:
            tried.append(minute)
            if minute < limit:
                raise Late("a group of rules: 9")

        at_its_pace(story, 2.0)

    late_below(8)
    assert tried == [2, 4, 8]
    with pytest.raises(
        pytest.fail.Exception, match=f"too slow even for a minute of {LONGEST:g} s: a group of rules: 9"
    ):
        late_below(2 * LONGEST)
    tried.clear()
    with pytest.raises(pytest.fail.Exception, match="missing"):
        at_its_pace(lambda _: pytest.fail("missing: corp"), 2.0)
