"""Telemetry arrives, or is counted, kept and sent later; and the end is always in time."""

import logging
import os
import socket
import stat
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from otelprobe.telemetry import Telemetry, TelemetrySettings
from tests.telemetry.receiver import grpc_receiver, http_receiver
from tests.telemetry.samples import CANARY, NS, START, facts, failed, passed, rejecting, settings

RECEIVERS = {"http/protobuf": http_receiver, "grpc": grpc_receiver}
PROTOCOLS = pytest.mark.parametrize("protocol", RECEIVERS)
MODES = pytest.mark.parametrize("mode", ["one_shot", "long_lived"])


def clock() -> int:
    return START + NS


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@PROTOCOLS
@MODES
def test_everything_arrives_and_is_counted(protocol, mode):
    """Every span, point and record that a receiver takes is counted as sent, exactly."""
    with RECEIVERS[protocol]() as inbox:
        telemetry = Telemetry(settings(inbox.endpoint, protocol, mode=mode), clock=clock)
        telemetry.register([facts()])
        telemetry.publish(passed())
        telemetry.publish(failed())
        delivery = telemetry.close()
    assert delivery.complete
    assert delivery.signals["traces"].sent == len(inbox.spans) == 19
    assert delivery.signals["logs"].sent == len(inbox.records)
    assert delivery.signals["metrics"].sent == sum(
        len(getattr(m, m.WhichOneof("data")).data_points) for m in inbox.metrics
    )


@PROTOCOLS
@pytest.mark.parametrize("fault", ["503", "429", "400", "hang"])
@MODES
def test_exit_is_bounded_and_failures_are_counted(protocol, fault, mode):
    """Whatever a collector does, close ends within its budget and calls nothing delivered that was not."""
    with RECEIVERS[protocol](fault) as inbox:
        telemetry = Telemetry(settings(inbox.endpoint, protocol, mode=mode), clock=clock)
        telemetry.publish(passed())
        started = time.monotonic()
        delivery = telemetry.close(0.6)
        assert time.monotonic() - started < 4
    assert not delivery.complete
    assert delivery.signals["traces"].failed == 10
    assert all(count.sent == 0 and count.failed > 0 for count in delivery.signals.values())


@PROTOCOLS
def test_refused_connections_do_not_hold_the_exit(protocol):
    """With no collector at all, close ends within its budget and counts everything as failed."""
    telemetry = Telemetry(settings(f"http://127.0.0.1:{unused_port()}", protocol), clock=clock)
    telemetry.publish(passed())
    started = time.monotonic()
    delivery = telemetry.close(0.6)
    assert time.monotonic() - started < 4
    assert all(count.sent == 0 and count.failed > 0 for count in delivery.signals.values())


@pytest.mark.parametrize("fault", ["302", "html"])
def test_an_answer_that_is_no_otlp_is_a_failure(fault):
    """A redirect and a web page with status 200 are failures, found at once, though the exporters call them success."""
    with http_receiver(fault) as inbox:
        telemetry = Telemetry(settings(inbox.endpoint), clock=clock)
        telemetry.publish(passed())
        started = time.monotonic()
        delivery = telemetry.close()
    assert time.monotonic() - started < 4
    assert {c.sent for c in delivery.signals.values()} == {0}
    assert delivery.signals["traces"].failed == 10


@PROTOCOLS
def test_partial_success_counts_what_was_refused(protocol):
    """Items that a collector refuses in an accepted request are counted as failed."""
    with RECEIVERS[protocol]("partial") as inbox:
        telemetry = Telemetry(settings(inbox.endpoint, protocol), clock=clock)
        telemetry.publish(passed())
        delivery = telemetry.close()
    assert (delivery.signals["traces"].sent, delivery.signals["traces"].failed) == (9, 1)


