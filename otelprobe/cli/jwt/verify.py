"""`otelprobe jwt verify`: signature, times and parties of a token, by a secret, a PEM, a key set, or an issuer's own keys."""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import replace

from otelprobe.cli.jwt.inputs import (
    InputError,
    add_output,
    add_secret,
    add_token,
    read_json,
    read_secret,
    read_text,
    read_token,
)
from otelprobe.cli.jwt.page import show
from otelprobe.cli.report_json import json_text
from otelprobe.cli.terminal import Line, Piece, Style, harmless
from otelprobe.fields import parse_duration, parse_url
from otelprobe.quick import dataclass
from otelprobe.reasons import CheckFailed
from otelprobe.tokens import (
    ASYMMETRIC,
    SYMMETRIC,
    Key,
    Policy,
    Verification,
    parse,
    parse_key_set,
    pem_key,
    secret_key,
    verify,
)

_PATIENCE = 20.0


def add_parser(actions: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the action."""
    parser = actions.add_parser(
        "verify",
        help="check signature, times, issuer and audience",
        description="Check a token and say everything that is wrong with it. Exit codes: 0 good, 1 not good, 2 an argument "
        "or file cannot be used, 4 the issuer could not be asked.",
    )
    add_token(parser)
    add_secret(parser)
    parser.add_argument(
        "--key", metavar="FILE", help="public key, certificate or private key in PEM, or one key as a JWK"
    )
    parser.add_argument("--jwks", metavar="FILE", help="key set")
    parser.add_argument(
        "--issuer", metavar="URL", help="fetch this issuer's keys by its discovery document; iss must be it"
    )
    parser.add_argument("--expect-issuer", metavar="TEXT", help="what iss must be, without asking it")
    parser.add_argument("--audience", action="append", default=[], metavar="TEXT", help="one of these must be in aud")
    parser.add_argument(
        "--algorithm", action="append", default=[], metavar="ALG", help="allowed (default: what fits the key)"
    )
    parser.add_argument("--require", action="append", default=[], metavar="CLAIM", help="claim that must be there")
    parser.add_argument("--typ", metavar="TYPE", help="what typ in the header must be, as at+jwt")
    parser.add_argument("--leeway", default="5s", metavar="TIME", help="allowed difference of clocks (default: 5s)")
    add_output(parser)


@dataclass(frozen=True)
class _Trusted:
    """What a token is verified by: keys, the algorithms that fit them, and the issuer that they are of."""

    keys: tuple[Key, ...]
    algorithms: tuple[str, ...]
    issuer: str | None = None
    listed: bool = True


def run(args: argparse.Namespace) -> int:
    """Verify; 0, 1 or 4."""
    if args.file == "-" and "-" in (args.key, args.jwks, args.secret_file):
        raise InputError("standard input can give only one of token and key: name a file for the other")
    token = read_token(args.file)
    try:
        jwt = parse(token)
    except CheckFailed as failed:
        return _refuse(args.output, failed, code=1)
    try:
        trusted = _trusted(args)
    except CheckFailed as failed:
        return _refuse(args.output, failed, code=4)
    found = verify(jwt, trusted.keys, _policy(args, trusted), time.time())
    _tell(args.output, found)
    return 1 if found.problems else 0


def _trusted(args: argparse.Namespace) -> _Trusted:
    named = (args.secret_file or args.secret_env, args.key, args.jwks, args.issuer)
    if sum(source is not None for source in named) != 1 or (args.secret_file and args.secret_env):
        raise InputError("say what to verify with: one of --secret-file, --secret-env, --key, --jwks and --issuer")
    if args.issuer is not None:
        return _published(args.issuer)
    secret = read_secret(args)
    if secret is not None:
        return _Trusted((secret_key(secret),), SYMMETRIC)
    keys = _key_set(args.jwks) if args.jwks is not None else (read_key(args.key),)
    shared = all(key.kty == "oct" for key in keys)
    return _Trusted(keys, SYMMETRIC if shared else ASYMMETRIC)


def _key_set(source: str) -> tuple[Key, ...]:
    try:
        return parse_key_set(read_json(source, "the key set"))
    except CheckFailed as failed:
        raise InputError(f"{source}: {failed.detail}") from None


def read_key(source: str) -> Key:
    """Read one key: PEM, or a JWK."""
    text = read_text(source)
    try:
        if "-----BEGIN" in text:
            return pem_key(text.encode())
        (key,) = parse_key_set({"keys": [read_json(source, "the key")]})
    except ValueError as error:
        raise InputError(f"{source}: {error}") from None
    if key.fault is not None:
        raise InputError(f"{source}: the key cannot be used: {key.fault}")
    return key


def _published(issuer: str) -> _Trusted:
    """Fetch an issuer's keys as a flow does; CheckFailed says why they cannot be had."""
    from otelprobe.cli.jwt.issuer import fetch_keys  # noqa: PLC0415 - the network is needed for this only

    try:
        url = parse_url(issuer)
    except ValueError as error:
        raise InputError(f"--issuer: {error}") from None
    keys, algorithms, listed = fetch_keys(url, _PATIENCE)
    return _Trusted(keys, algorithms, url, listed)


def _policy(args: argparse.Namespace, trusted: _Trusted) -> Policy:
    try:
        leeway = parse_duration(args.leeway)
    except ValueError as error:
        raise InputError(f"--leeway: {error}") from None
    policy = Policy(
        algorithms=trusted.algorithms,
        listed=trusted.listed,
        issuer=args.expect_issuer or trusted.issuer,
        audience=tuple(args.audience) or None,
        leeway=leeway,
        require=tuple(args.require),
        typ=args.typ,
    )
    return replace(policy, algorithms=tuple(args.algorithm), listed=True) if args.algorithm else policy


def _refuse(output: str, failed: CheckFailed, *, code: int) -> int:
    problem = {"reason": failed.reason.value, "detail": failed.detail}
    if output == "json":
        sys.stdout.write(json_text({"good": False, "problems": [problem], "warnings": [], "key": None}))
    else:
        show(
            [[Piece("not good " if code == 1 else "not known ", Style.BAD), Piece(_said(failed.reason, failed.detail))]]
        )
    return code


def _said(reason: str, detail: str) -> str:
    return f"{reason}: {harmless(detail)}"


def _tell(output: str, found: Verification) -> None:
    if output == "json":
        sys.stdout.write(
            json_text(
                {
                    "good": not found.problems,
                    "problems": [{"reason": p.reason.value, "detail": p.detail} for p in found.problems],
                    "warnings": [{"reason": w.reason.value, "detail": w.detail} for w in found.warnings],
                    "key": found.key.label if found.key is not None else None,
                }
            )
        )
        return
    show(_lines(found))


def _lines(found: Verification) -> Sequence[Line]:
    by = f"signed by {harmless(found.key.label)}" if found.key is not None else "the signature is not proven"
    if found.key is not None and found.key.kty == "oct":
        by = "signed with the shared secret"
    head: Line = [Piece("not good" if found.problems else "good", Style.BAD if found.problems else Style.GOOD)]
    head.append(Piece(f"  {by}"))
    problems: list[Line] = [[Piece(f"  {_said(p.reason.value, p.detail)}")] for p in found.problems]
    warnings: list[Line] = [[Piece(f"  warning: {harmless(w.detail)}", Style.DOUBT)] for w in found.warnings]
    return [head, *problems, *warnings]
