"""Faults on the way out: whatever happens to a collector, every item is accounted for, and nothing hangs.

What was made is known from the target that the flows call, what arrived from the far end behind the collector; the two
are compared by id. docs/delivery.md says in words what these tests prove.
"""

import signal
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme
import yaml

from tests.stack.faults_kit import (
    BUDGET,
    OVERHEAD,
    SHORT,
    SIGNALS,
    SPANS,
    Doorman,
    Ledger,
    Prober,
    Running,
    Target,
    exported,
    finish,
    wait_until,
)
from tests.stack.harness.collector import CONFIGS, obtain
from tests.stack.harness.kubernetes import KubernetesApi
from tests.stack.harness.ports import free_ports
from tests.stack.harness.process import answers
from tests.stack.servers import told_in_one_line
from tests.telemetry.receiver import Inbox, grpc_receiver, http_receiver

RECEIVERS = {"http/protobuf": http_receiver, "grpc": grpc_receiver}
PROTOCOLS = pytest.mark.parametrize("protocol", RECEIVERS)
FLOWS = 4
ONE_RUN = {"traces": SPANS * FLOWS, "metrics": 6 * FLOWS, "logs": FLOWS}
"""What one `otelprobe once` makes here."""


@pytest.fixture
def target() -> Iterator[Target]:
    """Give the API that the flows call."""
    running = Target()
    yield running
    running.stop()


@pytest.fixture
def far_end() -> Iterator[Inbox]:
    """Give what stands behind the collector."""
    with http_receiver() as inbox:
        yield inbox


@pytest.fixture
def doorman(tmp_path: Path, far_end: Inbox) -> Doorman:
    """Give a collector, not started, in front of the far end."""
    with told_in_one_line():
        obtain()
    return Doorman(tmp_path, far_end)


MakeProber = Callable[..., Prober]


@pytest.fixture
def prober(tmp_path: Path, target: Target) -> MakeProber:
    """Give what makes a prober that sends to an endpoint."""

    def make(endpoint: str, protocol: str = "http/protobuf", *, spool: bool = True, **more: Any) -> Prober:
        otlp = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL": protocol}
        settings = otlp | more.pop("settings", {})
        where = tmp_path / "spool" if spool else None
        return Prober(tmp_path, target, flows=more.pop("flows", FLOWS), spool=where, settings=settings, **more)

    return make


def waiting(prober: Prober) -> int:
    """How many requests wait in the spool."""
    assert prober.spool is not None
    return len(list(prober.spool.glob("*.otlp"))) if prober.spool.exists() else 0


# --- once -----------------------------------------------------------------------------------------------------------


@PROTOCOLS
def test_once_without_a_collector_and_the_next_run_with_one(
    protocol: str, doorman: Doorman, far_end: Inbox, target: Target, prober: MakeProber
) -> None:
    """Runs whose collector is down end in time with their verdict, say it, and arrive with the next run: each item once."""
    flows = prober(doorman.endpoints[protocol], protocol)
    for require, code in ((False, 0), (True, 3)):
        lost = flows.in_vain(require=require)
        assert (lost.code, lost.count("spooled"), lost.count("failed")) == (code, ONE_RUN, {})
        assert lost.errors.count("were not delivered") == len(SIGNALS)
        assert "kept in the spool" in lost.errors
    with doorman.open():
        found = flows.once(require=True)
    assert (found.code, found.count("sent")) == (0, ONE_RUN)
    assert found.count("replayed") == {name: 2 * count for name, count in ONE_RUN.items()}
    assert waiting(flows) == 0
    ledger = Ledger.of(far_end)
    ledger.assert_holds(target, target.traces())
    assert (len(ledger.runs), ledger.repeated, sum(ledger.events.values())) == (3 * FLOWS, 0, 3 * FLOWS)


