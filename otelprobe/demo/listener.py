"""A quiet WSGI server in threads on its own port: TLS in the worker, unlisten and listen again, and a stop that is complete."""

import contextlib
import selectors
import socket
import ssl
import threading
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from werkzeug.serving import ThreadedWSGIServer, WSGIRequestHandler

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

_HANDSHAKE = 5.0
_FAREWELL = 2.0


def bind(host: str, port: int) -> socket.socket:
    """Take a port without listening on it; OSError says which one was taken already."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    taken = socket.socket(family, socket.SOCK_STREAM)
    try:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind((host, port))
    except OSError as error:
        taken.close()
        raise OSError(error.errno, f"cannot take port {port} on {host}: {error.strerror}") from None
    return taken


class _Handler(WSGIRequestHandler):
    """Writes no log lines, and leaves Date and Server to the application."""

    protocol_version = "HTTP/1.1"

    def send_response(self, code: int, message: str | None = None) -> None:
        """Send the status line alone."""
        self.send_response_only(code, message or HTTPStatus(code).phrase)

    def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002 - werkzeug's name
        """Write nothing."""


class _Server(ThreadedWSGIServer):
    """Shakes hands in the worker thread, so that a slow client stops nobody, and knows its workers and connections."""

    request_queue_size = 128
    timeout = 0.0  # `handle_request` is called when there is one

    def __init__(self, taken: socket.socket, app: "WSGIApplication") -> None:
        host, port = taken.getsockname()[:2]
        super().__init__(host, port, app, _Handler, fd=taken.fileno())
        self.socket.close()  # werkzeug works on a copy of the descriptor; one owner is enough
        self.socket = taken
        self.tls: Callable[[], ssl.SSLContext] | None = None
        self.open: set[socket.socket] = set()
        self.workers: set[threading.Thread] = set()
        self._lock = threading.Lock()
        self._bell, self._rope = socket.socketpair()

    def serve(self) -> None:
        """Take connections until `end`, and sleep in between: a hundred of these in a process cost nothing."""
        with self._bell, selectors.DefaultSelector() as waiting:
            waiting.register(self.socket, selectors.EVENT_READ)
            waiting.register(self._bell, selectors.EVENT_READ)
            while self._bell not in {key.fileobj for key, _ in waiting.select()}:
                self.handle_request()

    def end(self) -> None:
        """Let `serve` return."""
        self._rope.close()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Start a worker for a connection."""
        worker = threading.Thread(target=self._work, args=(request, client_address), daemon=True)
        with self._lock:
            self.workers.add(worker)
        worker.start()

    def _work(self, request: Any, client_address: Any) -> None:
        try:
            self.process_request_thread(request, client_address)
        finally:
            with self._lock:
                self.workers.discard(threading.current_thread())

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Serve one connection."""
        connection: socket.socket = request
        if self.tls is not None:
            connection = self.tls().wrap_socket(request, server_side=True, do_handshake_on_connect=False)
        with self._lock:
            self.open.add(connection)
        try:
            if isinstance(connection, ssl.SSLSocket):
                connection.settimeout(_HANDSHAKE)
                connection.do_handshake()
                connection.settimeout(None)
            super().finish_request(connection, client_address)
        finally:
            with self._lock:
                self.open.discard(connection)
            if connection is not request:
                self._end_tls(connection)

    def _end_tls(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_WR)
        connection.close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a connection that broke: clients hang up and refuse certificates here on purpose."""

    def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002 - werkzeug's name
        """Write nothing."""

    def hang_up(self) -> None:
        """Cut every connection and wait for the workers to end."""
        with self._lock:
            connections, workers = tuple(self.open), tuple(self.workers)
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for worker in workers:
            worker.join(_FAREWELL)


class Listener:
    """One server on one port. It refuses connections until `start`, and again after `stop` or while it is `deaf`."""

    def __init__(self, host: str, port: int) -> None:
        self._socket = bind(host, port)
        self._host, self._port = self._socket.getsockname()[:2]
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None
        self._app: WSGIApplication | None = None
        self._tls: Callable[[], ssl.SSLContext] | None = None

    def url(self, scheme: str) -> str:
        """Give the origin."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{scheme}://{host}:{self._port}"

    def start(self, app: "WSGIApplication", tls: Callable[[], ssl.SSLContext] | None) -> None:
        """Listen and serve; `tls` gives the context for each new connection."""
        self._app, self._tls = app, tls
        self._socket.listen(128)
        self._server = _Server(self._socket, app)
        if tls is not None:
            self._server.tls, self._server.ssl_context = tls, tls()
        self._thread = threading.Thread(target=self._server.serve, daemon=True)
        self._thread.start()

    def set_deaf(self, *, deaf: bool) -> None:
        """Refuse connections while keeping the port, or listen again."""
        if deaf and self._server is not None:
            self._close()
            self._socket = bind(self._host, self._port)
        elif not deaf and self._server is None and self._app is not None:
            self.start(self._app, self._tls)

    def stop(self) -> None:
        """End serving and free the port."""
        self._close()
        self._app = None
        self._socket.close()

    def _close(self) -> None:
        if self._server is not None and self._thread is not None:
            self._server.end()
            self._thread.join()
            self._server.server_close()
            self._server.hang_up()
        self._server = self._thread = None
