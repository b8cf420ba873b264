"""The saml_reject step: a right service provider refuses every case, and each flaw is found by the cases that are about it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from otelprobe.fields import SecretRef, parse_jsonpath
from otelprobe.reasons import Blame, Counts, Outcome, Reason
from otelprobe.rejection.saml_cases import SAML_CASES
from otelprobe.result import Fact, FlowResult
from otelprobe.state import State
from otelprobe.steps.saml_metadata import SamlMetadata
from otelprobe.steps.saml_reject import SamlReject
from tests.conftest import Answer, Server
from tests.saml_kit import NAME_ID, PASSWORD, SP, Shape, pair, sealed
from tests.saml_sp import FlawedSp, ObligingIdp
from tests.steps.flows import Bench, last

OTHER_SP, OTHER_ACS = "https://other.example.com/metadata", "https://sp.example.com/other-acs"
API = (Blame.API, Counts.NONE)
UNSEEN = {"saml_expired"}
"""What has no turn before a response has ended."""

WRAPPED = {word for word in SAML_CASES if word.startswith("saml_wrapped_")}
WHOLE = {"saml_wrapped_response", "saml_wrapped_beside"}
FORGED = {
    "saml_changed_name",
    "saml_changed_attributes",
    "saml_forged_certificate",
    "saml_forged_key",
    "saml_confusion",
}
FORGED |= {"saml_flipped_signature", "saml_unsigned"}


class Lab:
    """Runs metadata and the step against the kit's identity provider and a service provider."""

    def __init__(self, bench: Bench, sp_server: Server, folder: Path) -> None:
        self.bench, self.folder = bench, folder
        bench.state = State(folder / "state")
        self.idp = ObligingIdp(bench.server)
        self.sp = FlawedSp(sp_server, self.idp)
        (folder / "password").write_text(PASSWORD, encoding="utf-8")
        (folder / "retain").write_text("canary-retain-key", encoding="utf-8")

    def step(self, **members: Any) -> SamlReject:
        known = {
            "name": "bad",
            "sp_entity_id": SP,
            "acs_url": self.sp.acs,
            "start_url": f"{self.sp.server.url}/start",
            "url": f"{self.sp.server.url}/me",
            "identity": parse_jsonpath("$.user"),
            "username": "ann",
            "password": SecretRef(file=str(self.folder / "password")),
            "retain_key": SecretRef(file=str(self.folder / "retain")),
            "other_sp_entity_id": OTHER_SP,
            "other_acs_url": OTHER_ACS,
            "max_logins": 99,
            "every": 0.001,
            "allow_intrusive": True,
            "intrusive_hosts": ("127.0.0.1",),
        }
        return SamlReject(**{**known, **members})

    def run(self, *flaws: str, shape: Shape | None = None, **members: Any) -> FlowResult:
        self.sp.flaws = frozenset(flaws)
        self.idp.shape = shape or Shape(sign=("response", "assertion"))
        metadata = SamlMetadata(name="idp", url=f"{self.bench.server.url}/metadata")
        return self.bench.run(metadata, self.step(**members), deadline=60.0)


@pytest.fixture
def lab(bench: Bench, tmp_path: Path) -> Iterator[Lab]:
    server = Server()
    yield Lab(bench, server, tmp_path)
    server.stop()


def taken(result: FlowResult) -> set[str]:
    return {case.case for case in last(result).cases if case.accepted}


def tried(result: FlowResult) -> set[str]:
    return {case.case for case in last(result).cases}


def verdict(result: FlowResult) -> tuple[Any, ...]:
    row = last(result)
    return row.reason, row.blame, row.counts


