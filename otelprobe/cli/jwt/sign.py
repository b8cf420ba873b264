"""`otelprobe jwt sign`: claims into a token, for tests of one's own services."""

import argparse
import sys
import time
from collections.abc import Mapping
from typing import Any

from otelprobe.cli.jwt.inputs import InputError, add_secret, read_object
from otelprobe.cli.jwt.signing_key import SigningKey, signing_key
from otelprobe.fields import parse_duration
from otelprobe.tokens import sign
from otelprobe.tokens.algorithms import foreign_errors


def add_parser(actions: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the action."""
    parser = actions.add_parser(
        "sign",
        help="sign claims into a token",
        description="Sign a JSON object of claims as it is, good or not, and print the token.",
    )
    parser.add_argument(
        "claims", nargs="?", default="-", metavar="FILE", help="claims as JSON (default: standard input)"
    )
    parser.add_argument("--key", metavar="FILE", help="private key in PEM or as a JWK")
    add_secret(parser)
    parser.add_argument("--alg", metavar="ALG", help="algorithm (default: the key's own, else the usual one for it)")
    parser.add_argument("--kid", metavar="TEXT", help="kid of the header (default: the key's own)")
    parser.add_argument("--typ", default="JWT", metavar="TYPE", help="typ of the header (default: JWT)")
    parser.add_argument("--header", metavar="FILE", help="more members of the header, as JSON")
    parser.add_argument("--expires-in", metavar="TIME", help="set iat to now and exp to so much later, as 5m")


def run(args: argparse.Namespace) -> int:
    """Sign and print."""
    if args.claims == "-" and "-" in (args.key, args.secret_file, args.header):
        raise InputError("standard input can give only one of claims, key and header: name a file for the others")
    key = signing_key(args)
    alg = _algorithm(args.alg, key)
    kid = args.kid if args.kid is not None else key.kid
    more = {} if args.header is None else read_object(args.header, "the header")
    header = {"typ": args.typ, **({} if kid is None else {"kid": kid}), **more}
    claims = {**read_object(args.claims, "the claims"), **_times(args.expires_in)}
    try:
        token = sign(claims, key.key, alg, {**header, "alg": alg})
    except foreign_errors():
        raise InputError(f"the key cannot sign {alg}: its form or length does not fit") from None
    sys.stdout.write(f"{token}\n")
    return 0


def _algorithm(wanted: str | None, key: SigningKey) -> str:
    if wanted is None:
        return key.alg if key.alg in key.algorithms and key.alg is not None else key.algorithms[0]
    if wanted not in key.algorithms:
        raise InputError(f"--alg: the key signs {', '.join(key.algorithms)}")
    return wanted


def _times(expires_in: str | None) -> Mapping[str, Any]:
    if expires_in is None:
        return {}
    try:
        seconds = parse_duration(expires_in)
    except ValueError as error:
        raise InputError(f"--expires-in: {error}") from None
    now = int(time.time())
    return {"iat": now, "exp": now + round(seconds)}
