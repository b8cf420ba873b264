"""Fetch the provider's discovery document (OpenID Connect Discovery 1.0, RFC 8414) and check what everything hangs on."""

import re
from collections.abc import Iterator, Mapping
from typing import ClassVar
from urllib.parse import urlsplit, urlunsplit

from otelprobe.fields import is_loopback
from otelprobe.http import Redirects, Reply
from otelprobe.oauth import refuse_failures
from otelprobe.provider import ENDPOINTS, Provider
from otelprobe.quick import dataclass
from otelprobe.reasons import CheckFailed, Layer, Reason
from otelprobe.result import Warn
from otelprobe.step import Artifact, Context, Done, ProviderMetadata, Step
from otelprobe.tokens import shown

_NEEDED = ("issuer", "token_endpoint", "jwks_uri")
_OIDC_REQUIRED = (
    "authorization_endpoint",
    "response_types_supported",
    "subject_types_supported",
    "id_token_signing_alg_values_supported",
)
_OAUTH_REQUIRED = ("response_types_supported",)
_UNSENDABLE = re.compile(r"[\x00-\x20\x7f\ud800-\udfff]")


@dataclass(frozen=True, kw_only=True)
class Discover(Step):
    """Fetch the discovery document. The issuer must be the configured one to the letter.

    Members without which no flow works (issuer, token_endpoint, jwks_uri) fail the step when they are missing; others
    that the specification requires are warned of.
    """

    kind: ClassVar[str] = "discover"
    layer: ClassVar[Layer] = Layer.AUTH
    makes: ClassVar[tuple[type[Artifact], ...]] = (ProviderMetadata,)
    uses_provider: ClassVar[bool] = True
    own_reasons: ClassVar[frozenset[Reason]] = frozenset(
        {Reason.DISCOVERY_UNAVAILABLE, Reason.DISCOVERY_INVALID, Reason.DISCOVERY_ISSUER_MISMATCH, Reason.IDP_HTTP_5XX}
    )
    default_redirects: ClassVar[Redirects] = Redirects.SAME_ORIGIN

    def misfits(self, provider: Provider | None) -> Iterator[tuple[str, str]]:
        """Say that the provider has no discovery document."""
        if provider is not None and provider.preset != "generic":
            from otelprobe.presets import discover_faults  # noqa: PLC0415 - only providers with a preset need it

            yield from discover_faults(provider)

    def run(self, ctx: Context) -> Done:
        """Fetch and check; makes ProviderMetadata."""
        provider = ctx.identity_provider()
        reply, required = self._fetch(ctx, provider.issuer, provider.discovery)
        document = _read(reply)
        _check_issuer(document, provider)
        missing = [m for m in _NEEDED if not isinstance(document.get(m), str)]
        if missing:
            raise CheckFailed(Reason.DISCOVERY_INVALID, f"the discovery document has no {', '.join(missing)}")
        _refuse_broken_endpoints(document)
        _refuse_plain_endpoints(document, allowed=bool(ctx.options.insecure_http))
        absent = [m for m in required if m not in document]
        warnings = (
            (Warn(Reason.DISCOVERY_INVALID, f"required members are missing: {', '.join(absent)}"),) if absent else ()
        )
        metadata = ProviderMetadata(provider.issuer, _endpoints(document), document, _aliases(ctx, document))
        return Done(makes=(metadata,), warnings=warnings, reply=reply)

    def _fetch(self, ctx: Context, issuer: str, form: str) -> tuple[Reply, tuple[str, ...]]:
        """Fetch by the form that is set; `auto` tries OpenID Connect first and RFC 8414 on a 404."""
        if form != "oauth":
            reply = ctx.send("GET", oidc_url(issuer), redirects=self.follow)
            if form == "oidc" or reply.status != 404:
                return reply, _OIDC_REQUIRED
        return ctx.send("GET", oauth_url(issuer), redirects=self.follow), _OAUTH_REQUIRED


def oidc_url(issuer: str) -> str:
    """Give the OpenID Connect form: the well-known path appended to the issuer."""
    return f"{issuer.rstrip('/')}/.well-known/openid-configuration"


def oauth_url(issuer: str) -> str:
    """Give the RFC 8414 form: the well-known path inserted between the issuer's host and path."""
    parts = urlsplit(issuer)
    return urlunsplit(
        (parts.scheme, parts.netloc, f"/.well-known/oauth-authorization-server{parts.path.rstrip('/')}", "", "")
    )


def _read(reply: Reply) -> Mapping[str, object]:
    if reply.status >= 500 or (reply.status >= 400 and reply.status != 429):
        _raise_unavailable(reply)
    try:
        refuse_failures(reply)
    except CheckFailed as failed:
        if failed.reason is Reason.IDP_NOT_JSON:
            raise CheckFailed(Reason.DISCOVERY_INVALID, "a page where the discovery document should be") from None
        raise
    if reply.status != 200:
        raise CheckFailed(Reason.DISCOVERY_UNAVAILABLE, f"status {reply.status}")
    try:
        document = reply.json()
    except ValueError:
        raise CheckFailed(Reason.DISCOVERY_INVALID, f"no JSON ({reply.media_type or 'no media type'})") from None
    if not isinstance(document, dict):
        raise CheckFailed(Reason.DISCOVERY_INVALID, "not a JSON object")
    return document


def _raise_unavailable(reply: Reply) -> None:
    """Raise for a wrong status, unless an edge's own page says that the provider was never asked."""
    try:
        refuse_failures(reply)
    except CheckFailed as failed:
        if failed.reason in {Reason.BOT_CHALLENGE, Reason.WAF_BLOCKED}:
            raise
    raise CheckFailed(Reason.DISCOVERY_UNAVAILABLE, f"status {reply.status}")


def _check_issuer(document: Mapping[str, object], provider: Provider) -> None:
    found = document.get("issuer")
    if (
        not isinstance(found, str)
        or found == provider.issuer
        or (provider.preset != "generic" and _fits(provider, found))
    ):
        return
    raise CheckFailed(Reason.DISCOVERY_ISSUER_MISMATCH, f"issuer is {shown(found)}, configured is {provider.issuer}")


def _fits(provider: Provider, found: str) -> bool:
    from otelprobe.presets import issuer_fits  # noqa: PLC0415 - only providers with a preset need it

    return issuer_fits(provider, found)


def _endpoints(document: Mapping[str, object]) -> dict[str, str]:
    members = {name: "jwks_uri" if name == "jwks" else f"{name}_endpoint" for name in ENDPOINTS}
    return {name: str(document[m]) for name, m in members.items() if isinstance(document.get(m), str)}


def _aliases(ctx: Context, document: Mapping[str, object]) -> dict[str, str]:
    """Give the endpoints for clients that show a certificate (RFC 8705, section 5), checked where they will be asked."""
    aliases = document.get("mtls_endpoint_aliases")
    if not isinstance(aliases, dict) or ctx.options.client_cert is None:
        return {}
    _refuse_broken_endpoints(aliases)
    _refuse_plain_endpoints(aliases, allowed=bool(ctx.options.insecure_http))
    return _endpoints(aliases)


def _refuse_broken_endpoints(document: Mapping[str, object]) -> None:
    """Refuse addresses that cannot be asked, here where the provider is to blame and not where they would be used."""
    broken = [name for name, url in _endpoints(document).items() if not _is_address(url)]
    if broken:
        raise CheckFailed(Reason.DISCOVERY_INVALID, f"endpoints that are no http or https URLs: {', '.join(broken)}")


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        named = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    labels = (parts.hostname or "").removesuffix(".").split(".")
    return named and not _UNSENDABLE.search(url) and all(0 < len(label) < 64 for label in labels)


def _refuse_plain_endpoints(document: Mapping[str, object], *, allowed: bool) -> None:
    plain = list(_plain(_endpoints(document)))
    if plain and not allowed:
        raise CheckFailed(Reason.DISCOVERY_INVALID, f"endpoints without https: {', '.join(plain)}")


def _plain(endpoints: Mapping[str, str]) -> Iterator[str]:
    for name, url in endpoints.items():
        parts = urlsplit(url)
        if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.hostname or "")):
            yield name
