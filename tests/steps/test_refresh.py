"""The refresh step: a new token must come, rotated or not as expected."""

import pytest

from otelprobe.reasons import Blame, Counts, Reason
from otelprobe.result import Fact
from otelprobe.steps.call import Call
from otelprobe.steps.refresh import Refresh, RefreshExpect
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
        (token_answer(refresh_token="rt-3"), Reason.REFRESH_REUSE_ACCEPTED),
    ],
)
def test_a_spent_refresh_token_must_be_refused(bench: Bench, second: Answer, reason: Reason | None) -> None:
    """`reuse_refused` tries the old one again; if it works, that is a security finding."""
    answers = iter([token_answer(refresh_token="rt-1"), token_answer(refresh_token="rt-2"), second])
    bench.server.on("/token", lambda _: next(answers))
    result = bench.run(STEPS[0], Refresh(name="refresh", expect=RefreshExpect(reuse_refused=True)))
    assert result.reason is reason
    assert bench.server.seen[2].form["refresh_token"] == "rt-1"


def test_no_refresh_token_is_said(bench: Bench) -> None:
    """A grant that gives none cannot be refreshed; the detail says what to ask for."""
    bench.server.on("/token", token_answer())
    result = bench.run(*STEPS)
    assert (result.reason, "offline_access" in str(result.detail)) == (Reason.REFRESH_FAILED, True)
