"""The workbench for tokens: explained, verified, signed, with keys made and published, and nothing told that must not be."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import jwt as pyjwt
import pytest
import requests

from otelprobe.__main__ import main
from otelprobe.cli.jwt.keygen import ALGORITHMS
from otelprobe.demo import start_demo
from otelprobe.forging import jws
from otelprobe.tokens import SYMMETRIC, parse

CLAIMS = {"iss": "https://login.example.com", "sub": "ann", "aud": ["orders"], "exp": 4102444800, "iat": 1700000000}


class Bench:
    """The command line, with what goes in and what comes out."""

    def __init__(self, directory: Path, monkeypatch, capsys) -> None:
        self.directory = directory
        self._monkeypatch = monkeypatch
        self._capsys = capsys
        self.out = self.err = ""

    def __call__(self, *words: str, stdin: str = "") -> int:
        self._monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        try:
            code = main(["jwt", *words])
        except SystemExit as left:
            code = int(left.code or 0)
        self.out, self.err = self._capsys.readouterr()
        return code

    def path(self, name: str) -> str:
        return str(self.directory / name)

    def key(self, alg: str, name: str = "key", *more: str) -> str:
        assert self("keygen", "--alg", alg, "--out", self.path(name), *more) == 0, self.err
        return self.path(name)

    def token(self, key: str, claims: object = CLAIMS, *more: str) -> str:
        assert self("sign", "--key", key, *more, stdin=json.dumps(claims)) == 0, self.err
        return self.out.strip()


@pytest.fixture
def bench(tmp_path, monkeypatch, capsys) -> Bench:
    return Bench(tmp_path, monkeypatch, capsys)


@pytest.mark.parametrize("form", ["pem", "jwk"])
@pytest.mark.parametrize("alg", ALGORITHMS)
def test_every_algorithm_goes_from_key_to_verified_token(bench, alg, form):
    """A key that is made here signs a token that is verified by its public half, and by nobody else's."""
    if alg in SYMMETRIC:
        key = public = bench.key(alg)
    else:
        public = bench.path("public")
        key = bench.key(alg, "key", "--public", public, "--format", form)
    token = bench.token(key, CLAIMS, "--alg", alg)
    assert parse(token).alg == alg
    assert bench("verify", "--key", public, "--audience", "orders", stdin=token) == 0, bench.out
    assert bench.out.startswith("good  signed ")
    other = bench.key(alg, "other")
    assert bench("verify", "--key", other, stdin=token) == 1
    assert "signature_invalid" in bench.out or "key_mismatch" in bench.out or "kid_not_in_jwks" in bench.out


def test_what_is_signed_here_is_read_by_another_library(bench):
    """PyJWT itself verifies a token of this workbench with the PEM that was written, and the other way round."""
    public = bench.path("public")
    key = bench.key("ES256", "key", "--public", public)
    token = bench.token(key, {"aud": "orders"}, "--expires-in", "5m", "--kid", "k1")
    read = pyjwt.decode(token, Path(public).read_bytes(), ["ES256"], audience="orders")
    assert read["exp"] - read["iat"] == 300
    foreign = pyjwt.encode(CLAIMS, Path(key).read_bytes(), "ES256")
    assert bench("verify", "--key", public, "--audience", "orders", stdin=foreign) == 0


def test_decode_explains_and_shows_neither_token_nor_signature(bench):
    """Header and claims stand with their meaning, times in words; the raw token and its signature are nowhere."""
    token = bench.token(bench.key("RS256"), {**CLAIMS, "weird": "\x1b[31mred"}, "--typ", "at+jwt")
    assert bench("decode", stdin=f"Authorization: Bearer {token[:40]}\n  {token[40:]}\n") == 0
    for text in (
        '"at+jwt"',
        "RSA PKCS #1 v1.5 with SHA-256",
        '"ann"',
        "whom it is for",
        "2100-01-01T00:00:00Z, in ",
        " ago",
    ):
        assert text in bench.out, text
    assert "256 bytes, not shown" in bench.out
    assert "\x1b" not in bench.out
    assert not [part for part in token.split(".") if part in bench.out]
    assert bench("decode", "--output", "json", stdin=token) == 0
    told = json.loads(bench.out)
    assert told["claims"]["sub"] == "ann"
    assert told["times"]["exp"]["at"] == "2100-01-01T00:00:00Z"
    assert told["signature_bytes"] == 256


