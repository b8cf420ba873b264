"""The page in headless Chromium, and its picture with few colours."""

import base64
import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from otelprobe.chromium import Chromium
from tests.stack.harness.node import script

HERE = Path(__file__).resolve().parent
_COLOURS = 128
_WIDTH = 1600
_PATIENCE = 120.0
"""Seconds for one board."""

_PAGE = """<!doctype html><meta charset="utf-8"><title>{title}</title>
<link rel="stylesheet" href="preview.css"><style>html,body{{margin:0}}</style><div id="root"></div>
<script>
window.faults = [];
addEventListener("error", (told) => faults.push(told.message));
window.PREVIEW = {told};
const Real = Date, shift = {now} - Real.now();
Date = class extends Real {{
  constructor(...words) {{ super(...(words.length ? words : [Date.now()])); }}
  static now() {{ return Real.now() + shift; }}
}};
</script><script src="preview.js"></script>
"""
"""The page thinks that it is the end of the range: "a minute ago" is told from there."""


def bundle(folder: Path) -> Path:
    """Make one script of the page and the packages that it uses; give the folder it is in."""
    place = folder / "page"
    source = script(HERE, "preview.jsx", place)
    program = place / "node_modules" / ".bin" / "esbuild"
    command = [
        program, source.name, "--bundle", "--outfile=preview.js", "--format=iife", "--minify", "--loader:.ttf=dataurl",
        "--loader:.svg=dataurl", '--define:process.env.NODE_ENV="production"', "--log-level=error",
    ]  # fmt: skip
    subprocess.run(command, cwd=place, check=True, timeout=120)
    return place


def draw(told: dict[str, dict[str, Any]], folder: Path, output: Path) -> Iterator[tuple[Path, list[str]]]:
    """Draw the boards; give each picture's path and the titles of the panels that had no data."""
    place = bundle(folder)
    output.mkdir(parents=True, exist_ok=True)
    for uid, what in told.items():
        browser = Chromium(time.monotonic() + _PATIENCE)
        try:
            empty = _picture(browser, place, uid, what)
        finally:
            browser.close()
        picture = output / f"{uid}.png"
        _small(place / f"{uid}.png", picture)
        yield picture, empty


def _picture(browser: Chromium, place: Path, uid: str, what: dict[str, Any]) -> list[str]:
    page = place / f"{uid}.html"
    told = json.dumps(what).replace("</", "<\\/")
    page.write_text(_PAGE.format(title=uid, told=told, now=int(what["to"])), encoding="utf-8")
    browser.call("Emulation.setTimezoneOverride", {"timezoneId": "UTC"})
    _resize(browser, 1000)
    browser.call("Page.navigate", {"url": page.as_uri()})
    while not _value(browser, "Boolean(document.querySelector('#board'))"):
        time.sleep(0.2)
    height = int(_value(browser, "document.querySelector('#board').offsetHeight"))
    _resize(browser, height)  # a table draws the rows that are in sight
    time.sleep(1.5)  # the plots draw when their sizes are known
    shown = {"x": 0, "y": 0, "width": _WIDTH, "height": height, "scale": 1}
    image = browser.call("Page.captureScreenshot", {"format": "png", "clip": shown})["data"]
    (place / f"{uid}.png").write_bytes(base64.b64decode(image))
    faults = _value(browser, "window.faults")
    assert not faults, faults
    found: list[str] = _value(browser, "[...new Set(window.empty)]")
    return found


def _resize(browser: Chromium, height: int) -> None:
    size = {"width": _WIDTH, "height": height, "deviceScaleFactor": 1, "mobile": False}
    browser.call("Emulation.setDeviceMetricsOverride", size)


def _value(browser: Chromium, expression: str) -> Any:
    answer = browser.call("Runtime.evaluate", {"expression": expression, "returnByValue": True})
    return answer["result"].get("value")


def _small(source: Path, target: Path) -> None:
    with Image.open(source) as image:
        few = image.convert("RGB").quantize(_COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
        few.save(target, optimize=True)
