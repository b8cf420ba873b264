"""The saml_login step: a whole log-in by both bindings, and every way in which a response can be wrong."""

import sys
import time
from base64 import b64decode, b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat
from lxml import etree

from otelprobe.fields import SecretRef
from otelprobe.reasons import Blame, CheckFailed, Counts, Outcome, Reason
from otelprobe.result import Fact, FlowResult
from otelprobe.saml.request import AuthnRequest, redirect_url
from otelprobe.saml.response import Response
from otelprobe.saml.signature import verify
from otelprobe.steps.call import Call
from otelprobe.steps.saml_login import SamlExpect, SamlLogin
from otelprobe.steps.saml_metadata import SamlMetadata
from tests.conftest import Answer, Seen, Server
from tests.saml_kit import ACS, ATTRIBUTE, DS, NAME_ID, PASSWORD, SP, Idp, Pair, Shape, key_descriptor, pair, sealed
from tests.steps.flows import Bench, last


class Lab:
    """Runs metadata and log-in against the kit's identity provider."""

    def __init__(self, bench: Bench, folder: Path) -> None:
        self.bench, self.folder = bench, folder
        self.idp = Idp(bench.server)
        (folder / "password").write_text(PASSWORD, encoding="utf-8")

    def step(self, **members: Any) -> SamlLogin:
        known = {"sp_entity_id": SP, "acs_url": ACS, "username": "ann", "password": self.secret("password")}
        return SamlLogin(name="sso", **{**known, **members})

    def secret(self, name: str) -> SecretRef:
        return SecretRef(file=str(self.folder / name))

    def run(self, shape: Shape | None = None, **members: Any) -> FlowResult:
        self.idp.shape = shape or self.idp.shape
        metadata = SamlMetadata(name="idp", url=f"{self.bench.server.url}/metadata")
        return self.bench.run(metadata, self.step(**members))


@pytest.fixture
def lab(bench: Bench, tmp_path: Path) -> Lab:
    return Lab(bench, tmp_path)


@pytest.mark.parametrize("binding", ["redirect", "post"])
@pytest.mark.parametrize("sign", [("assertion",), ("response",), ("response", "assertion")])
def test_a_whole_log_in(lab: Lab, binding: str, sign: tuple[str, ...]) -> None:
    """By either binding, whatever is signed; the request says what it has to."""
    result = lab.run(Shape(sign=sign), binding=binding)
    assert result.outcome is Outcome.PASS, result.detail
    row = last(result)
    assert row.facts[Fact.SAML_SIGNED] == tuple(p for p in ("response", "assertion") if p in sign)
    assert row.facts[Fact.SAML_STATUS] == ("Success",)
    assert row.facts[Fact.SAML_ALGORITHM] == "rsa-sha256"
    assert row.facts[Fact.SAML_BINDING] == binding
    assert row.facts[Fact.LOGIN_FORMS] == 1
    assert row.warnings == ()
    assert lab.idp.entered[0].method == {"redirect": "GET", "post": "POST"}[binding]
    request = lab.idp.requests[0]
    assert request.get("AssertionConsumerServiceURL") == ACS
    assert request.get("Destination") == f"{lab.bench.server.url}/sso"


def verdict(result: FlowResult) -> tuple[Any, ...]:
    row = last(result)
    return row.reason, row.blame, row.counts


PROVIDER, CONFIG = (Blame.PROVIDER, Counts.AUTH), (Blame.CONFIG, Counts.NONE)


def _evil(assertion: Any) -> Any:
    """Copy an assertion, unsigned, for somebody else."""
    copy = etree.fromstring(etree.tostring(assertion))
    for found in copy.findall(f"{{{DS}}}Signature"):
        copy.remove(found)
    copy.set("ID", "_evil")
    copy.find(".//{*}NameID").text = "admin@example.com"
    return copy


def _beside(root: Any) -> Any:
    root.insert(2, _evil(root.find("{*}Assertion")))
    return root


