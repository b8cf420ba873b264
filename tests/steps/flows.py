"""Runs steps as a flow would, against a test's own server, with a clock that can be set off."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from otelprobe.audit.facts import Auditor
from otelprobe.clock import SystemClock
from otelprobe.fields import HttpOptions
from otelprobe.http import LiveHttp
from otelprobe.plan import FlowPlan
from otelprobe.provider import Provider
from otelprobe.result import FlowResult, StepResult
from otelprobe.run import Tools, run_flow
from otelprobe.state import Memory, State
from otelprobe.step import Step
from tests.conftest import Answer, Server


@dataclass
class ShiftedClock(SystemClock):
    """The machine's clock with its wall time off by `seconds`; waiting is by the real one."""

    seconds: float = 0.0

    def time_ns(self) -> int:
        """Give shifted Unix time."""
        return super().time_ns() + int(self.seconds * 1e9)


@dataclass
class Bench:
    """Where steps are tried: one server that plays provider and API, and what is remembered between runs."""

    server: Server
    provider: Provider
    clock: ShiftedClock = field(default_factory=ShiftedClock)
    memory: Memory = field(default_factory=Memory)
    state: State = field(default_factory=State)
    auditor: Auditor = field(default_factory=Auditor)

    def run(self, *steps: Step, deadline: float = 5.0, http: HttpOptions | None = None) -> FlowResult:
        """Run steps as one flow."""
        plan = FlowPlan(
            name="f", provider=self.provider, steps=steps, deadline=deadline, every=60.0, http=http or HttpOptions()
        )
        tools = Tools(
            http=LiveHttp(self.clock), clock=self.clock, memory=self.memory, state=self.state, auditor=self.auditor
        )
        return run_flow(plan, tools)


def last(result: FlowResult) -> StepResult:
    """Give the last row."""
    return result.steps[-1]


def as_json(document: object, status: int = 200, **headers: str) -> Answer:
    """Make a JSON answer."""
    pairs = [("Content-Type", "application/json"), *((k.replace("_", "-"), v) for k, v in headers.items())]
    return Answer(status, json.dumps(document).encode(), pairs)


def token_answer(**members: object) -> Answer:
    """Make a token response; a member of None is left out."""
    document: Mapping[str, object] = {"access_token": "at-1", "token_type": "Bearer", "expires_in": 300, **members}
    return as_json({k: v for k, v in document.items() if v is not None})
