"""Grants of machines: a signed assertion (RFC 7523), a token for a token (RFC 8693), a refresh token from outside."""

from pathlib import Path

import jwt
import pytest

from otelprobe.fields import SecretRef
from otelprobe.reasons import Blame, Counts, Reason
from otelprobe.result import Fact
from otelprobe.signing import SignedAssertion
from otelprobe.state import Memory, State
from otelprobe.steps.refresh import Refresh
from otelprobe.steps.token import Token, TokenExpect
from otelprobe.tokens import generate_key, sign
from tests.conftest import Answer, Seen
from tests.signing_kit import key_file, pem, read_assertion
from tests.steps.flows import Bench, as_json, last, token_answer

URN = "urn:ietf:params:oauth:token-type:"


def scoped(scope: str) -> str:
    """Make an access token with scopes in it."""
    return sign({"scope": scope}, generate_key("HS256"), "HS256")


def test_an_assertion_is_signed_for_the_token_endpoint(bench: Bench, tmp_path: Path) -> None:
    """It is the client's own unless claims say otherwise, and lives for a minute."""
    bench.server.on("/token", token_answer())
    step = Token(
        name="token", grant="jwt_bearer", sign=SignedAssertion(key=key_file(tmp_path, pem("RS256"))), scope="a"
    )
    result = bench.run(step)
    assert result.passed, result.detail
    (seen,) = bench.server.seen
    assert seen.form["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
    claims = read_assertion(seen, "RS256", audience=f"{bench.server.url}/token", member="assertion")
    assert (claims["iss"], claims["sub"], seen.form["scope"]) == ("otel probe", "otel probe", "a")
    assert last(result).facts[Fact.ISSUANCE_GRANT] == "jwt_bearer"


def test_claims_of_an_assertion_are_as_the_flow_file_says(bench: Bench, tmp_path: Path) -> None:
    """A service account that speaks for a user, as Google and Keycloak know it; a shared secret may sign as well."""
    bench.server.on("/token", token_answer())
    secret = key_file(tmp_path, "a secret of at least thirty-two bytes")
    claims = {"iss": "robot", "sub": "ann", "aud": "https://login.example.com", "scope": ["a"]}
    signing = SignedAssertion(key=secret, algorithm="HS256", kid="k", claims=claims, lifetime=30.0)
    assert bench.run(Token(name="token", grant="jwt_bearer", sign=signing)).passed

    text = bench.server.seen[0].form["assertion"]
    found = jwt.decode(text, "a secret of at least thirty-two bytes", algorithms=["HS256"], audience=str(claims["aud"]))
    assert {name: found[name] for name in claims} == claims
    assert found["exp"] - found["iat"] == 30
    assert jwt.get_unverified_header(text)["kid"] == "k"


def test_an_assertion_that_lies_ready_is_read_at_each_use(bench: Bench, tmp_path: Path) -> None:
    """Somebody else signs and renews it."""
    bench.server.on("/token", token_answer())
    ready = key_file(tmp_path, "one.two.three\n")
    step = Token(name="token", grant="jwt_bearer", assertion=ready)
    assert bench.run(step).passed
    Path(str(ready.file)).write_text("four.five.six")
    assert bench.run(step).passed
    assert [s.form["assertion"] for s in bench.server.seen] == ["one.two.three", "four.five.six"]


def test_a_refused_assertion_is_the_configurations_fault(bench: Bench, tmp_path: Path) -> None:
    """invalid_grant: the key, the subject or the audience is not what the provider knows."""
    bench.server.on("/token", as_json({"error": "invalid_grant"}, 400))
    result = bench.run(Token(name="token", grant="jwt_bearer", assertion=key_file(tmp_path, "canary.canary.canary")))
    assert (result.reason, result.blame, result.counts) == (Reason.INVALID_GRANT, Blame.CONFIG, Counts.NONE)
    assert "canary" not in repr(result)


def exchanging(bench: Bench, answer: Answer, *, subject: str = "at-1") -> None:
    """Let the provider issue a token, and then `answer` an exchange."""
    first = token_answer(access_token=subject, refresh_token="rt-1", id_token="id-1")
    bench.server.on("/token", lambda seen: answer if "subject_token" in seen.form else first)


def test_a_token_is_exchanged_on_behalf_of_another(bench: Bench) -> None:
    """Subject and actor are tokens of named steps; types are words or URIs; audience and resource name what it is for."""
    exchanging(bench, token_answer(access_token="at-2", issued_token_type=f"{URN}jwt"))
    step = Token(
        name="exchange",
        grant="token_exchange",
        subject="user",
        actor="service",
        actor_token_type="id_token",
        requested_token_type="jwt",
        audience="orders",
        resource=("https://api.example.com",),
        scope="orders:read",
    )
    result = bench.run(Token(name="user"), Token(name="service"), step)
    assert result.passed, result.detail
    assert bench.server.seen[-1].form == {
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "subject_token": "at-1",
        "subject_token_type": f"{URN}access_token",
        "actor_token": "id-1",
        "actor_token_type": f"{URN}id_token",
        "requested_token_type": f"{URN}jwt",
        "audience": "orders",
        "resource": "https://api.example.com",
        "scope": "orders:read",
    }


def exchange(**members: object) -> Token:
    """Make an exchange of the latest token."""
    return Token(name="exchange", grant="token_exchange", **members)  # type: ignore[arg-type]  # a test's shorthand


@pytest.mark.parametrize(
    ("members", "answer", "reason"),
    [
        ({}, {}, Reason.TOKEN_TYPE_UNEXPECTED),
        ({"requested_token_type": "jwt"}, {"issued_token_type": f"{URN}access_token"}, Reason.TOKEN_TYPE_UNEXPECTED),
        ({}, {"issued_token_type": f"{URN}access_token", "token_type": "N_A"}, Reason.TOKEN_TYPE_UNEXPECTED),
        ({}, {"issued_token_type": f"{URN}id_token", "token_type": "N_A"}, None),
        ({"requested_token_type": "urn:x:y"}, {"issued_token_type": "urn:x:y", "token_type": "N_A"}, None),
        ({}, {"issued_token_type": f"{URN}access_token", "scope": "a b c"}, Reason.SCOPE_EXCESS),
        ({}, {"issued_token_type": f"{URN}access_token", "scope": "a"}, None),
        ({"scope": "a"}, {"issued_token_type": f"{URN}access_token", "scope": "a b"}, Reason.SCOPE_EXCESS),
        ({"scope": "a c"}, {"issued_token_type": f"{URN}access_token", "scope": "a c"}, None),
        ({"scope": "a b"}, {"issued_token_type": f"{URN}access_token", "scope": "a"}, Reason.SCOPE_REDUCED),
        (
            {"expect": TokenExpect(scope="any")},
            {"issued_token_type": f"{URN}access_token", "scope": "a b c"},
            None,
        ),
    ],
)
def test_what_an_exchange_gives_is_compared(
    bench: Bench, members: dict[str, object], answer: dict[str, object], reason: Reason | None
) -> None:
    """The issued type has to be told and be the one asked for; scopes never grow beyond what was asked for, or was had."""
    exchanging(bench, token_answer(access_token="at-2", **answer), subject=scoped("a b"))
    result = bench.run(Token(name="token"), exchange(**members))
    assert result.reason is reason, result.detail


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("invalid_target", Reason.INVALID_REQUEST),
        ("invalid_grant", Reason.INVALID_GRANT),
        ("unsupported_grant_type", Reason.UNSUPPORTED_GRANT_TYPE),
        ("access_denied", Reason.ACCESS_DENIED),
    ],
)
def test_a_refused_exchange_is_a_matter_of_policy(bench: Bench, code: str, reason: Reason) -> None:
    """The provider does not offer it, or not to this client: blame config."""
    exchanging(bench, as_json({"error": code}, 400))
    result = bench.run(Token(name="token"), exchange())
    assert (result.reason, result.blame, result.counts) == (reason, Blame.CONFIG, Counts.NONE)


