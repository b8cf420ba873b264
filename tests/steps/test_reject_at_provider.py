"""Bad requests to a provider that has any weakness it is told to have: just what that lets through is found."""

import json
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import jwt as pyjwt
import pytest
from cryptography.hazmat.primitives import serialization

from otelprobe.fields import Rate, SecretRef
from otelprobe.provider import Provider
from otelprobe.reasons import Blame, CheckFailed, Layer, Outcome, Reason
from otelprobe.rejection.provider_cases import PROVIDER_CASES, SPOILT
from otelprobe.result import Fact
from otelprobe.signing import ClientAssertion, Dpop
from otelprobe.state import State
from otelprobe.step import AuthorizationCode, Context, Done, Made, ProviderMetadata, StepFailed, Tokens
from otelprobe.steps.reject_at_provider import RejectAtProvider
from otelprobe.tokens import sign
from tests.conftest import Answer, Seen, Server
from tests.steps.flows import as_json
from tests.token_kit import World, signing_key

SECRET, URI = "provider-secret-canary", "https://app.example.com/cb"
ENDPOINTS = ("token", "introspection", "revocation", "authorization")


class WeakProvider:
    """An authorization server that checks by hand; it looks at requests, never at our marks."""

    def __init__(self, server: Server, world: World, *weak: str) -> None:
        self.server, self.world, self.weak = server, world, weak
        self.used: set[str] = set()
        for name in ENDPOINTS:
            server.on(f"/{name}", getattr(self, name))

    def _is_client(self, seen: Seen) -> bool:
        form, header = seen.form, seen.headers.get("authorization", "")
        if "client_assertion" in form:
            return self._assertion_holds(form["client_assertion"])
        if header.startswith("Basic "):
            return unquote(b64decode(header[6:]).decode()) == f"otelprobe:{SECRET}" or "any_secret" in self.weak
        return "no_auth" in self.weak

    def _assertion_holds(self, assertion: str) -> bool:
        header = pyjwt.get_unverified_header(assertion)
        claims = pyjwt.decode(assertion, options={"verify_signature": False})
        if header["alg"] == "none":
            signed = "unsigned" in self.weak
        else:
            try:
                pyjwt.PyJWS().decode(assertion, signing_key("ES256", 3).public_key(), algorithms=["ES256"])
                signed = True
            except pyjwt.InvalidSignatureError:
                signed = "any_key" in self.weak
        fresh = claims["jti"] not in self.used or "replay" in self.weak
        self.used.add(claims["jti"])
        alive = claims["exp"] > self.world.clock.now or "expired" in self.weak
        return signed and fresh and alive and (claims["aud"] == f"{self.server.url}/token" or "audience" in self.weak)

    def token(self, seen: Seen) -> Answer:
        form = seen.form
        if not self._is_client(seen):
            return as_json({"error": "invalid_client"}, 401)
        if form.get("grant_type") == "authorization_code":
            return self._code(form)
        if form.get("grant_type") == "refresh_token":
            return self._refresh(form["refresh_token"])
        grants = {"client_credentials", *(["password"] if "password" in self.weak else [])}
        if form.get("grant_type") not in grants and "any_grant" not in self.weak:
            return as_json({"error": "unsupported_grant_type"}, 400)
        if not self._proof_holds(seen):
            return as_json({"error": "invalid_dpop_proof"}, 400)
        scope = form.get("scope", "") if "any_scope" in self.weak else "orders:read"
        audience = form.get("resource", "orders") if "any_resource" in self.weak else "orders"
        access = sign({"aud": audience}, signing_key("ES256"), "ES256")
        return as_json({"access_token": access, "token_type": "Bearer", "scope": scope})

    def _proof_holds(self, seen: Seen) -> bool:
        proof = seen.headers.get("dpop")
        if proof is None:
            return True
        if "," in proof:
            return "proofs" in self.weak
        header = pyjwt.get_unverified_header(proof)
        claims = pyjwt.decode(proof, options={"verify_signature": False})
        held = (
            header["typ"] == "dpop+jwt" and "d" not in header["jwk"] and claims["htm"] == "POST",
            claims["htu"] == f"{self.server.url}/token" and abs(claims["iat"] - self.world.clock.now) < 60,
            claims["jti"] not in self.used and bool(proof.rpartition(".")[2]),
        )
        self.used.add(claims["jti"])
        return all(held) or "proofs" in self.weak

    def _code(self, form: dict[str, str]) -> Answer:
        right = form["code"] not in self.used or "code_reuse" in self.weak
        right = right and (form.get("code_verifier") == "verifier" or "verifier" in self.weak)
        right = right and (form["redirect_uri"] == URI or "code_uri" in self.weak)
        self.used.add(form["code"])
        return as_json(
            {"access_token": "a", "token_type": "Bearer"} if right else {"error": "invalid_grant"},
            200 if right else 400,
        )

    def _refresh(self, token: str) -> Answer:
        """Rotate: `r1` becomes `r2`. The latest is good, and with a grace its predecessor."""
        number, latest = int(token[1:]), max([1, *(int(r[1:]) for r in self.used if r[0] == "r")])
        if number < latest - ("grace" in self.weak) and "refresh_reuse" not in self.weak:
            return as_json({"error": "invalid_grant"}, 400)
        following = token if "constant" in self.weak else f"r{latest + 1}"
        self.used.add(following)
        return as_json({"access_token": f"a{latest}", "token_type": "Bearer", "refresh_token": following})

    def introspection(self, seen: Seen) -> Answer:
        known = self._is_client(seen) or "open_introspection" in self.weak
        return as_json({"active": True}) if known else as_json({"error": "invalid_client"}, 401)

    def revocation(self, seen: Seen) -> Answer:
        return Answer(200) if self._is_client(seen) else as_json({"error": "invalid_client"}, 401)

    def authorization(self, seen: Seen) -> Answer:
        query = {name: values[0] for name, values in seen.query.items()}
        uri = query["redirect_uri"]
        if uri != URI and "any_uri" not in self.weak and not ("prefix" in self.weak and uri.startswith(URI)):
            return Answer(400, b"<html>unknown redirect_uri</html>", [("Content-Type", "text/html")])
        pkce = query.get("code_challenge_method") == "S256" or "pkce" in self.weak
        error = "login_required" if pkce else "invalid_request"
        return Answer(
            302, b"", [("Location", f"{uri}{'&' if '?' in uri else '?'}error={error}&state={query['state']}")]
        )


