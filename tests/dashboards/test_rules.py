"""The rules are complete and say the same in every form: Prometheus, its operator, Grafana, Alertmanager."""

from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from dashboards.generate import files
from dashboards.source.alerts import groups
from dashboards.source.layout import pretty
from dashboards.source.outputs import flat
from dashboards.source.promql import duration
from dashboards.source.routing import INHIBITIONS
from dashboards.source.rules import Parameters, Severity

ROOT = Path(__file__).resolve().parents[2]
ALERTS = flat(groups(Parameters()))
RULES = [rule for group in groups(Parameters()) for rule in group.rules]
NO_TEAM = {"provider", "credential", "probe"}


def read(path: str) -> Any:
    return yaml.safe_load((ROOT / "dashboards" / path).read_text(encoding="utf-8"))


def test_generated_files_are_up_to_date() -> None:
    """What is committed is what the source makes."""
    stale = [name for name, text in files(Parameters()).items() if (ROOT / name).read_text(encoding="utf-8") != text]
    assert stale == []


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_every_rule_is_promql(rule: Any) -> None:
    """Every expression is read by a parser that is not ours, and its layout changes nothing."""
    assert promql_parser.parse(pretty(rule.expr)).prettify() == promql_parser.parse(rule.expr).prettify()


@pytest.mark.parametrize("alert", ALERTS.values(), ids=lambda alert: alert.name)
def test_every_alert_says_what_to_do(alert: Any) -> None:
    """Every alert has texts, its value in the description, meaning and mend, a board, and a team if it has a flow."""
    assert all((alert.summary, alert.description, alert.meaning, alert.mend, alert.board))
    assert "VALUE" in alert.description
    assert alert.scope.value in NO_TEAM or "group_left (team)" in alert.expr
    assert alert.severity is not Severity.NONE or alert.name == "OtelprobeWatchdog"


def test_the_promised_alerts_are_there() -> None:
    """The four alerts that the product promises have their severity, threshold and duration."""
    promised = {
        "AuthTokenEndpointDown": (Severity.CRITICAL, "> 0.5", 120),
        "AuthFlowFailureRateHigh": (Severity.CRITICAL, "> 0.05", 300),
        "JwtValidationFailuresHigh": (Severity.WARNING, "> 10", 300),
        "RefreshFailureRateHigh": (Severity.WARNING, "> 0.02", 600),
    }
    for name, (severity, threshold, lasts) in promised.items():
        assert ALERTS[name].severity is severity
        assert threshold in ALERTS[name].expr
        assert ALERTS[name].lasts == lasts


def test_every_form_has_the_same_expressions() -> None:
    """The operator's file, and Grafana's, ask just what the Prometheus files ask."""
    plain = [g for name in ("recording", "alerts") for g in read(f"alerts/prometheus/{name}.rules.yaml")["groups"]]
    assert read("alerts/kubernetes/prometheusrule.yaml")["spec"]["groups"] == plain
    alerts = {rule["alert"]: rule for group in plain for rule in group["rules"] if "alert" in rule}
    grafana = {r["title"]: r for group in read("provisioning/alerting/rules.yaml")["groups"] for r in group["rules"]}
    assert set(grafana) == set(alerts)
    for name, rule in grafana.items():
        assert rule["data"][0]["model"]["expr"] == alerts[name]["expr"]
        assert rule["for"] == alerts[name].get("for", "0s")
        assert rule.get("keepFiringFor") == alerts[name].get("keep_firing_for")
        assert {k: v.replace("$$", "$") for k, v in rule["labels"].items()} == alerts[name]["labels"]
        assert len(rule["uid"]) <= 40
        assert not any("${" in text for text in rule["annotations"].values())
    assert len({rule["uid"] for rule in grafana.values()}) == len(grafana)


def test_grafana_has_the_routes_of_alertmanager() -> None:
    """The notification policies are the routes, matcher by matcher, and their contact points exist."""
    route, policy = (
        read("alerts/alertmanager.yaml")["route"],
        read("provisioning/alerting/policies.yaml")["policies"][0],
    )
    assert len(policy["routes"]) == len(route["routes"])
    for ours, theirs in zip(route["routes"], policy["routes"], strict=True):
        assert [f'{word}{sign}"{value}"' for word, sign, value in theirs["object_matchers"]] == ours["matchers"]
        assert theirs["receiver"] == ours["receiver"]
    points = {point["name"] for point in read("provisioning/alerting/contact-points.yaml")["contactPoints"]}
    assert {policy["receiver"], *(r["receiver"] for r in policy["routes"])} <= points


def test_inhibition_names_alerts_that_exist() -> None:
    """A renamed alert cannot leave an inhibition behind that silences nothing."""
    text = "\n".join(matcher for rule in INHIBITIONS for matcher in (*rule.source, *rule.target))
    named = {m.split('"')[1] for m in text.splitlines() if m.startswith('alertname="')}
    assert named
    assert named <= set(ALERTS)


def test_an_outage_outlasts_the_windows_of_its_victims() -> None:
    """What the outage silences has run dry before it ends: ten minutes and five of failures, thirty minutes of burning."""
    assert ALERTS["AuthTokenEndpointDown"].keeps > 30 * 60
    victims = [a for a in ALERTS.values() if a.severity is Severity.CRITICAL and a.scope.value in {"flow", "api"}]
    assert all(ALERTS["AuthTokenEndpointDown"].keeps > a.keeps + 10 * 60 for a in victims)
    assert ALERTS["AuthTokenEndpointDown"].lasts < min(a.lasts for a in victims if "FailureRate" in a.name)


def test_durations_scale() -> None:
    """A campaign may shorten every duration alike; nothing then is left in minutes."""
    assert Parameters(scale=1 / 60).span(300) == "5s"
    assert duration(90) == "90s"
    assert duration(0.25) == "250ms"
    text = files(Parameters(scale=1 / 60))["dashboards/alerts/prometheus/alerts.rules.yaml"]
    assert "for: 5s" in text
    assert "for: 5m" not in text
