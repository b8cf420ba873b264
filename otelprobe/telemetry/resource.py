"""The resource: where all telemetry of this process comes from, as the SDK has it.

Loaded only when telemetry is on.
"""

from collections.abc import Mapping

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.version import __version__ as sdk_version

from otelprobe.telemetry import schema

_SDK = {
    "telemetry.sdk.language": "python",
    "telemetry.sdk.name": "opentelemetry",
    "telemetry.sdk.version": sdk_version,
}


class Origin(Resource):
    """A resource whose hash is worked out once.

    The encoders group by resource, so they ask for the hash at every span and log record, and the SDK writes all
    attributes as JSON to answer: a third of what encoding a span costs. It does not change, as a resource does not.

    It is not made by Resource.create(): its detectors search all installed packages and draw a random instance id.
    """

    def __init__(self, attributes: Mapping[str, str]) -> None:
        super().__init__({**_SDK, **attributes}, schema.SCHEMA_URL)
        self._hash = super().__hash__()

    def __hash__(self) -> int:
        return self._hash
