"""A TCP proxy on the loopback interface that does to connections what networks do to them."""

from __future__ import annotations

import asyncio
import ctypes
import socket
import struct
import threading
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

_CHUNK = 65_536
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER with no time: closing sends a reset, and what was not delivered is gone."""
_SO_ATTACH_FILTER = 26
_DROP_ALL = (ctypes.c_uint16 * 4)(0x06, 0, 0, 0)
"""A packet filter of one instruction (return 0): the kernel drops what comes, without acknowledging it."""
_STOP_S = 10
Result = TypeVar("Result")


class _HasOptions(Protocol):
    def setsockopt(self, level: int, option: int, value: bytes, /) -> None: ...


def _drop_all(connection: _HasOptions) -> None:
    program = struct.pack("HxxxxxxP", 1, ctypes.addressof(_DROP_ALL))
    connection.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)


def may_vanish() -> bool:
    """Whether this kernel lets us filter packets; some allow it to root only."""
    with socket.socket() as probe:
        try:
            _drop_all(probe)
        except PermissionError:
            return False
    return True


@dataclass(frozen=True, slots=True, eq=False)
class _Link:
    """One connection: what came to us, and ours to the target."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter


class Proxy:
    """Forwards to a target, in a thread of its own, from `start` to `stop`.

    All but a single `cut` last until `heal`; what is said here holds for both directions. `hits` tells whether anything
    came of it.
    """

    def __init__(self, name: str, host: str, port: int) -> None:
        self.name = name
        self.port = 0
        self.hits = 0
        """Connections that were reset, refused or made dead here, and pieces of what was said that had to wait."""
        self._target = (host, port)
        self._links: set[_Link] = set()
        self._ghosts: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._is_refusing = False
        self._left: int | None = None
        self._delay_s = 0.0
        self._loop = asyncio.new_event_loop()
        self._flowing = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"proxy {name}", daemon=True)
        self._server: asyncio.Server | None = None

    def start(self) -> Proxy:
        """Listen on a free port."""
        self._thread.start()
        self._call(self._start())
        return self

    def stop(self) -> None:
        """Reset everything and end. Safe before `start`, and twice."""
        if self._thread.is_alive():
            self._call(self._stop())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(_STOP_S)
        if not self._loop.is_closed():
            self._loop.close()

    def cut(self, *, refuse: bool = False) -> None:
        """Reset all live connections; with `refuse`, each new one too."""
        self._call(self._cut(refuse=refuse))

    def cut_after(self, size: int) -> None:
        """Reset all connections in the midst of what is said, when `size` more bytes have been forwarded."""
        self._call(self._cut_after(size))

    def vanish(self) -> None:
        """Clients are reset, servers are not told, and hear nothing more of their peer until `heal`."""
        self._call(self._vanish())

    def go_dead(self) -> None:
        """Nothing more comes through the live connections, and neither side is told. New ones work."""
        self._call(self._go_dead())

    def stall(self) -> None:
        """Forward nothing, and tell nobody."""
        self._call(self._stall())

    def delay(self, seconds: float) -> None:
        """Each piece of what is said takes so much longer; the next waits behind it."""
        self._call(self._set_delay(seconds))

    def heal(self) -> None:
        """Forward again, also what was held back, accept again, and tell the servers of vanished clients."""
        self._call(self._heal())

    def _call(self, act: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(act, self._loop).result(_STOP_S)

    async def _start(self) -> None:
        self._flowing.set()
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = int(self._server.sockets[0].getsockname()[1])

    async def _stop(self) -> None:
        if self._server is not None:
            self._server.close()
        await self._cut(refuse=True)
        self._drop_ghosts()
        # What waits to forward ends as well: its connection is gone.
        self._flowing.set()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _cut(self, *, refuse: bool) -> None:
        self._is_refusing = self._is_refusing or refuse
        self._left = None
        self._reset_all()

    async def _cut_after(self, size: int) -> None:
        self._left = size

    async def _vanish(self) -> None:
        for link in list(self._links):
            self._links.discard(link)
            self._haunt(link.server)
            self.hits += 1
            _reset(link.client)

    async def _go_dead(self) -> None:
        for link in list(self._links):
            self._links.discard(link)
            self.hits += 1
            self._haunt(link.client)
            self._haunt(link.server)

    def _haunt(self, writer: asyncio.StreamWriter) -> None:
        self._ghosts.add(writer)
        raw = writer.get_extra_info("socket")
        if raw is not None and raw.fileno() >= 0:
            _drop_all(raw)

    async def _stall(self) -> None:
        self._flowing.clear()

    async def _set_delay(self, seconds: float) -> None:
        self._delay_s = seconds

    async def _heal(self) -> None:
        self._is_refusing = False
        self._left = None
        self._delay_s = 0.0
        self._drop_ghosts()
        self._flowing.set()

    def _reset_all(self) -> None:
        for link in list(self._links):
            self.hits += 1
            self._reset_link(link)

    def _reset_link(self, link: _Link) -> None:
        if link in self._links:
            self._links.discard(link)
            _reset(link.client)
            _reset(link.server)

    def _drop_ghosts(self) -> None:
        for ghost in self._ghosts:
            _reset(ghost)
        self._ghosts.clear()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        await self._serve(reader, writer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            server_reader, server = await asyncio.open_connection(*self._target)
        except OSError:
            _reset(writer)
            return
        if self._is_refusing:
            self.hits += 1
            _reset(writer)
            _reset(server)
            return
        link = _Link(writer, server)
        self._links.add(link)
        await asyncio.gather(self._pump(reader, server, link), self._pump(server_reader, writer, link))
        if link in self._links:
            self._links.discard(link)
            writer.close()
            server.close()

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, link: _Link) -> None:
        try:
            while data := await source.read(_CHUNK):
                if not await self._may_forward(link):
                    return
                if self._left is not None and len(data) >= self._left:
                    sink.write(data[: self._left])
                    self._left = None
                    self._reset_all()
                    return
                if self._left is not None:
                    self._left -= len(data)
                sink.write(data)
                await sink.drain()
            if await self._may_forward(link):
                sink.write_eof()
        except OSError:
            self._reset_link(link)

    async def _may_forward(self, link: _Link) -> bool:
        """Waits while stalled or delayed; False when the connection is gone by then."""
        if self._delay_s or not self._flowing.is_set():
            self.hits += 1
            await asyncio.sleep(self._delay_s)
        await self._flowing.wait()
        return link in self._links


def _reset(writer: asyncio.StreamWriter) -> None:
    raw: socket.socket | None = writer.get_extra_info("socket")
    if raw is not None and raw.fileno() >= 0:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()
