"""The saml_login step: a whole log-in by both bindings, and every way in which a response can be wrong."""

from pathlib import Path
from typing import Any

import pytest

from otelprobe.fields import SecretRef
from otelprobe.reasons import Outcome
from otelprobe.result import Fact, FlowResult
from otelprobe.steps.saml_login import SamlLogin
from otelprobe.steps.saml_metadata import SamlMetadata
from tests.saml_kit import ACS, PASSWORD, SP, Idp, Shape
from tests.steps.flows import Bench, last


class Lab:
    """Runs metadata and log-in against the kit's identity provider."""

    def __init__(self, bench: Bench, folder: Path) -> None:
        self.bench, self.folder = bench, folder
        self.idp = Idp(bench.server)
        (folder / "password").write_text(PASSWORD, encoding="utf-8")

    def step(self, **members: Any) -> SamlLogin:
        known = {"sp_entity_id": SP, "acs_url": ACS, "username": "ann", "password": self.secret("password")}
        return SamlLogin(name="sso", **{**known, **members})

    def secret(self, name: str) -> SecretRef:
        return SecretRef(file=str(self.folder / name))

    def run(self, shape: Shape | None = None, **members: Any) -> FlowResult:
        self.idp.shape = shape or self.idp.shape
        metadata = SamlMetadata(name="idp", url=f"{self.bench.server.url}/metadata")
        return self.bench.run(metadata, self.step(**members))


@pytest.fixture
def lab(bench: Bench, tmp_path: Path) -> Lab:
    return Lab(bench, tmp_path)


@pytest.mark.parametrize("binding", ["redirect", "post"])
@pytest.mark.parametrize("sign", [("assertion",), ("response",), ("response", "assertion")])
def test_a_whole_log_in(lab: Lab, binding: str, sign: tuple[str, ...]) -> None:
    """By either binding, whatever is signed; the request says what it has to."""
    result = lab.run(Shape(sign=sign), binding=binding)
    assert result.outcome is Outcome.PASS, result.detail
    row = last(result)
    assert row.facts[Fact.SAML_SIGNED] == tuple(p for p in ("response", "assertion") if p in sign)
    assert row.facts[Fact.SAML_STATUS] == ("Success",)
    assert row.facts[Fact.SAML_ALGORITHM] == "rsa-sha256"
    assert row.facts[Fact.SAML_BINDING] == binding
    assert row.facts[Fact.LOGIN_FORMS] == 1
    assert row.warnings == ()
    assert lab.idp.entered[0].method == {"redirect": "GET", "post": "POST"}[binding]
    request = lab.idp.requests[0]
    assert request.get("AssertionConsumerServiceURL") == ACS
    assert request.get("Destination") == f"{lab.bench.server.url}/sso"
