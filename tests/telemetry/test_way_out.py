"""On the wire to a collector: compressed where asked for, through a proxy where set, seen by no instrumentation."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests
from opentelemetry import context

from otelprobe.telemetry import Telemetry, TelemetrySettings
from tests.peers import PROXY_VARIABLES
from tests.telemetry.receiver import grpc_receiver, http_receiver
from tests.telemetry.relay import Relay
from tests.telemetry.samples import CANARY, passed, settings

RECEIVERS = {"http/protobuf": http_receiver, "grpc": grpc_receiver}
PROTOCOLS = pytest.mark.parametrize("protocol", RECEIVERS)
NAME = b"otelprobe.flow.name"
"""It is in every request as it is, unless the request is compressed."""


@pytest.fixture(autouse=True)
def without_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the proxies of this machine out of the test."""
    for name in PROXY_VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def port_of(endpoint: str) -> int:
    port = urlsplit(endpoint).port
    assert port is not None
    return port


def compressed(plain: TelemetrySettings, how: str) -> TelemetrySettings:
    """Give settings with a compression for every signal."""
    return replace(plain, **{s: replace(getattr(plain, s), compression=how) for s in ("traces", "metrics", "logs")})


@PROTOCOLS
@pytest.mark.parametrize("how", ["none", "gzip"])
def test_gzip_is_on_the_wire_where_it_is_asked_for(protocol, how):
    """With gzip no name can be read off the wire, without it they can, and either way everything arrives."""
    with RECEIVERS[protocol]() as inbox, Relay(port_of(inbox.endpoint)) as wire:
        telemetry = Telemetry(compressed(settings(wire.url, protocol), how))
        telemetry.publish(passed())
        assert telemetry.close().complete
    assert len(inbox.spans) == 10
    assert (NAME in wire.sent) is (how == "none")


@PROTOCOLS
def test_what_waited_in_the_spool_is_compressed_too(protocol, tmp_path):
    """A request out of the spool leaves in the compression that is set, whatever it was when it was kept."""
    with RECEIVERS[protocol]("503") as inbox:
        first = Telemetry(settings(inbox.endpoint, protocol, spool=tmp_path))
        first.publish(passed())
        first.close(0.4)
    with RECEIVERS[protocol]() as inbox, Relay(port_of(inbox.endpoint)) as wire:
        second = Telemetry(compressed(settings(wire.url, protocol, spool=tmp_path), "gzip"))
        second.publish(passed())
        assert second.close().signals["traces"].replayed == 10
    assert len(inbox.spans) == 20
    assert NAME not in wire.sent


def test_http_exports_go_through_the_proxy_of_the_environment(monkeypatch):
    """HTTP_PROXY carries exports over http, and nothing arrives around it."""
    with http_receiver() as inbox, Relay(port_of(inbox.endpoint)) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("http_proxy", proxy.url)
        telemetry = Telemetry(settings("http://collector.test:4318"))
        telemetry.publish(passed())
        assert telemetry.close().complete
    assert len(inbox.spans) == 10
    assert b"POST http://collector.test:4318/v1/traces HTTP/1.1" in proxy.sent


def test_no_proxy_is_obeyed(monkeypatch):
    """An endpoint named by NO_PROXY is asked directly."""
    with http_receiver() as inbox, Relay(port_of(inbox.endpoint)) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        telemetry = Telemetry(settings(inbox.endpoint))
        telemetry.publish(passed())
        assert telemetry.close().complete
    assert proxy.sent == b""


def test_a_dead_proxy_is_named(monkeypatch, caplog):
    """When the proxy is what fails, the log says so, and nothing is called delivered."""
    with Relay(1) as proxy:
        address = proxy.url
    monkeypatch.setenv("http_proxy", address)
    telemetry = Telemetry(settings("http://collector.test:4318"))
    telemetry.publish(passed())
    assert telemetry.close(0.6).signals["traces"].failed == 10
    assert any("proxy" in r.getMessage() for r in caplog.records if r.name.startswith("otelprobe"))
    assert not [r for r in caplog.records if r.name.startswith("otelprobe") and address in r.getMessage()]


