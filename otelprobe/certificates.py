"""X.509 certificates as facts: read from DER, PEM or PKCS#12, and told without anything that is secret."""

from base64 import b64encode, urlsafe_b64encode
from collections.abc import Mapping
from functools import lru_cache
from hashlib import sha1, sha256
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any

from otelprobe.quick import dataclass
from otelprobe.reasons import CheckFailed, Reason
from otelprobe.tokens import public_jwk, thumbprint

if TYPE_CHECKING:
    from cryptography import x509

_PEM = b"-----BEGIN CERTIFICATE-----"
_MOST = 200
"""Certificates that are read of one file: a whole CA bundle has fewer."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a certificate says of itself. Times are Unix seconds, `sha256` is the fingerprint, `names` DNS names and addresses.

    `for_clients` says that it is meant to be shown by clients and not by servers.
    """

    subject: str
    issuer: str
    not_before: float
    not_after: float
    sha256: str
    names: tuple[str, ...] = ()
    for_clients: bool = False

    @property
    def label(self) -> str:
        """Name it for people: the subject, or the first name where that is empty."""
        return self.subject or (self.names[0] if self.names else f"sha256 {self.sha256[:16]}")

    def remaining(self, now: float) -> float:
        """Give the seconds until it ends; negative once it has."""
        return self.not_after - now

    def is_for(self, host: str) -> bool:
        """Tell whether it names a host (RFC 9525): exactly, by a wildcard for the first label, or as an address."""
        try:
            wanted = str(ip_address(host))
        except ValueError:
            wanted = _ascii(host)
        return any(_fits(name.lower(), wanted) for name in self.names)


def _ascii(host: str) -> str:
    name = host.rstrip(".").lower()
    try:
        return name if name.isascii() else name.encode("idna").decode()
    except UnicodeError:
        return name


def _fits(name: str, wanted: str) -> bool:
    if name == wanted:
        return True
    first, dot, rest = wanted.partition(".")
    return bool(first and dot) and ":" not in wanted and not rest.replace(".", "").isdigit() and name == f"*.{rest}"


def warm_up() -> None:
    """Import what certificates are read with."""
    from cryptography import x509  # noqa: F401, PLC0415 - heavy; only what reads certificates needs it
    from cryptography.hazmat.primitives.serialization import pkcs12  # noqa: F401, PLC0415


def read_der(data: bytes) -> Certificate:
    """Read one certificate; ValueError if it is none."""
    from cryptography import x509  # noqa: PLC0415 - heavy; only what reads certificates needs it

    return _facts(x509.load_der_x509_certificate(data))


def read_file(data: bytes, password: bytes | None, path: str) -> tuple[Certificate, ...]:
    """Read every certificate of a PEM bundle, a PKCS#12 file or a DER file, each once.

    CheckFailed(config_error) names the file; what its content is like is not repeated.
    """
    wrong = "holds no certificate in PEM, DER or PKCS#12"
    try:
        if _PEM in data:
            found = _from_pem(data)
        elif password is None:
            wrong += "; a PKCS#12 file with a password needs password: {env: NAME} or {file: PATH}"
            found = _from_der(data)
        else:
            wrong = "is no PKCS#12 file, or the password does not open it"
            found = _from_pkcs12(data, password)
    except (ValueError, TypeError):
        found = ()
    if not found:
        raise CheckFailed(Reason.CONFIG_ERROR, f"certificate file {path} {wrong}")
    return tuple(dict.fromkeys(found))


def read_file_as_der(data: bytes, path: str) -> tuple[bytes, ...]:
    """Give every certificate of a PEM bundle, or that of a DER file, as DER; CheckFailed(config_error) if there is none."""
    from cryptography import x509  # noqa: PLC0415 - heavy; only what reads certificates needs it
    from cryptography.hazmat.primitives.serialization import Encoding  # noqa: PLC0415

    try:
        pem = _PEM in data
        found = x509.load_pem_x509_certificates(data)[:_MOST] if pem else [x509.load_der_x509_certificate(data)]
    except ValueError:
        raise CheckFailed(Reason.CONFIG_ERROR, f"certificate file {path} holds no certificate in PEM or DER") from None
    return tuple(dict.fromkeys(one.public_bytes(Encoding.DER) for one in found))