@pytest.fixture
def world(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("SECRET", SECRET)
    return World(server.url, state=State(tmp_path), provider=provider(server, client_secret=SecretRef(env="SECRET")))


def provider(server: Server, **more: Any) -> Provider:
    urls: Any = {name: f"{server.url}/{name}" for name in ENDPOINTS}
    return Provider(name="corp", issuer=server.url, client_id="otelprobe", endpoints=urls, **more)


def context(world: World, **more: Any) -> Context:
    code = AuthorizationCode("spent", URI, "verifier")
    known = {"authorization": code, "own_session": True, **more}
    ctx = world.context(world.tokens("access", **known))
    unused = [Made(f"login{n}", AuthorizationCode(f"code{n}", URI, "verifier")) for n in (1, 2, 3, 4)]
    object.__setattr__(ctx, "made", (*unused, *ctx.made))
    return ctx


def step(*cases: str, **more: Any) -> RejectAtProvider:
    members: dict[str, Any] = {
        "redirect_uri": URI,
        "scope": "orders:read",
        "codes": ("login1", "login2", "login3", "login4"),
    }
    return RejectAtProvider(name="reject", cases=cases or ("safe", "slow"), max_requests=50, **{**members, **more})


def found(world: World, reject: RejectAtProvider) -> tuple[set[str], Done, CheckFailed | None]:
    """Run until all kinds had their turn; give what was accepted in any."""
    accepted, last = set[str](), Done()
    failed: CheckFailed | None = None
    for _ in range(6):
        world.clock.now += 4000
        taken, last, error = once(reject, context(world))
        accepted, failed = accepted | taken, error or failed
    return accepted, last, failed


def once(reject: RejectAtProvider, ctx: Context) -> tuple[set[str], Done, CheckFailed | None]:
    """Run once; give what was accepted."""
    try:
        done, failed = reject.run(ctx), None
    except StepFailed as error:
        done, failed = error.done, error
    return {case.case for case in done.cases if case.accepted}, done, failed


WEAK: dict[str, set[str]] = {
    "": set(),
    "any_grant": {"unknown_grant", "missing_grant"},
    "any_scope": {"unknown_scope"},
    "any_resource": {"unknown_resource"},
    "no_auth": {"no_client_auth", "introspect_without_auth", "revoke_without_auth"},
    "any_secret": {"wrong_client_secret", "introspect_wrong_secret"},
    "open_introspection": {"introspect_without_auth", "introspect_wrong_secret"},
    "any_uri": {n for n in PROVIDER_CASES if n.startswith("redirect_")},
    "prefix": {"redirect_other_host", "redirect_extra_path", "redirect_extra_query", "redirect_fragment"}
    - {"redirect_other_host"},
    "pkce": {"without_pkce", "plain_pkce"},
    "verifier": {"wrong_verifier", "missing_verifier"},
    "code_uri": {"other_redirect_uri"},
    "code_reuse": {"code_reused"},
}


@pytest.mark.parametrize("weak", WEAK)
def test_each_weakness_is_found_for_what_it_is(world: World, server: Server, weak: str) -> None:
    """What is accepted is just what the weakness lets through, blamed on the provider; a strict one passes."""
    idp = WeakProvider(server, world, weak)
    idp.used.add("spent")
    accepted, _, failed = found(world, step())
    assert accepted == WEAK[weak]
    if failed is not None:
        assert failed.reason is Reason.REJECTION_ACCEPTED
        assert failed.assigned(Layer.AUTH)[:2] == (Outcome.FAIL, Blame.PROVIDER)
        assert SECRET not in repr(failed)
    assert (failed is None) is (weak == "")


@pytest.mark.parametrize(
    ("weak", "case"),
    [
        ("replay", "assertion_replayed"),
        ("expired", "assertion_expired"),
        ("audience", "assertion_other_audience"),
        ("unsigned", "assertion_unsigned"),
        ("any_key", "assertion_other_key"),
        ("", None),
    ],
)
def test_client_assertions(world: World, server: Server, tmp_path: Path, weak: str, case: str | None) -> None:
    """A provider that takes a used, expired, foreign, unsigned or forged assertion is found by just that case."""
    pem = signing_key("ES256", 3).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (tmp_path / "key.pem").write_bytes(pem)
    world.provider = provider(server, client_assertion=ClientAssertion(key=SecretRef(file=str(tmp_path / "key.pem"))))
    WeakProvider(server, world, weak)
    accepted, last, _ = found(world, step("N23"))
    assert accepted == ({case} if case else set())
    assert len(last.cases) == 5


@pytest.mark.parametrize("weak", ["", "proofs"])
def test_proofs_of_token_requests(world: World, server: Server, weak: str) -> None:
    """A provider that looks at no rule of a DPoP proof takes all seven flawed ones, a strict one none."""
    world.provider = provider(server, client_secret=SecretRef(env="SECRET"), dpop=Dpop())
    WeakProvider(server, world, weak)
    accepted, last, _ = found(world, step("N24"))
    assert {c.case for c in last.cases} == {n for n in PROVIDER_CASES if n.startswith("request_proof_")}
    assert accepted == ({c.case for c in last.cases} if weak else set())


def test_a_run_sends_eight_requests_of_one_kind(world: World, server: Server) -> None:
    """By default the cases of one endpoint go between two good requests; the next run takes the next endpoint."""
    WeakProvider(server, world)
    paths: list[set[str]] = []
    for _ in range(4):
        server.seen.clear()
        RejectAtProvider(name="reject", redirect_uri=URI, scope="orders:read").run(context(world))
        assert len(server.seen) <= 8
        assert [s.headers["x-otelprobe-case"] for s in server.seen][:: len(server.seen) - 1] == ["control", "control"]
        paths.append({s.path for s in server.seen})
    assert paths == [{"/token"}, {"/introspection"}, {"/revocation"}, {"/authorization"}]


def test_noisy_requests_say_so(world: World, server: Server) -> None:
    """A slow case has its name in header and user agent."""
    WeakProvider(server, world)
    step("wrong_client_secret").run(context(world))
    (noisy,) = [s for s in server.seen if s.headers["x-otelprobe-case"] != "control"]
    assert noisy.headers["user-agent"].endswith("(+synthetic check; rejection case wrong_client_secret; slow)")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (lambda _: Answer(503), Reason.REJECTION_INCONCLUSIVE),
        (lambda _: as_json({"error": "invalid_client"}, 401), Reason.REJECTION_INCONCLUSIVE),
        (lambda _: Answer(429), Reason.IDP_RATE_LIMITED),
    ],
)
def test_where_the_good_request_fails_no_bad_one_is_sent(
    world: World, server: Server, answer: Callable[[Seen], Answer], reason: Reason
) -> None:
    """Refusals would prove nothing, and the provider has trouble enough."""
    WeakProvider(server, world)
    server.on("/token", answer)
    with pytest.raises(StepFailed) as caught:
        step("unknown_grant").run(context(world))
    assert caught.value.reason is reason
    assert len(server.seen) == 1


