"""Modbus devices that do not exist: on the network, behind a gateway, or at a serial port that is a pseudo-terminal."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tty
from collections.abc import Iterable, Iterator, Mapping
from itertools import cycle
from pathlib import Path
from typing import cast

from edge.devices.modbus_faults import FAULTS, Fault, Said
from edge.drivers.modbus.frames import checksum
from edge.drivers.modbus.line import Framing
from edge.drivers.modbus.profile import ModbusProfile, register_of
from edge.drivers.modbus.registers import Function, Register, encode

_FUNCTIONS = {3: Function.HOLDING, 4: Function.INPUT}
_UNKNOWN_FUNCTION, _UNKNOWN_REGISTER, BUSY = 1, 2, 6
_NO_PATH = 10


class SimulatedDevice:
    """Registers of one device. `fault` is what it does instead of answering; `refusal` an exception code."""

    def __init__(self) -> None:
        self._words: dict[Function, dict[int, int]] = {function: {} for function in Function}
        self.fault: Fault | None = None
        self.refusal: int | None = None
        self.asked = 0

    def hold(self, register: Register, value: float) -> None:
        """The register says `value`, in the quantity's unit."""
        raw = value / float(register.scale)
        whole = raw if register.type.is_float else round(raw)
        self._words[register.function].update(enumerate(encode(register, whole), register.address))

    def hold_words(self, function: Function, address: int, words: Iterable[int]) -> None:
        """Registers from `address` on, as they are."""
        self._words[function].update(enumerate(words, address))

    def fill(self, function: Function, address: int, count: int) -> None:
        """Registers from `address` on that are there and of no interest: zero, unless they say something already."""
        for at in range(address, address + count):
            self._words[function].setdefault(at, 0)

    def show(self, profile: ModbusProfile, values: Mapping[str, float]) -> None:
        """Quantities and checks of a profile say these values, in their units. Raises KeyError for an unknown one."""
        for name, value in values.items():
            self.hold(register_of(profile, name, key=name), value)

    def answer(self, pdu: bytes) -> bytes:
        """What a sound device says to a request (both without framing)."""
        self.asked += 1
        function = _FUNCTIONS.get(pdu[0])
        if function is None or len(pdu) != 5:
            return bytes([pdu[0] | 0x80, _UNKNOWN_FUNCTION])
        if self.refusal is not None:
            return bytes([pdu[0] | 0x80, self.refusal])
        address, count = int.from_bytes(pdu[1:3], "big"), int.from_bytes(pdu[3:5], "big")
        words = self._words[function]
        try:
            data = b"".join(words[at].to_bytes(2, "big") for at in range(address, address + count))
        except KeyError:
            return bytes([pdu[0] | 0x80, _UNKNOWN_REGISTER])
        return bytes([pdu[0], len(data)]) + data


class ModbusBank:
    """Devices under one address: by their ids behind one connection, or one of them under any id.

    `foreign` is said to ids that are not there: 11 or 10 as a gateway does, or None for the silence of a line.
    """

    def __init__(self, *, framing: Framing = Framing.TCP, foreign: int | None = _NO_PATH) -> None:
        self.framing = framing
        self.devices: dict[int, SimulatedDevice] = {}
        self.connections = 0
        self._foreign = foreign if framing is Framing.TCP else None

    def add(self, device_id: int) -> SimulatedDevice:
        """Another device on the line."""
        return self.devices.setdefault(device_id, SimulatedDevice())

    def fail(self, fault: Fault | None) -> None:
        """All devices have this fault from now on; None ends it."""
        for device in self.devices.values():
            device.fault = fault

    def fall_silent(self) -> None:
        """Requests are taken and not answered."""
        self.fail(lambda said: ())

    def go_mad(self) -> None:
        """Each answer is wrong in another way: noise, halves, other ids, other lengths, late ones."""
        for device in self.devices.values():
            device.fault = _one_after_another(FAULTS[self.framing])

    def refuse(self, code: int | None = BUSY) -> None:
        """Every request is refused with this exception code; None ends it."""
        for device in self.devices.values():
            device.refusal = code

    def appear(self) -> None:
        """Every fault has ended."""
        self.fail(None)
        self.refuse(None)

    def reply(self, request: bytes) -> Iterable[bytes]:
        """What is sent after one framed request, in order; often one frame, with a fault none or several."""
        tcp = self.framing is Framing.TCP
        device_id, pdu = (request[6], request[7:]) if tcp else (request[0], request[1:-2])
        device = self.devices.get(device_id)
        if device is None:
            if self._foreign is None:
                return ()
            pdu_answer = bytes([pdu[0] | 0x80, self._foreign])
        else:
            pdu_answer = device.answer(pdu)
        said = Said(request=request, device_id=device_id, pdu=pdu_answer, framing=self.framing)
        if device is None or device.fault is None:
            return (said.frame(),)
        return device.fault(said)


