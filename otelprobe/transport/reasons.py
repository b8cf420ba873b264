"""The translation of foreign exceptions: one table, most specific first, from what a library raised to a Reason.

An error of requests or urllib3 wraps the one that matters. So every exception that hangs on the raised one is looked at
(`__cause__`, `__context__`, `.reason`, `.args`), and the first row of the table that fits any of them decides.
"""

import errno
import http.client
import socket
import ssl
import zlib
from collections.abc import Callable, Iterator
from enum import StrEnum

import requests.exceptions as rq
import urllib3.exceptions as u3

from otelprobe.reasons import CheckFailed, Reason


class Phase(StrEnum):
    """Where an attempt stands; the value is how a detail text says it. Whatever fails in PROXY is the proxy's."""

    RESOLVE = "while resolving the name"
    CONNECT = "while connecting"
    PROXY = "on the way through the proxy"
    TLS = "in the TLS handshake"
    SEND = "while sending the request"
    WAIT = "while waiting for the answer"
    READ = "while reading the answer"


_TIME_UP = {
    Phase.RESOLVE: Reason.DNS_FAILURE,
    Phase.CONNECT: Reason.CONNECT_TIMEOUT,
    Phase.PROXY: Reason.PROXY_ERROR,
    Phase.WAIT: Reason.READ_TIMEOUT,
}

_VERIFY_CODES = {
    9: Reason.TLS_CERT_NOT_YET_VALID,
    10: Reason.TLS_CERT_EXPIRED,
    18: Reason.TLS_SELF_SIGNED,
    19: Reason.TLS_SELF_SIGNED,
    62: Reason.TLS_HOSTNAME_MISMATCH,
    64: Reason.TLS_HOSTNAME_MISMATCH,
}
"""OpenSSL's X509_V_ERR_*. Every other code says that the chain cannot be trusted (20 and 21 are the usual ones)."""

_CLIENT_CERT_ALERTS = (
    "ALERT_CERTIFICATE_REQUIRED",
    "ALERT_UNKNOWN_CA",
    "ALERT_BAD_CERTIFICATE",
    "ALERT_NO_CERTIFICATE",
    "ALERT_UNSUPPORTED_CERTIFICATE",
    "ALERT_CERTIFICATE_EXPIRED",
    "ALERT_CERTIFICATE_REVOKED",
    "ALERT_CERTIFICATE_UNKNOWN",
    "ALERT_ACCESS_DENIED",
)
"""Alerts that came from the server. The only certificate that it can complain of is ours."""

_PROTOCOL_REASONS = (
    "WRONG_VERSION_NUMBER",
    "PROTOCOL_VERSION",
    "UNSUPPORTED_PROTOCOL",
    "UNKNOWN_PROTOCOL",
    "WRONG_SSL_VERSION",
    "NO_PROTOCOLS_AVAILABLE",
    "INAPPROPRIATE_FALLBACK",
    "HTTP_REQUEST",
    "PACKET_LENGTH_TOO_LONG",
    "RECORD_LAYER_FAILURE",
)

_ERRNOS = {
    # Nobody on the way took the connection: for the operator the same case as silence (routes, firewalls, policies).
    errno.EHOSTUNREACH: Reason.CONNECT_TIMEOUT,
    errno.ENETUNREACH: Reason.CONNECT_TIMEOUT,
    errno.EHOSTDOWN: Reason.CONNECT_TIMEOUT,
    errno.ENETDOWN: Reason.CONNECT_TIMEOUT,
    errno.EADDRNOTAVAIL: Reason.CONNECT_TIMEOUT,
    errno.EACCES: Reason.CONNECT_TIMEOUT,
    errno.EPERM: Reason.CONNECT_TIMEOUT,
    errno.ENETRESET: Reason.CONNECTION_RESET,
    errno.ENOTCONN: Reason.CONNECTION_RESET,
    errno.EPROTO: Reason.CONNECTION_RESET,
    # This machine is at its limits, nobody else's outage.
    errno.EMFILE: Reason.PROBER_ERROR,
    errno.ENFILE: Reason.PROBER_ERROR,
    errno.ENOBUFS: Reason.PROBER_ERROR,
    errno.ENOMEM: Reason.PROBER_ERROR,
}
"""What the operating system said where Python has no class for it; looked at before the table."""


