"""The steps around a token's life: introspection, revocation, user information."""

import pytest

from otelprobe.reasons import Blame, Counts, Outcome, Reason
from otelprobe.steps.call import Call
from otelprobe.steps.introspect import Introspect, IntrospectExpect
from otelprobe.steps.revoke import Revoke
from otelprobe.steps.token import Token
from otelprobe.steps.userinfo import UserInfo
from otelprobe.tokens import generate_key, sign
from tests.conftest import Answer
from tests.steps.flows import Bench, as_json, last, token_answer

TOKEN = Token(name="token")


@pytest.mark.parametrize(
    ("answer", "wanted", "reason", "blame"),
    [
        (as_json({"active": True}), True, None, None),
        (as_json({"active": False}), False, None, None),
        (as_json({"active": False}), True, Reason.INTROSPECTION_INACTIVE, Blame.PROVIDER),
        (as_json({"active": True}), False, Reason.INTROSPECTION_ACTIVE_AFTER_REVOKE, Blame.PROVIDER),
        (as_json({}), True, Reason.ASSERTION_FAILED, Blame.PROVIDER),
        (as_json({"active": "true"}), True, Reason.ASSERTION_FAILED, Blame.PROVIDER),
        (Answer(500), True, Reason.IDP_HTTP_5XX, Blame.PROVIDER),
        (Answer(401), True, Reason.IDP_HTTP_4XX, Blame.PROVIDER),
        (as_json({"error": "invalid_client"}, 401), True, Reason.INVALID_CLIENT, Blame.CONFIG),
    ],
)
def test_introspection(bench: Bench, answer: Answer, wanted: bool, reason: Reason | None, blame: Blame | None) -> None:
    """`active` is compared with what is expected; refusals have their own reasons."""
    bench.server.on("/token", token_answer())
    bench.server.on("/introspection", answer)
    result = bench.run(TOKEN, Introspect(name="introspect", expect=IntrospectExpect(active=wanted)))
    assert (result.reason, result.blame) == (reason, blame), result.detail
    assert bench.server.seen[-1].form == {"token": "at-1", "token_type_hint": "access_token"}


@pytest.mark.parametrize(
    ("token", "told"),
    [
        (sign({"aud": "orders"}, generate_key("HS256"), "HS256"), True),
        (sign({"aud": ["orders", "account"]}, generate_key("HS256"), "HS256"), True),
        (sign({}, generate_key("HS256"), "HS256"), True),
        (sign({"aud": ["orders", "otel probe"]}, generate_key("HS256"), "HS256"), False),
        (sign({"aud": "otel probe"}, generate_key("HS256"), "HS256"), False),
        ("opaque", False),
        ("a.b.c", False),
    ],
    ids=["other", "others", "none", "among others", "the client", "opaque", "malformed"],
)
def test_inactive_to_a_client_outside_the_audience(bench: Bench, token: str, told: bool) -> None:
    """Where the client is not in the audience, the detail says that this may be why the token is called inactive."""
    bench.server.on("/token", token_answer(access_token=token))
    bench.server.on("/introspection", as_json({"active": False}))
    result = bench.run(TOKEN, Introspect(name="introspect"))
    assert (result.reason, result.blame) == (Reason.INTROSPECTION_INACTIVE, Blame.PROVIDER)
    assert ("aud does not name the client otel probe" in str(result.detail)) is told


