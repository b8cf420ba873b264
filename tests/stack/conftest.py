"""The fixtures of the stack tests, see servers.py for how they are made, and the order of the files."""

import pytest

from tests.stack.servers import (  # noqa: F401 - fixtures
    events,
    idp,
    jaeger,
    keycloak,
    keycloaks,
    kubernetes,
    oidc_provider,
    prometheus,
    rotel,
    start_collector,
)

LONGEST = (
    "test_collector_configs",
    "test_keycloak_people",
    "test_browser",
    "test_export_faults",
    "test_image",
    "test_chain",
    "test_kubernetes",
    "test_shards",
    "test_keycloak_keys",
    "test_keycloak",
    "test_alert_rules",
    "test_keycloak_saml",
)
"""Files that take more than half a minute, the longest first."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the long files: workers take whole files, and the last one should not be waited for alone."""
    rank = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(rank)))
