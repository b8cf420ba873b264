"""A client that signs (RFC 7523): what is sent, which key is taken, and whose fault a refusal is."""

import json
from base64 import b64encode, urlsafe_b64encode
from dataclasses import replace
from pathlib import Path
from time import time

import jwt
import pytest
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

from otelprobe.fields import HttpOptions, SecretRef
from otelprobe.provider import Provider
from otelprobe.reasons import Blame, Counts, Outcome, Reason
from otelprobe.result import Fact
from otelprobe.signing import ClientAssertion
from otelprobe.steps.introspect import Introspect
from otelprobe.steps.token import Token
from tests.conftest import Answer, Seen
from tests.signing_kit import ASSERTION_TYPE, certificate, certificate_file, jwk, key_file, pem, read_assertion
from tests.steps.flows import Bench, as_json, last, token_answer
from tests.token_kit import signing_key


def signing(bench: Bench, assertion: ClientAssertion) -> Bench:
    """Give the bench a client that signs and has no secret."""
    bench.provider = replace(bench.provider, client_secret=None, client_assertion=assertion)
    bench.server.on("/token", token_answer())
    return bench


@pytest.mark.parametrize("alg", ["RS256", "ES256", "ES384", "EdDSA"])
@pytest.mark.parametrize("form", [pem, jwk])
def test_the_key_decides_what_it_signs_with(bench: Bench, tmp_path: Path, alg: str, form: object) -> None:
    """A key in PEM or JWK form signs with its usual algorithm; the assertion is short-lived and names client and server."""
    key = key_file(tmp_path, form(alg))  # type: ignore[operator]  # one of two functions
    result = signing(bench, ClientAssertion(key=key)).run(Token(name="token"))
    assert result.passed, result.detail
    (seen,) = bench.server.seen
    claims = read_assertion(seen, alg, audience=f"{bench.server.url}/token")
    assert (claims["iss"], claims["sub"]) == ("otel probe", "otel probe")
    assert seen.form["client_assertion_type"] == ASSERTION_TYPE
    assert seen.form["client_id"] == "otel probe"
    assert "authorization" not in seen.headers
    assert last(result).facts[Fact.ISSUANCE_CLIENT_AUTH] == "private_key_jwt"


def test_algorithm_kid_and_audience_are_as_the_flow_file_says(bench: Bench, tmp_path: Path) -> None:
    """An RSA key signs PS256 where that is set, under the kid that is set, for the issuer."""
    key = key_file(tmp_path, pem("RS256"))
    settings = ClientAssertion(key=key, kid="probe-1", algorithm="PS256", audience="issuer")
    assert signing(bench, settings).run(Token(name="token")).passed
    seen = bench.server.seen[0]
    header = jwt.get_unverified_header(seen.form["client_assertion"])
    assert (header["alg"], header["kid"]) == ("PS256", "probe-1")
    public = signing_key("RS256").public_key()
    claims = jwt.decode(seen.form["client_assertion"], public, algorithms=["PS256"], audience=bench.server.url)
    assert claims["iss"] == "otel probe"


def test_a_jwk_names_its_kid_and_algorithm(bench: Bench, tmp_path: Path) -> None:
    """`kid` and `alg` of a JWK hold where the flow file says nothing."""
    key = key_file(tmp_path, jwk("RS256", kid="from-jwk", alg="PS256"))
    assert signing(bench, ClientAssertion(key=key)).run(Token(name="token")).passed
    header = jwt.get_unverified_header(bench.server.seen[0].form["client_assertion"])
    assert (header["alg"], header["kid"]) == ("PS256", "from-jwk")


def test_every_assertion_is_used_once_and_the_key_is_read_anew(bench: Bench, tmp_path: Path) -> None:
    """Each request has an id of its own, and a key that was rotated in its file is taken by the next one."""
    key = key_file(tmp_path, pem("ES256"))
    signing(bench, ClientAssertion(key=key))
    first = bench.run(Token(name="token"), Token(name="again"))
    Path(str(key.file)).write_text(pem("ES256", 1))
    bench.run(Token(name="token"))
    assert first.passed
    url = f"{bench.server.url}/token"
    ids = [
        read_assertion(s, "ES256", audience=url, which=w)["jti"]
        for s, w in zip(bench.server.seen, (0, 0, 1), strict=True)
    ]
    assert len(set(ids)) == 3


