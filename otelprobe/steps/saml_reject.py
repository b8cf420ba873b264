"""Deliver responses to a SAML service provider that it must refuse, each beside a good one, and report any that it takes.

Which there are stands in `otelprobe.rejection.saml_cases`. Each case has a log-in of its own: the bad response is delivered
first, then the good one that came with it, which has to be taken.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field, replace
from hashlib import sha256
from typing import Annotated, ClassVar
from urllib.parse import urlsplit

from otelprobe.fields import Duration, DurationOrZero, JsonPath, SecretRef, Url, find_json
from otelprobe.forms import Arrival, Walk
from otelprobe.http import Redirects, Reply
from otelprobe.pages import challenged, classify_page
from otelprobe.provider import Provider
from otelprobe.quick import dataclass
from otelprobe.reasons import Blame, CheckFailed, Layer, Reason
from otelprobe.rejection.answer import Answer
from otelprobe.rejection.case import Case, Group
from otelprobe.rejection.marks import marks
from otelprobe.rejection.saml_cases import SAML_CASES, Material, Offer
from otelprobe.rejection.selection import Rota, case_words, named_too, notes_of, selected
from otelprobe.rejection.verdict import Offered, case_facts, case_results, judge, odd_answers
from otelprobe.result import Warn
from otelprobe.retained import forget, outlives_process, recall, retain
from otelprobe.saml import signature
from otelprobe.saml.forgeries import STRANGER, Impostor, ends_at, name_of
from otelprobe.saml.response import decoded
from otelprobe.saml.xml import below
from otelprobe.service_provider import ServiceProviderStep, back_to_login
from otelprobe.step import Context, Done, StepFailed

CASE_WORD = case_words(SAML_CASES)

_CONTROL = "control"
_FEWEST = 2
_LONGEST = 86400.0
"""Seconds: a response that lives longer is not waited for."""

_Chosen = Case[Material, Offer]


@dataclass(slots=True)
class _Visit:
    """A browser of its own in which somebody logged in, with the good response that it has not delivered yet."""

    walk: Walk = field(repr=False)
    request_id: str | None = field(repr=False)
    arrival: Arrival = field(repr=False)

    @property
    def response(self) -> str:
        return self.arrival.parameters["SAMLResponse"]


@dataclass(frozen=True, slots=True)
class _Delivered:
    """What a response came to: the answer to it, and a fingerprint of who was then logged in, where that can be told."""

    answer: Answer
    who: str | None = field(default=None, repr=False)


@dataclass(slots=True)
class _Tally:
    """What was offered so far, the good ones beside it, and what was left out of it."""

    offered: list[Offered] = field(default_factory=list)
    controls: list[Answer] = field(default_factory=list)
    missing: dict[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class SamlReject(ServiceProviderStep):
    """Log in again and again, deliver a bad response and then the good one, and judge when all are answered.

    It is for a service provider that is one's own: every case is intrusive. What each case is stands in
    [security.md](security.md). Every delivery carries `X-Otelprobe-Case`, so that the logs can be read.
    """

    kind: ClassVar[str] = "saml_reject"
    answers: ClassVar[bool] = False
    layer: ClassVar[Layer] = Layer.API
    counted: ClassVar[bool] = False
    own_reasons: ClassVar[frozenset[Reason]] = frozenset(
        {
            *(Reason.REJECTION_ACCEPTED, Reason.ENDPOINT_NOT_PROTECTED, Reason.REJECTION_SERVER_ERROR),
            *(Reason.REJECTION_INCONCLUSIVE, Reason.API_RATE_LIMITED, Reason.SAML_CONDITIONS_INVALID),
            *(Reason.SAML_SIGNATURE_INVALID, Reason.LOGIN_FORM_NOT_FOUND, Reason.LOGIN_REJECTED),
        }
    )

    url: Url | None = None
    """A page of the service provider that only a session opens: it tells whether a response was taken. Without it, one
    counts as taken if the answer to it is no error and does not lead back to a log-in.
    """

    identity: JsonPath | None = None
    """Where the JSON at `url` says who is logged in: then a wrapped response counts as taken only if that is somebody else
    than without the wrapping.
    """

    cases: tuple[Annotated[str, CASE_WORD], ...] = ("all",)
    """Which bad responses are delivered: names, or `all`; default: every one that can be made of what the flow has."""

    max_logins: int = 6
    """Most log-ins in one run, the first good one included; cases beyond it take turns, run by run."""

    every: Duration = 3600.0
    """How often cases are delivered; default 1h. In the runs between nobody logs in, except to keep a response for
    `saml_expired`.
    """

    decoy_name: str | None = None
    """The NameID that forged responses speak of: of a test user, where the service provider lets in known people only;
    default: a made-up one.
    """

    decoy_attributes: Mapping[str, str] = field(default_factory=dict)
    """Values of that user's attributes, by their names; others stay as they are."""

    other_sp_entity_id: str | None = None
    """For `saml_other_audience`: another service provider that the identity provider knows, with the same `acs_url`."""

    other_acs_url: Url | None = None
    """For `saml_other_destination`: another address that is registered for this one; nothing is sent there."""

    retain_key: SecretRef | None = None
    """For `saml_expired`: what a response is sealed with in the state directory until it has ended."""

    leeway: DurationOrZero = 180.0
    """For `saml_expired`: how long after its end a response may still be taken, as clocks differ; default 180s."""

    allow_intrusive: bool = False
    """`true` allows the cases, at the hosts of `intrusive_hosts` and for who may attack them."""

    intrusive_hosts: tuple[str, ...] = ()
    """Names of the hosts that bad responses may be sent to."""

    def addresses(self, provider: Provider | None) -> tuple[str, ...]:
        """Give the URLs that are known before the run."""
        _ = provider
        return tuple(url for url in (self.start_url, self.sso_url, self.acs_url, self.url) if url is not None)

    def secrets(self) -> tuple[SecretRef, ...]:
        """Give the secrets that are read."""
        return (*super().secrets(), *((self.retain_key,) if self.retain_key is not None else ()))

    def notes(self) -> Iterator[str]:
        """Say which cases are delivered."""
        return notes_of(SAML_CASES, self.cases, self.every)

    def faults(self) -> Iterator[tuple[str, str]]:
        """Say what does not fit together."""
        yield from super().faults()
        if not self.cases:
            yield "cases", "an empty list checks nothing: name the cases, or leave it out for all of them"
        if self.max_logins < _FEWEST:
            yield "max_logins", f"the first log-in is for a good response: allow {_FEWEST} at least"
        if self.redirects not in {None, Redirects.NONE}:
            yield "redirects", "what is bad goes to no other place: leave it out"
        if self.identity is not None and self.url is None:
            yield "identity", "it is read at url: name that too"
        if self.capture:
            yield "capture", "saml_reject has no JSON to capture from: capture in another step"
        for word in self.cases:
            parameter = SAML_CASES[word].parameter if word in SAML_CASES else None
            if parameter is not None and not getattr(self, parameter):
                yield "cases", f"{word} needs {parameter}"
        yield from self._intrusive_faults()

    def _intrusive_faults(self) -> Iterator[tuple[str, str]]:
        host = urlsplit(self.acs_url).hostname or ""
        if not self.allow_intrusive:
            yield "allow_intrusive", f"every case is intrusive: set allow_intrusive: true if you may attack {host}"
        elif host not in self.intrusive_hosts:
            yield "intrusive_hosts", f"every case is intrusive: name the host, intrusive_hosts: [{host}]"

    def run(self, ctx: Context) -> Done:
        """Log in and deliver, case by case; then judge."""
        signature.load_signatures()
        self._keep_one(ctx)
        material = self._material(ctx)
        chosen, warnings = self._chosen(ctx, material)
        tally = _Tally()
        if chosen:
            self._deliver_all(ctx, material, chosen, tally)
        named = named_too(SAML_CASES, self.cases)
        left_out = {why: [w for w in words if w in named] for why, words in tally.missing.items()}
        done = Done(
            facts=case_facts(tally.offered),
            warnings=(
                *warnings,
                *(_left_out(why, words) for why, words in left_out.items() if words),
                *odd_answers(tally.offered, ()),
            ),
            cases=case_results(tally.offered),
        )
        failed = judge(tally.offered, tally.controls, _doubts(tally))
        if failed is not None:
            raise StepFailed(failed, done)
        return done

    def _material(self, ctx: Context) -> Material:
        kept = next(iter(recall(ctx, self.name, seal_with=self.retain_key)), None)
        ended = kept is not None and ctx.now() > kept.exp + self.leeway
        return Material(
            impostor=Impostor(self.decoy_name or STRANGER, self.decoy_attributes),
            certificates=self.idp(ctx).certificates,
            own_request=self.start_url is not None,
            identity=self.identity is not None,
            other_sp_entity_id=self.other_sp_entity_id,
            other_acs_url=self.other_acs_url,
            expired=kept.token if kept is not None and ended else None,
        )

    def _chosen(self, ctx: Context, material: Material) -> tuple[list[_Chosen], tuple[Warn, ...]]:
        """Choose whose turn it is, of what can be made as far as is known before the first log-in."""
        feasible = [case.word for case in selected(SAML_CASES, self.cases) if case.lacks(material) is None]
        turn = Rota(ctx, self.name).take((), feasible, self.max_logins - 1, self.every)
        warnings = [Warn(Reason.REJECTION_INCONCLUSIVE, turn.postponed)] if turn.postponed else []
        if "saml_expired" in self.cases and not outlives_process(ctx, self.retain_key):
            detail = "without state_dir and retain_key no response is kept between runs for the case saml_expired"
            warnings.append(Warn(Reason.REJECTION_INCONCLUSIVE, detail))
        return [SAML_CASES[name] for name in turn.names], tuple(warnings)

    def _deliver_all(self, ctx: Context, material: Material, chosen: Sequence[_Chosen], tally: _Tally) -> None:
        """Deliver a good response, then case by case a bad one and the good one that came with it."""
        self._refuse_open(ctx)
        first = self._log_in(ctx)
        root = decoded(first.response)
        ctx.present(_id_of(root), "assertion", subject=name_of(root) or None)
        material = replace(material, root=root)
        before = self._control(first)
        if before.answer.failed is not None:
            raise before.answer.failed
        tally.controls.append(before.answer)
        if not before.answer.found:
            return
        for case in chosen:
            missing = case.lacks(material)
            if missing is not None:
                tally.missing.setdefault(missing, []).append(case.word)
                continue
            if not self._try(ctx, material, case, before.who, tally):
                return

    def _try(self, ctx: Context, material: Material, case: _Chosen, who: str | None, tally: _Tally) -> bool:
        """Try one case in a log-in of its own; tell whether to go on."""
        visit = self._log_in(ctx)
        offer = case.build(replace(material, root=decoded(visit.response)))
        good = self._control(visit) if offer.again else None
        bad = self._offered(ctx, visit, case, offer)
        taken = bool(bad.answer.found) and not (offer.as_other and bad.who is not None and bad.who == who)
        answer = bad.answer if bad.answer.found is None else replace(bad.answer, found=taken)
        tally.offered.append((case, answer))
        if answer.limited:
            return False
        good = good or self._control(visit)
        if not good.answer.found and not good.answer.limited and not offer.again:
            # Some burn the request with the first answer to it, whatever that is.
            good = self._control(self._log_in(ctx))
        tally.controls.append(good.answer)
        if offer.document is not None and offer.document == material.expired:
            forget(ctx, self.name, [offer.document], seal_with=self.retain_key)
        return bool(good.answer.found)

    def _log_in(self, ctx: Context) -> _Visit:
        """Log in, in a browser without a past; CheckFailed where that fails, or where the response is for another place."""
        walk, since = self.new_walk(ctx), len(ctx.wire.exchanges)
        try:
            asked, arrival = self.arrive(ctx, walk)
        except CheckFailed as failed:
            raise self.blamed(ctx, failed, since) from None
        if arrival.url != self.acs_url:
            detail = f"the response is to be posted elsewhere than to {self.acs_url}"
            raise CheckFailed(Reason.SAML_CONDITIONS_INVALID, detail)
        return _Visit(walk, asked.request_id, arrival)

    def _control(self, visit: _Visit) -> _Delivered:
        return self._deliver(visit.walk, visit.arrival, _CONTROL, None)

    def _offered(self, ctx: Context, visit: _Visit, case: _Chosen, offer: Offer) -> _Delivered:
        """Deliver what the case asks for; a response that was taken before comes from another browser."""
        if offer.again:
            return self._deliver(self.new_walk(ctx), visit.arrival, case.word, case.group)
        document = offer.document
        if offer.wishes is not None:
            own = {"id": visit.request_id} if offer.same_request and visit.request_id is not None else {}
            try:
                document = self.ask(ctx, visit.walk, **offer.wishes, **own)[1].parameters["SAMLResponse"]
            except CheckFailed as failed:
                return _Delivered(Answer(case.word, failed=failed))
        parameters = {**visit.arrival.parameters, "SAMLResponse": document or ""}
        return self._deliver(visit.walk, replace(visit.arrival, parameters=parameters), case.word, case.group)

    def _deliver(self, walk: Walk, arrival: Arrival, name: str, group: Group | None) -> _Delivered:
        """Post a response, and see whether that opened a session, and whose."""
        marked = marks(name, group)
        try:
            reply = walk.submit(arrival, marked, control=True)
            if challenged(reply) or classify_page(reply) is not None or reply.status == 429 or reply.status >= 500:
                return _Delivered(Answer(name, reply))
            if reply.status >= 400 or back_to_login(reply) or self.url is None:
                return _Delivered(Answer(name, reply, found=reply.status < 400 and not back_to_login(reply)))
            page = walk.fetch(self.url, marked, control=True)
        except CheckFailed as failed:
            return _Delivered(Answer(name, failed=CheckFailed(failed.reason, failed.detail, blame=Blame.API)))
        return _Delivered(Answer(name, reply, found=_is_open(page)), self._who(page))

    def _who(self, page: Reply) -> str | None:
        """Give a fingerprint of who the page says is logged in."""
        if self.identity is None or not _is_open(page):
            return None
        try:
            found = find_json(self.identity, page.json())
        except ValueError:
            return None
        return sha256(repr(found).encode()).hexdigest() if found else None

    def _refuse_open(self, ctx: Context) -> None:
        """Raise where the page opens to everybody: it would tell nothing."""
        if self.url is None:
            return
        try:
            page = self.new_walk(ctx).fetch(self.url, marks(_CONTROL), control=True)
        except CheckFailed as failed:
            raise CheckFailed(failed.reason, failed.detail, blame=Blame.API) from None
        if _is_open(page):
            detail = "url opens without a log-in: name a page that only a session opens"
            raise CheckFailed(Reason.ENDPOINT_NOT_PROTECTED, detail)

    def _keep_one(self, ctx: Context) -> None:
        """Keep a good response that was never delivered until it has ended, if none is kept."""
        wanted = "saml_expired" in {case.word for case in selected(SAML_CASES, self.cases)}
        if not wanted or recall(ctx, self.name, seal_with=self.retain_key):
            return
        response = self._log_in(ctx).response
        ends = ends_at(decoded(response))
        if ends is not None and 0 < ends - ctx.now() <= _LONGEST:
            retain(ctx, self.name, response, ends, most=1, seal_with=self.retain_key)


def _is_open(page: Reply) -> bool:
    return 200 <= page.status < 300 and not back_to_login(page) and classify_page(page) is None


def _id_of(root: object) -> str:
    assertion = next(below(root, "saml:Assertion"), None)
    return "" if assertion is None else str(assertion.get("ID") or "")


def _left_out(why: str, words: Sequence[str]) -> Warn:
    return Warn(Reason.REJECTION_INCONCLUSIVE, f"{why}: {', '.join(words)} left out")


def _doubts(tally: _Tally) -> Iterator[str]:
    """Say why the refusals prove nothing: a good response was refused, or got no answer."""
    for number, control in enumerate(tally.controls):
        beside = f"beside {tally.offered[number - 1][1].case}" if number else "before the cases"
        if control.failed is not None:
            yield f"the good response got no answer {beside} ({control.failed.reason.value})"
        elif control.page is not None and control.found is None:
            yield f"the good response got a page from in front of the service provider {beside} ({control.page.value})"
        elif not control.found:
            yield f"the good response was refused with status {control.status} {beside}"
