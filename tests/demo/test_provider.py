"""The provider does what the RFCs say while no fault is on."""

import hashlib
from base64 import urlsafe_b64encode

import jwt
import pytest
from authlib.integrations.requests_client import OAuth2Session


def test_both_well_known_paths_give_the_same_document(demo, visitor):
    """The issuer has a path, so OpenID Connect appends and RFC 8414 inserts, and both find the provider."""
    origin, _, path = demo.issuer.rpartition("/")
    oauth = visitor.http.get(f"{origin}/.well-known/oauth-authorization-server/{path}", timeout=5)
    document = visitor.discover()
    assert oauth.json() == document
    assert document["issuer"] == demo.issuer
    assert "RS256" in document["id_token_signing_alg_values_supported"]
    assert all(url.startswith(demo.issuer) for name, url in document.items() if name.endswith(("_endpoint", "_uri")))


def test_key_set_is_public_and_cacheable(visitor):
    """The key set has kid, use and alg, no private member, and says how long it may be kept."""
    response = visitor.http.get(visitor.discover()["jwks_uri"], timeout=5)
    (key,) = response.json()["keys"]
    assert set(key) == {"kty", "n", "e", "kid", "use", "alg"}
    assert response.headers["Cache-Control"] == "public, max-age=300"


def test_password_grant_gives_what_was_asked_for(demo, visitor):
    """The password grant gives a JWT of RFC 9068, a refresh token and an ID token, and forbids caching."""
    response = visitor.token_response()
    answer = response.json()
    assert response.headers["Cache-Control"] == "no-store"
    assert (answer["token_type"], answer["expires_in"], answer["scope"]) == ("Bearer", 300, "openid orders:read")
    assert answer["refresh_token"]
    claims = visitor.verify(answer["access_token"])
    assert jwt.get_unverified_header(answer["access_token"])["typ"] == "at+jwt"
    assert claims["client_id"] == demo.client_id
    assert claims["exp"] - claims["iat"] == 300
    assert claims["aud"] == "orders"
    assert claims["scope"] == "openid orders:read"


def test_id_token_is_bound_to_the_access_token(demo, visitor):
    """The ID token is for the client, of the same subject, and carries nonce and at_hash."""
    answer = visitor.tokens(nonce="n-1")
    claims = visitor.verify(answer["id_token"], require=("iss", "sub", "aud", "exp", "iat"), audience=demo.client_id)
    half = hashlib.sha256(answer["access_token"].encode()).digest()[:16]
    assert claims["at_hash"] == urlsafe_b64encode(half).rstrip(b"=").decode()
    assert (claims["aud"], claims["nonce"], claims["iss"]) == (demo.client_id, "n-1", demo.issuer)
    assert claims["sub"] == visitor.verify(answer["access_token"])["sub"]


def test_client_credentials_speak_for_the_client(demo, visitor):
    """Client credentials give no refresh token and no ID token, and the subject is the client."""
    answer = visitor.tokens(grant_type="client_credentials", scope="orders:read")
    assert set(answer) == {"access_token", "token_type", "expires_in", "scope"}
    assert visitor.verify(answer["access_token"])["sub"] == demo.client_id


def test_two_tokens_differ_in_jti(visitor):
    """No two tokens share an id."""
    first, second = (visitor.verify(visitor.tokens()["access_token"])["jti"] for _ in range(2))
    assert first != second


@pytest.mark.parametrize("parameter", ["audience", "resource"])
def test_audience_is_honoured(visitor, parameter):
    """Both `audience` and `resource` (RFC 8707) decide the audience."""
    answer = visitor.tokens(grant_type="client_credentials", **{parameter: "billing"})
    assert visitor.verify(answer["access_token"], audience="billing")["aud"] == "billing"


def test_unknown_audience_is_refused(visitor):
    """An audience that nobody registered is invalid_target."""
    response = visitor.token_response(grant_type="client_credentials", audience="nobody")
    assert (response.status_code, response.json()["error"]) == (400, "invalid_target")


def test_unknown_scopes_are_left_out(visitor):
    """A scope that is not known is left out, and the answer says what was granted."""
    assert visitor.tokens(grant_type="client_credentials", scope="orders:read nonsense")["scope"] == "orders:read"
    response = visitor.token_response(grant_type="client_credentials", scope="nonsense")
    assert (response.status_code, response.json()["error"]) == (400, "invalid_scope")


