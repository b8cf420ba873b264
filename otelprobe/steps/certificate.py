"""Look at certificates before they end: those of a TLS endpoint, or of a file such as a mounted Kubernetes secret."""

from collections.abc import Iterator, Sequence
from dataclasses import field, replace
from pathlib import Path
from typing import Annotated, ClassVar, Literal
from urllib.parse import urlsplit

from otelprobe import certificates
from otelprobe.endings import DAY, as_date, left_in_words
from otelprobe.fields import DurationOrZero, Scalar, SecretRef, Url
from otelprobe.http import Shown
from otelprobe.provider import Provider
from otelprobe.quick import dataclass
from otelprobe.reasons import VERDICTS, Blame, CheckFailed, Layer, Reason
from otelprobe.result import Expiry, Fact, FactValue, Warn
from otelprobe.step import Context, Done, Step, StepFailed

Subject = Literal["tls", "client_certificate", "saml_signing", "saml_encryption", "jwks_certificate"]
"""What a certificate is for."""

_MOST_TOLD = 5
_LARGEST = 4 * 1024**2
_NAMED = 10
"""Certificates that are told one by one in the facts: a server may send a hundred."""


@dataclass(frozen=True, slots=True)
class _Look:
    """What was read: the certificates, where and what for, whether the handshake trusted them, and what is wrong besides."""

    where: str
    chain: tuple[certificates.Certificate, ...]
    trusted: bool = False
    facts: dict[str, FactValue] = field(default_factory=dict)
    found: tuple[CheckFailed, ...] = ()
    subject: Subject = "tls"


def parse_host(value: object) -> str:
    """Accept `host`, `host:port`, or an IPv6 address in brackets."""
    try:
        parts = urlsplit(f"//{value}") if isinstance(value, str) else None
        good = parts is not None and parts.hostname and parts.netloc == value and parts.username is None
        good = good and parts is not None and parts.port != 0
    except ValueError:
        good = False
    if not isinstance(value, str) or not good or any(c.isspace() or c == "@" for c in value):
        raise ValueError("not a host: write host, host:port or [address]:port; for a URL use url")
    return value


HOST = Scalar(parse_host, {"type": "string", "pattern": "^[^/@\\s]+$", "examples": ["ldap.example.com:636"]})


