"""Machines at the certified oidc-provider: signed client authentication, certificates, bound tokens, nonces, refusals."""

import json
import time
from base64 import b64encode
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
import trustme
import yaml
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from otelprobe.clock import SystemClock
from otelprobe.config.load import load
from otelprobe.http import LiveHttp
from otelprobe.plan import build
from otelprobe.reasons import Blame, Counts, Reason
from otelprobe.result import Fact, FlowResult
from otelprobe.run import Tools, run_flow
from otelprobe.tokens import public_jwk
from tests.flow_kit import passed, step, verdict
from tests.signing_kit import jwk, pem
from tests.stack.harness.oidc_provider import Provider
from tests.stack.servers import told_in_one_line
from tests.steps.flows import ShiftedClock
from tests.token_kit import signing_key

SECRET = "stack machine secret canary of more than thirty-two bytes"
TOKEN = {"step": "token", "scope": "orders:read", "resource": ["https://api.example/orders"]}
VERIFY = {"step": "verify", "audience": "orders"}
BOUND = {**TOKEN, "expect": {"bound_to": "certificate"}}


class Machines(Provider):
    """A running provider, and the files of its clients."""

    def __init__(self, folder: Path) -> None:
        ca, self.folder = trustme.CA(), folder
        self.ca_file = str(folder / "ca.pem")
        ca.cert_pem.write_to_path(self.ca_file)
        for name in ("known", "stranger"):
            ca.issue_cert(f"{name}@example.com").private_key_and_cert_chain_pem.write_to_path(self.file(name))
        der = _self_signed(Path(self.file("self")))
        server = ca.issue_cert("127.0.0.1")
        config = {
            "tls": {
                "key": server.private_key_pem.bytes().decode(),
                "cert": server.cert_chain_pems[0].bytes().decode(),
                "ca": ca.cert_pem.bytes().decode(),
            },
            "clients": _clients(der),
        }
        super().__init__(folder, "machine.mjs", config)

    def file(self, name: str) -> str:
        """Give the file of a client's certificate with its key."""
        return str(self.folder / f"{name}.pem")


