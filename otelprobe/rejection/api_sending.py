"""An offer on its way to the API: with its marks, its proof, and without the certificate where that is the case."""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from urllib.parse import urlsplit, urlunsplit

from otelprobe.credentials import Credential, send_credential
from otelprobe.dpop import known_nonce, note_nonce
from otelprobe.forging.proofs import make_proof
from otelprobe.http import Redirects, Reply
from otelprobe.pages import is_served_plainly
from otelprobe.quick import dataclass
from otelprobe.reasons import CheckFailed, Reason
from otelprobe.rejection.answer import Answer
from otelprobe.rejection.api_cases import ApiCase
from otelprobe.rejection.api_material import Offer
from otelprobe.rejection.listener import Bait, Listener
from otelprobe.rejection.marks import marks
from otelprobe.step import Context

_PATIENCE = 2.0
"""Seconds at most for plain http: where a firewall drops it, nothing comes at all."""

_NOBODY = frozenset(
    {
        *(Reason.CONNECT_REFUSED, Reason.CONNECT_TIMEOUT, Reason.CONNECTION_RESET, Reason.CONNECTION_CLOSED),
        *(Reason.READ_TIMEOUT, Reason.HTTP_PROTOCOL_ERROR),
    }
)
"""How a host fails to answer plain http, all of which is well."""

CONTROL = "control"
"""What the good credential is called where cases are named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The request of the flow file. `shown` is its URL as it may be published, `headers` are filled in."""

    method: str
    url: str
    shown: str
    headers: Mapping[str, str]
    redirects: Redirects
    plain_url: str | None = None
    listener: Listener | None = None


def send_control(ctx: Context, target: Target, good: Credential) -> Answer:
    """Send the good credential."""
    return _answered(ctx, target, CONTROL, Offer(credential=good), marks(CONTROL))


def send_offer(ctx: Context, target: Target, name: str, case: ApiCase, offer: Offer) -> Answer:
    """Send a bad credential; one that is judged without asking is not sent."""
    if offer.found is not None:
        return Answer(name, found=offer.found)
    if offer.old_tls is not None:
        return _propose(ctx, name, target.url, offer.old_tls)
    if offer.without_certificate:
        ctx = replace(ctx, options=replace(ctx.options, client_cert=None, client_key=None))
    marked = marks(name, case.group)
    if offer.plainly:
        return _by_plain_http(ctx, target, name, offer, marked)
    if offer.bait is not None and target.listener is not None:
        return _baited(ctx, name, target.listener, offer.bait, lambda: _answered(ctx, target, name, offer, marked))
    return _answered(ctx, target, name, offer, marked)


def _propose(ctx: Context, name: str, url: str, version: str) -> Answer:
    parts = urlsplit(url)
    try:
        found = ctx.http.agrees_to_tls(
            parts.hostname or "", parts.port or 443, ctx.options, ctx.deadline, ctx.wire, version=version
        )
    except CheckFailed as failed:
        return Answer(name, failed=failed)
    return Answer(name, found=found)


def _by_plain_http(ctx: Context, target: Target, name: str, offer: Offer, marked: Mapping[str, str]) -> Answer:
    """Send garbage by plain http, and nothing of the operator's. Where nobody listens there is nothing to refuse."""
    options = replace(
        ctx.options, insecure_http=True, headers={}, timeout=min(ctx.options.timeout or _PATIENCE, _PATIENCE)
    )
    url, shown = (target.plain_url or _plainly(url) for url in (target.url, target.shown))
    bare = replace(target, url=url, shown=shown, headers={}, redirects=Redirects.NONE)
    answer = _answered(replace(ctx, options=options), bare, name, offer, marked)
    if answer.failed is not None and answer.failed.reason in _NOBODY:
        return Answer(name, found=False)
    if answer.reply is None:
        return answer
    challenge = bool(answer.reply.values("WWW-Authenticate"))
    return replace(
        answer, found=is_served_plainly(answer.reply.status, answer.reply.value("Location"), challenge=challenge)
    )


def _plainly(url: str) -> str:
    """Give what plain http is asked for https: its own port for the usual one, else the same; no query."""
    parts = urlsplit(url)
    return urlunsplit(("http", parts.netloc.removesuffix(":443"), parts.path, "", ""))


def _baited(ctx: Context, name: str, listener: Listener, bait: Bait, ask: Callable[[], Answer]) -> Answer:
    """Listen at the URL of ours that a token names while it is offered."""
    from otelprobe.rejection.trap import listening  # noqa: PLC0415 - a server's modules, for a rare case

    try:
        with listening(listener, bait, ctx.deadline - ctx.clock.monotonic()) as trap:
            answer = ask()
            return replace(answer, fetched=trap.sprung(ctx.deadline - ctx.clock.monotonic()))
    except CheckFailed as failed:
        return Answer(name, failed=failed)


def wait_until_refused(ctx: Context, target: Target, case: ApiCase, offer: Offer, ends: float) -> Answer:
    """Offer a credential until it is refused, or Unix time `ends` or the step's deadline comes; at most six times."""
    pause = max(0.5, (ends - ctx.now()) / 5)
    while True:
        answer = send_offer(ctx, target, case.word, case, offer)
        late = ctx.now() + pause > ends or ctx.clock.monotonic() + pause >= ctx.deadline
        if not answer.succeeded or late:
            return answer
        time.sleep(pause)


def _answered(ctx: Context, target: Target, name: str, offer: Offer, marked: Mapping[str, str]) -> Answer:
    try:
        return Answer(name, _send(ctx, target, offer, marked))
    except CheckFailed as failed:
        return Answer(name, failed=failed)


def _send(ctx: Context, target: Target, offer: Offer, marked: Mapping[str, str]) -> Reply:
    method, url = offer.method or target.method, offer.url or target.url
    credential = offer.credential if offer.proof is None else replace(offer.credential, proof_key=None)

    def attempt(more: Mapping[str, str], resent: int) -> Reply:
        return ctx.send(
            method,
            url,
            headers={**target.headers, **offer.headers, **credential.headers(), **marked, **more},
            form=offer.form,
            safe_url=target.shown,
            redirects=target.redirects,
            control=True,
            credential_headers=credential.header_names,
            resent=resent,
            twice=frozenset({"dpop"}) if offer.proof == "twice" else frozenset(),
        )

    if offer.proof is None:
        return send_credential(ctx, credential, method, url, attempt)
    proof = _proof(ctx, offer, method, url)
    if offer.proof == "replayed":
        attempt(proof, 0)
    reply = attempt(proof, 0)
    note_nonce(ctx, url, reply)
    return reply


def _proof(ctx: Context, offer: Offer, method: str, url: str) -> dict[str, str]:
    """Make the proof that the offer asks for, with the nonce that the API gave the good one."""
    key = offer.credential.proof_key
    if key is None or offer.proof == "missing":
        return {}
    nonce = known_nonce(ctx, url)
    flaw = None if offer.proof in {"replayed", "twice"} else offer.proof
    proof = make_proof(key, method, url, ctx.now(), token=offer.credential.value, nonce=nonce, flaw=flaw)
    return {"DPoP": proof}
