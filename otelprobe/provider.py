"""An identity provider as the flow file describes it, shared by many flows."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import field
from typing import Literal

from otelprobe.fields import UNSAID, HttpOptions, RateLimit, SecretRef, Url
from otelprobe.quick import dataclass
from otelprobe.reasons import CheckFailed
from otelprobe.signing import ClientAssertion, Dpop, assertion_faults, read_signer
from otelprobe.tokens import load_crypto

ClientAuth = Literal[
    "client_secret_basic",
    "client_secret_post",
    "client_secret_jwt",
    "private_key_jwt",
    "tls_client_auth",
    "self_signed_tls_client_auth",
    "none",
]
"""How a client may authenticate (RFC 6749, 7523, 8705), by its registered name."""

MUTUAL_TLS = frozenset({"tls_client_auth", "self_signed_tls_client_auth"})
"""The ways in which the TLS connection itself tells who the client is (RFC 8705, section 2)."""

ENDPOINTS = (
    *("authorization", "token", "jwks", "userinfo", "introspection", "revocation", "device_authorization"),
    "pushed_authorization_request",
)
"""Endpoint names, as in the members of a discovery document without `_endpoint` (`jwks` stands for `jwks_uri`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """One identity provider and the client that the prober is to it."""

    name: str = field(default="", metadata={"from": "key"})
    """The key under which it stands in `providers`."""

    preset: Literal["auth0", "okta", "entra", "cognito", "google", "keycloak", "hydra", "github", "generic"] = "generic"
    """Whose product it is: fills what is known of it (endpoints, limits, thresholds, the shape of its tokens, its status
    page) where nothing else is said.
    """

    issuer: Url
    """Its issuer; compared exactly with what the discovery document and the tokens say."""

    client_id: str | None = None
    """The client's name at the provider."""

    client_secret: SecretRef | None = None
    """The client's secret, for `client_secret_basic`, `client_secret_post` and `client_secret_jwt`."""

    client_auth: ClientAuth | None = None
    """How the client authenticates; default: `private_key_jwt` if there is a `client_assertion`, `client_secret_basic`
    if there is a secret, else `none`. The two of mutual TLS use `client_cert` of `http`.
    """

    client_assertion: ClientAssertion | None = None
    """The signed statement of `private_key_jwt` (needed there) and `client_secret_jwt`."""

    dpop: Dpop | None = None
    """Ask for tokens that are bound to a key (RFC 9449); `dpop: {}` draws a fresh key in every run."""

    discovery: Literal["auto", "oidc", "oauth"] = "auto"
    """Which well-known URL is asked: `oidc` OpenID Connect's, `oauth` that of RFC 8414, `auto` the second if the first
    answers 404.
    """

    endpoints: Mapping[
        Literal[
            "authorization",
            "token",
            "jwks",
            "userinfo",
            "introspection",
            "revocation",
            "device_authorization",
            "pushed_authorization_request",
        ],
        Url,
    ] = field(default_factory=dict)
    """URLs that win over the discovery document; where all that a flow needs are named, it needs no `discover`."""

    http: HttpOptions = field(default_factory=lambda: UNSAID)
    """How to reach the provider; wins over the flow's `http`."""

    budget: RateLimit | None = None
    """Most requests for tokens and codes (`token`, `refresh`, `device` with its polls, `par`) in a span of time, for all flows of
    this process; what is beyond is no outage: `budget_exhausted`.
    """

    @property
    def auth_method(self) -> str:
        """The client authentication in force: as set, else by what there is: an assertion, a secret, nothing."""
        if self.client_auth is not None:
            return self.client_auth
        if self.client_assertion is not None:
            return "private_key_jwt"
        return "client_secret_basic" if self.client_secret else "none"

    def secrets(self) -> Iterator[tuple[str, SecretRef]]:
        """Give the secrets that this client reads, each with the member that names it."""
        if self.client_secret is not None:
            yield "client_secret", self.client_secret
        if self.client_assertion is not None:
            yield from ((f"client_assertion.{name}", secret) for name, secret in self.client_assertion.secrets())
        if self.dpop is not None and self.dpop.key is not None:
            yield "dpop.key", self.dpop.key

    def files(self) -> Iterator[tuple[str, str]]:
        """Give the files besides secrets and those of `http` that this client reads, each with the member that names it."""
        if self.client_assertion is not None and self.client_assertion.certificate is not None:
            yield "client_assertion.certificate", self.client_assertion.certificate

    def warm_up(self) -> None:
        """Import what assertions and proofs are made with, and read the keys, so that no measured step pays for it."""
        if self.client_assertion is None and self.dpop is None and self.client_auth != "client_secret_jwt":
            return
        load_crypto()
        with suppress(CheckFailed):  # the step that needs the key will say so
            if self.dpop is not None:
                self.dpop.signer()
            if self.client_assertion is not None and self.client_assertion.key is not None:
                read_signer(self.client_assertion.key, self.client_assertion.algorithm, self.client_assertion.kid)

    def faults(self) -> Iterator[tuple[str, str]]:
        """Say what does not fit together: pairs of member and mend."""
        if self.client_auth in {"client_secret_basic", "client_secret_post"} and self.client_secret is None:
            yield (
                "client_auth",
                f"{self.client_auth} needs client_secret: add client_secret: {{env: NAME}} or {{file: PATH}}",
            )
        if self.client_secret is not None and self.client_id is None:
            yield "client_secret", "a client_secret without client_id: add client_id"
        yield from assertion_faults(self.auth_method, self.client_assertion, has_secret=self.client_secret is not None)
        if self.auth_method not in {"none", "client_secret_basic", "client_secret_post"} and self.client_id is None:
            yield "client_auth", f"{self.auth_method} needs client_id: add it"
        if self.auth_method in MUTUAL_TLS and self.http.client_cert is None:
            yield "client_auth", f"{self.auth_method} needs a certificate: add http: {{client_cert: PATH}}"
        if self.preset != "generic":
            from otelprobe.presets import provider_faults  # noqa: PLC0415 - only providers with a preset need it

            yield from provider_faults(self)
        if "?" in self.issuer or "#" in self.issuer:
            yield "issuer", "an issuer has no query and no fragment (RFC 8414, section 2)"