def _around(root: Any) -> Any:
    good = root.find("{*}Assertion")
    evil = _evil(good)
    root.replace(good, evil)
    evil.append(good)
    return root


def _own_signature(root: Any) -> Any:
    """The evil assertion carries the good one's signature, and the good one inside it."""
    good = root.find("{*}Assertion")
    evil, signature = _evil(good), good.find(f"{{{DS}}}Signature")
    root.replace(good, evil)
    evil.insert(1, signature)
    etree.SubElement(signature, f"{{{DS}}}Object").append(good)
    return root


def _same_id(root: Any) -> Any:
    root = _own_signature(root)
    evil = root.find("{*}Assertion")
    evil.set("ID", evil.find(".//{*}Reference").get("URI")[1:])
    return root


def _in_extensions(root: Any) -> Any:
    good = root.find("{*}Assertion")
    root.replace(good, _evil(good))
    extensions = etree.Element("{urn:oasis:names:tc:SAML:2.0:protocol}Extensions")
    extensions.append(good)
    root.insert(1, extensions)
    return root


def _response_in_response(root: Any) -> Any:
    """Another response, unsigned, carries the good one's signature and the good one inside that."""
    evil = etree.fromstring(etree.tostring(root))
    evil.set("ID", "_evil")
    evil.find(".//{*}NameID").text = "admin@example.com"
    etree.SubElement(evil.find(f"{{{DS}}}Signature"), f"{{{DS}}}Object").append(root)
    return evil


def _change(root: Any) -> Any:
    root.find(".//{*}NameID").text = "admin@example.com"
    return root


def _no_key_info(root: Any) -> Any:
    info = root.find(".//{*}KeyInfo")
    info.getparent().remove(info)
    return root


def _other_uri(root: Any) -> Any:
    root.find(".//{*}Reference").set("URI", "#_other")
    return root


def _transform(root: Any) -> Any:
    root.find(".//{*}Transform").set("Algorithm", "http://www.w3.org/TR/1999/REC-xpath-19991116")
    return root


@pytest.mark.parametrize("edit", [_beside, _around, _own_signature, _same_id, _in_extensions])
def test_a_wrapped_assertion(lab: Lab, edit: Any) -> None:
    """Wherever the signed assertion is moved to, nothing beside it is believed."""
    assert verdict(lab.run(Shape(edit=edit))) == (Reason.SAML_SIGNATURE_WRAPPED, *PROVIDER)


def test_a_wrapped_response(lab: Lab) -> None:
    """The same for a signed response."""
    result = lab.run(Shape(sign=("response",), edit=_response_in_response))
    assert verdict(result) == (Reason.SAML_SIGNATURE_WRAPPED, *PROVIDER)


