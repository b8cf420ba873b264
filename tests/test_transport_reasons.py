"""The table of exceptions is complete, and the cause decides however deep the libraries wrap it."""

import errno
import http.client
import socket
import ssl
from types import ModuleType

import pytest
import requests.exceptions
import urllib3.exceptions

from otelprobe.reasons import Reason
from otelprobe.transport.reasons import TABLE, Phase, failure, reason_of

MODULES = (requests.exceptions, urllib3.exceptions, http.client, ssl, socket)
FOREIGN = {Exception, BaseException}
"""Names that the modules only hold for their own use and that are no exceptions of theirs."""


def classes(module: ModuleType) -> list[type[BaseException]]:
    """Give every exception class that a module names and that is not merely borrowed from builtins."""
    found = {v for v in vars(module).values() if isinstance(v, type) and issubclass(v, BaseException)}
    return sorted(found - FOREIGN, key=lambda c: (c.__module__, c.__qualname__))


ALL = [pytest.param(c, id=f"{m.__name__}.{c.__qualname__}") for m in MODULES for c in classes(m)]
INTERNAL = {"_GiveupOnSendfile", "MessageDefect", "JSONDecodeError"}
"""Control flow inside socket, a base class of email, and the body's parsing: none of them can leave an attempt."""


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("phase", Phase)
def test_every_exception_has_a_reason(kind: type[BaseException], phase: Phase):
    """Every exception class of requests, urllib3, http.client, ssl and socket maps to a reason in every phase."""
    error = kind.__new__(kind)
    if kind.__name__ in INTERNAL and kind.__module__ != "requests.exceptions":
        assert reason_of(error, phase) is None
    else:
        assert isinstance(reason_of(error, phase), Reason)


def test_no_row_is_hidden_by_an_earlier_one():
    """The most specific rows come first: no row stands behind one of its own base classes."""
    kinds = [kind for kind, _ in TABLE]
    assert len(set(kinds)) == len(kinds)
    hidden = [(b, a) for i, a in enumerate(kinds) for b in kinds[i + 1 :] if issubclass(b, a)]
    assert hidden == []


@pytest.mark.parametrize("phase", Phase)
def test_what_is_unknown_stays_unknown(phase: Phase):
    """A bug of ours is not translated into somebody's fault."""
    assert reason_of(KeyError("x"), phase) is None
    assert failure(ZeroDivisionError(), phase, "h:1") is None


def wrapped(inner: BaseException) -> requests.exceptions.ConnectionError:
    """Wrap an error as requests and urllib3 do."""
    pool = urllib3.HTTPConnectionPool("h")
    return requests.exceptions.ConnectionError(urllib3.exceptions.MaxRetryError(pool, "/", inner))  # type: ignore[arg-type]


def verification(code: int) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_code = code
    return error


def tls(reason: str) -> ssl.SSLError:
    error = ssl.SSLError(1, "x")
    error.reason = reason
    return error


