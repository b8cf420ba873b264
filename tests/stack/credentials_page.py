"""What docs/credentials.md shows: every flow file of it as a reader copies it, and the servers that it is run against.

`tests/stack/test_credentials_page.py` runs them and compares; `python -m tests.stack.credentials_page` writes the page anew.
In what is printed the servers' addresses stand as example.com, which is all that is changed of it.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from base64 import b32encode
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jwt

from otelprobe.tokens import public_jwk
from tests.conftest import Answer, Seen, Server
from tests.signing_kit import pem
from tests.stack import test_keycloak_machine as machine
from tests.stack import test_keycloak_mutual_tls as mutual_tls
from tests.stack import test_keycloak_people as people
from tests.stack.harness import chromium
from tests.stack.harness import keycloak as kc
from tests.stack.harness.keycloak_admin import Admin
from tests.stack.harness.node import STACK, Told, script
from tests.stack.harness.oidc_provider import Provider
from tests.test_nanoidp import PASSWORD as NANO_PASSWORD
from tests.test_nanoidp import SECRET as NANO_SECRET
from tests.test_nanoidp import Nanoidp
from tests.token_kit import signing_key

PAGE = Path(__file__).resolve().parents[2] / "docs" / "credentials.md"
_BEGIN, _END = "<!-- runs -->", "<!-- /runs -->"
KEYCLOAK, SECURE = "https://login.example.com/realms/shop", "https://mtls.example.com/realms/shop"
CERTIFIED, NANO = "https://id.example.com", "https://idp.example.com"
API, KEYS = "https://api.example.com", "https://keys.example.com"
CERTIFICATE, AUTHORITY = "/etc/otelprobe/client.pem", "/etc/otelprobe/ca.pem"
ASSERTION = "/var/run/secrets/tokens/idp"
_SHOP = "client_id: shop\nclient_secret: {env: CLIENT_SECRET}"
_ANN = "username: ann, password: {env: PASSWORD}"
_BACK = "redirect_uri: https://app.example.com/cb"
_API_SECRET = "express-secret-of-the-page-and-of-nothing-else"
_CONFIG = "otelprobe-page-secret-of-more-than-thirty-two-bytes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One part of the page: the provider's issuer and members, the steps, and what to change to see it refused.

    `broken` holds variables, and paths or addresses of the page, with what they stand for then.
    """

    title: str
    words: str
    steps: str
    issuer: str | None = KEYCLOAK
    members: str = _SHOP
    broken: Mapping[str, str] = field(default_factory=dict)
    because: str = ""
    reason: str = ""

    def flow_file(self) -> str:
        """Write the flow file as it stands on the page."""
        steps = "".join(f"      {line}\n" for line in self.steps.splitlines())
        if self.issuer is None:
            return f"flows:\n  - name: orders\n    steps:\n{steps}"
        members = "".join(f"    {line}\n" for line in self.members.splitlines())
        head = f"providers:\n  corp:\n    issuer: {self.issuer}\n{members}"
        return f"{head}flows:\n  - name: orders\n    provider: corp\n    steps:\n{steps}"


_WRONG_SECRET: dict[str, Any] = {
    "broken": {"CLIENT_SECRET": "another-secret-of-more-than-thirty-two-bytes"},
    "because": "With another secret",
    "reason": "invalid_client",
}
_WRONG_AT_KEYCLOAK: dict[str, Any] = {**_WRONG_SECRET, "reason": "unauthorized_client"}
_WRONG_PASSWORD: dict[str, Any] = {"broken": {"PASSWORD": "wrong"}, "because": "With a wrong password"}

