"""Opaque access tokens, on pytest-iam's server (Canaille): an identity provider that nobody here wrote.

Canaille gives a client a random string, and a user a JWT; it advertises `none` among its algorithms.
"""

import contextlib
import json
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from otelprobe.__main__ import main
from otelprobe.reasons import Blame, Counts, Outcome, Reason
from otelprobe.result import Fact
from tests.conftest import Answer, Seen, Server
from tests.flow_kit import ResourceServer, flow_file, passed, run_text, step, verdict

SECRET = "iam-client-secret-canary"
PASSWORD = "iam-password-canary"
CLIENT = {"client": "otelprobe", "secret": SECRET, "user": "ann", "password": PASSWORD}
ANN = "step: token, grant: password, username: ann, password: {env: PASSWORD}, scope: openid profile"


class Iam:
    """A running tests/iam_server.py."""

    def __init__(self, directory: Path) -> None:
        self._log = directory / "log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, str(Path(__file__).with_name("iam_server.py"))],
                cwd=directory,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        try:
            self.issuer = self._start()
        except BaseException:
            self.stop()
            raise

    def _start(self) -> str:
        """Tell it whom to know; give its issuer once it serves."""
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended already: its log says why
            process.stdin.write(json.dumps(CLIENT) + "\n")
            process.stdin.flush()
        ready, _, _ = select.select([process.stdout], [], [], 60)
        line = process.stdout.readline() if ready else ""
        if not line:
            pytest.fail(f"pytest-iam did not start:\n{self._log.read_text(encoding='utf-8')[-2000:]}", pytrace=False)
        return str(json.loads(line)["issuer"])

    def stop(self) -> None:
        """End it by the end of its input, or by force."""
        try:
            self._process.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()


@pytest.fixture(scope="module")
def iam(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Iam]:
    """Give the provider with one client and one user."""
    running = Iam(tmp_path_factory.mktemp("iam"))
    yield running
    running.stop()


@pytest.fixture(autouse=True)
def _secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIENT_SECRET", SECRET)
    monkeypatch.setenv("PASSWORD", PASSWORD)


def test_opaque_token_lives_and_dies_by_introspection(iam: Iam, tmp_path: Path) -> None:
    """A token that nobody can read passes from discovery to revocation, and introspection alone tells that it is gone."""
    steps = """
        - discover
        - keys
        - {step: token, scope: openid profile, expect: {scope: exact, token_type: Bearer, expires_in: ">0"}}
        - introspect
        - {step: revoke, token: access}
        - {step: introspect, name: gone, expect: {active: false}}
    """
    result = run_text(tmp_path, flow_file(iam.issuer, steps))
    assert passed(result)
    assert step(result, "token").facts[Fact.ISSUANCE_GRANT] == "client_credentials"
    assert step(result, "token").facts[Fact.ISSUANCE_EXPIRES_IN] == 864000
    assert step(result, "introspect").facts[Fact.INTROSPECTION_ACTIVE] is True
    assert step(result, "gone").facts[Fact.INTROSPECTION_ACTIVE] is False
    assert SECRET not in repr(result)


def test_opaque_token_at_verify(iam: Iam, tmp_path: Path) -> None:
    """A token that is no JWT fails at `verify` as opaque, before an API is asked or blamed; clean-up still runs."""
    with ResourceServer(iam.issuer, "orders") as api:
        steps = f"""
            - discover
            - keys
            - token
            - verify
            - {{step: call, url: "{api.url}"}}
            - {{step: revoke, always: true}}
        """
        result = run_text(tmp_path, flow_file(iam.issuer, steps))
    assert verdict(result) == ("verify", Reason.TOKEN_OPAQUE, Blame.PROVIDER, Counts.AUTH)
    assert step(result, "verify").facts[Fact.JWT_FORMAT] == "opaque"
    assert step(result, "verify").exchanges == ()
    assert step(result, "call").outcome is Outcome.SKIP
    assert step(result, "revoke").outcome is Outcome.PASS
    assert api.seen == []


