"""Go servers from their published modules, built with their own pinned and verified dependencies."""

import json
import os
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
        done = subprocess.run(
            [go(), "mod", "download", "-json", f"{self.path}@{self.version}"],
            cwd=cache.root(),
            env={**os.environ, **environment()},
            capture_output=True,
            text=True,
            check=False,
        )
        told = json.loads(done.stdout or "{}")
        if "Dir" not in told:
            raise StackError(f"{self.path}@{self.version} cannot be had: {told.get('Error') or done.stderr.strip()}")
        return Path(told["Dir"])
