"""The audit trail of a command that runs flows: opened before anything runs, or refused like any other wrong setting."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from otelprobe.config.faults import ConfigError, Fault
from otelprobe.config.models import Config

if TYPE_CHECKING:
    from otelprobe.audit.trail import Trail


def open_trail(config: Config, tell: Callable[[str], None]) -> "Trail":
    """Open the trail; ConfigError names file, line and member of what cannot be used."""
    from otelprobe.audit.trail import AuditError, Trail  # noqa: PLC0415 - once flows are known to run

    try:
        return Trail(config.audit, tell=tell)
    except AuditError as error:
        if config.audit_place is None:
            raise ConfigError([Fault("audit", None, error.member, str(error))]) from None
        raise ConfigError([config.audit_place.fault(tuple(error.member.split(".")), str(error))]) from None
