"""The `audit:` block of a flow file: whose key, which claims, how many events, and the file."""

from collections.abc import Iterator, Mapping
from dataclasses import field
from typing import Literal

from otelprobe.audit.marks import ClaimRule
from otelprobe.fields import Duration, Rate, RateLimit, SecretRef, Size
from otelprobe.quick import dataclass

DEFAULT_RATE = Rate(60, 60.0)
"""Of each flow and kind of event: what one run a second leaves; only a runaway schedule or a retry storm gets beyond."""

DEFAULT_LINES = 1000
DEFAULT_AGE = 300.0
DEFAULT_ROTATE = 64 * 1024**2
SMALLEST_ROTATE = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A signed line in the audit file: with the key's public half anybody can tell that nothing before it was changed."""

    key: SecretRef
    """Ed25519 private key in PEM, as `otelprobe jwt keygen --alg Ed25519` writes it."""

    lines: int = DEFAULT_LINES
    """Most records between two checkpoints; default 1000."""

    time: Duration = DEFAULT_AGE
    """Most time between two checkpoints, while records come; default 5m."""

    def faults(self) -> Iterator[tuple[str, str]]:
        """Say what does not fit together."""
        if self.lines < 1:
            yield "lines", "a checkpoint comes after at least one record: write 1 or more"


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """The audit trail: what its events may tell, and the file that they are written to besides. It stands in one file only."""

    key: SecretRef | None = None
    """Key of the hashes of subjects and ids, at least 16 characters, drawn at random; without one the events have neither."""

    claims: Mapping[str, ClaimRule] = field(default_factory=dict)
    """Claims of the token that events may tell, each `hashed` or `plain`; all others are left out."""

    rate: RateLimit = DEFAULT_RATE
    """Most events of each kind and flow, as in `60/min` (default); what is beyond is counted. Failures always come through."""

    file: str | None = None
    """File that every event is written to as a JSON line, in a chain of hashes."""

    checkpoint: Checkpoint | None = None
    """When the chain is signed, and with which key; default: it is not."""

    rotate: Size = DEFAULT_ROTATE
    """The file is renamed at this size and its chain goes on in a new one; default 64MiB."""

    keep: int | None = None
    """How many renamed files are kept; default: all."""

    sync: Literal["always", "checkpoint", "never"] = "checkpoint"
    """When a record is forced to the disk: each one, at checkpoints and the end (default), or whenever the system does it."""

    def secrets(self) -> tuple[tuple[str, SecretRef], ...]:
        """Give the secrets that are read, each with its member."""
        named = (("key", self.key), ("checkpoint.key", self.checkpoint.key if self.checkpoint else None))
        return tuple((member, secret) for member, secret in named if secret is not None)

    def faults(self) -> Iterator[tuple[str, str]]:
        """Say what does not fit together: pairs of member and mend."""
        if self.key is None and "hashed" in self.claims.values():
            yield "claims", "a hashed claim needs a key: add key: {file: PATH}"
        if self.file is None and self.checkpoint is not None:
            yield "checkpoint", "a checkpoint is a line of the audit file: add file: PATH"
        if self.file is None and self.keep is not None:
            yield "keep", "there is no file to keep: add file: PATH"
        if self.keep is not None and self.keep < 1:
            yield "keep", "at least one renamed file is kept: write 1 or more"
        if self.rotate < SMALLEST_ROTATE:
            yield "rotate", "a file smaller than 4KiB holds no more than a few records: write 4KiB or more"
