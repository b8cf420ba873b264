"""For every alert: data by which it must fire, data one step below at which it must not, and when it must be over.

One value a minute. A case names the alert, its series, and at which minutes it must and must not fire.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from dashboards.source.promql import (
    BLAME,
    COUNTS,
    ENV,
    ERROR,
    FLOW,
    KIND,
    LAYER,
    LOCATION,
    OBJECTIVE,
    OUTCOME,
    PEER,
    PROVIDER,
    STEP,
    STEP_OUTCOME,
    label,
    name,
)  # fmt: skip
from otelprobe.telemetry import schema
from otelprobe.telemetry.schema import Metric

DAY = 86400
Labels = Mapping[str, str]
Series = Mapping[str, Sequence[float | None]]

PLACE = {ENV: "prod", LOCATION: "eu", "job": "otelprobe", "instance": "a"}
CORP = {**PLACE, PROVIDER: "corp"}
ORDERS = {**CORP, FLOW: "orders"}
EVENT = {"interval": 60.0, "availability": 0.99, "auth_latency": 0.4, "api_latency": 0.5, "issuance_latency": 0.5}


@dataclass(frozen=True)
class Case:
    """What Prometheus is given, and at which minutes the alert fires or does not."""

    alert: str
    what: str
    series: Series
    fires: Sequence[int] = ()
    silent: Sequence[int] = ()
    labels: Labels = field(default_factory=dict)
    every: int = 1
    """Minutes between two evaluations; a case of days has time for fewer."""


def series(metric: Metric | str, labels: Labels, values: Iterable[float | None]) -> dict[str, list[float | None]]:
    """Give one series by its selector."""
    base = metric if isinstance(metric, str) else name(metric)
    pairs = ",".join(f'{key}="{value}"' for key, value in sorted(labels.items()) if value)
    return {f"{base}{{{pairs}}}": list(values)}


def steady(value: float, minutes: int) -> list[float | None]:
    """Give a gauge that stays."""
    return [value] * (minutes + 1)


def growing(*phases: tuple[float, int]) -> list[float | None]:
    """Give a counter that grows by so much a minute, for so many minutes, phase after phase; it begins at 0."""
    values: list[float | None] = [0.0]
    for per_minute, minutes in phases:
        for _ in range(minutes):
            values.append((values[-1] or 0.0) + per_minute)
    return values


def phased(*phases: tuple[float | None, int]) -> list[float | None]:
    """Give a gauge that has each value for so many minutes; None is no sample."""
    return [value for value, minutes in phases for _ in range(minutes)]


def facts(minutes: int, labels: Labels = ORDERS, **besides: float) -> Series:
    """Give the objectives of a flow of the team payments."""
    found: dict[str, Sequence[float | None]] = {}
    for word, value in {**EVENT, **besides}.items():
        told = {**labels, OBJECTIVE: word, "otelprobe_label_team": "payments"}
        found |= series(schema.OBJECTIVE, told, steady(value, minutes))
    return found


def runs(
    outcome: str, values: Sequence[float | None], *, blame: str = "", counts: str = "", reason: str = "", **labels: str
) -> Series:
    """Give a counter of runs."""
    own = {OUTCOME: outcome, BLAME: blame, COUNTS: counts, ERROR: reason}
    return series(schema.FLOW_RUNS, {**ORDERS, **own, **labels}, values)


def step_runs(kind: str, outcome: str, values: Sequence[float | None], reason: str = "", **labels: str) -> Series:
    """Give a counter of step runs."""
    own = {STEP: kind, KIND: kind, LAYER: "auth", STEP_OUTCOME: outcome, ERROR: reason}
    return series(schema.STEP_RUNS, {**ORDERS, **own, **labels}, values)


def step_up(kind: str, values: Sequence[float | None], **labels: str) -> Series:
    """Give a step's gauge."""
    return series(schema.STEP_UP, {**ORDERS, STEP: kind, KIND: kind, LAYER: "auth", **labels}, values)


