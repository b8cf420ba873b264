"""Status pages in the forms that providers publish, read to one of two states; what cannot be read is a ValueError.

Texts of a page are told only in small, cleaned pieces: they are somebody else's prose.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Literal

from otelprobe.quick import dataclass

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

Format = Literal["auto", "statuspage", "atom", "rss", "aws", "google"]

_MOST_TOLD = 3
_LONGEST = 120
_BLEND = {"none": False, "minor": True, "major": True, "critical": True, "maintenance": True}
_COMPONENT = {
    "operational": False,
    "degraded_performance": True,
    "partial_outage": True,
    "major_outage": True,
    "full_outage": True,
    "under_maintenance": True,
}
_INSTATUS = {"UP": False, "HASISSUES": True, "UNDERMAINTENANCE": True}
_OVER_BY_TITLE = re.compile(r"\b(?:resolved|completed|closed|mitigated|post-?mortem)\b", re.IGNORECASE)
_OVER_BY_TEXT = re.compile(
    r"\b(?:resolved|completed|mitigated|closed)\s*[-\u2013\u2014:\]]"
    r"|\b(?:has|have) been (?:fully )?(?:resolved|mitigated|fixed|restored)"
    r"|\b(?:is|are) (?:now )?(?:fully )?(?:operational|operating normally)|\ball clear\b|\bno longer (?:seeing|experiencing)",
    re.IGNORECASE,
)
"""What says that it is over. A mere "until it is resolved" in a text does not."""

_PLANNED = re.compile(r"\bscheduled\b", re.IGNORECASE)
_UNDER_WAY = re.compile(r"\bin progress\b", re.IGNORECASE)
_TAG = re.compile(r"<[^<>]*>")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\s]+")
_DECLARATION = re.compile(r"<!\s*(?:DOCTYPE|ENTITY|ELEMENT|ATTLIST|NOTATION)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Reading:
    """What a page says: whether it admits a problem, and which."""

    degraded: bool
    detail: str = ""


def warm_up() -> None:
    """Import what feeds are read with."""
    from xml.etree import ElementTree as ET  # noqa: F401, PLC0415 - only status pages need it


def read_status(text: str, form: Format, component: str | None, now: float, max_age: float) -> Reading:
    """Read a page; ValueError says in a few words of ours why it cannot be read.

    `max_age`: entries of a feed that are older, in seconds, are taken for closed, also where nobody wrote so.
    """
    text = text.lstrip("\ufeff \t\r\n")
    if form == "auto":
        form = _form_of(text)
    if form in {"atom", "rss"}:
        return _from_feed(_parse_xml(text), component, now, max_age)
    document = _parse_json(text)
    if form == "statuspage":
        return _from_statuspage(document, component)
    if not isinstance(document, list):
        raise ValueError("the answer is no list of events")
    return _from_events(document, component, _aws if form == "aws" else _google)


def _form_of(text: str) -> Format:
    if text.startswith("<"):
        start = text[:512].lower()
        if start.startswith("<!doctype html") or "<html" in start:
            raise ValueError("a web page where a status document is due: use its JSON or feed address")
        return "atom"
    if text.startswith("["):
        first = next((e for e in _parse_list(text) if isinstance(e, dict)), {})
        return "google" if first.keys() & {"begin", "external_desc", "status_impact"} else "aws"
    return "statuspage"


def _parse_list(text: str) -> list[object]:
    document = _parse_json(text)
    return document if isinstance(document, list) else []


def _parse_json(text: str) -> object:
    try:
        document: object = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("the answer is no JSON") from None
    return document


# --- Statuspage (Atlassian), and those that answer in its manner ---


def _from_statuspage(document: object, component: str | None) -> Reading:
    if not isinstance(document, dict):
        raise ValueError("the answer is no JSON object")
    if component is not None:
        return _component(document, component)
    status, page = document.get("status"), document.get("page")
    indicator = status.get("indicator") if isinstance(status, dict) else None
    if isinstance(status, dict) and isinstance(indicator, str) and indicator in _BLEND:
        degraded = _BLEND[indicator]
        return Reading(degraded, _told([status.get("description"), *_titles(document)]) if degraded else "")
    whole = page.get("status") if isinstance(page, dict) else None
    if isinstance(whole, str) and whole in _INSTATUS:
        return Reading(_INSTATUS[whole], _told(_titles(document)))
    states = [(str(c.get("name")), str(c.get("status"))) for c in _dicts(document.get("components"))]
    if states and all(state in _COMPONENT for _, state in states):
        bad = [f"{name}: {state.replace('_', ' ')}" for name, state in states if _COMPONENT[state]]
        return Reading(bool(bad), _told(bad))
    raise ValueError("the answer has no status that is known")


def _component(document: Mapping[str, object], wanted: str) -> Reading:
    """Read one component, by name or id; where several have the name, the worst of them."""
    if not isinstance(document.get("components"), list):
        raise ValueError("the answer lists no components: use the address that ends in /api/v2/summary.json")
    named = [c for c in _dicts(document["components"]) if wanted.lower() in _idents(c)]
    if not named:
        raise ValueError("the page has no component of that name")
    states = [str(c.get("status", "")) for c in named]
    if not all(state in _COMPONENT for state in states):
        raise ValueError("the component has no status that is known")
    bad = [state for state in states if _COMPONENT[state]]
    return Reading(bool(bad), _told([f"{wanted}: {bad[0].replace('_', ' ')}", *_titles(document)]) if bad else "")


def _idents(component: Mapping[str, object]) -> set[str]:
    return {str(component.get(key, "")).strip().lower() for key in ("name", "id")}


def _titles(document: Mapping[str, object]) -> Iterator[object]:
    for member in ("incidents", "activeIncidents"):
        yield from (incident.get("name") for incident in _dicts(document.get(member)))


def _dicts(value: object) -> list[dict[str, object]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


# --- lists of events: AWS and Google ---

_Judge = Callable[[Mapping[str, object]], tuple[bool, str, object]]


def _from_events(document: Sequence[object], component: str | None, judge: _Judge) -> Reading:
    """Read a list of events; one that is no event at all makes the whole list unreadable."""
    if not all(isinstance(event, dict) for event in document):
        raise ValueError("the answer is no list of events")
    told: list[object] = []
    for event in _dicts(document):
        is_open, words, title = judge(event)
        if is_open and _about(words, component):
            told.append(title)
    return Reading(bool(told), _told(told))


def _aws(event: Mapping[str, object]) -> tuple[bool, str, object]:
    """Read one of the events of health.aws.amazon.com: open unless its status is "0" or it has an end."""
    if not event.keys() & {"status", "startTime"} or not event.keys() & {"service", "arn"}:
        raise ValueError("the answer is no list of AWS events")
    words = " ".join(str(event.get(key, "")) for key in ("service", "service_name", "arn", "region_name", "region"))
    is_open = str(event.get("status")) != "0" and not event.get("endTime")
    return is_open, words, ": ".join(str(event[key]) for key in ("service", "summary", "typeCode") if event.get(key))


def _google(event: Mapping[str, object]) -> tuple[bool, str, object]:
    """Read one of Google's incidents: open while it has no end; those for information only do not count."""
    if "begin" not in event and "external_desc" not in event:
        raise ValueError("the answer is no list of Google incidents")
    products = [str(p.get("title", p.get("id", ""))) for p in _dicts(event.get("affected_products"))]
    words = " ".join([*products, str(event.get("service_name", ""))])
    is_open = not event.get("end") and event.get("status_impact") != "SERVICE_INFORMATION"
    return is_open, words, event.get("external_desc") or event.get("service_name")


