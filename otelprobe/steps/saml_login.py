"""Log in by SAML 2.0 (Web Browser SSO Profile) as a service provider lets people do, without a browser, and judge the answer."""

from collections.abc import Iterator
from dataclasses import field
from hashlib import sha256
from typing import Any, ClassVar, Literal

from otelprobe.endings import as_date
from otelprobe.expect import Expect
from otelprobe.fields import DurationOrZero
from otelprobe.forms import Arrival, Walk
from otelprobe.http import Reply
from otelprobe.pages import challenged, classify_page
from otelprobe.provider import Provider
from otelprobe.quick import dataclass
from otelprobe.reasons import VERDICTS, Blame, CheckFailed, Counts, Layer, Reason
from otelprobe.result import Fact, FactValue, Warn
from otelprobe.saml import request, signature
from otelprobe.saml.response import Expected, Response
from otelprobe.service_provider import Asked, ServiceProviderStep, back_to_login
from otelprobe.step import Artifact, Context, Cookie, Done, StepFailed
from otelprobe.tokens import shown

_SKEW_WORTH_BLAMING = 5.0
_MOST_REMEMBERED = 1000
_REQUESTER_FAULTS = frozenset({"Requester", "VersionMismatch"})


@dataclass(frozen=True, slots=True, kw_only=True)
class SamlExpect(Expect):
    """What to expect of a SAML log-in besides the common words."""

    attributes: tuple[str, ...] = ()
    """Names of attributes that the assertion has to carry; their values are never told."""

    signed: Literal["response", "assertion", "both"] | None = None
    """What has to carry a signature; default: either."""

    saml_status: str | None = None
    """The status code that must come in place of an assertion: `NoPassive` with `passive: true` proves at little cost
    that endpoint, service provider and binding are fine.
    """


