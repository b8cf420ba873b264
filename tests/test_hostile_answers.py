"""What servers can send that is meant, or happens, to break a client: the verdict is theirs, never a fault of ours."""

import contextlib
import gzip
import json
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import pytest

from otelprobe.reasons import Blame, Outcome, Reason
from otelprobe.result import FlowResult
from tests.flow_kit import flow_file, run_text
from tests.peers import Peer, answer
from tests.token_kit import jwk, token

_JSON = "Content-Type: application/json"
_TOKEN = "- discover\n- token"
_CALL = "- discover\n- token\n- {step: call, url: ISS/api}"
_GOOD = b'{"access_token": "abc", "token_type": "Bearer", "expires_in": 300}'


class Party:
    """A provider and an API in one: every path has a good answer, which a test replaces by a bad one."""

    def __init__(self, document: dict[str, Any] | None = None, **raw: bytes) -> None:
        self._document = document or {}
        self._raw = raw
        self._peer = Peer(self._answer)

    def __enter__(self) -> Self:
        self._peer.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._peer.__exit__()

    @property
    def issuer(self) -> str:
        return self._peer.url("")

    def _answer(self, _: Peer, connection: socket.socket, asked: bytes) -> None:
        name = asked.split(b" ")[1].decode().rsplit("/", 1)[-1] if asked else ""
        good = _GOOD if name == "token" else self._keys() if name == "jwks" else b'{"sub": "x"}'
        if name == "openid-configuration":
            good = json.dumps(self._metadata()).encode()
        with contextlib.suppress(OSError):
            connection.sendall(self._raw.get(name) or answer(good, "200 OK", _JSON))

    def _keys(self) -> bytes:
        return json.dumps({"keys": [jwk()]}).encode()

    def _metadata(self) -> dict[str, Any]:
        endpoints = {n: f"{self.issuer}/{n.split('_')[0]}" for n in ("token_endpoint", "userinfo_endpoint")}
        return {"issuer": self.issuer, "jwks_uri": f"{self.issuer}/jwks", **endpoints, **self._document}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., FlowResult]:
    """Give a function that runs steps against a party with bad answers."""
    monkeypatch.setenv("CLIENT_SECRET", "s3cret")

    def run_steps(steps: str, document: dict[str, Any] | None = None, **raw: bytes) -> FlowResult:
        with Party(document, **raw) as party:
            return run_text(tmp_path, flow_file(party.issuer, steps.replace("ISS", party.issuer)))

    return run_steps


Run = Callable[..., FlowResult]


def _issued(**members: Any) -> bytes:
    return answer(json.dumps({"access_token": "abc", "token_type": "Bearer", **members}).encode(), "200 OK", _JSON)


@pytest.mark.parametrize("value", ["NaN", "Infinity", "1e999", "1" + "0" * 400, "-5", '"²"', "true", "[300]"])
def test_a_lifetime_that_is_no_number_of_seconds_is_the_providers_fault(run: Run, value: str) -> None:
    """Python reads NaN, endless floats and integers of any length; none of them may pass or break the run."""
    body = f'{{"access_token": "abc", "token_type": "Bearer", "expires_in": {value}}}'.encode()
    result = run(_TOKEN, token=answer(body, "200 OK", _JSON))
    assert (result.reason, result.blame) == (Reason.EXPIRES_IN_INVALID, Blame.PROVIDER)


@pytest.mark.parametrize("access", ["a\r\nX-Injected: yes", "a\u20ac", "\ud800", "a\x00"])
def test_a_token_that_no_header_can_carry_is_the_providers_fault(run: Run, access: str) -> None:
    """The flow file is not blamed at the call for what the provider issued, and the token is not shown."""
    result = run(_CALL, token=_issued(access_token=access))
    assert (result.failed_step, result.reason, result.blame) == ("token", Reason.TOKEN_MALFORMED, Blame.PROVIDER)
    assert access not in repr(result)


def test_a_refresh_token_that_cannot_be_sent_is_told_when_it_comes(run: Run) -> None:
    """It would break whoever wants to use or revoke it."""
    result = run(f"{_TOKEN}\n- refresh", token=_issued(refresh_token="\ud800"))
    assert (result.failed_step, result.reason) == ("token", Reason.TOKEN_MALFORMED)


def test_a_captured_value_that_cannot_be_sent_is_told_where_it_came_from(run: Run) -> None:
    """Half of a surrogate pair is text for JSON only."""
    call = "{step: call, url: ISS/api, capture: {id: $.id}}"
    later = "{step: call, name: later, url: ISS/api, json: {id: '${id}'}}"
    result = run(f"{_TOKEN}\n- {call}\n- {later}", api=answer(b'{"id": "\\ud800"}', "200 OK", _JSON))
    assert (result.failed_step, result.reason) == ("call", Reason.ASSERTION_FAILED)


def test_an_empty_error_beside_a_token_is_no_error(run: Run) -> None:
    """Some servers always send the member."""
    assert run(_TOKEN, token=_issued(error="")).outcome is Outcome.PASS


