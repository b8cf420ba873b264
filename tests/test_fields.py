"""The words of a flow file are read as written, and refused with a mend."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from otelprobe import fields
from otelprobe.fields import HttpOptions, Rate, SecretRef
from otelprobe.reasons import CheckFailed, Reason


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (fields.parse_duration, "250ms", 0.25),
        (fields.parse_duration, "1h30m", 5400.0),
        (fields.parse_duration, "90d", 7_776_000.0),
        (fields.parse_size, "64KiB", 65536),
        (fields.parse_size, "10MB", 10_000_000),
        (fields.parse_rate, "30/min", Rate(30, 60.0)),
        (fields.parse_percent, "99.9%", 0.999),
        (fields.parse_url, "https://a.example/b?c=${d}", "https://a.example/b?c=${d}"),
        (fields.parse_jsonpath, "$.a[0]['b c']", "$.a[0]['b c']"),
    ],
)
def test_good_text_becomes_its_value(parse: Callable[[object], object], text: str, value: object) -> None:
    """Each unit and form counts as documented."""
    assert parse(text) == value


@pytest.mark.parametrize(
    ("parse", "value", "message"),
    [
        (fields.parse_duration, 5, "needs a unit"),
        (fields.parse_duration, True, "not a duration"),
        (fields.parse_duration, "5 s", "not a duration"),
        (fields.parse_duration, "999999999999d", "too long"),
        (fields.parse_duration, "9" * 400 + "d", "too long"),
        (fields.parse_size, 1000, "needs a unit"),
        (fields.parse_size, "9" * 5000 + "B", "not a size"),
        (fields.parse_size, "1.5MiB", "not a size"),
        (fields.parse_rate, "0/min", "not a rate"),
        (fields.parse_rate, "9" * 20 + "/min", "not a rate"),
        (fields.parse_percent, "100%", "between"),
        (fields.parse_percent, "99.99999999999%", "between"),
        (fields.parse_percent, "0.00000000001%", "between"),
        (fields.parse_percent, 0.999, "99.9%"),
        (fields.parse_regex, "(", "not a regular expression"),
        (fields.parse_regex, "a{99999999999999999999}", "too big"),
        (fields.parse_regex, "(" * 3000 + ")" * 3000, "too deeply"),
        (fields.parse_url, "a.example/b", "absolute"),
        (fields.parse_url, "https://me:hunter2@a.example", "no user or password"),
        (fields.parse_url, "https://${host}/", "host of a URL is fixed"),
        (fields.parse_url, "https://a.example/b c", "white space"),
        (fields.parse_url, "https://a.example:99999/", "port"),
        (fields.parse_jsonpath, "status", "starts with $"),
        (fields.parse_jsonpath, "$..", "not a JSONPath"),
    ],
)
def test_bad_text_is_refused_with_a_mend(parse: Callable[[object], object], value: object, message: str) -> None:
    """What is wrong is said, and the value (it may be a secret) is not."""
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        parse(value)
    assert "hunter2" not in str(caught.value)


def test_a_secret_is_read_anew_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rotated file is picked up; the trailing line end of a file is not part of the secret."""
    path = tmp_path / "s"
    path.write_text("one\n")
    ref = SecretRef(file=str(path))
    assert ref.read() == "one"
    path.write_text(" two ")
    assert ref.read() == " two "
    monkeypatch.setenv("S", "three")
    assert SecretRef(env="S").read() == "three"


@pytest.mark.parametrize("content", [None, b"", b"\n", b"\xff\xfe"])
def test_a_secret_that_cannot_be_read_says_where(tmp_path: Path, content: bytes | None) -> None:
    """Missing, empty and undecodable are all secret_missing, with the place and never the content."""
    path = tmp_path / "s"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CheckFailed, match=str(path)) as caught:
        SecretRef(file=str(path)).read()
    assert caught.value.reason is Reason.SECRET_MISSING


def test_the_nearest_http_options_win() -> None:
    """A member that is not set is taken from the wider block; headers are merged."""
    wide = HttpOptions(timeout=5.0, proxy="http://p:1", headers={"A": "1", "B": "1"}, insecure_http=True)
    near = HttpOptions(timeout=1.0, headers={"B": "2"}, insecure_http=False)
    merged = near.over(wide)
    assert (merged.timeout, merged.proxy, merged.insecure_http) == (1.0, "http://p:1", False)
    assert dict(merged.headers) == {"A": "1", "B": "2"}


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("localhost", True),
        ("demo.localhost", True),
        ("127.0.0.1", True),
        ("127.8.9.10", True),
        ("::1", True),
        ("127.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("localhost.evil.example", False),
        ("10.0.0.1", False),
    ],
)
def test_only_the_machine_itself_is_loopback(host: str, loopback: bool) -> None:
    """A name that merely begins like a loopback address gets no credential in the clear."""
    assert fields.is_loopback(host) is loopback
