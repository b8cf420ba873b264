"""The posture of oidc-provider, from outside: what it advertises and answers, found without harm to it."""

from pathlib import Path

import pytest

from tests.flow_kit import flow_file, passed, run_text, step
from tests.stack.harness.oidc_provider import RESOURCE, SECRET, OidcProvider
from tests.stack.servers import oidc_provider  # noqa: F401 - a fixture

CLIENT = f"step: token, scope: orders:read, resource: [{RESOURCE}]"


@pytest.fixture
def idp(oidc_provider: OidcProvider, monkeypatch: pytest.MonkeyPatch) -> OidcProvider:
    """Give the provider as it starts, and the client's secret."""
    monkeypatch.setenv("CLIENT_SECRET", SECRET)
    return oidc_provider


def test_posture_is_told_and_breaks_nothing(idp: OidcProvider, tmp_path: Path) -> None:
    """Two looks find the same: the grants that this one allows, no none and no plain; and it goes on issuing tokens."""
    text = flow_file(idp.issuer, f"- discover\n- keys\n- posture\n- {{{CLIENT}}}")
    first, again = (run_text(tmp_path, text) for _ in range(2))
    found = [{finding.rule for finding in step(result, "posture").findings} for result in (first, again)]
    assert passed(first)
    assert passed(again)
    assert found[0] == found[1]
    assert not found[0] & {
        "alg-none-advertised",
        "pkce-plain",
        "pkce-missing",
        "grant-not-refused",
        "alg-symmetric-advertised",
    }
    assert found[0] >= {"grant-password", "grant-implicit", "jwks-cache", "key-without-alg"}
