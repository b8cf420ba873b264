"""Every alert: when it fires, whom it disturbs, what it means and what mends it.

Thresholds that belong to a customer come as data (`otelprobe.objective`), so that one rule serves every flow. What the
source says has one reason: symptoms page, causes make tickets.
"""

from dashboards.source.credentials import credential_alerts, credential_records
from dashboards.source.promql import (
    BLAME,
    COUNTS,
    ENV,
    ERROR,
    FLOW,
    FLOW_KEYS,
    HOUR,
    KIND,
    LOCATION,
    MINUTE,
    OUTCOME,
    PEER,
    PROVIDER,
    PROVIDER_KEYS,
    STEP_OUTCOME,
    TEAM,
    by,
    label,
    latest,
    on,
    select,
    sum_increase,
)  # fmt: skip
from dashboards.source.recording import (
    FAILING_RUNS,
    FAILING_SHARE,
    ISSUANCE_P95,
    OWNED,
    OWNER,
    PROVIDER_DOWN,
    QUORUM,
    STATE,
    TEAMS,
    failing,
    flow_p95,
    not_after_failing,
    objective,
    recording_groups,
)  # fmt: skip
from dashboards.source.rules import Alert, Component, Group, Parameters, Scope, Severity
from dashboards.source.self_alerts import prober_alerts
from dashboards.source.slo import burning, slo_alerts
from otelprobe.reasons import Reason
from otelprobe.rejection.provider_cases import PROVIDER_CASES
from otelprobe.telemetry import schema

OUTLAST = 35 * MINUTE
"""How long an outage of a provider is held after its end: its victims' windows (30 min) must have run dry before."""

AFTER = 10 * MINUTE
"""How long the failure of a flow is held after its end: what it silences looks back over fifteen minutes."""

ACCEPTED = (Reason.ENDPOINT_NOT_PROTECTED, Reason.REJECTION_ACCEPTED, Reason.REVOCATION_INEFFECTIVE)
"""Reasons that BadCredentialAccepted tells of."""

FOLLOWED = Reason.KEY_URL_FETCHED
"""The reason that BadCredentialFollowed tells of."""

FLOW_VARIABLES = {"environment": ENV, "provider": PROVIDER, "flow": FLOW}
PROVIDER_VARIABLES = {"environment": ENV, "provider": PROVIDER}
CLOCK_SKEW = 30


def with_team(expr: str) -> str:
    """Add the flow's team to an expression that has a flow."""
    return f"({expr}) * {on((ENV, FLOW))} group_left ({TEAM}) {TEAMS}"


def groups(p: Parameters) -> tuple[Group, ...]:
    """Give every group of rules: what is recorded, then what is alerted on."""
    return (
        *recording_groups(p),
        Group(name="otelprobe-notices", every=4 * MINUTE, rules=credential_records(p)),
        Group(name="otelprobe-burning", every=MINUTE, rules=(burning(p),)),
        Group(
            name="otelprobe-auth",
            every=MINUTE,
            rules=(*_reach(), *_failures(), _somewhere(p), *_tokens(p), *_latencies()),
        ),
        Group(name="otelprobe-security", every=MINUTE, rules=(*_security(p), _weakness(p), *_provider(p))),
        Group(name="otelprobe-credentials", every=5 * MINUTE, rules=credential_alerts()),
        Group(name="otelprobe-slo", every=MINUTE, rules=slo_alerts(p)),
        Group(name="otelprobe-prober", every=MINUTE, rules=prober_alerts(p)),
    )


