"""Challenges are read as RFC 9110 writes them, whatever a server makes of it."""

import pytest

from otelprobe.challenge import Challenge, bearer_challenge, parse_challenges


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["Bearer"], [("bearer", {})]),
        (['Bearer realm="a, b", error="invalid_token"'], [("bearer", {"realm": "a, b", "error": "invalid_token"})]),
        (
            ['Basic realm="x", Bearer error=invalid_token'],
            [("basic", {"realm": "x"}), ("bearer", {"error": "invalid_token"})],
        ),
        (
            ['Bearer error_description="say \\"no\\"", error="x"'],
            [("bearer", {"error_description": 'say "no"', "error": "x"})],
        ),
        (["Negotiate", 'Bearer scope="a b"'], [("negotiate", {}), ("bearer", {"scope": "a b"})]),
        (["Negotiate, Bearer"], [("negotiate", {}), ("bearer", {})]),
        (['BEARER Error = "invalid_token"'], [("bearer", {"error": "invalid_token"})]),
        (['Bearer realm="never closed'], [("bearer", {})]),
        ([""], []),
        ([], []),
    ],
)
def test_every_scheme_and_parameter_is_read(lines: list[str], expected: list[tuple[str, dict[str, str]]]) -> None:
    """Several headers, several schemes in one, quoted commas, escapes and broken ends are all told apart."""
    assert [(c.scheme, dict(c.params)) for c in parse_challenges(lines)] == expected


def test_the_challenge_with_an_error_comes_first() -> None:
    """A bearer challenge with an error code wins over a bare one."""
    bare, telling = Challenge("bearer", {}), Challenge("dpop", {"error": "invalid_token"})
    assert bearer_challenge([bare, telling]) is telling
    assert bearer_challenge([Challenge("basic", {})]) is None


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        ("insufficient_scope", "insufficient_scope"),
        ("eyJhbGciOiJFUzI1NiJ9.e30.c2ln", "an unreadable code"),
        ("Bearer canary", "an unreadable code"),
        ("a" * 65, "an unreadable code"),
        ("", ""),
        (None, None),
    ],
)
def test_an_error_that_is_no_code_is_not_told(sent: str | None, told: str | None) -> None:
    """A server that repeats a token where its error code should be does not get it into any output."""
    assert Challenge("bearer", {} if sent is None else {"error": sent}).error == told
