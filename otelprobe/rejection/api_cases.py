"""The bad credentials that an API must refuse: RFC 6750, 8705, 8725 and 9449 name the mistakes that they look for."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from secrets import token_urlsafe
from types import MappingProxyType
from urllib.parse import urlencode, urlsplit, urlunsplit

from otelprobe.credentials import Credential
from otelprobe.forging import GARBAGE, UNKNOWN_KID, forge, jws
from otelprobe.forging.confusion import key_bytes
from otelprobe.forging.weak_secrets import COMMON
from otelprobe.reasons import Reason
from otelprobe.rejection.answer import Answer
from otelprobe.rejection.api_material import Material, Offer
from otelprobe.rejection.burst import BURST
from otelprobe.rejection.case import REFUSALS, Case, Group
from otelprobe.rejection.listener import Bait
from otelprobe.signing import Signer
from otelprobe.tokens import SYMMETRIC, Jwt

ApiCase = Case[Material, Offer]
Lacks = Callable[[Material], str | None]

LAST = "burst"
"""The case that is sent last: what comes after it may meet the rate limit that it looks for."""

_HOUR = 3600.0
_OVERSIZE, _DEPTH = 16 * 1024, 5000
_SPOOFED = {
    **dict.fromkeys(("X-User-Id", "X-User", "X-Remote-User", "X-Forwarded-User", "X-Authenticated-User"), "otelprobe"),
    "X-Forwarded-For": "127.0.0.1",
}
_OTHER_ALG: Mapping[str, str] = {
    "HS256": "HS512",
    "HS384": "HS512",
    "HS512": "HS256",
    "RS256": "RS512",
    "RS384": "RS512",
    "RS512": "RS256",
    "PS256": "PS512",
    "PS384": "PS512",
    "PS512": "PS256",
}
_MALFORMED = REFUSALS | {400}
_NO_ROUTE = REFUSALS | {404, 405}
_TOO_LARGE = REFUSALS | {400, 413, 414, 431}


# What a case needs


def _nothing(_: Material) -> str | None:
    return None


def _jwt(material: Material) -> str | None:
    return None if material.jwt is not None else "the token is no signed JWT"


def _published(material: Material) -> str | None:
    return None if material.key is not None else "needs the token's published key: add a step keys before it"


def _form(form: str) -> Lacks:
    def lacks(material: Material) -> str | None:
        if material.key is None:
            return _published(material)
        return None if key_bytes(material.key, form) is not None else "the published key has no such form"

    return lacks


def _curve(material: Material) -> str | None:
    alg = material.jwt.alg if material.jwt is not None else None
    return None if jws.has_zero_signature(alg) else "the token is not signed with ECDSA"


def _secret(material: Material) -> str | None:
    alg = material.jwt.alg if material.jwt is not None else None
    return None if alg in SYMMETRIC else "the token is not signed with a shared secret"


def _signer(material: Material) -> str | None:
    if material.jwt is None:
        return "the token is no signed JWT"
    return None if material.signer is not None else "needs signing_key, the key that the tokens are signed with"


def _signer_and(claim: str) -> Lacks:
    def lacks(material: Material) -> str | None:
        missing = material.jwt is not None and claim not in material.jwt.claims
        return _signer(material) or (f"the token has no {claim}" if missing else None)

    return lacks


def _other_alg(material: Material) -> str | None:
    alg = material.jwt.alg if material.jwt is not None else None
    return _signer(material) or (None if alg in _OTHER_ALG else "there is no other algorithm for this key")


def _id_token(material: Material) -> str | None:
    return None if material.tokens.id_token else "no ID token was issued"


def _refresh_token(material: Material) -> str | None:
    return None if material.tokens.refresh else "no refresh token was issued"


def _retained(material: Material) -> str | None:
    kept = material.retained
    return None if kept is not None and material.now > kept.exp else "no token of an earlier run has expired yet"


def _others(material: Material) -> str | None:
    return None if material.others else "needs tokens: names of steps whose tokens must be refused here"


def _narrow(material: Material) -> str | None:
    if material.method not in {"GET", "HEAD"}:
        return "goes with method GET or HEAD: a narrow token that is taken would write"
    return None if material.narrow else "needs narrow_token: the step whose token has too little scope"


def _revoked(material: Material) -> str | None:
    return None if material.revoked else "needs a step revoke before it, with use: a token of its own"


def _certificate(material: Material) -> str | None:
    return None if material.bound_to_certificate else "the token is not bound to a client certificate"


def _listener(material: Material) -> str | None:
    return _jwt(material) or (None if material.listener_url else "needs listener: where the API reaches this prober")


def _https(material: Material) -> str | None:
    return None if material.url.startswith("https:") else "the API is not asked by https"


def _plain(material: Material) -> str | None:
    return None if material.plain_url else _https(material)


def _proof(material: Material) -> str | None:
    return None if material.good.proof_key is not None else "the token is not bound to a key (DPoP)"


def _object(material: Material) -> str | None:
    return None if material.other_object else "needs other_object: the URL of what belongs to somebody else"


# How a case is made


def _of(material: Material) -> Jwt:
    if material.jwt is None:
        raise LookupError("the case needs a JWT")
    return material.jwt


def _own_key(material: Material) -> Signer:
    if material.signer is None:
        raise LookupError("the case needs the signing key")
    return material.signer


def _token(make: Callable[[Material], str | None]) -> Callable[[Material], Offer]:
    """Offer another token in the place of the good one."""
    return lambda material: Offer(credential=material.good.with_token(make(material)))


def _forged(make: Callable[[Jwt], str]) -> Callable[[Material], Offer]:
    return _token(lambda material: make(_of(material)))


def _no_token(_: Material) -> Offer:
    return Offer(credential=Credential("none"))


def _unknown_scheme(material: Material) -> Offer:
    return Offer(credential=Credential("token", GARBAGE, "Otelprobe", material.good.place))


def _confused(form: str, case: str) -> Callable[[Material], Offer]:
    def make(material: Material) -> str:
        secret = key_bytes(material.key, form) if material.key is not None else None
        if secret is None:
            raise LookupError("the key has no such form")
        return jws.with_shared_secret(_of(material), secret, case)

    return _token(make)


def _resigned(case: str, header: Mapping[str, object], **claims: float | str | None) -> Callable[[Material], Offer]:
    """Offer a token that is validly signed, by the operator's key, and has other claims (None: it lacks them).

    Numbers are seconds from now.
    """

    def make(material: Material) -> str:
        jwt, signer = _of(material), _own_key(material)
        changed = {n: int(material.now + v) if isinstance(v, float) else v for n, v in claims.items()}
        merged = {**jwt.claims, **changed, jws.MARK: case}
        return signer.sign({n: v for n, v in merged.items() if v is not None}, {**_kept(jwt), **header})

    return _token(make)


def _kept(jwt: Jwt) -> dict[str, object]:
    return {name: value for name, value in jwt.header.items() if name != "alg"}


def _signed_critical(material: Material) -> Offer:
    jwt, signer = _of(material), _own_key(material)
    token = signer.sign({**jwt.claims, jws.MARK: "unsupported_crit"}, jws.critical(_kept(jwt)))
    return Offer(credential=material.good.with_token(token))


def _signed_other_alg(material: Material) -> Offer:
    jwt, signer = _of(material), _own_key(material)
    other = Signer(signer.key, _OTHER_ALG[jwt.alg or ""], signer.kid, signer.jwk)
    token = other.sign({**jwt.claims, jws.MARK: "signed_other_alg"}, _kept(jwt))
    return Offer(credential=material.good.with_token(token))


def _guessed(material: Material) -> Offer:
    return Offer(credential=Credential("none"), found=jws.guessed_secret(_of(material), COMMON))


def _spoofed(_: Material) -> Offer:
    return Offer(credential=Credential("none"), headers=_SPOOFED)


def _object_of_another(material: Material) -> Offer:
    return Offer(credential=material.good, url=material.other_object)


def _in_query(material: Material) -> Offer:
    parts = urlsplit(material.url)
    query = "&".join(filter(None, (parts.query, urlencode({"access_token": material.good.value}))))
    return Offer(credential=Credential("none"), url=urlunsplit(parts._replace(query=query)))


def _in_form(material: Material) -> Offer:
    return Offer(credential=Credential("none"), method="POST", form={"access_token": material.good.value})


def _without_certificate(material: Material) -> Offer:
    return Offer(credential=material.good, without_certificate=True)


def _key_elsewhere(case: str, member: str) -> Callable[[Material], Offer]:
    """Offer a token whose header names a URL of ours for its key."""

    def make(material: Material) -> Offer:
        jwt, path = _of(material), f"/otelprobe/{token_urlsafe(12)}/{'keys.json' if member == 'jku' else 'key.pem'}"
        bait = (
            Bait(path, jws.strangers_keys(jwt), "application/json")
            if member == "jku"
            else Bait(path, jws.strangers_certificate(jwt, material.now), "application/pem-certificate-chain")
        )
        url = f"{(material.listener_url or '').rstrip('/')}{path}"
        return Offer(credential=material.good.with_token(jws.with_key_url(jwt, case, member, url)), bait=bait)

    return make


def _by_plain_http(material: Material) -> Offer:
    return Offer(credential=replace(material.good.with_token(GARBAGE), proof_key=None), plainly=True)


def _old_tls(version: str) -> Callable[[Material], Offer]:
    return lambda _: Offer(credential=Credential("none"), old_tls=version)


def _as_bearer(material: Material) -> Offer:
    return Offer(credential=Credential("token", material.good.value, "Bearer", material.good.place))


def _with_proof(flaw: str) -> Callable[[Material], Offer]:
    return lambda material: Offer(credential=material.good, proof=flaw)


def _preflight(origin: str) -> Callable[[Material], Offer]:
    def make(material: Material) -> Offer:
        asked = {
            "Origin": origin,
            "Access-Control-Request-Method": material.method,
            "Access-Control-Request-Headers": "authorization",
        }
        return Offer(credential=Credential("none"), method="OPTIONS", headers=asked)

    return make


def _lets_in(origin: str) -> Callable[[Answer], bool]:
    """Tell whether a preflight lets a foreign page read with the user's credentials (Fetch standard, section 3.2)."""

    def taken(answer: Answer) -> bool:
        if answer.reply is None or not 200 <= answer.reply.status < 300:
            return False
        reflected = answer.reply.value("Access-Control-Allow-Origin") == origin
        return reflected and answer.reply.value("Access-Control-Allow-Credentials").lower() == "true"

    return taken


