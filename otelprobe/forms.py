"""Logging in as a person would, without a browser: redirects, cookies and forms by hand, until the answer comes back.

A walk starts at a URL and ends where the caller says: at a URL that is never asked (a redirect URI needs no listener), at
a form that carries a certain field, or at a page with nothing left to send. Nothing is sent to a host that is not allowed.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import field
from http.cookiejar import Cookie, CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING, NoReturn
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit, urlunsplit
from urllib.request import Request

from otelprobe.fields import SecretRef, is_loopback
from otelprobe.form_rules import Choice, FormRule, Login, choose
from otelprobe.http import Reply
from otelprobe.oauth import ERRORS, raise_oauth_error
from otelprobe.pages import challenged, classify_page, is_html
from otelprobe.quick import dataclass
from otelprobe.reasons import CheckFailed, Reason
from otelprobe.step import Context, ProviderMetadata, Step
from otelprobe.tokens import shown
from otelprobe.trail import Trail
from otelprobe.webform import Form, Page, encode, load_parser, read_page

if TYPE_CHECKING:
    from otelprobe.browser import BrowserWalk

__all__ = [
    "LARGEST_PART",
    "Arrival",
    "BrowsableStep",
    "FormRule",
    "Goal",
    "Login",
    "LoginStep",
    "Walk",
    "provider_hosts",
    "same_place",
]

LARGEST_PART = 16 * 1024**2
"""Bytes of a page, script or style sheet in a browser: those of real log-in pages have some megabytes."""

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_FORM = "application/x-www-form-urlencoded"
_ACCEPT = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.1", "Accept-Language": "en"}
_PARAMETER = re.compile(r"(;[^=/;]*=)[^/;]*")
_HANDLE = re.compile(r"(?<=/)(?=[^/]*\d)(?=[^/]*[A-Za-z])[\w~.-]{20,}(?=/|$)", re.ASCII)
_SECOND_FACTOR = re.compile(
    r"passkey|webauthn|security key|authenticator app|one-time|two-factor|2-step|second factor", re.IGNORECASE
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """Where a walk ends: at `url`, which is never asked, at a form with `field`, or at a `page` with nothing to send.

    `watch` names a parameter that is kept when it goes by; `check` says what to look at if the way ends at once.
    """

    url: str | None = None
    field: str | None = None
    page: bool = False
    watch: str | None = None
    check: str = "client_id and redirect_uri"


@dataclass(frozen=True, slots=True)
class Arrival:
    """The end of a walk: the last answer, and what was to be sent to the goal, by query, fragment or form."""

    reply: Reply = field(repr=False)
    url: str = field(repr=False)
    parameters: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Hop:
    """One request to be made, and the page that it comes from; `pairs` are the fields of a form that is posted."""

    method: str
    url: str = field(repr=False)
    sender: str = field(default="", repr=False)
    body: bytes | None = field(default=None, repr=False)
    media_type: str = ""
    pairs: tuple[tuple[str, str], ...] = field(default=(), repr=False)


def _posting(url: str, form: Mapping[str, str], sender: str = "") -> _Hop:
    """Give the request that posts a form."""
    return _Hop("POST", url, sender, urlencode(form).encode(), _FORM, tuple(form.items()))


class _Policy(DefaultCookiePolicy):
    """The usual rules for cookies; as in browsers, this machine's loopback counts as a secure place."""

    def return_ok_secure(self, cookie: Cookie, request: Request) -> bool:
        """Tell whether a cookie that is marked Secure may be sent."""
        return not cookie.secure or request.type == "https" or is_loopback(urlsplit(request.full_url).hostname or "")


class _Answer:
    """A reply in the shape that the standard library's cookie jar reads."""

    def __init__(self, reply: Reply) -> None:
        self._reply = reply

    def info(self) -> "_Answer":
        """Give what has the headers."""
        return self

    def get_all(self, name: str, default: list[str]) -> list[str]:
        """Give every value of a header."""
        return list(self._reply.values(name)) or default


