"""What each fault has to bring about: which alert reaches whom. Written down by hand, with the eyes of those on call.

The provider's trouble pages those who run it, whatever team the flow belongs to; the API's trouble pages the flow's team;
what is nobody's outage (our own client, a firewall, a weakness, something that ends soon) makes a ticket and wakes nobody.
One cause is told once.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

IDENTITY, TEAM, TICKETS = "pager", "payments-pager", "tickets"
"""Receivers: who runs the provider, who runs the API, and nobody at night."""


@dataclass(frozen=True, slots=True)
class Notice:
    """One notification: the alert, who gets it, and what its labels must say."""

    alert: str
    receiver: str
    severity: str
    component: str


OUTAGE = Notice("AuthTokenEndpointDown", IDENTITY, "critical", "auth")
AUTH = Notice("AuthFlowFailureRateHigh", IDENTITY, "critical", "auth")
REFUSED_BY_API = Notice("AuthFlowFailureRateHigh", TEAM, "critical", "api")
API = Notice("ApiFailureRateHigh", TEAM, "critical", "api")
ACCEPTED = Notice("BadCredentialAccepted", TEAM, "critical", "api")
WITHDRAWN = Notice("SigningKeyWithdrawnEarly", IDENTITY, "critical", "auth")
WEAK_PROVIDER = Notice("SecurityCheckFailing", TICKETS, "warning", "auth")
WEAK_API = Notice("SecurityCheckFailing", TICKETS, "warning", "api")
BLIND = Notice("OtelprobeFlowBlind", TICKETS, "warning", "otelprobe")
SLOW_PROVIDER = Notice("AuthProviderLatencyHigh", TICKETS, "warning", "auth")
SLOW_API = Notice("ApiLatencyHigh", TICKETS, "warning", "api")
DEGRADED = Notice("ProviderStatusDegraded", TICKETS, "warning", "auth")
DRIFT = Notice("AuthDrift", TICKETS, "info", "auth")
ENDED = Notice("CredentialExpired", TICKETS, "critical", "auth")
DEAD = Notice("OtelprobeTelemetryMissing", IDENTITY, "critical", "otelprobe")


def _ends(alert: str, severity: str) -> Notice:
    return Notice(alert, TICKETS, severity, "auth")


FAULTS: Mapping[str, tuple[Notice, ...]] = MappingProxyType(
    {
        # Nobody gets a token: one page, however many flows.
        "tls-cert-expired": (OUTAGE, ENDED),
        "discovery-down": (OUTAGE,),
        "jwks-down": (OUTAGE,),
        "token-down": (OUTAGE,),
        "token-refused": (OUTAGE,),
        "token-closed": (OUTAGE,),
        "token-hanging": (OUTAGE,),
        "trickling-body": (OUTAGE,),
        "html-instead-of-json": (OUTAGE,),
        "idp-error": (OUTAGE,),
        # The provider answers, and what it answers is wrong.
        "discovery-html": (AUTH,),
        "discovery-issuer": (AUTH,),
        "jwks-empty": (AUTH,),
        "jwks-private-key": (AUTH,),
        "slow-token": (AUTH,),
        "huge-body": (AUTH,),
        "token-missing": (AUTH,),
        "token-type": (AUTH,),
        "expires-in-zero": (AUTH,),
        "scope-reduced": (AUTH,),
        "opaque-token": (AUTH,),
        "wrong-issuer": (AUTH,),
        "wrong-audience": (AUTH,),
        "missing-claim": (AUTH,),
        "expired-on-issue": (AUTH,),
        "clock-ahead": (AUTH,),
        "unknown-kid": (AUTH,),
        "wrong-signature": (AUTH,),
        "alg-none": (AUTH,),
        "refresh-broken": (AUTH,),
        "refresh-not-rotated": (AUTH,),
        "introspection-inactive": (AUTH,),
        "revocation-broken": (AUTH,),
        # A rotation that clients survive is no news; without overlap, sessions die and nobody new gets in.
        "rotated-with-overlap": (),
        "rotated-without-overlap": (AUTH, WITHDRAWN),
        "discovery-drift": (DRIFT,),
        # The API is down, slow or wrong.
        "api-unreachable": (API,),
        "api-slow": (API,),
        "api-down": (API,),
        "api-wrong-body": (API,),
        # Nobody gets in, and it is the API that refuses good tokens.
        "validator-broken": (REFUSED_BY_API,),
        "stale-key-cache": (REFUSED_BY_API,),
        "api-clock-behind": (REFUSED_BY_API,),
        "credentials-not-seen": (REFUSED_BY_API,),
        "api-unexplained": (REFUSED_BY_API,),
        "login-page": (REFUSED_BY_API,),
        # Users may be well; it is the prober that is refused.
        "idp-rate-limited": (BLIND,),
        "invalid-client-secret": (BLIND,),
        "api-forbidden": (BLIND,),
        "insufficient-scope": (BLIND,),
        "api-rate-limited": (BLIND,),
        "waf-page": (BLIND,),
        "bot-challenge": (BLIND,),
        # Security: an open door at once, a weakness as a ticket.
        "api-not-protected": (ACCEPTED,),
        "api-accepts-unsigned": (ACCEPTED,),
        "api-skips-signature": (ACCEPTED,),
        "api-trusts-inline-key": (ACCEPTED,),
        "api-crashes-on-bad-token": (WEAK_API,),
        "refresh-reuse-accepted": (WEAK_PROVIDER,),
        "revocation-ignored": (WEAK_PROVIDER,),
    }
)
"""The embedded provider's faults, each alone, for ten minutes or more."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """What else goes wrong, and what has to be told."""

    what: str
    notices: tuple[Notice, ...]