def test_a_shared_secret_signs_too(bench: Bench) -> None:
    """`client_secret_jwt` signs with the client's secret, which itself is not sent."""
    bench.provider = replace(bench.provider, client_auth="client_secret_jwt")
    bench.server.on("/token", token_answer())
    assert bench.run(Token(name="token")).passed
    form = bench.server.seen[0].form
    with pytest.warns(jwt.InsecureKeyLengthWarning):  # the bench's secret is a short one
        jwt.decode(
            form["client_assertion"], "s3cr3t/+ canary", algorithms=["HS256"], audience=f"{bench.server.url}/token"
        )
    assert "canary" not in bench.server.seen[0].body.decode()


def test_a_projected_token_is_sent_as_it_is_and_read_at_every_use(bench: Bench, tmp_path: Path) -> None:
    """A Kubernetes service-account token is renewed on disk by the kubelet; each request takes what is there."""
    mounted = tmp_path / "token"
    signing(bench, ClientAssertion(token=SecretRef(file=str(mounted))))
    for text in ("one.two.three\n", "four.five.six\n"):
        mounted.write_text(text)
        assert bench.run(Token(name="token")).passed
    assert [s.form["client_assertion"] for s in bench.server.seen] == ["one.two.three", "four.five.six"]


def test_other_endpoints_are_asked_with_an_assertion_for_the_server(bench: Bench, tmp_path: Path) -> None:
    """Introspection authenticates alike; the audience stays the token endpoint, by which the server is known."""
    signing(bench, ClientAssertion(key=key_file(tmp_path, pem("ES256"))))
    bench.server.on("/introspection", as_json({"active": True}))
    assert bench.run(Token(name="token"), Introspect(name="introspect")).passed
    read_assertion(bench.server.seen[1], "ES256", audience=f"{bench.server.url}/token")


def refusing(_: Seen) -> Answer:
    """Refuse the client."""
    return as_json({"error": "invalid_client"}, 401)


def test_a_wrong_key_is_the_configurations_fault(bench: Bench, tmp_path: Path) -> None:
    """The provider knows another key: invalid_client, blame config."""
    signing(bench, ClientAssertion(key=key_file(tmp_path, pem("ES256"))))
    bench.server.on("/token", refusing)
    result = bench.run(Token(name="token"))
    assert (result.reason, result.blame, result.counts) == (Reason.INVALID_CLIENT, Blame.CONFIG, Counts.NONE)
    assert last(result).facts[Fact.ISSUANCE_OAUTH_ERROR] == "invalid_client"


def test_a_projected_token_past_its_end_is_told(bench: Bench, tmp_path: Path) -> None:
    """Nobody renewed the mounted token: credential_expired, blame config, with its age."""
    old = jwt.encode({"exp": int(time()) - 100}, signing_key("ES256"), algorithm="ES256")
    signing(bench, ClientAssertion(token=key_file(tmp_path, old)))
    bench.server.on("/token", refusing)
    result = bench.run(Token(name="token"))
    assert (result.reason, result.blame, result.counts) == (Reason.CREDENTIAL_EXPIRED, Blame.CONFIG, Counts.NONE)
    assert "was not renewed" in str(result.detail)
    assert old not in repr(result)


def test_a_mounted_file_that_is_no_jwt_is_told_when_it_is_refused(bench: Bench, tmp_path: Path) -> None:
    """The provider's refusal is repeated with what is wrong with the file, never with what is in it."""
    signing(bench, ClientAssertion(token=key_file(tmp_path, "canary-no-jwt")))
    bench.server.on("/token", refusing)
    result = bench.run(Token(name="token"))
    assert (result.reason, result.blame) == (Reason.INVALID_CLIENT, Blame.CONFIG)
    assert "no JWT" in str(result.detail)
    assert "canary" not in repr(result)


@pytest.mark.parametrize(("ahead", "when"), [(90, "from the future"), (-90, "past its end")])
def test_a_refusal_for_the_clock_blames_the_clock(bench: Bench, tmp_path: Path, ahead: int, when: str) -> None:
    """An assertion that is expired, or not yet valid, by the provider's clock is no wrong key."""
    signing(bench, ClientAssertion(key=key_file(tmp_path, pem("ES256"))))
    bench.server.on("/token", refusing)
    bench.clock.seconds = ahead
    result = bench.run(Token(name="token"))
    assert (result.reason, result.blame) == (Reason.CLOCK_SKEW, Blame.PROVIDER), result.detail
    assert when in str(result.detail)


