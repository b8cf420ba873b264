"""The live campaign: every fault, through otelprobe, collector, Prometheus and Alertmanager, tells whom it should, no one else.

Rules and routes are the shipped ones, made for a minute of two seconds, or of as many as the machine keeps up with. All faults
are there at the same time, each at a provider of its own; then all are mended and everything has to be resolved.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.stack.campaign import table
from tests.stack.campaign.chain import Chain, Place
from tests.stack.campaign.field import Field, healthy_field
from tests.stack.campaign.flows import Book
from tests.stack.campaign.judge import case_of, complaints
from tests.stack.campaign.pace import Late, Pace, at_its_pace
from tests.stack.campaign.targets import Targets
from tests.stack.harness.keycloak import Keycloak
from tests.stack.servers import told_in_one_line

pytestmark = pytest.mark.campaign
"""It takes minutes, and most of one processor."""

MINUTE = float(os.environ.get("CAMPAIGN_MINUTE", "2"))
"""Seconds that a minute of rules and routes lasts, at first."""

SETTLING = 5
"""Minutes that the healthy chain is watched: whether it keeps up, and tells nothing."""

PATIENCE = 60
"""Minutes within which everything has to be told, and then resolved: the longest alerts look back over an hour."""

ONSET = 32
"""Minutes that the faults last at least: the slowest alert that is told comes after 24, and so would one that should not."""

UNTIL_FROZEN = 12
"""Minutes until Keycloak's other troubles have been told, and it freezes."""

RESTART_MINUTE = 1.5 * MINUTE
"""A longer minute for the restart of Prometheus, which does not get shorter with the others."""

AFTER_RESTART = 7
"""Minutes after a restart of Prometheus: an alert that it forgot would be resolved after 4."""

EXPECTED = {**table.FAULTS, **{name: scenario.notices for name, scenario in table.SCENARIOS.items()}}


@contextmanager
def started(folder: Path, minute: float) -> Iterator[Chain]:
    """Give a chain without a prober, in a folder of its own; in the end, what it told is in told.txt there."""
    own = folder / f"minute-{minute:g}"
    own.mkdir()
    with told_in_one_line(), Chain(own, minute) as chain:
        began = time.monotonic()
        try:
            yield chain
        finally:
            _write_down(chain, began, own / "told.txt")


def _write_down(chain: Chain, began: float, path: Path) -> None:
    lines = (
        f"{told.at - began:7.1f} {'opens' if told.firing else 'ends '} {told.receiver:15} {case_of(told):26} {told.alert}"
        for told in chain.webhook.told()
    )
    path.write_text("\n".join(lines), encoding="utf-8")


class Story:
    """One run through the campaign. It ends with Late where the chain did not keep up and what it told says nothing."""

    def __init__(self, chain: Chain) -> None:
        self.chain = chain
        self.pace = Pace(chain.prometheus)

    def wait(self, count: float) -> None:
        """Wait so many minutes."""
        threading.Event().wait(count * self.chain.minute)

    def until(self, done: Callable[[], bool], patience: float) -> None:
        """Wait for so many minutes at most; what is still wrong then is for the caller to tell."""
        ends = time.monotonic() + patience * self.chain.minute
        while not done() and time.monotonic() < ends:
            self.wait(0.5)

    def wrong(self, expected: Mapping[str, tuple[table.Notice, ...]], *, resolved: bool = False) -> tuple[str, ...]:
        """Say what was told too little or too much so far."""
        return complaints(self.chain.webhook.told(), expected, resolved=resolved)

    def settle(self, flows: int) -> None:
        """Wait until so many flows pass and the chain keeps up; nothing may be told."""
        self.until(lambda: self._passing() >= flows, PATIENCE)
        self.pace.judge(() if self._passing() >= flows else (f"of {flows} flows only {self._passing()} pass",))
        self.pace = Pace(self.chain.prometheus)
        self.wait(SETTLING)
        late = self.pace.behind()
        if late:
            raise Late(late)
        self.pace.judge(self.wrong({}))

    def _passing(self) -> int:
        return len(self.chain.prometheus.query("otelprobe_flow_up == 1"))


def campaign(story: Story, field: Field) -> None:
    """Break everything, then mend it."""
    story.settle(field.flows)
    field.break_all()
    story.wait(UNTIL_FROZEN)
    field.realms.freeze()
    story.wait(ONSET - UNTIL_FROZEN)
    story.until(lambda: not story.wrong(EXPECTED), PATIENCE - ONSET)
    story.pace.judge(story.wrong(EXPECTED))
    field.mend_all()
    story.until(lambda: not story.wrong(EXPECTED, resolved=True), 2 * PATIENCE)
    story.wait(5)
    story.pace.judge(story.wrong(EXPECTED, resolved=True))
    assert story.chain.webhook.heartbeats() > 0


def test_every_fault_tells_whom_it_should(keycloak: Keycloak, tmp_path: Path) -> None:
    """No notification is missing, none is besides, each comes once, and after the mending all are resolved."""

    def tell(minute: float) -> None:
        with (
            started(tmp_path, minute) as chain,
            healthy_field(chain, keycloak, tmp_path / f"minute-{minute:g}") as field,
        ):
            campaign(Story(chain), field)

    at_its_pace(tell, MINUTE)


def restart(story: Story, targets: Targets) -> None:
    """Break two demos, and restart Prometheus when that was told."""
    expected = {name: table.FAULTS[name] for name in RESTARTED}
    story.settle(len(RESTARTED))
    targets.set({name: (name,) for name in RESTARTED})
    story.until(lambda: not story.wrong(expected), PATIENCE)
    story.pace.judge(story.wrong(expected))
    story.chain.restart_prometheus()
    story.pace = Pace(story.chain.prometheus)
    story.wait(AFTER_RESTART)
    told = story.chain.webhook.told()
    ended = tuple(f"ended: {case_of(one)}: {one.alert}" for one in told if not one.firing)
    story.pace.judge(story.wrong(expected) + ended)


RESTARTED = ("token-down", "api-not-protected")


def test_a_restart_of_prometheus_tells_nothing_twice(tmp_path: Path) -> None:
    """What was told before is neither resolved nor told again."""

    def tell(minute: float) -> None:
        book = Book(minute)
        with started(tmp_path, minute) as chain, Targets(tmp_path) as targets:
            for name, target in targets.set(dict.fromkeys(RESTARTED, ())).items():
                book.add_fault(name, target)
            with Place(tmp_path / f"minute-{minute:g}", "main", chain, book.tree, book.environment):
                restart(Story(chain), targets)

    at_its_pace(tell, RESTART_MINUTE)
