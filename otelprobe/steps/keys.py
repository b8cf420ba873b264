"""Fetch the provider's signing keys (RFC 7517), check that they can be used, and tell what has changed since the last run."""

from collections.abc import Iterator, Sequence
from typing import ClassVar

from otelprobe.http import Redirects
from otelprobe.jwks import fetch_key_set
from otelprobe.key_history import KeyNews, note_keys
from otelprobe.memory_loss import lost_memory
from otelprobe.provider import Provider
from otelprobe.quick import dataclass
from otelprobe.reasons import CheckFailed, Layer, Reason
from otelprobe.result import Expiry, Fact, FactValue, Warn
from otelprobe.step import Artifact, Context, Done, KeySet, Step, StepFailed, needs_endpoint
from otelprobe.tokens import Key, certificate_end, key_weakness, load_crypto, shown

_MOST_TOLD = 10
"""Unusable keys that are warned of one by one: a key set of a megabyte may hold 100,000 of them."""

_MOST_READ = 100
"""Keys whose size and certificate are looked at."""

_WARN_BEFORE = 30 * 86400.0
"""Seconds before the end of a key's certificate that it is warned of."""


@dataclass(frozen=True, kw_only=True)
class Keys(Step):
    """Fetch the key set. A key that cannot be read is a warning; no key at all that verifies, or a private one, a failure."""

    kind: ClassVar[str] = "keys"
    layer: ClassVar[Layer] = Layer.AUTH
    makes: ClassVar[tuple[type[Artifact], ...]] = (KeySet,)
    uses_provider: ClassVar[bool] = True
    own_reasons: ClassVar[frozenset[Reason]] = frozenset(
        {Reason.JWKS_UNAVAILABLE, Reason.JWKS_INVALID, Reason.JWKS_EMPTY, Reason.JWKS_PRIVATE_KEY_EXPOSED}
    )
    default_redirects: ClassVar[Redirects] = Redirects.SAME_ORIGIN

    def warm_up(self) -> None:
        """Import what tokens are checked with."""
        load_crypto()

    def required(self, provider: Provider | None) -> tuple[type[Artifact], ...]:
        """Need the discovery document unless the flow file names the endpoint."""
        return needs_endpoint(provider, "jwks")

    def run(self, ctx: Context) -> Done:
        """Fetch, remember, compare; makes KeySet."""
        key_set, reply = fetch_key_set(ctx, ctx.endpoint("jwks"), self.follow)
        keys = key_set.keys
        # A key set without a usable key is an accident, not a rotation: it is not remembered.
        usable = any(key.verifies for key in keys)
        cache = key_set.cache_time
        news = note_keys(ctx, keys, cache) if usable else KeyNews()
        ends = _certificates(ctx, keys)
        done = Done(
            makes=(key_set,),
            facts=_facts(keys, news, cache),
            warnings=(*lost_memory(ctx), *news.warnings, *_unusable(keys), *_weak(keys), *_ending(ends)),
            reply=reply,
            key_changes=news.changes,
            expiries=_soonest(ctx, ends),
        )
        exposed = [shown(key.label) for key in keys if key.private]
        if exposed:
            failed = CheckFailed(Reason.JWKS_PRIVATE_KEY_EXPOSED, f"secret members of key {', '.join(exposed[:5])}")
            raise StepFailed(failed, done)
        if not usable:
            detail = f"none of the {len(keys)} keys can verify signatures" if keys else "the list of keys is empty"
            raise StepFailed(CheckFailed(Reason.JWKS_EMPTY, detail), done)
        return done


def _facts(keys: Sequence[Key], news: KeyNews, cache: float | None) -> dict[str, FactValue]:
    facts: dict[str, FactValue] = {Fact.JWKS_KEY_COUNT: len(keys)}
    if news.changes:
        facts[Fact.JWKS_CHANGE] = tuple(sorted({change.change for change in news.changes}))
    if news.oldest is not None:
        facts[Fact.JWKS_KEY_AGE] = news.oldest
    if cache is not None:
        facts[Fact.JWKS_CACHE_TIME] = cache
    return facts


def _certificates(ctx: Context, keys: Sequence[Key]) -> list[tuple[str, float]]:
    """Give the keys that come with a certificate (`x5c`), each with the seconds until it ends, the first to end first."""
    ends = [(key.label, end - ctx.now()) for key in keys[:_MOST_READ] if (end := certificate_end(key)) is not None]
    return sorted(ends, key=lambda end: end[1])


def _soonest(ctx: Context, ends: Sequence[tuple[str, float]]) -> tuple[Expiry, ...]:
    """Give the end that comes first, under the provider's name: kids change with every rotation."""
    return tuple(Expiry("jwks_certificate", ctx.identity_provider().name, left) for _, left in ends[:1])


def _ending(ends: Sequence[tuple[str, float]]) -> Iterator[Warn]:
    for label, left in ends[:_MOST_TOLD]:
        if left <= _WARN_BEFORE:
            when = f"ends in {left / 86400:.0f} days" if left > 0 else "has ended"
            yield Warn(Reason.CERTIFICATE_EXPIRING, f"the certificate (x5c) of key {shown(label)} {when}")


def _weak(keys: Sequence[Key]) -> Iterator[Warn]:
    weak = [(key, why) for key in keys[:_MOST_READ] if key.verifies and (why := key_weakness(key)) is not None]
    for key, why in weak[:_MOST_TOLD]:
        yield Warn(Reason.KEY_UNUSABLE, f"weak key {shown(key.label)}: {why}")


def _unusable(keys: Sequence[Key]) -> Iterator[Warn]:
    """Warn of keys that cannot be read; what is set aside for encryption need not be readable here."""
    unusable = [key for key in keys if key.fault is not None and key.use != "enc"]
    for key in unusable[:_MOST_TOLD]:
        yield Warn(Reason.KEY_UNUSABLE, f"key {shown(key.label)} cannot be used: {key.fault}")
    if len(unusable) > _MOST_TOLD:
        yield Warn(Reason.KEY_UNUSABLE, f"{len(unusable) - _MOST_TOLD} more keys cannot be used")
