"""In the place of a vendor: an OTLP/HTTP endpoint that asks for a client certificate and looks at who is calling."""

import gzip
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import trustme

from tests.telemetry.receiver import RESPONSES, Inbox


@dataclass(frozen=True, slots=True)
class ClientFiles:
    """What a client needs: the CA to trust, its certificate and its key."""

    ca: Path
    certificate: Path
    key: Path


class Vendor:
    """An endpoint on loopback with mutual TLS; `welcome` decides by the Authorization header, anybody else gets a 401."""

    def __init__(self, folder: Path, welcome: Callable[[str], bool]) -> None:
        authority = trustme.CA()
        self.files = _files(authority, folder)
        self.inbox = Inbox("ok")
        self.refused = 0
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.verify_mode = ssl.CERT_REQUIRED
        authority.issue_cert("127.0.0.1").configure_cert(context)
        authority.configure_trust(context)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler(welcome))
        self._server.daemon_threads = True
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        self.url = f"https://127.0.0.1:{self._server.server_port}"

    def _handler(self, welcome: Callable[[str], bool]) -> type[BaseHTTPRequestHandler]:
        vendor = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                known = welcome(self.headers.get("Authorization", ""))
                answer = b""
                if known:
                    signal = self.path.rsplit("/", 1)[-1]
                    plain = gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body
                    vendor.inbox.take(signal, plain, {})
                    response: Any = RESPONSES[signal]()
                    answer = response.SerializeToString()
                else:
                    vendor.refused += 1
                self.send_response(200 if known else 401)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *args: object) -> None:
                """Say nothing."""

        return Handler

    def stop(self) -> None:
        """Close the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _files(authority: trustme.CA, folder: Path) -> ClientFiles:
    client = authority.issue_cert("collector@example.com")
    files = ClientFiles(folder / "ca.pem", folder / "client.pem", folder / "client-key.pem")
    authority.cert_pem.write_to_path(files.ca)
    client.private_key_pem.write_to_path(files.key)
    files.certificate.write_bytes(b"".join(blob.bytes() for blob in client.cert_chain_pems))
    return files
