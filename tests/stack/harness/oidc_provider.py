"""The certified oidc-provider on Node, run by the scripts of tests/stack/oidc_provider."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.stack.harness.node import STACK, Told, script
from tests.stack.harness.process import session

SECRET = "stack client+secret/canary%"
PASSWORD = "stack-password-canary"
CLIENT, USER = "otelprobe", "ann"
RESOURCE = "https://api.example/RS256"
"""What a token is asked for by: the provider signs it as the name says, for the audience `orders`."""


class Provider(Told):
    """One of the scripts with its configuration."""

    def __init__(self, folder: Path, name: str, config: Mapping[str, Any]) -> None:
        home = folder / Path(name).stem
        path = script(STACK / "oidc_provider", name, home)
        super().__init__(name, ["node", path], config, log=home / "log")
        self.issuer = str(self.told["issuer"])


class OidcProvider(Provider):
    """A running provider for one client and one user, and the switch of what is wrong with it."""

    def __init__(self, folder: Path) -> None:
        config = {"client": {"id": CLIENT, "secret": SECRET}, "users": {USER: PASSWORD}}
        super().__init__(folder, "server.mjs", config)
        self._http = session()

    def change(self, **what: object) -> tuple[str, ...]:
        """Change settings, keys or faults, see server.mjs; give the kids that are published then."""
        response = self._http.post(self.told["control"], json=what, timeout=30)
        response.raise_for_status()
        return tuple(response.json()["kids"])

    def stop(self, seconds: float = 5.0) -> int:
        """End it, and the connections to it."""
        self._http.close()
        return super().stop(seconds)
