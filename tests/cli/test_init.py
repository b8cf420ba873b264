"""`otelprobe init`: what it writes loads, is wired and runs; it finds out what can be found out, and asks for little."""

import json
import os
import re
from pathlib import Path

import pytest
import yaml

from otelprobe.__main__ import main
from otelprobe.cli.draft import Found, draft
from otelprobe.config.load import load
from otelprobe.demo import flow_yaml, start_demo
from otelprobe.plan import FlowPlan, build
from otelprobe.presets import NAMES
from tests.conftest import Answer, Server
from tests.flow_kit import passed, run_text
from tests.provider_shapes import SHAPES, TENANT, entra
from tests.steps.flows import as_json


def wired(folder: Path, text: str) -> tuple[FlowPlan, ...]:
    """Load and wire what was written."""
    path = folder / "written.yaml"
    path.write_text(text, encoding="utf-8")
    return build(load([path]))


def kinds(plan: FlowPlan) -> list[str]:
    """Give the steps of a flow."""
    return [step.kind for step in plan.steps]


def written(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run the command; give what it prints."""
    assert main(["init", *arguments]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("preset", [name for name in NAMES if name != "google"])
def test_a_preset_gives_a_file_that_is_wired(
    preset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a question to anybody: what has to be replaced is in capitals, and the rest is accepted as it stands."""
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    text = written(capsys, preset)
    (plan,) = wired(tmp_path, text)
    assert plan.provider is not None
    assert plan.provider.preset == preset
    assert "token" in kinds(plan)


@pytest.mark.parametrize("shape", [name for name in SHAPES if name != "github"])
def test_what_is_written_of_each_shape_is_wired(
    shape: str, server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a provider offers decides; steps that its tokens cannot pass are left out."""
    made = SHAPES[shape](server)
    found = Found(shape, made.issuer, {"issuer": made.issuer, "revocation_endpoint": "x"})  # type: ignore[arg-type]
    (plan,) = wired(tmp_path, draft(found))
    assert ("verify" in kinds(plan)) is (shape not in {"google", "hydra"})
    asked = written(capsys, made.issuer)
    (plan,) = wired(tmp_path, asked)
    assert plan.provider is not None
    assert plan.provider.issuer == made.issuer


def test_the_file_runs_as_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against a real provider: from its issuer to a verified token, with nothing added by hand but the secret."""
    with start_demo() as demo:
        provider = yaml.safe_load(flow_yaml(demo))["providers"]
        (client,) = provider.values()
        file = tmp_path / "flows.yaml"
        arguments = ["init", client["issuer"], "--client-id", client["client_id"], "--output-file", str(file)]
        assert main(arguments) == 0
        monkeypatch.setenv("CLIENT_SECRET", demo.environment[client["client_secret"]["env"]])
        result = run_text(tmp_path, file.read_text(encoding="utf-8"))
    assert passed(result)
    assert [row.step for row in result.steps] == ["discover", "keys", "token", "verify"]


def test_secrets_are_read_where_kubernetes_mounts_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With a folder for secrets every one is a file there, the client's `client-secret`, and the flow runs with it."""
    folder = tmp_path / "secrets"
    folder.mkdir()
    with start_demo() as demo:
        (folder / "client-secret").write_text(demo.client_secret)
        arguments = (demo.issuer, "--client-id", demo.client_id, "--secrets-dir", f"{folder}/")
        text = written(capsys, *arguments)
        assert passed(run_text(tmp_path, text))
    assert f"put the client's secret into {folder}, then" in text
    assert "env:" not in text


@pytest.mark.parametrize(
    ("document", "names"),
    [
        ({"token_endpoint_auth_methods_supported": ["private_key_jwt"]}, {"client-key.pem"}),
        ({"grant_types_supported": ["authorization_code"]}, {"client-secret", "refresh-token"}),
        ({}, {"client-secret"}),
    ],
)
def test_every_secret_is_a_file_of_its_own(document: dict[str, object], names: set[str]) -> None:
    """Whatever the way to authenticate, what has to be in the mounted Secret has one name each."""
    text = draft(Found("generic", "https://idp.example.com", document, secrets_dir="/s"))
    assert set(re.findall(r'file: "/s/([^"]+)"', text)) == names


@pytest.mark.parametrize("given", ["", "/", "/.well-known/openid-configuration"])
@pytest.mark.parametrize("named", ["", "/"])
def test_a_slash_at_the_end_is_found_out(
    server: Server, capsys: pytest.CaptureFixture[str], given: str, named: str
) -> None:
    """The issuer is written as the provider writes it, to the letter, whatever was typed."""
    document = {"issuer": f"{server.url}{named}", "token_endpoint": f"{server.url}/t", "jwks_uri": f"{server.url}/k"}
    server.on("/.well-known/openid-configuration", as_json(document))
    assert f'issuer: "{server.url}{named}"\n' in written(capsys, f"{server.url}{given}")


def test_entra_by_name_is_written_by_id(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    """Only a preset may name another issuer, and Entra's is told by its host, which no test has."""
    entra(server, "contoso", named=TENANT)
    assert main(["init", f"{server.url}/contoso/v2.0"]) == 1
    assert "discovery_issuer_mismatch" in capsys.readouterr().err


def offering(server: Server, **members: object) -> str:
    """Serve a discovery document; give the issuer."""
    base = {"issuer": server.url, "token_endpoint": f"{server.url}/t", "jwks_uri": f"{server.url}/k"}
    server.on("/.well-known/openid-configuration", as_json({**base, **members}))
    return server.url


@pytest.mark.parametrize(
    ("offered", "line"),
    [
        (["client_secret_post", "client_secret_basic"], "client_secret: {env: CLIENT_SECRET}"),
        (["client_secret_post"], "client_auth: client_secret_post"),
        (["private_key_jwt"], "client_auth: private_key_jwt"),
        (["none"], "client_auth: none"),
    ],
)
def test_the_way_to_authenticate_is_one_that_is_offered(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str], offered: list[str], line: str
) -> None:
    """The usual one where it is offered, else the next best; all of them stand in a comment."""
    text = written(capsys, offering(server, token_endpoint_auth_methods_supported=offered))
    assert line in text
    assert f"# Offered ways to authenticate: {', '.join(offered)}." in text
    assert wired(tmp_path, text)


def test_the_least_is_asked_for(server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No scope, whatever is offered; a refresh token where machines have no grant of their own."""
    issuer = offering(server, scopes_supported=["openid", "admin"], grant_types_supported=["client_credentials"])
    text = written(capsys, issuer)
    assert "offered: openid, admin" in text
    (plan,) = wired(tmp_path, text)
    assert plan.steps[2].scope is None  # type: ignore[attr-defined] # the token step
    assert "scope" not in yaml.safe_load(text)["flows"][0]["steps"][2]
    text = written(capsys, offering(server, grant_types_supported=["authorization_code", "refresh_token"]))
    assert "grant: refresh_token" in text
    assert wired(tmp_path, text)


def test_words_of_the_document_cannot_write_yaml(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A line break or a bracket in what is offered stays out of the file."""
    evil = "x\nflows: [evil]\n#"
    members = {"scopes_supported": [evil, "good"], "grant_types_supported": [evil, "client_credentials"]}
    text = written(capsys, offering(server, **members))
    assert "evil" not in text
    assert len(wired(tmp_path, text)) == 1
    found = Found("generic", 'https://a.example/"\n', {"issuer": "x"}, 'a"b\n')
    assert yaml.safe_load(draft(found))["providers"]["a"]["client_id"] == 'a"b\n'


def test_an_https_issuer_gets_a_look_at_its_certificate(tmp_path: Path) -> None:
    """Slowly, in a flow of its own."""
    document = json.loads('{"issuer": "https://login.example.com"}')
    token, ends = wired(tmp_path, draft(Found("generic", "https://login.example.com", document)))
    assert kinds(ends) == ["certificate"]
    assert (token.name, ends.name, ends.every) == ("example-token", "example-ends", 6 * 3600)


@pytest.mark.parametrize(
    ("answer", "code", "words"),
    [(Answer(404), 1, "discovery_unavailable"), (Answer(200, b"{}"), 1, "discovery_invalid")],
)
def test_a_provider_that_does_not_tell(
    server: Server, capsys: pytest.CaptureFixture[str], answer: Answer, code: int, words: str
) -> None:
    """The reason and what to check first, and no file."""
    for path in ("/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"):
        server.on(path, answer)
    assert main(["init", server.url]) == code
    told = capsys.readouterr()
    assert told.out == ""
    assert words in told.err


@pytest.mark.parametrize("source", ["corp", "ftp://x", "https://", "http://login.example.com"])
def test_wrong_arguments(source: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What is neither a preset nor an issuer that may be asked ends with 2."""
    assert main(["init", source]) == 2
    assert capsys.readouterr().out == ""


def test_no_file_is_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What somebody has written stays."""
    file = tmp_path / "flows.yaml"
    file.write_text("mine")
    assert main(["init", "keycloak", "--output-file", str(file)]) == 2
    assert file.read_text() == "mine"
    assert os.strerror(17) in capsys.readouterr().err
