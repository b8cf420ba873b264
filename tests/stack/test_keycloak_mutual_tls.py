"""Clients that prove by their TLS certificate who they are (RFC 8705), at a Keycloak that asks for one."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
import trustme
import yaml
from cryptography.hazmat.primitives.serialization import Encoding

from otelprobe.clock import SystemClock
from otelprobe.config.load import load
from otelprobe.http import LiveHttp
from otelprobe.plan import build
from otelprobe.reasons import Blame, Counts, Reason
from otelprobe.result import FlowResult
from otelprobe.run import Tools, run_flow
from tests.flow_kit import passed, verdict
from tests.signing_kit import certificate, pem
from tests.stack.harness import keycloak as kc
from tests.stack.harness.keycloak_admin import Admin
from tests.stack.servers import told_in_one_line

REALM = "mutual"
BOUND = {"step": "token", "scope": "openid", "expect": {"bound_to": "certificate"}}
CONFIG = Blame.CONFIG, Counts.NONE


class Mutual:
    """A Keycloak that asks for client certificates, and the files of those who call it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        authority, stranger = trustme.CA(), trustme.CA()
        server = authority.issue_cert("127.0.0.1")
        self.authority = folder / "authority.pem"
        authority.cert_pem.write_to_path(self.authority)
        server.private_key_pem.write_to_path(folder / "server-key.pem")
        server.cert_chain_pems[0].write_to_path(folder / "server.pem")
        issued = {
            "known": authority.issue_cert("probe@example.com", common_name="probe"),
            "another": authority.issue_cert("somebody@example.com", common_name="somebody"),
            "ended": authority.issue_cert(
                "probe@example.com", common_name="probe", not_after=datetime.now(UTC) - timedelta(days=1)
            ),
            "stranger": stranger.issue_cert("probe@example.com", common_name="probe"),
        }
        for name, cert in issued.items():
            cert.private_key_and_cert_chain_pem.write_to_path(self.file(name))
        tls = kc.Tls(folder / "server.pem", folder / "server-key.pem", self.authority)
        with told_in_one_line():
            self.keycloak = kc.Keycloak(folder, tls)
        admin = Admin(self.keycloak)
        admin.make_realm(REALM, clients=[_by_certificate(), _by_assertion()])
        admin.close()

    def file(self, name: str) -> Path:
        """Give the file of a certificate with its key."""
        return self.folder / f"{name}.pem"

    def run(self, provider: Mapping[str, Any], *steps: object, cert: str | None = None) -> FlowResult:
        """Run one flow of these steps, behind discover and keys."""
        files = {"ca_file": str(self.authority), **({"client_cert": str(self.file(cert))} if cert else {})}
        idp = {"issuer": f"{self.keycloak.secure_url}/realms/{REALM}", "http": files, **provider}
        flow = {"name": "mutual", "provider": "idp", "deadline": "30s", "steps": ["discover", "keys", *steps]}
        path = self.folder / "flow.yaml"
        path.write_text(yaml.safe_dump({"providers": {"idp": idp}, "flows": [flow]}), encoding="utf-8")
        (plan,) = build(load([path]))
        return run_flow(plan, Tools(http=LiveHttp(SystemClock())))


def _by_certificate() -> dict[str, Any]:
    return {
        "clientId": "tls",
        "clientAuthenticatorType": "client-x509",
        "serviceAccountsEnabled": True,
        "attributes": {
            "x509.subjectdn": ".*CN=probe.*",
            "x509.allow.regex.pattern.comparison": "true",
            "tls.client.certificate.bound.access.tokens": "true",
        },
    }


def _by_assertion() -> dict[str, Any]:
    der = certificate("RS256").public_bytes(Encoding.PEM).decode()
    return {
        "clientId": "signer",
        "clientAuthenticatorType": "client-jwt",
        "serviceAccountsEnabled": True,
        "attributes": {"jwt.credential.certificate": "".join(der.splitlines()[1:-1])},
    }


@pytest.fixture(scope="module")
def mutual(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mutual]:
    """Give the Keycloak and its clients."""
    running = Mutual(tmp_path_factory.mktemp("mutual"))
    yield running
    running.keycloak.stop()


TLS = {"client_id": "tls", "client_auth": "tls_client_auth"}


def test_a_known_certificate(mutual: Mutual) -> None:
    """It is the credential; the token is bound to it (`cnf` with `x5t#S256`), and opens userinfo with it."""
    assert passed(mutual.run(TLS, BOUND, "verify", "userinfo", cert="known"))


def test_another_certificate(mutual: Mutual) -> None:
    """One of the same authority for somebody else is refused: the configuration's fault."""
    assert verdict(mutual.run(TLS, BOUND, cert="another")) == ("token", Reason.INVALID_CLIENT, *CONFIG)


@pytest.mark.parametrize("name", ["ended", "stranger"])
def test_a_certificate_that_cannot_be_trusted(mutual: Mutual, name: str) -> None:
    """One that has ended, or of an unknown authority, is refused in the handshake of the first request."""
    assert verdict(mutual.run(TLS, BOUND, cert=name)) == ("discover", Reason.CLIENT_CERT_REJECTED, *CONFIG)


def test_no_certificate(mutual: Mutual) -> None:
    """A client that shows none where one is its credential is refused: the configuration's fault."""
    result = mutual.run({"client_id": "tls", "client_auth": "none"}, "token")
    assert verdict(result) == ("token", Reason.INVALID_CLIENT, *CONFIG), result.detail


@pytest.mark.parametrize("how", ["x5t#S256", "x5t", "x5c"])
def test_an_assertion_by_certificate(mutual: Mutual, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, how: str) -> None:
    """Keycloak knows the client by its certificate alone, and takes an assertion that names it in any way."""
    file = tmp_path / "certificate.pem"
    file.write_bytes(certificate("RS256").public_bytes(Encoding.PEM))
    monkeypatch.setenv("SIGNING_KEY", pem("RS256"))
    assertion = {"key": {"env": "SIGNING_KEY"}, "certificate": str(file), "certificate_header": how}
    assert passed(mutual.run({"client_id": "signer", "client_assertion": assertion}, "token", "verify"))


def test_a_bound_token_without_its_certificate(mutual: Mutual) -> None:
    """Userinfo refuses it, to the step and to the test's own request, and takes it with the certificate."""
    url = f"{mutual.keycloak.secure_url}/realms/{REALM}/protocol/openid-connect"
    files = {"ca_file": str(mutual.authority), "client_cert": str(mutual.file("known"))}
    step = {"step": "reject", "url": f"{url}/userinfo", "cases": ["no_certificate"], "http": files}
    row = mutual.run(TLS, BOUND, step, cert="known").steps[-1]
    assert [(case.accepted, case.status) for case in row.cases] == [(False, 401)], row.detail
    with requests.Session() as http:
        http.trust_env, http.verify = False, str(mutual.authority)
        known = str(mutual.file("known"))
        form = {"grant_type": "client_credentials", "client_id": "tls", "scope": "openid"}
        access = http.post(f"{url}/token", form, cert=known, timeout=30).json()["access_token"]
        bearer = {"Authorization": f"Bearer {access}"}
        assert http.get(f"{url}/userinfo", headers=bearer, cert=known, timeout=30).status_code == 200
    with requests.Session() as http:
        http.trust_env, http.verify = False, str(mutual.authority)
        assert http.get(f"{url}/userinfo", headers=bearer, timeout=30).status_code == 401
