"""Offer the API credentials that it must refuse, between two good ones, and report any that it takes.

Which there are stands in `otelprobe.rejection.api_cases`. A refusal proves nothing where the good token is refused as well,
so it is sent before and after them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field, replace
from typing import Annotated, ClassVar, Literal
from urllib.parse import urlsplit

from otelprobe.credentials import Auth, Credential, of_tokens, present, request_faults
from otelprobe.expect import Expect
from otelprobe.fields import Duration, DurationOrZero, SecretRef, Url
from otelprobe.http import Redirects
from otelprobe.provider import Provider
from otelprobe.quick import dataclass
from otelprobe.reasons import CheckFailed, Layer, Reason
from otelprobe.rejection.answer import Answer
from otelprobe.rejection.api_cases import API_CASES, LAST, ApiCase
from otelprobe.rejection.api_material import (
    Material,
    Offer,
    bound_to_certificate,
    published_key,
    revoked_token,
    signed,
)
from otelprobe.rejection.api_sending import Target, send_control, send_offer, wait_until_refused
from otelprobe.rejection.burst import Burst, burst_facts, burst_warnings, run_burst
from otelprobe.rejection.case import Group
from otelprobe.rejection.expiry import OwnToken
from otelprobe.rejection.leaks import differing, insides
from otelprobe.rejection.listener import Listener
from otelprobe.rejection.selection import DEFAULT, Rota, case_words, in_group, named_too, notes_of, selected
from otelprobe.rejection.verdict import Offered, accepted, case_facts, case_results, judge, odd_answers
from otelprobe.result import Fact, FactValue, Warn
from otelprobe.signing import read_signer
from otelprobe.step import Artifact, Context, Done, Step, StepFailed, Tokens, filled
from otelprobe.template import fill
from otelprobe.tokens import load_crypto

CASE_WORD = case_words(API_CASES)

_FEWEST = 3
_URGENT = frozenset({"expired", "revoked"})
"""Cases that cannot wait for their turn: what they measure passes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectExpect(Expect):
    """What to expect of refusals besides the common words."""

    uniform_errors: bool = False
    """`true`: refusals that tell what was wrong with a token, or show the server's insides, fail the step."""

    revoked_within: DurationOrZero = 0.0
    """How long a revoked token may still be taken; default: not at all. It is offered again meanwhile, five times at most."""


