"""What a Modbus device, its cable or its gateway may say instead of the answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from edge.drivers.modbus.frames import checksum
from edge.drivers.modbus.line import Framing


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """The true answer (`pdu`, without framing) to a framed request."""

    request: bytes
    device_id: int
    pdu: bytes
    framing: Framing

    def frame(
        self,
        *,
        device_id: int | None = None,
        pdu: bytes | None = None,
        transaction: bytes | None = None,
        length: int | None = None,
        protocol: bytes = b"\0\0",
    ) -> bytes:
        """The answer as it is sent, or with some of it wrong; the checksum of RTU is right for what is sent."""
        body = bytes([self.device_id if device_id is None else device_id]) + (self.pdu if pdu is None else pdu)
        if self.framing is Framing.RTU:
            return body + checksum(body)
        size = len(body) if length is None else length
        return (transaction or self.request[:2]) + protocol + size.to_bytes(2, "big") + body


Fault = Callable[[Said], Iterable[bytes]]
"""What is sent in place of an answer."""


def lies(pdu: bytes) -> bytes:
    """An answer with other values: whoever takes it, takes what was never measured."""
    return pdu[:2] + bytes(byte ^ 0x2A for byte in pdu[2:])


def silence(said: Said) -> Iterable[bytes]:
    return ()


def noise(said: Said) -> Iterable[bytes]:
    return (bytes((i * 73 + 41) & 0xFF for i in range(61)),)


def half_a_frame(said: Said) -> Iterable[bytes]:
    frame = said.frame(pdu=lies(said.pdu))
    return (frame[: len(frame) // 2],)


def another_device(said: Said) -> Iterable[bytes]:
    return (said.frame(device_id=said.device_id % 247 + 1, pdu=lies(said.pdu)),)


def another_function(said: Said) -> Iterable[bytes]:
    pdu = lies(said.pdu)
    return (said.frame(pdu=bytes([pdu[0] ^ 0x07]) + pdu[1:]),)


def too_long(said: Said) -> Iterable[bytes]:
    pdu = lies(said.pdu)
    return (said.frame(pdu=bytes([pdu[0], pdu[1] + 2]) + b"\x41\x20" + pdu[2:]),)


def too_short(said: Said) -> Iterable[bytes]:
    pdu = lies(said.pdu)
    return (said.frame(pdu=bytes([pdu[0], pdu[1] - 2]) + pdu[4:]),)


def length_that_lies(said: Said) -> Iterable[bytes]:
    """Its own count of bytes does not fit what follows."""
    pdu = lies(said.pdu)
    return (said.frame(pdu=bytes([pdu[0], 0xF0]) + pdu[2:]),)


def flood(said: Said) -> Iterable[bytes]:
    return (bytes((i * 31 + 7) & 0xFF for i in range(700)),)


def bad_checksum(said: Said) -> Iterable[bytes]:
    frame = said.frame(pdu=lies(said.pdu))
    return (frame[:-1] + bytes([frame[-1] ^ 0xFF]),)


def another_transaction(said: Said) -> Iterable[bytes]:
    number = int.from_bytes(said.request[:2], "big")
    return tuple(
        said.frame(transaction=other.to_bytes(2, "big"), pdu=lies(said.pdu))
        for other in (0, number - 1, number + 1)
        if other >= 0
    )


def another_protocol(said: Said) -> Iterable[bytes]:
    return (said.frame(protocol=b"\x13\x37", pdu=lies(said.pdu)),)


class Late:
    """Each answer comes when the next question is asked, and so looks like the answer to that."""

    def __init__(self) -> None:
        self._kept: list[bytes] = []

    def __call__(self, said: Said) -> Iterable[bytes]:
        return self.pass_on(said.frame())

    def pass_on(self, frame: bytes) -> Iterable[bytes]:
        """The frame before this one."""
        self._kept.append(frame)
        return (self._kept.pop(0),) if len(self._kept) > 1 else ()


def after_noise(said: Said) -> Iterable[bytes]:
    """The true answer, behind some bytes of a line that was just switched on: a driver may find it."""
    return (b"\x00\xff", said.frame())


_BOTH: Sequence[Fault] = (
    noise,
    half_a_frame,
    another_device,
    another_function,
    too_long,
    too_short,
    length_that_lies,
    flood,
)
FAULTS: Mapping[Framing, Sequence[Fault]] = {
    Framing.TCP: (*_BOTH, another_transaction, another_protocol),
    Framing.RTU: (*_BOTH, bad_checksum),
}