def test_a_server_error_is_no_refusal(world: World, server: Server) -> None:
    """A provider that fails over a bad request is told with the case, and blamed."""
    idp = WeakProvider(server, world)
    server.on("/token", lambda seen: idp.token(seen) if seen.form.get("grant_type") else Answer(500))
    with pytest.raises(StepFailed) as caught:
        step("missing_grant").run(context(world))
    assert caught.value.reason is Reason.REJECTION_SERVER_ERROR
    assert caught.value.blame is Blame.PROVIDER


def test_no_host_that_the_flow_file_does_not_name(world: World, server: Server) -> None:
    """An endpoint at a host that only the discovery document names gets nothing bad; the warning says how to allow it."""
    WeakProvider(server, world)
    world.provider = Provider(name="corp", issuer="https://login.example.com", client_id="otelprobe")
    ctx = context(world)
    metadata = ProviderMetadata("https://login.example.com", {"token": f"{server.url}/token"}, {})
    object.__setattr__(ctx, "made", (Made("discover", metadata), *ctx.made))
    done = step("unknown_grant").run(ctx)
    assert (done.cases, server.seen) == ((), [])
    (warning,) = done.warnings
    assert "stands in the discovery document only" in warning.detail


def test_the_budget_holds(world: World, server: Server) -> None:
    """Token requests of cases count as those of any step."""
    WeakProvider(server, world)
    world.provider = provider(server, client_secret=SecretRef(env="SECRET"), budget=Rate(2, 60.0))
    with pytest.raises(StepFailed) as caught:
        step("unknown_grant", "missing_grant").run(context(world))
    assert caught.value.reason in {Reason.BUDGET_EXHAUSTED, Reason.REJECTION_INCONCLUSIVE}
    assert len(server.seen) == 2


