"""Linters of rules and boards by those who know them best: pint for PromQL, dashboard-linter for Grafana."""

import subprocess
from pathlib import Path

from tests.stack.harness.golang import Module

PINT = Module("pint", "github.com/cloudflare/pint", "v0.87.0", ("cmd/pint",))
DASHBOARD_LINTER = Module("dashboard-linter", "github.com/grafana/dashboard-linter", "v0.2.0", (".",))


def lint(module: Module, program: str, *words: str | Path, folder: Path) -> str:
    """Run a linter in a folder; give what it says, empty if it has nothing to say against the files."""
    command = [module.obtain() / program, *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    return "" if done.returncode == 0 else f"{done.stdout}{done.stderr}"
