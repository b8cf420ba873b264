"""A key to sign with, as the arguments name it: PEM, JWK, or a shared secret."""

import argparse
import json
from collections.abc import Mapping
from dataclasses import field
from typing import Any

from otelprobe.cli.jwt.inputs import InputError, read_secret, read_text
from otelprobe.quick import dataclass
from otelprobe.tokens import SYMMETRIC, private_key, signing_algorithms
from otelprobe.tokens.encoding import decoded


@dataclass(frozen=True)
class SigningKey:
    """A key, the algorithms that it signs with (the usual one first), and the kid and alg that it names."""

    key: Any = field(repr=False)
    algorithms: tuple[str, ...]
    kid: str | None = None
    alg: str | None = None


def signing_key(args: argparse.Namespace) -> SigningKey:
    """Read the key that the arguments name; InputError if they name none, or more than one."""
    if (args.key is None) == (args.secret_file is None and args.secret_env is None):
        raise InputError("say what to sign with: one of --key, --secret-file and --secret-env")
    secret = read_secret(args)
    if secret is not None:
        return SigningKey(secret.encode(), SYMMETRIC)
    text = read_text(args.key)
    shared = _shared(text)
    if shared is not None:
        return shared
    try:
        key, jwk = private_key(text)
    except ValueError as error:
        raise InputError(f"{args.key}: {error}") from None
    return SigningKey(key, signing_algorithms(jwk), jwk.get("kid"), jwk.get("alg"))


def _shared(text: str) -> SigningKey | None:
    """Read a shared secret that is written as a JWK (kty oct); None if it is none."""
    try:
        jwk: Mapping[str, Any] = json.loads(text)
        secret = decoded(jwk["k"]) if jwk["kty"] == "oct" else None
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return None if not secret else SigningKey(secret, SYMMETRIC, jwk.get("kid"), jwk.get("alg"))
