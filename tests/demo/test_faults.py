"""Every fault does on the wire what its row says, and does nothing while it is off."""

import time
from email.utils import parsedate_to_datetime

import jwt
import pytest
import requests
from cryptography.hazmat.primitives.asymmetric import rsa

from otelprobe.demo import FAULTS, UnknownFaultError, start_demo
from otelprobe.reasons import VERDICTS, Blame, Counts, Layer, Reason, objective, owner
from tests.demo.conftest import Visitor


def discovery(visitor):
    return visitor.http.get(f"{visitor.demo.issuer}/.well-known/openid-configuration", timeout=5)


def keys(visitor):
    return visitor.http.get(f"{visitor.demo.issuer}/jwks", timeout=5)


def header_of(visitor):
    return jwt.get_unverified_header(visitor.tokens()["access_token"])


def rejected_as(visitor, error, **rest):
    """Tell whether a local check of a new token ends with this exception."""
    try:
        visitor.verify(visitor.tokens()["access_token"], **rest)
    except error as raised:
        return type(raised) is error
    return False


def fails_with(error, send):
    try:
        send()
    except error:
        return True
    return False


def timed(send):
    start = time.monotonic()
    return send().status_code == 200 and time.monotonic() - start > 1.2


def good_call(visitor, path="/orders"):
    """Call the API with a token that is good by a local check."""
    token = visitor.tokens()["access_token"]
    visitor.verify(token, leeway=5)
    return visitor.call(path, token)


def answers(visitor):
    """The statuses to no token, a forged one and a good one."""
    token = visitor.tokens()["access_token"]
    head, payload, signature = token.split(".")
    forged = f"{head}.{payload}.{signature[:20]}{'A' if signature[20] != 'A' else 'B'}{signature[21:]}"
    return tuple(visitor.call("/orders", t).status_code for t in (None, forged, token))


def challenge(visitor):
    response = good_call(visitor)
    return response.status_code, response.headers.get("WWW-Authenticate")


def html(response, status, *marks):
    page = response.headers["Content-Type"].startswith("text/html")
    return response.status_code == status and page and all(m in response.text for m in marks)


def skew(response):
    """Give how far a server's Date is off, in minutes."""
    return round((parsedate_to_datetime(response.headers["Date"]).timestamp() - time.time()) / 60)


def refused_early(visitor):
    response = good_call(visitor)
    told = response.headers.get("WWW-Authenticate", "")
    return response.status_code == 401 and "invalid_token" in told and "not yet valid" in told and skew(response) == -10


def ahead(visitor):
    response = visitor.token_response()
    claims = jwt.decode(response.json()["access_token"], options={"verify_signature": False})
    off = {round((claims[n] - time.time()) / 60) for n in ("iat", "nbf")}
    return skew(response) == 10 and off == {10}


def unsigned_passes(visitor):
    claims = jwt.decode(visitor.tokens()["access_token"], options={"verify_signature": False})
    return visitor.call("/orders", jwt.encode(claims, None, "none")).status_code == 200


def own_key_passes(visitor):
    token = visitor.tokens()["access_token"]
    head, claims = jwt.get_unverified_header(token), jwt.decode(token, options={"verify_signature": False})
    key = rsa.generate_private_key(65537, 2048)
    inline = jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
    return visitor.call("/orders", jwt.encode(claims, key, "RS256", {**head, "jwk": inline})).status_code == 200


def tampered_passes(visitor):
    return answers(visitor) == (401, 200, 200)


def stale(visitor):
    return challenge(visitor)[0] == 401 and 'error="invalid_token"' in challenge(visitor)[1]


def reused(visitor):
    first = visitor.tokens()["refresh_token"]
    return visitor.refresh(first).json()["refresh_token"] != first and visitor.refresh(first).status_code == 200


def same_refresh(visitor):
    first = visitor.tokens()["refresh_token"]
    again = visitor.refresh(first)
    return again.status_code == 200 and again.json()["refresh_token"] == first


def introspected(visitor):
    return visitor.ask("introspection", visitor.tokens()["access_token"]).json() == {"active": False}


def still_active(visitor):
    token = visitor.tokens()["access_token"]
    revoked = visitor.ask("revocation", token).status_code == 200
    return revoked and visitor.ask("introspection", token).json()["active"]


