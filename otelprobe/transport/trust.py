"""Whom a TLS connection trusts and what its handshake showed.

A context costs 10 ms and more (it parses a whole CA bundle), so one is kept for each set of files and made anew when a
file changes: certificates are rotated under a running prober.
"""

import os
import ssl
import threading
from collections.abc import Iterable
from pathlib import Path

from requests.utils import DEFAULT_CA_BUNDLE_PATH

from otelprobe.fields import HttpOptions
from otelprobe.reasons import CheckFailed, Reason
from otelprobe.result import TlsFacts
from otelprobe.transport.route import CA_VARIABLES

_Stamp = tuple[int, int, int]
_Files = tuple[str, str | None, str | None]

_kept: dict[_Files, tuple[tuple[_Stamp | None, ...], ssl.SSLContext]] = {}
_lock = threading.Lock()


def context_for(options: HttpOptions, *, with_client_cert: bool = True) -> ssl.SSLContext:
    """Give the context for a host's options; CheckFailed(config_error) names a file that cannot be used."""
    ca, source = _ca_file(options.ca_file)
    cert = options.client_cert if with_client_cert else None
    key = options.client_key if cert else None
    stamps = (_stamp(ca, source), _stamp(cert, "client_cert"), _stamp(key, "client_key"))
    files = (ca, cert, key)
    with _lock:
        kept = _kept.get(files)
        if kept is None or kept[0] != stamps:
            kept = _kept[files] = (stamps, _make(ca, source, cert, key))
    return kept[1]


def unverified_context() -> ssl.SSLContext:
    """Make a context that accepts any certificate: only to read why one was refused, nothing is sent through it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _ca_file(configured: str | None) -> tuple[str, str]:
    """Give the CA file or directory in force and what named it."""
    if configured:
        return configured, "ca_file"
    for name in CA_VARIABLES:
        if value := os.environ.get(name):
            return value, name
    return DEFAULT_CA_BUNDLE_PATH, "the CA bundle of certifi"


def _stamp(path: str | None, source: str) -> _Stamp | None:
    if path is None:
        return None
    try:
        found = os.stat(path)  # noqa: PTH116 - on the path of every https request; a Path costs more than the call
    except (OSError, ValueError) as error:
        text = getattr(error, "strerror", None) or "not a path"
    else:
        return found.st_mtime_ns, found.st_size, found.st_ino
    raise CheckFailed(Reason.CONFIG_ERROR, f"{source} {path}: {text}")


def _make(ca: str, source: str, cert: str | None, key: str | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    _load_ca(context, ca, source)
    if cert is not None:
        _load_client_cert(context, cert, key)
    return context


def _load_ca(context: ssl.SSLContext, ca: str, source: str) -> None:
    """Load a CA file, or a directory: its hashed names as OpenSSL does, and plain .pem and .crt files as mounts have."""
    path = Path(ca)
    try:
        files = [path]
        if path.is_dir():
            files = sorted(p for p in path.iterdir() if p.suffix in {".pem", ".crt", ".cer"})
            context.load_verify_locations(capath=ca)
        for file in files:
            context.load_verify_locations(cafile=str(file))
    except OSError as error:
        text = _why(error, "holds no PEM certificate")
    else:
        return
    raise CheckFailed(Reason.CONFIG_ERROR, f"{source} {ca}: {text}")


def _load_client_cert(context: ssl.SSLContext, cert: str, key: str | None) -> None:
    try:
        # An empty password stops OpenSSL from asking for one at the terminal.
        context.load_cert_chain(cert, key, password="")
    except OSError as error:
        text = _why(error, "no PEM certificate with its key (not PEM, another certificate's key, or an encrypted one)")
    else:
        return
    files = f"client_cert {cert}" + (f" with client_key {key}" if key else "")
    raise CheckFailed(Reason.CONFIG_ERROR, f"{files}: {text}")


def _why(error: OSError, otherwise: str) -> str:
    return otherwise if isinstance(error, ssl.SSLError) else error.strerror or otherwise


def read_facts(tls: ssl.SSLSocket | ssl.SSLObject) -> TlsFacts:
    """Read what a verified handshake showed."""
    cert = tls.getpeercert() or {}
    cipher = tls.cipher()
    return TlsFacts(
        protocol=(tls.version() or "").removeprefix("TLSv"),
        cipher=cipher[0] if cipher else "",
        issuer=_name(cert.get("issuer")),
        subject=_name(cert.get("subject")),
        not_before=_time(cert.get("notBefore")),
        not_after=_time(cert.get("notAfter")),
    )


def read_unverified_facts(tls: ssl.SSLSocket | ssl.SSLObject) -> TlsFacts | None:
    """Read what an unverified handshake showed; ssl gives such a certificate as DER only."""
    from cryptography import x509  # noqa: PLC0415 - only for a refused certificate

    der = tls.getpeercert(binary_form=True)
    if der is None:
        return None
    cert = x509.load_der_x509_certificate(der)
    cipher = tls.cipher()
    return TlsFacts(
        protocol=(tls.version() or "").removeprefix("TLSv"),
        cipher=cipher[0] if cipher else "",
        issuer=cert.issuer.rfc4514_string(),
        subject=cert.subject.rfc4514_string(),
        not_before=cert.not_valid_before_utc.timestamp(),
        not_after=cert.not_valid_after_utc.timestamp(),
    )


_SHORT = {
    "commonName": "CN",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "countryName": "C",
    "localityName": "L",
    "stateOrProvinceName": "ST",
    "streetAddress": "STREET",
    "domainComponent": "DC",
    "userId": "UID",
}


def _name(rdns: object) -> str | None:
    """Write a distinguished name as RFC 4514 does: the most specific part first, special characters escaped."""
    if not isinstance(rdns, Iterable):
        return None
    parts = ["+".join(f"{_SHORT.get(kind, kind)}={_escape(value)}" for kind, value in rdn) for rdn in rdns]
    return ",".join(reversed(parts)) or None


def _escape(value: str) -> str:
    text = "".join(f"\\{c}" if c in '\\,+"<>;' else c for c in value)
    text = f"\\{text}" if text[:1] in {"#", " "} else text
    return f"{text[:-1]}\\ " if text.endswith(" ") and not text.endswith("\\ ") else text


def _time(text: object) -> float | None:
    """Read a date of getpeercert; None for one that it cannot read (beyond the year 9999)."""
    try:
        return float(ssl.cert_time_to_seconds(text)) if isinstance(text, str) else None
    except ValueError:
        return None
