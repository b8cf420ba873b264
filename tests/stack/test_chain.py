"""Three services of different makes that each validate the caller's Keycloak token: A calls B, B calls C."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from otelprobe.reasons import Blame, Counts, Reason
from tests.flow_kit import flow_file, passed, run_text, step, verdict
from tests.stack import validators
from tests.stack.harness.keycloak import SECRET
from tests.stack.harness.keycloak_admin import Admin
from tests.stack.harness.ports import free_ports
from tests.stack.servers import Keycloaks

KINDS = {"a": "express-oauth2-jwt-bearer", "b": "authlib", "c": "jsonwebtoken"}
Chain = Callable[..., dict[str, validators.Service]]


def _audience(name: str, **config: str) -> dict[str, Any]:
    mapper = {"protocol": "openid-connect", "protocolMapper": "oidc-audience-mapper"}
    return {"name": name, **mapper, "config": {**config, "access.token.claim": "true"}}


@pytest.fixture(scope="module")
def issuer(keycloaks: Keycloaks) -> Iterator[str]:
    """Give the issuer of a realm whose client may call the shop and exchange its token for one of the stock only."""
    orders, stock = (
        _audience("orders", **{"included.custom.audience": "orders"}),
        _audience("stock", **{"included.client.audience": "stock"}),
    )
    prober = {
        "clientId": "otelprobe",
        "secret": SECRET,
        "serviceAccountsEnabled": True,
        "attributes": {"standard.token.exchange.enabled": "true"},
        "protocolMappers": [orders, stock],
    }
    admin = Admin(keycloaks.get())
    yield admin.make_realm("chain", clients=[prober, {"clientId": "stock", "secret": SECRET}])
    admin.close()


@pytest.fixture
def chain(issuer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Chain]:
    """Give what starts the chain, with switches for one of its services, as in `chain(b={"check_issuer": False})`."""
    monkeypatch.setenv("CLIENT_SECRET", SECRET)
    with ExitStack() as running:

        def start(**switches: dict[str, Any]) -> dict[str, validators.Service]:
            found: dict[str, validators.Service] = {}
            behind = None
            for name in ("c", "b", "a"):
                healthy = {
                    "issuer": issuer,
                    "audience": "stock" if name == "c" else "orders",
                    "jwks_url": f"{issuer}/protocol/openid-connect/certs",
                    "next_url": behind,
                }
                service = validators.start(KINDS[name], folder=tmp_path, **{**healthy, **switches.get(name, {})})
                found[name] = running.enter_context(service)
                behind = service.url
            return found

        yield start


def steps(found: dict[str, validators.Service], *names: str) -> str:
    """Write a flow that calls these services, innermost first, so that the first refusal names the one that is broken."""
    head = "- discover\n- keys\n- token\n- {step: verify, audience: [orders, stock]}"
    calls = (f"- {{step: call, name: {name}, url: '{found[name].url}'}}" for name in names)
    return "\n".join((head, *calls))


def test_a_healthy_chain(issuer: str, chain: Chain, tmp_path: Path) -> None:
    """Every service takes the token, and the answer has come all the way."""
    found = chain()
    deep = f"- {{step: call, name: whole, url: '{found['a'].url}', expect: {{json: {{$.behind.behind.status: ok}}}}}}"
    assert passed(run_text(tmp_path, flow_file(issuer, f"{steps(found, 'c', 'b', 'a')}\n{deep}")))


def test_an_exchanged_token(issuer: str, chain: Chain, tmp_path: Path) -> None:
    """A token that was narrowed for C opens C; A refuses it, and is not to blame: its audience does not fit."""
    found = chain()
    narrowed = "- {step: token, name: narrowed, grant: token_exchange, audience: stock}"
    verify = "- {step: verify, name: fits, use: narrowed, audience: stock}"
    call = f"- {{step: call, name: c, url: '{found['c'].url}', use: narrowed}}"
    flow = f"- discover\n- keys\n- token\n{narrowed}\n{verify}\n{call}"
    assert passed(run_text(tmp_path, flow_file(issuer, flow)))
    wrong = flow.replace("name: fits, use: narrowed, audience: stock", "name: fits, use: narrowed, audience: orders")
    assert verdict(run_text(tmp_path, flow_file(issuer, wrong)))[:2] == ("fits", Reason.AUDIENCE_MISMATCH)


@pytest.mark.parametrize("broken", ["a", "b", "c"])
@pytest.mark.parametrize("what", ["issuer", "audience"])
def test_one_service_is_misconfigured(issuer: str, chain: Chain, tmp_path: Path, broken: str, what: str) -> None:
    """The one that expects something else than the others is named, with the API to blame and not the provider."""
    found = chain(**{broken: {what: "https://other.example.com"}})
    result = run_text(tmp_path, flow_file(issuer, steps(found, "c", "b", "a")))
    assert verdict(result) == (broken, Reason.API_REJECTS_VALID_TOKEN, Blame.API, Counts.AUTH), result.detail
    assert [row.outcome.value for row in result.steps if row.step in "cba" and row.step < broken] == ["skip"] * (
        "abc".index(broken)
    )


@pytest.mark.parametrize("broken", ["a", "b", "c"])
def test_one_service_cannot_have_the_keys(issuer: str, chain: Chain, tmp_path: Path, broken: str) -> None:
    """Its validator is broken, not the API behind it, nor the provider; A's library calls every token invalid then."""
    (port,) = free_ports(1)
    found = chain(**{broken: {"jwks_url": f"http://127.0.0.1:{port}/jwks"}})
    result = run_text(tmp_path, flow_file(issuer, steps(found, "c", "b", "a")))
    reason = Reason.API_REJECTS_VALID_TOKEN if broken == "a" else Reason.VALIDATOR_BROKEN
    assert verdict(result) == (broken, reason, Blame.API, Counts.AUTH), result.detail


@pytest.mark.parametrize("kind", validators.KINDS)
def test_keys_from_before_a_rotation(
    keycloaks: Keycloaks, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service that keeps its first keys for ever refuses good tokens once Keycloak signs with a new one."""
    monkeypatch.setenv("CLIENT_SECRET", SECRET)
    admin = Admin(keycloaks.get())
    name = f"rotated-{kind}"
    issuer = admin.make_realm(name)
    flow = "- discover\n- keys\n- token\n- {{step: verify, audience: orders}}\n- {{step: call, url: '{url}'}}"
    jwks = f"{issuer}/protocol/openid-connect/certs"
    switches: dict[str, Any] = {"issuer": issuer, "audience": "orders", "jwks_url": jwks, "folder": tmp_path}
    with validators.start(kind, keys_for_ever=True, **switches) as stale, validators.start(kind, **switches) as fresh:
        for service in (stale, fresh):
            assert passed(run_text(tmp_path, flow_file(issuer, flow.format(url=service.url))))
        admin.add_signing_key(name)
        assert passed(run_text(tmp_path, flow_file(issuer, flow.format(url=fresh.url))))
        result = run_text(tmp_path, flow_file(issuer, flow.format(url=stale.url)))
    admin.close()
    assert verdict(result) == ("call", Reason.API_REJECTS_VALID_TOKEN, Blame.API, Counts.AUTH), result.detail
    assert step(result, "verify").outcome.value == "pass"


def test_a_service_that_is_down(issuer: str, chain: Chain, tmp_path: Path) -> None:
    """C is dead: its own call names it; where only A is called, A's 502 is an API that is not there, whoever calls."""
    found = chain()
    found["c"].kill()
    result = run_text(tmp_path, flow_file(issuer, steps(found, "c", "b", "a")))
    assert verdict(result) == ("c", Reason.CONNECT_REFUSED, Blame.API, Counts.API), result.detail
    result = run_text(tmp_path, flow_file(issuer, steps(found, "a")))
    assert verdict(result) == ("a", Reason.API_UNAVAILABLE, Blame.API, Counts.API), result.detail
