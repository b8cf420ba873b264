"""Wiring: what a flow lacks is told before anything runs, with file and line."""

from pathlib import Path

import pytest

from otelprobe.config.faults import ConfigError
from otelprobe.config.load import load
from otelprobe.plan import FlowPlan, build

HEAD = """\
providers: {corp: {issuer: https://login.example.com, client_id: me, client_secret: {env: S}}}
flows:
  - name: f
    provider: corp
    steps:
"""


def planned(tmp_path: Path, *steps: str, head: str = HEAD) -> FlowPlan:
    """Wire one flow with these steps."""
    path = tmp_path / "flows.yaml"
    path.write_text(head + "".join(f"      - {step}\n" for step in steps))
    (plan,) = build(load([path]), location="here")
    return plan


def faults(tmp_path: Path, *steps: str, head: str = HEAD) -> list[tuple[int | None, str]]:
    """Give line and message of every wiring fault."""
    with pytest.raises(ConfigError) as caught:
        planned(tmp_path, *steps, head=head)
    return [(fault.line, fault.message) for fault in caught.value.faults]


def test_a_whole_flow_is_wired(tmp_path: Path) -> None:
    """Everything that is needed is made before; the plan knows what telemetry has to know."""
    plan = planned(tmp_path, "discover", "keys", "token", "verify", "{step: call, url: 'https://api.example.com/'}")
    assert [step.name for step in plan.steps] == ["discover", "keys", "token", "verify", "call"]
    facts = plan.facts()
    assert (facts.flow, facts.provider, facts.location, facts.interval) == ("f", "corp", "here", 60.0)
    assert [s.kind for s in facts.steps] == ["discover", "keys", "token", "verify", "call"]
    assert facts.objectives["interval"] == 60.0


@pytest.mark.parametrize(
    ("steps", "line", "words"),
    [
        (["token"], 6, "add a step discover before it (or name the endpoint"),
        (["discover", "verify"], 7, "add a step token or login before it"),
        (["discover", "token", "verify"], 8, "add a step keys before it"),
        (["discover", "keys", "token", "{step: verify, use: tokn}"], 9, "did you mean token?"),
        (["{step: call, url: 'https://a.example/', auth: {bearer: x}}"], 6, "no earlier step"),
        (["{step: call, url: 'https://a.example/${id}'}"], 6, "${id} is captured by no earlier step"),
        (["{step: call, url: 'https://a.example/${'}"], 6, "never closed"),
        (["{step: call, url: 'https://a.example/', json: {a: ['${']}}"], 6, "never closed"),
    ],
)
def test_each_lack_is_told_with_its_line(tmp_path: Path, steps: list[str], line: int, words: str) -> None:
    """A need that nobody makes, a name that nobody has, a value that nobody captures."""
    found = faults(tmp_path, *steps)
    assert any(where == line and words in text for where, text in found), found


def test_a_capture_of_the_same_step_is_too_late(tmp_path: Path) -> None:
    """A step's own URL cannot use what its own answer gives."""
    step = "{step: call, url: 'https://a.example/${id}', capture: {id: $.id}}"
    assert "captured by no earlier step" in faults(tmp_path, step)[0][1]


def test_named_endpoints_need_no_discovery(tmp_path: Path) -> None:
    """A provider without a discovery document is told by its endpoints."""
    head = HEAD.replace("client_id: me", "client_id: me, endpoints: {token: 'https://login.example.com/t'}")
    assert planned(tmp_path, "token", head=head).steps[0].kind == "token"


def test_steps_of_a_provider_need_one(tmp_path: Path) -> None:
    """A flow whose steps talk to a provider has to name it."""
    head = HEAD.replace("    provider: corp\n", "")
    assert any("add provider: NAME" in text for _, text in faults(tmp_path, "discover", head=head))


def test_every_fault_of_every_flow_comes_at_once(tmp_path: Path) -> None:
    """Two flows, three faults, one report."""
    second = "  - {name: g, steps: [{step: call, url: 'https://a.example/${x}'}]}\n"
    path = tmp_path / "flows.yaml"
    path.write_text(HEAD + "      - token\n      - {step: verify, use: nobody}\n" + second)
    with pytest.raises(ConfigError) as caught:
        build(load([path]))
    assert len(caught.value.faults) >= 3
    assert str(caught.value).count("flows.yaml:") == len(caught.value.faults)


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        (["discover", "keys", "token", "{step: verify, expect: {status: 200}}"], "only max_duration"),
        (["discover", "keys", "token", "{step: verify, capture: {a: $.a}}"], "no answer to capture"),
        (["discover", "token", "{step: reject, url: 'https://a.example/', capture: {a: $.a}}"], "no answer to capture"),
    ],
)
def test_what_would_never_be_looked_at_is_refused(tmp_path: Path, steps: list[str], words: str) -> None:
    """An expectation that can never fail is a mistake of the flow file."""
    assert any(words in text for _, text in faults(tmp_path, *steps))
