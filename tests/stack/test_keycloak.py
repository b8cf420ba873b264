"""Keycloak as most run it: healthy, refusing, rotating its keys, switched off, frozen and dead in the middle of a run."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from otelprobe.__main__ import main
from otelprobe.reasons import Blame, Counts, Outcome, Reason
from otelprobe.result import Fact, FlowResult
from otelprobe.state import Memory
from tests.conftest import Answer, Seen, Server
from tests.flow_kit import ResourceServer, flow_file, passed, run_text, step, verdict
from tests.stack.harness.keycloak import PASSWORD, REALM, REALM_REUSE, SECRET, Keycloak
from tests.stack.harness.keycloak_admin import Admin
from tests.stack.harness.process import eventually
from tests.stack.test_command_line import document, eight_lines, once
from tests.stack.workbench import check_workbench
from tests.steps.flows import ShiftedClock

ANN = "step: token, grant: password, username: ann, password: {env: PASSWORD}, scope: openid"
USERS = "otelprobe-password"
SHORT = "otelprobe-short"
BASIC_STEPS = "- discover\n- keys\n- token\n- {step: verify, audience: orders}"
PASSED = None, None, None, None
CONFIG = Blame.CONFIG, Counts.NONE
PROVIDER = Blame.PROVIDER, Counts.AUTH

Act = Callable[[], object]
OnTheWay = Callable[[Act], str]


@pytest.fixture
def idp(keycloak: Keycloak, monkeypatch: pytest.MonkeyPatch) -> Keycloak:
    """Give the provider, and the secrets of its clients and users in the environment."""
    monkeypatch.setenv("CLIENT_SECRET", SECRET)
    monkeypatch.setenv("PASSWORD", PASSWORD)
    return keycloak


@pytest.fixture
def admin(idp: Keycloak) -> Iterator[Admin]:
    """Give the provider's administrator."""
    admin = Admin(idp)
    yield admin
    admin.close()


@pytest.fixture
def on_the_way(server: Server) -> OnTheWay:
    """Give what makes a step that lets something happen to the provider in the middle of a flow."""

    def make(act: Act) -> str:
        def happen(_: Seen) -> Answer:
            act()
            return Answer()

        server.on("/now", happen)
        return f'{{step: call, name: meanwhile, url: "{server.url}/now", auth: {{none: true}}, http: {{timeout: 60s}}}}'

    return make


def run(directory: Path, issuer: str, steps: str, client: str = "otelprobe", **more: str) -> FlowResult:
    """Run a flow with time enough for a busy machine."""
    return run_text(directory, flow_file(issuer, steps, client=client, deadline="60s", **more))


# Healthy


def test_whole_flow_of_a_client(idp: Keycloak, tmp_path: Path) -> None:
    """Client credentials pass from discovery to revocation, through an API that knows its audience; no secret shows."""
    with ResourceServer(idp.issuer(), "orders") as api:
        steps = f"""
            - discover
            - keys
            - {{step: token, expect: {{expires_in: ">0"}}}}
            - step: verify
              algorithms: [RS256]
              audience: orders
              typ: JWT
              require: [iss, sub, aud, exp, iat, jti, azp]
              claims: {{azp: otelprobe, typ: Bearer}}
              max_lifetime: 15m
            - {{step: call, url: "{api.url}", expect: {{json: {{"$.status": ok}}}}}}
            - {{step: reject, url: "{api.url}", cases: [no_token, garbage, tampered, alg_none, forged_key]}}
            - introspect
            - {{step: revoke, always: true}}
            - {{step: introspect, name: revoked, expect: {{active: false}}}}
        """
        result = run(tmp_path, idp.issuer(), steps)
    assert passed(result)
    assert step(result, "verify").facts[Fact.JWT_LIFETIME] == 60
    assert {seen.headers["traceparent"][3:35] for seen in api.seen} == {f"{result.trace_id:032x}"}
    assert SECRET not in repr(result)