def test_a_token_that_was_never_issued_cannot_be_exchanged(bench: Bench) -> None:
    """The subject is to be an ID token, but there is none."""
    bench.server.on("/token", token_answer())
    result = bench.run(Token(name="token"), exchange(subject_token_type="id_token"))
    assert (result.reason, result.blame) == (Reason.CONFIG_ERROR, Blame.CONFIG)
    assert len(bench.server.seen) == 1


@pytest.mark.parametrize(
    ("members", "member"),
    [
        ({"grant": "jwt_bearer"}, "grant"),
        (
            {"grant": "jwt_bearer", "assertion": SecretRef(env="A"), "sign": SignedAssertion(key=SecretRef(env="A"))},
            "grant",
        ),
        ({"assertion": SecretRef(env="A")}, "assertion"),
        ({"sign": SignedAssertion(key=SecretRef(env="A"))}, "sign"),
        ({"subject": "a"}, "subject"),
        ({"requested_token_type": "jwt"}, "requested_token_type"),
        ({"grant": "token_exchange", "subject_token_type": "acess_token"}, "subject_token_type"),
        ({"grant": "token_exchange", "actor_token_type": "jwt"}, "actor_token_type"),
        ({"grant": "token_exchange", "subject": "a", "use": "b"}, "use"),
        ({"params": {"assertion": "x"}}, "params"),
    ],
)
def test_what_does_not_fit_is_told_before_any_run(members: dict[str, object], member: str) -> None:
    """`validate` names the member and the mend."""
    assert member in dict(Token(name="token", **members).faults())  # type: ignore[arg-type]  # a test's shorthand


