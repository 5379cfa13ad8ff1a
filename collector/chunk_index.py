"""A second index on closed chunks, by meter: one meter's readings are then found without passing over everybody's.

Never on the chunk that is being written: there the key alone keeps up (docs/adr/0003). What comes late into a chunk
with two indexes is a little slower, and rare. The index goes with its chunk.
"""

from __future__ import annotations

import threading
from datetime import datetime, timedelta
from typing import LiteralString

import psycopg
import structlog
from psycopg import errors, sql

_LOG = structlog.get_logger(__name__)
_CLOSED_FOR = timedelta(minutes=15)
_PATIENCE: LiteralString = "SET lock_timeout = '30s'"
_NO_PATIENCE: LiteralString = "RESET lock_timeout"

# The newest first: of those people ask. What is about to be archived is not worth it.
_CHUNKS: LiteralString = """
    SELECT c.chunk_schema, c.chunk_name, i.indexrelid IS NOT NULL AS is_begun
    FROM timescaledb_information.chunks AS c
    LEFT JOIN LATERAL (
        SELECT indexrelid, indisvalid FROM pg_index
        WHERE indexrelid = to_regclass(format('%%I.%%I', c.chunk_schema, c.chunk_name || '_by_meter'))
    ) AS i ON true
    WHERE c.hypertable_schema = 'public' AND c.hypertable_name = 'reading' AND c.range_end <= %(closed)s
      AND c.range_end > coalesce((SELECT frozen_to FROM archive_progress), '-infinity')
      AND i.indisvalid IS NOT TRUE
    ORDER BY c.range_end DESC
"""
# Beside writers, who don't wait for it. That can't be done within a transaction, and one that is cut off leaves a
# beginning that serves nobody.
_CREATE: LiteralString = "CREATE INDEX CONCURRENTLY {name} ON {chunk} (meter_id, at)"
_DROP: LiteralString = "DROP INDEX CONCURRENTLY {index}"


def index_closed_chunks(connection: psycopg.Connection, *, now: datetime, stopping: threading.Event) -> int:
    """Index what is closed and has no such index yet. Returns how many chunks; what is busy waits for the next time.

    `connection` commits each statement by itself. One caller at a time.
    """
    chunks = connection.execute(_CHUNKS, {"closed": now - _CLOSED_FOR}).fetchall()
    done = 0
    connection.execute(_PATIENCE)
    try:
        for schema, chunk, is_begun in chunks:
            if stopping.is_set():
                break
            done += _index(connection, schema, chunk, is_begun=is_begun)
    finally:
        connection.execute(_NO_PATIENCE)
    return done


def _index(connection: psycopg.Connection, schema: str, chunk: str, *, is_begun: bool) -> bool:
    name = f"{chunk}_by_meter"
    try:
        if is_begun:
            connection.execute(sql.SQL(_DROP).format(index=sql.Identifier(schema, name)))
        statement = sql.SQL(_CREATE).format(name=sql.Identifier(name), chunk=sql.Identifier(schema, chunk))
        connection.execute(statement)
    except (errors.LockNotAvailable, errors.DeadlockDetected, errors.UndefinedTable) as error:
        _LOG.info("a chunk is busy or gone; it is indexed later", action="chunk.busy", chunk=chunk, error=str(error))
        return False
    _LOG.info("a chunk has its index by meter", action="chunk.indexed", chunk=chunk)
    return True
