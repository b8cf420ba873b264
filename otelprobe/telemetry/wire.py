"""OTLP's messages as bytes: protobuf's encoding, written directly for the few messages that are sent.

A message object for each attribute and point, filled in Python and only then serialised, is most of what telemetry costs,
though almost all of it is the same each time. Here an attribute is bytes at once, those that come again are kept, and
a span or a point is a few pieces put together. The numbers are those of the opentelemetry-proto files; the tests read all
that is sent with the classes generated from them.
"""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from struct import Struct

Value = str | bool | int | float | tuple[str, ...]

_KEPT = 4096
"""Attributes kept encoded, some 150 bytes each: those of a few hundred flows."""

_LEAST, _MOST = -(2**63), 2**63 - 1
_DOUBLE = Struct("<d")
_TRUE, _FALSE = b"\x12\x02\x10\x01", b"\x12\x02\x10\x00"


def varint(number: int) -> bytes:
    """Write a number that is not negative, seven bits to a byte."""
    if number < _SHORT:
        return _NUMBERS[number]
    return _groups(number)


def _groups(number: int) -> bytes:
    groups = bytearray()
    while number >= 0x80:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    groups.append(number)
    return bytes(groups)


_SHORT = 0x400
_NUMBERS = tuple(_groups(n) for n in range(_SHORT))
"""The numbers below, as most lengths are."""


def sized(data: bytes) -> bytes:
    """Write bytes, a text or a message with its length before it."""
    return varint(len(data)) + data


def text(words: str) -> bytes:
    """Write a text with its length; what is no Unicode (half a surrogate pair) is replaced."""
    return sized(words.encode("utf-8", "replace"))


def attributes(tag: bytes, pairs: Mapping[str, Value]) -> bytes:
    """Write attributes as the repeated field whose tag is given."""
    known = _TEXTS.get
    return fields(tag, [known(one) or pair(*one) for one in pairs.items()])


def fields(tag: bytes, sized_values: Iterable[bytes]) -> bytes:
    """Write a repeated field from values that have their length before them."""
    joined = tag.join(sized_values)
    return tag + joined if joined else b""


def pair(name: str, value: Value) -> bytes:
    """Write one attribute, a KeyValue, with its length. An integer beyond 64 bits is told as the last one that fits."""
    if isinstance(value, float):
        return _double_head(name) + _DOUBLE.pack(value)
    if isinstance(value, tuple | list):
        array = fields(b"\x0a", [sized(b"\x0a" + text(item)) for item in value])
        return sized(_key(name) + b"\x12" + sized(b"\x2a" + sized(array)))
    return _text(name, value) if isinstance(value, str) else _kept(name, value)


_TEXTS: dict[tuple[str, object], bytes] = {}
"""Texts written as attributes, for when they come again; begun anew when it is full, as an id of a run comes but twice."""


def _text(name: str, value: str) -> bytes:
    if len(_TEXTS) >= _KEPT:
        _TEXTS.clear()
    written = _TEXTS[name, value] = sized(_key(name) + b"\x12" + sized(b"\x0a" + text(value)))
    return written


@lru_cache(maxsize=_KEPT, typed=True)
def _kept(name: str, value: bool | int) -> bytes:
    """Write a pair that will come again; `typed`, as 1 and true are the same to a dict."""
    if isinstance(value, bool):
        return sized(_key(name) + (_TRUE if value else _FALSE))
    number = max(_LEAST, min(_MOST, value)) & 0xFFFFFFFFFFFFFFFF
    return sized(_key(name) + b"\x12" + sized(b"\x18" + varint(number)))


@lru_cache(maxsize=_KEPT)
def _double_head(name: str) -> bytes:
    """Write all of a pair that comes before its eight bytes of number."""
    key = _key(name) + b"\x12\x09\x21"
    return varint(len(key) + 8) + key


@lru_cache(maxsize=_KEPT)
def _key(name: str) -> bytes:
    return b"\x0a" + text(name)


class Envelope:
    """What is around the items of every request of one signal: the resource and the scope they come from."""

    def __init__(self, resource: Mapping[str, Value], scope: str, version: str, schema_url: str) -> None:
        self._resource = b"\x0a" + sized(attributes(b"\x0a", resource))
        self._scope = b"\x0a" + sized(b"\x0a" + text(scope) + b"\x12" + text(version))
        self._schema = b"\x1a" + text(schema_url)

    def request(self, items: Iterable[bytes]) -> bytes:
        """Write an export request of spans, log records or metrics, each given with its length before it."""
        scope = b"".join((self._scope, fields(b"\x12", items), self._schema))
        return b"\x0a" + sized(b"".join((self._resource, b"\x12", sized(scope), self._schema)))
