"""One connection, shared by whoever reads over it: a network device, a gateway, or a serial line with its devices."""

from __future__ import annotations

import asyncio
import logging
import termios
from collections.abc import Sequence
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

from pymodbus.client import AsyncModbusSerialClient, AsyncModbusTcpClient
from pymodbus.exceptions import ModbusException
from pymodbus.framer import FramerType

from edge.drivers.modbus.frames import find_answer
from edge.drivers.modbus.line import Framing, Line, SerialLine
from edge.drivers.modbus.registers import Function
from edge.drivers.reach import Parity, why_no_host, why_no_port
from edge.errors import EdgeTransientError

_FRAMERS = {Framing.TCP: FramerType.SOCKET, Framing.RTU: FramerType.RTU}
_PARITIES = {Parity.NONE: "N", Parity.EVEN: "E", Parity.ODD: "O"}
_NEVER_S = 86_400.0
"""The library's own timeout: ours, one for each request, comes first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Ask one device for registers that follow each other."""

    device_id: int
    function: Function
    address: int
    count: int

    def __str__(self) -> str:
        return f"{self.function} {self.address}+{self.count}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """The device (or its gateway) answered that it will not; `code` is Modbus' exception code."""

    code: int


Answer = Sequence[int] | Refusal


class DeviceAwayError(EdgeTransientError):
    """No connection, no answer in time, or one that makes no sense."""


class LineDownError(DeviceAwayError):
    """No connection: nobody on this line can be reached."""


class UnansweredError(DeviceAwayError):
    """Silence that is about this question, as far as one can tell: another may be answered."""


class NonsenseError(DeviceAwayError):
    """Something came, and it was not an answer to what was asked."""


@dataclass(slots=True, kw_only=True)
class Standing:
    """Whether one device of a line may still answer an earlier question, known to all who ask it.

    `turn`: one reads at a time. `counts`: the numbers of registers that it is asked for. `silences`: how often in a row
    it said nothing to the question that would have shown that it is in step.
    """

    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    counts: set[int] = field(default_factory=set)
    doubtful: bool = False
    silences: int = 0