def _self_signed(path: Path) -> bytes:
    """Write a certificate that no CA has signed, with its key; give it as DER."""
    key = signing_key("ES256")
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "probe")])
    now = datetime.now(UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    cert = made.not_valid_before(now - timedelta(1)).not_valid_after(now + timedelta(1)).sign(key, SHA256())
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(private + cert.public_bytes(Encoding.PEM))
    return cert.public_bytes(Encoding.DER)


def _clients(der: bytes) -> list[dict[str, Any]]:
    key = {**public_jwk(signing_key("RS256")), "kid": "probe-1", "use": "sig"}
    own = {**public_jwk(signing_key("ES256")), "x5c": [b64encode(der).decode()]}
    return [
        {"client_id": "signer", "token_endpoint_auth_method": "private_key_jwt", "jwks": {"keys": [key]}},
        {"client_id": "secret", "token_endpoint_auth_method": "client_secret_jwt", "client_secret": SECRET},
        {"client_id": "bound", "client_secret": SECRET, "dpop_bound_access_tokens": True},
        {
            "client_id": "tls",
            "token_endpoint_auth_method": "tls_client_auth",
            "tls_client_auth_san_email": "known@example.com",
            "tls_client_certificate_bound_access_tokens": True,
        },
        {
            "client_id": "self",
            "token_endpoint_auth_method": "self_signed_tls_client_auth",
            "jwks": {"keys": [own]},
            "tls_client_certificate_bound_access_tokens": True,
        },
    ]


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    """Give the provider with its clients."""
    with told_in_one_line():
        running = Machines(tmp_path_factory.mktemp("machines"))
    yield running
    running.stop()


@pytest.fixture(autouse=True)
def _secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIENT_SECRET", SECRET)
    monkeypatch.setenv("SIGNING_KEY", pem("RS256"))


def run(
    machines: Machines,
    provider: Mapping[str, Any],
    *steps: str | Mapping[str, Any],
    cert: str | None = None,
    tools: Tools | None = None,
) -> FlowResult:
    """Run one flow of these steps, behind discover and keys."""
    http = {"ca_file": machines.ca_file, **({} if cert is None else {"client_cert": machines.file(cert)})}
    flow = {"name": "machine", "provider": "corp", "deadline": "20s", "steps": ["discover", "keys", *steps]}
    text = yaml.safe_dump(
        {"providers": {"corp": {"issuer": machines.issuer, "http": http, **provider}}, "flows": [flow]}
    )
    path = machines.folder / "flow.yaml"
    path.write_text(text, encoding="utf-8")
    (plan,) = build(load([path]))
    return run_flow(plan, tools or Tools(http=LiveHttp(SystemClock())))


SIGNER = {"client_id": "signer", "client_assertion": {"key": {"env": "SIGNING_KEY"}, "kid": "probe-1"}}


@pytest.mark.parametrize("algorithm", ["RS256", "PS256"])
@pytest.mark.parametrize("audience", ["token_endpoint", "issuer"])
def test_private_key_jwt(machines: Machines, algorithm: str, audience: str) -> None:
    """A key in place of a secret, with either audience, at the token endpoint and at introspection."""
    assertion = {**SIGNER["client_assertion"], "algorithm": algorithm, "audience": audience}  # type: ignore[dict-item]
    result = run(machines, {**SIGNER, "client_assertion": assertion}, TOKEN, VERIFY)
    assert passed(result)
    assert step(result, "token").facts[Fact.ISSUANCE_CLIENT_AUTH] == "private_key_jwt"


def test_opaque_tokens_are_introspected_with_an_assertion(machines: Machines) -> None:
    """Every request has an assertion of its own: the provider refuses one that it has seen."""
    assert passed(run(machines, SIGNER, "token", "introspect"))


def test_a_key_as_jwk(machines: Machines, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kid comes from the JWK."""
    monkeypatch.setenv("SIGNING_KEY", json.dumps(jwk("RS256", kid="probe-1")))
    provider = {"client_id": "signer", "client_assertion": {"key": {"env": "SIGNING_KEY"}}}
    assert passed(run(machines, provider, TOKEN, VERIFY))


def test_a_wrong_key(machines: Machines, monkeypatch: pytest.MonkeyPatch) -> None:
    """The provider knows another one: the configuration's fault, and no key shows."""
    monkeypatch.setenv("SIGNING_KEY", pem("RS256", 1))
    result = run(machines, SIGNER, TOKEN)
    assert verdict(result) == ("token", Reason.INVALID_CLIENT, Blame.CONFIG, Counts.NONE)
    assert "PRIVATE" not in repr(result)


def test_a_clock_that_is_off(machines: Machines) -> None:
    """An assertion from ten minutes ago is refused for its age, not for its key."""
    clock = ShiftedClock()
    clock.seconds = -600
    result = run(machines, SIGNER, TOKEN, tools=Tools(http=LiveHttp(clock), clock=clock))
    assert verdict(result)[:2] == ("token", Reason.CLOCK_SKEW), result.detail


def test_client_secret_jwt(machines: Machines) -> None:
    """The secret signs and is not sent; a wrong one is the configuration's fault."""
    provider = {"client_id": "secret", "client_auth": "client_secret_jwt", "client_secret": {"env": "CLIENT_SECRET"}}
    assert passed(run(machines, provider, TOKEN, VERIFY))


def test_a_projected_token(machines: Machines, tmp_path: Path) -> None:
    """An assertion that somebody else has signed and put into a file is taken as it is."""
    mounted = tmp_path / "token"
    provider = {"client_id": "signer", "client_assertion": {"token": {"file": str(mounted)}}}
    mounted.write_text(_assertion("signer", machines.issuer, "probe-1"))
    assert passed(run(machines, provider, TOKEN, VERIFY))
    mounted.write_text(_assertion("signer", machines.issuer, "probe-1", age=900))
    result = run(machines, provider, TOKEN)
    assert verdict(result) == ("token", Reason.CREDENTIAL_EXPIRED, Blame.CONFIG, Counts.NONE)


def _assertion(client: str, issuer: str, kid: str, age: int = 0) -> str:
    """Sign an assertion as somebody else would, who then puts it into a file."""
    now = int(time.time()) - age
    claims = {"iss": client, "sub": client, "aud": issuer, "iat": now, "exp": now + 300, "jti": str(now)}
    return jwt.encode(claims, signing_key("RS256"), algorithm="RS256", headers={"kid": kid})


@pytest.mark.parametrize(("client", "method"), [("tls", "tls_client_auth"), ("self", "self_signed_tls_client_auth")])
def test_mutual_tls(machines: Machines, client: str, method: str) -> None:
    """The certificate is the credential, shown at the alias that discovery names; the token is bound to it."""
    cert = "known" if client == "tls" else "self"
    result = run(machines, {"client_id": client, "client_auth": method}, BOUND, VERIFY, cert=cert)
    assert passed(result)
    assert str(step(result, "token").exchanges[0].port) not in machines.issuer


def test_another_certificate(machines: Machines) -> None:
    """One of the same CA for another client is refused: the configuration's fault."""
    result = run(machines, {"client_id": "tls", "client_auth": "tls_client_auth"}, TOKEN, cert="stranger")
    assert verdict(result) == ("token", Reason.INVALID_CLIENT, Blame.CONFIG, Counts.NONE)


def test_dpop_with_nonces(machines: Machines) -> None:
    """The provider wants a nonce each time: one retry at first, none while the nonce is good."""
    provider = {"client_id": "bound", "client_secret": {"env": "CLIENT_SECRET"}, "dpop": {}}
    token = {**TOKEN, "expect": {"bound_to": "dpop"}}
    tools = Tools(http=LiveHttp(SystemClock()))
    result = run(machines, provider, token, VERIFY, tools=tools)
    assert passed(result)
    assert [x.resend_count for x in step(result, "token").exchanges] == [0, 1]
    again = run(machines, provider, token, VERIFY, tools=tools)
    assert passed(again)
    assert [x.status for x in step(again, "token").exchanges] == [200]


@pytest.mark.parametrize("algorithm", ["ES256", "EdDSA"])
def test_dpop_algorithms(machines: Machines, algorithm: str) -> None:
    """Proofs are signed as the flow file says."""
    provider = {"client_id": "bound", "client_secret": {"env": "CLIENT_SECRET"}, "dpop": {"algorithm": algorithm}}
    assert passed(run(machines, provider, TOKEN, VERIFY))


def test_a_proof_is_missing(machines: Machines) -> None:
    """A client that has to bind its tokens and does not: the configuration's fault."""
    result = run(machines, {"client_id": "bound", "client_secret": {"env": "CLIENT_SECRET"}}, TOKEN)
    assert verdict(result) == ("token", Reason.INVALID_GRANT, Blame.CONFIG, Counts.NONE)


def test_an_algorithm_that_the_provider_does_not_take(machines: Machines) -> None:
    """invalid_dpop_proof: the configuration's fault."""
    provider = {"client_id": "bound", "client_secret": {"env": "CLIENT_SECRET"}, "dpop": {"algorithm": "ES384"}}
    result = run(machines, provider, TOKEN)
    assert verdict(result) == ("token", Reason.INVALID_REQUEST, Blame.CONFIG, Counts.NONE)
    assert step(result, "token").facts[Fact.ISSUANCE_OAUTH_ERROR] == "invalid_dpop_proof"
