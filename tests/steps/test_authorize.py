"""The authorize step: what goes out, every way in which the answer and the pages can be wrong, and who is to blame."""

import sys
from base64 import urlsafe_b64encode
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from urllib.parse import urlencode

import pytest

from otelprobe.fields import HttpOptions, Rate, SecretRef
from otelprobe.form_rules import FormRule
from otelprobe.reasons import Blame, Counts, Outcome, Reason
from otelprobe.result import Fact, FlowResult
from otelprobe.steps.authorize import Authorize, AuthorizeExpect
from otelprobe.steps.discover import Discover
from otelprobe.steps.token import Token
from otelprobe.trail import MOST_HOPS
from tests.conftest import Answer, Seen
from tests.steps.flows import Bench, as_json, last, token_answer

CALLBACK = "https://app.example/cb"
HTML = ("Content-Type", "text/html; charset=utf-8")
FORM = (
    "<form method=post action=/login><input type=hidden name=csrf value=c1>"
    "<input name=user><input type=password name=pw><button>Sign in</button></form>"
)
CONSENT = (
    "<form method=post action=/consent><button name=answer value=no>Deny</button>"
    "<button name=answer value=yes>Allow</button></form>"
)
ANN = {"username": "ann", "password": SecretRef(env="PASSWORD")}


@pytest.fixture(autouse=True)
def _password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PASSWORD", "pass-canary")


def page(text: str, status: int = 200, *headers: tuple[str, str]) -> Answer:
    """Make a page."""
    return Answer(status, f"<!doctype html><title>x</title>{text}".encode(), [HTML, *headers])


def to(url: str, status: int = 302, *cookies: str) -> Answer:
    """Make a redirect."""
    return Answer(status, b"", [("Location", url), *(("Set-Cookie", cookie) for cookie in cookies)])


