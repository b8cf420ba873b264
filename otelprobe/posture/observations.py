"""What posture rules look at: everything that was seen of a provider, its tokens and an API, frozen. None: not seen."""

from collections.abc import Iterator, Mapping
from dataclasses import field
from urllib.parse import urlsplit

from otelprobe.fields import is_loopback
from otelprobe.http import Reply
from otelprobe.quick import dataclass
from otelprobe.tokens import Jwt, Key

_MOST_READ = 65536


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer of a host to one of the requests that posture sends: status, header lines in order, start of the body."""

    host: str
    https: bool
    status: int
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    text: str = field(default="", repr=False)

    @classmethod
    def of(cls, reply: Reply) -> "Answered":
        """Take what matters of a reply."""
        https = reply.exchange.url.startswith("https:")
        return cls(reply.exchange.host, https, reply.status, reply.headers, reply.text[:_MOST_READ])

    def values(self, name: str) -> tuple[str, ...]:
        """Give every line of a header, in order."""
        return tuple(value for key, value in self.headers if key.lower() == name.lower())

    def value(self, name: str) -> str:
        """Give the first line of a header; empty if there is none."""
        return next(iter(self.values(name)), "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Observations:
    """One look. `max_lifetime` and `max_key_age` (seconds) are what the flow file allows.

    `shared_keys` are names of keys with the other provider that has published them.
    `refused_grant`, `login_page` and `plain_http` are the provider's answers to a token request that it must refuse, to an
    authorization request without redirect URI, and to plain http; `api`, `api_refusal` and `preflight` the API's to a good
    token, to garbage for one, and to a preflight from a foreign origin.
    """

    now: float
    issuer: str | None = None
    document: Mapping[str, object] | None = field(default=None, repr=False)
    client_auth: str | None = None
    insecure_http: bool = False
    keys: tuple[Key, ...] | None = None
    key_cache: float | None = None
    key_age: float | None = None
    shared_keys: tuple[tuple[str, str], ...] | None = None
    token: Jwt | None = field(default=None, repr=False)
    id_token: Jwt | None = field(default=None, repr=False)
    jti_repeated: bool | None = None
    tls: tuple[tuple[str, str], ...] = ()
    refused_grant: Answered | None = None
    login_page: Answered | None = None
    plain_http: tuple[Answered, ...] = ()
    api_host: str | None = None
    api: Answered | None = None
    api_refusal: Answered | None = None
    preflight: Answered | None = None
    origin: str = ""
    max_lifetime: float = 3600.0
    max_key_age: float = 365 * 86400.0

    @property
    def provider(self) -> str:
        """The provider's host."""
        return urlsplit(self.issuer).hostname or "" if self.issuer is not None else ""

    def listed(self, member: str) -> tuple[str, ...] | None:
        """Give a list of the discovery document; empty where it is missing, None without a document."""
        if self.document is None:
            return None
        value = self.document.get(member)
        return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list) else ()

    def answers(self) -> Iterator[Answered]:
        """Give every answer that came over the wire as a client's request would."""
        yield from (a for a in (self.refused_grant, self.login_page, self.api, self.api_refusal) if a is not None)


def is_plain(url: object) -> bool:
    """Tell whether a URL is plain http to somewhere else than this machine."""
    if not isinstance(url, str):
        return False
    try:
        parts = urlsplit(url)
        return parts.scheme == "http" and not is_loopback(parts.hostname or "")
    except ValueError:
        return False
