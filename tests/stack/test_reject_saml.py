"""Bad responses to real SAML service providers: what the step says of each is what the service provider does with the test's own.

The identity provider is the kit's, as any other would do: what is tried here is who has to judge its responses.
"""

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlencode

import pytest
import yaml

from otelprobe.clock import SystemClock
from otelprobe.config.load import load
from otelprobe.http import LiveHttp
from otelprobe.plan import build
from otelprobe.reasons import Outcome, Reason
from otelprobe.rejection.saml_cases import SAML_CASES
from otelprobe.result import StepResult
from otelprobe.run import Tools, run_flow
from otelprobe.state import Memory, State
from tests.conftest import Server
from tests.matrix import SERVICE_PROVIDERS, cells, compare, hold
from tests.saml_kit import NAME_ID, PASSWORD, SP, Shape, pair
from tests.saml_sp import ObligingIdp
from tests.stack.harness.keycloak_admin import Admin
from tests.stack.harness.node import STACK, Told, script
from tests.stack.saml_by_hand import EVE, SamlByHand
from tests.stack.servers import Keycloaks

OTHER = "https://other.example.com"
PATIENT = {"timeout": "60s"}
"""A young JVM takes its time."""

LIVES, SOON = 600.0, 2.0
"""Seconds until a response ends: a good one, and one that is kept until then."""

HOW: Mapping[str, Mapping[str, object]] = {
    "node-saml": {"kind": "node-saml"},
    "node-saml, audience unchecked": {"kind": "node-saml", "check_audience": False},
    "node-saml, expiry unchecked": {"kind": "node-saml", "check_expiry": False},
    "node-saml, InResponseTo unchecked": {"kind": "node-saml", "check_request": False},
    "samlify": {"kind": "samlify"},
    "samlify 2.8": {"kind": "samlify-old"},
}
"""Service providers on Node, by the name of their column."""


@pytest.fixture(autouse=True)
def _secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAML_PASSWORD", PASSWORD)
    monkeypatch.setenv("RETAIN", "key-to-retain-with")


@pytest.fixture
def idp(server: Server) -> ObligingIdp:
    """Give an identity provider that signs assertion and response."""
    return ObligingIdp(server, Shape(sign=("response", "assertion"), ends=LIVES))


def run(folder: Path, idp: ObligingIdp, **members: object) -> StepResult:
    """Run metadata and the step until every case has had its turn: at first a response is kept that ends soon."""
    step = {
        "step": "saml_reject",
        "username": "ann",
        "password": {"env": "SAML_PASSWORD"},
        "decoy_name": EVE,
        "retain_key": {"env": "RETAIN"},
        "leeway": "0s",
        "max_logins": 99,
        "every": "1ms",
        "allow_intrusive": True,
        "intrusive_hosts": ["127.0.0.1"],
        **members,
    }
    state, memory = State(folder / "state"), Memory()
    for cases, lives in ((["saml_expired"], SOON), (["all"], LIVES)):
        idp.shape = replace(idp.shape, ends=lives)
        metadata = {"step": "saml_metadata", "url": f"{idp.server.url}/metadata", "entity_id": idp.entity_id}
        flow = {"name": "matrix", "deadline": "300s", "http": PATIENT, "steps": [metadata, {**step, "cases": cases}]}
        (folder / "flow.yaml").write_text(yaml.safe_dump({"flows": [flow]}), "utf-8")
        (plan,) = build(load([folder / "flow.yaml"]))
        result = run_flow(plan, Tools(http=LiveHttp(SystemClock()), state=state, memory=memory))
        assert result.steps[0].outcome is Outcome.PASS, result.detail
        time.sleep(SOON if lives == SOON else 0)
    return result.steps[-1]


def service(folder: Path, idp: ObligingIdp, **settings: object) -> Told:
    """Start a service provider on Node; the caller stops it."""
    config = {
        "entity_id": SP,
        "sso_url": f"{idp.server.url}/sso",
        "certificate": pair().pem,
        "metadata": idp.metadata(),
        "want_assertion_signed": True,
        "want_response_signed": False,
        "check_audience": True,
        "check_request": True,
        "check_expiry": True,
        **settings,
    }
    file = script(STACK / "saml_sp", "sp.mjs", folder / "sp")
    return Told("saml_sp", ["node", file], config, log=folder / "sp.log")