def named_in_header(path: str, how: str, public: Mapping[str, Any]) -> tuple[dict[str, Any], Certificate]:
    """Give the JWS header member (RFC 7515, section 4.1) that names the certificate of a key, and what it says of itself.

    CheckFailed(config_error) if the file cannot be read, or its first certificate is not that of the key `public` (a JWK).
    """
    try:
        chain, facts = _key_certificates(Path(path).read_bytes(), thumbprint(public))
    except OSError as error:
        why = error.strerror or "it cannot be read"
    except ValueError as error:
        why = str(error)
    else:
        return _header(how, chain), facts
    raise CheckFailed(Reason.CONFIG_ERROR, f"certificate {path}: {why}")


@lru_cache(maxsize=32)
def _key_certificates(data: bytes, wanted: str) -> tuple[tuple[bytes, ...], Certificate]:
    """Give a chain as DER, and what its first certificate says; ValueError unless that one is of the key `wanted`."""
    from cryptography import x509  # noqa: PLC0415 - heavy; only what reads certificates needs it
    from cryptography.hazmat.primitives.serialization import Encoding  # noqa: PLC0415

    try:
        found = x509.load_pem_x509_certificates(data)[:_MOST]
        own = thumbprint(public_jwk(found[0].public_key()))
    except (ValueError, TypeError, AttributeError):
        raise ValueError("it holds no certificate in PEM whose key can be read") from None
    if own != wanted:
        raise ValueError("it is not the certificate of the key: the first one in the file has to be")
    return tuple(one.public_bytes(Encoding.DER) for one in found), _facts(found[0])


def _header(how: str, chain: tuple[bytes, ...]) -> dict[str, Any]:
    if how == "x5c":
        return {how: [b64encode(der).decode() for der in chain]}
    digest = sha1(chain[0], usedforsecurity=False) if how == "x5t" else sha256(chain[0])
    return {how: urlsafe_b64encode(digest.digest()).rstrip(b"=").decode()}


def _from_pem(data: bytes) -> tuple[Certificate, ...]:
    from cryptography import x509  # noqa: PLC0415 - heavy; only what reads certificates needs it

    return tuple(_facts(one) for one in x509.load_pem_x509_certificates(data)[:_MOST])


def _from_der(data: bytes) -> tuple[Certificate, ...]:
    """Read DER: a certificate, or else PKCS#12 without a password."""
    try:
        return (read_der(data),)
    except ValueError:
        return _from_pkcs12(data, None)


def _from_pkcs12(data: bytes, password: bytes | None) -> tuple[Certificate, ...]:
    from cryptography.hazmat.primitives.serialization import pkcs12  # noqa: PLC0415 - heavy, and seldom needed

    store = pkcs12.load_pkcs12(data, password)
    held = [store.cert, *store.additional_certs]
    return tuple(_facts(one.certificate) for one in held[:_MOST] if one is not None)


def _facts(found: "x509.Certificate") -> Certificate:
    from cryptography.hazmat.primitives import hashes  # noqa: PLC0415 - heavy; only what reads certificates needs it

    return Certificate(
        subject=found.subject.rfc4514_string(),
        issuer=found.issuer.rfc4514_string(),
        not_before=found.not_valid_before_utc.timestamp(),
        not_after=found.not_valid_after_utc.timestamp(),
        sha256=found.fingerprint(hashes.SHA256()).hex(),
        names=_names(found),
        for_clients=_is_for_clients(found),
    )


def _is_for_clients(found: "x509.Certificate") -> bool:
    """Read the extended key usage (RFC 5280, section 4.2.1.12)."""
    from cryptography import x509  # noqa: PLC0415 - heavy; only what reads certificates needs it
    from cryptography.x509.oid import ExtendedKeyUsageOID  # noqa: PLC0415

    try:
        uses = set(found.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    except (x509.ExtensionNotFound, ValueError):
        return False
    oids = ExtendedKeyUsageOID
    return oids.CLIENT_AUTH in uses and uses.isdisjoint({oids.SERVER_AUTH, oids.ANY_EXTENDED_KEY_USAGE})


def _names(found: "x509.Certificate") -> tuple[str, ...]:
    from cryptography import x509  # noqa: PLC0415 - heavy; only what reads certificates needs it

    try:
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return ()
    hosts = names.get_values_for_type(x509.DNSName)
    return (*hosts, *(str(address) for address in names.get_values_for_type(x509.IPAddress)))
