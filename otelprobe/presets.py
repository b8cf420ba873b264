"""What is known of providers beforehand: the shape of their issuers and tokens, what they ask for, limits, status pages.

A preset fills what the flow file leaves out, and says at the start what would only fail later. It overrides nothing.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, get_args
from urllib.parse import urlsplit

from otelprobe.expect import Matcher
from otelprobe.fields import Rate
from otelprobe.quick import dataclass
from otelprobe.status_pages import Format
from otelprobe.tokens import Policy

if TYPE_CHECKING:
    from otelprobe.provider import Provider

PresetName = Literal["auth0", "okta", "entra", "cognito", "google", "keycloak", "hydra", "github", "generic"]

_GUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_ANY_TENANT = "{tenantid}"
_V1_HOST = "sts.windows.net"
_REGION = re.compile(r"cognito-idp\.([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?")
_NO_MACHINES = "{} has no client_credentials: use {}"


@dataclass(frozen=True, slots=True)
class StatusSource:
    """Where a provider tells its state, in which form, and which part of it matters."""

    url: str
    format: Format
    component: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """One provider. `issuer` shows the form of its issuers, with what differs in capitals; `path` is what theirs must be.

    `hosts` are the ends of its host names. `grant` is the one to propose. `machines` False: no client_credentials;
    `instead` names what there is. `opaque` says why its access tokens cannot be verified, None where they can.
    """

    title: str
    issuer: str
    hosts: tuple[str, ...] = ()
    path: str = ""
    discovered: bool = True
    endpoints: Mapping[str, str] = field(default_factory=dict)
    grant: Literal["client_credentials", "jwt_bearer", "refresh_token"] = "client_credentials"
    machines: bool = True
    instead: str = ""
    opaque: str | None = None
    objectives: Mapping[str, float] = field(default_factory=dict)
    budget: Rate | None = None
    status: StatusSource | None = None


PRESETS: Mapping[PresetName, Preset] = MappingProxyType(
    {
        "auth0": Preset(
            title="Auth0",
            issuer="https://TENANT.REGION.auth0.com/",
            hosts=(".auth0.com",),
            path="/",
            objectives={"issuance_latency": 0.5},
            budget=Rate(300, 60.0),
            status=StatusSource("https://status.auth0.com/feed?domain={host}", "atom"),
        ),
        "okta": Preset(
            title="Okta",
            issuer="https://DOMAIN.okta.com/oauth2/default",
            hosts=(".okta.com", ".oktapreview.com", ".okta-emea.com"),
            path="(/oauth2/[^/]+)?",
            budget=Rate(60, 60.0),
            status=StatusSource("https://feeds.feedburner.com/OktaTrustRSS", "rss"),
        ),
        "entra": Preset(
            title="Microsoft Entra ID",
            issuer="https://login.microsoftonline.com/TENANT-ID/v2.0",
            hosts=("login.microsoftonline.com", "login.microsoftonline.us", _V1_HOST),
            path="/[^/]+/?(v2\\.0)?",
            status=StatusSource("https://azure.status.microsoft/en-us/status/feed/", "rss", "entra"),
        ),
        "cognito": Preset(
            title="Amazon Cognito",
            issuer="https://cognito-idp.REGION.amazonaws.com/POOL-ID",
            hosts=(".amazonaws.com", ".amazonaws.com.cn"),
            path="/[^/]+",
            objectives={"issuance_latency": 1.0},
            budget=Rate(120, 1.0),
            status=StatusSource("https://health.aws.amazon.com/public/currentevents", "aws", "cognito {region}"),
        ),
        "google": Preset(
            title="Google",
            issuer="https://accounts.google.com",
            hosts=("accounts.google.com",),
            grant="jwt_bearer",
            machines=False,
            instead="grant: jwt_bearer with the key of a service account, or grant: refresh_token",
            opaque="Google's access tokens are opaque: leave verify out",
            status=StatusSource("https://status.cloud.google.com/incidents.json", "google", "identity"),
        ),
        "keycloak": Preset(title="Keycloak", issuer="https://HOST/realms/REALM", path=".*/realms/[^/]+"),
        "hydra": Preset(title="Ory Hydra", issuer="https://HOST"),
        "github": Preset(
            title="GitHub",
            issuer="https://github.com",
            hosts=("github.com",),
            discovered=False,
            endpoints={
                "authorization": "/login/oauth/authorize",
                "token": "/login/oauth/access_token",
                "device_authorization": "/login/device/code",
            },
            grant="refresh_token",
            machines=False,
            instead="grant: refresh_token with a seed, or grant: device_code",
            opaque="GitHub's tokens are opaque: leave verify out",
            status=StatusSource("https://www.githubstatus.com/api/v2/summary.json", "statuspage", "API Requests"),
        ),
        "generic": Preset(title="a provider by the standards", issuer="https://HOST"),
    }
)
"""What is known of each."""

NAMES: tuple[PresetName, ...] = get_args(PresetName)


def recognise(issuer: str) -> PresetName:
    """Give the preset of an issuer by its host, or by its path for Keycloak; `generic` where nothing tells."""
    parts = urlsplit(issuer)
    host = parts.hostname or ""
    for name, preset in PRESETS.items():
        if any(host == end or (end.startswith(".") and host.endswith(end)) for end in preset.hosts):
            return name if name != "cognito" or _REGION.fullmatch(host) else "generic"
    return "keycloak" if _fits_path("keycloak", issuer) else "generic"


def _fits_path(name: PresetName, issuer: str) -> bool:
    return re.fullmatch(PRESETS[name].path, urlsplit(issuer).path.rstrip("/") or urlsplit(issuer).path) is not None


def filled(provider: "Provider") -> "Provider":
    """Give the provider with what its preset knows in the places that the flow file leaves empty."""
    preset = PRESETS[provider.preset]
    base = provider.issuer.rstrip("/")
    known = {name: f"{base}{path}" for name, path in preset.endpoints.items()}
    return replace(
        provider,
        endpoints={**known, **provider.endpoints},  # type: ignore[dict-item] # a test compares the names
        budget=provider.budget or preset.budget,
    )


def provider_faults(provider: "Provider") -> Iterator[tuple[str, str]]:
    """Say where an issuer is not as this provider's are."""
    preset = PRESETS[provider.preset]
    if preset.path and not _fits_path(provider.preset, provider.issuer):
        yield "issuer", f"an issuer of {preset.title} looks like {preset.issuer}, to the letter"