def test_once_without_a_collector_and_without_a_spool(doorman: Doorman, prober: MakeProber) -> None:
    """With no spool everything of the run is lost, counted, and told; the verdict stands."""
    lost = prober(doorman.endpoints["http/protobuf"], spool=False).in_vain(BUDGET)
    assert (lost.code, lost.count("failed")) == (0, ONE_RUN)
    assert "no connection to the endpoint" in lost.errors


ANSWERS = [
    ("http/protobuf", "429"),
    ("http/protobuf", "503"),
    ("http/protobuf", "302"),
    ("http/protobuf", "html"),
    ("grpc", "429"),
    ("grpc", "503"),
]


@pytest.mark.parametrize(("protocol", "answer"), ANSWERS)
def test_once_against_answers_that_may_change(protocol: str, answer: str, target: Target, prober: MakeProber) -> None:
    """An answer that speaks of the collector and not of the data costs nothing: the next run brings everything, once."""
    with RECEIVERS[protocol](answer) as inbox:
        flows = prober(inbox.endpoint, protocol)
        refused = flows.in_vain()
        assert (refused.code, refused.count("spooled")) == (0, ONE_RUN)
        inbox.mode = "ok"
        assert flows.once().count("replayed") == ONE_RUN
        ledger = Ledger.of(inbox)
    ledger.assert_holds(target, target.traces())
    assert (len(ledger.runs), ledger.repeated) == (2 * FLOWS, 0)


@PROTOCOLS
def test_once_against_a_collector_that_calls_the_data_invalid(protocol: str, prober: MakeProber) -> None:
    """What is answered 400 or INVALID_ARGUMENT is lost and counted, and not kept to be refused for ever."""
    with RECEIVERS[protocol]("400") as inbox:
        flows = prober(inbox.endpoint, protocol)
        refused = flows.in_vain(BUDGET, require=True)
    assert (refused.code, refused.count("failed"), waiting(flows)) == (3, ONE_RUN, 0)
    assert "calls the data invalid" in refused.errors


@PROTOCOLS
def test_once_against_a_collector_that_takes_a_part(protocol: str, prober: MakeProber) -> None:
    """Of a request that is taken in part, the refused items are lost and counted, the others sent."""
    with RECEIVERS[protocol]("partial") as inbox:
        taken = prober(inbox.endpoint, protocol).once(require=True)
    assert (taken.code, taken.count("failed")) == (3, dict.fromkeys(SIGNALS, 1))
    assert taken.count("sent") == {name: count - 1 for name, count in ONE_RUN.items()}


@PROTOCOLS
def test_once_against_a_collector_that_hangs(
    protocol: str, doorman: Doorman, far_end: Inbox, target: Target, prober: MakeProber
) -> None:
    """A stopped collector does not hold the exit; what it had taken unread may come twice, and nothing is missing."""
    flows = prober(doorman.endpoints[protocol], protocol)
    with doorman.open() as collector:
        collector.pause()
        lost = flows.in_vain()
        assert (lost.code, lost.count("spooled")) == (0, ONE_RUN)
        assert "no answer came in time" in lost.errors
        collector.resume()
        found = flows.once()
    assert (found.count("sent"), found.count("replayed")) == (ONE_RUN, ONE_RUN)
    ledger = Ledger.of(far_end)
    ledger.assert_holds(target, target.traces())
    assert len(ledger.spans) == 2 * SPANS * FLOWS
    assert ledger.repeated <= SPANS * FLOWS


def test_once_with_a_spool_on_a_full_disk(doorman: Doorman, prober: MakeProber) -> None:
    """A spool that cannot be written costs the telemetry and not the verdict, is told once, and leaves no half files."""
    flows = prober(doorman.endpoints["http/protobuf"])
    lost = flows.in_vain(disk_full=True)
    assert (lost.code, lost.count("failed"), lost.count("spooled")) == (0, ONE_RUN, {})
    assert lost.errors.count("cannot be written") == 1
    assert flows.spool is not None
    assert list(flows.spool.iterdir()) == []


