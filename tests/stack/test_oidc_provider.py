"""Every step on the certified oidc-provider: healthy, strict and weak, and with what can go wrong there."""

import json
from pathlib import Path
from textwrap import dedent

import pytest

from otelprobe.__main__ import main
from otelprobe.reasons import Blame, Counts, Outcome, Reason
from otelprobe.result import Fact
from otelprobe.state import Memory
from tests.flow_kit import ResourceServer, flow_file, passed, run_text, step, verdict
from tests.stack.harness.oidc_provider import PASSWORD, SECRET, OidcProvider
from tests.stack.harness.oidc_provider import RESOURCE as API
from tests.stack.workbench import check_workbench

CLIENT = f"step: token, scope: orders:read, resource: [{API}]"
ANN = "step: token, grant: password, username: ann, password: {env: PASSWORD}"
ANN_API = f"{ANN}, scope: orders:read, resource: [{API}]"
ANN_OPAQUE = f"{ANN}, scope: openid"


def test_whole_flow(idp: OidcProvider, tmp_path: Path) -> None:
    """A healthy provider and a healthy API pass from discovery to revocation, and no secret is in the result."""
    with ResourceServer(idp.issuer, "orders", scope="orders:read") as api:
        steps = f"""
            - discover
            - keys
            - {{{ANN_API}, expect: {{expires_in: ">0"}}}}
            - step: verify
              algorithms: [RS256]
              audience: orders
              typ: at+jwt
              require: [iss, sub, aud, exp, iat, jti, client_id]
              claims: {{client_id: otelprobe, scope: orders:read}}
              max_lifetime: 15m
            - {{step: call, url: "{api.url}", expect: {{json: {{"$.status": ok}}}}}}
            - {{step: reject, url: "{api.url}", cases: [no_token, garbage, tampered, alg_none, forged_key]}}
            - {{step: refresh, expect: {{rotated: true}}}}
            - {{step: verify, name: verify-refreshed, audience: orders}}
            - {{step: introspect, token: refresh}}
            - {{step: revoke, always: true}}
            - {{step: introspect, name: revoked, token: refresh, expect: {{active: false}}}}
        """
        result = run_text(tmp_path, flow_file(idp.issuer, steps))
    assert passed(result)
    assert step(result, "verify").facts[Fact.JWT_ALG] == "RS256"
    assert step(result, "refresh").facts[Fact.REFRESH_ROTATED] is True
    assert {seen.headers["traceparent"][3:35] for seen in api.seen} == {f"{result.trace_id:032x}"}
    text = repr(result)
    assert SECRET not in text
    assert PASSWORD not in text