def test_whole_flow_of_a_user(idp: Keycloak, tmp_path: Path) -> None:
    """A user's session is opened, used, refreshed and ended; with the session its access token is over too."""
    with ResourceServer(idp.issuer(), "orders") as api:
        steps = f"""
            - discover
            - keys
            - {{{ANN}}}
            - {{step: verify, audience: orders, require: [sid]}}
            - {{step: call, url: "{api.url}"}}
            - userinfo
            - {{step: refresh, expect: {{rotated: true}}}}
            - {{step: verify, name: verify-refreshed, audience: orders}}
            - {{step: call, name: call-refreshed, url: "{api.url}"}}
            - introspect
            - {{step: introspect, name: refresh-token, token: refresh}}
            - {{step: revoke, always: true}}
            - {{step: introspect, name: revoked, expect: {{active: false}}}}
            - {{step: introspect, name: revoked-refresh-token, token: refresh, expect: {{active: false}}}}
        """
        result = run(tmp_path, idp.issuer(), steps, USERS)
    assert passed(result)
    assert step(result, "refresh").facts[Fact.REFRESH_ROTATED] is True
    assert PASSWORD not in repr(result)


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
def test_client_authentication(idp: Keycloak, tmp_path: Path, method: str) -> None:
    """A secret with spaces and signs arrives whole, form-encoded inside Basic and in a form."""
    assert passed(run(tmp_path, idp.issuer(), BASIC_STEPS, more=f"client_auth: {method}"))


def test_discovery_of_rfc_8414(idp: Keycloak, tmp_path: Path) -> None:
    """The form of RFC 8414, its path inserted before the realm's, serves as well."""
    assert passed(run(tmp_path, idp.issuer(), BASIC_STEPS, more="discovery: oauth"))


def test_offline_access(idp: Keycloak, tmp_path: Path) -> None:
    """An offline token is refreshed and revoked like any other."""
    steps = f"""
        - discover
        - {{{ANN} offline_access}}
        - {{step: refresh, expect: {{rotated: true}}}}
        - revoke
        - {{step: introspect, token: refresh, expect: {{active: false}}}}
    """
    assert passed(run(tmp_path, idp.issuer(), steps, USERS))


def test_rotation_on(idp: Keycloak, tmp_path: Path) -> None:
    """With Revoke Refresh Token on, a used refresh token is refused, and the session ends with the attempt."""
    steps = f"""
        - discover
        - {{{ANN}}}
        - {{step: refresh, expect: {{rotated: true, reuse_refused: true}}}}
        - {{step: refresh, name: again}}
        - {{step: revoke, always: true}}
    """
    result = run(tmp_path, idp.issuer(REALM), steps, USERS)
    assert step(result, "refresh").outcome is Outcome.PASS
    assert verdict(result) == ("again", Reason.INVALID_GRANT, *PROVIDER)
    assert step(result, "revoke").outcome is Outcome.PASS


@pytest.mark.parametrize(
    ("expect", "found"),
    [
        ("{rotated: true}", PASSED),
        ("{rotated: false}", ("refresh", Reason.ASSERTION_FAILED, *PROVIDER)),
        ("{reuse_refused: true}", ("refresh", Reason.REFRESH_REUSE_ACCEPTED, Blame.PROVIDER, Counts.NONE)),
    ],
)
def test_rotation_off(idp: Keycloak, tmp_path: Path, expect: str, found: tuple[str | None, ...]) -> None:
    """With Revoke Refresh Token off, another refresh token comes all the same, but the old one goes on working."""
    steps = f"- discover\n- {{{ANN}}}\n- {{step: refresh, expect: {expect}}}\n- {{step: revoke, always: true}}"
    assert verdict(run(tmp_path, idp.issuer(REALM_REUSE), steps, USERS)) == found


@pytest.mark.parametrize(
    ("limit", "found"),
    [
        ("90s", PASSED),
        ("30s", ("verify", Reason.LIFETIME_EXCESSIVE, Blame.PROVIDER, Counts.NONE)),
    ],
)
def test_lifetime(idp: Keycloak, tmp_path: Path, limit: str, found: tuple[str | None, ...]) -> None:
    """The lifetime that the realm sets is held against the flow's limit; too long a life spends no objective."""
    steps = f"- discover\n- keys\n- token\n- {{step: verify, audience: orders, max_lifetime: {limit}}}"
    assert verdict(run(tmp_path, idp.issuer(), steps)) == found


