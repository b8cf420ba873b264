"""Compares what was told with the table: nothing missing, nothing besides, everything once, everything resolved."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from dashboards.source.credentials import NAME
from dashboards.source.promql import LOCATION, PROVIDER
from tests.stack.campaign.table import Notice
from tests.stack.campaign.webhook import Told

Case = str
"""A fault or a scenario: the provider's name, the location of a dead prober, or the name of what ends."""


@dataclass
class Story:
    """What became of one notice of a case. `opened` and `resolved` count, `first` and `last` are monotonic times."""

    opened: int = 0
    resolved: int = 0
    first: float = 0.0
    last: float = 0.0

    @property
    def open(self) -> bool:
        """Whether somebody still waits for its end."""
        return self.opened > self.resolved


def case_of(told: Told) -> Case:
    """Give the case that an alert is about."""
    labels = told.labels
    if labels["scope"] == "credential":
        return "tls-cert-expired" if labels[NAME].startswith("127.0.0.1:") else Path(labels[NAME]).stem
    return labels.get(PROVIDER) or labels.get(LOCATION) or ""


def notice_of(told: Told) -> Notice:
    """Give what was told to whom."""
    return Notice(told.alert, told.receiver, told.labels["severity"], told.labels["component"])


def stories(told: Iterable[Told]) -> Mapping[tuple[Case, Notice], Story]:
    """Follow each notice from its first notification to its end; one that opens twice was told twice.

    An end without a beginning is no notice: Alertmanager adds it to the end of others, where the beginning was silenced.
    """
    found: dict[tuple[Case, Notice], Story] = defaultdict(Story)
    firing: dict[tuple[Case, Notice], set[str]] = defaultdict(set)
    for one in told:
        key = (case_of(one), notice_of(one))
        before = bool(firing[key])
        (firing[key].add if one.firing else firing[key].discard)(one.fingerprint)
        if firing[key] and not before:
            found[key].opened += 1
            found[key].first = found[key].first or one.at
        elif before and not firing[key]:
            found[key].resolved += 1
            found[key].last = one.at
    return found


def complaints(
    told: Iterable[Told], expected: Mapping[Case, Iterable[Notice]], *, resolved: bool = False
) -> tuple[str, ...]:
    """Give a line for each notification that is missing, besides, repeated or, if that is asked for, not yet over."""
    found = stories(told)
    wanted = {(case, notice) for case, notices in expected.items() for notice in notices}
    lines = [f"missing: {case}: {notice}" for case, notice in wanted - set(found)]
    lines += [f"besides: {case}: {notice}" for case, notice in set(found) - wanted]
    lines += [f"told {s.opened} times: {case}: {notice}" for (case, notice), s in found.items() if s.opened > 1]
    if resolved:
        lines += [f"not resolved: {case}: {notice}" for (case, notice), s in found.items() if s.open]
    return tuple(sorted(lines))
