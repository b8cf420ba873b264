"""Rules on what hosts send: TLS, HSTS, cookies, CORS, caches, error answers and signs of a rate limit."""

import re
from collections.abc import Iterable, Iterator, Mapping

from otelprobe.pages import is_served_plainly
from otelprobe.posture.observations import Answered, Observations
from otelprobe.posture.rule import Broken, Rule
from otelprobe.result import Severity
from otelprobe.tokens import shown

_HALF_A_YEAR = 15552000
_MAX_AGE = re.compile(r"max-age\s*=\s*\"?(\d{1,12})", re.IGNORECASE)
_VERSION = re.compile(r"\d+\.\d+")
_LEAKS: Mapping[str, re.Pattern[str]] = {
    "a stack trace": re.compile(
        r"Traceback \(most recent call last\)|^\s+at [\w$.<>]+\([\w.]+:\d+|^\s+at .{1,200}\.js:\d+|goroutine \d+ \[|\.go:\d+ \+0x"
        r"|Microsoft\.AspNetCore|System\.\w+Exception|#\d+ /[\w/.-]+\.php\(\d+\)",
        re.MULTILINE,
    ),
    "an SQL statement or error": re.compile(
        r"SQLSTATE|ORA-\d{5}|syntax error at or near|You have an error in your SQL|psycopg2?\.|sqlite3\.", re.IGNORECASE
    ),
    "the name of a library's exception": re.compile(
        r"\b(?:io\.jsonwebtoken|com\.auth0\.jwt|org\.springframework|jose4j|java\.(?:lang|security)\.\w+Exception"
        r"|JsonWebTokenError|jwt\.exceptions|InvalidSignatureError|DecodeError|IDX\d{5})"
    ),
    "a path of the server": re.compile(
        r"(?:/usr/(?:src|lib|local)/|/home/\w+/|/var/www/|/app/node_modules/|[A-Z]:\\\\?(?:inetpub|Users)\\)[\w./\\-]{3,}"
    ),
}
_RATE_HEADERS = (
    "ratelimit",
    "ratelimit-limit",
    "ratelimit-policy",
    "x-ratelimit-limit",
    "x-rate-limit-limit",
    "retry-after",
)


def _old_tls(seen: Observations) -> Iterable[Broken] | None:
    if not seen.tls:
        return None
    return [(host, f"TLS {version} was agreed on") for host, version in seen.tls if version in {"1.0", "1.1"}]


def _no_tls13(seen: Observations) -> Iterable[Broken] | None:
    if not seen.tls:
        return None
    return [(host, "TLS 1.2 was agreed on, 1.3 was offered") for host, version in seen.tls if version == "1.2"]


def _hsts(seen: Observations) -> Iterable[Broken] | None:
    secure = [answer for answer in seen.answers() if answer.https]
    if not secure:
        return None
    return [(answer.host, why) for answer in secure if (why := _hsts_fault(answer)) is not None]


def _hsts_fault(answer: Answered) -> str | None:
    value = answer.value("Strict-Transport-Security")
    if not value:
        return "no Strict-Transport-Security"
    found = _MAX_AGE.search(value)
    seconds = int(found[1]) if found else 0
    return f"Strict-Transport-Security lasts {seconds} s" if seconds < _HALF_A_YEAR else None


def _plain_http(seen: Observations) -> Iterable[Broken] | None:
    if not seen.plain_http:
        return None
    return [
        (a.host, f"plain http is answered with status {a.status}")
        for a in seen.plain_http
        if is_served_plainly(a.status, a.value("Location"))
    ]


def _cookies(seen: Observations) -> list[tuple[Answered, str, set[str], str]] | None:
    """Give each cookie that was set: the answer, its name, its flags in lower case, and its SameSite."""
    answers = list(seen.answers())
    if not answers:
        return None
    return [(answer, *_parts(line)) for answer in answers for line in answer.values("Set-Cookie")]


def _parts(line: str) -> tuple[str, set[str], str]:
    first, *rest = line.split(";")
    pairs = [part.strip().partition("=") for part in rest]
    same_site = next((value.strip().lower() for name, _, value in pairs if name.strip().lower() == "samesite"), "")
    return first.partition("=")[0].strip(), {name.strip().lower() for name, _, _ in pairs}, same_site


def _cookie_without(seen: Observations, flag: str) -> Iterable[Broken] | None:
    cookies = _cookies(seen)
    if cookies is None:
        return None
    return [
        (a.host, f"cookie {shown(name)} has no {flag}") for a, name, flags, _ in cookies if flag.lower() not in flags
    ]


def _cookie_http_only(seen: Observations) -> Iterable[Broken] | None:
    return _cookie_without(seen, "HttpOnly")


def _cookie_secure(seen: Observations) -> Iterable[Broken] | None:
    return _cookie_without(seen, "Secure")


