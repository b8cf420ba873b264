"""Keycloak as most people run it: realms with short lives, rotation on and off, a disabled client, a wrong secret."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from otelprobe.__main__ import main
from otelprobe.clock import SystemClock
from otelprobe.config.load import load
from otelprobe.http import LiveHttp
from otelprobe.plan import build
from otelprobe.reasons import Blame, Outcome, Reason
from otelprobe.result import FlowResult
from otelprobe.run import Tools, run_flow
from tests.stack.harness import keycloak as kc
from tests.stack.harness.keycloak import Keycloak

_PASSWORD_GRANT = {"grant": "password", "username": kc.USER, "password": {"env": "KEYCLOAK_PASSWORD"}}
_VERIFY = {"step": "verify", "audience": "orders", "algorithms": ["RS256"]}


@pytest.fixture(autouse=True)
def _secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEYCLOAK_SECRET", kc.SECRET)
    monkeypatch.setenv("KEYCLOAK_PASSWORD", kc.PASSWORD)


def run(
    folder: Path,
    issuer: str,
    *steps: str | Mapping[str, Any],
    client: str = "otelprobe",
    secret: str = "KEYCLOAK_SECRET",
) -> FlowResult:
    """Run one flow of these steps, behind discover and keys."""
    provider = {"preset": "keycloak", "issuer": issuer, "client_id": client, "client_secret": {"env": secret}}
    flow = {"name": "shop", "provider": "corp", "deadline": "30s", "steps": ["discover", "keys", *steps]}
    path = folder / "flow.yaml"
    path.write_text(yaml.safe_dump({"providers": {"corp": provider}, "flows": [flow]}), encoding="utf-8")
    (plan,) = build(load([path]))
    return run_flow(plan, Tools(http=LiveHttp(SystemClock())))


def verdict(result: FlowResult) -> tuple[Outcome, Reason | None, Blame | None, str | None]:
    """Give what a test compares."""
    return result.outcome, result.reason, result.blame, result.failed_step


_PASSED = (Outcome.PASS, None, None, None)


def test_client_credentials_with_an_audience_pass(keycloak: Keycloak, tmp_path: Path) -> None:
    """A secret with characters that must be form-encoded is taken, and the token's audience is the mapper's."""
    result = run(tmp_path, keycloak.issuer(), "token", _VERIFY, {"step": "introspect", "expect": {"active": True}})
    assert verdict(result) == _PASSED


def test_what_init_writes_runs(keycloak: Keycloak, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The preset is known by the issuer's path; from nothing but that to a verified token."""
    file = tmp_path / "written.yaml"
    assert main(["init", keycloak.issuer(), "--output-file", str(file)]) == 0
    monkeypatch.setenv("CLIENT_SECRET", kc.SECRET)
    plan, *_ = build(load([file]))
    assert plan.provider is not None
    assert plan.provider.preset == "keycloak"
    assert verdict(run_flow(plan, Tools(http=LiveHttp(SystemClock())))) == _PASSED


def test_a_refresh_rotates_and_the_old_one_is_refused(keycloak: Keycloak, tmp_path: Path) -> None:
    """With rotation on, a new refresh token comes and the spent one is refused."""
    refresh = {"step": "refresh", "expect": {"rotated": True, "reuse_refused": True}}
    token = {"step": "token", "scope": "openid", **_PASSWORD_GRANT}
    result = run(tmp_path, keycloak.issuer(), token, _VERIFY, refresh, client="otelprobe-password")
    assert verdict(result) == _PASSED


def test_reuse_is_found_where_rotation_is_off(keycloak: Keycloak, tmp_path: Path) -> None:
    """With rotation off, a spent refresh token works again: a finding, and the provider's."""
    refresh = {"step": "refresh", "expect": {"reuse_refused": True}}
    token = {"step": "token", "scope": "openid", **_PASSWORD_GRANT}
    result = run(tmp_path, keycloak.issuer(kc.REALM_REUSE), token, refresh, client="otelprobe-password")
    assert verdict(result) == (Outcome.FAIL, Reason.REFRESH_REUSE_ACCEPTED, Blame.PROVIDER, "refresh")


def test_a_revoked_session_is_inactive(keycloak: Keycloak, tmp_path: Path) -> None:
    """After revoke, introspection says inactive."""
    token = {"step": "token", "scope": "openid", **_PASSWORD_GRANT}
    steps = (token, "revoke", {"step": "introspect", "expect": {"active": False}})
    assert verdict(run(tmp_path, keycloak.issuer(), *steps, client="otelprobe-password")) == _PASSED


def test_a_life_too_short_is_a_failed_expectation(keycloak: Keycloak, tmp_path: Path) -> None:
    """A client whose tokens live two seconds fails an expectation of a minute."""
    token = {"step": "token", "expect": {"expires_in": ">=60"}}
    result = run(tmp_path, keycloak.issuer(), token, client="otelprobe-short")
    assert (result.outcome, result.blame, result.failed_step) == (Outcome.FAIL, Blame.PROVIDER, "token")


@pytest.mark.parametrize("client", ["otelprobe-disabled", "otelprobe-unknown"])
def test_a_client_that_may_not_is_the_operators_fault(client: str, keycloak: Keycloak, tmp_path: Path) -> None:
    """A disabled or unknown client is invalid_client, blame config: nobody at the provider is called at night."""
    result = run(tmp_path, keycloak.issuer(), "token", client=client)
    assert verdict(result) == (Outcome.FAIL, Reason.INVALID_CLIENT, Blame.CONFIG, "token")


def test_a_wrong_secret_is_the_operators_fault(
    keycloak: Keycloak, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong secret gives Keycloak's own word for it, blame config, and is told to nobody."""
    monkeypatch.setenv("WRONG_SECRET", "wrong-canary")
    result = run(tmp_path, keycloak.issuer(), "token", secret="WRONG_SECRET")
    assert (result.outcome, result.blame, result.failed_step) == (Outcome.FAIL, Blame.CONFIG, "token")
    assert result.reason in {Reason.INVALID_CLIENT, Reason.UNAUTHORIZED_CLIENT}
    assert "wrong-canary" not in repr(result)


def test_a_wrong_password_is_the_operators_fault(
    keycloak: Keycloak, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong password is invalid_grant, blame config."""
    monkeypatch.setenv("KEYCLOAK_PASSWORD", "wrong-canary")
    token = {"step": "token", **_PASSWORD_GRANT}
    result = run(tmp_path, keycloak.issuer(), token, client="otelprobe-password")
    assert verdict(result) == (Outcome.FAIL, Reason.INVALID_GRANT, Blame.CONFIG, "token")


def test_a_realm_that_is_not_there_is_the_providers(keycloak: Keycloak, tmp_path: Path) -> None:
    """A realm that was removed or renamed fails at discovery."""
    result = run(tmp_path, keycloak.issuer("gone"), "token")
    assert verdict(result) == (Outcome.FAIL, Reason.DISCOVERY_UNAVAILABLE, Blame.PROVIDER, "discover")
