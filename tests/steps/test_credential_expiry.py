"""The credential_expiry step: where the end is read from, what is warned of, and whose fault each failure is."""

from datetime import UTC, datetime

import pytest

from otelprobe.credentials import ApiKey, Auth
from otelprobe.endings import DAY
from otelprobe.expect import Expect, parse_matcher
from otelprobe.fields import SecretRef
from otelprobe.reasons import Blame, Counts, Outcome, Reason
from otelprobe.result import Fact, StepResult
from otelprobe.steps.credential_expiry import CredentialExpiry, parse_date
from otelprobe.steps.token import Token
from tests.conftest import Answer
from tests.steps.flows import Bench, as_json, last, token_answer

CANARY = "canary-admin-key"


@pytest.fixture
def admin(monkeypatch: pytest.MonkeyPatch) -> Auth:
    monkeypatch.setenv("ADMIN_KEY", CANARY)
    return Auth(api_key=ApiKey(header="X-Admin-Key", value=SecretRef(env="ADMIN_KEY")))


def ask(bench: Bench, document: object, auth: Auth | None = None, **members: object) -> StepResult:
    """Run the step against an endpoint that answers with this document."""
    bench.server.on("/key", document if isinstance(document, Answer) else as_json(document))
    auth = auth or Auth(none=True)
    step = CredentialExpiry(name="orders-key", url=f"{bench.server.url}/key", auth=auth, **members)  # type: ignore[arg-type]
    assert list(step.faults()) == []
    return last(bench.run(step))


def ending(bench: Bench, days: float) -> float:
    """Give the Unix time in so many days and a bit."""
    return bench.clock.time_ns() / 1e9 + days * DAY + 60


def test_a_key_that_lasts_passes(bench: Bench, admin: Auth) -> None:
    """The admin's credential is sent, the end becomes a fact and a row of the expiry family, nothing is warned of."""
    row = ask(bench, {"expires_at": ending(bench, 200)}, admin)
    assert row.outcome is Outcome.PASS, row.detail
    assert bench.server.seen[0].headers["x-admin-key"] == CANARY
    (expiry,) = row.expiries
    assert (expiry.subject, expiry.name) == ("api_key", "orders-key")
    assert (expiry.warn_before, expiry.critical_before) == (30 * DAY, 7 * DAY)
    assert expiry.remaining == pytest.approx(200 * DAY + 60, abs=30)
    assert row.facts[Fact.CREDENTIAL_REMAINING] == expiry.remaining
    assert row.warnings == ()
    assert CANARY not in repr(row)


@pytest.mark.parametrize(("days", "severity"), [(20, "warning"), (5, "critical")])
def test_thresholds(bench: Bench, days: float, severity: str) -> None:
    """Under 30 days a warning, under 7 a critical one; both on a pass."""
    row = ask(bench, {"expires_at": ending(bench, days)})
    assert row.outcome is Outcome.PASS
    (warning,) = row.warnings
    assert warning.reason is Reason.CREDENTIAL_EXPIRING
    assert warning.detail.startswith(f"{severity}: api_key orders-key ends in {days} d")


def test_thresholds_are_data(bench: Bench) -> None:
    """They stand in the flow file."""
    assert ask(bench, {"expires_at": ending(bench, 20)}, warn_before=10 * DAY).warnings == ()
    row = ask(bench, {"expires_at": ending(bench, 20)}, critical_before=25 * DAY)
    assert row.warnings[0].detail.startswith("critical")


def test_an_expired_key_is_ours_to_renew(bench: Bench) -> None:
    """Blame config and no objective: the API is well."""
    row = ask(bench, {"expires_at": ending(bench, -3)})
    assert (row.outcome, row.reason) == (Outcome.FAIL, Reason.CREDENTIAL_EXPIRED)
    assert (row.blame, row.counts) == (Blame.CONFIG, Counts.NONE)
    assert row.expiries[0].remaining < 0
    assert "ended 2 d ago" in (row.detail or "")


def test_every_form_of_an_end_is_read(bench: Bench) -> None:
    """With and without zone, seconds and milliseconds, at any path; a missing zone is UTC, and warned of."""
    unix = ending(bench, 90)
    told = datetime.fromtimestamp(unix, UTC)
    zoned = [told.isoformat(), told.strftime("%Y-%m-%dT%H:%M:%SZ"), unix, int(unix * 1000), str(int(unix))]
    for value in zoned:
        row = ask(bench, {"key": {"ends": value}}, extract="$.key.ends")
        assert row.expiries[0].remaining == pytest.approx(90 * DAY + 60, abs=30), value
        assert row.warnings == ()
    row = ask(bench, {"expires_at": told.strftime("%Y-%m-%dT%H:%M:%S")})
    assert row.expiries[0].remaining == pytest.approx(90 * DAY + 60, abs=30)
    assert [w.reason for w in row.warnings] == [Reason.ASSERTION_FAILED]
    assert "UTC is assumed" in row.warnings[0].detail


