"""XML signatures on SAML documents: verified with pinned certificates only, and what is weak about them.

What was verified is handed back as an element of its own, made of the signed bytes: whoever reads anything else of the
document reads what somebody may have put there.
"""

from base64 import b64decode
from collections.abc import Iterator, Sequence
from dataclasses import field
from typing import TYPE_CHECKING, Any

from otelprobe.certificates import Certificate, read_der
from otelprobe.endings import as_date
from otelprobe.quick import dataclass
from otelprobe.reasons import CheckFailed, Reason
from otelprobe.saml.xml import MISSING, alone, below, child, children, etree, parser, tag, text

if TYPE_CHECKING:
    from signxml.algorithms import SignatureMethod

_TRANSFORMS = frozenset(
    {
        "http://www.w3.org/2000/09/xmldsig#enveloped-signature",
        "http://www.w3.org/2001/10/xml-exc-c14n#",
        "http://www.w3.org/2001/10/xml-exc-c14n#WithComments",
        "http://www.w3.org/TR/2001/REC-xml-c14n-20010315",
        "http://www.w3.org/TR/2001/REC-xml-c14n-20010315#WithComments",
        "http://www.w3.org/2006/12/xml-c14n11",
        "http://www.w3.org/2006/12/xml-c14n11#WithComments",
    }
)
"""What a signature may do to the element that it signs (SAML Core, section 5.4.4, and what is seen in the wild)."""

MOST_CERTIFICATES = 20
_LEAST_RSA_BITS = 2048


@dataclass(frozen=True, slots=True)
class Verified:
    """A signed element whose signature is good, by which algorithm and certificate, and what is weak about it."""

    element: Any = field(repr=False)
    algorithm: str
    certificate: Certificate
    weak: tuple[str, ...] = ()


def load_signatures() -> Any:
    """Give the signature library; CheckFailed(config_error) names the extra if it, or the XML library, is not installed."""
    etree()
    try:
        import signxml  # noqa: PLC0415 - an optional extra, imported at first use
    except ImportError:
        raise CheckFailed(Reason.CONFIG_ERROR, MISSING) from None
    return signxml


def warm_up() -> None:
    """Import what SAML is read with. Where that is not installed, the step will say so."""
    try:
        load_signatures().XMLVerifier.schemas()
    except CheckFailed:
        return


def is_signed(element: Any) -> bool:
    """Tell whether an element carries a signature of its own."""
    return child(element, "ds:Signature") is not None


def verify(element: Any, certificates: Sequence[bytes], what: str) -> Verified:
    """Verify the signature that an element carries over itself, by the first of these certificates (DER) that fits.

    CheckFailed(saml_certificate_unknown) if it was made with another certificate, which it names; CheckFailed
    (saml_signature_wrapped) if it is over something else; CheckFailed(saml_signature_invalid) if it is bad in any other
    way; CheckFailed(alg_unsupported) if it cannot be checked here.
    The dates of a certificate are not looked at: the caller knows what follows from them.
    """
    copy = alone(element)
    signature = _only_signature(copy, what)
    method = _method(signature, what)
    _check_reference(copy, signature, what)
    for der in certificates[:MOST_CERTIFICATES]:
        signed = _signed_by(copy, der)
        if signed is not None:
            _check_signed(signed, copy, what)
            weak = tuple(_weaknesses(signature, method, der))
            return Verified(signed, _word(method.value), read_der(der), weak)
    raise _refusal(copy, signature, certificates, what)


def _only_signature(copy: Any, what: str) -> Any:
    found = children(copy, "ds:Signature")
    if len(found) != 1:
        raise CheckFailed(Reason.SAML_SIGNATURE_INVALID, f"{what} carries {len(found)} signatures, expected one")
    return found[0]


def _method(signature: Any, what: str) -> "SignatureMethod":
    """Give the signature method; HMAC proves nothing with a public certificate, and DSA is nowhere in use."""
    library = load_signatures()
    uri = next((m.get("Algorithm") or "" for m in below(signature, "ds:SignatureMethod")), "")
    method = next((m for m in library.SignatureMethod if m.value == uri), None)
    if method is None:
        raise CheckFailed(Reason.ALG_UNSUPPORTED, f"{what} is signed by a method that cannot be checked here")
    if method.name.startswith(("HMAC", "DSA")):
        raise CheckFailed(Reason.SAML_SIGNATURE_INVALID, f"{what} is signed by {_word(uri)}, which is not accepted")
    found: SignatureMethod = method
    return found


