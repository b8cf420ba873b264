"""The only door to PyJWT: tokens are told apart, parsed and verified here, and bad ones are forged here.

PyJWT's algorithms do the cryptography; the claims are tested here, each on its own, because PyJWT stops at the first
that fails and takes numeric strings for times. PyJWT costs 0.2 s to import, so that happens at the first use.
"""

import base64
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from hashlib import sha256
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, Protocol

from otelprobe.reasons import CheckFailed, Reason
from otelprobe.result import Fact, FactValue, Warn

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
    from jwt.algorithms import Algorithm, AllowedPrivateKeys

EXCEPTIONS: Mapping[str, Reason] = MappingProxyType(
    {
        "InvalidSignatureError": Reason.SIGNATURE_INVALID,
        "ExpiredSignatureError": Reason.EXPIRED,
        "ImmatureSignatureError": Reason.NOT_YET_VALID,
        "InvalidIssuedAtError": Reason.CLAIM_INVALID,
        "InvalidSubjectError": Reason.CLAIM_INVALID,
        "InvalidJTIError": Reason.CLAIM_INVALID,
        "MissingRequiredClaimError": Reason.CLAIM_MISSING,
        "InvalidIssuerError": Reason.ISSUER_MISMATCH,
        "InvalidAudienceError": Reason.AUDIENCE_MISMATCH,
        "InvalidAlgorithmError": Reason.ALG_NOT_ALLOWED,
        "DecodeError": Reason.TOKEN_MALFORMED,
        "InvalidTokenError": Reason.HEADER_UNEXPECTED,
        "InvalidKeyError": Reason.KEY_UNUSABLE,
        "MissingCryptographyError": Reason.ALG_UNSUPPORTED,
        "PyJWKError": Reason.KEY_UNUSABLE,
        "PyJWKSetError": Reason.JWKS_INVALID,
        "PyJWKClientConnectionError": Reason.JWKS_UNAVAILABLE,
        "PyJWKClientError": Reason.JWKS_UNAVAILABLE,
        "PyJWTError": Reason.TOKEN_MALFORMED,
        "UnsupportedAlgorithm": Reason.KEY_UNUSABLE,
        "TypeError": Reason.KEY_MISMATCH,
        "ValueError": Reason.KEY_UNUSABLE,
        "KeyError": Reason.KEY_UNUSABLE,
    }
)
"""What PyJWT and cryptography raise, by class name (they are not imported yet), to reasons; the nearest base decides."""

AlgorithmName = Literal[
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "ES256K",
    "EdDSA", "Ed25519", "Ed448", "HS256", "HS384", "HS512",
]  # fmt: skip
"""Every algorithm that can be verified here (RFC 7518, 8037, 8812, 9864)."""

_FAMILIES: Mapping[str, tuple[str, tuple[str, ...]]] = MappingProxyType(
    {
        **{f"{kind}{bits}": ("RSA", ()) for kind in ("RS", "PS") for bits in (256, 384, 512)},
        **{f"HS{bits}": ("oct", ()) for bits in (256, 384, 512)},
        "ES256": ("EC", ("P-256",)),
        "ES384": ("EC", ("P-384",)),
        "ES512": ("EC", ("P-521",)),
        "ES256K": ("EC", ("secp256k1",)),
        "EdDSA": ("OKP", ("Ed25519", "Ed448")),
        "Ed25519": ("OKP", ("Ed25519",)),
        "Ed448": ("OKP", ("Ed448",)),
    }
)
"""Algorithm to the type of key it needs and the curves it takes."""

SYMMETRIC: tuple[str, ...] = tuple(a for a, (kty, _) in _FAMILIES.items() if kty == "oct")
"""Algorithms whose verification key is the signing key."""

ASYMMETRIC: tuple[str, ...] = tuple(a for a, (kty, _) in _FAMILIES.items() if kty != "oct")
"""Algorithms whose verification key may be published."""

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
_BASE64URL = re.compile(r"[A-Za-z0-9_-]*")
_PLAIN = re.compile(r"[\w.:/+=@-]{1,120}", re.ASCII)
_LONGEST_SHOWN = 200
_MOST_LISTED = 20
_LATEST_TIME = 2.0**53


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


