"""Alerts on otelprobe itself: a prober that is silent must not look like a world that is well."""

from dashboards.source.promql import (
    BLAME,
    COUNTS,
    DAY,
    ENV,
    ERROR,
    FLOW,
    FLOW_KEYS,
    HOUR,
    LOCATION,
    MINUTE,
    OBJECTIVE,
    OUTCOME,
    PROVIDER,
    TEAM,
    by,
    label,
    on,
    select,
    sum_increase,
)  # fmt: skip
from dashboards.source.recording import INTERVAL, PROBERS, TEAMS
from dashboards.source.rules import Alert, Component, Parameters, Scope, Severity
from otelprobe.reasons import Reason
from otelprobe.telemetry import schema

LAG = 5
"""Seconds of lag (99th percentile) at which the prober no longer keeps its schedule."""

ENDED = (Reason.CREDENTIAL_EXPIRED, Reason.CERTIFICATE_EXPIRED)
"""Reasons that CredentialExpired tells of."""

_HERE = {"environment": ENV, "location": LOCATION}
_PLACE = (ENV, LOCATION)


def prober_alerts(p: Parameters) -> tuple[Alert, ...]:
    """Give every alert on the prober."""
    absent = (_silent(p), _missing(p), _gone(p))
    return (*absent, *_schedule(p), *_delivery(p), _audit(p), *_shards(), _inconclusive(p), _watchdog())


def _silent(p: Parameters) -> Alert:
    keys = (*FLOW_KEYS, LOCATION)
    run, day = select(schema.LAST_RUN), p.span(DAY)
    once = f"last_over_time({run}[{day}]) unless on (job, instance) last_over_time({select(schema.BUILD)}[{day}])"
    age = f"time() - max {by(keys)} ({run} or {once})"
    return Alert(
        name="OtelprobeFlowSilent",
        expr=f"({age} > {on(FLOW_KEYS)} group_left () 3 * {INTERVAL}) * {on((ENV, FLOW))} group_left ({TEAM}) {TEAMS}",
        lasts=8 * MINUTE,
        severity=Severity.WARNING,
        component=Component.OTELPROBE,
        scope=Scope.PROBE,
        summary="{{ $labels.otelprobe_flow_name }} no longer runs",
        description="Its last run was VALUE ago, more than three intervals.",
        unit="seconds",
        meaning="A flow has not run for three intervals, though a living prober has it, or it ran by `otelprobe once`. A flow "
        "that was taken out of the configuration is not meant, however that was done; one of a CronJob that was removed is told "
        "of for six hours. The flows of a prober that is gone are told of by OtelprobeProberGone.",
        mend="See the board Prober health: is the process alive, is it overloaded, did the CronJob start?",
        board="otelprobe-prober",
        variables={"environment": ENV, "provider": PROVIDER, "flow": FLOW, "location": LOCATION},
    )


def _missing(p: Parameters) -> Alert:
    build = select(schema.BUILD)
    gone = f"group {by(_PLACE)} (last_over_time({build}[{p.span(6 * HOUR)}])) unless {on(_PLACE)} group {by(_PLACE)} ({build})"
    return Alert(
        name="OtelprobeTelemetryMissing",
        expr=gone,
        lasts=2 * MINUTE,
        keeps=5 * MINUTE,
        severity=Severity.CRITICAL,
        component=Component.OTELPROBE,
        scope=Scope.PROBE,
        summary="No otelprobe reports any more{{ with $labels.otelprobe_location }} from {{ . }}{{ end }}",
        description="None of the probers that were there within six hours sends metrics (VALUE place).",
        meaning="Every long-lived prober of a location has gone silent: it is dead, or its telemetry does not arrive. Whether the "
        "flows are well is not known, so their alerts there are silenced.",
        mend="Is the process up (`/livez`)? Does the collector take data? `otelprobe_export_items_total` says what it refused.",
        board="otelprobe-prober",
        variables=_HERE,
    )


def _gone(p: Parameters) -> Alert:
    place, window = (*_PLACE, "job"), p.span(6 * HOUR)
    has = select(schema.OBJECTIVE, f'{OBJECTIVE}="interval"')
    had = f"last_over_time({has}[{window}]) and on (job, instance) last_over_time({select(schema.BUILD)}[{window}])"
    nobodys = f"group {by((*FLOW_KEYS, LOCATION, 'job'))} ({had}) unless {on((*FLOW_KEYS, LOCATION))} {has}"
    fewer = f"{PROBERS} < quantile_over_time(0.5, {PROBERS}[{window}])"
    return Alert(
        name="OtelprobeProberGone",
        expr=f"count {by(place)} ({nobodys}) and {on(place)} ({fewer})",
        lasts=5 * MINUTE,
        severity=Severity.WARNING,
        component=Component.OTELPROBE,
        scope=Scope.PROBE,
        summary="A prober is gone{{ with $labels.otelprobe_location }} from {{ . }}{{ end }}, and nobody runs its flows",
        description="VALUE flows that ran within six hours are run by nobody.",
        meaning="There are fewer long-lived probers in a location than there mostly were within six hours, and flows that they ran "
        "are in no prober's configuration: a shard or a replica is dead. A process that was replaced, with or without all of its "
        "flows, is not meant. If no prober is left, OtelprobeTelemetryMissing fires instead.",
        mend="Which pod does not start, and why? Was the number of shards lowered in one place only?",
        board="otelprobe-prober",
        variables=_HERE,
    )


