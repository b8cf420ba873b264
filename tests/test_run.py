"""Running a plan: a row for every step, one owner of the verdict, and never an exception."""

import random
import threading
import time
from dataclasses import replace
from typing import Any, ClassVar

import pytest

from otelprobe.clock import SystemClock
from otelprobe.expect import Expect
from otelprobe.fields import HttpOptions
from otelprobe.http import LiveHttp
from otelprobe.plan import FlowPlan
from otelprobe.provider import Provider
from otelprobe.quick import dataclass
from otelprobe.reasons import Blame, CheckFailed, Counts, Layer, Outcome, Reason
from otelprobe.result import Fact
from otelprobe.run import Tools, options_for, parent_from_environment, run_flow
from otelprobe.step import Context, Cookie, Done, Step
from otelprobe.steps.call import Call
from otelprobe.steps.discover import Discover
from otelprobe.steps.status_page import StatusPage
from tests.conftest import Answer, Server


@dataclass(frozen=True, kw_only=True)
class Act(Step):
    """A step of the test's own: does what it is told."""

    kind: ClassVar[str] = "act"
    layer: ClassVar[Layer] = Layer.AUTH

    raises: BaseException | None = None
    done: Done = Done()

    def run(self, ctx: Context) -> Done:
        """Raise or give what was set."""
        _ = ctx
        if self.raises is not None:
            raise self.raises
        return self.done


def plan(*steps: Step, **members: Any) -> FlowPlan:
    """Make a plan."""
    return FlowPlan(**{"name": "f", "provider": None, "steps": steps, "deadline": 5.0, "every": 60.0, **members})


def tools(**members: Any) -> Tools:
    """Make tools on real sockets."""
    return Tools(**{"http": LiveHttp(SystemClock()), **members})


class FixedIds:
    """Ids from a seed."""

    def __init__(self) -> None:
        self._random = random.Random(1)

    def trace_id(self) -> int:
        """Draw a trace id."""
        return self._random.getrandbits(128)

    def span_id(self) -> int:
        """Draw a span id."""
        return self._random.getrandbits(64)


def test_the_first_failure_owns_the_verdict_and_the_rest_is_skipped() -> None:
    """Every planned step has its row, in order, under its own name."""
    failed = CheckFailed(Reason.IDP_HTTP_5XX, "status 503")
    result = run_flow(plan(Act(name="a"), Act(name="b", raises=failed), Act(name="c"), Act(name="d")), tools())
    assert [(s.step, s.outcome.value, s.index) for s in result.steps] == [
        ("a", "pass", 0),
        ("b", "fail", 1),
        ("c", "skip", 2),
        ("d", "skip", 3),
    ]
    verdict = (result.outcome, result.reason, result.blame, result.counts, result.failed_step, result.detail)
    assert verdict == (Outcome.FAIL, Reason.IDP_HTTP_5XX, Blame.PROVIDER, Counts.AUTH, "b", "status 503")
    skipped = result.steps[2]
    assert (skipped.duration, skipped.start_ns) == (0.0, skipped.end_ns)


def test_a_clean_up_runs_and_its_failure_does_not_replace_the_verdict() -> None:
    """The verdict stays that of the first failed step."""
    first, second = CheckFailed(Reason.EXPIRED), CheckFailed(Reason.REVOCATION_FAILED)
    result = run_flow(plan(Act(name="a", raises=first), Act(name="b", always=True, raises=second)), tools())
    assert (result.failed_step, result.reason) == ("a", Reason.EXPIRED)
    assert result.steps[1].outcome is Outcome.FAIL


def test_a_failing_clean_up_alone_fails_the_flow() -> None:
    """A flow whose clean-up fails has not passed."""
    result = run_flow(
        plan(Act(name="a"), Act(name="b", always=True, raises=CheckFailed(Reason.REVOCATION_FAILED))), tools()
    )
    assert (result.failed_step, result.outcome) == ("b", Outcome.FAIL)


