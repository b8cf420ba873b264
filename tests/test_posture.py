"""Posture rules: each is broken by what it is about, and by nothing else."""

from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from otelprobe.posture import RULES, Answered, Observations, PosturePolicy, Waiver, judge
from otelprobe.posture.policy import ORDER, at_least
from otelprobe.posture.reference import posture_markdown
from otelprobe.posture.rules import BY_ID
from otelprobe.result import Severity
from otelprobe.tokens import Jwt, parse_key_set, public_jwk
from tests.token_kit import CANARY, GOOD, NOW, certificate, jwk

ORIGIN = "https://origin.example.com"
DOCUMENT: dict[str, Any] = {
    "issuer": "https://login.example.com",
    "authorization_endpoint": "https://login.example.com/authorize",
    "token_endpoint": "https://login.example.com/token",
    "jwks_uri": "https://login.example.com/jwks",
    "response_types_supported": ["code"],
    "grant_types_supported": ["authorization_code", "refresh_token"],
    "id_token_signing_alg_values_supported": ["ES256"],
    "request_object_signing_alg_values_supported": ["ES256"],
    "code_challenge_methods_supported": ["S256"],
    "token_endpoint_auth_methods_supported": ["private_key_jwt"],
    "authorization_response_iss_parameter_supported": True,
    "dpop_signing_alg_values_supported": ["ES256"],
}
HEADERS = (
    ("Strict-Transport-Security", "max-age=31536000; includeSubDomains"),
    ("Cache-Control", "no-store"),
    ("Set-Cookie", "__Host-session=x; Path=/; Secure; HttpOnly; SameSite=Lax"),
    ("RateLimit", '"default";r=50;t=30'),
    ("Server", "nginx"),
)


def answered(status: int, *headers: tuple[str, str], text: str = "", without: str = "") -> Answered:
    """Give an answer with good headers besides these."""
    kept = tuple(pair for pair in HEADERS if pair[0] != without)
    return Answered("api.example.com", True, status, (*headers, *kept), text)


def jwt(header: dict[str, Any] | None = None, **changes: Any) -> Jwt:
    claims = {k: v for k, v in {**GOOD, "sub": "orders-service", **changes}.items() if v is not ...}
    return Jwt("h.p.s", {"typ": "at+jwt", "alg": "ES256", "kid": "k1", **(header or {})}, claims)


REFUSAL = answered(401, ("WWW-Authenticate", 'Bearer error="invalid_token"'))
GOODS = Observations(
    now=NOW,
    issuer="https://login.example.com",
    document=DOCUMENT,
    client_auth="private_key_jwt",
    keys=parse_key_set({"keys": [jwk(alg="ES256", use="sig")]}),
    key_cache=600.0,
    key_age=86400.0,
    shared_keys=(),
    token=jwt(),
    id_token=jwt({"typ": "JWT"}),
    jti_repeated=False,
    tls=(("login.example.com", "1.3"),),
    refused_grant=answered(400),
    login_page=answered(400),
    plain_http=(Answered("login.example.com", False, 301, (("Location", "https://login.example.com/"),)),),
    api_host="api.example.com",
    api=answered(200),
    api_refusal=REFUSAL,
    preflight=Answered("api.example.com", True, 204, (("Access-Control-Allow-Origin", "https://shop.example.com"),)),
    origin=ORIGIN,
)


def document(**changes: Any) -> dict[str, Any]:
    return {"document": {k: v for k, v in {**DOCUMENT, **changes}.items() if v is not ...}}


def keys(*jwks: dict[str, Any]) -> dict[str, Any]:
    return {"keys": parse_key_set({"keys": list(jwks)})}


def cors(**headers: str) -> dict[str, Any]:
    lines = tuple((f"Access-Control-Allow-{name}", value) for name, value in headers.items())
    return {"preflight": Answered("api.example.com", True, 204, lines)}


