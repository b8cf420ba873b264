"""Send the identity provider requests that it must refuse, between two good ones, and report any that it takes.

Which there are stands in `otelprobe.rejection.provider_cases`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import field, replace
from functools import partial
from typing import Annotated, ClassVar, Literal
from urllib.parse import urlencode, urlsplit, urlunsplit

from otelprobe.dpop import note_nonce, proof_key, wants_nonce
from otelprobe.fields import Duration
from otelprobe.http import Redirects, Reply
from otelprobe.provider import Provider
from otelprobe.quick import dataclass
from otelprobe.reasons import Blame, CheckFailed, Layer, Reason
from otelprobe.rejection.answer import Answer
from otelprobe.rejection.burst import Burst, burst_facts, burst_warnings, run_burst
from otelprobe.rejection.case import Case, Group
from otelprobe.rejection.marks import marks
from otelprobe.rejection.provider_cases import (
    CONTROLS,
    PROVIDER_CASES,
    SPOILT,
    Ask,
    Form,
    Material,
    Session,
    document_of,
    good_request,
    is_good,
)
from otelprobe.rejection.selection import DEFAULT, Rota, case_words, in_group, named_too, notes_of, selected
from otelprobe.rejection.verdict import Offered, accepted, case_facts, case_results, judge, odd_answers
from otelprobe.result import Warn
from otelprobe.step import Artifact, AuthorizationCode, Context, Done, ProviderMetadata, Step, StepFailed, Tokens

CASE_WORD = case_words(PROVIDER_CASES)
ENDPOINT_OF: Mapping[str, str] = {"own": "token", "code": "token", "session": "token", "burst": "token"}

_CONTROL = "control"
_FEWEST = 3
_BURST = "burst"
_OF_ITS_OWN = frozenset({"own", "session", _BURST})
_RESERVED = frozenset(
    {"client_id", "client_secret", "client_assertion", "client_assertion_type", "grant_type", "scope"}
)


@dataclass(frozen=True, kw_only=True)
class RejectAtProvider(Step):
    """Send bad requests to the provider's endpoints, those of one kind in a run, and judge when all are answered.

    The good request beside those to the token endpoint is that of the step whose token is used. What each case is stands in
    [security.md](security.md).
    """

    kind: ClassVar[str] = "reject_at_provider"
    answers: ClassVar[bool] = False
    layer: ClassVar[Layer] = Layer.AUTH
    counted: ClassVar[bool] = False
    uses_provider: ClassVar[bool] = True
    own_reasons: ClassVar[frozenset[Reason]] = frozenset(
        {
            *(Reason.REJECTION_ACCEPTED, Reason.REJECTION_SERVER_ERROR, Reason.REJECTION_INCONCLUSIVE),
            *(Reason.IDP_RATE_LIMITED, Reason.BUDGET_EXHAUSTED, Reason.REFRESH_REUSE_ACCEPTED),
        }
    )

    cases: tuple[Annotated[str, CASE_WORD], ...] = DEFAULT
    """Which bad requests are sent: names, numbers such as `N26`, or `safe`, `slow`, `intrusive`, `all`; default: every safe
    one that can be made of what the flow has.
    """

    max_requests: int = 8
    """Most requests in one run, the good ones included; cases beyond it take turns, run by run."""

    every: Duration = 3600.0
    """How often slow and intrusive cases are sent; default 1h."""

    grant: Literal["client_credentials", "refresh_token"] | None = None
    """How the good token request asks; default: as the step whose token is used, by `refresh_token` where that used up a
    code or a device code, else `client_credentials`, with a warning.
    """

    scope: str | None = None
    """What the good token request asks for, if not what that step asked for."""

    params: Mapping[str, str] = field(default_factory=dict)
    """Anything else that the good token request sends, such as `audience`."""

    redirect_uri: str | None = None
    """For the cases of redirect URIs and PKCE: one that is registered for the client."""

    codes: tuple[str, ...] = ()
    """For `wrong_verifier`, `missing_verifier` and `other_redirect_uri`, those chosen: steps `authorize` with unused codes,
    and one more, exchanged rightly after them.
    """

    decoy_user: str | None = None
    """For `wrong_password`: a user that may be locked out. `request_burst` guesses at its password, without it at a client
    that does not exist.
    """

    allow_intrusive: bool = False
    """`true` allows intrusive cases, at the hosts of `intrusive_hosts` and for who may attack them."""

    intrusive_hosts: tuple[str, ...] = ()
    """Names of the hosts that intrusive cases may be sent to."""

    def required(self, provider: Provider | None) -> tuple[type[Artifact], ...]:
        """Need the discovery document unless the flow file names every endpoint that cases go to."""
        kinds = {ENDPOINT_OF.get(case.control, case.control) for case in selected(PROVIDER_CASES, self.cases)}
        named = set(provider.endpoints) if provider is not None else set()
        return () if "token" in named or kinds <= named else (ProviderMetadata,)

    def references(self) -> tuple[tuple[tuple[str, ...], str], ...]:
        """Name the steps that codes come from."""
        return (*super().references(), *((("codes",), name) for name in self.codes))

    def notes(self) -> Iterator[str]:
        """Say which cases are sent, by group."""
        return notes_of(PROVIDER_CASES, self.cases, self.every)

    def faults(self) -> Iterator[tuple[str, str]]:
        """Say what does not fit together."""
        if not self.cases:
            yield "cases", "an empty list checks nothing: name the cases, or leave it out for all of them"
        if self.max_requests < _FEWEST:
            yield "max_requests", f"two requests are for the good ones: allow {_FEWEST} at least"
        if self.redirects not in {None, Redirects.NONE}:
            yield "redirects", "what is bad goes to no other place: leave it out"
        reserved = sorted(set(self.params) & _RESERVED)
        if reserved:
            yield "params", f"{', '.join(reserved)} cannot be set in params"
        for word in self.cases:
            parameter = PROVIDER_CASES[word].parameter if word in PROVIDER_CASES else None
            if parameter is not None and not getattr(self, parameter):
                yield "cases", f"{word} needs {parameter}"
        intrusive = in_group(selected(PROVIDER_CASES, self.cases), Group.INTRUSIVE)
        if intrusive and not (self.allow_intrusive and self.intrusive_hosts):
            mend = "set allow_intrusive: true and intrusive_hosts: [HOST] if you may attack the provider"
            yield "cases", f"{intrusive[0].word} is intrusive: {mend}"

    def run(self, ctx: Context) -> Done:
        """Send good and bad requests, kind by kind; then judge."""
        material = self._material(ctx)
        feasible, warnings = self._feasible(material)
        chosen, postponed = self._chosen(ctx, feasible)
        offered: list[Offered] = []
        controls: list[tuple[str, Answer]] = []
        for control in CONTROLS[:-1]:
            cases = [case for case in chosen if case.control == control]
            if cases:
                self._round(material, control, cases, offered, controls)
        burst = self._burst(material, chosen, offered)
        done = Done(
            makes=_successors(material),
            facts={**case_facts(offered), **burst_facts(burst)},
            warnings=(
                *warnings,
                *postponed,
                *self._other_grant(material, controls),
                *burst_warnings(burst),
                *odd_answers(offered, ()),
            ),
            cases=case_results(offered),
        )
        answers = [answer for _, answer in controls]
        failed = judge(offered, answers, _doubts(material, controls, offered), blame=Blame.PROVIDER)
        if failed is not None:
            raise StepFailed(failed, done)
        return done

    def _material(self, ctx: Context) -> Material:
        tokens, chosen = ctx.find(Tokens, self.use), {case.word for case in selected(PROVIDER_CASES, self.cases)}
        found = (ctx.find(AuthorizationCode, name) for name in self.codes)
        codes = [code for code in found if code is not None]
        spoilt = dict(zip((word for word in SPOILT if word in chosen), codes, strict=False))
        return Material(
            ctx=ctx,
            asked=self._asked(tokens),
            redirect_uri=self.redirect_uri,
            tokens=tokens,
            codes=spoilt,
            spare=next(iter(codes[len(spoilt) :]), None),
            session=_session(tokens),
            decoy_user=self.decoy_user,
            proof_key=proof_key(ctx, tokens),
        )

    def _asked(self, tokens: Tokens | None) -> Form:
        """Give what a good token request asks for; the refresh token of one by that grant is added as it is sent."""
        own = {**({"scope": self.scope} if self.scope else {}), **self.params}
        base: Form = (("grant_type", self.grant or "client_credentials"),)
        if self.grant is None and tokens is not None:
            by_code = tokens.own_session and tokens.refresh is not None
            base = tokens.asked or ((("grant_type", "refresh_token"),) if by_code else base)
        return (*((name, value) for name, value in base if name not in own), *own.items())

    def _other_grant(self, material: Material, controls: Sequence[tuple[str, Answer]]) -> Iterator[Warn]:
        """Say that the good request asked otherwise than the step whose token is used: that request cannot be sent again."""
        tokens = material.tokens
        if self.grant is not None or tokens is None or tokens.asked or not any(kind == "token" for kind, _ in controls):
            return
        if dict(material.asked).get("grant_type") == "client_credentials":
            detail = "the token's own request cannot be sent again, and no refresh token came with it that may be spent"
            yield Warn(
                Reason.REJECTION_INCONCLUSIVE,
                f"{detail}: the good request was by client_credentials; set grant to mean that",
            )

    def _feasible(self, material: Material) -> tuple[Sequence[Case[Material, Ask]], tuple[Warn, ...]]:
        """Leave out what cannot be made of what is at hand, or has no endpoint; say so of what the flow file names."""
        chosen = selected(PROVIDER_CASES, self.cases)
        lacks = {case.word: self._lacks(material, case) for case in chosen}
        named = named_too(PROVIDER_CASES, self.cases)
        warnings = tuple(
            Warn(Reason.REJECTION_INCONCLUSIVE, f"{word}: {why}")
            for word, why in lacks.items()
            if why is not None and word in named
        )
        return [case for case in chosen if lacks[case.word] is None], warnings

    def _lacks(self, material: Material, case: Case[Material, Ask]) -> str | None:
        found = case.lacks(material)
        if found is not None:
            return found
        try:
            url = material.ctx.endpoint(ENDPOINT_OF.get(case.control, case.control))
        except CheckFailed as failed:
            return failed.detail
        return self._forbidden(material, urlsplit(url).hostname or "", case.group)

    def _forbidden(self, material: Material, host: str, group: Group) -> str | None:
        """Say why nothing bad may be sent to a host: it stands in no flow file, or not among those that may be attacked."""
        provider = material.ctx.identity_provider()
        known = {urlsplit(url).hostname for url in (provider.issuer, *provider.endpoints.values())}
        if host not in known:
            return f"{host} stands in the discovery document only: name the endpoint under the provider's endpoints"
        if group is Group.INTRUSIVE and host not in self.intrusive_hosts:
            return f"{host} is not among intrusive_hosts"
        return None

    def _chosen(
        self, ctx: Context, feasible: Sequence[Case[Material, Ask]]
    ) -> tuple[list[Case[Material, Ask]], tuple[Warn, ...]]:
        """Choose what is sent in this run: cases of one kind, so that two good requests serve them all."""
        chunks = {f"{c[0].group}.{c[0].control}.{c[0].word}": c for c in _chunks(feasible, self.max_requests - 2)}
        safe = [name for name, cases in chunks.items() if cases[0].group is Group.SAFE]
        turn = Rota(ctx, self.name).take(safe, [name for name in chunks if name not in safe], 1, self.every)
        postponed = (Warn(Reason.REJECTION_INCONCLUSIVE, turn.postponed),) if turn.postponed else ()
        return [case for name in turn.names for case in chunks[name]], postponed

    def _round(
        self,
        material: Material,
        control: str,
        cases: Sequence[Case[Material, Ask]],
        offered: list[Offered],
        controls: list[tuple[str, Answer]],
    ) -> None:
        """Send a good request, bad ones of its kind, and the good one again; a rate limit ends it."""
        if control not in {*_OF_ITS_OWN, "code"}:
            before = self._send(material, _CONTROL, partial(good_request, material, control), None)
            controls.append((control, before))
            if before.failed is not None:
                raise before.failed
            if not is_good(control, material, before):
                return
        for case in cases:
            answer = self._send(material, case.word, partial(case.build, material), case.group)
            offered.append((case, answer))
            if answer.limited:
                return
        if control == "code" and material.spare is None:
            return
        if control not in _OF_ITS_OWN:
            controls.append((control, self._send(material, _CONTROL, partial(good_request, material, control), None)))

    def _burst(self, material: Material, chosen: Sequence[Case[Material, Ask]], offered: list[Offered]) -> Burst | None:
        """Send the case that is sent again and again, if it has its turn."""
        case = next((case for case in chosen if case.control == _BURST), None)
        if case is None:
            return None
        send = partial(self._send, material, case.word, partial(case.build, material), case.group)
        burst = run_burst(send, lambda answer: accepted(case, answer))
        offered.append((case, burst.answer))
        return burst

    def _send(self, material: Material, name: str, make: Callable[[], Ask], group: Group | None) -> Answer:
        try:
            ask = make()
            for first in ask.first:
                self._post(material, first, marks(name, group))
            answer = Answer(name, self._post(material, ask, marks(name, group)))
            if name == _CONTROL and answer.reply is not None and wants_nonce(answer.reply):
                return Answer(name, self._post(material, make(), marks(name, group)))
            while ask.then is not None:
                ask = ask.then(answer)
                answer = Answer(name, self._post(material, ask, marks(name, group)))
        except CheckFailed as failed:
            return Answer(name, failed=failed)
        return answer

    def _post(self, material: Material, ask: Ask, marked: Mapping[str, str]) -> Reply:
        """Send one request; what a token answer brings in place of a refresh token is kept."""
        reply = self._sent(material.ctx, ask, marked)
        note_nonce(material.ctx, material.ctx.endpoint(ask.endpoint), reply)
        if material.session is not None and ask.endpoint == "token" and dict(ask.form).get("refresh_token"):
            material.session.follow(document_of(Answer("", reply)))
        return reply

    def _sent(self, ctx: Context, ask: Ask, marked: Mapping[str, str]) -> Reply:
        url, provider = ctx.endpoint(ask.endpoint), ctx.identity_provider()
        headers = {**ask.headers, **marked}
        if ask.page:
            parts = urlsplit(url)
            query = "&".join(filter(None, (parts.query, urlencode(ask.form))))
            return ctx.send("GET", urlunsplit(parts._replace(query=query)), headers=headers, safe_url=url, control=True)
        if ask.endpoint == "token":
            _spend(ctx, provider)
        return ctx.send("POST", url, headers=headers, form=list(ask.form), control=True, twice=ask.twice)


def _spend(ctx: Context, provider: Provider) -> None:
    budget = provider.budget
    if budget is not None and not ctx.memory.budget(provider.name, budget).take(ctx.clock.monotonic()):
        raise CheckFailed(Reason.BUDGET_EXHAUSTED, f"the budget of provider {provider.name} is used up")


def _chunks(cases: Sequence[Case[Material, Ask]], most: int) -> Iterator[list[Case[Material, Ask]]]:
    """Give cases in lots of one group and one kind of good request, none larger than a run may send."""
    for group in Group:
        for control in CONTROLS:
            fitting = [case for case in in_group(cases, group) if case.control == control]
            for start in range(0, len(fitting), most):
                yield fitting[start : start + most]


def _session(tokens: Tokens | None) -> Session | None:
    """Give the session whose refresh token may be spent: one that this flow began, not one from a file or a secret store."""
    if tokens is None or tokens.refresh is None or not (tokens.own_session or tokens.asked):
        return None
    return Session(tokens.refresh, tokens.access, tokens.refresh)


def _successors(material: Material) -> tuple[Tokens, ...]:
    """Give the tokens that came in place of those whose refresh token was spent, for later steps to use."""
    session, old = material.session, material.tokens
    if session is None or old is None or session.refresh == session.first:
        return ()
    material.ctx.memory.spend(old.access, session.first, session.refresh)
    return (replace(old, access=session.access, refresh=session.refresh),)


def _doubts(material: Material, controls: Sequence[tuple[str, Answer]], offered: Sequence[Offered]) -> Iterator[str]:
    """Say why refusals prove nothing: a good request failed, or there was none."""
    spoilt = [case.word for case, _ in offered if case.control == "code"]
    exchanged = material.tokens is not None and material.tokens.authorization is not None
    if spoilt and material.spare is None and not exchanged:
        yield f"no code was exchanged rightly beside {', '.join(spoilt)}: name one more step authorize in codes"
    for control, answer in controls:
        if answer.failed is not None:
            yield f"the good request ({control}) got no answer ({answer.failed.reason.value})"
        elif not is_good(control, material, answer):
            yield f"the good request ({control}) failed too, with status {answer.status}"