def _schedule(p: Parameters) -> tuple[Alert, ...]:
    window = p.span(15 * MINUTE)
    bucket, native = select(schema.SCHEDULE_LAG, suffix="_bucket"), select(schema.SCHEDULE_LAG)
    place = (*_PLACE, "instance")
    lag = (
        f"histogram_quantile(0.99, sum {by((*place, 'le'))} (rate({bucket}[{window}]))) or "
        f"histogram_quantile(0.99, sum {by(place)} (rate({native}[{window}])))"
    )
    reason = label(schema.MISSED_REASON)
    missed = sum_increase(schema.SCHEDULE_MISSED, window, (*_PLACE, "instance", reason))
    return (
        Alert(
            name="OtelprobeScheduleLag",
            expr=f"({lag}) > {LAG}",
            lasts=10 * MINUTE,
            severity=Severity.WARNING,
            component=Component.OTELPROBE,
            scope=Scope.PROBE,
            summary="{{ $labels.instance }} starts its runs late",
            description=f"The 99th percentile of its lag is VALUE (threshold {LAG} s).",
            unit="seconds",
            meaning="Runs start later than planned: the prober has too little processor time, or too many flows.",
            mend="Give it more processor time, spread the flows over shards, or lengthen intervals.",
            board="otelprobe-prober",
            variables=_HERE,
        ),
        Alert(
            name="OtelprobeRunsMissed",
            expr=f"{missed} >= 3",
            lasts=5 * MINUTE,
            severity=Severity.WARNING,
            component=Component.OTELPROBE,
            scope=Scope.PROBE,
            summary="{{ $labels.instance }} misses runs: {{ $labels.otelprobe_schedule_reason }}",
            description="VALUE planned runs did not take place within fifteen minutes.",
            meaning="Planned runs are left out: `overlap` means that a run takes longer than its interval, `late` and "
            "`suspended` that the prober stood still or its clock was set, the rest that it is overloaded.",
            mend="overlap: lengthen the interval or shorten the deadline. late, suspended: look for a node that was suspended or a pod that "
            "was paused. Otherwise as for OtelprobeScheduleLag.",
            board="otelprobe-prober",
            variables=_HERE,
        ),
    )


def _delivery(p: Parameters) -> tuple[Alert, ...]:
    signal, outcome = label(schema.SIGNAL), label(schema.EXPORT_OUTCOME)
    window = p.span(10 * MINUTE)
    keys = (*_PLACE, "instance", signal)
    lost = sum_increase(schema.EXPORT_ITEMS, window, keys, f'{outcome}="failed"')
    tried = sum_increase(schema.EXPORT_ITEMS, window, keys, f'{outcome}=~"sent|failed"')
    result = label(schema.RELOAD_OUTCOME)
    place = (*_PLACE, "instance")
    refused = sum_increase(schema.CONFIG_RELOADS, window, place, f'{result}="refused"')
    taken = sum_increase(schema.CONFIG_RELOADS, window, place, f'{result}="ok"')
    return (
        Alert(
            name="OtelprobeDeliveryFailing",
            expr=f"{lost} / {tried} > 0.01",
            lasts=5 * MINUTE,
            severity=Severity.WARNING,
            component=Component.OTELPROBE,
            scope=Scope.PROBE,
            summary="{{ $labels.instance }} loses {{ $labels.otelprobe_export_signal }}",
            description="VALUE of the items of ten minutes could not be delivered (threshold 1%).",
            unit="ratio",
            meaning="Spans, data points or log records were refused or could not be delivered. Metrics that still arrive tell of "
            "the other signals; if none arrive, OtelprobeTelemetryMissing fires.",
            mend="See the collector's log; docs/delivery.md says what each fault costs.",
            board="otelprobe-prober",
            variables=_HERE,
        ),
        Alert(
            name="OtelprobeReloadFailed",
            expr=f"{refused} > 0 unless {on(place)} {taken} > 0",
            severity=Severity.WARNING,
            keeps=15 * MINUTE,
            component=Component.OTELPROBE,
            scope=Scope.PROBE,
            summary="{{ $labels.instance }} refused its new configuration",
            description="VALUE reloads were refused within ten minutes, and none was taken; the old configuration runs on.",
            meaning="The flow file was changed and has a fault, so that the earlier one is still in force.",
            mend="`otelprobe validate` names file, line and mend.",
            board="otelprobe-prober",
            variables=_HERE,
        ),
    )


