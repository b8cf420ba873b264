"""Tokens bound to a key (RFC 9449): proofs at the token endpoint and at the API, nonces, and the binding."""

import time
from dataclasses import replace
from pathlib import Path

import jwt
import pytest

from otelprobe.credentials import Auth
from otelprobe.fields import SecretRef
from otelprobe.reasons import Blame, CheckFailed, Counts, Reason
from otelprobe.signing import Dpop
from otelprobe.steps.call import Call
from otelprobe.steps.refresh import Refresh
from otelprobe.steps.reject import Reject
from otelprobe.steps.token import Token, TokenExpect
from otelprobe.steps.userinfo import UserInfo
from otelprobe.tokens import generate_key, sign
from tests.conftest import Answer, Seen
from tests.signing_kit import digest, jwk, key_file, pem, read_proof, thumbprint
from tests.steps.flows import Bench, as_json, last, token_answer

KEY = generate_key("HS256")


def bound(jkt: object, **claims: object) -> str:
    """Make an access token that is bound to a key."""
    return sign({"cnf": {"jkt": jkt}, "exp": int(time.time()) + 300, **claims}, KEY, "HS256")


def issue(seen: Seen) -> Answer:
    """Issue a token that is bound to the key of the proof."""
    return token_answer(access_token=bound(read_proof(seen)["jkt"]), token_type="DPoP", refresh_token="rt")


def protected(seen: Seen) -> Answer:
    """Answer who shows the token with a proof of its key, as RFC 9449, section 7 asks for."""
    scheme, _, token = seen.headers.get("authorization", "").partition(" ")
    try:
        assert scheme == "DPoP"
        claims = jwt.decode(token, KEY, algorithms=["HS256"])
        proof = read_proof(seen)
        assert proof["ath"] == digest(token.encode())
        assert proof["jkt"] == claims["cnf"]["jkt"]
    except (AssertionError, jwt.PyJWTError, KeyError):
        return Answer(401, b"", [("WWW-Authenticate", 'DPoP error="invalid_token", algs="ES256"')])
    return as_json({"status": "ok", "sub": "ann"})


@pytest.fixture
def dpop(bench: Bench) -> Bench:
    """Give a bench whose provider binds tokens, and an API that wants proofs."""
    bench.provider = replace(bench.provider, dpop=Dpop())
    bench.server.on("/token", issue)
    bench.server.on("/api", protected)
    bench.server.on("/userinfo", protected)
    return bench


def test_a_bound_token_is_asked_for_and_used_with_proofs(dpop: Bench) -> None:
    """Token, API, userinfo and refresh are proven with one fresh key, each request with a proof of its own."""
    url = f"{dpop.server.url}/api"
    result = dpop.run(
        Token(name="token"),
        Call(name="call", url=f"{url}?a=b"),
        UserInfo(name="userinfo"),
        Refresh(name="refresh"),
        Call(name="again", url=url),
    )
    assert result.passed, result.detail
    proofs = [read_proof(s) for s in dpop.server.seen]
    assert len({p["jti"] for p in proofs}) == 5
    assert len({p["jkt"] for p in proofs}) == 1
    assert [p["htm"] for p in proofs] == ["POST", "GET", "GET", "POST", "GET"]
    assert proofs[1]["htu"] == url
    assert "ath" not in proofs[0]
    assert proofs[0]["alg"] == "ES256"


def test_the_key_is_fresh_in_every_run_unless_one_is_given(dpop: Bench, tmp_path: Path) -> None:
    """Two runs, two keys; with a key of its own the client is always the same."""
    for _ in range(2):
        assert dpop.run(Token(name="token"), Token(name="second")).passed
    dpop.provider = replace(dpop.provider, dpop=Dpop(key=key_file(tmp_path, jwk("EdDSA", kid="mine"))))
    for _ in range(2):
        assert dpop.run(Token(name="token")).passed
    prints = [read_proof(s)["jkt"] for s in dpop.server.seen]
    assert prints[0] == prints[1] != prints[2] == prints[3]
    mine = {k: v for k, v in jwk("EdDSA").items() if k != "d"}
    assert prints[4] == prints[5] == thumbprint(mine)


def test_a_cached_token_keeps_its_key(dpop: Bench) -> None:
    """A token of an earlier run is proven with the key that it is bound to."""
    steps = (Token(name="token", cache="reuse"), Call(name="call", url=f"{dpop.server.url}/api"))
    assert dpop.run(*steps).passed
    assert dpop.run(*steps).passed
    assert [s.path for s in dpop.server.seen] == ["/token", "/api", "/api"]