def test_null_means_without_end(bench: Bench) -> None:
    """A key that never ends passes and feeds no series."""
    row = ask(bench, {"expires_at": None})
    assert row.outcome is Outcome.PASS
    assert row.expiries == ()


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({}, "nothing at $.expires_at"),
        ({"expires_at": "canary next spring"}, "not a date"),
        ({"expires_at": True}, "not a date"),
        ({"expires_at": {"canary": 1}}, "not a date"),
        ({"expires_at": 10**40}, "not a date"),
        (Answer(200, b"canary"), "no JSON"),
    ],
)
def test_an_answer_without_an_end(bench: Bench, document: object, words: str) -> None:
    """It is a failed assertion on the API's answer, and the value is not repeated."""
    row = ask(bench, document)
    assert (row.reason, row.blame, row.counts) == (Reason.ASSERTION_FAILED, Blame.API, Counts.NONE)
    assert words in (row.detail or "")
    assert "canary" not in repr(row)


@pytest.mark.parametrize(
    ("answer", "reason", "blame"),
    [
        (Answer(500), Reason.API_UNAVAILABLE, Blame.API),
        (Answer(404), Reason.API_NOT_FOUND, Blame.API),
        (Answer(429), Reason.API_RATE_LIMITED, Blame.EDGE),
        (Answer(401), Reason.LOGIN_REJECTED, Blame.CONFIG),
        (Answer(403), Reason.FORBIDDEN, Blame.CONFIG),
        (Answer(302, b"", [("Location", "/other")]), Reason.REDIRECT_UNEXPECTED, Blame.API),
    ],
)
def test_an_endpoint_that_does_not_tell_spends_no_objective(
    bench: Bench, admin: Auth, answer: Answer, reason: Reason, blame: Blame
) -> None:
    """It may be down while the key works: reasons as of a call, but nothing is spent."""
    row = ask(bench, answer, admin)
    assert (row.reason, row.blame, row.counts) == (reason, blame, Counts.NONE)


def test_a_closed_port_blames_the_api(bench: Bench) -> None:
    """A transport reason stays what it is."""
    step = CredentialExpiry(name="k", url="http://127.0.0.1:1/key", auth=Auth(none=True))
    row = last(bench.run(step))
    assert (row.reason, row.blame, row.counts) == (Reason.CONNECT_REFUSED, Blame.API, Counts.NONE)


def test_a_token_of_an_earlier_step_is_the_default(bench: Bench) -> None:
    """As with `call`: the latest token; controls tell who is to blame on a 5xx, without a charge."""
    bench.server.on("/token", token_answer(access_token="at-admin"))
    bench.server.on("/key", as_json({"expires_at": ending(bench, 90)}))
    step = CredentialExpiry(name="k", url=f"{bench.server.url}/key")
    assert bench.run(Token(name="token"), step).passed
    assert bench.server.seen[-1].headers["authorization"] == "Bearer at-admin"
    bench.server.on("/key", Answer(503))
    row = last(bench.run(Token(name="token"), step))
    assert (row.reason, row.counts) == (Reason.API_UNAVAILABLE, Counts.NONE)


def test_a_date_in_the_flow_file_asks_nobody(bench: Bench) -> None:
    """For client secrets, whose end no endpoint tells: from the date alone."""
    bench.clock.seconds = datetime(2027, 1, 20, tzinfo=UTC).timestamp() - bench.clock.time_ns() / 1e9
    step = CredentialExpiry(name="corp-secret", expires_at="2027-01-31")
    row = last(bench.run(step))
    assert row.outcome is Outcome.PASS
    assert (row.expiries[0].subject, row.expiries[0].name) == ("client_secret", "corp-secret")
    assert row.warnings[0].detail.startswith("warning: client_secret corp-secret ends in 10 d, on 2027-01-31T00:00:00Z")
    assert row.exchanges == ()
    bench.clock.seconds += 11 * DAY
    assert bench.run(step).reason is Reason.CREDENTIAL_EXPIRED


def test_expectations_and_captures_are_read_from_the_answer(bench: Bench) -> None:
    """The answer of the key-info endpoint is an answer as any other."""
    document = {"expires_at": ending(bench, 90), "status": "active"}
    assert ask(bench, document, expect=Expect(json={"$.status": parse_matcher("active")})).outcome is Outcome.PASS
    row = ask(bench, document, expect=Expect(json={"$.status": parse_matcher("revoked")}))
    assert row.reason is Reason.ASSERTION_FAILED


@pytest.mark.parametrize(
    ("members", "member"),
    [
        ({}, ""),
        ({"url": "https://a.example", "expires_at": "2027-01-31"}, ""),
        ({"expires_at": "2027-01-31", "extract": "$.x"}, "extract"),
        ({"expires_at": "2027-01-31", "auth": Auth(none=True)}, "auth"),
        ({"expires_at": "2027-01-31", "capture": {"a": "$.a"}}, "capture"),
        ({"expires_at": "2027-01-31", "critical_before": 31 * DAY}, "critical_before"),
    ],
)
def test_what_does_not_fit_is_told(members: dict[str, object], member: str) -> None:
    """`validate` names the member to mend."""
    assert [m for m, _ in CredentialExpiry(**members).faults()] == [member]  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [20270131, "20270131", "soon", "2027-02-30", None, "1801440000"])
def test_a_date_is_written_as_a_date(value: object) -> None:
    """A number or a word is refused when the file is read."""
    with pytest.raises(ValueError, match="not a date"):
        parse_date(value)
