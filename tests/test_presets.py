"""Presets: each provider's own shapes, good and refusing, run from a flow file; what cannot work is told at the start."""

import ssl
from pathlib import Path
from textwrap import dedent
from typing import get_args, get_type_hints

import jwt
import pytest
import trustme

from otelprobe.config.faults import ConfigError
from otelprobe.config.load import load
from otelprobe.fields import Rate
from otelprobe.plan import FlowPlan, build
from otelprobe.presets import NAMES, PRESETS, filled, issuer_fits, recognise, status_source
from otelprobe.provider import ENDPOINTS, Provider
from otelprobe.reasons import Blame, Outcome, Reason
from otelprobe.result import FlowResult
from otelprobe.steps.status_page import StatusPage
from tests.conftest import Answer, Server
from tests.flow_kit import passed, run_text, step
from tests.peers import Peer, answer, tunnel
from tests.provider_shapes import SECRET, SHAPES, TENANT, Shape, entra, error, flow
from tests.signing_kit import certificate, certificate_file, key_file, pem, read_assertion
from tests.token_kit import signing_key

TOKEN = {
    "auth0": '{step: token, audience: "https://api.example.com/"}',
    "okta": "{step: token, scope: health}",
    "entra": '{step: token, scope: "api://api-1/.default"}',
    "cognito": "{step: token, scope: orders/health}",
    "keycloak": "token",
    "hydra": "token",
}
AUDIENCE = {"auth0": "https://api.example.com/", "okta": "api://default", "entra": "api-1", "keycloak": "account"}


@pytest.fixture
def shapes(server: Server) -> dict[str, Shape]:
    """One server can play one provider at a time: made when it is asked for."""

    class Lazy(dict[str, Shape]):
        def __missing__(self, name: str) -> Shape:
            self[name] = SHAPES[name](server)
            return self[name]

    return Lazy()


def run(preset: str, shape: Shape, folder: Path, steps: str, **more: str) -> FlowResult:
    """Run steps against a shape."""
    return run_text(folder, flow(preset, shape, steps, folder, **more))


def plan(folder: Path, text: str) -> FlowPlan:
    """Load and wire a flow file."""
    path = folder / "flow.yaml"
    path.write_text(text, encoding="utf-8")
    (found,) = build(load([path]))
    return found


def faults(folder: Path, text: str) -> str:
    """Give what is said of a flow file that is refused."""
    with pytest.raises(ConfigError) as caught:
        plan(folder, text)
    return str(caught.value)


# --- healthy, from discovery to local verification ---


@pytest.mark.parametrize("preset", ["auth0", "okta", "entra", "keycloak"])
def test_a_healthy_provider_passes(preset: str, shapes: dict[str, Shape], tmp_path: Path) -> None:
    """Discovery, keys, a token by client credentials, and its verification, in this provider's shapes."""
    verify = f'{{step: verify, audience: "{AUDIENCE[preset]}"}}'
    result = run(preset, shapes[preset], tmp_path, f"discover, keys, {TOKEN[preset]}, {verify}")
    assert passed(result)
    assert result.warnings == ()
    assert SECRET not in repr(result)


def test_cognito_is_compared_by_client_and_use(shapes: dict[str, Shape], tmp_path: Path) -> None:
    """Its access token has no `aud`: `client_id` and `token_use` take its place, and nobody is warned of that."""
    shape = shapes["cognito"]
    steps = f"discover, keys, {TOKEN['cognito']}, verify"
    result = run("cognito", shape, tmp_path, steps)
    assert passed(result)
    assert result.warnings == ()
    shape.claims["client_id"] = "another"
    assert run("cognito", shape, tmp_path, steps).reason is Reason.CLAIM_MISMATCH
    listed = f"discover, keys, {TOKEN['cognito']}, {{step: verify, audience: [x, another]}}"
    assert passed(run("cognito", shape, tmp_path, listed))
    shape.claims |= {"client_id": "app-1", "token_use": "id"}
    assert run("cognito", shape, tmp_path, steps).reason is Reason.CLAIM_MISMATCH
    shape.claims["token_use"] = None
    assert run("cognito", shape, tmp_path, steps).reason is Reason.CLAIM_MISSING


