"""A token that was verified: with keys fetched anew where its key is unknown, and with the clocks that explain its times.

Shared by the steps that verify access tokens and ID tokens.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from urllib.parse import urlsplit

from otelprobe.http import Redirects
from otelprobe.jwks import fetch_key_set
from otelprobe.key_history import withdrawn_kids
from otelprobe.quick import dataclass
from otelprobe.reasons import Blame, CheckFailed, Counts, Reason
from otelprobe.result import Fact, FactValue, Warn
from otelprobe.state import Memory
from otelprobe.step import Context, Done, KeySet, ProviderMetadata, StepFailed, Tokens
from otelprobe.tokens import (
    ASYMMETRIC,
    SYMMETRIC,
    Jwt,
    Policy,
    Problem,
    Verification,
    format_of,
    time_claim,
    time_problems,
    verify,
)

_TIME_REASONS = frozenset({Reason.EXPIRED, Reason.EXPIRED_ON_ISSUE, Reason.NOT_YET_VALID})
_SKEW_WORTH_BLAMING = 2.0
"""Seconds. `Date` and `iat` are whole seconds, so a smaller difference says nothing of a clock."""

_SKEW_WORTH_TELLING = 30.0
"""Seconds: as for `Date`, skew that breaks nothing is warned of above this (reasons.md, rule 5)."""


def parsed(ctx: Context, token: str) -> Jwt:
    """Parse a token; one that is none fails with what it looks like as a fact."""
    try:
        return ctx.jwt(token)
    except CheckFailed as failed:
        facts: dict[str, FactValue] = {Fact.JWT_FORMAT: format_of(token), Fact.JWT_PROBLEMS: (failed.reason.value,)}
        raise StepFailed(failed, Done(facts=facts)) from None


def advertised_algorithms(metadata: ProviderMetadata | None) -> tuple[tuple[str, ...], bool]:
    """Give the asymmetric algorithms that the provider advertises, else all of them; and whether somebody listed them."""
    found = _asymmetric(metadata.document) if metadata is not None else ()
    return (found, True) if found else (ASYMMETRIC, False)


def verify_published(ctx: Context, jwt: Jwt, tokens: Tokens, policy: Policy, redirects: Redirects) -> Verification:
    """Verify with the provider's keys, and once more with freshly fetched ones if the kid is unknown, as a client would."""
    issued_at, keys = issued_when(ctx, tokens), ctx.need(KeySet)
    found = verify(jwt, keys.keys, policy, ctx.now(), issued_at=issued_at)
    if not any(p.reason is Reason.KID_NOT_IN_JWKS for p in found.problems):
        return found
    try:
        fresh = fetch_key_set(ctx, keys.url, redirects, again=True)[0].keys
    except CheckFailed as failed:
        second = Problem(failed.reason, f"a second fetch of the key set failed: {failed.detail}")
        return replace(found, problems=(*found.problems, second))
    return verify(jwt, fresh, policy, ctx.now(), issued_at=issued_at, withdrawn=withdrawn_kids(ctx))


def issued_when(ctx: Context, tokens: Tokens) -> float | None:
    """Give when tokens were issued, as far as it is known: not for those of an earlier run."""
    return None if tokens.cached else _obtained(ctx, tokens)


def _obtained(ctx: Context, tokens: Tokens) -> float:
    return tokens.obtained_at or ctx.now()


def _asymmetric(document: Mapping[str, object]) -> tuple[str, ...]:
    """Give the advertised algorithms whose keys are public (OpenID Connect Discovery 1.0, section 3)."""
    listed = document.get("id_token_signing_alg_values_supported")
    names = [name for name in listed if isinstance(name, str)] if isinstance(listed, list) else []
    return tuple(name for name in names if name not in SYMMETRIC and name.lower() != "none")


# Clocks (reasons.md, rule 5)


@dataclass(frozen=True, slots=True)
class Skew:
    """A clock that differs from ours: the host it belongs to, seconds ahead, and whether other peers say the same."""

    host: str
    seconds: float
    ours: bool


def explained_by_clock(
    ctx: Context, jwt: Jwt, tokens: Tokens, policy: Policy, problems: tuple[Problem, ...]
) -> tuple[tuple[Problem, ...], Skew | None]:
    """Put clock_skew in the place of time problems that are none by the provider's clock."""
    failing = [p for p in problems if p.reason in _TIME_REASONS]
    skew = next(_skews(ctx, jwt, tokens, policy), None) if failing else None
    if skew is None:
        return problems, None
    whose = "the prober's own clock is off" if skew.ours else f"the provider's clock ({skew.host}) is off"
    why = "; ".join(p.detail for p in failing)
    clock = Problem(Reason.CLOCK_SKEW, f"{whose}: {skew.seconds:+.0f} s between the two explain that {why}")
    first = problems.index(failing[0])
    rest = tuple(p for p in problems[first:] if p.reason not in _TIME_REASONS)
    return (*problems[:first], clock, *rest), skew


