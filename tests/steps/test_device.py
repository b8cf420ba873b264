"""The device step and the token that follows: pending is healthy, a person may be played, and the pace is kept."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from otelprobe.fields import Rate, SecretRef
from otelprobe.reasons import Blame, Counts, Reason
from otelprobe.result import Fact, FlowResult
from otelprobe.steps.device import Device
from otelprobe.steps.token import Token
from tests.conftest import Answer, Seen
from tests.steps.flows import Bench, as_json, last, token_answer

PENDING = as_json({"error": "authorization_pending"}, 400)
TOKEN = Token(name="token", grant="device_code")
PROVIDER, CONFIG, EDGE = (Blame.PROVIDER, Counts.AUTH), (Blame.CONFIG, Counts.NONE), (Blame.EDGE, Counts.NONE)
HTML = [("Content-Type", "text/html")]
FORM = b"<form method=post action=/done><input name=user_code><input name=user><input type=password name=pw></form>"


@pytest.fixture
def device(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Give a provider with a device endpoint, where nobody has logged in."""
    monkeypatch.setenv("PASSWORD", "pass-canary")
    named = {**bench.provider.endpoints, "device_authorization": f"{bench.server.url}/device_authorization"}
    bench.provider = replace(bench.provider, endpoints=named)
    bench.server.on("/device_authorization", started(bench))
    bench.server.on("/token", PENDING)
    return bench


def started(bench: Bench, **members: object) -> Answer:
    """Make a device authorization response; a member of None is left out."""
    document = {
        "device_code": "dc-canary",
        "user_code": "UC-CANARY",
        "verification_uri": f"{bench.server.url}/device",
        "expires_in": 600,
        "interval": 1,
        **members,
    }
    return as_json({k: v for k, v in document.items() if v is not None})


def person(**members: object) -> Device:
    """Make the step with somebody who logs in."""
    return Device(name="device", complete=True, username="ann", password=SecretRef(env="PASSWORD"), **members)  # type: ignore[arg-type]  # by name


def verdict(result: FlowResult) -> tuple[object, ...]:
    """Give what a test compares."""
    return result.reason, result.blame, result.counts


@pytest.mark.parametrize(("budget", "sent"), [(1, ["/device_authorization"]), (2, ["/device_authorization", "/token"])])
def test_codes_and_polls_are_counted(device: Bench, budget: int, sent: list[str]) -> None:
    """The request for a code and each poll come out of the provider's budget; beyond it nothing is sent."""
    device.provider = replace(device.provider, budget=Rate(budget, 60.0))
    result = device.run(Device(name="device"), Device(name="again"))
    assert verdict(result) == (Reason.BUDGET_EXHAUSTED, Blame.PROBER, Counts.NONE)
    assert result.failed_step == ("device" if budget == 1 else "again")
    assert [seen.path for seen in device.server.seen] == sent


def test_polls_while_waiting_are_counted(device: Bench) -> None:
    """A token that is waited for stops asking when the budget is used up, and does not wait for the deadline."""
    device.provider = replace(device.provider, budget=Rate(3, 60.0))
    result = device.run(Device(name="device"), TOKEN, deadline=20.0)
    assert verdict(result) == (Reason.BUDGET_EXHAUSTED, Blame.PROBER, Counts.NONE)
    assert [seen.path for seen in device.server.seen] == ["/device_authorization", "/token", "/token"]


@pytest.mark.parametrize("error", ["authorization_pending", "slow_down"])
def test_pending_is_healthy(device: Bench, error: str) -> None:
    """A code is issued, and the token endpoint says that nobody has logged in yet."""
    device.server.on("/token", as_json({"error": error}, 400))
    result = device.run(Device(name="device", scope="openid", params={"x": "y"}))
    assert result.passed, result.detail
    first, second = device.server.seen
    assert first.form == {"scope": "openid", "x": "y"}
    assert second.form == {"grant_type": "urn:ietf:params:oauth:grant-type:device_code", "device_code": "dc-canary"}
    assert "canary" not in repr(result).lower()


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"device_code": None}, Reason.CODE_MISSING),
        ({"user_code": ""}, Reason.CODE_MISSING),
        ({"verification_uri": None}, Reason.CODE_MISSING),
        ({"verification_uri": "http://login.example.com/device"}, Reason.CODE_MISSING),
        ({"verification_uri": "http://[broken"}, Reason.CODE_MISSING),
        ({"verification_uri": "ftp://a"}, Reason.CODE_MISSING),
        ({"expires_in": None}, Reason.EXPIRES_IN_INVALID),
        ({"expires_in": 0}, Reason.EXPIRES_IN_INVALID),
        ({"expires_in": "soon"}, Reason.EXPIRES_IN_INVALID),
        ({"interval": -1}, Reason.EXPIRES_IN_INVALID),
        ({"interval": 1e400}, Reason.EXPIRES_IN_INVALID),
    ],
)
def test_each_bad_answer_has_its_reason(device: Bench, members: dict[str, object], reason: Reason) -> None:
    """What a device could not work with is the provider's fault."""
    device.server.on("/device_authorization", started(device, **members))
    assert verdict(device.run(Device(name="device"))) == (reason, *PROVIDER)