@pytest.mark.parametrize(
    ("answer", "reason", "counts"),
    [
        (Answer(200), None, None),
        (Answer(204), None, None),
        (Answer(202, b"", [("x-amzn-waf-action", "challenge")]), Reason.BOT_CHALLENGE, Counts.NONE),
        (Answer(503), Reason.IDP_HTTP_5XX, Counts.AUTH),
        (Answer(404), Reason.REVOCATION_FAILED, Counts.AUTH),
        (as_json({"error": "some_other"}, 400), Reason.REVOCATION_FAILED, Counts.AUTH),
        (as_json({"error": "unsupported_token_type"}, 400), Reason.OAUTH_ERROR_OTHER, Counts.NONE),
        (as_json({"error": "invalid_client"}, 401), Reason.INVALID_CLIENT, Counts.NONE),
    ],
)
def test_revocation(bench: Bench, answer: Answer, reason: Reason | None, counts: Counts | None) -> None:
    """Any 2xx will do; a refusal is the provider's unless the client is wrong."""
    bench.server.on("/token", token_answer(refresh_token="rt"))
    bench.server.on("/revocation", answer)
    result = bench.run(TOKEN, Revoke(name="revoke"))
    assert (result.reason, result.counts) == (reason, counts), result.detail
    assert bench.server.seen[-1].form["token_type_hint"] == "refresh_token"


def test_revocation_cleans_up_after_a_failure_and_cannot_mend_the_verdict(bench: Bench) -> None:
    """An `always` step runs; the verdict stays that of the step that failed."""
    bench.server.on("/token", token_answer())
    bench.server.on("/revocation", Answer(200))
    result = bench.run(TOKEN, Call(name="call", url=f"{bench.server.url}/gone"), Revoke(name="revoke", always=True))
    assert (result.reason, result.failed_step) == (Reason.API_NOT_FOUND, "call")
    assert last(result).outcome is Outcome.PASS
    assert bench.server.seen[-1].path == "/revocation"


def test_a_clean_up_without_anything_to_clean_is_skipped(bench: Bench) -> None:
    """Where no token was issued there is nothing to revoke."""
    bench.server.on("/token", Answer(500))
    result = bench.run(TOKEN, Revoke(name="revoke", always=True))
    assert last(result).outcome is Outcome.SKIP


@pytest.mark.parametrize(
    ("answer", "reason", "blame"),
    [
        (as_json({"sub": "x"}), None, None),
        (Answer(200, b"e30.e30.x", [("Content-Type", "application/jwt")]), None, None),
        (as_json({"name": "x"}), Reason.CLAIM_MISSING, Blame.PROVIDER),
        (Answer(401), Reason.API_REJECTS_VALID_TOKEN, Blame.PROVIDER),
        (
            Answer(403, b"", [("WWW-Authenticate", 'Bearer error="insufficient_scope"')]),
            Reason.INSUFFICIENT_SCOPE,
            Blame.CONFIG,
        ),
        (Answer(502), Reason.IDP_HTTP_5XX, Blame.PROVIDER),
    ],
)
def test_userinfo(bench: Bench, answer: Answer, reason: Reason | None, blame: Blame | None) -> None:
    """The provider's own endpoint: its refusal is the provider's fault, a missing scope is ours."""
    bench.server.on("/token", token_answer())
    bench.server.on("/userinfo", answer)
    result = bench.run(TOKEN, UserInfo(name="userinfo"))
    assert (result.reason, result.blame) == (reason, blame), result.detail
    assert bench.server.seen[-1].headers["authorization"] == "Bearer at-1"


@pytest.mark.parametrize(
    ("asked", "audience", "blame"),
    [
        ("orders", "orders", Blame.CONFIG),
        ("orders", ["orders"], Blame.CONFIG),
        ("orders", None, Blame.PROVIDER),
        (None, "account", Blame.PROVIDER),
    ],
)
def test_a_token_for_another_resource_is_rightly_refused(
    bench: Bench, asked: str | None, audience: object, blame: Blame
) -> None:
    """Userinfo need not take a token that was asked for an API: that is the flow file's mistake."""
    claims = {} if audience is None else {"aud": audience}
    bench.server.on("/token", token_answer(access_token=sign(claims, generate_key("HS256"), "HS256")))
    bench.server.on("/userinfo", Answer(401))
    result = bench.run(Token(name="token", audience=asked), UserInfo(name="userinfo"))
    assert (result.reason, result.blame) == (Reason.API_REJECTS_VALID_TOKEN, blame)
