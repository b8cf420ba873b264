"""Where tokens, keys and secrets come from: standard input, files, environment variables. No message repeats what was read."""

import argparse
import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_TOKEN = re.compile(r"(?:.*=)?\s*(?:bearer\s+)?e[wy][\w-]{8,}(?:\.[\w-]*){1,4}\s*", re.IGNORECASE | re.DOTALL)
"""A word that begins as JSON does in base64url, in segments: what JWS and JWE look like."""

_LONGEST = 1024**2
_MEND = "give it on standard input, as in `otelprobe jwt decode < FILE`, or name a file"


class InputError(Exception):
    """An argument, file or variable cannot be used; the text is for the user and shows no secret."""


def refuse_tokens(words: Sequence[str]) -> None:
    """Raise InputError if a word of the command line looks like a token: other users and the history can see it."""
    if any(_TOKEN.fullmatch(word) for word in words):
        raise InputError(
            f"a token on the command line can be seen by other users and stays in the shell's history: {_MEND}"
        )


def add_token(parser: argparse.ArgumentParser) -> None:
    """Add the file that the token is read from."""
    parser.add_argument(
        "file", nargs="?", default="-", metavar="FILE", help="file with the token (default: standard input)"
    )


def add_output(parser: argparse.ArgumentParser) -> None:
    """Add the form of the answer."""
    parser.add_argument("--output", choices=("text", "json"), default="text", help="form of the answer (default: text)")


def add_secret(parser: argparse.ArgumentParser) -> None:
    """Add where a shared secret is read from."""
    parser.add_argument("--secret-file", metavar="FILE", help="shared secret, for HS algorithms; a line end is cut off")
    parser.add_argument("--secret-env", metavar="NAME", help="environment variable with the shared secret")


def read_token(source: str) -> str:
    """Read a token; blanks and line ends in it, as mails and terminals make them, and a leading `Bearer` are left out."""
    text = read_text(source)
    token = "".join(re.sub(r"^\s*(?:authorization:\s*)?(?:bearer|dpop)\s+", "", text, flags=re.IGNORECASE).split())
    if not token:
        raise InputError(f"there is no token in {_name(source)}: {_MEND}")
    return token


def read_text(source: str) -> str:
    """Read a file, or standard input for `-`."""
    try:
        if source == "-":
            if sys.stdin.isatty():
                print("paste, then end with Ctrl-D:", file=sys.stderr)
            return sys.stdin.buffer.read(_LONGEST).decode()
        with Path(source).open("rb") as file:
            return file.read(_LONGEST).decode()
    except OSError as error:
        raise InputError(f"{_name(source)}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"{_name(source)}: it is not UTF-8 text") from None


def _name(source: str) -> str:
    """Name a source; a long word is not repeated, as it may be a token that was taken for a file."""
    if source == "-":
        return "standard input"
    return source if len(source) <= 80 or "/" in source else f"a file with a name of {len(source)} characters"


def read_json(source: str, what: str) -> Any:
    """Read a JSON document."""
    try:
        return json.loads(read_text(source))
    except (ValueError, RecursionError):
        raise InputError(f"{_name(source)}: {what} has to be JSON") from None


def read_object(source: str, what: str) -> Mapping[str, Any]:
    """Read a JSON object."""
    document = read_json(source, what)
    if not isinstance(document, dict):
        raise InputError(f"{_name(source)}: {what} has to be a JSON object")
    return document


def read_secret(args: argparse.Namespace) -> str | None:
    """Read the shared secret that the arguments name; None if they name none."""
    if args.secret_env is not None:
        value = os.environ.get(args.secret_env, "")
        if not value:
            raise InputError(f"environment variable {_name(args.secret_env)} is not set or empty")
        return value
    if args.secret_file is None:
        return None
    secret = read_text(args.secret_file).rstrip("\r\n")
    if not secret:
        raise InputError(f"{_name(args.secret_file)} is empty")
    return secret
