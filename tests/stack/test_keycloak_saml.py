"""Keycloak as a SAML identity provider: what it signs and encrypts, weak algorithms, rotated keys, and clients it refuses."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from otelprobe.clock import SystemClock
from otelprobe.config.load import load
from otelprobe.http import LiveHttp
from otelprobe.plan import build
from otelprobe.reasons import Blame, Counts, Reason
from otelprobe.result import Fact, FlowResult
from otelprobe.run import Tools, run_flow
from tests.flow_kit import passed, step, verdict
from tests.saml_kit import pair
from tests.stack.harness import keycloak as kc
from tests.stack.harness.keycloak_admin import Admin
from tests.stack.servers import Keycloaks, keycloaks  # noqa: F401 - the fixture
from tests.stack.test_keycloak_people import _user as person

ACS = "https://sp.example.com/acs"
CONFIG, PROVIDER = (Blame.CONFIG, Counts.NONE), (Blame.PROVIDER, Counts.AUTH)


def _client(name: str, **attributes: str) -> dict[str, Any]:
    """Give a SAML client that takes requests as they come and signs assertions, unless told otherwise."""
    how = {
        "saml.assertion.signature": "true",
        "saml.server.signature": "false",
        "saml.client.signature": "false",
        "saml.signature.algorithm": "RSA_SHA256",
        "saml.authnstatement": "true",
        "saml_force_name_id_format": "false",
        "saml_name_id_format": "username",
        "saml_assertion_consumer_url_post": ACS,
    }
    return {
        "clientId": f"https://{name}.example.com",
        "protocol": "saml",
        "enabled": True,
        "frontchannelLogout": True,
        "redirectUris": [ACS],
        "attributes": {**how, **{key.replace("__", "."): value for key, value in attributes.items()}},
    }


@pytest.fixture(scope="module")
def admin(keycloaks: Keycloaks) -> Iterator[Admin]:
    """Give the administrator."""
    found = Admin(keycloaks.get())
    yield found
    found.close()


@pytest.fixture(scope="module")
def issuer(admin: Admin) -> str:
    """Give the issuer of a realm with SAML clients."""
    sp = pair("sp").base64
    return admin.make_realm(
        "saml",
        clients=[
            _client("plain"),
            _client("whole", saml__assertion__signature="false", saml__server__signature="true"),
            _client("both", saml__server__signature="true"),
            _client("nothing", saml__assertion__signature="false"),
            _client("sha1", saml__signature__algorithm="RSA_SHA1"),
            _client("sealed", saml__encrypt="true", saml__encryption__certificate=sp),
            _client("strict", saml__client__signature="true", saml__signing__certificate=sp),
        ],
        users=[person("ann")],
    )


@pytest.fixture(autouse=True)
def _secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEYCLOAK_PASSWORD", kc.PASSWORD)
    monkeypatch.setenv("SP_KEY", pair("sp").key_pem)


def login(name: str, **members: object) -> dict[str, Any]:
    """Write a log-in of a person for one of the clients."""
    known = {"username": "ann", "password": {"env": "KEYCLOAK_PASSWORD"}, "acs_url": ACS}
    return {"step": "saml_login", "sp_entity_id": f"https://{name}.example.com", **known, **members}


def run(folder: Path, issuer: str, *steps: Mapping[str, Any], **members: object) -> FlowResult:
    """Run one flow of the realm's metadata and these steps."""
    metadata = {"step": "saml_metadata", "url": f"{issuer}/protocol/saml/descriptor", "entity_id": issuer, **members}
    patient = {"timeout": "60s"}  # a young Keycloak on a busy machine is none of what is tested
    flow = {"name": "sso", "deadline": "3m", "http": patient, "steps": [metadata, *steps]}
    (folder / "flow.yaml").write_text(yaml.safe_dump({"flows": [flow]}), "utf-8")
    (plan,) = build(load([folder / "flow.yaml"]))
    return run_flow(plan, Tools(http=LiveHttp(SystemClock())))


