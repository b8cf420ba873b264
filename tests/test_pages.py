"""Pages in place of answers are told apart; an application's own errors are left alone."""

import pytest

from otelprobe.http import Reply
from otelprobe.pages import classify_page, is_login_page
from otelprobe.reasons import Reason
from otelprobe.result import Exchange

HTML = ("Content-Type", "text/html; charset=utf-8")


def reply(status: int, body: str, *headers: tuple[str, str]) -> Reply:
    """Make an answer."""
    return Reply(Exchange("GET", "https://a.example/", "a.example", 443, 1, 0, 0.1), status, headers, body.encode())


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (reply(403, "{}", ("CF-Mitigated", "challenge")), Reason.BOT_CHALLENGE),
        (reply(202, "", ("x-amzn-waf-action", "challenge")), Reason.BOT_CHALLENGE),
        (reply(403, "<html>Please solve the captcha</html>", HTML), Reason.BOT_CHALLENGE),
        (reply(403, "<html>Sorry, you have been blocked</html>", HTML), Reason.WAF_BLOCKED),
        (reply(403, "<!DOCTYPE html>Access Denied. Reference #18.2", ("Server", "AkamaiGHost")), Reason.WAF_BLOCKED),
        (reply(406, "<html>Not Acceptable! mod_security</html>", HTML), Reason.WAF_BLOCKED),
        (reply(403, "<html>edge</html>", HTML, ("cf-ray", "1")), Reason.WAF_BLOCKED),
        (reply(403, '{"error": "access denied, request blocked"}', ("Content-Type", "application/json")), None),
        (reply(200, "<html>How access denied pages look</html>", HTML), None),
        (reply(500, "<html>Internal Server Error</html>", HTML), None),
        (reply(403, "<html>You may not read this order.</html>", HTML), None),
    ],
)
def test_edges_are_told_from_applications(answer: Reply, expected: Reason | None) -> None:
    """Headers decide first, words only in HTML and only with a sign of an edge or a refusal."""
    assert classify_page(answer) is expected


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (reply(200, "<html><form><input name=p type='password'></form>", HTML), True),
        (reply(302, "", ("Location", "https://login.example/oauth2/authorize?x=1")), True),
        (reply(302, "", ("Location", "/login?next=/")), True),
        (reply(302, "", ("Location", "/orders/")), False),
        (reply(200, '{"type": "password"}', ("Content-Type", "application/json")), False),
    ],
)
def test_login_pages(answer: Reply, expected: bool) -> None:
    """A form with a password, or a redirect to one."""
    assert is_login_page(answer) is expected
