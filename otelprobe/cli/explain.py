"""`otelprobe explain`: what a reason means, whom it blames, what it spends and what to check first; or all of them."""

import argparse
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from otelprobe.cli.report_json import json_text
from otelprobe.cli.terminal import Line, Piece, Style, clip, for_encoding, harmless, pad, paint, wants_color, wrap
from otelprobe.cli.verdict import BLAMED, SPENT, labelled, security_mark
from otelprobe.reasons import VERDICTS, Blame, Outcome, Reason, Verdict

WARNINGS = frozenset(
    {
        Reason.CERTIFICATE_EXPIRING,
        Reason.CREDENTIAL_EXPIRING,
        Reason.PROVIDER_DEGRADED,
        Reason.PROVIDER_STATUS_UNKNOWN,
        Reason.RATE_LIMIT_UNSEEN,
        Reason.ROTATION_UNSAFE,
        Reason.STATE_LOST,
    }
)
"""Reasons that only ever warn: the step that carries one has passed."""

OWNER = "the step's owner: the identity provider for an auth step, the API for an API step"
LAYER = "against the availability objective of the step's layer, auth or API"
OUTCOMES = {
    Outcome.FAIL: "fail: the target or a credential did not do what was expected",
    Outcome.ERROR: "error: the prober could not tell",
    Outcome.PASS: "pass, with a warning",
}
_NAME = 34
_WIDEST = 100


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the command."""
    parser = subparsers.add_parser(
        "explain",
        help="say what a reason means, who has to look and what to check first",
        description="Say what a reason means, who has to look and what to check first. Without a reason, list all.",
    )
    parser.add_argument("reason", nargs="?", metavar="REASON", help="a reason, such as audience_mismatch")
    parser.add_argument("--output", choices=("text", "json"), default="text", help="form of the answer (default: text)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print one reason or all; 2 if there is no such reason, and the nearest ones on standard error."""
    reason = None
    if args.reason is not None:
        reason = find(args.reason)
        if reason is None:
            print(for_encoding(_unknown(args.reason), sys.stderr.encoding), file=sys.stderr)
            return 2
    if args.output == "json":
        sys.stdout.write(json_text(as_json(reason) if reason else {"reasons": [as_json(r) for r in Reason]}))
        return 0
    width = min(shutil.get_terminal_size((_WIDEST, 24)).columns, _WIDEST)
    color = wants_color(sys.stdout, os.environ)
    lines = _one(reason, width) if reason else _all(width)
    text = "".join(paint(line, width=width, color=color) + "\n" for line in lines)
    sys.stdout.write(for_encoding(text, sys.stdout.encoding))
    return 0


def find(name: str) -> Reason | None:
    """Find a reason by its name, however it is cased and hyphenated."""
    try:
        return Reason(name.strip().lower().replace("-", "_"))
    except ValueError:
        return None


def nearest(name: str) -> list[str]:
    """Give the reasons that a wrong name may have meant: alike in spelling, else those that contain it."""
    wanted = name.strip().lower().replace("-", "_")
    alike = get_close_matches(wanted, list(Reason), n=4, cutoff=0.6)
    return [str(a) for a in alike] or [r.value for r in Reason if len(wanted) > 2 and wanted in r.value][:6]


def as_json(reason: Reason) -> dict[str, Any]:
    """Give one row of the table; `owner` and `layer` stand where the step's layer decides."""
    row = VERDICTS[reason]
    return {
        "reason": reason.value,
        "outcome": outcome_of(reason).value,
        "blame": row.blame.value if row.blame else "owner",
        "counts": row.counts.value if row.counts else "layer",
        "security": row.security,
        "help": row.help,
    }


def outcome_of(reason: Reason) -> Outcome:
    """Give the outcome of a step that ends with this reason."""
    return Outcome.PASS if reason in WARNINGS else VERDICTS[reason].outcome


def by_blame() -> Mapping[Blame | None, list[Reason]]:
    """Group every reason by the blamed side, in the order of the vocabulary; None is the owner of the step."""
    groups: dict[Blame | None, list[Reason]] = {blame: [] for blame in (*Blame, None)}
    for reason in Reason:
        groups[VERDICTS[reason].blame].append(reason)
    return groups


def blame_words(row: Verdict) -> str:
    """Say whom a row blames."""
    return f"{row.blame.value}: {BLAMED[row.blame]}" if row.blame else OWNER


def counts_words(row: Verdict) -> str:
    """Say which objective a row spends."""
    return SPENT[row.counts] if row.counts else LAYER


def _unknown(name: str) -> str:
    close = nearest(name)
    hint = f"did you mean {', '.join(close)}?" if close else "`otelprobe explain` lists all of them."
    return f"otelprobe: no reason is called {clip(harmless(name), 60)}; {hint}"


def _one(reason: Reason, width: int) -> Iterator[Line]:
    row = VERDICTS[reason]
    yield [Piece("  "), Piece(reason.value, Style.BOLD), *security_mark(reason)]
    yield from labelled("means", row.help, width)
    yield from labelled("blame", blame_words(row), width)
    yield from labelled("counts", counts_words(row), width)
    yield from labelled("outcome", OUTCOMES[outcome_of(reason)], width)
    if row.security:
        yield from labelled(
            "kind", "a security finding: it spends no availability, and it should alert all the same", width
        )


def _all(width: int) -> Iterator[Line]:
    for blame, reasons in by_blame().items():
        title = f"{blame.value}: {BLAMED[blame]}" if blame else OWNER
        yield [Piece(f"blame {title}", Style.BOLD)]
        for reason in reasons:
            yield from _row(reason, width)
        yield []
    yield [Piece("`otelprobe explain REASON` says more of one.", Style.DIM)]


def _row(reason: Reason, width: int) -> Iterator[Line]:
    row = VERDICTS[reason]
    text = ("SECURITY: " if row.security else "") + row.help.partition(". ")[0].rstrip(".")
    for number, part in enumerate(wrap(text, width - 3 - _NAME)):
        name = pad(reason.value if number == 0 else "", _NAME)
        yield [Piece(f"  {name} "), Piece(part, Style.BAD if row.security else Style.DIM)]