def provider_hosts(ctx: Context) -> frozenset[str]:
    """Give the hosts that are the provider's own: the issuer's and those of its endpoints."""
    metadata, provider = ctx.find(ProviderMetadata), ctx.provider
    urls = [
        *((provider.issuer, *provider.endpoints.values()) if provider is not None else ()),
        *(metadata.endpoints.values() if metadata is not None else ()),
    ]
    return frozenset((urlsplit(str(url)).hostname or "").lower() for url in urls)


def same_place(url: str, wanted: str) -> bool:
    """Tell whether a URL is `wanted` with an answer added to its query or fragment (exact but for that)."""
    found, goal = urlsplit(url), urlsplit(wanted)
    asked = set(parse_qsl(goal.query, keep_blank_values=True))
    return found[:3] == goal[:3] and asked <= set(parse_qsl(found.query, keep_blank_values=True))


class Walk:
    """One log-in under way. `sent` counts the forms that were sent, also where it fails; `watched` is what went by."""

    def __init__(self, ctx: Context, login: Login, goal: Goal, hosts: frozenset[str]) -> None:
        self._ctx = ctx
        self._login = login
        self._goal = goal
        self._hosts = hosts
        self._jar = CookieJar(_Policy())
        self._asked: set[str] = set()
        self._trail = Trail()
        self.sent = 0
        self.watched: str | None = None

    def run(self, url: str, form: Mapping[str, str] | None = None) -> Arrival:
        """Walk from `url`, to which a form may be posted at first, to the goal; CheckFailed with what stood in the way."""
        load_parser()
        self._asked.clear()
        self._hosts |= {(urlsplit(url).hostname or "").lower()}
        hop = _Hop("GET", url) if form is None else _posting(url, form)
        try:
            return self._walk(hop)
        except CheckFailed as failed:
            why = self._trail.explained(failed, self._ctx.deadline - self._ctx.clock.monotonic())
        raise why

    def _walk(self, hop: _Hop) -> Arrival:
        while True:
            self._trail.visit(hop.url, posted=hop.method == "POST")
            self._watch(hop)
            first = self._trail.hops == 1
            reply = self._send(hop, first=first)
            following = self._after(hop, reply, first=first)
            if isinstance(following, Arrival):
                return following
            if self._goal.url is not None and same_place(following.url, self._goal.url):
                return Arrival(reply, following.url, _answer_in(following))
            check_place(self._ctx, self._hosts, following.url, hop.url)
            hop = following

    def allow(self, *hosts: str) -> None:
        """Let the log-in lead to these hosts too."""
        self._hosts |= {host.lower() for host in hosts if host}

    def submit(self, arrival: Arrival, headers: Mapping[str, str] | None = None, *, control: bool = False) -> Reply:
        """Send what arrived on to where it was to go, with the cookies of the log-in, and follow nothing."""
        sender = f"{_origin(arrival.reply.exchange.url)}/"
        hop = _posting(arrival.url, arrival.parameters, sender)
        return self._send(hop, first=False, headers=headers, control=control)

    def fetch(self, url: str, headers: Mapping[str, str] | None = None, *, control: bool = False) -> Reply:
        """Get a page with the cookies of the log-in, and follow nothing."""
        return self._send(_Hop("GET", url), first=True, headers=headers, control=control)

    def cookie(self, name: str, url: str) -> str | None:
        """Give the value of a cookie that is meant for the host of `url`, whatever its path."""
        # The jar writes a host without a dot with `.local` behind it.
        host = (urlsplit(url).hostname or "").lower()
        full = host if "." in host or ":" in host else f"{host}.local"
        meant = (c for c in self._jar if c.name == name and f".{full}".endswith(f".{c.domain.lstrip('.')}"))
        return next((c.value for c in meant if c.value), None)

    def _watch(self, hop: _Hop) -> None:
        if self._goal.watch is not None:
            self.watched = _answer_in(hop).get(self._goal.watch, self.watched)

    def _send(
        self, hop: _Hop, *, first: bool, headers: Mapping[str, str] | None = None, control: bool = False
    ) -> Reply:
        url = urlunsplit(urlsplit(hop.url)._replace(fragment=""))
        safe_url = url if first else without_handles(url)
        told = {**_ACCEPT, **_origin_headers(hop), **self._cookies(url), **(headers or {})}
        reply = self._ctx.send(hop.method, url, headers=told, body=hop.body, safe_url=safe_url, control=control)
        asked = Request(url)  # noqa: S310 - it is never opened: the jar only reads where the cookies come from
        self._jar.extract_cookies(_Answer(reply), asked)  # type: ignore[arg-type] # it has what the jar reads
        return reply

    def _cookies(self, url: str) -> dict[str, str]:
        asked = Request(url)  # noqa: S310 - it is never opened: the jar writes the cookies into it
        self._jar.add_cookie_header(asked)
        found = asked.get_header("Cookie")
        return {"Cookie": found} if found else {}

    def _after(self, hop: _Hop, reply: Reply, *, first: bool) -> _Hop | Arrival:
        """Give what follows from an answer: the next request, or the end."""
        refuse(reply)
        location = reply.value("Location")
        if reply.status in _REDIRECTS and location:
            return _redirected(hop, reply.status, location)
        check = self._goal.check if first else None
        if not is_html(reply):
            raise_no_page(reply, check)
        page = read_page(reply.text, hop.url)
        ending = next((form for form in page.forms if self._is_ending(form)), None)
        if ending is not None:
            return Arrival(reply, ending.action, ending.values())
        choice = choose(page, self._login, self._ctx.now())
        if choice is not None and (choice.once or classify_page(reply) is None):
            return self._press(choice, hop, reply)
        if page.refresh is not None:
            return _Hop("GET", page.refresh, sender=hop.url)
        if self._goal.page and self.sent and reply.status < 400:
            return Arrival(reply, hop.url, {})
        raise nothing_to_send(page, reply, check, logged_in=self.sent > 0)

    def _is_ending(self, form: Form) -> bool:
        goal = self._goal
        here = goal.url is not None and same_place(form.action, goal.url)
        return here or (goal.field is not None and goal.field in form.values())

    def _press(self, choice: Choice, hop: _Hop, reply: Reply) -> _Hop:
        if choice.once and choice.what in self._asked:
            page = classify_page(reply)
            if page is not None:
                raise CheckFailed(page, f"the {choice.what} came back with a bot check or a block on its page")
            raise CheckFailed(Reason.LOGIN_REJECTED, f"the {choice.what} came back after it was sent")
        self._asked.add(choice.what)
        form = choice.form
        if form.method == "GET" and any(c.kind == "password" and c.name in choice.values for c in form.controls):
            detail = "the form would put the password into a URL: it is meant to be sent by JavaScript, in a browser"
            raise CheckFailed(Reason.JAVASCRIPT_REQUIRED, detail)
        pairs = choice.pairs()
        url, body, media_type = encode(form, pairs)
        self.sent += 1
        return _Hop(form.method, url, hop.url, body, media_type, tuple(pairs) if body is not None else ())


