"""Expectations: what holds, what does not, and that a message names the expectation and never the value found."""

import json
from collections.abc import Mapping

import pytest

from otelprobe.expect import (
    Expect,
    check_answer,
    comparison_holds,
    parse_comparison,
    parse_matcher,
    parse_statuses,
    status_matches,
)
from otelprobe.http import Reply
from otelprobe.reasons import CheckFailed, Reason
from otelprobe.result import Exchange


def reply(body: object = None, *, headers: tuple[tuple[str, str], ...] = (), skew: float | None = None) -> Reply:
    """Make an answer with a JSON body."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    exchange = Exchange("GET", "https://a.example/", "a.example", 443, 1, 0, 0.1, status=200, clock_skew=skew)
    return Reply(exchange, 200, headers, raw)


@pytest.mark.parametrize(
    ("condition", "found", "holds"),
    [
        ("ok", ["ok"], True),
        ("ok", ["no"], False),
        ("ok", [], False),
        (1, [1.0], True),
        (1, [True], False),
        (None, [None], True),
        ([1, 2], [[1, 2]], True),
        ({"exists": True}, [None], True),
        ({"exists": True}, [], False),
        ({"exists": False}, [], True),
        ({"exists": False}, [0], False),
        ({"matches": "^o"}, ["ok"], True),
        ({"matches": "^o"}, [5], False),
        ({"gt": 1, "lt": 3}, [2], True),
        ({"gt": 1, "lt": 3}, [3], False),
        ({"gt": 0}, [True], False),
        ({"one_of": ["a", "b"]}, ["b"], True),
        ({"one_of": ["a", "b"]}, ["c"], False),
        ({"type": "integer"}, [3], True),
        ({"type": "integer"}, [3.5], False),
        ({"type": "number"}, [True], False),
        ({"type": "null"}, [None], True),
        ({"type": "array"}, [[]], True),
        ({"type": "object"}, [[]], False),
        ({"matches": "."}, ["a", ""], False),
    ],
)
def test_a_matcher_holds_or_not(condition: object, found: list[object], holds: bool) -> None:
    """Equality is JSON's, conditions are joined by and, several values must all fit."""
    assert parse_matcher(condition).holds(found) is holds


@pytest.mark.parametrize(
    "bad",
    [
        {},
        {"exist": True},
        {"matches": "("},
        {"gt": "1"},
        {"one_of": []},
        {"type": "text"},
        {"exists": 1},
        {"lt": True},
        {"gt": float("nan")},
        {"lt": float("inf")},
        {"gt": 10**400},
        {"matches": "a{9999999999}"},
    ],
)
def test_a_bad_matcher_is_refused(bad: Mapping[str, object]) -> None:
    """A condition that could never work is told when the file is read."""
    with pytest.raises(ValueError, match=r"\w"):
        parse_matcher(bad)


@pytest.mark.parametrize(
    ("wanted", "status", "holds"),
    [(200, 200, True), ("2xx", 204, True), (["2xx", 404], 404, True), ("2xx", 304, False)],
)
def test_statuses(wanted: object, status: int, holds: bool) -> None:
    """One status, a class of them, or a list of either."""
    assert status_matches(status, parse_statuses(wanted)) is holds


@pytest.mark.parametrize("bad", ["2x", 99, 600, True, [], "6xx", [200, None], "²00", "٢٠٠"])
def test_bad_statuses_are_refused(bad: object) -> None:
    """What is no status is told."""
    with pytest.raises(ValueError, match="not a status"):
        parse_statuses(bad)


def test_comparisons() -> None:
    """A sign and a number, or a number alone for equality."""
    assert comparison_holds(5, parse_comparison(">0"))
    assert not comparison_holds(5, parse_comparison("< 5"))
    assert comparison_holds(5, parse_comparison(5))
    with pytest.raises(ValueError, match="comparison"):
        parse_comparison(">=x")


def test_every_unmet_expectation_is_named_and_no_value_is() -> None:
    """All faults come at once; the body's own values stay out of the text."""
    expect = Expect(
        headers={"X-A": parse_matcher("b")},
        json={"$.status": parse_matcher("ok"), "$.n": parse_matcher({"gt": 3})},
        max_size=5,
    )
    with pytest.raises(CheckFailed) as caught:
        check_answer(reply({"status": "canary", "n": 1}, headers=(("x-a", "canary"),)), expect)
    assert caught.value.reason is Reason.ASSERTION_FAILED
    for part in ("header X-A", "$.status is not equal to 'ok'", "$.n is not gt 3", "bytes, allowed 5"):
        assert part in caught.value.detail
    assert "canary" not in str(caught.value)


def test_a_body_that_is_no_json_is_said_to_be_none() -> None:
    """A JSON expectation on a page is an unmet expectation, not a crash."""
    with pytest.raises(CheckFailed, match="no JSON"):
        check_answer(reply(b"<html>"), Expect(json={"$.a": parse_matcher(1)}))


def test_skew_is_a_failure_only_when_asked_for() -> None:
    """max_clock_skew turns the fact into a verdict."""
    check_answer(reply({}, skew=100.0), Expect())
    with pytest.raises(CheckFailed) as caught:
        check_answer(reply({}, skew=100.0), Expect(max_clock_skew=30.0))
    assert caught.value.reason is Reason.CLOCK_SKEW