@pytest.mark.parametrize(
    ("shape", "reason", "detail"),
    [
        (Shape(sign=()), Reason.SAML_SIGNATURE_INVALID, "neither the response nor the assertion is signed"),
        (Shape(edit=_change), Reason.SAML_SIGNATURE_INVALID, "does not verify with the 1 known certificate"),
        (Shape(edit=_other_uri), Reason.SAML_SIGNATURE_WRAPPED, "over something else"),
        (Shape(edit=_transform), Reason.SAML_SIGNATURE_INVALID, "transforms what it signs"),
        (Shape(by=pair("new")), Reason.SAML_CERTIFICATE_UNKNOWN, f"not known here: sha256 {pair('new').sha256}"),
        (Shape(by=pair("new"), edit=_no_key_info), Reason.SAML_SIGNATURE_INVALID, "does not verify"),
        (Shape(raw=b"no xml"), Reason.SAML_SIGNATURE_INVALID, "no well-formed XML"),
        (Shape(raw=b"<!DOCTYPE a><a/>"), Reason.XML_DTD_FORBIDDEN, "has a DTD"),
        (Shape(raw=b"<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>"), Reason.XML_ENTITIES_FORBIDDEN, "declares entities"),
        (Shape(raw=b"<a/>"), Reason.SAML_SIGNATURE_INVALID, "no Response of SAML 2.0"),
        (Shape(relay_state="canary-other"), Reason.STATE_MISMATCH, "RelayState did not come back"),
        (Shape(status=("Responder",)), Reason.SAML_STATUS_NOT_SUCCESS, "status Responder"),
        (Shape(audience="https://other.example.com"), Reason.SAML_CONDITIONS_INVALID, "the audience is https://other"),
        (Shape(audience=None), Reason.SAML_CONDITIONS_INVALID, "names no audience"),
        (Shape(recipient="https://other.example.com"), Reason.SAML_CONDITIONS_INVALID, "the recipient is https://other"),
        (Shape(destination="https://other.example.com"), Reason.SAML_CONDITIONS_INVALID, "Destination is https://other"),
        (Shape(destination=None, sign=("response",)), Reason.SAML_CONDITIONS_INVALID, "Destination is missing"),
        (Shape(action="https://other.example.com/acs"), Reason.SAML_CONDITIONS_INVALID, "is to be posted to"),
        (Shape(answers="_old"), Reason.SAML_CONDITIONS_INVALID, "InResponseTo of the response is of another request"),
        (Shape(answers=""), Reason.SAML_CONDITIONS_INVALID, "InResponseTo of the confirmation is missing"),
        (Shape(issuer="https://evil.example.com"), Reason.SAML_CONDITIONS_INVALID, "is from https://evil.example.com"),
        (Shape(begins=120), Reason.SAML_CONDITIONS_INVALID, "the conditions cannot hold before"),
        (Shape(ends=-30), Reason.SAML_CONDITIONS_INVALID, "the confirmation ended"),
        (Shape(statement=False), Reason.SAML_CONDITIONS_INVALID, "no AuthnStatement"),
    ],
)  # fmt: skip
def test_a_response_that_is_no_good(lab: Lab, shape: Shape, reason: Reason, detail: str) -> None:
    """Each fault has its reason, blames the provider, and says what is wrong in words that give nobody away."""
    result = lab.run(shape)
    assert verdict(result) == (reason, *PROVIDER), last(result).detail
    assert detail in str(last(result).detail)
    assert "canary" not in repr(result)


def test_clocks_may_differ_a_little(lab: Lab) -> None:
    """By the leeway; a provider whose own Date is off by more is told as a clock."""
    assert lab.run(Shape(begins=3)).outcome is Outcome.PASS
    assert lab.run(Shape(ends=-30), leeway=60.0).outcome is Outcome.PASS
    lab.bench.clock.seconds = 900
    result = lab.run(Shape())
    assert verdict(result) == (Reason.CLOCK_SKEW, *PROVIDER)
    assert "the provider's clock (127.0.0.1) is off: -900 s" in str(last(result).detail)


def test_an_assertion_works_once(lab: Lab) -> None:
    """The same id in a later run is a replay."""
    assert lab.run(Shape(assertion_id="_one")).outcome is Outcome.PASS
    result = lab.run(Shape(assertion_id="_one"))
    assert verdict(result) == (Reason.SAML_CONDITIONS_INVALID, *PROVIDER)
    assert "issued before" in str(last(result).detail)
    assert "_one" not in repr(result)


def test_weak_algorithms_are_told(lab: Lab) -> None:
    """SHA-1, a short RSA key and a certificate that has ended still work, with a warning for each."""
    lab.idp.keys = (
        key_descriptor(pair("weak", bits=1024)),
        key_descriptor(pair("old", days=-2)),
        key_descriptor(pair()),
    )
    result = lab.run(Shape(by=pair("weak", bits=1024), method="rsa-sha1", digest="sha1"))
    assert result.outcome is Outcome.PASS, result.detail
    assert [(w.reason, w.detail) for w in last(result).warnings] == [
        (Reason.ALG_WEAK, "the SAML response: it is signed by rsa-sha1 over sha1"),
        (Reason.ALG_WEAK, "the SAML response: its RSA key has 1024 bits"),
    ]
    assert [w.reason for w in last(lab.run(Shape(by=pair("old", days=-2)))).warnings] == [Reason.CERTIFICATE_EXPIRED]


