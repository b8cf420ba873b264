"""Keys to verify and to sign with, read from JWK, JWKS, PEM and shared secrets."""

import json
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import field
from functools import lru_cache
from hashlib import sha256
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from otelprobe.quick import dataclass
from otelprobe.reasons import CheckFailed, Reason
from otelprobe.tokens.algorithms import FAMILIES, algorithms, foreign_errors, in_family
from otelprobe.tokens.encoding import digest, encoded, shown

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
    from jwt.algorithms import AllowedPrivateKeys

_PRIVATE: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "RSA": frozenset({"d", "p", "q", "dp", "dq", "qi", "oth"}),
        "EC": frozenset({"d"}),
        "OKP": frozenset({"d"}),
        "oct": frozenset({"k"}),
    }
)

_PRIVATE_ELSEWHERE = frozenset({"d", "k", "priv"})

_THUMBPRINT = {"RSA": ("e", "kty", "n"), "EC": ("crv", "kty", "x", "y"), "OKP": ("crv", "kty", "x")}


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a JWKS, parsed alone. `fault` says why it cannot verify (None: it can).

    `thumbprint` is RFC 7638 (None for unknown kinds, and for symmetric keys, whose hash could be guessed back to the
    secret); `private` says that private members were published. `jwk` holds the public members only, save for a
    symmetric key.
    """

    kid: str | None
    kty: str
    alg: str | None
    use: str | None
    thumbprint: str | None
    private: bool = False
    fault: str | None = None
    jwk: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def verifies(self) -> bool:
        """Whether a client may verify signatures with it: usable, public, and not set aside for something else."""
        return self.fault is None and self.kty != "oct" and _is_for_signatures(self)

    @property
    def label(self) -> str:
        """What to call it: its kid, else its thumbprint."""
        return self.kid if self.kid is not None else self.thumbprint or "without kid"


def parse_key_set(document: object) -> tuple[Key, ...]:
    """Parse a JWKS (RFC 7517), each key alone; CheckFailed(jwks_invalid) if it is no object with a list of keys."""
    if not isinstance(document, dict):
        raise CheckFailed(Reason.JWKS_INVALID, "the key set is no JSON object")
    entries = document.get("keys")
    if not isinstance(entries, list):
        raise CheckFailed(Reason.JWKS_INVALID, "the key set has no list named keys")
    return tuple(_parse_key(entry) for entry in entries)


def secret_key(secret: str) -> Key:
    """Make a key of a shared secret, for HS algorithms."""
    return _parse_key({"kty": "oct", "k": encoded(secret.encode())})


def pem_key(pem: bytes) -> Key:
    """Make a key of a PEM public key, certificate or private key (its public half); ValueError if it is none of them."""
    try:
        return _parse_key(public_jwk(_load_public(pem)))
    except foreign_errors():
        raise ValueError("no public key or certificate in PEM form that can verify tokens") from None


def _load_public(pem: bytes) -> "PublicKeyTypes":
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - see the package's docstring
    from cryptography.x509 import load_pem_x509_certificate  # noqa: PLC0415

    if b"-----BEGIN CERTIFICATE" in pem:
        return load_pem_x509_certificate(pem).public_key()
    if b"PRIVATE KEY-----" in pem:
        return serialization.load_pem_private_key(pem, password=None).public_key()
    return serialization.load_pem_public_key(pem)


def public_jwk(key: object, *, kid: str | None = None, alg: str | None = None) -> dict[str, Any]:
    """Give the public JWK of a `cryptography` key (public or private)."""
    from cryptography.hazmat.primitives.asymmetric import ec, rsa  # noqa: PLC0415 - see the package's docstring
    from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm  # noqa: PLC0415

    public: Any = key.public_key() if hasattr(key, "public_key") else key
    if isinstance(public, rsa.RSAPublicKey):
        jwk = RSAAlgorithm.to_jwk(public, as_dict=True)
    elif isinstance(public, ec.EllipticCurvePublicKey):
        jwk = ECAlgorithm.to_jwk(public, as_dict=True)
    else:
        jwk = OKPAlgorithm.to_jwk(public, as_dict=True)
    named = {"kid": kid, "alg": alg}
    return {**jwk, **{name: value for name, value in named.items() if value is not None}}


def _parse_key(entry: object) -> Key:
    if not isinstance(entry, dict):
        return Key(None, "", None, None, None, fault="the entry is no JSON object")
    kty = _text(entry, "kty") or ""
    secret = _PRIVATE.get(kty, _PRIVATE_ELSEWHERE)
    public = {name: value for name, value in entry.items() if name not in secret or kty == "oct"}
    return Key(
        kid=_text(entry, "kid"),
        kty=kty,
        alg=_text(entry, "alg"),
        use=_text(entry, "use"),
        thumbprint=_thumbprint(kty, public),
        private=not secret.isdisjoint(entry),
        fault=_key_fault(kty, public),
        jwk=public,
    )


def _text(entry: Mapping[str, Any], name: str) -> str | None:
    value = entry.get(name)
    return value if isinstance(value, str) else None


def _thumbprint(kty: str, jwk: Mapping[str, Any]) -> str | None:
    members = {name: jwk.get(name) for name in _THUMBPRINT.get(kty, ())}
    if not members or not all(isinstance(value, str) for value in members.values()):
        return None
    return encoded(sha256(json.dumps(members, separators=(",", ":"), sort_keys=True).encode()).digest())


def _key_fault(kty: str, jwk: Mapping[str, Any]) -> str | None:
    """Say why a key cannot be used. PyJWT's own texts are not repeated: they quote the whole key."""
    if kty not in _PRIVATE:
        return f"unknown kty {shown(kty)}" if kty else "it has no kty"
    alg = next((a for a, family in FAMILIES.items() if in_family(kty, jwk.get("crv"), family)), None)
    if alg is None:
        return f"unknown crv {shown(jwk.get('crv'))}"
    try:
        public_key(alg, jwk)
    except foreign_errors():
        return "its parameters cannot be read"
    return None


