"""What a flow file expects of an answer: one vocabulary for every step, and the check that names what did not hold."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import field
from typing import Annotated, Any, Literal

from otelprobe.fields import Duration, JsonPath, Regex, Scalar, Size, find_json, parse_regex
from otelprobe.http import Reply
from otelprobe.patterns import Pattern
from otelprobe.quick import dataclass
from otelprobe.reasons import CheckFailed, Reason

JsonType = Literal["string", "number", "integer", "boolean", "array", "object", "null"]
Json = str | int | float | bool | None

_KEYS = ("exists", "matches", "gt", "lt", "one_of", "type")
_COMPARE = re.compile(r"\s*([<>])\s*(-?\d+(?:\.\d+)?)\s*")
_STATUS = re.compile(r"[1-5]xx|[1-5][0-9][0-9]")
_LARGEST = 1e300


@dataclass(frozen=True, slots=True, kw_only=True)
class Matcher:
    """A condition on one value: equal to `equals`, or every one of the other members that is set.

    A comparison never prints the value that was found: it may be personal data.
    """

    equals: object = None
    by_value: bool = False
    exists: bool | None = None
    matches: Pattern | None = None
    gt: float | None = None
    lt: float | None = None
    one_of: tuple[Json, ...] | None = None
    type: JsonType | None = None

    def holds(self, found: list[object]) -> bool:
        """Tell whether the values that were found (none, one or several) fulfil the condition."""
        if self.exists is False:
            return not found
        return bool(found) and all(self._accepts(value) for value in found)

    def _accepts(self, value: object) -> bool:
        if self.by_value:
            return _equal(value, self.equals)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return all(
            (
                self.matches is None or (isinstance(value, str) and self.matches.found_in(value)),
                self.gt is None or (number and value > self.gt),  # type: ignore[operator] # `number` says it is one
                self.lt is None or (number and value < self.lt),  # type: ignore[operator] # `number` says it is one
                self.one_of is None or any(_equal(value, option) for option in self.one_of),
                self.type is None or _is_type(value, self.type),
            )
        )

    def words(self) -> str:
        """Say the condition as the flow file would."""
        if self.by_value:
            return f"equal to {self.equals!r}"
        parts = [f"{k} {getattr(self, k)!r}" for k in _KEYS if k != "matches" and getattr(self, k) is not None]
        if self.matches is not None:
            parts.append(f"matches {self.matches.text!r}")
        return ", ".join(parts)


def _equal(value: object, wanted: object) -> bool:
    """Compare as JSON does: true is not 1, but 1 equals 1.0."""
    return isinstance(value, bool) == isinstance(wanted, bool) and value == wanted


def _is_type(value: object, name: JsonType) -> bool:
    if isinstance(value, bool):
        return name == "boolean"
    kinds: Mapping[str, tuple[type, ...]] = {
        "string": (str,),
        "number": (int, float),
        "integer": (int,),
        "array": (list,),
        "object": (dict,),
        "null": (type(None),),
    }
    if name == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, kinds.get(name, ()))


def parse_matcher(value: object) -> Matcher:
    """Read a plain value as equality, a mapping as conditions."""
    if not isinstance(value, dict):
        return Matcher(equals=value, by_value=True)
    unknown = [k for k in value if k not in _KEYS]
    if unknown or not value:
        raise ValueError(f"a matcher is a plain value or a mapping of {', '.join(_KEYS)}")
    conditions: dict[str, Any] = {k: _condition(k, v) for k, v in value.items()}
    return Matcher(**conditions)


def _condition(key: str, value: object) -> object:
    if key == "matches":
        if not isinstance(value, str):
            raise ValueError("matches wants a regular expression as text")
        try:
            return parse_regex(value)
        except ValueError as error:
            raise ValueError(f"matches is {error}") from None
    if key in {"gt", "lt"} and (
        not isinstance(value, int | float) or isinstance(value, bool) or not -_LARGEST <= value <= _LARGEST
    ):
        raise ValueError(f"{key} wants a number")
    if key == "exists" and not isinstance(value, bool):
        raise ValueError("exists wants true or false")
    if key == "one_of":
        if not isinstance(value, list) or not value:
            raise ValueError("one_of wants a list of values")
        return tuple(value)
    if key == "type" and value not in JsonType.__args__:  # type: ignore[attr-defined] # a Literal has __args__
        raise ValueError("type wants one of string, number, integer, boolean, array, object, null")
    return value


def parse_statuses(value: object) -> tuple[str, ...]:
    """Read `200`, `2xx` or a list of them."""
    items = value if isinstance(value, list) else [value]
    texts = tuple(str(i) for i in items if not isinstance(i, bool))
    if not texts or len(texts) < len(items) or not all(_STATUS.fullmatch(t) for t in texts):
        raise ValueError("not a status: write 200, 2xx or a list such as [200, 204]")
    return texts


def status_matches(status: int, wanted: tuple[str, ...]) -> bool:
    """Tell whether a status is one of `200` or `2xx` forms."""
    return any(str(status) == w or (w.endswith("xx") and str(status)[0] == w[0]) for w in wanted)


def parse_comparison(value: object) -> tuple[str, float]:
    """Read `">0"` or `"<3600"`; a plain number means equal."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return "=", float(value)
    match = _COMPARE.fullmatch(value) if isinstance(value, str) else None
    if not match:
        raise ValueError('not a comparison: write ">0", "<3600" or a number of seconds')
    return match[1], float(match[2])