def classic(metric: Metric, labels: Labels, seconds: float, minutes: int, per_minute: float = 4) -> Series:
    """Give a classic histogram of measurements that all take so long."""
    found: dict[str, Sequence[float | None]] = {}
    for bound in (*map(str, metric.bounds), "+Inf"):
        rate = per_minute if seconds <= float(bound) else 0
        found |= series(f"{name(metric)}_bucket", {**labels, "le": bound}, growing((rate, minutes)))
    found |= series(f"{name(metric)}_sum", labels, growing((per_minute * seconds, minutes)))
    return found | series(f"{name(metric)}_count", labels, growing((per_minute, minutes)))


def down(reason: str, location: str = "eu", *, healthy: bool = False) -> Series:
    """Give a location whose token step fails for this reason from minute 5 to 35."""
    up = phased((1, 6), (1 if healthy else 0, 30), (1, 90))
    failed = growing((0, 5), (0 if healthy else 1, 30), (0, 90))
    here = {LOCATION: location}
    return {**step_up("token", up, **here), **step_runs("token", "fail", failed, reason, **here)}


def _reach() -> Iterable[Case]:
    yield Case(
        "AuthTokenEndpointDown", "refused connections, then well again", down("connect_refused"),
        fires=(9, 30, 60), silent=(5, 7, 76),
    )  # fmt: skip
    yield Case("AuthTokenEndpointDown", "a refusal is no outage", down("invalid_client"), silent=(9, 20, 30))
    half = {**down("connect_refused"), **down("connect_refused", "us", healthy=True)}
    yield Case("AuthTokenEndpointDown", "half of the locations", half, silent=(9, 20, 30))
    yield Case("AuthProviderUnreachableFromSome", "half of the locations", half, fires=(13, 30), silent=(5, 9, 48))
    whole = {**down("connect_refused"), **down("connect_refused", "us")}
    yield Case("AuthProviderUnreachableFromSome", "all of the locations", whole, silent=(13, 30))


def _failing(good: float, bad: float, counts: str, **labels: str) -> Series:
    """Give so many good and bad runs a minute from minute 0 to 30, then good ones only."""
    worse = runs("fail", growing((bad, 30), (0, 40)), blame="provider", counts=counts, **labels)
    return {**runs("pass", growing((good, 30), (good + bad, 40)), **labels), **worse}


def _failures() -> Iterable[Case]:
    for alert, counts in (("AuthFlowFailureRateHigh", "auth"), ("ApiFailureRateHigh", "api")):
        known = facts(70)
        yield Case(
            alert, "every tenth run", {**known, **_failing(18, 2, counts)}, fires=(8, 30), silent=(3, 60),
            labels={"team": "payments"},
        )  # fmt: skip
        yield Case(alert, "just 5 %", {**known, **_failing(19, 1, counts)}, silent=(8, 20, 30))
        few = {
            **runs("pass", growing((1, 9), (0, 2), (1, 30))),
            **runs("fail", growing((0, 9), (1, 2), (0, 30)), counts=counts),
        }
        yield Case(alert, "two failures at a run a minute", {**known, **few}, silent=(12, 16, 20))
        owner = {"auth": "auth", "api": "api"}[counts]
        yield Case(
            alert, "whose trouble", {**known, **_failing(18, 2, counts)}, fires=(20,), labels={"component": owner}
        )
        other = {"auth": "api", "api": "auth"}[counts]
        yield Case(alert, "the other side fails", {**known, **_failing(18, 2, other)}, silent=(8, 20, 30))
        apart = {**_failing(18, 4, counts), **_failing(22, 0, counts, otelprobe_location="us")}
        yield Case(alert, "in half of the locations", {**known, **apart}, silent=(8, 20, 30))