def discover_faults(provider: "Provider") -> Iterator[tuple[str, str]]:
    """Say that there is nothing to discover."""
    preset = PRESETS[provider.preset]
    if not preset.discovered:
        yield "", f"{preset.title} has no discovery document: leave discover and keys out, its endpoints are known"


def token_faults(
    provider: "Provider", grant: str, scope: str | None, audience: str | None
) -> Iterator[tuple[str, str]]:
    """Say what this provider asks for and the step does not send."""
    preset = PRESETS[provider.preset]
    if grant != "client_credentials":
        return
    if not preset.machines:
        yield "grant", _NO_MACHINES.format(preset.title, preset.instead)
    if provider.preset == "auth0" and audience is None:
        yield "audience", "missing: Auth0 issues a usable token only for an API: add audience: IDENTIFIER of the API"
    if provider.preset == "okta" and not scope:
        yield "scope", "missing: Okta issues no token without a scope: add one that the authorization server has"
    if provider.preset == "entra" and not (scope or "").endswith("/.default"):
        yield "scope", "Entra wants the scope RESOURCE/.default, as in api://CLIENT-ID-OF-THE-API/.default"


def verify_faults(provider: "Provider") -> Iterator[tuple[str, str]]:
    """Say that access tokens of this provider cannot be verified."""
    preset = PRESETS[provider.preset]
    if preset.opaque is not None:
        yield "", preset.opaque
    if provider.preset == "okta" and urlsplit(provider.issuer).path in {"", "/"}:
        yield (
            "",
            "an Okta org server publishes no keys for its access tokens: use introspect, or a custom server's issuer",
        )


