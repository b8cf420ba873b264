"""Bad tokens for APIs behind real providers: what the step says of each is what the API does with the test's own."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jwt
import pytest

from tests.api_by_hand import ApiByHand
from tests.matrix import APIS, compare, hold
from tests.matrix_flows import found
from tests.provider_by_hand import ByHand
from tests.stack import validators
from tests.stack.harness import keycloak as kc
from tests.stack.harness import oidc_provider as op
from tests.stack.harness.keycloak_admin import Admin
from tests.stack.harness.oidc_provider import OidcProvider
from tests.stack.harness.ports import free_ports
from tests.stack.servers import Keycloaks
from tests.stack.test_keycloak_machine import _ORDERS as ORDERS

REJECT: dict[str, Any] = {
    "step": "reject",
    "use": "token",
    "cases": ["all"],
    "max_requests": 120,
    "every": "1ms",
    "allow_intrusive": True,
    "intrusive_hosts": ["127.0.0.1"],
}
NETWORK = ("key_url", "certificate_url", "burst")
TRIED = (
    *NETWORK,
    "no_token",
    "tampered",
    "alg_none",
    "forged_key",
    "unknown_kid",
    "inline_key",
    "kid_path",
    "claim_twice",
)
SECRET = {"client_secret": {"env": "CLIENT_SECRET"}}
PERSON = {"grant": "password", "username": "ann", "password": {"env": "PASSWORD"}}
PAGES = ("userinfo", *validators.KINDS)


@pytest.fixture(scope="module")
def issuer(keycloaks: Keycloaks) -> Iterator[str]:
    """Give the issuer of a Keycloak realm whose client gets tokens for `orders`."""
    admin = Admin(keycloaks.get())
    reader = {"clientId": "reader", "secret": kc.SECRET, "directAccessGrantsEnabled": True, "protocolMappers": [ORDERS]}
    yield admin.make_realm("apis", accessTokenLifespan=300, clients=[reader])
    admin.close()


class Tokens:
    """What the test asks for itself: a good token, one that is revoked where that can be, and the key of both."""

    def __init__(self, hand: ByHand, *, revocable: bool) -> None:
        good, doomed = hand.good(), hand.good()["access_token"]
        if revocable:
            form = {"token": doomed, "token_type_hint": "access_token"}
            assert hand.post("revocation", form, (hand.client, hand.secret)).ok
        self.access, self.userinfo = good["access_token"], hand.known["userinfo_endpoint"]
        self.jwks_uri = hand.known["jwks_uri"]
        kid = jwt.get_unverified_header(self.access)["kid"]
        keys = hand.http.get(self.jwks_uri, timeout=30).json()["keys"]
        self.jwk = next(key for key in keys if key["kid"] == kid)
        names = ("id_token", "refresh_token")
        self.revoked = {"revoked": doomed} if revocable else {}
        self.bad = {**self.revoked, **{name: good[name] for name in names if name in good}}


def row(folder: Path, hand: ByHand, kind: str, token: Mapping[str, Any], *, revocable: bool = False) -> dict[str, str]:
    """Run every case against one API of the provider's, and compare each verdict with the test's own request."""
    made = Tokens(hand, revocable=revocable)
    if kind == "userinfo":
        return _row(folder, hand, made, made.userinfo, token)
    with validators.start(
        kind, issuer=hand.issuer, audience="orders", jwks_url=made.jwks_uri, folder=folder
    ) as service:
        return _row(folder, hand, made, service.url, token)


def _row(folder: Path, hand: ByHand, made: Tokens, url: str, token: Mapping[str, Any]) -> dict[str, str]:
    idp = {"issuer": hand.issuer, "client_id": hand.client, **SECRET}
    doomed = (
        ({**token, "name": "doomed"}, {"step": "revoke", "use": "doomed", "token": "access"}) if made.revoked else ()
    )
    (port,) = free_ports(1)
    step = {**REJECT, "url": url, "listener": {"url": f"http://127.0.0.1:{port}"}}
    verdicts = found(folder, idp, *doomed, token, step, cases=TRIED)
    compare(verdicts, ApiByHand(url, made.access, made.jwk, made.bad).truth)
    return verdicts


@pytest.mark.parametrize("kind", PAGES)
def test_apis_of_keycloak(issuer: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """RS256; its userinfo asks the store, so that a revoked token is refused there."""
    monkeypatch.setenv("CLIENT_SECRET", kc.SECRET)
    monkeypatch.setenv("PASSWORD", kc.PASSWORD)
    asked = {"grant_type": "password", "username": "ann", "password": kc.PASSWORD, "scope": "openid"}
    token = {"step": "token", **PERSON, "scope": "openid"}
    verdicts = row(tmp_path, ByHand(issuer, "reader", kc.SECRET, asked), kind, token, revocable=True)
    hold(APIS, f"Keycloak: {kind}", verdicts)


@pytest.mark.parametrize("kind", validators.KINDS)
def test_apis_of_oidc_provider(
    oidc_provider: OidcProvider, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ES256, where a signature of zeros is a case too."""
    monkeypatch.setenv("CLIENT_SECRET", op.SECRET)
    oidc_provider.change(healthy=True)
    resource = "https://api.example/ES256"
    asked = {"grant_type": "client_credentials", "scope": "orders:read", "resource": resource}
    token = {"step": "token", "scope": "orders:read", "resource": [resource]}
    verdicts = row(tmp_path, ByHand(oidc_provider.issuer, op.CLIENT, op.SECRET, asked), kind, token)
    assert "zero_signature" in verdicts
    hold(APIS, f"oidc-provider: {kind}", verdicts)
