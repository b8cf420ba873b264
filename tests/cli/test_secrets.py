"""Nothing secret on any output: whole flows with a canary in every secret, token and claim, in good days and bad ones."""

import gzip
import json
import os
import socket
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from otelprobe.__main__ import main
from otelprobe.audit.marks import Marks
from otelprobe.steps.userinfo import UserInfo
from tests.cli.provider_of_secrets import CALLBACK, MODES, PLAIN, WORD, ProviderOfSecrets
from tests.conftest import free_port
from tests.saml_kit import ATTRIBUTE, NAME_ID, PASSWORD, SP, pair
from tests.telemetry.receiver import Inbox, http_receiver

KEY = f"audit-key-{WORD}-0123456789"
BASE64 = {b64encode(pad + WORD.encode() + b"xx").decode()[3:8] for pad in (b"", b"x", b"xx")}
"""What the word looks like in the midst of base64."""

FLOWS = f"""\
providers:
  p:
    issuer: URL
    client_id: me
    client_secret: {{env: THE_SECRET}}
    http: {{headers: {{x-gateway: {{env: THE_SECRET}}}}}}
audit:
  key: {{env: AUDIT_KEY}}
  claims: {{team: plain, email: hashed}}
  file: DIRECTORY/audit.jsonl
  checkpoint: {{key: {{file: DIRECTORY/signing.pem}}, lines: 5}}
flows:
  - name: person
    provider: p
    drift: {{}}
    steps:
      - discover
      - keys
      - {{step: authorize, redirect_uri: '{CALLBACK}', username: ann, password: {{env: THE_SECRET}}}}
      - {{step: token, grant: authorization_code, capture: {{id: $.id}}}}
      - {{step: id_token, algorithms: [ES256]}}
      - userinfo
      - {{step: call, url: 'URL/api/orders?id=${{id}}'}}
      - {{step: retained, url: URL/api/orders, always: true}}
  - name: machine
    provider: p
    steps:
      - discover
      - keys
      - {{step: token, grant: password, username: ann, password: {{env: THE_SECRET}}, capture: {{id: $.id}}}}
      - {{step: verify, algorithms: [ES256], audience: orders, claims: {{email: '{WORD}@example.com'}}}}
      - {{step: call, url: URL/api/orders}}
      - {{step: reject, url: URL/api/orders, cases: [safe, N7, N31], max_requests: 60, always: true, allow_intrusive: true,
         intrusive_hosts: [127.0.0.1], listener: {{url: 'http://127.0.0.1:LISTENER'}}}}
      - {{step: reject_at_provider, cases: [safe, N31], max_requests: 60, allow_intrusive: true, intrusive_hosts: [127.0.0.1],
         redirect_uri: '{CALLBACK}', always: true}}
      - refresh
      - introspect
      - {{step: posture, url: URL/api/orders, always: true}}
      - {{step: revoke, always: true}}
  - name: device
    provider: p
    steps:
      - discover
      - {{step: device, complete: true, username: ann, password: {{env: THE_SECRET}}}}
      - {{step: token, grant: device_code}}
  - name: saml
    steps:
      - {{step: saml_metadata, url: URL/metadata}}
      - {{step: saml_login, sp_entity_id: '{SP}', acs_url: URL/api/acs, username: ann, password: {{env: SAML_PASSWORD}},
          sp_key: {{file: DIRECTORY/sp.pem}}, deliver: true, cookie: sp}}
      - {{step: call, url: URL/api/orders}}
      - {{step: saml_reject, always: true, sp_entity_id: '{SP}', acs_url: URL/api/acs,
          username: ann, password: {{env: SAML_PASSWORD}}, retain_key: {{env: THE_SECRET}},
          cases: [saml_garbage, saml_changed_name, saml_forged_certificate, saml_expired],
          allow_intrusive: true, intrusive_hosts: [127.0.0.1]}}
  - name: session
    steps:
      - {{step: login, url: URL/api/login, json: {{deep: [{{env: THE_SECRET}}]}}, cookie: api}}
      - {{step: call, url: URL/api/orders}}
      - {{step: credential_expiry, url: URL/api/key, auth: {{api_key: {{header: X-Key, value: {{env: THE_SECRET}}}}}}}}
      - {{step: call, name: query, url: URL/api/orders, auth: {{api_key: {{query: key, value: {{env: THE_SECRET}}}}}}}}
"""
FLOW_NAMES = ("person", "machine", "device", "saml", "session")


