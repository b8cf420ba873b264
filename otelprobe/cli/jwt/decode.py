"""`otelprobe jwt decode`: header and claims explained.

The claims are shown, as they are the user's own; the raw token and its signature never are.
"""

import argparse
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

from otelprobe.cli.jwt.inputs import add_output, add_token, read_token
from otelprobe.cli.jwt.page import show, table, title, value_text
from otelprobe.cli.jwt.words import CLAIMS, HEADER, algorithm, relative, times
from otelprobe.cli.report_json import json_text
from otelprobe.cli.terminal import Line, Piece, Style, harmless
from otelprobe.reasons import CheckFailed
from otelprobe.tokens import Jwt, format_of, parse
from otelprobe.tokens.encoding import decoded, json_object

_OPAQUE = "opaque: it is no JWT, only its issuer can say what it means (a step introspect asks; RFC 7662)"
_ENCRYPTED = "the claims are encrypted: only the header can be read, and nothing in it is proven"
_UNPROVEN = "nothing here is proven: `otelprobe jwt verify` checks the signature"


def add_parser(actions: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the action."""
    parser = actions.add_parser(
        "decode",
        help="show header and claims, with what they mean",
        description="Show a token's header and claims, with what they mean and its times in words. Nothing is verified. "
        "Claims are shown because they are yours; the signature and the raw token are not.",
    )
    add_token(parser)
    add_output(parser)


def run(args: argparse.Namespace) -> int:
    """Decode; 1 if it is no JWT."""
    token = read_token(args.file)
    form = format_of(token)
    if form == "jwe":
        header = json_object(token.partition(".")[0]) or {}
        _tell(args.output, {"format": "jwe", "header": header}, _encrypted(header))
        return 0
    if form == "opaque":
        _tell(args.output, {"format": "opaque", "length": len(token)}, [[Piece(_OPAQUE)]])
        return 1
    try:
        jwt = parse(token)
    except CheckFailed as failed:
        _tell(
            args.output, {"format": "broken", "fault": failed.detail}, [[Piece(f"broken: {failed.detail}", Style.BAD)]]
        )
        return 1
    now = time.time()
    _tell(args.output, _document(jwt, now), list(_lines(jwt, now)))
    return 0


def _tell(output: str, document: Mapping[str, Any], lines: list[Line]) -> None:
    if output == "json":
        sys.stdout.write(json_text(document))
    else:
        show(lines)


def _document(jwt: Jwt, now: float) -> dict[str, Any]:
    return {
        "format": "jws",
        "header": dict(jwt.header),
        "claims": dict(jwt.claims),
        "times": {name: {"at": at, "in": round(left, 3)} for name, at, left in times(jwt.claims, now)},
        "signature_bytes": _signature_bytes(jwt),
    }


def _signature_bytes(jwt: Jwt) -> int:
    return len(decoded(jwt.raw.rpartition(".")[2]) or b"")


def _encrypted(header: Mapping[str, Any]) -> list[Line]:
    return [title("header (JWE)"), *table(_header_rows(header)), [], [Piece(_ENCRYPTED, Style.DIM)]]


def _header_rows(header: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    said = {**HEADER, "alg": algorithm(header.get("alg"))}
    return [(harmless(name), value_text(value), said.get(name, "")) for name, value in header.items()]


def _lines(jwt: Jwt, now: float) -> Iterator[Line]:
    yield title("header")
    yield from table(_header_rows(jwt.header))
    yield []
    yield title("claims")
    told = {name: f"{CLAIMS[name]}: {at}, {relative(left)}" for name, at, left in times(jwt.claims, now)}
    yield from table([(harmless(n), value_text(v), told.get(n, CLAIMS.get(n, ""))) for n, v in jwt.claims.items()])
    yield []
    size = _signature_bytes(jwt)
    yield [Piece("signature ", Style.BOLD), Piece(f"{size} bytes, not shown" if size else "none", Style.PLAIN)]
    yield [Piece(_UNPROVEN, Style.DIM)]
