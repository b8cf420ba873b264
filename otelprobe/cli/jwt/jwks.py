"""`otelprobe jwt jwks`: a key set made of keys, with public members only, or one looked into."""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from otelprobe.cli.jwt.inputs import InputError, add_output, read_json
from otelprobe.cli.jwt.page import show, table
from otelprobe.cli.jwt.verify import read_key
from otelprobe.cli.report_json import json_text
from otelprobe.cli.terminal import Line, Piece, Style, harmless
from otelprobe.reasons import CheckFailed
from otelprobe.tokens import Key, parse_key_set, thumbprint


def add_parser(actions: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the action."""
    parser = actions.add_parser(
        "jwks",
        help="make a key set of keys, or look into one",
        description="Print a key set of the public halves of these keys (PEM or JWK, public or private), or with --inspect "
        "say what is in a key set; exit code 1 if it holds a private key or one that cannot be used.",
    )
    parser.add_argument("keys", nargs="*", metavar="FILE", help="keys to put into the set")
    parser.add_argument("--inspect", metavar="FILE", help="key set to look into; - for standard input")
    parser.add_argument("--use", default="sig", choices=("sig", "enc"), help="what the keys are for (default: sig)")
    add_output(parser)


def run(args: argparse.Namespace) -> int:
    """Make or inspect."""
    if (args.inspect is None) == (not args.keys):
        raise InputError("name keys to make a set of, or --inspect FILE")
    if args.inspect is not None:
        return _inspect(args.inspect, args.output)
    keys = [_public(path, args.use) for path in args.keys]
    kids = [key["kid"] for key in keys]
    twice = next((kid for kid in kids if kids.count(kid) > 1), None)
    if twice is not None:
        raise InputError(f"two keys have the kid {twice}: a validator could not tell them apart")
    sys.stdout.write(json.dumps({"keys": keys}, indent=2) + "\n")
    return 0


def _public(path: str, use: str) -> dict[str, Any]:
    key = read_key(path)
    if key.kty == "oct":
        raise InputError(f"{path}: a shared secret is never published in a key set")
    return {**key.jwk, "kid": key.kid if key.kid is not None else thumbprint(key.jwk), "use": key.use or use}


def _inspect(path: str, output: str) -> int:
    try:
        keys = parse_key_set(read_json(path, "the key set"))
    except CheckFailed as failed:
        raise InputError(f"{path}: {failed.detail}") from None
    if output == "json":
        sys.stdout.write(json_text({"keys": [_row(key) for key in keys]}))
    else:
        show(_lines(keys))
    return 1 if any(key.private or key.fault or key.kty == "oct" for key in keys) or not keys else 0


def _row(key: Key) -> dict[str, Any]:
    return {
        "kid": key.kid,
        "kty": key.kty,
        "crv": key.jwk.get("crv"),
        "alg": key.alg,
        "use": key.use,
        "bits": _bits(key),
        "thumbprint": key.thumbprint,
        "private": key.private,
        "verifies": key.verifies,
        "fault": key.fault,
    }


def _bits(key: Key) -> int | None:
    """Give the size of an RSA key."""
    from otelprobe.tokens.encoding import decoded  # noqa: PLC0415 - RSA keys only

    modulus = key.jwk.get("n")
    value = decoded(modulus) if key.kty == "RSA" and isinstance(modulus, str) else None
    return int.from_bytes(value).bit_length() if value else None


def _lines(keys: Sequence[Key]) -> Iterator[Line]:
    if not keys:
        yield [Piece("the key set is empty", Style.BAD)]
    for key in keys:
        row = _row(key)
        what = " ".join(harmless(str(part)) for part in (key.kty, row["crv"], key.alg, key.use) if part)
        size = f" {row['bits']} bits" if row["bits"] else ""
        yield [Piece(harmless(key.kid) if key.kid is not None else "(no kid)", Style.BOLD), Piece(f"  {what}{size}")]
        yield from table([("thumbprint", key.thumbprint or "none", "RFC 7638")])
        yield from ([Piece(f"  {text}", Style.BAD)] for text in _faults(key, row["bits"]))


def _faults(key: Key, bits: int | None) -> Iterator[str]:
    if key.private:
        yield "PRIVATE members are in it: whoever can read this file can sign. Replace the key"
    elif key.kty == "oct":
        yield "a shared secret: it has no place in a key set that others can read"
    if key.fault is not None:
        yield f"cannot be used: {harmless(key.fault)}"
    if bits is not None and bits < 2048:
        yield f"{bits} bits are too few: RFC 7518 wants 2048 or more"
