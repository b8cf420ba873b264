"""Blocks of Prometheus with as much history as is wanted, written without Prometheus by a small program of its own libraries."""

import json
import shutil
import stat
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

from tests.stack.harness import cache, golang
from tests.stack.harness.prometheus import MODULE

_PROGRAM = Path(__file__).resolve().parent / "writer" / "main.go"
BLOCK = 54 * 3600
"""Seconds in a block: what Prometheus compacts to when it keeps more than three weeks."""

Series = tuple[Mapping[str, str], int, str]
"""Labels with the name, seconds between two samples, and the kind of the values (see writer/main.go)."""


def _writer() -> Path:
    """Give the program; build it at first use, in a copy of the module of Prometheus, whose go.sum covers it."""
    name = f"history-{MODULE.version}-{cache.digest(_PROGRAM.read_bytes())}"
    return cache.entry(name, lambda folder: _build(name, folder)) / "writer"


def _build(name: str, folder: Path) -> None:
    source, work = golang.downloaded(MODULE.path, MODULE.version), folder / "work"
    shutil.copytree(source, work, ignore=_not_source, copy_function=shutil.copyfile)
    for place in (work, *(path for path in work.rglob("*") if path.is_dir())):
        place.chmod(stat.S_IRWXU)
    (work / "cmd" / "writer").mkdir()
    shutil.copyfile(_PROGRAM, work / "cmd" / "writer" / "main.go")
    command = [golang.go(), "build", "-mod=readonly", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o"]
    cache.build(name, [*command, str(folder / "writer"), "./cmd/writer"], folder=work, environment=golang.environment())
    shutil.rmtree(work)


def _not_source(folder: str, names: list[str]) -> list[str]:
    kept = {".go", ".mod", ".sum"}
    return [name for name in names if not (Path(folder) / name).is_dir() and Path(name).suffix not in kept]


def write(data: Path, series: Iterable[Series], begun: int, ended: int) -> int:
    """Write series between two Unix times into a folder of blocks; give the number of samples."""
    told = {
        "begun": begun * 1000,
        "ended": ended * 1000,
        "block": BLOCK * 1000,
        "series": [{"labels": dict(labels), "every": every * 1000, "kind": kind} for labels, every, kind in series],
    }
    done = subprocess.run(
        [str(_writer()), str(data)], input=json.dumps(told), capture_output=True, text=True, timeout=1200, check=False
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)
