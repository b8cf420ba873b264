"""How long a revoked token is still taken: measured at an API that asks the provider, and remembers what it was told."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import requests
import yaml

from otelprobe.__main__ import main
from otelprobe.telemetry import schema
from tests.conftest import Answer, Seen, Server
from tests.stack.harness.oidc_provider import CLIENT, SECRET, OidcProvider
from tests.stack.harness.process import session
from tests.telemetry.receiver import Inbox, http_receiver

CACHED = 2.0
"""Seconds for which the API remembers that a token is active."""

ROUNDED = 0.05
"""Seconds: what a report is rounded to, and what two clocks of one machine may differ by."""


@dataclass
class CachingApi:
    """An API that takes opaque tokens: it introspects each (RFC 7662), and asks again only after `seconds`."""

    server: Server
    issuer: str
    seconds: float
    asked: list[tuple[float, bool]] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._active: dict[str, float] = {}
        self._http: requests.Session = session()
        known = self._http.get(f"{self.issuer}/.well-known/openid-configuration", timeout=10).json()
        self._endpoint = known["introspection_endpoint"]
        self.server.on("/orders", self._orders)

    @property
    def url(self) -> str:
        return f"{self.server.url}/orders"

    def stop(self) -> None:
        self._http.close()

    def _orders(self, seen: Seen) -> Answer:
        token = seen.headers.get("authorization", "").removeprefix("Bearer ")
        if self._knows(token):
            return Answer(200, b'{"status":"ok"}', [("Content-Type", "application/json")])
        self.refused.append(time.time())
        return Answer(401, b"", [("WWW-Authenticate", 'Bearer error="invalid_token"')])

    def _knows(self, token: str) -> bool:
        key = sha256(token.encode()).hexdigest()
        if time.time() < self._active.get(key, 0.0):
            return True
        auth = (quote(CLIENT, safe=""), quote(SECRET, safe=""))
        active = self._http.post(self._endpoint, data={"token": token}, auth=auth, timeout=30).json()["active"] is True
        self.asked.append((time.time(), active))
        self._active[key] = time.time() + self.seconds if active else 0.0
        return active


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    """Give an OTLP receiver."""
    with http_receiver() as found:
        yield found


def once(folder: Path, api: CachingApi, inbox: Inbox, within: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Run the flow by the command line, with its telemetry sent to the inbox; give the report."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", inbox.endpoint)
    reject = {"step": "reject", "use": "good", "url": api.url, "cases": ["revoked"]}
    steps = [
        "discover",
        {"step": "token", "name": "doomed", "scope": "orders:read"},
        {"step": "token", "name": "good", "scope": "orders:read"},
        {"step": "call", "url": api.url, "auth": {"bearer": "doomed"}},
        {"step": "revoke", "use": "doomed", "token": "access"},
        {**reject, "expect": {"revoked_within": within}},
    ]
    provider = {"issuer": api.issuer, "client_id": CLIENT, "client_secret": {"env": "CLIENT_SECRET"}}
    flow = {"name": "revocation", "provider": "idp", "deadline": "60s", "steps": steps}
    path, report = folder / "flow.yaml", folder / "report.json"
    path.write_text(yaml.safe_dump({"providers": {"idp": provider}, "flows": [flow]}), encoding="utf-8")
    main(["once", str(path), "--output", "json", "--output-file", str(report), "--exit-zero"])
    (found,) = json.loads(report.read_text(encoding="utf-8"))["flows"]
    return dict(found)


def span_of(row: dict[str, Any]) -> tuple[float, float]:
    """Give when a step began and ended, Unix seconds."""
    begun = datetime.fromisoformat(row["started_at"]).timestamp()
    return begun, begun + row["duration"]


def delays(inbox: Inbox) -> list[float]:
    """Give the values of the metric that were exported."""
    return [point.as_double or point.as_int for point in inbox.points(schema.REVOCATION_DELAY.name)]


def test_an_api_that_remembers(
    idp: OidcProvider, server: Server, inbox: Inbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The delay lies between the end of what the API remembers and its first refusal, in the report and in the metric."""
    api = CachingApi(server, idp.issuer, CACHED)
    flow = once(tmp_path, api, inbox, "20s", monkeypatch)
    api.stop()
    assert flow["outcome"] == "pass", flow["detail"]
    row = flow["steps"][-1]
    told = row["facts"]["revocation.delay"]
    revoked = next(step for step in flow["steps"] if step["kind"] == "revoke")
    (first, was_active), *_ = api.asked
    assert was_active
    # The token was revoked between these two; it was remembered from the first question on, and refused at last.
    begun, done = span_of(revoked)
    assert max(first + CACHED, api.refused[0]) - done - ROUNDED <= told <= span_of(row)[1] - begun + ROUNDED
    assert told > 0
    assert delays(inbox) == [pytest.approx(told)]
    assert [case["accepted"] for case in row["cases"]] == [False]


def test_an_api_that_asks_each_time(
    idp: OidcProvider, server: Server, inbox: Inbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first offer is refused: the delay is the time of that, and nothing is waited for."""
    api = CachingApi(server, idp.issuer, 0.0)
    flow = once(tmp_path, api, inbox, "0s", monkeypatch)
    api.stop()
    assert flow["outcome"] == "pass", flow["detail"]
    assert len(api.refused) == 1
    assert delays(inbox) == [pytest.approx(flow["steps"][-1]["facts"]["revocation.delay"])]


def test_an_api_that_remembers_too_long(
    idp: OidcProvider, server: Server, inbox: Inbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token that is still taken when the time is over is the finding, and there is no delay to tell."""
    api = CachingApi(server, idp.issuer, 300.0)
    flow = once(tmp_path, api, inbox, "1s", monkeypatch)
    api.stop()
    assert (flow["outcome"], flow["reason"], flow["blame"]) == ("fail", "revocation_ineffective", "api")
    assert api.refused == []
    assert "revocation.delay" not in flow["steps"][-1]["facts"]
    assert delays(inbox) == []