@pytest.mark.parametrize(
    ("more", "member"),
    [
        ({"cases": ()}, "cases"),
        ({"cases": ("N26",)}, None),
        ({"cases": ("redirect_fragment",)}, "cases"),
        ({"cases": ("wrong_password",), "decoy_user": "eve"}, "cases"),
        (
            {"cases": ("wrong_password",), "decoy_user": "eve", "allow_intrusive": True, "intrusive_hosts": ("idp",)},
            None,
        ),
        ({"params": {"grant_type": "x"}}, "params"),
        ({"max_requests": 1}, "max_requests"),
    ],
)
def test_parameters_must_fit(more: dict[str, Any], member: str | None) -> None:
    """What makes no sense together, or may not be, is refused when the flow file is read."""
    assert [name for name, _ in RejectAtProvider(**more).faults()] == ([member] if member else [])


def test_a_decoy_user_may_be_locked_out(world: World, server: Server) -> None:
    """A wrong password of the decoy is refused, or found where the provider takes any."""
    reject = step("wrong_password", decoy_user="eve", allow_intrusive=True, intrusive_hosts=("127.0.0.1",))
    WeakProvider(server, world)
    assert found(world, reject)[0] == set()
    WeakProvider(server, world, "password")
    assert found(world, reject)[0] == {"wrong_password"}
    assert json.dumps(list(reject.notes()))
    assert Tokens in {type(m.artifact) for m in context(world).made}


