"""What every test shares: a clean environment and a real HTTP server that answers as it is told."""

import logging
import os
import socket
import threading
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from tests import verified


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Fail a test that tests/verified.py names for a server that it does not use."""
    if not isinstance(item, pytest.Function):
        return
    peers = verified.peers_by_test().get(verified.name_of(item.path, item.originalname), frozenset())
    if not peers:
        return
    fixtures = [definition.func for found in item._fixtureinfo.name2fixturedefs.values() for definition in found]
    for peer in verified.unused(peers, [item.function, *fixtures]):
        pytest.fail(f"tests/verified.py says that this runs against {peer}, which it does not use", pytrace=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail a test that is skipped, or allowed to fail, though tables of the docs rest on it."""
    report = yield
    named = isinstance(item, pytest.Function) and verified.name_of(item.path, item.originalname)
    if named in verified.peers_by_test() and (report.skipped or hasattr(report, "wasxfail")):
        report.outcome = "failed"
        report.longrepr = "tables of docs/ rest on this test (tests/verified.py): it has to run, and to pass"
    return report


@pytest.fixture(autouse=True)
def _logs_as_before() -> Iterator[None]:
    """Undo what a command that was run within the test has set: its log would go to a standard error that is closed."""
    loggers = [logging.getLogger(name) for name in (None, "otelprobe", "opentelemetry")]
    levels = [logger.level for logger in loggers]
    yield
    root = logging.getLogger()
    root.handlers[:] = [handler for handler in root.handlers if type(handler) is not logging.StreamHandler]
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the machine that runs the tests may reach them."""
    prefixes = ("OTEL_", "OTELPROBE_", "TRACEPARENT")
    proxies = {
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "NO_PROXY",
        "SSL_CERT_FILE",
        "REQUESTS_CA_BUNDLE",
        "CURL_CA_BUNDLE",
    }
    for name in list(os.environ):
        if name.upper().startswith(prefixes) or name.upper() in proxies:
            monkeypatch.delenv(name)


@dataclass
class Seen:
    """One request as the server got it; lines of one header are joined by a comma (RFC 9110, section 5.3)."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes

    @property
    def form(self) -> dict[str, str]:
        """The body as a form, the first value of each field."""
        return {k: v[0] for k, v in parse_qs(self.body.decode(), keep_blank_values=True).items()}


@dataclass
class Answer:
    """What to send back. `headers` may hold a name more than once."""

    status: int = 200
    body: bytes = b""
    headers: list[tuple[str, str]] = field(default_factory=list)


Route = Callable[[Seen], Answer]


def free_port() -> int:
    """Give a port that nobody has."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


class Server:
    """A real HTTP server on a free loopback port; `route` decides each answer, `seen` keeps each request."""

    def __init__(self) -> None:
        self.routes: dict[str, Route] = {}
        self.seen: list[Seen] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                parts = urlsplit(self.path)
                headers = {k.lower(): ", ".join(self.headers.get_all(k) or ()) for k in self.headers}
                seen = Seen(self.command, parts.path, parse_qs(parts.query), headers, self.rfile.read(length))
                server.seen.append(seen)
                route = server.routes.get(parts.path)
                answer = route(seen) if route else Answer(404)
                self.send_response(answer.status)
                for name, value in answer.headers:
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(answer.body)

            do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = do_OPTIONS = _answer

            def log_message(self, *args: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def on(self, path: str, answer: Answer | Route) -> None:
        """Answer `path` with this, whatever the method."""
        self.routes[path] = answer if callable(answer) else lambda _: answer

    def stop(self) -> None:
        """Close the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def server() -> Iterator[Server]:
    """Give a server for one test."""
    running = Server()
    yield running
    running.stop()
