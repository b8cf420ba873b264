"""An API's answer to a credential, and whose fault it is when it is no success (reasons.md, rules 2 to 5)."""

from collections.abc import Callable
from typing import NoReturn, Protocol

from otelprobe.binding import unproven
from otelprobe.challenge import bearer_challenge, parse_challenges
from otelprobe.credentials import Credential
from otelprobe.dpop import INVALID_PROOF, is_worth_blaming
from otelprobe.expect import status_matches
from otelprobe.forging import forge
from otelprobe.http import Reply
from otelprobe.pages import challenged, classify_page, is_login_page
from otelprobe.quick import dataclass
from otelprobe.reasons import Blame, CheckFailed, Counts, Reason
from otelprobe.result import Fact, FactValue
from otelprobe.skew import clock_failure
from otelprobe.step import Claims, Context, Done, StepFailed
from otelprobe.tokens import format_of

_SKEW_WORTH_BLAMING = 5.0
_REQUEST_FAULTS = frozenset({400, 405, 406, 411, 413, 414, 415, 417, 422, 431})


class Send(Protocol):
    """How a step sends its request with a given credential."""

    def __call__(self, credential: Credential, *, control: bool) -> Reply:
        """Send it; `control` marks the request as one that only serves to tell who is to blame."""
        ...


@dataclass(frozen=True, slots=True)
class Control:
    """The answers to the same request without a credential and with a forged token; None where none came."""

    bare: Reply | None
    forged: Reply | None


class Trial:
    """One request with one credential: sent for real, and once more with none and a forged one if blame must be told."""

    def __init__(
        self, ctx: Context, credential: Credential, send: Send, unauthorized: tuple[int, ...], wanted: tuple[str, ...]
    ) -> None:
        self._ctx = ctx
        self._credential = credential
        self._send = send
        self._unauthorized = unauthorized
        self._wanted = wanted

    def run(self) -> Reply:
        """Send the request; give the answer if its status is as wanted, else raise with the blame."""
        reply = self._send(self._credential, control=False)
        if not status_matches(reply.status, self._wanted) or challenged(reply):
            self._raise_for(reply)
        self._refuse_pages(reply)
        return reply

    def _refuse_pages(self, reply: Reply) -> None:
        """Refuse a page that comes with a status of success."""
        page = classify_page(reply)
        if page is not None:
            raise CheckFailed(page, f"status {reply.status} with a page from in front of the API")
        if is_login_page(reply):
            raise CheckFailed(Reason.REDIRECTED_TO_LOGIN, f"status {reply.status} with a log-in form")

    def _raise_for(self, reply: Reply) -> NoReturn:
        status = reply.status
        if challenged(reply):
            raise CheckFailed(Reason.BOT_CHALLENGE, f"status {status} from a bot check in front of the API")
        if status == 429 or (status == 403 and reply.value("X-RateLimit-Remaining") == "0"):
            raise CheckFailed(Reason.API_RATE_LIMITED, f"status {status}")
        page = classify_page(reply) if status < 500 else None
        if page is not None:
            raise CheckFailed(page, f"status {status} with a page from in front of the API")
        if 300 <= status < 400:
            self._raise_redirect(reply)
        if status >= 500:
            self._raise_server_error(reply)
        if status in {401, 403} or status in self._unauthorized:
            self._raise_refusal(reply)
        if status in {404, 410}:
            raise CheckFailed(Reason.API_NOT_FOUND, f"status {status}")
        if status in _REQUEST_FAULTS:
            raise CheckFailed(Reason.API_INVALID_REQUEST, f"status {status}")
        raise CheckFailed(Reason.ASSERTION_FAILED, f"status {status}, expected {' or '.join(self._wanted)}")

    def _raise_redirect(self, reply: Reply) -> NoReturn:
        if is_login_page(reply):
            raise CheckFailed(Reason.REDIRECTED_TO_LOGIN, f"status {reply.status} to a log-in page")
        raise CheckFailed(Reason.REDIRECT_UNEXPECTED, f"status {reply.status} where no redirect is followed")

    def _raise_refusal(self, reply: Reply) -> NoReturn:
        """Read a refusal by RFC 6750 (rule 3). A refusal of a token that was not verified says so in its detail."""
        status = reply.status
        kind = self._credential.kind
        if kind == "none":
            raise CheckFailed(
                Reason.CREDENTIALS_NOT_SEEN,
                f"status {status}: no credential was sent",
                blame=Blame.CONFIG,
                counts=Counts.NONE,
            )
        challenge = bearer_challenge(parse_challenges(reply.values("WWW-Authenticate")))
        error = challenge.error if challenge else None
        if error == "insufficient_scope":
            raise CheckFailed(Reason.INSUFFICIENT_SCOPE, f"status {status}, the API misses a scope")
        if error == "insufficient_user_authentication":
            raise CheckFailed(Reason.STEP_UP_REQUIRED, f"status {status}, the API wants a stronger log-in")
        if status == 403 and 403 not in self._unauthorized:
            raise CheckFailed(Reason.FORBIDDEN, "status 403")
        if kind in {"api_key", "basic"}:
            what = "API key" if kind == "api_key" else "user name and password"
            raise CheckFailed(Reason.LOGIN_REJECTED, f"status {status}: the API refuses the configured {what}")
        self._raise_if_clock(reply)
        self._raise_if_unproven(reply, error)
        self._raise_read(reply, challenge is not None, error)

    def _raise_if_unproven(self, reply: Reply, error: str | None) -> None:
        """Blame ourselves for a bound token that goes without what it is bound to, and a clock for a proof out of time."""
        missing = unproven(self._ctx, self._credential.value) if self._credential.kind == "token" else None
        if missing is not None:
            detail = f"status {reply.status}: {missing}"
            raise CheckFailed(Reason.API_REJECTS_VALID_TOKEN, detail, blame=Blame.CONFIG, counts=Counts.NONE)
        if error == INVALID_PROOF and is_worth_blaming(reply):
            raise clock_failure(self._ctx, reply, f"status {reply.status}, {error}; the proof", blame=Blame.API)

    def _raise_read(self, reply: Reply, challenged_us: bool, error: str | None) -> NoReturn:
        if error == "invalid_request":
            raise CheckFailed(Reason.API_INVALID_REQUEST, f"status {reply.status}, invalid_request")
        control = self._controls()
        if error is not None:
            reason, why = Reason.API_REJECTS_VALID_TOKEN, f"{error}"
        elif challenged_us:
            reason, why = Reason.CREDENTIALS_NOT_SEEN, "a challenge without an error code"
        else:
            reason, why = Reason.UNAUTHORIZED_UNEXPLAINED, "no challenge"
        detail = f"status {reply.status}, {why}; {self._local_verdict()}{_same_answers(reply, control)}"
        raise StepFailed(CheckFailed(reason, detail), Done(facts=_control_facts(control)))

    def _local_verdict(self) -> str:
        if self._credential.kind == "cookie":
            return "the session was opened in this run"
        claims = self._verified()
        return "the token is good by local verification" if claims else "the token was not verified here"

    def _verified(self) -> Claims | None:
        claims = self._ctx.find(Claims)
        return claims if claims is not None and claims.token == self._credential.value else None

    def _raise_if_clock(self, reply: Reply) -> None:
        """Blame the API's clock if the token's times do not hold by it, though they hold by ours (rule 5)."""
        skew, claims = reply.exchange.clock_skew, self._verified()
        if skew is None or claims is None or abs(skew) < _SKEW_WORTH_BLAMING:
            return
        theirs = self._ctx.now() + skew
        starts = [v for v in (claims.claims.get("nbf"), claims.claims.get("iat")) if isinstance(v, int | float)]
        ends = claims.claims.get("exp")
        early = any(theirs < start for start in starts)
        late = isinstance(ends, int | float) and theirs >= ends
        if not early and not late:
            return
        host = reply.exchange.host
        if self._ctx.memory.our_clock_is_off(host, skew):
            raise CheckFailed(
                Reason.CLOCK_SKEW,
                f"every peer's clock is {skew:+.0f} s from the prober's own: the prober's clock is off",
                blame=Blame.PROBER,
                counts=Counts.NONE,
            )
        what = "not valid yet" if early else "expired"
        raise CheckFailed(
            Reason.CLOCK_SKEW,
            f"the API's clock ({host}) is {skew:+.0f} s off, so that a good token is {what} there",
            blame=Blame.API,
        )

    def _raise_server_error(self, reply: Reply) -> NoReturn:
        """Tell a broken API from a broken validator by two controls (rule 2)."""
        if self._credential.kind != "token":
            raise CheckFailed(Reason.API_UNAVAILABLE, f"status {reply.status}")
        control = self._controls()
        reason = _server_error_reason(control, self._refuses)
        what = "a good token" if self._verified() else "a token that was not verified here"
        detail = f"status {reply.status} with {what}; {_control_words(control)}"
        raise StepFailed(CheckFailed(reason, detail), Done(facts=_control_facts(control)))

    def _refuses(self, reply: Reply | None) -> bool:
        return reply is not None and (reply.status == 401 or reply.status in self._unauthorized)

    def _controls(self) -> Control:
        if self._credential.kind != "token":
            return Control(self._control(self._credential.with_token(None)), None)
        bare = self._control(self._credential.with_token(None))
        token = self._credential.value
        if format_of(token) != "jws":
            return Control(bare, None)
        return Control(bare, self._control(self._credential.with_token(forge(token))))

    def _control(self, credential: Credential) -> Reply | None:
        """Send a control; one that gets no answer proves nothing and fails nothing."""
        try:
            return self._send(credential, control=True)
        except CheckFailed:
            return None


