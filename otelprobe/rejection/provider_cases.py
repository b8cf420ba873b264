"""The bad requests that an authorization server must refuse: RFC 6749, 7523, 7636, 7662, 9449 and 9700 say which."""

import time
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable, Mapping
from dataclasses import field, replace
from hashlib import sha256
from secrets import token_urlsafe
from types import MappingProxyType
from urllib.parse import parse_qs, quote_plus, urlsplit, urlunsplit

from otelprobe.client_auth import ASSERTION_TYPE, client_assertion, client_authentication, client_signer
from otelprobe.codes import code_form
from otelprobe.dpop import known_nonce
from otelprobe.forging import resign, unsigned
from otelprobe.forging.proofs import make_proof
from otelprobe.pages import is_login_page
from otelprobe.quick import dataclass
from otelprobe.reasons import CheckFailed, Reason
from otelprobe.rejection.answer import Answer
from otelprobe.rejection.burst import BURST
from otelprobe.rejection.case import Case, Group
from otelprobe.signing import Signer
from otelprobe.step import AuthorizationCode, Context, Tokens
from otelprobe.tokens import format_of, parse

Form = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One request to the provider: a form that is posted, or a page that is got.

    `first` is sent before it, unjudged. With `then` it is itself only a beginning: that makes the next of its answer.
    Headers named in `twice` are sent on two lines.
    """

    endpoint: str
    form: Form = field(default=(), repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    page: bool = False
    first: tuple["Ask", ...] = ()
    then: Callable[[Answer], "Ask"] | None = field(default=None, repr=False)
    twice: frozenset[str] = frozenset()


@dataclass(slots=True)
class Session:
    """A refresh token that may be spent: each answer that has another one brings its successor."""

    first: str = field(repr=False)
    access: str = field(repr=False)
    refresh: str = field(repr=False)

    def follow(self, answer: Mapping[str, object]) -> None:
        """Take what an answer of the token endpoint brought in place of the refresh token."""
        access, refresh = answer.get("access_token"), answer.get("refresh_token")
        if isinstance(access, str) and isinstance(refresh, str):
            self.access, self.refresh = access, refresh


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What is at hand: the client, what a good token request asks for, and what earlier steps made.

    `codes` are unused ones by the case that spoils them, `spare` is one more to be exchanged rightly. `session` is there
    where its refresh token may be spent.
    """

    ctx: Context
    asked: Form = field(repr=False)
    redirect_uri: str | None = None
    tokens: Tokens | None = None
    codes: Mapping[str, AuthorizationCode] = field(default_factory=dict, repr=False)
    spare: AuthorizationCode | None = None
    session: Session | None = field(default=None, repr=False)
    decoy_user: str | None = None
    proof_key: Signer | None = field(default=None, repr=False)


ProviderCase = Case[Material, Ask]
Lacks = Callable[[Material], str | None]

CONTROLS = ("token", "introspection", "revocation", "authorization", "code", "own", "session", "burst")
"""What a case's good request goes to. `code`: a good code is exchanged after the bad ones; `own` and `session`: the case
has a sequence of its own that begins with what is good, and ends a session; `burst`: it is sent again and again, and a good
one after it would meet the limit that it looks for. Each of these is for a run of its own.
"""

SPOILT = ("wrong_verifier", "missing_verifier", "other_redirect_uri")
"""The cases that use up a code each, in this order."""

_SCOPE, _RESOURCE = "otelprobe-no-such-scope", "https://otelprobe.invalid/"
_GRANT = "urn:otelprobe:no-such-grant"
_REFUSED = frozenset({400, 401, 403})
_ANY_PAGE = frozenset(range(200, 500))
_SECRETS = frozenset({"client_secret_basic", "client_secret_post"})
_SIGNED = frozenset({"private_key_jwt", "client_secret_jwt"})
_HOUR, _SECOND = 3600, 1.1


# Good requests


def good_request(material: Material, control: str) -> Ask:
    """Give the request that has to succeed before and after the bad ones of its kind."""
    if control == "introspection":
        return _with_client(material, "introspection", _about_token(material))
    if control == "revocation":
        return _with_client(material, "revocation", (("token", "otelprobe-no-such-token"),))
    if control == "authorization":
        return _authorize(material.redirect_uri or "")(material)
    if control == "code" and material.spare is not None:
        return _exchange(material, code_form(material.spare))
    return _token_request(material)


