"""Memory between runs is whole or absent, never half, and its loss costs no run."""

from pathlib import Path

from otelprobe.fields import Rate
from otelprobe.state import Budget, Memory, State


def test_documents_outlive_the_process_with_a_directory(tmp_path: Path) -> None:
    """What one saves, the next finds; keys with any characters are safe file names; nobody else may read it."""
    first = State(tmp_path / "new")
    first.save("keys:corp/../x", {"a": [1]})
    assert not (tmp_path / "new").exists()
    first.flush()
    assert State(tmp_path / "new").load("keys:corp/../x") == {"a": [1]}
    (file,) = (tmp_path / "new").iterdir()
    assert file.stat().st_mode & 0o077 == 0
    assert State(tmp_path / "new").load("other") is None


def test_without_a_directory_documents_live_as_long_as_the_process() -> None:
    """A prober without a state directory still follows keys while it runs."""
    state = State()
    assert not state.durable
    state.save("a", {"b": 1})
    assert state.load("a") == {"b": 1}


def test_a_broken_or_unwritable_directory_is_told_and_survived(tmp_path: Path) -> None:
    """Half a file is started anew, a full disk is said; neither raises."""
    (tmp_path / "a.json").write_text('{"b":')
    state = State(tmp_path)
    assert state.load("a") is None
    assert "cannot be read" in str(state.fault)
    blocked = tmp_path / "file"
    blocked.write_text("")
    state = State(blocked)
    state.save("a", {"b": 1})
    state.flush()
    assert "cannot be written" in str(state.fault)
    assert state.load("a") == {"b": 1}


def test_a_budget_lets_through_just_its_count() -> None:
    """Requests beyond the count wait until the window has moved on."""
    budget = Budget(Rate(2, 10.0))
    assert [budget.take(t) for t in (0.0, 1.0, 2.0, 9.9, 10.1, 10.2, 11.1)] == [
        True,
        True,
        False,
        False,
        True,
        False,
        True,
    ]


def test_the_odd_clock_out_is_ours_when_two_peers_agree() -> None:
    """One peer alone proves nothing against our own clock; two that agree do."""
    memory = Memory()
    memory.note_skew("idp", 600.0)
    assert not memory.our_clock_is_off("idp", 600.0)
    memory.note_skew("api", 0.2)
    assert not memory.our_clock_is_off("idp", 600.0)
    memory.note_skew("other", 601.0)
    assert memory.our_clock_is_off("idp", 600.0)


def test_a_state_file_nested_beyond_reading_is_started_anew(tmp_path: Path) -> None:
    """Whatever stands in the file, it costs memory between runs and never a run."""
    (tmp_path / "a.json").write_text("[" * 200_000)
    state = State(tmp_path)
    assert state.load("a") is None
    assert "cannot be read" in str(state.fault)


def test_a_write_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    """A full disk is not filled further with halves of files."""
    (tmp_path / "a.json").mkdir()
    state = State(tmp_path)
    state.save("a", {"b": 1})
    state.flush()
    assert "cannot be written" in str(state.fault)
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]
