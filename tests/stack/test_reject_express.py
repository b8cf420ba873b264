"""Bad tokens for the API that many write: Express, jsonwebtoken, a shared secret, and the raw token in `Authorization`."""

from pathlib import Path
from typing import Any

import pytest

from tests.api_by_hand import SharedByHand
from tests.matrix import APIS, compare, hold
from tests.matrix_flows import found
from tests.stack.harness.node import STACK, Told, script
from tests.stack.harness.process import session

SECRET = "express-secret-canary-of-more-than-sixty-four-bytes-so-that-HS512-may-use-it"
PASSWORD = "express-password-canary"
NOT_SENT = {"weak_secret"}
"""Judged from the token alone."""

SIGNED = ("signed_expired", "signed_without_exp", "signed_too_early", "signed_other_issuer", "signed_other_alg")


@pytest.mark.parametrize("pinned", [True, False])
def test_express(pinned: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the algorithm pinned, and left to the token as the library's own examples do."""
    monkeypatch.setenv("API_SECRET", SECRET)
    monkeypatch.setenv("PASSWORD", PASSWORD)
    config = {"secret": SECRET, "user": "ann", "password": PASSWORD, "cookie": {}, "pinned": pinned}
    file = script(STACK / "express", "server.mjs", tmp_path / "express")
    with Told("express", ["node", file], config, log=tmp_path / "express.log") as server, session() as http:
        url = str(server.told["url"])
        verdicts = found(tmp_path, None, _login(url), _reject(url), cases=(*SIGNED, "unsupported_crit", "forged_key"))
        assert {verdicts.pop(case) for case in NOT_SENT} == {"refused"}
        account = {"username": "ann", "password": PASSWORD}
        good = http.post(f"{url}/login", json={"account": account}, timeout=30).json()["token"]
        compare(verdicts, SharedByHand(f"{url}/orders", good, {}, secret=SECRET).truth)
    hold(APIS, f"Express and jsonwebtoken: {'HS256 pinned' if pinned else 'algorithm left to the token'}", verdicts)


def _login(url: str) -> dict[str, Any]:
    account = {"username": "ann", "password": {"env": "PASSWORD"}}
    return {"step": "login", "url": f"{url}/login", "json": {"account": account}, "extract": "$.token"}


def _reject(url: str) -> dict[str, Any]:
    return {
        "step": "reject",
        "url": f"{url}/orders",
        "auth": {"scheme": ""},
        "unauthorized_status": [403],
        "signing_key": {"env": "API_SECRET"},
        "cases": ["safe", "slow", "N8", "N29", "N33"],
        "max_requests": 120,
        "every": "1ms",
        "allow_intrusive": True,
        "intrusive_hosts": ["127.0.0.1"],
    }