@pytest.mark.parametrize(
    ("weak", "accepted", "reason"),
    [
        ("", False, None),
        ("grace", False, None),
        ("refresh_reuse", True, Reason.REFRESH_REUSE_ACCEPTED),
        ("constant", None, Reason.REJECTION_INCONCLUSIVE),
    ],
)
def test_a_refresh_token_used_twice(
    world: World, server: Server, weak: str, accepted: bool | None, reason: Reason | None
) -> None:
    """The last but one is offered, which no grace covers; later steps have the successor of the session's token."""
    WeakProvider(server, world, weak)
    _, done, failed = once(step("refresh_reused"), context(world, refresh="r1"))
    assert (failed.reason if failed is not None else None) is reason
    assert [seen.form["refresh_token"] for seen in server.seen] == ["r1", "r2", "r1"][: 1 if weak == "constant" else 3]
    if accepted is not None:
        assert [case.accepted for case in done.cases] == [accepted]
        (made,) = done.makes
        assert isinstance(made, Tokens)
        assert made.refresh == ("r4" if accepted else "r3")


def test_no_refresh_token_is_spent_that_outlives_the_flow(world: World, server: Server) -> None:
    """One that came from a secret store is not offered: its session is nobody's to end."""
    WeakProvider(server, world)
    ctx = context(world, authorization=None, own_session=False, refresh="r1")
    done = step("refresh_reused").run(ctx)
    assert (done.cases, server.seen) == ((), [])
    assert "may be spent" in done.warnings[0].detail


DEVICE = {"authorization": None, "refresh": "r1"}
ASKED = (("grant_type", "password"), ("username", "ann"), ("password", "canary"), ("scope", "openid"))


@pytest.mark.parametrize(
    ("tokens", "more", "expected"),
    [
        ({"asked": ASKED}, {"scope": None}, dict(ASKED)),
        ({"asked": ASKED}, {"scope": "other"}, {**dict(ASKED), "scope": "other"}),
        ({"asked": ASKED}, {"grant": "client_credentials", "scope": None}, {"grant_type": "client_credentials"}),
        ({"refresh": "r1"}, {"scope": None}, {"grant_type": "refresh_token", "refresh_token": "r1"}),
        (DEVICE, {"scope": None}, {"grant_type": "refresh_token", "refresh_token": "r1"}),
        ({}, {"scope": None}, {"grant_type": "client_credentials"}),
    ],
)
def test_the_good_request_is_that_of_the_flow(
    world: World, server: Server, tokens: dict[str, Any], more: dict[str, Any], expected: dict[str, str]
) -> None:
    """It asks as the step whose token is used did; where that used up a code, by its refresh token and its successors."""
    WeakProvider(server, world, "password")
    done = step("unknown_grant", **more).run(context(world, **tokens))
    good = [seen.form for seen in server.seen if seen.headers["x-otelprobe-case"] == "control"]
    assert good[0] == expected
    assert good[1] == ({**expected, "refresh_token": "r2"} if "refresh_token" in expected else expected)
    assert [getattr(made, "refresh", None) for made in done.makes] == (["r3"] if "refresh_token" in expected else [])
    assert [case.accepted for case in done.cases] == [False]


