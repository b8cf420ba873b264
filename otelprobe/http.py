"""The only door to the network, and the only importer of requests: one request in, one reply or one reason out."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Protocol

from otelprobe.fields import HttpOptions
from otelprobe.result import Exchange


class Redirects(StrEnum):
    """Whether redirects are followed; a credential never goes to another origin, whatever is set."""

    NONE = "none"
    SAME_ORIGIN = "same_origin"
    FOLLOW = "follow"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What to send.

    `safe_url` is what may be published where `url` was filled from `${}` (default: `url` itself; query values and user
    information are redacted by the door in any case). `deadline` is a point of the monotonic clock: the request ends by
    it or by its own `options.timeout`, whichever comes first. `headers` that carry a credential are named in
    `credential_headers`, so that a redirect to another origin drops them.
    """

    method: str
    url: str = field(repr=False)
    options: HttpOptions
    deadline: float
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes | None = field(default=None, repr=False)
    safe_url: str | None = None
    redirects: Redirects = Redirects.NONE
    max_redirects: int = 3
    credential_headers: frozenset[str] = frozenset({"authorization", "cookie", "dpop"})
    control: bool = False


@dataclass(frozen=True)
class Reply:
    """What came back: status, raw header list in order, body up to the cap. Body and headers never show in a repr."""

    exchange: Exchange
    status: int
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    body: bytes = field(repr=False)

    def values(self, name: str) -> tuple[str, ...]:
        """Give every value of a header, one for each line that was sent, in order."""
        wanted = name.lower()
        return tuple(v for n, v in self.headers if n.lower() == wanted)

    def value(self, name: str, default: str = "") -> str:
        """Give the first value of a header, or the default."""
        return next(iter(self.values(name)), default)

    @property
    def media_type(self) -> str:
        """The media type without parameters, lower case; empty if none was sent."""
        return self.value("Content-Type").partition(";")[0].strip().lower()

    @cached_property
    def text(self) -> str:
        """The body as text: UTF-8, or UTF-16 with a byte-order mark; what cannot be decoded is replaced."""
        if self.body[:2] in {b"\xff\xfe", b"\xfe\xff"}:
            return self.body.decode("utf-16", "replace")
        return self.body.decode("utf-8-sig", "replace")

    def json(self) -> object:
        """Parse the body as JSON whatever its media type; ValueError if it is none."""
        try:
            return json.loads(self.text)
        except RecursionError:
            raise ValueError("nested too deeply") from None


@dataclass(frozen=True, slots=True)
class Wire:
    """One step's line to the door: the trace its requests join, span ids to draw, and the log of what was exchanged."""

    trace_id: int
    draw_span_id: Callable[[], int]
    exchanges: list[Exchange] = field(default_factory=list)


class Http(Protocol):
    """The door. Every attempt, failed or not, is appended to `wire.exchanges` before `send` returns or raises."""

    def send(self, request: Request, wire: Wire) -> Reply:
        """Send and read one request; CheckFailed with a transport reason if no complete answer came."""
        ...
