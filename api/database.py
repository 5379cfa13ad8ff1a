"""The pool of connections to the database, and the connection that a request uses."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Annotated, Any, LiteralString

import psycopg
from fastapi import Depends, Request
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool

from api.settings import ApiSettings

Connection = psycopg.AsyncConnection[DictRow]
Pool = AsyncConnectionPool[Connection]


def make_pool(settings: ApiSettings) -> Pool:
    """A pool that is not open yet. It looks after each connection before it gives it away."""
    return AsyncConnectionPool(
        settings.database_url.get_secret_value(),
        connection_class=psycopg.AsyncConnection[DictRow],
        kwargs={
            "autocommit": True,
            "row_factory": dict_row,
            "application_name": "afkobling api",
            "connect_timeout": 10,
            "options": f"-c statement_timeout={round(settings.statement_timeout_s * 1000)} -c timezone=UTC",
        },
        min_size=1,
        max_size=settings.pool_size,
        timeout=settings.pool_timeout_s,
        check=AsyncConnectionPool.check_connection,
        name="api",
        open=False,
    )


async def _connection(request: Request) -> AsyncIterator[Connection]:
    pool: Pool = request.app.state.pool
    async with pool.connection() as connection:
        yield connection


Database = Annotated[Connection, Depends(_connection)]
"""A route's parameter of this kind is a connection for as long as the request lasts."""


async def fetch_all(
    connection: Connection, statement: LiteralString, values: Mapping[str, Any] | Sequence[Any] = ()
) -> list[DictRow]:
    """All rows, as dictionaries by column."""
    cursor = await connection.execute(statement, values)
    return await cursor.fetchall()


async def fetch_one(
    connection: Connection, statement: LiteralString, values: Mapping[str, Any] | Sequence[Any] = ()
) -> DictRow | None:
    """The first row, if there is one."""
    cursor = await connection.execute(statement, values)
    return await cursor.fetchone()
