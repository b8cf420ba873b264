"""What a person would see of a page in a browser: its forms as they stand, filled in and sent by hand."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import field
from typing import Any
from urllib.parse import urljoin

from otelprobe.chromium import Chromium, RefusedError
from otelprobe.form_rules import Choice
from otelprobe.quick import dataclass
from otelprobe.webform import Button, Control, Form, Page

_MOST = 500
_LOOK = """(() => {
  const all = [];
  const walk = (root) => {
    for (const e of root.querySelectorAll('*')) { all.push(e); if (e.shadowRoot) walk(e.shadowRoot); }
  };
  walk(document);
  const seen = (e) => {
    const box = e.getBoundingClientRect();
    return box.width > 0 && box.height > 0 && getComputedStyle(e).visibility === 'visible';
  };
  const words = (...parts) => parts.filter((p) => typeof p === 'string' && p).join(' ').slice(0, 400);
  const held = all.filter((e) => e.matches('input,select,textarea,button,[role=button]')).slice(0, LIMIT);
  globalThis.held = held;
  const kindOf = (e) => e.matches('select,textarea') ? e.localName
    : e.localName === 'input' ? (e.type || 'text') : (e.localName === 'button' ? e.type : 'button');
  const labelOf = (e) => words(e.innerText, e.value, e.getAttribute('aria-label')).trim().slice(0, 200);
  const nameOf = (e) => e.name || e.id || e.autocomplete || e.getAttribute('aria-label') || e.placeholder || '';
  const forms = all.filter((e) => e.localName === 'form');
  const group = (form) => {
    const own = held.map((e, i) => [e, i]).filter(([e]) => (e.form ?? e.closest('form')) === form);
    const buttons = own.filter(([e]) => ['submit', 'image', 'button'].includes(kindOf(e)) && !e.disabled && seen(e));
    const submits = buttons.filter(([e]) => kindOf(e) !== 'button');
    return {
      action: form ? (form.getAttribute('action') ?? '') : '', method: form ? form.method : 'post',
      enctype: form ? form.enctype : '', words: form ? words(form.id, form.getAttribute('name'), form.className) : '',
      controls: own.filter(([e]) => !['submit', 'image', 'button', 'reset', 'file'].includes(kindOf(e)))
        .filter(([e]) => !e.disabled && nameOf(e) && (kindOf(e) === 'hidden' || seen(e)))
        .map(([e, i]) => ({ i, name: nameOf(e), kind: kindOf(e), value: e.value ?? '', editable: !e.readOnly,
          sent: !['checkbox', 'radio'].includes(kindOf(e)) || e.checked, hint: words(e.id, e.autocomplete) })),
      buttons: (submits.length ? submits : buttons)
        .map(([e, i]) => ({ i, name: e.name ?? '', value: e.value ?? '', label: labelOf(e), id: e.id })),
    };
  };
  const made = forms.map(group);
  const free = group(null);
  if (free.controls.some((c) => c.kind !== 'hidden')) made.push(free);
  return JSON.stringify({ forms: made, url: location.href, ready: document.readyState,
    text: document.documentElement ? document.documentElement.outerHTML.slice(0, 200000) : '' });
})()""".replace("LIMIT", str(_MOST))

_FOCUS = """((e) => {
  if (!e || !e.isConnected) return null;
  if (e.matches('input[type=checkbox],input[type=radio]')) return 'box';
  if (e.matches('select')) return 'select';
  e.scrollIntoView({ block: 'center' }); e.focus(); if (e.select) e.select();
  return 'text';
})(globalThis.held[%d])"""
_SELECT = """((e, value) => {
  e.value = value;
  for (const name of ['input', 'change']) e.dispatchEvent(new Event(name, { bubbles: true }));
})(globalThis.held[%d], %s)"""
_TICK = "((e, on) => { if (e.checked !== on) e.click(); })(globalThis.held[%d], %s)"
_PLACE = """((e) => {
  if (!e || !e.isConnected) return null;
  e.scrollIntoView({ block: 'center' });
  const box = e.getBoundingClientRect();
  const x = box.x + box.width / 2, y = box.y + box.height / 2;
  const top = e.getRootNode().elementFromPoint(x, y);
  return top && (e.contains(top) || top.contains(e)) ? [x, y] : [];
})(globalThis.held[%d])"""
_CLICK = "globalThis.held[%d].click()"
_SUBMIT = "((e) => { if (e && e.form) e.form.requestSubmit(); })(globalThis.held[%d])"


@dataclass(frozen=True, slots=True)
class Look:
    """One look at a page: its forms, its URL and its text as they stand. `elements` tells each control's place in the page."""

    page: Page
    url: str = field(repr=False)
    text: str = field(repr=False)
    ready: bool
    elements: tuple[Mapping[str, int], ...]
    buttons: tuple[tuple[int, ...], ...]


