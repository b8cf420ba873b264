"""A certificate authority for one demo: a good server certificate and an expired one, gone when the demo stops."""

import ipaddress
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_DAY = timedelta(days=1)
_GOOD = 90 * _DAY
"""How long a good certificate lasts: longer than anybody wants to be warned of."""


class Authority:
    """Issues certificates for one host. EC keys, since they are made in a millisecond."""

    def __init__(self, host: str, folder: Path) -> None:
        self._host, self._folder = host, folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "otelprobe demo CA")])
        now = datetime.now(UTC)
        self._certificate = self._sign(self._name, self._key.public_key(), now, now + 2 * _GOOD, authority=True)
        self.file = folder / "ca.pem"
        self.file.write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))

    def server_context(self, *, expired: bool = False) -> ssl.SSLContext:
        """Give a server's TLS context with a new certificate; the key's file is removed at once."""
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC)
        start, end = (now - 2 * _DAY, now - _DAY) if expired else (now, now + _GOOD)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "otelprobe demo")])
        certificate = self._sign(name, key.public_key(), start, end, authority=False)
        pem = certificate.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        path = self._folder / "server.pem"
        path.touch(mode=0o600)
        path.write_bytes(pem)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(path)
        path.unlink()
        return context

    def client_context(self) -> ssl.SSLContext:
        """Give a client's TLS context that trusts this authority alone."""
        return ssl.create_default_context(cafile=str(self.file))

    def _sign(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, start: datetime, end: datetime, *, authority: bool
    ) -> x509.Certificate:
        issuer_key = self._key.public_key()
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(start - timedelta(hours=1))
            .not_valid_after(end)
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False)
            .add_extension(_key_usage(authority=authority), critical=True)
        )
        if not authority:
            names = [x509.DNSName("localhost"), _host_name(self._host)]
            usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
            builder = builder.add_extension(usage, critical=False)
        return builder.sign(self._key, hashes.SHA256())


def _host_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _key_usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )
