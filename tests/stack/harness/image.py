"""What goes into the image, made by the script that the Containerfile runs, once for each state of what it is made from."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.stack.harness import cache

SOURCE = cache.REPOSITORY / "k8s" / "image"
_UNUSED = 3 * 3600.0
"""Seconds after which what was made of an older state is removed: it takes some 90 MB."""


def obtain() -> Path:
    """Give the virtual environment as it stands in the image; its programs know the path that it has here."""
    name = f"image-{cache.digest(sys.version, *_parts())}"
    cache.forget("image-", keep=name, seconds=_UNUSED)
    return cache.entry_in_place(name, lambda folder: _build(name, folder)) / "otelprobe"


def _build(name: str, folder: Path) -> None:
    target, python = folder / "otelprobe", os.path.realpath(sys.executable)
    cache.build(name, ["sh", str(SOURCE / "build.sh"), str(target), python], folder=cache.root())


def _parts() -> Iterator[str | bytes]:
    """Give the names and texts of everything that the script reads."""
    files = [cache.REPOSITORY / name for name in ("pyproject.toml", "README.md", "LICENSE")]
    files += [path for path in SOURCE.iterdir() if path.is_file()]
    files += [path for path in (cache.REPOSITORY / "otelprobe").rglob("*") if _ships(path)]
    for file in sorted(files):
        yield str(file.relative_to(cache.REPOSITORY))
        yield file.read_bytes()


def _ships(path: Path) -> bool:
    return path.is_file() and "__pycache__" not in path.parts
