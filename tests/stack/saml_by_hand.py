"""Bad responses to a SAML service provider, made by hand: no line is otelprobe's, so that it can tell whether that is right."""

import zlib
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from secrets import token_hex
from typing import Any
from urllib.parse import parse_qs, urlencode, urljoin, urlsplit

import requests
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import load_der_x509_certificate
from lxml import etree, html
from signxml import XMLSigner

from tests.person_by_hand import Loopback
from tests.saml_kit import DS, SAMLP, pair, signed
from tests.saml_sp import ObligingIdp

EVE = "eve"
Fields = dict[str, str]


@dataclass
class Browser:
    """A session with a response that has arrived: where it is to be posted, with which fields."""

    http: requests.Session
    action: str
    fields: Fields
    request_id: str


@dataclass
class SamlByHand:
    """One person at one service provider. `me` says who is logged in, where it has such a page."""

    idp: ObligingIdp
    start: str
    acs: str
    entity_id: str
    person: tuple[str, str]
    name: str
    me: str | None = None
    others: Mapping[str, str] | None = None

    @property
    def sso(self) -> str:
        """Where requests go."""
        return f"{self.idp.server.url}/sso"

    def truth(self, case: str) -> str:
        """Give what the service provider does with the response of this case."""
        browser = self.log_in()
        status, who = getattr(self, f"_{case}", lambda b: self._edited(b, case))(browser)
        if status >= 500:
            return "error"
        other = case.startswith("saml_wrapped_") or case == "saml_comment_in_name"
        return "accepted" if who is not None and not (other and who == self.name) else "refused"

    def log_in(self) -> Browser:
        """Begin at the start page, log in, and stop with the response."""
        http = requests.Session()
        http.trust_env = False
        http.cookies.set_policy(Loopback())
        first = http.get(self.start, timeout=30)
        asked = [parse_qs(urlsplit(r.url).query).get("SAMLRequest") for r in (*first.history, first)]
        page, form = first, self._form(first)
        if "SAMLRequest" in form.fields:
            asked.append([form.fields["SAMLRequest"]])
            page = http.post(urljoin(first.url, form.action), data=dict(form.fields), timeout=30)
        (sent,) = [one[0] for one in asked if one]
        return self._arrived(http, self._press(http, page), etree.fromstring(_inflated(sent)).get("ID"))

    def post(self, browser: Browser, **fields: str) -> tuple[int, str | None]:
        """Deliver; give the status and who is logged in then (None: nobody)."""
        url, form = browser.action, {**browser.fields, **fields}
        answer = browser.http.post(url, data=form, allow_redirects=False, timeout=30)
        taken = answer.status_code < 400 and "SAMLRequest" not in answer.headers.get("Location", "")
        if self.me is None:
            return answer.status_code, self.name if taken else None
        page = browser.http.get(self.me, timeout=30)
        return answer.status_code, page.json()["user"] if page.ok else None

    def _form(self, page: requests.Response) -> Any:
        (form,) = [f for f in html.fromstring(page.content).forms if set(f.fields) & _TELLING]
        return form

    def _press(self, http: requests.Session, page: requests.Response) -> requests.Response:
        form = self._form(page)
        if "password" not in form.fields:
            return page
        name, password = self.person
        return http.post(
            urljoin(page.url, form.action),
            data={**dict(form.fields), "username": name, "password": password},
            timeout=30,
        )

    def _arrived(self, http: requests.Session, page: requests.Response, request_id: str) -> Browser:
        form = self._form(page)
        return Browser(http, form.action, {n: v for n, v in form.fields.items() if v is not None}, request_id)

    def _answer(self, browser: Browser, **changes: str) -> str:
        """Ask the identity provider by a request of one's own; give its response."""
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        said = {"id": f"_{token_hex(16)}", "acs": self.acs, "issuer": self.entity_id, **changes}
        text = (
            f'<p:AuthnRequest xmlns:p="{SAMLP}" xmlns:s="urn:oasis:names:tc:SAML:2.0:assertion" ID="{said["id"]}" '
            f'Version="2.0" IssueInstant="{now}" Destination="{self.sso}" AssertionConsumerServiceURL="{said["acs"]}" '
            'ProtocolBinding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST">'
            f"<s:Issuer>{said['issuer']}</s:Issuer></p:AuthnRequest>"
        )
        query = urlencode({"SAMLRequest": b64encode(zlib.compress(text.encode(), wbits=-15)).decode()})
        page = self._press(browser.http, browser.http.get(f"{self.sso}?{query}", timeout=30))
        return self._arrived(browser.http, page, said["id"]).fields["SAMLResponse"]

    # What is no edit

    def _saml_garbage(self, browser: Browser) -> tuple[int, str | None]:
        return self.post(browser, SAMLResponse=b64encode(b"garbage").decode())

    def _saml_expired(self, browser: Browser) -> tuple[int, str | None]:
        kept, self.idp.shape = self.idp.shape, replace(self.idp.shape, ends=-5.0)
        expired = self._answer(browser, id=browser.request_id)
        self.idp.shape = kept
        return self.post(browser, SAMLResponse=expired)

    def _saml_replayed(self, browser: Browser) -> tuple[int, str | None]:
        assert self.post(browser)[1] is not None
        thief = requests.Session()
        thief.trust_env = False
        return self.post(Browser(thief, browser.action, browser.fields, ""))

    def _saml_other_request(self, browser: Browser) -> tuple[int, str | None]:
        return self.post(browser, SAMLResponse=self._answer(browser))

    def _saml_other_audience(self, browser: Browser) -> tuple[int, str | None]:
        other = (self.others or {})["audience"]
        return self.post(browser, SAMLResponse=self._answer(browser, issuer=other, id=browser.request_id))

    def _saml_other_destination(self, browser: Browser) -> tuple[int, str | None]:
        other = (self.others or {})["destination"]
        return self.post(browser, SAMLResponse=self._answer(browser, acs=other, id=browser.request_id))

    # Edits

    def _edited(self, browser: Browser, case: str) -> tuple[int, str | None]:
        root = etree.fromstring(b64decode(browser.fields["SAMLResponse"]))
        changed = _EDITS[case](root)
        document = changed if changed is not None else root
        return self.post(browser, SAMLResponse=b64encode(etree.tostring(document)).decode())


