"""Who is told of what: amtool on the shipped example, and inhibition by a real Alertmanager that runs it."""

import subprocess
from collections.abc import Iterator

import pytest

from dashboards.source.promql import ENV, FLOW, LOCATION, PROVIDER
from tests.stack.harness import cache
from tests.stack.harness.alertmanager import MODULE, Alertmanager, check_config
from tests.stack.harness.process import eventually
from tests.stack.servers import told_in_one_line

CONFIG = cache.REPOSITORY / "dashboards" / "alerts" / "alertmanager.yaml"
HERE = {ENV: "prod", PROVIDER: "corp", "component": "auth"}
OUTAGE = {**HERE, "alertname": "AuthTokenEndpointDown", "severity": "critical", "scope": "provider"}
VICTIM = {**HERE, FLOW: "orders", "alertname": "AuthFlowFailureRateHigh", "severity": "critical", "scope": "flow"}
FAILING = VICTIM | {PROVIDER: "third"}
DEAD = {
    ENV: "prod", LOCATION: "eu", "alertname": "OtelprobeTelemetryMissing", "severity": "critical", "scope": "probe",
    "component": "otelprobe",
}  # fmt: skip
SILENT = {**DEAD, FLOW: "orders", "alertname": "OtelprobeFlowSilent", "severity": "warning"}


@pytest.mark.parametrize(
    ("labels", "receiver"),
    [
        (OUTAGE, "pager"),
        (VICTIM, "pager"),
        (VICTIM | {"team": "payments"}, "pager"),
        (VICTIM | {"team": "payments", "component": "api"}, "payments-pager"),
        (VICTIM | {"team": "other", "component": "api"}, "pager"),
        (VICTIM | {"severity": "warning"}, "tickets"),
        (VICTIM | {"alertname": "BadCredentialAccepted", "team": "payments"}, "pager"),
        (VICTIM | {"alertname": "BadCredentialAccepted", "team": "payments", "component": "api"}, "payments-pager"),
        ({"alertname": "OtelprobeWatchdog", "severity": "none"}, "heartbeat"),
        ({"alertname": "CredentialExpired", "severity": "critical", "scope": "credential"}, "tickets"),
        (SILENT, "tickets"),
    ],
)
def test_an_alert_reaches_its_receiver(labels: dict[str, str], receiver: str) -> None:
    """amtool routes each kind of alert to the one receiver that is meant."""
    with told_in_one_line():
        amtool = MODULE.obtain() / "amtool"
    pairs = [f"{key}={value}" for key, value in labels.items()]
    command = [amtool, "config", "routes", "test", f"--config.file={CONFIG}", f"--verify.receivers={receiver}", *pairs]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_amtool_takes_the_example() -> None:
    """The example is a whole configuration without a fault."""
    assert check_config(CONFIG) == ""


@pytest.fixture(scope="module")
def alertmanager(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Alertmanager]:
    """Give an Alertmanager that runs the example."""
    with told_in_one_line():
        running = Alertmanager(tmp_path_factory.mktemp("alertmanager"), CONFIG)
    yield running
    running.stop()


def state(alertmanager: Alertmanager, labels: dict[str, str]) -> str:
    """Give whether an alert is active or suppressed."""
    (found,) = eventually(
        lambda: alertmanager.alerts(*(f'{key}="{value}"' for key, value in labels.items())), 10, labels["alertname"]
    )
    return str(found["status"]["state"])


@pytest.mark.parametrize(
    ("cause", "victim", "apart"),
    [
        (OUTAGE, VICTIM, {PROVIDER: "other"}),
        (OUTAGE, VICTIM | {"alertname": "SloBudgetGoneInTwoDays"}, {PROVIDER: "another"}),
        (FAILING, FAILING | {"alertname": "ClockSkewHigh", "severity": "warning"}, {FLOW: "refunds"}),
        (DEAD, SILENT, {LOCATION: "us"}),
        (
            HERE
            | {"alertname": "ApiKeyExpiringSoon", "otelprobe_expiry_subject": "api_key", "otelprobe_expiry_name": "k"},
            HERE | {"alertname": "ApiKeyExpiring", "otelprobe_expiry_subject": "api_key", "otelprobe_expiry_name": "k"},
            {"otelprobe_expiry_name": "another"},
        ),
    ],
)
def test_a_cause_silences_its_victims_and_no_others(
    alertmanager: Alertmanager, cause: dict[str, str], victim: dict[str, str], apart: dict[str, str]
) -> None:
    """While the cause fires its victim is suppressed; one of another provider, location or name is not."""
    other = victim | apart
    alertmanager.send({"labels": cause}, {"labels": victim}, {"labels": other})
    eventually(lambda: state(alertmanager, victim) == "suppressed", 10, f"silence over {victim['alertname']}")
    assert state(alertmanager, cause) == "active"
    assert state(alertmanager, other) == "active"


def test_an_accepted_credential_is_told_even_in_an_outage(alertmanager: Alertmanager) -> None:
    """Security is not silenced by availability."""
    found = VICTIM | {"alertname": "BadCredentialAccepted"}
    alertmanager.send({"labels": OUTAGE}, {"labels": found})
    assert state(alertmanager, found) == "active"


def test_a_flow_without_provider_is_silenced_by_no_outage(alertmanager: Alertmanager) -> None:
    """A missing label equals no other."""
    lone = {key: value for key, value in VICTIM.items() if key != PROVIDER}
    alertmanager.send({"labels": OUTAGE}, {"labels": lone})
    missing = lone | {PROVIDER: ""}
    assert state(alertmanager, missing) == "active"
