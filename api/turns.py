"""Work on the database, a turn at a time, for ever, whatever the database does meanwhile."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable

import psycopg
import structlog
from psycopg.rows import dict_row

from api.database import Connection

_LOG = structlog.get_logger(__name__)
_RETRY_S = 5.0


class Turns:
    """Takes turns until `stop`: one after the other while there is something to do, else every `poll_s`."""

    def __init__(
        self, database_url: str, turn: Callable[[Connection], Awaitable[bool]], *, name: str, poll_s: float
    ) -> None:
        self._database_url = database_url
        self._turn = turn
        self._name = name
        self._poll_s = poll_s
        self._is_stopping = threading.Event()
        self.problem: str | None = "not connected to the database yet"

    def run(self) -> None:
        """Work until `stop` is called. A database that is away, or has not the schema yet, is tried again."""
        asyncio.run(self._run())

    def stop(self) -> None:
        """Finish what is at hand and end. Safe from a signal handler, before `run`, and twice."""
        self._is_stopping.set()

    async def _run(self) -> None:
        while not self._is_stopping.is_set():
            try:
                async with await connect(self._database_url, name=self._name) as connection:
                    self.problem = None
                    while not self._is_stopping.is_set():
                        if not await self._turn(connection):
                            await self._pause(self._poll_s)
            except psycopg.Error as error:
                self.problem = f"the database: {str(error).strip()}"
                _LOG.warning("the database refuses, trying again", action="database.away", error=str(error).strip())
                await self._pause(_RETRY_S)

    async def _pause(self, seconds: float) -> None:
        for _ in range(max(1, round(seconds / 0.1))):
            if self._is_stopping.is_set():
                return
            await asyncio.sleep(0.1)


async def connect(database_url: str, *, name: str) -> Connection:
    """A connection of a process's own, that notices a server which has gone."""
    return await psycopg.AsyncConnection.connect(
        database_url,
        autocommit=True,
        row_factory=dict_row,
        application_name=f"afkobling-{name}",
        connect_timeout=10,
        keepalives_idle=10,
        options="-c timezone=UTC -c statement_timeout=60000",
    )
