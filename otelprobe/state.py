"""What a prober remembers: JSON documents between runs, and token caches, budgets and peers' clocks while it lives."""

import json
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from otelprobe.fields import Rate


class State:
    """Documents by key: kept in a directory, written whole or not at all; in memory where there is no directory.

    A document that cannot be read or written costs memory between runs, never a run: `fault` then says so.
    """

    def __init__(self, directory: Path | None = None) -> None:
        self._directory = directory
        self._kept: dict[str, dict[str, Any]] = {}
        self._unwritten: set[str] = set()
        self._lock = threading.Lock()
        self._disk = threading.Lock()
        self.fault: str | None = None

    @property
    def durable(self) -> bool:
        """Whether documents outlive the process."""
        return self._directory is not None

    def load(self, key: str) -> dict[str, Any] | None:
        """Give the document last saved under `key`, or None."""
        with self._lock:
            if key not in self._kept and self._directory is not None:
                document = self._read(self._path(key))
                if document is not None:
                    self._kept[key] = document
            return self._kept.get(key)

    def documents(self, prefix: str) -> Iterator[dict[str, Any]]:
        """Give every document whose key begins with this; what other processes have written is read anew."""
        with self._lock:
            kept = {key: document for key, document in self._kept.items() if key.startswith(prefix)}
        yield from kept.values()
        if self._directory is None:
            return
        own = {self._path(key).name for key in kept}
        for path in sorted(self._directory.glob(f"{quote(prefix, safe='')}*.json")):
            document = self._read(path) if path.name not in own else None
            if document is not None:
                yield document

    def save(self, key: str, document: Mapping[str, Any], *, sync: bool = False) -> bool:
        """Keep a document under `key`; tell whether it will outlive the process.

        It reaches the disk with `flush`, because a step that is measured does not wait for a disk; `sync` writes it now,
        to the very disk, and says whether that went well: for what cannot be had again.
        """
        with self._lock:
            if self._kept.get(key) != document:
                self._kept[key] = dict(document)
                self._unwritten.add(key)
        return self.flush(sync=True) if sync else self.durable

    def flush(self, *, sync: bool = False) -> bool:
        """Write what was saved since the last time, each file in one move; tell whether all of it is written."""
        if self._directory is None or not self._unwritten:
            return self.durable
        with self._disk:
            with self._lock:
                documents = {key: self._kept[key] for key in self._unwritten}
                self._unwritten.clear()
            written = [self._write(self._path(key), document, sync=sync) for key, document in documents.items()]
        return all(written)

    def _path(self, key: str) -> Path:
        assert self._directory is not None  # noqa: S101 - callers ask only with a directory
        return self._directory / f"{quote(key, safe='')}.json"

    def _read(self, path: Path) -> dict[str, Any] | None:
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, RecursionError) as error:
            self.fault = f"state file {path} cannot be read ({type(error).__name__}); it is started anew"
            return None
        return document if isinstance(document, dict) else None

    def _write(self, path: Path, document: Mapping[str, Any], *, sync: bool) -> bool:
        part = path.with_suffix(f".{os.getpid()}.{threading.get_ident()}.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            part.touch(mode=0o600)
            with part.open("w", encoding="utf-8") as file:
                file.write(json.dumps(document))
                if sync:
                    file.flush()
                    os.fsync(file.fileno())
            part.replace(path)
        except OSError as error:
            with suppress(OSError):
                part.unlink(missing_ok=True)
            self.fault = f"state file {path} cannot be written ({error.strerror}); memory between runs is lost"
            return False
        return True


class Budget:
    """At most `rate.count` requests in any `rate.per` seconds, for one provider and all its flows."""

    def __init__(self, rate: Rate) -> None:
        self._rate = rate
        self._sent: list[float] = []
        self._lock = threading.Lock()

    def take(self, now: float) -> bool:
        """Spend one request at monotonic time `now`; False if none is left."""
        with self._lock:
            self._sent = [t for t in self._sent if t > now - self._rate.per]
            if len(self._sent) >= self._rate.count:
                return False
            self._sent.append(now)
            return True


@dataclass
class Memory:
    """What flows of one process share while it lives. Secrets may be in here: it is never printed or written."""

    tokens: dict[str, Any] = field(default_factory=dict, repr=False)
    budgets: dict[str, Budget] = field(default_factory=dict)
    skews: dict[str, float] = field(default_factory=dict)
    nonces: dict[str, str] = field(default_factory=dict, repr=False)
    told: set[str] = field(default_factory=set)
    retained: dict[str, Any] = field(default_factory=dict, repr=False)
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def budget(self, provider: str, rate: Rate) -> Budget:
        """Give the provider's one budget."""
        with self.lock:
            return self.budgets.setdefault(provider, Budget(rate))

    def spend(self, access: str | None, refresh: str | None, successor: str | None = None) -> None:
        """Forget cached tokens that were revoked or refreshed, lest the next run use them; keep a refresh token's successor."""
        with self.lock:
            for name, kept in list(self.tokens.items()):
                if isinstance(kept, tuple):
                    if successor is not None and kept[1] == refresh:
                        self.tokens[name] = (kept[0], successor)
                elif kept.access == access or (refresh is not None and kept.refresh == refresh):
                    del self.tokens[name]

    def note_skew(self, host: str, skew: float) -> None:
        """Remember what a peer's `Date` said of our clock."""
        self.skews[host] = skew

    def our_clock_is_off(self, host: str, skew: float, tolerance: float = 2.0) -> bool:
        """Tell whether another peer sees the same difference, so that the odd one out is us."""
        # A copy, as other flows note skews meanwhile.
        return any(abs(s - skew) <= tolerance for h, s in self.skews.copy().items() if h != host)
