"""One row of a waterfall: a stretch of time drawn to scale in block characters, an eighth of a cell fine."""

from otelprobe.cli.terminal import Line, Piece, Style, cells, seconds
from otelprobe.quick import dataclass
from otelprobe.reasons import Layer

_EIGHTHS = " ▏▎▍▌▋▊▉█"
_FILL = {Layer.AUTH: "█", Layer.API: "▒", Layer.DEPENDENCY: "─"}
_STYLE = {Layer.AUTH: Style.AUTH, Layer.API: Style.API, Layer.DEPENDENCY: Style.DIM}
CONTROL_FILL = "░"


@dataclass(frozen=True, slots=True)
class Timeline:
    """A scale: `width` cells for `total` seconds."""

    width: int
    total: float

    def axis(self) -> str:
        """Write the scale: zero, the middle where there is room, the end."""
        text = "0"
        marks = [(self.width // 2, self.total / 2)] if self.width >= 36 else []
        for cell, value in (*marks, (self.width, self.total)):
            label = seconds(value)
            room = cell - cells(text) - cells(label) + (cells(label) // 2 if cell < self.width else 0)
            if room > 0:
                text += " " * room + label
        return text

    def bar(self, start: float, length: float, layer: Layer, control: float = 0.0) -> Line:
        """Draw `length` seconds from `start`, then `control` seconds of requests that are not part of the step's time.

        The start is drawn to half a cell, the end to an eighth. What lasted at all is visible.
        """
        first, last = self._eighths(start), self._eighths(start + length)
        first = min(first, self.width * 8 - 1)
        last = max(last, first + 1)
        text = _between(first, last, _FILL[layer])
        if layer is Layer.DEPENDENCY:
            text = " " * (first // 8) + _FILL[layer] * (len(text) - first // 8)
        line = [Piece(text, _STYLE[layer])]
        taken = len(text)
        end = -(-self._eighths(start + length + control) // 8)
        if control > 0 and end > taken:
            line.append(Piece(CONTROL_FILL * (end - taken), Style.DIM))
            taken = end
        return [*line, Piece(" " * (self.width - taken))]

    def _eighths(self, at: float) -> int:
        share = at / self.total if self.total > 0 else 0.0
        return round(min(max(share, 0.0), 1.0) * self.width * 8)


def _between(first: int, last: int, fill: str) -> str:
    """Draw from one eighth to another: blanks, a rounded start, whole cells, a partial end."""
    cell, into = divmod(first, 8)
    blank = " " * cell
    if last <= (cell + 1) * 8:
        return blank + _inside(into, last - cell * 8, fill)
    whole, rest = divmod(last, 8)
    start = fill if into < 3 else "▐" if into < 7 else "▕"
    return blank + start + fill * (whole - cell - 1) + (_EIGHTHS[rest] if rest else "")


def _inside(start: int, end: int, fill: str) -> str:
    """Draw a stretch that lies in one cell: Unicode has the left eighths, and of the right ones a half and an eighth."""
    if end - start >= 7:
        return fill
    if start < 4:
        return _EIGHTHS[end - start]
    return "▐" if end - start >= 3 else "▕"
