"""Codes turned into tokens: the form that does it, and the waiting for a person at another device (RFC 6749, 7636, 8628)."""

import time
from collections.abc import Callable
from typing import TypeVar

from otelprobe.http import Reply
from otelprobe.oauth import read_object, spend_budget
from otelprobe.reasons import Blame, CheckFailed, Counts, Reason
from otelprobe.step import AuthorizationCode, Context, DeviceCode, StepFailed

DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"

SLOWER = 5.0
"""Seconds that `slow_down` adds to the interval (RFC 8628, section 3.5)."""

T = TypeVar("T")

_SHORTEST = 1.0
_WAITING = frozenset({"authorization_pending", "slow_down"})


def code_form(code: AuthorizationCode) -> dict[str, str]:
    """Give the form members that turn an authorization code into tokens."""
    form = {"code": code.code, "redirect_uri": code.redirect_uri}
    return form if code.verifier is None else {**form, "code_verifier": code.verifier}


def waiting(reply: Reply) -> str | None:
    """Give `authorization_pending` or `slow_down` if that is what a provider answers to a device code, else None."""
    if reply.status not in {200, 400, 401, 403}:
        return None
    try:
        document = reply.json()
    except ValueError:
        return None
    error = document.get("error") if isinstance(document, dict) else None
    return error if isinstance(error, str) and error in _WAITING else None


def poll(ctx: Context, code: DeviceCode, ask: Callable[[], tuple[Reply, T]]) -> tuple[Reply, T]:
    """Ask until the provider has decided, no faster than it allows; CheckFailed if that is not before the deadline.

    The first question is counted against the provider's budget by the caller, the others here.
    """
    interval = max(code.interval, _SHORTEST)
    while True:
        reply, beside = ask()
        state = waiting(reply)
        if state is None:
            return reply, beside
        interval += SLOWER if state == "slow_down" else 0.0
        if ctx.clock.monotonic() + interval >= ctx.deadline:
            raise _never_decided(code, f"{state} until the deadline, asked every {interval:g} s")
        time.sleep(interval)
        spend_budget(ctx)


def read_decision(reply: Reply, code: DeviceCode) -> dict[str, object]:
    """Give the token response; CheckFailed blames the provider for a code that it lets expire though all was agreed to."""
    try:
        return read_object(reply, grant_is_ours=not code.completed)
    except StepFailed as failed:
        if "expired_token" not in failed.detail:
            raise
        raise StepFailed(_never_decided(code, failed.detail), failed.done) from None


def _never_decided(code: DeviceCode, detail: str) -> CheckFailed:
    if code.completed:
        told = f"{detail}: the log-in was completed, and the provider does not take note of it"
        return CheckFailed(Reason.INVALID_GRANT, told, blame=Blame.PROVIDER, counts=Counts.AUTH)
    return CheckFailed(Reason.LOGIN_REQUIRED, f"{detail}: nobody has logged in; complete: true at device does that")