def check_place(ctx: Context, hosts: frozenset[str], url: str, before: str) -> None:
    """Refuse to go where credentials must not: to a host that is not allowed, or to plain http."""
    try:
        parts = urlsplit(url)
        host, _ = (parts.hostname or "").lower(), parts.port
    except ValueError:
        host = ""
    if not host or parts.scheme not in {"http", "https"}:
        raise CheckFailed(Reason.REDIRECT_UNEXPECTED, "the log-in leads to something that is no http or https URL")
    if host not in hosts:
        detail = f"the log-in leads to the host {shown(host)}: if that is meant, add it to hosts"
        raise CheckFailed(Reason.REDIRECT_UNEXPECTED, detail)
    plain = parts.scheme == "http" and not ctx.options.insecure_http
    if plain and (not is_loopback(host) or before.startswith("https:")):
        raise CheckFailed(Reason.REDIRECT_UNEXPECTED, f"the log-in leads to plain http, {shown(host)}")


@dataclass(frozen=True, kw_only=True)
class LoginStep(Step):
    """A step in which somebody logs in on pages."""

    username: str | None = None
    """What fields for a user name or an e-mail address are filled with."""

    password: SecretRef | None = None
    """What the field for a password is filled with."""

    totp: SecretRef | None = None
    """Secret of the second factor by time (RFC 6238): base32, or an `otpauth://` URI; its code goes into code fields."""

    forms: tuple[FormRule, ...] = ()
    """Rules for forms with other fields; the first that fits a page's form is used, on whatever page."""

    hosts: tuple[str, ...] = ()
    """Hosts to which the log-in may lead, besides the provider's own; nothing is sent to any other."""

    def login(self, user_code: str | None = None) -> Login:
        """Give what is known of the person."""
        return Login(
            forms=self.forms,
            username=self.username,
            password=self.password,
            totp=self.totp,
            user_code=user_code,
        )

    def walk(self, ctx: Context, goal: Goal, user_code: str | None = None) -> Walk:
        """Prepare a log-in that may lead to the provider's hosts and to those that the step names."""
        return Walk(ctx, self.login(user_code), goal, self.allowed(ctx))

    def allowed(self, ctx: Context) -> frozenset[str]:
        """Give the hosts to which the log-in may lead."""
        return provider_hosts(ctx) | frozenset(host.lower() for host in self.hosts)

    def secrets(self) -> tuple[SecretRef, ...]:
        """Give the secrets that may be read on the way."""
        return self.login().secrets()

    def warm_up(self) -> None:
        """Import what pages are read with. Where that is not installed, the step will say so."""
        try:
            load_parser()
        except CheckFailed:
            return

    def faults(self) -> Iterator[tuple[str, str]]:
        """Say what does not fit together."""
        yield from self.login().faults()
        if any("/" in host or ":" in host.strip("[]") for host in self.hosts):
            yield "hosts", "a host is a name such as login.example.com, without scheme, port and path"


