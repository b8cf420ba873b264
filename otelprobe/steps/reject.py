"""Offer the API credentials that it must refuse, between two good ones, and report any that it takes.

Bad tokens are made from the good one (RFC 8725 names the mistakes they look for). A refusal proves nothing where the good
token is refused as well, so it is sent before and after them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from otelprobe.credentials import Auth, Credential, of_tokens, present, request_faults, send_credential
from otelprobe.fields import Url
from otelprobe.http import Reply
from otelprobe.pages import classify_page, is_login_page
from otelprobe.provider import Provider
from otelprobe.reasons import CheckFailed, Layer, Reason
from otelprobe.result import CaseResult, Fact, FactValue, Warn
from otelprobe.step import Artifact, Context, Done, Step, StepFailed, Tokens, filled
from otelprobe.template import fill
from otelprobe.tokens import GARBAGE, format_of, load_crypto, parse, resign, strip_signature, tamper

Case = Literal["no_token", "garbage", "tampered", "alg_none", "forged_key"]
_MADE_FROM_JWT = frozenset({"tampered", "alg_none", "forged_key"})
_WORDS: Mapping[str, str] = {
    "no_token": "no token",
    "garbage": "garbage for a token",
    "tampered": "a changed payload under the old signature",
    "alg_none": "an unsigned token (alg none)",
    "forged_key": "a token signed by a stranger's key",
}


@dataclass(frozen=True, slots=True)
class _Answer:
    """What came back for one credential: the answer, or the failure that stood for it."""

    case: str
    reply: Reply | None = None
    failed: CheckFailed | None = None

    @property
    def status(self) -> int | None:
        """The status, if there was an answer."""
        return self.reply.status if self.reply is not None else None

    @property
    def page(self) -> Reason | None:
        """What answered in place of the API: an edge, or a log-in form."""
        if self.reply is None:
            return None
        found = classify_page(self.reply) if self.reply.status < 500 else None
        return found or (Reason.REDIRECTED_TO_LOGIN if is_login_page(self.reply) else None)

    @property
    def accepted(self) -> bool:
        """Whether the API took the credential: a status of success that is no page of somebody else's."""
        return self.status is not None and 200 <= self.status < 300 and self.page is None

    @property
    def limited(self) -> bool:
        """Whether a rate limit answered."""
        return self.status == 429

    @property
    def broken(self) -> bool:
        """Whether the server failed over it."""
        return self.status is not None and self.status >= 500


