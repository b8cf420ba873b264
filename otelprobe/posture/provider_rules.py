"""Rules on what a provider says of itself in its discovery document."""

from collections.abc import Iterable, Iterator, Sequence

from otelprobe.posture.observations import Observations, is_plain
from otelprobe.posture.rule import Broken, Rule
from otelprobe.result import Severity
from otelprobe.tokens import shown

_SIGNING = (
    "id_token_signing_alg_values_supported",
    "userinfo_signing_alg_values_supported",
    "token_endpoint_auth_signing_alg_values_supported",
    "introspection_signing_alg_values_supported",
    "authorization_signing_alg_values_supported",
)
_BROKEN_ALGORITHMS = frozenset({"RS1", "HS1", "RSA1_5", "ES1"})
_STRONG_CLIENTS = frozenset({"private_key_jwt", "tls_client_auth", "self_signed_tls_client_auth"})


def _lists(seen: Observations, members: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Give every value of these lists, each with the list that it stands in."""
    for member in members:
        for value in seen.listed(member) or ():
            yield member, value


def _none_advertised(seen: Observations) -> Iterable[Broken] | None:
    if seen.document is None:
        return None
    return [(seen.provider, f"{m} lists none") for m, value in _lists(seen, _SIGNING) if value.lower() == "none"]


def _unsigned_requests(seen: Observations) -> Iterable[Broken] | None:
    values = seen.listed("request_object_signing_alg_values_supported")
    if values is None:
        return None
    return [(seen.provider, "request_object_signing_alg_values_supported lists none")] if "none" in values else []


def _broken_advertised(seen: Observations) -> Iterable[Broken] | None:
    if seen.document is None:
        return None
    lists = [name for name in seen.document if "_alg_values_" in name]
    return [(seen.provider, f"{shown(m)} lists {v}") for m, v in _lists(seen, lists) if v in _BROKEN_ALGORITHMS]


def _symmetric_advertised(seen: Observations) -> Iterable[Broken] | None:
    values = seen.listed("id_token_signing_alg_values_supported")
    if values is None:
        return None
    found = [value for value in values if value.startswith("HS")]
    return [(seen.provider, f"ID tokens may be signed with {', '.join(map(shown, found[:5]))}")] if found else []


def _pkce_plain(seen: Observations) -> Iterable[Broken] | None:
    values = seen.listed("code_challenge_methods_supported")
    if values is None:
        return None
    return [(seen.provider, "code_challenge_methods_supported lists plain")] if "plain" in values else []


def _gives_codes(seen: Observations) -> bool:
    document = seen.document or {}
    responses = seen.listed("response_types_supported") or ()
    return "authorization_endpoint" in document and (not responses or any("code" in r.split() for r in responses))


def _pkce_missing(seen: Observations) -> Iterable[Broken] | None:
    values = seen.listed("code_challenge_methods_supported")
    if values is None or not _gives_codes(seen):
        return None
    return [] if "S256" in values else [(seen.provider, "code_challenge_methods_supported does not list S256")]


def _implicit(seen: Observations) -> Iterable[Broken] | None:
    responses, grants = seen.listed("response_types_supported"), seen.listed("grant_types_supported")
    if responses is None or grants is None:
        return None
    fragments = [response for response in responses if "token" in response.split()]
    told = [f"response_types_supported lists {', '.join(map(shown, fragments[:5]))}"] if fragments else []
    told += ["grant_types_supported lists implicit"] if "implicit" in grants else []
    return [(seen.provider, words) for words in told]


def _password(seen: Observations) -> Iterable[Broken] | None:
    grants = seen.listed("grant_types_supported")
    if grants is None:
        return None
    return [(seen.provider, "grant_types_supported lists password")] if "password" in grants else []


def _weak_clients(seen: Observations) -> Iterable[Broken] | None:
    methods = seen.listed("token_endpoint_auth_methods_supported")
    if methods is None:
        return None
    if _STRONG_CLIENTS & set(methods):
        return []
    return [(seen.provider, "neither private_key_jwt nor mutual TLS is offered to clients")]


def _client_post(seen: Observations) -> Iterable[Broken] | None:
    if seen.client_auth is None:
        return None
    posted = seen.client_auth == "client_secret_post"
    return [(seen.provider, "the flow's client sends its secret in the body")] if posted else []


def _no_issuer_parameter(seen: Observations) -> Iterable[Broken] | None:
    if seen.document is None or not _gives_codes(seen):
        return None
    if seen.document.get("authorization_response_iss_parameter_supported") is True:
        return []
    return [(seen.provider, "authorization_response_iss_parameter_supported is not true")]


def _not_bound(seen: Observations) -> Iterable[Broken] | None:
    if seen.document is None:
        return None
    bound = seen.listed("dpop_signing_alg_values_supported") or (
        seen.document.get("tls_client_certificate_bound_access_tokens") is True
    )
    return [] if bound else [(seen.provider, "neither DPoP nor certificate-bound access tokens are offered")]


def _plain_endpoints(seen: Observations) -> Iterable[Broken] | None:
    if seen.document is None:
        return None
    named = {n: v for n, v in seen.document.items() if n == "issuer" or n.endswith(("_endpoint", "_uri"))}
    found = [shown(name) for name, url in named.items() if is_plain(url)]
    return [(seen.provider, f"plain http: {', '.join(found[:10])}")] if found else []


def _insecure_option(seen: Observations) -> Iterable[Broken]:
    return [(seen.provider, "the flow file sets insecure_http: true")] if seen.insecure_http else []


_HIGH, _MEDIUM, _LOW, _INFO = Severity.HIGH, Severity.MEDIUM, Severity.LOW, Severity.INFO

PROVIDER_RULES = (
    Rule(
        id="alg-none-advertised",
        severity=_HIGH,
        side="provider",
        source="RFC 8725, section 3.2",
        why="A token without a signature can be written by anyone, and a client may ask for one.",
        mend="Take none out of the algorithms that the provider signs and accepts.",
        check=_none_advertised,
    ),
    Rule(
        id="request-object-unsigned",
        severity=_LOW,
        side="provider",
        source="RFC 9101, section 10.1",
        why="An unsigned request object protects nothing that it carries.",
        mend="Accept signed request objects only, or none at all.",
        check=_unsigned_requests,
    ),
    Rule(
        id="alg-broken-advertised",
        severity=_HIGH,
        side="provider",
        source="RFC 8725, sections 3.2 and 3.3",
        why="SHA-1 and RSAES-PKCS1-v1_5 have known attacks.",
        mend="Take RS1, HS1 and RSA1_5 out of the provider's lists.",
        check=_broken_advertised,
    ),
    Rule(
        id="alg-symmetric-advertised",
        severity=_LOW,
        side="provider",
        source="RFC 8725, section 3.1",
        why="Who can verify an HS signature can also make one, so that clients could impersonate the provider to each other.",
        mend="Sign ID tokens with RS256, PS256, ES256 or EdDSA only.",
        check=_symmetric_advertised,
    ),
    Rule(
        id="pkce-plain",
        severity=_MEDIUM,
        side="provider",
        source="RFC 9700, section 2.1.1",
        why="With plain, who sees the authorization request can redeem the code.",
        mend="Offer S256 only.",
        check=_pkce_plain,
    ),
    Rule(
        id="pkce-missing",
        severity=_MEDIUM,
        side="provider",
        source="RFC 9700, section 2.1.1",
        why="Without PKCE a stolen or injected authorization code can be redeemed.",
        mend="Support PKCE with S256, list it in the discovery document, and require it of public clients.",
        check=_pkce_missing,
    ),
    Rule(
        id="grant-implicit",
        severity=_MEDIUM,
        side="provider",
        source="RFC 9700, section 2.1.2",
        why="Access tokens in a redirect leak by history, logs and referrers, and can be injected.",
        mend="Switch the implicit grant and response types with token off; use the code with PKCE.",
        check=_implicit,
    ),
    Rule(
        id="grant-password",
        severity=_MEDIUM,
        side="provider",
        source="RFC 9700, section 2.4",
        why="It hands people's passwords to applications, and leaves no room for a second factor.",
        mend="Switch the password grant off; use the code with PKCE, or client credentials for machines.",
        check=_password,
    ),
    Rule(
        id="client-auth-shared-secrets",
        severity=_LOW,
        side="provider",
        source="RFC 9700, section 2.5",
        why="A shared secret can leak on either side; a key stays with the client.",
        mend="Offer private_key_jwt or mutual TLS.",
        check=_weak_clients,
    ),
    Rule(
        id="client-secret-in-body",
        severity=_INFO,
        side="provider",
        source="RFC 6749, section 2.3.1",
        why="Request bodies are logged more often than the Authorization header.",
        mend="Use private_key_jwt, mutual TLS, or at least client_secret_basic for this client.",
        check=_client_post,
    ),
    Rule(
        id="issuer-parameter-missing",
        severity=_LOW,
        side="provider",
        source="RFC 9207; RFC 9700, section 4.4.2",
        why="A client of several providers cannot tell which one answered, which mix-up attacks use.",
        mend="Send iss in authorization responses and say so in the discovery document.",
        check=_no_issuer_parameter,
    ),
    Rule(
        id="tokens-not-bound",
        severity=_INFO,
        side="provider",
        source="RFC 9700, section 2.2.1",
        why="A bearer token works for whoever has stolen it.",
        mend="Offer DPoP (RFC 9449) or certificate-bound access tokens (RFC 8705).",
        check=_not_bound,
    ),
    Rule(
        id="endpoint-plain-http",
        severity=_HIGH,
        side="provider",
        source="RFC 9700, section 2.6; RFC 8414, section 2",
        why="What goes over plain http can be read and changed on the way.",
        mend="Serve every endpoint by https, and name it so in the discovery document.",
        check=_plain_endpoints,
    ),
    Rule(
        id="insecure-http-allowed",
        severity=_MEDIUM,
        side="provider",
        source="OWASP ASVS 5.0, V12.2",
        why="The prober itself may send credentials over plain http.",
        mend="Take insecure_http out of the flow file once the hosts speak https.",
        check=_insecure_option,
    ),
)
