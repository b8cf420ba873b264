"""Every step on nanoidp, an identity provider that nobody here wrote: a weak profile, a strict one, and one that goes down."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from otelprobe.__main__ import main
from otelprobe.reasons import Blame, Counts, Outcome, Reason
from otelprobe.result import Fact
from otelprobe.state import Memory
from tests.flow_kit import ResourceServer, flow_file, passed, run_text, step, verdict

SECRET = "nano-client-secret-canary"
PASSWORD = "nano-password-canary"
SETTINGS = f"""
config_version: 1
config_validation: strict
oauth:
  issuer_from_request: true
  audience: orders
  token_expiry_minutes: 5
  scopes_supported: [openid, profile, orders.read]
  clients:
    - {{client_id: otelprobe, client_secret: {SECRET}, allowed_scopes: [openid, orders.read]}}
jwt: {{keys_dir: KEYS, max_previous_keys: 1}}
"""
USERS = f"config_version: 1\nusers:\n  ann: {{password: {PASSWORD}, email: ann@example.org, roles: [USER]}}\n"
ANN = "step: token, grant: password, username: ann, password: {env: PASSWORD}, scope: openid orders.read"


class Nanoidp:
    """A nanoidp of its own process, keys and port.

    It serves a socket that is bound and listening here already, handed over as Werkzeug's reloader does it: no port can
    be taken by somebody else in between, and the first request simply waits until the server is up.
    """

    def __init__(self, directory: Path, profile: str, settings: str = SETTINGS, users: str = USERS) -> None:
        directory.mkdir()
        (directory / "settings.yaml").write_text(settings.replace("KEYS", str(directory / "keys")), encoding="utf-8")
        (directory / "users.yaml").write_text(users, encoding="utf-8")
        self._log = directory / "log"
        with socket.create_server(("127.0.0.1", 0)) as listener, self._log.open("wb") as log:
            port = listener.getsockname()[1]
            handover = {"WERKZEUG_RUN_MAIN": "true", "WERKZEUG_SERVER_FD": str(listener.fileno())}
            self._process = subprocess.Popen(
                [sys.executable, "-m", "nanoidp", "--config", str(directory), "--profile", profile],
                cwd=directory,
                env={**os.environ, **handover},
                pass_fds=(listener.fileno(),),
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.issuer = f"http://127.0.0.1:{port}"
        self._http = requests.Session()
        self._http.trust_env = False

    def wait(self) -> "Nanoidp":
        """Wait until it answers."""
        try:
            self._http.get(f"{self.issuer}/api/health", timeout=30).raise_for_status()
        except requests.RequestException:
            self.stop()
            pytest.fail(f"nanoidp did not start:\n{self._log.read_text(encoding='utf-8')[-2000:]}", pytrace=False)
        return self

    def rotate(self) -> str:
        """Sign with a new key from now on; one old key stays published. Give the new kid."""
        return str(self._post("/api/keys/rotate")["new_kid"])

    def seed(self) -> str:
        """Issue a refresh token of the user's for the client, as an operator would to seed a probe."""
        return str(self._post("/api/users/ann/token", {"client_id": "otelprobe"})["refresh_token"])

    def read(self, path: str) -> str:
        """Give a page as text."""
        response = self._http.get(f"{self.issuer}{path}", timeout=10)
        response.raise_for_status()
        return response.text

    def _post(self, path: str, body: object = None) -> dict[str, Any]:
        response = self._http.post(f"{self.issuer}{path}", json=body, timeout=10)
        response.raise_for_status()
        return dict(response.json())

    def stop(self) -> None:
        """End the process."""
        self._http.close()
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@pytest.fixture(scope="module")
def profiles(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Nanoidp]]:
    """Give the providers by what they are good for; they start side by side."""
    base = tmp_path_factory.mktemp("nanoidp")
    names = {"weak": "dev", "strict": "oauth21", "doomed": "dev"}
    running = {name: Nanoidp(base / name, profile) for name, profile in names.items()}
    yield running
    for provider in running.values():
        provider.stop()


@pytest.fixture
def weak(profiles: dict[str, Nanoidp]) -> Nanoidp:
    return profiles["weak"].wait()


@pytest.fixture
def strict(profiles: dict[str, Nanoidp]) -> Nanoidp:
    return profiles["strict"].wait()


@pytest.fixture(autouse=True)
def _secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIENT_SECRET", SECRET)
    monkeypatch.setenv("PASSWORD", PASSWORD)