class BrowserPage:
    """The one page of a browser, looked at and typed into from a world of its own that the page's scripts do not see."""

    def __init__(self, browser: Chromium) -> None:
        self._browser = browser
        self._frame = str(browser.call("Page.getFrameTree")["frameTree"]["frame"]["id"])
        self._context: int | None = None

    @property
    def frame(self) -> str:
        """The id of the main frame."""
        return self._frame

    def moved(self) -> None:
        """Forget the page that was there: another one has come."""
        self._context = None

    def look(self) -> Look | None:
        """Look at the page; None while there is none to look at."""
        try:
            told = json.loads(self._run(_LOOK))
        except (RefusedError, TypeError, ValueError):
            self._context = None
            return None
        forms = tuple(_forms(told))
        return Look(
            page=Page(tuple(forms), None, scripted=False),
            url=str(told["url"]),
            text=str(told["text"]),
            ready=told["ready"] != "loading",
            elements=tuple({c["name"]: c["i"] for c in reversed(form["controls"])} for form in told["forms"]),
            buttons=tuple(tuple(b["i"] for b in form["buttons"]) for form in told["forms"]),
        )

    def send(self, look: Look, choice: Choice) -> None:
        """Fill in a form and press its button, as a person does; RefusedError if the page has changed under our hands."""
        number = look.page.forms.index(choice.form)
        elements = look.elements[number]
        for name, value in choice.values.items():
            self._fill(elements[name], value)
        if choice.button is not None:
            self._press(look.buttons[number][choice.form.buttons.index(choice.button)])
        elif choice.values:
            self._key("Enter", 13)
        elif elements:
            self._run(_SUBMIT % next(iter(elements.values())))

    def _fill(self, element: int, value: str) -> None:
        kind = self._run(_FOCUS % element)
        if kind == "text":
            self._key("Backspace", 8)
            self._browser.call("Input.insertText", {"text": value})
        elif kind == "select":
            self._run(_SELECT % (element, json.dumps(value)))
        elif kind == "box":
            self._run(_TICK % (element, "true" if value else "false"))
        else:
            raise RefusedError("fill")

    def _press(self, element: int) -> None:
        """Press where the button is; where something lies over it, let the page press it itself."""
        place = self._run(_PLACE % element)
        if place is None:
            raise RefusedError("press")
        if not place:
            self._run(_CLICK % element)
            return
        at = {"x": place[0], "y": place[1], "button": "left", "clickCount": 1}
        for kind in ("mousePressed", "mouseReleased"):
            self._browser.press("Input.dispatchMouseEvent", {"type": kind, **at})

    def _key(self, key: str, code: int) -> None:
        text = {"text": "\r"} if key == "Enter" else {}
        at = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        self._browser.press("Input.dispatchKeyEvent", {"type": "keyDown", **at, **text})
        self._browser.press("Input.dispatchKeyEvent", {"type": "keyUp", **at})

    def _run(self, expression: str) -> Any:
        if self._context is None:
            world = {"frameId": self._frame, "worldName": "otelprobe"}
            self._context = int(
                self._browser.call("Page.createIsolatedWorld", world, seconds=2.0)["executionContextId"]
            )
        return self._browser.evaluate(expression, self._context)


def _forms(told: Mapping[str, Any]) -> Iterator[Form]:
    for form in told["forms"]:
        yield Form(
            action=_joined(str(told["url"]), str(form["action"])),
            method="POST" if str(form["method"]).lower() == "post" else "GET",
            enctype=str(form["enctype"]),
            words=str(form["words"]),
            controls=tuple(
                Control(c["name"], c["kind"], c["value"], bool(c["sent"]), bool(c["editable"]), c["hint"])
                for c in form["controls"]
            ),
            buttons=tuple(Button(b["name"], b["value"], b["label"], b["id"]) for b in form["buttons"]),
        )


def _joined(base: str, link: str) -> str:
    try:
        return urljoin(base, link)
    except ValueError:
        return base