class Pages:
    """A provider of a log-in page and a consent page, with the session in a cookie; `answer` is what comes back."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.asked: dict[str, str] = {}
        self.answer: Callable[[dict[str, str]], dict[str, str]] = lambda asked: {
            "code": "c-canary",
            "state": asked["state"],
        }
        for path in ("/authorize", "/login", "/consent", "/end"):
            bench.server.on(path, getattr(self, path[1:]))

    def authorize(self, seen: Seen) -> Answer:
        self.asked = {name: values[0] for name, values in seen.query.items()}
        return to(
            "/login", 302, "session=1; Path=/; HttpOnly; SameSite=Lax", "other=2; Path=/elsewhere", "safe=3; Secure"
        )

    def login(self, seen: Seen) -> Answer:
        if seen.method == "GET":
            return page(FORM)
        good = seen.form == {"csrf": "c1", "user": "ann", "pw": "pass-canary"} and "session=1" in seen.headers["cookie"]
        return to("/consent", 303, "session=2; Path=/") if good else page(FORM)

    def consent(self, seen: Seen) -> Answer:
        return page(CONSENT) if seen.method == "GET" else to("/end")

    def end(self, seen: Seen) -> Answer:
        assert "session=2" in seen.headers["cookie"]
        return to(f"{CALLBACK}?{urlencode(self.answer(self.asked))}")


@pytest.fixture
def pages(bench: Bench) -> Pages:
    named = {**bench.provider.endpoints, "authorization": f"{bench.server.url}/authorize"}
    bench.provider = replace(bench.provider, endpoints=named)
    return Pages(bench)


def step(**members: object) -> Authorize:
    """Make the step, logged in as ann."""
    return Authorize(name="authorize", redirect_uri=CALLBACK, **{**ANN, **members})  # type: ignore[arg-type]  # by name


def verdict(result: FlowResult) -> tuple[object, ...]:
    """Give what a test compares."""
    return result.reason, result.blame, result.counts


def test_a_log_in_with_consent_gives_a_code_that_is_exchanged(pages: Pages) -> None:
    """The code, the redirect URI and the verifier of the challenge arrive at the token endpoint; every hop is told."""
    pages.bench.server.on("/token", token_answer(scope="openid a"))
    result = pages.bench.run(step(scope="openid a"), Token(name="token", grant="authorization_code"))
    assert result.outcome is Outcome.PASS, result.detail
    asked, form = pages.asked, pages.bench.server.seen[-1].form
    challenge = urlsafe_b64encode(sha256(form["code_verifier"].encode()).digest()).rstrip(b"=").decode()
    assert (asked["code_challenge"], asked["code_challenge_method"], asked["response_type"]) == (
        challenge,
        "S256",
        "code",
    )
    assert (form["grant_type"], form["code"], form["redirect_uri"]) == ("authorization_code", "c-canary", CALLBACK)
    assert min(len(asked["state"]), len(asked["nonce"])) > 20
    row = result.steps[0]
    assert [(x.method, x.status) for x in row.exchanges] == [
        *[("GET", 302), ("GET", 200), ("POST", 303), ("GET", 200), ("POST", 302), ("GET", 302)]
    ]
    assert row.facts[Fact.LOGIN_FORMS] == 2
    assert result.steps[1].facts[Fact.ISSUANCE_GRANT] == "authorization_code"
    for secret in ("canary", asked["state"], asked["nonce"], form["code_verifier"]):
        assert secret not in repr(result)


def test_cookies_and_origin_are_sent_as_browsers_do(pages: Pages) -> None:
    """By path, with Secure ones also on loopback; a POST tells its origin, and the page it comes from."""
    pages.bench.run(step())
    posted = next(seen for seen in pages.bench.server.seen if seen.method == "POST")
    assert sorted(posted.headers["cookie"].split("; ")) == ["safe=3", "session=1"]
    assert posted.headers["origin"] == pages.bench.server.url
    assert posted.headers["referer"] == f"{pages.bench.server.url}/login"


def test_every_parameter_goes_out(pages: Pages) -> None:
    """What is set is sent, once for each resource; without openid there is no nonce, without PKCE no challenge."""
    members = {"prompt": "login", "max_age": 60.0, "acr_values": "gold", "audience": "orders", "resource": ("r1", "r2")}
    pages.bench.run(step(scope="a", pkce="none", response_mode="query", params={"hint": "x y"}, **members))
    query = pages.bench.server.seen[0].query
    assert query.pop("state")
    assert query == {
        "response_type": ["code"], "client_id": ["otel probe"], "redirect_uri": [CALLBACK], "scope": ["a"],
        "response_mode": ["query"], "prompt": ["login"], "max_age": ["60"], "acr_values": ["gold"],
        "audience": ["orders"], "resource": ["r1", "r2"], "hint": ["x y"],
    }  # fmt: skip


PROVIDER, CONFIG, EDGE = (Blame.PROVIDER, Counts.AUTH), (Blame.CONFIG, Counts.NONE), (Blame.EDGE, Counts.NONE)


@pytest.mark.parametrize(
    ("answer", "reason", "whose"),
    [
        ({"code": "c", "state": "other"}, Reason.STATE_MISMATCH, PROVIDER),
        ({"code": "c"}, Reason.STATE_MISMATCH, PROVIDER),
        ({"error": "access_denied", "state": "other"}, Reason.STATE_MISMATCH, PROVIDER),
        ({"state": "STATE"}, Reason.CODE_MISSING, PROVIDER),
        ({"code": "", "state": "STATE"}, Reason.CODE_MISSING, PROVIDER),
        ({"code": "c", "state": "STATE", "iss": "https://evil.example"}, Reason.ISSUER_PARAM_MISMATCH, PROVIDER),
        ({"error": "access_denied", "state": "STATE"}, Reason.ACCESS_DENIED, CONFIG),
        ({"error": "login_required", "state": "STATE"}, Reason.LOGIN_REQUIRED, CONFIG),
        ({"error": "consent_required"}, Reason.CONSENT_REQUIRED, CONFIG),
        ({"error": "invalid_scope", "state": "STATE"}, Reason.INVALID_SCOPE, CONFIG),
        ({"error": "server_error", "state": "STATE"}, Reason.IDP_ERROR, PROVIDER),
        ({"error": "temporarily_unavailable", "state": "STATE"}, Reason.IDP_ERROR, PROVIDER),
        ({"error": "canary text", "state": "STATE"}, Reason.OAUTH_ERROR_OTHER, CONFIG),
    ],
)
def test_each_bad_answer_has_its_reason(
    pages: Pages, answer: dict[str, str], reason: Reason, whose: tuple[Blame, Counts]
) -> None:
    """Issuer and state first, then the error that the redirect carries, then the code."""
    pages.answer = lambda asked: {k: asked["state"] if v == "STATE" else v for k, v in answer.items()}
    result = pages.bench.run(step())
    assert verdict(result) == (reason, *whose), result.detail
    assert last(result).facts[Fact.LOGIN_FORMS] == 2
    assert "canary" not in repr(result)


def test_an_issuer_that_is_promised_must_be_sent(pages: Pages) -> None:
    """A provider that announces `iss` (RFC 9207) and leaves it out is mistaken, or somebody in between is."""
    bench = pages.bench
    document = {
        **dict.fromkeys(("token_endpoint", "jwks_uri"), bench.server.url),
        "issuer": bench.server.url,
        "authorization_endpoint": f"{bench.server.url}/authorize",
        "authorization_response_iss_parameter_supported": True,
    }
    bench.server.on("/.well-known/openid-configuration", as_json(document))
    assert verdict(bench.run(Discover(name="discover"), step())) == (Reason.ISSUER_PARAM_MISMATCH, *PROVIDER)
    pages.answer = lambda asked: {"code": "c", "state": asked["state"], "iss": bench.server.url}
    assert bench.run(Discover(name="discover"), step()).passed


def test_liveness_without_a_log_in(pages: Pages) -> None:
    """`prompt: none` passes with the error that is expected, makes no code, and fails if a code comes all the same."""
    silent = Authorize(
        name="authorize", redirect_uri=CALLBACK, prompt="none", expect=AuthorizeExpect(error="login_required")
    )
    bench = pages.bench
    bench.server.on(
        "/authorize", lambda seen: to(f"{CALLBACK}?error=login_required&state={seen.query['state'][0]}", 303)
    )
    result = bench.run(silent)
    assert result.passed
    assert silent.made() == ()
    assert last(result).facts[Fact.ISSUANCE_OAUTH_ERROR] == "login_required"
    bench.server.on("/authorize", lambda seen: to(f"{CALLBACK}?code=c&state={seen.query['state'][0]}"))
    assert verdict(bench.run(silent)) == (Reason.ASSERTION_FAILED, *PROVIDER)
    bench.server.on("/authorize", page(FORM))
    assert verdict(bench.run(silent)) == (Reason.LOGIN_REQUIRED, *PROVIDER)


@pytest.mark.parametrize("mode", ["form_post", "fragment"])
def test_other_response_modes(pages: Pages, mode: str) -> None:
    """An answer in a form that a script would send on, or behind a `#`, is read as one in the query."""

    def end(_: Seen) -> Answer:
        told = {"code": "c", "state": pages.asked["state"]}
        if mode == "fragment":
            return to(f"{CALLBACK}#{urlencode(told)}")
        fields = "".join(f"<input type=hidden name={k} value={v}>" for k, v in told.items())
        return page(f"<body onload=x><form method=post action={CALLBACK}>{fields}</form>")

    pages.bench.server.on("/end", end)
    result = pages.bench.run(step(response_mode=mode))
    assert result.passed, result.detail
    assert pages.asked["response_mode"] == mode


def test_pushed_parameters(pages: Pages) -> None:
    """RFC 9126: everything goes to the provider with the client's authentication; the browser's URL names only the handle."""
    server = pages.bench.server
    named = {**pages.bench.provider.endpoints, "pushed_authorization_request": f"{server.url}/par"}
    pages.bench.provider = replace(pages.bench.provider, endpoints=named)

    def push(seen: Seen) -> Answer:
        pages.asked = seen.form
        return as_json({"request_uri": "urn:x:1", "expires_in": 60}, 201)

    server.on("/par", push)
    server.on("/authorize", to("/login", 302, "session=1; Path=/"))
    assert pages.bench.run(step(par=True)).passed
    assert server.seen[0].headers["authorization"].startswith("Basic ")
    assert pages.asked["redirect_uri"] == CALLBACK
    assert server.seen[1].query == {"client_id": ["otel probe"], "request_uri": ["urn:x:1"]}
    server.on("/par", as_json({"expires_in": 60}, 201))
    assert verdict(pages.bench.run(step(par=True))) == (Reason.CODE_MISSING, *PROVIDER)
    server.on("/par", as_json({"error": "invalid_request"}, 400))
    assert verdict(pages.bench.run(step(par=True))) == (Reason.INVALID_REQUEST, *CONFIG)


def test_pushed_parameters_are_counted(pages: Pages) -> None:
    """A push is a request with the client's credentials: beyond the budget none is sent, and no page is asked for."""
    server, endpoints = pages.bench.server, pages.bench.provider.endpoints
    named = {**endpoints, "pushed_authorization_request": f"{server.url}/par"}
    pages.bench.provider = replace(pages.bench.provider, endpoints=named, budget=Rate(1, 60.0))

    def push(seen: Seen) -> Answer:
        pages.asked = seen.form
        return as_json({"request_uri": "urn:x:1", "expires_in": 60}, 201)

    server.on("/par", push)
    server.on("/authorize", to("/login", 302, "session=1; Path=/"))
    assert pages.bench.run(step(par=True)).passed
    before = len(server.seen)
    assert verdict(pages.bench.run(step(par=True))) == (Reason.BUDGET_EXHAUSTED, Blame.PROBER, Counts.NONE)
    assert len(server.seen) == before