@dataclass(frozen=True, kw_only=True)
class SamlLogin(ServiceProviderStep):
    """Log in at a SAML identity provider and check its response: signatures, status, conditions, replay, weak algorithms.

    What counts is read from verified elements only. The assertion consumer service is not called unless `deliver` is
    `true`: the response is then posted to it, and the session cookie that it sets is what later steps send.
    """

    kind: ClassVar[str] = "saml_login"
    layer: ClassVar[Layer] = Layer.AUTH
    own_reasons: ClassVar[frozenset[Reason]] = frozenset(
        {
            *(Reason.SAML_SIGNATURE_INVALID, Reason.SAML_CERTIFICATE_UNKNOWN, Reason.SAML_STATUS_NOT_SUCCESS),
            *(Reason.SAML_CONDITIONS_INVALID, Reason.TOKEN_ENCRYPTED, Reason.CLOCK_SKEW, Reason.STATE_MISMATCH),
            *(Reason.LOGIN_FORM_NOT_FOUND, Reason.LOGIN_REJECTED, Reason.MFA_CHALLENGE, Reason.BOT_CHALLENGE),
            *(Reason.LOGIN_REQUIRED, Reason.INVALID_REQUEST, Reason.IDP_HTTP_5XX, Reason.ASSERTION_FAILED),
            *(Reason.REDIRECT_LOOP, Reason.REDIRECT_UNEXPECTED, Reason.WAF_BLOCKED, Reason.TOKEN_MISSING),
            *(Reason.API_REJECTS_VALID_TOKEN, Reason.API_UNAVAILABLE, Reason.JAVASCRIPT_REQUIRED),
            *(Reason.SAML_SIGNATURE_WRAPPED, Reason.XML_DTD_FORBIDDEN, Reason.XML_ENTITIES_FORBIDDEN),
        }
    )

    force: bool = False
    """`true` asks for a fresh log-in (`ForceAuthn`)."""

    passive: bool = False
    """`true` allows no page in between (`IsPassive`)."""

    name_id_format: str | None = None
    """The format of the name asked for, as a URI."""

    authn_context: tuple[str, ...] = ()
    """Classes of authentication asked for, as URIs; the answer has to be of one of them."""

    leeway: DurationOrZero = 5.0
    """How far clocks may be apart when times are compared."""

    deliver: bool = False
    """`true` posts the response to `acs_url`, as a browser would."""

    cookie: str | None = None
    """Name of the session cookie that the service provider sets on delivery; later steps send it."""

    expect: SamlExpect = field(default_factory=SamlExpect)

    def made(self) -> tuple[type[Artifact], ...]:
        """Make a session cookie where one is named."""
        return (Cookie,) if self.cookie is not None else ()

    def addresses(self, provider: Provider | None) -> tuple[str, ...]:
        """Give the URLs that are known before the run."""
        _ = provider
        known = (self.start_url, self.sso_url, self.acs_url if self.deliver else None)
        return tuple(url for url in known if url is not None)

    def faults(self) -> Iterator[tuple[str, str]]:
        """Say what does not fit together."""
        yield from super().faults()
        if self.cookie is not None and not self.deliver:
            yield "cookie", "only the service provider sets a cookie: add deliver: true"
        if self.start_url is not None and (self.force or self.passive or self.authn_context or self.name_id_format):
            yield "start_url", "the request is the service provider's own: remove what would be asked for here"
        if self.expect.saml_status == "Success":
            yield "expect", "saml_status names what comes in place of a success: remove it"
        if self.deliver and self.expect.saml_status is not None:
            yield "deliver", "with expect.saml_status there is nothing to deliver"
        if self.capture:
            yield "capture", "saml_login has no JSON to capture from: capture in another step"

    def run(self, ctx: Context) -> Done:
        """Log in, judge and, if wanted, deliver; makes Cookie."""
        signature.load_signatures()
        response = Response()
        facts: dict[str, FactValue] = {Fact.SAML_BINDING: "start_url" if self.start_url is not None else self.binding}
        walk = self.new_walk(ctx)
        try:
            asked, arrival = self.arrive(ctx, walk, **self._wishes())
            warnings = self._judge(ctx, asked, arrival, response)
            reply, made = self._deliver(walk, arrival, response)
        except CheckFailed as failed:
            learnt = Done(facts={**facts, **self._learnt(walk, response, ctx.now())})
            raise StepFailed(self.blamed(ctx, failed), learnt) from None
        return Done(
            makes=made, facts={**facts, **self._learnt(walk, response, ctx.now())}, warnings=warnings, reply=reply
        )

    def _wishes(self) -> dict[str, Any]:
        return {
            "name_id_format": self.name_id_format,
            "authn_context": self.authn_context,
            "force": self.force,
            "passive": self.passive,
        }

    def _judge(self, ctx: Context, asked: Asked, arrival: Arrival, response: Response) -> tuple[Warn, ...]:
        """Judge the answer: that it is for us, who signed it, its status, its conditions, then what is expected of it."""
        if asked.relay_state is not None and arrival.parameters.get("RelayState") != asked.relay_state:
            raise CheckFailed(Reason.STATE_MISMATCH, "RelayState did not come back as it was sent")
        key = request.private_key(self.sp_key.read()) if self.sp_key is not None else None
        try:
            response.open(arrival.parameters["SAMLResponse"], asked.provider.certificates, key)
        except CheckFailed as failed:
            if failed.reason is not Reason.SAML_STATUS_NOT_SUCCESS:
                raise
            return self._refused(response, failed)
        ctx.present(response.assertion_id, "assertion", subject=response.subject)
        if self.expect.saml_status is not None:
            raise CheckFailed(Reason.ASSERTION_FAILED, f"an assertion came, expected status {self.expect.saml_status}")
        expected = self._expected(asked)
        problems = [*_address_problems(arrival, self.acs_url), *response.problems(expected)]
        _refuse_times(ctx, response, self.leeway, arrival.reply, problems)
        _refuse_replay(ctx, response, f"{self.sp_entity_id} {asked.provider.entity_id}")
        self._compare(response)
        return tuple(_warnings(response, ctx.now()))

    def _refused(self, response: Response, failed: CheckFailed) -> tuple[Warn, ...]:
        """Compare a status that is no success; the requester's fault is the configuration's."""
        if self.expect.saml_status is not None and self.expect.saml_status in response.status:
            return ()
        ours = bool(_REQUESTER_FAULTS & set(response.status[:1])) or "AuthnFailed" in response.status
        blame, counts = (Blame.CONFIG, Counts.NONE) if ours else (None, None)
        raise CheckFailed(failed.reason, failed.detail, blame=blame, counts=counts)

    def _expected(self, asked: Asked) -> Expected:
        return Expected(
            issuer=asked.provider.entity_id or None,
            acs_url=self.acs_url,
            audience=self.sp_entity_id,
            request_id=asked.request_id,
            leeway=self.leeway,
            authn_context=self.authn_context,
        )

    def _compare(self, response: Response) -> None:
        missing = self._missing(response)
        if missing:
            raise CheckFailed(Reason.ASSERTION_FAILED, f"the assertion has no attribute {', '.join(missing)}")
        wanted = {"both": ("response", "assertion")}.get(self.expect.signed or "", (self.expect.signed,))
        unsigned = [part for part in wanted if part is not None and part not in response.signed]
        if unsigned:
            raise CheckFailed(Reason.ASSERTION_FAILED, f"not signed: the {' and the '.join(unsigned)}")

    def _missing(self, response: Response) -> tuple[str, ...]:
        found = response.attributes() if response.assertion is not None else frozenset(self.expect.attributes)
        return tuple(name for name in self.expect.attributes if name not in found)

    def _deliver(self, walk: Walk, arrival: Arrival, response: Response) -> tuple[Reply, tuple[Artifact, ...]]:
        """Post the response to the service provider, if that is wanted; give the last answer and the session."""
        if not self.deliver or response.assertion is None:
            return arrival.reply, ()
        try:
            reply = walk.submit(arrival)
            _refuse_delivery(reply)
        except CheckFailed as failed:
            if VERDICTS[failed.reason].blame is not None:
                raise
            raise CheckFailed(failed.reason, failed.detail, blame=Blame.API) from None
        if self.cookie is None:
            return reply, ()
        value = walk.cookie(self.cookie, self.acs_url)
        if value is None:
            detail = f"the service provider set no cookie named {self.cookie}"
            raise CheckFailed(Reason.TOKEN_MISSING, detail, blame=Blame.API)
        return reply, (Cookie(self.cookie, value),)

    def _learnt(self, walk: Walk, response: Response, now: float) -> dict[str, FactValue]:
        facts: dict[str, FactValue] = {Fact.LOGIN_FORMS: walk.sent}
        if response.status:
            facts[Fact.SAML_STATUS] = response.status
        if response.root is not None:
            facts |= {Fact.SAML_SIGNED: response.signed, Fact.SAML_ENCRYPTED: response.encrypted}
        if response.algorithm is not None:
            facts[Fact.SAML_ALGORITHM] = response.algorithm
        if response.assertion is None:
            return facts
        ends, missing = _end(response), self._missing(response)
        if ends is not None:
            facts[Fact.SAML_REMAINING] = round(ends - now, 3)
        if missing:
            facts[Fact.SAML_MISSING_ATTRIBUTES] = missing
        return facts


