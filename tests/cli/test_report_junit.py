"""The JUnit document that CI servers read."""

import dataclasses
import re
from xml.etree import ElementTree as ET

import pytest

from otelprobe.cli.report_junit import junit_xml
from otelprobe.reasons import VERDICTS, Blame, Outcome, Reason
from otelprobe.result import FlowResult
from tests.cli.samples import ALL, Flow, healthy, hostile, secret_missing, verify_fails

SUITE = {"name", "package", "id", "timestamp", "hostname", "tests", "failures", "errors", "skipped", "time"}


def suite_of(result: FlowResult) -> ET.Element:
    suite = ET.fromstring(junit_xml([result]).encode()).find("testsuite")
    assert suite is not None
    return suite


@pytest.mark.parametrize("make", [*ALL.values(), hostile])
def test_shape(make: object) -> None:
    """Each suite has what the schemas in use require, in their order, and its numbers are those of its cases."""
    assert callable(make)
    root = ET.fromstring(junit_xml([make(), make()]).encode())
    assert (root.tag, root.attrib) == ("testsuites", {})
    assert [s.get("id") for s in root] == ["0", "1"]
    suite = root[0]
    cases = suite.findall("testcase")
    assert set(suite.attrib) == SUITE
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", suite.attrib["timestamp"])
    assert [c.tag for c in suite] == ["properties", *["testcase"] * len(cases), "system-out", "system-err"]
    assert suite.get("tests") == str(len(cases))
    for tag, count in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
        assert suite.get(count) == str(len(suite.findall(f"testcase/{tag}")))
    assert all(len(c) <= 1 and re.fullmatch(r"\d+\.\d{6}", c.attrib["time"]) for c in cases)


def test_a_failure_says_whose() -> None:
    """A failing step is a failure with the reason as its type, and with blame and help in its text."""
    suite = suite_of(verify_fails())
    failure = suite.find("testcase[@name='verify']/failure")
    assert failure is not None
    assert failure.attrib == {
        "type": "audience_mismatch",
        "message": 'audience_mismatch: aud is ["account"], expected orders',
    }
    assert failure.text is not None
    assert "blame: provider" in failure.text
    assert VERDICTS[Reason.AUDIENCE_MISMATCH].help in failure.text
    assert {c.get("classname") for c in suite.findall("testcase")} == {"otelprobe.orders-api"}
    properties = {p.get("name"): p.get("value") for p in suite.iter("property")}
    assert properties["trace_id"] == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert properties["blame"] == "provider"
    assert properties["label.team"] == "payments"


def test_an_error_is_not_a_failure() -> None:
    """What the prober could not tell is an error, what came after is skipped with why."""
    suite = suite_of(secret_missing())
    assert suite.find("testcase[@name='token']/error[@type='secret_missing']") is not None
    skipped = suite.find("testcase[@name='call']/skipped")
    assert skipped is not None
    assert skipped.get("message") == "skipped: token did not pass"
    assert suite.get("failures") == "0"


def test_location_is_host_and_property() -> None:
    """A location is told as the host of the suite and as a property; without one the host is localhost."""
    suite = suite_of(healthy())
    assert suite.get("hostname") == "eu-west"
    assert suite.find("properties/property[@name='location'][@value='eu-west']") is not None
    assert suite_of(verify_fails()).get("hostname") == "localhost"


def test_a_flow_that_failed_before_its_steps_fails_the_suite() -> None:
    """A flow's own failure is a case of its own where no step carries it, so that the suite cannot look green."""
    result = dataclasses.replace(
        Flow().skip("token").done(), outcome=Outcome.ERROR, reason=Reason.PROBER_OVERLOADED, blame=Blame.PROBER
    )
    suite = suite_of(result)
    assert suite.get("errors") == "1"
    assert suite.find("testcase[@name='(flow)']/error[@type='prober_overloaded']") is not None


def test_illegal_characters_are_removed() -> None:
    """Characters that XML cannot carry and terminal escapes come out as visible text, and markup as text."""
    text = junit_xml([hostile("\x00\x1b[31m\ufffe\ud800<failure/>&]]>")])
    assert text.encode()
    assert "\x1b" not in text
    assert "\\x1b[31m" in text
    assert "\u202e" not in junit_xml([hostile("\u202e")])
    suite = ET.fromstring(text.encode()).find("testsuite")
    assert suite is not None
    assert "<failure/>&]]>" in suite.attrib["name"]
