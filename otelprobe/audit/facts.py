"""From what a step was about to what the audit trail says of it: done when the run has ended, so that no step waits for it.

Tokens come in and hashes go out: nothing that this module gives holds a credential, a subject or a claim that the
operator has not listed.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field, replace
from functools import lru_cache
from types import MappingProxyType
from urllib.parse import urlsplit

from otelprobe.audit.marks import ClaimRule, Marks, read_key
from otelprobe.expect import status_matches
from otelprobe.fields import SecretRef
from otelprobe.quick import dataclass, quick
from otelprobe.reasons import VERDICTS, CheckFailed, Outcome, Reason
from otelprobe.result import AuditEvent, AuditFact, Exchange, StepResult
from otelprobe.step import Artifact, AuthorizationCode, Cookie, DeviceCode, Presented, Tokens
from otelprobe.tokens import format_of, parse

_EVENTS: Mapping[str, AuditEvent] = {
    "token": AuditEvent.ISSUED,
    "login": AuditEvent.ISSUED,
    "authorize": AuditEvent.ISSUED,
    "device": AuditEvent.ISSUED,
    "saml_login": AuditEvent.ISSUED,
    "refresh": AuditEvent.REFRESHED,
    "verify": AuditEvent.VALIDATED,
    "id_token": AuditEvent.VALIDATED,
    "userinfo": AuditEvent.VALIDATED,
    "call": AuditEvent.VALIDATED,
    "introspect": AuditEvent.INTROSPECTED,
    "revoke": AuditEvent.REVOKED,
    "reject": AuditEvent.REJECTED,
    "reject_at_provider": AuditEvent.REJECTED,
    "saml_reject": AuditEvent.REJECTED,
}
"""Kinds of step that leave an event when they pass. One that fails over a credential leaves `rejected`."""

_LOCAL = frozenset({"verify", "id_token"})
"""Kinds whose verdict is our own: a request for keys is not where it was spoken."""

_ASKS = frozenset({"call", "userinfo"})
"""Kinds that show a credential for what it opens."""

_SAML = "saml_login"
_OBTAINING = (AuditEvent.ISSUED, AuditEvent.REFRESHED)

_NO_REFUSAL = frozenset(
    {
        *(Reason.IDP_HTTP_5XX, Reason.IDP_ERROR, Reason.IDP_NOT_JSON, Reason.IDP_RATE_LIMITED, Reason.TOO_SLOW),
        *(Reason.API_UNAVAILABLE, Reason.API_NOT_FOUND, Reason.API_RATE_LIMITED, Reason.API_INVALID_REQUEST),
        *(Reason.WAF_BLOCKED, Reason.BOT_CHALLENGE, Reason.REDIRECT_UNEXPECTED, Reason.DEADLINE_EXCEEDED),
        *(Reason.DISCOVERY_INVALID, Reason.ASSERTION_FAILED, Reason.REJECTION_INCONCLUSIVE),
    }
)
"""Failures in which nobody judged a credential; the event `otelprobe.flow.failed` tells of them."""

_TOLD = (Tokens, Cookie, AuthorizationCode, DeviceCode)
"""What is told of by itself; a step that makes anything else leaves one event without an id."""

_LONGEST_ROUTE = 200
_NO_CLAIMS: Mapping[str, str] = MappingProxyType({})


@quick
@dataclass(frozen=True, slots=True)
class Noted:
    """A step's row, with what it made and presented, and the statuses that it expected, if any were named."""

    row: StepResult
    made: tuple[Artifact, ...] = field(default=(), repr=False)
    presented: tuple[Presented, ...] = field(default=(), repr=False)
    wanted: tuple[str, ...] = ()

    @property
    def tells(self) -> bool:
        """Whether there may be something to tell of it."""
        return self.row.kind in _EVENTS or any(shown.judged is not None for shown in self.presented)