@pytest.mark.parametrize(
    ("configured", "named"), [(TENANT, None), ("common", "{tenantid}"), ("contoso.onmicrosoft.com", TENANT)]
)
@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_entra_issuers_by_tenant_and_version(
    server: Server, tmp_path: Path, configured: str, named: str | None, version: str
) -> None:
    """The API chooses the version of its tokens, and the issuer goes with it; `common` and tenant names are resolved."""
    shape = entra(server, configured, named=named)
    if version == "1.0":
        shape.claims |= {"iss": f"https://sts.windows.net/{TENANT}/", "ver": "1.0"}
    steps = f"discover, keys, {TOKEN['entra']}, {{step: verify, audience: api-1}}"
    assert passed(run("entra", shape, tmp_path, steps))
    shape.claims["iss"] = "https://sts.windows.net/00000000-0000-0000-0000-000000000000/"
    assert run("entra", shape, tmp_path, steps).reason is Reason.ISSUER_MISMATCH


@pytest.mark.parametrize(("how", "algorithm"), [("x5t", "RS256"), ("x5t#S256", "PS256")])
def test_entra_knows_a_client_by_its_certificate(server: Server, tmp_path: Path, how: str, algorithm: str) -> None:
    """The assertion is as Entra documents it: the certificate's thumbprint and no kid, for the token endpoint."""
    shape = entra(server)
    (tmp_path / "files").mkdir()
    key = key_file(tmp_path / "files", pem(algorithm, 1))
    file = certificate_file(tmp_path / "files", certificate(algorithm, 1))
    header = f"algorithm: {algorithm}, certificate: '{file}', certificate_header: '{how}'"
    text = f"""
        providers:
          idp:
            preset: entra
            issuer: {shape.issuer}
            client_id: {TENANT}
            client_assertion: {{key: {{file: '{key.file}'}}, {header}}}
        flows: [{{name: shop, provider: idp, steps: [discover, keys, {TOKEN["entra"]}, {{step: verify, audience: api-1}}]}}]
        """
    assert passed(run_text(tmp_path, dedent(text)))
    (seen,) = (one for one in server.seen if one.path == shape.token_path)
    told = jwt.get_unverified_header(seen.form["client_assertion"])
    assert (told["alg"], told.keys() - {"alg", "typ"}) == (algorithm, {how})
    claims = read_assertion(seen, algorithm, audience=f"{server.url}{shape.token_path}", which=1)
    assert (claims["iss"], claims["sub"], seen.form["client_id"]) == (TENANT, TENANT, TENANT)


def test_entra_of_another_tenant_is_another_issuer(server: Server, tmp_path: Path) -> None:
    """A tenant that is configured by its id is compared to the letter, in discovery and in tokens."""
    other = "00000000-0000-0000-0000-000000000000"
    shape = entra(server, TENANT, named=other)
    assert run("entra", shape, tmp_path, "discover").reason is Reason.DISCOVERY_ISSUER_MISMATCH


