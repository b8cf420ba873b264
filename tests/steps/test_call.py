"""The call step: credentials go where they should, and each answer blames the right side."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from otelprobe.credentials import ApiKey, Auth, Basic
from otelprobe.expect import Expect, parse_matcher
from otelprobe.fields import SecretRef
from otelprobe.reasons import Blame, Counts, Reason
from otelprobe.result import Fact
from otelprobe.steps.call import Call
from otelprobe.steps.login import Login
from otelprobe.steps.token import Token
from otelprobe.tokens import generate_key, sign
from tests.conftest import Answer, Seen
from tests.steps.flows import Bench, as_json, last, token_answer

HTML = [("Content-Type", "text/html")]
GOOD = sign({"sub": "x"}, generate_key("HS256"), "HS256", {})


def challenge(text: str, status: int = 401) -> Answer:
    """Make a refusal with a challenge."""
    return Answer(status, b"", [("WWW-Authenticate", text)])


def by_credential(good: Answer, bare: Answer, forged: Answer) -> Callable[[Seen], Answer]:
    """Answer by what is sent: the issued token, none, another one."""

    def route(seen: Seen) -> Answer:
        sent = seen.headers.get("authorization")
        return bare if sent is None else good if sent == f"Bearer {GOOD}" else forged

    return route


def call(bench: Bench, answer: Answer | Callable[[Seen], Answer], **members: Any) -> Any:
    """Get a token and call an API that answers so."""
    bench.server.on("/token", token_answer(access_token=GOOD))
    bench.server.on("/api", answer)
    return bench.run(Token(name="token"), Call(name="call", url=f"{bench.server.url}/api", **members))


@pytest.mark.parametrize(
    ("answer", "reason", "blame", "counts"),
    [
        (challenge('Bearer error="invalid_token"'), Reason.API_REJECTS_VALID_TOKEN, Blame.API, Counts.AUTH),
        (challenge('Bearer realm="x"'), Reason.CREDENTIALS_NOT_SEEN, Blame.API, Counts.AUTH),
        (Answer(401), Reason.UNAUTHORIZED_UNEXPLAINED, Blame.API, Counts.AUTH),
        (challenge("Basic"), Reason.UNAUTHORIZED_UNEXPLAINED, Blame.API, Counts.AUTH),
        (challenge('Bearer error="insufficient_scope"', 403), Reason.INSUFFICIENT_SCOPE, Blame.CONFIG, Counts.NONE),
        (
            challenge('Bearer error="insufficient_user_authentication"'),
            Reason.STEP_UP_REQUIRED,
            Blame.CONFIG,
            Counts.NONE,
        ),
        (challenge('Bearer error="invalid_request"'), Reason.API_INVALID_REQUEST, Blame.CONFIG, Counts.NONE),
        (as_json({"error": "no"}, 403), Reason.FORBIDDEN, Blame.CONFIG, Counts.NONE),
        (Answer(429), Reason.API_RATE_LIMITED, Blame.EDGE, Counts.NONE),
        (as_json({}, 403, X_RateLimit_Remaining="0"), Reason.API_RATE_LIMITED, Blame.EDGE, Counts.NONE),
        (Answer(403, b"<html>request blocked</html>", HTML), Reason.WAF_BLOCKED, Blame.EDGE, Counts.NONE),
        (Answer(202, b"", [("x-amzn-waf-action", "challenge")]), Reason.BOT_CHALLENGE, Blame.EDGE, Counts.NONE),
        (Answer(302, b"", [("Location", "/login")]), Reason.REDIRECTED_TO_LOGIN, Blame.API, Counts.AUTH),
        (Answer(302, b"", [("Location", "/v2/api")]), Reason.REDIRECT_UNEXPECTED, Blame.API, Counts.API),
        (Answer(200, b"<html><input type=password></html>", HTML), Reason.REDIRECTED_TO_LOGIN, Blame.API, Counts.AUTH),
        (Answer(404), Reason.API_NOT_FOUND, Blame.API, Counts.API),
        (Answer(400), Reason.API_INVALID_REQUEST, Blame.CONFIG, Counts.NONE),
        (Answer(418), Reason.ASSERTION_FAILED, Blame.API, Counts.API),
    ],
)
def test_each_answer_blames_the_right_side(
    bench: Bench, answer: Answer, reason: Reason, blame: Blame, counts: Counts
) -> None:
    """RFC 6750 challenges, limits, edges, redirects and plain errors are told apart."""
    result = call(bench, answer)
    assert (result.reason, result.blame, result.counts) == (reason, blame, counts), result.detail


REFUSED = challenge('Bearer error="invalid_token"')


@pytest.mark.parametrize(
    ("bare", "forged", "reason"),
    [
        (challenge("Bearer"), REFUSED, Reason.API_UNAVAILABLE),
        (challenge("Bearer"), Answer(500), Reason.VALIDATOR_BROKEN),
        (Answer(500), Answer(500), Reason.API_UNAVAILABLE),
        (Answer(200, b"{}"), Answer(500), Reason.ENDPOINT_NOT_PROTECTED),
    ],
)
def test_two_controls_decide_who_broke(bench: Bench, bare: Answer, forged: Answer, reason: Reason) -> None:
    """The matrix of rule 2: no token, a forged one, the good one that got a 5xx."""
    result = call(bench, by_credential(Answer(500), bare, forged))
    assert result.reason is reason, result.detail
    row = last(result)
    assert row.facts[Fact.CONTROL_NO_CREDENTIAL] == bare.status
    assert row.facts[Fact.CONTROL_FORGED] == forged.status
    assert [x.control for x in row.exchanges] == [False, True, True]
    assert row.duration < sum(x.duration for x in row.exchanges) + 1


def test_the_forged_token_reaches_the_key_lookup(bench: Bench) -> None:
    """It has three segments and the real header, so that a validator fetches its keys for it."""
    call(bench, by_credential(Answer(500), challenge("Bearer"), Answer(500)))
    forged = bench.server.seen[-1].headers["authorization"].removeprefix("Bearer ")
    assert forged.split(".")[:2] == GOOD.split(".")[:2]
    assert forged != GOOD


def test_the_same_answer_to_every_credential_is_said(bench: Bench) -> None:
    """Where no, forged and good token get the same answer, the token may not be seen at all."""
    assert "may not be seen" in str(call(bench, Answer(401)).detail)
    assert "may not be seen" not in str(call(bench, by_credential(REFUSED, Answer(401), REFUSED)).detail)


def test_a_403_can_be_what_this_api_means_by_401(bench: Bench) -> None:
    """`unauthorized_status` reads another status as a refusal of the credential."""
    result = call(bench, Answer(403), unauthorized_status=(401, 403))
    assert result.reason is Reason.UNAUTHORIZED_UNEXPLAINED


def test_expectations_and_capture_are_read_from_the_answer(bench: Bench) -> None:
    """A status, a header and a JSON value can be wanted; captured values fill later URLs, headers and bodies."""
    bench.server.on("/orders", as_json({"id": 7, "status": "ok"}, 201))
    bench.server.on("/orders/7", as_json({}))
    bench.server.on("/token", token_answer())
    base = bench.server.url
    result = bench.run(
        Token(name="token"),
        Call(
            name="create",
            method="POST",
            url=f"{base}/orders",
            json={"a": 1},
            capture={"id": "$.id"},
            expect=Expect(status=("201",), json={"$.status": parse_matcher("ok")}),
        ),
        Call(
            name="read", method="PUT", url=f"{base}/orders/${{id}}", headers={"X-Id": "${id}"}, json={"deep": ["${id}"]}
        ),
    )
    assert result.passed, result.detail
    read = bench.server.seen[-1]
    assert (read.path, read.headers["x-id"], read.body) == ("/orders/7", "7", b'{"deep": ["7"]}')
    assert last(result).exchanges[0].url == f"{base}/orders/${{id}}"


def test_a_capture_that_finds_nothing_fails_its_step(bench: Bench) -> None:
    """The step that should have given the value is to blame, not the one that uses it."""
    result = call(bench, as_json({"other": 1}), capture={"id": "$.id"})
    assert (result.reason, result.failed_step) == (Reason.ASSERTION_FAILED, "call")


@pytest.mark.parametrize(
    ("auth", "where", "value"),
    [
        (Auth(scheme=""), "authorization", GOOD),
        (Auth(scheme="Token"), "authorization", f"Token {GOOD}"),
        (Auth(none=True), "authorization", None),
        (Auth(basic=Basic(username="u", password=SecretRef(env="KEY"))), "authorization", "Basic dTprIDE="),
        (Auth(api_key=ApiKey(header="X-API-Key", value=SecretRef(env="KEY"))), "x-api-key", "k 1"),
        (Auth(api_key=ApiKey(cookie="key", value=SecretRef(env="KEY"))), "cookie", "key=k%201"),
    ],
)
def test_credentials_go_where_they_should(
    bench: Bench, auth: Auth, where: str, value: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A raw token, another scheme, none, basic, and API keys in a header or a cookie."""
    monkeypatch.setenv("KEY", "k 1")
    assert call(bench, Answer(200), auth=auth).passed
    assert bench.server.seen[-1].headers.get(where) == value


