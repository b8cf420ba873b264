"""Reading an answer: status line, header lines and body (RFC 9112), with caps that cost no memory.

http.client is not used for it: it parses header lines as those of mail, which is a tenth of what a request costs and
forgives what no server should send. Its exceptions are, as they say best what is wrong.
"""

import http.client
import io
import re
import zlib
from dataclasses import field

from otelprobe.quick import dataclass, quick
from otelprobe.reasons import CheckFailed, Reason
from otelprobe.transport.dial import Link

_CHUNK = 65536
_LONGEST_LINE = 65536
_MOST_LINES = 100
_INTERIM = 16
"""Most 1xx answers that are read over."""
_MEMBERS = 256
"""Most parts of a gzip body: each costs a copy of all that follow."""


@quick
@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer: `body` is decoded."""

    status: int
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    body: bytes = field(repr=False)


class Reader:
    """Reads one answer from a link; `status` and `version` are known as soon as the header block is."""

    def __init__(self, link: Link, place: str, max_size: int, *, any_coding: bool) -> None:
        self._stream = link.makefile()
        self._place = place
        self._max_size = max_size
        self._any_coding = any_coding
        self.status: int | None = None
        self.version: str | None = None
        self.headers: tuple[tuple[str, str], ...] = ()
        self._first: dict[str, str] = {}
        self.size: int | None = None

    def read(self, method: str) -> Answer:
        """Read the answer to a request of `method`."""
        status = self._head()
        raw = b"" if _has_no_body(method, status) else self._body()
        body = self._decode(raw) if raw else b""
        return Answer(status, self.headers, body)

    def _head(self) -> int:
        """Read the status line and the header block, past interim answers."""
        for _ in range(_INTERIM):
            version, status = _status_line(self._stream)
            headers = _header_block(self._stream)
            if not 100 <= status < 200 or status == 101:
                break
        else:
            raise http.client.HTTPException("too many interim answers")
        self.status, self.version, self.headers = status, version, headers
        self._first = {name.lower(): value for name, value in reversed(headers)}
        return status

    def _body(self) -> bytes:
        """Read the body as it comes, up to the cap; a body cut short is an error."""
        self.size = 0
        if self._first.get("transfer-encoding", "").lower() == "chunked":
            return self._chunked()
        length = self._first.get("content-length", "")
        return self._plain(int(length) if _DECIMAL.fullmatch(length) else None)

    def _plain(self, length: int | None) -> bytes:
        """Read a body of a length that was told, or up to the end of the connection."""
        if length is not None and length > self._max_size:
            raise self._too_large()
        pieces: list[bytes] = []
        left = self._max_size + 1 if length is None else length
        while left and (piece := self._stream.read1(min(left, _CHUNK))):
            left -= len(piece)
            pieces.append(piece)
            self._count(len(piece))
        if length is not None and left:
            raise http.client.IncompleteRead(b"", left)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _chunked(self) -> bytes:
        """Read a body in chunks (RFC 9112, section 7.1); its trailer is read over."""
        pieces: list[bytes] = []
        while size := _chunk_size(self._stream):
            self._count(size)
            piece = self._stream.read(size)
            if len(piece) < size or self._stream.read(2) != b"\r\n":
                raise http.client.IncompleteRead(b"")
            pieces.append(piece)
        for _ in range(_MOST_LINES):
            if _line(self._stream, "trailer line") in _BLANK:
                return b"".join(pieces)
        raise http.client.HTTPException(f"got more than {_MOST_LINES} trailers")

    def _count(self, size: int) -> None:
        self.size = (self.size or 0) + size
        if self.size > self._max_size:
            raise self._too_large()

    def _decode(self, raw: bytes) -> bytes:
        """Undo the content codings, the last one first."""
        if "content-encoding" not in self._first:
            return raw
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


_BLANK = frozenset({b"\r\n", b"\n"})
_NAME = re.compile(r"[!-9;-~]+")
# What nearly all servers send, and all of it at once: read in one go. Anything else is looked at line by line.
_PLAIN_BLOCK = re.compile(rb"(?:[!-9;-~]++:[ \t]*+[!-\xff](?:[\t -\xff]*[!-\xff])?\r\n)++\r\n")
_PLAIN_LINE = re.compile(r"([!-9;-~]+):[ \t]*([^\r\n]+)\r\n")
_UNSAFE = re.compile(r"[\r\0]")
_DECIMAL = re.compile(r"[0-9]{1,18}")
_STATUS = re.compile(r"(HTTP/\S*)[ \t]+([0-9]{3})(?:[ \t].*)?")
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;.*)?\r?\n", re.DOTALL)


def _line(stream: io.BufferedReader, what: str) -> bytes:
    """Read a line with its end; it is an error if the stream ends before that."""
    line = stream.readline(_LONGEST_LINE + 1)
    if len(line) > _LONGEST_LINE:
        raise http.client.LineTooLong(what)
    if not line.endswith(b"\n"):
        raise http.client.IncompleteRead(b"")
    return line


def _status_line(stream: io.BufferedReader) -> tuple[str, int]:
    """Read the version, as `1.0` or `1.1`, and the status."""
    if not stream.peek(1):
        raise http.client.RemoteDisconnected("")
    found = _STATUS.fullmatch(_line(stream, "status line").decode("latin-1").rstrip("\r\n"))
    if found is None or found[2] < "100":
        raise http.client.BadStatusLine("")
    if found[1] in {"HTTP/1.0", "HTTP/0.9"}:
        return "1.0", int(found[2])
    if found[1].startswith("HTTP/1."):
        return "1.1", int(found[2])
    raise http.client.UnknownProtocol("")


def _header_block(stream: io.BufferedReader) -> tuple[tuple[str, str], ...]:
    """Read header lines, in order; a value that was folded over several is put on one (RFC 9112, section 5.2)."""
    ready = _PLAIN_BLOCK.match(stream.peek(1))
    if ready is not None and ready[0].count(b"\n") <= _MOST_LINES:
        stream.read(len(ready[0]))
        return tuple(_PLAIN_LINE.findall(ready[0].decode("latin-1")))
    headers: list[tuple[str, str]] = []
    for _ in range(_MOST_LINES + 1):
        line = _line(stream, "header line")
        if line in _BLANK:
            return tuple(headers)
        text = line.decode("latin-1").rstrip("\r\n")
        name, colon, value = text.partition(":")
        if text[:1] in {" ", "\t"} and headers:
            name, folded = headers.pop()
            value = f"{folded} {text.strip()}"
        elif not colon or not _NAME.fullmatch(name):
            raise http.client.HTTPException("a line of the header block is no header")
        if _UNSAFE.search(value):
            raise http.client.HTTPException("a header value has a control character")
        headers.append((name, value.strip(" \t")))
    raise http.client.HTTPException(f"got more than {_MOST_LINES} headers")


def _chunk_size(stream: io.BufferedReader) -> int:
    line = _line(stream, "chunk size")
    found = _SIZE.fullmatch(line)
    if found is None:
        raise http.client.HTTPException("a chunk without a size")
    return int(found[1], 16)


def _has_no_body(method: str, status: int) -> bool:
    return method == "HEAD" or status in {204, 304} or 100 <= status < 200