def _cookie_same_site(seen: Observations) -> Iterable[Broken] | None:
    cookies = _cookies(seen)
    if cookies is None:
        return None
    return [
        (answer.host, f"cookie {shown(name)} has {'SameSite=None' if same else 'no SameSite'}")
        for answer, name, _, same in cookies
        if same not in {"lax", "strict"}
    ]


def _cors_credentials(seen: Observations) -> Iterable[Broken] | None:
    answer = seen.preflight
    if answer is None:
        return None
    allowed, origin = answer.value("Access-Control-Allow-Origin"), seen.origin
    credentials = answer.value("Access-Control-Allow-Credentials").lower() == "true"
    if credentials and allowed in {"*", "null", origin}:
        return [(answer.host, "any origin is allowed, with credentials")]
    return []


def _cors_any(seen: Observations) -> Iterable[Broken] | None:
    answer = seen.preflight
    if answer is None:
        return None
    allowed = answer.value("Access-Control-Allow-Origin")
    headers = answer.value("Access-Control-Allow-Headers").lower()
    if allowed == seen.origin:
        return [(answer.host, "a foreign origin is echoed back as allowed")]
    if allowed == "*" and ("authorization" in headers or "*" in headers):
        return [(answer.host, "any origin may send the Authorization header")]
    return []


def _grant_cached(seen: Observations) -> Iterable[Broken] | None:
    answer = seen.refused_grant
    if answer is None:
        return None
    stored = "no-store" not in ",".join(answer.values("Cache-Control")).lower()
    return [(answer.host, "the token endpoint answers without Cache-Control: no-store")] if stored else []


def _api_cached(seen: Observations) -> Iterable[Broken] | None:
    answer = seen.api
    if answer is None or not 200 <= answer.status < 300:
        return None
    control = ",".join(answer.values("Cache-Control")).lower()
    shared = "public" in control or "s-maxage" in control
    return [(answer.host, "an answer to a credential may be kept by shared caches")] if shared else []


def _leaks(answer: Answered | None) -> Iterator[Broken]:
    if answer is not None and answer.status >= 400:
        yield from (
            (answer.host, f"an error answer shows {word}") for word, p in _LEAKS.items() if p.search(answer.text)
        )


def _provider_leaks(seen: Observations) -> Iterable[Broken] | None:
    if seen.refused_grant is None and seen.login_page is None:
        return None
    return [*_leaks(seen.refused_grant), *_leaks(seen.login_page)]


def _api_leaks(seen: Observations) -> Iterable[Broken] | None:
    return None if seen.api_refusal is None else list(_leaks(seen.api_refusal))


def _banner(seen: Observations) -> Iterable[Broken] | None:
    answers = list(seen.answers())
    if not answers:
        return None
    named = ("Server", "X-Powered-By", "X-AspNet-Version")
    return [(a.host, f"{n} names a version") for a in answers for n in named if _VERSION.search(a.value(n))]


def _challenge(seen: Observations) -> Iterable[Broken] | None:
    answer = seen.api_refusal
    if answer is None or answer.status != 401:
        return None
    return [] if answer.values("WWW-Authenticate") else [(answer.host, "status 401 without WWW-Authenticate")]


def _grant_not_refused(seen: Observations) -> Iterable[Broken] | None:
    answer = seen.refused_grant
    if answer is None or answer.status == 429:
        return None
    odd = not 400 <= answer.status < 500
    return [(answer.host, f"a grant that does not exist is answered with status {answer.status}")] if odd else []


def _unlimited(answers: Iterable[Answered | None]) -> Iterable[Broken] | None:
    seen = [answer for answer in answers if answer is not None]
    if not seen:
        return None
    limited = any(answer.value(name) for answer in seen for name in _RATE_HEADERS) or any(a.status == 429 for a in seen)
    return [] if limited else [(seen[0].host, "no answer speaks of a rate limit")]


def _provider_unlimited(seen: Observations) -> Iterable[Broken] | None:
    return _unlimited([seen.refused_grant])


def _api_unlimited(seen: Observations) -> Iterable[Broken] | None:
    return _unlimited([seen.api, seen.api_refusal])


_H, _M, _L, _I = Severity.HIGH, Severity.MEDIUM, Severity.LOW, Severity.INFO