@dataclass(frozen=True, slots=True)
class Jwt:
    """A parsed JWS, not verified."""

    raw: str = field(repr=False)
    header: Mapping[str, Any]
    claims: Mapping[str, Any] = field(repr=False)

    @property
    def alg(self) -> str | None:
        """The algorithm that the header names."""
        alg = self.header.get("alg")
        return alg if isinstance(alg, str) else None

    @property
    def kid(self) -> str | None:
        """The key that the header names."""
        kid = self.header.get("kid")
        return kid if isinstance(kid, str) else None


class Condition(Protocol):
    """A condition on the values that were found under a claim's name: none or one."""

    def holds(self, found: list[object]) -> bool:
        """Tell whether the condition is fulfilled."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What a token has to fulfil. `audience` None means: not compared. `claims` maps a name to a condition of `expect`.

    `listed` says that somebody listed `algorithms`; where nobody did, an algorithm unknown here is our own shortcoming.
    """

    algorithms: tuple[str, ...]
    issuer: str | None = None
    audience: tuple[str, ...] | None = None
    leeway: float = 0.0
    require: tuple[str, ...] = ()
    max_lifetime: float | None = None
    typ: str | None = None
    claims: Mapping[str, Condition] = field(default_factory=dict)
    listed: bool = True


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a token."""

    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What local verification found: every problem (the most important first), and facts that may be published.

    `signed` says that the signature was checked and holds. `key` is the key that verified it.
    """

    problems: tuple[Problem, ...]
    facts: Mapping[str, FactValue]
    warnings: tuple[Warn, ...] = ()
    signed: bool = False
    key: Key | None = None


# Telling apart and parsing


def format_of(token: str) -> Literal["jws", "jwe", "opaque"]:
    """Tell a signed token from an encrypted and an opaque one, by its looks alone.

    Three base64url segments, or any first segment that is a JSON object, are taken for a JWS, broken or not.
    """
    segments = token.split(".")
    header = _json_object(segments[0])
    if len(segments) == 5 and header is not None and "enc" in header:
        return "jwe"
    three = len(segments) == 3 and all(_BASE64URL.fullmatch(s.rstrip("=")) for s in segments) and all(segments[:2])
    return "jws" if three or header is not None else "opaque"


def parse(token: str) -> Jwt:
    """Parse a JWS in compact form; CheckFailed(token_opaque, token_encrypted or token_malformed) if it is none."""
    form = format_of(token)
    if form == "opaque":
        raise CheckFailed(Reason.TOKEN_OPAQUE, "the token is no JWT")
    if form == "jwe":
        raise CheckFailed(Reason.TOKEN_ENCRYPTED, "the token is encrypted (JWE)")
    segments = token.split(".")
    if len(segments) != 3:
        raise CheckFailed(Reason.TOKEN_MALFORMED, f"the token has {len(segments)} segments, a signed JWT has 3")
    header, claims = _json_object(segments[0]), _json_object(segments[1])
    for part, found in (("header", header), ("payload", claims)):
        if found is None:
            raise CheckFailed(Reason.TOKEN_MALFORMED, f"the token's {part} is no JSON object in base64url")
    if _decoded(segments[2]) is None:
        raise CheckFailed(Reason.TOKEN_MALFORMED, "the token's signature is not base64url")
    return Jwt(token, header or {}, claims or {})


def _decoded(segment: str) -> bytes | None:
    """Decode base64url, strictly; padding is let pass as PyJWT does (AWS load balancers send it)."""
    text = segment.rstrip("=")
    if not _BASE64URL.fullmatch(text) or len(text) % 4 == 1 or len(segment) - len(text) > 2:
        return None
    value = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    return value if _encoded(value) == text else None