def _reach() -> tuple[Alert, ...]:
    share = f"avg {by(PROVIDER_KEYS)} ({PROVIDER_DOWN})"
    return (
        Alert(
            name="AuthTokenEndpointDown",
            expr=f"{share} > {QUORUM:g}",
            lasts=2 * MINUTE,
            keeps=OUTLAST,
            severity=Severity.CRITICAL,
            component=Component.AUTH,
            scope=Scope.PROVIDER,
            summary="No flow gets a token from {{ $labels.otelprobe_provider }}",
            description="The provider is out of reach or answers 5xx at VALUE of the locations, and no flow gets a token there.",
            unit="ratio",
            meaning="In more than half of the locations no flow gets a token, because the provider cannot be reached or answers "
            "with a server error. Refusals (4xx) do not count. It silences the alerts of the provider's flows, and lasts "
            f"{OUTLAST / MINUTE:g} minutes longer than the outage so that none of them is heard at its end.",
            mend="Look at the provider's status page, then at the HTTP phases of the token endpoint: DNS and connect are the "
            "network, TLS is the certificate, time to first byte is the provider.",
            board="otelprobe-overview",
            variables=PROVIDER_VARIABLES,
        ),
        Alert(
            name="AuthProviderUnreachableFromSome",
            expr=f"{share} > 0 <= {QUORUM:g}",
            lasts=5 * MINUTE,
            severity=Severity.WARNING,
            component=Component.AUTH,
            scope=Scope.PROVIDER,
            summary="{{ $labels.otelprobe_provider }} gives no token in some locations",
            description="No flow gets a token at VALUE of the locations; the others are well.",
            unit="ratio",
            meaning="Some locations get no token, most do: a regional outage, or the way from there to the provider.",
            mend="Compare the locations on the Flow board; look at routes, proxies and DNS of the location first.",
            board="otelprobe-overview",
            variables=PROVIDER_VARIABLES,
        ),
    )


def with_owner(expr: str) -> str:
    """Add, as the label `component`, whose trouble it is, to an expression that has a flow and an objective."""
    return f"({expr}) * {on((*FLOW_KEYS, COUNTS))} group_left ({OWNED}) {OWNER}"


OWNER_WORD = f"{{{{ $labels.{OWNED} }}}}"


def _failures() -> tuple[Alert, ...]:
    return tuple(
        Alert(
            name=name,
            expr=with_team(with_owner(failing(counts))),
            lasts=5 * MINUTE,
            keeps=AFTER,
            severity=Severity.CRITICAL,
            component=OWNER_WORD,
            scope=scope,
            summary=f"{whose} fails for {{{{ $labels.otelprobe_flow_name }}}}",
            description=f"VALUE of the runs of ten minutes failed and count against the {counts} objective "
            f"(threshold {FAILING_SHARE:.0%}).",
            unit="ratio",
            meaning=f"More than 5 % of the flow's runs fail and count against its {counts} objective, in more than half of its "
            "locations, and there were three such runs at least, so that one bad run of a slow flow pages nobody. The label "
            "`component` says whose trouble it is: an API that refuses good tokens is the API's, though nobody gets in.",
            mend="The Flow board shows the failing step and its reason; `otelprobe explain REASON` tells what to check first.",
            board="otelprobe-flow",
            variables=FLOW_VARIABLES,
        )
        for name, counts, scope, whose in (
            ("AuthFlowFailureRateHigh", "auth", Scope.FLOW, "Authentication"),
            ("ApiFailureRateHigh", "api", Scope.API, "The API"),
        )
    )


