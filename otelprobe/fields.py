"""The words a flow file is written in: durations, sizes, rates, secrets, patterns, expectations on values.

Each type says how its text is read, what is wrong with it and how to mend it, and its JSON schema. They are used as
metadata of annotations (`Annotated[float, DURATION]`), so that a step is a plain frozen dataclass: `config.decode` reads
the annotations, and a run that only executes steps pays for no validation library. (Importing pydantic costs as much as
half of all the libraries a run needs; `tests/benchmarks/cold_start.py` measures it.)
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import field, fields
from functools import cache
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import parse_qsl, urlsplit

from otelprobe.patterns import Pattern
from otelprobe.quick import dataclass
from otelprobe.reasons import CheckFailed, Reason


@dataclass(frozen=True, slots=True, eq=False)
class Scalar:
    """How one kind of text becomes a value.

    `parse` raises ValueError with a message that says what is expected and never repeats the input (it may be a secret).
    """

    parse: Callable[[object], Any]
    schema: Mapping[str, object] = field(default_factory=dict)


_LONGEST = 36500 * 86400.0
"""Seconds: what is longer is a slip, and beyond what the system's own timers take."""

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZES = {"B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3, "kB": 1000, "MB": 1000**2, "GB": 1000**3}
_PER = {"s": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h|d))+")
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_SIZE = re.compile(r"([0-9]{1,15})(B|KiB|MiB|GiB|kB|MB|GB)")
_RATE = re.compile(r"([0-9]{1,9})/(s|min|m|h|d)")
_LISTEN = re.compile(r"(\[[0-9A-Fa-f:]+\]|[A-Za-z0-9_.-]*):(\d{1,5})")
_LOOPBACK = re.compile(r"127(?:\.\d{1,3}){3}")
_PERCENT = re.compile(r"(\d+(?:\.\d+)?)%")


def parse_duration(value: object) -> float:
    """Read `250ms`, `5s`, `15m`, `2h`, `90d` or a sum such as `1h30m` as seconds."""
    if isinstance(value, str) and _DURATION.fullmatch(value):
        seconds = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(value))
        if seconds > _LONGEST:
            raise ValueError("the duration is too long: at most 36500d")
        return seconds
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise ValueError("a duration needs a unit: write 250ms, 5s, 15m, 2h or 90d")
    raise ValueError("not a duration: write 250ms, 5s, 15m, 2h or 90d")


def _positive_duration(value: object) -> float:
    seconds = parse_duration(value)
    if seconds <= 0:
        raise ValueError("the duration must be longer than zero")
    return seconds


def parse_size(value: object) -> int:
    """Read `512B`, `64KiB`, `1MiB`, `10MB` as bytes."""
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if match:
        return int(match[1]) * _SIZES[match[2]]
    if isinstance(value, int) and not isinstance(value, bool):
        raise ValueError("a size needs a unit: write 512B, 64KiB or 1MiB")
    raise ValueError("not a size: write 512B, 64KiB or 1MiB")


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `count` per `per` seconds."""

    count: int
    per: float


def parse_rate(value: object) -> Rate:
    """Read `30/min` as 30 per 60 seconds."""
    match = _RATE.fullmatch(value) if isinstance(value, str) else None
    if not match or int(match[1]) == 0:
        raise ValueError("not a rate: write 30/min, 5/s or 1000/h")
    return Rate(int(match[1]), _PER[match[2]])


@dataclass(frozen=True, slots=True)
class Listen:
    """An address to listen at. An empty host is every address, of IPv6 and IPv4."""

    host: str
    port: int

    def __str__(self) -> str:
        """Write it as it is read."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(value: object) -> Listen:
    """Read `host:port`, or `:port` for every address."""
    match = _LISTEN.fullmatch(value) if isinstance(value, str) else None
    if not match or int(match[2]) > 65535:
        raise ValueError("not an address: write host:port, :port for every address")
    return Listen(match[1].strip("[]"), int(match[2]))