@pytest.mark.parametrize(
    ("answer", "reason", "whose"),
    [
        (token_answer(), Reason.ASSERTION_FAILED, PROVIDER),
        (as_json({"error": "expired_token"}, 400), Reason.OAUTH_ERROR_OTHER, CONFIG),
        (as_json({"error": "invalid_grant"}, 400), Reason.INVALID_GRANT, PROVIDER),
        (as_json({"error": "unauthorized_client"}, 400), Reason.UNAUTHORIZED_CLIENT, CONFIG),
        (Answer(500), Reason.IDP_HTTP_5XX, PROVIDER),
        (Answer(429), Reason.IDP_RATE_LIMITED, EDGE),
        (Answer(400, b"[]"), Reason.IDP_HTTP_4XX, PROVIDER),
        (Answer(400, b"no"), Reason.IDP_HTTP_4XX, PROVIDER),
    ],
)
def test_a_poll_that_is_not_pending(device: Bench, answer: Answer, reason: Reason, whose: tuple[Blame, Counts]) -> None:
    """A token for nobody is a fault as well as an error is."""
    device.server.on("/token", answer)
    result = device.run(Device(name="device"))
    assert verdict(result) == (reason, *whose), result.detail


def test_a_person_is_played_and_the_token_comes(device: Bench) -> None:
    """The page for people is filled in, user code included; the token is asked for until it is there."""
    answers = iter([PENDING, token_answer(scope="openid")])
    device.server.on("/token", lambda _: next(answers))
    device.server.on("/device", Answer(200, FORM, HTML))
    device.server.on("/done", Answer(200, b"<html><h1>You may close this window", HTML))
    result = device.run(person(scope="openid"), TOKEN)
    assert result.passed, result.detail
    filled = next(seen.form for seen in device.server.seen if seen.path == "/done")
    assert filled == {"user_code": "UC-CANARY", "user": "ann", "pw": "pass-canary"}
    assert result.steps[0].facts[Fact.LOGIN_FORMS] == 1
    assert [x.status for x in result.steps[1].exchanges] == [400, 200]
    assert result.steps[1].facts[Fact.ISSUANCE_GRANT] == "device_code"
    assert "canary" not in repr(result).lower()


def test_the_complete_address_is_preferred(device: Bench) -> None:
    """It has the user code in it, so that pages may leave the field away."""
    device.server.on(
        "/device_authorization", started(device, verification_uri_complete=f"{device.server.url}/device?user_code=UC")
    )
    device.server.on("/device", Answer(200, FORM, HTML))
    device.server.on("/done", Answer(200, b"<html>done", HTML))
    assert device.run(person()).passed
    assert device.server.seen[1].query == {"user_code": ["UC"]}


@pytest.mark.parametrize(
    ("done", "reason", "whose"),
    [
        (Answer(200, FORM, HTML), Reason.LOGIN_REJECTED, CONFIG),
        (Answer(500), Reason.IDP_HTTP_5XX, PROVIDER),
        (Answer(400, b"<html>expired", HTML), Reason.IDP_HTTP_4XX, PROVIDER),
        (Answer(302, b"", [("Location", "https://evil.example/")]), Reason.REDIRECT_UNEXPECTED, PROVIDER),
    ],
)
def test_a_page_that_refuses(device: Bench, done: Answer, reason: Reason, whose: tuple[Blame, Counts]) -> None:
    """The pages are judged as those of any log-in."""
    device.server.on("/device", Answer(200, FORM, HTML))
    device.server.on("/done", done)
    result = device.run(person())
    assert verdict(result) == (reason, *whose), result.detail
    assert last(result).facts[Fact.LOGIN_FORMS] == 1