@dataclass(frozen=True, kw_only=True)
class BrowsableStep(LoginStep):
    """A step in which somebody logs in on pages that may need a real browser."""

    browser: bool = False
    """`true` opens pages that need JavaScript in Chromium, found on the PATH or named by `OTELPROBE_BROWSER`; scripts too
    come from the provider's hosts and those in `hosts` only.
    """

    def most_bytes(self) -> int | None:
        """Take what browsers take."""
        return LARGEST_PART if self.browser else super().most_bytes()

    def pages(self, ctx: Context, goal: Goal, user_code: str | None = None) -> "Walk | BrowserWalk":
        """Prepare a log-in on plain forms, or in a browser."""
        if not self.browser:
            return self.walk(ctx, goal, user_code)
        from otelprobe.browser import BrowserWalk  # noqa: PLC0415 - few flows need it

        return BrowserWalk(ctx, self.login(user_code), goal, self.allowed(ctx))

    def warm_up(self) -> None:
        """Import what pages are read with."""
        if not self.browser:
            super().warm_up()
            return
        from otelprobe import browser  # noqa: F401, PLC0415 - for its imports


def without_handles(url: str) -> str:
    """Give a URL as it may be published: servers keep sessions and handles of a log-in in paths, as in `;jsessionid=`."""
    parts = urlsplit(url)
    path = _HANDLE.sub("REDACTED", _PARAMETER.sub(r"\1REDACTED", parts.path))
    return urlunsplit(parts._replace(path=path))


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _origin_headers(hop: _Hop) -> dict[str, str]:
    """Say where a request comes from, as browsers do and as servers check against forged requests."""
    if not hop.sender:
        return {"Content-Type": hop.media_type} if hop.media_type else {}
    same = _origin(hop.sender) == _origin(hop.url)
    told = urlunsplit(urlsplit(hop.sender)._replace(fragment="")) if same else f"{_origin(hop.sender)}/"
    headers = {"Referer": told, "Content-Type": hop.media_type, "Origin": _origin(hop.sender) if hop.body else ""}
    return {name: value for name, value in headers.items() if value}


