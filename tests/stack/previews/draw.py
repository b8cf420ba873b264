"""The page in headless Chromium, and its picture with few colours."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from tests.stack.harness import cache
from tests.stack.harness.node import script

HERE = Path(__file__).resolve().parent
_COLOURS = 128
_PATIENCE = 120_000
"""Milliseconds."""

_PAGE = """<!doctype html><meta charset="utf-8"><title>{title}</title>
<link rel="stylesheet" href="preview.css"><style>html,body{{margin:0}}</style><div id="root"></div>
<script>
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
    chromium = cache.need("chromium", "install Chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        try:
            for uid, what in told.items():
                picture = output / f"{uid}.png"
                empty = _picture(browser, place, uid, what)
                _small(place / f"{uid}.png", picture)
                yield picture, empty
        finally:
            browser.close()


def _picture(browser: Browser, place: Path, uid: str, what: dict[str, Any]) -> list[str]:
    page = place / f"{uid}.html"
    told = json.dumps(what).replace("</", "<\\/")
    page.write_text(_PAGE.format(title=uid, told=told, now=int(what["to"])), encoding="utf-8")
    view = browser.new_page(viewport={"width": 1600, "height": 1000}, timezone_id="UTC")
    errors: list[str] = []
    view.on("pageerror", lambda error: errors.append(str(error)))
    view.set_default_timeout(_PATIENCE)
    view.goto(page.as_uri())
    view.wait_for_selector("#board")
    height = int(view.evaluate("document.querySelector('#board').offsetHeight"))
    view.set_viewport_size({"width": 1600, "height": height})  # a table draws the rows that are in sight
    view.wait_for_timeout(1500)  # the plots draw when their sizes are known
    view.locator("#board").screenshot(path=place / f"{uid}.png")
    assert not errors, errors
    found: list[str] = view.evaluate("[...new Set(window.empty)]")
    view.close()
    return found


def _small(source: Path, target: Path) -> None:
    with Image.open(source) as image:
        few = image.convert("RGB").quantize(_COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
        few.save(target, optimize=True)
