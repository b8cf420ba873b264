"""Responses that a service provider must refuse, made of a good one by somebody who holds no key of the identity provider.

Wrapping leaves the signed element in the document, where its signature still verifies, and puts another one where the
service provider may read. Where the two may stand is told apart as in Somorovsky et al., "On Breaking SAML: Be Whoever You
Want to Be" (USENIX Security 2012).
"""

import datetime as dt
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Mapping
from dataclasses import field
from functools import cache
from secrets import token_hex
from types import MappingProxyType
from typing import Any

from otelprobe.quick import dataclass
from otelprobe.saml.signature import certificates_in, is_signed, load_signatures
from otelprobe.saml.xml import alone, below, child, children, etree, instant, tag, text

STRANGER = "otelprobe@otelprobe.invalid"
"""Whom a forged response speaks of where nobody else is named."""

_RSA_SHA256 = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"
_HMAC_SHA256 = "http://www.w3.org/2001/04/xmldsig-more#hmac-sha256"
_EXCLUSIVE = "http://www.w3.org/2001/10/xml-exc-c14n#"


@dataclass(frozen=True, slots=True)
class Impostor:
    """Whom a forged response speaks of: a NameID, and values of attributes by their names."""

    name: str = STRANGER
    attributes: Mapping[str, str] = field(default_factory=dict)


def packed(root: Any) -> str:
    """Give a response as it is posted."""
    return b64encode(etree().tostring(root)).decode()


def name_of(root: Any) -> str:
    """Give the NameID of the first assertion, empty where there is none to be read."""
    return text(next(below(root, "saml:NameID"), None))


def has_attributes(root: Any) -> bool:
    """Tell whether the response has attributes that can be read."""
    return next(below(root, "saml:AttributeValue"), None) is not None


def ends_at(root: Any) -> float | None:
    """Give when the first condition of the assertion ends, Unix seconds: nobody may take it from then on. None: not said."""
    bounds = [*below(root, "saml:Conditions"), *below(root, "saml:SubjectConfirmationData")]
    try:
        found = [instant(element.get("NotOnOrAfter")) for element in bounds]
    except ValueError:
        return None
    return min((end for end in found if end is not None), default=None)


def unsigned(root: Any) -> Any:
    """Give the response without its signatures."""
    copy = alone(root)
    for element in (copy, *children(copy, "saml:Assertion")):
        _without_signature(element)
    return copy


def renamed(root: Any, impostor: Impostor) -> Any:
    """Give the response of somebody else under the old signatures."""
    return _speaking_of(alone(root), impostor)


def with_other_attributes(root: Any, impostor: Impostor) -> Any:
    """Give the response with another value for each attribute under the old signatures."""
    copy = alone(root)
    for value in below(copy, "saml:AttributeValue"):
        _write(value, impostor.name)
    return copy