@pytest.mark.parametrize("sign", [("response", "assertion"), ("assertion",), ("response",)])
def test_a_right_service_provider(lab: Lab, sign: tuple[str, ...]) -> None:
    """It refuses every case that can be made of what is signed, and takes the good response that came with each."""
    result = lab.run(shape=Shape(sign=sign))
    assert last(result).outcome is Outcome.PASS, last(result).detail
    impossible = {"assertion": WHOLE, "response": WRAPPED - WHOLE}
    left_out = set().union(*(words for part, words in impossible.items() if (part,) == sign))
    assert tried(result) == set(SAML_CASES) - UNSEEN - left_out
    assert taken(result) == set()
    # A name with a comment in it is a good one where it is read as a whole.
    assert {case.case for case in last(result).cases if case.status != 403} == {"saml_comment_in_name"}
    marked = [seen.headers["x-otelprobe-case"] for seen in lab.sp.posted]
    # One before the cases, and one more where the case was taken as the good response that it is.
    assert marked.count("control") == len(tried(result)) + 2
    assert marked[0] == "control"
    assert marked[marked.index("saml_unsigned") + 1] == "control"
    agents = {seen.headers["x-otelprobe-case"]: seen.headers["user-agent"] for seen in lab.sp.posted}
    assert "rejection case saml_unsigned; intrusive" in agents["saml_unsigned"]


@pytest.mark.parametrize(
    ("flaw", "found"),
    [
        ("signature", FORGED),
        ("place", {"saml_wrapped_before", "saml_wrapped_around", "saml_wrapped_extensions"}),
        ("comment", {"saml_comment_in_name"}),
        ("replay", {"saml_replayed"}),
        ("audience", {"saml_other_audience"}),
        ("destination", {"saml_other_destination"}),
        ("request", {"saml_other_request"}),
    ],
)
def test_a_flaw_is_found(lab: Lab, flaw: str, found: set[str]) -> None:
    """What is not checked is taken, by its name; what is checked is still refused."""
    result = lab.run(flaw, shape=Shape(sign=("assertion",)))
    assert verdict(result) == (Reason.REJECTION_ACCEPTED, *API), last(result).detail
    assert found <= taken(result)
    if flaw not in {"signature", "place"}:
        assert taken(result) == found
    assert set(last(result).facts[Fact.REJECTION_ACCEPTED]) == taken(result)


def test_an_unread_wrapping_is_no_finding(lab: Lab) -> None:
    """A service provider that takes a wrapped response, and reads the signed part of it, was not fooled."""
    cases = ("saml_wrapped_before", "saml_wrapped_after")
    result = lab.run("crowd", shape=Shape(sign=("assertion",)), cases=cases)
    assert {case.status for case in last(result).cases} == {302}
    assert last(result).outcome is Outcome.PASS, last(result).detail


def test_a_response_after_its_end(lab: Lab) -> None:
    """One is kept, sealed, until it has ended, and offered then; once that is done the next is kept."""
    members = {"cases": ("saml_expired",)}
    result = lab.run(shape=Shape(sign=("assertion",), ends=60.0), **members)
    assert (tried(result), lab.sp.posted) == (set(), [])
    kept = "".join(path.read_text("utf-8") for path in (lab.folder / "state").rglob("*") if path.is_file())
    assert NAME_ID not in kept
    lab.bench.memory = type(lab.bench.memory)()
    lab.bench.clock.seconds = lab.sp.ahead = 300.0
    long = Shape(sign=("assertion",), ends=360.0)
    result = lab.run(shape=long, **members)
    assert (tried(result), taken(result)) == ({"saml_expired"}, set())
    assert last(result).outcome is Outcome.PASS, last(result).detail
    assert tried(lab.run(shape=long, **members)) == set()
    lab.bench.clock.seconds = lab.sp.ahead = 600.0
    assert taken(lab.run("time", shape=Shape(sign=("assertion",), ends=900.0), **members)) == {"saml_expired"}


def test_without_a_page_the_answer_counts(lab: Lab) -> None:
    """An answer that is no error and leads nowhere near a log-in is an acceptance; a way back to the log-in is none."""
    members = {"url": None, "identity": None, "cases": ("saml_unsigned", "saml_replayed")}
    assert last(lab.run(**members)).outcome is Outcome.PASS
    lab.sp.refusal = Answer(302, b"", [("Location", "https://idp.example.com/sso?SAMLRequest=x")])
    assert last(lab.run(**members)).outcome is Outcome.PASS
    lab.sp.refusal = Answer(302, b"", [("Location", "/error")])
    assert taken(lab.run(**members)) == {"saml_unsigned", "saml_replayed"}
    assert last(lab.run(cases=("saml_unsigned", "saml_replayed"))).outcome is Outcome.PASS


