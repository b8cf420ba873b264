"""The spool keeps whole requests, within its cap, and says what it had to drop."""

import os

from otelprobe.telemetry.delivery import Signal
from otelprobe.telemetry.spool import Spool


def test_beyond_the_cap_the_oldest_go_and_are_counted(tmp_path):
    """A full spool drops its oldest requests, tells how many items they held, and keeps the newest."""
    dropped: list[tuple[Signal, int]] = []
    spool = Spool(tmp_path, 100, lambda signal, items: dropped.append((signal, items)))
    assert [spool.write(Signal.TRACES, n, b"x" * 40) for n in (1, 2, 3)] == [True] * 3
    assert dropped == [(Signal.TRACES, 1)]
    assert [w.items for w in spool.waiting()] == [2, 3]


def test_a_request_larger_than_the_cap_is_refused(tmp_path):
    """One huge request does not push out all others."""
    spool = Spool(tmp_path, 100, lambda *_: None)
    assert spool.write(Signal.LOGS, 1, b"x" * 40)
    assert not spool.write(Signal.LOGS, 1, b"x" * 101)
    assert [w.size for w in spool.waiting()] == [40]


def test_foreign_and_half_written_files_are_left_alone(tmp_path):
    """Only whole requests of a known signal are given out."""
    for name in (".0.part", "notes.txt", "1.traces.x.otlp", "1.profiles.3.otlp"):
        (tmp_path / name).write_bytes(b"?")
    spool = Spool(tmp_path, 100, lambda *_: None)
    assert list(spool.waiting()) == []
    assert spool.write(Signal.METRICS, 7, b"body")
    assert not list(tmp_path.glob(".*-*.part"))
    found = list(spool.waiting(Signal.METRICS))
    assert [(w.items, spool.read(w)) for w in found] == [(7, b"body")]
    assert list(spool.waiting(Signal.LOGS)) == []


def test_a_request_that_another_process_took_is_no_fault(tmp_path):
    """What vanished meanwhile is neither read nor counted as removed."""
    spool = Spool(tmp_path, 100, lambda *_: None)
    spool.write(Signal.LOGS, 1, b"x")
    found = next(spool.waiting())
    found.path.unlink()
    assert spool.read(found) is None
    assert not spool.remove(found)


def test_halves_of_files_that_a_killed_process_left_are_removed(tmp_path):
    """They would fill the disk, as they count towards no cap; one that is being written is left alone."""
    for name in (".old.part", ".new.part"):
        (tmp_path / name).write_bytes(b"half")
    os.utime(tmp_path / ".old.part", (0, 0))
    assert Spool(tmp_path, 100, lambda *_: None).write(Signal.LOGS, 1, b"x")
    assert [p.name for p in tmp_path.glob(".*")] == [".new.part"]