def public_key(alg: str, jwk: Mapping[str, Any]) -> Any:
    """Read a key for an algorithm. A shared secret is not kept: it may be rotated, and memory is no place for it."""
    if jwk.get("kty") == "oct":
        return _read_key(alg, jwk)
    return _kept_key(alg, tuple([jwk.get(name) for name in _MATERIAL]))


def native_key(key: Key) -> Any:
    """Give the `cryptography` key of a published key; None for a shared secret, or where it cannot be read."""
    usual = next(iter(signing_algorithms(key.jwk)), None)
    if usual is None or key.kty == "oct" or key.fault is not None:
        return None
    return public_key(usual, key.jwk)


_MATERIAL = ("kty", "crv", "n", "e", "x", "y")
"""What a public key of any kind is made of (RFC 7518, section 6; RFC 8037)."""


@lru_cache(maxsize=256)
def _kept_key(alg: str, material: tuple[Any, ...]) -> Any:
    """Read a public key, or give it again: reading it costs half as much as the verification itself."""
    known = zip(_MATERIAL, material, strict=True)
    return _read_key(alg, {name: value for name, value in known if value is not None})


def _read_key(alg: str, jwk: Mapping[str, Any]) -> Any:
    algorithm = algorithms()[alg]
    return algorithm.prepare_key(algorithm.from_jwk(dict(jwk)))


def _is_for_signatures(key: Key) -> bool:
    operations = key.jwk.get("key_ops")
    return key.use in {None, "sig"} and (not isinstance(operations, list) or "verify" in operations)


def fits(key: Key, alg: str) -> bool:
    """Tell whether a key may verify `alg`. A key without alg fits its whole family; Ed25519 is EdDSA by its new name."""
    same = key.alg is None or key.alg == alg or {key.alg, alg} <= {"EdDSA", "Ed25519", "Ed448"}
    return same and _is_for_signatures(key) and in_family(key.kty, key.jwk.get("crv"), FAMILIES[alg])


