"""The reject step against a real API: what must be refused is offered, and what is accepted is told."""

from dataclasses import replace
from typing import Any

import pytest

from otelprobe.credentials import Auth, Basic
from otelprobe.fields import SecretRef
from otelprobe.http import Redirects
from otelprobe.reasons import Blame, CheckFailed, Counts, Layer, Outcome, Reason
from otelprobe.result import CaseResult, Fact
from otelprobe.step import Context, Done, Made, StepFailed, Tokens
from otelprobe.steps.reject import Reject
from otelprobe.tokens import parse, verify
from tests.conftest import Answer, Seen, Server
from tests.token_kit import CANARY, NOW, World, jwk, keys, policy, token

CASES = ("no_token", "garbage", "tampered", "alg_none", "forged_key")
REFUSED, OK = Answer(401, b"", [("WWW-Authenticate", "Bearer")]), Answer(200, b"{}")


def is_good(access: str) -> bool:
    """Validate as an API would."""
    try:
        return not verify(parse(access), keys(jwk()), policy(), NOW).problems
    except CheckFailed:
        return False


class Api:
    """An API that validates, except for the cases it is told to answer otherwise."""

    def __init__(self, server: Server, **answers: Answer) -> None:
        self.answers = answers
        self.bearer: list[tuple[str, str | None]] = []
        server.on("/orders", self.answer)

    def answer(self, seen: Seen) -> Answer:
        case = seen.headers["x-otelprobe-case"]
        sent = seen.headers.get("authorization")
        self.bearer.append((case, sent))
        if case in self.answers:
            return self.answers[case]
        return OK if sent is not None and is_good(sent.removeprefix("Bearer ")) else REFUSED


def context(server: Server, access: str | None = None) -> Context:
    world = World(server.url)
    return world.context(world.tokens(access or token()))


def step(server: Server, **more: Any) -> Reject:
    return Reject(url=f"{server.url}/orders", **{"cases": CASES, **more})


def failed(server: Server, ctx: Context | None = None, **more: Any) -> CheckFailed:
    ctx = ctx or context(server)
    with pytest.raises(CheckFailed) as caught:
        step(server, **more).run(ctx)
    assert CANARY not in repr(caught.value)
    assert ctx.need(Tokens).access not in repr(caught.value)
    return caught.value


def test_an_api_that_validates_passes(server: Server) -> None:
    """Five bad credentials are refused between two good ones; the row lists every case."""
    api = Api(server)
    ctx = context(server)
    done = step(server).run(ctx)
    assert [case for case, _ in api.bearer] == ["control", *CASES, "control"]
    assert done.cases == tuple(CaseResult(case, accepted=False, status=401) for case in CASES)
    assert done.facts == {
        Fact.REJECTION_CASES: CASES,
        Fact.REJECTION_ACCEPTED: (),
        Fact.REJECTION_UNIFORM: True,
    }
    assert done.warnings == ()
    assert len(ctx.wire.exchanges) == 7
    assert all(x.control for x in ctx.wire.exchanges)


def test_each_case_is_what_it_says(server: Server) -> None:
    """On the wire there is no token, garbage, a changed payload, alg none, and a stranger's signature, all of the real kid."""
    api = Api(server)
    good = token()
    step(server).run(context(server, good))
    sent = {case: (value or "").removeprefix("Bearer ") for case, value in api.bearer}
    assert (sent["control"], sent["no_token"]) == (good, "")
    assert "." not in sent["garbage"]
    head, body, signature = good.split(".")
    tampered = sent["tampered"].split(".")
    assert (tampered[0], tampered[2]) == (head, signature)
    assert tampered[1] != body
    assert parse(sent["alg_none"]).header == {"alg": "none", "kid": "k1", "typ": "JWT"}
    assert sent["forged_key"].split(".")[0] == head
    assert parse(sent["forged_key"]).claims == {**parse(good).claims, "otelprobe": "forged_key"}


@pytest.mark.parametrize("case", [c for c in CASES if c != "no_token"])
def test_an_accepted_case_is_named(server: Server, case: str) -> None:
    """A bad credential that gets a 2xx fails the step by the case's name, though all others were refused."""
    Api(server, **{case: Answer(204)})
    found = failed(server)
    assert found.reason is Reason.REJECTION_ACCEPTED
    assert f"({case}, status 204)" in found.detail
    assert isinstance(found, StepFailed)
    assert [c.case for c in found.done.cases if c.accepted] == [case]
    assert found.done.facts[Fact.REJECTION_ACCEPTED] == (case,)
    assert found.assigned(Layer.API) == (Outcome.FAIL, Blame.API, Counts.NONE)


