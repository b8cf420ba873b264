"""pytest-iam's server (Canaille) in a process of its own, for tests/test_pytest_iam.py.

Its import time, warnings, environment variables and open Flask context stay away from the tests. Reads one line of
JSON, the client and the user to know; writes one, its issuer; ends when its standard input does.
"""

import json
import os
import sys
import threading
from typing import Any

from canaille import create_app  # type: ignore[import-untyped] # Canaille has no types
from canaille.app import models  # type: ignore[import-untyped] # Canaille has no types
from canaille.backends import Backend  # type: ignore[import-untyped] # Canaille has no types
from joserfc.jwk import RSAKey
from pytest_iam import Server


def configuration() -> dict[str, Any]:
    """Give what pytest-iam's own fixture configures, as far as these tests need it."""
    key = RSAKey.generate_key(2048)
    key.ensure_kid()
    return {
        "TESTING": True,
        "ENV_FILE": None,
        "SECRET_KEY": "only for sessions, of which there are none",
        "PREFERRED_URL_SCHEME": "http",
        "SERVER_NAME": "127.0.0.1",
        "CANAILLE": {"DATABASE": "memory", "ACL": {"DEFAULT": {"PERMISSIONS": ["use_oidc"]}}},
        "CANAILLE_OIDC": {"ACTIVE_JWKS": [key.as_dict(private=True)]},
    }


def populate(server: Server, told: dict[str, str]) -> None:
    """Make the client and the user; nothing here is drawn at random."""
    with server.app.app_context():
        client = models.Client(
            client_id=told["client"],
            client_secret=told["secret"],
            client_name=told["client"],
            grant_types=["client_credentials", "password", "refresh_token"],
            token_endpoint_auth_method="client_secret_basic",
            scope=["openid", "profile", "email"],
        )
        server.backend.save(client)
        server.backend.update(client, audience=[client])
        server.backend.save(client)
        user = models.User(
            user_name=told["user"], password=told["password"], family_name="Ann", emails=["ann@example.org"]
        )
        server.backend.save(user)


def main() -> None:
    """Serve until standard input ends."""
    os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"  # Authlib serves tokens over plain http only if told so
    told = json.loads(sys.stdin.readline())
    app = create_app(config=configuration(), env_prefix="PYTEST_IAM_")
    server = Server(app, 0, Backend.instance)  # 0: the port is chosen as it is bound, so that nobody else can take it
    address = f"127.0.0.1:{server.httpd.server_port}"
    app.config["SERVER_NAME"] = address
    populate(server, told)
    serving = threading.Thread(target=server.httpd.serve_forever, kwargs={"poll_interval": 0.02})
    serving.start()
    print(json.dumps({"issuer": f"http://{address}"}), flush=True)
    sys.stdin.read()
    server.httpd.shutdown()
    serving.join()
    server.httpd.server_close()


if __name__ == "__main__":
    main()