EXAMPLES = (
    Example(
        title="Client credentials",
        words="A machine of its own: the secret goes into the header, or with `client_auth: client_secret_post` into the form.",
        steps="- discover\n- keys\n- token\n- {step: verify, audience: orders}",
        **_WRONG_AT_KEYCLOAK,
    ),
    Example(
        title="Password",
        words="`grant: password`, for the few places that still have it.",
        steps=f"- discover\n- {{step: token, grant: password, {_ANN}, scope: openid}}\n- userinfo",
        **_WRONG_PASSWORD,
        reason="invalid_grant",
    ),
    Example(
        title="Refresh, introspect, revoke",
        words="What becomes of a token: it is replaced, asked about and taken back. `always` cleans up after a failure, too.",
        issuer=NANO,
        members="client_id: otelprobe\nclient_secret: {env: CLIENT_SECRET}",
        steps=f"- discover\n- {{step: token, grant: password, {_ANN}, scope: openid}}\n- refresh\n- introspect\n"
        "- {step: revoke, token: access, always: true}\n- {step: introspect, name: after, expect: {active: false}}",
    ),
    Example(
        title="A refresh token from outside",
        words="Somebody logged in once, by hand. With a `state_dir` the successor of a rotated token is kept, sealed.",
        issuer=NANO,
        members="client_id: otelprobe\nclient_secret: {env: CLIENT_SECRET}",
        steps="- discover\n- {step: token, grant: refresh_token, refresh_token: {env: REFRESH_TOKEN}}\n- userinfo",
        broken={"REFRESH_TOKEN": "long-gone"},
        because="With one that has ended",
        reason="invalid_grant",
    ),
    Example(
        title="Authorization code, PKCE",
        words="The log-in form is found and filled in without a browser. PKCE, `state`, `nonce` and `iss` are checked.",
        steps=f"- discover\n- keys\n- {{step: authorize, {_BACK}, {_ANN}}}\n- {{step: token, grant: authorization_code}}\n"
        "- id_token",
        **_WRONG_PASSWORD,
        reason="login_rejected",
    ),
    Example(
        title="Pushed authorization requests",
        words="`par: true` sends the parameters ahead, with the client's authentication (RFC 9126).",
        issuer=CERTIFIED,
        members="client_id: webapp\nclient_secret: {env: CLIENT_SECRET}",
        steps=f"- discover\n- {{step: authorize, {_BACK}, {_ANN}, par: true}}\n- {{step: token, grant: authorization_code}}",
        **_WRONG_SECRET,
    ),
    Example(
        title="A second factor by time",
        words="`totp` holds the secret of the authenticator app; the code is computed where a page asks for it.",
        steps=f"- discover\n- {{step: authorize, {_BACK}, {_ANN.replace('ann', 'bob')}, totp: {{env: TOTP}}}}",
        broken={"TOTP": "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"},
        because="With the secret of another app",
        reason="login_rejected",
    ),
    Example(
        title="Pages that need JavaScript",
        words="`browser: true` opens the same pages in Chromium. Its start is part of no step's time.",
        steps=f"- discover\n- {{step: authorize, {_BACK}, {_ANN}, browser: true}}\n"
        "- {step: token, grant: authorization_code}",
        **_WRONG_PASSWORD,
        reason="login_rejected",
    ),
    Example(
        title="Devices",
        words="That a code waits for a person is healthy; with `complete: true` somebody logs in.",
        steps=f"- discover\n- {{step: device, complete: true, {_ANN}}}\n- {{step: token, grant: device_code}}",
        **_WRONG_PASSWORD,
        reason="login_rejected",
    ),
    Example(
        title="Token exchange",
        words="A token for another one (RFC 8693).",
        steps="- discover\n- token\n- {step: token, name: narrowed, grant: token_exchange, subject: token}",
    ),
    Example(
        title="Assertions about users",
        words="`jwt_bearer` (RFC 7523): signed here, or made by somebody else (`assertion`).",
        members="client_id: granted\nclient_secret: {env: CLIENT_SECRET}",
        steps="- discover\n- step: token\n  grant: jwt_bearer\n  sign:\n    key: {env: ASSERTION_KEY}\n"
        f"    claims: {{iss: https://signer.example, sub: ann-1, aud: {KEYCLOAK}}}",
        broken={"ASSERTION_KEY": pem("RS256", 1)},
        because="With a key that nobody trusts",
        reason="invalid_grant",
    ),
    Example(
        title="private_key_jwt",
        words="A signed assertion in place of a secret (RFC 7523). `certificate` and `certificate_header` name the key's "
        "certificate.",
        members="client_id: signer\nclient_assertion: {key: {env: SIGNING_KEY}, kid: probe-1}",
        steps="- discover\n- token",
        broken={"SIGNING_KEY": pem("ES256", 1)},
        because="With a key that the provider does not know",
        reason="invalid_client",
    ),
    Example(
        title="client_secret_jwt",
        words="The secret signs and is not sent.",
        members="client_id: secret-signer\nclient_auth: client_secret_jwt\nclient_secret: {env: CLIENT_SECRET}",
        steps="- discover\n- token",
        **_WRONG_AT_KEYCLOAK,
    ),
    Example(
        title="Kubernetes service account",
        words="A projected service-account token is the assertion; it is read at each use, as the kubelet renews it.",
        members=f"client_id: signer\nclient_assertion: {{token: {{file: {ASSERTION}}}}}",
        steps="- discover\n- token",
        broken={ASSERTION: "stale"},
        because="With one that has ended",
        reason="credential_expired",
    ),
    Example(
        title="Mutual TLS",
        words="The client's certificate is its credential, and the token is bound to it (RFC 8705). "
        "`self_signed_tls_client_auth` is written alike.",
        issuer=SECURE,
        members=f"client_id: tls\nclient_auth: tls_client_auth\nhttp: {{client_cert: {CERTIFICATE}, ca_file: {AUTHORITY}}}",
        steps="- discover\n- {step: token, scope: openid, expect: {bound_to: certificate}}\n- userinfo",
        broken={CERTIFICATE: "another"},
        because="With somebody else's certificate",
        reason="invalid_client",
    ),
    Example(
        title="DPoP",
        words="Tokens that are bound to a key of the client's (RFC 9449).",
        members="client_id: bound\nclient_secret: {env: CLIENT_SECRET}\ndpop: {}",
        steps="- discover\n- {step: token, scope: openid, expect: {bound_to: dpop}}\n- userinfo",
        **_WRONG_AT_KEYCLOAK,
    ),
    Example(
        title="A log-in of one's own, raw token",
        words="JSON in, a token out, sent without a scheme to an API that answers 403 where 401 is meant.",
        issuer=None,
        steps=f"- step: login\n  url: {API}/login\n  json: {{account: {{username: ann, password: {{env: PASSWORD}}}}}}\n"
        "  extract: $.token\n- {step: verify, key: {secret: {env: API_SECRET}}, algorithms: [HS256]}\n"
        f'- {{step: call, url: {API}/orders, auth: {{scheme: ""}}, unauthorized_status: [403]}}',
        **_WRONG_PASSWORD,
        reason="login_rejected",
    ),
    Example(
        title="Cookies",
        words="A form in, a session cookie out; its attributes are facts.",
        issuer=None,
        steps=f"- step: login\n  url: {API}/session\n  form: {{username: ann, password: {{env: PASSWORD}}}}\n"
        f"  cookie: shop.sid\n- {{step: call, url: {API}/session/orders}}",
        **_WRONG_PASSWORD,
        reason="login_rejected",
    ),
    Example(
        title="API keys",
        words="In a header, a query parameter or a cookie.",
        issuer=None,
        steps=f"- step: call\n  url: {KEYS}/orders\n  auth: {{api_key: {{header: X-Api-Key, value: {{env: API_KEY}}}}}}",
        broken={"API_KEY": "another"},
        because="With another key",
        reason="login_rejected",
    ),
    Example(
        title="The end of a credential",
        words="From an endpoint that tells it, or `expires_at: 2027-01-31`.",
        issuer=None,
        steps=f"- step: credential_expiry\n  url: {KEYS}/key-info\n  extract: $.expires_at\n"
        "  auth: {api_key: {header: X-Api-Key, value: {env: API_KEY}}}",
        broken={"API_KEY": "ended"},
        because="With one that has ended",
        reason="credential_expired",
    ),
    Example(
        title="Certificates",
        words="Of a server by `url` or `host`, of a file by `file`. `subject` says what it is for, and so whose it is; a "
        "file that a `client_cert` names is known to be our own.",
        issuer=None,
        steps=f"- {{step: certificate, name: server, url: {SECURE}, http: {{ca_file: {AUTHORITY}}}}}\n"
        f"- {{step: certificate, name: own, file: {CERTIFICATE}, subject: client_certificate}}",
        broken={CERTIFICATE: "ended"},
        because="With a file that has ended",
        reason="certificate_expired",
    ),
    Example(
        title="A provider's status page",
        words="What the provider says of itself is a fact beside the flow: an incident is a warning, no failure.",
        issuer=None,
        steps=f"- {{step: status_page, url: {KEYS}/api/v2/summary.json, format: statuspage}}",
    ),
)


