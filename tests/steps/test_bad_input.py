"""What strangers may send: each kind of bad input has a reason of its own, in time, and nothing secret gets out."""

import gzip
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from otelprobe.fields import SecretRef
from otelprobe.form_rules import FormRule
from otelprobe.reasons import Outcome, Reason
from otelprobe.result import FlowResult
from otelprobe.steps.authorize import Authorize
from otelprobe.steps.keys import Keys
from otelprobe.steps.saml_login import SamlLogin
from otelprobe.steps.saml_metadata import SamlMetadata
from otelprobe.steps.token import Token
from otelprobe.steps.verify import Verify
from tests.conftest import Answer, Seen
from tests.saml_kit import ACS, ATTRIBUTE, NAME_ID, PASSWORD, SP, Idp, Shape, pair
from tests.steps.flows import Bench, as_json, token_answer
from tests.steps.test_saml_login import _around
from tests.token_kit import jwk, token

_HTML = [("Content-Type", "text/html")]
_FORM = "<form method=post><input name=user><input type=password name=pw><button>Go</button></form>"
_CHANGED = "<form method=post><input name=mail><input type=password name=geheim></form>"
_JWE = "eyJhbGciOiJkaXIiLCJlbmMiOiJBMjU2R0NNIn0.canary.canary.canary.canary"


@dataclass
class Site:
    """One server that plays whoever sends the bad input."""

    bench: Bench
    secret: SecretRef

    def log_in(self, answer: Answer | Callable[[Seen], Answer], **members: Any) -> FlowResult:
        """Ask for a code, where a log-in page should be shown first."""
        server = self.bench.server
        server.on("/authorize", answer)
        self.bench.provider = replace(self.bench.provider, endpoints={"authorization": f"{server.url}/authorize"})
        known = {"username": "ann", "password": self.secret, **members}
        return self.bench.run(Authorize(name="authorize", redirect_uri="https://app.example/cb", **known))

    def metadata(self, document: bytes, *headers: tuple[str, str]) -> FlowResult:
        """Read metadata."""
        self.bench.server.on("/metadata", Answer(200, document, [("Content-Type", "application/xml"), *headers]))
        return self.bench.run(SamlMetadata(name="idp", url=f"{self.bench.server.url}/metadata"), deadline=30)

    def saml(self, shape: Shape) -> FlowResult:
        """Log in by SAML."""
        Idp(self.bench.server).shape = shape
        metadata = SamlMetadata(name="idp", url=f"{self.bench.server.url}/metadata")
        login = SamlLogin(name="sso", sp_entity_id=SP, acs_url=ACS, username="ann", password=self.secret)
        return self.bench.run(metadata, login, deadline=30)

    def verify(self, access: str, *published: dict[str, Any]) -> FlowResult:
        """Obtain a token and verify it with what is published."""
        self.bench.server.on("/token", token_answer(access_token=access))
        self.bench.server.on("/jwks", as_json({"keys": list(published)}))
        return self.bench.run(Keys(name="keys"), Token(name="token"), Verify(name="verify", audience=("orders",)))


def _page(text: str, *headers: tuple[str, str]) -> Answer:
    return Answer(200, f"<!doctype html><title>x</title>{text}".encode(), [*_HTML, *headers])


def _form_changed(site: Site) -> FlowResult:
    rule = FormRule(fields={"user": "ann", "pw": site.secret})
    return site.log_in(_page(_CHANGED), username=None, password=None, forms=(rule,))


def _javascript(site: Site) -> FlowResult:
    return site.log_in(_page("<div id=root></div><script src=app.js></script>"))


def _bot_challenge(site: Site) -> FlowResult:
    return site.log_in(_page(_FORM, ("cf-mitigated", "challenge")))


def _mfa_prompt(site: Site) -> FlowResult:
    otp = "<form method=post><input name=otp autocomplete=one-time-code></form>"
    return site.log_in(lambda seen: _page(otp if seen.method == "POST" else _FORM))


def _replaced_certificate(site: Site) -> FlowResult:
    return site.saml(Shape(by=pair("new")))


def _dtd(site: Site) -> FlowResult:
    return site.metadata(b'<!DOCTYPE md SYSTEM "http://127.0.0.1:1/x.dtd"><md/>')


def _billion_laughs(site: Site) -> FlowResult:
    laughs = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    return site.metadata(f'<!DOCTYPE l [<!ENTITY l0 "lol">{laughs}]><l>&l9;</l>'.encode())


def _wrapping(site: Site) -> FlowResult:
    return site.saml(Shape(edit=_around))


def _large_metadata(site: Site) -> FlowResult:
    packed = gzip.compress(b"<a>" + b" " * 200_000_000, 1)
    return site.metadata(packed, ("Content-Encoding", "gzip"))


def _endless_redirect(site: Site) -> FlowResult:
    return site.log_in(lambda seen: Answer(302, b"", [("Location", "/authorize?again")]))


def _encrypted(site: Site) -> FlowResult:
    return site.verify(_JWE, jwk())


def _unknown_kty(site: Site) -> FlowResult:
    return site.verify(token(kid="pq"), jwk(), {"kty": "AKP", "kid": "pq", "alg": "ML-DSA-44", "pub": "AAAA"})


INPUTS = {
    "a form that changed": (_form_changed, Reason.LOGIN_FORM_NOT_FOUND),
    "a page that needs JavaScript": (_javascript, Reason.JAVASCRIPT_REQUIRED),
    "a bot challenge": (_bot_challenge, Reason.BOT_CHALLENGE),
    "an MFA prompt": (_mfa_prompt, Reason.MFA_CHALLENGE),
    "a replaced IdP certificate": (_replaced_certificate, Reason.SAML_CERTIFICATE_UNKNOWN),
    "metadata with a DTD": (_dtd, Reason.XML_DTD_FORBIDDEN),
    "a billion laughs": (_billion_laughs, Reason.XML_ENTITIES_FORBIDDEN),
    "signature wrapping": (_wrapping, Reason.SAML_SIGNATURE_WRAPPED),
    "200 MB of metadata": (_large_metadata, Reason.RESPONSE_TOO_LARGE),
    "an endless redirect": (_endless_redirect, Reason.REDIRECT_LOOP),
    "a JWE without a key": (_encrypted, Reason.TOKEN_ENCRYPTED),
    "an unknown kty": (_unknown_kty, Reason.KEY_UNUSABLE),
}


@pytest.fixture
def site(bench: Bench, tmp_path: Path) -> Site:
    (tmp_path / "password").write_text(PASSWORD, encoding="utf-8")
    return Site(bench, SecretRef(file=str(tmp_path / "password")))


@pytest.mark.parametrize(("send", "reason"), INPUTS.values(), ids=INPUTS)
def test_each_bad_input_has_its_own_reason(site: Site, send: Callable[[Site], FlowResult], reason: Reason) -> None:
    """It fails, by that reason, with a detail that says what to look at, and with nothing that was typed or sent."""
    result = send(site)
    assert (result.outcome, result.reason) == (Outcome.FAIL, reason), result.detail
    assert result.detail
    for secret in (PASSWORD, NAME_ID, ATTRIBUTE, "canary"):
        assert secret not in repr(result)


def test_no_two_share_a_reason() -> None:
    """Whoever reads the reason alone knows which of them it is."""
    reasons = [reason for _, reason in INPUTS.values()]
    assert len(set(reasons)) == len(reasons)
