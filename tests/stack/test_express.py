"""Express as many write it: a raw HS256 token of jsonwebtoken, 403 for bad ones; and sessions of express-session."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from otelprobe.clock import SystemClock
from otelprobe.config.load import load
from otelprobe.http import LiveHttp
from otelprobe.plan import build
from otelprobe.reasons import Blame, Counts, Reason
from otelprobe.result import Fact, FlowResult
from otelprobe.run import Tools, run_flow
from tests.flow_kit import passed, step, verdict
from tests.stack.harness.node import STACK, Told, script

SECRET = "express-secret-canary-of-more-than-thirty-two-bytes"
PASSWORD = "express-password-canary"
Start = Callable[..., str]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Give what starts the API with a cookie's attributes; it gives the URL."""
    monkeypatch.setenv("API_SECRET", SECRET)
    monkeypatch.setenv("PASSWORD", PASSWORD)
    running: list[Told] = []

    def begin(**cookie: object) -> str:
        config = {"secret": SECRET, "user": "ann", "password": PASSWORD, "cookie": cookie}
        file = script(STACK / "express", "server.mjs", tmp_path / "express")
        running.append(Told("express", ["node", file], config, log=tmp_path / "express.log"))
        return str(running[-1].told["url"])

    yield begin
    for server in running:
        server.stop()


def run(folder: Path, *steps: dict[str, Any]) -> FlowResult:
    """Run one flow without a provider."""
    path = folder / "flow.yaml"
    path.write_text(yaml.safe_dump({"flows": [{"name": "orders", "deadline": "20s", "steps": list(steps)}]}), "utf-8")
    (plan,) = build(load([path]))
    return run_flow(plan, Tools(http=LiveHttp(SystemClock())))


def login(url: str, password: str = "PASSWORD") -> dict[str, Any]:
    """Log in with JSON, and find the token where this API puts it."""
    account = {"username": "ann", "password": {"env": password}}
    return {"step": "login", "url": f"{url}/login", "json": {"account": account}, "extract": "$.token"}


def verify(**members: object) -> dict[str, Any]:
    """Verify the token with the shared secret."""
    return {"step": "verify", "key": {"secret": {"env": "API_SECRET"}}, "algorithms": ["HS256"], **members}


def call(url: str, **members: object) -> dict[str, Any]:
    """Send the raw token; 403 means what 401 means elsewhere."""
    return {"step": "call", "url": f"{url}/orders", "auth": {"scheme": ""}, "unauthorized_status": [403], **members}


def test_a_raw_token(start: Start, tmp_path: Path) -> None:
    """Log-in, local verification and call pass; nothing secret is in the result."""
    url = start()
    result = run(tmp_path, login(url), verify(require=["sub", "exp", "iat"]), call(url))
    assert passed(result)
    assert not [secret for secret in (SECRET, PASSWORD, "eyJ") if secret in repr(result)]


def test_a_wrong_password(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the configuration's fault."""
    monkeypatch.setenv("WRONG", "wrong-canary")
    result = run(tmp_path, login(start(), "WRONG"))
    assert verdict(result) == ("login", Reason.LOGIN_REJECTED, Blame.CONFIG, Counts.NONE)


def test_a_token_that_the_api_does_not_see(start: Start, tmp_path: Path) -> None:
    """With the word `Bearer` before it, the API finds the good token malformed: read as 401, and the API's to explain."""
    url = start()
    result = run(tmp_path, login(url), verify(), call(url, auth={}))
    assert verdict(result) == ("call", Reason.UNAUTHORIZED_UNEXPLAINED, Blame.API, Counts.AUTH), result.detail
    result = run(tmp_path, login(url), verify(), call(url, auth={}, unauthorized_status=[401]))
    assert verdict(result) == ("call", Reason.FORBIDDEN, Blame.CONFIG, Counts.NONE), result.detail


def test_another_secret(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the local secret is another one, verification names it before the API is called."""
    url = start()
    monkeypatch.setenv("API_SECRET", "another-secret-canary-of-more-than-32-bytes")
    result = run(tmp_path, login(url), verify(), call(url))
    assert verdict(result)[:2] == ("verify", Reason.SIGNATURE_INVALID), result.detail


def test_what_must_be_rejected(start: Start, tmp_path: Path) -> None:
    """The API refuses every bad token, by 403."""
    url = start()
    reject = {**call(url), "step": "reject", "cases": ["no_token", "garbage", "tampered", "alg_none"]}
    assert passed(run(tmp_path, login(url), verify(), reject))


def session(url: str, **members: object) -> dict[str, Any]:
    """Log in by a form, and keep the session's cookie."""
    form = {"username": "ann", "password": {"env": "PASSWORD"}}
    return {"step": "login", "url": f"{url}/session", "form": form, "cookie": "shop.sid", **members}


def test_a_session(start: Start, tmp_path: Path) -> None:
    """The cookie opens what is behind the log-in; its attributes are facts, its value is nowhere."""
    url = start(httpOnly=True, sameSite="strict", maxAge=600_000)
    result = run(tmp_path, session(url), {"step": "call", "url": f"{url}/session/orders"})
    assert passed(result)
    facts = step(result, "login").facts
    named = (Fact.COOKIE_SECURE, Fact.COOKIE_HTTP_ONLY, Fact.COOKIE_SAME_SITE)
    assert [facts[name] for name in named] == [False, True, "Strict"]
    assert 590 < float(str(facts[Fact.COOKIE_EXPIRES_IN])) <= 601
    assert "s%3A" not in repr(result)


def test_a_session_of_the_browsers_life(start: Start, tmp_path: Path) -> None:
    """Nothing is set: neither an end, nor where it may be sent, nor that scripts must not read it."""
    facts = step(run(tmp_path, session(start(httpOnly=False))), "login").facts
    assert (facts[Fact.COOKIE_HTTP_ONLY], facts[Fact.COOKIE_SAME_SITE]) == (False, "unset")
    assert Fact.COOKIE_EXPIRES_IN not in facts


def test_a_session_that_is_not_opened(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong password, and a cookie of another name."""
    url = start()
    assert verdict(run(tmp_path, session(url, cookie="other")))[:2] == ("login", Reason.TOKEN_MISSING)
    monkeypatch.setenv("PASSWORD", "wrong-canary")
    assert verdict(run(tmp_path, session(url)))[:2] == ("login", Reason.LOGIN_REJECTED)
