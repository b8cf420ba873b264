"""A handshake by itself, without a request: how one begins, and the exchange that it leaves."""

from otelprobe.reasons import CheckFailed, Reason
from otelprobe.result import Exchange
from otelprobe.transport.adapter import choose_route
from otelprobe.transport.dial import Attempt
from otelprobe.transport.once import Orders
from otelprobe.transport.route import Target, place


class Handshake:
    """One that begins now. CheckFailed if no time is left, or there is no way to the host."""

    def __init__(self, host: str, port: int, orders: Orders) -> None:
        clock = orders.clock
        if clock.monotonic() >= orders.deadline:
            raise CheckFailed(Reason.DEADLINE_EXCEEDED, "no time was left for the handshake")
        self.route = choose_route(Target("https", host, port, "/"), orders.options, orders.proxies)
        self.attempt = Attempt(clock, orders.deadline, place(host, port))
        self._orders = orders
        self._start_ns, self._start = clock.time_ns(), clock.monotonic()

    def exchange(self, span_id: int, failed: Exception | None, end: float) -> Exchange:
        """Give what was measured until `end` (seconds, monotonic)."""
        target, attempt = self.route.target, self.attempt
        return Exchange(
            method="TLS",
            url=f"tls://{attempt.place}",
            host=target.host,
            port=target.port,
            span_id=span_id,
            start_ns=self._start_ns,
            duration=end - self._start,
            phases=attempt.phases(end),
            reason=None
            if failed is None
            else failed.reason
            if isinstance(failed, CheckFailed)
            else Reason.PROBER_ERROR,
            peer_address=None if attempt.peer is None else attempt.peer[0],
            peer_port=None if attempt.peer is None else attempt.peer[1],
            tls=attempt.tls,
            control=self._orders.control,
            handshake=True,
        )
