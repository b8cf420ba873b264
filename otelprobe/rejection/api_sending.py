"""An offer on its way to the API: with its marks, its proof, and without the certificate where that is the case."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

from otelprobe.credentials import Credential, send_credential
from otelprobe.dpop import known_nonce, note_nonce
from otelprobe.forging.proofs import make_proof
from otelprobe.http import Redirects, Reply
from otelprobe.reasons import CheckFailed
from otelprobe.rejection.answer import Answer
from otelprobe.rejection.api_cases import ApiCase
from otelprobe.rejection.api_material import Offer
from otelprobe.rejection.marks import marks
from otelprobe.step import Context

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


def send_control(ctx: Context, target: Target, good: Credential) -> Answer:
    """Send the good credential."""
    return _answered(ctx, target, CONTROL, Offer(credential=good), marks(CONTROL))


def send_offer(ctx: Context, target: Target, name: str, case: ApiCase, offer: Offer) -> Answer:
    """Send a bad credential; one that is judged without asking is not sent."""
    if offer.found is not None:
        return Answer(name, found=offer.found)
    if offer.without_certificate:
        ctx = replace(ctx, options=replace(ctx.options, client_cert=None, client_key=None))
    return _answered(ctx, target, name, offer, marks(name, case.group))


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
