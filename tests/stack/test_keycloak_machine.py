"""Machines at Keycloak: signed client authentication, DPoP, token exchange and assertions as grants, healthy and refused."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from otelprobe.clock import SystemClock
from otelprobe.config.load import load
from otelprobe.http import LiveHttp
from otelprobe.plan import build
from otelprobe.reasons import Blame, Outcome, Reason
from otelprobe.result import Fact, FlowResult
from otelprobe.run import Tools, run_flow
from otelprobe.tokens import public_jwk
from tests.flow_kit import passed, step, verdict
from tests.signing_kit import pem
from tests.stack.harness import keycloak as kc
from tests.stack.harness.keycloak_admin import Admin
from tests.stack.servers import Keycloaks
from tests.token_kit import signing_key

_SIGNER = {"key": {"env": "SIGNING_KEY"}, "kid": "probe-1"}
_ORDERS = {
    "name": "audience-orders",
    "protocol": "openid-connect",
    "protocolMapper": "oidc-audience-mapper",
    "config": {"included.custom.audience": "orders", "access.token.claim": "true"},
}


def _client(name: str, authenticator: str, **attributes: str) -> dict[str, Any]:
    return {
        "clientId": name,
        "clientAuthenticatorType": authenticator,
        "secret": kc.SECRET,
        "serviceAccountsEnabled": True,
        "standardFlowEnabled": False,
        "attributes": attributes,
        "protocolMappers": [_ORDERS],
    }


def _assertions() -> dict[str, Any]:
    """Give the trust in whoever signs assertions about users (RFC 7523, section 2.1)."""
    key = signing_key("RS256").public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    config = {
        "issuer": "https://signer.example",
        "useJwksUrl": "false",
        "publicKeySignatureVerifier": key,
        "jwtAuthorizationGrantEnabled": "true",
        "jwtAuthorizationGrantAssertionSignatureAlg": "RS256",
    }
    return {"alias": "assertions", "providerId": "jwt-authorization-grant", "enabled": True, "config": config}


@pytest.fixture(scope="module")
def issuer(keycloaks: Keycloaks) -> Iterator[str]:
    """Give the issuer of a realm whose clients sign, are bound to keys, and exchange tokens."""
    jwks = json.dumps({"keys": [{**public_jwk(signing_key("ES256")), "kid": "probe-1", "use": "sig", "alg": "ES256"}]})
    admin = Admin(keycloaks.get())
    yield admin.make_realm(
        "machines",
        clients=[
            _client("signer", "client-jwt", **{"use.jwks.string": "true", "jwks.string": jwks}),
            _client("secret-signer", "client-secret-jwt"),
            _client("bound", "client-secret", **{"dpop.bound.access.tokens": "true"}),
            _client("exchanger", "client-secret", **{"standard.token.exchange.enabled": "true"}),
            _client("plain", "client-secret"),
            _client(
                "granted",
                "client-secret",
                **{
                    "oauth2.jwt.authorization.grant.enabled": "true",
                    "oauth2.jwt.authorization.grant.idp": "assertions",
                },
            ),
        ],
        identityProviders=[_assertions()],
        users=[
            {
                "username": "ann",
                "enabled": True,
                "email": "ann@example.com",
                "firstName": "Ann",
                "lastName": "Example",
                "federatedIdentities": [{"identityProvider": "assertions", "userId": "ann-1", "userName": "ann"}],
            }
        ],
    )
    admin.close()


@pytest.fixture(autouse=True)
def _secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEYCLOAK_SECRET", kc.SECRET)
    monkeypatch.setenv("SIGNING_KEY", pem("ES256"))


def run(folder: Path, issuer: str, provider: Mapping[str, Any], *steps: str | Mapping[str, Any]) -> FlowResult:
    """Run one flow of these steps, behind discover and keys."""
    flow = {"name": "machine", "provider": "corp", "deadline": "30s", "steps": ["discover", "keys", *steps]}
    text = yaml.safe_dump({"providers": {"corp": {"issuer": issuer, **provider}}, "flows": [flow]})
    (folder / "flow.yaml").write_text(text, encoding="utf-8")
    (plan,) = build(load([folder / "flow.yaml"]))
    return run_flow(plan, Tools(http=LiveHttp(SystemClock())))


_VERIFY = {"step": "verify", "audience": "orders"}
_SECRET = {"client_secret": {"env": "KEYCLOAK_SECRET"}}


@pytest.mark.parametrize("audience", ["token_endpoint", "issuer"])
def test_private_key_jwt(issuer: str, tmp_path: Path, audience: str) -> None:
    """A client with a key and no secret gets a token; either audience is taken; introspection authenticates alike."""
    provider = {"client_id": "signer", "client_assertion": {**_SIGNER, "audience": audience}}
    result = run(tmp_path, issuer, provider, "token", _VERIFY)
    assert passed(result)
    assert step(result, "token").facts[Fact.ISSUANCE_CLIENT_AUTH] == "private_key_jwt"


def test_a_wrong_key(issuer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that Keycloak does not know is the configuration's fault."""
    monkeypatch.setenv("SIGNING_KEY", pem("ES256", 1))
    result = run(tmp_path, issuer, {"client_id": "signer", "client_assertion": _SIGNER}, "token")
    assert (result.failed_step, result.reason, result.blame) == ("token", Reason.INVALID_CLIENT, Blame.CONFIG)