class Scene:
    """The flow file, its secrets, and all that was said so far: streams, reports, telemetry, and what lies on the disk."""

    def __init__(self, directory: Path, inbox: Inbox, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
        self.directory, self.inbox, self._capsys = directory, inbox, capsys
        self.provider = ProviderOfSecrets()
        self.said: list[str] = []
        self.environment = {
            "THE_SECRET": f"secret-{WORD}",
            "AUDIT_KEY": KEY,
            "SAML_PASSWORD": PASSWORD,
            "OTELPROBE_STATE_DIR": str(directory / "state"),
            "OTELPROBE_SPOOL_DIR": str(directory / "spool"),
            "OTELPROBE_LOG_LEVEL": "debug",
            "OTEL_EXPORTER_OTLP_ENDPOINT": inbox.endpoint,
            "OTEL_EXPORTER_OTLP_HEADERS": f"x-key={WORD}",
            "OTEL_EXPORTER_OTLP_TIMEOUT": "2000",
        }
        for name, value in self.environment.items():
            monkeypatch.setenv(name, value)
        (directory / "sp.pem").write_text(pair("sp").key_pem)
        self.path = directory / "flows.yaml"
        self.path.write_text(
            FLOWS.replace("URL", self.provider.url)
            .replace("LISTENER", str(free_port()))
            .replace("DIRECTORY", str(directory))
        )
        assert main(["jwt", "keygen", "--alg", "Ed25519", "--out", str(directory / "signing.pem")]) == 0

    def run(self, *words: str) -> tuple[int, str]:
        """Run a command in this process and keep what it says."""
        code = main(list(words))
        out, err = self._capsys.readouterr()
        self.said += [out, err]
        return code, out

    def once(self, *words: str) -> dict[str, Any]:
        """Run all flows, with the waterfall on the terminal and the JSON report in a file; give that."""
        report = self.directory / "report"
        self.run("once", str(self.path), "--output", "json", "--output-file", str(report), "--color", "always", *words)
        self.said.append(report.read_text())
        flows = json.loads(self.said[-1])["flows"]
        return {flow["flow"]: flow for flow in flows}

    def everything(self) -> Iterator[tuple[str, bytes]]:
        """Give all that can be read outside, each with where it was found."""
        yield from (("output", text.encode()) for text in self.said)
        for body in self.inbox.bodies:
            yield "telemetry", body
        for name in ("state", "spool"):
            for file in sorted((self.directory / name).rglob("*")):
                if file.is_file():
                    data = file.read_bytes()
                    yield f"{name} {file.name}", gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
        yield "audit file", self.audit().encode()

    def audit(self) -> str:
        """Give the audit file's text."""
        file = self.directory / "audit.jsonl"
        return file.read_text() if file.exists() else ""

    def leaks(self) -> list[tuple[str, str]]:
        """Give every secret that got out: where, and what stands around it."""
        plain = {WORD, NAME_ID, ATTRIBUTE, PASSWORD, *self.provider.all_noted()}
        needles = [n.encode() for n in (*plain, *BASE64)]
        return [
            (where, data[max(0, data.index(n) - 60) : data.index(n) + 60].decode(errors="replace"))
            for where, data in self.everything()
            for n in needles
            if n in data
        ]


@pytest.fixture
def scene(tmp_path_factory: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> Iterator[Scene]:
    with http_receiver() as inbox:
        scene = Scene(tmp_path_factory.mktemp("run"), inbox, monkeypatch, capsys)
        yield scene
        scene.provider.server.stop()


def test_whole_flows_tell_nothing(scene: Scene) -> None:
    """Healthy: no secret and no claim but the one that the audit trail may tell, hashed where it says so, is anywhere."""
    flows = scene.once()
    assert {name: flow["detail"] for name, flow in flows.items() if flow["outcome"] != "pass"} == {}
    assert set(flows) == set(FLOW_NAMES)
    assert scene.leaks() == []
    assert any(WORD in seen.headers.get("x-gateway", "") for seen in scene.provider.server.seen)
    trail = scene.audit()
    assert f'"team":"{PLAIN}"' in trail
    assert str(Marks(KEY.encode()).of("claim:email", f"{WORD}@example.com")) in trail
    assert str(Marks(KEY.encode()).of("subject", NAME_ID)) in trail
    where = {where for where, data in scene.everything() if PLAIN.encode() in data}
    assert where == {"audit file", "telemetry"}


@pytest.mark.parametrize("mode", MODES[1:])
def test_no_failure_tells_anything(scene: Scene, mode: str) -> None:
    """After a healthy run, one in which provider and API fail: still nothing, on any report and in any store."""
    scene.once("--exit-zero")
    scene.provider.mode = mode
    flows = scene.once()
    assert "fail" in {flow["outcome"] for flow in flows.values()}
    scene.run("once", str(scene.path), "--output", "junit")
    assert scene.leaks() == []
    assert {p.name.split("-")[0] for p in (scene.directory / "state").iterdir()}


def test_a_crash_of_ours_tells_nothing(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug whose message holds the token, in a step that has it at hand, is told by its kind and place."""

    def broken(_step: UserInfo, ctx: Any) -> None:
        raise RuntimeError(f"{WORD} {ctx.made}")

    monkeypatch.setattr(UserInfo, "run", broken)
    assert scene.once()["person"]["reason"] == "prober_error"
    assert "RuntimeError" in "".join(scene.said)
    assert scene.leaks() == []


def test_what_waits_on_the_disk_tells_nothing(scene: Scene) -> None:
    """Telemetry that could not be delivered is spooled, state is kept for the next run: both hold no secret."""
    scene.inbox.mode = "503"
    scene.provider.mode = "talkative"
    scene.once()
    assert [f for f in (scene.directory / "spool").rglob("*") if f.is_file()]
    assert [f for f in (scene.directory / "state").rglob("*") if f.is_file()]
    assert scene.leaks() == []


@pytest.mark.parametrize("mode", ["healthy", "weak"])
def test_posture_reports_tell_nothing(scene: Scene, mode: str) -> None:
    """As text, JSON and SARIF; the audit file is written as by `once`."""
    scene.provider.mode = mode
    for form in ("text", "json", "sarif"):
        _, out = scene.run("posture", str(scene.path), "--output", form)
        assert "jti" in out or "tokens-not-bound" in out or "rule" in out
    assert scene.leaks() == []
    assert '"kind":"posture"' in scene.audit()


def test_commands_that_read_the_flow_file_tell_nothing(scene: Scene) -> None:
    """plan, plan --cardinality, validate and audit verify, with every secret at hand."""
    scene.once()
    claim = f"{WORD}@example.com"  # what the flow file itself compares with is no secret of anybody's
    for words in (["plan"], ["plan", "--cardinality"], ["validate"]):
        code, out = scene.run(words[0], str(scene.path), *words[1:])
        assert code == 0, out
        scene.said = [text.replace(claim, "") for text in scene.said]
    assert scene.run("audit", "verify", str(scene.directory / "audit.jsonl"))[0] == 0
    assert scene.leaks() == []


def test_a_serving_prober_tells_nothing(scene: Scene) -> None:
    """Its log at the finest level, its health pages and its telemetry; ended by SIGTERM."""
    scene.provider.mode = "talkative"
    environment = {**os.environ, **scene.environment}
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    words = ["run", str(scene.path), "--listen", address, "--start-jitter", "0s"]
    process = subprocess.Popen(
        [sys.executable, "-m", "otelprobe", *words],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        scene.inbox.wait(lambda: len(scene.inbox.requests["logs"]) > 0, 60)
        for page in ("readyz", "livez"):
            scene.said.append(requests.get(f"http://{address}/{page}", timeout=10).text)
    finally:
        process.terminate()
        scene.said += process.communicate(timeout=60)
    assert scene.leaks() == []


def test_the_workbench_shows_claims_only_when_asked(scene: Scene, tmp_path: Path) -> None:
    """`jwt decode` prints claims on purpose, but neither signature nor raw token; the other actions nothing of it."""
    issued = scene.provider._issue(aud="orders")
    scene.provider.noted.clear()
    file = tmp_path / "token"
    file.write_text(issued)
    assert WORD in scene.run("jwt", "decode", str(file))[1]
    assert not [part for part in issued.split(".") if part in "".join(scene.said)]
    scene.said.clear()
    for words in (["verify", str(file), "--issuer", scene.provider.url, "--audience", "x"], ["weak", str(file)]):
        scene.run("jwt", *words)
    scene.provider.noted.update(issued.split("."))
    assert len("".join(scene.said)) > 50
    assert scene.leaks() == []
