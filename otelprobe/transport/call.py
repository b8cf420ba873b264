"""What is asked for: one request ready to be sent, where a redirect leads it, and how its URL may be told."""

import re
from collections.abc import Mapping
from dataclasses import field, replace
from functools import lru_cache
from urllib.parse import unquote, urljoin, urlsplit, urlunsplit

from requests import PreparedRequest

from otelprobe import __version__
from otelprobe.fields import is_loopback
from otelprobe.quick import dataclass, quick
from otelprobe.reasons import CheckFailed, Reason
from otelprobe.transport.dial import basic
from otelprobe.transport.route import Target, read_target

USER_AGENT = f"otelprobe/{__version__} (+synthetic check)"

REDIRECTS = frozenset({301, 302, 303, 307, 308})

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_PLAIN = re.compile(r"[ -~]*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_OWN = frozenset({"connection", "transfer-encoding", "content-length", "traceparent"})
_BODY = frozenset({"content-type", "content-encoding", "content-language", "content-location", "digest"})
_HARMLESS = frozenset({"accept", "accept-language", "accept-encoding", "user-agent", "cache-control"}) | _BODY
"""What another origin may see: everything else may be a credential, whether it was named as one or not."""


@quick
@dataclass(frozen=True, slots=True)
class Call:
    """One request before its attempt: `shown` is its URL as it may be published.

    `hidden` says that the URL was filled from a template, so that the path of a redirect, which may repeat what was
    filled in, is not published either. Headers named in `twice`, in lower case, are sent on two lines.
    """

    method: str
    url: str = field(repr=False)
    shown: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes | None = field(repr=False)
    hidden: bool = False
    twice: frozenset[str] = frozenset()


@quick
@dataclass(frozen=True, slots=True)
class Prepared:
    """A request ready for the wire, and where its URL leads; `takes_any_coding`: its caller named codings of his own."""

    method: str
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    body: bytes | None = field(repr=False)
    target: Target
    takes_any_coding: bool = False


def first_call(method: str, url: str, headers: Mapping[str, str], body: bytes | None, safe_url: str | None) -> Call:
    """Check what cannot be sent as it is; CheckFailed(config_error) names the header, never a value."""
    if not _TOKEN.fullmatch(method):
        raise CheckFailed(Reason.CONFIG_ERROR, "the method is no HTTP method name")
    if _CONTROL.search(url):
        raise CheckFailed(Reason.CONFIG_ERROR, "the URL has a line break or another control character in it")
    for name, value in headers.items():
        _check_name(name)
        if _PLAIN.fullmatch(value):
            continue
        if _CONTROL.search(value.replace("\t", " ")):
            raise CheckFailed(Reason.CONFIG_ERROR, f"header {name}: its value has a line break or a control character")
        if not _is_latin(value):
            raise CheckFailed(Reason.CONFIG_ERROR, f"header {name}: its value has a character outside ISO 8859-1")
    hidden = safe_url is not None and safe_url != url
    url, headers = _user_information(url, headers)
    return Call(method, url, _shown(safe_url or url), headers, body, hidden)


@lru_cache(maxsize=256)
def _check_name(name: str) -> None:
    if not _TOKEN.fullmatch(name):
        raise CheckFailed(Reason.CONFIG_ERROR, "a header name has a character that HTTP does not allow in one")
    if name.lower() in _OWN:
        raise CheckFailed(Reason.CONFIG_ERROR, f"header {name}: it is set by the prober itself; leave it out")


def _is_latin(value: str) -> bool:
    return value.isascii() or max(value) <= "\xff"


def _user_information(url: str, headers: Mapping[str, str]) -> tuple[str, Mapping[str, str]]:
    """Take `user:password@` out of a URL and send it as HTTP Basic, unless an Authorization is given."""
    if "@" not in url:
        return url, headers
    try:
        parts = urlsplit(url)
    except ValueError:
        return url, headers
    user, at, host = parts.netloc.rpartition("@")
    if not at:
        return url, headers
    if not any(name.lower() == "authorization" for name in headers):
        headers = {**headers, "Authorization": basic(unquote(user))}
    return urlunsplit(parts._replace(netloc=host)), headers


def prepare(call: Call, traceparent: str) -> Prepared:
    """Make a call ready for the wire; CheckFailed(config_error) if it cannot be sent."""
    wrong = "the URL cannot be sent: write https://host/path"
    try:
        # What was filled in may be a secret: such a URL is not kept.
        target = _look_at(call.url) if call.hidden else _target(call.url)
    except (OSError, ValueError):
        # The libraries' own texts are left out, and so are they themselves: they repeat the URL.
        pass
    else:
        if not any([value[:1].isspace() for value in call.headers.values()]):  # noqa: C419 - a list is made faster
            return _ready(call, target, traceparent)
        wrong = "a header cannot be sent: no space before its value"
    raise CheckFailed(Reason.CONFIG_ERROR, wrong)


def _look_at(url: str) -> Target:
    """Let requests make a URL ready (IDNA, percent-encoding) and take it apart; ValueError or OSError if it cannot be."""
    prepared = PreparedRequest()
    prepared.prepare_url(url, None)
    return read_target(prepared.url or "")


_target = lru_cache(maxsize=1024)(_look_at)


def _ready(call: Call, target: Target, traceparent: str) -> Prepared:
    """Add to the caller's header lines our own where he gave none. Of two names that differ in case, the last counts."""
    method = call.method.upper()
    found = {name.lower(): (name, value) for name, value in call.headers.items()}
    named = "accept-encoding" in found
    if call.body:
        found["content-length"] = "Content-Length", str(len(call.body))
    elif method not in {"GET", "HEAD"}:
        found["content-length"] = "Content-Length", "0"
    if "host" not in found:
        found["host"] = "Host", target.authority
    for name, line in _STANDING:
        if name not in found:
            found[name] = line
    found["traceparent"] = "traceparent", traceparent
    found["connection"] = "Connection", "close"
    lines = tuple(found.values())
    if call.twice:
        lines = tuple(line for name, line in found.items() for _ in range(2 if name in call.twice else 1))
    return Prepared(method, lines, call.body, target, named)


_STANDING = (
    ("user-agent", ("User-Agent", USER_AGENT)),
    ("accept-encoding", ("Accept-Encoding", "gzip, deflate")),
    ("accept", ("Accept", "*/*")),
)


def next_call(
    call: Call,
    target: Target,
    status: int,
    location: str,
    *,
    same_origin: bool,
    credentials: frozenset[str],
    plain: bool,
) -> Call:
    """Give the call that a redirect asks for, or CheckFailed(redirect_unexpected) where it must not be followed.

    `plain` says that plain http is allowed beyond loopback.
    """
    url = _location(call.url, location, target)
    there = _target_of(url, target)
    crosses = there.origin != target.origin
    if crosses and same_origin:
        raise _unexpected(target, f"to another origin, {there.scheme}://{there.place}, where same_origin is set")
    if crosses and there.scheme == "http" and (target.scheme == "https" or not (plain or is_loopback(there.host))):
        raise _unexpected(target, f"to plain http, {there.place}")
    method, body, headers = call.method, call.body, dict(call.headers)
    if (status == 303 and method.upper() != "HEAD") or (status in {301, 302} and method.upper() == "POST"):
        method, body = "GET", None
        headers = {n: v for n, v in headers.items() if n.lower() not in _BODY}
    if crosses and body is not None:
        raise _unexpected(target, f"to another origin, {there.scheme}://{there.place}, with the request's body")
    if crosses:
        headers = {n: v for n, v in headers.items() if n.lower() in _HARMLESS - credentials}
    shown = f"{there.scheme}://{there.authority}/REDACTED" if call.hidden else redacted(url)
    return replace(call, method=method, url=url, shown=shown, headers=headers, body=body)


def _location(base: str, location: str, target: Target) -> str:
    """Resolve a Location against the URL that answered; user information and fragment are of no use here."""
    if not _CONTROL.search(location):
        try:
            # Header values come as Latin-1; a path written in raw UTF-8 must not be encoded twice.
            parts = urlsplit(urljoin(base, location.encode("latin-1").decode("utf-8", "replace")))
            return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment=""))
        except ValueError:
            pass
    raise _unexpected(target, "to something that is no URL")


def _target_of(url: str, target: Target) -> Target:
    try:
        return _look_at(url)
    except (OSError, ValueError):
        pass
    raise _unexpected(target, "to something that is no http or https URL")


def _unexpected(target: Target, text: str) -> CheckFailed:
    return CheckFailed(Reason.REDIRECT_UNEXPECTED, f"{target.place}: redirected {text}")


def redacted(url: str) -> str:
    """Give a URL as it may be published: no user information, no fragment, every query value REDACTED."""
    try:
        parts = urlsplit(url.strip())
    except ValueError:
        return "invalid"
    query = "&".join(_without_value(part) for part in parts.query.split("&")) if parts.query else ""
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query=query, fragment=""))


_shown = lru_cache(maxsize=1024)(redacted)


def _without_value(part: str) -> str:
    name, equals, _ = part.partition("=")
    return f"{name}=REDACTED" if equals else "REDACTED"
