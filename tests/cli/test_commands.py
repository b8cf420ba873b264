"""The commands as people run them: real processes, real servers, exit codes, and nothing secret on any output."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from otelprobe.demo import flow_yaml, start_demo
from otelprobe.demo.server import Demo
from tests.conftest import Answer, Server
from tests.telemetry.receiver import Inbox, http_receiver


@pytest.fixture(scope="module")
def demo() -> Iterator[Demo]:
    """Give one running demo for the module."""
    with start_demo() as running:
        yield running


@pytest.fixture
def flow(demo: Demo, tmp_path: Path) -> Path:
    """Write the demo's flow file."""
    path = tmp_path / "flow.yaml"
    path.write_text(flow_yaml(demo))
    return path


def environment(demo: Demo | None = None, **more: str) -> dict[str, str]:
    """Give a process environment with the demo's secrets and nothing of the tester's settings."""
    base = {k: v for k, v in os.environ.items() if not k.startswith(("OTEL", "TRACEPARENT"))}
    return {**base, **(demo.environment if demo else {}), **more}


def otelprobe(
    *arguments: str, env: dict[str, str] | None = None, cwd: Path | None = None
) -> "subprocess.CompletedProcess[str]":
    """Run a command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "otelprobe", *arguments],
        env=env or environment(),
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@contextmanager
def running(*arguments: str, env: dict[str, str]) -> "Iterator[subprocess.Popen[str]]":
    """Start a command and end it at the latest with the test."""
    command = [sys.executable, "-m", "otelprobe", *arguments]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def test_once_prints_the_waterfall_and_says_where_telemetry_is_not_sent(demo: Demo, flow: Path) -> None:
    """A healthy flow exits 0; the missing endpoint is said once, on standard error."""
    done = otelprobe("once", str(flow), env=environment(demo))
    assert done.returncode == 0, done.stderr
    assert "PASS" in done.stdout
    assert "trace " in done.stdout
    assert done.stderr.count("OTEL_EXPORTER_OTLP_ENDPOINT") == 1


def test_once_as_json_is_one_document_and_all_three_signals_arrive(demo: Demo, flow: Path) -> None:
    """The trace id of the report is that of the spans, of the traceparent at the API, and of the events."""
    demo.forget_requests()
    with http_receiver() as inbox:
        env = environment(demo, OTEL_EXPORTER_OTLP_ENDPOINT=inbox.endpoint)
        done = otelprobe("once", str(flow), "--output", "json", "--require-delivery", env=env)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    (result,) = report["flows"]
    assert report["exit_code"] == 0
    assert {s: c["failed"] for s, c in report["delivery"].items()} == {"traces": 0, "metrics": 0, "logs": 0}
    assert all(count["sent"] > 0 for count in report["delivery"].values())
    seen = {r.traceparent.split("-")[1] for r in demo.requests if r.traceparent and r.server == "api"}
    assert seen == {result["trace_id"]}
    assert spans_of(inbox) == {
        result["trace_id"]: 1 + len(result["steps"]) + sum(len(s["http"]) for s in result["steps"])
    }


def spans_of(inbox: Inbox) -> dict[str, int]:
    """Count spans by trace id."""
    counts: dict[str, int] = {}
    for request in inbox.requests["traces"]:
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                for span in scope.spans:
                    counts[span.trace_id.hex()] = counts.get(span.trace_id.hex(), 0) + 1
    return counts


def test_once_as_junit_is_read_by_ci(demo: Demo, flow: Path) -> None:
    """One suite for a flow, one case for a step."""
    done = otelprobe("once", str(flow), "--output", "junit", env=environment(demo))
    suites = ET.fromstring(done.stdout)
    assert [case.get("name") for case in suites.iter("testcase")][:3] == ["discover", "keys", "token"]


def test_a_failed_flow_exits_1_and_a_doubtful_one_4(demo: Demo, flow: Path, tmp_path: Path) -> None:
    """A failure is the target's, a missing secret is ours: they are told apart by the exit code."""
    env = environment(demo)
    del env["OTELPROBE_DEMO_PASSWORD"]
    done = otelprobe("once", str(flow), env=env)
    assert done.returncode == 4
    assert "secret_missing" in done.stdout
    broken = tmp_path / "broken.yaml"
    broken.write_text(flow.read_text().replace("/orders", "/nowhere"))
    done = otelprobe("once", str(broken), env=environment(demo))
    assert done.returncode == 1
    assert "api_not_found" in done.stdout