def _somewhere() -> Iterable[Case]:
    here, known = "FlowFailsInSomeLocations", facts(70)

    def fails(bad: float, place: str, counts: str = "auth") -> Series:
        return _failing(20 - bad, bad, counts, otelprobe_location=place)

    lone = {**known, **fails(2, "eu"), **fails(0, "us")}
    told = {"team": "payments", LOCATION: "eu"}
    yield Case(here, "one of two", lone, fires=(8, 30), silent=(3, 60), labels=told)
    yield Case(
        here, "one of two, its API", {**known, **fails(2, "eu", "api"), **fails(0, "us")}, fires=(8, 30), silent=(60,)
    )
    yield Case(here, "just 5 %", {**known, **fails(1, "eu"), **fails(0, "us")}, silent=(8, 20, 30))
    yield Case(here, "two of three", {**lone, **fails(2, "us"), **fails(0, "ap")}, silent=(8, 20, 30))
    yield Case(here, "the only location", {**known, **fails(2, "eu")}, silent=(8, 20, 30))
    few = {
        **runs("pass", growing((1, 9), (0, 2), (1, 30))),
        **runs("fail", growing((0, 9), (1, 2), (0, 30)), counts="auth"),
        **fails(0, "us"),
    }
    yield Case(here, "two failures at a run a minute", {**known, **few}, silent=(12, 16, 20))
    far = {**lone, **down("connect_refused"), **down("connect_refused", "us", healthy=True)}
    yield Case(here, "the provider is out of reach from there", far, silent=(20, 30))


def _owners() -> Iterable[Case]:
    """An API that refuses good tokens spends the objective of authentication, and is the API's trouble."""
    refused = runs("fail", growing((1, 30), (0, 40)), blame="api", counts="auth", reason="api_rejects_valid_token")
    known = {**facts(70), **runs("pass", growing((0, 30), (1, 40))), **refused}
    yield Case("AuthFlowFailureRateHigh", "by the API", known, fires=(12,), labels={"component": "api"})
    mixed = runs("fail", growing((0, 30), (1, 40)), blame="provider", counts="auth", reason="idp_http_5xx")
    yield Case("AuthFlowFailureRateHigh", "then by the provider", {**facts(70), **refused, **mixed}, fires=(55,),
               labels={"component": "auth"})  # fmt: skip


def _invalid(per_minute: float) -> Series:
    told = {**ORDERS, ERROR: "signature_invalid"}
    return {**facts(70), **series(schema.VALIDATION_FAILURES, told, growing((per_minute, 30), (0, 40)))}


def _tokens() -> Iterable[Case]:
    high, failing, refresh = "JwtValidationFailuresHigh", "JwtValidationFailing", "RefreshFailureRateHigh"
    yield Case(high, "eleven a minute", _invalid(11), fires=(10, 30), silent=(3, 45))
    yield Case(high, "ten a minute", _invalid(10), silent=(8, 20, 30))
    yield Case(failing, "one a minute", _invalid(1), fires=(12, 30), silent=(2, 50))
    yield Case(failing, "eleven a minute is the other alert's", _invalid(11), silent=(12, 20))
    two = growing((0, 10), (1, 2), (0, 40))
    told = series(schema.VALIDATION_FAILURES, {**ORDERS, ERROR: "expired"}, two)
    yield Case(failing, "two in all", {**facts(52), **told}, silent=(14, 18, 24))

    def refreshed(good: float, bad: float) -> Series:
        passed = step_runs("refresh", "pass", growing((good, 120), (good, 120)))
        return {**facts(240), **passed, **step_runs("refresh", "fail", growing((bad, 120), (0, 120)), "invalid_grant")}

    yield Case(refresh, "3 %", refreshed(97, 3), fires=(30, 120), silent=(5, 200))
    yield Case(refresh, "2 %", refreshed(98, 2), silent=(30, 90, 120))
    outright = {
        **refreshed(0, 1),
        **step_runs("refresh", "pass", growing((0, 120), (1, 120))),
        **runs("fail", growing((1, 120), (0, 120)), blame="provider", counts="auth"),
        **runs("pass", growing((0, 120), (1, 120))),
    }
    yield Case(
        refresh, "all of them, for which the flow's own failure was told", outright, fires=(60,), silent=(135, 150)
    )
    single = {
        **step_runs("refresh", "pass", growing((1, 60))),
        **step_runs("refresh", "fail", growing((0, 9), (1, 1), (0, 50)), "x"),
    }
    yield Case(refresh, "a single failure", {**facts(60), **single}, silent=(20, 40))


