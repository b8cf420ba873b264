"""The audit trail of one process: the policy that facts are made by, the limit on them, and the file."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from otelprobe.audit.facts import Auditor
from otelprobe.audit.limit import Limiter
from otelprobe.audit.marks import read_key
from otelprobe.audit.settings import DEFAULT_AGE, DEFAULT_LINES, Audit
from otelprobe.fields import SecretRef
from otelprobe.result import FlowResult

if TYPE_CHECKING:
    from otelprobe.audit.file import AuditFile
    from otelprobe.audit.seal import Signer


class AuditError(Exception):
    """The trail cannot be kept as the flow file asks; the text is for the operator, `member` names where to mend it."""

    def __init__(self, member: str, text: str) -> None:
        super().__init__(text)
        self.member = member


class Trail:
    """Keeps the trail; `take` and `close` are for one thread. AuditError if a key or the file cannot be used.

    `tell` hears what is wrong, once; `suppressed` and `lost` hear how many events were held back and could not be written.
    """

    def __init__(
        self, settings: Audit, *, tell: Callable[[str], None], clock: Callable[[], int] = time.time_ns
    ) -> None:
        self.auditor = Auditor(settings.key, settings.claims)
        self.suppressed: Callable[[int], None] = _nobody
        self.lost: Callable[[int], None] = _nobody
        self._tell = tell
        self._clock = clock
        self._limiter = Limiter(settings.rate)
        if settings.key is not None:
            _checked("key", settings.key)
        self._file = _open_file(settings, clock)
        self._told_fault = False
        self._tell_faults()

    def take(self, result: FlowResult) -> FlowResult:
        """Write a run's audit facts, but for those that are one too many; give the result without these."""
        told, held = self._limiter.admit(result)
        if held:
            self.suppressed(held)
        if self._file is not None:
            from otelprobe.audit.records import records_of  # noqa: PLC0415 - only who has a file needs it

            lost = self._file.write(tuple(records_of(told)))
            if lost:
                self.lost(lost)
        self._tell_faults()
        return told

    def close(self) -> None:
        """Say in the file what was held back to the last, sign it and give it back."""
        if self._file is None:
            return
        from otelprobe.audit.records import timestamp  # noqa: PLC0415 - only who has a file needs it

        now = timestamp(self._clock())
        for (flow, event), number in self._limiter.untold().items():
            self._file.write([{"time": now, "event": "suppressed", "flow": flow, "of": event.value, "records": number}])
        self._file.close()
        self._tell_faults()

    def _tell_faults(self) -> None:
        if self._file is not None and self._file.fault is not None:
            self._tell(self._file.fault)
            self._file.fault = None
        if self.auditor.fault is not None and not self._told_fault:
            self._tell(self.auditor.fault)
            self._told_fault = True


def _nobody(_number: int) -> None:
    """Count for nobody."""


def _checked(member: str, key: SecretRef) -> bytes:
    try:
        return read_key(key)
    except ValueError as error:
        raise AuditError(member, str(error)) from None


def _open_file(settings: Audit, clock: Callable[[], int]) -> "AuditFile | None":
    if settings.file is None:
        return None
    from otelprobe.audit.file import AuditFile, AuditFileError, FileOptions  # noqa: PLC0415 - only who has a file

    point = settings.checkpoint
    options = FileOptions(
        path=Path(settings.file),
        clock=clock,
        signer=_signer(settings),
        rotate=settings.rotate,
        keep=settings.keep,
        sync=settings.sync,
        lines=point.lines if point is not None else DEFAULT_LINES,
        age=point.time if point is not None else DEFAULT_AGE,
    )
    try:
        return AuditFile(options)
    except AuditFileError as error:
        raise AuditError("file", str(error)) from None


def _signer(settings: Audit) -> "Signer | None":
    if settings.checkpoint is None:
        return None
    from otelprobe.audit.seal import Signer  # noqa: PLC0415 - cryptography is needed for a signed trail only

    key = settings.checkpoint.key
    try:
        return Signer(_checked("checkpoint.key", key).decode())
    except ValueError as error:
        raise AuditError("checkpoint.key", f"{key.source}: {error}") from None
