"""The audit file: a chain that shows every change, and that survives what happens to files."""

import errno
import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from otelprobe.audit.chain import Link, chain_line
from otelprobe.audit.check import Report, check
from otelprobe.audit.file import AuditFile, AuditFileError, FileOptions, read_head, renamed_files
from otelprobe.audit.seal import SealChecker, Signer

NOW = 1_795_000_000_000_000_000
PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PEM = PRIVATE.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
PUBLIC = PRIVATE.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def records(count: int, first: int = 0) -> list[dict[str, object]]:
    return [{"time": "2026-11-22T10:00:00.000Z", "event": "issued", "n": first + n} for n in range(count)]


def opened(path: Path, **more) -> AuditFile:
    return AuditFile(FileOptions(path=path, clock=lambda: NOW, **more))


def written(path: Path, count: int = 7, **more) -> list[bytes]:
    """Write a file of a start and some records; give its lines."""
    file = opened(path, **more)
    for record in records(count):
        assert file.write([record]) == 0
    file.close()
    return path.read_bytes().splitlines(keepends=True)


def looked_at(path: Path, key: str | None = PUBLIC) -> Report:
    return check([*renamed_files(path), path], None if key is None else SealChecker(key), read_head(path))


def found(path: Path, lines: list[bytes], key: str | None = None) -> list[tuple[int, str]]:
    path.write_bytes(b"".join(lines))
    return [(d.line, d.kind) for d in looked_at(path, key).damage]


def test_an_untouched_file_is_good(tmp_path):
    """Every record is counted, the signed end seals all of them, and a number says where the file begins and ends."""
    path = tmp_path / "audit.jsonl"
    lines = written(path, signer=Signer(PEM), lines=3)
    report = looked_at(path)
    assert report.good
    assert (report.records, report.first, report.last) == (len(lines), 1, len(lines))
    assert (report.checkpoints, report.unsealed, report.torn) == (3, 0, 0)
    assert [json.loads(line)["event"] for line in lines].count("checkpoint") == 3
    assert path.stat().st_mode & 0o777 == 0o600


def test_an_edit_of_any_byte_of_any_line_is_found_at_its_line(tmp_path):
    """Whichever byte is changed, the line that holds it is named, and no other."""
    path = tmp_path / "audit.jsonl"
    lines = written(path, 2)
    for number, line in enumerate(lines, 1):
        for at in range(len(line) - 1):
            changed = bytearray(line)
            changed[at] ^= 1
            if changed[at] == 10:
                changed[at] = 11
            damage = found(path, [*lines[: number - 1], bytes(changed), *lines[number:]])
            assert damage == [(number, "edited")], (number, at)


def test_every_deletion_is_found_where_the_record_stood(tmp_path):
    """Any run of lines that is cut out is missed at the line that follows it; at the end the file is too short."""
    path = tmp_path / "audit.jsonl"
    lines = written(path, 6)
    for start in range(len(lines)):
        for end in range(start + 1, len(lines) + 1):
            damage = found(path, [*lines[:start], *lines[end:]])
            kind = "deleted" if end < len(lines) else "truncated"
            assert damage == [(start + 1, kind)], (start, end)


def test_every_copy_is_found_where_it_was_put(tmp_path):
    """A record that was put in once more is named where it does not belong."""
    path = tmp_path / "audit.jsonl"
    lines = written(path, 5)
    for source in range(len(lines)):
        for at in range(len(lines) + 1):
            if at in {source, source + 1}:
                continue  # beside itself either of the two may be called the copy
            assert found(path, [*lines[:at], lines[source], *lines[at:]]) == [(at + 1, "inserted")], (source, at)
            assert found(path, [*lines[:at], b'{"made":"up"}\n', *lines[at:]])[0] in {
                (at + 1, "inserted"),
                (at + 1, "edited"),
            }


