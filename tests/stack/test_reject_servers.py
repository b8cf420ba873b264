"""Bad requests to real providers: what the step says of each is what the provider does with the test's own."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from otelprobe.tokens import public_jwk
from tests.matrix import PROVIDERS, compare, hold
from tests.matrix_flows import found
from tests.person_by_hand import CODES, PersonByHand
from tests.provider_by_hand import ByHand, stranger
from tests.signing_kit import pem
from tests.stack import test_oidc_provider_machine as machine
from tests.stack import test_oidc_provider_people as people
from tests.stack.harness import keycloak as kc
from tests.stack.harness import oidc_provider as op
from tests.stack.harness.keycloak_admin import Admin
from tests.stack.harness.oidc_provider import OidcProvider, Provider
from tests.stack.servers import Keycloaks, told_in_one_line
from tests.token_kit import signing_key

URI = "https://app.example.com/cb"
SECRET = {"client_secret": {"env": "CLIENT_SECRET"}}
REJECT: dict[str, Any] = {"step": "reject_at_provider", "cases": ["safe", "slow"], "max_requests": 40, "every": "1ms"}
ASSERTIONS = ("replayed", "expired", "other_audience", "unsigned", "other_key")
PROOFS = ("replayed", "twice", "wrong_method", "wrong_url", "wrong_type", "private_key", "unsigned", "old", "early")
SIGNER = {"client_id": "signer", "client_assertion": {"key": {"env": "SIGNING_KEY"}, "kid": "probe-1"}}
PERSON = {"grant": "password", "username": "ann", "password": {"env": "PASSWORD"}, "scope": "openid"}


def named(prefix: str, names: tuple[str, ...]) -> tuple[str, ...]:
    """Give the names of cases."""
    return tuple(f"{prefix}{name}" for name in names)


def _client(name: str, **more: Any) -> dict[str, Any]:
    return {
        "clientId": name,
        "secret": kc.SECRET,
        "serviceAccountsEnabled": True,
        "directAccessGrantsEnabled": True,
        "redirectUris": [URI],
        "clientAuthenticatorType": "client-secret",
        **more,
    }


@pytest.fixture(scope="module")
def issuer(keycloaks: Keycloaks) -> Iterator[str]:
    """Give the issuer of a Keycloak realm that rotates refresh tokens, whose clients have a secret, a key, or proofs."""
    jwks = json.dumps({"keys": [{**public_jwk(signing_key("ES256")), "kid": "probe-1", "use": "sig", "alg": "ES256"}]})
    admin = Admin(keycloaks.get())
    yield admin.make_realm(
        "matrix",
        accessTokenLifespan=300,
        clients=[
            _client("plain", attributes={"pkce.code.challenge.method": "S256"}),
            _client(
                "signer",
                clientAuthenticatorType="client-jwt",
                attributes={"use.jwks.string": "true", "jwks.string": jwks},
            ),
            _client("bound", attributes={"dpop.bound.access.tokens": "true"}),
        ],
    )
    admin.close()


@pytest.fixture(autouse=True)
def _secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIENT_SECRET", kc.SECRET)
    monkeypatch.setenv("PASSWORD", kc.PASSWORD)
    monkeypatch.setenv("SIGNING_KEY", pem("ES256"))


def test_keycloak_and_a_client_with_a_secret(issuer: str, tmp_path: Path) -> None:
    """Grants, scopes, authentication, redirect URIs, PKCE and refresh tokens used twice."""
    idp = {"issuer": issuer, "client_id": "plain", **SECRET}
    step = {**REJECT, "redirect_uri": URI}
    verdicts = found(tmp_path, idp, {"step": "token", **PERSON}, step, cases=("refresh_reused", "plain_pkce"))
    asked = {"grant_type": "password", "username": "ann", "password": kc.PASSWORD, "scope": "openid"}
    compare(verdicts, ByHand(issuer, "plain", kc.SECRET, asked, URI).truth)
    hold(PROVIDERS, "Keycloak, client secret", verdicts)


def test_keycloak_and_a_client_with_a_key(issuer: str, tmp_path: Path) -> None:
    """Client assertions that were used, have expired, are for another, unsigned, or signed by another key."""
    cases = named("assertion_", ASSERTIONS)
    verdicts = found(tmp_path, {"issuer": issuer, **SIGNER}, "token", {**REJECT, "cases": ["N23"]}, cases=cases)
    compare(verdicts, ByHand(issuer, "signer", key=signing_key("ES256")).truth)
    hold(PROVIDERS, "Keycloak, client key", verdicts)


def test_keycloak_and_bound_tokens(issuer: str, tmp_path: Path) -> None:
    """Proofs that break a rule of RFC 9449 each."""
    idp = {"issuer": issuer, "client_id": "bound", **SECRET, "dpop": {}}
    verdicts = found(tmp_path, idp, "token", {**REJECT, "cases": ["N24"]}, cases=named("request_proof_", PROOFS))
    compare(verdicts, ByHand(issuer, "bound", kc.SECRET, proves=True).truth)
    hold(PROVIDERS, "Keycloak, DPoP", verdicts)


def test_oidc_provider_and_a_client_with_a_secret(
    oidc_provider: OidcProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Grants, scopes, authentication, introspection, revocation and refresh tokens used twice."""
    monkeypatch.setenv("CLIENT_SECRET", op.SECRET)
    monkeypatch.setenv("PASSWORD", op.PASSWORD)
    oidc_provider.change(healthy=True)
    idp = {"issuer": oidc_provider.issuer, "client_id": op.CLIENT, **SECRET}
    token = {"step": "token", **PERSON, "scope": "openid offline_access"}
    step = {**REJECT, "grant": "client_credentials"}
    verdicts = found(tmp_path, idp, token, step, cases=("refresh_reused", "introspect_without_auth"))
    asked = {"grant_type": "password", "username": op.USER, "password": op.PASSWORD, "scope": "openid offline_access"}
    machine = ByHand(oidc_provider.issuer, op.CLIENT, op.SECRET)
    person = ByHand(oidc_provider.issuer, op.CLIENT, op.SECRET, asked)
    compare(verdicts, lambda case: (person if case == "refresh_reused" else machine).truth(case))
    hold(PROVIDERS, "oidc-provider, client secret", verdicts)


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[machine.Machines]:
    """Give the oidc-provider whose clients sign and prove."""
    with told_in_one_line():
        running = machine.Machines(tmp_path_factory.mktemp("machines"))
    yield running
    running.stop()


