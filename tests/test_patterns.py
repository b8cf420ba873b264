"""Regular expressions of the flow file end in time, wherever they stand; what is wrong with one is said by whose fault it is."""

import json
import time
from pathlib import Path

import pytest

from otelprobe.fields import find_json, parse_jsonpath
from otelprobe.patterns import LONGEST, Pattern, bounded_by
from otelprobe.reasons import Blame, CheckFailed, Counts, Outcome, Reason
from tests.conftest import Answer, Server
from tests.flow_kit import run_text, verdict

ENDLESS, TEXT = "^(a|a|aa)+$", "a" * 60 + "!"
"""A pattern that would take longer than the universe has lasted, and a text to show it."""


@pytest.mark.parametrize(
    "expect",
    [
        "body: '\"(a|a|aa)+\"'",
        f'json: {{$.name: {{matches: "{ENDLESS}"}}}}',
        f'headers: {{X-Name: {{matches: "{ENDLESS}"}}}}',
        f"json: {{\"$[?match(@, '{ENDLESS[1:-1]}')]\": {{exists: true}}}}",
        f"json: {{\"$[?search(@, '{ENDLESS}')]\": {{exists: true}}}}",
        'json: {"$[?match($.name, $.pattern)]": {exists: true}}',
    ],
    ids=["body", "json", "header", "match", "search", "pattern of the answer"],
)
def test_an_endless_pattern_is_stopped(server: Server, tmp_path: Path, expect: str) -> None:
    """Long before the deadline, as a fault of the flow file and no outage; the text it was looked for in is not told."""
    body = json.dumps({"name": TEXT, "pattern": ENDLESS[1:-1]})
    server.on("/me", Answer(200, body.encode(), [("Content-Type", "application/json"), ("X-Name", TEXT)]))
    call = f"- step: call\n        url: {server.url}/me\n        expect:\n          {expect}\n"
    flow = f"flows:\n  - name: slow\n    steps:\n      {call}"
    started = time.process_time()
    result = run_text(tmp_path, flow)
    assert verdict(result) == ("call", Reason.CONFIG_ERROR, Blame.CONFIG, Counts.NONE), result.detail
    assert result.outcome is Outcome.ERROR
    assert "takes more than 0.5 s on this answer" in (result.detail or "")
    assert TEXT not in repr(result)
    assert time.process_time() - started < 5 * LONGEST


def test_many_searches_share_one_deadline() -> None:
    """A filter searches once for each element; what is left gets less each time, and nothing starts after the end."""
    document = [TEXT] * 1000
    ends = time.monotonic() + 0.3
    started = time.process_time()
    with bounded_by(lambda: ends - time.monotonic()), pytest.raises(CheckFailed) as caught:
        find_json(parse_jsonpath(f"$[?search(@, '{ENDLESS}')]"), document)
    assert caught.value.reason in {Reason.CONFIG_ERROR, Reason.DEADLINE_EXCEEDED}
    assert time.process_time() - started < 3 * LONGEST


@pytest.mark.parametrize("left", [0.0, -5.0, 0.01])
def test_an_answer_that_came_too_late(left: float) -> None:
    """With next to no time left the deadline is told, and not the pattern blamed."""
    with bounded_by(lambda: left), pytest.raises(CheckFailed) as caught:
        Pattern(ENDLESS).found_in(TEXT)
    assert caught.value.reason is Reason.DEADLINE_EXCEEDED


def test_sound_patterns_on_the_largest_answer() -> None:
    """A megabyte is searched with most of the time left over."""
    text = "lorem ipsum dolor " * 58000 + "status: ok"
    with bounded_by(lambda: 20.0):
        assert Pattern(r"status:\s+ok$").found_in(text)
        assert not Pattern(r"(?i)error|exception|\bfail\w+").found_in(text)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("$[?match(@, 'a.c')]", ["abc", "a.c"]),
        ("$[?search(@, 'b')]", ["abc", "xbx"]),
        ("$[?search(@, 'a[.]c')]", ["a.c"]),
        (r"$[?search(@, 'a\\.c')]", ["a.c"]),
        ("$[?search(@, '(')]", []),
        ("$[?match(@, 5)]", []),
    ],
)
def test_functions_of_jsonpath(query: str, found: list[str]) -> None:
    """`match` takes the whole text and `search` a part; a dot is no line end; no pattern and no text are no match."""
    document = ["abc", "xbx", "a\rc", "a\nc", "a.c", 7]
    assert find_json(parse_jsonpath(query), document) == found


_NESTED = "[" * 90 + "]" * 90
"""A small document in which some queries come by more nodes than anybody can wait for."""


@pytest.mark.parametrize(
    "query",
    ["$..*..*..*..*..*..*..*", "$[?count(@..*..*..*..*..*..*..*) > 1]", "$[?@..*..*..*..*..*..*..*.none]"],
    ids=["plain", "counted in a filter", "looked for in a filter"],
)
def test_a_query_ends_with_the_deadline(query: str) -> None:
    """Wherever in it the time goes by, in filters too."""
    ends = time.monotonic() + 0.2
    started = time.process_time()
    with bounded_by(lambda: ends - time.monotonic()), pytest.raises(CheckFailed) as caught:
        find_json(parse_jsonpath(query), json.loads(_NESTED))
    assert caught.value.reason is Reason.DEADLINE_EXCEEDED
    assert caught.value.detail == f"the deadline ended the query {query} in the answer"
    assert time.process_time() - started < 4


@pytest.mark.parametrize(
    ("deadline", "member", "reason", "blame"),
    [
        ("10m", "expect: {json: {'$..*..*..*..*..*..*..*': 1}}", Reason.CONFIG_ERROR, Blame.CONFIG),
        ("2s", "capture: {all: '$..*..*..*..*..*..*..*'}", Reason.DEADLINE_EXCEEDED, Blame.API),
    ],
)
def test_a_query_without_an_end_does_not_hang(
    server: Server, tmp_path: Path, deadline: str, member: str, reason: Reason, blame: Blame
) -> None:
    """However much time is left it ends, as a fault of the flow file; else with the deadline, wherever it stands."""
    server.on("/me", Answer(200, _NESTED.encode(), [("Content-Type", "application/json")]))
    step = f"{{step: call, url: {server.url}/me, {member}}}"
    result = run_text(tmp_path, f"flows:\n  - name: slow\n    deadline: {deadline}\n    steps:\n      - {step}")
    assert verdict(result)[:3] == ("call", reason, blame), result.detail
    assert "$..*..*..*..*..*..*..*" in (result.detail or "")


def test_sound_queries_have_the_time_they_need() -> None:
    """On as large an answer as is read, also where they search all of it."""
    document = {"items": [{"id": number, "name": f"n{number}", "x": {"y": number}} for number in range(12_000)]}
    with bounded_by(lambda: 600.0):
        assert len(find_json(parse_jsonpath("$..id"), document)) == 12_000
        assert len(find_json(parse_jsonpath("$.items[?@.x.y >= 6000].name"), document)) == 6000
