"""The saml_metadata step: who is told about, until when it holds, and documents that nobody should have to read."""

import gzip
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from otelprobe.endings import DAY
from otelprobe.fields import HttpOptions
from otelprobe.reasons import Blame, Counts, Outcome, Reason
from otelprobe.result import Expiry, Fact, FlowResult
from otelprobe.state import State
from otelprobe.steps.saml_metadata import SamlMetadata
from tests.conftest import Answer
from tests.saml_kit import Pair, entity, group, key_descriptor, moment, pair, signed
from tests.steps.flows import Bench, last

IDP = "https://idp.example.com/idp"
HEALTHY = entity(IDP, key_descriptor(pair()), more=f'validUntil="{moment(5 * DAY)}"')


def run(bench: Bench, document: str | bytes | Answer, **members: Any) -> FlowResult:
    """Run the step on a document that is served."""
    body = document.encode() if isinstance(document, str) else document
    answer = body if isinstance(body, Answer) else Answer(200, body, [("Content-Type", "application/samlmetadata+xml")])
    bench.server.on("/metadata", answer)
    return bench.run(SamlMetadata(name="idp", url=f"{bench.server.url}/metadata", **members))


def verdict(result: FlowResult) -> tuple[Any, ...]:
    row = last(result)
    return row.outcome, row.reason, row.blame, row.counts


INVALID = (Outcome.FAIL, Reason.SAML_METADATA_INVALID, Blame.PROVIDER, Counts.AUTH)


def test_a_healthy_identity_provider(bench: Bench) -> None:
    """It passes with what ends when, for the certificate and for the document."""
    result = run(bench, HEALTHY, entity_id=IDP)
    assert result.outcome is Outcome.PASS, result.detail
    row = last(result)
    assert row.warnings == ()
    ends = {(e.subject, e.name): round(e.remaining / DAY) for e in row.expiries}
    assert ends == {("saml_signing", "idp"): 365, ("saml_metadata", "idp"): 5}
    before = {e.subject: (e.warn_before, e.critical_before) for e in row.expiries}
    assert before["saml_signing"] == (90 * DAY, None)
    assert before["saml_metadata"] == (pytest.approx(5 * DAY / 4, rel=0.01), pytest.approx(5 * DAY / 10, rel=0.01))
    assert row.facts[Fact.SAML_SIGNING_CERTIFICATES] == 1
    assert row.facts[Fact.SAML_ENCRYPTION_CERTIFICATES] == 0
    assert Fact.SAML_METADATA_SIGNED not in row.facts


def _notices(bench: Bench, document: str) -> tuple[bool, bool]:
    """Tell whether what is left of the document is to be warned of, and whether that is critical."""
    ends = next(e for e in last(run(bench, document)).expiries if e.subject == "saml_metadata")
    assert ends.warn_before is not None
    assert ends.critical_before is not None
    assert ends.critical_before < ends.warn_before <= 90 * DAY
    return ends.remaining < ends.warn_before, ends.remaining < ends.critical_before


@pytest.mark.parametrize("hours", [1, 24, 14 * 24, 3650 * 24])
def test_metadata_are_warned_of_by_how_long_they_last(bench: Bench, hours: float) -> None:
    """Those that are renewed in time never are, however short they last; those that are not are, and then critically."""
    document = entity(IDP, key_descriptor(pair()), more=f'validUntil="{moment(hours * 3600)}"')
    assert _notices(bench, document) == (False, False)
    length = min(hours * 3600, 300 * DAY)  # the certificate lasts a year
    start = hours * 3600 - length
    for part, told in ((0.5, (False, False)), (0.96, (True, True))):
        bench.clock.seconds = start + part * length
        if bench.clock.seconds < 300 * DAY:
            assert _notices(bench, document) == told
    if hours <= 14 * 24:
        renewed = entity(IDP, key_descriptor(pair()), more=f'validUntil="{moment(2 * hours * 3600)}"')
        assert _notices(bench, renewed) == (False, False)