def trickles(visitor):
    form = {"grant_type": "client_credentials"}
    url, headers = f"{visitor.demo.issuer}/token", visitor.basic()
    with visitor.http.post(url, data=form, headers=headers, stream=True, timeout=5) as response:
        pieces = response.iter_content(None)
        return len([next(pieces, b"") for _ in range(3)][2]) == 1


def endless(visitor):
    form = {"grant_type": "client_credentials"}
    url, headers = f"{visitor.demo.issuer}/token", visitor.basic()
    with visitor.http.post(url, data=form, headers=headers, stream=True, timeout=5) as response:
        return sum(len(p) for _, p in zip(range(40), response.iter_content(2**16), strict=False)) > 2**21


def status_and_json(response, status, **members):
    return response.status_code == status and response.json() == members


def lacks(visitor, claim):
    return claim not in jwt.decode(visitor.tokens()["access_token"], options={"verify_signature": False})


SHOWS = {
    "discovery-down": lambda v: discovery(v).status_code == 503,
    "discovery-html": lambda v: html(discovery(v), 200, "We will be back"),
    "discovery-issuer": lambda v: v.discover()["issuer"] != v.demo.issuer,
    "discovery-drift": lambda v: "HS256" in discovery(v).json()["id_token_signing_alg_values_supported"],
    "jwks-down": lambda v: keys(v).status_code == 503,
    "jwks-empty": lambda v: keys(v).json() == {"keys": []},
    "jwks-private-key": lambda v: "d" in keys(v).json()["keys"][0],
    "slow-token": lambda v: timed(v.token_response),
    "token-down": lambda v: v.token_response().status_code == 503,
    "token-refused": lambda v: fails_with(requests.ConnectionError, v.token_response),
    "token-closed": lambda v: fails_with(requests.ConnectionError, v.token_response),
    "token-hanging": lambda v: fails_with(requests.ReadTimeout, lambda: v.token_response(timeout=0.3)),
    "trickling-body": trickles,
    "huge-body": endless,
    "html-instead-of-json": lambda v: html(v.token_response(), 200, "We will be back"),
    "idp-error": lambda v: status_and_json(v.token_response(), 400, error="server_error"),
    "idp-rate-limited": lambda v: v.token_response().headers.get("Retry-After") == "30",
    "invalid-client-secret": lambda v: v.token_response().json().get("error") == "invalid_client",
    "token-missing": lambda v: "access_token" not in v.tokens(),
    "token-type": lambda v: v.tokens()["token_type"] == "N_A",
    "expires-in-zero": lambda v: v.tokens()["expires_in"] == 0,
    "scope-reduced": lambda v: v.tokens()["scope"] == "openid",
    "opaque-token": lambda v: "." not in v.tokens()["access_token"],
    "wrong-issuer": lambda v: rejected_as(v, jwt.InvalidIssuerError),
    "wrong-audience": lambda v: rejected_as(v, jwt.InvalidAudienceError),
    "missing-claim": lambda v: lacks(v, "jti") and rejected_as(v, jwt.MissingRequiredClaimError),
    "expired-on-issue": lambda v: rejected_as(v, jwt.ExpiredSignatureError, leeway=5),
    "clock-ahead": lambda v: ahead(v) and rejected_as(v, jwt.ImmatureSignatureError, leeway=5),
    "unknown-kid": lambda v: rejected_as(v, KeyError),
    "rotated-with-overlap": lambda v: len(keys(v).json()["keys"]) == 2 and good_call(v).status_code == 200,
    "rotated-without-overlap": lambda v: rejected_as(v, KeyError),
    "wrong-signature": lambda v: rejected_as(v, jwt.InvalidSignatureError),
    "alg-none": lambda v: header_of(v)["alg"] == "none",
    "api-unreachable": lambda v: fails_with(requests.ConnectionError, lambda: v.call("/health")),
    "api-slow": lambda v: timed(lambda: good_call(v)),
    "api-down": lambda v: answers(v) == (401, 401, 503),
    "api-wrong-body": lambda v: good_call(v).json()["status"] == "degraded",
    "validator-broken": lambda v: answers(v) == (401, 500, 500),
    "stale-key-cache": stale,
    "api-clock-behind": refused_early,
    "credentials-not-seen": lambda v: challenge(v) == (401, 'Bearer realm="demo"'),
    "api-unexplained": lambda v: challenge(v) == (401, None),
    "login-page": lambda v: html(good_call(v), 200, "type='password'"),
    "api-forbidden": lambda v: challenge(v) == (403, None) and answers(v) == (401, 401, 403),
    "insufficient-scope": lambda v: challenge(v)[0] == 403 and 'error="insufficient_scope"' in challenge(v)[1],
    "api-rate-limited": lambda v: (good_call(v).status_code, good_call(v).headers.get("Retry-After")) == (429, "30"),
    "waf-page": lambda v: html(good_call(v), 403, "you have been blocked") and "CF-RAY" in good_call(v).headers,
    "bot-challenge": lambda v: html(good_call(v), 403, "captcha") and "cf-mitigated" in good_call(v).headers,
    "api-not-protected": lambda v: answers(v) == (200, 200, 200),
    "api-accepts-unsigned": unsigned_passes,
    "api-skips-signature": tampered_passes,
    "api-trusts-inline-key": own_key_passes,
    "api-crashes-on-bad-token": lambda v: answers(v) == (401, 500, 200),
    "refresh-broken": lambda v: v.refresh(v.tokens()["refresh_token"]).json().get("error") == "invalid_grant",
    "refresh-not-rotated": same_refresh,
    "refresh-reuse-accepted": reused,
    "introspection-inactive": introspected,
    "revocation-broken": lambda v: v.ask("revocation", v.tokens()["access_token"]).status_code == 400,
    "revocation-ignored": still_active,
}


