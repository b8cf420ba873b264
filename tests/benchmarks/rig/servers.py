"""An identity provider, an API and an OTLP receiver in one process of its own, as quick as asyncio makes them.

`python servers.py [--delay SECONDS]` prints its URL and serves until it is ended. Only `/slow` waits: it answers the delay
after the request was read. `/counts` tells how often each page was asked for. Tokens are signed ahead, so that no
cryptography is timed.
"""

import argparse
import asyncio
import json
import selectors
import time
from collections import Counter
from email.utils import formatdate

from otelprobe.tokens import generate_key, public_jwk, sign

CLIENT, AUDIENCE = "otelprobe", "orders"
_TOKEN_LASTS = 3600


class Pages:
    """What is answered, by path."""

    def __init__(self, base: str) -> None:
        key = generate_key("RS256")
        endpoints = ("authorization_endpoint", "token_endpoint", "introspection_endpoint", "revocation_endpoint")
        metadata = {
            "issuer": base,
            "jwks_uri": f"{base}/jwks",
            **{name: f"{base}/{name.partition('_')[0]}" for name in endpoints},
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
        }
        now = int(time.time())
        claims = {
            "iss": base,
            "sub": CLIENT,
            "aud": AUDIENCE,
            "client_id": CLIENT,
            "jti": "1",
            "iat": now,
            "exp": now + _TOKEN_LASTS,
        }
        issued = {
            "access_token": sign(claims, key, "RS256", {"kid": "one"}),
            "token_type": "Bearer",
            "expires_in": _TOKEN_LASTS,
            "scope": "orders:read",
        }
        documents: dict[str, object] = {
            "/.well-known/openid-configuration": metadata,
            "/jwks": {"keys": [{**public_jwk(key, kid="one", alg="RS256"), "use": "sig"}]},
            "/token": issued,
            "/orders": {"status": "ok"},
            "/slow": {"status": "ok"},
        }
        self._bodies = {path: json.dumps(document).encode() for path, document in documents.items()}
        self._counts = Counter[str]()

    def answer(self, path: str) -> bytes:
        """Give the whole answer; an empty protobuf message, which OTLP exporters expect, for what is no page."""
        self._counts[path] += 1
        body = json.dumps(self._counts).encode() if path == "/counts" else self._bodies.get(path)
        kind = "application/x-protobuf" if body is None else "application/json"
        head = f"HTTP/1.1 200 OK\r\nDate: {formatdate(usegmt=True)}\r\nContent-Type: {kind}\r\n"
        return f"{head}Content-Length: {len(body or b'')}\r\n\r\n".encode() + (body or b"")


class Connection(asyncio.Protocol):
    """One connection: a request at a time, kept open unless the request says otherwise."""

    def __init__(self, pages: Pages, delay: float) -> None:
        self._pages, self._delay = pages, delay
        self._buffer = bytearray()
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer as soon as a request is there with its whole body."""
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = bytes(self._buffer[:end]).lower()
        _, _, length = head.partition(b"content-length:")
        size = end + 4 + int(length.split(b"\r\n")[0] or 0)
        if len(self._buffer) < size:
            return
        del self._buffer[:size]
        path = head.split(b" ", 2)[1].decode().partition("?")[0]
        last = b"connection: close" in head
        if path == "/slow" and self._delay:
            asyncio.get_running_loop().call_later(self._delay, self._write, path, last)
        else:
            self._write(path, last)

    def _write(self, path: str, last: bool) -> None:
        assert self._transport is not None
        self._transport.write(self._pages.answer(path))
        if last:
            self._transport.close()


async def serve(delay: float) -> None:
    """Serve until the process is ended."""
    pages: list[Pages] = []
    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(pages[0], delay), "127.0.0.1", 0, backlog=1024
    )
    base = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    pages.append(Pages(base))
    print(base, flush=True)
    await server.serve_forever()


def main() -> None:
    """Read the arguments and serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--delay", type=float, default=0.0)
    given = parser.parse_args()
    # select() waits to the microsecond; epoll, which is the default, rounds up to whole milliseconds.
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selectors.SelectSelector())) as runner:
        runner.run(serve(given.delay))


if __name__ == "__main__":
    main()
