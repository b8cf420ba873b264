"""Shards: every flow has one owner, whatever their number, and no two processes share one unseen."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from otelprobe.sharding import Claim, Shard, ShardError, assigned, dealt, fraction, owner, read_count


@dataclass(frozen=True)
class Flow:
    """Something with a name."""

    name: str


FLOWS = tuple(Flow(f"flow-{n}") for n in range(1000))


def test_every_flow_has_one_shard() -> None:
    """The shards of any number together run every flow exactly once, in near-equal parts."""
    for count in (1, 2, 3, 8):
        parts = [assigned(FLOWS, Shard(index, count)) for index in range(count)]
        assert sorted(f.name for part in parts for f in part) == sorted(f.name for f in FLOWS)
        assert all(len(part) == pytest.approx(1000 / count, rel=0.3) for part in parts)
        assert tuple(parts) == dealt(FLOWS, count)


@pytest.mark.parametrize("count", [1, 2, 4, 9])
def test_one_shard_more_moves_only_its_share(count: int) -> None:
    """Going from n to n + 1 shards moves about 1/(n + 1) of the flows, and only to the new shard."""
    names = [f"flow-{n}" for n in range(2000)]
    moved = [name for name in names if owner(name, count) != owner(name, count + 1)]

    assert {owner(name, count + 1) for name in moved} == {count}
    assert len(moved) == pytest.approx(2000 / (count + 1), rel=0.2)


def test_the_assignment_is_the_same_in_every_process() -> None:
    """Hashes are fixed: a change here would move every customer's flows and phases."""
    assert [owner(f"flow-{n}", 5) for n in range(8)] == [3, 2, 0, 0, 0, 4, 3, 4]
    assert fraction("orders-api", "offset") == pytest.approx(0.21441100152657944)


def test_a_fixed_shard_that_does_not_exist_is_refused() -> None:
    """A wrong shard number is an error, not an idle prober."""
    with pytest.raises(ShardError, match="there is no shard 3 of 3"):
        assigned(FLOWS, Shard(3, 3))


def test_a_shard_whose_number_is_read_from_a_file_waits_until_it_exists(tmp_path: Path) -> None:
    """A pod that starts before the ConfigMap has grown runs nothing, and its part once the number says so."""
    file = tmp_path / "count"
    shard = Shard(2, count_file=file)

    file.write_text("2\n")
    assert not shard.now().exists
    assert assigned(FLOWS, shard.now()) == ()
    file.write_text("3\n")
    assert assigned(FLOWS, shard.now()) == assigned(FLOWS, Shard(2, 3))


@pytest.mark.parametrize("text", ["", "0", "-1", "3.5", "eight", "100000", "3 4", "\xff"])
def test_a_file_without_a_number_is_told(tmp_path: Path, text: str) -> None:
    """What the file holds instead of a number is refused with the mend, and not repeated."""
    file = tmp_path / "count"
    file.write_text(text, encoding="latin-1")
    with pytest.raises(ShardError, match="count does not hold a number of shards: write one number, 1 to 99999"):
        read_count(file)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    """The text names the file and what it has to hold."""
    with pytest.raises(ShardError, match="cannot be read: No such file or directory; it has to hold the number"):
        Shard(0, count_file=tmp_path / "count").now()


def test_the_setting_is_told_as_it_is_written() -> None:
    """Both forms of the setting can be read back."""
    assert Shard(1, 3).words == "1/3"
    assert Shard(1, count_file=Path("/etc/shards/count")).words == "1/@/etc/shards/count"


def test_two_processes_cannot_claim_one_shard(tmp_path: Path) -> None:
    """A second process on the same index and state directory is refused until the first has ended, even if killed."""
    code = (
        "import sys, pathlib\nfrom otelprobe.sharding import Claim, Shard\n"
        "claim = Claim(pathlib.Path(sys.argv[1]), Shard(0, 2))\nprint(claim.held, flush=True)\nsys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "True\n"
        with pytest.raises(ShardError, match=r"shard 0 is run by another process .* an index of its own"):
            Claim(tmp_path, Shard(0, 2))
        other = Claim(tmp_path, Shard(1, 2))
        assert other.held
        other.release()
        first.kill()
    mine = Claim(tmp_path, Shard(0, 2))
    assert mine.held
    mine.release()
    assert not mine.held


def test_a_directory_that_cannot_be_made_is_not_claimed(tmp_path: Path) -> None:
    """A read-only or impossible state directory keeps nobody from running: the state tells of it."""
    (tmp_path / "file").write_text("")
    assert not Claim(tmp_path / "file" / "state", Shard()).held
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
