"""Go servers from their published modules, built with their own pinned and verified dependencies."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.stack.harness import cache
from tests.stack.harness.faults import StackError

_MEND = "install Go 1.26 or newer"
_ENVIRONMENT = {"GOTOOLCHAIN": "local", "CGO_ENABLED": "0", "GOWORK": "off"}


def environment(**more: str) -> dict[str, str]:
    """Give the variables of a Go build: this toolchain and no other, no C, and whatever the machine sets besides."""
    return {**_ENVIRONMENT, **more}


def go() -> str:
    """Give the path of the Go command."""
    return cache.need("go", _MEND)


def downloaded(path: str, version: str) -> Path:
    """Give the folder with the files of a published module; StackError if it cannot be had."""
    done = subprocess.run(
        [go(), "mod", "download", "-json", f"{path}@{version}"],
        cwd=cache.root(),
        env={**os.environ, **environment()},
        capture_output=True,
        text=True,
        check=False,
    )
    told = json.loads(done.stdout or "{}")
    if "Dir" not in told:
        raise StackError(f"{path}@{version} cannot be had: {told.get('Error') or done.stderr.strip()}")
    return Path(told["Dir"])


@dataclass(frozen=True, slots=True)
class Tools:
    """Programs that a committed go.mod names as its tools: for modules that cannot be built by themselves.

    `stamped` are variables of theirs that a release sets when it is linked, such as the version.
    """

    name: str
    folder: Path
    programs: Sequence[str]
    stamped: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Give the name of its cache entry."""
        texts = [(self.folder / file).read_bytes() for file in ("go.mod", "go.sum")]
        return f"{self.name}-{cache.digest(*texts, *self.stamped)}"

    def obtain(self) -> Path:
        """Give the folder with the programs; build them at first use."""
        return cache.entry(self.key, self._build)

    def _build(self, folder: Path) -> None:
        work = folder / "work"
        shutil.copytree(self.folder, work)
        for program in self.programs:
            target = folder / (program.rsplit("/", 1)[-1] if not re.search(r"/v\d+$", program) else self.name)
            command = [
                go(),
                "build",
                "-mod=readonly",
                "-trimpath",
                "-buildvcs=false",
                " ".join(["-ldflags=-s -w", *(f"-X {variable}" for variable in self.stamped)]),
                "-o",
                str(target),
            ]
            cache.build(self.key, [*command, program], folder=work, environment=environment())
        shutil.rmtree(work)


@dataclass(frozen=True, slots=True)
class Module:
    """A published main module and the programs that are built from it."""

    name: str
    path: str
    version: str
    programs: Sequence[str]

    @property
    def key(self) -> str:
        """Give the name of its cache entry."""
        return f"{self.name}-{self.version}"

    def obtain(self) -> Path:
        """Give the folder with the programs; build them at first use."""
        return cache.entry(self.key, self._build)

    def _build(self, folder: Path) -> None:
        source = self._download()
        # In the module's own folder its `replace` lines and its go.sum count, which `go install path@version` ignores.
        command = [go(), "build", "-mod=readonly", "-trimpath", "-buildvcs=false", "-ldflags=-s -w"]
        programs = [f"./{program}" for program in self.programs]
        cache.build(
            self.key, [*command, "-o", f"{folder}{os.sep}", *programs], folder=source, environment=environment()
        )

    def _download(self) -> Path:
        return downloaded(self.path, self.version)
