"""Rules on the tokens that a provider issues. Claims are told by name, never by value."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from otelprobe.posture.observations import Observations
from otelprobe.posture.rule import Broken, Rule
from otelprobe.result import Severity
from otelprobe.tokens import SYMMETRIC, Jwt, shown, time_claim

_REGISTERED = ("iss", "sub", "aud", "exp", "iat", "jti")
_LARGE = 4096
_DEEP, _MANY = 3, 50
_KEY_HEADERS = ("jku", "jwk", "x5u", "x5c")
_SECRET_NAME = re.compile(
    r"passw(or)?d|pwd|secret|api_?key|private_?key|credit_?card|cvv|ssn|social_security", re.IGNORECASE
)
_PERSONAL_NAMES = frozenset(
    {"email", "phone", "phone_number", "mobile", "address", "street_address", "birthdate", "birthday", "gender",
     "family_name", "given_name", "middle_name", "national_id", "passport"}
)  # fmt: skip
_SHAPES: Mapping[str, re.Pattern[str]] = {
    "an e-mail address": re.compile(r"[^@\s/:]{1,64}@[^@\s/:]{1,190}\.[A-Za-z]{2,24}"),
    "a telephone number": re.compile(r"\+\d{1,3}[ -]?(?:\d[ -]?){6,12}\d"),
    "a US social security number": re.compile(r"\d{3}-\d{2}-\d{4}"),
    "an IBAN": re.compile(r"[A-Z]{2}\d{2}[A-Z0-9]{11,30}"),
}
_CARD = re.compile(r"\d(?:[ -]?\d){12,18}")
_MOST = 500


def _weak_algorithm(seen: Observations) -> Iterable[Broken] | None:
    if seen.token is None:
        return None
    alg = seen.token.alg or "none"
    return [(seen.provider, f"alg is {shown(alg)}")] if alg.lower() in {"none", "rs1", "hs1"} else []


def _symmetric(seen: Observations) -> Iterable[Broken] | None:
    if seen.token is None:
        return None
    return [(seen.provider, f"alg is {seen.token.alg}")] if seen.token.alg in SYMMETRIC else []


def _claims_missing(seen: Observations) -> Iterable[Broken] | None:
    if seen.token is None:
        return None
    missing = [name for name in _REGISTERED if name not in seen.token.claims]
    return [(seen.provider, f"the access token has no {', '.join(missing)}")] if missing else []


def _lifetime(seen: Observations) -> Iterable[Broken] | None:
    if seen.token is None:
        return None
    claims = seen.token.claims
    exp, start = time_claim(claims, "exp"), time_claim(claims, "iat")
    if exp is None:
        return [(seen.provider, "the access token never expires")]
    lifetime = exp - (start if start is not None else seen.now)
    return [(seen.provider, f"it lives {lifetime:.0f} s")] if lifetime > seen.max_lifetime else []


def _jti_repeated(seen: Observations) -> Iterable[Broken] | None:
    if seen.jti_repeated is None:
        return None
    return [(seen.provider, "two different tokens have the same jti")] if seen.jti_repeated else []


def _values(value: Any, name: str, depth: int = 0) -> Iterator[tuple[str, object]]:
    """Give every value with the name of the claim that holds it, as deep as anybody should nest."""
    if isinstance(value, dict) and depth < 8:
        for key, inner in list(value.items())[:_MOST]:
            yield from _values(inner, str(key), depth + 1)
    elif isinstance(value, list) and depth < 8:
        for inner in value[:_MOST]:
            yield from _values(inner, name, depth + 1)
    else:
        yield name, value


def _both(seen: Observations) -> list[tuple[str, Jwt]]:
    pairs = (("access token", seen.token), ("ID token", seen.id_token))
    return [(what, jwt) for what, jwt in pairs if jwt is not None]


def _personal(seen: Observations) -> Iterable[Broken] | None:
    if seen.token is None:
        return None
    found = dict.fromkeys(
        f"claim {shown(name)} {why}" for name, v in _values(seen.token.claims, "") if (why := _personal_why(name, v))
    )
    return [(seen.provider, words) for words in list(found)[:10]]


def _personal_why(name: str, value: object) -> str | None:
    """Say what is personal of a claim: its shape first, else its name."""
    if name in {"iss", "aud", "azp", "scope", "jti", "sid"}:
        return None
    if isinstance(value, str) and len(value) <= 256:
        shape = next((word for word, pattern in _SHAPES.items() if pattern.fullmatch(value)), None)
        if shape is not None:
            return f"looks like {shape}"
        if _CARD.fullmatch(value) and _luhn(value):
            return "looks like a card number"
    return "is personal data" if name.lower() in _PERSONAL_NAMES else None


def _luhn(value: str) -> bool:
    digits = [int(c) for c in reversed(value) if c.isdigit()]
    doubled = (d * 2 - 9 if d > 4 else d * 2 for d in digits[1::2])
    return (sum(digits[::2]) + sum(doubled)) % 10 == 0


def _secret_claims(seen: Observations) -> Iterable[Broken] | None:
    tokens = _both(seen)
    if not tokens:
        return None
    found = [(what, name) for what, jwt in tokens for name, _ in _values(jwt.claims, "") if _SECRET_NAME.search(name)]
    return [(seen.provider, f"the {what} has a claim {shown(name)}") for what, name in found[:10]]


def _large(seen: Observations) -> Iterable[Broken] | None:
    if seen.token is None:
        return None
    size = len(seen.token.raw)
    return [(seen.provider, f"the access token has {size} bytes")] if size > _LARGE else []


def _nested(seen: Observations) -> Iterable[Broken] | None:
    if seen.token is None:
        return None
    claims, depth = seen.token.claims, _depth(seen.token.claims)
    told = [f"claims are nested {depth} deep"] if depth > _DEEP else []
    told += [f"it has {len(claims)} claims"] if len(claims) > _MANY else []
    return [(seen.provider, words) for words in told]


def _depth(value: object, at: int = 0) -> int:
    inner = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
    return at if not inner or at > 20 else max(_depth(v, at + 1) for v in inner[:_MOST])


def _untyped(seen: Observations) -> Iterable[Broken] | None:
    if seen.token is None:
        return None
    typ = seen.token.header.get("typ")
    explicit = isinstance(typ, str) and typ.lower().removeprefix("application/") == "at+jwt"
    return [] if explicit else [(seen.provider, "the access token's typ is not at+jwt")]


def _keys_in_header(seen: Observations) -> Iterable[Broken] | None:
    tokens = _both(seen)
    if not tokens:
        return None
    found = [(what, name) for what, jwt in tokens for name in _KEY_HEADERS if name in jwt.header]
    return [(seen.provider, f"the {what}'s header has {name}") for what, name in found]


def _kid_in_header(seen: Observations) -> Iterable[Broken] | None:
    if seen.token is None or seen.token.alg in SYMMETRIC:
        return None
    return [] if seen.token.kid is not None else [(seen.provider, "the access token's header has no kid")]


_H, _M, _L, _I = Severity.HIGH, Severity.MEDIUM, Severity.LOW, Severity.INFO

TOKEN_RULES = (
    Rule(
        id="token-alg-broken",
        severity=_H,
        side="provider",
        source="RFC 8725, sections 3.1 and 3.2",
        why="An unsigned token, or one signed with SHA-1, can be forged.",
        mend="Sign with RS256, PS256, ES256 or EdDSA.",
        check=_weak_algorithm,
    ),
    Rule(
        id="token-alg-symmetric",
        severity=_M,
        side="provider",
        source="RFC 8725, sections 3.2 and 3.5",
        why="Every service that verifies an HS signature can issue tokens as well.",
        mend="Sign with an asymmetric algorithm wherever issuer and API are not one and the same.",
        check=_symmetric,
    ),
    Rule(
        id="token-claims-missing",
        severity=_M,
        side="provider",
        source="RFC 9068, section 2.2; RFC 8725, section 3.9",
        why="Without issuer, audience, times and id a token cannot be tied to whom it is for, nor told from a copy.",
        mend="Issue iss, sub, aud, exp, iat and jti in every access token.",
        check=_claims_missing,
    ),
    Rule(
        id="token-lifetime",
        severity=_M,
        side="provider",
        source="RFC 9700, section 4.10; OWASP JWT Cheat Sheet",
        why="A stolen token works until it ends, and few APIs ask whether it was revoked.",
        mend="Issue access tokens for 5 to 15 minutes and renew them by refresh.",
        check=_lifetime,
    ),
    Rule(
        id="jti-repeated",
        severity=_H,
        side="provider",
        source="RFC 7519, section 4.1.7",
        why="A jti that is used twice defeats replay detection and lists of revoked tokens.",
        mend="Draw every jti at random.",
        check=_jti_repeated,
    ),
    Rule(
        id="token-personal-data",
        severity=_M,
        side="provider",
        source="RFC 9068, section 6; OWASP API Security 2023, API3",
        why="An access token is readable by every service, proxy and log that it passes.",
        mend="Leave personal data to the userinfo endpoint or the ID token; encrypt the token if it must be in there.",
        check=_personal,
    ),
    Rule(
        id="token-secret-claim",
        severity=_H,
        side="provider",
        source="RFC 7519, section 12; OWASP JWT Cheat Sheet",
        why="A signed token hides nothing: whoever sees it reads its claims.",
        mend="Take the claim out of the token, and change the secret.",
        check=_secret_claims,
    ),
    Rule(
        id="token-large",
        severity=_L,
        side="provider",
        source="RFC 9110, section 5.4",
        why="Many servers refuse headers of more than 8 kB, and a token that grows hits that limit one day.",
        mend="Leave out roles and groups that the API does not need.",
        check=_large,
    ),
    Rule(
        id="token-nested",
        severity=_L,
        side="provider",
        source="OWASP API Security 2023, API4",
        why="Deep or many claims are hard to map without mistakes.",
        mend="Keep custom claims flat and few.",
        check=_nested,
    ),
    Rule(
        id="token-untyped",
        severity=_I,
        side="provider",
        source="RFC 9068, section 2.1; RFC 8725, section 3.11",
        why="Without an explicit type another token of the same issuer may be taken for an access token.",
        mend="Issue access tokens with typ at+jwt, and have APIs check it.",
        check=_untyped,
    ),
    Rule(
        id="token-key-in-header",
        severity=_M,
        side="provider",
        source="RFC 8725, section 3.10",
        why="A verifier that follows the token to its key can be led to an attacker's.",
        mend="Name the key by kid only.",
        check=_keys_in_header,
    ),
    Rule(
        id="token-kid-missing",
        severity=_L,
        side="provider",
        source="RFC 7515, section 4.1.4; RFC 9068, section 2.1",
        why="Without kid a verifier tries every key, and cannot tell a rotation from a forgery.",
        mend="Put the kid of the signing key into the header.",
        check=_kid_in_header,
    ),
)
