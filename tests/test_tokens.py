"""The tokens door: what is wrong with a token is found in full, and what is right with it is never doubted."""

import base64
import datetime as dt
import hashlib
import hmac
import inspect
import json
import subprocess
import sys
from typing import Any

import jwt as pyjwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from otelprobe import tokens
from otelprobe.expect import parse_matcher
from otelprobe.forging import forge
from otelprobe.reasons import CheckFailed, Reason
from otelprobe.result import Fact
from otelprobe.tokens import Verification, format_of, parse, parse_key_set, verify
from tests.token_kit import CANARY, GOOD, ISSUER, NOW, jwk, keys, policy, signing_key, token

RFC7638_N = (
    "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMs"
    "tn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5haj"
    "rn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"
)
ED25519_X = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
JOE = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
RFC7515_A1 = f"eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.{JOE}.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
RFC7515_A1_KEY = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"
RFC7515_A3 = (
    f"eyJhbGciOiJFUzI1NiJ9.{JOE}.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
)
RFC7515_A3_KEY = {
    "kty": "EC",
    "crv": "P-256",
    "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
}


def b64(value: Any) -> str:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def jws(payload: Any, header: Any = None) -> str:
    return f"{b64(header or {'alg': 'ES256'})}.{b64(payload)}.c2ln"


def check(
    access: str, *jwks: dict[str, Any], now: float = NOW, issued_at: float | None = None, **wanted: Any
) -> Verification:
    found = verify(parse(access), keys(*(jwks or (jwk(),))), policy(**wanted), now, issued_at=issued_at)
    assert CANARY not in repr(found)
    return found


def reasons(found: Verification) -> list[Reason]:
    return [p.reason for p in found.problems]


# Telling apart and parsing


@pytest.mark.parametrize(
    ("text", "form"),
    [
        (f"{b64({'alg': 'RS256'})}.{b64({})}.c2ln", "jws"),
        (f"{b64({'alg': 'none'})}.{b64({})}.", "jws"),
        (f"{b64({'alg': 'RSA-OAEP', 'enc': 'A256GCM'})}.a.b.c.d", "jwe"),
        ("not.a.jwt", "jws"),
        (f"{b64({'alg': 'RS256'})}.{b64({})}", "jws"),
        ("2YotnFZFEjr1zCsicMWpAA", "opaque"),
        ("ya29.A0ARrdaM-abc", "opaque"),
        ("a.b.c.d.e", "opaque"),
        ("", "opaque"),
    ],
)
def test_formats_are_told_apart_by_looks(text: str, form: str) -> None:
    """A token's format is told without a key: a broken JWS is a JWS, a text with other dots is opaque."""
    assert format_of(text) == form


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("opaque-token", Reason.TOKEN_OPAQUE),
        (f"{b64({'alg': 'dir', 'enc': 'A256GCM'})}..b.c.d", Reason.TOKEN_ENCRYPTED),
        ("not.a.jwt", Reason.TOKEN_MALFORMED),
        (f"{b64({'alg': 'ES256'})}.{b64({})}", Reason.TOKEN_MALFORMED),
        (jws({}, ["alg"]), Reason.TOKEN_MALFORMED),
        (jws([1]), Reason.TOKEN_MALFORMED),
        (jws(b"{"), Reason.TOKEN_MALFORMED),
        (jws({}) + "ab", Reason.TOKEN_MALFORMED),
        (jws(b"[" * 100_000), Reason.TOKEN_MALFORMED),
        (jws(b'{"exp": NaN}'), Reason.TOKEN_MALFORMED),
        (jws(b'{"exp": ' + b"9" * 5000 + b"}"), Reason.TOKEN_MALFORMED),
        (jws(b"\xff\xfe\xfd"), Reason.TOKEN_MALFORMED),
    ],
)
def test_what_is_no_jws_is_named(text: str, reason: Reason) -> None:
    """Every way not to be a JWS ends in its reason, and the token is not repeated in the text."""
    with pytest.raises(CheckFailed) as caught:
        parse(text)
    assert caught.value.reason is reason
    assert text not in str(caught.value)


