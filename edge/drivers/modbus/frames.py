"""The answer to a request among the bytes that came, for which only an exact fit is taken.

Lines and gateways also bring noise, halves, answers of other devices and answers to questions of a while ago. A value
is only ever made of bytes that fit the request in transaction, device, function and length, and on a serial line in the
checksum.
"""

from __future__ import annotations

from collections.abc import Iterator

from pymodbus.framer import FramerRTU

from edge.drivers.modbus.line import Framing

_REFUSED = 0x80
"""Set in the function code of an answer that refuses."""


def find_answer(framing: Framing, *, request: bytes, received: bytes) -> bytes:
    """The first whole frame in `received` that answers the register request `request`; empty while there is none."""
    candidates = _tcp_frames(request, received) if framing is Framing.TCP else _rtu_frames(request, received)
    return next(candidates, b"")


def _tcp_frames(request: bytes, received: bytes) -> Iterator[bytes]:
    transaction, device, function = request[:4], request[6:7], request[7]
    size = 2 * int.from_bytes(request[10:12], "big")
    # Unit 0 means "whoever is behind this address", and such a device may answer under its own.
    devices = [device] if device != b"\0" else [bytes([i]) for i in range(256)]
    for answered in devices:
        values = transaction + (3 + size).to_bytes(2, "big") + answered + bytes([function, size])
        yield from _after(received, values, len(values) + size)
        for length in (3, 2):  # some devices forget a byte when they count an exception
            refusal = transaction + length.to_bytes(2, "big") + answered + bytes([function | _REFUSED])
            for frame in _after(received, refusal, len(refusal) + 1):
                yield frame[:4] + b"\0\3" + frame[6:]


def _rtu_frames(request: bytes, received: bytes) -> Iterator[bytes]:
    device, function = request[:1], request[1]
    size = 2 * int.from_bytes(request[4:6], "big")
    values = device + bytes([function, size])
    refusal = device + bytes([function | _REFUSED])
    for start, length in ((values, len(values) + size + 2), (refusal, 5)):
        for frame in _after(received, start, length):
            if checksum(frame[:-2]) == frame[-2:]:
                yield frame


def _after(received: bytes, start: bytes, length: int) -> Iterator[bytes]:
    """Every stretch of `length` bytes that begins with `start`."""
    at = received.find(start)
    while at >= 0 and at + length <= len(received):
        yield received[at : at + length]
        at = received.find(start, at + 1)


def checksum(frame: bytes) -> bytes:
    """CRC-16/MODBUS of a frame, as it is sent behind it."""
    return FramerRTU.compute_CRC(frame).to_bytes(2, "big")
