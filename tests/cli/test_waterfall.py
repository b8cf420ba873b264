"""The waterfall that people read. `python -m tests.cli.test_waterfall` writes the golden files anew: look at them."""

import dataclasses
import re
from pathlib import Path

import pytest

from otelprobe.cli.summary import summary
from otelprobe.cli.terminal import cells
from otelprobe.cli.waterfall import render, render_all
from otelprobe.reasons import VERDICTS, Blame, Counts, Layer, Outcome, Reason
from otelprobe.result import CaseResult, FlowResult, Phases, Warn
from tests.cli.samples import ALL, IDP, Flow, api_down, exchange, healthy, hostile, security_finding, verify_fails

GOLDEN = Path(__file__).parent / "golden"
ANSI = re.compile(r"\x1b\[[0-9;]*m")
WIDTHS = [*range(1, 40, 7), 40, 50, 55, 56, 60, 61, 72, 79, 80, 87, 88, 99, 100, 120, 139, 140, 150, 160, 161, 300]


@pytest.mark.parametrize("name", ALL)
def test_golden(name: str) -> None:
    """At 100 cells without colour each kind of run looks exactly like its golden file."""
    assert render(ALL[name](), width=100, color=False) == (GOLDEN / f"{name}.txt").read_text(encoding="utf-8")


