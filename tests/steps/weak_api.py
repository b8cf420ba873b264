"""An API that validates by hand and has any weakness that it is told to have; it looks at credentials, never at our marks."""

import hmac
import json
import urllib.request
from base64 import b64decode, urlsafe_b64decode
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import jwt as pyjwt
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from otelprobe.tokens import digest, thumbprint
from tests.conftest import Answer, Seen, Server
from tests.token_kit import FixedClock, jwk, policy, signing_key

OK = Answer(200, b'{"status": "ok"}')
REFUSED = Answer(401, b'{"error": "invalid_token"}', [("WWW-Authenticate", 'Bearer error="invalid_token"')])
SECRET = "drawn-secret-of-the-weak-api-of-64-bytes-and-more-so-that-HS512-may-use-it"


def decoded(segment: str) -> bytes:
    """Decode base64url."""
    return urlsafe_b64decode(segment + "=" * (-len(segment) % 4))


def _as_pem(der: str) -> bytes:
    """Write a base64 certificate as the file in which an API keeps it."""
    return x509.load_der_x509_certificate(b64decode(der)).public_bytes(serialization.Encoding.PEM) if der else b"-"


def _fetched(url: str) -> bytes:
    """Fetch what a token names, as one should not."""
    with urllib.request.urlopen(url, timeout=5) as answer:
        found: bytes = answer.read()
    return found