@dataclass(frozen=True, kw_only=True)
class Reject(Step):
    """Send every case and judge when all are answered: an accepted one weighs more than a server error.

    Every request carries `X-Otelprobe-Case`, so that the API's logs can be read.
    """

    kind: ClassVar[str] = "reject"
    answers: ClassVar[bool] = False
    layer: ClassVar[Layer] = Layer.API
    counted: ClassVar[bool] = False
    needs: ClassVar[tuple[type[Artifact], ...]] = (Tokens,)
    own_reasons: ClassVar[frozenset[Reason]] = frozenset(
        {
            *(Reason.REJECTION_ACCEPTED, Reason.ENDPOINT_NOT_PROTECTED, Reason.REJECTION_SERVER_ERROR),
            *(Reason.REJECTION_INCONCLUSIVE, Reason.API_RATE_LIMITED),
        }
    )

    url: Url
    """An endpoint that the good token opens; `${name}` may stand in path and query."""

    method: Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] = "GET"
    """HTTP method."""

    headers: Mapping[str, str] = field(default_factory=dict)
    """Added to every request; no credentials."""

    auth: Auth = field(default_factory=Auth)
    """The good token, if not the latest: `bearer`, `dpop` and `scheme` only."""

    cases: tuple[Case, ...] = ("no_token", "garbage", "tampered", "alg_none", "forged_key")
    """Which bad credentials are offered; default: all."""

    unauthorized_status: tuple[int, ...] = (401,)
    """What this API answers to a bad credential besides 401 and 403."""

    def warm_up(self) -> None:
        """Import what tokens are checked with."""
        load_crypto()

    def required(self, provider: Provider | None) -> tuple[type[Artifact], ...]:
        """Need the good token."""
        _ = provider
        return self.needs

    def references(self) -> tuple[tuple[tuple[str, ...], str], ...]:
        """Name the step that the good token comes from."""
        named = ((("auth", "bearer"), self.auth.bearer), (("auth", "dpop"), self.auth.dpop))
        return (*super().references(), *((member, name) for member, name in named if name is not None))

    def addresses(self, provider: Provider | None) -> tuple[str, ...]:
        """Give the URL that is asked."""
        _ = provider
        return (self.url,)

    def templates(self) -> tuple[object, ...]:
        """Give what `${name}` is filled in."""
        return (self.url, self.headers)

    def faults(self) -> Iterator[tuple[str, str]]:
        """Say what does not fit together."""
        if not self.cases:
            yield "cases", "an empty list checks nothing: name the cases, or leave it out for all of them"
        if self.auth.api_key or self.auth.basic or self.auth.cookie or self.auth.none:
            yield "auth", "reject offers bad tokens: auth takes bearer, dpop and scheme here"
        yield from request_faults(self.auth, self.use, self.headers)

    def run(self, ctx: Context) -> Done:
        """Send the good token, every bad one, the good one again; then judge."""
        tokens = ctx.need(Tokens, self.auth.token_step or self.use)
        token, good = tokens.access, of_tokens(tokens, self.auth)
        present(ctx, good)
        before = self._control(ctx, good)
        cases, warnings = self._feasible(token)
        answers = list(self._offer(ctx, good, cases))
        after = before if answers[-1:] and answers[-1].limited else self._send(ctx, "control", good)
        done = Done(
            facts=_facts(answers),
            warnings=(*warnings, *self._odd(answers)),
            cases=tuple(CaseResult(a.case, a.accepted, a.status) for a in answers),
        )
        failed = self._verdict((before, after), answers)
        if failed is not None:
            raise StepFailed(failed, done)
        return done

    def _control(self, ctx: Context, good: Credential) -> _Answer:
        """Send the good token first. Where not even that gets through, no bad one is sent."""
        answer = self._send(ctx, "control", good)
        if answer.failed is not None:
            raise answer.failed
        if answer.limited:
            raise CheckFailed(Reason.API_RATE_LIMITED, "status 429 for the good token")
        if answer.page is not None:
            raise CheckFailed(answer.page, f"status {answer.status} with a page where the API should be")
        return answer

    def _feasible(self, token: str) -> tuple[Sequence[str], tuple[Warn, ...]]:
        """Leave out what cannot be made of an opaque token, and say so."""
        left_out = [c for c in self.cases if c in _MADE_FROM_JWT]
        if not left_out or _is_jwt(token):
            return self.cases, ()
        warning = Warn(
            Reason.TOKEN_OPAQUE, f"the token is no signed JWT, so {', '.join(left_out)} cannot be made of it"
        )
        return [c for c in self.cases if c not in left_out], (warning,)

    def _offer(self, ctx: Context, good: Credential, cases: Sequence[str]) -> Iterator[_Answer]:
        """Send the bad credentials one after the other; a rate limit ends it, more requests would not get past it."""
        for case in cases:
            answer = self._send(ctx, case, good.with_token(_bad_token(case, good.value)))
            yield answer
            if answer.limited:
                return

    def _send(self, ctx: Context, case: str, credential: Credential) -> _Answer:
        url = filled(ctx, self.url)

        def attempt(more: Mapping[str, str], resent: int) -> Reply:
            own = {name: fill(value, ctx.captured) for name, value in self.headers.items()}
            return ctx.send(
                self.method,
                url,
                headers={**own, **credential.headers(), "X-Otelprobe-Case": case, **more},
                safe_url=self.url,
                redirects=self.follow,
                control=True,
                credential_headers=credential.header_names,
                resent=resent,
            )

        try:
            reply = send_credential(ctx, credential, self.method, url, attempt)
        except CheckFailed as failed:
            return _Answer(case, failed=failed)
        return _Answer(case, reply)

    def _refused(self, answer: _Answer) -> bool:
        return answer.status in {401, 403, *self.unauthorized_status}

    def _verdict(self, controls: tuple[_Answer, _Answer], answers: Sequence[_Answer]) -> CheckFailed | None:
        """Judge in the order of what matters: taken, told nothing, unanswered, broke the server."""
        accepted = [a for a in answers if a.accepted]
        if accepted:
            return _acceptance(accepted)
        limited = next((a for a in (*answers, *controls) if a.limited), None)
        if limited is not None:
            return CheckFailed(Reason.API_RATE_LIMITED, f"status 429 at case {limited.case}")
        doubt = next(self._doubts(controls, answers), None)
        if doubt is not None:
            return CheckFailed(Reason.REJECTION_INCONCLUSIVE, doubt)
        unanswered = next((a for a in answers if a.failed is not None), None)
        if unanswered is not None and unanswered.failed is not None:
            failed = unanswered.failed
            return CheckFailed(failed.reason, f"case {unanswered.case}: {failed.detail}", blame=failed.blame)
        broken = [a for a in answers if a.broken]
        if broken:
            told = ", ".join(f"{a.case} ({a.status})" for a in broken)
            return CheckFailed(Reason.REJECTION_SERVER_ERROR, f"answered with a server error: {told}")
        return None

    def _doubts(self, controls: tuple[_Answer, _Answer], answers: Sequence[_Answer]) -> Iterator[str]:
        """Say why the refusals prove nothing: the good token was refused, got no answer, or the same one as a bad token."""
        for control, when in zip(controls, ("before", "after"), strict=True):
            if control.failed is not None:
                yield f"the good token got no answer {when} the cases ({control.failed.reason.value})"
            elif control.page is not None:
                yield f"the good token got a page instead of an answer {when} the cases ({control.page.value})"
            elif control.status == 401 or (control.status in self.unauthorized_status):
                yield f"the good token was refused with status {control.status} {when} the cases"
            elif not control.accepted:
                same = [a.case for a in answers if a.status == control.status]
                if same:
                    yield f"the good token got status {control.status} {when} the cases, as did {', '.join(same)}"

    def _odd(self, answers: Sequence[_Answer]) -> Iterator[Warn]:
        """Warn of what is no acceptance, and yet no refusal by the API."""
        for answer in answers:
            if answer.page is not None:
                yield Warn(answer.page, f"case {answer.case} was answered by a page in place of the API")
            elif answer.status is not None and not (
                answer.accepted or answer.limited or answer.broken or self._refused(answer)
            ):
                yield Warn(
                    Reason.ASSERTION_FAILED, f"case {answer.case} got status {answer.status}, expected 401 or 403"
                )


