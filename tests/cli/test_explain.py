"""`otelprobe explain`."""

import argparse
import json
import re

import pytest

from otelprobe.cli import explain
from otelprobe.reasons import VERDICTS, Counts, Reason


@pytest.fixture(autouse=True)
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("NO_COLOR", "1")


def run(*args: str) -> int:
    parser = argparse.ArgumentParser(prog="otelprobe")
    explain.add_parser(parser.add_subparsers())
    parsed = parser.parse_args(["explain", *args])
    code = parsed.run(parsed)
    assert isinstance(code, int)
    return code


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_is_explained(reason: Reason, capsys: pytest.CaptureFixture[str]) -> None:
    """Each reason is explained with its help, blame and objective, in lines that fit the terminal."""
    assert run(reason.value) == 0
    out = capsys.readouterr().out
    words = " ".join(out.split())
    row = VERDICTS[reason]
    assert words.startswith(reason.value)
    assert row.help in words
    assert f"blame {row.blame.value if row.blame else 'the step'}" in words
    assert ("SECURITY" in words) == row.security
    assert max(map(len, out.splitlines())) <= 100


def test_spelling_is_forgiven(capsys: pytest.CaptureFixture[str]) -> None:
    """Capitals and hyphens are as good as the exact name."""
    assert run("Audience-Mismatch") == 0
    assert "audience_mismatch" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        ("expird", "expired"),
        ("audience", "audience_mismatch"),
        ("jwks", "jwks_empty"),
        ("tls_expired", "tls_cert_expired"),
    ],
)
def test_unknown_reason(wrong: str, hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong name ends with 2 and the nearest names, on standard error only."""
    assert run(wrong) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert hint in captured.err


def test_unknown_reason_is_harmless(capsys: pytest.CaptureFixture[str]) -> None:
    """A name that is like nothing is pointed to the list, and its control characters are not obeyed."""
    assert run("\x1b[2Jqqqqqqqq") == 2
    err = capsys.readouterr().err
    assert "\x1b" not in err
    assert "`otelprobe explain` lists all" in err


def test_listing_has_every_reason_once(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a reason all of them are listed, each once, under the side they blame."""
    assert run() == 0
    out = capsys.readouterr().out
    listed = re.findall(r"^  ([a-z0-9_]+) ", out, re.MULTILINE)
    assert sorted(listed) == sorted(Reason)
    assert out.count("\nblame ") + out.startswith("blame ") == 7
    assert max(map(len, out.splitlines())) <= 100


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    """As JSON one reason is one object, and all of them one list."""
    assert run("invalid_grant", "--output", "json") == 0
    assert json.loads(capsys.readouterr().out) == {
        "reason": "invalid_grant",
        "outcome": "fail",
        "blame": "owner",
        "counts": "layer",
        "security": False,
        "help": VERDICTS[Reason.INVALID_GRANT].help,
    }
    assert run("--output", "json") == 0
    assert [r["reason"] for r in json.loads(capsys.readouterr().out)["reasons"]] == [r.value for r in Reason]


def test_warnings_are_what_the_table_says() -> None:
    """The reasons that only warn are those of the table that blame the owner and spend nothing, and lost memory."""
    warned = {r for r, row in VERDICTS.items() if row.blame is None and row.counts is Counts.NONE}
    assert warned | {Reason.STATE_LOST} == explain.WARNINGS