GRPC_THROUGH_A_PROXY = """
import sys
from otelprobe.telemetry import Telemetry
from tests.telemetry.samples import passed, settings
telemetry = Telemetry(settings(sys.argv[1], "grpc"))
telemetry.publish(passed())
assert telemetry.close().complete
"""


def run(script: str, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run Python in a process of its own: gRPC reads the environment of the process, not of Python."""
    inherited = {k: v for k, v in os.environ.items() if k.lower() not in PROXY_VARIABLES}
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", script, *arguments],
        env={**inherited, "PYTHONPATH": str(Path.cwd()), **environment},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_grpc_exports_go_through_the_proxy_of_the_environment():
    """http_proxy carries exports over gRPC in a tunnel."""
    with grpc_receiver() as inbox, Relay(port_of(inbox.endpoint), connect=True) as proxy:
        done = run(GRPC_THROUGH_A_PROXY, "http://collector.test:4317", http_proxy=proxy.url)
    assert done.returncode == 0, done.stderr
    assert len(inbox.spans) == 10
    assert all(asked.startswith(b"CONNECT collector.test:4317 ") for asked in proxy.asked)


CONSOLE = """
from otelprobe.telemetry import Telemetry, TelemetrySettings
from tests.telemetry.samples import failed
names = ("OTEL_TRACES_EXPORTER", "OTEL_METRICS_EXPORTER", "OTEL_LOGS_EXPORTER")
telemetry = Telemetry(TelemetrySettings.from_environment(dict.fromkeys(names, "console"), mode="one_shot"))
telemetry.publish(failed())
delivery = telemetry.close()
assert delivery.complete
print(delivery.as_dict())
"""


def test_the_console_is_standard_error():
    """With the console exporter all signals are text on standard error; standard output stays with the command."""
    done = run(CONSOLE)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    for word in ('"name": "flow orders"', '"name": "otelprobe.flow.up"', "otelprobe.flow.failed"):
        assert word in done.stderr
    assert "'traces': {'sent': 9" in done.stdout


class Instrumentation:
    """Does what auto-instrumentation does to requests: looks at the context before it makes a span of a call."""

    def __init__(self) -> None:
        self.calls = 0
        self.spans = 0
        self._send = requests.Session.send

    def send(self, session: requests.Session, request: requests.PreparedRequest, **options: object):
        self.calls += 1
        private = getattr(context, "_SUPPRESS_INSTRUMENTATION_KEY", "suppress_instrumentation")
        self.spans += not any(context.get_value(key) for key in (private, "suppress_instrumentation"))
        return self._send(session, request, **options)


def test_exports_are_hidden_from_instrumentation(monkeypatch, tmp_path):
    """Where an operator instruments requests, neither exports nor what comes out of the spool make spans."""
    seen = Instrumentation()

    def send(session: requests.Session, request: requests.PreparedRequest, **options: object):
        return seen.send(session, request, **options)

    monkeypatch.setattr(requests.Session, "send", send)
    with http_receiver("html") as inbox:
        for _ in range(2):
            telemetry = Telemetry(settings(inbox.endpoint, spool=tmp_path))
            telemetry.publish(passed())
            delivery = telemetry.close()
            inbox.mode = "ok"
    assert delivery.signals["traces"].replayed == 10
    assert seen.calls == 9
    assert seen.spans == 0


def test_the_exporters_credential_stays_with_the_collector(caplog):
    """A header that is set for exports is in no log line, whatever goes wrong."""
    with http_receiver("503") as inbox, caplog.at_level("DEBUG"):
        telemetry = Telemetry(settings(inbox.endpoint))
        telemetry.publish(passed())
        telemetry.close(0.4)
    assert CANARY not in caplog.text
