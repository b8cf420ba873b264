"""The token step: what is sent, what is accepted, and each way in which it fails."""

from base64 import b64decode
from dataclasses import replace
from pathlib import Path

import pytest

from otelprobe.expect import parse_comparison
from otelprobe.fields import Rate, SecretRef
from otelprobe.reasons import Blame, Counts, Outcome, Reason
from otelprobe.result import Fact
from otelprobe.steps.call import Call
from otelprobe.steps.revoke import Revoke
from otelprobe.steps.token import Token, TokenExpect
from otelprobe.tokens import generate_key, sign
from tests.conftest import Answer
from tests.steps.flows import Bench, as_json, last, token_answer

HTML = [("Content-Type", "text/html")]


def test_basic_authentication_is_form_encoded_first(bench: Bench) -> None:
    """RFC 6749, section 2.3.1: id and secret are form-encoded, then joined, then encoded."""
    bench.server.on("/token", token_answer())
    result = bench.run(Token(name="token", scope="a b", audience="orders", resource=("r1", "r2"), params={"x": "y"}))
    assert result.outcome is Outcome.PASS, result.detail
    (seen,) = bench.server.seen
    assert b64decode(seen.headers["authorization"].removeprefix("Basic ")) == b"otel+probe:s3cr3t%2F%2B+canary"
    assert seen.form == {
        "grant_type": "client_credentials",
        "scope": "a b",
        "audience": "orders",
        "resource": "r1",
        "x": "y",
    }
    assert seen.body.count(b"resource=") == 2


@pytest.mark.parametrize(
    ("method", "form"),
    [
        ("client_secret_post", {"client_id": "otel probe", "client_secret": "s3cr3t/+ canary"}),
        ("none", {"client_id": "otel probe"}),
    ],
)
def test_other_client_authentication(bench: Bench, method: str, form: dict[str, str]) -> None:
    """In the body, or not at all: then the id alone is sent, and no Authorization header."""
    bench.provider = replace(bench.provider, client_auth=method)
    bench.server.on("/token", token_answer())
    assert bench.run(Token(name="token")).passed
    (seen,) = bench.server.seen
    assert seen.form == {"grant_type": "client_credentials", **form}
    assert "authorization" not in seen.headers


