"""The prober's own token, kept until it has ended: the one validly signed bad token that needs nobody's key.

How long after its end the API takes it is measured: the leeway that is really granted.
"""

from otelprobe.fields import SecretRef
from otelprobe.retained import Retained, forget, outlives_process, recall, retain
from otelprobe.step import Context
from otelprobe.tokens import Jwt, time_claim

LONGEST = 86400.0
"""Seconds: a token that lives longer is not waited for."""


class OwnToken:
    """Keeps one token for one step of one flow, and the greatest age past its end at which one was taken."""

    def __init__(self, ctx: Context, step: str, key: SecretRef | None) -> None:
        self._ctx, self._step, self._key = ctx, step, key
        self._document = f"leeway-{ctx.flow}-{step}"

    @property
    def lasting(self) -> bool:
        """Whether a token outlives the process."""
        return outlives_process(self._ctx, self._key)

    def load(self) -> Retained | None:
        """Give what is kept."""
        return next(iter(recall(self._ctx, self._step, seal_with=self._key)), None)

    def follow(self, jwt: Jwt | None) -> None:
        """Keep this token where none is kept, if its end is worth waiting for."""
        exp = time_claim(jwt.claims, "exp") if jwt is not None else None
        if jwt is not None and exp is not None and 0 < exp - self._ctx.now() <= LONGEST and self.load() is None:
            retain(self._ctx, self._step, jwt.raw, exp, most=1, seal_with=self._key)

    def taken(self, age: float) -> None:
        """Note that it was taken this many seconds after its end."""
        self._ctx.state.save(self._document, {"age": round(age, 3)})

    def refused(self) -> float:
        """Forget it, as it did its duty; give the age at which it was last taken, 0 if it never was."""
        kept = self.load()
        if kept is not None:
            forget(self._ctx, self._step, [kept.token], seal_with=self._key)
        age = (self._ctx.state.load(self._document) or {}).get("age", 0.0)
        self._ctx.state.save(self._document, {})
        return float(age) if isinstance(age, int | float) else 0.0
