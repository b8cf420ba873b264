"""Text for a terminal: cells instead of characters, foreign text made harmless, styles applied last of all.

A line is built as pieces of text with a style and becomes a string only in `paint`, which cuts it to the width. So the
layout is the same with and without colour, and no text from outside can move the cursor or colour the screen.
"""

import math
import re
import unicodedata
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import NamedTuple, TextIO

ELLIPSIS = "…"


class Style(StrEnum):
    """How a piece of text looks; the values are ANSI SGR codes that read well on dark and on light backgrounds."""

    PLAIN = ""
    BOLD = "1"
    DIM = "2"
    GOOD = "32"
    BAD = "1;31"
    DOUBT = "33"
    AUTH = "36"
    API = "35"
    GOOD_BADGE = "1;7;32"
    BAD_BADGE = "1;7;31"
    DOUBT_BADGE = "1;7;33"


class Piece(NamedTuple):
    """A text in one style. The text is harmless already: what comes from outside goes through `harmless` first."""

    text: str
    style: Style = Style.PLAIN


Line = list[Piece]

_BLANK = {ord(c): " " for c in "\t\n\r\v\f\x1c\x1d\x1e\x1f\x85\u2028\u2029"}
_UNSAFE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
_PLAIN_TEXT = re.compile(r"[ -~]*")
_ASCII = {ord(c): "#" for c in "█▉▊▋▌▍▎▏▐▕"} | str.maketrans("▒░─✓✗·…µ", "=.-+x-~u")

# Each bound is where the next larger form begins after rounding, so that 999.6 µs is 1.0 ms and never 1000 µs.
_SCALES = (
    (0.0000005, 1e6, "<1 µs"),
    (0.0009995, 1e6, "{:.0f} µs"),
    (0.09995, 1e3, "{:.1f} ms"),
    (0.9995, 1e3, "{:.0f} ms"),
    (9.995, 1.0, "{:.2f} s"),
    (99.95, 1.0, "{:.1f} s"),
)


def harmless(text: str) -> str:
    """Show control, format and surrogate characters as escapes, line breaks and tabs as blanks.

    That covers terminal escape sequences (C0 and C1) and the marks that reorder or hide text (Trojan Source).
    """
    if _PLAIN_TEXT.fullmatch(text):
        return text
    text = text.translate(_BLANK)
    return "".join(_escaped(c) if unicodedata.category(c) in _UNSAFE else c for c in text)


def _escaped(char: str) -> str:
    code = ord(char)
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"


def _cell(char: str) -> int:
    if unicodedata.combining(char) or unicodedata.category(char) in {"Mn", "Me"}:
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def cells(text: str) -> int:
    """Count the terminal columns that a text takes: wide characters two, combining marks none."""
    return len(text) if text.isascii() else sum(map(_cell, text))


def _head(text: str, width: int) -> str:
    taken, used = 0, 0
    for char in text:
        used += _cell(char)
        if used > width:
            break
        taken += 1
    return text[:taken]


def clip(text: str, width: int) -> str:
    """Cut a text to at most `width` cells; an ellipsis stands for what is missing at its end."""
    if cells(text) <= width:
        return text
    return _head(text, width - 1) + ELLIPSIS if width > 0 else ""


def clip_middle(text: str, width: int) -> str:
    """Cut a text to at most `width` cells, keeping its start and its end."""
    if cells(text) <= width or width < 3:
        return clip(text, width)
    tail = (width - 1) // 2
    return _head(text, width - 1 - tail) + ELLIPSIS + _head(text[::-1], tail)[::-1]


def pad(text: str, width: int) -> str:
    """Fill a text with blanks up to `width` cells."""
    return text + " " * max(0, width - cells(text))


def pad_left(text: str, width: int) -> str:
    """Put blanks before a text so that it ends at `width` cells."""
    return " " * max(0, width - cells(text)) + text


def wrap(text: str, width: int) -> list[str]:
    """Break a text at blanks into lines of at most `width` cells; a word that is longer is broken where it must be."""
    width = max(width, 2)
    lines: list[str] = []
    line = ""
    for word in text.split():
        joined = f"{line} {word}" if line else word
        if cells(joined) <= width:
            line = joined
            continue
        lines.extend([line] if line else [])
        rest = word
        while cells(rest) > width:
            part = _head(rest, width)
            lines.append(part)
            rest = rest[len(part) :]
        line = rest
    return [*lines, line] if line else lines


def width_of(line: Iterable[Piece]) -> int:
    """Count the cells of a line."""
    return sum(cells(piece.text) for piece in line)


def paint(line: Iterable[Piece], *, width: int, color: bool) -> str:
    """Make a line a string of at most `width` cells, without blanks at its end, coloured if wanted."""
    out: list[str] = []
    left = width
    pieces = _trimmed(list(line))
    too_long = width_of(pieces) > width
    for text, style in pieces:
        part = text if not too_long or cells(text) < left else clip(text + " ", left)
        left -= cells(part)
        out.append(f"\x1b[{style.value}m{part}\x1b[0m" if color and style.value and part.strip() else part)
        if left <= 0:
            break
    return "".join(out)


def _trimmed(pieces: Line) -> Line:
    while pieces and not pieces[-1].text.rstrip():
        pieces.pop()
    if pieces:
        pieces[-1] = Piece(pieces[-1].text.rstrip(), pieces[-1].style)
    return pieces


def seconds(value: float) -> str:
    """Say a duration for people: `850 µs`, `12.3 ms`, `1.24 s`, `2 min 05 s`."""
    if not math.isfinite(value):
        return "?"
    if value <= 0:
        return "0 ms"
    for below, factor, form in _SCALES:
        if value < below:
            return form.format(value * factor)
    whole = round(value)
    return (
        f"{whole // 60} min {whole % 60:02d} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    )


def span_of_time(value: float) -> str:
    """Say a long time for people in its two largest units: `12 d 4 h`, `3 h 10 min`; below two minutes as seconds."""
    if not math.isfinite(value):
        return "?"
    if value < 120:
        return seconds(value)
    minutes = int(value) // 60
    days, hours, minutes = minutes // 1440, minutes // 60 % 24, minutes % 60
    if days:
        return f"{days} d {hours} h" if days < 10 and hours else f"{days} d"
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min"


def for_encoding(text: str, encoding: str | None) -> str:
    """Give a text that a stream of this encoding can take: unchanged if it can, else with ASCII in place of the drawing."""
    encoding = encoding or "ascii"
    try:
        text.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return text.translate(_ASCII).encode("ascii", "backslashreplace").decode("ascii")
    return text


def wants_color(stream: TextIO, environment: Mapping[str, str]) -> bool:
    """Tell whether to colour: NO_COLOR forbids (no-color.org), FORCE_COLOR wants it, else on a terminal that can."""
    if environment.get("NO_COLOR"):
        return False
    if environment.get("FORCE_COLOR"):
        return True
    return stream.isatty() and environment.get("TERM", "") not in {"", "dumb"}
