"""The JSON document that machines read."""

import dataclasses
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from otelprobe.cli.report_json import document, json_text
from otelprobe.result import TlsFacts
from tests.cli.samples import ALL, IDP, Flow, api_down, exchange, healthy, hostile, security_finding, verify_fails

DOCS = Path(__file__).parents[2] / "docs" / "json-output.md"
DELIVERY = {"traces": {"sent": 14, "failed": 0, "spooled": 0}, "metrics": {}, "logs": {}}
FLOW = (
    "flow provider labels location outcome reason blame counts failed_step warnings detail trace_id started_at duration"
)
FLOW += " auth_duration api_duration steps"
STEP = "step kind layer outcome reason detail warnings duration span_id facts http"
HTTP = "method host status duration phases"


def test_the_contract_comes_first_and_in_order() -> None:
    """The fields of the published example stand first, in its order; what was added later stands behind."""
    made = document([verify_fails()], DELIVERY, 1)
    flow = made["flows"][0]
    step = flow["steps"][2]
    assert list(made) == ["version", "flows", "delivery", "exit_code"]
    assert list(flow)[:17] == FLOW.split()
    assert list(step)[:11] == STEP.split()
    assert list(step["http"][0])[:5] == HTTP.split()
    assert list(step["http"][0]["phases"]) == ["dns", "connect", "tls", "ttfb", "transfer"]


def test_values() -> None:
    """Ids are hex, times RFC 3339 in UTC with milliseconds, durations seconds, enumerations plain words."""
    made = document([verify_fails()], DELIVERY, 1)
    flow = made["flows"][0]
    assert made["version"] == 1
    assert made["exit_code"] == 1
    assert made["delivery"] == DELIVERY
    assert flow["outcome"] == "fail"
    assert (flow["reason"], flow["blame"], flow["counts"]) == ("audience_mismatch", "provider", "auth")
    assert type(flow["reason"]) is str
    assert flow["failed_step"] == "verify"
    assert flow["trace_id"] == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert flow["started_at"] == "2026-11-22T10:00:00.123Z"
    assert flow["auth_duration"] == 0.22021
    assert flow["steps"][0]["span_id"] == "0000000000001000"
    assert flow["steps"][2]["facts"]["issuance.expires_in"] == 300
    assert flow["steps"][3]["problems"] == ["audience_mismatch", "claim_missing"]
    assert [s["outcome"] for s in flow["steps"]] == ["pass", "pass", "pass", "fail", "skip", "skip", "pass"]


def test_warnings_stand_at_the_flow_and_at_the_step() -> None:
    """A warning is listed at its step, and at the flow with the step's name."""
    flow = document([api_down()], {}, 1)["flows"][0]
    warning = {"reason": "clock_skew", "detail": "login.example.com is 42 s ahead of this machine"}
    assert flow["warnings"] == [{**warning, "step": "verify"}]
    assert flow["steps"][3]["warnings"] == [warning]


def test_security_is_said() -> None:
    """A security finding says that it is one, and the accepted case is listed."""
    flow = document([security_finding()], {}, 1)["flows"][0]
    assert flow["security"] is True
    assert {"case": "alg_none", "accepted": True, "status": 200, "fetched": None} in flow["steps"][-1]["cases"]
    assert document([healthy()], {}, 0)["flows"][0]["security"] is False


def test_what_is_not_finite_is_null() -> None:
    """Numbers that JSON has no word for become null, so that every parser can read the document."""
    odd = dataclasses.replace(healthy(), duration=float("nan"))
    steps = (dataclasses.replace(odd.steps[0], facts={"jwt.age": float("inf"), "jwt.missing_claims": ("sub",)}),)
    flow = json.loads(json_text(document([dataclasses.replace(odd, steps=steps)], {}, 0)))["flows"][0]
    assert flow["duration"] is None
    assert flow["steps"][0]["facts"] == {"jwt.age": None, "jwt.missing_claims": ["sub"]}


@pytest.mark.parametrize("make", [*ALL.values(), hostile])
def test_round_trip(make: Any) -> None:
    """The text is ASCII without control characters and gives back exactly the document."""
    made = document([make()], DELIVERY, 0)
    text = json_text(made)
    assert text.isascii()
    assert all(c == "\n" or c.isprintable() for c in text)
    assert json.loads(text) == json.loads(json.dumps(made))


def test_every_field_is_documented() -> None:
    """docs/json-output.md has a row for every field that can be in the document, and no row for one that cannot."""
    tls = TlsFacts("1.3", "TLS_AES_128_GCM_SHA256", "CN=ca", "CN=idp", 1.0, 2_000_000_000.5)
    sent = dataclasses.replace(exchange("GET", f"https://{IDP}/", 0.02), tls=tls)
    made = document([Flow().step("keys", 0.02, sent).done()], DELIVERY, 0)
    assert made["flows"][0]["steps"][0]["http"][0]["tls"]["not_after"] == "2033-05-18T03:33:20.500Z"
    flow = made["flows"][0]
    page = DOCS.read_text(encoding="utf-8")
    levels = [made, flow, flow["steps"][0], flow["steps"][0]["http"][0]]
    assert list(_tables(page)) == [list(level) for level in levels]
    assert all(f"`{name}`" in page for name in flow["steps"][0]["http"][0]["tls"])


def _tables(page: str) -> Iterator[list[str]]:
    for table in page.split("| field | type | meaning |")[1:]:
        yield re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)