def nonce_error(seen: Seen) -> Answer:
    """Ask for a nonce the way an authorization server does."""
    return as_json({"error": "use_dpop_nonce"}, 400, DPoP_Nonce="n-1")


def test_a_server_that_wants_a_nonce_is_asked_once_more(dpop: Bench) -> None:
    """The second request is told as a resend; the next run has the nonce from the start."""
    dpop.server.on("/token", lambda seen: issue(seen) if read_proof(seen).get("nonce") == "n-1" else nonce_error(seen))
    result = dpop.run(Token(name="token"))
    assert result.passed, result.detail
    assert [(x.status, x.resend_count) for x in last(result).exchanges] == [(400, 0), (200, 1)]
    assert [(x.status, x.resend_count) for x in last(dpop.run(Token(name="token"))).exchanges] == [(200, 0)]


def test_an_api_that_wants_a_nonce_is_asked_once_more(dpop: Bench) -> None:
    """An API says so in its challenge (RFC 9449, section 9)."""

    def api(seen: Seen) -> Answer:
        if read_proof(seen).get("nonce") == "api-1":
            return protected(seen)
        challenge = 'DPoP error="use_dpop_nonce", error_description="no nonce"'
        return Answer(401, b"", [("WWW-Authenticate", challenge), ("DPoP-Nonce", "api-1")])

    dpop.server.on("/api", api)
    result = dpop.run(Token(name="token"), Call(name="call", url=f"{dpop.server.url}/api"))
    assert result.passed, result.detail
    assert [(x.status, x.resend_count) for x in last(result).exchanges] == [(401, 0), (200, 1)]


def test_a_server_that_never_likes_its_own_nonce_is_to_blame(dpop: Bench) -> None:
    """One retry, no more; then it is the provider's failure."""
    dpop.server.on("/token", nonce_error)
    result = dpop.run(Token(name="token"))
    assert (result.reason, result.blame, result.counts) == (Reason.OAUTH_ERROR_OTHER, Blame.PROVIDER, Counts.AUTH)
    assert len(dpop.server.seen) == 2


@pytest.mark.parametrize(
    ("answer", "reason", "blame"),
    [
        (token_answer(), Reason.TOKEN_TYPE_UNEXPECTED, Blame.PROVIDER),
        (token_answer(token_type="DPoP", access_token=bound("another")), Reason.CLAIM_MISMATCH, Blame.PROVIDER),
        (token_answer(token_type="DPoP", access_token=bound(None)), Reason.CLAIM_MISSING, Blame.PROVIDER),
        (
            token_answer(token_type="DPoP", access_token=sign({}, KEY, "HS256")),
            Reason.CLAIM_MISSING,
            Blame.PROVIDER,
        ),
        (as_json({"error": "invalid_dpop_proof"}, 400), Reason.INVALID_REQUEST, Blame.CONFIG),
    ],
)
def test_each_bad_answer_has_its_reason(dpop: Bench, answer: Answer, reason: Reason, blame: Blame) -> None:
    """A plain token, one that is bound to another key or to none, a refused proof."""
    dpop.server.on("/token", answer)
    result = dpop.run(Token(name="token"))
    assert (result.reason, result.blame) == (reason, blame), result.detail


def test_a_token_bound_to_an_unknown_key_is_seen_without_dpop_too(bench: Bench) -> None:
    """A provider that binds a token to a key that nobody has issues what cannot be used."""
    bench.server.on("/token", token_answer(access_token=bound("somebody")))
    assert bench.run(Token(name="token")).reason is Reason.CLAIM_MISMATCH


def test_an_opaque_token_is_bound_as_far_as_anybody_can_see(dpop: Bench) -> None:
    """Nothing can be compared; with `bound_to` that is a failure."""
    dpop.server.on("/token", token_answer(token_type="DPoP"))
    assert dpop.run(Token(name="token")).passed
    expect = TokenExpect(bound_to="dpop")
    assert dpop.run(Token(name="token", expect=expect)).reason is Reason.TOKEN_OPAQUE


