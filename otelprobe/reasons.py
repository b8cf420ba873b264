"""The whole vocabulary of failure: every reason, the side it blames and the objective it spends (a leaf room).

A reason is the value of `error.type` on spans, metrics and events alike. The table below is the contract of
docs/reasons.md, which is generated from it; `otelprobe explain` prints one row.
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from otelprobe.quick import dataclass


class Layer(StrEnum):
    """Whose part of the flow a step exercises; it decides the owner of a transport failure."""

    AUTH = "auth"
    API = "api"
    DEPENDENCY = "dependency"


class Outcome(StrEnum):
    """How a step or a flow ended. `fail`: the target or a credential; `error`: the prober could not tell."""

    PASS = "pass"  # noqa: S105 - the word of the contract, not a password
    FAIL = "fail"
    ERROR = "error"
    SKIP = "skip"


class Blame(StrEnum):
    """Who has to look."""

    PROVIDER = "provider"
    API = "api"
    NETWORK = "network"
    EDGE = "edge"
    CONFIG = "config"
    PROBER = "prober"


class Counts(StrEnum):
    """Which availability objective a failure spends."""

    AUTH = "auth"
    API = "api"
    NONE = "none"


class Reason(StrEnum):
    """Why a step did not pass, or what a passing step warns of."""

    DNS_FAILURE = "dns_failure"
    CONNECT_TIMEOUT = "connect_timeout"
    CONNECT_REFUSED = "connect_refused"
    CONNECTION_RESET = "connection_reset"
    CONNECTION_CLOSED = "connection_closed"
    READ_TIMEOUT = "read_timeout"
    DEADLINE_EXCEEDED = "deadline_exceeded"
    HTTP_PROTOCOL_ERROR = "http_protocol_error"
    RESPONSE_TOO_LARGE = "response_too_large"
    REDIRECT_LOOP = "redirect_loop"
    REDIRECT_UNEXPECTED = "redirect_unexpected"
    PROXY_ERROR = "proxy_error"
    TLS_CERT_EXPIRED = "tls_cert_expired"
    TLS_CERT_NOT_YET_VALID = "tls_cert_not_yet_valid"
    TLS_HOSTNAME_MISMATCH = "tls_hostname_mismatch"
    TLS_SELF_SIGNED = "tls_self_signed"
    TLS_UNTRUSTED_CA = "tls_untrusted_ca"
    TLS_PROTOCOL_ERROR = "tls_protocol_error"
    TLS_HANDSHAKE_FAILED = "tls_handshake_failed"
    CLIENT_CERT_REJECTED = "client_cert_rejected"
    DISCOVERY_UNAVAILABLE = "discovery_unavailable"
    DISCOVERY_INVALID = "discovery_invalid"
    DISCOVERY_ISSUER_MISMATCH = "discovery_issuer_mismatch"
    JWKS_UNAVAILABLE = "jwks_unavailable"
    JWKS_INVALID = "jwks_invalid"
    JWKS_EMPTY = "jwks_empty"
    JWKS_PRIVATE_KEY_EXPOSED = "jwks_private_key_exposed"
    KID_NOT_IN_JWKS = "kid_not_in_jwks"
    KID_WITHDRAWN_EARLY = "kid_withdrawn_early"
    IDP_HTTP_4XX = "idp_http_4xx"
    IDP_HTTP_5XX = "idp_http_5xx"
    IDP_ERROR = "idp_error"
    IDP_NOT_JSON = "idp_not_json"
    TOKEN_MISSING = "token_missing"  # noqa: S105 - a reason, not a password
    TOKEN_TYPE_UNEXPECTED = "token_type_unexpected"  # noqa: S105 - a reason, not a password
    EXPIRES_IN_INVALID = "expires_in_invalid"
    SCOPE_REDUCED = "scope_reduced"
    SCOPE_EXCESS = "scope_excess"
    INVALID_CLIENT = "invalid_client"
    UNAUTHORIZED_CLIENT = "unauthorized_client"
    UNSUPPORTED_GRANT_TYPE = "unsupported_grant_type"
    INVALID_SCOPE = "invalid_scope"
    INVALID_REQUEST = "invalid_request"
    ACCESS_DENIED = "access_denied"
    LOGIN_REQUIRED = "login_required"
    CONSENT_REQUIRED = "consent_required"
    MFA_REQUIRED = "mfa_required"
    OAUTH_ERROR_OTHER = "oauth_error_other"
    INVALID_GRANT = "invalid_grant"
    IDP_RATE_LIMITED = "idp_rate_limited"
    API_RATE_LIMITED = "api_rate_limited"
    WAF_BLOCKED = "waf_blocked"
    BOT_CHALLENGE = "bot_challenge"
    BUDGET_EXHAUSTED = "budget_exhausted"
    LOGIN_FORM_NOT_FOUND = "login_form_not_found"
    JAVASCRIPT_REQUIRED = "javascript_required"
    LOGIN_REJECTED = "login_rejected"
    MFA_CHALLENGE = "mfa_challenge"
    STATE_MISMATCH = "state_mismatch"
    NONCE_MISMATCH = "nonce_mismatch"
    ISSUER_PARAM_MISMATCH = "issuer_param_mismatch"
    CODE_MISSING = "code_missing"
    TOKEN_MALFORMED = "token_malformed"  # noqa: S105 - a reason, not a password
    TOKEN_OPAQUE = "token_opaque"  # noqa: S105 - a reason, not a password
    TOKEN_ENCRYPTED = "token_encrypted"  # noqa: S105 - a reason, not a password
    ALG_NONE = "alg_none"
    ALG_NOT_ALLOWED = "alg_not_allowed"
    ALG_UNSUPPORTED = "alg_unsupported"
    ALG_WEAK = "alg_weak"
    KEY_MISMATCH = "key_mismatch"
    KEY_UNUSABLE = "key_unusable"
    SIGNATURE_INVALID = "signature_invalid"
    HEADER_UNEXPECTED = "header_unexpected"
    CLAIM_MISSING = "claim_missing"
    CLAIM_INVALID = "claim_invalid"
    CLAIM_MISMATCH = "claim_mismatch"
    EXPIRED = "expired"
    EXPIRED_ON_ISSUE = "expired_on_issue"
    NOT_YET_VALID = "not_yet_valid"
    ISSUER_MISMATCH = "issuer_mismatch"
    AUDIENCE_MISMATCH = "audience_mismatch"
    CLOCK_SKEW = "clock_skew"
    LIFETIME_EXCESSIVE = "lifetime_excessive"
    API_REJECTS_VALID_TOKEN = "api_rejects_valid_token"  # noqa: S105 - a reason, not a password
    CREDENTIALS_NOT_SEEN = "credentials_not_seen"
    UNAUTHORIZED_UNEXPLAINED = "unauthorized_unexplained"
    VALIDATOR_BROKEN = "validator_broken"
    REDIRECTED_TO_LOGIN = "redirected_to_login"
    INSUFFICIENT_SCOPE = "insufficient_scope"
    FORBIDDEN = "forbidden"
    STEP_UP_REQUIRED = "step_up_required"
    API_INVALID_REQUEST = "api_invalid_request"
    API_NOT_FOUND = "api_not_found"
    API_UNAVAILABLE = "api_unavailable"
    ASSERTION_FAILED = "assertion_failed"
    ENDPOINT_NOT_PROTECTED = "endpoint_not_protected"
    REFRESH_FAILED = "refresh_failed"
    REFRESH_NOT_ROTATED = "refresh_not_rotated"
    INTROSPECTION_INACTIVE = "introspection_inactive"
    REVOCATION_FAILED = "revocation_failed"
    REFRESH_REUSE_ACCEPTED = "refresh_reuse_accepted"
    INTROSPECTION_ACTIVE_AFTER_REVOKE = "introspection_active_after_revoke"
    REVOCATION_INEFFECTIVE = "revocation_ineffective"
    REJECTION_ACCEPTED = "rejection_accepted"
    KEY_URL_FETCHED = "key_url_fetched"
    ERROR_LEAK = "error_leak"
    REJECTION_SERVER_ERROR = "rejection_server_error"
    REJECTION_INCONCLUSIVE = "rejection_inconclusive"
    RATE_LIMIT_UNSEEN = "rate_limit_unseen"
    SAML_METADATA_INVALID = "saml_metadata_invalid"
    XML_DTD_FORBIDDEN = "xml_dtd_forbidden"
    XML_ENTITIES_FORBIDDEN = "xml_entities_forbidden"
    SAML_SIGNATURE_INVALID = "saml_signature_invalid"
    SAML_SIGNATURE_WRAPPED = "saml_signature_wrapped"
    SAML_CERTIFICATE_UNKNOWN = "saml_certificate_unknown"
    SAML_STATUS_NOT_SUCCESS = "saml_status_not_success"
    SAML_CONDITIONS_INVALID = "saml_conditions_invalid"
    CERTIFICATE_EXPIRED = "certificate_expired"
    CREDENTIAL_EXPIRED = "credential_expired"
    CERTIFICATE_EXPIRING = "certificate_expiring"
    CREDENTIAL_EXPIRING = "credential_expiring"
    PROVIDER_DEGRADED = "provider_degraded"
    PROVIDER_STATUS_UNKNOWN = "provider_status_unknown"
    ROTATION_UNSAFE = "rotation_unsafe"
    RETAINED_REFUSED = "retained_refused"
    DRIFT_DETECTED = "drift_detected"
    POSTURE_VIOLATED = "posture_violated"
    STATE_LOST = "state_lost"
    TOO_SLOW = "too_slow"
    CONFIG_ERROR = "config_error"
    SECRET_MISSING = "secret_missing"  # noqa: S105 - a reason, not a password
    PROBER_ERROR = "prober_error"
    PROBER_OVERLOADED = "prober_overloaded"


@dataclass(frozen=True, slots=True)
class Verdict:
    """One row of the table. `None` for blame or counts means: the owner, or the objective, of the step's layer."""

    blame: Blame | None
    counts: Counts | None
    help: str
    outcome: Outcome = Outcome.FAIL
    security: bool = False


