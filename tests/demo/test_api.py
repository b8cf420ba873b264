"""The API lets good credentials in and tells bad ones why not."""

import json
from base64 import urlsafe_b64encode

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa


def encoded(part):
    return urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


@pytest.mark.parametrize("path", ["/orders", "/orders/1001", "/me", "/a", "/b", "/c", "/introspected"])
def test_good_token_opens_and_none_is_challenged(visitor, path):
    """Every protected page takes the token, and says to nobody in particular that one is due (RFC 6750, section 3)."""
    token = visitor.tokens()["access_token"]
    assert visitor.call(path, token).json()["status"] == "ok"
    refused = visitor.call(path)
    assert (refused.status_code, refused.headers["WWW-Authenticate"]) == (401, 'Bearer realm="demo"')


def test_health_is_open(visitor):
    """The health page needs no credential."""
    assert visitor.call("/health").json() == {"status": "ok"}


def forgeries(token):
    """Every kind of token that must not pass, by name."""
    header, payload, signature = token.split(".")
    claims = jwt.decode(token, options={"verify_signature": False})
    head = jwt.get_unverified_header(token)
    stranger = rsa.generate_private_key(65537, 2048)
    yield "garbage", "garbage"
    yield "empty parts", ".."
    yield "no JSON", "a.b.c"
    yield "five parts", "a.b.c.d.e"
    yield "header is a list", f"{encoded([1])}.{payload}.{signature}"
    yield "payload is a list", f"{header}.{encoded([1])}.{signature}"
    yield "kid is a number", f"{encoded({**head, 'kid': 1})}.{payload}.{signature}"
    yield "tampered", f"{header}.{encoded({**claims, 'scope': 'orders:write'})}.{signature}"
    yield "huge exp", f"{header}.{encoded({**claims, 'exp': float('inf')})}.{signature}"
    yield "unsigned", f"{encoded({**head, 'alg': 'none'})}.{payload}."
    yield "forged", jwt.encode(claims, stranger, "RS256", head)
    yield "unknown kid", jwt.encode(claims, stranger, "RS256", {**head, "kid": "x"})
    yield "wrong family", jwt.encode(claims, "k" * 64, "HS256", {**head, "alg": "HS256"})
    yield "crit", f"{encoded({**head, 'crit': ['x'], 'x': 1})}.{payload}.{signature}"


@pytest.mark.parametrize("fault", [None, "api-accepts-unsigned", "api-skips-signature"])
def test_nothing_crashes_the_validator(demo, visitor, fault):
    """No forged or broken token passes or gives a 5xx; with a validator that is broken, still none gives a 5xx."""
    token = visitor.tokens()["access_token"]
    demo.set_faults([fault] if fault else [])
    answers = {name: visitor.call("/orders", forged).status_code for name, forged in forgeries(token)}
    wanted = {401} if fault is None else {200, 401, 403}
    assert set(answers.values()) <= wanted, answers


def test_bad_token_is_named_invalid(visitor):
    """A refused token is told invalid_token and nothing of why."""
    told = {visitor.call("/orders", bad).headers["WWW-Authenticate"] for bad in ("garbage", "a.b.c", "..")}
    assert told == {'Bearer realm="demo", error="invalid_token", error_description="The access token is invalid"'}


def test_id_and_refresh_tokens_open_nothing(visitor):
    """Only access tokens are taken (RFC 9068, section 4: typ)."""
    granted = visitor.tokens()
    assert visitor.call("/me", granted["id_token"]).status_code == 401
    assert visitor.call("/me", granted["refresh_token"]).status_code == 401


def test_token_for_another_audience_is_refused(visitor):
    """A token for billing does not open orders."""
    assert visitor.call("/me", visitor.tokens(audience="billing")["access_token"]).status_code == 401


def test_missing_scope_is_named(visitor):
    """A good token without the scope gets 403 with the scope that it lacks."""
    refused = visitor.call("/orders", visitor.tokens()["access_token"], "POST", json={"item": "desk"})
    assert refused.status_code == 403
    assert 'error="insufficient_scope", scope="orders:write"' in refused.headers["WWW-Authenticate"]


