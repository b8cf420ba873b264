"""What the audit trail says of a run: who, what, when and how, linked from issuance to revocation, and never a secret."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from otelprobe.__main__ import main
from otelprobe.audit.file import AuditFile, FileOptions
from otelprobe.audit.limit import Limiter
from otelprobe.audit.marks import Marks, read_key
from otelprobe.audit.records import records_of
from otelprobe.audit.settings import Audit
from otelprobe.demo import flow_yaml, start_demo
from otelprobe.demo.server import Demo
from otelprobe.fields import Rate, SecretRef
from otelprobe.result import AuditEvent, AuditFact
from tests.telemetry.samples import ISSUED, passed, step

KEY = "audit-key-canary-0123456789"


def test_hashes_are_of_one_kind_and_one_key():
    """The same value gives the same hash under the same key and kind only, and none without a key."""
    marks = Marks(KEY.encode())
    assert marks.of("subject", "ann") == marks.of("subject", "ann")
    assert len({marks.of("subject", "ann"), marks.of("token", "ann"), Marks(b"x" * 16).of("subject", "ann")}) == 3
    assert Marks(None).of("subject", "ann") is None
    assert marks.of("token", "") is None


def test_claims_are_denied_unless_listed():
    """A claim that is not listed is left out, one that is listed is told as it is or hashed, and cut short."""
    claims = {"scope": "a b", "email": "ann@example.org", "aud": ["x", "y"], "admin": True, "address": {"street": "s"}}
    marks = Marks(KEY.encode())
    told = marks.claims(
        {"scope": "plain", "aud": "plain", "admin": "plain", "address": "plain", "none": "plain"}, claims
    )
    assert told == {"scope": "a b", "aud": "x y", "admin": "true"}
    assert marks.claims({"email": "hashed"}, claims) == {"email": marks.of("claim:email", "ann@example.org")}
    assert Marks(None).claims({"email": "hashed"}, claims) == {}
    assert len(marks.claims({"scope": "plain"}, {"scope": "x" * 5000})["scope"]) == 200


def test_a_key_that_protects_nothing_is_refused(tmp_path):
    """A missing or short key is named by its place, never by what it is."""
    (tmp_path / "short").write_text("canary")
    with pytest.raises(ValueError, match="is shorter than 16 characters") as caught:
        read_key(SecretRef(file=str(tmp_path / "short")))
    assert "canary" not in str(caught.value)
    with pytest.raises(ValueError, match="No such file"):
        read_key(SecretRef(file=str(tmp_path / "none")))


def run_at(second: float, *facts: AuditFact, flow: str = "orders"):
    row = step("token", at=second, lasts=0.0, audit=facts)
    return passed(flow, steps=(row,))


def test_a_limit_holds_back_successes_and_says_how_many():
    """Each flow and kind has its own count; the event after the gap tells what was held back."""
    limiter = Limiter(Rate(2, 10.0))
    shown = []
    for second in (0, 1, 2, 3, 11, 12):
        result, held = limiter.admit(run_at(second, ISSUED))
        shown.append(
            (len(result.steps[0].audit), held, result.steps[0].audit[0].held_back if result.steps[0].audit else 0)
        )
    assert shown == [(1, 0, 2), (1, 0, 2), (0, 1, 0), (0, 1, 0), (1, 0, 2), (1, 0, 2)]
    other, held = limiter.admit(run_at(3, ISSUED, flow="invoices"))
    assert (len(other.steps[0].audit), held) == (1, 0)
    assert limiter.untold() == {}


def test_a_failure_is_never_held_back():
    """However many failures there are, each is told, and what was held back before is told with the next event."""
    limiter = Limiter(Rate(1, 60.0))
    bad = AuditFact(event=AuditEvent.REJECTED, passed=False)
    good = AuditFact(event=AuditEvent.REJECTED, passed=True)
    for second in range(5):
        result, held = limiter.admit(run_at(second, bad, good))
        told = result.steps[0].audit
        assert told[0] == replace(bad, held_back=1 if second else 0)
        assert (len(told), held) == (1, 1)
    assert limiter.untold() == {("orders", AuditEvent.REJECTED): 1}


def test_a_record_tells_what_is_known_and_no_more():
    """Empty members are left out; times are UTC; ids are those of trace and span."""
    (record,) = records_of(run_at(1.5, replace(ISSUED, held_back=0)))
    assert record["time"] == "2026-05-28T20:26:41.500Z"
    assert record["claims"] == {"scope": "orders:read"}
    assert "held_back" not in record
    assert "previous_id" not in record
    assert len(str(record["trace_id"])) == 32


@pytest.fixture(scope="module")
def demo() -> Iterator[Demo]:
    with start_demo() as running:
        yield running


class Told:
    """What a run of the demo's flow left: exit code, outputs, and the audit file's records."""

    def __init__(self, directory: Path, demo: Demo, monkeypatch, capsys, block: str, change=lambda text: text) -> None:
        for name, value in demo.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("AUDIT_KEY", KEY)
        self.path = directory / "audit.jsonl"
        flow = directory / "flow.yaml"
        flow.write_text(change(flow_yaml(demo)) + f"\naudit: {{file: {self.path}, {block}}}\n")
        self.code = main(["once", str(flow), "--output", "json"])
        self.out = "".join(capsys.readouterr())
        self.text = self.path.read_text() if self.path.exists() else ""
        self.records = [json.loads(line) for line in self.text.splitlines()]
        self.facts = [r for r in self.records if "flow" in r]

    def events(self) -> list[tuple[str, str, bool]]:
        return [(r["event"], r["kind"], r["passed"]) for r in self.facts]


def test_a_run_is_told_from_issuance_to_revocation(tmp_path, demo, monkeypatch, capsys):
    """One id links issuance, verification, use, refresh, introspection and revocation; where it was shown is told."""
    told = Told(tmp_path, demo, monkeypatch, capsys, "key: {env: AUDIT_KEY}, claims: {scope: plain, sub: hashed}")
    assert told.code == 0
    assert told.events() == [
        ("issued", "token", True),
        ("validated", "verify", True),
        ("validated", "call", True),
        ("rejected", "reject", True),
        ("refreshed", "refresh", True),
        ("introspected", "introspect", True),
        ("revoked", "revoke", True),
    ]
    by = {r["kind"]: r for r in told.facts}
    first, second = by["token"]["id"], by["refresh"]["id"]
    assert first != second
    assert {by[kind]["id"] for kind in ("verify", "call", "reject")} == {first}
    assert {by[kind]["id"] for kind in ("introspect", "revoke")} == {second}
    assert by["refresh"]["previous_id"] == first
    assert len({r["subject"] for r in told.facts}) == 1
    assert (by["call"]["method"], by["call"]["route"], by["call"]["status"]) == ("GET", "/orders", 200)
    assert "route" not in by["verify"]
    assert by["revoke"]["part"] == "refresh_token"
    assert by["token"]["claims"]["scope"] == "openid orders:read"
    assert set(by["token"]["claims"]) == {"scope", "sub"}
    assert len(by["reject"]["cases"]) == 5
    trace = json.loads(told.out[told.out.index("{") : told.out.rindex("}") + 1])["flows"][0]["trace_id"]
    assert {r["trace_id"] for r in told.facts} == {trace}
    assert main(["audit", "verify", str(told.path)]) == 0
    assert capsys.readouterr().out.startswith("OK: 8 records, 1..8, no checkpoints")


def test_no_secret_and_no_unlisted_claim_is_in_the_trail(tmp_path, demo, monkeypatch, capsys):
    """Neither tokens nor secrets, nor the key, nor a claim that is not listed is in the file or in what is printed."""
    told = Told(tmp_path, demo, monkeypatch, capsys, "key: {env: AUDIT_KEY}")
    secrets = (demo.client_secret, demo.password, demo.username, KEY, "eyJ")
    assert not [s for s in secrets if s in told.text + told.out]
    # An opaque token is nothing but a long word; the only long words in there are hashes and ids of trace and span.
    long = {v for r in told.records for v in r.values() if isinstance(v, str) and len(v) > 24}
    assert not [v for v in long if not re.fullmatch("[0-9a-f]{32}|[0-9a-f]{64}", v)]
    assert "claims" not in told.text
    assert KEY not in repr(Audit(key=SecretRef(env="AUDIT_KEY")))


def test_without_a_key_there_are_no_hashes(tmp_path, demo, monkeypatch, capsys):
    """A plain hash of a subject could be guessed back: without a key neither subject nor id is told."""
    told = Told(tmp_path, demo, monkeypatch, capsys, "sync: never")
    assert len(told.facts) == 7
    assert not [r for r in told.facts if {"subject", "id", "previous_id"} & set(r)]


def test_a_good_token_that_is_refused_is_a_rejection(tmp_path, demo, monkeypatch, capsys):
    """A refusal that should not be is told with its reason; the clean-up is told as well."""
    with start_demo(["stale-key-cache"]) as broken:
        told = Told(tmp_path, broken, monkeypatch, capsys, "key: {env: AUDIT_KEY}")
    assert told.code == 1
    bad = [r for r in told.facts if not r["passed"]]
    assert [(r["event"], r["kind"], r["reason"], r["status"]) for r in bad] == [
        ("rejected", "call", "api_rejects_valid_token", 401)
    ]
    assert bad[0]["id"] == told.facts[0]["id"]
    assert told.events()[-1] == ("revoked", "revoke", True)


def test_an_outage_is_no_rejection(tmp_path, demo, monkeypatch, capsys):
    """Where nobody judged a credential, the trail says nothing of it."""
    with start_demo(["token-down"]) as broken:
        told = Told(tmp_path, broken, monkeypatch, capsys, "key: {env: AUDIT_KEY}")
    assert told.code == 1
    assert told.events() == []


def test_a_refusal_that_was_expected_is_told_as_one(tmp_path, demo, monkeypatch, capsys):
    """A call that must be refused after a revocation, and is, is a rejection that passed."""
    after = """      - {step: revoke, name: end, token: access}
      - {step: call, name: again, url: API/orders, auth: {scheme: Nonesuch}, expect: {status: 401}}