def _server_error_reason(control: Control, refuses: Callable[[Reply | None], bool]) -> Reason:
    bare, forged = control.bare, control.forged
    if bare is not None and 200 <= bare.status < 300:
        return Reason.ENDPOINT_NOT_PROTECTED
    if refuses(bare) and forged is not None and forged.status >= 500:
        return Reason.VALIDATOR_BROKEN
    return Reason.API_UNAVAILABLE


def _control_words(control: Control) -> str:
    def word(reply: Reply | None) -> str:
        return f"status {reply.status}" if reply is not None else "no answer"

    forged = word(control.forged) if control.forged is not None else "not tried"
    return f"without a token {word(control.bare)}, with a forged one {forged}"


def _control_facts(control: Control) -> dict[str, FactValue]:
    facts: dict[str, FactValue] = {}
    if control.bare is not None:
        facts[Fact.CONTROL_NO_CREDENTIAL] = control.bare.status
    if control.forged is not None:
        facts[Fact.CONTROL_FORGED] = control.forged.status
    return facts


def _same_answers(reply: Reply, control: Control) -> str:
    """Say so where good, forged and missing token get the same answer: the credential may not be seen at all."""
    others = [r for r in (control.bare, control.forged) if r is not None]
    same = len(others) == 2 and all(_fingerprint(o) == _fingerprint(reply) for o in others)
    return "; the answers to no, forged and good token are the same, so it may not be seen at all" if same else ""


def _fingerprint(reply: Reply) -> tuple[int, tuple[str, ...], bytes]:
    return reply.status, reply.values("WWW-Authenticate"), reply.body
