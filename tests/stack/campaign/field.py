"""All that the campaign can break and mend: demos, realms of Keycloak, files, documents, probers and collectors."""

import datetime as dt
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests import saml_kit
from tests.stack.campaign import table
from tests.stack.campaign.board import Board, status_page
from tests.stack.campaign.chain import Chain, Place
from tests.stack.campaign.flows import CERTIFICATES, KEYS, SHARED, Book, add_scenarios
from tests.stack.campaign.realms import Realms
from tests.stack.campaign.targets import Targets
from tests.stack.harness.keycloak import Keycloak

FAULTS = table.FAULTS

SCENARIO_FAULTS = {
    "shared-outage": "token-down",
    "slow-provider": "slow-token",
    "slow-api": "api-slow",
    "drift": "missing-claim",
    "secret-missing": None,
}
"""The scenarios that have a demo of their own, and the fault that makes them."""

KEPT = frozenset({"drift", "discovery-drift"})
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

LONG = 400.0
"""Days until it ends, while all is well."""

MORTAL = ("dead-prober", "dead-collector")
"""The locations whose prober or collector dies."""


@dataclass
class Field:
    """Everything, in running order."""

    targets: Targets
    board: Board
    files: Path
    places: Mapping[str, Place]
    realms: Realms

    @property
    def flows(self) -> int:
        """How many flows have to pass before anything is broken."""
        return sum(place.flows for place in self.places.values())

    def break_all(self) -> None:
        """Begin every fault and scenario."""
        demos: dict[str, tuple[str, ...]] = {name: (name,) for name in FAULTS}
        self.targets.set(demos | {name: (fault,) for name, fault in SCENARIO_FAULTS.items() if fault})
        self.realms.trouble()
        dress(self.board, self.files, broken=True)
        self.places["dead-prober"].prober.kill()
        self.places["dead-collector"].collector.kill()

    def mend_all(self) -> None:
        """End every fault and scenario."""
        self.targets.set({name: () for name in (*FAULTS, *SCENARIO_FAULTS) if name not in KEPT})
        self.realms.mend()
        dress(self.board, self.files, broken=False)
        for name in MORTAL:
            self.places[name].revive()


def dress(board: Board, files: Path, *, broken: bool) -> None:
    """Write the files and documents that scenarios are made of."""
    board.documents["status"] = status_page(degraded=broken)
    for name in CERTIFICATES:
        _replace(files / f"{name}.pem", saml_kit.pair("campaign", ENDS[name] if broken else LONG).pem)
    for name in KEYS:
        ends = dt.datetime.now(dt.UTC) + dt.timedelta(days=ENDS[name] if broken else LONG)
        board.documents[name] = {"expires_at": ends.isoformat()}
    secret, away = files / "client-secret", files / "client-secret.away"
    if broken:
        secret.rename(away)
    elif away.exists():
        away.rename(secret)


def _replace(path: Path, text: str) -> None:
    """Write a file so that nobody reads half of it."""
    beside = path.with_suffix(".new")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)


def _books(minute: float, targets: Targets, board: Board, realms: Realms, files: Path) -> Mapping[str, Book]:
    """Write the flow files of all places; the demos are healthy yet."""
    demos = targets.set(dict.fromkeys((*FAULTS, *SCENARIO_FAULTS), ()))
    main = Book(minute)
    for name in FAULTS:
        main.add_fault(name, demos[name])
    files.joinpath("client-secret").write_text(
        demos["secret-missing"].environment["OTELPROBE_DEMO_CLIENT_SECRET"], encoding="utf-8"
    )
    add_scenarios(main, {name: demos[name] for name in SCENARIO_FAULTS}, board.url, files)
    realms.add_to(main)
    small = {}
    for name in MORTAL:
        small[name] = Book(minute)
        steps = small[name].add_provider(name, demos["drift"])
        for number in range(SHARED):
            small[name].add(f"{name}-{number}", [steps["discover"], steps["token"]], provider=name)
    return {"main": main, **small}


@contextmanager
def healthy_field(chain: Chain, keycloak: Keycloak, folder: Path) -> Iterator[Field]:
    """Give every target, healthy, with probers that run their flows."""
    files = folder / "files"
    files.mkdir()
    with ExitStack() as running:
        targets, board = running.enter_context(Targets(folder)), running.enter_context(Board())
        realms = running.enter_context(Realms(keycloak))
        dress(board, files, broken=False)
        places = {
            name: running.enter_context(Place(folder, name, chain, book.tree, book.environment))
            for name, book in _books(chain.minute, targets, board, realms, files).items()
        }
        yield Field(targets, board, files, places, realms)