@pytest.mark.parametrize("name", [name for name, fault in FAULTS.items() if not fault.tls])
def test_fault_shows_while_it_is_on_and_only_then(demo, visitor, name):
    """The fault is not seen before it is on, is seen then, and leaves a healthy demo behind."""
    assert not SHOWS[name](visitor)
    demo.set_faults([name])
    assert SHOWS[name](visitor)
    demo.set_faults()
    assert good_call(visitor).status_code == 200


def test_expired_certificate_is_served_by_the_provider_alone():
    """The fault turns TLS on by itself, fails verification at the provider as expired, and spares the API."""
    with start_demo(["tls-cert-expired"]) as demo:
        visitor = Visitor(demo)
        with pytest.raises(requests.exceptions.SSLError, match="certificate has expired"):
            discovery(visitor)
        assert visitor.call("/health").status_code == 200
        demo.set_faults()
        assert good_call(visitor).status_code == 200
        visitor.close()


def test_faults_add_up(demo, visitor):
    """Several faults at once each show."""
    wanted = {"wrong-audience", "missing-claim", "token-type"}
    demo.set_faults(wanted)
    assert demo.faults == wanted
    answer = visitor.tokens()
    claims = jwt.decode(answer["access_token"], options={"verify_signature": False})
    assert (claims["aud"], "jti" in claims, answer["token_type"]) == ("another-api", False, "N_A")


def test_unknown_fault_is_refused(demo):
    """A wrong name is refused before anything changes, and the message says where the names are."""
    demo.set_faults(["token-down"])
    with pytest.raises(UnknownFaultError, match="no such fault: nonsense; otelprobe demo --list-faults"):
        demo.set_faults(["nonsense"])
    assert demo.faults == {"token-down"}
    with pytest.raises(UnknownFaultError, match="nonsense"):
        start_demo(["nonsense"])


def test_fault_that_needs_tls_cannot_be_added_later(demo):
    """Without TLS the expired certificate cannot be served, and the message says what to do."""
    with pytest.raises(ValueError, match="tls-cert-expired: start the demo with this fault or with TLS"):
        demo.set_faults(["tls-cert-expired"])


@pytest.mark.parametrize("fault", FAULTS.values(), ids=lambda f: f.name)
def test_expected_words_are_those_of_the_table(fault):
    """The reason, blame and objective of every row agree with the vocabulary of failure."""
    if fault.reason is None:
        assert (fault.blame, fault.counts, fault.step) == (None, None, None)
        return
    verdict, layer = VERDICTS[Reason(fault.reason)], Layer.API if fault.step in {"call", "reject"} else Layer.AUTH
    blame, counts = verdict.blame or owner(layer), verdict.counts or objective(layer)
    if fault.name == "api-clock-behind":  # the odd one out is the API, where the table's row has the provider
        blame, counts = Blame.API, Counts.AUTH
    assert (fault.blame, fault.counts) == (blame, counts)


def test_every_fault_is_shown():
    """No row is without a proof on the wire."""
    assert set(SHOWS) == {name for name, fault in FAULTS.items() if not fault.tls}