def _timed(issuance: float, auth: float, api: float) -> Series:
    step = {**ORDERS, STEP: "token", KIND: "token", LAYER: "auth", STEP_OUTCOME: "pass"}
    return {
        **facts(60),
        **runs("pass", growing((4, 60))),
        **classic(schema.STEP_DURATION, step, issuance, 60),
        **classic(schema.AUTH_TIME, ORDERS, auth, 60),
        **classic(schema.API_TIME, ORDERS, api, 60),
    }


def _latencies() -> Iterable[Case]:
    provider, auth, api = "AuthProviderLatencyHigh", "AuthLatencyHigh", "ApiLatencyHigh"
    yield Case(provider, "above the threshold", _timed(0.6, 0.1, 0.1), fires=(20, 60), silent=(5,))
    yield Case(provider, "in the bucket below", _timed(0.45, 0.1, 0.1), silent=(20, 60))
    yield Case(auth, "above the objective", _timed(0.1, 0.45, 0.1), fires=(20, 60), silent=(5,))
    yield Case(auth, "in the bucket below", _timed(0.1, 0.35, 0.1), silent=(20, 60))
    yield Case(api, "API slow, authentication well", _timed(0.1, 0.1, 0.6), fires=(20, 60), silent=(5,))
    yield Case(api, "in the bucket below", _timed(0.1, 0.1, 0.45), silent=(20, 60))
    yield Case(api, "both slow", _timed(0.1, 0.6, 0.6), silent=(20, 60))


def _ending(subject: str, days: float, minutes: int = 130) -> Series:
    told = {**PLACE, label(schema.EXPIRY_SUBJECT): subject, label(schema.EXPIRY_NAME): "shop"}
    ends = [days * DAY - 60 * minute for minute in range(minutes)]
    return series(schema.EXPIRY, told, [*ends, *([400.0 * DAY] * 60)])


def _notice(subject: str, name_: str = "shop", **days: float) -> Series:
    """Give the notices of a flow file, by word."""
    told = {**ORDERS, label(schema.EXPIRY_SUBJECT): subject, label(schema.EXPIRY_NAME): name_}
    found: dict[str, Sequence[float | None]] = {}
    for word, value in days.items():
        found |= series(schema.OBJECTIVE, {**told, OBJECTIVE: f"expiry_{word}"}, steady(value * DAY, 190))
    return found


def _noticed(title: str, subject: str) -> Iterable[Case]:
    """Give cases in which the flow file says when to tell of an end."""
    soon, later = f"{title}ExpiringSoon", f"{title}Expiring"
    both, one = _notice(subject, warning=5, critical=2), _notice(subject, warning=5)
    yield Case(later, "warn_before is 5 d", {**both, **_ending(subject, 4.99)}, fires=(80, 120), silent=(30, 150))
    yield Case(later, "not yet warn_before", {**both, **_ending(subject, 6)}, silent=(80, 120))
    yield Case(soon, "critical_before is 2 d", {**both, **_ending(subject, 1.99)}, fires=(80, 120), silent=(30, 150))
    yield Case(soon, "not yet critical_before", {**both, **_ending(subject, 3)}, silent=(80, 120))
    yield Case(soon, "not before warn_before", {**one, **_ending(subject, 6)}, silent=(80, 120))
    yield Case(
        soon, "within warn_before, which is all", {**one, **_ending(subject, 4.99)}, fires=(80, 120), silent=(30, 150)
    )
    other = _notice(subject, "another", warning=5, critical=2)
    yield Case(later, "the notice of another", {**other, **_ending(subject, 6)}, fires=(80, 120), silent=(30, 150))


def _credentials() -> Iterable[Case]:
    for title, subject, warning, critical in (
        ("SamlCertificate", "saml_signing", 90, 14),
        ("ApiKey", "api_key", 30, 7),
        ("ClientSecret", "client_secret", 30, 7),
        ("TlsCertificate", "tls", 30, 7),
        ("ClientCertificate", "client_certificate", 30, 7),
    ):
        for suffix, days in (("Expiring", warning), ("ExpiringSoon", critical)):
            near = _ending(subject, days - 0.01)
            yield Case(f"{title}{suffix}", f"less than {days} days", near, fires=(80, 120), silent=(30, 150))
            yield Case(f"{title}{suffix}", f"more than {days} days", _ending(subject, days + 1), silent=(80, 120))
        yield Case(f"{title}Expiring", "another thing ends", _ending("other", 5), silent=(80, 120))
    yield from _noticed("SamlCertificate", "saml_signing")
    yield from _noticed("ApiKey", "api_key")
    yield Case("CredentialExpired", "an hour later", _ending("tls", 1 / 24), fires=(70, 120), silent=(50, 150))