def test_lifetime_too_short(idp: Keycloak, tmp_path: Path) -> None:
    """A client whose tokens live for two seconds fails an expectation of a minute."""
    result = run(tmp_path, idp.issuer(), '- discover\n- {step: token, expect: {expires_in: ">59"}}', SHORT)
    assert verdict(result) == ("token", Reason.EXPIRES_IN_INVALID, *PROVIDER)


def test_token_that_expires_during_the_run(idp: Keycloak, tmp_path: Path, on_the_way: OnTheWay) -> None:
    """A token of two seconds that has run out when it is verified is expired, and no clock is blamed for it."""
    wait = on_the_way(lambda: time.sleep(2.1))  # the token has to grow old by the provider's clock, which is real
    steps = f"- discover\n- keys\n- token\n- {wait}\n- {{step: verify, audience: orders, leeway: 0s}}"
    result = run(tmp_path, idp.issuer(), steps, SHORT)
    assert verdict(result) == ("verify", Reason.EXPIRED, *PROVIDER)


def test_command_line(idp: Keycloak, tmp_path: Path) -> None:
    """`otelprobe once` with the shortest flow file of the documentation tells pass and fail in JSON and by its exit code."""
    with ResourceServer(idp.issuer(), "orders") as api:
        path = eight_lines(tmp_path, idp.issuer(), api.url)
        done = once(path, CLIENT_SECRET=SECRET)
        refused = once(path, CLIENT_SECRET="wrong-canary")
    (flow,) = document(done)["flows"]
    assert (done.returncode, flow["outcome"]) == (0, "pass"), flow["detail"]
    assert [row["step"] for row in flow["steps"]] == ["discover", "keys", "token", "verify", "call"]
    assert SECRET not in done.stdout + done.stderr
    (flow,) = document(refused)["flows"]
    told = [flow[member] for member in ("outcome", "failed_step", "reason", "blame", "counts")]
    assert (refused.returncode, told) == (1, ["fail", "token", "unauthorized_client", "config", "none"])
    assert "wrong-canary" not in refused.stdout + refused.stderr


# Refused