def test_our_own_clock_is_blamed_where_others_say_so(bench: Bench, tmp_path: Path) -> None:
    """Two peers that agree against us mean that we are off."""
    signing(bench, ClientAssertion(key=key_file(tmp_path, pem("ES256"))))
    bench.server.on("/token", refusing)
    bench.clock.seconds = 90
    bench.memory.note_skew("elsewhere", -90.0)
    result = bench.run(Token(name="token"))
    assert (result.reason, result.blame, result.counts) == (Reason.CLOCK_SKEW, Blame.PROBER, Counts.NONE)


def bad_keys(folder: Path) -> dict[str, str]:
    """Give texts that are no key to sign with."""
    locked = signing_key("RS256").private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x"))
    public = {k: v for k, v in jwk("ES256").items() if k != "d"}
    return {
        "no private key in PEM or JWK form": "canary-secret",
        "encrypted": locked.decode(),
        "public key": json.dumps(public),
        "no type that has a private key": json.dumps({"kty": "oct", "k": "Y2FuYXJ5"}),
        "unknown": json.dumps({"kty": "canary"}),
        "cannot be read": json.dumps({"kty": "EC", "crv": "P-256", "x": "canary", "y": "A", "d": "A"}),
        "in PEM form that can sign": "-----BEGIN PRIVATE KEY-----\ncanary\n-----END PRIVATE KEY-----\n",
        "does not fit algorithm RS256": pem("ES256"),
    }


@pytest.mark.parametrize("words", list(bad_keys(Path())))
def test_a_key_that_is_none_is_ours_to_mend(bench: Bench, tmp_path: Path, words: str) -> None:
    """config_error names the file and what is wrong with it, never what is in it; nothing is sent."""
    text = bad_keys(tmp_path)[words]
    key = key_file(tmp_path, text)
    algorithm = "RS256" if words.startswith("does not fit") else None
    result = signing(bench, ClientAssertion(key=key, algorithm=algorithm)).run(Token(name="token"))
    assert (result.outcome, result.reason, result.blame) == (Outcome.ERROR, Reason.CONFIG_ERROR, Blame.CONFIG)
    assert str(key.file) in str(result.detail)
    assert words in str(result.detail) or words == "unknown"
    assert "canary" not in repr(result)
    assert bench.server.seen == []


def test_a_missing_key_file_is_secret_missing(bench: Bench, tmp_path: Path) -> None:
    """As with every secret."""
    gone = SecretRef(file=str(tmp_path / "gone"))
    assert signing(bench, ClientAssertion(key=gone)).run(Token(name="token")).reason is Reason.SECRET_MISSING


def faults(**members: object) -> dict[str, str]:
    """Give what a provider says of itself, by member."""
    return dict(Provider(issuer="https://login.example.com", **{"client_id": "c", **members}).faults())  # type: ignore[arg-type]  # a test's shorthand


SECRET = SecretRef(env="S")


@pytest.mark.parametrize(
    ("members", "member", "words"),
    [
        ({"client_auth": "private_key_jwt"}, "client_auth", "needs client_assertion"),
        ({"client_auth": "client_secret_jwt"}, "client_auth", "needs client_secret"),
        ({"client_assertion": ClientAssertion(key=SECRET), "client_id": None}, "client_auth", "needs client_id"),
        ({"client_assertion": ClientAssertion(key=SECRET, algorithm="HS256")}, "client_assertion", "client_secret_jwt"),
        (
            {
                "client_assertion": ClientAssertion(key=SECRET),
                "client_secret": SECRET,
                "client_auth": "client_secret_jwt",
            },
            "client_assertion",
            "remove key",
        ),
        (
            {
                "client_assertion": ClientAssertion(algorithm="RS256"),
                "client_secret": SECRET,
                "client_auth": "client_secret_jwt",
            },
            "client_assertion",
            "HS256",
        ),
        (
            {"client_assertion": ClientAssertion(key=SECRET), "client_auth": "none"},
            "client_assertion",
            "goes with",
        ),
        ({"client_auth": "tls_client_auth"}, "client_auth", "needs a certificate"),
        (
            {"client_auth": "self_signed_tls_client_auth", "http": HttpOptions(client_cert="c.pem"), "client_id": None},
            "client_auth",
            "needs client_id",
        ),
    ],
)
def test_what_does_not_fit_is_told_before_any_run(members: dict[str, object], member: str, words: str) -> None:
    """`validate` names the member and the mend."""
    assert words in faults(**members)[member]


