"""An issuer's keys, fetched by the same steps as in a flow: discovery, then the key set."""

import time

from otelprobe.clock import SystemClock
from otelprobe.fields import DEFAULT_HTTP
from otelprobe.http import LiveHttp, Wire
from otelprobe.provider import Provider
from otelprobe.run import RandomIds
from otelprobe.state import Memory, State
from otelprobe.step import Context, KeySet, Made, ProviderMetadata
from otelprobe.steps.discover import Discover
from otelprobe.steps.keys import Keys
from otelprobe.token_check import advertised_algorithms
from otelprobe.tokens import Key


def fetch_keys(issuer: str, seconds: float) -> tuple[tuple[Key, ...], tuple[str, ...], bool]:
    """Give the keys that an issuer publishes, the algorithms that it allows, and whether it lists them.

    CheckFailed if they cannot be had within `seconds`.
    """
    ids, made = RandomIds(), list[Made]()
    wire = Wire(ids.trace_id(), ids.span_id)
    for step in (Discover(name="discover"), Keys(name="keys")):
        ctx = Context(
            http=LiveHttp(SystemClock()),
            wire=wire,
            clock=SystemClock(),
            state=State(),
            memory=Memory(),
            options=DEFAULT_HTTP,
            deadline=time.perf_counter() + seconds / 2,
            flow="jwt",
            provider=Provider(name="issuer", issuer=issuer),
            made=tuple(made),
        )
        made.extend(Made(step.name, artifact) for artifact in step.run(ctx).makes)
    keys = next(m.artifact for m in made if isinstance(m.artifact, KeySet))
    metadata = next(m.artifact for m in made if isinstance(m.artifact, ProviderMetadata))
    return keys.keys, *advertised_algorithms(metadata)
