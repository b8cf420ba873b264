"""What the process says on standard error: one line an event, as text or JSON, never with an exception's own text."""

import json
import logging
import sys
from datetime import UTC, datetime

from otelprobe.cli.terminal import harmless


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """Write time, level and message in one line."""
        return f"{_time(record)} {record.levelname.lower():7} {_one_line(record.getMessage())}"


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """Write one JSON object in one line."""
        fields = getattr(record, "fields", {})
        return json.dumps(
            {"time": _time(record), "level": record.levelname.lower(), "message": record.getMessage(), **fields}
        )


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _one_line(text: str) -> str:
    """Keep to one line, and let no foreign text (of a server, of a file) move the cursor or forge a line."""
    return harmless(text.replace("\n", "; "))


def set_up_logs(level: str, form: str) -> None:
    """Send our own log to standard error; of libraries only warnings, because they log requests at lower levels."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if form == "json" else _Text())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger("otelprobe").setLevel(level.upper())
    # What the SDK says of failed exports is said better, once, by our own delivery counts; its texts hold URLs.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
