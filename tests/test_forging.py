"""Forgeries: each is a proper token but for what it is made wrong in, and a sound validator refuses it for just that."""

import hmac
from hashlib import sha256

import jwt as pyjwt
import pytest

from otelprobe.forging import GARBAGE, MARK, UNKNOWN_KID, forge, jws, resign, tamper, unsigned
from otelprobe.forging.confusion import FORMS, key_bytes, key_forms
from otelprobe.forging.proofs import FLAWS, make_proof
from otelprobe.forging.weak_secrets import COMMON
from otelprobe.reasons import CheckFailed, Reason
from otelprobe.signing import Signer
from otelprobe.tokens import digest, format_of, parse, public_jwk, sign, thumbprint, verify
from tests.token_kit import CANARY, GOOD, NOW, jwk, keys, policy, signing_key, token


@pytest.mark.parametrize("alg", ["ES256", "RS256", "EdDSA"])
def test_forgeries_are_well_formed_and_wrong(alg: str) -> None:
    """Every forgery keeps kid and subject, is a proper JWS, and does not verify where the original does."""
    good = parse(token(alg))
    wanted = policy(algorithms=(alg,))
    published = keys(jwk(alg))
    assert verify(good, published, wanted, NOW).problems == ()
    expected = {
        forge(good.raw): Reason.SIGNATURE_INVALID,
        tamper(good): Reason.SIGNATURE_INVALID,
        resign(good): Reason.SIGNATURE_INVALID,
        jws.without_signature(good): Reason.SIGNATURE_INVALID,
        unsigned(good, "none", "alg_none"): Reason.ALG_NONE,
        unsigned(good, "nOnE", "alg_none_mixed", signature=True): Reason.ALG_NONE,
        unsigned(good, "", "alg_empty"): Reason.ALG_NOT_ALLOWED,
        unsigned(good, None, "alg_missing"): Reason.ALG_NOT_ALLOWED,
        jws.with_shared_secret(good, b"", "blank_secret"): Reason.ALG_NOT_ALLOWED,
        jws.oversize(good, "oversize_token", 9999): Reason.SIGNATURE_INVALID,
        jws.with_claim_twice(good, "claim_twice"): Reason.SIGNATURE_INVALID,
    }
    for forged, reason in expected.items():
        bad = parse(forged)
        assert verify(bad, published, wanted, NOW).problems[0].reason is reason
        assert (bad.kid, bad.claims["sub"]) == ("k1", CANARY)
        with pytest.raises(pyjwt.PyJWTError):
            pyjwt.decode(forged, pyjwt.PyJWK(jwk(alg)), algorithms=[alg], options={"verify_aud": False})


def test_each_forgery_changes_what_it_says() -> None:
    """forge changes the signature only and keeps its length, tamper the payload only; what is ours to write is marked."""
    good = parse(token())
    head, body, signature = good.raw.split(".")
    forged = forge(good.raw).split(".")
    assert forged[:2] == [head, body]
    assert forged[2] != signature
    assert len(forged[2]) == len(signature)
    tampered = tamper(good).split(".")
    assert (tampered[0], tampered[2]) == (head, signature)
    assert parse(tamper(good)).claims == {**good.claims, MARK: "tampered"}
    assert jws.without_signature(good) == f"{head}.{body}."
    assert unsigned(good, "none", "alg_none").endswith(".")
    assert unsigned(good, "none", "x", signature=True).endswith(signature)
    assert parse(resign(good)).header == good.header
    assert parse(resign(good, "unknown_kid", UNKNOWN_KID)).kid == UNKNOWN_KID


def test_forging_never_fails() -> None:
    """A control is built of whatever was issued: unsigned, broken, or of an algorithm that is not known here."""
    bare = unsigned(parse(token()), "none", "x")
    assert parse(forge(bare)).raw != bare
    assert parse(resign(parse(bare))).alg == "RS256"
    assert forge("not.a.!!").startswith("not.a.")
    assert format_of(GARBAGE) == "opaque"
    nested = jws.deeply_nested(parse(token()), 5000)
    assert format_of(nested) == "jws"
    with pytest.raises(CheckFailed):
        parse(nested)


@pytest.mark.parametrize("alg", ["ES256", "RS256"])
def test_a_token_that_brings_its_key_verifies_with_just_that(alg: str) -> None:
    """The inline key is right for the signature, so that only who trusts it takes the token."""
    forged = parse(jws.with_inline_key(parse(token(alg)), "inline_key"))
    brought = forged.header["jwk"]
    assert forged.kid == thumbprint(brought) != thumbprint(jwk(alg))
    assert "d" not in brought
    trusting = keys({**brought, "kid": forged.kid})
    assert verify(forged, trusting, policy(algorithms=(alg,)), NOW).problems == ()


