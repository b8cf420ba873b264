"""Logging in with a real browser, for pages that need JavaScript: by the same rules, to the same hosts, through the same door.

The browser itself has no way to the network. Every request of its page is checked here, sent through the door like any
other (so that it is measured, traced and capped), and the answer is handed back. Pictures, fonts and media are not loaded.
"""

import base64
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from otelprobe.browser_page import BrowserPage, Look
from otelprobe.chromium import BrowserGoneError, Chromium, RefusedError, body_of
from otelprobe.fields import SecretRef
from otelprobe.form_rules import Choice, Login, choose
from otelprobe.forms import (
    LARGEST_PART,
    Arrival,
    Goal,
    check_place,
    nothing_to_send,
    raise_no_page,
    refuse,
    same_place,
    without_handles,
)
from otelprobe.http import Reply
from otelprobe.pages import classify_page, is_html
from otelprobe.reasons import CheckFailed, Reason
from otelprobe.step import Context
from otelprobe.tokens import shown
from otelprobe.trail import MOST_HOPS, Trail

_AT_ONCE = 6
"""Requests under way at the same time, as in browsers with HTTP/1.1."""

_MOST_REQUESTS = 300
_MOST_FULL = 4
"""All answers together may have as many bytes as this many of the largest."""

_CALM = 0.25
"""Seconds without a request or a change after which a form is taken as it stands."""

_STILL = 2.0
"""Seconds without a request or a change after which nothing more is waited for."""

_LOOK_EVERY = 0.1
_CALM_OF_A_LOOK = 0.2
"""Seconds of calm that one look vouches for at most: on a busy machine a page that does nothing has had no turn yet."""

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_NOT_LOADED = frozenset({"Image", "Media", "Font", "TextTrack", "Ping", "CSPViolationReport", "Prefetch", "Manifest"})
_DROPPED = frozenset(
    {
        *("host", "connection", "content-length", "transfer-encoding", "accept-encoding", "traceparent", "tracestate"),
        *("cookie", "proxy-authorization", "proxy-connection"),
    }
)
_REDONE = frozenset(
    {"content-encoding", "content-length", "transfer-encoding", "connection", "alt-svc", "clear-site-data"}
)
_API = frozenset({"XHR", "Fetch"})


@dataclass(slots=True)
class _Under:
    """One request under way for the page."""

    event: Mapping[str, Any] = field(repr=False)
    answer: "Future[Reply]" = field(repr=False)
    main: bool
    number: int


