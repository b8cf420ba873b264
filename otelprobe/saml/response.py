"""An identity provider's response (SAML Core 3.3, Profiles 4.1.4): opened, verified, and its conditions compared.

Every value that counts is taken from an element whose signature was verified, never from where it stands in the document.
"""

from base64 import b64decode
from collections.abc import Iterator, Sequence
from dataclasses import field
from typing import Any

from otelprobe.certificates import Certificate
from otelprobe.quick import dataclass
from otelprobe.reasons import CheckFailed, Reason
from otelprobe.saml import signature
from otelprobe.saml.encryption import decrypt
from otelprobe.saml.xml import below, child, children, instant, parse, tag, text
from otelprobe.tokens import shown

_STATUS = "urn:oasis:names:tc:SAML:2.0:status:"
_BEARER = "urn:oasis:names:tc:SAML:2.0:cm:bearer"
SUCCESS = "Success"


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What a response has to fit: who it is from, and what was asked for.

    `issuer` and `request_id` are None where they are not known, `authn_context` is empty where any will do. `leeway` is
    in seconds.
    """

    issuer: str | None
    acs_url: str
    audience: str
    request_id: str | None = field(repr=False)
    leeway: float
    authn_context: tuple[str, ...] = ()


@dataclass(slots=True)
class Response:
    """What was found in a response so far, also where it is not good. No value of a person's is in it.

    `assertion` is the verified element; `signed` names the elements that carry a signature that verifies.
    """

    status: tuple[str, ...] = ()
    signed: tuple[str, ...] = ()
    algorithm: str | None = None
    certificate: Certificate | None = None
    weak: tuple[str, ...] = ()
    encrypted: bool = False
    root: Any = field(default=None, repr=False)
    assertion: Any = field(default=None, repr=False)

    def open(self, encoded: str, certificates: Sequence[bytes], key: Any) -> None:
        """Decode, verify and, with the private key, decrypt; CheckFailed with what is wrong first.

        Raises saml_signature_invalid, saml_certificate_unknown, saml_status_not_success, token_encrypted, alg_unsupported.
        """
        self.root = decoded(encoded)
        _refuse_crowds(self.root)
        if signature.is_signed(self.root):
            self.root = self._verified(self.root, certificates, "response")
        self.status = tuple(_status(self.root))
        if self.status[:1] != (SUCCESS,):
            raise CheckFailed(Reason.SAML_STATUS_NOT_SUCCESS, f"status {', '.join(self.status) or 'missing'}")
        assertion = self._assertion(key)
        if signature.is_signed(assertion):
            assertion = self._verified(assertion, certificates, "assertion")
        if not self.signed:
            raise _unverified("neither the response nor the assertion is signed")
        self.assertion = assertion

    def _verified(self, element: Any, certificates: Sequence[bytes], what: str) -> Any:
        found = signature.verify(element, certificates, f"the {what}")
        self.signed = (*self.signed, what)
        self.algorithm, self.certificate = found.algorithm, found.certificate
        self.weak = tuple(dict.fromkeys((*self.weak, *found.weak)))
        return found.element

    def _assertion(self, key: Any) -> Any:
        plain, sealed = children(self.root, "saml:Assertion"), children(self.root, "saml:EncryptedAssertion")
        if len(plain) + len(sealed) != 1:
            raise _unverified(f"the response holds {len(plain) + len(sealed)} assertions, expected one")
        if plain:
            return plain[0]
        self.encrypted = True
        opened = decrypt(sealed[0], key)
        if opened.tag != tag("saml:Assertion"):
            raise _unverified("what was encrypted is no assertion")
        return opened

    @property
    def assertion_id(self) -> str:
        """The id of the verified assertion."""
        return str(self.assertion.get("ID") or "")

    @property
    def subject(self) -> str | None:
        """Whom the verified assertion is about (`NameID`), for a keyed hash and nothing else; None where it is not said."""
        return next(
            (text(name) for s in children(self.assertion, "saml:Subject") for name in children(s, "saml:NameID")), None
        )

    def ends(self) -> float | None:
        """Give when the assertion's conditions end, Unix seconds; None where nothing is said."""
        return _time(child(self.assertion, "saml:Conditions"), "NotOnOrAfter")

    def attributes(self) -> frozenset[str]:
        """Give the names of the attributes, the friendly ones too."""
        found = below(self.assertion, "saml:Attribute")
        return frozenset(n for a in found for n in (a.get("Name"), a.get("FriendlyName")) if n)

    def time_problems(self, now: float, leeway: float) -> Iterator[str]:
        """Say which times of the assertion do not hold at `now`, Unix seconds."""
        conditions = child(self.assertion, "saml:Conditions")
        yield from _window(conditions, "the conditions", now, leeway)
        for data in _confirmations(self.assertion):
            yield from _window(data, "the confirmation", now, leeway)
        for statement in children(self.assertion, "saml:AuthnStatement"):
            ends = _time(statement, "SessionNotOnOrAfter")
            if ends is not None and now - leeway >= ends:
                yield f"the session ended {now - ends:.0f} s ago"
        issued = _time(self.assertion, "IssueInstant")
        if issued is not None and issued > now + leeway:
            yield f"the assertion is from {issued - now:.0f} s in the future"

    def problems(self, expected: Expected) -> Iterator[str]:
        """Say what else does not fit (Profiles 4.1.4.2 and 4.1.4.3)."""
        yield from self._envelope_problems(expected)
        yield from _issuer_problems(self.assertion, expected, "assertion")
        yield from _audience_problems(self.assertion, expected)
        yield from _confirmation_problems(self.assertion, expected)
        yield from _authentication_problems(self.assertion, expected)
        if not self.assertion_id:
            yield "the assertion has no ID"

    def _envelope_problems(self, expected: Expected) -> Iterator[str]:
        destination, answers = self.root.get("Destination"), self.root.get("InResponseTo")
        if destination != expected.acs_url and (destination or "response" in self.signed):
            yield f"Destination is {shown(destination) if destination else 'missing'}, expected {expected.acs_url}"
        if expected.request_id is not None and answers != expected.request_id:
            yield f"InResponseTo of the response {'is of another request' if answers else 'is missing'}"
        if child(self.root, "saml:Issuer") is not None:
            yield from _issuer_problems(self.root, expected, "response")