@PROTOCOLS
@pytest.mark.parametrize("fault", ["503", "hang"])
def test_what_was_not_delivered_is_sent_by_the_next_run(protocol, fault, tmp_path):
    """A failed delivery is kept on disk, readable by its owner only, and the next run sends it and says so."""
    with RECEIVERS[protocol](fault) as inbox:
        first = Telemetry(settings(inbox.endpoint, protocol, spool=tmp_path), clock=clock)
        first.publish(passed())
        lost = first.close(0.8).signals
    files = list(tmp_path.iterdir())
    assert {name: c.spooled for name, c in lost.items()} == {
        "traces": 10,
        "metrics": lost["metrics"].spooled,
        "logs": 4,
    }
    assert lost["metrics"].spooled > 0
    assert {stat.S_IMODE(f.stat().st_mode) for f in files} == {0o600}
    with RECEIVERS[protocol]() as inbox:
        second = Telemetry(settings(inbox.endpoint, protocol, spool=tmp_path), clock=clock)
        second.publish(passed())
        found = second.close().signals
    assert {n: c.replayed for n, c in found.items()} == {n: c.spooled for n, c in lost.items()}
    assert len(inbox.spans) == 20
    assert list(tmp_path.iterdir()) == []


def test_data_that_a_collector_calls_invalid_is_not_kept(tmp_path):
    """A request answered 400 is counted as failed and never spooled, for it would fail for ever."""
    with http_receiver("400") as inbox:
        telemetry = Telemetry(settings(inbox.endpoint, spool=tmp_path), clock=clock)
        telemetry.publish(passed())
        delivery = telemetry.close()
    assert delivery.signals["traces"].failed == 10
    assert list(tmp_path.iterdir()) == []


def test_a_spool_that_cannot_be_written_is_told_and_counted(tmp_path, caplog):
    """A spool directory that cannot be made costs the telemetry, never the run."""
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    with http_receiver("html") as inbox, caplog.at_level(logging.WARNING, "otelprobe"):
        telemetry = Telemetry(settings(inbox.endpoint, spool=blocked), clock=clock)
        telemetry.publish(passed())
        delivery = telemetry.close()
    assert delivery.signals["traces"].failed == 10
    assert sum("cannot be written" in r.getMessage() for r in caplog.records) == 1


def test_the_end_leaves_time_for_the_queue_behind_a_hanging_export(tmp_path):
    """What is queued behind an export that hangs is spooled too, not only the batch under way."""
    with http_receiver("hang") as inbox:
        many = settings(inbox.endpoint, spool=tmp_path, mode="long_lived")
        telemetry = Telemetry(replace(many, span_queue=replace(many.span_queue, batch=10)), clock=clock)
        telemetry.publish(passed())
        inbox.wait(lambda: inbox.bodies)
        for _ in range(5):
            telemetry.publish(passed())
        delivery = telemetry.close(0.8)
    assert delivery.signals["traces"].spooled == 60


def test_a_full_queue_drops_the_oldest_and_counts_them():
    """A queue that overflows loses its oldest items, and every one of them is counted."""
    with http_receiver("hang") as inbox:
        small = settings(inbox.endpoint, mode="long_lived")
        small = replace(small, span_queue=replace(small.span_queue, size=20, batch=20))
        telemetry = Telemetry(small, clock=clock)
        telemetry.publish(passed())
        telemetry.publish(passed())
        inbox.wait(lambda: any("traces" in path for path in inbox.paths))
        for _ in range(4):
            telemetry.publish(passed())
        assert telemetry.delivery.signals["traces"].failed == 20
        delivery = telemetry.close(0.5)
    assert delivery.signals["traces"].failed == 60


def test_a_long_lived_prober_sends_the_spool_after_the_collector_is_back(tmp_path):
    """In a long-lived process the spool empties as soon as one export succeeds."""
    with http_receiver("html") as inbox:
        fast = settings(inbox.endpoint, mode="long_lived", spool=tmp_path)
        fast = replace(
            fast, span_queue=replace(fast.span_queue, delay=0.02), log_queue=replace(fast.log_queue, delay=0.02)
        )
        telemetry = Telemetry(fast, clock=clock)
        telemetry.publish(passed())
        deadline = time.monotonic() + 5
        while telemetry.delivery.signals["traces"].spooled < 10 and time.monotonic() < deadline:
            threading.Event().wait(0.01)
        inbox.mode = "ok"
        telemetry.publish(passed())
        delivery = telemetry.close()
    assert delivery.signals["traces"].replayed == 10
    assert len(inbox.spans) == 20


