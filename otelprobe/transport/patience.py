"""How long a socket waits, by the kernel's own time-outs (SO_RCVTIMEO, SO_SNDTIMEO).

With `settimeout` Python makes a socket that never blocks, and asks by `poll` before each connect, send and receive whether
it may go on. Each of these calls gives up the interpreter's lock and has to get it back, which under load is what a measured
latency is wrong by. A socket that blocks is asked once for each.
"""

import math
import socket
from struct import Struct

_LAYOUTS = {16: Struct("@qq"), 8: Struct("@ii")}


def _layout() -> Struct | None:
    """Find how this system writes a `struct timeval`; None where it shows something else."""
    try:
        with socket.socket() as sock:
            shown = sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, 64)
    except OSError:
        return None
    return _LAYOUTS.get(len(shown))


_TIMEVAL = _layout()


def wait_at_most(sock: socket.socket, seconds: float, layout: Struct | None = _TIMEVAL) -> None:
    """Let a socket wait this long for anything; BlockingIOError, or TimeoutError, is how a call on it then ends.

    The socket must be as it was made, or have been through here before.
    """
    if layout is None:
        sock.settimeout(seconds)
        return
    # Nothing at all would be for ever.
    limit = layout.pack(*divmod(max(1, math.ceil(seconds * 1e6)), 1_000_000))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
