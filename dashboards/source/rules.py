"""What a rule is, and the template parameters that every rule is made with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from dashboards.source.promql import duration


class Severity(StrEnum):
    """Who is disturbed: critical pages, warning makes a ticket, info is for the record; the watchdog has none."""

    CRITICAL = "critical"
    WARNING = "warning"
    INFO = "info"
    NONE = "none"


class Scope(StrEnum):
    """What an alert is about; inhibition goes from the wider to the narrower."""

    PROVIDER = "provider"
    FLOW = "flow"
    API = "api"
    CREDENTIAL = "credential"
    PROBE = "probe"


class Component(StrEnum):
    """Whose trouble it is."""

    AUTH = "auth"
    API = "api"
    OTELPROBE = "otelprobe"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """What an installation may want otherwise.

    `scale` shortens every window, duration and evaluation interval alike, so that a test need not wait for hours.
    """

    scale: float = 1.0
    grafana: str = "https://grafana.example.com"
    docs: str = "https://github.com/otelprobe/otelprobe/blob/main/docs"
    datasource: str = "prometheus"
    page_receiver: str = "pager"
    ticket_receiver: str = "tickets"
    webhook: str = "http://127.0.0.1:9099"

    def span(self, seconds: float) -> str:
        """Write a duration, scaled."""
        return duration(self.seconds(seconds))

    def seconds(self, seconds: float) -> float:
        """Give scaled seconds."""
        return seconds * self.scale


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A series that is reckoned beforehand. `meaning` is for the page."""

    name: str
    expr: str
    meaning: str
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """An alert in the terms of Prometheus.

    `VALUE` in summary and description stands for the value as a template. `lasts` (for) and `keeps` (keep_firing_for)
    are seconds before scaling. `board` is the uid of the dashboard that shows more, `variables` its variables by label.
    """

    name: str
    expr: str
    severity: Severity
    component: Component | str
    scope: Scope
    summary: str
    description: str
    meaning: str
    mend: str
    board: str
    variables: Mapping[str, str] = field(default_factory=dict)
    unit: str = "number"
    lasts: float = 0.0
    keeps: float = 0.0
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Rules that are evaluated together, in order. `every` is seconds before scaling."""

    name: str
    every: float
    rules: Sequence[Record | Alert]

    @property
    def alerts(self) -> tuple[Alert, ...]:
        """Give the alerts of the group."""
        return tuple(r for r in self.rules if isinstance(r, Alert))

    @property
    def records(self) -> tuple[Record, ...]:
        """Give the recorded series of the group."""
        return tuple(r for r in self.rules if isinstance(r, Record))
