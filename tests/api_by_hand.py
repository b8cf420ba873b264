"""Bad tokens for an API, made by hand: no line here is otelprobe's, so that they can tell whether it is right."""

import hmac
import json
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import jwt
import requests
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

EVIL = "https://evil.invalid"
NOWHERE = "http://127.0.0.1:9"
IDENTITY = {"X-User-Id": "root", "X-User": "root", "X-Remote-User": "root", "X-Forwarded-User": "root"}
NONES = {
    "alg_none": "none",
    "alg_none_title": "None",
    "alg_none_upper": "NONE",
    "alg_none_mixed": "nOnE",
    "alg_empty": "",
}
TWICE = b'{"sub":"root",'
SPKI = PublicFormat.SubjectPublicKeyInfo


def _b64(value: bytes) -> str:
    return urlsafe_b64encode(value).rstrip(b"=").decode()


def _part(value: object) -> str:
    return _b64(json.dumps(value).encode())


def _bytes(value: str) -> bytes:
    return urlsafe_b64decode(value + "=" * (-len(value) % 4))


@dataclass
class ApiByHand:
    """An API that takes `access`, whose key is published as `jwk`. `bad` are bad tokens that cannot be made of that one."""

    url: str
    access: str
    jwk: Mapping[str, Any]
    bad: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.head, self.body, self.signature = self.access.split(".")
        self.header, self.claims = json.loads(_bytes(self.head)), json.loads(_bytes(self.body))
        self.http = requests.Session()
        self.http.trust_env = False
        self._know_keys()

    def _know_keys(self) -> None:
        rsa_key = self.jwk["kty"] == "RSA"
        self.alg = "RS256" if rsa_key else "ES256"
        self.stranger: Any = (
            rsa.generate_private_key(public_exponent=65537, key_size=2048)
            if rsa_key
            else ec.generate_private_key(ec.SECP256R1())
        )
        self.public: Any = jwt.PyJWK(dict(self.jwk), algorithm=self.alg).key

    def truth(self, case: str) -> str:
        """Give what the API does with this case: `accepted`, `refused` or `error`."""
        answer = self._bearing(self.bad[case]) if case in self.bad else self._offer(case)
        if case in {"foreign_origin", "null_origin"}:
            let_in = answer.headers.get("Access-Control-Allow-Origin") == answer.request.headers["Origin"]
            return "accepted" if let_in and "Access-Control-Allow-Credentials" in answer.headers else "refused"
        if answer.ok:
            return "accepted"
        return "error" if answer.status_code >= 500 else "refused"

    def _offer(self, case: str) -> requests.Response:
        other = self._others().get(case)
        return other() if other is not None else self._bearing(self._token(case))

    def _bearing(self, token: str) -> requests.Response:
        return self._send("GET", headers={"Authorization": f"Bearer {token}"})

    def _send(self, method: str, url: str | None = None, **more: Any) -> requests.Response:
        return self.http.request(method, url or self.url, timeout=30, allow_redirects=False, **more)

    def _others(self) -> Mapping[str, Callable[[], requests.Response]]:
        """Give what is not another token under Bearer."""
        base, _, last = self.url.rpartition("/")
        asked = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "authorization"}
        form = {"access_token": self.access}
        return {
            "no_token": lambda: self._send("GET"),
            "empty_token": lambda: self._send("GET", headers={"Authorization": "Bearer"}),
            "unknown_scheme": lambda: self._send("GET", headers={"Authorization": "Hocuspocus abc"}),
            "token_in_query": lambda: self._send("GET", params=form),
            "token_in_form": lambda: self._send("POST", data=form),
            "foreign_origin": lambda: self._send("OPTIONS", headers={"Origin": EVIL, **asked}),
            "null_origin": lambda: self._send("OPTIONS", headers={"Origin": "null", **asked}),
            "spoofed_identity": lambda: self._send("GET", headers=IDENTITY),
            "method_override": lambda: self._send("POST", headers={"X-HTTP-Method-Override": "GET"}),
            "path_case": lambda: self._send("GET", f"{base}/{last.upper()}"),
            "path_double_slash": lambda: self._send("GET", f"{base}//{last}"),
            "path_parameter": lambda: self._send("GET", f"{self.url};x"),
        }

    def _token(self, case: str) -> str:
        if case in NONES:
            return f"{_part({**self.header, 'alg': NONES[case]})}.{self.body}."
        if case.startswith("confusion_"):
            return self._mac(self._form(case.removeprefix("confusion_")))
        without = {n: v for n, v in self.header.items() if n != "alg"}
        made: Mapping[str, Callable[[], str]] = {
            "garbage": lambda: "a.b.c",
            "burst": lambda: "a.b.c",
            "key_url": lambda: self._signed({"jku": f"{NOWHERE}/keys"}),
            "certificate_url": lambda: self._signed({"x5u": f"{NOWHERE}/key.pem"}),
            "tampered": lambda: f"{self.head}.{_part({**self.claims, 'admin': True})}.{self.signature}",
            "flipped_signature": lambda: f"{self.head}.{self.body}.{self._flipped()}",
            "stripped_signature": lambda: f"{self.head}.{self.body}.",
            "alg_missing": lambda: f"{_part(without)}.{self.body}.",
            "alg_none_signed": lambda: f"{_part({**self.header, 'alg': 'none'})}.{self.body}.{self.signature}",
            "forged_key": lambda: self._signed({"kid": self.header.get("kid")}),
            "unknown_kid": lambda: self._signed({"kid": "nobody"}),
            "inline_key": lambda: self._signed({"jwk": self._shown()}),
            "blank_secret": lambda: self._mac(b""),
            "zero_signature": lambda: f"{self.head}.{self.body}.{_b64(bytes(64))}",
            "kid_path": lambda: self._mac(b"", kid="../../../../dev/null"),
            "kid_sql": lambda: self._mac(b"x", kid="' UNION SELECT 'x"),
            "oversize_token": lambda: self._signed({"kid": self.header.get("kid")}, padding="x" * 16384),
            "deep_token": lambda: f"{self.head}.{_b64(b'[' * 5000 + b']' * 5000)}.{self.signature}",
            "claim_twice": lambda: f"{self.head}.{_b64(TWICE + _bytes(self.body)[1:])}.{self.signature}",
        }
        return made[case]()

    def _flipped(self) -> str:
        signature = bytearray(_bytes(self.signature))
        signature[len(signature) // 2] ^= 1
        return _b64(bytes(signature))

    def _signed(self, headers: Mapping[str, Any], **claims: object) -> str:
        named = {name: value for name, value in headers.items() if value is not None}
        return jwt.encode({**self.claims, **claims}, self.stranger, self.alg, headers=named)

    def _shown(self) -> dict[str, Any]:
        family = jwt.algorithms.RSAAlgorithm if self.alg == "RS256" else jwt.algorithms.ECAlgorithm
        return dict(json.loads(family.to_jwk(self.stranger.public_key())))

    def _mac(self, secret: bytes, **headers: str) -> str:
        signed = f"{_part({**self.header, 'alg': 'HS256', **headers})}.{self.body}"
        return f"{signed}.{_b64(hmac.new(secret, signed.encode(), sha256).digest())}"

    def _form(self, form: str) -> bytes:
        """Write the published key as a validator may keep it."""
        write = self.public.public_bytes
        if form in {"pem", "pem_bare"}:
            text: bytes = write(Encoding.PEM, SPKI)
            return text if form == "pem" else text.strip()
        if form in {"pkcs1", "pkcs1_bare", "pkcs1_der"}:
            text = write(Encoding.DER if form == "pkcs1_der" else Encoding.PEM, PublicFormat.PKCS1)
            return text.strip() if form == "pkcs1_bare" else text
        if form == "certificate":
            (first, *_) = self.jwk["x5c"]
            lines = "\n".join(first[at : at + 64] for at in range(0, len(first), 64))
            return f"-----BEGIN CERTIFICATE-----\n{lines}\n-----END CERTIFICATE-----\n".encode()
        if form == "number":
            return _bytes(self.jwk.get("n", self.jwk.get("x")))
        return (
            json.dumps(dict(self.jwk), separators=(",", ":")).encode() if form == "jwk" else write(Encoding.DER, SPKI)
        )


@dataclass
class SharedByHand(ApiByHand):
    """An API whose tokens are signed with a shared secret (HS256), and stand in `Authorization` as they are."""

    secret: str = ""

    def _know_keys(self) -> None:
        self.alg, self.stranger = "HS256", "a stranger's secret of more than thirty-two bytes"

    def _bearing(self, token: str) -> requests.Response:
        return self._send("GET", headers={"Authorization": token})

    def _token(self, case: str) -> str:
        if case == "inline_key":
            key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
            shown = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key()))
            return jwt.encode(self.claims, key, "RS256", headers={"jwk": shown})
        return self._own(case) if case.startswith("signed_") or case == "unsupported_crit" else super()._token(case)

    def _own(self, case: str) -> str:
        """Sign with the API's own secret."""
        now = int(time.time())
        changes: Mapping[str, Mapping[str, Any]] = {
            "signed_expired": {"iat": now - 7200, "exp": now - 3600},
            "signed_too_early": {"nbf": now + 3600, "exp": now + 7200},
            "signed_other_issuer": {"iss": EVIL},
        }
        claims = {**self.claims, **changes.get(case, {})}
        if case == "signed_without_exp":
            del claims["exp"]
        alg = "HS512" if case == "signed_other_alg" else "HS256"
        headers = {"crit": ["x"], "x": 1} if case == "unsupported_crit" else None
        return jwt.encode(claims, self.secret, alg, headers=headers)

    def _others(self) -> Mapping[str, Callable[[], requests.Response]]:
        return {**super()._others(), "empty_token": lambda: self._bearing("")}