def parse_percent(value: object) -> float:
    """Read `99.9%` as 0.999."""
    match = _PERCENT.fullmatch(value) if isinstance(value, str) else None
    share = round(float(match[1]) / 100, 10) if match else 0.0
    if not 0 < share < 1:
        raise ValueError("not a percentage between 0% and 100%: write 99.9%")
    return share


def parse_regex(value: object) -> Pattern:
    """Accept a regular expression in the syntax of Python's `re`."""
    if not isinstance(value, str):
        raise ValueError("not a regular expression: write it as text, in quotes")
    pattern = Pattern(value)
    pattern.check()
    return pattern


def _is_host(host: str) -> bool:
    """Tell whether a host name's parts are of a length that there can be (RFC 1035); a dot at the end is allowed."""
    return ":" in host or "${" in host or all(0 < len(part) < 64 for part in host.removesuffix(".").split("."))


def parse_url(value: object) -> str:
    """Accept an absolute http or https URL without user information; `${name}` may stand in its path and query."""
    if not isinstance(value, str):
        raise ValueError("not a URL: write https://host/path")
    try:
        parts = urlsplit(value)
        _ = parts.port
    except ValueError:
        raise ValueError("not a URL: its port or host cannot be read") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("not an absolute URL: write https://host/path")
    if not _is_host(parts.hostname):
        raise ValueError("not a URL: its host has an empty part, or one of more than 63 characters")
    if parts.username is not None or parts.password is not None:
        raise ValueError("no user or password in a URL: use auth: {basic: ...}")
    if "${" in parts.netloc:
        raise ValueError("the host of a URL is fixed: ${...} may stand in its path and query only")
    if any(c.isspace() or ord(c) < 32 for c in value):
        raise ValueError("white space in a URL: write it percent-encoded")
    for name in literal_secrets(dict(parse_qsl(parts.query))):
        raise ValueError(
            f"{name}: a literal secret is refused: use auth: {{api_key: {{query: {name}, value: {{env: NAME}}}}}},"
            " or http: {headers: ...}"
        )
    return value


def parse_proxy(value: object) -> str:
    """Accept the URL of an http proxy, or `none` for no proxy whatever the environment says."""
    if value == "none":
        return "none"
    try:
        return parse_url(value)
    except ValueError:
        raise ValueError("not a proxy: write none, or http://host:port without user and password") from None


def parse_ip_version(value: object) -> int:
    """Accept 4 or 6."""
    if isinstance(value, bool) or value not in (4, 6):
        raise ValueError("not an IP version: write 4 or 6")
    return 4 if value == 4 else 6


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine's loopback: `localhost`, a name below it, 127.0.0.0/8 or ::1."""
    return host == "localhost" or host.endswith(".localhost") or host == "::1" or bool(_LOOPBACK.fullmatch(host))


@cache
def compile_jsonpath(text: str) -> Any:
    """Compile an RFC 9535 query with python-jsonpath, strictly; ValueError if it is none. Imported on first use."""
    from jsonpath.exceptions import JSONPathError  # noqa: PLC0415 - 0.1 s that flows without JSON paths need not pay

    from otelprobe.json_queries import environment  # noqa: PLC0415 - as above

    try:
        return environment().compile(text)
    except JSONPathError as error:
        raise ValueError(f"not a JSONPath (RFC 9535): {str(error).splitlines()[0]}") from None


def parse_jsonpath(value: object) -> str:
    """Accept an RFC 9535 JSONPath such as `$.status`."""
    if not isinstance(value, str) or not value.startswith("$"):
        raise ValueError("not a JSONPath: it starts with $, as in $.status")
    compile_jsonpath(value)
    return value


def find_json(path: str, document: object) -> list[object]:
    """Give every value that `path` selects in `document`, in order; an empty list where nothing is there.

    CheckFailed(assertion_failed) for a document that is nested too deeply to be searched; CheckFailed (config_error, or
    deadline_exceeded if no time was left) if it takes too long.
    """
    from jsonpath.exceptions import JSONPathError  # noqa: PLC0415 - as above

    from otelprobe.json_queries import find  # noqa: PLC0415 - as above

    try:
        return find(path, compile_jsonpath(path), document)
    except (JSONPathError, RecursionError):
        pass
    raise CheckFailed(Reason.ASSERTION_FAILED, f"json {path}: the document is nested too deeply to be searched")


