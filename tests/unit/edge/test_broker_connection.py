"""What one connection to the broker leaves behind."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path

import pytest

from edge.broker import BrokerConnection, Identity
from edge.configuration import TlsSettings
from edge.errors import BrokerUnavailableError
from schemas.broker_url import parse_broker_url

ATTEMPTS = 5


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_a_broker_that_ends_each_connection_costs_no_open_file() -> None:
    """As one does that refuses the certificate: an agent may try for weeks."""

    async def end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.close()
        await writer.wait_closed()

    async def attempt(url: str) -> None:
        identity = Identity(client_id="a", subscriptions={}, will_topic="t", will_payload=b"")
        connection = BrokerConnection(parse_broker_url(url), TlsSettings(), identity, asyncio.Event())
        try:
            with pytest.raises(BrokerUnavailableError, match="the connection broke"):
                await connection.open()
        finally:
            await connection.close(clean=False)

    server = await asyncio.start_server(end, "127.0.0.1", 0)
    url = f"mqtt://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        await attempt(url)
        gc.collect()
        gc.disable()
        try:
            before = open_files()
            for _ in range(ATTEMPTS):
                await attempt(url)
            assert open_files() < before + ATTEMPTS
        finally:
            gc.enable()
