"""The form of the audit file: one JSON object a line, each with its number, the hash of the line before it, and its own.

The hash is of the very bytes of the line up to it, so that a reader needs no rule of how JSON is written to check it.
"""

import hashlib
import json
import re
from collections.abc import Mapping

from otelprobe.quick import dataclass

GENESIS = "0" * 64
"""What the first record of a trail names as the hash before it."""

_LINE = re.compile(rb'(\{"seq":([1-9]\d{0,17}),.*"prev":"([0-9a-f]{64})"),"hash":"([0-9a-f]{64})"\}')


@dataclass(frozen=True, slots=True)
class Link:
    """Where a chain stands: the number and hash of its last record; 0 and GENESIS before the first."""

    seq: int = 0
    hash: str = GENESIS


@dataclass(frozen=True, slots=True)
class Entry:
    """A line as it was read. `sound` says that its hash fits its content."""

    seq: int
    prev: str
    hash: str
    sound: bool

    @property
    def link(self) -> Link:
        """Where the chain stands after this line."""
        return Link(self.seq, self.hash)


def chain_line(record: Mapping[str, object], after: Link) -> tuple[bytes, Link]:
    """Write a record as the next line of a chain; give the line and where the chain stands then."""
    seq = after.seq + 1
    body = json.dumps({"seq": seq, **record, "prev": after.hash}, separators=(",", ":")).encode()
    own = hashlib.sha256(body).hexdigest()
    return body[:-1] + f',"hash":"{own}"}}\n'.encode(), Link(seq, own)


def read_line(line: bytes) -> Entry | None:
    """Read a line without its end; None if it is none of ours."""
    found = _LINE.fullmatch(line)
    if found is None:
        return None
    seq, prev, own = int(found[2]), found[3].decode(), found[4].decode()
    return Entry(seq, prev, own, hashlib.sha256(found[1] + b"}").hexdigest() == own)


def signed_text(seq: int, time: str, prev: str) -> bytes:
    """Give what a checkpoint signs: its own place and time, and by the hash all that was written before it."""
    return f"otelprobe audit checkpoint\n{seq}\n{time}\n{prev}".encode()