def test_whole_flow_of_a_user(iam: Iam, tmp_path: Path) -> None:
    """A user's token passes verification, introspection, userinfo, rotation and revocation."""
    steps = f"""
        - discover
        - keys
        - {{{ANN}, expect: {{scope: exact}}}}
        - {{step: verify, audience: otelprobe, claims: {{sub: ann}}, require: [iss, sub, aud, exp, iat]}}
        - introspect
        - {{step: introspect, name: introspect-refresh, token: refresh}}
        - userinfo
        - {{step: refresh, expect: {{rotated: true, reuse_refused: true}}}}
        - {{step: verify, name: verify-refreshed, audience: otelprobe, claims: {{sub: ann}}}}
        - {{step: userinfo, name: userinfo-refreshed}}
        - {{step: revoke, token: access, always: true}}
        - {{step: introspect, name: gone, expect: {{active: false}}}}
    """
    result = run_text(tmp_path, flow_file(iam.issuer, steps))
    assert passed(result)
    assert step(result, "refresh").facts[Fact.REFRESH_ROTATED] is True
    assert [x.status for x in step(result, "refresh").exchanges] == [200, 400]
    assert step(result, "introspect").facts[Fact.INTROSPECTION_ACTIVE] is True
    assert step(result, "gone").facts[Fact.INTROSPECTION_ACTIVE] is False
    assert str(step(result, "verify").facts[Fact.JWT_ALG]).startswith(("RS", "PS"))
    text = repr(result)
    assert PASSWORD not in text
    assert SECRET not in text


def test_opaque_token_without_a_user_at_userinfo(iam: Iam, tmp_path: Path) -> None:
    """A provider that breaks when asked for the user of a client's own token is down there, not refusing the token."""
    result = run_text(tmp_path, flow_file(iam.issuer, "- discover\n- token\n- userinfo"))
    assert verdict(result) == ("userinfo", Reason.IDP_HTTP_5XX, Blame.PROVIDER, Counts.AUTH)


def test_revoked_opaque_token_is_called_inactive(iam: Iam, tmp_path: Path) -> None:
    """An opaque token that should be alive and is called inactive is the provider's failure."""
    result = run_text(tmp_path, flow_file(iam.issuer, "- discover\n- token\n- revoke\n- introspect"))
    assert verdict(result) == ("introspect", Reason.INTROSPECTION_INACTIVE, Blame.PROVIDER, Counts.AUTH)


def test_opaque_token_never_revoked(iam: Iam, tmp_path: Path) -> None:
    """`active: false` is not passed by an opaque token that still lives."""
    steps = "- discover\n- token\n- {step: introspect, expect: {active: false}}"
    result = run_text(tmp_path, flow_file(iam.issuer, steps))
    assert verdict(result) == (
        "introspect", Reason.INTROSPECTION_ACTIVE_AFTER_REVOKE, Blame.PROVIDER, Counts.NONE
    )  # fmt: skip


def test_revoked_token_at_userinfo(iam: Iam, tmp_path: Path) -> None:
    """A revoked token is refused at userinfo by its challenge, and the refusal is the provider's word."""
    steps = f"- discover\n- {{{ANN}}}\n- {{step: revoke, token: access}}\n- userinfo"
    result = run_text(tmp_path, flow_file(iam.issuer, steps))
    assert verdict(result) == ("userinfo", Reason.API_REJECTS_VALID_TOKEN, Blame.PROVIDER, Counts.AUTH)
    assert result.detail is not None
    assert "invalid_token" in result.detail


def test_refresh_after_revocation(iam: Iam, tmp_path: Path) -> None:
    """A refresh token that was revoked is refused, and refresh says what the provider says."""
    steps = f"- discover\n- {{{ANN}}}\n- {{step: revoke, token: refresh}}\n- refresh"
    result = run_text(tmp_path, flow_file(iam.issuer, steps))
    assert verdict(result) == ("refresh", Reason.INVALID_GRANT, Blame.PROVIDER, Counts.AUTH)


def test_no_refresh_token_for_a_client(iam: Iam, tmp_path: Path) -> None:
    """A client's own token comes without a refresh token: wanting one is our mistake, and nothing is sent for it."""
    result = run_text(tmp_path, flow_file(iam.issuer, "- discover\n- token\n- refresh"))
    assert verdict(result) == ("refresh", Reason.REFRESH_FAILED, Blame.CONFIG, Counts.NONE)
    assert step(result, "refresh").exchanges == ()


def _introspecting(iam: Iam, seen: Seen) -> Answer:
    """Answer as an API that knows nothing of a token but what its provider says of it."""
    token = seen.headers.get("authorization", "").removeprefix("Bearer ")
    with requests.Session() as http:
        http.trust_env = False
        told = http.post(f"{iam.issuer}/oauth/introspect", {"token": token}, auth=("otelprobe", SECRET), timeout=10)
    if told.json()["active"]:
        return Answer(200, b'{"status": "ok"}', [("Content-Type", "application/json")])
    return Answer(401, b"", [("WWW-Authenticate", 'Bearer error="invalid_token"')])


