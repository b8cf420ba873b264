"""Send the identity provider requests that it must refuse, between two good ones, and report any that it takes.

Which there are stands in `otelprobe.rejection.provider_cases`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, ClassVar
from urllib.parse import urlencode, urlsplit, urlunsplit

from otelprobe.dpop import proof_key
from otelprobe.fields import Duration
from otelprobe.http import Redirects, Reply
from otelprobe.provider import Provider
from otelprobe.reasons import Blame, CheckFailed, Layer, Reason
from otelprobe.rejection.answer import Answer
from otelprobe.rejection.case import Case, Group
from otelprobe.rejection.marks import marks
from otelprobe.rejection.provider_cases import CONTROLS, PROVIDER_CASES, Ask, Material, good_request, is_good
from otelprobe.rejection.selection import DEFAULT, Rota, case_words, in_group, named_too, notes_of, selected
from otelprobe.rejection.verdict import Offered, case_facts, case_results, judge, odd_answers
from otelprobe.result import Warn
from otelprobe.step import Artifact, AuthorizationCode, Context, Done, ProviderMetadata, Step, StepFailed, Tokens

CASE_WORD = case_words(PROVIDER_CASES)
ENDPOINT_OF: Mapping[str, str] = {"own": "token"}

_FEWEST = 3
_RESERVED = frozenset(
    {"client_id", "client_secret", "client_assertion", "client_assertion_type", "grant_type", "scope"}
)


@dataclass(frozen=True, kw_only=True)
class RejectAtProvider(Step):
    """Send bad requests to the provider's endpoints, those of one kind in a run, and judge when all are answered.

    The good request beside those to the token endpoint is `client_credentials`. What each case is stands in
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
            *(Reason.IDP_RATE_LIMITED, Reason.BUDGET_EXHAUSTED),
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

    scope: str | None = None
    """What the good token request asks for."""

    params: Mapping[str, str] = field(default_factory=dict)
    """Anything else that the good token request sends, such as `audience`."""

    redirect_uri: str | None = None
    """For the cases of redirect URIs and PKCE: one that is registered for the client."""

    codes: tuple[str, ...] = ()
    """For `wrong_verifier`, `missing_verifier` and `other_redirect_uri`, in this order: steps `authorize` whose codes nobody
    has exchanged.
    """

    decoy_user: str | None = None
    """For `wrong_password`: a user that may be locked out."""

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
        for control in CONTROLS:
            cases = [case for case in chosen if case.control == control]
            if cases:
                self._round(material, control, cases, offered, controls)
        done = Done(
            facts=case_facts(offered),
            warnings=(*warnings, *postponed, *odd_answers(offered, ())),
            cases=case_results(offered),
        )
        answers = [answer for _, answer in controls]
        failed = judge(offered, answers, _doubts(material, controls), blame=Blame.PROVIDER)
        if failed is not None:
            raise StepFailed(failed, done)
        return done

    def _material(self, ctx: Context) -> Material:
        scope = (("scope", self.scope),) if self.scope else ()
        codes = (ctx.find(AuthorizationCode, name) for name in self.codes)
        return Material(
            ctx=ctx,
            asked=(("grant_type", "client_credentials"), *scope, *self.params.items()),
            redirect_uri=self.redirect_uri,
            tokens=ctx.find(Tokens, self.use),
            codes=tuple(code for code in codes if code is not None),
            decoy_user=self.decoy_user,
            proof_key=proof_key(ctx),
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
        if control != "own":
            before = self._send(material, "control", partial(good_request, material, control), None)
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
        if control != "own":
            controls.append((control, self._send(material, "control", partial(good_request, material, control), None)))

    def _send(self, material: Material, name: str, make: Callable[[], Ask], group: Group | None) -> Answer:
        try:
            ask = make()
            for first in ask.first:
                self._post(material.ctx, first, marks(name, group))
            return Answer(name, self._post(material.ctx, ask, marks(name, group)))
        except CheckFailed as failed:
            return Answer(name, failed=failed)

    def _post(self, ctx: Context, ask: Ask, marked: Mapping[str, str]) -> Reply:
        url, provider = ctx.endpoint(ask.endpoint), ctx.identity_provider()
        headers = {**ask.headers, **marked}
        if ask.page:
            parts = urlsplit(url)
            query = "&".join(filter(None, (parts.query, urlencode(ask.form))))
            return ctx.send("GET", urlunsplit(parts._replace(query=query)), headers=headers, safe_url=url, control=True)
        if ask.endpoint == "token":
            _spend(ctx, provider)
        return ctx.send("POST", url, headers=headers, form=list(ask.form), control=True)


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


def _doubts(material: Material, controls: Sequence[tuple[str, Answer]]) -> Iterator[str]:
    """Say why refusals prove nothing: a good request failed."""
    for control, answer in controls:
        if answer.failed is not None:
            yield f"the good request ({control}) got no answer ({answer.failed.reason.value})"
        elif not is_good(control, material, answer):
            yield f"the good request ({control}) failed too, with status {answer.status}"
