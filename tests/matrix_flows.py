"""Flows whose last step rejects, run until every case that can be made was tried."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from otelprobe.clock import SystemClock
from otelprobe.config.load import load
from otelprobe.http import LiveHttp
from otelprobe.plan import build
from otelprobe.reasons import Outcome, Reason
from otelprobe.result import StepResult
from otelprobe.run import Tools, run_flow
from otelprobe.state import Memory, State
from tests.matrix import cells

_VERDICTS = {None, Reason.REJECTION_ACCEPTED, Reason.REFRESH_REUSE_ACCEPTED, Reason.ENDPOINT_NOT_PROTECTED}
_VERDICTS |= {Reason.REVOCATION_INEFFECTIVE, Reason.REJECTION_SERVER_ERROR}
_TURNS = 14


def found(
    folder: Path, provider: Mapping[str, Any] | None, *steps: object, cases: tuple[str, ...] = ()
) -> dict[str, str]:
    """Run these steps, the last of which rejects, at a provider after `discover` and `keys`; give its verdicts.

    All of `cases` have to be among them.
    """
    tried: dict[str, str] = {}
    for row in _turns(folder, provider, *steps):
        verdicts = cells(row.cases)
        if not set(verdicts) - set(tried) and tried:
            break
        assert row.reason in _VERDICTS, f"{row.reason}: {row.detail}"
        tried |= verdicts
    assert set(cases) <= set(tried), set(cases) - set(tried)
    return tried


def once(folder: Path, provider: Mapping[str, Any] | None, *steps: object) -> None:
    """Run the steps once, whatever the last one says: what it keeps in its state is there for `found`."""
    next(_turns(folder, provider, *steps))


def _turns(folder: Path, provider: Mapping[str, Any] | None, *steps: object) -> Iterator[StepResult]:
    flow: dict[str, Any] = {"name": "matrix", "deadline": "60s", "steps": list(steps)}
    document: dict[str, Any] = {"flows": [flow]}
    if provider is not None:
        flow |= {"provider": "idp", "steps": ["discover", "keys", *steps]}
        document["providers"] = {"idp": dict(provider)}
    path = folder / "flow.yaml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    (plan,) = build(load([path]))
    state, memory = State(folder / "state"), Memory()
    for _ in range(_TURNS):
        result = run_flow(plan, Tools(http=LiveHttp(SystemClock()), state=state, memory=memory))
        assert all(row.outcome is Outcome.PASS for row in result.steps[:-1]), (result.failed_step, result.detail)
        yield result.steps[-1]
