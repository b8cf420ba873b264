"""How a value is written in the text of an alert, by its unit."""

from collections.abc import Mapping

_FORMS: Mapping[str, str] = {
    "number": 'printf "%.4g"',
    "ratio": "humanizePercentage",
    "seconds": "humanizeDuration",
}


def prometheus_value(unit: str) -> str:
    """Give the template of an alert's value in Prometheus."""
    return f"{{{{ $value | {_FORMS[unit]} }}}}"


def grafana_value(unit: str) -> str:
    """Give the template of an alert's value in Grafana, where it is that of query A."""
    return f"{{{{ $values.A.Value | {_FORMS[unit]} }}}}"
