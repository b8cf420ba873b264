"""What CI servers read: results as JUnit XML, one test suite for each flow and one test case for each step.

The document keeps to what the schemas in use have in common (that of Apache Ant's task and that of the Jenkins xUnit
plug-in): a bare root, suites with id, package, host name and a time without zone, `system-out` and `system-err` last.
"""

import math
import re
from collections.abc import Iterator, Sequence
from xml.etree import ElementTree as ET

from otelprobe.cli.terminal import harmless
from otelprobe.cli.timestamp import rfc3339
from otelprobe.cli.verdict import BLAMED
from otelprobe.cli.waterfall import render, why_skipped
from otelprobe.reasons import VERDICTS, Outcome
from otelprobe.result import FlowResult, StepResult

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_ELEMENT = {Outcome.FAIL: "failure", Outcome.ERROR: "error"}
_WIDTH = 100


def junit_xml(results: Sequence[FlowResult]) -> str:
    """Write the document; the waterfall of each flow stands in its `system-out`."""
    root = ET.Element("testsuites")
    for number, result in enumerate(results):
        root.append(_suite(result, number))
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def xml_text(text: str) -> str:
    """Show what XML cannot carry, and what could mislead a reader, as escapes."""
    return _NOT_XML.sub("\ufffd", harmless(text))


def _suite(result: FlowResult, number: int) -> ET.Element:
    cases = [_case(result, step) for step in result.steps]
    if result.outcome in _ELEMENT and not any(step.outcome in _ELEMENT for step in result.steps):
        cases.append(_flow_case(result))
    suite = ET.Element(
        "testsuite",
        {
            "name": xml_text(result.flow),
            "package": "otelprobe",
            "id": str(number),
            "timestamp": rfc3339(result.start_ns)[:19],
            "hostname": xml_text(result.location or "localhost"),
            "tests": str(len(cases)),
            "failures": _count(cases, "failure"),
            "errors": _count(cases, "error"),
            "skipped": _count(cases, "skipped"),
            "time": _time(result.duration),
        },
    )
    properties = ET.SubElement(suite, "properties")
    for name, value in _properties(result):
        ET.SubElement(properties, "property", {"name": xml_text(name), "value": xml_text(value)})
    suite.extend(cases)
    text = render(result, width=_WIDTH, color=False)
    ET.SubElement(suite, "system-out").text = "\n" + _NOT_XML.sub("\ufffd", text)
    ET.SubElement(suite, "system-err").text = ""
    return suite


def _count(cases: Sequence[ET.Element], tag: str) -> str:
    return str(sum(case.find(tag) is not None for case in cases))


def _properties(result: FlowResult) -> Iterator[tuple[str, str]]:
    yield "outcome", result.outcome.value
    yield "trace_id", f"{result.trace_id:032x}"
    named = {
        "provider": result.provider,
        "location": result.location,
        "reason": result.reason,
        "blame": result.blame,
        "counts": result.counts,
        "failed_step": result.failed_step,
    }
    yield from ((name, str(value)) for name, value in named.items() if value is not None)
    yield from ((f"label.{name}", value) for name, value in result.labels.items())


def _case(result: FlowResult, step: StepResult) -> ET.Element:
    case = _empty_case(result, step.step, step.duration)
    if step.outcome is Outcome.SKIP:
        ET.SubElement(case, "skipped", {"message": xml_text(why_skipped(step, result))})
    elif step.outcome in _ELEMENT:
        _add_fault(case, step)
    return case


def _flow_case(result: FlowResult) -> ET.Element:
    """Stand in for the failing step where the flow ended before any step could."""
    case = _empty_case(result, "(flow)", 0.0)
    _add_fault(case, result)
    return case


def _empty_case(result: FlowResult, name: str, duration: float) -> ET.Element:
    classname = f"otelprobe.{xml_text(result.flow)}"
    return ET.Element("testcase", {"classname": classname, "name": xml_text(name), "time": _time(duration)})


def _add_fault(case: ET.Element, fault: FlowResult | StepResult) -> None:
    reason = fault.reason.value if fault.reason else "unknown"
    message = f"{reason}: {fault.detail}" if fault.detail else reason
    element = ET.SubElement(case, _ELEMENT[fault.outcome], {"type": reason, "message": xml_text(message)})
    lines = [fault.detail] if fault.detail else []
    lines += [f"blame: {fault.blame.value} ({BLAMED[fault.blame]})"] if fault.blame else []
    lines += [f"check: {VERDICTS[fault.reason].help}"] if fault.reason else []
    element.text = "\n".join(xml_text(line) for line in lines)


def _time(seconds: float) -> str:
    return f"{max(seconds, 0.0) if math.isfinite(seconds) else 0.0:.6f}"
