"""Offer tokens of earlier runs that are still good, so that lost sessions are told from log-ins that fail."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from typing import ClassVar, Literal

from otelprobe.credentials import Auth, Credential, of_tokens, request_faults, send_credential
from otelprobe.fields import SecretRef, Url
from otelprobe.http import Reply
from otelprobe.key_history import withdrawn_kids
from otelprobe.memory_loss import lost_memory
from otelprobe.pages import classify_page, is_login_page
from otelprobe.provider import Provider
from otelprobe.quick import dataclass
from otelprobe.reasons import CheckFailed, Layer, Reason
from otelprobe.result import Fact, FactValue, Warn
from otelprobe.retained import Retained as Kept
from otelprobe.retained import outlives_process, recall, retain
from otelprobe.step import Context, Done, Judgement, KeySet, Step, StepFailed, Tokens, filled
from otelprobe.template import fill
from otelprobe.tokens import ASYMMETRIC, Jwt, Policy, load_crypto, parse, time_claim, verify

_LEEWAY = 5.0
"""Seconds that a token has to live on, so that none runs out on its way."""

_KEY_PROBLEMS = frozenset(
    {Reason.KID_NOT_IN_JWKS, Reason.KID_WITHDRAWN_EARLY, Reason.SIGNATURE_INVALID, Reason.KEY_MISMATCH}
)
_LONGEST_APART = 86400.0


@dataclass(frozen=True, slots=True)
class _Trial:
    """What the API answered to one token: a status, or the failure that stood for it."""

    reply: Reply | None = None
    failed: CheckFailed | None = None

    @property
    def accepted(self) -> bool:
        """Whether it was taken: a status of success that is no page of somebody else's."""
        reply = self.reply
        if reply is None or not 200 <= reply.status < 300:
            return False
        return classify_page(reply) is None and not is_login_page(reply)

    def refused(self, unauthorized: Sequence[int]) -> bool:
        """Whether it was refused for what it is."""
        return self.reply is not None and self.reply.status in {401, 403, *unauthorized}

    def judgement(self, unauthorized: Sequence[int], refused: Reason) -> Judgement | None:
        """Give the API's judgement; None where it gave none."""
        if self.reply is None or not (self.accepted or self.refused(unauthorized)):
            return None
        return Judgement(None if self.accepted else refused, self.reply.exchange)

    def words(self) -> str:
        """Say what came."""
        if self.reply is not None:
            return f"status {self.reply.status}"
        return self.failed.reason.value if self.failed is not None else "no answer"


