"""What the cases for an API are made of, and what is sent for one."""

from collections.abc import Mapping
from dataclasses import field

from otelprobe.binding import confirmation, own_thumbprint
from otelprobe.credentials import Credential
from otelprobe.quick import dataclass
from otelprobe.reasons import CheckFailed
from otelprobe.rejection.listener import Bait
from otelprobe.retained import Retained
from otelprobe.signing import Signer
from otelprobe.step import Claims, Context, KeySet, Revoked, Tokens
from otelprobe.tokens import SYMMETRIC, Jwt, Key, format_of, parse


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """One request with a bad credential: how it differs from the good one.

    `proof` names what is wrong with the proof that goes with the token (`replayed`: nothing, but it was sent before;
    `twice`: nothing, but it is there twice; `missing`: it is not there). `found` is the finding where it is made without
    asking anybody, so that nothing is sent. `bait` lies at the URL that the token names while it is offered. `plainly`: it
    is sent by plain http, without anything that is the operator's; `old_tls` is a version that is proposed and
    nothing sent.
    """

    credential: Credential
    url: str | None = field(default=None, repr=False)
    method: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    form: Mapping[str, str] | None = field(default=None, repr=False)
    without_certificate: bool = False
    proof: str | None = None
    found: bool | None = None
    bait: Bait | None = None
    plainly: bool = False
    old_tls: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What is at hand in this run. `others` are tokens that have to be refused, by the step that made them."""

    url: str = field(repr=False)
    method: str
    good: Credential
    tokens: Tokens
    now: float
    jwt: Jwt | None = field(default=None, repr=False)
    key: Key | None = None
    signer: Signer | None = None
    others: Mapping[str, str] = field(default_factory=dict, repr=False)
    narrow: str | None = field(default=None, repr=False)
    revoked: Revoked | None = None
    retained: Retained | None = None
    bound_to_certificate: bool = False
    other_object: str | None = field(default=None, repr=False)
    plain_url: str | None = field(default=None, repr=False)
    listener_url: str | None = None


def signed(token: str) -> Jwt | None:
    """Give a token as a JWT; None where it is none that can be taken apart."""
    if format_of(token) != "jws":
        return None
    try:
        return parse(token)
    except CheckFailed:
        return None


def published_key(ctx: Context, jwt: Jwt | None) -> Key | None:
    """Give the published key that the token names, where it is no shared secret."""
    key_set = ctx.find(KeySet)
    if jwt is None or key_set is None or jwt.alg in SYMMETRIC:
        return None
    fitting = [k for k in key_set.keys if k.verifies and (jwt.kid is None or k.kid == jwt.kid)]
    return fitting[0] if fitting else None


def verified(ctx: Context, token: str) -> bool:
    """Tell whether an earlier step verified this very token."""
    return any(isinstance(m.artifact, Claims) and m.artifact.token == token for m in ctx.made)


def revoked_token(ctx: Context, good: str) -> Revoked | None:
    """Give the latest token that was revoked in this run, unless it is the good one."""
    found = [m.artifact for m in reversed(ctx.made) if isinstance(m.artifact, Revoked)]
    return next((revoked for revoked in found if revoked.access != good), None)


def bound_to_certificate(ctx: Context, token: str) -> bool:
    """Tell whether the token is bound to the client certificate that requests show."""
    own = own_thumbprint(ctx) if ctx.options.client_cert is not None else None
    return own is not None and (confirmation(ctx, token) or {}).get("x5t#S256") == own
