"""Look at the SAML metadata of an identity or a service provider: who it is, where it is reached, and until when."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar, Literal
from urllib.parse import urlsplit

from otelprobe.certificates import Certificate, read_file_as_der
from otelprobe.endings import DAY, as_date, left_in_words
from otelprobe.fields import DurationOrZero, Url, is_loopback
from otelprobe.http import Redirects, Reply
from otelprobe.oauth import refuse_failures
from otelprobe.pages import is_html
from otelprobe.provider import Provider
from otelprobe.quick import dataclass
from otelprobe.reasons import VERDICTS, Blame, CheckFailed, Counts, Layer, Reason
from otelprobe.result import Expiry, Fact, FactValue, Warn
from otelprobe.saml import metadata, signature
from otelprobe.saml.metadata import Entity, PublishedKey
from otelprobe.saml.validity import notices
from otelprobe.saml.xml import parse
from otelprobe.step import Artifact, Context, Done, Step, StepFailed, filled
from otelprobe.step import SamlMetadata as Metadata
from otelprobe.tokens import shown

_ACCEPT = "application/samlmetadata+xml, application/xml;q=0.9, text/xml;q=0.9, */*;q=0.5"
_LARGEST = 16 * 1024**2
"""A federation's aggregate has some megabytes; beyond that, a single entity is what should be asked for."""

_SUBJECTS = {"signing": "saml_signing", "encryption": "saml_encryption"}
_NAMED = 10


