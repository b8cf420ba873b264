"""`otelprobe jwt weak`: whether a token's shared secret is one that anybody can guess. The secret itself is not shown."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from otelprobe.cli.jwt.inputs import InputError, add_output, add_token, read_token
from otelprobe.cli.report_json import json_text
from otelprobe.forging.jws import guessed_secret
from otelprobe.forging.weak_secrets import COMMON
from otelprobe.reasons import CheckFailed
from otelprobe.tokens import SYMMETRIC, Jwt, parse

_AT_ONCE = 4096


def add_parser(actions: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the action."""
    parser = actions.add_parser(
        "weak",
        help="try notorious secrets on an HS token",
        description="Try the notorious secrets on a token that is signed with a shared one. Nothing is sent. Exit codes: 0 "
        "none of them fits, 1 one does.",
    )
    add_token(parser)
    parser.add_argument("--wordlist", metavar="FILE", help="try the lines of this file too")
    add_output(parser)


def run(args: argparse.Namespace) -> int:
    """Try; 1 if a secret fits."""
    try:
        jwt = parse(read_token(args.file))
    except CheckFailed as failed:
        raise InputError(failed.detail) from None
    if jwt.alg not in SYMMETRIC:
        raise InputError("the token is not signed with a shared secret: there is none to guess")
    tried, found = _try(jwt, args.wordlist)
    place = None if found is None else f"{found[0]}, line {found[1]}"
    if args.output == "json":
        sys.stdout.write(json_text({"weak": found is not None, "where": place, "tried": tried}))
    elif place is None:
        print(f"none of {tried} secrets fits")
    else:
        print(f"WEAK: the secret stands in {place}: anybody can sign such tokens. Draw another, of 32 bytes or more")
    return 0 if found is None else 1


def _try(jwt: Jwt, wordlist: str | None) -> tuple[int, tuple[str, int] | None]:
    """Give how many secrets were tried, and the list and line of the one that fits."""
    line = _line(jwt, COMMON)
    if line is not None:
        return line, ("the built-in list", line)
    if wordlist is None:
        return len(COMMON), None
    count = 0
    for words in _chunks(wordlist):
        line = _line(jwt, words)
        if line is not None:
            return len(COMMON) + count + line, (wordlist, count + line)
        count += len(words)
    return len(COMMON) + count, None


def _line(jwt: Jwt, words: Sequence[str]) -> int | None:
    """Give the number of the word that fits, from 1."""
    if not guessed_secret(jwt, words):
        return None
    return next(number for number, word in enumerate(words, 1) if guessed_secret(jwt, (word,)))


def _chunks(path: str) -> Iterator[Sequence[str]]:
    try:
        with Path(path).open(encoding="utf-8", errors="ignore") as file:
            while words := [line.rstrip("\r\n") for line in islice(file, _AT_ONCE)]:
                yield words
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