def test_once_whose_spool_is_full(doorman: Doorman, far_end: Inbox, target: Target, prober: MakeProber) -> None:
    """What the spool's cap pushes out is counted as failed by the run that pushed it out."""
    flows = prober(doorman.endpoints["http/protobuf"])
    assert flows.in_vain().count("spooled") == ONE_RUN
    assert flows.spool is not None
    huge = flows.spool / "00000000000000000000-1-1.logs.7.otlp"
    huge.write_bytes(b"x" * (64 * 1024 * 1024))
    pushing = flows.in_vain()
    assert (pushing.count("spooled"), pushing.count("failed")) == (ONE_RUN, {"logs": 7})
    with doorman.open():
        flows.once()
    Ledger.of(far_end).assert_holds(target, target.traces())


# --- TLS ------------------------------------------------------------------------------------------------------------


class Papers:
    """A CA, what the collector shows, and what a client may show."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._authority = trustme.CA()
        self.ca = self._write("ca.pem", self._authority.cert_pem.bytes())
        self.other_ca = self._write("other-ca.pem", trustme.CA().cert_pem.bytes())
        self.server = self._issue("server", "127.0.0.1")
        self.client = self._issue("client", "otelprobe.test")
        past = datetime.now(UTC) - timedelta(days=1)
        self.expired = self._issue("expired", "otelprobe.test", not_before=past - timedelta(days=1), not_after=past)

    def _write(self, name: str, content: bytes) -> str:
        path = self._folder / name
        path.write_bytes(content)
        return str(path)

    def _issue(self, name: str, identity: str, **more: Any) -> tuple[str, str]:
        made = self._authority.issue_cert(identity, **more)
        chain = b"".join(blob.bytes() for blob in made.cert_chain_pems)
        return self._write(f"{name}.pem", chain), self._write(f"{name}-key.pem", made.private_key_pem.bytes())

    def settings(self, ca: str, client: tuple[str, str] | None = None) -> dict[str, str]:
        """Give the variables that an operator sets."""
        shown = {} if client is None else dict(zip(("CLIENT_CERTIFICATE", "CLIENT_KEY"), client, strict=True))
        return {f"OTEL_EXPORTER_OTLP_{name}": path for name, path in {"CERTIFICATE": ca, **shown}.items()}


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Papers:
    """Give the certificates."""
    return Papers(tmp_path_factory.mktemp("papers"))


def assert_kept_then_delivered(flows: Prober, wrong: dict[str, str], right: dict[str, str], words: str) -> None:
    """With the wrong settings everything is kept and the fault named; with the right ones it arrives."""
    own = flows.settings
    flows.settings = own | wrong
    lost = flows.in_vain(BUDGET)
    assert (lost.code, lost.count("spooled")) == (0, ONE_RUN)
    assert words in lost.errors
    assert "ssl_transport" not in lost.errors, "gRPC's own log"
    flows.settings = own | right
    found = flows.once()
    assert (found.count("sent"), found.count("replayed")) == (ONE_RUN, ONE_RUN)


@PROTOCOLS
def test_a_collector_whose_certificate_is_not_trusted(
    protocol: str, papers: Papers, far_end: Inbox, target: Target, prober: MakeProber, tmp_path: Path
) -> None:
    """With the wrong CA nothing is sent, the log names the setting to mend, and what was kept arrives once it is mended."""
    door = Doorman(tmp_path, far_end, dict(zip(("cert_file", "key_file"), papers.server, strict=True)))
    with door.open():
        flows = prober(door.endpoints[protocol], protocol)
        wrong, right = papers.settings(papers.other_ca), papers.settings(papers.ca)
        assert_kept_then_delivered(flows, wrong, right, "set OTEL_EXPORTER_OTLP_CERTIFICATE to its CA")
    ledger = Ledger.of(far_end)
    ledger.assert_holds(target, target.traces())
    assert ledger.repeated == 0


@PROTOCOLS
@pytest.mark.parametrize("shown", ["expired", "none"])
def test_a_collector_that_refuses_the_client_certificate(
    protocol: str, shown: str, papers: Papers, far_end: Inbox, target: Target, prober: MakeProber, tmp_path: Path
) -> None:
    """With an expired or missing client certificate nothing is sent, and with a good one what was kept arrives."""
    server = dict(zip(("cert_file", "key_file"), papers.server, strict=True))
    door = Doorman(tmp_path, far_end, server | {"client_ca_file": papers.ca})
    with door.open():
        flows = prober(door.endpoints[protocol], protocol)
        wrong = papers.settings(papers.ca, papers.expired if shown == "expired" else None)
        assert_kept_then_delivered(
            flows, wrong, papers.settings(papers.ca, papers.client), "check the client certificate"
        )
    Ledger.of(far_end).assert_holds(target, target.traces())


# --- signals --------------------------------------------------------------------------------------------------------


@PROTOCOLS
def test_once_told_to_stop_while_it_exports(protocol: str, target: Target, prober: MakeProber) -> None:
    """SIGTERM during the last export: still within the budget, exit code 143, and everything kept."""
    with RECEIVERS[protocol]("hang") as inbox:
        flows = prober(inbox.endpoint, protocol)
        process = flows.start_once(BUDGET)
        inbox.wait(lambda: bool(inbox.bodies))
        told = time.monotonic()
        process.terminate()
        ended = finish(process, told)
        assert (ended.code, ended.count("spooled")) == (128 + signal.SIGTERM, ONE_RUN)
        assert ended.seconds < BUDGET + OVERHEAD
    with RECEIVERS[protocol]() as inbox:
        assert prober(inbox.endpoint, protocol).once().count("replayed") == ONE_RUN
        Ledger.of(inbox).assert_holds(target, target.traces())


def test_once_killed_while_it_exports(target: Target, prober: MakeProber) -> None:
    """SIGKILL during the last export costs that run's telemetry, and nothing of what earlier runs had kept."""
    with http_receiver("503") as inbox:
        prober(inbox.endpoint).in_vain()
        kept = target.traces()
        inbox.mode = "hang"
        before = len(inbox.bodies)
        process = prober(inbox.endpoint).start_once()
        inbox.wait(lambda: len(inbox.bodies) >= before + len(SIGNALS))
        process.kill()
        process.communicate()
        killed = target.traces() - kept
    with http_receiver() as inbox:
        assert prober(inbox.endpoint).once().count("replayed") == ONE_RUN
        ledger = Ledger.of(inbox)
    assert len(killed) == FLOWS
    assert target.traces() - ledger.runs == killed
    ledger.assert_holds(target, kept)


