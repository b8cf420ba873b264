"""`otelprobe jwt`: the workbench for tokens and keys on one's own machine. One file per action.

Tokens, keys and secrets come from standard input, files and environment variables, never from the command line, where
other users and the shell's history see them.
"""

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

from otelprobe.cli.jwt.inputs import InputError, refuse_tokens

ACTIONS = ("decode", "verify", "weak", "sign", "keygen", "jwks", "attack")
"""Actions, each a module of this package."""

GOOD, BAD, UNUSABLE, DOUBTFUL = 0, 1, 2, 4
"""Exit codes: as asked; the token or key is not good; an argument or file cannot be used; the provider could not be asked."""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the command and its actions."""
    parser = subparsers.add_parser(
        "jwt",
        help="decode, verify, sign and attack tokens, make keys and key sets; offline, nothing leaves the machine",
        description="The workbench for tokens and keys. Tokens come from a file or standard input, never from the "
        "command line; keys and secrets from files or environment variables.",
        epilog="exit codes: 0 good, 1 the token or key is not good, 2 an argument or file cannot be used, "
        "4 the provider could not be asked",
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name in ACTIONS:
        import_module(f"otelprobe.cli.jwt.{name}").add_parser(actions)


def check_words(words: Sequence[str]) -> None:
    """Leave before the arguments are parsed if one of them looks like a token: the parser's messages repeat words."""
    try:
        refuse_tokens(words)
    except InputError as error:
        print(f"otelprobe: {error}", file=sys.stderr)
        raise SystemExit(UNUSABLE) from None


def run(args: argparse.Namespace) -> int:
    """Do the action; 2 with what is wrong if its inputs cannot be used."""
    try:
        return int(import_module(f"otelprobe.cli.jwt.{args.action}").run(args))
    except InputError as error:
        print(f"otelprobe: {error}", file=sys.stderr)
        return UNUSABLE
