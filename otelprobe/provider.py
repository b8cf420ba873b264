"""An identity provider as the flow file describes it, shared by many flows."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from otelprobe.fields import HttpOptions, RateLimit, SecretRef, Url

ENDPOINTS = ("authorization", "token", "jwks", "userinfo", "introspection", "revocation", "device_authorization")
"""Endpoint names, as in the members of a discovery document without `_endpoint` (`jwks` stands for `jwks_uri`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """One identity provider and the client that the prober is to it."""

    name: str = field(default="", metadata={"from": "key"})
    """The key under which it stands in `providers`."""

    issuer: Url
    """Its issuer; compared exactly with what the discovery document and the tokens say."""

    client_id: str | None = None
    """The client's name at the provider."""

    client_secret: SecretRef | None = None
    """The client's secret, for `client_secret_basic` and `client_secret_post`."""

    client_auth: Literal["client_secret_basic", "client_secret_post", "none"] | None = None
    """How the client authenticates; default: `client_secret_basic` if there is a secret, else `none`."""

    discovery: Literal["auto", "oidc", "oauth"] = "auto"
    """Which well-known URL is asked: `oidc` OpenID Connect's, `oauth` that of RFC 8414, `auto` the second if the first
    answers 404.
    """

    endpoints: Mapping[
        Literal["authorization", "token", "jwks", "userinfo", "introspection", "revocation", "device_authorization"],
        Url,
    ] = field(default_factory=dict)
    """URLs that win over the discovery document; where all that a flow needs are named, it needs no `discover`."""

    http: HttpOptions = field(default_factory=HttpOptions)
    """How to reach the provider; wins over the flow's `http`."""

    budget: RateLimit | None = None
    """Most token requests (`token`, `refresh`) in a span of time, for all flows of this process; what is beyond ends
    with `budget_exhausted`, which is no outage.
    """

    @property
    def auth_method(self) -> str:
        """The client authentication in force: as set, else Basic with a secret and none without one."""
        return self.client_auth or ("client_secret_basic" if self.client_secret else "none")

    def faults(self) -> Iterator[tuple[str, str]]:
        """Say what does not fit together: pairs of member and mend."""
        if self.client_auth in {"client_secret_basic", "client_secret_post"} and self.client_secret is None:
            yield (
                "client_auth",
                f"{self.client_auth} needs client_secret: add client_secret: {{env: NAME}} or {{file: PATH}}",
            )
        if self.client_secret is not None and self.client_id is None:
            yield "client_secret", "a client_secret without client_id: add client_id"
        if "?" in self.issuer or "#" in self.issuer:
            yield "issuer", "an issuer has no query and no fragment (RFC 8414, section 2)"
