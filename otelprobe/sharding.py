"""Who runs which flow: shards, told by nothing but a flow's name and the number of shards.

Every process reads the same flow files and takes its part, so nobody has to be asked: Kubernetes starts and replaces
the processes, and this room makes sure that each flow has exactly one owner among them.
"""

import fcntl
import functools
import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from otelprobe.quick import dataclass

MOST = 99_999
"""The largest number of shards."""

_WORD = 2**64 - 1


class ShardError(Exception):
    """The shard setting cannot be used; the text says why and how to mend it."""


@dataclass(frozen=True, slots=True)
class Shard:
    """Which part of the flows this process runs: part `index` (from 0) of `count`.

    With `count_file` the number of shards stands in that file, alone, and may change while the process runs.
    """

    index: int = 0
    count: int = 1
    count_file: Path | None = None

    @property
    def words(self) -> str:
        """The setting as it is written."""
        return f"{self.index}/{self.count if self.count_file is None else f'@{self.count_file}'}"

    def now(self) -> "Shard":
        """Give the shard with the number of shards of this moment; ShardError if the file does not tell it."""
        if self.count_file is None:
            return self
        return Shard(self.index, read_count(self.count_file), self.count_file)

    @property
    def exists(self) -> bool:
        """Whether there is such a shard: a pod may start before the number of shards has grown, or outlive a smaller one."""
        return self.index < self.count


ALL = Shard()
"""The one shard of a process that runs every flow."""


def read_count(file: Path) -> int:
    """Read a number of shards from a file, such as the mounted key of a ConfigMap."""
    try:
        text = file.read_bytes()[:100].decode("ascii", "replace").strip()
    except OSError as error:
        raise ShardError(f"{file} cannot be read: {error.strerror}; it has to hold the number of shards") from None
    if not text.isdecimal() or not 1 <= int(text) <= MOST:
        raise ShardError(f"{file} does not hold a number of shards: write one number, 1 to {MOST}")
    return int(text)


class Named(Protocol):
    """What is dealt out: something with a name."""

    @property
    def name(self) -> str:
        """The name, which alone decides."""
        ...


N = TypeVar("N", bound=Named)


def fraction(name: str, purpose: str) -> float:
    """Give a number in [0, 1) that depends on nothing but `name` and `purpose`: the same in every process."""
    digest = hashlib.blake2b(f"{purpose}\0{name}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / 2**53


def owner(name: str, count: int) -> int:
    """Give the shard that owns a flow: rendezvous hashing, so that one shard more moves only what it takes over.

    Every shard has a weight for the name, and the heaviest owns it. One strong hash of the name is mixed with each shard's
    number, because a hash for each pair takes a minute over a hundred thousand flows and a hundred shards.
    """
    seed = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big")
    best, heaviest = 0, -1
    for shard, step in enumerate(_steps(count)):
        weight = seed ^ step
        weight = (weight ^ (weight >> 30)) * 0xBF58476D1CE4E5B9 & _WORD
        weight = (weight ^ (weight >> 27)) * 0x94D049BB133111EB & _WORD
        weight ^= weight >> 31
        if weight > heaviest:
            best, heaviest = shard, weight
    return best


@functools.cache
def _steps(count: int) -> tuple[int, ...]:
    """Give each shard's number spread over 64 bits (the odd constant is that of the golden ratio)."""
    return tuple((shard + 1) * 0x9E3779B97F4A7C15 & _WORD for shard in range(count))


def assigned(flows: Iterable[N], shard: Shard) -> tuple[N, ...]:
    """Give the flows that a shard runs; ShardError if there is no such shard and its number is fixed.

    A shard whose number stands in a file runs nothing until it exists.
    """
    if not shard.exists and shard.count_file is None:
        raise ShardError(
            f"there is no shard {shard.index} of {shard.count}: shards are counted from 0, below their number"
        )
    return tuple(flow for flow in flows if shard.exists and owner(flow.name, shard.count) == shard.index)


def dealt(flows: Sequence[N], count: int) -> tuple[tuple[N, ...], ...]:
    """Give every shard's flows, in the order of the shards."""
    shards: list[list[N]] = [[] for _ in range(count)]
    for flow in flows:
        shards[owner(flow.name, count)].append(flow)
    return tuple(tuple(shard) for shard in shards)


class Claim:
    """One process's claim on a state directory and a shard, held until the process ends, however it ends.

    Two processes that share both would run each flow twice and write over each other's memory of keys.
    """

    def __init__(self, directory: Path, shard: Shard) -> None:
        """Take it; ShardError if another process has it. A directory that cannot be written is not claimed."""
        self._file: int | None = None
        path = directory / f"shard-{shard.index}.lock"
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:  # the state itself tells that it is not kept
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.release()
            raise ShardError(
                f"shard {shard.index} is run by another process with this state directory ({path} is locked): "
                "give each process an index of its own, or a directory of its own"
            ) from None
        except OSError:  # a file system without locks
            self.release()

    @property
    def held(self) -> bool:
        """Whether the lock is held."""
        return self._file is not None

    def release(self) -> None:
        """Give it back."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