def test_what_was_learned_outlives_the_process(bench: Bench, tmp_path: Path) -> None:
    """With a state directory, a run on its own knows how long the document was to last."""
    document = entity(IDP, key_descriptor(pair()), more=f'validUntil="{moment(10 * DAY)}"')
    bench.state = State(tmp_path)
    assert _notices(bench, document) == (False, False)
    bench.state.flush()
    bench.state, bench.clock.seconds = State(tmp_path), 8 * DAY
    assert _notices(bench, document) == (True, False)
    bench.state = State()
    assert _notices(bench, document) == (False, False)


def test_a_file_is_read_as_well(bench: Bench, tmp_path: Path) -> None:
    """It needs no network; what is not there is the configuration's fault."""
    path = tmp_path / "idp.xml"
    path.write_text(HEALTHY, encoding="utf-8")
    assert bench.run(SamlMetadata(name="idp", file=str(path))).outcome is Outcome.PASS
    result = bench.run(SamlMetadata(name="idp", file=str(tmp_path / "no.xml")))
    assert (last(result).reason, last(result).blame) == (Reason.CONFIG_ERROR, Blame.CONFIG)
    result = bench.run(SamlMetadata(name="idp", file=str(path), http=HttpOptions(max_size=100)))
    assert (last(result).reason, last(result).blame) == (Reason.RESPONSE_TOO_LARGE, Blame.CONFIG)


def test_a_service_provider(bench: Bench) -> None:
    """Its keys may be for both uses; its faults are its own, not the identity provider's."""
    document = entity(
        "https://sp.example.com", key_descriptor(pair("sp"), None), role="sp", base="https://sp.example.com"
    )
    result = run(bench, document, role="sp", acs_url="https://sp.example.com/acs")
    assert result.outcome is Outcome.PASS, result.detail
    assert {e.subject for e in last(result).expiries} == {"saml_signing", "saml_encryption"}
    failed = run(bench, document, role="sp", acs_url="https://sp.example.com/other", logout=True)
    assert last(failed).detail == "acs_url is not among the assertion consumer services; no single-logout endpoint"
    assert verdict(failed) == (Outcome.FAIL, Reason.SAML_METADATA_INVALID, Blame.API, Counts.AUTH)


def test_of_a_group_one_is_picked(bench: Bench) -> None:
    """By its entity id; without one only if it is the only one in its role. The group's validUntil counts."""
    sp = entity("https://sp.example.com", role="sp")
    both = group(entity(IDP, key_descriptor(pair())), sp, more=f'validUntil="{moment(2 * DAY)}"')
    result = run(bench, both)
    assert result.outcome is Outcome.PASS, result.detail
    assert round(float(str(last(result).facts[Fact.SAML_METADATA_REMAINING])) / DAY) == 2
    two = group(entity(IDP, key_descriptor(pair())), entity(f"{IDP}2", key_descriptor(pair())))
    assert run(bench, two, entity_id=f"{IDP}2").outcome is Outcome.PASS
    failed = run(bench, two)
    assert verdict(failed) == INVALID
    assert last(failed).detail == "2 of 2 entities are identity providers: set entity_id to pick one"


def _entities(count: int) -> str:
    return "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, count))


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ('<!DOCTYPE md [<!ENTITY x SYSTEM "file:///etc/passwd">]><md>&x;</md>', Reason.XML_ENTITIES_FORBIDDEN),
        ('<!DOCTYPE md [<!ENTITY % x SYSTEM "http://127.0.0.1:1/">%x;]><md/>', Reason.XML_ENTITIES_FORBIDDEN),
        (f'<!DOCTYPE l [<!ENTITY l0 "lol">{_entities(10)}]><l a="&l9;">&l9;</l>', Reason.XML_ENTITIES_FORBIDDEN),
        ('<?xml version="1.0"?><!doctype l SYSTEM "http://127.0.0.1:1/x.dtd"><l/>', Reason.XML_DTD_FORBIDDEN),
        ('<!DOCTYPE md SYSTEM "x.dtd"><md/>'.encode("utf-16"), Reason.XML_DTD_FORBIDDEN),
        ('<!DOCTYPE l [<!ENTITY a "b">]><l/>'.encode("utf-16"), Reason.XML_ENTITIES_FORBIDDEN),
    ],
)
def test_documents_with_a_dtd(bench: Bench, document: str | bytes, reason: Reason) -> None:
    """They are not read at all; entities, by which parsers are attacked, are told apart from a mere document type."""
    result = run(bench, document, entity_id=IDP)
    assert verdict(result) == (Outcome.FAIL, reason, Blame.PROVIDER, Counts.AUTH)
    assert len(bench.server.seen) == 1


