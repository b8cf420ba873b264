"""TLS through the door: what the handshake shows, and which of its failures is which."""

import datetime as dt
import ipaddress
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from otelprobe.http import Redirects
from otelprobe.reasons import Reason
from otelprobe.transport import trust
from tests.peers import Door, Peer, answer, clean_environment, reset, silence

NOW = dt.datetime.now(dt.UTC)


@pytest.fixture(autouse=True)
def _environment() -> Iterator[None]:
    with clean_environment():
        yield


@pytest.fixture
def door() -> Door:
    return Door()


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA(organization_name="Test, Trust")


@pytest.fixture(scope="module")
def ca_file(ca: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    ca.cert_pem.write_to_path(path)
    return str(path)


@pytest.fixture(scope="module")
def good(ca: trustme.CA) -> trustme.LeafCert:
    return ca.issue_cert("127.0.0.1", "localhost", "::1", common_name="server", organization_name="Shop")


def serving(cert: trustme.LeafCert, **settings: object) -> ssl.SSLContext:
    """Make a server's context."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    cert.configure_cert(context)
    for name, value in settings.items():
        setattr(context, name, value)
    return context


def test_facts_of_a_good_handshake(door: Door, good: trustme.LeafCert, ca_file: str):
    """The exchange tells protocol, cipher, issuer, subject and validity of the certificate, and the tls phase."""
    with Peer(answer(), tls=serving(good)) as peer:
        door.send(peer.url(), ca_file=ca_file)
    (told,) = door.exchanges
    assert told.tls is not None
    assert told.tls.protocol == "1.3"
    assert told.tls.cipher.startswith("TLS_")
    assert told.tls.subject is not None
    assert told.tls.subject.startswith("CN=server,")
    assert told.tls.issuer is not None
    assert "O=Test\\, Trust" in told.tls.issuer
    assert told.tls.not_before is not None
    assert told.tls.not_after is not None
    assert told.tls.not_before < time.time() < told.tls.not_after
    assert told.phases.tls is not None


@pytest.mark.parametrize(("version", "shown"), [(ssl.TLSVersion.TLSv1_2, "1.2"), (ssl.TLSVersion.TLSv1_3, "1.3")])
def test_protocol_versions(door: Door, good: trustme.LeafCert, ca_file: str, version: ssl.TLSVersion, shown: str):
    """TLS 1.2 and 1.3 are spoken."""
    with Peer(answer(), tls=serving(good, maximum_version=version)) as peer:
        reply = door.send(peer.url(), ca_file=ca_file)
    assert reply.exchange.tls is not None
    assert reply.exchange.tls.protocol == shown


def test_name_is_sent_and_checked(door: Door, good: trustme.LeafCert, ca_file: str):
    """The host name goes into SNI and is compared with the certificate."""
    names: list[str | None] = []
    context = serving(good, sni_callback=lambda _, name, __: names.append(name))
    with Peer(answer(), tls=context) as peer:
        door.send(peer.url(host="localhost"), ca_file=ca_file)
    assert names == ["localhost"]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_hostname_mismatch(door: Door, ca: trustme.CA, ca_file: str, host: str):
    """A certificate for another name or address is tls_hostname_mismatch."""
    with Peer(answer(), tls=serving(ca.issue_cert("other.example"))) as peer:
        door.fails(peer.url(host=host), Reason.TLS_HOSTNAME_MISMATCH, ca_file=ca_file)


@pytest.mark.parametrize(
    ("days", "reason"), [((-9, -2), Reason.TLS_CERT_EXPIRED), ((2, 9), Reason.TLS_CERT_NOT_YET_VALID)]
)
def test_dates(door: Door, ca: trustme.CA, ca_file: str, days: tuple[int, int], reason: Reason):
    """A certificate outside its validity says so, and its facts are told all the same."""
    first, last = (NOW + dt.timedelta(days=d) for d in days)
    cert = ca.issue_cert("127.0.0.1", common_name="old", not_before=first, not_after=last)
    with Peer(answer(), tls=serving(cert)) as peer:
        failed = door.fails(peer.url(), reason, ca_file=ca_file)
        (told,) = door.exchanges
    assert f"127.0.0.1:{peer.port}" in failed.detail
    assert told.tls is not None
    assert told.tls.not_after == pytest.approx(last.timestamp(), abs=1)
    assert told.tls.not_before == pytest.approx(first.timestamp(), abs=1)
    assert told.tls.subject is not None
    assert "CN=old" in told.tls.subject
    assert peer.requests == []


def test_untrusted(door: Door, good: trustme.LeafCert):
    """A chain to a CA that nobody here trusts is tls_untrusted_ca."""
    with Peer(answer(), tls=serving(good)) as peer:
        door.fails(peer.url(), Reason.TLS_UNTRUSTED_CA)


def test_missing_intermediate(door: Door, ca: trustme.CA, ca_file: str):
    """A chain whose intermediate is not sent is tls_untrusted_ca."""
    leaf = ca.create_child_ca().issue_cert("127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with leaf.private_key_and_cert_chain_pem.tempfile() as chain, leaf.cert_chain_pems[0].tempfile() as alone:
        context.load_cert_chain(alone, chain)
    with Peer(answer(), tls=context) as peer:
        door.fails(peer.url(), Reason.TLS_UNTRUSTED_CA, ca_file=ca_file)


def test_self_signed(door: Door, tmp_path: Path):
    """A self-signed certificate is told apart, and passes when it is given as the CA."""
    cert, key = self_signed(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    with Peer(answer(), tls=context) as peer:
        door.fails(peer.url(), Reason.TLS_SELF_SIGNED)
        assert door.send(peer.url(), ca_file=str(cert)).status == 200


def self_signed(folder: Path) -> tuple[Path, Path]:
    """Make a self-signed certificate for 127.0.0.1."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "alone")])
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(NOW - dt.timedelta(days=1)).not_valid_after(NOW + dt.timedelta(days=1))
    cert = builder.add_extension(names, critical=False).sign(key, hashes.SHA256())
    (folder / "cert.pem").write_bytes(cert.public_bytes(serialization.Encoding.PEM))
    form, bare = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (folder / "key.pem").write_bytes(key.private_bytes(serialization.Encoding.PEM, form, bare))
    return folder / "cert.pem", folder / "key.pem"


# --- handshakes that break


def test_plain_http_behind_https(door: Door):
    """A port that answers a TLS greeting in plain HTTP is tls_protocol_error."""
    with Peer(b"HTTP/1.1 400 Bad Request\r\n\r\n", read=False) as peer:
        door.fails(f"https://127.0.0.1:{peer.port}/", Reason.TLS_PROTOCOL_ERROR)


def test_no_common_version(door: Door, good: trustme.LeafCert, ca_file: str):
    """A server that offers nothing above TLS 1.1 is tls_protocol_error."""
    context = serving(good)
    with pytest.warns(DeprecationWarning, match="TLSv1 "):
        context.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.warns(DeprecationWarning, match="TLSv1_1 "):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with Peer(answer(), tls=context) as peer:
        door.fails(peer.url(), Reason.TLS_PROTOCOL_ERROR, ca_file=ca_file)


def test_no_common_cipher(door: Door, good: trustme.LeafCert, ca_file: str):
    """A handshake that breaks before a cipher was agreed is tls_handshake_failed, not a question of certificates."""
    context = serving(good, maximum_version=ssl.TLSVersion.TLSv1_2)
    context.set_ciphers("PSK-AES128-CBC-SHA256")
    with Peer(answer(), tls=context) as peer:
        door.fails(peer.url(), Reason.TLS_HANDSHAKE_FAILED, ca_file=ca_file)


def test_close_in_the_handshake(door: Door):
    """A peer that hangs up in the handshake is tls_handshake_failed."""

    def leave(_: Peer, connection: socket.socket, __: bytes) -> None:
        connection.recv(65536)

    with Peer(leave, read=False) as peer:
        door.fails(f"https://127.0.0.1:{peer.port}/", Reason.TLS_HANDSHAKE_FAILED)


def test_reset_in_the_handshake(door: Door):
    """A peer that cuts the connection in the handshake is connection_reset."""

    def cut(_: Peer, connection: socket.socket, __: bytes) -> None:
        connection.recv(65536)
        reset(connection)

    with Peer(cut, read=False) as peer:
        door.fails(f"https://127.0.0.1:{peer.port}/", Reason.CONNECTION_RESET)


def test_silence_in_the_handshake(door: Door):
    """A handshake that is not done in time is deadline_exceeded, and its time shows in the tls phase."""
    with Peer(silence, read=False) as peer:
        start = time.monotonic()
        door.fails(f"https://127.0.0.1:{peer.port}/", Reason.DEADLINE_EXCEEDED, timeout=0.3)
        assert time.monotonic() - start < 4
    phases = door.exchanges[0].phases
    assert phases.tls is not None
    assert phases.tls >= 0.25


def test_trickled_body_over_tls(door: Door, good: trustme.LeafCert, ca_file: str):
    """The total deadline holds over TLS too."""

    def slowly(peer: Peer, connection: socket.socket, _: bytes) -> None:
        connection.sendall(answer(b"x" * 1000)[:-900])
        while not peer.done.wait(0.05):
            connection.sendall(b"x")

    with Peer(slowly, tls=serving(good)) as peer:
        start = time.monotonic()
        door.fails(peer.url(), Reason.DEADLINE_EXCEEDED, ca_file=ca_file, timeout=0.4)
        assert time.monotonic() - start < 4


def test_upload_that_is_taken_in_drops(door: Door, good: trustme.LeafCert, ca_file: str):
    """A peer that takes a request in drops gains no time by that, over TLS too."""

    def sip(peer: Peer, connection: socket.socket, _: bytes) -> None:
        while connection.recv(65536) and not peer.done.wait(0.02):
            pass

    with Peer(sip, tls=serving(good), read=False) as peer:
        start = time.monotonic()
        door.fails(
            peer.url(), Reason.DEADLINE_EXCEEDED, ca_file=ca_file, timeout=0.4, method="POST", body=b"x" * 32_000_000
        )
        assert time.monotonic() - start < 4


@pytest.mark.parametrize("redirects", [Redirects.SAME_ORIGIN, Redirects.FOLLOW])
def test_no_downgrade(door: Door, good: trustme.LeafCert, ca_file: str, redirects: Redirects):
    """A redirect from https to plain http is never followed, not even on loopback or where insecure_http allows it."""
    with Peer(answer()) as plain, Peer(answer(b"", "302 F", f"Location: {plain.url()}"), tls=serving(good)) as peer:
        door.fails(peer.url(), Reason.REDIRECT_UNEXPECTED, ca_file=ca_file, redirects=redirects, insecure_http=True)
    assert plain.connections == 0


# --- client certificates


@pytest.fixture(scope="module")
def client_files(ca: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str, str]:
    """Give a certificate, its key, and both in one file."""
    folder, cert = tmp_path_factory.mktemp("client"), ca.issue_cert("client@example.com")
    cert.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    cert.private_key_pem.write_to_path(folder / "key.pem")
    cert.private_key_and_cert_chain_pem.write_to_path(folder / "both.pem")
    return str(folder / "cert.pem"), str(folder / "key.pem"), str(folder / "both.pem")


VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


def asking(good: trustme.LeafCert, ca: trustme.CA, version: ssl.TLSVersion) -> ssl.SSLContext:
    """Make the context of a server that demands a client certificate of `ca`."""
    context = serving(good, maximum_version=version, verify_mode=ssl.CERT_REQUIRED)
    ca.configure_trust(context)
    return context


@pytest.mark.parametrize("version", VERSIONS)
def test_client_certificate(door: Door, good, ca, ca_file: str, client_files, version: ssl.TLSVersion):
    """A client certificate is shown, from two files or from one."""
    cert, key, both = client_files
    with Peer(answer(), tls=asking(good, ca, version)) as peer:
        assert door.send(peer.url(), ca_file=ca_file, client_cert=cert, client_key=key).status == 200
        assert door.send(peer.url(), ca_file=ca_file, client_cert=both).status == 200


@pytest.mark.parametrize("body", [None, b"x" * 3_000_000], ids=["no body", "large body"])
@pytest.mark.parametrize("version", VERSIONS)
def test_client_certificate_missing(door: Door, good, ca, ca_file: str, version: ssl.TLSVersion, body: bytes | None):
    """A server that misses a client certificate is client_cert_rejected, also where TLS 1.3 says so only at the end."""
    with Peer(answer(), tls=asking(good, ca, version)) as peer:
        door.fails(
            peer.url(), Reason.CLIENT_CERT_REJECTED, ca_file=ca_file, method="POST" if body else "GET", body=body
        )


@pytest.mark.parametrize("version", VERSIONS)
def test_client_certificate_of_another_ca(door: Door, good, ca, ca_file: str, tmp_path: Path, version):
    """A server that does not trust the client certificate is client_cert_rejected."""
    trustme.CA().issue_cert("client@example.com").private_key_and_cert_chain_pem.write_to_path(tmp_path / "c.pem")
    with Peer(answer(), tls=asking(good, ca, version)) as peer:
        door.fails(peer.url(), Reason.CLIENT_CERT_REJECTED, ca_file=ca_file, client_cert=str(tmp_path / "c.pem"))


# --- files


def test_ca_directory(door: Door, good: trustme.LeafCert, ca: trustme.CA, tmp_path: Path):
    """A directory of plain .crt files, as mounts give it, is trusted."""
    ca.cert_pem.write_to_path(tmp_path / "corp.crt")
    with Peer(answer(), tls=serving(good)) as peer:
        assert door.send(peer.url(), ca_file=str(tmp_path)).status == 200


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"])
def test_ca_of_the_environment(door: Door, good, ca_file: str, name: str, monkeypatch: pytest.MonkeyPatch):
    """The environment's CA file holds where the flow file names none, and the flow file's wins."""
    monkeypatch.setenv(name, ca_file)
    with Peer(answer(), tls=serving(good)) as peer:
        assert door.send(peer.url()).status == 200
        monkeypatch.setenv(name, "/nowhere/ca.pem")
        assert door.send(peer.url(), ca_file=ca_file).status == 200
        failed = door.fails(peer.url(), Reason.CONFIG_ERROR)
    assert failed.detail == f"{name} /nowhere/ca.pem: No such file or directory"


def test_unusable_files(door: Door, ca_file: str, client_files, tmp_path: Path):
    """A file that cannot be used is a config_error that names it and shows nothing of it."""
    (tmp_path / "empty.pem").write_text("canary")
    empty, url = str(tmp_path / "empty.pem"), "https://127.0.0.1:9/"
    cert, _, __ = client_files
    for options, named in (
        ({"ca_file": "/nowhere/ca.pem"}, "ca_file /nowhere/ca.pem: No such file"),
        ({"ca_file": empty}, f"ca_file {empty}: holds no PEM certificate"),
        ({"ca_file": ca_file, "client_cert": "/nowhere/c.pem"}, "client_cert /nowhere/c.pem: No such file"),
        ({"ca_file": ca_file, "client_cert": cert}, f"client_cert {cert}: no PEM certificate with its key"),
        ({"ca_file": ca_file, "client_cert": cert, "client_key": empty}, f"with client_key {empty}: no PEM"),
    ):
        failed = door.fails(url, Reason.CONFIG_ERROR, **options)
        assert named in failed.detail
        assert "canary" not in failed.detail
    assert door.exchanges == []


def test_encrypted_key_does_not_ask_at_the_terminal(door: Door, ca_file: str, client_files, tmp_path: Path):
    """An encrypted key is a config_error; nobody is asked for a password."""
    plain = serialization.load_pem_private_key(Path(client_files[1]).read_bytes(), None)
    locked = plain.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"pw")
    )
    (tmp_path / "key.pem").write_bytes(locked)
    options = {"ca_file": ca_file, "client_cert": client_files[0], "client_key": str(tmp_path / "key.pem")}
    assert "encrypted" in door.fails("https://127.0.0.1:9/", Reason.CONFIG_ERROR, **options).detail


def test_context_is_kept_until_a_file_changes(door: Door, good, ca: trustme.CA, tmp_path: Path):
    """A rotated CA file is picked up by the next request; an unchanged one costs no second parsing."""
    path = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(path)
    options = trust.HttpOptions(ca_file=str(path))
    assert trust.context_for(options) is trust.context_for(options)
    with Peer(answer(), tls=serving(good)) as peer:
        door.fails(peer.url(), Reason.TLS_UNTRUSTED_CA, ca_file=str(path))
        path.unlink()
        path.write_bytes(ca.cert_pem.bytes() + b"\n")
        assert door.send(peer.url(), ca_file=str(path)).status == 200


def test_old_protocols_are_never_offered(ca_file: str):
    """No context offers less than TLS 1.2, and every one checks certificate and name."""
    context = trust.context_for(trust.HttpOptions(ca_file=ca_file))
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
