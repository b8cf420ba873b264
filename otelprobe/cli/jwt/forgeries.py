"""The bad tokens of `otelprobe jwt attack`: the cases of the step `reject` that are another token."""

import argparse
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from otelprobe.cli.jwt.inputs import InputError, read_json, read_text, read_token
from otelprobe.cli.jwt.signing_key import signing_key
from otelprobe.cli.jwt.verify import read_key
from otelprobe.cli.report_json import json_text
from otelprobe.credentials import Credential
from otelprobe.reasons import CheckFailed
from otelprobe.rejection.api_cases import API_CASES, ApiCase
from otelprobe.rejection.api_material import Material
from otelprobe.signing import Signer
from otelprobe.step import Tokens
from otelprobe.tokens import SYMMETRIC, Jwt, Key, parse, parse_key_set


def write_forgeries(args: argparse.Namespace) -> int:
    """Make and print, or write."""
    token = read_token(args.file)
    try:
        jwt = parse(token)
    except CheckFailed as failed:
        raise InputError(f"bad tokens are made of a good one: {failed.detail}") from None
    cases = [_case(word) for word in args.case] or list(API_CASES.values())
    material = _material(args, jwt)
    made = list(_made(material, cases))
    if not made:
        raise InputError(f"none of these cases can be made: {'; '.join(_missing(material, cases))}")
    left_out = list(_missing(material, cases))
    if left_out and (args.case or not (args.key and args.public_key)):
        print(f"otelprobe: left out: {'; '.join(left_out)}", file=sys.stderr)
    if args.out is not None:
        return _write(Path(args.out), made)
    if args.output == "json":
        rows = [{"case": c.word, "number": c.number, "told": c.told, "token": bad} for c, bad in made]
        sys.stdout.write(json_text({"tokens": rows}))
    else:
        sys.stdout.write("".join(f"{case.word}\t{bad}\n" for case, bad in made))
    return 0


def _case(word: str) -> ApiCase:
    if word not in API_CASES:
        from otelprobe.config.faults import suggest  # noqa: PLC0415 - only a wrong word needs it

        raise InputError(f"--case: no such case; {suggest(word, list(API_CASES))}")
    return API_CASES[word]


def _material(args: argparse.Namespace, jwt: Jwt) -> Material:
    """Give what the cases are made of, as far as the arguments have it."""
    return Material(
        url="https://otelprobe.invalid/",
        method="GET",
        good=Credential("token", jwt.raw),
        tokens=Tokens(access=jwt.raw),
        now=time.time(),
        jwt=jwt,
        key=_public_key(args.public_key, jwt) if args.public_key is not None else None,
        signer=_signer(args, jwt),
    )


def _public_key(source: str, jwt: Jwt) -> Key:
    """Read the published key: alone, or the one of a key set that the token names."""
    if jwt.alg in SYMMETRIC:
        raise InputError("--public-key: the token is signed with a shared secret")
    if "-----BEGIN" in read_text(source):
        return read_key(source)
    document = read_json(source, "the key")
    if not isinstance(document, dict) or "keys" not in document:
        return read_key(source)
    try:
        keys = [key for key in parse_key_set(document) if key.verifies and jwt.kid in {None, key.kid}]
    except CheckFailed as failed:
        raise InputError(f"{source}: {failed.detail}") from None
    if not keys:
        raise InputError(f"{source}: the token's key is not in the key set")
    return keys[0]


def _signer(args: argparse.Namespace, jwt: Jwt) -> Signer | None:
    if args.key is None and args.secret_file is None and args.secret_env is None:
        return None
    key = signing_key(args)
    if jwt.alg not in key.algorithms:
        raise InputError(f"--key: it signs {', '.join(key.algorithms)}, but the token's alg is another")
    return Signer(key.key, jwt.alg or "", jwt.kid or key.kid)


def _made(material: Material, cases: Sequence[ApiCase]) -> Iterator[tuple[ApiCase, str]]:
    """Give the cases that are another token; those that are another request are the step's affair."""
    for case in cases:
        if case.lacks(material) is not None:
            continue
        offer = case.build(material)
        bad = offer.credential.value
        plain = offer.credential == material.good.with_token(bad) and offer.url is None and offer.proof is None
        if plain and bad and bad != material.good.value and not offer.without_certificate:
            yield case, bad


def _missing(material: Material, cases: Sequence[ApiCase]) -> Iterator[str]:
    """Say which options would make more cases of those that are wanted."""
    wanting = [case for case in cases if case.lacks(material) is not None]
    if material.key is None and any(case.number == "N4" for case in wanting):
        yield "algorithm confusion (add --public-key FILE)"
    if material.signer is None and any(case.parameter == "signing_key" for case in wanting):
        yield "validly signed tokens (add --key FILE)"
    if not any(case.number == "N4" or case.parameter == "signing_key" for case in wanting):
        yield from sorted({f"{case.word} ({case.lacks(material)})" for case in wanting if len(cases) < len(API_CASES)})


def _write(directory: Path, made: Sequence[tuple[ApiCase, str]]) -> int:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for case, bad in made:
            fd = os.open(directory / f"{case.word}.jwt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(fd, "w", encoding="utf-8") as file:
                file.write(f"{bad}\n")
    except OSError as error:
        raise InputError(f"{directory}: {error.strerror}") from None
    print(f"{len(made)} tokens written to {directory}")
    return 0