def test_a_bug_of_ours_is_nobodys_outage_and_shows_no_text() -> None:
    """The kind and the place are told; the text, which may hold anything, is not."""
    result = run_flow(plan(Act(name="a", raises=ValueError("canary")), Act(name="b")), tools())
    verdict = (result.outcome, result.reason, result.blame, result.counts)
    assert verdict == (Outcome.ERROR, Reason.PROBER_ERROR, Blame.PROBER, Counts.NONE)
    assert "ValueError" in str(result.detail)
    assert "canary" not in repr(result)


def test_a_step_that_is_too_slow_fails_after_all(server: Server) -> None:
    """max_duration is checked on the whole step; the answer itself was good."""

    def slow(_: object) -> Answer:
        threading.Event().wait(0.05)
        return Answer(200)

    server.on("/", slow)
    step = Call(name="call", url=f"{server.url}/", expect=Expect(max_duration=0.02))
    result = run_flow(plan(step), tools())
    assert (result.reason, result.blame, result.counts) == (Reason.TOO_SLOW, Blame.API, Counts.API)
    assert "allowed 20 ms" in str(result.detail)


def test_the_flow_deadline_ends_a_request_and_later_steps(server: Server) -> None:
    """The total holds whatever a single request's time-out says, and is named where it was used up before."""
    server.on("/", lambda _: Answer(200) if not threading.Event().wait(3) else Answer(500))
    step = Call(name="call", url=f"{server.url}/")
    result = run_flow(plan(step, Act(name="b"), deadline=0.2, http=HttpOptions(timeout=5.0)), tools())
    assert result.duration < 2
    assert result.steps[0].reason in {Reason.READ_TIMEOUT, Reason.DEADLINE_EXCEEDED}
    assert result.steps[1].outcome is Outcome.SKIP


@dataclass
class StepClock(SystemClock):
    """A clock whose monotonic time is set by the test."""

    at: float = 0.0

    def monotonic(self) -> float:
        """Give the time that was set."""
        return self.at


@dataclass(frozen=True, kw_only=True)
class Take(Act):
    """A step that takes a while by the test's clock, and notes until when it might have."""

    clock: StepClock
    seconds: float = 0.0
    ends: list[float]

    def run(self, ctx: Context) -> Done:
        """Let time pass."""
        self.ends.append(ctx.deadline)
        self.clock.at += self.seconds
        return super().run(ctx)


def test_a_clean_up_has_a_reserve_and_no_more() -> None:
    """Clean-up steps end with the flow, or 5 s after they begin, and all of them at most 5 s after the flow's deadline."""
    ends: list[float] = []
    took = {"first": 19.0, "early": 1.5, "late": 3.0, "later": 2.0, "last": 0.0}
    clock = StepClock()
    steps = [Take(name=n, clock=clock, seconds=s, ends=ends, always=n != "first") for n, s in took.items()]
    result = run_flow(plan(*steps, deadline=20.0), tools(clock=clock))
    assert ends == [20.0, 24.0, 25.0, 25.0]
    assert [s.outcome for s in result.steps[:4]] == [Outcome.PASS] * 4
    assert result.steps[4].reason is Reason.DEADLINE_EXCEEDED
    ends.clear()
    clock.at = 0.0
    run_flow(plan(steps[1], deadline=20.0), tools(clock=clock))
    assert ends == [20.0]


def test_a_step_may_have_a_larger_cap_unless_something_is_set() -> None:
    """A step that reads large documents says so itself; what the flow file says for the flow, the provider or it wins."""
    step = StatusPage(name="status", url="https://status.example.com/")
    assert options_for(step, plan(step)).max_size == 16 * 1024**2
    assert options_for(step, plan(step, http=HttpOptions(max_size=7))).max_size == 7
    assert options_for(replace(step, http=HttpOptions(max_size=8)), plan(step)).max_size == 8
    assert options_for(Act(name="a"), plan(step)).max_size == 1024**2


