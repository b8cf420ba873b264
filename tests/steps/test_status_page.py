"""The status_page step: every form that providers publish, what is degraded, what is unknown, and that nothing fails by it."""

import json
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from otelprobe.cli.report_json import document
from otelprobe.cli.waterfall import render
from otelprobe.expect import Expect
from otelprobe.fields import HttpOptions
from otelprobe.reasons import Layer, Outcome, Reason
from otelprobe.result import FlowResult, ProviderStatus, StepResult
from otelprobe.status_pages import read_status
from otelprobe.steps.status_page import StatusPage
from otelprobe.steps.token import Token
from otelprobe.telemetry.attributes import flow_attributes
from tests.conftest import Answer
from tests.peers import Peer, silence
from tests.steps.flows import Bench, as_json, last

NOW = datetime.now(UTC)
HTML = [("Content-Type", "text/html")]


def told(bench: Bench, answer: Answer | object, **members: object) -> StepResult:
    """Run the step on an answer."""
    bench.server.on("/status", answer if isinstance(answer, Answer) else as_json(answer))
    step = StatusPage(name="status_page", url=f"{bench.server.url}/status", **members)  # type: ignore[arg-type]
    row = last(bench.run(step))
    assert row.outcome is Outcome.PASS, row.detail
    assert row.layer is Layer.DEPENDENCY
    return row


def state(row: StepResult) -> str:
    """Give the state; its warning goes with it."""
    assert row.provider_status is not None
    reasons = {
        "operational": [],
        "degraded": [Reason.PROVIDER_DEGRADED],
        "unknown": [Reason.PROVIDER_STATUS_UNKNOWN],
    }
    assert [w.reason for w in row.warnings] == reasons[row.provider_status.state]
    return row.provider_status.state


# --- Statuspage ---


def summary(indicator: str = "none", **components: str) -> dict[str, object]:
    """Write a summary as Statuspage does."""
    return {
        "page": {"id": "kctbh9vrtdwd", "name": "GitHub", "url": "https://www.githubstatus.com"},
        "components": [
            {"id": f"id-{name}", "name": name.replace("_", " "), "status": status, "group_id": None}
            for name, status in components.items()
        ],
        "incidents": [] if indicator == "none" else [{"name": "Delayed log-ins", "status": "investigating"}],
        "scheduled_maintenances": [],
        "status": {
            "indicator": indicator,
            "description": "All Systems Operational" if indicator == "none" else "Partial System Outage",
        },
    }


@pytest.mark.parametrize(
    ("indicator", "wanted"),
    [
        ("none", "operational"),
        ("minor", "degraded"),
        ("major", "degraded"),
        ("critical", "degraded"),
        ("maintenance", "degraded"),
        ("purple", "unknown"),
    ],
)
def test_the_blend_of_a_statuspage(bench: Bench, indicator: str, wanted: str) -> None:
    """Without a component the indicator of the whole page counts; a word that nobody knows is unknown."""
    row = told(bench, summary(indicator))
    assert state(row) == wanted
    if wanted == "degraded":
        assert row.warnings[0].detail == "Partial System Outage; Delayed log-ins"


@pytest.mark.parametrize(
    ("component", "status", "wanted"),
    [
        ("Log in", "operational", "operational"),
        ("log in", "degraded_performance", "degraded"),
        ("id-Log_in", "partial_outage", "degraded"),
        ("Log in", "major_outage", "degraded"),
        ("Log in", "under_maintenance", "degraded"),
        ("Log in", "sparkling", "unknown"),
        ("Log out", "operational", "unknown"),
    ],
)
def test_a_component_counts_and_not_the_blend(bench: Bench, component: str, status: str, wanted: str) -> None:
    """By name in any case, or by id; one that is not there is unknown, whatever the rest says."""
    assert state(told(bench, summary("major", Log_in=status, Pages="major_outage"), component=component)) == wanted
    good = summary("none", Log_in="operational", Pages="operational")
    assert state(told(bench, good, component="Pages")) == "operational"


def test_other_documents_of_a_statuspage(bench: Bench) -> None:
    """status.json has no components, components.json no blend; Instatus answers in its own words."""
    assert state(told(bench, {"status": {"indicator": "none", "description": "x"}})) == "operational"
    row = told(bench, {"status": {"indicator": "none"}}, component="Log in")
    assert state(row) == "unknown"
    assert "summary.json" in row.warnings[0].detail
    components = {"components": [{"name": "A", "status": "operational"}, {"name": "B", "status": "partial_outage"}]}
    assert told(bench, components).warnings[0].detail == "B: partial outage"
    assert state(told(bench, {"page": {"name": "x", "status": "UP"}})) == "operational"
    issues = {"page": {"status": "HASISSUES"}, "activeIncidents": [{"name": "Slow log-ins"}]}
    assert told(bench, issues).warnings[0].detail == "Slow log-ins"


