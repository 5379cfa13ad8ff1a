"""Our way of reading and writing MQTT packets, held against paho's own, whose private names it stands on."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paho.mqtt import _packet
from paho.mqtt.client import Client as PahoClient
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.exception import MalformedPacket
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from collector.mqtt_client import Client
from collector.packets import (
    PUBLISH,
    UNREADABLE,
    BrokenPacketError,
    PacketStream,
    Publish,
    encode_pubacks,
    encode_publish,
    parse_puback,
    parse_publish,
)

TOPIC = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=200).map(str.encode)
PAYLOAD = st.binary(max_size=300) | st.integers(100, 20_000).map(bytes)
WORD = st.text(st.characters(codec="ascii", min_codepoint=32), max_size=20)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "ContentType": WORD,
    "ResponseTopic": WORD,
    "CorrelationData": st.binary(max_size=20),
    "MessageExpiryInterval": st.integers(0, 2**32 - 1),
    "PayloadFormatIndicator": st.integers(0, 1),
    "SubscriptionIdentifier": st.integers(1, 268_435_455),
    "UserProperty": st.lists(st.tuples(WORD, WORD), min_size=1, max_size=5),
}
PROPERTIES = st.fixed_dictionaries({}, optional=VALUES)


def paho_publish(topic: bytes, payload: bytes, qos: int, retain: bool, values: dict[str, Any], packet_id: int) -> bytes:
    """A packet as paho writes it."""
    sent: list[bytes] = []
    client = PahoClient(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    for name, value in values.items():
        setattr(properties, name, value)
    client._sock = socket.socket()
    client._packet_queue = lambda command, packet, *_: sent.append(bytes(packet))  # type: ignore[assignment,method-assign]
    client._send_publish(packet_id, topic, payload, qos, retain, False, None, properties)
    client._sock.close()
    client._sock = None
    return sent[0]


@settings(max_examples=100)
@given(TOPIC, PAYLOAD, st.integers(0, 1), st.booleans(), PROPERTIES, st.integers(1, 65_535))
def test_a_message_is_read_as_paho_reads_it(
    topic: bytes, payload: bytes, qos: int, retain: bool, values: dict[str, Any], packet_id: int
) -> None:
    [(first, body)] = PacketStream().feed(paho_publish(topic, payload, qos, retain, values, packet_id))
    found = parse_publish(first, body)
    paho = _packet.decode_publish(first, body, MQTTProtocolVersion.MQTTv5)
    assert found == Publish(
        topic=paho.topic.decode(),
        payload=bytes(paho.payload),
        packet_id=paho.mid,
        is_retained=paho.retain,
        content_type=getattr(paho.properties, "ContentType", None),
    )
    assert (found.payload, found.content_type) == (payload, values.get("ContentType"))


@settings(max_examples=300)
@given(st.sampled_from([0x30, 0x31, 0x32, 0x33, 0x3A, 0x34]), st.binary(max_size=40))
def test_what_paho_refuses_is_refused_or_called_unreadable(first: int, body: bytes) -> None:
    try:
        paho = _packet.decode_publish(first, body, MQTTProtocolVersion.MQTTv5)
    except MalformedPacket:
        paho = None
    try:
        found = parse_publish(first, body)
    except BrokenPacketError:
        assert paho is None or paho.qos > 1
        return
    if paho is None:
        assert found.content_type == UNREADABLE
    else:
        assert found.payload == bytes(paho.payload)
        assert found.content_type == getattr(paho.properties, "ContentType", None)


@given(TOPIC, PAYLOAD, st.booleans(), st.integers(1, 65_535))
def test_a_message_of_ours_is_paho_s_byte_for_byte(topic: bytes, payload: bytes, retain: bool, packet_id: int) -> None:
    ours = encode_publish(topic, payload, packet_id=packet_id, content_type=b"application/json", is_retained=retain)
    assert ours == paho_publish(topic, payload, 1, retain, {"ContentType": "application/json"}, packet_id)


@given(st.lists(st.integers(1, 65_535), max_size=20))
def test_acknowledgements_are_read_by_paho_in_their_order(packet_ids: list[int]) -> None:
    packets = PacketStream().feed(encode_pubacks(packet_ids))
    read = [_packet.decode_puback(first, body, MQTTProtocolVersion.MQTTv5) for first, body in packets]
    assert [answer.mid for answer in read] == packet_ids == [parse_puback(body)[0] for _, body in packets]


@settings(max_examples=50)
@given(st.lists(PAYLOAD, min_size=1, max_size=8), st.data())
def test_packets_come_whole_however_the_bytes_are_cut(payloads: list[bytes], data: st.DataObject) -> None:
    packets = [
        encode_publish(b"t", payload, packet_id=i + 1, content_type=b"c", is_retained=False)
        for i, payload in enumerate(payloads)
    ]
    stream = b"".join(packets)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    cutter = PacketStream()
    found = [packet for piece in pieces for packet in cutter.feed(piece)]
    assert [parse_publish(*packet).payload for packet in found] == payloads
    assert len(cutter.feed(packets[0])) == 1


def test_a_length_without_an_end_is_no_packet() -> None:
    with pytest.raises(BrokenPacketError):
        PacketStream().feed(b"\x30\xff\xff\xff\xff\x01")
    assert PacketStream().feed(b"\x30\xff\xff\xff") == []


class _Broker:
    """The other end of a client's connection."""

    def __init__(self) -> None:
        self.received: list[list[Publish]] = []
        self.answered: list[tuple[int, int]] = []
        self.ended: list[object] = []
        self.client = Client(
            "c", on_received=self.received.append, on_answered=lambda *answer: self.answered.append(answer)
        )
        self.client.on_disconnect = lambda *_: self.ended.append(len(self.received))
        ours, self.socket = socket.socketpair()
        ours.setblocking(False)
        self.client._sock = ours

    def says(self, data: bytes) -> MQTTErrorCode:
        self.socket.sendall(data)
        return self.client.loop_read()


