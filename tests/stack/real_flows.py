"""Flows against Keycloak and oidc-provider, healthy and failing, and what each must come to.

Both providers get the same cases. Every secret holds the word `canary`, so that one search finds any that got out.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from otelprobe.reasons import Blame, Counts, Reason
from otelprobe.telemetry import schema
from tests.conftest import Answer, Seen, Server
from tests.flow_kit import ResourceServer
from tests.stack.harness import keycloak as kc
from tests.stack.harness import oidc_provider as op
from tests.stack.harness.keycloak_admin import Admin
from tests.stack.harness.probe import Probe

REALM = "telemetry"
WRONG_SECRET = "wrong-secret-canary"
API_SERVICE = "orders"
TEAM = "identity"
_OBJECTIVE = {"availability": "99.9%", "auth_latency": "400ms", "api_latency": "500ms"}
_BAD_CREDENTIALS = ["no_token", "garbage", "tampered", "alg_none", "forged_key"]
_STATUS_PAGE = b'{"status": {"indicator": "none", "description": "All Systems Operational"}, "components": []}'
_AUDIT_OF_A_PASS = frozenset(
    event.name
    for event in schema.EVENTS
    if event.name.startswith("otelprobe.audit.")  # a reject step that passed says that bad credentials were refused
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Who is to blame for what."""

    step: str
    reason: Reason
    blame: Blame
    counts: Counts


@dataclass(frozen=True, slots=True)
class Case:
    """One flow: its steps, and what it must come to (`verdict` None: a pass), with the events that tell so."""

    flow: str
    provider: str
    steps: Sequence[Any]
    verdict: Verdict | None = None
    events: frozenset[str] = frozenset()

    @property
    def all_events(self) -> frozenset[str]:
        """Give the names of the events that its runs must leave."""
        ended = {schema.FLOW_COMPLETED.name} | ({schema.FLOW_FAILED.name} if self.verdict else set())
        return self.events | ended


@dataclass(frozen=True, slots=True)
class Side:
    """One provider as the flow file knows it. `no_client` is a client that it does not let in."""

    name: str
    issuer: str
    client: str
    no_client: str
    secret: str
    password: str
    token: Mapping[str, Any]
    introspected: str
    wrong_secret: Reason

    @property
    def variable(self) -> str:
        """Give the start of the names of its variables."""
        return self.name.upper().replace("-", "_")

    @property
    def environment(self) -> dict[str, str]:
        """Give its secrets."""
        return {f"{self.variable}_SECRET": self.secret, f"{self.variable}_PASSWORD": self.password}

    def providers(self) -> dict[str, dict[str, Any]]:
        """Give the provider, and it again with what makes it fail."""
        good = {
            "issuer": self.issuer,
            "client_id": self.client,
            "client_secret": {"env": f"{self.variable}_SECRET"},
        }
        return {
            self.name: good,
            f"{self.name}-mistyped": {**good, "client_secret": {"env": "WRONG_SECRET"}},
            f"{self.name}-barred": {**good, "client_id": self.no_client},
            f"{self.name}-gone": {**good, "issuer": f"{self.issuer}/gone"},
        }

    def issuance(self) -> list[Any]:
        """Give the steps up to a user's tokens."""
        user = {"grant": "password", "username": "ann", "password": {"env": f"{self.variable}_PASSWORD"}}
        return ["discover", "keys", {"step": "token", **user, **self.token}]