@dataclass(frozen=True, kw_only=True)
class SamlMetadata(Step):
    """Check SAML metadata (2.0): the entity, its endpoints, how long the document and every certificate last, its signature.

    Parsed without DTD, entities and network. Of a document about many entities, `entity_id` picks one. A certificate
    that has ended beside one that is valid is a warning; if none for signing is left, the step fails.
    """

    kind: ClassVar[str] = "saml_metadata"
    layer: ClassVar[Layer] = Layer.AUTH
    own_reasons: ClassVar[frozenset[Reason]] = frozenset(
        {
            *(Reason.SAML_METADATA_INVALID, Reason.SAML_SIGNATURE_INVALID, Reason.SAML_CERTIFICATE_UNKNOWN),
            *(Reason.CERTIFICATE_EXPIRED, Reason.RESPONSE_TOO_LARGE, Reason.IDP_HTTP_4XX, Reason.IDP_HTTP_5XX),
            *(Reason.XML_DTD_FORBIDDEN, Reason.XML_ENTITIES_FORBIDDEN, Reason.SAML_SIGNATURE_WRAPPED),
        }
    )
    default_redirects: ClassVar[Redirects] = Redirects.SAME_ORIGIN

    url: Url | None = None
    """Where the metadata are; exactly one of `url` and `file`. At most 16MiB are read unless `http.max_size` says else."""

    file: str | None = None
    """A file with the metadata, read anew in every run."""

    role: Literal["idp", "sp"] = "idp"
    """Whose metadata they are: an identity provider's or a service provider's; the latter's faults are the API's."""

    entity_id: str | None = None
    """The entity that is expected, to the letter; picks one where the document is about many."""

    pinned_certificate: str | None = None
    """A file with the certificate (PEM or DER) that the metadata have to be signed with; default: signatures are not
    looked at.
    """

    acs_url: Url | None = None
    """For `role: sp`: an assertion consumer service that has to be among the endpoints."""

    logout: bool = False
    """`true`: a single-logout endpoint has to be there."""

    warn_before: DurationOrZero = 90 * DAY
    """A certificate that ends sooner is warned of."""

    fail_before: DurationOrZero = 0.0
    """A certificate that ends sooner counts as ended."""

    def made(self) -> tuple[type[Artifact], ...]:
        """Make what a log-in needs, if it is an identity provider."""
        return (Metadata,) if self.role == "idp" else ()

    def most_bytes(self) -> int | None:
        """Take what such documents have."""
        return _LARGEST

    def warm_up(self) -> None:
        """Import what SAML is read with."""
        signature.warm_up()

    def addresses(self, provider: Provider | None) -> tuple[str, ...]:
        """Give the URL that is asked."""
        _ = provider
        return (self.url,) if self.url is not None else ()

    def templates(self) -> tuple[object, ...]:
        """Give what `${name}` is filled in."""
        return (self.url,) if self.url is not None else ()

    def files(self) -> tuple[tuple[str, str], ...]:
        """Give the files, so that `validate` looks for them."""
        named = (("file", self.file), ("pinned_certificate", self.pinned_certificate))
        return tuple((member, path) for member, path in named if path is not None)

    def faults(self) -> Iterator[tuple[str, str]]:
        """Say what does not fit together."""
        if (self.url is None) == (self.file is None):
            yield "", "metadata are read in exactly one place: set url or file"
        if self.file is not None and self.capture:
            yield "capture", "a file has no JSON to capture from: remove it"
        if self.acs_url is not None and self.role != "sp":
            yield "acs_url", "goes with role: sp only: an identity provider has no assertion consumer service"
        if self.fail_before > self.warn_before:
            yield "fail_before", "is longer than warn_before, so that nothing would ever be warned of: swap them"

    def run(self, ctx: Context) -> Done:
        """Read and judge; makes SamlMetadata for an identity provider."""
        try:
            signature.load_signatures()
            data, reply = self._data(ctx)
            entity, signed = self._entity(data)
            return self._judge(ctx, entity, signed, reply)
        except CheckFailed as failed:
            raise self._blamed(failed) from None

    def _blamed(self, failed: CheckFailed) -> CheckFailed:
        """Blame the service provider for its own metadata, and the configuration for a file."""
        row = VERDICTS[failed.reason]
        if self.role == "idp" or failed.blame is not None or row.blame not in {None, Blame.PROVIDER}:
            return failed
        blamed = CheckFailed(
            failed.reason, failed.detail, blame=Blame.API, counts=failed.counts, problems=failed.problems
        )
        return StepFailed(blamed, failed.done) if isinstance(failed, StepFailed) else blamed

    def _data(self, ctx: Context) -> tuple[bytes, Reply | None]:
        if self.file is not None:
            return _from_file(self.file, ctx.options.max_size or _LARGEST), None
        assert self.url is not None  # noqa: S101 - faults() has seen to it
        headers = {"Accept": _ACCEPT}
        reply = ctx.send("GET", filled(ctx, self.url), headers=headers, safe_url=self.url, redirects=self.follow)
        _refuse(reply)
        return reply.body, reply

    def _entity(self, data: bytes) -> tuple[Entity, signature.Verified | None]:
        """Read the entity; where a certificate is pinned, out of what is signed with it and nothing else."""
        root = parse(data, Reason.SAML_METADATA_INVALID, "the document")
        verified = None
        if self.pinned_certificate is not None:
            pinned = read_file_as_der(_read(self.pinned_certificate, _LARGEST), self.pinned_certificate)
            signed = root if signature.is_signed(root) else metadata.choose_entity(root, self.role, self.entity_id)
            if not signature.is_signed(signed):
                raise CheckFailed(Reason.SAML_SIGNATURE_INVALID, "the metadata are not signed")
            verified = signature.verify(signed, pinned, "the metadata")
            root = verified.element
        element = metadata.choose_entity(root, self.role, self.entity_id)
        return metadata.read_entity(element, self.role, metadata.valid_until_around(element)), verified

    def _judge(self, ctx: Context, entity: Entity, signed: signature.Verified | None, reply: Reply | None) -> Done:
        """Weigh everything at once: what is broken first, then what has ended, then what will."""
        now = ctx.now()
        made = Metadata(entity.entity_id, entity.locations(), tuple(k.der for k in entity.of_use("signing")))
        done = Done(
            makes=(made,) if self.role == "idp" else (),
            facts=_facts(entity, signed, now),
            warnings=tuple(self._warnings(entity, signed, now)),
            expiries=tuple(self._expiries(ctx, entity, now)),
            reply=reply,
        )
        broken = list(self._broken(entity, now, plain=bool(ctx.options.insecure_http)))
        ended = list(self._without_certificate(entity, now))
        if broken or ended:
            found = [*((Reason.SAML_METADATA_INVALID, d) for d in broken), *ended]
            problems = tuple(dict.fromkeys(reason for reason, _ in found))
            failed = CheckFailed(found[0][0], "; ".join(dict.fromkeys(d for _, d in found)), problems=problems)
            raise StepFailed(failed, done)
        return done

    def _broken(self, entity: Entity, now: float, *, plain: bool) -> Iterator[str]:
        what = "single sign-on" if self.role == "idp" else "assertion consumer"
        if entity.valid_until is not None and entity.valid_until <= now:
            yield f"the metadata's validUntil {left_in_words(entity.valid_until - now)}"
        if not entity.locations():
            yield f"no {what} endpoint for the Redirect or POST binding"
        if self.role == "idp" and not entity.of_use("signing"):
            yield "no certificate for signing that can be read"
        if self.acs_url is not None and self.acs_url not in {e.location for e in entity.endpoints}:
            yield "acs_url is not among the assertion consumer services"
        if self.logout and not entity.logout:
            yield "no single-logout endpoint"
        unsafe = [e.location for e in (*entity.endpoints, *entity.logout) if not _is_safe(e.location, plain=plain)]
        if unsafe:
            yield f"endpoints without https, or that are no URLs: {', '.join(shown(url) for url in unsafe[:3])}"

    def _without_certificate(self, entity: Entity, now: float) -> Iterator[tuple[Reason, str]]:
        """Say for what use every certificate has ended."""
        for use in _SUBJECTS:
            keys = entity.of_use(use)
            if keys and all(self._is_ended(key, now) for key in keys):
                last = max((key.certificate for key in keys), key=lambda c: c.not_after)
                yield Reason.CERTIFICATE_EXPIRED, f"no valid certificate for {use}: {_ending(last, now)}"

    def _is_ended(self, key: PublishedKey, now: float) -> bool:
        return key.certificate.remaining(now) <= self.fail_before

    def _expiries(self, ctx: Context, entity: Entity, now: float) -> Iterator[Expiry]:
        """Tell the end of every certificate, the one that ends first under the step's own name, and of the document."""
        for use, subject in _SUBJECTS.items():
            ends = sorted(key.certificate.remaining(now) for key in entity.of_use(use))[:_NAMED]
            for number, remaining in enumerate(ends, 1):
                name = self.name if number == 1 else f"{self.name} ({number})"
                yield Expiry(subject, name, remaining, self.warn_before, self.fail_before or None)
        if entity.valid_until is not None:
            warn_before, critical_before = notices(ctx, entity.entity_id, entity.valid_until)
            yield Expiry("saml_metadata", self.name, entity.valid_until - now, warn_before, critical_before)

    def _warnings(self, entity: Entity, signed: signature.Verified | None, now: float) -> Iterator[Warn]:
        for key in entity.keys[:_NAMED]:
            others = any(k is not key and k.certificate.remaining(now) > self.warn_before for k in entity.keys)
            beside = "; another lasts longer" if others else ""
            ending = f"certificate for {' and '.join(key.uses)}: {_ending(key.certificate, now)}{beside}"
            if self._is_ended(key, now):
                yield Warn(Reason.CERTIFICATE_EXPIRED, ending)
            elif key.certificate.remaining(now) < self.warn_before:
                yield Warn(Reason.CERTIFICATE_EXPIRING, ending)
            weak = signature.weak_key(key.der)
            if weak is not None:
                yield Warn(
                    Reason.ALG_WEAK, f"certificate for {' and '.join(key.uses)} {_named(key.certificate)}: {weak}"
                )
        for fault in dict.fromkeys(entity.faults):
            yield Warn(Reason.SAML_METADATA_INVALID, fault)
        for weak in signed.weak if signed is not None else ():
            yield Warn(Reason.ALG_WEAK, f"the metadata's signature: {weak}")


