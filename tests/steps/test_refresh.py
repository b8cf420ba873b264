"""The refresh step: a new token must come, rotated or not as expected."""

from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest

from otelprobe.fields import Rate, SecretRef
from otelprobe.reasons import Blame, Counts, Reason
from otelprobe.result import Fact
from otelprobe.steps.call import Call
from otelprobe.steps.refresh import Refresh, RefreshExpect
from otelprobe.steps.revoke import Revoke
from otelprobe.steps.token import Token
from tests.conftest import Answer, Seen
from tests.steps.flows import Bench, as_json, last, token_answer


def answering(bench: Bench, answer: Answer) -> None:
    """Issue rt-1 first, and answer every refresh so."""

    def route(seen: Seen) -> Answer:
        is_refresh = seen.form["grant_type"] == "refresh_token"
        return answer if is_refresh else token_answer(refresh_token="rt-1")

    bench.server.on("/token", route)


STEPS = (Token(name="token"), Refresh(name="refresh"))


def test_the_new_token_is_used_from_then_on(bench: Bench) -> None:
    """A later call sends what the refresh gave."""
    answering(bench, token_answer(access_token="at-2", refresh_token="rt-2"))
    bench.server.on("/api", Answer(200))
    result = bench.run(*STEPS, Call(name="call", url=f"{bench.server.url}/api"))
    assert result.passed, result.detail
    assert bench.server.seen[1].form == {"grant_type": "refresh_token", "refresh_token": "rt-1"}
    assert bench.server.seen[2].headers["authorization"] == "Bearer at-2"
    assert result.steps[1].facts[Fact.REFRESH_ROTATED] is True


@pytest.mark.parametrize("given", ["rt-1", None])
def test_a_refresh_token_that_stays_is_kept(bench: Bench, given: str | None) -> None:
    """The same one, or none, means that the old one stays valid (RFC 6749, section 6)."""
    answering(bench, token_answer(refresh_token=given))
    result = bench.run(*STEPS, Refresh(name="again"))
    assert result.passed, result.detail
    assert bench.server.seen[2].form["refresh_token"] == "rt-1"


@pytest.mark.parametrize(
    ("answer", "reason", "blame", "counts"),
    [
        (as_json({"error": "invalid_grant"}, 400), Reason.INVALID_GRANT, Blame.PROVIDER, Counts.AUTH),
        (as_json({"error": "invalid_client"}, 401), Reason.INVALID_CLIENT, Blame.CONFIG, Counts.NONE),
        (as_json({"error": "strange_code"}, 400), Reason.REFRESH_FAILED, Blame.PROVIDER, Counts.AUTH),
        (Answer(400), Reason.REFRESH_FAILED, Blame.PROVIDER, Counts.AUTH),
        (token_answer(access_token=None), Reason.REFRESH_FAILED, Blame.PROVIDER, Counts.AUTH),
        (Answer(500), Reason.IDP_HTTP_5XX, Blame.PROVIDER, Counts.AUTH),
    ],
)
def test_each_refusal_has_its_reason(
    bench: Bench, answer: Answer, reason: Reason, blame: Blame, counts: Counts
) -> None:
    """The provider refuses what it issued: that is its own fault, unless it says that the client is wrong."""
    answering(bench, answer)
    result = bench.run(*STEPS)
    assert (result.reason, result.blame, result.counts) == (reason, blame, counts), result.detail


@pytest.mark.parametrize(("wanted", "reason"), [(True, Reason.REFRESH_NOT_ROTATED), (False, None), (None, None)])
def test_rotation_is_checked_as_expected(bench: Bench, wanted: bool | None, reason: Reason | None) -> None:
    """The same refresh token again is a finding only where rotation is expected."""
    answering(bench, token_answer(refresh_token="rt-1"))
    result = bench.run(STEPS[0], Refresh(name="refresh", expect=RefreshExpect(rotated=wanted)))
    assert result.reason is reason
    assert last(result).facts[Fact.REFRESH_ROTATED] is False