class Apis:
    """What the flows of one provider call: APIs that are well, down, open to all, or want other tokens, and a status page."""

    def __init__(self, issuer: str) -> None:
        self.orders, self._billing = ResourceServer(issuer, "orders"), ResourceServer(issuer, "billing")
        self._server = Server()
        self._server.on("/open", Answer(200, b"{}", [("Content-Type", "application/json")]))
        self._server.on("/down", Answer(503))
        self._server.on("/status", Answer(200, _STATUS_PAGE, [("Content-Type", "application/json")]))
        self.refusing = self._billing.url
        self.open, self.down, self.status = (f"{self._server.url}/{page}" for page in ("open", "down", "status"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for api in (self.orders, self._billing):
            api.__exit__()
        self._server.stop()


def cases(side: Side, apis: Apis) -> tuple[Case, ...]:
    """Give one provider's flows: one that is healthy, and one for each way to fail."""
    tokens, verify = side.issuance(), {"step": "verify", "audience": "orders"}
    config, auth = (Blame.CONFIG, Counts.NONE), (Blame.PROVIDER, Counts.AUTH)
    issued, validated = schema.AUDIT_ISSUED.name, schema.AUDIT_VALIDATED.name
    rejected = schema.AUDIT_REJECTED.name
    healthy = [
        *tokens,
        verify,
        {"step": "call", "url": apis.orders.url},
        {"step": "reject", "url": apis.orders.url, "cases": _BAD_CREDENTIALS},
        {"step": "refresh", "expect": {"rotated": True}},
        {"step": "introspect", "token": side.introspected},
        {"step": "status_page", "url": apis.status},
        {"step": "credential_expiry", "expires_at": "2099-12-31"},
        {"step": "revoke", "always": True},
    ]
    refused = Verdict("call", Reason.API_REJECTS_VALID_TOKEN, Blame.API, Counts.AUTH)
    unprotected = Verdict("reject", Reason.ENDPOINT_NOT_PROTECTED, Blame.API, Counts.NONE)
    down = Verdict("call", Reason.API_UNAVAILABLE, Blame.API, Counts.API)

    def case(name: str, provider: str, steps: Sequence[Any], verdict: Verdict | None, *events: str) -> Case:
        return Case(f"{side.name}-{name}", f"{side.name}{provider}", steps, verdict, frozenset(events))

    return (
        case("healthy", "", healthy, None, *_AUDIT_OF_A_PASS),
        case("wrong-secret", "-mistyped", tokens, Verdict("token", side.wrong_secret, *config), rejected),
        case("barred-client", "-barred", tokens, Verdict("token", Reason.INVALID_CLIENT, *config), rejected),
        case("gone", "-gone", tokens, Verdict("discover", Reason.DISCOVERY_UNAVAILABLE, *auth)),
        case(
            "other-audience",
            "",
            [*tokens, {**verify, "audience": "billing"}],
            Verdict("verify", Reason.AUDIENCE_MISMATCH, *auth),
            *(issued, rejected),
        ),
        case(
            "refusing-api",
            "",
            [*tokens, verify, {"step": "call", "url": apis.refusing}],
            refused,
            issued,
            validated,
            rejected,
        ),
        case("dead-api", "", [*tokens, verify, {"step": "call", "url": apis.down}], down, issued, validated),
        case(
            "open-api",
            "",
            [*tokens, verify, {"step": "reject", "url": apis.open, "cases": _BAD_CREDENTIALS}],
            unprotected,
            *(issued, validated, schema.REJECTION_ACCEPTED.name),
        ),
    )


class Estate:
    """Keycloak, oidc-provider and their APIs, with every flow against them."""

    def __init__(self, admin: Admin, oidc: op.OidcProvider, stack: ExitStack) -> None:
        self.admin, self.oidc = admin, oidc
        issuer = admin.make_realm(REALM, accessTokenLifespan=300)
        self.sides = (
            Side(
                name="keycloak",
                issuer=issuer,
                client="otelprobe-password",
                no_client="otelprobe-disabled",
                secret=kc.SECRET,
                password=kc.PASSWORD,
                token={"scope": "openid"},
                introspected="access",
                wrong_secret=Reason.UNAUTHORIZED_CLIENT,
            ),
            Side(
                name="oidc-provider",
                issuer=oidc.issuer,
                client=op.CLIENT,
                no_client="nobody",
                secret=op.SECRET,
                password=op.PASSWORD,
                token={"scope": "orders:read", "resource": [op.RESOURCE]},
                introspected="refresh",
                wrong_secret=Reason.INVALID_CLIENT,
            ),
        )
        self._apis = {side.name: stack.enter_context(Apis(side.issuer)) for side in self.sides}
        self.cases = tuple(case for side in self.sides for case in cases(side, self._apis[side.name]))

    @property
    def healthy(self) -> tuple[Case, ...]:
        """Give the flows that pass."""
        return tuple(case for case in self.cases if case.verdict is None)

    @property
    def failing(self) -> tuple[Case, ...]:
        """Give the flows that fail."""
        return tuple(case for case in self.cases if case.verdict is not None)

    @property
    def environment(self) -> dict[str, str]:
        """Give every secret that the flow file names."""
        known = {name: value for side in self.sides for name, value in side.environment.items()}
        return {**known, "WRONG_SECRET": WRONG_SECRET}

    def flow_file(self, every: str) -> dict[str, Any]:
        """Give the flow file."""
        common = {"every": every, "deadline": "30s", "labels": {"team": TEAM}, "objective": _OBJECTIVE}
        return {
            "providers": {name: told for side in self.sides for name, told in side.providers().items()},
            "flows": [
                {"name": case.flow, "provider": case.provider, **common, "steps": list(case.steps)}
                for case in self.cases
            ],
        }

    def probe(self, folder: Path, endpoint: str, every: str = "5s") -> Probe:
        """Give otelprobe with every flow, sending to an endpoint."""
        return Probe(folder, self.flow_file(every), self.environment, endpoint)

    def rotate(self) -> None:
        """Let both providers sign with a new key, beside the old one."""
        self.admin.add_signing_key(REALM)
        self.oidc.change(keys="add")

    @contextmanager
    def trouble(self) -> Iterator[Mapping[str, Reason]]:
        """Switch Keycloak's realm off and let oidc-provider's token endpoint answer 503; give the reason for each."""
        self.admin.change_realm(REALM, enabled=False)
        self.oidc.change(fault={"path": "/token", "status": 503})
        yield {"keycloak": Reason.ACCESS_DENIED, "oidc-provider": Reason.IDP_HTTP_5XX}
        self.oidc.change(fault=None)
        self.admin.change_realm(REALM, enabled=True)

    @contextmanager
    def instrumented(self, endpoint: str) -> Iterator[None]:
        """Let the healthy APIs send server spans of their own."""
        with ExitStack() as stack:
            for apis in self._apis.values():
                stack.enter_context(instrumented(apis.orders, endpoint))
            yield


@contextmanager
def instrumented(api: ResourceServer, endpoint: str) -> Iterator[None]:
    """Let the API make a server span of its own for each request, in the trace that the request names."""
    provider = TracerProvider(resource=Resource.create({"service.name": API_SERVICE}), shutdown_on_exit=False)
    exporter = OTLPSpanExporter(endpoint=f"{endpoint}/v1/traces", timeout=30)
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=200))
    tracer, propagator = provider.get_tracer(API_SERVICE), TraceContextTextMapPropagator()

    def traced(answer: Callable[[Seen], Answer], seen: Seen) -> Answer:
        with tracer.start_as_current_span("GET /me", propagator.extract(seen.headers), SpanKind.SERVER):
            return answer(seen)

    api.wrap(traced)
    yield
    api.wrap(lambda answer, seen: answer(seen))
    provider.shutdown()
