"""A page where an answer is due: block pages, bot challenges and log-in forms, told apart by headers first, words last."""

import re

from otelprobe.http import Reply
from otelprobe.reasons import Reason

_CHALLENGE_HEADERS = (
    ("cf-mitigated", "challenge"),
    ("x-amzn-waf-action", "challenge"),
    ("x-amzn-waf-action", "captcha"),
)
_CHALLENGE_NAMES = frozenset(name for name, _ in _CHALLENGE_HEADERS)
_EDGE_HEADERS = ("x-sucuri-id", "x-sucuri-block", "x-iinfo", "x-datadome", "x-azure-ref", "cf-ray")
_EDGE_SERVERS = re.compile(r"cloudflare|akamaighost|awselb|sucuri|imperva|incapsula|bigip|barracuda", re.IGNORECASE)
_CHALLENGE_WORDS = re.compile(
    r"captcha|challenge-platform|verify (?:that )?you are (?:a )?human|are you a robot", re.IGNORECASE
)
_BLOCK_WORDS = re.compile(
    r"request (?:was |has been )?blocked|you have been blocked|access denied|attention required|web application firewall"
    r"|reference #|incident id|support id|mod_security|not acceptable!",
    re.IGNORECASE,
)
_PASSWORD_FIELD = re.compile(r"<input[^<>]+type\s*=\s*[\"']?password", re.IGNORECASE)
_LOGIN_LOCATION = re.compile(r"/(?:log|sign)[-_]?in\b|/authorize\b|/auth\?|/oauth2?/|/saml2?/|/sso\b", re.IGNORECASE)
_SCANNED = 64 * 1024


def is_served_plainly(status: int, location: str, *, challenge: bool = False) -> bool:
    """Tell whether plain http is answered as https would be: by content, a challenge, or a redirect that stays with it."""
    if 300 <= status < 400:
        return not location.lower().startswith("https:")
    return 200 <= status < 300 or status == 401 or challenge


def is_html(reply: Reply) -> bool:
    """Tell whether a body is a page: by its media type, or by how it starts where none or a wrong one was sent."""
    if reply.media_type in {"text/html", "application/xhtml+xml"}:
        return True
    if reply.body.startswith((b"{", b"[")):
        return False
    start = reply.text[:256].lstrip().lower()
    return start.startswith(("<!doctype html", "<html"))


def challenged(reply: Reply) -> bool:
    """Tell by the headers alone whether a bot check answered in place of the server."""
    if reply.names.isdisjoint(_CHALLENGE_NAMES):
        return False
    return any(word in reply.value(name).lower() for name, word in _CHALLENGE_HEADERS)


def classify_page(reply: Reply) -> Reason | None:
    """Give bot_challenge or waf_blocked if an edge answered with a page of its own, else None.

    Words are looked at only in HTML, and a block word counts only with a status of refusal or an edge's header, because
    an application's own error page may say "access denied" too.
    """
    if challenged(reply):
        return Reason.BOT_CHALLENGE
    if not is_html(reply):
        return None
    text = reply.text[:_SCANNED]
    if _CHALLENGE_WORDS.search(text):
        return Reason.BOT_CHALLENGE
    edge = any(reply.value(name) for name in _EDGE_HEADERS) or bool(_EDGE_SERVERS.search(reply.value("Server")))
    refused = reply.status in {403, 405, 406, 409, 418, 451, 456, 494, 999}
    if (edge and refused) or (_BLOCK_WORDS.search(text) and (edge or refused)):
        return Reason.WAF_BLOCKED
    return None


def is_login_page(reply: Reply) -> bool:
    """Tell whether the answer is a log-in form, or a redirect to one."""
    if 300 <= reply.status < 400:
        return bool(_LOGIN_LOCATION.search(reply.value("Location")))
    return is_html(reply) and bool(_PASSWORD_FIELD.search(reply.text[:_SCANNED]))