def test_elliptic_curves(lab: Lab) -> None:
    """Signatures by ECDSA are verified as well."""
    lab.idp.keys = (key_descriptor(pair("ec")),)
    result = lab.run(Shape(by=pair("ec"), method="ecdsa-sha256"))
    assert result.outcome is Outcome.PASS, result.detail


def test_methods_that_cannot_be_checked(lab: Lab) -> None:
    """HMAC with a public certificate proves nothing; an unknown method says nothing about the provider."""

    def method(uri: str) -> Any:
        def edit(root: Any) -> Any:
            root.find(".//{*}SignatureMethod").set("Algorithm", uri)
            return root

        return edit

    hmac = lab.run(Shape(edit=method("http://www.w3.org/2001/04/xmldsig-more#hmac-sha256")))
    assert verdict(hmac) == (Reason.SAML_SIGNATURE_INVALID, *PROVIDER)
    unknown = lab.run(Shape(edit=method("http://www.w3.org/2007/05/xmldsig-more#rsa-pss")))
    assert (last(unknown).outcome, last(unknown).reason) == (Outcome.ERROR, Reason.ALG_UNSUPPORTED)


def test_what_is_expected_of_an_assertion(lab: Lab) -> None:
    """Attributes by name, and what is signed; what is missing is named, what is there is not shown."""
    assert lab.run(expect=SamlExpect(attributes=("mail",), signed="assertion")).outcome is Outcome.PASS
    result = lab.run(expect=SamlExpect(attributes=("mail", "groups")))
    assert verdict(result) == (Reason.ASSERTION_FAILED, *PROVIDER)
    assert last(result).facts[Fact.SAML_MISSING_ATTRIBUTES] == ("groups",)
    assert last(lab.run(expect=SamlExpect(signed="both"))).detail == "not signed: the response"
    other = lab.run(authn_context=("urn:oasis:names:tc:SAML:2.0:ac:classes:X509",))
    assert "another class" in str(last(other).detail)


def test_a_status_may_be_what_is_wanted(lab: Lab) -> None:
    """A passive request proves the way without a password; the requester's faults are the configuration's."""
    refused = Shape(status=("Responder", "NoPassive"), login=False, sign=("response",))
    result = lab.run(refused, passive=True, password=None, expect=SamlExpect(saml_status="NoPassive"))
    assert result.outcome is Outcome.PASS, result.detail
    assert last(result).facts[Fact.SAML_STATUS] == ("Responder", "NoPassive")
    assert lab.idp.requests[-1].get("IsPassive") == "true"
    assert lab.run(Shape(), expect=SamlExpect(saml_status="NoPassive")).reason is Reason.ASSERTION_FAILED
    result = lab.run(Shape(status=("Requester", "InvalidNameIDPolicy")))
    assert verdict(result) == (Reason.SAML_STATUS_NOT_SUCCESS, *CONFIG)


def test_a_wrong_password(lab: Lab) -> None:
    """The form comes back: that is the log-in's fault, not SAML's."""
    (lab.folder / "password").write_text("canary-wrong", encoding="utf-8")
    result = lab.run()
    assert verdict(result) == (Reason.LOGIN_REJECTED, *CONFIG)
    assert "canary" not in repr(result)


def test_nothing_secret_is_told(lab: Lab) -> None:
    """Names, attributes, cookies, the response and RelayState are in no fact, no URL and no detail."""
    result = lab.run()
    assert result.outcome is Outcome.PASS
    assert "canary" not in repr(result)
    given = lab.idp.entered[0].query
    assert given["RelayState"][0] not in repr(result)
    assert given["SAMLRequest"][0] not in repr(result)


def _public(der: Pair) -> Any:
    return der.certificate.public_key()


