"""The forms of a web page: read, filled and sent as a browser without scripts would do it (HTML, section 4.10)."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field
from secrets import token_hex
from typing import Any
from urllib.parse import urlencode, urljoin, urlsplit, urlunsplit

from otelprobe.quick import dataclass
from otelprobe.reasons import CheckFailed, Reason

MISSING = 'reading the pages of a log-in needs lxml: pip install "otelprobe[forms]"'

_TYPED = frozenset({"text", "email", "tel", "number", "password", "search", "url", "textarea"})
"""Kinds of field that a person types into."""

_BUTTONS = frozenset({"submit", "image"})
_UNSENT = frozenset({"button", "reset", "file"})
_CONTROLS = ("input", "select", "textarea", "button")
_REFRESH = re.compile(r"\s*[\d.]*\s*[;,]\s*url\s*=\s*[\"']?([^\"']+)", re.IGNORECASE)
_MOST_CONTROLS = 5000


@dataclass(frozen=True, slots=True)
class Control:
    """One named field of a form. `kind` is its type; `sent` says that it is sent as it stands (a box that is ticked)."""

    name: str
    kind: str
    value: str = field(repr=False)
    sent: bool = True
    editable: bool = True
    hint: str = ""

    @property
    def typed(self) -> bool:
        """Whether a person types into it."""
        return self.editable and self.kind in _TYPED


@dataclass(frozen=True, slots=True)
class Button:
    """One button that sends a form: what it adds, and what it can be known by."""

    name: str
    value: str = field(repr=False)
    label: str
    id: str

    @property
    def words(self) -> str:
        """All that it says."""
        return _words(self.name, self.value, self.label, self.id)


@dataclass(frozen=True, slots=True)
class Form:
    """A form: where and how it is sent, its fields in order, its buttons. `words` are its own id, name and class."""

    action: str = field(repr=False)
    method: str
    enctype: str
    words: str
    controls: tuple[Control, ...] = ()
    buttons: tuple[Button, ...] = ()

    def typed(self) -> tuple[Control, ...]:
        """Give the fields that a person types into."""
        return tuple(c for c in self.controls if c.typed)

    def values(self) -> dict[str, str]:
        """Give what would be sent as the form stands, hidden fields included."""
        return {c.name: c.value for c in self.controls if c.sent}

    def pairs(self, values: Mapping[str, str], button: Button | None) -> list[tuple[str, str]]:
        """Give what is sent with these fields filled in, each once, and this button pressed."""
        found: list[tuple[str, str]] = []
        filled: set[str] = set()
        for control in self.controls:
            if control.name in values:
                if control.name not in filled:
                    found.append((control.name, values[control.name]))
                filled.add(control.name)
            elif control.sent:
                found.append((control.name, control.value))
        return [*found, (button.name, button.value)] if button is not None and button.name else found


@dataclass(frozen=True, slots=True)
class Page:
    """What matters of a page: its forms, where it leads by itself, and whether scripts are in it."""

    forms: tuple[Form, ...]
    refresh: str | None = field(repr=False)
    scripted: bool


def load_parser() -> None:
    """Import the HTML parser; CheckFailed(config_error) names the extra if it is not installed."""
    _html()


def _html() -> Any:
    try:
        from lxml import html  # type: ignore[import-untyped] # noqa: PLC0415 - an optional extra, imported at first use
    except ImportError:
        html = None
    if html is None:
        raise CheckFailed(Reason.CONFIG_ERROR, MISSING)
    return html


def read_page(text: str, url: str) -> Page:
    """Read a page that came from `url`, however broken it is; what cannot be parsed at all has no forms.

    The parser is libxml2's: the one in Python's standard library takes minutes over some pages of a megabyte.
    """
    html = _html()
    parser = html.HTMLParser(encoding="utf-8", no_network=True, remove_comments=True, remove_pis=True)
    try:
        root = html.document_fromstring(text.encode("utf-8", "replace"), parser=parser)
    except (ValueError, html.etree.LxmlError):
        return Page((), None, scripted=False)
    base = _joined(url, next((e.get("href") for e in root.iter("base") if e.get("href")), ""))
    return Page(tuple(_forms(root, base, url)), _refresh(root, base), next(root.iter("script"), None) is not None)


def _forms(root: Any, base: str, url: str) -> Iterator[Form]:
    elements = list(root.iter("form"))
    owned: dict[Any, list[Any]] = {element: [] for element in elements}
    by_id = {element.get("id"): element for element in reversed(elements) if element.get("id")}
    for number, control in enumerate(root.iter(*_CONTROLS)):
        named = control.get("form")
        owner = by_id.get(named) if named else next(control.iterancestors("form"), None)
        if owner is not None and number < _MOST_CONTROLS:
            owned[owner].append(control)
    for element, controls in owned.items():
        action = (element.get("action") or "").strip()
        yield Form(
            action=_joined(base, action) if action else url,
            method="POST" if (element.get("method") or "").strip().lower() == "post" else "GET",
            enctype=(element.get("enctype") or "").strip().lower(),
            words=_words(element.get("id"), element.get("name"), element.get("class"), action.partition("?")[0]),
            controls=tuple(c for element in controls for c in _controls(element)),
            buttons=tuple(b for element in controls for b in _buttons(element)),
        )


def _controls(element: Any) -> Iterator[Control]:
    name, kind = element.get("name"), _kind(element)
    if not name or element.get("disabled") is not None or kind in _BUTTONS | _UNSENT:
        return
    value, sent = _value(element, kind)
    hint = _words(element.get("id"), element.get("autocomplete"))
    yield Control(name, kind, value, sent, editable=element.get("readonly") is None, hint=hint)


def _kind(element: Any) -> str:
    tag = str(element.tag)
    if tag == "input":
        return str(element.get("type") or "text").strip().lower()
    return str(element.get("type") or "submit").strip().lower() if tag == "button" else tag


def _value(element: Any, kind: str) -> tuple[str, bool]:
    """Give a field's value, and whether it is sent as it stands."""
    if kind == "select":
        options = list(element.iter("option"))
        chosen = [o for o in options if o.get("selected") is not None] or options[:1]
        value = chosen[0].get("value") if chosen else None
        return (value if value is not None else _text(chosen[0]) if chosen else ""), bool(chosen)
    if kind == "textarea":
        return (element.text or "").removeprefix("\n"), True
    if kind in {"checkbox", "radio"}:
        return element.get("value", "on"), element.get("checked") is not None
    return element.get("value", ""), True