@dataclass(frozen=True, kw_only=True)
class Certificate(Step):
    """Check how long certificates last, and for an endpoint whether they are trusted and name the host.

    The chain is read also when it is expired or untrusted; the file is read anew in every run. No HTTP is spoken.
    """

    kind: ClassVar[str] = "certificate"
    layer: ClassVar[Layer] = Layer.DEPENDENCY
    answers: ClassVar[bool] = False
    own_reasons: ClassVar[frozenset[Reason]] = frozenset(
        {Reason.CERTIFICATE_EXPIRED, Reason.TLS_UNTRUSTED_CA, Reason.TLS_HOSTNAME_MISMATCH}
    )

    url: Url | None = None
    """An https URL, of which host and port are looked at; exactly one of `url`, `host` and `file`."""

    host: Annotated[str, HOST] | None = None
    """Host and port that speak TLS, as in `ldap.example.com:636`; default port 443."""

    file: str | None = None
    """A file with certificates: PEM (all in it), DER, or PKCS#12."""

    password: SecretRef | None = None
    """Password of a PKCS#12 file."""

    subject: Subject | None = None
    """What for, as `otelprobe.expiry.subject`; default: `client_certificate` for a file that a `client_cert` or
    `client_assertion` of the flow files names, or that is for clients only; else `tls`.
    """

    owner: Literal["provider", "api", "config"] | None = None
    """Whom to blame; default: `config` for a client certificate, `provider` for SAML, for keys and on the hosts of the
    flow's provider, else `api`.
    """

    trust: Literal["verify", "any"] = "verify"
    """`any`: an unknown or self-signed issuer is no failure; dates and the name still count."""

    warn_before: DurationOrZero | None = None
    """A certificate that ends sooner is warned of; default `30d`, and `90d` for SAML, where every partner has to follow."""

    fail_before: DurationOrZero = 0.0
    """A certificate that ends sooner fails the step."""

    def warm_up(self) -> None:
        """Import what certificates are read with."""
        certificates.warm_up()

    def addresses(self, provider: Provider | None) -> tuple[str, ...]:
        """Give the endpoint, so that the trust store is loaded in time."""
        _ = provider
        return () if self.file is not None else ("https://{}:{}".format(*self._place()),)

    def files(self) -> tuple[tuple[str, str], ...]:
        """Give the file, so that `validate` looks for it."""
        return (("file", self.file),) if self.file is not None else ()

    def secrets(self) -> tuple[SecretRef, ...]:
        """Give the password."""
        return (self.password,) if self.password is not None else ()

    def faults(self) -> Iterator[tuple[str, str]]:
        """Say what does not fit together."""
        if sum(one is not None for one in (self.url, self.host, self.file)) != 1:
            yield "", "a certificate is looked at in exactly one place: set url, host or file"
        if self.url is not None and not self.url.startswith("https:"):
            yield "url", "plain http has no certificate: write https://, or use host for another protocol"
        if self.url is not None and "${" in self.url:
            yield "url", "only host and port are looked at: leave ${...} out"
        if self.password is not None and self.file is None:
            yield "password", "goes with file only"
        if self.trust == "any" and self.file is not None:
            yield "trust", "goes with url and host only: a file is not checked for trust"
        if self.fail_before > self._notice:
            yield "fail_before", "is longer than warn_before, so that nothing would ever be warned of: swap them"

    @property
    def _notice(self) -> float:
        if self.warn_before is not None:
            return self.warn_before
        return 90 * DAY if (self.subject or "").startswith("saml_") else 30 * DAY

    def beside(self, own_certificates: frozenset[str]) -> Step:
        """Know a certificate of our own by the file that it is in."""
        ours = self.subject is None and self.file is not None and self.file in own_certificates
        return replace(self, subject="client_certificate") if ours else self

    def run(self, ctx: Context) -> Done:
        """Look, and tell everything that is wrong at once, the end of the certificate first."""
        if self.file is not None:
            look = self._look_at_file(self.file)
            return self._judge(ctx, look, self._blame(look.subject, None))
        blame = self._blame(self.subject or "tls", ctx.provider)
        try:
            look = self._read(ctx, self._ask(ctx))
        except CheckFailed as failed:
            raise _blaming(failed, blame) from None
        return self._judge(ctx, look, blame)

    def _place(self) -> tuple[str, int]:
        return _place(self.url if self.url is not None else f"//{self.host}")

    def _ask(self, ctx: Context) -> Shown:
        host, port = self._place()
        return ctx.http.inspect(
            host.strip("[]"), port, ctx.options, ctx.deadline, ctx.wire, verify=self.trust == "verify"
        )

    def _blame(self, subject: Subject, provider: Provider | None) -> Blame:
        if self.owner is not None:
            return Blame(self.owner)
        if subject == "client_certificate":
            return Blame.CONFIG
        if subject != "tls":
            return Blame.PROVIDER
        urls = (provider.issuer, *provider.endpoints.values()) if provider is not None else ()
        return Blame.PROVIDER if urls and self._place() in {_place(url) for url in urls} else Blame.API

    def _look_at_file(self, file: str) -> _Look:
        chain = self._from_file(file)
        subject = self.subject or ("client_certificate" if chain[0].for_clients else "tls")
        return _Look(self.name, chain, subject=subject)

    def _from_file(self, file: str) -> tuple[certificates.Certificate, ...]:
        try:
            with Path(file).open("rb") as opened:
                data = opened.read(_LARGEST)
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or "not a path"
            raise CheckFailed(Reason.CONFIG_ERROR, f"certificate file {file}: {why}") from None
        return certificates.read_file(data, None if self.password is None else self.password.read().encode(), file)

    def _read(self, ctx: Context, shown: Shown) -> _Look:
        """Read what an endpoint showed, and look for what the handshake did not say, or could not."""
        host, port = self._place()
        try:
            # Some servers send their own certificate a second time, as part of the chain.
            chain = tuple(dict.fromkeys(certificates.read_der(der) for der in shown.chain))
        except ValueError:
            text = f"{host}:{port}: a certificate that cannot be read"
            raise CheckFailed(Reason.TLS_HANDSHAKE_FAILED, text) from None
        named = chain[0].is_for(host.strip("[]"))
        facts: dict[str, FactValue] = {Fact.CERTIFICATE_NAME_MATCH: named}
        if self.trust == "verify":
            facts[Fact.CERTIFICATE_TRUSTED] = shown.refused is None
        found = [] if shown.refused is None else [shown.refused]
        if not named and (self.trust == "any" or found):
            found = [f for f in found if f.reason is not Reason.TLS_HOSTNAME_MISMATCH]
            text = f"{host}:{port}: the certificate ({_named(chain[0])}) does not name the host"
            found.append(CheckFailed(Reason.TLS_HOSTNAME_MISMATCH, text))
        if chain[0].not_before > ctx.now():
            text = f"{host}:{port}: the certificate is not valid before {as_date(chain[0].not_before)}"
            found.append(CheckFailed(Reason.TLS_CERT_NOT_YET_VALID, text))
        trusted = self.trust == "verify" and shown.refused is None
        where = host if port == 443 else f"{host}:{port}"
        return _Look(where, chain, trusted, facts, tuple(found), self.subject or "tls")

    def _judge(self, ctx: Context, look: _Look, blame: Blame) -> Done:
        """Weigh what was found with the ends of the certificates.

        What an endpoint sends beyond its own certificate matters only if it is not trusted: another way was found then.
        """
        now = ctx.now()
        needed = look.chain[:1] if look.trusted else look.chain
        ended = [c for c in needed if c.remaining(now) <= self.fail_before]
        done = Done(
            facts={**look.facts, **_facts(look.chain, now)},
            warnings=tuple(self._warnings(look, ended, now)),
            expiries=tuple(self._expiries(look, now)),
        )
        found = list(look.found)
        if ended:
            first = min(ended, key=lambda one: one.not_after)
            # OpenSSL's word for the same thing says nothing more.
            found = [f for f in found if f.reason is not Reason.TLS_CERT_EXPIRED]
            found.insert(0, CheckFailed(Reason.CERTIFICATE_EXPIRED, self._ending(first, look, now)))
        if found:
            problems = tuple(dict.fromkeys(f.reason for f in found))
            detail = "; ".join(dict.fromkeys(f.detail for f in found))
            raise StepFailed(_blaming(CheckFailed(found[0].reason, detail, problems=problems), blame), done)
        return done

    def _expiries(self, look: _Look, now: float) -> Iterator[Expiry]:
        """Tell the end of the first certificate, and of what hangs on it the one that ends first."""
        before = self._notice, self.fail_before or None
        yield Expiry(look.subject, look.where, look.chain[0].remaining(now), *before)
        if len(look.chain) > 1:
            first = min(c.remaining(now) for c in look.chain[1:])
            yield Expiry(look.subject, f"{look.where} (chain)", first, *before)

    def _warnings(self, look: _Look, ended: Sequence[certificates.Certificate], now: float) -> Iterator[Warn]:
        soon = [c for c in look.chain if c not in ended and c.remaining(now) < self._notice]
        for one in sorted(soon, key=lambda c: c.not_after)[:_MOST_TOLD]:
            yield Warn(Reason.CERTIFICATE_EXPIRING, self._ending(one, look, now))

    def _ending(self, one: certificates.Certificate, look: _Look, now: float) -> str:
        detail = f"{look.where}: {_named(one)} {left_in_words(one.remaining(now))}, on {as_date(one.not_after)}"
        allowed = f", less than fail_before ({self.fail_before / DAY:g} d)"
        return detail + (allowed if 0 < one.remaining(now) <= self.fail_before else "")


def _place(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    host = parts.hostname or ""
    return (f"[{host}]" if ":" in host else host), parts.port or 443


def _named(one: certificates.Certificate) -> str:
    return one.label[:120]


def _facts(chain: tuple[certificates.Certificate, ...], now: float) -> dict[str, FactValue]:
    told = chain[:_NAMED]
    return {
        Fact.CERTIFICATE_COUNT: len(chain),
        Fact.CERTIFICATE_REMAINING: min(c.remaining(now) for c in chain),
        Fact.CERTIFICATE_SUBJECTS: tuple(c.subject for c in told),
        Fact.CERTIFICATE_ISSUERS: tuple(c.issuer for c in told),
        Fact.CERTIFICATE_NOT_AFTER: tuple(as_date(c.not_after) for c in told),
        Fact.CERTIFICATE_SHA256: tuple(c.sha256 for c in told),
    }


def _blaming(failed: CheckFailed, blame: Blame) -> CheckFailed:
    """Blame the owner of the certificate where the table says `owner`: the step's layer knows of none."""
    if VERDICTS[failed.reason].blame is not None:
        return failed
    return CheckFailed(failed.reason, failed.detail, blame=blame, counts=failed.counts, problems=failed.problems)
