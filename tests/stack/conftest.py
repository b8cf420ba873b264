"""The fixtures of the stack tests; see servers.py for how they are made."""

from tests.stack.servers import (  # noqa: F401 - fixtures
    demo,
    events,
    idp,
    jaeger,
    keycloak,
    keycloaks,
    kubernetes,
    make_probe,
    oidc_provider,
    prometheus,
    rotel,
    start_collector,
)
