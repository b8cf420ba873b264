"""What a provider publishes and issues, compared with what it did before: a learned baseline, and what differs from it.

A baseline holds members of the discovery document, names and types of claims, algorithms, lifetimes, scopes and the
issuers of TLS certificates; never a claim's value. It is learnt from the first run that shows something, for each step of
a flow apart.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Any, Literal

from otelprobe.memory_loss import lost_memory
from otelprobe.quick import dataclass
from otelprobe.reasons import CheckFailed, Reason
from otelprobe.result import DriftChange, DriftSubject, Exchange, Warn
from otelprobe.step import Artifact, Context, ProviderMetadata, Tokens
from otelprobe.tokens import Jwt, parse, shown, time_claim

_LONGEST = 2000
"""Characters of a member that is kept as it is; of a longer one only a digest is."""

_MOST_TOLD = 10
_SLACK_SECONDS, _SLACK_SHARE = 5.0, 0.02
"""A lifetime that differs less than this is the same: it is measured in whole seconds, and some providers draw it."""

Values = dict[str, Any]
Observed = dict[DriftSubject, Values]


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftPolicy:
    """Whether and how a flow is compared with a baseline; `drift: {}` tells of every change once, and fails nothing."""

    ignore: tuple[str, ...] = ()
    """What may change in silence: a subject (`discovery`, `claims`, `algorithms`, `lifetimes`, `scopes`, `tls_issuer`), or
    a part of one, as in `discovery.claims_supported` or `claims.id_token.locale`.
    """

    fail: bool = False
    """Fail the run that finds a difference, with `drift_detected`; the flow goes on to its end all the same."""

    baseline: Literal["follow", "pin"] = "follow"
    """`follow`: a change is told once and then belongs to the baseline. `pin`: the baseline stays as it was learnt, and every
    run that differs from it warns (or fails); the change is counted once.
    """

    def faults(self) -> Iterator[tuple[str, str]]:
        """Say what does not fit together."""
        known = [subject.value for subject in DriftSubject]
        for entry in self.ignore:
            if entry.partition(".")[0] not in known:
                yield "ignore", f"not a subject of drift: write one of {', '.join(known)}, or SUBJECT.NAME"

    def ignores(self, subject: DriftSubject, name: str) -> bool:
        """Tell whether a part may change in silence."""
        path = f"{subject.value}.{name}"
        return any(path == entry or path.startswith(f"{entry}.") for entry in self.ignore)


@dataclass(frozen=True, slots=True)
class Drifted:
    """What differs: `changes` are new since the last run, `differences` all of them, `warnings` say them for people."""

    changes: tuple[DriftChange, ...] = ()
    differences: tuple[DriftChange, ...] = ()
    warnings: tuple[Warn, ...] = ()


def compare(
    ctx: Context, policy: DriftPolicy, step: str, makes: Iterable[Artifact], exchanges: Sequence[Exchange]
) -> Drifted:
    """Compare what a step showed with the flow's baseline, and learn what is not in it yet."""
    observed = observe(makes, exchanges)
    lost = lost_memory(ctx, "the baselines that drift is measured from")
    if not observed:
        return Drifted(warnings=lost)
    key = f"drift.{ctx.flow}"
    with ctx.memory.lock:
        document = ctx.state.load(key) or {}
        known, told = _table(_table(document, "steps"), step), _table(_table(document, "told"), step)
        differences = tuple(d for d in _differences(known, observed) if not policy.ignores(d.subject, d.name))
        fresh = {_path(d): _digest(observed.get(d.subject, {}).get(d.name)) for d in differences}
        changes = tuple(d for d in differences if told.get(_path(d)) != fresh[_path(d)])
        baseline = _learnt(known, observed, differences if policy.baseline == "pin" else ())
        steps = {**_table(document, "steps"), step: baseline}
        kept = {**_table(document, "told"), step: fresh if policy.baseline == "pin" else {}}
        ctx.state.save(key, {"steps": steps, "told": kept})
    warnings = [Warn(Reason.DRIFT_DETECTED, f"{d.subject.value}: {d.detail}") for d in differences[:_MOST_TOLD]]
    if len(differences) > _MOST_TOLD:
        warnings.append(Warn(Reason.DRIFT_DETECTED, f"{len(differences) - _MOST_TOLD} more differences"))
    return Drifted(changes, differences, (*lost, *warnings))


# Observing


def observe(makes: Iterable[Artifact], exchanges: Sequence[Exchange]) -> Observed:
    """Give what a step showed, by subject and name, as JSON values."""
    found: Observed = {}
    for artifact in makes:
        if isinstance(artifact, ProviderMetadata):
            for name, value in artifact.document.items():
                found.setdefault(_subject_of(name), {})[name] = _kept(value)
        elif isinstance(artifact, Tokens):
            _observe_tokens(artifact, found)
    for exchange in exchanges:
        if exchange.tls is not None and exchange.tls.issuer:
            known = found.setdefault(DriftSubject.TLS_ISSUER, {}).setdefault(exchange.host, [])
            if exchange.tls.issuer not in known:
                known.append(exchange.tls.issuer)
    return found


