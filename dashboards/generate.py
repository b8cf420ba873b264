"""Writes the dashboards, the rules and their pages, or with `--check` tells which of them are stale.

Run by `make docs` and `make check`. With `--output DIR` it writes another set, made for an installation of your own:
`python -m dashboards.generate --output DIR --grafana-url https://grafana.corp.example`.
"""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

from dashboards.source import outputs, pages, routing
from dashboards.source.alerts import groups
from dashboards.source.boards import boards
from dashboards.source.frame import render
from dashboards.source.rules import Parameters

_ROOT = Path(__file__).resolve().parents[1]


def files(p: Parameters) -> Mapping[str, str]:
    """Give the text of every generated file, by its path from the project's folder."""
    every = groups(p)
    recorded = tuple(group for group in every if group.records)
    alerting = tuple(group for group in every if group.alerts)
    alerts = "dashboards/alerts"
    return {
        "docs/dashboards.md": pages.boards_page(),
        "docs/alerts.md": pages.alerts_page(every, p),
        **{f"dashboards/grafana/{board.uid}.json": render(board) for board in boards()},
        f"{alerts}/prometheus/recording.rules.yaml": outputs.dump(outputs.rule_file(recorded, p)),
        f"{alerts}/prometheus/alerts.rules.yaml": outputs.dump(outputs.rule_file(alerting, p)),
        f"{alerts}/kubernetes/prometheusrule.yaml": outputs.dump(outputs.prometheus_rule(every, p)),
        f"{alerts}/alertmanager.yaml": outputs.dump(routing.alertmanager(p)),
        "dashboards/provisioning/dashboards/otelprobe.yaml": outputs.dump(outputs.board_provider()),
        "dashboards/provisioning/alerting/rules.yaml": outputs.dump(outputs.grafana_rules(every, p)),
        "dashboards/provisioning/alerting/policies.yaml": outputs.dump(routing.notification_policies(p)),
        "dashboards/provisioning/alerting/contact-points.yaml": outputs.dump(routing.contact_points(p)),
    }


def main(arguments: list[str]) -> int:
    """Write or check every file; 1 if one is stale."""
    parser = argparse.ArgumentParser(description="Write dashboards and alert rules.")
    defaults = Parameters()
    parser.add_argument("--check", action="store_true", help="write nothing, tell what is stale")
    parser.add_argument("--output", type=Path, default=_ROOT, metavar="DIR", help="another folder to write to")
    parser.add_argument("--grafana-url", default=defaults.grafana, metavar="URL", help="where alerts link to")
    parser.add_argument("--docs-url", default=defaults.docs, metavar="URL", help="where docs/alerts.md stands")
    parser.add_argument("--datasource", default=defaults.datasource, metavar="UID", help="Prometheus in Grafana")
    parser.add_argument("--scale", type=float, default=1.0, help="shorten every duration, to try alerts out: 0.01")
    args = parser.parse_args(arguments)
    p = Parameters(scale=args.scale, grafana=args.grafana_url, docs=args.docs_url, datasource=args.datasource)
    made = files(p)
    if args.check:
        stale = [name for name, text in made.items() if not _same(args.output / name, text)]
        for name in stale:
            sys.stderr.write(f"{name} is stale: run make docs\n")
        return 1 if stale else 0
    for name, text in made.items():
        path = args.output / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return 0


def _same(path: Path, text: str) -> bool:
    return path.exists() and path.read_text(encoding="utf-8") == text


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
