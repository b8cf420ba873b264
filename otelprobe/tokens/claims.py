"""The claims of a token tested one by one, each on its own: PyJWT stops at the first that fails."""

from collections.abc import Iterator, Mapping
from typing import Any

from otelprobe.reasons import Reason
from otelprobe.result import Fact, FactValue, Warn
from otelprobe.tokens.compact import Jwt
from otelprobe.tokens.encoding import shown
from otelprobe.tokens.policy import Policy, Problem

_LATEST_TIME = 2.0**53
_NUMBERS = (int, float)


def missing_claims(claims: Mapping[str, Any], policy: Policy) -> Iterator[str]:
    """Name every claim that is required, or that is to be compared, and is not there."""
    wanted = list(policy.require)
    if policy.issuer is not None:
        wanted.append("iss")
    if policy.audience is not None:
        wanted.append("aud")
    if policy.max_lifetime is not None:
        wanted += ["exp", "iat"]
    conditional = [name for name, condition in policy.claims.items() if not condition.holds([])]
    yield from (name for name in dict.fromkeys((*wanted, *conditional)) if name not in claims)


def type_problems(claims: Mapping[str, Any]) -> Iterator[Problem]:
    """Name the time claims that are no numbers, and the names that are no text."""
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
    # Of JSON nothing comes that is of a class below these, but for true, which is no number.
    if value is None or type(value) not in _NUMBERS or abs(value) > _LATEST_TIME:
        return None
    return float(value)


def _audiences(claims: Mapping[str, Any]) -> tuple[str, ...] | None:
    aud = claims.get("aud")
    values: list[Any] = aud if isinstance(aud, list) else [aud]
    return tuple(values) if all([isinstance(value, str) for value in values]) else None  # noqa: C419 - few, and faster


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


def party_problems(claims: Mapping[str, Any], policy: Policy) -> Iterator[Problem]:
    """Compare `iss` and `aud` with what is expected, where they are there."""
    issuer = claims.get("iss")
    if policy.issuer is not None and isinstance(issuer, str) and issuer != policy.issuer:
        yield Problem(Reason.ISSUER_MISMATCH, f"iss is {shown(issuer)}, expected {policy.issuer}")
    audiences = _audiences(claims) if "aud" in claims else None
    if policy.audience is not None and audiences is not None and not set(audiences) & set(policy.audience):
        yield Problem(
            Reason.AUDIENCE_MISMATCH, f"aud is {shown(claims['aud'])}, expected {' or '.join(policy.audience)}"
        )


def condition_problems(claims: Mapping[str, Any], policy: Policy) -> Iterator[Problem]:
    """Compare claims with their conditions; neither side's value is told, it may be a subject."""
    for name, condition in policy.claims.items():
        if name in claims and not condition.holds([claims[name]]):
            yield Problem(Reason.CLAIM_MISMATCH, f"claim {shown(name)} is not as expected")


def _lifetime(claims: Mapping[str, Any]) -> float | None:
    exp, iat = time_claim(claims, "exp"), time_claim(claims, "iat")
    return None if exp is None or iat is None else exp - iat


def lifetime_problems(claims: Mapping[str, Any], policy: Policy) -> Iterator[Problem]:
    """Compare the time from `iat` to `exp` with the longest that is allowed."""
    lifetime = _lifetime(claims)
    if policy.max_lifetime is not None and lifetime is not None and lifetime > policy.max_lifetime:
        yield Problem(
            Reason.LIFETIME_EXCESSIVE, f"the token lives {lifetime:.0f} s, allowed are {policy.max_lifetime:g} s"
        )


def claim_facts(jwt: Jwt, policy: Policy, now: float, missing: tuple[str, ...]) -> dict[str, FactValue]:
    """Give what may be published of the claims: ages, matches, the names of those that are missing."""
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


def claim_warnings(claims: Mapping[str, Any]) -> Iterator[Warn]:
    """Warn of a token that never expires."""
    if "exp" not in claims:
        yield Warn(Reason.LIFETIME_EXCESSIVE, "the token has no exp: it never expires")
