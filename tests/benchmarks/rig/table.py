"""The table that a benchmark prints, and the numbers in it."""

import math
from collections.abc import Sequence


def show(head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table: the first column to the left, numbers to the right."""
    texts = [[str(cell) for cell in row] for row in (head, *rows)]
    widths = [max(len(row[place]) for row in texts) for place in range(len(head))]
    for row in texts:
        first, *others = (
            cell.ljust(w) if n == 0 else cell.rjust(w) for n, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        print("  ".join([first, *others]).rstrip())


def percentile(values: Sequence[float], share: float) -> float:
    """Give the value below which that share of the values lies (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * share) - 1)]


def verdict(name: str, value: float, limit: float, unit: str = "") -> None:
    """Say whether a target holds."""
    print(f"{name}: {value:.2f}{unit}, target at most {limit:g}{unit}: {'holds' if value <= limit else 'MISSED'}")
