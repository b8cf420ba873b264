"""What was verified against what, as data: each line of the tables in docs/credentials.md and docs/providers.md names its tests.

`tests/conftest.py` holds to it what runs: a test that is named here must not be skipped, and has to use the peer that it
speaks for. `tests/test_verified.py` holds that each is there, that `make test` or `make test-stack` runs it, and that the
pages show these tables. A test that fails makes those commands fail, and so the tables say what passes.
"""

import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

Peer = Literal["keycloak", "oidc_provider", "nanoidp", "pytest_iam", "local"]
COLUMNS: Mapping[Peer, str] = {
    "keycloak": "Keycloak 26",
    "oidc_provider": "oidc-provider 9",
    "nanoidp": "nanoidp 3",
    "pytest_iam": "pytest-iam",
    "local": "others",
}
"""The last column: APIs that others wrote, and servers of our own in the shapes that providers document."""

STARTED_BY: Mapping[Peer, frozenset[str]] = {
    "keycloak": frozenset({"Keycloak", "Keycloaks", "Mutual", "Servers"}),
    "oidc_provider": frozenset({"OidcProvider", "Provider", "Machines"}),
    "nanoidp": frozenset({"Nanoidp", "Servers"}),
    "pytest_iam": frozenset({"Iam"}),
}
"""The classes that start a peer: a test uses it if it, or a fixture that it asks for, speaks of one of them."""


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


@dataclass(frozen=True, slots=True)
class ProviderRow:
    """One line about providers: what was tried, against what, and the tests of each peer."""

    provider: str
    tried: str
    against: str
    tests: Mapping[Peer, tuple[str, ...]]


_STATUS, _CERTIFICATE = "steps/test_status_page.py", "steps/test_certificate.py"

PROVIDERS = (
    ProviderRow(
        "Auth0, Okta, Entra ID, Cognito, Google, GitHub",
        "discovery, token, verification, refusals, rate limits",
        "a local server in their shapes; not the live service",
        {
            "local": (
                *(f"{_SHAPES}::test_a_healthy_provider_passes", f"{_SHAPES}::test_refusals"),
                f"{_SHAPES}::test_cognito_is_compared_by_client_and_use",
                f"{_SHAPES}::test_entra_issuers_by_tenant_and_version",
                f"{_SHAPES}::test_google_takes_an_assertion_and_gives_an_opaque_token",
                f"{_SHAPES}::test_github_needs_no_discovery_and_writes_commas",
                f"{_SHAPES}::test_github_refuses_with_status_200",
            )
        },
    ),
    ProviderRow(
        "Keycloak",
        "discovery, token, verification, refusals",
        "Keycloak 26, and a local server in its shapes",
        {
            "keycloak": (f"{_KC}::test_whole_flow_of_a_client", f"{_KC}::test_refused", f"{_KC}::test_wrong_secret"),
            "local": (f"{_SHAPES}::test_a_healthy_provider_passes", f"{_SHAPES}::test_refusals"),
        },
    ),
    ProviderRow(
        "Ory Hydra",
        "token, verification, refusals",
        "a local server in its shapes; not Hydra itself",
        {"local": (f"{_SHAPES}::test_hydra_opaque_or_not", f"{_SHAPES}::test_refusals")},
    ),
    ProviderRow(
        "`generic`, and the command `init`",
        "from the issuer to a token; verified but where it is opaque",
        "Keycloak 26, nanoidp 3, oidc-provider 9 (opaque), the demo",
        {
            "keycloak": (f"{_KC}::test_what_init_writes_runs",),
            "nanoidp": (f"{_N}::test_what_init_writes_runs",),
            "oidc_provider": (f"{_OP}::test_what_init_writes_runs",),
            "local": ("cli/test_init.py::test_the_file_runs_as_it_is_written",),
        },
    ),
    ProviderRow(
        "SAML metadata, and the command `init` on them",
        "entity, endpoints, certificates",
        "Keycloak 26, nanoidp 3; `init` on documents of our own",
        {
            "keycloak": (f"{_KS}::test_a_whole_log_in", f"{_KS}::test_a_key_is_rotated"),
            "nanoidp": (f"{_NS}::test_a_signed_request_is_answered",),
            "local": ("cli/test_init_saml.py::test_what_an_identity_provider_offers",),
        },
    ),
    ProviderRow(
        "status pages of all of them",
        "Statuspage, Atom, RSS, AWS, Google",
        "answers in their documented forms; not the live pages",
        {
            "local": (
                *(f"{_STATUS}::test_the_blend_of_a_statuspage", f"{_STATUS}::test_feeds"),
                *(f"{_STATUS}::test_aws_events_in_utf_16", f"{_STATUS}::test_google_incidents"),
            )
        },
    ),
    ProviderRow(
        "`certificate`",
        "TLS 1.2 and 1.3, chains, a missing client certificate, PEM, DER, PKCS#12",
        "TLS servers and files of our own",
        {
            "local": (
                f"{_CERTIFICATE}::test_versions_of_tls",
                f"{_CERTIFICATE}::test_a_good_endpoint_passes_with_the_facts_of_its_whole_chain",
                f"{_CERTIFICATE}::test_an_endpoint_that_wants_a_client_certificate_is_read",
                *(f"{_CERTIFICATE}::test_a_pem_bundle", f"{_CERTIFICATE}::test_pkcs12_and_der"),
            )
        },
    ),
)


@cache
def peers_by_test() -> Mapping[str, frozenset[Peer]]:
    """Give, for each test that is named here, the peers that it speaks for."""
    found: dict[str, set[Peer]] = {}
    for row in (*ROWS, *PROVIDERS):
        for peer, names in row.tests.items():
            for name in names:
                found.setdefault(name, set()).add(peer)
    return {name: frozenset(peers) for name, peers in found.items()}


def name_of(path: Path, function: str) -> str:
    """Name a test as it is named here."""
    folder = Path(__file__).parent
    return f"{path.relative_to(folder).as_posix()}::{function}" if path.is_relative_to(folder) else ""


def unused(peers: Iterable[Peer], functions: Iterable[Callable[..., Any]]) -> list[Peer]:
    """Give the peers that none of these functions (a test and its fixtures) speaks of."""
    words = {word for function in functions for word in _words(function)}
    return [peer for peer in sorted(peers) if peer in STARTED_BY and words.isdisjoint(STARTED_BY[peer])]


def _words(function: Callable[..., Any]) -> Iterator[str]:
    code = inspect.unwrap(function).__code__
    yield from code.co_names
    for annotation in inspect.unwrap(function).__annotations__.values():
        yield from re.findall(r"\w+", annotation.__name__ if isinstance(annotation, type) else str(annotation))


def provider_lines() -> Iterator[str]:
    """Write the table of docs/providers.md."""
    yield "| provider | tried | against |"
    yield "| --- | --- | --- |"
    for row in PROVIDERS:
        yield f"| {row.provider} | {row.tried} | {row.against} |"


def lines() -> Iterator[str]:
    """Write the table of docs/credentials.md."""
    yield f"| what | {' | '.join(COLUMNS.values())} |"
    yield f"| --- |{' --- |' * len(COLUMNS)}"
    for row in ROWS:
        cells = (
            row.note if peer == "local" and peer in row.tests else "yes" if peer in row.tests else ""
            for peer in COLUMNS
        )
        yield f"| {row.what} | {' | '.join(cells)} |"


if __name__ == "__main__":
    print("\n".join([*lines(), "", *provider_lines()]))
