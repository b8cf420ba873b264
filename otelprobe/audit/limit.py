"""A limit on audit events of each flow and kind. Failures pass always, and what is held back is counted and told."""

from collections import deque
from dataclasses import replace

from otelprobe.fields import Rate
from otelprobe.result import AuditEvent, AuditFact, FlowResult, StepResult


class Limiter:
    """At most `rate.count` events of a flow and kind in any `rate.per` seconds, by the times of the runs.

    The event that comes after some were held back says how many. To be used by one thread.
    """

    def __init__(self, rate: Rate) -> None:
        self._rate = rate
        self._times: dict[tuple[str, AuditEvent], deque[float]] = {}
        self._held: dict[tuple[str, AuditEvent], int] = {}

    def admit(self, result: FlowResult) -> tuple[FlowResult, int]:
        """Give the result with those audit facts that may be told, and how many were held back."""
        if not any(step.audit for step in result.steps):
            return result, 0
        before = sum(len(step.audit) for step in result.steps)
        steps = tuple(self._step(result.flow, step) for step in result.steps)
        if all(one is other for one, other in zip(steps, result.steps, strict=True)):
            return result, 0
        return replace(result, steps=steps), before - sum(len(step.audit) for step in steps)

    def untold(self) -> dict[tuple[str, AuditEvent], int]:
        """Give what was held back and not told of yet, by flow and kind, and forget it."""
        left, self._held = self._held, {}
        return left

    def _step(self, flow: str, step: StepResult) -> StepResult:
        if not step.audit:
            return step
        judged = [self._fact((flow, fact.event), fact, step.end_ns / 1e9) for fact in step.audit]
        told = tuple(fact for fact in judged if fact is not None)
        return step if told == step.audit else replace(step, audit=told)

    def _fact(self, kind: tuple[str, AuditEvent], fact: AuditFact, now: float) -> AuditFact | None:
        times = self._times.setdefault(kind, deque())
        while times and times[0] <= now - self._rate.per:
            times.popleft()
        if len(times) >= self._rate.count and fact.passed:
            self._held[kind] = self._held.get(kind, 0) + 1
            return None
        if len(times) < self._rate.count:
            times.append(now)
        held = self._held.pop(kind, 0)
        return replace(fact, held_back=held) if held else fact
