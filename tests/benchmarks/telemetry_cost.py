"""What telemetry costs: CPU of one publish, memory of a thousand flows, and CPU of one collection.

Run by hand: `python tests/benchmarks/telemetry_cost.py [flows]`. Everything goes to a receiver in another process, so
that its memory is not counted.
"""

import multiprocessing
import resource
import sys
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))


def _receive(pipe: Connection) -> None:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    pipe.send(server.server_port)
    server.serve_forever()


def _now() -> tuple[int, int]:
    """Give resident memory now and at its peak, KiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _tell(what: str, since: float) -> None:
    now, peak = _now()
    print(
        f"{what:42} {time.process_time() - since:7.3f} s CPU   rss {now / 1024:6.1f} MiB   peak {peak / 1024:6.1f} MiB"
    )


def main() -> None:
    flows = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    receiver = context.Process(target=_receive, args=(theirs,), daemon=True)
    receiver.start()
    endpoint = f"http://127.0.0.1:{ours.recv()}"

    from otelprobe.telemetry import Telemetry  # noqa: PLC0415 - after the receiver was spawned, which imports this file
    from tests.telemetry.samples import facts, passed, settings  # noqa: PLC0415 - as above

    started = time.process_time()
    names = [f"flow-{n}" for n in range(flows)]
    telemetry = Telemetry(settings(endpoint, mode="long_lived", metric_interval=3600.0))
    _tell("set up, exporters loaded", started)
    mark = time.process_time()
    telemetry.register([facts(name) for name in names])
    _tell(f"register {flows} flows", mark)
    for turn in range(3):
        runs = [replace(passed(name), start_ns=time.time_ns(), end_ns=time.time_ns()) for name in names]
        cpu = 0.0
        for run in runs:
            mark = time.thread_time()
            telemetry.publish(run)
            cpu += time.thread_time() - mark
            time.sleep(0.002)
        del runs
        print(f"publish, turn {turn}: {cpu / flows * 1000:.3f} ms CPU each")
        _tell("   resident", time.process_time())
    mark = time.process_time()
    wall = time.monotonic()
    delivery = telemetry.close(60.0)
    _tell(f"close, {time.monotonic() - wall:.2f} s wall", mark)
    print(delivery.as_dict())
    receiver.terminate()


if __name__ == "__main__":
    main()