def test_lost_telemetry_exits_3_only_when_asked_and_never_hides_a_failure(demo: Demo, flow: Path) -> None:
    """Delivery is another question than the verdict."""
    env = environment(demo, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9", OTEL_EXPORTER_OTLP_TIMEOUT="500")
    assert otelprobe("once", str(flow), env=env).returncode == 0
    done = otelprobe("once", str(flow), "--require-delivery", env=env)
    assert done.returncode == 3
    assert "failed" in done.stderr


def test_what_could_not_be_delivered_is_spooled_and_sent_by_the_next_run(
    demo: Demo, flow: Path, tmp_path: Path
) -> None:
    """At least once: the next run that reaches a collector sends what the last one could not."""
    spool = ("--spool-dir", str(tmp_path / "spool"))
    dead = environment(demo, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9", OTEL_EXPORTER_OTLP_TIMEOUT="500")
    first = json.loads(otelprobe("once", str(flow), "--output", "json", *spool, env=dead).stdout)
    assert first["delivery"]["traces"]["spooled"] > 0
    with http_receiver() as inbox:
        alive = environment(demo, OTEL_EXPORTER_OTLP_ENDPOINT=inbox.endpoint)
        second = json.loads(otelprobe("once", str(flow), "--output", "json", *spool, env=alive).stdout)
    assert second["delivery"]["traces"]["replayed"] == first["delivery"]["traces"]["spooled"]
    assert set(spans_of(inbox)) == {r["flows"][0]["trace_id"] for r in (first, second)}


def test_bad_files_and_settings_exit_2_with_every_fault(tmp_path: Path) -> None:
    """Faults go to standard error, one a line; nothing is run."""
    path = tmp_path / "flows.yaml"
    path.write_text("flows:\n  - name: f\n    every: 60\n    steps: [tokn]\n")
    done = otelprobe("once", str(path))
    assert done.returncode == 2
    assert "flows.yaml:3" in done.stderr
    assert "flows.yaml:4" in done.stderr
    assert done.stdout == ""
    assert otelprobe("once", str(path), env=environment(OTELPROBE_WORKERS="many")).returncode == 2
    assert otelprobe("once", str(tmp_path / "nothing.yaml")).returncode == 2
    assert otelprobe("once").returncode == 2


def test_an_interruption_keeps_what_is_done_and_exits_143(server: Server, tmp_path: Path) -> None:
    """SIGTERM during a run: finished flows are reported and exported, the others are named, and nothing hangs."""

    over = threading.Event()

    def hang(_: object) -> Answer:
        over.wait(60)
        return Answer(200)

    server.on("/quick", Answer(200))
    server.on("/slow", hang)
    steps = "steps: [{{step: call, url: '{}', auth: {{none: true}}}}]"
    path = tmp_path / "flows.yaml"
    path.write_text(
        f"flows:\n  - {{name: quick, {steps.format(server.url + '/quick')}}}\n"
        f"  - {{name: slow, deadline: 60s, {steps.format(server.url + '/slow')}}}\n"
    )
    with (
        http_receiver() as inbox,
        running(
            *("once", str(path), "--output", "json"),
            env=environment(OTEL_EXPORTER_OTLP_ENDPOINT=inbox.endpoint, OTELPROBE_WORKERS="1"),
        ) as process,
    ):
        while not any(seen.path == "/slow" for seen in server.seen):  # with one worker the quick flow is over by then
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
        over.set()
    assert process.returncode == 143
    report = json.loads(out)
    assert [f["flow"] for f in report["flows"]] == ["quick"]
    assert report["delivery"]["traces"]["sent"] > 0
    assert "without a verdict: slow" in err


def test_run_serves_reloads_and_drains(demo: Demo, flow: Path) -> None:
    """A long-lived prober: results arrive, a bad file keeps the old flows, SIGTERM flushes and exits 143."""
    flow.write_text(flow.read_text().replace("every: 10s", "every: 1s"))
    with http_receiver() as inbox, running(
        "run", str(flow), "--listen", "127.0.0.1:0", "--start-jitter", "0s",
        env=environment(demo, OTEL_EXPORTER_OTLP_ENDPOINT=inbox.endpoint, OTEL_BSP_SCHEDULE_DELAY="200"),
    ) as process:  # fmt: skip
        inbox.wait(lambda: len(spans_of(inbox)) >= 2)
        flow.write_text("flows: [")
        process.send_signal(signal.SIGHUP)
        count = len(spans_of(inbox))
        inbox.wait(lambda: len(spans_of(inbox)) > count + 1)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 143
    assert "old flows stay in force" in err
    assert inbox.requests["metrics"]


def test_plan_tells_the_number_of_series(flow: Path) -> None:
    """A line for each flow and one for all: series with native and with classic histograms, and what a failure adds."""
    told = otelprobe("plan", "--cardinality", str(flow))
    assert told.returncode == 0, told.stderr
    head, first, *_ = told.stdout.splitlines()
    assert head.split()[:3] == ["flow", "series", "classic"]
    native, classic = map(int, first.split()[1:3])
    assert 20 < native < classic
    assert any(line.startswith("all") for line in told.stdout.splitlines())


def test_plan_shows_no_secret_and_needs_none(flow: Path) -> None:
    """The wired flow is printed without any secret being there."""
    done = otelprobe("plan", str(flow))
    assert done.returncode == 0, done.stderr
    assert "*** from env OTELPROBE_DEMO_CLIENT_SECRET" in done.stdout
    assert "every 10s" in done.stdout


def test_validate_looks_for_secrets_unless_told_not_to(demo: Demo, flow: Path) -> None:
    """On the machine that runs it, a missing secret is a fault; in CI it need not be there."""
    done = otelprobe("validate", str(flow))
    assert done.returncode == 2
    assert "OTELPROBE_DEMO_CLIENT_SECRET" in done.stderr
    assert otelprobe("validate", "--no-secrets", str(flow)).returncode == 0
    assert otelprobe("validate", str(flow), env=environment(demo)).returncode == 0


def test_schema_explain_and_version() -> None:
    """The small commands say what they are for."""
    assert json.loads(otelprobe("schema").stdout)["$schema"].startswith("https://json-schema.org/")
    assert "audience" in otelprobe("explain", "audience_mismatch").stdout
    assert otelprobe("explain", "audiance_mismatch").returncode == 2
    assert otelprobe("--version").stdout.startswith("otelprobe ")
    assert otelprobe().returncode == 2


def test_demo_lists_faults_and_plays_one() -> None:
    """What the README shows works."""
    assert "stale-key-cache" in otelprobe("demo", "--list-faults").stdout
    done = otelprobe("demo", "--fault", "stale-key-cache")
    assert done.returncode == 1
    assert "api_rejects_valid_token" in done.stdout
    assert otelprobe("demo", "--fault", "no-such").returncode == 2


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_report_that_cannot_be_written_is_said_and_holds_no_telemetry_back(
    demo: Demo, flow: Path, form: str, tmp_path: Path
) -> None:
    """A full disk is no verdict on anybody: exit code 4, no traceback, and the collector hears of the run."""
    script = 'ulimit -f 0; exec "$0" -m otelprobe once "$1" --output "$2" >"$3"'
    with http_receiver() as inbox:
        done = subprocess.run(
            ["/bin/sh", "-c", script, sys.executable, str(flow), form, str(tmp_path / "report")],
            env=environment(demo, OTEL_EXPORTER_OTLP_ENDPOINT=inbox.endpoint, PYTHONDONTWRITEBYTECODE="1"),
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
        assert inbox.spans
    assert done.returncode == 4, done.stderr
    assert "the report could not be written" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "command",
    [["explain"], ["explain", "expired", "--output", "json"], ["demo", "--list-faults"], ["schema"], ["plan", "FLOW"]],
    ids=" ".join,
)
def test_a_full_disk_is_told_in_one_line(command: list[str], demo: Demo, flow: Path) -> None:
    """Whatever prints to a disk that is full says so and exits with 4, without a traceback."""
    words = [str(flow) if word == "FLOW" else word for word in command]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "otelprobe", *words],
            env=environment(demo),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert (done.returncode, done.stderr) == (
        4,
        "otelprobe: the output could not be written: No space left on device\n",
    )


def test_a_reader_that_goes_early_changes_no_verdict(demo: Demo, flow: Path) -> None:
    """`once | head` passes if the flow passes, and its telemetry leaves."""
    receive, send = os.pipe()
    os.close(receive)
    with http_receiver() as inbox:
        done = subprocess.run(
            [sys.executable, "-m", "otelprobe", "once", str(flow)],
            env=environment(demo, OTEL_EXPORTER_OTLP_ENDPOINT=inbox.endpoint),
            stdout=send,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
        assert inbox.spans
    os.close(send)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr


def test_a_report_file_that_cannot_be_written_is_told_before_anything_runs(flow: Path, tmp_path: Path) -> None:
    """The verdict of a run must not be lost for a path that was wrong from the start."""
    for path, form in ((tmp_path / "none" / "r.json", "json"), (tmp_path, "junit"), (tmp_path / "r.txt", "text")):
        done = otelprobe("once", str(flow), "--output", form, "--output-file", str(path))
        assert (done.returncode, done.stdout) == (2, ""), done.stderr
        assert done.stderr.startswith("--output-file: ")


def test_closed_streams_are_no_reason_to_break(demo: Demo, flow: Path) -> None:
    """A parent may start a process without standard output and error: the exit code still tells the verdict."""
    script = 'exec "$0" -m otelprobe once "$1" <&- >&- 2>&-'
    done = subprocess.run(
        ["/bin/sh", "-c", script, sys.executable, str(flow)], env=environment(demo), timeout=60, check=False
    )
    assert done.returncode == 0


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_log_line_is_one_line_whatever_is_told_in_it(form: str) -> None:
    """Text from a server or a file can neither forge a line nor reach the terminal as an escape sequence."""
    program = (
        f"from otelprobe.cli.logs import set_up_logs; set_up_logs('info', '{form}'); import logging; "
        "logging.getLogger('otelprobe').warning('%s', 'a\\x1b[31mb\\rforged\\nline\\x9b')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, timeout=60)
    (line,) = done.stderr.splitlines()
    assert line.isascii()
    assert not {0x1B, 0x0D} & set(line)
    assert b"forged" in line
