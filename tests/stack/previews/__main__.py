"""Draw docs/pictures: `python -m tests.stack.previews`; `--folder` keeps the stores, `--again` draws from a kept folder."""

import argparse
import json
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from dashboards.source.frame import every_panel
from tests.dashboards.test_boards import BOARDS
from tests.stack.harness.cache import REPOSITORY
from tests.stack.harness.prometheus import Prometheus
from tests.stack.previews.ask import Range, Sources, answers, failed_traces
from tests.stack.previews.draw import draw
from tests.stack.previews.feed import events, fed

PICTURES = REPOSITORY / "docs" / "pictures"
FLOW = "partner-orders"
"""The flow whose board is shown."""

SECONDS = 420.0


def _feed(folder: Path, seconds: float) -> None:
    """Fill the stores, ask those that keep nothing, and remember their answers beside the series."""
    (target,) = next(p for p in every_panel(BOARDS["otelprobe-flow"]) if "(Jaeger)" in p["title"])["targets"]
    with fed(folder, seconds) as stores:
        kept = {
            "begun": stores.begun,
            "ended": stores.ended,
            "events": events(stores.inbox),
            "traces": failed_traces(stores.jaeger, target, FLOW),
        }
    (folder / "kept.json").write_text(json.dumps(kept), encoding="utf-8")


def _ask(folder: Path, only: list[str]) -> dict[str, Any]:
    """Start Prometheus on what it has kept and put every panel's queries to it."""
    kept = json.loads((folder / "kept.json").read_text(encoding="utf-8"))
    empty = folder / "no-rules.yml"
    empty.write_text("{}\n", encoding="utf-8")
    told = {}
    with ExitStack() as running:
        prometheus = running.enter_context(Prometheus(folder, config=empty))
        sources = Sources(prometheus, None, kept["events"], kept["traces"])
        for uid in only:
            chosen = {"flow": FLOW, "provider": "partner-id"} if uid == "otelprobe-flow" else {}
            over = Range(kept["begun"], kept["ended"], chosen)
            told[uid] = {
                "board": BOARDS[uid],
                "answers": answers(BOARDS[uid], sources, over),
                "from": over.begun * 1000,
                "to": over.ended * 1000,
                "chosen": chosen,
            }
    return told


def main() -> None:
    """Read the arguments and do it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="where the stores are; default: a temporary one")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="how long the stores are fed")
    parser.add_argument("--again", action="store_true", help="draw from a folder that was fed before")
    parser.add_argument("--output", type=Path, default=PICTURES)
    parser.add_argument("--board", action="append", choices=sorted(BOARDS), help="only this one")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="otelprobe-previews-") as temporary:
        folder = args.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        if not args.again:
            _feed(folder, args.seconds)
        for path, empty in draw(_ask(folder, args.board or sorted(BOARDS)), folder, args.output):
            print(f"{path}: {path.stat().st_size // 1000} KB" + "".join(f"\n  NO DATA: {title}" for title in empty))


if __name__ == "__main__":
    main()
