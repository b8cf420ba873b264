"""The kinds of step: one file each, one line each here, and none knows another."""

from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType

from otelprobe.step import Step

STEPS: Mapping[str, str] = MappingProxyType(
    {
        "discover": "Discover",
        "keys": "Keys",
        "token": "Token",
        "login": "Login",
        "verify": "Verify",
        "call": "Call",
        "reject": "Reject",
        "reject_at_provider": "RejectAtProvider",
        "retained": "Retained",
        "posture": "Posture",
        "refresh": "Refresh",
        "introspect": "Introspect",
        "revoke": "Revoke",
        "userinfo": "UserInfo",
        "authorize": "Authorize",
        "device": "Device",
        "id_token": "IdToken",
        "certificate": "Certificate",
        "credential_expiry": "CredentialExpiry",
        "status_page": "StatusPage",
        "saml_metadata": "SamlMetadata",
        "saml_login": "SamlLogin",
        "saml_reject": "SamlReject",
    }
)
"""Kind to class name; the module is named as the kind. Modules are imported only for the kinds that a flow file uses."""


def step_class(kind: str) -> type[Step]:
    """Give the class of a kind; KeyError if there is none."""
    found: type[Step] = getattr(import_module(f"otelprobe.steps.{kind}"), STEPS[kind])
    return found
