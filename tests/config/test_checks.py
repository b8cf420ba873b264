"""What `validate` looks for on this machine."""

from pathlib import Path

import pytest

from otelprobe.config.checks import check_files, check_secrets
from otelprobe.config.load import load

FLOWS = """\
providers:
  corp:
    issuer: https://login.example.com
    client_id: otelprobe
    client_secret: {{env: T_CLIENT_SECRET}}
    http: {{ca_file: {folder}/ca.pem}}
flows:
  - name: orders
    provider: corp
    http: {{client_cert: {folder}}}
    steps:
      - discover
      - step: token
        grant: password
        username: probe
        password: {{file: {folder}/password}}
      - step: login
        url: https://api.example.com
        http: {{client_key: {folder}/key.pem}}
        json: {{a: [{{env: T_LOGIN}}]}}
telemetry:
  headers: {{authorization: {{env: T_OTLP}}, x-team: payments}}
  certificate: {folder}/otlp.pem
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("T_CLIENT_SECRET", "T_LOGIN", "T_OTLP"):
        monkeypatch.delenv(name, raising=False)
    path = tmp_path / "flows.yaml"
    path.write_text(FLOWS.format(folder=tmp_path))
    return path


def test_every_missing_secret_is_named_where_it_is_referred_to(file: Path) -> None:
    """Provider, steps at any depth, and telemetry headers: each missing source is told with its line."""
    mend = "provide it where otelprobe runs"
    assert [str(fault) for fault in check_secrets(load([file]))] == [
        f"{file}:5: providers.corp.client_secret: environment variable T_CLIENT_SECRET is not set or empty: {mend}",
        f"{file}:13: flows[0].steps[1]: secret file {file.parent}/password: No such file or directory: {mend}",
        f"{file}:17: flows[0].steps[2]: environment variable T_LOGIN is not set or empty: {mend}",
        f"{file}:22: telemetry.headers.authorization: environment variable T_OTLP is not set or empty: {mend}",
    ]


def test_secrets_that_are_there_are_no_faults(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With every source in place nothing is told."""
    for name in ("T_CLIENT_SECRET", "T_LOGIN", "T_OTLP"):
        monkeypatch.setenv(name, "hunter2")
    (file.parent / "password").write_text("hunter2\n")
    assert check_secrets(load([file])) == []


def test_every_missing_file_is_named(file: Path) -> None:
    """Certificates and keys of providers, flows, steps and telemetry are looked for."""
    folder, mend = file.parent, "mount the file or mend the path"
    assert [str(fault) for fault in check_files(load([file]))] == [
        f"{file}:6: providers.corp.http.ca_file: no such file {folder}/ca.pem: {mend}",
        f"{file}:10: flows[0].http.client_cert: {folder} is a directory: {mend}",
        f"{file}:19: flows[0].steps[2].http.client_key: no such file {folder}/key.pem: {mend}",
        f"{file}:23: telemetry.certificate: no such file {folder}/otlp.pem: {mend}",
    ]
    (folder / "ca.pem").touch()
    assert len(check_files(load([file]))) == 3