def test_golden_of_many() -> None:
    """Several flows end with a table of one line for each."""
    text = summary([make() for make in ALL.values()], width=100, color=False)
    assert text == (GOLDEN / "summary.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("width", WIDTHS)
def test_no_line_is_wider_than_asked(width: int) -> None:
    """Whatever the width and however long or wide the names, no line is longer than the width and nothing raises."""
    results = [*(make() for make in ALL.values()), hostile(), Flow("empty", None).done()]
    for line in render_all(results, width=width, color=False).splitlines():
        assert cells(line) <= width, line


@pytest.mark.parametrize("width", WIDTHS)
def test_colour_changes_nothing_but_colour(width: int) -> None:
    """With the colour codes taken away, the coloured text is the plain one."""
    results = [*(make() for make in ALL.values()), hostile()]
    colored = render_all(results, width=width, color=True)
    assert ANSI.search(colored)
    assert ANSI.sub("", colored) == render_all(results, width=width, color=False)


def test_foreign_text_cannot_drive_the_terminal() -> None:
    """Escape sequences, line breaks and reordering marks in names, hosts and details are shown, not obeyed."""
    plain = render_all([hostile(), hostile()], width=160, color=False)
    assert all(c == "\n" or c.isprintable() for c in plain)
    assert "\\x1b[31mred" in plain
    assert "\\u202e" in plain
    colored = render(hostile(), width=100, color=True)
    assert all(c == "\n" or c.isprintable() for c in ANSI.sub("", colored))
    assert "\x1b[31mred" not in colored


def test_canary_in_a_url_is_not_shown() -> None:
    """User information, query and fragment of a URL are never drawn, even if something upstream left them in."""
    url = f"https://canary:canary@{IDP}/token?secret=canary#canary"
    sent = dataclasses.replace(exchange("GET", f"https://{IDP}/token", 0.02), url=url)
    text = render(Flow().step("token", 0.02, sent).done(), width=160, color=False)
    assert f"GET {IDP}/token" in text
    assert "canary" not in text


def test_no_terminal_width_hides_the_reason() -> None:
    """At 60 cells a newcomer still reads every word of the verdict, the help and the trace id."""
    result = verify_fails()
    words = " ".join(render(result, width=60, color=False).split())
    assert VERDICTS[Reason.AUDIENCE_MISMATCH].help in words
    assert 'aud is ["account"], expected orders' in words
    assert "blame provider" in words
    assert f"{result.trace_id:032x}" in words


def test_shares() -> None:
    """The time of authentication and of the API stand apart, in time and in percent of their sum."""
    assert "auth 300 ms (70 %) · API 126 ms (30 %)" in render(healthy(), width=100, color=False)


def test_api_not_reached_is_told_from_api_not_asked() -> None:
    """A flow that failed before the API says so, and a flow without an API step says that."""
    assert "API not reached" in render(verify_fails(), width=100, color=False)
    assert "no API step" in render(Flow().step("token", 0.1).done(), width=100, color=False)


def test_skipped_steps_have_no_bar_and_say_why() -> None:
    """A skipped step has its own row that names the step to blame, without bar and time."""
    line = next(x for x in render(verify_fails(), width=100, color=False).splitlines() if "call" in x)
    assert line == "  - call      API   skipped: verify did not pass"


def test_controls_are_marked_and_explained() -> None:
    """Control requests are told from the user's own, in their row, in the bar and in words."""
    text = render(api_down(), width=100, color=False)
    assert text.count("401  control") == 2
    assert "░░ control: an extra request" in text


def test_security_is_marked() -> None:
    """A security finding is marked at the case, at the step and in the verdict."""
    assert render(security_finding(), width=100, color=False).count("SECURITY") == 3
    assert "SECURITY" in summary([security_finding()], width=100, color=False)


def test_what_a_bad_token_led_the_api_to_is_marked() -> None:
    """A refusal after the URL in the token was fetched is no good one."""
    cases = (CaseResult("key_url", False, 401, fetched=True), CaseResult("certificate_url", False, 401, fetched=False))
    flow = Flow().step("reject", 0.1, outcome=Outcome.FAIL, reason=Reason.KEY_URL_FETCHED, blame=Blame.API, cases=cases)
    text = render(flow.done(), width=100, color=False)
    assert "✗ key_url refused (401), but FETCHED what it names  SECURITY" in text
    assert "✓ certificate_url refused (401)" in text


def test_a_long_detail_does_not_hide_the_security_mark() -> None:
    """However long the detail in a step's row, the mark of a security finding stays."""
    flow = Flow().step("token", 0.1, outcome=Outcome.FAIL, reason=Reason.IDP_HTTP_5XX, blame=Blame.PROVIDER)
    flow.step("reject", 0.1, outcome=Outcome.FAIL, reason=Reason.REJECTION_ACCEPTED, detail="long " * 50)
    assert "…  SECURITY\n" in render(flow.done(), width=80, color=False)


def test_a_huge_terminal_is_not_filled() -> None:
    """Beyond 160 cells nothing grows, because the eye would lose the row."""
    assert render(healthy(), width=400, color=False) == render(healthy(), width=160, color=False)


def test_own_failure_of_a_clean_up_step_is_told() -> None:
    """A second failing step keeps its own reason and detail in its row, because the verdict tells only the first."""
    flow = Flow().step("token", 0.1, outcome=Outcome.FAIL, reason=Reason.IDP_HTTP_5XX, blame=Blame.PROVIDER)
    flow.step("revoke", 0.1, outcome=Outcome.FAIL, reason=Reason.REVOCATION_FAILED, detail="status 400")
    assert "revocation_failed: status 400" in render(flow.done(), width=100, color=False)


def test_flow_that_failed_before_its_steps() -> None:
    """A flow that never began a step still gives its reason and its help."""
    result = dataclasses.replace(
        Flow().skip("token").done(),
        outcome=Outcome.ERROR,
        reason=Reason.PROBER_OVERLOADED,
        blame=Blame.PROBER,
        counts=Counts.NONE,
    )
    text = render(result, width=100, color=False)
    assert " ERROR " in text
    assert "? prober_overloaded" in text
    assert VERDICTS[Reason.PROBER_OVERLOADED].help.partition(".")[0] in text


def test_a_warning_changes_the_mark_not_the_verdict() -> None:
    """A step that passed with a warning has its own mark, and the warning is told below."""
    warned = Flow().step("token", 0.1, warnings=(Warn(Reason.CREDENTIAL_EXPIRING, "in 12 days"),)).done()
    text = render(warned, width=100, color=False)
    assert text.startswith(" PASS ")
    assert "  ! token" in text
    assert "! credential_expiring at token: in 12 days" in text


def test_port_and_resend_are_shown_where_they_matter() -> None:
    """A port is shown only if the scheme does not imply it, an IPv6 host in brackets, a repeated request as such."""
    sent = exchange("GET", "https://api/x", 0.02, resend=1)
    usual = render(Flow().step("call", 0.02, sent, layer=Layer.API).done(), width=100, color=False)
    assert "GET api/x  200  resend 1" in usual
    odd = dataclasses.replace(sent, url="http://[::1]:8080/x", host="::1", port=8080)
    assert "GET [::1]:8080/x" in render(Flow().step("call", 0.02, odd).done(), width=100, color=False)
    broken = dataclasses.replace(sent, url="http://[bad")
    assert "GET api:443/" in render(Flow().step("call", 0.02, broken).done(), width=100, color=False)


def test_a_clock_that_jumps_breaks_nothing() -> None:
    """Steps that seem to begin before their flow, and numbers that are none, are drawn all the same."""
    result = healthy()
    early = dataclasses.replace(result.steps[0], start_ns=result.start_ns - 10**12, duration=float("nan"))
    odd: FlowResult = dataclasses.replace(result, steps=(early, *result.steps[1:]), duration=float("inf"))
    text = render(odd, width=100, color=False)
    assert "discover" in text
    assert max(map(cells, text.splitlines())) <= 100


def test_phases_below_or_beside() -> None:
    """Phases that took place are named with their times; those that did not are not."""
    partial = exchange("GET", f"https://{IDP}/x", 0.02, phases=Phases(dns=0.001, ttfb=0.019))
    text = render(Flow().step("keys", 0.02, partial).done(), width=100, color=False)
    assert "dns 1.0 ms  ttfb 19.0 ms" in text
    assert "connect" not in text
    assert not any("ttfb" in x and "GET" in x for x in render(healthy(), width=80, color=False).splitlines())
    assert any("ttfb" in x and "GET" in x for x in render(healthy(), width=150, color=False).splitlines())


if __name__ == "__main__":
    for case, build in ALL.items():
        (GOLDEN / f"{case}.txt").write_text(render(build(), width=100, color=False), encoding="utf-8")
    table = summary([build() for build in ALL.values()], width=100, color=False)
    (GOLDEN / "summary.txt").write_text(table, encoding="utf-8")
