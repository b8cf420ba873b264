"""People at Keycloak: its log-in form, one-time codes, consent, required actions, pushed requests and devices."""

import json
from base64 import b32encode
from collections.abc import Callable, Iterator, Mapping
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
from tests.stack.harness import keycloak as kc
from tests.stack.harness.keycloak_admin import Admin
from tests.stack.servers import Keycloaks

CALLBACK = "https://app.example.com/cb"
TOTP = "twenty-bytes-of-totp"
CODE = {"step": "token", "grant": "authorization_code"}
Person = Callable[..., dict[str, Any]]
CONFIG, PROVIDER = (Blame.CONFIG, Counts.NONE), (Blame.PROVIDER, Counts.AUTH)


def _client(name: str, *, consent: bool = False, **attributes: str) -> dict[str, Any]:
    return {
        "clientId": name,
        "secret": kc.SECRET,
        "standardFlowEnabled": True,
        "redirectUris": [CALLBACK],
        "consentRequired": consent,
        "attributes": {"oauth2.device.authorization.grant.enabled": "true", **attributes},
    }


def _user(name: str, *actions: str, otp: bool = False) -> dict[str, Any]:
    credentials: list[dict[str, Any]] = [{"type": "password", "value": kc.PASSWORD, "temporary": False}]
    if otp:
        how = {"subType": "totp", "digits": 6, "period": 30, "algorithm": "HmacSHA1"}
        secret, data = json.dumps({"value": TOTP}), json.dumps(how)
        credentials.append({"type": "otp", "secretData": secret, "credentialData": data})
    person = {"email": f"{name}@example.com", "firstName": name.title(), "lastName": "Example", "emailVerified": True}
    return {"username": name, "enabled": True, **person, "credentials": credentials, "requiredActions": list(actions)}


@pytest.fixture(scope="module")
def issuer(keycloaks: Keycloaks) -> Iterator[str]:
    """Give the issuer of a realm with people in it."""
    admin = Admin(keycloaks.get())
    yield admin.make_realm(
        "people",
        clients=[
            _client("webapp"),
            _client("consenting", consent=True),
            _client("pushed", **{"require.pushed.authorization.requests": "true"}),
        ],
        users=[
            *(
                _user("ann"),
                _user("bob", otp=True),
                _user("bea", otp=True),
                _user("cid", "CONFIGURE_TOTP"),
                _user("dot", "UPDATE_PASSWORD"),
            ),
            {**_user("eve"), "enabled": False},
        ],
    )
    admin.close()


@pytest.fixture(autouse=True)
def _secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEYCLOAK_SECRET", kc.SECRET)
    monkeypatch.setenv("KEYCLOAK_PASSWORD", kc.PASSWORD)
    monkeypatch.setenv("KEYCLOAK_TOTP", b32encode(TOTP.encode()).decode())


@pytest.fixture(params=[False, True], ids=["forms", "browser"])
def person(request: pytest.FixtureRequest) -> Person:
    """Give what writes an authorize step of a person: on plain forms, and the same in a browser."""

    def write(name: str = "ann", **members: object) -> dict[str, Any]:
        known = {"username": name, "password": {"env": "KEYCLOAK_PASSWORD"}, "browser": request.param}
        return {"step": "authorize", "redirect_uri": CALLBACK, **known, **members}

    return write


def run(folder: Path, issuer: str, *steps: str | Mapping[str, Any], client: str = "webapp") -> FlowResult:
    """Run one flow of these steps, behind discover and keys."""
    provider = {"issuer": issuer, "client_id": client, "client_secret": {"env": "KEYCLOAK_SECRET"}}
    flow = {"name": "people", "provider": "corp", "deadline": "30s", "steps": ["discover", "keys", *steps]}
    (folder / "flow.yaml").write_text(yaml.safe_dump({"providers": {"corp": provider}, "flows": [flow]}), "utf-8")
    (plan,) = build(load([folder / "flow.yaml"]))
    return run_flow(plan, Tools(http=LiveHttp(SystemClock())))


def test_a_whole_log_in(issuer: str, person: Person, tmp_path: Path) -> None:
    """One form; tokens, their ID token with at_hash, userinfo and a refresh after it."""
    id_token = {"step": "id_token", "require": ["at_hash", "auth_time"], "claims": {"preferred_username": "ann"}}
    result = run(tmp_path, issuer, person(max_age="1m"), CODE, id_token, "userinfo", "refresh")
    assert passed(result)
    assert step(result, "authorize").facts[Fact.LOGIN_FORMS] == 1
    for secret in (kc.SECRET, kc.PASSWORD):
        assert secret not in repr(result)


