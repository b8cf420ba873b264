"""Bad requests to the providers on Python: what the step says of each is what the provider does with the test's own."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import test_nanoidp as nano
from tests import test_nanoidp_login as nano_login
from tests import test_pytest_iam as canaille
from tests.matrix import PROVIDERS, compare, hold
from tests.matrix_flows import found
from tests.person_by_hand import CODES, PersonByHand
from tests.provider_by_hand import ByHand

SECRET = {"client_id": "otelprobe", "client_secret": {"env": "CLIENT_SECRET"}}
REJECT: dict[str, Any] = {"step": "reject_at_provider", "cases": ["safe", "slow"], "max_requests": 40, "every": "1ms"}
URI = "http://127.0.0.1:9/cb"


@pytest.fixture(scope="module")
def iam(tmp_path_factory: pytest.TempPathFactory) -> Iterator[canaille.Iam]:
    """Give pytest-iam's server (Canaille)."""
    running = canaille.Iam(tmp_path_factory.mktemp("iam"))
    yield running
    running.stop()


def test_canaille(iam: canaille.Iam, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Grants, scopes, authentication, introspection, revocation, and refresh tokens used twice."""
    monkeypatch.setenv("CLIENT_SECRET", canaille.SECRET)
    monkeypatch.setenv("PASSWORD", canaille.PASSWORD)
    user = {"grant": "password", "username": "ann", "password": {"env": "PASSWORD"}, "scope": "openid"}
    verdicts = found(tmp_path, {"issuer": iam.issuer, **SECRET}, {"step": "token", **user}, REJECT)
    asked = {"grant_type": "password", "username": "ann", "password": canaille.PASSWORD, "scope": "openid"}
    compare(verdicts, ByHand(iam.issuer, "otelprobe", canaille.SECRET, asked).truth)
    hold(PROVIDERS, "On Python: Canaille", verdicts)


def test_nanoidp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The weak profile, which takes much."""
    monkeypatch.setenv("CLIENT_SECRET", nano.SECRET)
    idp = nano.Nanoidp(tmp_path / "idp", "dev").wait()
    try:
        step = {**REJECT, "redirect_uri": URI}
        token = {"step": "token", "scope": "orders.read"}
        verdicts = found(tmp_path, {"issuer": idp.issuer, **SECRET}, token, step)
        asked = {"grant_type": "client_credentials", "scope": "orders.read"}
        compare(verdicts, ByHand(idp.issuer, "otelprobe", nano.SECRET, asked, URI).truth)
    finally:
        idp.stop()
    hold(PROVIDERS, "On Python: nanoidp, weak", verdicts)


def test_nanoidp_strict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The profile of OAuth 2.1, with people who log in."""
    monkeypatch.setenv("CLIENT_SECRET", nano.SECRET)
    monkeypatch.setenv("PASSWORD", nano.PASSWORD)
    idp = nano_login.with_pages(tmp_path / "idp", "oauth21").wait()
    uri, ann = nano_login.CALLBACK, {"username": "ann", "password": {"env": "PASSWORD"}}
    try:
        logins = [{"step": "authorize", "name": f"login{n}", "redirect_uri": uri, **ann} for n in range(5)]
        token = {"step": "token", "grant": "authorization_code", "use": "login4"}
        step = {**REJECT, "redirect_uri": uri, "codes": [f"login{n}" for n in range(4)]}
        verdicts = found(tmp_path, {"issuer": idp.issuer, **SECRET}, *logins, token, step, cases=CODES)
        user = ("ann", nano.PASSWORD)
        compare(verdicts, PersonByHand(idp.issuer, "otelprobe", nano.SECRET, redirect=uri, user=user).truth)
    finally:
        idp.stop()
    hold(PROVIDERS, "On Python: nanoidp, strict", verdicts)