# --- run ------------------------------------------------------------------------------------------------------------

HASTY = {
    "OTEL_BSP_SCHEDULE_DELAY": "200",
    "OTEL_BLRP_SCHEDULE_DELAY": "200",
    "OTEL_METRIC_EXPORT_INTERVAL": "500",
    "OTEL_EXPORTER_OTLP_TIMEOUT": "1000",
}
"""Short times, so that an outage of seconds is one of many exports."""


@PROTOCOLS
def test_run_whose_collector_comes_later(
    protocol: str, doorman: Doorman, far_end: Inbox, target: Target, prober: MakeProber
) -> None:
    """With no spool, what was made before the collector came is in the queue and arrives: nothing lost, nothing twice."""
    with prober(doorman.endpoints[protocol], protocol, spool=False, settings=HASTY).run() as flows:
        target.wait_for(2 * FLOWS)
        with doorman.open():
            target.wait_for(len(target.traces()) + FLOWS)
            assert flows.stop() == 128 + signal.SIGTERM
    ledger = Ledger.of(far_end)
    ledger.assert_holds(target, target.traces())
    assert (ledger.runs, ledger.repeated) == (target.traces(), 0)
    assert exported(far_end, "failed").get("traces", 0) == exported(far_end, "failed").get("logs", 0) == 0
    assert flows.told().count("traces were not delivered") == 1


