"""One attempt from its call to its published facts: prepared, routed, sent, read, judged, and never raising."""

from dataclasses import field

from otelprobe.clock import Clock
from otelprobe.fields import DEFAULT_HTTP, HttpOptions
from otelprobe.quick import dataclass, quick
from otelprobe.reasons import CheckFailed, Reason
from otelprobe.result import Exchange
from otelprobe.transport.adapter import OneShot, choose_route, clock_skew
from otelprobe.transport.call import Call, Prepared, prepare
from otelprobe.transport.dial import Attempt, diagnose
from otelprobe.transport.reading import Answer
from otelprobe.transport.reasons import Phase, failure
from otelprobe.transport.route import Proxies, Target

_DATED = frozenset({Reason.TLS_CERT_EXPIRED, Reason.TLS_CERT_NOT_YET_VALID})


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """What holds for every attempt of a request: how to reach hosts, until when, in which trace, for which purpose."""

    clock: Clock
    options: HttpOptions
    deadline: float
    trace_id: int
    control: bool
    proxies: Proxies


@quick
@dataclass(frozen=True, slots=True)
class Told:
    """What an attempt came to. `failed` is CheckFailed, or the exception itself where no table knows it."""

    exchange: Exchange
    target: Target
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    body: bytes = field(repr=False)
    failed: Exception | None = None


def send_once(call: Call, orders: Orders, span_id: int, resend_count: int) -> Told:
    """Make one attempt. CheckFailed is raised only for what keeps it from starting (config_error, no time left)."""
    clock = orders.clock
    if clock.monotonic() >= orders.deadline:
        raise CheckFailed(Reason.DEADLINE_EXCEEDED, "no time was left to send the request")
    prepared = prepare(call, f"00-{orders.trace_id:032x}-{span_id:016x}-01")
    route = choose_route(prepared.target, orders.options, orders.proxies)
    start_ns, start = clock.time_ns(), clock.monotonic()
    attempt = Attempt(clock, orders.deadline, prepared.target.place)
    adapter = OneShot(
        route,
        attempt,
        orders.options.max_size or DEFAULT_HTTP.max_size or 0,
        takes_any_coding=prepared.takes_any_coding,
    )
    answer, failed = _travel(adapter, prepared, attempt)
    end = clock.monotonic()
    if isinstance(failed, CheckFailed) and failed.reason in _DATED and attempt.phase is Phase.TLS:
        attempt.tls = diagnose(route, attempt)
    reader = adapter.reader
    headers = () if reader is None else reader.headers
    exchange = Exchange(
        method=prepared.method,
        url=call.shown,
        host=prepared.target.host,
        port=prepared.target.port,
        span_id=span_id,
        start_ns=start_ns,
        duration=end - start,
        phases=attempt.phases(end),
        status=None if reader is None else reader.status,
        reason=_reason(failed),
        http_version=None if reader is None else reader.version,
        peer_address=None if attempt.peer is None else attempt.peer[0],
        peer_port=None if attempt.peer is None else attempt.peer[1],
        request_size=len(call.body or b""),
        response_size=None if reader is None else reader.size,
        resend_count=resend_count,
        tls=attempt.tls,
        clock_skew=_skew(attempt, headers, start_ns / 1e9 - start),
        control=orders.control,
    )
    return Told(exchange, prepared.target, headers, b"" if answer is None else answer.body, failed)


def _travel(adapter: OneShot, prepared: Prepared, attempt: Attempt) -> tuple[Answer | None, Exception | None]:
    """Send, and give the answer or what went wrong, translated where the table knows it."""
    try:
        answer = adapter.send(prepared)
    except CheckFailed as error:
        return None, error
    except Exception as error:  # noqa: BLE001 - what is not known goes on to the caller as it is
        return None, failure(error, attempt.phase, attempt.place) or error
    if answer.status == 407:
        text = f"{prepared.target.place}: a proxy on the way wants credentials (407)"
        return None, CheckFailed(Reason.PROXY_ERROR, text)
    return answer, None


def _reason(failed: Exception | None) -> Reason | None:
    if failed is None:
        return None
    return failed.reason if isinstance(failed, CheckFailed) else Reason.PROBER_ERROR


def _skew(attempt: Attempt, headers: tuple[tuple[str, str], ...], unix_offset: float) -> float | None:
    """Compare clocks at the middle between the request's end and the answer's first byte."""
    if attempt.sent_at is None or attempt.first_byte_at is None:
        return None
    return clock_skew(headers, unix_offset + (attempt.sent_at + attempt.first_byte_at) / 2)