def is_good(control: str, material: Material, answer: Answer) -> bool:
    """Tell whether the good request got what it should."""
    if control == "authorization":
        return _went_to(answer, material.redirect_uri or "") or _shows_login(answer)
    if control == "introspection":
        return isinstance(document_of(answer).get("active"), bool)
    return answer.succeeded if control == "revocation" else issued(answer)


def issued(answer: Answer) -> bool:
    """Tell whether a token was issued."""
    return answer.succeeded and bool(document_of(answer).get("access_token"))


def document_of(answer: Answer) -> Mapping[str, object]:
    """Give the JSON object of an answer, empty where there is none."""
    try:
        found = answer.reply.json() if answer.reply is not None else None
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _with_client(material: Material, endpoint: str, form: Form) -> Ask:
    headers, own = client_authentication(material.ctx, material.ctx.endpoint(endpoint))
    return Ask(endpoint=endpoint, form=(*form, *own), headers=headers)


def _token_request(material: Material, **changes: str | None) -> Ask:
    """Ask for a token as a good client does, but for these members (None: left out)."""
    form = tuple((n, v) for n, v in _asked(material) if n not in changes)
    form = (*form, *((n, v) for n, v in changes.items() if v is not None))
    ask = _with_client(material, "token", form)
    return ask if material.proof_key is None else replace(ask, headers={**ask.headers, **_proof(material, None)})


def _asked(material: Material) -> Form:
    """Give what a good token request says; one by refresh token has the latest."""
    if material.session is None or dict(material.asked).get("grant_type") != "refresh_token":
        return material.asked
    return (*material.asked, ("refresh_token", material.session.refresh))


def _about_token(material: Material) -> Form:
    return (("token", material.tokens.access if material.tokens is not None else ""),)


def _proof(material: Material, flaw: str | None) -> dict[str, str]:
    ctx, key = material.ctx, material.proof_key
    if key is None:
        return {}
    url = ctx.endpoint("token")
    nonce = known_nonce(ctx, url)
    return {"DPoP": make_proof(key, "POST", url, ctx.now(), token=None, nonce=nonce, flaw=flaw)}


# Bad ones


def _changed(**changes: str | None) -> Callable[[Material], Ask]:
    return lambda material: _token_request(material, **changes)


def _wider_scope(material: Material) -> Ask:
    scope = dict(material.asked).get("scope", "")
    return _token_request(material, scope=f"{scope} {_SCOPE}".strip())


def _nameless(endpoint: str) -> Callable[[Material], Ask]:
    """Ask without saying who asks; the client's name alone where RFC 6749 wants it."""

    def make(material: Material) -> Ask:
        good = good_request(material, endpoint)
        proofs = {"client_secret", "client_assertion", "client_assertion_type", "client_id"}
        form = tuple((n, v) for n, v in good.form if n not in proofs)
        own = (("client_id", material.ctx.identity_provider().client_id or ""),) if endpoint == "token" else ()
        return replace(good, form=(*form, *own), headers={n: v for n, v in good.headers.items() if n == "DPoP"})

    return make


def _wrong_secret(endpoint: str) -> Callable[[Material], Ask]:
    def make(material: Material) -> Ask:
        provider, bare = material.ctx.identity_provider(), _nameless(endpoint)(material)
        client, secret = provider.client_id or "", "otelprobe-wrong-secret"
        form = tuple((n, v) for n, v in bare.form if n != "client_id")
        if provider.auth_method == "client_secret_post":
            return replace(bare, form=(*form, ("client_id", client), ("client_secret", secret)))
        pair = b64encode(f"{quote_plus(client)}:{secret}".encode()).decode()
        return replace(bare, form=form, headers={**bare.headers, "Authorization": f"Basic {pair}"})

    return make