def _encoded(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def _encoded_json(value: object) -> str:
    return _encoded(json.dumps(value, separators=(",", ":")).encode())


def _json_object(segment: str) -> dict[str, Any] | None:
    data = _decoded(segment)
    if not data:
        return None
    try:
        value = json.loads(data, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is no JSON")


def shown(value: object) -> str:
    """Write a value of a header, `iss` or `aud` for people: plain words as they are, the rest as JSON, cut short."""
    if isinstance(value, str) and _PLAIN.fullmatch(value):
        return value
    text = json.dumps(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."


# Keys


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
    return _parse_key({"kty": "oct", "k": _encoded(secret.encode())})


def pem_key(pem: bytes) -> Key:
    """Make a key of a PEM public key, certificate or private key (its public half); ValueError if it is none of them."""
    try:
        return _parse_key(public_jwk(_load_public(pem)))
    except _foreign_errors():
        raise ValueError("no public key or certificate in PEM form that can verify tokens") from None


def _load_public(pem: bytes) -> "PublicKeyTypes":
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - see the module's docstring
    from cryptography.x509 import load_pem_x509_certificate  # noqa: PLC0415

    if b"-----BEGIN CERTIFICATE" in pem:
        return load_pem_x509_certificate(pem).public_key()
    if b"PRIVATE KEY-----" in pem:
        return serialization.load_pem_private_key(pem, password=None).public_key()
    return serialization.load_pem_public_key(pem)


def public_jwk(key: object, *, kid: str | None = None, alg: str | None = None) -> dict[str, Any]:
    """Give the public JWK of a `cryptography` key (public or private)."""
    from cryptography.hazmat.primitives.asymmetric import ec, rsa  # noqa: PLC0415 - see the module's docstring
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
    return _encoded(sha256(json.dumps(members, separators=(",", ":"), sort_keys=True).encode()).digest())


def _key_fault(kty: str, jwk: Mapping[str, Any]) -> str | None:
    """Say why a key cannot be used. PyJWT's own texts are not repeated: they quote the whole key."""
    if kty not in _PRIVATE:
        return f"unknown kty {shown(kty)}" if kty else "it has no kty"
    alg = next((a for a, family in _FAMILIES.items() if _in_family(kty, jwk.get("crv"), family)), None)
    if alg is None:
        return f"unknown crv {shown(jwk.get('crv'))}"
    try:
        _public_key(alg, jwk)
    except _foreign_errors():
        return "its parameters cannot be read"
    return None


def _in_family(kty: str, crv: object, family: tuple[str, tuple[str, ...]]) -> bool:
    return kty == family[0] and (not family[1] or crv in family[1])


def _public_key(alg: str, jwk: Mapping[str, Any]) -> Any:
    """Read a key for an algorithm. A shared secret is not kept: it may be rotated, and memory is no place for it."""
    if jwk.get("kty") == "oct":
        return _read_key(alg, jwk)
    return _kept_key(alg, json.dumps(jwk, sort_keys=True))


@lru_cache(maxsize=256)
def _kept_key(alg: str, jwk: str) -> Any:
    """Read a public key, or give it again: reading it costs half as much as the verification itself."""
    return _read_key(alg, json.loads(jwk))


def _read_key(alg: str, jwk: Mapping[str, Any]) -> Any:
    algorithm = _algorithms()[alg]
    return algorithm.prepare_key(algorithm.from_jwk(dict(jwk)))


@cache
def _algorithms() -> "Mapping[str, Algorithm]":
    from jwt.algorithms import OKPAlgorithm, get_default_algorithms  # noqa: PLC0415 - see the module's docstring

    named = {**get_default_algorithms(), "Ed25519": OKPAlgorithm(), "Ed448": OKPAlgorithm()}
    return {name: named[name] for name in _FAMILIES}


@cache
def _foreign_errors() -> tuple[type[Exception], ...]:
    """Give what PyJWT and cryptography raise for a key or token that is no good; the last three are plain Python's."""
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - see the module's docstring
    from jwt.exceptions import PyJWTError  # noqa: PLC0415

    return PyJWTError, UnsupportedAlgorithm, TypeError, ValueError, KeyError


def load_crypto() -> None:
    """Import PyJWT and cryptography, so that no measured step pays for them."""
    _algorithms()
    _foreign_errors()


def reason_for(error: Exception) -> Reason:
    """Translate what PyJWT or cryptography raised; what is in no table is our own fault and goes on."""
    for cls in type(error).__mro__:
        if cls.__name__ in EXCEPTIONS:
            return EXCEPTIONS[cls.__name__]
    raise error


def _is_for_signatures(key: Key) -> bool:
    operations = key.jwk.get("key_ops")
    return key.use in {None, "sig"} and (not isinstance(operations, list) or "verify" in operations)


def _fits(key: Key, alg: str) -> bool:
    """Tell whether a key may verify `alg`. A key without alg fits its whole family; Ed25519 is EdDSA by its new name."""
    same = key.alg is None or key.alg == alg or {key.alg, alg} <= {"EdDSA", "Ed25519", "Ed448"}
    return same and _is_for_signatures(key) and _in_family(key.kty, key.jwk.get("crv"), _FAMILIES[alg])


# Verifying


def verify(
    jwt: Jwt,
    keys: Sequence[Key],
    policy: Policy,
    now: float,
    *,
    issued_at: float | None = None,
    withdrawn: Iterable[str] = (),
) -> Verification:
    """Verify a token against keys and policy at Unix time `now`, and list everything that is wrong with it.

    `issued_at` is when it was obtained, if in this run (None: cached). `withdrawn` names the kids that were published before.
    """
    signature = _check_signature(jwt, keys, policy, frozenset(withdrawn))
    missing = tuple(_missing(jwt.claims, policy))
    problems = (
        *signature.problems,
        *_header_problems(jwt.header, policy),
        *(Problem(Reason.CLAIM_MISSING, f"claim {shown(name)} is missing") for name in missing),
        *_type_problems(jwt.claims),
        *time_problems(jwt.claims, policy, now, issued_at),
        *_party_problems(jwt.claims, policy),
        *_condition_problems(jwt.claims, policy),
        *_lifetime_problems(jwt.claims, policy),
    )
    return Verification(
        problems=problems,
        facts={**signature.facts, **_claim_facts(jwt, policy, now, missing), **problem_facts(problems)},
        warnings=(*signature.warnings, *_claim_warnings(jwt.claims)),
        signed=signature.key is not None,
        key=signature.key,
    )


@dataclass(frozen=True, slots=True)
class _Signature:
    problems: tuple[Problem, ...] = ()
    facts: Mapping[str, FactValue] = field(default_factory=dict)
    key: Key | None = None
    warnings: tuple[Warn, ...] = ()


def _check_signature(jwt: Jwt, keys: Sequence[Key], policy: Policy, withdrawn: frozenset[str]) -> _Signature:
    alg = jwt.alg
    problem = _alg_problem(alg, policy)
    if alg is None or problem is not None:
        facts = _kid_facts(jwt, keys)
        if problem and problem.reason is Reason.ALG_NONE:
            facts[Fact.JWT_SIGNATURE_VALID] = False
        return _Signature((problem,) if problem else (), facts)
    candidates = _candidates(jwt, keys, alg, withdrawn)
    if isinstance(candidates, Problem):
        return _Signature((candidates,), _kid_facts(jwt, keys))
    return _try_keys(jwt, candidates, alg, _kid_facts(jwt, keys))


def _alg_problem(alg: str | None, policy: Policy) -> Problem | None:
    if not alg:
        return Problem(Reason.ALG_NOT_ALLOWED, "the header names no alg")
    if alg.lower() == "none":
        return Problem(Reason.ALG_NONE, f"alg is {alg}: the token is unsigned")
    if alg not in _FAMILIES and (alg in policy.algorithms or not policy.listed):
        return Problem(Reason.ALG_UNSUPPORTED, f"alg is {shown(alg)}, which otelprobe cannot verify")
    if alg not in policy.algorithms:
        return Problem(Reason.ALG_NOT_ALLOWED, f"alg is {shown(alg)}, allowed is {_listed(policy.algorithms)}")
    return None


def _listed(algorithms: Sequence[str]) -> str:
    """Name algorithms; those that a provider advertises are foreign text, and may be many."""
    more = "" if len(algorithms) <= _MOST_LISTED else f" and {len(algorithms) - _MOST_LISTED} more"
    return ", ".join(shown(alg) for alg in algorithms[:_MOST_LISTED]) + more


def _kid_facts(jwt: Jwt, keys: Sequence[Key]) -> dict[str, FactValue]:
    if jwt.kid is None or all(key.kid is None for key in keys):
        return {}
    return {Fact.JWT_KID_FOUND: any(key.kid == jwt.kid for key in keys)}


def _candidates(jwt: Jwt, keys: Sequence[Key], alg: str, withdrawn: frozenset[str]) -> list[Key] | Problem:
    """Give the keys to try: those the kid names, else those without kid; without a kid, every key that fits."""
    named = [k for k in keys if k.kid == jwt.kid or k.kid is None] if jwt.kid is not None else list(keys)
    if not named:
        return _unknown_kid(jwt.kid, keys, withdrawn)
    exact = [k for k in named if k.kid == jwt.kid] or named
    fitting = [k for k in exact if k.fault is None and _fits(k, alg)]
    if fitting:
        return fitting
    for key in exact:
        if jwt.kid is not None and key.fault is not None:
            return Problem(Reason.KEY_UNUSABLE, f"key {shown(key.label)} cannot be used: {key.fault}")
    what = f"key {shown(jwt.kid)}" if jwt.kid is not None else f"none of the {len(keys)} keys"
    return Problem(Reason.KEY_MISMATCH, f"{what} {'does not fit' if jwt.kid is not None else 'fits'} alg {alg}")


def _unknown_kid(kid: str | None, keys: Sequence[Key], withdrawn: frozenset[str]) -> Problem:
    if kid is None:
        return Problem(Reason.KEY_MISMATCH, "there is no key to verify with")
    if kid in withdrawn:
        return Problem(Reason.KID_WITHDRAWN_EARLY, f"kid {shown(kid)} was published before and is gone")
    others = ", ".join(shown(k.label) for k in keys[:5]) or "none"
    return Problem(Reason.KID_NOT_IN_JWKS, f"kid {shown(kid)} is not published (published: {others})")


def _try_keys(jwt: Jwt, candidates: Sequence[Key], alg: str, facts: Mapping[str, FactValue]) -> _Signature:
    signed, _, last = jwt.raw.rpartition(".")
    signature = _decoded(last) or b""
    faults: list[Problem] = []
    for key in candidates:
        try:
            prepared = _public_key(alg, key.jwk)
            if _algorithms()[alg].verify(signed.encode(), prepared, signature):
                return _Signature((), {**facts, Fact.JWT_SIGNATURE_VALID: True}, key, _weakness(alg, key, prepared))
        except _foreign_errors() as error:
            reason = reason_for(error)
            faults.append(Problem(reason, f"key {shown(key.label)} cannot verify alg {alg}"))
    if len(faults) == len(candidates):
        return _Signature((faults[0],), facts)
    tried = f"key {shown(candidates[0].label)}" if len(candidates) == 1 else f"any of {len(candidates)} fitting keys"
    problem = Problem(Reason.SIGNATURE_INVALID, f"the signature does not verify with {tried}")
    return _Signature((problem,), {**facts, Fact.JWT_SIGNATURE_VALID: False})


def _weakness(alg: str, key: Key, prepared: object) -> tuple[Warn, ...]:
    """Warn of a key below the recommended length; asked for directly, so that PyJWT has no warning to emit."""
    message = _algorithms()[alg].check_key_length(prepared)
    return (Warn(Reason.KEY_UNUSABLE, f"weak key {shown(key.label)}: {message}"),) if message else ()


def _header_problems(header: Mapping[str, Any], policy: Policy) -> Iterator[Problem]:
    typ = header.get("typ")
    if policy.typ is not None and _media_type(typ) != _media_type(policy.typ):
        found = f"typ is {shown(typ)}" if typ is not None else "typ is missing"
        yield Problem(Reason.HEADER_UNEXPECTED, f"{found}, expected {policy.typ}")
    if "crit" in header:
        crit = header["crit"]
        if isinstance(crit, list) and crit and all(isinstance(name, str) for name in crit):
            yield Problem(Reason.HEADER_UNEXPECTED, f"crit names extensions that are not supported: {shown(crit)}")
        else:
            yield Problem(Reason.HEADER_UNEXPECTED, "crit is no list of names")
    if "kid" in header and not isinstance(header["kid"], str):
        yield Problem(Reason.HEADER_UNEXPECTED, "kid is not a string")


def _media_type(typ: object) -> object:
    """Compare `typ` as RFC 7515, section 4.1.9 says: without case, and `application/` may be left out."""
    return typ.lower().removeprefix("application/") if isinstance(typ, str) else typ


def _missing(claims: Mapping[str, Any], policy: Policy) -> Iterator[str]:
    """Name every claim that is required, or that is to be compared, and is not there."""
    compared = {
        "iss": policy.issuer is not None,
        "aud": policy.audience is not None,
        "exp": policy.max_lifetime is not None,
        "iat": policy.max_lifetime is not None,
    }
    wanted = [*policy.require, *(name for name, wanted in compared.items() if wanted)]
    conditional = [name for name, condition in policy.claims.items() if not condition.holds([])]
    yield from (name for name in dict.fromkeys((*wanted, *conditional)) if name not in claims)


def _type_problems(claims: Mapping[str, Any]) -> Iterator[Problem]:
    for name in ("exp", "nbf", "iat"):
        if name in claims and time_claim(claims, name) is None:
            yield Problem(Reason.CLAIM_INVALID, f"claim {name} is no number of seconds")
    for name in ("iss", "sub", "jti"):
        if name in claims and not isinstance(claims[name], str):
            yield Problem(Reason.CLAIM_INVALID, f"claim {name} is not a string")
    if "aud" in claims and _audiences(claims) is None:
        yield Problem(Reason.CLAIM_INVALID, "claim aud is neither a string nor a list of strings")


def time_claim(claims: Mapping[str, Any], name: str) -> float | None:
    """Give a time claim: a number, not a numeric string and not true (RFC 7519, section 2, NumericDate)."""
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > _LATEST_TIME:
        return None
    return float(value)


def _audiences(claims: Mapping[str, Any]) -> tuple[str, ...] | None:
    aud = claims.get("aud")
    values: list[Any] = aud if isinstance(aud, list) else [aud]
    return tuple(values) if all(isinstance(value, str) for value in values) else None


def time_problems(
    claims: Mapping[str, Any], policy: Policy, now: float, issued_at: float | None = None
) -> Iterator[Problem]:
    """Test exp, nbf and iat at `now`; the leeway is granted on either side (RFC 7519, sections 4.1.4 to 4.1.6)."""
    exp = time_claim(claims, "exp")
    if exp is not None and now >= exp + policy.leeway:
        if issued_at is not None and issued_at >= exp:
            yield Problem(Reason.EXPIRED_ON_ISSUE, f"exp was {issued_at - exp:.0f} s in the past when it was issued")
        else:
            yield Problem(Reason.EXPIRED, f"exp is {now - exp:.0f} s in the past")
    for name in ("nbf", "iat"):
        start = time_claim(claims, name)
        if start is not None and start > now + policy.leeway:
            yield Problem(Reason.NOT_YET_VALID, f"{name} is {start - now:.0f} s in the future")


def _party_problems(claims: Mapping[str, Any], policy: Policy) -> Iterator[Problem]:
    issuer = claims.get("iss")
    if policy.issuer is not None and isinstance(issuer, str) and issuer != policy.issuer:
        yield Problem(Reason.ISSUER_MISMATCH, f"iss is {shown(issuer)}, expected {policy.issuer}")
    audiences = _audiences(claims) if "aud" in claims else None
    if policy.audience is not None and audiences is not None and not set(audiences) & set(policy.audience):
        yield Problem(
            Reason.AUDIENCE_MISMATCH, f"aud is {shown(claims['aud'])}, expected {' or '.join(policy.audience)}"
        )


def _condition_problems(claims: Mapping[str, Any], policy: Policy) -> Iterator[Problem]:
    """Compare claims with their conditions; neither side's value is told, it may be a subject."""
    for name, condition in policy.claims.items():
        if name in claims and not condition.holds([claims[name]]):
            yield Problem(Reason.CLAIM_MISMATCH, f"claim {shown(name)} is not as expected")


def _lifetime(claims: Mapping[str, Any]) -> float | None:
    exp, iat = time_claim(claims, "exp"), time_claim(claims, "iat")
    return None if exp is None or iat is None else exp - iat


def _lifetime_problems(claims: Mapping[str, Any], policy: Policy) -> Iterator[Problem]:
    lifetime = _lifetime(claims)
    if policy.max_lifetime is not None and lifetime is not None and lifetime > policy.max_lifetime:
        yield Problem(
            Reason.LIFETIME_EXCESSIVE, f"the token lives {lifetime:.0f} s, allowed are {policy.max_lifetime:g} s"
        )


def _claim_facts(jwt: Jwt, policy: Policy, now: float, missing: tuple[str, ...]) -> dict[str, FactValue]:
    claims = jwt.claims
    exp, iat, lifetime = time_claim(claims, "exp"), time_claim(claims, "iat"), _lifetime(claims)
    measured: dict[str, float | None] = {
        Fact.JWT_AGE: None if iat is None else now - iat,
        Fact.JWT_REMAINING: None if exp is None else exp - now,
        Fact.JWT_LIFETIME: lifetime,
    }
    facts: dict[str, FactValue] = {Fact.JWT_FORMAT: "jws"}
    if jwt.alg:
        facts[Fact.JWT_ALG] = shown(jwt.alg)
    facts.update({name: round(value, 3) for name, value in measured.items() if value is not None})
    if policy.issuer is not None:
        facts[Fact.JWT_ISSUER_MATCH] = claims.get("iss") == policy.issuer
    if policy.audience is not None:
        facts[Fact.JWT_AUDIENCE_MATCH] = bool(set(_audiences(claims) or ()) & set(policy.audience))
    facts[Fact.JWT_MISSING_CLAIMS] = missing
    return facts


def problem_facts(problems: Iterable[Problem]) -> dict[str, FactValue]:
    """Give the fact that lists every reason found, most important first; nothing where nothing was found."""
    reasons = tuple(dict.fromkeys(p.reason.value for p in problems))
    return {Fact.JWT_PROBLEMS: reasons} if reasons else {}


def _claim_warnings(claims: Mapping[str, Any]) -> Iterator[Warn]:
    if "exp" not in claims:
        yield Warn(Reason.LIFETIME_EXCESSIVE, "the token has no exp: it never expires")


# Signing and forging


def generate_key(alg: str) -> "AllowedPrivateKeys | bytes":
    """Draw a fresh signing key for an algorithm (RSA: 2048 bits); KeyError for an unknown one."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa  # noqa: PLC0415 - as PyJWT, see above

    kty, curves = _FAMILIES[alg]
    if kty == "oct":
        from secrets import token_bytes  # noqa: PLC0415 - only here

        return token_bytes(64)
    if kty == "RSA":
        return rsa.generate_private_key(65537, 2048)
    if kty == "OKP":
        return ed448.Ed448PrivateKey.generate() if alg == "Ed448" else ed25519.Ed25519PrivateKey.generate()
    named = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1(), "secp256k1": ec.SECP256K1()}
    return ec.generate_private_key(named[curves[0]])


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
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - see the module's docstring

    try:
        key: Any = serialization.load_pem_private_key(pem, password=None)
        if signing_algorithms(public_jwk(key)):
            return key  # type: ignore[no-any-return]  # its public half says that it is one that signs
    except TypeError:
        raise ValueError("the private key is encrypted: give it without a password") from None
    except _foreign_errors():
        pass
    raise ValueError("no private key in PEM form that can sign tokens")


def _private_jwk(jwk: Mapping[str, Any]) -> "AllowedPrivateKeys":
    usual = next(iter(signing_algorithms(jwk)), None)
    if usual is None or jwk["kty"] == "oct":
        raise ValueError("the JWK is of no type that has a private key (RSA, EC, OKP)")
    try:
        key: Any = _algorithms()[usual].from_jwk(dict(jwk))
    except _foreign_errors():
        raise ValueError("the JWK's parameters cannot be read") from None
    if not hasattr(key, "private_bytes"):
        raise ValueError("the JWK is a public key: the private one is needed")
    return key  # type: ignore[no-any-return]  # just asked whether it is a private key


def signing_algorithms(jwk: Mapping[str, Any]) -> tuple[str, ...]:
    """Give the algorithms that a key of this type and curve signs with, the usual one first."""
    return tuple(a for a, family in _FAMILIES.items() if _in_family(str(jwk.get("kty")), jwk.get("crv"), family))


def thumbprint(jwk: Mapping[str, Any]) -> str:
    """Give the RFC 7638 thumbprint of a public JWK; empty for a key of no known type."""
    return _thumbprint(str(jwk.get("kty")), jwk) or ""


def certificate_thumbprint(pem: bytes) -> str:
    """Give `x5t#S256` of the first certificate in a PEM text (RFC 8705, section 3.1); ValueError if there is none."""
    from cryptography.hazmat.primitives.serialization import Encoding  # noqa: PLC0415 - see the module's docstring
    from cryptography.x509 import load_pem_x509_certificates  # noqa: PLC0415

    return digest(load_pem_x509_certificates(pem)[0].public_bytes(Encoding.DER))


def digest(value: bytes) -> str:
    """Give SHA-256 in base64url, as `ath`, `jkt` and `x5t#S256` are written."""
    return _encoded(sha256(value).digest())


def sign(
    claims: Mapping[str, Any],
    key: "AllowedPrivateKeys | str | bytes",
    alg: str,
    headers: Mapping[str, Any] | None = None,
) -> str:
    """Sign claims as they are, good or not, into a JWS; `key` is a `cryptography` key, a PEM text or a secret."""
    algorithm = _algorithms()[alg]
    signed = f"{_encoded_json({'typ': 'JWT', 'alg': alg, **(headers or {})})}.{_encoded_json(dict(claims))}"
    signature = algorithm.sign(signed.encode(), algorithm.prepare_key(key))
    return f"{signed}.{_encoded(signature)}"


def forge(token: str) -> str:
    """Give the same JWS with a wrong signature of the right length; header, kid and claims stay.

    A validator has to fetch its keys and do its arithmetic to refuse it, which plain garbage does not make it do.
    """
    signed, _, last = token.rpartition(".")
    signature = bytearray(_decoded(last) or bytes(32))
    # Not at either end: the number must stay below the modulus, or the order of the curve.
    signature[len(signature) * 3 // 4] ^= 0x5A
    return f"{signed}.{_encoded(bytes(signature))}"


def tamper(token: Jwt) -> str:
    """Give the token with its payload changed inside the signed part, under its old header and signature."""
    header, _, signature = token.raw.split(".")
    return f"{header}.{_encoded_json({**token.claims, 'otelprobe': 'tampered'})}.{signature}"


def strip_signature(token: Jwt) -> str:
    """Give the token as an unsecured JWS: alg `none`, no signature (RFC 7515, appendix A.5)."""
    return f"{_encoded_json({**token.header, 'alg': 'none'})}.{_encoded_json(dict(token.claims))}."


def resign(token: Jwt) -> str:
    """Give the token signed by a fresh key of the same family under the same kid: only the key is wrong."""
    alg = token.alg or ""
    alg = alg if alg in _FAMILIES else "RS256"
    return sign(token.claims, _stranger(alg), alg, {**token.header, "alg": alg})


@cache
def _stranger(alg: str) -> "AllowedPrivateKeys | bytes":
    """Give the process's own key to forge with; drawn once, as an RSA key takes up to 0.1 s."""
    return generate_key(alg)


GARBAGE = "otelprobe-garbage"
"""A token that is none at all."""