def _somewhere(p: Parameters) -> Alert:
    window, located = p.span(10 * MINUTE), (*FLOW_KEYS, LOCATION)
    bad = sum_increase(schema.FLOW_RUNS, window, located, f'{COUNTS}=~"auth|api"')
    ran = sum_increase(schema.FLOW_RUNS, window, located, f'{COUNTS}!="none"')
    share = f"{bad} / {ran}"
    some = f"avg {by(FLOW_KEYS)} ({share} > bool {FAILING_SHARE}) <= {QUORUM:g}"
    reachable = f"unless {on((*PROVIDER_KEYS, LOCATION))} ({PROVIDER_DOWN} > 0)"
    return Alert(
        name="FlowFailsInSomeLocations",
        expr=with_team(
            f"({share} > {FAILING_SHARE} and {bad} >= {FAILING_RUNS}) and {on(FLOW_KEYS)} ({some}) {reachable}"
        ),
        lasts=5 * MINUTE,
        severity=Severity.WARNING,
        component=Component.OTELPROBE,
        scope=Scope.PROBE,
        summary=f"{{{{ $labels.{FLOW} }}}} fails from {{{{ $labels.{LOCATION} }}}} and is well from most locations",
        description=f"VALUE of the runs of ten minutes failed there (threshold {FAILING_SHARE:.0%}).",
        unit="ratio",
        meaning="More than 5 % of the flow's runs, three at least, fail in this location, but in no more than half of all: the "
        f"way from there, or what serves that region. It is for those who look after the location (`{LOCATION}`), and pages "
        "nobody. A provider that gives no token there is told of by AuthProviderUnreachableFromSome.",
        mend="Compare the locations on the Flow board. Blame network: DNS, routes, proxies and firewalls of the location; blame "
        "provider or API: their nodes for that region.",
        board="otelprobe-flow",
        variables={**FLOW_VARIABLES, "location": LOCATION},
    )


def _tokens(p: Parameters) -> tuple[Alert, ...]:
    five = sum_increase(schema.VALIDATION_FAILURES, p.span(5 * MINUTE), FLOW_KEYS)
    ten = sum_increase(schema.VALIDATION_FAILURES, p.span(10 * MINUTE), FLOW_KEYS)
    high = f"{five} / 5 > 10"
    refresh = f'{KIND}="refresh"'
    window = p.span(HOUR)
    weak = f'{ERROR}!="{Reason.REFRESH_REUSE_ACCEPTED}"'  # the refresh itself went well
    failed = sum_increase(schema.STEP_RUNS, window, FLOW_KEYS, refresh, f'{STEP_OUTCOME}="fail"', weak)
    ended = sum_increase(schema.STEP_RUNS, window, FLOW_KEYS, refresh, f'{STEP_OUTCOME}=~"pass|fail"')
    return (
        Alert(
            name="JwtValidationFailuresHigh",
            expr=with_team(high),
            lasts=5 * MINUTE,
            severity=Severity.WARNING,
            component=Component.AUTH,
            scope=Scope.FLOW,
            summary="Tokens for {{ $labels.otelprobe_flow_name }} are not valid",
            description="VALUE faults a minute are found when tokens are verified (threshold 10).",
            meaning="More than ten faults a minute are found in issued tokens, over five minutes. For flows that run often.",
            mend="The board Tokens and keys shows the faults by reason: a signature or kid points to a key rotation, an audience "
            "or issuer to a changed client, a time claim to a clock.",
            board="otelprobe-credentials",
            variables=FLOW_VARIABLES,
        ),
        Alert(
            name="JwtValidationFailing",
            expr=with_team(f"{ten} >= 3 unless {on(FLOW_KEYS)} {high}"),
            lasts=6 * MINUTE,
            severity=Severity.WARNING,
            component=Component.AUTH,
            scope=Scope.FLOW,
            summary="Tokens for {{ $labels.otelprobe_flow_name }} are not valid",
            description="VALUE faults were found in tokens within ten minutes (threshold 3).",
            meaning="The same for flows that run once a minute, which can never see ten faults in a minute: three within ten "
            "minutes.",
            mend="As for JwtValidationFailuresHigh.",
            board="otelprobe-credentials",
            variables=FLOW_VARIABLES,
        ),
        Alert(
            name="RefreshFailureRateHigh",
            expr=with_team(f"({failed} / {ended} > 0.02 and {failed} >= 2) {not_after_failing(window)}"),
            lasts=10 * MINUTE,
            severity=Severity.WARNING,
            component=Component.AUTH,
            scope=Scope.FLOW,
            summary="Refreshing tokens fails for {{ $labels.otelprobe_flow_name }}",
            description="VALUE of the refreshes of an hour failed (threshold 2%).",
            unit="ratio",
            meaning="More than 2 % of the refreshes of an hour fail, and two at least: users are logged out early.",
            mend="See the reason at the step refresh on the Flow board: invalid_grant is a revoked or expired refresh token or a "
            "lost rotation, everything else the provider.",
            board="otelprobe-flow",
            variables=FLOW_VARIABLES,
        ),
    )


