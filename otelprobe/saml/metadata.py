"""SAML metadata (2.0, "Metadata for the OASIS SAML V2.0"): one entity of a document, read to what a check needs."""

import re
from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from typing import Any, Literal

from otelprobe.certificates import Certificate, read_der
from otelprobe.quick import dataclass
from otelprobe.reasons import CheckFailed, Reason
from otelprobe.saml.xml import below, child, children, instant, tag, text
from otelprobe.tokens import shown

Role = Literal["idp", "sp"]

_DESCRIPTORS: Mapping[Role, str] = {"idp": "md:IDPSSODescriptor", "sp": "md:SPSSODescriptor"}
_CALLED: Mapping[Role, str] = {"idp": "identity provider", "sp": "service provider"}
_PROTOCOL = "urn:oasis:names:tc:SAML:2.0:protocol"
BINDINGS: Mapping[str, str] = {
    "redirect": "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect",
    "post": "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST",
}
"""Bindings by the words of a flow file."""

_MOST_KEYS = 50
_PEM_LINE = re.compile(r"-----[A-Z ]+-----|\s+")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where an entity is talked to: a word of `BINDINGS`, or empty for another binding, and the URL."""

    binding: str
    location: str


@dataclass(frozen=True, slots=True)
class PublishedKey:
    """A certificate that an entity publishes. `uses` has `signing`, `encryption` or, where none is written, both."""

    uses: tuple[str, ...]
    certificate: Certificate
    der: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entity:
    """One entity in one role.

    `endpoints` are those of log-in: single sign-on for an identity provider, assertion consumer services for a service
    provider. `valid_until` is Unix time, the earliest that is written on the way. `faults` says what is broken besides.
    """

    entity_id: str
    endpoints: tuple[Endpoint, ...]
    logout: tuple[Endpoint, ...] = ()
    keys: tuple[PublishedKey, ...] = ()
    valid_until: float | None = None
    faults: tuple[str, ...] = ()

    def of_use(self, use: str) -> tuple[PublishedKey, ...]:
        """Give the certificates for `signing` or `encryption`."""
        return tuple(key for key in self.keys if use in key.uses)

    def locations(self) -> dict[str, str]:
        """Give the first endpoint of each binding."""
        return {e.binding: e.location for e in reversed(self.endpoints) if e.binding}


def choose_entity(root: Any, role: Role, entity_id: str | None) -> Any:
    """Give the element of the wanted entity; CheckFailed(saml_metadata_invalid) if the document does not have just it."""
    if root.tag not in {tag("md:EntityDescriptor"), tag("md:EntitiesDescriptor")}:
        raise _invalid(f"the root element is {shown(_local(root))}, expected EntityDescriptor or EntitiesDescriptor")
    entities = list(below(root, "md:EntityDescriptor"))
    if entity_id is not None:
        named = [e for e in entities if e.get("entityID") == entity_id]
        if len(named) != 1:
            raise _invalid(f"{_found(entities)}; {len(named)} of them {entity_id}, expected one")
        return named[0]
    playing = [e for e in entities if child(e, _DESCRIPTORS[role]) is not None]
    if len(entities) == 1:
        return entities[0]
    if len(playing) != 1:
        raise _invalid(f"{len(playing)} of {len(entities)} entities are {_CALLED[role]}s: set entity_id to pick one")
    return playing[0]


def read_entity(element: Any, role: Role, valid_until: float | None) -> Entity:
    """Read an entity in one role; `valid_until` is what its surroundings say."""
    entity_id = element.get("entityID") or ""
    if not entity_id:
        raise _invalid("the entity has no entityID")
    descriptor = _descriptor(element, role)
    faults: list[str] = []
    own = [_until(e) for e in (element, descriptor)]
    return Entity(
        entity_id=entity_id,
        endpoints=_endpoints(
            descriptor, "SingleSignOnService" if role == "idp" else "AssertionConsumerService", faults
        ),
        logout=_endpoints(descriptor, "SingleLogoutService", faults),
        keys=_keys(descriptor, faults),
        valid_until=min((t for t in (valid_until, *own) if t is not None), default=None),
        faults=tuple(faults),
    )


def valid_until_around(element: Any) -> float | None:
    """Give the earliest `validUntil` of the groups that an entity stands in."""
    around = (_until(group) for group in element.iterancestors(tag("md:EntitiesDescriptor")))
    return min((t for t in around if t is not None), default=None)


def _descriptor(element: Any, role: Role) -> Any:
    found = [d for d in children(element, _DESCRIPTORS[role]) if _speaks_saml2(d)]
    if not found:
        raise _invalid(f"the entity is no {_CALLED[role]} of SAML 2.0: it has no {_DESCRIPTORS[role][3:]}")
    return found[0]


def _speaks_saml2(descriptor: Any) -> bool:
    return _PROTOCOL in (descriptor.get("protocolSupportEnumeration") or "").split()


def _until(element: Any) -> float | None:
    try:
        return instant(element.get("validUntil"))
    except ValueError:
        raise _invalid("validUntil is no date and time") from None


def _endpoints(descriptor: Any, name: str, faults: list[str]) -> tuple[Endpoint, ...]:
    words = {uri: word for word, uri in BINDINGS.items()}
    found = []
    for element in children(descriptor, f"md:{name}"):
        location = (element.get("Location") or "").strip()
        if not location:
            faults.append(f"a {name} has no Location")
        else:
            found.append(Endpoint(words.get(element.get("Binding") or "", ""), location))
    return tuple(found)


def _keys(descriptor: Any, faults: list[str]) -> tuple[PublishedKey, ...]:
    found: dict[bytes, PublishedKey] = {}
    for element in children(descriptor, "md:KeyDescriptor")[:_MOST_KEYS]:
        use = element.get("use")
        if use not in {None, "signing", "encryption"}:
            faults.append("a KeyDescriptor has a use that is neither signing nor encryption")
            continue
        uses = ("signing", "encryption") if use is None else (use,)
        for der in _certificates(element, faults):
            before = found[der].uses if der in found else ()
            found[der] = PublishedKey(tuple(sorted({*before, *uses}, reverse=True)), read_der(der), der)
    return tuple(found.values())


def _certificates(descriptor: Any, faults: list[str]) -> Iterator[bytes]:
    for element in below(descriptor, "ds:X509Certificate"):
        try:
            # Some write the frame of a PEM file around it.
            der = b64decode(_PEM_LINE.sub("", text(element)), validate=True)
            read_der(der)
        except ValueError:
            faults.append("a certificate cannot be read")
        else:
            yield der


def _local(element: Any) -> str:
    return str(element.tag).rpartition("}")[2]


def _found(entities: Sequence[Any]) -> str:
    if len(entities) == 1:
        return f"the document is about {shown(entities[0].get('entityID'))}"
    return f"the document is about {len(entities)} entities"


def _invalid(detail: str) -> CheckFailed:
    return CheckFailed(Reason.SAML_METADATA_INVALID, detail)