@pytest.mark.parametrize("profile", ["weak", "strict"])
def test_what_init_writes_runs(profiles: dict[str, Nanoidp], profile: str, tmp_path: Path) -> None:
    """From nothing but the issuer to a verified token; the audience, which nobody can guess, is the one warning."""
    file = tmp_path / "written.yaml"
    assert main(["init", profiles[profile].wait().issuer, "--output-file", str(file)]) == 0
    result = run_text(tmp_path, file.read_text(encoding="utf-8"))
    assert passed(result)
    assert [row.step for row in result.steps] == ["discover", "keys", "token", "verify"]
    assert [w.reason for w in result.warnings] == [Reason.AUDIENCE_MISMATCH]


def test_the_workbench_verifies_its_tokens(weak: Nanoidp, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A token of its own is decoded, and verified by its discovery document and key set; a forged one is refused."""
    form, client = {"grant_type": "client_credentials"}, ("otelprobe", SECRET)
    with requests.Session() as session:
        session.trust_env = False
        endpoint = session.get(f"{weak.issuer}/.well-known/openid-configuration", timeout=10).json()["token_endpoint"]
        token = session.post(endpoint, form, auth=client, timeout=10).json()["access_token"]
    (tmp_path / "token").write_text(token)
    assert main(["jwt", "decode", str(tmp_path / "token")]) == 0
    assert '"RS256"' in capsys.readouterr().out
    assert main(["jwt", "verify", str(tmp_path / "token"), "--issuer", weak.issuer, "--audience", "orders"]) == 0
    assert main(["jwt", "attack", str(tmp_path / "token"), "--case", "forged_key", "--out", str(tmp_path / "bad")]) == 0
    assert main(["jwt", "verify", str(tmp_path / "bad" / "forged_key.jwt"), "--issuer", weak.issuer]) == 1
    assert "signature_invalid" in capsys.readouterr().out


def test_whole_flow_on_weak_profile(weak: Nanoidp, tmp_path: Path) -> None:
    """A healthy provider and a healthy API pass every step that there is, from discovery to revocation."""
    with ResourceServer(weak.issuer, "orders", scope="orders.read") as api:
        steps = f"""
            - discover
            - keys
            - {{{ANN}, expect: {{expires_in: ">0", scope: exact}}}}
            - step: verify
              algorithms: [RS256]
              audience: orders
              require: [iss, sub, aud, exp, iat, jti]
              claims: {{client_id: otelprobe}}
              max_lifetime: 15m
            - {{step: call, url: "{api.url}", expect: {{json: {{"$.status": ok}}}}}}
            - userinfo
            - {{step: call, name: userinfo-as-api, url: "{weak.issuer}/userinfo", expect: {{json: {{"$.sub": ann}}}}}}
            - {{step: refresh, expect: {{rotated: true}}}}
            - introspect
            - {{step: introspect, name: introspect-refresh, token: refresh}}
            - {{step: revoke, token: access, always: true}}
            - {{step: introspect, name: introspect-revoked, expect: {{active: false}}}}
        """
        result = run_text(tmp_path, flow_file(weak.issuer, steps))
    assert passed(result)
    assert step(result, "refresh").facts[Fact.REFRESH_ROTATED] is True
    assert step(result, "introspect").facts[Fact.INTROSPECTION_ACTIVE] is True
    assert step(result, "introspect-revoked").facts[Fact.INTROSPECTION_ACTIVE] is False
    assert step(result, "verify").facts[Fact.JWT_LIFETIME] == 300
    assert [seen.headers["traceparent"][3:35] for seen in api.seen] == [f"{result.trace_id:032x}"]
    text = repr(result)
    assert SECRET not in text
    assert PASSWORD not in text


def test_client_credentials_on_strict_profile(strict: Nanoidp, tmp_path: Path) -> None:
    """A client's own token passes discovery, keys, verification, the API, introspection and revocation."""
    with ResourceServer(strict.issuer, "orders", scope="orders.read") as api:
        steps = f"""
            - discover
            - keys
            - {{step: token, scope: orders.read, expect: {{scope: exact}}}}
            - {{step: verify, audience: orders, claims: {{sub: otelprobe}}}}
            - {{step: call, url: "{api.url}"}}
            - introspect
            - revoke
            - {{step: introspect, name: gone, expect: {{active: false}}}}
        """
        result = run_text(tmp_path, flow_file(strict.issuer, steps))
    assert passed(result)
    assert step(result, "token").facts[Fact.ISSUANCE_GRANT] == "client_credentials"


@pytest.mark.parametrize("form", ["oidc", "oauth"])
def test_discovery_forms(strict: Nanoidp, tmp_path: Path, form: str) -> None:
    """Both well-known forms are read, OpenID Connect's and that of RFC 8414."""
    result = run_text(tmp_path, flow_file(strict.issuer, "- discover", more=f"discovery: {form}"))
    assert passed(result)
    (exchange,) = step(result, "discover").exchanges
    assert ("oauth-authorization-server" in exchange.url) is (form == "oauth")


def test_reuse_refused_on_strict_profile(strict: Nanoidp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A provider that rotates and refuses a used refresh token passes `reuse_refused`."""
    monkeypatch.setenv("SEED", strict.seed())
    steps = """
        - discover
        - {step: token, grant: refresh_token, refresh_token: {env: SEED}}
        - {step: refresh, expect: {rotated: true, reuse_refused: true}}
    """
    result = run_text(tmp_path, flow_file(strict.issuer, steps))
    assert passed(result)
    assert [x.status for x in step(result, "refresh").exchanges] == [200, 400]


def test_reuse_accepted_on_weak_profile(weak: Nanoidp, tmp_path: Path) -> None:
    """A provider that takes a used refresh token again is found out, as a finding that spends no objective."""
    steps = f"""
        - discover
        - {{{ANN}}}
        - {{step: refresh, expect: {{reuse_refused: true}}}}
    """
    result = run_text(tmp_path, flow_file(weak.issuer, steps))
    assert verdict(result) == ("refresh", Reason.REFRESH_REUSE_ACCEPTED, Blame.PROVIDER, Counts.NONE)
    assert result.outcome is Outcome.FAIL


def test_seed_is_followed_by_its_successor(strict: Nanoidp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A seeded refresh token that the provider rotates keeps working from run to run of one process."""
    monkeypatch.setenv("SEED", strict.seed())
    text = flow_file(strict.issuer, "- discover\n- {step: token, grant: refresh_token, refresh_token: {env: SEED}}")
    memory = Memory()
    assert passed(run_text(tmp_path, text, memory=memory))
    assert passed(run_text(tmp_path, text, memory=memory))
    forgetful = run_text(tmp_path, text)
    assert verdict(forgetful) == ("token", Reason.INVALID_GRANT, Blame.CONFIG, Counts.NONE)


def test_wrong_secret(strict: Nanoidp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An expired or mistyped client secret is the configuration's fault, never an outage."""
    monkeypatch.setenv("CLIENT_SECRET", "another-canary")
    result = run_text(tmp_path, flow_file(strict.issuer, "- discover\n- token"))
    assert verdict(result) == ("token", Reason.INVALID_CLIENT, Blame.CONFIG, Counts.NONE)
    assert "another-canary" not in repr(result)


def test_wrong_client_auth(strict: Nanoidp, tmp_path: Path) -> None:
    """A client that authenticates in another way than it is registered for is told so as invalid_client."""
    more = "client_auth: client_secret_post"
    result = run_text(tmp_path, flow_file(strict.issuer, "- discover\n- token", more=more))
    assert verdict(result) == ("token", Reason.INVALID_CLIENT, Blame.CONFIG, Counts.NONE)


def test_wrong_scope(strict: Nanoidp, tmp_path: Path) -> None:
    """A scope that the provider does not grant to this client is the configuration's fault."""
    result = run_text(tmp_path, flow_file(strict.issuer, "- discover\n- {step: token, scope: orders.write}"))
    assert verdict(result) == ("token", Reason.INVALID_SCOPE, Blame.CONFIG, Counts.NONE)
    assert step(result, "token").facts[Fact.ISSUANCE_OAUTH_ERROR] == "invalid_scope"


def test_password_grant_on_strict_profile(strict: Nanoidp, tmp_path: Path) -> None:
    """A grant that the provider has switched off is the configuration's fault."""
    result = run_text(tmp_path, flow_file(strict.issuer, f"- discover\n- {{{ANN}}}"))
    assert verdict(result) == ("token", Reason.UNSUPPORTED_GRANT_TYPE, Blame.CONFIG, Counts.NONE)


def test_wrong_password(weak: Nanoidp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refused password is the configuration's fault, and shows in no part of the result."""
    monkeypatch.setenv("PASSWORD", "another-canary")
    result = run_text(tmp_path, flow_file(weak.issuer, f"- discover\n- {{{ANN}}}"))
    assert verdict(result) == ("token", Reason.INVALID_GRANT, Blame.CONFIG, Counts.NONE)
    assert "another-canary" not in repr(result)


def test_issuer_with_a_slash_too_many(strict: Nanoidp, tmp_path: Path) -> None:
    """An issuer that differs by a trailing slash is a mismatch, and both spellings are told."""
    result = run_text(tmp_path, flow_file(f"{strict.issuer}/", "- discover"))
    assert verdict(result) == ("discover", Reason.DISCOVERY_ISSUER_MISMATCH, Blame.PROVIDER, Counts.AUTH)
    assert result.detail is not None
    assert f"issuer is {strict.issuer}, configured is {strict.issuer}/" in result.detail


def test_wrong_audience(strict: Nanoidp, tmp_path: Path) -> None:
    """A token for another audience fails at `verify`, so that the API is never asked and never blamed."""
    with ResourceServer(strict.issuer, "orders") as api:
        steps = (
            f"- discover\n- keys\n- token\n- {{step: verify, audience: billing}}\n- {{step: call, url: '{api.url}'}}"
        )
        result = run_text(tmp_path, flow_file(strict.issuer, steps))
    assert verdict(result) == ("verify", Reason.AUDIENCE_MISMATCH, Blame.PROVIDER, Counts.AUTH)
    assert step(result, "call").outcome is Outcome.SKIP
    assert api.seen == []


def test_api_misses_a_scope(strict: Nanoidp, tmp_path: Path) -> None:
    """A token that is good but lacks a scope is told from one that the API refuses."""
    with ResourceServer(strict.issuer, "orders", scope="orders.write") as api:
        steps = f"- discover\n- keys\n- token\n- {{step: verify, audience: orders}}\n- {{step: call, url: '{api.url}'}}"
        result = run_text(tmp_path, flow_file(strict.issuer, steps))
    assert verdict(result) == ("call", Reason.INSUFFICIENT_SCOPE, Blame.CONFIG, Counts.NONE)


def test_rotation_between_two_runs(weak: Nanoidp, tmp_path: Path) -> None:
    """A key that is added between two runs is reported once, by its kid, and everything goes on passing."""
    with ResourceServer(weak.issuer, "orders") as api:
        steps = f"- discover\n- keys\n- token\n- {{step: verify, audience: orders}}\n- {{step: call, url: '{api.url}'}}"
        text, state = flow_file(weak.issuer, steps), tmp_path / "state"
        before = run_text(tmp_path, text, state=state)
        kid = weak.rotate()
        after, later = (run_text(tmp_path, text, state=state) for _ in range(2))
    assert passed(before)
    assert passed(after)
    assert [c.kid for c in step(after, "keys").key_changes if c.change == "added"] == [kid]
    assert "added" in str(step(after, "keys").facts[Fact.JWKS_CHANGE])
    assert (step(before, "keys").key_changes, step(later, "keys").key_changes) == ((), ())


def test_key_withdrawn_while_a_token_lives(weak: Nanoidp, tmp_path: Path) -> None:
    """A key that vanishes under a living token is a warning at `keys` and the reason at `verify` of that token."""
    steps = "- discover\n- keys\n- {step: token, cache: reuse}\n- {step: verify, audience: orders}"
    text, state, memory = flow_file(weak.issuer, steps), tmp_path / "state", Memory()
    assert passed(run_text(tmp_path, text, state=state, memory=memory))
    weak.rotate()
    assert passed(run_text(tmp_path, text, state=state, memory=memory))
    weak.rotate()
    result = run_text(tmp_path, text, state=state, memory=memory)
    assert verdict(result) == ("verify", Reason.KID_WITHDRAWN_EARLY, Blame.PROVIDER, Counts.AUTH)
    assert "withdrawn_early" in {c.change for c in step(result, "keys").key_changes}
    assert [w.reason for w in step(result, "keys").warnings] == [Reason.KID_WITHDRAWN_EARLY]


def test_api_with_stale_keys(weak: Nanoidp, tmp_path: Path) -> None:
    """After a rotation, an API that never fetches keys again refuses a token that is good here: its fault."""
    with ResourceServer(weak.issuer, "orders", caches=True) as api:
        steps = f"- discover\n- keys\n- token\n- {{step: verify, audience: orders}}\n- {{step: call, url: '{api.url}'}}"
        text = flow_file(weak.issuer, steps)
        assert passed(run_text(tmp_path, text))
        weak.rotate()
        result = run_text(tmp_path, text)
    assert verdict(result) == ("call", Reason.API_REJECTS_VALID_TOKEN, Blame.API, Counts.AUTH)
    assert result.detail is not None
    assert "good by local verification" in result.detail


def test_reject_cases_on_a_sound_api(weak: Nanoidp, tmp_path: Path) -> None:
    """An API that validates with PyJWT refuses every forged token and takes the good one before and after."""
    with ResourceServer(weak.issuer, "orders") as api:
        steps = f"""
            - discover
            - keys
            - token
            - {{step: reject, url: "{api.url}", cases: [no_token, garbage, tampered, alg_none, forged_key]}}
        """
        result = run_text(tmp_path, flow_file(weak.issuer, steps))
    assert passed(result)
    assert {(c.accepted, c.status) for c in step(result, "reject").cases} == {(False, 401)}


def test_refusal_without_a_challenge(weak: Nanoidp, tmp_path: Path) -> None:
    """A 401 without any challenge, as this provider's userinfo gives to a revoked token, is called unexplained."""
    steps = f"""
        - discover
        - {{{ANN}}}
        - {{step: revoke, token: access}}
        - {{step: call, url: "{weak.issuer}/userinfo"}}
    """
    result = run_text(tmp_path, flow_file(weak.issuer, steps))
    assert verdict(result) == ("call", Reason.UNAUTHORIZED_UNEXPLAINED, Blame.API, Counts.AUTH)
    assert step(result, "call").facts[Fact.CONTROL_NO_CREDENTIAL] == 401


def test_revoked_access_token_at_userinfo(weak: Nanoidp, tmp_path: Path) -> None:
    """A revoked token is refused at userinfo, and the refusal is the provider's word."""
    steps = f"- discover\n- {{{ANN}}}\n- {{step: revoke, token: access}}\n- userinfo"
    result = run_text(tmp_path, flow_file(weak.issuer, steps))
    assert verdict(result) == ("userinfo", Reason.API_REJECTS_VALID_TOKEN, Blame.PROVIDER, Counts.AUTH)


def test_introspection_finds_a_revoked_token(weak: Nanoidp, tmp_path: Path) -> None:
    """A token that should be alive and is called inactive is the provider's failure."""
    steps = f"- discover\n- {{{ANN}}}\n- {{step: revoke, token: access}}\n- introspect"
    result = run_text(tmp_path, flow_file(weak.issuer, steps))
    assert verdict(result) == ("introspect", Reason.INTROSPECTION_INACTIVE, Blame.PROVIDER, Counts.AUTH)


def test_introspection_of_a_token_never_revoked(weak: Nanoidp, tmp_path: Path) -> None:
    """`active: false` is not passed by a token that still lives."""
    steps = f"- discover\n- {{{ANN}}}\n- {{step: introspect, expect: {{active: false}}}}"
    result = run_text(tmp_path, flow_file(weak.issuer, steps))
    assert verdict(result) == (
        "introspect", Reason.INTROSPECTION_ACTIVE_AFTER_REVOKE, Blame.PROVIDER, Counts.NONE
    )  # fmt: skip


def test_refresh_after_revocation(strict: Nanoidp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refresh token that was revoked is refused, and refresh says what the provider says."""
    monkeypatch.setenv("SEED", strict.seed())
    steps = """
        - discover
        - {step: token, grant: refresh_token, refresh_token: {env: SEED}}
        - {step: revoke, token: refresh}
        - refresh
    """
    result = run_text(tmp_path, flow_file(strict.issuer, steps))
    assert verdict(result) == ("refresh", Reason.INVALID_GRANT, Blame.PROVIDER, Counts.AUTH)


def test_budget_is_no_outage(strict: Nanoidp, tmp_path: Path) -> None:
    """A token request beyond the provider's budget is not sent, and counts as the prober's own limit."""
    text, memory = flow_file(strict.issuer, "- discover\n- token", more="budget: 1/h"), Memory()
    assert passed(run_text(tmp_path, text, memory=memory))
    result = run_text(tmp_path, text, memory=memory)
    assert verdict(result) == ("token", Reason.BUDGET_EXHAUSTED, Blame.PROBER, Counts.NONE)
    assert step(result, "token").exchanges == ()


def test_provider_goes_down(profiles: dict[str, Nanoidp], tmp_path: Path) -> None:
    """A provider that was stopped refuses the connection, which is its outage and nobody else's."""
    doomed = profiles["doomed"].wait()
    text = flow_file(doomed.issuer, "- discover\n- keys\n- token\n- {step: revoke, always: true}")
    assert passed(run_text(tmp_path, text))
    doomed.stop()
    result = run_text(tmp_path, text)
    assert verdict(result) == ("discover", Reason.CONNECT_REFUSED, Blame.PROVIDER, Counts.AUTH)
    assert [row.outcome for row in result.steps[1:]] == [Outcome.SKIP] * 3


def test_posture_of_a_weak_and_a_strict_profile(weak: Nanoidp, strict: Nanoidp, tmp_path: Path) -> None:
    """The strict profile breaks fewer rules than the weak one, and none that the weak one keeps."""
    text = "- discover\n- keys\n- token\n- posture"
    found = []
    for provider in (weak, strict):
        result = run_text(tmp_path, flow_file(provider.issuer, text))
        assert passed(result)
        found.append({finding.rule for finding in step(result, "posture").findings})
    assert found[1] < found[0]
    assert {"grant-password", "grant-implicit", "pkce-plain"} & (found[0] - found[1])


def test_old_sessions_after_rotations(weak: Nanoidp, tmp_path: Path) -> None:
    """A token of an earlier run survives one rotation; after the second its key is gone, which is told as such."""
    with ResourceServer(weak.issuer, "orders") as api:
        steps = f"""
            - discover
            - keys
            - token
            - {{step: verify, audience: orders}}
            - {{step: retained, url: '{api.url}'}}
        """
        text, state = flow_file(weak.issuer, steps), tmp_path / "state"
        assert passed(run_text(tmp_path, text, state=state))
        weak.rotate()
        overlap = run_text(tmp_path, text, state=state)
        weak.rotate()
        late = run_text(tmp_path, text, state=state)
    assert passed(overlap)
    assert step(overlap, "retained").facts[Fact.RETAINED_SESSIONS] == "both"
    assert verdict(late) == ("retained", Reason.KID_WITHDRAWN_EARLY, Blame.PROVIDER, Counts.AUTH)
    assert step(late, "retained").facts[Fact.RETAINED_SESSIONS] == "new_only"
    assert late.detail is not None
    assert late.detail.endswith("new log-ins work, old sessions are cut off")


def test_drift_of_what_is_issued(weak: Nanoidp, tmp_path: Path) -> None:
    """Another scope and another user's claims are changes of what a step issues, told once, by name."""
    state = tmp_path / "state"
    drifting = flow_file(weak.issuer, "- discover\n- token").replace("    steps:", "    drift: {}\n    steps:")
    assert passed(run_text(tmp_path, drifting, state=state))
    changed = drifting.replace("- token", f"- {{{ANN}}}")
    result, again = (run_text(tmp_path, changed, state=state) for _ in range(2))
    assert passed(result)
    assert {change.subject.value for change in step(result, "token").drift} >= {"claims", "scopes"}
    assert "ann@example.org" not in repr(result)
    assert step(again, "token").drift == ()


@pytest.mark.parametrize(
    ("profile", "expected"),
    [
        (
            "weak",
            {
                "missing_grant",
                "unknown_resource",
                "redirect_other_host",
                "redirect_user_part",
                "redirect_extra_path",
                "redirect_extra_query",
            },
        ),
        ("strict", {"missing_grant", "unknown_resource"}),
    ],
)
def test_bad_requests_to_the_provider(
    profile: str, expected: set[str], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """What it takes is found, endpoint by endpoint: no grant type in both, any redirect URI in the weak one."""
    idp: Nanoidp = request.getfixturevalue(profile)
    redirect = 'redirect_uri: "http://127.0.0.1:9/cb", ' if profile == "weak" else ""
    steps = f"""
        - discover
        - {{step: token, scope: orders.read}}
        - {{step: reject_at_provider, {redirect}scope: orders.read, cases: [safe, wrong_client_secret]}}
    """
    accepted = set()
    for _ in range(4 if redirect else 3):
        row = run_text(tmp_path, flow_file(idp.issuer, steps), state=tmp_path / "state").steps[-1]
        assert row.reason in {None, Reason.REJECTION_ACCEPTED}
        accepted |= {case.case for case in row.cases if case.accepted}
    assert accepted == expected
    bare = requests.post(f"{idp.issuer}/token", auth=("otelprobe", SECRET), timeout=5)
    assert "access_token" in bare.json()
