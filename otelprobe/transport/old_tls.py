"""Whether a server would speak a version of TLS that is given up (RFC 8996): a first message by hand, and a look at the answer.

By hand, as the machine's own library may have unlearnt such versions. No handshake is ended, so that nothing can be sent
through it.
"""

import secrets
import struct
from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from types import MappingProxyType

from otelprobe.quick import dataclass
from otelprobe.reasons import CheckFailed, Reason
from otelprobe.result import Exchange
from otelprobe.transport.dial import Attempt, Link, Route, reach
from otelprobe.transport.handshake import Handshake
from otelprobe.transport.once import Orders
from otelprobe.transport.reasons import Phase, failure

VERSIONS: Mapping[str, bytes] = MappingProxyType({"1.0": b"\x03\x01", "1.1": b"\x03\x02"})
"""The versions by their numbers on the wire (RFC 2246, RFC 4346)."""

_CIPHERS = (
    *(0xC00A, 0xC009, 0xC008, 0xC007, 0xC014, 0xC013, 0xC012, 0xC011),  # ECDHE with ECDSA or RSA
    *(0x0039, 0x0038, 0x0033, 0x0032, 0x0016, 0x0013, 0x0088, 0x0045),  # DHE
    *(0x0035, 0x002F, 0x0084, 0x0041, 0x000A, 0x0005, 0x0004),  # RSA
    0x00FF,  # renegotiation is safe (RFC 5746)
)
_CURVES = (0x001D, 0x0017, 0x0018, 0x0019)
_ALERT, _HANDSHAKE, _FATAL = 21, 22, 2
_CLIENT_HELLO, _SERVER_HELLO, _SERVER_HELLO_DONE = 1, 2, 14
_MOST = 128 * 1024
"""Bytes that are read at most: certificates may be many."""

_SILENT = frozenset({Reason.CONNECTION_RESET, Reason.CONNECTION_CLOSED, Reason.READ_TIMEOUT})
"""What a refusal looks like that is not said."""


@dataclass(frozen=True, slots=True)
class Proposed:
    """What an offer came to. `failed`: no connection was made, CheckFailed or, where no table knows it, the exception."""

    exchange: Exchange
    taken: bool
    failed: Exception | None = None


def propose_once(host: str, port: int, version: str, orders: Orders, span_id: int) -> Proposed:
    """Propose this version and no other. Silence after it, or a broken connection, is a refusal."""
    handshake = Handshake(host, port, orders)
    taken, failed = _propose(handshake.route, handshake.attempt, version)
    exchange = handshake.exchange(span_id, failed, orders.clock.monotonic())
    return Proposed(exchange, taken, failed)


def _propose(route: Route, attempt: Attempt, version: str) -> tuple[bool, Exception | None]:
    sent = False
    try:
        with reach(route, attempt) as link, attempt.timed("tls", Phase.TLS):
            hello, sent = client_hello(version, route.target.host), True
            link.sendall(hello)
            attempt.phase = Phase.WAIT
            return agrees(link, version), None
    except CheckFailed as error:
        return False, error
    except Exception as error:  # noqa: BLE001 - what is not known goes on to the caller as it is
        failed = failure(error, attempt.phase, attempt.place)
        return False, None if sent and failed is not None and failed.reason in _SILENT else failed or error


def client_hello(version: str, host: str) -> bytes:
    """Write the first message of a handshake, as one record (RFC 4346, section 7.4.1.2)."""
    ciphers = b"".join(struct.pack("!H", cipher) for cipher in _CIPHERS)
    extensions = b"".join(_extensions(host))
    body = b"".join(
        (
            VERSIONS[version],
            secrets.token_bytes(32),
            b"\x00",  # no session to resume
            _sized(ciphers),
            b"\x01\x00",  # no compression
            _sized(extensions),
        )
    )
    message = struct.pack("!B", _CLIENT_HELLO) + len(body).to_bytes(3) + body
    return struct.pack("!B", _HANDSHAKE) + VERSIONS["1.0"] + _sized(message)


def _extensions(host: str) -> Iterator[bytes]:
    """Name the host (RFC 6066, section 3), unless it is an address, and the curves that are known (RFC 8422, section 5.1)."""
    name = host.rstrip(".").encode("idna") if not _is_address(host) else b""
    if name:
        yield b"\x00\x00" + _sized(_sized(b"\x00" + _sized(name)))
    yield b"\x00\x0a" + _sized(_sized(b"".join(struct.pack("!H", curve) for curve in _CURVES)))
    yield b"\x00\x0b" + _sized(b"\x01\x00")


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _sized(content: bytes) -> bytes:
    return struct.pack("!H", len(content)) + content


def agrees(link: Link, version: str) -> bool:
    """Tell whether the answer goes on with this very version up to its last message, and no alert ends it before."""
    buffer, read, chosen = b"", 0, False
    while True:
        header = _exactly(link, 5)
        kind, size = header[0], int.from_bytes(header[3:5])
        read += size
        if kind not in {_ALERT, _HANDSHAKE} or read > _MOST:
            return False
        content = _exactly(link, size)
        if kind == _ALERT:
            if len(content) != 2 or content[0] == _FATAL:
                return False
            continue
        buffer += content
        messages, buffer = _messages(buffer)
        for message, body in messages:
            if message == _SERVER_HELLO:
                chosen = body[:2] == VERSIONS[version]
            if message == _SERVER_HELLO_DONE:
                return chosen


def _messages(buffer: bytes) -> tuple[list[tuple[int, bytes]], bytes]:
    """Take whole messages of a handshake off; give them, and what is left."""
    found: list[tuple[int, bytes]] = []
    while len(buffer) >= 4:
        end = 4 + int.from_bytes(buffer[1:4])
        if len(buffer) < end:
            break
        found.append((buffer[0], buffer[4:end]))
        buffer = buffer[end:]
    return found, buffer


def _exactly(link: Link, size: int) -> bytes:
    """Receive so many bytes; ConnectionResetError where the peer ends before them."""
    content = b""
    while len(content) < size:
        more = link.recv(size - len(content))
        if not more:
            raise ConnectionResetError
        content += more
    return content
