"""Flow results as real runs give them: what the tests of every report are fed with."""

from otelprobe.reasons import Blame, Counts, Layer, Outcome, Reason
from otelprobe.result import (
    CaseResult,
    Exchange,
    Expiry,
    FactValue,
    FlowResult,
    KeyChange,
    Phases,
    StepResult,
    Warn,
)

START = 1_795_341_600_123_000_000
TRACE = 0x4BF92F3577B34DA6A3CE929D0E0E4736
NEW = (0.0012, 0.0101, 0.0302)
IDP, API = "login.example.com", "api.example.com"


def exchange(
    method: str,
    url: str,
    duration: float,
    *,
    status: int | None = 200,
    reason: Reason | None = None,
    new: bool = False,
    control: bool = False,
    resend: int = 0,
    phases: Phases | None = None,
) -> Exchange:
    host = url.split("/")[2]
    dns, connect, tls = NEW if new else (None, None, None)
    rest = duration - sum(NEW) if new else duration
    return Exchange(
        method=method,
        url=url,
        host=host,
        port=443,
        span_id=0x00F067AA0BA902B7,
        start_ns=START,
        duration=duration,
        phases=phases or Phases(dns, connect, tls, rest * 0.9, rest * 0.1),
        status=status,
        reason=reason,
        control=control,
        resend_count=resend,
    )


class Flow:
    """Builds a FlowResult step by step, each one beginning where the last one ended."""

    def __init__(self, flow: str = "orders-api", provider: str | None = "corp") -> None:
        self.flow, self.provider = flow, provider
        self.now = START + 400_000
        self.steps: list[StepResult] = []

    def step(
        self,
        kind: str,
        duration: float,
        *exchanges: Exchange,
        layer: Layer = Layer.AUTH,
        name: str | None = None,
        outcome: Outcome = Outcome.PASS,
        reason: Reason | None = None,
        blame: Blame | None = None,
        counts: Counts | None = None,
        detail: str | None = None,
        problems: tuple[Reason, ...] = (),
        warnings: tuple[Warn, ...] = (),
        facts: dict[str, FactValue] | None = None,
        expiries: tuple[Expiry, ...] = (),
        key_changes: tuple[KeyChange, ...] = (),
        cases: tuple[CaseResult, ...] = (),
    ) -> "Flow":
        controls = sum(e.duration for e in exchanges if e.control)
        end = self.now + int((duration + controls) * 1e9)
        index = len(self.steps)
        self.steps.append(
            StepResult(
                step=name or kind,
                kind=kind,
                layer=layer,
                index=index,
                outcome=outcome,
                span_id=0x1000 + index,
                start_ns=self.now,
                end_ns=end,
                duration=duration,
                reason=reason,
                blame=blame,
                counts=counts,
                detail=detail,
                problems=problems,
                warnings=warnings,
                exchanges=exchanges,
                facts=facts or {},
                expiries=expiries,
                key_changes=key_changes,
                cases=cases,
            )
        )
        self.now = end + 150_000
        return self

    def skip(self, kind: str, layer: Layer = Layer.AUTH, name: str | None = None) -> "Flow":
        return self.step(kind, 0.0, layer=layer, name=name, outcome=Outcome.SKIP)

    def done(self, location: str | None = None, labels: dict[str, str] | None = None) -> FlowResult:
        failed = next((s for s in self.steps if s.outcome in {Outcome.FAIL, Outcome.ERROR}), None)
        return FlowResult(
            flow=self.flow,
            provider=self.provider,
            labels=labels if labels is not None else {"team": "payments", "tier": "1"},
            location=location,
            run_id="0192f0c1-7a00-7000-8000-000000000001",
            outcome=failed.outcome if failed else Outcome.PASS,
            trace_id=TRACE,
            span_id=0xA1B2C3D4E5F60718,
            start_ns=START,
            end_ns=self.now,
            duration=(self.now - START) / 1e9,
            steps=tuple(self.steps),
            reason=failed.reason if failed else None,
            blame=failed.blame if failed else None,
            counts=failed.counts if failed else None,
            failed_step=failed.step if failed else None,
            detail=failed.detail if failed else None,
        )


def _start(flow: Flow, *, token: Exchange | None = None) -> Flow:
    base = f"https://{IDP}/realms/shop"
    return (
        flow.step("discover", 0.0623, exchange("GET", f"{base}/.well-known/openid-configuration", 0.0615, new=True))
        .step("keys", 0.0148, exchange("GET", f"{base}/protocol/openid-connect/certs", 0.0141))
        .step(
            "token",
            0.1204,
            token or exchange("POST", f"{base}/protocol/openid-connect/token", 0.1183),
            facts={"issuance.expires_in": 300, "issuance.grant": "client_credentials", "clock.skew": -0.4},
        )
    )


def healthy() -> FlowResult:
    base = f"https://{IDP}/realms/shop/protocol/openid-connect"
    url = f"https://{API}/v1/orders/health"
    flow = _start(Flow()).step("verify", 0.00085, facts={"jwt.alg": "RS256", "jwt.missing_claims": ()})
    flow.step("call", 0.0851, exchange("GET", f"{url}?page=REDACTED", 0.0842, new=True), layer=Layer.API)
    flow.step(
        "reject",
        0.0408,
        exchange("GET", url, 0.0101, status=200),
        exchange("GET", url, 0.0098, status=401),
        exchange("GET", url, 0.0102, status=401),
        exchange("GET", url, 0.0101, status=200),
        layer=Layer.API,
        cases=(CaseResult("no_token", False, 401), CaseResult("alg_none", False, 401)),
    )
    flow.step("refresh", 0.0612, exchange("POST", f"{base}/token", 0.0604))
    flow.step("introspect", 0.0183, exchange("POST", f"{base}/token/introspect", 0.0177))
    flow.step("revoke", 0.0221, exchange("POST", f"{base}/revoke", 0.0215))
    return flow.done(location="eu-west")