def test_authlib_client_gets_on_with_it(demo):
    """A client library that others wrote goes through token, refresh, introspection and revocation."""
    post = {f"{e}_endpoint_auth_method": "client_secret_post" for e in ("token", "revocation")}
    with OAuth2Session(demo.client_id, demo.client_secret, **post) as session:
        session.trust_env = False
        url = f"{demo.issuer}/token"
        token = session.fetch_token(url, grant_type="password", username=demo.username, password=demo.password)
        refreshed = session.refresh_token(url, refresh_token=token["refresh_token"])
        assert refreshed["access_token"] != token["access_token"]
        assert session.introspect_token(f"{demo.issuer}/introspect", refreshed["access_token"]).json()["active"]
        assert session.revoke_token(f"{demo.issuer}/revoke", refreshed["access_token"]).status_code == 200
        assert session.introspect_token(f"{demo.issuer}/introspect", refreshed["access_token"]).json() == {
            "active": False
        }


def test_public_client_needs_no_secret(demo, visitor):
    """The public client authenticates by its name alone; the confidential one may not."""
    form = {"grant_type": "password", "username": demo.username, "password": demo.password}
    url = f"{demo.issuer}/token"
    public = visitor.http.post(url, data={**form, "client_id": demo.public_client_id}, timeout=5)
    assert public.status_code == 200
    assert visitor.http.post(url, data={**form, "client_id": demo.client_id}, timeout=5).status_code == 401


def test_client_that_forgets_form_encoding_is_refused(demo, visitor):
    """A client that puts the secret into Basic without form-encoding is told invalid_client."""
    response = visitor.http.post(
        f"{demo.issuer}/token",
        data={"grant_type": "client_credentials"},
        auth=(demo.client_id, demo.client_secret),
        timeout=5,
    )
    assert (response.status_code, response.json()["error"]) == (401, "invalid_client")


@pytest.mark.parametrize(
    "header", ["Basic", "Basic !!!", "Basic /////w==", "Basic bm9ib2R5Ong=", "Bearer x", "Basic b3RlbHByb2JlLWRlbW86"]
)
def test_bad_client_credentials_are_challenged(demo, visitor, header):
    """Whatever is wrong with Basic credentials, the answer is 401 with a Basic challenge that names a realm."""
    headers = {"Authorization": header}
    response = visitor.http.post(
        f"{demo.issuer}/token", data={"grant_type": "client_credentials"}, headers=headers, timeout=5
    )
    assert (response.status_code, response.json()["error"]) == (401, "invalid_client")
    assert response.headers["WWW-Authenticate"].startswith('Basic realm="demo", error="invalid_client"')


@pytest.mark.parametrize(
    ("form", "error"),
    [
        ({"grant_type": "password", "username": "probe", "password": "wrong"}, "invalid_grant"),
        ({"grant_type": "password", "username": "probe"}, "invalid_request"),
        ({"grant_type": "refresh_token", "refresh_token": "made-up"}, "invalid_grant"),
        ({"grant_type": "refresh_token"}, "invalid_request"),
        ({"grant_type": "authorization_code", "code": "x"}, "unsupported_grant_type"),
    ],
)
def test_bad_requests_get_their_oauth_error(visitor, form, error):
    """Each kind of bad token request gets 400 and the error code of RFC 6749 section 5.2."""
    response = visitor.token_response(**form)
    assert (response.status_code, response.json()["error"]) == (400, error)
    assert response.headers["Cache-Control"] == "no-store"


def test_refresh_rotates_and_keeps_what_was_granted(visitor):
    """A refresh gives a new pair for the same subject, scope and audience."""
    first = visitor.tokens(audience="billing")
    second = visitor.refresh(first["refresh_token"]).json()
    assert second["refresh_token"] != first["refresh_token"]
    assert second["scope"] == first["scope"]
    before, after = (visitor.verify(t["access_token"], audience="billing") for t in (first, second))
    assert before["sub"] == after["sub"]


def test_refresh_cannot_widen(visitor):
    """A refresh cannot ask for another audience or a scope beyond the granted ones."""
    granted = visitor.tokens()
    assert visitor.refresh(granted["refresh_token"], audience="billing").json()["error"] == "invalid_target"
    granted = visitor.tokens()
    assert visitor.refresh(granted["refresh_token"], scope="orders:write").json()["error"] == "invalid_scope"


def test_reuse_of_a_refresh_token_ends_its_family(visitor):
    """A refresh token that is used twice revokes all that came from the same log-in, and nothing else."""
    first, other = visitor.tokens(), visitor.tokens()
    second = visitor.refresh(first["refresh_token"]).json()
    assert visitor.refresh(first["refresh_token"]).json()["error"] == "invalid_grant"
    assert visitor.refresh(second["refresh_token"]).json()["error"] == "invalid_grant"
    assert visitor.ask("introspection", second["access_token"]).json() == {"active": False}
    assert visitor.refresh(other["refresh_token"]).status_code == 200