def test_a_key_in_the_query_never_shows(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The API gets it, the published URL does not have it."""
    monkeypatch.setenv("KEY", "canary")
    auth = Auth(api_key=ApiKey(query="key", value=SecretRef(env="KEY")))
    result = call(bench, Answer(200), auth=auth)
    assert bench.server.seen[-1].query == {"key": ["canary"]}
    assert "canary" not in repr(result)


def test_a_refused_key_is_our_own_credential(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A static key that is refused was rotated or expired: nobody's outage."""
    monkeypatch.setenv("KEY", "k")
    auth = Auth(api_key=ApiKey(header="X-API-Key", value=SecretRef(env="KEY")))
    result = call(bench, Answer(401), auth=auth)
    assert (result.reason, result.blame, result.counts) == (Reason.LOGIN_REJECTED, Blame.CONFIG, Counts.NONE)


def test_a_session_cookie_is_sent_after_a_log_in(bench: Bench) -> None:
    """A log-in that ends in a cookie is used by the calls after it, also when it was made after a token."""
    bench.server.on("/login", Answer(204, b"", [("Set-Cookie", "a=1; Path=/"), ("Set-Cookie", "sid=s1; HttpOnly")]))
    bench.server.on("/api", Answer(200))
    result = bench.run(
        Login(name="login", url=f"{bench.server.url}/login", json={"u": "x"}, cookie="sid"),
        Call(name="call", url=f"{bench.server.url}/api"),
    )
    assert result.passed, result.detail
    assert bench.server.seen[-1].headers["cookie"] == "sid=s1"


def test_one_token_goes_through_a_chain_of_services(bench: Bench) -> None:
    """The first service that refuses is named; later ones are not asked."""
    bench.server.on("/token", token_answer(access_token=GOOD))
    bench.server.on("/a", Answer(200))
    bench.server.on("/b", REFUSED)
    steps = [Call(name=n, url=f"{bench.server.url}/{n}") for n in "abc"]
    result = bench.run(Token(name="token"), *steps)
    assert (result.failed_step, result.reason) == ("b", Reason.API_REJECTS_VALID_TOKEN)
    assert [s.outcome.value for s in result.steps] == ["pass", "pass", "fail", "skip"]
    assert not [s for s in bench.server.seen if s.path == "/c"]


def test_a_server_error_does_not_call_a_token_good_that_nobody_verified(bench: Bench) -> None:
    """The detail claims no more than is known."""
    assert "a token that was not verified here" in str(call(bench, Answer(503)).detail)


def test_secrets_inside_a_body(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """References at any depth are read when the request is sent, beside what was captured, and never show."""
    monkeypatch.setenv("PIN", "pin-canary ${x}")
    bench.server.on("/api", as_json({"id": 7}))
    url, pin = f"{bench.server.url}/api", SecretRef(env="PIN")
    first = Call(name="json", url=url, method="POST", json={"a": [{"pin": pin}]}, capture={"id": "$.id"})
    second = Call(name="form", url=url, method="POST", form={"pin": pin, "id": "${id}"})
    assert first.secrets() == second.secrets() == (pin,)
    result = bench.run(first, second)
    assert result.passed, result.detail
    assert json.loads(bench.server.seen[0].body) == {"a": [{"pin": "pin-canary ${x}"}]}
    assert bench.server.seen[1].form == {"pin": "pin-canary ${x}", "id": "7"}
    assert "pin-canary" not in repr(result)
    monkeypatch.delenv("PIN")
    assert bench.run(first).reason is Reason.SECRET_MISSING
