"""A level converter and the meters behind it, shared by all drivers that read them: one speaks at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakKeyDictionary

from edge.drivers.mbus.frames import FrameError, length_of
from edge.drivers.mbus.line import Line, LineDownError, Place, Speed, open_line
from edge.errors import EdgeTransientError

_QUIET_S = 0.05
"""After trouble, the line counts as quiet when nothing has come for so long."""
_SILENT = 2
"""After so many requests in a row that nobody answered, the connection itself may be dead."""


class SilenceError(EdgeTransientError):
    """Nobody answered in time."""


class NoiseError(EdgeTransientError):
    """Something came, and it was no answer: a frame with faults, or more than one meter speaking."""


class Bus:
    """Exchanges frames, for one holder at a time, in the order in which they asked. Belongs to one event loop.

    Get one by `join`.
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        self._users = 0
        self._lock = asyncio.Lock()
        self._line: Line | None = None
        self._attempts = 0
        self._down: LineDownError | None = None
        self._settled = True
        self._silences = 0

    @asynccontextmanager
    async def held(self, speed: Speed, *, timeout_s: float) -> AsyncIterator[Held]:
        """The bus for oneself, connected. Raises LineDownError."""
        attempts = self._attempts
        async with self._lock:
            if self._line is None:
                if self._down is not None and self._attempts != attempts:
                    # Tried while we waited for our turn: everybody waiting out the same silence would take ages.
                    raise LineDownError(str(self._down))
                await self._open(speed, timeout_s)
            yield Held(self, speed, timeout_s)

    def leave(self) -> None:
        """One who joined needs it no longer; the last one closes it."""
        self._users -= 1
        if self._users <= 0:
            self.let_go()
            _buses().pop(self.place, None)

    def let_go(self) -> None:
        """Close the line; whoever holds the bus next opens it again. Safe twice."""
        if self._line is not None:
            self._line.close()
            self._line = None

    async def _open(self, speed: Speed, timeout_s: float) -> None:
        self._down = None
        try:
            self._line = await open_line(self.place, speed, timeout_s=timeout_s)
        except LineDownError as error:
            self._down = error
            raise
        finally:
            self._attempts += 1
        self._settled, self._silences = True, 0

    async def exchange(self, request: bytes, speed: Speed, timeout_s: float, *, may_be_silent: bool) -> bytes:
        """See `Held.exchange`."""
        line = self._line
        if line is None:
            raise LineDownError(f"the connection to {self.place} is gone")
        try:
            if not self._settled:
                await _quiet(line, at_most_s=timeout_s)
            line.drop()
            self._settled = False
            line.send(request, speed)
            answer = await _answer(line, request, timeout_s)
        except LineDownError:
            self.let_go()
            raise
        except SilenceError:
            self._silences += not may_be_silent
            if self._silences >= _SILENT and not self.place.is_serial:
                self.let_go()
            raise
        except NoiseError:
            self._silences = 0
            raise
        self._settled, self._silences = True, 0
        return answer

    async def lull(self) -> bytes:
        """What still comes until the line is quiet: nothing, where only one meter spoke."""
        return b"" if self._line is None else await _quiet(self._line, at_most_s=1.0)


class Held:
    """The bus, as long as one has it for oneself."""

    def __init__(self, bus: Bus, speed: Speed, timeout_s: float) -> None:
        self._bus = bus
        self._speed = speed
        self._timeout_s = timeout_s

    async def exchange(self, request: bytes, *, may_be_silent: bool = False) -> bytes:
        """The one whole frame (or single character) that answers `request`; its content is not looked at.

        The timeout is for its beginning, and again between its parts. Silence that is to be expected, as while
        searching, casts no doubt on the connection. Raises SilenceError, NoiseError, LineDownError.
        """
        return await self._bus.exchange(request, self._speed, self._timeout_s, may_be_silent=may_be_silent)

    async def lull(self) -> bytes:
        """What comes behind an answer."""
        return await self._bus.lull()


async def _answer(line: Line, request: bytes, timeout_s: float) -> bytes:
    come = b""
    while True:
        try:
            length = length_of(come)
        except FrameError as error:
            raise NoiseError(str(error)) from error
        if length is not None and len(come) >= length:
            if come.startswith(request):
                # Some converters give back what was sent.
                come = come[len(request) :]
                continue
            if len(come) > length:
                raise NoiseError(f"{len(come) - length} bytes came behind an answer, as when two meters speak at once")
            return come
        try:
            come += await line.receive(timeout_s)
        except TimeoutError as error:
            if not come:
                raise SilenceError(f"no answer within {timeout_s:g} s") from error
            raise NoiseError(f"an answer broke off after {len(come)} bytes") from error


async def _quiet(line: Line, *, at_most_s: float) -> bytes:
    come = b""
    try:
        async with asyncio.timeout(at_most_s):
            while True:
                come += await line.receive(_QUIET_S)
    except TimeoutError:
        return come


def join(place: Place) -> Bus:
    """The bus at this place, the same for all who ask within one event loop. End with `leave`."""
    bus = _buses().setdefault(place, Bus(place))
    bus._users += 1  # noqa: SLF001 - its other half is `leave`
    return bus


_ALL: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Place, Bus]] = WeakKeyDictionary()


def _buses() -> dict[Place, Bus]:
    return _ALL.setdefault(asyncio.get_running_loop(), {})
