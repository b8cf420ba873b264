"""A server of small JSON documents that change: a status page, and endpoints that tell when a key ends."""

import json
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self


def status_page(*, degraded: bool) -> Mapping[str, Any]:
    """Give a summary as Statuspage has it."""
    word, text = ("major", "Partial System Outage") if degraded else ("none", "All Systems Operational")
    return {"page": {"name": "Example"}, "status": {"indicator": word, "description": text}, "components": []}


class Board:
    """Documents by path."""

    def __init__(self) -> None:
        self.documents: dict[str, Any] = {}
        board = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                known = self.path.strip("/") in board.documents
                body = json.dumps(board.documents.get(self.path.strip("/"))).encode()
                self.send_response(200 if known else 404)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_args: Any) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
