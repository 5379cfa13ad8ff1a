"""MQTT 5 packets as bytes: those that come and go by the thousand. Pure.

Format: https://docs.oasis-open.org/mqtt/mqtt/v5.0/mqtt-v5.0.html, sections 2 (length, properties), 3.3 (PUBLISH) and
3.4 (PUBACK).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from paho.mqtt.exception import MQTTException
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

PUBLISH = 0x30
PUBACK = 0x40
KIND = 0xF0
"""Mask of a packet's first byte: what is left says what kind of packet it is."""
UNREADABLE = "unreadable"
"""Content type of a message whose properties make no sense: no kind of message goes by it, so it is kept aside."""

_RETAIN, _QOS_1, _QOS = 0x01, 0x02, 0x06
_CONTENT_TYPE = b"\x03"
_LONGEST_CACHED = 256
_LENGTH_BYTES = 4
_LARGEST_BODY = 128**_LENGTH_BYTES - 1
_UNREADABLE_PROPERTIES = (MQTTException, struct.error, LookupError, ValueError)


class BrokenPacketError(ValueError):
    """The bytes are no MQTT packet; where the next one begins is unknown."""


class PacketStream:
    """Cuts what a connection delivers, in pieces of any size, into whole packets."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._wanted = 0

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """The packets that `data` completes, each as its first byte and its body. Raises BrokenPacketError."""
        if self._rest:
            self._rest += data
            if len(self._rest) < self._wanted:
                return []
            data = bytes(self._rest)
            self._rest.clear()
        packets = []
        start, size = 0, len(data)
        while start < size:
            found = read_length(data, start + 1)
            if found is None:
                self._wanted = size - start + 1
                break
            length, body = found
            end = body + length
            if end > size:
                self._wanted = end - start
                break
            packets.append((data[start], data[body:end]))
            start = end
        if start < size:
            self._rest += data[start:]
        return packets


def read_length(data: bytes, at: int) -> tuple[int, int] | None:
    """A variable byte integer and where it ends; None when it goes on beyond the data. Raises BrokenPacketError."""
    value = shift = 0
    for end in range(at, min(at + _LENGTH_BYTES, len(data))):
        value |= (data[end] & 0x7F) << shift
        if data[end] < 0x80:
            return value, end + 1
        shift += 7
    if shift == 7 * _LENGTH_BYTES:
        raise BrokenPacketError("a length of more than four bytes")
    return None


@dataclass(frozen=True, slots=True)
class Publish:
    """A message that the broker sent; `packet_id` is 0 where it wants no acknowledgement."""

    topic: str
    payload: bytes
    packet_id: int
    is_retained: bool
    content_type: str | None


def parse_publish(first: int, body: bytes) -> Publish:
    """A PUBLISH of QoS 0 or 1 from its first byte and its body. Raises BrokenPacketError."""
    qos = first & _QOS
    if qos > _QOS_1:
        raise BrokenPacketError("a message of QoS 2, which was not subscribed")
    try:
        at = 2 + (body[0] << 8 | body[1])
        # A topic that is no UTF-8 is none of ours either way, and is kept with its message.
        topic = body[2:at].decode(errors="replace")
        packet_id = 0
        if qos:
            packet_id = body[at] << 8 | body[at + 1]
            at += 2
        if body[at] == 0:
            return Publish(topic, body[at + 1 :], packet_id, bool(first & _RETAIN), None)
        found = read_length(body, at)
    except IndexError:
        found = None
    if found is None or found[1] + found[0] > len(body):
        raise BrokenPacketError("a message that ends before its payload begins")
    end = found[1] + found[0]
    properties = body[at:end]
    read = _content_type if len(properties) <= _LONGEST_CACHED else _content_type.__wrapped__
    return Publish(topic, body[end:], packet_id, bool(first & _RETAIN), read(properties))


@lru_cache(maxsize=1024)
def _content_type(properties: bytes) -> str | None:
    """Read by paho, which takes long; but nearly all messages have the same few properties."""
    read = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    try:
        read.unpack(properties)  # type: ignore[no-untyped-call]
    except _UNREADABLE_PROPERTIES:
        return UNREADABLE
    return getattr(read, "ContentType", None)


def encode_publish(topic: bytes, payload: bytes, *, packet_id: int, content_type: bytes, is_retained: bool) -> bytes:
    """A PUBLISH of QoS 1."""
    head, tail = encode_publish_around_id(topic, payload, content_type=content_type, is_retained=is_retained)
    return head + packet_id.to_bytes(2) + tail


def encode_publish_around_id(
    topic: bytes, payload: bytes, *, content_type: bytes, is_retained: bool = False
) -> tuple[bytes, bytes]:
    """What stands before and after the packet id of a PUBLISH of QoS 1, for those who give the id later."""
    properties = _CONTENT_TYPE + len(content_type).to_bytes(2) + content_type
    tail = b"".join((_encode_length(len(properties)), properties, payload))
    length = 2 + len(topic) + 2 + len(tail)
    first = PUBLISH | _QOS_1 | (_RETAIN if is_retained else 0)
    return b"".join((bytes((first,)), _encode_length(length), len(topic).to_bytes(2), topic)), tail


def encode_pubacks(packet_ids: Iterable[int]) -> bytes:
    """Acknowledgements, one after the other in one piece."""
    return b"".join([b"\x40\x02" + packet_id.to_bytes(2) for packet_id in packet_ids])


def parse_puback(body: bytes) -> tuple[int, int]:
    """Packet id and reason code; 128 and above is a refusal. Raises BrokenPacketError."""
    if len(body) < 2:
        raise BrokenPacketError("an acknowledgement without a packet id")
    return body[0] << 8 | body[1], body[2] if len(body) > 2 else 0


def _encode_length(length: int) -> bytes:
    if length > _LARGEST_BODY:
        raise ValueError(f"{length} bytes are more than an MQTT packet holds")
    encoded = bytearray()
    while length > 0x7F:
        encoded.append(length & 0x7F | 0x80)
        length >>= 7
    encoded.append(length)
    return bytes(encoded)
