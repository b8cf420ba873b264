"""A SAML identity provider for tests, made of text, and what can be wrong with its metadata and its responses."""

import datetime as dt
import os
import zlib
from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from html import escape
from secrets import token_hex
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from lxml import etree
from signxml import XMLSigner
from signxml.algorithms import CanonicalizationMethod, DigestAlgorithm, SignatureMethod

from tests.conftest import Answer, Seen, Server

SP, ACS = "https://sp.example.com/metadata", "https://sp.example.com/acs"
NAME_ID, ATTRIBUTE = "canary-name-id@example.com", "canary-attribute-value"
PASSWORD = "canary-saml-password"
MD, SAML, SAMLP = (f"urn:oasis:names:tc:SAML:2.0:{n}" for n in ("metadata", "assertion", "protocol"))
XENC = "http://www.w3.org/2001/04/xmlenc#"
DS = "http://www.w3.org/2000/09/xmldsig#"
_EXCLUSIVE = CanonicalizationMethod.EXCLUSIVE_XML_CANONICALIZATION_1_0


class OldSigner(XMLSigner):
    """Signs by what nobody should sign by any more."""

    def check_deprecated_methods(self) -> None:
        """Allow it."""


@dataclass(frozen=True)
class Pair:
    """A private key with a certificate of its own."""

    key: Any = field(repr=False)
    certificate: x509.Certificate

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(Encoding.PEM).decode()

    @property
    def sha256(self) -> str:
        return self.certificate.fingerprint(hashes.SHA256()).hex()

    @property
    def base64(self) -> str:
        return b64encode(self.der).decode()

    @property
    def key_pem(self) -> str:
        text: bytes = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return text.decode()


@cache
def private_key(which: str, bits: int = 2048) -> Any:
    """Give a private key of that name; keys cost time to draw, so there is one of each."""
    if which.startswith("ec"):
        return ec.generate_private_key(ec.SECP256R1())
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


@cache
def pair(which: str = "idp", days: float = 365.25, bits: int = 2048) -> Pair:
    """Give a key with a certificate that ends in so many days."""
    key = private_key(which, bits)
    now = dt.datetime.now(dt.UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, which)])
    built = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    built = built.not_valid_before(min(now, now + dt.timedelta(days=days)) - dt.timedelta(days=1))
    signed = built.not_valid_after(now + dt.timedelta(days=days)).sign(key, hashes.SHA256())
    return Pair(key, signed)


