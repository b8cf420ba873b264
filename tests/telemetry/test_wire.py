"""What is written by hand is read by the classes that protobuf generates, with nothing lost and nothing unknown."""

import pytest
from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet
from opentelemetry.proto.common.v1.common_pb2 import KeyValue

from otelprobe.telemetry import Telemetry, wire
from otelprobe.telemetry.resource import envelope
from tests.telemetry.receiver import REQUESTS, attributes, http_receiver, value
from tests.telemetry.samples import facts, failed, passed, rejecting, settings


def unsized(data: bytes) -> bytes:
    """Take the length off, which has to be that of the rest."""
    length, at = 0, 0
    while True:
        length |= (data[at] & 0x7F) << (7 * at)
        at += 1
        if data[at - 1] < 0x80:
            break
    assert length == len(data) - at
    return data[at:]


@pytest.mark.parametrize("number", [0, 1, 127, 128, 16383, 16384, 2**31, 2**63, 2**64 - 1])
def test_a_length_of_any_size_is_read_back(number):
    """Numbers of one to ten bytes come out as they went in."""
    written = wire.varint(number)
    assert sum((byte & 0x7F) << (7 * at) for at, byte in enumerate(written)) == number
    assert [byte >> 7 for byte in written] == [1] * (len(written) - 1) + [0]


@pytest.mark.parametrize(
    "given",
    [
        "",
        "plain",
        "Grüße \N{SNOWMAN} \N{PILE OF POO}",
        "x" * 127,
        "x" * 128,
        "x" * 70_000,
        True,
        False,
        0,
        1,
        -1,
        200,
        2**63 - 1,
        -(2**63),
        0.0,
        -0.5,
        1e300,
        float("inf"),
        (),
        ("one",),
        ("", "two", "x" * 300),
    ],
)
def test_every_kind_of_value_is_read_back(given):
    """Texts, truths, numbers and lists keep value and type; what is encoded again is what protobuf would have written."""
    data = unsized(wire.pair("a.name", given))
    read = KeyValue.FromString(data)
    found = value(read.value)
    assert read.key == "a.name"
    assert found == (list(given) if isinstance(given, tuple) else given)
    assert type(found) is (list if isinstance(given, tuple) else type(given))
    assert read.SerializeToString() == data


@pytest.mark.parametrize(
    ("given", "told"), [(2**80, 2**63 - 1), (-(2**80), -(2**63)), ("half \ud800 pair", "half ? pair")]
)
def test_what_no_field_can_hold_is_told_as_near_as_can_be(given, told):
    """Numbers beyond 64 bits and texts that are no Unicode do not cost the request they are in."""
    assert value(KeyValue.FromString(unsized(wire.pair("n", given))).value) == told


def test_true_and_one_are_not_the_same():
    """Values that Python calls equal keep their types, in whatever order they come."""
    read = [value(KeyValue.FromString(unsized(wire.pair("n", v))).value) for v in (1, True, 1.0, True, 1)]
    assert [type(v) for v in read] == [int, bool, float, bool, int]


@pytest.mark.parametrize(
    ("signal", "group", "scope"),
    [
        ("traces", "resource_spans", "scope_spans"),
        ("metrics", "resource_metrics", "scope_metrics"),
        ("logs", "resource_logs", "scope_logs"),
    ],
)
def test_a_request_names_where_it_comes_from(signal, group, scope):
    """Resource, scope and schema are around the items, and there is just one of each."""
    body = envelope({"service.name": "probe"}).request([wire.sized(b""), wire.sized(b"")])
    request = REQUESTS[signal].FromString(body)
    (outer,) = getattr(request, group)
    (inner,) = getattr(outer, scope)
    found = attributes(outer.resource)
    assert (found["service.name"], found["telemetry.sdk.name"]) == ("probe", "otelprobe")
    assert inner.scope.name == "otelprobe"
    assert inner.scope.version
    assert outer.schema_url == inner.schema_url != ""
    items = inner.ListFields()[1][1]
    assert len(items) == 2
    assert request.SerializeToString() == body


def unknown_fields(message: Message) -> int:
    """Count the fields of a message, and of all in it, that its class does not know."""
    inside = [m for f, v in message.ListFields() if f.message_type for m in (v if f.is_repeated else (v,))]
    return len(UnknownFieldSet(message)) + sum(map(unknown_fields, inside))


@pytest.mark.parametrize("mode", ["one_shot", "long_lived"])
def test_nothing_that_is_sent_is_unknown(mode):
    """No span, point or record of any result has a field that the OTLP classes do not know."""
    with http_receiver() as inbox:
        telemetry = Telemetry(settings(inbox.endpoint, mode=mode))
        telemetry.register([facts()])
        for result in (passed(), failed(), rejecting(accepted=True)):
            telemetry.publish(result)
        assert telemetry.close().complete
    for signal, requests in inbox.requests.items():
        assert requests, signal
        assert [unknown_fields(r) for r in requests] == [0] * len(requests)
    assert unknown_fields(KeyValue.FromString(b"\x78\x01")) == 1