def verify_fails() -> FlowResult:
    flow = _start(Flow()).step(
        "verify",
        0.00061,
        outcome=Outcome.FAIL,
        reason=Reason.AUDIENCE_MISMATCH,
        blame=Blame.PROVIDER,
        counts=Counts.AUTH,
        detail='aud is ["account"], expected orders',
        problems=(Reason.AUDIENCE_MISMATCH, Reason.CLAIM_MISSING),
    )
    flow.skip("call", Layer.API).skip("refresh")
    base = f"https://{IDP}/realms/shop/protocol/openid-connect"
    flow.step("revoke", 0.0221, exchange("POST", f"{base}/revoke", 0.0215))
    return flow.done()


def api_down() -> FlowResult:
    url = f"https://{API}/v1/orders/health"
    warning = Warn(Reason.CLOCK_SKEW, "login.example.com is 42 s ahead of this machine")
    flow = _start(Flow()).step("verify", 0.0009, warnings=(warning,))
    flow.step(
        "call",
        0.0922,
        exchange("GET", url, 0.0911, status=503, new=True),
        exchange("GET", url, 0.0312, status=401, control=True),
        exchange("GET", url, 0.0304, status=401, control=True),
        layer=Layer.API,
        name="orders",
        outcome=Outcome.FAIL,
        reason=Reason.API_UNAVAILABLE,
        blame=Blame.API,
        counts=Counts.API,
        detail="status 503 with a good token; 401 without a token, 401 with a forged one",
    )
    return flow.skip("refresh").skip("revoke").done()


def dns_fails() -> FlowResult:
    url = f"https://{IDP}/.well-known/openid-configuration"
    gone = exchange("GET", url, 0.0121, status=None, reason=Reason.DNS_FAILURE, phases=Phases(dns=0.0121))
    flow = Flow().step(
        "discover",
        0.0124,
        gone,
        outcome=Outcome.FAIL,
        reason=Reason.DNS_FAILURE,
        blame=Blame.NETWORK,
        counts=Counts.AUTH,
        detail="login.example.com: Name or service not known",
    )
    for kind in ("keys", "token", "verify"):
        flow.skip(kind)
    return flow.skip("call", Layer.API).done()


def security_finding() -> FlowResult:
    url = f"https://{API}/v1/orders/health"
    flow = _start(Flow("orders-security")).step("verify", 0.0009)
    flow.step("status", 0.21, layer=Layer.DEPENDENCY, name="vendor", expiries=(Expiry("tls", API, 1_036_800.0),))
    flow.step(
        "reject",
        0.0388,
        exchange("GET", url, 0.0101, status=200),
        exchange("GET", url, 0.0098, status=200),
        layer=Layer.API,
        outcome=Outcome.FAIL,
        reason=Reason.REJECTION_ACCEPTED,
        blame=Blame.API,
        counts=Counts.NONE,
        detail="alg_none was accepted with status 200",
        key_changes=(KeyChange("withdrawn_early", "2026-10"),),
        cases=(CaseResult("no_token", False, 401), CaseResult("alg_none", True, 200)),
    )
    return flow.done()


def secret_missing() -> FlowResult:
    flow = Flow("billing").step("discover", 1.24, exchange("GET", f"https://{IDP}/x", 1.23, new=True))
    flow.step(
        "token",
        0.00002,
        outcome=Outcome.ERROR,
        reason=Reason.SECRET_MISSING,
        blame=Blame.CONFIG,
        counts=Counts.NONE,
        detail="environment variable CLIENT_SECRET is not set or empty",
    )
    return flow.skip("call", Layer.API).done()


def hostile(planted: str = "\x1b[31mred\x1b[0m\u202e\x9b2J\nnext\r\x00") -> FlowResult:
    """A flow all of whose free text comes from an attacker, with names of absurd length and wide characters."""
    long = planted + "n" * 300
    bad = exchange(
        "GET", f"https://{IDP}/" + "p" * 400 + planted, 0.02, status=500, reason=Reason.IDP_HTTP_5XX, resend=2
    )
    flow = Flow("流" * 120 + planted, provider=long)
    flow.step("token", 0.02, bad, name=long, warnings=(Warn(Reason.SCOPE_EXCESS, long),))
    flow.step(
        "verify",
        0.02,
        name="名" * 90 + planted,
        outcome=Outcome.FAIL,
        reason=Reason.CLAIM_MISMATCH,
        blame=Blame.PROVIDER,
        counts=Counts.AUTH,
        detail=long + "\ud800 " + "詳細 " * 60,
        expiries=(Expiry(planted, long, -1.0),),
        key_changes=(KeyChange("added", long),),
        cases=(CaseResult(long, True, None),),
    )
    return flow.skip("call", Layer.API, name=long).done(location=planted, labels={"team": planted})


ALL = {
    "healthy": healthy,
    "verify_fails": verify_fails,
    "api_down": api_down,
    "dns_fails": dns_fails,
    "security_finding": security_finding,
    "secret_missing": secret_missing,
}