# --- feeds ---


def atom(*entries: tuple[str, str, datetime]) -> Answer:
    """Write an Atom feed as Statuspage and Auth0 do."""
    body = "".join(
        f"<entry><id>1</id><title>{title}</title><updated>{when.isoformat()}</updated>"
        f'<content type="html">{content}</content></entry>'
        for title, content, when in entries
    )
    text = f'<?xml version="1.0" encoding="UTF-8"?><feed xmlns="http://www.w3.org/2005/Atom"><title>Status</title>{body}</feed>'
    return Answer(200, text.encode(), [("Content-Type", "application/atom+xml")])


def rss(*items: tuple[str, str, datetime]) -> Answer:
    """Write an RSS feed as Okta and Azure do."""
    body = "".join(
        f"<item><title>{title}</title><description>{text}</description><pubDate>{format_datetime(when)}</pubDate></item>"
        for title, text, when in items
    )
    text = (
        f'<?xml version="1.0" encoding="utf-8"?><rss version="2.0"><channel><title>Status</title>{body}</channel></rss>'
    )
    return Answer(200, text.encode(), [("Content-Type", "application/rss+xml")])


RESOLVED = (
    "&lt;p&gt;&lt;small&gt;Nov 1, 10:00 UTC&lt;/small&gt;&lt;br&gt;&lt;strong&gt;Resolved&lt;/strong&gt; - "
    "This incident has been resolved.&lt;/p&gt;"
)
INVESTIGATING = (
    "&lt;p&gt;&lt;strong&gt;Investigating&lt;/strong&gt; - We will post updates until it is resolved.&lt;/p&gt;"
)


@pytest.mark.parametrize("feed", [atom, rss])
@pytest.mark.parametrize(
    ("entry", "wanted"),
    [
        (("Token endpoint slow", INVESTIGATING, NOW), "degraded"),
        (("Token endpoint slow", RESOLVED, NOW), "operational"),
        (("Resolved: Token endpoint slow", "text", NOW), "operational"),
        (("[RESOLVED] Token endpoint slow", "text", NOW), "operational"),
        (("Token endpoint slow", "The service is operating normally.", NOW), "operational"),
        (("Scheduled upgrade", "We will upgrade.", NOW), "operational"),
        (("Scheduled upgrade", "In progress - we upgrade.", NOW), "degraded"),
        (("Token endpoint slow", INVESTIGATING, NOW - timedelta(days=9)), "operational"),
    ],
)
def test_feeds(bench: Bench, feed: object, entry: tuple[str, str, datetime], wanted: str) -> None:
    """An entry counts unless its words say that it is over, it is planned for later, or it is old."""
    assert state(told(bench, feed(entry))) == wanted  # type: ignore[operator]


def test_a_feed_by_component_age_and_form(bench: Bench) -> None:
    """Words choose entries, `max_age` says what is old, and an empty feed has nothing to tell."""
    entries = (("US cell 7: log-in errors", INVESTIGATING, NOW), ("Workflows slow in EU", INVESTIGATING, NOW))
    assert told(bench, rss(*entries), component="us cell 7").warnings[0].detail == "US cell 7: log-in errors"
    assert state(told(bench, rss(*entries), component="cell 9")) == "operational"
    assert state(told(bench, atom(*entries), format="rss")) == "degraded"
    assert state(told(bench, atom(("A", "b", NOW - timedelta(days=2))), max_age=86400.0)) == "operational"
    assert state(told(bench, atom())) == state(told(bench, rss())) == "operational"


BOMB = '<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY a "lol"><!ENTITY b "&a;&a;&a;&a;">]><rss><channel>&b;</channel></rss>'
FETCH = '<!DOCTYPE rss SYSTEM "http://127.0.0.1:9/x.dtd"><rss/>'


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize("text", [BOMB, FETCH, "  " + FETCH.lower()])
def test_declarations_are_refused(bench: Bench, text: str, encoding: str) -> None:
    """No entity is expanded and nothing is fetched, in whatever encoding it comes."""
    row = told(bench, Answer(200, text.encode(encoding)))
    assert state(row) == "unknown"
    assert "declaration" in row.warnings[0].detail
    assert len(bench.server.seen) == 1


