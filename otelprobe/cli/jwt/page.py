"""Lines of the workbench on the terminal: foreign text made harmless, columns aligned."""

import json
import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence

from otelprobe.cli.terminal import Line, Piece, Style, cells, for_encoding, harmless, pad, paint, wants_color

_WIDEST = 160
_MOST_VALUE = 72


def show(lines: Iterable[Line]) -> None:
    """Print lines."""
    width = max(100, min(shutil.get_terminal_size((100, 24)).columns, _WIDEST))
    color = wants_color(sys.stdout, os.environ)
    text = "".join(paint(line, width=width, color=color) + "\n" for line in lines)
    sys.stdout.write(for_encoding(text, sys.stdout.encoding))


def title(text: str) -> Line:
    """Give a heading."""
    return [Piece(text, Style.BOLD)]


def table(rows: Sequence[tuple[str, str, str]]) -> Iterator[Line]:
    """Give rows of a name, a value and what it means; a long value goes on below without being cut."""
    first = max((cells(name) for name, _, _ in rows), default=0)
    second = min(max((cells(value) for _, value, _ in rows), default=0), 40)
    for name, value, meaning in rows:
        parts = [value[i : i + _MOST_VALUE] for i in range(0, len(value), _MOST_VALUE)] or [""]
        yield [Piece(f"  {pad(name, first)}  {pad(parts[0], second)}  "), Piece(meaning, Style.DIM)]
        yield from ([Piece(f"  {pad('', first)}  {part}")] for part in parts[1:])


def value_text(value: object) -> str:
    """Write a value as JSON, harmless on a terminal."""
    return harmless(json.dumps(value, ensure_ascii=False))