@dataclass(frozen=True, kw_only=True)
class Retained(Step):
    """Verify tokens of earlier runs with today's keys and offer them to the API, beside the new one; then keep the new one.

    With `always` it runs also where the log-in failed, and tells whether old sessions live on. A token that is revoked, or
    bound to a key, is not kept. In the state directory tokens are sealed with the provider's client secret.
    """

    kind: ClassVar[str] = "retained"
    layer: ClassVar[Layer] = Layer.API
    answers: ClassVar[bool] = False
    counted: ClassVar[bool] = False
    own_reasons: ClassVar[frozenset[Reason]] = frozenset(
        {
            *(Reason.RETAINED_REFUSED, Reason.API_REJECTS_VALID_TOKEN, Reason.API_UNAVAILABLE),
            *(Reason.KID_WITHDRAWN_EARLY, Reason.KID_NOT_IN_JWKS, Reason.SIGNATURE_INVALID),
        }
    )

    url: Url | None = None
    """An endpoint that the token opens; without it the tokens are only verified. `${name}` may stand in path and query."""

    method: Literal["GET", "HEAD", "POST", "OPTIONS"] = "GET"
    """HTTP method."""

    headers: Mapping[str, str] = field(default_factory=dict)
    """Added to every request; no credentials."""

    auth: Auth = field(default_factory=Auth)
    """Which token is the new one, if not the latest, and how it is sent: `bearer` and `scheme` only."""

    keep: int = 3
    """How many tokens are kept at most, spread over their lifetime; 1 to 10."""

    seal: SecretRef | None = None
    """Secret that tokens are sealed with in the state directory; default: the provider's client secret."""

    unauthorized_status: tuple[int, ...] = (401,)
    """What this API answers to a bad token besides 401 and 403."""

    def warm_up(self) -> None:
        """Import what tokens are checked with."""
        load_crypto()

    def references(self) -> tuple[tuple[tuple[str, ...], str], ...]:
        """Name the step that the new token comes from."""
        named = ((("auth", "bearer"), self.auth.bearer),)
        return (*super().references(), *((member, name) for member, name in named if name is not None))

    def addresses(self, provider: Provider | None) -> tuple[str, ...]:
        """Give the URL that is asked."""
        _ = provider
        return (self.url,) if self.url is not None else ()

    def templates(self) -> tuple[object, ...]:
        """Give what `${name}` is filled in."""
        return (self.url or "", self.headers)

    def secrets(self) -> tuple[SecretRef, ...]:
        """Give the secret that tokens are sealed with."""
        return (self.seal,) if self.seal is not None else ()

    def faults(self) -> Iterator[tuple[str, str]]:
        """Say what does not fit together."""
        if not 1 <= self.keep <= 10:
            yield "keep", "from 1 to 10 tokens can be kept"
        if any(
            c is not None
            for c in (self.auth.api_key, self.auth.basic, self.auth.cookie, self.auth.dpop, self.auth.none or None)
        ):
            yield "auth", "only tokens are retained: auth takes bearer and scheme here"
        yield from request_faults(self.auth, self.use, self.headers)

    def run(self, ctx: Context) -> Done:
        """Try the old tokens and the new one, tell them apart, keep the new one."""
        now, new = ctx.now(), ctx.find(Tokens, self.auth.token_step or self.use)
        kept = recall(ctx, self.name, seal_with=self.seal)
        old = [one for one in kept if one.alive(now, _LEEWAY) and (new is None or one.token != new.access)]
        bad_keys = {one.token: found for one in old if (found := _key_problem(ctx, one)) is not None}
        for token, problem in bad_keys.items():
            ctx.present(token, "access_token", judged=Judgement(problem.reason))
        tried = self._offer(ctx, [one.token for one in old])
        fresh = self._offer_new(ctx, new) if old else None
        facts: dict[str, FactValue] = {Fact.RETAINED_COUNT: len(old)}
        if old:
            facts[Fact.RETAINED_AGE] = round(now - old[0].kept_at, 3)
        sessions = _sessions(tried, fresh)
        if sessions is not None:
            facts[Fact.RETAINED_SESSIONS] = sessions
        done = Done(facts=facts, warnings=(*self._forgetful(ctx), *_without_new(new, old)))
        failed = next(iter(bad_keys.values()), self._verdict(old, tried, fresh))
        if failed is not None:
            told = f"; {_words(sessions)}" if sessions is not None else ""
            raise StepFailed(CheckFailed(failed.reason, f"{failed.detail}{told}", blame=failed.blame), done)
        if new is not None:
            self._keep(ctx, new)
        return done

    def _forgetful(self, ctx: Context) -> tuple[Warn, ...]:
        wanted = None if outlives_process(ctx, self.seal) else f"the tokens that step {self.name} retains"
        return lost_memory(ctx, wanted)

    def _offer(self, ctx: Context, tokens: Sequence[str]) -> list[_Trial]:
        if self.url is None:
            return []
        scheme, refused = self.auth.scheme or "Bearer", Reason.RETAINED_REFUSED
        return [self._send(ctx, Credential("token", token, scheme), refused) for token in tokens]

    def _offer_new(self, ctx: Context, new: Tokens | None) -> _Trial | None:
        if self.url is None or new is None:
            return None
        return self._send(ctx, of_tokens(new, self.auth), Reason.API_REJECTS_VALID_TOKEN)

    def _send(self, ctx: Context, credential: Credential, refused: Reason) -> _Trial:
        """Offer a token, and note for the audit trail what the API made of it."""
        trial = self._ask(ctx, credential)
        judged = trial.judgement(self.unauthorized_status, refused)
        if judged is not None:
            ctx.present(credential.value, "access_token", judged=judged)
        return trial

    def _ask(self, ctx: Context, credential: Credential) -> _Trial:
        url = filled(ctx, self.url or "")

        def attempt(more: Mapping[str, str], resent: int) -> Reply:
            own = {name: fill(value, ctx.captured) for name, value in self.headers.items()}
            return ctx.send(
                self.method,
                url,
                headers={**own, **credential.headers(), **more},
                safe_url=self.url,
                redirects=self.follow,
                control=True,
                credential_headers=credential.header_names,
                resent=resent,
            )

        try:
            return _Trial(send_credential(ctx, credential, self.method, url, attempt))
        except CheckFailed as failed:
            return _Trial(failed=failed)

    def _verdict(self, old: Sequence[Kept], tried: Sequence[_Trial], fresh: _Trial | None) -> CheckFailed | None:
        """Judge what the API answered: a refusal weighs by what the new token got."""
        refused = [trial for trial in tried if trial.refused(self.unauthorized_status)]
        answered = [*tried, *([fresh] if fresh is not None else [])]
        other = next((trial for trial in answered if not trial.accepted and trial not in refused), None)
        if refused and (fresh is None or not fresh.refused(self.unauthorized_status)):
            share = f"{len(refused)} of {len(old)} tokens of earlier runs that are still good"
            return CheckFailed(Reason.RETAINED_REFUSED, f"{share}: {refused[0].words()}")
        if fresh is not None and fresh.refused(self.unauthorized_status):
            return CheckFailed(Reason.API_REJECTS_VALID_TOKEN, f"a new token: {fresh.words()}")
        if other is None:
            return None
        if other.failed is not None:
            return other.failed
        return CheckFailed(_other_reason(other), f"{other.words()} where a token of an earlier run was offered")

    def _keep(self, ctx: Context, new: Tokens) -> None:
        exp = _end(new)
        if exp is None or new.proof_key is not None:
            return
        apart = min(max(exp - ctx.now(), 0.0) / self.keep, _LONGEST_APART)
        retain(ctx, self.name, new.access, exp, most=self.keep, apart=apart, seal_with=self.seal)


