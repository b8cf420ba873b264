"""Secrets as a kubelet mounts them: what is missing is told by flow and key, stops nobody else, and is used once it is there."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from otelprobe.demo import start_demo
from otelprobe.demo.server import Demo
from tests.stack.pod import Mounted

PROVIDER = "  {name}: {{issuer: {issuer}, client_id: {client}, client_secret: {{file: {file}}}}}"
FLOW = """\
  - name: {name}
    provider: {name}
    every: 1s
    deadline: 1s
    steps: [discover, {{step: token, grant: client_credentials, scope: "orders:read"}}]
"""

Told = Callable[[str, str], dict[str, Any]]


@pytest.fixture(scope="module")
def demo() -> Iterator[Demo]:
    """The provider that all flows ask."""
    with start_demo() as running:
        yield running


def written(folder: Path, demo: Demo, **files: Path) -> Path:
    """Write a flow for each secret file, all with the demo's client."""
    providers = [PROVIDER.format(name=n, issuer=demo.issuer, client=demo.client_id, file=f) for n, f in files.items()]
    flows = [FLOW.format(name=name) for name in files]
    path = folder / "flows.yaml"
    path.write_text("\n".join(["providers:", *providers, "flows:", *flows]), encoding="utf-8")
    return path


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Callable[[Path], Told]]:
    """Give what starts `otelprobe run` and waits for a flow's next outcome in its log."""
    started: list[subprocess.Popen[bytes]] = []

    def start(flows: Path) -> Told:
        log = tmp_path / "log"
        environment = {"OTELPROBE_LISTEN": "none", "OTELPROBE_LOG_FORMAT": "json", "OTELPROBE_START_JITTER": "0s"}
        command = [sys.executable, "-m", "otelprobe", "run", str(flows)]
        with log.open("wb") as output:
            process = subprocess.Popen(command, env=environment, stderr=output, cwd=tmp_path)
        started.append(process)

        def told(flow: str, outcome: str) -> dict[str, Any]:
            ends = time.monotonic() + 60
            while True:
                text = log.read_text(encoding="utf-8")
                lines = [json.loads(line) for line in text.splitlines() if line.endswith("}")]
                found = [line for line in lines if line.get("flow") == flow]
                if found and found[-1]["outcome"] == outcome:
                    return dict(found[-1])
                assert process.poll() is None, text
                assert time.monotonic() < ends, f"no {outcome} of {flow} within a minute:\n{text}"
                time.sleep(0.05)

        return told

    yield start
    for process in started:
        process.terminate()
        process.wait(30)


def test_a_missing_key_stops_its_flow_and_no_other(demo: Demo, tmp_path: Path, running: Callable[[Path], Told]) -> None:
    """The flow whose key a Secret lacks is `secret_missing`, with file and key, until the key is there; the others pass."""
    volume = tmp_path / "secrets"
    secret = Mounted(volume, {"client-secret": demo.client_secret})
    told = running(written(tmp_path, demo, good=volume / "client-secret", lacking=volume / "other-secret"))
    failed = told("lacking", "error")
    assert (failed["reason"], failed["blame"], failed["counts"]) == ("secret_missing", "config", "none")
    why = f"secret file {volume}/other-secret: No such file or directory; what is mounted there has client-secret"
    assert f"{why}, and no key other-secret" in failed["message"]
    assert told("good", "pass")
    secret.update({"client-secret": demo.client_secret, "other-secret": demo.client_secret})
    assert told("lacking", "pass"), "a key that was added is used without a restart"
    assert demo.client_secret not in (tmp_path / "log").read_text(encoding="utf-8")


def test_a_missing_secret_stops_its_flows_and_no_other(
    demo: Demo, tmp_path: Path, running: Callable[[Path], Told]
) -> None:
    """Of an optional Secret that is not there, and of one that is mounted nowhere, the message says which of the two."""
    (tmp_path / "here").mkdir()
    Mounted(tmp_path / "here" / "good", {"client-secret": demo.client_secret})
    absent = Mounted(tmp_path / "absent", {})
    files = {name: tmp_path / place / "client-secret" for name, place in
             (("good", "here/good"), ("absent", "absent"), ("nowhere", "nowhere"))}  # fmt: skip
    told = running(written(tmp_path, demo, **files))
    for name, why in (
        ("absent", "what is mounted there is empty: does the Secret exist in this namespace?"),
        ("nowhere", f"there is no {tmp_path}/nowhere either: is it mounted?"),
    ):
        failed = told(name, "error")
        assert failed["reason"] == "secret_missing"
        assert f"secret file {files[name]}: No such file or directory; {why}" in failed["message"]
    assert told("good", "pass")
    absent.update({"client-secret": demo.client_secret})
    assert told("absent", "pass"), "a Secret that was made later is used without a restart"