def _is_jwt(token: str) -> bool:
    if format_of(token) != "jws":
        return False
    try:
        parse(token)
    except CheckFailed:
        return False
    return True


def _bad_token(case: str, token: str) -> str | None:
    if case == "no_token":
        return None
    if case == "garbage":
        return GARBAGE
    make = {"tampered": tamper, "alg_none": strip_signature, "forged_key": resign}[case]
    return make(parse(token))


def _acceptance(accepted: Sequence[_Answer]) -> CheckFailed:
    told = ", ".join(f"{_WORDS[a.case]} ({a.case}, status {a.status})" for a in accepted)
    open_to_all = any(a.case == "no_token" for a in accepted)
    first = Reason.ENDPOINT_NOT_PROTECTED if open_to_all else Reason.REJECTION_ACCEPTED
    problems = tuple(dict.fromkeys((first, *(Reason.REJECTION_ACCEPTED for a in accepted if a.case != "no_token"))))
    return CheckFailed(first, f"accepted: {told}", problems=problems)


def _facts(answers: Sequence[_Answer]) -> dict[str, FactValue]:
    return {
        Fact.REJECTION_CASES: tuple(a.case for a in answers),
        Fact.REJECTION_ACCEPTED: tuple(a.case for a in answers if a.accepted),
    }
