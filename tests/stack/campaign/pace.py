"""How long a minute has to be: as short as the slowest part of the chain keeps up with, and that is measured.

What gives way first on a busy machine is the evaluation of rules: a group of forty rules needs the processor forty times in
turn. Where it comes later than Prometheus holds a series for current, alerts end and begin anew although nothing has changed.
What was told then says nothing, neither good nor bad.
"""

from collections.abc import Callable, Mapping

import pytest

from otelprobe.telemetry import schema
from otelprobe.telemetry.schema import prometheus_name
from tests.stack.harness.prometheus import Prometheus

LONGEST = 16.0
"""Seconds: a machine that needs a longer minute is too slow."""

HARMLESS = 2
"""So many evaluations left out in one group change nothing: a series is held for current for five."""


class Late(Exception):
    """The chain did not keep up; the text says which part."""


class Pace:
    """Watches a chain from now on."""

    def __init__(self, prometheus: Prometheus) -> None:
        self._prometheus = prometheus
        self._before = self._counts()

    def _counts(self) -> Mapping[str, float]:
        """Give how often each group of rules, and the prober, have left something out."""
        groups = self._prometheus.missed_evaluations()
        runs = self._prometheus.query(f"sum({prometheus_name(schema.SCHEDULE_MISSED)})")
        return {**groups, "prober": runs[0][1] if runs else 0.0}

    def behind(self) -> str:
        """Say what did not keep up since the last question, and how often; empty if everything did."""
        now = self._counts()
        late = {part: count - self._before.get(part, 0.0) for part, count in now.items()}
        self._before = now
        return ", ".join(f"{part}: {count:.0f}" for part, count in late.items() if count > HARMLESS)

    def judge(self, complaints: tuple[str, ...]) -> None:
        """Fail with all that is wrong, a line for each; Late if that says nothing, as the chain did not keep up."""
        if complaints:
            late = self.behind()
            if late:
                raise Late(late)
            pytest.fail("\n".join(complaints), pytrace=False)


def at_its_pace(story: Callable[[float], None], minute: float) -> None:
    """Run a story of so many seconds a minute, and again with twice as many as long as the machine does not keep up."""
    while True:
        try:
            story(minute)
        except Late as late:
            print(f"a minute of {minute:g} s is too short here, left out were: {late}")
            minute *= 2
            if minute > LONGEST:
                pytest.fail(f"this machine is too slow even for a minute of {minute / 2:g} s: {late}", pytrace=False)
        else:
            return
