"""The fixtures of the stack tests; see servers.py for how they are made."""

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