def clients() -> list[dict[str, object]]:
    """Give the clients of the page at Keycloak."""
    jwks = json.dumps({"keys": [{**public_jwk(signing_key("ES256")), "kid": "probe-1", "use": "sig", "alg": "ES256"}]})
    shop = {**people._client("shop"), "serviceAccountsEnabled": True, "directAccessGrantsEnabled": True}
    shop["protocolMappers"] = [machine._ORDERS]
    shop["attributes"] = {**shop["attributes"], "standard.token.exchange.enabled": "true"}
    granted = {
        "oauth2.jwt.authorization.grant.enabled": "true",
        "oauth2.jwt.authorization.grant.idp": "assertions",
    }
    return [
        shop,
        machine._client("signer", "client-jwt", **{"use.jwks.string": "true", "jwks.string": jwks}),
        machine._client("secret-signer", "client-secret-jwt"),
        machine._client("bound", "client-secret", **{"dpop.bound.access.tokens": "true"}),
        machine._client("granted", "client-secret", **granted),
        mutual_tls._by_certificate(),
    ]


def plain_server() -> Server:
    """Give what stands for an API with keys, and for a provider's status page in the shape of Statuspage."""
    server = Server()
    headers = [("Content-Type", "application/json")]

    def info(seen: Seen) -> Answer:
        days = -1 if seen.headers.get("x-api-key") == "ended" else 200
        ends = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + days * 86400 + 3600))
        return Answer(200, json.dumps({"expires_at": ends}).encode(), headers)

    status = {"page": {"name": "Example"}, "status": {"indicator": "none", "description": "All Systems Operational"}}
    body = json.dumps({**status, "components": [], "incidents": [], "scheduled_maintenances": []}).encode()
    server.on("/orders", lambda seen: Answer(200 if seen.headers.get("x-api-key") == "key" else 401, b"{}", headers))
    server.on("/key-info", info)
    server.on("/api/v2/summary.json", Answer(200, body, headers))
    return server


