"""Clients that are known by their certificate (RFC 8705): what is sent, where to, and what a token is bound to."""

import json
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs

import pytest
import trustme

from otelprobe.fields import HttpOptions
from otelprobe.provider import Provider
from otelprobe.reasons import Blame, Counts, Outcome, Reason
from otelprobe.result import Fact
from otelprobe.steps.call import Call
from otelprobe.steps.discover import Discover
from otelprobe.steps.token import Token, TokenExpect
from otelprobe.tokens import generate_key, sign
from tests.conftest import Answer
from tests.peers import Peer, answer
from tests.signing_kit import digest
from tests.steps.flows import Bench, last, token_answer

_CA = trustme.CA()


class Files:
    """A client certificate on disk, and the thumbprint that a token is bound to."""

    def __init__(self, folder: Path, name: str) -> None:
        made = _CA.issue_cert(f"{name}@example.com")
        pem = made.cert_chain_pems[0].bytes()
        self.thumbprint = digest(ssl.PEM_cert_to_DER_cert(pem.decode()))
        self.cert = str(folder / f"{name}.pem")
        made.private_key_and_cert_chain_pem.write_to_path(self.cert)


@pytest.fixture
def client(tmp_path: Path) -> Files:
    """Give the client's certificate."""
    return Files(tmp_path, "client")


@pytest.fixture
def ca_file(tmp_path: Path) -> str:
    """Give the file of the CA that everybody here trusts."""
    _CA.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    return str(tmp_path / "ca.pem")


@contextmanager
def asking_for_certificates(respond: Callable[[str], Mapping[str, object]]) -> Iterator[Peer]:
    """Run a server that demands a certificate of the CA; `respond` gives JSON for the request line."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _CA.issue_cert("127.0.0.1").configure_cert(context)
    _CA.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED

    def handle(peer: Peer, connection: socket.socket, asked: bytes) -> None:
        connection.sendall(answer(json.dumps(respond(asked.split(b" ")[1].decode())).encode()))

    with Peer(handle, tls=context) as running:
        yield running


def with_certificate(bench: Bench, method: str, client: Files, ca_file: str, url: str) -> None:
    """Make the bench's client one that is known by its certificate."""
    bench.provider = Provider(
        name="corp",
        issuer=url,
        client_id="c",
        client_auth=method,  # type: ignore[arg-type]  # one of two words
        endpoints={"token": f"{url}/token"},
        http=HttpOptions(client_cert=client.cert, ca_file=ca_file),
    )


def token(cnf: object) -> dict[str, object]:
    """Make a token response whose token is bound."""
    access = sign({"cnf": cnf} if cnf is not None else {}, generate_key("HS256"), "HS256")
    return {"access_token": access, "token_type": "Bearer", "expires_in": 300}


@pytest.mark.parametrize("method", ["tls_client_auth", "self_signed_tls_client_auth"])
def test_a_client_is_known_by_its_certificate(bench: Bench, client: Files, ca_file: str, method: str) -> None:
    """Its id is sent with the certificate and no secret; the token has to be bound to that certificate."""
    expect = TokenExpect(bound_to="certificate")
    with asking_for_certificates(lambda _: token({"x5t#S256": client.thumbprint})) as peer:
        with_certificate(bench, method, client, ca_file, peer.url("").rstrip("/"))
        result = bench.run(Token(name="token", expect=expect))
        assert result.passed, result.detail
        assert parse_qs(peer.body().decode()) == {"grant_type": ["client_credentials"], "client_id": ["c"]}
        assert "authorization" not in peer.headers()
    assert last(result).facts[Fact.ISSUANCE_CLIENT_AUTH] == method


@pytest.mark.parametrize(
    ("cnf", "reason"),
    [
        ({"x5t#S256": "canary"}, Reason.CLAIM_MISMATCH),
        ({"x5t#S256": 1}, Reason.CLAIM_MISSING),
        ({}, Reason.CLAIM_MISSING),
        (None, Reason.CLAIM_MISSING),
        ("text", Reason.CLAIM_MISSING),
    ],
)
def test_a_token_that_is_bound_otherwise_fails(
    bench: Bench, client: Files, ca_file: str, cnf: object, reason: Reason
) -> None:
    """Bound to a stranger's certificate, or to none where the flow file wants it: the provider's fault."""
    with asking_for_certificates(lambda _: token(cnf)) as peer:
        with_certificate(bench, "tls_client_auth", client, ca_file, peer.url("").rstrip("/"))
        result = bench.run(Token(name="token", expect=TokenExpect(bound_to="certificate")))
    assert (result.reason, result.blame, result.counts) == (reason, Blame.PROVIDER, Counts.AUTH), result.detail
    assert "canary" not in repr(result)