def moment(seconds: float = 0.0) -> str:
    """Write a point in time, so many seconds from now."""
    return (dt.datetime.now(dt.UTC) + dt.timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def signed(root: Any, by: Pair, *, method: str = "rsa-sha256", digest: str = "sha256", after: int = 1) -> Any:
    """Give a copy of an element that is signed as a whole; the signature stands behind its first child."""
    copy = etree.fromstring(etree.tostring(root))
    copy.insert(after, etree.Element(f"{{{DS}}}Signature", nsmap={"ds": DS}, Id="placeholder"))
    signer = OldSigner(
        signature_algorithm=SignatureMethod.from_fragment(method),
        digest_algorithm=DigestAlgorithm.from_fragment(digest),
        c14n_algorithm=_EXCLUSIVE,
    )
    return signer.sign(copy, key=by.key, cert=by.pem, reference_uri=copy.get("ID"), id_attribute="ID")


def sealed(assertion: Any, recipient: Pair, mode: str) -> Any:
    """Encrypt an assertion for somebody's certificate, as Keycloak and Shibboleth do."""
    key, nonce, plain = os.urandom(16), os.urandom(12), etree.tostring(assertion)
    if mode == "gcm":
        cipher, data = "http://www.w3.org/2009/xmlenc11#aes128-gcm", nonce + AESGCM(key).encrypt(nonce, plain, None)
    else:
        vector, fill = os.urandom(16), 16 - len(plain) % 16
        encryptor = Cipher(AES(key), CBC(vector)).encryptor()
        cipher = f"{XENC}aes128-cbc"
        data = vector + encryptor.update(plain + os.urandom(fill - 1) + bytes([fill])) + encryptor.finalize()
    public: Any = recipient.certificate.public_key()
    wrapped = public.encrypt(key, OAEP(mgf=MGF1(hashes.SHA1()), algorithm=hashes.SHA1(), label=None))
    value = "<xenc:CipherData><xenc:CipherValue>{}</xenc:CipherValue></xenc:CipherData>"
    return etree.fromstring(
        f'<saml:EncryptedAssertion xmlns:saml="{SAML}" xmlns:xenc="{XENC}" xmlns:ds="{DS}"><xenc:EncryptedData>'
        f'<xenc:EncryptionMethod Algorithm="{cipher}"/><ds:KeyInfo><xenc:EncryptedKey>'
        f'<xenc:EncryptionMethod Algorithm="{XENC}rsa-oaep-mgf1p"/>{value.format(b64encode(wrapped).decode())}'
        f"</xenc:EncryptedKey></ds:KeyInfo>{value.format(b64encode(data).decode())}</xenc:EncryptedData>"
        "</saml:EncryptedAssertion>"
    )


def key_descriptor(found: Pair, use: str | None = "signing") -> str:
    """Write a KeyDescriptor."""
    named = f' use="{use}"' if use else ""
    data = f"<ds:X509Data><ds:X509Certificate>{found.base64}</ds:X509Certificate></ds:X509Data>"
    return f"<md:KeyDescriptor{named}><ds:KeyInfo>{data}</ds:KeyInfo></md:KeyDescriptor>"


def entity(entity_id: str, *keys: str, role: str = "idp", base: str = "https://idp.example.com", more: str = "") -> str:
    """Write an EntityDescriptor with these key descriptors; `more` are further attributes."""
    name, service = ("IDP", "SingleSignOnService") if role == "idp" else ("SP", "AssertionConsumerService")
    path = "sso" if role == "idp" else "acs"
    bindings = ("HTTP-Redirect", "HTTP-POST") if role == "idp" else ("HTTP-POST",)
    services = "".join(
        f'<md:{service} index="{n}" Binding="urn:oasis:names:tc:SAML:2.0:bindings:{b}" Location="{base}/{path}"/>'
        for n, b in enumerate(bindings)
    )
    return (
        f'<md:EntityDescriptor xmlns:md="{MD}" xmlns:ds="{DS}" ID="_e{len(entity_id)}" entityID="{entity_id}" {more}>'
        f'<md:{name}SSODescriptor protocolSupportEnumeration="{SAMLP}">{"".join(keys)}{services}'
        f"</md:{name}SSODescriptor></md:EntityDescriptor>"
    )


def group(*entities: str, more: str = "") -> str:
    """Write an EntitiesDescriptor."""
    return f'<md:EntitiesDescriptor xmlns:md="{MD}" ID="_group" {more}>{"".join(entities)}</md:EntitiesDescriptor>'


@dataclass(kw_only=True)
class Shape:
    """How a response is made; every member is what can be wrong with it."""

    sign: tuple[str, ...] = ("assertion",)
    by: Pair = field(default_factory=pair)
    method: str = "rsa-sha256"
    digest: str = "sha256"
    status: tuple[str, ...] = ("Success",)
    issuer: str | None = None
    audience: str | None = SP
    recipient: str = ACS
    destination: str | None = ACS
    answers: str | None = None
    begins: float = -60.0
    ends: float = 300.0
    assertion_id: str | None = None
    relay_state: str | None = None
    action: str = ACS
    login: bool = True
    statement: bool = True
    edit: Callable[[Any], Any] = lambda root: root
    """Applied last, to the signed response."""
    seal: Callable[[Any], Any] | None = None
    """Applied to the assertion when it is signed."""
    raw: bytes | None = None


@dataclass
class Idp:
    """An identity provider on a server: metadata, a log-in form, and a page that posts the response."""

    server: Server
    shape: Shape = field(default_factory=Shape)
    keys: tuple[str, ...] = ()
    requests: list[Any] = field(default_factory=list)
    entered: list[Seen] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.keys = self.keys or (key_descriptor(pair()),)
        self.server.on("/metadata", lambda _: Answer(200, self.metadata().encode(), [("Content-Type", "text/xml")]))
        self.server.on("/sso", self._sso)
        self.server.on("/login", self._login)

    @property
    def entity_id(self) -> str:
        return f"{self.server.url}/idp"

    def metadata(self) -> str:
        return entity(self.entity_id, *self.keys, base=self.server.url)

    def _sso(self, seen: Seen) -> Answer:
        self.entered.append(seen)
        given = {**{k: v[0] for k, v in seen.query.items()}, **(seen.form if seen.method == "POST" else {})}
        packed = b64decode(given["SAMLRequest"])
        request = etree.fromstring(packed if seen.method == "POST" else zlib.decompress(packed, -15))
        self.requests.append(request)
        state = given.get("RelayState", "")
        if not self.shape.login:
            return self._posting(state)
        hidden = f'<input type="hidden" name="state" value="{escape(state)}">'
        fields = '<input name="username"><input type="password" name="password">'
        return _page(f'<form method="post" action="/login">{hidden}{fields}<button>Sign in</button></form>')

    def _login(self, seen: Seen) -> Answer:
        if seen.form.get("password") != PASSWORD:
            return _page(
                '<form method="post" action="/login"><input name="username"><input type="password" name="password"></form>'
            )
        return self._posting(seen.form["state"])

    def _posting(self, state: str) -> Answer:
        shape = self.shape
        data = shape.raw if shape.raw is not None else self.document()
        back = state if shape.relay_state is None else shape.relay_state
        values = {"SAMLResponse": b64encode(data).decode(), "RelayState": back}
        inputs = "".join(f'<input type="hidden" name="{n}" value="{escape(v)}">' for n, v in values.items())
        return _page(f'<form method="post" action="{escape(shape.action)}">{inputs}<button>Continue</button></form>')

    def document(self) -> bytes:
        """Give a response to the last request."""
        data: bytes = etree.tostring(self.shape.edit(self._response()))
        return data

    def _response(self) -> Any:
        shape = self.shape
        answers = shape.answers if shape.answers is not None else self.requests[-1].get("ID")
        root = self._envelope(answers)
        if shape.status[0] == "Success":
            assertion = etree.fromstring(self._assertion(answers))
            if "assertion" in shape.sign:
                assertion = self._sign(assertion)
            root.append(shape.seal(assertion) if shape.seal else assertion)
        return self._sign(root) if "response" in shape.sign else root

    def _sign(self, element: Any) -> Any:
        return signed(element, self.shape.by, method=self.shape.method, digest=self.shape.digest)

    def _envelope(self, answers: str) -> Any:
        shape = self.shape
        codes = ""
        for code in reversed(shape.status):
            codes = f'<samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:{code}">{codes}</samlp:StatusCode>'
        to = f'Destination="{shape.destination}"' if shape.destination else ""
        named = f'InResponseTo="{answers}"' if answers else ""
        return etree.fromstring(
            f'<samlp:Response xmlns:samlp="{SAMLP}" xmlns:saml="{SAML}" ID="_r{token_hex(8)}" Version="2.0" '
            f'IssueInstant="{moment()}" {to} {named}><saml:Issuer>{shape.issuer or self.entity_id}</saml:Issuer>'
            f"<samlp:Status>{codes}</samlp:Status></samlp:Response>"
        )

    def _assertion(self, answers: str) -> str:
        shape = self.shape
        named = f'InResponseTo="{answers}"' if answers else ""
        own = shape.assertion_id or f"_a{token_hex(16)}"
        audience = (
            f"<saml:AudienceRestriction><saml:Audience>{shape.audience}</saml:Audience></saml:AudienceRestriction>"
        )
        statement = (
            f'<saml:AuthnStatement AuthnInstant="{moment()}"><saml:AuthnContext><saml:AuthnContextClassRef>'
            "urn:oasis:names:tc:SAML:2.0:ac:classes:Password</saml:AuthnContextClassRef></saml:AuthnContext>"
            "</saml:AuthnStatement>"
        )
        return (
            f'<saml:Assertion xmlns:saml="{SAML}" ID="{own}" Version="2.0" IssueInstant="{moment(shape.begins)}">'
            f"<saml:Issuer>{shape.issuer or self.entity_id}</saml:Issuer><saml:Subject><saml:NameID>{NAME_ID}</saml:NameID>"
            f'<saml:SubjectConfirmation Method="urn:oasis:names:tc:SAML:2.0:cm:bearer"><saml:SubjectConfirmationData '
            f'NotOnOrAfter="{moment(shape.ends)}" Recipient="{shape.recipient}" {named}/></saml:SubjectConfirmation>'
            f'</saml:Subject><saml:Conditions NotBefore="{moment(shape.begins)}" NotOnOrAfter="{moment(shape.ends)}">'
            f"{audience if shape.audience else ''}</saml:Conditions>{statement if shape.statement else ''}"
            f'<saml:AttributeStatement><saml:Attribute Name="urn:oid:0.9.2342.19200300.100.1.3" FriendlyName="mail">'
            f"<saml:AttributeValue>{ATTRIBUTE}</saml:AttributeValue></saml:Attribute></saml:AttributeStatement>"
            "</saml:Assertion>"
        )


def _page(body: str) -> Answer:
    headers = [("Content-Type", "text/html; charset=utf-8"), ("Set-Cookie", "sid=canary-idp-cookie; Path=/")]
    return Answer(200, f"<!DOCTYPE html><html><body>{body}</body></html>".encode(), headers)