WIRE_RULES = (
    Rule(
        id="tls-old",
        severity=_H,
        side="provider",
        source="RFC 8996; RFC 9325, section 3.1",
        why="TLS 1.0 and 1.1 have known attacks.",
        mend="Allow TLS 1.2 and 1.3 only.",
        check=_old_tls,
    ),
    Rule(
        id="tls-without-1-3",
        severity=_I,
        side="provider",
        source="RFC 9325, section 3.1.1",
        why="TLS 1.3 leaves out what attacks on 1.2 use, and saves a round trip.",
        mend="Allow TLS 1.3.",
        check=_no_tls13,
    ),
    Rule(
        id="hsts-missing",
        severity=_M,
        side="provider",
        source="RFC 6797; OWASP HSTS Cheat Sheet",
        why="Without HSTS a browser can be led to plain http once.",
        mend="Send Strict-Transport-Security with a max-age of half a year or more.",
        check=_hsts,
    ),
    Rule(
        id="plain-http-served",
        severity=_H,
        side="provider",
        source="RFC 9700, section 2.6; OWASP TLS Cheat Sheet",
        why="What is served by plain http can be read and changed on the way.",
        mend="Redirect plain http to https, or close the port.",
        check=_plain_http,
    ),
    Rule(
        id="cookie-http-only",
        severity=_M,
        side="provider",
        source="RFC 6265, section 4.1.2.6; OWASP Session Management Cheat Sheet",
        why="A script that was smuggled into a page reads the cookie.",
        mend="Set HttpOnly on every cookie that no script has to read.",
        check=_cookie_http_only,
    ),
    Rule(
        id="cookie-secure",
        severity=_M,
        side="provider",
        source="RFC 6265, section 4.1.2.5; OWASP Session Management Cheat Sheet",
        why="The cookie goes over plain http as well.",
        mend="Set Secure on every cookie.",
        check=_cookie_secure,
    ),
    Rule(
        id="cookie-same-site",
        severity=_L,
        side="provider",
        source="OWASP CSRF Prevention Cheat Sheet",
        why="Other sites can make a browser send the cookie.",
        mend="Set SameSite=Lax or Strict, unless the cookie is meant for other sites.",
        check=_cookie_same_site,
    ),
    Rule(
        id="cors-credentials",
        severity=_H,
        side="api",
        source="OWASP API Security 2023, API8; Fetch Standard",
        why="Any page that a user visits can call the API as that user.",
        mend="Allow credentials for listed origins only.",
        check=_cors_credentials,
    ),
    Rule(
        id="cors-any-origin",
        severity=_L,
        side="api",
        source="OWASP API Security 2023, API8",
        why="Pages of strangers may call the API with a token that they got hold of.",
        mend="Allow the Authorization header for listed origins only.",
        check=_cors_any,
    ),
    Rule(
        id="grant-cached",
        severity=_M,
        side="provider",
        source="RFC 6749, section 5.1",
        why="A cache on the way may keep tokens.",
        mend="Send Cache-Control: no-store from the token endpoint, with errors too.",
        check=_grant_cached,
    ),
    Rule(
        id="api-cached",
        severity=_M,
        side="api",
        source="RFC 9111, section 3.5",
        why="A shared cache may give one user's answer to another.",
        mend="Send Cache-Control: private or no-store where an answer depends on a credential.",
        check=_api_cached,
    ),
    Rule(
        id="provider-error-leak",
        severity=_M,
        side="provider",
        source="OWASP Error Handling Cheat Sheet; CWE-209",
        why="Inner details help an attacker to the next step.",
        mend="Answer with an OAuth error code and nothing else; keep details in the logs.",
        check=_provider_leaks,
    ),
    Rule(
        id="api-error-leak",
        severity=_M,
        side="api",
        source="OWASP API Security 2023, API8; CWE-209",
        why="Inner details help an attacker to the next step.",
        mend="Answer 401 with a challenge and nothing else; keep details in the logs.",
        check=_api_leaks,
    ),
    Rule(
        id="version-banner",
        severity=_I,
        side="provider",
        source="OWASP HTTP Headers Cheat Sheet",
        why="A version tells which known holes to try.",
        mend="Take versions out of Server and X-Powered-By.",
        check=_banner,
    ),
    Rule(
        id="challenge-missing",
        severity=_L,
        side="api",
        source="RFC 6750, section 3; RFC 9110, section 11.6.1",
        why="A client cannot tell an expired token from another refusal.",
        mend="Send WWW-Authenticate: Bearer with every 401.",
        check=_challenge,
    ),
    Rule(
        id="grant-not-refused",
        severity=_M,
        side="provider",
        source="RFC 6749, section 5.2",
        why="A token endpoint that does not refuse what it does not know does not check what it is sent.",
        mend="Answer 400 with unsupported_grant_type, or 401 with invalid_client.",
        check=_grant_not_refused,
    ),
    Rule(
        id="provider-rate-limit-unseen",
        severity=_I,
        side="provider",
        source="RFC 6819, section 4.4.3.6; OWASP API Security 2023, API2",
        why="Without a limit secrets and passwords can be guessed; one that sends no header is not seen here.",
        mend="Limit the rate at the token endpoint, and say so in RateLimit headers.",
        check=_provider_unlimited,
    ),
    Rule(
        id="api-rate-limit-unseen",
        severity=_I,
        side="api",
        source="OWASP API Security 2023, API4",
        why="Without a limit one client can use up the API; one that sends no header is not seen here.",
        mend="Limit the rate of each client, and say so in RateLimit headers.",
        check=_api_unlimited,
    ),
)