def _skews(ctx: Context, jwt: Jwt, tokens: Tokens, policy: Policy) -> Iterator[Skew]:
    """Give the measured differences by whose clock the token's times hold."""
    hosts = _provider_hosts(ctx)
    others = Memory(skews={h: s for h, s in ctx.memory.skews.copy().items() if h not in hosts})
    grace = replace(policy, leeway=policy.leeway + 1.0)
    for host, seconds in _measured(ctx, jwt, tokens, hosts):
        holds = not any(time_problems(jwt.claims, grace, ctx.now() + seconds))
        if abs(seconds) > _SKEW_WORTH_BLAMING and holds:
            yield Skew(host, seconds, others.our_clock_is_off(host, seconds))


def _measured(ctx: Context, jwt: Jwt, tokens: Tokens, hosts: tuple[str, ...]) -> Iterator[tuple[str, float]]:
    """Give what `Date` said, then what `iat` of a fresh token says.

    An old `iat` may also come from a cache at the provider, so it speaks of a clock only where no `Date` was seen; one
    in the future can come from nothing but a clock.
    """
    dated = [(h, ctx.memory.skews[h]) for h in hosts if h in ctx.memory.skews]
    yield from dated
    iat = time_claim(jwt.claims, "iat")
    if tokens.cached or not hosts or iat is None:
        return
    seconds = iat + 0.5 - _obtained(ctx, tokens)  # it is cut to whole seconds, as Date is
    if seconds > 0 or not dated:
        yield hosts[0], seconds


def with_claimed_skew(ctx: Context, jwt: Jwt, tokens: Tokens, done: Done) -> Done:
    """Tell how far the provider's clock is off though it breaks nothing, where it sends no `Date` (Keycloak does not).

    It is read from `iat` and from `exp` less `expires_in`. A cache or a margin at the provider may be behind one of them,
    so that the lesser difference counts.
    """
    hosts, exp = _provider_hosts(ctx), time_claim(jwt.claims, "exp")
    dated = any(host in ctx.memory.skews for host in hosts)
    issued = None if dated else next(_measured(ctx, jwt, tokens, hosts), None)
    if issued is None or tokens.expires_in is None or exp is None:
        return done
    stated = exp - tokens.expires_in + 0.5 - _obtained(ctx, tokens)
    seconds = min(issued[1], stated, key=abs)
    done = replace(done, facts={**done.facts, Fact.CLOCK_SKEW: round(seconds, 3)})
    if abs(seconds) <= _SKEW_WORTH_TELLING:
        return done
    warning = Warn(Reason.CLOCK_SKEW, f"the clock of {issued[0]} is {seconds:+.0f} s from the prober's")
    return replace(done, warnings=(*done.warnings, warning))


def _provider_hosts(ctx: Context) -> tuple[str, ...]:
    """Give the hosts that are the provider's: the issuer's, those of its endpoints and of its keys."""
    metadata, keys = ctx.find(ProviderMetadata), ctx.find(KeySet)
    urls = [
        *((ctx.provider.issuer, *ctx.provider.endpoints.values()) if ctx.provider is not None else ()),
        *(metadata.endpoints.values() if metadata is not None else ()),
        *((keys.url,) if keys is not None else ()),
    ]
    return tuple(dict.fromkeys([_host(str(url)) for url in urls]))


@lru_cache(maxsize=1024)
def _host(url: str) -> str:
    return urlsplit(url).hostname or ""


def skew_facts(skew: Skew | None) -> dict[str, FactValue]:
    """Give the fact of a clock that explains a failure."""
    return {} if skew is None else {Fact.CLOCK_SKEW: round(skew.seconds, 3)}


def failure(problems: tuple[Problem, ...], skew: Skew | None) -> CheckFailed:
    """Give the failure of a token: the first problem is the reason, the detail tells all of them."""
    first = problems[0].reason
    ours = first is Reason.CLOCK_SKEW and skew is not None and skew.ours
    return CheckFailed(
        first,
        "; ".join(p.detail for p in problems),
        blame=Blame.PROBER if ours else None,
        counts=Counts.NONE if ours else None,
        problems=tuple(dict.fromkeys(p.reason for p in problems)),
    )