def _from_file(file: str, most: int) -> bytes:
    data = _read(file, most + 1)
    if len(data) > most:
        detail = f"metadata file {file} is larger than {most} bytes; raise http.max_size if it should be"
        raise CheckFailed(Reason.RESPONSE_TOO_LARGE, detail, blame=Blame.CONFIG, counts=Counts.NONE)
    return data


def _read(path: str, most: int) -> bytes:
    try:
        with Path(path).open("rb") as opened:
            return opened.read(most)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "not a path"
        raise CheckFailed(Reason.CONFIG_ERROR, f"file {path}: {why}") from None


def _refuse(reply: Reply) -> None:
    """Raise for what the status or an edge says before anything is parsed."""
    try:
        refuse_failures(reply)
    except CheckFailed as failed:
        if failed.reason is Reason.IDP_NOT_JSON:
            raise CheckFailed(Reason.SAML_METADATA_INVALID, "an HTML page where metadata should be") from None
        raise
    if reply.status != 200:
        raise CheckFailed(Reason.IDP_HTTP_4XX, f"status {reply.status} for the metadata")
    if is_html(reply):
        raise CheckFailed(Reason.SAML_METADATA_INVALID, "an HTML page where metadata should be")


def _is_safe(url: str, *, plain: bool) -> bool:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return False
    return bool(host) and (parts.scheme == "https" or (parts.scheme == "http" and (plain or is_loopback(host))))


def _named(certificate: Certificate) -> str:
    return certificate.label[:120]


def _ending(certificate: Certificate, now: float) -> str:
    words = left_in_words(certificate.remaining(now))
    return f"{_named(certificate)} {words}, on {as_date(certificate.not_after)}"


def _is_valid(certificate: Certificate, now: float) -> bool:
    return certificate.not_before <= now < certificate.not_after


def _facts(entity: Entity, signed: signature.Verified | None, now: float) -> dict[str, FactValue]:
    all_of_them = [key.certificate for key in entity.keys]
    told = all_of_them[:_NAMED]
    facts: dict[str, FactValue] = {
        Fact.SAML_SIGNING_CERTIFICATES: _valid(entity.of_use("signing"), now),
        Fact.SAML_ENCRYPTION_CERTIFICATES: _valid(entity.of_use("encryption"), now),
        Fact.CERTIFICATE_COUNT: len(all_of_them),
        Fact.CERTIFICATE_SUBJECTS: tuple(c.subject for c in told),
        Fact.CERTIFICATE_ISSUERS: tuple(c.issuer for c in told),
        Fact.CERTIFICATE_NOT_AFTER: tuple(as_date(c.not_after) for c in told),
        Fact.CERTIFICATE_SHA256: tuple(c.sha256 for c in told),
    }
    if all_of_them:
        facts[Fact.CERTIFICATE_REMAINING] = min(c.remaining(now) for c in all_of_them)
    if entity.valid_until is not None:
        facts[Fact.SAML_METADATA_REMAINING] = entity.valid_until - now
    if signed is not None:
        facts |= {Fact.SAML_METADATA_SIGNED: True, Fact.SAML_ALGORITHM: signed.algorithm}
    return facts


def _valid(keys: Sequence[PublishedKey], now: float) -> int:
    return sum(_is_valid(key.certificate, now) for key in keys)
