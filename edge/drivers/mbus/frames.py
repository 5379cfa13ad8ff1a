"""Frames of the M-Bus link layer (EN 13757-2, format class FT 1.2): pure.

Whatever is not a whole frame, with both lengths, both starts, its checksum and its end right, is refused.
"""

from __future__ import annotations

from dataclasses import dataclass

ACK = b"\xe5"
_SHORT, _LONG, _END = 0x10, 0x68, 0x16

LAST_PRIMARY = 250
"""Primary addresses of meters are 1 to 250; 0 is that of a meter that was given none yet."""
SELECTED = 253
"""Whichever meter was selected by its secondary address."""

RESET = 0x40
"""SND_NKE: begin anew."""
SEND = 0x53
"""SND_UD: data for the meter."""
_REQUEST = 0x5B
_FRAME_COUNT = 0x20
_ANSWERS = 0x08
"""RSP_UD, with or without the bits for access demand and data flow control (0x30)."""

SELECT = 0x52
"""Control information: select by secondary address."""
APPLICATION_ERROR = 0x70

LONGEST = 261


class FrameError(ValueError):
    """Not a frame; the message says in what."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """A long frame: control field, address, control information and what follows it."""

    control: int
    address: int
    information: int
    data: bytes

    @property
    def answers(self) -> bool:
        """It comes from a meter."""
        return self.control & ~0x30 == _ANSWERS


def short_frame(control: int, address: int) -> bytes:
    return bytes((_SHORT, control, address, (control + address) & 0xFF, _END))


def long_frame(frame: Frame) -> bytes:
    """Raises FrameError when there is more than a frame can hold."""
    body = bytes((frame.control, frame.address, frame.information)) + frame.data
    if len(body) > 0xFF:
        raise FrameError(f"{len(frame.data)} bytes are more than the 252 that a frame can hold")
    return bytes((_LONG, len(body), len(body), _LONG)) + body + bytes((sum(body) & 0xFF, _END))


def reset(address: int) -> bytes:
    """SND_NKE."""
    return short_frame(RESET, address)


def request(address: int, *, telegram: int) -> bytes:
    """REQ_UD2 for the telegram of that number, from 0: the frame count bit goes to and fro, and is set first."""
    return short_frame(_REQUEST | (0 if telegram % 2 else _FRAME_COUNT), address)


def is_request(control: int) -> bool:
    """REQ_UD2, with either frame count bit."""
    return control & ~_FRAME_COUNT == _REQUEST


def frame_count(control: int) -> bool:
    """The frame count bit."""
    return bool(control & _FRAME_COUNT)


def select(address: bytes) -> bytes:
    """SND_UD that selects the meter of this secondary address (8 bytes), and no other."""
    return long_frame(Frame(control=SEND, address=SELECTED, information=SELECT, data=address))


def length_of(begun: bytes) -> int | None:
    """How long a frame that begins like this will be; None as long as that can't be told. Raises FrameError."""
    if not begun:
        return None
    if begun[:1] == ACK:
        return 1
    if begun[0] == _SHORT:
        return 5
    if begun[0] != _LONG:
        raise FrameError(f"no frame begins with {begun[0]:#04x}")
    if len(begun) < 4:
        return None
    if begun[1] != begun[2] or begun[3] != _LONG or begun[1] < 3:
        raise FrameError(f"a frame's head does not agree with itself: {begun[:4].hex(' ')}")
    return begun[1] + 6


def parse_short(data: bytes) -> tuple[int, int]:
    """Control field and address of a short frame. Raises FrameError."""
    if len(data) != 5 or data[0] != _SHORT or data[4] != _END or data[3] != (data[1] + data[2]) & 0xFF:
        raise FrameError(f"not a short frame: {data[:8].hex(' ')}")
    return data[1], data[2]


def parse_long(data: bytes) -> Frame:
    """Raises FrameError."""
    length = length_of(data)
    if data[:1] != bytes((_LONG,)) or length is None:
        raise FrameError(f"not a long frame: {data[:8].hex(' ')}")
    if len(data) != length:
        raise FrameError(f"{len(data)} bytes came where the frame says {length}")
    if data[-1] != _END:
        raise FrameError(f"the frame ends with {data[-1]:#04x}, not with 0x16")
    body = data[4:-2]
    if sum(body) & 0xFF != data[-2]:
        raise FrameError(f"the checksum is {data[-2]:#04x} where the bytes give {sum(body) & 0xFF:#04x}")
    return Frame(control=body[0], address=body[1], information=body[2], data=body[3:])
