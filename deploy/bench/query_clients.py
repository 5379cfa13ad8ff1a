"""Many clients that ask the API at once: how long each waits, from sending to the last byte."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urlsplit

from schemas.errors import TransientError

_MOST_HEAD = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class Waited:
    """Milliseconds that requests waited, and what they had for it. `body_bytes` are those of one answer, as sent."""

    clients: int
    addresses: int
    requests: int
    requests_per_s: float
    p50_ms: float
    p95_ms: float
    max_ms: float
    body_bytes: int


def ask_at_once(url: str, token: str, paths: Sequence[str], *, clients: int, seconds: float) -> Waited:
    """Each client asks for one path after the other, all of them at the same time, on a connection of its own.

    Raises TransientError for any answer but 200.
    """
    return asyncio.run(_ask(url, token, paths, clients=clients, seconds=seconds))


async def _ask(url: str, token: str, paths: Sequence[str], *, clients: int, seconds: float) -> Waited:
    # Plain sockets: an HTTP library would use more of the processor than the API that is measured.
    waits: list[float] = []
    sizes: list[int] = []
    started = time.perf_counter()
    until = started + seconds

    async def client(number: int) -> None:
        where = urlsplit(url)
        reader, writer = await asyncio.open_connection(where.hostname, where.port, limit=_MOST_HEAD)
        turn = number
        try:
            while time.perf_counter() < until:
                request = _request(where.netloc, paths[turn % len(paths)], token)
                turn += 1
                began = time.perf_counter()
                writer.write(request)
                sizes.append(await _read(reader))
                waits.append((time.perf_counter() - began) * 1000)
        finally:
            writer.close()

    await asyncio.gather(*(client(number) for number in range(clients)))
    elapsed = time.perf_counter() - started
    waits.sort()
    return Waited(
        clients=clients,
        addresses=len(paths),
        requests=len(waits),
        requests_per_s=round(len(waits) / elapsed, 1),
        p50_ms=round(waits[len(waits) // 2], 1),
        p95_ms=round(waits[int(len(waits) * 0.95)], 1),
        max_ms=round(waits[-1], 1),
        body_bytes=max(sizes),
    )


def _request(host: str, path: str, token: str) -> bytes:
    return (
        f"GET {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n"
        "Accept: application/json\r\nAccept-Encoding: gzip\r\n\r\n"
    ).encode()


async def _read(reader: asyncio.StreamReader) -> int:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    status = int(head.split(" ", 2)[1])
    length = next((line for line in head.split("\r\n") if line.startswith("content-length:")), None)
    if status != HTTPStatus.OK or length is None:
        raise TransientError(f"the API answered {status}; not measured")
    left = size = int(length.partition(":")[2])
    while left:
        left -= len(await reader.readexactly(min(left, _MOST_HEAD)))
    return size