def test_google_takes_an_assertion_and_gives_an_opaque_token(shapes: dict[str, Shape], tmp_path: Path) -> None:
    """A service account signs for itself; what comes is used, not verified."""
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat  # noqa: PLC0415

    key = tmp_path / "key.pem"
    key.write_bytes(signing_key("RS256").private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    shape = shapes["google"]
    claims = "{iss: sa@p.iam.gserviceaccount.com, sub: sa@p.iam.gserviceaccount.com, scope: openid}"
    grant = f"discover, {{step: token, grant: jwt_bearer, sign: {{key: {{file: {key}}}, claims: {claims}}}}}"
    result = run("google", shape, tmp_path, grant)
    assert passed(result)
    assert "canary" not in repr(result)
    shape.fault = error(400, error="invalid_grant", error_description="Invalid JWT Signature.")
    refused = run("google", shape, tmp_path, grant)
    assert (refused.reason, refused.blame) == (Reason.INVALID_GRANT, Blame.CONFIG)


def test_hydra_opaque_or_not(shapes: dict[str, Shape], tmp_path: Path) -> None:
    """Opaque is its default, so that verifying says what to do; a JWT is verified as any other."""
    shape = shapes["hydra"]
    assert passed(run("hydra", shape, tmp_path, "discover, token"))
    assert run("hydra", shape, tmp_path, "discover, keys, token, verify").reason is Reason.TOKEN_OPAQUE
    shape.opaque = None
    shape.claims = {"aud": [], "client_id": "app-1", "sub": "app-1", "scp": []}
    assert passed(run("hydra", shape, tmp_path, "discover, keys, token, verify"))


def test_github_needs_no_discovery_and_writes_commas(shapes: dict[str, Shape], tmp_path: Path) -> None:
    """Endpoints are known, JSON is asked for, scopes are read with their commas, and the successor is kept."""
    seed = tmp_path / "seed"
    seed.write_text("ghr_seed")
    shape = shapes["github"]
    steps = f"{{step: token, grant: refresh_token, refresh_token: {{file: {seed}}}, scope: repo gist}}"
    result = run("github", shape, tmp_path, steps, more=", client_auth: client_secret_post")
    assert passed(result)
    assert shape.server.seen[0].form["refresh_token"] == "ghr_seed"


# --- refusals, in each provider's own words ---

PLAIN = [("Content-Type", "text/plain")]
LIMITS = [("x-ratelimit-limit", "30"), ("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1")]
OKTA_LIMITS = [("X-Rate-Limit-Limit", "60"), ("X-Rate-Limit-Remaining", "0"), ("X-Rate-Limit-Reset", "1")]
AADSTS = {"timestamp": "2026-11-22 05:00:00Z", "trace_id": "t", "correlation_id": "c", "error_uri": "https://e"}


@pytest.mark.parametrize(
    ("preset", "refusal", "reason", "blame"),
    [
        ("auth0", error(401, error="access_denied", error_description="Unauthorized"), "access_denied", "config"),
        ("auth0", error(403, error="access_denied", error_description="Service not found"), "access_denied", "config"),
        ("auth0", Answer(429, b'{"error":"too_many_requests"}', LIMITS), "idp_rate_limited", "edge"),
        ("okta", error(401, error="invalid_client", error_description="No client."), "invalid_client", "config"),
        ("okta", error(400, error="invalid_scope", error_description="x"), "invalid_scope", "config"),
        ("okta", error(404, errorCode="E0000007", errorSummary="Not found"), "idp_http_4xx", "provider"),
        ("okta", Answer(429, b'{"errorCode":"E0000047"}', OKTA_LIMITS), "idp_rate_limited", "edge"),
        ("entra", error(401, error="invalid_client", error_codes=[7000222], **AADSTS), "invalid_client", "config"),
        ("entra", error(400, error="invalid_scope", error_codes=[70011], **AADSTS), "invalid_scope", "config"),
        ("entra", error(400, error="unauthorized_client", error_codes=[700016], **AADSTS), "unauthorized_client", "config"),
        ("entra", Answer(429, b"Too many requests", [("Retry-After", "60"), *PLAIN]), "idp_rate_limited", "edge"),
        ("cognito", error(400, error="invalid_client"), "invalid_client", "config"),
        ("cognito", error(400, error="invalid_scope"), "invalid_scope", "config"),
        ("cognito", Answer(429, b'{"__type":"TooManyRequestsException"}'), "idp_rate_limited", "edge"),
        ("cognito", Answer(503, b"<html>Service Unavailable</html>"), "idp_http_5xx", "provider"),
        ("keycloak", error(401, error="unauthorized_client", error_description="x"), "unauthorized_client", "config"),
        ("keycloak", error(404, error="Realm does not exist"), "oauth_error_other", "config"),
        ("keycloak", error(500, error="unknown_error"), "idp_http_5xx", "provider"),
        ("hydra", error(401, error="invalid_client", status_code=401), "invalid_client", "config"),
        ("hydra", error(400, error="invalid_scope", error_hint="x"), "invalid_scope", "config"),
    ],
)  # fmt: skip
def test_refusals(
    shapes: dict[str, Shape], tmp_path: Path, preset: str, refusal: Answer, reason: str, blame: str
) -> None:
    """Each provider's refusals have the right reason and blame, and none of its texts is repeated."""
    shape = shapes[preset]
    shape.fault = refusal
    result = run(preset, shape, tmp_path, f"discover, {TOKEN[preset]}")
    assert (result.reason, result.blame) == (reason, blame), result.detail
    assert SECRET not in repr(result)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("incorrect_client_credentials", Reason.INVALID_CLIENT),
        ("bad_refresh_token", Reason.INVALID_GRANT),
        ("redirect_uri_mismatch", Reason.OAUTH_ERROR_OTHER),
        ("unverified_user_email", Reason.OAUTH_ERROR_OTHER),
    ],
)
def test_github_refuses_with_status_200(shapes: dict[str, Shape], tmp_path: Path, code: str, reason: Reason) -> None:
    """The error decides, whatever the status."""
    seed = tmp_path / "seed"
    seed.write_text("ghr_seed")
    shape = shapes["github"]
    shape.fault = error(200, error=code, error_description="canary", error_uri="https://docs.github.com/x")
    result = run("github", shape, tmp_path, f"{{step: token, grant: refresh_token, refresh_token: {{file: {seed}}}}}")
    assert result.reason is reason
    assert "canary" not in repr(result)


# --- what cannot work is told when the file is read ---


