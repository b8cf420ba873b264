"""How a defender tells a case from an attack: every request of one says so in a header, the noisy ones also by their agent."""

from otelprobe import __version__
from otelprobe.rejection.case import Group

CASE_HEADER = "X-Otelprobe-Case"


def marks(name: str, group: Group | None = None) -> dict[str, str]:
    """Give the headers that say which case this is; without a group it is a control."""
    if group in {None, Group.SAFE}:
        return {CASE_HEADER: name}
    agent = f"otelprobe/{__version__} (+synthetic check; rejection case {name}; {group})"
    return {CASE_HEADER: name, "User-Agent": agent}
