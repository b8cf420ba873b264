"""What the tests of tokens and of the steps that use them share: a fixed clock, signing keys, and a context on a real socket."""

import base64
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import count
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from otelprobe.fields import DEFAULT_HTTP
from otelprobe.http import LiveHttp, Wire
from otelprobe.provider import Provider
from otelprobe.state import Memory, State
from otelprobe.step import Artifact, Context, KeySet, Made, Tokens
from otelprobe.tokens import Key, Policy, generate_key, parse_key_set, public_jwk, sign

NOW = 1_800_000_000.0
ISSUER = "https://login.example.com"
CANARY = "subject-that-must-never-show"
GOOD: dict[str, Any] = {
    "iss": ISSUER,
    "sub": CANARY,
    "aud": "orders",
    "exp": NOW + 300,
    "iat": NOW,
    "jti": f"{CANARY}-id",
    "client_id": "otelprobe",
}


@dataclass
class FixedClock:
    """Wall time that stands where a test puts it; the monotonic clock runs, for deadlines."""

    now: float = NOW

    def time_ns(self) -> int:
        return int(self.now * 1e9)

    monotonic = staticmethod(time.perf_counter)


@cache
def _drawn(alg: str, which: int) -> Any:
    return generate_key(alg)


def signing_key(alg: str, which: int = 0) -> Any:
    """Draw a key once for all tests; `which` gives another of the same family."""
    return _drawn(alg, which)


def jwk(family: str = "ES256", /, *, kid: str | None = "k1", which: int = 0, **more: Any) -> dict[str, Any]:
    """Give the public JWK of a test key; `more` adds members such as alg."""
    return {**public_jwk(signing_key(family, which), kid=kid), **more}


def certificate(ends: float) -> str:
    """Give the x5c entry of a certificate that ends at this Unix time."""
    key, name = signing_key("ES256"), x509.Name([])
    end = datetime.fromtimestamp(ends, UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, end - timedelta(days=3650), end)
    return base64.b64encode(made.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)).decode()


def keys(*jwks: dict[str, Any]) -> tuple[Key, ...]:
    """Parse a key set of these keys."""
    return parse_key_set({"keys": list(jwks)})


def token(alg: str = "ES256", /, *, kid: str | None = "k1", which: int = 0, headers: Any = None, **changes: Any) -> str:
    """Sign a good token with these changes to its claims; a claim set to ... is left out."""
    claims = {k: v for k, v in {**GOOD, **changes}.items() if v is not ...}
    head = {**({"kid": kid} if kid is not None else {}), **(headers or {})}
    return sign(claims, signing_key(alg, which), alg, head)


def policy(**changes: Any) -> Policy:
    """Give a policy that the good token fulfils."""
    return Policy(**{"algorithms": ("ES256",), "issuer": ISSUER, "audience": ("orders",), "leeway": 5.0, **changes})


@dataclass
class World:
    """Everything outside a step, kept from run to run."""

    url: str
    clock: FixedClock = field(default_factory=FixedClock)
    state: State = field(default_factory=State)
    memory: Memory = field(default_factory=Memory)
    provider: Provider | None = None

    def __post_init__(self) -> None:
        self.provider = self.provider or Provider(name="corp", issuer=ISSUER, endpoints={"jwks": f"{self.url}/jwks"})

    def context(self, *artifacts: Artifact) -> Context:
        """Give a step its context; artifacts are named after their type."""
        span = count(1)
        return Context(
            http=LiveHttp(self.clock),
            wire=Wire(1, lambda: next(span)),
            clock=self.clock,
            state=self.state,
            memory=self.memory,
            options=DEFAULT_HTTP,
            deadline=self.clock.monotonic() + 20,
            flow="orders",
            provider=self.provider,
            made=tuple(Made(type(a).__name__.lower(), a) for a in artifacts),
        )

    def key_set(self, *jwks: dict[str, Any]) -> KeySet:
        """Give the artifact that a keys step would have made."""
        return KeySet(keys(*jwks), f"{self.url}/jwks")

    def tokens(self, access: str, **more: Any) -> Tokens:
        """Give the artifact that a token step would have made just now."""
        return Tokens(access, **{"obtained_at": self.clock.now, **more})
