"""Bars are to scale."""

import itertools

import pytest

from otelprobe.cli.terminal import width_of
from otelprobe.cli.timeline import Timeline
from otelprobe.reasons import Layer

TEN = Timeline(10, 1.0)


def drawn(start: float, length: float, layer: Layer = Layer.AUTH, control: float = 0.0, scale: Timeline = TEN) -> str:
    return "".join(p.text for p in scale.bar(start, length, layer, control))


@pytest.mark.parametrize(
    ("start", "length", "bar"),
    [
        (0.0, 1.0, "██████████"),
        (0.0, 0.5, "█████     "),
        (0.5, 0.5, "     █████"),
        (0.0, 0.0125, "▏         "),
        (0.0, 0.0625, "▋         "),
        (0.2, 0.3625, "  ███▋    "),
        (0.05, 0.2, "▐█▌       "),
        (0.9999, 0.5, "         ▕"),
        (0.0, 0.0, "▏         "),
        (-5.0, 0.1, "▏         "),
        (0.0, 99.0, "██████████"),
    ],
)
def test_scale(start: float, length: float, bar: str) -> None:
    """A bar starts and ends where its time says, an eighth of a cell fine, and what ran at all is visible."""
    assert drawn(start, length) == bar


def test_layers_differ_without_colour() -> None:
    """Auth, API and dependency bars have fills that differ, and controls a fourth."""
    assert drawn(0.0, 0.5, Layer.API) == "▒▒▒▒▒     "
    assert drawn(0.0, 0.5, Layer.DEPENDENCY) == "─────     "
    assert drawn(0.2, 0.3, Layer.API, 0.2) == "  ▒▒▒░░   "


@pytest.mark.parametrize("layer", Layer)
def test_every_bar_has_the_width(layer: Layer) -> None:
    """Whatever the numbers, a bar takes exactly its cells, so the column after it stands straight."""
    numbers = [x / 16 for x in range(18)]
    for start, length, width in itertools.product(numbers, numbers, (1, 8, 33)):
        for control in (0.0, 0.2):
            assert width_of(Timeline(width, 1.0).bar(start, length, layer, control)) == width


def test_no_time_at_all() -> None:
    """A flow that took no time is drawn, not divided by zero."""
    assert drawn(0.0, 0.0, scale=Timeline(4, 0.0)) == "▏   "
    assert Timeline(40, 0.0).axis().startswith("0")


def test_axis() -> None:
    """The scale names its ends and its middle, and leaves out what has no room."""
    axis = Timeline(40, 0.4).axis()
    assert axis.split() == ["0", "200", "ms", "400", "ms"]
    assert len(axis) == 40
    assert Timeline(10, 0.4).axis() == "0   400 ms"
    assert Timeline(4, 0.4).axis() == "0"