def test_run_whose_queue_is_too_small_for_the_outage(
    doorman: Doorman, far_end: Inbox, target: Target, prober: MakeProber
) -> None:
    """What the queue has no room for is lost, oldest first, and counted to the item in otelprobe.export.items."""
    small = HASTY | {"OTEL_BSP_MAX_QUEUE_SIZE": "18", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "6"}
    with prober(doorman.endpoints["http/protobuf"], spool=False, settings=small).run() as flows:
        target.wait_for(4 * FLOWS)
        with doorman.open():
            wait_until(lambda: exported(far_end, "sent").get("traces", 0) > 18, 90, "spans told as sent")
            flows.stop()
    arrived = Ledger.of(far_end)
    dropped = exported(far_end, "failed")["traces"]
    assert dropped > 0
    assert len(arrived.spans) + dropped == SPANS * len(target.traces())
    assert set(arrived.events) == target.traces()


@PROTOCOLS
def test_run_whose_collector_dies_and_comes_back(
    protocol: str, doorman: Doorman, far_end: Inbox, target: Target, prober: MakeProber
) -> None:
    """A collector that is killed and started anew costs nothing: what it did not acknowledge is sent again."""
    with prober(doorman.endpoints[protocol], protocol, spool=False, settings=HASTY).run() as flows:
        with doorman.open() as first:
            target.wait_for(FLOWS)
            first.kill()
        target.wait_for(len(target.traces()) + 2 * FLOWS)
        with doorman.open():
            target.wait_for(len(target.traces()) + FLOWS)
            flows.stop()
    ledger = Ledger.of(far_end)
    ledger.assert_holds(target, target.traces())
    assert ledger.runs == target.traces()


@PROTOCOLS
def test_run_whose_collector_hangs_for_a_while(
    protocol: str, doorman: Doorman, far_end: Inbox, target: Target, prober: MakeProber
) -> None:
    """A collector that stands still costs nothing; what it had in its buffers may come twice."""
    running = prober(doorman.endpoints[protocol], protocol, spool=False, settings=HASTY).run()
    with doorman.open() as collector, running as flows:
        target.wait_for(FLOWS)
        collector.pause()
        target.wait_for(len(target.traces()) + 2 * FLOWS)
        collector.resume()
        target.wait_for(len(target.traces()) + FLOWS)
        flows.stop()
    Ledger.of(far_end).assert_holds(target, target.traces())


def test_run_told_to_stop_while_its_collector_hangs(target: Target, prober: MakeProber) -> None:
    """SIGTERM under a hanging collector: out within drain and budget, and what was queued or on its way is kept."""
    with http_receiver("hang") as inbox:
        flows = prober(inbox.endpoint, settings=HASTY)
        with flows.run(SHORT) as running:
            target.wait_for(2 * FLOWS)
            began = time.monotonic()
            assert running.stop() == 128 + signal.SIGTERM
            assert time.monotonic() - began < SHORT + OVERHEAD
        assert "telemetry was not all delivered" in running.told()
        assert Ledger.of(inbox).runs == set()
    with http_receiver() as inbox:
        flows.settings |= {"OTEL_EXPORTER_OTLP_ENDPOINT": inbox.endpoint}
        flows.once()
        ledger = Ledger.of(inbox)
    ledger.assert_holds(target, target.traces())
    assert ledger.repeated == 0