def test_times_of_an_assertion_are_not_claims_of_the_flow_file() -> None:
    """They are set at each use."""
    wrong = SignedAssertion(key=SecretRef(env="A"), claims={"exp": 1, "sub": "ann"})
    assert dict(wrong.faults()) == {"claims": "exp cannot be set here: use lifetime"}


# --- a refresh token from outside


def rotating(seen: Seen) -> Answer:
    """Rotate: each refresh token is replaced by a longer one."""
    return token_answer(access_token="at-" + seen.form["refresh_token"], refresh_token=seen.form["refresh_token"] + "+")


@pytest.fixture
def seed(tmp_path: Path) -> SecretRef:
    """Give a refresh token in a file."""
    path = tmp_path / "seed"
    path.write_text("canary-seed")
    return SecretRef(file=str(path))


def sent(bench: Bench) -> list[str]:
    """Give the refresh tokens that were sent."""
    return [s.form["refresh_token"] for s in bench.server.seen]


def fresh(bench: Bench, folder: Path | None) -> None:
    """Start the process anew, with what lies in the state directory."""
    bench.memory, bench.state = Memory(), State(folder)


def test_a_successor_outlives_the_process(bench: Bench, tmp_path: Path, seed: SecretRef) -> None:
    """The next process goes on with the successor, which lies in the state directory, readable by its owner and sealed."""
    bench.server.on("/token", rotating)
    folder = tmp_path / "state"
    step = Token(name="token", grant="refresh_token", refresh_token=seed)
    results = []
    for _ in range(3):
        fresh(bench, folder)
        results.append(bench.run(step))
    assert sent(bench) == ["canary-seed", "canary-seed+", "canary-seed++"]
    assert not any(r.warnings for r in results)
    (file,) = folder.iterdir()
    assert file.stat().st_mode & 0o077 == 0
    assert "canary" not in file.read_text() + file.name


def test_a_successor_that_another_step_refreshed_is_followed(bench: Bench, tmp_path: Path, seed: SecretRef) -> None:
    """`refresh` rotates it in turn; the next process must not send the one before, or the whole family is revoked."""
    bench.server.on("/token", rotating)
    steps = (Token(name="token", grant="refresh_token", refresh_token=seed), Refresh(name="refresh"))
    for _ in range(2):
        fresh(bench, tmp_path / "state")
        assert bench.run(*steps).passed
    assert sent(bench) == ["canary-seed" + "+" * n for n in range(4)]


def test_a_new_seed_wins_over_the_old_ones_successor(bench: Bench, tmp_path: Path, seed: SecretRef) -> None:
    """What was sealed with the old seed cannot be opened with the new one."""
    bench.server.on("/token", rotating)
    step = Token(name="token", grant="refresh_token", refresh_token=seed)
    for text in ("old", "new"):
        Path(str(seed.file)).write_text(text)
        fresh(bench, tmp_path / "state")
        bench.run(step)
    fresh(bench, tmp_path / "state")
    bench.run(step)
    assert sent(bench) == ["old", "new", "new+"]


