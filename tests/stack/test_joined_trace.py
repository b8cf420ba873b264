"""The whole trace, on providers nobody here wrote: otelprobe's spans and the API's own span, joined in Jaeger."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace import SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from tests.conftest import Answer, Seen
from tests.flow_kit import ResourceServer, flow_file
from tests.stack.harness.jaeger import Jaeger
from tests.stack.harness.keycloak import PASSWORD, SECRET, Keycloak
from tests.stack.harness.oidc_provider import RESOURCE as API
from tests.stack.harness.oidc_provider import OidcProvider
from tests.stack.servers import StartCollector, jaeger, keycloak, keycloaks, start_collector  # noqa: F401 - fixtures
from tests.stack.telemetry_checks import await_whole_trace
from tests.stack.test_command_line import document, once

STEPS = "- discover\n- keys\n- token\n- verify\n- {{step: call, url: '{url}'}}"


@contextmanager
def instrumented(api: ResourceServer, endpoint: str) -> Iterator[None]:
    """Let the API make a server span of its own for each request, in the trace that the request names."""
    provider = TracerProvider(resource=Resource.create({"service.name": "orders"}), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(endpoint=f"{endpoint}/v1/traces", timeout=5)))
    tracer, propagator = provider.get_tracer("orders"), TraceContextTextMapPropagator()

    def traced(answer: Callable[[Seen], Answer], seen: Seen) -> Answer:
        with tracer.start_as_current_span("GET /me", propagator.extract(seen.headers), SpanKind.SERVER):
            return answer(seen)

    api.wrap(traced)
    yield
    provider.shutdown()


def run_and_look(issuer: str, endpoint: str, jaeger: Jaeger, directory: Path, env: dict[str, str]) -> None:
    """Run the flow by the command line; every step, every attempt and the API's own span must be one trace."""
    with ResourceServer(issuer, "orders", caches=True) as api, instrumented(api, endpoint):
        path = directory / "flow.yaml"
        path.write_text(flow_file(issuer, STEPS.format(url=api.url)), encoding="utf-8")
        done = once(path, **env, OTEL_EXPORTER_OTLP_ENDPOINT=endpoint)
        (flow,) = document(done)["flows"]
    await_whole_trace(jaeger, flow)
    spans = {span["spanID"]: span for span in jaeger.spans(flow["trace_id"])}
    (server,) = (span for span in spans.values() if span["service"] == "orders")
    parent = spans[server["references"][0]["spanID"]]
    assert parent["operationName"] == "GET"
    assert parent["tags"]["otelprobe.step.name"] == "call"


@pytest.fixture
def endpoint(start_collector: StartCollector, jaeger: Jaeger, tmp_path: Path) -> str:
    """Give the OTLP endpoint of a sidecar in front of Jaeger."""
    return start_collector("sidecar.yaml", environment={"OTELCOL_GATEWAY": jaeger.otlp}).http


def test_keycloak(keycloak: Keycloak, endpoint: str, jaeger: Jaeger, tmp_path: Path) -> None:
    """A flow against Keycloak is one trace, and the API's own span hangs on the very request that caused it."""
    run_and_look(keycloak.issuer(), endpoint, jaeger, tmp_path, {"CLIENT_SECRET": SECRET, "PASSWORD": PASSWORD})


def test_oidc_provider(idp: OidcProvider, endpoint: str, jaeger: Jaeger, tmp_path: Path) -> None:
    """The same against a certified provider of another make."""
    idp.change(resource=API)
    run_and_look(idp.issuer, endpoint, jaeger, tmp_path, {})