class Servers:
    """All servers of the page, running; `names` are the page's addresses and paths with what stands behind them."""

    def __init__(self, folder: Path) -> None:
        self._running = ExitStack()
        self.folder = folder
        chromium.obtain()
        try:
            self._start(folder)
        except BaseException:
            self.stop()
            raise

    def _start(self, folder: Path) -> None:
        mutual = mutual_tls.Mutual(folder)
        self._running.callback(mutual.keycloak.stop)
        admin = Admin(mutual.keycloak)
        ann = {**people._user("ann"), "federatedIdentities": [_FEDERATED]}
        users, trusted = [ann, people._user("bob", otp=True)], [machine._assertions()]
        issuer = admin.make_realm("shop-docs", clients=clients(), users=users, identityProviders=trusted)
        admin.close()
        config = {"client": {"id": "webapp", "secret": _CONFIG}, "redirect": people.CALLBACK}
        certified = Provider(folder, "people.mjs", config)
        self._running.callback(certified.stop)
        express = Told(
            "express",
            ["node", script(STACK / "express", "server.mjs", folder / "express")],
            _EXPRESS,
            log=folder / "express.log",
        )
        self._running.callback(express.stop)
        nano = Nanoidp(folder / "nano", "dev").wait()
        self._running.callback(nano.stop)
        server = plain_server()
        self._running.callback(server.stop)
        self.files = {"another": mutual.file("another"), "ended": mutual.file("ended"), "stale": folder / "stale"}
        self.names = {
            KEYCLOAK: issuer,
            SECURE: f"{mutual.keycloak.secure_url}/realms/shop-docs",
            CERTIFIED: certified.issuer,
            NANO: nano.issuer,
            API: str(express.told["url"]),
            KEYS: server.url,
            AUTHORITY: str(mutual.authority),
            CERTIFICATE: str(mutual.file("known")),
            ASSERTION: str(folder / "good"),
        }
        self._nano = nano

    def stop(self) -> None:
        """End all of them."""
        self._running.close()

    def printed(self, example: Example, *, broken: bool = False) -> str:
        """Run a flow file of the page by the command line; give what is printed, the page's names in it."""
        names = dict(self.names)
        secrets = self._secrets(example)
        for name, other in (example.broken if broken else {}).items():
            if name.startswith("/"):
                names[name] = str(self.files[other])
            else:
                secrets[name] = other
        _renew_assertions(self.folder, names[KEYCLOAK])
        text = example.flow_file()
        for name, real in names.items():
            text = text.replace(name, real)
        path = self.folder / "flow.yaml"
        path.write_text(text, encoding="utf-8")
        plain = {k: v for k, v in os.environ.items() if not k.startswith(("OTEL", "TRACEPARENT"))}
        environment = {**plain, **secrets, "COLUMNS": "110", "NO_COLOR": "1", "PYTHONIOENCODING": "utf-8"}
        command = [sys.executable, "-m", "otelprobe", "once", str(path)]
        for _ in range(_ATTEMPTS):
            ended = subprocess.run(
                command, env=environment, capture_output=True, text=True, encoding="utf-8", timeout=120, check=False
            )
            if not any(f"✗ {slow} at " in ended.stdout or f"? {slow} at " in ended.stdout for slow in _BUSY):
                break
        assert ended.returncode in ({1, 4} if broken else {0}), (text, ended.stdout, ended.stderr)
        return _as_on_the_page(ended.stdout, names)

    def _secrets(self, example: Example) -> dict[str, str]:
        found = {
            "CLIENT_SECRET": {CERTIFIED: _CONFIG, NANO: NANO_SECRET}.get(example.issuer or "", kc.SECRET),
            "PASSWORD": NANO_PASSWORD if example.issuer == NANO else kc.PASSWORD,
            "API_KEY": "key",
            "API_SECRET": _API_SECRET,
            "SIGNING_KEY": pem("ES256"),
            "ASSERTION_KEY": pem("RS256"),
            "TOTP": b32encode(people.TOTP.encode()).decode(),
        }
        return {**found, "REFRESH_TOKEN": self._nano.seed()} if example.issuer == NANO else found


