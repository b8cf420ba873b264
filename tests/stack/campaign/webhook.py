"""The far end of the chain: what each receiver of Alertmanager is told, as one story for each alert."""

import json
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

HEARTBEAT = "heartbeat"


@dataclass(frozen=True, slots=True)
class Told:
    """One alert in one notification. `at` is a monotonic time."""

    at: float
    receiver: str
    firing: bool
    fingerprint: str
    labels: Mapping[str, str]

    @property
    def alert(self) -> str:
        """The alert's name."""
        return self.labels["alertname"]


class Webhook:
    """An HTTP server that takes Alertmanager's webhooks; the last part of the path is the receiver's name."""

    def __init__(self) -> None:
        self._told: list[Told] = []
        self._lock = threading.Lock()
        webhook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                document = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                webhook._take(self.path.rsplit("/", 1)[1], document)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_args: Any) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def _take(self, receiver: str, document: Mapping[str, Any]) -> None:
        now = time.monotonic()
        with self._lock:
            self._told += [
                Told(now, receiver, alert["status"] == "firing", alert["fingerprint"], alert["labels"])
                for alert in document["alerts"]
            ]

    def told(self) -> tuple[Told, ...]:
        """Give all that was told so far, without the heartbeat."""
        with self._lock:
            return tuple(told for told in self._told if told.receiver != HEARTBEAT)

    def heartbeats(self) -> int:
        """Count the heartbeats so far."""
        with self._lock:
            return sum(told.receiver == HEARTBEAT for told in self._told)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
