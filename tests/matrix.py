"""What each server does with each bad credential: compared with docs/matrix.json, or written there.

A cell is `accepted`, `refused` or `error` (the server failed over it). Tests hold the verdict against requests of their own
first; then the server's row against the file. With WRITE_MATRIX=1 the row is written instead; `make docs` makes the
page of it.
"""

import json
import os
from collections.abc import Callable, Iterable, Mapping
from fcntl import LOCK_EX, flock
from pathlib import Path

from otelprobe.result import CaseResult

FILE = Path(__file__).resolve().parents[1] / "docs" / "matrix.json"
PROVIDERS, APIS, SERVICE_PROVIDERS = "provider", "api", "service_provider"


def cells(found: Iterable[CaseResult]) -> dict[str, str]:
    """Give the step's verdicts as cells."""
    return {case.case: _word(case.accepted, case.status) for case in found}


def _word(accepted: bool, status: int | None) -> str:
    if accepted:
        return "accepted"
    return "error" if status is not None and status >= 500 else "refused"


def compare(found: Mapping[str, str], truth: Callable[[str], str]) -> None:
    """Compare the verdicts with what the server does with the test's own request of each kind."""
    own = {case: truth(case) for case in found}
    assert dict(found) == own, {case: (found[case], own[case]) for case in found if found[case] != own[case]}


def hold(table: str, server: str, found: Mapping[str, str]) -> None:
    """Compare a server's row with the page, or write it."""
    if not os.environ.get("WRITE_MATRIX"):
        assert dict(found) == json.loads(FILE.read_text(encoding="utf-8"))[table][server]
        return
    with FILE.open("r+", encoding="utf-8") as file:
        flock(file, LOCK_EX)
        known = json.load(file)
        known.setdefault(table, {})[server] = dict(sorted(found.items()))
        file.seek(0)
        file.truncate()
        file.write(f"{json.dumps(known, indent=1)}\n")