@pytest.mark.parametrize(
    ("preset", "steps", "words"),
    [
        ("auth0", "discover, token", "add audience"),
        ("okta", "discover, token", "add one that the authorization server has"),
        ("entra", "discover, {step: token, scope: openid}", "/.default"),
        ("google", "discover, token", "grant: jwt_bearer"),
        ("google", "discover, keys, {step: token, grant: refresh_token, refresh_token: {env: X}}, verify", "opaque"),
        ("github", "discover", "no discovery document"),
        ("github", "token", "grant: refresh_token"),
        ("keycloak", "status_page", "add url"),
        ("generic", "status_page", "add url"),
    ],
)
def test_what_a_preset_knows_is_told_by_validate(
    shapes: dict[str, Shape], tmp_path: Path, preset: str, steps: str, words: str
) -> None:
    """A mistake that this provider would only answer with a riddle is named with its mend and its line."""
    shape = shapes[preset if preset != "generic" else "hydra"]
    told = faults(tmp_path, flow(preset, shape, steps, tmp_path))
    assert words in told
    assert "flow.yaml:" in told


def test_a_params_audience_is_an_audience(shapes: dict[str, Shape], tmp_path: Path) -> None:
    """What is asked for by `params` is not missing."""
    assert plan(tmp_path, flow("auth0", shapes["auth0"], "discover, {step: token, params: {audience: a}}", tmp_path))


def test_an_okta_org_server_cannot_be_verified(server: Server, tmp_path: Path) -> None:
    """Its keys for access tokens are not published."""
    text = "providers: {o: {preset: okta, issuer: https://dev-1.okta.com, client_id: c}}\nflows:\n"
    steps = "discover, keys, {step: token, scope: okta.users.read}, verify"
    assert "use introspect" in faults(tmp_path, f"{text}  - {{name: f, provider: o, steps: [{steps}]}}\n")


@pytest.mark.parametrize(
    ("preset", "issuer"),
    [
        ("auth0", "https://t.eu.auth0.com"),
        ("auth0", "https://t.eu.auth0.com/oauth/"),
        ("okta", "https://d.okta.com/oauth2"),
        ("entra", "https://login.microsoftonline.com"),
        ("cognito", "https://cognito-idp.eu-west-1.amazonaws.com"),
        ("keycloak", "https://login.example.com/auth"),
    ],
)
def test_an_issuer_of_another_form_is_refused(tmp_path: Path, preset: str, issuer: str) -> None:
    """The message shows the form."""
    text = f"providers: {{p: {{preset: {preset}, issuer: '{issuer}'}}}}\nflows: [{{name: f, provider: p, steps: [discover]}}]"
    told = faults(tmp_path, text)
    assert PRESETS[preset].issuer in told  # type: ignore[index]


GOOD = {
    "auth0": "https://t.eu.auth0.com/",
    "okta": "https://d.okta.com/oauth2/default",
    "entra": f"https://login.microsoftonline.com/{TENANT}/v2.0",
    "cognito": "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_AbC",
    "google": "https://accounts.google.com",
    "keycloak": "https://login.example.com/realms/shop",
    "github": "https://github.com",
    "generic": "https://login.example.com",
}


@pytest.mark.parametrize("preset", GOOD)
def test_issuers_are_recognised(preset: str) -> None:
    """By host, or by path for Keycloak; they have no fault."""
    assert recognise(GOOD[preset]) == preset
    assert list(Provider(issuer=GOOD[preset], preset=preset).faults()) == []  # type: ignore[arg-type]


def test_others_are_not_taken_for_them() -> None:
    """A name that only looks alike, and another service of the same house, are generic."""
    for issuer in (
        "https://auth0.com.evil.example/",
        "https://s3.amazonaws.com/b",
        "https://mygithub.com",
        "https://x",
    ):
        assert recognise(issuer) == "generic", issuer
    assert recognise(f"https://sts.windows.net/{TENANT}/") == "entra"
    assert recognise("https://d.okta.com") == "okta"


# --- thresholds, limits, status ---


def test_thresholds_become_objectives_and_the_flow_wins(tmp_path: Path) -> None:
    """Auth0 500 ms, Cognito 1,000 ms, as data for dashboards and alerts."""
    steps = {"auth0": TOKEN["auth0"], "cognito": "token"}
    for preset, seconds in (("auth0", 0.5), ("cognito", 1.0)):
        head = f"providers: {{p: {{preset: {preset}, issuer: '{GOOD[preset]}'}}}}\nflows:\n"
        body = f"provider: p, steps: [discover, {steps[preset]}]"
        assert plan(tmp_path, f"{head}  - {{name: f, {body}}}\n").objectives["issuance_latency"] == seconds
        own = plan(tmp_path, f"{head}  - {{name: f, objective: {{issuance_latency: 2s}}, {body}}}\n")
        assert own.objectives["issuance_latency"] == 2.0


