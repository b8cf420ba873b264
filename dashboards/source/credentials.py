"""Alerts on what ends: certificates, keys and secrets, each with its own notice."""

from dataclasses import dataclass

from dashboards.source.promql import DAY, ENV, HOUR, label, select
from dashboards.source.recording import EXPIRY
from dashboards.source.rules import Alert, Component, Scope, Severity
from otelprobe.telemetry import schema

SUBJECT = label(schema.EXPIRY_SUBJECT)
NAME = label(schema.EXPIRY_NAME)


@dataclass(frozen=True, slots=True)
class Notice:
    """When to tell that a kind of thing ends. Days."""

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


def credential_alerts() -> tuple[Alert, ...]:
    """Give two alerts for each kind, and one for whatever has ended."""
    return (*(alert for notice in NOTICES for alert in _pair(notice)), _ended())


def _pair(notice: Notice) -> tuple[Alert, Alert]:
    return (
        _alert(notice, f"{notice.title}Expiring", notice.warning, Severity.WARNING),
        _alert(notice, f"{notice.title}ExpiringSoon", notice.critical, Severity.CRITICAL),
    )


def _alert(notice: Notice, name: str, days: int, severity: Severity) -> Alert:
    sign = "=~" if len(notice.subjects) > 1 else "="
    chosen = select(EXPIRY, f'{SUBJECT}{sign}"{"|".join(notice.subjects)}"')
    return Alert(
        name=name,
        expr=f"{chosen} < {days * DAY:g} >= 0",
        lasts=HOUR,
        severity=severity,
        component=Component.AUTH,
        scope=Scope.CREDENTIAL,
        summary=f"{notice.words} {{{{ $labels.{NAME} }}}} ends within {days} days",
        description="It ends in VALUE.",
        unit="seconds",
        meaning=f"{notice.words} ends in less than {days} days.",
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
