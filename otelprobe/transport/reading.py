"""Reading an answer: status, header lines and body as http.client parses them, with caps that cost no memory."""

import http.client
import zlib
from dataclasses import dataclass, field
from email.errors import FirstHeaderLineIsContinuationDefect, MissingHeaderBodySeparatorDefect

from otelprobe.reasons import CheckFailed, Reason
from otelprobe.transport.dial import Link

_CHUNK = 65536
_INTERIM = 16
"""Most 1xx answers that are read over."""
_MEMBERS = 256
"""Most parts of a gzip body: each costs a copy of all that follow."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer: `wire_size` is the body's size as it came, `body` is decoded."""

    status: int
    phrase: str = field(repr=False)
    version: str
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    body: bytes = field(repr=False)
    wire_size: int


class Reader:
    """Reads one answer from a link; `status` and `version` are known as soon as the status line is."""

    def __init__(self, link: Link, place: str, max_size: int, *, any_coding: bool) -> None:
        self._link = link
        self._place = place
        self._max_size = max_size
        self._any_coding = any_coding
        self.status: int | None = None
        self.version: str | None = None
        self.headers: tuple[tuple[str, str], ...] = ()
        self.size: int | None = None
        self._open: http.client.HTTPResponse | None = None

    def read(self, method: str) -> Answer:
        """Read the answer to a request of `method`."""
        try:
            response = self._head(method)
            raw = self._body(response)
        finally:
            # It must not outlive the connection: its finalizer would flush a closed stream, which Python 3.13 tells.
            if self._open is not None:
                self._open.close()
        body = self._decode(raw) if raw else b""
        return Answer(response.status, response.reason, self.version or "", self.headers, body, len(raw))

    def _head(self, method: str) -> http.client.HTTPResponse:
        """Read the status line and the header block, past interim answers."""
        stream = _Stream(self._link.makefile())
        for _ in range(_INTERIM):
            response = http.client.HTTPResponse(stream, method=method)  # type: ignore[arg-type] # it only calls makefile
            self._open = response
            response.begin()
            if self._link.ended:
                # http.client takes the end of the stream for the end of the header block.
                raise http.client.IncompleteRead(b"")
            if not 100 <= response.status < 200 or response.status == 101:
                break
            response.fp = None  # type: ignore[assignment] # or it would close the stream when it is thrown away
        else:
            raise http.client.HTTPException("too many interim answers")
        self.status = response.status
        self.version = "1.0" if response.version == 10 else "1.1"
        self.headers = tuple((name, _unfolded(value)) for name, value in response.getheaders())
        if any(isinstance(d, _BROKEN) for d in response.msg.defects):
            raise http.client.HTTPException("a line of the header block is no header")
        return response

    def _body(self, response: http.client.HTTPResponse) -> bytes:
        """Read the body as it comes, up to the cap; a body cut short is an error."""
        if response.length is not None and response.length > self._max_size:
            raise self._too_large()
        chunks: list[bytes] = []
        self.size = 0
        while chunk := response.read(_CHUNK):
            chunks.append(chunk)
            self.size += len(chunk)
            if self.size > self._max_size:
                raise self._too_large()
        if response.length:
            raise http.client.IncompleteRead(b"", response.length)
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def _decode(self, raw: bytes) -> bytes:
        """Undo the content codings, the last one first."""
        listed = ",".join(v for n, v in self.headers if n.lower() == "content-encoding")
        codings = [c for c in (part.strip().lower() for part in listed.split(",")) if c not in {"", "identity"}]
        if len(codings) > 4:
            raise CheckFailed(Reason.HTTP_PROTOCOL_ERROR, f"{self._place}: the body is encoded more than four times")
        for coding in reversed(codings):
            if coding in {"gzip", "x-gzip"}:
                raw = self._inflate(raw, zlib.MAX_WBITS | 16)
            elif coding == "deflate":
                raw = self._deflated(raw)
            elif self._any_coding:
                return raw
            else:
                raise CheckFailed(
                    Reason.HTTP_PROTOCOL_ERROR, f"{self._place}: the body is in a content coding that was not asked for"
                )
        return raw

    def _deflated(self, raw: bytes) -> bytes:
        """Undo `deflate`: zlib by the standard (RFC 9110, section 8.4.1.2), raw deflate by some servers."""
        try:
            return self._inflate(raw, zlib.MAX_WBITS)
        except zlib.error:
            pass
        return self._inflate(raw, -zlib.MAX_WBITS)

    def _inflate(self, raw: bytes, window: int) -> bytes:
        """Unpack up to the cap and no byte further; gzip may have several members, and rubbish behind the last one."""
        out = bytearray()
        for _ in range(_MEMBERS):
            unpacker = zlib.decompressobj(window)
            out += unpacker.decompress(raw, self._max_size + 1 - len(out))
            if len(out) > self._max_size:
                raise self._too_large()
            if not unpacker.eof:
                raise zlib.error("the compressed body is cut short")
            raw = unpacker.unused_data
            if not (window > zlib.MAX_WBITS and raw.startswith(b"\x1f\x8b")):
                return bytes(out)
        raise zlib.error("a compressed body in too many parts")

    def _too_large(self) -> CheckFailed:
        text = f"the answer is larger than {self._max_size} bytes; raise http.max_size if it should be"
        return CheckFailed(Reason.RESPONSE_TOO_LARGE, f"{self._place}: {text}")


_BROKEN = (FirstHeaderLineIsContinuationDefect, MissingHeaderBodySeparatorDefect)


class _Stream:
    """A stream as http.client wants it: something to call makefile on, the same reader each time."""

    def __init__(self, stream: object) -> None:
        self._stream = stream

    def makefile(self, *_: object) -> object:
        return self._stream


def _unfolded(value: str) -> str:
    """Put a header value that was folded over several lines on one (RFC 9112, section 5.2)."""
    return " ".join(value.split("\r\n")) if "\r" in value else value