def comparison_holds(value: float, wanted: tuple[str, float]) -> bool:
    """Tell whether a number fulfils a comparison."""
    sign, limit = wanted
    return {"=": value == limit, ">": value > limit, "<": value < limit}[sign]


_MATCHER_SCHEMA = {
    "anyOf": [
        {"type": ["string", "number", "boolean", "null", "array"]},
        {
            "type": "object",
            "additionalProperties": False,
            "minProperties": 1,
            "properties": {
                "exists": {"type": "boolean"},
                "matches": {"type": "string", "format": "regex"},
                "gt": {"type": "number"},
                "lt": {"type": "number"},
                "one_of": {"type": "array", "minItems": 1},
                "type": {"enum": list(JsonType.__args__)},  # type: ignore[attr-defined] # a Literal has __args__
            },
        },
    ]
}
MATCHER = Scalar(parse_matcher, _MATCHER_SCHEMA)
_ONE_STATUS = {
    "anyOf": [
        {"type": "integer", "minimum": 100, "maximum": 599},
        {"type": "string", "pattern": "^[1-5](xx|[0-9]{2})$"},
    ]
}
STATUSES = Scalar(
    parse_statuses, {"anyOf": [*_ONE_STATUS["anyOf"], {"type": "array", "minItems": 1, "items": _ONE_STATUS}]}
)
COMPARISON = Scalar(
    parse_comparison, {"anyOf": [{"type": "number"}, {"type": "string", "pattern": f"^{_COMPARE.pattern}$"}]}
)

Statuses = Annotated[tuple[str, ...], STATUSES]
ValueMatcher = Annotated[Matcher, MATCHER]
Comparison = Annotated[tuple[str, float], COMPARISON]


@dataclass(frozen=True, slots=True, kw_only=True)
class Expect:
    """What every kind of step can expect of its answer. Nothing set means nothing is checked."""

    status: Statuses | None = None
    """`200`, `2xx`, or a list of them; the default depends on the kind of step."""

    headers: Mapping[str, ValueMatcher] = field(default_factory=dict)
    """Header name to value or matcher."""

    json: Mapping[JsonPath, ValueMatcher] = field(default_factory=dict)
    """JSONPath to value or matcher."""

    body: Regex | None = None
    """Regular expression, searched in the body's text."""

    max_duration: Duration | None = None
    """Longest time of the step, without control requests; a longer one is `too_slow`."""

    max_size: Size | None = None
    """Largest body."""

    max_clock_skew: Duration | None = None
    """Largest difference of the peer's `Date` and our clock; by default more than 30 s is a warning."""


def check_answer(reply: Reply, expect: Expect) -> None:
    """Check headers, JSON, body, size and skew; CheckFailed names every expectation that did not hold.

    The status is the step's own affair (it is read for blame first), the duration is checked by `run` when the step is over.
    """
    unmet = tuple(_unmet(reply, expect))
    if unmet:
        raise CheckFailed(Reason.ASSERTION_FAILED, "; ".join(unmet))
    skew = reply.exchange.clock_skew
    if expect.max_clock_skew is not None and skew is not None and abs(skew) > expect.max_clock_skew:
        raise CheckFailed(
            Reason.CLOCK_SKEW,
            f"{reply.exchange.host}'s clock is {skew:+.0f} s off, allowed {expect.max_clock_skew:g} s",
        )


def _unmet(reply: Reply, expect: Expect) -> Iterator[str]:
    for name, matcher in expect.headers.items():
        if not matcher.holds(list(reply.values(name))):
            yield f"header {name} is not {matcher.words()}"
    if expect.json:
        try:
            document = reply.json()
        except ValueError:
            yield f"the body is no JSON ({reply.media_type or 'no media type'})"
        else:
            for path, matcher in expect.json.items():
                if not matcher.holds(find_json(path, document)):
                    yield f"json {path} is not {matcher.words()}"
    if expect.body is not None and not expect.body.found_in(reply.text):
        yield f"the body does not match {expect.body.text!r}"
    if expect.max_size is not None and len(reply.body) > expect.max_size:
        yield f"the body has {len(reply.body)} bytes, allowed {expect.max_size}"