@dataclass(frozen=True, kw_only=True)
class Reject(Step):
    """Send bad credentials and judge when all are answered: an accepted one weighs more than a server error.

    What each case is stands in [security.md](security.md). Every request carries `X-Otelprobe-Case`, so that the API's logs
    can be read.
    """

    kind: ClassVar[str] = "reject"
    answers: ClassVar[bool] = False
    layer: ClassVar[Layer] = Layer.API
    counted: ClassVar[bool] = False
    needs: ClassVar[tuple[type[Artifact], ...]] = (Tokens,)
    own_reasons: ClassVar[frozenset[Reason]] = frozenset(
        {
            *(Reason.REJECTION_ACCEPTED, Reason.ENDPOINT_NOT_PROTECTED, Reason.REJECTION_SERVER_ERROR),
            *(Reason.REJECTION_INCONCLUSIVE, Reason.API_RATE_LIMITED, Reason.REVOCATION_INEFFECTIVE, Reason.ERROR_LEAK),
            Reason.KEY_URL_FETCHED,
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

    cases: tuple[Annotated[str, CASE_WORD], ...] = DEFAULT
    """Which bad credentials are offered: names, numbers such as `N2`, or `safe`, `slow`, `intrusive`, `all`; default: every
    safe one that can be made of what the flow has.
    """

    max_requests: int = 8
    """Most requests in one run, the two good ones included; cases beyond it take turns, run by run."""

    every: Duration = 3600.0
    """How often slow and intrusive cases are offered, at most `max_requests` less two at a time; default 1h."""

    tokens: tuple[str, ...] = ()
    """For `other_token`: steps whose tokens are for another audience, client or tenant and must be refused here."""

    narrow_token: str | None = None
    """For `narrow_scope`: the step whose token has too little scope for this URL."""

    plain_url: Url | None = None
    """For `plain_http`: where plain http may be served, at the same host; default: `url` at port 80, or at its own port where
    that is not 443.
    """

    listener: Listener | None = None
    """For `key_url` and `certificate_url`: an address of the prober that the API can reach; it is open while such a case
    lasts.
    """

    other_object: Url | None = None
    """For `other_object`: the URL, at the same host, of something that belongs to somebody else."""

    signing_key: SecretRef | None = None
    """For the cases `signed_...`: what the tokens are signed with, a shared secret or a private key in PEM or JWK form. Only
    a test system's key belongs here.
    """

    retain_key: SecretRef | None = None
    """For `expired`: what a token is sealed with in the state directory until it has ended; default: the client's secret."""

    leeway: DurationOrZero = 60.0
    """For `expired`: how long after its end a token may still be taken, as clocks differ; default 60s."""

    allow_intrusive: bool = False
    """`true` allows intrusive cases, at the hosts of `intrusive_hosts` and for who may attack them."""

    intrusive_hosts: tuple[str, ...] = ()
    """Names of the hosts that intrusive cases may be sent to."""

    unauthorized_status: tuple[int, ...] = (401,)
    """What this API answers to a bad credential besides 401 and 403."""

    expect: RejectExpect = field(default_factory=RejectExpect)

    def warm_up(self) -> None:
        """Import what tokens are checked with."""
        load_crypto()

    def required(self, provider: Provider | None) -> tuple[type[Artifact], ...]:
        """Need the good token."""
        _ = provider
        return self.needs

    def references(self) -> tuple[tuple[tuple[str, ...], str], ...]:
        """Name the steps that the good token, and others, come from."""
        named = (
            (("auth", "bearer"), self.auth.bearer),
            (("auth", "dpop"), self.auth.dpop),
            (("narrow_token",), self.narrow_token),
            *((("tokens",), name) for name in self.tokens),
        )
        return (*super().references(), *((member, name) for member, name in named if name is not None))

    def addresses(self, provider: Provider | None) -> tuple[str, ...]:
        """Give the URL that is asked."""
        _ = provider
        return (self.url,)

    def templates(self) -> tuple[object, ...]:
        """Give what `${name}` is filled in."""
        return (self.url, self.headers)

    def secrets(self) -> tuple[SecretRef, ...]:
        """Give the secrets that are read."""
        return tuple(s for s in (self.signing_key, self.retain_key) if s is not None)

    def notes(self) -> Iterator[str]:
        """Say which cases are offered, by group."""
        return notes_of(API_CASES, self.cases, self.every)

    def faults(self) -> Iterator[tuple[str, str]]:
        """Say what does not fit together."""
        if not self.cases:
            yield "cases", "an empty list checks nothing: name the cases, or leave it out for all of them"
        if self.auth.api_key or self.auth.basic or self.auth.cookie or self.auth.none:
            yield "auth", "reject offers bad tokens: auth takes bearer, dpop and scheme here"
        if self.max_requests < _FEWEST:
            yield "max_requests", f"two requests are for the good token: allow {_FEWEST} at least"
        if self.redirects is Redirects.FOLLOW:
            yield "redirects", "a bad credential goes to no host that is not named here: use none or same_origin"
        for word in self.cases:
            parameter = API_CASES[word].parameter if word in API_CASES else None
            if parameter is not None and not getattr(self, parameter):
                yield "cases", f"{word} needs {parameter}"
        yield from self._address_faults()
        yield from self._intrusive_faults()
        yield from request_faults(self.auth, self.use, self.headers)

    def _address_faults(self) -> Iterator[tuple[str, str]]:
        """Say which addresses cannot be: nothing goes to another host than that of `url`."""
        own = urlsplit(self.url)
        if self.other_object is not None and urlsplit(self.other_object).netloc != own.netloc:
            yield "other_object", "must be at the host and port of url"
        if self.plain_url is not None:
            plain = urlsplit(self.plain_url)
            if plain.scheme != "http" or plain.hostname != own.hostname or "${" in self.plain_url:
                yield "plain_url", "must be http, at the host of url, and without ${...}"

    def _intrusive_faults(self) -> Iterator[tuple[str, str]]:
        """Say what keeps intrusive cases from being sent."""
        host = urlsplit(self.url).hostname or ""
        words = [case.word for case in in_group(selected(API_CASES, self.cases), Group.INTRUSIVE)]
        if not words:
            return
        if not self.allow_intrusive:
            yield "cases", f"{words[0]} is intrusive: set allow_intrusive: true if you may attack {host}"
        elif host not in self.intrusive_hosts:
            yield "intrusive_hosts", f"{words[0]} is intrusive: name the host, intrusive_hosts: [{host}]"

    def run(self, ctx: Context) -> Done:
        """Send the good token, bad ones, the good one again; then judge."""
        tokens = ctx.need(Tokens, self.auth.token_step or self.use)
        good, own = of_tokens(tokens, self.auth), OwnToken(ctx, self.name, self.retain_key)
        present(ctx, good)
        material, target = self._material(ctx, tokens, good, own), self._target(ctx)
        before = self._control(ctx, target, good)
        feasible, warnings = self._feasible(material, own)
        chosen, postponed = self._chosen(ctx, feasible)
        last = chosen.pop(LAST, None)
        offered = [*self._offer(ctx, target, material, chosen)]
        after = before if offered[-1:] and offered[-1][1].limited else send_control(ctx, target, good)
        burst = self._burst(ctx, target, material, last) if last is not None and after.succeeded else None
        if last is not None and burst is not None:
            offered.append((last, burst.answer))
        learnt = {**self._expired(offered, own, material), **_revocation(ctx, offered, material)}
        own.follow(material.jwt)
        leaks = tuple(f"{name} shows {what}" for name, what in insides(offered))
        done = Done(
            facts={**case_facts(offered), **learnt, **self._uniform(offered), **burst_facts(burst)},
            warnings=(
                *warnings,
                *postponed,
                *burst_warnings(burst),
                *odd_answers(offered, self.unauthorized_status),
                *(Warn(Reason.ERROR_LEAK, f"case {leak}") for leak in leaks),
            ),
            cases=case_results(offered),
        )
        failed = judge(offered, (before, after), self._doubts((before, after), offered)) or self._leak(offered, leaks)
        if failed is not None:
            raise StepFailed(failed, done)
        return done

    def _material(self, ctx: Context, tokens: Tokens, good: Credential, own: OwnToken) -> Material:
        jwt = signed(tokens.access)
        alg = jwt.alg if jwt is not None else None
        made = {name: ctx.find(Tokens, name) for name in (*self.tokens, *filter(None, (self.narrow_token,)))}
        others = {name: found.access for name, found in made.items() if found is not None}
        return Material(
            url=filled(ctx, self.url),
            method=self.method,
            good=good,
            tokens=tokens,
            now=ctx.now(),
            jwt=jwt,
            key=published_key(ctx, jwt),
            signer=read_signer(self.signing_key, alg) if self.signing_key is not None and alg is not None else None,
            others={name: others[name] for name in self.tokens if name in others},
            narrow=others.get(self.narrow_token or ""),
            revoked=revoked_token(ctx, tokens.access),
            retained=own.load(),
            bound_to_certificate=bound_to_certificate(ctx, tokens.access),
            other_object=self.other_object,
            plain_url=self.plain_url,
            listener_url=self.listener.url if self.listener is not None else None,
        )

    def _target(self, ctx: Context) -> Target:
        return Target(
            method=self.method,
            url=filled(ctx, self.url),
            shown=self.url,
            headers={name: fill(value, ctx.captured) for name, value in self.headers.items()},
            redirects=self.follow,
            plain_url=self.plain_url,
            listener=self.listener,
        )

    def _control(self, ctx: Context, target: Target, good: Credential) -> Answer:
        """Send the good token first. Where not even that gets through, no bad one is sent."""
        answer = send_control(ctx, target, good)
        if answer.failed is not None:
            raise answer.failed
        if answer.limited:
            raise CheckFailed(Reason.API_RATE_LIMITED, "status 429 for the good token")
        if answer.page is not None:
            raise CheckFailed(answer.page, f"status {answer.status} with a page where the API should be")
        return answer

    def _feasible(self, material: Material, own: OwnToken) -> tuple[Sequence[ApiCase], tuple[Warn, ...]]:
        """Leave out what cannot be made of what is at hand; say so of what the flow file names."""
        chosen = selected(API_CASES, self.cases)
        lacks = {case.word: case.lacks(material) for case in chosen}
        named = named_too(API_CASES, self.cases)
        reasons: dict[str, list[str]] = {}
        for case in chosen:
            missing = lacks[case.word]
            if missing is not None and case.word in named - {"expired"}:
                reasons.setdefault(missing, []).append(case.word)
        warnings = [Warn(_lack_reason(material, why), f"{why}: {', '.join(w)} left out") for why, w in reasons.items()]
        if "expired" in named and not own.lasting:
            detail = "without state_dir (and retain_key, or a client_secret) no token is kept between runs for the case expired"
            warnings.append(Warn(Reason.REJECTION_INCONCLUSIVE, detail))
        return [case for case in chosen if lacks[case.word] is None], tuple(warnings)

    def _chosen(self, ctx: Context, feasible: Sequence[ApiCase]) -> tuple[dict[str, ApiCase], tuple[Warn, ...]]:
        """Choose what is offered in this run: by name, as `other_token` stands for one case for each step."""
        named = {name: case for case in feasible for name in self._names(case)}
        urgent = [name for name, case in named.items() if case.word in _URGENT]
        safe = [name for name, case in named.items() if case.group is Group.SAFE and name not in urgent]
        slow = [name for name, case in named.items() if case.group is not Group.SAFE]
        most = self.max_requests - 2
        turn = Rota(ctx, self.name).take(safe, slow, max(1, most - len(urgent)), self.every)
        postponed = (Warn(Reason.REJECTION_INCONCLUSIVE, turn.postponed),) if turn.postponed else ()
        return {name: named[name] for name in (*urgent, *turn.names)}, postponed

    def _names(self, case: ApiCase) -> tuple[str, ...]:
        return tuple(f"{case.word}:{step}" for step in self.tokens) if case.word == "other_token" else (case.word,)

    def _offer(
        self, ctx: Context, target: Target, material: Material, chosen: Mapping[str, ApiCase]
    ) -> Iterator[Offered]:
        """Send the bad credentials one after the other; a rate limit ends it, more requests would not get past it."""
        for name, case in chosen.items():
            offer = self._made(material, name, case)
            if case.word == "revoked" and material.revoked is not None:
                ends = material.revoked.at + self.expect.revoked_within
                answer = wait_until_refused(ctx, target, case, offer, ends)
            else:
                answer = send_offer(ctx, target, name, case, offer)
            yield case, self._forgiven(answer, case, material)
            if answer.limited:
                return

    def _burst(self, ctx: Context, target: Target, material: Material, case: ApiCase) -> Burst:
        """Send the last case again and again."""
        offer = case.build(material)
        return run_burst(lambda: send_offer(ctx, target, case.word, case, offer), lambda answer: accepted(case, answer))

    def _made(self, material: Material, name: str, case: ApiCase) -> Offer:
        if case.word == "other_token":
            return Offer(credential=material.good.with_token(material.others[name.partition(":")[2]]))
        return case.build(material)

    def _forgiven(self, answer: Answer, case: ApiCase, material: Material) -> Answer:
        """Forgive an expired token that is taken within the leeway."""
        kept = material.retained
        if case.word != "expired" or kept is None or not answer.succeeded:
            return answer
        return replace(answer, found=material.now - kept.exp > self.leeway)

    def _expired(self, offered: Sequence[Offered], own: OwnToken, material: Material) -> Mapping[str, FactValue]:
        """Learn the leeway that the API grants; a token that was refused has done its duty."""
        kept = material.retained
        answer = next((a for case, a in offered if case.word == "expired"), None)
        if kept is None or answer is None or answer.status is None:
            return {}
        if answer.succeeded:
            own.taken(material.now - kept.exp)
            return {Fact.REJECTION_LEEWAY: round(material.now - kept.exp, 3)}
        refused = answer.status in {401, 403, *self.unauthorized_status}
        return {Fact.REJECTION_LEEWAY: own.refused()} if refused else {}

    def _uniform(self, offered: Sequence[Offered]) -> Mapping[str, FactValue]:
        compared = [case for case, answer in offered if case.uniform and answer.reply is not None]
        return {Fact.REJECTION_UNIFORM: not differing(offered)} if len(compared) > 1 else {}

    def _leak(self, offered: Sequence[Offered], leaks: tuple[str, ...]) -> CheckFailed | None:
        """Fail for answers that tell too much, where that is expected not to be."""
        if not self.expect.uniform_errors:
            return None
        if leaks:
            return CheckFailed(Reason.ERROR_LEAK, f"case {', '.join(leaks)}")
        different = differing(offered)
        first = next((a.case for case, a in offered if case.uniform), "")
        if different:
            return CheckFailed(Reason.ERROR_LEAK, f"{', '.join(different)} answered otherwise than {first}")
        return None

    def _doubts(self, controls: tuple[Answer, Answer], offered: Sequence[Offered]) -> Iterator[str]:
        """Say why the refusals prove nothing: the good token was refused, got no answer, or the same one as a bad token."""
        for control, when in zip(controls, ("before", "after"), strict=True):
            if control.failed is not None:
                yield f"the good token got no answer {when} the cases ({control.failed.reason.value})"
            elif control.page is not None:
                yield f"the good token got a page instead of an answer {when} the cases ({control.page.value})"
            elif control.status == 401 or (control.status in self.unauthorized_status):
                yield f"the good token was refused with status {control.status} {when} the cases"
            elif not control.succeeded:
                same = [a.case for case, a in offered if a.status == control.status and case.taken is None]
                if same:
                    yield f"the good token got status {control.status} {when} the cases, as did {', '.join(same)}"


def _lack_reason(material: Material, why: str) -> Reason:
    """Say token_opaque of what cannot be made of an opaque token, config_error of what the flow file lacks."""
    return Reason.TOKEN_OPAQUE if material.jwt is None and "JWT" in why else Reason.REJECTION_INCONCLUSIVE


def _revocation(ctx: Context, offered: Sequence[Offered], material: Material) -> Mapping[str, FactValue]:
    """Tell after what time a revoked token was refused; nothing while it is taken."""
    found = next(((case, a) for case, a in offered if case.word == "revoked"), None)
    if found is None or material.revoked is None or accepted(*found) or found[1].status is None or found[1].broken:
        return {}
    return {Fact.REVOCATION_DELAY: round(max(0.0, ctx.now() - material.revoked.at), 3)}
