"""One line on standard error that says which step is running, for a person who waits at a terminal."""

from typing import TextIO

from otelprobe.cli.terminal import clip, for_encoding, harmless

CLEAR = "\r\x1b[K"
"""What wipes the line out."""


def progress_line(flow: str, step: str, *, number: int, count: int, width: int) -> str:
    """Write `orders-api  3/9 token…` over the line before; one cell is left free so that no terminal wraps."""
    return CLEAR + clip(f"{harmless(flow)}  {number}/{count} {harmless(step)}…", max(width - 1, 0))


class Progress:
    """Shows one line on a stream if that is a terminal, and leaves nothing behind."""

    def __init__(self, stream: TextIO, *, width: int) -> None:
        self._stream = stream
        self._width = width
        self._on = stream.isatty()

    def show(self, flow: str, step: str, *, number: int, count: int) -> None:
        """Say that a step is running."""
        text = progress_line(flow, step, number=number, count=count, width=self._width)
        self._write(for_encoding(text, self._stream.encoding))

    def clear(self) -> None:
        """Wipe the line out, before anything else is printed and at the end."""
        self._write(CLEAR)

    def _write(self, text: str) -> None:
        if self._on:
            self._stream.write(text)
            self._stream.flush()