def _audit(p: Parameters) -> Alert:
    return Alert(
        name="OtelprobeAuditLost",
        expr=f"{sum_increase(schema.AUDIT_LOST, p.span(15 * MINUTE), (*_PLACE, 'instance'))} > 0",
        severity=Severity.CRITICAL,
        component=Component.OTELPROBE,
        scope=Scope.PROBE,
        summary="{{ $labels.instance }} cannot write its audit file",
        description="VALUE audit records of fifteen minutes could not be written.",
        meaning="Records of the audit trail are missing from the audit file: the trail has a gap.",
        mend="Is the disk full, is the folder writable? `otelprobe audit verify FILE` says what the file holds.",
        board="otelprobe-prober",
        variables=_HERE,
    )


def _shards() -> tuple[Alert, ...]:
    shard, shards = label(schema.SHARD), label(schema.SHARDS)
    # Several probers that are not sharded, such as sidecars, may well stand in one place.
    flows = select(schema.SCHEDULE_FLOWS, f'{shards}!="1"')
    return (
        Alert(
            name="OtelprobeShardTwice",
            expr=f"count {by((*_PLACE, shard, shards))} ({flows}) > 1",
            lasts=10 * MINUTE,
            severity=Severity.WARNING,
            component=Component.OTELPROBE,
            scope=Scope.PROBE,
            summary=f"Shard {{{{ $labels.{shard} }}}} of {{{{ $labels.{shards} }}}} runs twice",
            description="VALUE processes of one location run the same flows.",
            meaning="Two processes have the same index, so that their flows run twice: double load on the provider.",
            mend="Give each its own index; with a StatefulSet, the pod's.",
            board="otelprobe-prober",
            variables=_HERE,
        ),
        Alert(
            name="OtelprobeShardsDisagree",
            expr=f"count {by(_PLACE)} (group {by((*_PLACE, shards))} ({flows})) > 1",
            lasts=10 * MINUTE,
            severity=Severity.WARNING,
            component=Component.OTELPROBE,
            scope=Scope.PROBE,
            summary="The probers of a location divide the flows differently",
            description="VALUE different numbers of shards are in force, so that flows run twice or not at all.",
            meaning="Processes of one location see different numbers of shards.",
            mend="Give all of them the same number, or the same file that tells it.",
            board="otelprobe-prober",
            variables=_HERE,
        ),
    )


def _inconclusive(p: Parameters) -> Alert:
    window = p.span(15 * MINUTE)
    keys = (*FLOW_KEYS, BLAME)
    unclear = sum_increase(
        schema.FLOW_RUNS,
        window,
        keys,
        f'{COUNTS}="none"',
        f'{OUTCOME}=~"fail|error"',
        f'{BLAME}=~"config|edge|prober"',
        f'{ERROR}!~"{"|".join(ENDED)}"',
    )
    passed = sum_increase(schema.FLOW_RUNS, window, FLOW_KEYS, f'{OUTCOME}="pass"')
    return Alert(
        name="OtelprobeFlowBlind",
        expr=f"({unclear} >= 3 unless {on(FLOW_KEYS)} {passed} > 0) * {on((ENV, FLOW))} group_left ({TEAM}) {TEAMS}",
        lasts=5 * MINUTE,
        severity=Severity.WARNING,
        component=Component.OTELPROBE,
        scope=Scope.FLOW,
        summary=f"{{{{ $labels.{FLOW} }}}} cannot be checked, because of the {{{{ $labels.{BLAME} }}}}",
        description="VALUE runs of fifteen minutes ended for a reason that is nobody's outage, and none passed.",
        meaning="Every run ends for a reason that counts against no objective: our own client or its secret (config), a rate limit "
        "or firewall that refuses the prober (edge), or otelprobe itself (prober). Users may be well, but nobody watches.",
        mend="The Flow board shows the reason. config: renew the client's credentials; edge: have the prober allowed.",
        board="otelprobe-flow",
        variables={"environment": ENV, "provider": PROVIDER, "flow": FLOW},
    )


def _watchdog() -> Alert:
    return Alert(
        name="OtelprobeWatchdog",
        expr="vector(1)",
        severity=Severity.NONE,
        component=Component.OTELPROBE,
        scope=Scope.PROBE,
        summary="Alerting works",
        description="This alert always fires (VALUE); if it does not arrive, alerting itself is broken.",
        meaning="The dead-man: it always fires. Route it to a heartbeat outside, which tells when it stays away.",
        mend="If it stays away: is Prometheus up, does it reach Alertmanager, does Alertmanager reach the heartbeat?",
        board="otelprobe-prober",
    )