@pytest.mark.parametrize("how", HOW)
def test_service_providers_on_node(idp: ObligingIdp, how: str, tmp_path: Path) -> None:
    """Set up right, and with a check left out; what an old release takes is found too."""
    with service(tmp_path, idp, **HOW[how]) as sp:
        url = str(sp.told["url"])
        members = {
            "sp_entity_id": SP,
            "acs_url": f"{url}/acs",
            "start_url": f"{url}/login",
            "url": f"{url}/me",
            "identity": "$.user",
            "other_sp_entity_id": OTHER,
            "other_acs_url": f"{url}/other",
        }
        row = run(tmp_path, idp, **members)
        assert row.reason in {None, Reason.REJECTION_ACCEPTED}, row.detail
        verdicts = cells(row.cases)
        others = {"audience": OTHER, "destination": f"{url}/other"}
        hand = SamlByHand(idp, f"{url}/login", f"{url}/acs", SP, ("ann", PASSWORD), NAME_ID, f"{url}/me", others)
        compare(verdicts, hand.truth)
        assert hand.post(hand.log_in())[1] == NAME_ID
    assert set(verdicts) == set(SAML_CASES)
    hold(SERVICE_PROVIDERS, f"Node: {how}", verdicts)


@pytest.fixture
def broker(keycloaks: Keycloaks, idp: ObligingIdp) -> str:
    """Give the issuer of a Keycloak realm that lets people log in at the identity provider, and takes what it says there."""
    config = {
        "singleSignOnServiceUrl": f"{idp.server.url}/sso",
        "idpEntityId": idp.entity_id,
        "entityId": SP,
        "signingCertificate": pair().base64,
        "validateSignature": "true",
        "wantAssertionsSigned": "true",
        "postBindingResponse": "true",
        "postBindingAuthnRequest": "false",
        "nameIDPolicyFormat": "urn:oasis:names:tc:SAML:2.0:nameid-format:unspecified",
        "allowedClockSkew": "0",
        "syncMode": "IMPORT",
    }
    upstream = {"alias": "upstream", "providerId": "saml", "enabled": True, "trustEmail": True, "config": config}
    app = {"clientId": "app", "publicClient": True, "redirectUris": ["https://app.example.com/cb"]}
    admin = Admin(keycloaks.get())
    issuer = admin.make_realm("broker", identityProviders=[upstream], clients=[app])
    admin.close()
    return issuer


def test_keycloak_as_a_broker(broker: str, idp: ObligingIdp, tmp_path: Path) -> None:
    """It has no page that a session alone opens: the answer to the response tells."""
    acs = f"{broker}/broker/upstream/endpoint"
    asked = {"client_id": "app", "redirect_uri": "https://app.example.com/cb", "response_type": "code"}
    start = (
        f"{broker}/protocol/openid-connect/auth?{urlencode({**asked, 'scope': 'openid', 'kc_idp_hint': 'upstream'})}"
    )
    others = {"audience": OTHER, "destination": f"{acs}/other"}
    members = {"sp_entity_id": SP, "acs_url": acs, "start_url": start}
    more = {"other_sp_entity_id": OTHER, "other_acs_url": others["destination"]}
    row = run(tmp_path, idp, **members, **more)
    assert row.reason in {None, Reason.REJECTION_ACCEPTED}, row.detail
    verdicts = cells(row.cases)
    hand = SamlByHand(idp, start, acs, SP, ("ann", PASSWORD), NAME_ID, None, others)
    compare(verdicts, hand.truth)
    assert hand.post(hand.log_in())[1] == NAME_ID
    assert set(verdicts) == set(SAML_CASES) - {"saml_comment_in_name"}
    hold(SERVICE_PROVIDERS, "Keycloak: identity broker", verdicts)
