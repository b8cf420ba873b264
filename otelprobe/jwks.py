"""The provider's key set: fetched and classified alike by every step that needs it."""

from collections.abc import Mapping

from otelprobe.http import Redirects, Reply
from otelprobe.pages import classify_page, is_html
from otelprobe.reasons import CheckFailed, Reason
from otelprobe.step import Context, KeySet
from otelprobe.tokens import parse_key_set, shown

_UNCACHED: Mapping[str, str] = {"Cache-Control": "no-cache"}


def fetch_key_set(ctx: Context, url: str, redirects: Redirects, *, again: bool = False) -> tuple[KeySet, Reply]:
    """Fetch and parse a JWKS; CheckFailed(jwks_unavailable, jwks_invalid or what an edge in front of it says).

    `again` marks the second look after an unknown kid: past caches, and not part of what a client's request would take.
    """
    reply = ctx.send("GET", url, headers=_UNCACHED if again else None, redirects=redirects, control=again)
    _refuse(reply)
    try:
        document = reply.json()
    except ValueError:
        what = "an HTML page" if is_html(reply) else f"no JSON ({shown(reply.media_type) or 'no media type'})"
        raise CheckFailed(Reason.JWKS_INVALID, f"{what} where the key set should be") from None
    return KeySet(parse_key_set(document), url, cache_time(reply)), reply


def cache_time(reply: Reply) -> float | None:
    """Give the seconds that `Cache-Control` lets a client keep an answer (RFC 9111); None where it says nothing of it."""
    directives = [d.strip().lower() for line in reply.values("Cache-Control") for d in line.split(",")]
    if {"no-store", "no-cache"} & set(directives):
        return 0.0
    ages = [d.partition("=")[2].strip('" ') for d in directives if d.startswith("max-age=")]
    return float(ages[0]) if ages and ages[0].isdecimal() and len(ages[0]) < 12 else None


def _refuse(reply: Reply) -> None:
    """Raise for what the status or an edge says, before the body is read."""
    if reply.status == 429:
        raise CheckFailed(Reason.IDP_RATE_LIMITED, "status 429 for the key set")
    page = classify_page(reply)
    if page is not None:
        raise CheckFailed(page, f"status {reply.status} with a page from in front of the provider")
    if 300 <= reply.status < 400:
        raise CheckFailed(Reason.REDIRECT_UNEXPECTED, f"status {reply.status} for the key set, not followed")
    if reply.status != 200:
        raise CheckFailed(Reason.JWKS_UNAVAILABLE, f"status {reply.status} for the key set")