def _security() -> Iterable[Case]:
    case = {**ORDERS, label(schema.CASE): "alg_none"}
    seen = series(schema.REJECTION, case, phased((0, 6), (1, 5), (0, 30)))
    yield Case(
        "BadCredentialAccepted", "one run accepts it", {**facts(40), **seen}, fires=(6, 10), silent=(5, 12),
        labels={"team": "payments", "component": "api"},
    )  # fmt: skip
    there = series(schema.REJECTION, {**ORDERS, label(schema.CASE): "no_client_auth"}, steady(1, 40))
    yield Case(
        "BadCredentialAccepted", "by the provider", {**facts(40), **there}, fires=(6,), labels={"component": "auth"}
    )
    refused = series(schema.REJECTION, case, steady(0, 40))
    yield Case("BadCredentialAccepted", "refused", {**facts(40), **refused}, silent=(6, 30))
    asked = series(
        schema.REJECTION_FOLLOWED, {**ORDERS, label(schema.CASE): "key_url"}, phased((0, 6), (1, 5), (0, 30))
    )
    yield Case(
        "BadCredentialFollowed", "one run is led on", {**facts(40), **asked}, fires=(6, 10), silent=(5, 12),
        labels={"team": "payments", "component": "api"},
    )  # fmt: skip
    weak = "SecurityCheckFailing"

    def ended(times: int, reason: str, blame: str = "provider") -> Series:
        found = growing((0, 5), (1, times), (0, 60))
        return {**facts(65), **runs("fail", found, blame=blame, counts="none", reason=reason)}

    reused = ended(2, "refresh_reuse_accepted")
    yield Case(weak, "two runs", reused, fires=(13, 30), silent=(6, 10, 40), labels={"component": "auth"})
    crashes = ended(5, "rejection_server_error", "api")
    yield Case(weak, "of an API", crashes, fires=(13,), silent=(6,), labels={"component": "api"})
    yield Case(weak, "a single run", ended(1, "refresh_reuse_accepted"), silent=(8, 13, 20))
    for reason in ("rejection_accepted", "key_url_fetched"):
        yield Case(weak, f"{reason} has an alert of its own", ended(5, reason, "api"), silent=(13, 20))
    rule = {**ORDERS, label(schema.POSTURE_RULE): "plain_http", label(schema.POSTURE_SEVERITY): "high"}
    found = series(schema.POSTURE, rule, phased((0, 5), (1, 15), (0, 20)))
    yield Case("PostureFinding", "one finding", {**facts(40), **found}, fires=(12, 19), silent=(5, 8, 22))


def _provider() -> Iterable[Case]:
    change = label(schema.KEY_CHANGE)
    gone = series(schema.KEY_CHANGES, {**CORP, change: "withdrawn_early"}, growing((0, 5), (1, 1), (0, 80)))
    yield Case("SigningKeyWithdrawnEarly", "one key", gone, fires=(7, 40), silent=(5, 70))
    other = series(schema.KEY_CHANGES, {**CORP, change: "removed"}, growing((0, 5), (1, 1), (0, 80)))
    yield Case("SigningKeyWithdrawnEarly", "a key that nobody needs", other, silent=(7, 40))

    def skew(seconds: float) -> Series:
        return {**facts(50), **series(schema.CLOCK_SKEW, {**ORDERS, PEER: "provider"}, phased((seconds, 30), (0, 20)))}

    yield Case("ClockSkewHigh", "behind by 31 s", skew(-31), fires=(16, 29), silent=(13, 42))
    yield Case("ClockSkewHigh", "30 s", skew(30), silent=(16, 29))
    drift = {**ORDERS, label(schema.DRIFT_SUBJECT): "claims"}
    changed = series(schema.DRIFT_CHANGES, drift, growing((0, 5), (1, 1), (0, 80)))
    yield Case("AuthDrift", "one change", {**facts(86), **changed}, fires=(7, 40), silent=(5, 70))
    state = {**CORP, label(schema.PROVIDER_STATE): "degraded"}
    told = series(schema.PROVIDER_STATUS, state, phased((0, 5), (1, 20), (0, 20)))
    yield Case("ProviderStatusDegraded", "degraded, then well", told, fires=(12, 24), silent=(4, 9, 26))


