"""What the tests of signed client authentication and of bound tokens share: keys on disk, and what a strict server checks."""

import hashlib
import json
from base64 import urlsafe_b64encode
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from otelprobe.fields import SecretRef
from tests.conftest import Seen
from tests.token_kit import signing_key

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_FORMS = {
    "RS256": RSAAlgorithm,
    "PS256": RSAAlgorithm,
    "ES256": ECAlgorithm,
    "ES384": ECAlgorithm,
    "EdDSA": OKPAlgorithm,
}


def pem(alg: str, which: int = 0) -> str:
    """Give a private key as PEM."""
    text: bytes = signing_key(alg, which).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return text.decode()


def jwk(signs: str, which: int = 0, **members: str) -> dict[str, Any]:
    """Give a private key as a JWK."""
    return {**_FORMS[signs].to_jwk(signing_key(signs, which), as_dict=True), **members}


def key_file(folder: Path, text: str | dict[str, Any]) -> SecretRef:
    """Write a key to a file of its own."""
    path = folder / f"key-{len(list(folder.iterdir()))}"
    path.write_text(text if isinstance(text, str) else json.dumps(text), encoding="utf-8")
    return SecretRef(file=str(path))


def read_assertion(seen: Seen, alg: str, *, audience: str, which: int = 0, member: str = "client_assertion") -> Any:
    """Verify an assertion as its audience would, and give its claims."""
    key = (
        signing_key(alg, which) if isinstance(signing_key(alg, which), bytes) else signing_key(alg, which).public_key()
    )
    claims = jwt.decode(
        seen.form[member],
        key,
        algorithms=[alg],
        audience=audience,
        options={"require": ["iss", "sub", "exp", "iat", "jti"]},
    )
    assert claims["exp"] - claims["iat"] <= 60
    return claims


def read_proof(seen: Seen) -> dict[str, Any]:
    """Verify a DPoP proof with the key in its own header (RFC 9449, section 4.3); give claims with the thumbprint `jkt`."""
    text = seen.headers["dpop"]
    header = jwt.get_unverified_header(text)
    assert header["typ"] == "dpop+jwt"
    assert "d" not in header["jwk"]
    claims = jwt.decode(text, jwt.PyJWK(header["jwk"], header["alg"]).key, algorithms=[header["alg"]])
    assert claims["htm"] == seen.method
    return {**claims, "jkt": thumbprint(header["jwk"]), "alg": header["alg"]}


def thumbprint(public: dict[str, Any]) -> str:
    """Give an RFC 7638 thumbprint, spelled out here as the standard does."""
    names = {"RSA": ("e", "kty", "n"), "EC": ("crv", "kty", "x", "y"), "OKP": ("crv", "kty", "x")}[public["kty"]]
    text = json.dumps({name: public[name] for name in names}, separators=(",", ":"), sort_keys=True)
    return digest(text.encode())


def digest(value: bytes) -> str:
    """Give SHA-256 in base64url without padding."""
    return urlsafe_b64encode(hashlib.sha256(value).digest()).rstrip(b"=").decode()


def certificate(alg: str, which: int = 0, *, days: int = 1) -> x509.Certificate:
    """Give a self-signed certificate of a test key; with `days` below zero it ended that long ago."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "probe")])
    ends = datetime.now(UTC) + timedelta(days)
    key = signing_key(alg, which)
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    return made.not_valid_before(ends - timedelta(30)).not_valid_after(ends).sign(key, SHA256())


def certificate_file(folder: Path, *certificates: x509.Certificate) -> str:
    """Write certificates to a PEM file of their own."""
    path = folder / f"certificate-{len(list(folder.iterdir()))}.pem"
    path.write_bytes(b"".join(one.public_bytes(Encoding.PEM) for one in certificates))
    return str(path)