def test_every_move_and_swap_is_found(tmp_path):
    """A record that was moved is named; of two that were swapped, nothing but these is."""
    path = tmp_path / "audit.jsonl"
    lines = written(path, 6)
    for source in range(len(lines)):
        for at in range(len(lines)):
            if abs(source - at) < 2:
                continue
            rest = [line for line in lines if line is not lines[source]]
            assert found(path, [*rest[:at], lines[source], *rest[at:]]) == [(at + 1, "reordered")], (source, at)
    for one in range(len(lines) - 1):
        swapped = [*lines[:one], lines[one + 1], lines[one], *lines[one + 2 :]]
        ((line, kind),) = found(path, swapped)
        assert (line in {one + 1, one + 2}, kind) == (True, "reordered")


def test_an_edit_with_a_hash_made_anew_is_found(tmp_path):
    """Who knows how hashes are made still cannot change one record: the next one names the hash that it had."""
    path = tmp_path / "audit.jsonl"
    lines = written(path, 5)
    for index in range(1, len(lines)):
        before = json.loads(lines[index - 1])
        forged, _ = chain_line({"event": "issued", "n": "forged"}, Link(before["seq"], before["hash"]))
        assert found(path, [*lines[:index], forged, *lines[index + 1 :]]) == [(index + 1, "edited")]


def test_a_chain_written_anew_fails_by_its_signatures(tmp_path):
    """Who writes the whole file anew lacks the key: a foreign signature is forged, and none at all is unsigned."""
    path = tmp_path / "audit.jsonl"
    stranger = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    lines = written(path, 3, signer=Signer(stranger))
    assert found(path, lines, PUBLIC) == [(len(lines), "forged")]
    other = tmp_path / "other.jsonl"
    lines = written(other, 3)
    assert found(other, lines, PUBLIC) == [(len(lines), "unsigned")]
    assert found(other, lines, None) == []


def test_a_restart_goes_on_with_the_chain(tmp_path):
    """Processes that follow each other write one chain, and each says that it started."""
    path = tmp_path / "audit.jsonl"
    for round_ in range(3):
        written(path, 2, signer=Signer(PEM))
        assert looked_at(path).good, round_
    events = [json.loads(line) for line in path.read_text().splitlines()]
    assert [e["why"] for e in events if e["event"] == "started"] == ["new", "resumed", "resumed"]
    assert [e["seq"] for e in events] == list(range(1, len(events) + 1))


@pytest.mark.parametrize("left", [1, 50, -1])
def test_a_record_that_was_not_finished_is_told_apart_from_an_edit(tmp_path, left):
    """A process that is killed while it writes leaves a torn line: no damage; the next process says what it cut off."""
    path = tmp_path / "audit.jsonl"
    file = opened(path)
    file.write(records(2))
    whole = path.read_bytes()
    line, _ = chain_line({"event": "issued"}, Link(3, "0" * 64))
    path.write_bytes(whole + line[:left])
    report = looked_at(path, None)
    assert (report.good, report.torn, report.records) == (True, len(line[:left]), 3)
    file.close()
    path.write_bytes(whole + line[:left])
    written(path, 1)
    assert looked_at(path, None).good
    starts = [json.loads(text) for text in path.read_text().splitlines() if '"started"' in text]
    assert starts[-1]["torn_bytes"] == len(line[:left])


