"""`otelprobe audit verify`: whether an audit file is as it was written, and if not, where and what was done to it."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from otelprobe.cli.report_json import json_text

if TYPE_CHECKING:
    from otelprobe.audit.check import Report
    from otelprobe.audit.seal import SealChecker

GOOD, DAMAGED, UNREADABLE = 0, 1, 2
"""Exit codes."""

_MOST_SHOWN = 20


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the command and what it does."""
    parser = subparsers.add_parser("audit", help="check an audit file", description="Work on audit files.")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    verify = actions.add_parser(
        "verify",
        help="find any edit, deletion, insertion and reordering",
        description="Check an audit file, with the files that were renamed when they were full, and say where and how it "
        "was changed. Exit codes: 0 it is as it was written, 1 it is not, 2 it cannot be read.",
    )
    verify.add_argument("file", metavar="FILE", help="the audit file")
    verify.add_argument(
        "--key", metavar="FILE", help="public key of the checkpoints (PEM or JWK): who wrote it is checked"
    )
    verify.add_argument("--only", action="store_true", help="this file only, not those that were renamed before it")
    verify.add_argument("--output", choices=("text", "json"), default="text", help="form of the answer (default: text)")


def run(args: argparse.Namespace) -> int:
    """Check; 0, 1 or 2."""
    from otelprobe.audit.check import check  # noqa: PLC0415 - `--help` checks nothing
    from otelprobe.audit.file import read_head, renamed_files  # noqa: PLC0415

    path = Path(args.file)
    try:
        key = None if args.key is None else _key(args.key)
        older = [] if args.only else renamed_files(path)
        report = check([*older, path], key, read_head(path))
    except OSError as error:
        print(f"otelprobe: {error.filename}: {error.strerror}", file=sys.stderr)
        return UNREADABLE
    except ValueError as error:
        print(f"otelprobe: {args.key}: {error}", file=sys.stderr)
        return UNREADABLE
    if args.output == "json":
        sys.stdout.write(json_text(_document(report)))
    else:
        _print(report, signed=key is not None, files=len(older) + 1)
    return GOOD if report.good else DAMAGED


def _key(path: str) -> "SealChecker":
    from otelprobe.audit.seal import SealChecker  # noqa: PLC0415 - cryptography is needed with a key only

    return SealChecker(Path(path).read_text(encoding="utf-8"))


def _document(report: "Report") -> dict[str, object]:
    return {
        "good": report.good,
        "records": report.records,
        "first": report.first,
        "last": report.last,
        "checkpoints": report.checkpoints,
        "unsealed": report.unsealed,
        "torn_bytes": report.torn,
        "damage": [{"file": d.file, "line": d.line, "kind": d.kind, "detail": d.detail} for d in report.damage],
    }


def _print(report: "Report", *, signed: bool, files: int) -> None:
    for damage in report.damage[:_MOST_SHOWN]:
        print(f"{damage.file}:{damage.line}: {damage.kind}: {damage.detail}")
    if len(report.damage) > _MOST_SHOWN:
        print(f"and {len(report.damage) - _MOST_SHOWN} more")
    span = f", {report.first}..{report.last}" if report.first is not None else ""
    several = f" in {files} files" if files > 1 else ""
    told = "by this key" if signed else "not checked: give --key"
    seals = f"{report.checkpoints} checkpoints ({told})" if report.checkpoints else "no checkpoints"
    tail = f", {report.unsealed} records after the last one" if report.checkpoints and report.unsealed else ""
    print(f"{'OK' if report.good else 'DAMAGED'}: {report.records} records{span}{several}, {seals}{tail}")
    if report.torn:
        print(f"the last record was not finished ({report.torn} bytes): its writer was stopped in the midst of it")
