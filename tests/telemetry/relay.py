"""Between prober and receiver: carries bytes both ways and keeps what the prober sent."""

import contextlib
import select
import socket
import threading
from typing import Self

from tests.peers import read_request


class Relay:
    """A TCP relay to a port of loopback; with `connect` it is a proxy that wants a CONNECT first."""

    def __init__(self, port: int, *, connect: bool = False) -> None:
        self._to = port
        self._connect = connect
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._done = threading.Event()
        self._threads = [threading.Thread(target=self._accept)]
        self.port = int(self._listener.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self.sent = b""
        self.asked: list[bytes] = []

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(5)
            assert not thread.is_alive()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, near: socket.socket) -> None:
        with near, socket.create_connection(("127.0.0.1", self._to), 5) as far, contextlib.suppress(OSError):
            if self._connect:
                self.asked.append(read_request(near))
                near.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            while not self._done.is_set():
                for source in select.select([near, far], [], [], 0.1)[0]:
                    data = source.recv(65536)
                    if not data:
                        return
                    self.sent += data if source is near else b""
                    (far if source is near else near).sendall(data)
