"""What the audit trail says of steps that show several credentials, of SAML log-ins, and of an API that takes too much."""

import time
from pathlib import Path

import pytest

from otelprobe.audit.facts import Auditor
from otelprobe.audit.marks import Marks
from otelprobe.expect import Expect, parse_matcher
from otelprobe.fields import SecretRef
from otelprobe.reasons import Outcome, Reason
from otelprobe.result import AuditEvent, FlowResult
from otelprobe.steps.call import Call
from otelprobe.steps.posture import Posture
from otelprobe.steps.retained import Retained
from otelprobe.steps.saml_login import SamlExpect, SamlLogin
from otelprobe.steps.saml_metadata import SamlMetadata
from otelprobe.steps.token import Token
from tests.conftest import Answer, Seen
from tests.saml_kit import ACS, NAME_ID, PASSWORD, SP, Idp, Shape
from tests.steps.flows import Bench, as_json, token_answer
from tests.token_kit import token

KEY = "audit-key-0123456789"
MARKS = Marks(KEY.encode())
ISSUED, VALIDATED, REJECTED = AuditEvent.ISSUED, AuditEvent.VALIDATED, AuditEvent.REJECTED


@pytest.fixture
def bench(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Give a bench whose trail is keyed."""
    monkeypatch.setenv("AUDIT_KEY", KEY)
    bench.auditor = Auditor(SecretRef(env="AUDIT_KEY"))
    return bench


def told(result: FlowResult, *kinds: str) -> list[tuple[AuditEvent, bool, Reason | None, int | None, str | None]]:
    """Give the facts of steps of some kinds, or of all."""
    rows = [row for row in result.steps if not kinds or row.kind in kinds]
    return [(f.event, f.passed, f.reason, f.status, f.part) for row in rows for f in row.audit]


class Api:
    """An API that refuses chosen tokens, and a provider whose tokens are numbered."""

    def __init__(self, bench: Bench) -> None:
        self.refused: tuple[str, ...] = ()
        self.issued: list[str] = []
        self.status = 401
        self.url = f"{bench.server.url}/orders"
        bench.server.on("/token", self._issue)
        bench.server.on("/orders", self._answer)

    def _issue(self, _seen: Seen) -> Answer:
        now = int(time.time())
        self.issued.append(token(sub="ann", iat=now, exp=now + 300, jti=str(len(self.issued))))
        return token_answer(access_token=self.issued[-1])

    def _answer(self, seen: Seen) -> Answer:
        sent = seen.headers.get("authorization", "").removeprefix("Bearer ")
        return as_json({}, self.status if sent in self.refused else 200)


@pytest.fixture
def api(bench: Bench) -> Api:
    return Api(bench)


def test_each_retained_token_leaves_an_event_of_its_own(bench: Bench, api: Api) -> None:
    """What the API made of an old token and of the new one is told of each, under its own id, with the refusal's reason."""
    steps = (Token(name="token"), Retained(name="old", url=api.url))
    assert told(bench.run(*steps), "retained") == []
    api.refused = (api.issued[0],)
    result = bench.run(*steps)
    assert told(result, "retained") == [
        (REJECTED, False, Reason.RETAINED_REFUSED, 401, "access_token"),
        (VALIDATED, True, None, 200, "access_token"),
    ]
    facts = result.steps[-1].audit
    assert [f.ident for f in facts] == [MARKS.of("token", one) for one in api.issued]
    assert {f.subject for f in facts} == {MARKS.of("subject", "ann")}
    assert {(f.method, f.route) for f in facts} == {("GET", "/orders")}


def test_an_outage_during_retained_tells_of_nobody(bench: Bench, api: Api) -> None:
    """A token that got 503 was not judged."""
    steps = (Token(name="token"), Retained(name="old", url=api.url))
    bench.run(*steps)
    api.refused, api.status = (api.issued[0],), 503
    assert told(bench.run(*steps), "retained") == [(VALIDATED, True, None, 200, "access_token")]


@pytest.mark.parametrize(
    ("refuse", "event"),
    [
        (False, (VALIDATED, True, None, 200, "access_token")),
        (True, (REJECTED, False, Reason.API_REJECTS_VALID_TOKEN, 401, "access_token")),
    ],
)
def test_posture_tells_what_became_of_the_good_token(
    bench: Bench, api: Api, refuse: bool, event: tuple[object, ...]
) -> None:
    """The good token that posture shows leaves an event by the API's answer; garbage and preflights leave none."""

    class Everything:
        def __contains__(self, sent: object) -> bool:
            return refuse and sent in api.issued

    api.refused = Everything()  # type: ignore[assignment] # the token is drawn in the run
    result = bench.run(Token(name="token"), Posture(name="posture", url=api.url))
    assert told(result, "posture") == [event]
    assert result.steps[-1].audit[0].route == "/orders"


def test_a_token_that_should_have_been_refused_is_told(bench: Bench, api: Api) -> None:
    """An API that takes what a call expects it to refuse leaves an event that did not go as it should."""
    result = bench.run(Token(name="token"), Call(name="call", url=api.url, expect=Expect(status=("401",))))
    assert result.outcome is Outcome.FAIL
    assert told(result, "call") == [(VALIDATED, False, Reason.ASSERTION_FAILED, 200, "access_token")]


def test_a_body_that_is_not_as_expected_judges_no_credential(bench: Bench, api: Api) -> None:
    """Where the status is as wanted, a failed expectation says nothing of the token."""
    bench.server.on("/orders", as_json({"status": "bad"}))
    wanted = Expect(status=("200",), json={"$.status": parse_matcher("ok")})
    result = bench.run(Token(name="token"), Call(name="call", url=api.url, expect=wanted))
    assert (result.reason, told(result, "call")) == (Reason.ASSERTION_FAILED, [])


class Saml:
    """Metadata and log-in at the kit's identity provider."""

    def __init__(self, bench: Bench, folder: Path) -> None:
        self.bench, self.idp = bench, Idp(bench.server)
        (folder / "password").write_text(PASSWORD, encoding="utf-8")
        self._password = SecretRef(file=str(folder / "password"))

    def run(self, shape: Shape | None = None, **members: object) -> FlowResult:
        self.idp.shape = shape or self.idp.shape
        known = {"sp_entity_id": SP, "acs_url": ACS, "username": "ann", "password": self._password}
        login = SamlLogin(name="sso", **{**known, **members})  # type: ignore[arg-type] # members of the step
        return self.bench.run(SamlMetadata(name="idp", url=f"{self.bench.server.url}/metadata"), login)


@pytest.fixture
def saml(bench: Bench, tmp_path: Path) -> Saml:
    return Saml(bench, tmp_path)


def test_an_assertion_is_issued_to_a_subject(saml: Saml) -> None:
    """A SAML log-in leaves the assertion's issuance, under the keyed hash of its NameID, and nothing of either in clear."""
    result = saml.run()
    assert told(result) == [(ISSUED, True, None, 200, "assertion")]
    (fact,) = result.steps[-1].audit
    assert fact.subject == MARKS.of("subject", NAME_ID)
    assert fact.ident is not None
    assert NAME_ID not in repr(result)


def test_a_session_leads_back_to_its_assertion(saml: Saml, bench: Bench) -> None:
    """Assertion and session that it opened are two events, linked; a service provider that refuses it leaves a rejection."""
    acs = f"{bench.server.url}/acs"
    bench.server.on(
        "/acs", Answer(200, b"hello", [("Set-Cookie", "sid=abc123; Path=/"), ("Content-Type", "text/plain")])
    )
    shape = Shape(recipient=acs, destination=acs, action=acs)
    result = saml.run(shape, acs_url=acs, deliver=True, cookie="sid")
    assert result.outcome is Outcome.PASS, result.detail
    assert [one[4] for one in told(result)] == ["assertion", "session_cookie"]
    assertion, session = result.steps[-1].audit
    assert session.previous == assertion.ident
    assert session.ident == MARKS.of("token", "sid=abc123")
    bench.server.on("/acs", Answer(403, b"no"))
    result = saml.run(shape, acs_url=acs, deliver=True)
    assert told(result)[-1] == (REJECTED, False, Reason.API_REJECTS_VALID_TOKEN, 403, "assertion")


def test_a_status_that_is_wanted_issues_nothing(saml: Saml) -> None:
    """Where NoPassive is what should come, nothing was issued, and the trail says nothing."""
    shape = Shape(status=("Responder", "NoPassive"))
    result = saml.run(shape, passive=True, expect=SamlExpect(saml_status="NoPassive"))
    assert result.outcome is Outcome.PASS, result.detail
    assert told(result) == []


def test_an_assertion_that_is_not_for_us_is_rejected(saml: Saml) -> None:
    """An assertion that was issued and found bad is both, in this order."""
    result = saml.run(Shape(audience="https://other.example.com"))
    assert told(result) == [
        (ISSUED, True, None, 200, "assertion"),
        (REJECTED, False, Reason.SAML_CONDITIONS_INVALID, 200, "assertion"),
    ]
    assert len({f.ident for f in result.steps[-1].audit}) == 1
