"""Look at how long a credential of ours lasts: as a key-info endpoint says, or by a date in the flow file."""

from collections.abc import Iterator
from dataclasses import field
from typing import Annotated, ClassVar, Literal

from otelprobe.credentials import Auth, Credential, choose
from otelprobe.endings import DAY, Ending, as_date, left_in_words, parse_ending
from otelprobe.fields import DurationOrZero, JsonPath, Scalar, SecretRef, Url, compile_jsonpath, find_json
from otelprobe.http import Reply
from otelprobe.judge import Trial
from otelprobe.provider import Provider
from otelprobe.quick import dataclass
from otelprobe.reasons import VERDICTS, Blame, CheckFailed, Counts, Layer, Reason
from otelprobe.result import Expiry, Fact, Warn
from otelprobe.step import Artifact, Context, Cookie, Done, Step, StepFailed, Tokens, filled

_PATH = "$.expires_at"


def parse_date(value: object) -> str:
    """Accept a date or a time as ISO 8601."""
    if not isinstance(value, str) or "-" not in value:
        raise ValueError("not a date: write it as in 2027-01-31 or 2027-01-31T12:00:00Z")
    parse_ending(value)
    return value


DATE = Scalar(parse_date, {"type": "string", "pattern": "^\\d{4}-\\d{2}-\\d{2}", "examples": ["2027-01-31"]})


