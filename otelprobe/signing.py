"""Keys that the prober signs with, read at each use, and the words of a flow file that say how it signs."""

from collections.abc import Iterator, Mapping
from dataclasses import field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

from otelprobe.fields import Duration, SecretRef
from otelprobe.quick import dataclass
from otelprobe.reasons import CheckFailed, Reason
from otelprobe.tokens import (
    SYMMETRIC,
    AlgorithmName,
    generate_key,
    private_key,
    public_jwk,
    sign,
    signing_algorithms,
    thumbprint,
)

if TYPE_CHECKING:
    from jwt.algorithms import AllowedPrivateKeys

LIFETIME = 60.0
"""Seconds that an assertion lives: servers may refuse more, and a clock that is off by as much breaks tokens as well."""

_SET_HERE = frozenset({"exp", "iat", "nbf"})
_KEY_MEND = "add key: {file: PATH} with a private key in PEM or JWK form"


@dataclass(frozen=True, slots=True)
class Signer:
    """A private key or shared secret with the algorithm that it signs by. `jwk` is the public key, empty for a secret."""

    key: "AllowedPrivateKeys | bytes" = field(repr=False)
    algorithm: str
    kid: str | None = None
    jwk: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def thumbprint(self) -> str:
        """The RFC 7638 thumbprint of the public key."""
        return thumbprint(self.jwk)

    def sign(self, claims: Mapping[str, Any], headers: Mapping[str, Any] | None = None) -> str:
        """Sign claims into a JWS whose header names the key."""
        named = {} if self.kid is None else {"kid": self.kid}
        return sign(claims, self.key, self.algorithm, {**named, **(headers or {})})


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientAssertion:
    """The signed statement by which a client proves who it is (RFC 7523): one that is made here, or one that lies ready."""

    key: SecretRef | None = None
    """Private key in PEM (not encrypted) or JWK form, for `private_key_jwt`."""

    kid: str | None = None
    """Name of the key in the assertion's header; default: that of the JWK, if it has one."""

    algorithm: AlgorithmName | None = None
    """What it is signed with; default: what fits the key (`RS256`, `ES256`, `EdDSA`), `HS256` for `client_secret_jwt`."""

    audience: Literal["token_endpoint", "issuer"] = "token_endpoint"
    """Who is named as its audience."""

    certificate: str | None = None
    """File with the key's certificate in PEM (behind it the rest of its chain), for providers that know a client by its
    certificate; read at each use, and compared with the key.
    """

    certificate_header: Literal["x5t#S256", "x5t", "x5c"] = "x5t#S256"
    """How the header names the certificate (RFC 7515, section 4.1): its SHA-256 (`x5t#S256`) or SHA-1 (`x5t`), or the whole chain
    (`x5c`).
    """

    token: SecretRef | None = None
    """An assertion that somebody else has signed, such as a projected Kubernetes service-account token; read at each use."""

    def faults(self) -> Iterator[tuple[str, str]]:
        """Say what does not fit together."""
        if self.token is not None and (self.key is not None or self.kid is not None or self.algorithm is not None):
            yield "token", "a token that lies ready is not signed here: remove it, or key, kid and algorithm"
        if self.certificate is not None and self.key is None:
            yield "certificate", "a certificate goes with its key: add key: {file: PATH}"
        if self.certificate is None and self.certificate_header != "x5t#S256":
            yield "certificate_header", "there is no certificate that the header could name: add certificate: PATH"

    def secrets(self) -> Iterator[tuple[str, SecretRef]]:
        """Give the secrets, each with the member that names it."""
        yield from ((n, s) for n, s in (("key", self.key), ("token", self.token)) if s is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dpop:
    """How tokens are bound to a key of the client's (RFC 9449)."""

    algorithm: AlgorithmName | None = None
    """What proofs are signed with, asymmetric; default: what fits the key, `ES256` for a fresh one."""

    key: SecretRef | None = None
    """Private key in PEM (not encrypted) or JWK form; default: a fresh one in every run."""

    def faults(self) -> Iterator[tuple[str, str]]:
        """Say what does not fit together."""
        if self.algorithm in SYMMETRIC:
            yield "algorithm", f"{self.algorithm} is symmetric: a proof is signed with ES256, RS256, EdDSA or the like"
        if self.key is None and self.algorithm is not None and self.algorithm.startswith(("RS", "PS")):
            yield "algorithm", f"a fresh {self.algorithm} key in every run takes too long: set key, or use ES256"

    def signer(self) -> Signer:
        """Read the key, or draw a fresh one."""
        if self.key is not None:
            return read_signer(self.key, self.algorithm)
        algorithm = self.algorithm or "ES256"
        key = generate_key(algorithm)
        return Signer(key, algorithm, jwk=public_jwk(key))


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedAssertion:
    """An assertion that is made and signed here, for `grant: jwt_bearer` (RFC 7523, section 2.1)."""

    key: SecretRef
    """Private key in PEM (not encrypted) or JWK form; a shared secret for HS algorithms."""

    algorithm: AlgorithmName | None = None
    """What it is signed with; default: what fits the key."""

    kid: str | None = None
    """Name of the key in the header; default: that of the JWK, if it has one."""

    claims: Mapping[str, object] = field(default_factory=dict, repr=False)
    """Claims besides `exp`, `iat` and `jti`; `iss` and `sub` are the client and `aud` is the token endpoint unless said here."""

    lifetime: Duration = LIFETIME
    """How long it is valid; default 60s."""

    def faults(self) -> Iterator[tuple[str, str]]:
        """Say what does not fit together."""
        fixed = sorted(_SET_HERE & self.claims.keys())
        if fixed:
            yield "claims", f"{', '.join(fixed)} cannot be set here: use lifetime"

    def signer(self) -> Signer:
        """Read the key."""
        return read_signer(self.key, self.algorithm, self.kid)


def read_signer(secret: SecretRef, algorithm: str | None, kid: str | None = None) -> Signer:
    """Read a key to sign with; CheckFailed(config_error, secret_missing) names where it comes from, never what it is."""
    text = secret.read()
    if algorithm in SYMMETRIC:
        return Signer(text.encode(), algorithm, kid)
    try:
        return _signer(text, algorithm, kid)
    except ValueError as error:
        why = str(error)
    raise CheckFailed(Reason.CONFIG_ERROR, f"{secret.source}: {why}")


@lru_cache(maxsize=32)
def _signer(text: str, algorithm: str | None, kid: str | None) -> Signer:
    """Make a signer of a key's text. It is kept, as reading an RSA key costs 40 ms, which are nobody's but ours."""
    key, jwk = private_key(text)
    fitting = signing_algorithms(jwk)
    chosen = algorithm or jwk.get("alg") or fitting[0]
    if chosen not in fitting:
        raise ValueError(f"the key does not fit algorithm {algorithm or 'of its JWK'}: it signs {', '.join(fitting)}")
    return Signer(key, chosen, kid or jwk.get("kid"), {k: v for k, v in jwk.items() if k not in {"kid", "alg"}})


def assertion_faults(method: str, assertion: ClientAssertion | None, *, has_secret: bool) -> Iterator[tuple[str, str]]:
    """Say where the way of client authentication and its assertion do not fit: pairs of a provider's member and mend."""
    given = assertion or ClientAssertion()
    if method == "private_key_jwt" and given.key is None and given.token is None:
        yield "client_auth", f"private_key_jwt needs client_assertion: {_KEY_MEND}, or token: {{file: PATH}}"
    if method == "private_key_jwt" and given.algorithm in SYMMETRIC:
        yield (
            "client_assertion",
            f"{given.algorithm} is signed with a shared secret: use client_auth: client_secret_jwt",
        )
    if method == "client_secret_jwt" and not has_secret:
        yield "client_auth", "client_secret_jwt needs client_secret: add client_secret: {env: NAME} or {file: PATH}"
    if method == "client_secret_jwt" and (given.key is not None or given.token is not None):
        yield "client_assertion", "client_secret_jwt signs with client_secret: remove key and token"
    if method == "client_secret_jwt" and given.algorithm is not None and given.algorithm not in SYMMETRIC:
        yield "client_assertion", f"client_secret_jwt signs with HS256, HS384 or HS512, not {given.algorithm}"
    if assertion is not None and method not in {"private_key_jwt", "client_secret_jwt"}:
        yield "client_assertion", f"goes with client_auth: private_key_jwt or client_secret_jwt, not {method}"
