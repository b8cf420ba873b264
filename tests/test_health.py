"""The health server, asked over real sockets."""

import http.client
import json
import select
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from otelprobe.health import HealthServer, ListenError, Report


def yes() -> Report:
    return Report(ok=True, detail={"status": "ok"})


def no() -> Report:
    return Report(ok=False, detail={"status": "stuck"})


def broken() -> Report:
    raise RuntimeError("canary-secret")


@contextmanager
def serving(host: str = "127.0.0.1", patience: float = 5.0, **questions: object) -> Iterator[HealthServer]:
    server = HealthServer(host, 0, patience=patience, **{"live": yes, "ready": yes, **questions})  # type: ignore[arg-type] # questions only
    server.start()
    try:
        yield server
    finally:
        server.close()


@pytest.fixture(scope="module")
def healthy() -> Iterator[HealthServer]:
    with serving() as server:
        yield server


def ask(server: HealthServer, path: str, method: str = "GET", host: str = "127.0.0.1") -> tuple[int, str, bytes]:
    connection = http.client.HTTPConnection(host, server.port, timeout=5)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, str(answer.headers), answer.read()
    finally:
        connection.close()


def test_yes_and_no_are_200_and_503() -> None:
    """Each question has its path; yes is 200, no is 503, and the detail is JSON."""
    with serving(live=yes, ready=no) as server:
        assert ask(server, "/livez")[0::2] == (200, b'{"status": "ok"}\n')
        status, headers, body = ask(server, "/readyz?verbose")
        assert (status, json.loads(body)) == (503, {"status": "stuck"})
        assert "Content-Type: application/json" in headers
        assert "Cache-Control: no-store" in headers
        assert "Python" not in headers


@pytest.mark.parametrize("path", ["/", "/metrics", "/livez/", "/healthz"])
def test_other_paths_are_404(healthy: HealthServer, path: str) -> None:
    """Nothing else is served."""
    assert ask(healthy, path)[0] == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "CANARY"])
def test_other_methods_are_405(healthy: HealthServer, method: str) -> None:
    """Only GET and HEAD are answered, and nothing of the request is repeated."""
    status, headers, body = ask(healthy, "/livez", method)
    assert status == 405
    assert b"CANARY" not in body
    assert "CANARY" not in headers


def test_head_has_no_body() -> None:
    """HEAD gives the status alone."""
    with serving() as server, socket.create_connection(("127.0.0.1", server.port), timeout=5) as client:
        client.sendall(b"HEAD /livez HTTP/1.0\r\n\r\n")
        answer = b"".join(iter(lambda: client.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.0 200 ")
    assert answer.endswith(b"\r\n\r\n")


def test_a_question_that_breaks_is_a_no_without_its_text() -> None:
    """A fault of ours is 503 with the kind of exception, never its text."""
    with serving(live=broken) as server:
        status, _, body = ask(server, "/livez")
        assert status == 503
        assert b"RuntimeError" in body
        assert b"canary" not in body


@pytest.mark.parametrize(
    "sent",
    [b"\r\n\r\n", b"GET\r\n\r\n", b"GET /livez HTTP/9.9\r\n\r\n", b"x" * 70000 + b"\r\n", b"\x16\x03\x01\x02\x00"],
)
def test_nonsense_is_survived(sent: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    """What is no HTTP is answered or cut off, quietly, and the next client is served."""
    with serving(patience=0.3) as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=5) as client:
            client.sendall(sent)
            try:
                answer = client.recv(65536)
            except ConnectionResetError:
                answer = b""
        assert b"Traceback" not in answer
        assert ask(server, "/livez")[0] == 200
    assert capfd.readouterr() == ("", "")


def test_slow_clients_are_cut_off() -> None:
    """A client that keeps sending a byte at a time is cut off after its time in all, not after each byte."""
    with serving(patience=0.2) as server, socket.create_connection(("127.0.0.1", server.port), timeout=0.02) as client:
        began, ended = time.monotonic(), None
        while ended is None and time.monotonic() - began < 5:
            try:
                client.send(b"G")
                ended = time.monotonic() if client.recv(1) == b"" else None
            except TimeoutError:
                continue
            except OSError:
                ended = time.monotonic()
        assert ended is not None
        assert ended - began >= 0.2


def test_too_many_clients_are_turned_away() -> None:
    """Beyond the limit the oldest idle clients are closed at once, so that one who asks is answered all the same."""
    with serving() as server:
        idle = [socket.create_connection(("127.0.0.1", server.port), timeout=5) for _ in range(70)]
        closed: set[socket.socket] = set()
        end = time.monotonic() + 5
        while len(closed) < 6 and time.monotonic() < end:
            closed |= set(select.select([client for client in idle if client not in closed], [], [], 0.1)[0])
        assert closed == set(idle[:6])
        assert ask(server, "/livez")[0] == 200
        for client in idle:
            client.close()


def test_a_port_in_use_is_told() -> None:
    """A listen address that is taken is named, with what to do."""
    with serving() as server, pytest.raises(ListenError) as caught:
        HealthServer("127.0.0.1", server.port, live=yes, ready=yes)
    assert str(caught.value) == (
        f"cannot listen on 127.0.0.1:{server.port}: Address already in use; "
        "set another listen address, or stop what uses this one"
    )


def test_an_address_of_another_machine_is_told() -> None:
    """An address that this machine does not have is told as such."""
    with pytest.raises(ListenError, match=r"cannot listen on 192\.0\.2\.1:0: "):
        HealthServer("192.0.2.1", 0, live=yes, ready=yes)


def test_close_gives_the_port_back() -> None:
    """After close, and after a close without start, the port is free."""
    with serving() as server:
        port = server.port
    HealthServer("127.0.0.1", port, live=yes, ready=yes).close()
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(("127.0.0.1", port))


def test_an_empty_host_serves_every_address() -> None:
    """Without a host both families that the machine has are served, as a probe in any cluster needs."""
    with serving("") as server:
        assert ask(server, "/livez")[0] == 200
        if socket.has_dualstack_ipv6():
            assert ask(server, "/livez", host="::1")[0] == 200


def test_what_is_no_host_name_is_told() -> None:
    """A host that cannot be a name is refused with a word on what to do."""
    with pytest.raises(ListenError, match="set another listen address"):
        HealthServer("a" * 64 + ".invalid", 0, live=yes, ready=yes)
