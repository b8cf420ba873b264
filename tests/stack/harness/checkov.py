"""checkov, a linter of Kubernetes policies, in an environment of its own: it pins a hundred packages that we do not."""

import json
import subprocess
import sys
from pathlib import Path

from tests.stack.harness import cache

VERSION = "3.3.30"


def obtain() -> Path:
    """Give the program; install it at first use."""
    return cache.entry(f"checkov-{VERSION}", _install) / "bin" / "checkov"


def _install(folder: Path) -> None:
    name = f"checkov-{VERSION}"
    cache.build(name, [sys.executable, "-m", "venv", str(folder)], folder=cache.root())
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    cache.build(name, [*pip, f"checkov=={VERSION}"], folder=cache.root())


def findings(folder: Path) -> tuple[int, list[str]]:
    """Check every manifest in a folder; give how many checks passed, and what failed as `check resource`."""
    python = obtain().with_name("python")  # the script's first line names the folder that it was made in
    done = subprocess.run(
        [
            *(str(python), "-m", "checkov.main", "-d", str(folder), "--framework", "kubernetes", "--output", "json"),
            *("--compact", "--quiet", "--skip-download", "--skip-results-upload"),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    told = json.loads(done.stdout)
    failed = [f"{row['check_id']} {row['resource']}" for row in told["results"]["failed_checks"]]
    return int(told["summary"]["passed"]), failed