def owner(layer: Layer) -> Blame:
    """Give the side that owns a layer: the API for its own calls, the identity provider for everything else."""
    return Blame.API if layer is Layer.API else Blame.PROVIDER


def objective(layer: Layer) -> Counts:
    """Give the objective that a failure owned by this layer spends; a dependency (a status page) spends none."""
    return {Layer.AUTH: Counts.AUTH, Layer.API: Counts.API, Layer.DEPENDENCY: Counts.NONE}[layer]


def _rows() -> dict[Reason, Verdict]:
    rows: dict[Reason, Verdict] = {}

    def group(
        blame: Blame | None,
        counts: Counts | None,
        helps: Mapping[Reason, str],
        *,
        outcome: Outcome = Outcome.FAIL,
        security: bool = False,
    ) -> None:
        for reason, text in helps.items():
            rows[reason] = Verdict(blame, counts, text, outcome, security)

    r, b, c = Reason, Blame, Counts
    group(
        b.NETWORK,
        None,
        {
            r.DNS_FAILURE: "The host name did not resolve from here. Check the name, then the resolver and the cluster's DNS.",
            r.CONNECT_TIMEOUT: "No answer to the TCP connection. Check routes, firewalls and network policies between the prober and the host.",
        },
    )
    group(
        None,
        None,
        {
            r.CONNECT_REFUSED: "The host is up but nothing listens on the port. Check that the service runs and the port is right.",
            r.CONNECTION_RESET: "The peer cut the connection. Check its logs, its load balancer and connection limits.",
            r.CONNECTION_CLOSED: "The peer closed the connection before it sent a status line. Check for a crash or an overloaded proxy in front of it.",
            r.READ_TIMEOUT: "The peer accepted the request and then sent nothing within the time-out. Check its load and its own dependencies.",
            r.DEADLINE_EXCEEDED: "The step's total deadline passed before the answer was complete. Check the waterfall for the phase that took the time.",
            r.HTTP_PROTOCOL_ERROR: "The answer was no valid HTTP, or was cut short. Check proxies and load balancers on the way.",
            r.RESPONSE_TOO_LARGE: "The answer was larger than the size cap. Check that the URL is the intended one; raise max_size only if it is.",
            r.REDIRECT_LOOP: "More redirects than allowed, or the same page again and again. Check the server's redirect rules, mostly http to https or a trailing slash.",
            r.REDIRECT_UNEXPECTED: "A redirect where none is followed. Check the URL; set redirects only if the redirect is meant.",
        },
    )
    group(
        b.EDGE,
        c.NONE,
        {
            r.PROXY_ERROR: "The configured proxy refused or failed. Check the proxy, its credentials and NO_PROXY; users may not be affected.",
        },
    )
    group(
        None,
        None,
        {
            r.TLS_CERT_EXPIRED: "The server's certificate has expired. Its owner must renew and reload it.",
            r.TLS_CERT_NOT_YET_VALID: "The server's certificate is not valid yet. Check its start date, then the prober's clock.",
            r.TLS_HOSTNAME_MISMATCH: "The certificate is for another host name. Check the URL and the certificate's subject alternative names.",
            r.TLS_SELF_SIGNED: "The certificate is self-signed. Its owner should use a trusted CA, or give the CA in http.ca_file.",
            r.TLS_UNTRUSTED_CA: "The chain does not end in a trusted CA, often because an intermediate is not sent. Check the served chain and ca_file.",
            r.TLS_PROTOCOL_ERROR: "Client and server agree on no TLS protocol, or the port speaks plain HTTP. Check the port and the server's TLS settings.",
            r.TLS_HANDSHAKE_FAILED: "The TLS handshake broke off. Check the server's TLS logs and whether it asks for a client certificate.",
        },
    )
    group(
        b.CONFIG,
        c.NONE,
        {
            r.CLIENT_CERT_REJECTED: "The server refused or missed the client certificate. Check client_cert, client_key and their expiry.",
        },
    )
    group(
        b.PROVIDER,
        c.AUTH,
        {
            r.DISCOVERY_UNAVAILABLE: "The discovery document did not come with status 200. Check the issuer URL, then the provider.",
            r.DISCOVERY_INVALID: "The discovery document is no JSON object or lacks required members. Check what serves that URL.",
            r.DISCOVERY_ISSUER_MISMATCH: "The document names another issuer than configured (exact, a trailing slash counts). Check both; clients will refuse it.",
            r.JWKS_UNAVAILABLE: "The key set did not come with status 200. Nobody can verify new tokens; check the provider's jwks_uri.",
            r.JWKS_INVALID: "The key set is no valid JWKS. Check what serves jwks_uri.",
            r.JWKS_EMPTY: "The key set holds no usable signing key. Check the provider's key configuration.",
            r.JWKS_PRIVATE_KEY_EXPOSED: "The key set publishes private key material. Treat the key as compromised and rotate it now.",
            r.KID_NOT_IN_JWKS: "The token is signed with a key that is not published. Check key rotation and caches in front of jwks_uri.",
            r.KID_WITHDRAWN_EARLY: "A key was withdrawn while tokens signed with it are still alive. Keep old keys published for the longest token lifetime.",
            r.IDP_HTTP_4XX: "The provider answered 4xx without an OAuth error. Check the endpoint URL and the provider's logs.",
            r.IDP_HTTP_5XX: "The provider answered 5xx. Check its status page and logs; this is an outage on its side.",
            r.IDP_ERROR: "The provider says it has an internal error or is temporarily unavailable. Check its status page and logs.",
            r.IDP_NOT_JSON: "The provider sent something else where JSON is due. Check what answers: a proxy, a maintenance page?",
            r.TOKEN_MISSING: "The answer was a success without a token in it. Check the path to the token and the provider's response.",
            r.TOKEN_TYPE_UNEXPECTED: "The token is of another type than expected. Check the client's settings at the provider.",
            r.EXPIRES_IN_INVALID: "expires_in is missing, not a number or outside what is expected. Check the token lifetime at the provider.",
            r.SCOPE_REDUCED: "Fewer scopes were granted than asked for. Check the client's allowed scopes at the provider.",
        },
    )
    group(
        b.CONFIG,
        c.NONE,
        {
            r.INVALID_CLIENT: "The provider refused the monitoring client. Check client_id, the secret's expiry and client_auth; a provider that does not decode Basic credentials needs client_secret_post.",
            r.UNAUTHORIZED_CLIENT: "The client may not use this grant; Keycloak says so of a wrong secret too. Check the client's secret and its allowed grants at the provider.",
            r.UNSUPPORTED_GRANT_TYPE: "The provider does not offer this grant. Check the flow's grant and the client's settings.",
            r.INVALID_SCOPE: "A requested scope is unknown or not allowed. Check scope in the flow file.",
            r.INVALID_REQUEST: "The provider misses or dislikes a parameter. Check the step's parameters (audience, resource, params).",
            r.ACCESS_DENIED: "The provider denied access to the monitoring client or user. Check its grants and policies; Keycloak denies so where the whole realm is switched off.",
            r.LOGIN_REQUIRED: "The provider wants an interactive log-in. Check the session, prompt and the user.",
            r.CONSENT_REQUIRED: "The provider wants consent from the user. Grant it once for the monitoring user.",
            r.MFA_REQUIRED: "The provider wants a second factor. Exempt the monitoring user or give it a TOTP secret.",
            r.OAUTH_ERROR_OTHER: "The provider answered with another OAuth error; the detail names its code.",
        },
    )
    group(
        None,
        None,
        {
            r.INVALID_GRANT: "The provider refused the grant: a wrong password, or a refresh token or code that should have worked. Blames the provider for refresh and code, the configuration otherwise.",
        },
    )
    group(
        b.EDGE,
        c.NONE,
        {
            r.IDP_RATE_LIMITED: "The provider limits the prober's rate; users may be fine. Lower the interval or set a budget.",
            r.API_RATE_LIMITED: "The API limits the prober's rate; users may be fine. Lower the interval or exempt the prober.",
            r.WAF_BLOCKED: "A firewall answered with a block page. Exempt the prober's address or user agent.",
            r.BOT_CHALLENGE: "A bot check wants a browser or a person. Exempt the prober's address or user agent.",
        },
    )
    group(
        b.PROBER,
        c.NONE,
        {
            r.BUDGET_EXHAUSTED: "The provider's request budget is used up, so nothing was asked. Raise budget or lower the interval.",
        },
        outcome=Outcome.ERROR,
    )
    group(
        b.PROVIDER,
        c.NONE,
        {
            r.SCOPE_EXCESS: "More scopes were granted than asked for. Reduce the client's default scopes (least privilege).",
        },
    )
    group(
        b.CONFIG,
        c.NONE,
        {
            r.LOGIN_FORM_NOT_FOUND: "No log-in form where one is expected. Check the form rules against the page.",
            r.JAVASCRIPT_REQUIRED: "The log-in page is made by JavaScript, or sends what was typed by it. Set browser: true on the step, or use a log-in without pages.",
            r.LOGIN_REJECTED: "The log-in was refused. Check the monitoring user's name, password and lock state.",
            r.MFA_CHALLENGE: "The log-in asks for a second factor. Exempt the monitoring user or give it a TOTP secret.",
        },
    )
    group(
        b.PROVIDER,
        c.AUTH,
        {
            r.STATE_MISMATCH: "The answer carries another state than was sent. Check for mixed-up sessions or an attack.",
            r.NONCE_MISMATCH: "The ID token carries another nonce than was sent. Check for replay or a broken provider.",
            r.ISSUER_PARAM_MISMATCH: "The iss parameter of the answer is not the configured issuer (RFC 9207). Check for a mix-up attack.",
            r.CODE_MISSING: "The authorization answer carries no code. Check the response type and mode.",
            r.TOKEN_MALFORMED: "The token cannot be parsed as a JWT. Check the provider and any proxy that rewrites bodies.",
            r.TOKEN_OPAQUE: "The token is opaque where a JWT is to be verified. Some providers need an audience to issue a JWT; else use introspect.",
            r.ALG_NONE: "The token is unsigned (alg none). Anyone can forge it; fix the provider's client settings now.",
            r.ALG_NOT_ALLOWED: "The token is signed with an algorithm outside the allow-list. Check the provider's signing algorithm and algorithms.",
            r.KEY_MISMATCH: "The published key does not fit the token's algorithm. Check the provider's key set.",
            r.KEY_UNUSABLE: "The key for this token cannot be used. Check its parameters in the key set.",
            r.SIGNATURE_INVALID: "The signature does not verify with the published key. Check key rotation, or look for tampering.",
            r.HEADER_UNEXPECTED: "The token's header is not as expected (typ, crit). Check the client's token profile at the provider.",
            r.CLAIM_MISSING: "A required claim is missing. Check the provider's claim mapping.",
            r.CLAIM_INVALID: "A claim has the wrong type. Check the provider's claim mapping.",
            r.CLAIM_MISMATCH: "A claim has another value than expected. Check the provider's claim mapping and the flow file.",
            r.EXPIRED: "The token has expired. Check its lifetime and, for a cached token, the cache.",
            r.EXPIRED_ON_ISSUE: "The token was expired the moment it was issued. Check the provider's clock and lifetime settings.",
            r.NOT_YET_VALID: "The token is not valid yet (nbf or iat in the future). Check the provider's clock.",
            r.ISSUER_MISMATCH: "The token names another issuer than configured. Check the provider's issuer and host settings.",
            r.AUDIENCE_MISMATCH: "The token is for another audience. Check the audience or resource asked for and the provider's mapping.",
        },
    )
    group(
        b.CONFIG,
        c.NONE,
        {
            r.TOKEN_ENCRYPTED: "The token (JWE) or SAML assertion is encrypted and cannot be opened with what is configured, so its content was not checked.",
        },
    )
    group(
        b.PROBER,
        c.NONE,
        {
            r.ALG_UNSUPPORTED: "otelprobe cannot verify this algorithm; nothing is known about the token.",
        },
        outcome=Outcome.ERROR,
    )
    group(
        b.PROVIDER,
        c.AUTH,
        {
            r.CLOCK_SKEW: "A clock is off so far that tokens fail. The detail names whose; check its time synchronisation.",
        },
    )
    group(
        b.PROVIDER,
        c.NONE,
        {
            r.LIFETIME_EXCESSIVE: "The token lives longer than policy allows. Shorten it at the provider.",
            r.ALG_WEAK: "A signature is made by an algorithm or a key that is too weak today (SHA-1, RSA below 2048 bits). Replace it at its owner.",
        },
    )
    group(
        b.API,
        c.AUTH,
        {
            r.API_REJECTS_VALID_TOKEN: "The API refuses a token that is good. Check its cached keys, expected issuer and audience, and its clock.",
            r.CREDENTIALS_NOT_SEEN: "The API says it saw no credential. Check proxies that strip the header, and the scheme it expects.",
            r.UNAUTHORIZED_UNEXPLAINED: "The API refuses a good token and gives no reason. Check its validator's logs; it should send a challenge (RFC 6750).",
            r.VALIDATOR_BROKEN: "The API answers 5xx when it has to validate a token, but not without one. Check its path to the provider's keys or introspection.",
            r.REDIRECTED_TO_LOGIN: "The API answers with a log-in page instead of data. Check that this route takes tokens and not sessions.",
        },
    )
    group(
        b.CONFIG,
        c.NONE,
        {
            r.INSUFFICIENT_SCOPE: "The token is good but lacks a scope for this route. Check scope in the flow file and the client's grants.",
            r.FORBIDDEN: "The token is good but may not do this. Check the roles of the monitoring client.",
            r.STEP_UP_REQUIRED: "The API wants a stronger log-in (RFC 9470). Check acr_values for this route.",
            r.API_INVALID_REQUEST: "The API calls the request invalid. Check the step's method, headers and body.",
        },
    )
    group(
        b.API,
        c.API,
        {
            r.API_NOT_FOUND: "The API does not know this URL. Check the URL, then the API's routing.",
            r.API_UNAVAILABLE: "The API fails with and without a token: it is down behind a working authentication. Check the API.",
        },
    )
    group(
        None,
        None,
        {
            r.ASSERTION_FAILED: "The answer came but is not what the flow file expects; the detail names the expectation.",
        },
    )
    group(
        b.API,
        c.NONE,
        {
            r.ENDPOINT_NOT_PROTECTED: "The API answers without any token. Anyone can call it; restore its authentication now.",
        },
        security=True,
    )
    group(
        b.PROVIDER,
        c.AUTH,
        {
            r.REFRESH_FAILED: "The refresh was refused for no known reason, or gave no token. Users will be logged out; check the provider.",
            r.REFRESH_NOT_ROTATED: "The refresh gave back the same refresh token though rotation is expected. Check the client's rotation setting.",
            r.INTROSPECTION_INACTIVE: "The provider calls a live token inactive. Check token storage and replication at the provider, and whether the token's aud names the client that asks: without that, Keycloak (26.6.2 and later) calls every token inactive.",
            r.REVOCATION_FAILED: "The provider refused to revoke the token. Check its revocation endpoint.",
        },
    )
    group(
        b.PROVIDER,
        c.NONE,
        {
            r.REFRESH_REUSE_ACCEPTED: "A refresh token works twice. Turn on rotation with reuse detection (RFC 9700).",
            r.INTROSPECTION_ACTIVE_AFTER_REVOKE: "A revoked token is still reported active. Check revocation and replication at the provider.",
        },
        security=True,
    )
    group(
        b.API,
        c.NONE,
        {
            r.REVOCATION_INEFFECTIVE: "The API still accepts a revoked token. Check introspection or lifetimes.",
            r.REJECTION_ACCEPTED: "A bad credential was accepted; the detail names the case. Treat as a security incident.",
            r.KEY_URL_FETCHED: "The API refused a token, but fetched the URL that its header names (jku, x5u): anyone can make it send requests (SSRF). Have its validator ignore these headers; see RFC 8725, section 3.10.",
            r.ERROR_LEAK: "Error answers tell an attacker what was wrong with a credential. Make them uniform.",
        },
        security=True,
    )
    group(
        b.API,
        c.NONE,
        {
            r.REJECTION_SERVER_ERROR: "The API answers 5xx to a bad credential instead of refusing it. Check its validator's error handling.",
        },
    )
    group(
        b.PROBER,
        c.NONE,
        {
            r.REJECTION_INCONCLUSIVE: "A good credential failed beside the bad ones, so their refusal proves nothing.",
        },
        outcome=Outcome.ERROR,
    )
    group(
        b.PROVIDER,
        c.AUTH,
        {
            r.SAML_METADATA_INVALID: "The SAML metadata is not valid. Check what serves the URL.",
            r.XML_DTD_FORBIDDEN: "The XML has a document type definition, which SAML has no use for: it was not read. Check what serves it, often a page or a proxy.",
            r.XML_ENTITIES_FORBIDDEN: "The XML declares entities, as in attacks that expand them without end (billion laughs) or read files: it was not read. Look for who put them there.",
            r.SAML_SIGNATURE_INVALID: "The SAML signature is missing or does not verify. Look for tampering.",
            r.SAML_SIGNATURE_WRAPPED: "The SAML signature is over something else than what it is on, or there is more than what is signed: so attackers put a log-in of their own beside a real one. Look for tampering.",
            r.SAML_CERTIFICATE_UNKNOWN: "The SAML signature is made with another certificate than those that are known. Check for a replaced certificate: service providers need it before it signs.",
            r.SAML_STATUS_NOT_SUCCESS: "The SAML response is no success. Check the identity provider's logs.",
            r.SAML_CONDITIONS_INVALID: "The SAML assertion's conditions do not hold (time, audience, destination). Check clocks and the service provider's settings.",
        },
    )
    group(
        None,
        None,
        {
            r.CERTIFICATE_EXPIRED: "A certificate has expired. Its owner must renew it.",
            r.CREDENTIAL_EXPIRED: "A credential has expired. Its owner must renew it.",
        },
    )
    group(
        None,
        c.NONE,
        {
            r.RATE_LIMIT_UNSEEN: "A burst of bad credentials met no rate limit, so that nothing slows down who guesses. Limit the rate of each client, and answer 429.",
            r.CERTIFICATE_EXPIRING: "A certificate expires soon. Plan its renewal.",
            r.CREDENTIAL_EXPIRING: "A credential expires soon. Plan its renewal.",
            r.PROVIDER_DEGRADED: "The provider's status page admits a problem.",
            r.PROVIDER_STATUS_UNKNOWN: "The provider's status page could not be read; that says nothing about the provider.",
        },
    )
    group(
        b.API,
        c.AUTH,
        {
            r.RETAINED_REFUSED: "The API refuses tokens of earlier runs that are still good, and takes a new one: old sessions are cut off. Check its cached keys, a restart that lost them, and revocation.",
        },
    )
    group(
        None,
        c.NONE,
        {
            r.ROTATION_UNSAFE: "Keys change faster than caches and tokens allow, so that clients with cached keys refuse good tokens. Publish a new key for the cache time before it signs, and keep the old one for the longest token lifetime plus the cache time.",
        },
    )
    group(
        b.PROVIDER,
        c.NONE,
        {
            r.DRIFT_DETECTED: "Something is not what it was: the detail names what. Check whether the change was planned; if it was not, look for what made it.",
        },
    )
    group(
        b.PROVIDER,
        c.NONE,
        {
            r.POSTURE_VIOLATED: "A posture rule is broken that the flow file wants kept. The detail names the rules; docs/posture.md says why each matters and how to mend it.",
        },
        security=True,
    )
    group(
        b.PROBER,
        c.NONE,
        {
            r.STATE_LOST: "What otelprobe remembers between runs could not be read or kept, so that checks that need it start anew. Check the state directory.",
        },
        outcome=Outcome.ERROR,
    )
    group(
        None,
        None,
        {
            r.TOO_SLOW: "The answer came but later than expected. The waterfall shows the phase that took the time.",
        },
    )
    group(
        b.CONFIG,
        c.NONE,
        {
            r.CONFIG_ERROR: "The flow file or the settings are wrong for this step; the detail names the mend.",
            r.SECRET_MISSING: "A secret could not be read. Check the mounted file or environment variable that the detail names.",
        },
        outcome=Outcome.ERROR,
    )
    group(
        b.PROBER,
        c.NONE,
        {
            r.PROBER_ERROR: "otelprobe itself failed. Please report it; nothing is known about the target.",
            r.PROBER_OVERLOADED: "The prober had no free worker in time. Raise workers, lower the load or shard.",
        },
        outcome=Outcome.ERROR,
    )
    return rows


VERDICTS: Mapping[Reason, Verdict] = MappingProxyType(_rows())
"""Every reason's row; complete by test."""


class CheckFailed(Exception):  # noqa: N818 - an expected result that travels as an exception, not an error of ours
    """A check did not pass: a reason for machines, a detail for people.

    `detail` never holds a secret, a body or a claim value that reasons.md does not allow. `blame` and `counts`
    override the table where the reason's row depends on the case. `problems` lists every reason found, this one first.
    """

    def __init__(
        self,
        reason: Reason,
        detail: str = "",
        *,
        blame: Blame | None = None,
        counts: Counts | None = None,
        problems: tuple[Reason, ...] = (),
    ) -> None:
        super().__init__(f"{reason.value}: {detail}" if detail else reason.value)
        self.reason = reason
        self.detail = detail
        self.blame = blame
        self.counts = counts
        self.problems = problems or (reason,)

    def assigned(self, layer: Layer) -> tuple[Outcome, Blame, Counts]:
        """Give the outcome, the blamed side and the spent objective for a step of `layer`."""
        row = VERDICTS[self.reason]
        return row.outcome, self.blame or row.blame or owner(layer), self.counts or row.counts or objective(layer)