def _with_path(change: Callable[[str], str]) -> Callable[[Material], Offer]:
    def make(material: Material) -> Offer:
        parts = urlsplit(material.url)
        return Offer(credential=Credential("none"), url=urlunsplit(parts._replace(path=change(parts.path or "/"))))

    return make


def _overridden(material: Material) -> Offer:
    headers = dict.fromkeys(("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"), material.method)
    return Offer(credential=Credential("none"), method="POST", headers=headers)


def _confusion(form: str, told: str) -> ApiCase:
    """Give the case for one form in which a validator may hold a public key."""
    word = f"confusion_{form}"
    return Case(
        "N4",
        word,
        _SLOW,
        f"an HS256 token whose secret is the public key as {told}",
        _form(form),
        _confused(form, word),
    )


def _unsigned(word: str, alg: str | None, *, signature: bool = False) -> ApiCase:
    """Give the case for one spelling of `none`."""
    told = {None: "without alg", "": "with an empty alg"}.get(alg, f"(alg {alg})")
    told = f"an unsigned token {told}{' under the old signature' if signature else ''}"
    make = _forged(lambda jwt: jws.unsigned(jwt, alg, word, signature=signature))
    return Case("N2", word, _SAFE, told, _jwt, make, uniform=True)


def _proven(word: str, told: str, flaw: str) -> ApiCase:
    """Give the case for one flaw of a DPoP proof."""
    return Case("N24", word, _SLOW, f"a bound token with {told}", _proof, _with_proof(flaw), proper=_MALFORMED)


