"""Chromium for the tests of logging in with a browser: the machine's own, else Debian's package."""

import os
import shutil
from pathlib import Path

from otelprobe.chromium import find_program
from otelprobe.reasons import CheckFailed
from tests.stack.harness import cache
from tests.stack.harness.faults import StackError

_ENVIRONMENT = {"DEBIAN_FRONTEND": "noninteractive"}
_MEND = "install Chromium, or name its program in OTELPROBE_BROWSER"


def obtain() -> Path:
    """Give the browser's program; install Debian's package where there is none and we may."""
    try:
        return Path(find_program())
    except CheckFailed:
        pass
    apt = shutil.which("apt-get")
    if apt is None or os.geteuid() != 0:
        raise StackError(f"make test-stack needs Chromium: {_MEND}")
    for command in ([apt, "update"], [apt, "install", "--yes", "--no-install-recommends", "chromium"]):
        cache.build("chromium", command, folder=cache.root(), environment=_ENVIRONMENT)
    try:
        return Path(find_program())
    except CheckFailed:
        raise StackError(f"the package chromium has brought no browser: {_MEND}") from None