def test_decode_tells_what_cannot_be_read(bench):
    """An opaque token, an encrypted one and a broken one are called so, and none of them is repeated."""
    assert bench("decode", stdin="s3cr3t-opaque-canary") == 1
    assert bench.out.startswith("opaque: it is no JWT")
    assert "canary" not in bench.out + bench.err
    jwe = "eyJhbGciOiJSU0EtT0FFUCIsImVuYyI6IkEyNTZHQ00ifQ.a2V5.aXY.Y2FuYXJ5.dGFn"
    assert bench("decode", stdin=jwe) == 0
    assert "the claims are encrypted" in bench.out
    assert '"A256GCM"' in bench.out
    assert bench("decode", stdin="eyJhbGciOiJub25lIn0.!!.x") == 1
    assert "broken: " in bench.out
    assert bench("decode", stdin="  \n") == 2
    assert "there is no token in standard input" in bench.err


@pytest.mark.parametrize("place", [("decode", "{}"), ("{}",), ("decode", "--key={}"), ("verify", "--audience", "{}")])
def test_a_token_on_the_command_line_is_refused_and_not_repeated(bench, place):
    """Wherever a token stands among the arguments, it is refused with the mend, and is in no message."""
    token = bench.token(bench.key("HS256"))
    assert bench(*(word.format(token) for word in place)) == 2
    assert "otelprobe jwt decode < FILE" in bench.err
    assert not [part for part in token.split(".") if part in bench.out + bench.err]


def test_verify_says_everything_that_is_wrong(bench):
    """Every fault has its reason, in text and JSON, and the exit code says that it is not good."""
    key = bench.key("ES256")
    token = bench.token(key, {**CLAIMS, "exp": 1700000001, "nbf": 4102444800})
    words = (
        "verify",
        "--key",
        key,
        "--audience",
        "bills",
        "--expect-issuer",
        "https://x",
        "--require",
        "jti",
        "--typ",
        "at+jwt",
    )
    assert bench(*words, stdin=token) == 1
    reasons = ("expired", "not_yet_valid", "audience_mismatch", "issuer_mismatch", "claim_missing", "header_unexpected")
    assert not [r for r in reasons if f"  {r}: " not in bench.out]
    assert bench(*words, "--output", "json", stdin=token) == 1
    assert {p["reason"] for p in json.loads(bench.out)["problems"]} == set(reasons)
    assert bench("verify", "--key", key, "--algorithm", "RS256", stdin=token) == 1
    assert "alg_not_allowed" in bench.out
    assert bench("verify", "--key", key, stdin="opaque") == 1
    assert "token_opaque" in bench.out


def test_a_public_key_is_no_shared_secret(bench):
    """A token signed HS256 with the text of a public key is refused: what may be used is decided by the key, not the token."""
    public = bench.path("public")
    bench.key("RS256", "key", "--public", public)
    assert bench("sign", "--secret-file", bench.path("public"), stdin=json.dumps(CLAIMS)) in {0, 2}
    forged = bench.out.strip() or pyjwt.encode(CLAIMS, "x" * 32, "HS256")
    assert bench("verify", "--key", public, stdin=forged) == 1
    assert "alg_not_allowed" in bench.out


def test_secrets_come_from_files_and_variables(bench, monkeypatch):
    """A shared secret is read from either, and a missing one is named by its place."""
    monkeypatch.setenv("SHARED", "a-shared-secret-of-32-characters!")
    Path(bench.path("secret")).write_text("a-shared-secret-of-32-characters!\n")
    assert bench("sign", "--secret-env", "SHARED", "--alg", "HS256", stdin=json.dumps(CLAIMS)) == 0
    token = bench.out.strip()
    assert bench("verify", "--secret-file", bench.path("secret"), stdin=token) == 0, bench.out
    assert bench.out.startswith("good  signed with the shared secret")
    assert bench("verify", "--secret-env", "NO_SUCH", stdin=token) == 2
    assert "environment variable NO_SUCH is not set or empty" in bench.err
    assert bench("verify", stdin=token) == 2
    assert "say what to verify with: one of --secret-file, --secret-env, --key, --jwks and --issuer" in bench.err


