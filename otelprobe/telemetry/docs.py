"""The reference page on telemetry, written from the schema so that it cannot differ from it."""

from collections.abc import Iterable

from otelprobe.telemetry import schema
from otelprobe.telemetry.schema import Attribute, Event, Instrument, Metric

_HEAD = """\
# Telemetry

Generated from `otelprobe/telemetry/schema.py`; do not edit. A renamed or removed name is a **Breaking** line in the
changelog.

Where semantic conventions exist (HTTP client spans and `http.client.request.duration`, `server.*`, `url.*`,
`network.*`, `error.type`, `tls.*`, `user_agent.synthetic.type`) they are used as they are; everything else is
`otelprobe.*`. No secret, no credential, no claim value and no exception text is sent in any signal.
"""

_SPANS = """\
## Spans

`flow <flow>` (INTERNAL, the root, or a child of `TRACEPARENT`) > `<step name>` (INTERNAL) > `<METHOD>` (CLIENT, one for
each attempt on the wire). A failed step has status Error and `error.type`. An expected refusal (a control request, a
case of a `reject` step) leaves the status unset. A skipped step is a span of no length with outcome skip. A flow's
labels are attributes `otelprobe.label.<name>` of its root span and of `otelprobe.flow.up`.
"""

_METRICS = """\
## Metrics

One-shot runs send the gauges only; counters and histograms of the same names are then derived from the spans in a
long-lived collector.

- **Counters start at zero.** When a flow is planned, `otelprobe.flow.runs` gets a series for a pass and one for every
  outcome, blame and objective that its steps can end with, and `otelprobe.step.runs` one for each step and outcome, all
  at 0 and without `error.type`. A failure carries its `error.type`, which makes a new series; that series is told as 0
  first, at once, and with its true value from the next collection on (at least 15 s later, or one export interval if that is
  shorter). So `increase()` sees the step from 0 to 1, on every path into Prometheus, and no count is ever lost. With delta
  temporality there is nothing to mend and values are told at once.
- **Gauges go silent.** A gauge whose flow last ran more than three intervals ago is no longer reported, except
  timestamps, objectives and posture findings, which state no condition.
- **Removed flows** are no longer reported after the reload that removed them; the counters of flows that stay go on.
- **Exemplars** on histograms carry the trace and span id of the run (`OTEL_METRICS_EXEMPLAR_FILTER=always_off` turns
  them off). `OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE` and `OTEL_METRIC_EXPORT_INTERVAL` are honoured; histograms
  always have explicit buckets.
- **Buckets**: one set for each metric, so that its series can be added up. `otelprobe.step.duration` reaches from 50 µs
  (local verification) to 10 s, the rest from 5 ms to 10 s.
"""

_EVENTS = """\
## Events

OTLP log records with an event name, the time it happened, and the trace and span id of the run, if it is of one. Prose
(`otelprobe.detail`) is found here only.
"""

_SETTINGS = """\
## Settings

The standard `OTEL_*` variables: `OTEL_SDK_DISABLED`, `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`,
`OTEL_{TRACES,METRICS,LOGS}_EXPORTER` (otlp, console, none), `OTEL_EXPORTER_OTLP_*` and its forms for one signal,
`OTEL_BSP_*`, `OTEL_BLRP_*`, `OTEL_METRIC_EXPORT_INTERVAL`, `OTEL_METRICS_EXEMPLAR_FILTER`. Without an endpoint nothing is
sent.

- `OTEL_EXPORTER_OTLP_TIMEOUT` is milliseconds in the specification and seconds in the Python exporters. A value of 100 or
  more is taken as milliseconds, a smaller one as seconds: a timeout of 100 s or of less than 100 ms makes no sense here.
- `OTEL_EXPORTER_OTLP_PROTOCOL` is `http/protobuf` (default) or `grpc`.
- `.netrc` is never read for exports, `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` are, and `OTEL_EXPORTER_OTLP_CERTIFICATE`
  beats `REQUESTS_CA_BUNDLE`.
- A redirect and an answer that is no OTLP are no delivery. Items that a collector refused in a partial success are failed.
- `service.instance.id` is derived from the Kubernetes namespace, the CronJob and the location in one-shot runs, and from
  the host as well in long-lived ones; set it in `OTEL_RESOURCE_ATTRIBUTES` where two probers would share it.
- What was not delivered goes to the spool directory, if there is one, and is sent by the next run or after the next
  successful export: at least once. Without one, `otelprobe run` keeps spans and log records in its queues while they have
  room. Cumulative metrics are not spooled, the next export repeats them. Data that the collector calls invalid (400, 413,
  `INVALID_ARGUMENT`) is dropped and counted as failed. What each fault costs: [delivery.md](delivery.md).
"""


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |\n" for row in lines)


def _values(attribute: Attribute) -> str:
    if attribute is schema.ERROR_TYPE:
        return "see [reasons](reasons.md)"
    return ", ".join(attribute.values)


def _attributes(attributes: Iterable[Attribute]) -> str:
    return _table(("attribute", "meaning", "values"), ((f"`{a.name}`", a.description, _values(a)) for a in attributes))


def _names(attributes: Iterable[Attribute]) -> str:
    return " ".join(f"`{a.name}`" for a in attributes)


def _metric_row(metric: Metric) -> tuple[str, ...]:
    unit = f" `{metric.unit}`" if metric.unit else ""
    labels = " labels" if metric.labels else ""
    return (
        f"`{metric.name}`",
        f"{metric.instrument}{unit}",
        metric.description,
        _names(metric.all_attributes) + labels,
        f"`{schema.prometheus_name(metric)}`",
    )


def _metric_attributes() -> tuple[Attribute, ...]:
    known: dict[str, Attribute] = {}
    for metric in schema.METRICS:
        known.update({a.name: a for a in metric.all_attributes})
    return tuple(known.values())


def _event_row(event: Event) -> tuple[str, ...]:
    return f"`{event.name}`", event.description, _names(schema.EVENT_BASE + event.attributes)


def render_markdown() -> str:
    """Give the whole of docs/telemetry.md."""
    histograms = [m for m in schema.METRICS if m.instrument is Instrument.HISTOGRAM]
    parts = [
        _HEAD,
        _SPANS,
        "### Resource\n\nBesides `service.*` and what `OTEL_RESOURCE_ATTRIBUTES` says:\n\n"
        + _attributes(schema.RESOURCE),
        "### Flow spans\n\n" + _attributes(schema.FLOW_SPAN),
        "### Step spans\n\n" + _attributes(schema.STEP_SPAN),
        "Facts, on the steps that find them: " + _names(schema.FACT_SPAN) + "\n",
        "### HTTP spans\n\n" + _attributes(schema.CLIENT_SPAN),
        _METRICS,
        _table(("metric", "instrument", "meaning", "attributes", "Prometheus"), map(_metric_row, schema.METRICS)),
        "### Metric attributes\n\n" + _attributes(_metric_attributes()),
        "### Buckets\n\n"
        + _table(("histogram", "upper bounds"), ((f"`{m.name}`", " ".join(map(str, m.bounds))) for m in histograms)),
        _EVENTS,
        _table(("event", "meaning", "attributes"), map(_event_row, schema.EVENTS)),
        "### Audit attributes\n\n"
        + _attributes(schema.AUDIT_ATTRIBUTES)
        + f"\nand `{schema.AUDIT_CLAIM_PREFIX}<claim>` for each claim that `audit: claims` lists; see [audit.md](audit.md).\n",
        _SETTINGS,
    ]
    return "\n".join(parts)