def _burning(ratio: float, minutes: int, after: int, per_minute: float = 1000) -> Series:
    bad = growing((per_minute * ratio, minutes), (0, after))
    good = growing((per_minute * (1 - ratio), minutes), (per_minute, after))
    return {
        **facts(minutes + after, availability=0.999),
        **runs("pass", good),
        **runs("fail", bad, blame="api", counts="api"),
    }


def _slo() -> Iterable[Case]:
    two, five, ten, thirty = (
        "SloBudgetGoneInTwoDays",
        "SloBudgetGoneInFiveDays",
        "SloBudgetGoneInTenDays",
        "SloBudgetGoneInThirtyDays",
    )
    yield Case(two, "15 times", _burning(0.015, 120, 60), fires=(70, 120), silent=(1, 145), labels={"component": "api"})
    yield Case(two, "14 times", _burning(0.014, 120, 0), silent=(70, 120))
    once = {
        **facts(120, availability=0.999),
        **runs("pass", growing((1, 100), (0, 1), (1, 19))),
        **runs("fail", growing((0, 100), (1, 1), (0, 19)), counts="auth"),
    }
    yield Case(two, "one failure of a run a minute at 99.9 %", once, silent=(102, 104, 110))
    yield Case(five, "6.5 times", _burning(0.0065, 400, 60), fires=(390,), silent=(10, 440), every=5)
    yield Case(five, "5.9 times", _burning(0.0059, 400, 0), silent=(390,), every=5)
    loud = _burning(0.5, 60, 200)
    yield Case(two, "told by a failure alert", loud, silent=(10, 50, 65))
    yield Case(five, "told by a failure alert", loud, silent=(50, 75, 90))
    yield Case(ten, "told by a failure alert", loud, silent=(130, 180, 250))
    seldom = {
        **facts(240, availability=0.999, interval=600.0),
        **runs("fail", growing(*([(0, 9), (1, 1)] * 6), (0, 180)), blame="provider", counts="auth"),
        **runs("pass", growing((0, 60), *([(0, 9), (1, 1)] * 18))),
    }
    yield Case(two, "a flow every ten minutes", seldom, fires=(50, 60), silent=(10, 85), labels={"component": "auth"})
    yield Case(five, "a flow every ten minutes, told before", seldom, silent=(80, 100, 120))
    yield Case(ten, "3.2 times", _burning(0.0032, 1560, 180), fires=(1550,), silent=(30, 1740), every=10)
    yield Case(ten, "2.9 times", _burning(0.0029, 1560, 0), silent=(1550,), every=10)
    yield Case(thirty, "1.1 times", _burning(0.0011, 4600, 400), fires=(4590,), silent=(100, 4990), every=10)
    yield Case(thirty, "0.9 times", _burning(0.0009, 4600, 0), silent=(4590,), every=10)


def _prober() -> Iterable[Case]:
    yield from _silence()
    yield from _schedule()
    yield from _shards()
    yield from _delivery()
    told = {"blame": "config", "counts": "none", "reason": "invalid_client"}
    blind = {
        **facts(60),
        **runs("pass", growing((1, 5), (0, 25), (1, 30))),
        **runs("fail", growing((0, 5), (1, 25), (0, 30)), **told),
    }
    yield Case("OtelprobeFlowBlind", "our secret has ended", blind, fires=(27,), silent=(10, 45))
    half = {**facts(60), **runs("pass", growing((1, 60))), **runs("fail", growing((1, 60)), **told)}
    yield Case("OtelprobeFlowBlind", "every other run", half, silent=(27, 50))
    yield Case("OtelprobeWatchdog", "always", {}, fires=(0, 1, 60))


