"""A step that acts for a SAML service provider: what it knows of both parties, and how it gets a response to judge or send on."""

import zlib
from base64 import b64decode
from collections.abc import Iterator, Mapping
from dataclasses import field, replace
from pathlib import Path
from secrets import token_urlsafe
from typing import Any, Literal
from urllib.parse import urlsplit

from otelprobe.certificates import read_file_as_der
from otelprobe.fields import SecretRef, Url
from otelprobe.forms import Arrival, Goal, LoginStep, Walk
from otelprobe.http import Reply
from otelprobe.pages import is_html, is_login_page
from otelprobe.provider import Provider
from otelprobe.quick import dataclass
from otelprobe.reasons import VERDICTS, Blame, CheckFailed, Reason
from otelprobe.saml import request, signature
from otelprobe.saml.xml import parse
from otelprobe.step import Artifact, Context, SamlMetadata, filled

_LARGEST_FILE = 1024**2
_LARGEST_REQUEST = 256 * 1024


@dataclass(frozen=True, slots=True)
class Asked:
    """What went out: the request's id and `RelayState` where they are ours or were seen, and whom the answer is due from."""

    provider: SamlMetadata
    request_id: str | None = field(repr=False)
    relay_state: str | None = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class ServiceProviderStep(LoginStep):
    """A step in which somebody logs in at a SAML identity provider, on behalf of a service provider."""

    sp_entity_id: str
    """Entity id of the service provider that the log-in is for, as the identity provider knows it."""

    acs_url: Url
    """Its assertion consumer service, as registered."""

    binding: Literal["redirect", "post"] = "redirect"
    """How the request is sent; the answer always comes by POST."""

    start_url: Url | None = None
    """A page of a real service provider that sends people to the identity provider: its own request is followed, in place
    of one that is made here.
    """

    sso_url: Url | None = None
    """Where the request is sent; default: as the metadata say for the binding."""

    idp_entity_id: str | None = None
    """Entity id of the identity provider; default: that of the metadata, else it is not compared."""

    idp_certificate: str | None = None
    """A file with the identity provider's certificates (PEM or DER); default: those of the metadata."""

    sp_key: SecretRef | None = None
    """The service provider's private key in PEM, not encrypted: signs requests and opens encrypted assertions (RSA)."""

    sign: bool = True
    """`false`: requests are not signed though there is `sp_key`."""

    def required(self, provider: Provider | None) -> tuple[type[Artifact], ...]:
        """Need the metadata unless certificate and address are named here."""
        _ = provider
        alone = self.idp_certificate is not None and (self.sso_url is not None or self.start_url is not None)
        return () if alone else (SamlMetadata,)

    def warm_up(self) -> None:
        """Import what pages and signatures are read with."""
        super().warm_up()
        signature.warm_up()

    def templates(self) -> tuple[object, ...]:
        """Give what `${name}` is filled in."""
        return (self.start_url,) if self.start_url is not None else ()

    def secrets(self) -> tuple[SecretRef, ...]:
        """Give the secrets that may be read."""
        return (*super().secrets(), *((self.sp_key,) if self.sp_key is not None else ()))

    def files(self) -> tuple[tuple[str, str], ...]:
        """Give the file, so that `validate` looks for it."""
        return (("idp_certificate", self.idp_certificate),) if self.idp_certificate is not None else ()

    def references(self) -> tuple[tuple[tuple[str, ...], str], ...]:
        """Refer to the step whose metadata are used."""
        return ((("use",), self.use),) if self.use is not None else ()

    def faults(self) -> Iterator[tuple[str, str]]:
        """Say what does not fit together."""
        yield from super().faults()
        if self.start_url is not None and self.sso_url is not None:
            yield "sso_url", "with start_url the service provider says where: remove one of the two"
        if "${" in self.acs_url or "${" in (self.sso_url or ""):
            yield "acs_url", "acs_url and sso_url are compared to the letter: leave ${...} out"

    def new_walk(self, ctx: Context) -> Walk:
        """Give a log-in that has not begun, without cookies; it may lead to the identity provider's hosts."""
        check = "sp_entity_id and acs_url, and whether the identity provider wants signed requests"
        walk = self.walk(ctx, Goal(field="SAMLResponse", watch="SAMLRequest", check=check))
        walk.allow(*(urlsplit(url).hostname or "" for url in self.idp(ctx).sso.values()))
        return walk

    def idp(self, ctx: Context) -> SamlMetadata:
        """Give the identity provider as the metadata describe it, with what the flow file says over that."""
        known = ctx.find(SamlMetadata, self.use) or SamlMetadata("", {}, ())
        if self.idp_certificate is not None:
            known = replace(known, certificates=read_file_as_der(_read(self.idp_certificate), self.idp_certificate))
        if self.sso_url is not None:
            known = replace(known, sso={**known.sso, self.binding: self.sso_url})
        return replace(known, entity_id=self.idp_entity_id or known.entity_id)

    def arrive(self, ctx: Context, walk: Walk, **wishes: Any) -> tuple[Asked, Arrival]:
        """Begin at the service provider's page, or with a request made here, and walk to the response.

        `wishes` are members of the request, where it is made here.
        """
        if self.start_url is None:
            return self.ask(ctx, walk, **wishes)
        arrival = walk.run(filled(ctx, self.start_url))
        return Asked(self.idp(ctx), _request_id(walk.watched), None), arrival

    def ask(self, ctx: Context, walk: Walk, **wishes: Any) -> tuple[Asked, Arrival]:
        """Send a request made here, and walk to the response."""
        provider = self.idp(ctx)
        url = provider.sso.get(self.binding)
        if url is None:
            detail = f"the metadata name no single sign-on endpoint for the {self.binding} binding"
            raise CheckFailed(Reason.SAML_METADATA_INVALID, f"{detail}: set sso_url, or another binding")
        parties: Mapping[str, Any] = {"sp_entity_id": self.sp_entity_id, "acs_url": self.acs_url, **wishes}
        asked = request.AuthnRequest(destination=url, issued_at=ctx.now(), **parties)
        relay_state = token_urlsafe(16)
        key = self.sp_key.read() if self.sp_key is not None and self.sign else None
        if self.binding == "post":
            arrival = walk.run(url, request.post_form(asked, relay_state, key))
        else:
            arrival = walk.run(request.redirect_url(asked, relay_state, key))
        return Asked(provider, asked.id, relay_state), arrival

    def blamed(self, ctx: Context, failed: CheckFailed, since: int = 0) -> CheckFailed:
        """Blame the service provider for what its own start page does, and the identity provider for what its pages do.

        `since` counts the requests of the run that came before this log-in.
        """
        if VERDICTS[failed.reason].blame not in {None, Blame.PROVIDER} or failed.blame is not None:
            return failed
        start, asked = _place(self.start_url or ""), {(x.host, x.port) for x in ctx.wire.exchanges[since:]}
        elsewhere = {_place(url) for url in self.idp(ctx).sso.values()}
        blame = Blame.API if asked == {start} and start not in elsewhere else Blame.PROVIDER
        return CheckFailed(failed.reason, failed.detail, blame=blame, counts=failed.counts)


def _place(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


def back_to_login(reply: Reply) -> bool:
    """Tell whether a service provider sends people back to log in, by a redirect, by a form, or on a page of its own."""
    if reply.status >= 300:
        return "SAMLRequest=" in reply.value("Location")
    return is_login_page(reply) or (is_html(reply) and "SAMLRequest" in reply.text)


def _read(path: str) -> bytes:
    try:
        with Path(path).open("rb") as opened:
            return opened.read(_LARGEST_FILE)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "not a path"
        raise CheckFailed(Reason.CONFIG_ERROR, f"certificate file {path}: {why}") from None


def _request_id(encoded: str | None) -> str | None:
    """Give the id of a request that went by, so that the answer can be compared with it; None if it cannot be read."""
    if encoded is None:
        return None
    try:
        data = b64decode(encoded)
        with_header = data.lstrip()[:1] == b"<"
        plain = data if with_header else zlib.decompressobj(wbits=-15).decompress(data, _LARGEST_REQUEST)
        found: str | None = parse(plain, Reason.INVALID_REQUEST, "the request").get("ID")
    except (ValueError, zlib.error, CheckFailed):
        return None
    return found