def _buttons(element: Any) -> Iterator[Button]:
    if _kind(element) not in _BUTTONS or element.get("disabled") is not None:
        return
    name, value = element.get("name") or "", element.get("value") or ""
    label = _text(element) if element.tag == "button" else value
    yield Button(name, value, label, element.get("id") or "")


def _text(element: Any) -> str:
    return " ".join(str(element.text_content()).split())[:200]


def _words(*parts: str | None) -> str:
    return " ".join(part for part in parts if part)[:400]


def _refresh(root: Any, base: str) -> str | None:
    for meta in root.iter("meta"):
        match = _REFRESH.match(meta.get("content") or "")
        if (meta.get("http-equiv") or "").strip().lower() == "refresh" and match:
            return _joined(base, match[1].strip())
    return None


def _joined(base: str, link: str) -> str:
    """Resolve a link; one that cannot be read leads where it stands."""
    try:
        return urljoin(base, link.strip()) if link else base
    except ValueError:
        return base


def encode(form: Form, pairs: Iterable[tuple[str, str]]) -> tuple[str, bytes | None, str]:
    """Give the URL, the body and its media type with which a form is sent; for GET the fields go into the query."""
    if form.method == "GET":
        return urlunsplit(urlsplit(form.action)._replace(query=urlencode(list(pairs)), fragment="")), None, ""
    if form.enctype == "multipart/form-data":
        boundary = f"otelprobe-{token_hex(16)}"
        parts = [_part(boundary, name, value) for name, value in pairs]
        return form.action, f"{''.join(parts)}--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"
    return form.action, urlencode(list(pairs)).encode(), "application/x-www-form-urlencoded"


def _part(boundary: str, name: str, value: str) -> str:
    safe = name.replace("\r", "%0D").replace("\n", "%0A").replace('"', "%22")
    return f'--{boundary}\r\nContent-Disposition: form-data; name="{safe}"\r\n\r\n{value}\r\n'