@PROTOCOLS
def test_a_spooled_request_that_is_refused_for_ever_holds_nothing_up(protocol, tmp_path, caplog):
    """One that the collector answers with 5xx while it takes others: the rest is sent, and in the end it is put aside."""
    receiver = http_receiver if protocol == "http/protobuf" else grpc_receiver
    poisoned = tmp_path / "00000000000000000001-1-1.traces.7.otlp"
    poisoned.write_bytes(b"poison")
    with receiver("503") as inbox:
        lost = once(settings(inbox.endpoint, protocol, spool=tmp_path))
        assert lost.signals["traces"].spooled > 0
        inbox.mode, inbox.poison = "ok", b"poison"
        counts = [once(settings(inbox.endpoint, protocol, spool=tmp_path)).signals["traces"] for _ in range(6)]
    assert [(c.replayed, c.failed) for c in counts[:4]] == [(0, 0), (lost.signals["traces"].spooled, 0), (0, 0), (0, 0)]
    assert [c.failed for c in counts[4:]] == [7, 0]
    assert [path.name for path in tmp_path.iterdir()] == [poisoned.with_suffix(".rejected").name]
    assert caplog.text.count("traces of the spool are refused for ever: the collector answers") == 1


def once(how):
    """Publish one run and close."""
    telemetry = Telemetry(how, clock=clock)
    telemetry.publish(passed())
    return telemetry.close()


@PROTOCOLS
def test_no_prose_and_no_credential_leaves_in_spans_or_metrics(protocol):
    """A detail goes out in events only, and the exporter's own credential in no body at all."""
    with RECEIVERS[protocol]() as inbox:
        telemetry = Telemetry(settings(inbox.endpoint, protocol, mode="long_lived"), clock=clock)
        telemetry.register([facts()])
        telemetry.publish(failed())
        telemetry.publish(rejecting(accepted=True))
        telemetry.close()
    outside = [r for s in ("traces", "metrics") for r in inbox.requests[s]]
    assert not [r for r in outside if CANARY in str(r)]
    assert CANARY in str(inbox.requests["logs"])
    assert all(h.get("authorization") == CANARY for h in inbox.headers)
    assert CANARY not in repr(telemetry.delivery) + repr(settings(inbox.endpoint))


def test_nothing_is_sent_without_an_endpoint():
    """With no endpoint set, publishing costs nothing and delivers nothing, and that is not a failure."""
    telemetry = Telemetry(TelemetrySettings.from_environment(environ={}))
    telemetry.register([facts()])
    telemetry.publish(passed())
    assert telemetry.disabled
    assert telemetry.close().complete
    assert telemetry.delivery.as_dict() == {"traces": {}, "metrics": {}, "logs": {}}


def test_netrc_never_gives_the_collector_a_credential(tmp_path, monkeypatch):
    """A .netrc in the home directory neither replaces nor adds an Authorization header."""
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login somebody password hidden\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    with http_receiver() as inbox:
        telemetry = Telemetry(settings(inbox.endpoint), clock=clock)
        telemetry.publish(passed())
        assert telemetry.close().complete
    assert {h["authorization"] for h in inbox.headers} == {CANARY}


IMPORTS = """
import sys
from otelprobe.telemetry import Telemetry
assert not [m for m in sys.modules if m.startswith("opentelemetry")], "imported for nothing"
from tests.telemetry.samples import passed, settings
telemetry = Telemetry(settings(sys.argv[1], mode=sys.argv[2]))
telemetry.publish(passed())
assert telemetry.close().complete
assert "grpc" not in sys.modules and "grpc._cython" not in sys.modules
"""


@MODES
def test_grpc_is_not_loaded_for_http(mode):
    """A process that exports over HTTP never loads gRPC, and one that only imports the package no OpenTelemetry."""
    with http_receiver() as inbox:
        run = subprocess.run(
            [sys.executable, "-W", "error", "-c", IMPORTS, inbox.endpoint, mode],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
            env={**os.environ, "PYTHONPATH": str(Path.cwd())},
        )
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""


def hasty(endpoint: str, protocol: str = "http/protobuf", *, size: int = 2048, batch: int = 512) -> TelemetrySettings:
    """Long-lived, with no spool, and with delays of no length."""
    plain = settings(endpoint, protocol, mode="long_lived", timeout=0.5)
    queue = replace(plain.span_queue, delay=0.02, size=size, batch=batch)
    return replace(plain, span_queue=queue, log_queue=replace(queue, size=2048))