def decoded(encoded: str) -> Any:
    """Give the root of a response as it was posted; CheckFailed(saml_signature_invalid) if it is no Response of SAML 2.0."""
    try:
        data = b64decode("".join(encoded.split()), validate=True)
    except ValueError:
        raise _unverified("SAMLResponse is no base64") from None
    root = parse(data, Reason.SAML_SIGNATURE_INVALID, "the response")
    if root.tag != tag("samlp:Response"):
        raise _unverified("SAMLResponse holds no Response of SAML 2.0")
    return root


def _refuse_crowds(root: Any) -> None:
    """Refuse more than one assertion, wherever they stand: a second one is how signatures are wrapped."""
    found = [a for a in below(root, "saml:Assertion") if next(a.iterancestors(tag("saml:Advice")), None) is None]
    nested = [r for r in below(root, "samlp:Response") if r is not root]
    if len(found) > 1 or nested:
        what = f"{len(found)} assertions" if len(found) > 1 else "another response"
        detail = f"the response holds {what} inside it: an attempt at signature wrapping?"
        raise CheckFailed(Reason.SAML_SIGNATURE_WRAPPED, detail)


def _status(root: Any) -> Iterator[str]:
    """Give the codes of the status from the top down, without their common prefix."""
    status = child(root, "samlp:Status")
    for code in below(status, "samlp:StatusCode") if status is not None else ():
        value = (code.get("Value") or "").strip()
        word = value.removeprefix(_STATUS)
        yield word if word != value and word.isalnum() and len(word) < 60 else "an unknown code"


def _time(element: Any, name: str) -> float | None:
    if element is None:
        return None
    try:
        return instant(element.get(name))
    except ValueError:
        raise CheckFailed(Reason.SAML_CONDITIONS_INVALID, f"{name} is no date and time") from None


def _window(element: Any, what: str, now: float, leeway: float) -> Iterator[str]:
    starts, ends = _time(element, "NotBefore"), _time(element, "NotOnOrAfter")
    if starts is not None and now + leeway < starts:
        yield f"{what} cannot hold before {starts - now:.0f} s from now"
    if ends is not None and now - leeway >= ends:
        yield f"{what} ended {now - ends:.0f} s ago"


def _issuer_problems(element: Any, expected: Expected, what: str) -> Iterator[str]:
    found = text(child(element, "saml:Issuer"))
    if expected.issuer is not None and found != expected.issuer:
        yield f"the {what} is from {shown(found) if found else 'nobody'}, expected {expected.issuer}"


def _audience_problems(assertion: Any, expected: Expected) -> Iterator[str]:
    restrictions = [r for c in children(assertion, "saml:Conditions") for r in children(c, "saml:AudienceRestriction")]
    if not restrictions:
        yield "the assertion names no audience"
    for restriction in restrictions:
        audiences = [text(a) for a in children(restriction, "saml:Audience")]
        if expected.audience not in audiences:
            yield f"the audience is {', '.join(shown(a) for a in audiences[:3]) or 'empty'}, expected {expected.audience}"


def _confirmations(assertion: Any) -> list[Any]:
    """Give the data of bearer confirmations."""
    return [
        data
        for subject in children(assertion, "saml:Subject")
        for confirmation in children(subject, "saml:SubjectConfirmation")
        if confirmation.get("Method") == _BEARER
        for data in children(confirmation, "saml:SubjectConfirmationData")
    ]


def _confirmation_problems(assertion: Any, expected: Expected) -> Iterator[str]:
    confirmations = _confirmations(assertion)
    if not confirmations:
        yield "the assertion has no bearer confirmation"
        return
    data = next((d for d in confirmations if d.get("Recipient") == expected.acs_url), confirmations[0])
    recipient, answers = data.get("Recipient"), data.get("InResponseTo")
    if recipient != expected.acs_url:
        yield f"the recipient is {shown(recipient) if recipient else 'missing'}, expected {expected.acs_url}"
    if expected.request_id is not None and answers != expected.request_id:
        yield f"InResponseTo of the confirmation {'is of another request' if answers else 'is missing'}"
    if data.get("NotOnOrAfter") is None:
        yield "the confirmation has no end"


def _authentication_problems(assertion: Any, expected: Expected) -> Iterator[str]:
    statements = children(assertion, "saml:AuthnStatement")
    if not statements:
        yield "the assertion does not say that anybody logged in (no AuthnStatement)"
    classes = {text(c) for statement in statements for c in below(statement, "saml:AuthnContextClassRef")}
    if expected.authn_context and not classes & set(expected.authn_context):
        yield "the log-in is of another class than authn_context asks for"


def _unverified(detail: str) -> CheckFailed:
    return CheckFailed(Reason.SAML_SIGNATURE_INVALID, detail)
