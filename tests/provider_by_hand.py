"""Bad requests to an identity provider, made by hand: no line here is otelprobe's, so that they can tell whether it is right."""

import json
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from secrets import token_hex
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import jwt
import requests
from cryptography.hazmat.primitives.asymmetric import ec, rsa

NOWHERE = "https://nowhere.invalid/"
REDIRECTS: Mapping[str, Callable[[str], str]] = {
    "redirect_other_host": lambda uri: uri.replace("://", "://evil.invalid.", 1),
    "redirect_user_part": lambda uri: f"{uri.split('/')[0]}//{quote(uri.split('/')[2])}@evil.invalid/",
    "redirect_extra_path": lambda uri: f"{uri}/evil",
    "redirect_extra_query": lambda uri: f"{uri}?evil=1",
    "redirect_fragment": lambda uri: f"{uri}#evil",
}
"""What becomes of a redirect URI."""

WAITING = ("login_required", "interaction_required", "consent_required", "account_selection_required")


@dataclass
class ByHand:
    """One client at one provider. `asked` is its good token request; `key` signs its assertions, and `proves` its DPoP proofs."""

    issuer: str
    client: str
    secret: str = ""
    asked: Mapping[str, str] = field(default_factory=lambda: {"grant_type": "client_credentials"})
    redirect: str = ""
    key: Any = None
    proves: bool = False
    verify: str | None = None

    def __post_init__(self) -> None:
        self.http = requests.Session()
        self.http.trust_env = False
        self.http.verify = self.verify if self.verify is not None else True
        self.known = self.http.get(f"{self.issuer}/.well-known/openid-configuration", timeout=10).json()
        self.proof_key = ec.generate_private_key(ec.SECP256R1())
        self.nonce: str | None = None

    def truth(self, case: str) -> str:
        """Give what the provider does with the request of this case: `accepted`, `refused` or `error`."""
        status, taken = self._redirected(case) if case.startswith("redirect_") else getattr(self, f"_{case}")()
        if taken:
            return "accepted"
        return "error" if status >= 500 else "refused"

    def post(
        self, place: str, form: Mapping[str, str], auth: tuple[str, str] | None = None, **headers: str
    ) -> requests.Response:
        """Post a form; keep the nonce of the answer."""
        pair = None if auth is None else (quote(auth[0], safe=""), quote(auth[1], safe=""))
        answer = self.http.post(self.known[f"{place}_endpoint"], data=form, auth=pair, headers=headers, timeout=30)
        self.nonce = answer.headers.get("DPoP-Nonce", self.nonce)
        return answer

    def token(
        self, changes: Mapping[str, str | None] | None = None, *, assertion: str | None = None, proof: str | None = None
    ) -> requests.Response:
        """Ask for a token as the good client does, but for these changes (None: left out)."""
        form = {n: v for n, v in {**self.asked, **(changes or {})}.items() if v is not None}
        headers = {"DPoP": proof or self.proof()} if self.proves else {}
        if self.key is None:
            return self.post("token", form, (self.client, self.secret), **headers)
        form |= {
            "client_id": self.client,
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            "client_assertion": assertion or self.assertion(),
        }
        return self.post("token", form, **headers)

    def good(self) -> dict[str, Any]:
        """Give the answer to a good token request; AssertionError if it is none."""
        answer = self.token()
        answer = self.token() if answer.status_code != 200 and self.proves else answer  # the first one has no nonce
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def _asked_for(self, answer: requests.Response) -> tuple[int, bool]:
        return answer.status_code, answer.ok and "access_token" in answer.json()

    # What is asked for

    def _unknown_grant(self) -> tuple[int, bool]:
        return self._asked_for(self.token({"grant_type": "urn:nothing"}))

    def _missing_grant(self) -> tuple[int, bool]:
        return self._asked_for(self.token({"grant_type": None}))

    def _unknown_scope(self) -> tuple[int, bool]:
        answer = self.token({"scope": f"{self.asked.get('scope', '')} nothing-known".strip()})
        return answer.status_code, answer.ok and "nothing-known" in answer.json().get("scope", "").split()

    def _unknown_resource(self) -> tuple[int, bool]:
        answer = self.token({"resource": NOWHERE})
        if not answer.ok or answer.json()["access_token"].count(".") != 2:
            return answer.status_code, False
        audience = jwt.decode(answer.json()["access_token"], options={"verify_signature": False}).get("aud", [])
        return answer.status_code, NOWHERE in ([audience] if isinstance(audience, str) else audience)

    # Who asks

    def _no_client_auth(self) -> tuple[int, bool]:
        headers = {"DPoP": self.proof()} if self.proves else {}
        return self._asked_for(self.post("token", {**self.asked, "client_id": self.client}, **headers))

    def _wrong_client_secret(self) -> tuple[int, bool]:
        headers = {"DPoP": self.proof()} if self.proves else {}
        return self._asked_for(self.post("token", self.asked, (self.client, "not-the-secret"), **headers))

    def _introspect(self, auth: tuple[str, str] | None) -> tuple[int, bool]:
        answer = self.post("introspection", {"token": self.good()["access_token"]}, auth)
        return answer.status_code, answer.ok and answer.json().get("active") is True

    def _introspect_without_auth(self) -> tuple[int, bool]:
        return self._introspect(None)

    def _introspect_wrong_secret(self) -> tuple[int, bool]:
        return self._introspect((self.client, "not-the-secret"))

    def _revoke_without_auth(self) -> tuple[int, bool]:
        answer = self.post("revocation", {"token": "no-such-token"})
        return answer.status_code, answer.ok

    # Where to

    def authorize(self, uri: str, **changes: str) -> requests.Response:
        """Ask for a code without a session; the redirect is not followed."""
        challenge = urlsafe_b64encode(sha256(token_hex(32).encode()).digest()).rstrip(b"=").decode()
        form = {
            "response_type": "code",
            "client_id": self.client,
            "redirect_uri": uri,
            "scope": "openid",
            "state": token_hex(8),
            "nonce": token_hex(8),
            "prompt": "none",
            "code_challenge": challenge,
            "code_challenge_method": "S256",
            **changes,
        }
        asked = {n: v for n, v in form.items() if v}
        return self.http.get(self.known["authorization_endpoint"], params=asked, allow_redirects=False, timeout=30)

    def _redirected(self, case: str) -> tuple[int, bool]:
        answer = self.authorize(REDIRECTS[case](self.redirect))
        to = answer.headers.get("Location", "")
        return answer.status_code, "evil" in to or "<form" in answer.text

    def _went_on(self, answer: requests.Response) -> tuple[int, bool]:
        error = parse_qs(urlsplit(answer.headers.get("Location", "")).query).get("error", [""])[0]
        return answer.status_code, error in WAITING or "<form" in answer.text

    def _without_pkce(self) -> tuple[int, bool]:
        return self._went_on(self.authorize(self.redirect, code_challenge="", code_challenge_method=""))

    def _plain_pkce(self) -> tuple[int, bool]:
        return self._went_on(self.authorize(self.redirect, code_challenge_method="plain"))

    # By which key

    def assertion(self, key: Any = None, alg: str = "ES256", **claims: object) -> str:
        """Sign an assertion of the client's, good but for these claims."""
        now = int(time.time())
        told = {"iss": self.client, "sub": self.client, "aud": self.known["token_endpoint"], "jti": token_hex(16)}
        payload = {**told, "iat": now, "exp": now + 60, **claims}
        return jwt.encode(
            payload, None if alg == "none" else key or self.key, algorithm=alg, headers={"kid": "probe-1"}
        )

    def _assertion_replayed(self) -> tuple[int, bool]:
        used = self.assertion()
        assert self.token(assertion=used).ok
        return self._asked_for(self.token(assertion=used))

    def _assertion_expired(self) -> tuple[int, bool]:
        now = int(time.time())
        return self._asked_for(self.token(assertion=self.assertion(iat=now - 7200, exp=now - 3600)))

    def _assertion_other_audience(self) -> tuple[int, bool]:
        return self._asked_for(self.token(assertion=self.assertion(aud=NOWHERE)))

    def _assertion_unsigned(self) -> tuple[int, bool]:
        return self._asked_for(self.token(assertion=self.assertion(alg="none")))

    def _assertion_other_key(self) -> tuple[int, bool]:
        return self._asked_for(self.token(assertion=self.assertion(ec.generate_private_key(ec.SECP256R1()))))

    # By which proof

    def proof(self, *, typ: str = "dpop+jwt", secret: bool = False, **claims: object) -> str:
        """Sign a proof for the token endpoint, good but for these claims."""
        shown = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(self.proof_key.public_key()))
        key = self.proof_key
        if secret:
            shown = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(key))
        nonce = {} if self.nonce is None else {"nonce": self.nonce}
        now = {"jti": token_hex(16), "htm": "POST", "htu": self.known["token_endpoint"], "iat": int(time.time())}
        return jwt.encode({**now, **nonce, **claims}, key, algorithm="ES256", headers={"typ": typ, "jwk": shown})

    def _proven(self, proof: str) -> tuple[int, bool]:
        return self._asked_for(self.token(proof=proof))

    def _request_proof_wrong_method(self) -> tuple[int, bool]:
        return self._proven(self.proof(htm="GET"))

    def _request_proof_wrong_url(self) -> tuple[int, bool]:
        return self._proven(self.proof(htu=NOWHERE))

    def _request_proof_wrong_type(self) -> tuple[int, bool]:
        return self._proven(self.proof(typ="at+jwt"))

    def _request_proof_private_key(self) -> tuple[int, bool]:
        return self._proven(self.proof(secret=True))

    def _request_proof_unsigned(self) -> tuple[int, bool]:
        return self._proven(f"{self.proof().rpartition('.')[0]}.")

    def _request_proof_old(self) -> tuple[int, bool]:
        return self._proven(self.proof(iat=int(time.time()) - 3600))

    def _request_proof_early(self) -> tuple[int, bool]:
        return self._proven(self.proof(iat=int(time.time()) + 3600))

    def _request_proof_replayed(self) -> tuple[int, bool]:
        used = self.proof()
        assert self.token(proof=used).ok
        return self._proven(used)

    def _request_proof_twice(self) -> tuple[int, bool]:
        proof = self.proof()
        return self._proven(f"{proof}, {proof}")

    # By which refresh token

    def _refreshed(self, token: str) -> requests.Response:
        return self.token({**dict.fromkeys(self.asked), "grant_type": "refresh_token", "refresh_token": token})

    def _refresh_reused(self) -> tuple[int, bool]:
        first = self.good()["refresh_token"]
        second = self._refreshed(first).json()["refresh_token"]
        time.sleep(1.1)  # whoever compares `iat` knows whole seconds only
        assert self._refreshed(second).ok
        return self._asked_for(self._refreshed(first))


def stranger() -> rsa.RSAPrivateKey:
    """Draw an RSA key that nobody knows."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)