def _with_assertion(change: Callable[[Material, str], str]) -> Callable[[Material], Ask]:
    """Ask with an assertion that is not as it should be."""

    def make(material: Material) -> Ask:
        ctx, provider = material.ctx, material.ctx.identity_provider()
        bad = change(material, client_assertion(ctx, provider, ctx.endpoint("token")))
        bare = _nameless("token")(material)
        return replace(bare, form=(*bare.form, ("client_assertion_type", ASSERTION_TYPE), ("client_assertion", bad)))

    return make


def _replayed_assertion(material: Material) -> Ask:
    ask = _with_assertion(lambda _, assertion: assertion)(material)
    return replace(ask, first=(ask,))


def _signed_anew(material: Material, assertion: str, **claims: object) -> str:
    """Sign the assertion's claims again, with these changed, by the client's own key."""
    provider = material.ctx.identity_provider()
    signer = client_signer(provider)
    return signer.sign({**parse(assertion).claims, "jti": token_urlsafe(16), **claims})


def _replayed_proof(material: Material) -> Ask:
    ask = _token_request(material)
    return replace(ask, first=(replace(_token_request(material), headers=ask.headers),))


def _two_proofs(material: Material) -> Ask:
    return replace(_token_request(material), twice=frozenset({"dpop"}))


def _with_flaw(flaw: str) -> Callable[[Material], Ask]:
    def make(material: Material) -> Ask:
        ask = _token_request(material)
        return replace(ask, headers={**ask.headers, **_proof(material, flaw)})

    return make


def _authorize(redirect_uri: str, **more: str) -> Callable[[Material], Ask]:
    """Ask for a code without showing a page: the answer, an error mostly, goes where the server thinks it may."""

    def make(material: Material) -> Ask:
        challenge = urlsafe_b64encode(sha256(token_urlsafe(32).encode()).digest()).rstrip(b"=").decode()
        form = {
            "response_type": "code",
            "client_id": material.ctx.identity_provider().client_id or "",
            "redirect_uri": redirect_uri,
            "scope": "openid",
            "state": token_urlsafe(8),
            "nonce": token_urlsafe(8),
            "prompt": "none",
            "code_challenge": challenge,
            "code_challenge_method": "S256",
            **more,
        }
        return Ask(endpoint="authorization", form=tuple((n, v) for n, v in form.items() if v), page=True)

    return make


def _variant(change: Callable[[str], str]) -> Callable[[Material], Ask]:
    return lambda material: _authorize(change(material.redirect_uri or ""))(material)


def _extra_path(uri: str) -> str:
    parts = urlsplit(uri)
    return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/otelprobe"))


def _extra_query(uri: str) -> str:
    return f"{uri}{'&' if '?' in uri else '?'}otelprobe=1"


def _other_host(uri: str) -> str:
    parts = urlsplit(uri)
    return urlunsplit(parts._replace(netloc=f"{parts.netloc}.otelprobe.invalid"))


def _user_part(uri: str) -> str:
    parts = urlsplit(uri)
    return urlunsplit(parts._replace(netloc=f"{parts.netloc.replace(':', '%3A')}@otelprobe.invalid"))


def _spent_code(material: Material) -> Ask:
    code = material.tokens.authorization if material.tokens is not None else None
    return _exchange(material, code_form(code) if code is not None else {})


def _exchange(material: Material, form: Mapping[str, str]) -> Ask:
    ask = _with_client(material, "token", (("grant_type", "authorization_code"), *form.items()))
    return ask if material.proof_key is None else replace(ask, headers={**ask.headers, **_proof(material, None)})


def _with_code(word: str, **changes: str | None) -> Callable[[Material], Ask]:
    """Exchange an unused code with something that does not fit it; each of these cases uses up a code of its own."""

    def make(material: Material) -> Ask:
        form = {**code_form(material.codes[word]), **changes}
        return _exchange(material, {n: v for n, v in form.items() if v is not None})

    return make


def _refresh_reused(material: Material) -> Ask:
    """Refresh twice, then offer the first refresh token: a grace that a provider grants is for the latest predecessor only.

    The refreshes are a second apart, as servers that tell old tokens by their `iat` know whole seconds only.
    """
    session = material.session
    if session is None:
        raise LookupError("the case needs a refresh token")
    first = session.refresh

    def second(answer: Answer) -> Ask:
        following = _successor(answer, first)
        time.sleep(_SECOND)
        return _refreshing(material, following, third)

    def third(answer: Answer) -> Ask:
        _successor(answer, first)
        return _refreshing(material, first)

    return _refreshing(material, first, second)