class Auditor:
    """Makes audit facts by the operator's policy: the key of the hashes, and the claims that may be told.

    `fault` says once why the key cannot be read; the facts then go without hashes.
    """

    def __init__(self, key: SecretRef | None = None, claims: Mapping[str, ClaimRule] | None = None) -> None:
        self._key = key
        self._claims = claims or {}
        self.fault: str | None = None

    def rows(self, noted: Sequence[Noted]) -> tuple[StepResult, ...]:
        """Give the rows with their audit facts."""
        if not any(one.tells for one in noted):
            return tuple(one.row for one in noted)
        maker = _Maker(self._marks(), self._claims)
        return tuple(_with(one.row, tuple(maker.facts(one))) for one in noted)

    def _marks(self) -> Marks:
        if self._key is None:
            return Marks(None)
        try:
            return Marks(read_key(self._key))
        except ValueError as error:
            self.fault = f"audit events go without subject and id: {error}"
            return Marks(None)


def _with(row: StepResult, facts: tuple[AuditFact, ...]) -> StepResult:
    """Put the facts into a row, which is nobody else's yet: to copy it takes as long as all else that is done here."""
    if facts:
        object.__setattr__(row, "audit", facts)
    return row


@quick
@dataclass(frozen=True, slots=True)
class _Credential:
    """One credential to tell of: the value that identifies it, and where its claims can be read."""

    value: str = field(repr=False)
    part: str
    read_from: tuple[str, ...] = field(default=(), repr=False)
    previous: str | None = field(default=None, repr=False)
    subject: str | None = field(default=None, repr=False)


class _Maker:
    """The facts of one run. Each token is parsed and hashed once."""

    def __init__(self, marks: Marks, rules: Mapping[str, ClaimRule]) -> None:
        self._marks = marks
        self._rules = rules
        self._known: dict[str, tuple[str | None, Mapping[str, str]]] = {}
        self._idents: dict[str, str | None] = {}

    def facts(self, noted: Noted) -> Iterator[AuditFact]:
        """Give the facts of one step."""
        yield from self._judged(noted)
        row, event = noted.row, _EVENTS.get(noted.row.kind)
        if event is None or row.outcome is Outcome.SKIP:
            return
        obtains = event in _OBTAINING
        issued = list(_issued(noted)) if obtains or row.outcome is Outcome.FAIL else []
        if obtains:
            for one in issued:
                yield self._fact(row, event, one, passed=True)
        if row.outcome is Outcome.FAIL and _is_refusal(row):
            yield self._fact(row, AuditEvent.REJECTED, _last(noted) or next(iter(issued), None), passed=False)
        elif _is_taken_unwanted(noted):
            yield self._fact(row, event, _last(noted), passed=False)
        elif row.outcome is Outcome.PASS and not (obtains and _is_told(noted)):
            yield from self._passed(noted, event)

    def _judged(self, noted: Noted) -> Iterator[AuditFact]:
        """Tell of each credential that was judged by itself."""
        for shown in noted.presented:
            if shown.judged is not None:
                reason, exchange = shown.judged.reason, shown.judged.exchange
                event = AuditEvent.VALIDATED if reason is None else AuditEvent.REJECTED
                row = replace(noted.row, reason=reason, exchanges=(exchange,) if exchange is not None else (), cases=())
                yield self._fact(row, event, _credential(shown), passed=reason is None)

    def _passed(self, noted: Noted, event: AuditEvent) -> Iterator[AuditFact]:
        """Tell of a step that passed; a call that was to be refused, and was, is a rejection."""
        row, shown = noted.row, _last(noted)
        if row.kind in _ASKS:
            if shown is None:
                return
            refused = _status(_wire(row)) in {401, 403}
            event = AuditEvent.REJECTED if refused else event
        yield self._fact(row, event, shown, passed=True)

    def _fact(self, row: StepResult, event: AuditEvent, about: _Credential | None, *, passed: bool) -> AuditFact:
        subject, claims = self._who(about)
        wire = _wire(row)
        method, route = _where(wire)
        return AuditFact(
            event=event,
            passed=passed,
            part=about.part if about is not None else None,
            subject=subject,
            ident=self._ident(about.value) if about is not None else None,
            previous=self._ident(about.previous) if about is not None else None,
            reason=None if passed else row.reason,
            method=method,
            route=route,
            status=_status(wire),
            cases=tuple(case.case for case in row.cases if not case.accepted) if row.cases else (),
            claims=claims,
        )

    def _ident(self, value: str | None) -> str | None:
        if not value or not self._marks.keyed:
            return None
        if value not in self._idents:
            self._idents[value] = self._marks.of("token", value)
        return self._idents[value]

    def _who(self, about: _Credential | None) -> tuple[str | None, Mapping[str, str]]:
        """Give the hashed subject and the listed claims of a credential; once known, they are known by its value."""
        if about is None or not (self._marks.keyed or self._rules):
            return None, _NO_CLAIMS
        if about.value not in self._known:
            claims: Mapping[str, object] = next((found for text in about.read_from if (found := _claims(text))), {})
            subject = claims.get("sub") if about.subject is None else about.subject
            self._known[about.value] = (
                self._marks.of("subject", subject) if isinstance(subject, str) else None,
                self._marks.claims(self._rules, claims),
            )
        return self._known[about.value]