DURATION = Scalar(_positive_duration, {"type": "string", "pattern": f"^{_DURATION.pattern}$", "examples": ["5s"]})
DURATION_OR_ZERO = Scalar(parse_duration, {"type": "string", "pattern": f"^{_DURATION.pattern}$", "examples": ["0s"]})
SIZE = Scalar(parse_size, {"type": "string", "pattern": f"^{_SIZE.pattern}$", "examples": ["64KiB"]})
RATE = Scalar(parse_rate, {"type": "string", "pattern": f"^{_RATE.pattern}$", "examples": ["30/min"]})
PERCENT = Scalar(parse_percent, {"type": "string", "pattern": f"^{_PERCENT.pattern}$", "examples": ["99.9%"]})
REGEX = Scalar(parse_regex, {"type": "string", "format": "regex"})
URL = Scalar(parse_url, {"type": "string", "format": "uri", "pattern": "^https?://"})
PROXY = Scalar(parse_proxy, {"type": "string", "pattern": "^(none$|https?://)"})
IP_VERSION = Scalar(parse_ip_version, {"enum": [4, 6]})
ADDRESS = Scalar(parse_address, {"type": "string", "pattern": f"^{_LISTEN.pattern}$", "examples": [":8089"]})
JSONPATH = Scalar(parse_jsonpath, {"type": "string", "pattern": r"^\$"})

Duration = Annotated[float, DURATION]
DurationOrZero = Annotated[float, DURATION_OR_ZERO]
Size = Annotated[int, SIZE]
RateLimit = Annotated[Rate, RATE]
Percent = Annotated[float, PERCENT]
Regex = Annotated[Pattern, REGEX]
Url = Annotated[str, URL]
ProxyUrl = Annotated[str, PROXY]
IpVersion = Annotated[int, IP_VERSION]
Address = Annotated[Listen, ADDRESS]
JsonPath = Annotated[str, JSONPATH]


_MOST_NAMED = 8
"""Names of files that a message lists at most."""


def _instead(file: str, error: OSError) -> str:
    """Say what stands in the place of a file that is not there: of a mounted Secret the keys that it has, by name."""
    folder = Path(file).parent
    if not isinstance(error, FileNotFoundError):
        return ""
    if not folder.is_dir():
        return f"; there is no {folder} either: is it mounted?"
    if not (folder / "..data").is_symlink():  # how a kubelet mounts Secrets and ConfigMaps
        return ""
    try:
        keys = sorted(path.name for path in folder.iterdir() if not path.name.startswith(".."))
    except OSError:
        return ""
    if not keys:
        return "; what is mounted there is empty: does the Secret exist in this namespace?"
    more = ", ..." if len(keys) > _MOST_NAMED else ""
    return f"; what is mounted there has {', '.join(keys[:_MOST_NAMED])}{more}, and no key {Path(file).name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretRef:
    """Where a secret is read from, at each use, so that a rotated one is picked up: an environment variable or a file."""

    env: str | None = None
    """Name of an environment variable."""

    file: str | None = None
    """Path of a file; a line end after the secret is cut off."""

    def read(self) -> str:
        """Read the secret. A trailing line end of a file is cut off. CheckFailed(secret_missing) if there is none."""
        if self.env is not None:
            value = os.environ.get(self.env, "")
            if not value:
                raise CheckFailed(Reason.SECRET_MISSING, f"environment variable {self.env} is not set or empty")
            return value
        try:
            value = Path(self.file or "").read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            why = (
                f"{error.strerror}{_instead(self.file or '', error)}"
                if isinstance(error, OSError)
                else "it is not UTF-8 text"
            )
            raise CheckFailed(Reason.SECRET_MISSING, f"secret file {self.file}: {why}") from None
        if not value:
            raise CheckFailed(Reason.SECRET_MISSING, f"secret file {self.file} is empty")
        return value

    @property
    def source(self) -> str:
        """Name where the secret comes from, never what it is."""
        return f"env {self.env}" if self.env is not None else f"file {self.file}"