def test_a_form_that_changed(pages: Pages) -> None:
    """Rules that fitted yesterday's page fit today's no more: that is said, and nothing is sent."""
    pages.bench.server.on("/login", page("<form method=post><input name=mail><input type=password name=geheim></form>"))
    rule = FormRule(fields={"user": "ann", "pw": SecretRef(env="PASSWORD")})
    result = pages.bench.run(step(username=None, password=None, forms=(rule,)))
    assert verdict(result) == (Reason.LOGIN_FORM_NOT_FOUND, *CONFIG)
    assert "none of the rules fits the log-in form" in (result.detail or "")
    assert all(seen.method == "GET" for seen in pages.bench.server.seen)


def test_a_page_that_needs_javascript(pages: Pages) -> None:
    """A page without a form whose scripts would make one: it is said that a browser is what is wanted."""
    pages.bench.server.on("/login", page("<div id=root></div><script src=app.js></script>"))
    result = pages.bench.run(step())
    assert verdict(result) == (Reason.JAVASCRIPT_REQUIRED, *CONFIG)
    assert result.detail == "the page has no form: it seems to be made by JavaScript, which takes a browser"


CAPTCHA = "<script src=https://x/captcha.js></script>"
OTP = "<form method=post><input name=otp></form>"


@pytest.mark.parametrize(
    ("answer", "reason", "whose"),
    [
        (page("", 503), Reason.IDP_HTTP_5XX, PROVIDER),
        (page("", 429), Reason.IDP_RATE_LIMITED, EDGE),
        (page("", 404), Reason.IDP_HTTP_4XX, PROVIDER),
        (page("nothing"), Reason.LOGIN_FORM_NOT_FOUND, CONFIG),
        (page("<div id=root></div><script src=app.js></script>"), Reason.JAVASCRIPT_REQUIRED, CONFIG),
        (page("<form><input name=q><input name=r></form>"), Reason.LOGIN_FORM_NOT_FOUND, CONFIG),
        (page(FORM.replace("method=post", "")), Reason.JAVASCRIPT_REQUIRED, CONFIG),
        (Answer(200, b"%PDF", [("Content-Type", "application/pdf")]), Reason.LOGIN_FORM_NOT_FOUND, CONFIG),
        (as_json({"error": "invalid_client"}, 401), Reason.INVALID_CLIENT, CONFIG),
        (as_json({"error": "Client not found."}, 404), Reason.IDP_HTTP_4XX, PROVIDER),
        (as_json({"error": ["canary"]}), Reason.LOGIN_FORM_NOT_FOUND, CONFIG),
        (page(CAPTCHA), Reason.BOT_CHALLENGE, EDGE),
        (page(f"{CAPTCHA}<form><button>Continue</button></form>"), Reason.BOT_CHALLENGE, EDGE),
        (page(FORM, 403, ("cf-mitigated", "challenge")), Reason.BOT_CHALLENGE, EDGE),
        (page("<h1>You have been blocked</h1>", 403), Reason.WAF_BLOCKED, EDGE),
        (page(OTP), Reason.MFA_CHALLENGE, CONFIG),
        (to("https://evil.example/login"), Reason.REDIRECT_UNEXPECTED, PROVIDER),
        (to("/login"), Reason.REDIRECT_LOOP, PROVIDER),
        (to("https://[broken"), Reason.REDIRECT_UNEXPECTED, PROVIDER),
        (to("javascript:alert(1)"), Reason.REDIRECT_UNEXPECTED, PROVIDER),
        (page("<form method=post action=https://evil.example/><input type=password name=p></form>"),
         Reason.REDIRECT_UNEXPECTED, PROVIDER),
        (page("<meta http-equiv=refresh content='0; url=https://evil.example/'>"), Reason.REDIRECT_UNEXPECTED, PROVIDER),
    ],
)  # fmt: skip
def test_each_page_that_stands_in_the_way_has_its_reason(
    pages: Pages, answer: Answer, reason: Reason, whose: tuple[Blame, Counts]
) -> None:
    """What answers in the place of the log-in page decides; nothing is ever sent to a host that is not allowed."""
    pages.bench.server.on("/login", answer)
    result = pages.bench.run(step())
    assert verdict(result) == (reason, *whose), result.detail
    assert {x.host for x in last(result).exchanges} == {"127.0.0.1"}
    assert len(last(result).exchanges) <= MOST_HOPS