_SAFE, _SLOW, _INTRUSIVE = Group.SAFE, Group.SLOW, Group.INTRUSIVE
_FOREIGN = "https://otelprobe.invalid"

_TABLE: tuple[ApiCase, ...] = (
    Case("N0", "no_token", _SAFE, "no token", _nothing, _no_token, Reason.ENDPOINT_NOT_PROTECTED),
    Case("N0", "garbage", _SAFE, "garbage for a token", _nothing, _token(lambda _: GARBAGE)),
    Case("N1", "tampered", _SAFE, "a changed payload under the old signature", _jwt, _forged(jws.tamper), uniform=True),
    _unsigned("alg_none", "none"),
    Case("N3", "forged_key", _SAFE, "a token signed by a stranger's key", _jwt, _forged(jws.resign), uniform=True),
    Case("N12", "expired", _SAFE, "the prober's own token after its end", _retained,
         _token(lambda m: m.retained.token if m.retained else None), uniform=True),
    Case("N22", "revoked", _SAFE, "a revoked token", _revoked,
         _token(lambda m: m.revoked.access if m.revoked else None), Reason.REVOCATION_INEFFECTIVE, uniform=True),
    Case("N13", "other_token", _SAFE, "a token for another audience, client or tenant", _others, _token(lambda _: None),
         uniform=True, parameter="tokens"),
    Case("N14", "id_token", _SAFE, "an ID token for an access token", _id_token,
         _token(lambda m: m.tokens.id_token), uniform=True),
    Case("N14", "refresh_token", _SAFE, "a refresh token for an access token", _refresh_token,
         _token(lambda m: m.tokens.refresh), proper=_MALFORMED),
    Case("N15", "narrow_scope", _SAFE, "a token with too little scope", _narrow, _token(lambda m: m.narrow),
         parameter="narrow_token"),
    Case("N25", "no_certificate", _SAFE, "a certificate-bound token without the certificate", _certificate,
         _without_certificate),
    Case("N1", "flipped_signature", _SAFE, "a signature with flipped bits", _jwt,
         _forged(lambda jwt: forge(jwt.raw)), uniform=True),
    Case("N1", "stripped_signature", _SAFE, "a token without its signature", _jwt, _forged(jws.without_signature),
         uniform=True),
    Case("N9", "weak_secret", _SAFE, "a shared secret that anybody can guess (no request is sent)", _secret, _guessed),
    _unsigned("alg_none_title", "None"),
    _unsigned("alg_none_upper", "NONE"),
    _unsigned("alg_none_mixed", "nOnE"),
    _unsigned("alg_none_signed", "none", signature=True),
    _unsigned("alg_empty", ""),
    _unsigned("alg_missing", None),
    Case("N11", "unsupported_crit", _SAFE, "a validly signed token with an unsupported critical extension", _signer,
         _signed_critical, uniform=True, parameter="signing_key"),
    Case("N0", "empty_token", _SAFE, "a scheme without a token", _nothing, _token(lambda _: ""), proper=_MALFORMED),
    Case("N0", "unknown_scheme", _SAFE, "garbage under an unknown scheme", _nothing, _unknown_scheme, proper=_MALFORMED),
    Case("N12", "signed_expired", _SAFE, "a validly signed token that has expired", _signer_and("exp"),
         _resigned("signed_expired", {}, iat=-2 * _HOUR, nbf=None, exp=-_HOUR), uniform=True, parameter="signing_key"),
    Case("N12", "signed_without_exp", _SAFE, "a validly signed token that never ends", _signer_and("exp"),
         _resigned("signed_without_exp", {}, exp=None), uniform=True, parameter="signing_key"),
    Case("N12", "signed_too_early", _SAFE, "a validly signed token that is not yet valid", _signer,
         _resigned("signed_too_early", {}, nbf=_HOUR, exp=2 * _HOUR), uniform=True, parameter="signing_key"),
    Case("N13", "signed_other_issuer", _SAFE, "a validly signed token of another issuer", _signer_and("iss"),
         _resigned("signed_other_issuer", {}, iss=_FOREIGN), uniform=True, parameter="signing_key"),
    Case("N13", "signed_other_audience", _SAFE, "a validly signed token for another audience", _signer_and("aud"),
         _resigned("signed_other_audience", {}, aud=_FOREIGN), uniform=True, parameter="signing_key"),
    Case("N2", "signed_other_alg", _SAFE, "a validly signed token of another algorithm of the same key", _other_alg,
         _signed_other_alg, uniform=True, parameter="signing_key"),
    Case("N27", "foreign_origin", _SAFE, "a preflight that lets a foreign origin send credentials", _nothing,
         _preflight(_FOREIGN), proper=frozenset(range(200, 500)), taken=_lets_in(_FOREIGN)),
    Case("N27", "null_origin", _SAFE, "a preflight that lets the origin null send credentials", _nothing,
         _preflight("null"), proper=frozenset(range(200, 500)), taken=_lets_in("null")),
    Case("N28", "plain_http", _SAFE, "garbage for a token, by plain http", _plain, _by_plain_http),
    _confusion("pem", "PEM"),
    _confusion("pem_bare", "PEM without its last newline"),
    _confusion("jwk", "JWK"),
    _confusion("der", "DER"),
    _confusion("pkcs1", "PKCS#1 PEM"),
    _confusion("pkcs1_bare", "PKCS#1 PEM without its last newline"),
    _confusion("pkcs1_der", "PKCS#1 DER"),
    _confusion("number", "its bare number"),
    _confusion("certificate", "its certificate"),
    Case("N5", "unknown_kid", _SLOW, "a token of a key that nobody published", _jwt,
         _forged(lambda jwt: jws.resign(jwt, "unknown_kid", UNKNOWN_KID)), uniform=True),
    Case("N6", "inline_key", _SLOW, "a token that brings its own key along", _jwt,
         _forged(lambda jwt: jws.with_inline_key(jwt, "inline_key"))),
    Case("N9", "blank_secret", _SLOW, "an HS256 token with an empty secret", _jwt,
         _forged(lambda jwt: jws.with_shared_secret(jwt, b"", "blank_secret"))),
    Case("N10", "zero_signature", _SLOW, "an ECDSA signature of zeros", _curve,
         _forged(lambda jwt: jws.with_zero_signature(jwt, "zero_signature"))),
    Case("N16", "token_in_query", _SLOW, "the good token in the query", _nothing, _in_query, proper=_MALFORMED),
    Case("N16", "token_in_form", _SLOW, "the good token in a form", _nothing, _in_form,
         proper=_MALFORMED | {404, 405, 415}),
    Case("N24", "proof_as_bearer", _SLOW, "a bound token as a bearer token", _proof, _as_bearer, proper=_MALFORMED),
    _proven("proof_missing", "no proof", "missing"),
    _proven("proof_replayed", "a proof that was sent before", "replayed"),
    _proven("proof_twice", "a proof on two header lines", "twice"),
    _proven("proof_wrong_method", "a proof for another method", "wrong_method"),
    _proven("proof_wrong_url", "a proof for another URL", "wrong_url"),
    _proven("proof_wrong_token", "a proof for another token", "wrong_token"),
    _proven("proof_without_token", "a proof for no token", "no_token"),
    _proven("proof_other_key", "a proof of another key", "other_key"),
    _proven("proof_wrong_type", "a proof of another type", "wrong_type"),
    _proven("proof_unsigned", "a proof without a signature", "unsigned"),
    _proven("proof_old", "a proof of an hour ago", "old"),
    _proven("proof_early", "a proof of the next hour", "early"),
    Case("N28", "tls_1_0", _SLOW, "TLS 1.0 (no request is sent)", _https, _old_tls("1.0")),
    Case("N28", "tls_1_1", _SLOW, "TLS 1.1 (no request is sent)", _https, _old_tls("1.1")),
    Case("N7", "key_url", _INTRUSIVE, "a token that names a URL for its key (jku)", _listener,
         _key_elsewhere("key_url", "jku"), parameter="listener"),
    Case("N7", "certificate_url", _INTRUSIVE, "a token that names a URL for its certificate (x5u)", _listener,
         _key_elsewhere("certificate_url", "x5u"), parameter="listener"),
    Case("N8", "kid_path", _INTRUSIVE, "a kid that is the path of an empty file", _jwt,
         _forged(lambda jwt: jws.with_shared_secret(jwt, b"", "kid_path", {"kid": "../../../../../../dev/null"}))),
    Case("N8", "kid_sql", _INTRUSIVE, "a kid that is a piece of SQL", _jwt,
         _forged(lambda jwt: jws.with_shared_secret(jwt, b"otelprobe", "kid_sql", {"kid": "' UNION SELECT 'otelprobe"}))),
    Case("N29", "spoofed_identity", _INTRUSIVE, "headers that a gateway would set, and no token", _nothing, _spoofed),
    Case("N29", "method_override", _INTRUSIVE, "another method by header, and no token", _nothing, _overridden,
         proper=_NO_ROUTE),
    Case("N29", "path_case", _INTRUSIVE, "the path in capitals, and no token", _nothing, _with_path(str.upper),
         proper=_NO_ROUTE),
    Case("N29", "path_double_slash", _INTRUSIVE, "the path with a slash twice, and no token", _nothing,
         _with_path(lambda path: "//".join(path.rsplit("/", 1))), proper=_NO_ROUTE),
    Case("N29", "path_parameter", _INTRUSIVE, "the path with a parameter, and no token", _nothing,
         _with_path(lambda path: f"{path};otelprobe"), proper=_NO_ROUTE),
    Case("N30", "other_object", _INTRUSIVE, "the good token for somebody else's object", _object, _object_of_another,
         proper=_NO_ROUTE, parameter="other_object"),
    Case("N33", "oversize_token", _INTRUSIVE, "a token of 16 KiB", _jwt,
         _forged(lambda jwt: jws.oversize(jwt, "oversize_token", _OVERSIZE)), proper=_TOO_LARGE),
    Case("N33", "deep_token", _INTRUSIVE, "a payload of 5,000 nested arrays", _jwt,
         _forged(lambda jwt: jws.deeply_nested(jwt, _DEPTH)), proper=_TOO_LARGE),
    Case("N33", "claim_twice", _INTRUSIVE, "a payload that names claims twice", _jwt,
         _forged(lambda jwt: jws.with_claim_twice(jwt, "claim_twice")), proper=_MALFORMED),
    Case("N31", LAST, _INTRUSIVE, f"garbage for a token, {BURST} times in a row", _nothing, _token(lambda _: GARBAGE)),
)  # fmt: skip

API_CASES: Mapping[str, ApiCase] = MappingProxyType({case.word: case for case in _TABLE})
"""Every case for an API by its word; in the order in which they take turns, the telling ones first."""