"""

    def change(text: str) -> str:
        return text[: text.index("      - step: reject")] + after.replace("API", demo.api_url)

    told = Told(tmp_path, demo, monkeypatch, capsys, "key: {env: AUDIT_KEY}", change)
    last = told.facts[-1]
    assert (last["event"], last["step"], last["passed"], last["status"]) == ("rejected", "again", True, 401)


@pytest.mark.parametrize(
    ("block", "line"),
    [
        ("key: {env: NO_SUCH_KEY}", "audit.key: environment variable NO_SUCH_KEY is not set or empty"),
        ("key: {env: SHORT}", "audit.key: the key in env SHORT is shorter than 16 characters: draw a random one"),
        (
            "checkpoint: {key: {env: AUDIT_KEY}}",
            "audit.checkpoint.key: env AUDIT_KEY: no Ed25519 private key in PEM form",
        ),
    ],
)
def test_a_trail_that_cannot_be_kept_is_refused_before_anything_runs(tmp_path, demo, monkeypatch, capsys, block, line):
    """The message names file, line and member; nothing is run, and no value is shown."""
    monkeypatch.setenv("SHORT", "canary")
    told = Told(tmp_path, demo, monkeypatch, capsys, block)
    assert told.code == 2
    assert line in told.out
    assert "flow.yaml:" in told.out
    assert not told.facts
    assert "canary" not in told.out


def test_two_runs_on_one_file_are_refused(tmp_path, demo, monkeypatch, capsys):
    """A file that another process writes is refused with the mend."""
    held = AuditFile(FileOptions(path=tmp_path / "audit.jsonl", clock=lambda: 0))
    told = Told(tmp_path, demo, monkeypatch, capsys, "sync: never")
    held.close()
    assert told.code == 2
    assert "another process writes it; give each process a file of its own" in told.out


def test_the_command_says_where_a_file_was_changed(tmp_path, demo, monkeypatch, capsys):
    """Exit code, line and kind for an edit; another exit code for what cannot be read."""
    told = Told(tmp_path, demo, monkeypatch, capsys, "key: {env: AUDIT_KEY}")
    told.path.write_text(told.text.replace('"status":200', '"status":204', 1))
    assert main(["audit", "verify", str(told.path)]) == 1
    assert f"{told.path}:2: edited: its content is not what was written" in capsys.readouterr().out
    assert main(["audit", "verify", str(told.path), "--output", "json"]) == 1
    assert json.loads(capsys.readouterr().out)["damage"][0]["kind"] == "edited"
    assert main(["audit", "verify", str(tmp_path / "none")]) == 2
    assert main(["audit", "verify", str(told.path), "--key", str(told.path)]) == 2
