"""A flow file to begin with, written from SAML metadata: whose they are, where log-ins go, and what ends when.

Words of the metadata go into the file as quoted text only.
"""

import json
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from otelprobe.endings import as_date
from otelprobe.fields import parse_url
from otelprobe.http import Redirects
from otelprobe.quick import dataclass
from otelprobe.reasons import CheckFailed, Reason
from otelprobe.saml import metadata, signature
from otelprobe.saml.metadata import Entity, Role
from otelprobe.saml.xml import parse
from otelprobe.step import Context

_LARGEST = 16 * 1024**2
_METADATA_URL = re.compile(r"/saml|metadata|descriptor$|\.xml$", re.IGNORECASE)
_CLASHING = re.compile(r"openid|oauth", re.IGNORECASE)
_MOST = 10


@dataclass(frozen=True, slots=True)
class Source:
    """What was read, and where."""

    place: str
    is_file: bool
    role: Role
    entity: Entity
    signed: bool

    @property
    def name(self) -> str:
        """A name for the flow: the first part of a host that says something."""
        host = urlsplit(self.entity.entity_id).hostname or urlsplit(self.place).hostname or ""
        labels = [part for part in host.split(".") if part not in {"www", "login", "sso", "idp", "sp"}]
        name = labels[0] if labels and not labels[0].isdigit() else "saml"
        return name if re.fullmatch(r"[a-z0-9][a-z0-9-]{0,40}", name) else "saml"


def is_metadata_url(source: str) -> bool:
    """Tell whether a URL looks like one of SAML metadata."""
    path = urlsplit(source).path if source.startswith(("http://", "https://")) else ""
    return bool(_METADATA_URL.search(path)) and not _CLASHING.search(path)


def read_source(source: str, ctx: Context, entity_id: str | None, *, is_file: bool) -> Source:
    """Read metadata from a URL or a file; CheckFailed if there are none, or not of one entity."""
    data = _file(source) if is_file else _answer(str(parse_url(source)), ctx)
    root = parse(data, Reason.SAML_METADATA_INVALID, "the document")
    role, element = _choose(root, entity_id)
    entity = metadata.read_entity(element, role, metadata.valid_until_around(element))
    return Source(source, is_file, role, entity, signature.is_signed(root) or signature.is_signed(element))


def _file(path: str) -> bytes:
    try:
        with Path(path).open("rb") as opened:
            return opened.read(_LARGEST)
    except OSError as error:
        raise CheckFailed(Reason.CONFIG_ERROR, f"file {path}: {error.strerror}") from None


def _answer(url: str, ctx: Context) -> bytes:
    reply = ctx.send(
        "GET", url, headers={"Accept": "application/samlmetadata+xml, */*;q=0.5"}, redirects=Redirects.FOLLOW
    )
    if reply.status != 200:
        raise CheckFailed(Reason.IDP_HTTP_4XX, f"status {reply.status} for the metadata")
    return reply.body


def _choose(root: Any, entity_id: str | None) -> tuple[Role, Any]:
    """Pick the entity, as an identity provider if it is one."""
    roles: tuple[Role, ...] = ("idp", "sp")
    first: CheckFailed | None = None
    for role in roles:
        try:
            element = metadata.choose_entity(root, role, entity_id)
            metadata.read_entity(element, role, None)
        except CheckFailed as failed:
            first = first or failed
        else:
            return role, element
    assert first is not None  # noqa: S101 - one of the roles has failed
    hint = first.detail.replace("set entity_id", "--entity-id is there")
    raise CheckFailed(first.reason, hint)


def draft_saml(source: Source, secrets_dir: str | None = None) -> str:
    """Write the flow file; secrets are read from files in `secrets_dir`, or else from variables."""
    lines = [*_head(), *_metadata(source), *_certificate(source), *_login(source, secrets_dir)]
    return "\n".join(lines) + "\n"


def _head() -> Iterator[str]:
    yield "# Written by `otelprobe init`; yours to change. Next:"
    yield "#   otelprobe validate FILE && otelprobe once FILE"
    yield "flows:"


