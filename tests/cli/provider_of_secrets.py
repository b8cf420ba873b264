"""A provider and an API in which all that must not get out holds the word `canary`, or is noted, and which can fail."""

import secrets
import time
from base64 import urlsafe_b64encode
from hashlib import sha256
from typing import Any
from urllib.parse import urlencode

from otelprobe.reasons import CheckFailed
from otelprobe.saml.response import Response
from tests.conftest import Answer, Seen, Server
from tests.saml_kit import Idp, Shape, pair
from tests.steps.flows import as_json
from tests.token_kit import jwk, signing_key, token

CALLBACK = "https://app.example/cb"
WORD = "canary"
PLAIN = "told-in-the-clear"
"""The one claim that the audit trail may tell."""

MODES = ("healthy", "weak", "refusing", "crashing", "garbled", "lying", "talkative")
"""healthy; takes any credential; refuses all; answers 500; answers a page; issues bad tokens; names secrets in every error."""

_FORM = "<form method=post action={}><input name=user><input type=password name=pw><input name=user_code></form>"


class ProviderOfSecrets:
    """Every endpoint that flows ask. `noted` are secrets that were drawn in a run: tokens, codes, states, assertions."""

    def __init__(self) -> None:
        self.server = Server()
        self.mode = "healthy"
        self.noted: set[str] = set()
        self._access: set[str] = set()
        self._drawn = [signing_key("ES256", which) for which in (0, 1)]  # before threads ask for them
        self.asked: dict[str, str] = {}
        self.saml = Idp(self.server, Shape(recipient=self.acs, destination=self.acs, action=self.acs))
        for path in ("authorize", "page", "token", "device_code", "userinfo", "introspect", "revoke"):
            self.server.on(f"/{path}", self._guarded(path))
        for path in ("login", "orders", "key", "acs"):
            self.server.on(f"/api/{path}", self._guarded(path))
        self.server.on("/.well-known/openid-configuration", lambda _: as_json(self._document()))
        self.server.on("/jwks", lambda _: as_json({"keys": [jwk()]}))

    @property
    def url(self) -> str:
        """The issuer, and where everything is."""
        return self.server.url

    @property
    def acs(self) -> str:
        """The assertion consumer service."""
        return f"{self.server.url}/api/acs"

    def all_noted(self) -> set[str]:
        """Give what was drawn, with what passed by in SAML."""
        seen = {v for s in self.server.seen for k in ("SAMLResponse", "RelayState") for v in s.query.get(k, [])}
        posted = {
            s.form.get(k, "")
            for s in self.server.seen
            if b"SAMLResponse" in s.body
            for k in ("SAMLResponse", "RelayState")
        }
        asked = {
            s.form.get(k, "")
            for s in self.server.seen
            if s.path == "/token"
            for k in ("code_verifier", "client_assertion")
        }
        return {one for one in (*self.noted, *seen, *posted, *asked) if len(one) > 8}

    def _document(self) -> dict[str, Any]:
        names = {"authorization": "authorize", "token": "token", "device_authorization": "device_code"}
        names |= {"userinfo": "userinfo", "introspection": "introspect", "revocation": "revoke"}
        return {
            "issuer": self.url,
            "jwks_uri": f"{self.url}/jwks",
            **{f"{name}_endpoint": f"{self.url}/{path}" for name, path in names.items()},
            "id_token_signing_alg_values_supported": ["ES256"],
            "code_challenge_methods_supported": ["S256"],
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
        }

    def _guarded(self, path: str) -> Any:
        """Put what the mode does in front of an endpoint."""
        good = getattr(self, f"_{path}")

        def answer(seen: Seen) -> Answer:
            broken = {"crashing": 500, "garbled": 200}.get(self.mode)
            if broken is not None and path != "token":
                page = f"<html>{WORD} {seen.headers.get('authorization')} {seen.body.decode()}</html>".encode()
                return Answer(broken, page, [("Content-Type", "text/html"), ("Set-Cookie", f"sid={WORD}")])
            return self._refusal(seen) if self.mode == "talkative" and path != "token" else good(seen)

        return answer

    def _refusal(self, seen: Seen) -> Answer:
        """Refuse, and repeat all that was sent."""
        sent = f"{seen.headers.get('authorization', '')} {WORD}"
        told = {"error": sent, "error_description": f"{sent} {seen.body.decode()}"}
        headers = {"WWW-Authenticate": f'Bearer realm="{WORD}", error="{sent}", error_description="{sent}"'}
        return as_json(told, 401, **headers, Location=f"{self.url}/{WORD}?{WORD}={WORD}")

    def _issue(self, **more: object) -> str:
        now = int(time.time())
        claims = {"iss": self.url, "sub": f"{WORD}-ann", "email": f"{WORD}@example.com", "iat": now, "exp": now + 300}
        bad = {"aud": "nobody", "nbf": now + 9999} if self.mode == "lying" else {}
        which = 1 if self.mode == "lying" else 0
        issued = token(**{**claims, "jti": f"{WORD}-{secrets.token_hex(8)}", "team": PLAIN, **more, **bad}, which=which)
        self.noted.update(issued.split("."))
        return issued

    def _draw(self, what: str) -> str:
        drawn = f"{what}-{WORD}-{secrets.token_hex(8)}"
        self.noted.add(drawn)
        return drawn

    def _authorize(self, seen: Seen) -> Answer:
        self.asked = {name: values[0] for name, values in seen.query.items()}
        self.noted.update(self.asked.get(name, "") for name in ("state", "nonce", "code_challenge"))
        return self._html("/page", ("Set-Cookie", f"session={WORD}; Path=/"))

    def _page(self, seen: Seen) -> Answer:
        if seen.method == "GET" or "pw" not in seen.form:
            return self._html("/page")
        if seen.form["user_code"]:
            return Answer(200, b"done", [("Content-Type", "text/html")])
        answer = {"code": self._draw("code"), "state": self.asked.get("state", "")}
        return Answer(302, b"", [("Location", f"{CALLBACK}?{urlencode(answer)}")])

    def _html(self, action: str, *headers: tuple[str, str]) -> Answer:
        return Answer(
            200, b"<!doctype html>" + _FORM.format(action).encode(), [("Content-Type", "text/html"), *headers]
        )

    def _token(self, seen: Seen) -> Answer:
        if seen.form.get("grant_type", "").startswith("urn:otelprobe"):
            return as_json({"error": "unsupported_grant_type", "error_description": WORD}, 400)
        if not seen.form.get("grant_type"):
            return as_json({"error": "invalid_request", "error_description": WORD}, 400)
        if "authorization" not in seen.headers and self.mode != "weak":
            return as_json({"error": "invalid_client", "error_description": WORD}, 401)
        access = self._issue(aud="orders")
        self._access.add(access)
        half = urlsafe_b64encode(sha256(access.encode()).digest()[:16]).rstrip(b"=").decode()
        id_token = self._issue(aud="me", nonce=self.asked.get("nonce"), at_hash=half)
        members = {
            "access_token": access,
            "id_token": id_token,
            "refresh_token": self._draw("refresh"),
            "id": self._draw("id"),
        }
        return as_json({**members, "token_type": "Bearer", "expires_in": 300}, Set_Cookie=f"sid={WORD}")

    def _device_code(self, _: Seen) -> Answer:
        place = {
            "verification_uri": f"{self.url}/page",
            "verification_uri_complete": f"{self.url}/page?user_code={self._draw('user')}",
        }
        return as_json(
            {"device_code": self._draw("device"), "user_code": f"U-{WORD}", "interval": 1, "expires_in": 60, **place}
        )

    def _userinfo(self, _: Seen) -> Answer:
        return as_json({"sub": f"{WORD}-ann", "email": f"{WORD}@example.com", "name": WORD})

    def _introspect(self, _: Seen) -> Answer:
        return as_json({"active": True, "sub": f"{WORD}-ann", "username": WORD})

    def _revoke(self, _: Seen) -> Answer:
        return Answer(200)

    def _login(self, _: Seen) -> Answer:
        session = ("Set-Cookie", f"api=session-{WORD}; Path=/; HttpOnly")
        return Answer(200, b"{}", [("Content-Type", "application/json"), session])

    def _orders(self, seen: Seen) -> Answer:
        sent = seen.headers.get("authorization", "").removeprefix("Bearer ")
        shown = sent in self._access or WORD in seen.headers.get("cookie", "") or "key" in seen.query
        good = self.mode == "weak" or (shown and self.mode != "refusing")
        return as_json({"status": "ok", "owner": WORD}) if good else self._refusal(seen)

    def _key(self, seen: Seen) -> Answer:
        good = WORD in seen.headers.get("x-key", "")
        return as_json({"expires_at": time.time() + 86400, "owner": WORD}) if good else self._refusal(seen)

    def _acs(self, seen: Seen) -> Answer:
        if self.mode == "refusing" or not (self.mode == "weak" or self._is_signed(seen.form["SAMLResponse"])):
            return Answer(403, f"{WORD} {seen.body.decode()}".encode())
        return Answer(200, b"hello", [("Content-Type", "text/plain"), ("Set-Cookie", f"sp=session-{WORD}; Path=/")])

    def _is_signed(self, response: str) -> bool:
        try:
            Response().open(response, (pair().der,), None)
        except CheckFailed:
            return False
        return True