def test_a_deeply_nested_feed_is_no_crash(bench: Bench) -> None:
    """A hundred thousand levels in a feed, or in JSON, are read or refused."""
    for text in ("<rss>" + "<a>" * 100_000 + "</a>" * 100_000 + "</rss>", "<rss>" + "<a>" * 100_000, "[" * 100_000):
        assert state(told(bench, Answer(200, text.encode()))) in {"operational", "unknown"}


# --- AWS and Google ---


def aws_event(status: str = "1", **members: str) -> dict[str, object]:
    """Write an event as health.aws.amazon.com does."""
    return {
        "date": str(int(time.time())),
        "arn": "arn:aws:health:us-east-1::event/COGNITO/AWS_COGNITO_OPERATIONAL_ISSUE/AWS_COGNITO_1",
        "region_name": "N. Virginia",
        "status": status,
        "service": "cognito-us-east-1",
        "service_name": "Amazon Cognito (N. Virginia)",
        "summary": "Increased error rates",
        **members,
    }


@pytest.mark.parametrize(
    ("event", "component", "wanted"),
    [
        (aws_event(), None, "degraded"),
        (aws_event(), "cognito us-east-1", "degraded"),
        (aws_event(), "cognito eu-west-1", "operational"),
        (aws_event("0"), None, "operational"),
        (aws_event(endTime="1790000000"), None, "operational"),
    ],
)
def test_aws_events_in_utf_16(bench: Bench, event: dict[str, object], component: str | None, wanted: str) -> None:
    """The list comes as UTF-16 with a byte-order mark; what is resolved or elsewhere does not count."""
    body = json.dumps([event]).encode("utf-16")
    assert body[:2] in {b"\xff\xfe", b"\xfe\xff"}
    row = told(bench, Answer(200, body, [("Content-Type", "application/json;charset=utf-16")]), component=component)
    assert state(row) == wanted
    if wanted == "degraded":
        assert row.warnings[0].detail == "cognito-us-east-1: Increased error rates"


def google_incident(**members: object) -> dict[str, object]:
    """Write an incident as status.cloud.google.com does."""
    return {
        "id": "6PM5mNd43NbMqjCZ5REh",
        "begin": "2026-11-20T10:00:00+00:00",
        "external_desc": "Sign-in is slow",
        "status_impact": "SERVICE_DISRUPTION",
        "severity": "medium",
        "affected_products": [{"title": "Identity and Access Management", "id": "adnGEDEt9zWzs8uF1oKA"}],
        **members,
    }


@pytest.mark.parametrize(
    ("incident", "component", "wanted"),
    [
        (google_incident(), None, "degraded"),
        (google_incident(), "identity", "degraded"),
        (google_incident(), "Cloud Storage", "operational"),
        (google_incident(end="2026-11-20T12:00:00+00:00"), None, "operational"),
        (google_incident(status_impact="SERVICE_INFORMATION"), None, "operational"),
        (google_incident(status_impact="SERVICE_OUTAGE"), None, "degraded"),
    ],
)
def test_google_incidents(bench: Bench, incident: dict[str, object], component: str | None, wanted: str) -> None:
    """An incident without an end is open, unless it is for information only or of another product."""
    for form in ("auto", "google"):
        assert state(told(bench, [incident], component=component, format=form)) == wanted


def test_an_empty_list_has_nothing_to_tell(bench: Bench) -> None:
    """No events: operational. Ten megabytes of history are read too."""
    assert state(told(bench, [])) == "operational"
    history = [google_incident(end="2026-01-01T00:00:00Z", external_desc="x" * 10_000)] * 1000
    assert state(told(bench, [*history, google_incident()])) == "degraded"


# --- unreadable ---


@pytest.mark.parametrize(
    "answer",
    [
        Answer(500),
        Answer(404),
        Answer(429),
        Answer(204),
        Answer(200, b""),
        Answer(200, b"not json"),
        Answer(200, b"<html><body>Status</body></html>", HTML),
        Answer(200, b"<!DOCTYPE html><title>x</title>", HTML),
        Answer(403, b"<html>you have been blocked</html>", HTML),
        Answer(200, b"<html>captcha</html>", HTML),
        Answer(302, b"", [("Location", "https://elsewhere.example/login")]),
        Answer(200, b"<svg/>"),
        Answer(200, b"<rss><channel>"),
        Answer(200, b"[1, 2]"),
        Answer(200, b'[{"a": 1}]'),
        Answer(200, b"{}"),
        Answer(200, b"null"),
        Answer(200, b"\xff\xfe\x00"),
    ],
)
def test_what_cannot_be_read_is_unknown_and_never_down(bench: Bench, answer: Answer) -> None:
    """Whatever comes in place of a status: a pass with a warning, and no word about the provider."""
    assert state(told(bench, answer)) == "unknown"


