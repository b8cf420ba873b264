"""The certificate step: what ends, what is not trusted and what does not fit, at endpoints and in files."""

import datetime as dt
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import ExtendedKeyUsageOID

from otelprobe.clock import SystemClock
from otelprobe.config.load import load
from otelprobe.endings import DAY
from otelprobe.fields import HttpOptions, SecretRef
from otelprobe.http import LiveHttp
from otelprobe.plan import build
from otelprobe.provider import Provider
from otelprobe.reasons import Blame, Counts, Outcome, Reason
from otelprobe.result import Fact, FlowResult
from otelprobe.run import Tools, run_flow
from otelprobe.steps.certificate import Certificate, parse_host
from tests.peers import Peer, silence, tunnel
from tests.steps.flows import Bench, last

NOW = dt.datetime.now(dt.UTC)
CANARY = "canary-p12"


@pytest.fixture(scope="module")
def root() -> trustme.CA:
    return trustme.CA(organization_name="Corp CA")


@pytest.fixture(scope="module")
def ca(root: trustme.CA) -> trustme.CA:
    return root.create_child_ca()


@pytest.fixture(scope="module")
def ca_file(root: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    root.cert_pem.write_to_path(path)
    return str(path)


def leaf(ca: trustme.CA, days: float, *names: str, begin: float = -1) -> trustme.LeafCert:
    """Issue a certificate that ends in so many days."""
    first, end = NOW + dt.timedelta(days=min(begin, days - 1)), NOW + dt.timedelta(days=days, hours=6)
    return ca.issue_cert(*(names or ("127.0.0.1",)), common_name="server", not_before=first, not_after=end)


@contextmanager
def endpoint(cert: trustme.LeafCert, **settings: object) -> Iterator[Peer]:
    """Serve TLS with a certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    cert.configure_cert(context)
    for name, value in settings.items():
        setattr(context, name, value)
    with Peer(b"", tls=context) as peer:
        yield peer


@dataclass
class Look:
    """Runs the step as one flow."""

    bench: Bench

    def at(self, peer: Peer, ca_file: str | None, **members: object) -> FlowResult:
        step = Certificate(name="certificate", host=f"127.0.0.1:{peer.port}", **members)  # type: ignore[arg-type]
        assert list(step.faults()) == []
        return self.bench.run(step, http=HttpOptions(ca_file=ca_file))

    def file(self, path: Path, **members: object) -> FlowResult:
        step = Certificate(name="mounted", file=str(path), **members)  # type: ignore[arg-type]
        assert list(step.faults()) == []
        return self.bench.run(step)


@pytest.fixture
def look(bench: Bench) -> Look:
    return Look(bench)


def pem(*certs: trustme.LeafCert) -> bytes:
    """Write the first certificate of each as one bundle."""
    return b"".join(c.cert_chain_pems[0].bytes() for c in certs)


def test_a_good_endpoint_passes_with_the_facts_of_its_whole_chain(look: Look, ca: trustme.CA, ca_file: str) -> None:
    """Count, trust, name, every subject, issuer, end and fingerprint; both the certificate's end and the chain's."""
    cert = leaf(ca, 90)
    with endpoint(cert) as peer:
        result = look.at(peer, ca_file)
        assert peer.requests == []
    assert result.passed, result.detail
    row = last(result)
    assert row.facts[Fact.CERTIFICATE_COUNT] == len(cert.cert_chain_pems)
    assert row.facts[Fact.CERTIFICATE_COUNT] == 2
    assert row.facts[Fact.CERTIFICATE_TRUSTED] is True
    assert row.facts[Fact.CERTIFICATE_NAME_MATCH] is True
    subjects = row.facts[Fact.CERTIFICATE_SUBJECTS]
    assert isinstance(subjects, tuple)
    assert "CN=server" in subjects[0]
    own = x509.load_pem_x509_certificate(cert.cert_chain_pems[0].bytes())
    fingerprints = row.facts[Fact.CERTIFICATE_SHA256]
    assert isinstance(fingerprints, tuple)
    assert fingerprints[0] == own.fingerprint(hashes.SHA256()).hex()
    ours, chain = row.expiries
    assert (ours.subject, ours.name) == ("tls", f"127.0.0.1:{peer.port}")
    assert 89 * DAY < ours.remaining < 91 * DAY
    assert chain.name == f"127.0.0.1:{peer.port} (chain)"
    assert {(e.warn_before, e.critical_before) for e in (ours, chain)} == {(30 * DAY, None)}
    assert row.warnings == ()


def test_a_certificate_that_is_sent_twice_counts_once(look: Look, ca: trustme.CA, ca_file: str) -> None:
    """A usual slip of servers, whose chain file begins with their own certificate."""
    cert = leaf(ca, 12)
    blobs = [cert.cert_chain_pems[0], *cert.cert_chain_pems]
    twice = trustme.LeafCert(cert.private_key_pem.bytes(), blobs[0].bytes(), [b.bytes() for b in blobs[1:]])
    with endpoint(twice) as peer:
        row = last(look.at(peer, ca_file))
    assert row.facts[Fact.CERTIFICATE_COUNT] == 2
    assert len(row.warnings) == 1


def test_the_handshake_is_an_exchange_with_phases_and_no_http(look: Look, ca: trustme.CA, ca_file: str) -> None:
    """Its time is told by phase; nothing after the handshake, no status."""
    with endpoint(leaf(ca, 90)) as peer:
        (exchange,) = last(look.at(peer, ca_file)).exchanges
    assert exchange.handshake
    assert (exchange.method, exchange.status, exchange.reason) == ("TLS", None, None)
    assert exchange.phases.connect is not None
    assert exchange.phases.tls is not None
    assert exchange.phases.ttfb is None
    assert exchange.tls is not None
    assert exchange.tls.protocol == "1.3"
    assert exchange.peer_port == peer.port


def test_a_certificate_that_ends_soon_is_a_warning_on_a_pass(look: Look, ca: trustme.CA, ca_file: str) -> None:
    """Below `warn_before` it is certificate_expiring, with the days that are left."""
    with endpoint(leaf(ca, 12)) as peer:
        result = look.at(peer, ca_file)
        quiet = look.at(peer, ca_file, warn_before=10 * DAY)
    assert result.passed
    (warning,) = last(result).warnings
    assert warning.reason is Reason.CERTIFICATE_EXPIRING
    assert "ends in 12 d" in warning.detail
    assert last(quiet).warnings == ()


def test_a_certificate_of_saml_is_warned_of_earlier(look: Look, ca: trustme.CA, tmp_path: Path) -> None:
    """Ninety days before its end, unless the flow file says otherwise: every partner has to take the new one first."""
    file = tmp_path / "saml.crt"
    file.write_bytes(pem(leaf(ca, 60)))
    saml, other = look.file(file, subject="saml_signing"), look.file(file)
    late = look.file(file, subject="saml_signing", warn_before=30 * DAY)
    assert [warning.reason for warning in last(saml).warnings] == [Reason.CERTIFICATE_EXPIRING]
    assert last(saml).expiries[0].warn_before == 90 * DAY
    assert last(other).warnings == last(late).warnings == ()


def test_fail_before_makes_a_near_end_a_failure(look: Look, ca: trustme.CA, ca_file: str) -> None:
    """Below `fail_before` it fails before it has ended, and the detail says by which rule."""
    with endpoint(leaf(ca, 5)) as peer:
        result = look.at(peer, ca_file, fail_before=7 * DAY)
    assert result.reason is Reason.CERTIFICATE_EXPIRED
    assert "fail_before (7 d)" in (result.detail or "")


def test_an_expired_certificate_fails_with_its_facts(look: Look, ca: trustme.CA, ca_file: str) -> None:
    """The chain is read all the same; the API is blamed, and no availability is spent by a dependency."""
    with endpoint(leaf(ca, -3)) as peer:
        result = look.at(peer, ca_file)
    assert (result.outcome, result.reason) == (Outcome.FAIL, Reason.CERTIFICATE_EXPIRED)
    assert (result.blame, result.counts) == (Blame.API, Counts.NONE)
    row = last(result)
    assert row.problems == (Reason.CERTIFICATE_EXPIRED,)
    assert row.facts[Fact.CERTIFICATE_TRUSTED] is False
    assert row.expiries[0].remaining < -2 * DAY
    assert "ended 2 d ago" in (row.detail or "") or "ended 3 d ago" in (row.detail or "")
    assert row.exchanges[0].reason is Reason.TLS_CERT_EXPIRED


def test_one_that_is_not_valid_yet(look: Look, ca: trustme.CA, ca_file: str) -> None:
    """The other end of its life is a reason of its own."""
    with endpoint(leaf(ca, 90, begin=5)) as peer:
        assert look.at(peer, ca_file).reason is not Reason.CERTIFICATE_EXPIRED
    later = ca.issue_cert("127.0.0.1", not_before=NOW + dt.timedelta(days=5), not_after=NOW + dt.timedelta(days=90))
    with endpoint(later) as peer:
        result = look.at(peer, ca_file)
        lenient = look.at(peer, None, trust="any")
    assert result.reason is lenient.reason is Reason.TLS_CERT_NOT_YET_VALID


def test_an_untrusted_issuer_fails_unless_any_is_trusted(look: Look, ca: trustme.CA, tmp_path: Path) -> None:
    """`trust: any` reads what a private CA issued; facts do not claim a trust that was not checked."""
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(other)
    with endpoint(leaf(ca, 90)) as peer:
        result = look.at(peer, str(other))
        lenient = look.at(peer, str(other), trust="any")
    assert result.reason in {Reason.TLS_UNTRUSTED_CA, Reason.TLS_SELF_SIGNED}
    assert last(result).facts[Fact.CERTIFICATE_COUNT] == 2
    assert lenient.passed
    assert Fact.CERTIFICATE_TRUSTED not in last(lenient).facts


def test_a_self_signed_certificate(look: Look, ca_file: str) -> None:
    """It is its own reason, and is read all the same."""
    with endpoint(trustme.LeafCert(*_self_signed())) as peer:
        result = look.at(peer, ca_file)
    assert result.reason is Reason.TLS_SELF_SIGNED
    assert last(result).facts[Fact.CERTIFICATE_COUNT] == 1


def _self_signed() -> tuple[bytes, bytes, list[bytes]]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "alone")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(7).not_valid_before(NOW - dt.timedelta(days=1))
    cert = builder.not_valid_after(NOW + dt.timedelta(days=90)).sign(key, hashes.SHA256())
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return secret, cert.public_bytes(serialization.Encoding.PEM), []


def test_another_name(look: Look, ca: trustme.CA, ca_file: str) -> None:
    """A certificate for another host fails, also where any issuer is trusted; an expired one says both."""
    with endpoint(leaf(ca, 90, "other.example")) as peer:
        result = look.at(peer, ca_file)
        lenient = look.at(peer, None, trust="any")
    assert result.reason is lenient.reason is Reason.TLS_HOSTNAME_MISMATCH
    assert last(result).facts[Fact.CERTIFICATE_NAME_MATCH] is False
    with endpoint(leaf(ca, -3, "other.example")) as peer:
        both = look.at(peer, ca_file)
    assert last(both).problems == (Reason.CERTIFICATE_EXPIRED, Reason.TLS_HOSTNAME_MISMATCH)


def test_the_clock_that_is_given_decides(look: Look, ca: trustme.CA, ca_file: str) -> None:
    """Ends are measured by the prober's clock, which tests can set."""
    look.bench.clock.seconds = 100 * DAY
    with endpoint(leaf(ca, 90)) as peer:
        assert look.at(peer, ca_file).reason is Reason.CERTIFICATE_EXPIRED


def test_whom_to_blame(look: Look, ca: trustme.CA, ca_file: str, tmp_path: Path) -> None:
    """The provider on its own hosts, ourselves for a client certificate, or as the flow file says."""
    with endpoint(leaf(ca, -3)) as peer:
        look.bench.provider = Provider(name="corp", issuer=f"https://127.0.0.1:{peer.port}")
        assert look.at(peer, ca_file).blame is Blame.PROVIDER
        assert look.at(peer, ca_file, owner="api").blame is Blame.API
    file = tmp_path / "tls.crt"
    file.write_bytes(pem(leaf(ca, -3)))
    assert look.file(file).blame is Blame.API
    assert look.file(file, subject="client_certificate").blame is Blame.CONFIG
    assert look.file(file, subject="saml_signing").blame is Blame.PROVIDER


@pytest.mark.parametrize(
    ("uses", "subject", "blame"),
    [
        (["CLIENT_AUTH"], "client_certificate", Blame.CONFIG),
        (["CLIENT_AUTH", "SERVER_AUTH"], "tls", Blame.API),
        ([], "tls", Blame.API),
    ],
)
def test_a_file_that_is_meant_for_clients_only(
    look: Look, tmp_path: Path, uses: list[str], subject: str, blame: Blame
) -> None:
    """What the certificate may be used for (RFC 5280) tells that it is ours, where the flow file does not say else."""
    file = tmp_path / "tls.crt"
    file.write_bytes(_for(uses))
    result = look.file(file)
    assert (result.reason, result.blame) == (Reason.CERTIFICATE_EXPIRED, blame)
    assert last(result).expiries[0].subject == subject
    assert look.file(file, subject="saml_signing").blame is Blame.PROVIDER
    assert look.file(file, owner="api").blame is Blame.API


def _for(uses: list[str]) -> bytes:
    """Make a certificate for these uses that has ended."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "probe")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(7).not_valid_before(NOW - dt.timedelta(days=9))
    builder = builder.not_valid_after(NOW - dt.timedelta(days=2))
    if uses:
        oids = [getattr(ExtendedKeyUsageOID, use) for use in uses]
        builder = builder.add_extension(x509.ExtendedKeyUsage(oids), critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


@pytest.mark.parametrize("where", ["provider", "assertion", "flow", "step"])
def test_a_file_that_the_flow_files_show_to_somebody(ca: trustme.CA, tmp_path: Path, where: str) -> None:
    """It is our own credential, wherever it is named: the expiry says so, and nobody else is blamed for its end."""
    file = tmp_path / "own.pem"
    file.write_bytes(pem(leaf(ca, -3)))
    http = f"http: {{client_cert: {file}}}"
    certified = f"client_assertion: {{key: {{env: KEY}}, certificate: {file}, certificate_header: x5c}}"
    provider = {"provider": f", {http}", "assertion": f", {certified}"}.get(where, "")
    other = "https://api.example.com/"
    (tmp_path / "flow.yaml").write_text(
        f"""
        providers:
          corp: {{issuer: https://login.example.com, client_id: probe{provider}}}
        flows:
          - name: own
            steps: [{{step: certificate, file: {file}}}]
          - name: other
            {http if where == "flow" else "deadline: 20s"}
            steps: [{{step: call, url: {other}{f", {http}" if where == "step" else ""}}}]
        """
    )
    own, _ = build(load([tmp_path / "flow.yaml"]))
    result = run_flow(own, Tools(http=LiveHttp(SystemClock())))
    assert (result.reason, result.blame) == (Reason.CERTIFICATE_EXPIRED, Blame.CONFIG)
    assert last(result).expiries[0].subject == "client_certificate"


@pytest.mark.parametrize("blamed", [None, "provider"])
def test_a_closed_port_blames_the_owner(look: Look, blamed: str | None) -> None:
    """A transport reason keeps its name; whom it blames follows the endpoint, not the layer."""
    with Peer(b"") as peer:
        pass
    result = look.at(peer, None, owner=blamed)
    assert result.reason is Reason.CONNECT_REFUSED
    assert result.blame is (Blame.PROVIDER if blamed else Blame.API)
    assert result.counts is Counts.NONE


def test_a_port_without_tls(look: Look) -> None:
    """It speaks no TLS: said so, and no certificate is made up."""
    with Peer(b"HTTP/1.1 400 Bad Request\r\n\r\n", read=False) as peer:
        result = look.at(peer, None)
    assert result.reason in {Reason.TLS_PROTOCOL_ERROR, Reason.TLS_HANDSHAKE_FAILED}
    assert last(result).expiries == ()


def test_a_peer_that_says_nothing_ends_with_the_timeout(look: Look) -> None:
    """A handshake has a total time as any request has."""
    with Peer(silence, read=False) as peer:
        step = Certificate(name="certificate", host=f"127.0.0.1:{peer.port}", http=HttpOptions(timeout=0.2))
        result = look.bench.run(step)
    assert result.reason is Reason.DEADLINE_EXCEEDED


def test_an_endpoint_that_wants_a_client_certificate_is_read(look: Look, ca: trustme.CA, ca_file: str) -> None:
    """The certificate comes before ours is asked for; none is sent to an endpoint that is not trusted."""
    with endpoint(leaf(ca, 90), verify_mode=ssl.CERT_REQUIRED) as peer:
        assert look.at(peer, ca_file).passed


@pytest.mark.parametrize(("version", "shown"), [(ssl.TLSVersion.TLSv1_2, "1.2"), (ssl.TLSVersion.TLSv1_3, "1.3")])
def test_versions_of_tls(look: Look, ca: trustme.CA, ca_file: str, version: ssl.TLSVersion, shown: str) -> None:
    """The whole chain is read by either version, which is told."""
    with endpoint(leaf(ca, 90), minimum_version=version, maximum_version=version) as peer:
        row = last(look.at(peer, ca_file))
    assert row.outcome is Outcome.PASS
    assert row.facts[Fact.CERTIFICATE_COUNT] == 2
    assert row.exchanges[0].tls is not None
    assert row.exchanges[0].tls.protocol == shown


def test_through_a_proxy(look: Look, ca: trustme.CA, ca_file: str) -> None:
    """The chain is read inside the tunnel, and also where the proxy itself speaks TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    leaf(ca, 90).configure_cert(context)
    for tls in (None, context):
        with endpoint(leaf(ca, -3)) as peer, Peer(tunnel(), tls=tls) as proxy:
            step = Certificate(name="certificate", url=f"https://127.0.0.1:{peer.port}/deep?x=1")
            result = look.bench.run(step, http=HttpOptions(ca_file=ca_file, proxy=proxy.url("")))
        assert result.reason is Reason.CERTIFICATE_EXPIRED, result.detail
        assert last(result).facts[Fact.CERTIFICATE_COUNT] == 2


def test_a_pem_bundle(look: Look, ca: trustme.CA, tmp_path: Path) -> None:
    """Every certificate in the file counts; the warning names the one that ends; keys beside them are not looked at."""
    file = tmp_path / "tls.crt"
    cert = leaf(ca, 90)
    file.write_bytes(cert.private_key_pem.bytes() + pem(cert, leaf(ca, 12)))
    row = last(look.file(file))
    assert row.outcome is Outcome.PASS
    assert row.facts[Fact.CERTIFICATE_COUNT] == 2
    assert [(e.subject, e.name) for e in row.expiries] == [("tls", "mounted"), ("tls", "mounted (chain)")]
    assert [w.reason for w in row.warnings] == [Reason.CERTIFICATE_EXPIRING]
    assert row.exchanges == ()
    file.write_bytes(pem(cert, leaf(ca, -3)))
    assert look.file(file).reason is Reason.CERTIFICATE_EXPIRED


def test_a_mounted_file_is_read_anew_in_every_run(look: Look, ca: trustme.CA, tmp_path: Path) -> None:
    """Kubernetes swaps the link `..data`: the next run sees the renewed certificate."""
    for number, days in enumerate((-3, 90)):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "tls.crt").write_bytes(pem(leaf(ca, days)))
    data, file = tmp_path / "..data", tmp_path / "tls.crt"
    data.symlink_to("0")
    file.symlink_to("..data/tls.crt")
    assert look.file(file).reason is Reason.CERTIFICATE_EXPIRED
    data.unlink()
    data.symlink_to("1")
    assert look.file(file).passed


def p12(cert: trustme.LeafCert, password: bytes | None) -> bytes:
    """Write PKCS#12."""
    key = serialization.load_pem_private_key(cert.private_key_pem.bytes(), None)
    own, *rest = (x509.load_pem_x509_certificate(b.bytes()) for b in cert.cert_chain_pems)
    kind = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return pkcs12.serialize_key_and_certificates(b"me", key, own, rest, kind)  # type: ignore[arg-type]


def test_pkcs12_and_der(look: Look, ca: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both are told by their content; PKCS#12 with a password from a secret, or with none."""
    monkeypatch.setenv("P12", CANARY)
    cert, file = leaf(ca, 12), tmp_path / "client.p12"
    for password, ref in ((CANARY.encode(), SecretRef(env="P12")), (None, None)):
        file.write_bytes(p12(cert, password))
        row = last(look.file(file, password=ref, subject="client_certificate"))
        assert row.outcome is Outcome.PASS, row.detail
        assert row.facts[Fact.CERTIFICATE_COUNT] == 2
        assert row.expiries[0].subject == "client_certificate"
    file.write_bytes(x509.load_pem_x509_certificate(pem(cert)).public_bytes(serialization.Encoding.DER))
    assert last(look.file(file)).facts[Fact.CERTIFICATE_COUNT] == 1


@pytest.mark.parametrize(
    "content", [None, b"", b"rubbish", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"]
)
def test_a_file_that_cannot_be_read_is_ours(look: Look, tmp_path: Path, content: bytes | None) -> None:
    """A missing file, or one without a certificate, is config_error: nobody's outage."""
    file = tmp_path / "tls.crt"
    if content is not None:
        file.write_bytes(content)
    result = look.file(file)
    assert (result.outcome, result.reason, result.blame) == (Outcome.ERROR, Reason.CONFIG_ERROR, Blame.CONFIG)
    assert str(file) in (result.detail or "")


def test_a_wrong_password_is_not_repeated(
    look: Look, ca: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The detail names the file, never the password; without one it says what is missing."""
    monkeypatch.setenv("P12", CANARY)
    file = tmp_path / "client.p12"
    file.write_bytes(p12(leaf(ca, 90), b"another"))
    result = look.file(file, password=SecretRef(env="P12"))
    assert result.reason is Reason.CONFIG_ERROR
    assert "password does not open it" in (result.detail or "")
    assert CANARY not in repr(result)
    assert "needs password" in (look.file(file).detail or "")
    assert look.file(file, password=SecretRef(env="NOT_SET")).reason is Reason.SECRET_MISSING


@pytest.mark.parametrize(
    ("members", "member"),
    [
        ({}, ""),
        ({"url": "https://a.example", "host": "a.example"}, ""),
        ({"url": "http://a.example"}, "url"),
        ({"url": "https://a.example/${x}"}, "url"),
        ({"host": "a.example", "password": SecretRef(env="X")}, "password"),
        ({"file": "a.pem", "trust": "any"}, "trust"),
        ({"file": "a.pem", "fail_before": 31 * DAY}, "fail_before"),
    ],
)
def test_what_does_not_fit_is_told(members: dict[str, object], member: str) -> None:
    """`validate` names the member to mend."""
    assert [m for m, _ in Certificate(**members).faults()] == [member]  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["a.example", "a.example:636", "[::1]:8443", "10.0.0.1"])
def test_hosts(text: str) -> None:
    """A name or an address, with a port or without."""
    assert parse_host(text) == text


@pytest.mark.parametrize("text", ["", "https://a", "a/b", "a:0", "a:99999", "u@a", "a b", 7, None, "[::1", "a?b"])
def test_no_hosts(text: object) -> None:
    """What is no host is refused, and not repeated."""
    with pytest.raises(ValueError, match="not a host"):
        parse_host(text)