@pytest.mark.parametrize(
    ("second", "reason"),
    [
        (as_json({"error": "invalid_grant"}, 400), None),
        (as_json({"error": "invalid_grant"}, 200), None),
        (Answer(400), None),
        (token_answer(refresh_token="rt-3"), Reason.REFRESH_REUSE_ACCEPTED),
        (Answer(503), Reason.IDP_HTTP_5XX),
        (Answer(429), Reason.IDP_RATE_LIMITED),
    ],
)
def test_a_spent_refresh_token_must_be_refused(bench: Bench, second: Answer, reason: Reason | None) -> None:
    """`reuse_refused` tries the old one again: if it works, that is a security finding; an outage is no refusal."""
    answers = iter([token_answer(refresh_token="rt-1"), token_answer(refresh_token="rt-2"), second])
    bench.server.on("/token", lambda _: next(answers))
    result = bench.run(STEPS[0], Refresh(name="refresh", expect=RefreshExpect(reuse_refused=True)))
    assert result.reason is reason
    assert bench.server.seen[2].form["refresh_token"] == "rt-1"


def test_no_refresh_token_is_said(bench: Bench) -> None:
    """A grant that gives none cannot be refreshed: that is what was asked for, nobody's outage; the detail says what to ask."""
    bench.server.on("/token", token_answer())
    result = bench.run(*STEPS)
    assert (result.reason, "offline_access" in str(result.detail)) == (Reason.REFRESH_FAILED, True)
    assert (result.blame, result.counts) == (Blame.CONFIG, Counts.NONE)


@pytest.mark.parametrize("expect", [RefreshExpect(rotated=False), RefreshExpect(reuse_refused=True)])
def test_what_a_refresh_issued_is_revoked_even_if_it_was_not_as_expected(bench: Bench, expect: RefreshExpect) -> None:
    """A clean-up step gets the newest tokens: the old ones are spent, and the new ones would live on."""
    answering(bench, token_answer(access_token="at-2", refresh_token="rt-2"))
    bench.server.on("/revocation", Answer(200))
    result = bench.run(STEPS[0], Refresh(name="refresh", expect=expect), Revoke(name="revoke", always=True))
    assert result.failed_step == "refresh"
    assert bench.server.seen[-1].form["token"] == "rt-2"


def test_a_cached_token_that_was_refreshed_is_not_used_again(bench: Bench) -> None:
    """Its refresh token is spent: to send it in the next run would look like theft, and be blamed on the provider."""
    answering(bench, token_answer(access_token="at-2", refresh_token="rt-2"))
    steps = (Token(name="token", cache="reuse"), Refresh(name="refresh"))
    assert [last(bench.run(*steps)).outcome for _ in range(2)] == ["pass", "pass"]
    assert [s.form["grant_type"] for s in bench.server.seen] == ["client_credentials", "refresh_token"] * 2


def test_the_seed_has_the_successor_that_a_refresh_issued(bench: Bench, tmp_path: Path) -> None:
    """The next run goes on from the newest refresh token, whichever step obtained it."""
    seed = tmp_path / "seed"
    seed.write_text("rt-0")
    issued = count(1)
    bench.server.on("/token", lambda _: token_answer(refresh_token=f"rt-{next(issued)}"))
    steps = (Token(name="token", grant="refresh_token", refresh_token=SecretRef(file=str(seed))), STEPS[1])
    for _ in range(2):
        bench.run(*steps)
    assert [s.form["refresh_token"] for s in bench.server.seen] == ["rt-0", "rt-1", "rt-2", "rt-3"]


def test_trying_a_spent_token_again_is_paid_from_the_budget(bench: Bench) -> None:
    """Every request to the token endpoint counts, also one that only proves a point."""
    bench.provider = replace(bench.provider, budget=Rate(2, 60.0))
    answering(bench, token_answer(refresh_token="rt-2"))
    result = bench.run(STEPS[0], Refresh(name="refresh", expect=RefreshExpect(reuse_refused=True)))
    assert (result.reason, len(bench.server.seen)) == (Reason.BUDGET_EXHAUSTED, 2)
