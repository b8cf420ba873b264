"""People who log in at an identity provider's pages by hand, and what becomes of the codes that they get."""

from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from http.cookiejar import Cookie, DefaultCookiePolicy
from typing import Any
from urllib.parse import parse_qs, urljoin, urlsplit

import requests
from lxml import html

from tests.provider_by_hand import ByHand

CODES = ("wrong_verifier", "missing_verifier", "other_redirect_uri", "code_reused")
"""The cases that are about a code."""

_SECONDS = 30


class Loopback(DefaultCookiePolicy):
    """As in browsers, this machine is a secure place: a cookie that is marked so is sent over plain http."""

    def set_ok(self, cookie: Cookie, request: Any) -> bool:
        """Take it, as one that may be sent anywhere: what requests sends is chosen by a policy of its own."""
        cookie.secure = False
        return super().set_ok(cookie, request)


@dataclass
class PersonByHand(ByHand):
    """A client whose user logs in and agrees at the provider's pages."""

    user: tuple[str, str] = ("ann", "any")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.http.cookies.set_policy(Loopback())

    def code(self) -> dict[str, str]:
        """Log in and agree; give the form of a good exchange."""
        verifier = "v" * 50
        challenge = urlsafe_b64encode(sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        self.http.cookies.clear()
        answer = self.authorize(self.redirect, prompt="", code_challenge=challenge)
        while not answer.headers.get("Location", "").startswith(self.redirect):
            here = answer.headers.get("Location")
            if here is not None:
                answer = self.http.get(urljoin(answer.url, here), allow_redirects=False, timeout=_SECONDS)
                continue
            url, form = self._filled(answer)
            answer = self.http.post(url, data=form, allow_redirects=False, timeout=_SECONDS)
        (code,) = parse_qs(urlsplit(answer.headers["Location"]).query)["code"]
        return {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self.redirect,
            "code_verifier": verifier,
        }

    def _filled(self, page: requests.Response) -> tuple[str, dict[str, str]]:
        """Give where a page's form goes, and what is sent: a name, a password, and what is hidden."""
        assert page.ok, page.text
        form = html.fromstring(page.content).forms[0]
        name, password = self.user
        typed = {"username": name, "login": name, "password": password}
        sent = {n: typed.get(n, v or "") for n, v in form.fields.items()}
        return urljoin(page.url, form.action or ""), sent

    def exchange(self, form: Mapping[str, str]) -> requests.Response:
        """Turn a code into tokens."""
        return self.post("token", form, (self.client, self.secret))

    def good(self) -> dict[str, Any]:
        """Give the answer to a good exchange."""
        answer = self.exchange(self.code())
        assert answer.ok, answer.text
        self.asked = {"grant_type": "refresh_token", "refresh_token": answer.json()["refresh_token"]}
        return dict(answer.json())

    def truth(self, case: str) -> str:
        """Give what becomes of a case; one at the token endpoint has a session of its own."""
        self.good()
        return super().truth(case)

    def _wrong_verifier(self) -> tuple[int, bool]:
        return self._asked_for(self.exchange({**self.code(), "code_verifier": "w" * 50}))

    def _missing_verifier(self) -> tuple[int, bool]:
        form = {n: v for n, v in self.code().items() if n != "code_verifier"}
        return self._asked_for(self.exchange(form))

    def _other_redirect_uri(self) -> tuple[int, bool]:
        return self._asked_for(self.exchange({**self.code(), "redirect_uri": "https://elsewhere.invalid/"}))

    def _code_reused(self) -> tuple[int, bool]:
        form = self.code()
        assert self.exchange(form).ok
        return self._asked_for(self.exchange(form))