_ATTEMPTS = 4
_BUSY = ("read_timeout", "deadline_exceeded", "prober_overloaded", "connect_timeout")
"""What a run may end with that says only that this machine has much to do: a young JVM meets the default time-outs."""

_FEDERATED = {"identityProvider": "assertions", "userId": "ann-1", "userName": "ann"}
_EXPRESS = {
    "secret": _API_SECRET,
    "user": "ann",
    "password": kc.PASSWORD,
    "cookie": {"httpOnly": True, "sameSite": "lax"},
}


def _renew_assertions(folder: Path, issuer: str) -> None:
    """Write tokens such as the kubelet renews: a good one, which is good once, and one that has ended."""
    for name, seconds in (("good", 300), ("stale", -600)):
        ends = int(time.time()) + seconds
        parties = {"iss": "signer", "sub": "signer", "aud": issuer, "jti": f"{name}-{time.monotonic_ns()}"}
        signed = jwt.encode(
            {**parties, "iat": ends - 300, "exp": ends}, signing_key("ES256"), "ES256", headers={"kid": "probe-1"}
        )
        (folder / name).write_text(signed, encoding="utf-8")


def _as_on_the_page(printed: str, names: Mapping[str, str]) -> str:
    """Put the page's names where the servers' are, and end the lines where their words end."""
    for name, real in sorted(names.items(), key=lambda pair: -len(pair[1])):
        shown = name.partition("://")[2] or name
        printed = printed.replace(real, name).replace(real.partition("://")[2] or real, shown)
        if "://" in real:
            printed = printed.replace(real.split("/")[2], name.split("/")[2])
    return "".join(f"{line.rstrip()}\n" for line in printed.strip("\n").splitlines())


def sections(servers: Servers) -> Iterator[str]:
    """Run everything and give the part of the page for each flow."""
    for example in EXAMPLES:
        part = f"## {example.title}\n\n{example.words}\n\n```yaml\n{example.flow_file()}```\n\n"
        part += f"```text\n{servers.printed(example)}```\n"
        if example.broken:
            told = servers.printed(example, broken=True).rstrip("\n").split("\n\n")[-2]
            assert told.startswith(f"  ✗ {example.reason} at "), (example.title, told)
            part += f"\n{example.because}:\n\n```text\n{told}\n```\n"
        yield part


def shown() -> str:
    """Give the page's part that comes from runs."""
    return PAGE.read_text(encoding="utf-8").partition(_BEGIN)[2].partition(_END)[0].strip("\n")


def write(runs: str) -> None:
    """Put what was run into the page."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(_BEGIN)
    PAGE.write_text(f"{before}{_BEGIN}\n\n{runs}\n\n{_END}{rest.partition(_END)[2]}", encoding="utf-8")


def normalised(runs: str) -> str:
    """Leave out what differs from run to run: times and their bars, shares, ids, dates, and the room between words.

    Phases are times too, and stand beside a request or below it, as there is room.
    """
    runs = re.sub(r"\b[0-9a-f]{16,32}\b|(?<=/resources/)\S+", "ID", runs)
    runs = re.sub(r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?Z?)?", "DATE", runs)
    runs = re.sub(r"[<~]?\d+(?:\.\d+)?\s?(?:ms|µs|s|d|h|min|days?)\b", "TIME", runs)
    runs = re.sub(r"\b(?:dns|connect|tls|ttfb|transfer)\s+TIME", " ", runs)
    runs = re.sub(r"\b\d+ %|#\S+", "SOME", runs)
    runs = re.sub(r"[^\x00-\x7f✓✗·]+", " ", runs)
    return re.sub(r"\s+", " ", runs)


def main() -> None:
    """Write the page."""
    with tempfile.TemporaryDirectory(prefix="otp-") as folder:
        servers = Servers(Path(folder))
        try:
            write("\n".join(sections(servers)).strip("\n"))
        finally:
            servers.stop()
    print(f"{PAGE} is written", file=sys.stderr)


if __name__ == "__main__":
    main()