def test_signed_requests(lab: Lab) -> None:
    """By redirect the query is signed as it stands, by POST the XML: each verifies with the service provider's certificate."""
    (lab.folder / "sp.pem").write_text(pair("sp").key_pem, encoding="utf-8")
    for binding in ("redirect", "post"):
        assert lab.run(binding=binding, sp_key=lab.secret("sp.pem")).outcome is Outcome.PASS
    query = {k: v[0] for k, v in lab.idp.entered[0].query.items()}
    signed = urlencode({k: query[k] for k in ("SAMLRequest", "RelayState", "SigAlg")}, quote_via=quote)
    _public(pair("sp")).verify(b64decode(query["Signature"]), signed.encode(), PKCS1v15(), SHA256())
    request = lab.idp.requests[1]
    assert [etree.QName(e).localname for e in request][:2] == ["Issuer", "Signature"]
    assert verify(request, [pair("sp").der], "the request").element.get("ID") == request.get("ID")
    assert lab.run(sp_key=lab.secret("sp.pem"), sign=False).outcome is Outcome.PASS
    assert "Signature" not in lab.idp.entered[2].query


@pytest.mark.parametrize(("text", "detail"), [("canary", "no private key in PEM"), (None, "is encrypted")])
def test_a_key_that_cannot_be_used(lab: Lab, text: str | None, detail: str) -> None:
    """It is told without what it holds."""
    sealed = pair("sp").key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"canary"))
    (lab.folder / "sp.pem").write_text(text or sealed.decode(), encoding="utf-8")
    result = lab.run(sp_key=lab.secret("sp.pem"))
    assert (last(result).reason, last(result).blame) == (Reason.CONFIG_ERROR, Blame.CONFIG)
    assert detail in str(last(result).detail)
    assert "canary" not in repr(result)


@pytest.mark.parametrize("mode", ["cbc", "gcm"])
@pytest.mark.parametrize("sign", [("assertion",), ("response",)])
def test_an_encrypted_assertion(lab: Lab, mode: str, sign: tuple[str, ...]) -> None:
    """It is opened with the service provider's key, and has to be signed all the same."""
    (lab.folder / "sp.pem").write_text(pair("sp").key_pem, encoding="utf-8")
    shape = Shape(sign=sign, seal=lambda assertion: sealed(assertion, pair("sp"), mode))
    result = lab.run(shape, sp_key=lab.secret("sp.pem"))
    assert result.outcome is Outcome.PASS, result.detail
    assert last(result).facts[Fact.SAML_ENCRYPTED] is True
    assert last(result).facts[Fact.SAML_SIGNED] == sign
    closed = lab.run(shape)
    assert verdict(closed) == (Reason.TOKEN_ENCRYPTED, *CONFIG)
    (lab.folder / "sp.pem").write_text(pair("other").key_pem, encoding="utf-8")
    assert "does not open" in str(last(lab.run(shape, sp_key=lab.secret("sp.pem"))).detail)


def test_encryption_is_no_signature(lab: Lab) -> None:
    """Anybody can encrypt for a service provider."""
    (lab.folder / "sp.pem").write_text(pair("sp").key_pem, encoding="utf-8")
    result = lab.run(Shape(sign=(), seal=lambda a: sealed(a, pair("sp"), "gcm")), sp_key=lab.secret("sp.pem"))
    assert last(result).detail == "neither the response nor the assertion is signed"


@dataclass
class Sp:
    """A service provider on a server of its own: a start page that sends people to log in, and a consumer service."""

    server: Server
    idp: Idp
    answer: Answer | None = None
    posted: list[Seen] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.server.on("/start", self._start)
        self.server.on("/acs", self._acs)

    @property
    def acs(self) -> str:
        return f"{self.server.url}/acs"

    def _start(self, _: Seen) -> Answer:
        asked = AuthnRequest(
            destination=f"{self.idp.server.url}/sso", sp_entity_id=SP, acs_url=self.acs, issued_at=time.time()
        )
        where = redirect_url(asked, "canary-relay", None)
        return Answer(302, b"", [("Location", where), ("Set-Cookie", "pending=canary-pending; Path=/")])

    def _acs(self, seen: Seen) -> Answer:
        self.posted.append(seen)
        session = [("Location", "/home"), ("Set-Cookie", "session=canary-session; Path=/; HttpOnly")]
        return self.answer or Answer(302, b"", session)