def test_an_open_endpoint_is_told_as_such(server: Server) -> None:
    """An API that answers without a token is endpoint_not_protected, whatever else it accepts."""
    server.on("/orders", OK)
    found = failed(server)
    assert found.problems == (Reason.ENDPOINT_NOT_PROTECTED, Reason.REJECTION_ACCEPTED)
    assert isinstance(found, StepFailed)
    assert len([c for c in found.done.cases if c.accepted]) == 5


def test_an_acceptance_weighs_more_than_anything(server: Server) -> None:
    """All cases are run before the verdict: a server error, a refused control or a limit does not hide an acceptance."""
    Api(server, no_token=Answer(500), alg_none=OK)
    assert failed(server).reason is Reason.REJECTION_ACCEPTED
    Api(server, control=REFUSED, forged_key=OK)
    assert failed(server).reason is Reason.REJECTION_ACCEPTED
    Api(server, garbage=OK, tampered=Answer(429))
    assert failed(server).reason is Reason.REJECTION_ACCEPTED


def test_a_server_error_is_no_refusal(server: Server) -> None:
    """A validator that breaks on a bad token is told with the cases and their statuses."""
    Api(server, garbage=Answer(500), alg_none=Answer(502))
    found = failed(server)
    assert found.reason is Reason.REJECTION_SERVER_ERROR
    assert found.detail == "answered with a server error: garbage (500), alg_none (502)"


@pytest.mark.parametrize(
    ("control", "bad", "words"),
    [
        (REFUSED, {}, "refused with status 401 before"),
        (Answer(503), dict.fromkeys(CASES, Answer(503)), "got status 503 before the cases, as did no_token"),
        (Answer(404), dict.fromkeys(CASES, Answer(404)), "got status 404 before"),
        (Answer(403), {"tampered": Answer(403)}, "got status 403 before the cases, as did tampered"),
    ],
)
def test_refusals_prove_nothing_where_the_good_token_fares_no_better(
    server: Server, control: Answer, bad: dict[str, Answer], words: str
) -> None:
    """If the good token is refused, or gets the same as a bad one, the prober cannot tell: an error that blames nobody."""
    Api(server, control=control, **bad)
    found = failed(server)
    assert found.reason is Reason.REJECTION_INCONCLUSIVE
    assert words in found.detail
    assert found.assigned(Layer.API) == (Outcome.ERROR, Blame.PROBER, Counts.NONE)


def test_a_401_for_the_good_token_is_a_refusal_whatever_else_is_listed(server: Server) -> None:
    """unauthorized_status adds to 401, it does not replace it."""
    Api(server, control=REFUSED, no_token=Answer(418))
    found = failed(server, cases=("no_token",), unauthorized_status=(418,))
    assert found.reason is Reason.REJECTION_INCONCLUSIVE


@pytest.mark.parametrize("control", [Answer(403), Answer(404), Answer(500)])
def test_a_good_token_that_is_told_apart_is_control_enough(server: Server, control: Answer) -> None:
    """If the good token gets past authentication and fails later, a 401 for the bad ones still proves their refusal."""
    Api(server, control=control)
    assert isinstance(step(server).run(context(server)), Done)


def test_the_control_after_the_cases_counts(server: Server) -> None:
    """A good token that no longer works after the cases (a lock-out, an expiry) makes them prove nothing."""
    api = Api(server)
    validate = api.answer

    def lock_out(seen: Seen) -> Answer:
        done = any(case == "forged_key" for case, _ in api.bearer)
        return REFUSED if done else validate(seen)

    server.on("/orders", lock_out)
    found = failed(server)
    assert found.reason is Reason.REJECTION_INCONCLUSIVE
    assert "after the cases" in found.detail


def test_a_rate_limit_ends_the_step(server: Server) -> None:
    """A 429 blames the edge, and no more requests follow it."""
    api = Api(server, tampered=Answer(429))
    found = failed(server)
    assert found.reason is Reason.API_RATE_LIMITED
    assert [case for case, _ in api.bearer] == ["control", "no_token", "garbage", "tampered"]
    api = Api(server, control=Answer(429))
    assert failed(server).reason is Reason.API_RATE_LIMITED
    assert len(api.bearer) == 1


def page(status: int, body: bytes) -> Answer:
    return Answer(status, body, [("Content-Type", "text/html")])


def test_a_firewall_in_the_way_is_told(server: Server) -> None:
    """A block page for a bad token is a warning: it was refused, though not by the API. For the good token it is the reason."""
    blocked = page(403, b"<html>Request blocked</html>")
    Api(server, alg_none=blocked)
    done = step(server).run(context(server))
    assert [(w.reason, w.detail) for w in done.warnings] == [
        (Reason.WAF_BLOCKED, "case alg_none was answered by a page in place of the API")
    ]
    Api(server, control=blocked)
    assert failed(server).reason is Reason.WAF_BLOCKED


