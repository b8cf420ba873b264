"""The protected API: orders behind a Bearer token, a chain of three services, and the other ways APIs are protected."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from flask import Flask, Response, jsonify, make_response, request

from otelprobe.demo.faults import Switches
from otelprobe.demo.keys import Claims
from otelprobe.demo.replies import challenge, private
from otelprobe.demo.state import COOKIE, Accounts, Bounded, Clock, Sessions, TokenStore
from otelprobe.demo.validator import BrokenError, RefusedError, Validator

View = Callable[..., Response]


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """What the API works with. `tokens` answers the one route that asks whether a token was revoked."""

    accounts: Accounts
    validator: Validator
    sessions: Sessions
    tokens: TokenStore
    clock: Clock
    switches: Switches


class ApiSite:
    """The API's pages."""

    def __init__(self, backend: Backend) -> None:
        self._back = backend
        self._orders: Bounded[dict[str, Any]] = Bounded()
        self._orders.put("1001", {"id": "1001", "item": "lamp"})
        self._orders.put("1002", {"id": "1002", "item": "chair"})

    def guard(self, scope: str | None, view: View) -> View:
        """Put a Bearer token with a scope in front of a page."""

        def guarded(**arguments: str) -> Response:
            return self._refusal(scope) or private(view(**arguments))

        return guarded

    def _refusal(self, scope: str | None) -> Response | None:
        """Give the answer to a request that may not pass, or None."""
        if self._back.switches.on("api-not-protected"):
            return None
        scheme, _, text = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not text.strip():
            return challenge(401, "")
        if "access_token" in request.values:
            return challenge(400, 'error="invalid_request", error_description="More than one token was sent"')
        try:
            claims = self._claims(text.strip())
        except RefusedError as error:
            return self._refused(str(error))
        except BrokenError:
            return _plain(500, "internal error")
        return self._unwilling(scope, str(claims.get("scope", "")).split())

    def _claims(self, text: str) -> Claims:
        if self._back.switches.on("validator-broken"):
            raise BrokenError("the fault is on")
        return self._back.validator.check(text)

    def _refused(self, why: str) -> Response:
        if self._back.switches.on("api-crashes-on-bad-token"):
            return _plain(500, "internal error")
        return challenge(401, f'error="invalid_token", error_description="{why}"')

    def _unwilling(self, scope: str | None, granted: list[str]) -> Response | None:
        """Give the answer to a good token that still gets nothing, or None."""
        on = self._back.switches.on
        if on("api-unexplained"):
            return _plain(401, "unauthorized")
        if on("api-down"):
            return _plain(503, "service unavailable")
        if on("api-forbidden"):
            return _plain(403, "this client may not do this")
        if on("insufficient-scope"):
            scope = "orders:admin"
        if scope is not None and scope not in granted:
            return challenge(403, f'error="insufficient_scope", scope="{scope}"')
        return None

    def health(self) -> Response:
        """Answer without any credential."""
        return jsonify(status="ok")

    def orders(self) -> Response:
        """List the orders."""
        status = "degraded" if self._back.switches.on("api-wrong-body") else "ok"
        return jsonify(status=status, orders=list(self._orders.values()))

    def add_order(self) -> Response:
        """Add an order and give its id."""
        body = request.get_json(silent=True)
        item = body.get("item") if isinstance(body, dict) else None
        if not isinstance(item, str):
            return _plain(400, 'the body must be a JSON object with "item" as text')
        order = {"id": secrets.token_hex(4), "item": item}
        self._orders.put(order["id"], order)
        response = make_response(jsonify(status="ok", **order), 201)
        response.headers["Location"] = f"/orders/{order['id']}"
        return response

    def order(self, number: str) -> Response:
        """Give one order."""
        found = self._orders.get(number)
        return _plain(404, "no such order") if found is None else jsonify(status="ok", **found)

    def remove_order(self, number: str) -> Response:
        """Remove one order."""
        return _plain(404, "no such order") if self._orders.pop(number, None) is None else make_response("", 204)

    def me(self) -> Response:
        """Say that the token was good; who it is for is nobody else's business."""
        return jsonify(status="ok", authenticated=True)

    def service(self, name: str) -> Response:
        """Answer as one of three services that each check the same token."""
        return jsonify(status="ok", service=name)

    def introspected(self) -> Response:
        """Answer only while the token is not revoked, as an API does that asks the provider at each call."""
        text = request.headers.get("Authorization", "").partition(" ")[2].strip()
        found = self._back.tokens.find(text, self._back.clock.now())
        if found is None or found.is_refresh or found.is_revoked():
            return challenge(401, 'error="invalid_token", error_description="The access token was revoked"')
        return jsonify(status="ok")

    def raw(self) -> Response:
        """Take the token without a scheme and answer 403 where 401 is meant, as many small back ends do."""
        text = request.headers.get("Authorization", "").strip()
        try:
            self._back.validator.check(text)
        except RefusedError:
            return _plain(403, "forbidden")
        except BrokenError:
            return _plain(500, "internal error")
        return private(jsonify(status="ok"))

    def key(self) -> Response:
        """Take an API key from a header, the query or a cookie."""
        sent = request.headers.get("X-API-Key") or request.args.get("api_key") or request.cookies.get("api_key") or ""
        if not secrets.compare_digest(sent.encode(), self._back.accounts.api_key.encode()):
            return private(_plain(401, "an API key is needed: X-API-Key, api_key in the query or a cookie"))
        expires_at = datetime.now(UTC) + timedelta(days=60)
        return private(jsonify(status="ok", expires_at=expires_at.isoformat(timespec="seconds")))

    def basic(self) -> Response:
        """Take user name and password (RFC 7617)."""
        given = request.authorization
        if given is None or not self._back.accounts.match(given.username, given.password):
            response = _plain(401, "unauthorized")
            response.headers["WWW-Authenticate"] = 'Basic realm="demo", charset="UTF-8"'
            return private(response)
        return private(jsonify(status="ok"))

    def cookie(self) -> Response:
        """Take the session cookie that the provider's log-in sets."""
        if not self._back.sessions.alive(request.cookies.get(COOKIE, ""), self._back.clock.now()):
            return private(_plain(401, "log in first"))
        return private(jsonify(status="ok"))


def _plain(status: int, text: str) -> Response:
    return make_response(jsonify(error=text), status)


def api_app(backend: Backend) -> Flask:
    """Make the API's WSGI application."""
    app = Flask("otelprobe.demo.api", static_folder=None)
    site = ApiSite(backend)
    read, write = "orders:read", "orders:write"
    app.add_url_rule("/health", "health", site.health)
    app.add_url_rule("/orders", "orders", site.guard(read, site.orders))
    app.add_url_rule("/orders", "add_order", site.guard(write, site.add_order), methods=["POST"])
    app.add_url_rule("/orders/<number>", "order", site.guard(read, site.order))
    app.add_url_rule("/orders/<number>", "remove_order", site.guard(write, site.remove_order), methods=["DELETE"])
    app.add_url_rule("/me", "me", site.guard(None, site.me))
    app.add_url_rule("/introspected", "introspected", site.guard(None, site.introspected))
    app.add_url_rule("/<any(a, b, c):name>", "service", site.guard(None, site.service))
    for page in (site.raw, site.key, site.basic, site.cookie):
        app.add_url_rule(f"/{page.__name__}", page.__name__, page)
    return app