def test_a_page_that_does_not_answer_is_unknown(bench: Bench) -> None:
    """A closed port and a silent one as well; the exchange keeps its reason."""
    row = last(bench.run(StatusPage(name="status_page", url="http://127.0.0.1:1/status")))
    assert state(row) == "unknown"
    assert row.exchanges[0].reason is Reason.CONNECT_REFUSED
    with Peer(silence) as peer:
        step = StatusPage(name="status_page", url=peer.url(), http=HttpOptions(timeout=0.2))
        assert state(last(bench.run(step))) == "unknown"


def test_what_is_ours_is_an_error(bench: Bench, tmp_path: Path) -> None:
    """A wrong flow file is no unknown status: it would never be mended."""
    step = StatusPage(name="s", url="https://a.example", http=HttpOptions(ca_file=str(tmp_path / "no.pem")))
    assert bench.run(step).reason is Reason.CONFIG_ERROR
    assert bench.run(StatusPage(name="s", url="http://a.example")).reason is Reason.CONFIG_ERROR


@pytest.mark.parametrize("form", ["statuspage", "atom", "rss", "aws", "google"])
def test_a_form_that_is_set_is_not_guessed(bench: Bench, form: str) -> None:
    """An answer in another form is unknown."""
    other = rss(("A", "b", NOW)) if form in {"statuspage", "aws", "google"} else as_json(summary())
    assert state(told(bench, other, format=form)) == "unknown"


def test_texts_of_the_page_are_short_and_clean() -> None:
    """No tags, no control characters, at most three titles: they are shown in terminals."""
    entries = "".join(f"<entry><title>\u202e&lt;b&gt;T{n}&lt;/b&gt;\n\t{'x' * 500}</title></entry>" for n in range(9))
    reading = read_status(f"<feed>{entries}</feed>", "auto", None, 0.0, 1.0)
    assert reading.detail.startswith("T0 xxx")
    assert reading.detail.endswith("; and 6 more")
    assert len(reading.detail) < 400
    assert "\u202e" not in reading.detail


# --- beside the verdict ---


def failing(bench: Bench, **members: object) -> FlowResult:
    """Run a flow whose token step fails, and a status page that admits it."""
    bench.server.on("/token", Answer(503))
    bench.server.on("/status", as_json(summary("major", Log_in="major_outage")))
    step = StatusPage(name="status_page", url=f"{bench.server.url}/status", component="Log in", **members)  # type: ignore[arg-type]
    return bench.run(Token(name="token"), step)


def test_we_fail_and_they_admit_it(bench: Bench) -> None:
    """The page is read after a failure too; verdict and status stand side by side in every output."""
    result = failing(bench)
    assert (result.reason, result.failed_step) == (Reason.IDP_HTTP_5XX, "token")
    assert result.provider_status == ProviderStatus("degraded", "Log in: major outage; Delayed log-ins", "Log in")
    told = document([result], {}, 1)["flows"][0]
    assert told["provider_status"] == {
        "state": "degraded",
        "detail": "Log in: major outage; Delayed log-ins",
        "component": "Log in",
    }
    assert told["steps"][1]["provider_status"]["state"] == "degraded"
    assert flow_attributes(result)["otelprobe.provider.state"] == "degraded"
    text = render(result, width=120, color=False)
    assert "the provider's status page admits a problem: Log in: major outage; Delayed log-ins" in " ".join(
        text.split()
    )


def test_we_fail_and_they_do_not(bench: Bench) -> None:
    """That they show no problem is told as well: it is not known there yet, or it is ours."""
    bench.server.on("/token", Answer(503))
    bench.server.on("/status", as_json(summary()))
    result = bench.run(Token(name="token"), StatusPage(name="s", url=f"{bench.server.url}/status"))
    assert "the provider's status page shows no problem" in render(result, width=100, color=False)


def test_expectations_of_the_user_still_count(bench: Bench) -> None:
    """Whoever writes `max_duration` wants a failure; `always: false` leaves the page out after one."""
    bench.server.on("/status", as_json(summary()))
    slow = StatusPage(name="s", url=f"{bench.server.url}/status", expect=Expect(max_duration=1e-9))
    assert bench.run(slow).reason is Reason.TOO_SLOW
    assert last(failing(bench, always=False)).outcome is Outcome.SKIP