@pytest.mark.parametrize("binding", ["redirect", "post"])
@pytest.mark.parametrize(
    ("name", "signed"),
    [("plain", ("assertion",)), ("whole", ("response",)), ("both", ("response", "assertion"))],
)
def test_a_whole_log_in(issuer: str, tmp_path: Path, name: str, signed: tuple[str, ...], binding: str) -> None:
    """By both bindings, whatever Keycloak signs."""
    result = run(tmp_path, issuer, login(name, binding=binding), logout=True)
    assert passed(result)
    facts = step(result, "saml_login").facts
    assert facts[Fact.SAML_SIGNED] == signed
    assert facts[Fact.LOGIN_FORMS] == 1
    assert step(result, "saml_login").warnings == ()
    assert {e.subject for e in step(result, "saml_metadata").expiries} >= {"saml_signing"}
    assert kc.PASSWORD not in repr(result)


def test_an_encrypted_assertion(issuer: str, tmp_path: Path) -> None:
    """It opens with the service provider's key, and is told for what it is without."""
    result = run(tmp_path, issuer, login("sealed", sp_key={"env": "SP_KEY"}, sign=False))
    assert passed(result)
    assert step(result, "saml_login").facts[Fact.SAML_ENCRYPTED] is True
    assert verdict(run(tmp_path, issuer, login("sealed"))) == ("saml_login", Reason.TOKEN_ENCRYPTED, *CONFIG)


@pytest.mark.parametrize("binding", ["redirect", "post"])
def test_signed_requests(issuer: str, tmp_path: Path, binding: str) -> None:
    """Keycloak verifies them; without a signature, or with another key's, it refuses."""
    assert passed(run(tmp_path, issuer, login("strict", binding=binding, sp_key={"env": "SP_KEY"})))
    result = run(tmp_path, issuer, login("strict", binding=binding))
    assert verdict(result) == ("saml_login", Reason.INVALID_REQUEST, *CONFIG)


def test_sha1_is_told(issuer: str, tmp_path: Path) -> None:
    """It works, with a warning."""
    result = run(tmp_path, issuer, login("sha1"))
    assert passed(result)
    assert [w.reason for w in step(result, "saml_login").warnings] == [Reason.ALG_WEAK]


def test_nothing_is_signed(issuer: str, tmp_path: Path) -> None:
    """A client that asks for no signature gets what anybody could have written."""
    result = run(tmp_path, issuer, login("nothing"))
    assert verdict(result) == ("saml_login", Reason.SAML_SIGNATURE_INVALID, *PROVIDER)


def test_a_passive_request(issuer: str, tmp_path: Path) -> None:
    """Without a session it comes back with NoPassive, which proves the way without a password."""
    result = run(tmp_path, issuer, login("plain", passive=True, password=None, expect={"saml_status": "NoPassive"}))
    assert passed(result)


def test_who_and_where_is_not_known(issuer: str, tmp_path: Path) -> None:
    """A client that is not registered, and a consumer service that is not."""
    for bad in (login("stranger"), login("plain", acs_url="https://other.example.com/acs")):
        assert verdict(run(tmp_path, issuer, bad)) == ("saml_login", Reason.INVALID_REQUEST, *CONFIG)


def test_a_wrong_password(issuer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The form comes back."""
    monkeypatch.setenv("KEYCLOAK_PASSWORD", "canary-wrong")
    result = run(tmp_path, issuer, login("plain"))
    assert verdict(result) == ("saml_login", Reason.LOGIN_REJECTED, *CONFIG)
    assert "canary" not in repr(result)


def test_a_key_is_rotated(admin: Admin, tmp_path: Path) -> None:
    """A service provider that has pinned the old certificate is cut off; the metadata show both while they overlap."""
    issuer = admin.make_realm("saml-rotated", clients=[_client("plain")], users=[person("ann")])
    saved = tmp_path / "descriptor.xml"
    saved.write_bytes(admin.get(f"{issuer}/protocol/saml/descriptor"))
    admin.add_signing_key("saml-rotated")
    stale = run(tmp_path, issuer, login("plain"), url=None, file=str(saved))
    assert verdict(stale) == ("saml_login", Reason.SAML_CERTIFICATE_UNKNOWN, *PROVIDER)
    fresh = run(tmp_path, issuer, login("plain"))
    assert passed(fresh)
    assert step(fresh, "saml_metadata").facts[Fact.SAML_SIGNING_CERTIFICATES] == 2
