"""`python -m tests.stack.harness`: obtain every server that the stack tests need, and say how long each took."""

import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.stack.harness import (
    alertmanager,
    blackbox,
    cache,
    checkov,
    chromium,
    cluster,
    collector,
    image,
    jaeger,
    keycloak,
    linters,
    node,
    prometheus,
)
from tests.stack.harness.faults import StackError

PARTS: Mapping[str, Callable[[], Path]] = {
    "collector": collector.obtain,
    "prometheus": prometheus.MODULE.obtain,
    "alertmanager": alertmanager.MODULE.obtain,
    "jaeger": jaeger.MODULE.obtain,
    "pint": linters.PINT.obtain,
    "blackbox_exporter": blackbox.MODULE.obtain,
    "keycloak": keycloak.obtain,
    "kubernetes": cluster.obtain,
    "checkov": checkov.obtain,
    "image": image.obtain,
    "node": node.obtain,
    "chromium": chromium.obtain,
}


def main(names: list[str]) -> int:
    """Obtain the named parts, all by default; 1 if one of them cannot be had."""
    unknown = [name for name in names if name not in PARTS]
    if unknown:
        print(f"unknown: {', '.join(unknown)}; there are {', '.join(PARTS)}", file=sys.stderr)
        return 2
    print(f"servers for the stack tests, kept in {cache.root()}")
    started = time.monotonic()
    for name in names or PARTS:
        print(f"  {name} ...", end=" ", flush=True)
        begun = time.monotonic()
        try:
            PARTS[name]()
        except StackError as error:
            print(f"failed\n{error}", file=sys.stderr)
            return 1
        print(f"{time.monotonic() - begun:.1f} s", flush=True)
    print(f"all there after {time.monotonic() - started:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