def test_keys_are_written_for_their_owner_only_and_never_over_another(bench):
    """The private key has mode 0600 whatever the umask, the public one is public, and what is there stays."""
    before = os.umask(0)
    try:
        key = Path(bench.key("Ed25519", "key", "--public", bench.path("public")))
    finally:
        os.umask(before)
    assert key.stat().st_mode & 0o777 == 0o600
    assert "PRIVATE" not in Path(bench.path("public")).read_text()
    text = key.read_text()
    assert bench("keygen", "--alg", "Ed25519", "--out", str(key)) == 2
    assert "it is there already" in bench.err
    assert key.read_text() == text
    assert bench("keygen", "--alg", "HS256", "--out", bench.path("s"), "--public", bench.path("p")) == 2
    assert bench("keygen", "--alg", "RS256", "--out", bench.path("big"), "--bits", "3072") == 0
    assert "PRIVATE KEY" not in bench.out


def test_a_key_set_has_public_members_only(bench):
    """Private keys go in by their public half; secrets do not go in at all; two of one kid are refused."""
    first = bench.key("RS256")
    second = bench.key("ES256", "second", "--format", "jwk", "--kid", "k2")
    assert bench("jwks", first, second) == 0
    keys = json.loads(bench.out)["keys"]
    assert keys[1]["kid"] == "k2"
    assert not [k for k in keys if {"d", "p", "q", "dp", "dq", "qi", "k"} & set(k)]
    Path(bench.path("set")).write_text(bench.out)
    token = bench.token(second)
    assert bench("verify", "--jwks", bench.path("set"), stdin=token) == 0
    assert bench("jwks", "--inspect", bench.path("set")) == 0
    assert "RSA sig 2048 bits" in bench.out
    assert bench("jwks", second, second) == 2
    assert "two keys have the kid k2" in bench.err
    assert bench("jwks", bench.key("HS256", "hs")) == 2
    assert "never published" in bench.err


def test_a_private_key_in_a_key_set_is_found(bench):
    """What must not be published is called so, by exit code, text and JSON, and is not shown."""
    secret = json.loads(Path(bench.key("ES256", "key", "--format", "jwk")).read_text())
    document = json.dumps({"keys": [secret, {"kty": "RSA", "n": "AQAB", "e": "AQAB"}]})
    assert bench("jwks", "--inspect", "-", stdin=document) == 1
    assert "PRIVATE members are in it" in bench.out
    assert secret["d"] not in bench.out
    assert bench("jwks", "--inspect", "-", "--output", "json", stdin=document) == 1
    assert [k["private"] for k in json.loads(bench.out)["keys"]] == [True, False]


@pytest.mark.parametrize(
    ("words", "stdin", "said"),
    [
        (("verify", "--key", "/no/such/key"), "x", "/no/such/key: No such file or directory"),
        (("verify", "--jwks", "-"), "x", "standard input can give only one of token and key"),
        (("jwks", "--inspect", "-"), "no json", "the key set has to be JSON"),
        (("sign", "--key", "/dev/null"), "{}", "no private key in PEM or JWK form"),
        (("sign",), "{}", "say what to sign with"),
        (("jwks",), "", "name keys to make a set of, or --inspect FILE"),
        (("decode", "x" * 90), "", "a file with a name of 90 characters: No such file"),
        (("verify", "--issuer", "login.example.com"), "a.b.c", "--issuer: not an absolute URL"),
    ],
)
def test_wrong_input_is_named_with_its_mend(bench, words, stdin, said):
    """What cannot be used is said in one line with exit code 2."""
    token = "eyJhbGciOiJSUzI1NiJ9.e30.AAAA" if words[0] == "verify" else stdin
    assert bench(*words, stdin=token) == 2
    assert said in bench.err
    assert bench.err.count("\n") == 1


def test_an_issuers_own_keys_are_fetched(bench):
    """A token of a running provider is verified by its discovery document and key set; a foreign one is not."""
    with start_demo() as demo:
        form = {"grant_type": "client_credentials", "scope": "orders:read", "audience": "orders"}
        form |= {"client_id": demo.client_id, "client_secret": demo.client_secret}
        with requests.Session() as session:
            session.trust_env = False
            token = session.post(f"{demo.issuer}/token", form, timeout=10).json()["access_token"]
        assert bench("verify", "--issuer", demo.issuer, "--audience", "orders", stdin=token) == 0, bench.out + bench.err
        foreign = bench.token(bench.key("RS256"), {**CLAIMS, "iss": demo.issuer})
        assert bench("verify", "--issuer", demo.issuer, stdin=foreign) == 1
        issuer = demo.issuer
    assert bench("verify", "--issuer", issuer, stdin=token) == 4
    assert "not known connect_refused" in bench.out


