"""The examples of the documentation are real."""

from pathlib import Path

import pytest

from otelprobe.config.load import load
from otelprobe.plan import build

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


def test_the_smallest_useful_file_has_eight_lines() -> None:
    """What is called eight lines long is, and makes a flow of five steps."""
    file = EXAMPLES / "eight-lines.yaml"
    assert len(file.read_text(encoding="utf-8").splitlines()) == 8
    (flow,) = load([file]).flows
    assert [step.kind for step in flow.steps] == ["discover", "keys", "token", "verify", "call"]


def test_the_full_example_uses_most_kinds() -> None:
    """The long example loads, with the values that it shows."""
    config = load([EXAMPLES / "full.yaml"])
    (flow,) = config.flows
    kinds = ["discover", "keys", "token", "verify", "call", "reject", "refresh", "introspect", "revoke"]
    assert [step.kind for step in flow.steps] == kinds
    assert flow.labels == {"team": "payments", "tier": "1"}
    assert flow.objective.as_numbers() == pytest.approx(
        {"availability": 0.999, "auth_latency": 0.4, "api_latency": 0.5}
    )
    assert flow.steps[-1].always
    assert config.telemetry.budget == 5.0


def test_the_example_of_saml_is_wired() -> None:
    """Both flows load and fit together: a log-in for the prober itself, and one into a service provider."""
    login, session = build(load([EXAMPLES / "saml.yaml"]))
    assert [step.kind for step in login.steps] == ["saml_metadata", "saml_login"]
    assert [step.kind for step in session.steps] == ["saml_metadata", "saml_metadata", "saml_login", "call"]
    assert login.provider is None


def test_the_example_of_what_ends_loads() -> None:
    """Certificates, credentials and the provider's own word, with the thresholds that it shows."""
    (flow,) = load([EXAMPLES / "ends.yaml"]).flows
    kinds = ["certificate"] * 3 + ["credential_expiry"] * 2 + ["status_page"]
    assert [step.kind for step in flow.steps] == kinds
    assert flow.interval == 6 * 3600
