"""Claims signed as they are, good or not, into a JWS."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from otelprobe.tokens.algorithms import algorithms
from otelprobe.tokens.encoding import encoded, encoded_json

if TYPE_CHECKING:
    from jwt.algorithms import AllowedPrivateKeys


def sign(
    claims: Mapping[str, Any],
    key: "AllowedPrivateKeys | str | bytes",
    alg: str,
    headers: Mapping[str, Any] | None = None,
) -> str:
    """Sign claims as they are, good or not, into a JWS; `key` is a `cryptography` key, a PEM text or a secret."""
    algorithm = algorithms()[alg]
    signed = f"{encoded_json({'typ': 'JWT', 'alg': alg, **(headers or {})})}.{encoded_json(dict(claims))}"
    signature = algorithm.sign(signed.encode(), algorithm.prepare_key(key))
    return f"{signed}.{encoded(signature)}"