_SECRET_NAME = re.compile(
    r"(?i:password|passwd|passphrase|secret|api[-_]?key)|(?:^|[-_.])(?i:token)$|[a-z]Token$",
)
_PLACEHOLDER = re.compile(
    r"\*+|x+|<[^<>]*>|change[-_ ]?me|placeholder|redacted|(?:wrong|invalid|dummy|fake|example)(?:[-_ ].*)?",
    re.IGNORECASE,
)
"""What stands for a secret and is obviously none, as where a refusal is the answer that is wanted."""

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e\xa0-\xff]*")


def literal_secrets(members: Mapping[str, object]) -> Iterator[str]:
    """Give the names of members that are called like a secret and hold a text or number: no flow file may show one."""
    for name, value in members.items():
        if _SECRET_NAME.search(str(name)) and isinstance(value, str | int) and not isinstance(value, bool):
            text = str(value)
            if text and "${" not in text and not _PLACEHOLDER.fullmatch(text):
                yield name


def header_faults(headers: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Say which headers cannot be sent as they are written: pairs of member and mend; no value is shown."""
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name):
            yield "headers", "a header name has a character that HTTP does not allow in one"
        elif not _HEADER_VALUE.fullmatch(value):
            yield "headers", f"{name}: its value has a line break, a control character or one outside ISO 8859-1"


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpOptions:
    """How to reach a host. What is not set is as the next wider `http:` block says, in the end the default."""

    timeout: Duration | None = None
    """Total of one request, from name look-up to last byte, not per read; default 5s."""

    proxy: ProxyUrl | None = None
    """HTTP proxy, without user and password; `none` ignores the proxy variables too."""

    ca_file: str | None = None
    """CA certificates in PEM, a file or a directory, in place of the default ones."""

    client_cert: str | None = None
    """Client certificate in PEM, for mutual TLS."""

    client_key: str | None = None
    """Key of the client certificate in PEM, if it is in another file; not encrypted."""

    ip_version: IpVersion | None = None
    """Connect by this version of IP only."""

    headers: Mapping[str, str | SecretRef] = field(default_factory=dict, repr=False)
    """Added to every request, secrets as `{env: NAME}` or `{file: PATH}`; no `Authorization`, `Cookie` or
    `Proxy-Authorization`.
    """

    max_size: Size | None = None
    """Cap on a response body, compressed and not; default 1MiB."""

    insecure_http: bool | None = None
    """`true` allows plain http beyond loopback."""

    def faults(self) -> Iterator[tuple[str, str]]:
        """Say what must not stand here: pairs of member and mend."""
        if any(name.lower() in {"authorization", "cookie", "proxy-authorization"} for name in self.headers):
            yield (
                "headers",
                "a literal secret is refused: remove the header, and use auth: where a credential is to be sent",
            )
        texts = {name: value for name, value in self.headers.items() if isinstance(value, str)}
        for name in literal_secrets(texts):
            yield "headers", f"{name}: a literal secret is refused: write {{env: NAME}} or {{file: PATH}}"
        yield from header_faults({**dict.fromkeys(self.headers, ""), **texts})

    def over(self, wider: "HttpOptions") -> "HttpOptions":
        """Give these options with every gap filled from `wider`; header lists are merged, the nearest wins."""
        if self is UNSAID or self == UNSAID:
            return wider
        names = (f.name for f in fields(self))
        values = {name: getattr(wider if getattr(self, name) is None else self, name) for name in names}
        return HttpOptions(**{**values, "headers": {**wider.headers, **self.headers}})

    def secrets(self) -> tuple[SecretRef, ...]:
        """Give the secrets among the headers."""
        return tuple(value for value in self.headers.values() if isinstance(value, SecretRef))


UNSAID = HttpOptions()
"""Where nobody says anything."""

DEFAULT_HTTP = HttpOptions(timeout=5.0, max_size=1024**2, insecure_http=False)
"""What holds where nobody says anything: 5 s is long enough for any healthy provider and short enough for a 20 s flow."""
