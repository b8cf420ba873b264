"""Text for a terminal: cells, harmless text, durations, colour."""

import io

import pytest

from otelprobe.cli.terminal import (
    Piece,
    Style,
    cells,
    clip,
    clip_middle,
    for_encoding,
    harmless,
    paint,
    seconds,
    span_of_time,
    wants_color,
    wrap,
)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0.0, "0 ms"),
        (-1.0, "0 ms"),
        (1e-7, "<1 µs"),
        (0.00085, "850 µs"),
        (0.0009996, "1.0 ms"),
        (0.0123, "12.3 ms"),
        (0.09996, "100 ms"),
        (0.412, "412 ms"),
        (0.9996, "1.00 s"),
        (1.2351, "1.24 s"),
        (9.996, "10.0 s"),
        (42.0, "42.0 s"),
        (125.2, "2 min 05 s"),
        (3599.6, "1 h 00 min"),
        (7500.0, "2 h 05 min"),
        (float("nan"), "?"),
        (float("inf"), "?"),
    ],
)
def test_seconds(value: float, said: str) -> None:
    """A duration is said with three figures in the unit that fits, and rounding never gives 1000 of a unit."""
    assert seconds(value) == said


@pytest.mark.parametrize(
    ("value", "said"),
    [(30, "30.0 s"), (600, "10 min"), (11_400, "3 h 10 min"), (360_000, "4 d 4 h"), (1_036_800, "12 d")],
)
def test_span_of_time(value: float, said: str) -> None:
    """A long time is said in its two largest units."""
    assert span_of_time(value) == said


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text, 100 %", "plain text, 100 %"),
        ("Grüße 流", "Grüße 流"),
        ("\x1b[2Jx", "\\x1b[2Jx"),
        ("\x9b31m", "\\x9b31m"),
        ("a\r\nb\tc\u2028d", "a  b c d"),
        ("\u202eevil", "\\u202eevil"),
        ("a\x00\x07\x7f", "a\\x00\\x07\\x7f"),
        ("zero\u200bwidth", "zero\\u200bwidth"),
        ("\ud800", "\\ud800"),
        ("\U000e0041", "\\U000e0041"),
    ],
)
def test_harmless(text: str, shown: str) -> None:
    """Whatever could move the cursor, colour the screen, reorder or hide text is shown as an escape."""
    assert harmless(text) == shown


def test_every_character_becomes_printable() -> None:
    """No character of Unicode passes that is not printable or a blank."""
    for start in range(0, 0x110000, 0x1000):
        out = harmless("".join(map(chr, range(start, start + 0x1000))))
        assert out.isprintable() or all(c.isprintable() or c.isspace() for c in out)
        assert not any(c in out for c in "\x1b\x9b\r\n\u202e\u2066\u2028")


def test_wide_characters_count_twice() -> None:
    """Cells, not characters, are what is measured, cut and wrapped."""
    assert cells("流れ") == 4
    assert cells("e\u0301") == 1
    assert clip("流れ流れ", 5) == "流れ…"
    assert clip_middle("login.example.com", 9) == "logi….com"
    assert wrap("流れ流れ a", 4) == ["流れ", "流れ", "a"]


def test_wrap_keeps_every_word() -> None:
    """Wrapping loses nothing, and breaks only the word that is longer than the line."""
    assert wrap("one two three", 7) == ["one two", "three"]
    assert wrap("abcdefghij kl", 4) == ["abcd", "efgh", "ij", "kl"]
    assert wrap("   ", 10) == []


def test_paint_cuts_across_pieces() -> None:
    """A line is cut to the width wherever its pieces end, and colour changes no cell."""
    line = [Piece("abc", Style.BAD), Piece("def"), Piece("  ")]
    assert paint(line, width=6, color=False) == "abcdef"
    assert paint(line, width=5, color=False) == "abcd…"
    assert paint(line, width=3, color=False) == "ab…"
    assert paint(line, width=0, color=False) == ""
    assert paint(line, width=6, color=True) == "\x1b[1;31mabc\x1b[0mdef"


def test_a_poor_encoding_gets_ascii() -> None:
    """On a stream that cannot draw, the drawing becomes ASCII instead of an exception."""
    assert for_encoding("✓ ██▌▒ é …", "utf-8") == "✓ ██▌▒ é …"
    assert for_encoding("✓ ██▌▒ é …", "ascii") == "+ ###= \\xe9 ~"
    assert for_encoding("█", None) == "#"
    assert for_encoding("█", "no-such-codec") == "#"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_color_is_for_terminals_that_want_it() -> None:
    """Colour is given to a terminal, never to a pipe or a dumb terminal, and NO_COLOR and FORCE_COLOR decide first."""
    tty, pipe = Terminal(), io.StringIO()
    assert wants_color(tty, {"TERM": "xterm"})
    assert not wants_color(tty, {"TERM": "dumb"})
    assert not wants_color(pipe, {"TERM": "xterm"})
    assert not wants_color(tty, {"TERM": "xterm", "NO_COLOR": "1", "FORCE_COLOR": "1"})
    assert wants_color(pipe, {"FORCE_COLOR": "1"})