@pytest.fixture
def sp(lab: Lab) -> Iterator[Sp]:
    server = Server()
    yield Sp(server, lab.idp)
    server.stop()


def test_delivery_opens_a_session(lab: Lab, sp: Sp) -> None:
    """The response goes to the consumer service, and its cookie to the calls that follow."""
    lab.bench.server.on(
        "/me", lambda seen: Answer(200 if "session=canary-session" in seen.headers.get("cookie", "") else 401)
    )
    lab.idp.shape = Shape(recipient=sp.acs, destination=sp.acs, action=sp.acs)
    metadata = SamlMetadata(name="idp", url=f"{lab.bench.server.url}/metadata")
    login = lab.step(acs_url=sp.acs, deliver=True, cookie="session")
    result = lab.bench.run(metadata, login, Call(name="me", url=f"{lab.bench.server.url}/me"))
    assert result.outcome is Outcome.PASS, result.detail
    assert set(sp.posted[0].form) == {"SAMLResponse", "RelayState"}
    assert "canary" not in repr(result)


def test_a_start_page_is_followed(lab: Lab, sp: Sp) -> None:
    """The service provider's own request is sent on, its answer is compared with it, and its cookies go along."""
    shape = Shape(recipient=sp.acs, destination=sp.acs, action=sp.acs)
    members = {"acs_url": sp.acs, "start_url": f"{sp.server.url}/start"}
    result = lab.run(shape, **members, deliver=True, cookie="session")
    assert result.outcome is Outcome.PASS, result.detail
    assert last(result).facts[Fact.SAML_BINDING] == "start_url"
    assert "pending=canary-pending" in sp.posted[0].headers["cookie"]
    assert sp.posted[0].form["RelayState"] == "canary-relay"
    lab.idp.shape = replace(shape, answers="_old")
    assert "InResponseTo" in str(last(lab.run(**members)).detail)
    sp.server.on("/start", Answer(503))
    assert verdict(lab.run(**members)) == (Reason.IDP_HTTP_5XX, Blame.API, Counts.AUTH)


@pytest.mark.parametrize(
    ("answer", "reason", "blame"),
    [
        (Answer(403), Reason.API_REJECTS_VALID_TOKEN, Blame.API),
        (Answer(500), Reason.API_UNAVAILABLE, Blame.API),
        (Answer(429), Reason.API_RATE_LIMITED, Blame.EDGE),
        (Answer(302, b"", [("Location", "https://idp.example.com/sso?SAMLRequest=x")]), Reason.REDIRECTED_TO_LOGIN, Blame.API),
        (Answer(200, b"welcome"), Reason.TOKEN_MISSING, Blame.API),
    ],
)  # fmt: skip
def test_a_service_provider_that_refuses(lab: Lab, sp: Sp, answer: Answer, reason: Reason, blame: Blame) -> None:
    """A good response that is refused is the service provider's fault."""
    sp.answer = answer
    shape = Shape(recipient=sp.acs, destination=sp.acs, action=sp.acs)
    result = lab.run(shape, acs_url=sp.acs, deliver=True, cookie="session")
    assert (last(result).reason, last(result).blame) == (reason, blame)
    assert last(result).facts[Fact.SAML_SIGNED] == ("assertion",)


def test_a_consumer_service_that_is_down(lab: Lab, sp: Sp) -> None:
    """What happens on the way there is the service provider's fault too."""
    acs = "http://127.0.0.1:1/acs"
    result = lab.run(Shape(recipient=acs, destination=acs, action=acs), acs_url=acs, deliver=True)
    assert (last(result).reason, last(result).blame) == (Reason.CONNECT_REFUSED, Blame.API)