def _subject_of(member: str) -> DriftSubject:
    if member == "scopes_supported":
        return DriftSubject.SCOPES
    if "_alg_values_" in member or "_enc_values_" in member or member == "code_challenge_methods_supported":
        return DriftSubject.ALGORITHMS
    return DriftSubject.DISCOVERY


def _kept(value: object) -> object:
    text = json.dumps(value, sort_keys=True)
    if isinstance(value, list) and all(isinstance(item, str) for item in value) and len(text) <= _LONGEST:
        return sorted(set(value))
    if isinstance(value, str | bool | int | float) and len(text) <= _LONGEST:
        return value
    return {"digest": sha256(text.encode()).hexdigest()[:16]}


def _observe_tokens(tokens: Tokens, found: Observed) -> None:
    for which, token in (("access", tokens.access), ("id_token", tokens.id_token)):
        jwt = _parsed(token)
        if jwt is None:
            continue
        claims = found.setdefault(DriftSubject.CLAIMS, {})
        claims.update({f"{which}.{name}": _type_of(value) for name, value in jwt.claims.items()})
        found.setdefault(DriftSubject.ALGORITHMS, {})[f"{which}.alg"] = jwt.alg
        exp, iat = time_claim(jwt.claims, "exp"), time_claim(jwt.claims, "iat")
        if exp is not None and iat is not None:
            found.setdefault(DriftSubject.LIFETIMES, {})[which] = exp - iat
    if tokens.expires_in is not None and not tokens.cached:
        found.setdefault(DriftSubject.LIFETIMES, {}).setdefault("access", tokens.expires_in)
    if tokens.scope is not None:
        found.setdefault(DriftSubject.SCOPES, {})["granted"] = sorted(set(tokens.scope.split()))


def _parsed(token: str | None) -> Jwt | None:
    try:
        return parse(token) if token is not None else None
    except CheckFailed:
        return None


def _type_of(value: object) -> str:
    if isinstance(value, bool):
        return "boolean"
    kinds = ((str, "string"), (int | float, "number"), (list, "array"), (dict, "object"))
    return next((word for kind, word in kinds if isinstance(value, kind)), "null")


# Comparing


def _differences(known: Mapping[str, Any], observed: Observed) -> Iterator[DriftChange]:
    """Give what differs. A subject that the baseline does not know yet is learnt, not told."""
    for subject, values in observed.items():
        before = known.get(subject.value)
        if not isinstance(before, dict):
            continue
        for name in sorted({*before, *values}):
            detail = _detail(subject, name, before, values)
            if detail is not None:
                yield DriftChange(subject, shown(name), detail)


def _detail(subject: DriftSubject, name: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """Say how one value differs; None where it does not, or where nothing can be said of it."""
    what = f"{shown(name)} " if subject is not DriftSubject.TLS_ISSUER else f"the certificate of {shown(name)} "
    if subject in {DriftSubject.TLS_ISSUER, DriftSubject.LIFETIMES} and (name not in before or name not in now):
        return None
    if name not in before:
        return f"{what}is new"
    if name not in now:
        return f"{what}is gone"
    old, new = before[name], now[name]
    if subject is DriftSubject.LIFETIMES:
        same = abs(old - new) <= max(_SLACK_SECONDS, _SLACK_SHARE * abs(old))
        return None if same else f"{what}was {old:.0f} s, is {new:.0f} s"
    if subject is DriftSubject.TLS_ISSUER:
        strange = [issuer for issuer in new if issuer not in old]
        return f"{what}comes from {shown(strange[0])}" if strange else None
    return None if old == new else f"{what}{_words(old, new)}"


def _words(old: object, new: object) -> str:
    if isinstance(old, list) and isinstance(new, list):
        parts = [("without", [v for v in old if v not in new]), ("with", [v for v in new if v not in old])]
        return "is now " + " and ".join(f"{word} {', '.join(map(shown, vs[:5]))}" for word, vs in parts if vs)
    if isinstance(old, dict) or isinstance(new, dict):
        return "has changed"
    return f"was {shown(old)}, is {shown(new)}"


def _learnt(known: Mapping[str, Any], observed: Observed, pinned: Sequence[DriftChange]) -> dict[str, Any]:
    """Give the new baseline: what was seen now, but for what is pinned; of TLS issuers every one that was seen."""
    baseline: dict[str, Any] = dict(known)
    for subject, values in observed.items():
        before = baseline.get(subject.value)
        held = {d.name for d in pinned if d.subject is subject}
        if not isinstance(before, dict):
            baseline[subject.value] = dict(values)
            continue
        fresh = {name: value for name, value in values.items() if shown(name) not in held}
        stays = {name: value for name, value in before.items() if shown(name) in held}
        if subject is DriftSubject.TLS_ISSUER:
            fresh = {**before, **{n: sorted({*before.get(n, ()), *v}) for n, v in fresh.items()}}
        baseline[subject.value] = {**fresh, **stays}
    return baseline


def _table(document: Mapping[str, Any], name: str) -> dict[str, Any]:
    table = document.get(name)
    return table if isinstance(table, dict) else {}


def _path(change: DriftChange) -> str:
    return f"{change.subject.value}.{change.name}"


def _digest(value: object) -> str:
    return sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