OVERLAP, ABRUPT, ENDING = KEYCLOAK = ("keycloak-overlap", "keycloak-abrupt", "keycloak-ending")
"""Realms of one Keycloak, each a provider of its own."""

SCENARIOS: Mapping[str, Scenario] = MappingProxyType(
    {
        "shared-outage": Scenario("the token endpoint of three flows answers 503", (OUTAGE,)),
        "slow-provider": Scenario("tokens take 1.3 s, above `issuance_latency` and `auth_latency`", (SLOW_PROVIDER,)),
        "slow-api": Scenario("the API takes 1.3 s, above `api_latency`", (SLOW_API,)),
        "status-page": Scenario("the provider's status page tells of a disturbance", (DEGRADED,)),
        "drift": Scenario("tokens lose a claim that nobody requires", (DRIFT,)),
        "secret-missing": Scenario("the file with the client secret is gone", (BLIND,)),
        "saml-certificate": Scenario(
            "a SAML signing certificate ends in 60 days", (_ends("SamlCertificateExpiring", "warning"),)
        ),
        "saml-certificate-soon": Scenario(
            "a SAML signing certificate ends in 5 days", (_ends("SamlCertificateExpiringSoon", "critical"),)
        ),
        "tls-certificate": Scenario("a TLS certificate ends in 20 days", (_ends("TlsCertificateExpiring", "warning"),)),
        "tls-certificate-soon": Scenario(
            "a TLS certificate ends in 2 days", (_ends("TlsCertificateExpiringSoon", "critical"),)
        ),
        "client-certificate": Scenario(
            "a client certificate ends in 20 days", (_ends("ClientCertificateExpiring", "warning"),)
        ),
        "api-key": Scenario("an API key ends in 20 days", (_ends("ApiKeyExpiring", "warning"),)),
        "client-secret": Scenario("a client secret ends in 3 days", (_ends("ClientSecretExpiringSoon", "critical"),)),
        "api-key-ended": Scenario("an API key has ended and still works", (ENDED,)),
        "dead-prober": Scenario("the only prober of a location dies, with three flows", (DEAD,)),
        "dead-collector": Scenario("the only collector of a location dies", (DEAD,)),
        OVERLAP: Scenario("Keycloak rotates its keys with overlap; later it answers nothing any more", (OUTAGE,)),
        ABRUPT: Scenario(
            "Keycloak rotates its keys and withdraws the old one at once; later it answers nothing any more",
            (WITHDRAWN, OUTAGE),
        ),
        ENDING: Scenario(
            "the certificate of Keycloak's signing key ends in 5 days; later it answers nothing any more",
            (
                _ends("SamlCertificateExpiringSoon", "critical"),
                _ends("ClientCertificateExpiringSoon", "critical"),
                OUTAGE,
            ),
        ),
    }
)
"""Scenarios that are no fault of the embedded provider."""
