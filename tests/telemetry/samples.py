"""Results and plans to publish, and ways to set telemetry up."""

import itertools
import random
from dataclasses import replace
from pathlib import Path
from typing import Literal

from otelprobe.reasons import Blame, Counts, Layer, Outcome, Reason
from otelprobe.result import (
    AuditEvent,
    AuditFact,
    CaseResult,
    Exchange,
    Expiry,
    FlowFacts,
    FlowResult,
    KeyChange,
    Phases,
    StepFacts,
    StepResult,
    TlsFacts,
)
from otelprobe.telemetry import SignalSettings, TelemetrySettings

ISSUED = AuditFact(
    event=AuditEvent.ISSUED,
    passed=True,
    part="access_token",
    subject="5" * 32,
    ident="1" * 32,
    method="POST",
    route="/token",
    status=200,
    claims={"scope": "orders:read"},
    held_back=2,
)
START = 1_780_000_000_000_000_000
CANARY = "canary-7f3a"
NS = 1_000_000_000
_DRAW = random.Random(7)
_RUN = itertools.count(1)


def exchange(method: str, host: str, status: int | None = 200, **more) -> Exchange:
    return Exchange(
        method=method,
        url=f"https://{host}/path?code=REDACTED",
        host=host,
        port=443,
        span_id=_DRAW.getrandbits(64),
        start_ns=more.pop("start_ns", START),
        duration=more.pop("duration", 0.1),
        phases=Phases(dns=0.001, connect=0.01, tls=0.03, ttfb=0.05, transfer=0.009),
        status=status,
        http_version="1.1",
        peer_address="127.0.0.1",
        peer_port=443,
        request_size=10,
        response_size=200,
        tls=TlsFacts("1.3", "TLS_AES_256_GCM_SHA384", "CN=ca", f"CN={host}", START / NS, START / NS + 86_400),
        clock_skew=-0.4,
        **more,
    )


def step(name: str, layer: Layer = Layer.AUTH, *, at: float = 0.0, lasts: float = 0.1, **more) -> StepResult:
    start = START + int(at * NS)
    return StepResult(
        step=name,
        kind=more.pop("kind", name),
        layer=layer,
        index=more.pop("index", 0),
        outcome=more.pop("outcome", Outcome.PASS),
        span_id=_DRAW.getrandbits(64),
        start_ns=start,
        end_ns=start + int(lasts * NS),
        duration=lasts,
        **more,
    )


def steps() -> tuple[StepResult, ...]:
    idp, api = "login.example.com", "api.example.com"
    return (
        step("discover", exchanges=(exchange("GET", idp),)),
        step(
            "keys",
            at=0.1,
            index=1,
            exchanges=(exchange("GET", idp),),
            facts={"jwks.key_count": 2, "jwks.change": "added"},
            key_changes=(KeyChange("added", "kid-1"),),
        ),
        step(
            "token",
            at=0.2,
            index=2,
            exchanges=(exchange("POST", idp),),
            facts={"issuance.expires_in": 300, "issuance.grant": "client_credentials"},
            audit=(ISSUED,),
        ),
        step(
            "verify",
            at=0.3,
            lasts=0.0004,
            index=3,
            facts={"jwt.alg": "RS256", "jwt.missing_claims": ("jti",)},
            audit=(AuditFact(event=AuditEvent.VALIDATED, passed=True, part="access_token", ident="1" * 32),),
        ),
        step("call", Layer.API, at=0.4, index=4, exchanges=(exchange("GET", api),)),
    )


def passed(flow: str = "orders", **more) -> FlowResult:
    return FlowResult(
        flow=flow,
        provider="corp",
        labels={"team": "payments"},
        location="eu-1",
        run_id=f"run-{next(_RUN)}",
        outcome=more.pop("outcome", Outcome.PASS),
        trace_id=_DRAW.getrandbits(128),
        span_id=_DRAW.getrandbits(64),
        start_ns=more.pop("start_ns", START),
        end_ns=more.pop("end_ns", START + NS // 2),
        duration=0.5,
        steps=more.pop("steps", None) or steps(),
        **more,
    )


def failed(flow: str = "orders", reason: Reason = Reason.AUDIENCE_MISMATCH, **more) -> FlowResult:
    """A run whose `verify` fails; the call is skipped."""
    done = steps()
    verdict = {"reason": reason, "blame": Blame.PROVIDER, "counts": Counts.AUTH}
    bad = AuditFact(event=AuditEvent.REJECTED, passed=False, part="access_token", ident="1" * 32, reason=reason)
    broken = replace(
        done[3], audit=(bad,), outcome=Outcome.FAIL, problems=(reason, Reason.EXPIRED), detail=CANARY, **verdict
    )
    skipped = replace(done[4], outcome=Outcome.SKIP, exchanges=(), duration=0.0)
    return passed(
        flow,
        outcome=Outcome.FAIL,
        failed_step="verify",
        detail=CANARY,
        steps=(*done[:3], broken, skipped),
        **verdict,
        **more,
    )


def rejecting(*, accepted: bool = False) -> FlowResult:
    """A run that offers bad credentials, with a good one before and after as control."""
    api = "api.example.com"
    step_ = step(
        "reject",
        Layer.API,
        exchanges=(
            exchange("GET", api, 200, control=True),
            exchange("GET", api, 401),
            exchange("GET", api, 403, control=True),
        ),
        cases=(
            CaseResult("garbage", accepted, 200 if accepted else 401),
            CaseResult("expired", False, 401),
            CaseResult("key_url", False, 401, fetched=accepted),
        ),
        expiries=(Expiry("client_secret", "otelprobe", 3600.0),),
        audit=(AuditFact(event=AuditEvent.REJECTED, passed=True, cases=("expired",)),),
    )
    return passed("rejecting", steps=(step_,))


def facts(flow: str = "orders", *, interval: float | None = 60.0, names: tuple[str, ...] = ()) -> FlowFacts:
    layers = {"call": Layer.API, "reject": Layer.API}
    kinds = names or ("discover", "keys", "token", "verify", "call")
    reasons = frozenset({Reason.IDP_HTTP_5XX, Reason.INVALID_CLIENT, Reason.IDP_RATE_LIMITED, Reason.API_UNAVAILABLE})
    return FlowFacts(
        flow=flow,
        provider="corp",
        labels={"team": "payments"},
        location="eu-1",
        steps=tuple(StepFacts(k, k, layers.get(k, Layer.AUTH), reasons) for k in kinds),
        objectives={"availability": 0.999, "auth_latency": 0.4, "interval": 60.0},
        interval=interval,
    )


def settings(
    endpoint: str,
    protocol: Literal["http/protobuf", "grpc"] = "http/protobuf",
    *,
    mode: Literal["long_lived", "one_shot"] = "one_shot",
    spool: Path | None = None,
    budget: float = 5.0,
    timeout: float = 10.0,
    **more,
) -> TelemetrySettings:
    def signal(name: str) -> SignalSettings:
        return SignalSettings(
            exporter="otlp",
            endpoint=endpoint if protocol == "grpc" else f"{endpoint}/v1/{name}",
            protocol=protocol,
            headers={"authorization": CANARY},
            timeout=timeout,
            insecure=True,
        )

    return TelemetrySettings(
        traces=signal("traces"),
        metrics=signal("metrics"),
        logs=signal("logs"),
        mode=mode,
        spool=spool,
        budget=budget,
        resource={"k8s.namespace.name": "checks", "k8s.cronjob.name": "otelprobe", "k8s.pod.name": "otelprobe-x1"},
        **more,
    )