def test_consent_is_given(issuer: str, person: Person, tmp_path: Path) -> None:
    """The second page asks whether the client may; Yes is pressed, not No."""
    result = run(tmp_path, issuer, person(prompt="consent"), CODE, "id_token", client="consenting")
    assert passed(result)
    assert step(result, "authorize").facts[Fact.LOGIN_FORMS] == 2


def test_pushed_requests(issuer: str, person: Person, tmp_path: Path) -> None:
    """A client that has to push its parameters passes if it does."""
    assert passed(run(tmp_path, issuer, person(par=True), CODE, "id_token", client="pushed"))
    result = run(tmp_path, issuer, person(), client="pushed")
    assert verdict(result) == ("authorize", Reason.INVALID_REQUEST, *CONFIG)


@pytest.mark.parametrize("mode", ["query", "fragment", "form_post"])
def test_response_modes(issuer: str, person: Person, tmp_path: Path, mode: str) -> None:
    """Every way in which the answer may come back."""
    assert passed(run(tmp_path, issuer, person(response_mode=mode), CODE))


def test_a_second_factor_by_time(issuer: str, person: Person, tmp_path: Path) -> None:
    """The code is computed; without the secret the page is known for what it is."""
    name = "bea" if person()["browser"] else "bob"  # Keycloak takes a code once only
    result = run(tmp_path, issuer, person(name, totp={"env": "KEYCLOAK_TOTP"}), CODE, "id_token")
    assert passed(result)
    assert step(result, "authorize").facts[Fact.LOGIN_FORMS] == 2
    assert verdict(run(tmp_path, issuer, person(name))) == ("authorize", Reason.MFA_CHALLENGE, *CONFIG)


@pytest.mark.parametrize(
    ("name", "reason"),
    [("cid", Reason.MFA_CHALLENGE), ("dot", Reason.LOGIN_REJECTED), ("eve", Reason.LOGIN_REJECTED)],
)
def test_people_who_cannot_just_log_in(issuer: str, person: Person, tmp_path: Path, name: str, reason: Reason) -> None:
    """One who has to set up a second factor, one with a password to change, and one who is disabled."""
    result = run(tmp_path, issuer, person(name))
    assert verdict(result) == ("authorize", reason, *CONFIG), result.detail


def test_a_wrong_password(issuer: str, person: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The form comes back; it is not sent twice."""
    monkeypatch.setenv("KEYCLOAK_PASSWORD", "wrong-canary")
    result = run(tmp_path, issuer, person())
    assert verdict(result) == ("authorize", Reason.LOGIN_REJECTED, *CONFIG)
    assert step(result, "authorize").facts[Fact.LOGIN_FORMS] == 1
    assert "wrong-canary" not in repr(result)


def test_liveness_without_a_log_in(issuer: str, person: Person, tmp_path: Path) -> None:
    """`prompt: none` comes back with login_required."""
    silent = person(prompt="none", expect={"error": "login_required"})
    assert passed(run(tmp_path, issuer, silent))


@pytest.mark.parametrize(
    ("members", "client", "reason"),
    [
        ({"redirect_uri": f"{CALLBACK}/other"}, "webapp", Reason.INVALID_REQUEST),
        ({}, "unknown", Reason.INVALID_REQUEST),
        ({"scope": "openid nonsense"}, "webapp", Reason.INVALID_SCOPE),
    ],
)
def test_requests_that_are_refused(
    issuer: str,
    person: Person,
    tmp_path: Path,
    members: dict[str, Any],
    client: str,
    reason: Reason,
) -> None:
    """By a page, or by redirect."""
    result = run(tmp_path, issuer, person(**members), client=client)
    assert verdict(result) == ("authorize", reason, *CONFIG), result.detail


def test_a_code_is_good_once(issuer: str, person: Person, tmp_path: Path) -> None:
    """The second exchange is refused, and blames the provider."""
    result = run(tmp_path, issuer, person(), CODE, {**CODE, "name": "again"})
    assert verdict(result) == ("again", Reason.INVALID_GRANT, *PROVIDER)


@pytest.mark.parametrize("browser", [False, True])
def test_a_device_that_waits_and_one_that_is_let_in(issuer: str, tmp_path: Path, browser: bool) -> None:
    """Pending is healthy; somebody who logs in and agrees gets the device its token."""
    waiting = {"step": "device", "name": "waiting", "scope": "openid"}
    known = {"username": "ann", "password": {"env": "KEYCLOAK_PASSWORD"}}
    device = {"step": "device", "scope": "openid", "complete": True, "browser": browser, **known}
    result = run(tmp_path, issuer, waiting, device, {"step": "token", "grant": "device_code"}, "id_token", "userinfo")
    assert passed(result)