@pytest.mark.parametrize(
    "url",
    [
        "https://[::1",
        "https://",
        "https://127.0.0.1/a\nb",
        "https://127.0.0.1:99999/",
        "https://a..b/",
        "ftp://a/",
        "x",
    ],
)
def test_an_endpoint_that_cannot_be_asked_is_told_at_discovery(run: Run, url: str) -> None:
    """The document is the provider's: the configuration is not blamed where the address is used."""
    result = run(_TOKEN, {"token_endpoint": url})
    assert (result.failed_step, result.reason, result.blame) == ("discover", Reason.DISCOVERY_INVALID, Blame.PROVIDER)
    assert "token" in (result.detail or "")


@pytest.mark.parametrize(
    ("document", "raw"),
    [
        ({"issuer": "\x1b[31m\ud800"}, {}),
        ({"id_token_signing_alg_values_supported": ["\x1b[31mX"] * 30000}, {"token": _issued(access_token=token())}),
        ({}, {"token": _issued(token_type="\x1b[31m\ud800")}),
        ({}, {"token": answer(b"x", "200 OK", "Content-Type: text/\x1b[31m\x9b")}),
        ({}, {"jwks": answer(b"x", "200 OK", f"Content-Type: {'x' * 60000}")}),
    ],
    ids=["issuer", "algorithms", "token type", "media type", "long media type"],
)
def test_foreign_text_in_a_detail_is_escaped_and_short(
    run: Run, document: dict[str, Any], raw: dict[str, bytes]
) -> None:
    """Log lines and events get the detail as it is: no escape sequence, no surrogate, no megabyte may be in it."""
    result = run("- discover\n- keys\n- token\n- verify", document, **raw)
    assert result.outcome is Outcome.FAIL
    assert (result.detail or "").isprintable()
    assert len(result.detail or "") < 1000


@pytest.mark.parametrize("changes", [{"exp": 10**400}, {"iat": 10**400, "exp": 5}, {"exp": -(10**400)}])
def test_a_signed_time_beyond_every_number_is_an_invalid_claim(run: Run, changes: dict[str, int]) -> None:
    """A time that no float can hold must not break what remembers it."""
    result = run("- discover\n- keys\n- token\n- verify", token=_issued(access_token=token(**changes)))
    assert (result.reason, result.blame) == (Reason.CLAIM_INVALID, Blame.PROVIDER)


@pytest.mark.parametrize("aud", [5, True, {"a": 1}, None])
def test_an_odd_audience_does_not_break_the_reading_of_a_refusal(run: Run, aud: object) -> None:
    """A refused token is looked into to tell whose fault it is, whatever it holds."""
    refused = answer(b"", "401 Unauthorized")
    result = run(f"{_TOKEN}\n- userinfo", token=_issued(access_token=token(aud=aud)), userinfo=refused)
    assert (result.failed_step, result.reason) == ("userinfo", Reason.API_REJECTS_VALID_TOKEN)


def test_a_signed_userinfo_answer_counts_only_with_a_status_of_success(run: Run) -> None:
    """The media type of an error answer proves nothing."""
    result = run(f"{_TOKEN}\n- userinfo", userinfo=answer(b"x", "404 Not Found", "Content-Type: application/jwt"))
    assert result.reason is Reason.IDP_HTTP_4XX


@pytest.mark.parametrize("size", ["-1", "-5", "zz"])
def test_a_chunk_of_no_possible_size_is_a_protocol_error(run: Run, size: str) -> None:
    """A negative size is an order to http.client to read without end, past the cap on a body."""
    body = f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{size}\r\n".encode() + b"x" * 2**21
    result = run(_CALL, api=body)
    assert (result.reason, result.blame) == (Reason.HTTP_PROTOCOL_ERROR, Blame.API)


_PARAMS = ",".join(f"a{n}=1" for n in range(8000))


@pytest.mark.parametrize(
    "raw",
    [
        answer(gzip.compress(b"") * 50000, "200 OK", "Content-Encoding: gzip"),
        answer(b"<html>" + b"<input type " * 5400, "200 OK", "Content-Type: text/html"),
        answer(b"", "401 Unauthorized", *[f"WWW-Authenticate: Bearer {_PARAMS}"] * 60),
        answer(b"", "401 Unauthorized", *[f"WWW-Authenticate: {'a ' * 30000}"] * 60),
    ],
    ids=["gzip members", "input fields", "challenge parameters", "challenge schemes"],
)
def test_no_answer_costs_much_more_time_to_read_than_to_send(run: Run, raw: bytes) -> None:
    """What is read after the bytes came is beyond the deadline's reach, so it must never take long."""
    start = time.process_time()
    run(_CALL, api=raw)
    assert time.process_time() - start < 1.5


def test_a_document_too_deep_to_be_searched_is_an_assertion_that_failed(run: Run) -> None:
    """The search gives up at a depth that the JSON reader still takes."""
    steps = f"{_TOKEN}\n- {{step: call, url: ISS/api, expect: {{json: {{$..a: 1}}}}}}"
    result = run(steps, api=answer(b"[" * 900 + b"]" * 900))
    assert (result.reason, result.blame) == (Reason.ASSERTION_FAILED, Blame.API)