def _refreshing(material: Material, token: str, then: Callable[[Answer], Ask] | None = None) -> Ask:
    ask = _with_client(material, "token", (("grant_type", "refresh_token"), ("refresh_token", token)))
    return replace(ask, headers={**ask.headers, **_proof(material, None)}, then=then)


def _successor(answer: Answer, first: str) -> str:
    """Give the refresh token that came in place of another; CheckFailed(rejection_inconclusive) if none did."""
    found = document_of(answer).get("refresh_token") if issued(answer) else None
    if isinstance(found, str) and found != first:
        return found
    told = (
        "the provider does not rotate refresh tokens"
        if issued(answer)
        else f"a good refresh got status {answer.status}"
    )
    raise CheckFailed(Reason.REJECTION_INCONCLUSIVE, f"{told}, so that none is used twice")


def _decoy(material: Material) -> Ask:
    user = material.decoy_user or ""
    return _token_request(material, grant_type="password", username=user, password=f"otelprobe-{token_urlsafe(8)}")


def _burst(material: Material) -> Ask:
    """Guess at the decoy user's password, or at the secret of a client that there is not."""
    if material.decoy_user:
        return _decoy(material)
    client = (("client_id", "otelprobe-no-such-client"), ("client_secret", f"otelprobe-{token_urlsafe(8)}"))
    return Ask(endpoint="token", form=(("grant_type", "client_credentials"), *client))


# What taking it looks like


def _granted_scope(answer: Answer) -> bool:
    return issued(answer) and _SCOPE in str(document_of(answer).get("scope", "")).split()


def _granted_resource(answer: Answer) -> bool:
    token = document_of(answer).get("access_token") if issued(answer) else None
    if not isinstance(token, str) or format_of(token) != "jws":
        return False
    audience = parse(token).claims.get("aud")
    return _RESOURCE in (audience if isinstance(audience, list) else [audience])


def _told_active(answer: Answer) -> bool:
    return answer.succeeded and document_of(answer).get("active") is True


def _went_to(answer: Answer, uri: str) -> bool:
    """Tell whether the answer is a redirect to this URI."""
    if answer.reply is None or not 300 <= answer.reply.status < 400:
        return False
    location = answer.reply.value("Location")
    return bool(uri) and location.partition("?")[0].partition("#")[0] == uri.partition("?")[0].partition("#")[0]


def _shows_login(answer: Answer) -> bool:
    return answer.reply is not None and is_login_page(answer.reply)


def _went_astray(answer: Answer) -> bool:
    """Tell whether the server goes to a URI that is not registered, or would after a log-in."""
    location = answer.reply.value("Location") if answer.reply is not None and 300 <= answer.reply.status < 400 else ""
    parts = urlsplit(location)
    marked = (
        (parts.hostname or "").endswith("otelprobe.invalid"),
        parts.path.endswith("/otelprobe"),
        "otelprobe" in parse_qs(parts.query),
        parts.fragment.startswith("otelprobe"),
    )
    return any(marked) or _shows_login(answer)


def _went_on(answer: Answer) -> bool:
    """Tell whether the server took the request, and only then found that nobody is logged in."""
    if answer.reply is None or not 300 <= answer.reply.status < 400:
        return _shows_login(answer)
    told = parse_qs(urlsplit(answer.reply.value("Location")).query)
    needed = {"login_required", "interaction_required", "consent_required", "account_selection_required"}
    return bool(needed & set(told.get("error", ()))) or "code" in told or _shows_login(answer)


# What a case needs


def _nothing(_: Material) -> str | None:
    return None


def _confidential(material: Material) -> str | None:
    return "the client has nothing to authenticate with" if _method(material) == "none" else None


def _secret(material: Material) -> str | None:
    return None if _method(material) in _SECRETS else "the client does not authenticate with a secret"


def _key(material: Material) -> str | None:
    settings = material.ctx.identity_provider().client_assertion
    ready = settings is not None and settings.token is not None
    return None if _method(material) in _SIGNED and not ready else "the client does not sign its own assertions"