@pytest.mark.parametrize("status", [400, 403])
def test_an_error_page_at_once_means_client_or_redirect_uri(pages: Pages, status: int) -> None:
    """Without a redirect URI to be trusted, a provider must not redirect (RFC 6749, section 4.1.2.1): we are to blame."""
    pages.bench.server.on("/authorize", page("<h1>Invalid parameter: redirect_uri</h1>", status))
    result = pages.bench.run(step())
    assert verdict(result) == (Reason.INVALID_REQUEST, *CONFIG)
    assert "redirect_uri" in (result.detail or "")


def test_a_wrong_password_is_known_by_the_form_that_comes_back(pages: Pages, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is sent once, lest the user be locked."""
    monkeypatch.setenv("PASSWORD", "wrong-canary")
    result = pages.bench.run(step())
    assert verdict(result) == (Reason.LOGIN_REJECTED, *CONFIG)
    assert [seen.method for seen in pages.bench.server.seen].count("POST") == 1
    assert "canary" not in repr(result)


def test_a_refusal_by_a_bot_check_is_no_wrong_password(pages: Pages, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the form comes back with a captcha, the edge is to blame; where it had one from the start, it is tried."""
    pages.bench.server.on("/login", page(FORM + CAPTCHA))
    assert verdict(pages.bench.run(step())) == (Reason.BOT_CHALLENGE, *EDGE)
    assert [seen.method for seen in pages.bench.server.seen].count("POST") == 1


def test_a_second_factor_that_is_no_code(pages: Pages) -> None:
    """After the password, a page for a passkey is a second factor that cannot be given."""
    pages.bench.server.on("/consent", page("<p>Use your passkey to continue</p><script>x</script>"))
    assert verdict(pages.bench.run(step())) == (Reason.MFA_CHALLENGE, *CONFIG)


def test_a_second_factor_by_time(pages: Pages, monkeypatch: pytest.MonkeyPatch) -> None:
    """The code is sent in place of the consent; the same page again means that it was refused."""
    monkeypatch.setenv("TOTP", "GEZDGNBVGY3TQOJQ")
    codes: list[str] = []

    def second(seen: Seen) -> Answer:
        if seen.method == "GET":
            return page(OTP)
        codes.append(seen.form["otp"])
        return to("/end")

    pages.bench.server.on("/consent", second)
    result = pages.bench.run(step(totp=SecretRef(env="TOTP")))
    assert result.passed, result.detail
    assert len(codes[0]) == 6
    assert codes[0] not in repr(result)
    pages.bench.server.on("/consent", page(OTP))
    assert verdict(pages.bench.run(step(totp=SecretRef(env="TOTP")))) == (Reason.LOGIN_REJECTED, *CONFIG)


def test_rules_on_pages_with_names_of_their_own(pages: Pages) -> None:
    """Several pages, each with fields that no list of names knows, in any order."""
    first = "<form method=post action=/login><input name=kdnr><button>Weiter</button></form>"
    second = "<form method=post action=/consent><input name=geheim><button name=b value=1>Weiter</button></form>"
    pages.bench.server.on("/login", lambda seen: page(first) if seen.method == "GET" else page(second))
    pages.bench.server.on("/consent", lambda seen: to("/end", 303, "session=2; Path=/"))
    rules = (
        FormRule(fields={"geheim": SecretRef(env="PASSWORD")}, submit="Weiter"),
        FormRule(fields={"kdnr": "4711"}),
    )
    result = pages.bench.run(Authorize(name="authorize", redirect_uri=CALLBACK, forms=rules))
    assert result.passed, result.detail
    assert [seen.form for seen in pages.bench.server.seen if seen.method == "POST"] == [
        {"kdnr": "4711"},
        {"geheim": "pass-canary", "b": "1"},
    ]


@pytest.mark.parametrize(
    ("status", "methods"), [(303, ["POST", "GET"]), (302, ["POST", "GET"]), (307, ["POST", "POST"])]
)
def test_only_307_and_308_repeat_what_was_typed(pages: Pages, status: int, methods: list[str]) -> None:
    """As in browsers, and never to another origin."""
    server = pages.bench.server
    server.on("/login", lambda seen: page(FORM) if seen.method == "GET" else to("/again", status, "session=2; Path=/"))
    server.on("/again", to("/end", 303))
    assert pages.bench.run(step()).passed
    assert [s.method for s in server.seen if s.path in {"/login", "/again"}][1:] == methods
    other = server.url.replace("127.0.0.1", "localhost")
    server.on("/login", lambda seen: page(FORM) if seen.method == "GET" else to(f"{other}/again", 307))
    result = pages.bench.run(step(hosts=("localhost",)))
    assert verdict(result) == (Reason.REDIRECT_UNEXPECTED, *PROVIDER)


def test_hosts_that_the_step_names_are_allowed(pages: Pages) -> None:
    """A log-in of its own host is followed once it is named."""
    server = pages.bench.server
    other = server.url.replace("127.0.0.1", "localhost")
    server.on("/authorize", to(f"{other}/form"))
    server.on("/form", page(f"<form method=post action={server.url}/done><input type=password name=p></form>"))
    server.on("/done", lambda _: to(f"{CALLBACK}?code=c&state={server.seen[0].query['state'][0]}"))
    assert verdict(pages.bench.run(step())) == (Reason.REDIRECT_UNEXPECTED, *PROVIDER)
    server.seen.clear()
    assert pages.bench.run(step(hosts=("localhost",))).passed


def test_plain_http_is_not_followed(pages: Pages) -> None:
    """A redirect to plain http beyond loopback is refused before anything is sent, also where the host is allowed."""
    pages.bench.server.on("/login", to("http://login.example.com/"))
    result = pages.bench.run(step(hosts=("login.example.com",)), http=HttpOptions(timeout=1.0))
    assert verdict(result) == (Reason.REDIRECT_UNEXPECTED, *PROVIDER)


def test_a_session_in_a_path_is_not_published(pages: Pages) -> None:
    """`;jsessionid=` is a session as good as a cookie, and so may be a long handle between slashes."""
    pages.bench.server.on("/authorize", to("/in;jsessionid=canary/x"))
    pages.bench.server.on("/in;jsessionid=canary/x", page("nothing"))
    result = pages.bench.run(step())
    assert last(result).exchanges[1].url.endswith("/in;jsessionid=REDACTED/x")
    assert "canary" not in repr(result)
    pages.bench.server.on("/authorize", to("/interaction/0123456789-Canary_abcdef/page-of-many-words-to-read"))
    result = pages.bench.run(step())
    assert last(result).exchanges[1].url.endswith("/interaction/REDACTED/page-of-many-words-to-read")


def test_a_refused_code_blames_the_provider(pages: Pages) -> None:
    """It has issued the code itself, a moment ago."""
    pages.bench.server.on("/token", as_json({"error": "invalid_grant"}, 400))
    result = pages.bench.run(step(), Token(name="token", grant="authorization_code"))
    assert verdict(result) == (Reason.INVALID_GRANT, *PROVIDER)


def test_scopes_are_compared_with_those_of_the_log_in(pages: Pages) -> None:
    """The token request names none; what is missing of those asked for at `authorize` is noticed."""
    pages.bench.server.on("/token", token_answer(scope="openid"))
    result = pages.bench.run(step(scope="openid orders"), Token(name="token", grant="authorization_code"))
    assert verdict(result) == (Reason.SCOPE_REDUCED, *PROVIDER)
    assert result.detail == "not granted: orders"


def test_without_the_parser_the_extra_is_named(pages: Pages, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing extra is the configuration's fault, told with the command that mends it; nothing is sent."""
    monkeypatch.setitem(sys.modules, "lxml", None)
    step().warm_up()
    result = pages.bench.run(step())
    assert (result.outcome, *verdict(result)) == (Outcome.ERROR, Reason.CONFIG_ERROR, *CONFIG)
    assert 'pip install "otelprobe[forms]"' in (result.detail or "")
    assert pages.bench.server.seen == []


@pytest.mark.parametrize(
    ("members", "member"),
    [
        ({"redirect_uri": "/cb"}, "redirect_uri"),
        ({"redirect_uri": "https://a/cb#x"}, "redirect_uri"),
        ({"redirect_uri": "https://[a/cb"}, "redirect_uri"),
        ({"params": {"state": "x"}}, "params"),
        ({"capture": {"x": "$.a"}}, "capture"),
        ({"username": None}, "password"),
        ({"hosts": ("https://a",)}, "hosts"),
    ],
)
def test_what_does_not_fit_is_told_when_the_file_is_read(members: dict[str, object], member: str) -> None:
    """Each with its mend."""
    given = {"redirect_uri": CALLBACK, **ANN, **members}
    assert [where for where, _ in Authorize(name="a", **given).faults()] == [member]  # type: ignore[arg-type]  # by name


@pytest.mark.parametrize(("members", "member"), [({"scope": "a"}, "scope"), ({"cache": "reuse"}, "cache")])
@pytest.mark.parametrize("grant", ["authorization_code", "device_code"])
def test_what_does_not_go_with_a_code(grant: str, members: dict[str, object], member: str) -> None:
    """A code has its scope already, and is good for one token."""
    token = Token(name="t", grant=grant, **members)  # type: ignore[arg-type]  # by name
    assert [where for where, _ in token.faults()] == [member]


def test_the_secrets_of_a_log_in_are_known_to_the_plan() -> None:
    """So that `validate` can look for them."""
    refs = [SecretRef(env=name) for name in ("A", "B", "C")]
    made = Authorize(
        name="a", redirect_uri=CALLBACK, username="u", password=refs[0], totp=refs[1],
        forms=(FormRule(fields={"x": refs[2], "y": "z"}),),
    )  # fmt: skip
    assert list(made.secrets()) == refs