def test_two_tokens_at_once_are_invalid(visitor):
    """A token in the header and another in the query is invalid_request; in the query alone it is not seen."""
    token = visitor.tokens()["access_token"]
    both = visitor.call("/orders", token, params={"access_token": token})
    assert (both.status_code, 'error="invalid_request"' in both.headers["WWW-Authenticate"]) == (400, True)
    assert visitor.call("/orders", params={"access_token": token}).status_code == 401


def test_orders_come_and_go(visitor):
    """An order can be added, read by its id and removed."""
    token = visitor.tokens(scope="orders:read orders:write")["access_token"]
    added = visitor.call("/orders", token, "POST", json={"item": "desk"})
    assert added.status_code == 201
    path = f"/orders/{added.json()['id']}"
    assert visitor.call(path, token).json()["item"] == "desk"
    assert visitor.call(path, token, "DELETE").status_code == 204
    assert visitor.call(path, token).status_code == 404
    assert visitor.call("/orders", token, "POST", data="no JSON").status_code == 400


def test_raw_takes_the_bare_token_and_says_403(visitor):
    """The raw page takes the token without a scheme, and answers 403 where 401 is meant."""
    token = visitor.tokens()["access_token"]

    def ask(value):
        headers = {} if value is None else {"Authorization": value}
        return visitor.http.get(f"{visitor.demo.api_url}/raw", headers=headers, timeout=5).status_code

    assert [ask(token), ask(f"Bearer {token}"), ask("garbage"), ask(None)] == [200, 403, 403, 403]


def test_api_key_is_taken_from_three_places(demo, visitor):
    """The key page takes its key from header, query or cookie, and no other key."""
    url = f"{demo.api_url}/key"
    places = ({"headers": {"X-API-Key": "{}"}}, {"params": {"api_key": "{}"}}, {"cookies": {"api_key": "{}"}})
    for place in places:
        ((kind, names),) = place.items()
        for key, status in ((demo.api_key, 200), ("wrong", 401)):
            sent = {kind: {name: text.format(key) for name, text in names.items()}}
            assert visitor.http.get(url, timeout=5, **sent).status_code == status
    assert visitor.http.get(url, timeout=5).status_code == 401


def test_basic_wants_the_user(demo, visitor):
    """The Basic page takes the user's name and password and challenges everything else."""
    url = f"{demo.api_url}/basic"
    assert visitor.http.get(url, auth=(demo.username, demo.password), timeout=5).status_code == 200
    refused = visitor.http.get(url, auth=(demo.username, "wrong"), timeout=5)
    assert (refused.status_code, refused.headers["WWW-Authenticate"].split()[0]) == (401, "Basic")
    assert visitor.http.get(url, timeout=5).status_code == 401


def test_keys_are_fetched_once_and_again_for_a_new_kid(demo, visitor):
    """The API caches the key set and fetches it again only for a kid that it does not know."""
    token = visitor.tokens()["access_token"]
    visitor.call("/me", token)
    demo.forget_requests()
    for _ in range(3):
        visitor.call("/me", token)
    assert not [r for r in demo.requests if r.path.endswith("/jwks")]
    demo.rotate(overlap=True)
    fresh = visitor.tokens()["access_token"]
    assert visitor.call("/me", fresh).status_code == 200
    assert visitor.call("/me", token).status_code == 200
    assert len([r for r in demo.requests if r.path.endswith("/jwks")]) == 1


def test_rotation_without_overlap_ends_the_old_tokens(demo, visitor):
    """Without overlap the old key is gone at once: its tokens fail at the verifier and, once it refetches, at the API."""
    token = visitor.tokens()["access_token"]
    demo.rotate(overlap=False)
    fresh = visitor.tokens()["access_token"]
    assert visitor.call("/me", fresh).status_code == 200
    with pytest.raises(KeyError):
        visitor.verify(token)
    assert visitor.call("/me", token).status_code == 401
