"""Bad responses to real SAML service providers: what the step says of each is what the service provider does with the test's own."""

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from lxml import etree

from otelprobe.clock import SystemClock
from otelprobe.config.load import load
from otelprobe.http import LiveHttp
from otelprobe.plan import build
from otelprobe.reasons import Outcome, Reason
from otelprobe.rejection.saml_cases import SAML_CASES
from otelprobe.result import StepResult
from otelprobe.run import Tools, run_flow
from otelprobe.state import Memory, State
from tests.matrix import SERVICE_PROVIDERS, cells, compare, hold
from tests.stack.harness import keycloak as kc
from tests.stack.harness.keycloak_admin import Admin
from tests.stack.harness.node import STACK, Told, script
from tests.stack.saml_by_hand import SamlByHand
from tests.stack.servers import Keycloaks
from tests.stack.test_keycloak_people import _user as person

ENTITY, OTHER = "https://sp.example.com", "https://other.example.com"
PERSON = ("ann", kc.PASSWORD)
SIGNS: Mapping[str, Mapping[str, str]] = {
    "assertion": {"saml.assertion.signature": "true", "saml.server.signature": "false"},
    "both": {"saml.assertion.signature": "true", "saml.server.signature": "true"},
}
HOW: Mapping[str, Mapping[str, object]] = {
    "node-saml": {"kind": "node-saml"},
    "node-saml, audience unchecked": {"kind": "node-saml", "check_audience": False},
    "node-saml, InResponseTo unchecked": {"kind": "node-saml", "check_request": False},
    "samlify": {"kind": "samlify"},
    "samlify 2.8": {"kind": "samlify-old"},
}
"""Service providers by the name of their column."""


def _client(entity: str, *acs: str, signs: str = "assertion", **attributes: str) -> dict[str, Any]:
    how = {
        **SIGNS[signs],
        "saml.client.signature": "false",
        "saml.signature.algorithm": "RSA_SHA256",
        "saml.authnstatement": "true",
        "saml_force_name_id_format": "false",
        "saml_name_id_format": "username",
        **attributes,
    }
    return {
        "clientId": entity,
        "protocol": "saml",
        "enabled": True,
        "redirectUris": list(acs),
        "attributes": how,
        "protocolMappers": [MAIL],
    }


MAIL: Mapping[str, object] = {
    "name": "mail",
    "protocol": "saml",
    "protocolMapper": "saml-user-property-mapper",
    "config": {"user.attribute": "email", "attribute.name": "mail", "attribute.nameformat": "Basic"},
}


@pytest.fixture(scope="module")
def admin(keycloaks: Keycloaks) -> Iterator[Admin]:
    """Give the administrator."""
    found = Admin(keycloaks.get())
    yield found
    found.close()


class Upstream:
    """A realm that people log in at, whose clients are the service providers."""

    def __init__(self, admin: Admin) -> None:
        self.admin, self.number = admin, 0
        self.issuer = admin.make_realm("upstream", users=[person("ann"), person("eve")])
        self.sso = f"{self.issuer}/protocol/saml"
        self.metadata = admin.get(f"{self.sso}/descriptor").decode()
        self.certificate = next(etree.fromstring(self.metadata.encode()).iter("{*}X509Certificate")).text

    def register(self, acs: str, **settings: Any) -> tuple[str, str]:
        """Register a service provider, and another with the same address; give both names."""
        self.number += 1
        names = (f"{ENTITY}/{self.number}", f"{OTHER}/{self.number}")
        for name in names:
            self.admin.make_client("upstream", **_client(name, acs, f"{acs}/other", **settings))
        return names


@pytest.fixture(scope="module")
def upstream(admin: Admin) -> Upstream:
    """Give the identity provider."""
    return Upstream(admin)


@pytest.fixture(autouse=True)
def _secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEYCLOAK_PASSWORD", kc.PASSWORD)
    monkeypatch.setenv("RETAIN", "retain-key")


def run(folder: Path, upstream: Upstream, **members: object) -> StepResult:
    """Run metadata and the step until every case has had its turn."""
    step = {
        "step": "saml_reject",
        "username": "ann",
        "password": {"env": "KEYCLOAK_PASSWORD"},
        "decoy_name": "eve",
        "max_logins": 99,
        "every": "1ms",
        "allow_intrusive": True,
        "intrusive_hosts": ["127.0.0.1"],
        **members,
    }
    metadata = {"step": "saml_metadata", "url": f"{upstream.sso}/descriptor", "entity_id": upstream.issuer}
    flow = {"name": "matrix", "deadline": "120s", "steps": [metadata, {k: v for k, v in step.items() if v is not None}]}
    (folder / "flow.yaml").write_text(yaml.safe_dump({"flows": [flow]}), "utf-8")
    (plan,) = build(load([folder / "flow.yaml"]))
    result = run_flow(plan, Tools(http=LiveHttp(SystemClock()), state=State(folder / "state"), memory=Memory()))
    assert result.steps[0].outcome is Outcome.PASS, result.detail
    return result.steps[-1]


def service(folder: Path, upstream: Upstream, entity: str, **settings: object) -> Told:
    """Start a service provider on Node; the caller stops it."""
    config = {
        "entity_id": entity,
        "sso_url": upstream.sso,
        "certificate": upstream.certificate,
        "metadata": upstream.metadata,
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
def test_service_providers_on_node(upstream: Upstream, how: str, tmp_path: Path) -> None:
    """Set up right, and with a check left out; what an old release takes is found too."""
    number = upstream.number + 1
    with service(tmp_path, upstream, f"{ENTITY}/{number}", **HOW[how]) as sp:
        url = str(sp.told["url"])
        entity, other = upstream.register(f"{url}/acs")
        row = run(
            tmp_path,
            upstream,
            sp_entity_id=entity,
            acs_url=f"{url}/acs",
            start_url=f"{url}/login",
            url=f"{url}/me",
            identity="$.user",
            other_sp_entity_id=other,
            other_acs_url=f"{url}/acs/other",
        )
        verdicts = cells(row.cases)
        print(how, row.reason, row.detail, row.warnings, {c.case: (c.accepted, c.status) for c in row.cases})
        assert row.reason in {None, Reason.REJECTION_ACCEPTED}, row.detail
        others = {"audience": other, "destination": f"{url}/acs/other"}
        hand = SamlByHand(f"{url}/login", f"{url}/acs", upstream.sso, entity, PERSON, f"{url}/me", others)
        compare(verdicts, hand.truth)
    assert set(verdicts) == set(SAML_CASES) - {"saml_expired", "saml_wrapped_response", "saml_wrapped_beside"}
    hold(SERVICE_PROVIDERS, f"Node: {how}", verdicts)
