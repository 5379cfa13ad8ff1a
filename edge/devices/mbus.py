"""An M-Bus segment that does not exist: meters behind a gateway on loopback, or at the end of a pseudo serial port."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tty
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import cycle, zip_longest

from edge.devices.mbus_telegrams import encode_telegram
from edge.drivers.mbus.frames import (
    ACK,
    RESET,
    SELECT,
    SELECTED,
    FrameError,
    frame_count,
    is_request,
    length_of,
    parse_long,
    parse_short,
)
from edge.drivers.mbus.secondary import SecondaryAddress

_TO_ALL = {254, 255}


@dataclass(slots=True, kw_only=True)
class SimulatedMeter:
    """One meter. `telegrams` are lists of records (their bytes); each but the last says that more follows.

    `requests` counts what it heard that was for it.
    """

    identity: SecondaryAddress
    telegrams: Sequence[Sequence[bytes]]
    address: int = 0
    status: int = 0
    requests: int = 0
    _selected: bool = False
    _at: int = 0
    _last_count: bool | None = None

    def hear(self, request: bytes) -> bytes | None:
        """What it answers to a frame on the bus; None where it keeps silent."""
        if request[:1] == b"\x68":
            return self._hear_selection(request)
        control, address = parse_short(request)
        if address != self.address and address not in _TO_ALL and not (address == SELECTED and self._selected):
            return None
        self.requests += 1
        if control == RESET:
            self._at, self._last_count = 0, None
            if address == SELECTED:
                self._selected = False
            return None if address == 255 else ACK
        return self._tell(frame_count(control)) if is_request(control) else None

    def _hear_selection(self, request: bytes) -> bytes | None:
        frame = parse_long(request)
        if frame.address != SELECTED or frame.information != SELECT:
            return None
        self._selected = SecondaryAddress.decode(frame.data[:8]).covers(self.identity)
        if not self._selected:
            return None
        self.requests += 1
        self._at, self._last_count = 0, None
        return ACK

    def _tell(self, count: bool) -> bytes:
        """The telegram at hand; the next one when the frame count bit has changed since the last request."""
        if self._last_count is not None and count != self._last_count:
            self._at = (self._at + 1) % len(self.telegrams)
        self._last_count = count
        return encode_telegram(
            self.telegrams[self._at],
            identity=self.identity,
            address=self.address,
            access=self.requests,
            status=self.status,
            more_follows=self._at + 1 < len(self.telegrams),
        )


def collide(answers: Sequence[bytes]) -> bytes:
    """What comes of meters that speak at once: each bit is low where anybody pulls it low.

    Acknowledgements at the same moment look like one.
    """
    come = bytearray()
    for together in zip_longest(*answers, fillvalue=0xFF):
        byte = 0xFF
        for one in together:
            byte &= one
        come.append(byte)
    return bytes(come)


def _wrong_checksum(answer: bytes) -> bytes:
    return answer[:-2] + bytes(((answer[-2] + 1) & 0xFF,)) + answer[-1:]


def _bit_flipped(answer: bytes) -> bytes:
    # In the last record's value, so that whoever does not look at the checksum has a wrong value.
    return answer[:-3] + bytes((answer[-3] ^ 0x04,)) + answer[-2:]


def _cut(answer: bytes) -> bytes:
    return answer[: len(answer) // 2]


def _twice(answer: bytes) -> bytes:
    return collide([answer, b"\xff" * 3 + _bit_flipped(answer)])


def _lengths_differ(answer: bytes) -> bytes:
    return answer[:1] + bytes((answer[1] - 1,)) + answer[2:]


def _ends_within_a_record(answer: bytes) -> bytes:
    """Without fault as a frame, and its last record two bytes too short."""
    body = answer[4:-4]
    return bytes((0x68, len(body), len(body), 0x68)) + body + bytes((sum(body) & 0xFF, 0x16))


def _noise(_answer: bytes) -> bytes:
    return bytes(range(0x20, 0x60))


MADNESS: tuple[Callable[[bytes], bytes], ...] = (
    _wrong_checksum,
    _cut,
    _twice,
    _bit_flipped,
    _lengths_differ,
    _ends_within_a_record,
    _noise,
)


@dataclass(slots=True, kw_only=True)
class Segment:
    """Meters on two wires. `silent`: nobody answers. `mad`: what is told comes out as nonsense, each time another.

    `instead` answers in place of the meters.
    """

    meters: list[SimulatedMeter] = field(default_factory=list)
    silent: bool = False
    mad: bool = False
    instead: Callable[[bytes], bytes] | None = None
    _madness: cycle[Callable[[bytes], bytes]] = field(default_factory=lambda: cycle(MADNESS))

    def hear(self, request: bytes) -> bytes:
        """What comes back over the wires; nothing where nobody answers."""
        if self.instead is not None:
            return self.instead(request)
        answers = [answer for meter in self.meters if (answer := meter.hear(request)) is not None]
        if self.silent or not answers:
            return b""
        answer = answers[0] if len(answers) == 1 else collide(answers)
        return next(self._madness)(answer) if self.mad and len(answer) > 1 else answer


class _Ears:
    """Cuts what comes into frames, and has the segment answer."""

    def __init__(self, segment: Segment, answer: Callable[[bytes], object], *, echoes: bool = False) -> None:
        self._segment = segment
        self._answer = answer
        self._echoes = echoes
        self._come = b""

    def hear(self, data: bytes) -> None:
        self._come += data
        while self._come:
            try:
                length = length_of(self._come)
            except FrameError:
                self._come = self._come[1:]
                continue
            if length is None or len(self._come) < length:
                return
            request, self._come = self._come[:length], self._come[length:]
            if answer := (request if self._echoes else b"") + self._segment.hear(request):
                self._answer(answer)


class Gateway:
    """A segment behind TCP: a transparent gateway, as many connections as come. `port` 0: a free one."""

    def __init__(self, segment: Segment, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self.segment = segment
        self.host = host
        self.port = port
        self.connections = 0
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen; at the same port as before, if there was one."""
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, self.host, self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """It is gone, with its connections. Safe before `start`, and twice."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        for writer in list(self._writers):
            writer.transport.abort()
        await server.wait_closed()
        if self._serving:
            await asyncio.wait(self._serving)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._serving.add(task)
            task.add_done_callback(self._serving.discard)
        self._writers.add(writer)
        self.connections += 1
        ears = _Ears(self.segment, writer.write)
        try:
            with contextlib.suppress(OSError):
                while data := await reader.read(512):
                    ears.hear(data)
        finally:
            self._writers.discard(writer)
            writer.close()


@asynccontextmanager
async def pseudo_serial_port(segment: Segment, *, echoes: bool = False) -> AsyncIterator[str]:
    """The device file of a serial port with the segment at its end. `echoes`: the converter gives back what is sent."""
    ours, theirs = os.openpty()
    tty.setraw(theirs)
    loop = asyncio.get_running_loop()
    ears = _Ears(segment, lambda answer: os.write(ours, answer), echoes=echoes)

    def read() -> None:
        with contextlib.suppress(OSError):
            ears.hear(os.read(ours, 512))

    loop.add_reader(ours, read)
    try:
        yield os.ttyname(theirs)
    finally:
        loop.remove_reader(ours)
        os.close(theirs)
        os.close(ours)
