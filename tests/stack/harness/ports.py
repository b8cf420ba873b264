"""Loopback ports for servers that cannot choose their own."""

import random
import socket
from contextlib import ExitStack, suppress

_FIRST, _LAST = 10_240, 32_767
"""Below those that the kernel hands out: the port of a server that is to be started again may not become a client's."""
_ATTEMPTS = 1000

_draw = random.SystemRandom()
_given: set[int] = set()


def free_ports(count: int) -> list[int]:
    """Give ports that were free just now, and that this process has not been given before. OSError if there are none."""
    with ExitStack() as held:
        return [_hold_one(held) for _ in range(count)]


def _hold_one(held: ExitStack) -> int:
    """Find one that can be listened at; it is held until all are found."""
    for _ in range(_ATTEMPTS):
        port = _draw.randint(_FIRST, _LAST)
        if port in _given:
            continue
        with suppress(OSError):
            held.enter_context(socket.create_server(("127.0.0.1", port)))
            _given.add(port)
            return port
    raise OSError(f"no free port between {_FIRST} and {_LAST} on 127.0.0.1")
