"""A device that answers over HTTP on loopback, and its faults. It speaks as much HTTP as a small device does."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class HttpFault(StrEnum):
    """What may be wrong with it."""

    NONE = "none"
    SILENT = "silent"
    MAD = "mad"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What it says at one path: a document as JSON, or bytes as they are."""

    body: Any
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)

    def packed(self) -> bytes:
        """As it goes over the wire."""
        body = self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()
        headers = {"Content-Type": "application/json", "Content-Length": str(len(body)), **self.headers}
        lines = [f"HTTP/1.1 {self.status} X", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
        return "\r\n".join(lines).encode() + body


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What it was asked."""

    path: str
    headers: Mapping[str, str]


_NONSENSE = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 22\r\n\r\n<html>Not here.</html>",
    b"\x00\x01\x02 this is no HTTP at all\r\n\r\n",
    b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n",
    b'HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{"half": ',
)


class HttpDevice:
    """`answers`: what it says at each path, with its query; changed at will while it runs."""

    def __init__(self, answers: Mapping[str, Answer], *, port: int = 0, context: ssl.SSLContext | None = None) -> None:
        self.answers = dict(answers)
        self.fault = HttpFault.NONE
        self.requests: list[Request] = []
        self.port = port
        """Where it listens, on loopback; of 0 a free one is made when it starts, and kept."""
        self._context = context
        self._server: asyncio.Server | None = None
        self._open: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._mad = 0

    @property
    def url(self) -> str:
        return f"{'http' if self._context is None else 'https'}://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Safe while it runs."""
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=self._context)
            self.port = self._server.sockets[0].getsockname()[1]

    async def vanish(self) -> None:
        """Stop at once, with connections open. Safe twice, and before `start`."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        for task, writer in list(self._open.items()):
            writer.transport.abort()
            task.cancel()
        if self._open:
            await asyncio.wait(list(self._open))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a server's callback is a task
        self._open[task] = writer
        try:
            # Cut, gone or cancelled: all the same to a device.
            with contextlib.suppress(OSError, ValueError, asyncio.IncompleteReadError, asyncio.CancelledError):
                while await self._answer(reader, writer):
                    pass
        finally:
            del self._open[task]
            writer.transport.abort()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Whether the connection goes on."""
        lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        _, path, _ = lines[0].split(" ", 2)
        headers = dict(line.split(": ", 1) for line in lines[1:] if line)
        self.requests.append(Request(path=path, headers={name.lower(): value for name, value in headers.items()}))
        if self.fault is HttpFault.SILENT:
            return True
        if self.fault is HttpFault.MAD:
            writer.write(_NONSENSE[self._mad % len(_NONSENSE)])
            self._mad += 1
            await writer.drain()
            return False
        writer.write(self.answers.get(path, Answer(status=404, body=b"")).packed())
        await writer.drain()
        return True
