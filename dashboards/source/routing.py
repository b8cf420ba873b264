"""Where alerts go and which ones silence others: for Alertmanager, and the same as Grafana's notification policies.

Three things make inhibition hold. A route waits longer than one evaluation before it tells, so that a cause is known before
its victims are told of. A cause outlasts its victims' windows (`keep_firing_for`). Both carry the same labels: an alert
without a provider is never silenced by one, as the matcher demands that the cause has one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dashboards.source.credentials import NAME, NOTICES, SUBJECT
from dashboards.source.outputs import Tree
from dashboards.source.promql import COUNTS, ENV, FLOW, HOUR, LOCATION, MINUTE, PROVIDER
from dashboards.source.rules import Parameters

OUTAGE = "AuthTokenEndpointDown"
DEAD = "OtelprobeTelemetryMissing"
TEAM_PAGER = "payments-pager"
THEIRS = ('component="api"', 'team="payments"')
"""What a team's own pager is for: its API. The provider's trouble is for those who run the provider, whatever the team."""

GROUP_BY = ("alertname", ENV, PROVIDER)


@dataclass(frozen=True, slots=True)
class Inhibition:
    """One rule: what silences what, where these labels are the same, and why."""

    source: Sequence[str]
    target: Sequence[str]
    equal: Sequence[str]
    why: str


INHIBITIONS = (
    Inhibition(
        (f'alertname="{OUTAGE}"', f'{PROVIDER}!=""'),
        (
            f'alertname!="{OUTAGE}"',
            'scope=~"flow|api|provider"',
            'component!="otelprobe"',
            'alertname!="BadCredentialAccepted"',
        ),
        (ENV, PROVIDER),
        "An outage of a provider is told once, not once for each of its flows.",
    ),
    Inhibition(
        (f'alertname="{DEAD}"',),
        ('alertname="OtelprobeFlowSilent"',),
        (ENV, LOCATION),
        "A dead prober is told once, not once for each flow that it ran.",
    ),
    Inhibition(
        (f'alertname="{DEAD}"',),
        ('scope=~"flow|api|provider"',),
        (ENV, LOCATION),
        "What a dead prober saw last says nothing about now.",
    ),
    Inhibition(
        ('alertname="AuthFlowFailureRateHigh"',),
        ('alertname=~"JwtValidation.*|RefreshFailureRateHigh|AuthLatencyHigh|ClockSkewHigh"',),
        (ENV, PROVIDER, FLOW),
        "A flow that fails is told once.",
    ),
    Inhibition(
        ('alertname="ApiFailureRateHigh"',),
        ('alertname="ApiLatencyHigh"',),
        (ENV, PROVIDER, FLOW),
        "An API that fails because it is slow is told once.",
    ),
    Inhibition(
        ('alertname="AuthProviderLatencyHigh"',),
        ('alertname="AuthLatencyHigh"',),
        (ENV, PROVIDER),
        "A slow provider is told once, not once for each of its flows.",
    ),
    Inhibition(
        ('alertname=~"SloBudget.*"', 'severity="critical"'),
        ('alertname=~"SloBudget.*"', 'severity="warning"'),
        (ENV, FLOW, COUNTS),
        "The fast burn says it all.",
    ),
    Inhibition(
        ('alertname="SloBudgetGoneInTwoDays"',),
        ('alertname="SloBudgetGoneInFiveDays"',),
        (ENV, FLOW, COUNTS),
        "The faster burn says it all.",
    ),
    *(
        Inhibition(
            (f'alertname="{notice.title}ExpiringSoon"',),
            (f'alertname="{notice.title}Expiring"',),
            (ENV, SUBJECT, NAME),
            "What ends soon is told once.",
        )
        for notice in NOTICES
    ),
)


def alertmanager(p: Parameters) -> Tree:
    """Give an example of a whole configuration of Alertmanager."""
    return {
        "route": {
            "receiver": p.ticket_receiver,
            "group_by": list(GROUP_BY),
            **_pace(p, wait=90, interval=5 * MINUTE, repeat=12 * HOUR),
            "routes": [
                {
                    "receiver": "heartbeat",
                    "matchers": ['alertname="OtelprobeWatchdog"'],
                    "group_by": ["alertname"],
                    **_pace(p, wait=0, interval=MINUTE, repeat=MINUTE),
                },
                *(
                    {
                        "receiver": receiver,
                        "matchers": ['alertname="BadCredentialAccepted"', *whose],
                        **_pace(p, wait=0, interval=5 * MINUTE, repeat=4 * HOUR),
                    }
                    for receiver, whose in ((TEAM_PAGER, THEIRS), (p.page_receiver, ()))
                ),
                {
                    "receiver": TEAM_PAGER,
                    "matchers": ['severity="critical"', *THEIRS, 'scope!="credential"'],
                },
                {
                    "receiver": p.page_receiver,
                    "matchers": ['severity="critical"', 'scope!="credential"'],
                },
                {
                    "receiver": p.ticket_receiver,
                    "matchers": ['scope="credential"'],
                    "group_by": ["alertname", ENV, SUBJECT],
                    **_pace(p, wait=90, interval=HOUR, repeat=168 * HOUR),
                },
            ],
        },
        "inhibit_rules": [
            {"source_matchers": list(i.source), "target_matchers": list(i.target), "equal": list(i.equal)}
            for i in INHIBITIONS
        ],
        "receivers": [
            {"name": word, "webhook_configs": [{"url": url, "send_resolved": word != "heartbeat"}]}
            for word, url in receivers(p).items()
        ],
    }


def receivers(p: Parameters) -> Mapping[str, str]:
    """Give the receivers of the example: webhooks, to be replaced by what the installation has."""
    words = (p.page_receiver, TEAM_PAGER, p.ticket_receiver, "heartbeat")
    return {word: f"{p.webhook}/{word}" for word in words}


def _pace(p: Parameters, *, wait: float, interval: float, repeat: float) -> Tree:
    return {
        "group_wait": p.span(wait) if wait else "0s",
        "group_interval": p.span(interval),
        "repeat_interval": p.span(repeat),
    }


def notification_policies(p: Parameters) -> Tree:
    """Give the same routes as a provisioning file of Grafana."""
    tree = alertmanager(p)["route"]
    return {"apiVersion": 1, "policies": [{"orgId": 1, **_policy(tree)}]}


def _policy(route: Tree) -> Tree:
    made = {key: value for key, value in route.items() if key not in {"routes", "matchers"}}
    if "matchers" in route:
        made["object_matchers"] = [_matcher(text) for text in route["matchers"]]
    if "routes" in route:
        made["routes"] = [_policy(child) for child in route["routes"]]
    return made


def _matcher(text: str) -> list[str]:
    operator = next(sign for sign in ("=~", "!~", "!=", "=") if sign in text)
    word, value = text.split(operator, 1)
    return [word, operator, value.strip('"')]


def contact_points(p: Parameters) -> Tree:
    """Give the contact points that the policies name."""
    return {
        "apiVersion": 1,
        "contactPoints": [
            {
                "orgId": 1,
                "name": word,
                "receivers": [{"uid": f"otelprobe-{word}", "type": "webhook", "settings": {"url": url}}],
            }
            for word, url in receivers(p).items()
        ],
    }
