"""Chunks of the table of readings: which are due, how large they are, and how long they span."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import LiteralString

import psycopg

from collector.archive.contents import Span
from collector.archive.errors import ArchiveRefusedError

_COLUMNS: LiteralString = """
    SELECT c.chunk_schema || '.' || c.chunk_name, c.range_start, c.range_end, c.is_compressed,
           pg_total_relation_size(format('%%I.%%I', c.chunk_schema, c.chunk_name)::regclass),
           (SELECT reltuples FROM pg_class WHERE oid = format('%%I.%%I', c.chunk_schema, c.chunk_name)::regclass)::int8,
           c.range_end <= %(before)s,
           c.range_end <= coalesce(p.computed_to, '-infinity'),
           EXISTS (SELECT FROM pending AS n WHERE n.from_at < c.range_end AND n.to_at >= c.range_start),
           EXISTS (SELECT FROM archive_file AS f WHERE f.restored_at IS NOT NULL AND f.keep_until > %(now)s
                   AND f.first_at < c.range_end AND f.last_at >= c.range_start)
    FROM timescaledb_information.chunks AS c, rollup_progress AS p
    WHERE c.hypertable_schema = 'public' AND c.hypertable_name = 'reading'
    ORDER BY c.range_start
"""
_SET_INTERVAL: LiteralString = "SELECT set_chunk_time_interval('reading', %s::interval)"
_INTERVAL: LiteralString = """
    SELECT time_interval FROM timescaledb_information.dimensions
    WHERE hypertable_schema = 'public' AND hypertable_name = 'reading'
"""
_LICENCE: LiteralString = "SELECT current_setting('timescaledb.license', true)"
_IS_COLUMNSTORE: LiteralString = """
    SELECT compression_enabled FROM timescaledb_information.hypertables
    WHERE hypertable_schema = 'public' AND hypertable_name = 'reading'
"""
_COLUMNSTORE: LiteralString = """
    ALTER TABLE reading SET (timescaledb.compress, timescaledb.compress_segmentby = 'meter_id',
                             timescaledb.compress_orderby = 'at')
"""
_COLUMNSTORE_POLICY: LiteralString = """
    SELECT add_compression_policy('reading', compress_after => %s::interval, if_not_exists => true)
"""
_SHORTEST = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """A chunk. `readings` is the database's estimate, None where it has none yet.

    It is due when it is old, rolled up, nothing late in it waits for the roll-up, and nothing in it is kept by a
    restore.
    """

    name: str
    span: Span
    is_compressed: bool
    bytes: int
    readings: int | None
    is_old: bool
    is_rolled_up: bool
    has_pending: bool
    is_kept: bool

    @property
    def is_due(self) -> bool:
        """Whether its readings are to be archived."""
        return self.is_old and self.is_rolled_up and not self.has_pending and not self.is_kept


def list_chunks(connection: psycopg.Connection, *, now: datetime, retention: timedelta) -> list[Chunk]:
    """All chunks, the oldest first."""
    rows = connection.execute(_COLUMNS, {"before": now - retention, "now": now}).fetchall()
    return [
        Chunk(
            name=row[0],
            span=Span(start=row[1], end=row[2]),
            is_compressed=bool(row[3]),
            bytes=row[4],
            readings=row[5] if row[5] >= 0 else None,
            is_old=row[6],
            is_rolled_up=row[7],
            has_pending=row[8],
            is_kept=row[9],
        )
        for row in rows
    ]


def chunk_interval(connection: psycopg.Connection) -> timedelta:
    """How long the next chunks will span."""
    row = connection.execute(_INTERVAL).fetchone()
    if row is None:
        raise ArchiveRefusedError("the table of readings is no hypertable; run `afkobling db migrate`")
    return row[0] if isinstance(row[0], timedelta) else timedelta(0)


def set_chunk_interval(connection: psycopg.Connection, interval: timedelta) -> None:
    """Let chunks made from now on span that long; those that exist stay. Raises ArchiveRefusedError."""
    if interval < _SHORTEST:
        raise ArchiveRefusedError("a chunk spans a minute at least; write a longer AFKOBLING_CHUNK_INTERVAL")
    if chunk_interval(connection) != interval:
        connection.execute(_SET_INTERVAL, [interval])


def edition(connection: psycopg.Connection) -> str:
    """The server's TimescaleDB edition: `apache` or `timescale`."""
    row = connection.execute(_LICENCE).fetchone()
    return str(row[0]) if row and row[0] else "unknown"


def has_columnstore(connection: psycopg.Connection) -> bool:
    """Whether chunks of readings are kept by column."""
    row = connection.execute(_IS_COLUMNSTORE).fetchone()
    return bool(row and row[0])


def enable_columnstore(connection: psycopg.Connection, *, after: timedelta) -> bool:
    """Have chunks older than that compressed by column, where the server's edition can; False where it can't."""
    if edition(connection) != "timescale":
        return False
    if not has_columnstore(connection):
        connection.execute(_COLUMNSTORE)
    connection.execute(_COLUMNSTORE_POLICY, [after])
    return True
