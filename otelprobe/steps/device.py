"""Start a log-in for a device without a browser (RFC 8628); pending is healthy, or the log-in is completed on its pages."""

from collections.abc import Iterator, Mapping
from dataclasses import field
from typing import ClassVar
from urllib.parse import urlsplit

from otelprobe.codes import DEVICE_GRANT, waiting
from otelprobe.fields import is_loopback
from otelprobe.forms import BrowsableStep, Goal
from otelprobe.oauth import post, post_for_tokens, read_object, spend_budget
from otelprobe.provider import Provider
from otelprobe.quick import dataclass
from otelprobe.reasons import Blame, CheckFailed, Counts, Layer, Reason
from otelprobe.result import Fact, FactValue
from otelprobe.step import Artifact, Context, DeviceCode, Done, StepFailed, needs_endpoint

_INTERVAL = 5.0
_LONGEST = 86400.0


@dataclass(frozen=True, slots=True)
class _Answer:
    """What the device authorization endpoint gave."""

    code: DeviceCode
    user_code: str = field(repr=False)
    page: str = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Device(BrowsableStep):
    """Ask for a device code, and see that it waits for a person."""

    kind: ClassVar[str] = "device"
    layer: ClassVar[Layer] = Layer.AUTH
    makes: ClassVar[tuple[type[Artifact], ...]] = (DeviceCode,)
    uses_provider: ClassVar[bool] = True
    own_reasons: ClassVar[frozenset[Reason]] = frozenset(
        {
            *(Reason.CODE_MISSING, Reason.EXPIRES_IN_INVALID, Reason.INVALID_CLIENT, Reason.UNAUTHORIZED_CLIENT),
            *(Reason.IDP_HTTP_5XX, Reason.LOGIN_FORM_NOT_FOUND, Reason.LOGIN_REJECTED, Reason.MFA_CHALLENGE),
            *(Reason.JAVASCRIPT_REQUIRED, Reason.REDIRECT_LOOP),
        }
    )

    scope: str | None = None
    """Scopes asked for, with spaces between."""

    params: Mapping[str, str] = field(default_factory=dict)
    """Anything else to send in the form."""

    complete: bool = False
    """`true` logs in on the page for people, so that `token` with `grant: device_code` gets its token; else the step polls
    once, and passes if nobody has logged in yet.
    """

    def required(self, provider: Provider | None) -> tuple[type[Artifact], ...]:
        """Need the device authorization endpoint, and the token endpoint to poll once."""
        token = () if self.complete else needs_endpoint(provider, "token")
        return tuple(dict.fromkeys((*needs_endpoint(provider, "device_authorization"), *token)))

    def faults(self) -> Iterator[tuple[str, str]]:
        """Say what does not fit together."""
        yield from super().faults()
        someone = self.username is not None or bool(self.forms)
        if self.complete and not someone:
            yield "complete", "complete: true needs somebody who logs in: add username and password, or forms"
        if someone and not self.complete:
            yield "username" if self.username is not None else "forms", "goes with complete: true only"
        reserved = sorted(set(self.params) & {"client_id", "client_secret", "client_assertion", "scope"})
        if reserved:
            yield "params", f"{', '.join(reserved)} cannot be set in params: they have members of their own"

    def run(self, ctx: Context) -> Done:
        """Ask for a code, then poll once or log in; makes DeviceCode."""
        facts: dict[str, FactValue] = {Fact.ISSUANCE_CLIENT_AUTH: ctx.identity_provider().auth_method}
        form = {**({"scope": self.scope} if self.scope else {}), **self.params}
        spend_budget(ctx)
        reply = post(ctx, ctx.endpoint("device_authorization"), form)
        answer = self._read(ctx, read_object(reply))
        if not self.complete:
            self._poll_once(ctx, answer.code)
            return Done(makes=(answer.code,), facts=facts, reply=reply)
        walk = self.pages(ctx, Goal(page=True), user_code=answer.user_code)
        try:
            walk.run(answer.page)
        except CheckFailed as failed:
            learnt = failed.done.facts if isinstance(failed, StepFailed) else {}
            raise StepFailed(failed, Done(facts={**facts, Fact.LOGIN_FORMS: walk.sent, **learnt})) from None
        facts[Fact.LOGIN_FORMS] = walk.sent
        return Done(makes=(answer.code,), facts=facts, reply=reply)

    def _read(self, ctx: Context, document: Mapping[str, object]) -> _Answer:
        """Read a device authorization response (RFC 8628, section 3.2)."""
        found = {name: document.get(name) for name in ("device_code", "user_code", "verification_uri")}
        missing = [name for name, value in found.items() if not isinstance(value, str) or not value]
        if missing:
            raise CheckFailed(Reason.CODE_MISSING, f"the answer has no {', '.join(missing)}")
        expires_in, interval = _seconds(document.get("expires_in")), _seconds(document.get("interval", _INTERVAL))
        if not expires_in:
            raise CheckFailed(Reason.EXPIRES_IN_INVALID, "expires_in is missing, or no number of seconds above zero")
        if interval is None:
            raise CheckFailed(Reason.EXPIRES_IN_INVALID, "interval is no number of seconds")
        page = document.get("verification_uri_complete")
        page = page if isinstance(page, str) and page else str(found["verification_uri"])
        _refuse_plain(page, allowed=bool(ctx.options.insecure_http))
        code = DeviceCode(str(found["device_code"]), interval, self.complete, self.scope)
        return _Answer(code, str(found["user_code"]), page)

    def _poll_once(self, ctx: Context, code: DeviceCode) -> None:
        """Ask for the token as the device would: that it is not there yet is what a healthy provider says."""
        spend_budget(ctx)
        form = {"grant_type": DEVICE_GRANT, "device_code": code.code}
        reply, _ = post_for_tokens(ctx, form)
        if waiting(reply) is not None:
            return
        read_object(reply, grant_is_ours=False)
        detail = "the token endpoint answers a device code with success, though nobody has logged in"
        raise CheckFailed(Reason.ASSERTION_FAILED, detail, blame=Blame.PROVIDER, counts=Counts.AUTH)


def _seconds(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _LONGEST:
        return None
    return float(value)


def _refuse_plain(url: str, *, allowed: bool) -> None:
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        parts, host = urlsplit(""), ""
    if parts.scheme not in {"http", "https"} or not host:
        raise CheckFailed(Reason.CODE_MISSING, "verification_uri is no http or https URL")
    if parts.scheme == "http" and not allowed and not is_loopback(host):
        raise CheckFailed(Reason.CODE_MISSING, "verification_uri is a URL without https")
