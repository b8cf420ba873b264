"""Bad tokens for APIs behind real providers: what the step says of each is what the API does with the test's own."""

import json
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from hashlib import sha256
from http.client import HTTPConnection
from pathlib import Path
from secrets import token_hex
from typing import Any
from urllib.parse import urlsplit

import jwt
import pytest
import requests
from cryptography.hazmat.primitives.asymmetric import ec

from tests.api_by_hand import ApiByHand
from tests.matrix import APIS, compare, hold
from tests.matrix_flows import found, once
from tests.person_by_hand import PersonByHand
from tests.provider_by_hand import ByHand
from tests.stack import test_oidc_provider_people as people
from tests.stack import validators
from tests.stack.harness import keycloak as kc
from tests.stack.harness import oidc_provider as op
from tests.stack.harness.keycloak_admin import Admin
from tests.stack.harness.oidc_provider import OidcProvider, Provider
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


ELSEWHERE = ("other_token:billing", "narrow_scope", "expired")
TOLERANCE = 6.0
"""Seconds: express-oauth2-jwt-bearer takes a token for 5 s after its end."""


def test_tokens_that_are_good_elsewhere(
    oidc_provider: OidcProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tokens that the provider signed: for another audience, with too little scope, and the prober's own after its end."""
    monkeypatch.setenv("CLIENT_SECRET", op.SECRET)
    oidc_provider.change(healthy=True)
    hand = ByHand(oidc_provider.issuer, op.CLIENT, op.SECRET, _asked(op.RESOURCE, "orders:read"))
    idp = {"issuer": hand.issuer, "client_id": op.CLIENT, **SECRET}
    tokens = [
        {"step": "token", "name": "billing", **_token(f"{op.RESOURCE}/billing", "orders:read")},
        {"step": "token", "name": "narrow", **_token(op.RESOURCE, "orders:list")},
        {"step": "token", "name": "token", **_token(op.RESOURCE, "orders:read")},
    ]
    reject = {**REJECT, "cases": ["other_token", "narrow_scope", "expired"], "tokens": ["billing"]}
    reject |= {"narrow_token": "narrow", "leeway": "0s"}
    with ExitStack() as running:
        options = {
            "issuer": hand.issuer,
            "audience": "orders",
            "scope": "orders:read",
            "jwks_url": hand.known["jwks_uri"],
        }
        apis = {
            kind: running.enter_context(validators.start(kind, folder=tmp_path, **options)).url
            for kind in validators.KINDS
        }
        oidc_provider.change(ttl=2)
        expired = hand.good()["access_token"]
        for kind, url in apis.items():
            (tmp_path / kind).mkdir()
            once(tmp_path / kind, idp, *tokens, {**reject, "url": url})
        oidc_provider.change(healthy=True)
        time.sleep(2 + TOLERANCE)
        bad = {"narrow_scope": _good(hand, op.RESOURCE, "orders:list"), "expired": expired}
        bad["other_token:billing"] = _good(hand, f"{op.RESOURCE}/billing", "orders:read")
        for kind, url in apis.items():
            verdicts = found(tmp_path / kind, idp, *tokens, {**reject, "url": url}, cases=ELSEWHERE)
            made = Tokens(hand, revocable=False)
            assert requests.get(url, headers={"Authorization": f"Bearer {made.access}"}, timeout=30).ok
            compare(verdicts, ApiByHand(url, made.access, made.jwk, bad).truth)
            row = {case.partition(":")[0]: verdict for case, verdict in verdicts.items()}
            hold(APIS, f"oidc-provider: {kind}, scope checked", row)


def _token(resource: str, scope: str) -> dict[str, Any]:
    return {"scope": scope, "resource": [resource]}


def _asked(resource: str, scope: str) -> dict[str, str]:
    return {"grant_type": "client_credentials", "scope": scope, "resource": resource}


def _good(hand: ByHand, resource: str, scope: str) -> str:
    return str(ByHand(hand.issuer, hand.client, hand.secret, _asked(resource, scope)).good()["access_token"])


URI = "https://app.example.com/cb"
FLAWS = ("missing", "replayed", "twice", "wrong_method", "wrong_url", "wrong_token", "without_token", "other_key")
PROOFS = tuple(f"proof_{flaw}" for flaw in (*FLAWS, "wrong_type", "unsigned", "old", "early", "as_bearer"))


class Bound:
    """A token of a person's that is bound to a key, and its use at userinfo, by hand."""

    def __init__(self, issuer: str) -> None:
        self.person = PersonByHand(issuer, "webapp", people.SECRET, redirect=URI)
        self.key, self.url = ec.generate_private_key(ec.SECP256R1()), self.person.known["userinfo_endpoint"]
        proof = self._proof(self.person.known["token_endpoint"], "POST", ath=None)
        answer = self.person.post("token", self.person.code(), ("webapp", people.SECRET), DPoP=proof)
        assert answer.json()["token_type"] == "DPoP", answer.text
        self.access = str(answer.json()["access_token"])
        assert self._send(self._proof()).ok

    def truth(self, case: str) -> str:
        """Give what userinfo does with this case."""
        answer = self._offer(case)
        return "accepted" if answer.ok else "error" if answer.status_code >= 500 else "refused"

    def _offer(self, case: str) -> requests.Response:
        bare: Mapping[str, Mapping[str, str]] = {
            "no_token": {},
            "garbage": {"Authorization": "DPoP garbage", "DPoP": self._proof()},
            "empty_token": {"Authorization": "DPoP", "DPoP": self._proof()},
            "unknown_scheme": {"Authorization": "Hocuspocus abc"},
            "proof_as_bearer": {"Authorization": f"Bearer {self.access}"},
        }
        if case in bare:
            return self.person.http.get(self.url, headers=dict(bare[case]), timeout=30)
        if case == "proof_replayed":
            used = self._proof()
            assert self._send(used).ok
            return self._send(used)
        return self._send(*self._bad(case))

    def _bad(self, case: str) -> tuple[str, ...]:
        """Give the values of the header `DPoP`."""
        now, other = int(time.time()), ec.generate_private_key(ec.SECP256R1())
        made: Mapping[str, Callable[[], tuple[str, ...]]] = {
            "proof_missing": lambda: (),
            "proof_twice": lambda: (self._proof(), self._proof()),
            "proof_wrong_method": lambda: (self._proof(method="PUT"),),
            "proof_wrong_url": lambda: (self._proof("https://nowhere.invalid/"),),
            "proof_wrong_token": lambda: (self._proof(ath="other"),),
            "proof_without_token": lambda: (self._proof(ath=None),),
            "proof_other_key": lambda: (self._proof(key=other),),
            "proof_wrong_type": lambda: (self._proof(typ="at+jwt"),),
            "proof_unsigned": lambda: (f"{self._proof().rpartition('.')[0]}.",),
            "proof_old": lambda: (self._proof(iat=now - 3600),),
            "proof_early": lambda: (self._proof(iat=now + 3600),),
        }
        return made[case]()

    def _send(self, *proofs: str) -> requests.Response:
        headers = {"Authorization": f"DPoP {self.access}"}
        if len(proofs) < 2:
            one = dict(zip(("DPoP",), proofs, strict=False))
            return self.person.http.get(self.url, headers={**headers, **one}, timeout=30)
        # A client of a higher level would join the two lines to one.
        place = urlsplit(self.url)
        connection = HTTPConnection(place.netloc, timeout=30)
        connection.putrequest("GET", place.path)
        for name, value in (*headers.items(), *(("DPoP", proof) for proof in proofs)):
            connection.putheader(name, value)
        connection.endheaders()
        answer = requests.Response()
        answer.status_code = connection.getresponse().status
        connection.close()
        return answer

    def _proof(
        self, url: str | None = None, method: str = "GET", *, ath: str | None = "", typ: str = "dpop+jwt", **more: Any
    ) -> str:
        """Sign a proof, good but for what is named."""
        key = more.pop("key", self.key)
        shown = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(key.public_key()))
        told = {"jti": token_hex(16), "htm": method, "htu": url or self.url, "iat": int(time.time()), **more}
        if ath is not None:
            told["ath"] = urlsafe_b64encode(sha256(f"{self.access}{ath}".encode()).digest()).rstrip(b"=").decode()
        return jwt.encode(told, key, "ES256", headers={"typ": typ, "jwk": shown})


def test_bound_tokens_at_a_userinfo(tmp_path_factory: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Proofs that break a rule of RFC 9449 each, at an API of oidc-provider's own."""
    monkeypatch.setenv("CLIENT_SECRET", people.SECRET)
    monkeypatch.setenv("PASSWORD", "any")
    config = {"client": {"id": "webapp", "secret": people.SECRET}, "redirect": URI}
    with Provider(tmp_path_factory.mktemp("people"), "people.mjs", config) as provider:
        hand = Bound(provider.issuer)
        idp = {"issuer": provider.issuer, "client_id": "webapp", "dpop": {}, **SECRET}
        log_in = {"step": "authorize", "redirect_uri": URI, "username": "ann", "password": {"env": "PASSWORD"}}
        token = {"step": "token", "grant": "authorization_code"}
        reject = {**REJECT, "url": hand.url, "cases": ["N0", "N24"]}
        verdicts = found(tmp_path, idp, log_in, token, reject, cases=PROOFS)
        compare(verdicts, hand.truth)
    hold(APIS, "oidc-provider: userinfo, DPoP", verdicts)
