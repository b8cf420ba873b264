"""A socket waits no longer than it is told, in a connect, in a send and in a receive, also where the system has no time-outs."""

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from struct import Struct

import pytest

from otelprobe.clock import SystemClock
from otelprobe.transport import patience
from otelprobe.transport.dial import Attempt, Link, Route, reach
from otelprobe.transport.patience import wait_at_most
from otelprobe.transport.route import Target

BRIEF = 0.2
LATE = 5.0
"""Seconds after which a test gives up on a time-out."""


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """Listen on loopback with room for one connection, and accept none."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
        yield server


def attempt(seconds: float = BRIEF) -> Attempt:
    """Begin an attempt that has to end soon."""
    clock = SystemClock()
    return Attempt(clock, clock.monotonic() + seconds, "here")


def link_to(listener: socket.socket, seconds: float = BRIEF) -> Link:
    """Connect to the listener."""
    return reach(Route(Target("http", *listener.getsockname()[:2], "/")), attempt(seconds))


def test_the_time_outs_of_this_system_are_known():
    """The kernel's own time-outs are used here: how it writes them was found out."""
    assert patience._TIMEVAL is not None


def test_a_silent_peer_is_waited_for_until_the_deadline(listener: socket.socket):
    """A receive on which nothing comes ends with TimeoutError, at the deadline and not before."""
    start = time.perf_counter()
    with link_to(listener) as link, pytest.raises(TimeoutError):
        link.readinto(bytearray(8))
    assert BRIEF * 0.9 <= time.perf_counter() - start < LATE


def test_a_peer_that_takes_nothing_in_is_waited_for_until_the_deadline(listener: socket.socket):
    """A send that fills every buffer ends with TimeoutError, however much of it was taken."""
    start = time.perf_counter()
    with link_to(listener) as link, pytest.raises(TimeoutError):
        link.sendall(bytes(64 * 1024**2))
    assert BRIEF * 0.9 <= time.perf_counter() - start < LATE


def test_a_receive_for_a_tls_layer_ends_too(listener: socket.socket):
    """The receive that a TLS layer inside another one uses has the same deadline."""
    with link_to(listener) as link, pytest.raises(TimeoutError):
        link.recv(8)


def test_a_peer_that_does_not_answer_a_connect_is_waited_for_until_the_deadline(listener: socket.socket):
    """A connect that nobody answers, as the peer's queue is full, ends with TimeoutError."""
    with ExitStack() as stack:
        for _ in range(8):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        start = time.perf_counter()
        with pytest.raises(TimeoutError):
            link_to(listener)
        assert BRIEF * 0.9 <= time.perf_counter() - start < LATE


@pytest.mark.parametrize("seconds", [1e-9, 0.2, 1.0, 3.75, 86400.0])
def test_the_kernel_is_told_what_was_asked_for(seconds: float):
    """A time-out arrives as it was given, rounded up by what the kernel counts in; never as nothing, which is for ever."""
    with socket.socket() as sock:
        wait_at_most(sock, seconds)
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            whole, parts = Struct("@qq").unpack(sock.getsockopt(socket.SOL_SOCKET, option, 16))
            assert seconds <= whole + parts / 1e6 <= seconds + 0.02
        assert sock.getblocking()


def test_without_the_kernels_time_outs_python_keeps_the_time(listener: socket.socket):
    """Where a system shows its time-outs in no form that is known, a receive ends in time all the same."""
    with socket.create_connection(listener.getsockname()) as sock:
        wait_at_most(sock, BRIEF, None)
        assert sock.gettimeout() == BRIEF
        with pytest.raises(TimeoutError):
            sock.recv(8)