@pytest.mark.parametrize("text", ["{", '{"sealed": "canary"}', '{"sealed": "AAAA"}', "[]"])
def test_a_broken_state_file_falls_back_to_the_seed(bench: Bench, tmp_path: Path, seed: SecretRef, text: str) -> None:
    """Half a file, or another's, is no successor."""
    bench.server.on("/token", rotating)
    folder = tmp_path / "state"
    step = Token(name="token", grant="refresh_token", refresh_token=seed)
    fresh(bench, folder)
    bench.run(step)
    next(folder.iterdir()).write_text(text)
    fresh(bench, folder)
    assert bench.run(step).passed
    assert sent(bench) == ["canary-seed", "canary-seed"]


def test_a_successor_that_will_be_lost_is_told_once(bench: Bench, seed: SecretRef) -> None:
    """Without a state directory it lives as long as the process; a warning says how to keep it, and where it came from."""
    bench.server.on("/token", rotating)
    step = Token(name="token", grant="refresh_token", refresh_token=seed)
    (warning,) = bench.run(step).warnings
    assert warning.reason is Reason.REFRESH_FAILED
    assert "state_dir" in warning.detail
    assert bench.run(step, Refresh(name="refresh")).warnings == ()


def test_a_successor_that_cannot_be_written_is_told(bench: Bench, tmp_path: Path, seed: SecretRef) -> None:
    """A full disk or a file in the place of the directory: the run passes, the warning says what will be lost."""
    bench.server.on("/token", rotating)
    blocked = tmp_path / "blocked"
    blocked.write_text("")
    fresh(bench, blocked)
    step = Token(name="token", grant="refresh_token", refresh_token=seed)
    result = bench.run(step, Refresh(name="refresh"))
    assert result.passed
    assert [w.reason for w in result.warnings] == [Reason.REFRESH_FAILED] * 2
    assert "cannot be written" in result.warnings[0].detail


def test_without_rotation_nothing_is_kept(bench: Bench, tmp_path: Path, seed: SecretRef) -> None:
    """The same refresh token came back, or none: the seed goes on, and nothing is warned of."""
    folder = tmp_path / "state"
    fresh(bench, folder)
    step = Token(name="token", grant="refresh_token", refresh_token=seed)
    for answer in (token_answer(refresh_token="canary-seed"), token_answer()):
        bench.server.on("/token", answer)
        assert bench.run(step).warnings == ()
    assert sent(bench) == ["canary-seed"] * 2
    assert not folder.exists()


def test_a_refused_refresh_token_from_outside_says_how_to_mend_it(bench: Bench, seed: SecretRef) -> None:
    """It names the file, and that its successor may be lost; blame config, as the provider is not to know."""
    bench.server.on("/token", as_json({"error": "invalid_grant"}, 400))
    result = bench.run(Token(name="token", grant="refresh_token", refresh_token=seed))
    assert (result.reason, result.blame, result.counts) == (Reason.INVALID_GRANT, Blame.CONFIG, Counts.NONE)
    assert str(seed.file) in str(result.detail)
    assert "put a new one there" in str(result.detail)
    assert "canary" not in repr(result)
    assert last(result).facts[Fact.ISSUANCE_OAUTH_ERROR] == "invalid_grant"


def test_two_assertions_are_two_cached_tokens(bench: Bench, tmp_path: Path) -> None:
    """What a token was asked for with is part of what it is."""
    bench.server.on("/token", lambda seen: token_answer(access_token=seen.form["assertion"]))
    for name in ("a.b.c", "d.e.f"):
        step = Token(name="token", grant="jwt_bearer", assertion=key_file(tmp_path, name), cache="reuse")
        assert bench.run(step).passed
        assert bench.run(step).passed
    assert [s.form["assertion"] for s in bench.server.seen] == ["a.b.c", "d.e.f"]


def test_a_seed_has_one_successor_whatever_it_is_used_for(bench: Bench, tmp_path: Path, seed: SecretRef) -> None:
    """Two steps with other scopes, or a changed scope in the flow file, must not send a token that was replaced."""
    bench.server.on("/token", rotating)
    for scope in ("a", "b"):
        fresh(bench, tmp_path / "state")
        assert bench.run(Token(name="token", grant="refresh_token", refresh_token=seed, scope=scope)).passed
    assert sent(bench) == ["canary-seed", "canary-seed+"]