def _token(material: Material) -> str | None:
    return None if material.tokens is not None else "needs a token: add a step token before it"


def _token_and(lacks: Lacks) -> Lacks:
    return lambda material: _token(material) or lacks(material)


def _proofs(material: Material) -> str | None:
    return None if material.proof_key is not None else "the provider is not used with dpop"


def _redirect(material: Material) -> str | None:
    return None if material.redirect_uri else "needs redirect_uri, as it is registered"


def _used_code(material: Material) -> str | None:
    spent = material.tokens.authorization if material.tokens is not None else None
    return None if spent is not None else "no code was exchanged before it"


def _fresh_code(word: str) -> Lacks:
    needed = "needs codes: an unused one for each case that spoils one, and one more to exchange rightly"
    return lambda material: None if word in material.codes else needed


def _session(material: Material) -> str | None:
    return None if material.session is not None else "no refresh token was issued that may be spent"


def _user(material: Material) -> str | None:
    return None if material.decoy_user else "needs decoy_user, the name of a user that may be locked out"


def _method(material: Material) -> str:
    return material.ctx.identity_provider().auth_method


_SAFE, _SLOW, _INTRUSIVE = Group.SAFE, Group.SLOW, Group.INTRUSIVE


def _uri(word: str, told: str, change: Callable[[str], str]) -> ProviderCase:
    told = f"a redirect URI {told}"
    return Case("N26", word, _SAFE, told, _redirect, _variant(change), proper=_ANY_PAGE, taken=_went_astray,
                parameter="redirect_uri", control="authorization")  # fmt: skip


def _assertion(word: str, told: str, change: Callable[[Material, str], str]) -> ProviderCase:
    build = _with_assertion(change)
    return Case("N23", word, _SLOW, f"a client assertion {told}", _key, build, proper=_REFUSED, taken=issued)


def _flawed(word: str, told: str, flaw: str) -> ProviderCase:
    return Case(
        "N24", word, _SLOW, f"a token request with {told}", _proofs, _with_flaw(flaw), proper=_REFUSED, taken=issued
    )


def _grant(word: str, told: str, build: Callable[[Material], Ask]) -> ProviderCase:
    return Case("N19", word, _SAFE, told, _nothing, build, proper=_REFUSED, taken=issued)


