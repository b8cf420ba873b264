"""What is wrong with what the operator wrote: where it stands, and how to mend it. A value is never shown."""

import re
from collections.abc import Iterable

from otelprobe.quick import dataclass

Path = tuple[str | int, ...]
"""Where something stands in a document: keys and list indexes from the top."""

_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_LONGEST_KEY = 63


def path_text(path: Path) -> str:
    """Write a path as `flows[0].steps[2].expect.json["$.status"]`; a key too long to be a name is left out."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif _WORD.fullmatch(part) and len(part) <= _LONGEST_KEY:
            text += f".{part}" if text else part
        else:
            text += f'["{part}"]' if len(part) <= _LONGEST_KEY and part.isprintable() else "[...]"
    return text


def nearest(word: object, known: Iterable[str]) -> str | None:
    """Give the known word that is most like a mistyped one, or None if none is near."""
    from difflib import get_close_matches  # noqa: PLC0415 - only a faulty file needs it

    names = list(known)
    text = str(word)
    lower = {name.lower(): name for name in names}
    found = get_close_matches(text.lower().replace("-", "_"), lower, n=1, cutoff=0.6)
    return lower[found[0]] if found else None


def suggest(word: object, known: Iterable[str]) -> str:
    """Give the end of a message about an unknown word: the nearest known one, else all of them."""
    names = list(known)
    near = nearest(word, names)
    if near is not None:
        return f"did you mean {near}?"
    return f"known: {', '.join(names)}" if names else "none is known here"


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing to mend. `line` and `column` count from 1; `line` is None where the fault is not in a line of a file."""

    file: str
    line: int | None
    path: str
    message: str
    column: int | None = None

    def __str__(self) -> str:
        place = ":".join(str(p) for p in (self.file, self.line, self.column) if p is not None)
        return ": ".join(p for p in (place, self.path, self.message) if p)


class ConfigError(Exception):
    """The flow files or the settings are wrong; `faults` lists everything that is, `str()` prints one fault a line."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults: tuple[Fault, ...] = tuple(sorted(faults, key=_place))
        super().__init__("\n".join(str(fault) for fault in self.faults))


def _place(fault: Fault) -> tuple[str, int, int, str, str]:
    return fault.file, fault.line or 0, fault.column or 0, fault.path, fault.message
