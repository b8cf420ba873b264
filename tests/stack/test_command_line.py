"""The real command line, a certified provider, an API on PyJWT and an OTLP receiver in Rust: one trace id everywhere."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.flow_kit import ResourceServer
from tests.stack.harness.oidc_provider import PASSWORD, SECRET, OidcProvider
from tests.stack.harness.oidc_provider import RESOURCE as API
from tests.stack.harness.rotel import Rotel

EIGHT_LINES = Path(__file__).parents[2] / "docs" / "examples" / "eight-lines.yaml"


def once(flow_file: Path, **settings: str) -> "subprocess.CompletedProcess[str]":
    """Run `otelprobe once` as a process of its own, with nothing in its environment but what is given."""
    return subprocess.run(
        [sys.executable, "-m", "otelprobe", "once", flow_file.name, "--output", "json"],
        cwd=flow_file.parent,
        env={"PATH": os.environ["PATH"], "CLIENT_SECRET": SECRET, **settings},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def eight_lines(directory: Path, issuer: str, api: str) -> Path:
    """Write the smallest useful flow file of the documentation, with the addresses of this test in it."""
    text = EIGHT_LINES.read_text(encoding="utf-8")
    filled = text.replace("https://login.example.com", issuer).replace("https://api.example.com/me", api)
    assert filled.count(issuer) == filled.count(api) == 1
    path = directory / "eight-lines.yaml"
    path.write_text(filled, encoding="utf-8")
    return path


def document(done: "subprocess.CompletedProcess[str]") -> dict[str, Any]:
    """Read standard output, which holds one JSON document and nothing else."""
    assert done.stdout, done.stderr
    return dict(json.loads(done.stdout))


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_eight_lines_to_a_real_receiver(idp: OidcProvider, rotel: Rotel, tmp_path: Path, protocol: str) -> None:
    """Spans, metrics and events of one run arrive, under the trace id that the report names and the API was sent."""
    idp.change(resource=API)
    port = rotel.grpc if protocol == "grpc" else rotel.http
    target = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}", "OTEL_EXPORTER_OTLP_PROTOCOL": protocol}
    with ResourceServer(idp.issuer, "orders") as api:
        done = once(eight_lines(tmp_path, idp.issuer, api.url), **target)
    told = document(done)
    (flow,) = told["flows"]
    assert (done.returncode, told["exit_code"], flow["outcome"]) == (0, 0, "pass"), flow["detail"]
    assert [step["step"] for step in flow["steps"]] == ["discover", "keys", "token", "verify", "call"]
    for signal in ("traces", "metrics", "logs"):
        assert told["delivery"][signal]["sent"] > 0
        assert told["delivery"][signal]["failed"] == 0
    (seen,) = api.seen
    _, trace_id, span_id, _ = seen.headers["traceparent"].split("-")
    assert trace_id == flow["trace_id"]
    assert span_id == flow["steps"][-1]["http"][0]["span_id"]
    printed = rotel.received()
    assert set(re.findall(r"Trace ID\s*: ([0-9a-f]{32})", printed)) == {trace_id}
    assert span_id in printed
    for name in ("ResourceSpans", "ResourceMetrics", "ResourceLog "):
        assert name in printed
    assert SECRET not in printed + done.stdout + done.stderr


def test_failure_to_a_real_receiver(idp: OidcProvider, rotel: Rotel, tmp_path: Path) -> None:
    """A failed run exits with 1, and the receiver gets the same reason as the report."""
    idp.change(fault={"path": "/token", "status": 503})
    with ResourceServer(idp.issuer, "orders") as api:
        path = eight_lines(tmp_path, idp.issuer, api.url)
        done = once(path, OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{rotel.http}")
    (flow,) = document(done)["flows"]
    assert (done.returncode, flow["failed_step"], flow["reason"], flow["blame"]) == (
        1,
        "token",
        "idp_http_5xx",
        "provider",
    )
    assert api.seen == []
    printed = rotel.received()
    assert "idp_http_5xx" in printed
    assert flow["trace_id"] in printed


def test_without_a_receiver(idp: OidcProvider, tmp_path: Path) -> None:
    """The command works as well where no telemetry is set up, and continues a trace that it is given."""
    idp.change(resource=API)
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    with ResourceServer(idp.issuer, "orders") as api:
        done = once(eight_lines(tmp_path, idp.issuer, api.url), TRACEPARENT=parent)
    (flow,) = document(done)["flows"]
    assert (done.returncode, flow["outcome"], flow["trace_id"]) == (0, "pass", parent[3:35])
    assert PASSWORD not in done.stdout + done.stderr
