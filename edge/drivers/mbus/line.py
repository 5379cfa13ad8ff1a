"""Bytes to and from an M-Bus level converter: a serial port, or a gateway that passes them on as they are."""

from __future__ import annotations

import asyncio
import contextlib
import termios
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Protocol

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from edge.drivers.reach import Parity, why_no_host, why_no_port
from edge.errors import EdgeTransientError

if TYPE_CHECKING:
    from serial import Serial

BAUDS = (300, 600, 1200, 2400, 4800, 9600, 19200, 38400)


class LineDownError(EdgeTransientError):
    """No connection to the level converter: none of its meters can be reached."""


def _usual(baud: int) -> int:
    if baud not in BAUDS:
        raise ValueError(
            f"{baud} baud is no speed of M-Bus; one of {', '.join(map(str, BAUDS))}, most meters have 2400"
        )
    return baud


class SerialSettings(BaseModel):
    """A serial port with a level converter. Meters on it may differ in speed: each driver says that of its own."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    port: Annotated[str, Field(pattern=r"^/", description="the device file, as in /dev/ttyUSB0")]
    baud: Annotated[int, AfterValidator(_usual)] = 2400
    parity: Parity = Parity.EVEN


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a level converter is: host and port, or a serial port (then `port` is 0 and `host` its device file)."""

    host: str
    port: int = 0

    @property
    def is_serial(self) -> bool:
        return self.port == 0

    def __str__(self) -> str:
        return self.host if self.is_serial else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """How bytes go over a serial line. A gateway has its own set-up for that."""

    baud: int = 2400
    parity: Parity = Parity.EVEN


class Line(Protocol):
    """An open line. What comes is kept until it is taken."""

    def send(self, data: bytes, speed: Speed) -> None:
        """Raises LineDownError."""
        ...

    async def receive(self, timeout_s: float) -> bytes:
        """What has come, at least a byte. Raises TimeoutError, and LineDownError when nothing can come any more."""
        ...

    def drop(self) -> None:
        """Forget what has come."""
        ...

    def close(self) -> None:
        """Safe twice."""
        ...


class _Inbox:
    """What came over a line, until somebody takes it."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._lost: str | None = None
        self._news = asyncio.Event()

    def put(self, data: bytes) -> None:
        self._data += data
        self._news.set()

    def lose(self, why: str) -> None:
        self._lost = self._lost or why
        self._news.set()

    def check(self) -> None:
        if self._lost is not None:
            raise LineDownError(self._lost)

    def drop(self) -> None:
        self._data.clear()
        if self._lost is None:
            self._news.clear()

    async def take(self, timeout_s: float) -> bytes:
        async with asyncio.timeout(timeout_s):
            await self._news.wait()
        if not self._data:
            self.check()
        taken = bytes(self._data)
        self.drop()
        return taken


class _TcpLine(asyncio.Protocol):
    def __init__(self) -> None:
        self._inbox = _Inbox()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - what TCP gives
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._inbox.put(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._inbox.lose(f"the gateway closed the connection ({exc or 'without a word'}); is another program using it?")

    def send(self, data: bytes, _speed: Speed) -> None:
        self._inbox.check()
        if self._transport is not None:
            self._transport.write(data)

    async def receive(self, timeout_s: float) -> bytes:
        return await self._inbox.take(timeout_s)

    def drop(self) -> None:
        self._inbox.drop()

    def close(self) -> None:
        self._inbox.lose("closed")
        if self._transport is not None:
            self._transport.abort()


class _SerialLine:
    def __init__(self, port: Serial) -> None:
        self._inbox = _Inbox()
        self._port = port
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(port.fileno(), self._read)

    def _read(self) -> None:
        try:
            data = self._port.read(4096)
        except OSError as error:
            self._fail(error)
            return
        if data:
            self._inbox.put(data)

    def _fail(self, error: Exception) -> None:
        self.close()
        self._inbox.lose(f"{self._port.name} is gone ({error}); was the adapter pulled out?")

    def send(self, data: bytes, speed: Speed) -> None:
        self._inbox.check()
        try:
            if self._port.baudrate != speed.baud:
                self._port.baudrate = speed.baud
            if self._port.parity != _letter(speed):
                self._port.parity = _letter(speed)
            self._port.write(data)
        except (OSError, termios.error) as error:
            self._fail(error)
        self._inbox.check()

    async def receive(self, timeout_s: float) -> bytes:
        return await self._inbox.take(timeout_s)

    def drop(self) -> None:
        self._inbox.drop()

    def close(self) -> None:
        if self._port.is_open:
            self._loop.remove_reader(self._port.fileno())
            with contextlib.suppress(OSError, termios.error):
                self._port.close()


def _letter(speed: Speed) -> str:
    return speed.parity.value[0].upper()


async def open_line(place: Place, speed: Speed, *, timeout_s: float) -> Line:
    """Raises LineDownError that says what to do."""
    try:
        if place.is_serial:
            return _SerialLine(await asyncio.to_thread(_open_port, place.host, speed))
        async with asyncio.timeout(timeout_s):
            _, line = await asyncio.get_running_loop().create_connection(_TcpLine, place.host, place.port)
    except (OSError, TimeoutError, ValueError, termios.error) as error:
        raise LineDownError(_why_down(place, error, timeout_s)) from error
    return line


def _open_port(path: str, speed: Speed) -> Serial:
    import serial  # noqa: PLC0415 - only who has such a port pays for it

    return serial.Serial(
        path, baudrate=speed.baud, parity=_letter(speed), bytesize=8, stopbits=1, timeout=0, exclusive=True
    )


def _why_down(place: Place, error: Exception, timeout_s: float) -> str:
    if place.is_serial:
        return why_no_port(str(place), error) or f"{place} cannot be opened: {error}"
    return why_no_host(
        str(place), error, host=place.host, timeout_s=timeout_s, refused="the gateway passes bytes on as they are"
    )