CASES = [
    (socket.gaierror(-2, "x"), Phase.RESOLVE, Reason.DNS_FAILURE),
    (TimeoutError(), Phase.RESOLVE, Reason.DNS_FAILURE),
    (TimeoutError(), Phase.CONNECT, Reason.CONNECT_TIMEOUT),
    (TimeoutError(), Phase.TLS, Reason.DEADLINE_EXCEEDED),
    (TimeoutError(), Phase.SEND, Reason.DEADLINE_EXCEEDED),
    (TimeoutError(), Phase.WAIT, Reason.READ_TIMEOUT),
    (TimeoutError(), Phase.READ, Reason.DEADLINE_EXCEEDED),
    (ConnectionRefusedError(), Phase.CONNECT, Reason.CONNECT_REFUSED),
    (ConnectionResetError(), Phase.READ, Reason.CONNECTION_RESET),
    (BrokenPipeError(), Phase.SEND, Reason.CONNECTION_RESET),
    (OSError(errno.EHOSTUNREACH, "x"), Phase.CONNECT, Reason.CONNECT_TIMEOUT),
    (OSError(errno.ENETUNREACH, "x"), Phase.CONNECT, Reason.CONNECT_TIMEOUT),
    (OSError(errno.EMFILE, "x"), Phase.CONNECT, Reason.PROBER_ERROR),
    (http.client.RemoteDisconnected(""), Phase.WAIT, Reason.CONNECTION_CLOSED),
    (http.client.IncompleteRead(b""), Phase.READ, Reason.HTTP_PROTOCOL_ERROR),
    (verification(9), Phase.TLS, Reason.TLS_CERT_NOT_YET_VALID),
    (verification(10), Phase.TLS, Reason.TLS_CERT_EXPIRED),
    (verification(18), Phase.TLS, Reason.TLS_SELF_SIGNED),
    (verification(19), Phase.TLS, Reason.TLS_SELF_SIGNED),
    (verification(20), Phase.TLS, Reason.TLS_UNTRUSTED_CA),
    (verification(21), Phase.TLS, Reason.TLS_UNTRUSTED_CA),
    (verification(62), Phase.TLS, Reason.TLS_HOSTNAME_MISMATCH),
    (verification(64), Phase.TLS, Reason.TLS_HOSTNAME_MISMATCH),
    (tls("TLSV13_ALERT_CERTIFICATE_REQUIRED"), Phase.WAIT, Reason.CLIENT_CERT_REJECTED),
    (tls("TLSV1_ALERT_UNKNOWN_CA"), Phase.TLS, Reason.CLIENT_CERT_REJECTED),
    (tls("SSLV3_ALERT_BAD_CERTIFICATE"), Phase.TLS, Reason.CLIENT_CERT_REJECTED),
    (tls("SSLV3_ALERT_CERTIFICATE_EXPIRED"), Phase.WAIT, Reason.CLIENT_CERT_REJECTED),
    (tls("WRONG_VERSION_NUMBER"), Phase.TLS, Reason.TLS_PROTOCOL_ERROR),
    (tls("TLSV1_ALERT_PROTOCOL_VERSION"), Phase.TLS, Reason.TLS_PROTOCOL_ERROR),
    (tls("SSLV3_ALERT_HANDSHAKE_FAILURE"), Phase.TLS, Reason.TLS_HANDSHAKE_FAILED),
    (ssl.SSLEOFError(8, "x"), Phase.TLS, Reason.TLS_HANDSHAKE_FAILED),
    (ssl.SSLEOFError(8, "x"), Phase.READ, Reason.CONNECTION_RESET),
]


@pytest.mark.parametrize(("error", "phase", "reason"), CASES)
def test_reason_by_cause_and_phase(error: BaseException, phase: Phase, reason: Reason):
    """An error stands for the same reason bare, inside the libraries' wrappers, as a cause and as a context."""
    caused, during = urllib3.exceptions.HTTPError(), urllib3.exceptions.HTTPError()
    caused.__cause__, during.__context__ = error, error
    assert [reason_of(e, phase) for e in (error, wrapped(error), wrapped(caused), wrapped(during))] == [reason] * 4


def test_a_circle_of_causes_ends():
    """Exceptions that hang on each other in a circle are looked at once."""
    one, two = KeyError(), ConnectionRefusedError()
    one.__cause__, two.__context__ = two, one
    assert reason_of(one, Phase.CONNECT) is Reason.CONNECT_REFUSED


@pytest.mark.parametrize(("error", "phase", "reason"), CASES)
def test_all_but_our_own_faults_on_the_way_to_the_proxy_are_the_proxys(error, phase, reason):
    """Whatever fails before the tunnel stands is proxy_error and names the proxy."""
    failed = failure(error, Phase.PROXY, "p:3128")
    assert failed is not None
    if reason is Reason.PROBER_ERROR:
        assert failed.reason is Reason.PROBER_ERROR
    else:
        assert failed.reason is Reason.PROXY_ERROR
        assert failed.detail.startswith("proxy p:3128: ")


@pytest.mark.parametrize("kind", ALL)
def test_details_do_not_repeat_what_an_exception_says(kind: type[BaseException]):
    """No word of a foreign exception reaches the detail: it may be a URL or a header's value."""
    error = kind.__new__(kind)
    error.args = ("canary",)
    failed = failure(error, Phase.READ, "h:1")
    assert failed is None or ("canary" not in failed.detail and failed.detail.startswith("h:1: "))