def test_a_page_without_a_form(device: Bench) -> None:
    """Nothing was sent, so nothing was completed."""
    device.server.on("/device", Answer(200, b"<html><script>app()</script>", HTML))
    assert verdict(device.run(person())) == (Reason.JAVASCRIPT_REQUIRED, *CONFIG)


def waits(device: Bench, *steps: Device | Token) -> FlowResult:
    """Run with a page that agrees at once, until a deadline that the next poll would miss."""
    device.server.on("/device", Answer(200, FORM, HTML))
    device.server.on("/done", Answer(200, b"<html>done", HTML))
    return device.run(*steps, deadline=2.5)


def test_nobody_comes(device: Bench) -> None:
    """A token that is waited for in vain is our fault if nobody was to log in, the provider's if somebody did."""
    assert verdict(waits(device, Device(name="device"), TOKEN)) == (Reason.LOGIN_REQUIRED, *CONFIG)
    assert verdict(waits(device, person(), TOKEN)) == (Reason.INVALID_GRANT, *PROVIDER)


def test_slow_down_is_obeyed(device: Bench) -> None:
    """It adds five seconds for good (RFC 8628, section 3.5), which here is beyond the deadline: one poll, no more."""
    device.server.on("/token", as_json({"error": "slow_down"}, 400))
    result = waits(device, person(), TOKEN)
    assert verdict(result) == (Reason.INVALID_GRANT, *PROVIDER)
    assert "6 s" in (result.detail or "")
    assert len(last(result).exchanges) == 1


@pytest.mark.parametrize(
    ("step", "error", "reason", "whose"),
    [
        (person, "expired_token", Reason.INVALID_GRANT, PROVIDER),
        (person, "access_denied", Reason.ACCESS_DENIED, CONFIG),
        (person, "invalid_grant", Reason.INVALID_GRANT, PROVIDER),
    ],
)
def test_the_decision_is_no(
    device: Bench, step: Callable[[], Device], error: str, reason: Reason, whose: tuple[Blame, Counts]
) -> None:
    """An expired code after a completed log-in is the provider's fault; a denial is the configuration's."""
    device.server.on("/token", as_json({"error": error}, 400))
    assert verdict(waits(device, step(), TOKEN)) == (reason, *whose)


def test_a_code_that_expired_while_nobody_came(device: Bench) -> None:
    """Then nobody at the provider need look."""
    answers = iter([PENDING, as_json({"error": "expired_token"}, 400)])
    device.server.on("/token", lambda _: next(answers))
    result = device.run(Device(name="device"), TOKEN)
    assert verdict(result) == (Reason.LOGIN_REQUIRED, *CONFIG)
    assert last(result).facts[Fact.ISSUANCE_OAUTH_ERROR] == "expired_token"


def test_a_provider_without_the_grant(device: Bench) -> None:
    """Its error is told as any other."""
    device.server.on("/device_authorization", lambda _: as_json({"error": "invalid_client"}, 401))
    assert verdict(device.run(Device(name="device"))) == (Reason.INVALID_CLIENT, *CONFIG)


@pytest.mark.parametrize(
    ("members", "member"),
    [
        ({"complete": True}, "complete"),
        ({"username": "ann"}, "username"),
        ({"params": {"scope": "x"}}, "params"),
    ],
)
def test_what_does_not_fit_is_told_when_the_file_is_read(members: dict[str, object], member: str) -> None:
    """Each with its mend."""
    assert [where for where, _ in Device(name="d", **members).faults()] == [member]  # type: ignore[arg-type]  # by name


def test_a_seen_form_is_sent_to_no_stranger(device: Bench) -> None:
    """The page's own host is the provider's word; another one is not."""
    device.server.on("/device", Answer(200, FORM.replace(b"/done", b"https://evil.example/"), HTML))

    def never(_: Seen) -> Answer:
        raise AssertionError

    device.server.on("/done", never)
    assert verdict(device.run(person())) == (Reason.REDIRECT_UNEXPECTED, *PROVIDER)