def _other_reason(trial: _Trial) -> Reason:
    status = trial.reply.status if trial.reply is not None else 0
    if status == 429:
        return Reason.API_RATE_LIMITED
    return Reason.API_UNAVAILABLE if status >= 500 else Reason.ASSERTION_FAILED


def _key_problem(ctx: Context, kept: Kept) -> CheckFailed | None:
    """Say why today's keys do not verify a token that they, or others, signed; nothing where that cannot be told."""
    keys = ctx.find(KeySet)
    jwt = _parsed(kept.token)
    if keys is None or jwt is None or jwt.alg not in ASYMMETRIC:
        return None
    policy = Policy(algorithms=ASYMMETRIC, leeway=_LEEWAY)
    found = verify(jwt, keys.keys, policy, ctx.now(), withdrawn=withdrawn_kids(ctx))
    problem = next((p for p in found.problems if p.reason in _KEY_PROBLEMS), None)
    if problem is None:
        return None
    left = kept.exp - ctx.now()
    return CheckFailed(problem.reason, f"a token of an earlier run, good for {left:.0f} s more: {problem.detail}")


def _end(tokens: Tokens) -> float | None:
    """Give when a token ends: by its own exp, else by what the answer said of it."""
    jwt = _parsed(tokens.access)
    exp = time_claim(jwt.claims, "exp") if jwt is not None else None
    if exp is None and tokens.expires_in is not None and tokens.obtained_at:
        exp = tokens.obtained_at + tokens.expires_in
    return exp


def _parsed(token: str) -> Jwt | None:
    try:
        return parse(token)
    except CheckFailed:
        return None


def _sessions(tried: Sequence[_Trial], fresh: _Trial | None) -> str | None:
    """Say which tokens work; None unless the API was asked with an old one, and a new one was asked with or missing."""
    if not tried:
        return None
    old, new = all(t.accepted for t in tried), fresh is not None and fresh.accepted
    return {(True, True): "both", (True, False): "old_only", (False, True): "new_only"}.get((old, new), "none")


def _words(sessions: str) -> str:
    return {
        "both": "the API takes old and new tokens",
        "old_only": "old sessions work, new log-ins fail",
        "new_only": "new log-ins work, old sessions are cut off",
    }.get(sessions, "neither old sessions nor new log-ins work")


def _without_new(new: Tokens | None, old: Sequence[Kept]) -> tuple[Warn, ...]:
    if new is not None or not old:
        return ()
    return (Warn(Reason.TOKEN_MISSING, f"this run has no new token; {len(old)} of earlier runs were tried"),)