def _metadata(source: Source) -> Iterator[str]:
    entity = source.entity
    yield f"  - name: {source.name}-saml-metadata"
    yield "    every: 1h"
    yield "    steps:"
    yield from _endpoints(source)
    yield from _keys(entity)
    if entity.valid_until is not None:
        yield f"      # The document is valid until {as_date(entity.valid_until)}."
    for fault in dict.fromkeys(entity.faults):
        yield f"      # Not in order: {fault}."
    yield from _step(source)


def _step(source: Source) -> Iterator[str]:
    entity, is_idp = source.entity, source.role == "idp"
    yield "      - step: saml_metadata"
    yield f"        {'file' if source.is_file else 'url'}: {_quoted(source.place)}"
    yield f"        entity_id: {_quoted(entity.entity_id)}  # compared to the letter"
    if not is_idp:
        yield "        role: sp"
        if entity.endpoints:
            yield f"        acs_url: {_quoted(entity.endpoints[0].location)}"
    if entity.logout:
        yield "        logout: true  # single log-out is offered: it has to stay"
    if source.signed:
        yield "        # pinned_certificate: metadata-signing.pem  # they are signed: get that certificate by another way"


def _endpoints(source: Source) -> Iterator[str]:
    what = "Single sign-on" if source.role == "idp" else "Assertions are consumed"
    for endpoint in source.entity.endpoints[:_MOST]:
        yield f"      # {what} by {endpoint.binding or 'another binding'}: {_quoted(endpoint.location)}"


def _keys(entity: Entity) -> Iterator[str]:
    now = time.time()
    for key in entity.keys[:_MOST]:
        ends = "ended" if key.certificate.remaining(now) <= 0 else "ends"
        about = f"{_quoted(key.certificate.label[:120])}, {ends} {as_date(key.certificate.not_after)}"
        yield f"      # Certificate for {' and '.join(key.uses)}: {about}, sha256 {key.certificate.sha256[:16]}..."


def _certificate(source: Source) -> Iterator[str]:
    urls = [source.place] if not source.is_file else []
    urls += [endpoint.location for endpoint in source.entity.endpoints]
    hosts = dict.fromkeys(_host(url) for url in urls if url.startswith("https://"))
    found = [host for host in hosts if host][:_MOST]
    if not found:
        return
    yield f"  - name: {source.name}-ends"
    yield "    every: 6h"
    yield "    steps:"
    for number, host in enumerate(found, 1):
        name = "certificate" if number == 1 else f"certificate-{number}"
        yield f"      - {{step: certificate, name: {name}, host: {_quoted(host)}, owner: {_owner(source)}}}"


def _owner(source: Source) -> str:
    return "provider" if source.role == "idp" else "api"


def _host(url: str) -> str:
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port not in {None, 443} else ""
    except ValueError:
        return ""
    return f"[{parts.hostname}]{port}" if ":" in (parts.hostname or "") else f"{parts.hostname or ''}{port}"


def _login(source: Source, secrets_dir: str | None) -> Iterator[str]:
    if source.role != "idp":
        return
    bindings: Sequence[str] = [b for b in ("redirect", "post") if b in source.entity.locations()]
    yield "  # A whole log-in, as a service provider of the prober's own that has to be registered there:"
    yield f"  # - name: {source.name}-saml-login"
    yield "  #   every: 5m"
    yield "  #   steps:"
    yield f"  #     - {{step: saml_metadata, {'file' if source.is_file else 'url'}: {_quoted(source.place)}}}"
    yield "  #     - step: saml_login"
    yield "  #       sp_entity_id: https://probe.example.com/saml"
    yield "  #       acs_url: https://probe.example.com/saml/acs  # nothing need listen there"
    if bindings:
        yield f"  #       binding: {bindings[0]}"
    yield "  #       username: probe"
    password = "{env: PASSWORD}" if secrets_dir is None else f"{{file: {_quoted(f'{secrets_dir}/password')}}}"
    yield f"  #       password: {password}"


def _quoted(text: str) -> str:
    """Write text so that YAML reads it as it is, on one line."""
    return json.dumps(text)