def generate_key(alg: str, *, bits: int = 2048) -> "AllowedPrivateKeys | bytes":
    """Draw a fresh signing key for an algorithm, an RSA key of so many bits; KeyError for an unknown one."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa  # noqa: PLC0415 - see the package's docstring

    kty, curves = FAMILIES[alg]
    if kty == "oct":
        from secrets import token_bytes  # noqa: PLC0415 - only here

        return token_bytes(64)
    if kty == "RSA":
        return rsa.generate_private_key(65537, bits)
    if kty == "OKP":
        return ed448.Ed448PrivateKey.generate() if alg == "Ed448" else ed25519.Ed25519PrivateKey.generate()
    named = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1(), "secp256k1": ec.SECP256K1()}
    return ec.generate_private_key(named[curves[0]])


def private_jwk(key: object) -> dict[str, Any]:
    """Give the JWK of a private `cryptography` key, private members included."""
    from cryptography.hazmat.primitives.asymmetric import ec, rsa  # noqa: PLC0415 - see the package's docstring
    from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm  # noqa: PLC0415

    if isinstance(key, rsa.RSAPrivateKey):
        jwk = RSAAlgorithm.to_jwk(key, as_dict=True)
    elif isinstance(key, ec.EllipticCurvePrivateKey):
        jwk = ECAlgorithm.to_jwk(key, as_dict=True)
    else:
        jwk = OKPAlgorithm.to_jwk(key, as_dict=True)  # type: ignore[call-overload]  # the remaining kind of key
    return {name: value for name, value in jwk.items() if name != "key_ops"}


def private_key(text: str) -> "tuple[AllowedPrivateKeys, Mapping[str, Any]]":
    """Read a private key in PEM or JWK form; give it with its public JWK, which has the kid and alg that the JWK names.

    ValueError says what is wrong, never what the text holds.
    """
    if "PRIVATE KEY-----" in text:
        key = _private_pem(text.encode())
        return key, public_jwk(key)
    try:
        jwk = json.loads(text)
    except (ValueError, RecursionError):
        jwk = None
    if not isinstance(jwk, dict) or "kty" not in jwk:
        raise ValueError("no private key in PEM or JWK form")
    key = _private_jwk(jwk)
    return key, public_jwk(key, kid=_text(jwk, "kid"), alg=_text(jwk, "alg"))


def _private_pem(pem: bytes) -> "AllowedPrivateKeys":
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - see the package's docstring

    try:
        key: Any = serialization.load_pem_private_key(pem, password=None)
        if signing_algorithms(public_jwk(key)):
            return key  # type: ignore[no-any-return]  # its public half says that it is one that signs
    except TypeError:
        raise ValueError("the private key is encrypted: give it without a password") from None
    except foreign_errors():
        pass
    raise ValueError("no private key in PEM form that can sign tokens")


def _private_jwk(jwk: Mapping[str, Any]) -> "AllowedPrivateKeys":
    usual = next(iter(signing_algorithms(jwk)), None)
    if usual is None or jwk["kty"] == "oct":
        raise ValueError("the JWK is of no type that has a private key (RSA, EC, OKP)")
    try:
        key: Any = algorithms()[usual].from_jwk(dict(jwk))
    except foreign_errors():
        raise ValueError("the JWK's parameters cannot be read") from None
    if not hasattr(key, "private_bytes"):
        raise ValueError("the JWK is a public key: the private one is needed")
    return key  # type: ignore[no-any-return]  # just asked whether it is a private key


def signing_algorithms(jwk: Mapping[str, Any]) -> tuple[str, ...]:
    """Give the algorithms that a key of this type and curve signs with, the usual one first."""
    return tuple(a for a, family in FAMILIES.items() if in_family(str(jwk.get("kty")), jwk.get("crv"), family))


def key_weakness(key: Key) -> str | None:
    """Say why a public key is too weak (RFC 7518, sections 3.3 and 3.4); None for one that is not, or cannot be read."""
    alg = next(iter(signing_algorithms(key.jwk)), None)
    if alg is None or key.fault is not None or key.kty == "oct":
        return None
    return algorithms()[alg].check_key_length(public_key(alg, key.jwk)) or None


def certificate_end(key: Key) -> float | None:
    """Give when the key's own certificate (`x5c`, RFC 7517, section 4.7) ends, Unix time; None where there is none."""
    chain = key.jwk.get("x5c")
    if not isinstance(chain, list) or not chain or not isinstance(chain[0], str):
        return None
    from cryptography.x509 import load_der_x509_certificate  # noqa: PLC0415 - as PyJWT, see the package

    try:
        return load_der_x509_certificate(b64decode(chain[0])).not_valid_after_utc.timestamp()
    except foreign_errors():
        return None


def thumbprint(jwk: Mapping[str, Any]) -> str:
    """Give the RFC 7638 thumbprint of a public JWK; empty for a key of no known type."""
    return _thumbprint(str(jwk.get("kty")), jwk) or ""


def certificate_thumbprint(pem: bytes) -> str:
    """Give `x5t#S256` of the first certificate in a PEM text (RFC 8705, section 3.1); ValueError if there is none."""
    from cryptography.hazmat.primitives.serialization import Encoding  # noqa: PLC0415 - see the package's docstring
    from cryptography.x509 import load_pem_x509_certificates  # noqa: PLC0415

    return digest(load_pem_x509_certificates(pem)[0].public_bytes(Encoding.DER))
