"""`otelprobe init` on SAML metadata: the proposal names whose they are and what they hold, loads, and runs as it is written."""

import json
import re
from pathlib import Path

import pytest

from otelprobe.__main__ import main
from otelprobe.cli.draft_saml import is_metadata_url
from otelprobe.config.load import load
from otelprobe.endings import DAY
from otelprobe.plan import FlowPlan, build
from otelprobe.steps.saml_metadata import SamlMetadata
from tests.conftest import Answer, Server
from tests.flow_kit import passed, run_text
from tests.saml_kit import entity, group, key_descriptor, moment, pair
from tests.steps.flows import as_json

IDP, SP = "https://login.corp.example/idp", "https://wiki.corp.example/saml"
_XML = [("Content-Type", "application/samlmetadata+xml")]


def written(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run the command; give what it prints."""
    assert main(["init", *arguments]) == 0
    return capsys.readouterr().out


def wired(folder: Path, text: str) -> tuple[FlowPlan, ...]:
    """Load and wire what was written."""
    (folder / "written.yaml").write_text(text, encoding="utf-8")
    return build(load([folder / "written.yaml"]))


def serve(server: Server, document: str, path: str = "/saml/metadata") -> str:
    """Serve a document; give its URL."""
    server.on(path, Answer(200, document.encode(), _XML))
    return f"{server.url}{path}"


def test_what_an_identity_provider_offers(server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Entity, endpoints, certificates and validity are found out; the flow of it passes with nothing added by hand."""
    keys = key_descriptor(pair()), key_descriptor(pair("sp"), "encryption")
    url = serve(server, entity(IDP, *keys, base=server.url, more=f'validUntil="{moment(5 * DAY)}"'))
    text = written(capsys, url)
    plan, *_ = wired(tmp_path, text)
    (step,) = plan.steps
    assert isinstance(step, SamlMetadata)
    assert (step.url, step.entity_id, step.role) == (url, IDP, "idp")
    assert f'# Single sign-on by redirect: "{server.url}/sso"' in text
    assert f'# Single sign-on by post: "{server.url}/sso"' in text
    assert re.search(r'# Certificate for signing: ".+", ends \d{4}-\d\d-\d\d', text)
    assert re.search(r'# Certificate for encryption: ".+", ends \d{4}-\d\d-\d\d', text)
    assert "# The document is valid until " in text
    assert passed(run_text(tmp_path, text))


def test_the_log_in_that_is_proposed_is_wired(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It stands in comments, as a service provider has to be registered first; without their marks it is accepted."""
    text = written(capsys, serve(server, entity(IDP, key_descriptor(pair()), base=server.url)))
    lines = [re.sub(r"^  # (?=- name|  )", "  ", line) for line in text.splitlines()]
    plans = wired(tmp_path, "\n".join(lines) + "\n")
    assert [step.kind for step in plans[-1].steps] == ["saml_metadata", "saml_login"]


def test_certificates_of_its_hosts_are_watched(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One flow looks at the TLS certificate of every host that log-ins go to."""
    text = written(capsys, serve(server, entity(IDP, key_descriptor(pair()), base="https://sso.corp.example:8443")))
    _, ends = wired(tmp_path, text)
    assert [(s.kind, s.host, s.owner) for s in ends.steps] == [("certificate", "sso.corp.example:8443", "provider")]  # type: ignore[attr-defined]


def test_a_service_provider_in_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its role is found out, and where it consumes assertions."""
    path = tmp_path / "sp.xml"
    path.write_text(entity(SP, key_descriptor(pair("sp"), None), role="sp", base="https://wiki.corp.example"), "utf-8")
    plan, *_ = wired(tmp_path, written(capsys, str(path)))
    (step,) = plan.steps
    assert isinstance(step, SamlMetadata)
    assert (step.role, step.file, step.acs_url) == ("sp", str(path), "https://wiki.corp.example/acs")


def test_one_of_a_federation(server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of many entities one has to be named, and the message says how."""
    two = group(entity(IDP, key_descriptor(pair())), entity(f"{IDP}2", key_descriptor(pair())))
    url = serve(server, two)
    assert main(["init", url]) == 1
    assert "2 of 2 entities are identity providers: --entity-id is there to pick one" in capsys.readouterr().err
    plan, *_ = wired(tmp_path, written(capsys, url, "--entity-id", f"{IDP}2"))
    assert plan.steps[0].entity_id == f"{IDP}2"  # type: ignore[attr-defined]


def test_metadata_at_any_address(server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where no discovery document is, and the URL itself gives metadata, that is what is meant."""
    url = serve(server, entity(IDP, key_descriptor(pair()), base=server.url), "/who")
    assert wired(tmp_path, written(capsys, url))[0].steps[0].kind == "saml_metadata"
    server.on("/nothing", Answer(200, b"<p>hello", [("Content-Type", "text/html")]))
    assert main(["init", f"{server.url}/nothing"]) == 1
    assert "discovery_unavailable" in capsys.readouterr().err


def test_an_issuer_stays_an_issuer(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    """A discovery document wins where there is one."""
    base = {"issuer": server.url, "token_endpoint": f"{server.url}/t", "jwks_uri": f"{server.url}/k"}
    server.on("/.well-known/openid-configuration", as_json(base))
    assert "providers:" in written(capsys, server.url)


@pytest.mark.parametrize(
    ("url", "is_one"),
    [
        ("https://login.example.com/realms/shop/protocol/saml/descriptor", True),
        ("https://adfs.example.com/FederationMetadata/2007-06/FederationMetadata.xml", True),
        ("https://idp.example.com/idp/shibboleth", False),
        ("https://login.example.com/.well-known/oauth-authorization-server/metadata", False),
        ("https://login.example.com/realms/shop", False),
        ("metadata", False),
    ],
)
def test_urls_that_say_what_they_are(url: str, is_one: bool) -> None:
    """Then nothing else is asked for first."""
    assert is_metadata_url(url) is is_one


def test_words_of_the_document_cannot_write_yaml(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever the entity is called, it stays one quoted text."""
    name = "https://x/&#10;flows: []&#10;# &quot;: {a: [b"
    text = written(capsys, serve(server, entity(name, key_descriptor(pair()), base="https://h/&#10;x: y")))
    plan, *_ = wired(tmp_path, text)
    step = plan.steps[0]
    assert isinstance(step, SamlMetadata)
    assert step.entity_id is not None
    assert json.dumps(step.entity_id) in text
    assert all(line.startswith(("#", " ", "flows:")) for line in text.splitlines())


@pytest.mark.parametrize("document", ["<!DOCTYPE a><a/>", "no xml", "<md/>"])
def test_what_is_no_metadata(server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str], document: str) -> None:
    """It is said in two lines, and nothing is written."""
    assert main(["init", serve(server, document), "--output-file", str(tmp_path / "out.yaml")]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 2
    assert not (tmp_path / "out.yaml").exists()
