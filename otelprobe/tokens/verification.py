"""A token verified against keys and a policy: its signature, its header, its claims, with everything that is wrong."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import field
from typing import Any

from otelprobe.quick import dataclass, quick
from otelprobe.reasons import Reason
from otelprobe.result import Fact, FactValue, Warn
from otelprobe.tokens.algorithms import FAMILIES, algorithms, foreign_errors, reason_for
from otelprobe.tokens.claims import (
    claim_facts,
    claim_warnings,
    condition_problems,
    lifetime_problems,
    missing_claims,
    party_problems,
    time_problems,
    type_problems,
)
from otelprobe.tokens.compact import Jwt
from otelprobe.tokens.encoding import decoded, shown
from otelprobe.tokens.keys import Key, fits, public_key
from otelprobe.tokens.policy import Policy, Problem, problem_facts

_MOST_LISTED = 20


@quick
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
    missing = tuple(missing_claims(jwt.claims, policy))
    problems = (
        *signature.problems,
        *_header_problems(jwt.header, policy),
        *(Problem(Reason.CLAIM_MISSING, f"claim {shown(name)} is missing") for name in missing),
        *type_problems(jwt.claims),
        *time_problems(jwt.claims, policy, now, issued_at),
        *party_problems(jwt.claims, policy),
        *condition_problems(jwt.claims, policy),
        *lifetime_problems(jwt.claims, policy),
    )
    return Verification(
        problems=problems,
        facts={**signature.facts, **claim_facts(jwt, policy, now, missing), **problem_facts(problems)},
        warnings=(*signature.warnings, *claim_warnings(jwt.claims)),
        signed=signature.key is not None,
        key=signature.key,
    )


@quick
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
    if alg not in FAMILIES and (alg in policy.algorithms or not policy.listed):
        return Problem(Reason.ALG_UNSUPPORTED, f"alg is {shown(alg)}, which otelprobe cannot verify")
    if alg not in policy.algorithms:
        return Problem(Reason.ALG_NOT_ALLOWED, f"alg is {shown(alg)}, allowed is {_listed(policy.algorithms)}")
    return None


def _listed(algorithms: Sequence[str]) -> str:
    """Name algorithms; those that a provider advertises are foreign text, and may be many."""
    more = "" if len(algorithms) <= _MOST_LISTED else f" and {len(algorithms) - _MOST_LISTED} more"
    return ", ".join(shown(alg) for alg in algorithms[:_MOST_LISTED]) + more


def _kid_facts(jwt: Jwt, keys: Sequence[Key]) -> dict[str, FactValue]:
    wanted, kids = jwt.kid, [key.kid for key in keys]
    if wanted is None or kids.count(None) == len(kids):
        return {}
    return {Fact.JWT_KID_FOUND: wanted in kids}


def _candidates(jwt: Jwt, keys: Sequence[Key], alg: str, withdrawn: frozenset[str]) -> list[Key] | Problem:
    """Give the keys to try: those the kid names, else those without kid; without a kid, every key that fits."""
    kid = jwt.kid
    named = [k for k in keys if k.kid == kid or k.kid is None] if kid is not None else list(keys)
    if not named:
        return _unknown_kid(kid, keys, withdrawn)
    exact = [k for k in named if k.kid == kid] or named
    fitting = [k for k in exact if k.fault is None and fits(k, alg)]
    if fitting:
        return fitting
    for key in exact:
        if kid is not None and key.fault is not None:
            return Problem(Reason.KEY_UNUSABLE, f"key {shown(key.label)} cannot be used: {key.fault}")
    what = f"key {shown(kid)}" if kid is not None else f"none of the {len(keys)} keys"
    return Problem(Reason.KEY_MISMATCH, f"{what} {'does not fit' if kid is not None else 'fits'} alg {alg}")


def _unknown_kid(kid: str | None, keys: Sequence[Key], withdrawn: frozenset[str]) -> Problem:
    if kid is None:
        return Problem(Reason.KEY_MISMATCH, "there is no key to verify with")
    if kid in withdrawn:
        return Problem(Reason.KID_WITHDRAWN_EARLY, f"kid {shown(kid)} was published before and is gone")
    others = ", ".join(shown(k.label) for k in keys[:5]) or "none"
    return Problem(Reason.KID_NOT_IN_JWKS, f"kid {shown(kid)} is not published (published: {others})")


def _try_keys(jwt: Jwt, candidates: Sequence[Key], alg: str, facts: Mapping[str, FactValue]) -> _Signature:
    signed, _, last = jwt.raw.rpartition(".")
    signature = decoded(last) or b""
    faults: list[Problem] = []
    for key in candidates:
        try:
            prepared = public_key(alg, key.jwk)
            if algorithms()[alg].verify(signed.encode(), prepared, signature):
                return _Signature((), {**facts, Fact.JWT_SIGNATURE_VALID: True}, key, _weakness(alg, key, prepared))
        except foreign_errors() as error:
            reason = reason_for(error)
            faults.append(Problem(reason, f"key {shown(key.label)} cannot verify alg {alg}"))
    if len(faults) == len(candidates):
        return _Signature((faults[0],), facts)
    tried = f"key {shown(candidates[0].label)}" if len(candidates) == 1 else f"any of {len(candidates)} fitting keys"
    problem = Problem(Reason.SIGNATURE_INVALID, f"the signature does not verify with {tried}")
    return _Signature((problem,), {**facts, Fact.JWT_SIGNATURE_VALID: False})


def _weakness(alg: str, key: Key, prepared: object) -> tuple[Warn, ...]:
    """Warn of a key below the recommended length; asked for directly, so that PyJWT has no warning to emit."""
    message = algorithms()[alg].check_key_length(prepared)
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
