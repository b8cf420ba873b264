"""Log-in on the pages of nanoidp, which nobody here wrote: code flow, second factor, device, on a weak and a strict profile."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from otelprobe.reasons import Blame, Counts, Reason
from otelprobe.result import Fact
from tests.flow_kit import ResourceServer, flow_file, passed, run_text, step, verdict
from tests.test_nanoidp import PASSWORD, SECRET, SETTINGS, USERS, Nanoidp

CALLBACK = "https://app.example.com/cb"
TOTP = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
CLIENT = "{client_id: otelprobe, client_secret: %s, allowed_scopes: [openid, orders.read], redirect_uris: ['%s']}"
AUTHORIZE = f"step: authorize, redirect_uri: '{CALLBACK}', username: ann, password: {{env: PASSWORD}}"
BOB = AUTHORIZE.replace("ann", "bob")
CODE = "{step: token, grant: authorization_code}"


def with_pages(directory: Path, profile: str) -> Nanoidp:
    """Start one whose client may send people to log in, and with a user bob who has a second factor.

    The weak profile asks for user name and password on pages of their own.
    """
    lines = [line for line in SETTINGS.splitlines() if "client_id: otelprobe" not in line]
    lines.insert(lines.index("  clients:") + 1, f"    - {CLIENT % (SECRET, CALLBACK)}")
    login = f"login: {{totp: true, two_step: {str(profile == 'dev').lower()}}}"
    users = f"{USERS}  bob: {{password: {PASSWORD}, email: bob@example.org, totp_secret: {TOTP}}}\n"
    return Nanoidp(directory, profile, "\n".join([*lines, login]), users)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Nanoidp]]:
    """Give both profiles; they start side by side."""
    base = tmp_path_factory.mktemp("nanoidp-login")
    providers = {profile: with_pages(base / profile, profile) for profile in ("dev", "oauth21")}
    yield providers
    for provider in providers.values():
        provider.stop()


@pytest.fixture(params=["dev", "oauth21"])
def idp(request: pytest.FixtureRequest, running: dict[str, Nanoidp]) -> Nanoidp:
    found = running[request.param]
    found.wait()
    return found


@pytest.fixture
def strict(running: dict[str, Nanoidp]) -> Nanoidp:
    running["oauth21"].wait()
    return running["oauth21"]


@pytest.fixture(autouse=True)
def _secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIENT_SECRET", SECRET)
    monkeypatch.setenv("PASSWORD", PASSWORD)
    monkeypatch.setenv("TOTP", TOTP)


def test_a_log_in_ends_at_the_api(idp: Nanoidp, strict: Nanoidp, tmp_path: Path) -> None:
    """From the log-in form to a call with a token that the API has verified itself, and a refresh after it."""
    with ResourceServer(idp.issuer, "orders", scope="orders.read") as api:
        steps = f"""
            - discover
            - keys
            - {{{AUTHORIZE}, scope: openid orders.read}}
            - {CODE}
            - id_token
            - {{step: verify, audience: orders}}
            - {{step: call, url: "{api.url}"}}
            - refresh
        """
        result = run_text(tmp_path, flow_file(idp.issuer, steps))
    assert passed(result)
    assert step(result, "authorize").facts[Fact.LOGIN_FORMS] == (1 if idp is strict else 2)
    for secret in (SECRET, PASSWORD):
        assert secret not in repr(result)


def test_a_second_factor_by_time(strict: Nanoidp, tmp_path: Path) -> None:
    """The code is computed from the secret; without the secret the page is known for what it is."""
    steps = f"- discover\n- keys\n- {{{BOB}, totp: {{env: TOTP}}}}\n- {CODE}\n- id_token"
    result = run_text(tmp_path, flow_file(strict.issuer, steps))
    assert passed(result)
    assert step(result, "authorize").facts[Fact.LOGIN_FORMS] == 2
    result = run_text(tmp_path, flow_file(strict.issuer, f"- discover\n- {{{BOB}}}"))
    assert verdict(result) == ("authorize", Reason.MFA_CHALLENGE, Blame.CONFIG, Counts.NONE)


def test_a_wrong_second_factor(strict: Nanoidp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page for the code comes again."""
    monkeypatch.setenv("TOTP", "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ")
    result = run_text(tmp_path, flow_file(strict.issuer, f"- discover\n- {{{BOB}, totp: {{env: TOTP}}}}"))
    assert verdict(result) == ("authorize", Reason.LOGIN_REJECTED, Blame.CONFIG, Counts.NONE)


def test_a_wrong_password(idp: Nanoidp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log-in form comes again; the configuration is to blame, and the password shows nowhere."""
    monkeypatch.setenv("PASSWORD", "wrong-canary")
    result = run_text(tmp_path, flow_file(idp.issuer, f"- discover\n- {{{AUTHORIZE}}}"))
    assert verdict(result) == ("authorize", Reason.LOGIN_REJECTED, Blame.CONFIG, Counts.NONE)
    assert "wrong-canary" not in repr(result)


def test_a_redirect_uri_that_is_not_registered(strict: Nanoidp, tmp_path: Path) -> None:
    """The provider does not redirect, so that client and redirect URI are named."""
    wrong = AUTHORIZE.replace("/cb", "/cb2")
    result = run_text(tmp_path, flow_file(strict.issuer, f"- discover\n- {{{wrong}}}"))
    assert verdict(result) == ("authorize", Reason.INVALID_REQUEST, Blame.CONFIG, Counts.NONE)


def test_a_device_that_waits_and_one_that_is_let_in(idp: Nanoidp, tmp_path: Path) -> None:
    """Pending is healthy; a person who logs in on the page gets the device its token."""
    person = "complete: true, username: ann, password: {env: PASSWORD}"
    steps = f"""
        - discover
        - {{step: device, name: waiting, scope: openid}}
        - {{step: device, scope: openid, {person}}}
        - {{step: token, grant: device_code}}
        - userinfo
    """
    assert passed(run_text(tmp_path, flow_file(idp.issuer, steps)))


def test_a_device_page_that_refuses(strict: Nanoidp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong password at the device page is no pending log-in."""
    monkeypatch.setenv("PASSWORD", "wrong-canary")
    person = "complete: true, username: ann, password: {env: PASSWORD}"
    result = run_text(tmp_path, flow_file(strict.issuer, f"- discover\n- {{step: device, scope: openid, {person}}}"))
    assert verdict(result) == ("device", Reason.LOGIN_REJECTED, Blame.CONFIG, Counts.NONE)
