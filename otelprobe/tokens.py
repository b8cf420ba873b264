"""The only door to PyJWT: tokens are told apart, parsed and verified here, and bad ones are forged here."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from otelprobe.reasons import Reason


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a JWKS, parsed alone. `fault` says why it cannot verify (None: it can).

    `thumbprint` is RFC 7638 (None for kinds it is not defined for); `private` says that private members were published.
    """

    kid: str | None
    kty: str
    alg: str | None
    use: str | None
    thumbprint: str | None
    private: bool = False
    fault: str | None = None
    jwk: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Jwt:
    """A parsed JWS, not verified."""

    raw: str = field(repr=False)
    header: Mapping[str, Any]
    claims: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What a token has to fulfil. `audience` None means: not compared. `claims` maps a name to a condition of `expect`."""

    algorithms: tuple[str, ...]
    issuer: str | None = None
    audience: tuple[str, ...] | None = None
    leeway: float = 0.0
    require: tuple[str, ...] = ()
    max_lifetime: float | None = None
    typ: str | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a token."""

    reason: Reason
    detail: str