def test_refresh_token_serves_its_own_client_alone(demo, visitor):
    """Another client cannot use a refresh token, nor end its family by trying."""
    granted = visitor.tokens()
    form = {"grant_type": "refresh_token", "refresh_token": granted["refresh_token"]}
    stolen = visitor.http.post(f"{demo.issuer}/token", data={**form, "client_id": demo.public_client_id}, timeout=5)
    assert stolen.json()["error"] == "invalid_grant"
    assert visitor.refresh(granted["refresh_token"]).status_code == 200


def test_introspection_tells_of_a_live_token(demo, visitor):
    """Introspection agrees with the token's own claims (RFC 7662)."""
    granted = visitor.tokens()
    claims, told = visitor.verify(granted["access_token"]), visitor.ask("introspection", granted["access_token"]).json()
    assert told["active"] is True
    assert {n: told[n] for n in ("sub", "aud", "iss", "client_id", "scope", "exp", "iat")} == {
        n: claims[n] for n in ("sub", "aud", "iss", "client_id", "scope", "exp", "iat")
    }


def test_introspection_wants_a_client(demo, visitor):
    """Introspection without, or with the public client's, credentials is refused; an unknown token is just inactive."""
    anonymous = visitor.ask("introspection", "x", **{"X-Nobody": "1"})
    assert (anonymous.status_code, anonymous.json()["error"]) == (401, "invalid_client")
    assert visitor.ask("introspection", "made-up").json() == {"active": False}


def test_revocation_ends_an_access_token(visitor):
    """A revoked access token is inactive, and an API that asks refuses it; an unknown one is 200 all the same."""
    granted = visitor.tokens()
    assert visitor.call("/introspected", granted["access_token"]).status_code == 200
    assert visitor.ask("revocation", granted["access_token"]).status_code == 200
    assert visitor.ask("introspection", granted["access_token"]).json() == {"active": False}
    assert visitor.call("/introspected", granted["access_token"]).status_code == 401
    assert visitor.ask("revocation", "made-up").status_code == 200


def test_revoking_a_refresh_token_ends_its_access_token(visitor):
    """A revoked refresh token takes its family along (RFC 7009, section 2.1)."""
    granted = visitor.tokens()
    visitor.ask("revocation", granted["refresh_token"])
    assert visitor.refresh(granted["refresh_token"]).json()["error"] == "invalid_grant"
    assert visitor.ask("introspection", granted["access_token"]).json() == {"active": False}


def test_userinfo_wants_a_live_token_with_openid(demo, visitor):
    """User info gives the subject to an openid token and challenges everything else."""
    url = visitor.discover()["userinfo_endpoint"]

    def ask(token):
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        return visitor.http.get(url, headers=headers, timeout=5)

    token = visitor.tokens()["access_token"]
    assert ask(token).json()["sub"] == visitor.verify(token)["sub"]
    assert ask(None).headers["WWW-Authenticate"] == 'Bearer realm="demo"'
    assert (ask("x").status_code, 'error="invalid_token"' in ask("x").headers["WWW-Authenticate"]) == (401, True)
    narrow = visitor.tokens(grant_type="client_credentials")["access_token"]
    assert ask(narrow).status_code == 403
    visitor.ask("revocation", token)
    assert ask(token).status_code == 401


def test_json_log_in_gives_a_token(demo, visitor):
    """The JSON log-in gives an HS256 token that the API takes, and 401 for a wrong password."""
    url = f"{demo.issuer}/login"
    good = {"username": demo.username, "password": demo.password}
    token = visitor.http.post(url, json=good, timeout=5).json()["token"]
    assert jwt.decode(token, demo.login_key, algorithms=["HS256"])["scope"] == "orders:read"
    assert visitor.call("/orders", token).status_code == 200
    assert visitor.http.post(url, json={**good, "password": "wrong"}, timeout=5).status_code == 401
    assert visitor.http.post(url, json=[1], timeout=5).status_code == 401


def test_cookie_log_in_opens_a_session(demo, visitor):
    """The cookie log-in sets an HttpOnly cookie that the API takes."""
    assert visitor.call("/cookie").status_code == 401
    good = {"username": demo.username, "password": demo.password}
    response = visitor.http.post(f"{demo.issuer}/login/cookie", data=good, timeout=5)
    assert "HttpOnly" in response.headers["Set-Cookie"]
    assert visitor.call("/cookie").json() == {"status": "ok"}