def test_a_zero_signature_has_the_curves_length() -> None:
    """r and s are zero, and as long as the curve asks, or a parser would refuse it before anybody looks."""
    for alg, length in (("ES256", 64), ("ES384", 96), ("ES512", 132)):
        raw = jws.with_zero_signature(parse(token(alg)), "zero_signature").rpartition(".")[2]
        assert raw == "A" * (-(-length * 4 // 3))
        assert jws.has_zero_signature(alg)
    assert not jws.has_zero_signature("RS256")


@pytest.mark.parametrize("alg", ["RS256", "ES256", "EdDSA"])
def test_confusion_has_the_key_in_every_form(alg: str) -> None:
    """Each form is what a library would keep the key as: reading it gives the key back."""
    from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415 - the test's own reader
        load_der_public_key,
        load_pem_public_key,
    )

    (published,) = keys(jwk(alg))
    native = signing_key(alg).public_key()
    forms = {form: key_bytes(published, form) for form in key_forms(published)}
    assert set(forms) == set(FORMS) - (
        {"certificate"} if alg == "RS256" else {"certificate", "pkcs1", "pkcs1_bare", "pkcs1_der"}
    )
    for form in forms.keys() & {"pem", "pem_bare", "pkcs1", "pkcs1_bare"}:
        assert load_pem_public_key(forms[form] or b"") == native
        assert (forms[form] or b"").endswith(b"\n") is not form.endswith("_bare")
    for form in forms.keys() & {"der", "pkcs1_der"}:
        assert load_der_public_key(forms[form] or b"") == native
    assert pyjwt.PyJWK.from_json((forms["jwk"] or b"").decode()).key == native


def test_confusion_with_a_published_certificate() -> None:
    """A certificate that is published beside its key is a form too; what is none, is not."""
    (with_certificate,) = keys(jwk("RS256", x5c=["QUJD" * 30]))
    assert (key_bytes(with_certificate, "certificate") or b"").startswith(b"-----BEGIN CERTIFICATE-----\nQUJD")
    for wrong in ([], "x", [1], ["!"]):
        (key,) = keys(jwk("RS256", x5c=wrong))
        assert key_bytes(key, "certificate") is None


def test_a_shared_secret_signs_by_hand() -> None:
    """HS256 is computed here, so that no library refuses the secret; anybody can verify it."""
    forged = jws.with_shared_secret(parse(token("RS256")), b"-----BEGIN PUBLIC KEY-----", "confusion_pem")
    signed, _, signature = forged.rpartition(".")
    digest_of = hmac.new(b"-----BEGIN PUBLIC KEY-----", signed.encode(), sha256).digest()
    assert pyjwt.utils.base64url_decode(signature) == digest_of
    assert parse(forged).header == {"alg": "HS256", "kid": "k1", "typ": "JWT"}


@pytest.mark.parametrize("alg", ["HS256", "HS384", "HS512"])
def test_a_guessable_secret_is_found_without_asking(alg: str) -> None:
    """A secret from a tutorial is recognised, a drawn one is not, and no other kind of token is looked at."""
    assert jws.guessed_secret(parse(sign(GOOD, "your-256-bit-secret", alg)), COMMON)
    assert not jws.guessed_secret(parse(sign(GOOD, "drawn-" * 9, alg)), COMMON)
    assert not jws.guessed_secret(parse(token()), COMMON)
    assert len(set(COMMON)) == len(COMMON) > 80


def _proof(flaw: str | None) -> pyjwt.PyJWK | None:
    """Check a proof as RFC 9449, section 4.3 says; None if it is refused."""
    key = Signer(signing_key("ES256"), "ES256", jwk=public_jwk(signing_key("ES256")))
    made = make_proof(key, "GET", "http://api/orders?x=1", NOW, token="at", nonce="n", flaw=flaw)
    header = pyjwt.get_unverified_header(made)
    if header.get("typ") != "dpop+jwt" or "d" in header["jwk"] or thumbprint(header["jwk"]) != key.thumbprint:
        return None
    try:
        claims = pyjwt.decode(
            made, pyjwt.PyJWK(header["jwk"]), algorithms=["ES256"], options={"verify_iat": False, "verify_aud": False}
        )
    except pyjwt.PyJWTError:
        return None
    wanted = {"htm": "GET", "htu": "http://api/orders", "ath": digest(b"at"), "nonce": "n", "iat": int(NOW)}
    return pyjwt.PyJWK(header["jwk"]) if wanted.items() <= claims.items() else None


def test_a_proof_without_a_flaw_is_good() -> None:
    """So that a refusal of another is for its flaw."""
    assert _proof(None) is not None


@pytest.mark.parametrize("flaw", FLAWS)
def test_each_flawed_proof_breaks_a_rule(flaw: str) -> None:
    """A validator that keeps to the RFC refuses every one."""
    assert _proof(flaw) is None