def _about(words: str, component: str | None) -> bool:
    """Tell whether a text speaks of a component: it holds each of its words."""
    return component is None or all(word in words.lower() for word in component.lower().split())


# --- feeds ---


def _parse_xml(text: str) -> "Element":
    """Parse XML of which no declaration is accepted: so there is no entity to expand and nothing to fetch.

    The text was decoded before, so what is looked through here is what is parsed.
    """
    from xml.etree import ElementTree as ET  # noqa: PLC0415 - only feeds need it

    if _DECLARATION.search(text):
        raise ValueError("a feed with a document type declaration, which is refused")
    try:
        return ET.fromstring(text)  # noqa: S314 - without declarations there are no entities
    except (ET.ParseError, ValueError):
        raise ValueError("the answer is no XML") from None


def _from_feed(root: "Element", component: str | None, now: float, max_age: float) -> Reading:
    if _local(root) not in {"feed", "rss", "RDF"}:
        raise ValueError("the answer is neither an Atom nor an RSS feed")
    entries = [e for e in root.iter() if _local(e) in {"entry", "item"}]
    told = [_said(e, "title") for e in entries if _is_open(e, component, now, max_age)]
    return Reading(bool(told), _told(told))


def _is_open(entry: "Element", component: str | None, now: float, max_age: float) -> bool:
    """Tell whether an entry speaks of a problem that is not over.

    Feeds have no member for that, so the words decide: of the title, and of the latest update, which stands first.
    """
    title = _said(entry, "title")
    body = " ".join(_said(entry, name) for name in ("content", "description", "summary", "encoded"))
    if not _about(f"{title} {body}", component):
        return False
    if _OVER_BY_TITLE.search(title) or _OVER_BY_TEXT.search(_latest(body)):
        return False
    if _PLANNED.search(title) and not _UNDER_WAY.search(_latest(body)):
        return False
    when = _time(entry)
    return when is None or now - when <= max_age


def _latest(body: str) -> str:
    return _TAG.sub(" ", body)[:400]


def _time(entry: "Element") -> float | None:
    for name in ("updated", "pubDate", "published", "date"):
        text = _said(entry, name)
        try:
            found = parsedate_to_datetime(text) if "," in text else datetime.fromisoformat(text)
            return (found.replace(tzinfo=UTC) if found.tzinfo is None else found).timestamp()
        except (ValueError, OverflowError):
            continue
    return None


def _said(entry: "Element", name: str) -> str:
    return next(("".join(child.itertext()).strip() for child in entry if _local(child) == name), "")


def _local(element: "Element") -> str:
    return str(element.tag).rpartition("}")[2]


def _told(texts: Iterable[object]) -> str:
    """Join a few texts of the page: no tags, no control characters, none of them long."""
    found = [_UNPRINTABLE.sub(" ", _TAG.sub(" ", text)).strip() for text in texts if isinstance(text, str)]
    kept = list(dict.fromkeys(text[:_LONGEST] for text in found if text))
    more = f"; and {len(kept) - _MOST_TOLD} more" if len(kept) > _MOST_TOLD else ""
    return "; ".join(kept[:_MOST_TOLD]) + more