def _one_after_another(faults: Iterable[Fault]) -> Fault:
    order = cycle(faults)

    def say(said: Said) -> Iterable[bytes]:
        return next(order)(said)

    return say


def split_requests(framing: Framing, buffer: bytearray) -> Iterator[bytes]:
    """Takes whole requests out of what came; on RTU, what is no request is thrown away."""
    while True:
        if framing is Framing.TCP:
            size = 6 + int.from_bytes(buffer[4:6], "big") if len(buffer) >= 6 else 8
        else:
            size = 8
            while len(buffer) >= size and checksum(bytes(buffer[:6])) != buffer[6:8]:
                del buffer[0]
        if len(buffer) < size:
            return
        request = bytes(buffer[:size])
        del buffer[:size]
        yield request


class TcpModbusDevices:
    """A bank on a port of loopback, the same after it vanished."""

    def __init__(self, bank: ModbusBank) -> None:
        self.bank = bank
        self.port = 0
        self._server: asyncio.Server | None = None
        self._connections: set[_Connection] = set()

    async def start(self) -> None:
        """Listen. Safe twice."""
        if self._server is None:
            loop = asyncio.get_running_loop()
            self._server = await loop.create_server(self._connect, "127.0.0.1", self.port, reuse_address=True)
            self.port = self._server.sockets[0].getsockname()[1]

    async def vanish(self) -> None:
        """Cut every connection and listen no more."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        for connection in list(self._connections):
            connection.cut()
        if server is not None:
            await server.wait_closed()
        await asyncio.gather(*(connection.lost for connection in self._connections))

    async def stop(self) -> None:
        """The same for good. Safe before `start`, and twice."""
        await self.vanish()

    def _connect(self) -> _Connection:
        self.bank.connections += 1
        connection = _Connection(self.bank, self._connections)
        self._connections.add(connection)
        return connection


class _Connection(asyncio.Protocol):
    """One client."""

    def __init__(self, bank: ModbusBank, connections: set[_Connection]) -> None:
        self._bank = bank
        self._connections = connections
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        for request in split_requests(self._bank.framing, self._buffer):
            for frame in self._bank.reply(request):
                if self._transport is not None and not self._transport.is_closing():
                    self._transport.write(frame)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)
        self.lost.set_result(None)

    def cut(self) -> None:
        """End it without a word."""
        if self._transport is not None:
            self._transport.abort()


class SerialModbusDevices:
    """A bank of RTU devices at a pseudo-terminal. `port` is the link that stands for its device file."""

    def __init__(self, bank: ModbusBank, *, port: Path) -> None:
        self.bank = bank
        self.port = port
        self._ends: tuple[int, int] | None = None
        self._buffer = bytearray()

    async def start(self) -> None:
        """Plug the adapter in. Safe twice."""
        if self._ends is not None:
            return
        ours, theirs = os.openpty()
        tty.setraw(theirs)
        os.set_blocking(ours, False)
        self._ends = (ours, theirs)
        self._buffer.clear()
        self.port.symlink_to(os.ttyname(theirs))
        asyncio.get_running_loop().add_reader(ours, self._read, ours)

    async def vanish(self) -> None:
        """Pull the adapter out."""
        if self._ends is None:
            return
        ours, theirs = self._ends
        self._ends = None
        asyncio.get_running_loop().remove_reader(ours)
        self.port.unlink()
        os.close(ours)
        os.close(theirs)

    async def stop(self) -> None:
        """The same for good. Safe before `start`, and twice."""
        await self.vanish()

    def send(self, data: bytes) -> None:
        """Put bytes on the line, asked or not; nowhere while the adapter is out."""
        if self._ends is not None:
            with contextlib.suppress(OSError):
                os.write(self._ends[0], data)

    def _read(self, ours: int) -> None:
        with contextlib.suppress(OSError):
            self._buffer += os.read(ours, 1024)
        for request in split_requests(Framing.RTU, self._buffer):
            for frame in self.bank.reply(request):
                self.send(frame)