def test_the_command_works_in_a_pipe(tmp_path):
    """As a process of its own: a key, a token and its verdict, one into the other."""
    run = [sys.executable, "-m", "otelprobe", "jwt"]
    subprocess.run([*run, "keygen", "--alg", "Ed25519", "--out", tmp_path / "k"], check=True, capture_output=True)
    signed = subprocess.run(
        [*run, "sign", "--key", tmp_path / "k"], input=b'{"sub": "ann"}', check=True, capture_output=True
    )
    told = subprocess.run(
        [*run, "verify", "--key", tmp_path / "k"], input=signed.stdout, capture_output=True, check=False
    )
    assert (told.returncode, told.stdout.partition(b" ")[0]) == (0, b"good")


def test_a_notorious_secret_is_found_and_not_shown(bench):
    """The built-in list and a word list find a guessable secret by its line; a drawn one stands in neither."""
    for secret, word in (
        ("your-256-bit-secret", "the built-in list, line "),
        ("correct-horse-canary", "words, line 5001"),
    ):
        token = pyjwt.encode(CLAIMS, secret.encode(), "HS256") if len(secret) >= 32 else _by_hand(secret)
        Path(bench.path("words")).write_text("".join(f"no-{n}\n" for n in range(5000)) + "correct-horse-canary\n")
        assert bench("weak", "--wordlist", bench.path("words"), stdin=token) == 1
        assert word in bench.out
        assert secret not in bench.out + bench.err
    token = bench.token(bench.key("HS256"))
    assert bench("weak", "--wordlist", bench.path("words"), "--output", "json", stdin=token) == 0
    told = json.loads(bench.out)
    assert (told["weak"], told["tried"] > 5001) == (False, True)
    assert bench("weak", stdin=bench.token(bench.key("ES256", "ec"))) == 2
    assert "there is none to guess" in bench.err


def _by_hand(secret: str) -> str:
    """Sign with a secret that is too short for a library to take without a warning."""
    return jws.with_shared_secret(parse(pyjwt.encode(CLAIMS, "x" * 32, "HS256")), secret.encode(), "test")


def test_every_attack_is_refused_by_a_sound_validator(bench):
    """Of a good token come the bad ones, by what was given: all of them other tokens, none of which verifies."""
    public, key = bench.path("public"), bench.key("RS256", "key", "--public", bench.path("public"))
    good = bench.token(key, CLAIMS, "--kid", "k1")
    assert bench("attack", stdin=good) == 0
    alone = dict(line.split("\t") for line in bench.out.splitlines())
    assert {"tampered", "alg_none", "forged_key", "unknown_kid", "inline_key", "blank_secret"} <= set(alone)
    assert "algorithm confusion (add --public-key FILE); validly signed tokens (add --key FILE)" in bench.err
    assert bench("attack", "--public-key", public, "--key", key, "--output", "json", stdin=good) == 0
    rows = json.loads(bench.out)["tokens"]
    made = {row["case"]: row["token"] for row in rows}
    assert {"confusion_pem", "confusion_der", "signed_expired", "signed_other_audience"} <= set(made)
    assert all(row["number"] and row["told"] for row in rows)
    for case, bad in made.items():
        assert bad != good
        words = ("--audience", "orders", "--expect-issuer", CLAIMS["iss"], "--require", "exp", "--algorithm", "RS256")
        assert bench("verify", "--key", public, *words, stdin=bad) in {1, 2}, case
    assert bench("verify", "--key", public, "--audience", "orders", stdin=good) == 0


def test_an_attack_can_be_chosen_and_written_to_files(bench):
    """One case alone, into a directory that only its owner reads; a wrong word gets the nearest."""
    good = bench.token(bench.key("ES256"))
    out = Path(bench.path("bad"))
    assert bench("attack", "--case", "alg_none", "--case", "zero_signature", "--out", str(out), stdin=good) == 0
    assert {p.name for p in out.iterdir()} == {"alg_none.jwt", "zero_signature.jwt"}
    assert {p.stat().st_mode & 0o777 for p in out.iterdir()} == {0o600}
    assert bench("attack", "--case", "alg_nine", stdin=good) == 2
    assert "alg_none" in bench.err
    assert bench("attack", "--case", "confusion_pem", stdin=good) == 2
    assert "add --public-key FILE" in bench.err
    assert bench("attack", stdin="opaque") == 2