_TELLING = {"SAMLResponse", "SAMLRequest", "password"}


def _inflated(request: str) -> bytes:
    data = b64decode(request)
    return data if data.startswith(b"<") else zlib.decompress(data, wbits=-15)


def _good(root: Any) -> Any:
    return root.find("{*}Assertion")


def _signature(element: Any) -> Any:
    return element.find(f"{{{DS}}}Signature")


def _bare(element: Any) -> Any:
    for found in element.findall(f"{{{DS}}}Signature"):
        assert not (found.tail or "").strip()
        element.remove(found)
    return element


def _eve(element: Any) -> Any:
    for name in element.iter("{*}NameID"):
        name.text = EVE
    return element


def _evil(element: Any) -> Any:
    copy = _eve(deepcopy(element))
    copy.set("ID", f"_evil{token_hex(8)}")
    return copy


def _unsigned(root: Any) -> None:
    _bare(_good(root))
    _bare(root)


def _changed_attributes(root: Any) -> None:
    for value in root.iter("{*}AttributeValue"):
        value.text = EVE


def _flipped(root: Any) -> None:
    for value in root.iter(f"{{{DS}}}SignatureValue"):
        raw = bytearray(b64decode("".join(value.text.split())))
        raw[len(raw) // 2] ^= 1
        value.text = b64encode(raw).decode()


def _resigned(root: Any, sign: Callable[[Any], Any]) -> Any:
    """Sign anew what was signed."""
    whole, good = _signature(root) is not None, _good(root)
    if _signature(good) is not None:
        root.replace(good, sign(_bare(_eve(good))))
    return sign(_bare(_eve(root))) if whole else root


def _forged_certificate(root: Any) -> Any:
    return _resigned(root, lambda element: signed(element, pair("stranger")))


def _forged_key(root: Any) -> Any:
    known = next(root.iter(f"{{{DS}}}X509Certificate")).text

    def sign(element: Any) -> Any:
        done = signed(element, pair("stranger"))
        _signature(done).find(f".//{{{DS}}}X509Certificate").text = known
        return done

    return _resigned(root, sign)


def _confusion(root: Any) -> Any:
    der = b64decode("".join(next(root.iter(f"{{{DS}}}X509Certificate")).text.split()))
    key = load_der_x509_certificate(der).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def sign(element: Any) -> Any:
        copy = etree.fromstring(etree.tostring(element))
        copy.insert(1, etree.Element(f"{{{DS}}}Signature", nsmap={"ds": DS}, Id="placeholder"))
        signer = XMLSigner(signature_algorithm="hmac-sha256", c14n_algorithm="http://www.w3.org/2001/10/xml-exc-c14n#")
        return signer.sign(copy, key=key, reference_uri=copy.get("ID"), id_attribute="ID")

    return _resigned(root, sign)


def _comment(root: Any) -> None:
    name = next(root.iter("{*}NameID"))
    whole = name.text
    name.text = whole[: len(whole) // 2]
    comment = etree.Comment("x")
    comment.tail = whole[len(whole) // 2 :]
    name.append(comment)


def _wrap(place: Callable[[Any, Any, Any], None]) -> Callable[[Any], None]:
    def edit(root: Any) -> None:
        _bare(root)
        good = _good(root)
        place(root, good, _evil(good))

    return edit


def _before(root: Any, good: Any, evil: Any) -> None:
    good.addprevious(_bare(evil))


def _around(root: Any, good: Any, evil: Any) -> None:
    root.replace(good, _bare(evil))
    evil.append(good)


def _after(root: Any, good: Any, evil: Any) -> None:
    root.replace(good, evil)
    root.append(_bare(good))


def _in_signature(root: Any, good: Any, evil: Any) -> None:
    root.replace(good, evil)
    _signature(evil).append(_bare(good))


def _in_object(root: Any, good: Any, evil: Any) -> None:
    root.replace(good, evil)
    etree.SubElement(_signature(evil), f"{{{DS}}}Object").append(_bare(good))


def _same_id(root: Any, good: Any, evil: Any) -> None:
    evil.set("ID", good.get("ID"))
    _in_object(root, good, evil)


def _extensions(root: Any, good: Any, evil: Any) -> None:
    root.replace(good, _bare(evil))
    place = etree.Element(f"{{{SAMLP}}}Extensions")
    place.append(good)
    root.find("{*}Status").addprevious(place)


def _whole(root: Any) -> Any:
    evil = _evil(root)
    _signature(evil).append(_bare(root))
    return evil


def _beside(root: Any) -> Any:
    evil = _evil(root)
    _signature(evil).addprevious(_bare(root))
    return evil


_EDITS: Mapping[str, Callable[[Any], Any]] = {
    "saml_unsigned": _unsigned,
    "saml_flipped_signature": _flipped,
    "saml_changed_name": _eve,
    "saml_changed_attributes": _changed_attributes,
    "saml_forged_certificate": _forged_certificate,
    "saml_forged_key": _forged_key,
    "saml_confusion": _confusion,
    "saml_comment_in_name": _comment,
    "saml_wrapped_before": _wrap(_before),
    "saml_wrapped_around": _wrap(_around),
    "saml_wrapped_after": _wrap(_after),
    "saml_wrapped_in_signature": _wrap(_in_signature),
    "saml_wrapped_in_object": _wrap(_in_object),
    "saml_wrapped_same_id": _wrap(_same_id),
    "saml_wrapped_extensions": _wrap(_extensions),
    "saml_wrapped_response": _whole,
    "saml_wrapped_beside": _beside,
}