def test_limits_become_budgets_and_the_file_wins() -> None:
    """The provider's documented limit bounds this prober where nobody set another."""
    assert filled(Provider(issuer=GOOD["okta"], preset="okta")).budget == Rate(60, 60.0)
    assert filled(Provider(issuer=GOOD["okta"], preset="okta", budget=Rate(1, 1.0))).budget == Rate(1, 1.0)
    assert filled(Provider(issuer=GOOD["keycloak"], preset="keycloak")).budget is None


STATUS = {
    "auth0": ("https://status.auth0.com/feed?domain=t.eu.auth0.com", None),
    "okta": ("https://feeds.feedburner.com/OktaTrustRSS", None),
    "entra": ("https://azure.status.microsoft/en-us/status/feed/", "entra"),
    "cognito": ("https://health.aws.amazon.com/public/currentevents", "cognito eu-west-1"),
    "google": ("https://status.cloud.google.com/incidents.json", "identity"),
    "github": ("https://www.githubstatus.com/api/v2/summary.json", "API Requests"),
}


@pytest.mark.parametrize("preset", STATUS)
def test_status_sources(preset: str) -> None:
    """Each hosted provider's page is known, and the part of it that matters; a component of one's own wins."""
    provider = Provider(issuer=GOOD[preset], preset=preset)  # type: ignore[arg-type]
    source = status_source(provider)
    assert source is not None
    assert (source.url, source.component) == STATUS[preset]
    page = StatusPage(name="s", component="mine")
    assert page.addresses(provider) == (source.url,)
    assert list(page.misfits(provider)) == []
    told = page._source(provider)
    assert told is not None
    assert (told.component, told.format) == ("mine", source.format)


def test_a_domain_of_ones_own_at_auth0_has_no_feed() -> None:
    """The feed goes by tenant, which such a domain does not tell."""
    assert status_source(Provider(issuer="https://login.example.com/", preset="auth0")) is None


def test_a_status_page_in_the_preset_is_read(tmp_path: Path) -> None:
    """From a flow file with `status_page` alone: the provider's page is asked, here by a proxy that leads to the test."""
    ca, ca_file = trustme.CA(), tmp_path / "ca.pem"
    ca.cert_pem.write_to_path(ca_file)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("www.githubstatus.com").configure_cert(context)
    page = answer(b'{"components": [{"name": "API Requests", "status": "partial_outage"}]}')
    with Peer(page, tls=context) as peer, Peer(tunnel(peer.port)) as proxy:
        text = f"""
providers: {{g: {{preset: github, issuer: https://github.com}}}}
flows:
  - {{name: f, provider: g, http: {{proxy: "{proxy.url("")}", ca_file: {ca_file}}}, steps: [status_page]}}
"""
        result = run_text(tmp_path, text)
    assert peer.line() == "GET /api/v2/summary.json HTTP/1.1"
    assert result.outcome is Outcome.PASS
    status = step(result, "status_page").provider_status
    assert status is not None
    assert (status.state, status.detail) == ("degraded", "API Requests: partial outage")


# --- the table itself ---


def test_the_table_and_the_words_of_the_flow_file_agree() -> None:
    """Every preset that may be written is known, and every endpoint that one names exists."""
    assert get_args(get_type_hints(Provider)["preset"]) == NAMES == tuple(PRESETS)
    assert {name for preset in PRESETS.values() for name in preset.endpoints} <= set(ENDPOINTS)


def test_only_entra_may_name_another_issuer() -> None:
    """For everybody else the issuer is compared to the letter."""
    for preset, issuer in GOOD.items():
        provider = Provider(issuer=issuer, preset=preset)  # type: ignore[arg-type]
        assert issuer_fits(provider, issuer)
        assert not issuer_fits(provider, f"{issuer}x")
    common = Provider(issuer="https://login.microsoftonline.com/common/v2.0", preset="entra")
    assert issuer_fits(common, "https://login.microsoftonline.com/{tenantid}/v2.0")
    assert not issuer_fits(common, "https://evil.example/{tenantid}/v2.0")
    assert not issuer_fits(common, "https://login.microsoftonline.com/{tenantid}/v9.0")
    assert not issuer_fits(common, "https://sts.windows.net/{tenantid}/")
    v1 = Provider(issuer="https://login.microsoftonline.com/common", preset="entra")
    assert issuer_fits(v1, "https://sts.windows.net/{tenantid}/")
