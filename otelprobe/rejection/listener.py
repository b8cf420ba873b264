"""Where the prober can be asked for a key while a bad token that names a URL of its own is offered; the words of a flow file."""

from collections.abc import Iterator
from dataclasses import field
from urllib.parse import urlsplit

from otelprobe.fields import Address, Listen, Url, is_loopback
from otelprobe.quick import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """Where the prober listens while a bad token names a URL of its own."""

    url: Url
    """How the API reaches the prober; the token names a URL below it. For https something in front has to end TLS."""

    bind: Address | None = None
    """Where it listens, `host:port` or `:port`; default: the port of `url`, on loopback if that is, else on every address."""

    @property
    def address(self) -> Listen:
        """Where it listens."""
        parts = urlsplit(self.url)
        host = parts.hostname or ""
        port = parts.port or (443 if parts.scheme == "https" else 80)
        return self.bind or Listen(("::1" if host == "::1" else "127.0.0.1") if is_loopback(host) else "", port)

    def faults(self) -> Iterator[tuple[str, str]]:
        """Say what cannot be: a URL that is a template, a port that is drawn."""
        if "${" in self.url or urlsplit(self.url).query or urlsplit(self.url).fragment:
            yield "url", "write host and path only: what is fetched is put below it"
        if self.address.port == 0:
            yield "bind", "port 0 is another one each time: name the port that url leads to"


@dataclass(frozen=True, slots=True)
class Bait:
    """What is served below a path."""

    path: str = field(repr=False)
    body: bytes = field(repr=False)
    media_type: str