@pytest.mark.parametrize(
    ("document", "detail"),
    [
        ("<a>" * 100_000, "no well-formed XML"),
        ('<a b="' + "x" * 11_000_000 + '"/>', "no well-formed XML"),
        ("", "no well-formed XML"),
        ("{}", "no well-formed XML"),
        ("<html><body>Log in</body></html>", "an HTML page where metadata should be"),
        ("<feed/>", "the root element is feed, expected EntityDescriptor or EntitiesDescriptor"),
        (entity("https://other.example.com", key_descriptor(pair())), "about https://other.example.com; 0 of them"),
        (entity(IDP), "no certificate for signing that can be read"),
        (entity(IDP, key_descriptor(pair("sp"), "encryption")), "no certificate for signing"),
        (entity(IDP, key_descriptor(pair()), role="sp"), "the entity is no identity provider of SAML 2.0"),
        (entity(IDP, key_descriptor(pair()), base="http://idp.example.com"), "endpoints without https"),
        (entity(IDP, key_descriptor(pair()), base="https://["), "endpoints without https, or that are no URLs"),
        (entity(IDP, key_descriptor(pair()), more=f'validUntil="{moment(-3 * DAY)}"'), "validUntil ended 3 d ago"),
        (entity(IDP, key_descriptor(pair()), more='validUntil="soon"'), "validUntil is no date and time"),
        (HEALTHY.replace("SingleSignOnService", "SingleLogoutService"), "no single sign-on endpoint"),
    ],
)
def test_documents_that_are_no_good(bench: Bench, document: str | bytes, detail: str) -> None:
    """Each is told in one line, and nothing hangs."""
    result = run(bench, document, entity_id=IDP)
    assert verdict(result) == INVALID
    assert detail in str(last(result).detail)
    assert len(bench.server.seen) == 1


def test_two_hundred_megabytes(bench: Bench) -> None:
    """They are not read, compressed or not."""
    packed = gzip.compress(b"<a>" + b" " * 200_000_000, 1)
    result = run(bench, Answer(200, packed, [("Content-Encoding", "gzip")]))
    assert verdict(result) == (Outcome.FAIL, Reason.RESPONSE_TOO_LARGE, Blame.PROVIDER, Counts.AUTH)
    result = run(bench, HEALTHY, http=HttpOptions(max_size=500))
    assert last(result).reason is Reason.RESPONSE_TOO_LARGE


@pytest.mark.parametrize(
    ("answer", "reason"),
    [(Answer(404), Reason.IDP_HTTP_4XX), (Answer(503), Reason.IDP_HTTP_5XX), (Answer(429), Reason.IDP_RATE_LIMITED)],
)
def test_answers_that_are_no_metadata(bench: Bench, answer: Answer, reason: Reason) -> None:
    """The status speaks first."""
    assert last(run(bench, answer)).reason is reason


def test_certificates_that_end(bench: Bench) -> None:
    """An old one beside a new one is a warning; when none is left, it is a failure, with what was learnt."""
    old, soon, new = pair("old", days=-2), pair("soon", days=20), pair()
    result = run(bench, entity(IDP, key_descriptor(old), key_descriptor(soon), key_descriptor(new)))
    assert result.outcome is Outcome.PASS, result.detail
    told = {(w.reason, w.detail.partition(",")[0]) for w in last(result).warnings}
    assert told == {
        (Reason.CERTIFICATE_EXPIRED, "certificate for signing: CN=old ended 2 d ago"),
        (Reason.CERTIFICATE_EXPIRING, "certificate for signing: CN=soon ends in 19 d"),
    }
    assert all("another lasts longer" in w.detail for w in last(result).warnings)
    assert last(result).facts[Fact.SAML_SIGNING_CERTIFICATES] == 2
    failed = run(bench, entity(IDP, key_descriptor(old)))
    assert verdict(failed) == (Outcome.FAIL, Reason.CERTIFICATE_EXPIRED, Blame.PROVIDER, Counts.AUTH)
    assert [e.subject for e in last(failed).expiries] == ["saml_signing"]
    assert (
        last(run(bench, entity(IDP, key_descriptor(soon)), fail_before=30 * DAY)).reason is Reason.CERTIFICATE_EXPIRED
    )