def test_a_request_that_is_burnt(lab: Lab) -> None:
    """Where a bad answer uses up the request, the good response is refused too: a log-in of its own is the control."""
    lab.sp.burns = True
    result = lab.run(cases=("saml_unsigned", "saml_changed_name"))
    assert last(result).outcome is Outcome.PASS, last(result).detail
    assert len(lab.sp.posted) == 1 + 2 * 3


def test_refusals_that_prove_nothing(lab: Lab) -> None:
    """Where the good response is refused no bad one is sent, and nothing is said of any."""
    result = lab.run(shape=Shape(by=pair("other")))
    assert verdict(result)[0] is Reason.REJECTION_INCONCLUSIVE
    assert last(result).detail == "the good response was refused with status 403 before the cases"
    assert tried(result) == set()
    assert len(lab.sp.posted) == 1


def test_a_page_that_is_open(lab: Lab) -> None:
    """It would say that everybody is logged in: that is the finding."""
    result = lab.run("session")
    assert verdict(result)[:2] == (Reason.ENDPOINT_NOT_PROTECTED, Blame.API)
    assert lab.sp.posted == []


def test_a_server_that_fails_over_it(lab: Lab) -> None:
    """That is its own reason."""
    lab.sp.refusal = Answer(500)
    result = lab.run(cases=("saml_garbage",))
    assert verdict(result)[:2] == (Reason.REJECTION_SERVER_ERROR, Blame.API)


def test_a_rate_limit_ends_it(lab: Lab) -> None:
    """More would not get past it."""
    lab.sp.refusal = Answer(429)
    result = lab.run(cases=("saml_garbage", "saml_unsigned"))
    assert last(result).reason is Reason.API_RATE_LIMITED
    assert len(lab.sp.posted) == 2


def test_an_encrypted_assertion(lab: Lab) -> None:
    """What cannot be edited is left out, and said so where it was named; the rest is tried."""
    shape = Shape(sign=("response",), seal=lambda a: sealed(a, pair("sp"), "gcm"))
    cases = ("saml_garbage", "saml_changed_name", "saml_wrapped_before")
    lab.sp.key = pair("sp").key
    result = lab.run(shape=shape, cases=cases)
    assert tried(result) == {"saml_garbage"}
    assert [w.detail for w in last(result).warnings] == [
        "no name can be read in the response: saml_changed_name, saml_wrapped_before left out"
    ]


def test_cases_take_turns(lab: Lab) -> None:
    """A run has so many log-ins, and between them nobody logs in."""
    cases = ("saml_garbage", "saml_unsigned", "saml_changed_name")
    first = lab.run(cases=cases, max_logins=3, every=3600.0)
    assert tried(first) == {"saml_garbage", "saml_unsigned"}
    asked = len(lab.idp.requests)
    assert asked == 3
    assert last(lab.run(cases=cases, max_logins=3, every=3600.0)).outcome is Outcome.PASS
    assert len(lab.idp.requests) == asked
    lab.bench.clock.seconds = 3601
    assert tried(lab.run(cases=cases, max_logins=3, every=3600.0)) == {"saml_changed_name", "saml_garbage"}


def test_a_decoy(lab: Lab) -> None:
    """A service provider that lets in known people only is shown one of them."""
    members = {"decoy_name": "eve@example.com", "cases": ("saml_changed_name",)}
    lab.run("signature", **members)
    assert set(lab.sp.sessions.values()) == {NAME_ID, "eve@example.com"}


def test_nothing_secret_is_told(lab: Lab) -> None:
    """Names, attributes, cookies, responses and keys are in no fact, no URL and no detail."""
    result = lab.run("signature")
    assert taken(result)
    assert "canary" not in repr(result)
    for session in lab.sp.sessions:
        assert session not in repr(result)


def test_whose_trouble_a_log_in_is(lab: Lab) -> None:
    """A start page that fails is the service provider's, a wrong password the configuration's."""
    (lab.folder / "password").write_text("canary-wrong", encoding="utf-8")
    assert verdict(lab.run()) == (Reason.LOGIN_REJECTED, Blame.CONFIG, Counts.NONE)
    lab.sp.server.on("/start", Answer(500))
    assert verdict(lab.run())[1] is Blame.API
