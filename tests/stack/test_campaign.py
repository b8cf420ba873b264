"""The live campaign: every fault, through otelprobe, collector, Prometheus and Alertmanager, tells whom it should, no one else.

Rules and routes are the shipped ones, made for a minute of two seconds (`CAMPAIGN_MINUTE` makes it longer on a slow machine).
All faults are there at the same time, each at a provider of its own; then all are mended and everything has to be resolved.
"""

import datetime as dt
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import saml_kit
from tests.stack.campaign import table
from tests.stack.campaign.board import Board, status_page
from tests.stack.campaign.chain import Chain, Place
from tests.stack.campaign.flows import CERTIFICATES, KEYS, SHARED, Book, add_scenarios
from tests.stack.campaign.judge import case_of, complaints
from tests.stack.campaign.targets import Targets
from tests.stack.servers import told_in_one_line

FAULTS = table.FAULTS

pytestmark = pytest.mark.campaign
"""Scaled time: a machine that is busy besides makes late what has to come in time, and then twice what comes once."""

MINUTE = float(os.environ.get("CAMPAIGN_MINUTE", "2"))
"""Seconds that a minute of rules and routes lasts."""

PATIENCE = 60
"""Minutes within which everything has to be told, and then resolved: the longest alerts look back over an hour."""

ONSET = 32
"""Minutes that the faults last at least: the slowest alert that is told comes after 24, and so would one that should not."""

RESTART_MINUTE = 1.5 * MINUTE
"""A longer minute for the restart of Prometheus, which does not get shorter with the others."""

AFTER_RESTART = 7
"""Minutes after a restart of Prometheus: an alert that it forgot would be resolved after 4."""

SCENARIO_FAULTS = {
    "shared-outage": "token-down",
    "slow-provider": "slow-token",
    "slow-api": "api-slow",
    "drift": "missing-claim",
    "secret-missing": None,
}
"""The scenarios that have a demo of their own, and the fault that makes them."""

KEPT = frozenset({"drift"})
"""What is not mended: that would be one more change."""

ENDS = {
    "saml-certificate": 60.0,
    "saml-certificate-soon": 5.0,
    "tls-certificate": 20.0,
    "tls-certificate-soon": 2.0,
    "client-certificate": 20.0,
    "api-key": 20.0,
    "client-secret": 3.0,
    "api-key-ended": -1.0,
}
"""Days until it ends, while it is at fault."""

EXPECTED = {**table.FAULTS, **{name: scenario.notices for name, scenario in table.SCENARIOS.items()}}


def minutes(count: float) -> None:
    """Wait."""
    threading.Event().wait(count * MINUTE)


@dataclass
class Field:
    """All that can be broken and mended."""

    targets: Targets
    board: Board
    files: Path
    places: Mapping[str, Place]

    def break_all(self) -> None:
        """Begin every fault and scenario."""
        demos: dict[str, tuple[str, ...]] = {name: (name,) for name in FAULTS}
        self.targets.set(demos | {name: (fault,) for name, fault in SCENARIO_FAULTS.items() if fault})
        self.dress(broken=True)
        self.places["dead-prober"].prober.kill()
        self.places["dead-collector"].collector.kill()

    def mend_all(self) -> None:
        """End every fault and scenario."""
        self.targets.set({name: () for name in (*FAULTS, *SCENARIO_FAULTS) if name not in KEPT})
        self.dress(broken=False)
        for name in ("dead-prober", "dead-collector"):
            self.places[name].revive()

    def dress(self, *, broken: bool) -> None:
        """Write the files and documents that scenarios are made of."""
        dress(self.board, self.files, broken=broken)


def dress(board: Board, files: Path, *, broken: bool) -> None:
    """Write the files and documents that scenarios are made of."""
    board.documents["status"] = status_page(degraded=broken)
    for name in CERTIFICATES:
        _replace(files / f"{name}.pem", saml_kit.pair("campaign", ENDS[name] if broken else 400.0).pem)
    for name in KEYS:
        ends = dt.datetime.now(dt.UTC) + dt.timedelta(days=ENDS[name] if broken else 400.0)
        board.documents[name] = {"expires_at": ends.isoformat()}
    secret = files / "client-secret"
    if broken:
        secret.rename(files / "client-secret.away")
    elif (files / "client-secret.away").exists():
        (files / "client-secret.away").rename(secret)


def _replace(path: Path, text: str) -> None:
    """Write a file so that nobody reads half of it."""
    beside = path.with_suffix(".new")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)


def until(done: Callable[[], bool], patience: float) -> None:
    """Wait for so many minutes at most; what is still wrong then is for the caller to tell."""
    ends = time.monotonic() + patience * MINUTE
    while not done() and time.monotonic() < ends:
        minutes(0.5)