_TABLE: tuple[ProviderCase, ...] = (
    _grant("unknown_grant", "a grant type that does not exist", _changed(grant_type=_GRANT)),
    _grant("missing_grant", "a token request without grant type", _changed(grant_type=None)),
    Case("N17", "no_client_auth", _SAFE, "the client's name without its secret or key", _confidential, _nameless("token"),
         proper=_REFUSED, taken=issued),
    Case("N19", "unknown_scope", _SAFE, "a scope that does not exist", _nothing, _wider_scope,
         proper=_REFUSED | {200}, taken=_granted_scope),
    Case("N19", "unknown_resource", _SAFE, "a resource that does not exist", _nothing, _changed(resource=_RESOURCE),
         proper=_REFUSED | {200}, taken=_granted_resource),
    Case("N35", "introspect_without_auth", _SAFE, "an introspection by nobody", _token_and(_confidential),
         _nameless("introspection"), proper=_REFUSED, taken=_told_active, control="introspection"),
    Case("N35", "revoke_without_auth", _SAFE, "a revocation by nobody (of no token)", _confidential,
         _nameless("revocation"), proper=_REFUSED, control="revocation"),
    _uri("redirect_other_host", "at another host", _other_host),
    _uri("redirect_user_part", "whose host became a user name", _user_part),
    _uri("redirect_extra_path", "with more path", _extra_path),
    _uri("redirect_extra_query", "with more query", _extra_query),
    _uri("redirect_fragment", "with a fragment", lambda uri: f"{uri}#otelprobe"),
    Case("N17", "wrong_client_secret", _SLOW, "a wrong client secret", _secret, _wrong_secret("token"),
         proper=_REFUSED, taken=issued),
    Case("N35", "introspect_wrong_secret", _SLOW, "an introspection with a wrong secret", _token_and(_secret),
         _wrong_secret("introspection"), proper=_REFUSED, taken=_told_active, control="introspection"),
    Case("N23", "assertion_replayed", _SLOW, "a client assertion that was used before", _key, _replayed_assertion,
         proper=_REFUSED, taken=issued),
    _assertion("assertion_expired", "that has expired", lambda m, a: _signed_anew(
        m, a, iat=int(m.ctx.now()) - 2 * _HOUR, exp=int(m.ctx.now()) - _HOUR)),
    _assertion("assertion_other_audience", "for another server", lambda m, a: _signed_anew(m, a, aud=_RESOURCE)),
    _assertion("assertion_unsigned", "without a signature", lambda _, a: unsigned(parse(a), "none", "assertion_unsigned")),
    _assertion("assertion_other_key", "of another key", lambda _, a: resign(parse(a), "assertion_other_key")),
    Case("N24", "request_proof_replayed", _SLOW, "a token request with a proof that was sent before", _proofs,
         _replayed_proof, proper=_REFUSED, taken=issued),
    Case("N24", "request_proof_twice", _SLOW, "a token request with two proofs", _proofs, _two_proofs,
         proper=_REFUSED, taken=issued),
    _flawed("request_proof_wrong_method", "a proof for another method", "wrong_method"),
    _flawed("request_proof_wrong_url", "a proof for another URL", "wrong_url"),
    _flawed("request_proof_wrong_type", "a proof of another type", "wrong_type"),
    _flawed("request_proof_private_key", "a proof that shows a private key", "private_key"),
    _flawed("request_proof_unsigned", "a proof without a signature", "unsigned"),
    _flawed("request_proof_old", "a proof of an hour ago", "old"),
    _flawed("request_proof_early", "a proof of the next hour", "early"),
    Case("N20", "without_pkce", _SLOW, "an authorization request without PKCE", _redirect,
         lambda m: _authorize(m.redirect_uri or "", code_challenge="", code_challenge_method="")(m),
         proper=_ANY_PAGE, taken=_went_on, parameter="redirect_uri", control="authorization"),
    Case("N20", "plain_pkce", _SLOW, "an authorization request with PKCE in the clear", _redirect,
         lambda m: _authorize(m.redirect_uri or "", code_challenge_method="plain")(m),
         proper=_ANY_PAGE, taken=_went_on, parameter="redirect_uri", control="authorization"),
    Case("N20", "wrong_verifier", _SLOW, "a code with a wrong verifier", _fresh_code("wrong_verifier"),
         _with_code("wrong_verifier", code_verifier=token_urlsafe(32)), proper=_REFUSED, taken=issued, parameter="codes",
         control="code"),
    Case("N20", "missing_verifier", _SLOW, "a code without its verifier", _fresh_code("missing_verifier"),
         _with_code("missing_verifier", code_verifier=None), proper=_REFUSED, taken=issued, parameter="codes",
         control="code"),
    Case("N20", "other_redirect_uri", _SLOW, "a code with another redirect URI", _fresh_code("other_redirect_uri"),
         _with_code("other_redirect_uri", redirect_uri=_RESOURCE), proper=_REFUSED, taken=issued, parameter="codes",
         control="code"),
    Case("N20", "code_reused", _SLOW, "a code that was exchanged before", _used_code, _spent_code,
         proper=_REFUSED, taken=issued, control="own"),
    Case("N21", "refresh_reused", _SLOW, "a refresh token that was replaced twice", _session, _refresh_reused,
         Reason.REFRESH_REUSE_ACCEPTED, proper=_REFUSED, taken=issued, control="session"),
    Case("N18", "wrong_password", _INTRUSIVE, "a wrong password of a decoy user", _user, _decoy,
         proper=_REFUSED, taken=issued, parameter="decoy_user"),
    Case("N31", "request_burst", _INTRUSIVE, f"a wrong secret or password, {BURST} times in a row", _nothing, _burst,
         proper=_REFUSED, taken=issued, control="burst"),
)  # fmt: skip

PROVIDER_CASES: Mapping[str, ProviderCase] = MappingProxyType({case.word: case for case in _TABLE})
"""Every case for a provider by its word; in the order in which they take turns."""
