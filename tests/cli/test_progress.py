"""The line that says which step is running."""

import io

from otelprobe.cli.progress import CLEAR, Progress, progress_line


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def test_the_line_fits_and_is_harmless() -> None:
    """The line names flow, step and place, leaves one cell free and obeys nothing."""
    assert progress_line("orders", "token", number=3, count=9, width=80) == f"{CLEAR}orders  3/9 token…"
    assert len(progress_line("o" * 99, "token", number=3, count=9, width=20)) == len(CLEAR) + 19
    assert "\x1b[2J" not in progress_line("\x1b[2J", "\x1b[2J", number=1, count=1, width=80)


def test_a_terminal_is_left_clean() -> None:
    """On a terminal the line is shown and then wiped out."""
    stream = Terminal()
    progress = Progress(stream, width=80)
    progress.show("orders", "token", number=1, count=2)
    progress.clear()
    assert stream.getvalue() == f"{CLEAR}orders  1/2 token…{CLEAR}"


def test_a_pipe_gets_nothing() -> None:
    """Where standard error is not a terminal, nothing is written at all."""
    stream = io.StringIO()
    progress = Progress(stream, width=80)
    progress.show("orders", "token", number=1, count=2)
    progress.clear()
    assert stream.getvalue() == ""