def _silence() -> Iterable[Case]:
    silent = "OtelprobeFlowSilent"
    alive = series(schema.BUILD, {**PLACE, "service_version": "1"}, steady(1, 120))

    def last(stops: int, gone: int | None = None) -> Series:
        times: list[float | None] = [60.0 * min(minute, stops) for minute in range(121)]
        if gone is not None:
            times = [when if minute < gone else None for minute, when in enumerate(times)]
        return {**facts(120), **series(schema.LAST_RUN, ORDERS, times)}

    stuck = {**alive, **last(20)}
    yield Case(silent, "the process lives, the flow does not run", stuck, fires=(35, 60), silent=(20, 22, 28))
    yield Case(silent, "three intervals", {**alive, **last(117)}, silent=(118, 120))
    yield Case(silent, "the flow was removed", {**alive, **last(20, gone=21)}, silent=(24, 30, 60))
    dead = {
        **last(20, gone=21),
        **series(schema.BUILD, {**PLACE, "service_version": "1"}, phased((1, 21), (None, 100))),
    }
    yield Case(silent, "the process died", dead, silent=(20, 30, 40, 90))
    heir = series(schema.BUILD, {**PLACE, "instance": "b", "service_version": "2"}, phased((None, 21), (1, 100)))
    yield Case(silent, "the process was replaced by one without the flow", {**dead, **heir}, silent=(24, 30, 60, 110))
    runs_ = [60.0 * minute if minute % 10 == 0 and minute <= 20 else None for minute in range(121)]
    cron = {**facts(120, interval=600.0), **series(schema.LAST_RUN, ORDERS, runs_)}
    yield Case(silent, "a CronJob no longer starts", cron, fires=(60, 110), silent=(20, 49, 55))
    yield from _gone()
    yield Case("OtelprobeTelemetryMissing", "the process died", dead, fires=(40, 90), silent=(20, 24))
    back = series(schema.BUILD, {**PLACE, "service_version": "1"}, phased((1, 21), (None, 20), (1, 40)))
    yield Case("OtelprobeTelemetryMissing", "it comes back", back, fires=(35,), silent=(50,))
    other = {**dead, **series(schema.BUILD, {**PLACE, "instance": "b", "service_version": "2"}, steady(1, 120))}
    yield Case("OtelprobeTelemetryMissing", "another of the location lives", other, silent=(40, 90))


def _process(instance: str, *phases: tuple[float | None, int], flow: str | None = None) -> Series:
    """Give a prober that is there in some phases, and then runs the flow if it has one."""
    there = phased(*phases)
    found = dict(series(schema.BUILD, {**PLACE, "instance": instance, "service_version": "1"}, there))
    if flow is not None:
        told = {**CORP, FLOW: flow, "instance": instance, OBJECTIVE: "interval"}
        found |= series(schema.OBJECTIVE, told, [None if value is None else 60.0 for value in there])
    return found


def _gone() -> Iterable[Case]:
    gone = "OtelprobeProberGone"
    dies = _process("a", (1, 100), (None, 80), flow="orders")
    other = _process("b", (1, 180), flow="billing")
    yield Case(gone, "a shard died", {**dies, **other}, fires=(115, 175), silent=(95, 104, 108))
    back = {**_process("a", (1, 100), (None, 30), (1, 50), flow="orders"), **other}
    yield Case(gone, "it comes back", back, fires=(115,), silent=(95, 140, 175))
    heir = _process("c", (None, 100), (1, 80))
    yield Case(gone, "replaced by a process without the flow", {**dies, **heir, **other}, silent=(95, 115, 175))
    taken = _process("c", (None, 110), (1, 70), flow="orders")
    lasts = {**_process("b", (1, 180), flow="orders"), **_process("c", (1, 180))}
    yield Case(gone, "another has its flows", {**dies, **lasts}, silent=(95, 115, 175))
    yield Case(gone, "a new one takes over", {**dies, **other, **taken}, silent=(95, 125, 175))
    yield Case(gone, "the last one died", dies, silent=(95, 115, 175))


