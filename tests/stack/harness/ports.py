"""Loopback ports for servers that cannot choose their own."""

import socket


def free_ports(count: int) -> list[int]:
    """Give ports that were free just now; all are held at once, so that none comes twice."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [s.getsockname()[1] for s in held]
    finally:
        for s in held:
            s.close()
