"""What became of a refresh token that was given by the operator: its latest successor, kept safely between runs.

In memory always; in the state directory, if there is one, sealed with a key that is made of the seed itself. Who has the
state directory alone has nothing, and a new seed makes the old successor unreadable, as it should be.
"""

import json
from base64 import b64decode, b64encode
from hashlib import sha256
from secrets import token_bytes

from otelprobe.fields import SecretRef
from otelprobe.reasons import Reason
from otelprobe.result import Warn
from otelprobe.step import Context

_INFO = b"otelprobe refresh token successor"
_SALT, _NONCE = 16, 12


def latest(ctx: Context, source: SecretRef, seed: str) -> str | None:
    """Give the successor of a seed, from memory or from the state directory; None if the seed itself is still to be used."""
    name = _name(ctx, source)
    kept = ctx.memory.tokens.get(name)
    if kept is not None:
        return str(kept[1]) if kept[0] == seed else None
    document = ctx.state.load(_file(name)) if ctx.state.durable else None
    found = _open(str((document or {}).get("sealed", "")), seed)
    if found is not None:
        ctx.memory.tokens[name] = (seed, found)
    return found


def keep(ctx: Context, source: SecretRef, successor: str) -> tuple[Warn, ...]:
    """Keep what a refresh token was replaced by; warn if it would be lost with this process."""
    seed = source.read()
    if successor == (latest(ctx, source, seed) or seed):
        return ()
    name = _name(ctx, source)
    first = name not in ctx.memory.tokens
    ctx.memory.tokens[name] = (seed, successor)
    if ctx.state.durable:
        return _save(ctx, name, seed, successor)
    why = "set state_dir (OTELPROBE_STATE_DIR) to keep it"
    return (_lost(f"of {source.source}", why),) if first else ()


def replaced(ctx: Context, old: str | None, new: str | None) -> tuple[Warn, ...]:
    """Follow a successor that another step has refreshed in turn."""
    if old is None or new is None or old == new:
        return ()
    if not ctx.state.durable:
        return ()
    found = [(n, k[0]) for n, k in list(ctx.memory.tokens.items()) if isinstance(k, tuple) and k[1] == old]
    warnings: list[Warn] = []
    for name, seed in found:
        ctx.memory.tokens[name] = (seed, new)
        warnings.extend(_save(ctx, name, seed, new))
    return tuple(warnings)


def _save(ctx: Context, name: str, seed: str, successor: str) -> tuple[Warn, ...]:
    if ctx.state.save(_file(name), {"sealed": _seal(successor, seed)}, sync=True):
        return ()
    return (_lost("of the flow file", "it cannot be written to the state directory"),)


def _lost(which: str, why: str) -> Warn:
    detail = f"the refresh token {which} was replaced, and its successor is lost when this process ends: {why}"
    return Warn(Reason.REFRESH_FAILED, detail)


def _name(ctx: Context, source: SecretRef) -> str:
    """Name a seed by whose client it is and where it comes from: whatever it is used for, there is one successor."""
    provider = ctx.identity_provider()
    return repr(("successor", provider.issuer, provider.client_id, source.source))


def _file(name: str) -> str:
    """Give the name of the state document: the cache's name says too much, and is too long for a file."""
    return f"successor-{sha256(name.encode()).hexdigest()[:32]}"


def _seal(successor: str, seed: str) -> str:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - costs 0.1 s

    salt, nonce = token_bytes(_SALT), token_bytes(_NONCE)
    sealed = AESGCM(_key(seed, salt)).encrypt(nonce, json.dumps(successor).encode(), _INFO)
    return b64encode(salt + nonce + sealed).decode()


def _open(sealed: str, seed: str) -> str | None:
    """Give what was sealed; None where it was sealed with another seed, or changed."""
    if not sealed:
        return None
    from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - costs 0.1 s
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415

    try:
        whole = b64decode(sealed, validate=True)
        salt, nonce, rest = whole[:_SALT], whole[_SALT : _SALT + _NONCE], whole[_SALT + _NONCE :]
        return str(json.loads(AESGCM(_key(seed, salt)).decrypt(nonce, rest, _INFO)))
    except (ValueError, InvalidTag):
        return None


def _key(seed: str, salt: bytes) -> bytes:
    from cryptography.hazmat.primitives.hashes import SHA256  # noqa: PLC0415 - costs 0.1 s
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF  # noqa: PLC0415

    return HKDF(SHA256(), 32, salt, _INFO).derive(seed.encode())