@pytest.fixture
def broker() -> Iterator[_Broker]:
    made = _Broker()
    yield made
    made.socket.close()
    if made.client._sock is not None:
        made.client._sock_close()


def packet(payload: bytes, packet_id: int = 1) -> bytes:
    return encode_publish(b"t", payload, packet_id=packet_id, content_type=b"c", is_retained=False)


def test_one_reading_of_the_socket_hands_on_all_that_came(broker: _Broker) -> None:
    assert broker.says(packet(b"1") + b"\x40\x02\x00\x07\x40\x03\x00\x08\x87" + packet(b"2", 2)[:-1]) == 0
    assert [[m.payload for m in got] for got in broker.received] == [[b"1"]]
    assert broker.answered == [(7, 0), (8, 0x87)]
    assert broker.says(packet(b"2", 2)[-1:]) == 0
    assert [m.packet_id for got in broker.received for m in got] == [1, 2]
    assert broker.client.loop_read() == 0  # nothing there is no error


def test_what_is_queued_is_written_in_order(broker: _Broker) -> None:
    broker.client.acknowledge([3, 1, 2])
    broker.client.send(PUBLISH, packet(b"x" * 200_000))
    wanted = b"\x40\x02\x00\x03\x40\x02\x00\x01\x40\x02\x00\x02" + packet(b"x" * 200_000)
    got = b""
    while len(got) < len(wanted):
        broker.client.loop_write()
        got += broker.socket.recv(1_000_000)
    assert got == wanted
    assert not broker.client.want_write()


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\x34\x05\x00\x01t\x00\x00", id="QoS-2"),
        pytest.param(b"\x32\x02\x00\x09", id="topic-beyond-the-end"),
        pytest.param(b"\x40\x01\x00", id="half-an-acknowledgement"),
        pytest.param(b"\xf0\x00", id="unknown-kind"),
        pytest.param(b"\x90\x00", id="broken-suback"),
    ],
)
def test_what_makes_no_sense_ends_the_connection_after_what_came_before(broker: _Broker, data: bytes) -> None:
    assert broker.says(packet(b"1") + data) == MQTTErrorCode.MQTT_ERR_PROTOCOL
    assert [[m.payload for m in got] for got in broker.received] == [[b"1"]]
    assert broker.ended
    assert broker.client.socket() is None


def test_bytes_that_are_no_packets_end_the_connection(broker: _Broker) -> None:
    assert broker.says(b"\x30\xff\xff\xff\xff\x01") == MQTTErrorCode.MQTT_ERR_PROTOCOL
    assert broker.client.socket() is None


def test_the_end_of_the_connection_is_told_and_half_a_packet_forgotten(broker: _Broker) -> None:
    broker.says(packet(b"1")[:5])
    broker.socket.close()
    assert broker.client.loop_read() == MQTTErrorCode.MQTT_ERR_CONN_LOST
    assert broker.ended == [0]
    assert broker.client.loop_read() == MQTTErrorCode.MQTT_ERR_NO_CONN
    broker.client._host, broker.client._port = "127.0.0.1", 1
    with pytest.raises(OSError):  # noqa: PT011 - nobody listens there
        broker.client.reconnect()
    assert broker.client._stream.feed(packet(b"2"))[0][1].endswith(b"2")


def test_what_came_before_the_broker_s_farewell_belongs_to_the_connection(broker: _Broker) -> None:
    broker.says(packet(b"1") + b"\xe0\x00")
    assert broker.ended == [1]