def _shards() -> Iterable[Case]:
    def flows(instance: str, shard: str, shards: str, minutes: int = 30) -> Series:
        told = {**PLACE, "instance": instance, label(schema.SHARD): shard, label(schema.SHARDS): shards}
        return series(schema.SCHEDULE_FLOWS, told, phased((5, minutes), (None, 20)))

    twice, disagree = "OtelprobeShardTwice", "OtelprobeShardsDisagree"
    yield Case(twice, "same index", {**flows("a", "0", "2"), **flows("b", "0", "2")}, fires=(12, 29), silent=(5, 45))
    apart = {**flows("a", "0", "2"), **flows("b", "1", "2")}
    yield Case(twice, "each its own", apart, silent=(12, 29))
    yield Case(twice, "two sidecars", {**flows("a", "0", "1"), **flows("b", "0", "1")}, silent=(12, 29))
    yield Case(
        disagree, "two and three", {**flows("a", "0", "2"), **flows("b", "1", "3")}, fires=(12, 29), silent=(5, 45)
    )
    yield Case(disagree, "all of two", apart, silent=(12, 29))
    yield Case(disagree, "a roll-out", {**flows("a", "0", "2", 6), **flows("b", "0", "3")}, silent=(9, 14, 25))


def _schedule() -> Iterable[Case]:
    lag, missed = "OtelprobeScheduleLag", "OtelprobeRunsMissed"
    yield Case(lag, "late by 6 s", classic(schema.SCHEDULE_LAG, PLACE, 6, 60), fires=(20, 60), silent=(5,))
    yield Case(lag, "late by 2 s", classic(schema.SCHEDULE_LAG, PLACE, 2, 60), silent=(20, 60))

    def skipped(*phases: tuple[float, int]) -> Series:
        return series(schema.SCHEDULE_MISSED, {**ORDERS, label(schema.MISSED_REASON): "overlap"}, growing(*phases))

    yield Case(missed, "one a minute", skipped((1, 30), (0, 40)), fires=(15, 30), silent=(2, 50))
    yield Case(missed, "two in all", skipped((0, 5), (1, 2), (0, 40)), silent=(10, 15, 20))


def _delivery() -> Iterable[Case]:
    def items(outcome: str, *phases: tuple[float, int]) -> Series:
        told = {**PLACE, label(schema.SIGNAL): "traces", label(schema.EXPORT_OUTCOME): outcome}
        return series(schema.EXPORT_ITEMS, told, growing(*phases))

    failing = "OtelprobeDeliveryFailing"
    yield Case(
        failing, "2 %", {**items("sent", (98, 60)), **items("failed", (2, 30), (0, 30))}, fires=(12, 30), silent=(3, 45)
    )
    yield Case(failing, "1 %", {**items("sent", (99, 60)), **items("failed", (1, 60))}, silent=(12, 30))

    def reloads(outcome: str, *phases: tuple[float, int]) -> Series:
        return series(schema.CONFIG_RELOADS, {**PLACE, label(schema.RELOAD_OUTCOME): outcome}, growing(*phases))

    lost = series(schema.AUDIT_LOST, PLACE, growing((0, 5), (1, 1), (0, 60)))
    yield Case("OtelprobeAuditLost", "one record", lost, fires=(7, 15), silent=(5, 25))
    refused = reloads("refused", (0, 5), (1, 1), (0, 60))
    good = reloads("ok", (0, 66))
    yield Case("OtelprobeReloadFailed", "refused", {**refused, **good}, fires=(7, 20), silent=(5, 40))
    mended = reloads("ok", (0, 6), (1, 1), (0, 59))
    yield Case("OtelprobeReloadFailed", "refused, then taken", {**refused, **mended}, silent=(24, 40))


CASES = (
    *_reach(), *_failures(), *_somewhere(), *_owners(), *_tokens(), *_latencies(), *_credentials(), *_security(), *_provider(),
    *_slo(), *_prober(),
)  # fmt: skip
"""Every case."""