def test_the_audit_trail_and_the_workbench(
    idp: OidcProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One id links issuance, verification and revocation at a certified provider; the file is proven by its signature."""
    monkeypatch.setenv("AUDIT_KEY", "0123456789abcdef0123456789abcdef")
    key, public, file = tmp_path / "key.pem", tmp_path / "key.pub", tmp_path / "audit.jsonl"
    assert main(["jwt", "keygen", "--alg", "Ed25519", "--out", str(key), "--public", str(public)]) == 0
    monkeypatch.setenv("CLIENT_SECRET", SECRET)
    monkeypatch.setenv("PASSWORD", PASSWORD)
    steps = f"- discover\n- keys\n- {{{ANN_API}}}\n- {{step: verify, audience: orders}}\n- revoke"
    block = f"audit: {{key: {{env: AUDIT_KEY}}, file: {file}, checkpoint: {{key: {{file: {key}}}}}}}\n"
    (tmp_path / "flow.yaml").write_text(flow_file(idp.issuer, steps) + block, encoding="utf-8")
    capsys.readouterr()
    assert main(["once", str(tmp_path / "flow.yaml"), "--output", "json"]) == 0, capsys.readouterr().out
    records = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    facts = [r for r in records if "flow" in r]
    assert [r["event"] for r in facts] == ["issued", "validated", "revoked"]
    assert len({(r["id"], r["subject"]) for r in facts}) == 1
    assert main(["audit", "verify", str(file), "--key", str(public)]) == 0, capsys.readouterr().out


def test_what_init_writes_runs(idp: OidcProvider, tmp_path: Path) -> None:
    """It is wired and gets a token; that this provider's tokens are opaque without a resource is said by the verdict."""
    file = tmp_path / "written.yaml"
    assert main(["init", idp.issuer, "--output-file", str(file)]) == 0
    result = run_text(tmp_path, file.read_text(encoding="utf-8"))
    assert step(result, "token").outcome is Outcome.PASS
    assert (result.failed_step, result.reason) == ("verify", Reason.TOKEN_OPAQUE)


@pytest.mark.parametrize("alg", ["RS256", "PS256", "ES256", "EdDSA"])
def test_algorithms(idp: OidcProvider, tmp_path: Path, alg: str) -> None:
    """Tokens of every algorithm that the provider signs with are verified, with what discovery advertises alone."""
    token = f"step: token, scope: orders:read, resource: [https://api.example/{alg}]"
    result = run_text(
        tmp_path, flow_file(idp.issuer, f"- discover\n- keys\n- {{{token}}}\n- {{step: verify, audience: orders}}")
    )
    assert passed(result)
    assert step(result, "verify").facts[Fact.JWT_ALG] == alg


def test_algorithm_not_allowed(idp: OidcProvider, tmp_path: Path) -> None:
    """A token of an algorithm that the flow does not allow fails, though its signature is good."""
    steps = f"- discover\n- keys\n- {{{CLIENT}}}\n- {{step: verify, audience: orders, algorithms: [ES256]}}"
    result = run_text(tmp_path, flow_file(idp.issuer, steps))
    assert verdict(result) == ("verify", Reason.ALG_NOT_ALLOWED, Blame.PROVIDER, Counts.AUTH)


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
def test_client_authentication(idp: OidcProvider, tmp_path: Path, method: str) -> None:
    """A secret with spaces and signs arrives whole, form-encoded inside Basic (RFC 6749, section 2.3.1) and in a form."""
    result = run_text(tmp_path, flow_file(idp.issuer, f"- discover\n- {{{CLIENT}}}", more=f"client_auth: {method}"))
    assert passed(result)
    assert step(result, "token").facts[Fact.ISSUANCE_CLIENT_AUTH] == method


def test_wrong_secret(idp: OidcProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong client secret is the configuration's fault and shows nowhere."""
    monkeypatch.setenv("CLIENT_SECRET", "another-canary")
    result = run_text(tmp_path, flow_file(idp.issuer, f"- discover\n- {{{CLIENT}}}"))
    assert verdict(result) == ("token", Reason.INVALID_CLIENT, Blame.CONFIG, Counts.NONE)
    assert "another-canary" not in repr(result)


def test_wrong_password(idp: OidcProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refused password is the configuration's fault."""
    monkeypatch.setenv("PASSWORD", "another-canary")
    result = run_text(tmp_path, flow_file(idp.issuer, f"- discover\n- {{{ANN_API}}}"))
    assert verdict(result) == ("token", Reason.INVALID_GRANT, Blame.CONFIG, Counts.NONE)


def test_unknown_resource(idp: OidcProvider, tmp_path: Path) -> None:
    """A resource that the provider does not know (`invalid_target`, RFC 8707) is the configuration's fault."""
    token = "step: token, resource: [https://api.example/unknown]"
    result = run_text(tmp_path, flow_file(idp.issuer, f"- discover\n- {{{token}}}"))
    assert verdict(result) == ("token", Reason.INVALID_REQUEST, Blame.CONFIG, Counts.NONE)
    assert step(result, "token").facts[Fact.ISSUANCE_OAUTH_ERROR] == "invalid_target"


@pytest.mark.parametrize("asked", ["orders:read orders:write", "orders:write"])
def test_scope_dropped_without_a_word(idp: OidcProvider, tmp_path: Path, asked: str) -> None:
    """A scope that the provider leaves out is noticed, also if no scope at all is left to be mentioned."""
    token = f"step: token, scope: {asked}, resource: [{API}]"
    result = run_text(tmp_path, flow_file(idp.issuer, f"- discover\n- {{{token}}}"))
    assert verdict(result) == ("token", Reason.SCOPE_REDUCED, Blame.PROVIDER, Counts.AUTH)
    assert result.detail == "not granted: orders:write"


def test_opaque_token(idp: OidcProvider, tmp_path: Path) -> None:
    """A token without a resource is opaque here: `verify` says so, and introspection, userinfo and revocation work."""
    steps = f"- discover\n- keys\n- {{{ANN_OPAQUE}}}\n- {{step: verify, audience: orders}}"
    result = run_text(tmp_path, flow_file(idp.issuer, steps))
    assert verdict(result) == ("verify", Reason.TOKEN_OPAQUE, Blame.PROVIDER, Counts.AUTH)
    assert step(result, "verify").facts[Fact.JWT_FORMAT] == "opaque"
    steps = f"""
        - discover
        - {{{ANN_OPAQUE}}}
        - userinfo
        - introspect
        - {{step: revoke, token: access}}
        - {{step: introspect, name: revoked, expect: {{active: false}}}}
    """
    assert passed(run_text(tmp_path, flow_file(idp.issuer, steps)))


def test_encrypted_token(idp: OidcProvider, tmp_path: Path) -> None:
    """A token that only its resource can read (JWE) is told apart from a malformed one."""
    token = "step: token, scope: orders:read, resource: [https://api.example/jwe]"
    steps = f"- discover\n- keys\n- {{{token}}}\n- {{step: verify, audience: orders}}"
    result = run_text(tmp_path, flow_file(idp.issuer, steps))
    assert verdict(result) == ("verify", Reason.TOKEN_ENCRYPTED, Blame.CONFIG, Counts.NONE)


def test_userinfo_with_a_token_for_an_api(idp: OidcProvider, tmp_path: Path) -> None:
    """A token that is bound to a resource is rightly refused at userinfo: the flow file asked for the wrong one."""
    steps = f"- discover\n- {{{ANN}, scope: openid orders:read, resource: [{API}], expect: {{scope: any}}}}\n- userinfo"
    result = run_text(tmp_path, flow_file(idp.issuer, steps))
    assert verdict(result) == ("userinfo", Reason.API_REJECTS_VALID_TOKEN, Blame.CONFIG, Counts.NONE)


def test_userinfo_without_openid(idp: OidcProvider, tmp_path: Path) -> None:
    """A token without the scope openid is refused at userinfo for want of a scope, which is the configuration's fault."""
    steps = f"- discover\n- {{{ANN}, scope: orders:read}}\n- userinfo"
    result = run_text(tmp_path, flow_file(idp.issuer, steps))
    assert verdict(result) == ("userinfo", Reason.INSUFFICIENT_SCOPE, Blame.CONFIG, Counts.NONE)


def test_structured_tokens_are_not_introspected(idp: OidcProvider, tmp_path: Path) -> None:
    """A provider that introspects and revokes no JWTs says so, and neither is an outage of introspection."""
    result = run_text(tmp_path, flow_file(idp.issuer, f"- discover\n- {{{CLIENT}}}\n- introspect"))
    assert verdict(result) == ("introspect", Reason.OAUTH_ERROR_OTHER, Blame.CONFIG, Counts.NONE)
    assert result.detail is not None
    assert "unsupported_token_type" in result.detail
    result = run_text(tmp_path, flow_file(idp.issuer, f"- discover\n- {{{CLIENT}}}\n- revoke"))
    assert verdict(result) == ("revoke", Reason.OAUTH_ERROR_OTHER, Blame.CONFIG, Counts.NONE)


def test_reuse_ends_the_family(idp: OidcProvider, tmp_path: Path) -> None:
    """A strict provider refuses a used refresh token and ends everything that came from it."""
    steps = f"""
        - discover
        - {{{ANN_OPAQUE}}}
        - {{step: refresh, expect: {{rotated: true, reuse_refused: true}}}}
        - {{step: introspect, expect: {{active: false}}}}
        - {{step: introspect, name: refresh-token, token: refresh, expect: {{active: false}}}}
        - {{step: refresh, name: again}}
    """
    result = run_text(tmp_path, flow_file(idp.issuer, steps))
    assert [row.outcome for row in result.steps[:-1]] == [Outcome.PASS] * 5
    assert verdict(result) == ("again", Reason.INVALID_GRANT, Blame.PROVIDER, Counts.AUTH)


@pytest.mark.parametrize(
    ("expect", "found"),
    [
        ("{rotated: false}", (None, None, None, None)),
        ("{rotated: true}", ("refresh", Reason.REFRESH_NOT_ROTATED, Blame.PROVIDER, Counts.AUTH)),
        ("{reuse_refused: true}", ("refresh", Reason.REFRESH_REUSE_ACCEPTED, Blame.PROVIDER, Counts.NONE)),
    ],
)
def test_no_rotation(idp: OidcProvider, tmp_path: Path, expect: str, found: tuple[str | None, ...]) -> None:
    """A weak provider that keeps refresh tokens passes or fails by what the flow expects of it."""
    idp.change(rotate=False)
    steps = f"- discover\n- {{{ANN_API}}}\n- {{step: refresh, expect: {expect}}}"
    assert verdict(run_text(tmp_path, flow_file(idp.issuer, steps))) == found


def test_revoked_refresh_token(idp: OidcProvider, tmp_path: Path) -> None:
    """Revoking the refresh token ends the access token of its grant too; introspection of a dead one is a failure."""
    steps = f"""
        - discover
        - {{{ANN_OPAQUE}}}
        - revoke
        - {{step: introspect, name: revoked, expect: {{active: false}}}}
        - introspect
    """
    result = run_text(tmp_path, flow_file(idp.issuer, steps))
    assert step(result, "revoked").outcome is Outcome.PASS
    assert verdict(result) == ("introspect", Reason.INTROSPECTION_INACTIVE, Blame.PROVIDER, Counts.AUTH)


def test_rotation_with_overlap(idp: OidcProvider, tmp_path: Path) -> None:
    """Keys that are added while the old ones stay break nothing, not even a cached token, and are reported once."""
    steps = f"- discover\n- keys\n- {{{CLIENT}, cache: reuse}}\n- {{step: verify, audience: orders}}"
    text, state, memory = flow_file(idp.issuer, steps), tmp_path / "state", Memory()
    assert passed(run_text(tmp_path, text, state=state, memory=memory))
    before = idp.change()
    added = set(idp.change(keys="add")) - set(before)
    result = run_text(tmp_path, text, state=state, memory=memory)
    assert passed(result)
    assert {(c.change, c.kid) for c in step(result, "keys").key_changes} == {("added", kid) for kid in added}
    assert step(result, "token").exchanges == ()


def test_keys_withdrawn_under_a_living_token(idp: OidcProvider, tmp_path: Path) -> None:
    """A key that is gone while a token lives that it signed was withdrawn too early; without memory it is just unknown."""
    steps = f"- discover\n- keys\n- {{{CLIENT}, cache: reuse}}\n- {{step: verify, audience: orders}}"
    text, state, memory = flow_file(idp.issuer, steps), tmp_path / "state", Memory()
    assert passed(run_text(tmp_path, text, state=state, memory=memory))
    idp.change(keys="replace")
    result = run_text(tmp_path, text, state=state, memory=memory)
    assert verdict(result) == ("verify", Reason.KID_WITHDRAWN_EARLY, Blame.PROVIDER, Counts.AUTH)
    assert [w.reason for w in step(result, "keys").warnings] == [Reason.KID_WITHDRAWN_EARLY]
    forgetful = run_text(tmp_path, text, memory=memory)
    assert verdict(forgetful) == ("verify", Reason.KID_NOT_IN_JWKS, Blame.PROVIDER, Counts.AUTH)


def test_rotation_in_the_middle_of_a_run(idp: OidcProvider, tmp_path: Path) -> None:
    """A token signed by a key newer than the fetched set is verified after a second look, which is not the user's time."""
    control = idp.told["control"]
    rotate = f'{{step: call, name: rotate, url: "{control}", method: POST, json: {{keys: add}}, auth: {{none: true}}}}'
    steps = f"- discover\n- keys\n- {rotate}\n- {{{CLIENT}}}\n- {{step: verify, audience: orders}}"
    result = run_text(tmp_path, flow_file(idp.issuer, steps))
    assert passed(result)
    assert [x.control for x in step(result, "verify").exchanges] == [True]


def test_api_with_stale_keys(idp: OidcProvider, tmp_path: Path) -> None:
    """After a rotation, an API that never fetches keys again is blamed for refusing a good token."""
    with ResourceServer(idp.issuer, "orders", caches=True) as api:
        steps = f"- discover\n- keys\n- {{{CLIENT}}}\n- {{step: verify, audience: orders}}\n- {{step: call, url: '{api.url}'}}"
        assert passed(run_text(tmp_path, flow_file(idp.issuer, steps)))
        idp.change(keys="add")
        result = run_text(tmp_path, flow_file(idp.issuer, steps))
    assert verdict(result) == ("call", Reason.API_REJECTS_VALID_TOKEN, Blame.API, Counts.AUTH)


def test_token_that_expires_during_the_run(idp: OidcProvider, tmp_path: Path) -> None:
    """A token that has run out when it is verified is expired, not expired on issue and no clock's fault."""
    # Two seconds: `iat` is cut to whole ones, so that a token of one second may be dead on arrival.
    idp.change(ttl=2, fault={"path": "/jwks", "delay": 2100})
    steps = f"- discover\n- {{{CLIENT}}}\n- keys\n- {{step: verify, audience: orders, leeway: 0s}}"
    result = run_text(tmp_path, flow_file(idp.issuer, steps))
    assert verdict(result) == ("verify", Reason.EXPIRED, Blame.PROVIDER, Counts.AUTH)


def test_lifetime_beyond_policy(idp: OidcProvider, tmp_path: Path) -> None:
    """A token that lives longer than the flow allows is a finding that spends no objective."""
    idp.change(ttl=3600)
    steps = f"- discover\n- keys\n- {{{CLIENT}}}\n- {{step: verify, audience: orders, max_lifetime: 15m}}"
    result = run_text(tmp_path, flow_file(idp.issuer, steps))
    assert verdict(result) == ("verify", Reason.LIFETIME_EXCESSIVE, Blame.PROVIDER, Counts.NONE)


DISCOVERY = "/.well-known/openid-configuration"
FAULTS = [
    (DISCOVERY, {"status": 503}, "discover", Reason.DISCOVERY_UNAVAILABLE),
    (DISCOVERY, {"html": True}, "discover", Reason.DISCOVERY_INVALID),
    ("/jwks", {"status": 503}, "keys", Reason.JWKS_UNAVAILABLE),
    ("/jwks", {"html": True}, "keys", Reason.JWKS_INVALID),
    ("/token", {"status": 503}, "token", Reason.IDP_HTTP_5XX),
    ("/token", {"status": 400}, "token", Reason.IDP_ERROR),
    ("/token", {"html": True}, "token", Reason.IDP_NOT_JSON),
    ("/me", {"status": 503}, "userinfo", Reason.IDP_HTTP_5XX),
    ("/me", {"html": True}, "userinfo", Reason.IDP_NOT_JSON),
    ("/token/introspection", {"status": 503}, "introspect", Reason.IDP_HTTP_5XX),
    ("/token/introspection", {"html": True}, "introspect", Reason.IDP_NOT_JSON),
    ("/token/revocation", {"status": 503}, "revoke", Reason.IDP_HTTP_5XX),
]


@pytest.mark.parametrize(("path", "fault", "failed", "reason"), FAULTS)
def test_broken_endpoint(
    idp: OidcProvider, tmp_path: Path, path: str, fault: dict[str, object], failed: str, reason: Reason
) -> None:
    """An endpoint that is down or answers with a page fails just the step that needs it, as the provider's outage."""
    idp.change(fault={"path": path, **fault})
    steps = f"- discover\n- keys\n- {{{ANN_OPAQUE}}}\n- userinfo\n- introspect\n- revoke"
    assert verdict(run_text(tmp_path, flow_file(idp.issuer, steps))) == (failed, reason, Blame.PROVIDER, Counts.AUTH)


def test_refresh_while_the_provider_is_down(idp: OidcProvider, tmp_path: Path) -> None:
    """A 5xx at a refresh says so; the always step still revokes, and cannot improve the verdict."""
    fault = "{fault: {path: /token, status: 503}}"
    control = idp.told["control"]
    broken = f'{{step: call, name: break, url: "{control}", method: POST, json: {fault}, auth: {{none: true}}}}'
    steps = f"- discover\n- {{{ANN_OPAQUE}}}\n- {broken}\n- refresh\n- introspect\n- {{step: revoke, always: true}}"
    result = run_text(tmp_path, flow_file(idp.issuer, steps))
    assert verdict(result) == ("refresh", Reason.IDP_HTTP_5XX, Blame.PROVIDER, Counts.AUTH)
    assert [row.outcome for row in result.steps[-2:]] == [Outcome.SKIP, Outcome.PASS]


@pytest.mark.parametrize(
    ("limit", "deadline", "delay", "reason"),
    [
        ("expect: {max_duration: 100ms}", "60s", 1, Reason.TOO_SLOW),
        ("http: {timeout: 500ms}", "60s", 30, Reason.READ_TIMEOUT),
        ("timeout: 500ms", "60s", 30, Reason.READ_TIMEOUT),
        ("name: token", "2s", 30, Reason.READ_TIMEOUT),
    ],
)
def test_slow_provider(
    idp: OidcProvider, tmp_path: Path, limit: str, deadline: str, delay: int, reason: Reason
) -> None:
    """A slow answer breaks the limit that is nearest: an expectation, a request's time-out, a step's or the flow's end."""
    idp.change(fault={"path": "/token", "delay": delay * 1000})
    result = run_text(tmp_path, flow_file(idp.issuer, f"- discover\n- {{{CLIENT}, {limit}}}", deadline=deadline))
    assert verdict(result) == ("token", reason, Blame.PROVIDER, Counts.AUTH)
    assert (result.duration < delay) is (reason is Reason.READ_TIMEOUT)


def test_discovery_by_the_other_form(idp: OidcProvider, tmp_path: Path) -> None:
    """Where OpenID Connect's document is not found, that of RFC 8414 is read."""
    idp.change(fault={"path": DISCOVERY, "status": 404})
    result = run_text(tmp_path, flow_file(idp.issuer, "- discover"))
    assert passed(result)
    assert [x.status for x in step(result, "discover").exchanges] == [404, 200]


def test_issuer_with_a_slash_too_many(idp: OidcProvider, tmp_path: Path) -> None:
    """An issuer that differs by a trailing slash is a mismatch."""
    result = run_text(tmp_path, flow_file(f"{idp.issuer}/", "- discover"))
    assert verdict(result) == ("discover", Reason.DISCOVERY_ISSUER_MISMATCH, Blame.PROVIDER, Counts.AUTH)


def test_endpoints_without_discovery(idp: OidcProvider, tmp_path: Path) -> None:
    """Endpoints that the flow file names serve in the place of a discovery document."""
    named = f"endpoints: {{token: '{idp.issuer}/token', jwks: '{idp.issuer}/jwks'}}"
    steps = dedent(f"""
        - keys
        - {{{CLIENT}}}
        - {{step: verify, audience: orders}}
    """)
    assert passed(run_text(tmp_path, flow_file(idp.issuer, steps, more=named)))


def test_the_workbench_verifies_by_the_issuer(
    idp: OidcProvider, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A token of a certified provider is good by the keys that it publishes, and not when a letter is changed."""
    form = {"grant_type": "client_credentials", "scope": "orders:read", "resource": API}
    check_workbench(idp.issuer, form, ("otelprobe", SECRET), tmp_path, capsys)
