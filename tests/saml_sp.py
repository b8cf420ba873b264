"""A SAML service provider for tests, with switches for what real ones get wrong."""

import json
import time
from base64 import b64decode
from dataclasses import dataclass, field, replace
from secrets import token_hex
from typing import Any

from lxml import etree
from signxml import SignatureConfiguration, XMLVerifier
from signxml.exceptions import InvalidInput, InvalidSignature

from otelprobe.reasons import CheckFailed
from otelprobe.saml.request import AuthnRequest, redirect_url
from otelprobe.saml.response import Expected, Response
from tests.conftest import Answer, Seen, Server
from tests.saml_kit import SP, Idp, pair

FLAWS = ("signature", "place", "crowd", "comment", "replay", "time", "audience", "destination", "request", "session")
"""What may be left out: the whole signature; where the signed element stands; what stands beside it; the rest of a name
behind a comment; that an assertion was taken before; its times; whom it is for, and where; what it answers; and a session
to see the page.
"""


class ObligingIdp(Idp):
    """An identity provider that answers whoever asks, where the request says."""

    def _posting(self, state: str) -> Answer:
        asked = self.requests[-1]
        acs = asked.get("AssertionConsumerServiceURL")
        issuer = asked.find("{*}Issuer").text
        self.shape = replace(self.shape, audience=issuer, recipient=acs, destination=acs, action=acs)
        return super()._posting(state)


@dataclass
class FlawedSp:
    """A start page that sends people to log in, a consumer service, and a page that says who is logged in."""

    server: Server
    idp: Idp
    flaws: frozenset[str] = frozenset()
    refusal: Answer = field(default_factory=lambda: Answer(403))
    posted: list[Seen] = field(default_factory=list)
    key: Any = None
    ahead: float = 0.0
    """By how many seconds its clock is fast."""
    pending: set[str] = field(default_factory=set)
    taken: set[str] = field(default_factory=set)
    sessions: dict[str, str] = field(default_factory=dict)
    burns: bool = False
    """A bad answer to a request uses it up."""

    def __post_init__(self) -> None:
        self.server.on("/start", self._start)
        self.server.on("/acs", self._acs)
        self.server.on("/me", self._me)

    @property
    def acs(self) -> str:
        return f"{self.server.url}/acs"

    def _start(self, _: Seen) -> Answer:
        asked = AuthnRequest(
            destination=f"{self.idp.server.url}/sso", sp_entity_id=SP, acs_url=self.acs, issued_at=time.time()
        )
        self.pending.add(asked.id)
        return Answer(302, b"", [("Location", redirect_url(asked, "canary-relay", None))])

    def _acs(self, seen: Seen) -> Answer:
        self.posted.append(seen)
        name = self._judge(seen.form["SAMLResponse"])
        if name is None:
            if self.burns:
                self.pending.clear()
            return self.refusal
        session = token_hex(8)
        self.sessions[session] = name
        return Answer(302, b"", [("Location", "/home"), ("Set-Cookie", f"session={session}; Path=/; HttpOnly")])

    def _me(self, seen: Seen) -> Answer:
        found = seen.headers.get("cookie", "").partition("session=")[2].partition(";")[0]
        name = "anybody" if "session" in self.flaws else self.sessions.get(found)
        if name is None:
            return Answer(401)
        return Answer(200, json.dumps({"user": name}).encode(), [("Content-Type", "application/json")])

    def _judge(self, encoded: str) -> str | None:
        """Give who is logged in; None: refused."""
        try:
            if "signature" in self.flaws:
                return self._name(etree.fromstring(b64decode(encoded)).find(".//{*}Assertion"))
            return self._naive(encoded) if self.flaws & {"place", "crowd"} else self._careful(encoded)
        except (CheckFailed, InvalidSignature, InvalidInput, etree.LxmlError, ValueError, AttributeError):
            return None

    def _naive(self, encoded: str) -> str | None:
        """Verify whatever is signed, and read the first assertion that stands in the response, or that which is signed."""
        root = etree.fromstring(b64decode(encoded))
        anywhere = SignatureConfiguration(location=".//")
        found: Any = XMLVerifier().verify(root, x509_cert=pair().pem, id_attribute="ID", expect_config=anywhere)
        if "crowd" in self.flaws:
            return self._name(found.signed_xml)
        return self._name(root.find("{*}Assertion"))

    def _careful(self, encoded: str) -> str | None:
        response = Response()
        response.open(encoded, (pair().der,), self.key)
        answers = str(response.root.get("InResponseTo"))
        expected = Expected(issuer=self.idp.entity_id, acs_url=self.acs, audience=SP, request_id=answers, leeway=5.0)
        problems = {self._kind(problem) for problem in response.problems(expected)}
        problems |= {"time"} if [*response.time_problems(time.time() + self.ahead, 5.0)] else set()
        problems |= {"request"} if answers not in self.pending else set()
        problems |= {"replay"} if response.assertion_id in self.taken else set()
        if {"replay", "request"} <= problems and "replay" in self.flaws:
            problems -= {"request"}
        if problems - self.flaws:
            return None
        self.pending.discard(answers)
        self.taken.add(response.assertion_id)
        if "comment" in self.flaws:
            return self._name(etree.fromstring(b64decode(encoded)).find(".//{*}Assertion"))
        return response.subject

    def _kind(self, problem: str) -> str:
        return (
            "audience" if "audience" in problem else "destination" if "Dest" in problem or "recip" in problem else "?"
        )

    def _name(self, assertion: Any) -> str:
        return str(assertion.find("{*}Subject/{*}NameID").text)