def test_run_killed_hard(far_end: Inbox, target: Target, prober: MakeProber) -> None:
    """SIGKILL costs what was made since the last export, and no more."""
    delay = 1.0
    slow = HASTY | {"OTEL_BSP_SCHEDULE_DELAY": "1000", "OTEL_BLRP_SCHEDULE_DELAY": "1000"}
    made: dict[str, float] = {}
    with prober(far_end.endpoint, settings=slow, flows=20).run() as running:
        ends = time.monotonic() + 60
        while len(made) < 160 and time.monotonic() < ends:
            made |= {run: time.monotonic() for run in target.traces() - made.keys()}
            time.sleep(0.01)
        killed = time.monotonic()
        running.kill()
    missing = target.traces() - Ledger.of(far_end).runs
    assert len(missing) < 100
    assert all(killed - made.get(run, killed) < delay + 3 for run in missing)


# --- a gateway whose store is away ----------------------------------------------------------------------------------


class Gateway:
    """gateway.yaml with a small persistent queue, restarted on the same ports and the same disk."""

    def __init__(self, folder: Path, kubernetes: KubernetesApi, spans: Inbox, rest: Inbox) -> None:
        ports = free_ports(4)
        self.endpoint = f"http://127.0.0.1:{ports[1]}"
        self._health = f"http://127.0.0.1:{ports[2]}/"
        self._folder = folder
        self._environment = {
            **kubernetes.environment,
            "OTELCOL_GRPC": f"127.0.0.1:{ports[0]}",
            "OTELCOL_HTTP": f"127.0.0.1:{ports[1]}",
            "OTELCOL_HEALTH": f"127.0.0.1:{ports[2]}",
            "OTELCOL_METRICS_HOST": "127.0.0.1",
            "OTELCOL_METRICS_PORT": str(ports[3]),
            "OTELCOL_TRACES": spans.endpoint.removeprefix("http://"),
            "OTELCOL_PROMETHEUS_OTLP": rest.endpoint,
            "OTELCOL_LOKI": rest.endpoint,
            "OTELCOL_QUEUE_DIR": str(folder / "queue"),
        }
        queue = {"sending_queue": {"queue_size": 900, "batch": {"min_size": 100, "max_size": 200}}}
        self._small = folder / "small.yaml"
        self._small.write_text(yaml.safe_dump({"exporters": {"otlp/traces": queue, "otlphttp/loki": queue}}))

    def start(self) -> Running:
        """Start it with what the last one left on the disk."""
        files = [f"--config={CONFIGS / 'gateway.yaml'}", f"--config={self._small}"]
        running = Running(
            "gateway", [obtain(), *files], log=self._folder / "gateway.log", environment=self._environment
        )
        running.wait_until(answers(self._health), 120)
        return running


def test_ten_minutes_of_traffic_while_the_stores_are_away(
    target: Target, prober: MakeProber, kubernetes: KubernetesApi, tmp_path: Path
) -> None:
    """600 runs with the stores away, the gateway's queue full, the gateway killed and started: every run arrives."""
    with grpc_receiver("503") as spans, http_receiver("503") as rest, told_in_one_line():
        gateway = Gateway(tmp_path, kubernetes, spans, rest)
        with gateway.start() as first, prober(gateway.endpoint, settings=HASTY, flows=100).run() as flows:
            target.wait_for(600)
            kept = "were not delivered: the collector answers 503; kept in the spool"
            wait_until(lambda: kept in flows.told(), 90, "requests refused because the gateway's queue is full")
            first.kill()
            spans.mode = rest.mode = "ok"
            with gateway.start():
                away = target.traces()
                wait_until(lambda: away <= Ledger.of(spans, rest).runs, 90, "the runs of the outage")
                assert flows.stop() == 128 + signal.SIGTERM
                wait_until(lambda: target.traces() <= set(Ledger.of(spans, rest).events), 90, "all events")
                wait_until(lambda: target.traces() <= Ledger.of(spans, rest).runs, 90, "all runs")
    ledger = Ledger.of(spans, rest)
    ledger.assert_holds(target, target.traces())
    assert ledger.runs == target.traces()
    assert len(ledger.spans) == SPANS * len(target.traces())
