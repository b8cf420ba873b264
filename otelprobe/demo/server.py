"""One running demo: provider and API on their own ports, their secrets, their faults, and an end that leaves nothing."""

import logging
import ssl
import tempfile
import threading
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from otelprobe.demo.api import Backend, api_app
from otelprobe.demo.certificates import Authority
from otelprobe.demo.faults import FAULTS, Switches, check_faults
from otelprobe.demo.grants import Realm
from otelprobe.demo.keys import KeyRing
from otelprobe.demo.listener import Listener
from otelprobe.demo.provider import PATH, provider_app
from otelprobe.demo.state import SKEW, Accounts, Clock, Sessions, TokenStore
from otelprobe.demo.validator import KeyCache, Validator
from otelprobe.demo.wire import Edge, Received, RequestLog


class Demo:
    """A provider and an API that run until `stop` (or the end of a `with` block).

    `issuer` and `api_url` are without a trailing slash; `ca_file` is the CA to trust, None without TLS.
    """

    def __init__(self, faults: Collection[str], *, tls: bool, host: str, port: int) -> None:
        names = check_faults(faults)
        self.tls = tls or any(FAULTS[name].tls for name in names)
        self.accounts = Accounts()
        self.ca_file: str | None = None
        self._switches = Switches()
        self._keys = KeyRing()
        self._log = RequestLog()
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        # Authlib logs whole tokens at level DEBUG.
        logging.getLogger("authlib").setLevel(logging.WARNING)
        with ExitStack() as undo:
            self._start(undo, host, port)
            self._undo = undo.pop_all()
        self.set_faults(names)

    def _start(self, undo: ExitStack, host: str, port: int) -> None:
        """Take the ports first, for the two servers name each other, then serve; `undo` learns how to end each part."""
        provider = _listener(undo, host, port)
        self._api = _listener(undo, host, port + 1 if port else 0)
        dead = _listener(undo, host, 0)
        scheme = "https" if self.tls else "http"
        self.issuer, self.api_url = provider.url(scheme) + PATH, self._api.url(scheme)
        authority = self._authority(undo, host) if self.tls else None
        client_tls = authority.client_context() if authority else None
        tokens, sessions = TokenStore(), Sessions()
        clock = Clock(self._switches, "clock-ahead", SKEW)
        realm = Realm(
            issuer=self.issuer,
            accounts=self.accounts,
            keys=self._keys,
            tokens=tokens,
            switches=self._switches,
            clock=clock,
        )
        self._cache = KeyCache(f"{self.issuer}/jwks", client_tls)
        backend = self._backend(tokens, sessions)
        provider_site = provider_app(realm, sessions, dead.url(scheme) + PATH)
        provider.start(self._edge("provider", provider_site.wsgi_app, clock), self._contexts(authority, "provider"))
        self._api.start(self._edge("api", api_app(backend).wsgi_app, backend.clock), self._contexts(authority, "api"))
        undo.callback(self._stopping.set)  # runs first: it ends the faults that wait

    def _authority(self, undo: ExitStack, host: str) -> Authority:
        folder = undo.enter_context(tempfile.TemporaryDirectory(prefix="otelprobe-demo-"))
        authority = Authority(host, Path(folder))
        self.ca_file = str(authority.file)
        return authority

    def _backend(self, tokens: TokenStore, sessions: Sessions) -> Backend:
        clock = Clock(self._switches, "api-clock-behind", -SKEW)
        return Backend(
            accounts=self.accounts,
            validator=Validator(self.issuer, self._cache, self.accounts.login_key, clock, self._switches),
            sessions=sessions,
            tokens=tokens,
            clock=clock,
            switches=self._switches,
        )

    def _edge(self, name: str, app: object, clock: Clock) -> Edge:
        return Edge(name, app, switches=self._switches, clock=clock, log=self._log, stop=self._stopping)  # type: ignore[arg-type] # Flask's wsgi_app is typed Any

    def _contexts(self, authority: Authority | None, server: str) -> "Contexts | None":
        return Contexts(authority, self._switches, server) if authority is not None else None

    @property
    def client_id(self) -> str:
        """The prober's client; it has a secret."""
        return self.accounts.client_id

    @property
    def public_client_id(self) -> str:
        """A client without a secret."""
        return self.accounts.public_client_id

    @property
    def client_secret(self) -> str:
        """The secret of `client_id`; it has characters that must be form-encoded for HTTP Basic."""
        return self.accounts.client_secret

    @property
    def username(self) -> str:
        """The user's name."""
        return self.accounts.username

    @property
    def password(self) -> str:
        """The user's password."""
        return self.accounts.password

    @property
    def api_key(self) -> str:
        """The key for the API's /key page."""
        return self.accounts.api_key

    @property
    def login_key(self) -> str:
        """The HMAC key of the tokens that /login issues."""
        return self.accounts.login_key

    @property
    def environment(self) -> Mapping[str, str]:
        """The environment variables that the demo flow file reads its secrets from."""
        return {
            "OTELPROBE_DEMO_CLIENT_SECRET": self.client_secret,
            "OTELPROBE_DEMO_PASSWORD": self.password,
        }

    @property
    def requests(self) -> tuple[Received, ...]:
        """What both servers received, in the order of the answers."""
        return self._log.all()

    @property
    def faults(self) -> frozenset[str]:
        """The names of the faults that are on."""
        return self._switches.active

    def forget_requests(self) -> None:
        """Empty the request log."""
        self._log.clear()

    def set_faults(self, names: Collection[str] = ()) -> None:
        """Replace the faults that are on, while the servers run; UnknownFaultError, or ValueError if one needs TLS."""
        wanted = check_faults(names)
        if not self.tls and (needing := sorted(name for name in wanted if FAULTS[name].tls)):
            raise ValueError(f"{', '.join(needing)}: start the demo with this fault or with TLS")
        with self._lock:
            before = self._switches.active
            self._switches.turn(wanted)
            for name in sorted(before - wanted):
                self._leave(name)
            for name in sorted(wanted - before):
                self._enter(name)

    def _enter(self, name: str) -> None:
        """Do what a fault changes for good; the others are looked up at each request."""
        match name:
            case "rotated-with-overlap":
                self._keys.rotate(overlap=True)
            case "rotated-without-overlap":
                self._keys.withdraw()
            case "stale-key-cache":
                self._cache.hold(self._keys.jwks())
                self._keys.rotate(overlap=True)
            case "api-unreachable":
                self._api.set_deaf(deaf=True)

    def _leave(self, name: str) -> None:
        match name:
            case "rotated-without-overlap":
                self._keys.restore()
            case "stale-key-cache":
                self._cache.release()
            case "api-unreachable":
                self._api.set_deaf(deaf=False)

    def rotate(self, *, overlap: bool) -> None:
        """Sign with a new key; without `overlap` the old one is gone at once and its tokens cannot be checked."""
        self._keys.rotate(overlap=overlap)

    def stop(self) -> None:
        """End both servers and free their ports; safe to call again."""
        self._undo.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class Contexts:
    """Gives the TLS context for each new connection of a server: a good one, or the expired one while that fault is on."""

    def __init__(self, authority: Authority, switches: Switches, server: str) -> None:
        self._good = authority.server_context()
        self._expired = authority.server_context(expired=True)
        self._switches, self._server = switches, server

    def __call__(self) -> ssl.SSLContext:
        """Choose."""
        expired = self._server == "provider" and self._switches.on("tls-cert-expired")
        return self._expired if expired else self._good


def _listener(undo: ExitStack, host: str, port: int) -> Listener:
    listener = Listener(host, port)
    undo.callback(listener.stop)
    return listener
