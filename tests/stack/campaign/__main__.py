"""Writes docs/campaign.md, or with `--check` tells whether it is stale. Run by `make docs` and `make check`."""

import sys
from pathlib import Path

from tests.stack.campaign.page import page

_PATH = Path(__file__).resolve().parents[3] / "docs" / "campaign.md"


def main(arguments: list[str]) -> int:
    """Write or check the page."""
    if "--check" not in arguments:
        _PATH.write_text(page(), encoding="utf-8")
        return 0
    if _PATH.exists() and _PATH.read_text(encoding="utf-8") == page():
        return 0
    sys.stderr.write("docs/campaign.md is out of date: run `make docs`\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