@pytest.mark.parametrize(
    ("tokens", "more", "told"),
    [
        ({"own_session": False, "refresh": "r1", "authorization": None}, {}, True),
        ({"own_session": True, "authorization": None}, {}, True),
        ({"own_session": False, "authorization": None}, {"grant": "client_credentials"}, False),
        ({"asked": (("grant_type", "client_credentials"),)}, {}, False),
    ],
)
def test_another_grant_is_told(
    world: World, server: Server, tokens: dict[str, Any], more: dict[str, Any], told: bool
) -> None:
    """A token whose request cannot be sent again has a control by client_credentials: nobody is left to guess that."""
    WeakProvider(server, world)
    done = step("unknown_grant", scope=None, **more).run(context(world, **tokens))
    assert server.seen[0].form["grant_type"] == "client_credentials"
    assert [w.reason for w in done.warnings] == [Reason.REJECTION_INCONCLUSIVE] * told
    assert all("set grant to mean that" in w.detail for w in done.warnings)


def test_spoilt_codes_have_a_good_one_beside_them(world: World, server: Server) -> None:
    """The last code is exchanged rightly after them; where it fails too, or there is none, refusals prove nothing."""
    idp = WeakProvider(server, world)
    assert [case.accepted for case in step(*SPOILT).run(context(world)).cases] == [False] * 3
    assert [seen.form["code"] for seen in server.seen] == ["code1", "code2", "code3", "code4"]
    idp.used.add("code4")
    world.clock.now += 4000
    with pytest.raises(StepFailed, match=r"the good request \(code\) failed too") as caught:
        step(*SPOILT).run(context(world))
    assert caught.value.reason is Reason.REJECTION_INCONCLUSIVE
    world.clock.now += 4000
    with pytest.raises(StepFailed, match="no code was exchanged rightly beside wrong_verifier: name one more"):
        step("wrong_verifier", codes=("login1",)).run(context(world, authorization=None))


def burst(**more: Any) -> RejectAtProvider:
    return step("request_burst", allow_intrusive=True, intrusive_hosts=("127.0.0.1",), **more)


@pytest.mark.parametrize(("limit", "sent", "reasons"), [(6, 7, []), (99, 20, [Reason.RATE_LIMIT_UNSEEN])])
def test_a_burst_looks_for_a_rate_limit(
    world: World, server: Server, limit: int, sent: int, reasons: list[Reason]
) -> None:
    """It ends at the first 429, or after twenty with a warning, passes either way, and does no harm to a real client."""
    idp = WeakProvider(server, world)
    server.on("/token", lambda seen: idp.token(seen) if len(server.seen) <= limit else Answer(429))
    accepted, done, failed = once(burst(), context(world))
    assert (accepted, failed) == (set(), None)
    assert (done.facts[Fact.REJECTION_BURST], done.facts[Fact.REJECTION_LIMITED]) == (sent, not reasons)
    assert [w.reason for w in done.warnings] == reasons
    assert {seen.form["client_id"] for seen in server.seen} == {"otelprobe-no-such-client"}
    assert len({seen.form["client_secret"] for seen in server.seen}) == sent == len(server.seen)


def test_a_burst_at_a_decoy_user(world: World, server: Server) -> None:
    """With a decoy user it guesses at that one's password, always another; one that is taken ends it as an acceptance."""
    idp = WeakProvider(server, world, "password")
    refuse = as_json({"error": "invalid_grant"}, 400)
    server.on("/token", lambda seen: refuse if len(server.seen) <= 3 else idp.token(seen))
    accepted, done, failed = once(burst(decoy_user="eve"), context(world))
    assert accepted == {"request_burst"}
    assert failed is not None
    assert (failed.reason, done.facts[Fact.REJECTION_BURST]) == (Reason.REJECTION_ACCEPTED, 4)
    assert {seen.form["username"] for seen in server.seen} == {"eve"}
    assert len({seen.form["password"] for seen in server.seen}) == 4


def test_a_burst_keeps_to_the_budget(world: World, server: Server) -> None:
    """Where the budget of token requests is used up it ends, which proves nothing and fails nothing."""
    WeakProvider(server, world)
    world.provider = provider(server, client_secret=SecretRef(env="SECRET"), budget=Rate(5, 60.0))
    _, done, failed = once(burst(), context(world))
    assert (failed, len(server.seen)) == (None, 5)
    assert [w.detail for w in done.warnings] == [
        "request_burst: request 6 of 20 ended it by budget_exhausted, not by a rate limit"
    ]
