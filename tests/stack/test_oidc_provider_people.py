"""People at the certified oidc-provider: its own pages for log-in and consent, pushed requests, ID tokens, devices."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from otelprobe.reasons import Blame, Counts, Reason
from otelprobe.result import Fact
from tests.flow_kit import flow_file, passed, run_text, step, verdict
from tests.stack.harness.oidc_provider import Provider
from tests.stack.servers import told_in_one_line

SECRET = "stack people secret canary of more than thirty-two bytes"
PASSWORD = "stack-person-canary"
CALLBACK = "https://app.example.com/cb"
CODE = "{step: token, grant: authorization_code}"
PERSON = "username: ann, password: {env: PASSWORD}"
AUTHORIZE = f"step: authorize, redirect_uri: '{CALLBACK}', {PERSON}"


@pytest.fixture(scope="module")
def _running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    """Run a provider with pages; every password is good there."""
    config = {"client": {"id": "webapp", "secret": SECRET}, "redirect": CALLBACK}
    with told_in_one_line():
        provider = Provider(tmp_path_factory.mktemp("people"), "people.mjs", config)
    yield provider
    provider.stop()


@pytest.fixture
def idp(_running: Provider, monkeypatch: pytest.MonkeyPatch) -> Provider:
    """Give the provider, and the secrets of its client and user in the environment."""
    monkeypatch.setenv("CLIENT_SECRET", SECRET)
    monkeypatch.setenv("PASSWORD", PASSWORD)
    return _running


def test_a_whole_log_in(idp: Provider, tmp_path: Path) -> None:
    """Log-in and consent are two forms; the code becomes tokens for an API, and all of them are verified."""
    steps = f"""
        - discover
        - keys
        - {{{AUTHORIZE}, scope: openid orders:read offline_access, prompt: consent, resource: [https://api.example/orders]}}
        - {{step: token, grant: authorization_code, resource: [https://api.example/orders], expect: {{scope: any}}}}
        - {{step: id_token, algorithms: [ES256]}}
        - {{step: verify, audience: orders, typ: at+jwt}}
        - refresh
        - {{step: id_token, name: refreshed}}
    """
    result = run_text(tmp_path, flow_file(idp.issuer, steps, client="webapp"))
    assert passed(result)
    assert step(result, "authorize").facts[Fact.LOGIN_FORMS] == 2
    text = repr(result)
    for secret in (SECRET, PASSWORD):
        assert secret not in text


def test_the_age_of_the_log_in(idp: Provider, tmp_path: Path) -> None:
    """`max_age` brings `auth_time`, which is compared."""
    steps = f"- discover\n- keys\n- {{{AUTHORIZE}, max_age: 1m}}\n- {CODE}\n- {{step: id_token, require: [auth_time]}}"
    assert passed(run_text(tmp_path, flow_file(idp.issuer, steps, client="webapp")))


def test_an_id_token_by_the_clients_secret(idp: Provider, tmp_path: Path) -> None:
    """HS256 is verified with the client's secret where it is listed, and refused where it is not."""
    steps = f"- discover\n- keys\n- {{{AUTHORIZE}}}\n- {CODE}\n- {{step: id_token, algorithms: [HS256]}}"
    assert passed(run_text(tmp_path, flow_file(idp.issuer, steps, client="webapp-secret")))
    steps = f"- discover\n- keys\n- {{{AUTHORIZE}}}\n- {CODE}\n- id_token"
    result = run_text(tmp_path, flow_file(idp.issuer, steps, client="webapp-secret"))
    assert verdict(result) == ("id_token", Reason.ALG_NOT_ALLOWED, Blame.PROVIDER, Counts.AUTH)


@pytest.mark.parametrize("mode", ["query", "fragment", "form_post"])
def test_response_modes(idp: Provider, tmp_path: Path, mode: str) -> None:
    """The answer is read from the query, behind the `#`, or out of a form that a script would send on."""
    steps = f"- discover\n- keys\n- {{{AUTHORIZE}, response_mode: {mode}}}\n- {CODE}\n- id_token"
    assert passed(run_text(tmp_path, flow_file(idp.issuer, steps, client="webapp")))


def test_pushed_requests(idp: Provider, tmp_path: Path) -> None:
    """A client that has to push its parameters (RFC 9126) passes if it does, and is refused by redirect if not."""
    steps = f"- discover\n- keys\n- {{{AUTHORIZE}, par: true}}\n- {CODE}\n- id_token"
    result = run_text(tmp_path, flow_file(idp.issuer, steps, client="webapp-pushed"))
    assert passed(result)
    assert step(result, "authorize").exchanges[0].status == 201
    result = run_text(tmp_path, flow_file(idp.issuer, f"- discover\n- {{{AUTHORIZE}}}", client="webapp-pushed"))
    assert verdict(result) == ("authorize", Reason.INVALID_REQUEST, Blame.CONFIG, Counts.NONE)


def test_liveness_without_a_log_in(idp: Provider, tmp_path: Path) -> None:
    """`prompt: none` without a session comes back with login_required: expected, a pass; else the configuration's fault."""
    silent = f"step: authorize, redirect_uri: '{CALLBACK}', prompt: none"
    alive = f"- discover\n- {{{silent}, expect: {{error: login_required}}}}"
    result = run_text(tmp_path, flow_file(idp.issuer, alive, client="webapp"))
    assert passed(result)
    assert step(result, "authorize").facts[Fact.LOGIN_FORMS] == 0
    result = run_text(tmp_path, flow_file(idp.issuer, f"- discover\n- {{{silent}}}", client="webapp"))
    assert verdict(result) == ("authorize", Reason.LOGIN_REQUIRED, Blame.CONFIG, Counts.NONE)


@pytest.mark.parametrize(
    ("members", "client", "reason"),
    [
        (AUTHORIZE.replace("/cb", "/other"), "webapp", Reason.INVALID_REQUEST),
        (AUTHORIZE, "unknown", Reason.INVALID_REQUEST),
        (f"{AUTHORIZE}, pkce: none", "webapp", Reason.INVALID_REQUEST),
        (f"{AUTHORIZE}, prompt: none login", "webapp", Reason.INVALID_REQUEST),
    ],
)
def test_requests_that_are_refused(idp: Provider, tmp_path: Path, members: str, client: str, reason: Reason) -> None:
    """By a page where the redirect URI is not to be trusted, else by redirect: in every case the configuration's fault."""
    result = run_text(tmp_path, flow_file(idp.issuer, f"- discover\n- {{{members}}}", client=client))
    assert verdict(result) == ("authorize", reason, Blame.CONFIG, Counts.NONE), result.detail


def test_a_scope_that_is_dropped(idp: Provider, tmp_path: Path) -> None:
    """What was asked for at `authorize` and is not granted is noticed at `token`."""
    steps = f"- discover\n- {{{AUTHORIZE}, scope: openid nonsense}}\n- {CODE}"
    result = run_text(tmp_path, flow_file(idp.issuer, steps, client="webapp"))
    assert verdict(result) == ("token", Reason.SCOPE_REDUCED, Blame.PROVIDER, Counts.AUTH)


def test_a_code_is_good_once(idp: Provider, tmp_path: Path) -> None:
    """The second exchange of a code is refused, and blames the provider that issued it."""
    steps = f"- discover\n- {{{AUTHORIZE}}}\n- {CODE}\n- {{step: token, name: again, grant: authorization_code}}"
    result = run_text(tmp_path, flow_file(idp.issuer, steps, client="webapp"))
    assert verdict(result) == ("again", Reason.INVALID_GRANT, Blame.PROVIDER, Counts.AUTH)


def test_a_page_that_nobody_can_fill_in(idp: Provider, tmp_path: Path) -> None:
    """Without a user the log-in form is met and named."""
    steps = f"- discover\n- {{step: authorize, redirect_uri: '{CALLBACK}'}}"
    result = run_text(tmp_path, flow_file(idp.issuer, steps, client="webapp"))
    assert verdict(result) == ("authorize", Reason.LOGIN_REQUIRED, Blame.CONFIG, Counts.NONE)


def test_rules_for_its_pages(idp: Provider, tmp_path: Path) -> None:
    """The same pages, by rules."""
    rules = "[{submit: Continue}, {fields: {login: ann, password: {env: PASSWORD}}, submit: Sign-in}]"
    steps = f"""
        - discover
        - keys
        - {{step: authorize, redirect_uri: "{CALLBACK}", forms: {rules}}}
        - {CODE}
        - id_token
    """
    assert passed(run_text(tmp_path, flow_file(idp.issuer, steps, client="webapp")))


def test_a_device_that_waits_and_one_that_is_let_in(idp: Provider, tmp_path: Path) -> None:
    """Pending is healthy; somebody who logs in on its pages, confirms the code and consents, gets the device its token."""
    steps = f"""
        - discover
        - keys
        - {{step: device, name: waiting, scope: openid}}
        - {{step: device, scope: openid, complete: true, {PERSON}}}
        - {{step: token, grant: device_code}}
        - id_token
        - userinfo
    """
    result = run_text(tmp_path, flow_file(idp.issuer, steps, client="webapp"))
    assert passed(result)
    forms = step(result, "device").facts[Fact.LOGIN_FORMS]
    assert isinstance(forms, int)
    assert forms >= 3