def test_a_killed_process_leaves_a_file_that_goes_on(tmp_path):
    """SIGKILL in the midst of writing costs no record that was written, and the next process goes on."""
    path = tmp_path / "audit.jsonl"
    code = f"""
import time
from pathlib import Path
from otelprobe.audit.file import AuditFile, FileOptions
file = AuditFile(FileOptions(path=Path({str(path)!r}), clock=time.time_ns))
while True:
    file.write([{{"event": "issued"}}] * 50)
    print(flush=True)
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout is not None
    for _ in range(20):
        process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    process.stdout.close()
    before = looked_at(path, None)
    assert before.good
    assert before.records >= 1000
    written(path, 1)
    assert looked_at(path, None).records == before.records + 2


def test_two_processes_on_one_file_are_refused(tmp_path):
    """A file that is being written cannot be opened once more; when it is given back, it can."""
    path = tmp_path / "audit.jsonl"
    file = opened(path)
    with pytest.raises(AuditFileError, match="another process writes it; give each process a file of its own"):
        opened(path)
    file.close()
    opened(path).close()


def test_a_full_file_is_renamed_and_the_chain_goes_on(tmp_path):
    """Rotation carries the chain over, so that a file that is missing between two others is seen; old ones may go."""
    path = tmp_path / "audit.jsonl"
    written(path, 120, signer=Signer(PEM), rotate=4096)
    files = renamed_files(path)
    assert len(files) > 3
    assert looked_at(path).good
    assert check(files[1:3], SealChecker(PUBLIC)).good
    middle = check([*files[:1], *files[2:]], SealChecker(PUBLIC))
    assert [(d.file, d.line, d.kind) for d in middle.damage] == [(str(files[2]), 1, "deleted")]
    kept = tmp_path / "kept" / "audit.jsonl"
    written(kept, 120, rotate=4096, keep=2)
    assert len(renamed_files(kept)) == 2
    assert looked_at(kept, None).good


def test_a_tail_cut_off_between_two_processes_is_missed_for_ever(tmp_path):
    """The next process goes on behind what the head says was written, so that the gap stays visible."""
    path = tmp_path / "audit.jsonl"
    lines = written(path, 5)
    path.write_bytes(b"".join(lines[:-2]))
    file = opened(path)
    assert file.fault is not None
    assert "lacks its last 2 records" in file.fault
    file.close()
    damage = looked_at(path, None).damage
    assert [(d.line, d.kind, d.detail) for d in damage] == [(5, "deleted", "records 5 to 6 are missing before it")]


def test_a_damaged_end_is_put_aside(tmp_path):
    """A file whose last record was changed is kept for whoever looks into it, and a new one is begun."""
    path = tmp_path / "audit.jsonl"
    lines = written(path, 3)
    path.write_bytes(b"".join(lines[:-1]) + lines[-1].replace(b"issued", b"isxued"))
    file = opened(path)
    assert file.fault is not None
    assert "was renamed to" in file.fault
    file.close()
    (aside,) = (p for p in tmp_path.glob("audit.jsonl.damaged-*") if not p.name.endswith(".head"))
    assert b"isxued" in aside.read_bytes()


def test_a_full_disk_loses_records_and_stops_nothing(tmp_path):
    """What does not fit is counted and told once, nothing half-written stays, and when there is room again it is said."""
    path = tmp_path / "audit.jsonl"
    file = opened(path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 100, before[1]))
        assert file.write(records(3)) == 3
        assert file.fault is not None
        assert os.strerror(errno.ENOSPC) in file.fault or os.strerror(errno.EFBIG) in file.fault
        file.fault = None
        assert file.write(records(2)) == 2
        assert file.fault is None
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert file.write(records(1)) == 0
    file.close()
    assert looked_at(path, None).good
    events = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(e["event"], e.get("records")) for e in events] == [("started", None), ("lost", 5), ("issued", None)]


def test_a_directory_that_cannot_be_written_is_told(tmp_path):
    """The message names the file and why."""
    (tmp_path / "file").write_text("")
    with pytest.raises(AuditFileError, match=r"audit\.jsonl: "):
        opened(tmp_path / "file" / "audit.jsonl")


@pytest.mark.parametrize("sync", ["always", "checkpoint", "never"])
def test_every_way_to_sync_writes_the_same(tmp_path, sync):
    """When the disk is waited for changes nothing in the file."""
    path = tmp_path / "audit.jsonl"
    written(path, 3, sync=sync)
    assert looked_at(path, None).records == 4


@pytest.mark.parametrize("text", ["", "no key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"])
def test_what_is_no_key_is_refused_without_showing_it(text):
    """Neither signing nor checking takes anything but Ed25519, and the message says what to do."""
    with pytest.raises(ValueError, match="otelprobe jwt keygen"):
        Signer(text)
    with pytest.raises(ValueError, match="no Ed25519 p"):
        SealChecker(text)