@pytest.mark.parametrize(
    ("client", "token", "reason"),
    [
        ("otelprobe-disabled", "step: token", Reason.INVALID_CLIENT),
        ("nobody", "step: token", Reason.INVALID_CLIENT),
        (USERS, "step: token", Reason.UNAUTHORIZED_CLIENT),
        ("otelprobe", ANN, Reason.UNAUTHORIZED_CLIENT),
        ("otelprobe", "step: token, scope: orders:write", Reason.INVALID_SCOPE),
        (USERS, ANN.replace("ann", "bob"), Reason.INVALID_GRANT),
        (USERS, ANN.replace("ann", "nobody"), Reason.INVALID_GRANT),
    ],
    ids=["client disabled", "no such client", "no service account", "no password grant", "scope", "disabled", "nobody"],
)
def test_refused(idp: Keycloak, tmp_path: Path, client: str, token: str, reason: Reason) -> None:
    """What the provider refuses to a client or a user is the configuration's fault, and spends no objective."""
    result = run(tmp_path, idp.issuer(), f"- discover\n- keys\n- {{{token}}}", client)
    assert verdict(result) == ("token", reason, *CONFIG)


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
def test_wrong_secret(idp: Keycloak, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    """A wrong secret, which Keycloak calls `unauthorized_client`, is the configuration's fault and shows nowhere."""
    monkeypatch.setenv("CLIENT_SECRET", "another-canary")
    result = run(tmp_path, idp.issuer(), BASIC_STEPS, more=f"client_auth: {method}")
    assert verdict(result) == ("token", Reason.UNAUTHORIZED_CLIENT, *CONFIG)
    assert "another-canary" not in repr(result)


def test_wrong_password(idp: Keycloak, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong password is the configuration's fault and shows nowhere."""
    monkeypatch.setenv("PASSWORD", "another-canary")
    result = run(tmp_path, idp.issuer(), f"- discover\n- {{{ANN}}}", USERS)
    assert verdict(result) == ("token", Reason.INVALID_GRANT, *CONFIG)
    assert "another-canary" not in repr(result)


def test_locked_by_brute_force_protection(
    idp: Keycloak, admin: Admin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user whom too many wrong passwords have locked is refused the right one too: the configuration's fault."""
    issuer = admin.make_realm("guarded", bruteForceProtected=True, permanentLockout=True, failureFactor=1)
    steps = f"- discover\n- {{{ANN}}}"
    assert passed(run(tmp_path, issuer, steps, USERS))
    monkeypatch.setenv("PASSWORD", "another-canary")
    refused = verdict(run(tmp_path, issuer, steps, USERS))
    monkeypatch.setenv("PASSWORD", PASSWORD)

    def locked() -> bool:  # Keycloak counts wrong passwords after it has answered
        return verdict(run(tmp_path, issuer, steps, USERS)) == refused

    assert refused == ("token", Reason.INVALID_GRANT, *CONFIG)
    assert eventually(locked, 60, "lock of the user")


def test_without_an_audience_mapper(idp: Keycloak, tmp_path: Path) -> None:
    """A token with the audience that Keycloak gives by itself is not for the API, and `verify` says so before the call."""
    with ResourceServer(idp.issuer(), "orders") as api:
        steps = f"{BASIC_STEPS}\n- {{step: call, url: '{api.url}'}}"
        result = run(tmp_path, idp.issuer(), steps, "otelprobe-elsewhere")
    assert verdict(result) == ("verify", Reason.AUDIENCE_MISMATCH, *PROVIDER)
    assert api.seen == []


def test_userinfo_without_openid(idp: Keycloak, tmp_path: Path) -> None:
    """A token without the scope openid is refused at userinfo for want of a scope, which is the configuration's fault."""
    result = run(tmp_path, idp.issuer(), "- discover\n- token\n- userinfo")
    assert verdict(result) == ("userinfo", Reason.INSUFFICIENT_SCOPE, *CONFIG)


def test_introspection_by_a_public_client(idp: Keycloak, tmp_path: Path) -> None:
    """A public client may not introspect: the flow file asks with the wrong one."""
    steps = f"- discover\n- {{{ANN}}}\n- introspect\n- {{step: revoke, always: true}}"
    result = run(tmp_path, idp.issuer(), steps, "otelprobe-public", more="client_auth: none")
    assert verdict(result) == ("introspect", Reason.INVALID_REQUEST, *CONFIG)
    assert step(result, "revoke").outcome is Outcome.PASS


def test_introspection_by_a_client_outside_the_audience(idp: Keycloak, tmp_path: Path) -> None:
    """Keycloak calls a live token inactive to a client that `aud` does not name; the detail tells what is behind it."""
    result = run(tmp_path, idp.issuer(), f"{BASIC_STEPS}\n- introspect", "otelprobe-orders")
    assert verdict(result) == ("introspect", Reason.INTROSPECTION_INACTIVE, *PROVIDER)
    assert result.detail is not None
    assert "aud does not name the client otelprobe-orders" in result.detail


# Realms


def test_unknown_realm(idp: Keycloak, tmp_path: Path) -> None:
    """A realm that does not exist has no discovery document in either form."""
    result = run(tmp_path, idp.issuer("nowhere"), BASIC_STEPS)
    assert verdict(result) == ("discover", Reason.DISCOVERY_UNAVAILABLE, *PROVIDER)
    assert [x.status for x in step(result, "discover").exchanges] == [404, 404]


def test_realm_switched_off(idp: Keycloak, admin: Admin, tmp_path: Path, on_the_way: OnTheWay) -> None:
    """A realm that is switched off under a running flow denies refresh, clean-up and new tokens, until it is on again."""
    issuer = admin.make_realm("closing")
    close = on_the_way(lambda: admin.change_realm("closing", enabled=False))
    steps = f"- discover\n- {{{ANN}}}\n- {close}\n- refresh\n- {{step: revoke, always: true}}"
    result = run(tmp_path, issuer, steps, USERS)
    assert verdict(result) == ("refresh", Reason.ACCESS_DENIED, *CONFIG)
    assert step(result, "revoke").outcome is Outcome.FAIL
    assert verdict(run(tmp_path, issuer, BASIC_STEPS)) == ("token", Reason.ACCESS_DENIED, *CONFIG)
    admin.change_realm("closing", enabled=True)
    assert passed(run(tmp_path, issuer, BASIC_STEPS))


def test_other_host_name(idp: Keycloak, admin: Admin, tmp_path: Path) -> None:
    """A realm whose public name is another than the configured one is a mismatch, though it is the same server."""
    issuer = admin.make_realm("renamed", attributes={"frontendUrl": idp.url.replace("127.0.0.1", "localhost")})
    result = run(tmp_path, issuer, BASIC_STEPS)
    assert verdict(result) == ("discover", Reason.DISCOVERY_ISSUER_MISMATCH, *PROVIDER)
    assert passed(run(tmp_path, issuer.replace("127.0.0.1", "localhost"), BASIC_STEPS))


# Keys


def _changes(result: FlowResult) -> set[tuple[str, str]]:
    return {(change.change, change.kid) for change in step(result, "keys").key_changes}


def test_rotation_in_the_middle_of_a_run(idp: Keycloak, admin: Admin, tmp_path: Path, on_the_way: OnTheWay) -> None:
    """A token of a key newer than the fetched set passes after a second look; the next run reports the key as added."""
    issuer, state = admin.make_realm("rotating"), tmp_path / "state"
    rotate = on_the_way(lambda: admin.add_signing_key("rotating"))
    steps = f"- discover\n- keys\n- {rotate}\n- token\n- {{step: verify, audience: orders}}"
    result = run_text(tmp_path, flow_file(issuer, steps, deadline="60s"), state=state)
    assert passed(result)
    assert [x.control for x in step(result, "verify").exchanges] == [True]
    following = run_text(tmp_path, flow_file(issuer, BASIC_STEPS), state=state)
    assert passed(following)
    assert _changes(following) == {("added", admin.signing_kid("rotating"))}
    assert step(following, "verify").exchanges == ()


def test_key_deleted_under_a_living_token(idp: Keycloak, admin: Admin, tmp_path: Path) -> None:
    """An overlap of keys breaks nothing; a key deleted while a token lives that it signed was withdrawn too early."""
    issuer, state, memory = admin.make_realm("forgetting", accessTokenLifespan=600), tmp_path / "state", Memory()
    text = flow_file(issuer, BASIC_STEPS.replace("- token", "- {step: token, cache: reuse}"))
    assert passed(run_text(tmp_path, text, state=state, memory=memory))
    old, new = admin.signing_kid("forgetting"), admin.add_signing_key("forgetting")
    overlap = run_text(tmp_path, text, state=state, memory=memory)
    assert passed(overlap)
    assert (_changes(overlap), step(overlap, "token").exchanges) == ({("added", new)}, ())
    admin.delete_key("forgetting", old)
    result = run_text(tmp_path, text, state=state, memory=memory)
    assert verdict(result) == ("verify", Reason.KID_WITHDRAWN_EARLY, *PROVIDER)
    assert _changes(result) == {("withdrawn_early", old)}
    assert [warning.reason for warning in step(result, "keys").warnings] == [Reason.KID_WITHDRAWN_EARLY]
    assert passed(run(tmp_path, issuer, BASIC_STEPS))


def test_api_with_stale_keys(idp: Keycloak, admin: Admin, tmp_path: Path) -> None:
    """After a rotation, an API that never fetches keys again is blamed for refusing a good token."""
    issuer = admin.make_realm("outpacing")
    with ResourceServer(issuer, "orders", caches=True) as api:
        steps = f"{BASIC_STEPS}\n- {{step: call, url: '{api.url}'}}"
        assert passed(run(tmp_path, issuer, steps))
        admin.add_signing_key("outpacing")
        result = run(tmp_path, issuer, steps)
    assert verdict(result) == ("call", Reason.API_REJECTS_VALID_TOKEN, Blame.API, Counts.AUTH)


# Clocks


@pytest.mark.parametrize("ahead", [600.0, -600.0])
def test_clocks_apart(idp: Keycloak, tmp_path: Path, ahead: float) -> None:
    """Keycloak sends no `Date`: the claims of its tokens show the difference, and with two clocks it is the provider's."""
    result = run_text(tmp_path, flow_file(idp.issuer(), BASIC_STEPS), clock=ShiftedClock(ahead))
    assert verdict(result) == ("verify", Reason.CLOCK_SKEW, *PROVIDER)
    skew = step(result, "verify").facts[Fact.CLOCK_SKEW]
    assert isinstance(skew, float)
    assert abs(skew + ahead) < 30


def test_clocks_apart_without_harm(idp: Keycloak, tmp_path: Path) -> None:
    """A difference that breaks nothing yet is a warning and a fact, though no `Date` tells of it."""
    result = run_text(tmp_path, flow_file(idp.issuer(), BASIC_STEPS), clock=ShiftedClock(40.0))
    assert passed(result)
    row = step(result, "verify")
    assert [warning.reason for warning in row.warnings] == [Reason.CLOCK_SKEW]
    skew = row.facts[Fact.CLOCK_SKEW]
    assert isinstance(skew, float)
    assert skew < -39


@pytest.mark.parametrize("ahead", [600.0, -600.0])
def test_own_clock_off(idp: Keycloak, tmp_path: Path, ahead: float) -> None:
    """Where the API's `Date` agrees with Keycloak, it is the prober's own clock, and nobody's outage."""
    with ResourceServer(idp.issuer(), "orders") as api:
        url = api.url.replace("127.0.0.1", "localhost")  # another host, as an API is
        peer = f"{{step: call, name: peer, url: '{url}', auth: {{none: true}}, expect: {{status: 401}}}}"
        text = flow_file(idp.issuer(), f"- {peer}\n{BASIC_STEPS}")
        result = run_text(tmp_path, text, clock=ShiftedClock(ahead))
    assert verdict(result) == ("verify", Reason.CLOCK_SKEW, Blame.PROBER, Counts.NONE)


# The server itself


def test_frozen_in_the_middle_of_a_run(idp: Keycloak, tmp_path: Path, on_the_way: OnTheWay) -> None:
    """A server that takes connections and does not answer is the provider's outage; when it goes on, all is well."""
    freeze = on_the_way(idp.freeze)
    steps = f"- discover\n- keys\n- {freeze}\n- {{step: token, http: {{timeout: 1s}}}}"
    try:
        result = run(tmp_path, idp.issuer(), steps)
    finally:
        idp.thaw()
    assert verdict(result) == ("token", Reason.READ_TIMEOUT, *PROVIDER)
    assert passed(run(tmp_path, idp.issuer(), BASIC_STEPS))


def test_what_init_writes_runs(idp: Keycloak, tmp_path: Path) -> None:
    """The preset is known by the issuer's path; from nothing but that to a verified token."""
    file = tmp_path / "written.yaml"
    assert main(["init", idp.issuer(), "--output-file", str(file)]) == 0
    text = file.read_text(encoding="utf-8")
    assert "preset: keycloak" in text
    assert passed(run_text(tmp_path, text))


def test_dead_in_the_middle_of_a_run(idp: Keycloak, tmp_path: Path, on_the_way: OnTheWay) -> None:
    """A server that dies under a running flow is the provider's outage; the clean-up is tried and cannot hide it."""
    # It stands last in its file: whoever asks for Keycloak after it gets a new one, and waits for that.
    crash = on_the_way(idp.crash)
    steps = f"- discover\n- keys\n- {{{ANN}}}\n- {crash}\n- refresh\n- {{step: revoke, always: true}}"
    result = run(tmp_path, idp.issuer(), steps, USERS)
    assert verdict(result) == ("refresh", Reason.CONNECT_REFUSED, *PROVIDER)
    assert (step(result, "revoke").outcome, step(result, "revoke").reason) == (Outcome.FAIL, Reason.CONNECT_REFUSED)
    again = run(tmp_path, idp.issuer(), BASIC_STEPS)
    assert verdict(again) == ("discover", Reason.CONNECT_REFUSED, *PROVIDER)


def test_the_workbench_verifies_by_the_issuer(
    idp: Keycloak, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A token of Keycloak is good by the keys that its realm publishes, and not when a letter is changed."""
    form = {"grant_type": "client_credentials"}
    check_workbench(idp.issuer(), form, ("otelprobe", SECRET), tmp_path, capsys)
