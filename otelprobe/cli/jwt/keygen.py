"""`otelprobe jwt keygen`: a fresh key, written so that nobody else can read it."""

import argparse
import json
import os
from pathlib import Path
from typing import Any, get_args

from otelprobe.cli.jwt.inputs import InputError
from otelprobe.tokens import SYMMETRIC, AlgorithmName, generate_key, public_jwk, thumbprint
from otelprobe.tokens.encoding import encoded
from otelprobe.tokens.keys import private_jwk

ALGORITHMS: tuple[str, ...] = get_args(AlgorithmName)
_SIZES = (2048, 3072, 4096)


def add_parser(actions: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the action."""
    parser = actions.add_parser(
        "keygen",
        help="make a key",
        description="Make a key and write it to a file that only its owner can read. A file that is there is never written over.",
    )
    parser.add_argument(
        "--alg", required=True, choices=ALGORITHMS, metavar="ALG", help=f"one of {', '.join(ALGORITHMS)}"
    )
    parser.add_argument(
        "--out", required=True, metavar="FILE", help="where the private key or secret goes, with mode 0600"
    )
    parser.add_argument("--public", metavar="FILE", help="where the public key goes")
    parser.add_argument(
        "--format", choices=("pem", "jwk"), help="form of the key (default: pem; HS secrets are always a JWK)"
    )
    parser.add_argument("--kid", metavar="TEXT", help="kid of a JWK (default: its RFC 7638 thumbprint)")
    parser.add_argument("--bits", type=int, choices=_SIZES, default=2048, help="size of an RSA key (default: 2048)")


def run(args: argparse.Namespace) -> int:
    """Make, write, and say what was written."""
    if args.alg in SYMMETRIC:
        return _secret(args)
    key: Any = generate_key(args.alg, bits=args.bits)
    public = public_jwk(key, alg=args.alg)
    kid = args.kid if args.kid is not None else thumbprint(public)
    if args.format == "jwk":
        private = json.dumps({**private_jwk(key), "alg": args.alg, "kid": kid, "use": "sig"}, indent=2) + "\n"
        shown = json.dumps({**public, "kid": kid, "use": "sig"}, indent=2) + "\n"
    else:
        private, shown = _pem(key)
    _write(args.out, private, 0o600)
    if args.public is not None:
        _write(args.public, shown, 0o644)
    print(
        f"{args.alg} key written to {args.out}{f', its public half to {args.public}' if args.public else ''}; kid {kid}"
    )
    return 0


def _secret(args: argparse.Namespace) -> int:
    if args.format == "pem":
        raise InputError("--format: a shared secret has no PEM form: leave it out")
    if args.public is not None:
        raise InputError("--public: a shared secret has no public half: leave it out")
    secret = generate_key(args.alg)
    text = encoded(secret) if isinstance(secret, bytes) else ""
    kid = args.kid if args.kid is not None else f"{args.alg.lower()}-{os.urandom(4).hex()}"
    jwk = {"kty": "oct", "k": text, "alg": args.alg, "kid": kid, "use": "sig"}
    _write(args.out, json.dumps(jwk, indent=2) + "\n", 0o600)
    print(f"{args.alg} secret written to {args.out} as a JWK; kid {kid}")
    return 0


def _pem(key: Any) -> tuple[str, str]:
    from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415 - see the package of tokens
        Encoding,
        NoEncryption,
        PrivateFormat,
        PublicFormat,
    )

    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return private.decode(), public.decode()


def _write(path: str, text: str, mode: int) -> None:
    """Write a file that was not there; a key that is in use must not be lost to a typing slip."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    except FileExistsError:
        raise InputError(f"{path}: it is there already: name another, or remove it first") from None
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        Path(path).chmod(mode)
        file.write(text)
