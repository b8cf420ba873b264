"""The servers of the stack tests: oidc-provider on Node, installed once into a cache, and a rotel to receive OTLP."""

import importlib.util
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.stack.harness import node
from tests.stack.servers import (  # noqa: F401 - the fixtures of the other servers
    demo,
    events,
    jaeger,
    keycloak,
    keycloaks,
    kubernetes,
    make_probe,
    prometheus,
    start_collector,
    told_in_one_line,
)

HERE = Path(__file__).parent / "oidc_provider"
SECRET = "stack client+secret/canary%"
PASSWORD = "stack-password-canary"
CLIENT, USER = "otelprobe", "ann"


def _installed() -> Path:
    """Give the folder with oidc-provider for the present lock file."""
    with told_in_one_line():
        return node.installed(HERE)


def _end(process: "subprocess.Popen[Any]") -> None:
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class OidcProvider:
    """A running oidc-provider, and the switch of what is wrong with it."""

    def __init__(self, folder: Path, log: Path) -> None:
        config = {"client": {"id": CLIENT, "secret": SECRET}, "users": {USER: PASSWORD}}
        shutil.copy(HERE / "server.mjs", folder)
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                ["node", "server.mjs"],
                cwd=folder,
                env={**os.environ, "STACK_CONFIG": json.dumps(config)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
            )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self.stop()
            last = (log.read_text(encoding="utf-8").strip() or "no output").splitlines()[-1]
            pytest.exit(f"tests/stack/oidc_provider/server.mjs did not start: {last}", returncode=1)
        told = json.loads(line)
        self.issuer, self.control = str(told["issuer"]), str(told["control"])
        self._http = requests.Session()
        self._http.trust_env = False

    def change(self, **what: object) -> tuple[str, ...]:
        """Change settings, keys or faults, see server.mjs; give the kids that are published then."""
        response = self._http.post(self.control, json=what, timeout=5)
        response.raise_for_status()
        return tuple(response.json()["kids"])

    def stop(self) -> None:
        """End the process."""
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
        _end(self._process)
        if hasattr(self, "_http"):
            self._http.close()


@pytest.fixture(scope="session")
def _running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OidcProvider]:
    provider = OidcProvider(_installed(), tmp_path_factory.mktemp("oidc-provider") / "stderr")
    yield provider
    provider.stop()


@pytest.fixture
def idp(_running: OidcProvider, monkeypatch: pytest.MonkeyPatch) -> OidcProvider:
    """Give the provider, healthy, and the secrets of its client and user in the environment."""
    monkeypatch.setenv("CLIENT_SECRET", SECRET)
    monkeypatch.setenv("PASSWORD", PASSWORD)
    _running.change(healthy=True)
    return _running


class Rotel:
    """A rotel agent that prints every span, data point and log record that it receives."""

    def __init__(self, agent: Path, log: Path) -> None:
        self.grpc, self.http = _free_ports(2)
        self._log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [
                    *(str(agent), "start", "--exporter", "blackhole"),
                    *("--otlp-grpc-endpoint", f"127.0.0.1:{self.grpc}"),
                    *("--otlp-http-endpoint", f"127.0.0.1:{self.http}"),
                    *(word for signal in ("traces", "metrics", "logs") for word in ("--debug-log", signal)),
                    *("--debug-log-verbosity", "detailed"),
                ],
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        for port in (self.grpc, self.http):
            self._wait(port)

    def _wait(self, port: int) -> None:
        """Wait until it listens; it has no other way to say so."""
        ends = time.monotonic() + 10
        while time.monotonic() < ends and self._process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
            except OSError:
                time.sleep(0.02)
            else:
                return
        _end(self._process)
        pytest.fail(f"rotel did not start:\n{self._log.read_text(encoding='utf-8')[-2000:]}", pytrace=False)

    def received(self) -> str:
        """Stop it, which flushes, and give everything that it printed."""
        self.stop()
        return self._log.read_text(encoding="utf-8")

    def stop(self) -> None:
        """End the process."""
        _end(self._process)


def _free_ports(count: int) -> list[int]:
    """Give ports that were free just now: rotel does not choose its own."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [s.getsockname()[1] for s in sockets]
    finally:
        for s in sockets:
            s.close()


@pytest.fixture
def rotel(tmp_path: Path) -> Iterator[Rotel]:
    """Give an OTLP receiver for one test."""
    found = importlib.util.find_spec("rotel")
    if found is None or found.origin is None:
        pytest.fail("rotel is not installed: it has wheels for Python 3.11 to 3.13", pytrace=False)
    running = Rotel(Path(found.origin).parent / "rotel-agent", tmp_path / "rotel.log")
    yield running
    running.stop()
