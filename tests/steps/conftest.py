"""Fixtures of the step tests."""

from pathlib import Path

import pytest

from otelprobe.fields import SecretRef
from otelprobe.provider import Provider
from tests.conftest import Server
from tests.steps.flows import Bench


@pytest.fixture
def bench(server: Server, tmp_path: Path) -> Bench:
    """Give a bench whose provider names every endpoint, so that no discovery is needed."""
    secret = tmp_path / "client-secret"
    secret.write_text("s3cr3t/+ canary")
    names = ("token", "jwks", "userinfo", "introspection", "revocation")
    return Bench(
        server,
        Provider(
            name="corp",
            issuer=server.url,
            client_id="otel probe",
            client_secret=SecretRef(file=str(secret)),
            endpoints={name: f"{server.url}/{name}" for name in names},
        ),
    )
