"""What can be broken on purpose: every switch of the demo servers, and whom a good probe must blame for it.

The expected words are those of docs/reasons.md, as plain text: this is somebody else's server and knows no vocabulary
of ours (a test compares the two). `reason` None means that the flow must pass.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Fault:
    """One switch: what it breaks, and the reason, blame and objective that the demo flow must end with.

    `step` is the step of the demo flow that fails. `shown` False: the demo flow does not look for it, the expected
    words are for a flow that does. `tls` True: it needs the servers on TLS, which `start_demo` then turns on by itself.
    """

    name: str
    help: str
    reason: str | None = None
    blame: str | None = None
    counts: str | None = None
    step: str | None = None
    shown: bool = True
    tls: bool = False


_PROVIDER, _API, _EDGE, _CONFIG = "provider", "api", "edge", "config"
_AUTH, _NONE = "auth", "none"

_ROWS = (
    # discovery and keys
    Fault(
        "tls-cert-expired",
        "the provider's certificate has expired",
        "tls_cert_expired",
        _PROVIDER,
        _AUTH,
        "discover",
        tls=True,
    ),
    Fault(
        "discovery-down",
        "the discovery document answers 503",
        "discovery_unavailable",
        _PROVIDER,
        _AUTH,
        "discover",
    ),
    Fault(
        "discovery-html",
        "an HTML page where the discovery document should be",
        "discovery_invalid",
        _PROVIDER,
        _AUTH,
        "discover",
    ),
    Fault(
        "discovery-issuer",
        "the discovery document names another issuer",
        "discovery_issuer_mismatch",
        _PROVIDER,
        _AUTH,
        "discover",
    ),
    Fault(
        "discovery-drift",
        "the discovery document offers a weaker signature algorithm than before: for a flow with drift: {fail: true}",
        "drift_detected",
        _PROVIDER,
        _NONE,
        "discover",
        shown=False,
    ),
    Fault("jwks-down", "the key set answers 503", "jwks_unavailable", _PROVIDER, _AUTH, "keys"),
    Fault("jwks-empty", "the key set holds no key", "jwks_empty", _PROVIDER, _AUTH, "keys"),
    Fault(
        "jwks-private-key",
        "the key set publishes the private key",
        "jwks_private_key_exposed",
        _PROVIDER,
        _AUTH,
        "keys",
    ),
    # the token endpoint
    Fault("slow-token", "the token endpoint takes 1.3 s", "too_slow", _PROVIDER, _AUTH, "token"),
    Fault("token-down", "the token endpoint answers 503", "idp_http_5xx", _PROVIDER, _AUTH, "token"),
    Fault(
        "token-refused",
        "nothing listens where the token endpoint should be",
        "connect_refused",
        _PROVIDER,
        _AUTH,
        "token",
    ),
    Fault(
        "token-closed",
        "the token endpoint closes the connection before a status line",
        "connection_closed",
        _PROVIDER,
        _AUTH,
        "token",
    ),
    Fault("token-hanging", "the token endpoint never answers", "read_timeout", _PROVIDER, _AUTH, "token"),
    Fault(
        "trickling-body",
        "the token endpoint sends its answer one byte at a time",
        "deadline_exceeded",
        _PROVIDER,
        _AUTH,
        "token",
    ),
    Fault("huge-body", "the token endpoint sends 64 MiB", "response_too_large", _PROVIDER, _AUTH, "token"),
    Fault(
        "html-instead-of-json",
        "the token endpoint answers 200 with an HTML page",
        "idp_not_json",
        _PROVIDER,
        _AUTH,
        "token",
    ),
    Fault("idp-error", "the token endpoint answers server_error", "idp_error", _PROVIDER, _AUTH, "token"),
    Fault("idp-rate-limited", "the token endpoint answers 429", "idp_rate_limited", _EDGE, _NONE, "token"),
    Fault(
        "invalid-client-secret",
        "the provider holds the client secret for expired",
        "invalid_client",
        _CONFIG,
        _NONE,
        "token",
    ),
    Fault("token-missing", "the token endpoint answers without a token", "token_missing", _PROVIDER, _AUTH, "token"),
    Fault("token-type", "token_type is N_A instead of Bearer", "token_type_unexpected", _PROVIDER, _AUTH, "token"),
    Fault("expires-in-zero", "expires_in is 0", "expires_in_invalid", _PROVIDER, _AUTH, "token"),
    Fault("scope-reduced", "fewer scopes are granted than asked for", "scope_reduced", _PROVIDER, _AUTH, "token"),
    # the token itself
    Fault("opaque-token", "the access token is a random string, no JWT", "token_opaque", _PROVIDER, _AUTH, "verify"),
    Fault("wrong-issuer", "the token names another issuer", "issuer_mismatch", _PROVIDER, _AUTH, "verify"),
    Fault("wrong-audience", "the token is for another audience", "audience_mismatch", _PROVIDER, _AUTH, "verify"),
    Fault("missing-claim", "the token has no jti", "claim_missing", _PROVIDER, _AUTH, "verify"),
    Fault("expired-on-issue", "the token is expired when it is issued", "expired_on_issue", _PROVIDER, _AUTH, "verify"),
    Fault("clock-ahead", "the provider's clock is 10 minutes ahead", "clock_skew", _PROVIDER, _AUTH, "verify"),
    Fault("unknown-kid", "the token names a key that is not published", "kid_not_in_jwks", _PROVIDER, _AUTH, "verify"),
    Fault("rotated-with-overlap", "a new key signs and the old one stays published: all is well"),
    Fault(
        "rotated-without-overlap",
        "only the new key is published while the old one still signs",
        "kid_not_in_jwks",
        _PROVIDER,
        _AUTH,
        "verify",
    ),
    Fault(
        "wrong-signature",
        "the token is signed with another key than its kid says",
        "signature_invalid",
        _PROVIDER,
        _AUTH,
        "verify",
    ),
    Fault("alg-none", "the token is unsigned", "alg_none", _PROVIDER, _AUTH, "verify"),
    # the API
    Fault("api-unreachable", "nothing listens where the API should be", "connect_refused", _API, _API, "call"),
    Fault("api-slow", "the API takes 1.3 s", "too_slow", _API, _API, "call"),
    Fault("api-down", "the API answers 503 to good tokens, 401 to others", "api_unavailable", _API, _API, "call"),
    Fault("api-wrong-body", "the API answers 200 with another status member", "assertion_failed", _API, _API, "call"),
    Fault(
        "validator-broken",
        "the API answers 500 as soon as it has to check a token",
        "validator_broken",
        _API,
        _AUTH,
        "call",
    ),
    Fault(
        "stale-key-cache",
        "the provider has rotated and the API still checks with the old keys",
        "api_rejects_valid_token",
        _API,
        _AUTH,
        "call",
    ),
    Fault("api-clock-behind", "the API's clock is 10 minutes behind", "clock_skew", _API, _AUTH, "call"),
    Fault(
        "credentials-not-seen",
        "a proxy in front of the API strips the Authorization header",
        "credentials_not_seen",
        _API,
        _AUTH,
        "call",
    ),
    Fault(
        "api-unexplained",
        "the API answers 401 without a challenge to good tokens",
        "unauthorized_unexplained",
        _API,
        _AUTH,
        "call",
    ),
    Fault("login-page", "the API answers 200 with a log-in page", "redirected_to_login", _API, _AUTH, "call"),
    Fault("api-forbidden", "the API answers 403 to good tokens", "forbidden", _CONFIG, _NONE, "call"),
    Fault(
        "insufficient-scope",
        "the API wants a scope that the token lacks",
        "insufficient_scope",
        _CONFIG,
        _NONE,
        "call",
    ),
    Fault("api-rate-limited", "the API answers 429", "api_rate_limited", _EDGE, _NONE, "call"),
    Fault("waf-page", "a firewall in front of the API shows its block page", "waf_blocked", _EDGE, _NONE, "call"),
    Fault("bot-challenge", "a bot check in front of the API wants a browser", "bot_challenge", _EDGE, _NONE, "call"),
    # what only bad credentials bring to light
    Fault("api-not-protected", "the API answers without a token", "endpoint_not_protected", _API, _NONE, "reject"),
    Fault("api-accepts-unsigned", "the API accepts alg none", "rejection_accepted", _API, _NONE, "reject"),
    Fault("api-skips-signature", "the API does not check signatures", "rejection_accepted", _API, _NONE, "reject"),
    Fault(
        "api-trusts-inline-key",
        "the API checks a token with the key that it brings along: for the case inline_key of reject, with a state_dir",
        "rejection_accepted",
        _API,
        _NONE,
        "reject",
        shown=False,
    ),
    Fault(
        "api-crashes-on-bad-token",
        "the API answers 500 to a bad token",
        "rejection_server_error",
        _API,
        _NONE,
        "reject",
    ),
    # after use
    Fault("refresh-broken", "every refresh token is refused", "invalid_grant", _PROVIDER, _AUTH, "refresh"),
    Fault(
        "refresh-not-rotated",
        "a refresh gives the same refresh token again",
        "refresh_not_rotated",
        _PROVIDER,
        _AUTH,
        "refresh",
    ),
    Fault(
        "refresh-reuse-accepted",
        "a spent refresh token is accepted again",
        "refresh_reuse_accepted",
        _PROVIDER,
        _NONE,
        "refresh",
        shown=False,
    ),
    Fault(
        "introspection-inactive",
        "introspection calls a live token inactive",
        "introspection_inactive",
        _PROVIDER,
        _AUTH,
        "introspect",
    ),
    Fault("revocation-broken", "the revocation endpoint refuses", "revocation_failed", _PROVIDER, _AUTH, "revoke"),
    Fault(
        "revocation-ignored",
        "revocation answers 200 and does nothing",
        "introspection_active_after_revoke",
        _PROVIDER,
        _NONE,
        "introspect",
        shown=False,
    ),
)

FAULTS: Mapping[str, Fault] = MappingProxyType({fault.name: fault for fault in _ROWS})
"""Every fault by name, in the order of the flow's steps."""


class UnknownFaultError(ValueError):
    """A name that is in no row of the table."""


def check_faults(names: Collection[str]) -> frozenset[str]:
    """Give the names as a set; UnknownFaultError if one is none."""
    unknown = sorted(set(names) - set(FAULTS))
    if unknown:
        raise UnknownFaultError(f"no such fault: {', '.join(unknown)}; otelprobe demo --list-faults prints them all")
    return frozenset(names)


class Switches:
    """Which faults are on now. The servers read it at each request, so it can change while they run."""

    def __init__(self) -> None:
        self._on: frozenset[str] = frozenset()

    def turn(self, names: frozenset[str]) -> None:
        """Replace the faults that are on."""
        self._on = names

    @property
    def active(self) -> frozenset[str]:
        """The names of the faults that are on."""
        return self._on

    def on(self, name: str) -> bool:
        """Tell whether a fault is on; KeyError for a name that is in no row, so that a typing error cannot hide."""
        return FAULTS[name].name in self._on