def _answer_in(hop: _Hop) -> dict[str, str]:
    parts = urlsplit(hop.url)
    told = f"{parts.query}&{parts.fragment}" if parts.fragment else parts.query
    return {**dict(parse_qsl(told, keep_blank_values=True)), **dict(hop.pairs)}


def _redirected(hop: _Hop, status: int, location: str) -> _Hop:
    """Give the request that a redirect asks for; only 307 and 308 repeat the body, and never to another origin."""
    try:
        # Header values come as Latin-1; a path written in raw UTF-8 must not be encoded twice.
        url = urljoin(hop.url, location.encode("latin-1", "replace").decode("utf-8", "replace"))
    except ValueError:
        raise CheckFailed(Reason.REDIRECT_UNEXPECTED, "the log-in leads to something that is no URL") from None
    if status not in {307, 308} or hop.body is None:
        return _Hop("GET", url, hop.sender)
    if _origin(url) != _origin(hop.url):
        host = shown(urlsplit(url).hostname)
        raise CheckFailed(Reason.REDIRECT_UNEXPECTED, f"status {status} would send what was typed on to {host}")
    return _Hop(hop.method, url, hop.sender, hop.body, hop.media_type, hop.pairs)


def refuse(reply: Reply) -> None:
    """Raise for what the status or an edge says before any page is read."""
    if challenged(reply):
        raise CheckFailed(Reason.BOT_CHALLENGE, f"status {reply.status} from a bot check in front of the provider")
    if reply.status == 429:
        raise CheckFailed(Reason.IDP_RATE_LIMITED, "status 429 during the log-in")
    if reply.status >= 500:
        raise CheckFailed(Reason.IDP_HTTP_5XX, f"status {reply.status} during the log-in")
    if classify_page(reply) is Reason.WAF_BLOCKED:
        raise CheckFailed(Reason.WAF_BLOCKED, f"status {reply.status} with a page from in front of the provider")


def raise_no_page(reply: Reply, check: str | None) -> NoReturn:
    """Raise for an answer that is no page where one is due."""
    try:
        document = reply.json()
    except ValueError:
        document = None
    # Some say in `error` what a person should read, which is no code.
    if isinstance(document, dict) and str(document.get("error")) in ERRORS:
        raise_oauth_error(reply, document, grant_is_ours=True)
    if reply.status >= 400:
        raise _refused(reply, check)
    kind = shown(reply.media_type) if reply.media_type else "no media type"
    raise CheckFailed(Reason.LOGIN_FORM_NOT_FOUND, f"status {reply.status} with {kind} where a page is due")


def _refused(reply: Reply, check: str | None) -> CheckFailed:
    """Tell what a 4xx means. At once: there is no redirect URI to be trusted (RFC 6749, section 4.1.2.1)."""
    if check is not None and reply.status in {400, 401, 403}:
        detail = f"status {reply.status} and no redirect: check {check}"
        return CheckFailed(Reason.INVALID_REQUEST, detail)
    return CheckFailed(Reason.IDP_HTTP_4XX, f"status {reply.status} during the log-in")


def nothing_to_send(page: Page, reply: Reply, check: str | None, *, logged_in: bool) -> CheckFailed:
    """Tell why a page is the end of the way."""
    edge = classify_page(reply)
    if edge is not None:
        return CheckFailed(edge, f"status {reply.status} with a bot check or a block in front of the provider")
    if reply.status >= 400:
        return _refused(reply, check)
    if logged_in and _SECOND_FACTOR.search(reply.text):
        return CheckFailed(Reason.MFA_CHALLENGE, "the page asks for a second factor that is no one-time code")
    if page.scripted and not page.forms:
        detail = "the page has no form: it seems to be made by JavaScript, which takes a browser"
        return CheckFailed(Reason.JAVASCRIPT_REQUIRED, detail)
    names = dict.fromkeys(c.name for form in page.forms for c in form.controls if c.editable and c.kind != "hidden")
    found = f"fields {', '.join(shown(name) for name in list(names)[:10])}" if names else "no fields to fill in"
    return CheckFailed(Reason.LOGIN_FORM_NOT_FOUND, f"no rule fits the page: {len(page.forms)} forms, {found}")
