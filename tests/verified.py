"""What was verified against what, as data: each cell of the table in docs/credentials.md names the tests that it rests on.

`tests/test_verified.py` holds that the tests exist and that the page shows this table.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

Peer = Literal["keycloak", "oidc_provider", "nanoidp", "pytest_iam", "local"]
COLUMNS: Mapping[Peer, str] = {
    "keycloak": "Keycloak 26",
    "oidc_provider": "oidc-provider 9",
    "nanoidp": "nanoidp 3",
    "pytest_iam": "pytest-iam",
    "local": "others",
}
"""The last column: APIs that others wrote, and servers of our own in the shapes that providers document."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line: for each peer the tests as `file::test`, files of tests/; `note` says what the last column's peer is."""

    what: str
    tests: Mapping[Peer, tuple[str, ...]]
    note: str = ""


_KC, _KP, _KM = "stack/test_keycloak.py", "stack/test_keycloak_people.py", "stack/test_keycloak_machine.py"
_KT, _KS = "stack/test_keycloak_mutual_tls.py", "stack/test_keycloak_saml.py"
_OP, _OPP, _OPM = (f"stack/test_oidc_provider{part}.py" for part in ("", "_people", "_machine"))
_N, _NL, _NS, _IAM = "test_nanoidp.py", "test_nanoidp_login.py", "test_nanoidp_saml.py", "test_pytest_iam.py"
_EX, _SHAPES = "stack/test_express.py", "test_presets.py"

