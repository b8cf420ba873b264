"""PromQL as text: names out of the telemetry schema, the label sets that series are grouped by, and shared forms.

Histograms are read in both forms that a Prometheus may hold them in: native ones (a series in all, as the shipped
prometheus.yml makes of ours with `convert_histograms_to_nhcb`) and classic ones (a series for each bucket). The form that is
not there has no series, so that asking for it costs nothing.
"""

from collections.abc import Iterable

from otelprobe.telemetry import schema
from otelprobe.telemetry.schema import Attribute, Metric, prometheus_label, prometheus_name

ENV = prometheus_label(schema.ENVIRONMENT)
PROVIDER = prometheus_label(schema.PROVIDER)
FLOW = prometheus_label(schema.FLOW)
LOCATION = prometheus_label(schema.LOCATION)
STEP = prometheus_label(schema.STEP)
KIND = prometheus_label(schema.KIND)
LAYER = prometheus_label(schema.LAYER)
OUTCOME = prometheus_label(schema.FLOW_OUTCOME)
STEP_OUTCOME = prometheus_label(schema.STEP_OUTCOME)
BLAME = prometheus_label(schema.BLAME)
COUNTS = prometheus_label(schema.COUNTS)
ERROR = prometheus_label(schema.ERROR_TYPE)
OBJECTIVE = prometheus_label(schema.OBJECTIVE_NAME)
PHASE = prometheus_label(schema.PHASE)
PEER = prometheus_label(schema.PEER)
TEAM = "team"
"""The label of alerts that names who is to be told: the flow's label `team`."""

FLOW_KEYS = (ENV, PROVIDER, FLOW)
PROVIDER_KEYS = (ENV, PROVIDER)

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
_UNITS = (("d", DAY), ("h", HOUR), ("m", MINUTE), ("s", 1.0))


def label(attribute: Attribute) -> str:
    """Give an attribute's label name."""
    return prometheus_label(attribute)


def name(metric: Metric, suffix: str = "") -> str:
    """Give the name of a metric's series."""
    return prometheus_name(metric) + suffix


def select(metric: Metric | str, *matchers: str, suffix: str = "") -> str:
    """Give a selector of a metric's series, or of a recorded one by its name."""
    base = metric if isinstance(metric, str) else name(metric, suffix)
    return f"{base}{{{', '.join(matchers)}}}" if matchers else base


def duration(seconds: float) -> str:
    """Write seconds as Prometheus does, in the largest unit that divides them."""
    for unit, size in _UNITS:
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g}{unit}"
    return f"{round(seconds * 1000)}ms"


def by(keys: Iterable[str]) -> str:
    """Give a `by` clause."""
    return f"by ({', '.join(keys)})"


def on(keys: Iterable[str]) -> str:
    """Give an `on` clause."""
    return f"on ({', '.join(keys)})"


def sum_rate(metric: Metric, window: str, keys: Iterable[str], *matchers: str) -> str:
    """Give a counter's rate, added up."""
    return f"sum {by(keys)} (rate({select(metric, *matchers)}[{window}]))"


def sum_increase(metric: Metric, window: str, keys: Iterable[str], *matchers: str) -> str:
    """Give a counter's increase, added up."""
    return f"sum {by(keys)} (increase({select(metric, *matchers)}[{window}]))"


def latest(fold: str, metric: Metric, window: str, keys: Iterable[str], *matchers: str) -> str:
    """Give a gauge's last value within the window, folded by `max` or `min`; a gauge of a one-shot run is short-lived."""
    return f"{fold} {by(keys)} (last_over_time({select(metric, *matchers)}[{window}]))"


def quantile(q: float, metric: Metric, window: str, keys: Iterable[str], *matchers: str) -> str:
    """Give a quantile of a histogram."""
    keys = tuple(keys)
    classic = f"sum {by((*keys, 'le'))} (rate({select(metric, *matchers, suffix='_bucket')}[{window}]))"
    native = f"sum {by(keys)} (rate({select(metric, *matchers)}[{window}]))"
    return f"histogram_quantile({q:g}, {classic}) or histogram_quantile({q:g}, {native})"


def mean(metric: Metric, window: str, keys: Iterable[str], *matchers: str) -> str:
    """Give the mean of a histogram's measurements."""
    keys = tuple(keys)
    parts = (f"sum {by(keys)} (rate({select(metric, *matchers, suffix=s)}[{window}]))" for s in ("_sum", "_count"))
    native = f"histogram_avg(sum {by(keys)} (rate({select(metric, *matchers)}[{window}])))"
    return f"{' / '.join(parts)} or {native}"
