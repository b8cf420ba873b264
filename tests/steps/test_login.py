"""The log-in step: any shape in, a token or a cookie out."""

import pytest

from otelprobe.fields import SecretRef
from otelprobe.reasons import Blame, Counts, Reason
from otelprobe.steps.call import Call
from otelprobe.steps.login import Login
from tests.conftest import Answer
from tests.steps.flows import Bench, as_json

HTML = [("Content-Type", "text/html")]


def test_a_json_log_in_with_secrets_at_any_depth(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Secrets inside the body are read when it is sent; the token is found by its path and used."""
    monkeypatch.setenv("PW", "canary")
    bench.server.on("/login", as_json({"data": {"token": "t-1"}}))
    bench.server.on("/api", Answer(200))
    url = bench.server.url
    body = {"user": {"name": "u", "credentials": [{"password": SecretRef(env="PW")}]}, "remember": True}
    result = bench.run(
        Login(name="login", url=f"{url}/login", json=body, headers={"X-App": "1"}, extract="$.data.token"),
        Call(name="call", url=f"{url}/api"),
    )
    assert result.passed, result.detail
    assert (
        bench.server.seen[0].body
        == b'{"user": {"name": "u", "credentials": [{"password": "canary"}]}, "remember": true}'
    )
    assert bench.server.seen[0].headers["x-app"] == "1"
    assert bench.server.seen[1].headers["authorization"] == "Bearer t-1"
    assert "canary" not in repr(result)


def test_a_form_log_in(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Form fields are sent as a browser would."""
    monkeypatch.setenv("PW", "p&w")
    bench.server.on("/login", as_json({"access_token": "t"}))
    form = {"user": "u", "pass": SecretRef(env="PW"), "keep": True}
    assert bench.run(Login(name="login", url=f"{bench.server.url}/login", form=form)).passed
    assert bench.server.seen[0].form == {"user": "u", "pass": "p&w", "keep": "true"}


def test_a_cookie_log_in_may_end_in_a_redirect(bench: Bench) -> None:
    """Most web applications answer a good log-in with a cookie and a redirect to the start page."""
    answer = Answer(302, b"", [("Set-Cookie", "sid=1; Secure"), ("Location", "/home")])
    bench.server.on("/login", answer)
    assert bench.run(Login(name="login", url=f"{bench.server.url}/login", form={"u": "x"}, cookie="sid")).passed


@pytest.mark.parametrize(
    ("answer", "reason", "blame", "counts"),
    [
        (Answer(401), Reason.LOGIN_REJECTED, Blame.CONFIG, Counts.NONE),
        (Answer(400, b"{}"), Reason.LOGIN_REJECTED, Blame.CONFIG, Counts.NONE),
        (Answer(404), Reason.IDP_HTTP_4XX, Blame.PROVIDER, Counts.AUTH),
        (Answer(502), Reason.IDP_HTTP_5XX, Blame.PROVIDER, Counts.AUTH),
        (Answer(429), Reason.IDP_RATE_LIMITED, Blame.EDGE, Counts.NONE),
        (as_json({"token": ""}), Reason.TOKEN_MISSING, Blame.PROVIDER, Counts.AUTH),
        (as_json({"token": 7}), Reason.TOKEN_MISSING, Blame.PROVIDER, Counts.AUTH),
        (Answer(200, b"ok"), Reason.IDP_NOT_JSON, Blame.PROVIDER, Counts.AUTH),
        (Answer(200, b"<html>again</html>", HTML), Reason.IDP_NOT_JSON, Blame.PROVIDER, Counts.AUTH),
        (Answer(302, b"", [("Location", "/login?error")]), Reason.REDIRECT_UNEXPECTED, Blame.PROVIDER, Counts.AUTH),
    ],
)
def test_each_bad_answer_has_its_reason(
    bench: Bench, answer: Answer, reason: Reason, blame: Blame, counts: Counts
) -> None:
    """A refused log-in is our credential; anything else is the provider's or the edge's."""
    bench.server.on("/login", answer)
    result = bench.run(Login(name="login", url=f"{bench.server.url}/login", json={}, extract="$.token"))
    assert (result.reason, result.blame, result.counts) == (reason, blame, counts), result.detail


def test_a_log_in_page_shown_again_sets_no_session(bench: Bench) -> None:
    """A form log-in that fails often answers 200 with the form and without the cookie."""
    bench.server.on("/login", Answer(200, b"<html><input type=password></html>", HTML))
    result = bench.run(Login(name="login", url=f"{bench.server.url}/login", form={}, cookie="sid"))
    assert result.reason is Reason.TOKEN_MISSING
