"""Rules on the keys that a provider publishes."""

from collections import Counter
from collections.abc import Iterable

from otelprobe.posture.observations import Observations
from otelprobe.posture.rule import Broken, Rule
from otelprobe.result import Severity
from otelprobe.tokens import certificate_end, key_weakness, shown

_MOST = 100
_LONGEST_CACHE = 86400.0


def _private(seen: Observations) -> Iterable[Broken] | None:
    if seen.keys is None:
        return None
    return [(seen.provider, f"secret members of key {shown(k.label)}") for k in seen.keys[:_MOST] if k.private]


def _weak(seen: Observations) -> Iterable[Broken] | None:
    if seen.keys is None:
        return None
    weak = [(key, why) for key in seen.keys[:_MOST] if key.verifies and (why := key_weakness(key)) is not None]
    return [(seen.provider, f"key {shown(key.label)}: {why}") for key, why in weak]


def _without_kid(seen: Observations) -> Iterable[Broken] | None:
    if seen.keys is None:
        return None
    number = sum(key.kid is None for key in seen.keys)
    return [(seen.provider, f"{number} of {len(seen.keys)} keys have no kid")] if number else []


def _same_kid(seen: Observations) -> Iterable[Broken] | None:
    if seen.keys is None:
        return None
    counts = Counter((key.kid, key.kty) for key in seen.keys if key.kid is not None)
    return [(seen.provider, f"several keys are called {shown(kid)}") for (kid, _), n in counts.items() if n > 1]


def _no_purpose(seen: Observations) -> Iterable[Broken] | None:
    if seen.keys is None:
        return None
    bare = [key for key in seen.keys if key.use is None and "key_ops" not in key.jwk]
    return [(seen.provider, f"{len(bare)} of {len(seen.keys)} keys have neither use nor key_ops")] if bare else []


def _no_algorithm(seen: Observations) -> Iterable[Broken] | None:
    if seen.keys is None:
        return None
    bare = [key for key in seen.keys if key.alg is None]
    return [(seen.provider, f"{len(bare)} of {len(seen.keys)} keys name no alg")] if bare else []


def _cache(seen: Observations) -> Iterable[Broken] | None:
    if seen.keys is None:
        return None
    if seen.key_cache is None:
        return [(seen.provider, "the key set has no Cache-Control")]
    long = seen.key_cache > _LONGEST_CACHE
    return [(seen.provider, f"caches may keep the key set {seen.key_cache:.0f} s")] if long else []


def _old(seen: Observations) -> Iterable[Broken] | None:
    if seen.key_age is None:
        return None
    days = seen.key_age / 86400
    return [(seen.provider, f"the oldest key is in use for {days:.0f} days")] if seen.key_age > seen.max_key_age else []


def _shared(seen: Observations) -> Iterable[Broken] | None:
    if seen.shared_keys is None:
        return None
    return [(seen.provider, f"key {shown(key)} is also published by {shown(other)}") for key, other in seen.shared_keys]


def _certificate(seen: Observations) -> Iterable[Broken] | None:
    if seen.keys is None:
        return None
    ends = [(key, end) for key in seen.keys[:_MOST] if (end := certificate_end(key)) is not None]
    return [(seen.provider, f"the certificate of key {shown(k.label)} has ended") for k, end in ends if end < seen.now]


KEY_RULES = (
    Rule(
        id="key-private-exposed",
        severity=Severity.HIGH,
        side="provider",
        source="RFC 7517, section 9.2",
        why="Who has the private key can issue any token.",
        mend="Withdraw the key at once, rotate, and publish public members only.",
        check=_private,
    ),
    Rule(
        id="key-weak",
        severity=Severity.HIGH,
        side="provider",
        source="RFC 8725, section 3.5; RFC 7518, section 3.3",
        why="A short key can be computed.",
        mend="Use RSA of 2048 bits or more, or P-256 and above.",
        check=_weak,
    ),
    Rule(
        id="kid-missing",
        severity=Severity.LOW,
        side="provider",
        source="RFC 7517, section 4.5; OpenID Connect Core, section 10.1",
        why="Without kid a client cannot pick the key, nor see that it was rotated.",
        mend="Give every key a kid.",
        check=_without_kid,
    ),
    Rule(
        id="kid-repeated",
        severity=Severity.MEDIUM,
        side="provider",
        source="RFC 7517, section 4.5",
        why="Clients take the first key of a name and refuse what another signed.",
        mend="Give every key a kid of its own.",
        check=_same_kid,
    ),
    Rule(
        id="key-without-use",
        severity=Severity.LOW,
        side="provider",
        source="RFC 7517, sections 4.2 and 4.3; RFC 8725, section 3.8",
        why="A key for encryption may be taken for one that signs.",
        mend="Publish use: sig with keys that sign.",
        check=_no_purpose,
    ),
    Rule(
        id="key-without-alg",
        severity=Severity.INFO,
        side="provider",
        source="RFC 8725, section 3.1",
        why="A key that is bound to one algorithm cannot be tried with another.",
        mend="Publish alg with every key.",
        check=_no_algorithm,
    ),
    Rule(
        id="jwks-cache",
        severity=Severity.LOW,
        side="provider",
        source="OpenID Connect Core, section 10.1.1",
        why="Without Cache-Control clients guess; with more than a day they miss a rotation.",
        mend="Send Cache-Control with a max-age of minutes to hours.",
        check=_cache,
    ),
    Rule(
        id="key-old",
        severity=Severity.LOW,
        side="provider",
        source="NIST SP 800-57, section 5.3",
        why="A key that is never rotated cannot be rotated in an emergency either.",
        mend="Rotate signing keys regularly, with an overlap.",
        check=_old,
    ),
    Rule(
        id="key-shared",
        severity=Severity.HIGH,
        side="provider",
        source="NIST SP 800-57, section 5.2; OWASP Key Management Cheat Sheet",
        why="Who has the key of one environment, often the less guarded, can issue tokens for the other.",
        mend="Draw a key for each environment; a copied realm or configuration must not bring its keys along.",
        check=_shared,
    ),
    Rule(
        id="key-certificate-ended",
        severity=Severity.LOW,
        side="provider",
        source="RFC 7517, section 4.7",
        why="Clients that check x5c refuse tokens of this key.",
        mend="Renew the key's certificate, or publish the key without it.",
        check=_certificate,
    ),
)
