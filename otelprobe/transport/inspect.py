"""A look at a TLS endpoint: its certificates and whether they are trusted. A handshake only: nothing is sent."""

import ssl
from dataclasses import field
from typing import Any

from otelprobe.quick import dataclass
from otelprobe.reasons import CheckFailed, Reason
from otelprobe.result import Exchange
from otelprobe.transport.dial import Attempt, Route, dial
from otelprobe.transport.handshake import Handshake
from otelprobe.transport.once import Orders
from otelprobe.transport.reasons import failure
from otelprobe.transport.trust import read_unverified_facts, unverified_context

REFUSALS = frozenset(
    {
        Reason.TLS_CERT_EXPIRED,
        Reason.TLS_CERT_NOT_YET_VALID,
        Reason.TLS_HOSTNAME_MISMATCH,
        Reason.TLS_SELF_SIGNED,
        Reason.TLS_UNTRUSTED_CA,
    }
)
"""What is wrong with a certificate that came: it can be read all the same."""


@dataclass(frozen=True, slots=True)
class Inspected:
    """What a handshake came to: `chain` is DER, the server's own certificate first; empty if none could be read.

    `failed` is CheckFailed, or the exception itself where no table knows it.
    """

    exchange: Exchange
    chain: tuple[bytes, ...] = field(repr=False)
    failed: Exception | None = None


def inspect_once(host: str, port: int, orders: Orders, span_id: int, *, verify: bool) -> Inspected:
    """Make a handshake. Where it fails by the certificate, a second one that trusts anything reads what was shown."""
    handshake = Handshake(host, port, orders)
    route, attempt = handshake.route, handshake.attempt
    blind = Route(route.target, route.proxy, unverified_context(), route.proxy_context, route.ip_version)
    chain, failed = _shake(route if verify else blind, attempt, verified=verify)
    end = orders.clock.monotonic()
    if isinstance(failed, CheckFailed) and failed.reason in REFUSALS:
        second = Attempt(orders.clock, orders.deadline, attempt.place)
        chain, _ = _shake(blind, second, verified=False)
        attempt.tls = second.tls
    exchange = handshake.exchange(span_id, failed, end)
    return Inspected(exchange, chain, failed)


def _shake(route: Route, attempt: Attempt, *, verified: bool) -> tuple[tuple[bytes, ...], Exception | None]:
    try:
        with dial(route, attempt) as link:
            if not verified:
                attempt.tls = read_unverified_facts(link.sock)
            return _chain(link.sock), None
    except CheckFailed as error:
        return (), error
    except Exception as error:  # noqa: BLE001 - what is not known goes on to the caller as it is
        return (), failure(error, attempt.phase, attempt.place) or error


def _chain(tls: Any) -> tuple[bytes, ...]:
    """Read every certificate that the server sent, as DER.

    Python has a public name for it since 3.13. Before, it is there as well, one layer below; a TLS layer inside
    another one (an https proxy) holds that layer under a name of its own.
    """
    holder = getattr(tls, "sslobj", tls)
    if hasattr(holder, "get_unverified_chain"):
        return tuple(holder.get_unverified_chain())
    inner = getattr(holder, "_sslobj", None)
    found = inner.get_unverified_chain() if inner is not None else None
    if found is None:
        own = holder.getpeercert(binary_form=True) if isinstance(holder, ssl.SSLSocket | ssl.SSLObject) else None
        return (own,) if own is not None else ()
    return tuple(ssl.PEM_cert_to_DER_cert(certificate.public_bytes()) for certificate in found)