def _time_up(_: BaseException, phase: Phase) -> Reason:
    return _TIME_UP.get(phase, Reason.DEADLINE_EXCEEDED)


def _verification(error: BaseException, _: Phase) -> Reason:
    return _VERIFY_CODES.get(getattr(error, "verify_code", 0), Reason.TLS_UNTRUSTED_CA)


def _ssl(error: BaseException, phase: Phase) -> Reason:
    said = getattr(error, "reason", None) or ""
    if any(alert in said for alert in _CLIENT_CERT_ALERTS):
        return Reason.CLIENT_CERT_REJECTED
    if any(text in said for text in _PROTOCOL_REASONS):
        return Reason.TLS_PROTOCOL_ERROR
    # After the handshake a broken TLS stream is a broken connection, not a question of certificates or protocols.
    return Reason.CONNECTION_RESET if phase in {Phase.SEND, Phase.WAIT, Phase.READ} else Reason.TLS_HANDSHAKE_FAILED


def _errno(error: BaseException) -> int | None:
    """Give the operating system's number; those of ssl and of the resolver are other numbers under the same name."""
    if isinstance(error, OSError) and not isinstance(error, ssl.SSLError | socket.gaierror | socket.herror):
        return error.errno
    return None


_Judge = Reason | Callable[[BaseException, Phase], Reason]

TABLE: tuple[tuple[type[BaseException], _Judge], ...] = (
    # The proxy comes before the TLS and connection errors that its errors wrap.
    (rq.InvalidProxyURL, Reason.CONFIG_ERROR),
    (rq.ProxyError, Reason.PROXY_ERROR),
    (u3.ProxySchemeUnknown, Reason.CONFIG_ERROR),
    (u3.ProxySchemeUnsupported, Reason.CONFIG_ERROR),
    (u3.ProxyError, Reason.PROXY_ERROR),
    # ssl
    (ssl.SSLCertVerificationError, _verification),
    (ssl.SSLError, _ssl),
    # socket and the operating system
    (socket.gaierror, Reason.DNS_FAILURE),
    (socket.herror, Reason.DNS_FAILURE),
    (http.client.RemoteDisconnected, Reason.CONNECTION_CLOSED),
    (ConnectionRefusedError, Reason.CONNECT_REFUSED),
    (ConnectionError, Reason.CONNECTION_RESET),
    (TimeoutError, _time_up),
    # http.client: what the caller got wrong, then what the peer sent
    (http.client.InvalidURL, Reason.CONFIG_ERROR),
    (http.client.ImproperConnectionState, Reason.PROBER_ERROR),
    (http.client.NotConnected, Reason.PROBER_ERROR),
    (http.client.UnimplementedFileMode, Reason.PROBER_ERROR),
    (http.client.HTTPException, Reason.HTTP_PROTOCOL_ERROR),
    (zlib.error, Reason.HTTP_PROTOCOL_ERROR),
    # urllib3
    (u3.NameResolutionError, Reason.DNS_FAILURE),
    (u3.NewConnectionError, Reason.CONNECT_TIMEOUT),
    (u3.ConnectTimeoutError, Reason.CONNECT_TIMEOUT),
    (u3.ReadTimeoutError, Reason.READ_TIMEOUT),
    (u3.TimeoutError, _time_up),
    (u3.SSLError, Reason.TLS_HANDSHAKE_FAILED),
    (u3.LocationValueError, Reason.CONFIG_ERROR),
    (u3.ProtocolError, Reason.HTTP_PROTOCOL_ERROR),
    (u3.DecodeError, Reason.HTTP_PROTOCOL_ERROR),
    (u3.InvalidHeader, Reason.HTTP_PROTOCOL_ERROR),
    (u3.HeaderParsingError, Reason.HTTP_PROTOCOL_ERROR),
    (u3.BodyNotHttplibCompatible, Reason.HTTP_PROTOCOL_ERROR),
    (u3.ResponseError, Reason.HTTP_PROTOCOL_ERROR),
    # requests
    (rq.ConnectTimeout, Reason.CONNECT_TIMEOUT),
    (rq.ReadTimeout, Reason.READ_TIMEOUT),
    (rq.Timeout, _time_up),
    (rq.SSLError, Reason.TLS_HANDSHAKE_FAILED),
    (rq.ConnectionError, Reason.CONNECTION_RESET),
    (rq.TooManyRedirects, Reason.REDIRECT_LOOP),
    (rq.ChunkedEncodingError, Reason.HTTP_PROTOCOL_ERROR),
    (rq.ContentDecodingError, Reason.HTTP_PROTOCOL_ERROR),
    (rq.URLRequired, Reason.CONFIG_ERROR),
    (rq.MissingSchema, Reason.CONFIG_ERROR),
    (rq.InvalidSchema, Reason.CONFIG_ERROR),
    (rq.InvalidURL, Reason.CONFIG_ERROR),
    (rq.InvalidHeader, Reason.CONFIG_ERROR),
    # A host name that no encoding of the DNS can carry (an empty or over-long label).
    (UnicodeError, Reason.CONFIG_ERROR),
    # The libraries used in a way they refuse, or their warnings raised as errors: our own doing.
    (u3.HTTPError, Reason.PROBER_ERROR),
    (u3.HTTPWarning, Reason.PROBER_ERROR),
    (rq.RequestException, Reason.PROBER_ERROR),
    (rq.RequestsWarning, Reason.PROBER_ERROR),
    (OSError, Reason.PROBER_ERROR),
)


