"""A service provider's request to log somebody in (AuthnRequest, SAML Core 3.4), sent by redirect or as a form (Bindings)."""

import zlib
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import field
from datetime import UTC, datetime
from secrets import token_hex
from typing import Any
from urllib.parse import quote, urlencode, urlsplit, urlunsplit

from otelprobe.quick import dataclass
from otelprobe.reasons import CheckFailed, Reason
from otelprobe.saml.metadata import BINDINGS
from otelprobe.saml.signature import load_signatures
from otelprobe.saml.xml import NAMESPACES, etree, tag

_RSA_SHA256 = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"
_ECDSA_SHA256 = "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256"
_EXCLUSIVE = "http://www.w3.org/2001/10/xml-exc-c14n#"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthnRequest:
    """What is asked for. `id` is drawn anew for each; `issued_at` is Unix time."""

    destination: str
    sp_entity_id: str
    acs_url: str
    issued_at: float
    name_id_format: str | None = None
    authn_context: tuple[str, ...] = ()
    force: bool = False
    passive: bool = False
    id: str = field(default_factory=lambda: f"_{token_hex(16)}")

    def element(self) -> Any:
        """Give it as XML."""
        library = etree()
        used = {prefix: NAMESPACES[prefix] for prefix in ("samlp", "saml")}
        root = library.Element(tag("samlp:AuthnRequest"), nsmap=used)
        attributes = {
            "ID": self.id,
            "Version": "2.0",
            "IssueInstant": datetime.fromtimestamp(self.issued_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "Destination": self.destination,
            "AssertionConsumerServiceURL": self.acs_url,
            "ProtocolBinding": BINDINGS["post"],
            **({"ForceAuthn": "true"} if self.force else {}),
            **({"IsPassive": "true"} if self.passive else {}),
        }
        for name, value in attributes.items():
            root.set(name, value)
        library.SubElement(root, tag("saml:Issuer")).text = self.sp_entity_id
        if self.name_id_format is not None:
            policy = library.SubElement(root, tag("samlp:NameIDPolicy"))
            policy.set("Format", self.name_id_format)
            policy.set("AllowCreate", "true")
        if self.authn_context:
            context = library.SubElement(root, tag("samlp:RequestedAuthnContext"), Comparison="exact")
            for name in self.authn_context:
                library.SubElement(context, tag("saml:AuthnContextClassRef")).text = name
        return root


def redirect_url(request: AuthnRequest, relay_state: str, key: str | None) -> str:
    """Give the URL of the Redirect binding (Bindings 3.4); with a private key (PEM) its query is signed."""
    packer = zlib.compressobj(wbits=-15)
    data = etree().tostring(request.element())
    packed = b64encode(packer.compress(data) + packer.flush()).decode()
    query = urlencode({"SAMLRequest": packed, "RelayState": relay_state}, quote_via=quote)
    if key is not None:
        query = _signed_query(query, key)
    parts = urlsplit(request.destination)
    return urlunsplit(parts._replace(query="&".join(filter(None, (parts.query, query)))))


def post_form(request: AuthnRequest, relay_state: str, key: str | None) -> Mapping[str, str]:
    """Give the form of the POST binding (Bindings 3.5); with a private key (PEM) the XML is signed."""
    root = request.element()
    if key is not None:
        root = _signed(root, request.id, key)
    return {"SAMLRequest": b64encode(etree().tostring(root)).decode(), "RelayState": relay_state}


def private_key(pem: str) -> Any:
    """Read a private key in PEM, RSA or on an elliptic curve; CheckFailed(config_error), never with what it holds."""
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - heavy; only keys need it
    from cryptography.hazmat.primitives.asymmetric import ec, rsa  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415

    try:
        key = load_pem_private_key(pem.encode(), password=None)
    except TypeError:
        raise CheckFailed(Reason.CONFIG_ERROR, "sp_key is encrypted: give it without a password") from None
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise CheckFailed(Reason.CONFIG_ERROR, "sp_key is no private key in PEM, RSA or on an elliptic curve")
    return key


def _signed_query(query: str, pem: str) -> str:
    from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa  # noqa: PLC0415 - as above
    from cryptography.hazmat.primitives.hashes import SHA256  # noqa: PLC0415

    key = private_key(pem)
    method = _RSA_SHA256 if isinstance(key, rsa.RSAPrivateKey) else _ECDSA_SHA256
    query = f"{query}&{urlencode({'SigAlg': method}, quote_via=quote)}"
    if isinstance(key, rsa.RSAPrivateKey):
        signature = key.sign(query.encode(), padding.PKCS1v15(), SHA256())
    else:
        signature = key.sign(query.encode(), ec.ECDSA(SHA256()))
    return f"{query}&{urlencode({'Signature': b64encode(signature).decode()}, quote_via=quote)}"


def _signed(root: Any, own_id: str, pem: str) -> Any:
    """Sign the request as a whole; its signature stands behind the issuer, where the schema wants it."""
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey  # noqa: PLC0415 - as above

    key = private_key(pem)
    place = etree().Element(tag("ds:Signature"), nsmap={"ds": NAMESPACES["ds"]}, Id="placeholder")
    root.insert(1, place)
    method = _RSA_SHA256 if isinstance(key, RSAPrivateKey) else _ECDSA_SHA256
    signer = load_signatures().XMLSigner(signature_algorithm=method, c14n_algorithm=_EXCLUSIVE)
    return signer.sign(root, key=key, reference_uri=own_id, id_attribute="ID")
