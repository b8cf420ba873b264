"""The fixtures that start real servers, for the tests of this folder to import.

A server that cannot be had or started fails the test with one line: it never skips it.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.stack.harness.collector import Collector
from tests.stack.harness.faults import StackError
from tests.stack.harness.jaeger import Jaeger
from tests.stack.harness.keycloak import Keycloak
from tests.stack.harness.kubernetes import KubernetesApi
from tests.stack.harness.oidc_provider import PASSWORD, SECRET, OidcProvider
from tests.stack.harness.prometheus import Prometheus
from tests.stack.harness.rotel import Rotel
from tests.telemetry.receiver import Inbox, http_receiver

StartCollector = Callable[..., Collector]


@contextmanager
def told_in_one_line() -> Iterator[None]:
    """Turn what cannot be had into a failure without a stack trace."""
    try:
        yield
    except StackError as error:
        pytest.fail(str(error), pytrace=False)


@pytest.fixture(scope="session")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """Give a Prometheus run with the shipped file; the series of each probe are known by its location."""
    with told_in_one_line():
        running = Prometheus(tmp_path_factory.mktemp("prometheus"))
    yield running
    running.stop()


@pytest.fixture(scope="session")
def jaeger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jaeger]:
    """Give a Jaeger; a trace is found by its id, so that one serves every test."""
    with told_in_one_line():
        running = Jaeger(tmp_path_factory.mktemp("jaeger"))
    yield running
    running.stop()


class Keycloaks:
    """The session's one Keycloak, started when it is first asked for, and replaced when a test has let it die."""

    def __init__(self, new_folder: Callable[[], Path]) -> None:
        self._new_folder = new_folder
        self._running: Keycloak | None = None

    def get(self) -> Keycloak:
        """Give one that runs."""
        if self._running is None or not self._running.running:
            with told_in_one_line():
                self._running = Keycloak(self._new_folder())
        return self._running

    def stop(self) -> None:
        """End it."""
        if self._running is not None:
            self._running.stop()


@pytest.fixture(scope="session")
def keycloaks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keycloaks]:
    """Give the holder of the session's Keycloak."""
    held = Keycloaks(lambda: tmp_path_factory.mktemp("keycloak"))
    yield held
    held.stop()


@pytest.fixture
def keycloak(keycloaks: Keycloaks) -> Keycloak:
    """Give a Keycloak with two realms like tests/stack/keycloak/realm.json."""
    return keycloaks.get()


@pytest.fixture(scope="session")
def oidc_provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OidcProvider]:
    """Give the session's one oidc-provider, in whatever state the last test has left it."""
    with told_in_one_line():
        running = OidcProvider(tmp_path_factory.mktemp("oidc-provider"))
    yield running
    running.stop()


@pytest.fixture
def idp(oidc_provider: OidcProvider, monkeypatch: pytest.MonkeyPatch) -> OidcProvider:
    """Give the oidc-provider, healthy, and the secrets of its client and user in the environment."""
    monkeypatch.setenv("CLIENT_SECRET", SECRET)
    monkeypatch.setenv("PASSWORD", PASSWORD)
    oidc_provider.change(healthy=True)
    return oidc_provider


@pytest.fixture
def rotel(tmp_path: Path) -> Iterator[Rotel]:
    """Give an OTLP receiver in Rust."""
    with told_in_one_line():
        running = Rotel(tmp_path)
    yield running
    running.stop()


@pytest.fixture
def kubernetes(tmp_path: Path) -> Iterator[KubernetesApi]:
    """Give a Kubernetes API that knows one pod of one CronJob."""
    running = KubernetesApi(tmp_path)
    yield running
    running.stop()


@pytest.fixture
def events() -> Iterator[Inbox]:
    """Give an OTLP/HTTP receiver of our own in the place of Loki."""
    with http_receiver() as inbox:
        yield inbox


@pytest.fixture
def start_collector(tmp_path: Path) -> Iterator[StartCollector]:
    """Give what starts collectors with shipped files; all are ended with the test."""
    with ExitStack() as running:

        def start(*files: str, **options: Any) -> Collector:
            with told_in_one_line():
                return running.enter_context(Collector(tmp_path, *files, **options))

        yield start