@pytest.fixture
def start_chain(tmp_path: Path) -> Iterator[Callable[[float], Chain]]:
    """Give what starts a chain without a prober; in the end, what it told is in told.txt."""
    with ExitStack() as running:

        def start(minute: float) -> Chain:
            with told_in_one_line():
                chain = Chain(tmp_path, minute)
            running.callback(_write_down, chain, time.monotonic(), tmp_path / "told.txt")
            return running.enter_context(chain)

        yield start


def _write_down(chain: Chain, began: float, path: Path) -> None:
    lines = (
        f"{told.at - began:7.1f} {'opens' if told.firing else 'ends '} {told.receiver:15} {case_of(told):26} {told.alert}"
        for told in chain.webhook.told()
    )
    path.write_text("\n".join(lines), encoding="utf-8")


@pytest.fixture
def chain(start_chain: Callable[[float], Chain]) -> Chain:
    """Give the chain of the campaign."""
    return start_chain(MINUTE)


def books(targets: Targets, board: Board, files: Path) -> Mapping[str, Book]:
    """Write the flow files of all places; the demos are healthy yet."""
    demos = targets.set(dict.fromkeys((*FAULTS, *SCENARIO_FAULTS), ()))
    main = Book(MINUTE)
    for name in FAULTS:
        main.add_fault(name, demos[name])
    files.joinpath("client-secret").write_text(
        demos["secret-missing"].environment["OTELPROBE_DEMO_CLIENT_SECRET"], encoding="utf-8"
    )
    add_scenarios(main, {name: demos[name] for name in SCENARIO_FAULTS}, board.url, files)
    small = {}
    for name in ("dead-prober", "dead-collector"):
        small[name] = Book(MINUTE)
        steps = small[name].add_provider(name, demos["drift"])
        for number in range(SHARED):
            small[name].add(f"{name}-{number}", [steps["discover"], steps["token"]], provider=name)
    return {"main": main, **small}


@pytest.fixture
def field(chain: Chain, tmp_path: Path) -> Iterator[Field]:
    """Give every target, healthy, with probers that have seen them all."""
    files = tmp_path / "files"
    files.mkdir()
    with ExitStack() as running, told_in_one_line():
        targets, board = running.enter_context(Targets(tmp_path)), running.enter_context(Board())
        dress(board, files, broken=False)
        places = {
            name: running.enter_context(Place(tmp_path, name, chain, book.tree, book.environment))
            for name, book in books(targets, board, files).items()
        }
        yield Field(targets, board, files, places)


def all_pass(chain: Chain) -> bool:
    """Tell whether every flow has passed."""
    wanted = len(FAULTS) + SHARED * 3 + 6
    return len([1 for _, value in chain.prometheus.query("otelprobe_flow_up") if value == 1]) >= wanted


def good(lines: tuple[str, ...]) -> None:
    """Fail with all that is wrong, a line for each."""
    if lines:
        pytest.fail("\n".join(lines), pytrace=False)


def test_every_fault_tells_whom_it_should(chain: Chain, field: Field) -> None:
    """No notification is missing, none is besides, each comes once, and after the mending all are resolved."""

    def wrong(*, resolved: bool = False) -> tuple[str, ...]:
        return complaints(chain.webhook.told(), EXPECTED, resolved=resolved)

    until(lambda: all_pass(chain), PATIENCE)
    assert all_pass(chain)
    minutes(5)
    good(complaints(chain.webhook.told(), {}))
    field.break_all()
    minutes(ONSET)
    until(lambda: not wrong(), PATIENCE - ONSET)
    good(wrong())
    field.mend_all()
    until(lambda: not wrong(resolved=True), 2 * PATIENCE)
    minutes(5)
    good(wrong(resolved=True))
    assert chain.webhook.heartbeats() > 0


def test_a_restart_of_prometheus_tells_nothing_twice(start_chain: Callable[[float], Chain], tmp_path: Path) -> None:
    """What was told before is neither resolved nor told again."""
    chain = start_chain(RESTART_MINUTE)
    names = ("token-down", "api-not-protected")
    expected = {name: table.FAULTS[name] for name in names}
    book = Book(RESTART_MINUTE)
    with Targets(tmp_path) as targets:
        for name, target in targets.set(dict.fromkeys(names, ())).items():
            book.add_fault(name, target)
        with Place(tmp_path, "main", chain, book.tree, book.environment):
            until(lambda: len(chain.prometheus.query("otelprobe_flow_up == 1")) == len(names), PATIENCE)
            targets.set({name: (name,) for name in names})
            until(lambda: not complaints(chain.webhook.told(), expected), PATIENCE)
            good(complaints(chain.webhook.told(), expected))
            chain.restart_prometheus()
            time.sleep(AFTER_RESTART * RESTART_MINUTE)
            good(complaints(chain.webhook.told(), expected))
            assert all(told.firing for told in chain.webhook.told())
