"""`WWW-Authenticate` read properly (RFC 9110, section 11; RFC 6750, section 3): several schemes, quoted commas and escapes."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"  # noqa: S105 - a grammar rule of RFC 9110
_PARAM = re.compile(rf'({_TOKEN})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|({_TOKEN}))')
_SCHEME = re.compile(rf"({_TOKEN})(?:\s+|$|(?=,))")
_TOKEN68 = re.compile(r"[A-Za-z0-9\-._~+/]+=*(?=\s*(?:,|$))")
_ESCAPE = re.compile(r"\\(.)")


@dataclass(frozen=True, slots=True)
class Challenge:
    """One challenge: the scheme in lower case, its parameters with names in lower case."""

    scheme: str
    params: Mapping[str, str]

    @property
    def error(self) -> str | None:
        """The error code of RFC 6750, 9449 or 9470, if one was sent."""
        return self.params.get("error")


def parse_challenges(lines: Iterable[str]) -> tuple[Challenge, ...]:
    """Read every challenge of a raw header list. What cannot be read is passed over: a bad header is not a bad verdict."""
    return tuple(challenge for line in lines for challenge in _parse_line(line))


def _parse_line(line: str) -> list[Challenge]:
    found: list[Challenge] = []
    rest = line.strip()
    while rest:
        param = _PARAM.match(rest)
        if param and found:
            value = _ESCAPE.sub(r"\1", param[2]) if param[2] is not None else param[3]
            found[-1] = Challenge(found[-1].scheme, {**found[-1].params, param[1].lower(): value})
            rest = rest[param.end() :].lstrip(", \t")
            continue
        scheme = _SCHEME.match(rest)
        if not scheme:
            break
        found.append(Challenge(scheme[1].lower(), {}))
        rest = rest[scheme.end() :].lstrip(", \t")
        token68 = _TOKEN68.match(rest)
        if token68 and "=" not in token68[0].rstrip("=") and not _SCHEME.match(rest):
            rest = rest[token68.end() :].lstrip(", \t")
    return found


def bearer_challenge(challenges: Iterable[Challenge]) -> Challenge | None:
    """Give the Bearer or DPoP challenge, one with an error code first."""
    fitting = [c for c in challenges if c.scheme in {"bearer", "dpop"}]
    return next((c for c in fitting if c.error), next(iter(fitting), None))