def test_a_token_bound_to_a_certificate_that_nobody_showed(bench: Bench) -> None:
    """Without a client certificate there is none that it could be bound to."""
    bench.server.on("/token", token_answer(**token({"x5t#S256": "somebody"})))
    assert bench.run(Token(name="token")).reason is Reason.CLAIM_MISMATCH


def test_without_a_certificate_the_server_hangs_up(bench: Bench, client: Files, ca_file: str) -> None:
    """A rotated CA or a certificate of another one is refused in the handshake: client_cert_rejected."""
    with asking_for_certificates(lambda _: token(None)) as peer:
        with_certificate(bench, "tls_client_auth", client, ca_file, peer.url("").rstrip("/"))
        bench.provider = replace(bench.provider, http=HttpOptions(ca_file=ca_file))
        assert bench.run(Token(name="token")).reason is Reason.CLIENT_CERT_REJECTED


def test_a_certificate_file_that_is_none_is_ours_to_mend(bench: Bench, tmp_path: Path) -> None:
    """config_error names the file; it is read for the thumbprint at each use."""
    bench.server.on("/token", token_answer(**token({"x5t#S256": "x"})))
    for text in ("canary", None):
        path = tmp_path / "cert.pem"
        path.unlink(missing_ok=True)
        if text is not None:
            path.write_text(text)
        bench.provider = replace(bench.provider, http=HttpOptions(client_cert=str(path)))
        result = bench.run(Token(name="token"))
        assert (result.outcome, result.reason, result.blame) == (Outcome.ERROR, Reason.CONFIG_ERROR, Blame.CONFIG)
        assert str(path) in str(result.detail)
        assert "canary" not in str(result.detail)


def document(url: str, **more: object) -> dict[str, object]:
    """Write a discovery document of the RFC 8414 form."""
    paths = {"token_endpoint": f"{url}/token", "jwks_uri": f"{url}/jwks", "response_types_supported": []}
    return {"issuer": url, **paths, **more}


def test_the_aliases_of_discovery_are_asked_by_who_shows_a_certificate(
    bench: Bench, client: Files, ca_file: str
) -> None:
    """RFC 8705, section 5: another host for mutual TLS; everybody else asks the usual one."""

    def respond(path: str) -> Mapping[str, object]:
        if path.startswith("/.well-known"):
            return document(url, mtls_endpoint_aliases={"token_endpoint": f"{url}/mtls/token"})
        return token({"x5t#S256": client.thumbprint})

    with asking_for_certificates(respond) as peer:
        url = peer.url("").rstrip("/")
        with_certificate(bench, "tls_client_auth", client, ca_file, url)
        bench.provider = replace(bench.provider, endpoints={}, discovery="oauth")
        result = bench.run(Discover(name="discover"), Token(name="token"))
        assert result.passed, result.detail
        assert peer.line().startswith("POST /mtls/token ")


@pytest.mark.parametrize("alias", ["http://login.example.com/token", "ftp://x"])
def test_an_alias_that_cannot_be_asked_fails_discovery(bench: Bench, client: Files, ca_file: str, alias: str) -> None:
    """As with every endpoint: plain http or no URL at all is the provider's fault, told where it is read."""
    with asking_for_certificates(lambda _: document(url, mtls_endpoint_aliases={"token_endpoint": alias})) as peer:
        url = peer.url("").rstrip("/")
        with_certificate(bench, "tls_client_auth", client, ca_file, url)
        bench.provider = replace(bench.provider, discovery="oauth")
        assert bench.run(Discover(name="discover")).reason is Reason.DISCOVERY_INVALID


def test_a_bound_token_without_its_certificate_is_our_mistake(bench: Bench, client: Files) -> None:
    """The API is right to refuse it: blame config, with the mend. With the certificate the API is asked why."""
    access = token({"x5t#S256": client.thumbprint})
    bench.provider = replace(bench.provider, http=HttpOptions(client_cert=client.cert))
    bench.server.on("/token", token_answer(**access))
    bench.server.on("/api", Answer(401, b"", [("WWW-Authenticate", 'Bearer error="invalid_token"')]))
    url = f"{bench.server.url}/api"
    result = bench.run(Token(name="token"), Call(name="call", url=url))
    assert (result.reason, result.blame, result.counts) == (Reason.API_REJECTS_VALID_TOKEN, Blame.CONFIG, Counts.NONE)
    assert "set http: {client_cert: ...}" in str(result.detail)
    shown = Call(name="call", url=url, http=HttpOptions(client_cert=client.cert))
    assert bench.run(Token(name="token"), shown).blame is Blame.API
