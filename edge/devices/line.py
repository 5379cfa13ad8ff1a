"""The cable to a device that does not exist: what is said goes through it, unless it is cut, silent or noisy."""

from __future__ import annotations

import asyncio
import os
from enum import StrEnum

_CHUNK = 65_536


class State(StrEnum):
    """What the cable does."""

    WHOLE = "whole"
    CUT = "cut"
    SILENT = "silent"
    NOISY = "noisy"


class Line:
    """A TCP port on loopback that leads to another one. It keeps its port while it is cut.

    Cut: nobody listens, connections are gone. Silent: connections are taken, and nothing comes through.
    Noisy: what the device says is replaced by noise.
    """

    def __init__(self, *, host: str = "127.0.0.1", to_port: int) -> None:
        self._host = host
        self._to_port = to_port
        self._state = State.CUT
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0

    async def set_state(self, state: State) -> None:
        """From now on. After a fault all connections are new: of the old ones, parts are missing."""
        was, self._state = self._state, state
        if state is State.CUT or (state is State.WHOLE and was is not State.WHOLE):
            await self._drop()
        if state is State.CUT:
            await self._close_server()
        elif self._server is None:
            self._server = await asyncio.start_server(self._take, self._host, self.port)
            self.port = self._server.sockets[0].getsockname()[1]
        if state is State.NOISY:
            for writer in self._open:
                writer.write(os.urandom(256))

    async def close(self) -> None:
        """Safe twice."""
        await self.set_state(State.CUT)

    async def _close_server(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.close()
            await server.wait_closed()

    async def _drop(self) -> None:
        for writer in list(self._open):
            writer.transport.abort()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a server's callback runs in a task
        self._tasks.add(task)
        self._open.add(writer)
        beyond: asyncio.StreamWriter | None = None
        try:
            answers, beyond = await asyncio.open_connection(self._host, self._to_port)
            async with asyncio.TaskGroup() as group:
                back = group.create_task(self._carry(answers, writer, noisy=True))
                await self._carry(reader, beyond, noisy=False)
                back.cancel()
        except* (OSError, asyncio.CancelledError):
            pass  # either end went away, or the cable was cut
        finally:
            for end in (writer, beyond):
                if end is not None:
                    end.transport.abort()
            self._open.discard(writer)
            self._tasks.discard(task)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, noisy: bool) -> None:
        while data := await reader.read(_CHUNK):
            if self._state is State.NOISY and noisy:
                writer.write(os.urandom(len(data)))
            elif self._state is not State.SILENT:
                writer.write(data)