def _latencies() -> tuple[Alert, ...]:
    healthy = f"unless {on(FLOW_KEYS)} ({flow_p95('auth')} > {on(FLOW_KEYS)} {objective('auth_latency')})"
    reachable = f"unless {on(PROVIDER_KEYS)} ({PROVIDER_DOWN} > 0)"
    return (
        Alert(
            name="AuthProviderLatencyHigh",
            expr=f"{ISSUANCE_P95} > {on(PROVIDER_KEYS)} min {by(PROVIDER_KEYS)} ({objective('issuance_latency')})",
            lasts=10 * MINUTE,
            keeps=5 * MINUTE,
            severity=Severity.WARNING,
            component=Component.AUTH,
            scope=Scope.PROVIDER,
            summary="{{ $labels.otelprobe_provider }} is slow to issue tokens",
            description="The 95th percentile of token requests is VALUE, above the provider's threshold.",
            unit="seconds",
            meaning="Token requests take longer than `issuance_latency` (the flow file, or the provider's preset), 95th percentile "
            "over fifteen minutes.",
            mend="Compare the HTTP phases: time to first byte is the provider, the rest is the way to it.",
            board="otelprobe-overview",
            variables=PROVIDER_VARIABLES,
        ),
        Alert(
            name="AuthLatencyHigh",
            expr=with_team(f"{flow_p95('auth')} > {on(FLOW_KEYS)} {objective('auth_latency')}"),
            lasts=13 * MINUTE,
            severity=Severity.WARNING,
            component=Component.AUTH,
            scope=Scope.FLOW,
            summary="Authentication is slow for {{ $labels.otelprobe_flow_name }}",
            description="The 95th percentile of its auth time is VALUE, above its objective.",
            unit="seconds",
            meaning="The steps of the auth layer together take longer than `auth_latency`, 95th percentile over fifteen minutes.",
            mend="The step durations on the Flow board show which step; its HTTP phases show why.",
            board="otelprobe-flow",
            variables=FLOW_VARIABLES,
        ),
        Alert(
            name="ApiLatencyHigh",
            expr=with_team(f"{flow_p95('api')} > {on(FLOW_KEYS)} {objective('api_latency')} {healthy} {reachable}"),
            lasts=10 * MINUTE,
            severity=Severity.WARNING,
            component=Component.API,
            scope=Scope.API,
            summary="The API behind {{ $labels.otelprobe_flow_name }} is slow, authentication is not",
            description="The 95th percentile of its API time is VALUE, above its objective, while authentication keeps its own.",
            unit="seconds",
            meaning="The API takes longer than `api_latency`, 95th percentile over fifteen minutes, while authentication is within "
            "its objective: the API's owner has to look.",
            mend="Follow an exemplar of the API time into its trace: the API's own spans are part of it.",
            board="otelprobe-flow",
            variables=FLOW_VARIABLES,
        ),
    )


def _accepted(p: Parameters, owner: str, sign: str) -> str:
    case = label(schema.CASE)
    chosen = f'{case}{sign}"{"|".join(sorted(PROVIDER_CASES))}"'
    seen = latest("max", schema.REJECTION, p.span(STATE), (*FLOW_KEYS, case), chosen)
    return f'label_replace({seen} > 0, "{OWNED}", "{owner}", "", "")'


