"""`WWW-Authenticate` read properly (RFC 9110, section 11; RFC 6750, section 3): several schemes, quoted commas and escapes."""

import re
from collections.abc import Iterable, Mapping
from itertools import islice

from otelprobe.quick import dataclass

_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"  # noqa: S105 - a grammar rule of RFC 9110
_PARAM = re.compile(rf'({_TOKEN})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|({_TOKEN}))')
_SCHEME = re.compile(rf"({_TOKEN})(?:\s+|$|(?=,))")
_TOKEN68 = re.compile(r"[A-Za-z0-9\-._~+/]+=*(?=\s*(?:,|$))")
_ESCAPE = re.compile(r"\\(.)")
_GAP = re.compile(r"[, \t]*")
_LONGEST_CODE = 64
_MOST, _LONGEST = 16, 8192
"""Header lines, and characters of each, that are read: more than any server sends."""


@dataclass(frozen=True, slots=True)
class Challenge:
    """One challenge: the scheme in lower case, its parameters with names in lower case."""

    scheme: str
    params: Mapping[str, str]

    @property
    def error(self) -> str | None:
        """The error code of RFC 6750, 9449 or 9470, if one was sent; safe to tell."""
        found = self.params.get("error")
        return readable_code(found) if found is not None else None


def readable_code(text: str) -> str:
    """Give an error code if it looks like one, else a word in its place: a server may repeat a token there."""
    like = len(text) <= _LONGEST_CODE and text.replace("_", "").isalpha() and text.islower() and text.isascii()
    return text if like or not text else "an unreadable code"


def parse_challenges(lines: Iterable[str]) -> tuple[Challenge, ...]:
    """Read every challenge of a raw header list. What cannot be read is passed over: a bad header is not a bad verdict."""
    return tuple(challenge for line in islice(lines, _MOST) for challenge in _parse_line(line[:_LONGEST].strip()))


def _parse_line(line: str) -> list[Challenge]:
    """Read one line from its start to its end, never twice over the same part: it may be long and made to cost time."""
    found: list[tuple[str, dict[str, str]]] = []
    at = 0
    while at < len(line):
        param = _PARAM.match(line, at) if found else None
        if param:
            value = _ESCAPE.sub(r"\1", param[2]) if param[2] is not None else param[3]
            found[-1][1][param[1].lower()] = value
            at = _next(line, param.end())
            continue
        scheme = _SCHEME.match(line, at)
        if not scheme:
            break
        found.append((scheme[1].lower(), {}))
        at = _next(line, scheme.end())
        token68 = _TOKEN68.match(line, at)
        if token68 and "=" not in token68[0].rstrip("=") and not _SCHEME.match(line, at):
            at = _next(line, token68.end())
    return [Challenge(scheme, params) for scheme, params in found]


def _next(line: str, at: int) -> int:
    """Give where the next word starts."""
    gap = _GAP.match(line, at)
    return gap.end() if gap else at


def bearer_challenge(challenges: Iterable[Challenge]) -> Challenge | None:
    """Give the Bearer or DPoP challenge, one with an error code first."""
    fitting = [c for c in challenges if c.scheme in {"bearer", "dpop"}]
    return next((c for c in fitting if c.error), next(iter(fitting), None))
