"""Services behind real validators, by cases: what the step says of each cell is what the service really does."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization

from otelprobe.clock import SystemClock
from otelprobe.credentials import Auth
from otelprobe.fields import SecretRef
from otelprobe.step import Done, StepFailed
from otelprobe.steps.reject import Reject
from otelprobe.tokens import parse, sign
from tests.conftest import Server
from tests.matrix import APIS, cells, hold
from tests.stack import validators
from tests.stack.harness.node import STACK, Told, script
from tests.stack.harness.process import session
from tests.stack.test_validators import BAD, ask, jwks, start, token
from tests.token_kit import World, jwk, signing_key

__all__ = ["jwks"]

TRUTH: dict[str, str] = {
    "forged_key": "another key's",
    "signed_other_issuer": "another issuer's",
    "signed_other_audience": "for another audience",
    "signed_expired": "expired",
    "alg_none": "unsigned",
    "confusion_pem": "with the public key as the secret",
    "garbage": "garbage",
}
"""The step's word to the test's own bad token of that kind."""

SIGNED_WITHOUT_EXP, SIGNED_TOO_EARLY = "signed_without_exp", "signed_too_early"
CONFIGURED: dict[str, dict[str, bool]] = {
    "right": {},
    "issuer unchecked": {"check_issuer": False},
    "audience unchecked": {"check_audience": False},
    "expiry unchecked": {"check_expiry": False},
    "algorithm not pinned": {"pin_algorithm": False},
}
CELLS = [
    (kind, how)
    for kind in validators.KINDS
    for how, switches in CONFIGURED.items()
    if not set(switches) & validators.CANNOT.get(kind, frozenset())
]


def offered(reject: Reject, world: World, access: str, *published: dict[str, Any]) -> dict[str, str]:
    """Run the step; give its verdicts. Nothing else may go wrong."""
    ctx = world.context(*([world.key_set(*published)] if published else []), world.tokens(access))
    try:
        done: Done = reject.run(ctx)
    except StepFailed as failed:
        done = failed.done
    assert {c.case for c in done.cases} >= {c for c in reject.cases if c in TRUTH or c == SIGNED_WITHOUT_EXP}
    return cells(done.cases)


def accepted(verdicts: Mapping[str, str]) -> set[str]:
    """Give the cases that were accepted."""
    return {case for case, verdict in verdicts.items() if verdict == "accepted"}


def too_early() -> str:
    """Sign a token that is not yet valid."""
    return token(nbf=int(time.time()) + 3600, exp=int(time.time()) + 7200)


def without_exp() -> str:
    """Sign a token that never ends."""
    claims = {name: value for name, value in parse(token()).claims.items() if name != "exp"}
    return sign(claims, signing_key("RS256"), "RS256", {"kid": "k0"})


@pytest.mark.parametrize(("kind", "how"), CELLS)
def test_a_cell(kind: str, how: str, jwks: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every verdict equals what the service answers to the test's own token of that kind; all spellings agree with it."""
    pem = signing_key("RS256").private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    monkeypatch.setenv("SIGNING", pem.decode())
    with start(kind, jwks, tmp_path, **CONFIGURED[how]) as service:
        truth = {word for word, name in TRUTH.items() if ask(service, BAD[name]()) == 200}
        truth |= {SIGNED_TOO_EARLY} if ask(service, too_early()) == 200 else set()
        truth |= {SIGNED_WITHOUT_EXP} if ask(service, without_exp()) == 200 else set()
        reject = Reject(
            name="reject",
            url=service.url,
            cases=(*TRUTH, SIGNED_WITHOUT_EXP, "tampered", "flipped_signature", SIGNED_TOO_EARLY, "unknown_kid"),
            max_requests=99,
            signing_key=SecretRef(env="SIGNING"),
        )
        world = World(service.url)
        world.clock.now = time.time()
        world.state.save("reject-orders-reject", {"slow_at": 0})
        verdicts = offered(reject, world, token(), jwk("RS256", kid="k0", use="sig", alg="RS256"))
        found = accepted(verdicts)
        unpinned = {"alg_none", "confusion_pem"} & truth
        assert found - ({"tampered", "flipped_signature", "unknown_kid"} if unpinned else set()) == truth
    # By hand were asked: these.
    asked = {*TRUTH, SIGNED_TOO_EARLY, SIGNED_WITHOUT_EXP}
    hold(APIS, f"{kind}: {how}", {case: verdict for case, verdict in verdicts.items() if case in asked})


@pytest.mark.parametrize("pinned", [True, False])
def test_express_with_jsonwebtoken(pinned: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """jsonwebtoken takes a token without end and ignores `crit`; left to itself also HS512 for HS256: just that is found."""
    secret = "express-secret-canary-of-more-than-sixty-four-bytes-so-that-HS512-may-use-it"
    monkeypatch.setenv("API_SECRET", secret)
    config = {"secret": secret, "user": "ann", "password": "express-password-canary", "cookie": {}, "pinned": pinned}
    file = script(STACK / "express", "server.mjs", tmp_path / "express")
    with Told("express", ["node", file], config, log=tmp_path / "express.log") as server, session() as http:
        url = str(server.told["url"])
        account = {"username": "ann", "password": "express-password-canary"}
        access = http.post(f"{url}/login", json={"account": account}, timeout=30).json()["token"]
        reject = Reject(
            name="reject",
            url=f"{url}/orders",
            auth=Auth(scheme=""),
            cases=("safe",),
            max_requests=99,
            signing_key=SecretRef(env="API_SECRET"),
            unauthorized_status=(403,),
        )
        world = World(url)
        world.clock.now = SystemClock().time_ns() / 1e9
        expected = {SIGNED_WITHOUT_EXP, "unsupported_crit", *([] if pinned else ["signed_other_alg"])}
        assert accepted(offered(reject, world, access)) == expected
