"""A Chromium of our own, spoken to over a pipe in the Chrome DevTools Protocol: started empty, ended whole, cut off from the net.

Every request that a page makes comes here as an event, and is answered here: the browser has no way to the network.
"""

import base64
import json
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from otelprobe.reasons import CheckFailed, Reason

VARIABLE = "OTELPROBE_BROWSER"
"""Names the browser's program where it is not on the PATH."""

_PROGRAMS = (
    *("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "chrome-headless-shell"),
    *(
        "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
        "/Applications/Chromium.app/Contents/MacOS/Chromium",
    ),
)
_ARGUMENTS = (
    *("--headless=new", "--remote-debugging-pipe", "--no-first-run", "--no-default-browser-check", "--disable-gpu"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-quic"),
    *("--disable-extensions", "--disable-default-apps", "--disable-domain-reliability", "--disable-breakpad"),
    *("--metrics-recording-only", "--no-pings", "--no-service-autorun", "--mute-audio", "--password-store=basic"),
    *("--use-mock-keychain", "--disable-dev-shm-usage", "--disable-popup-blocking", "--lang=en"),
    # Frames of other sites stay in the page's process, so that their requests are seen with the page's.
    *("--disable-site-isolation-trials", "--disable-features=IsolateOrigins,site-per-process,Translate,MediaRouter"),
    # What is not answered by us goes nowhere: names are not resolved, and the proxy is a port that nobody listens at.
    *("--host-resolver-rules=MAP * ~NOTFOUND", "--proxy-server=http://127.0.0.1:9", "--proxy-bypass-list=<-loopback>"),
)
_INHERITED = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "FONTCONFIG_PATH", "FONTCONFIG_FILE")
_LONGEST_MESSAGE = 64 * 1024 * 1024
_END_SECONDS = 5.0
_PAGE_SECONDS = 2.0
_NOTICES = frozenset({"Fetch.requestPaused", "Page.javascriptDialogOpening"})
_MEND = f"install Chromium (Debian: apt-get install chromium), or name its program in {VARIABLE}"


class BrowserGoneError(Exception):
    """The browser has ended, or closed its pipe."""


class RefusedError(Exception):
    """The browser refused a command; mostly because the page has moved on."""


def find_program() -> str:
    """Give the path of the browser; CheckFailed(config_error) says how to get one."""
    named = os.environ.get(VARIABLE)
    found = (shutil.which(name) for name in ((named,) if named else _PROGRAMS))
    program = next((path for path in found if path is not None), None)
    if program is None:
        what = (
            f"{VARIABLE} names no program that can be run"
            if named
            else "browser: true needs a browser, and none is found"
        )
        raise CheckFailed(Reason.CONFIG_ERROR, f"{what}: {_MEND}")
    return program


class Chromium:
    """One browser with one page. Every wait ends at `deadline`, a point of `time.monotonic`; `close` leaves nothing behind."""

    def __init__(self, deadline: float) -> None:
        program = find_program()
        self._deadline = deadline
        self._folder = tempfile.mkdtemp(prefix="otelprobe-browser-")
        self._errors = Path(self._folder, "stderr")
        self._number = 0
        self._buffer = bytearray()
        self._answers: dict[int, Mapping[str, Any]] = {}
        self._awaited: set[int] = set()
        self._events: deque[Mapping[str, Any]] = deque()
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_write, False)
        self._start(program)
        try:
            self.session: str | None = None
            target = self.call("Target.createTarget", {"url": "about:blank"})["targetId"]
            self.session = str(self.call("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"])
        except BrowserGoneError:
            told = self._first_error()
            self.close()
            raise CheckFailed(Reason.CONFIG_ERROR, f"the browser does not start{told}") from None
        except BaseException:
            self.close()
            raise

    def _start(self, program: str) -> None:
        """Start it in a process group of its own; the shell moves the ends of our pipes to where Chromium looks for them."""
        child_reads, self._out = os.pipe()
        self._in, child_writes = os.pipe()
        arguments = [*_ARGUMENTS, f"--user-data-dir={self._folder}/profile"]
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            arguments.append("--no-sandbox")  # Chromium's sandbox refuses to work for root
        command = f'exec "$0" "$@" 3</dev/fd/{child_reads} 4>/dev/fd/{child_writes}'
        inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        try:
            with self._errors.open("wb") as errors:
                self._process = subprocess.Popen(  # noqa: S603 - the program is what the operator has installed or named
                    ["/bin/sh", "-c", command, program, *arguments, "about:blank"],
                    pass_fds=(child_reads, child_writes),
                    env={**inherited, "HOME": self._folder, "TMPDIR": self._folder},
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=errors,
                    start_new_session=True,
                )
        finally:
            os.close(child_reads)
            os.close(child_writes)
        os.set_blocking(self._out, False)

    def _first_error(self) -> str:
        """Say what the browser said last before it ended; it has not seen anything secret by then."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)
        lines = self._errors.read_text(encoding="utf-8", errors="replace").splitlines()
        telling = [line for line in lines if "FATAL" in line or "sandbox" in line] or lines
        printable = "".join(c for c in telling[0] if c.isprintable())[:200] if telling else ""
        return f": {printable}" if printable else ""

    def call(self, method: str, params: Mapping[str, Any] | None = None, *, seconds: float = 60.0) -> Mapping[str, Any]:
        """Send a command and wait for its result; RefusedError if the browser does not do it, or not within `seconds`.

        While a page is being left, the browser answers nothing about it until the request for the next one is answered.
        """
        number = self.tell(method, params)
        self._awaited = {number}
        ends = time.monotonic() + seconds
        while number not in self._answers:
            if time.monotonic() >= ends:
                raise RefusedError(method)
            self._read(min(self._left(), max(0.0, ends - time.monotonic())))
        answer = self._answers.pop(number)
        if "error" in answer:
            raise RefusedError(method)
        result: Mapping[str, Any] = answer.get("result", {})
        return result

    def tell(self, method: str, params: Mapping[str, Any] | None = None) -> int:
        """Send a command whose result is not waited for; give its number."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": params or {}}
        if getattr(self, "session", None) is not None and not method.startswith("Target."):
            message["sessionId"] = self.session
        self._write(json.dumps(message).encode() + b"\0")
        return self._number

    def press(self, method: str, params: Mapping[str, Any], *, seconds: float = 3.0) -> None:
        """Send an input, and wait until the page has taken notice: it says so, or it asks for something or opens a dialog."""
        number = self.tell(method, params)
        self._awaited = {number}
        ends = time.monotonic() + seconds
        while number not in self._answers and not any(e.get("method") in _NOTICES for e in self._events):
            if time.monotonic() >= ends:
                return
            self._read(min(self._left(), max(0.0, ends - time.monotonic())))

    def evaluate(self, expression: str, context: int | None = None) -> Any:
        """Run an expression in the page and give its value; RefusedError if it throws or the page is gone."""
        params: dict[str, Any] = {"expression": expression, "returnByValue": True, "awaitPromise": False}
        params = params if context is None else {**params, "contextId": context}
        answer = self.call("Runtime.evaluate", params, seconds=_PAGE_SECONDS)
        if "exceptionDetails" in answer:
            raise RefusedError("Runtime.evaluate")
        return answer.get("result", {}).get("value")

    def next_event(self, seconds: float) -> Mapping[str, Any] | None:
        """Give the next event; None if there is none within `seconds`, or somebody called `wake`."""
        if not self._events:
            self._read(min(seconds, self._left()))
        return self._events.popleft() if self._events else None

    def wake(self) -> None:
        """Let a wait of `next_event` end; any thread may call this."""
        with suppress(OSError):
            os.write(self._wake_write, b"!")

    def _left(self) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise CheckFailed(Reason.DEADLINE_EXCEEDED, "the deadline passed while the browser was at work")
        return left

    def _write(self, message: bytes) -> None:
        view = memoryview(message)
        while view:
            try:
                view = view[os.write(self._out, view) :]
            except BlockingIOError:
                select.select((), (self._out,), (), self._left())
            except OSError:
                raise BrowserGoneError from None

    def _read(self, seconds: float) -> None:
        """Read what has come, sorted into answers and events."""
        ready, _, _ = select.select((self._in, self._wake_read), (), (), seconds)
        if self._wake_read in ready:
            os.read(self._wake_read, 4096)
        if self._in not in ready:
            return
        chunk = os.read(self._in, 1 << 20)
        if not chunk or len(self._buffer) > _LONGEST_MESSAGE:
            raise BrowserGoneError
        self._buffer += chunk
        if b"\0" not in chunk:
            return
        *whole, rest = bytes(self._buffer).split(b"\0")
        self._buffer = bytearray(rest)
        for text in whole:
            message: Mapping[str, Any] = json.loads(text)
            if "id" not in message:
                self._events.append(message)
            elif message["id"] in self._awaited:
                self._answers[message["id"]] = message

    def close(self) -> None:
        """End the browser with all its processes, and remove its files."""
        self._ask_to_end()
        with suppress(OSError):
            os.killpg(self._process.pid, signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_SECONDS)
        for end in (self._in, self._out, self._wake_read, self._wake_write):
            with suppress(OSError):
                os.close(end)
        ends = time.monotonic() + _END_SECONDS
        while self._something_left() and time.monotonic() < ends:
            time.sleep(0.01)

    def _ask_to_end(self) -> None:
        """Let it end by itself, which takes a moment and leaves no orphans; what goes wrong here, the kill mends."""
        self.session = None
        self._deadline = time.monotonic() + _PAGE_SECONDS
        with suppress(BrowserGoneError, RefusedError, CheckFailed, OSError, ValueError, subprocess.TimeoutExpired):
            self.call("Browser.close", seconds=_PAGE_SECONDS)
            self._process.wait(_PAGE_SECONDS)

    def _something_left(self) -> bool:
        """Tell whether a file is there, or an orphan that is ours to reap, as in a container without an init process."""
        shutil.rmtree(self._folder, ignore_errors=True)
        try:
            while os.waitpid(-self._process.pid, os.WNOHANG)[0]:
                pass
        except OSError:
            return Path(self._folder).exists()
        return True


def body_of(request: Mapping[str, Any]) -> bytes | None:
    """Give the body of a request that the page makes."""
    entries = request.get("postDataEntries")
    if entries:
        return b"".join(base64.b64decode(entry.get("bytes", "")) for entry in entries)
    text = request.get("postData")
    return text.encode() if isinstance(text, str) else None