WEAK = public_jwk(rsa.generate_private_key(65537, 1024), kid="weak")
BROKEN: list[tuple[str, dict[str, Any]]] = [
    ("alg-none-advertised", document(id_token_signing_alg_values_supported=["ES256", "none"])),
    ("request-object-unsigned", document(request_object_signing_alg_values_supported=["none", "ES256"])),
    ("alg-broken-advertised", document(id_token_encryption_alg_values_supported=["RSA1_5"])),
    ("alg-symmetric-advertised", document(id_token_signing_alg_values_supported=["ES256", "HS256"])),
    ("pkce-plain", document(code_challenge_methods_supported=["plain", "S256"])),
    ("pkce-missing", document(code_challenge_methods_supported=...)),
    ("grant-implicit", document(response_types_supported=["code", "id_token token"])),
    ("grant-implicit", document(grant_types_supported=["implicit"])),
    ("grant-password", document(grant_types_supported=["password"])),
    ("client-auth-shared-secrets", document(token_endpoint_auth_methods_supported=["client_secret_basic"])),
    ("client-secret-in-body", {"client_auth": "client_secret_post"}),
    ("issuer-parameter-missing", document(authorization_response_iss_parameter_supported=...)),
    ("tokens-not-bound", document(dpop_signing_alg_values_supported=...)),
    ("endpoint-plain-http", document(token_endpoint="http://login.example.com/token")),
    ("insecure-http-allowed", {"insecure_http": True}),
    ("key-private-exposed", keys(jwk(alg="ES256", use="sig", d="c2VjcmV0"))),
    ("key-weak", keys({**WEAK, "use": "sig", "alg": "RS256"})),
    ("kid-missing", keys(jwk(kid=None, alg="ES256", use="sig"))),
    ("kid-repeated", keys(jwk(alg="ES256", use="sig"), jwk(which=1, alg="ES256", use="sig"))),
    ("key-without-use", keys(jwk(alg="ES256"))),
    ("key-without-alg", keys(jwk(use="sig"))),
    ("jwks-cache", {"key_cache": None}),
    ("jwks-cache", {"key_cache": 7 * 86400.0}),
    ("key-old", {"key_age": 400 * 86400.0}),
    ("key-shared", {"shared_keys": (("k1", "login.staging.example.com"),)}),
    ("key-certificate-ended", keys(jwk(alg="ES256", use="sig", x5c=[certificate(NOW - 1)]))),
    ("token-alg-broken", {"token": jwt({"alg": "none"})}),
    ("token-alg-symmetric", {"token": jwt({"alg": "HS256"})}),
    ("token-claims-missing", {"token": jwt(jti=..., aud=...)}),
    ("token-lifetime", {"token": jwt(exp=NOW + 7200)}),
    ("token-lifetime", {"token": jwt(exp=...)}),
    ("jti-repeated", {"jti_repeated": True}),
    ("token-personal-data", {"token": jwt(contact=f"{CANARY}@example.com")}),
    ("token-personal-data", {"token": jwt(given_name=CANARY)}),
    ("token-personal-data", {"token": jwt(profile={"card": "4111 1111 1111 1111"})}),
    ("token-personal-data", {"token": jwt(account="DE89370400440532013000")}),
    ("token-personal-data", {"token": jwt(call="+49 30 1234567")}),
    ("token-secret-claim", {"token": jwt(db_password=CANARY)}),
    ("token-large", {"token": Jwt("x" * 5000, jwt().header, jwt().claims)}),
    ("token-nested", {"token": jwt(a={"b": {"c": {"d": 1}}})}),
    ("token-nested", {"token": jwt(**{f"c{n}": n for n in range(60)})}),
    ("token-untyped", {"token": jwt({"typ": "JWT"})}),
    ("token-key-in-header", {"token": jwt({"jku": "https://evil.example.com"})}),
    ("token-kid-missing", {"token": Jwt("h.p.s", {"typ": "at+jwt", "alg": "ES256"}, jwt().claims)}),
    ("tls-old", {"tls": (("login.example.com", "1.1"),)}),
    ("tls-without-1-3", {"tls": (("login.example.com", "1.2"),)}),
    ("hsts-missing", {"api": answered(200, without="Strict-Transport-Security")}),
    (
        "hsts-missing",
        {"api": answered(200, ("Strict-Transport-Security", "max-age=60"), without="Strict-Transport-Security")},
    ),
    ("plain-http-served", {"plain_http": (Answered("login.example.com", False, 200, ()),)}),
    ("plain-http-served", {"plain_http": (Answered("h", False, 302, (("Location", "http://h/x"),)),)}),
    ("cookie-http-only", {"login_page": answered(200, ("Set-Cookie", "a=b; Secure; SameSite=Lax"))}),
    ("cookie-secure", {"login_page": answered(200, ("Set-Cookie", "a=b; HttpOnly; SameSite=Strict"))}),
    ("cookie-same-site", {"login_page": answered(200, ("Set-Cookie", "a=b; HttpOnly; Secure; samesite=None"))}),
    ("cors-any-origin", cors(Origin=ORIGIN)),
    ("cors-any-origin", cors(Origin="*", Headers="Authorization, X-Other")),
    ("cors-credentials", cors(Origin="null", Credentials="true")),
    ("grant-cached", {"refused_grant": answered(400, without="Cache-Control")}),
    ("api-cached", {"api": answered(200, ("Cache-Control", "public, max-age=60"), without="Cache-Control")}),
    ("provider-error-leak", {"refused_grant": answered(500, text="Traceback (most recent call last):\n  File")}),
    ("provider-error-leak", {"login_page": answered(400, text="x\n\tat org.keycloak.Foo.bar(Foo.java:12)\n")}),
    ("api-error-leak", {"api_refusal": replace(REFUSAL, text='{"error":"JsonWebTokenError: jwt malformed"}')}),
    ("api-error-leak", {"api_refusal": replace(REFUSAL, text="ORA-01017: invalid username")}),
    ("version-banner", {"api": answered(200, ("X-Powered-By", "PHP/8.1.2"))}),
    ("challenge-missing", {"api_refusal": answered(401)}),
    ("grant-not-refused", {"refused_grant": answered(200)}),
    ("provider-rate-limit-unseen", {"refused_grant": answered(400, without="RateLimit")}),
    (
        "api-rate-limit-unseen",
        {
            "api": answered(200, without="RateLimit"),
            "api_refusal": answered(401, ("WWW-Authenticate", "Bearer"), without="RateLimit"),
        },
    ),
]
TOGETHER = {"grant-not-refused", "provider-error-leak", "token-lifetime"}
"""Rules whose sample answers break another one as well."""