def _weakness(p: Parameters) -> Alert:
    found = sum_increase(
        schema.FLOW_RUNS,
        p.span(30 * MINUTE),
        (*FLOW_KEYS, BLAME, ERROR),
        *(
            f'{COUNTS}="none"',
            f'{OUTCOME}="fail"',
            f'{BLAME}=~"provider|api"',
            f'{ERROR}!~"{"|".join((*ACCEPTED, FOLLOWED))}"',
        ),
    )
    return Alert(
        name="SecurityCheckFailing",
        expr=with_team(f"{found} >= 2"),
        lasts=5 * MINUTE,
        severity=Severity.WARNING,
        component=f'{{{{ if eq $labels.{BLAME} "api" }}}}api{{{{ else }}}}auth{{{{ end }}}}',
        scope=Scope.FLOW,
        summary=f"{{{{ $labels.{FLOW} }}}} finds a weakness: {{{{ $labels.{ERROR} }}}}",
        description="VALUE runs of half an hour ended so; everything else works.",
        meaning="Runs end for a reason that spends no objective and is the provider's or the API's: a spent refresh token is "
        "taken again, a revoked token stays active, a bad credential breaks the API. Users are well, security is not. Accepted "
        "credentials have an alert of their own.",
        mend="`otelprobe explain REASON` tells what it means and what to check first.",
        board="otelprobe-security",
        variables=FLOW_VARIABLES,
    )


def _security(p: Parameters) -> tuple[Alert, ...]:
    rule = (label(schema.POSTURE_RULE), label(schema.POSTURE_SEVERITY))
    return (
        Alert(
            name="BadCredentialAccepted",
            expr=with_team(f"{_accepted(p, 'api', '!~')} or {_accepted(p, 'auth', '=~')}"),
            severity=Severity.CRITICAL,
            component=OWNER_WORD,
            scope=Scope.FLOW,
            summary="{{ $labels.otelprobe_flow_name }} accepts a bad credential: {{ $labels.otelprobe_rejection_case }}",
            description="The last run offered a credential that must be refused, and it was accepted (VALUE).",
            meaning="A case of a step `reject`, `reject_at_provider` or `saml_reject` was accepted. It fires at once, and it is about security, "
            "not availability: it spends no objective. The label `component` says whose trouble it is, by the case.",
            mend="Look at the case on the Security board. alg_none, tampered and forged_key mean that the signature is not "
            "checked; no_token means that the endpoint is open.",
            board="otelprobe-security",
            variables=FLOW_VARIABLES,
        ),
        Alert(
            name="BadCredentialFollowed",
            expr=with_team(
                f"{latest('max', schema.REJECTION_FOLLOWED, p.span(STATE), (*FLOW_KEYS, label(schema.CASE)))} > 0"
            ),
            severity=Severity.WARNING,
            component=Component.API,
            scope=Scope.FLOW,
            summary="The API of {{ $labels.otelprobe_flow_name }} fetches the URL that a bad token names: {{ $labels.otelprobe_rejection_case }}",
            description="When it was last offered a token that names a URL for its key, it asked for that URL (VALUE).",
            meaning="The API's validator follows `jku` or `x5u` of a token that nobody has verified: anyone can make it send requests to "
            "where they cannot reach themselves (SSRF). Whether it also believes the key is another alert.",
            mend="Have the validator take keys from its own configuration only; RFC 8725, section 3.10.",
            board="otelprobe-security",
            variables=FLOW_VARIABLES,
        ),
        Alert(
            name="PostureFinding",
            expr=with_team(f"max {by((*FLOW_KEYS, *rule))} ({select(schema.POSTURE)}) > 0"),
            lasts=5 * MINUTE,
            severity=Severity.WARNING,
            component=Component.AUTH,
            scope=Scope.FLOW,
            summary="{{ $labels.otelprobe_flow_name }} breaks the rule {{ $labels.otelprobe_posture_rule }}",
            description="VALUE findings of severity {{ $labels.otelprobe_posture_severity }}.",
            meaning="The flow, its provider or its token breaks a rule of good posture.",
            mend="The rule's name tells what; the event of the finding and the page of steps tell more.",
            board="otelprobe-security",
            variables=FLOW_VARIABLES,
        ),
    )


