"""SAML at nanoidp, which nobody here wrote: metadata, log-in by both bindings, signed requests, and what goes wrong there."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from otelprobe.reasons import Blame, Counts, Reason
from otelprobe.result import Fact, FlowResult
from tests.flow_kit import passed, run_text, step, verdict
from tests.saml_kit import pair
from tests.test_nanoidp import PASSWORD, SETTINGS, Nanoidp

ACS = "https://sp.example.com/acs"
LOGIN = f"sp_entity_id: https://sp.example.com, acs_url: {ACS}, username: ann, password: {{env: PASSWORD}}"
PROVIDER, CONFIG = (Blame.PROVIDER, Counts.AUTH), (Blame.CONFIG, Counts.NONE)


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nanoidp]:
    """Give one that wants signed requests and keeps to the letter of the bindings."""
    folder = tmp_path_factory.mktemp("nanoidp-saml")
    (folder / "sp.pem").write_text(pair("sp").pem, encoding="utf-8")
    saml = (
        f"saml: {{want_authn_requests_signed: true, strict_binding: true, sp_certificates: ['{folder / 'sp.pem'}']}}\n"
    )
    running = Nanoidp(folder / "idp", "dev", SETTINGS + saml)
    yield running
    running.stop()


@pytest.fixture(scope="module")
def unsigned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nanoidp]:
    """Give one that signs nothing."""
    folder = tmp_path_factory.mktemp("nanoidp-saml-unsigned")
    running = Nanoidp(folder / "idp", "dev", f"{SETTINGS}saml: {{sign_responses: false}}\n")
    yield running
    running.stop()


@pytest.fixture(autouse=True)
def _secrets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PASSWORD", PASSWORD)
    monkeypatch.setenv("SP_KEY", pair("sp").key_pem)


def run(folder: Path, idp: Nanoidp, *steps: str) -> FlowResult:
    """Run one flow without a provider: SAML needs none."""
    idp.wait()
    lines = "".join(f"      - {{{written}}}\n" for written in steps)
    return run_text(folder, f"flows:\n  - name: sso\n    deadline: 20s\n    steps:\n{lines}")


def metadata(idp: Nanoidp, more: str = "") -> str:
    return f"step: saml_metadata, url: {idp.issuer}/saml/metadata, entity_id: {idp.issuer}/saml{more}"


@pytest.mark.parametrize("binding", ["redirect", "post"])
def test_a_signed_request_is_answered(strict: Nanoidp, tmp_path: Path, binding: str) -> None:
    """Its signature is checked by nanoidp, the answer's by us; attributes are found by name."""
    login = f"step: saml_login, {LOGIN}, binding: {binding}, sp_key: {{env: SP_KEY}}, expect: {{attributes: [email]}}"
    result = run(tmp_path, strict, metadata(strict), login)
    assert passed(result)
    facts = step(result, "saml_login").facts
    assert facts[Fact.SAML_SIGNED] == ("assertion",)
    assert facts[Fact.SAML_ALGORITHM] == "rsa-sha256"
    for secret in (PASSWORD, "ann@example.org", "PRIVATE KEY"):
        assert secret not in repr(result)


def test_a_request_that_is_not_signed(strict: Nanoidp, tmp_path: Path) -> None:
    """It is refused at once: that is the configuration's fault."""
    result = run(tmp_path, strict, metadata(strict), f"step: saml_login, {LOGIN}")
    assert verdict(result) == ("saml_login", Reason.INVALID_REQUEST, *CONFIG)
    assert "wants signed requests" in str(result.detail)


def test_a_response_that_is_not_signed(unsigned: Nanoidp, tmp_path: Path) -> None:
    """Whatever it says, nobody said it."""
    result = run(tmp_path, unsigned, metadata(unsigned), f"step: saml_login, {LOGIN}")
    assert verdict(result) == ("saml_login", Reason.SAML_SIGNATURE_INVALID, *PROVIDER)


def test_a_certificate_that_was_replaced(strict: Nanoidp, tmp_path: Path) -> None:
    """The pinned one no longer signs after the key was rotated; the metadata already have the new one."""
    strict.wait()
    saved = tmp_path / "idp.xml"
    saved.write_text(strict.read("/saml/metadata"), encoding="utf-8")
    strict.rotate()
    login = f"step: saml_login, {LOGIN}, sp_key: {{env: SP_KEY}}"
    result = run(tmp_path, strict, f"step: saml_metadata, file: {saved}", login)
    assert verdict(result) == ("saml_login", Reason.SAML_CERTIFICATE_UNKNOWN, *PROVIDER)
    assert passed(run(tmp_path, strict, metadata(strict), login))


def test_another_entity(strict: Nanoidp, tmp_path: Path) -> None:
    """Metadata of somebody else are refused."""
    result = run(tmp_path, strict, f"step: saml_metadata, url: {strict.issuer}/saml/metadata, entity_id: https://other")
    assert verdict(result) == ("saml_metadata", Reason.SAML_METADATA_INVALID, *PROVIDER)