def test_the_password_grant_sends_user_and_password(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The password is read at the moment of use; facts name grant and client authentication."""
    monkeypatch.setenv("PW", "p w")
    bench.server.on("/token", token_answer(refresh_token="rt"))
    result = bench.run(Token(name="token", grant="password", username="u", password=SecretRef(env="PW")))
    assert bench.server.seen[0].form == {"grant_type": "password", "username": "u", "password": "p w"}
    facts = last(result).facts
    assert facts[Fact.ISSUANCE_GRANT] == "password"
    assert facts[Fact.ISSUANCE_CLIENT_AUTH] == "client_secret_basic"
    assert facts[Fact.ISSUANCE_SOURCE] == "fresh"
    assert facts[Fact.ISSUANCE_EXPIRES_IN] == 300


@pytest.mark.parametrize(
    ("answer", "reason", "blame", "counts"),
    [
        (Answer(503, b"{}"), Reason.IDP_HTTP_5XX, Blame.PROVIDER, Counts.AUTH),
        (as_json({"error": "invalid_client"}, 500), Reason.IDP_HTTP_5XX, Blame.PROVIDER, Counts.AUTH),
        (Answer(429, b"slow down", [("Retry-After", "60")]), Reason.IDP_RATE_LIMITED, Blame.EDGE, Counts.NONE),
        (Answer(404, b"<html>no</html>", HTML), Reason.IDP_HTTP_4XX, Blame.PROVIDER, Counts.AUTH),
        (Answer(200, b"<html>hello</html>", HTML), Reason.IDP_NOT_JSON, Blame.PROVIDER, Counts.AUTH),
        (Answer(200, b"[1]"), Reason.IDP_NOT_JSON, Blame.PROVIDER, Counts.AUTH),
        (Answer(403, b"<html>you have been blocked</html>", HTML), Reason.WAF_BLOCKED, Blame.EDGE, Counts.NONE),
        (Answer(302, b"", [("Location", "/login")]), Reason.REDIRECT_UNEXPECTED, Blame.PROVIDER, Counts.AUTH),
        (as_json({"error": "invalid_client"}, 401), Reason.INVALID_CLIENT, Blame.CONFIG, Counts.NONE),
        (as_json({"error": "invalid_grant"}, 400), Reason.INVALID_GRANT, Blame.CONFIG, Counts.NONE),
        (as_json({"error": "server_error"}, 400), Reason.IDP_ERROR, Blame.PROVIDER, Counts.AUTH),
        (as_json({"error": "new_code"}, 400), Reason.OAUTH_ERROR_OTHER, Blame.CONFIG, Counts.NONE),
        (as_json({"error": "incorrect_client_credentials"}, 200), Reason.INVALID_CLIENT, Blame.CONFIG, Counts.NONE),
        (token_answer(access_token=None), Reason.TOKEN_MISSING, Blame.PROVIDER, Counts.AUTH),
        (token_answer(token_type="N_A"), Reason.TOKEN_TYPE_UNEXPECTED, Blame.PROVIDER, Counts.AUTH),
        (token_answer(expires_in="soon"), Reason.EXPIRES_IN_INVALID, Blame.PROVIDER, Counts.AUTH),
        (token_answer(expires_in=0), Reason.EXPIRES_IN_INVALID, Blame.PROVIDER, Counts.AUTH),
        (token_answer(scope="a"), Reason.SCOPE_REDUCED, Blame.PROVIDER, Counts.AUTH),
        (token_answer(scope="a b c"), Reason.SCOPE_EXCESS, Blame.PROVIDER, Counts.NONE),
    ],
)
def test_each_bad_answer_has_its_reason(
    bench: Bench, answer: Answer, reason: Reason, blame: Blame, counts: Counts
) -> None:
    """Status first, then the OAuth error, then what a token response has to hold."""
    bench.server.on("/token", answer)
    expect = TokenExpect(expires_in=parse_comparison(">0"), scope="exact")
    result = bench.run(Token(name="token", scope="a b", expect=expect))
    assert (result.reason, result.blame, result.counts) == (reason, blame, counts), result.detail


def test_an_error_code_that_is_free_text_is_not_repeated(bench: Bench) -> None:
    """A provider may put anything into `error`; only what looks like a code is told."""
    bench.server.on("/token", as_json({"error": "user canary@example.com is locked"}, 400))
    result = bench.run(Token(name="token"))
    assert result.reason is Reason.OAUTH_ERROR_OTHER
    assert "canary" not in repr(result)


def test_a_missing_secret_is_ours_and_sends_nothing(bench: Bench) -> None:
    """secret_missing is an error of the configuration; the provider is not even asked."""
    secret = bench.provider.client_secret
    assert secret is not None
    Path(str(secret.file)).unlink()
    result = bench.run(Token(name="token"))
    assert (result.outcome, result.reason, result.blame) == (Outcome.ERROR, Reason.SECRET_MISSING, Blame.CONFIG)
    assert bench.server.seen == []


def test_digits_as_text_are_taken_as_expires_in(bench: Bench) -> None:
    """Some providers send a string of digits; every client library takes it, and so do we."""
    bench.server.on("/token", token_answer(expires_in="300"))
    assert last(bench.run(Token(name="token"))).facts[Fact.ISSUANCE_EXPIRES_IN] == 300


def test_a_reused_token_is_said_to_be_cached_and_renewed_before_its_end(bench: Bench) -> None:
    """`cache: reuse` asks once, says so, and asks anew when the rest would not outlast a run."""
    bench.server.on("/token", token_answer(expires_in=100))
    step = Token(name="token", cache="reuse")
    assert last(bench.run(step)).facts[Fact.ISSUANCE_SOURCE] == "fresh"
    cached = last(bench.run(step)).facts
    assert cached[Fact.ISSUANCE_SOURCE] == "cached"
    assert 90 < float(cached[Fact.ISSUANCE_EXPIRES_IN]) <= 100  # type: ignore[arg-type]  # a number by its kind
    assert len(bench.server.seen) == 1
    bench.clock.seconds = 91
    assert last(bench.run(step)).facts[Fact.ISSUANCE_SOURCE] == "fresh"
    assert len(bench.server.seen) == 2


def test_a_fresh_token_is_asked_for_by_default(bench: Bench) -> None:
    """Two runs ask twice: a cached token would hide an outage of the provider."""
    bench.server.on("/token", token_answer())
    bench.run(Token(name="token"))
    bench.run(Token(name="token"))
    assert len(bench.server.seen) == 2


def test_beyond_the_budget_nothing_is_asked(bench: Bench) -> None:
    """A used-up budget is the prober's own affair, not an outage."""
    bench.provider = replace(bench.provider, budget=Rate(1, 60.0))
    bench.server.on("/token", token_answer())
    assert bench.run(Token(name="token")).passed
    result = bench.run(Token(name="token"))
    assert (result.outcome, result.reason, result.blame) == (Outcome.ERROR, Reason.BUDGET_EXHAUSTED, Blame.PROBER)
    assert len(bench.server.seen) == 1


def test_the_successor_of_a_seed_is_used_until_the_seed_changes(bench: Bench, tmp_path: Path) -> None:
    """A rotated refresh token replaces the seed in memory; a new seed in the file wins over it."""
    seed = tmp_path / "seed"
    seed.write_text("rt-0")
    bench.server.on("/token", lambda seen: token_answer(refresh_token=seen.form["refresh_token"] + "+"))
    step = Token(name="token", grant="refresh_token", refresh_token=SecretRef(file=str(seed)))
    bench.run(step)
    bench.run(step)
    seed.write_text("rt-new")
    bench.run(step)
    assert [seen.form["refresh_token"] for seen in bench.server.seen] == ["rt-0", "rt-0+", "rt-new"]


def test_the_token_that_was_issued_is_the_one_sent(bench: Bench) -> None:
    """Two tokens in one flow are told apart by the name of their step."""
    answers = iter([token_answer(access_token="one"), token_answer(access_token="two")])
    bench.server.on("/token", lambda _: next(answers))
    bench.server.on("/api", lambda seen: Answer(200, seen.headers["authorization"].encode()))
    url = f"{bench.server.url}/api"
    bench.run(Token(name="first"), Token(name="second"), Call(name="a", url=url), Call(name="b", url=url, use="first"))
    assert [s.headers["authorization"] for s in bench.server.seen if s.path == "/api"] == ["Bearer two", "Bearer one"]


@pytest.mark.parametrize(
    ("claims", "reason"), [({"scope": "a"}, None), ({}, Reason.SCOPE_REDUCED), ({"scp": ["a"]}, None)]
)
def test_a_scope_that_was_dropped_without_a_word_is_seen_in_the_token(
    bench: Bench, claims: dict[str, object], reason: Reason | None
) -> None:
    """An answer without `scope` means as requested, unless the RFC 9068 token itself says otherwise."""
    token = sign(claims, generate_key("HS256"), "HS256", {"typ": "at+jwt"})
    bench.server.on("/token", token_answer(access_token=token))
    assert bench.run(Token(name="token", scope="a")).reason is reason


def test_a_token_that_is_not_as_expected_is_revoked_all_the_same(bench: Bench) -> None:
    """It was issued and is alive, so a clean-up step gets it; and it is never taken from the cache."""
    bench.server.on("/token", token_answer(token_type="mac"))
    bench.server.on("/revocation", Answer(200))
    steps = (Token(name="token", cache="reuse"), Revoke(name="revoke", always=True))
    for _ in range(2):
        assert bench.run(*steps).reason is Reason.TOKEN_TYPE_UNEXPECTED
    assert [s.path for s in bench.server.seen] == ["/token", "/revocation"] * 2


def test_a_cached_token_that_was_revoked_is_not_used_again(bench: Bench) -> None:
    """The API would refuse it, and be blamed for that."""
    bench.server.on("/token", token_answer())
    bench.server.on("/revocation", Answer(200))
    steps = (Token(name="token", cache="reuse"), Revoke(name="revoke"))
    facts = [bench.run(*steps).steps[0].facts[Fact.ISSUANCE_SOURCE] for _ in range(2)]
    assert facts == ["fresh", "fresh"]