def _over_tls(machines: machine.Machines, **more: Any) -> Mapping[str, Any]:
    return {"issuer": machines.issuer, "http": {"ca_file": machines.ca_file}, **more}


def test_oidc_provider_and_a_client_with_a_key(
    machines: machine.Machines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Client assertions, by RS256."""
    monkeypatch.setenv("SIGNING_KEY", pem("RS256"))
    idp, cases = _over_tls(machines, **SIGNER), named("assertion_", ASSERTIONS)
    verdicts = found(tmp_path, idp, machine.TOKEN, {**REJECT, "cases": ["N23"]}, cases=cases)
    hand = Rsa(machines.issuer, "signer", key=signing_key("RS256"), verify=machines.ca_file, asked=_orders())
    compare(verdicts, hand.truth)
    hold(PROVIDERS, "oidc-provider, client key", verdicts)


class Rsa(ByHand):
    """A client whose key is an RSA key."""

    def assertion(self, key: Any = None, alg: str = "RS256", **claims: object) -> str:
        """Sign an assertion; a stranger's key is one of RSA too."""
        return super().assertion(stranger() if key is not None else None, alg, **claims)


def _orders() -> dict[str, str]:
    return {"grant_type": "client_credentials", "scope": "orders:read", "resource": "https://api.example/orders"}


def test_oidc_provider_and_bound_tokens(
    machines: machine.Machines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proofs, each with the nonce that the provider wants."""
    monkeypatch.setenv("CLIENT_SECRET", machine.SECRET)
    idp = _over_tls(machines, client_id="bound", dpop={}, **SECRET)
    step = {**REJECT, "cases": ["N24"]}
    verdicts = found(tmp_path, idp, machine.TOKEN, step, cases=named("request_proof_", PROOFS))
    hand = ByHand(machines.issuer, "bound", machine.SECRET, proves=True, verify=machines.ca_file, asked=_orders())
    hand.good()
    compare(verdicts, hand.truth)
    hold(PROVIDERS, "oidc-provider, DPoP", verdicts)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    """Give the oidc-provider with pages; every password is good there."""
    config = {"client": {"id": "webapp", "secret": people.SECRET}, "redirect": URI}
    with told_in_one_line():
        running = Provider(tmp_path_factory.mktemp("pages"), "people.mjs", config)
    yield running
    running.stop()


def test_oidc_provider_and_people(pages: Provider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Codes, verifiers, redirect URIs, and a session that is refreshed between bad requests."""
    monkeypatch.setenv("CLIENT_SECRET", people.SECRET)
    idp = {"issuer": pages.issuer, "client_id": "webapp", **SECRET}
    log_in = {"step": "authorize", "redirect_uri": URI, "username": "ann", "password": {"env": "PASSWORD"}}
    logins = [{**log_in, "name": f"login{n}"} for n in range(5)]
    cases = ["N19", "N17", "N26", "N20"]
    step = {**REJECT, "cases": cases, "redirect_uri": URI, "codes": [f"login{n}" for n in range(4)]}
    token = {"step": "token", "grant": "authorization_code", "use": "login4"}
    verdicts = found(tmp_path, idp, *logins, token, step, cases=(*CODES, "unknown_grant", "redirect_fragment"))
    compare(verdicts, PersonByHand(pages.issuer, "webapp", people.SECRET, redirect=URI).truth)
    hold(PROVIDERS, "oidc-provider, people", verdicts)


def test_oidc_provider_and_devices(pages: Provider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A session that began at a device is refreshed for the good requests, as its code is used up."""
    monkeypatch.setenv("CLIENT_SECRET", people.SECRET)
    idp = {"issuer": pages.issuer, "client_id": "webapp", **SECRET}
    ann = {"username": "ann", "password": {"env": "PASSWORD"}}
    steps = [{"step": "device", "scope": "openid", "complete": True, **ann}, {"step": "token", "grant": "device_code"}]
    step = {**REJECT, "cases": ["N17", "N19"]}
    verdicts = found(tmp_path, idp, *steps, step, cases=("unknown_grant", "wrong_client_secret"))
    compare(verdicts, PersonByHand(pages.issuer, "webapp", people.SECRET, redirect=URI).truth)
    hold(PROVIDERS, "oidc-provider, devices", verdicts)


def test_keycloak_and_people(issuer: str, tmp_path: Path) -> None:
    """Codes and verifiers at the pages of Keycloak."""
    idp = {"issuer": issuer, "client_id": "plain", **SECRET, "http": {"timeout": "30s"}}
    log_in = {"step": "authorize", "redirect_uri": URI, "username": "ann", "password": {"env": "PASSWORD"}}
    logins = [{**log_in, "name": f"login{n}"} for n in range(5)]
    step = {**REJECT, "cases": ["N20"], "redirect_uri": URI, "codes": [f"login{n}" for n in range(4)]}
    token = {"step": "token", "grant": "authorization_code", "use": "login4"}
    verdicts = found(tmp_path, idp, *logins, token, step, cases=(*CODES, "without_pkce", "plain_pkce"))
    compare(verdicts, PersonByHand(issuer, "plain", kc.SECRET, redirect=URI, user=("ann", kc.PASSWORD)).truth)
    hold(PROVIDERS, "Keycloak, people", verdicts)
