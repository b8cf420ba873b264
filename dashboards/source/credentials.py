"""Alerts on what ends: certificates, keys and secrets, each with its own notice, or with the one that a flow file gives."""

from dataclasses import dataclass

from dashboards.source.promql import DAY, ENV, HOUR, OBJECTIVE, label, latest, on, select
from dashboards.source.recording import EXPIRY
from dashboards.source.rules import Alert, Component, Parameters, Record, Scope, Severity
from otelprobe.telemetry import schema

SUBJECT = label(schema.EXPIRY_SUBJECT)
NAME = label(schema.EXPIRY_NAME)
WARNING = "otelprobe:expiry_warning_seconds"
CRITICAL = "otelprobe:expiry_critical_seconds"
_THING = (ENV, SUBJECT, NAME)


@dataclass(frozen=True, slots=True)
class Notice:
    """When to tell that a kind of thing ends, where no flow file says so. Days."""

    title: str
    words: str
    subjects: tuple[str, ...]
    warning: int
    critical: int
    mend: str


NOTICES = (
    Notice(
        "SamlCertificate",
        "The SAML certificate or metadata",
        ("saml_signing", "saml_encryption", "saml_metadata"),
        90,
        14,
        "Agree on the date with every service provider: each has to take the new certificate before the old one ends.",
    ),
    Notice("ApiKey", "The API key", ("api_key",), 30, 7, "Issue a new key, roll it out, then withdraw the old one."),
    Notice(
        "ClientSecret",
        "The client secret",
        ("client_secret",),
        30,
        7,
        "Add a second secret at the provider, roll it out, then remove the old one.",
    ),
    Notice(
        "TlsCertificate",
        "The TLS certificate",
        ("tls",),
        30,
        7,
        "Renew it; if it renews by itself, find out why it did not.",
    ),
    Notice(
        "ClientCertificate",
        "The client certificate or a certificate in the key set",
        ("client_certificate", "jwks_certificate"),
        30,
        7,
        "Issue a new one, register it with the provider, then roll it out.",
    ),
)


def credential_records(p: Parameters) -> tuple[Record, Record]:
    """Give, for each thing that ends, how long before it is told of: as a flow file says, or else by its kind.

    A notice of the flow file that is shorter than our own critical one stands for both.
    """

    def given(word: str) -> str:
        return latest("max", schema.OBJECTIVE, p.span(6 * HOUR), _THING, f'{OBJECTIVE}="expiry_{word}"')

    warning = " or ".join(f"0 * {_of(notice)} + {notice.warning * DAY:g}" for notice in NOTICES)
    critical = " or ".join(f"0 * {_of(notice)} + {notice.critical * DAY:g}" for notice in NOTICES)
    least = f"({critical}) < {on(_THING)} {WARNING} or {on(_THING)} {WARNING}"
    return (
        Record(
            name=WARNING,
            expr=f"{given('warning')} or {on(_THING)} ({warning})",
            meaning="How long before its end a thing is warned of: `warn_before`, or the notice of its kind.",
        ),
        Record(
            name=CRITICAL,
            expr=f"{given('critical')} or {on(_THING)} ({least})",
            meaning="The same for the critical warning: `critical_before` or `fail_before`, or the notice of its kind.",
        ),
    )


def _of(notice: Notice) -> str:
    sign = "=~" if len(notice.subjects) > 1 else "="
    return select(EXPIRY, f'{SUBJECT}{sign}"{"|".join(notice.subjects)}"')


def credential_alerts() -> tuple[Alert, ...]:
    """Give two alerts for each kind, and one for whatever has ended."""
    return (*(alert for notice in NOTICES for alert in _pair(notice)), _ended())


def _pair(notice: Notice) -> tuple[Alert, Alert]:
    return (
        _alert(notice, f"{notice.title}Expiring", Severity.WARNING),
        _alert(notice, f"{notice.title}ExpiringSoon", Severity.CRITICAL),
    )


def _alert(notice: Notice, name: str, severity: Severity) -> Alert:
    soon = severity is Severity.CRITICAL
    days = notice.critical if soon else notice.warning
    own = "`critical_before` or `fail_before`" if soon else "`warn_before`"
    return Alert(
        name=name,
        expr=f"{_of(notice)} < {on(_THING)} {CRITICAL if soon else WARNING} >= 0",
        lasts=HOUR,
        severity=severity,
        component=Component.AUTH,
        scope=Scope.CREDENTIAL,
        summary=f"{notice.words} {{{{ $labels.{NAME} }}}} {'is about to end' if soon else 'ends soon'}",
        description="It ends in VALUE.",
        unit="seconds",
        meaning=f"{notice.words} ends in less than {days} days, or than what the step that looks at it has as {own}.",
        mend=notice.mend,
        board="otelprobe-credentials",
        variables={"environment": ENV},
    )


def _ended() -> Alert:
    return Alert(
        name="CredentialExpired",
        expr=f"{EXPIRY} < 0",
        severity=Severity.CRITICAL,
        component=Component.AUTH,
        scope=Scope.CREDENTIAL,
        summary=f"{{{{ $labels.{SUBJECT} }}}} {{{{ $labels.{NAME} }}}} has ended",
        description="It ended VALUE ago (negative: since its end).",
        unit="seconds",
        meaning="A certificate, key or secret is past its end.",
        mend="Replace it; whoever still works does not check it.",
        board="otelprobe-credentials",
        variables={"environment": ENV},
    )
