"""How long SAML metadata last, learned as they are renewed: what is written anew every hour is not warned of for months."""

from hashlib import sha256

from otelprobe.endings import DAY
from otelprobe.step import Context

_WARNED, _CRITICAL = 4, 10
_LONGEST_WARNING, _LONGEST_CRITICAL = 90 * DAY, 14 * DAY


def notices(ctx: Context, entity_id: str, valid_until: float) -> tuple[float, float]:
    """Give how long before its end a document is to be warned of, and how long before that is critical, in seconds.

    That is a quarter and a tenth of the time that it had left when it was first seen, and never more than 90 and 14 days.
    """
    key = f"saml-metadata.{sha256(entity_id.encode()).hexdigest()[:32]}"
    left = max(valid_until - ctx.now(), 0.0)
    with ctx.memory.lock:
        kept = ctx.state.load(key) or {}
        period = kept.get("period")
        if kept.get("valid_until") != valid_until or not isinstance(period, int | float) or period < left:
            period = left
            ctx.state.save(key, {"valid_until": valid_until, "period": round(period, 3)})
    return min(period / _WARNED, _LONGEST_WARNING), min(period / _CRITICAL, _LONGEST_CRITICAL)