def issuer_fits(provider: "Provider", found: str) -> bool:
    """Tell whether a discovery document may name this issuer: just the configured one, but for Entra's tenants.

    Entra writes the tenant's id where it was asked by name, and `{tenantid}` where it was asked for any tenant
    (`common`, `organizations`); a document of v1 names another host.
    """
    if found == provider.issuer:
        return True
    if provider.preset != "entra":
        return False
    tenant, version = _entra_parts(provider.issuer)
    theirs, their_version = _entra_parts(found)
    same_place = urlsplit(found).netloc == (urlsplit(provider.issuer).netloc if version else _V1_HOST)
    named = theirs == _ANY_TENANT or _GUID.fullmatch(theirs) is not None
    return same_place and version == their_version and (theirs == tenant or (named and not _GUID.fullmatch(tenant)))


def _entra_parts(issuer: str) -> tuple[str, str]:
    """Give tenant and version: `v2.0`, or nothing for v1."""
    parts = [part for part in urlsplit(issuer).path.split("/") if part]
    return (parts[0] if parts else ""), (parts[1] if len(parts) > 1 else "")


def policy_for(
    provider: "Provider | None", policy: Policy, claims: Mapping[str, object], *, document_issuer: str | None
) -> Policy:
    """Give the policy for tokens of this provider's shape; what the flow file says of issuer and claims stays."""
    if provider is None or policy.issuer != provider.issuer:
        return policy
    if provider.preset == "entra":
        return replace(policy, issuer=_entra_issuer(provider.issuer, claims, document_issuer))
    if provider.preset == "cognito":
        return _cognito(policy, provider.client_id)
    return policy


def _entra_issuer(issuer: str, claims: Mapping[str, object], document_issuer: str | None) -> str:
    """Give the issuer by the token's version, which the API chooses: v1 comes from another host than v2.

    The tenant is the configured one, else the one that the discovery document names, else, where any tenant may log in,
    the token's own.
    """
    tenants = (_entra_parts(issuer)[0], _entra_parts(document_issuer or "")[0], str(claims.get("tid", "")))
    tenant = next((t for t in tenants if _GUID.fullmatch(t)), tenants[0])
    parts = urlsplit(issuer)
    host = "login.microsoftonline.com" if parts.netloc == _V1_HOST else parts.netloc
    version = claims.get("ver")
    if version == "1.0":
        return f"https://{_V1_HOST}/{tenant}/"
    return f"{parts.scheme}://{host}/{tenant}/v2.0" if version == "2.0" else issuer


def _cognito(policy: Policy, client_id: str | None) -> Policy:
    """Compare `client_id` and `token_use` in place of `aud`, which Cognito's access tokens do not have."""
    wanted = policy.audience or ((client_id,) if client_id is not None else ())
    own: dict[str, Matcher] = {"token_use": Matcher(equals="access", by_value=True)}
    if wanted:
        own["client_id"] = Matcher(one_of=tuple(wanted))
    return replace(policy, audience=None, claims={**own, **policy.claims})


def status_source(provider: "Provider") -> StatusSource | None:
    """Give where the provider tells its state; None where that cannot be known, as on hosts of one's own."""
    preset = PRESETS[provider.preset]
    host = urlsplit(provider.issuer).hostname or ""
    if preset.status is None or (provider.preset == "auth0" and recognise(provider.issuer) != "auth0"):
        return None
    region = _REGION.fullmatch(host)
    component = preset.status.component
    if component is not None:
        component = component.format(region=region[1] if region else "").strip()
    return StatusSource(preset.status.url.format(host=host), preset.status.format, component)
