"""Which cases are tried when: at most eight requests a run, turns over the rest, slow ones at their own cadence, marked."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from otelprobe.reasons import Reason
from otelprobe.rejection.api_cases import API_CASES
from otelprobe.rejection.case import Group
from otelprobe.rejection.selection import selected
from otelprobe.result import Fact
from otelprobe.state import State
from otelprobe.step import Done
from otelprobe.steps.reject import Reject
from tests.conftest import Server
from tests.steps.weak_api import WeakApi
from tests.token_kit import World, jwk, token

SAFE = {case.word for case in API_CASES.values() if case.group is Group.SAFE}


@pytest.fixture
def world(server: Server, tmp_path: Path) -> World:
    world = World(server.url)
    world.state = State(tmp_path)
    WeakApi(server, "RS256", world.clock)
    return world


def run(world: World, server: Server, **more: Any) -> Done:
    reject = Reject(name="reject", url=f"{server.url}/v1/orders", **more)
    return reject.run(
        world.context(world.key_set(jwk("RS256")), world.tokens(token("RS256", exp=world.clock.now + 300)))
    )


def tried(done: Done) -> tuple[str, ...]:
    found = done.facts[Fact.REJECTION_CASES]
    assert isinstance(found, tuple)
    return found


def test_a_run_sends_eight_requests_and_all_safe_cases_have_their_turn(world: World, server: Server) -> None:
    """By default a run offers six cases between two controls, the telling ones first, and goes on where the last one ended."""
    runs = []
    for _ in range(4):
        server.seen.clear()
        runs.append(tried(run(world, server)))
        assert len(server.seen) == 8
    assert runs[0][:4] == ("no_token", "garbage", "tampered", "alg_none")
    needs_more = {"expired", "revoked", "other_token", "id_token", "refresh_token", "narrow_scope", "no_certificate"}
    needs_more |= {"weak_secret", "unsupported_crit", "plain_http"} | {
        word for word in SAFE if word.startswith("signed_")
    }
    assert {name for names in runs for name in names} == SAFE - needs_more
    assert not set(runs[0]) & set(runs[1])


def test_turns_go_on_after_a_restart(world: World, server: Server, tmp_path: Path) -> None:
    """Another process with the same state directory begins where the last one ended."""
    first = tried(run(world, server))
    world.state.flush()
    world.state = State(tmp_path)
    assert not set(first) & set(tried(run(world, server)))


def test_slow_cases_come_at_their_own_cadence(world: World, server: Server) -> None:
    """They are offered at once, and then not before `every` has passed; also in another process."""
    counts = []
    for minutes in (0, 1, 59, 61):
        world.clock.now = 1_800_000_000 + minutes * 60
        names = tried(run(world, server, cases=("no_token", "slow"), every=3600.0))
        counts.append(len([n for n in names if API_CASES[n].group is Group.SLOW]))
    assert counts == [6, 0, 0, 6]


def test_without_a_state_directory_slow_cases_wait(world: World, server: Server) -> None:
    """A process that cannot know when they were last offered waits for `every` first, and says so once."""
    world.state = State()
    first = run(world, server, cases=("no_token", "unknown_kid"))
    assert tried(first) == ("no_token",)
    assert [(w.reason, w.detail) for w in first.warnings] == [
        (
            Reason.REJECTION_INCONCLUSIVE,
            "when slow cases were last tried is not known: they wait for 3600 s, as there is no state_dir",
        )
    ]
    assert run(world, server, cases=("no_token", "unknown_kid")).warnings == ()
    world.clock.now += 3601
    assert tried(run(world, server, cases=("no_token", "unknown_kid"))) == ("no_token", "unknown_kid")


def test_every_request_says_what_it_is(world: World, server: Server) -> None:
    """The header names the case; what makes noise also says so as its user agent, over what the flow file sets."""
    server.seen.clear()
    run(world, server, cases=("no_token", "unknown_kid", "path_case"), headers={"User-Agent": "mine"},
        allow_intrusive=True, intrusive_hosts=("127.0.0.1",))  # fmt: skip
    agents = {s.headers["x-otelprobe-case"]: s.headers["user-agent"] for s in server.seen}
    assert agents["control"] == agents["no_token"] == "mine"
    assert agents["unknown_kid"].endswith("(+synthetic check; rejection case unknown_kid; slow)")
    assert agents["path_case"].endswith("(+synthetic check; rejection case path_case; intrusive)")


def test_words_stand_for_cases() -> None:
    """A name, a number and a group may be mixed; each case comes once, in the order of the catalogue."""
    assert [c.word for c in selected(API_CASES, ("N1", "tampered", "no_token"))] == [
        *("no_token", "tampered", "flipped_signature", "stripped_signature")
    ]
    assert {c.group for c in selected(API_CASES, ("slow",))} == {Group.SLOW}
    assert len(selected(API_CASES, ("all",))) == len(API_CASES)


def test_what_is_named_and_cannot_be_made_is_said(world: World, server: Server) -> None:
    """A case of a group is left out without a word; one that is named is warned of, with what it lacks."""
    done = run(world, server, cases=("no_token", "N24", "expired", "id_token"))
    assert sorted(w.detail.partition(":")[0] for w in done.warnings) == [
        "no ID token was issued",
        "the token is not bound to a key (DPoP)",
        "without state_dir (and retain_key, or a client_secret) no token is kept between runs for the case expired",
    ]
    assert run(world, server, cases=("slow",)).warnings == ()


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (
            {"cases": ("path_case",)},
            ("cases", "path_case is intrusive: set allow_intrusive: true if you may attack api"),
        ),
        (
            {"cases": ("N33",), "allow_intrusive": True, "intrusive_hosts": ("other",)},
            ("intrusive_hosts", "oversize_token is intrusive: name the host, intrusive_hosts: [api]"),
        ),
        ({"cases": ("intrusive",), "allow_intrusive": True, "intrusive_hosts": ("api",)}, None),
        ({"cases": ("other_token",)}, ("cases", "other_token needs tokens")),
        ({"cases": ("signed_expired",)}, ("cases", "signed_expired needs signing_key")),
        ({"max_requests": 2}, ("max_requests", "two requests are for the good token: allow 3 at least")),
        ({"other_object": "https://elsewhere/1"}, ("other_object", "must be at the host and port of url")),
    ],
)
def test_what_may_not_be_is_refused_before_anything_is_sent(
    more: dict[str, Any], expected: tuple[str, str] | None
) -> None:
    """An intrusive case without leave, or without its host by name, and a case without what it needs, are faults."""
    found = list(Reject(url="https://api/orders", **more).faults())
    assert found == ([expected] if expected else [])


def test_the_plan_says_which_cases_there_are() -> None:
    """The notes for `otelprobe plan` name the cases by group, and how often."""
    reject = Reject(url="https://api/orders", cases=("no_token", "N5"), every=7200.0)
    assert list(reject.notes()) == ["safe: no_token", "slow, every 7200 s: unknown_kid"]
    assert replace(reject, cases=("N1",)).notes() is not None