def _end(response: Response) -> float | None:
    try:
        return response.ends()
    except CheckFailed:
        return None


def _address_problems(arrival: Arrival, acs_url: str) -> Iterator[str]:
    if arrival.url != acs_url:
        yield f"the response is to be posted to {shown(arrival.url.partition('?')[0])}, expected {acs_url}"


def _refuse_times(ctx: Context, response: Response, leeway: float, reply: Reply, problems: list[str]) -> None:
    """Raise for everything that does not fit; where a clock that is off explains the times, blame that clock."""
    times = list(response.time_problems(ctx.now(), leeway))
    skew, host = reply.exchange.clock_skew, reply.exchange.host
    off = skew if skew is not None and abs(skew) > _SKEW_WORTH_BLAMING else None
    # `Date` has a resolution of one second.
    if times and not problems and off is not None and not any(response.time_problems(ctx.now() + off, leeway + 1.0)):
        raise _clock_failure(ctx, host, off, "; ".join(times))
    if times or problems:
        raise CheckFailed(Reason.SAML_CONDITIONS_INVALID, "; ".join([*problems, *times]))


def _clock_failure(ctx: Context, host: str, skew: float, why: str) -> CheckFailed:
    ours = ctx.memory.our_clock_is_off(host, skew)
    whose = "the prober's own clock is off" if ours else f"the provider's clock ({host}) is off"
    detail = f"{whose}: {skew:+.0f} s between the two explain that {why}"
    if ours:
        return CheckFailed(Reason.CLOCK_SKEW, detail, blame=Blame.PROBER, counts=Counts.NONE)
    return CheckFailed(Reason.CLOCK_SKEW, detail)