def test_what_is_good_breaks_no_rule_and_every_rule_has_looked() -> None:
    """A provider and an API that do everything well have no finding, with nothing left out of sight."""
    judged = judge(GOODS, PosturePolicy())
    assert judged.findings == ()
    assert judged.looked == len(RULES)


@pytest.mark.parametrize(("rule", "changes"), BROKEN, ids=lambda value: value if isinstance(value, str) else "")
def test_each_rule_is_broken_by_what_it_is_about(rule: str, changes: dict[str, Any]) -> None:
    """One thing that is wrong breaks its rule, and its words hold no claim's value."""
    found = judge(replace(GOODS, **changes), PosturePolicy()).findings
    broken = {finding.rule for finding in found}
    assert rule in broken
    assert broken == {rule} or rule in TOGETHER
    assert CANARY not in repr(found)
    assert "4111" not in repr(found)


def test_every_rule_has_a_sample_and_its_words() -> None:
    """No rule that nobody has seen broken; ids are unique, and each says why, how to mend it and where it comes from."""
    assert {rule for rule, _ in BROKEN} == set(BY_ID)
    assert len(BY_ID) == len(RULES)
    for rule in RULES:
        assert rule.why.endswith("."), rule.id
        assert rule.mend.endswith("."), rule.id
        assert rule.source, rule.id
        assert f"`{rule.id}`" in posture_markdown()


def test_what_was_not_seen_is_not_judged() -> None:
    """Without a document, keys, tokens and answers only what the flow file says can be looked at."""
    judged = judge(Observations(now=NOW), PosturePolicy())
    assert (judged.findings, judged.looked) == ((), 1)


def test_policy_waives_and_weighs() -> None:
    """A waived rule is told with its reason and counts for nothing; another severity changes the order."""
    seen = replace(GOODS, **document(grant_types_supported=["password", "implicit"]))
    policy = PosturePolicy(
        ignore=(Waiver(rule="grant-implicit", reason="legacy portal"),), severity={"grant-password": Severity.HIGH}
    )
    found = judge(seen, policy).findings
    assert [(f.rule, f.severity, f.waived) for f in found] == [
        ("grant-password", Severity.HIGH, None),
        ("grant-implicit", Severity.MEDIUM, "legacy portal"),
    ]
    assert [len(at_least(found, severity)) for severity in ORDER] == [1, 1, 1, 1]


def test_a_policy_names_rules_that_exist_and_gives_reasons() -> None:
    """A waiver without a reason, and a rule that there is not, are refused."""
    policy = PosturePolicy(ignore=(Waiver(rule="x", reason=" "),), severity={"y": Severity.LOW})
    assert [member for member, _ in policy.faults()] == ["ignore.0.rule", "ignore.0.reason", "severity"]