@dataclass
class WeakApi:
    """One route that wants a token of `alg`. `weak` names what it gets wrong; `dead` are revoked tokens."""

    server: Server
    alg: str
    clock: FixedClock
    weak: frozenset[str] = frozenset()
    dead: set[str] = field(default_factory=set)
    proofs: set[str] = field(default_factory=set)
    proof_key: str | None = None
    certificate: str = ""

    def __post_init__(self) -> None:
        for path in ("/v1/orders", "/V1/ORDERS", "/v1//orders", "/v1/orders;otelprobe", "/v1/orders/2"):
            self.server.on(path, self.answer)

    def answer(self, seen: Seen) -> Answer:
        """Answer one request."""
        if seen.method == "OPTIONS":
            return self._preflight(seen)
        if self._bypassed(seen):
            return OK
        token = self._token(seen)
        if token is None or not self._good(token):
            return self._refuse(token)
        as_bearer = seen.headers.get("authorization", "").lower().startswith("bearer")
        if self.proof_key is not None and not as_bearer and not self._proven(seen, token):
            return REFUSED
        if seen.path == "/v1/orders/2" and "objects" not in self.weak:
            return Answer(404)
        scopes = str(self._claims(token).get("scope", "orders:admin")).split()
        return OK if "orders:admin" in scopes or "scope" in self.weak else Answer(403)

    def _refuse(self, token: str | None) -> Answer:
        if "chatty" in self.weak and token is not None and token.count(".") == 2:
            return Answer(401, f"bad because of {self._claims(token).get('otelprobe', 'its signature')}".encode())
        if "trace" in self.weak and token is not None:
            return Answer(401, b'Traceback (most recent call last):\n  File "/app/auth.py", line 7')
        return REFUSED

    def _preflight(self, seen: Seen) -> Answer:
        headers = [("Access-Control-Allow-Methods", "GET")]
        if "cors" in self.weak or ("cors_null" in self.weak and seen.headers.get("origin") == "null"):
            headers += [
                ("Access-Control-Allow-Origin", seen.headers["origin"]),
                ("Access-Control-Allow-Credentials", "true"),
            ]
        return Answer(204, b"", headers)

    def _bypassed(self, seen: Seen) -> bool:
        """Tell whether something lets a request by before any token is looked at."""
        if seen.path not in {"/v1/orders", "/v1/orders/2"} and f"path:{seen.path}" in self.weak:
            return True
        if "override" in self.weak and "x-http-method-override" in seen.headers:
            return True
        if "gateway" in self.weak and "x-user-id" in seen.headers:
            return True
        return "open" in self.weak

    def _token(self, seen: Seen) -> str | None:
        scheme, _, token = seen.headers.get("authorization", "").partition(" ")
        if scheme.lower() in {"bearer", "dpop"} or (scheme and "any_scheme" in self.weak):
            if self.proof_key is not None and scheme.lower() != "dpop" and "bearer_bound" not in self.weak:
                return None
            return token.strip()
        if "query" in self.weak and "access_token" in seen.query:
            return seen.query["access_token"][0]
        return seen.form.get("access_token") if "form" in self.weak and seen.method == "POST" else None

    def _claims(self, token: str) -> Mapping[str, Any]:
        try:
            found = json.loads(decoded(token.split(".")[1]))
        except (ValueError, IndexError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}

    def _good(self, token: str) -> bool:
        if token in self.dead and "revoked" not in self.weak:
            return False
        if not token:
            return "empty" in self.weak
        if token.count(".") != 2:
            return "garbage" in self.weak
        try:
            header = json.loads(decoded(token.split(".", maxsplit=1)[0]))
        except ValueError:
            return False
        signed = self._signature_holds(token, header)
        return signed and ("crit" not in header or "crit" in self.weak) and self._claims_hold(token)

    def _signature_holds(self, token: str, header: Mapping[str, Any]) -> bool:
        weak = self.weak
        head, body, last = token.split(".")
        alg = str(header.get("alg", ""))
        if "skips_signature" in weak or ("unsigned" in weak and alg.lower() == "none" and not last):
            return True
        if ("unsigned_any" in weak and alg.lower() == "none") or ("no_alg" in weak and not alg):
            return True
        if "null_signature" in weak and not last and alg == self.alg:
            return True
        if alg == "HS256" and self._mac(f"{head}.{body}".encode(), header, last):
            return True
        if "zero" in weak and alg == self.alg and last and not any(decoded(last)):
            return True
        if "unknown_kid" in weak and header.get("kid") != "k1":
            return True
        if "inline" in weak and "jwk" in header:
            return self._verified(token, alg, pyjwt.PyJWK(header["jwk"]).key)
        if {"jku", "jku_asked"} & weak and "jku" in header:
            return self._by_url(token, alg, header["jku"]) and "jku" in weak
        if "x5u" in weak and "x5u" in header:
            found = x509.load_pem_x509_certificate(_fetched(header["x5u"]))
            return self._verified(token, alg, found.public_key())
        return self._own(token, alg)

    def _by_url(self, token: str, alg: str, url: str) -> bool:
        """Verify with the key that stands at a URL under the token's kid."""
        kid = json.loads(decoded(token.split(".", maxsplit=1)[0]))["kid"]
        (key,) = (key for key in json.loads(_fetched(url))["keys"] if key["kid"] == kid)
        return self._verified(token, alg, pyjwt.PyJWK(key).key)

    def _own(self, token: str, alg: str) -> bool:
        if self.alg.startswith("HS"):
            return alg in ({"HS256", "HS512"} if "any_alg" in self.weak else {self.alg}) and self._verified(
                token, alg, SECRET
            )
        return alg == self.alg and self._verified(token, alg, signing_key(self.alg).public_key())

    def _verified(self, token: str, alg: str, key: Any) -> bool:
        try:
            pyjwt.PyJWS().decode(token, key, algorithms=[alg], options={"verify_signature": True})
        except pyjwt.InvalidTokenError as error:
            return "crit" in str(error).lower() and "crit" in self.weak
        return True

    def _mac(self, signed: bytes, header: Mapping[str, Any], last: str) -> bool:
        """Verify an HMAC with what this API mistakes for a secret."""
        public: Any = None if self.alg.startswith("HS") else signing_key(self.alg).public_key()
        secrets: dict[str, bytes] = {"blank": b""}
        if header.get("kid") == "../../../../../../dev/null":
            secrets["kid_path"] = b""
        if "SELECT" in str(header.get("kid")):
            secrets["kid_sql"] = b"otelprobe"
        if public is not None:
            spki = serialization.PublicFormat.SubjectPublicKeyInfo
            pem = public.public_bytes(serialization.Encoding.PEM, spki)
            secrets |= {
                "pem": pem,
                "pem_bare": pem.strip(),
                "der": public.public_bytes(serialization.Encoding.DER, spki),
            }
            secrets["certificate"] = _as_pem(self.certificate)
            secrets["jwk"] = json.dumps(jwk(self.alg), separators=(",", ":")).encode()
        found = decoded(last)
        return any(
            name in self.weak and hmac.compare_digest(hmac.new(secret, signed, sha256).digest(), found)
            for name, secret in secrets.items()
        )

    def _claims_hold(self, token: str) -> bool:
        """Check iss, aud, exp and nbf; a weakness forgives one of them."""
        forgiven = {"exp": {"expired", "exp is missing"}, "aud": {"audience"}, "iss": {"issuer"}, "nbf": {"early"}}
        found = set(self._wrong(self._claims(token)))
        return not found - {fault for name, faults in forgiven.items() if name in self.weak for fault in faults}

    def _wrong(self, claims: Mapping[str, Any]) -> list[str]:
        now, wrong = self.clock.now, []
        if "exp" not in claims:
            wrong.append("exp is missing")
        elif now >= claims["exp"] + 5:
            wrong.append("expired")
        if claims.get("nbf", 0) > now + 5:
            wrong.append("early")
        wanted = policy()
        if claims.get("aud") not in (wanted.audience or ()):
            wrong.append("audience")
        if claims.get("iss") != wanted.issuer:
            wrong.append("issuer")
        return wrong

    def _proven(self, seen: Seen, token: str) -> bool:
        """Check a DPoP proof (RFC 9449, section 4.3)."""
        proof = seen.headers.get("dpop")
        if proof is None:
            return "no_proof" in self.weak
        proof, *more = proof.split(", ")
        header = pyjwt.get_unverified_header(proof)
        shown, claims = header.get("jwk", {}), self._claims(proof)
        rules = {
            "twice": not more,
            "typ": header.get("typ") == "dpop+jwt",
            "key": thumbprint(shown) == self.proof_key,
            "htm": claims.get("htm") == seen.method,
            "htu": claims.get("htu") == f"{self.server.url}{seen.path}",
            "iat": abs(float(claims.get("iat", 0)) - self.clock.now) < 60,
            "ath": claims.get("ath") == digest(token.encode()),
            "replay": claims.get("jti") not in self.proofs,
            "signature": self._proof_signed(proof, shown),
        }
        self.proofs.add(str(claims.get("jti")))
        return all(held or f"proof:{rule}" in self.weak for rule, held in rules.items())

    def _proof_signed(self, proof: str, shown: Mapping[str, Any]) -> bool:
        try:
            pyjwt.PyJWS().decode(proof, pyjwt.PyJWK(dict(shown), algorithm="ES256").key, algorithms=["ES256"])
        except pyjwt.PyJWTError:
            return False
        return True