def _refuse_replay(ctx: Context, response: Response, parties: str) -> None:
    """Remember the assertion's id until it ends; CheckFailed(saml_conditions_invalid) if it came before.

    Only hashes are kept: an id is nobody's business beyond the two parties.
    """
    key = f"saml.{sha256(parties.encode()).hexdigest()[:32]}"
    own, now = sha256(response.assertion_id.encode()).hexdigest(), ctx.now()
    with ctx.memory.lock:
        seen = (ctx.state.load(key) or {}).get("seen")
        kept = (
            {i: t for i, t in seen.items() if isinstance(t, int | float) and t > now} if isinstance(seen, dict) else {}
        )
        replayed = own in kept
        kept[own] = max(response.ends() or 0.0, now + 3600.0)
        ctx.state.save(key, {"seen": dict(list(kept.items())[-_MOST_REMEMBERED:])})
    if replayed:
        raise CheckFailed(
            Reason.SAML_CONDITIONS_INVALID, "the assertion was issued before: its ID came in an earlier run"
        )


def _warnings(response: Response, now: float) -> Iterator[Warn]:
    for weak in response.weak:
        yield Warn(Reason.ALG_WEAK, f"the SAML response: {weak}")
    certificate = response.certificate
    if certificate is not None and certificate.remaining(now) <= 0:
        detail = f"the response is signed with a certificate that ended on {as_date(certificate.not_after)}"
        yield Warn(Reason.CERTIFICATE_EXPIRED, f"{detail}: many service providers refuse it")


def _refuse_delivery(reply: Reply) -> None:
    """Raise for what the service provider says to a response that is good."""
    if challenged(reply):
        raise CheckFailed(
            Reason.BOT_CHALLENGE, f"status {reply.status} from a bot check in front of the service provider"
        )
    page = classify_page(reply)
    if page is not None:
        raise CheckFailed(page, f"status {reply.status} with a page from in front of the service provider")
    if reply.status >= 500:
        raise CheckFailed(Reason.API_UNAVAILABLE, f"status {reply.status} from the assertion consumer service")
    if reply.status == 429:
        raise CheckFailed(Reason.API_RATE_LIMITED, "status 429 from the assertion consumer service")
    if reply.status >= 400:
        detail = f"status {reply.status} from the assertion consumer service, for a response that is good"
        raise CheckFailed(Reason.API_REJECTS_VALID_TOKEN, detail)
    if back_to_login(reply):
        raise CheckFailed(
            Reason.REDIRECTED_TO_LOGIN, f"status {reply.status} and back to a log-in, after a good response"
        )
