"""Keys and sessions over time on Keycloak: rotation with and without an overlap, told right; posture of a default realm."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from otelprobe.reasons import Blame, Counts, Reason
from otelprobe.result import Fact, FlowResult
from tests.flow_kit import ResourceServer, flow_file, passed, run_text, step, verdict
from tests.stack.harness.keycloak import SECRET, Keycloak
from tests.stack.harness.keycloak_admin import Admin
from tests.stack.servers import keycloak, keycloaks  # noqa: F401 - fixtures

STEPS = "- discover\n- keys\n- token\n- {step: verify, audience: orders}"


@pytest.fixture(autouse=True)
def _secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the flow files their secrets."""
    monkeypatch.setenv("CLIENT_SECRET", SECRET)


@pytest.fixture
def admin(keycloak: Keycloak) -> Iterator[Admin]:
    """Give the provider's administrator."""
    admin = Admin(keycloak)
    yield admin
    admin.close()


def run(tmp_path: Path, issuer: str, url: str) -> FlowResult:
    """Run the flow with a retained step, with memory on disk only."""
    steps = f"{STEPS}\n- {{step: retained, url: '{url}', always: true}}"
    return run_text(tmp_path, flow_file(issuer, steps, deadline="60s"), state=tmp_path / "state")


def test_sessions_survive_a_rotation_with_an_overlap(admin: Admin, tmp_path: Path) -> None:
    """While the old key stays published, a token of before the rotation verifies and is taken, beside one of the new key."""
    issuer = admin.make_realm("overlapping", accessTokenLifespan=600)
    with ResourceServer(issuer, "orders") as api:
        assert passed(run(tmp_path, issuer, api.url))
        new = admin.add_signing_key("overlapping")
        result = run(tmp_path, issuer, api.url)
    assert passed(result)
    assert [(c.change, c.kid) for c in step(result, "keys").key_changes] == [("added", new)]
    assert step(result, "retained").facts[Fact.RETAINED_SESSIONS] == "both"


def test_sessions_are_cut_off_by_a_rotation_without_an_overlap(admin: Admin, tmp_path: Path) -> None:
    """A key that is deleted as its successor comes cuts old sessions off, while new log-ins work; the provider is blamed."""
    issuer = admin.make_realm("cutting", accessTokenLifespan=600)
    with ResourceServer(issuer, "orders") as api:
        assert passed(run(tmp_path, issuer, api.url))
        old = admin.signing_kid("cutting")
        admin.add_signing_key("cutting")
        admin.delete_key("cutting", old)
        result = run(tmp_path, issuer, api.url)
    assert verdict(result) == ("retained", Reason.KID_WITHDRAWN_EARLY, Blame.PROVIDER, Counts.AUTH)
    assert step(result, "retained").facts[Fact.RETAINED_SESSIONS] == "new_only"
    assert ("withdrawn_early", old) in {(c.change, c.kid) for c in step(result, "keys").key_changes}


def test_log_ins_fail_at_an_api_with_stale_keys_while_old_sessions_live(admin: Admin, tmp_path: Path) -> None:
    """The reverse: an API that never fetches keys again takes the old token and refuses the new one."""
    issuer = admin.make_realm("staying", accessTokenLifespan=600)
    with ResourceServer(issuer, "orders", caches=True) as api:
        assert passed(run(tmp_path, issuer, f"{api.url}"))
        steps = f"{STEPS}\n- {{step: call, url: '{api.url}'}}"
        assert passed(run_text(tmp_path, flow_file(issuer, steps, deadline="60s")))
        admin.add_signing_key("staying")
        result = run(tmp_path, issuer, api.url)
    assert verdict(result) == ("retained", Reason.API_REJECTS_VALID_TOKEN, Blame.API, Counts.AUTH)
    assert step(result, "retained").facts[Fact.RETAINED_SESSIONS] == "old_only"


def test_posture_and_drift_of_a_realm(admin: Admin, tmp_path: Path) -> None:
    """A default realm's known weaknesses are found; a changed lifetime is drift, told once, and fails nothing."""
    issuer = admin.make_realm("drifting", accessTokenLifespan=300)
    text = flow_file(issuer, f"{STEPS}\n- posture", deadline="60s").replace("    steps:", "    drift: {}\n    steps:")
    result = run_text(tmp_path, text, state=tmp_path / "state")
    assert passed(result)
    found = {finding.rule for finding in step(result, "posture").findings}
    assert found >= {"pkce-plain", "request-object-unsigned", "grant-implicit", "alg-symmetric-advertised"}
    admin.change_realm("drifting", accessTokenLifespan=900)
    changed, again = (run_text(tmp_path, text, state=tmp_path / "state") for _ in range(2))
    assert [(c.subject.value, c.detail) for c in step(changed, "token").drift] == [
        ("lifetimes", "access was 300 s, is 900 s")
    ]
    assert passed(changed)
    assert step(again, "token").drift == ()