@pytest.mark.parametrize("where", ["token", "api"])
def test_a_proof_out_of_time_blames_the_clock(dpop: Bench, where: str) -> None:
    """A refused proof beside a clock that is off is no mistake in the proof."""
    dpop.clock.seconds = -600
    if where == "token":
        dpop.server.on("/token", as_json({"error": "invalid_dpop_proof"}, 400))
    else:
        dpop.server.on("/token", lambda s: token_answer(token_type="DPoP"))
        dpop.server.on("/api", Answer(401, b"", [("WWW-Authenticate", 'DPoP error="invalid_dpop_proof"')]))
    result = dpop.run(Token(name="token"), Call(name="call", url=f"{dpop.server.url}/api"))
    assert result.reason is Reason.CLOCK_SKEW
    assert result.blame is (Blame.PROVIDER if where == "token" else Blame.API)


def test_the_named_token_is_sent_with_a_proof(dpop: Bench) -> None:
    """`auth: {dpop: STEP}` picks the token as `bearer` does; a scheme of its own sends it without a proof."""
    url = f"{dpop.server.url}/api"
    steps = (Token(name="one"), Token(name="two"))
    assert dpop.run(*steps, Call(name="call", url=url, auth=Auth(dpop="one"))).passed
    result = dpop.run(*steps, Call(name="call", url=url, auth=Auth(bearer="one", scheme="Bearer")))
    assert "dpop" not in dpop.server.seen[-1].headers
    assert not result.passed


def test_a_token_without_a_key_cannot_be_proven(bench: Bench) -> None:
    """`auth: {dpop: STEP}` of a plain token is a mistake in the flow file, told with its mend."""
    bench.server.on("/token", token_answer())
    result = bench.run(Token(name="token"), Call(name="call", url=f"{bench.server.url}/api", auth=Auth(dpop="token")))
    assert (result.reason, result.blame) == (Reason.CONFIG_ERROR, Blame.CONFIG)
    assert "dpop: {}" in str(result.detail)


def test_bad_tokens_are_offered_with_good_proofs(dpop: Bench) -> None:
    """`reject` proves each bad token anew, so that the token alone is what is wrong with it."""
    result = dpop.run(Token(name="token"), Reject(name="reject", url=f"{dpop.server.url}/api"))
    assert result.passed, result.detail
    offered = [s for s in dpop.server.seen if s.path == "/api" and "authorization" in s.headers]
    assert len(offered) == 7
    for seen in offered:
        assert read_proof(seen)["ath"] == digest(seen.headers["authorization"].removeprefix("DPoP ").encode())


def test_a_refused_token_is_tried_again_with_proofs(dpop: Bench) -> None:
    """The forged token that tells who is to blame goes with a proof as well."""
    dpop.server.on("/api", Answer(500))
    result = dpop.run(Token(name="token"), Call(name="call", url=f"{dpop.server.url}/api"))
    assert result.reason is Reason.API_UNAVAILABLE
    assert ["dpop" in s.headers for s in dpop.server.seen if s.path == "/api"] == [True, False, True]


def test_a_long_nonce_is_not_kept(dpop: Bench) -> None:
    """What no server means is not carried about."""
    dpop.server.on("/token", as_json({"error": "use_dpop_nonce"}, 400, DPoP_Nonce="n" * 2000))
    assert dpop.run(Token(name="token")).reason is Reason.OAUTH_ERROR_OTHER
    assert dpop.memory.nonces == {}


def test_no_key_shows(dpop: Bench) -> None:
    """Neither the private key nor the token is in what is published."""
    result = dpop.run(Token(name="token"), Call(name="call", url=f"{dpop.server.url}/api"))
    token = dpop.server.seen[-1].headers["authorization"]
    assert token.removeprefix("DPoP ") not in repr(result)
    assert "jwk" not in repr(result)


def test_what_does_not_fit_is_told_before_any_run(tmp_path: Path) -> None:
    """A proof is never symmetric; a key that is none is config_error."""
    assert dict(Dpop(algorithm="HS256").faults()).keys() == {"algorithm"}
    assert dict(Dpop(algorithm="PS256").faults()).keys() == {"algorithm"}
    assert not list(Dpop(algorithm="PS256", key=SecretRef(env="K")).faults())
    assert not list(Dpop(algorithm="ES384").faults())
    assert dict(Auth(dpop="a", bearer="b").faults())
    with pytest.raises(CheckFailed, match="config_error"):
        Dpop(key=SecretRef(file=str(key_file(tmp_path, "none").file))).signer()
    assert Dpop(algorithm="PS256", key=key_file(tmp_path, pem("RS256"))).signer().algorithm == "PS256"
