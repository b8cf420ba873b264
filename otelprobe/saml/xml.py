"""XML that strangers wrote: parsed without DTD, entities and network, and read by the names of SAML 2.0."""

from collections.abc import Iterator
from typing import Any

from otelprobe.endings import parse_ending
from otelprobe.reasons import CheckFailed, Reason

MISSING = 'SAML needs lxml and signxml: pip install "otelprobe[saml]"'

NAMESPACES = {
    "md": "urn:oasis:names:tc:SAML:2.0:metadata",
    "saml": "urn:oasis:names:tc:SAML:2.0:assertion",
    "samlp": "urn:oasis:names:tc:SAML:2.0:protocol",
    "ds": "http://www.w3.org/2000/09/xmldsig#",
    "xenc": "http://www.w3.org/2001/04/xmlenc#",
    "xenc11": "http://www.w3.org/2009/xmlenc11#",
}
_DOCTYPE, _ENTITY = b"<!DOCTYPE", b"<!ENTITY"


def etree() -> Any:
    """Give the XML library; CheckFailed(config_error) names the extra if it is not installed."""
    try:
        from lxml import etree as found  # type: ignore[import-untyped] # noqa: PLC0415 - an optional extra, imported at first use
    except ImportError:
        found = None
    if found is None:
        raise CheckFailed(Reason.CONFIG_ERROR, MISSING)
    return found


def parse(data: bytes, reason: Reason, what: str) -> Any:
    """Give the root of a document; CheckFailed(`reason`) if it is no XML. Comments are left out.

    A DTD is refused before anything is parsed, as xml_dtd_forbidden, or xml_entities_forbidden if it declares any:
    they are neither expanded nor fetched.
    """
    library = etree()
    plain = data.replace(b"\0", b"").upper()
    if _DOCTYPE in plain:
        raise _forbidden(what, entities=_ENTITY in plain)
    try:
        root = library.fromstring(data, parser=parser())
    except (library.LxmlError, ValueError):
        raise CheckFailed(reason, f"{what} is no well-formed XML, or nests too deeply") from None
    if root.getroottree().docinfo.doctype:
        raise _forbidden(what, entities=bool(root.getroottree().docinfo.internalDTD.entities()))
    return root


def _forbidden(what: str, *, entities: bool) -> CheckFailed:
    if entities:
        return CheckFailed(Reason.XML_ENTITIES_FORBIDDEN, f"{what} declares entities in a DTD: it was not read")
    return CheckFailed(Reason.XML_DTD_FORBIDDEN, f"{what} has a DTD, which SAML has no use for: it was not read")


def parser() -> Any:
    """Give a fresh parser that expands, loads and fetches nothing."""
    return etree().XMLParser(
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        dtd_validation=False,
        huge_tree=False,
        remove_comments=True,
    )


def tag(name: str) -> str:
    """Give the full name of an element written as `prefix:Name`."""
    prefix, _, local = name.partition(":")
    return f"{{{NAMESPACES[prefix]}}}{local}"


def child(element: Any, name: str) -> Any:
    """Give the first child of a name, or None."""
    return element.find(tag(name))


def children(element: Any, name: str) -> list[Any]:
    """Give every child of a name."""
    found: list[Any] = element.findall(tag(name))
    return found


def below(element: Any, name: str) -> Iterator[Any]:
    """Give every element of a name, the element itself included, at any depth."""
    yield from element.iter(tag(name))


def text(element: Any) -> str:
    """Give the whole text of an element without the white space around it; empty for None."""
    return "" if element is None else "".join(element.itertext()).strip()


def alone(element: Any) -> Any:
    """Give a copy of an element as a document of its own, with the namespaces that it stands in."""
    library = etree()
    return library.fromstring(library.tostring(element, with_tail=False), parser=parser())


def instant(value: str | None) -> float | None:
    """Read an xs:dateTime as Unix seconds; None where there is none, ValueError where it is none."""
    return None if value is None else parse_ending(value).unix