def test_client_secret_jwt(issuer: str, tmp_path: Path) -> None:
    """The secret signs and is not sent."""
    provider = {"client_id": "secret-signer", "client_auth": "client_secret_jwt", **_SECRET}
    assert passed(run(tmp_path, issuer, provider, "token", _VERIFY))


def test_dpop(issuer: str, tmp_path: Path) -> None:
    """A token is bound to a fresh key and opens userinfo with a proof."""
    provider = {"client_id": "bound", "dpop": {}, **_SECRET}
    token = {"step": "token", "scope": "openid", "expect": {"bound_to": "dpop"}}
    result = run(tmp_path, issuer, provider, token, _VERIFY, "userinfo")
    assert passed(result)


def test_a_proof_is_missing(issuer: str, tmp_path: Path) -> None:
    """A client that has to bind its tokens and does not: the configuration's fault."""
    result = run(tmp_path, issuer, {"client_id": "bound", **_SECRET}, "token")
    assert verdict(result)[:3] == ("token", Reason.INVALID_REQUEST, Blame.CONFIG), result.detail


def test_token_exchange(issuer: str, tmp_path: Path) -> None:
    """Standard token exchange: the same client narrows its own token; the issued type is told."""
    exchange = {
        "step": "token",
        "name": "exchange",
        "grant": "token_exchange",
        "subject": "token",
        "requested_token_type": "access_token",
    }
    result = run(tmp_path, issuer, {"client_id": "exchanger", **_SECRET}, "token", exchange, _VERIFY)
    assert passed(result)


@pytest.mark.parametrize(
    ("client", "more", "reason"),
    [
        ("plain", {}, Reason.INVALID_REQUEST),
        ("exchanger", {"audience": "nobody"}, Reason.INVALID_CLIENT),
        ("exchanger", {"requested_token_type": "saml1"}, Reason.INVALID_REQUEST),
    ],
)
def test_a_refused_exchange(issuer: str, tmp_path: Path, client: str, more: dict[str, str], reason: Reason) -> None:
    """A client that may not exchange, an unknown audience, a type that is not issued: the configuration's fault."""
    exchange = {"step": "token", "name": "exchange", "grant": "token_exchange", **more}
    result = run(tmp_path, issuer, {"client_id": client, **_SECRET}, "token", exchange)
    assert (result.outcome, result.failed_step, result.blame) == (Outcome.FAIL, "exchange", Blame.CONFIG)
    assert result.reason is reason, result.detail


def _grant(issuer: str, **claims: str) -> dict[str, Any]:
    parties = {"iss": "https://signer.example", "sub": "ann-1", "aud": issuer, **claims}
    return {"step": "token", "grant": "jwt_bearer", "sign": {"key": {"env": "ASSERTION_KEY"}, "claims": parties}}


def test_jwt_bearer(issuer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An assertion about a user, signed by whom Keycloak trusts, gives a token of that user's."""
    monkeypatch.setenv("ASSERTION_KEY", pem("RS256"))
    verify = {**_VERIFY, "claims": {"azp": "granted", "sub": {"exists": True}}}
    assert passed(run(tmp_path, issuer, {"client_id": "granted", **_SECRET}, _grant(issuer), verify))


@pytest.mark.parametrize(
    ("which", "claims"), [(1, {}), (0, {"sub": "nobody"}), (0, {"iss": "https://other.example"}), (0, {"aud": "x"})]
)
def test_a_refused_assertion(
    issuer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, which: int, claims: dict[str, str]
) -> None:
    """A wrong key, an unknown user, an issuer that is not trusted, another audience: the configuration's fault."""
    monkeypatch.setenv("ASSERTION_KEY", pem("RS256", which))
    result = run(tmp_path, issuer, {"client_id": "granted", **_SECRET}, _grant(issuer, **claims))
    assert verdict(result)[:3] == ("token", Reason.INVALID_GRANT, Blame.CONFIG), result.detail