def _linked(error: BaseException) -> Iterator[BaseException]:
    """Give the exception and all that hang on it, each once, the nearest first."""
    waiting, seen = [error], set[int]()
    while waiting:
        one = waiting.pop(0)
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        near = (one.__cause__, one.__context__, getattr(one, "reason", None), *one.args)
        waiting.extend(e for e in near if isinstance(e, BaseException))


def reason_of(error: BaseException, phase: Phase) -> Reason | None:
    """Give the reason that an exception stands for in a phase; None if the table does not know it."""
    links = tuple(_linked(error))
    for link in links:
        known = _ERRNOS.get(_errno(link) or 0)
        if known is not None:
            return known
    for kind, judge in TABLE:
        for link in links:
            if isinstance(link, kind):
                return judge if isinstance(judge, Reason) else judge(link, phase)
    return None


_TEXTS = {
    Reason.DNS_FAILURE: "the name does not resolve",
    Reason.CONNECT_TIMEOUT: "no answer to the TCP connection",
    Reason.CONNECT_REFUSED: "connection refused",
    Reason.CONNECTION_RESET: "the connection was cut",
    Reason.CONNECTION_CLOSED: "the connection was closed before a status line came",
    Reason.READ_TIMEOUT: "nothing came within the time-out",
    Reason.DEADLINE_EXCEEDED: "the time was up before the answer was complete",
    Reason.HTTP_PROTOCOL_ERROR: "no valid HTTP, or a message cut short",
    Reason.PROXY_ERROR: "no answer in time",
    Reason.CONFIG_ERROR: "the host name is not valid",
    Reason.CLIENT_CERT_REJECTED: "the server refused or missed the client certificate",
    Reason.TLS_PROTOCOL_ERROR: "no common TLS protocol, or the port speaks no TLS",
    Reason.TLS_HANDSHAKE_FAILED: "the handshake broke off",
    Reason.PROBER_ERROR: "a fault of the prober's own machine",
}
"""What a detail says. The words of the exceptions are not used: some repeat URLs or header values."""


def _text(error: BaseException, reason: Reason) -> str:
    """Say what happened; of OpenSSL and the operating system only their fixed vocabulary is repeated."""
    text = _TEXTS.get(reason, reason.value.replace("_", " "))
    for link in _linked(error):
        if isinstance(link, ssl.SSLCertVerificationError):
            return f"{text}: {link.verify_message}" if getattr(link, "verify_message", "") else text
        if isinstance(link, ssl.SSLError) and getattr(link, "reason", None):
            return f"{text} ({link.reason})"
        name = errno.errorcode.get(_errno(link) or 0)
        if name is not None and reason is not Reason.CONNECT_REFUSED:
            return f"{text} ({name})"
    return text


def failure(error: BaseException, phase: Phase, place: str) -> CheckFailed | None:
    """Translate an exception of an attempt at `place` (host:port); None if the table does not know it."""
    reason = reason_of(error, phase)
    if reason is None:
        return None
    text = _text(error, reason)
    if phase is Phase.PROXY and reason not in {Reason.CONFIG_ERROR, Reason.PROBER_ERROR}:
        reason, place = Reason.PROXY_ERROR, f"proxy {place}"
    return CheckFailed(reason, f"{place}: {text}, {phase}")