class BrowserWalk:
    """One log-in under way in a browser. `sent` counts the forms that were sent, also where it fails."""

    def __init__(self, ctx: Context, login: Login, goal: Goal, hosts: frozenset[str]) -> None:
        self._ctx = ctx
        self._login = login
        self._goal = goal
        self._hosts = hosts
        self._under: list[_Under] = []
        self._asked: set[str] = set()
        self._refused: dict[str, None] = {}
        self._troubles: list[CheckFailed] = []
        self._requests = 0
        self._loaded = 0
        self._trail = Trail()
        self._last: Reply | None = None
        self._before = ""
        self._arrival: Arrival | None = None
        self.sent = 0

    def run(self, url: str) -> Arrival:
        """Walk from `url` to the goal; CheckFailed with what stood in the way."""
        self._hosts |= {(urlsplit(url).hostname or "").lower()}
        started = time.monotonic()
        self._browser = browser = self._started(started + self._ctx.deadline - self._ctx.clock.monotonic())
        try:
            self._page = self._prepared()
            self._ctx.wire.aside.append(time.monotonic() - started)
            with _Pool(_AT_ONCE) as self._pool:
                browser.tell("Page.navigate", {"url": url})
                return self._walk_in_time()
        except BrowserGoneError:
            raise CheckFailed(Reason.PROBER_ERROR, "the browser ended in the middle of the log-in") from None
        finally:
            ended = time.monotonic()
            browser.close()
            self._ctx.wire.aside.append(time.monotonic() - ended)

    def _started(self, deadline: float) -> Chromium:
        """Start the browser; that this takes too long is nobody's fault but ours."""
        try:
            return Chromium(deadline)
        except CheckFailed as failed:
            if failed.reason is not Reason.DEADLINE_EXCEEDED:
                raise
        raise CheckFailed(Reason.PROBER_OVERLOADED, "the browser did not start within the time of the step")

    def _prepared(self) -> BrowserPage:
        page = BrowserPage(self._browser)
        for method in ("Page.enable", "Inspector.enable", "Network.enable"):
            self._browser.call(method)
        self._browser.call("Network.setBypassServiceWorker", {"bypass": True})
        self._browser.call("Fetch.enable", {"patterns": [{"urlPattern": "*"}]})
        return page

    def _walk_in_time(self) -> Arrival:
        try:
            return self._walk()
        except CheckFailed as failed:
            why = self._trail.explained(failed, self._ctx.deadline - self._ctx.clock.monotonic())
        raise why

    def _walk(self) -> Arrival:
        """Answer the page's requests and look at it in between, until the goal is there."""
        known, since, looked, looks = "", time.monotonic(), 0.0, 0
        while True:
            arrival, busy = self._serve()
            if arrival is not None:
                return arrival
            now = time.monotonic()
            since, looks = (now, 0) if busy or self._under else (since, looks)
            if now - looked < _LOOK_EVERY:
                continue
            leaving = self._last is None or any(under.main for under in self._under)
            looked, look, looks = now, None if leaving else self._page.look(), looks + 1
            if look is None or look.text != known:
                known, since, looks = "" if look is None else look.text, now, 0
            elif self._act(look, min(now - since, looks * _CALM_OF_A_LOOK)):
                known = ""

    def _act(self, look: Look, calm: float) -> bool:
        """Send a form if there is one to send; raise or arrive if nothing more is to be expected. True if one was sent."""
        if calm < _CALM or not look.ready or self._last is None:
            return False
        reply = replace(self._last, body=look.text.encode("utf-8", "replace"))
        choice = choose(look.page, self._login, self._ctx.now()) if look.page.forms else None
        if choice is not None and not (choice.once or classify_page(reply) is None):
            choice = None
        if choice is not None and not (choice.once and choice.what in self._asked):
            return self._send(look, choice)
        if calm < _STILL:
            return False
        self._raise_troubles()
        if choice is not None:
            raise self._came_back(choice, reply)
        if self._goal.page and self.sent and reply.status < 400:
            self._arrival = Arrival(reply, look.url, {})
            return False
        raise self._hindered(nothing_to_send(look.page, reply, self._check(self._trail.hops), logged_in=self.sent > 0))

    def _send(self, look: Look, choice: Choice) -> bool:
        try:
            self._page.send(look, choice)
        except RefusedError:
            return True  # the page has changed meanwhile: look again
        self._asked.add(choice.what)
        self.sent += 1
        if self.sent > MOST_HOPS:
            raise CheckFailed(Reason.REDIRECT_LOOP, f"more than {MOST_HOPS} forms were asked for")
        return True

    def _came_back(self, choice: Choice, reply: Reply) -> CheckFailed:
        page = classify_page(reply)
        if page is not None:
            return CheckFailed(page, f"the {choice.what} came back with a bot check or a block on its page")
        return CheckFailed(Reason.LOGIN_REJECTED, f"the {choice.what} was still there after it was sent")

    def _check(self, number: int) -> str | None:
        """Say what to look at if the way ends at once."""
        return self._goal.check if number <= 1 else None

    def _raise_troubles(self) -> None:
        """Raise for what a script was answered, where the page has come to rest over it."""
        if self._troubles:
            raise self._troubles[-1]

    def _hindered(self, failed: CheckFailed) -> CheckFailed:
        """Add the hosts that were not asked, as one of them may have been needed."""
        if not self._refused or failed.reason is not Reason.LOGIN_FORM_NOT_FOUND:
            return failed
        hosts = ", ".join(shown(host) for host in list(self._refused)[:5])
        return CheckFailed(
            failed.reason, f"{failed.detail}; nothing was loaded from {hosts}: add what is meant to hosts"
        )

    def _serve(self) -> tuple[Arrival | None, bool]:
        """Take what the browser wants and what has been answered; give the end, if that is it, and whether anything was."""
        event = self._browser.next_event(_LOOK_EVERY)
        busy = event is not None
        while event is not None and self._arrival is None:
            self._take(event)
            event = self._browser.next_event(0.0)
        done = [under for under in self._under if under.answer.done()]
        for under in done:
            self._under.remove(under)
            self._hand_over(under)
        return self._arrival, busy or bool(done)

    def _take(self, event: Mapping[str, Any]) -> None:
        method, params = event.get("method"), event.get("params", {})
        if method == "Fetch.requestPaused":
            self._on_request(params)
        elif method == "Fetch.authRequired":
            cancel = {"requestId": params["requestId"], "authChallengeResponse": {"response": "CancelAuth"}}
            self._browser.tell("Fetch.continueWithAuth", cancel)
        elif method == "Page.javascriptDialogOpening":
            self._browser.tell("Page.handleJavaScriptDialog", {"accept": True})
        elif method == "Inspector.targetCrashed":
            raise CheckFailed(Reason.PROBER_ERROR, "the page crashed the browser")

    def _on_request(self, params: Mapping[str, Any]) -> None:
        request, kind = params["request"], params.get("resourceType", "Other")
        url = str(request["url"]) + str(request.get("urlFragment", ""))
        main = kind == "Document" and params.get("frameId") == self._page.frame
        if main:
            self._on_page(url, request)
            if self._arrival is not None:
                return
        if not main and not self._may_load(url, kind):
            self._fail(params)
            return
        self._requests += 1
        if self._requests > _MOST_REQUESTS:
            raise CheckFailed(Reason.LOGIN_FORM_NOT_FOUND, f"the pages make more than {_MOST_REQUESTS} requests")
        headers = self._headers(url, request)
        answer = self._pool.submit(
            self._ask, str(request["method"]), url, headers, body_of(request), first=self._trail.hops <= 1
        )
        answer.add_done_callback(lambda _: self._browser.wake())
        self._under.append(_Under(params, answer, main, self._trail.hops))

    def _on_page(self, url: str, request: Mapping[str, Any]) -> None:
        """Look where a page leads: to the goal, to one more page, or to where it must not go."""
        body = body_of(request)
        posted = dict(parse_qsl((body or b"").decode("utf-8", "replace"), keep_blank_values=True)) if body else {}
        here = self._goal.url is not None and same_place(url, self._goal.url)
        if here or (self._goal.field is not None and self._goal.field in posted):
            parts = urlsplit(url)
            told = dict(parse_qsl(f"{parts.query}&{parts.fragment}", keep_blank_values=True))
            reply = self._last
            if reply is None:
                raise CheckFailed(Reason.REDIRECT_UNEXPECTED, "the log-in begins where it should end")
            self._arrival = Arrival(reply, url, {**told, **posted})
            return
        self._trail.visit(url, posted=body is not None)
        if self._trail.hops > 1:
            check_place(self._ctx, self._hosts, url, self._before)
        self._refuse_password_in(url)
        self._before = url
        self._troubles.clear()

    def _refuse_password_in(self, url: str) -> None:
        if not isinstance(self._login.password, SecretRef) or not self.sent:
            return
        password = self._login.password.read()
        if any(value == password for _, value in parse_qsl(urlsplit(url).query, keep_blank_values=True)):
            raise CheckFailed(Reason.LOGIN_FORM_NOT_FOUND, "the form would put the password into a URL: it is not sent")

    def _may_load(self, url: str, kind: str) -> bool:
        if kind in _NOT_LOADED or url.endswith("/favicon.ico"):
            return False
        try:
            check_place(self._ctx, self._hosts, url, self._before)
        except CheckFailed:
            if urlsplit(url).scheme in {"http", "https"}:
                self._refused[(urlsplit(url).hostname or "").lower()] = None
            return False
        return True

    def _headers(self, url: str, request: Mapping[str, Any]) -> dict[str, str]:
        """Give the headers that the browser would send, its cookies among them; `http: {headers}` of the flow file win."""
        standing = {name.lower() for name in self._ctx.options.headers} | _DROPPED
        told = {str(n): str(v) for n, v in request["headers"].items() if n.lower() not in standing}
        found = {
            name.title() if name.islower() and not name.startswith("sec-ch") else name: v for name, v in told.items()
        }
        with suppress(RefusedError):
            cookies = self._browser.call("Network.getCookies", {"urls": [url]})["cookies"]
            if cookies:
                found["Cookie"] = "; ".join(f"{c['name']}={c['value']}" if c["name"] else c["value"] for c in cookies)
        return found

    def _ask(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, *, first: bool) -> Reply:
        plain = url.partition("#")[0]
        safe_url = plain if first else without_handles(plain)
        return self._ctx.send(method, plain, headers=headers, body=body, safe_url=safe_url)

    def _hand_over(self, under: _Under) -> None:
        """Judge an answer, and hand it to the page."""
        failed = under.answer.exception()
        if failed is not None:
            self._on_failure(under, failed)
            return
        reply = under.answer.result()
        self._count(reply)
        if under.main and under.number == self._trail.hops:
            self._last = reply
            self._page.moved()
            refuse(reply)
            if not (reply.status in _REDIRECTS and reply.value("Location")) and not is_html(reply):
                raise_no_page(reply, self._check(under.number))
        elif under.event.get("resourceType") in _API:
            with _Noted(self._troubles):
                refuse(reply)
        headers = [{"name": n, "value": v} for n, v in reply.headers if n.lower() not in _REDONE]
        self._browser.tell(
            "Fetch.fulfillRequest",
            {
                "requestId": under.event["requestId"],
                "responseCode": reply.status,
                "responseHeaders": headers,
                "body": base64.b64encode(reply.body).decode(),
            },
        )

    def _count(self, reply: Reply) -> None:
        """Hold all that is loaded in bounds, as the cap on an answer holds each."""
        self._loaded += len(reply.body)
        most = _MOST_FULL * (self._ctx.options.max_size or LARGEST_PART)
        if self._loaded > most:
            detail = f"the pages of the log-in load more than {most} bytes in all; raise http.max_size if they should"
            raise CheckFailed(Reason.RESPONSE_TOO_LARGE, detail)

    def _on_failure(self, under: _Under, failed: BaseException) -> None:
        if under.main or not isinstance(failed, CheckFailed):
            raise failed
        if under.event.get("resourceType") in _API | {"Script"}:
            self._troubles.append(failed)
        self._fail(under.event)

    def _fail(self, params: Mapping[str, Any]) -> None:
        blocked = {"requestId": params["requestId"], "errorReason": "BlockedByClient"}
        self._browser.tell("Fetch.failRequest", blocked)


class _Noted:
    """Keeps a failure for later instead of raising it."""

    def __init__(self, found: list[CheckFailed]) -> None:
        self._found = found

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if isinstance(error, CheckFailed):
            self._found.append(error)
        return isinstance(error, CheckFailed)


class _Pool(ThreadPoolExecutor):
    """Threads that are not waited for at the end: each request ends by the deadline by itself."""

    def __exit__(self, *_: object) -> None:
        self.shutdown(wait=False, cancel_futures=True)