def with_flipped_signature(root: Any) -> Any:
    """Give the response with bits of each signature flipped."""
    copy = alone(root)
    for value in below(copy, "ds:SignatureValue"):
        signature = bytearray(b64decode("".join(text(value).split())))
        # Not at either end: the number must stay below the modulus.
        signature[len(signature) * 3 // 4] ^= 0x5A
        value.text = b64encode(bytes(signature)).decode()
    return copy


def signed_by_stranger(root: Any, impostor: Impostor, certificate: bytes | None) -> Any:
    """Give the response of somebody else, signed anew by a fresh key.

    It names the certificate of that key, or another one (DER).
    """
    key, own = _stranger()
    return _signed_anew(root, impostor, _RSA_SHA256, key, own if certificate is None else certificate)


def signed_with_certificate(root: Any, impostor: Impostor, certificate: bytes) -> Any:
    """Give the response of somebody else, signed by HMAC with the public key of a certificate (DER) as the secret."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat  # noqa: PLC0415 - heavy
    from cryptography.x509 import load_der_x509_certificate  # noqa: PLC0415 - as above

    public = load_der_x509_certificate(certificate).public_key()
    secret = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return _signed_anew(root, impostor, _HMAC_SHA256, secret, None)


def with_comment_in_name(root: Any) -> Any:
    """Give the response with a comment in the middle of the name: signatures do not cover it, and some readers stop there."""
    copy = alone(root)
    name = next(below(copy, "saml:NameID"))
    whole = text(name)
    _write(name, whole[: len(whole) // 2])
    comment = etree().Comment("otelprobe")
    comment.tail = whole[len(whole) // 2 :]
    name.append(comment)
    return copy


# Wrapping


def _before(root: Any, good: Any, evil: Any) -> None:
    _without_signature(evil)
    root.insert(root.index(good), evil)


def _around(root: Any, good: Any, evil: Any) -> None:
    _without_signature(evil)
    root.replace(good, evil)
    evil.append(good)


def _after(root: Any, good: Any, evil: Any) -> None:
    root.replace(good, evil)
    root.append(_without_signature(good))


def _in_signature(root: Any, good: Any, evil: Any) -> None:
    root.replace(good, evil)
    child(evil, "ds:Signature").append(_without_signature(good))


def _in_object(root: Any, good: Any, evil: Any) -> None:
    root.replace(good, evil)
    kept = etree().SubElement(child(evil, "ds:Signature"), tag("ds:Object"))
    kept.append(_without_signature(good))


def _with_same_id(root: Any, good: Any, evil: Any) -> None:
    evil.set("ID", good.get("ID"))
    _in_object(root, good, evil)


def _in_extensions(root: Any, good: Any, evil: Any) -> None:
    """Put the good assertion into Extensions, which stand before what service providers read, and the evil one in its place."""
    root.replace(good, _without_signature(evil))
    extensions = etree().Element(tag("samlp:Extensions"))
    extensions.append(good)
    status = child(root, "samlp:Status")
    root.insert(root.index(status) if status is not None else 0, extensions)


WRAPPINGS: Mapping[str, Callable[[Any, Any, Any], None]] = MappingProxyType(
    {
        "before": _before,
        "around": _around,
        "after": _after,
        "in_signature": _in_signature,
        "in_object": _in_object,
        "same_id": _with_same_id,
        "extensions": _in_extensions,
    }
)
"""How an evil assertion comes to stand to the signed one."""


def with_wrapped_assertion(root: Any, impostor: Impostor, how: str) -> Any:
    """Give the response with an assertion about somebody else beside the signed one; a signature of the whole is left out."""
    copy = _without_signature(alone(root))
    good = child(copy, "saml:Assertion")
    WRAPPINGS[how](copy, good, _evil(good, impostor))
    return copy


def with_wrapped_response(root: Any, impostor: Impostor, *, inside: bool) -> Any:
    """Give a response about somebody else that has the signed one inside its signature, or beside that."""
    good, evil = _without_signature(alone(root)), _evil(root, impostor)
    signature = child(evil, "ds:Signature")
    if inside:
        signature.append(good)
    else:
        evil.insert(evil.index(signature), good)
    return evil


# Parts of a response


def signed_parts(root: Any) -> frozenset[str]:
    """Name what carries a signature of its own: `response`, `assertion`."""
    return frozenset(_signed_parts(root))


def certificate_of(root: Any) -> bytes | None:
    """Give the certificate that a signature of the response names (DER), if it names one."""
    return next(iter(certificates_in(root)), None)


def _signed_parts(root: Any) -> Iterator[str]:
    if is_signed(root):
        yield "response"
    if any(is_signed(assertion) for assertion in children(root, "saml:Assertion")):
        yield "assertion"


def _evil(element: Any, impostor: Impostor) -> Any:
    copy = _speaking_of(alone(element), impostor)
    copy.set("ID", f"_otelprobe{token_hex(12)}")
    return copy


def _speaking_of(root: Any, impostor: Impostor) -> Any:
    """Change names in place, and attributes that are named or say the same as the name."""
    before = name_of(root)
    for name in below(root, "saml:NameID"):
        _write(name, impostor.name)
    for attribute in below(root, "saml:Attribute"):
        told = {attribute.get("Name"), attribute.get("FriendlyName")}
        wanted = next((value for named, value in impostor.attributes.items() if named in told), None)
        for value in below(attribute, "saml:AttributeValue"):
            if wanted is not None or text(value) == before:
                _write(value, impostor.name if wanted is None else wanted)
    return root


def _write(element: Any, words: str) -> None:
    for inner in list(element):
        element.remove(inner)
    element.text = words


def _without_signature(element: Any) -> Any:
    """Take out an element's own signature; white space behind it was signed too, and stays."""
    for signature in children(element, "ds:Signature"):
        before, tail = signature.getprevious(), signature.tail or ""
        if before is None:
            element.text = (element.text or "") + tail
        else:
            before.tail = (before.tail or "") + tail
        element.remove(signature)
    return element


def _signed_anew(root: Any, impostor: Impostor, method: str, key: Any, certificate: bytes | None) -> Any:
    """Sign what was signed, the assertion first: the response holds it."""
    parts, copy = signed_parts(root), renamed(root, impostor)
    if "assertion" in parts:
        for assertion in children(copy, "saml:Assertion"):
            copy.replace(assertion, _signed(assertion, method, key, certificate))
    return _signed(copy, method, key, certificate) if "response" in parts else copy


def _signed(element: Any, method: str, key: Any, certificate: bytes | None) -> Any:
    library, copy = load_signatures(), _without_signature(alone(element))
    place = etree().Element(tag("ds:Signature"), nsmap={"ds": "http://www.w3.org/2000/09/xmldsig#"}, Id="placeholder")
    issuer = child(copy, "saml:Issuer")
    copy.insert(0 if issuer is None else copy.index(issuer) + 1, place)
    signer = library.XMLSigner(signature_algorithm=method, c14n_algorithm=_EXCLUSIVE)
    chain = None if certificate is None else [_pem(certificate)]
    return signer.sign(copy, key=key, cert=chain, reference_uri=copy.get("ID"), id_attribute="ID")


def _pem(der: bytes) -> str:
    from ssl import DER_cert_to_PEM_cert  # noqa: PLC0415 - few flows need it

    return DER_cert_to_PEM_cert(der)


@cache
def _stranger() -> tuple[Any, bytes]:
    """Give a fresh key, and its own certificate (DER): one for all that this process forges."""
    from cryptography import x509  # noqa: PLC0415 - heavy
    from cryptography.hazmat.primitives import hashes  # noqa: PLC0415 - as above
    from cryptography.hazmat.primitives.asymmetric import rsa  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import Encoding  # noqa: PLC0415

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "otelprobe.invalid")])
    now = dt.datetime.now(dt.UTC)
    built = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    built = built.not_valid_before(now - dt.timedelta(days=1)).not_valid_after(now + dt.timedelta(days=365))
    return key, built.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)
