"""Checks audit files: whether every record is there, as it was written and where it was written, and if not, what was done.

Three questions, each of its own: does a line's hash fit its content, do the numbers rise by one, and does each record
name the hash of the one before it.
"""

import json
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from itertools import pairwise, takewhile
from pathlib import Path

from otelprobe.audit.chain import Entry, Link, read_line, signed_text
from otelprobe.audit.seal import SealChecker
from otelprobe.quick import dataclass

_LONGEST_LINE = 1024**2
_ROTATED = b'"event":"started","why":"rotated"'


@dataclass(frozen=True, slots=True)
class Damage:
    """What was done to a file, and where: `kind` is edited, deleted, inserted, reordered, truncated, forged or unsigned."""

    file: str
    line: int
    kind: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What was found. `unsealed` records come after the last checkpoint that holds; `torn` bytes are an unfinished record."""

    records: int
    first: int | None
    last: int | None
    checkpoints: int
    unsealed: int
    torn: int
    damage: tuple[Damage, ...]

    @property
    def good(self) -> bool:
        """Whether nothing was changed."""
        return not self.damage


@dataclass(frozen=True, slots=True)
class _Line:
    """One line: `place` counts lines over all files; `entry` is None where it is no record of ours.

    `goes_on` says that it begins a file after a full one was renamed.
    """

    place: int
    file: str
    number: int
    entry: Entry | None
    seal: tuple[str, str] | None = None
    goes_on: bool = False
    torn: int = 0

    @property
    def sound(self) -> Entry | None:
        """Its record, if it is as it was written."""
        return self.entry if self.entry is not None and self.entry.sound else None


@dataclass(slots=True)
class _Findings:
    """What was found so far."""

    damage: list[Damage] = field(default_factory=list)

    def add(self, line: _Line, kind: str, detail: str) -> None:
        """Add a finding at a line."""
        self.damage.append(Damage(line.file, line.number, kind, detail))


def check(files: Sequence[Path], key: SealChecker | None = None, head: Link | None = None) -> Report:
    """Check files that follow each other, the oldest first; OSError if one cannot be read.

    `key`: checkpoints are checked with it, and there has to be one. `head`: how far the chain had come.
    """
    lines = list(_read(files))
    torn = lines[-1].torn if lines else 0
    whole = [line for line in lines if not line.torn]
    found = _Findings()
    _check_content(whole, found)
    chosen = _chosen(whole)
    _check_order(whole, chosen, found)
    _check_links(chosen, found)
    _check_end(whole, head, files, found)
    good = [line for line in whole if line.sound]
    sealed = _check_seals(good, key, found)
    numbers = [line.sound.seq for line in good if line.sound]
    return Report(
        records=len(whole),
        first=min(numbers, default=None),
        last=max(numbers, default=None),
        checkpoints=len(sealed),
        unsealed=len(good) - 1 - good.index(sealed[-1]) if sealed else len(good),
        torn=torn,
        damage=tuple(sorted(found.damage, key=lambda d: ([str(f) for f in files].index(d.file), d.line))),
    )


def _read(files: Sequence[Path]) -> Iterator[_Line]:
    place = 0
    for path in files:
        with path.open("rb") as file:
            number = 0
            while raw := file.readline(_LONGEST_LINE):
                place, number = place + 1, number + 1
                # Only the end of the newest file can be a record that is not finished.
                torn = len(raw) if not raw.endswith(b"\n") and path == files[-1] and len(raw) < _LONGEST_LINE else 0
                entry = read_line(raw[:-1]) if raw.endswith(b"\n") else None
                yield _Line(place, str(path), number, entry, _seal(raw) if entry else None, _ROTATED in raw, torn)


def _seal(raw: bytes) -> tuple[str, str] | None:
    """Give time and signature of a checkpoint."""
    if b'"event":"checkpoint"' not in raw:
        return None
    try:
        record = json.loads(raw)
        return (str(record["time"]), str(record["signature"])) if record["event"] == "checkpoint" else None
    except (ValueError, KeyError, RecursionError):
        return None


def _check_content(lines: Sequence[_Line], found: _Findings) -> None:
    """Find lines whose hash does not fit; the numbers around them tell an edited line from one that was put there."""
    index = 0
    while index < len(lines):
        if lines[index].sound:
            index += 1
            continue
        end = index
        while end < len(lines) and not lines[end].sound:
            end += 1
        _judge_run(lines, index, end, found)
        index = end


def _judge_run(lines: Sequence[_Line], start: int, end: int, found: _Findings) -> None:
    """Judge lines that are not as they were written, by how many records are missing between those around them."""
    before = lines[start - 1].sound if start else None
    after = lines[end].sound if end < len(lines) else None
    room = end - start
    if after is not None:
        room = max(0, min(room, after.seq - (before.seq if before else 0) - 1))
    for line in lines[start : start + room]:
        found.add(line, "edited", "its content is not what was written")
    for line in lines[start + room : end]:
        found.add(line, "inserted", "it is no record of this chain")


def _check_order(lines: Sequence[_Line], chosen: Mapping[int, _Line], found: _Findings) -> None:
    """Find numbers that come twice, come too early or too late, or are missing."""
    for line in lines:
        if line.sound and chosen[line.sound.seq] is not line:
            found.add(
                line, "inserted", f"record {line.sound.seq} stands already at line {chosen[line.sound.seq].number}"
            )
    mine = [line for line in lines if line.sound and chosen[line.sound.seq] is line]
    moved = _out_of_order(mine)
    for line in moved:
        after = max((o.sound.seq for o in mine if o.sound and o.place < line.place), default=0)
        told = f"comes after record {after}" if line.sound and after > line.sound.seq else "comes before its turn"
        found.add(line, "reordered", f"record {line.sound.seq if line.sound else 0} {told}")
    _check_gaps(lines, [line for line in mine if line not in moved], chosen, found)


def _check_gaps(
    lines: Sequence[_Line], ordered: Sequence[_Line], chosen: Mapping[int, _Line], found: _Findings
) -> None:
    """Find missing numbers before each line that is in its place; lines that were edited stand for as many of them."""
    wanted, place = _first_number(lines, ordered), 0
    for line in ordered:
        seq = line.sound.seq if line.sound else 0
        missing = [number for number in range(wanted, seq) if number not in chosen]
        broken = sum(1 for other in lines[place : line.place - 1] if not other.sound)
        if len(missing) > broken:
            told = f"record {missing[0]} is" if len(missing) == 1 else f"records {missing[0]} to {missing[-1]} are"
            found.add(line, "deleted", f"{told} missing before it" + (f", but for {broken}" if broken else ""))
        wanted, place = seq + 1, line.place


def _first_number(lines: Sequence[_Line], ordered: Sequence[_Line]) -> int:
    """Give the number that the first record has to have: any where a full file was renamed before it, else 1."""
    if not ordered or ordered[0].sound is None:
        return 1
    broken = sum(1 for line in lines[: ordered[0].place - 1] if not line.sound)
    return ordered[0].sound.seq - broken if ordered[0].goes_on or broken else 1


def _chosen(lines: Sequence[_Line]) -> dict[int, _Line]:
    """Give the line of each number; of several with one number, that which its neighbours are chained to."""
    best: dict[int, tuple[int, _Line]] = {}
    for index, line in enumerate(lines):
        if line.sound is None:
            continue
        before = lines[index - 1].sound if index else None
        after = lines[index + 1].sound if index + 1 < len(lines) else None
        fit = (before is not None and before.hash == line.sound.prev) + (
            after is not None and after.prev == line.sound.hash
        )
        if line.sound.seq not in best or fit > best[line.sound.seq][0]:
            best[line.sound.seq] = fit, line
    return {seq: line for seq, (_, line) in best.items()}


def _out_of_order(lines: Sequence[_Line]) -> list[_Line]:
    """Give the fewest lines without which the numbers rise: all but a longest rising run."""
    numbers = [line.sound.seq for line in lines if line.sound]
    if all(one < other for one, other in pairwise(numbers)):
        return []
    tops: list[int] = []
    last: list[int] = []
    before: list[int] = []
    for index, number in enumerate(numbers):
        length = bisect_left(tops, number)
        tops[length : length + 1] = [number]
        before.append(last[length - 1] if length else -1)
        last[length : length + 1] = [index]
    kept, index = set(), last[-1]
    while index >= 0:
        kept.add(index)
        index = before[index]
    return [line for index, line in enumerate(lines) if index not in kept]


def _check_links(known: Mapping[int, _Line], found: _Findings) -> None:
    """Find records that were written anew with a hash that fits: the next one still names the old hash."""
    for seq, line in sorted(known.items()):
        before = known.get(seq - 1)
        if line.sound is None or before is None or before.sound is None or line.sound.prev == before.sound.hash:
            continue
        after = known.get(seq + 1)
        own = after is not None and after.sound is not None and after.sound.prev != line.sound.hash
        culprit = line if own else before
        found.add(culprit, "edited", "its hash was made anew, but the next record names the one that it had")


def _check_end(lines: Sequence[_Line], head: Link | None, files: Sequence[Path], found: _Findings) -> None:
    last = max((line.sound.seq for line in lines if line.sound), default=0)
    if head is None or not files:
        return
    broken = sum(1 for _ in takewhile(lambda line: not line.sound, reversed(lines)))
    if head.seq > last + broken:
        number = lines[-1].number if lines and lines[-1].file == str(files[-1]) else 0
        detail = f"the file ends with record {last}, but had come to record {head.seq}"
        found.damage.append(Damage(str(files[-1]), number + 1, "truncated", detail))
        return
    for line in lines:
        if line.sound and line.sound.seq == head.seq and line.sound.hash != head.hash:
            found.add(line, "edited", "it is not the record that the chain had at its last checkpoint")


def _check_seals(lines: Sequence[_Line], key: SealChecker | None, found: _Findings) -> list[_Line]:
    """Give the checkpoints that hold; without a key, all of them."""
    seals = [line for line in lines if line.seal is not None]
    if key is None:
        return seals
    good: list[_Line] = []
    for line in seals:
        if line.seal is None or line.sound is None:
            continue
        time, signature = line.seal
        if key.holds(signed_text(line.sound.seq, time, line.sound.prev), signature):
            good.append(line)
        else:
            found.add(line, "forged", "its signature is not by the given key")
    if lines and not seals:
        found.add(lines[-1], "unsigned", "there is no checkpoint up to here, so nothing proves who wrote it")
    return good