@dataclass(frozen=True, kw_only=True)
class CredentialExpiry(Step):
    """Warn before an API key, a client secret or the like ends; one that has ended fails the step."""

    kind: ClassVar[str] = "credential_expiry"
    layer: ClassVar[Layer] = Layer.DEPENDENCY
    own_reasons: ClassVar[frozenset[Reason]] = frozenset({Reason.CREDENTIAL_EXPIRED, Reason.ASSERTION_FAILED})

    url: Url | None = None
    """An endpoint that tells about the credential; `${name}` may stand in path and query. One of `url` and `expires_at`."""

    auth: Auth = field(default_factory=Auth)
    """Credential to ask with, such as an admin's; default: the latest token or session cookie."""

    extract: JsonPath | None = None
    """Where the end is in the answer: ISO 8601 or Unix time (s or ms); default `$.expires_at`; `null` there: it has no end."""

    expires_at: Annotated[str, DATE] | None = None
    """The end as a date or time, as in `2027-01-31`; in UTC unless it has a zone, a date alone is its first moment."""

    subject: Literal["api_key", "client_secret", "client_certificate"] | None = None
    """What ends, as `otelprobe.expiry.subject`; default: `api_key` with `url`, `client_secret` with `expires_at`."""

    warn_before: DurationOrZero = 30 * DAY
    """A credential that ends sooner is warned of."""

    critical_before: DurationOrZero = 7 * DAY
    """A credential that ends sooner is warned of as critical."""

    def warm_up(self) -> None:
        """Compile the path, and with it import what paths are read with."""
        if self.url is not None:
            compile_jsonpath(self.extract or _PATH)

    def required(self, provider: Provider | None) -> tuple[type[Artifact], ...]:
        """Need what the credential is made from, where a step is named for it."""
        _ = provider
        if self.auth.bearer is not None:
            return (Tokens,)
        return (Cookie,) if self.auth.cookie is not None else ()

    def references(self) -> tuple[tuple[tuple[str, ...], str], ...]:
        """Name the steps that the credential comes from, besides `use`."""
        named = ((("auth", "bearer"), self.auth.bearer), (("auth", "cookie"), self.auth.cookie))
        return (*super().references(), *((member, name) for member, name in named if name is not None))

    def addresses(self, provider: Provider | None) -> tuple[str, ...]:
        """Give the URL that is asked."""
        _ = provider
        return (self.url,) if self.url is not None else ()

    def templates(self) -> tuple[object, ...]:
        """Give what `${name}` is filled in."""
        return (self.url,) if self.url is not None else ()

    def secrets(self) -> tuple[SecretRef, ...]:
        """Give the secrets that are read."""
        return self.auth.secrets()

    def faults(self) -> Iterator[tuple[str, str]]:
        """Say what does not fit together."""
        if (self.url is None) == (self.expires_at is None):
            yield "", "the end comes from one place: set url, or expires_at"
        if self.expires_at is not None and self.url is None:
            beside = {"extract": self.extract is not None, "auth": self.auth != Auth(), "capture": bool(self.capture)}
            for member in (name for name, there in beside.items() if there):
                yield member, "goes with url only"
        if self.critical_before > self.warn_before:
            yield "critical_before", "is longer than warn_before: swap them"

    def run(self, ctx: Context) -> Done:
        """Find the end and compare it with the thresholds."""
        if self.expires_at is not None:
            return self._judge(ctx, parse_ending(self.expires_at), None)
        try:
            reply = self._ask(ctx)
            ending = self._ending(reply)
        except StepFailed as failed:
            raise StepFailed(_of_the_api(failed), failed.done) from None
        except CheckFailed as failed:
            raise _of_the_api(failed) from None
        return self._judge(ctx, ending, reply)

    def _ask(self, ctx: Context) -> Reply:
        url = self.url or ""
        credential = choose(ctx, self.auth, self.use)

        def send(credential: Credential, *, control: bool) -> Reply:
            return ctx.send(
                "GET",
                credential.url(filled(ctx, url)),
                headers=credential.headers(),
                safe_url=url,
                redirects=self.follow,
                control=control,
                credential_headers=credential.header_names,
            )

        return Trial(ctx, credential, send, (401,), self.expect.status or ("2xx",)).run()

    def _ending(self, reply: Reply) -> Ending | None:
        """Read the end; None where the answer says that there is none. The value is not repeated."""
        path = self.extract or _PATH
        try:
            found = find_json(path, reply.json())
        except ValueError:
            raise _unmet("the answer of the key-info endpoint is no JSON") from None
        if not found:
            raise _unmet(f"nothing at {path} in the answer of the key-info endpoint")
        if found[0] is None:
            return None
        try:
            return parse_ending(found[0])
        except ValueError as error:
            raise _unmet(f"{path} is {error}") from None

    def _judge(self, ctx: Context, ending: Ending | None, reply: Reply | None) -> Done:
        if ending is None:
            return Done(reply=reply)
        left = ending.unix - ctx.now()
        subject = self.subject or ("api_key" if self.expires_at is None else "client_secret")
        done = Done(
            facts={Fact.CREDENTIAL_REMAINING: left},
            warnings=tuple(self._warnings(subject, ending, left)),
            reply=reply,
            expiries=(Expiry(subject, self.name, left, self.warn_before, self.critical_before),),
        )
        if left <= 0:
            detail = f"{self._told(subject, left, ending)}: renew it"
            raise StepFailed(
                CheckFailed(Reason.CREDENTIAL_EXPIRED, detail, blame=Blame.CONFIG, counts=Counts.NONE), done
            )
        return done

    def _warnings(self, subject: str, ending: Ending, left: float) -> Iterator[Warn]:
        if 0 < left < self.warn_before:
            severity = "critical" if left < self.critical_before else "warning"
            yield Warn(Reason.CREDENTIAL_EXPIRING, f"{severity}: {self._told(subject, left, ending)}")
        if ending.assumed_utc and self.expires_at is None:
            detail = f"the end of {subject} {self.name} is told without a time zone: UTC is assumed"
            yield Warn(Reason.ASSERTION_FAILED, detail)

    def _told(self, subject: str, left: float, ending: Ending) -> str:
        return f"{subject} {self.name} {left_in_words(left)}, on {as_date(ending.unix)}"


def _unmet(detail: str) -> CheckFailed:
    return CheckFailed(Reason.ASSERTION_FAILED, detail)


def _of_the_api(failed: CheckFailed) -> CheckFailed:
    """Blame the API where the table says `owner`, and spend no objective.

    What tells about a key may be down while the key itself works.
    """
    blame = failed.blame or VERDICTS[failed.reason].blame or Blame.API
    return CheckFailed(failed.reason, failed.detail, blame=blame, counts=Counts.NONE, problems=failed.problems)