class Bus:
    """Asks one thing at a time, in the order in which it was asked to: each device waits for at most one timeout a
    device ahead of it.

    After any trouble the connection is made again, so that what is left of it in buffers is gone. Belongs to one event
    loop. Get one by `join`.
    """

    def __init__(self, line: Line) -> None:
        self.line = line
        self._users = 0
        self._lock = asyncio.Lock()
        self._client: AsyncModbusTcpClient | AsyncModbusSerialClient | None = None
        self._attempts = 0
        self._down: LineDownError | None = None
        self._sent = b""
        self._heard = b""
        self._waiting: asyncio.Timeout | None = None
        self._quiet_from = 0.0
        self._standings: dict[int, Standing] = {}

    async def ask(self, request: Request, *, timeout_s: float) -> Answer:
        """What the device answers, within `timeout_s` from when its turn comes. Raises DeviceAwayError."""
        attempts = self._attempts
        async with self._lock:
            client = self._client
            if client is None or not client.connected:
                if self._down is not None and self._attempts != attempts:
                    # Tried while we waited for our turn: everybody waiting out the same silence would take ages.
                    raise LineDownError(str(self._down))
                client = await self._connect(timeout_s)
            answered = False
            try:
                answer = await self._exchange(client, request, timeout_s)
                answered = True
            finally:
                if not answered:
                    self.let_go()
                self._quiet_from = asyncio.get_running_loop().time()
            return answer

    def standing(self, device_id: int) -> Standing:
        """That of one device. It outlives those who asked: what they did not wait for may yet be answered."""
        return self._standings.setdefault(device_id, Standing())

    def let_go(self) -> None:
        """Close the connection; the next request makes another. Safe twice."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def leave(self) -> None:
        """One who joined needs it no longer; the last one closes it."""
        self._users -= 1
        if self._users <= 0:
            self.let_go()

    async def _connect(self, timeout_s: float) -> AsyncModbusTcpClient | AsyncModbusSerialClient:
        self.let_go()
        self._down = None
        client = self._new_client()
        connected = False
        try:
            async with asyncio.timeout(timeout_s):
                # What the library's `connect` does, which keeps the reason of a failure to itself.
                client.ctx.transport, _ = await client.ctx.call_create()
            connected = True
        except (OSError, TimeoutError, ValueError, termios.error) as error:
            self._down = LineDownError(_why_down(self.line, error, timeout_s))
            raise self._down from error
        finally:
            self._attempts += 1
            if not connected:
                client.close()
        self._client = client
        return client

    def _new_client(self) -> AsyncModbusTcpClient | AsyncModbusSerialClient:
        line = self.line
        # Its own reconnecting would go on behind our back after we gave it up.
        if isinstance(line, SerialLine):
            return AsyncModbusSerialClient(
                line.port,
                baudrate=line.baud,
                parity=_PARITIES[line.parity],
                stopbits=line.stop_bits,
                timeout=_NEVER_S,
                retries=0,
                reconnect_delay=0,
                trace_packet=self._pass_answers,
                trace_connect=self._note_connection,
            )
        return AsyncModbusTcpClient(
            line.host,
            port=line.port,
            framer=_FRAMERS[line.framing],
            timeout=_NEVER_S,
            retries=0,
            reconnect_delay=0,
            trace_packet=self._pass_answers,
            trace_connect=self._note_connection,
        )

    async def _exchange(
        self, client: AsyncModbusTcpClient | AsyncModbusSerialClient, request: Request, timeout_s: float
    ) -> Answer:
        pause_s = self._quiet_from + self.line.pause_s - asyncio.get_running_loop().time()
        if self.line.pause_s and pause_s > 0:
            await asyncio.sleep(pause_s)
        self._heard = b""
        read = client.read_input_registers if request.function is Function.INPUT else client.read_holding_registers
        try:
            async with asyncio.timeout(timeout_s) as self._waiting:
                answer = await read(request.address, count=request.count, device_id=request.device_id)
        except (ModbusException, OSError, TimeoutError) as error:
            raise self._why_away(client, timeout_s) from error
        finally:
            self._waiting = None
        return Refusal(code=answer.exception_code) if answer.isError() else answer.registers

    def _pass_answers(self, sending: bool, data: bytes) -> bytes:
        """Lets the library see nothing but the answer to what was asked."""
        if sending:
            self._sent = data
            return data
        self._heard = data
        return find_answer(self.line.framing, request=self._sent, received=data)

    def _note_connection(self, connected: bool) -> None:
        if not connected and self._waiting is not None:
            # Nothing can come any more.
            self._waiting.reschedule(asyncio.get_running_loop().time())

    def _why_away(self, client: AsyncModbusTcpClient | AsyncModbusSerialClient, timeout_s: float) -> DeviceAwayError:
        if self._heard:
            came = f"{len(self._heard)} bytes that are no answer to the request ({self._heard[:12].hex(' ')} …)"
            check = "check `framing` and port"
            if self.line.framing is Framing.RTU:
                check = "check baud, parity, stop bits and wiring, and that no two devices have the same id"
            return NonsenseError(f"there came {came}; {check}")
        if not client.connected:
            return DeviceAwayError("the connection was closed from the other side; is another program connected to it?")
        return DeviceAwayError(f"no answer within {timeout_s:g} s; check device_id, wiring and power")


def join(line: Line) -> Bus:
    """The bus of this line, the same for all who ask within one event loop. End with `leave`."""
    # We say in our own words, once, what the library would say at each attempt.
    logging.getLogger("pymodbus").setLevel(logging.CRITICAL + 1)
    bus = _buses().setdefault(line, Bus(line))
    bus._users += 1  # noqa: SLF001 - its other half is `leave`
    return bus


_ALL: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Line, Bus]] = WeakKeyDictionary()


def _buses() -> dict[Line, Bus]:
    return _ALL.setdefault(asyncio.get_running_loop(), {})


def _why_down(line: Line, error: Exception, timeout_s: float) -> str:
    """Why there is no connection, and what to do."""
    if isinstance(line, SerialLine):
        known = why_no_port(line.port, error)
        if known is None and isinstance(error, termios.error | ValueError):
            return f"{line.port} does not take these settings ({line.terms}): {error.args[-1]}; check the adapter"
        return known or f"{line.port} cannot be opened: {error}"
    return why_no_host(str(line), error, host=line.host, timeout_s=timeout_s, refused="Modbus TCP is switched on there")