ROWS = (
    Row(
        "client_credentials",
        {
            "keycloak": (f"{_KC}::test_whole_flow_of_a_client", f"{_KC}::test_wrong_secret"),
            "oidc_provider": (f"{_OP}::test_whole_flow", f"{_OP}::test_wrong_secret"),
            "nanoidp": (f"{_N}::test_client_credentials_on_strict_profile", f"{_N}::test_wrong_secret"),
            "pytest_iam": (f"{_IAM}::test_opaque_token_at_verify", f"{_IAM}::test_wrong_secret"),
            "local": (f"{_SHAPES}::test_a_healthy_provider_passes", f"{_SHAPES}::test_refusals"),
        },
        "the documented shapes of Auth0, Okta, Entra, Cognito, Google, Hydra, GitHub",
    ),
    Row(
        "`client_secret_basic`, `client_secret_post`",
        {
            "keycloak": (f"{_KC}::test_client_authentication",),
            "oidc_provider": (f"{_OP}::test_client_authentication",),
            "nanoidp": (f"{_N}::test_wrong_client_auth",),
        },
    ),
    Row(
        "password",
        {
            "keycloak": (f"{_KC}::test_whole_flow_of_a_user", f"{_KC}::test_wrong_password"),
            "oidc_provider": (f"{_OP}::test_whole_flow", f"{_OP}::test_wrong_password"),
            "nanoidp": (f"{_N}::test_whole_flow_on_weak_profile", f"{_N}::test_wrong_password"),
            "pytest_iam": (f"{_IAM}::test_whole_flow_of_a_user", f"{_IAM}::test_wrong_password"),
        },
    ),
    Row(
        "refresh, with and without rotation",
        {
            "keycloak": (f"{_KC}::test_rotation_on", f"{_KC}::test_rotation_off"),
            "oidc_provider": (f"{_OP}::test_reuse_ends_the_family", f"{_OP}::test_no_rotation"),
            "nanoidp": (f"{_N}::test_reuse_refused_on_strict_profile", f"{_N}::test_reuse_accepted_on_weak_profile"),
            "pytest_iam": (f"{_IAM}::test_refresh_after_revocation",),
        },
    ),
    Row(
        "a refresh token from outside",
        {
            "keycloak": (f"{_KC}::test_offline_access",),
            "nanoidp": (f"{_N}::test_seed_is_followed_by_its_successor",),
        },
    ),
    Row(
        "introspect, revoke, userinfo",
        {
            "keycloak": (f"{_KC}::test_whole_flow_of_a_user", f"{_KC}::test_userinfo_without_openid"),
            "oidc_provider": (f"{_OP}::test_opaque_token", f"{_OP}::test_revoked_refresh_token"),
            "nanoidp": (f"{_N}::test_introspection_finds_a_revoked_token",),
            "pytest_iam": (f"{_IAM}::test_opaque_token_lives_and_dies_by_introspection",),
        },
    ),
    Row(
        "authorization code, PKCE, ID token",
        {
            "keycloak": (f"{_KP}::test_a_whole_log_in", f"{_KP}::test_a_wrong_password"),
            "oidc_provider": (f"{_OPP}::test_a_whole_log_in", f"{_OPP}::test_a_code_is_good_once"),
            "nanoidp": (f"{_NL}::test_a_log_in_ends_at_the_api", f"{_NL}::test_a_wrong_password"),
        },
    ),
    Row(
        "PAR",
        {"keycloak": (f"{_KP}::test_pushed_requests",), "oidc_provider": (f"{_OPP}::test_pushed_requests",)},
    ),
    Row(
        "TOTP",
        {
            "keycloak": (f"{_KP}::test_a_second_factor_by_time",),
            "nanoidp": (f"{_NL}::test_a_second_factor_by_time", f"{_NL}::test_a_wrong_second_factor"),
        },
    ),
    Row(
        "consent, required actions",
        {
            "keycloak": (f"{_KP}::test_consent_is_given", f"{_KP}::test_people_who_cannot_just_log_in"),
            "oidc_provider": (f"{_OPP}::test_a_whole_log_in",),
        },
    ),
    Row(
        "device",
        {
            "keycloak": (f"{_KP}::test_a_device_that_waits_and_one_that_is_let_in",),
            "oidc_provider": (f"{_OPP}::test_a_device_that_waits_and_one_that_is_let_in",),
            "nanoidp": (f"{_NL}::test_a_device_that_waits_and_one_that_is_let_in",),
            "local": ("steps/test_device.py::test_slow_down_is_obeyed",),
        },
        "a server of our own",
    ),
    Row(
        "`browser: true`",
        {
            "keycloak": (f"{_KP}::test_a_whole_log_in",),
            "local": ("stack/test_browser.py::test_a_page_that_needs_scripts",),
        },
        "a page of our own that no script-less client passes",
    ),
    Row(
        "private_key_jwt",
        {
            "keycloak": (f"{_KM}::test_private_key_jwt", f"{_KM}::test_a_wrong_key"),
            "oidc_provider": (f"{_OPM}::test_private_key_jwt", f"{_OPM}::test_a_wrong_key"),
        },
    ),
    Row(
        "private_key_jwt by certificate (`x5t`, `x5t#S256`, `x5c`)",
        {
            "keycloak": (f"{_KT}::test_an_assertion_by_certificate",),
            "local": (f"{_SHAPES}::test_entra_knows_a_client_by_its_certificate",),
        },
        "Entra's documented shape",
    ),
    Row(
        "client_secret_jwt",
        {
            "keycloak": (f"{_KM}::test_client_secret_jwt",),
            "oidc_provider": (f"{_OPM}::test_client_secret_jwt",),
        },
    ),
    Row(
        "an assertion in a file, as of a Kubernetes service account",
        {
            "keycloak": ("stack/test_credentials_page.py::test_the_page_shows_what_is_printed",),
            "oidc_provider": (f"{_OPM}::test_a_projected_token",),
        },
    ),
    Row(
        "token exchange",
        {"keycloak": (f"{_KM}::test_token_exchange", f"{_KM}::test_a_refused_exchange")},
    ),
    Row(
        "jwt_bearer",
        {
            "keycloak": (f"{_KM}::test_jwt_bearer", f"{_KM}::test_a_refused_assertion"),
            "local": (f"{_SHAPES}::test_google_takes_an_assertion_and_gives_an_opaque_token",),
        },
        "Google's documented shape",
    ),
    Row(
        "DPoP",
        {
            "keycloak": (f"{_KM}::test_dpop", f"{_KM}::test_a_proof_is_missing"),
            "oidc_provider": (f"{_OPM}::test_dpop_with_nonces", f"{_OPM}::test_a_proof_is_missing"),
        },
    ),
    Row(
        "mutual TLS, certificate-bound tokens",
        {
            "keycloak": (f"{_KT}::test_a_known_certificate", f"{_KT}::test_another_certificate"),
            "oidc_provider": (f"{_OPM}::test_mutual_tls", f"{_OPM}::test_another_certificate"),
        },
    ),
    Row(
        "log-in of one's own, HS256, raw token, 403",
        {"local": (f"{_EX}::test_a_raw_token", f"{_EX}::test_a_wrong_password")},
        "Express 5 with jsonwebtoken 9",
    ),
    Row(
        "session cookies",
        {"local": (f"{_EX}::test_a_session", f"{_EX}::test_a_session_that_is_not_opened")},
        "Express 5 with express-session",
    ),
    Row(
        "API keys",
        {"local": ("steps/test_call.py::test_credentials_go_where_they_should",)},
        "a server of our own",
    ),
    Row(
        "credential_expiry",
        {"local": ("steps/test_credential_expiry.py::test_thresholds",)},
        "a server of our own",
    ),
    Row(
        "certificate",
        {
            "keycloak": ("stack/test_credentials_page.py::test_the_page_shows_what_is_printed",),
            "local": ("steps/test_certificate.py::test_an_expired_certificate_fails_with_its_facts",),
        },
        "TLS servers of our own",
    ),
    Row(
        "status_page",
        {
            "local": (
                "steps/test_status_page.py::test_the_blend_of_a_statuspage",
                "steps/test_status_page.py::test_feeds",
            )
        },
        "the documented shapes of Statuspage, Atom, RSS, AWS and Google",
    ),
    Row(
        "SAML log-in",
        {
            "keycloak": (f"{_KS}::test_a_whole_log_in", f"{_KS}::test_nothing_is_signed"),
            "nanoidp": (f"{_NS}::test_a_signed_request_is_answered", f"{_NS}::test_another_entity"),
        },
    ),
    Row(
        "APIs that validate, alone and in a chain",
        {
            "keycloak": ("stack/test_chain.py::test_a_healthy_chain",),
            "local": (
                "stack/test_validators.py::test_a_healthy_one",
                "stack/test_validators.py::test_one_that_checks_too_little",
            ),
        },
        "jose, jsonwebtoken with jwks-rsa, express-oauth2-jwt-bearer, PyJWT, Authlib",
    ),
)


def lines() -> Iterator[str]:
    """Write the table as the page has it."""
    yield f"| what | {' | '.join(COLUMNS.values())} |"
    yield f"| --- |{' --- |' * len(COLUMNS)}"
    for row in ROWS:
        cells = (
            row.note if peer == "local" and peer in row.tests else "yes" if peer in row.tests else ""
            for peer in COLUMNS
        )
        yield f"| {row.what} | {' | '.join(cells)} |"


if __name__ == "__main__":
    print("\n".join(lines()))
