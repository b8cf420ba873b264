"""A token that is bound to a client certificate, at APIs that look at the certificate and at one that does not (RFC 8705)."""

import socket
import ssl
from base64 import urlsafe_b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import trustme

from otelprobe.fields import HttpOptions
from otelprobe.reasons import Reason
from otelprobe.step import Context, StepFailed
from otelprobe.steps.reject import Reject
from tests.peers import Peer, answer
from tests.signing_kit import digest
from tests.token_kit import World, token

_CA = trustme.CA()


@contextmanager
def api(thumbprint: str, *, looks: bool) -> Iterator[Peer]:
    """Run an API that takes a certificate if one is shown; one that `looks` wants that of the token."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _CA.issue_cert("127.0.0.1").configure_cert(context)
    _CA.configure_trust(context)
    context.verify_mode = ssl.CERT_OPTIONAL

    def handle(_: Peer, connection: socket.socket, asked: bytes) -> None:
        assert isinstance(connection, ssl.SSLSocket)
        shown = connection.getpeercert(binary_form=True)
        good = not looks or (shown is not None and digest(shown) == thumbprint)
        bearer = asked.partition(b"Bearer ")[2].split(b"\r\n")[0]
        bound = bearer.count(b".") == 2 and thumbprint in urlsafe_b64decode(bearer.split(b".")[1] + b"==").decode()
        connection.sendall(answer(b"{}") if good and bound else b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n")

    with Peer(handle, tls=context) as running:
        yield running


def bound(folder: Path, thumbprint: str, cert: Path) -> Context:
    """Give a run a token that is bound to its certificate."""
    _CA.cert_pem.write_to_path(str(folder / "ca.pem"))
    world = World("https://127.0.0.1")
    ctx = world.context(world.tokens(token(cnf={"x5t#S256": thumbprint})))
    return replace(ctx, options=HttpOptions(client_cert=str(cert), ca_file=str(folder / "ca.pem"), timeout=5.0))


@pytest.mark.parametrize("looks", [True, False])
def test_a_bound_token_without_its_certificate(tmp_path: Path, looks: bool) -> None:
    """An API that looks at the certificate refuses it; one that does not is found. The good token passes at both."""
    made, cert = _CA.issue_cert("client@example.com"), tmp_path / "client.pem"
    made.private_key_and_cert_chain_pem.write_to_path(str(cert))
    thumbprint = digest(ssl.PEM_cert_to_DER_cert(made.cert_chain_pems[0].bytes().decode()))
    with api(thumbprint, looks=looks) as peer:
        reject = Reject(name="reject", url=peer.url("/orders"), cases=("no_certificate",))
        ctx = bound(tmp_path, thumbprint, cert)
        if looks:
            done = reject.run(ctx)
        else:
            with pytest.raises(StepFailed) as caught:
                reject.run(ctx)
            done = caught.value.done
            assert caught.value.reason is Reason.REJECTION_ACCEPTED
    assert [(c.case, c.accepted, c.status) for c in done.cases] == [
        ("no_certificate", not looks, 401 if looks else 200)
    ]
