"""For tests on servers that nobody here wrote: flows as text through the real rooms, and a resource server on PyJWT."""

from collections.abc import Callable
from pathlib import Path
from textwrap import dedent, indent

import jwt
import requests

from otelprobe.clock import Clock, SystemClock
from otelprobe.config.load import load
from otelprobe.http import LiveHttp
from otelprobe.plan import build
from otelprobe.reasons import Outcome
from otelprobe.result import FlowResult, StepResult
from otelprobe.run import Tools, run_flow
from otelprobe.state import Memory, State
from tests.conftest import Answer, Seen, Server


def flow_file(issuer: str, steps: str, *, client: str = "otelprobe", more: str = "", deadline: str = "20s") -> str:
    """Write a flow file with one provider `idp` and one flow `shop`; `more` are further members of the provider."""
    provider = f"issuer: {issuer}, client_id: {client}, client_secret: {{env: CLIENT_SECRET}}{more and ', ' + more}"
    head = f"providers:\n  idp: {{{provider}}}\nflows:\n  - name: shop\n    provider: idp\n    deadline: {deadline}\n"
    return f"{head}    steps:\n{indent(dedent(steps).strip(), '      ')}\n"


def run_text(
    directory: Path, text: str, *, state: Path | None = None, memory: Memory | None = None, clock: Clock | None = None
) -> FlowResult:
    """Load a flow file, plan it and run its only flow, on the real network and by the real clock or the given one."""
    path = directory / "flow.yaml"
    path.write_text(text, encoding="utf-8")
    (plan,) = build(load([path]))
    clock = clock or SystemClock()
    return run_flow(plan, Tools(http=LiveHttp(clock), clock=clock, state=State(state), memory=memory or Memory()))


def step(result: FlowResult, name: str) -> StepResult:
    """Give the row of one step."""
    return next(row for row in result.steps if row.step == name)


def verdict(result: FlowResult) -> tuple[str | None, ...]:
    """Give who is to blame for what: failed step, reason, blame and what it counts against."""
    return result.failed_step, result.reason, result.blame, result.counts


def passed(result: FlowResult) -> bool:
    """Assert that every step passed; the message names what did not."""
    assert result.outcome is Outcome.PASS, f"{result.failed_step}: {result.reason}: {result.detail}"
    assert all(row.outcome is Outcome.PASS for row in result.steps)
    return True


class ResourceServer:
    """An API with one page, `/me`, behind a Bearer token (RFC 6750): PyJWT verifies it with the provider's keys.

    The keys are fetched for every request, or, with `caches`, once and never again: what a stale cache does.
    """

    def __init__(self, issuer: str, audience: str, *, scope: str | None = None, caches: bool = False) -> None:
        self.issuer, self.audience, self.scope, self.caches = issuer, audience, scope, caches
        self._cached: dict[str, jwt.PyJWK] = {}
        self._http = requests.Session()
        self._http.trust_env = False
        self._server = Server()
        self._server.on("/me", self._me)
        self.url = f"{self._server.url}/me"

    def __enter__(self) -> "ResourceServer":
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop()
        self._http.close()

    @property
    def seen(self) -> list[Seen]:
        """Every request so far."""
        return self._server.seen

    def wrap(self, around: Callable[[Callable[[Seen], Answer], Seen], Answer]) -> None:
        """Put something around every request, as an instrumentation would."""
        self._server.on("/me", lambda seen: around(self._me, seen))

    def _me(self, seen: Seen) -> Answer:
        scheme, _, token = seen.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return _refusal(401, "")
        try:
            claims = self._claims(token)
        except (jwt.PyJWTError, KeyError):
            return _refusal(401, ', error="invalid_token"')
        if self.scope is not None and self.scope not in str(claims.get("scope", "")).split():
            return _refusal(403, f', error="insufficient_scope", scope="{self.scope}"')
        return Answer(200, b'{"status": "ok"}', [("Content-Type", "application/json")])

    def _claims(self, token: str) -> dict[str, object]:
        kid = jwt.get_unverified_header(token)["kid"]
        keys = self._keys()
        return jwt.decode(token, keys[kid], algorithms=["RS256"], audience=self.audience, issuer=self.issuer)

    def _keys(self) -> dict[str, jwt.PyJWK]:
        if self.caches and self._cached:
            return self._cached
        document = self._http.get(f"{self.issuer}/.well-known/openid-configuration", timeout=5).json()
        found = self._http.get(document["jwks_uri"], timeout=5).json()["keys"]
        self._cached = {key["kid"]: jwt.PyJWK(key) for key in found if key.get("use") != "enc"}
        return self._cached


def _refusal(status: int, error: str) -> Answer:
    return Answer(status, b"", [("WWW-Authenticate", f'Bearer realm="orders"{error}')])