def test_what_is_odd_but_works(bench: Bench) -> None:
    """A key that is too short, a certificate that cannot be read and a use that nobody knows are warnings."""
    unread = key_descriptor(pair()).replace(pair().base64, "bm90IGEgY2VydGlmaWNhdGU=")
    weak = key_descriptor(pair("weak", bits=1024))
    result = run(bench, entity(IDP, unread, weak, key_descriptor(pair(), "sealing")))
    assert result.outcome is Outcome.PASS, result.detail
    assert [(w.reason, w.detail) for w in last(result).warnings] == [
        (Reason.ALG_WEAK, "certificate for signing CN=weak: its RSA key has 1024 bits"),
        (Reason.SAML_METADATA_INVALID, "a certificate cannot be read"),
        (Reason.SAML_METADATA_INVALID, "a KeyDescriptor has a use that is neither signing nor encryption"),
    ]


@pytest.fixture
def pinned(tmp_path: Path) -> str:
    path = tmp_path / "federation.pem"
    path.write_text(pair("federation").pem, encoding="utf-8")
    return str(path)


def _signed(document: str, by: Pair, **how: str) -> str:
    text: str = etree.tostring(signed(etree.fromstring(document), by, after=0, **how)).decode()  # type: ignore[arg-type] # texts only
    return text


def test_a_pinned_signature(bench: Bench, pinned: str) -> None:
    """The group's or the entity's own signature; SHA-1 is told."""
    by = pair("federation")
    whole = _signed(group(entity(IDP, key_descriptor(pair()))), by)
    result = run(bench, whole, pinned_certificate=pinned)
    assert result.outcome is Outcome.PASS, result.detail
    assert last(result).facts[Fact.SAML_METADATA_SIGNED] is True
    single = group(_signed(entity(IDP, key_descriptor(pair())), by, method="rsa-sha1", digest="sha1"))
    result = run(bench, single, pinned_certificate=pinned)
    assert result.outcome is Outcome.PASS, result.detail
    assert [w.reason for w in last(result).warnings] == [Reason.ALG_WEAK]


def test_a_signature_that_is_not_the_pinned_ones(bench: Bench, pinned: str) -> None:
    """Missing, by somebody else, or over something else: each is refused."""
    plain = entity(IDP, key_descriptor(pair()))
    assert last(run(bench, plain, pinned_certificate=pinned)).detail == "the metadata are not signed"
    other = run(bench, _signed(plain, pair("stranger")), pinned_certificate=pinned)
    assert verdict(other)[1:] == (Reason.SAML_CERTIFICATE_UNKNOWN, Blame.PROVIDER, Counts.AUTH)
    good = _signed(plain, pair("federation"))
    changed = run(
        bench, good.replace("https://idp.example.com/sso", "https://evil.example.com/sso"), pinned_certificate=pinned
    )
    assert last(changed).reason is Reason.SAML_SIGNATURE_INVALID
    wrapped = good.replace(f'ID="_e{len(IDP)}"', 'ID="_evil"', 1)
    assert "signature wrapping" in str(last(run(bench, wrapped, pinned_certificate=pinned)).detail)


def test_expiry_names_stay_few(bench: Bench) -> None:
    """A series is named by the step and a number, never by the certificate."""
    keys = [key_descriptor(pair(name, days=days)) for name, days in (("a", 100.5), ("b", 200.5), ("c", 300.5))]
    row = last(run(bench, entity(IDP, *keys)))
    assert [(e.name, round(e.remaining / DAY)) for e in row.expiries] == [
        ("idp", 100),
        ("idp (2)", 200),
        ("idp (3)", 300),
    ]
    assert all(isinstance(e, Expiry) for e in row.expiries)