def _provider(p: Parameters) -> tuple[Alert, ...]:
    subject = label(schema.DRIFT_SUBJECT)
    drift = sum_increase(schema.DRIFT_CHANGES, p.span(HOUR), (*FLOW_KEYS, subject))
    early = f'{label(schema.KEY_CHANGE)}="withdrawn_early"'
    degraded = f'{label(schema.PROVIDER_STATE)}="degraded"'
    skew = f"abs(last_over_time({select(schema.CLOCK_SKEW)}[{p.span(10 * MINUTE)}]))"
    return (
        Alert(
            name="SigningKeyWithdrawnEarly",
            expr=f"{sum_increase(schema.KEY_CHANGES, p.span(HOUR), PROVIDER_KEYS, early)} > 0",
            severity=Severity.CRITICAL,
            component=Component.AUTH,
            scope=Scope.PROVIDER,
            summary="{{ $labels.otelprobe_provider }} withdrew a key whose tokens are still alive",
            description="VALUE keys left the key set within an hour while tokens signed by them had not expired.",
            meaning="A key is no longer published although tokens that it signed are still valid: whoever fetches the keys anew "
            "refuses those tokens.",
            mend="Publish the old key until the last of its tokens has expired; until then users must log in again.",
            board="otelprobe-credentials",
            variables=PROVIDER_VARIABLES,
        ),
        Alert(
            name="ClockSkewHigh",
            expr=with_team(f"max {by((*FLOW_KEYS, label(schema.PEER)))} ({skew}) > {CLOCK_SKEW}"),
            lasts=15 * MINUTE,
            severity=Severity.WARNING,
            component=Component.AUTH,
            scope=Scope.FLOW,
            summary=f"Clocks differ between otelprobe and the {{{{ $labels.{PEER} }}}} of {{{{ $labels.{FLOW} }}}}",
            description=f"The difference is VALUE (threshold {CLOCK_SKEW} s); time claims of tokens begin to fail.",
            unit="seconds",
            meaning="The peer's clock and the prober's differ by more than thirty seconds.",
            mend="Compare with a third clock. If several peers differ alike, it is the prober's: check its NTP.",
            board="otelprobe-credentials",
            variables=FLOW_VARIABLES,
        ),
        Alert(
            name="AuthDrift",
            expr=with_team(f"{drift} > 0"),
            severity=Severity.INFO,
            component=Component.AUTH,
            scope=Scope.FLOW,
            summary=f"Something changed for {{{{ $labels.{FLOW} }}}}: {{{{ $labels.{subject} }}}}",
            description="VALUE differences from the learned baseline within an hour.",
            meaning="The discovery document, the claims, the algorithms or the lifetimes are no longer what they were. It is no "
            "failure, unless the flow's `drift` says so.",
            mend="Its event names what changed; if it was not announced, ask the provider.",
            board="otelprobe-security",
            variables=FLOW_VARIABLES,
        ),
        Alert(
            name="ProviderStatusDegraded",
            expr=f"{latest('max', schema.PROVIDER_STATUS, p.span(STATE), PROVIDER_KEYS, degraded)} > 0",
            lasts=5 * MINUTE,
            severity=Severity.WARNING,
            component=Component.AUTH,
            scope=Scope.PROVIDER,
            summary="{{ $labels.otelprobe_provider }} says on its status page that it is degraded",
            description="The status page shows degraded (VALUE) for five minutes.",
            meaning="The provider's own status page tells of a disturbance.",
            mend="Compare with what the flows see; subscribe to the incident.",
            board="otelprobe-overview",
            variables=PROVIDER_VARIABLES,
        ),
    )