def test_what_fits_is_not_complained_of() -> None:
    """Each way of client authentication, as it should be written."""
    assert not faults(client_assertion=ClientAssertion(key=SECRET, kid="k", algorithm="ES256"))
    assert not faults(client_assertion=ClientAssertion(token=SECRET))
    assert not faults(client_auth="client_secret_jwt", client_secret=SECRET)
    assert not faults(client_auth="tls_client_auth", http=HttpOptions(client_cert="c.pem"))
    assert dict(ClientAssertion(token=SECRET, key=SECRET).faults()).keys() == {"token"}
    assert dict(ClientAssertion(token=SECRET, certificate="c.pem").faults()).keys() == {"certificate"}
    assert dict(ClientAssertion(key=SECRET, certificate_header="x5t").faults()).keys() == {"certificate_header"}


@pytest.mark.parametrize("how", ["x5t#S256", "x5t", "x5c"])
@pytest.mark.parametrize("alg", ["RS256", "ES256"])
def test_the_header_names_the_certificate(bench: Bench, tmp_path: Path, how: str, alg: str) -> None:
    """By its fingerprint or as a whole (RFC 7515, section 4.1), beside what the signature needs."""
    own, other = certificate(alg), certificate("ES384")
    files = {"key": key_file(tmp_path, pem(alg)), "certificate": certificate_file(tmp_path, own, other)}
    assert signing(bench, ClientAssertion(**files, certificate_header=how)).run(Token(name="token")).passed  # type: ignore[arg-type]
    read_assertion(bench.server.seen[0], alg, audience=f"{bench.server.url}/token")
    header = jwt.get_unverified_header(bench.server.seen[0].form["client_assertion"])
    assert header.keys() - {"alg", "typ"} == {how}
    if how == "x5c":
        ders = [one.public_bytes(Encoding.DER) for one in (own, other)]
        assert header[how] == [b64encode(der).decode() for der in ders]
    else:
        digest = own.fingerprint(SHA1() if how == "x5t" else SHA256())
        assert header[how] == urlsafe_b64encode(digest).decode().rstrip("=")


def test_a_certificate_that_does_not_fit(bench: Bench, tmp_path: Path) -> None:
    """Of another key, no certificate, no file: the configuration's fault, told before anything is sent."""
    key = key_file(tmp_path, pem("RS256"))
    garbage = tmp_path / "garbage.pem"
    garbage.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    wrong = {
        certificate_file(tmp_path, certificate("RS256", 1)): "it is not the certificate of the key",
        str(garbage): "it holds no certificate",
        str(tmp_path / "none.pem"): "No such file",
    }
    for file, words in wrong.items():
        result = signing(bench, ClientAssertion(key=key, certificate=file)).run(Token(name="token"))
        assert (result.reason, result.blame) == (Reason.CONFIG_ERROR, Blame.CONFIG)
        assert words in (result.detail or "")
    assert not bench.server.seen


def test_a_certificate_that_has_ended(bench: Bench, tmp_path: Path) -> None:
    """A refusal says that the certificate has ended, and is nobody's outage; a good one leaves the refusal as it is."""
    key = key_file(tmp_path, pem("RS256"))
    refused = Answer(401, b'{"error": "invalid_client"}', [("Content-Type", "application/json")])
    for days, reason in ((-2, Reason.CREDENTIAL_EXPIRED), (1, Reason.INVALID_CLIENT)):
        file = certificate_file(tmp_path, certificate("RS256", days=days))
        assertion = ClientAssertion(key=key, certificate=file)
        signing(bench, assertion).server.on("/token", refused)
        result = bench.run(Token(name="token"))
        assert (result.reason, result.blame, result.counts) == (reason, Blame.CONFIG, Counts.NONE), result.detail
