"""Cookies are read as browsers read them, and told without their value."""

import pytest

from otelprobe.cookie import find_cookie
from otelprobe.http import Reply
from otelprobe.result import Exchange, Fact

NOW = 1_800_000_000.0


def reply(*lines: str) -> Reply:
    """Make an answer with these Set-Cookie lines."""
    exchange = Exchange("POST", "https://app.example.com/", "app.example.com", 443, 1, 0, 0.0)
    return Reply(exchange, 200, tuple(("Set-Cookie", line) for line in lines), b"")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("sid=x", (False, False, "unset", None)),
        ("sid=x; Secure; HttpOnly; SameSite=lax; Max-Age=60", (True, True, "Lax", 60.0)),
        ("sid=x; secure ;HTTPONLY;samesite=None", (True, True, "None", None)),
        ("sid=x; SameSite=sometimes; Max-Age=soon", (False, False, "unset", None)),
        ("sid=x; Expires=Fri, 15 Jan 2027 09:00:00 GMT", (False, False, "unset", 3600.0)),
        ("sid=x; Max-Age=60; Expires=Fri, 15 Jan 2027 09:00:00 GMT", (False, False, "unset", 60.0)),
        ("sid=x; Expires=never", (False, False, "unset", None)),
        (f"sid=x; Max-Age={'9' * 5000}", (False, False, "unset", 400 * 86400.0)),
    ],
)
def test_attributes(line: str, told: tuple[object, ...]) -> None:
    """Names in any case; what cannot be read is as if it were not there; Max-Age wins over Expires."""
    found = find_cookie(reply(line), "sid", NOW)
    assert found is not None
    facts = found.facts()
    names = (Fact.COOKIE_SECURE, Fact.COOKIE_HTTP_ONLY, Fact.COOKIE_SAME_SITE, Fact.COOKIE_EXPIRES_IN)
    assert tuple(facts.get(name) for name in names) == told


@pytest.mark.parametrize("lines", [(), ("other=x",), ("sid=",), ("sid=x; Max-Age=0",), ("sid=x", "sid=; Max-Age=-1")])
def test_no_cookie(lines: tuple[str, ...]) -> None:
    """Another one, an empty one, one that ends at once, one that is taken back."""
    assert find_cookie(reply(*lines), "sid", NOW) is None


def test_a_value_in_quotes() -> None:
    """The quotes are no part of it, and the value never shows."""
    found = find_cookie(reply('sid="cookie-canary"'), "sid", NOW)
    assert found is not None
    assert found.value == "cookie-canary"
    assert "cookie-canary" not in repr(found)
