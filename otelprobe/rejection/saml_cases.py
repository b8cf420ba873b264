"""The bad responses that a SAML service provider must refuse: SAML Profiles 4.1.4.3 and 4.1.4.5, and wrapped signatures."""

from collections.abc import Callable, Mapping
from dataclasses import field
from functools import partial
from types import MappingProxyType
from typing import Any

from otelprobe.quick import dataclass
from otelprobe.rejection.case import Case, Group
from otelprobe.saml import forgeries
from otelprobe.saml.forgeries import Impostor

NO_RESPONSE = "b3RlbHByb2JlLWdhcmJhZ2U="
"""What is posted for garbage: base64 of no XML."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What is at hand: whom forged responses speak of, what the flow file names, and a good response once one came.

    `root` is that response; `certificates` are the identity provider's (DER). `own_request` tells that the service
    provider asks by itself, so that an answer to another request must not be taken. `expired` is a response that was kept
    until it had ended.
    """

    impostor: Impostor
    root: Any = field(default=None, repr=False)
    certificates: tuple[bytes, ...] = field(default=(), repr=False)
    own_request: bool = False
    identity: bool = False
    other_sp_entity_id: str | None = None
    other_acs_url: str | None = None
    expired: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What is delivered in place of a good response.

    `document` is it, or `wishes` are what is asked of the identity provider to get it, under the id of the service
    provider's own request with `same_request`; `again`: the good one, after it was taken. With `as_other` it is taken only if
    somebody else than in the good one is then logged in.
    """

    document: str | None = field(default=None, repr=False)
    wishes: Mapping[str, str] | None = None
    same_request: bool = False
    again: bool = False
    as_other: bool = False


SamlCase = Case[Material, Offer]
Lacks = Callable[[Material], str | None]
Edit = Callable[[Material], Any]


def _nothing(_: Material) -> str | None:
    return None


def _lacks_signature(material: Material) -> str | None:
    known = material.root is None or forgeries.signed_parts(material.root)
    return None if known else "no signature can be read in the response"


def _lacks_name(material: Material) -> str | None:
    """Tell of a response that speaks of nobody whose name can be read: it is encrypted, or of another kind."""
    if material.root is None or forgeries.name_of(material.root):
        return _lacks_signature(material)
    return "no name can be read in the response"


def _lacks_attributes(material: Material) -> str | None:
    known = material.root is None or forgeries.has_attributes(material.root)
    return _lacks_signature(material) if known else "no attribute can be read in the response"


def _lacks_certificate(material: Material) -> str | None:
    missing = _lacks_name(material)
    if missing is not None or material.root is None or _certificate(material) is not None:
        return missing
    return "no certificate of the identity provider is known"


def _lacks_signed(part: str) -> Lacks:
    def lacks(material: Material) -> str | None:
        missing = _lacks_name(material)
        if missing is not None or material.root is None or part in forgeries.signed_parts(material.root):
            return missing
        return f"the {part} carries no signature of its own"

    return lacks


def _lacks_identity(material: Material) -> str | None:
    return _lacks_name(material) if material.identity else "it needs identity"


def _certificate(material: Material) -> bytes | None:
    return next(iter(material.certificates), None) or forgeries.certificate_of(material.root)


def _edited(edit: Edit, *, as_other: bool = False) -> Callable[[Material], Offer]:
    return lambda material: Offer(document=forgeries.packed(edit(material)), as_other=as_other)


def _by_stranger(material: Material, *, shown: bool) -> Any:
    known = None if shown else _certificate(material)
    return forgeries.signed_by_stranger(material.root, material.impostor, known)


def _by_certificate(material: Material) -> Any:
    return forgeries.signed_with_certificate(material.root, material.impostor, _certificate(material) or b"")


def _wrapped(how: str, material: Material) -> Any:
    return forgeries.with_wrapped_assertion(material.root, material.impostor, how)


def _wrapped_whole(material: Material, *, inside: bool) -> Any:
    return forgeries.with_wrapped_response(material.root, material.impostor, inside=inside)


def _case(word: str, told: str, lacks: Lacks, build: Callable[[Material], Offer], **more: Any) -> SamlCase:
    return Case("N34", word, Group.INTRUSIVE, told, lacks, build, **more)


_WRAPPED: Mapping[str, str] = {
    "before": "before the signed one",
    "around": "around the signed one",
    "after": "with the signed one behind it",
    "in_signature": "with the signed one in its signature",
    "in_object": "with the signed one in an object of its signature",
    "same_id": "under the ID of the signed one, which is in an object of its signature",
    "extensions": "with the signed one in the extensions",
}

_CASES: tuple[SamlCase, ...] = (
    _case("saml_garbage", "garbage for a response", _nothing, lambda _: Offer(document=NO_RESPONSE)),
    _case(
        "saml_unsigned",
        "a response without its signatures",
        _lacks_signature,
        _edited(lambda m: forgeries.unsigned(m.root)),
    ),
    _case(
        "saml_flipped_signature",
        "a signature with flipped bits",
        _lacks_signature,
        _edited(lambda m: forgeries.with_flipped_signature(m.root)),
    ),
    _case(
        "saml_changed_name",
        "somebody else's name under the old signature",
        _lacks_name,
        _edited(lambda m: forgeries.renamed(m.root, m.impostor)),
    ),
    _case(
        "saml_changed_attributes",
        "other attributes under the old signature",
        _lacks_attributes,
        _edited(lambda m: forgeries.with_other_attributes(m.root, m.impostor)),
    ),
    _case(
        "saml_forged_certificate",
        "a response signed by a stranger's key, whose certificate it brings along",
        _lacks_name,
        _edited(partial(_by_stranger, shown=True)),
    ),
    _case(
        "saml_forged_key",
        "a response signed by a stranger's key under the identity provider's certificate",
        _lacks_certificate,
        _edited(partial(_by_stranger, shown=False)),
    ),
    _case(
        "saml_confusion",
        "a response signed by HMAC with the identity provider's public key as the secret",
        _lacks_certificate,
        _edited(_by_certificate),
    ),
    *(
        _case(
            f"saml_wrapped_{how}",
            f"an assertion about somebody else, {where}",
            _lacks_signed("assertion"),
            _edited(partial(_wrapped, how), as_other=True),
        )
        for how, where in _WRAPPED.items()
    ),
    _case(
        "saml_wrapped_response",
        "a response about somebody else, with the signed one in its signature",
        _lacks_signed("response"),
        _edited(partial(_wrapped_whole, inside=True), as_other=True),
    ),
    _case(
        "saml_wrapped_beside",
        "a response about somebody else, with the signed one beside its signature",
        _lacks_signed("response"),
        _edited(partial(_wrapped_whole, inside=False), as_other=True),
    ),
    _case(
        "saml_comment_in_name",
        "a name with a comment in it, read in part",
        _lacks_identity,
        _edited(lambda m: forgeries.with_comment_in_name(m.root), as_other=True),
        parameter="identity",
    ),
    _case("saml_replayed", "a response that was taken before", _nothing, lambda _: Offer(again=True)),
    _case(
        "saml_expired",
        "a response after its end",
        lambda m: None if m.expired is not None else "no response has ended yet",
        lambda m: Offer(document=m.expired),
    ),
    _case(
        "saml_other_audience",
        "a response for another service provider",
        lambda m: None if m.other_sp_entity_id is not None else "it needs other_sp_entity_id",
        lambda m: Offer(wishes={"sp_entity_id": m.other_sp_entity_id or ""}, same_request=True),
        parameter="other_sp_entity_id",
    ),
    _case(
        "saml_other_destination",
        "a response for another address",
        lambda m: None if m.other_acs_url is not None else "it needs other_acs_url",
        lambda m: Offer(wishes={"acs_url": m.other_acs_url or ""}, same_request=True),
        parameter="other_acs_url",
    ),
    _case(
        "saml_other_request",
        "an answer to a request that the service provider did not send",
        lambda m: None if m.own_request else "it needs start_url",
        lambda _: Offer(wishes={}),
        parameter="start_url",
    ),
)

SAML_CASES: Mapping[str, SamlCase] = MappingProxyType({case.word: case for case in _CASES})
"""Every bad response, by the word of the flow file."""