def test_api_that_introspects(iam: Iam, server: Server, tmp_path: Path) -> None:
    """An API that introspects takes an opaque token, refuses none and garbage, and refuses the token once it is revoked."""
    server.on("/me", lambda seen: _introspecting(iam, seen))
    steps = f"""
        - discover
        - token
        - {{step: call, url: "{server.url}/me", expect: {{json: {{"$.status": ok}}}}}}
        - {{step: reject, url: "{server.url}/me", cases: [no_token, garbage]}}
        - {{step: revoke, token: access}}
        - {{step: call, name: gone, url: "{server.url}/me", expect: {{status: 401}}}}
    """
    result = run_text(tmp_path, flow_file(iam.issuer, steps))
    assert passed(result)
    assert [(c.accepted, c.status) for c in step(result, "reject").cases] == [(False, 401)] * 2


def test_scope_that_is_not_granted(iam: Iam, tmp_path: Path) -> None:
    """A scope that is silently left out is found where the scope is to be exact."""
    steps = "- discover\n- {step: token, scope: openid orders.read, expect: {scope: exact}}"
    result = run_text(tmp_path, flow_file(iam.issuer, steps))
    assert verdict(result) == ("token", Reason.SCOPE_REDUCED, Blame.PROVIDER, Counts.AUTH)


@pytest.mark.parametrize("grant", ["step: token", ANN], ids=["client_credentials", "password"])
def test_wrong_secret(iam: Iam, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, grant: str) -> None:
    """An expired or mistyped client secret is the configuration's fault, never an outage, and shows nowhere."""
    monkeypatch.setenv("CLIENT_SECRET", "another-canary")
    result = run_text(tmp_path, flow_file(iam.issuer, f"- discover\n- {{{grant}}}"))
    assert verdict(result) == ("token", Reason.INVALID_CLIENT, Blame.CONFIG, Counts.NONE)
    assert step(result, "token").facts[Fact.ISSUANCE_OAUTH_ERROR] == "invalid_client"
    assert "another-canary" not in repr(result)


def test_wrong_password(iam: Iam, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refused password is the configuration's fault also where the provider calls it an invalid request."""
    monkeypatch.setenv("PASSWORD", "another-canary")
    result = run_text(tmp_path, flow_file(iam.issuer, f"- discover\n- {{{ANN}}}"))
    assert verdict(result) == ("token", Reason.INVALID_REQUEST, Blame.CONFIG, Counts.NONE)
    assert "another-canary" not in repr(result)


def test_posture_finds_none_and_plain(iam: Iam, tmp_path: Path) -> None:
    """What this provider advertises against good practice is found from outside, without a log-in, and fails by policy."""
    result = run_text(tmp_path, flow_file(iam.issuer, "- discover\n- keys\n- posture"))
    assert passed(result)
    found = {finding.rule for finding in step(result, "posture").findings}
    assert found >= {"alg-none-advertised", "pkce-plain", "grant-implicit", "grant-password"}
    strict = "- discover\n- keys\n- {step: posture, fail_on: high}"
    result = run_text(tmp_path, flow_file(iam.issuer, strict))
    assert verdict(result) == ("posture", Reason.POSTURE_VIOLATED, Blame.PROVIDER, Counts.NONE)


def _issued(iam: Iam, directory: Path, **form: str) -> Path:
    """Ask for a token as any client would, and write it to a file."""
    with requests.Session() as http:
        http.trust_env = False
        found = http.get(f"{iam.issuer}/.well-known/openid-configuration", timeout=10).json()["token_endpoint"]
        answer = http.post(found, form, auth=("otelprobe", SECRET), timeout=10).json()
    path = directory / "token"
    path.write_text(answer["access_token"])
    return path


def test_the_workbench_tells_an_opaque_token_from_a_bad_one(
    iam: Iam, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`jwt verify --issuer` calls a client's random string opaque and shows nothing of it; a user's JWT it verifies."""
    path = _issued(iam, tmp_path, grant_type="client_credentials")
    assert main(["jwt", "verify", str(path), "--issuer", iam.issuer]) == 1
    out = "".join(capsys.readouterr())
    assert "token_opaque" in out
    assert path.read_text() not in out
    path = _issued(iam, tmp_path, grant_type="password", username="ann", password=PASSWORD, scope="openid profile")
    assert main(["jwt", "verify", str(path), "--issuer", iam.issuer, "--audience", "otelprobe"]) == 0
    assert main(["jwt", "verify", str(path), "--issuer", iam.issuer, "--audience", "orders"]) == 1
    assert "audience_mismatch" in capsys.readouterr().out