def _check_reference(copy: Any, signature: Any, what: str) -> None:
    """Refuse a signature over anything but the element that carries it: that is how signatures are wrapped."""
    references = list(below(signature, "ds:Reference"))
    own = copy.get("ID")
    if len(references) != 1 or own is None or references[0].get("URI") not in {"", f"#{own}"}:
        detail = f"the signature of {what} is over something else: an attempt at signature wrapping?"
        raise CheckFailed(Reason.SAML_SIGNATURE_WRAPPED, detail)
    transforms = {t.get("Algorithm") for t in below(references[0], "ds:Transform")}
    if not transforms <= _TRANSFORMS:
        raise CheckFailed(Reason.SAML_SIGNATURE_INVALID, f"the signature of {what} transforms what it signs")


def _signed_by(copy: Any, der: bytes) -> Any:
    """Give the signed element if the signature was made with the key of this certificate, else None."""
    from cryptography import x509  # noqa: PLC0415 - heavy; loaded with the signature library
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415

    library = load_signatures()
    broken = (
        library.exceptions.SignXMLException, etree().LxmlError, UnsupportedAlgorithm,
        ValueError, TypeError, KeyError, AttributeError,
    )  # fmt: skip
    try:
        certificate = x509.load_der_x509_certificate(der)
        accepted = library.SignatureConfiguration(
            location="./",
            signature_methods=frozenset(m for m in library.SignatureMethod if not m.name.startswith(("HMAC", "DSA"))),
            digest_algorithms=frozenset(library.DigestAlgorithm),
            ignore_ambiguous_key_info=True,
            verification_time=certificate.not_valid_before_utc,
        )
        result = library.XMLVerifier().verify(
            copy, x509_cert=certificate, id_attribute="ID", parser=parser(), expect_config=accepted
        )
    except broken:
        return None
    return result.signed_xml


def _check_signed(signed: Any, copy: Any, what: str) -> None:
    if signed.tag != copy.tag or signed.get("ID") != copy.get("ID"):
        detail = f"the signature of {what} is over another element: an attempt at signature wrapping?"
        raise CheckFailed(Reason.SAML_SIGNATURE_WRAPPED, detail)


def _weaknesses(signature: Any, method: "SignatureMethod", der: bytes) -> Iterator[str]:
    digests = {d.get("Algorithm") or "" for d in below(signature, "ds:DigestMethod")}
    if "SHA1" in method.name or any(digest.endswith("#sha1") for digest in digests):
        yield f"it is signed by {_word(method.value)} over {', '.join(sorted(_word(d) for d in digests))}"
    weak = weak_key(der)
    if weak is not None:
        yield weak


def weak_key(der: bytes) -> str | None:
    """Say what is weak about a certificate's key, if anything is."""
    from cryptography import x509  # noqa: PLC0415 - heavy; loaded with the signature library
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey  # noqa: PLC0415

    try:
        key = x509.load_der_x509_certificate(der).public_key()
    except (ValueError, UnsupportedAlgorithm):
        return None
    if isinstance(key, RSAPublicKey) and key.key_size < _LEAST_RSA_BITS:
        return f"its RSA key has {key.key_size} bits"
    return None


def _refusal(copy: Any, signature: Any, certificates: Sequence[bytes], what: str) -> CheckFailed:
    """Tell a replaced certificate from a signature that is bad: the signature names the certificate that made it."""
    for der in certificates_in(signature)[:MOST_CERTIFICATES]:
        if der not in certificates and _signed_by(copy, der) is not None:
            named = read_der(der)
            detail = f"{what} is signed with a certificate that is not known here: sha256 {named.sha256}"
            return CheckFailed(Reason.SAML_CERTIFICATE_UNKNOWN, f"{detail}, ends {as_date(named.not_after)}")
    known = f"{len(certificates)} known certificate{'' if len(certificates) == 1 else 's'}"
    return CheckFailed(Reason.SAML_SIGNATURE_INVALID, f"the signature of {what} does not verify with the {known}")


def certificates_in(element: Any) -> tuple[bytes, ...]:
    """Give the certificates in an element's key information as DER; what is no base64 is left out."""
    found = []
    for named in element.iter(tag("ds:X509Certificate")):
        try:
            found.append(b64decode("".join(text(named).split()), validate=True))
        except ValueError:
            continue
    return tuple(dict.fromkeys(found))


def _word(uri: str) -> str:
    return uri.rpartition("#")[2] or uri.rpartition("/")[2]
