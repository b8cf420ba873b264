"""What one exchange through the door costs, beside plain requests on the same loopback server in the same run.

Run it with `python tests/benchmarks/http_door.py [calls]`. The server is a process of its own, so that `process_time`
counts the client alone. The ratios of one run say more than the milliseconds, which depend on the machine.
"""

import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import requests

from otelprobe.clock import SystemClock
from otelprobe.fields import HttpOptions
from otelprobe.http import LiveHttp, Request, Wire

BODY = b'{"status": "ok"}'
HEAD = b"HTTP/1.1 200 OK\r\nDate: Sun, 22 Nov 2026 04:00:00 GMT\r\nContent-Type: application/json\r\n"
ROUNDS = 5


def serve() -> None:
    """Answer every request at once, keeping the connection unless the request says otherwise."""
    server = socket.create_server(("127.0.0.1", 0), backlog=128)
    print(server.getsockname()[1], flush=True)
    answer = HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY
    while True:
        peer, _ = server.accept()
        with peer:
            while True:
                asked = peer.recv(65536)
                if not asked:
                    break
                peer.sendall(answer)
                if b"Connection: close" in asked:
                    break


@contextmanager
def server() -> Iterator[str]:
    """Run the server in its own process; give its URL."""
    process = subprocess.Popen([sys.executable, __file__, "serve"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/health"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def cpu_per_call(call: Callable[[], object], calls: int) -> tuple[float, float]:
    """Give the milliseconds of CPU and of wall time for one call."""
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(calls):
        call()
    return (time.process_time() - cpu) * 1e3 / calls, (time.perf_counter() - wall) * 1e3 / calls


def subjects(url: str, session: requests.Session) -> dict[str, Callable[[], object]]:
    """Give what is compared: the door, requests.get, and a session kept alive."""
    clock = SystemClock()
    door = LiveHttp(clock)
    options = HttpOptions(timeout=5.0, max_size=1024**2)

    def through_the_door() -> object:
        request = Request(method="GET", url=url, options=options, deadline=clock.monotonic() + 5)
        return door.send(request, Wire(trace_id=1, draw_span_id=lambda: 1)).body

    return {
        "otelprobe door (new connection)": through_the_door,
        "requests.get (new session and connection)": lambda: requests.get(url, timeout=5).content,
        "requests.Session kept (same connection)": lambda: session.get(url, timeout=5).content,
    }


def main(calls: int) -> None:
    """Print the table."""
    for name in [n for n in os.environ if n.lower().endswith("_proxy")]:
        del os.environ[name]
    with server() as url, requests.Session() as session:
        compared = subjects(url, session)
        rows: dict[str, list[tuple[float, float]]] = {name: [] for name in compared}
        for call in compared.values():
            cpu_per_call(call, 20)  # imports and caches are warm
        for _ in range(ROUNDS):
            session.close()  # the server serves one connection at a time
            for name, call in compared.items():
                rows[name].append(cpu_per_call(call, calls))
    costs = {name: statistics.median(cpu for cpu, _ in row) for name, row in rows.items()}
    ours = next(iter(costs.values()))
    print(f"{'':44} {'CPU ms':>8} {'wall ms':>8} {'CPU ratio to the door':>22}")
    for name, row in rows.items():
        wall = statistics.median(w for _, w in row)
        print(f"{name:44} {costs[name]:8.3f} {wall:8.3f} {costs[name] / ours:22.2f}")


if __name__ == "__main__":
    if sys.argv[1:] == ["serve"]:
        serve()
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 300)
