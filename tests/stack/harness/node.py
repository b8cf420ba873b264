"""Servers on Node: their packages are installed once for each lock file, and each server runs in a folder of its own."""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.stack.harness import cache
from tests.stack.harness.process import Process

_NPM_CI = ("npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error")
_READY_SECONDS = 60.0
STACK = Path(__file__).resolve().parents[1]
FOLDERS = tuple(STACK / name for name in ("oidc_provider", "express", "validators", "queries", "schemas", "saml_sp"))


def installed(source: Path) -> Path:
    """Give the cache's folder with the packages that `source`'s lock file names; fill it at first use."""
    cache.need("node", "install Node.js 20 or newer")
    cache.need("npm", "install Node.js 20 or newer")
    locked = [source / "package.json", source / "package-lock.json"]

    def make(folder: Path) -> None:
        for path in locked:
            shutil.copy(path, folder)
        cache.build(f"npm-{source.name}", _NPM_CI, folder=folder)

    digest = cache.digest(*(path.read_bytes() for path in locked))
    return cache.entry(f"npm-{source.name}-{digest}", make)


def obtain() -> Path:
    """Install the packages of every server of this folder."""
    return [installed(source) for source in FOLDERS][-1]


def script(source: Path, name: str, folder: Path) -> Path:
    """Put a script beside its packages into a folder of its own, where no other run can change it; give its path."""
    folder.mkdir(parents=True, exist_ok=True)
    packages = folder / "node_modules"
    if not packages.exists():
        packages.symlink_to(installed(source) / "node_modules")
    return Path(shutil.copy(source / name, folder))


class Told(Process):
    """A server that is configured by STACK_CONFIG and whose first line of JSON says where it is. It may grumble before."""

    def __init__(self, name: str, command: Sequence[str | Path], config: Mapping[str, Any], *, log: Path) -> None:
        super().__init__(name, command, log=log, environment={"STACK_CONFIG": json.dumps(config)}, tied=True)
        self.wait_until(lambda: self._line() is not None, _READY_SECONDS)
        self.told: Mapping[str, Any] = json.loads(self._line() or "{}")

    def _line(self) -> str | None:
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
        return next((line for line in lines if line.startswith("{") and line.endswith("\n")), None)
