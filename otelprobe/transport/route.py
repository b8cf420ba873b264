"""Which way a request goes: directly or through a proxy, by the flow file or by the process-wide environment."""

import os
from dataclasses import field
from functools import lru_cache
from urllib.parse import unquote, urlsplit

from otelprobe.quick import dataclass
from otelprobe.reasons import CheckFailed, Reason

CA_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")
"""The environment's CA files, the first that is set wins."""

_MOST_ORIGINS = 1024
_PROXY_VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy: `tls` says that it is spoken to by TLS, `credentials` is `user:password` for Basic."""

    host: str
    port: int
    tls: bool = False
    credentials: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Target:
    """Where a URL leads: scheme, host (no brackets, lower case), port, and the request target in origin form."""

    scheme: str
    host: str
    port: int
    path: str = field(repr=False)

    @property
    def authority(self) -> str:
        """Host and port as a Host header has them: brackets around IPv6, no default port."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.scheme == "https" else 80) else f"{host}:{self.port}"

    @property
    def origin(self) -> tuple[str, str, int]:
        """What two URLs share that are of the same origin (RFC 6454)."""
        return self.scheme, self.host, self.port

    @property
    def place(self) -> str:
        """Host and port for people and for CONNECT."""
        return place(self.host, self.port)


def place(host: str, port: int) -> str:
    """Write host and port, with brackets around IPv6."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def read_target(url: str) -> Target:
    """Take a prepared URL apart; ValueError if its scheme, host or port does not serve."""
    parts = urlsplit(url)
    scheme = parts.scheme.lower()
    if scheme not in {"http", "https"}:
        raise ValueError("the scheme must be http or https")
    if not parts.hostname:
        raise ValueError("the host is missing")
    port = (443 if scheme == "https" else 80) if parts.port is None else parts.port
    path = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
    return Target(scheme, parts.hostname, port, path)


def choose_proxy(target: Target, configured: str | None) -> Proxy | None:
    """Give the proxy for a target: the flow file's (`none`: no proxy), else the environment's, else none."""
    if configured == "none":
        return None
    if configured:
        return read_proxy(configured, "http.proxy")
    for name in (f"{target.scheme}_proxy", "all_proxy"):
        spelled, value = _variable(name)
        if value:
            return None if _exempt(target, _variable("no_proxy")[1] or "") else read_proxy(value, spelled)
    return None


def _for_origin(scheme: str, host: str, port: int, configured: str | None) -> Proxy | None:
    return choose_proxy(Target(scheme, host, port, "/"), configured)


class Proxies:
    """The proxies of one process by origin: each is looked up once, as the environment of a process stays as it is."""

    def __init__(self) -> None:
        self._find = lru_cache(maxsize=_MOST_ORIGINS)(_for_origin)

    def find(self, target: Target, configured: str | None) -> Proxy | None:
        """Give the proxy for a target as `choose_proxy` does."""
        return self._find(target.scheme, target.host, target.port, configured)


def read_proxy(text: str, source: str) -> Proxy:
    """Read a proxy URL; CheckFailed(config_error) that names `source` and never the text, which may hold a password."""
    scheme, separator, rest = text.strip().partition("://")
    if not separator:
        scheme, rest = "http", text.strip()
    scheme = scheme.lower()
    if scheme.startswith("socks"):
        raise CheckFailed(Reason.CONFIG_ERROR, f"{source}: SOCKS is not supported; give an http:// or https:// proxy")
    if scheme not in {"http", "https"}:
        raise CheckFailed(Reason.CONFIG_ERROR, f"{source}: write http://host:port, https://host:port or none")
    # The last @ ends the user information, also where a password was written without percent-encoding.
    user, at, address = rest.rpartition("@")
    try:
        parts = urlsplit(f"//{address}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host:
        raise CheckFailed(Reason.CONFIG_ERROR, f"{source}: no host and port can be read; write http://host:port")
    tls = scheme == "https"
    return Proxy(host, port or (443 if tls else 80), tls, unquote(user) if at else None)


def _variable(name: str) -> tuple[str, str | None]:
    """Read a proxy variable as urllib does: the lower case wins, and an empty one switches the upper case off.

    HTTP_PROXY is not believed in a CGI process, where a client's `Proxy:` header would set it (CVE-2016-5385).
    """
    value = os.environ.get(name)
    if value is not None:
        return name, value or None
    upper = name.upper()
    if upper == "HTTP_PROXY" and "REQUEST_METHOD" in os.environ:
        return upper, None
    return upper, os.environ.get(upper) or None


def _exempt(target: Target, no_proxy: str) -> bool:
    """Tell whether NO_PROXY names the target: `*`, a host or its parent domain, an address, a CIDR; `:port` limits."""
    return any(_names(entry.lower(), target) for entry in no_proxy.replace(",", " ").split())


def _names(entry: str, target: Target) -> bool:
    if entry == "*":
        return True
    if "/" in entry:
        return _in_network(target.host, entry)
    host, port = _entry_parts(entry)
    if port is not None and port != str(target.port):
        return False
    wanted = target.host.rstrip(".")
    host = host.removeprefix("*").lstrip(".")
    if not host:
        return False
    return wanted == host or wanted.endswith(f".{host}") or (":" in wanted and _in_network(wanted, host))


def _entry_parts(entry: str) -> tuple[str, str | None]:
    """Part host and port of a NO_PROXY entry; a bare IPv6 address has no port."""
    if entry.startswith("["):
        host, _, rest = entry[1:].partition("]")
        return host, rest.removeprefix(":") or None
    if entry.count(":") == 1:
        host, _, port = entry.partition(":")
        return host, port or None
    return entry, None


def _in_network(host: str, network: str) -> bool:
    """Tell whether a host is an address inside a network; anything that is none is not."""
    import ipaddress  # noqa: PLC0415 - NO_PROXY with addresses is rare

    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False


def environment_in_force() -> dict[str, str]:
    """Give the process-wide proxy and CA variables that apply, as they are spelled, user information masked."""
    found = dict(_variable(name) for name in _PROXY_VARIABLES)
    shown = {name: masked(value) for name, value in found.items() if value}
    for name in CA_VARIABLES:
        if value := os.environ.get(name):
            return {**shown, name: value}
    return shown


def masked(url: str) -> str:
    """Hide the user information of a proxy URL."""
    scheme, separator, rest = url.rpartition("://")
    return f"{scheme}{separator}***@{rest.rpartition('@')[2]}" if "@" in rest else url
