"""Fetch the provider's signing keys (RFC 7517), check that they can be used, and tell what has changed since the last run."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from otelprobe.http import Redirects
from otelprobe.jwks import fetch_key_set, note_keys
from otelprobe.provider import Provider
from otelprobe.reasons import CheckFailed, Layer, Reason
from otelprobe.result import Fact, FactValue, KeyChange, Warn
from otelprobe.step import Artifact, Context, Done, KeySet, Step, StepFailed, needs_endpoint
from otelprobe.tokens import Key, load_crypto, shown

_MOST_TOLD = 10
"""Unusable keys that are warned of one by one: a key set of a megabyte may hold 100,000 of them."""


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
        changes, early = note_keys(ctx, keys) if usable else ((), ())
        done = Done(
            makes=(key_set,),
            facts=_facts(keys, changes),
            warnings=(*early, *_unusable(keys)),
            reply=reply,
            key_changes=changes,
        )
        exposed = [shown(key.label) for key in keys if key.private]
        if exposed:
            failed = CheckFailed(Reason.JWKS_PRIVATE_KEY_EXPOSED, f"secret members of key {', '.join(exposed[:5])}")
            raise StepFailed(failed, done)
        if not usable:
            detail = f"none of the {len(keys)} keys can verify signatures" if keys else "the list of keys is empty"
            raise StepFailed(CheckFailed(Reason.JWKS_EMPTY, detail), done)
        return done


def _facts(keys: Sequence[Key], changes: Sequence[KeyChange]) -> dict[str, FactValue]:
    facts: dict[str, FactValue] = {Fact.JWKS_KEY_COUNT: len(keys)}
    if changes:
        facts[Fact.JWKS_CHANGE] = tuple(sorted({change.change for change in changes}))
    return facts


def _unusable(keys: Sequence[Key]) -> Iterator[Warn]:
    """Warn of keys that cannot be read; what is set aside for encryption need not be readable here."""
    unusable = [key for key in keys if key.fault is not None and key.use != "enc"]
    for key in unusable[:_MOST_TOLD]:
        yield Warn(Reason.KEY_UNUSABLE, f"key {shown(key.label)} cannot be used: {key.fault}")
    if len(unusable) > _MOST_TOLD:
        yield Warn(Reason.KEY_UNUSABLE, f"{len(unusable) - _MOST_TOLD} more keys cannot be used")