def test_without_a_metadata_step(lab: Lab) -> None:
    """A pinned file and an address do; the certificate of the file wins over the metadata's."""
    (lab.folder / "idp.pem").write_text(pair().pem, encoding="utf-8")
    pinned = {"idp_certificate": str(lab.folder / "idp.pem"), "sso_url": f"{lab.bench.server.url}/sso"}
    step = lab.step(**pinned)
    assert step.required(None) == ()
    assert lab.bench.run(step).outcome is Outcome.PASS
    assert last(lab.bench.run(lab.step(**pinned, idp_entity_id="https://other.example.com"))).reason is (
        Reason.SAML_CONDITIONS_INVALID
    )
    (lab.folder / "idp.pem").write_text(pair("new").pem, encoding="utf-8")
    assert last(lab.run(**pinned)).reason is Reason.SAML_CERTIFICATE_UNKNOWN


def test_a_page_that_refuses_the_request(lab: Lab) -> None:
    """Its 400 is about what was registered."""
    lab.bench.server.on("/sso", Answer(400, b"<html>Invalid requester</html>", [("Content-Type", "text/html")]))
    result = lab.run()
    assert verdict(result) == (Reason.INVALID_REQUEST, *CONFIG)
    assert "check sp_entity_id and acs_url" in str(last(result).detail)


@pytest.mark.parametrize("library", ["lxml", "signxml"])
def test_a_missing_library_is_named_with_its_extra(lab: Lab, library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra both steps say what to install, and ask nothing of anybody."""
    for name in [n for n in sys.modules if n.split(".")[0] == library] or [library]:
        monkeypatch.setitem(sys.modules, name, None)
    result = lab.run()
    assert (result.failed_step, result.reason, result.blame) == ("idp", Reason.CONFIG_ERROR, Blame.CONFIG)
    assert 'pip install "otelprobe[saml]"' in str(result.detail)
    assert lab.bench.server.seen == []


def _mutations(document: bytes, count: int) -> Iterator[bytes]:
    """Give a document with one element each dropped, doubled or emptied, or one attribute dropped or changed."""
    drawn = Random(7)
    for _ in range(count):
        root = etree.fromstring(document)
        element = drawn.choice(list(root.iter()))
        parent, name = element.getparent(), drawn.choice([*element.attrib, ""])
        match drawn.randrange(4):
            case 0 if parent is not None:
                parent.remove(element)
            case 1:
                drawn.choice(list(root.iter())).append(etree.fromstring(etree.tostring(element)))
            case 2 if name:
                element.set(name, drawn.choice(["", "#", "0001-01-01T00:00:00Z", "http://example.com/#sha1"]))
            case _:
                element.text = drawn.choice([None, "", "====", "x"])
        yield etree.tostring(root)


@pytest.mark.parametrize(
    "shape", [Shape(), Shape(sign=("response",)), Shape(seal=lambda a: sealed(a, pair("sp"), "gcm"))]
)
def test_a_changed_response_says_nothing_new(lab: Lab, shape: Shape) -> None:
    """Whatever is done to it, it is refused with a reason or still says what was signed; nothing is ever tripped over."""
    lab.idp.shape = shape
    lab.idp.requests.append(etree.fromstring('<request ID="_x"/>'))
    outcomes = set()
    for changed in _mutations(lab.idp.document(), 150):
        response = Response()
        try:
            response.open(b64encode(changed).decode(), [pair().der], pair("sp").key)
            list(response.time_problems(time.time(), 5.0))
        except CheckFailed as failed:
            outcomes.add(failed.reason)
        else:
            assert response.assertion.find(".//{*}NameID").text == NAME_ID
            assert response.assertion.find(".//{*}AttributeValue").text == ATTRIBUTE
    assert outcomes & {Reason.SAML_SIGNATURE_INVALID, Reason.SAML_SIGNATURE_WRAPPED}
