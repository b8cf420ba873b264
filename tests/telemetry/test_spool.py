"""The spool keeps whole requests, within its cap, and says what it had to drop."""

import os
import time

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
    for name in (".0.part", "notes.txt", "1.traces.x.otlp", "1.profiles.3.otlp", "1.logs.3.x.otlp", "1.logs.otlp"):
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


def test_what_is_refused_waits_behind_the_rest(tmp_path):
    """The order of sending is by refusals, then by age; what is dropped for room is the oldest whatever was refused."""
    spool = Spool(tmp_path, 100, lambda *_: None)
    for items in (1, 2, 3):
        spool.write(Signal.LOGS, items, b"x" * 30)
    assert spool.refused(next(spool.due(Signal.LOGS))) is None
    assert [(w.items, w.refusals) for w in spool.due(Signal.LOGS)] == [(2, 0), (3, 0), (1, 1)]
    assert [w.items for w in spool.waiting()] == [1, 2, 3]


def test_what_is_refused_often_and_for_long_is_put_aside(tmp_path):
    """Five refusals and an hour: either alone says that the collector is busy; what is put aside is sent no more."""
    spool = Spool(tmp_path, 100, lambda *_: None)
    spool.write(Signal.LOGS, 1, b"young")
    for _ in range(6):
        assert spool.refused(next(spool.due(Signal.LOGS))) is None
    old = f"{time.time_ns() - 3601 * 10**9:020d}-1-1.traces.7"
    (tmp_path / f"{old}.otlp").write_bytes(b"old")
    for _ in range(4):
        assert spool.refused(next(spool.due(Signal.TRACES))) is None
    assert spool.refused(next(spool.due(Signal.TRACES))) == tmp_path / f"{old}.rejected"
    assert [(w.signal, w.refusals) for w in spool.waiting()] == [("logs", 6)]


def test_what_was_put_aside_goes_first_when_room_is_needed(tmp_path):
    """It counts towards the cap, and dropping it is no loss that has not been counted."""
    dropped: list[int] = []
    spool = Spool(tmp_path, 100, lambda _, items: dropped.append(items))
    (tmp_path / "1-1-1.traces.7.rejected").write_bytes(b"x" * 60)
    for items in (1, 2):
        assert spool.write(Signal.LOGS, items, b"x" * 30)
    assert [path.suffix for path in tmp_path.iterdir()] == [".otlp"] * 2
    assert dropped == []


def test_a_refused_request_that_another_process_took_is_no_fault(tmp_path):
    """Nothing is put aside that is not there any more."""
    spool = Spool(tmp_path, 100, lambda *_: None)
    spool.write(Signal.LOGS, 1, b"x")
    found = next(spool.waiting())
    found.path.unlink()
    assert spool.refused(found) is None
    assert list(tmp_path.iterdir()) == []