def test_the_ids_on_the_wire_are_those_of_the_result(server: Server) -> None:
    """traceparent carries the flow's trace and the exchange's own span."""
    server.on("/", Answer(200))
    result = run_flow(plan(Call(name="call", url=f"{server.url}/")), tools(ids=FixedIds()))
    (exchange,) = result.steps[0].exchanges
    assert server.seen[0].headers["traceparent"] == f"00-{result.trace_id:032x}-{exchange.span_id:016x}-01"
    spans = {result.span_id, result.steps[0].span_id, exchange.span_id}
    assert len(spans) == 3


def test_a_trace_of_the_environment_is_continued() -> None:
    """TRACEPARENT gives the trace and the parent of the flow's span; a malformed one is left alone."""
    good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    parent = parent_from_environment({"TRACEPARENT": good})
    result = run_flow(plan(Act(name="a")), tools(parent=parent))
    assert f"{result.trace_id:032x}" == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert result.parent_span_id == 0x00F067AA0BA902B7
    for bad in (
        "",
        "00-0-0-01",
        good.replace("4bf9", "xyz9"),
        "ff" + good[2:],
        good.replace("4bf92f3577b34da6a3ce929d0e0e4736", "0" * 32),
    ):
        assert parent_from_environment({"TRACEPARENT": bad}) is None


def test_skew_is_a_fact_and_above_30_s_a_warning(server: Server) -> None:
    """Skew that breaks nothing never fails a flow."""
    server.on("/", Answer(200, b"", [("Date", "Sun, 22 Nov 2020 10:00:00 GMT")]))
    result = run_flow(plan(Call(name="call", url=f"{server.url}/")), tools())
    assert result.passed
    (warning,) = result.warnings
    assert warning.reason is Reason.CLOCK_SKEW
    assert float(result.steps[0].facts[Fact.CLOCK_SKEW]) < -86400  # type: ignore[arg-type]  # a number by its kind


def test_the_nearest_http_block_wins() -> None:
    """Step over provider over flow for a step at the provider; step over flow for the others."""
    provider = Provider(name="p", issuer="https://a.example", http=HttpOptions(timeout=2.0, ca_file="p.pem"))
    flow = plan(provider=provider, http=HttpOptions(timeout=3.0, ca_file="f.pem", ip_version=6))
    at_provider = options_for(Discover(name="d", http=HttpOptions(timeout=1.0)), flow)
    assert (at_provider.timeout, at_provider.ca_file, at_provider.ip_version) == (1.0, "p.pem", 6)
    at_api = options_for(Call(name="c", url="https://api.example/"), flow)
    assert (at_api.timeout, at_api.ca_file, at_api.max_size) == (3.0, "f.pem", 1024**2)


def test_plain_http_outside_loopback_is_refused_before_anything_is_sent() -> None:
    """A token must not leave in the clear unless the operator says so."""
    result = run_flow(plan(Call(name="call", url="http://192.0.2.1/")), tools())
    assert (result.outcome, result.reason, result.blame) == (Outcome.ERROR, Reason.CONFIG_ERROR, Blame.CONFIG)
    assert result.steps[0].exchanges == ()


def test_artifacts_hide_their_secrets() -> None:
    """What steps hand to each other never shows in a repr."""
    made = Done(makes=(Cookie("sid", "canary"),))
    assert "canary" not in repr(made)


@pytest.mark.parametrize("count", [1, 50])
def test_auth_and_api_time_are_those_of_their_layers(count: int) -> None:
    """Durations add up by layer, and a run of many steps stays in order."""
    result = run_flow(plan(*(Act(name=f"a{n}") for n in range(count))), tools())
    assert result.auth_duration == pytest.approx(sum(s.duration for s in result.steps))
    assert result.api_duration == 0.0
    assert time.time_ns() - result.end_ns < 10**9


def test_a_clean_up_whose_value_was_never_captured_is_skipped(server: Server) -> None:
    """The step that should have given the value failed: there is nothing to clean up, and no bug to report."""
    clean = Call(name="clean", url=f"{server.url}/${{id}}", always=True)
    create = Call(name="create", url=f"{server.url}/", capture={"id": "$.id"})
    result = run_flow(plan(create, clean), tools())
    assert [s.outcome for s in result.steps] == [Outcome.FAIL, Outcome.SKIP]