@PROTOCOLS
def test_without_a_spool_the_queue_keeps_what_nobody_takes(protocol):
    """A long-lived process with no spool tries a refused batch again, in order, until it arrives."""
    with RECEIVERS[protocol]("503") as inbox:
        telemetry = Telemetry(hasty(inbox.endpoint, protocol), clock=clock)
        first, second = passed(), passed()
        telemetry.publish(first)
        inbox.wait(lambda: len(inbox.bodies) > 6)
        telemetry.publish(second)
        inbox.mode = "ok"
        delivery = telemetry.close()
    assert (delivery.signals["traces"].sent, delivery.signals["traces"].failed) == (20, 0)
    assert (delivery.signals["logs"].sent, delivery.signals["logs"].failed) == (8, 0)
    traces = list(dict.fromkeys(int.from_bytes(span.trace_id, "big") for span in inbox.spans))
    assert traces == [first.trace_id, second.trace_id]


def test_a_queue_that_overflows_while_nobody_takes_it_keeps_the_newest():
    """What a dead collector costs is exactly what the queue had no room for, the oldest first."""
    with http_receiver("html") as inbox:
        telemetry = Telemetry(hasty(inbox.endpoint, size=30, batch=10), clock=clock)
        runs = [passed() for _ in range(5)]
        for run in runs:
            telemetry.publish(run)
        wait_for(lambda: telemetry.delivery.signals["traces"].failed == 20)
        inbox.mode = "ok"
        delivery = telemetry.close()
    assert (delivery.signals["traces"].sent, delivery.signals["traces"].failed) == (30, 20)
    assert {int.from_bytes(span.trace_id, "big") for span in inbox.spans} == {run.trace_id for run in runs[2:]}


def test_a_collector_that_refuses_is_not_asked_for_every_result():
    """After a refusal the queue rests for its whole delay, however much comes meanwhile."""
    with http_receiver("html") as inbox:
        slow = hasty(inbox.endpoint, batch=10)
        slow = replace(slow, span_queue=replace(slow.span_queue, delay=30.0))
        telemetry = Telemetry(replace(slow, metrics=replace(slow.metrics, exporter="none")), clock=clock)
        telemetry.publish(passed())
        inbox.wait(lambda: inbox.paths.count("traces") == 1)
        for _ in range(20):
            telemetry.publish(passed())
        inbox.wait(lambda: inbox.paths.count("logs") > 3)
        inbox.mode = "ok"
        assert telemetry.close().signals["traces"].sent == 210
    assert inbox.paths.count("traces") == 1 + 21


def test_one_invalid_batch_does_not_stop_the_next(tmp_path):
    """After a batch that is called invalid the rest is still sent, not spooled unseen."""
    with http_receiver("400") as inbox:
        plain = settings(inbox.endpoint, spool=tmp_path)
        telemetry = Telemetry(replace(plain, span_queue=replace(plain.span_queue, batch=5)), clock=clock)
        telemetry.publish(passed())
        assert telemetry.close().signals["traces"].failed == 10
    assert inbox.paths.count("traces") == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("protocol", "fault", "words"),
    [
        ("http/protobuf", "503", "the collector answers 503"),
        ("http/protobuf", "302", "redirect (302)"),
        ("http/protobuf", "html", "no OTLP"),
        ("http/protobuf", "400", "the collector answers 400; the collector calls the data invalid"),
        ("http/protobuf", "hang", "no answer came in time"),
        ("grpc", "503", "the collector answers UNAVAILABLE"),
        ("grpc", "hang", "no answer came in time"),
    ],
)
def test_the_log_says_once_why_nothing_arrives(protocol, fault, words, caplog):
    """One warning for each signal names what came back, so that an operator knows what to mend."""
    with RECEIVERS[protocol](fault) as inbox, caplog.at_level(logging.WARNING, "otelprobe"):
        telemetry = Telemetry(settings(inbox.endpoint, protocol), clock=clock)
        telemetry.publish(passed())
        telemetry.close(0.6)
    told = [r.getMessage() for r in caplog.records if r.getMessage().startswith("traces")]
    assert len(told) == 1
    assert words in told[0]
    assert "127.0.0.1" not in told[0]


def wait_for(ready, seconds: float = 10.0) -> None:
    ends = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < ends, "it did not happen in time"
        threading.Event().wait(0.01)