def test_parse_shows_header_and_hides_claims() -> None:
    """A parsed token gives header and claims, and its repr holds neither the claims nor the token."""
    access = token()
    parsed = parse(access)
    assert (parsed.alg, parsed.kid, parsed.claims["sub"]) == ("ES256", "k1", CANARY)
    assert CANARY not in repr(parsed)
    assert access not in repr(parsed)


def test_importing_the_room_does_not_import_pyjwt() -> None:
    """A flow that verifies nothing does not pay for PyJWT or cryptography."""
    code = (
        "import sys, otelprobe.tokens, otelprobe.step; sys.exit(any(m in sys.modules for m in ('jwt', 'cryptography')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_exception_of_pyjwt_has_a_reason() -> None:
    """Each exception class of PyJWT stands in the table by its own name, so a new one is noticed."""
    classes = [c for _, c in inspect.getmembers(pyjwt.exceptions, inspect.isclass) if issubclass(c, Exception)]
    assert len(classes) > 15
    assert [c.__name__ for c in classes if c.__name__ not in tokens.EXCEPTIONS] == []
    assert all(tokens.reason_for(c("x")) is tokens.EXCEPTIONS[c.__name__] for c in classes)
    with pytest.raises(RuntimeError):
        tokens.reason_for(RuntimeError("ours"))


# Keys


def test_thumbprints_are_those_of_the_specifications() -> None:
    """Thumbprints are the ones printed in RFC 7638 (RSA) and RFC 8037 (Ed25519)."""
    rsa_key, okp_key = keys(
        {"kty": "RSA", "n": RFC7638_N, "e": "AQAB"}, {"kty": "OKP", "crv": "Ed25519", "x": ED25519_X}
    )
    assert rsa_key.thumbprint == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
    assert rsa_key.fault is None
    assert okp_key.thumbprint == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


@pytest.mark.parametrize("document", [None, [], "keys", {}, {"keys": {}}, {"keys": None}, {"key": []}])
def test_what_is_no_key_set_is_refused(document: object) -> None:
    """A key set is an object with a list of keys and nothing else."""
    with pytest.raises(CheckFailed) as caught:
        parse_key_set(document)
    assert caught.value.reason is Reason.JWKS_INVALID


@pytest.mark.parametrize(
    ("entry", "fault"),
    [
        ("text", "the entry is no JSON object"),
        ({"kid": "a"}, "it has no kty"),
        ({"kty": 7}, "it has no kty"),
        ({"kty": "AKP", "alg": "ML-DSA-44", "pub": "AAAA"}, "unknown kty AKP"),
        ({"kty": "EC", "crv": "P-999", "x": "AA", "y": "AA"}, "unknown crv P-999"),
        ({"kty": "EC", "crv": ["P-256"], "x": "AA", "y": "AA"}, 'unknown crv ["P-256"]'),
        ({"kty": "OKP", "crv": "X25519", "x": ED25519_X}, "unknown crv X25519"),
        ({"kty": "RSA", "e": "AQAB"}, "its parameters cannot be read"),
        ({"kty": "RSA", "n": 5, "e": "AQAB"}, "its parameters cannot be read"),
        ({"kty": "EC", "crv": "P-256", "x": "AAAA", "y": "AAAA"}, "its parameters cannot be read"),
        ({"kty": "EC", "crv": "P-256", "x": ED25519_X, "y": ED25519_X}, "its parameters cannot be read"),
        ({"kty": "OKP", "crv": "Ed25519", "x": "AAAA"}, "its parameters cannot be read"),
        ({"kty": "oct"}, "its parameters cannot be read"),
    ],
)
def test_one_bad_key_does_not_spoil_the_others(entry: Any, fault: str) -> None:
    """A key that cannot be read says why, and the key beside it still verifies."""
    bad, good = parse_key_set({"keys": [entry, jwk()]})
    assert bad.fault == fault
    assert not bad.verifies
    assert good.verifies


def test_private_members_are_noticed_and_dropped() -> None:
    """A published private key is marked, still verifies, and its secret is kept nowhere."""
    private = {**jwk(), "d": "c2VjcmV0LW51bWJlcg"}
    shared = {"kty": "oct", "kid": "s", "k": "c2VjcmV0LW51bWJlcg"}
    ec, octet = keys(private, shared)
    assert (ec.private, ec.fault, "d" in ec.jwk) == (True, None, False)
    assert (octet.private, octet.verifies, octet.thumbprint) == (True, False, None)
    assert "c2VjcmV0" not in repr((ec, octet))
    assert not keys(jwk())[0].private


def test_keys_set_aside_do_not_verify() -> None:
    """A key for encryption, or whose operations lack verify, is no verification key."""
    made = keys(jwk(use="enc"), jwk(key_ops=["encrypt"]), jwk(use="sig", key_ops=["verify"]))
    assert [key.verifies for key in made] == [False, False, True]


@pytest.mark.parametrize("form", ["public", "private", "certificate"])
def test_pem_files_of_every_form_give_the_public_key(form: str) -> None:
    """A PEM public key, private key or certificate verifies what its private half signed."""
    private = rsa.generate_private_key(65537, 2048)
    access = tokens.sign(GOOD, private, "RS256")
    found = verify(parse(access), (tokens.pem_key(_pem(private, form)),), policy(algorithms=("RS256",)), NOW)
    assert found.problems == ()
    assert not tokens.pem_key(_pem(private, form)).private


def _pem(private: rsa.RSAPrivateKey, form: str) -> bytes:
    if form == "private":
        plain = serialization.NoEncryption()
        return private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    if form == "public":
        public = private.public_key()
        return public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    start = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(private.public_key())
    made = made.serial_number(7).not_valid_before(start).not_valid_after(start + dt.timedelta(days=1))
    return made.sign(private, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


@pytest.mark.parametrize(
    "pem",
    [b"", b"text", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", b"-----BEGIN CERTIFICATE-----"],
)
def test_what_is_no_pem_key_is_refused(pem: bytes) -> None:
    """A file without a key in it is refused with a plain message."""
    with pytest.raises(ValueError, match="no public key or certificate"):
        tokens.pem_key(pem)


# Signatures


def test_the_specifications_own_tokens_verify() -> None:
    """The tokens printed in RFC 7515 (appendices A.1 and A.3) verify with the keys printed there."""
    joe = policy(algorithms=("HS256", "ES256"), issuer="joe", audience=None)
    for access, key in ((RFC7515_A1, {"kty": "oct", "k": RFC7515_A1_KEY}), (RFC7515_A3, RFC7515_A3_KEY)):
        found = verify(parse(access), keys(key), joe, 1_300_819_379)
        assert (found.problems, found.signed) == ((), True)


@pytest.mark.parametrize("alg", [*tokens.ASYMMETRIC])
@pytest.mark.parametrize("stated", [True, False])
def test_every_asymmetric_algorithm_verifies_with_and_without_alg_in_the_key(alg: str, stated: bool) -> None:
    """A JWK verifies each algorithm of its family, whether or not it says which (PyJWT alone would take it for RS256)."""
    more: dict[str, Any] = {"alg": alg} if stated else {}
    key = "RS256" if alg[:2] in {"RS", "PS"} else alg
    access = tokens.sign(GOOD, signing_key(key), alg, {"kid": "k1"})
    found = check(access, jwk(key, **more), algorithms=(alg,))
    assert found.problems == ()
    assert found.facts[Fact.JWT_SIGNATURE_VALID] is True
    bad = check(forge(access), jwk(key, **more), algorithms=(alg,))
    assert reasons(bad) == [Reason.SIGNATURE_INVALID]


@pytest.mark.parametrize("alg", [*tokens.SYMMETRIC])
def test_shared_secrets_verify(alg: str) -> None:
    """A token that PyJWT signed with a shared secret verifies with it and with no other."""
    secret = "s" * 64
    access = pyjwt.encode(GOOD, secret, algorithm=alg)
    wanted = policy(algorithms=(alg,))
    assert verify(parse(access), (tokens.secret_key(secret),), wanted, NOW).problems == ()
    other = verify(parse(access), (tokens.secret_key("o" * 64),), wanted, NOW)
    assert reasons(other) == [Reason.SIGNATURE_INVALID]
    assert "ssss" not in repr(tokens.secret_key(secret))


@pytest.mark.parametrize(("stated", "alg"), [("EdDSA", "Ed25519"), ("Ed25519", "EdDSA")])
def test_both_names_of_ed25519_are_one(stated: str, alg: str) -> None:
    """A key that says EdDSA fits a token that says Ed25519 (RFC 9864), and the other way round."""
    access = tokens.sign(GOOD, signing_key("EdDSA"), alg, {"kid": "k1"})
    assert check(access, jwk("EdDSA", alg=stated), algorithms=(alg,)).problems == ()


@pytest.mark.parametrize("name", ["none", "None", "nOnE"])
def test_an_unsigned_token_is_told_first(name: str) -> None:
    """alg none, however it is spelled and even if the policy lists it, is the first problem and nothing hides it."""
    access = tokens.sign({**GOOD, "aud": "other"}, signing_key("ES256"), "ES256", {"alg": name})
    found = check(access, algorithms=("none", "ES256"))
    assert reasons(found) == [Reason.ALG_NONE, Reason.AUDIENCE_MISMATCH]
    assert found.facts[Fact.JWT_SIGNATURE_VALID] is False
    assert not found.signed


def test_a_public_key_is_never_taken_for_a_secret() -> None:
    """HS256 signed with the bytes of the public key (algorithm confusion) is refused even if HS256 were allowed."""
    public = signing_key("ES256").public_key()
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    head, body = b64({"alg": "HS256", "kid": "k1"}), b64(GOOD)
    mac = hmac.new(pem, f"{head}.{body}".encode(), hashlib.sha256).digest()
    assert reasons(check(f"{head}.{body}.{b64(mac)}")) == [Reason.ALG_NOT_ALLOWED]
    assert reasons(check(f"{head}.{body}.{b64(mac)}", algorithms=("HS256",))) == [Reason.KEY_MISMATCH]


@pytest.mark.parametrize(
    ("alg", "allowed", "listed", "reason"),
    [
        ("RS256", ("ES256",), True, Reason.ALG_NOT_ALLOWED),
        ("ML-DSA-44", ("ES256",), True, Reason.ALG_NOT_ALLOWED),
        ("ML-DSA-44", ("ES256", "ML-DSA-44"), True, Reason.ALG_UNSUPPORTED),
        ("ML-DSA-44", ("ES256",), False, Reason.ALG_UNSUPPORTED),
        ("es256", ("ES256",), True, Reason.ALG_NOT_ALLOWED),
        (None, ("ES256",), True, Reason.ALG_NOT_ALLOWED),
        (7, ("ES256",), True, Reason.ALG_NOT_ALLOWED),
    ],
)
def test_algorithms_outside_the_list_are_refused(
    alg: Any, allowed: tuple[str, ...], listed: bool, reason: Reason
) -> None:
    """What the list does not hold is not allowed; what it holds, or nobody listed, and we cannot do is our shortcoming."""
    access = tokens.sign(GOOD, signing_key("ES256"), "ES256", {"alg": alg, "kid": "k1"})
    assert reasons(check(access, algorithms=allowed, listed=listed)) == [reason]


def test_keys_are_found_by_kid() -> None:
    """The kid picks the key among many; an unknown one is told with the published ones, and so is a withdrawn one."""
    published = (jwk(kid="k0", which=1), jwk())
    found = check(token(), *published)
    assert (found.problems, found.facts[Fact.JWT_KID_FOUND]) == ((), True)
    unknown = check(token(kid="k2"), *published)
    assert reasons(unknown) == [Reason.KID_NOT_IN_JWKS]
    assert "kid k2 is not published (published: k0, k1)" in unknown.problems[0].detail
    assert unknown.facts[Fact.JWT_KID_FOUND] is False
    gone = verify(parse(token(kid="k2")), keys(*published), policy(), NOW, withdrawn=["k2"])
    assert reasons(gone) == [Reason.KID_WITHDRAWN_EARLY]


def test_without_a_kid_every_fitting_key_is_tried() -> None:
    """A token without kid verifies with any fitting key, and fails with their number where none does."""
    assert check(token(kid=None), jwk("RS256"), jwk(which=1), jwk(), jwk(use="enc")).problems == ()
    bad = check(token(kid=None), jwk(which=1), jwk(which=2), jwk("RS256"))
    assert bad.problems[0].detail == "the signature does not verify with any of 2 fitting keys"
    assert reasons(check(token(kid=None), jwk("RS256"))) == [Reason.KEY_MISMATCH]
    assert reasons(verify(parse(token(kid=None)), (), policy(), NOW)) == [Reason.KEY_MISMATCH]


def test_a_key_without_kid_serves_a_token_with_one() -> None:
    """A key without kid verifies whatever kid the token names, but not in the place of the key that has that kid."""
    found = check(token(kid="any"), jwk(kid=None))
    assert found.problems == ()
    assert Fact.JWT_KID_FOUND not in found.facts
    named = check(token(), jwk(which=1), jwk(kid=None))
    assert named.problems[0].detail == "the signature does not verify with key k1"


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        (jwk("RS256"), Reason.KEY_MISMATCH),
        (jwk("ES384"), Reason.KEY_MISMATCH),
        (jwk(alg="ES384"), Reason.KEY_MISMATCH),
        (jwk(use="enc"), Reason.KEY_MISMATCH),
        ({"kid": "k1", "kty": "EC", "crv": "P-256", "x": "AAAA", "y": "AAAA"}, Reason.KEY_UNUSABLE),
        ({"kid": "k1", "kty": "AKP"}, Reason.KEY_UNUSABLE),
        (jwk(which=1), Reason.SIGNATURE_INVALID),
    ],
)
def test_the_wrong_key_is_told_from_a_broken_one(key: dict[str, Any], reason: Reason) -> None:
    """A key of another family, curve, alg or use does not fit; one that cannot be read is unusable; else it is the signature."""
    assert reasons(check(token(), key)) == [reason]


def test_a_weak_key_is_a_warning_and_no_python_warning() -> None:
    """A short key verifies with a warning of ours; PyJWT's own warning never escapes."""
    weak = rsa.generate_private_key(65537, 1024)
    access = tokens.sign(GOOD, weak, "RS256", {"kid": "k1"})
    found = check(access, tokens.public_jwk(weak, kid="k1"), algorithms=("RS256",))
    assert found.problems == ()
    assert [w.reason for w in found.warnings] == [Reason.KEY_UNUSABLE]
    assert "1024 bits" in found.warnings[0].detail


# Header and claims


@pytest.mark.parametrize(
    ("headers", "wanted", "detail"),
    [
        ({"typ": "JWT"}, "at+jwt", "typ is JWT, expected at+jwt"),
        ({"typ": None}, "at+jwt", "typ is missing, expected at+jwt"),
        ({"crit": ["b64"], "b64": True}, None, 'crit names extensions that are not supported: ["b64"]'),
        ({"crit": []}, None, "crit is no list of names"),
        ({"crit": "exp"}, None, "crit is no list of names"),
        ({"kid": 7}, None, "kid is not a string"),
    ],
)
def test_headers_are_checked_beside_the_signature(headers: dict[str, Any], wanted: str | None, detail: str) -> None:
    """A header problem is told though the signature holds (PyJWT would not look at the signature at all)."""
    found = check(token(headers=headers), typ=wanted)
    assert [(p.reason, p.detail) for p in found.problems] == [(Reason.HEADER_UNEXPECTED, detail)]
    assert found.signed


@pytest.mark.parametrize("typ", ["at+jwt", "AT+JWT", "application/at+jwt"])
def test_typ_is_compared_as_a_media_type(typ: str) -> None:
    """typ is compared without case, and the prefix application/ may be there or not (RFC 7515, section 4.1.9)."""
    assert check(token(headers={"typ": typ}), typ="at+jwt").problems == ()


@pytest.mark.parametrize("name", ["exp", "nbf", "iat"])
@pytest.mark.parametrize("value", ["1900000000", True, None, [], 10**400, 1e300])
def test_times_must_be_numbers(name: str, value: Any) -> None:
    """A numeric string, a boolean or an absurd number is no time, though PyJWT takes some of them."""
    found = check(token(**{name: value}))
    assert [(p.reason, p.detail) for p in found.problems] == [
        (Reason.CLAIM_INVALID, f"claim {name} is no number of seconds")
    ]


@pytest.mark.parametrize(("name", "value"), [("iss", 7), ("iss", [ISSUER]), ("sub", 7), ("jti", {}), ("sub", None)])
def test_names_must_be_strings(name: str, value: Any) -> None:
    """iss, sub and jti are strings or invalid."""
    assert reasons(check(token(**{name: value}))) == [Reason.CLAIM_INVALID]


@pytest.mark.parametrize("value", [7, None, {}, ["orders", 7]])
def test_audiences_must_be_strings(value: Any) -> None:
    """aud is a string or a list of strings."""
    assert reasons(check(token(aud=value))) == [Reason.CLAIM_INVALID]


@pytest.mark.parametrize("value", ["orders", ["orders"], ["account", "orders"]])
def test_one_audience_of_many_is_enough(value: Any) -> None:
    """The token may be for others too, and the policy may allow several."""
    assert check(token(aud=value)).problems == ()
    assert check(token(aud=value), audience=("billing", "orders")).problems == ()


def test_a_wrong_audience_is_told_as_the_contract_says() -> None:
    """The detail names both sides of the audience, as flow-file.md shows it."""
    found = check(token(aud=["account"]))
    assert [(p.reason, p.detail) for p in found.problems] == [
        (Reason.AUDIENCE_MISMATCH, 'aud is ["account"], expected orders')
    ]
    assert found.facts[Fact.JWT_AUDIENCE_MATCH] is False


def test_issuers_are_compared_to_the_letter() -> None:
    """A trailing slash makes another issuer."""
    found = check(token(iss=f"{ISSUER}/"))
    assert [(p.reason, p.detail) for p in found.problems] == [
        (Reason.ISSUER_MISMATCH, f"iss is {ISSUER}/, expected {ISSUER}")
    ]
    assert found.facts[Fact.JWT_ISSUER_MATCH] is False


def test_what_is_not_asked_for_is_not_compared() -> None:
    """Without issuer and audience in the policy, neither is compared nor reported."""
    found = check(token(iss=..., aud=...), issuer=None, audience=None)
    assert found.problems == ()
    assert not {Fact.JWT_ISSUER_MATCH, Fact.JWT_AUDIENCE_MATCH} & set(found.facts)


def test_missing_claims_are_all_named() -> None:
    """Required and compared claims that are absent are all told, each once."""
    found = check(token(iss=..., aud=..., jti=...), require=("jti", "azp", "iss"))
    assert found.facts[Fact.JWT_MISSING_CLAIMS] == ("jti", "azp", "iss", "aud")
    assert reasons(found) == [Reason.CLAIM_MISSING] * 4


def test_a_required_claim_may_be_null() -> None:
    """A claim that is there with null is not missing."""
    assert check(token(azp=None), require=("azp",)).problems == ()


@pytest.mark.parametrize(
    ("changes", "now", "reason"),
    [
        ({}, NOW + 304, None),
        ({}, NOW + 305, Reason.EXPIRED),
        ({"nbf": NOW + 5}, NOW, None),
        ({"nbf": NOW + 6}, NOW, Reason.NOT_YET_VALID),
        ({"iat": NOW + 5}, NOW, None),
        ({"iat": NOW + 6.5}, NOW, Reason.NOT_YET_VALID),
        ({"exp": NOW + 0.5}, NOW + 5, None),
    ],
)
def test_the_leeway_is_granted_to_the_second(changes: dict[str, Any], now: float, reason: Reason | None) -> None:
    """Times are good up to the leeway and bad from there on, on either side."""
    assert reasons(check(token(**changes), now=now)) == ([reason] if reason else [])


def test_a_token_that_was_born_dead_is_told_from_one_that_died() -> None:
    """Expired before it was obtained is expired_on_issue; expired since then, or cached, is expired."""
    dead = token(iat=NOW - 400, exp=NOW - 100)
    assert reasons(check(dead, issued_at=NOW)) == [Reason.EXPIRED_ON_ISSUE]
    assert reasons(check(dead)) == [Reason.EXPIRED]
    assert reasons(check(token(), now=NOW + 900, issued_at=NOW)) == [Reason.EXPIRED]


def test_a_token_that_never_expires_is_warned_of() -> None:
    """A token without exp passes if exp is not required, with a warning."""
    found = check(token(exp=...))
    assert found.problems == ()
    assert [w.reason for w in found.warnings] == [Reason.LIFETIME_EXCESSIVE]


def test_lifetimes_are_limited() -> None:
    """A token that lives longer than allowed is told; one without times to tell it from lacks claims."""
    found = check(token(), max_lifetime=299.0)
    assert [(p.reason, p.detail) for p in found.problems] == [
        (Reason.LIFETIME_EXCESSIVE, "the token lives 300 s, allowed are 299 s")
    ]
    assert check(token(), max_lifetime=300.0).problems == ()
    assert reasons(check(token(iat=...), max_lifetime=300.0)) == [Reason.CLAIM_MISSING]


def test_claims_are_compared_by_conditions_and_never_shown() -> None:
    """A claim that is not as expected is named without either value; an absent one is missing, unless it should be."""
    wanted = {"sub": parse_matcher("somebody-else"), "azp": parse_matcher("x"), "act": parse_matcher({"exists": False})}
    found = check(token(), claims=wanted)
    assert [(p.reason, p.detail) for p in found.problems] == [
        (Reason.CLAIM_MISSING, "claim azp is missing"),
        (Reason.CLAIM_MISMATCH, "claim sub is not as expected"),
    ]
    assert "somebody-else" not in repr(found)
    assert reasons(check(token(act="x"), claims=wanted))[1:] == [Reason.CLAIM_MISMATCH] * 2
    assert check(token(), claims={"client_id": parse_matcher("otelprobe")}).problems == ()


def test_all_problems_are_listed_most_important_first() -> None:
    """A token with everything wrong names it all, in the order of what matters (PyJWT would name the first)."""
    access = forge(token(iss="x", aud="x", exp=NOW - 60, iat="x", jti=..., nbf=NOW + 60, headers={"typ": "x"}))
    found = check(access, require=("jti",), typ="at+jwt", claims={"client_id": parse_matcher("x")}, max_lifetime=9.0)
    assert reasons(found) == [
        Reason.SIGNATURE_INVALID,
        Reason.HEADER_UNEXPECTED,
        Reason.CLAIM_MISSING,
        Reason.CLAIM_INVALID,
        Reason.EXPIRED,
        Reason.NOT_YET_VALID,
        Reason.ISSUER_MISMATCH,
        Reason.AUDIENCE_MISMATCH,
        Reason.CLAIM_MISMATCH,
    ]
    assert found.facts[Fact.JWT_PROBLEMS] == tuple(r.value for r in reasons(found))


def test_facts_of_a_good_token() -> None:
    """A good token reports algorithm, format, key, times and matches."""
    assert check(token(), now=NOW + 1.25).facts == {
        Fact.JWT_FORMAT: "jws",
        Fact.JWT_ALG: "ES256",
        Fact.JWT_KID_FOUND: True,
        Fact.JWT_SIGNATURE_VALID: True,
        Fact.JWT_AGE: 1.25,
        Fact.JWT_REMAINING: 298.75,
        Fact.JWT_LIFETIME: 300.0,
        Fact.JWT_ISSUER_MATCH: True,
        Fact.JWT_AUDIENCE_MATCH: True,
        Fact.JWT_MISSING_CLAIMS: (),
    }


def test_hostile_values_are_shown_cut_and_escaped() -> None:
    """What a token says of itself reaches people in one line and of bounded length."""
    found = check(token(iss="a\nb\x1b[31m" + "x" * 5000, kid="k\r\nX: y"))
    assert all(len(p.detail) < 400 and p.detail.isprintable() for p in found.problems)


# Signing


def test_what_we_sign_pyjwt_accepts() -> None:
    """A token signed here is a token for everybody."""
    for alg in ("ES256", "PS384", "EdDSA"):
        key = signing_key("RS256" if alg == "PS384" else alg)
        decoded = pyjwt.decode(tokens.sign({"a": 1}, key, alg), key.public_key(), algorithms=[alg])
        assert decoded == {"a": 1}
    assert pyjwt.decode(tokens.sign({"a": 1}, "s" * 32, "HS256"), "s" * 32, algorithms=["HS256"]) == {"a": 1}