def _last(noted: Noted) -> _Credential | None:
    return _credential(noted.presented[-1]) if noted.presented else None


def _credential(shown: Presented) -> _Credential:
    return _Credential(shown.value, shown.part, (shown.value,), subject=shown.subject)


def _issued(noted: Noted) -> Iterator[_Credential]:
    """Give what was issued; a token out of the cache was issued earlier, an assertion is the one that was opened."""
    previous = noted.presented[-1].value if noted.presented else None
    if noted.row.kind == _SAML:
        yield from map(_credential, noted.presented)
    for artifact in noted.made:
        match artifact:
            case Tokens(cached=False):
                sources = tuple(text for text in (artifact.access, artifact.id_token) if text)
                yield _Credential(artifact.access, "access_token", sources, previous)
            case Cookie():
                yield _Credential(f"{artifact.name}={artifact.value}", "session_cookie", previous=previous)
            case AuthorizationCode():
                yield _Credential(artifact.code, "code")
            case DeviceCode():
                yield _Credential(artifact.code, "device_code")


def _claims(token: str) -> Mapping[str, object]:
    if format_of(token) != "jws":
        return {}
    try:
        return parse(token).claims
    except CheckFailed:
        return {}


def _is_refusal(row: StepResult) -> bool:
    """Tell whether a failed step got to judge a credential, or had it judged: not if its transport or the server failed."""
    if row.reason is None or row.reason in _NO_REFUSAL:
        return False
    if any(exchange.reason is row.reason for exchange in row.exchanges):
        return False
    offered = row.kind in {"reject", "reject_at_provider", "saml_reject"}
    return not (offered and VERDICTS[row.reason].security and all(case.accepted for case in row.cases))


def _is_told(noted: Noted) -> bool:
    """Tell whether what a step obtained is told of by itself; a SAML log-in that was to give no assertion obtained none."""
    return noted.row.kind == _SAML or any(isinstance(one, _TOLD) for one in noted.made)


def _is_taken_unwanted(noted: Noted) -> bool:
    """Tell whether a credential was taken where the flow file wants it refused."""
    if noted.row.reason is not Reason.ASSERTION_FAILED or noted.row.kind not in _ASKS or not noted.presented:
        return False
    status = _status(_wire(noted.row))
    return (
        status is not None and 200 <= status < 300 and bool(noted.wanted) and not status_matches(status, noted.wanted)
    )


def _wire(row: StepResult) -> Sequence[Exchange]:
    """Give the requests that carried the credential: controls only where there is nothing else."""
    if row.kind in _LOCAL:
        return ()
    return [exchange for exchange in row.exchanges if not exchange.control] or row.exchanges


def _where(wire: Sequence[Exchange]) -> tuple[str | None, str | None]:
    """Give method and route of the first request: where a redirect leads is the server's word, and may hold anything."""
    if not wire or wire[0].handshake:
        return None, None
    return wire[0].method, _route(wire[0].url)


@lru_cache(maxsize=1024)
def _route(url: str) -> str:
    return (urlsplit(url).path or "/")[:_LONGEST_ROUTE]


def _status(wire: Sequence[Exchange]) -> int | None:
    for exchange in reversed(wire):
        if exchange.status is not None:
            return exchange.status
    return None
