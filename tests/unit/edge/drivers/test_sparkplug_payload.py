from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.drivers.sparkplug.metrics import DataType, Metric, Payload, number
from edge.drivers.sparkplug.payload import PayloadError, decode, encode
from edge.drivers.sparkplug.topics import MessageType, Node, parse_place, parse_topic

AT = 1_795_298_400_000


def varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def field(number_: int, kind: int, value: bytes | int) -> bytes:
    head = varint(number_ << 3 | kind)
    if isinstance(value, int):
        return head + varint(value)
    return head + (varint(len(value)) if kind == 2 else b"") + value


def test_the_bytes_of_the_specification_are_read() -> None:
    """Written by hand from the field numbers of the specification, with a data set (17) and metadata (8) on the way."""
    unit = field(1, 2, b"engUnit") + field(2, 2, field(1, 0, 12) + field(8, 2, b"kWh"))
    quality = field(1, 2, b"Quality") + field(2, 2, field(1, 0, 3) + field(3, 0, 500))
    metric = (
        field(1, 2, b"Energy/Import")
        + field(2, 0, 7)
        + field(3, 0, AT)
        + field(4, 0, 10)
        + field(5, 0, 1)
        + field(8, 2, b"\x0a\x01x")
        + field(9, 2, unit + quality)
        + field(13, 1, struct.pack("<d", 10234.5))
    )
    other = field(2, 0, 8) + field(6, 0, 1) + field(7, 0, 1) + field(17, 2, b"\x08\x01")
    data = field(1, 0, AT + 1) + field(2, 2, metric) + field(2, 2, other) + field(3, 0, 255) + field(4, 2, b"uuid")

    assert decode(data) == Payload(
        at_ms=AT + 1,
        seq=255,
        metrics=(
            Metric(
                name="Energy/Import",
                alias=7,
                at_ms=AT,
                datatype=10,
                value=10234.5,
                unit="kWh",
                quality=500,
                is_historical=True,
            ),
            Metric(alias=8, is_transient=True, is_null=True),
        ),
    )


@pytest.mark.parametrize(
    ("raw", "datatype", "expected"),
    [
        (2**32 - 1, DataType.INT8, -1),
        (255, DataType.INT8, -1),
        (2**32 - 300, DataType.INT16, -300),
        (2**31, DataType.INT32, -(2**31)),
        (2**64 - 5, DataType.INT64, -5),
        (200, DataType.UINT8, 200),
        (2**32 - 1, DataType.UINT32, 2**32 - 1),
        (2**63, DataType.UINT64, 2**63),
        (1.5, DataType.FLOAT, 1.5),
        (float("nan"), DataType.DOUBLE, None),
        (1.5, DataType.INT32, None),
        (7, DataType.DOUBLE, None),
        (True, DataType.BOOLEAN, None),
        ("7", DataType.STRING, None),
        (AT, 13, None),
        (7, None, None),
        (None, DataType.DOUBLE, None),
    ],
)
def test_numbers_by_their_type(raw: float | bool | str | None, datatype: int | None, expected: float | None) -> None:
    assert number(raw, datatype) == expected


INTEGERS = {DataType.INT8: (-128, 127), DataType.INT32: (-(2**31), 2**31 - 1), DataType.UINT64: (0, 2**64 - 1)}


@given(st.sampled_from(sorted(INTEGERS)).flatmap(lambda t: st.tuples(st.just(t), st.integers(*INTEGERS[t]))))
def test_what_is_encoded_comes_back(said: tuple[DataType, int]) -> None:
    datatype, value = said
    found = decode(encode(Payload(at_ms=AT, seq=3, metrics=(Metric(name="a", datatype=datatype, value=value),))))

    assert number(found.metrics[0].value, datatype) == value


def test_what_is_no_utf_8_is_text_all_the_same() -> None:
    latin = "°C".encode("latin-1")
    unit = field(1, 2, b"engUnit") + field(2, 2, field(8, 2, latin))
    metric = field(1, 2, b"Temp " + latin) + field(4, 0, 10) + field(9, 2, unit) + field(15, 2, latin)

    found = decode(field(2, 2, metric)).metrics[0]

    assert (found.name, found.unit, found.value) == ("Temp \ufffdC", "\ufffdC", "\ufffdC")
    assert number(found.value, found.datatype) is None


@given(st.binary(max_size=200))
def test_any_bytes_are_a_payload_or_refused(data: bytes) -> None:
    try:
        decode(data)
    except PayloadError:
        return


def test_topics() -> None:
    node = Node(group="hall", node="gateway")

    assert parse_topic("spBv1.0/hall/DDATA/gateway/oven") == (node, MessageType.DEVICE_DATA, "oven")
    assert parse_topic(node.topic(MessageType.NODE_BIRTH)) == (node, MessageType.NODE_BIRTH, None)
    for other in ("spBv1.0/STATE/host", "spBv1.0/hall/NDATA/gateway/oven", "spBv1.0/hall/DDATA/gateway", "a/b/NDATA/c"):
        assert parse_topic(other) is None
    assert parse_place("hall/gateway/oven") == (node, "oven")
    for wrong in ("hall", "hall//oven", "hall/+", "a/b/c/d"):
        with pytest.raises(ValueError, match="is not an edge node"):
            parse_place(wrong)