def test_a_log_in_page_is_no_acceptance(server: Server) -> None:
    """A 200 with a log-in form, or a redirect to one, refuses the credential; it is warned of."""
    form = page(200, b"<html><input type=password></html>")
    Api(server, no_token=form, garbage=Answer(302, b"", [("Location", "/login")]))
    done = step(server).run(context(server))
    assert [w.reason for w in done.warnings] == [Reason.REDIRECTED_TO_LOGIN] * 2
    assert not any(c.accepted for c in done.cases)


def test_an_odd_refusal_is_a_warning(server: Server) -> None:
    """A 400 is no acceptance and no proper refusal; 403 and the listed statuses are proper."""
    Api(server, garbage=Answer(400), tampered=Answer(403), alg_none=Answer(418))
    done = step(server, unauthorized_status=(401, 418)).run(context(server))
    assert [w.detail for w in done.warnings] == ["case garbage got status 400, expected 401 or 403"]


def test_a_transport_failure_is_told_with_its_case(server: Server) -> None:
    """A case without any answer keeps its transport reason, unless another was accepted; a dead API fails at once."""
    lost = Answer(302, b"", [("Location", "http://127.0.0.1:9/elsewhere")])
    Api(server, no_token=lost, garbage=OK)
    assert failed(server, redirects=Redirects.SAME_ORIGIN).reason is Reason.REJECTION_ACCEPTED
    Api(server, garbage=lost)
    found = failed(server, redirects=Redirects.SAME_ORIGIN)
    assert found.reason is Reason.REDIRECT_UNEXPECTED
    assert found.detail.startswith("case garbage: ")
    server.stop()
    assert failed(server).reason is Reason.CONNECT_REFUSED


def test_an_opaque_token_leaves_three_cases_out(server: Server) -> None:
    """What cannot be made of an opaque token is left out and said; the other cases are run."""
    server.on("/orders", lambda seen: OK if seen.headers.get("authorization") == "Bearer opaque" else REFUSED)
    done = step(server).run(context(server, "opaque"))
    assert [c.case for c in done.cases] == ["no_token", "garbage"]
    assert [(w.reason, w.detail) for w in done.warnings] == [
        (Reason.TOKEN_OPAQUE, "the token is no signed JWT: tampered, alg_none, forged_key left out")
    ]
    assert step(server, cases=("no_token",)).run(context(server, "opaque")).warnings == ()


def test_method_url_headers_and_scheme_are_as_written(server: Server) -> None:
    """The request is the one of the flow file: method, headers, captured values, and a raw token where no scheme is used."""
    good = token()
    server.on("/orders/7", lambda seen: OK if seen.headers.get("authorization") == good else REFUSED)
    ctx = replace(context(server, good), captured={"id": "7"})
    reject = Reject(
        url=f"{server.url}/orders/${{id}}",
        method="DELETE",
        headers={"X-Order": "${id}"},
        auth=Auth(scheme=""),
        cases=CASES,
    )
    assert len(reject.run(ctx).cases) == 5
    assert {(s.method, s.path, s.headers["x-order"]) for s in server.seen} == {("DELETE", "/orders/7", "7")}
    assert reject.templates() == (reject.url, reject.headers)


def test_the_good_token_may_be_named(server: Server) -> None:
    """auth.bearer or use names the step whose token is the good one."""
    Api(server)
    ctx = context(server, "latest")
    ctx = replace(ctx, made=(Made("first", Tokens(token())), *ctx.made))
    assert step(server, auth=Auth(bearer="first")).run(ctx).cases
    assert step(server, use="first").run(ctx).cases
    assert step(server, auth=Auth(bearer="first")).references() == ((("auth", "bearer"), "first"),)
    assert Reject(url="http://127.0.0.1:9/").required(None) == (Tokens,)


@pytest.mark.parametrize(
    ("more", "members"),
    [
        ({}, []),
        ({"cases": ()}, ["cases"]),
        ({"auth": Auth(basic=Basic(username="u", password=SecretRef(env="P")))}, ["auth"]),
        ({"auth": Auth(none=True)}, ["auth"]),
        ({"auth": Auth(bearer="a"), "use": "b"}, ["use"]),
        ({"headers": {"Cookie": "x"}}, ["headers"]),
    ],
)
def test_parameters_must_fit(more: dict[str, Any], members: list[str]) -> None:
    """What makes no sense together is refused when the flow file is read."""
    assert [member for member, _ in Reject(url="http://127.0.0.1:9/", **more).faults()] == members
